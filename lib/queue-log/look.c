/* SPDX-License-Identifier: BSD-2-Clause */
#include "look_files.h"

#include <conveyor/alloc.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD QUEUE_IMPL_LOG_RECORD
#define HEADER QUEUE_IMPL_LOG_HEADER

/* Bytes of each of the two headers. */
#define HEADER_USED 56

/* look_next: something has changed, go on. */
#define AGAIN 1

/* ---- Events ---------------------------------------------------------------------------------- */

static struct look_event
damage(uint64_t base, uint64_t offset, uint64_t length, const char *what)
{
	struct look_event event = {
		.kind = LOOK_DAMAGE,
		.position = base + (offset > HEADER ? offset - HEADER : 0),
		.length = length,
		.offset = offset,
		.what = what,
	};

	queue_impl_log_file_name(event.file, base);
	return event;
}

static int
gone(struct look_event *event, uint64_t from, uint64_t to)
{
	*event = (struct look_event){.kind = LOOK_GONE, .position = from, .length = to - from};
	return 0;
}

static int
ended(const struct look *look, struct look_event *event)
{
	*event = (struct look_event){.kind = LOOK_END, .position = look->at};
	return 0;
}

/* ---- Entering a segment ---------------------------------------------------------------------- */

static void
leave(struct look *look)
{
	if (look->file >= 0)
		look->disk->close(look->disk->context, look->file);
	look->file = -1;
}

/* The next one that was listed; or nothing, 0, behind the last one. */
static uint64_t
base_behind(const struct look *look, uint64_t base)
{
	size_t i;

	for (i = 0; i < look->n_bases; i++)
		if (look->bases[i] > base)
			return look->bases[i];
	return 0;
}

/* What there is to tell of them; the last one is told first. */
static void
note_headers(struct look *look, const struct look_headers *headers)
{
	uint64_t base = look->segment.base, size = look->segment.size;
	struct look_event *next = look->pending;

	if (headers->size < size)
		*next++ =
			damage(base, headers->size, size - headers->size, "the file is too short");
	if (headers->second < 0) {
		*next = damage(base, QUEUE_IMPL_LOG_HEADER_AGAIN, HEADER_USED,
			       "the second of two headers");
		next++->is_doubled = true;
	}
	if (headers->first < 0) {
		*next = damage(base, 0, HEADER_USED, "the first of two headers");
		next++->is_doubled = true;
	}
	look->n_pending = (size_t)(next - look->pending);
}

/* Without a salt nothing in the file can be told from anything else. */
static int
pass_lost(struct look *look, struct look_event *event, const struct look_headers *headers)
{
	uint64_t base = look->segment.base, next = base_behind(look, base);
	uint64_t end = base + (headers->size > HEADER ? headers->size - HEADER : 0);
	uint64_t whole = next ? HEADER + (next - base) : headers->size;

	/* Files are mostly as long as the one before, which this segment still has the size of. */
	if (!next && whole <= HEADER + RECORD && look->segment.size > whole)
		whole = look->segment.size;
	leave(look);
	look->segment.size = headers->size;
	look->segment.salt = look->segment.created = 0;
	look->at = look->segment.end = next ? next : end & ~UINT64_C(7);
	/* What is missing of them counts as well. */
	*event = damage(base, 0, whole > HEADER ? whole : HEADER,
			"both headers, and with them the whole file");
	return 0;
}

/* Goes into the segment that begins where the one before has ended. */
static int
enter_segment(struct look *look, struct look_event *event)
{
	struct look_headers headers;
	uint64_t base = look->at;
	int file = look_open_file(look, base), rc;

	/* Since it was listed. */
	if (file == -ENOENT)
		return AGAIN;
	if (file < 0)
		return file;
	look->file = file;
	rc = look_read_headers(look, file, base, &headers);
	if (rc == 0 && (headers.first < 0 || headers.second < 0) &&
	    !look_is_there(look, base, file)) {
		leave(look);
		return AGAIN;
	}
	if (rc == 0 && look_is_later_version(&headers))
		rc = -ENOTSUP;
	if (rc < 0) {
		leave(look);
		return rc;
	}
	look->has_segment = true;
	look->passed = look->segment.base = base;
	if (headers.first < 0 && headers.second < 0)
		return pass_lost(look, event, &headers);
	look->segment.size = headers.header.size;
	look->segment.end = base + (headers.header.size - HEADER);
	look->segment.salt = headers.header.salt;
	look->segment.created = headers.header.created;
	look->written = look->segment.end;
	if (headers.size < headers.header.size)
		look->written = base + (headers.size > HEADER ? headers.size - HEADER : 0);
	queue_impl_log_scan_file(&look->scan, file, base, look->segment.end, look->segment.salt);
	queue_impl_log_scan_until(&look->scan, look->written);
	note_headers(look, &headers);
	*event = (struct look_event){.kind = LOOK_SEGMENT, .position = base};
	return 0;
}

/* ---- Between segments ------------------------------------------------------------------------ */

/* The last base that was listed at a position or before; -1: there is none. */
static ssize_t
last_until(const struct look *look, uint64_t position)
{
	ssize_t i = (ssize_t)look->n_bases - 1;

	while (i >= 0 && look->bases[i] > position)
		i--;
	return i;
}

/* Where the youngest segment ends, of those that are listed. */
static void
set_bound(struct look *look)
{
	struct look_segment segment;

	look->bound = UINT64_MAX;
	if (!look->follows && look_header_of(look, look->n_bases - 1, &segment) == 0)
		look->bound = segment.end;
}

static void
place(struct look *look)
{
	ssize_t i = last_until(look, look->from);

	look->at = look->bases[i > 0 ? i : 0];
	look->is_placed = true;
	set_bound(look);
}

/* A file that begins before the one in front of it ends; recovery does not look at it. */
static bool
is_overlapped(struct look *look, struct look_event *event)
{
	uint64_t base = base_behind(look, look->passed);

	if (!look->has_segment || base == 0 || base >= look->at)
		return false;
	look->passed = base;
	*event = damage(base, 0, look->at - base, "the file begins before the one before it ends");
	return true;
}

/*
 * Nothing begins where it should, but something does behind. Listing a directory shows no single
 * moment; the next time, what has been made meanwhile is there.
 */
static int
pass_hole(struct look *look, struct look_event *event, uint64_t next)
{
	uint64_t at = look->at;

	if (look->hole_at != at) {
		look->hole_at = at;
		return AGAIN;
	}
	look->at = next;
	/* Files go one after the other from the oldest on. */
	if (!look->has_segment || !look_is_there(look, look->segment.base, -1))
		return gone(event, at, next);
	*event = damage(at, 0, next - at, "there is no such file");
	return 0;
}

static int
enter(struct look *look, struct look_event *event)
{
	int rc = look_list(look);
	uint64_t at;
	ssize_t i;

	if (rc < 0)
		return rc;
	if (look->n_bases == 0)
		return ended(look, event);
	if (!look->is_placed)
		place(look);
	at = look->at;
	if (is_overlapped(look, event))
		return 0;
	i = last_until(look, at);
	if (i < 0) {
		look->at = look->bases[0];
		set_bound(look);
		return gone(event, at, look->at);
	}
	if (at >= look->bound && look->bases[look->n_bases - 1] >= at) {
		(void)ended(look, event);
		event->is_bound = true;
		return 0;
	}
	/* Of the last one nothing was left, not even how long it was. */
	if (look->has_segment && look->segment.base == at)
		return ended(look, event);
	if (look->bases[i] == at)
		return enter_segment(look, event);
	if ((size_t)i + 1 < look->n_bases)
		return pass_hole(look, event, look->bases[i + 1]);
	return ended(look, event);
}

/* ---- In a segment ---------------------------------------------------------------------------- */

static int
found(struct look *look, struct look_event *event, const struct queue_impl_log_record *record)
{
	look->at = queue_impl_log_scan_next(&look->scan, record);
	*event = (struct look_event){
		.kind = LOOK_RECORD, .record = *record, .position = record->position};
	return 0;
}

/* The segment was taken away while it was read. */
static int
lost_it(struct look *look, struct look_event *event)
{
	uint64_t at = look->at;

	leave(look);
	look->at = look->segment.end;
	return gone(event, at, look->at);
}

/* Is there anything behind a position that says that it was synced? */
static int
is_claimed(struct look *look, uint64_t position)
{
	struct queue_impl_log_record record;
	uint64_t at = position + QUEUE_IMPL_LOG_RECORD;
	int rc;

	for (;;) {
		rc = queue_impl_log_scan_find(&look->scan, at, &record);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		if (record.kind == QUEUE_IMPL_LOG_DURABLE &&
		    record.position - (uint64_t)record.aux * 8 > position)
			return 1;
		at = record.position + QUEUE_IMPL_LOG_RECORD;
	}
}

/* From `at` on, to the next record. */
static int
pass_damage(struct look *look, struct look_event *event)
{
	struct queue_impl_log_record record;
	uint64_t at = look->at, next;
	int rc = queue_impl_log_scan_find(&look->scan, at + QUEUE_IMPL_LOG_RECORD, &record);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (!look_is_there(look, look->segment.base, look->file))
		return lost_it(look, event);
	next = rc == 0 ? record.position : look->segment.end;
	look->at = next;
	/* What is missing at the end of the file has been told. */
	if (rc == -ENOENT && look->written < next)
		next = look->written;
	if (next <= at)
		return AGAIN;
	*event = damage(look->segment.base, HEADER + (at - look->segment.base), next - at,
			"no valid record");
	event->is_inside = true;
	return 0;
}

/* There is no record: it was not when that was read. */
static int
examine(struct look *look, struct look_event *event)
{
	struct queue_impl_log_record record;
	bool is_settled;
	int rc = look_list(look);

	if (rc < 0)
		return rc;
	/* A segment was synced when there is a later one. */
	is_settled = look->bases && look->n_bases > 0 &&
		     look->bases[look->n_bases - 1] >= look->segment.end;
	queue_impl_log_scan_forget(&look->scan);
	if (!is_settled) {
		rc = is_claimed(look, look->at);
		if (rc < 0)
			return rc;
		is_settled = rc > 0;
		queue_impl_log_scan_forget(&look->scan);
	}
	rc = queue_impl_log_scan_record(&look->scan, look->at, &record);
	if (rc == 0)
		return found(look, event, &record);
	if (rc != -EILSEQ)
		return rc;
	if (is_settled)
		return pass_damage(look, event);
	if (!look_is_there(look, look->segment.base, look->file))
		return lost_it(look, event);
	return ended(look, event);
}

static int
step(struct look *look, struct look_event *event)
{
	struct queue_impl_log_record record;
	int rc;

	if (look->segment.end - look->at < RECORD) {
		look->at = look->segment.end;
		leave(look);
		return AGAIN;
	}
	rc = queue_impl_log_scan_record(&look->scan, look->at, &record);
	if (rc == 0)
		return found(look, event, &record);
	return rc == -EILSEQ ? examine(look, event) : rc;
}

int
look_next(struct look *look, struct look_event *event)
{
	int rc = AGAIN;

	if (look->n_pending > 0) {
		*event = look->pending[--look->n_pending];
		return 0;
	}
	while (rc == AGAIN)
		rc = look->file < 0 ? enter(look, event) : step(look, event);
	return rc;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

void
look_from(struct look *look, uint64_t position, bool follows)
{
	leave(look);
	look->follows = follows;
	look->bound = UINT64_MAX;
	look->from = position;
	look->at = 0;
	look->is_placed = look->has_segment = false;
	look->hole_at = UINT64_MAX;
	look->n_pending = 0;
}

int
look_open(struct look *look, const char *path)
{
	const struct queue_impl_disk *disk = &queue_impl_disk_system;
	int rc;

	*look = (struct look){.disk = disk, .file = -1};
	queue_impl_log_scan_init(&look->scan, disk, &queue_allocator_libc);
	look_from(look, 0, false);
	look->directory = disk->open_directory(disk->context, path, false);
	rc = look->directory < 0 ? look->directory : look_list(look);
	if (rc == 0 && look->n_bases == 0 && faccessat(look->directory, "lock", F_OK, 0) != 0)
		rc = -ENOENT;
	if (rc < 0)
		look_close(look);
	return rc;
}

void
look_close(struct look *look)
{
	leave(look);
	queue_impl_log_scan_fini(&look->scan);
	if (look->directory >= 0)
		look->disk->close(look->disk->context, look->directory);
	look->directory = -1;
	free(look->bases);
	look->bases = NULL;
	look->n_bases = look->capacity = 0;
}
