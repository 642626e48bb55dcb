/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simplest durable queue: three messages are appended to a log, which is a directory, and two of
 * them are read and acknowledged. Then the program ends, or crashes; when it starts again the reader
 * goes on where it was, with the third.
 */
#include <conveyor/log.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
check(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	exit(1);
}

static void
append(struct queue_log *log, const char *text)
{
	/* When this returns 0 the message is on the disk. */
	check(queue_log_append(log, text, strlen(text) + 1, NULL), "append");
	printf("appended      %s\n", text);
}

/* Reads so many messages, or as many as there are, and returns how many were read. */
static int
work(struct queue_log *log, int most)
{
	struct queue_log_message message;
	struct queue_log_reader *reader;
	char text[64];
	int n = 0, rc = 0;

	/* The log knows by the name what was acknowledged. */
	check(queue_log_reader_open(log, "worker", NULL, &reader), "open the reader");
	while (n < most && (rc = queue_log_read(reader, &message, text, sizeof text, 0)) == 0) {
		/* What there is to be done is done here: until it is acknowledged it comes again. */
		check(queue_log_ack(reader, message.position), "acknowledge");
		printf("acknowledged  %s\n", text);
		n++;
	}
	check(rc == -ETIMEDOUT ? 0 : rc, "read"); /* the deadline, 0, is over at once */
	check(queue_log_reader_close(reader), "close the reader");
	return n;
}

static void
remove_directory(const char *directory)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		closedir(files);
	check(rmdir(directory) == 0 ? 0 : -errno, directory);
}

int
main(void)
{
	const struct queue_log_options options = {.segment_size = 1 << 20};
	char directory[] = "/tmp/conveyor-log.XXXXXX";
	struct queue_log *log;
	int first, second;

	check(mkdtemp(directory) ? 0 : -errno, directory);
	check(queue_log_open(&log, directory, &options), directory);
	append(log, "one");
	append(log, "two");
	append(log, "three");
	first = work(log, 2);
	check(queue_log_close(log), "close");
	printf("-- the program ends, and starts again\n");
	check(queue_log_open(&log, directory, &options), directory);
	second = work(log, 3);
	check(queue_log_close(log), "close");
	remove_directory(directory);
	return first == 2 && second == 1 ? 0 : 1;
}
