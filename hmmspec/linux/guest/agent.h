/*
 * The agent inside the guest: what its parts share.
 *
 * One process, the keeper (init.c, keeper.c), speaks the protocol (wire.c).  It never touches what is tested: commands
 * are carried out by workers (worker.c), one for each process of a program, which find them in memory shared by all and
 * leave the results there.  So a worker that hangs in the kernel is told from a guest that is dead.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096ul
#define WORDS (PAGE / 8)
#define PMD_PAGES 512ul
#define ARENA ((char *)0x100000000000ul) /* page 0 of every process, aligned to 2 MiB */
#define ARENA_PAGES (1ul << 17)

#define DEVICES 4
#define NAMES 256    /* processes of one program, by name */
#define WORKERS 64   /* processes that can be alive at once */
#define THREADS 16   /* lists of one race */
#define HOLDS 64     /* holds of a process, by name */
#define BATCH 16384  /* commands of one message */
#define DATA (48ul << 20) /* bytes of results of one message */
#define SMALL 64     /* pages of a buffer that is there from the start */

/* NOTE(numbers): hmmspec/conform/linux/codec.py has the same numbers; the greeting carries AGENT_VERSION. */
#define AGENT_VERSION 1

enum op {
	OP_SPAWN = 1, OP_FORK, OP_EXIT, OP_KILL, OP_MMAP, OP_MUNMAP, OP_MPROTECT, OP_MREMAP, OP_MADVISE, OP_LOAD, OP_STORE,
	OP_INCREMENT, OP_GUP, OP_PEEK, OP_POKE, OP_UNPIN, OP_PAGEMAP, OP_CLEAR_SOFT_DIRTY, OP_UFFD_WP, OP_SMAPS,
	OP_FILE_WRITE, OP_FILE_READ, OP_DRAIN, OP_OPEN, OP_CLOSE, OP_DEV_READ, OP_DEV_WRITE, OP_TO_DEVICE, OP_TO_SYSTEM,
	OP_SNAPSHOT, OP_EXCLUSIVE, OP_CHECK_EXCLUSIVE, OP_RELEASE, OP_FLAGS, OP_LAST
};

enum kind { KIND_PRIVATE, KIND_SHARED, KIND_FILE, KIND_FILE_PRIVATE, KIND_HUGETLB, KIND_DEVICE };
enum prot { ACCESS_NONE, ACCESS_READ, ACCESS_WRITE };
enum gup_flag { GUP_WRITE = 1, GUP_FAST = 2, GUP_PIN = 4, GUP_LONGTERM = 8, GUP_HOLD = 16 };

/* A command as it travels; `choice` is the protection, the advice, or flags. */
struct command {
	uint8_t op, choice, kind, device;
	uint16_t process, other; /* other: the child, the file or the hold */
	uint32_t page, count, extra; /* extra: where to, or the page of the file */
	uint32_t reserved;
	uint64_t stamp;
};

enum data { DATA_NONE, DATA_STAMPS, DATA_SNAPSHOT, DATA_PAGEMAP, DATA_COUNTS };

#define SIGNALLED 0x1000 /* error = this + the number of the signal */
#define ABSENT (-1)

/* begin and end are moments of one clock for all; 0: not yet. */
struct result {
	int32_t error, cpages, faults;
	uint32_t data, length, reserved;
	uint64_t offset;
	_Atomic uint64_t begin, end;
};

enum state { FREE, STARTING, POOL, LIVE, DEAD };
enum job { JOB_BATCH, JOB_RACE, JOB_RESET };

struct worker {
	_Atomic uint32_t state; /* a futex */
	_Atomic int pid;
	_Atomic uint32_t posted, taken; /* futexes: jobs given, jobs done */
	uint32_t job, from, to;
	_Atomic uint32_t open;   /* devices that the program has open */
	_Atomic uint32_t hidden; /* devices still open from an earlier program */
	_Atomic uint32_t held;	 /* holds of pages that may be a device's: all but long-term ones */
};

struct list {
	uint32_t from, to;
	int32_t worker; /* -1: of a process that is not there */
	_Atomic uint32_t at, done;
};

#define NOBODY (-1)
#define TAKEN (-2)

struct shared {
	_Atomic int names[NAMES]; /* worker, NOBODY, or TAKEN while a fork is under way */
	struct worker workers[WORKERS];
	struct list lists[THREADS];
	int keeper; /* its process */
	uint32_t threads;
	uint64_t zero; /* frame of the zero page */
	uint64_t seed;
	_Atomic uint32_t ready, go, finished;
	_Atomic uint64_t clock, used;
	_Atomic int pinned; /* worker that has gup_test's one set of pins, or NOBODY */
	struct command commands[BATCH];
	struct result results[BATCH];
	char data[DATA];
};

extern struct shared *shared;
extern struct worker *self; /* of a worker: who it is */
extern bool on_host;	/* run as an ordinary process, for tests */
extern int gup_fd;	/* gup_test, opened once and kept, or -1 */
extern const char *files; /* folder of the program's files */

/* stamps.c: data of pages, NOTE(stamps) of hmmspec/conform/stamps.py */
void fill(uint64_t *page, uint64_t stamp);
int64_t stamp_of(const uint64_t *page);
uint64_t factor(unsigned word);

/* worker.c */
int start_worker(int number);
void work(void) __attribute__((noreturn));
void carry_out(uint32_t number);
char *buffer_of(uint64_t pages);
void prepare_buffers(void);
void buffer_done(char *buffer, uint64_t pages);
void *room(struct result *r, uint32_t data, uint64_t bytes);
void wake(_Atomic uint32_t *word);
void wait_while(_Atomic uint32_t *word, uint32_t value, int milliseconds);
bool alive(int pid);
void stay_on(int cpu);
void bury(int number);
void forget_process(void);

/* memory.c, access.c, look.c, device.c, gup.c: one function per command; they return 0 or an errno */
int do_mmap(const struct command *c);
int do_mremap(const struct command *c);
int do_madvise(const struct command *c);
int do_mprotect(const struct command *c);
int do_file_write(const struct command *c, struct result *r);
int do_file_read(const struct command *c, struct result *r);
int do_drain(void);

void catch_signals(void);
int do_load(const struct command *c, struct result *r);
int do_store(const struct command *c, struct result *r);
int do_increment(const struct command *c, struct result *r);

int do_pagemap(const struct command *c, struct result *r);
int do_smaps(const struct command *c, struct result *r);
int do_clear_soft_dirty(void);
int do_uffd_wp(const struct command *c);
bool has_uffd_wp(void);
uint64_t frame_of(const void *address);
bool has_soft_dirty(void);
void forget_looks(void);

int do_open(const struct command *c);
int do_close(const struct command *c);
int do_mirror(const struct command *c, struct result *r);
int device_fd(unsigned device);
void forget_devices(void);

int do_gup(const struct command *c, struct result *r);
int do_peek(const struct command *c, struct result *r);
int do_poke(const struct command *c, struct result *r);
int do_unpin(const struct command *c);
void drop_holds(void);
void forget_holds(void);
void drop_pinned_set(void);

/* setup.c */
void set_up(void);
void know_zero(void);
void mark(uint32_t sequence);
int open_port(void);
bool write_text(const char *path, const char *text);
uint64_t first_number(const char *path, const char *key);
uint64_t all_numbers(const char *path, const char *key);

/* keeper.c */
void serve(int port) __attribute__((noreturn));

/* wire.c */
struct frame {
	uint32_t kind, sequence, length;
	char *payload;
};
enum { HELLO = 1, RUN, RACE, RESET, COUNTS, ANSWER = 0x80, BAD_FRAME = 0xfe, REFUSED = 0xff };
bool receive(int port, struct frame *f);
void answer_begin(const struct frame *f);
void answer_add(const void *data, size_t bytes);
void answer_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void answer_end(int port, uint32_t kind);
bool answer_again(int port, uint32_t sequence);

#endif
