/* lock_cycle.hmm for SPIN. The label is a variable: each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   unordered:
 *   ordered: -DORDERED=1 */
#ifndef ORDERED
#define ORDERED 0
#endif
#define FIRST_OF_B (1 - ORDERED)
mtype = { first, second, both };
bit folio[2];

active proctype a() {
  mtype at = first;
  do
  :: atomic { at == first && !folio[0] -> folio[0] = 1; at = second }
  :: atomic { at == second && !folio[1] -> folio[1] = 1; at = both }
  :: atomic { at == both -> folio[0] = 0; folio[1] = 0; at = first }
  od
}
active proctype b() {
  mtype at = first;
  do
  :: atomic { at == first && !folio[FIRST_OF_B] -> folio[FIRST_OF_B] = 1; at = second }
  :: atomic { at == second && !folio[1 - FIRST_OF_B] -> folio[1 - FIRST_OF_B] = 1; at = both }
  :: atomic { at == both -> folio[0] = 0; folio[1] = 0; at = first }
  od
}
