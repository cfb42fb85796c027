/* Values in packed states, faults, choices: what generated rules and expressions call.
 *
 * Stands behind the definition of Ctx, of which it uses `fault`, `overflow` and the script of choices.
 */

/* ---------------------------------------------------------------- values in packed states */

static inline V get(const St *s, int at, uint64_t mask) { return (V)(s->w[at >> 6] >> (at & 63) & mask); }

static inline void put(St *s, int at, uint64_t mask, V v) {
  uint64_t *w = &s->w[at >> 6];
  *w = (*w & ~(mask << (at & 63))) | ((uint64_t)v & mask) << (at & 63);
}

static inline void clear(St *s, int at, int bits) {
  for (; bits >= 64; bits -= 64, at += 64) s->w[at >> 6] = 0;
  if (bits > 0) put(s, at, (1ull << bits) - 1, 0);
}

static inline V min_of(V a, V b) { return a < b ? a : b; }
static inline V max_of(V a, V b) { return a > b ? a : b; }

static inline V big_size(const uint64_t *w, int n) {
  V r = 0;
  for (int i = 0; i < n; i++) r += __builtin_popcountll(w[i]);
  return r;
}

/* ---------------------------------------------------------------- numbers, and faults */

static inline void fault(Ctx *c, int site) { if (!c->fault) c->fault = site; }

static inline V ranged(Ctx *c, V v, V low, V high, int site) {
  if (v < low || v > high) { fault(c, site); return low; }
  return v;
}

static inline V div_down(Ctx *c, V a, V b, int site) {
  if (b == 0) { fault(c, site); return 0; }
  V q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0));
}

static inline V mod_down(Ctx *c, V a, V b, int site) {
  if (b == 0) { fault(c, site); return 0; }
  V r = a % b;
  return r && (r < 0) != (b < 0) ? r + b : r;
}

/* A result that does not fit 64 bits is not a fault of the spec: the run stops and says so. */
static inline V add_checked(Ctx *c, V a, V b) { V r; if (__builtin_add_overflow(a, b, &r)) c->overflow = 3; return r; }
static inline V sub_checked(Ctx *c, V a, V b) { V r; if (__builtin_sub_overflow(a, b, &r)) c->overflow = 3; return r; }
static inline V mul_checked(Ctx *c, V a, V b) { V r; if (__builtin_mul_overflow(a, b, &r)) c->overflow = 3; return r; }

/* ---------------------------------------------------------------- choices: a script that is followed and extended */

static __attribute__((unused)) int pick(Ctx *c, int n) {
  if (c->at == SCRIPT) { c->overflow = 6; return 0; }
  if (c->at == c->script_length) { c->script[c->script_length] = 0; c->ways[c->script_length++] = n; }
  return c->script[c->at++];
}

/* The next script; 0 when all ways have been taken. */
static __attribute__((unused)) int next_script(Ctx *c) {
  c->script_length = c->at;
  while (c->script_length > 0) {
    int last = c->script_length - 1;
    if (++c->script[last] < c->ways[last]) return 1;
    c->script_length = last;
  }
  return 0;
}

/* ---------------------------------------------------------------- whole states */

static inline uint64_t hash_of(const St *s) {
  uint64_t h = 0x9e3779b97f4a7c15ull;
  for (int i = 0; i < WORDS; i++) {
    __uint128_t m = (__uint128_t)(s->w[i] ^ h) * 0xd6e8feb86659fd93ull;
    h = (uint64_t)m ^ (uint64_t)(m >> 64);
  }
  return h ^ h >> 32;
}

static inline int equal(const St *a, const St *b) {
  for (int i = 0; i < WORDS; i++) if (a->w[i] != b->w[i]) return 0;
  return 1;
}

static inline int less(const St *a, const St *b) {
  for (int i = 0; i < WORDS; i++) if (a->w[i] != b->w[i]) return a->w[i] < b->w[i];
  return 0;
}
