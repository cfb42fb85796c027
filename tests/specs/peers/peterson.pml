/* peterson.hmm for SPIN. The label is a variable: each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   default: */
mtype = { ask, yield, wait, critical, leave };
bit wants[2];
bit turn;

active [2] proctype process() {
  mtype at = ask;
  do
  :: atomic { at == ask -> wants[_pid] = 1; at = yield }
  :: atomic { at == yield -> turn = 1 - _pid; at = wait }
  :: atomic { at == wait && (!wants[1 - _pid] || turn == _pid) -> at = critical }
  :: atomic { at == critical -> at = leave }
  :: atomic { at == leave -> wants[_pid] = 0; at = ask }
  od
}
