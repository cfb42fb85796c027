/* The first process of the guest; or, for tests, an ordinary one that serves on file 3: `agent --host FOLDER`. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define SHARED ((void *)0x180000000000ul)

/* The rate of the processor's own clock, in kHz: emulated machines have that of their host. */
static int tell_tsc(void)
{
	struct timespec from, to;
	uint64_t first = __builtin_ia32_rdtsc(), last;

	clock_gettime(CLOCK_MONOTONIC, &from);
	usleep(100000);
	last = __builtin_ia32_rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.0f\n", (double)(last - first) * 1e6 /
				 ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)));
	return 0;
}

int main(int count, char **words)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int port = 3;

	if (count == 2 && !strcmp(words[1], "--tsc"))
		return tell_tsc();

	on_host = count == 3 && !strcmp(words[1], "--host");
	if (on_host) {
		files = words[2];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	} else if (getpid() == 1) {
		set_up();
		port = open_port();
		setrlimit(RLIMIT_MEMLOCK, &unlimited);
		puts(port < 0 ? "hmmspec: no port" : "hmmspec: agent");
		fflush(stdout);
	} else {
		fprintf(stderr, "usage: agent --host FOLDER, with the port as file 3\n");
		return 2;
	}
	shared = mmap(SHARED, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (port < 0 || shared == MAP_FAILED) {
		if (!on_host)
			reboot(RB_POWER_OFF);
		return 2;
	}
	signal(SIGCHLD, SIG_IGN); /* ended processes go by themselves */
	signal(SIGPIPE, SIG_IGN);
	catch_signals();
	prepare_buffers();
	know_zero();
	stay_on(0);
	serve(port);
}
