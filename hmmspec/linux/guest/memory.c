/* The address space, files, and the system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static char *start(const struct command *c)
{
	return ARENA + (uint64_t)c->page * PAGE;
}

static int failed(int status)
{
	return status ? errno : 0;
}

static int protection(unsigned choice)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };

	return prots[choice % 3];
}

static int open_file(unsigned number, int flags)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s/%u", files, number) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, flags | O_CLOEXEC, 0600);
}

int do_mmap(const struct command *c)
{
	static const int flags[] = {
		[KIND_PRIVATE] = MAP_PRIVATE | MAP_ANONYMOUS, [KIND_SHARED] = MAP_SHARED | MAP_ANONYMOUS,
		[KIND_FILE] = MAP_SHARED, [KIND_FILE_PRIVATE] = MAP_PRIVATE,
		[KIND_HUGETLB] = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, [KIND_DEVICE] = MAP_PRIVATE,
	};
	int fd = -1, error = 0;
	bool file = c->kind == KIND_FILE || c->kind == KIND_FILE_PRIVATE;

	if (c->kind > KIND_DEVICE)
		return EINVAL;
	if (file && (fd = open_file(c->other, O_RDWR)) < 0)
		return errno;
	if (c->kind == KIND_DEVICE && (fd = device_fd(c->device)) < 0)
		return EBADF;
	if (c->kind == KIND_HUGETLB && (c->page % PMD_PAGES || c->count % PMD_PAGES))
		return EINVAL;
	if (mmap(start(c), c->count * PAGE, protection(c->choice), flags[c->kind] | MAP_FIXED, fd,
		 file ? (off_t)c->extra * (off_t)PAGE : 0) == MAP_FAILED)
		error = errno;
	if (file)
		close(fd);
	return error;
}

int do_mprotect(const struct command *c)
{
	return failed(mprotect(start(c), c->count * PAGE, protection(c->choice)));
}

int do_mremap(const struct command *c)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (c->choice ? MREMAP_DONTUNMAP : 0);
	size_t size = c->count * PAGE;

	if ((uint64_t)c->extra + c->count > ARENA_PAGES)
		return EINVAL;
	return mremap(start(c), size, size, flags, ARENA + (uint64_t)c->extra * PAGE) == MAP_FAILED ? errno : 0;
}

int do_madvise(const struct command *c)
{
	static const int advice[] = { MADV_DONTNEED, MADV_FREE,	   MADV_HUGEPAGE, MADV_NOHUGEPAGE,
				      MADV_COLLAPSE, MADV_PAGEOUT, MADV_DONTFORK, MADV_DOFORK };

	if (c->choice >= sizeof(advice) / sizeof(*advice))
		return EINVAL;
	return failed(madvise(start(c), c->count * PAGE, advice[c->choice]));
}

int do_file_write(const struct command *c, struct result *r)
{
	uint64_t page[WORDS];
	int fd = open_file(c->other, O_RDWR | O_CREAT), error = 0;

	if (fd < 0)
		return errno;
	for (uint32_t i = 0; i < c->count && !error; i++) {
		fill(page, c->stamp + i);
		if (pwrite(fd, page, PAGE, ((off_t)c->page + i) * (off_t)PAGE) != (ssize_t)PAGE)
			error = errno ? errno : EIO;
	}
	close(fd);
	r->cpages = (int32_t)c->count;
	return error;
}

int do_file_read(const struct command *c, struct result *r)
{
	uint64_t page[WORDS];
	int fd = open_file(c->other, O_RDONLY), error = 0;
	struct stat st;
	int64_t *stamps;

	if (fd < 0)
		return errno;
	if (fstat(fd, &st) || ((uint64_t)c->page + c->count) * PAGE > (uint64_t)st.st_size)
		error = EINVAL;
	else if (!(stamps = room(r, DATA_STAMPS, 8ul * c->count)))
		error = ENOMEM;
	for (uint32_t i = 0; i < c->count && !error; i++) {
		if (pread(fd, page, PAGE, ((off_t)c->page + i) * (off_t)PAGE) != (ssize_t)PAGE)
			error = errno ? errno : EIO;
		stamps[i] = stamp_of(page);
	}
	close(fd);
	r->cpages = (int32_t)c->count;
	return error;
}

/*
 * Dropping the page cache empties the batches of all CPUs first.  There is nothing to drop here: files are in tmpfs.
 */
int do_drain(void)
{
	int fd = on_host ? -1 : open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return ENOSYS;
	if (write(fd, "1", 1) != 1)
		error = errno;
	close(fd);
	return error;
}
