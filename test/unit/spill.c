/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE_SPILL: the contract of queue_spill(3) line by line, with a log on a disk in memory. Items are
 * numbers; what comes out is what went in, in order, whether it was on the disk meanwhile or not.
 */
#include "unit.h"

#include "../../lib/log_impl.h"
#include "../../lib/queue_impl.h"
#include "../../lib/spill_impl.h"
#include "../support/disk.h"

#include <conveyor/pool.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 20000 /* milliseconds */
#define SIZE 65536
#define REASONS (QUEUE_SPILLED + 1)

static struct disk *disk;
static struct queue_log *queue_log;
static struct queue_bounded *queue;
static uint64_t drops[REASONS], last_dropped[REASONS];
static int encode_fails;      /* an error number, once the item is that one */
static uint32_t decode_fails; /* the same, positive */
static uintptr_t bad_item;
static size_t item_size = sizeof(uint64_t); /* bytes it is encoded in */
static uint64_t encodes;
static void (*when_encoded)(void);
static void (*when_decoded)(uintptr_t n);
static char context;

static const struct queue_log_options small = {.segment_size = SIZE, .staging_size = 4 * SIZE};

static void *
number(uintptr_t n)
{
	return (void *)n;
}

static void
on_drop(void *item, enum queue_reason reason, void *given)
{
	cr_assert_eq(given, &context);
	queue_impl_add_rlx(&drops[reason], 1);
	queue_impl_store_rlx(&last_dropped[reason], (uintptr_t)item);
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *given)
{
	uint64_t n = (uintptr_t)item;

	cr_assert_eq(given, &context);
	queue_impl_add_rlx(&encodes, 1);
	if (when_encoded)
		when_encoded();
	if (encode_fails && n == bad_item)
		return encode_fails;
	if (size >= item_size) {
		memset(buffer, (int)n, item_size);
		if (item_size >= sizeof n)
			memcpy(buffer, &n, sizeof n);
	}
	return (ptrdiff_t)item_size;
}

static int
decode(const void *data, size_t length, void **item, void *given)
{
	const unsigned char *bytes = data;
	uint64_t n;

	cr_assert_eq(given, &context);
	cr_assert_eq(length, item_size, "%zu bytes", length);
	cr_assert_eq((uintptr_t)data % 8, 0);
	memcpy(&n, data, sizeof n);
	if (when_decoded)
		when_decoded((uintptr_t)n);
	if (queue_impl_load32_acq(&decode_fails) != 0 && n == bad_item)
		return -EPROTO;
	for (size_t i = sizeof n; i < length; i++)
		cr_assert_eq(bytes[i], (unsigned char)n, "%" PRIu64 " at %zu", n, i);
	*item = number((uintptr_t)n);
	return 0;
}

static struct queue_options
options_of(uint64_t capacity)
{
	struct queue_options options = {
		.capacity = capacity,
		.policy = QUEUE_SPILL,
		.on_drop = on_drop,
		.context = &context,
		.log = queue_log,
		.encode = encode,
		.decode = decode,
	};

	return options;
}

static void
open_log(const struct queue_log_options *options)
{
	int rc = queue_impl_log_open(&queue_log, "log", options, disk_table(disk));

	cr_assert_eq(rc, 0, "open: %d", rc);
}

static void
create(const struct queue_options *options)
{
	int rc = queue_create(&queue, options);

	cr_assert_eq(rc, 0, "create: %d", rc);
}

static void
begin(uint64_t capacity)
{
	struct queue_options options;

	disk = disk_new();
	open_log(&small);
	options = options_of(capacity);
	create(&options);
}

static void
end(void)
{
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	disk_free(disk);
}

/* From first to last. */
static void
push(uintptr_t first, uintptr_t last)
{
	for (uintptr_t n = first; n <= last; n++) {
		int rc = queue_push(queue, number(n));

		cr_assert_eq(rc, 0, "%ju: %d", (uintmax_t)n, rc);
	}
}

static void
pop(uintptr_t first, uintptr_t last)
{
	for (uintptr_t n = first; n <= last; n++) {
		void *item = NULL;
		int rc = queue_try_pop(queue, &item);

		cr_assert_eq(rc, 0, "%ju: %d", (uintmax_t)n, rc);
		cr_assert_eq(item, number(n), "%ju instead of %ju", (uintmax_t)(uintptr_t)item,
			     (uintmax_t)n);
	}
}

static void
pop_nothing(int why)
{
	void *item = &context;

	cr_assert_eq(queue_try_pop(queue, &item), why);
	cr_assert_eq(item, &context);
}

static struct queue_stats
stats(void)
{
	struct queue_stats now;

	cr_assert_eq(queue_stats(queue, &now), 0);
	cr_assert_eq(now.pushed, now.popped + now.evicted + now.expired + now.depth);
	return now;
}

static bool
is_active(void)
{
	return (queue_impl_load32_rlx(&queue->spill->state) & QUEUE_IMPL_SPILL_ACTIVE) != 0;
}

/* The machine stops, or the process does. */
static void
crash(enum disk_loss loss)
{
	struct disk *then = disk_crash(disk, loss, 1);

	(void)queue_destroy(queue);
	(void)queue_log_close(queue_log);
	disk_free(disk);
	disk = then;
	open_log(&small);
}

/* ---- Options ----------------------------------------------------------------------------------- */

Test(spill, refuses_what_is_not_valid)
{
	struct queue_options good, bad;
	struct queue_bounded *out = (void *)&context;

	disk = disk_new();
	open_log(&small);
	good = options_of(10);
	cr_assert_neq(queue_footprint(&good), 0);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		cr_assert_eq(queue_footprint(&bad), 0, #change);                                   \
		cr_assert_eq(queue_create(&out, &bad), -EINVAL, #change);                          \
		cr_assert_eq(out, (void *)&context, #change);                                      \
	} while (0)
	REFUSED(bad.log = NULL);
	REFUSED(bad.encode = NULL);
	REFUSED(bad.decode = NULL);
	REFUSED(bad.on_drop = NULL);
	REFUSED(bad.high = 11);
	REFUSED(bad.low = 10);
	REFUSED(bad.high = bad.low = 5);
	REFUSED(bad.flags = QUEUE_SINGLE_PRODUCER);
	REFUSED(bad.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER);
	/* Other policies know nothing of logs. */
	bad = options_of(10);
	bad = (struct queue_options){.capacity = 10, .policy = QUEUE_ABORT, .on_drop = on_drop};
	good = bad;
	REFUSED(bad.log = queue_log);
	REFUSED(bad.encode = encode);
	REFUSED(bad.decode = decode);
	REFUSED(bad.high = 5);
	REFUSED(bad.low = 5);
	cr_assert_eq(queue_log_close(queue_log), 0);
	disk_free(disk);
}

Test(spill, refuses_a_log_that_forgets)
{
	struct queue_log_options forgetful[] = {small, small};
	struct queue_options options;

	forgetful[0].retain_bytes = 1;
	forgetful[1].retain_age = 1;
	for (size_t i = 0; i < 2; i++) {
		disk = disk_new();
		open_log(&forgetful[i]);
		options = options_of(4);
		cr_assert_eq(queue_create(&queue, &options), -EINVAL);
		cr_assert_eq(queue_log_close(queue_log), 0);
		disk_free(disk);
	}
}

Test(spill, refuses_a_log_that_another_queue_uses)
{
	struct queue_options options;
	struct queue_bounded *second;

	begin(4);
	options = options_of(4);
	cr_assert_eq(queue_create(&second, &options), -EBUSY);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_create(&queue, &options), 0);
	end();
}

/* ---- First in, first out ----------------------------------------------------------------------- */

Test(spill, does_not_touch_the_log_below_the_high_mark)
{
	begin(8);
	for (uintptr_t round = 0; round < 100; round++) {
		push(round * 8, round * 8 + 7);
		pop(round * 8, round * 8 + 7);
		pop_nothing(-EAGAIN);
	}
	cr_assert_eq(encodes, 0);
	cr_assert_eq(stats().spilled, 0);
	cr_assert_eq(stats().backlog, 0);
	cr_assert_eq(stats().pushed, 800);
	cr_assert_eq(is_active(), false);
	end();
}

Test(spill, keeps_the_order_across_memory_and_disk)
{
	begin(8);
	push(1, 1000);
	cr_assert_eq(stats().depth, 8);
	cr_assert_eq(stats().spilled, 992);
	cr_assert_eq(stats().backlog, 992);
	cr_assert_eq(drops[QUEUE_SPILLED], 992);
	cr_assert_eq(last_dropped[QUEUE_SPILLED], 1000);
	pop(1, 1000);
	pop_nothing(-EAGAIN);
	cr_assert_eq(stats().backlog, 0);
	cr_assert_eq(stats().popped, 1000);
	cr_assert_eq(is_active(), false);
	/* In memory again. */
	push(1001, 1008);
	cr_assert_eq(stats().spilled, 992);
	pop(1001, 1008);
	end();
}

/* A thread has taken a number in the ring, and stops before it fills its place. */
Test(spill, a_push_that_stops_hides_nothing_that_is_stored)
{
	begin(1);
	queue->ring.tail++;
	push(7, 7);
	pop(7, 7);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, takes_turns)
{
	uintptr_t in = 0, out = 0;

	srand(1);
	begin(7);
	for (int round = 0; round < 400; round++) {
		uintptr_t n = (uintptr_t)rand() % 40;

		push(in + 1, in + n);
		in += n;
		n = (uintptr_t)rand() % 40;
		if (n > in - out)
			n = in - out;
		pop(out + 1, out + n);
		out += n;
		if (in == out)
			pop_nothing(-EAGAIN);
		cr_assert_eq(stats().depth + stats().backlog, in - out);
	}
	pop(out + 1, in);
	pop_nothing(-EAGAIN);
	cr_assert_gt(stats().spilled, 0);
	cr_assert_gt(in, stats().spilled);
	end();
}

Test(spill, works_at_any_mark)
{
	static const struct {
		uint64_t capacity, high, low;
	} marks[] = {
		{1, 0, 0}, {2, 0, 0},	 {2, 1, 0},    {2, 0, 1},    {3, 2, 1},
		{8, 2, 1}, {100, 0, 99}, {100, 10, 9}, {5000, 0, 1}, {5000, 0, 4999},
	};

	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
		struct queue_options options;
		uint64_t high = marks[i].high ? marks[i].high : marks[i].capacity;
		uintptr_t items = 2 * marks[i].capacity + 2000;

		memset(drops, 0, sizeof drops);
		disk = disk_new();
		open_log(&small);
		options = options_of(marks[i].capacity);
		options.high = marks[i].high;
		options.low = marks[i].low;
		create(&options);
		push(1, items);
		cr_assert_eq(stats().depth, high, "%zu", i);
		cr_assert_eq(drops[QUEUE_SPILLED], items - high, "%zu", i);
		for (uintptr_t n = 1; n <= items; n++) {
			pop(n, n);
			cr_assert_leq(stats().depth, high, "%zu", i);
		}
		pop_nothing(-EAGAIN);
		end();
	}
}

Test(spill, comes_back_when_the_low_mark_is_reached_and_not_before)
{
	struct queue_options options;

	disk = disk_new();
	open_log(&small);
	options = options_of(10);
	options.low = 3;
	create(&options);
	push(1, 30);
	pop(1, 6);
	cr_assert_eq(stats().depth, 4);
	cr_assert_eq(stats().backlog, 20);
	pop(7, 7);
	cr_assert_eq(stats().depth, 10);
	cr_assert_eq(stats().backlog, 13);
	pop(8, 30);
	end();
}

Test(spill, pops_batches_across_memory_and_disk)
{
	void *items[50];
	uintptr_t next = 1;
	int n;

	begin(16);
	push(1, 1000);
	while (next <= 1000) {
		n = next % 2 ? queue_pop_n(queue, items, 50) : queue_try_pop_n(queue, items, 3);
		cr_assert_gt(n, 0);
		for (int i = 0; i < n; i++)
			cr_assert_eq(items[i], number(next++));
	}
	cr_assert_eq(queue_try_pop_n(queue, items, 50), 0);
	end();
}

Test(spill, items_of_any_length_come_back_whole)
{
	static const size_t sizes[] = {8, 1023, 1024, 1025, 15000, 15300};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		item_size = sizes[i];
		begin(2);
		push(1, 20);
		pop(1, 20);
		end();
	}
}

static void
grow_item(void)
{
	item_size += item_size < 5000 ? 1500 : 0;
}

/* What it is encoded from may be changed by others, until it fits. */
Test(spill, an_item_that_comes_out_longer_each_time_comes_back_whole)
{
	begin(1);
	push(1, 1);
	when_encoded = grow_item;
	push(2, 2);
	cr_assert_gt(encodes, 3);
	when_encoded = NULL;
	pop(1, 2);
	end();
}

Test(spill, an_item_as_long_as_the_log_takes_needs_a_larger_buffer)
{
	const struct queue_log_options large = {.segment_size = 1 << 20, .staging_size = 1 << 20};
	struct queue_options options;

	disk = disk_new();
	open_log(&large);
	options = options_of(1);
	create(&options);
	item_size = queue_log_length_max(queue_log);
	cr_assert_gt(item_size, 100000);
	push(1, 5);
	pop(1, 5);
	item_size++;
	push(6, 6);
	cr_assert_eq(queue_push(queue, number(7)), -EMSGSIZE);
	cr_assert_eq(stats().rejected, 1);
	pop(6, 6);
	pop_nothing(-EAGAIN);
	end();
}

/* ---- The other pushes -------------------------------------------------------------------------- */

Test(spill, try_push_and_push_n_use_memory_up_to_the_capacity_and_never_the_log)
{
	struct queue_options options;
	void *more[] = {number(5), number(6), number(7), number(8), number(9)};

	disk = disk_new();
	open_log(&small);
	options = options_of(8);
	options.high = 3;
	create(&options);
	push(1, 3);
	cr_assert_eq(queue_try_push(queue, number(4)), 0);
	cr_assert_eq(queue_push_n(queue, more, 5), 4);
	cr_assert_eq(queue_try_push(queue, number(9)), -EAGAIN);
	cr_assert_eq(stats().depth, 8);
	cr_assert_eq(stats().rejected, 2);
	cr_assert_eq(encodes, 0);
	push(9, 9);
	pop(1, 6);
	/* There is room, but not in front of what is in the log. */
	cr_assert_eq(is_active(), true);
	cr_assert_eq(queue_try_push(queue, number(10)), -EAGAIN);
	cr_assert_eq(queue_push_n(queue, more, 5), 0);
	cr_assert_eq(queue_push_n(queue, more, 0), 0);
	push(10, 10);
	pop(7, 10);
	cr_assert_eq(queue_try_push(queue, number(11)), 0);
	pop(11, 11);
	end();
}

Test(spill, push_until_spills_and_a_deadline_that_has_passed_makes_it_a_try)
{
	begin(2);
	push(1, 2);
	cr_assert_eq(queue_push_until(queue, number(3), 0), -ETIMEDOUT);
	cr_assert_eq(queue_push_until(queue, number(3), queue_after_ms(PATIENCE)), 0);
	cr_assert_eq(queue_push_until(queue, number(4), QUEUE_NEVER), 0);
	cr_assert_eq(stats().spilled, 2);
	cr_assert_eq(stats().rejected, 1);
	pop(1, 4);
	end();
}

static uint64_t
driven_clock(void *given)
{
	cr_assert_eq(given, &context);
	return 1000;
}

Test(spill, push_until_goes_by_the_clock_of_the_queue)
{
	struct queue_options options;

	disk = disk_new();
	open_log(&small);
	options = options_of(1);
	options.clock = driven_clock;
	create(&options);
	push(1, 1);
	cr_assert_eq(queue_push_until(queue, number(2), 1000), -ETIMEDOUT);
	cr_assert_eq(queue_push_until(queue, number(2), 1001), 0);
	cr_assert_eq(stats().spilled, 1);
	pop(1, 2);
	end();
}

static uint32_t holding; /* 1: the committer is to wait; 2: it does */

static void
hold(uint64_t position, void *unused)
{
	(void)position, (void)unused;
	if (queue_impl_load32_acq(&holding) != 1)
		return;
	queue_impl_store32_rel(&holding, 2);
	while (queue_impl_load32_acq(&holding) == 2)
		usleep(100);
}

/* Nothing is written, and the log's memory is full of items. */
Test(spill, push_until_does_not_wait_longer_for_room_in_the_log, .timeout = 60)
{
	static unsigned char bytes[1000];
	struct queue_log_options slow = small;
	uint64_t n, give_up = queue_after_ms(PATIENCE);
	struct queue_log_stats log_stats;
	struct queue_options options;
	bool is_held = false;
	int rc = 0;

	slow.segment_size = 8 * SIZE;
	slow.on_durable = hold;
	item_size = sizeof bytes;
	disk = disk_new();
	open_log(&slow);
	options = options_of(1);
	create(&options);
	push(1, 1);
	do
		queue_log_stats(queue_log, &log_stats);
	while (log_stats.spares < 2 && queue_now() < give_up);
	queue_impl_store32_rel(&holding, 1);
	for (n = 2; !is_held || rc == 0; n += rc == 0) {
		/* Before it waits it has given memory back, and does not do so any more. */
		is_held = queue_impl_load32_acq(&holding) == 2;
		memset(bytes, (int)n, sizeof bytes);
		memcpy(bytes, &n, sizeof n);
		rc = queue_impl_log_try_append(queue_log, bytes, sizeof bytes, NULL);
	}
	cr_assert_eq(rc, -EAGAIN, "%d", rc);
	cr_assert_eq(queue_push_until(queue, number(n), queue_after_ms(5)), -ETIMEDOUT);
	queue_impl_store32_rel(&holding, 0);
	push(n, n);
	pop(1, n);
	pop_nothing(-EAGAIN);
	end();
}

/* ---- Closing ----------------------------------------------------------------------------------- */

Test(spill, close_with_a_backlog_drains_memory_and_disk)
{
	begin(4);
	push(1, 100);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(stats().closed, 1);
	cr_assert_eq(queue_push(queue, number(101)), -EPIPE);
	cr_assert_eq(queue_try_push(queue, number(101)), -EPIPE);
	cr_assert_eq(queue_push_until(queue, number(101), QUEUE_NEVER), -EPIPE);
	cr_assert_eq(queue_push_n(queue, (void *[]){number(101)}, 1), -EPIPE);
	cr_assert_eq(stats().closed_rejected, 4);
	pop(1, 100);
	pop_nothing(-EPIPE);
	pop_nothing(-EPIPE);
	end();
}

Test(spill, close_without_a_backlog_is_that_of_any_queue)
{
	begin(4);
	push(1, 3);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_push(queue, number(101)), -EPIPE);
	pop(1, 3);
	pop_nothing(-EPIPE);
	end();
}

static void
close_it(void)
{
	when_encoded = NULL;
	cr_assert_eq(queue_close(queue), 0);
}

/* On its way from the ring, which was full, to the log. */
Test(spill, a_push_is_refused_when_it_is_closed_on_its_way)
{
	for (uintptr_t backlog = 0; backlog <= 3; backlog += 3) {
		begin(4);
		push(1, 4 + backlog);
		when_encoded = close_it;
		cr_assert_eq(queue_push(queue, number(99)), -EPIPE);
		cr_assert_eq(stats().closed_rejected, 1);
		pop(1, 4 + backlog);
		pop_nothing(-EPIPE);
		end();
	}
}

static void *
pop_one(void *item)
{
	return (void *)(intptr_t)queue_pop(queue, item);
}

static void
wait_for_sleepers(uint64_t waits)
{
	uint64_t give_up = queue_after_ms(PATIENCE);

	while (stats().waits < waits && queue_now() < give_up)
		usleep(100);
	cr_assert_geq(stats().waits, waits);
}

Test(spill, close_wakes_all_who_wait)
{
	pthread_t threads[3];
	void *item, *rc;

	begin(4);
	push(1, 9);
	pop(1, 9);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, pop_one, &item), 0);
	wait_for_sleepers(3);
	cr_assert_eq(queue_close(queue), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &rc);
		cr_assert_eq((intptr_t)rc, -EPIPE);
	}
	end();
}

static void *
push_one(void *item)
{
	return (void *)(intptr_t)queue_push(queue, item);
}

Test(spill, close_does_not_end_a_push_that_waits_for_the_disk)
{
	uint64_t give_up = queue_after_ms(PATIENCE);
	struct queue_log_options slow = small;
	struct queue_options options;
	pthread_t thread;
	void *rc;

	slow.on_durable = hold;
	disk = disk_new();
	open_log(&slow);
	options = options_of(1);
	create(&options);
	push(1, 1);
	/* What the log has to write about the queue's reader is done before it is held. */
	cr_assert_eq(queue_log_sync(queue_log, QUEUE_NEVER), 0);
	queue_impl_store32_rel(&holding, 1);
	push(2, 2);
	while (queue_impl_load32_acq(&holding) == 1 && queue_now() < give_up)
		usleep(100);
	cr_assert_eq(pthread_create(&thread, NULL, push_one, number(3)), 0);
	while (queue_impl_load32_acq(&queue_log->waiting) == 0 && queue_now() < give_up)
		usleep(100);
	cr_assert_eq(queue_impl_load32_acq(&queue_log->waiting), 1);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_destroy(queue), -EBUSY);
	cr_assert_eq(queue_impl_load32_acq(&queue_log->waiting), 1);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, &rc), 0);
	cr_assert_eq((intptr_t)rc, 0);
	pop(1, 3);
	pop_nothing(-EPIPE);
	end();
}

/* ---- What a restart finds ---------------------------------------------------------------------- */

Test(spill, destroy_leaves_the_backlog_for_the_next_queue)
{
	struct queue_options options;

	begin(4);
	push(1, 20);
	pop(1, 2);
	/* 3 and 4 have never been in the log. */
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(drops[QUEUE_DESTROYED], 4);
	cr_assert_eq(queue_log_close(queue_log), 0);
	open_log(&small);
	options = options_of(4);
	create(&options);
	cr_assert_geq(stats().backlog, 1);
	cr_assert_eq(is_active(), true);
	/* Behind those from before. */
	push(21, 25);
	pop(5, 25);
	pop_nothing(-EAGAIN);
	cr_assert_eq(stats().backlog, 0);
	end();
}

Test(spill, an_empty_log_is_nothing_to_wait_for)
{
	struct queue_options options;

	begin(4);
	push(1, 20);
	pop(1, 20);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	open_log(&small);
	options = options_of(4);
	create(&options);
	cr_assert_eq(is_active(), false);
	cr_assert_eq(stats().backlog, 0);
	cr_assert_eq(stats().pushed, 0);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, a_queue_on_a_log_that_stays_open_goes_on_as_well)
{
	struct queue_options options;

	begin(4);
	push(1, 20);
	pop(1, 10);
	cr_assert_eq(queue_destroy(queue), 0);
	options = options_of(3);
	create(&options);
	pop(11, 20);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, what_was_spilled_is_there_after_any_crash)
{
	static const enum disk_loss losses[] = {DISK_LOSE_ALL, DISK_LOSE_NONE, DISK_LOSE_WRITES,
						DISK_TEAR};

	for (size_t i = 0; i < 4; i++) {
		struct queue_options options;

		begin(4);
		push(1, 500);
		crash(losses[i]);
		options = options_of(4);
		create(&options);
		/* The first four were in memory alone. */
		pop(5, 500);
		pop_nothing(-EAGAIN);
		end();
	}
}

Test(spill, what_was_popped_and_synced_does_not_come_again)
{
	struct queue_options options;
	void *item;
	uintptr_t first;

	begin(100);
	push(1, 1000);
	pop(1, 600);
	cr_assert_eq(queue_log_sync(queue_log, queue_after_ms(PATIENCE)), 0);
	crash(DISK_LOSE_ALL);
	options = options_of(100);
	create(&options);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	first = (uintptr_t)item;
	/* At most what came from the log and is not acknowledged yet. */
	cr_assert_leq(first, 601);
	cr_assert_gt(first, 600 - 100);
	pop(first + 1, 1000);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, when_drained_all_is_acknowledged)
{
	struct queue_options options;

	begin(10);
	push(1, 100);
	pop(1, 100);
	cr_assert_eq(queue_log_sync(queue_log, queue_after_ms(PATIENCE)), 0);
	crash(DISK_LOSE_ALL);
	options = options_of(10);
	create(&options);
	pop_nothing(-EAGAIN);
	end();
}

/* ---- Errors ------------------------------------------------------------------------------------ */

Test(spill, what_encode_says_is_what_push_says)
{
	begin(2);
	push(1, 2);
	encode_fails = -EILSEQ;
	bad_item = 3;
	cr_assert_eq(queue_push(queue, number(3)), -EILSEQ);
	cr_assert_eq(is_active(), false);
	cr_assert_eq(stats().rejected, 1);
	push(4, 4);
	pop(1, 2);
	pop(4, 4);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, what_decode_refuses_comes_in_its_turn_or_not_at_all)
{
	begin(4);
	push(1, 12);
	decode_fails = EPROTO;
	bad_item = 8;
	pop(1, 7);
	pop_nothing(-EPROTO);
	pop_nothing(-EPROTO);
	cr_assert_eq(queue_pop(queue, &(void *){NULL}), -EPROTO);
	cr_assert_eq(queue_pop_until(queue, &(void *){NULL}, 0), -EPROTO);
	cr_assert_eq(queue_pop_n(queue, (void *[4]){NULL}, 4), -EPROTO);
	cr_assert_eq(queue_try_pop_n(queue, (void *[4]){NULL}, 4), -EPROTO);
	cr_assert_eq(stats().backlog, 5);
	push(13, 13);
	decode_fails = 0;
	pop(8, 13);
	pop_nothing(-EAGAIN);
	end();
}

/* Fewer have come than the low mark: the rest comes when it can. */
Test(spill, what_decode_refuses_at_first_comes_when_the_queue_was_made_again)
{
	struct queue_options options;

	begin(4);
	push(1, 20);
	pop(1, 1);
	cr_assert_eq(queue_destroy(queue), 0);
	options = options_of(4);
	decode_fails = EPROTO;
	bad_item = 6;
	create(&options);
	pop(5, 5);
	pop_nothing(-EPROTO);
	decode_fails = 0;
	pop(6, 20);
	pop_nothing(-EAGAIN);
	end();
}

Test(spill, a_full_disk_refuses_the_push_and_keeps_the_item_with_the_caller)
{
	uintptr_t in = 0;
	int rc = 0;

	begin(4);
	disk_limit(disk, 6 * SIZE);
	item_size = 1000;
	while (rc == 0 && in < 10000) {
		rc = queue_push(queue, number(in + 1));
		in += rc == 0;
	}
	cr_assert_eq(rc, -ENOSPC, "%d after %ju", rc, (uintmax_t)in);
	cr_assert_eq(drops[QUEUE_SPILLED], in - 4);
	cr_assert_eq(stats().spilled, in - 4);
	pop(1, in);
	pop_nothing(-EAGAIN);
	cr_assert_eq(is_active(), false);
	/* In memory there is room. */
	push(in + 1, in + 4);
	pop(in + 1, in + 4);
	end();
}

Test(spill, a_log_that_fails_leaves_a_queue_in_memory)
{
	void *item;
	int rc;

	begin(4);
	push(1, 8);
	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_push(queue, number(9)), -EIO);
	cr_assert_eq(queue_push(queue, number(9)), -EIO);
	cr_assert_eq(drops[QUEUE_SPILLED], 4);
	cr_assert_eq(stats().backlog, 4);
	pop(1, 8);
	pop_nothing(-EAGAIN);
	cr_assert_eq(stats().backlog, 0);
	cr_assert_eq(is_active(), false);
	push(9, 12);
	cr_assert_eq(queue_push(queue, number(13)), -EIO);
	pop(9, 12);
	cr_assert_eq(queue_close(queue), 0);
	rc = queue_pop(queue, &item);
	cr_assert_eq(rc, -EPIPE, "%d", rc);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_log_close(queue_log), -EIO);
	disk_free(disk);
}

Test(spill, damage_is_told_by_pops_and_never_passed_over)
{
	unsigned char junk[64];
	uintptr_t n = 0;
	void *item;
	int rc;

	begin(2);
	item_size = 64;
	push(1, 40);
	memset(junk, 0xa5, sizeof junk);
	disk_spoil(disk, "0000000000000000.log", junk, sizeof junk, 4096 + 2000);
	while ((rc = queue_try_pop(queue, &item)) == 0)
		cr_assert_eq(item, number(++n));
	cr_assert_eq(rc, -EILSEQ, "%d", rc);
	cr_assert_gt(n, 2);
	cr_assert_lt(n, 40);
	pop_nothing(-EILSEQ);
	cr_assert_eq(stats().backlog, 40 - n);
	end();
}

/* ---- Who waits --------------------------------------------------------------------------------- */

Test(spill, a_sleeper_is_woken_by_what_is_spilled)
{
	pthread_t thread;
	void *item = NULL, *rc;

	begin(1);
	push(1, 3);
	pop(1, 3);
	cr_assert_eq(pthread_create(&thread, NULL, pop_one, &item), 0);
	wait_for_sleepers(1);
	/* As if another push had been there a moment ago. */
	queue_impl_store32_rel(&queue->spill->state, QUEUE_IMPL_SPILL_ACTIVE);
	push(4, 4);
	pthread_join(thread, &rc);
	cr_assert_eq((intptr_t)rc, 0);
	cr_assert_eq(item, number(4));
	cr_assert_eq(stats().spilled, 3);
	end();
}

/* Pushes that have stored their items, and were stopped before they looked whether to move them. */
Test(spill, a_pop_that_moves_items_wakes_who_sleeps, .timeout = 60)
{
	pthread_t threads[2];
	void *item, *items[2] = {NULL}, *rc;

	begin(4);
	push(1, 9);
	pop(1, 9);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, pop_one, &items[i]), 0);
	wait_for_sleepers(2);
	for (uint64_t n = 10; n <= 12; n++)
		cr_assert_eq(queue_log_append(queue_log, &n, sizeof n, NULL), 0);
	queue_impl_store32_rel(&queue->spill->state, QUEUE_IMPL_SPILL_ACTIVE);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &rc);
		cr_assert_eq((intptr_t)rc, 0);
	}
	cr_assert_eq((uintptr_t)item + (uintptr_t)items[0] + (uintptr_t)items[1], 33);
	end();
}

Test(spill, an_error_wakes_a_sleeper_as_well)
{
	pthread_t thread;
	void *item = NULL, *rc;

	begin(1);
	push(1, 3);
	pop(1, 3);
	cr_assert_eq(pthread_create(&thread, NULL, pop_one, &item), 0);
	wait_for_sleepers(1);
	queue_impl_store32_rel(&queue->spill->state, QUEUE_IMPL_SPILL_ACTIVE);
	bad_item = 4;
	queue_impl_store32_rel(&decode_fails, EPROTO);
	push(4, 4);
	pthread_join(thread, &rc);
	cr_assert_eq((intptr_t)rc, -EPROTO);
	decode_fails = 0;
	pop(4, 4);
	end();
}

/* The ring is empty, and what is next is in the log: somebody took the last one and went no further. */
static void
leave_in_log(void)
{
	void *item;

	push(1, 4);
	while (queue_impl_ring_pop(&queue->ring, &item).rc == 0)
		continue;
}

Test(spill, select_finds_what_is_in_the_log)
{
	int index = -1;

	begin(2);
	cr_assert_eq(queue_select(&queue, 1, 0, &index), -ETIMEDOUT);
	leave_in_log();
	cr_assert_eq(queue_select(&queue, 1, 0, &index), 0);
	cr_assert_eq(index, 0);
	pop(3, 4);
	cr_assert_eq(queue_select(&queue, 1, 0, &index), -ETIMEDOUT);
	push(5, 8);
	cr_assert_eq(queue_close(queue), 0);
	pop(5, 8);
	cr_assert_eq(queue_select(&queue, 1, 0, &index), 0);
	pop_nothing(-EPIPE);
	end();
}

static bool
is_readable(void)
{
	struct pollfd descriptor = {.fd = queue_fd(queue), .events = POLLIN};

	return poll(&descriptor, 1, 0) == 1;
}

Test(spill, the_descriptor_is_readable_while_there_is_something_anywhere)
{
	begin(2);
	cr_assert_eq(is_readable(), false);
	for (uintptr_t round = 0; round < 3; round++) {
		push(1, 50);
		for (uintptr_t n = 1; n <= 50; n++) {
			cr_assert_eq(is_readable(), true);
			pop(n, n);
		}
		cr_assert_eq(is_readable(), false);
		pop_nothing(-EAGAIN);
	}
	leave_in_log();
	cr_assert_eq(is_readable(), true);
	pop(3, 4);
	cr_assert_eq(is_readable(), false);
	push(1, 5);
	cr_assert_eq(queue_close(queue), 0);
	pop(1, 5);
	cr_assert_eq(is_readable(), true);
	end();
}

/* ---- Pools ------------------------------------------------------------------------------------- */

static uint64_t handled, next_handled;

static int
handle(void *item, void *unused)
{
	(void)unused;
	cr_assert_eq(item, number((uintptr_t)++next_handled));
	queue_impl_add_rlx(&handled, 1);
	return 0;
}

Test(spill, a_pool_handles_what_is_in_the_log)
{
	struct queue_pool_options options = {.handler = handle, .workers = 1, .batch = 3};
	struct queue_pool *pool;

	begin(4);
	push(1, 200);
	options.queue = queue;
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	push(201, 400);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, queue_after_ms(PATIENCE)), 0);
	cr_assert_eq(handled, 400);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	end();
}

Test(spill, a_pool_goes_on_when_an_error_has_gone)
{
	struct queue_pool_options options = {.handler = handle, .workers = 2};
	uint64_t give_up = queue_after_ms(PATIENCE);
	struct queue_pool *pool;

	begin(4);
	push(1, 20);
	decode_fails = EPROTO;
	bad_item = 10;
	options.queue = queue;
	options.workers = 1;
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	while (queue_impl_load_rlx(&handled) < 9 && queue_now() < give_up)
		usleep(100);
	usleep(1000);
	cr_assert_eq(queue_impl_load_rlx(&handled), 9);
	queue_impl_store32_rel(&decode_fails, 0);
	while (queue_impl_load_rlx(&handled) < 20 && queue_now() < give_up)
		usleep(100);
	cr_assert_eq(queue_impl_load_rlx(&handled), 20);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, queue_after_ms(PATIENCE)), 0);
	cr_assert_eq(handled, 20);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	end();
}

Test(spill, a_pool_that_stops_does_not_wait_for_what_cannot_be_read)
{
	struct queue_pool_options options = {.handler = handle, .workers = 1};
	struct queue_pool *pool;

	begin(4);
	push(1, 20);
	decode_fails = EPROTO;
	bad_item = 10;
	options.queue = queue;
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, queue_after_ms(PATIENCE)), -EPROTO);
	cr_assert_eq(handled, 9);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(stats().backlog, 11);
	decode_fails = 0;
	end();
}

/* ---- Who stops ---------------------------------------------------------------------------------- */

/* What a push does that has found nothing in the log, and was stopped for long then. */
static int
push_late(uintptr_t n)
{
	return queue_impl_ring_push(&queue->ring, number(n)).rc;
}

Test(spill, a_late_push_goes_before_what_was_pushed_meanwhile)
{
	begin(4);
	push(1, 20);
	pop(1, 1);
	cr_assert_eq(push_late(100), 0);
	pop(2, 4);
	pop(100, 100);
	pop(5, 20);
	pop_nothing(-EAGAIN);
	end();
}

static void
take_the_room(uintptr_t n)
{
	if (n == 6)
		while (push_late(100) == 0)
			continue;
}

Test(spill, an_item_that_finds_its_room_taken_waits_for_the_next)
{
	begin(4);
	push(1, 9);
	when_decoded = take_the_room;
	pop(1, 5);
	pop(100, 100);
	pop(6, 9);
	pop_nothing(-EAGAIN);
	cr_assert_eq(stats().backlog, 0);
	cr_assert_eq(is_active(), false);
	end();
}

Test(spill, an_item_that_waits_for_room_is_not_lost_by_destroy)
{
	struct queue_options options;

	begin(4);
	push(1, 9);
	when_decoded = take_the_room;
	pop(1, 3);
	when_decoded = NULL;
	cr_assert_eq(queue_destroy(queue), 0);
	/* 4, 5, the late one, and 6. */
	cr_assert_eq(drops[QUEUE_DESTROYED], 4);
	cr_assert_eq(last_dropped[QUEUE_DESTROYED], 6);
	options = options_of(4);
	create(&options);
	pop(5, 9);
	end();
}

Test(spill, a_push_that_is_late_for_close_is_popped_or_refused)
{
	begin(4);
	push(1, 9);
	pop(1, 1);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(push_late(100), 0);
	pop(2, 4);
	pop(100, 100);
	pop(5, 9);
	pop_nothing(-EPIPE);
	cr_assert_eq(push_late(101), -EPIPE);
	pop_nothing(-EPIPE);
	end();
}

static uint32_t stopped, may_go_on;

static void
stop_here(uintptr_t n)
{
	if (n != 7)
		return;
	queue_impl_store32_rel(&stopped, 1);
	while (!queue_impl_load32_acq(&may_go_on))
		usleep(100);
}

Test(spill, who_stops_while_moving_items_holds_up_neither_close_nor_try_push)
{
	uint64_t give_up = queue_after_ms(PATIENCE);
	pthread_t thread;
	void *item = NULL, *rc;

	begin(6);
	push(1, 20);
	pop(1, 2);
	when_decoded = stop_here;
	/* It takes 3, and moves from 7 on. */
	cr_assert_eq(pthread_create(&thread, NULL, pop_one, &item), 0);
	while (!queue_impl_load32_acq(&stopped) && queue_now() < give_up)
		usleep(100);
	cr_assert_eq(stopped, 1);
	cr_assert_eq(queue_try_push(queue, number(21)), -EAGAIN);
	cr_assert_eq(queue_push_n(queue, (void *[]){number(21)}, 1), 0);
	cr_assert_eq(stats().depth, 3);
	cr_assert_eq(stats().backlog, 14);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_push(queue, number(21)), -EPIPE);
	queue_impl_store32_rel(&may_go_on, 1);
	pthread_join(thread, &rc);
	cr_assert_eq((intptr_t)rc, 0);
	cr_assert_eq(item, number(3));
	pop(4, 20);
	pop_nothing(-EPIPE);
	end();
}

/* ---- Deadlines --------------------------------------------------------------------------------- */

static uint64_t
deadline_of(const void *item)
{
	return (uintptr_t)item % 2 ? 1 : 0;
}

Test(spill, items_from_the_log_expire_too)
{
	struct queue_options options;
	void *item;

	disk = disk_new();
	open_log(&small);
	options = options_of(4);
	options.deadline_of = deadline_of;
	create(&options);
	push(1, 100);
	for (uintptr_t n = 2; n <= 100; n += 2) {
		cr_assert_eq(queue_try_pop(queue, &item), 0);
		cr_assert_eq(item, number(n));
	}
	pop_nothing(-EAGAIN);
	cr_assert_eq(drops[QUEUE_EXPIRED], 50);
	cr_assert_eq(stats().expired, 50);
	cr_assert_eq(stats().popped, 50);
	end();
}
