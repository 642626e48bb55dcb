/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_WAITS_H
#define CONVEYOR_TEST_WAITS_H

/*
 * Every call of the library that waits, as a table: how to get into it, and what ends it. For tests
 * of what must not end it. One object of each kind at a time; a test works through the table.
 */
#include <conveyor.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct wait_kind {
	const char *name;
	bool has_deadline; /* by the system's clock; otherwise it is not looked at */
	/* Makes the object, so that the call has to wait. */
	void (*prepare)(void);
	/* The call: 0 when it has got what it waited for. */
	int (*wait)(uint64_t deadline);
	/* Brings what it waits for. */
	void (*satisfy)(void);
	/* Says that nothing will come: closes the object, or has its disk fail. NULL: it cannot. */
	void (*close)(void);
	int closed; /* what the call answers then */
	/* Ends the object: 0, or -EBUSY while somebody waits inside (if the object finds that out). */
	int (*end)(void);
	bool is_busy;
	bool is_kept_apart; /* end is, from calls that have not returned: threads are joined before */
	/* It answers -ETIMEDOUT as soon as it knows that the deadline will come first. */
	bool looks_ahead;
	bool is_single;	     /* one thread at a time */
	bool is_parents;     /* after fork(2) the child must not touch it */
	bool has_descriptor; /* which the child of a fork(2) shares */
	bool sleeps_in_libc; /* so nobody sees how often its system calls are interrupted */
	bool is_variant;     /* of one before: for tests that take long */
};

extern const struct wait_kind wait_kinds[];
extern const int wait_kinds_count;

/* What on_drop, release and a handler have been given since prepare. */
extern uint32_t wait_dropped, wait_released, wait_handled;

/* A thread inside such a call. */
struct waiter {
	const struct wait_kind *kind;
	uint64_t deadline;
	pthread_t thread;
	uint32_t number; /* the thread's, once it runs */
	uint32_t has_returned;
	int rc;
	bool was_cancelled; /* after the call had returned */
};

/* Returns when it sleeps; false: the call has returned instead. */
bool waiter_start(struct waiter *waiter, const struct wait_kind *kind, uint64_t deadline);

/* False: it has not come back within half a minute. */
bool waiter_returns(struct waiter *waiter);

/* What the call has returned; waits for it. */
int waiter_join(struct waiter *waiter);

/* Ends the program when something is wrong that is not what is tested. */
#define WAITS_NEED(condition) ((condition) ? (void)0 : waits_fail(__FILE__, __LINE__, #condition))

_Noreturn void waits_fail(const char *file, int line, const char *condition);

#endif
