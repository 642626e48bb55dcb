/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_LOOK_H
#define QUEUE_LOG_LOOK_H

/*
 * A log's directory, looked at and never touched: all records of all segments, one after the other,
 * while a program may be appending to it, begins segments, and uses old ones again.
 *
 * What looks wrong is looked at again before it is called damage, in the order in which a writer
 * does things. It syncs a segment before it begins the next one, and a batch before it writes the
 * DURABLE that says so: so the record at a place is read once more after such a thing was seen
 * behind it. It renames a segment before it writes something else into that file: so nothing counts
 * that was read of a file which does not have its name any more afterwards.
 *
 * Nobody is kept waiting, and no lock is taken. Where a log ends depends on the moment.
 */
#include "../log_format_impl.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum look_kind {
	LOOK_SEGMENT, /* look->segment is another one from now on */
	LOOK_RECORD,
	LOOK_DAMAGE,
	LOOK_GONE, /* files were removed, or used again, before they could be read */
	LOOK_END   /* of the log; who asks again gets what has come since, or the same again */
};

struct look_event {
	enum look_kind kind;
	struct queue_impl_log_record record; /* LOOK_RECORD; until the next call */
	/* LOOK_DAMAGE, LOOK_GONE: so many bytes from there on; LOOK_END: the position alone. */
	uint64_t position, length;
	/* LOOK_DAMAGE: */
	char file[QUEUE_IMPL_LOG_FILE_NAME];
	uint64_t offset;
	const char *what;
	bool is_inside;	  /* between records; not of a header or a whole file */
	bool is_doubled;  /* the same is there once more: nothing is lost */
	bool is_nonsense; /* the record is whole: nothing leaves it out */
	bool is_bound;	  /* LOOK_END: a program goes on writing, behind what is looked at */
};

struct look_segment {
	uint64_t base, end; /* positions */
	uint64_t salt, created;
	uint64_t size; /* of the file, as its header says */
};

struct look {
	const struct queue_impl_disk *disk;
	int directory;
	/* What there was when it was listed. */
	uint64_t *bases; /* in their order */
	size_t n_bases, capacity;
	size_t n_spares;
	int rc; /* of what is done while listing */

	uint64_t at; /* the next record is there */
	uint64_t from;
	bool is_placed;	  /* `at` is known; else it is to be found from `from` */
	uint64_t hole_at; /* nothing was found there the last time */
	uint64_t bound; /* no segment is entered from here on; who writes faster than this reads */
	bool follows;	/* would have no end otherwise: but that is what is wanted */

	bool has_segment; /* there was one: */
	struct look_segment segment;
	uint64_t passed;  /* no file up to this base overlaps, but for those told of */
	int file;	  /* of the segment; -1: it was left */
	uint64_t written; /* a position: what the file really has ends here */
	struct queue_impl_log_scan scan;

	/* Of the segment that was entered, and not told yet. */
	struct look_event pending[3];
	size_t n_pending;
};

/* What is behind the end of the log. */
struct look_tail {
	uint64_t length;  /* up to the last byte that is not zero */
	bool is_torn;	  /* something was being written when the writer was stopped */
	uint64_t records; /* whole ones among it, which recovery drops */
};

/*
 * 0; -ENOENT: there is no directory, or nothing of a log in it; and what the system says. -ENOTSUP,
 * from those below: a later version has made it.
 */
int look_open(struct look *look, const char *path);
void look_close(struct look *look);

/*
 * The next records are those of the segment with a position, from its beginning on; or of the
 * oldest one, if that is behind. Segments that are not there yet are looked at only if `follows`.
 */
void look_from(struct look *look, uint64_t position, bool follows);

int look_next(struct look *look, struct look_event *event);

/* After LOOK_END, without looking closely: it may be worth while to call look_next again. */
bool look_has_more(struct look *look);

/* After LOOK_END. */
int look_at_tail(struct look *look, struct look_tail *tail);

/* Lists the directory: look->bases, look->n_spares. */
int look_list(struct look *look);

/* From the oldest to the end of the youngest segment, as its header says, for showing progress. */
int look_extent(struct look *look, uint64_t *begins, uint64_t *ends);

/* The header of the youngest segment that has one. -ENOENT: there is none. */
int look_youngest(struct look *look, struct look_segment *segment);

/*
 * Whether a program has the log open: 0 or 1. -EAGAIN: that cannot be found out here. See
 * look_writer.c.
 */
int look_has_writer(const struct look *look);

#endif
