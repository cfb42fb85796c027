/* The guest as the first process finds it, made ready: nothing moves pages but the run. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent.h"

static int log_fd = -1; /* the kernel's log */

/* Say in the kernel's log, and so on the console, that a message was dealt with: what comes before belongs to it. */
void mark(uint32_t sequence)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "<6>hmmspec: seen %u\n", sequence);

	if (log_fd >= 0 && write(log_fd, line, (size_t)n) != n)
		log_fd = -1;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* The text of a small file. */
static const char *text_of(const char *path)
{
	static char text[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	if (fd >= 0)
		close(fd);
	text[used] = 0;
	return text;
}

static uint64_t number_at(const char *text)
{
	return strtoull(text + strcspn(text, "0123456789"), NULL, 10);
}

/* The first number after `key` in a file; 0 where there is none. */
uint64_t first_number(const char *path, const char *key)
{
	const char *at = strstr(text_of(path), key);

	return at ? number_at(at + strlen(key)) : 0;
}

/* The sum of the numbers after each `key`. */
uint64_t all_numbers(const char *path, const char *key)
{
	uint64_t sum = 0;

	for (const char *at = text_of(path); (at = strstr(at, key)); at += strlen(key))
		sum += number_at(at + strlen(key));
	return sum;
}

static void mount_at(const char *what, const char *where, const char *options)
{
	mkdir(where, 0755);
	mount(what, where, what, 0, options);
}

/* A swap device: its first page says what it is. */
static void swap_on(void)
{
	static unsigned char head[PAGE];
	uint32_t version = 1, last = (128u << 20) / PAGE - 1;
	int fd;

	if (!write_text("/sys/block/zram0/disksize", "128M"))
		return;
	fd = open("/dev/zram0", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	memcpy(head + 1024, &version, 4);
	memcpy(head + 1028, &last, 4);
	memcpy(head + PAGE - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, head, PAGE, 0) == (ssize_t)PAGE)
		swapon("/dev/zram0", 0);
	close(fd);
}

void set_up(void)
{
	static const char *const settings[][2] = {
		{ "/sys/kernel/mm/ksm/run", "0" },
		{ "/sys/kernel/mm/transparent_hugepage/enabled", "madvise" },
		{ "/sys/kernel/mm/transparent_hugepage/defrag", "madvise" },
		{ "/sys/kernel/mm/transparent_hugepage/shmem_enabled", "never" },
		{ "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "4294967295" },
		{ "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag", "0" },
		{ "/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "1" },
		{ "/proc/sys/kernel/numa_balancing", "0" },
		{ "/sys/kernel/debug/fault_around_bytes", "4096" }, /* a fault maps the page that it is about */
		{ "/proc/sys/kernel/printk", "7 4 1 7" },
		{ "/proc/sys/kernel/hung_task_timeout_secs", "20" },
		{ "/proc/sys/vm/swappiness", "0" },
		{ "/proc/sys/vm/drop_caches", "4" }, /* from now on without a line on the console */
		{ "/proc/sys/vm/compaction_proactiveness", "0" },
		{ "/proc/sys/vm/compact_unevictable_allowed", "0" },
		{ "/proc/sys/vm/page-cluster", "0" },
		{ "/proc/sys/vm/overcommit_memory", "1" },
		{ "/proc/sys/vm/max_map_count", "262144" },
		{ "/proc/sys/vm/nr_hugepages", "16" },
		{ "/proc/sys/fs/pipe-max-size", "16777216" },
	};

	mount_at("devtmpfs", "/dev", NULL);
	mount_at("proc", "/proc", NULL);
	mount_at("sysfs", "/sys", NULL);
	mount_at("debugfs", "/sys/kernel/debug", NULL);
	mount_at("tmpfs", "/files", "size=512m,huge=never");
	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		write_text(settings[i][0], settings[i][1]);
	swap_on();
	log_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	gup_fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
}

/* Find the frame of the zero page. */
void know_zero(void)
{
	volatile const char *untouched = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (untouched != MAP_FAILED && !*untouched)
		shared->zero = frame_of((const void *)untouched);
}

/* The port whose name is ours: the host gives it. */
int open_port(void)
{
	static const char folder[] = "/sys/class/virtio-ports";

	/* Who waits for us has a limit of its own, by a clock that can be trusted. */
	for (;;) {
		DIR *d = opendir(folder);
		struct dirent *entry;
		char path[600], name[64];
		int fd = -1;

		while (d && fd < 0 && (entry = readdir(d))) {
			int found;
			ssize_t n;

			snprintf(path, sizeof(path), "%s/%s/name", folder, entry->d_name);
			found = open(path, O_RDONLY | O_CLOEXEC);
			if (found < 0)
				continue;
			n = read(found, name, sizeof(name) - 1);
			close(found);
			if (n >= 7 && !memcmp(name, "hmmspec", 7)) {
				snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
				fd = open(path, O_RDWR | O_CLOEXEC);
			}
		}
		if (d)
			closedir(d);
		if (fd >= 0)
			return fd;
		usleep(50000);
	}
}
