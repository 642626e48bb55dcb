/* SPDX-License-Identifier: BSD-2-Clause */
#include "log_format_impl.h"

#include "crc32c_impl.h"

#include <conveyor/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as the files are");

#define MAGIC "conveyor"
#define CHECKED 56 /* bytes of a segment's header */

/* What is read at once, at least. */
#define CHUNK (UINT64_C(256) << 10)

static uint64_t
word_at(const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof word);
	return word;
}

static uint32_t
half_at(const unsigned char *bytes)
{
	uint32_t half;

	memcpy(&half, bytes, sizeof half);
	return half;
}

void
queue_impl_log_file_name(char *name, uint64_t base)
{
	(void)snprintf(name, QUEUE_IMPL_LOG_FILE_NAME, "%016" PRIx64 ".log", base);
}

bool
queue_impl_log_is_file_name(const char *name, uint64_t *base)
{
	static const char digits[] = "0123456789abcdef";
	const char *digit;
	int i;

	*base = 0;
	for (i = 0; i < 16; i++) {
		digit = name[i] ? strchr(digits, name[i]) : NULL;
		if (!digit)
			return false;
		*base = *base << 4 | (uint64_t)(digit - digits);
	}
	return strcmp(name + 16, ".log") == 0 && *base % 8 == 0 &&
	       *base <= QUEUE_IMPL_LOG_POSITION_MAX;
}

/* Of the header's first bytes, whose own check is taken as zero. */
static uint32_t
check_of_header(const unsigned char *bytes)
{
	static const unsigned char none[4];
	uint32_t crc = queue_impl_crc32c(0, bytes, 12);

	crc = queue_impl_crc32c(crc, none, sizeof none);
	return queue_impl_crc32c(crc, bytes + 16, CHECKED - 16);
}

void
queue_impl_log_write_header(unsigned char *bytes,
			    const struct queue_impl_log_segment_header *header)
{
	const uint32_t version = QUEUE_IMPL_LOG_VERSION;
	uint32_t crc;

	memset(bytes, 0, QUEUE_IMPL_LOG_HEADER);
	memcpy(bytes, MAGIC, 8);
	memcpy(bytes + 8, &version, 4);
	memcpy(bytes + 16, &header->base, 8);
	memcpy(bytes + 24, &header->salt, 8);
	memcpy(bytes + 32, &header->size, 8);
	memcpy(bytes + 40, &header->created, 8);
	crc = check_of_header(bytes);
	memcpy(bytes + 12, &crc, 4);
	memcpy(bytes + QUEUE_IMPL_LOG_HEADER_AGAIN, bytes, CHECKED);
}

int
queue_impl_log_read_header(const unsigned char *bytes, struct queue_impl_log_segment_header *header)
{
	if (memcmp(bytes, MAGIC, 8) != 0 || half_at(bytes + 12) != check_of_header(bytes))
		return -EILSEQ;
	if (half_at(bytes + 8) != QUEUE_IMPL_LOG_VERSION)
		return half_at(bytes + 8) > QUEUE_IMPL_LOG_VERSION ? -ENOTSUP : -EILSEQ;
	header->base = word_at(bytes + 16);
	header->salt = word_at(bytes + 24);
	header->size = word_at(bytes + 32);
	header->created = word_at(bytes + 40);
	if (header->base % 8 != 0 || header->size % 8 != 0 ||
	    header->size <= QUEUE_IMPL_LOG_HEADER || header->base > QUEUE_IMPL_LOG_POSITION_MAX ||
	    header->size > QUEUE_IMPL_LOG_POSITION_MAX)
		return -EILSEQ;
	return 0;
}

/* `words` are the record's first 24 bytes, of which the CRC is left out. */
static uint32_t
check_of_record(uint64_t salt, const uint64_t words[3], const void *data, size_t size)
{
	/* The salt, the length, and what comes behind the CRC, without a space in between. */
	const uint64_t head[] = {salt, (uint32_t)words[0] | words[1] << 32,
				 words[1] >> 32 | words[2] << 32, words[2] >> 32};
	uint32_t crc = queue_impl_crc32c(0, head, sizeof salt + 4 + 2 * sizeof words[1]);

	return queue_impl_crc32c(crc, data, size);
}

void
queue_impl_log_make_record(uint64_t words[3], uint64_t salt, uint64_t position,
			   enum queue_impl_log_kind kind, uint32_t aux, const void *data,
			   size_t size)
{
	words[0] = QUEUE_IMPL_LOG_RECORD + size;
	words[1] = position;
	words[2] = (uint64_t)kind | (uint64_t)aux << 32;
	words[0] |= (uint64_t)check_of_record(salt, words, data, size) << 32;
}

void
queue_impl_log_scan_init(struct queue_impl_log_scan *scan, const struct queue_impl_disk *disk,
			 const struct queue_allocator *allocator)
{
	memset(scan, 0, sizeof *scan);
	scan->disk = disk;
	scan->allocator = allocator;
	scan->file = -1;
}

void
queue_impl_log_scan_fini(struct queue_impl_log_scan *scan)
{
	if (scan->buffer)
		scan->allocator->release(scan->allocator->context, scan->buffer, scan->capacity,
					 QUEUE_IMPL_LOG_PAGE);
	scan->buffer = NULL;
	scan->capacity = 0;
}

void
queue_impl_log_scan_file(struct queue_impl_log_scan *scan, int file, uint64_t base, uint64_t end,
			 uint64_t salt)
{
	scan->file = file;
	scan->base = base;
	scan->end = scan->until = end;
	scan->salt = salt;
	queue_impl_log_scan_forget(scan);
}

void
queue_impl_log_scan_forget(struct queue_impl_log_scan *scan)
{
	scan->from = scan->base;
	scan->filled = 0;
}

static int
grow(struct queue_impl_log_scan *scan, size_t capacity)
{
	const struct queue_allocator *allocator = scan->allocator;
	unsigned char *buffer =
		allocator->allocate(allocator->context, capacity, QUEUE_IMPL_LOG_PAGE);

	if (!buffer)
		return -ENOMEM;
	queue_impl_log_scan_fini(scan);
	scan->buffer = buffer;
	scan->capacity = capacity;
	return 0;
}

/*
 * Reads `size` bytes, and what is in front of them in the page and behind: whole pages are copied
 * to whole pages, which takes a little less time.
 */
static int
read_chunk(struct queue_impl_log_scan *scan, uint64_t position, size_t size)
{
	uint64_t from = position - (position - scan->base) % QUEUE_IMPL_LOG_PAGE;
	uint64_t wanted = position - from + size;
	int64_t n;
	int rc;

	if (position + size > scan->until)
		return -EILSEQ;
	if (wanted < CHUNK)
		wanted = CHUNK;
	if (wanted > scan->until - from)
		wanted = scan->until - from;
	scan->filled = 0;
	if (wanted > scan->capacity) {
		rc = grow(scan, (size_t)(wanted > CHUNK ? wanted : CHUNK));
		if (rc < 0)
			return rc;
	}
	n = scan->disk->read(scan->disk->context, scan->file, scan->buffer, (size_t)wanted,
			     QUEUE_IMPL_LOG_HEADER + (from - scan->base));
	if (n < 0)
		return (int)n;
	memset(scan->buffer + n, 0, (size_t)wanted - (size_t)n);
	scan->from = from;
	scan->filled = (size_t)wanted;
	return 0;
}

/*
 * Has `size` bytes from a position in the buffer; they are in the segment, or else -EILSEQ. A file
 * that ends too early is one with zeros at its end.
 */
static inline int
fetch(struct queue_impl_log_scan *scan, uint64_t position, size_t size)
{
	if (position >= scan->from && position + size <= scan->from + scan->filled)
		return 0;
	return read_chunk(scan, position, size);
}

static const unsigned char *
bytes_at(const struct queue_impl_log_scan *scan, uint64_t position)
{
	return scan->buffer + (position - scan->from);
}

int
queue_impl_log_scan_bytes(struct queue_impl_log_scan *scan, uint64_t position, size_t size,
			  const unsigned char **bytes)
{
	int rc = fetch(scan, position, size);

	if (rc == 0)
		*bytes = bytes_at(scan, position);
	return rc;
}

/*
 * Name and exceptions are as long as it says, and no more than a reader has room for; and records
 * can begin where it is.
 */
static bool
is_reader(const struct queue_impl_log_record *record)
{
	uint16_t length;
	uint32_t n;

	if (record->size < 24 || word_at(record->data) % 8 != 0 ||
	    word_at(record->data + 8) % 8 != 0)
		return false;
	memcpy(&length, record->data + 16, sizeof length);
	n = half_at(record->data + 20);
	return length >= 1 && length <= QUEUE_LOG_NAME_MAX && n <= QUEUE_LOG_WINDOW_MAX &&
	       record->size == 24 + ((length + 7u) & ~7u) + n * 16u;
}

/* Which kinds have data, and how much. */
static bool
is_plausible(const struct queue_impl_log_record *record, uint64_t rest)
{
	switch (record->kind) {
	case QUEUE_IMPL_LOG_MESSAGE:
	case QUEUE_IMPL_LOG_REMOVED:
		return true;
	case QUEUE_IMPL_LOG_READER:
		return is_reader(record);
	case QUEUE_IMPL_LOG_DURABLE:
		return (record->size == 0 || record->size == 8) &&
		       (uint64_t)record->aux * 8 <= record->position;
	case QUEUE_IMPL_LOG_END:
		return record->size == 0;
	case QUEUE_IMPL_LOG_COMPLETE:
		return record->size == 8;
	case QUEUE_IMPL_LOG_GAP:
		return record->size == 0 && (uint64_t)record->aux * 8 >= QUEUE_IMPL_LOG_RECORD &&
		       (uint64_t)record->aux * 8 <= rest;
	case QUEUE_IMPL_LOG_PREPARE:
		return record->size >= QUEUE_IMPL_LOG_PREPARED &&
		       record->aux <= record->size - QUEUE_IMPL_LOG_PREPARED;
	case QUEUE_IMPL_LOG_COMMIT:
		return record->size >= QUEUE_IMPL_LOG_COMMITTED;
	case QUEUE_IMPL_LOG_ROLLBACK:
		return record->size == 8;
	case QUEUE_IMPL_LOG_CHECKED:
		return record->size == 16;
	default:
		return false;
	}
}

/* What readers get of it. */
static void
find_message(struct queue_impl_log_record *record)
{
	size_t before = record->kind == QUEUE_IMPL_LOG_COMMIT ? QUEUE_IMPL_LOG_COMMITTED : 0;
	bool is_one = record->kind == QUEUE_IMPL_LOG_MESSAGE || before > 0;

	record->message = is_one ? record->data + before : NULL;
	record->message_size = is_one ? record->size - before : 0;
}

int
queue_impl_log_scan_record(struct queue_impl_log_scan *scan, uint64_t position,
			   struct queue_impl_log_record *record)
{
	uint64_t rest = scan->end - position, words[3];
	const unsigned char *bytes;
	int rc;

	if (position < scan->base || position > scan->end || rest < QUEUE_IMPL_LOG_RECORD)
		return -EILSEQ;
	rc = fetch(scan, position, QUEUE_IMPL_LOG_RECORD);
	if (rc < 0)
		return rc;
	bytes = bytes_at(scan, position);
	record->length = half_at(bytes);
	record->position = word_at(bytes + 8);
	if (record->position != position || record->length < QUEUE_IMPL_LOG_RECORD ||
	    record->length > rest)
		return -EILSEQ;
	rc = fetch(scan, position, record->length);
	if (rc < 0)
		return rc;
	bytes = bytes_at(scan, position);
	memcpy(words, bytes, sizeof words);
	record->kind = bytes[16];
	record->aux = half_at(bytes + 20);
	record->data = bytes + QUEUE_IMPL_LOG_RECORD;
	record->size = record->length - QUEUE_IMPL_LOG_RECORD;
	if (half_at(bytes + 4) != check_of_record(scan->salt, words, record->data, record->size) ||
	    !is_plausible(record, rest))
		return -EILSEQ;
	find_message(record);
	return 0;
}

uint64_t
queue_impl_log_scan_next(const struct queue_impl_log_scan *scan,
			 const struct queue_impl_log_record *record)
{
	uint64_t next = record->position + queue_impl_log_extent(record->size);

	if (record->kind == QUEUE_IMPL_LOG_GAP)
		next = record->position + (uint64_t)record->aux * 8;
	if (record->kind == QUEUE_IMPL_LOG_END || next > scan->end ||
	    scan->end - next < QUEUE_IMPL_LOG_RECORD)
		next = scan->end;
	return next;
}

/*
 * The first in the buffer that looks like a record, or where the buffer ends. One look each: of
 * what is no record hardly anything has its own position in it.
 */
static uint64_t
first_like_one(const struct queue_impl_log_scan *scan, uint64_t position)
{
	const unsigned char *bytes = bytes_at(scan, position) + 8;
	uint64_t end = scan->from + scan->filled - QUEUE_IMPL_LOG_RECORD;

	for (; position <= end && word_at(bytes) != position; position += 8)
		bytes += 8;
	return position;
}

/* Are there zeros only from a position to the end of the buffer? */
static bool
is_blank(const struct queue_impl_log_scan *scan, uint64_t position)
{
	const unsigned char *bytes = bytes_at(scan, position);
	size_t size = scan->from + scan->filled - position;

	return word_at(bytes) == 0 && memcmp(bytes, bytes + 8, size - 8) == 0;
}

int
queue_impl_log_scan_find(struct queue_impl_log_scan *scan, uint64_t position,
			 struct queue_impl_log_record *record)
{
	int rc;

	scan->blank = scan->until;
	for (; position + QUEUE_IMPL_LOG_RECORD <= scan->until; position += 8) {
		rc = fetch(scan, position, QUEUE_IMPL_LOG_RECORD);
		if (rc < 0)
			return rc;
		if (is_blank(scan, position)) {
			if (scan->blank == scan->until)
				scan->blank = position;
			position = scan->from + scan->filled - 8;
			continue;
		}
		scan->blank = scan->until;
		position = first_like_one(scan, position);
		rc = fetch(scan, position, QUEUE_IMPL_LOG_RECORD);
		if (rc == 0)
			rc = queue_impl_log_scan_record(scan, position, record);
		if (rc != -EILSEQ)
			return rc;
	}
	return -ENOENT;
}
