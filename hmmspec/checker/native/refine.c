/* Refinement: each step maps to a step of the abstract system, or to no change.
 *
 * An abstract state is packed as a state of this system is, with words left over.  Generated: `image_of`, which maps a
 * state, and `abstract_step`, which tells whether the abstract system can go from one image to another in one step.
 */

static void image_of(Ctx *c, const St *s, St *out);
static int abstract_step(Ctx *c, const St *from, const St *to);

/* Before the steps of a state: its image. */
static void begin_refinement(Ctx *c, const St *s) {
  image_of(c, s, &c->image);
  c->image_erred = erred(c, FLAG_REFINES, 0);
}

static __attribute__((noinline)) void check_refinement(Ctx *c, const St *t) {
  if (c->image_erred) return;
  St after;
  image_of(c, t, &after);
  if (erred(c, FLAG_REFINES, 1) || equal(&c->image, &after)) return;
  /* The step may stand in the middle of its choices: the abstract system makes its own. */
  int n = c->script_length, at = c->at, script[n + 1], ways[n + 1];
  memcpy(script, c->script, sizeof(int) * (size_t)n); memcpy(ways, c->ways, sizeof(int) * (size_t)n);
  int found = abstract_step(c, &c->image, &after);
  memcpy(c->script, script, sizeof(int) * (size_t)n); memcpy(c->ways, ways, sizeof(int) * (size_t)n);
  c->script_length = n; c->at = at;
  if (!found) keep_step(c, FINDING_REFINES);
}
