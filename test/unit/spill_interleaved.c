/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE_SPILL, with other calls before each atomic operation that lib/spill.c makes in a push or a
 * pop: the races for its state are lost each time.
 */
#include "interleave.h"

#include "../../lib/spill.c"

#include "unit.h"

#include "../support/disk.h"

#include <errno.h>

#define SIZE 65536
#define CAPACITY 2
#define LATE 100

static struct disk *disk;
static struct queue_log *queue_log;
static struct queue_bounded *queue;
static void (*when_encoded)(void);
static uintptr_t expected; /* the next item to be popped */

static void *
number(uintptr_t n)
{
	return (void *)n;
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)context;
	cr_assert_eq(reason, QUEUE_SPILLED);
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	void (*body)(void) = when_encoded;

	(void)context;
	when_encoded = NULL;
	if (body)
		body();
	if (size >= sizeof item)
		memcpy(buffer, &item, sizeof item);
	return sizeof item;
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	(void)context;
	cr_assert_eq(length, sizeof *item);
	memcpy(item, data, length);
	return 0;
}

static void
set_up(void)
{
	static const struct queue_log_options small = {.segment_size = SIZE,
						       .staging_size = 4 * SIZE};
	struct queue_options options = {.capacity = CAPACITY,
					.policy = QUEUE_SPILL,
					.on_drop = on_drop,
					.encode = encode,
					.decode = decode};

	disk = disk_new();
	cr_assert_eq(queue_impl_log_open(&queue_log, "log", &small, disk_table(disk)), 0);
	options.log = queue_log;
	cr_assert_eq(queue_create(&queue, &options), 0);
	expected = 1;
	for (uintptr_t n = 1; n <= CAPACITY; n++)
		cr_assert_eq(queue_push(queue, number(n)), 0);
}

/* Pops the next so many, and then there is nothing more. */
static void
drain(uintptr_t last, int why)
{
	void *item;

	for (; expected <= last; expected++) {
		cr_assert_eq(queue_try_pop(queue, &item), 0);
		cr_assert_eq(item, number(expected));
	}
	cr_assert_eq(queue_try_pop(queue, &item), why);
}

static void
tear_down(void)
{
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	disk_free(disk);
}

/* That takes no lock, so it can be anywhere. */
static void
close_it(void)
{
	cr_assert_eq(queue_close(queue), 0);
}

Test(spill_interleaved, a_push_that_is_stored_is_popped_though_the_queue_is_closed)
{
	unsigned stored = 0, refused = 0, after = 0, happened;

	do {
		int rc;

		set_up();
		interleave(after++, close_it);
		rc = queue_push(queue, number(CAPACITY + 1));
		happened = interleave_end();
		cr_assert(rc == 0 || (rc == -EPIPE && happened), "%d", rc);
		stored += rc == 0;
		refused += rc != 0;
		if (!happened)
			close_it();
		cr_assert_eq(queue_push(queue, number(LATE)), -EPIPE);
		drain(rc == 0 ? CAPACITY + 1 : CAPACITY, -EPIPE);
		tear_down();
	} while (happened);
	cr_assert_gt(stored, 1);
	cr_assert_gt(refused, 0);
}

Test(spill_interleaved, a_queue_is_closed_behind_the_last_item_of_the_log)
{
	unsigned after = 0, happened;
	void *item;

	do {
		set_up();
		cr_assert_eq(queue_push(queue, number(CAPACITY + 1)), 0);
		interleave(after++, close_it);
		cr_assert_eq(queue_try_pop(queue, &item), 0);
		cr_assert_eq(item, number(expected++));
		happened = interleave_end();
		if (!happened)
			close_it();
		cr_assert_eq(queue_push(queue, number(LATE)), -EPIPE);
		drain(CAPACITY + 1, -EPIPE);
		tear_down();
	} while (happened);
	cr_assert_gt(after, 5);
}

static bool is_late_pushed;

/* What a push does that has found nothing in the log, and was stopped for long then. */
static void
push_late(void)
{
	is_late_pushed = queue_impl_ring_push(&queue->ring, number(LATE)).rc == 0;
}

/* And a pop that has not come to look at the log. */
static void
pop_one(void)
{
	void *item;

	cr_assert_eq(queue_impl_ring_pop(&queue->ring, &item).rc, 0);
	cr_assert_eq(item, number(expected++));
}

/* It is before or behind the other one, and both come. */
Test(spill_interleaved, room_that_was_seen_may_be_taken_by_a_late_push)
{
	unsigned after = 0, happened, n_spilled = 0;

	do {
		uintptr_t seen[2] = {0};
		struct queue_stats stats;
		void *item;
		int n = 0;

		set_up();
		is_late_pushed = false;
		when_encoded = pop_one;
		interleave(after++, push_late);
		cr_assert_eq(queue_push(queue, number(CAPACITY + 1)), 0);
		happened = interleave_end();
		cr_assert_eq(queue_stats(queue, &stats), 0);
		n_spilled += stats.spilled > 0;
		cr_assert_eq(queue_try_pop(queue, &item), 0);
		cr_assert_eq(item, number(CAPACITY));
		while (queue_try_pop(queue, &item) == 0) {
			cr_assert_lt(n, 2);
			seen[n++] = (uintptr_t)item;
		}
		cr_assert_eq(n, 1 + is_late_pushed);
		cr_assert_eq(seen[0] + seen[1], CAPACITY + 1u + (is_late_pushed ? LATE : 0u));
		tear_down();
	} while (happened);
	cr_assert_gt(n_spilled, 0);
}
