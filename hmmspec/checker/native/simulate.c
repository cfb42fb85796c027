/* Random runs: from a start drawn at random, one enabled step after another, each as likely as any other.
 *
 * Included behind the rules and checks of a spec that is simulated; of engine.c it uses the successors and the checks,
 * not the store.  No state is kept but the one where a run stands, so that any number of runs takes the same memory.
 *
 * Which steps run k takes depends on the seed and on k alone (NOTE(random-runs) in hmmspec/checker/explicit/chance.py),
 * whatever thread does it: what is shown does not depend on the number of threads.
 */

#define GOLDEN 0x9e3779b97f4a7c15ull
#define FEW (sizeof(St) * 64 < (1u << 20) ? (1u << 20) / sizeof(St) : 64) /* steps out of a state that are remembered */
#define LOOK 32                     /* states between two looks at the clock */

/* Where something was found: state number `at` of a run; `length`: of the run that shows it, a step longer or not. */
typedef struct { uint64_t run; int at, length; } Shown;

typedef struct Walk Walk;

typedef struct {
  Engine *e;                        /* threads' contexts, flags */
  const St *starts; uint64_t n_starts, seed, runs;
  int depth, keep;
  _Atomic uint64_t next;            /* the first run that nobody has begun */
  double until;
  Walk *walk[MAX_THREADS];
} Random;

struct Walk {
  Random *r; Ctx *c;
  int walking, judging;
  uint64_t run, stream; int at;     /* state number `at` of this run .. */
  St here;                          /* .. is this */
  St *next; int *rules; uint64_t n; /* the first FEW steps out of it, and how many there are */
  uint64_t pick; St picked; int picked_rule;
  Shown *shown; int n_shown[N_FINDINGS + 1]; uint64_t last[N_FINDINGS + 1];
#if HAS_LOCKS
  Shown pair[N_ELEMENTS * N_ELEMENTS];  /* where one was first acquired while another was held; length 0: nowhere */
#endif
  uint64_t steps, judged; int longest;
  uint64_t fired[2 * N_RULES + 1];
};

/* ---------------------------------------------------------------- chance */

static inline uint64_t scatter(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  return x ^ x >> 31;
}

static uint64_t stream_of(uint64_t seed, uint64_t run) { return scatter(scatter(seed + GOLDEN) + run * GOLDEN); }

/* Choice number `i` of a run, out of n. */
static uint64_t drawn(uint64_t stream, uint64_t i, uint64_t n) {
  return (uint64_t)((__uint128_t)scatter(stream + (i + 1) * GOLDEN) * n >> 64);
}

/* ---------------------------------------------------------------- what is found */

static int better(const Shown *a, const Shown *b) {
  return a->length != b->length ? a->length < b->length : a->run < b->run;
}

/* Enter into a list with the best first; returns how many are in it now. */
static int enter_shown(Shown *list, int n, int keep, Shown one) {
  int at = n;
  if (n == keep && !better(&one, &list[--at])) return n;
  for (; at > 0 && better(&one, &list[at - 1]); at--) list[at] = list[at - 1];
  list[at] = one;
  return n < keep ? n + 1 : n;
}

static void note_shown(Ctx *c, int finding, int length) {
  Walk *w = c->into;
  Shown one = { w->run, w->at, length };
#if HAS_LOCKS
  if (finding >= N_FINDINGS) {
    Shown *pair = &w->pair[finding - N_FINDINGS];
    if (!pair->length) *pair = one;
    return;
  }
#endif
  if (w->last[finding] == w->run + 1) return;   /* the first of each run counts */
  w->last[finding] = w->run + 1;
  Shown *list = w->shown + (size_t)finding * (size_t)w->r->keep;
  w->n_shown[finding] = enter_shown(list, w->n_shown[finding], w->r->keep, one);
}

/* ---------------------------------------------------------------- one step */

/* A fault counts once for each rule, arguments and finding. */
static void see_fault(Ctx *c, Walk *w, int rule, V number) {
  if (c->fault_from != c->from || c->fault_rule != rule || c->fault_number != number) {
    c->fault_from = c->from; c->fault_rule = rule; c->fault_number = number;
    memset(c->fault_seen, 0, sizeof c->fault_seen);
  }
  if (c->fault_seen[c->fault_finding]) return;
  c->fault_seen[c->fault_finding] = 1;
  w->judged++; w->fired[N_RULES + rule]++;
  note_shown(c, c->fault_finding, w->at + 1);
}

static void see_step(Ctx *c, const St *t, int rule, V number) {
  Walk *w = c->into;
  if (!t) { if (w->judging) see_fault(c, w, rule, number); return; }
  uint64_t k = w->n++;
  if (k < FEW) { w->next[k] = *t; w->rules[k] = rule; }
  if (!w->judging) return;
  if (HAS_STEPS) check_step(c, &w->here, t, rule, number);
#if HAS_LOCKS
  if (c->held && rule_waits[rule]) check_order(c, &w->here, t, rule, number);
#endif
#if HAS_REFINEMENT
  check_refinement(c, t);
#endif
}

static void find_step(Ctx *c, const St *t, int rule, V number) {
  Walk *w = c->into;
  (void)number;
  if (t && w->n++ == w->pick) { w->picked = *t; w->picked_rule = rule; }
}

static void look_around(Walk *w, void (*see)(Ctx *, const St *, int, V)) {
  Ctx *c = w->c;
  w->n = 0; c->outcomes = c->dropped = 0;
  c->watch = see;
  expand(c, &w->here);
  c->watch = NULL;
}

/* Take one of the steps out of this state; there is one. */
static void take_step(Walk *w) {
  w->pick = drawn(w->stream, (uint64_t)w->at + 1, w->n);
  if (w->pick < FEW) { w->picked = w->next[w->pick]; w->picked_rule = w->rules[w->pick]; }
  else look_around(w, find_step);
  w->here = w->picked;
  w->at++;
}

static void begin_run(Walk *w, uint64_t run) {
  Random *r = w->r;
  w->run = run; w->at = 0; w->stream = stream_of(r->seed, run);
  w->here = r->starts[drawn(w->stream, 0, r->n_starts)];
  w->walking = 1;
}

/* Judge the state where the run stands and every step out of it, and take one. */
static void judge_and_step(Walk *w) {
  Ctx *c = w->c;
  if (++c->from == NONE) c->from = 0;
  c->depth = w->at;
  check_state(c, &w->here);
#if HAS_LOCKS
  c->held = locks_held(&w->here);
#endif
#if HAS_REFINEMENT
  begin_refinement(c, &w->here);
#endif
  look_around(w, see_step);
  if (c->outcomes == c->dropped && !may_rest(c, &w->here)) keep(c, c->dropped ? FINDING_STUCK : FINDING_DEADLOCK);
#if HAS_LOCKS
  if (c->held > !HAS_READERS) { uint64_t n = w->n; check_circle(c, &w->here); w->n = n; }
#endif
  w->judged += w->n;
  if (w->at == w->r->depth || !w->n) { w->walking = 0; return; }
  take_step(w);
  w->fired[w->picked_rule]++; w->steps++;
  if (w->at > w->longest) w->longest = w->at;
}

/* ---------------------------------------------------------------- many runs */

static void *walk_on(void *p) {
  Walk *w = p;
  Random *r = w->r;
  for (unsigned turn = 0; !atomic_load_explicit(&r->e->stop, memory_order_relaxed); turn++) {
    if (turn % LOOK == LOOK - 1 && now() > r->until) break;
    if (!w->walking) {
      uint64_t run = atomic_load(&r->next);
      do if (run >= r->runs) return NULL; while (!atomic_compare_exchange_weak(&r->next, &run, run + 1));
      begin_run(w, run);
    }
    judge_and_step(w);
    if (w->c->overflow) atomic_store(&r->e->stop, w->c->overflow);
  }
  return NULL;
}

void random_free(Random *r) {
  if (!r->e) { free(r); return; }
  for (int t = 0; t < r->e->threads; t++) {
    Walk *w = r->walk[t];
    if (w) { free(w->next); free(w->rules); free(w->shown); free(w); }
    Ctx *c = r->e->ctx[t];
    if (c) { free(c->others); free(c->other_places); free(c->locks); free(c); }
  }
  free(r->e); free(r);
}

/* starts: stay the caller's; runs: how many; depth: steps of each at most; keep: places kept of each finding.
 * NULL if the system does not give the memory. */
Random *random_new(const St *starts, uint64_t n_starts, uint64_t seed, uint64_t runs, int depth, int threads,
                   int keep) {
  Random *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  Engine *e = r->e = calloc(1, sizeof *e);
  if (!e) { random_free(r); return NULL; }
  r->starts = starts; r->n_starts = n_starts; r->seed = seed; r->runs = runs; r->depth = depth; r->keep = keep;
  e->keep = keep;
  e->begin = NONE;                  /* check_order notes each pair once */
  e->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  for (int t = 0; t < e->threads; t++) {
    Ctx *c = e->ctx[t] = calloc(1, sizeof *c);
    Walk *w = r->walk[t] = calloc(1, sizeof *w);
    if (!c || !w) { random_free(r); return NULL; }
    w->next = malloc(FEW * sizeof *w->next);
    w->rules = malloc(FEW * sizeof *w->rules);
    w->shown = malloc(sizeof *w->shown * (size_t)keep * N_FINDINGS);
    if (!w->next || !w->rules || !w->shown) { random_free(r); return NULL; }
    w->r = r; w->c = c; w->judging = 1;
    c->e = e; c->fault_from = NONE; c->into = w; c->note = note_shown;
  }
  return r;
}

/* Go on for about so many seconds; returns as engine_run does. */
int random_go(Random *r, double seconds) {
  pthread_t ids[MAX_THREADS];
  int started[MAX_THREADS] = { 0 };
  r->until = now() + seconds;
  for (int t = 1; t < r->e->threads; t++) started[t] = !pthread_create(&ids[t], NULL, walk_on, r->walk[t]);
  walk_on(r->walk[0]);
  for (int t = 1; t < r->e->threads; t++) {
    if (started[t]) pthread_join(ids[t], NULL);
    else if (r->walk[t]->walking) walk_on(r->walk[t]);  /* of a thread that the system does not give any more */
  }
  int over = r->next >= r->runs;
  for (int t = 0; t < r->e->threads; t++) if (r->walk[t]->walking) over = 0;
  return r->e->stop ? r->e->stop : over ? 0 : 4;
}

typedef struct { uint64_t runs, steps, judged; int longest; } Walked;

/* What has been done so far; fired: by rule steps taken, then steps that ended in an error. */
void random_walked(Random *r, Walked *out, uint64_t *fired) {
  *out = (Walked){ r->next, 0, 0, 0 };
  memset(fired, 0, sizeof(uint64_t) * 2 * N_RULES);
  for (int t = 0; t < r->e->threads; t++) {
    const Walk *w = r->walk[t];
    out->steps += w->steps; out->judged += w->judged;
    if (w->longest > out->longest) out->longest = w->longest;
    for (int i = 0; i < 2 * N_RULES; i++) fired[i] += w->fired[i];
  }
}

/* Where a finding was shown, the shortest runs first and of those the first ones; returns how many are kept. */
int random_shown(Random *r, int finding, Shown *out) {
  int n = 0;
  for (int t = 0; t < r->e->threads; t++) {
    const Walk *w = r->walk[t];
    for (int i = 0; i < w->n_shown[finding]; i++)
      n = enter_shown(out, n, r->keep, w->shown[(size_t)finding * (size_t)r->keep + (size_t)i]);
  }
  return n;
}

/* Where `acquired` was first acquired while `held` was held; 0 if nowhere. */
int random_pair(Random *r, int held, int acquired, Shown *out) {
  int found = 0;
#if HAS_LOCKS
  for (int t = 0; t < r->e->threads; t++) {
    const Shown *one = &r->walk[t]->pair[held * N_ELEMENTS + acquired];
    if (!one->length || (found && (out->run < one->run || (out->run == one->run && out->at <= one->at)))) continue;
    *out = *one; found = 1;
  }
#else
  (void)r; (void)held; (void)acquired; (void)out;
#endif
  return found;
}

/* The states of a run, 0..at; when all is done. */
void random_path(Random *r, uint64_t run, int at, St *out) {
  Walk *w = r->walk[0];
  begin_run(w, run);
  w->judging = 0;
  out[0] = w->here;
  for (int i = 1; i <= at; i++) {
    look_around(w, see_step);
    take_step(w);
    out[i] = w->here;
  }
  w->judging = 1; w->walking = 0;
}
