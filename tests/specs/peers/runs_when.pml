/* runs_when.hmm for SPIN. The label is a variable: each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   default: */
#define NONE 9
mtype = { work, disable, inside, enable };
byte running = NONE;
bit irqs_on = 1;

active [2] proctype task() {
  mtype at = work;
  do
  :: atomic { running == _pid && at == work -> at = disable }
  :: atomic { running == _pid && at == disable -> irqs_on = 0; at = inside }
  :: atomic { running == _pid && at == inside -> at = enable }
  :: atomic { running == _pid && at == enable -> irqs_on = 1; at = work }
  :: atomic { irqs_on && running != _pid -> running = _pid }
  od
}
active proctype interrupt() {
  bit handle;
  do
  :: atomic { irqs_on -> handle = 1 - handle }
  od
}
