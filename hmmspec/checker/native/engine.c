/* The engine: breadth-first exploration of packed states.
 *
 * This file is included behind the generated part's heading (WORDS, N_RULES, ..) and before its rules; `expand` and
 * the checks at the end of the generated file call back into it through `emit`.
 *
 * Memory.  `store` holds the states in the order in which they are found, so that levels are ranges of it; `table` is
 * an open-addressed hash table of indices into it.  Both lie in address space that is reserved once and used as it is
 * touched; the table grows by being filled again from the store, so that the old and the new one never exist together.
 * Where a state fits 63 bits the table holds the states themselves (`direct`): a look at it costs one miss of the cache
 * and not two.  When memory gets tight, or somebody asks for indices, it becomes one of indices.
 * With --spill the store is a file, see spill.c; with --hash the table keeps hashes of states, see compact.c.
 * No parent links are kept: a trace is found by expanding the levels before it once more (`engine_predecessors`).
 *
 * Threads.  All threads work on one level; a state is entered by writing it to the store and then its index into the
 * table with compare-and-swap.  Where the table gets full within a level all threads come to rest in `rest` and one of
 * them grows it.  What is reported (counts, the least violating states) does not depend on the order in which they
 * work.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int64_t V;
typedef struct { uint64_t w[WORDS]; } St;

#define BATCH 64            /* states waiting for their place in the table to come into the cache */
#define PIECE 256           /* states of a level that a thread takes at a time */
#define RECENT (WORDS == 1 ? 4096 : WORDS <= 8 ? 1024 : 64) /* states found last: most are found again soon */
#define SCRIPT 4096         /* choices on one way through a step */
#define MAX_THREADS 64
#define MAX_STATES 0xfffffff0ull
#define FIRST_SLOTS (1 << 12)
#define FILTER (1 << 14)
/* States that all threads together may enter between two looks at the table's load. */
#define SLACK(e) ((uint64_t)(e)->threads * BATCH * 2 + 64)
#define NONE UINT32_MAX
#define LINE_BYTES 64               /* of a table of hashes */
#define PAGE 4096ull
#define MOST_DISK (1ull << 43)      /* bytes: what file systems with blocks of 4 KiB can hold in one file */

/* ---------------------------------------------------------------- the engine's data */

/* The least states of a finding: by length of the run that shows it, then by their packed words. */
typedef struct {
  uint32_t *index; int *length;     /* `Engine.keep` of each */
  int n, worst;                     /* worst: which of them goes next, if n == keep */
  uint32_t last; int last_length;   /* what came last: a state counts once */
} Kept;

typedef struct Ctx Ctx;
typedef struct Locks Locks;

typedef struct {
  St *store;
  _Atomic(uint32_t) *table;
  int direct;                       /* the slots of the table are 64 bits: a state + 1 */
  uint64_t slots;                   /* of the table; of one of indices a power of two */
  uint64_t mask;                    /* slots - 1 */
  _Atomic uint64_t count;           /* states in the store */
  uint64_t capacity;                /* states for which there is memory, with the table as it is */
  uint64_t fill;                    /* states at which the table wants to grow; none where it cannot */
  uint64_t store_bytes, reserved;   /* address space of the store and of the table */
  uint64_t memory;                  /* bytes that states and table may take */
  int file, disk_full;              /* of a store on disk (-1: in memory); why there was no more space */
  uint64_t taken;                   /* bytes of the file for which there is space */
  uint64_t window, read, read_before, written; pthread_mutex_t sliding;   /* bytes of the store; see `slide` */
  uint64_t compared;                /* kept bits that new states were compared with; see compact.c */
#if HASH_BITS
  __uint128_t keys[WORDS + 1];
#endif
  uint64_t max_states;
  uint32_t begin, end;              /* the level that is being expanded */
  _Atomic uint64_t next;            /* the next piece of it */
  int depth;
  _Atomic int stop;                 /* 1: no room, 2: asked to stop, 3: 64 bits were not enough, 5: out of memory, 6: a
                                     step with too many choices, 7: no room on disk */
  _Atomic int pause;                /* the time of this call is up */
  double until;
  uint32_t *level_end; int levels, levels_room;
  uint64_t transitions, faults;
  uint64_t expanded;                /* states, by this process: not those of before a checkpoint */
  uint64_t full; int full_unknown, representatives; /* under symmetry, of the expanded states: see engine_report */
  uint64_t fired[2 * N_RULES + 1];  /* steps of each rule, then those that end in an error */
  int keep;
  int keep_lost;                    /* whether new states for which there is no room are kept for a checkpoint */
  Kept kept[N_FINDINGS + 1];
  unsigned char done[N_FINDINGS + 1]; /* nothing less can be found any more */
  unsigned char seen[N_SEEN + 1];   /* questions answered with yes so far, then properties that could not be judged */
  int threads;
  Ctx *ctx[MAX_THREADS];
  /* coming to rest */
  pthread_mutex_t lock; pthread_cond_t rested;
  int working, resting; unsigned growths;
  /* the search for predecessors */
  int tracing; const St *targets; int n_targets; uint32_t *found; unsigned char filter[FILTER];
} Engine;

struct Ctx {
  Engine *e;
  int fault;                        /* number of the fault site, 0 if none */
  int failed;                       /* number of the failed check, 0 if none */
  int overflow;                     /* what `stop` will be */
  uint32_t from;                    /* index of the state that is being expanded */
  int depth;                        /* length of the shortest run to it */
  int outcomes, dropped;            /* of that state so far */
  void (*watch)(Ctx *c, const St *t, int rule, V number); /* sees steps (faults: t is NULL) instead of the search */
  void *into;                       /* what `watch` works on */
  void (*note)(Ctx *c, int finding, int length); /* takes what is found instead of the search; see simulate.c */
  int fault_finding;                /* of the fault that `watch` sees */
  int held; Locks *locks;           /* locks held in that state; see locks.c */
  St image; int image_erred;        /* of that state in the abstract system; see refine.c */
  uint64_t transitions, faults, expanded, compared;
  uint64_t full; int full_unknown, representatives;
  St *lost; uint64_t n_lost, lost_room; int lost_unknown; /* states for which there was no room; see checkpoint.c */
  uint64_t fired[2 * N_RULES + 1];  /* steps of each rule, then those that end in an error */
  Kept kept[N_FINDINGS + 1];
  unsigned char seen[N_SEEN + 1];
  uint32_t spare;                   /* an index that was taken and not used */
  int waiting;
  St recent[RECENT];
  St batch[BATCH]; uint64_t hash[BATCH];
  int script[SCRIPT], ways[SCRIPT], script_length, at;
  St *others; int n_others, others_room;            /* outcomes of this step and these arguments */
  int *other_places, others_placed;                 /* where they are by hash, if there are many */
  uint32_t fault_from; int fault_rule; V fault_number;
  unsigned char fault_seen[N_FINDINGS + 1];         /* findings of this step and these arguments */
};

/* packed.c */

static __attribute__((unused)) void begin_outcomes(Ctx *c) { c->n_others = 0; c->others_placed = 0; }

/* ---------------------------------------------------------------- states and their table */

static inline uint64_t recent_place(uint64_t h) { return (h >> 40) % RECENT; }

/* The index of a state that is in the table, or NONE; only after `index_states`. */
static uint32_t lookup(Engine *e, const St *s) {
  for (uint64_t i = hash_of(s) & e->mask;; i = (i + 1) & e->mask) {
    uint32_t slot = atomic_load_explicit(&e->table[i], memory_order_acquire);
    if (!slot) return NONE;
    if (equal(&e->store[slot - 1], s)) return slot - 1;
  }
}

/* Where a state belongs in a table of states or of hashes: the order is that of the hashes, whatever the number of slots
 * or lines. */
static inline uint64_t home_of(const Engine *e, uint64_t h) { return (uint64_t)((__uint128_t)h * e->slots >> 64); }

static inline _Atomic(uint64_t) *direct_slot(const Engine *e, uint64_t i) { return (_Atomic(uint64_t) *)e->table + i; }

/* A new state for which there is no room: the search ends.  A checkpoint holds it all the same. */
static __attribute__((noinline)) void no_room(Ctx *c, const St *s) {
  Engine *e = c->e;
  atomic_store(&e->stop, e->disk_full ? 7 : 1);
  if (!e->keep_lost || c->lost_unknown) return;
  if (c->n_lost == c->lost_room) {
    uint64_t room = c->lost_room ? 2 * c->lost_room : BATCH;
    St *more = realloc(c->lost, sizeof(St) * room);
    if (!more) { c->lost_unknown = 1; return; }
    c->lost = more; c->lost_room = room;
  }
  c->lost[c->n_lost++] = *s;
}

/* Enter a state into a table of states. */
static inline void enter_direct(Ctx *c, const St *s, uint64_t h) {
  Engine *e = c->e;
  for (uint64_t i = home_of(e, h), key = s->w[0] + 1;; i = i + 1 < e->slots ? i + 1 : 0) {
    uint64_t slot = atomic_load_explicit(direct_slot(e, i), memory_order_relaxed);
    if (slot == key) return;
    if (slot) continue;
    /* Threads that look at the same moment go beyond `capacity`, but not beyond the store. */
    if (atomic_load_explicit(&e->count, memory_order_relaxed) >= e->capacity) { no_room(c, s); return; }
    if (atomic_compare_exchange_strong_explicit(direct_slot(e, i), &slot, key, memory_order_relaxed,
                                                memory_order_relaxed)) {
      e->store[atomic_fetch_add_explicit(&e->count, 1, memory_order_relaxed)] = *s;
      return;
    }
    if (slot == key) return;
  }
}

/* Enter a state into a table of indices. */
static void enter_indexed(Ctx *c, const St *s, uint64_t h) {
  Engine *e = c->e;
  for (uint64_t i = h & e->mask;;) {
    uint32_t slot = atomic_load_explicit(&e->table[i], memory_order_acquire);
    if (!slot) {
      uint64_t mine = c->spare;
      if (mine == NONE) {
        /* The table has more slots than the store has room, so that a search for a slot always ends. */
        if (atomic_load_explicit(&e->count, memory_order_relaxed) >= e->capacity ||
            (mine = atomic_fetch_add_explicit(&e->count, 1, memory_order_relaxed)) >= e->capacity) {
          no_room(c, s);
          return;
        }
      }
      e->store[mine] = *s;
      if (atomic_compare_exchange_strong_explicit(&e->table[i], &slot, (uint32_t)mine + 1, memory_order_acq_rel,
                                                  memory_order_acquire)) {
        c->spare = NONE;
        return;
      }
      c->spare = (uint32_t)mine;    /* another thread was faster: the index serves the next state */
    }
    if (equal(&e->store[slot - 1], s)) return;
    i = (i + 1) & e->mask;
  }
}

#if HASH_BITS
static void enter_hashed(Ctx *c, const St *s, uint64_t h);
#else
#define enter_hashed enter_indexed
#endif

static void enter(Ctx *c, const St *s, uint64_t h) {
  if (HASH_BITS) enter_hashed(c, s, h);
  else if (DIRECT && c->e->direct) enter_direct(c, s, h);
  else enter_indexed(c, s, h);
}

/* Not a function: compilers take one that only fetches for one that does nothing. */
#define prefetch_slot(e, h) \
  __builtin_prefetch(HASH_BITS ? (const char *)(e)->table + home_of(e, h) * LINE_BYTES \
                     : DIRECT && (e)->direct ? (const char *)(e)->table + home_of(e, h) * sizeof(uint64_t) \
                                           : (const char *)(e)->table + ((h) & (e)->mask) * sizeof(uint32_t))

static void rest(Engine *e);

static void flush(Ctx *c) {
  Engine *e = c->e;
  /* Between two looks at the table's load each thread adds a batch at most. */
  if (atomic_load_explicit(&e->count, memory_order_relaxed) + (uint64_t)c->waiting >= e->fill) rest(e);
  if (HASH_BITS) {
    for (int k = 0; k < c->waiting; k++) enter_hashed(c, &c->batch[k], c->hash[k]);
    c->waiting = 0;
    return;
  }
  if (DIRECT && e->direct) {
    for (int k = 0; k < c->waiting; k++) enter_direct(c, &c->batch[k], c->hash[k]);
    c->waiting = 0;
    return;
  }
  for (int k = 0; k < c->waiting; k++) {
    uint32_t slot = atomic_load_explicit(&e->table[c->hash[k] & e->mask], memory_order_relaxed);
    if (slot) __builtin_prefetch(&e->store[slot - 1]);
  }
  for (int k = 0; k < c->waiting; k++) enter_indexed(c, &c->batch[k], c->hash[k]);
  c->waiting = 0;
}

/* ---------------------------------------------------------------- what the generated code reports */

#if HAS_SYMMETRY
static int canonical(const St *in, St *out);
static void canonical_renaming(const St *in, St *out, uint16_t *to);
static uint64_t orbit_size(const St *s);

static void count_orbit(Ctx *c, const St *s) {
  uint64_t n = orbit_size(s);
  if (!n || __builtin_add_overflow(c->full, n, &c->full)) c->full_unknown = 1;
}
#endif

static int assumed(Ctx *c, const St *t);
static void check_step(Ctx *c, const St *s, const St *t, int rule, V number);
#if HAS_LOCKS
static int locks_held(const St *s);
static void check_order(Ctx *c, const St *s, const St *t, int rule, V number);
static void check_circle(Ctx *c, const St *s);
#endif
#if HAS_REFINEMENT
static void begin_refinement(Ctx *c, const St *s);
static void check_refinement(Ctx *c, const St *t);
#endif

static int before(const Engine *e, int length, uint32_t index, int other_length, uint32_t other) {
  if (length != other_length) return length < other_length;
  return less(&e->store[index], &e->store[other]);
}

static void keep_one(const Engine *e, Kept *k, uint32_t index, int length) {
  if (k->last == index && k->last_length == length) return;
  k->last = index; k->last_length = length;
  int at = k->n;
  if (at < e->keep) k->n++;
  else if (before(e, length, index, k->length[k->worst], k->index[k->worst])) at = k->worst;
  else return;
  k->index[at] = index; k->length[at] = length;
  if (k->n < e->keep) return;
  k->worst = 0;
  for (int i = 1; i < k->n; i++)
    if (before(e, k->length[k->worst], k->index[k->worst], k->length[i], k->index[i])) k->worst = i;
}

static void keep_at(Ctx *c, int finding, int length) {
  if (c->note) { c->note(c, finding, length); return; }
  const Kept *all = &c->e->kept[finding];
  if (all->n == c->e->keep && length > all->length[all->worst]) return;
  keep_one(c->e, &c->kept[finding], c->from, length);
}

/* The state that is being expanded shows something; or a step out of it does. */
static inline void keep(Ctx *c, int finding) { keep_at(c, finding, c->depth); }
static inline void keep_step(Ctx *c, int finding) { keep_at(c, finding, c->depth + 1); }

static __attribute__((noinline)) void traced(Ctx *c, const St *s, const St *t) {
  Engine *e = c->e;
#if HAS_SYMMETRY
  St least;
  canonical(t, &least);
  t = &least;
#endif
  if (!e->filter[hash_of(t) % FILTER]) return;
  for (int i = 0; i < e->n_targets; i++)
    if (equal(&e->targets[i], t) && (e->found[i] == NONE || less(s, &e->store[e->found[i]]))) e->found[i] = c->from;
}

static __attribute__((noinline)) void step(Ctx *c, const St *s, const St *t, int rule, V number) {
  Engine *e = c->e;
  if (__builtin_expect(c->watch != NULL, 0)) { c->watch(c, t, rule, number); return; }
  if (__builtin_expect(e->tracing, 0)) { traced(c, s, t); return; }
  c->transitions++; c->fired[rule]++;
  if (HAS_STEPS) check_step(c, s, t, rule, number);
#if HAS_LOCKS
  if (c->held && rule_waits[rule]) check_order(c, s, t, rule, number);
#endif
#if HAS_REFINEMENT
  check_refinement(c, t);
#endif
#if HAS_SYMMETRY
  St least;
  if (!canonical(t, &least)) c->representatives = 1;
  t = &least;
#endif
  int k = c->waiting;
  uint64_t h = hash_of(t);
  c->batch[k] = *t; c->hash[k] = h;
  /* About half of all states were found a moment ago: those need no look at the table. */
  St *recent = &c->recent[recent_place(h)];
  int known = equal(recent, t);
  *recent = *t;
  prefetch_slot(e, h);
  c->waiting = k + !known;
  if (c->waiting == BATCH) flush(c);
}

static inline void emit(Ctx *c, const St *s, const St *t, int rule, V number) {
  c->outcomes++;
  if (HAS_ASSUMES) {
    int ok = assumed(c, t);
    if (c->fault) return;           /* reported by the caller as a fault of this step */
    if (!ok) { c->dropped++; return; }
  }
  step(c, s, t, rule, number);
}

/* Whether an outcome of this step and arguments is new; many of them are looked up by their hash. */
static int new_outcome(Ctx *c, const St *t) {
  const int few = 16;
  if (c->n_others == c->others_room) {
    int room = c->others_room ? 2 * c->others_room : few;
    St *more = realloc(c->others, sizeof(St) * (size_t)room);
    int *places = more ? realloc(c->other_places, sizeof(int) * 2 * (size_t)room) : NULL;
    if (more) c->others = more;
    if (places) c->other_places = places;
    if (!places) { atomic_store(&c->e->stop, 5); return 0; }
    c->others_room = room; c->others_placed = 0;
  }
  if (c->n_others < few) {
    for (int i = 0; i < c->n_others; i++) if (equal(&c->others[i], t)) return 0;
    c->others[c->n_others++] = *t;
    return 1;
  }
  uint64_t mask = 2 * (uint64_t)c->others_room - 1, i;
  if (!c->others_placed) {
    memset(c->other_places, 0, sizeof(int) * (mask + 1));
    for (int n = 0; n < c->n_others; n++) {
      for (i = hash_of(&c->others[n]) & mask; c->other_places[i]; i = (i + 1) & mask) {}
      c->other_places[i] = n + 1;
    }
    c->others_placed = 1;
  }
  for (i = hash_of(t) & mask; c->other_places[i]; i = (i + 1) & mask)
    if (equal(&c->others[c->other_places[i] - 1], t)) return 0;
  c->other_places[i] = c->n_others + 1;
  c->others[c->n_others++] = *t;
  return 1;
}

/* As emit, for a step with choices: each different outcome counts once. */
static __attribute__((unused)) void emit_outcome(Ctx *c, const St *s, const St *t, int rule, V number) {
  if (new_outcome(c, t)) emit(c, s, t, rule, number);
}

/* The step ends in a fault: it counts as enabled and as a transition, once for each kind of finding. */
static __attribute__((noinline)) void emit_fault(Ctx *c, const St *s, int rule, V number) {
  int name = c->fault ? FINDING_SPEC_ERROR : check_finding[c->failed];
  c->fault = 0; c->failed = 0;
  c->outcomes++;
  (void)s;
  if (c->watch) { c->fault_finding = name; c->watch(c, NULL, rule, number); return; }
  if (c->e->tracing) return;
  if (c->fault_from != c->from || c->fault_rule != rule || c->fault_number != number) {
    c->fault_from = c->from; c->fault_rule = rule; c->fault_number = number;
    memset(c->fault_seen, 0, sizeof c->fault_seen);
  }
  if (c->fault_seen[name]) return;
  c->fault_seen[name] = 1;
  c->transitions++; c->faults++; c->fired[N_RULES + rule]++;
  keep_step(c, name);
}

/* A property could not be evaluated in the state that is being expanded, or on a step out of it: a spec error. */
static inline int erred(Ctx *c, int unjudged, int on_step) {
  if (__builtin_expect(!c->fault, 1)) return 0;
  c->fault = 0;
  c->seen[unjudged] = 1;
  keep_at(c, FINDING_SPEC_ERROR, c->depth + on_step);
  return 1;
}

/* ---------------------------------------------------------------- exploration */

static void expand(Ctx *c, const St *s);
static int may_rest(Ctx *c, const St *s);
static void check_state(Ctx *c, const St *s);

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Length of a shortest run to a state. */
static int level_of(const Engine *e, uint32_t v) {
  int low = 0, high = e->levels;
  while (low < high) {
    int middle = (low + high) / 2;
    if (v < e->level_end[middle]) high = middle; else low = middle + 1;
  }
  return low;
}

static void *reserve(uint64_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

static inline uint64_t slot_bytes(int direct) {
  return HASH_BITS ? LINE_BYTES : direct ? sizeof(uint64_t) : sizeof(uint32_t);
}

static void set_slots(Engine *e, uint64_t slots, int direct) {
  e->slots = slots; e->mask = slots - 1; e->direct = direct;
}

static void new_table(Engine *e, uint64_t slots, int direct);
static int open_store(Engine *e, int file);
static uint64_t window_bytes(uint64_t memory);
static void take_disk(Engine *e);
static void slide(Engine *e);
static void let_go(Engine *e, uint64_t from, uint64_t to, int forget);
static inline void pass(Engine *e, uint64_t state);
#if HASH_BITS
static void new_keys(Engine *e, uint64_t seed);
static void fill_lines(Engine *e);
static void make_lines(Engine *e);
#endif

static uint64_t hash_of_key(uint64_t key) { St s = { { key - 1 } }; return hash_of(&s); }

/* More slots for a table of states, in place.  From the last slot down each goes to its new place, which is behind all
 * that are still to move; the few for which that is not so come at the end. */
static void grow_direct(Engine *e, uint64_t more) {
  uint64_t *table = (uint64_t *)e->table, slots = e->slots, first = 0, n_late = 0, room = 4096;
  uint64_t *late = malloc(room * sizeof *late);
  set_slots(e, more, 1);
  while (first < slots && table[first]) first++; /* what wraps around the end lies before this */
  for (uint64_t i = slots; late && i-- > 0;) {
    uint64_t key = table[i];
    if (!key) continue;
    table[i] = 0;
    uint64_t to = home_of(e, hash_of_key(key));
    int fine = i >= first && to >= i;
    while (fine && table[to]) fine = ++to < more;
    if (fine) { table[to] = key; continue; }
    if (n_late == room) {
      uint64_t *longer = realloc(late, (room *= 2) * sizeof *late);
      if (!longer) free(late);
      late = longer;
    }
    if (late) late[n_late++] = key;
  }
  if (!late) { new_table(e, more, 1); return; }
  for (uint64_t n = 0; n < n_late; n++) {
    uint64_t i = home_of(e, hash_of_key(late[n]));
    while (table[i]) i = i + 1 < more ? i + 1 : 0;
    table[i] = late[n];
  }
  free(late);
}

/* Another table: the old one is given back first, the new one filled from the store. */
static void new_table(Engine *e, uint64_t slots, int direct) {
  uint64_t count = e->count;
  madvise((void *)e->table, e->slots * slot_bytes(e->direct), MADV_DONTNEED);
  set_slots(e, slots, direct);
#if HASH_BITS
  fill_lines(e);
  return;
#endif
  for (uint64_t n = 0; n < count; n++) {
    if (direct) pass(e, n);
    if (n + 16 < count) prefetch_slot(e, hash_of(&e->store[n + 16]));
    uint64_t h = hash_of(&e->store[n]), i = direct ? home_of(e, h) : h & e->mask;
    if (direct) {
      while (atomic_load_explicit(direct_slot(e, i), memory_order_relaxed)) i = i + 1 < slots ? i + 1 : 0;
      atomic_store_explicit(direct_slot(e, i), e->store[n].w[0] + 1, memory_order_relaxed);
    } else {
      while (atomic_load_explicit(&e->table[i], memory_order_relaxed)) i = (i + 1) & e->mask;
      atomic_store_explicit(&e->table[i], (uint32_t)n + 1, memory_order_relaxed);
    }
  }
}

/* States for which there is room beside a table of so many slots; of these 15 in 16 are used at most.  States on disk
 * take no memory where the table holds them, too. */
static uint64_t room_beside(const Engine *e, uint64_t slots, int direct) {
  uint64_t bytes = slots * slot_bytes(direct), top = slots / 16 * 15;
  uint64_t room = e->memory > bytes ? (e->memory - bytes) / sizeof(St) : 0;
  if (e->file >= 0 && direct && bytes <= e->memory) room = UINT64_MAX;
  if (room > e->store_bytes / sizeof(St) - MAX_THREADS) room = e->store_bytes / sizeof(St) - MAX_THREADS;
  if (room > top) room = top;
  return e->max_states && room > e->max_states ? e->max_states : room;
}

/* The table of indices that leaves the most room. */
static uint64_t best_slots(const Engine *e) {
  uint64_t best = FIRST_SLOTS;
  for (uint64_t slots = FIRST_SLOTS; slots * slot_bytes(0) <= e->reserved; slots *= 2)
    if (room_beside(e, slots, 0) > room_beside(e, best, 0)) best = slots;
  return best;
}

/* States that are enough for a table of so many slots. */
static uint64_t full_at(uint64_t slots) { return slots / 3 * 2; }

/* Grow the table while it is full and that makes room for more states; where it does not, the table may fill up more
 * than is good for speed, but never completely.  No thread works meanwhile. */
static void make_room(Engine *e) {
#if HASH_BITS
  make_lines(e);
#else
  for (;;) {
    uint64_t slots = e->slots, best = best_slots(e), more = e->direct ? slots + slots / 2 : slots * 2;
    uint64_t most = e->reserved / slot_bytes(1);
    if (e->file >= 0 && e->direct && more > most && slots < most) more = most;
    e->capacity = room_beside(e, slots, e->direct);
    int can_grow = more * slot_bytes(e->direct) <= e->reserved && room_beside(e, more, e->direct) > e->capacity;
    int can_change = e->direct && e->file < 0 && room_beside(e, best, 0) > e->capacity;
    uint64_t full = can_grow && full_at(slots) < e->capacity ? full_at(slots) : e->capacity;
    e->fill = !can_grow && !can_change ? UINT64_MAX : full > SLACK(e) ? full - SLACK(e) : 0;
    if (e->count < e->fill) break;
    if (can_grow && e->direct) grow_direct(e, more);
    else new_table(e, can_grow ? more : best, 0);
  }
#endif
  if (e->file >= 0) take_disk(e);
}

/* After the search: a table of indices, for who asks for those; 0 if there can be none.  With such a table states are
 * looked at in any order: those on disk have to fit the memory now. */
static int index_states(Engine *e) {
  if (HASH_BITS) return 0;
  if (!e->direct) return 1;
  uint64_t slots = FIRST_SLOTS;
  while (full_at(slots) < e->count && slots * 2 * slot_bytes(0) <= e->reserved) slots *= 2;
  if (e->file >= 0 && e->count * sizeof(St) + slots * slot_bytes(0) > e->memory) return 0;
  new_table(e, slots, 0);
  make_room(e);
  return 1;
}

/* Every thread that works comes here when the table wants to grow; the last one does it. */
static void rest(Engine *e) {
  pthread_mutex_lock(&e->lock);
  if (e->count + BATCH >= e->fill) {
    unsigned turn = e->growths;
    e->resting++;
    while (turn == e->growths && e->resting < e->working) pthread_cond_wait(&e->rested, &e->lock);
    if (turn == e->growths) {
      make_room(e);
      e->growths++;
      pthread_cond_broadcast(&e->rested);
    }
    e->resting--;
  }
  pthread_mutex_unlock(&e->lock);
}

/* Indices that threads took in vain are holes: the last states move there.  Every hole is of the newest states. */
static void fill_holes(Engine *e) {
  uint64_t count = e->count;
  if (count > e->capacity) {
    int whole = HASH_BITS || (DIRECT && e->direct);   /* no place was taken in vain */
    for (uint64_t i = e->capacity; whole && i < count; i++) no_room(e->ctx[0], &e->store[i]);
    count = e->capacity;
  }
  for (;;) {
    Ctx *with = NULL;
    for (int t = 0; t < e->threads; t++) {
      Ctx *c = e->ctx[t];
      if (c->spare != NONE && (!with || c->spare > with->spare)) with = c;
    }
    if (!with) break;
    uint32_t hole = with->spare, last = (uint32_t)--count;
    with->spare = NONE;
    if (hole == last) continue;
    uint64_t i = hash_of(&e->store[last]) & e->mask;
    while (e->table[i] != last + 1) i = (i + 1) & e->mask;
    e->store[hole] = e->store[last];
    e->table[i] = hole + 1;
  }
  e->count = count;
}

static void expand_one(Ctx *c, uint32_t i) {
  Engine *e = c->e;
  St s = e->store[i];
  c->from = i; c->outcomes = 0; c->dropped = 0;
  if (!e->tracing) check_state(c, &s);
#if HAS_LOCKS
  c->held = locks_held(&s);
#endif
#if HAS_REFINEMENT
  if (!e->tracing) begin_refinement(c, &s);
#endif
  expand(c, &s);
  if (e->tracing) return;
#if HAS_SYMMETRY
  count_orbit(c, &s);
#endif
  if (c->outcomes == c->dropped && !may_rest(c, &s)) keep(c, c->dropped ? FINDING_STUCK : FINDING_DEADLOCK);
#if HAS_LOCKS
  if (c->held > !HAS_READERS) check_circle(c, &s);
#endif
}

static void work(Ctx *c) {
  Engine *e = c->e;
  c->depth = e->depth;
  while (!atomic_load_explicit(&e->pause, memory_order_relaxed) && !atomic_load_explicit(&e->stop, memory_order_relaxed)) {
    uint64_t from = atomic_fetch_add_explicit(&e->next, PIECE, memory_order_relaxed);
    if (from >= e->end) break;
    uint32_t to = from + PIECE < e->end ? (uint32_t)from + PIECE : e->end;
    c->expanded += to - from;
    for (uint32_t i = (uint32_t)from; i < to; i++) {
      if (i + 4 < to) __builtin_prefetch(&e->store[i + 4]);
      expand_one(c, i);
      if (c->overflow) { atomic_store(&e->stop, c->overflow); break; }
    }
    if (e->file >= 0) slide(e);
    if (now() > e->until) atomic_store(&e->pause, 1);
  }
  flush(c);
  pthread_mutex_lock(&e->lock);     /* those who rest do not wait for this one any more */
  e->working--;
  pthread_cond_broadcast(&e->rested);
  pthread_mutex_unlock(&e->lock);
}

typedef struct { Ctx *c; pthread_barrier_t *start, *end; _Atomic int *quit; } Worker;

static void *worker(void *p) {
  Worker *w = p;
  pthread_mutex_lock(&w->c->e->lock); /* until all have been started */
  pthread_mutex_unlock(&w->c->e->lock);
  for (;;) {
    pthread_barrier_wait(w->start);
    if (atomic_load(w->quit)) return NULL;
    work(w->c);
    pthread_barrier_wait(w->end);
  }
}

/* After a level or a part of it: what the threads counted and kept becomes the engine's. */
static void gather(Engine *e) {
  for (int t = 0; t < e->threads; t++) {
    Ctx *c = e->ctx[t];
    e->transitions += c->transitions; e->faults += c->faults; c->transitions = c->faults = 0;
    e->expanded += c->expanded; c->expanded = 0;
    e->compared += c->compared; c->compared = 0;
    if (__builtin_add_overflow(e->full, c->full, &e->full)) e->full_unknown = 1;
    e->full_unknown |= c->full_unknown; e->representatives |= c->representatives; c->full = 0;
    for (int r = 0; r < 2 * N_RULES; r++) { e->fired[r] += c->fired[r]; c->fired[r] = 0; }
    for (int i = 0; i < N_SEEN; i++) e->seen[i] |= c->seen[i];
    for (int f = 0; f < N_FINDINGS; f++) {
      Kept *mine = &c->kept[f];
      for (int i = 0; i < mine->n; i++) keep_one(e, &e->kept[f], mine->index[i], mine->length[i]);
      mine->n = 0;
    }
  }
  for (int t = 0; t < e->threads; t++) memcpy(e->ctx[t]->seen, e->seen, sizeof e->seen);
}

/* ---------------------------------------------------------------- called from outside */

void engine_free(Engine *e);

/* At first each place holds a state that does not belong there. */
static void forget_recent(Ctx *c) {
  St zero = { { 0 } }, other = { { 0 } };
  do other.w[0]++; while (recent_place(hash_of(&other)) == recent_place(hash_of(&zero)));
  for (int i = 0; i < RECENT; i++) c->recent[i] = zero;
  c->recent[recent_place(hash_of(&zero))] = other;
}

static int new_kept(Kept *kept, int keep) {
  for (int f = 0; f < N_FINDINGS; f++) {
    kept[f].index = malloc(sizeof(uint32_t) * (size_t)keep);
    kept[f].length = malloc(sizeof(int) * (size_t)keep);
    kept[f].last = NONE;
    if (!kept[f].index || !kept[f].length) return 0;
  }
  return 1;
}

/* memory: bytes for states and table; max_states: 0 for no such limit; keep: states kept of each finding; seed: of the
 * hash of compact.c; file: where states are to go, -1 for memory (not with hashes).
 * NULL if the system does not give the memory. */
Engine *engine_new(uint64_t memory, uint64_t max_states, int threads, int keep, uint64_t seed, int file) {
  if (HASH_BITS && file < 0) return NULL;
  Engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->file = -1; (void)seed;
  pthread_mutex_init(&e->sliding, NULL);
  pthread_mutex_init(&e->lock, NULL); pthread_cond_init(&e->rested, NULL);
  uint64_t least = FIRST_SLOTS * sizeof(uint32_t) + 64 * sizeof(St);
  e->memory = memory > least ? memory : least;
  e->max_states = max_states; e->keep = keep < 1 ? 1 : keep;
  e->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  e->window = window_bytes(e->memory);
  uint64_t most = file >= 0 ? MOST_DISK / sizeof(St) : e->memory / sizeof(St) + 1;
  if (most > MAX_STATES) most = MAX_STATES;
  if (max_states && most > max_states + 1) most = max_states + 1;
  e->store_bytes = (most + MAX_THREADS) * sizeof(St);
  uint64_t slots = FIRST_SLOTS;
  while (slots / 3 < SLACK(e)) slots *= 2;
  set_slots(e, slots, DIRECT);
  e->reserved = slots * slot_bytes(e->direct);
  while (e->reserved * 2 <= e->memory && e->reserved < (1ull << 36)) e->reserved *= 2;
#if HASH_BITS
  new_keys(e, seed);
  set_slots(e, FIRST_SLOTS, 0);
#endif
  if (file >= 0) {                  /* the memory is the table's */
    uint64_t least_table = e->slots * slot_bytes(e->direct);
    e->reserved = e->memory > 8 * e->window ? (e->memory - 8 * e->window) / PAGE * PAGE : 0;
    if (e->reserved < least_table) e->reserved = least_table;
    open_store(e, file);
  } else e->store = reserve(e->store_bytes);
  e->table = reserve(e->reserved);
  e->levels_room = 1024; e->level_end = malloc(sizeof(uint32_t) * (size_t)e->levels_room);
  int fine = e->store && e->table && e->level_end && new_kept(e->kept, e->keep);
  for (int t = 0; fine && t < e->threads; t++) {
    Ctx *c = e->ctx[t] = calloc(1, sizeof *c);
    fine = c && new_kept(c->kept, e->keep);
    if (!fine) break;
    c->e = e; c->spare = NONE; c->fault_from = NONE;
    forget_recent(c);
  }
  if (!fine) { engine_free(e); return NULL; }
  make_room(e);
  return e;
}

void engine_free(Engine *e) {
  if (e->store) munmap(e->store, e->store_bytes);
  if (e->file >= 0) close(e->file);
  if (e->table) munmap((void *)e->table, e->reserved);
  for (int t = 0; t < e->threads && e->ctx[t]; t++) {
    for (int f = 0; f < N_FINDINGS; f++) { free(e->ctx[t]->kept[f].index); free(e->ctx[t]->kept[f].length); }
    free(e->ctx[t]->others); free(e->ctx[t]->other_places); free(e->ctx[t]->locks); free(e->ctx[t]->lost);
    free(e->ctx[t]);
  }
  for (int f = 0; f < N_FINDINGS; f++) { free(e->kept[f].index); free(e->kept[f].length); }
  free(e->level_end);
  pthread_mutex_destroy(&e->sliding); pthread_mutex_destroy(&e->lock); pthread_cond_destroy(&e->rested);
  free(e);
}

/* Enter start states; returns how many states there are now. */
uint32_t engine_start(Engine *e, const St *states, uint32_t n) {
  for (uint32_t i = 0; i < n && !e->stop; i++) {
    if (e->count + BATCH >= e->fill) make_room(e);
    St s = states[i];
#if HAS_SYMMETRY
    if (!canonical(&states[i], &s)) e->representatives = 1;
#endif
    enter(e->ctx[0], &s, hash_of(&s));
  }
  if (e->count > e->capacity) e->count = e->capacity;
  return (uint32_t)e->count;
}

static int push_level(Engine *e) {
  if (e->levels == e->levels_room) {
    uint32_t *more = realloc(e->level_end, sizeof(uint32_t) * (size_t)e->levels_room * 2);
    if (!more) { e->stop = 5; return 0; }
    e->level_end = more; e->levels_room *= 2;
  }
  e->level_end[e->levels++] = e->end;
  return 1;
}

/* The next level, if there is one. */
static int next_level(Engine *e) {
  if (e->end == e->count) return 0;
  e->begin = e->end; e->end = (uint32_t)e->count; e->next = e->begin;
  if (e->levels) e->depth++;
  if (!push_level(e)) return 0;
  for (int f = 0; f < N_FINDINGS; f++) {
    const Kept *k = &e->kept[f];
    e->done[f] = k->n == e->keep && k->length[k->worst] < e->depth;
  }
  return 1;
}

/* Explore level by level for at most `seconds`; 0: finished, 1: no room, 2: asked to stop, 3: 64 bits were not enough,
 * 4: time is up (call again to go on), 5: out of memory, 6: a step with too many choices, 7: no room on disk. */
int engine_run(Engine *e, double seconds) {
  pthread_barrier_t start, end;
  _Atomic int quit = 0;
  pthread_t ids[MAX_THREADS];
  Worker w[MAX_THREADS];
  int started = 0;
  int running = 1;                  /* threads, this one counted; fewer than wanted if the system gives no more */
  e->until = now() + seconds; e->pause = 0;
  while (!e->stop && !e->pause && (e->next < e->end || next_level(e))) {
    /* A small level is not worth waking anyone. */
    int together = e->threads > 1 && e->end - e->next > 2 * PIECE;
    if (together && !started) {
      pthread_mutex_lock(&e->lock);
      for (; running < e->threads; running++) {
        w[running] = (Worker){ e->ctx[running], &start, &end, &quit };
        if (pthread_create(&ids[running], NULL, worker, &w[running])) break;
      }
      pthread_barrier_init(&start, NULL, (unsigned)running);
      pthread_barrier_init(&end, NULL, (unsigned)running);
      started = 1;
      pthread_mutex_unlock(&e->lock);
    }
    e->working = together ? running : 1;
    if (together) pthread_barrier_wait(&start);
    work(e->ctx[0]);
    if (together) pthread_barrier_wait(&end);
    if (e->next > e->end) e->next = e->end;
    fill_holes(e);
    gather(e);
  }
  if (started) {
    atomic_store(&quit, 1);
    pthread_barrier_wait(&start);
    for (int t = 1; t < running; t++) pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&start); pthread_barrier_destroy(&end);
  }
  return e->stop ? e->stop : e->pause ? 4 : 0;
}

/* Judge the states that were found and not expanded, where the search ended early: `from` the first of them that was
 * not judged yet.  Returns the number of the state to go on with; count when all are done. */
uint64_t engine_judge(Engine *e, uint64_t from, double seconds) {
  Ctx *c = e->ctx[0];
  double until = now() + seconds;
  if (from < e->next) from = e->next;
  for (; from < e->count; from++) {
    if (from % PIECE == 0 && now() > until) break;
    pass(e, from);
    St s = e->store[from];
    c->from = (uint32_t)from; c->depth = e->depth + (e->levels && from >= e->end);
    check_state(c, &s);
#if HAS_SYMMETRY
    count_orbit(c, &s);
#endif
  }
  gather(e);
  return from;
}

/* The least predecessor of each target among the states begin..end-1; `found` says which were known before: NONE at
 * first.  A level can be looked through in parts. */
void engine_predecessors(Engine *e, uint32_t begin, uint32_t end, const St *targets, int n, uint32_t *found) {
  Ctx *c = e->ctx[0];
  e->tracing = 1; e->targets = targets; e->n_targets = n; e->found = found;
  memset(e->filter, 0, sizeof e->filter);
  for (int i = 0; i < n; i++) e->filter[hash_of(&targets[i]) % FILTER] = 1;
  for (uint32_t i = begin; i < end; i++) { pass(e, i); expand_one(c, i); }
  if (e->file >= 0) let_go(e, (uint64_t)begin * sizeof(St), (uint64_t)end * sizeof(St), 0);
  e->tracing = 0; c->overflow = 0;
}

typedef struct {
  uint64_t states, transitions, faults, frontier, table_bytes, store_bytes;
  int depth, levels, stop, words;
  uint64_t full_states;             /* under symmetry: that the expanded states stand for; 0 if not known */
  int orbits;                       /* whether each stored state stands for a different orbit */
  int disk_full;                    /* errno of why there was no more space on disk */
  uint64_t compared;                /* kept bits that new states were compared with */
  uint64_t expanded;                /* states, by this process */
} Report;

void engine_report(Engine *e, Report *r) {
  r->states = e->count; r->transitions = e->transitions; r->faults = e->faults; r->frontier = e->count - e->next;
  r->table_bytes = e->slots * slot_bytes(e->direct); r->store_bytes = (uint64_t)e->count * sizeof(St);
  r->depth = e->depth; r->levels = e->levels; r->stop = e->stop; r->words = WORDS;
  r->orbits = HAS_SYMMETRY && !e->representatives; r->disk_full = e->disk_full; r->compared = e->compared;
  r->expanded = e->expanded;
  r->full_states = !HAS_SYMMETRY ? e->count : e->full_unknown || e->representatives ? 0 : e->full;
}

void engine_stop(Engine *e) { atomic_store(&e->stop, 2); }
const St *engine_states(Engine *e) { return e->store; }
const uint32_t *engine_levels(Engine *e) { return e->level_end; }
const uint64_t *engine_fired(Engine *e) { return e->fired; }

/* The states kept of a finding, the least first; returns how many. */
int engine_kept(Engine *e, int finding, uint32_t *index, int *length) {
  Kept *k = &e->kept[finding];
  for (int i = 0; i < k->n; i++) {
    int at = i;
    for (; at > 0 && before(e, k->length[i], k->index[i], length[at - 1], index[at - 1]); at--) {
      index[at] = index[at - 1]; length[at] = length[at - 1];
    }
    index[at] = k->index[i]; length[at] = k->length[i];
  }
  return k->n;
}

const unsigned char *engine_seen(Engine *e) { return e->seen; }
uint32_t engine_lookup(Engine *e, const St *s) { return index_states(e) ? lookup(e, s) : NONE; }

/* The representative of a state and, if `to` is given, a renaming that leads to it (NOTE(native-symmetry)); returns the
 * size of the orbit, 0 if that is not known. */
uint64_t engine_canonical(const St *in, St *out, uint16_t *to) {
#if HAS_SYMMETRY
  if (to) canonical_renaming(in, out, to); else canonical(in, out);
  return orbit_size(in);
#else
  *out = *in; (void)to;
  return 1;
#endif
}
