/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

/* Threads that begin together, in a process that can be given up. */
#include "options.h"
#include "result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a process used. */
struct bench_usage {
	double cpu;	   /* seconds, user and system */
	uint64_t switches; /* context switches, both kinds */
};

/*
 * Calls body(context, result) in a child process and copies what it wrote to `result` (size bytes)
 * back. A child that has not ended after `bound` seconds is killed: BENCH_STALLED; one that is
 * killed by a signal, or exits with another status than 0: BENCH_CRASHED. usage may be NULL. So a
 * subject that hangs or corrupts memory spoils one figure and not the run.
 */
enum bench_state bench_isolated(void (*body)(void *context, void *result), void *context,
				void *result, size_t size, double bound, struct bench_usage *usage);

/* A thread of a crew: its number, from 0. */
typedef void bench_crew_fn(void *context, unsigned index);

/*
 * Runs `count` threads, which begin together once all are ready, pinned as said, thread i as the
 * i-th. While they run, the calling thread runs meanwhile(context), if there is one. Returns the ns
 * from the common beginning until the last has ended.
 */
uint64_t bench_crew_run(unsigned count, enum bench_pin pin, bench_crew_fn *body,
			void (*meanwhile)(void *context), void *context);

/* Puts the calling thread where `pin` puts the i-th. */
void bench_crew_pin(enum bench_pin pin, unsigned index);

/* How many processors this process may use. */
unsigned bench_processors(void);

/* CLOCK_MONOTONIC, ns. */
uint64_t bench_now(void);

/* Sleeps until then. */
void bench_sleep_until(uint64_t when);

#endif
