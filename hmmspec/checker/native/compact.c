/* Hash compaction: the table keeps some bits of a hash of each state, the states themselves go to disk.
 *
 * A state belongs in a line of the table, one line of the processor's cache, that a hash tells; there HASH_BITS bits of
 * another, independent hash are kept (Stern and Dill, Improved probabilistic verification by hash compaction, 1995: what
 * the place in the table tells is known besides the bits that are kept).  A state whose bits are found in its line counts
 * as known.  Where a line is full the next one takes what comes.
 *
 * How likely is it that a state was missed?  The bits are those of a strongly universal hash (Dietzfelbinger 1996) whose
 * keys follow from the seed: two different states have equal bits with probability 2^-HASH_BITS, whatever the states
 * are.  A new state is compared with the entries of its line, `compared` counts these comparisons over all states that
 * were entered, and so some state was missed with a probability of at most compared / 2^HASH_BITS.
 */

#if HASH_BITS <= 40
#define PER_LINE 12
typedef struct { _Atomic(uint32_t) n; uint32_t low[PER_LINE]; uint8_t high[PER_LINE]; } Line;
#else
#define PER_LINE 7
typedef struct { _Atomic(uint32_t) n; uint64_t kept[PER_LINE]; } Line;
#endif
_Static_assert(sizeof(Line) == LINE_BYTES, "a line of the cache");

#define LOCKED 0x80000000u          /* in `n` of a line: somebody adds an entry */

/* Keys of the hash: as many bits as it is computed with. */
static void new_keys(Engine *e, uint64_t seed) {
  uint64_t x = seed;
  for (int i = 0; i < 2 * (WORDS + 1); i++) {           /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = x += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    e->keys[i / 2] = e->keys[i / 2] << 64 | (z ^ z >> 31);
  }
}

/* The bits that are kept: the uppermost of 128, in which the words are multiplied by the keys and added up. */
static inline uint64_t kept_bits(const Engine *e, const St *s) {
  __uint128_t sum = e->keys[WORDS];
  for (int i = 0; i < WORDS; i++) sum += e->keys[i] * s->w[i];
  return (uint64_t)(sum >> 64) >> (64 - HASH_BITS);
}

static inline Line *line_at(const Engine *e, uint64_t i) { return (Line *)e->table + i; }

static inline int is_kept(const Line *l, uint32_t i, uint64_t bits) {
#if HASH_BITS <= 40
  return l->low[i] == (uint32_t)bits && l->high[i] == (uint8_t)(bits >> 32);
#else
  return l->kept[i] == bits;
#endif
}

static inline void set_kept(Line *l, uint32_t i, uint64_t bits) {
#if HASH_BITS <= 40
  l->low[i] = (uint32_t)bits; l->high[i] = (uint8_t)(bits >> 32);
#else
  l->kept[i] = bits;
#endif
}

/* Enter a state.  Entries never change, so that those below `n` are read without a lock. */
static void enter_hashed(Ctx *c, const St *s, uint64_t h) {
  Engine *e = c->e;
  uint64_t bits = kept_bits(e, s), compared = 0;
  for (uint64_t i = home_of(e, h);; i = i + 1 < e->slots ? i + 1 : 0) {
    Line *l = line_at(e, i);
    uint32_t seen = 0, n = atomic_load_explicit(&l->n, memory_order_acquire);
    for (;;) {
      n &= ~LOCKED;
      for (; seen < n; seen++) if (is_kept(l, seen, bits)) return;
      if (n == PER_LINE) break;
      if (atomic_load_explicit(&e->count, memory_order_relaxed) >= e->capacity) { no_room(c, s); return; }
      if (!atomic_compare_exchange_weak_explicit(&l->n, &n, n | LOCKED, memory_order_acquire, memory_order_acquire))
        continue;
      set_kept(l, n, bits);
      atomic_store_explicit(&l->n, n + 1, memory_order_release);
      e->store[atomic_fetch_add_explicit(&e->count, 1, memory_order_relaxed)] = *s;
      c->compared += compared + n;
      return;
    }
    compared += n;
  }
}

/* Fill the table, which is empty, with the states of the store.  Two of them that look alike by now take one entry. */
static void fill_lines(Engine *e) {
  uint64_t count = e->count;
  for (uint64_t v = 0; v < count; v++) {
    pass(e, v);
    const St *s = &e->store[v];
    if (v + 16 < count) prefetch_slot(e, hash_of(s + 16));
    uint64_t bits = kept_bits(e, s);
    for (uint64_t i = home_of(e, hash_of(s));; i = i + 1 < e->slots ? i + 1 : 0) {
      Line *l = line_at(e, i);
      uint32_t n = l->n, at = 0;
      while (at < n && !is_kept(l, at, bits)) at++;
      if (at < n) break;
      if (n < PER_LINE) { set_kept(l, n, bits); l->n = n + 1; break; }
    }
  }
}

/* As `make_room` for the exact tables: more lines while there is memory, then the table fills up. */
static void make_lines(Engine *e) {
  uint64_t most = e->reserved / LINE_BYTES, room = e->store_bytes / sizeof(St) - MAX_THREADS;
  if (e->max_states && room > e->max_states) room = e->max_states;
  for (;;) {
    uint64_t entries = e->slots * PER_LINE, top = entries / 16 * 15, full = entries / 4 * 3;
    int can_grow = e->slots < most && top < room;
    e->capacity = room < top ? room : top;
    if (full > e->capacity) full = e->capacity;
    e->fill = !can_grow ? UINT64_MAX : full > SLACK(e) ? full - SLACK(e) : 0;
    if (e->count < e->fill) break;
    new_table(e, e->slots * 3 < most ? e->slots * 2 : most, 0);
  }
}
