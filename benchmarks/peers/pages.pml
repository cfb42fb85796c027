/* benchmarks/pages.hmm for SPIN: one process per page, each step one d_step, so that a stored state is a state there.
 *
 *     spin -DPAGES=3 -DFRAMES=2 -a pages.pml && cc -O2 -DSAFETY -DNOREDUCE -DNOCLAIM -o pan pan.c && ./pan -m1000000 -w24
 *
 * frames_used is what pages.hmm counts anew where it needs it; it is a function of `place` and adds no state.
 */
#ifndef PINS
#define PINS 2
#endif

/* Numbers rather than an mtype: SPIN's variables start at 0, and pages start unmapped. */
#define unmapped  0
#define system    1
#define device    2
#define to_device 3
#define to_system 4
#define swapped   5
#define me        _pid

byte  place[PAGES];
byte  pins[PAGES];
bit   dirty[PAGES], mapped[PAGES], written[PAGES];
byte  frames_used;

#define IDLE    (pins[me] == 0 && !mapped[me])
#define HOLDS   (place[me] == device || place[me] == to_device || place[me] == to_system)
#define CLEAR   dirty[me] = 0; pins[me] = 0; mapped[me] = 0; written[me] = 0

active [PAGES] proctype page() {
  do
  :: d_step { place[me] == unmapped -> place[me] = system; dirty[me] = 0 }               /* cpu_alloc */
  :: d_step { place[me] == system -> dirty[me] = 1 }                                     /* cpu_write */
  :: d_step { place[me] == system && pins[me] < PINS -> pins[me]++ }                     /* pin */
  :: d_step { pins[me] > 0 -> pins[me]-- }                                               /* unpin */
  :: d_step { place[me] == system -> mapped[me] = 1 }                                    /* mirror_map */
  :: d_step { place[me] == system && mapped[me] -> mapped[me] = 0 }                      /* invalidate */
  :: d_step { place[me] == system && IDLE -> place[me] = swapped }                       /* swap_out */
  :: d_step { place[me] == swapped -> place[me] = system }                               /* swap_in */
  :: d_step { place[me] == system && IDLE && frames_used < FRAMES ->
              place[me] = to_device; frames_used++ }                                     /* migrate_start */
  :: d_step { place[me] == to_device -> place[me] = device; mapped[me] = 1 }             /* migrate_finish */
  :: d_step { place[me] == to_device -> place[me] = system; frames_used-- }              /* migrate_abort */
  :: d_step { place[me] == device && mapped[me] -> written[me] = 1 }                     /* device_write */
  :: d_step { place[me] == device -> place[me] = to_system; mapped[me] = 0 }             /* cpu_fault */
  :: d_step { place[me] == to_system -> place[me] = system; frames_used--;
              dirty[me] = dirty[me] | written[me]; written[me] = 0 }                     /* migrate_back */
  :: d_step { place[me] == system && IDLE -> place[me] = unmapped; CLEAR }               /* unmap */
  :: d_step { place[me] == device -> place[me] = unmapped; frames_used--; CLEAR }        /* unmap */
  :: d_step { place[me] == swapped -> place[me] = unmapped; CLEAR }                      /* unmap */
  /* The invariants: looked at in every state, never true. */
  :: d_step { (pins[me] > 0 && place[me] != system) || (HOLDS && pins[me] != 0) ||
              (mapped[me] && place[me] != system && place[me] != device) || frames_used > FRAMES -> assert(false) }
  od
}
