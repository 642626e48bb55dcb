/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program with a log, for queue-log.sh. Its messages are "message N" with x behind, N from 0 on.
 *
 *   log_writer fill DIR N SIZE    appends N messages of about that size. The reader "fast"
 *                                 acknowledges all but the last; "slow" has 5 out, and the third
 *                                 of them acknowledged
 *   log_writer crash DIR N SIZE   the same, and ends without closing it
 *   log_writer half DIR           prepares the message "kept" for "order 1", and commits it;
 *                                 prepares "lost" for "order 2", and rolls it back; prepares
 *                                 "open" for "order 3"
 *   log_writer keys DIR N...      prepares a message for each N, under a key of N bytes
 *   log_writer more DIR N         appends N messages more, one in 10 ms
 *   log_writer live DIR SECONDS   appends as fast as it can, and acknowledges at once: files are
 *                                 used again all the time
 *   log_writer hold DIR           has it open until its standard input ends
 *   log_writer open DIR SECONDS   opens and closes it all the time: each time it has to succeed
 */
#define _DEFAULT_SOURCE
#include <conveyor/log.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE_MAX_HERE 16384

static struct queue_log *log_open;
static volatile bool is_over;
static unsigned char room[1 << 18];

static void
expect(bool is_true, const char *what, int rc)
{
	if (is_true)
		return;
	(void)fprintf(stderr, "log_writer: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void
start(const char *directory, enum queue_log_sync sync)
{
	const struct queue_log_options options = {.sync = sync, .segment_size = 65536};
	int rc = queue_log_open(&log_open, directory, &options);

	expect(rc == 0, "open", rc);
}

static void
finish(void)
{
	int rc = queue_log_close(log_open);

	expect(rc == 0, "close", rc);
}

static void
append(unsigned long number, size_t size)
{
	char text[SIZE_MAX_HERE];
	size_t length;
	int rc;

	memset(text, 'x', sizeof text);
	length = (size_t)snprintf(text, sizeof text, "message %lu ", number);
	text[length] = 'x';
	rc = queue_log_append_async(log_open, text, size > length ? size : length, NULL);
	expect(rc == 0, "append", rc);
}

static struct queue_log_reader *
reader_of(const char *name)
{
	struct queue_log_reader *reader;
	int rc = queue_log_reader_open(log_open, name, NULL, &reader);

	expect(rc == 0, "reader", rc);
	return reader;
}

static void
fill(const char *directory, unsigned long n, size_t size, bool crashes)
{
	struct queue_log_reader *slow, *fast;
	struct queue_log_message messages[5];
	unsigned long i;
	int rc;

	start(directory, QUEUE_LOG_BATCH);
	slow = reader_of("slow");
	fast = reader_of("fast");
	for (i = 0; i < n; i++)
		append(i, size);
	expect(queue_log_sync(log_open, QUEUE_NEVER) == 0, "sync", -EIO);
	rc = queue_log_read_n(slow, messages, 5, room, sizeof room, QUEUE_NEVER);
	expect(rc == 5, "read", rc);
	expect(queue_log_ack(slow, messages[2].position) == 0, "ack", -ENOENT);
	for (i = 0; i + 1 < n; i++) {
		rc = queue_log_read(fast, messages, room, sizeof room, QUEUE_NEVER);
		expect(rc == 0, "read", rc);
		expect(queue_log_ack(fast, messages[0].position) == 0, "ack", -ENOENT);
	}
	expect(queue_log_sync(log_open, QUEUE_NEVER) == 0, "sync", -EIO);
	if (crashes)
		_exit(0);
	finish();
}

static uint64_t
prepare(const char *key, const char *text)
{
	uint64_t id;
	int rc = queue_log_prepare(log_open, key, strlen(key), text, strlen(text), &id);

	expect(rc == 0, "prepare", rc);
	return id;
}

static void
half(const char *directory)
{
	start(directory, QUEUE_LOG_BATCH);
	expect(queue_log_commit(log_open, prepare("order 1", "kept"), NULL) == 0, "commit", -EIO);
	expect(queue_log_rollback(log_open, prepare("order 2", "lost")) == 0, "rollback", -EIO);
	(void)prepare("order 3", "open");
	finish();
}

static void
keys(const char *directory, char **lengths)
{
	char key[QUEUE_LOG_KEY_MAX + 1] = "";

	start(directory, QUEUE_LOG_BATCH);
	for (; *lengths; lengths++) {
		size_t length = strtoul(*lengths, NULL, 10);

		expect(length < sizeof key, *lengths, -EINVAL);
		memset(key, 'k', length);
		key[length] = '\0';
		(void)prepare(key, "open");
	}
	finish();
}

static void *
acknowledge(void *unused)
{
	struct queue_log_reader *reader = reader_of("sink");
	struct queue_log_message messages[64];

	(void)unused;
	while (!is_over) {
		int n = queue_log_read_n(reader, messages, 64, room, sizeof room,
					 queue_after_ms(5));

		expect(n > 0 || n == -ETIMEDOUT, "read", n);
		if (n > 0)
			(void)queue_log_ack_n(reader, messages, n);
	}
	(void)queue_log_reader_close(reader);
	return NULL;
}

static void
live(const char *directory, uint64_t until)
{
	unsigned long n = 0;
	pthread_t thread;

	start(directory, QUEUE_LOG_NONE);
	expect(pthread_create(&thread, NULL, acknowledge, NULL) == 0, "thread", -EAGAIN);
	for (; queue_now() < until; n++)
		append(n, n % 300);
	is_over = true;
	(void)pthread_join(thread, NULL);
	finish();
	(void)printf("%lu\n", n);
}

static void
more(const char *directory, unsigned long n)
{
	unsigned long i;

	start(directory, QUEUE_LOG_BATCH);
	for (i = 0; i < n; i++) {
		append(i, 0);
		(void)usleep(10000);
	}
	finish();
}

static void
open_often(const char *directory, uint64_t until)
{
	unsigned long n = 0;

	for (; queue_now() < until; n++) {
		start(directory, QUEUE_LOG_BATCH);
		append(n, 0);
		finish();
	}
	(void)printf("%lu\n", n);
}

static void
hold(const char *directory)
{
	start(directory, QUEUE_LOG_BATCH);
	(void)puts("open");
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	finish();
}

int
main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *directory = argc > 2 ? argv[2] : "";
	unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	size_t size = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;

	if (strcmp(what, "fill") == 0 || strcmp(what, "crash") == 0)
		fill(directory, n, size < SIZE_MAX_HERE ? size : SIZE_MAX_HERE, *what == 'c');
	else if (strcmp(what, "half") == 0)
		half(directory);
	else if (strcmp(what, "keys") == 0)
		keys(directory, argv + 3);
	else if (strcmp(what, "more") == 0)
		more(directory, n);
	else if (strcmp(what, "live") == 0)
		live(directory, queue_after_ms(n * 1000));
	else if (strcmp(what, "open") == 0)
		open_often(directory, queue_after_ms(n * 1000));
	else if (strcmp(what, "hold") == 0)
		hold(directory);
	else
		return 2;
	return 0;
}
