/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_LOG_FORMAT_IMPL_H
#define CONVEYOR_LIB_LOG_FORMAT_IMPL_H

/*
 * What is in the files of a log. queue_log(5) says the same for users. All numbers are little-endian.
 *
 * A log is a sequence of bytes, and a position is the number of one of them. It is cut into segments,
 * each a file of fixed size, which is named by the position of its first byte, 16 hexadecimal digits
 * and ".log". In a file:
 *
 *      0   8  "conveyor"                       A segment's header, QUEUE_IMPL_LOG_HEADER bytes, of
 *      8   4  version, 1                       which those that are not named here are zero.
 *     12   4  CRC-32C of bytes 0 to 55, these four being zero
 *     16   8  position of the first byte behind the header
 *     24   8  salt: a random number, another one each time the file is used
 *     32   8  size of the file
 *     40   8  when it was begun, nanoseconds since 1970
 *     48   8  zero
 *   2048  56  the same once more, should a sector be lost
 *
 *      0   4  length: of these 24 bytes and what follows, without padding         A record
 *      4   4  CRC-32C of: the segment's salt; bytes 0 to 3 and 8 to 23; what follows
 *      8   8  position of this record
 *     16   1  kind
 *     17   1  flags, zero
 *     18   2  zero
 *     20   4  aux: depends on the kind
 *     24      what follows, and zeros up to a multiple of 8 bytes
 *
 * Behind the last record there are zeros to the end of the file, or what was there when the file was
 * used before: this has other positions and another salt. A segment ends by a record END, or when
 * fewer than 24 bytes are left.
 *
 * Recovery. Of the segments that follow each other the last is read from its beginning, and when
 * there is no COMPLETE in it, those before it: from the position that the last COMPLETE names on,
 * the state of the readers is known. Where something is not a record that belongs there, nothing
 * had been written, or a crash came in between, or it is damaged. It is damage if a later segment
 * exists, for a segment is synced before the next one is begun; or if a record DURABLE can be found
 * anywhere behind it that says that more than that had been synced. Else it was never said to be
 * stored: it is overwritten with zeros, as far as there are others, and synced before anything is
 * appended, so that what lies behind the cut does not come back when new records happen to end
 * where an old one begins. What is kept, but no record says was synced, is written once more. When
 * a sync has failed, the system may show what is not on the disk, and not write it again: of zeros
 * a mark tells, which is there until they have been synced.
 */
#include "disk_impl.h"

#include <conveyor/alloc.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_IMPL_LOG_HEADER 4096u
#define QUEUE_IMPL_LOG_RECORD 24u
#define QUEUE_IMPL_LOG_VERSION 1u

/* There are none behind: sums of two do not wrap. A log gets there after a hundred years at 1 GB/s. */
#define QUEUE_IMPL_LOG_POSITION_MAX (UINT64_C(1) << 62)

enum queue_impl_log_kind {
	QUEUE_IMPL_LOG_MESSAGE = 1,
	/*
	 * All up to aux * 8 bytes before this record was synced when it was written. One in a batch.
	 * It can be followed by the time, nanoseconds since 1970.
	 */
	QUEUE_IMPL_LOG_DURABLE,
	QUEUE_IMPL_LOG_END,	/* the rest of the segment is not used */
	QUEUE_IMPL_LOG_GAP,	/* aux * 8 bytes are left out, these included: they were damaged */
	QUEUE_IMPL_LOG_READER,	/* what a reader has acknowledged, see log_reader.c */
	QUEUE_IMPL_LOG_REMOVED, /* a reader, by its name, that is none any more */
	QUEUE_IMPL_LOG_COMPLETE, /* all readers, and half messages, are known from a position on, which follows */
	QUEUE_IMPL_LOG_PREPARE,	 /* a half message, see log_half.c; aux: how long its key is */
	QUEUE_IMPL_LOG_COMMIT,	 /* the message that it has become; its id comes first, 8 bytes */
	QUEUE_IMPL_LOG_ROLLBACK, /* its id: it is none any more */
	QUEUE_IMPL_LOG_CHECKED /* its id, 8 bytes; how often it was asked for, 4; is it parked, 4 */
};

/* What comes before the key in PREPARE, and before the message in COMMIT. */
#define QUEUE_IMPL_LOG_PREPARED 24u
#define QUEUE_IMPL_LOG_COMMITTED 8u

struct queue_impl_log_segment_header {
	uint64_t base, salt, size, created;
};

struct queue_impl_log_record {
	uint64_t position;
	uint32_t length;
	uint32_t aux;
	uint8_t kind;
	const unsigned char *data;
	size_t size; /* of data */
	/* MESSAGE and COMMIT: what is delivered; NULL: nothing is. */
	const unsigned char *message;
	size_t message_size;
};

/* Bytes of a record with so much data, up to where the next one can begin. */
static inline uint64_t
queue_impl_log_extent(uint64_t size)
{
	return (QUEUE_IMPL_LOG_RECORD + size + 7) & ~UINT64_C(7);
}

/* Of memory, mostly; files consist of these. */
#define QUEUE_IMPL_LOG_PAGE 4096

/* The longest record for segments of that size, so that what is lost at their ends is not much. */
static inline uint64_t
queue_impl_log_record_max(uint64_t segment)
{
	return segment / 4 & ~UINT64_C(7);
}

/* "0000000000001000.log" */
#define QUEUE_IMPL_LOG_FILE_NAME 21
void queue_impl_log_file_name(char *name, uint64_t base);

/* False: it is not such a name. */
bool queue_impl_log_is_file_name(const char *name, uint64_t *base);

/* Where the second one is. */
#define QUEUE_IMPL_LOG_HEADER_AGAIN 2048

/* QUEUE_IMPL_LOG_HEADER bytes. */
void queue_impl_log_write_header(unsigned char *bytes,
				 const struct queue_impl_log_segment_header *header);

/* Of one of the two. 0; -EILSEQ: it is none; -ENOTSUP: of a later version. */
int queue_impl_log_read_header(const unsigned char *bytes,
			       struct queue_impl_log_segment_header *header);

/*
 * The first 24 bytes of a record, as three words: the first is what makes it one. The data is that
 * which will follow.
 */
void queue_impl_log_make_record(uint64_t words[3], uint64_t salt, uint64_t position,
				enum queue_impl_log_kind kind, uint32_t aux, const void *data,
				size_t size);

/* Reads the records of one segment through a buffer. */
struct queue_impl_log_scan {
	const struct queue_impl_disk *disk;
	const struct queue_allocator *allocator;
	int file;
	uint64_t base, end; /* positions */
	uint64_t until;	    /* nothing is read from here on: it may be being written */
	uint64_t salt;
	/* What is in the buffer. */
	unsigned char *buffer;
	size_t capacity;
	uint64_t from; /* a position */
	size_t filled;
	uint64_t blank; /* from here on the last search saw zeros only */
};

void queue_impl_log_scan_init(struct queue_impl_log_scan *scan, const struct queue_impl_disk *disk,
			      const struct queue_allocator *allocator);
void queue_impl_log_scan_fini(struct queue_impl_log_scan *scan);

/* Another segment, of which nothing has been read yet. */
void queue_impl_log_scan_file(struct queue_impl_log_scan *scan, int file, uint64_t base,
			      uint64_t end, uint64_t salt);

/* What is to be read ends at a position, or else at the end of the segment. */
static inline void
queue_impl_log_scan_until(struct queue_impl_log_scan *scan, uint64_t position)
{
	scan->until = position < scan->end ? position : scan->end;
}

/* Forgets what it has read: it may have been written since. */
void queue_impl_log_scan_forget(struct queue_impl_log_scan *scan);

/*
 * Bytes of the segment as they are, in the buffer until the next call. A file that ends too early is
 * one with zeros at its end. 0; -EILSEQ: not all of them are in the segment; -ENOMEM, and what the
 * disk says.
 */
int queue_impl_log_scan_bytes(struct queue_impl_log_scan *scan, uint64_t position, size_t size,
			      const unsigned char **bytes);

/*
 * The record at a position, whose data is in the buffer until the next call. 0; -EILSEQ: there is
 * none; -ENOMEM, and what the disk says.
 */
int queue_impl_log_scan_record(struct queue_impl_log_scan *scan, uint64_t position,
			       struct queue_impl_log_record *record);

/* The position behind a record: of the next one, or the end of the segment. */
uint64_t queue_impl_log_scan_next(const struct queue_impl_log_scan *scan,
				  const struct queue_impl_log_record *record);

/*
 * The first record that begins at a position or behind it, wherever that is. 0; -ENOENT: there is
 * none in the segment; and as above.
 */
int queue_impl_log_scan_find(struct queue_impl_log_scan *scan, uint64_t position,
			     struct queue_impl_log_record *record);

#endif
