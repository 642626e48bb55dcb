/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_SCHEDULE_H
#define BENCH_SCHEDULE_H

/*
 * When an open-loop load generator means to send: a sequence of times that does not depend on how
 * the queue fares, so that a stall delays no measurement's beginning (no coordinated omission). The
 * gaps are exponential (a Poisson process), or all alike.
 */
#include <stdbool.h>
#include <stdint.h>

struct bench_schedule {
	uint64_t begin; /* ns */
	double next;	/* ns after begin: in a double, the time itself would lose its ns */
	double gap;	/* ns, the mean */
	uint64_t random;
	bool even;
};

/* rate: sends per second, above 0; begin: the time of the first, ns. Equal seeds, equal times. */
void bench_schedule_begin(struct bench_schedule *schedule, uint64_t begin, double rate,
			  uint64_t seed, bool even);

/* The time of the next send, ns; never before the one before. The first is at `begin`. */
uint64_t bench_schedule_next(struct bench_schedule *schedule);

/* The generator behind it, for whoever else needs numbers from a seed. */
uint64_t bench_random(uint64_t *state);

#endif
