/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of a log. A segment is begun with a file that has its full size and was written before:
 * to sync it takes half as long as to sync one that grows. Where a file comes from does not matter,
 * for records of an earlier use have other positions and another salt.
 *
 * What happens to a file, and what makes it last:
 *
 *   spare.N written with zeros       sync, so that nothing is left to be written later
 *   header written into spare.N      sync
 *   renamed to its segment's name    sync of the directory; then records may be written
 *   renamed to spare.N again         sync of the directory; then it is in log->spares
 */
#include "log_impl.h"

#include "wait_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SPARE_NAME 32
#define PIECE (UINT64_C(1) << 20)
/* When there was no room for a file, it is tried again after so long. */
#define TRY_AGAIN QUEUE_SECOND
/* One to go on in, and one for the log's own records when the disk is full. */
#define WANTED 2

static void
spare_name(char *name, uint64_t number)
{
	(void)snprintf(name, SPARE_NAME, "spare.%" PRIu64, number);
}

int
queue_impl_log_open_file(const struct queue_log *log, uint64_t base, enum queue_impl_disk_mode mode)
{
	char name[QUEUE_IMPL_LOG_FILE_NAME];

	queue_impl_log_file_name(name, base);
	return log->disk->open(log->disk->context, log->directory, name, mode);
}

/*
 * The list, under the lock.
 */

static int
grow(struct queue_log *log)
{
	const struct queue_allocator *allocator = log->allocator;
	size_t size = sizeof *log->segments, capacity = log->segments_capacity * 2;
	struct queue_impl_log_segment *segments;

	if (capacity == 0)
		capacity = 16;
	segments = allocator->allocate(allocator->context, capacity * size,
				       _Alignof(struct queue_impl_log_segment));
	if (!segments)
		return -ENOMEM;
	if (log->segments) {
		memcpy(segments, log->segments, log->n_segments * size);
		allocator->release(allocator->context, log->segments, log->segments_capacity * size,
				   _Alignof(struct queue_impl_log_segment));
	}
	log->segments = segments;
	log->segments_capacity = capacity;
	return 0;
}

static int
add(struct queue_log *log, const struct queue_impl_log_segment *segment)
{
	if (log->n_segments == log->segments_capacity) {
		int rc = grow(log);

		if (rc < 0)
			return rc;
	}
	log->segments[log->n_segments++] = *segment;
	return 0;
}

int
queue_impl_log_segment_add(struct queue_log *log, const struct queue_impl_log_segment *segment)
{
	int rc;

	pthread_mutex_lock(&log->lock);
	rc = add(log, segment);
	pthread_mutex_unlock(&log->lock);
	return rc;
}

bool
queue_impl_log_segment_at(struct queue_log *log, uint64_t position,
			  struct queue_impl_log_segment *segment)
{
	size_t low = 0, high;
	bool found;

	pthread_mutex_lock(&log->lock);
	high = log->n_segments;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (log->segments[middle].end <= position)
			low = middle + 1;
		else
			high = middle;
	}
	found = low < log->n_segments && log->segments[low].base <= position;
	if (found)
		*segment = log->segments[low];
	pthread_mutex_unlock(&log->lock);
	return found;
}

int
queue_impl_log_next_base(struct queue_log *log, uint64_t position, uint64_t *base)
{
	int rc = -EAGAIN;
	size_t i;

	pthread_mutex_lock(&log->lock);
	for (i = 0; i < log->n_segments && rc < 0; i++)
		if (log->segments[i].base > position) {
			*base = log->segments[i].base;
			rc = 0;
		}
	pthread_mutex_unlock(&log->lock);
	return rc;
}

/* With the lock held, but in recovery. */
void
queue_impl_log_set_limit(struct queue_log *log)
{
	uint64_t end = log->n_segments > 0 ? log->segments[log->n_segments - 1].end : 0;

	/* Relaxed: a number; the files are found with the lock. */
	queue_impl_store_rlx(&log->limit, end + log->n_spares * log->segment);
}

static void
add_spare(struct queue_log *log, uint64_t number)
{
	pthread_mutex_lock(&log->lock);
	log->spares[log->n_spares++] = number;
	queue_impl_log_set_limit(log);
	if (log->n_spares >= WANTED)
		queue_impl_store32_rlx(&log->no_space, 0); /* relaxed: decided on with the lock */
	pthread_mutex_unlock(&log->lock);
	queue_impl_log_tell(&log->room);
}

/*
 * Spare files.
 */

static int
fill(const struct queue_log *log, int file)
{
	const struct queue_impl_disk *disk = log->disk;
	const struct queue_allocator *allocator = log->allocator;
	uint64_t size = log->options.segment_size, piece = size < PIECE ? size : PIECE, at, n;
	void *zeros = allocator->allocate(allocator->context, piece, sizeof(uint64_t));
	int rc = zeros ? 0 : -ENOMEM;

	if (zeros)
		memset(zeros, 0, piece);
	for (at = 0; rc == 0 && at < size; at += n) {
		n = size - at < piece ? size - at : piece;
		rc = disk->write(disk->context, file, zeros, n, at);
	}
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	if (zeros)
		allocator->release(allocator->context, zeros, piece, sizeof(uint64_t));
	return rc;
}

int
queue_impl_log_make_spare(struct queue_log *log)
{
	const struct queue_impl_disk *disk = log->disk;
	char name[SPARE_NAME];
	uint64_t number;
	int file, rc;

	pthread_mutex_lock(&log->lock);
	number = log->next_spare++;
	pthread_mutex_unlock(&log->lock);
	spare_name(name, number);
	file = disk->open(disk->context, log->directory, name, QUEUE_IMPL_DISK_CREATE);
	if (file < 0)
		return file;
	rc = fill(log, file);
	disk->close(disk->context, file);
	if (rc == 0)
		add_spare(log, number);
	else
		(void)disk->unlink(disk->context, log->directory, name);
	return rc;
}

static int
begin_file(struct queue_log *log, int file, const char *spare,
	   const struct queue_impl_log_segment_header *header)
{
	const struct queue_impl_disk *disk = log->disk;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	int rc;

	queue_impl_log_write_header(bytes, header);
	rc = disk->write(disk->context, file, bytes, sizeof bytes, 0);
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	if (rc < 0)
		return rc;
	queue_impl_log_file_name(name, header->base);
	rc = disk->rename(disk->context, log->directory, spare, name);
	if (rc == 0)
		rc = disk->sync_directory(disk->context, log->directory);
	return rc;
}

int
queue_impl_log_rotate(struct queue_log *log, uint64_t base)
{
	const struct queue_impl_disk *disk = log->disk;
	const struct queue_impl_log_segment_header header = {
		.base = base,
		.salt = queue_impl_log_salt(log, base),
		.size = log->options.segment_size,
		.created = queue_impl_log_time(),
	};
	const struct queue_impl_log_segment segment = {
		.base = base,
		.end = base + log->segment,
		.salt = header.salt,
		.created = header.created,
	};
	char spare[SPARE_NAME];
	uint64_t number;
	int file, rc;

	pthread_mutex_lock(&log->lock);
	number = log->spares[--log->n_spares];
	pthread_mutex_unlock(&log->lock);
	spare_name(spare, number);
	file = disk->open(disk->context, log->directory, spare, QUEUE_IMPL_DISK_WRITE);
	if (file < 0)
		return file;
	rc = begin_file(log, file, spare, &header);
	if (rc < 0) {
		disk->close(disk->context, file);
		return rc;
	}
	if (log->file >= 0)
		disk->close(disk->context, log->file);
	log->file = file;
	pthread_mutex_lock(&log->lock);
	rc = add(log, &segment);
	queue_impl_log_set_limit(log);
	pthread_mutex_unlock(&log->lock);
	queue_impl_log_tell(&log->prepare);
	return rc;
}

/* Makes the oldest file a spare one, or removes it when there are enough, or it has another size. */
static int
use_again(struct queue_log *log, const struct queue_impl_log_segment *segment)
{
	const struct queue_impl_disk *disk = log->disk;
	char name[QUEUE_IMPL_LOG_FILE_NAME], spare[SPARE_NAME];
	bool keeps = segment->end - segment->base == log->segment;
	uint64_t number;
	int rc;

	pthread_mutex_lock(&log->lock);
	keeps = keeps && log->n_spares < QUEUE_IMPL_LOG_SPARES - 1;
	number = log->next_spare++;
	pthread_mutex_unlock(&log->lock);
	queue_impl_log_file_name(name, segment->base);
	spare_name(spare, number);
	rc = keeps ? disk->rename(disk->context, log->directory, name, spare)
		   : disk->unlink(disk->context, log->directory, name);
	/* It went the last time, when the directory could not be synced. */
	if (rc == -ENOENT) {
		keeps = false;
		rc = 0;
	}
	if (rc == 0)
		rc = disk->sync_directory(disk->context, log->directory);
	if (rc == 0 && keeps)
		add_spare(log, number);
	return rc;
}

void
queue_impl_log_retire(struct queue_log *log, uint64_t before)
{
	struct queue_impl_log_segment oldest;

	/* The committer alone changes the list. One after the other, so that there are no holes. */
	while (log->n_segments > 1 && log->segments[0].end <= before) {
		oldest = log->segments[0];
		pthread_mutex_lock(&log->lock);
		log->n_segments--;
		memmove(log->segments, log->segments + 1, log->n_segments * sizeof *log->segments);
		pthread_mutex_unlock(&log->lock);
		if (use_again(log, &oldest) == 0)
			continue;
		/* It is still there, or may be. It is tried again when the next one can go. */
		pthread_mutex_lock(&log->lock);
		memmove(log->segments + 1, log->segments, log->n_segments * sizeof *log->segments);
		log->segments[0] = oldest;
		log->n_segments++;
		pthread_mutex_unlock(&log->lock);
		break;
	}
}

/*
 * The preparer.
 */

static bool
is_wanted(struct queue_log *log, uint64_t unused)
{
	bool wanted;

	(void)unused;
	pthread_mutex_lock(&log->lock);
	wanted = log->n_spares < WANTED;
	pthread_mutex_unlock(&log->lock);
	return wanted || queue_impl_load32_rlx(&log->ending); /* relaxed, as below: a flag */
}

static bool
is_ending(struct queue_log *log, uint64_t unused)
{
	(void)unused;
	return queue_impl_load32_rlx(&log->ending) != 0;
}

static void
set_no_space(struct queue_log *log, int rc)
{
	pthread_mutex_lock(&log->lock);
	/* An old file may have come back meanwhile. Relaxed: decided on with the lock. */
	if (log->n_spares < WANTED)
		queue_impl_store32_rlx(&log->no_space,
				       rc == -ENOSPC || rc == -EDQUOT ? ENOSPC : EIO);
	pthread_mutex_unlock(&log->lock);
	queue_impl_log_tell(&log->room);
	queue_impl_log_tell(&log->work);
}

void *
queue_impl_log_preparer(void *opaque)
{
	struct queue_log *log = opaque;
	int rc;

	queue_impl_log_begin_thread("log files");
	while (!is_ending(log, 0)) {
		(void)queue_impl_log_await(&log->prepare, is_wanted, log, 0, QUEUE_NEVER);
		if (is_ending(log, 0) || !is_wanted(log, 0))
			continue;
		rc = queue_impl_log_make_spare(log);
		if (rc == 0)
			continue;
		set_no_space(log, rc);
		(void)queue_impl_log_await(&log->prepare, is_ending, log, 0,
					   queue_now() + TRY_AGAIN);
	}
	return NULL;
}
