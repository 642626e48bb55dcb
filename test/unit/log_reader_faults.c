/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Readers when something goes wrong: files that go or cannot be read, memory that runs out, disks
 * that are full or have failed, dead letters that cannot be stored.
 */
#include "log_unit.h"

#include "../support/fault.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE 65536
#define ROOM (SIZE - QUEUE_IMPL_LOG_HEADER) /* positions in a file */
#define FIRST "0000000000000000.log"

static int n_damages;

static void
on_damage(const struct queue_log_damage *damage, void *context)
{
	(void)damage;
	(void)context;
	n_damages++;
}

static const struct queue_log_options small = {
	.segment_size = SIZE, .staging_size = 4 * SIZE, .on_damage = on_damage};

static const char filler[1000];

/* What a read that does not wait answers. */
static int
try_read(struct queue_log_reader *reader)
{
	struct queue_log_message message;
	char buffer[1000];

	return queue_log_read(reader, &message, buffer, sizeof buffer, 0);
}

static struct queue_log_reader_stats
stats_of(struct queue_log_reader *reader)
{
	struct queue_log_reader_stats stats;

	cr_assert_eq(queue_log_reader_stats(reader, &stats), 0);
	return stats;
}

static struct queue_log_stats
log_stats_of(struct queue_log *log)
{
	struct queue_log_stats stats;

	cr_assert_eq(queue_log_stats(log, &stats), 0);
	return stats;
}

static void
spoil(struct disk *disk, uint64_t position)
{
	disk_spoil(disk, FIRST, "\xff", 1,
		   QUEUE_IMPL_LOG_HEADER + position + QUEUE_IMPL_LOG_RECORD);
}

/*
 * Files that go.
 */

#define RETAINED (ROOM + 8000)

static struct {
	struct disk *disk;
	struct queue_log *log;
	pthread_t thread;
	char what; /* before this, on that thread, the first file goes; 0: it is gone */
} retention;

/* Who reads may hold the lock of its reader, so this cannot go over the end of another file. */
static int
let_file_go(char what, void *context)
{
	uint64_t deadline = queue_after_ms(PATIENCE);
	struct queue_impl_log_segment first;

	(void)context;
	if (!pthread_equal(pthread_self(), retention.thread) || what != retention.what)
		return 0;
	retention.what = 0;
	while (queue_impl_log_segment_at(retention.log, 0, &first)) {
		cr_assert_lt(queue_now(), deadline);
		cr_assert_eq(queue_log_append(retention.log, filler, sizeof filler, NULL), 0);
	}
	/* It has another name a moment later. */
	while (disk_has(retention.disk, FIRST)) {
		cr_assert_lt(queue_now(), deadline);
		(void)sched_yield();
	}
	/* Some systems say so of a file that is gone. */
	return what == 'R' ? -EIO : 0;
}

/* So many bytes that one message more, or a few, end the first file. */
static struct queue_log *
open_retaining(struct disk *disk)
{
	struct queue_log_options options = small;
	struct queue_log *log;

	options.retain_bytes = RETAINED;
	log = open_log(disk, &options);
	while (log_stats_of(log).written < ROOM + RETAINED - 4000)
		cr_assert_eq(queue_log_append(log, filler, sizeof filler, NULL), 0);
	cr_assert_eq(log_stats_of(log).begins, 0);
	return log;
}

Test(log_reader_faults, a_file_goes_while_it_is_opened_or_read)
{
	static const struct {
		char what;
		bool seeks;
	} ways[] = {{'O', false}, {'R', false}, {'R', true}};

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		const struct queue_log_reader_options options = {.start = QUEUE_LOG_TIME,
								 .start_at = 1};
		struct disk *disk = disk_new();
		struct queue_log *log = open_retaining(disk);
		struct queue_log_reader *reader;
		struct queue_log_message message;
		char buffer[sizeof filler];

		n_damages = 0;
		retention.disk = disk;
		retention.log = log;
		retention.thread = pthread_self();
		retention.what = ways[i].what;
		if (!ways[i].seeks)
			reader = open_reader(log, "a", NULL);
		disk_before(disk, let_file_go, NULL);
		if (ways[i].seeks)
			reader = open_reader(log, "a", &options);
		cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
		cr_assert_eq(retention.what, 0);
		disk_before(disk, NULL, NULL);
		/* The first of what is left; and it is said how much is not. */
		cr_assert_geq(message.position, ROOM);
		cr_assert_lt(message.position, ROOM + 2 * sizeof filler);
		cr_assert_eq(stats_of(reader).expired, ROOM, "%d", (int)stats_of(reader).expired);
		cr_assert_eq(n_damages, 0);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

Test(log_reader_faults, a_file_that_is_missing_is_an_error)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);

	append(log, "one");
	n_damages = 0;
	disk_remove(disk, FIRST);
	cr_assert_eq(try_read(open_reader(log, "a", NULL)), -EIO);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * Disks that cannot be read.
 */

Test(log_reader_faults, the_end_of_damage_cannot_be_found)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log *log;
	size_t length = 300000; /* more than is read at once */
	char *text = calloc(length, 1);
	uint64_t position;
	int64_t nth = 0;
	int rc;

	options.segment_size = 32 * SIZE;
	options.staging_size = 32 * SIZE;
	options.flags = QUEUE_LOG_SALVAGE;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	cr_assert_eq(queue_log_append(log, text, length, &position), 0);
	append(log, "behind");
	n_damages = 0;
	spoil(disk, position + 1000);
	/* The head of a record, all of it, and what is behind it; then it is left out. */
	for (;; nth++) {
		disk_fail(disk, 'R', nth, false, EIO);
		rc = try_read(reader);
		if (rc == 0)
			break;
		cr_assert_eq(rc, -EIO, "%d: %d", (int)nth, rc);
		if (nth < 3)
			cr_assert_eq(stats_of(reader).expired, 0);
	}
	cr_assert_geq(nth, 3, "%d", (int)nth);
	cr_assert_gt(stats_of(reader).expired, length);
	cr_assert_geq(n_damages, 1);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	free(text);
	disk_free(disk);
}

Test(log_reader_faults, what_cannot_be_read_again_comes_later)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t one = append(log, "one"), two = append(log, "two");

	expect(reader, "one", 1);
	expect(reader, "two", 1);
	cr_assert_eq(queue_log_nack(reader, one, 0), 0);
	cr_assert_eq(queue_log_nack(reader, two, 0), 0);
	disk_fail(disk, 'R', 0, true, EIO);
	cr_assert_eq(try_read(reader), -EIO);
	cr_assert_eq(try_read(reader), -EIO);
	disk_fail(disk, 'R', -1, false, 0);
	/* One at a time, though both are due. */
	expect(reader, "one", 2);
	expect(reader, "two", 2);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_reader_faults, a_reader_that_cannot_look_for_its_beginning_is_none)
{
	static const enum queue_log_start starts[] = {QUEUE_LOG_POSITION, QUEUE_LOG_TIME};

	for (int i = 0; i < 2; i++) {
		struct disk *disk = disk_new();
		struct queue_log *log = open_log(disk, &small);
		struct queue_log_reader *reader = NULL;
		struct queue_log_reader_options options = {.start = starts[i]};

		append(log, "one");
		options.start_at = append(log, "two");
		disk_fail(disk, 'R', 0, true, EIO);
		cr_assert_eq(queue_log_reader_open(log, "a", &options, &reader), -EIO);
		cr_assert_null(reader);
		cr_assert_eq(queue_log_reader_remove(log, "a"), -ENOENT);
		disk_fail(disk, 'R', -1, false, 0);
		reader = open_reader(log, "a", &options);
		if (starts[i] == QUEUE_LOG_POSITION)
			cr_assert_eq(expect(reader, "two", 1), options.start_at);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

/* Damage is for who reads there. */
Test(log_reader_faults, damage_does_not_keep_a_reader_from_beginning_at_a_time)
{
	const struct queue_log_reader_options options = {.start = QUEUE_LOG_TIME, .start_at = 1};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;

	n_damages = 0;
	spoil(disk, append(log, "one"));
	reader = open_reader(log, "a", &options);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(try_read(reader), -EILSEQ);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * Where readers begin.
 */

Test(log_reader_faults, begin_at_the_next_message)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	struct queue_log_message message;
	uint64_t one = append(log, "one");
	char buffer[8];
	int rc, n = 0;

	append(log, "two");
	options.start_at = one + 8;
	expect(open_reader(log, "a", &options), "two", 1);
	/* Later than all that there is, or a little earlier; what comes is not missed. */
	options.start = QUEUE_LOG_TIME;
	options.start_at = UINT64_MAX;
	reader = open_reader(log, "b", &options);
	append(log, "three");
	while ((rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0)) == 0)
		n++;
	cr_assert_eq(rc, -ETIMEDOUT, "%d", rc);
	cr_assert(n >= 1 && n <= 3, "%d", n);
	cr_assert_eq(memcmp(buffer, "three", 5), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_reader_faults, begin_with_what_is_left)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION};
	struct disk *disk = disk_new();
	struct queue_log *log = open_retaining(disk);
	struct queue_log_reader *reader;
	struct queue_log_message message;
	char buffer[sizeof filler];

	while (log_stats_of(log).begins == 0)
		cr_assert_eq(queue_log_append(log, filler, sizeof filler, NULL), 0);
	options.start_at = 8;
	reader = open_reader(log, "a", &options);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
	cr_assert_geq(message.position, ROOM);
	cr_assert_lt(message.position, ROOM + 2 * sizeof filler);
	/* It was gone before. */
	cr_assert_eq(stats_of(reader).expired, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static uint32_t holding;

/* The committer, between a write and a sync. */
static void
hold(void *unused)
{
	(void)unused;
	while (queue_impl_load32_acq(&holding))
		(void)usleep(100);
}

/* The message is in memory, in a file that is never begun. */
Test(log_reader_faults, do_not_wait_for_what_is_never_stored)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;

	append(log, "one");
	cr_assert(FAULT_EVENTUALLY(log_stats_of(log).spares == 2));
	queue_impl_store32_rel(&holding, 1);
	disk_watch(disk, hold, NULL);
	while (options.start_at < ROOM)
		cr_assert_eq(queue_log_append_async(log, filler, sizeof filler, &options.start_at),
			     0);
	disk_fail(disk, 's', 0, true, EIO);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(queue_log_wait(log, options.start_at, QUEUE_NEVER), -EIO);
	reader = open_reader(log, "a", &options);
	cr_assert_eq(try_read(reader), -EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

/*
 * What was known before.
 */

Test(log_reader_faults, what_is_known_of_a_lost_message_is_not_taken_for_another)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	static const char *const texts[] = {"zero", "one", "two", "three"};
	uint64_t positions[4];

	for (int i = 0; i < 4; i++) {
		positions[i] = append(log, texts[i]);
		expect(reader, texts[i], 1);
	}
	cr_assert_eq(queue_log_ack(reader, positions[1]), 0);
	cr_assert_eq(queue_log_ack(reader, positions[3]), 0);
	cr_assert_eq(queue_log_close(log), 0);
	spoil(disk, positions[1]);
	options.flags = QUEUE_LOG_SALVAGE;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	expect(reader, "zero", 2);
	expect(reader, "two", 2);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_reader_faults, what_is_not_out_is_neither_finished_nor_given_back)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t two;

	append(log, "one");
	append(log, "two");
	expect(reader, "one", 1);
	two = expect(reader, "two", 1);
	cr_assert_eq(queue_log_ack(reader, two), 0);
	cr_assert_eq(queue_log_ack(reader, two), -ENOENT);
	cr_assert_eq(queue_log_nack(reader, two, 0), -ENOENT);
	cr_assert_eq(queue_log_renew(reader, two + 8, 0), -ENOENT);
	cr_assert_eq(stats_of(reader).acknowledged, 1);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* What is left of the buffer is counted in words of eight bytes. */
Test(log_reader_faults, a_buffer_is_full_in_the_middle_of_a_word)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	struct queue_log_message messages[2];
	char buffer[5];

	append(log, "12345");
	append(log, "");
	cr_assert_eq(queue_log_read_n(reader, messages, 2, buffer, sizeof buffer, 0), 1);
	cr_assert_eq(memcmp(messages[0].data, "12345", 5), 0);
	cr_assert_eq(queue_log_read_n(reader, messages, 2, buffer, sizeof buffer, 0), 1);
	cr_assert_eq(messages[0].length, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Whoever is behind, whatever the order in which they were opened. */
Test(log_reader_faults, the_slowest_is_named)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *readers[3];
	static const char *const names[] = {"fast", "slow", "last"};
	static const int done[] = {2, 0, 1};

	append(log, "one");
	append(log, "two");
	for (int i = 0; i < 3; i++) {
		readers[i] = open_reader(log, names[i], NULL);
		for (int k = 0; k < done[i]; k++)
			cr_assert_eq(queue_log_ack(readers[i],
						   expect(readers[i], k == 0 ? "one" : "two", 1)),
				     0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	/* They are asked when something is synced behind that. */
	append(log, "three");
	append(log, "four");
	cr_assert_eq(strcmp(log_stats_of(log).pinned_by, "slow"), 0, "%s",
		     log_stats_of(log).pinned_by);
	cr_assert_eq(log_stats_of(log).readers, 3);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * A log that has failed.
 */

static void *
wait_and_read(void *reader)
{
	struct queue_log_message message;
	char buffer[8];
	int rc = queue_log_read(reader, &message, buffer, sizeof buffer, QUEUE_NEVER);

	cr_assert_eq(rc, -EIO, "%d", rc);
	return NULL;
}

Test(log_reader_faults, who_waits_is_told_that_the_log_has_failed)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, wait_and_read, reader), 0);
	cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&log->waiting) > 0));
	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_log_append(log, "x", 1, NULL), -EIO);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

/* What is durable is read first, as the window lets it. */
Test(log_reader_faults, a_full_window_hides_that_the_log_has_failed)
{
	const struct queue_log_reader_options options = {.window = 1};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	struct queue_log_message message;
	char buffer[8];
	uint64_t one;

	one = append(log, "one");
	append(log, "two");
	expect(reader, "one", 1);
	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_log_append(log, "x", 1, NULL), -EIO);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer,
				    queue_now() + QUEUE_MILLISECOND),
		     -ETIMEDOUT);
	cr_assert_eq(queue_log_ack(reader, one), 0);
	cr_assert_eq(queue_log_ack(reader, expect(reader, "two", 1)), 0);
	cr_assert_eq(try_read(reader), -EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

/*
 * Dead letters.
 */

Test(log_reader_faults, dead_letters_must_be_as_long)
{
	struct queue_log_options large = small;
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log_reader *reader = NULL;
	struct queue_log_reader_options options = {.attempts = 1};
	struct queue_log *log, *dead = open_log(other, &small);

	large.segment_size = 2 * SIZE;
	log = open_log(disk, &large);
	cr_assert_gt(queue_log_length_max(log), queue_log_length_max(dead));
	options.dead_letters = dead;
	cr_assert_eq(queue_log_reader_open(log, "a", &options, &reader), -EINVAL);
	options.dead_letters = log;
	reader = open_reader(dead, "a", &options);
	cr_assert_eq(queue_log_close(dead), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	disk_free(other);
}

Test(log_reader_faults, a_dead_letter_needs_no_buffer)
{
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead = open_log(other, &small);
	const struct queue_log_reader_options options = {.attempts = 1, .dead_letters = dead};
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	struct queue_log_message message;

	append(log, "poison");
	cr_assert_eq(queue_log_nack(reader, expect(reader, "poison", 1), 0), 0);
	cr_assert_eq(queue_log_read(reader, &message, NULL, 0, 0), -ETIMEDOUT);
	cr_assert_eq(stats_of(reader).dead_lettered, 1);
	expect(open_reader(dead, "a", NULL), "poison", 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
}

/* It has come too often before the log was opened, and still is not lost. */
Test(log_reader_faults, an_old_dead_letter_that_cannot_be_stored_is_kept)
{
	struct disk *disk = disk_new(), *other = disk_new(), *third = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead = open_log(other, &small);
	struct queue_log_reader_options options = {.attempts = 1, .dead_letters = dead};
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	uint64_t poison;

	append(log, "poison");
	append(log, "good");
	poison = expect(reader, "poison", 1);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", &options);
	disk_fail(other, 'w', 0, true, EIO);
	expect(reader, "good", 1);
	cr_assert_eq(stats_of(reader).out, 2);
	cr_assert_eq(stats_of(reader).dead_lettered, 0);
	/* It is tried again in a second, or as soon as somebody says so. */
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_nack(reader, poison, 0), 0);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	(void)queue_log_close(dead);
	options.dead_letters = dead = open_log(third, &small);
	log = open_log(disk, &small);
	cr_assert_eq(try_read(open_reader(log, "a", &options)), -ETIMEDOUT);
	struct queue_log_reader *undertaker = open_reader(dead, "a", NULL);

	expect(undertaker, "poison", 1);
	expect(undertaker, "good", 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
	disk_free(third);
}

/*
 * Memory that runs out.
 */

/* Reads until it has the memory that it needs: what the last one answers. */
static int
read_without_memory(struct queue_log_reader *reader, struct fault_allocator *faults,
		    uint64_t *refused)
{
	int rc = -ENOMEM;

	*refused = 0;
	for (uint64_t nth = 1; rc == -ENOMEM; nth++) {
		fault_set(faults, nth, false);
		rc = try_read(reader);
		*refused += rc == -ENOMEM;
	}
	fault_set(faults, 0, false);
	return rc;
}

Test(log_reader_faults, without_memory_a_message_is_buried_later)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log, *dead = open_log(other, &small);
	const struct queue_log_reader_options readers = {.attempts = 1, .dead_letters = dead};
	struct queue_log_reader *reader;
	struct fault_allocator faults;
	uint64_t poison, refused;

	fault_init(&faults);
	options.allocator = &faults.allocator;
	log = open_log(disk, &options);
	cr_assert(FAULT_EVENTUALLY(log_stats_of(log).spares == 2));
	reader = open_reader(log, "a", &readers);
	append(log, "poison");
	append(log, "old");
	append(log, "good");
	poison = expect(reader, "poison", 1);
	expect(reader, "old", 1);
	cr_assert_eq(queue_log_nack(reader, poison, 0), 0);
	/* For reading it again, and to give it away. */
	cr_assert_eq(read_without_memory(reader, &faults, &refused), 0);
	cr_assert_eq(refused, 2, "%d", (int)refused);
	cr_assert_eq(stats_of(reader).dead_lettered, 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert(fault_is_balanced(&faults));
	/* The same where it had come before the log was opened. */
	fault_set(&faults, 0, false);
	log = open_log(disk, &options);
	cr_assert(FAULT_EVENTUALLY(log_stats_of(log).spares == 2));
	reader = open_reader(log, "a", &readers);
	cr_assert_eq(read_without_memory(reader, &faults, &refused), -ETIMEDOUT);
	cr_assert_geq(refused, 2, "%d", (int)refused);
	cr_assert_eq(stats_of(reader).dead_lettered, 2);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert(fault_is_balanced(&faults));
	reader = open_reader(dead, "a", NULL);
	expect(reader, "poison", 1);
	expect(reader, "old", 1);
	expect(reader, "good", 1);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
}

Test(log_reader_faults, without_memory_a_reader_is_as_it_was)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader = NULL;
	struct fault_allocator faults;
	uint64_t nth, failed;
	struct queue_log *log;
	int rc;

	fault_init(&faults);
	options.allocator = &faults.allocator;
	log = open_log(disk, &options);
	cr_assert(FAULT_EVENTUALLY(log_stats_of(log).spares == 2));
	/* A new one is not known. */
	for (nth = 1; nth <= 2; nth++) {
		fault_set(&faults, nth, false);
		cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), -ENOMEM);
		cr_assert_null(reader);
		cr_assert_eq(queue_log_reader_remove(log, "a"), -ENOENT);
	}
	fault_set(&faults, 0, false);
	reader = open_reader(log, "a", NULL);
	append(log, "one");
	append(log, "two");
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_ack(reader, expect(reader, "two", 1)), 0);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	/* One that is stays what it is. */
	fault_set(&faults, 1, false);
	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), -ENOMEM);
	fault_set(&faults, 0, false);
	cr_assert_eq(queue_log_close(log), 0);
	/* Also when the log cannot be opened. */
	nth = 1;
	do {
		fault_set(&faults, nth++, false);
		rc = queue_impl_log_open(&log, "log", &options, disk_table(disk));
		cr_assert(rc == 0 || rc == -ENOMEM, "%d", rc);
		if (rc == 0)
			cr_assert_eq(queue_log_close(log), 0);
		failed = faults.failed;
		cr_assert(fault_is_balanced(&faults));
	} while (failed > 0);
	fault_set(&faults, 0, false);
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 2);
	cr_assert_eq(try_read(reader), -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * Room that runs out.
 */

/* Acknowledges one after the other, all of it written each time, until there is no room for it. */
static int
fill_with_acknowledgements(struct queue_log *log, struct queue_log_reader *reader,
			   const struct queue_log_message *messages, int first, int n)
{
	int rc = 0, i;

	for (i = first; rc == 0; i++) {
		cr_assert_lt(i, n);
		cr_assert_eq(queue_log_ack(reader, messages[i].position), 0);
		rc = queue_log_sync(log, QUEUE_NEVER);
	}
	cr_assert_eq(rc, -ENOSPC, "%d", rc);
	return i;
}

Test(log_reader_faults, removed_on_a_full_disk_is_forgotten_when_there_is_room)
{
	static const char long_name[QUEUE_LOG_NAME_MAX + 1] =
		"0123456789012345678901234567890123456789012345678901234567890123";
	static struct queue_log_message messages[400];
	static char buffer[400 * 400];
	struct queue_log_reader *reader, *slow;
	struct disk *disk = disk_new();
	struct queue_log *log;
	uint64_t deadline = queue_after_ms(PATIENCE);
	int n, next, rc;

	disk_limit(disk, 3 * SIZE + 100);
	log = open_log(disk, &small);
	/* The first in the list, so that it comes before what there is no room for. */
	cr_assert_eq(queue_log_reader_close(open_reader(log, long_name, NULL)), 0);
	slow = open_reader(log, "slow", NULL);
	reader = open_reader(log, "a", NULL);
	while (queue_log_append(log, filler, 300, NULL) == 0)
		continue;
	n = queue_log_read_n(reader, messages, 400, buffer, sizeof buffer, 0);
	/* Long records first, and then short ones in what is left. */
	next = fill_with_acknowledgements(log, reader, messages, 1, n);
	cr_assert_eq(queue_log_ack(reader, messages[0].position), 0);
	(void)fill_with_acknowledgements(log, reader, messages, next, n);
	cr_assert_eq(queue_log_reader_remove(log, long_name), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), -ENOSPC);
	/* It is none any more, though that is not stored. */
	cr_assert_eq(queue_log_reader_remove(log, long_name), -ENOENT);
	disk_limit(disk, 0);
	while ((rc = queue_log_append(log, filler, 300, NULL)) != 0 && queue_now() < deadline)
		(void)usleep(1000);
	cr_assert_eq(rc, 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_eq(stats_of(slow).position, 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	cr_assert_eq(queue_log_reader_remove(log, long_name), -ENOENT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* All that is known of them is longer than memory. */
Test(log_reader_faults, are_written_again_in_parts, .timeout = 60)
{
	enum {
		READERS = 18,
		N = QUEUE_LOG_WINDOW_MAX - 1
	};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *readers[READERS];
	static struct queue_log_message messages[N];
	static char buffer[N * 8];
	char name[32];

	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
	}
	for (int i = 0; i < N; i++)
		cr_assert_eq(queue_log_append_async(log, "x", 1, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	for (int i = 0; i < READERS; i++) {
		cr_assert_eq(queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0),
			     N);
		cr_assert_eq(queue_log_ack_n(readers[i], messages + 1, N - 1), N - 1);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	/* From a new file on. */
	for (int i = 0; i < 2 * SIZE / (int)sizeof filler; i++)
		cr_assert_eq(queue_log_append_async(log, filler, sizeof filler, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
		expect(readers[i], "x", 2);
		cr_assert_eq(stats_of(readers[i]).position, messages[0].position);
	}
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}
