/* The test device: its commands, by numbers of our own (a request of five words). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"

struct request {
	uint64_t address, buffer, pages, cpages, faults;
};
#define REQUEST(number) _IOWR('H', number, struct request)
enum { READ, WRITE, TO_DEVICE, TO_SYSTEM, SNAPSHOT, EXCLUSIVE, CHECK_EXCLUSIVE, RELEASE, FLAGS };
#define FIRST_FD 100 /* device n is always file 100 + n, so that threads never take one for another */

static bool is_open(unsigned device)
{
	return device < DEVICES && (atomic_load(&self->open) >> device & 1);
}

int device_fd(unsigned device)
{
	return is_open(device) ? FIRST_FD + (int)device : -1;
}

/* After a fork: what the parent has open is not the child's. */
void forget_devices(void)
{
	for (int d = 0; d < DEVICES; d++)
		close(FIRST_FD + d);
	atomic_store(&self->open, 0);
	atomic_store(&self->hidden, 0);
}

int do_open(const struct command *c)
{
	uint32_t bit = 1u << c->device;
	char path[32];
	int fd;

	if (c->device >= DEVICES)
		return ENOSYS;
	if (atomic_fetch_or(&self->open, bit) & bit)
		return EEXIST;
	if (atomic_fetch_and(&self->hidden, ~bit) & bit)
		return 0; /* open since an earlier program, of which nothing is left */
	snprintf(path, sizeof(path), "/dev/hmm_dmirror%u", c->device);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		int error = errno;

		atomic_fetch_and(&self->open, ~bit);
		return error;
	}
	dup2(fd, FIRST_FD + c->device);
	close(fd);
	return 0;
}

int do_close(const struct command *c)
{
	uint32_t bit = 1u << c->device;

	if (c->device >= DEVICES)
		return ENOSYS;
	if (!(atomic_fetch_and(&self->open, ~bit) & bit))
		return EBADF;
	close(FIRST_FD + c->device);
	return 0;
}

/*
 * To remove memory the kernel waits until nobody has references to its pages: in vain where the program itself has some.
 */
static bool anything_held(void)
{
	for (int n = 0; n < WORKERS; n++)
		if (atomic_load(&shared->workers[n].state) == LIVE && atomic_load(&shared->workers[n].held))
			return true;
	return false;
}

static int ask(int fd, unsigned number, struct request *q)
{
	int status;

	do
		status = ioctl(fd, REQUEST(number), q);
	while (status && errno == EINTR);
	return status ? errno : 0;
}

/* What the device read, page for page. */
static int stamps(const char *buffer, uint32_t count, struct result *r)
{
	int64_t *to = room(r, DATA_STAMPS, 8ul * count);

	if (!to)
		return ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		to[i] = stamp_of((const uint64_t *)(buffer + i * PAGE));
	return 0;
}

int do_mirror(const struct command *c, struct result *r)
{
	static const unsigned char numbers[OP_LAST] = {
		[OP_DEV_READ] = READ,	  [OP_DEV_WRITE] = WRITE,   [OP_TO_DEVICE] = TO_DEVICE,
		[OP_TO_SYSTEM] = TO_SYSTEM, [OP_SNAPSHOT] = SNAPSHOT, [OP_EXCLUSIVE] = EXCLUSIVE,
		[OP_CHECK_EXCLUSIVE] = CHECK_EXCLUSIVE, [OP_RELEASE] = RELEASE, [OP_FLAGS] = FLAGS,
	};
	/* Commands without pages are given one: the device takes none for a mistake. */
	struct request q = { .address = (uint64_t)(ARENA + (uint64_t)c->page * PAGE), .pages = c->count ? c->count : 1 };
	bool data = c->op == OP_DEV_READ || c->op == OP_DEV_WRITE || c->op == OP_TO_DEVICE || c->op == OP_EXCLUSIVE;
	uint64_t pages = data ? c->count : c->op == OP_SNAPSHOT ? (c->count + PAGE - 1) / PAGE : 1;
	bool through = c->op == OP_DEV_READ || c->op == OP_DEV_WRITE;
	int fd = device_fd(c->device), error;
	char *buffer;

	if (c->device >= DEVICES)
		return ENOSYS;
	if (fd < 0)
		return EBADF;
	if (c->op == OP_FLAGS)
		q.pages = c->choice;
	if (c->op == OP_RELEASE && anything_held())
		return EBUSY;
	buffer = buffer_of(pages);
	if (!buffer)
		return ENOMEM;
	if (c->op == OP_DEV_WRITE)
		for (uint32_t i = 0; i < c->count; i++)
			fill((uint64_t *)(buffer + i * PAGE), c->stamp + i);
	q.buffer = (uint64_t)buffer;
	error = ask(fd, numbers[c->op], &q);
	if (!error) {
		if (c->op != OP_RELEASE && c->op != OP_CHECK_EXCLUSIVE && c->op != OP_FLAGS)
			r->cpages = (int32_t)q.cpages;
		if (through)
			r->faults = (int32_t)q.faults;
		if (data && c->op != OP_DEV_WRITE)
			error = stamps(buffer, c->count, r);
		if (c->op == OP_SNAPSHOT) {
			unsigned char *to = room(r, DATA_SNAPSHOT, c->count);

			for (uint32_t i = 0; to && i < c->count; i++)
				to[i] = (unsigned char)buffer[i];
			error = to ? 0 : ENOMEM;
		}
	}
	buffer_done(buffer, pages);
	return error;
}
