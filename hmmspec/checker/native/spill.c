/* The store on disk: states in a file, of which only what is being read and written is in memory.
 *
 * The file is an unlinked one that the caller opened, mapped whole.  Its space is taken ahead of use (`take_disk`): what
 * does not fit the disk is a limit, never a signal.  States are written at the end and read in order, so that all but the
 * pages around these two places can be let go (`slide`); the system writes them out when it likes, and brings them back
 * when a level is expanded or, for a trace, read once more.
 */

#include <errno.h>
#include <fcntl.h>

/* Map the file; 0 if that cannot be done.  Before it `store_bytes` says how much there may ever be. */
static int open_store(Engine *e, int file) {
  int own = dup(file);
  if (own < 0) return 0;
  void *p = mmap(NULL, e->store_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, own, 0);
  if (p == MAP_FAILED) { close(own); return 0; }
  e->file = own; e->store = p;
  return 1;
}

/* Bytes of memory for what is read and written on disk. */
static uint64_t window_bytes(uint64_t memory) {
  uint64_t bytes = memory / 64 / PAGE * PAGE;
  return bytes < 16 * PAGE ? 16 * PAGE : bytes > (4ull << 20) ? 4ull << 20 : bytes;
}

/* Space on disk for the next states, and for those that threads may enter beyond `capacity`; where there is no more, the
 * states that fit are all that there is room for.  Comes last in `make_room`. */
static void take_disk(Engine *e) {
  uint64_t ahead = 16 * SLACK(e) + (16ull << 20) / sizeof(St) + e->count / 8;
  uint64_t wanted = e->count + ahead < e->capacity ? e->count + ahead : e->capacity;
  uint64_t bytes = ((wanted + MAX_THREADS) * sizeof(St) + PAGE - 1) / PAGE * PAGE;
  while (!e->disk_full && e->taken < bytes) {
    int error = posix_fallocate(e->file, (off_t)e->taken, (off_t)(bytes - e->taken));
    if (!error) { e->taken = bytes; break; }
    if (error == EINTR) continue;
    bytes = e->taken + (bytes - e->taken) / 2 / PAGE * PAGE;   /* a part of it may fit */
    if (bytes == e->taken) e->disk_full = error;
  }
  uint64_t states = e->taken / sizeof(St), room = states > MAX_THREADS ? states - MAX_THREADS : 0;
  if (room >= e->capacity) return;
  e->capacity = room;
  uint64_t look = room > SLACK(e) ? room - SLACK(e) : 0;
  if (!e->disk_full && look < e->fill) e->fill = look;
}

/* The memory of a part of the store is given back; the states stay on disk.  `forget`: they are hardly needed again, so
 * the system need not keep them in its cache either. */
static void let_go(Engine *e, uint64_t from, uint64_t to, int forget) {
  from = (from + PAGE - 1) / PAGE * PAGE; to = to / PAGE * PAGE;
  if (from >= to) return;
  madvise((char *)e->store + from, to - from, MADV_DONTNEED);
  if (forget) posix_fadvise(e->file, (off_t)from, (off_t)(to - from), POSIX_FADV_DONTNEED);
}

/* While a level is expanded: what has been read, and what has been written and is not read soon, goes. */
static __attribute__((noinline)) void slide(Engine *e) {
  uint64_t window = e->window;
  if (pthread_mutex_trylock(&e->sliding)) return;
  uint64_t in_work = (uint64_t)e->threads * PIECE, next = e->next;
  uint64_t read = (next > in_work ? next - in_work : 0) * sizeof(St);
  uint64_t written = atomic_load_explicit(&e->count, memory_order_relaxed) * sizeof(St);
  if (read > e->read + window) {
    /* What was let go the last time has been written out by now, so that the second time it leaves the cache. */
    let_go(e, e->read_before, read, 1);
    madvise((char *)e->store + read / PAGE * PAGE, window, MADV_WILLNEED);
    e->read_before = e->read; e->read = read;
  }
  if (written > e->written + 2 * window) {
    let_go(e, e->written, written - window, 0);
    e->written = (written - window) / PAGE * PAGE;
  }
  pthread_mutex_unlock(&e->sliding);
}

/* Whoever reads the store in order calls this for each state: what lies behind goes now and then. */
static inline void pass(Engine *e, uint64_t state) {
  uint64_t step = e->window / sizeof(St) + 1;
  if (e->file < 0 || state % step) return;
  let_go(e, state > step ? (state - step) * sizeof(St) : 0, state * sizeof(St), 0);
}
