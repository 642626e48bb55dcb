/* SPDX-License-Identifier: BSD-2-Clause */
#include "writer.h"

#include "../log_impl.h"

#include <errno.h>
#include <time.h>

#define TRY_AGAIN 2000000 /* nanoseconds */
#define TRIES 5000

static bool
is_size(uint64_t size)
{
	return size >= QUEUE_LOG_SEGMENT_MIN && size <= QUEUE_LOG_SEGMENT_MAX && size % 4096 == 0;
}

int
writer_open(struct queue_log **log, struct look *look, const char *directory,
	    struct queue_log_options *options)
{
	struct look_segment segment;
	int rc = look_youngest(look, &segment);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0 && is_size(segment.size))
		options->segment_size = segment.size;
	options->flags |= QUEUE_LOG_NO_CREATE;
	return queue_log_open(log, directory, options);
}

int
writer_stir(struct queue_log *log)
{
	const struct timespec a_little = {0, TRY_AGAIN};
	uint64_t durable = queue_log_durable(log), time = queue_impl_log_time(), at;
	int rc, tries;

	/* The next file may be on its way. */
	for (tries = 0; tries < TRIES; tries++) {
		rc = queue_impl_log_reserve(log, sizeof time, true, &at);
		if (rc != -EAGAIN)
			break;
		(void)nanosleep(&a_little, NULL);
	}
	if (rc < 0)
		return rc;
	queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_DURABLE, (uint32_t)((at - durable) / 8),
			       &time, sizeof time);
	return queue_log_sync(log, QUEUE_NEVER);
}
