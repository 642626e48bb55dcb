/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Half messages: not seen before they are committed, never lost, asked for when nobody decides.
 */
#include "unit.h"

#include "../../lib/log_impl.h"
#include "../support/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 20000 /* milliseconds */
#define SIZE 65536

/* What check answers, and what it was told. */
struct oracle {
	pthread_mutex_t lock;
	enum queue_log_verdict verdict;
	int asked;
	uint64_t times[32];
	struct queue_log_half last;
	char key[32], data[32];
	struct queue_log *appends_to;
};

static struct oracle oracle = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int n_damages;

static void
on_damage(const struct queue_log_damage *damage, void *context)
{
	(void)damage;
	(void)context;
	n_damages++;
}

static void
copy_text(char *to, const void *from, size_t length)
{
	cr_assert_lt(length, 32);
	memcpy(to, from, length);
	to[length] = '\0';
}

static enum queue_log_verdict
check(const struct queue_log_half *half, void *context)
{
	struct oracle *own = context;
	enum queue_log_verdict verdict;
	struct queue_log *log;

	pthread_mutex_lock(&own->lock);
	if (own->asked < 32)
		own->times[own->asked] = queue_now();
	own->last = *half;
	copy_text(own->key, half->key, half->key_length);
	copy_text(own->data, half->data, half->length);
	verdict = own->verdict;
	log = own->appends_to;
	own->asked++;
	pthread_mutex_unlock(&own->lock);
	if (log) {
		cr_assert_eq(queue_log_append(log, "asked", 5, NULL), 0);
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	}
	return verdict;
}

static const struct queue_log_options small = {
	.segment_size = SIZE, .staging_size = 4 * SIZE, .on_damage = on_damage};

static struct queue_log *
open_log(struct disk *disk, const struct queue_log_options *options)
{
	struct queue_log *log = NULL;
	int rc = queue_impl_log_open(&log, "log", options, disk_table(disk));

	cr_assert_eq(rc, 0, "open: %d", rc);
	return log;
}

/* With somebody to ask. */
static struct queue_log *
open_asking(struct disk *disk, enum queue_log_verdict verdict, uint64_t after, uint32_t limit)
{
	struct queue_log_options options = small;

	pthread_mutex_lock(&oracle.lock);
	oracle.verdict = verdict;
	oracle.asked = 0;
	oracle.appends_to = NULL;
	pthread_mutex_unlock(&oracle.lock);
	options.check = check;
	options.check_after = after;
	options.check_limit = limit;
	options.context = &oracle;
	return open_log(disk, &options);
}

static int
asked(void)
{
	int n;

	pthread_mutex_lock(&oracle.lock);
	n = oracle.asked;
	pthread_mutex_unlock(&oracle.lock);
	return n;
}

static void
await_asked(int n)
{
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (asked() < n) {
		cr_assert_lt(queue_now(), deadline, "asked %d times, not %d", asked(), n);
		(void)usleep(1000);
	}
}

static struct queue_log_stats
stats_of(struct queue_log *log)
{
	struct queue_log_stats stats;

	cr_assert_eq(queue_log_stats(log, &stats), 0);
	return stats;
}

static void
await_undecided(struct queue_log *log, uint64_t undecided, uint64_t parked)
{
	uint64_t deadline = queue_after_ms(PATIENCE);
	struct queue_log_stats stats = stats_of(log);

	while (stats.undecided != undecided || stats.parked != parked) {
		cr_assert_lt(queue_now(), deadline, "%d undecided, %d parked", (int)stats.undecided,
			     (int)stats.parked);
		(void)usleep(1000);
		stats = stats_of(log);
	}
}

static uint64_t
prepare(struct queue_log *log, const char *key, const char *text)
{
	uint64_t id = UINT64_MAX;
	int rc = queue_log_prepare(log, key, strlen(key), text, strlen(text), &id);

	cr_assert_eq(rc, 0, "prepare: %d", rc);
	return id;
}

static struct queue_log_reader *
open_reader(struct queue_log *log)
{
	struct queue_log_reader *reader = NULL;

	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	return reader;
}

static uint64_t
expect(struct queue_log_reader *reader, const char *text)
{
	struct queue_log_message message = {0};
	char buffer[64];
	int rc = queue_log_read(reader, &message, buffer, sizeof buffer, queue_after_ms(PATIENCE));

	cr_assert_eq(rc, 0, "read: %d instead of \"%s\"", rc, text);
	cr_assert(message.length == strlen(text) && memcmp(message.data, text, message.length) == 0,
		  "\"%.*s\" instead of \"%s\"", (int)message.length, (const char *)message.data,
		  text);
	cr_assert_eq(queue_log_ack(reader, message.position), 0);
	return message.position;
}

static void
expect_nothing(struct queue_log_reader *reader)
{
	struct queue_log_message message;
	char buffer[64];

	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), -ETIMEDOUT);
}

/* A list of them in a text: "key=data;". */
static int
write_down(const struct queue_log_half *half, void *context)
{
	char *text = context;

	(void)snprintf(text + strlen(text), 256 - strlen(text), "%.*s=%.*s%s;",
		       (int)half->key_length, (const char *)half->key, (int)half->length,
		       (const char *)half->data, half->parked ? "(parked)" : "");
	return strlen(text) > 200 ? 7 : 0;
}

static void
expect_undecided(struct queue_log *log, const char *expected)
{
	char text[256] = "";

	cr_assert_eq(queue_log_undecided(log, write_down, text), 0);
	cr_assert_eq(strcmp(text, expected), 0, "\"%s\" instead of \"%s\"", text, expected);
}

Test(log_half, refuses_what_is_not_valid)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	static const char key[QUEUE_LOG_KEY_MAX + 1];
	uint64_t id = 7, longest = queue_log_half_max(log);
	char *text = calloc(longest + 1, 1);

	cr_assert_eq(queue_log_prepare(NULL, "k", 1, "m", 1, &id), -EINVAL);
	cr_assert_eq(queue_log_prepare(log, "k", 1, "m", 1, NULL), -EINVAL);
	cr_assert_eq(queue_log_prepare(log, NULL, 1, "m", 1, &id), -EINVAL);
	cr_assert_eq(queue_log_prepare(log, "k", 1, NULL, 1, &id), -EINVAL);
	cr_assert_eq(queue_log_prepare(log, key, sizeof key, "m", 1, &id), -EINVAL);
	cr_assert_eq(queue_log_prepare(log, "k", 1, text, longest, &id), -EMSGSIZE);
	cr_assert_eq(queue_log_prepare(log, NULL, 0, text, longest + 1, &id), -EMSGSIZE);
	cr_assert_eq(id, 7);
	cr_assert_eq(queue_log_commit(NULL, 0, NULL), -EINVAL);
	cr_assert_eq(queue_log_rollback(NULL, 0), -EINVAL);
	cr_assert_eq(queue_log_unpark(NULL, 0), -EINVAL);
	cr_assert_eq(queue_log_undecided(NULL, write_down, NULL), -EINVAL);
	cr_assert_eq(queue_log_undecided(log, NULL, NULL), -EINVAL);
	cr_assert_eq(queue_log_commit(log, 0, NULL), -ENOENT);
	cr_assert_eq(queue_log_rollback(log, 0), -ENOENT);
	cr_assert_eq(queue_log_unpark(log, 0), -ENOENT);
	/* As long as can be, and as short. */
	cr_assert_eq(queue_log_prepare(log, "k", 1, text, longest - 1, &id), 0);
	cr_assert_eq(queue_log_commit(log, id, NULL), 0);
	cr_assert_eq(queue_log_prepare(log, key, QUEUE_LOG_KEY_MAX, NULL, 0, &id), 0);
	cr_assert_eq(queue_log_commit(log, id, NULL), 0);
	cr_assert_eq(queue_log_prepare(log, NULL, 0, NULL, 0, &id), 0);
	cr_assert_eq(queue_log_rollback(log, id), 0);
	cr_assert_eq(queue_log_close(log), 0);
	free(text);
	disk_free(disk);
}

Test(log_half, is_read_when_it_is_committed_and_not_before)
{
	static const enum queue_log_sync ways[] = {QUEUE_LOG_BATCH, QUEUE_LOG_EACH, QUEUE_LOG_NONE};

	for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
		struct queue_log_options options = small;
		struct disk *disk = disk_new();
		struct queue_log_reader *reader;
		struct queue_log *log;
		uint64_t one, two, three, position, before;

		options.sync = ways[way];
		log = open_log(disk, &options);
		reader = open_reader(log);
		one = prepare(log, "1", "one");
		two = prepare(log, "2", "two");
		three = prepare(log, "", "three");
		cr_assert_eq(queue_log_append(log, "between", 7, &before), 0);
		cr_assert(one < two && two < three && three < before);
		expect_undecided(log, "1=one;2=two;=three;");
		expect(reader, "between");
		expect_nothing(reader);
		cr_assert_eq(queue_log_commit(log, three, &position), 0);
		cr_assert_gt(position, before);
		cr_assert_eq(queue_log_rollback(log, two), 0);
		cr_assert_eq(queue_log_commit(log, one, NULL), 0);
		/* In the order in which they were committed. */
		cr_assert_eq(expect(reader, "three"), position);
		expect(reader, "one");
		expect_nothing(reader);
		expect_undecided(log, "");
		/* Decided is decided. */
		cr_assert_eq(queue_log_commit(log, one, NULL), -ENOENT);
		cr_assert_eq(queue_log_rollback(log, one), -ENOENT);
		cr_assert_eq(queue_log_commit(log, two, NULL), -ENOENT);
		cr_assert_eq(stats_of(log).appended, 3);
		cr_assert_eq(stats_of(log).bytes, 7 + 5 + 3);
		cr_assert_eq(queue_log_close(log), 0);
		log = open_log(disk, &small);
		expect_undecided(log, "");
		expect_nothing(open_reader(log));
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

Test(log_half, a_list_can_be_left_early)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	char text[256] = "";

	for (int i = 0; i < 20; i++)
		(void)prepare(log, "0123456789", "0123456789");
	cr_assert_eq(queue_log_undecided(log, write_down, text), 7);
	cr_assert_eq(strlen(text), 220);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, comes_through_a_restart)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t one = prepare(log, "1", "one"), two = prepare(log, "2", "two");

	(void)prepare(log, "3", "three");
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_undecided(log, "1=one;2=two;3=three;");
	cr_assert_eq(stats_of(log).undecided, 3);
	cr_assert_eq(queue_log_commit(log, two, NULL), 0);
	cr_assert_eq(queue_log_rollback(log, one), 0);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_undecided(log, "3=three;");
	struct queue_log_reader *reader = open_reader(log);

	expect(reader, "two");
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, is_asked_for_at_once_after_a_restart)
{
	static const enum queue_log_verdict verdicts[] = {QUEUE_LOG_COMMIT, QUEUE_LOG_ROLLBACK};

	for (int i = 0; i < 2; i++) {
		struct disk *disk = disk_new();
		struct queue_log *log = open_log(disk, &small);
		struct queue_log_reader *reader;
		uint64_t id = prepare(log, "42", "order");

		cr_assert_eq(queue_log_close(log), 0);
		log = open_asking(disk, verdicts[i], 0, 0);
		await_asked(1);
		await_undecided(log, 0, 0);
		cr_assert_eq(oracle.last.id, id);
		cr_assert_eq(oracle.last.checks, 0);
		cr_assert_eq(oracle.last.parked, 0);
		cr_assert_lt(queue_impl_log_time() - oracle.last.prepared, 3600 * QUEUE_SECOND);
		cr_assert_eq(strcmp(oracle.key, "42"), 0);
		cr_assert_eq(strcmp(oracle.data, "order"), 0);
		reader = open_reader(log);
		if (i == 0)
			expect(reader, "order");
		expect_nothing(reader);
		/* A new one is not, for ten seconds. */
		(void)prepare(log, "43", "order");
		(void)usleep(20000);
		cr_assert_eq(asked(), 1);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

Test(log_half, is_asked_for_less_and_less_often_and_then_parked)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_asking(disk, QUEUE_LOG_UNKNOWN, 2 * QUEUE_MILLISECOND, 5);
	uint64_t before = queue_now(), id = prepare(log, "42", "order");

	await_undecided(log, 1, 1);
	cr_assert_eq(asked(), 5);
	cr_assert_geq(oracle.times[0] - before, 2 * QUEUE_MILLISECOND);
	for (int i = 1; i < 5; i++)
		cr_assert_geq(oracle.times[i] - oracle.times[i - 1], QUEUE_MILLISECOND << i, "%d",
			      i);
	cr_assert_eq(oracle.last.checks, 4);
	(void)usleep(50000);
	cr_assert_eq(asked(), 5);
	expect_undecided(log, "42=order(parked);");
	cr_assert_eq(queue_log_close(log), 0);
	/* It stays parked, and is not lost. */
	log = open_asking(disk, QUEUE_LOG_UNKNOWN, 1, 5);
	(void)usleep(20000);
	cr_assert_eq(asked(), 0);
	expect_undecided(log, "42=order(parked);");
	cr_assert_eq(queue_log_unpark(log, id), 0);
	await_undecided(log, 1, 1);
	cr_assert_eq(asked(), 5);
	cr_assert_eq(queue_log_unpark(log, id + 8), -ENOENT);
	/* Who knows can still decide. */
	cr_assert_eq(queue_log_commit(log, id, NULL), 0);
	cr_assert_eq(queue_log_unpark(log, id), -ENOENT);
	cr_assert_eq(stats_of(log).parked, 0);
	expect(open_reader(log), "order");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, checks_count_over_restarts)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);

	(void)prepare(log, "42", "order");
	cr_assert_eq(queue_log_close(log), 0);
	for (uint32_t i = 0; i < 3; i++) {
		log = open_asking(disk, QUEUE_LOG_UNKNOWN, 3600 * QUEUE_SECOND, 3);
		await_asked(1);
		cr_assert_eq(oracle.last.checks, i);
		await_undecided(log, 1, i == 2);
		cr_assert_eq(queue_log_close(log), 0);
	}
	cr_assert_eq(asked(), 1);
	log = open_asking(disk, QUEUE_LOG_UNKNOWN, 1, 3);
	await_undecided(log, 1, 1);
	cr_assert_eq(asked(), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, who_is_asked_may_append_and_sync)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;

	(void)prepare(log, "42", "order");
	cr_assert_eq(queue_log_close(log), 0);
	log = open_asking(disk, QUEUE_LOG_UNKNOWN, 20 * QUEUE_MILLISECOND, 2);
	pthread_mutex_lock(&oracle.lock);
	oracle.appends_to = log;
	pthread_mutex_unlock(&oracle.lock);
	await_undecided(log, 1, 1);
	reader = open_reader(log);
	expect(reader, "asked");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* The files before an undecided one cannot go, so it is written again. */
static void
go_on(struct queue_log *log, struct queue_log_reader *reader)
{
	static const char filler[1000];
	struct queue_log_message message;
	char buffer[sizeof filler];

	cr_assert_eq(queue_log_append_async(log, filler, sizeof filler, NULL), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, QUEUE_NEVER), 0);
	cr_assert_eq(queue_log_ack(reader, message.position), 0);
}

Test(log_half, does_not_keep_old_files_for_ever)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log);
	uint64_t ids[100], deadline = queue_after_ms(PATIENCE);
	char text[32];

	for (int i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof text, "half %d", i);
		ids[i] = prepare(log, "key", text);
	}
	for (int i = 0; i < 1000; i++) {
		go_on(log, reader);
		/* A slow machine may need some more time for it. */
		while (i % 100 == 99 && stats_of(log).segments > 6) {
			cr_assert_lt(queue_now(), deadline, "%d files",
				     (int)stats_of(log).segments);
			(void)usleep(5000);
			go_on(log, reader);
		}
	}
	cr_assert_gt(stats_of(log).begins, ids[99]);
	cr_assert_eq(stats_of(log).undecided, 100);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	cr_assert_eq(stats_of(log).undecided, 100);
	reader = open_reader(log);
	for (int i = 0; i < 100; i += 2) {
		(void)snprintf(text, sizeof text, "half %d", i);
		cr_assert_eq(queue_log_commit(log, ids[i], NULL), 0);
		expect(reader, text);
		cr_assert_eq(queue_log_rollback(log, ids[i + 1]), 0);
	}
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static uint64_t
in_memory(struct queue_log *log)
{
	uint64_t n;

	pthread_mutex_lock(&log->halves.lock);
	n = log->halves.linked;
	pthread_mutex_unlock(&log->halves.lock);
	return n;
}

/* Whether decided before it or behind it, and when that is durable later than it is decided. */
Test(log_half, an_old_one_does_not_keep_others_in_memory)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log;
	uint64_t old;

	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	old = prepare(log, "key", "old");
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 100; i++) {
			uint64_t id = prepare(log, "key", "new");

			cr_assert_eq(i % 2 ? queue_log_rollback(log, id)
					   : queue_log_commit(log, id, NULL),
				     0);
		}
		cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
		cr_assert_eq(in_memory(log), 1);
	}
	cr_assert_eq(queue_log_commit(log, old, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	cr_assert_eq(in_memory(log), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static void
await_kept_from(struct queue_log *log, struct queue_log_reader *reader, uint64_t position)
{
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (queue_impl_log_halves_kept(log) < position) {
		cr_assert_lt(queue_now(), deadline);
		(void)usleep(5000);
		go_on(log, reader);
	}
}

/* More than the files that may be kept: they are not written again all the time. */
Test(log_half, many_large_ones_are_written_again_now_and_then)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	size_t length = (size_t)queue_log_half_max(log) - 3;
	char *text = calloc(length, 1);
	struct queue_log_reader *reader = open_reader(log);
	uint64_t ids[20], output;

	for (int i = 0; i < 20; i++) {
		memset(text, 'a' + i, length);
		cr_assert_eq(queue_log_prepare(log, "key", 3, text, length, &ids[i]), 0);
	}
	(void)usleep(100000);
	/* Each fills a quarter of a file, or one in three of what is left of it. */
	output = stats_of(log).output;
	cr_assert_lt(output, 10 * SIZE);
	for (int i = 0; i < 300; i++)
		go_on(log, reader);
	/* Four times as much has to come: half of a round, by now. */
	cr_assert_lt(stats_of(log).output, output + 300 * 1300);
	for (int i = 0; i < 1000; i++)
		go_on(log, reader);
	await_kept_from(log, reader, ids[19]);
	/* And not much more often. */
	cr_assert_lt(stats_of(log).output, output + 1300 * 1300 + 2 * 10 * SIZE);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(queue_log_commit(log, ids[19 - i], NULL), 0);
	struct queue_log_message message;
	char *buffer = malloc(length);

	for (int i = 0; i < 20; i++) {
		memset(text, 'a' + 19 - i, length);
		cr_assert_eq(queue_log_read(reader, &message, buffer, length, QUEUE_NEVER), 0);
		cr_assert_eq(message.length, length);
		cr_assert_eq(memcmp(buffer, text, length), 0, "%d", i);
	}
	cr_assert_eq(queue_log_close(log), 0);
	free(text);
	free(buffer);
	disk_free(disk);
}

Test(log_half, that_is_damaged_is_reported)
{
	static const unsigned flags[] = {0, QUEUE_LOG_SALVAGE};

	for (int i = 0; i < 2; i++) {
		struct queue_log_options options = small;
		struct disk *disk = disk_new();
		struct queue_log *log;
		uint64_t id;

		options.flags = flags[i];
		log = open_log(disk, &options);
		id = prepare(log, "42", "order");
		n_damages = 0;
		disk_spoil(disk, "0000000000000000.log", "x", 1,
			   QUEUE_IMPL_LOG_HEADER + id + 24 + 24 + 3);
		cr_assert_eq(queue_log_commit(log, id, NULL), -EILSEQ);
		cr_assert_eq(n_damages, 1);
		/* It is none any more only when it may be left out. */
		cr_assert_eq(stats_of(log).undecided, i == 0);
		cr_assert_eq(queue_log_rollback(log, id), i == 0 ? 0 : -ENOENT);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

/* Half of what is kept back is for them, half for what makes room. */
Test(log_half, a_full_disk_lets_some_be_committed_and_all_be_rolled_back)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	static const char filler[10000];
	uint64_t ids[12], more;
	int rc, n = 0;

	for (int i = 0; i < 12; i++)
		cr_assert_eq(queue_log_prepare(log, "k", 1, filler, 4000, &ids[i]), 0);
	while (stats_of(log).spares < 2)
		(void)usleep(1000);
	disk_limit(disk, (3 + 1) * SIZE);
	do
		rc = queue_log_append(log, filler, sizeof filler, NULL);
	while (rc == 0);
	cr_assert_eq(rc, -ENOSPC);
	do
		rc = queue_log_append(log, filler, 0, NULL);
	while (rc == 0);
	cr_assert_eq(rc, -ENOSPC);
	cr_assert_eq(queue_log_prepare(log, "k", 1, filler, 1, &more), -ENOSPC);
	while ((rc = queue_log_commit(log, ids[n], NULL)) == 0)
		n++;
	cr_assert_eq(rc, -ENOSPC);
	/* What says how much is durable takes some of it. */
	cr_assert_geq(n, 4, "%d", n);
	cr_assert_leq(n, SIZE / 2 / 4000);
	cr_assert_eq(stats_of(log).undecided, 12 - n);
	cr_assert_eq(queue_log_rollback(log, ids[n++]), 0);
	cr_assert_eq(queue_log_rollback(log, ids[n++]), 0);
	cr_assert_eq(stats_of(log).undecided, 12 - n);
	/* Room again: what could not be committed can. */
	disk_limit(disk, 100 * SIZE);
	do {
		(void)usleep(10000);
		rc = queue_log_commit(log, ids[n], NULL);
	} while (rc == -ENOSPC);
	cr_assert_eq(rc, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Appends until the disk is full; all of it is read and acknowledged. */
static void
fill_and_drain(struct queue_log *log, struct queue_log_reader *reader)
{
	static char filler[14000], buffer[14000];
	struct queue_log_message message;

	while (queue_log_append(log, filler, sizeof filler, NULL) == 0) {
		cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, QUEUE_NEVER),
			     0);
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
}

static void
await_room(struct queue_log *log)
{
	uint64_t end = queue_after_ms(PATIENCE);
	int rc;

	while ((rc = queue_log_append(log, "room", 4, NULL)) == -ENOSPC && queue_now() < end)
		(void)usleep(10000);
	cr_assert_eq(rc, 0, "append: %d", rc);
}

/* It has kept all files of a full disk, and nothing is written that would say that they can go. */
Test(log_half, a_full_disk_has_room_again_when_it_is_decided)
{
	for (int way = 0; way < 4; way++) {
		bool reopens = way % 2, commits = way / 2;
		struct disk *disk = disk_new();
		struct queue_log *log = open_log(disk, &small);
		uint64_t id = prepare(log, "42", "order");
		struct queue_log_reader *reader = open_reader(log);

		disk_limit(disk, 4 * SIZE);
		fill_and_drain(log, reader);
		cr_assert_eq(
			commits ? queue_log_commit(log, id, NULL) : queue_log_rollback(log, id), 0);
		if (commits)
			expect(reader, "order");
		if (reopens) {
			cr_assert_eq(queue_log_close(log), 0);
			log = open_log(disk, &small);
		}
		await_room(log);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

Test(log_half, a_failed_disk_leaves_it_unknown)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t id = prepare(log, "42", "order"), more;

	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_log_commit(log, id, NULL), -EIO);
	cr_assert_eq(queue_log_prepare(log, "k", 1, "m", 1, &more), -EIO);
	disk_fail(disk, 's', -1, false, 0);
	cr_assert_eq(queue_log_close(log), -EIO);
	/* Either it was stored or it was not. */
	log = open_log(disk, &small);
	if (stats_of(log).undecided > 0)
		cr_assert_eq(queue_log_commit(log, id, NULL), 0);
	expect(open_reader(log), "order");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * Threads prepare and decide, while the checker decides, too.
 */

#define THREADS 4
#if defined QUEUE_IMPL_TSAN || defined __aarch64__
#define EACH 60
#else
#define EACH 300
#endif

struct worker {
	struct queue_log *log;
	uint32_t number;
	bool committed[EACH], rolled_back[EACH];
};

static bool by_checker[THREADS][EACH];

static enum queue_log_verdict
decide(const struct queue_log_half *half, void *context)
{
	uint32_t words[2];

	(void)context;
	cr_assert_eq(half->length, 8);
	memcpy(words, half->data, 8);
	switch (words[1] % 3) {
	case 0:
		by_checker[words[0]][words[1]] = true;
		return QUEUE_LOG_COMMIT;
	case 1:
		return QUEUE_LOG_ROLLBACK;
	default:
		return QUEUE_LOG_UNKNOWN;
	}
}

static void *
work(void *opaque)
{
	struct worker *worker = opaque;
	uint64_t id;

	for (uint32_t i = 0; i < EACH; i++) {
		uint32_t words[2] = {worker->number, i};

		cr_assert_eq(queue_log_prepare(worker->log, "k", 1, words, 8, &id), 0);
		int rc = i % 2 == 0 ? queue_log_commit(worker->log, id, NULL)
				    : queue_log_rollback(worker->log, id);

		cr_assert(rc == 0 || rc == -ENOENT, "%d", rc);
		worker->committed[i] = rc == 0 && i % 2 == 0;
		worker->rolled_back[i] = rc == 0 && i % 2 == 1;
		/* What nobody says the checker does not know. */
		if (rc == -ENOENT)
			cr_assert_neq(i % 3, 2);
	}
	return NULL;
}

Test(log_half, is_decided_once_whoever_does)
{
	struct queue_log_options options = small;
	static struct worker workers[THREADS];
	static bool came[THREADS][EACH];
	pthread_t threads[THREADS];
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log_message message;
	uint32_t words[2];
	struct queue_log *log;
	int rc;

	options.check = decide;
	options.check_after = 1;
	log = open_log(disk, &options);
	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i].log = log;
		workers[i].number = i;
		cr_assert_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(stats_of(log).undecided, 0);
	reader = open_reader(log);
	while ((rc = queue_log_read(reader, &message, words, sizeof words, 0)) == 0) {
		cr_assert(words[0] < THREADS && words[1] < EACH);
		cr_assert_not(came[words[0]][words[1]], "twice");
		came[words[0]][words[1]] = true;
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
	}
	cr_assert_eq(rc, -ETIMEDOUT);
	cr_assert_eq(queue_log_close(log), 0);
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < EACH; i++) {
			bool may = workers[t].committed[i] || by_checker[t][i];

			cr_assert(!workers[t].committed[i] || came[t][i]);
			cr_assert(!workers[t].rolled_back[i] || !came[t][i]);
			cr_assert(may || !came[t][i]);
			/* Not rolled back, and by the checker neither. */
			if (!workers[t].rolled_back[i] && i % 3 != 1)
				cr_assert(came[t][i]);
		}
	disk_free(disk);
}
