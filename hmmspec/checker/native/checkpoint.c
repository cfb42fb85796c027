/* Checkpoints: what a search knows besides its states goes out as numbers and comes in again.
 *
 * NOTE(control): all numbers have 64 bits: N_RULES, N_FINDINGS, N_SEEN, WORDS, lock elements, states kept of each
 * finding; then states, begin, end and next of the level that is being expanded, depth, levels, transitions, faults,
 * full states, whether those are not known, whether there are representatives, comparisons of hashes; then where each level ends; steps and
 * errors of each rule; the flags; of each finding how many states are kept, and index and length of each; of each pair
 * of lock elements the state where the second was acquired while the first was held.
 *
 * What comes in was read from a file and is not trusted: every number is looked at before it is used, and every state
 * has to be one of the system's types (`unsound`), so that generated code never sees a value that it cannot have.
 */

#if HAS_LOCKS
#define CONTROL_LOCKS N_ELEMENTS
#else
#define CONTROL_LOCKS 0
#endif

/* A number in a state that is from `least` to `most`; or, if `skip` is not 0, a number that has to be for the next
 * `skip` checks to be made.  See soundness.py. */
typedef struct { uint32_t at, bits; uint64_t least, most, skip; } Check;

typedef struct { uint64_t *out; uint64_t n, room; } Numbers;

static void number_out(Numbers *w, uint64_t v) {
  if (w->n < w->room) w->out[w->n] = v;
  w->n++;
}

/* Whether new states for which there is no room are kept (`engine_lost`). */
void engine_keep_lost(Engine *e) { e->keep_lost = 1; }

/* States that were found and for which there was no room: at most `room` of them are copied.  Returns how many there
 * are; UINT64_MAX if that is not known, since memory for them ran out, too. */
uint64_t engine_lost(const Engine *e, St *out, uint64_t room) {
  uint64_t n = 0;
  for (int t = 0; t < e->threads; t++) {
    const Ctx *c = e->ctx[t];
    if (c->lost_unknown) return UINT64_MAX;
    for (uint64_t i = 0; i < c->n_lost; i++, n++) if (n < room) out[n] = c->lost[i];
  }
  return e->stop == 0 || e->stop == 1 || e->stop == 7 ? n : UINT64_MAX;
}

/* The control block, at most `room` numbers of it; returns how many there are.  To be called between two calls of
 * engine_run. */
uint64_t engine_export(Engine *e, uint64_t *out, uint64_t room) {
  Numbers w = { out, 0, room };
  const uint64_t head[] = { N_RULES, N_FINDINGS, N_SEEN, WORDS, CONTROL_LOCKS, (uint64_t)e->keep, e->count, e->begin,
                            e->end, e->next, (uint64_t)e->depth, (uint64_t)e->levels, e->transitions, e->faults,
                            e->full, (uint64_t)!!e->full_unknown, (uint64_t)!!e->representatives, e->compared };
  for (size_t i = 0; i < sizeof head / sizeof *head; i++) number_out(&w, head[i]);
  for (int i = 0; i < e->levels; i++) number_out(&w, e->level_end[i]);
  for (int r = 0; r < 2 * N_RULES; r++) number_out(&w, e->fired[r]);
  for (int i = 0; i < N_SEEN; i++) number_out(&w, !!e->seen[i]);
  for (int f = 0; f < N_FINDINGS; f++) {
    const Kept *k = &e->kept[f];
    number_out(&w, (uint64_t)k->n);
    for (int i = 0; i < k->n; i++) { number_out(&w, k->index[i]); number_out(&w, (uint64_t)k->length[i]); }
  }
#if HAS_LOCKS
  for (int held = 0; held < N_ELEMENTS; held++)
    for (int acquired = 0; acquired < N_ELEMENTS; acquired++) number_out(&w, engine_lock_order(e, held, acquired));
#endif
  return w.n;
}

/* A number of a control block that is at most `most`; what is missing or larger makes the block unsound. */
static uint64_t number_in(Numbers *r, uint64_t most, int *sound) {
  if (r->n >= r->room || r->out[r->n] > most) { *sound = 0; return 0; }
  return r->out[r->n++];
}

static int import_kept(Engine *e, Kept *k, Numbers *r) {
  int sound = 1;
  k->n = (int)number_in(r, (uint64_t)e->keep, &sound);
  for (int i = 0; sound && i < k->n; i++) {
    k->index[i] = (uint32_t)number_in(r, e->count - 1, &sound);
    k->length[i] = (int)number_in(r, (uint64_t)e->levels + 1, &sound);
  }
  k->worst = 0;
  for (int i = 1; sound && i < k->n; i++)
    if (before(e, k->length[k->worst], k->index[k->worst], k->length[i], k->index[i])) k->worst = i;
  if (!sound) k->n = 0;
  return sound;
}

/* A control block for a search whose states are all entered; 0 if it is not one of this search.  Whoever gets 0 throws
 * the engine away. */
int engine_import(Engine *e, uint64_t *in, uint64_t n) {
  Numbers r = { in, 0, n };
  int sound = 1;
  const uint64_t head[] = { N_RULES, N_FINDINGS, N_SEEN, WORDS, CONTROL_LOCKS, (uint64_t)e->keep, e->count };
  for (size_t i = 0; i < sizeof head / sizeof *head; i++)
    if (number_in(&r, head[i], &sound) != head[i]) return 0;
  if (!e->count || e->levels) return 0;
  uint64_t begin = number_in(&r, e->count, &sound), end = number_in(&r, e->count, &sound);
  uint64_t next = number_in(&r, end, &sound), depth = number_in(&r, e->count, &sound);
  uint64_t levels = number_in(&r, e->count, &sound), most = UINT64_MAX;
  e->transitions = number_in(&r, most, &sound); e->faults = number_in(&r, most, &sound);
  e->full = number_in(&r, most, &sound); e->full_unknown = (int)number_in(&r, 1, &sound);
  e->representatives |= (int)number_in(&r, 1, &sound);
  e->compared = number_in(&r, most, &sound);
  if (!sound || levels > INT32_MAX - 2 || depth != (levels ? levels - 1 : 0) || n - r.n < levels || next < begin)
    return 0;
  if (levels > (uint64_t)e->levels_room) {
    uint32_t *more = realloc(e->level_end, sizeof(uint32_t) * levels);
    if (!more) return 0;
    e->level_end = more; e->levels_room = (int)levels;
  }
  uint64_t last = 0, before_last = 0;
  for (uint64_t i = 0; i < levels; i++) {
    uint64_t at = number_in(&r, e->count, &sound);
    if (at <= last) return 0;
    before_last = last; last = at;
    e->level_end[i] = (uint32_t)at;
  }
  if (!sound || last != end || before_last != begin) return 0;
  e->begin = (uint32_t)begin; e->end = (uint32_t)end; e->next = next;
  e->depth = (int)depth; e->levels = (int)levels;
  for (int i = 0; i < 2 * N_RULES; i++) e->fired[i] = number_in(&r, most, &sound);
  for (int i = 0; i < N_SEEN; i++) e->seen[i] |= (unsigned char)number_in(&r, 1, &sound);
  for (int f = 0; f < N_FINDINGS; f++) {
    Kept *k = &e->kept[f];
    if (!sound || !import_kept(e, k, &r)) return 0;
    e->done[f] = k->n == e->keep && k->length[k->worst] < e->depth;
  }
#if HAS_LOCKS
  Locks *locks = e->ctx[0]->locks ? e->ctx[0]->locks : new_locks(e->ctx[0]);
  if (!locks) return 0;
  for (int held = 0; held < N_ELEMENTS; held++)
    for (int acquired = 0; acquired < N_ELEMENTS; acquired++) {
      uint64_t v = number_in(&r, NONE, &sound);
      if (v != NONE && v >= e->count) return 0;
      locks->first[held][acquired] = (uint32_t)v;
    }
#endif
  if (!sound || r.n != n) return 0;
#if HASH_BITS
  new_table(e, e->slots, 0);        /* of all states that were entered, see `engine_restore` */
#endif
  gather(e);
  return 1;
}

static uint64_t number_at(const St *s, uint32_t at, uint32_t bits) {
  return s->w[at >> 6] >> (at & 63) & (bits < 64 ? (1ull << bits) - 1 : ~0ull);
}

/* Whether a state is not one of the system's types: `used` are the bits that carry a value. */
static int unsound(const St *s, const St *used, const Check *checks, uint64_t n) {
  for (int i = 0; i < WORDS; i++) if (s->w[i] & ~used->w[i]) return 1;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t v = number_at(s, checks[i].at, checks[i].bits);
    if (v >= checks[i].least && v <= checks[i].most) continue;
    if (!checks[i].skip) return 1;
    i += checks[i].skip;
  }
  return 0;
}

/* Enter a state of a checkpoint; whether it is new.  In a table of hashes states that were told apart when they were
 * found may look alike by now: they are all entered into the store, and `engine_import` makes the table. */
static int restore_one(Engine *e, const St *s, uint64_t h) {
  uint64_t count = e->count;
  if (!HASH_BITS) enter(e->ctx[0], s, h);
  else if (count >= e->capacity) no_room(e->ctx[0], s);
  else e->store[e->count++] = *s;
  return e->count > count;
}

/* Enter states of a checkpoint as they are; nothing is expanded.  Returns how many were entered: all n; fewer if there
 * is no room (`engine_report` says `stop`), or if the next state is none of this system's, or one that is there
 * already.  Then comes `engine_import`. */
uint32_t engine_restore(Engine *e, const St *states, uint32_t n, const St *used, const Check *checks,
                        uint64_t n_checks) {
  uint64_t hash[BATCH];
  for (uint32_t i = 0; i < n; i += BATCH) {
    uint32_t more = n - i < BATCH ? n - i : BATCH;
    if (e->count + BATCH >= e->fill) make_room(e);
    for (uint32_t k = 0; k < more; k++) { hash[k] = hash_of(&states[i + k]); prefetch_slot(e, hash[k]); }
    for (uint32_t k = 0; k < more; k++)
      if (unsound(&states[i + k], used, checks, n_checks) || !restore_one(e, &states[i + k], hash[k])) return i + k;
    if (e->file >= 0) slide(e);
  }
  return n;
}

/* After `engine_import`: enter states for which there was no room, each of which may be known by now.  Returns how many
 * are states of this system, up to the first that is not; where there is no room for them still, they are lost again. */
uint32_t engine_restore_lost(Engine *e, const St *states, uint32_t n, const St *used, const Check *checks,
                             uint64_t n_checks) {
  for (uint32_t i = 0; i < n; i++) {
    if (e->count + BATCH >= e->fill) make_room(e);
    if (unsound(&states[i], used, checks, n_checks)) return i;
    enter(e->ctx[0], &states[i], hash_of(&states[i]));
  }
  gather(e);
  return n;
}

/* The memory of these states is given back, where they are on disk. */
void engine_let_go(Engine *e, uint64_t from, uint64_t to) {
  if (e->file >= 0) let_go(e, from * sizeof(St), to * sizeof(St), 0);
}
