/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_PREEMPT_H
#define CONVEYOR_TEST_PREEMPT_H

/*
 * Stops threads in the middle of calls: they yield the processor, spin, or sleep for a moment.
 *
 * Points.      What a program is compiled from can be instrumented so that it comes by here: before
 *              each basic block (-fsanitize-coverage=trace-pc) or each memory access
 *              (-fsanitize=thread, with test/support/accesses instead of the sanitizer). The
 *              Makefile has it so for the linearizability programs and the library that they link;
 *              no other build has such points.
 * Signals.     A timer of the thread's own interrupts it at any instruction, in the middle of a
 *              restartable sequence too, which has no points inside.
 */
#include <stdbool.h>
#include <stdint.h>

struct preempt_counts {
	uint64_t points;	/* that threads came by in calls */
	uint64_t stops;		/* at points */
	uint64_t interruptions; /* by signals, in calls */
};

/*
 * For the calling thread, which is stopped at one point in about `mean`, 0 for none, and by signals
 * every microseconds to milliseconds, if so asked. It begins outside of calls.
 */
void preempt_begin(uint64_t stream, uint64_t mean, bool signals);

/* Here a call begins, and there it ends; outside nobody is stopped. */
void preempt_enter(void);
void preempt_leave(void);

/* The thread is not stopped any more; adds to the counts. */
void preempt_end(struct preempt_counts *counts);

/* What instrumented code calls. */
void preempt_point(void);

#endif
