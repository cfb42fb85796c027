/*
 * Workers: the processes of a program.  Each has a thread that waits for jobs of the keeper; a race adds one thread for
 * each list of its commands.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

struct shared *shared;
struct worker *self;
bool on_host;
int gup_fd = -1;
const char *files = "/files";

static char small[THREADS + 1][SMALL * PAGE] __attribute__((aligned(4096)));
static __thread unsigned thread; /* 0: the thread that takes jobs */

/* ---- waiting */

void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void wait_while(_Atomic uint32_t *word, uint32_t value, int milliseconds)
{
	struct timespec limit = { milliseconds / 1000, milliseconds % 1000 * 1000000l };

	syscall(SYS_futex, word, FUTEX_WAIT, value, milliseconds < 0 ? NULL : &limit, NULL, 0);
}

bool alive(int pid)
{
	return pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH);
}

/*
 * One after the other, all is done on one CPU: what lies in the lists of a CPU, and what a command takes from there, is
 * then the same each time.  At once, each has a CPU of its own as far as there are any.
 */
void stay_on(int cpu)
{
	cpu_set_t set;

	if (on_host)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* ---- room for data */

char *buffer_of(uint64_t pages)
{
	char *p;

	if (pages <= SMALL)
		return small[thread];
	p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* A child needs nothing of its parent's buffers: to fork is quicker without. */
void prepare_buffers(void)
{
	madvise(small, sizeof(small), MADV_WIPEONFORK);
}

void buffer_done(char *buffer, uint64_t pages)
{
	if (pages > SMALL)
		munmap(buffer, pages * PAGE);
}

/* Room for the data of a result, visible to the keeper. */
void *room(struct result *r, uint32_t data, uint64_t bytes)
{
	uint64_t at = atomic_fetch_add(&shared->used, (bytes + 7) & ~7ull);

	if (at + bytes > DATA)
		return NULL;
	r->data = data;
	r->offset = at;
	r->length = (uint32_t)bytes;
	return shared->data + at;
}

/* ---- processes */

/* What is open is the parent's: above all the keeper's second references to devices.  Only gup_test is for all. */
static void close_all(void)
{
	if (gup_fd < 0) {
		close_range(3, ~0u, 0);
		return;
	}
	if (gup_fd > 3)
		close_range(3, (unsigned)gup_fd - 1, 0);
	close_range((unsigned)gup_fd + 1, ~0u, 0);
}

static void become(int number)
{
	self = &shared->workers[number];
	thread = 0;
	stay_on(0);
	prctl(PR_SET_NAME, "worker");
	forget_holds();
	forget_looks();
	forget_devices();
	close_all();
	atomic_store(&self->held, 0);
	atomic_store(&self->posted, 0);
	atomic_store(&self->taken, 0);
	atomic_store(&self->pid, (int)getpid());
	atomic_store(&self->state, LIVE);
	wake(&self->state);
}

/* Forget that a process has its name; what it pinned is let go. */
void bury(int number)
{
	uint32_t live = LIVE;

	if (!atomic_compare_exchange_strong(&shared->workers[number].state, &live, DEAD))
		return;
	for (int n = 0; n < NAMES; n++) {
		int owner = number;

		atomic_compare_exchange_strong(&shared->names[n], &owner, NOBODY);
	}
	if (atomic_load(&shared->pinned) == number)
		drop_pinned_set();
}

/* A new process at a place of the table that is STARTING.  Its pid, or -1. */
int start_worker(int number)
{
	struct worker *w = &shared->workers[number];
	int pid = fork();

	if (!pid) {
		become(number);
		work();
	}
	if (pid < 0) {
		atomic_store(&w->state, FREE);
		return -1;
	}
	/* It has let go of what it inherited once it lives. */
	while (atomic_load(&w->state) == STARTING && alive(pid))
		wait_while(&w->state, STARTING, 20);
	return pid;
}

static int do_fork(const struct command *c)
{
	int free_name = NOBODY, number, pid;

	if (c->other >= NAMES || !atomic_compare_exchange_strong(&shared->names[c->other], &free_name, TAKEN))
		return EEXIST;
	for (number = 0; number < WORKERS; number++) {
		uint32_t unused = FREE;

		if (atomic_compare_exchange_strong(&shared->workers[number].state, &unused, STARTING))
			break;
	}
	if (number == WORKERS) {
		atomic_store(&shared->names[c->other], NOBODY);
		return EAGAIN;
	}
	pid = start_worker(number);
	atomic_store(&shared->names[c->other], pid < 0 ? NOBODY : number);
	return pid < 0 ? EAGAIN : 0;
}

/* Another process, or this one: then this does not return. */
static int do_kill(const struct command *c)
{
	int number = c->process < NAMES ? atomic_load(&shared->names[c->process]) : NOBODY, pid, fd;

	if (number < 0)
		return ESRCH;
	pid = atomic_load(&shared->workers[number].pid);
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	kill(pid, SIGKILL);
	if (fd >= 0) {
		while (alive(pid) && poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 100) <= 0)
			;
		close(fd);
	}
	bury(number);
	return 0;
}

/* ---- commands */

static int switch_on(const struct command *c, struct result *r)
{
	if ((uint64_t)c->page + c->count > ARENA_PAGES && c->op != OP_FILE_WRITE && c->op != OP_FILE_READ)
		return EINVAL;
	switch (c->op) {
	case OP_FORK:
		return do_fork(c);
	case OP_EXIT:
		drop_holds();
		if (!thread) {
			/* The keeper need not wait for the end to notice it. */
			atomic_fetch_add(&self->taken, 1);
			wake(&self->taken);
		}
		_exit(0);
	case OP_KILL:
		return do_kill(c);
	case OP_MMAP:
		return do_mmap(c);
	case OP_MUNMAP:
		return munmap(ARENA + (uint64_t)c->page * PAGE, c->count * PAGE) ? errno : 0;
	case OP_MPROTECT:
		return do_mprotect(c);
	case OP_MREMAP:
		return do_mremap(c);
	case OP_MADVISE:
		return do_madvise(c);
	case OP_LOAD:
		return do_load(c, r);
	case OP_STORE:
		return do_store(c, r);
	case OP_INCREMENT:
		return do_increment(c, r);
	case OP_GUP:
		return do_gup(c, r);
	case OP_PEEK:
		return do_peek(c, r);
	case OP_POKE:
		return do_poke(c, r);
	case OP_UNPIN:
		return do_unpin(c);
	case OP_PAGEMAP:
		return do_pagemap(c, r);
	case OP_CLEAR_SOFT_DIRTY:
		return do_clear_soft_dirty();
	case OP_UFFD_WP:
		return do_uffd_wp(c);
	case OP_SMAPS:
		return do_smaps(c, r);
	case OP_FILE_WRITE:
		return do_file_write(c, r);
	case OP_FILE_READ:
		return do_file_read(c, r);
	case OP_DRAIN:
		return do_drain();
	case OP_OPEN:
		return do_open(c);
	case OP_CLOSE:
		return do_close(c);
	default:
		return c->op >= OP_DEV_READ && c->op < OP_LAST ? do_mirror(c, r) : ENOSYS;
	}
}

/* Carry out one command of the table; its result is there when `end` is set. */
void carry_out(uint32_t number)
{
	const struct command *c = &shared->commands[number];
	struct result *r = &shared->results[number];

	atomic_store(&r->begin, atomic_fetch_add(&shared->clock, 1));
	r->error = switch_on(c, r);
	if (r->error && r->error < SIGNALLED) {
		r->cpages = r->faults = ABSENT;
		r->data = r->length = 0;
	}
	atomic_store(&r->end, atomic_fetch_add(&shared->clock, 1));
}

/* ---- races */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A pause before a command: none, short, or long beside what a command takes. */
static void pause_a_little(uint64_t *random)
{
	static const unsigned longest[] = { 0, 0, 200, 2000, 20000 };
	unsigned most = longest[next_random(random) % 5];

	for (volatile unsigned i = most ? (unsigned)(next_random(random) % most) : 0; i; i--)
		;
}

static void *run_list(void *arg)
{
	struct list *l = arg;
	uint64_t random = (shared->seed + 1) * 0x9E3779B97F4A7C15ull + (uint64_t)(l - shared->lists + 1) * 0xD1B54A32D192ED03ull;

	thread = (unsigned)(l - shared->lists) + 1;
	stay_on((int)((l - shared->lists) % get_nprocs()));
	/* Its pages are there before it begins. */
	memset(small[thread], 1, sizeof(small[thread]));
	atomic_fetch_add(&shared->ready, 1);
	while (!atomic_load(&shared->go))
		sched_yield();
	for (uint32_t i = l->from; i < l->to; i++) {
		atomic_store(&l->at, i);
		pause_a_little(&random);
		carry_out(i);
	}
	atomic_store(&l->at, l->to);
	atomic_store(&l->done, 1);
	atomic_fetch_add(&shared->finished, 1);
	wake(&shared->finished);
	return NULL;
}

static void start_lists(void)
{
	pthread_attr_t small_stack;

	pthread_attr_init(&small_stack);
	pthread_attr_setstacksize(&small_stack, 64 * 1024);
	pthread_attr_setdetachstate(&small_stack, PTHREAD_CREATE_DETACHED);
	for (uint32_t i = 0; i < shared->threads; i++) {
		pthread_t made;

		if (shared->lists[i].worker == (int)(self - shared->workers))
			if (pthread_create(&made, &small_stack, run_list, &shared->lists[i]))
				abort();
	}
	pthread_attr_destroy(&small_stack);
}

/* ---- jobs */

/* Nothing of the program stays but the devices, which the next program finds open. */
void forget_process(void)
{
	uint32_t open = atomic_exchange(&self->open, 0);

	drop_holds();
	munmap(ARENA, ARENA_PAGES * PAGE);
	forget_looks();
	atomic_fetch_or(&self->hidden, open);
}

void work(void)
{
	uint32_t done = 0;

	for (;;) {
		while (atomic_load(&self->posted) == done) {
			wait_while(&self->posted, done, on_host ? 500 : -1);
			if (on_host && !alive(shared->keeper))
				_exit(0);
		}
		done++;
		switch (self->job) {
		case JOB_BATCH:
			for (uint32_t i = self->from; i < self->to; i++)
				carry_out(i);
			break;
		case JOB_RACE:
			start_lists();
			break;
		default:
			forget_process();
		}
		atomic_store(&self->taken, done);
		wake(&self->taken);
	}
}
