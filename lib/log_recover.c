/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is found in a directory. The rule is said in log_format_impl.h; here it is carried out.
 */
#include "log_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (UINT64_C(64) << 10)
#define GAP_MOST ((uint64_t)UINT32_MAX * 8)
/* What comes behind the name of a file that is not used. */
#define UNUSED ".unused"

/* No position. */
#define NONE UINT64_MAX

struct recovery {
	struct queue_log *log;
	struct queue_impl_log_scan scan;
	uint64_t *bases; /* of the files that there are */
	size_t n_bases, capacity;
	int rc;			/* of what was done in a callback */
	uint64_t claimed;	/* all before was synced, as a record says */
	uint64_t complete_from; /* what the last COMPLETE says */
	uint64_t gap_end;	/* where the last gap ends */
	uint64_t messages_end;	/* where the last message ends */
	uint64_t blank;		/* from here on there is nothing in the last segment */
	bool applies;		/* what is found of readers and half messages is taken for true */
	bool is_complete;	/* a COMPLETE was found */
};

/*
 * Files.
 */

static int
note_base(struct recovery *recovery, uint64_t base)
{
	const struct queue_allocator *allocator = recovery->log->allocator;
	size_t size = sizeof *recovery->bases, capacity = recovery->capacity * 2;
	uint64_t *bases;

	if (recovery->n_bases == recovery->capacity) {
		if (capacity == 0)
			capacity = 64;
		bases = allocator->allocate(allocator->context, capacity * size, size);
		if (!bases)
			return -ENOMEM;
		if (recovery->bases) {
			memcpy(bases, recovery->bases, recovery->n_bases * size);
			allocator->release(allocator->context, recovery->bases,
					   recovery->capacity * size, size);
		}
		recovery->bases = bases;
		recovery->capacity = capacity;
	}
	recovery->bases[recovery->n_bases++] = base;
	return 0;
}

/* A file that was made ready: it is as long as it should be, or else a crash came in between. */
static int
take_spare(struct queue_log *log, const char *name)
{
	const struct queue_impl_disk *disk = log->disk;
	uint64_t number = strtoull(name + strlen("spare."), NULL, 10);
	char same[64];
	int64_t size;
	int file;

	/* Only what is written like one of ours. */
	(void)snprintf(same, sizeof same, "spare.%" PRIu64, number);
	if (strcmp(name, same) != 0)
		return 0;
	if (number >= log->next_spare)
		log->next_spare = number + 1;
	file = disk->open(disk->context, log->directory, name, QUEUE_IMPL_DISK_READ);
	if (file < 0)
		return file;
	size = disk->size(disk->context, file);
	disk->close(disk->context, file);
	if (size < 0)
		return (int)size;
	if ((uint64_t)size != log->options.segment_size || log->n_spares == QUEUE_IMPL_LOG_SPARES)
		return disk->unlink(disk->context, log->directory, name);
	log->spares[log->n_spares++] = number;
	return 0;
}

static void
note_file(const char *name, void *opaque)
{
	struct recovery *recovery = opaque;
	uint64_t base;
	int rc = 0;

	if (recovery->rc < 0)
		return;
	if (queue_impl_log_is_file_name(name, &base))
		rc = note_base(recovery, base);
	else if (strncmp(name, "spare.", strlen("spare.")) == 0)
		rc = take_spare(recovery->log, name);
	if (rc < 0)
		recovery->rc = rc;
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

/*
 * Damage.
 */

int
queue_impl_log_report(const struct queue_log *log, uint64_t base, uint64_t offset, uint64_t length)
{
	bool salvages = (log->options.flags & QUEUE_LOG_SALVAGE) != 0;
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	struct queue_log_damage damage = {
		.file = name,
		.offset = offset,
		.position = base,
		.length = length,
		.salvaged = salvages,
	};

	if (offset > QUEUE_IMPL_LOG_HEADER)
		damage.position += offset - QUEUE_IMPL_LOG_HEADER;
	queue_impl_log_file_name(name, base);
	if (log->options.on_damage)
		log->options.on_damage(&damage, log->options.context);
	return salvages ? 0 : -EILSEQ;
}

/*
 * Headers.
 */

/* Both are written as they should be. */
static int
write_header(const struct queue_log *log, int file,
	     const struct queue_impl_log_segment_header *header)
{
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];

	queue_impl_log_write_header(bytes, header);
	return log->disk->write(log->disk->context, file, bytes, sizeof bytes, 0);
}

/*
 * A segment of which nothing is known: a gap, or several, for one is not longer than its aux can say.
 * The file is as long as it has to be.
 */
static int
write_gap(const struct queue_log *log, int file, const struct queue_impl_log_segment_header *header)
{
	const struct queue_impl_disk *disk = log->disk;
	uint64_t left = header->size - QUEUE_IMPL_LOG_HEADER, at = 0, n, words[3];
	int rc = 0;

	for (; rc == 0 && left >= QUEUE_IMPL_LOG_RECORD; left -= n, at += n) {
		n = left < GAP_MOST ? left : GAP_MOST;
		queue_impl_log_make_record(words, header->salt, header->base + at,
					   QUEUE_IMPL_LOG_GAP, (uint32_t)(n / 8), NULL, 0);
		rc = disk->write(disk->context, file, words, sizeof words,
				 QUEUE_IMPL_LOG_HEADER + at);
	}
	if (rc == 0)
		rc = write_header(log, file, header);
	return rc;
}

/* A file that should be longer gets zeros. */
static int
lengthen(const struct queue_log *log, int file, uint64_t size)
{
	const unsigned char zero = 0;

	return log->disk->write(log->disk->context, file, &zero, 1, size - 1);
}

/*
 * Finds the header, reports what of it and of the file's length is damaged, and mends that when it is
 * to be left out. When neither of the two headers is one, the whole segment is: without its salt it
 * cannot be told what in it is a record. It ends at `next` then, where there is another segment.
 */
static int
check_file(const struct queue_log *log, int file, uint64_t base, uint64_t next,
	   struct queue_impl_log_segment_header *header)
{
	const struct queue_impl_disk *disk = log->disk;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER] = {0};
	struct queue_impl_log_segment_header second;
	int64_t n = disk->read(disk->context, file, bytes, sizeof bytes, 0);
	int64_t size = disk->size(disk->context, file);
	bool is_lost;
	int rc, again;

	if (n < 0 || size < 0)
		return (int)(n < 0 ? n : size);
	rc = queue_impl_log_read_header(bytes, header);
	again = queue_impl_log_read_header(bytes + QUEUE_IMPL_LOG_HEADER_AGAIN, &second);
	if (rc == -ENOTSUP || again == -ENOTSUP)
		return -ENOTSUP;
	if (rc == 0 && header->base != base)
		rc = -EILSEQ;
	if (again == 0 && second.base != base)
		again = -EILSEQ;
	is_lost = rc < 0 && again < 0;
	if (rc < 0 && again == 0)
		*header = second;
	if (is_lost) {
		header->base = base;
		header->salt = log->seed;
		header->size = log->options.segment_size;
		if (next != NONE)
			header->size = QUEUE_IMPL_LOG_HEADER + (next - base);
		else if (size > (int64_t)QUEUE_IMPL_LOG_HEADER + 32)
			header->size = (uint64_t)size & ~UINT64_C(7);
		header->created = queue_impl_log_time();
	}
	if (rc == 0 && again == 0 && (uint64_t)size >= header->size)
		return 0;
	if (rc == 0 && again == 0)
		rc = queue_impl_log_report(log, base, (uint64_t)size,
					   header->size - (uint64_t)size);
	else
		rc = queue_impl_log_report(log, base, rc < 0 ? 0 : QUEUE_IMPL_LOG_HEADER_AGAIN,
					   is_lost ? header->size : 56);
	if (rc == 0 && (uint64_t)size < header->size)
		rc = lengthen(log, file, header->size);
	if (rc == 0)
		rc = is_lost ? write_gap(log, file, header) : write_header(log, file, header);
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	return rc;
}

/* Between two segments there is nothing where there should be something. */
static int
fill_hole(struct queue_log *log, uint64_t from, uint64_t to)
{
	const struct queue_impl_disk *disk = log->disk;
	const struct queue_impl_log_segment_header header = {
		.base = from,
		.salt = log->seed,
		.size = QUEUE_IMPL_LOG_HEADER + (to - from),
		.created = queue_impl_log_time(),
	};
	static const char temporary[] = "gap";
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	int rc = queue_impl_log_report(log, from, 0, to - from), file;

	if (rc < 0)
		return rc;
	file = disk->open(disk->context, log->directory, temporary, QUEUE_IMPL_DISK_CREATE);
	if (file < 0)
		return file;
	rc = lengthen(log, file, header.size);
	if (rc == 0)
		rc = write_gap(log, file, &header);
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	disk->close(disk->context, file);
	queue_impl_log_file_name(name, from);
	if (rc == 0)
		rc = disk->rename(disk->context, log->directory, temporary, name);
	if (rc == 0)
		rc = disk->sync_directory(disk->context, log->directory);
	return rc;
}

static int
add_segment(struct queue_log *log, const struct queue_impl_log_segment_header *header)
{
	const struct queue_impl_log_segment segment = {
		.base = header->base,
		.end = header->base + (header->size - QUEUE_IMPL_LOG_HEADER),
		.salt = header->salt,
		.created = header->created,
	};

	return queue_impl_log_segment_add(log, &segment);
}

/* It begins where there is another one already. Nothing looks at its new name. */
static int
set_aside(struct queue_log *log, uint64_t base, uint64_t length)
{
	char name[QUEUE_IMPL_LOG_FILE_NAME], aside[QUEUE_IMPL_LOG_FILE_NAME + sizeof UNUSED];
	int rc = queue_impl_log_report(log, base, 0, length);

	if (rc < 0)
		return rc;
	queue_impl_log_file_name(name, base);
	(void)snprintf(aside, sizeof aside, "%s" UNUSED, name);
	return log->disk->rename(log->disk->context, log->directory, name, aside);
}

/* `next` is the base of the one behind, or NONE. */
static int
list_segment(struct queue_log *log, uint64_t base, uint64_t next)
{
	bool salvages = (log->options.flags & QUEUE_LOG_SALVAGE) != 0;
	struct queue_impl_log_segment_header header;
	uint64_t expected;
	int file, rc;

	expected = log->n_segments > 0 ? log->segments[log->n_segments - 1].end : base;
	if (base < expected)
		return set_aside(log, base, expected - base);
	if (base > expected) {
		rc = fill_hole(log, expected, base);
		if (rc == 0)
			rc = list_segment(log, expected, base);
		if (rc < 0)
			return rc;
	}
	file = queue_impl_log_open_file(log, base,
					salvages ? QUEUE_IMPL_DISK_WRITE : QUEUE_IMPL_DISK_READ);
	if (file < 0)
		return file;
	rc = check_file(log, file, base, next, &header);
	log->disk->close(log->disk->context, file);
	return rc < 0 ? rc : add_segment(log, &header);
}

/* The list of segments, by their headers. */
static int
list_segments(struct recovery *recovery)
{
	size_t i;
	int rc = 0;

	if (recovery->n_bases > 1)
		qsort(recovery->bases, recovery->n_bases, sizeof *recovery->bases, compare);
	for (i = 0; rc == 0 && i < recovery->n_bases; i++)
		rc = list_segment(recovery->log, recovery->bases[i],
				  i + 1 < recovery->n_bases ? recovery->bases[i + 1] : NONE);
	return rc;
}

/*
 * Records.
 */

/* Is there anything behind a position that says that it was synced? */
static int
is_claimed(struct recovery *recovery, uint64_t position)
{
	struct queue_impl_log_record record;
	uint64_t at = position;
	int rc;

	for (;;) {
		rc = queue_impl_log_scan_find(&recovery->scan, at, &record);
		recovery->blank = recovery->scan.blank;
		if (rc == -ENOENT)
			return 0;
		if (rc < 0)
			return rc;
		if (record.kind == QUEUE_IMPL_LOG_DURABLE &&
		    record.position - (uint64_t)record.aux * 8 > position)
			return 1;
		at = record.position + QUEUE_IMPL_LOG_RECORD;
	}
}

int
queue_impl_log_leave_out(const struct queue_log *log, struct queue_impl_log_scan *scan,
			 uint64_t position, uint64_t next)
{
	const struct queue_impl_disk *disk = log->disk;
	uint64_t words[3];
	int file, rc;

	/* What was not written since there is no room for a record is nothing. */
	if (next - position < QUEUE_IMPL_LOG_RECORD)
		return 0;
	queue_impl_log_make_record(words, scan->salt, position, QUEUE_IMPL_LOG_GAP,
				   (uint32_t)((next - position) / 8), NULL, 0);
	file = queue_impl_log_open_file(log, scan->base, QUEUE_IMPL_DISK_WRITE);
	if (file < 0)
		return file;
	rc = disk->write(disk->context, file, words, sizeof words,
			 QUEUE_IMPL_LOG_HEADER + (position - scan->base));
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	disk->close(disk->context, file);
	queue_impl_log_scan_forget(scan);
	return rc;
}

/* What no record says was synced is written once more, as it is. */
static int
write_again(struct recovery *recovery, uint64_t from, uint64_t to)
{
	struct queue_impl_log_scan *scan = &recovery->scan;
	const struct queue_impl_disk *disk = recovery->log->disk;
	const unsigned char *bytes;
	uint64_t n;
	int rc = 0;

	for (; rc == 0 && from < to; from += n) {
		n = to - from < PIECE ? to - from : PIECE;
		rc = queue_impl_log_scan_bytes(scan, from, n, &bytes);
		if (rc == 0)
			rc = disk->write(disk->context, scan->file, bytes, n,
					 QUEUE_IMPL_LOG_HEADER + (from - scan->base));
	}
	return rc;
}

static int
write_zeros(const struct recovery *recovery, uint64_t from, uint64_t to)
{
	const struct queue_impl_disk *disk = recovery->log->disk;
	static const unsigned char zeros[PIECE];
	uint64_t n, offset;
	int rc = 0;

	for (; rc == 0 && from < to; from += n) {
		offset = QUEUE_IMPL_LOG_HEADER + (from - recovery->scan.base);
		/* Whole pages but for the first one. */
		n = PIECE - offset % QUEUE_IMPL_LOG_PAGE;
		if (n > to - from)
			n = to - from;
		rc = disk->write(disk->context, recovery->scan.file, zeros, n, offset);
	}
	return rc;
}

/*
 * From a position on the last segment is as if it had not been written, durably so. When a sync has
 * failed the system may show zeros that are not on the disk, and think that they are. So the last
 * word of what is overwritten is a mark, which is no part of a record, and is cleared at the end:
 * whoever finds it does all of that again.
 */
static int
cut(const struct recovery *recovery, uint64_t position)
{
	const struct queue_impl_disk *disk = recovery->log->disk;
	const uint64_t mark = UINT64_MAX;
	uint64_t last = recovery->blank - sizeof mark;
	int file = recovery->scan.file, rc;

	if (recovery->blank <= position)
		return disk->sync(disk->context, file);
	rc = disk->write(disk->context, file, &mark, sizeof mark,
			 QUEUE_IMPL_LOG_HEADER + (last - recovery->scan.base));
	if (rc == 0)
		rc = write_zeros(recovery, position, last);
	if (rc == 0)
		rc = disk->sync(disk->context, file);
	return rc < 0 ? rc : write_zeros(recovery, last, recovery->blank);
}

/* What a record says about readers and half messages. */
static int
restore(struct queue_log *log, const struct queue_impl_log_record *record)
{
	switch (record->kind) {
	case QUEUE_IMPL_LOG_READER:
	case QUEUE_IMPL_LOG_REMOVED:
		return queue_impl_log_reader_restore(log, record);
	case QUEUE_IMPL_LOG_PREPARE:
	case QUEUE_IMPL_LOG_COMMIT:
	case QUEUE_IMPL_LOG_ROLLBACK:
	case QUEUE_IMPL_LOG_CHECKED:
		return queue_impl_log_half_restore(log, record);
	default:
		return 0;
	}
}

static int
apply(struct recovery *recovery, const struct queue_impl_log_record *record)
{
	uint64_t from;

	switch (record->kind) {
	case QUEUE_IMPL_LOG_COMPLETE:
		memcpy(&from, record->data, sizeof from);
		/* A gap may have been a reader. */
		if (from >= recovery->gap_end) {
			recovery->is_complete = true;
			recovery->complete_from = from;
		}
		break;
	case QUEUE_IMPL_LOG_GAP:
		recovery->gap_end = record->position + (uint64_t)record->aux * 8;
		break;
	case QUEUE_IMPL_LOG_DURABLE:
		recovery->claimed = record->position - (uint64_t)record->aux * 8;
		break;
	case QUEUE_IMPL_LOG_MESSAGE:
	case QUEUE_IMPL_LOG_COMMIT:
		recovery->messages_end = record->position + queue_impl_log_extent(record->size);
		break;
	default:
		break;
	}
	return recovery->applies ? restore(recovery->log, record) : 0;
}

/*
 * Goes through a segment, up to *position, where nothing more is found. Damage is reported, and when
 * it is to be left out, is left out.
 */
static int
scan_segment(struct recovery *recovery, bool is_last, uint64_t *position)
{
	struct queue_impl_log_scan *scan = &recovery->scan;
	struct queue_impl_log_record record;
	uint64_t at = scan->base, next;
	int rc;

	while (scan->end - at >= QUEUE_IMPL_LOG_RECORD) {
		rc = queue_impl_log_scan_record(scan, at, &record);
		if (rc == 0) {
			rc = apply(recovery, &record);
			if (rc < 0)
				return rc;
			at = queue_impl_log_scan_next(scan, &record);
			continue;
		}
		if (rc == -EILSEQ && is_last) {
			rc = is_claimed(recovery, at);
			if (rc == 0)
				break;
			if (rc > 0)
				rc = -EILSEQ;
		}
		if (rc != -EILSEQ)
			return rc;
		next = scan->end;
		rc = queue_impl_log_scan_find(scan, at + QUEUE_IMPL_LOG_RECORD, &record);
		if (rc == 0)
			next = record.position;
		else if (rc != -ENOENT)
			return rc;
		rc = queue_impl_log_report(recovery->log, scan->base,
					   QUEUE_IMPL_LOG_HEADER + (at - scan->base), next - at);
		if (rc == 0)
			rc = queue_impl_log_leave_out(recovery->log, scan, at, next);
		if (rc < 0)
			return rc;
		recovery->gap_end = next;
		at = next;
	}
	*position = at;
	return 0;
}

static int
open_segment(struct recovery *recovery, const struct queue_impl_log_segment *segment)
{
	struct queue_log *log = recovery->log;
	int file = queue_impl_log_open_file(log, segment->base, QUEUE_IMPL_DISK_WRITE);

	if (file < 0)
		return file;
	if (log->file >= 0)
		log->disk->close(log->disk->context, log->file);
	log->file = file;
	queue_impl_log_scan_file(&recovery->scan, file, segment->base, segment->end, segment->salt);
	return 0;
}

/* The last segment, of which the end is found. */
static int
read_last(struct recovery *recovery, uint64_t *position)
{
	struct queue_log *log = recovery->log;
	const struct queue_impl_log_segment *last = &log->segments[log->n_segments - 1];
	int rc = open_segment(recovery, last);

	log->first_base = last->base;
	log->first_end = last->end;
	log->first_salt = last->salt;
	recovery->claimed = recovery->messages_end = last->base;
	recovery->blank = last->base;
	if (rc == 0)
		rc = scan_segment(recovery, true, position);
	if (recovery->claimed < last->base)
		recovery->claimed = last->base;
	return rc;
}

/*
 * What the process before had not synced is there now, and counts as stored from now on. Only here is
 * anything changed that is not damaged: a log that is refused is as it was.
 */
static int
settle_last(struct recovery *recovery, uint64_t position)
{
	struct queue_log *log = recovery->log;
	int rc = open_segment(recovery, &log->segments[log->n_segments - 1]);

	if (rc == 0)
		rc = write_again(recovery, recovery->claimed, position);
	if (rc == 0)
		rc = cut(recovery, position);
	if (rc == 0)
		rc = log->disk->sync_directory(log->disk->context, log->directory);
	return rc;
}

/* All that is said about readers and half messages from a segment on. */
static int
read_readers(struct recovery *recovery, size_t first)
{
	struct queue_log *log = recovery->log;
	uint64_t unused;
	int rc = 0;

	queue_impl_log_readers_fini(log);
	queue_impl_log_halves_forget(log);
	recovery->applies = true;
	recovery->is_complete = false;
	recovery->gap_end = 0;
	for (; rc == 0 && first < log->n_segments; first++) {
		rc = open_segment(recovery, &log->segments[first]);
		if (rc == 0)
			rc = scan_segment(recovery, first == log->n_segments - 1, &unused);
	}
	return rc;
}

/*
 * When the last segment does not say everything about the readers: from where the last COMPLETE says
 * on, or from the beginning.
 */
static int
recover_readers(struct recovery *recovery)
{
	struct queue_log *log = recovery->log;
	uint64_t messages_end = recovery->messages_end, claimed = recovery->claimed, unused;
	size_t first = log->n_segments - 1;
	int rc = 0;

	if (first == 0 || (recovery->is_complete && recovery->complete_from >= log->first_base))
		return 0;
	recovery->applies = false;
	while (rc == 0 && first > 0 && !recovery->is_complete) {
		first--;
		recovery->gap_end = 0;
		rc = open_segment(recovery, &log->segments[first]);
		if (rc == 0)
			rc = scan_segment(recovery, false, &unused);
	}
	while (first > 0 && recovery->is_complete &&
	       log->segments[first].base > recovery->complete_from)
		first--;
	rc = rc < 0 ? rc : read_readers(recovery, first);
	/* There is a gap where they were written: what was written before counts. */
	if (rc == 0 && !recovery->is_complete && first > 0)
		rc = read_readers(recovery, 0);
	/* These are of the last segment. */
	recovery->messages_end = messages_end;
	recovery->claimed = claimed;
	return rc;
}

static int
recover(struct recovery *recovery)
{
	struct queue_log *log = recovery->log;
	uint64_t position = 0;
	int rc;

	rc = log->disk->list(log->disk->context, log->directory, note_file, recovery);
	if (rc == 0)
		rc = recovery->rc;
	if (rc == 0)
		rc = list_segments(recovery);
	if (rc < 0)
		return rc;
	if (log->n_segments == 0 && (log->options.flags & QUEUE_LOG_NO_CREATE))
		return -ENOENT;
	if (log->n_segments > 0) {
		recovery->applies = true;
		rc = read_last(recovery, &position);
		if (rc == 0)
			rc = recover_readers(recovery);
		if (rc == 0)
			rc = settle_last(recovery, position);
	} else {
		if (log->n_spares == 0)
			rc = queue_impl_log_make_spare(log);
		if (rc == 0)
			rc = queue_impl_log_rotate(log, 0);
	}
	if (rc < 0)
		return rc;
	queue_impl_log_set_limit(log);
	log->complete_at = UINT64_MAX;
	if (recovery->is_complete) {
		log->needed = recovery->complete_from;
		log->restates_next = log->first_end;
	}
	log->tail = log->written = log->durable = position;
	log->messages_end = recovery->messages_end;
	/* The first batch says that what is there was synced. */
	log->noted = UINT64_MAX;
	return 0;
}

int
queue_impl_log_recover(struct queue_log *log)
{
	const struct queue_allocator *allocator = log->allocator;
	struct recovery recovery = {.log = log};
	int rc;

	queue_impl_log_scan_init(&recovery.scan, log->disk, allocator);
	rc = recover(&recovery);
	queue_impl_log_scan_fini(&recovery.scan);
	if (recovery.bases)
		allocator->release(allocator->context, recovery.bases,
				   recovery.capacity * sizeof *recovery.bases,
				   sizeof *recovery.bases);
	return rc;
}
