/* Sets of states and the steps between them: what sets.py does, on packed states.
 *
 * Included behind the rules of a System; what comes before it in the file is made by unit.py: the heading (WORDS,
 * N_RULES, ..), tables of slots, `take` (one rule with given arguments), `observe`, `assumed` and `permute`.
 *
 * A state is entered once and has a number from then on.  A record is a configuration: the number of its state, then
 * the place that each pending call has reached in its program.  A node is a set of records in ascending order, with the
 * programs of its calls; equal nodes have one number.  Searches write records with one entry more: 0, or while events
 * happen "at once" 1 + the place among these.
 *
 * Whatever cannot go on (no memory, more records than the limit, numbers beyond 64 bits) ends the whole call: `fail`
 * jumps back to where it was entered, and what was known before is as good as ever.
 */

#define TOO_MANY 1
#define BEYOND 2                     /* a step that this cannot carry out */
#define NO_MEMORY 3
#define CERTAIN_WITHIN 3000          /* links up to which it is worked out what every explanation uses */

typedef struct { uint32_t at, n; } Span;
typedef struct { uint32_t to; int32_t rule; } Step;             /* rule -1: an observation */
typedef struct { uint32_t from, to; int32_t rule; uint32_t next; } Link;
typedef struct { uint32_t label, to; } Way;
typedef struct { int places; Span *ways; unsigned char *accept; Way *way; } Tree;
typedef struct { int starts; uint32_t *start; unsigned char *last; Tree tree; int has_call, has_return; Tree call, back; } Program;
typedef enum { DOES, LOOKS, FITS, CANNOT } Kind;                /* CANNOT: only the interpreter can carry it out */
typedef struct { Kind kind; int rules, *rule, *args; V value; } Label;
typedef struct { uint64_t hash; size_t programs, records; uint32_t n_programs, n; } Node;
typedef struct { uint64_t sure[RULE_WORDS], maybe[RULE_WORDS]; uint32_t node, size; } Edge;

typedef struct Sets {
  uint64_t limit;
  jmp_buf out;
  Ctx c;
  St *state; size_t states, state_room; uint32_t *state_table; size_t state_slots;
  Span *hidden; size_t hidden_room;                             /* by state; n UNKNOWN: not worked out */
  Step *step; size_t steps, step_room;
  uint64_t *taken_key; Span *taken; size_t taken_n, taken_slots; /* steps by state and label */
  Label *label; size_t labels, label_room;
  Program *program; size_t programs, program_room;
  Node *node; size_t nodes, node_room; uint32_t *node_table; size_t node_slots;
  uint32_t *pool; size_t pooled, pool_room;                     /* programs and records of nodes */
  /* the search under way */
  uint32_t *seen; size_t n_seen, seen_room; uint32_t *seen_table; size_t seen_slots; int stride;
  uint32_t *spot; size_t spot_room;                             /* where in the table a record of `seen` stands */
  Link *link; size_t links, link_room;
  uint32_t *first; size_t first_room;                           /* of the links that end at a record */
  uint32_t *goal; size_t goals, goal_room;
  uint32_t *left; size_t left_room, lefts; int left_stride;     /* records of the node to come; in order, how many */
  uint32_t *todo; size_t todo_room; unsigned char *mark; size_t mark_room;
} Sets;

#define UNKNOWN UINT32_MAX

static __attribute__((noreturn)) void fail(Sets *f, int why) { longjmp(f->out, why); }

static void *grown(Sets *f, void *memory, size_t *room, size_t need, size_t size) {
  if (need <= *room) return memory;
  size_t more = *room ? 2 * *room : 64;
  while (more < need) more *= 2;
  void *found = realloc(memory, more * size);
  if (!found) fail(f, NO_MEMORY);
  *room = more;
  return found;
}

#define ROOM(f, list, room, need) ((f)->list = grown(f, (f)->list, &(f)->room, need, sizeof *(f)->list))

/* Assigned only when all is well, so that a failure leaves the old table. */
static uint32_t *new_table(Sets *f, size_t slots) {
  uint32_t *table = calloc(slots, sizeof *table);
  if (!table) fail(f, NO_MEMORY);
  return table;
}

/* ---------------------------------------------------------------- states */

static uint32_t enter(Sets *f, const St *s) {
  if (2 * (f->states + 1) > f->state_slots) {
    size_t slots = f->state_slots ? 2 * f->state_slots : 1024;
    uint32_t *table = new_table(f, slots);
    for (size_t i = 0; i < f->states; i++) {
      size_t at = hash_of(&f->state[i]) & (slots - 1);
      while (table[at]) at = (at + 1) & (slots - 1);
      table[at] = (uint32_t)i + 1;
    }
    free(f->state_table);
    f->state_table = table; f->state_slots = slots;
  }
  size_t mask = f->state_slots - 1, at = hash_of(s) & mask;
  for (; f->state_table[at]; at = (at + 1) & mask)
    if (equal(&f->state[f->state_table[at] - 1], s)) return f->state_table[at] - 1;
  ROOM(f, state, state_room, f->states + 1);
  ROOM(f, hidden, hidden_room, f->states + 1);
  f->state[f->states] = *s;
  f->hidden[f->states].n = UNKNOWN;
  f->state_table[at] = (uint32_t)++f->states;
  return (uint32_t)f->states - 1;
}

/* NOTE(first-mention) in normal.py: the same order, so that both find the same state. */
static void normal(const St *s, St *t) {
#if N_IDS
  Renaming by;
  int same = 1;
  unsigned char placed[N_IDS] = { 0 };
  int next[N_TYPES] = { 0 };
  for (int a = 0; a < N_ANCHORS; a++) {
    int o = anchor_names[a] + (int)get(s, anchor_at[a], anchor_mask[a]);
    for (int i = name_begin[o]; i < name_begin[o + 1]; i++) {
      int id = name_of[i];
      if (placed[id]) continue;
      placed[id] = 1;
      by.to[id] = (uint16_t)next[type_of[id]]++;
    }
  }
  for (int k = 0; k < N_TYPES; k++) {
    int rest[N_IDS], n = 0;
    for (int id = type_base[k]; id < type_base[k + 1]; id++) {
      if (placed[id]) continue;
      int j = n++;
      for (; j > 0; j--) {           /* behind all that are not greater: those that tie keep their order */
        int other = rest[j - 1], order = 0;
        for (int i = 0; i < own_begin[id + 1] - own_begin[id] && !order; i++) {
          V x = get(s, own_at[own_begin[other] + i], own_mask[own_begin[other] + i]);
          V y = get(s, own_at[own_begin[id] + i], own_mask[own_begin[id] + i]);
          order = x < y ? -1 : x > y;
        }
        if (order <= 0) break;
        rest[j] = rest[j - 1];
      }
      rest[j] = id;
    }
    for (int i = 0; i < n; i++) by.to[rest[i]] = (uint16_t)next[k]++;
    for (int id = type_base[k]; id < type_base[k + 1]; id++) same &= by.to[id] == id - type_base[k];
  }
  if (!same) { permute(s, t, &by); return; }
#endif
  *t = *s;
}

/* ---------------------------------------------------------------- steps of the spec */

/* An outcome of the rule at work: entered among the steps found since `c->begin`, once. */
static inline void emit(Ctx *c, const St *s, const St *t, int rule, V number) {
  Sets *f = c->sets;
  St found;
  (void)s; (void)number;
  if (HAS_ASSUMES) {
    int ok = assumed(c, t);
    if (c->fault || !ok) return;
  }
  normal(t, &found);
  uint32_t to = enter(f, &found);
  if (to == c->skip) return;
  for (size_t i = c->begin; i < f->steps; i++) if (f->step[i].to == to && f->step[i].rule == rule) return;
  ROOM(f, step, step_room, f->steps + 1);
  f->step[f->steps++] = (Step){ to, rule };
}

static inline void emit_outcome(Ctx *c, const St *s, const St *t, int rule, V number) { emit(c, s, t, rule, number); }
static inline void begin_outcomes(Ctx *c) { (void)c; }
static inline void emit_fault(Ctx *c, const St *s, int rule, V number) {
  (void)s; (void)rule; (void)number;
  c->fault = 0; c->failed = 0;       /* such a step explains nothing */
}

/* A rule with these arguments; those that are -1 take every value. */
static void all_ways(Sets *f, const St *s, int rule, const int *wanted) {
  int args[MOST_PARAMS + 1], n = n_params[rule];
  for (int i = 0; i < n; i++) args[i] = wanted && wanted[i] >= 0 ? wanted[i] : 0;
  for (;;) {
    take(&f->c, s, rule, args);
    if (f->c.overflow) { f->c.overflow = 0; fail(f, BEYOND); }
    int i = n - 1;
    for (; i >= 0; i--) {
      if (wanted && wanted[i] >= 0) continue;
      if (++args[i] < param_size[rule][i]) break;
      args[i] = 0;
    }
    if (i < 0) return;
  }
}

static Span hidden_steps(Sets *f, uint32_t state) {
  if (f->hidden[state].n == UNKNOWN) {
    St s = f->state[state];
    size_t begin = f->c.begin = f->steps;
    f->c.skip = state;
    for (int i = 0; i < N_HIDDEN; i++) all_ways(f, &s, hidden_rule[i], NULL);
    f->c.skip = UNKNOWN;
    f->hidden[state] = (Span){ (uint32_t)begin, (uint32_t)(f->steps - begin) };
  }
  return f->hidden[state];
}

/* The steps that a label allows. */
static Span labelled(Sets *f, uint32_t state, uint32_t number) {
  uint64_t key = ((uint64_t)state << 32 | number) + 1;
  if (2 * (f->taken_n + 1) > f->taken_slots) {
    size_t slots = f->taken_slots ? 2 * f->taken_slots : 4096;
    uint64_t *keys = calloc(slots, sizeof *keys);
    Span *spans = keys ? malloc(slots * sizeof *spans) : NULL;
    if (!spans) { free(keys); fail(f, NO_MEMORY); }
    for (size_t i = 0; i < f->taken_slots; i++) {
      if (!f->taken_key[i]) continue;
      size_t at = f->taken_key[i] * 0x9e3779b97f4a7c15ull >> 20 & (slots - 1);
      while (keys[at]) at = (at + 1) & (slots - 1);
      keys[at] = f->taken_key[i]; spans[at] = f->taken[i];
    }
    free(f->taken_key); free(f->taken);
    f->taken_key = keys; f->taken = spans; f->taken_slots = slots;
  }
  size_t mask = f->taken_slots - 1, at = key * 0x9e3779b97f4a7c15ull >> 20 & mask;
  for (; f->taken_key[at]; at = (at + 1) & mask) if (f->taken_key[at] == key) return f->taken[at];
  const Label *label = &f->label[number];
  St s = f->state[state];
  size_t begin = f->c.begin = f->steps;
  if (label->kind == CANNOT) fail(f, BEYOND);
  if (label->kind == DOES) {
    for (int i = 0; i < label->rules; i++) all_ways(f, &s, label->rule[i], label->args);
  } else {
    V value = label->value;
    if (label->kind == LOOKS) observe(&f->c, &s, label->rule[0], label->args, &value);
    if (f->c.overflow) { f->c.overflow = 0; fail(f, BEYOND); }
    if (!f->c.fault && value == label->value) {
      ROOM(f, step, step_room, f->steps + 1);
      f->step[f->steps++] = (Step){ state, -1 };
    }
    f->c.fault = 0;
  }
  Span found = { (uint32_t)begin, (uint32_t)(f->steps - begin) };
  f->taken_key[at] = key; f->taken[at] = found; f->taken_n++;
  return found;
}

/* ---------------------------------------------------------------- nodes */

static uint64_t hash_records(const uint32_t *r, size_t n) {
  uint64_t h = n;
  for (size_t i = 0; i < n; i++) { h = (h ^ r[i]) * 0x9e3779b97f4a7c15ull; h ^= h >> 29; }
  return h;
}

static int by_entries(const void *a, const void *b, void *stride) {
  const uint32_t *x = a, *y = b;
  for (int i = 0, n = *(int *)stride; i < n; i++) if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

/* Put the records in f->left in order, each once; how many there are. */
static size_t in_order(Sets *f, int stride, size_t n) {
  size_t kept = 0;
  if (n > 1) qsort_r(f->left, n, sizeof(uint32_t) * (size_t)stride, by_entries, &stride);
  for (size_t i = 0; i < n; i++) {
    if (kept && !by_entries(&f->left[(kept - 1) * stride], &f->left[i * stride], &stride)) continue;
    memmove(&f->left[kept++ * stride], &f->left[i * stride], sizeof(uint32_t) * (size_t)stride);
  }
  return kept;
}

/* The node with these records (in f->left; each once or more), made if there is none. */
static uint32_t node_of(Sets *f, const uint32_t *programs, int n_programs, size_t n) {
  int stride = 1 + n_programs;
  n = in_order(f, stride, n);
  if (n > f->limit) fail(f, TOO_MANY);
  if (2 * (f->nodes + 1) > f->node_slots) {
    size_t slots = f->node_slots ? 2 * f->node_slots : 1024;
    uint32_t *table = new_table(f, slots);
    for (size_t i = 0; i < f->nodes; i++) {
      size_t at = f->node[i].hash & (slots - 1);
      while (table[at]) at = (at + 1) & (slots - 1);
      table[at] = (uint32_t)i + 1;
    }
    free(f->node_table);
    f->node_table = table; f->node_slots = slots;
  }
  size_t bytes = sizeof(uint32_t) * n * (size_t)stride, of_programs = sizeof(uint32_t) * (size_t)n_programs;
  uint64_t hash = hash_records(f->left, n * (size_t)stride) ^ 31 * hash_records(programs, (size_t)n_programs);
  hash ^= hash >> 32;
  size_t mask = f->node_slots - 1, at = hash & mask;
  for (; f->node_table[at]; at = (at + 1) & mask) {
    const Node *known = &f->node[f->node_table[at] - 1];
    if (known->hash == hash && known->n == n && (int)known->n_programs == n_programs &&
        !memcmp(&f->pool[known->programs], programs, of_programs) && !memcmp(&f->pool[known->records], f->left, bytes))
      return f->node_table[at] - 1;
  }
  ROOM(f, pool, pool_room, f->pooled + (size_t)n_programs + n * (size_t)stride);
  ROOM(f, node, node_room, f->nodes + 1);
  Node *node = &f->node[f->nodes];
  *node = (Node){ hash, f->pooled, f->pooled + (size_t)n_programs, (uint32_t)n_programs, (uint32_t)n };
  memcpy(&f->pool[node->programs], programs, of_programs);
  memcpy(&f->pool[node->records], f->left, bytes);
  f->pooled = node->records + n * (size_t)stride;
  f->node_table[at] = (uint32_t)++f->nodes;
  return (uint32_t)f->nodes - 1;
}

/* ---------------------------------------------------------------- searches */

static void begin_search(Sets *f, int calls) {
  f->stride = calls + 2;
  if (8 * f->n_seen < f->seen_slots)   /* a small search after a large one */
    for (size_t i = 0; i < f->n_seen; i++) f->seen_table[f->spot[i]] = 0;
  else if (f->seen_table) memset(f->seen_table, 0, sizeof(uint32_t) * f->seen_slots);
  f->n_seen = f->links = f->goals = 0;
}

/* The number of a record (of f->stride entries, not in f->seen) in the search under way; it may be new. */
static uint32_t visit(Sets *f, const uint32_t *record) {
  size_t size = sizeof(uint32_t) * (size_t)f->stride;
  if (2 * (f->n_seen + 1) > f->seen_slots) {
    size_t slots = f->seen_slots ? 2 * f->seen_slots : 256;
    uint32_t *table = new_table(f, slots);
    for (size_t i = 0; i < f->n_seen; i++) {
      size_t at = hash_records(&f->seen[i * (size_t)f->stride], (size_t)f->stride) >> 7 & (slots - 1);
      while (table[at]) at = (at + 1) & (slots - 1);
      table[at] = (uint32_t)i + 1;
      f->spot[i] = (uint32_t)at;
    }
    free(f->seen_table);
    f->seen_table = table; f->seen_slots = slots;
  }
  size_t mask = f->seen_slots - 1, at = hash_records(record, (size_t)f->stride) >> 7 & mask;
  for (; f->seen_table[at]; at = (at + 1) & mask)
    if (!memcmp(&f->seen[(f->seen_table[at] - 1) * (size_t)f->stride], record, size)) return f->seen_table[at] - 1;
  ROOM(f, seen, seen_room, (f->n_seen + 1) * (size_t)f->stride);
  ROOM(f, spot, spot_room, f->n_seen + 1);
  memcpy(&f->seen[f->n_seen * (size_t)f->stride], record, size);
  f->spot[f->n_seen] = (uint32_t)at;
  f->seen_table[at] = (uint32_t)++f->n_seen;
  return (uint32_t)f->n_seen - 1;
}

static void link_to(Sets *f, uint32_t from, const uint32_t *record, int rule) {
  uint32_t to = visit(f, record);
  ROOM(f, link, link_room, f->links + 1);
  f->link[f->links++] = (Link){ from, to, rule, 0 };
}

static void reached(Sets *f, uint32_t record) {
  ROOM(f, goal, goal_room, f->goals + 1);
  f->goal[f->goals++] = record;
}

/* Calls `to(f, from, record, rule)` for each record that hidden steps and steps of pending calls lead to from `here`. */
typedef void Onward(Sets *f, uint32_t from, const uint32_t *record, int rule);

static inline __attribute__((always_inline))
void onward(Sets *f, const uint32_t *programs, int n, int stride, const uint32_t *here, uint32_t from, Onward *to) {
  uint32_t next[stride];
  memcpy(next, here, sizeof next);
  Span found = hidden_steps(f, here[0]);
  for (uint32_t k = 0; k < found.n; k++) {
    next[0] = f->step[found.at + k].to;
    to(f, from, next, f->step[found.at + k].rule);
  }
  for (int call = 0; call < n; call++) {
    const Tree *tree = &f->program[programs[call]].tree;
    Span ways = tree->ways[here[1 + call]];
    for (uint32_t w = 0; w < ways.n; w++) {
      const Way *way = &tree->way[ways.at + w];
      next[1 + call] = way->to;
      found = labelled(f, here[0], way->label);
      for (uint32_t k = 0; k < found.n; k++) {
        next[0] = f->step[found.at + k].to;
        to(f, from, next, f->step[found.at + k].rule);
      }
    }
    next[1 + call] = here[1 + call];
  }
}

/* From the records seen so far on: where hidden steps and pending calls lead, up to where the call in `slot` is over
 * (-1: everything is a goal). */
static void search(Sets *f, const uint32_t *programs, int n, int slot) {
  const Program *mine = slot < 0 ? NULL : &f->program[programs[slot]];
  uint32_t here[f->stride];
  for (uint32_t i = 0; i < f->n_seen; i++) {
    memcpy(here, &f->seen[i * (size_t)f->stride], sizeof here);
    if (!mine) reached(f, i);
    else if (mine->tree.accept[here[1 + slot]]) {
      reached(f, i);
      /* What comes at the return itself comes after everything else: then nothing may be cut short. */
      if (!mine->has_return && mine->last[here[1 + slot]]) continue;
    }
    onward(f, programs, n, f->stride, here, i, link_to);
    if (f->n_seen > 10 * f->limit) fail(f, TOO_MANY);
  }
}

/* Every goal goes on through this tree, with nothing in between. */
static void at_once(Sets *f, const Tree *tree) {
  uint32_t here[f->stride], next[f->stride];
  int end = f->stride - 1;
  size_t goals = f->goals, begin = f->n_seen;
  for (size_t g = 0; g < goals; g++) {
    memcpy(next, &f->seen[f->goal[g] * (size_t)f->stride], sizeof next);
    next[end] = 1;
    link_to(f, f->goal[g], next, -1);
  }
  f->goals = 0;
  for (size_t i = begin; i < f->n_seen; i++) {
    memcpy(here, &f->seen[i * (size_t)f->stride], sizeof here);
    memcpy(next, here, sizeof here);
    uint32_t place = here[end] - 1;
    if (tree->accept[place]) reached(f, (uint32_t)i);
    for (uint32_t w = 0; w < tree->ways[place].n; w++) {
      const Way *way = &tree->way[tree->ways[place].at + w];
      Span found = labelled(f, here[0], way->label);
      next[end] = way->to + 1;
      for (uint32_t k = 0; k < found.n; k++) {
        next[0] = f->step[found.at + k].to;
        link_to(f, (uint32_t)i, next, f->step[found.at + k].rule);
      }
    }
  }
}

/* Back from the goals over links of other rules than `without`; notes in `used` what it goes over.  Whether it comes to
 * one of the first `starts` records. */
static int backward(Sets *f, int without, size_t starts, uint64_t *used) {
  size_t n = 0;
  ROOM(f, todo, todo_room, f->n_seen + 1);
  memset(f->mark, 0, f->n_seen);
  for (size_t g = 0; g < f->goals; g++)
    if (!f->mark[f->goal[g]]) { f->mark[f->goal[g]] = 1; f->todo[n++] = f->goal[g]; }
  while (n) {
    uint32_t at = f->todo[--n];
    if (at < starts && !used) return 1;
    for (uint32_t k = f->first[at]; k != UNKNOWN; k = f->link[k].next) {
      const Link *link = &f->link[k];
      if (link->rule >= 0 && link->rule == without) continue;
      if (used && link->rule >= 0) used[link->rule / 64] |= 1ull << link->rule % 64;
      if (!f->mark[link->from]) { f->mark[link->from] = 1; f->todo[n++] = link->from; }
    }
  }
  return 0;
}

/* Rules that lie on some way from the first `starts` records to a goal, and on every such way. */
static void rules_used(Sets *f, size_t starts, Edge *edge) {
  memset(edge->sure, 0, sizeof edge->sure);
  memset(edge->maybe, 0, sizeof edge->maybe);
  if (!f->links || !f->goals) return;
  ROOM(f, first, first_room, f->n_seen);
  ROOM(f, mark, mark_room, f->n_seen);
  for (size_t i = 0; i < f->n_seen; i++) f->first[i] = UNKNOWN;
  for (size_t k = 0; k < f->links; k++) {
    Link *link = &f->link[k];
    link->next = f->first[link->to];
    f->first[link->to] = (uint32_t)k;
  }
  backward(f, -1, 0, edge->maybe);
  if (f->links > CERTAIN_WITHIN) return;
  for (int w = 0; w < RULE_WORDS; w++)
    for (uint64_t bits = edge->maybe[w]; bits; bits &= bits - 1) {
      int rule = 64 * w + __builtin_ctzll(bits);
      if (!backward(f, rule, starts, NULL)) edge->sure[w] |= 1ull << rule % 64;
    }
}

/* ---------------------------------------------------------------- steps between nodes */

/* A call begins, with nothing to happen just then: its records are put into f->left. */
static size_t begun(Sets *f, const Node *node, const Program *program) {
  size_t stride = 1 + (size_t)node->n_programs, n = 0;
  if ((uint64_t)node->n * (uint64_t)program->starts > f->limit) fail(f, TOO_MANY);
  ROOM(f, left, left_room, (size_t)node->n * (size_t)program->starts * (stride + 1));
  for (uint32_t i = 0; i < node->n; i++)
    for (int k = 0; k < program->starts; k++, n++) {
      memcpy(&f->left[n * (stride + 1)], &f->pool[node->records + i * stride], sizeof(uint32_t) * stride);
      f->left[n * (stride + 1) + stride] = program->start[k];
    }
  return n;
}

/* Goals without the entry of `slot` (-1: with all) and without the last, into f->left. */
static size_t goals_left(Sets *f, int slot) {
  size_t stride = (size_t)f->stride - 1 - (slot >= 0);
  ROOM(f, left, left_room, f->goals * stride + 1);
  for (size_t g = 0; g < f->goals; g++) {
    const uint32_t *record = &f->seen[f->goal[g] * (size_t)f->stride];
    uint32_t *to = &f->left[g * stride];
    for (int i = 0; i < f->stride - 1; i++) if (slot < 0 || i != slot + 1) *to++ = record[i];
  }
  return f->goals;
}

/* A step from a record of f->left to another one of them. */
static void link_left(Sets *f, uint32_t from, const uint32_t *record, int rule) {
  size_t low = 0, high = f->lefts;
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = by_entries(&f->left[middle * (size_t)f->left_stride], record, &f->left_stride);
    if (!order) {
      if (middle == from) return;
      ROOM(f, link, link_room, f->links + 1);
      f->link[f->links++] = (Link){ from, (uint32_t)middle, rule, 0 };
      return;
    }
    if (order < 0) low = middle + 1; else high = middle;
  }
}

/* Leave out the records in f->left that others of them lead to: what they can do, the others can do later.  Where some
 * lead to each other in a circle, and no other leads there, all of them are kept.  How many are left. */
static size_t needed(Sets *f, const uint32_t *programs, int n_programs, size_t n) {
  int stride = 1 + n_programs;
  n = in_order(f, stride, n);
  if (n < 2) return n;
  f->links = 0; f->lefts = n; f->left_stride = stride;
  for (size_t i = 0; i < n; i++)
    onward(f, programs, n_programs, stride, &f->left[i * (size_t)stride], (uint32_t)i, link_left);
  if (!f->links) return n;
  ROOM(f, first, first_room, n);
  ROOM(f, mark, mark_room, n);
  ROOM(f, todo, todo_room, n);
  memset(f->mark, 0, n);             /* 1: some other leads there; 2: seen from one to which none leads */
  for (size_t i = 0; i < n; i++) f->first[i] = UNKNOWN;
  for (size_t k = 0; k < f->links; k++) {
    Link *link = &f->link[k];
    link->next = f->first[link->from];
    f->first[link->from] = (uint32_t)k;
    f->mark[link->to] = 1;
  }
  size_t waiting = 0, kept = 0;
  for (size_t i = 0; i < n; i++) if (!f->mark[i]) f->todo[waiting++] = (uint32_t)i;
  while (waiting) {
    for (uint32_t k = f->first[f->todo[--waiting]]; k != UNKNOWN; k = f->link[k].next) {
      uint32_t to = f->link[k].to;
      if (f->mark[to] != 1) continue;
      f->mark[to] = 2;
      f->todo[waiting++] = to;
    }
  }
  for (size_t i = 0; i < n; i++)
    if (f->mark[i] != 2) memmove(&f->left[kept++ * stride], &f->left[i * stride], sizeof(uint32_t) * (size_t)stride);
  return kept;
}

static void see_node(Sets *f, const Node *node) {
  uint32_t record[node->n_programs + 2];
  size_t stride = 1 + (size_t)node->n_programs;
  record[stride] = 0;
  for (uint32_t i = 0; i < node->n; i++) {
    memcpy(record, &f->pool[node->records + i * stride], sizeof(uint32_t) * stride);
    visit(f, record);
  }
}

static void called(Sets *f, uint32_t number, uint32_t program, Edge *edge) {
  Node node = f->node[number];
  const Program *p = &f->program[program];
  uint32_t programs[node.n_programs + 1];
  memcpy(programs, &f->pool[node.programs], sizeof(uint32_t) * node.n_programs);
  programs[node.n_programs] = program;
  memset(edge, 0, sizeof *edge);
  size_t n;
  if (p->has_call) {
    begin_search(f, (int)node.n_programs);
    see_node(f, &node);
    search(f, programs, (int)node.n_programs, -1);
    at_once(f, &p->call);
    rules_used(f, node.n, edge);
    n = needed(f, programs, (int)node.n_programs, goals_left(f, -1));
    size_t stride = 1 + (size_t)node.n_programs;
    ROOM(f, left, left_room, n * (size_t)p->starts * (stride + 1) + 1);
    /* From the back, so that what is still to be read is not written over. */
    for (size_t i = n; i-- > 0;) {
      uint32_t one[stride];
      memcpy(one, &f->left[i * stride], sizeof one);
      for (int k = p->starts; k-- > 0;) {
        uint32_t *to = &f->left[(i * (size_t)p->starts + (size_t)k) * (stride + 1)];
        memcpy(to, one, sizeof one);
        to[stride] = p->start[k];
      }
    }
    n *= (size_t)p->starts;
  } else n = begun(f, &node, p);
  edge->node = node_of(f, programs, (int)node.n_programs + 1, n);
}

static void returns(Sets *f, const uint32_t *programs, int n, int slot, size_t starts, Edge *edge) {
  search(f, programs, n, slot);
  if (f->program[programs[slot]].has_return) at_once(f, &f->program[programs[slot]].back);
  uint32_t others[n];
  memcpy(others, programs, sizeof(uint32_t) * (size_t)slot);
  memcpy(others + slot, programs + slot + 1, sizeof(uint32_t) * (size_t)(n - 1 - slot));
  rules_used(f, starts, edge);
  edge->node = node_of(f, others, n - 1, needed(f, others, n - 1, goals_left(f, slot)));
}

static int ended(Sets *f, Edge *edge) { edge->size = f->node[edge->node].n; return 0; }

#define ENTRY(f) { int why = setjmp((f)->out); if (why) { (f)->c.skip = UNKNOWN; (f)->c.fault = (f)->c.failed = 0; return -why; } }

int sets_call(Sets *f, uint32_t node, uint32_t program, Edge *edge) {
  ENTRY(f)
  called(f, node, program, edge);
  return ended(f, edge);
}

int sets_back(Sets *f, uint32_t number, uint32_t slot, Edge *edge) {
  ENTRY(f)
  Node node = f->node[number];
  uint32_t programs[node.n_programs];
  memcpy(programs, &f->pool[node.programs], sizeof programs);
  begin_search(f, (int)node.n_programs);
  see_node(f, &node);
  returns(f, programs, (int)node.n_programs, (int)slot, node.n, edge);
  return ended(f, edge);
}

/* A call and its return with nothing between: the same as one after the other, but that the node between them is not
 * kept where nothing happens at the call. */
int sets_run(Sets *f, uint32_t number, uint32_t program, Edge *edge) {
  ENTRY(f)
  if (f->program[program].has_call) {
    Edge first;
    called(f, number, program, &first);
    Node node = f->node[first.node];
    uint32_t programs[node.n_programs];
    memcpy(programs, &f->pool[node.programs], sizeof programs);
    begin_search(f, (int)node.n_programs);
    see_node(f, &node);
    returns(f, programs, (int)node.n_programs, (int)node.n_programs - 1, node.n, edge);
    for (int w = 0; w < RULE_WORDS; w++) { edge->sure[w] |= first.sure[w]; edge->maybe[w] |= first.maybe[w]; }
    return ended(f, edge);
  }
  Node node = f->node[number];
  int n = (int)node.n_programs + 1;
  uint32_t programs[n], record[n + 2];
  memcpy(programs, &f->pool[node.programs], sizeof(uint32_t) * node.n_programs);
  programs[n - 1] = program;
  size_t starts = begun(f, &node, &f->program[program]);
  begin_search(f, n);
  record[n + 1] = 0;
  for (size_t i = 0; i < starts; i++) {
    memcpy(record, &f->left[i * (size_t)(n + 1)], sizeof(uint32_t) * (size_t)(n + 1));
    visit(f, record);
  }
  returns(f, programs, n, n - 1, starts, edge);
  return ended(f, edge);
}

/* ---------------------------------------------------------------- what Python puts in and looks at */

static void free_tree(Tree *t) { free(t->ways); free(t->accept); free(t->way); }

void sets_free(Sets *f) {
  if (!f) return;
  for (size_t i = 0; i < f->labels; i++) { free(f->label[i].rule); free(f->label[i].args); }
  for (size_t i = 0; i < f->programs; i++) {
    Program *p = &f->program[i];
    free(p->start); free(p->last); free_tree(&p->tree); free_tree(&p->call); free_tree(&p->back);
  }
  void *all[] = { f->state, f->state_table, f->hidden, f->step, f->taken_key, f->taken, f->label, f->program, f->node,
                  f->node_table, f->pool, f->seen, f->seen_table, f->spot, f->link, f->first, f->goal, f->left, f->todo, f->mark, f };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

Sets *sets_new(uint64_t limit) {
  Sets *f = calloc(1, sizeof *f);
  if (!f) return NULL;
  f->limit = limit; f->c.sets = f; f->c.skip = UNKNOWN;
  return f;
}

/* Bytes that grow with what is known. */
uint64_t sets_bytes(const Sets *f) {
  return f->state_room * (sizeof(St) + sizeof(Span)) + f->state_slots * 4 + f->step_room * sizeof(Step) +
         f->taken_slots * (8 + sizeof(Span)) + f->node_room * sizeof(Node) + f->node_slots * 4 + f->pool_room * 4;
}

/* rules: of an event, or one observation; args: ordinals, -1 for any value; value: what is seen. */
int sets_label(Sets *f, int kind, const int *rules, int n_rules, const int *args, int n_args, int64_t value) {
  ENTRY(f)
  ROOM(f, label, label_room, f->labels + 1);
  Label l = { .kind = kind, .rules = n_rules, .value = value };
  l.rule = malloc(sizeof(int) * (size_t)(n_rules + 1));
  l.args = malloc(sizeof(int) * (size_t)(n_args + 1));
  if (!l.rule || !l.args) { free(l.rule); free(l.args); fail(f, NO_MEMORY); }
  memcpy(l.rule, rules, sizeof(int) * (size_t)n_rules);
  memcpy(l.args, args, sizeof(int) * (size_t)n_args);
  f->label[f->labels] = l;
  return (int)f->labels++;
}

/* A tree as numbers: places, then for each place whether it accepts, how many ways there are, (label, place) of each. */
static const int *read_tree(Sets *f, Tree *t, const int *at) {
  size_t ways = 0, room = 0;
  t->places = *at++;
  t->ways = malloc(sizeof(Span) * (size_t)(t->places + 1));
  t->accept = malloc((size_t)t->places + 1);
  if (!t->ways || !t->accept) fail(f, NO_MEMORY);
  for (int p = 0; p < t->places; p++) {
    t->accept[p] = (unsigned char)*at++;
    int n = *at++;
    t->ways[p] = (Span){ (uint32_t)ways, (uint32_t)n };
    t->way = grown(f, t->way, &room, ways + (size_t)n + 1, sizeof(Way));
    for (int i = 0; i < n; i++, at += 2) t->way[ways++] = (Way){ (uint32_t)at[0], (uint32_t)at[1] };
  }
  return at;
}

/* A program as numbers: how many starts, these; the tree; whether each place is the last; then for the moments of call
 * and return 0, or 1 and the tree. */
int sets_program(Sets *f, const int *at) {
  ENTRY(f)
  ROOM(f, program, program_room, f->programs + 1);
  Program *p = &f->program[f->programs];
  memset(p, 0, sizeof *p);
  f->programs++;
  p->starts = *at++;
  p->start = malloc(sizeof(uint32_t) * (size_t)(p->starts + 1));
  if (!p->start) fail(f, NO_MEMORY);
  for (int i = 0; i < p->starts; i++) p->start[i] = (uint32_t)*at++;
  at = read_tree(f, &p->tree, at);
  p->last = malloc((size_t)p->tree.places + 1);
  if (!p->last) fail(f, NO_MEMORY);
  for (int i = 0; i < p->tree.places; i++) p->last[i] = (unsigned char)*at++;
  p->has_call = *at++;
  if (p->has_call) at = read_tree(f, &p->call, at);
  p->has_return = *at++;
  if (p->has_return) read_tree(f, &p->back, at);
  return (int)f->programs - 1;
}

/* The node of these programs, with n configurations: packed states, and the places of each. */
int sets_node(Sets *f, const uint32_t *programs, int n_programs, const St *states, const uint32_t *places, uint64_t n, Edge *edge) {
  ENTRY(f)
  size_t stride = 1 + (size_t)n_programs;
  memset(edge, 0, sizeof *edge);
  ROOM(f, left, left_room, n * stride + 1);
  for (uint64_t i = 0; i < n; i++) {
    f->left[i * stride] = enter(f, &states[i]);
    memcpy(&f->left[i * stride + 1], &places[i * (size_t)n_programs], sizeof(uint32_t) * (size_t)n_programs);
  }
  edge->node = node_of(f, programs, n_programs, n);
  return ended(f, edge);
}

/* The configurations of a node, as `sets_node` takes them. */
void sets_configs(const Sets *f, uint32_t number, St *states, uint32_t *places) {
  const Node *node = &f->node[number];
  size_t stride = 1 + (size_t)node->n_programs;
  for (uint32_t i = 0; i < node->n; i++) {
    const uint32_t *record = &f->pool[node->records + i * stride];
    states[i] = f->state[record[0]];
    memcpy(&places[i * (size_t)node->n_programs], record + 1, sizeof(uint32_t) * node->n_programs);
  }
}

/* The members that the states of a node mention, see `Sets.mentions`: a mask for each type.  start: of each slot the
 * bits it has at the start, -1 where it may have several. */
void sets_mentions(const Sets *f, uint32_t number, const int64_t *start, uint64_t *masks) {
  const Node *node = &f->node[number];
  memset(masks, 0, sizeof(uint64_t) * N_MEMBERS);
  for (uint32_t i = 0; i < node->n; i++) {
    const St *s = &f->state[f->pool[node->records + i * (1 + (size_t)node->n_programs)]];
    for (int k = 0; k < N_SLOTS; k++) {
      V v = get(s, slot_at[k], slot_mask[k]);
      if (v != start[k]) for (int m = 0; m < N_MEMBERS; m++) masks[m] |= slot_index[k][m];
      if (slot_look[k] >= 0) for (int m = 0; m < N_MEMBERS; m++) masks[m] |= look[slot_look[k] + v][m];
    }
  }
}
