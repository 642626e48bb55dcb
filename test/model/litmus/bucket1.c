/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BUCKET1: set: new rate written -> take reads it, via state.high. The rate of the other version is
 * written first, then the version moves.
 *
 *   setter:  other rate = 2 (release); state: {0, version 0} -> {0, version 1} (both halves)
 *   taker:   v = state.high (acquire); reads the rate of that version (acquire); again v: the same?
 *
 * Outcomes (valid, version, rate):
 *   allowed    1,0,1
 *   allowed    1,1,2
 *   allowed    0,0,0   the version has moved meanwhile
 *   forbidden  1,1,0   a rate that is not written yet
 *   forbidden  1,1,1
 */
#include "litmus.h"

static struct litmus_pair state;
static uint64_t price[2];
static unsigned valid, version, rate;

/* The pair's halves with the version in the one that is loaded with acquire. */
static uint64_t
version_of(void)
{
	return litmus_pair_low_acq(&state); /* BUCKET1 acquire */
}

static void *
setter(void *unused)
{
	queue_impl_store_rel(&price[1], 2);	    /* BUCKET2 release */
	(void)litmus_pair_swap(&state, 0, 0, 1, 0); /* BUCKET1 release */
	return unused;
}

static void *
taker(void *unused)
{
	uint64_t seen = version_of(), value = queue_impl_load_acq(&price[seen]);

	valid = version_of() == seen;
	version = valid ? (unsigned)seen : 0;
	rate = valid ? (unsigned)value : 0;
	return unused;
}

int
main(void)
{
	pthread_t setter_thread, taker_thread;

	litmus_pair_init(&state, 0, 0);
	queue_impl_store_rlx(&price[0], 1);
	queue_impl_store_rlx(&price[1], 0);
	(void)pthread_create(&setter_thread, NULL, setter, NULL);
	(void)pthread_create(&taker_thread, NULL, taker, NULL);
	(void)pthread_join(setter_thread, NULL);
	(void)pthread_join(taker_thread, NULL);
	litmus_outcome(valid, version, rate);
	assert(!valid || rate == version + 1);
	return 0;
}
