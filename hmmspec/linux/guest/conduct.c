/* How commands are carried out: one after the other, or at once. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "keeper.h"

/* ---- one command after the other */

static int owner_of(const struct command *c)
{
	if (c->op == OP_FILE_WRITE || c->op == OP_FILE_READ || c->op == OP_DRAIN)
		return servant;
	return c->process < NAMES ? atomic_load(&shared->names[c->process]) : NOBODY;
}

static void answer_for(uint32_t number, int error)
{
	struct result *r = &shared->results[number];

	if (!atomic_load(&r->begin))
		atomic_store(&r->begin, atomic_fetch_add(&shared->clock, 1));
	r->error = error;
	atomic_store(&r->end, atomic_fetch_add(&shared->clock, 1));
}

static bool is_for_keeper(const struct command *c)
{
	return c->op == OP_SPAWN || c->op == OP_KILL;
}

/* Commands from..to-1 in order; *at: the one that is under way when a worker is stuck or has ended by itself. */
enum status run_all(uint32_t from, uint32_t to, uint32_t *at)
{
	uint32_t i = from;

	while (i < to) {
		const struct command *c = &shared->commands[i];
		int number = owner_of(c);
		uint32_t j = i + 1;
		enum status status;

		*at = i;
		if (is_for_keeper(c) || number < 0) {
			atomic_store(&shared->results[i].begin, atomic_fetch_add(&shared->clock, 1));
			if (c->op == OP_KILL && number >= 0 && end_process(number, c->choice))
				return STUCK;
			answer_for(i++, c->op == OP_SPAWN ? spawn(c) : number < 0 ? ESRCH : 0);
			continue;
		}
		before_open(c, number);
		for (; j < to && c->op != OP_EXIT && !is_for_keeper(&shared->commands[j]) &&
		       owner_of(&shared->commands[j]) == number; j++) {
			c = &shared->commands[j];
			before_open(c, number);
		}
		pidfd(number);
		post(number, JOB_BATCH, i, j);
		status = settled(number);
		while (i < j && atomic_load(&shared->results[i].end))
			i++;
		if (i < j) {
			*at = i;
			if (status == STUCK || shared->commands[i].op != OP_EXIT)
				return status == DONE ? ENDED : status;
			if (!has_ended(number, patience))
				return STUCK;
			lay_to_rest(number);
			answer_for(i++, 0);
		}
	}
	return DONE;
}

/* ---- at once */

/* The worker of a list has ended: what was under way came to its end with it; the rest is for later. */
static void end_list(struct list *l)
{
	uint32_t at = atomic_load(&l->at);
	const struct command *c = &shared->commands[at];

	if (at < l->from)
		at = l->from;
	if (at < l->to && atomic_load(&shared->results[at].begin) && !atomic_load(&shared->results[at].end)) {
		bool itself = c->op == OP_EXIT || c->op == OP_KILL;

		shared->results[at].data = shared->results[at].length = 0;
		answer_for(at, itself ? 0 : SIGNALLED + SIGKILL);
		at++;
	} else if (at < l->to && atomic_load(&shared->results[at].end)) {
		at++;
	}
	atomic_store(&l->at, at);
	l->worker = NOBODY;
}

/* Who carries a list out: its process; the servant where nobody does anything; the keeper itself, later, if nobody can. */
static int owner_of_list(const struct list *l)
{
	int owner = l->from < l->to ? servant : NOBODY;

	for (uint32_t k = l->from; k < l->to; k++) {
		const struct command *c = &shared->commands[k];
		int mine = owner_of(c);

		if (mine == servant || (c->op == OP_KILL && (k > l->from || k + 1 < l->to) && owner != servant))
			continue;
		if (c->op == OP_SPAWN || (owner != servant && mine != owner))
			return NOBODY;
		owner = mine;
	}
	return owner;
}

enum status race(uint32_t *at)
{
	uint64_t limit = now() + (uint64_t)patience, clock = 0;
	uint32_t lists = shared->threads, running = 0, i;
	bool busy[WORKERS] = { false };

	atomic_store(&shared->ready, 0);
	atomic_store(&shared->go, 0);
	atomic_store(&shared->finished, 0);
	for (i = 0; i < lists; i++) {
		struct list *l = &shared->lists[i];

		l->worker = owner_of_list(l);
		for (uint32_t k = l->from; k < l->to; k++)
			before_open(&shared->commands[k], owner_of(&shared->commands[k]));
		atomic_store(&l->at, l->from);
		atomic_store(&l->done, 0);
		if (l->worker >= 0) {
			running++;
			busy[l->worker] = true;
			pidfd(l->worker);
		}
	}
	*at = lists ? shared->lists[0].from : 0;
	for (int n = 0; n < WORKERS; n++)
		if (busy[n])
			post(n, JOB_RACE, 0, 0);
	while (atomic_load(&shared->ready) < running) {
		sched_yield();
		if (now() > limit)
			return STUCK;
	}
	atomic_store(&shared->go, 1);
	for (;;) {
		uint32_t finished = atomic_load(&shared->finished), left = 0;

		for (i = 0; i < lists; i++) {
			struct list *l = &shared->lists[i];

			if (l->worker < 0 || atomic_load(&l->done))
				continue;
			if (has_ended(l->worker, 0) && !atomic_load(&l->done)) {
				end_list(l);
				continue;
			}
			left++;
			*at = atomic_load(&l->at);
		}
		if (!left)
			break;
		if (atomic_load(&shared->clock) != clock) {
			clock = atomic_load(&shared->clock);
			limit = now() + (uint64_t)patience;
		}
		if (now() > limit)
			return STUCK;
		wait_while(&shared->finished, finished, 5);
	}
	for (int n = 0; n < WORKERS; n++)
		if (busy[n] && (atomic_load(&worker(n)->state) == DEAD || has_ended(n, 0)))
			lay_to_rest(n);
	for (int n = 0; n < NAMES; n++) {
		int taken = TAKEN; /* by a fork that did not come to its end */

		atomic_compare_exchange_strong(&shared->names[n], &taken, NOBODY);
	}
	for (i = 0; i < lists; i++) {
		struct list *l = &shared->lists[i];
		enum status status;

		if (l->worker >= 0 || atomic_load(&l->at) >= l->to)
			continue;
		status = run_all(atomic_load(&l->at), l->to, at);
		if (status != DONE)
			return status;
	}
	return DONE;
}
