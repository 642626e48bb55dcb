/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WAIT2: notify, wake_all -> leave, via word. Who leaves after a wake has seen what the notifier did
 * before it, though the wake came through the kernel.
 *
 *   notifier:  thing = 1; word: counted -> counted, waking
 *   waiter:    word (acquire): -> left, by a swap; if it was waking: the thing is there
 *
 * Outcomes (woken, thing, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   woken for nothing
 */
#include "litmus.h"

#define COUNTED 4
#define WAKING 1

static uint64_t word;
static int thing;
static unsigned woken, found;

static void *
notifier(void *unused)
{
	uint64_t seen = COUNTED;

	thing = 1;
	(void)queue_impl_cas_acq_rel(&word, &seen, COUNTED | WAKING); /* WAIT2 release */
	return unused;
}

static void *
waiter(void *unused)
{
	uint64_t seen = queue_impl_load_acq(&word);

	while (!queue_impl_cas_acq_rel(&word, &seen, 0)) /* WAIT2 acquire */
		continue;
	woken = seen & WAKING;
	found = woken ? (unsigned)thing : 0;
	return unused;
}

int
main(void)
{
	pthread_t notifier_thread, waiter_thread;

	queue_impl_store_rlx(&word, COUNTED);
	thing = 0;
	(void)pthread_create(&notifier_thread, NULL, notifier, NULL);
	(void)pthread_create(&waiter_thread, NULL, waiter, NULL);
	(void)pthread_join(notifier_thread, NULL);
	(void)pthread_join(waiter_thread, NULL);
	litmus_outcome(woken, found, 0);
	assert(!woken || found == 1);
	return 0;
}
