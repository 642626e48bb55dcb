/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_LOOK_FILES_H
#define QUEUE_LOG_LOOK_FILES_H

/*
 * For look.c and look_tail.c alone: a log's files.
 */
#include "look.h"

/* The file of a segment, to be read. */
int look_open_file(const struct look *look, uint64_t base);

/* A file is there under the name of a segment; and it is this one, unless `file` is negative. */
bool look_is_there(const struct look *look, uint64_t base, int file);

struct look_headers {
	struct queue_impl_log_segment_header header; /* of one that is right */
	int first, second;			     /* 0, -EILSEQ, -ENOTSUP */
	uint64_t size;				     /* of the file */
};

/* Both headers of a file. 0, also when they are damaged. */
int look_read_headers(const struct look *look, int file, uint64_t base,
		      struct look_headers *headers);
bool look_is_later_version(const struct look_headers *headers);

/* What the header of look->bases[i] says. -EILSEQ: both are damaged. */
int look_header_of(const struct look *look, size_t i, struct look_segment *segment);

#endif
