/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG2: who is told that a message is written, or durable, finds it in the file. LOG3: who gets
 * memory again gets it when the committer has cleared it. The disk is plain memory without a lock,
 * so that ThreadSanitizer sees a race where the log alone does not order what the committer does
 * before what others do. They look first without any order, until it has come: so none of them
 * sleeps, and it is not the wake-up that orders.
 */
#include "unit.h"

#include "../../lib/log_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 20000 /* milliseconds */
#define SIZE (6 * 65536)
#define MEMORY (4 * 65536)
#define ROUNDS 20
#define LENGTH 40

/*
 * The disk: a new directory, and a log of one segment in it. That one and the spare files are never
 * shorter than SIZE; there is nothing to list, nothing is unlinked, nobody asks for a size.
 */

#define LOCK 0
#define FIRST_SPARE 1
#define FILES 5

static struct {
	/* Of who writes, which the log sees to. */
	unsigned char now[SIZE], stable[SIZE];
	uint64_t from, to; /* what has been written since the last sync */
} files[FILES];

/* Which of the files the segment is. */
static uint64_t segment;

/* While it is 1 the committer stays in its next write, where it makes it 2, until it is changed. */
static uint64_t holding;

static int
file_of(const char *name)
{
	int file;

	if (strcmp(name, "lock") == 0)
		return LOCK;
	if (strncmp(name, "spare.", 6) != 0)
		return (int)queue_impl_load_rlx(&segment); /* relaxed: it adds no order */
	file = FIRST_SPARE + atoi(name + 6);
	return file < FILES ? file : -ENOSPC;
}

static int
open_directory(void *context, const char *path, bool create)
{
	(void)context;
	(void)path;
	(void)create;
	return FILES;
}

static int
open_file(void *context, int directory, const char *name, enum queue_impl_disk_mode mode)
{
	(void)context;
	(void)directory;
	(void)mode;
	return file_of(name);
}

static void
close_file(void *context, int file)
{
	(void)context;
	(void)file;
}

static int
lock_file(void *context, int file)
{
	(void)context;
	return file == LOCK ? 0 : -EINVAL;
}

static int64_t
read_file(void *context, int file, void *data, size_t length, uint64_t offset)
{
	(void)context;
	if (length > SIZE - offset)
		length = SIZE - offset;
	memcpy(data, files[file].now + offset, length);
	return (int64_t)length;
}

static int
write_file(void *context, int file, const void *data, size_t length, uint64_t offset)
{
	(void)context;
	if (offset + length > SIZE)
		return -ENOSPC;
	memcpy(files[file].now + offset, data, length);
	if (files[file].from == files[file].to)
		files[file].from = files[file].to = offset;
	if (files[file].from > offset)
		files[file].from = offset;
	if (files[file].to < offset + length)
		files[file].to = offset + length;
	/* Relaxed, all: they add no order. */
	if ((uint64_t)file == queue_impl_load_rlx(&segment) && queue_impl_load_rlx(&holding) == 1) {
		queue_impl_store_rlx(&holding, 2);
		while (queue_impl_load_rlx(&holding) == 2)
			usleep(50);
	}
	return 0;
}

/* No more than what was written: others are looking at the rest. */
static int
sync_file(void *context, int file)
{
	uint64_t from = files[file].from, length = files[file].to - from;

	(void)context;
	memcpy(files[file].stable + from, files[file].now + from, length);
	files[file].from = files[file].to = 0;
	return 0;
}

static int
rename_file(void *context, int directory, const char *from, const char *to)
{
	(void)context;
	(void)directory;
	(void)to;
	if (queue_impl_load_rlx(&segment) != 0) /* relaxed: it adds no order */
		return -ENOSPC;
	queue_impl_store_rlx(&segment, (uint64_t)file_of(from)); /* relaxed: it adds no order */
	return 0;
}

static int
sync_directory(void *context, int directory)
{
	(void)context;
	(void)directory;
	return 0;
}

static int
list_files(void *context, int directory, void (*each)(const char *name, void *argument),
	   void *argument)
{
	(void)context;
	(void)directory;
	(void)each;
	(void)argument;
	return 0;
}

static const struct queue_impl_disk disk = {
	.open_directory = open_directory,
	.open = open_file,
	.close = close_file,
	.lock = lock_file,
	.read = read_file,
	.write = write_file,
	.sync = sync_file,
	.rename = rename_file,
	.sync_directory = sync_directory,
	.list = list_files,
};

/*
 * What is told of the log.
 */

/* The committer stays in on_durable until it may go on behind that position. */
static uint64_t stays_at = UINT64_MAX, durable_to;

static void
stay(uint64_t position, void *context)
{
	(void)context;
	queue_impl_store_rlx(&durable_to, position); /* relaxed, both: they add no order */
	while (queue_impl_load_rlx(&stays_at) < position)
		usleep(50);
}

static struct queue_log *
open_log(enum queue_log_sync sync)
{
	const struct queue_log_options options = {
		.sync = sync, .segment_size = SIZE, .staging_size = MEMORY, .on_durable = stay};
	struct queue_log *log = NULL;
	int rc = queue_impl_log_open(&log, "log", &options, &disk);

	cr_assert_eq(rc, 0, "open: %d", rc);
	return log;
}

static struct queue_log_reader *
open_reader(struct queue_log *log)
{
	struct queue_log_reader *reader = NULL;

	cr_assert_eq(queue_log_reader_open(log, "reader", NULL, &reader), 0);
	/* That there is one is written by now, and nothing is left to be. */
	cr_assert_eq(queue_log_sync(log, queue_after_ms(PATIENCE)), 0);
	return reader;
}

static const char *
text_of(int round)
{
	static char text[LENGTH];

	memset(text, 'A' + round, LENGTH);
	return text;
}

static uint64_t
append(struct queue_log *log, int round)
{
	uint64_t position = 0;
	int rc = queue_log_append_async(log, text_of(round), LENGTH, &position);

	cr_assert_eq(rc, 0, "append: %d", rc);
	return position;
}

/* Waits until one of the log's positions has passed this one. */
static void
await_unordered(const uint64_t *passes, uint64_t position)
{
	uint64_t end = queue_after_ms(PATIENCE);

	while (queue_impl_load_rlx(passes) <= position) { /* relaxed: it adds no order */
		cr_assert_lt(queue_now(), end, "still at %d", (int)position);
		usleep(50);
	}
}

static void
expect_in(const unsigned char *file, uint64_t position, int round)
{
	cr_assert_eq(memcmp(file + QUEUE_IMPL_LOG_HEADER + position + QUEUE_IMPL_LOG_RECORD,
			    text_of(round), LENGTH),
		     0, "round %d", round);
}

static void
expect_read(struct queue_log_reader *reader, uint64_t position, int round)
{
	struct queue_log_message message = {0};
	char buffer[2 * LENGTH];
	int rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0);

	cr_assert_eq(rc, 0, "read: %d in round %d", rc, round);
	cr_assert_eq(message.position, position, "round %d", round);
	cr_assert_eq(message.length, LENGTH, "round %d", round);
	cr_assert_eq(memcmp(message.data, text_of(round), LENGTH), 0, "round %d", round);
}

Test(log_order, what_is_said_to_be_durable_is_on_the_disk)
{
	struct queue_log *log = open_log(QUEUE_LOG_BATCH);

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t position = append(log, round), end = queue_after_ms(PATIENCE);

		while (queue_log_durable(log) <= position) {
			cr_assert_lt(queue_now(), end, "round %d", round);
			usleep(50);
		}
		expect_in(files[segment].stable, position, round);
	}
	cr_assert_eq(queue_log_close(log), 0);
}

Test(log_order, what_was_waited_for_is_on_the_disk)
{
	struct queue_log *log = open_log(QUEUE_LOG_BATCH);

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t position = append(log, round);

		await_unordered(&log->durable, position);
		cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
		expect_in(files[segment].stable, position, round);
	}
	cr_assert_eq(queue_log_close(log), 0);
}

Test(log_order, what_is_stored_is_in_the_file)
{
	struct queue_log *log = open_log(QUEUE_LOG_NONE);

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t position = append(log, round);

		await_unordered(&log->written, position);
		cr_assert_eq(queue_impl_log_wait_stored(log, position), 0);
		expect_in(files[segment].now, position, round);
	}
	cr_assert_eq(queue_log_close(log), 0);
}

/* The committer takes locks after a sync, which order as well; not yet in on_durable. */
Test(log_order, what_is_durable_can_be_read)
{
	struct queue_log *log = open_log(QUEUE_LOG_BATCH);
	struct queue_log_reader *reader = open_reader(log);

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t position;

		/* Relaxed, all: they add no order. */
		queue_impl_store_rlx(&stays_at, queue_impl_load_rlx(&log->durable));
		position = append(log, round);
		await_unordered(&durable_to, position);
		expect_read(reader, position, round);
		queue_impl_store_rlx(&stays_at, UINT64_MAX);
	}
	cr_assert_eq(queue_log_close(log), 0);
}

Test(log_order, what_is_written_can_be_read)
{
	struct queue_log *log = open_log(QUEUE_LOG_NONE);
	struct queue_log_reader *reader = open_reader(log);

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t position = append(log, round);

		await_unordered(&log->written, position);
		expect_read(reader, position, round);
	}
	cr_assert_eq(queue_log_close(log), 0);
}

/*
 * To wake the committer orders as well. So it is held until there is more to write than it has
 * begun with, and not woken again before the last message gets memory of the first.
 */
Test(log_order, memory_is_clear_when_it_is_used_again)
{
	static const char filler[MEMORY / 4 - 64];
	const size_t lengths[] = {sizeof filler, sizeof filler, sizeof filler, sizeof filler / 2};
	struct queue_log *log = open_log(QUEUE_LOG_NONE);
	uint64_t position;

	queue_impl_store_rlx(&holding, 1); /* relaxed, both: they add no order */
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(queue_log_append_async(log, filler, lengths[i], &position), 0);
		await_unordered(&holding, 1);
	}
	queue_impl_store_rlx(&holding, 0);
	await_unordered(&log->released, position);
	cr_assert_eq(queue_log_append_async(log, filler, sizeof filler, &position), 0);
	cr_assert(position < MEMORY && position + sizeof filler > MEMORY);
	cr_assert_eq(queue_log_close(log), 0);
}
