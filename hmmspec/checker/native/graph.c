/* The graph of the states that were found: its edges, and what is asked of whole runs.
 *
 * Included behind the rules and behind what `graph.py` generates: labels (sets of fairness units) of steps, and the
 * conditions of `recoverable` and `leads_to`.
 *
 * Edges are kept in chunks of states, each filled by one thread: no big array has to grow.  A step that ends in a fault
 * is an edge to NONE: it enables its units and leads nowhere.  Where memory does not suffice edges are not kept but
 * made again whenever they are asked for; depth-first search then expands each state twice or three times.
 *
 * Of equally near states the one with the least packed words is taken, so that what is found does not depend on the
 * order in which threads found the states.
 */

#define CHUNK 65536u
#define DONE 0x80000000u            /* `num` of a state whose component is known; the rest is the component's number */
#define UNSEEN 1u                   /* .. of a state that takes part and has not been visited; 0: it takes no part */
#define FOUND 64                    /* states of a finding that are kept at most */

enum { HOLDS, VIOLATED, NO_MEMORY, STOPPED };
enum { GOAL, LEFT, RIGHT };

typedef struct { uint32_t *first, *to; Label *label; uint64_t bytes; } Chunk;
typedef struct { const uint32_t *to; const Label *label; uint32_t n; } Span;

/* Edges in the making: of one state, or of a chunk. */
typedef struct {
  Engine *e;
  uint32_t *to; Label *label; uint64_t n, room;
  St batch[BATCH]; uint64_t at[BATCH], hash[BATCH]; int waiting;
  St recent[RECENT]; uint32_t recent_index[RECENT];   /* looked up a moment ago */
  int failed;
} Out;

/* A stack whose memory counts as it is touched. */
typedef struct { void *at; uint64_t n, most, size, reserved; } Pile;
typedef struct { uint32_t state, at, low; } Frame;
typedef struct { uint32_t *state; uint32_t n; } List;

typedef struct {
  Engine *e;
  uint32_t n, chunks;
  uint64_t memory; _Atomic uint64_t used;
  int stored; Chunk *chunk;
  Out *out[MAX_THREADS], *one[2];
  _Atomic uint32_t next; _Atomic int stop; _Atomic uint64_t done;
  void (*piece)(void *g, int thread, uint32_t chunk);
  int what, property; const V *binders; uint64_t *marks; uint32_t erred[MAX_THREADS];   /* while states are judged */
  uint32_t *num; uint32_t count, components; Pile stack, frames;
  List *again; uint32_t again_n, again_room;
  uint64_t *good, *left, *right, *resting, *looping;
  Pile region; uint32_t *dist_end; uint32_t dists, dists_room;
  uint32_t found[FOUND]; int n_found, wanted;
  uint32_t *tail; uint32_t tail_n;
  uint32_t *loop_to, *loop_label; uint32_t loop_n, loop_room;
} Graph;

/* ---------------------------------------------------------------- memory */

static int count_bytes(Graph *g, uint64_t bytes) {
  if (atomic_fetch_add(&g->used, bytes) + bytes <= g->memory) return 1;
  atomic_fetch_sub(&g->used, bytes);
  g->stop = NO_MEMORY;
  return 0;
}

static void *take(Graph *g, uint64_t bytes) {
  if (!count_bytes(g, bytes)) return NULL;
  void *p = reserve(bytes);
  if (!p) { g->used -= bytes; g->stop = NO_MEMORY; }
  return p;
}

static void give(Graph *g, void *p, uint64_t bytes) {
  if (!p) return;
  munmap(p, bytes);
  g->used -= bytes;
}

static void pile_new(Graph *g, Pile *p, uint64_t size) {
  *p = (Pile){ NULL, 0, 0, size, ((uint64_t)g->n + 1) * size };
  p->at = reserve(p->reserved);
  if (!p->at) g->stop = NO_MEMORY;
}

static void pile_free(Graph *g, Pile *p) {
  if (p->at) munmap(p->at, p->reserved);
  g->used -= p->most * p->size;
  *p = (Pile){ 0 };
}

/* Room for one more; 0 if there is none. */
static inline int pile_room(Graph *g, Pile *p) {
  if (p->n < p->most) return 1;
  uint64_t more = p->most + (1u << 16) <= (uint64_t)g->n + 1 ? 1u << 16 : (uint64_t)g->n + 1 - p->most;
  if (!more || !count_bytes(g, more * p->size)) { g->stop = NO_MEMORY; return 0; }
  p->most += more;
  return 1;
}

#define BITS(g) (((uint64_t)(g)->n + 63) / 64 * 8)
static inline int bit(const uint64_t *w, uint32_t i) { return (int)(w[i >> 6] >> (i & 63) & 1); }
static inline void set_bit(uint64_t *w, uint32_t i) { w[i >> 6] |= 1ull << (i & 63); }

/* ---------------------------------------------------------------- sets of units */

static inline int any_unit(const Units *u) { for (int i = 0; i < UNIT_WORDS; i++) if (u->w[i]) return 1; return 0; }
static inline void add_units(Units *a, const Units *b) { for (int i = 0; i < UNIT_WORDS; i++) a->w[i] |= b->w[i]; }
static inline void common_units(Units *a, const Units *b) { for (int i = 0; i < UNIT_WORDS; i++) a->w[i] &= b->w[i]; }
static inline int meet(const Units *a, const Units *b) {
  for (int i = 0; i < UNIT_WORDS; i++) if (a->w[i] & b->w[i]) return 1;
  return 0;
}

static inline Units enabled(Span o) {
  Units u = { { 0 } };
  for (uint32_t i = 0; i < o.n; i++) add_units(&u, &label_units[o.label[i]]);
  return u;
}

/* ---------------------------------------------------------------- edges */

static void settle(Out *o) {
  const Engine *e = o->e;
  uint64_t slot[BATCH];
  for (int k = 0; k < o->waiting; k++) {
    slot[k] = o->hash[k] & e->mask;
    uint32_t v = atomic_load_explicit(&e->table[slot[k]], memory_order_relaxed);
    if (v) __builtin_prefetch(&e->store[v - 1]);
  }
  for (int k = 0; k < o->waiting; k++) {
    uint32_t found = NONE, v;
    for (uint64_t i = slot[k]; (v = atomic_load_explicit(&e->table[i], memory_order_relaxed)); i = (i + 1) & e->mask)
      if (equal(&e->store[v - 1], &o->batch[k])) { found = v - 1; break; }
    o->to[o->at[k]] = found;
    uint32_t r = (o->hash[k] >> 40) % RECENT;
    o->recent[r] = o->batch[k]; o->recent_index[r] = found;
  }
  o->waiting = 0;
}

static void add_edge(Ctx *c, const St *t, int rule, V number) {
  Out *o = c->into;
  Label label = label_of(rule, number);
  if (!t && !label) return;
  if (o->n == o->room) {
    uint64_t room = o->room ? o->room * 2 : 1024;
    uint32_t *to = realloc(o->to, room * sizeof *to);
    if (to) o->to = to;
    Label *labels = realloc(o->label, room * sizeof *labels);
    if (labels) o->label = labels;
    if (!to || !labels) { o->failed = 1; return; }
    o->room = room;
  }
  o->to[o->n] = NONE; o->label[o->n] = label;
  if (t) {
    St *s = &o->batch[o->waiting];
#if HAS_SYMMETRY
    canonical(t, s);
#else
    *s = *t;
#endif
    uint64_t h = hash_of(s);
    uint32_t r = (h >> 40) % RECENT;
    if (o->recent_index[r] != NONE && equal(&o->recent[r], s)) o->to[o->n] = o->recent_index[r];
    else {
      o->hash[o->waiting] = h; o->at[o->waiting++] = o->n;
      __builtin_prefetch(&o->e->table[h & o->e->mask]);
    }
  }
  o->n++;
  if (o->waiting == BATCH) settle(o);
}

static void add_edges(Ctx *c, Out *o, uint32_t v) {
  St s = c->e->store[v];
  c->watch = add_edge; c->into = o;
  c->from = v; c->outcomes = 0;
  expand(c, &s);
  c->watch = NULL;
}

static void fill_chunk(Graph *g, int thread, uint32_t k, Chunk *ch) {
  Out *o = g->out[thread];
  uint32_t from = k * CHUNK, n = g->n - from < CHUNK ? g->n - from : CHUNK;
  *ch = (Chunk){ 0 };
  uint32_t *first = malloc((n + 1) * sizeof *first);
  if (!first) { g->stop = NO_MEMORY; return; }
  o->n = 0;
  for (uint32_t i = 0; i < n; i++) { first[i] = (uint32_t)o->n; add_edges(g->e->ctx[thread], o, from + i); }
  settle(o);
  first[n] = (uint32_t)o->n;
  ch->bytes = (n + 1) * sizeof *first + o->n * (sizeof(uint32_t) + sizeof(Label));
  int fine = !o->failed && o->n < UINT32_MAX && count_bytes(g, ch->bytes);
  ch->to = fine ? malloc(o->n * sizeof(uint32_t) + 1) : NULL;
  ch->label = fine ? malloc(o->n * sizeof(Label) + 1) : NULL;
  ch->first = first;
  if (!ch->to || !ch->label) { if (!fine) ch->bytes = 0; g->stop = NO_MEMORY; return; }
  memcpy(ch->to, o->to, o->n * sizeof(uint32_t));
  memcpy(ch->label, o->label, o->n * sizeof(Label));
  g->done += n;
}

static void free_chunk(Graph *g, Chunk *ch) {
  free(ch->first); free(ch->to); free(ch->label);
  g->used -= ch->bytes;
  *ch = (Chunk){ 0 };
}

static inline Span chunk_out(const Chunk *ch, uint32_t i) {
  uint32_t from = ch->first[i];
  return (Span){ ch->to + from, ch->label + from, ch->first[i + 1] - from };
}

/* The edges out of a state.  Where they are not stored what is returned holds until the next call with the same `k`. */
static inline Span edges_of(Graph *g, uint32_t v, int k) {
  if (g->stored) return chunk_out(&g->chunk[v / CHUNK], v % CHUNK);
  Out *o = g->one[k];
  o->n = 0;
  add_edges(g->e->ctx[0], o, v);
  settle(o);
  if (o->failed) g->stop = NO_MEMORY;
  return (Span){ o->to, o->label, (uint32_t)o->n };
}

/* ---------------------------------------------------------------- all chunks, by all threads */

typedef struct { Graph *g; int thread; } Helper;

static void *help(void *p) {
  Helper *h = p;
  for (;;) {
    uint32_t k = atomic_fetch_add(&h->g->next, 1);
    if (k >= h->g->chunks || h->g->stop) return NULL;
    h->g->piece(h->g, h->thread, k);
  }
}

static void all_chunks(Graph *g, void (*piece)(void *, int, uint32_t)) {
  pthread_t ids[MAX_THREADS];
  Helper h[MAX_THREADS];
  int started[MAX_THREADS] = { 0 };
  g->piece = piece; g->next = 0; g->done = 0;
  for (int t = 0; t < g->e->threads; t++) {
    h[t] = (Helper){ g, t };
    if (t && g->chunks > 1) started[t] = !pthread_create(&ids[t], NULL, help, &h[t]);
  }
  help(&h[0]);
  for (int t = 1; t < g->e->threads; t++) if (started[t]) pthread_join(ids[t], NULL);
}

static void store_piece(void *g, int thread, uint32_t k) { fill_chunk(g, thread, k, &((Graph *)g)->chunk[k]); }

static int lesser(const Graph *g, uint32_t a, uint32_t b) { return less(&g->e->store[a], &g->e->store[b]); }

/* Whether `a` is nearer to a start than `b`, or equally near and less. */
static int sooner(const Graph *g, uint32_t a, uint32_t b) {
  int m = level_of(g->e, a), n = level_of(g->e, b);
  return m != n ? m < n : lesser(g, a, b);
}

static void mark_piece(void *p, int thread, uint32_t k) {
  Graph *g = p;
  Ctx *c = g->e->ctx[thread];
  uint32_t from = k * CHUNK, to = g->n - from < CHUNK ? g->n : from + CHUNK;
  for (uint32_t v = from; v < to; v++) {
    const St *s = &g->e->store[v];
    V holds = g->what == GOAL ? graph_goal(c, s, g->property)
              : g->what == LEFT ? graph_left(c, s, g->property, g->binders) : graph_right(c, s, g->property, g->binders);
    if (c->fault) {                 /* where it errs it does not hold; that it errs is a finding of its own */
      c->fault = 0;
      if (g->erred[thread] == NONE || sooner(g, v, g->erred[thread])) g->erred[thread] = v;
    } else if (holds) set_bit(g->marks, v);
  }
  g->done += to - from;
}

/* For each state whether a condition holds. */
static void mark(Graph *g, int what, int property, const V *binders, uint64_t *marks) {
  if (g->stop) return;
  g->what = what; g->property = property; g->binders = binders; g->marks = marks;
  all_chunks(g, mark_piece);
}

static uint32_t least_erred(Graph *g) {
  uint32_t least = NONE;
  for (int t = 0; t < g->e->threads; t++)
    if (g->erred[t] != NONE && (least == NONE || sooner(g, g->erred[t], least))) least = g->erred[t];
  return least;
}

static void note(Graph *g, uint32_t v) {
  int at = g->n_found;
  if (at == g->wanted) { if (!sooner(g, v, g->found[--at])) return; } else g->n_found++;
  for (; at > 0 && sooner(g, v, g->found[at - 1]); at--) g->found[at] = g->found[at - 1];
  g->found[at] = v;
}

/* ---------------------------------------------------------------- strongly connected components */

/* Tarjan (1972) without recursion, over the states whose `num` is UNSEEN; `seen` is called for each component once all
 * that it leads to are known, its states marked DONE | its number. */
static void components(Graph *g, const uint32_t *roots, uint32_t n,
                       void (*seen)(Graph *g, const uint32_t *states, uint32_t n, uint32_t number)) {
  uint32_t *num = g->num, *stack = g->stack.at;
  Frame *frames = g->frames.at;
  uint32_t turn = 0;
  g->count = UNSEEN;
  for (uint32_t r = 0; r < n && !g->stop; r++) {
    uint32_t v = roots ? roots[r] : r;
    if (num[v] != UNSEEN) continue;
    for (;;) {                      /* visit v */
      if (!pile_room(g, &g->stack) || !pile_room(g, &g->frames)) return;
      num[v] = ++g->count;
      stack[g->stack.n++] = v;
      frames[g->frames.n++] = (Frame){ v, 0, num[v] };
      if (++turn % 4096 == 0) { g->done += 4096; if (g->stop) return; }
    on:;
      Frame *f = &frames[g->frames.n - 1];
      Span o = edges_of(g, f->state, 0);
      if (!f->at) for (uint32_t i = 0; i < o.n; i++) if (o.to[i] != NONE) __builtin_prefetch(&num[o.to[i]]);
      uint32_t next = NONE;
      while (f->at < o.n) {
        uint32_t w = o.to[f->at++];
        if (w == NONE) continue;
        uint32_t m = num[w];
        if (m == UNSEEN) { next = w; break; }
        if (m && !(m & DONE) && m < f->low) f->low = m;
      }
      if (next != NONE) { v = next; continue; }
      uint32_t low = f->low, state = f->state;
      g->frames.n--;
      if (low == num[state]) {
        uint32_t number = ++g->components, at = (uint32_t)g->stack.n;
        do num[stack[--at]] = DONE | number; while (stack[at] != state);
        seen(g, stack + at, (uint32_t)g->stack.n - at, number);
        g->stack.n = at;
        if (g->stop) return;
      }
      if (!g->frames.n) break;
      Frame *parent = &frames[g->frames.n - 1];
      if (low < parent->low) parent->low = low;
      goto on;
    }
  }
}

/* ---------------------------------------------------------------- recoverable */

/* One pass over all edges, forwards or backwards: what leads to a good state is good. */
static uint64_t sweep(Graph *g, int back) {
  uint64_t changed = 0;
  Chunk made = { 0 };
  for (uint32_t i = 0; i < g->chunks && !g->stop; i++) {
    uint32_t k = back ? g->chunks - 1 - i : i, from = k * CHUNK, n = g->n - from < CHUNK ? g->n - from : CHUNK;
    Chunk *ch = g->stored ? &g->chunk[k] : &made;
    if (!g->stored) fill_chunk(g, 0, k, ch);
    for (uint32_t j = 0; j < n && !g->stop; j++) {
      uint32_t at = back ? n - 1 - j : j;
      if (bit(g->good, from + at)) continue;
      Span o = chunk_out(ch, at);
      for (uint32_t x = 0; x < o.n; x++)
        if (o.to[x] != NONE && bit(g->good, o.to[x])) { set_bit(g->good, from + at); changed++; break; }
    }
    if (!g->stored) free_chunk(g, &made);
  }
  return changed;
}

static void recover_component(Graph *g, const uint32_t *states, uint32_t n, uint32_t number) {
  (void)number;
  for (uint32_t i = 0; i < n; i++) {
    Span o = edges_of(g, states[i], 0);
    for (uint32_t x = 0; x < o.n; x++)
      if (o.to[x] != NONE && bit(g->good, o.to[x])) {
        for (uint32_t j = 0; j < n; j++) set_bit(g->good, states[j]);
        return;
      }
  }
}

static void begin_question(Graph *g) {
  g->stop = 0; g->n_found = 0; g->tail_n = g->loop_n = 0;
  for (int t = 0; t < MAX_THREADS; t++) g->erred[t] = NONE;
}

static void new_components(Graph *g) {
  g->num = take(g, (uint64_t)g->n * 4);
  pile_new(g, &g->stack, sizeof(uint32_t)); pile_new(g, &g->frames, sizeof(Frame));
  g->components = 0; g->done = 0;
}

static void end_components(Graph *g) {
  give(g, g->num, (uint64_t)g->n * 4);
  g->num = NULL;
  pile_free(g, &g->stack); pile_free(g, &g->frames);
}

/* Do all states have a path to one where `recoverable` number `property` holds?  If not, `found` are up to `wanted` that
 * have none, those nearest to a start. */
int graph_recoverable(Graph *g, int property, int wanted) {
  begin_question(g);
  g->wanted = wanted < 1 ? 1 : wanted > FOUND ? FOUND : wanted;
  g->good = take(g, BITS(g));
  mark(g, GOAL, property, NULL, g->good);
  uint64_t bad = 0;
  for (uint32_t v = 0; !g->stop && v < g->n; v++) bad += !bit(g->good, v);
  /* A few passes settle most states; what they leave is judged by components. */
  for (int turn = 0; bad && !g->stop; turn++) {
    uint64_t changed = sweep(g, turn % 2 == 0);
    bad -= changed;
    if (turn > 2 && changed < bad / 64 + 1) break;
  }
  if (bad && !g->stop) {
    new_components(g);
    if (!g->stop) for (uint32_t v = 0; v < g->n; v++) g->num[v] = !bit(g->good, v);
    components(g, NULL, g->n, recover_component);
    int level = 0;
    for (uint32_t v = 0; v < g->n && !g->stop; v++) {
      if (bit(g->good, v)) continue;
      if (g->n_found == g->wanted && level_of(g->e, v) > level) break;
      note(g, v);
      level = level_of(g->e, g->found[g->n_found - 1]);
    }
    end_components(g);
  }
  give(g, g->good, BITS(g));
  g->good = NULL;
  return g->stop ? g->stop : g->n_found ? VIOLATED : HOLDS;
}
