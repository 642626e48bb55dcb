/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a descriptor costs after it was asked for.
 */
#include <conveyor/queue.h>

#include "descriptor_impl.h"

#include <poll.h>
#include <sys/resource.h>

#include "unit.h"

/* Of the state, as lib/descriptor.c says. */
#define DUE UINT64_C(1)
#define DEBT_ONE (UINT64_C(1) << 15)
#define TURN_ONE (UINT64_C(1) << 31)
#define DEBT (TURN_ONE - DEBT_ONE)

static bool
say(const void *ready)
{
	return *(const bool *)ready;
}

Test(descriptor_cost, one_read_answers_for_all_writes_before_it)
{
	struct queue_impl_descriptor descriptor = {.number = 0};
	bool ready = true;

	cr_assert_geq(queue_impl_descriptor_get(&descriptor), 0);
	cr_assert(queue_impl_descriptor_settle(&descriptor, say, &ready));
	/* As if another thread had not ended its write yet: this one writes as well. */
	descriptor.state |= DUE;
	cr_assert(queue_impl_descriptor_settle(&descriptor, say, &ready));
	cr_assert_eq(descriptor.state & DEBT, 2 * DEBT_ONE);
	ready = false;
	cr_assert(!queue_impl_descriptor_settle(&descriptor, say, &ready));
	cr_assert_eq(descriptor.state & DEBT, 0);
	queue_impl_descriptor_fini(&descriptor);
}

Test(descriptor_cost, that_is_there_can_be_asked_for_when_there_are_no_more)
{
	const struct queue_options options = {.capacity = 1};
	struct rlimit few, before;
	struct queue_bounded *queue;
	int number;

	cr_assert_eq(queue_create(&queue, &options), 0);
	number = queue_fd(queue);
	cr_assert_geq(number, 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	cr_assert_eq(queue_fd(queue), number);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(descriptor_cost, that_a_pop_has_left_up_is_lowered_by_the_next)
{
	const struct queue_options options = {.capacity = 1};
	struct queue_bounded *queue;
	struct pollfd polled = {.events = POLLIN};
	void *item = NULL;

	cr_assert_eq(queue_create(&queue, &options), 0);
	polled.fd = queue_fd(queue);
	cr_assert_eq(queue_try_push(queue, NULL), 0);
	/* As by a pop that has looked whether there is a descriptor before there was one. */
	cr_assert_eq(queue_ring_try_pop(&queue->ring, &item), 0);
	cr_assert_eq(poll(&polled, 1, 0), 1);
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	cr_assert_eq(poll(&polled, 1, 0), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}
