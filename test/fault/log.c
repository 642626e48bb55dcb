/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk fails at each operation in turn: once, or from then on. The log says so, loses nothing
 * that it had said was stored, and never hangs; the next one to open it finds what there is.
 */
#include "unit.h"

#include "../../lib/log_impl.h"
#include "../support/disk.h"
#include "../support/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 65536
#define MESSAGES 150
#define LONGEST 4000 /* so that they fill four files and more */

static const struct queue_log_options small = {.segment_size = SIZE, .staging_size = 4 * SIZE};

/* What became of the messages of one life: stored ones come first. */
struct life {
	int opened, closed, stored;
};

static uint32_t
content(char *text, int number)
{
	memset(text, 'a' + number % 26, LONGEST);
	(void)snprintf(text, 32, "%d", number);
	return (uint32_t)(20 + number * 37 % 900 * 4);
}

/* Appends until it is refused; reads and acknowledges some. */
static struct life
live(struct disk *disk, int error)
{
	struct queue_log_message messages[8];
	struct queue_log_reader *reader = NULL;
	struct queue_log *log = NULL;
	static char buffer[8 * LONGEST];
	uint64_t left_over = UINT64_MAX;
	struct life life = {0};
	char text[LONGEST];
	int rc, n;

	life.opened = queue_impl_log_open(&log, "log", &small, disk_table(disk));
	if (life.opened < 0) {
		cr_assert(life.opened == -error || life.opened == -ENOMEM, "open: %d", life.opened);
		return life;
	}
	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	for (int i = 0; i < MESSAGES; i++) {
		uint32_t length = content(text, i);

		rc = queue_log_append(log, text, length, NULL);
		cr_assert(rc == 0 || rc == -error || rc == -EIO, "append: %d", rc);
		if (rc < 0)
			break;
		life.stored++;
		if (i % 8)
			continue;
		n = queue_log_read_n(reader, messages, 8, buffer, sizeof buffer, 0);
		cr_assert(n > 0 || n == -error || n == -EIO, "read: %d", n);
		if (n <= 0)
			continue;
		/* The first of them the next time, so that files become free, and some are out. */
		cr_assert_eq(queue_log_ack_n(reader, messages + 1, n - 1), n - 1);
		if (left_over != UINT64_MAX)
			cr_assert_eq(queue_log_ack(reader, left_over), 0);
		left_over = messages[0].position;
	}
	life.closed = queue_log_close(log);
	return life;
}

/* All that was stored is there, in its order, with nothing in between. */
static void
look(struct disk *disk, int stored, const char *what, int64_t nth)
{
	struct queue_log_reader *reader = NULL;
	struct queue_log_message message;
	struct queue_log *log = NULL;
	char text[LONGEST], buffer[LONGEST];
	int rc, first = -1, next = 0;

	rc = queue_impl_log_open(&log, "log", &small, disk_table(disk));
	cr_assert_eq(rc, 0, "%s %ld: open: %d", what, (long)nth, rc);
	cr_assert_eq(queue_log_reader_open(log, "b", NULL, &reader), 0);
	while ((rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0)) == 0) {
		int number = atoi(buffer);

		if (first < 0)
			first = next = number;
		cr_assert_eq(number, next, "%s %ld: %d instead of %d", what, (long)nth, number,
			     next);
		cr_assert_eq(message.length, content(text, number));
		cr_assert_eq(memcmp(buffer, text, message.length), 0);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
		next++;
	}
	cr_assert_eq(rc, -ETIMEDOUT);
	cr_assert_geq(next, stored, "%s %ld: %d of %d", what, (long)nth, next, stored);
	cr_assert_eq(queue_log_close(log), 0);
}

static void
fail_each(char what, bool for_ever, int error)
{
	char name[2] = {what, '\0'};
	uint64_t n;

	for (int64_t nth = 0;; nth++) {
		struct disk *disk = disk_new();
		struct life life;

		disk_fail(disk, what, nth, for_ever, error);
		life = live(disk, error);
		n = disk_count(disk, what);
		disk_fail(disk, what, -1, false, 0);
		look(disk, life.stored, name, nth);
		disk_free(disk);
		/* Nothing has failed: there are no more. */
		if ((uint64_t)nth >= n)
			break;
	}
}

Test(log, a_sync_that_fails_is_not_taken_for_one, .timeout = 120)
{
	fail_each('s', false, EIO);
}

Test(log, a_write_that_fails_loses_nothing_stored, .timeout = 120)
{
	fail_each('w', false, EIO);
	fail_each('w', true, ENOSPC);
}

Test(log, a_directory_that_cannot_be_synced, .timeout = 120)
{
	fail_each('d', false, EIO);
	fail_each('d', true, EIO);
}

Test(log, a_file_that_cannot_be_made_or_renamed, .timeout = 120)
{
	fail_each('o', true, ENOSPC);
	fail_each('O', false, EIO);
	fail_each('r', false, EIO);
	fail_each('r', true, EACCES);
	fail_each('u', true, EACCES);
}

Test(log, memory_that_runs_out, .timeout = 120)
{
	struct fault_allocator faults;
	uint64_t calls = 1;

	fault_init(&faults);
	for (uint64_t nth = 0; nth <= calls; nth++) {
		struct queue_log_options options = small;
		struct disk *disk = disk_new();
		struct queue_log_reader *reader = NULL;
		struct queue_log_message message;
		struct queue_log *log = NULL;
		char text[LONGEST], buffer[LONGEST];
		int rc;

		options.allocator = &faults.allocator;
		fault_set(&faults, nth, false);
		rc = queue_impl_log_open(&log, "log", &options, disk_table(disk));
		cr_assert(rc == 0 || rc == -ENOMEM, "open, %d: %d", (int)nth, rc);
		for (int i = 0; rc == 0 && i < MESSAGES; i++) {
			rc = queue_log_append(log, text, content(text, i), NULL);
			/* No room for the list of files ends it as a disk does that fails. */
			cr_assert(rc == 0 || rc == -EIO, "append, %d: %d", (int)nth, rc);
		}
		if (rc == 0)
			rc = queue_log_reader_open(log, "a", NULL, &reader);
		cr_assert(rc == 0 || rc == -ENOMEM || rc == -EIO, "reader, %d: %d", (int)nth, rc);
		if (rc == 0)
			rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0);
		cr_assert(rc == 0 || rc == -ENOMEM || rc == -EIO, "read, %d: %d", (int)nth, rc);
		(void)queue_log_close(log);
		cr_assert(fault_is_balanced(&faults), "%d", (int)nth);
		if (nth == 0)
			calls = faults.calls;
		disk_free(disk);
	}
}

/*
 * A log in which everything is damaged that can be: a header, two, the end of a file, a file, messages,
 * and the record COMPLETE, so that readers are looked for in all files; and one file too many.
 */
static struct disk *
make_ruin(void)
{
	const uint64_t room = SIZE - QUEUE_IMPL_LOG_HEADER;
	struct queue_log_reader *reader = NULL;
	struct disk *disk = disk_new();
	const struct queue_impl_disk *table = disk_table(disk);
	struct queue_log *log = NULL;
	char text[LONGEST], name[QUEUE_IMPL_LOG_FILE_NAME];
	unsigned char bytes[SIZE];
	int file;

	cr_assert_eq(queue_impl_log_open(&log, "log", &small, table), 0);
	cr_assert_eq(queue_log_reader_open(log, "slow", NULL, &reader), 0);
	cr_assert_eq(queue_log_reader_open(log, "gone", NULL, &reader), 0);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	cr_assert_eq(queue_log_reader_remove(log, "gone"), 0);
	for (int i = 0; i < 2 * MESSAGES; i++)
		cr_assert_eq(queue_log_append(log, text, content(text, i), NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	for (uint64_t i = 0; i < 6; i++) {
		queue_impl_log_file_name(name, i * room);
		cr_assert(disk_has(disk, name), "%s", name);
		disk_read(disk, name, bytes, sizeof bytes, 0);
		if (i == 1 || i == 2)
			bytes[30] ^= 1;
		if (i == 2)
			bytes[QUEUE_IMPL_LOG_HEADER_AGAIN + 30] ^= 1;
		bytes[20000] ^= 1;
		disk_spoil(disk, name, bytes, sizeof bytes, 0);
		if (i == 3)
			disk_truncate(disk, name, SIZE / 2);
		if (i == 4)
			disk_remove(disk, name);
	}
	/* The readers of each file are said at its beginning. */
	for (uint64_t i = 6; i < 16; i++) {
		queue_impl_log_file_name(name, i * room);
		if (!disk_has(disk, name))
			break;
		disk_read(disk, name, bytes, sizeof bytes, 0);
		for (size_t at = 0; at < 8192; at += 8)
			if (bytes[QUEUE_IMPL_LOG_HEADER + at + 16] == QUEUE_IMPL_LOG_COMPLETE)
				bytes[QUEUE_IMPL_LOG_HEADER + at + 4] ^= 1;
		disk_spoil(disk, name, bytes, sizeof bytes, 0);
	}
	queue_impl_log_file_name(name, room + 8000);
	file = table->open(table->context, 0, name, QUEUE_IMPL_DISK_CREATE);
	table->close(table->context, file);
	cr_assert_eq(table->sync_directory(table->context, 0), 0);
	return disk;
}

static const struct queue_log_options salvaging = {
	.segment_size = SIZE, .staging_size = 4 * SIZE, .flags = QUEUE_LOG_SALVAGE};

/* How many messages there are; a negative number: it could not be opened, or not be read. */
static int
count(struct disk *disk, const struct queue_log_options *options)
{
	static struct queue_log_message messages[16];
	static char buffer[16 * LONGEST];
	struct queue_log_reader *reader = NULL;
	struct queue_log *log = NULL;
	int rc = queue_impl_log_open(&log, "log", options, disk_table(disk)), n = 0;

	if (rc < 0)
		return rc;
	rc = queue_log_reader_open(log, "all", NULL, &reader);
	while (rc == 0) {
		rc = queue_log_read_n(reader, messages, 16, buffer, sizeof buffer, 0);
		if (rc <= 0)
			break;
		n += rc;
		rc = queue_log_ack_n(reader, messages, rc) == rc ? 0 : -EINVAL;
	}
	(void)queue_log_close(log);
	return rc == -ETIMEDOUT ? n : rc;
}

/* Whatever fails while it is mended, the next one mends the rest, and no message is lost by it. */
static void
mend(struct disk *ruin, const struct queue_log_options *options, const char *kinds)
{
	struct disk *disk = disk_crash(ruin, DISK_LOSE_NONE, 0);
	int all = count(disk, options), n;
	uint64_t times;

	cr_assert_gt(all, 100, "%d", all);
	disk_free(disk);
	for (int kind = 0; kinds[kind]; kind++)
		for (uint64_t nth = 0;; nth++) {
			disk = disk_crash(ruin, DISK_LOSE_NONE, 0);
			disk_fail(disk, kinds[kind], (int64_t)nth, false, EIO);
			n = count(disk, options);
			cr_assert(n == all || n == -EIO, "%c %d: %d of %d", kinds[kind], (int)nth,
				  n, all);
			times = disk_count(disk, kinds[kind]);
			disk_fail(disk, kinds[kind], -1, false, 0);
			if (n < 0) {
				/* It was in the middle of it, or had read some and acknowledged them. */
				n = count(disk, options);
				cr_assert_geq(n, 0, "%c %d: %d", kinds[kind], (int)nth, n);
			}
			disk_free(disk);
			if (nth >= times)
				break;
		}
	disk_free(ruin);
}

Test(log, mending_fails_anywhere_and_is_done_by_the_next, .timeout = 120)
{
	mend(make_ruin(), &salvaging, "LOZRwsdruo");
}

/* A file that is read in pieces, with a message, and damage, that go over the end of one. */
Test(log, reading_a_large_file_fails_anywhere, .timeout = 120)
{
	static const struct queue_log_options large = {
		.segment_size = 10 * SIZE, .staging_size = 4 * SIZE, .flags = QUEUE_LOG_SALVAGE};
	static unsigned char rubbish[80000];
	struct disk *disk = disk_new();
	struct queue_log *log = NULL;
	char text[LONGEST];

	cr_assert_eq(queue_impl_log_open(&log, "log", &large, disk_table(disk)), 0);
	for (int i = 0; i < MESSAGES; i++) {
		(void)content(text, i);
		cr_assert_eq(queue_log_append_async(log, text, sizeof text, NULL), 0);
	}
	cr_assert_eq(queue_log_close(log), 0);
	memset(rubbish, 0x5a, sizeof rubbish);
	disk_spoil(disk, "0000000000000000.log", rubbish, sizeof rubbish, 450000);
	mend(disk, &large, "R");
}

Test(log, memory_runs_out_while_it_is_mended, .timeout = 120)
{
	struct queue_log_options options = salvaging;
	struct disk *ruin = make_ruin(), *disk;
	struct fault_allocator faults;
	uint64_t calls = 1;
	int n;

	fault_init(&faults);
	options.allocator = &faults.allocator;
	for (uint64_t nth = 0; nth <= calls; nth++) {
		disk = disk_crash(ruin, DISK_LOSE_NONE, 0);
		fault_set(&faults, nth, false);
		n = count(disk, &options);
		cr_assert(n > 100 || n == -ENOMEM || n == -EIO, "%d: %d", (int)nth, n);
		cr_assert(fault_is_balanced(&faults), "%d", (int)nth);
		if (nth == 0)
			calls = faults.calls;
		disk_free(disk);
	}
	disk_free(ruin);
}
