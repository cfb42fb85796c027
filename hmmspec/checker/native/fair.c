/* `leads_to` under weak and strong fairness on the stored graph; included behind graph.c.
 *
 * The meaning, and the way to it, is that of hmmspec/checker/explicit/liveness.py: the states with !Q that a state with
 * P && !Q reaches through states with !Q are cut into components; a unit of weak fairness must be taken in a component
 * or be disabled somewhere in it; one of strong fairness must be taken or be enabled nowhere, else the states that
 * enable it are left out and the rest is cut again.  Where no fair unit is enabled a run may stay for ever.
 */

static void new_dist(Graph *g) {
  if (g->dists == g->dists_room) {
    uint32_t room = g->dists_room ? g->dists_room * 2 : 1024;
    uint32_t *more = realloc(g->dist_end, room * sizeof *more);
    if (!more) { g->stop = NO_MEMORY; return; }
    g->dist_end = more; g->dists_room = room;
  }
  g->dist_end[g->dists++] = (uint32_t)g->region.n;
}

static void add_to_region(Graph *g, uint32_t v) {
  if (!pile_room(g, &g->region)) return;
  g->num[v] = UNSEEN;
  ((uint32_t *)g->region.at)[g->region.n++] = v;
}

/* The states of interest by their distance from a start through a state of the left side (`dist_end`: where each
 * distance ends in `region`); their `num` becomes UNSEEN. */
static void find_region(Graph *g) {
  const uint32_t *region = g->region.at;
  uint32_t at = 0, bucket = 0;
  g->dists = 0;
  for (uint32_t d = 0; !g->stop && (bucket < g->n || at < g->region.n); d++) {
    uint32_t level_end = d < (uint32_t)g->e->levels ? g->e->level_end[d] : g->n;
    for (; bucket < level_end && bucket < g->n; bucket++)
      if (bit(g->left, bucket) && !bit(g->right, bucket) && !g->num[bucket]) add_to_region(g, bucket);
    new_dist(g);
    for (uint32_t end = (uint32_t)g->region.n; at < end && !g->stop; at++) {
      Span o = edges_of(g, region[at], 0);
      for (uint32_t i = 0; i < o.n; i++) if (o.to[i] != NONE) __builtin_prefetch(&g->num[o.to[i]]);
      for (uint32_t i = 0; i < o.n; i++)
        if (o.to[i] != NONE && !g->num[o.to[i]] && !bit(g->right, o.to[i])) add_to_region(g, o.to[i]);
      if (at % 4096 == 0) g->done = at;
    }
  }
}

/* ---------------------------------------------------------------- components that a fair run can stay in */

typedef struct { Units taken, always, ever; int loops; } Sums;

static Sums sum_up(Graph *g, const uint32_t *states, uint32_t n) {
  Sums s = { 0 };
  uint32_t inside = g->num[states[0]];
  memset(&s.always, 0xff, sizeof s.always);
  for (uint32_t i = 0; i < n; i++) {
    Span o = edges_of(g, states[i], 0);
    Units here = enabled(o);
    common_units(&s.always, &here); add_units(&s.ever, &here);
    for (uint32_t x = 0; x < o.n; x++)
      if (o.to[x] != NONE && g->num[o.to[x]] == inside) { add_units(&s.taken, &label_units[o.label[x]]); s.loops = 1; }
  }
  return s;
}

static void cut_again(Graph *g, const uint32_t *states, uint32_t n, const Units *unfair) {
  if (g->again_n == g->again_room) {
    uint32_t room = g->again_room ? g->again_room * 2 : 64;
    List *more = realloc(g->again, room * sizeof *more);
    if (!more) { g->stop = NO_MEMORY; return; }
    g->again = more; g->again_room = room;
  }
  uint32_t rest = 0;
  uint32_t *left = count_bytes(g, (uint64_t)n * 4) ? malloc((uint64_t)n * 4) : NULL;
  if (!left) { g->stop = NO_MEMORY; return; }
  for (uint32_t i = 0; i < n && !g->stop; i++) {
    Units here = enabled(edges_of(g, states[i], 0));
    if (!meet(&here, unfair)) left[rest++] = states[i];
  }
  g->used -= (uint64_t)(n - rest) * 4;
  if (!rest) { free(left); return; }
  uint32_t *fitting = realloc(left, (uint64_t)rest * 4);
  g->again[g->again_n++] = (List){ fitting ? fitting : left, rest };
}

static void judge_component(Graph *g, const uint32_t *states, uint32_t n, uint32_t number) {
  (void)number;
  Sums s = sum_up(g, states, n);
  if (g->stop || (!s.loops && any_unit(&s.ever))) return;   /* neither a loop nor a state to rest in */
  Units unfair, refused;
  for (int i = 0; i < UNIT_WORDS; i++) {
    unfair.w[i] = s.ever.w[i] & ~s.taken.w[i] & strong_units.w[i];
    refused.w[i] = s.always.w[i] & ~s.taken.w[i] & ~strong_units.w[i];
  }
  if (any_unit(&refused)) return;
  if (any_unit(&unfair)) { cut_again(g, states, n, &unfair); return; }
  int rests = 0;
  for (uint32_t i = 0; i < n; i++) {
    Units here = enabled(edges_of(g, states[i], 0));
    if (!any_unit(&here)) { set_bit(g->resting, states[i]); rests = 1; }
  }
  if (!rests) for (uint32_t i = 0; i < n; i++) set_bit(g->looping, states[i]);
}

static void fair_components(Graph *g) {
  components(g, g->region.at, (uint32_t)g->region.n, judge_component);
  while (g->again_n) {
    List l = g->again[--g->again_n];
    for (uint32_t i = 0; i < l.n; i++) g->num[l.state[i]] = UNSEEN;
    if (!g->stop) components(g, l.state, l.n, judge_component);
    free(l.state);
    g->used -= (uint64_t)l.n * 4;
  }
}

/* Where a fair run can begin to stay: the nearest state; of equally near ones one to rest in, then the least. */
static uint32_t choose_entry(Graph *g, uint32_t *dist) {
  const uint32_t *region = g->region.at;
  for (uint32_t d = 0, at = 0; d < g->dists; at = g->dist_end[d++]) {
    uint32_t best[2] = { NONE, NONE };
    for (uint32_t i = at; i < g->dist_end[d]; i++) {
      uint32_t v = region[i];
      int kind = bit(g->resting, v) ? 0 : bit(g->looping, v) ? 1 : 2;
      if (kind < 2 && (best[kind] == NONE || lesser(g, v, best[kind]))) best[kind] = v;
    }
    *dist = d;
    if (best[0] != NONE) return best[0];
    if (best[1] != NONE) return best[1];
  }
  return NONE;
}

/* ---------------------------------------------------------------- the lasso */

/* The way to `entry` from a state of the left side, through the region. */
static void find_tail(Graph *g, uint32_t entry, uint32_t dist) {
  const uint32_t *region = g->region.at;
  free(g->tail);
  g->tail = malloc(((uint64_t)dist + 1) * 4);
  if (!g->tail) { g->stop = NO_MEMORY; return; }
  uint32_t at = dist, v = entry;
  g->tail[at] = v;
  while (at && !g->stop && !(bit(g->left, v) && (uint32_t)level_of(g->e, v) == at)) {
    uint32_t best = NONE;
    for (uint32_t i = at > 1 ? g->dist_end[at - 2] : 0; i < g->dist_end[at - 1]; i++) {
      uint32_t u = region[i];
      if (best != NONE && !lesser(g, u, best)) continue;
      Span o = edges_of(g, u, 0);
      for (uint32_t x = 0; x < o.n; x++) if (o.to[x] == v) { best = u; break; }
    }
    g->tail[--at] = v = best;
  }
  g->tail_n = dist - at + 1;
  memmove(g->tail, g->tail + at, (uint64_t)g->tail_n * 4);
}

static void add_hop(Graph *g, uint32_t label, uint32_t to) {
  if (g->loop_n == g->loop_room) {
    uint32_t room = g->loop_room ? g->loop_room * 2 : 256;
    uint32_t *tos = realloc(g->loop_to, room * 4ull);
    if (tos) g->loop_to = tos;
    uint32_t *labels = realloc(g->loop_label, room * 4ull);
    if (labels) g->loop_label = labels;
    if (!tos || !labels) { g->stop = NO_MEMORY; return; }
    g->loop_room = room;
  }
  g->loop_to[g->loop_n] = to; g->loop_label[g->loop_n++] = label;
}

/* The open units that an edge, or weak ones that the state it leads to, does justice to. */
static Units satisfied(Graph *g, const Units *open, Label label, uint32_t to) {
  Units u, here = { { 0 } };
  int weak = 0;
  for (int i = 0; i < UNIT_WORDS; i++) weak |= (open->w[i] & ~strong_units.w[i]) != 0;
  if (weak) here = enabled(edges_of(g, to, 1));
  for (int i = 0; i < UNIT_WORDS; i++)
    u.w[i] = open->w[i] & (label_units[label].w[i] | (~strong_units.w[i] & ~here.w[i]));
  return u;
}

/* Add the fewest edges from `here` within its component, the last of which does justice to an open unit, or, if `back`
 * is given, leads to it.  Returns where they lead. */
static uint32_t walk_on(Graph *g, uint32_t here, const Units *open, uint32_t back, uint32_t *came, Pile *queue) {
  uint32_t *q = queue->at, inside = g->num[here], last = NONE, from = NONE, label = 0;
  queue->n = 0;
  if (!pile_room(g, queue)) return NONE;
  q[queue->n++] = here;
  came[here] = here + 1;
  for (uint64_t i = 0; i < queue->n && last == NONE && !g->stop; i++) {
    Span o = edges_of(g, q[i], 0);
    for (uint32_t x = 0; x < o.n; x++) {
      uint32_t w = o.to[x];
      if (w == NONE || g->num[w] != inside) continue;
      int wanted = w == back;
      if (back == NONE) { Units u = satisfied(g, open, o.label[x], w); wanted = any_unit(&u); }
      if (wanted) { last = w; from = q[i]; label = o.label[x]; break; }
      if (came[w]) continue;
      came[w] = q[i] + 1;
      if (!pile_room(g, queue)) return NONE;
      q[queue->n++] = w;
    }
  }
  if (g->stop || last == NONE) { if (!g->stop) g->stop = STOPPED; return NONE; }
  /* Backwards from the last edge; then the hops are turned round. */
  uint32_t begin = g->loop_n;
  add_hop(g, label, last);
  for (uint32_t v = from; v != here && !g->stop; v = came[v] - 1) {
    Span o = edges_of(g, came[v] - 1, 0);
    uint32_t x = 0;
    while (o.to[x] != v) x++;
    add_hop(g, o.label[x], v);
  }
  for (uint32_t a = begin, b = g->loop_n; a + 1 < b; a++) {
    uint32_t t = g->loop_to[--b], l = g->loop_label[b];
    g->loop_to[b] = g->loop_to[a]; g->loop_label[b] = g->loop_label[a];
    g->loop_to[a] = t; g->loop_label[a] = l;
  }
  for (uint64_t i = 0; i < queue->n; i++) came[q[i]] = 0;
  return last;
}

/* A short closed walk from `entry` within its component that is fair to every unit. */
static void find_loop(Graph *g, uint32_t entry) {
  Pile queue;
  uint32_t inside = g->num[entry], here = entry;
  uint32_t *came = take(g, (uint64_t)g->n * 4);
  pile_new(g, &queue, 4);
  Units open = { { 0 } };
  const uint32_t *region = g->region.at;
  for (uint64_t i = 0; i < g->region.n && !g->stop; i++)
    if (g->num[region[i]] == inside) { Units u = enabled(edges_of(g, region[i], 0)); add_units(&open, &u); }
  if (!g->stop) {
    Units first = enabled(edges_of(g, entry, 1));
    for (int i = 0; i < UNIT_WORDS; i++) open.w[i] &= strong_units.w[i] | first.w[i];
  }
  while (!g->stop && any_unit(&open)) {
    uint32_t begin = g->loop_n;
    here = walk_on(g, here, &open, NONE, came, &queue);
    for (uint32_t i = begin; i < g->loop_n && !g->stop; i++) {
      Units u = satisfied(g, &open, (Label)g->loop_label[i], g->loop_to[i]);
      for (int k = 0; k < UNIT_WORDS; k++) open.w[k] &= ~u.w[k];
    }
  }
  if (!g->stop && (here != entry || !g->loop_n)) walk_on(g, here, &open, entry, came, &queue);
  pile_free(g, &queue);
  give(g, came, (uint64_t)g->n * 4);
}

/* Is there a fair run that, for these values of the binders of `leads_to` number `property`, sees the left side and from
 * then on never the right one?  If so, `tail` leads from where the left side holds to where the loop begins, `loop` is
 * the loop; none if the run stays where it is. */
int graph_leads_to(Graph *g, int property, const V *binders) {
  begin_question(g);
  g->left = take(g, BITS(g)); g->right = take(g, BITS(g));
  g->resting = take(g, BITS(g)); g->looping = take(g, BITS(g));
  mark(g, LEFT, property, binders, g->left);
  mark(g, RIGHT, property, binders, g->right);
  new_components(g);
  pile_new(g, &g->region, 4);
  uint32_t entry = NONE, dist = 0;
  if (!g->stop) find_region(g);
  if (!g->stop) {
    const uint32_t *region = g->region.at;
    if (N_UNITS) fair_components(g);
    else for (uint64_t i = 0; i < g->region.n; i++) set_bit(g->resting, region[i]);
  }
  if (!g->stop) entry = choose_entry(g, &dist);
  if (entry != NONE) {
    find_tail(g, entry, dist);
    if (!bit(g->resting, entry) && !g->stop) find_loop(g, entry);
  }
  pile_free(g, &g->region);
  end_components(g);
  give(g, g->left, BITS(g)); give(g, g->right, BITS(g)); give(g, g->resting, BITS(g)); give(g, g->looping, BITS(g));
  return g->stop ? g->stop : entry != NONE ? VIOLATED : HOLDS;
}

/* ---------------------------------------------------------------- called from outside */

void graph_free(Graph *g) {
  if (!g) return;
  if (g->chunk) for (uint32_t k = 0; k < g->chunks; k++) free_chunk(g, &g->chunk[k]);
  for (int t = 0; t < MAX_THREADS + 2; t++) {
    Out *o = t < MAX_THREADS ? g->out[t] : g->one[t - MAX_THREADS];
    if (o) { free(o->to); free(o->label); free(o); }
  }
  free(g->chunk); free(g->dist_end); free(g->tail); free(g->loop_to); free(g->loop_label); free(g->again);
  free(g);
}

/* The graph of what an engine found.  memory: bytes for edges and work on them.  NULL if there is not even a little. */
Graph *graph_new(Engine *e, uint64_t memory) {
  if (!index_states(e)) return NULL;
  Graph *g = calloc(1, sizeof *g);
  if (!g) return NULL;
  g->e = e; g->n = (uint32_t)e->count; g->chunks = (g->n + CHUNK - 1) / CHUNK; g->memory = memory;
  g->chunk = calloc(g->chunks + 1, sizeof *g->chunk);
  int fine = g->chunk && g->n < DONE;
  for (int t = 0; fine && t < e->threads + 2; t++) {
    Out *o = calloc(1, sizeof *o);
    if (o) { o->e = e; memset(o->recent_index, 0xff, sizeof o->recent_index); }
    if (t < e->threads) g->out[t] = o; else g->one[t - e->threads] = o;
    fine = o != NULL;
  }
  if (fine) return g;
  graph_free(g);
  return NULL;
}

/* Store the edges if they leave room to work with; else they will be made again each time. 1: stored, 0: not. */
int graph_edges(Graph *g) {
  const Engine *e = g->e;
  uint64_t work = (uint64_t)g->n * 24, edges = e->transitions * (sizeof(uint32_t) + sizeof(Label)) + (uint64_t)g->n * 4;
  begin_question(g);
  if (work + edges > g->memory) return 0;
  all_chunks(g, store_piece);
  if (!g->stop) g->stored = 1;
  else for (uint32_t k = 0; k < g->chunks; k++) free_chunk(g, &g->chunk[k]);
  return g->stored;
}

void graph_stop(Graph *g) { g->stop = STOPPED; }
uint64_t graph_done(Graph *g) { return g->done; }
uint64_t graph_bytes(Graph *g) { return g->used; }
/* The nearest state where a condition of the last question could not be evaluated; NONE if there is none. */
uint32_t graph_erred(Graph *g) { return least_erred(g); }
const uint32_t *graph_found(Graph *g, uint32_t *n) { *n = (uint32_t)g->n_found; return g->found; }
const uint32_t *graph_tail(Graph *g, uint32_t *n) { *n = g->tail_n; return g->tail; }
const uint32_t *graph_loop(Graph *g, uint32_t *n, const uint32_t **labels) {
  *n = g->loop_n; *labels = g->loop_label;
  return g->loop_to;
}
