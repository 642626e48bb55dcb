/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue, with other calls before each atomic operation that lib/queue.c makes in a call:
 * the races of its slow paths are lost each time.
 */
#include "interleave.h"

#include "../../lib/queue.c"

#include "../../lib/log_impl.h"
#include "../support/disk.h"
#include "unit.h"

#include <poll.h>

#define CAPACITY 2
#define ITEMS 8

/* What has become of each item; its address is the item. */
static struct fate {
	unsigned pushed, popped, dropped;
} items[ITEMS];

static struct queue_bounded *queue;
static unsigned next_item;
static const char *others_calls;
static uint64_t others_take; /* how long the time is that others' items are inside */
static uint64_t now;
static int others_descriptor;

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	struct fate *fate = item;

	(void)context;
	cr_assert_eq(reason, QUEUE_EVICTED);
	fate->dropped++;
}

static uint64_t
driven_clock(void *context)
{
	(void)context;
	return now;
}

static void
set_up(enum queue_policy policy)
{
	struct queue_options options = {.capacity = CAPACITY, .policy = policy, .on_drop = on_drop};

	options.clock = driven_clock;
	memset(items, 0, sizeof items);
	next_item = 0;
	now = 0;
	cr_assert_eq(queue_create(&queue, &options), 0);
}

static int
push(void)
{
	struct fate *fate = &items[next_item++];
	int rc = queue_push(queue, fate);

	fate->pushed = rc == 0 || rc == QUEUE_EVICTED;
	return rc;
}

static int
pop(void)
{
	void *item = NULL;
	int rc = queue_try_pop(queue, &item);

	if (rc == 0)
		((struct fate *)item)->popped++;
	return rc;
}

static void
call_others(void)
{
	const char *what;

	for (what = others_calls; *what; what++) {
		switch (*what) {
		case 'P':
			(void)push();
			break;
		case 'O':
			(void)pop();
			break;
		case 'C':
			(void)queue_close(queue);
			break;
		case 'T':
			now += others_take;
			break;
		case 'F':
			others_descriptor = queue_fd(queue);
			break;
		}
	}
}

/* Each item that went in came out once, and none else; and the figures say the same. */
static void
check_all(unsigned n)
{
	struct queue_stats stats;
	uint64_t pushed = 0, popped = 0, dropped = 0, refused = 0;
	unsigned i;

	while (pop() == 0)
		continue;
	for (i = 0; i < next_item; i++) {
		cr_assert_eq(items[i].popped + items[i].dropped, items[i].pushed,
			     "item %u, others %s before operation %u", i, others_calls, n);
		pushed += items[i].pushed;
		popped += items[i].popped;
		dropped += items[i].dropped;
		refused += !items[i].pushed;
	}
	cr_assert_eq(queue_stats(queue, &stats), 0);
	cr_assert_eq(stats.pushed, pushed);
	cr_assert_eq(stats.popped, popped);
	cr_assert_eq(stats.evicted, dropped);
	cr_assert_eq(stats.rejected + stats.closed_rejected, refused);
	cr_assert_eq(stats.depth, 0);
	cr_assert_leq(stats.sojourn_samples, stats.popped);
}

/* The push, with the others' calls before its operation number n. False: it has not so many. */
static bool
push_happens(enum queue_policy policy, unsigned inside, unsigned n)
{
	struct queue_stats stats;
	int rc;
	bool happened;

	set_up(policy);
	while (inside-- > 0)
		cr_assert_eq(push(), 0);
	interleave(n, call_others);
	rc = push();
	happened = interleave_end() > 0;
	cr_assert_eq(queue_stats(queue, &stats), 0);
	cr_assert_leq(stats.depth, CAPACITY);
	/* Others' pushes may have taken the room that an eviction made, but not for ever. */
	if (policy == QUEUE_DISCARD_OLDEST)
		cr_assert(rc == 0 || rc == QUEUE_EVICTED || (rc == -EPIPE && stats.closed),
			  "%d, others %s before operation %u", rc, others_calls, n);
	/* An item is evicted from a full queue only, which is full again afterwards. */
	if (policy == QUEUE_DISCARD_OLDEST && others_calls[strspn(others_calls, "P")] == '\0')
		cr_assert_eq(stats.depth, next_item < CAPACITY ? next_item : CAPACITY,
			     "others %s before operation %u", others_calls, n);
	check_all(n);
	cr_assert_eq(queue_destroy(queue), 0);
	return happened;
}

Test(queue_interleaved, a_push_loses_nothing_whatever_others_do_inside)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_DISCARD_OLDEST};
	static const char *const sequences[] = {"P", "O", "C", "PP", "OO", "PO", "OP", "OC", "PC"};
	unsigned ways = 0, inside, n;
	size_t i, p;

	for (p = 0; p < sizeof policies / sizeof *policies; p++)
		for (i = 0; i < sizeof sequences / sizeof *sequences; i++)
			for (inside = 0; inside <= CAPACITY; inside++) {
				others_calls = sequences[i];
				for (n = 0; push_happens(policies[p], inside, n); n++)
					ways++;
			}
	cr_assert_gt(ways, 300);
}

/* Our item is inside for 100, the others' for `others_take`, while ours is being popped. */
static bool
pop_happens(unsigned n)
{
	uint64_t longer = others_take > 100 ? others_take : 100;
	uint64_t shorter = others_take < 100 ? others_take : 100;
	struct queue_stats stats;
	bool happened;

	set_up(QUEUE_ABORT);
	cr_assert_eq(push(), 0);
	now += 100;
	interleave(n, call_others);
	cr_assert_eq(pop(), 0);
	happened = interleave_end() > 0;
	cr_assert_eq(queue_stats(queue, &stats), 0);
	cr_assert_geq(stats.sojourn_samples, 1);
	/* The shorter of two must not take the place of the longer. Alone, it may be either. */
	cr_assert_geq(stats.sojourn_max, stats.sojourn_samples == 2 ? longer : shorter,
		      "others %s before operation %u", others_calls, n);
	cr_assert_leq(stats.sojourn_p99, stats.sojourn_max);
	check_all(n);
	cr_assert_eq(queue_destroy(queue), 0);
	return happened;
}

Test(queue_interleaved, the_longest_sojourn_is_kept_when_two_are_recorded_at_once)
{
	static const uint64_t times[] = {50, 100, 200};
	unsigned ways = 0, n;
	size_t i;

	others_calls = "PTO";
	for (i = 0; i < sizeof times / sizeof *times; i++) {
		others_take = times[i];
		for (n = 0; pop_happens(n); n++)
			ways++;
	}
	cr_assert_gt(ways, 20);
}

static bool
is_readable(int descriptor)
{
	struct pollfd poll_for = {.fd = descriptor, .events = POLLIN};

	return poll(&poll_for, 1, 0) == 1;
}

Test(queue_interleaved, a_descriptor_asked_for_twice_at_once_is_one_and_right)
{
	static const char *const sequences[] = {"F", "FP", "PF", "FPO", "P", "PO", "C"};
	bool happened;
	unsigned n;
	size_t i;

	for (i = 0; i < sizeof sequences / sizeof *sequences; i++) {
		n = 0;
		do {
			int descriptor;

			others_calls = sequences[i];
			others_descriptor = -1;
			set_up(QUEUE_ABORT);
			interleave(n, call_others);
			descriptor = queue_fd(queue);
			happened = interleave_end() > 0;
			cr_assert_geq(descriptor, 0);
			if (others_descriptor >= 0)
				cr_assert_eq(descriptor, others_descriptor);
			/* A pop that looked before there was a descriptor may leave it up. */
			if (queue_depth_approx(queue) > 0)
				cr_assert(is_readable(descriptor), "%s before operation %u",
					  others_calls, n);
			while (pop() == 0)
				continue;
			/* Down now, unless it is closed and so up for ever. */
			cr_assert_eq(is_readable(descriptor), pop() == -EPIPE,
				     "%s before operation %u", others_calls, n);
			cr_assert_eq(queue_destroy(queue), 0);
			n++;
		} while (happened);
	}
}

/* ---- Closing a queue with a log --------------------------------------------------------------- */

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	(void)context;
	if (size >= sizeof item)
		memcpy(buffer, &item, sizeof item);
	return sizeof item;
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	(void)context;
	memcpy(item, data, length);
	return 0;
}

static void
ignore_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)context;
	cr_assert_eq(reason, QUEUE_SPILLED);
}

static void
close_it(void)
{
	cr_assert_eq(queue_close(queue), 0);
}

static int others_rc;

/* It finds the ring full. */
static void
spill_one(void)
{
	others_rc = queue_push(queue, &items[CAPACITY]);
}

/* What is stored before it is closed is popped, what comes later is refused; at each moment. */
Test(queue_interleaved, closing_with_a_log_is_one_moment)
{
	static const struct queue_log_options small = {.segment_size = QUEUE_LOG_SEGMENT_MIN,
						       .staging_size = 4 * QUEUE_LOG_SEGMENT_MIN};
	static void (*const bodies[])(void) = {close_it, spill_one};
	struct queue_options options = {.capacity = CAPACITY,
					.policy = QUEUE_SPILL,
					.on_drop = ignore_drop,
					.encode = encode,
					.decode = decode};
	unsigned stored = 0;

	for (int body = 0; body < 2; body++) {
		unsigned after = 0, happened;

		do {
			struct disk *disk = disk_new();
			uintptr_t n = 0;
			void *item;
			int rc;

			cr_assert_eq(
				queue_impl_log_open(&options.log, "log", &small, disk_table(disk)),
				0);
			cr_assert_eq(queue_create(&queue, &options), 0);
			for (int i = 0; i < CAPACITY; i++)
				cr_assert_eq(queue_push(queue, &items[i]), 0);
			others_rc = -EPIPE;
			interleave(after++, bodies[body]);
			cr_assert_eq(queue_close(queue), 0);
			happened = interleave_end();
			cr_assert(others_rc == 0 || others_rc == -EPIPE, "%d", others_rc);
			stored += others_rc == 0;
			cr_assert_eq(queue_push(queue, &items[0]), -EPIPE);
			while ((rc = queue_try_pop(queue, &item)) == 0)
				cr_assert_eq(item, &items[n++]);
			cr_assert_eq(rc, -EPIPE, "%d", rc);
			cr_assert_eq(n, CAPACITY + (others_rc == 0));
			cr_assert_eq(queue_destroy(queue), 0);
			cr_assert_eq(queue_log_close(options.log), 0);
			disk_free(disk);
		} while (happened);
		cr_assert_gt(after, 2);
	}
	cr_assert_gt(stored, 1);
}
