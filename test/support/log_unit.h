/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_LOG_UNIT_H
#define CONVEYOR_TEST_LOG_UNIT_H

/*
 * For unit tests of the log, on a disk in memory: the steps that nearly all of them take, each of
 * which has to succeed.
 */
#include "../../lib/log_impl.h"
#include "disk.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

#define PATIENCE 20000 /* milliseconds */

static inline struct queue_log *
open_log(struct disk *disk, const struct queue_log_options *options)
{
	struct queue_log *log = NULL;
	int rc = queue_impl_log_open(&log, "log", options, disk_table(disk));

	cr_assert_eq(rc, 0, "open: %d", rc);
	return log;
}

static inline struct queue_log_reader *
open_reader(struct queue_log *log, const char *name, const struct queue_log_reader_options *options)
{
	struct queue_log_reader *reader = NULL;
	int rc = queue_log_reader_open(log, name, options, &reader);

	cr_assert_eq(rc, 0, "reader: %d", rc);
	return reader;
}

static inline uint64_t
append(struct queue_log *log, const char *text)
{
	uint64_t position = 0;
	int rc = queue_log_append(log, text, strlen(text), &position);

	cr_assert_eq(rc, 0, "append: %d", rc);
	return position;
}

/* The next message is this one; returns its position. */
static inline uint64_t
expect(struct queue_log_reader *reader, const char *text, uint32_t attempt)
{
	struct queue_log_message message = {0};
	char buffer[4096];
	int rc = queue_log_read(reader, &message, buffer, sizeof buffer, queue_after_ms(PATIENCE));

	cr_assert_eq(rc, 0, "read: %d instead of \"%s\"", rc, text);
	cr_assert(message.length == strlen(text) && memcmp(message.data, text, message.length) == 0,
		  "\"%.*s\" instead of \"%s\"", (int)message.length, (const char *)message.data,
		  text);
	cr_assert_eq(message.attempt, attempt, "\"%s\": attempt %u, not %u", text, message.attempt,
		     attempt);
	return message.position;
}

static inline void
expect_nothing(struct queue_log_reader *reader)
{
	struct queue_log_message message;
	char buffer[64];

	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), -ETIMEDOUT);
}

#endif
