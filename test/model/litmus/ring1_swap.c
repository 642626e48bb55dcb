/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING1, pushes that swap: two may try to fill one position, one does.
 *
 *   pushers:  own bytes = n; if slot.seq (acquire) is 0: swap {0, 0} for {1, n}
 *   popper:   seq = slot.seq (acquire); if it is 1: n = slot.item, reads n's bytes
 *
 * Outcomes (how many filled it, item, bytes):
 *   allowed    1,0,0   not filled yet
 *   allowed    1,1,1
 *   allowed    1,2,2
 *   forbidden  0,0,0   nobody did
 *   forbidden  2,1,1   both did
 *   forbidden  2,2,2
 *   forbidden  1,1,0   the item came before its bytes
 *   forbidden  1,2,0
 */
#include "litmus.h"

static struct litmus_pair slot;
static int bytes[3];
static unsigned filled[3], item, value;

static void
push(unsigned number)
{
	bytes[number] = (int)number;
	filled[number] = 0;
	if (litmus_pair_low_acq(&slot) == 0)				   /* RING1 acquire */
		filled[number] = litmus_pair_swap(&slot, 0, 0, 1, number); /* RING1 release */
}

static void *
first(void *unused)
{
	push(1);
	return unused;
}

static void *
second(void *unused)
{
	push(2);
	return unused;
}

static void *
popper(void *unused)
{
	item = value = 0;
	if (litmus_pair_low_acq(&slot) == 1) { /* RING1 acquire */
		item = (unsigned)litmus_pair_high_rlx(&slot);
		value = (unsigned)bytes[item];
	}
	return unused;
}

int
main(void)
{
	pthread_t first_thread, second_thread, popper_thread;

	litmus_pair_init(&slot, 0, 0);
	bytes[0] = bytes[1] = bytes[2] = 0;
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	(void)pthread_join(popper_thread, NULL);
	litmus_outcome(filled[1] + filled[2], item, value);
	assert(filled[1] + filled[2] == 1);
	assert(item == value);
	return 0;
}
