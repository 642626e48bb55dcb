/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: the contract of conveyor/log.h line by line, on a disk in memory. What crashes leave is
 * tested in test/stress/log_crash.c.
 */
#include "log_unit.h"

#include "../../lib/crc32c_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE 65536
#define FIRST "0000000000000000.log"

static struct queue_log_damage damages[16];
static char damaged_file[64];
static int n_damages;

static void
on_damage(const struct queue_log_damage *damage, void *context)
{
	(void)context;
	if (n_damages < 16)
		damages[n_damages] = *damage;
	(void)snprintf(damaged_file, sizeof damaged_file, "%s", damage->file);
	n_damages++;
}

static const struct queue_log_options small = {
	.segment_size = SIZE, .staging_size = 4 * SIZE, .on_damage = on_damage};

Test(log, refuses_what_is_not_valid_and_leaves_out_alone)
{
	static const struct queue_allocator none = {0};
	static const struct queue_log_options wrong[] = {
		{.sync = (enum queue_log_sync)4},
		{.sync = QUEUE_LOG_INTERVAL},
		{.interval = 1},
		{.flags = 4},
		{.segment_size = SIZE - 4096},
		{.segment_size = SIZE + 8},
		{.segment_size = QUEUE_LOG_SEGMENT_MAX + 4096},
		{.staging_size = 4 * SIZE / 2},
		{.staging_size = 4 * SIZE + 4096},
		{.staging_size = UINT64_C(2) << 30},
		{.allocator = &none},
	};
	struct queue_log *untouched = (void *)&damages, *log = untouched;
	struct disk *disk = disk_new();

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		cr_assert_eq(queue_impl_log_open(&log, "log", &wrong[i], disk_table(disk)), -EINVAL,
			     "%zu", i);
	cr_assert_eq(queue_impl_log_open(NULL, "log", &small, disk_table(disk)), -EINVAL);
	cr_assert_eq(queue_impl_log_open(&log, NULL, &small, disk_table(disk)), -EINVAL);
	cr_assert_eq(log, untouched);
	cr_assert_eq(queue_log_close(NULL), 0);
	cr_assert_eq(queue_log_append(NULL, "a", 1, NULL), -EINVAL);
	cr_assert_eq(queue_log_sync(NULL, 0), -EINVAL);
	cr_assert_eq(queue_log_fd(NULL), -EINVAL);
	cr_assert_eq(queue_log_stats(NULL, NULL), -EINVAL);
	cr_assert_eq(queue_log_reader_open(NULL, "a", NULL, NULL), -EINVAL);
	cr_assert_eq(queue_log_reader_close(NULL), 0);
	cr_assert_eq(queue_log_ack(NULL, 0), -EINVAL);
	cr_assert_eq(queue_log_nack(NULL, 0, 0), -EINVAL);
	cr_assert_eq(queue_log_renew(NULL, 0, 0), -EINVAL);
	cr_assert_eq(queue_log_wait(NULL, 0, 0), -EINVAL);
	cr_assert_eq(queue_log_reader_remove(NULL, "a"), -EINVAL);
	cr_assert_eq(queue_log_reader_stats(NULL, NULL), -EINVAL);
	/* The system's disk, on which there is no such directory. */
	cr_assert_eq(queue_log_open(&log, "/nonexistent/conveyor/log", NULL), -ENOENT);
	cr_assert_eq(log, untouched);
	disk_free(disk);
}

Test(log, refuses_readers_that_are_not_valid)
{
	static const struct queue_log_reader_options wrong[] = {
		{.start = (enum queue_log_start)4},
		{.attempts = 1},
		{.window = 1u << 20},
	};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader_options own = {.attempts = 1, .dead_letters = log};
	struct queue_log_reader *untouched = (void *)&damages, *reader = untouched;
	char name[QUEUE_LOG_NAME_MAX + 2];

	memset(name, 'n', sizeof name);
	name[sizeof name - 1] = '\0';
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		cr_assert_eq(queue_log_reader_open(log, "a", &wrong[i], &reader), -EINVAL, "%zu",
			     i);
	cr_assert_eq(queue_log_reader_open(log, "a", &own, &reader), -EINVAL);
	cr_assert_eq(queue_log_reader_open(log, "", NULL, &reader), -EINVAL);
	cr_assert_eq(queue_log_reader_open(log, name, NULL, &reader), -EINVAL);
	cr_assert_eq(queue_log_reader_remove(log, "a"), -ENOENT);
	cr_assert_eq(reader, untouched);
	{
		struct queue_log_message message;
		struct queue_log_stats stats;

		reader = open_reader(log, "a", NULL);
		cr_assert_eq(queue_log_read_n(NULL, &message, 1, name, 1, 0), -EINVAL);
		cr_assert_eq(queue_log_read_n(reader, NULL, 1, name, 1, 0), -EINVAL);
		cr_assert_eq(queue_log_read_n(reader, &message, 0, name, 1, 0), -EINVAL);
		cr_assert_eq(queue_log_read_n(reader, &message, 1, NULL, 1, 0), -EINVAL);
		cr_assert_eq(queue_log_read_n(reader, &message, 1, NULL, 0, 0), -ETIMEDOUT);
		cr_assert_eq(queue_log_ack_n(reader, &message, -1), -EINVAL);
		cr_assert_eq(queue_log_ack_n(reader, NULL, 1), -EINVAL);
		cr_assert_eq(queue_log_ack_n(reader, NULL, 0), 0);
		cr_assert_eq(queue_log_reader_stats(reader, NULL), -EINVAL);
		cr_assert_eq(queue_log_reader_remove(log, NULL), -EINVAL);
		cr_assert_eq(queue_log_stats(log, NULL), -EINVAL);
		cr_assert_eq(queue_log_append(log, NULL, 1, NULL), -EINVAL);
		cr_assert_eq(queue_log_append(log, NULL, 0, NULL), 0);
		cr_assert_eq(queue_log_reader_open(log, NULL, NULL, &reader), -EINVAL);
		cr_assert_eq(queue_log_reader_open(log, "b", NULL, NULL), -EINVAL);
		cr_assert_eq(queue_log_reader_close(reader), 0);
		cr_assert_eq(queue_log_reader_remove(log, "a"), 0);
		/* It is none at once, whenever that is written. */
		queue_log_stats(log, &stats);
		cr_assert_eq(stats.readers, 0);
	}
	name[QUEUE_LOG_NAME_MAX] = '\0';
	reader = open_reader(log, name, NULL);
	cr_assert_eq(queue_log_reader_open(log, name, NULL, &reader), -EBUSY);
	cr_assert_eq(queue_log_reader_remove(log, name), -EBUSY);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, what_is_appended_is_read_in_order_and_once)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t one = append(log, "one"), empty = append(log, ""), three = append(log, "three");

	cr_assert(one < empty && empty < three);
	cr_assert_gt(queue_log_durable(log), three);
	cr_assert_eq(expect(reader, "one", 1), one);
	cr_assert_eq(expect(reader, "", 1), empty);
	cr_assert_eq(expect(reader, "three", 1), three);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, is_there_after_it_was_closed_and_opened)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	uint64_t one = append(log, "one"), two;

	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	two = append(log, "two");
	cr_assert_gt(two, one);
	reader = open_reader(log, "a", NULL);
	cr_assert_eq(expect(reader, "one", 1), one);
	cr_assert_eq(expect(reader, "two", 1), two);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(n_damages, 0);
	disk_free(disk);
}

/* So many bytes long. */
static void
make_file(struct disk *disk, const char *name, uint64_t size)
{
	const struct queue_impl_disk *table = disk_table(disk);
	int file = table->open(table->context, 0, name, QUEUE_IMPL_DISK_CREATE);

	cr_assert_geq(file, 0);
	if (size > 0)
		cr_assert_eq(table->write(table->context, file, "", 1, size - 1), 0);
	table->close(table->context, file);
	cr_assert_eq(table->sync_directory(table->context, 0), 0);
}

/* No file is being made then: what is done to the disk next is the committer's, or a reader's. */
static void
await_spares(struct queue_log *log)
{
	uint64_t end = queue_after_ms(PATIENCE);
	struct queue_log_stats stats;

	do
		queue_log_stats(log, &stats);
	while (stats.spares < 2 && queue_now() < end);
	cr_assert_geq(stats.spares, 2);
}

Test(log, is_open_once)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = NULL, *second = NULL;

	options.flags = QUEUE_LOG_NO_CREATE;
	cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), -ENOENT);
	/* Who made the directory came no further. */
	make_file(disk, "lock", 0);
	cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), -ENOENT);
	log = open_log(disk, &small);
	cr_assert_eq(queue_impl_log_open(&second, "log", &small, disk_table(disk)), -EBUSY);
	cr_assert_null(second);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &options);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Fills several segments, with messages of all lengths up to the longest. */
static void
fill(struct queue_log *log, int n, uint64_t *positions)
{
	size_t longest = (size_t)queue_log_length_max(log);
	char *text = calloc(longest + 1, 1);

	/* Lengths that leave rests of all kinds at the ends of files. */
	for (int i = 0; i < n; i++) {
		size_t length = i == 0 ? longest : (size_t)(i * 37) % 2000;

		memset(text, 'a' + i % 26, length);
		cr_assert_eq(queue_log_append_async(log, text, length, &positions[i]), 0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	free(text);
}

static void
expect_filled(struct queue_log_reader *reader, int n, const uint64_t *positions)
{
	static char buffer[SIZE];
	struct queue_log_message messages[7];

	for (int i = 0; i < n;) {
		int got = queue_log_read_n(reader, messages, 7, buffer, sizeof buffer, 0);

		cr_assert_gt(got, 0, "message %d: %d", i, got);
		for (int k = 0; k < got; k++, i++) {
			const char *text = messages[k].data;

			cr_assert_eq(messages[k].position, positions[i], "message %d", i);
			if (i > 0)
				cr_assert_eq(messages[k].length, (size_t)(i * 37) % 2000);
			for (size_t at = 0; at < messages[k].length; at++)
				if (text[at] != 'a' + i % 26)
					cr_assert(false, "message %d, byte %zu", i, at);
		}
		cr_assert_eq(queue_log_ack_n(reader, messages, got), got);
	}
	expect_nothing(reader);
}

Test(log, goes_over_many_files)
{
	enum {
		N = 500
	};
	static uint64_t positions[N];
	struct queue_log_stats stats;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);

	fill(log, N, positions);
	queue_log_stats(log, &stats);
	cr_assert_gt(stats.segments, 5);
	cr_assert_eq(stats.appended, N);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_filled(open_reader(log, "a", NULL), N, positions);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static uint64_t
count_spares(struct disk *disk)
{
	uint64_t n = 0, files = disk_count(disk, 'o') + disk_count(disk, 'r');
	char name[32];

	for (uint64_t i = 0; i < files; i++) {
		(void)snprintf(name, sizeof name, "spare.%" PRIu64, i);
		n += disk_has(disk, name);
	}
	return n;
}

Test(log, files_that_nobody_needs_are_used_again)
{
	enum {
		N = 500
	};
	static uint64_t positions[N];
	struct queue_log_stats stats;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t begins = 0, end = queue_after_ms(PATIENCE);

	for (int round = 0; round < 4; round++) {
		fill(log, N, positions);
		queue_log_stats(log, &stats);
		cr_assert_gt(stats.segments, 5);
		cr_assert_eq(stats.readers, 1);
		cr_assert_eq(strcmp(stats.pinned_by, "a"), 0);
		expect_filled(reader, N, positions);
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
		/* What was acknowledged is durable now; the files go with the next batch. */
		append(log, "");
		do
			queue_log_stats(log, &stats);
		while (stats.segments > 2 && queue_now() < end);
		cr_assert_leq(stats.segments, 2);
		cr_assert_gt(stats.begins, begins);
		begins = stats.begins;
		struct queue_log_message message;
		char buffer[8];

		cr_assert_eq(queue_log_read(reader, &message, buffer, 8, QUEUE_NEVER), 0);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	}
	cr_assert_eq(queue_log_close(log), 0);
	/* Each round but the last left a file at least that was begun a second time. */
	uint64_t begun = stats.ends / (SIZE - QUEUE_IMPL_LOG_HEADER) + 1;

	cr_assert_leq(disk_count(disk, 'o') - count_spares(disk) + 3, begun);
	disk_free(disk);
}

Test(log, a_message_that_is_too_long_is_refused)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	size_t longest = (size_t)queue_log_length_max(log);
	struct queue_log_message message;
	char *text = calloc(longest + 1, 1), *buffer = malloc(longest);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);

	cr_assert_eq(queue_log_append(log, text, longest + 1, NULL), -EMSGSIZE);
	cr_assert_eq(queue_log_append(log, text, longest, NULL), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, longest - 1, QUEUE_NEVER), -EMSGSIZE);
	cr_assert_eq(message.length, longest);
	cr_assert_eq(queue_log_read(reader, &message, buffer, longest, QUEUE_NEVER), 0);
	cr_assert_eq(message.attempt, 1);
	cr_assert_eq(queue_log_nack(reader, message.position, 0), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, 1, QUEUE_NEVER), -EMSGSIZE);
	cr_assert_eq(queue_log_read(reader, &message, buffer, longest, QUEUE_NEVER), 0);
	cr_assert_eq(message.attempt, 2);
	free(text);
	free(buffer);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, acknowledged_messages_do_not_come_again_after_a_restart)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t position[5];

	for (int i = 0; i < 5; i++)
		position[i] = append(log, (char[]){(char)('0' + i), '\0'});
	for (int i = 0; i < 4; i++)
		cr_assert_eq(expect(reader, (char[]){(char)('0' + i), '\0'}, 1), position[i]);
	/* Out of order: 0 and 2. */
	cr_assert_eq(queue_log_ack(reader, position[2]), 0);
	cr_assert_eq(queue_log_ack(reader, position[0]), 0);
	cr_assert_eq(queue_log_ack(reader, position[0]), -ENOENT);
	cr_assert_eq(queue_log_ack(reader, position[4]), -ENOENT);
	cr_assert_eq(queue_log_close(log), 0);
	for (uint32_t attempt = 2; attempt < 5; attempt++) {
		log = open_log(disk, &small);
		reader = open_reader(log, "a", NULL);
		expect(reader, "1", attempt);
		expect(reader, "3", attempt);
		if (attempt == 2)
			cr_assert_eq(expect(reader, "4", 1), position[4]);
		if (attempt == 2)
			cr_assert_eq(queue_log_ack(reader, position[4]), 0);
		expect_nothing(reader);
		cr_assert_eq(queue_log_close(log), 0);
	}
	disk_free(disk);
}

Test(log, a_reader_that_is_closed_and_opened_goes_on_where_it_was)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);

	append(log, "one");
	append(log, "two");
	append(log, "three");
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_ack(reader, expect(reader, "two", 1)), 0);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 2);
	expect(reader, "three", 1);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	cr_assert_eq(queue_log_reader_remove(log, "a"), 0);
	cr_assert_eq(queue_log_reader_remove(log, "a"), -ENOENT);
	/* It is forgotten, also by the next that opens the log. */
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	cr_assert_eq(queue_log_reader_remove(log, "a"), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	cr_assert_eq(queue_log_reader_remove(log, "a"), -ENOENT);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_message_comes_again_when_its_lease_ends_or_it_is_given_back)
{
	struct queue_log_reader_options options = {.lease = 20 * QUEUE_MILLISECOND};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	uint64_t began = queue_now(), one = append(log, "one"), two = append(log, "two");

	expect(reader, "one", 1);
	expect(reader, "two", 1);
	cr_assert_eq(queue_log_renew(reader, one, QUEUE_NEVER), 0);
	cr_assert_eq(expect(reader, "two", 2), two);
	cr_assert_geq(queue_now() - began, options.lease);
	began = queue_now();
	cr_assert_eq(queue_log_nack(reader, two, 0), 0);
	expect(reader, "two", 3);
	cr_assert_eq(queue_log_nack(reader, two, 50 * QUEUE_MILLISECOND), 0);
	expect(reader, "two", 4);
	cr_assert_geq(queue_now() - began, 50 * QUEUE_MILLISECOND);
	cr_assert_eq(queue_log_ack(reader, two), 0);
	cr_assert_eq(queue_log_nack(reader, two, 0), -ENOENT);
	cr_assert_eq(queue_log_renew(reader, two, 0), -ENOENT);
	cr_assert_eq(queue_log_renew(reader, one, 0), 0);
	expect(reader, "one", 2);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, so_many_messages_are_out_at_most)
{
	struct queue_log_reader_options options = {.window = 2};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	struct queue_log_reader_stats stats;
	uint64_t one, two;

	append(log, "one");
	append(log, "two");
	append(log, "three");
	one = expect(reader, "one", 1);
	two = expect(reader, "two", 1);
	expect_nothing(reader);
	/* An acknowledgement out of order takes its place still. */
	cr_assert_eq(queue_log_ack(reader, two), 0);
	expect_nothing(reader);
	cr_assert_eq(queue_log_ack(reader, one), 0);
	expect(reader, "three", 1);
	queue_log_reader_stats(reader, &stats);
	cr_assert_eq(stats.out, 1);
	cr_assert_eq(stats.delivered, 3);
	cr_assert_eq(stats.acknowledged, 2);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_message_that_fails_too_often_becomes_a_dead_letter)
{
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead = open_log(other, &small);
	struct queue_log_reader_options options = {.attempts = 2, .dead_letters = dead};
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	struct queue_log_reader_stats stats;
	uint64_t position;

	append(log, "poison");
	append(log, "good");
	position = expect(reader, "poison", 1);
	cr_assert_eq(queue_log_nack(reader, position, 0), 0);
	expect(reader, "poison", 2);
	cr_assert_eq(queue_log_nack(reader, position, 0), 0);
	position = expect(reader, "good", 1);
	expect(open_reader(dead, "a", NULL), "poison", 1);
	cr_assert_eq(queue_log_ack(reader, position), 0);
	queue_log_reader_stats(reader, &stats);
	cr_assert_eq(stats.dead_lettered, 1);
	cr_assert_eq(stats.acknowledged, 1);
	cr_assert_eq(stats.lag, 0, "%lu", (unsigned long)stats.lag);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
}

Test(log, readers_begin_where_they_are_told)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_TAIL};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *tail;
	uint64_t two, time;

	append(log, "one");
	two = append(log, "two");
	append(log, "three");
	tail = open_reader(log, "tail", &options);
	/* Times are noted every 10 ms, behind what was appended before. */
	for (int i = 0; i < 3; i++) {
		usleep(15000);
		append(log, "-");
	}
	time = queue_impl_log_time();
	usleep(15000);
	append(log, "four");
	expect(tail, "-", 1);
	options.start = QUEUE_LOG_POSITION;
	options.start_at = two - 1;
	expect(open_reader(log, "position", &options), "two", 1);
	options.start_at = two + 1;
	expect(open_reader(log, "behind", &options), "three", 1);
	options.start_at = UINT64_MAX;
	expect_nothing(open_reader(log, "end", &options));
	options.start = QUEUE_LOG_TIME;
	options.start_at = time;
	{
		struct queue_log_reader *reader = open_reader(log, "time", &options);
		struct queue_log_message message;
		char buffer[8];

		/* A little earlier, and not much. */
		cr_assert_eq(queue_log_read(reader, &message, buffer, 8, 0), 0);
		if (memcmp(buffer, "-", 1) == 0)
			cr_assert_eq(queue_log_read(reader, &message, buffer, 8, 0), 0);
		cr_assert_eq(memcmp(buffer, "four", 4), 0);
	}
	options.start_at = 0;
	expect(open_reader(log, "always", &options), "one", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static void *
read_one(void *reader)
{
	expect(reader, "late", 1);
	return NULL;
}

Test(log, a_read_waits_for_a_message)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, read_one, reader), 0);
	while (queue_impl_load32_acq(&log->waiting) == 0)
		usleep(100);
	cr_assert_eq(queue_log_close(log), -EBUSY);
	cr_assert_eq(queue_log_reader_close(reader), -EBUSY);
	append(log, "late");
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, each_way_of_syncing_syncs_so_often)
{
	static const struct {
		enum queue_log_sync sync;
		uint64_t interval;
	} ways[] = {{QUEUE_LOG_BATCH, 0},
		    {QUEUE_LOG_EACH, 0},
		    {QUEUE_LOG_INTERVAL, 10 * QUEUE_MILLISECOND},
		    {QUEUE_LOG_NONE, 0}};

	for (int way = 0; way < 4; way++) {
		struct queue_log_options options = small;
		struct disk *disk = disk_new();
		struct queue_log_stats stats;
		struct queue_log *log;
		uint64_t position = 0;

		options.sync = ways[way].sync;
		options.interval = ways[way].interval;
		log = open_log(disk, &options);
		for (int i = 0; i < 100; i++)
			cr_assert_eq(queue_log_append_async(log, "x", 1, &position), 0);
		if (options.sync == QUEUE_LOG_NONE)
			cr_assert_eq(queue_log_wait(log, position, queue_after_ms(20)), -ETIMEDOUT);
		else
			cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
		queue_log_stats(log, &stats);
		/* Its own records go with the messages. */
		if (options.sync == QUEUE_LOG_EACH)
			cr_assert_eq(stats.syncs, 100);
		if (options.sync == QUEUE_LOG_NONE)
			cr_assert_eq(stats.syncs, 0);
		append(log, "written at least");
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
		queue_log_stats(log, &stats);
		cr_assert_eq(stats.durable, stats.ends);
		cr_assert_eq(queue_log_wait(log, stats.ends, 0), -EINVAL);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

static void
note_position(uint64_t position, void *context)
{
	uint64_t *last = context;

	/* Relaxed: looked at when the log is closed. */
	if (position > queue_impl_load_rlx(last))
		queue_impl_store_rlx(last, position);
}

Test(log, tells_what_is_durable)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct pollfd descriptor = {.events = POLLIN};
	uint64_t last = 0, position;

	options.on_durable = note_position;
	options.context = &last;
	log = open_log(disk, &options);
	descriptor.fd = queue_log_fd(log);
	cr_assert_geq(descriptor.fd, 0);
	cr_assert_eq(queue_log_fd(log), descriptor.fd);
	(void)queue_log_fd_clear(log);
	position = append(log, "one");
	cr_assert_eq(poll(&descriptor, 1, PATIENCE), 1);
	cr_assert_gt(queue_log_fd_clear(log), position);
	cr_assert_eq(poll(&descriptor, 1, 0), 0);
	cr_assert_eq(queue_log_append_async(log, "two", 3, &position), 0);
	cr_assert_eq(poll(&descriptor, 1, PATIENCE), 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_gt(last, position);
	disk_free(disk);
}

Test(log, a_sync_that_fails_ends_it_and_what_was_durable_is_read)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	struct pollfd descriptor = {.events = POLLIN};
	struct queue_log_message message;
	uint64_t position = UINT64_MAX;
	struct queue_log_stats stats;
	char buffer[8];

	append(log, "one");
	/* Else it may be the sync of a file that is being made. */
	do
		queue_log_stats(log, &stats);
	while (stats.spares < 2);
	descriptor.fd = queue_log_fd(log);
	cr_assert_geq(descriptor.fd, 0);
	(void)queue_log_fd_clear(log);
	disk_fail(disk, 's', 0, false, EIO);
	cr_assert_eq(queue_log_append(log, "two", 3, &position), -EIO);
	cr_assert_eq(poll(&descriptor, 1, PATIENCE), 1);
	cr_assert_neq(position, UINT64_MAX);
	cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), -EIO);
	cr_assert_eq(queue_log_append(log, "three", 5, NULL), -EIO);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), -EIO);
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.failed, -EIO);
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_read(reader, &message, buffer, 8, QUEUE_NEVER), -EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	/* Whether it is there, the next one finds out. */
	log = open_log(disk, &small);
	reader = open_reader(log, "b", NULL);
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A file comes back when what it held is done with. */
static void
append_soon(struct queue_log *log, const void *data, size_t length)
{
	uint64_t end = queue_after_ms(PATIENCE);
	int rc;

	while ((rc = queue_log_append(log, data, length, NULL)) != 0 && queue_now() < end)
		usleep(1000);
	cr_assert_eq(rc, 0, "%d", rc);
}

static void
fill_and_drain(enum queue_log_sync sync)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct queue_log_reader *reader;
	struct queue_log_stats stats;
	struct queue_log_message message;
	char text[1000] = {0}, buffer[1000];
	int n = 0, rc;

	/* Room for three files. */
	disk_limit(disk, 3 * SIZE + 100);
	options.sync = sync;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	while ((rc = queue_log_append(log, text, sizeof text, NULL)) == 0)
		n++;
	cr_assert_eq(rc, -ENOSPC, "%d", rc);
	cr_assert_geq(n, 100);
	queue_log_stats(log, &stats);
	cr_assert_gt(stats.refused, 0);
	cr_assert_eq(stats.failed, 0);
	for (int i = 0; i < n; i++) {
		cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	append_soon(log, text, sizeof text);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_full_disk_refuses_and_can_be_drained)
{
	fill_and_drain(QUEUE_LOG_BATCH);
	fill_and_drain(QUEUE_LOG_NONE);
}

Test(log, keeps_no_more_than_so_many_bytes)
{
	enum {
		N = 500
	};
	static uint64_t positions[N];
	struct queue_log_options options = small;
	struct queue_log_reader_stats reader_stats;
	struct queue_log_stats stats;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log_message message;
	struct queue_log *log;
	char *buffer = malloc(SIZE);

	options.retain_bytes = 2 * SIZE;
	log = open_log(disk, &options);
	reader = open_reader(log, "slow", NULL);
	fill(log, N, positions);
	append(log, "");
	queue_log_stats(log, &stats);
	cr_assert_leq(stats.ends - stats.begins, options.retain_bytes + 2 * SIZE);
	cr_assert_gt(stats.begins, positions[0]);
	cr_assert_eq(queue_log_read(reader, &message, buffer, SIZE, 0), 0);
	cr_assert_geq(message.position, stats.begins);
	queue_log_reader_stats(reader, &reader_stats);
	cr_assert_eq(reader_stats.expired, stats.begins);
	free(buffer);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_later_version_is_refused)
{
	struct queue_impl_log_segment_header header = {.size = SIZE, .salt = 1};
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint32_t version = 2, crc;

	cr_assert_eq(queue_log_close(log), 0);
	queue_impl_log_write_header(bytes, &header);
	memcpy(bytes + 8, &version, 4);
	memset(bytes + 12, 0, 4);
	crc = queue_impl_crc32c(0, bytes, 56);
	memcpy(bytes + 12, &crc, 4);
	options.flags = QUEUE_LOG_SALVAGE;
	/* Also when one of the two is damaged. */
	for (uint64_t at = 0; at <= QUEUE_IMPL_LOG_HEADER_AGAIN; at += QUEUE_IMPL_LOG_HEADER_AGAIN)
		for (int damaged = 0; damaged < 2; damaged++) {
			struct disk *later = disk_crash(disk, DISK_LOSE_NONE, 0);

			if (damaged)
				disk_spoil(later, FIRST, "x", 1,
					   QUEUE_IMPL_LOG_HEADER_AGAIN - at + 20);
			disk_spoil(later, FIRST, bytes, 56, at);
			cr_assert_eq(queue_impl_log_open(&log, "log", &small, disk_table(later)),
				     -ENOTSUP);
			cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(later)),
				     -ENOTSUP);
			disk_free(later);
		}
	cr_assert_eq(n_damages, 0);
	disk_free(disk);
}

Test(log, damage_is_reported_and_only_it_is_left_out)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	uint64_t two, three;
	unsigned char byte;

	append(log, "one");
	two = append(log, "two");
	three = append(log, "three");
	cr_assert_eq(queue_log_close(log), 0);
	disk_read(disk, FIRST, &byte, 1, QUEUE_IMPL_LOG_HEADER + two + QUEUE_IMPL_LOG_RECORD);
	byte ^= 1;
	disk_spoil(disk, FIRST, &byte, 1, QUEUE_IMPL_LOG_HEADER + two + QUEUE_IMPL_LOG_RECORD);
	log = NULL;
	cr_assert_eq(queue_impl_log_open(&log, "log", &small, disk_table(disk)), -EILSEQ);
	cr_assert_null(log);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(strcmp(damaged_file, FIRST), 0);
	cr_assert_eq(damages[0].position, two);
	cr_assert_eq(damages[0].offset, QUEUE_IMPL_LOG_HEADER + two);
	cr_assert_geq(damages[0].length, 32);
	cr_assert_leq(two + damages[0].length, three);
	cr_assert_eq(damages[0].salvaged, 0);
	options.flags = QUEUE_LOG_SALVAGE;
	log = open_log(disk, &options);
	cr_assert_eq(n_damages, 2);
	cr_assert_eq(damages[1].salvaged, 1);
	cr_assert_eq(queue_log_close(log), 0);
	/* From then on it is as if it had not been there. */
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 1);
	expect(reader, "three", 1);
	append(log, "four");
	expect(reader, "four", 1);
	cr_assert_eq(n_damages, 2);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

#define THREADS 4
#define EACH 2000

struct crew {
	struct queue_log *log;
	struct queue_log_reader *reader;
	uint32_t number;
	uint32_t seen[THREADS];
};

static void *
append_many(void *argument)
{
	struct crew *crew = argument;
	uint32_t text[2] = {crew->number, 0};

	for (text[1] = 0; text[1] < EACH; text[1]++)
		if (queue_log_append_async(crew->log, text, sizeof text, NULL) != 0)
			return argument;
	return NULL;
}

static void *
read_many(void *argument)
{
	struct crew *crew = argument;
	struct queue_log_message messages[50];
	uint32_t text[2], last[THREADS] = {0};
	char buffer[4096];
	int n;

	while ((n = queue_log_read_n(crew->reader, messages, 50, buffer, sizeof buffer,
				     queue_after_ms(500))) > 0) {
		for (int i = 0; i < n; i++) {
			memcpy(text, messages[i].data, sizeof text);
			/* What one thread reads of one that appends is in order. */
			if (text[0] >= THREADS ||
			    (crew->seen[text[0]] > 0 && text[1] <= last[text[0]]))
				return argument;
			last[text[0]] = text[1];
			crew->seen[text[0]]++;
		}
		if (queue_log_ack_n(crew->reader, messages, n) != n)
			return argument;
	}
	return n == -ETIMEDOUT ? NULL : argument;
}

static void
many_threads(enum queue_log_sync sync, uint64_t interval)
{
	struct disk *disk = disk_new();
	struct queue_log_options options = small;
	struct queue_log *log;
	struct queue_log_reader *reader;
	struct crew crews[2 * THREADS] = {0};
	pthread_t threads[2 * THREADS];
	void *failed;

	options.sync = sync;
	options.interval = interval;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);

	for (uint32_t i = 0; i < 2 * THREADS; i++) {
		crews[i].log = log;
		crews[i].reader = reader;
		crews[i].number = i;
		cr_assert_eq(pthread_create(&threads[i], NULL,
					    i < THREADS ? append_many : read_many, &crews[i]),
			     0);
	}
	for (int i = 0; i < 2 * THREADS; i++) {
		cr_assert_eq(pthread_join(threads[i], &failed), 0);
		cr_assert_null(failed, "thread %d", i);
	}
	for (int from = 0; from < THREADS; from++) {
		uint32_t sum = 0;

		for (int i = THREADS; i < 2 * THREADS; i++)
			sum += crews[i].seen[from];
		cr_assert_eq(sum, EACH, "%u of %d", sum, from);
	}
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_nothing(open_reader(log, "a", NULL));
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, many_threads_append_and_read, .timeout = 120)
{
	many_threads(QUEUE_LOG_BATCH, 0);
}

/* What is with the operating system can be read: whole records, also where memory wraps. */
Test(log, many_threads_read_what_is_not_synced, .timeout = 120)
{
	many_threads(QUEUE_LOG_NONE, 0);
	many_threads(QUEUE_LOG_INTERVAL, QUEUE_MILLISECOND);
	cr_assert_eq(n_damages, 0);
}

/* A message that is longer than one could be in the old files. */
Test(log, is_opened_with_larger_files)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	char *text = calloc(40001, 1), *buffer = malloc(40000);
	struct queue_log_message message;

	append(log, "one");
	cr_assert_eq(queue_log_close(log), 0);
	options.segment_size = 16 * SIZE;
	log = open_log(disk, &options);
	memset(text, 'x', 40000);
	cr_assert_eq(queue_log_append(log, text, 40000, NULL), 0);
	cr_assert_eq(queue_log_append(log, text, 40000, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	/* And with smaller ones again. */
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 1);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(queue_log_read(reader, &message, buffer, 40000, 0), 0);
		cr_assert_eq(memcmp(buffer, text, 40000), 0);
	}
	append(log, "last");
	expect(reader, "last", 1);
	free(text);
	free(buffer);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* What is left when the machine stops now, and everything that was not synced is lost. */
static struct queue_log *
crash(struct disk **disk, struct queue_log *log)
{
	struct disk *left = disk_crash(*disk, DISK_LOSE_ALL, 1);

	cr_assert_eq(queue_log_close(log), 0);
	disk_free(*disk);
	*disk = left;
	return open_log(left, &small);
}

Test(log, what_was_acknowledged_is_synced_though_the_reader_was_opened_again)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t one = append(log, "one");

	append(log, "two");
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_ack(reader, one), 0);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	reader = open_reader(log, "a", NULL);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	log = crash(&disk, log);
	expect(open_reader(log, "a", NULL), "two", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* More than fits into the memory that is kept for it, and into a file. */
Test(log, what_many_readers_have_acknowledged_is_synced, .timeout = 120)
{
	enum {
		READERS = 12,
		N = 900,
		MORE = 100
	};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *readers[READERS];
	static struct queue_log_message messages[N];
	static char buffer[16384];
	char name[32];
	int n;

	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
	}
	for (int i = 0; i < N; i++)
		cr_assert_eq(queue_log_append_async(log, "x", 1, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	/* Every second one: each is an exception. */
	for (int i = 0; i < READERS; i++) {
		cr_assert_eq(queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0),
			     N);
		for (int k = 1; k < N; k += 2)
			cr_assert_eq(queue_log_ack(readers[i], messages[k].position), 0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	/* So that they are all written once more, over two files at least. */
	for (int i = 0; i < MORE; i++)
		append(log, "y");
	log = crash(&disk, log);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
		n = queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0);
		cr_assert_eq(n, N / 2 + MORE, "reader %d: %d", i, n);
	}
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_reader_begins_at_a_message_that_is_being_written)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);

	for (int i = 0; i < 200; i++) {
		struct queue_log_reader *reader;
		uint64_t position;

		cr_assert_eq(queue_log_append_async(log, "it", 2, &position), 0);
		options.start_at = position;
		reader = open_reader(log, "a", &options);
		cr_assert_eq(expect(reader, "it", 1), position);
		cr_assert_eq(queue_log_reader_close(reader), 0);
		cr_assert_eq(queue_log_reader_remove(log, "a"), 0);
	}
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, a_full_log_is_opened_and_drained)
{
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct queue_log_reader *reader;
	struct queue_log_message message;
	char text[1000] = {0}, buffer[1000];
	int n = 0;

	disk_limit(disk, 3 * SIZE + 100);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	while (queue_log_append(log, text, sizeof text, NULL) == 0)
		n++;
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	for (int i = 0; i < n; i++) {
		cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
		/* One by one: each is a record of its own. */
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	}
	append_soon(log, text, sizeof text);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* What the processes before have stored was synced by those that came after. */
Test(log, damage_is_seen_after_crashes_as_well)
{
	struct disk *disk = disk_new(), *left;
	struct queue_log *log = open_log(disk, &small);
	unsigned char byte;

	append(log, "one");
	log = crash(&disk, log);
	append(log, "two");
	left = disk_crash(disk, DISK_LOSE_ALL, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	disk = left;
	disk_read(disk, FIRST, &byte, 1, QUEUE_IMPL_LOG_HEADER + 4);
	byte ^= 1;
	disk_spoil(disk, FIRST, &byte, 1, QUEUE_IMPL_LOG_HEADER + 4);
	cr_assert_eq(queue_impl_log_open(&log, "log", &small, disk_table(disk)), -EILSEQ);
	cr_assert_eq(damages[0].position, 0);
	disk_free(disk);
}

/* A thread is stopped in the middle of an append: who syncs waits for it, and the committer sleeps. */
Test(log, a_sync_that_has_to_wait_does_not_keep_a_processor_busy, .timeout = 60)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t position, sleeps, end = queue_after_ms(PATIENCE);
	char text[1000];

	/* So that all memory has been used before, and what is there is nothing that was appended. */
	memset(text, 'x', sizeof text);
	for (int i = 0; i < 300; i++)
		cr_assert_eq(queue_log_append_async(log, text, sizeof text, NULL), 0);
	append(log, "before");
	while (queue_impl_load_rlx(&log->work.word) < QUEUE_IMPL_EVENT_ONE)
		usleep(100);
	cr_assert_eq(queue_impl_log_reserve(log, 4, QUEUE_IMPL_LOG_FOR_MESSAGES, &position), 0);
	sleeps = queue_impl_load_rlx(&log->work.waits);
	cr_assert_eq(queue_log_sync(log, queue_after_ms(5)), -ETIMEDOUT);
	while (queue_impl_load_rlx(&log->work.waits) <= sleeps && queue_now() < end)
		usleep(100);
	cr_assert_gt(queue_impl_load_rlx(&log->work.waits), sleeps);
	queue_impl_log_publish(log, position, QUEUE_IMPL_LOG_MESSAGE, 0, "late", 4);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_gt(queue_log_durable(log), position);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Some disks say only when a file is synced that there is no room for it. */
Test(log, a_disk_that_is_full_when_a_file_is_synced_refuses)
{
	static const struct {
		int error, refusal;
	} ways[] = {{ENOSPC, -ENOSPC}, {EDQUOT, -ENOSPC}, {EIO, -EIO}};

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct disk *disk = disk_new();
		struct queue_log_stats stats;
		struct queue_log *log;

		/* The first file, and its header; then those that are made ready. */
		disk_fail(disk, 's', 2, true, ways[i].error);
		log = open_log(disk, &small);
		cr_assert_eq(queue_log_append(log, "one", 3, NULL), ways[i].refusal, "%d",
			     ways[i].error);
		queue_log_stats(log, &stats);
		cr_assert_eq(stats.failed, 0);
		disk_fail(disk, 's', -1, false, 0);
		/* It is tried again every second. */
		if (i == 0)
			append_soon(log, "one", 3);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

static uint64_t
salt_of(struct disk *disk, uint64_t base)
{
	struct queue_impl_log_segment_header header = {0};
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	char name[QUEUE_IMPL_LOG_FILE_NAME];

	queue_impl_log_file_name(name, base);
	disk_read(disk, name, bytes, sizeof bytes, 0);
	cr_assert_eq(queue_impl_log_read_header(bytes, &header), 0);
	cr_assert_eq(header.base, base);
	return header.salt;
}

Test(log, each_file_has_a_salt_of_its_own)
{
	static uint64_t positions[200], salts[4];

	for (int i = 0; i < 4; i += 2) {
		struct disk *disk = disk_new();
		struct queue_log *log = open_log(disk, &small);

		fill(log, 200, positions);
		salts[i] = salt_of(disk, 0);
		salts[i + 1] = salt_of(disk, SIZE - QUEUE_IMPL_LOG_HEADER);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			cr_assert_neq(salts[i], salts[k], "%d and %d", i, k);
}

/* The process ends, not the machine; then the machine does. What was found counts as stored. */
Test(log, what_was_not_synced_is_when_it_was_found)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new(), *left;
	struct queue_log *log;
	uint64_t position;

	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	position = append(log, "one");
	cr_assert_leq(queue_log_durable(log), position);
	left = disk_crash(disk, DISK_LOSE_NONE, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	log = open_log(left, &small);
	cr_assert_gt(queue_log_durable(log), position);
	log = crash(&left, log);
	expect(open_reader(log, "a", NULL), "one", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(left);
}

/* The same of a file's name, which it got just before. */
Test(log, a_name_that_was_not_synced_is_when_it_was_found)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_TAIL};
	struct disk *disk = disk_new(), *left;
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_stats stats;
	char text[1000] = {0};
	int rc;

	/* So that the next file is not on its way. */
	do
		queue_log_stats(log, &stats);
	while (stats.spares < 2);
	disk_fail(disk, 'd', 0, true, EIO);
	do
		rc = queue_log_append(log, text, sizeof text, NULL);
	while (rc == 0);
	cr_assert_eq(rc, -EIO, "%d", rc);
	left = disk_crash(disk, DISK_LOSE_NONE, 0);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
	log = open_log(left, &small);
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.segments, 2);
	append(log, "one");
	log = crash(&left, log);
	options.start = QUEUE_LOG_POSITION;
	options.start_at = SIZE - QUEUE_IMPL_LOG_HEADER;
	expect(open_reader(log, "a", &options), "one", 1);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(left);
}

/* After a sync that has failed the system shows what is not on the disk, and will not write it. */
Test(log, what_a_failed_sync_has_left_is_written_again)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	struct queue_log_stats stats;

	append(log, "one");
	do
		queue_log_stats(log, &stats);
	while (stats.spares < 2);
	disk_fail(disk, 's', 0, false, EIO);
	cr_assert_eq(queue_log_append(log, "two", 3, NULL), -EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 1);
	expect(reader, "two", 1);
	log = crash(&disk, log);
	reader = open_reader(log, "b", NULL);
	expect(reader, "one", 1);
	expect(reader, "two", 1);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A log with one message, and behind its end a message of a batch that was torn. */
static struct disk *
make_torn(const struct queue_log_options *options, uint64_t *end, uint64_t offset)
{
	unsigned char bytes[QUEUE_IMPL_LOG_RECORD + 8] = {0};
	struct disk *disk = disk_new(), *left;
	struct queue_log *log = open_log(disk, options);
	struct queue_log_stats stats;
	uint64_t words[3];

	append(log, "one");
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, options);
	queue_log_stats(log, &stats);
	*end = stats.ends;
	/* What closing it would write is not there. */
	left = disk_crash(disk, DISK_LOSE_ALL, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	queue_impl_log_make_record(words, salt_of(left, 0), *end + offset, QUEUE_IMPL_LOG_MESSAGE,
				   0, "old", 3);
	memcpy(bytes, words, sizeof words);
	memcpy(bytes + sizeof words, "old", 3);
	disk_spoil(left, FIRST, bytes, sizeof bytes, QUEUE_IMPL_LOG_HEADER + *end + offset);
	return left;
}

/* New records that end where it begins: it must not be taken for the next one. */
static void
expect_cut(struct disk *disk, uint64_t end, uint64_t offset)
{
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	struct queue_log_stats stats;

	append(log, "newer...");
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.ends, end + offset);
	log = crash(&disk, log);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 1);
	expect(reader, "newer...", 1);
	expect_nothing(reader);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A record with 8 bytes, and DURABLE with the time. */
#define NEWER 64

Test(log, what_is_cut_off_does_not_come_back)
{
	uint64_t end;
	struct disk *disk = make_torn(&small, &end, NEWER);

	expect_cut(disk, end, NEWER);
}

Test(log, what_is_cut_off_does_not_come_back_though_the_sync_failed)
{
	uint64_t end;
	struct disk *disk = make_torn(&small, &end, NEWER);
	struct queue_log *log = NULL;

	disk_fail(disk, 's', 0, false, EIO);
	cr_assert_eq(queue_impl_log_open(&log, "log", &small, disk_table(disk)), -EIO);
	/* Zeros are there to be seen now, and not on the disk. */
	expect_cut(disk, end, NEWER);
}

/* A torn log whose opening fails at the nth of these operations, if there are so many. */
static bool
fails_and_is_cut_by_the_next(const struct queue_log_options *options, uint64_t offset, char what,
			     int64_t nth)
{
	static const unsigned char zeros[QUEUE_IMPL_LOG_RECORD + 8];
	unsigned char bytes[sizeof zeros];
	uint64_t end;
	struct disk *disk = make_torn(options, &end, offset), *left;
	struct queue_log *log = NULL;
	int failed;

	disk_fail(disk, what, nth, false, EIO);
	failed = queue_impl_log_open(&log, "log", options, disk_table(disk));
	disk_fail(disk, what, -1, false, 0);
	cr_assert(failed == 0 || failed == -EIO, "%c %d: %d", what, (int)nth, failed);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, options);
	/* What is on the disk, before anybody cuts it off once more. */
	left = disk_crash(disk, DISK_LOSE_ALL, 0);
	disk_read(left, FIRST, bytes, sizeof bytes, QUEUE_IMPL_LOG_HEADER + end + offset);
	cr_assert_eq(memcmp(bytes, zeros, sizeof bytes), 0, "%c %d", what, (int)nth);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(left);
	disk_free(disk);
	return failed != 0;
}

Test(log, what_is_cut_off_does_not_come_back_wherever_that_failed)
{
	/* Of a large batch a record is there, and nothing in front of it. */
	const struct queue_log_options large = {.segment_size = 4 << 20, .staging_size = 4 << 20};
	int64_t nth;

	for (nth = 0; fails_and_is_cut_by_the_next(&small, NEWER, 'w', nth); nth++)
		continue;
	cr_assert_geq(nth, 3);
	cr_assert(fails_and_is_cut_by_the_next(&large, 3 << 20, 'w', 1));
	cr_assert(fails_and_is_cut_by_the_next(&large, 3 << 20, 's', 0));
}

Test(log, a_dead_letter_is_durable_before_it_is_done_with)
{
	struct queue_log_options lazy = small;
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead;
	struct queue_log_reader_options options = {.attempts = 1};
	struct queue_log_reader *reader;

	lazy.sync = QUEUE_LOG_NONE;
	dead = open_log(other, &lazy);
	options.dead_letters = dead;
	reader = open_reader(log, "a", &options);
	append(log, "poison");
	cr_assert_eq(queue_log_nack(reader, expect(reader, "poison", 1), 0), 0);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	dead = crash(&other, dead);
	expect(open_reader(dead, "a", NULL), "poison", 1);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
}

Test(log, a_dead_letter_that_cannot_be_stored_is_kept)
{
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead = open_log(other, &small);
	struct queue_log_reader_options options = {.attempts = 1, .dead_letters = dead};
	struct queue_log_reader *reader = open_reader(log, "a", &options);
	struct queue_log_reader_stats stats;
	uint64_t position;

	disk_fail(other, 'w', 0, true, EIO);
	append(log, "poison");
	position = expect(reader, "poison", 1);
	cr_assert_eq(queue_log_nack(reader, position, 0), 0);
	expect_nothing(reader);
	queue_log_reader_stats(reader, &stats);
	cr_assert_eq(stats.dead_lettered, 0);
	cr_assert_eq(stats.out, 1);
	cr_assert_eq(queue_log_close(log), 0);
	(void)queue_log_close(dead);
	log = open_log(disk, &small);
	cr_assert_eq(expect(open_reader(log, "a", NULL), "poison", 2), position);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	disk_free(other);
}

/* What is known from before, and not read again, is written again, and kept when it is closed. */
Test(log, what_was_acknowledged_out_of_order_is_known_until_it_is_read_again)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t two;

	append(log, "zero");
	append(log, "one");
	two = append(log, "two");
	append(log, "three");
	expect(reader, "zero", 1);
	expect(reader, "one", 1);
	expect(reader, "two", 1);
	cr_assert_eq(queue_log_ack(reader, two), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	cr_assert_eq(queue_log_ack(reader, expect(reader, "zero", 2)), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	expect(reader, "one", 2);
	cr_assert_eq(queue_log_reader_close(reader), 0);
	reader = open_reader(log, "a", NULL);
	cr_assert_eq(queue_log_ack(reader, expect(reader, "one", 3)), 0);
	expect(reader, "three", 1);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static uint32_t holding; /* 1: the committer is to wait; 2: it does */

static void
hold(uint64_t position, void *context)
{
	(void)position;
	(void)context;
	if (queue_impl_load32_acq(&holding) != 1)
		return;
	queue_impl_store32_rel(&holding, 2);
	while (queue_impl_load32_acq(&holding) == 2)
		usleep(100);
}

/*
 * A thread is stopped in the middle of an append, behind which the readers are written once more.
 * Not before that is durable can the file go that says where they are.
 */
Test(log, a_file_that_says_where_readers_are_is_kept_until_another_does)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct queue_log_stats stats;
	uint64_t position, hole, end = queue_after_ms(PATIENCE);
	char text[4000] = {0};

	options.retain_bytes = 1;
	options.on_durable = hold;
	log = open_log(disk, &options);
	(void)open_reader(log, "slow", NULL);
	do {
		append(log, "x");
		cr_assert_eq(queue_log_append(log, text, 1000, NULL), 0);
		queue_log_stats(log, &stats);
	} while (stats.ends < SIZE - QUEUE_IMPL_LOG_HEADER - 3000);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(queue_log_append_async(log, "x", 1, NULL), 0);
	while (queue_impl_load32_acq(&holding) == 1)
		usleep(100);
	cr_assert_eq(queue_log_append_async(log, text, sizeof text, &position), 0);
	cr_assert_geq(position, SIZE - QUEUE_IMPL_LOG_HEADER);
	cr_assert_eq(queue_impl_log_reserve(log, 4, QUEUE_IMPL_LOG_FOR_MESSAGES, &hole), 0);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
	/* It has done what is done after a sync when it sleeps. */
	while (queue_impl_load_rlx(&log->work.word) < QUEUE_IMPL_EVENT_ONE && queue_now() < end)
		usleep(100);
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.segments, 2);
	struct disk *left = disk_crash(disk, DISK_LOSE_ALL, 0);

	queue_impl_log_publish(log, hole, QUEUE_IMPL_LOG_MESSAGE, 0, "late", 4);
	cr_assert_eq(queue_log_append(log, "x", 1, NULL), 0);
	while (stats.segments > 1 && queue_now() < end)
		queue_log_stats(log, &stats);
	cr_assert_eq(stats.segments, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	log = open_log(left, &small);
	cr_assert_eq(queue_log_reader_remove(log, "slow"), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(left);
}

Test(log, keeps_nothing_that_is_too_old)
{
	enum {
		N = 200
	};
	static uint64_t positions[N];
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_stats stats;
	uint64_t end = queue_after_ms(PATIENCE);
	struct queue_log *log;

	options.retain_age = 3600 * QUEUE_SECOND;
	log = open_log(disk, &options);
	(void)open_reader(log, "slow", NULL);
	fill(log, N, positions);
	append(log, "");
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.begins, 0);
	cr_assert_gt(stats.segments, 2);
	cr_assert_eq(queue_log_close(log), 0);
	options.retain_age = QUEUE_MILLISECOND;
	log = open_log(disk, &options);
	usleep(2000);
	/* Where readers are is written first, for which the next file may have to be made. */
	do {
		append(log, "");
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
		queue_log_stats(log, &stats);
	} while (stats.segments > 1 && queue_now() < end);
	cr_assert_eq(stats.segments, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A file of another size is not taken for the next one: it would be too short. */
Test(log, files_of_another_size_are_not_used_again)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	struct queue_log_message message;
	char text[4000] = {0}, buffer[4000];
	uint64_t end = queue_after_ms(PATIENCE), ends = 0;
	struct queue_log_stats stats;

	append(log, "one");
	cr_assert_eq(queue_log_close(log), 0);
	options.segment_size = 2 * SIZE;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	/* The old file goes, and then the others, one after the other. */
	while (ends < 10 * SIZE && queue_now() < end) {
		cr_assert_eq(queue_log_append(log, text, sizeof text, NULL), 0);
		while (queue_log_read(reader, &message, buffer, sizeof buffer, 0) == 0)
			cr_assert_eq(queue_log_ack(reader, message.position), 0);
		queue_log_stats(log, &stats);
		ends = stats.ends;
		for (int i = 0; i < 32; i++) {
			(void)snprintf(text, sizeof text, "spare.%d", i);
			cr_assert_neq(disk_size(disk, text), SIZE);
		}
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_not(disk_has(disk, FIRST));
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &options);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* The same of what a reader has acknowledged: before that is durable, what it was about is kept. */
Test(log, a_file_is_kept_until_what_was_acknowledged_is_durable)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log_message message;
	struct queue_log *log;
	struct queue_log_stats stats;
	uint64_t position, hole, end = queue_after_ms(PATIENCE);
	char text[4000] = {0}, buffer[4000];

	options.on_durable = hold;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	do {
		cr_assert_eq(queue_log_append(log, text, sizeof text, &position), 0);
	} while (position < SIZE - QUEUE_IMPL_LOG_HEADER);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(queue_log_append_async(log, "x", 1, NULL), 0);
	while (queue_impl_load32_acq(&holding) == 1)
		usleep(100);
	cr_assert_eq(queue_log_append_async(log, "x", 1, &position), 0);
	cr_assert_eq(queue_impl_log_reserve(log, 4, QUEUE_IMPL_LOG_FOR_MESSAGES, &hole), 0);
	while (queue_log_read(reader, &message, buffer, sizeof buffer, 0) == 0)
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
	while (queue_impl_load_rlx(&log->work.word) < QUEUE_IMPL_EVENT_ONE && queue_now() < end)
		usleep(100);
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.segments, 2);
	queue_impl_log_publish(log, hole, QUEUE_IMPL_LOG_MESSAGE, 0, "late", 4);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	do
		queue_log_stats(log, &stats);
	while (stats.segments > 1 && queue_now() < end);
	cr_assert_eq(stats.segments, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static void *
append_numbers(void *log)
{
	uint32_t text[250] = {0};

	for (text[0] = 0; text[0] < 1000; text[0]++)
		if (queue_log_append_async(log, text, sizeof text, NULL) != 0)
			return log;
	return NULL;
}

/* The committer is held up until memory is full, and then so is who appends. */
Test(log, an_append_waits_for_room_in_memory)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log_message message;
	uint32_t text[250];
	struct queue_log *log;
	pthread_t thread;
	void *failed;

	/* So that it is not a file that is waited for. */
	options.segment_size = 32 * SIZE;
	options.on_durable = hold;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(pthread_create(&thread, NULL, append_numbers, log), 0);
	while (queue_impl_load32_acq(&log->waiting) == 0)
		usleep(100);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, &failed), 0);
	cr_assert_null(failed);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		cr_assert_eq(queue_log_read(reader, &message, text, sizeof text, 0), 0, "%u", i);
		cr_assert_eq(text[0], i);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	}
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static uint64_t awaited;

static void *
open_awaited(void *log)
{
	const struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION,
							 .start_at = awaited};

	expect(open_reader(log, "a", &options), "second", 1);
	return NULL;
}

/* As other threads that wait inside. */
Test(log, a_reader_that_waits_for_where_it_begins_keeps_the_log_from_being_closed)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	uint64_t end = queue_after_ms(PATIENCE);
	struct queue_log *log;
	pthread_t thread;

	options.on_durable = hold;
	log = open_log(disk, &options);
	queue_impl_store32_rel(&holding, 1);
	append(log, "first");
	while (queue_impl_load32_acq(&holding) == 1)
		usleep(100);
	cr_assert_eq(queue_log_append_async(log, "second", 6, &awaited), 0);
	cr_assert_eq(pthread_create(&thread, NULL, open_awaited, log), 0);
	while (queue_impl_load32_acq(&log->waiting) == 0 && queue_now() < end)
		usleep(100);
	cr_assert_eq(queue_impl_load32_acq(&log->waiting), 1);
	cr_assert_eq(queue_log_close(log), -EBUSY);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static void *
allocate_dirty(void *context, size_t size, size_t alignment)
{
	void *memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);

	(void)context;
	if (memory)
		memset(memory, 0xff, size);
	return memory;
}

static void
release_dirty(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context, (void)size, (void)alignment;
	free(memory);
}

/* Wherever it begins: memory of one page of the largest kind, of two, and of less. */
Test(log, clears_its_memory_before_anything_is_appended)
{
	static const struct queue_allocator dirty = {.allocate = allocate_dirty,
						     .release = release_dirty};
	static const uint64_t sizes[] = {4 * SIZE, 32 * SIZE, 64 * SIZE};
	static char text[4001];

	memset(text, 'a', sizeof text - 1);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct queue_log_options options = small;
		struct disk *disk = disk_new();

		options.allocator = &dirty;
		options.staging_size = sizes[i];
		for (uint64_t n = 0; n <= 2 * sizes[i]; n += sizes[i]) {
			struct queue_log *log = open_log(disk, &options);
			struct queue_log_reader *reader = open_reader(log, "all", NULL);
			uint64_t position = append(log, "first");

			cr_assert_eq(expect(reader, "first", 1), position);
			cr_assert_eq(queue_log_ack(reader, position), 0);
			/* Once round. */
			for (uint64_t size = 0; size <= sizes[i]; size += sizeof text) {
				append(log, text);
				position = expect(reader, text, 1);
				cr_assert_eq(queue_log_ack(reader, position), 0);
			}
			cr_assert_eq(queue_log_reader_close(reader), 0);
			cr_assert_eq(queue_log_close(log), 0);
		}
		disk_free(disk);
	}
}

/* What is acknowledged out of order becomes longer, until there is no room to say it. */
Test(log, a_disk_that_is_too_full_for_what_is_acknowledged_refuses_a_sync)
{
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct queue_log_reader *reader;
	static struct queue_log_message messages[200];
	static char buffer[256 * 1000];
	char text[1000] = {0};
	int n, rc = 0;

	disk_limit(disk, 3 * SIZE + 100);
	log = open_log(disk, &small);
	reader = open_reader(log, "a", NULL);
	while (queue_log_append(log, text, sizeof text, NULL) == 0)
		continue;
	n = queue_log_read_n(reader, messages, 200, buffer, sizeof buffer, 0);
	cr_assert_gt(n, 100);
	for (int i = 1; i < n && rc == 0; i++) {
		cr_assert_eq(queue_log_ack(reader, messages[i].position), 0);
		rc = queue_log_sync(log, QUEUE_NEVER);
	}
	cr_assert_eq(rc, -ENOSPC, "%d", rc);
	disk_limit(disk, 0);
	append_soon(log, text, sizeof text);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* What is left of a file is too short for a record, and somebody begins to read there. */
Test(log, a_reader_begins_where_nothing_fits)
{
	static const struct queue_log_reader_options at_the_end = {.start = QUEUE_LOG_TAIL};
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	struct queue_log_reader *reader;
	struct queue_log_stats stats;
	uint64_t end = SIZE - QUEUE_IMPL_LOG_HEADER;
	static char text[SIZE / 4];

	/* Then there is no record of the log's own in between. */
	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	append(log, "one");
	for (;;) {
		queue_log_stats(log, &stats);
		if (end - stats.ends <= 8192)
			break;
		cr_assert_eq(queue_log_append(log, text, 4000, NULL), 0);
	}
	cr_assert_eq(
		queue_log_append(log, text, end - stats.ends - 16 - QUEUE_IMPL_LOG_RECORD, NULL),
		0);
	queue_log_stats(log, &stats);
	cr_assert_eq(stats.ends, end - 16);
	reader = open_reader(log, "a", &at_the_end);
	append(log, "two");
	expect(reader, "two", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A message is damaged while it is out: it comes no more, and that is said. */
Test(log, damage_to_what_is_out_is_seen_when_it_comes_again)
{
	for (unsigned flags = 0; flags <= QUEUE_LOG_SALVAGE; flags += QUEUE_LOG_SALVAGE) {
		struct queue_log_options options = small;
		struct queue_log_message message;
		struct disk *disk = disk_new();
		struct queue_log_reader *reader;
		struct queue_log *log;
		uint64_t one;
		char buffer[8];

		options.flags = flags;
		log = open_log(disk, &options);
		reader = open_reader(log, "a", NULL);
		one = append(log, "one");
		append(log, "two");
		expect(reader, "one", 1);
		disk_spoil(disk, FIRST, "x", 1,
			   QUEUE_IMPL_LOG_HEADER + one + QUEUE_IMPL_LOG_RECORD);
		n_damages = 0;
		cr_assert_eq(queue_log_nack(reader, one, 0), 0);
		if (flags == 0)
			cr_assert_eq(queue_log_read(reader, &message, buffer, 8, 0), -EILSEQ);
		else
			expect(reader, "two", 1);
		cr_assert_eq(n_damages, 1);
		cr_assert_eq(damages[0].position, one);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

/* It has come as often as it may before the log was opened. */
Test(log, a_message_that_failed_too_often_before_becomes_a_dead_letter)
{
	struct disk *disk = disk_new(), *other = disk_new();
	struct queue_log *log = open_log(disk, &small), *dead = open_log(other, &small);
	struct queue_log_reader_options options = {.attempts = 1, .dead_letters = dead};
	struct queue_log_reader *reader = open_reader(log, "a", &options);

	append(log, "poison");
	append(log, "good");
	expect(reader, "poison", 1);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect(open_reader(log, "a", &options), "good", 1);
	expect(open_reader(dead, "a", NULL), "poison", 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(queue_log_close(dead), 0);
	disk_free(disk);
	disk_free(other);
}

Test(log, a_reader_begins_at_a_time_in_one_of_many_files)
{
	enum {
		N = 200
	};
	static uint64_t positions[N];
	struct queue_log_reader_options options = {.start = QUEUE_LOG_TIME};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	struct queue_log_message message;
	static char buffer[SIZE];
	uint64_t before;

	fill(log, N, positions);
	usleep(15000);
	before = append(log, "");
	append(log, "");
	options.start_at = queue_impl_log_time();
	usleep(15000);
	fill(log, N, positions);
	reader = open_reader(log, "a", &options);
	/* A little earlier than the first of those that came later, if at all. */
	do {
		cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
		cr_assert_geq(message.position, before);
	} while (message.length == 0);
	cr_assert_eq(message.position, positions[0]);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, an_append_that_waits_for_room_is_told_when_the_log_fails)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	pthread_t thread;
	void *failed;

	options.segment_size = 8 * SIZE;
	options.on_durable = hold;
	log = open_log(disk, &options);
	await_spares(log);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(pthread_create(&thread, NULL, append_numbers, log), 0);
	while (queue_impl_load32_acq(&log->waiting) == 0)
		usleep(100);
	disk_fail(disk, 'w', 0, false, EIO);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, &failed), 0);
	cr_assert_eq(failed, log);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

Test(log, an_append_that_is_not_synced_is_told_when_it_is_not_written)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;

	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	await_spares(log);
	disk_fail(disk, 'w', 0, false, EIO);
	cr_assert_eq(queue_log_append(log, "one", 3, NULL), -EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

Test(log, without_a_descriptor_all_else_works)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct rlimit before, none;
	uint64_t position;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_lt(queue_log_fd(log), 0);
	position = append(log, "one");
	cr_assert_gt(queue_log_fd_clear(log), position);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert_geq(queue_log_fd(log), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log, an_interval_that_never_ends_leaves_it_to_the_user)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	uint64_t position;

	options.sync = QUEUE_LOG_INTERVAL;
	options.interval = QUEUE_NEVER;
	log = open_log(disk, &options);
	position = append(log, "one");
	cr_assert_eq(queue_log_wait(log, position, queue_after_ms(5)), -ETIMEDOUT);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_eq(queue_log_wait(log, position, 0), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* With files and memory of 256 KiB, and the committer held behind the first 100 KiB. */
static struct queue_log *
open_and_hold(struct disk *disk)
{
	struct queue_log_options options = small;
	struct queue_log *log;
	char text[1000] = {0};

	options.segment_size = 4 * SIZE;
	options.on_durable = hold;
	log = open_log(disk, &options);
	await_spares(log);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(queue_log_append_async(log, text, sizeof text, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(queue_log_append_async(log, "held", 4, NULL), 0);
	while (queue_impl_load32_acq(&holding) == 1)
		usleep(100);
	return log;
}

/* All memory that there is for messages: how many. */
static int
fill_memory(struct queue_log *log)
{
	char text[1000] = {0};
	int n = 0, rc;

	while ((rc = queue_impl_log_try_append(log, text, sizeof text, NULL)) == 0)
		n++;
	cr_assert_eq(rc, -EAGAIN, "%d", rc);
	return n;
}

static void *
sync_log(void *log)
{
	return (void *)(intptr_t)queue_log_sync(log, QUEUE_NEVER);
}

/*
 * What many readers have acknowledged does not fit into the memory that is left, neither for a
 * sync, nor when all of them are written again in the second file: it takes several batches.
 */
Test(log, what_readers_have_acknowledged_is_written_as_memory_becomes_free)
{
	enum {
		READERS = 12,
		N = 900
	};
	struct disk *disk = disk_new();
	struct queue_log_options options = small;
	struct queue_log *log;
	struct queue_log_reader *readers[READERS];
	static struct queue_log_message messages[N];
	static char buffer[N * 8 + 101 * 1000];
	static uint64_t positions[N];
	uint64_t tickets;
	pthread_t thread;
	char name[32];
	void *rc;

	options.segment_size = 4 * SIZE;
	log = open_log(disk, &options);
	for (int i = 0; i < N; i++)
		cr_assert_eq(queue_log_append_async(log, "x", 1, &positions[i]), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_and_hold(disk);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
		cr_assert_eq(queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0),
			     N);
		for (int k = 1; k < N; k += 2)
			cr_assert_eq(queue_log_ack(readers[i], positions[k]), 0);
	}
	cr_assert_gt(fill_memory(log), 200);
	/* The next file has been begun, */
	cr_assert_gt(queue_impl_load_acq(&log->tail), 4 * SIZE);
	tickets = queue_impl_load_acq(&log->wanted_ticket);
	cr_assert_eq(pthread_create(&thread, NULL, sync_log, log), 0);
	while (queue_impl_load_acq(&log->wanted_ticket) == tickets)
		usleep(100);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, &rc), 0);
	cr_assert_eq((intptr_t)rc, 0);
	/* and what is synced is there when the machine stops. */
	log = crash(&disk, log);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		readers[i] = open_reader(log, name, NULL);
		cr_assert_eq(
			queue_log_read_n(readers[i], messages, N / 2, buffer, sizeof buffer, 0),
			N / 2);
		for (int k = 0; k < N / 2; k++)
			cr_assert_eq(messages[k].position, positions[2 * k], "reader %d: %d", i, k);
	}
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Reserves and fills all that there is but so many bytes, as one message. */
static uint64_t
append_rest(struct queue_log *log, uint64_t rest, uint64_t left)
{
	static const char text[SIZE];
	size_t size = (size_t)(rest - left - QUEUE_IMPL_LOG_RECORD);
	uint64_t position;

	cr_assert_eq(queue_impl_log_reserve(log, size, QUEUE_IMPL_LOG_FOR_OWN, &position), 0);
	queue_impl_log_publish(log, position, QUEUE_IMPL_LOG_MESSAGE, 0, text, size);
	return position;
}

static int
count_messages(struct queue_log *log)
{
	struct queue_log_reader *reader = open_reader(log, "all", NULL);
	struct queue_log_message message;
	static char buffer[SIZE];
	int n = 0, rc;

	while ((rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0)) == 0) {
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
		n++;
	}
	cr_assert_eq(rc, -ETIMEDOUT, "%d", rc);
	return n;
}

/* No memory is left for what the log says of itself: that comes with a later batch, or not. */
Test(log, what_the_log_says_of_itself_waits_for_room_in_memory)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_and_hold(disk);
	int n = fill_memory(log);
	uint64_t used = queue_impl_load_acq(&log->tail) - queue_impl_load_acq(&log->released);
	uint64_t position = append_rest(log, 4 * SIZE - used, 16);

	cr_assert_gt(position, 4 * SIZE);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
	append(log, "last");
	log = crash(&disk, log);
	cr_assert_eq(count_messages(log), 101 + n + 2);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* The same of the disk: it is closed without its last words, and nothing is lost by that. */
Test(log, what_the_log_says_of_itself_is_left_out_on_a_full_disk)
{
	struct disk *disk = disk_new();
	char text[1000] = {0};
	struct queue_log *log;
	uint64_t position = 0, rest;
	int n = 0;

	disk_limit(disk, 3 * SIZE + 100);
	log = open_log(disk, &small);
	while (queue_log_append(log, text, sizeof text, NULL) == 0)
		n++;
	/* Up to the end of the last file, with nothing of its own in between. */
	for (;;) {
		uint64_t limit = queue_impl_load_acq(&log->limit);

		rest = limit - queue_impl_load_acq(&log->tail);
		if (rest < 40)
			break;
		if (rest > 8000)
			rest = 8000;
		if (queue_impl_log_segment_end(log, queue_impl_load_acq(&log->tail)) < limit)
			rest = queue_impl_log_segment_end(log, queue_impl_load_acq(&log->tail)) -
			       queue_impl_load_acq(&log->tail);
		position = append_rest(log, rest, rest == 8000 ? 0 : 16);
		n++;
		cr_assert_eq(queue_log_wait(log, position, QUEUE_NEVER), 0);
	}
	cr_assert_gt(n, 100);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	cr_assert_eq(count_messages(log), n);
	cr_assert_eq(n_damages, 0);
	(void)queue_log_close(log);
	disk_free(disk);
}

/* Files that seem to have been begun later than it is now are not old. */
Test(log, a_clock_that_is_set_back_takes_nothing_away)
{
	const uint64_t base = SIZE - QUEUE_IMPL_LOG_HEADER;
	struct queue_impl_log_segment_header header;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	struct queue_log_options options = small;
	char name[QUEUE_IMPL_LOG_FILE_NAME], text[1000] = {0};
	uint64_t end = queue_after_ms(PATIENCE);
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_stats stats;

	for (int i = 0; i < 70; i++)
		cr_assert_eq(queue_log_append_async(log, text, sizeof text, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	queue_impl_log_file_name(name, base);
	options.retain_age = QUEUE_MILLISECOND;
	for (int is_old = 0; is_old < 2; is_old++) {
		disk_read(disk, name, bytes, sizeof bytes, 0);
		cr_assert_eq(queue_impl_log_read_header(bytes, &header), 0);
		header.created = is_old ? 1 : queue_impl_log_time() + UINT64_C(3600) * QUEUE_SECOND;
		queue_impl_log_write_header(bytes, &header);
		disk_spoil(disk, name, bytes, sizeof bytes, 0);
		log = open_log(disk, &options);
		do {
			append(log, "");
			cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
			queue_log_stats(log, &stats);
		} while (is_old && stats.segments > 1 && queue_now() < end);
		cr_assert_eq(stats.segments, is_old ? 1 : 2);
		cr_assert(is_old ? stats.begins >= base : stats.begins == 0);
		cr_assert_eq(queue_log_close(log), 0);
	}
	disk_free(disk);
}

/* Who keeps files of his own in the directory finds them there. */
Test(log, files_that_are_not_its_own_are_left_alone)
{
	static const char *const names[] = {"0",
					    "000000000000000g.log",
					    "0000000000000008",
					    "0000000000000008.lo",
					    "0000000000000008.logs",
					    "0000000000000004.log",
					    "00000000000000F0.log",
					    "7000000000000000.log",
					    "spare.",
					    "spare.007",
					    "spare.1x",
					    "spare.99999999999999999999",
					    "notes"};
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		make_file(disk, names[i], 5);
	for (unsigned flags = 0; flags <= QUEUE_LOG_SALVAGE; flags += QUEUE_LOG_SALVAGE) {
		options.flags = flags;
		log = open_log(disk, &options);
		append(log, "one");
		cr_assert_eq(queue_log_close(log), 0);
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		cr_assert_eq(disk_size(disk, names[i]), 5, "%s", names[i]);
	cr_assert_eq(n_damages, 0);
	disk_free(disk);
}

Test(log, no_more_files_are_kept_ready_than_it_needs)
{
	struct disk *disk = disk_new();
	struct queue_log_stats stats;
	struct queue_log *log;
	char name[32];
	int n = 0;

	for (int i = 10; i < 20; i++) {
		(void)snprintf(name, sizeof name, "spare.%d", i);
		make_file(disk, name, SIZE);
	}
	log = open_log(disk, &small);
	append(log, "one");
	queue_log_stats(log, &stats);
	cr_assert_leq(stats.spares, QUEUE_IMPL_LOG_SPARES);
	cr_assert_eq(queue_log_close(log), 0);
	for (int i = 0; i < 30; i++) {
		(void)snprintf(name, sizeof name, "spare.%d", i);
		n += disk_has(disk, name);
	}
	cr_assert_leq(n, QUEUE_IMPL_LOG_SPARES);
	disk_free(disk);
}

/* However far behind the end. */
Test(log, what_a_crash_has_left_far_behind_the_end_is_cut_off)
{
	static const uint64_t offsets[] = {100000, 1100000, 20 * SIZE - 1};
	struct queue_log_options options = small;
	struct disk *disk = disk_new(), *left, *after;
	struct queue_log *log;
	char byte;

	options.segment_size = 20 * SIZE;
	log = open_log(disk, &options);
	append(log, "one");
	left = disk_crash(disk, DISK_LOSE_ALL, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	for (size_t i = 0; i < 3; i++)
		disk_spoil(left, FIRST, "x", 1, offsets[i]);
	log = open_log(left, &options);
	expect(open_reader(log, "a", NULL), "one", 1);
	after = disk_crash(left, DISK_LOSE_ALL, 0);
	cr_assert_eq(queue_log_close(log), 0);
	/* In the last of them there is a mark, until the file is synced once more. */
	for (size_t i = 0; i < 5; i++) {
		disk_read(i < 3 ? left : after, FIRST, &byte, 1, offsets[i % 3]);
		cr_assert_eq(byte, 0, "%zu", i);
	}
	cr_assert_eq(n_damages, 0);
	disk_free(left);
	disk_free(after);
}

Test(log, is_opened_with_any_number_of_files)
{
	enum {
		FILES = 70,
		N = FILES * 4
	};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_stats stats;
	static char text[SIZE];

	for (int i = 0; i < N; i++)
		cr_assert_eq(queue_log_append_async(log, text, SIZE / 4 - 2048, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	queue_log_stats(log, &stats);
	cr_assert_geq(stats.segments, FILES);
	cr_assert_eq(count_messages(log), N);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* It says that it is longer than what has been written. */
Test(log, a_damaged_length_does_not_go_beyond_what_is_stored)
{
	const uint32_t length = SIZE / 2;
	struct queue_log_message message;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t two;
	char buffer[8];

	append(log, "one");
	two = append(log, "two");
	disk_spoil(disk, FIRST, &length, sizeof length, QUEUE_IMPL_LOG_HEADER + two);
	expect(reader, "one", 1);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), -EILSEQ);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(damages[0].position, two);
	cr_assert_lt(damages[0].length, length);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static void *
close_log(void *log)
{
	return (void *)(intptr_t)queue_log_close(log);
}

/* What was appended just before it was closed cannot be written, or not be synced. */
Test(log, a_disk_that_fails_while_it_is_closed_is_told)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	pthread_t thread;
	void *rc;

	options.on_durable = hold;
	log = open_log(disk, &options);
	await_spares(log);
	queue_impl_store32_rel(&holding, 1);
	cr_assert_eq(queue_log_append_async(log, "one", 3, NULL), 0);
	while (queue_impl_load32_acq(&holding) == 1)
		usleep(100);
	cr_assert_eq(queue_log_append_async(log, "two", 3, NULL), 0);
	disk_fail(disk, 'w', 0, false, EIO);
	cr_assert_eq(pthread_create(&thread, NULL, close_log, log), 0);
	while (!queue_impl_load32_acq(&log->closing))
		usleep(100);
	queue_impl_store32_rel(&holding, 0);
	cr_assert_eq(pthread_join(thread, &rc), 0);
	cr_assert_eq((intptr_t)rc, -EIO);
	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	await_spares(log);
	append(log, "three");
	disk_fail(disk, 's', 0, false, EIO);
	cr_assert_eq(queue_log_close(log), -EIO);
	log = open_log(disk, &small);
	expect(open_reader(log, "a", NULL), "one", 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}
