/*
 * The keeper's staff: workers are started, given jobs, waited for and ended; between two programs they forget.
 *
 * NOTE(hidden devices): to close a device takes long and moves everybody's pages of it.  So what a program has open
 * stays open for the next one, which does not see it; the keeper has a second reference to each such device, and the
 * end of the worker closes nothing while a program runs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"

#define POOLED 4 /* processes that are kept for the next program */

static int spare[WORKERS][DEVICES]; /* second references to devices that are hidden in a worker, or -1 */
static int late[WORKERS * DEVICES]; /* those of workers that have ended: closed when no program can notice it */
static int lates;
static int pidfds[WORKERS];

int servant = NOBODY;
int patience = 10000;

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct worker *worker(int number)
{
	return &shared->workers[number];
}

/* A file that tells of the end of a worker, opened while it lives. */
int pidfd(int number)
{
	if (pidfds[number] < 0)
		pidfds[number] = (int)syscall(SYS_pidfd_open, atomic_load(&worker(number)->pid), 0);
	return pidfds[number];
}

bool has_ended(int number, int milliseconds)
{
	int fd = pidfd(number);

	if (fd < 0)
		return !alive(atomic_load(&worker(number)->pid));
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, milliseconds) > 0;
}

void lay_to_rest(int number)
{
	bury(number);
	for (int d = 0; d < DEVICES; d++)
		if (spare[number][d] >= 0) {
			late[lates++] = spare[number][d];
			spare[number][d] = -1;
		}
	if (pidfds[number] >= 0)
		close(pidfds[number]);
	pidfds[number] = -1;
	atomic_store(&worker(number)->pid, 0);
	if (atomic_load(&worker(number)->state) == DEAD)
		atomic_store(&worker(number)->state, FREE);
}

static void close_late(void)
{
	while (lates)
		close(late[--lates]);
}

/* A worker without a past. */
static int new_worker(void)
{
	for (int n = 0; n < WORKERS; n++)
		if (atomic_load(&worker(n)->state) == POOL) {
			atomic_store(&worker(n)->state, LIVE);
			return n;
		}
	for (int n = 0; n < WORKERS; n++)
		if (atomic_load(&worker(n)->state) == FREE) {
			atomic_store(&worker(n)->state, STARTING);
			return start_worker(n) < 0 ? NOBODY : n;
		}
	return NOBODY;
}

void post(int number, enum job job, uint32_t from, uint32_t to)
{
	struct worker *w = worker(number);

	w->job = job;
	w->from = from;
	w->to = to;
	atomic_fetch_add(&w->posted, 1);
	wake(&w->posted);
}

/* Wait until a worker has done its jobs. */
enum status settled(int number)
{
	struct worker *w = worker(number);
	uint64_t clock = atomic_load(&shared->clock), limit = now() + (uint64_t)patience;

	for (;;) {
		uint32_t taken = atomic_load(&w->taken);

		if (taken == atomic_load(&w->posted))
			return DONE;
		wait_while(&w->taken, taken, 50);
		if (atomic_load(&w->taken) == taken && has_ended(number, 0))
			return ENDED;
		if (atomic_load(&shared->clock) != clock) {
			clock = atomic_load(&shared->clock);
			limit = now() + (uint64_t)patience;
		}
		if (now() > limit)
			return STUCK;
	}
}

/* A device that the program is about to open needs no second reference any more. */
void before_open(const struct command *c, int number)
{
	if (c->op == OP_OPEN && number >= 0 && c->device < DEVICES && spare[number][c->device] >= 0) {
		close(spare[number][c->device]);
		spare[number][c->device] = -1;
	}
}

int spawn(const struct command *c)
{
	int number;

	if (c->process >= NAMES || atomic_load(&shared->names[c->process]) != NOBODY)
		return EEXIST;
	number = new_worker();
	if (number < 0)
		return EAGAIN;
	atomic_store(&shared->names[c->process], number);
	return 0;
}

/* Kill a process from outside and wait until it has ended. */
enum status end_process(int number, bool reap)
{
	int fd = pidfd(number);

	kill(atomic_load(&worker(number)->pid), SIGKILL);
	if (reap && fd >= 0)
		syscall(SYS_process_mrelease, fd, 0);
	if (!has_ended(number, patience))
		return STUCK;
	lay_to_rest(number);
	return DONE;
}

/* ---- between programs */

/* Let all workers forget; the first few stay for the next program, and with them the devices that they have open. */
enum status reset(bool end_all)
{
	int kept = 0;

	for (int n = 0; n < WORKERS; n++)
		if (atomic_load(&worker(n)->state) == LIVE && n != servant && !end_all) {
			pidfd(n);
			post(n, JOB_RESET, 0, 0);
		}
	for (int n = 0; n < WORKERS; n++) {
		uint32_t state = atomic_load(&worker(n)->state);

		if (n == servant && !end_all)
			continue;
		/* A fork whose parent was killed meanwhile. */
		for (int tries = 0; state == STARTING && tries < 50; tries++) {
			usleep(1000);
			state = atomic_load(&worker(n)->state);
			if (state == LIVE)
				post(n, JOB_RESET, 0, 0);
		}
		if (state == STARTING)
			atomic_store(&worker(n)->state, FREE);
		if (state == LIVE && !end_all) {
			enum status status = settled(n);

			if (status == STUCK)
				return STUCK;
			if (status == ENDED)
				lay_to_rest(n);
		}
		state = atomic_load(&worker(n)->state);
		if (state == DEAD)
			lay_to_rest(n);
		if (state == FREE || state == DEAD)
			continue;
		if (end_all || kept >= POOLED) {
			atomic_store(&worker(n)->state, LIVE);
			if (end_process(n, false) != DONE)
				return STUCK;
			continue;
		}
		kept++;
		for (int d = 0; d < DEVICES; d++)
			if (spare[n][d] < 0 && atomic_load(&worker(n)->hidden) >> d & 1)
				spare[n][d] = (int)syscall(SYS_pidfd_getfd, pidfd(n), 100 + d, 0);
		atomic_store(&worker(n)->state, POOL);
	}
	if (end_all)
		servant = NOBODY;
	for (int n = 0; n < NAMES; n++)
		atomic_store(&shared->names[n], NOBODY);
	if (atomic_load(&shared->pinned) != NOBODY)
		drop_pinned_set();
	close_late();
	return DONE;
}

static void remove_files(void)
{
	DIR *d = opendir(files);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
}

enum status begin_program(void)
{
	struct command first = { .op = OP_SPAWN };

	if (reset(false) != DONE)
		return STUCK;
	remove_files();
	if (servant < 0 && (servant = new_worker()) < 0)
		return STUCK;
	return spawn(&first) ? STUCK : DONE;
}

void hire(void)
{
	shared->keeper = getpid();
	for (int n = 0; n < NAMES; n++)
		atomic_store(&shared->names[n], NOBODY);
	for (int n = 0; n < WORKERS; n++) {
		pidfds[n] = -1;
		for (int d = 0; d < DEVICES; d++)
			spare[n][d] = -1;
	}
	atomic_store(&shared->pinned, NOBODY);
}
