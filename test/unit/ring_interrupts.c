/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who takes plain stores away from others first says so in the word that guards them, and then makes
 * them leave their sequences: the ring's calls of queue_impl_rseq_interrupt, and that one's system
 * call, are seen on their way. Nothing else can be sure to notice when one is missing, since it
 * takes a thread that is inside the few instructions of a sequence on another processor.
 */
/* LIBS: -Wl,--wrap=queue_impl_rseq_interrupt -Wl,--wrap=syscall */
#include <conveyor/ring.h>

#include "rseq_impl.h"
#include "wrap_syscall.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "unit.h"

#define PRIVATE_EXPEDITED_RSEQ (1 << 7) /* a command of membarrier(2) */

static struct queue_ring *ring;

/* What the ring was like when others were interrupted first. */
static struct {
	int times;
	uint64_t producer, consumer, mode;
} interrupts;
static int membarriers;

void __real_queue_impl_rseq_interrupt(void);
void __wrap_queue_impl_rseq_interrupt(void);

void
__wrap_queue_impl_rseq_interrupt(void)
{
	if (interrupts.times++ == 0) {
		interrupts.producer = queue_impl_load_acq(&ring->producer);
		interrupts.consumer = queue_impl_load_acq(&ring->consumer);
		interrupts.mode = queue_impl_load_acq(&ring->mode);
	}
	__real_queue_impl_rseq_interrupt();
}

static long
on_syscall(long number, const long *arguments)
{
	if (number == SYS_membarrier && arguments[0] == PRIVATE_EXPEDITED_RSEQ)
		membarriers++;
	return real_syscall(number, arguments);
}

static void *
push_one(void *unused)
{
	cr_assert_eq(queue_ring_try_push(ring, NULL), 0);
	return unused;
}

static void *
pop_one(void *unused)
{
	void *item;

	cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
	return unused;
}

static void
by_another_thread(void *(*call)(void *))
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, call, NULL), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

/* This thread has pushed twice and popped, so that both ends are its own, where there are sequences. */
static bool
set_up(void)
{
	void *item;

	cr_assert_eq(queue_ring_create(&ring, 4, 0, NULL), 0);
	cr_assert_eq(queue_ring_try_push(ring, NULL), 0);
	cr_assert_eq(queue_ring_try_push(ring, NULL), 0);
	cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
	interrupts.times = membarriers = 0;
	if (ring->rseq == 0)
		return false;
	cr_assert_gt(ring->producer, QUEUE_IMPL_RING_ANYBODY);
	cr_assert_eq(ring->producer, ring->consumer);
	return true;
}

static void
check_ends(void)
{
	cr_assert_eq(interrupts.times, 1);
	cr_assert_eq(interrupts.producer, QUEUE_IMPL_RING_UNDECIDED);
	cr_assert_eq(interrupts.consumer, QUEUE_IMPL_RING_UNDECIDED);
	cr_assert_eq(ring->producer, QUEUE_IMPL_RING_ANYBODY);
	cr_assert_eq(ring->consumer, QUEUE_IMPL_RING_ANYBODY);
}

Test(ring_interrupts, a_second_producer_takes_both_ends_from_the_first_thread)
{
	bool sequences = set_up();

	by_another_thread(push_one);
	if (sequences)
		check_ends();
	queue_ring_destroy(ring);
}

Test(ring_interrupts, a_second_consumer_takes_both_ends_from_the_first_thread)
{
	bool sequences = set_up();

	by_another_thread(pop_one);
	if (sequences)
		check_ends();
	queue_ring_destroy(ring);
}

Test(ring_interrupts, who_seals_revokes_the_stores_that_may_be_under_way)
{
	bool sequences = set_up();
	uint64_t mode;

	pop_one(NULL);
	queue_ring_close(ring);
	mode = ring->mode;
	interrupts.times = 0;
	cr_assert_eq(queue_ring_try_pop(ring, &(void *){NULL}), -EPIPE);
	if (sequences) {
		cr_assert_eq(interrupts.times, 1);
		cr_assert_eq(interrupts.mode, mode + QUEUE_IMPL_RING_REVOKED);
	}
	queue_ring_destroy(ring);
}

Test(ring_interrupts, an_interruption_is_a_system_call)
{
	bool sequences = set_up();

	__real_queue_impl_rseq_interrupt();
	cr_assert_eq(membarriers, sequences ? 1 : 0);
	queue_ring_destroy(ring);
}
