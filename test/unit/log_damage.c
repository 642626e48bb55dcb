/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is on the disk is not what was written: each bit of a small log in turn, and each length of
 * its file. Whatever it is, no message comes that was not appended, damage is reported with its
 * place, and with QUEUE_LOG_SALVAGE all that is not damaged comes.
 */
#include "unit.h"

#include "../../lib/crc32c_impl.h"
#include "../../lib/log_impl.h"
#include "../support/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 65536
#define FILE_NAME "0000000000000000.log"
#define MESSAGES 6

/* All bits of a byte, or one, where each log that is opened takes long. */
#if defined UNIT_STAND_IN
#define IS_TRIED(offset, bit) ((offset) % 8 == (uint64_t)(bit))
#define LENGTH_STEP 5
#else
#define IS_TRIED(offset, bit) true
#define LENGTH_STEP 1
#endif

/* Of all lengths, and one that looks like a record. */
static const char *const texts[MESSAGES] = {
	"one", "", "three, which is longer than the others", "four", "five", "6"};

static struct {
	int n;
	uint64_t offset, length;
	int salvaged;
} damage;

static void
on_damage(const struct queue_log_damage *seen, void *context)
{
	(void)context;
	cr_assert_eq(strcmp(seen->file, FILE_NAME), 0);
	damage.n++;
	damage.offset = seen->offset;
	damage.length = seen->length;
	damage.salvaged = seen->salvaged;
}

static int
open_log(struct queue_log **log, struct disk *disk, unsigned flags)
{
	const struct queue_log_options options = {.segment_size = SIZE,
						  .staging_size = 4 * SIZE,
						  .flags = flags,
						  .on_damage = on_damage};

	memset(&damage, 0, sizeof damage);
	return queue_impl_log_open(log, "log", &options, disk_table(disk));
}

/* A log that was closed in order, where its messages begin, and where what was written ends. */
static struct disk *
make_log(uint64_t *positions, uint64_t *end)
{
	struct disk *disk = disk_new();
	struct queue_log_stats stats;
	struct queue_log *log = NULL;

	cr_assert_eq(open_log(&log, disk, 0), 0);
	for (int i = 0; i < MESSAGES; i++)
		cr_assert_eq(queue_log_append(log, texts[i], strlen(texts[i]), &positions[i]), 0);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(open_log(&log, disk, 0), 0);
	queue_log_stats(log, &stats);
	*end = stats.ends;
	cr_assert_eq(queue_log_close(log), 0);
	return disk;
}

/* Which of the messages come: a bit for each. They come in order, and there are no others. */
static unsigned
look(struct queue_log *log, const uint64_t *positions)
{
	struct queue_log_reader *reader = NULL;
	struct queue_log_message message;
	unsigned seen = 0;
	char buffer[256];
	int i = 0, rc;

	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	while ((rc = queue_log_read(reader, &message, buffer, sizeof buffer, 0)) == 0) {
		while (i < MESSAGES && positions[i] != message.position)
			i++;
		cr_assert_lt(i, MESSAGES, "a message at %lu", (unsigned long)message.position);
		cr_assert_eq(message.length, strlen(texts[i]));
		cr_assert_eq(memcmp(message.data, texts[i], message.length), 0);
		seen |= 1u << i;
	}
	cr_assert_eq(rc, -ETIMEDOUT, "%d", rc);
	return seen;
}

/* The messages but those in which a byte is. */
static unsigned
without(uint64_t offset, const uint64_t *positions)
{
	unsigned all = (1u << MESSAGES) - 1;

	for (int i = 0; i < MESSAGES; i++) {
		uint64_t begins = QUEUE_IMPL_LOG_HEADER + positions[i];

		if (offset >= begins && offset < begins + QUEUE_IMPL_LOG_RECORD + strlen(texts[i]))
			all &= ~(1u << i);
	}
	return all;
}

static void
flip_in(struct disk *disk, const char *name, uint64_t offset, int bit)
{
	unsigned char byte;

	disk_read(disk, name, &byte, 1, offset);
	byte ^= (unsigned char)(1u << bit);
	disk_spoil(disk, name, &byte, 1, offset);
}

static void
flip(struct disk *disk, uint64_t offset, int bit)
{
	flip_in(disk, FILE_NAME, offset, bit);
}

/* The records, bits [from, to) of them all; so that tests share them. */
static void
flip_bits(uint64_t part, uint64_t parts)
{
	uint64_t positions[MESSAGES], end, from, to;
	struct disk *disk = make_log(positions, &end), *spoilt;
	unsigned all = (1u << MESSAGES) - 1, seen;
	struct queue_log *log;
	int rc;

	from = QUEUE_IMPL_LOG_HEADER + end * part / parts;
	to = QUEUE_IMPL_LOG_HEADER + end * (part + 1) / parts;
	for (uint64_t offset = from; offset < to; offset++)
		for (int bit = 0; bit < 8; bit++) {
			unsigned expected = without(offset, positions);

			if (!IS_TRIED(offset, bit))
				continue;
			spoilt = disk_crash(disk, DISK_LOSE_NONE, 0);
			flip(spoilt, offset, bit);
			log = NULL;
			rc = open_log(&log, spoilt, 0);
			if (rc == 0) {
				/* It was in what nothing depends on, or in the very last record. */
				seen = look(log, positions);
				cr_assert_eq(seen, all, "byte %lu, bit %d: %x came",
					     (unsigned long)offset, bit, seen);
				cr_assert_eq(damage.n, 0);
				cr_assert_eq(queue_log_close(log), 0);
			} else {
				cr_assert_eq(rc, -EILSEQ);
				cr_assert_eq(damage.n, 1);
				cr_assert_leq(damage.offset, offset);
				cr_assert_lt(offset, damage.offset + damage.length);
				cr_assert_eq(open_log(&log, spoilt, QUEUE_LOG_SALVAGE), 0);
				cr_assert_eq(damage.n, 1);
				cr_assert_eq(damage.salvaged, 1);
				seen = look(log, positions);
				cr_assert_eq(seen, expected, "byte %lu, bit %d: %x came, not %x",
					     (unsigned long)offset, bit, seen, expected);
				cr_assert_eq(queue_log_close(log), 0);
			}
			disk_free(spoilt);
		}
	disk_free(disk);
}

Test(log_damage, each_bit_of_the_records_1, .timeout = 120)
{
	flip_bits(0, 2);
}

Test(log_damage, each_bit_of_the_records_2, .timeout = 120)
{
	flip_bits(1, 2);
}

Test(log_damage, each_bit_of_a_header, .timeout = 120)
{
	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end), *spoilt;
	struct queue_log *log;

	for (uint64_t offset = 0; offset < 64; offset++)
		for (int bit = 0; bit < 8; bit++) {
			if (!IS_TRIED(offset, bit))
				continue;
			spoilt = disk_crash(disk, DISK_LOSE_NONE, 0);
			flip(spoilt, offset, bit);
			log = NULL;
			if (offset >= 56) {
				/* Zeros that mean nothing yet. */
				cr_assert_eq(open_log(&log, spoilt, 0), 0);
				cr_assert_eq(queue_log_close(log), 0);
			} else {
				cr_assert_eq(open_log(&log, spoilt, 0), -EILSEQ, "byte %lu",
					     (unsigned long)offset);
				cr_assert_eq(damage.n, 1);
				cr_assert_eq(damage.offset, 0);
			}
			disk_free(spoilt);
		}
	disk_free(disk);
}

/* Where a record ends in the file, without zeros at its end: those are there in any case. */
static uint64_t
end_of(struct disk *disk, uint64_t position, size_t length)
{
	uint64_t end = QUEUE_IMPL_LOG_HEADER + position + QUEUE_IMPL_LOG_RECORD + length;
	unsigned char byte = 0;

	for (; byte == 0; end--)
		disk_read(disk, FILE_NAME, &byte, 1, end - 1);
	return end + 1;
}

Test(log_damage, each_length_of_the_file, .timeout = 120)
{
	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end), *spoilt;
	struct queue_log *log;
	unsigned seen;

	for (uint64_t size = 0; size < QUEUE_IMPL_LOG_HEADER + end + 64; size += LENGTH_STEP) {
		/* Within the header it is all the same. */
		if (size == 100)
			size = QUEUE_IMPL_LOG_HEADER - 3;
		spoilt = disk_crash(disk, DISK_LOSE_NONE, 0);
		disk_truncate(spoilt, FILE_NAME, size);
		log = NULL;
		cr_assert_eq(open_log(&log, spoilt, 0), -EILSEQ, "%lu", (unsigned long)size);
		cr_assert_geq(damage.n, 1);
		if (size >= QUEUE_IMPL_LOG_HEADER) {
			cr_assert_eq(damage.offset, size, "%lu %lu", (unsigned long)size,
				     (unsigned long)damage.offset);
			cr_assert_eq(open_log(&log, spoilt, QUEUE_LOG_SALVAGE), 0);
			seen = look(log, positions);
			for (int i = 0; i < MESSAGES; i++)
				cr_assert_eq((seen >> i & 1) != 0,
					     size >= end_of(disk, positions[i], strlen(texts[i])),
					     "%lu: %x", (unsigned long)size, seen);
			cr_assert_eq(queue_log_close(log), 0);
		}
		disk_free(spoilt);
	}
	disk_free(disk);
}

/*
 * A message may hold what looks like a record. Where the one in front of it is damaged, and the next
 * record is looked for byte by byte, it is not taken for one: nobody who sends messages knows the
 * salt.
 */
Test(log_damage, a_message_that_looks_like_a_record_is_none)
{
	unsigned char forged[QUEUE_IMPL_LOG_RECORD + 8];
	uint64_t position, words[3], at;
	struct queue_log_reader *reader = NULL;
	struct queue_log_message message;
	struct disk *disk = disk_new();
	struct queue_log *log = NULL;
	char buffer[64];

	/* Where it will be is known: behind the header of its own record. */
	cr_assert_eq(open_log(&log, disk, 0), 0);
	cr_assert_eq(queue_log_append(log, "first", 5, &position), 0);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(open_log(&log, disk, 0), 0);
	at = queue_impl_load_acq(&log->tail) + QUEUE_IMPL_LOG_RECORD;
	queue_impl_log_make_record(words, 0, at, QUEUE_IMPL_LOG_MESSAGE, 0, "forged!!", 8);
	memcpy(forged, words, sizeof words);
	memcpy(forged + sizeof words, "forged!!", 8);
	cr_assert_eq(queue_log_append(log, forged, sizeof forged, &position), 0);
	cr_assert_eq(position + QUEUE_IMPL_LOG_RECORD, at);
	cr_assert_eq(queue_log_append(log, "last", 4, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	flip(disk, QUEUE_IMPL_LOG_HEADER + position + 4, 0);
	cr_assert_eq(open_log(&log, disk, QUEUE_LOG_SALVAGE), 0);
	cr_assert_eq(damage.n, 1);
	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
	cr_assert_eq(memcmp(buffer, "first", 5), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
	cr_assert_eq(memcmp(buffer, "last", 4), 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_damage, one_header_of_two_is_enough)
{
	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end);
	struct queue_log *log = NULL;

	flip(disk, QUEUE_IMPL_LOG_HEADER_AGAIN + 20, 3);
	cr_assert_eq(open_log(&log, disk, 0), -EILSEQ);
	cr_assert_eq(damage.offset, QUEUE_IMPL_LOG_HEADER_AGAIN);
	cr_assert_eq(open_log(&log, disk, QUEUE_LOG_SALVAGE), 0);
	cr_assert_eq(look(log, positions), (1u << MESSAGES) - 1);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(open_log(&log, disk, 0), 0);
	cr_assert_eq(damage.n, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Without the salt it cannot be told what in a file is a record. Positions go on behind it. */
Test(log_damage, a_file_without_a_header_is_one_gap)
{
	uint64_t positions[MESSAGES], end, position;
	struct disk *disk = make_log(positions, &end);
	struct queue_log_reader *reader = NULL;
	struct queue_log_message message;
	struct queue_log *log = NULL;
	char buffer[64];

	flip(disk, 20, 3);
	flip(disk, QUEUE_IMPL_LOG_HEADER_AGAIN + 30, 1);
	cr_assert_eq(open_log(&log, disk, 0), -EILSEQ);
	cr_assert_eq(damage.length, SIZE);
	cr_assert_eq(open_log(&log, disk, QUEUE_LOG_SALVAGE), 0);
	cr_assert_eq(queue_log_append(log, "new", 3, &position), 0);
	cr_assert_geq(position, SIZE - QUEUE_IMPL_LOG_HEADER);
	cr_assert_eq(queue_log_close(log), 0);
	cr_assert_eq(open_log(&log, disk, 0), 0);
	cr_assert_eq(damage.n, 0);
	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	cr_assert_eq(queue_log_read(reader, &message, buffer, sizeof buffer, 0), 0);
	cr_assert_eq(message.position, position);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Messages that fill three files and more. */
static struct queue_log *
make_files(struct disk *disk, int n)
{
	struct queue_log *log = NULL;
	char text[1000];

	cr_assert_eq(open_log(&log, disk, 0), 0);
	memset(text, 'x', sizeof text);
	for (int i = 0; i < n; i++)
		cr_assert_eq(queue_log_append(log, text, sizeof text, NULL), 0);
	return log;
}

static int
count(struct queue_log *log, const char *name)
{
	struct queue_log_reader *reader = NULL;
	struct queue_log_message message;
	char buffer[1000];
	int n = 0;

	cr_assert_eq(queue_log_reader_open(log, name, NULL, &reader), 0);
	while (queue_log_read(reader, &message, buffer, sizeof buffer, 0) == 0) {
		cr_assert_eq(queue_log_ack(reader, message.position), 0);
		n++;
	}
	return n;
}

static void
note_any(const struct queue_log_damage *seen, void *context)
{
	(void)context;
	damage.n++;
	damage.length = seen->length;
}

static const struct queue_log_options salvaging = {.segment_size = SIZE,
						   .staging_size = 4 * SIZE,
						   .flags = QUEUE_LOG_SALVAGE,
						   .on_damage = note_any};

/* The machine stops, and there is no damage any more: what was mended has been synced. */
static struct queue_log *
crash(struct disk **disk, struct queue_log *log)
{
	struct disk *left = disk_crash(*disk, DISK_LOSE_ALL, 0);

	cr_assert_eq(queue_log_close(log), 0);
	disk_free(*disk);
	*disk = left;
	log = NULL;
	cr_assert_eq(open_log(&log, left, 0), 0);
	cr_assert_eq(damage.n, 0);
	return log;
}

Test(log_damage, a_file_that_is_missing_is_one_gap)
{
	struct queue_log_options options = salvaging;
	struct disk *disk = disk_new();
	struct queue_log *log = make_files(disk, 200);
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	int n;

	cr_assert_eq(queue_log_close(log), 0);
	queue_impl_log_file_name(name, SIZE - QUEUE_IMPL_LOG_HEADER);
	disk_remove(disk, name);
	options.flags = 0;
	damage.n = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), -EILSEQ);
	cr_assert_eq(damage.n, 1);
	cr_assert(!disk_has(disk, name));
	cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 2);
	cr_assert_eq(damage.length, SIZE - QUEUE_IMPL_LOG_HEADER);
	n = count(log, "a");
	/* About sixty are in a file. */
	cr_assert(n > 130 && n < 150, "%d", n);
	log = crash(&disk, log);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

Test(log_damage, a_header_in_an_older_file_is_mended_for_good)
{
	struct disk *disk = disk_new();
	struct queue_log *log = make_files(disk, 200);

	cr_assert_eq(queue_log_close(log), 0);
	flip(disk, 20, 3);
	cr_assert_eq(open_log(&log, disk, 0), -EILSEQ);
	cr_assert_eq(damage.n, 1);
	cr_assert_eq(open_log(&log, disk, QUEUE_LOG_SALVAGE), 0);
	log = crash(&disk, log);
	cr_assert_eq(count(log, "a"), 200);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* In a file that nobody looks into when the log is opened. */
Test(log_damage, what_a_reader_finds_is_left_out_for_good)
{
	struct disk *disk = disk_new();
	struct queue_log *log = make_files(disk, 200);
	int n;

	cr_assert_eq(queue_log_close(log), 0);
	flip(disk, QUEUE_IMPL_LOG_HEADER + 20000, 1);
	cr_assert_eq(open_log(&log, disk, 0), 0);
	n = count(log, "a");
	cr_assert(n > 10 && n < 20, "%d", n);
	cr_assert_geq(damage.n, 1);
	cr_assert_eq(damage.salvaged, 0);
	cr_assert_eq(queue_log_close(log), 0);
	damage.n = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 0);
	cr_assert_eq(count(log, "b"), 199);
	cr_assert_eq(damage.n, 1);
	log = crash(&disk, log);
	cr_assert_eq(count(log, "c"), 199);
	cr_assert_eq(damage.n, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* Where the first record of a kind lies in a file, from a position on; UINT64_MAX: nowhere. */
static uint64_t
look_for_kind(struct disk *disk, uint64_t base, uint64_t from, enum queue_impl_log_kind kind)
{
	const struct queue_impl_disk *table = disk_table(disk);
	struct queue_impl_log_segment_header header;
	struct queue_impl_log_record record;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	struct queue_impl_log_scan scan;
	uint64_t found = UINT64_MAX;
	int file;

	queue_impl_log_file_name(name, base);
	disk_read(disk, name, bytes, sizeof bytes, 0);
	cr_assert_eq(queue_impl_log_read_header(bytes, &header), 0);
	file = table->open(table->context, 0, name, QUEUE_IMPL_DISK_READ);
	queue_impl_log_scan_init(&scan, table, &queue_allocator_libc);
	queue_impl_log_scan_file(&scan, file, base, base + SIZE - QUEUE_IMPL_LOG_HEADER,
				 header.salt);
	while (found == UINT64_MAX && queue_impl_log_scan_record(&scan, from, &record) == 0) {
		if (record.kind == kind)
			found = record.position;
		from = queue_impl_log_scan_next(&scan, &record);
	}
	queue_impl_log_scan_fini(&scan);
	table->close(table->context, file);
	return found;
}

static uint64_t
find_kind(struct disk *disk, uint64_t base, uint64_t from, enum queue_impl_log_kind kind)
{
	uint64_t found = look_for_kind(disk, base, from, kind);

	cr_assert_neq(found, UINT64_MAX);
	return found;
}

/*
 * A file says where all readers are, but one of these records is damaged. Then it does not say so,
 * and what the files before say counts: it is not as if there had been no such reader.
 */
Test(log_damage, a_reader_whose_record_is_damaged_is_where_it_was_before)
{
	uint64_t base = SIZE - QUEUE_IMPL_LOG_HEADER, at;
	struct disk *disk = disk_new();
	struct queue_log *log = make_files(disk, 30);
	struct queue_log_reader *reader = NULL, *slow;
	struct queue_log_message message;
	char text[1000], name[QUEUE_IMPL_LOG_FILE_NAME];
	uint64_t position = 0;

	memset(text, 'x', sizeof text);
	cr_assert_eq(count(log, "a"), 30);
	/* This one needs the first file. */
	cr_assert_eq(queue_log_reader_open(log, "slow", NULL, &slow), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	for (int i = 0; i < 40; i++) {
		uint64_t *where = i == 0 ? &position : &at;

		cr_assert_eq(queue_log_append(log, text, sizeof text, where), 0);
	}
	cr_assert_geq(at, base);
	cr_assert_eq(queue_log_close(log), 0);
	at = find_kind(disk, base, base, QUEUE_IMPL_LOG_READER);
	cr_assert_lt(at, find_kind(disk, base, base, QUEUE_IMPL_LOG_COMPLETE));
	queue_impl_log_file_name(name, base);
	flip_in(disk, name, QUEUE_IMPL_LOG_HEADER + (at - base) + QUEUE_IMPL_LOG_RECORD, 0);
	damage.n = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 1);
	cr_assert_eq(queue_log_reader_open(log, "a", NULL, &reader), 0);
	cr_assert_eq(queue_log_read(reader, &message, text, sizeof text, 0), 0);
	cr_assert_eq(message.position, position);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * Where the files before have to be read for the readers, all of them was synced: none is torn. Also
 * when none is left that says that all are known.
 */
Test(log_damage, what_is_damaged_at_the_end_of_an_older_file_is_seen)
{
	const uint64_t base = SIZE - QUEUE_IMPL_LOG_HEADER;

	for (int n = 2; n <= 3; n++) {
		struct disk *disk = disk_new();
		struct queue_log *log = make_files(disk, 80);
		char name[QUEUE_IMPL_LOG_FILE_NAME];
		uint64_t at;

		cr_assert_eq(queue_log_close(log), 0);
		queue_impl_log_file_name(name, base);
		at = find_kind(disk, base, base, QUEUE_IMPL_LOG_COMPLETE);
		flip_in(disk, name, QUEUE_IMPL_LOG_HEADER + (at - base) + QUEUE_IMPL_LOG_RECORD, 0);
		at = find_kind(disk, 0, 0, QUEUE_IMPL_LOG_END);
		flip(disk, QUEUE_IMPL_LOG_HEADER + at + 8, 0);
		at = find_kind(disk, 0, 0, QUEUE_IMPL_LOG_COMPLETE);
		if (n == 3)
			flip(disk, QUEUE_IMPL_LOG_HEADER + at + QUEUE_IMPL_LOG_RECORD, 0);
		damage.n = 0;
		cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
		cr_assert_eq(damage.n, n);
		cr_assert_eq(count(log, "a"), 80);
		cr_assert_eq(damage.n, n);
		cr_assert_eq(queue_log_close(log), 0);
		disk_free(disk);
	}
}

/* Of its size nothing is known, and others are asked for: it ends where the next one begins. */
Test(log_damage, a_file_of_which_nothing_is_left_does_not_take_the_next_one_with_it)
{
	struct queue_log_options options = salvaging;
	struct disk *disk = disk_new();
	struct queue_log *log = make_files(disk, 80);

	cr_assert_eq(queue_log_close(log), 0);
	disk_truncate(disk, FILE_NAME, 0);
	options.segment_size = 2 * SIZE;
	damage.n = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 1);
	/* About sixty were in it. */
	cr_assert_gt(count(log, "a"), 15);
	log = crash(&disk, log);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* A file that begins in another one goes out of the way, and is there for who wants to look. */
Test(log_damage, a_file_that_begins_in_another_is_set_aside)
{
	struct queue_impl_log_segment_header header = {.base = 8000, .salt = 1, .size = SIZE};
	struct queue_log_options options = salvaging;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end);
	const struct queue_impl_disk *table = disk_table(disk);
	struct queue_log *log = NULL;
	int file;

	queue_impl_log_file_name(name, header.base);
	queue_impl_log_write_header(bytes, &header);
	file = table->open(table->context, 0, name, QUEUE_IMPL_DISK_CREATE);
	cr_assert_eq(table->write(table->context, file, bytes, sizeof bytes, 0), 0);
	table->close(table->context, file);
	cr_assert_eq(table->sync_directory(table->context, 0), 0);
	damage.n = 0;
	options.flags = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &options, table), -EILSEQ);
	cr_assert_eq(damage.n, 1);
	cr_assert(disk_has(disk, name));
	cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 2);
	cr_assert_eq(damage.length, SIZE - QUEUE_IMPL_LOG_HEADER - header.base);
	cr_assert_eq(look(log, positions), (1u << MESSAGES) - 1);
	log = crash(&disk, log);
	cr_assert(disk_has(disk, "0000000000001f40.log.unused"));
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/* The record at a position of the file gets a check that is right for what it is now. */
static void
check_again(unsigned char *bytes, uint64_t base, uint64_t at)
{
	unsigned char *record = bytes + QUEUE_IMPL_LOG_HEADER + (at - base);
	struct queue_impl_log_segment_header header;
	uint32_t length;
	uint64_t words[3];

	cr_assert_eq(queue_impl_log_read_header(bytes, &header), 0);
	memcpy(&length, record, sizeof length);
	queue_impl_log_make_record(words, header.salt, at, record[16], 0,
				   record + QUEUE_IMPL_LOG_RECORD, length - QUEUE_IMPL_LOG_RECORD);
	memcpy(record, words, sizeof words);
}

/* When it is refused, nothing was changed: neither is what a crash has torn cut off. */
Test(log_damage, a_log_that_is_refused_is_as_it_was)
{
	static unsigned char before[SIZE], after[SIZE];
	uint64_t base = SIZE - QUEUE_IMPL_LOG_HEADER, at;
	struct disk *disk = disk_new(), *left;
	struct queue_log *log = make_files(disk, 80);
	char name[QUEUE_IMPL_LOG_FILE_NAME];

	left = disk_crash(disk, DISK_LOSE_ALL, 0);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
	queue_impl_log_file_name(name, base);
	/* What does not say so is not the last; what is torn is behind the end. */
	at = find_kind(left, base, base, QUEUE_IMPL_LOG_COMPLETE);
	disk_read(left, name, before, sizeof before, 0);
	before[QUEUE_IMPL_LOG_HEADER + (at - base) + 16] = QUEUE_IMPL_LOG_REMOVED;
	check_again(before, base, at);
	before[SIZE - 100] = 1;
	disk_spoil(left, name, before, sizeof before, 0);
	flip(left, QUEUE_IMPL_LOG_HEADER + 5000, 0);
	cr_assert_eq(open_log(&log, left, 0), -EILSEQ);
	disk_read(left, name, after, sizeof after, 0);
	cr_assert_eq(memcmp(before, after, sizeof after), 0);
	disk_free(left);
}

/* With the right check, and a record behind it that says that it was synced: it is damage. */
static void
expect_no_record(struct disk *made, const uint64_t *positions, uint64_t end,
		 enum queue_impl_log_kind kind, uint32_t aux, const void *data, size_t size)
{
	struct disk *disk = disk_crash(made, DISK_LOSE_NONE, 0);
	uint64_t words[3], at, next;
	struct queue_impl_log_segment_header header;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
	struct queue_log *log = NULL;

	disk_read(disk, FILE_NAME, bytes, sizeof bytes, 0);
	cr_assert_eq(queue_impl_log_read_header(bytes, &header), 0);
	queue_impl_log_make_record(words, header.salt, end, kind, aux, data, size);
	at = QUEUE_IMPL_LOG_HEADER + end;
	next = end + queue_impl_log_extent(size);
	disk_spoil(disk, FILE_NAME, words, sizeof words, at);
	disk_spoil(disk, FILE_NAME, data, size, at + sizeof words);
	queue_impl_log_make_record(words, header.salt, next, QUEUE_IMPL_LOG_DURABLE, 0, NULL, 0);
	disk_spoil(disk, FILE_NAME, words, sizeof words, QUEUE_IMPL_LOG_HEADER + next);
	cr_assert_eq(open_log(&log, disk, 0), -EILSEQ, "kind %d, aux %u, %zu bytes", (int)kind, aux,
		     size);
	cr_assert_eq(damage.offset, at);
	cr_assert_eq(open_log(&log, disk, QUEUE_LOG_SALVAGE), 0);
	cr_assert_eq(look(log, positions), (1u << MESSAGES) - 1);
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}

/*
 * With more exceptions than a reader has room for, a name that is longer than it, or at a place where
 * no record can begin, it is none.
 */
Test(log_damage, a_reader_s_record_is_looked_at)
{
	static unsigned char data[24 + 8 + 2000 * 16];
	static const struct {
		uint16_t length;
		uint32_t n;
		size_t size;
		uint64_t position, high;
	} wrong[] = {{1, 2000, sizeof data, 0, 0},
		     {1, 0, 40, 0, 0},
		     {0, 0, 24, 0, 0},
		     {65, 0, 96, 0, 0},
		     {9, 0, 32, 0, 0},
		     {1, 1, 32, 0, 0},
		     {1, 0, 23, 0, 0},
		     {1, 0, 32, 1, 8},
		     {1, 0, 32, 0, 12}};

	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end);

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		memset(data, 0, sizeof data);
		memcpy(data, &wrong[i].position, 8);
		memcpy(data + 8, &wrong[i].high, 8);
		memcpy(data + 16, &wrong[i].length, 2);
		memcpy(data + 20, &wrong[i].n, 4);
		memset(data + 24, 'a', 8);
		expect_no_record(disk, positions, end, QUEUE_IMPL_LOG_READER, 0, data,
				 wrong[i].size);
	}
	disk_free(disk);
}

/* What it says leads nowhere, or it is too short for it; or nobody knows what it is. */
Test(log_damage, each_kind_of_record_is_looked_at)
{
	static const unsigned char data[32];
	static const struct {
		enum queue_impl_log_kind kind;
		uint32_t aux;
		size_t size;
	} wrong[] = {{QUEUE_IMPL_LOG_DURABLE, 0, 4},
		     {QUEUE_IMPL_LOG_DURABLE, UINT32_MAX, 0},
		     {QUEUE_IMPL_LOG_END, 0, 8},
		     {QUEUE_IMPL_LOG_GAP, 4, 8},
		     {QUEUE_IMPL_LOG_GAP, 2, 0},
		     {QUEUE_IMPL_LOG_GAP, SIZE / 8, 0},
		     {QUEUE_IMPL_LOG_COMPLETE, 0, 0},
		     {QUEUE_IMPL_LOG_PREPARE, 0, 16},
		     {QUEUE_IMPL_LOG_PREPARE, 9, 32},
		     {QUEUE_IMPL_LOG_COMMIT, 0, 7},
		     {QUEUE_IMPL_LOG_ROLLBACK, 0, 16},
		     {QUEUE_IMPL_LOG_CHECKED, 0, 8},
		     {(enum queue_impl_log_kind)0, 0, 0},
		     {(enum queue_impl_log_kind)(QUEUE_IMPL_LOG_CHECKED + 1), 0, 8}};

	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end);

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		expect_no_record(disk, positions, end, wrong[i].kind, wrong[i].aux, data,
				 wrong[i].size);
	disk_free(disk);
}

/* The check is right; what it is of cannot be. */
Test(log_damage, each_number_of_a_header_is_looked_at)
{
	static const struct {
		uint64_t base, size;
		uint32_t version;
	} wrong[] = {{4, SIZE, QUEUE_IMPL_LOG_VERSION},
		     {8, SIZE, QUEUE_IMPL_LOG_VERSION},
		     {QUEUE_IMPL_LOG_POSITION_MAX + 8, SIZE, QUEUE_IMPL_LOG_VERSION},
		     {0, SIZE + 4, QUEUE_IMPL_LOG_VERSION},
		     {0, QUEUE_IMPL_LOG_HEADER, QUEUE_IMPL_LOG_VERSION},
		     {0, QUEUE_IMPL_LOG_POSITION_MAX + 8, QUEUE_IMPL_LOG_VERSION},
		     {0, SIZE, 0}};
	uint64_t positions[MESSAGES], end;
	struct disk *disk = make_log(positions, &end), *spoilt;
	struct queue_log *log = NULL;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		for (uint64_t at = 0; at <= QUEUE_IMPL_LOG_HEADER_AGAIN;
		     at += QUEUE_IMPL_LOG_HEADER_AGAIN) {
			struct queue_impl_log_segment_header header = {.base = wrong[i].base,
								       .size = wrong[i].size};
			unsigned char bytes[QUEUE_IMPL_LOG_HEADER];
			uint32_t crc;

			queue_impl_log_write_header(bytes, &header);
			memcpy(bytes + 8, &wrong[i].version, 4);
			memset(bytes + 12, 0, 4);
			crc = queue_impl_crc32c(0, bytes, 56);
			memcpy(bytes + 12, &crc, 4);
			spoilt = disk_crash(disk, DISK_LOSE_NONE, 0);
			disk_spoil(spoilt, FILE_NAME, bytes, 56, at);
			cr_assert_eq(open_log(&log, spoilt, 0), -EILSEQ, "%zu", i);
			cr_assert_eq(damage.n, 1);
			cr_assert_eq(damage.offset, at);
			/* The other one says what it should be. */
			cr_assert_eq(open_log(&log, spoilt, QUEUE_LOG_SALVAGE), 0);
			cr_assert_eq(look(log, positions), (1u << MESSAGES) - 1);
			cr_assert_eq(queue_log_close(log), 0);
			cr_assert_eq(open_log(&log, spoilt, 0), 0);
			cr_assert_eq(queue_log_close(log), 0);
			disk_free(spoilt);
		}
	disk_free(disk);
}

/*
 * All readers are written again, over several files, and one of these records is damaged, in a file
 * that is not the one that says that all are known. What the files before say of that one counts.
 */
Test(log_damage, a_reader_is_known_from_all_files_when_a_later_one_is_damaged)
{
	enum {
		READERS = 12,
		N = 900,
		MORE = 100
	};
	const uint64_t room = SIZE - QUEUE_IMPL_LOG_HEADER;
	struct queue_log_reader *readers[READERS];
	static struct queue_log_message messages[N];
	static char buffer[16384];
	uint64_t from = 0, at = UINT64_MAX, base = 0, last;
	struct disk *disk = disk_new();
	struct queue_log *log = NULL;
	char name[32];
	int n;

	cr_assert_eq(open_log(&log, disk, 0), 0);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		cr_assert_eq(queue_log_reader_open(log, name, NULL, &readers[i]), 0);
	}
	for (int i = 0; i < N; i++)
		cr_assert_eq(queue_log_append_async(log, "x", 1, NULL), 0);
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	for (int i = 0; i < READERS; i++) {
		cr_assert_eq(queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0),
			     N);
		for (int k = 1; k < N; k += 2)
			cr_assert_eq(queue_log_ack(readers[i], messages[k].position), 0);
	}
	cr_assert_eq(queue_log_sync(log, QUEUE_NEVER), 0);
	for (int i = 0; i < MORE; i++)
		cr_assert_eq(queue_log_append(log, "y", 1, NULL), 0);
	cr_assert_eq(queue_log_close(log), 0);
	/* Which files there are, and the last one that says that all are known. */
	do {
		queue_impl_log_file_name(name, base += room);
	} while (disk_has(disk, name));
	while (at == UINT64_MAX) {
		base -= room;
		at = look_for_kind(disk, base, base, QUEUE_IMPL_LOG_COMPLETE);
	}
	last = base;
	queue_impl_log_file_name(name, last);
	disk_read(disk, name, &from, sizeof from,
		  QUEUE_IMPL_LOG_HEADER + (at - last) + QUEUE_IMPL_LOG_RECORD);
	cr_assert_geq(from, room);
	/* The first of the readers may not have had room any more in the file before. */
	base = from / room * room;
	at = look_for_kind(disk, base, from, QUEUE_IMPL_LOG_READER);
	if (at == UINT64_MAX) {
		base += room;
		at = find_kind(disk, base, base, QUEUE_IMPL_LOG_READER);
	}
	cr_assert_lt(base, last);
	queue_impl_log_file_name(name, base);
	flip_in(disk, name, QUEUE_IMPL_LOG_HEADER + (at - base) + QUEUE_IMPL_LOG_RECORD, 0);
	damage.n = 0;
	cr_assert_eq(queue_impl_log_open(&log, "log", &salvaging, disk_table(disk)), 0);
	cr_assert_eq(damage.n, 1);
	for (int i = 0; i < READERS; i++) {
		(void)snprintf(name, sizeof name, "reader %d", i);
		cr_assert_eq(queue_log_reader_open(log, name, NULL, &readers[i]), 0);
		n = queue_log_read_n(readers[i], messages, N, buffer, sizeof buffer, 0);
		cr_assert_eq(n, N / 2 + MORE, "reader %d: %d", i, n);
	}
	cr_assert_eq(queue_log_close(log), 0);
	disk_free(disk);
}
