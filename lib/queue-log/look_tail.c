/* SPDX-License-Identifier: BSD-2-Clause */
/* What is behind the end of a log. */
#include "look_files.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

/* How long ago a file must have been written for its time to tell that it has not been since. */
#define TIME_GRAIN 2

static uint64_t
offset_of(const struct look *look, uint64_t position)
{
	return QUEUE_IMPL_LOG_HEADER + (position - look->segment.base);
}

bool
look_has_more(struct look *look)
{
	const struct queue_impl_disk *disk = look->disk;
	uint64_t position = 0;
	struct stat file;
	int64_t n;

	if (look->file < 0 || look_is_there(look, look->segment.end, -1) ||
	    !look_is_there(look, look->segment.base, look->file))
		return true;
	if (fstat(look->file, &file) != 0 || file.st_mtime + TIME_GRAIN < time(NULL))
		return false;
	n = disk->read(disk->context, look->file, &position, sizeof position,
		       offset_of(look, look->at) + 8);
	/* A record has begun there, or there is an error to be told. */
	return n < 0 || position == look->at;
}

/* What a look at every word behind the end shows. */
struct words {
	uint64_t last; /* where the last one ends that is not zero */
	bool has_strange; /* something is like a record of another position: the file was used before */
	bool is_begun; /* at the end itself there is the position of a record */
};

static void
look_at_words(const struct look *look, uint64_t at, const uint64_t *words, size_t n,
	      struct words *seen)
{
	size_t i;

	for (i = 0; i < n; i++) {
		uint64_t position = at + 8 * i;

		if (words[i] == 0)
			continue;
		seen->last = position + 8;
		if (position == look->at + 8 && words[i] == look->at)
			seen->is_begun = true;
		/* Its position is a smaller one, for positions only grow. */
		if (i > 0 && words[i] % 8 == 0 && words[i] < look->segment.base &&
		    (uint32_t)words[i - 1] >= QUEUE_IMPL_LOG_RECORD && words[i - 1] >> 32 != 0)
			seen->has_strange = true;
	}
}

static int
look_at_rest(const struct look *look, struct words *seen)
{
	const struct queue_impl_disk *disk = look->disk;
	uint64_t words[8192], at = look->at;
	int64_t n;

	while (at < look->written) {
		size_t size = sizeof words;

		if (size > look->written - at)
			size = (size_t)(look->written - at);
		n = disk->read(disk->context, look->file, words, size, offset_of(look, at));
		if (n < 0)
			return (int)n;
		if (n < 8)
			break;
		look_at_words(look, at, words, (size_t)n / 8, seen);
		at += (uint64_t)n & ~UINT64_C(7);
	}
	return 0;
}

int
look_at_tail(struct look *look, struct look_tail *tail)
{
	struct words seen = {.last = look->at};
	struct queue_impl_log_record record;
	uint64_t at = look->at + QUEUE_IMPL_LOG_RECORD;
	int rc;

	*tail = (struct look_tail){0};
	if (look->file < 0)
		return 0;
	rc = look_at_rest(look, &seen);
	if (rc < 0)
		return rc;
	while ((rc = queue_impl_log_scan_find(&look->scan, at, &record)) == 0) {
		tail->records++;
		at = record.position + QUEUE_IMPL_LOG_RECORD;
	}
	tail->length = seen.last - look->at;
	/* A file that has not been used before is zero there. */
	tail->is_torn = tail->records > 0 || seen.is_begun ||
			(tail->length > 0 && !seen.has_strange);
	return rc == -ENOENT ? 0 : rc;
}
