/* What a program can see of its pages: pagemap, smaps; marks on them: soft-dirty, userfaultfd's write protection. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"

/* Bits of a word of pagemap. */
#define SOFT_DIRTY (1ull << 55)
#define EXCLUSIVE (1ull << 56)
#define UFFD_WP (1ull << 57)
#define FILE_OR_SHARED (1ull << 61)
#define SWAPPED (1ull << 62)
#define PRESENT (1ull << 63)
#define FRAME ((1ull << 55) - 1)

static _Atomic int pagemap_fd = -1, uffd = -1;

/* After a fork: these are the parent's. */
void forget_looks(void)
{
	int fd = atomic_exchange(&pagemap_fd, -1);

	if (fd >= 0)
		close(fd);
	fd = atomic_exchange(&uffd, -1);
	if (fd >= 0)
		close(fd);
}

static int pagemap(void)
{
	int fd = atomic_load(&pagemap_fd), none = -1;

	if (fd >= 0)
		return fd;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !atomic_compare_exchange_strong(&pagemap_fd, &none, fd)) {
		close(fd);
		fd = none;
	}
	return fd;
}

static int read_words(uint64_t page, uint32_t count, uint64_t *words)
{
	off_t at = (off_t)(((uint64_t)ARENA / PAGE + page) * 8);
	size_t size = 8ul * count, done = 0;
	int fd = pagemap();

	if (fd < 0)
		return errno;
	while (done < size) {
		ssize_t n = pread(fd, (char *)words + done, size - done, at + (off_t)done);

		if (n <= 0)
			return n ? errno : EIO;
		done += (size_t)n;
	}
	return 0;
}

int do_pagemap(const struct command *c, struct result *r)
{
	static const uint64_t told[] = { PRESENT, SWAPPED, SOFT_DIRTY, EXCLUSIVE, FILE_OR_SHARED, UFFD_WP };
	uint64_t *words = room(r, DATA_PAGEMAP, 8ul * c->count);
	unsigned char *bits = (unsigned char *)words;
	int error;

	if (!words)
		return ENOMEM;
	error = read_words(c->page, c->count, words);
	/* In place: a byte for each word. */
	for (uint32_t i = 0; !error && i < c->count; i++) {
		uint64_t w = words[i];

		bits[i] = 0;
		for (unsigned b = 0; b < sizeof(told) / sizeof(*told); b++)
			bits[i] |= (unsigned char)((w & told[b] ? 1u : 0u) << b);
	}
	r->length = c->count;
	r->cpages = (int32_t)c->count;
	return error;
}

/*
 * The counts of all mappings of the range, as smaps has them, in pages.  smaps tells of whole mappings only: where one
 * reaches out of the range the counts of the range alone cannot be had, and only those that pagemap tells are given
 * (r->cpages = 0 says so).
 */
int do_smaps(const struct command *c, struct result *r)
{
	enum { RSS, ANON, SWAP, DIRTY, HUGE, COUNTS_OF };
	static const char *const names[] = { "Rss:", "Anonymous:", "Swap:", "Private_Dirty:", "AnonHugePages:" };
	uint64_t from = (uint64_t)ARENA + (uint64_t)c->page * PAGE, to = from + (uint64_t)c->count * PAGE;
	int64_t *counts = room(r, DATA_COUNTS, 8ul * COUNTS_OF);
	bool inside = false;
	char line[512];
	FILE *f;

	if (!counts)
		return ENOMEM;
	memset(counts, 0, 8ul * COUNTS_OF);
	f = fopen("/proc/self/smaps", "re");
	if (!f)
		return errno;
	while (fgets(line, sizeof(line), f)) {
		uint64_t first, last, kib;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &first, &last) == 2 && strchr(line, '-') < strchr(line, ' ')) {
			inside = first < to && last > from;
			if (inside && (first < from || last > to))
				r->reserved = 1;
			if (first >= to)
				break;
			continue;
		}
		if (!inside)
			continue;
		for (int i = 0; i < COUNTS_OF; i++)
			if (!strncmp(line, names[i], strlen(names[i])) && sscanf(line + strlen(names[i]), "%" SCNu64, &kib) == 1)
				counts[i] += (int64_t)(kib * 1024 / PAGE);
		if (!strncmp(line, "Shared_Dirty:", 13) && sscanf(line + 13, "%" SCNu64, &kib) == 1)
			counts[DIRTY] += (int64_t)(kib * 1024 / PAGE);
	}
	fclose(f);
	if (r->reserved)
		r->length = 0;
	return 0;
}

static uint64_t word_of(const volatile void *address)
{
	uint64_t word = 0;
	int fd = pagemap();

	return fd >= 0 && pread(fd, &word, 8, (off_t)((uint64_t)address / PAGE * 8)) == 8 ? word : 0;
}

/* Whether a page that was just written is marked. */
bool has_soft_dirty(void)
{
	volatile char here = 1;

	return word_of(&here) & SOFT_DIRTY;
}

/* The frame that is mapped, or 0. */
uint64_t frame_of(const void *address)
{
	uint64_t word = word_of(address);

	return word & PRESENT ? word & FRAME : 0;
}

int do_clear_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, "4", 1) != 1)
		error = errno;
	close(fd);
	return error;
}

/* ---- userfaultfd: requests by numbers of our own */

struct uffd_api {
	uint64_t api, features, ioctls;
};
struct uffd_register {
	uint64_t start, length, mode, ioctls;
};
struct uffd_protect {
	uint64_t start, length, mode;
};
#define UFFD_API _IOWR(0xaa, 0x3f, struct uffd_api)
#define UFFD_REGISTER _IOWR(0xaa, 0x00, struct uffd_register)
#define UFFD_PROTECT _IOWR(0xaa, 0x06, struct uffd_protect)
#define MODE_WP 2u
#define PROTECT 1u
#define WP_HUGETLB_SHMEM (1u << 12)
#define WP_UNPOPULATED (1u << 13)
#define WP_ASYNC (1u << 15)

static int new_uffd(void)
{
	struct uffd_api api = { 0xaa, WP_HUGETLB_SHMEM | WP_UNPOPULATED | WP_ASYNC, 0 };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFD_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool has_uffd_wp(void)
{
	int fd = new_uffd();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int do_uffd_wp(const struct command *c)
{
	uint64_t start = (uint64_t)ARENA + (uint64_t)c->page * PAGE, length = (uint64_t)c->count * PAGE;
	struct uffd_register where = { start, length, MODE_WP, 0 };
	struct uffd_protect what = { start, length, c->choice ? PROTECT : 0 };
	int fd = atomic_load(&uffd), none = -1;

	if (fd < 0) {
		fd = new_uffd();
		if (fd < 0)
			return ENOSYS;
		if (!atomic_compare_exchange_strong(&uffd, &none, fd)) {
			close(fd);
			fd = none;
		}
	}
	if (c->choice && ioctl(fd, UFFD_REGISTER, &where))
		return errno;
	return ioctl(fd, UFFD_PROTECT, &what) ? errno : 0;
}
