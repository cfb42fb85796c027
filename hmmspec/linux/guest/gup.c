/*
 * References that the kernel takes: dropped at once (gup_test), or held: plain ones by pages spliced into a pipe, one
 * long-term set in the whole kernel by gup_test.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent.h"

struct gup {
	uint64_t get_time, put_time, address, size;
	uint32_t at_once, flags, test_flags, which[8];
};
struct pins {
	uint64_t address, size;
	uint32_t flags;
};
#define GET_FAST _IOWR('g', 1, struct gup)
#define PIN_FAST _IOWR('g', 2, struct gup)
#define PIN_LONG _IOWR('g', 3, struct gup)
#define GET_SLOW _IOWR('g', 4, struct gup)
#define PIN_SLOW _IOWR('g', 5, struct gup)
#define SET_START _IOW('g', 7, struct pins)
#define SET_STOP _IO('g', 8)
#define SET_READ _IOW('g', 9, uint64_t)
#define FOR_WRITING 0x1u   /* of a get or pin */
#define FOR_LONG 0x100u
#define SET_WRITE 0x1u
#define SET_FAST 0x2u

enum { NO_HOLD, PENDING, BY_PIPE, BY_SET };

struct hold {
	_Atomic int how;
	int fds[2];
	uint32_t count;
};
static struct hold holds[HOLDS];

/* After a fork: what the parent holds is not the child's. */
void forget_holds(void)
{
	for (int i = 0; i < HOLDS; i++) {
		if (atomic_load(&holds[i].how) == BY_PIPE) {
			close(holds[i].fds[0]);
			close(holds[i].fds[1]);
		}
		atomic_store(&holds[i].how, NO_HOLD);
	}
}

void drop_pinned_set(void)
{
	if (gup_fd >= 0)
		ioctl(gup_fd, SET_STOP);
	atomic_store(&shared->pinned, NOBODY);
}

static void drop(struct hold *h)
{
	int how = atomic_exchange(&h->how, PENDING);

	if (how == BY_PIPE) {
		close(h->fds[0]);
		close(h->fds[1]);
		atomic_fetch_sub(&self->held, 1);
	} else if (how == BY_SET) {
		drop_pinned_set();
	}
	atomic_store(&h->how, NO_HOLD);
}

void drop_holds(void)
{
	for (int i = 0; i < HOLDS; i++)
		if (atomic_load(&holds[i].how) > PENDING)
			drop(&holds[i]);
}

static char *start(const struct command *c)
{
	return ARENA + (uint64_t)c->page * PAGE;
}

static int ask(unsigned how, const char *at, uint32_t count, uint32_t *got)
{
	struct gup q = {
		.address = (uint64_t)at, .size = (uint64_t)count * PAGE, .at_once = 1,
		.flags = (how & GUP_WRITE ? FOR_WRITING : 0) | (how & GUP_LONGTERM ? FOR_LONG : 0),
	};
	unsigned long request = !(how & GUP_PIN)  ? (how & GUP_FAST ? GET_FAST : GET_SLOW)
				: how & GUP_FAST   ? PIN_FAST
				: how & GUP_LONGTERM ? PIN_LONG
						     : PIN_SLOW;

	if (gup_fd < 0)
		return ENOSYS;
	if (ioctl(gup_fd, request, &q))
		return errno;
	*got = (uint32_t)(q.size / PAGE);
	return *got ? 0 : EFAULT;
}

/*
 * Get pages one by one and drop them; *got: how many there were before one that cannot be had.  The zero page is never
 * pinned, and gup_test warns of it: where it is what there is to read it is only got.
 */
static int get(const struct command *c, uint32_t *got)
{
	unsigned how = c->choice;
	uint32_t done = 0, one;
	int error = 0;

	if (!(how & GUP_PIN) || how & (GUP_WRITE | GUP_LONGTERM))
		return ask(how, start(c), c->count, got);
	for (; done < c->count; done++) {
		const char *at = start(c) + done * PAGE;

		error = ask(how & ~(unsigned)GUP_PIN, at, 1, &one);
		if (!error && frame_of(at) != shared->zero)
			error = ask(how, at, 1, &one);
		if (error)
			break;
	}
	*got = done;
	return done ? 0 : error;
}

static int hold_by_pipe(const struct command *c, struct hold *h, uint32_t count)
{
	struct iovec part = { start(c), count * PAGE };
	uint32_t done = 0;
	int error = 0;

	if (pipe2(h->fds, O_CLOEXEC | O_NONBLOCK))
		return errno;
	if (count > 16 && fcntl(h->fds[1], F_SETPIPE_SZ, count * PAGE) < 0)
		error = errno;
	while (!error && done < count) {
		ssize_t n = vmsplice(h->fds[1], &part, 1, 0);

		if (n <= 0) {
			error = n ? errno : EIO;
			break;
		}
		done += (uint32_t)((size_t)n / PAGE);
		part.iov_base = (char *)part.iov_base + n;
		part.iov_len -= (size_t)n;
	}
	if (!done) {
		close(h->fds[0]);
		close(h->fds[1]);
		return error;
	}
	h->count = done;
	return 0;
}

static int hold_by_set(const struct command *c, struct hold *h, uint32_t count)
{
	struct pins set = { (uint64_t)start(c), count * PAGE,
			    (c->choice & GUP_WRITE ? SET_WRITE : 0) | (c->choice & GUP_FAST ? SET_FAST : 0) };
	int nobody = NOBODY;

	if (!atomic_compare_exchange_strong(&shared->pinned, &nobody, (int)(self - shared->workers)))
		return ENOSYS; /* there is one set in the whole kernel, and it is taken */
	if (ioctl(gup_fd, SET_START, &set)) {
		int error = errno;

		atomic_store(&shared->pinned, NOBODY);
		return error;
	}
	h->count = count;
	return 0;
}

int do_gup(const struct command *c, struct result *r)
{
	struct hold *h = c->choice & GUP_HOLD && c->other < HOLDS ? &holds[c->other] : NULL;
	unsigned how = c->choice;
	int none = NO_HOLD, error;
	uint32_t count = c->count;

	if (how & GUP_LONGTERM && !(how & GUP_PIN))
		return EINVAL;
	if (how & GUP_HOLD && !h)
		return ENOSYS;
	if (h && !atomic_compare_exchange_strong(&h->how, &none, PENDING))
		return EEXIST;
	if (h && how & GUP_PIN && !(how & GUP_LONGTERM))
		error = ENOSYS;
	else if (h && how & GUP_LONGTERM && atomic_load(&shared->pinned) != NOBODY)
		error = ENOSYS;
	else
		/* What splicing takes is for reading: a get for writing before it makes the page the program's own. */
		error = !h || how & (GUP_WRITE | GUP_LONGTERM) ? get(c, &count) : 0;
	if (h && !error)
		error = how & GUP_LONGTERM ? hold_by_set(c, h, count) : hold_by_pipe(c, h, count);
	if (h && !error && !(how & GUP_LONGTERM))
		atomic_fetch_add(&self->held, 1);
	if (h)
		atomic_store(&h->how, error ? NO_HOLD : how & GUP_LONGTERM ? BY_SET : BY_PIPE);
	if (!error)
		r->cpages = (int32_t)(h ? h->count : count);
	return error;
}

static struct hold *held(const struct command *c)
{
	return c->other < HOLDS && atomic_load(&holds[c->other].how) > PENDING ? &holds[c->other] : NULL;
}

/* A copy of what is in the pipe; the pages stay in it. */
static int peek_pipe(const struct hold *h, char *buffer)
{
	size_t size = h->count * PAGE, done = 0;
	int copy[2], error = 0;

	if (pipe2(copy, O_CLOEXEC | O_NONBLOCK))
		return errno;
	if (h->count > 16 && fcntl(copy[1], F_SETPIPE_SZ, size) < 0)
		error = errno;
	if (!error && tee(h->fds[0], copy[1], size, 0) != (ssize_t)size)
		error = EIO;
	while (!error && done < size) {
		ssize_t n = read(copy[0], buffer + done, size - done);

		if (n <= 0)
			error = n ? errno : EIO;
		else
			done += (size_t)n;
	}
	close(copy[0]);
	close(copy[1]);
	return error;
}

int do_peek(const struct command *c, struct result *r)
{
	struct hold *h = held(c);
	int64_t *stamps;
	char *buffer;
	int error;

	if (!h)
		return EBADF;
	stamps = room(r, DATA_STAMPS, 8ul * h->count);
	buffer = buffer_of(h->count);
	if (!stamps || !buffer)
		return ENOMEM;
	if (atomic_load(&h->how) == BY_PIPE) {
		error = peek_pipe(h, buffer);
	} else {
		uint64_t to = (uint64_t)buffer;

		error = ioctl(gup_fd, SET_READ, &to) ? errno : 0;
	}
	for (uint32_t i = 0; !error && i < h->count; i++)
		stamps[i] = stamp_of((const uint64_t *)(buffer + i * PAGE));
	buffer_done(buffer, h->count);
	return error;
}

/* Nobody outside the kernel can write to pages that a pipe or gup_test holds. */
int do_poke(const struct command *c, struct result *r)
{
	(void)r;
	return held(c) ? ENOSYS : EBADF;
}

int do_unpin(const struct command *c)
{
	struct hold *h = held(c);

	if (!h)
		return EBADF;
	drop(h);
	return 0;
}
