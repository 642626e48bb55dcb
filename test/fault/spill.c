/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE_SPILL when something below it fails: memory, at each call of the allocators of the queue and of
 * the log, and the disk, at each of its operations. What a push said is stored is popped once, what it
 * refused is not popped, and nothing is kept that should have been given back.
 */
#include "../../lib/log_impl.h"
#include "../support/disk.h"
#include "fault.h"

#include <conveyor/queue.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "unit.h"

#define SIZE 65536
#define TRIES_MAX 100

static struct fault_allocator queue_memory, log_memory;
static struct disk *disk;
static struct queue_log *queue_log;
static struct queue_bounded *queue;
static size_t item_size = sizeof(uintptr_t);
static uint64_t spilled, destroyed;

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)context;
	spilled += reason == QUEUE_SPILLED;
	destroyed += reason == QUEUE_DESTROYED;
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	uintptr_t number = (uintptr_t)item;

	(void)context;
	if (size >= item_size) {
		memset(buffer, 0, item_size);
		memcpy(buffer, &number, sizeof number);
	}
	return (ptrdiff_t)item_size;
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	uintptr_t number;

	(void)context;
	cr_assert_eq(length, item_size);
	memcpy(&number, data, sizeof number);
	*item = (void *)number;
	return 0;
}

static int
create(void)
{
	const struct queue_options options = {
		.capacity = 4,
		.policy = QUEUE_SPILL,
		.on_drop = on_drop,
		.allocator = &queue_memory.allocator,
		.log = queue_log,
		.encode = encode,
		.decode = decode,
	};

	return queue_create(&queue, &options);
}

static void
begin(uint64_t segment_size)
{
	uint64_t staging_size = segment_size > 4 * SIZE ? segment_size : 4 * SIZE;
	const struct queue_log_options options = {.segment_size = segment_size,
						  .staging_size = staging_size,
						  .allocator = &log_memory.allocator};
	struct queue_log_stats stats;
	int rc;

	fault_init(&queue_memory);
	fault_init(&log_memory);
	spilled = destroyed = 0;
	disk = disk_new();
	rc = queue_impl_log_open(&queue_log, "log", &options, disk_table(disk));
	cr_assert_eq(rc, 0, "open: %d", rc);
	/* The log's own thread allocates as well, until it has two files ready. */
	cr_assert(FAULT_EVENTUALLY(queue_log_stats(queue_log, &stats) == 0 && stats.spares >= 2));
}

static void
end(void)
{
	cr_assert_eq(queue_destroy(queue), 0);
	(void)queue_log_close(queue_log);
	disk_free(disk);
	cr_assert(fault_is_balanced(&queue_memory));
	cr_assert(fault_is_balanced(&log_memory));
}

static void
push(uintptr_t first, uintptr_t last)
{
	for (uintptr_t n = first; n <= last; n++)
		cr_assert_eq(queue_push(queue, (void *)n), 0);
}

static void
pop(uintptr_t first, uintptr_t last)
{
	void *item;

	for (uintptr_t n = first; n <= last; n++) {
		int rc = queue_try_pop(queue, &item);

		cr_assert_eq(rc, 0, "%ju: %d", (uintmax_t)n, rc);
		cr_assert_eq(item, (void *)n, "%p", item);
	}
}

Test(spill, a_queue_without_memory_is_not_made, .timeout = 60)
{
	char untouched;

	for (int which = 0; which < 2; which++) {
		struct fault_allocator *memory = which == 0 ? &queue_memory : &log_memory;
		uint64_t n, failures = 0;

		for (n = 1; n < TRIES_MAX; n++) {
			int rc;

			begin(SIZE);
			queue = (void *)&untouched;
			fault_set(memory, n, false);
			rc = create();
			if (memory->failed > 0) {
				cr_assert_eq(rc, -ENOMEM, "%d", rc);
				cr_assert_eq(queue, (void *)&untouched);
				cr_assert_eq(queue_memory.blocks, 0);
				failures++;
				rc = create();
			}
			fault_set(memory, 0, false);
			cr_assert_eq(rc, 0, "%d", rc);
			push(1, 20);
			pop(1, 20);
			end();
			if (failures < n)
				break;
		}
		cr_assert_geq(failures, which == 0 ? 3 : 1);
	}
}

Test(spill, a_long_item_without_memory_is_the_callers)
{
	begin(SIZE);
	cr_assert_eq(create(), 0);
	item_size = 5000;
	push(1, 4);
	fault_set(&queue_memory, 1, true);
	cr_assert_eq(queue_push(queue, (void *)5), -ENOMEM);
	cr_assert_eq(spilled, 0);
	fault_set(&queue_memory, 0, false);
	push(5, 9);
	pop(1, 9);
	item_size = sizeof(uintptr_t);
	/* Short ones need none. */
	fault_set(&queue_memory, 1, true);
	push(10, 30);
	pop(10, 30);
	end();
}

Test(spill, a_very_long_item_without_memory_is_popped_later)
{
	void *item;

	begin(1 << 20);
	cr_assert_eq(create(), 0);
	item_size = queue_log_length_max(queue_log);
	/* More than what is read into at first. */
	cr_assert_gt(item_size, 100000);
	push(1, 6);
	/* That of the log first, which reads it; then that of the queue, for what has been read. */
	fault_set(&queue_memory, 1, true);
	fault_set(&log_memory, 1, true);
	pop(1, 4);
	cr_assert_eq(queue_try_pop(queue, &item), -ENOMEM);
	cr_assert_eq(queue_memory.failed, 0);
	fault_set(&log_memory, 0, false);
	cr_assert_eq(queue_try_pop(queue, &item), -ENOMEM);
	cr_assert_gt(queue_memory.failed, 0);
	fault_set(&queue_memory, 0, false);
	pop(5, 6);
	end();
	item_size = sizeof(uintptr_t);
}

Test(spill, without_memory_destroy_may_be_repeated)
{
	begin(SIZE);
	cr_assert_eq(create(), 0);
	push(1, 20);
	pop(1, 6);
	fault_set(&log_memory, 1, true);
	cr_assert_eq(queue_destroy(queue), -ENOMEM);
	pop(7, 8);
	push(21, 21);
	fault_set(&log_memory, 0, false);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_gt(destroyed, 0);
	/* What was not popped is there. */
	cr_assert_eq(create(), 0);
	pop(9, 21);
	end();
}

/* Each operation of the disk in turn, once or from then on. */
Test(spill, a_disk_that_fails_loses_and_doubles_nothing, .timeout = 120)
{
	static const int errors[] = {EIO, ENOSPC};
	uint64_t failures = 0;

	item_size = 1500;
	for (int64_t n = 0; n < 120; n++) {
		uintptr_t expected = 1, in[120], pushed = 0;
		int error = errors[n % 2], rc;
		void *item;

		begin(SIZE);
		cr_assert_eq(create(), 0);
		disk_fail(disk, '*', n / 4, n / 2 % 2, error);
		for (uintptr_t i = 1; i <= 100; i++) {
			rc = queue_push(queue, (void *)i);
			if (rc == 0)
				in[pushed++] = i;
			else
				failures++;
			cr_assert(rc == 0 || rc == -EIO || rc == -ENOSPC, "%d", rc);
		}
		disk_fail(disk, '*', -1, false, 0);
		cr_assert_eq(queue_close(queue), 0);
		for (expected = 0; (rc = queue_pop(queue, &item)) == 0; expected++) {
			cr_assert_lt(expected, pushed, "%p is too much", item);
			cr_assert_eq(item, (void *)in[expected], "%p instead of %p", item,
				     (void *)in[expected]);
		}
		cr_assert_eq(rc, -EPIPE, "%d", rc);
		cr_assert_eq(expected, pushed);
		end();
	}
	cr_assert_gt(failures, 0);
	item_size = sizeof(uintptr_t);
}

/* What cannot be read now is in the log all the same, and comes when it can. */
Test(spill, a_read_that_fails_is_told_and_tried_again)
{
	void *item;
	int rc;

	begin(SIZE);
	cr_assert_eq(create(), 0);
	push(1, 20);
	for (uintptr_t n = 1; n <= 20;) {
		disk_fail(disk, 'R', 0, true, EIO);
		while ((rc = queue_try_pop(queue, &item)) == 0)
			cr_assert_eq(item, (void *)n++);
		cr_assert_eq(rc, n <= 20 ? -EIO : -EAGAIN, "%d", rc);
		disk_fail(disk, 'R', -1, false, 0);
		if (n > 20)
			break;
		pop(n, n);
		n++;
	}
	end();
}
