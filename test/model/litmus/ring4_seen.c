/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING4, through the copy of head: what the popper did before comes before what is done by a push that
 * learns of the room from head_seen, which another push has written.
 *
 *   popper:  uses the item; head = 1 (release)
 *   first:   h = head (acquire); head_seen = h (release)
 *   second:  seen = head_seen (acquire); if it is 1: uses what the popper has left
 *
 * Outcomes (seen, used, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0
 */
#include "litmus.h"

static uint64_t head, head_seen;
static int item;
static uint64_t seen, used;

static void *
popper(void *unused)
{
	item = 1;
	queue_impl_store_rel(&head, 1); /* RING4 release */
	return unused;
}

static void *
first(void *unused)
{
	queue_impl_store_rel(&head_seen, queue_impl_load_acq(&head)); /* RING4 both */
	return unused;
}

static void *
second(void *unused)
{
	used = 0;
	seen = queue_impl_load_acq(&head_seen); /* RING4 acquire */
	if (seen)
		used = (uint64_t)item;
	return unused;
}

int
main(void)
{
	pthread_t popper_thread, first_thread, second_thread;

	queue_impl_store_rlx(&head, 0);
	queue_impl_store_rlx(&head_seen, 0);
	item = 0;
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_join(popper_thread, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	litmus_outcome((unsigned)seen, (unsigned)used, 0);
	assert(seen == 0 || used == 1);
	return 0;
}
