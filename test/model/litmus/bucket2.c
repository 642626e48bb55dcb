/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BUCKET2: set: state changed, old rate overwritten; take: rate read, state read. A take that has read a
 * word of the new rate finds that the state has moved.
 *
 *   setter:  state.low: 0 -> both halves (a swap); price = 2 (release)
 *   taker:   p = price (acquire); low = state.low (acquire); low is still 0: the price is valid
 *
 * Outcomes (valid, price, 0):
 *   allowed    1,1,0
 *   allowed    0,1,0
 *   allowed    0,2,0
 *   forbidden  1,2,0   tokens of the old rate at the new price
 */
#include "litmus.h"

static uint64_t low, price;
static unsigned valid, seen;

static void *
setter(void *unused)
{
	uint64_t was = 0;

	(void)queue_impl_cas_acq_rel(&low, &was, 1);
	queue_impl_store_rel(&price, 2); /* BUCKET2 release */
	return unused;
}

static void *
taker(void *unused)
{
	seen = (unsigned)queue_impl_load_acq(&price); /* BUCKET2 acquire */
	valid = queue_impl_load_acq(&low) == 0;
	return unused;
}

int
main(void)
{
	pthread_t setter_thread, taker_thread;

	queue_impl_store_rlx(&low, 0);
	queue_impl_store_rlx(&price, 1);
	(void)pthread_create(&setter_thread, NULL, setter, NULL);
	(void)pthread_create(&taker_thread, NULL, taker, NULL);
	(void)pthread_join(setter_thread, NULL);
	(void)pthread_join(taker_thread, NULL);
	litmus_outcome(valid, seen, 0);
	assert(!valid || seen == 1);
	return 0;
}
