/* bounded_buffer.hmm for SPIN, with a channel for the queue. Each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   two:
 *   three: -DPRODUCERS=3 -DSLOTS=3 */
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#define NONE 9
mtype = { enter, put, take, use };
chan buffer = [SLOTS] of { byte };
bit lru_lock;

active [PRODUCERS] proctype produce() {
  mtype at = enter;
  do
  :: atomic { at == enter && len(buffer) < SLOTS && !lru_lock -> lru_lock = 1; at = put }
  :: atomic { at == put -> buffer!_pid; lru_lock = 0; at = enter }
  od
}
active proctype consume() {
  mtype at = enter;
  byte got = NONE;
  do
  :: atomic { at == enter && len(buffer) > 0 && !lru_lock -> lru_lock = 1; at = take }
  :: atomic { at == take -> buffer?got; lru_lock = 0; at = use }
  :: atomic { at == use -> got = NONE; at = enter }
  od
}
