/* The keeper: takes messages, has them carried out, answers. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "keeper.h"

enum { FORGET = 1, WARN_AGAIN = 2 }; /* bits of `fresh` */

struct request {
	uint32_t fresh, patience, threads, reserved;
	uint64_t seed;
	uint32_t counts[THREADS];
};

static void answer_results(enum status status, uint32_t at, uint32_t count)
{
	uint32_t head[3] = { status, at, count };

	answer_add(head, sizeof(head));
	for (uint32_t i = 0; i < count; i++) {
		const struct result *r = &shared->results[i];
		uint64_t moments[2] = { atomic_load(&r->begin), atomic_load(&r->end) };
		uint32_t data[3] = { r->data, moments[1] ? r->length : 0, r->reserved };

		answer_add(moments, sizeof(moments));
		answer_add(&r->error, 12);
		answer_add(data, sizeof(data));
		answer_add(shared->data + r->offset, data[1]);
	}
}

static bool take(const struct frame *f, bool racing)
{
	struct request q;
	uint32_t total = 0, at = 0;
	enum status status = DONE;

	if (f->length < sizeof(q))
		return false;
	memcpy(&q, f->payload, sizeof(q));
	if (q.threads > THREADS)
		return false;
	shared->threads = q.threads;
	shared->seed = q.seed;
	patience = (int)q.patience;
	for (uint32_t i = 0; i < q.threads; i++) {
		if (q.counts[i] > BATCH - total)
			return false;
		shared->lists[i].from = total;
		total += q.counts[i];
		shared->lists[i].to = total;
	}
	if (f->length != sizeof(q) + total * sizeof(struct command))
		return false;
	memcpy(shared->commands, f->payload + sizeof(q), total * sizeof(struct command));
	for (uint32_t i = 0; i < total; i++)
		shared->results[i] = (struct result){ .cpages = ABSENT, .faults = ABSENT };
	atomic_store(&shared->used, 0);
	atomic_store(&shared->clock, 1);
	if (q.fresh & WARN_AGAIN)
		write_text("/sys/kernel/debug/clear_warn_once", "1");
	if (q.fresh & FORGET)
		status = begin_program();
	if (status != DONE)
		at = total;
	else
		status = racing ? race(&at) : run_all(0, total, &at);
	answer_results(status, at, total);
	return true;
}

static void greet(void)
{
	struct utsname system;
	uint32_t devices = 0;

	uname(&system);
	for (int d = 0; d < DEVICES; d++) {
		char path[32];

		snprintf(path, sizeof(path), "/dev/hmm_dmirror%d", d);
		if (!access(path, R_OK | W_OK))
			devices |= 1u << d;
	}
	answer_text("agent=%d\nkernel=%s\ndevices=%u\n", AGENT_VERSION, system.release, devices);
	answer_text("gup=%d\nuffd_wp=%d\n", gup_fd >= 0, has_uffd_wp());
	answer_text("pagemap=%d\n", !access("/proc/self/pagemap", R_OK));
	answer_text("smaps=%d\n", !access("/proc/self/smaps", R_OK));
	answer_text("swap=%d\n", !on_host && first_number("/proc/meminfo", "SwapTotal:") > 0);
	answer_text("drain=%d\n", !on_host && !access("/proc/sys/vm/drop_caches", W_OK));
	answer_text("thp=%d\n", !access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK));
	answer_text("hugetlb=%d\n", (int)first_number("/proc/meminfo", "HugePages_Total:"));
	answer_text("soft_dirty=%d\n", has_soft_dirty());
}

/* Amounts that come back to what they were once all processes have ended. */
static void tell_counts(void)
{
	static const char *const keys[] = {
		"MemTotal:", "MemFree:",    "Buffers:", "\nCached:",  "SwapCached:",  "AnonPages:",	 "Shmem:",	    "Slab:",
		"KernelStack:", "PageTables:", "Percpu:", "SwapTotal:", "SwapFree:", "HugePages_Total:", "HugePages_Free:",
	};

	if (!on_host) {
		write_text("/proc/sys/vm/drop_caches", "3");
		write_text("/proc/sys/vm/stat_refresh", "1"); /* the parts that each CPU counts by itself */
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *key = keys[i] + (*keys[i] == '\n');

		answer_text("%.*s=%lu\n", (int)strlen(key) - 1, key, first_number("/proc/meminfo", keys[i]));
	}
	/* Free pages in the lists of each CPU are not in MemFree. */
	answer_text("CpuFree=%lu\n", all_numbers("/proc/zoneinfo", " count:") * PAGE / 1024);
	/* What describes the pages of devices: they have more memory when they need it. */
	answer_text("Memmap=%lu\n", first_number("/proc/vmstat", "nr_memmap_pages ") * PAGE / 1024);
}

void serve(int port)
{
	struct frame f;

	hire();
	while (receive(port, &f)) {
		bool good = true;

		if (answer_again(port, f.sequence))
			continue;
		answer_begin(&f);
		switch (f.kind) {
		case HELLO:
			greet();
			break;
		case RUN:
		case RACE:
			good = take(&f, f.kind == RACE);
			mark(f.sequence);
			break;
		case RESET:
			answer_text("stuck=%d\n", reset(true) != DONE);
			break;
		case COUNTS:
			tell_counts();
			break;
		default:
			good = false;
		}
		if (!good) {
			answer_begin(&f);
			answer_text("kind %u with %u bytes is no request", f.kind, f.length);
		}
		answer_end(port, good ? ANSWER : REFUSED);
	}
	if (!on_host)
		reboot(RB_POWER_OFF);
	_exit(0);
}
