/* What the parts of the keeper share. */
#ifndef KEEPER_H
#define KEEPER_H

#include "agent.h"

enum status { DONE, STUCK, ENDED };

extern int servant;  /* the worker that does what no process does: files, drain */
extern int patience; /* milliseconds without progress after which a worker is stuck */

/* staff.c */
uint64_t now(void);
struct worker *worker(int number);
int pidfd(int number);
bool has_ended(int number, int milliseconds);
void lay_to_rest(int number);
void post(int number, enum job job, uint32_t from, uint32_t to);
enum status settled(int number);
void before_open(const struct command *c, int number);
int spawn(const struct command *c);
enum status end_process(int number, bool reap);
enum status reset(bool end_all);
enum status begin_program(void);
void hire(void);

/* conduct.c */
enum status run_all(uint32_t from, uint32_t to, uint32_t *at);
enum status race(uint32_t *at);

#endif
