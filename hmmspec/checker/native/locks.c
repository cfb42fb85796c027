/* Findings about locks: threads that wait for one another's locks in a circle, locks taken in both orders.
 *
 * The meaning is that of hmmspec/checker/explicit/locks.py, which also finds the words: here only the states are found.
 * Lock elements and thread instances are numbered by `locks.py`; `probe_N` tells at which waits a thread's step stands.
 */

typedef struct { uint64_t w[INSTANCE_WORDS]; } Who;

struct Locks {
  uint32_t from;                    /* the state that `by` is of */
  Who by[N_ELEMENTS], after[N_ELEMENTS], all;     /* who holds each element, in a state and behind a step */
  Who moving;
  uint64_t waited[ELEMENT_WORDS], got[ELEMENT_WORDS]; int out;   /* what a probe sees */
  uint64_t blocked[N_INSTANCES][ELEMENT_WORDS];
  uint32_t first[N_ELEMENTS][N_ELEMENTS];         /* where the second was acquired while the first was held */
};

static void lock_holders(const St *s, Who *by);
static int instance_of(int rule, V number);
static void probe(Ctx *c, const St *s, Locks *k, int rule, V number);
static void probe_all(Ctx *c, const St *s, Locks *k, int who);

static inline void add_bit(uint64_t *w, int i) { w[i >> 6] |= 1ull << (i & 63); }
static inline int has_bit(const uint64_t *w, int i) { return (int)(w[i >> 6] >> (i & 63) & 1); }
static inline int some_bit(const uint64_t *w, int words) { for (int i = 0; i < words; i++) if (w[i]) return 1; return 0; }

/* A step stands at a wait for an element: is it over? */
static inline void wait_for(Locks *k, V element, int over) { add_bit(over ? k->got : k->waited, (int)element); }

static Locks *new_locks(Ctx *c) {
  Locks *k = c->locks = calloc(1, sizeof *k);
  if (!k) { atomic_store(&c->e->stop, 5); return NULL; }
  memset(k->first, 0xff, sizeof k->first);
  k->from = NONE;
  return k;
}

static Locks *locks_of(Ctx *c, const St *s) {
  Locks *k = c->locks ? c->locks : new_locks(c);
  if (k && k->from != c->from) {
    k->from = c->from;
    memset(k->by, 0, sizeof k->by);
    lock_holders(s, k->by);
    memset(&k->all, 0, sizeof k->all);
    for (int e = 0; e < N_ELEMENTS; e++) for (int i = 0; i < INSTANCE_WORDS; i++) k->all.w[i] |= k->by[e].w[i];
  }
  return k;
}

/* A step of a thread that holds a lock, and may have waited for another. */
static __attribute__((noinline)) void check_order(Ctx *c, const St *s, const St *t, int rule, V number) {
  Engine *e = c->e;
  Locks *k = locks_of(c, s);
  int who = instance_of(rule, number), asked = 0;
  if (!k || !has_bit(k->all.w, who)) return;
  memset(k->after, 0, sizeof k->after);
  lock_holders(t, k->after);
  for (int a = 0; a < N_ELEMENTS; a++) {
    if (!has_bit(k->after[a].w, who) || has_bit(k->by[a].w, who)) continue;
    for (int h = 0; h < N_ELEMENTS; h++) {
      if (!has_bit(k->by[h].w, who)) continue;
      uint32_t *first = &k->first[h][a];
      if (*first != NONE && (*first < e->begin || !less(s, &e->store[*first]))) continue;
      if (!asked) {
        /* The step may stand in the middle of its choices: the probe makes its own. */
        int n = c->script_length, at = c->at, script[n + 1], ways[n + 1];
        memcpy(script, c->script, sizeof(int) * (size_t)n); memcpy(ways, c->ways, sizeof(int) * (size_t)n);
        asked = 1; k->out = 0;
        memset(k->got, 0, sizeof k->got); memset(k->waited, 0, sizeof k->waited);
        probe(c, s, k, rule, number);
        memcpy(c->script, script, sizeof(int) * (size_t)n); memcpy(c->ways, ways, sizeof(int) * (size_t)n);
        c->script_length = n; c->at = at;
      }
      if (!has_bit(k->got, a)) break;         /* taken by trylock */
      *first = c->from;
      if (c->note) c->note(c, N_FINDINGS + h * N_ELEMENTS + a, c->depth + 1);
    }
  }
}

static void note_moving(Ctx *c, const St *t, int rule, V number) {
  int who = instance_of(rule, number);
  (void)t;
  if (who >= 0) add_bit(c->locks->moving.w, who);
}

/* Leaves those in `stuck` of whom each way is barred by one of them; whether anyone is left. */
static int circle(Locks *k, Who *stuck) {
  for (int changed = 1; changed;) {
    changed = 0;
    for (int who = 0; who < N_INSTANCES; who++) {
      if (!has_bit(stuck->w, who)) continue;
      for (int e = 0; e < N_ELEMENTS; e++) {
        if (!has_bit(k->blocked[who], e)) continue;
        int barred = 0;
        for (int i = 0; i < INSTANCE_WORDS; i++) barred |= (k->by[e].w[i] & stuck->w[i]) != 0;
        if (!barred) { stuck->w[who >> 6] &= ~(1ull << (who & 63)); changed = 1; break; }
      }
    }
  }
  return some_bit(stuck->w, INSTANCE_WORDS);
}

/* A state where locks are held: do threads wait for one another's? */
static __attribute__((noinline)) void check_circle(Ctx *c, const St *s) {
  if (c->e->done[FINDING_LOCK_CYCLE]) return;
  Locks *k = locks_of(c, s);
  if (!k) return;
  int holders = 0;
  for (int i = 0; i < INSTANCE_WORDS; i++) holders += __builtin_popcountll(k->all.w[i]);
  if (holders < 2) return;
  Who stuck = { { 0 } };
  for (int who = 0; who < N_INSTANCES; who++) {
    if (!has_bit(k->all.w, who)) continue;
    memset(k->got, 0, sizeof k->got); memset(k->waited, 0, sizeof k->waited);
    k->out = 0;
    probe_all(c, s, k, who);
    if (k->out || !some_bit(k->waited, ELEMENT_WORDS)) continue;
    memcpy(k->blocked[who], k->waited, sizeof k->waited);
    add_bit(stuck.w, who);
  }
  if (!some_bit(stuck.w, INSTANCE_WORDS) || !circle(k, &stuck)) return;
  /* A thread that can do anything at all is not stuck; that costs more to find out. */
  memset(&k->moving, 0, sizeof k->moving);
  c->watch = note_moving;
  expand(c, s);
  c->watch = NULL;
  for (int i = 0; i < INSTANCE_WORDS; i++) stuck.w[i] &= ~k->moving.w[i];
  if (circle(k, &stuck)) keep(c, FINDING_LOCK_CYCLE);
}

/* The nearest state where `acquired` was acquired while `held` was held; NONE if there is none. */
uint32_t engine_lock_order(Engine *e, int held, int acquired) {
  uint32_t best = NONE;
  for (int t = 0; t < e->threads; t++) {
    if (!e->ctx[t]->locks) continue;
    uint32_t v = e->ctx[t]->locks->first[held][acquired];
    if (v == NONE) continue;
    int level = level_of(e, v), least = best == NONE ? level + 1 : level_of(e, best);
    if (level < least || (level == least && less(&e->store[v], &e->store[best]))) best = v;
  }
  return best;
}
