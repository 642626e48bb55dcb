/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Half messages: not seen before they are committed, never lost, asked for when nobody decides.
 */
#include "log_unit.h"

#include "../support/fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* The next message is this one, and is done with; returns its position. */
static uint64_t
take(struct queue_log_reader *reader, const char *text)
{
	uint64_t position = expect(reader, text, 1);

	cr_assert_eq(queue_log_ack(reader, position), 0);
	return position;
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
		reader = open_reader(log, "a", NULL);
		one = prepare(log, "1", "one");
		two = prepare(log, "2", "two");
		three = prepare(log, "", "three");
		cr_assert_eq(queue_log_append(log, "between", 7, &before), 0);
		cr_assert(one < two && two < three && three < before);
		expect_undecided(log, "1=one;2=two;=three;");
		take(reader, "between");
		expect_nothing(reader);
		cr_assert_eq(queue_log_commit(log, three, &position), 0);
		cr_assert_gt(position, before);
		cr_assert_eq(queue_log_rollback(log, two), 0);
		cr_assert_eq(queue_log_commit(log, one, NULL), 0);
		/* In the order in which they were committed. */
		cr_assert_eq(take(reader, "three"), position);
		take(reader, "one");
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
		expect_nothing(open_reader(log, "a", NULL));
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
	struct queue_log_reader *reader = open_reader(log, "a", NULL);

	take(reader, "two");
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
		reader = open_reader(log, "a", NULL);
		if (i == 0)
			take(reader, "order");
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
	take(open_reader(log, "a", NULL), "order");
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
	reader = open_reader(log, "a", NULL);
	take(reader, "asked");
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
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
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
	reader = open_reader(log, "a", NULL);
	for (int i = 0; i < 100; i += 2) {
		(void)snprintf(text, sizeof text, "half %d", i);
		cr_assert_eq(queue_log_commit(log, ids[i], NULL), 0);
		take(reader, text);
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
		(void)usleep(500);
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
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
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
	cr_assert_eq((int)stats_of(log).undecided, 12 - n);
	cr_assert_eq(queue_log_rollback(log, ids[n++]), 0);
	cr_assert_eq(queue_log_rollback(log, ids[n++]), 0);
	cr_assert_eq((int)stats_of(log).undecided, 12 - n);
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
		struct queue_log_reader *reader = open_reader(log, "a", NULL);

		disk_limit(disk, 4 * SIZE);
		fill_and_drain(log, reader);
		cr_assert_eq(
			commits ? queue_log_commit(log, id, NULL) : queue_log_rollback(log, id), 0);
		if (commits)
			take(reader, "order");
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
	take(open_reader(log, "a", NULL), "order");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * What is between two steps: called before each read of a file.
 */

static struct {
	struct queue_log *log;
	const uint64_t *ids;
	bool fails;
	uint32_t reads; /* of the checker */
} interruption;

static void
interrupt(struct disk *disk, struct queue_log *log, const uint64_t *ids,
	  int (*before)(char what, void *context))
{
	interruption.log = log;
	interruption.ids = ids;
	interruption.fails = true;
	queue_impl_store32_rel(&interruption.reads, 0);
	disk_before(disk, before, NULL);
}

static bool
is_read_of_checker(char what)
{
	return what == 'R' && queue_impl_log_is_checker(interruption.log);
}

static uint32_t
reads_of_checker(void)
{
	return queue_impl_load32_acq(&interruption.reads);
}

static void
await_reads_of_checker(uint32_t n)
{
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (reads_of_checker() < n) {
		cr_assert_lt(queue_now(), deadline);
		(void)usleep(100);
	}
}

static int
fail_checker(char what, void *context)
{
	(void)context;
	if (!is_read_of_checker(what))
		return 0;
	(void)queue_impl_fetch_add32_acq_rel(&interruption.reads, 1);
	return -EIO;
}

/* Until somebody closes the log. */
static void
await_end(struct queue_log *log)
{
	uint64_t deadline = queue_after_ms(PATIENCE);
	bool ends = false;

	while (!ends) {
		cr_assert_lt(queue_now(), deadline);
		(void)usleep(100);
		pthread_mutex_lock(&log->halves.lock);
		ends = log->halves.ending;
		pthread_mutex_unlock(&log->halves.lock);
	}
}

static int
hold_checker(char what, void *context)
{
	(void)context;
	if (is_read_of_checker(what)) {
		(void)queue_impl_fetch_add32_acq_rel(&interruption.reads, 1);
		await_end(interruption.log);
	}
	return 0;
}

/* Until the checker sleeps that long, or longer. */
static void
await_asleep(struct queue_log *log, uint64_t until)
{
	uint64_t deadline = queue_after_ms(PATIENCE), wakes_at = 0;

	while (wakes_at < until) {
		cr_assert_lt(queue_now(), deadline);
		(void)usleep(100);
		pthread_mutex_lock(&log->halves.lock);
		wakes_at = log->halves.wakes_at;
		pthread_mutex_unlock(&log->halves.lock);
	}
}

static void
await_spares(struct queue_log *log)
{
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (stats_of(log).spares < 2) {
		cr_assert_lt(queue_now(), deadline);
		(void)usleep(100);
	}
}

static void
prepare_many(struct queue_log *log, uint64_t *ids, int n)
{
	for (int i = 0; i < n; i++)
		ids[i] = prepare(log, "key", "half");
}

static int
count_one(const struct queue_log_half *half, void *context)
{
	uint64_t *last_and_number = context;

	cr_assert(last_and_number[1] == 0 || half->id > last_and_number[0], "%d",
		  (int)last_and_number[1]);
	last_and_number[0] = half->id;
	last_and_number[1]++;
	return 0;
}

/* All of them, the oldest first. */
static void
expect_so_many(struct queue_log *log, uint64_t n)
{
	uint64_t last_and_number[2] = {0};

	cr_assert_eq(queue_log_undecided(log, count_one, last_and_number), 0);
	cr_assert_eq(last_and_number[1], n, "%d", (int)last_and_number[1]);
}

Test(log_half, what_is_refused_leaves_everything_as_it_was)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t position = 7, id;

	cr_assert_eq(queue_log_commit(log, 0, &position), -ENOENT);
	cr_assert_eq(position, 7);
	id = prepare(log, "42", "order");
	/* It is not parked. */
	cr_assert_eq(queue_log_unpark(log, id), -ENOENT);
	expect_undecided(log, "42=order;");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, without_memory_each_call_is_refused_and_can_be_repeated)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct fault_allocator faults;
	struct queue_log *log;
	uint64_t ids[65], nth;
	int rc;

	fault_init(&faults);
	options.allocator = &faults.allocator;
	log = open_log(disk, &options);
	await_spares(log);
	/* The table becomes larger twice: for the first one and the last one. */
	for (uint64_t i = 0; i < 65; i++) {
		for (nth = 1;; nth++) {
			fault_set(&faults, nth, false);
			rc = queue_log_prepare(log, "k", 1, "m", 1, &ids[i]);
			if (rc == 0)
				break;
			cr_assert_eq(rc, -ENOMEM, "%d", rc);
			cr_assert_eq(stats_of(log).undecided, i);
		}
		cr_assert_eq(nth, 3, "%d: %d", (int)i, (int)nth);
	}
	fault_set(&faults, 1, false);
	cr_assert_eq(queue_log_undecided(log, count_one, NULL), -ENOMEM);
	fault_set(&faults, 1, false);
	cr_assert_eq(queue_log_commit(log, ids[0], NULL), -ENOMEM);
	expect_so_many(log, 65);
	cr_assert_eq(queue_log_commit(log, ids[0], NULL), 0);
	cr_assert_eq(queue_log_rollback(log, ids[64]), 0);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert(fault_is_balanced(&faults));
	disk_free(disk);
}

Test(log_half, without_memory_a_log_is_not_opened_and_none_is_lost)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct fault_allocator faults;
	struct queue_log *log = open_log(disk, &small);
	uint64_t ids[3], nth = 1, failed;
	int rc, refused = 0;

	prepare_many(log, ids, 3);
	cr_assert_eq(queue_log_close(log), 0);
	fault_init(&faults);
	options.allocator = &faults.allocator;
	do {
		fault_set(&faults, nth++, false);
		rc = queue_impl_log_open(&log, "log", &options, disk_table(disk));
		cr_assert(rc == 0 || rc == -ENOMEM, "%d", rc);
		refused += rc < 0;
		if (rc == 0) {
			cr_assert_eq(stats_of(log).undecided, 3);
			cr_assert_eq(queue_log_close(log), 0);
		}
		cr_assert(fault_is_balanced(&faults), "%d", (int)nth);
		failed = faults.failed;
	} while (failed > 0);
	/* One for each of them, and more. */
	cr_assert_gt(refused, 3);
	disk_free(disk);
}

Test(log_half, is_never_asked_for_when_that_is_wanted)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_asking(disk, QUEUE_LOG_COMMIT, QUEUE_NEVER, 0);

	(void)prepare(log, "42", "order");
	await_asleep(log, QUEUE_NEVER);
	cr_assert_eq(asked(), 0);
	cr_assert_eq(queue_log_close(log), 0);
	/* What an earlier process has left is, once. */
	log = open_asking(disk, QUEUE_LOG_UNKNOWN, QUEUE_NEVER, 0);
	await_asked(1);
	await_asleep(log, QUEUE_NEVER);
	cr_assert_eq(asked(), 1);
	expect_undecided(log, "42=order;");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, many_are_asked_for_once_each)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader;
	uint64_t ids[100];

	prepare_many(log, ids, 100);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_asking(disk, QUEUE_LOG_COMMIT, 0, 0);
	await_undecided(log, 0, 0);
	cr_assert_eq(asked(), 100);
	reader = open_reader(log, "a", NULL);
	for (int i = 0; i < 100; i++)
		take(reader, "half");
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* It is written again, behind some that came later. */
Test(log_half, the_oldest_is_listed_first_wherever_it_is)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	uint64_t old, n = 1, deadline = queue_after_ms(PATIENCE);
	struct queue_log *log;

	/* So that its new place is durable later than others have theirs. */
	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	old = prepare(log, "key", "old");
	while (queue_impl_log_halves_kept(log) == old) {
		cr_assert_lt(queue_now(), deadline);
		for (int i = 0; i < 10; i++)
			go_on(log, reader);
		(void)prepare(log, "key", "new");
		n++;
	}
	expect_so_many(log, n);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_so_many(log, n);
	cr_assert_eq(queue_log_commit(log, old, NULL), 0);
	take(open_reader(log, "a", NULL), "old");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* An undecided one keeps what is behind it: the decision of one that lies before, and is gone. */
Test(log_half, a_decision_outlives_what_was_decided)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t one = prepare(log, "1", "one"), two, end = SIZE - QUEUE_IMPL_LOG_HEADER;
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (stats_of(log).ends < end)
		go_on(log, reader);
	two = prepare(log, "2", "two");
	cr_assert_geq(two, end);
	cr_assert_eq(queue_log_commit(log, one, NULL), 0);
	take(reader, "one");
	while (stats_of(log).begins < end) {
		cr_assert_lt(queue_now(), deadline);
		go_on(log, reader);
	}
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &small);
	expect_undecided(log, "2=two;");
	cr_assert_eq(queue_log_commit(log, one, NULL), -ENOENT);
	cr_assert_eq(queue_log_commit(log, two, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A file as it is on the disk, from where a record is. */
static void
spoil(struct disk *disk, uint64_t position, const void *bytes, size_t size)
{
	disk_spoil(disk, "0000000000000000.log", bytes, size, QUEUE_IMPL_LOG_HEADER + position);
}

Test(log_half, what_cannot_be_read_does_not_hide_the_others)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t one = prepare(log, "1", "one"), two = prepare(log, "2", "two");
	char text[256] = "";

	(void)prepare(log, "3", "three");
	n_damages = 0;
	spoil(disk, two + 24 + 24, "x", 1);
	cr_assert_eq(queue_log_undecided(log, write_down, text), -EILSEQ);
	cr_assert_eq(strcmp(text, "1=one;3=three;"), 0, "%s", text);
	cr_assert_eq(n_damages, 1);
	/* The disk may say that it can be read another time. */
	for (const char *what = "OR"; *what; what++) {
		disk_fail(disk, *what, 0, true, EIO);
		cr_assert_eq(queue_log_undecided(log, write_down, text), -EIO);
		cr_assert_eq(queue_log_commit(log, one, NULL), -EIO);
		disk_fail(disk, *what, -1, false, 0);
		cr_assert_eq(stats_of(log).undecided, 3);
	}
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(queue_log_commit(log, one, NULL), 0);
	cr_assert_eq(stats_of(log).undecided, 2);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, whose_file_is_missing_is_kept)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t id = prepare(log, "42", "order");

	n_damages = 0;
	disk_remove(disk, "0000000000000000.log");
	cr_assert_eq(queue_log_commit(log, id, NULL), -EIO);
	cr_assert_eq(n_damages, 0);
	cr_assert_eq(stats_of(log).undecided, 1);
	cr_assert_eq(queue_log_rollback(log, id), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, in_whose_place_is_another_record_is_damaged)
{
	static const uint64_t other[3] = {8};
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t id = prepare(log, "", "order"), words[3];
	unsigned char data[24 + 5];

	n_damages = 0;
	memcpy(data, other, 24);
	memcpy(data + 24, "other", 5);
	queue_impl_log_make_record(words, queue_impl_log_salt(log, id), id, QUEUE_IMPL_LOG_PREPARE,
				   0, data, sizeof data);
	spoil(disk, id, words, sizeof words);
	spoil(disk, id + sizeof words, data, sizeof data);
	cr_assert_eq(queue_log_commit(log, id, NULL), -EILSEQ);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(stats_of(log).undecided, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A reader comes by, and leaves it out. */
Test(log_half, that_was_left_out_is_none_any_more)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log *log;
	uint64_t id;

	options.flags = QUEUE_LOG_SALVAGE;
	log = open_log(disk, &options);
	id = prepare(log, "42", "order");
	cr_assert_eq(queue_log_append(log, "behind", 6, NULL), 0);
	n_damages = 0;
	spoil(disk, id + 24 + 24, "x", 1);
	reader = open_reader(log, "a", NULL);
	take(reader, "behind");
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(queue_log_commit(log, id, NULL), -EILSEQ);
	cr_assert_eq(stats_of(log).undecided, 0);
	cr_assert_eq(queue_log_commit(log, id, NULL), -ENOENT);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Another thread, while one is told of damage: which must not call the log itself. */
static void *
roll_back(void *id)
{
	cr_assert_eq(queue_log_rollback(interruption.log, *(const uint64_t *)id), 0);
	return NULL;
}

static void
roll_back_meanwhile(const struct queue_log_damage *damage, void *context)
{
	uint64_t id = damage->position;
	pthread_t thread;

	(void)context;
	n_damages++;
	cr_assert_eq(pthread_create(&thread, NULL, roll_back, &id), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(log_half, that_is_damaged_can_be_decided_while_it_is_reported)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	uint64_t id;

	options.flags = QUEUE_LOG_SALVAGE;
	options.on_damage = roll_back_meanwhile;
	interruption.log = open_log(disk, &options);
	id = prepare(interruption.log, "42", "order");
	n_damages = 0;
	spoil(disk, id + 24 + 24, "x", 1);
	cr_assert_eq(queue_log_commit(interruption.log, id, NULL), -EILSEQ);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(stats_of(interruption.log).undecided, 0);
	cr_assert_eq(queue_log_close(interruption.log), 0);
	disk_free(disk);
}

/* Decides the one behind. */
static int
roll_back_next(const struct queue_log_half *half, void *context)
{
	uint64_t *ids = context;

	cr_assert_eq(half->id, ids[0]);
	cr_assert_eq(queue_log_rollback(interruption.log, ids[1]), 0);
	return 0;
}

/* Decides the one that is being read. */
static int
roll_back_third(char what, void *context)
{
	(void)context;
	if (what == 'R' && queue_impl_fetch_add32_acq_rel(&interruption.reads, 1) == 1)
		cr_assert_eq(queue_log_rollback(interruption.log, interruption.ids[2]), 0);
	return 0;
}

Test(log_half, that_is_decided_while_they_are_listed_is_left_out)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t ids[3];

	prepare_many(log, ids, 3);
	/* The second one by the visitor, the third one while it is read. */
	interrupt(disk, log, ids, roll_back_third);
	cr_assert_eq(queue_log_undecided(log, roll_back_next, ids), 0);
	disk_before(disk, NULL, NULL);
	cr_assert_eq(stats_of(log).undecided, 1);
	expect_so_many(log, 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Decides by itself, and does not say so. */
static enum queue_log_verdict
commit_and_say_nothing(const struct queue_log_half *half, void *context)
{
	(void)context;
	cr_assert_eq(queue_log_commit(interruption.log, half->id, NULL), 0);
	return QUEUE_LOG_UNKNOWN;
}

Test(log_half, who_is_asked_may_decide)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;

	options.check = commit_and_say_nothing;
	options.check_after = 1;
	options.check_limit = 1;
	interruption.log = open_log(disk, &options);
	(void)prepare(interruption.log, "42", "order");
	reader = open_reader(interruption.log, "a", NULL);
	take(reader, "order");
	await_undecided(interruption.log, 0, 0);
	expect_nothing(reader);
	cr_assert_eq(queue_log_close(interruption.log), 0);
	disk_free(disk);
}

Test(log_half, that_cannot_be_read_is_asked_for_later)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_asking(disk, QUEUE_LOG_COMMIT, 1, 0);
	uint64_t id, before = queue_now();

	interrupt(disk, log, NULL, fail_checker);
	id = prepare(log, "42", "order");
	/* Before it has been woken it sleeps for ever. */
	await_reads_of_checker(1);
	await_asleep(log, before + QUEUE_SECOND);
	cr_assert_eq(reads_of_checker(), 1);
	cr_assert_eq(asked(), 0);
	disk_before(disk, NULL, NULL);
	expect_undecided(log, "42=order;");
	/* Who knows need not wait for that. */
	cr_assert_eq(queue_log_commit(log, id, NULL), 0);
	take(open_reader(log, "a", NULL), "order");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, nobody_is_asked_when_nothing_can_be_stored)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_asking(disk, QUEUE_LOG_UNKNOWN, 20 * QUEUE_MILLISECOND, 0);
	uint64_t id = UINT64_MAX;
	int n;

	(void)prepare(log, "42", "order");
	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_log_prepare(log, "43", 2, "order", 5, &id), -EIO);
	/* What is not stored cannot be committed, and it is not said that it is damaged. */
	cr_assert_neq(id, UINT64_MAX);
	cr_assert_eq(queue_log_commit(log, id, NULL), -EIO);
	await_asleep(log, QUEUE_NEVER);
	n = asked();
	(void)usleep(30000);
	cr_assert_eq(asked(), n);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_free(disk);
}

/* It is asked for again, but a restart knows nothing of that. */
Test(log_half, can_be_unparked_when_nothing_can_be_stored)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_asking(disk, QUEUE_LOG_UNKNOWN, 1, 1);
	uint64_t id = prepare(log, "42", "order");

	await_undecided(log, 1, 1);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	disk_fail(disk, 's', 0, true, EIO);
	cr_assert_eq(queue_log_append(log, "x", 1, NULL), -EIO);
	cr_assert_eq(queue_log_unpark(log, id), 0);
	await_undecided(log, 1, 0);
	cr_assert_eq(queue_log_close(log), -EIO);
	disk_fail(disk, 's', -1, false, 0);
	log = open_log(disk, &small);
	expect_undecided(log, "42=order(parked);");
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static struct queue_log *
log_of_oracle(void)
{
	uint64_t deadline = queue_after_ms(PATIENCE);
	struct queue_log *log = NULL;

	while (!log) {
		cr_assert_lt(queue_now(), deadline);
		pthread_mutex_lock(&oracle.lock);
		log = oracle.appends_to;
		pthread_mutex_unlock(&oracle.lock);
	}
	return log;
}

static void
set_log_of_oracle(struct queue_log *log)
{
	pthread_mutex_lock(&oracle.lock);
	oracle.appends_to = log;
	oracle.asked = 0;
	pthread_mutex_unlock(&oracle.lock);
}

static int
count_asked(void)
{
	int before;

	pthread_mutex_lock(&oracle.lock);
	before = oracle.asked++;
	pthread_mutex_unlock(&oracle.lock);
	return before;
}

static enum queue_log_verdict
answer_in_the_end(const struct queue_log_half *half, void *context)
{
	(void)half;
	(void)context;
	(void)count_asked();
	await_end(log_of_oracle());
	return QUEUE_LOG_UNKNOWN;
}

Test(log_half, close_waits_for_one_answer)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t ids[3];

	prepare_many(log, ids, 3);
	cr_assert_eq(queue_log_close(log), 0);
	set_log_of_oracle(NULL);
	options.check = answer_in_the_end;
	log = open_log(disk, &options);
	await_asked(1);
	set_log_of_oracle(log);
	cr_assert_eq(queue_log_close(log), 0);
	/* The count began anew when the log was set. */
	cr_assert_eq(asked(), 0);
	log = open_log(disk, &small);
	expect_so_many(log, 3);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

static bool moved_in_between;

/* The first one takes so long that the log has grown by two files meanwhile. */
static enum queue_log_verdict
answer_late(const struct queue_log_half *half, void *context)
{
	static const char filler[1000];
	struct queue_log *log = log_of_oracle();

	(void)half;
	(void)context;
	if (count_asked() == 0) {
		for (int i = 0; i < 140; i++)
			cr_assert_eq(queue_log_append(log, filler, sizeof filler, NULL), 0);
	} else {
		pthread_mutex_lock(&log->halves.lock);
		moved_in_between = log->halves.next_move > 0;
		pthread_mutex_unlock(&log->halves.lock);
	}
	return QUEUE_LOG_UNKNOWN;
}

Test(log_half, old_ones_are_written_again_between_two_answers)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	uint64_t ids[2];

	prepare_many(log, ids, 2);
	cr_assert_eq(queue_log_close(log), 0);
	set_log_of_oracle(NULL);
	options.check = answer_late;
	log = open_log(disk, &options);
	set_log_of_oracle(log);
	await_asked(2);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert(moved_in_between);
	disk_free(disk);
}

static void
await_reads(struct queue_log *log, struct queue_log_reader *reader, uint32_t n)
{
	uint64_t deadline = queue_after_ms(PATIENCE);

	while (reads_of_checker() < n) {
		cr_assert_lt(queue_now(), deadline, "%d reads", (int)reads_of_checker());
		go_on(log, reader);
	}
}

Test(log_half, close_does_not_wait_until_all_are_written_again)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t ids[100];

	prepare_many(log, ids, 100);
	interrupt(disk, log, ids, hold_checker);
	await_reads(log, reader, 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(reads_of_checker(), 1);
	disk_before(disk, NULL, NULL);
	log = open_log(disk, &small);
	expect_so_many(log, 100);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_half, what_cannot_be_written_again_is_tried_when_more_has_come)
{
	struct disk *disk = disk_new();
	struct queue_log *log = open_log(disk, &small);
	struct queue_log_reader *reader = open_reader(log, "a", NULL);
	uint64_t ids[100];

	prepare_many(log, ids, 100);
	interrupt(disk, log, ids, fail_checker);
	await_reads(log, reader, 1);
	/* Less than a file. */
	for (int i = 0; i < 30; i++)
		go_on(log, reader);
	cr_assert_eq(reads_of_checker(), 1);
	cr_assert_eq(queue_impl_log_halves_kept(log), ids[0]);
	await_reads(log, reader, 2);
	disk_before(disk, NULL, NULL);
	await_kept_from(log, reader, ids[99] + 1);
	expect_so_many(log, 100);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* One while another is read, one while it is read itself, and one that is looked for later. */
static int
roll_back_some(char what, void *context)
{
	const uint64_t *ids = interruption.ids;

	(void)context;
	if (!is_read_of_checker(what))
		return 0;
	switch (queue_impl_fetch_add32_acq_rel(&interruption.reads, 1)) {
	case 0:
		cr_assert_eq(queue_log_rollback(interruption.log, ids[1]), 0);
		cr_assert_eq(queue_log_rollback(interruption.log, ids[80]), 0);
		break;
	case 1:
		cr_assert_eq(queue_log_rollback(interruption.log, ids[2]), 0);
		break;
	}
	return 0;
}

Test(log_half, that_is_decided_or_damaged_is_not_written_again)
{
	struct queue_log_options options = small;
	struct disk *disk = disk_new();
	struct queue_log_reader *reader;
	struct queue_log *log;
	uint64_t ids[100];

	options.flags = QUEUE_LOG_SALVAGE;
	options.sync = QUEUE_LOG_NONE;
	log = open_log(disk, &options);
	reader = open_reader(log, "a", NULL);
	prepare_many(log, ids, 100);
	/* The reader has been there before it is damaged. */
	go_on(log, reader);
	n_damages = 0;
	spoil(disk, ids[0] + 24 + 24, "x", 1);
	interrupt(disk, log, ids, roll_back_some);
	await_reads(log, reader, 96);
	disk_before(disk, NULL, NULL);
	await_kept_from(log, reader, ids[99] + 1);
	cr_assert_eq(n_damages, 1);
	cr_assert_eq(stats_of(log).undecided, 96);
	cr_assert_eq(queue_log_close(log), 0);
	log = open_log(disk, &options);
	expect_so_many(log, 96);
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
	reader = open_reader(log, "a", NULL);
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
