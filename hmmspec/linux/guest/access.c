/* Loads and stores of the program; a signal ends them, and what was done before counts. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "agent.h"

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t expected;

static void caught(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (expected && (char *)info->si_addr >= ARENA && (char *)info->si_addr < ARENA + ARENA_PAGES * PAGE)
		siglongjmp(back, signal);
	/* The agent's own mistake: die of it. */
	struct sigaction plain = { .sa_handler = SIG_DFL };
	sigaction(signal, &plain, NULL);
}

void catch_signals(void)
{
	/* Without a mask nothing has to be restored by the jump. */
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static void load(const volatile uint64_t *from, uint64_t *to)
{
	for (unsigned i = 0; i < WORDS; i++)
		to[i] = from[i];
}

/* Adds 1 to the stamp, word by word; `old` is what was there. */
static void increment(volatile uint64_t *page, uint64_t *old)
{
	for (unsigned i = 0; i < WORDS; i++)
		old[i] = __atomic_fetch_add(&page[i], factor(i), __ATOMIC_RELAXED);
}

static int access_pages(const struct command *c, struct result *r, void (*one)(const struct command *, uint32_t, uint64_t *))
{
	uint64_t page[WORDS];
	int64_t *volatile stamps = NULL;
	volatile uint32_t done = 0;
	int signal;

	if (c->op != OP_STORE && !(stamps = room(r, DATA_STAMPS, 8ul * c->count)))
		return ENOMEM;
	signal = sigsetjmp(back, 0);
	if (!signal) {
		expected = 1;
		for (uint32_t i = 0; i < c->count; i++) {
			one(c, i, page);
			if (stamps)
				stamps[i] = stamp_of(page);
			done = i + 1;
		}
	}
	expected = 0;
	r->cpages = (int32_t)done;
	if (stamps)
		r->length = 8 * done;
	return signal ? SIGNALLED + signal : 0;
}

static uint64_t *at(const struct command *c, uint32_t i)
{
	return (uint64_t *)(ARENA + ((uint64_t)c->page + i) * PAGE);
}

static void load_one(const struct command *c, uint32_t i, uint64_t *page)
{
	load(at(c, i), page);
}

static void store_one(const struct command *c, uint32_t i, uint64_t *page)
{
	(void)page;
	fill(at(c, i), c->stamp + i);
}

static void increment_one(const struct command *c, uint32_t i, uint64_t *page)
{
	increment(at(c, i), page);
}

int do_load(const struct command *c, struct result *r)
{
	return access_pages(c, r, load_one);
}

int do_store(const struct command *c, struct result *r)
{
	return access_pages(c, r, store_one);
}

int do_increment(const struct command *c, struct result *r)
{
	return access_pages(c, r, increment_one);
}
