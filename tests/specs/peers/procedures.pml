/* procedures.hmm for SPIN, the calls written out. The label is a variable: each atomic sequence is one step.
 * (-o2: keep the values of variables that are not read again)
 * spin -o2 OPTIONS -a FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -c0
 * OPTIONS, for each instance:
 *   two:
 *   three: -DUSERS=3 -DLIMIT=2 */
#ifndef USERS
#define USERS 2
#endif
#ifndef LIMIT
#define LIMIT 1
#endif
mtype = { get, bump, use, back };
bit ptl;
byte refs;

active [USERS] proctype user() {
  mtype at = get;
  bit got;
  do
  :: atomic { at == get && !ptl -> ptl = 1; at = bump }
  :: atomic { at == bump && refs >= LIMIT -> ptl = 0; got = 0; at = use }
  :: atomic { at == bump && refs < LIMIT -> refs++; ptl = 0; got = 1; at = use }
  :: atomic { at == use && !got -> at = get }
  :: atomic { at == use && got -> at = back }
  :: atomic { at == back -> refs--; got = 0; at = get }
  od
}
