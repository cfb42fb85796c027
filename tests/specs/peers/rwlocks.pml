/* rwlocks.hmm for SPIN. The label is a variable: each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   two:
 *   many: -DREADERS=4 -DWRITERS=3 */
#ifndef READERS
#define READERS 2
#endif
#ifndef WRITERS
#define WRITERS 2
#endif
byte readers;
bit writer;

active [READERS] proctype read_side() {
  bit reading;
  do
  :: atomic { !reading && !writer -> readers++; reading = 1 }
  :: atomic { reading -> assert(!writer); readers--; reading = 0 }
  od
}
active [WRITERS] proctype write_side() {
  bit writing;
  do
  :: atomic { !writing && !writer && readers == 0 -> writer = 1; writing = 1 }
  :: atomic { writing -> assert(readers == 0); writer = 0; writing = 0 }
  od
}
