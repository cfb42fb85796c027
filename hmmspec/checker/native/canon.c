/* Canonical forms of states under renamings of identities: the general way.
 *
 * Included behind the generated `permute` and `signatures`.  Each identity gets a signature that no renaming changes;
 * identities are put in the order of their signatures; where signatures tie, refinement by whom an identity meets tells
 * more of them apart, and what still ties is tried: of all states that the ties leave the least is the representative.
 * Twins (identities whose exchange leaves the state as it is) are not tried against one another.  The renamings that
 * give the least state are a coset of the state's stabiliser (after twins are counted in), which gives the orbit's size.
 *
 * A hash that two different identities share by accident makes a tie that is tried: it costs time, never exactness.
 */

#define TRIED_AT_ONCE 24          /* ways left by ties up to which they are simply tried */
#define NOT_REFINED 6

typedef struct { int from, to; uint64_t contents; } Meeting;      /* identities that occur in one place of the state */
typedef struct { uint16_t order[N_IDS], start[N_IDS]; } Cells;    /* by position: identity, where its cell begins */

struct Canon {
  uint64_t sig[N_IDS];
  Meeting meeting[MAX_MEETINGS + 1]; int meetings;
  uint16_t who[MAX_NAMINGS + 1]; uint64_t role[MAX_NAMINGS + 1]; int namings;
  uint16_t outer_who[MAX_OUTER + 1]; uint64_t outer_role[MAX_OUTER + 1]; int outer;  /* in the indices on the way */
  uint16_t twin[N_IDS];           /* the first of the identities it can be exchanged with */
  uint64_t met[N_IDS], own[N_IDS];
  const St *in;
  St best; Renaming chosen;
  uint64_t hits; int tried, gave_up;
};

static _Thread_local Canon canon_of_thread;

/* ---------------------------------------------------------------- what `signatures` calls for each place */

static inline void names(Canon *k, int who, uint64_t role) { k->who[k->namings] = (uint16_t)who; k->role[k->namings++] = role; }

/* The identities noted since `from` are in an index: they occur in all places under it. */
static inline void to_outer(Canon *k, int from) {
  for (; k->namings > from; k->outer++) {
    k->namings--;
    k->outer_who[k->outer] = k->who[k->namings]; k->outer_role[k->outer] = k->role[k->namings];
  }
}

static inline int begin_place(Canon *k) {
  int from = k->namings;
  for (int i = 0; i < k->outer; i++) names(k, k->outer_who[i], k->outer_role[i]);
  return from;
}

static inline void end_place(Canon *k, int from, uint64_t contents) {
  int n = k->namings - from;
  if (n > 1) {
    if (n == 2 && k->who[from] == k->who[from + 1]) contents = mix(contents);
    k->meeting[k->meetings++] = (Meeting){ from, k->namings, contents };
  }
  for (int i = from; i < k->namings; i++) k->sig[k->who[i]] += mix(contents ^ k->role[i]);
  if (n < 2) k->namings = from;
}

/* ---------------------------------------------------------------- cells */

static inline int cell_end(const Cells *p, int at) {
  int end = at + 1;
  while (end < N_IDS && p->start[end] == p->start[at]) end++;
  return end;
}

static inline void sort_cell(Cells *p, int begin, int end, const uint64_t *key) {
  for (int i = begin + 1; i < end; i++) {
    uint16_t id = p->order[i];
    int j = i;
    for (; j > begin && key[p->order[j - 1]] > key[id]; j--) p->order[j] = p->order[j - 1];
    p->order[j] = id;
  }
}

/* Parts a sorted cell where the keys differ; how many new cells. */
static inline int part_cell(Cells *p, int begin, int end, const uint64_t *key) {
  int parts = 0;
  for (int i = begin + 1; i < end; i++) {
    int differs = key[p->order[i]] != key[p->order[i - 1]];
    parts += differs;
    p->start[i] = (uint16_t)(differs ? i : p->start[i - 1]);
  }
  return parts;
}

/* Part the cells by which others their identities meet, and in which roles, until that tells nothing new. */
static void refine(Canon *k, Cells *p) {
  for (;;) {
    uint16_t colour[N_IDS];
    int parts = 0;
    for (int i = 0; i < N_IDS; i++) colour[p->order[i]] = p->start[i];
    memset(k->met, 0, sizeof k->met);
    for (int m = 0; m < k->meetings; m++) {
      int from = k->meeting[m].from, to = k->meeting[m].to;
      uint64_t all = 0;
      for (int i = from; i < to; i++) {
        all += mix(k->role[i] + 0x9e3779b97f4a7c15ull * (colour[k->who[i]] + 1));
        k->own[k->who[i]] += mix(~k->role[i]);
      }
      for (int i = from; i < to; i++)
        k->met[k->who[i]] += mix(k->meeting[m].contents + mix(k->role[i] + mix(all ^ mix(k->own[k->who[i]]))));
      for (int i = from; i < to; i++) k->own[k->who[i]] = 0;
    }
    for (int b = 0, e; b < N_IDS; b = e) {
      e = cell_end(p, b);
      if (e - b < 2) continue;
      sort_cell(p, b, e, k->met);
      parts += part_cell(p, b, e, k->met);
    }
    if (!parts) return;
  }
}

/* ---------------------------------------------------------------- ties */

static void find_twins(Canon *k, const Cells *p) {
  Renaming swap;
  for (int i = 0; i < N_IDS; i++) swap.to[i] = (uint16_t)(i - type_base[type_of[i]]);
  for (int b = 0, e; b < N_IDS; b = e) {
    e = cell_end(p, b);
    for (int i = b + 1; i < e; i++)
      for (int j = b; j < i; j++) {
        int x = p->order[i], y = p->order[j];
        if (k->twin[y] != y) continue;
        uint16_t at_x = swap.to[x], at_y = swap.to[y];
        St out;
        swap.to[x] = at_y; swap.to[y] = at_x;
        permute(k->in, &out, &swap);
        swap.to[x] = at_x; swap.to[y] = at_y;
        if (equal(k->in, &out)) { k->twin[x] = (uint16_t)y; break; }
      }
  }
}

/* In how many ways the cells can be ordered, not telling twins apart; something larger than CANON_TRIES if too many. */
static uint64_t ways(const Canon *k, const Cells *p) {
  uint64_t n = 1;
  uint16_t count[N_IDS];
  memset(count, 0, sizeof count);
  for (int i = 0; i < N_IDS; i++) {
    n = n * (uint64_t)(i - p->start[i] + 1) / ++count[k->twin[p->order[i]]];
    if (n > 1ull << 40) break;
  }
  return n;
}

static void candidate(Canon *k, const Cells *p) {
  Renaming by;
  St out;
  for (int i = 0; i < N_IDS; i++) by.to[p->order[i]] = (uint16_t)(i - type_base[type_of[i]]);
  permute(k->in, &out, &by);
  if (!k->hits || less(&out, &k->best)) { k->best = out; k->chosen = by; k->hits = 1; }
  else if (equal(&out, &k->best)) k->hits++;
}

static void arrange(Canon *k, Cells *p, int at) {
  while (at < N_IDS && cell_end(p, at) == at + 1) at++;
  if (at == N_IDS) {
    if (k->tried++ >= CANON_TRIES && k->hits) k->gave_up = 1;
    else candidate(k, p);
    return;
  }
  int end = cell_end(p, at);
  uint16_t first = p->order[at];
  for (int j = at; j < end && !k->gave_up; j++) {
    uint16_t id = p->order[j];
    int done = 0;
    for (int i = at; i < j; i++) done |= k->twin[p->order[i]] == k->twin[id];
    if (done) continue;
    p->order[j] = first; p->order[at] = id;
    arrange(k, p, at + 1);
    p->order[at] = first; p->order[j] = id;
  }
}

/* Try what ties leave: single out each identity of the first cell that is not all twins, refine, go on. */
static void try_ties(Canon *k, const Cells *p) {
  Cells q = *p;
  if (ways(k, p) <= TRIED_AT_ONCE) { arrange(k, &q, 0); return; }
  if (k->tried++ >= CANON_TRIES && k->hits) { k->gave_up = 1; return; }
  int b = 0, e = 0;
  for (;; b = e) {
    e = cell_end(p, b);
    int apart = 0;
    for (int i = b + 1; i < e; i++) apart |= k->twin[p->order[i]] != k->twin[p->order[b]];
    if (apart) break;
  }
  for (int i = b; i < e && !k->gave_up; i++) {
    int done = 0;
    for (int j = b; j < i; j++) done |= k->twin[p->order[j]] == k->twin[p->order[i]];
    if (done) continue;
    q = *p;
    q.order[b] = p->order[i]; q.order[i] = p->order[b];
    for (int j = b + 1; j < e; j++) q.start[j] = (uint16_t)(b + 1);
    refine(k, &q);
    try_ties(k, &q);
  }
}

/* ---------------------------------------------------------------- the whole */

static Canon *canonicalise(const St *in) {
  Canon *k = &canon_of_thread;
  Cells p;
  int ties = 0;
  k->in = in; k->hits = 0; k->tried = 0; k->gave_up = 0; k->meetings = k->namings = k->outer = 0;
  memset(k->sig, 0, sizeof k->sig);
  signatures(k, in);
  for (int i = 0; i < N_IDS; i++) { p.order[i] = k->twin[i] = (uint16_t)i; p.start[i] = (uint16_t)type_base[type_of[i]]; }
  for (int t = 0; t < N_TYPES; t++) {
    int size = type_base[t + 1] - type_base[t];
    sort_cell(&p, type_base[t], type_base[t + 1], k->sig);
    ties |= part_cell(&p, type_base[t], type_base[t + 1], k->sig) < size - 1;
  }
  if (ties) {
    find_twins(k, &p);
    uint64_t n = ways(k, &p);
    if (n > NOT_REFINED) refine(k, &p);
    if (n > 1) { try_ties(k, &p); return k; }
  }
  candidate(k, &p);
  return k;
}

static int canonical(const St *in, St *out) {
  Canon *k = canonicalise(in);
  *out = k->best;
  return !k->gave_up;
}

/* Also a renaming that leads there: for each identity, which one it becomes. */
static void canonical_renaming(const St *in, St *out, uint16_t *to) {
  Canon *k = canonicalise(in);
  *out = k->best;
  memcpy(to, k->chosen.to, sizeof k->chosen.to);
}

/* How many states are renamings of this one; 0 if that is not known or does not fit. */
static uint64_t orbit_size(const St *s) {
  Canon *k = canonicalise(s);
  uint16_t count[N_IDS];
  uint64_t n = 1;
  memset(count, 0, sizeof count);
  if (k->gave_up) return 0;
  for (int i = 0; i < N_IDS; i++) {
    __uint128_t more = (__uint128_t)n * (unsigned)(i - type_base[type_of[i]] + 1) / ++count[k->twin[i]];
    if (more >> 64) return 0;
    n = (uint64_t)more;
  }
  return n / k->hits;
}
