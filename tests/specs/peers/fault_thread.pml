/* fault_thread.hmm for SPIN. The label is a variable, so that each atomic sequence is one step and nothing else is.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   one:
 *   two: -DPAGES=2
 *   three_cpus: -DCPUS=3
 *   wide: -DCPUS=3 -DPAGES=2 */
#ifndef CPUS
#define CPUS 2
#endif
#ifndef PAGES
#define PAGES 1
#endif
#define NONE 9
mtype = { take, check, migrate, done };
bit present[PAGES];
bit locked[PAGES];
byte refs[PAGES];

active [CPUS] proctype fault() {
  mtype at = take;
  byte p = NONE;
  do
  :: atomic { at == take && !present[0] -> p = 0; at = check }
#if PAGES > 1
  :: atomic { at == take && !present[1] -> p = 1; at = check }
#endif
  :: atomic { at == check && (present[p] || locked[p]) -> p = NONE; at = take }
  :: atomic { at == check && !(present[p] || locked[p]) -> locked[p] = 1; refs[p]++; at = migrate }
  :: atomic { at == migrate -> present[p] = 1; at = done }
  :: atomic { at == migrate -> at = done }
  :: atomic { at == done -> refs[p]--; locked[p] = 0; p = NONE; at = take }
  od
}

active proctype device() {
  do
  :: atomic { present[0] && !locked[0] -> present[0] = 0 }
#if PAGES > 1
  :: atomic { present[1] && !locked[1] -> present[1] = 0 }
#endif
  od
}
