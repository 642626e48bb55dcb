/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files of a log as nobody would write them: what is found in a directory is made from a few bytes,
 * opened, and must be
 *
 *   F1  opened, or refused with an error that is named in queue_log(3), without a crash or a hang
 *   F2  as it was, when it was refused because of damage
 *   F3  opened with QUEUE_LOG_SALVAGE, but for want of room and for a later version
 *   F4  of messages whose checks are right, by a reading of the files that is not the library's
 *   F5  whole from then on: another open, and all readers, find no damage, and the same messages
 *
 * The bytes are a list of things to do, see the table `things`. Records get right checks, so that
 * what is behind these is reached as well; FLIP and RAW spoil them. Where records are of kinds that
 * nobody but the log itself would write (READER, with anything in it), F5 is not asked for.
 *
 * Built by `make fuzz` with libFuzzer, which finds such bytes; and as a program that goes through
 * the files that it is given, which are kept in corpus/log.
 */
#include "../../lib/log_impl.h"
#include "../support/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined __SANITIZE_ADDRESS__
#define HAS_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined HAS_ASAN
#include <sanitizer/asan_interface.h>
#define FORBID(memory, size) __asan_poison_memory_region(memory, size)
#define ALLOW(memory, size) __asan_unpoison_memory_region(memory, size)
#else
#define FORBID(memory, size) ((void)0)
#define ALLOW(memory, size) ((void)0)
#endif

#define SIZE 65536u
#define ROOM (SIZE - QUEUE_IMPL_LOG_HEADER) /* positions in a file of this size */
#define FILES_MOST 12
#define POSITIONS_MOST 512
#define DISK_MOST (UINT64_C(16) << 20) /* bytes; more is a full disk */
#define BUFFER (SIZE)
#define READ_MOST 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What was reported since the log was opened, for who wants to know why. */
static char reports[4096];

static void
fail(const char *what, int64_t number)
{
	fprintf(stderr, "%s (%" PRId64 ")\n%s", what, number, reports);
	abort();
}

#define check(condition, what, number) ((condition) ? (void)0 : fail(what, (int64_t)(number)))

/*
 * What the bytes say.
 */

struct input {
	const uint8_t *bytes;
	size_t left;
};

static uint8_t
take(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->bytes++;
}

static uint16_t
take_two(struct input *input)
{
	uint16_t low = take(input);

	return (uint16_t)(low | take(input) << 8);
}

struct file {
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	uint64_t base, salt, size;
	unsigned char bytes[SIZE];
};

/* The directory as it is being made. */
struct scene {
	struct disk *disk;
	struct file *files[FILES_MOST];
	int n_files;
	struct file *file; /* the last one */
	uint64_t at;	   /* where in it the next record is put, behind the header */
	uint64_t positions[POSITIONS_MOST];
	int n_positions;
	uint64_t segment_size;
	bool is_apart, has_readers;
	bool is_wild;
};

static void
put_file(struct disk *disk, const char *name, const void *bytes, uint64_t size)
{
	const struct queue_impl_disk *table = disk_table(disk);
	int file = table->open(table->context, 0, name, QUEUE_IMPL_DISK_CREATE);

	check(file >= 0, "no file", file);
	if (size > 0)
		check(table->write(table->context, file, bytes, size, 0) == 0, "no room", size);
	check(table->sync(table->context, file) == 0, "sync", 0);
	table->close(table->context, file);
}

static void
note_position(struct scene *scene, uint64_t position)
{
	if (scene->n_positions < POSITIONS_MOST)
		scene->positions[scene->n_positions++] = position;
}

/* One that there is, by its number from the last one on; none that is behind the next record. */
static uint64_t
position_of(const struct scene *scene, uint8_t back)
{
	uint64_t now = scene->file ? scene->file->base + scene->at : 0, position;

	if (scene->n_positions == 0)
		return 0;
	position = scene->positions[scene->n_positions - 1 - back % scene->n_positions];
	return position < now ? position : now;
}

static void
put_record(struct scene *scene, unsigned kind, uint32_t aux, const void *data, size_t size)
{
	uint64_t extent = queue_impl_log_extent(size), words[3];
	struct file *file = scene->file;
	unsigned char *place;

	if (!file || scene->at + extent > ROOM)
		return;
	place = file->bytes + QUEUE_IMPL_LOG_HEADER + scene->at;
	queue_impl_log_make_record(words, file->salt, file->base + scene->at,
				   (enum queue_impl_log_kind)kind, aux, data, size);
	memcpy(place, words, sizeof words);
	if (size > 0)
		memcpy(place + sizeof words, data, size);
	memset(place + sizeof words + size, 0, extent - sizeof words - size);
	note_position(scene, file->base + scene->at);
	scene->at += extent;
}

enum header_how {
	FIRST_SPOILT = 1,
	SECOND_SPOILT = 2,
	OTHER_BASE = 4,
	OTHER_VERSION = 8,
	NO_HEADER = 16,
	OTHER_SIZE = 32,
	IS_SHORT = 64,
	BASE_APART = 128
};

/* FILE: where it begins, what is wrong with it. The next one as a rule. */
static void
begin_file(struct scene *scene, struct input *input)
{
	uint8_t index = take(input), how = take(input);
	struct queue_impl_log_segment_header header;
	uint64_t base = (uint64_t)(index & 0x3f) * ROOM;
	struct file *file;

	if (how & BASE_APART)
		base = (uint64_t)1 << (index & 0x3f) | (uint64_t)(index & 0xc0) << 3;
	scene->is_apart |= (how & BASE_APART) != 0;
	/* A name has one file, and what is said of its positions is about that. */
	for (int i = 0; i < scene->n_files; i++)
		if (scene->files[i]->base == base)
			return;
	if (scene->n_files == FILES_MOST)
		return;
	file = calloc(1, sizeof *file);
	check(file != NULL, "memory", 0);
	file->base = header.base = base;
	file->salt = header.salt = 0x1234567 + index;
	file->size = header.size = SIZE;
	if (how & OTHER_SIZE)
		header.size = (uint64_t)(take_two(input) & 0x3fff) << (index >> 6) * 12;
	header.created = index;
	if (how & OTHER_BASE)
		header.base += 8;
	if (how & IS_SHORT)
		file->size = take_two(input);
	queue_impl_log_write_header(file->bytes, &header);
	if (how & OTHER_VERSION) {
		file->bytes[8]++;
		file->bytes[QUEUE_IMPL_LOG_HEADER_AGAIN + 8] = 0;
	}
	if (how & FIRST_SPOILT)
		file->bytes[30] ^= 1;
	if (how & SECOND_SPOILT)
		file->bytes[QUEUE_IMPL_LOG_HEADER_AGAIN + 30] ^= 1;
	if (how & NO_HEADER)
		memset(file->bytes, 0, QUEUE_IMPL_LOG_HEADER);
	queue_impl_log_file_name(file->name, file->base);
	scene->files[scene->n_files++] = scene->file = file;
	scene->at = 0;
	note_position(scene, file->base);
}

/* MESSAGE: its length and its bytes. RECORD: of any kind, with any aux. */
static void
add_message(struct scene *scene, struct input *input)
{
	unsigned char data[256];
	size_t length = take(input);

	for (size_t i = 0; i < length; i++)
		data[i] = take(input);
	put_record(scene, QUEUE_IMPL_LOG_MESSAGE, 0, data, length);
}

static void
add_record(struct scene *scene, struct input *input)
{
	unsigned char data[256];
	uint8_t kind = take(input);
	uint32_t aux = take_two(input);
	size_t length = take(input);

	for (size_t i = 0; i < length; i++)
		data[i] = take(input);
	/* More of them have a meaning that the log itself relies on. */
	if (kind >= QUEUE_IMPL_LOG_READER)
		scene->is_wild = true;
	put_record(scene, kind, aux, data, length);
}

/* MESSAGES: so many, of so many bytes. */
static void
add_messages(struct scene *scene, struct input *input)
{
	unsigned char data[256];
	size_t n = take(input), length = take(input);

	for (size_t i = 0; i < n; i++) {
		memset(data, (int)i, sizeof data);
		put_record(scene, QUEUE_IMPL_LOG_MESSAGE, 0, data, length);
	}
}

/* DURABLE: up to which record; with the time? */
static void
add_durable(struct scene *scene, struct input *input)
{
	static const unsigned char time[8] = {1};
	uint8_t back = take(input), how = take(input);
	uint64_t position = scene->file ? scene->file->base + scene->at : 0;
	uint64_t until = back == 0 ? position : position_of(scene, back);
	uint32_t aux = until <= position ? (uint32_t)((position - until) / 8) : 0;

	put_record(scene, QUEUE_IMPL_LOG_DURABLE, aux, time, how % 2 ? 8 : 0);
}

/* READER: its name, where it is, up to where it has read, how many exceptions, and of which. */
static void
add_reader(struct scene *scene, struct input *input)
{
	unsigned char data[24 + 8 + 8 * 16] = {0};
	uint16_t name_length = 1;
	uint8_t name = take(input), at = take(input), high = take(input);
	uint32_t n = take(input) % 9, kept = 0;
	uint64_t position = position_of(scene, at), until = position_of(scene, high), last;

	scene->has_readers = true;
	if (until < position)
		until = position;
	memcpy(data, &position, 8);
	memcpy(data + 8, &until, 8);
	memcpy(data + 16, &name_length, 2);
	data[24] = (unsigned char)('a' + name % 4);
	last = position;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t which = position_of(scene, take(input));
		uint32_t attempts = take(input), is_done = attempts % 2;

		if (which < last || which >= until || (kept > 0 && which == last))
			continue;
		memcpy(data + 32 + kept * 16, &which, 8);
		memcpy(data + 32 + kept * 16 + 8, &attempts, 4);
		memcpy(data + 32 + kept * 16 + 12, &is_done, 4);
		last = which;
		kept++;
	}
	memcpy(data + 20, &kept, 4);
	put_record(scene, QUEUE_IMPL_LOG_READER, 0, data, 32 + kept * 16);
}

static void
add_removed(struct scene *scene, struct input *input)
{
	const char name = (char)('a' + take(input) % 4);

	put_record(scene, QUEUE_IMPL_LOG_REMOVED, 0, &name, 1);
}

static void
add_complete(struct scene *scene, struct input *input)
{
	uint64_t position = position_of(scene, take(input));

	put_record(scene, QUEUE_IMPL_LOG_COMPLETE, 0, &position, sizeof position);
}

static void
add_end(struct scene *scene, struct input *input)
{
	(void)input;
	put_record(scene, QUEUE_IMPL_LOG_END, 0, NULL, 0);
}

static void
add_gap(struct scene *scene, struct input *input)
{
	put_record(scene, QUEUE_IMPL_LOG_GAP, take_two(input), NULL, 0);
}

/*
 * SEEK: where the next record goes. Records in each other, or in less room than any has, are nothing
 * that a log leaves, and a reader that stands there would find damage once more.
 */
static void
seek(struct scene *scene, struct input *input)
{
	uint64_t at = (uint64_t)take_two(input) * 8 % ROOM;

	if (at < scene->at + QUEUE_IMPL_LOG_RECORD)
		scene->is_wild = true;
	scene->at = at;
}

/* FLIP: bits of a byte of the file. */
static void
flip(struct scene *scene, struct input *input)
{
	uint16_t offset = take_two(input);
	uint8_t bits = take(input);

	if (scene->file)
		scene->file->bytes[offset] ^= bits;
}

/* RAW: bytes as they come. */
static void
add_raw(struct scene *scene, struct input *input)
{
	size_t n = take(input);

	for (size_t i = 0; scene->file && i < n && scene->at + i < ROOM; i++)
		scene->file->bytes[QUEUE_IMPL_LOG_HEADER + scene->at + i] = take(input);
}

/* COPY: of what is at another place of the file. */
static void
copy(struct scene *scene, struct input *input)
{
	uint64_t from = (uint64_t)take_two(input) * 8 % ROOM, n = (uint64_t)take(input) * 8;

	if (!scene->file || from + n > ROOM || scene->at + n > ROOM)
		return;
	memmove(scene->file->bytes + QUEUE_IMPL_LOG_HEADER + scene->at,
		scene->file->bytes + QUEUE_IMPL_LOG_HEADER + from, n);
	scene->at += n;
}

/* SPARE: its number, and whether it has the right size. */
static void
add_spare(struct scene *scene, struct input *input)
{
	static const unsigned char zeros[SIZE];
	uint8_t number = take(input) % 8, how = take(input);
	char name[32];

	(void)snprintf(name, sizeof name, how & 2 ? "spare.0%d" : "spare.%d", number);
	put_file(scene->disk, name, zeros, how & 1 ? 100 : SIZE);
}

/* OTHER: a file whose name looks a little like one of ours. */
static void
add_other(struct scene *scene, struct input *input)
{
	static const char *const names[] = {"gap",
					    "lock",
					    "spare.",
					    "spare.-1",
					    "0000000000000001.log",
					    "ffffffffffffffff.log",
					    "fffffffffffffff8.log",
					    "000000000000F000.log",
					    "000000000000f000.log.",
					    "000000000000f00.log",
					    "0000000000000000.log.unused"};

	put_file(scene->disk, names[take(input) % (sizeof names / sizeof *names)], "x", 1);
}

/* SIZES: the log is opened with larger files. */
static void
set_size(struct scene *scene, struct input *input)
{
	scene->segment_size = (uint64_t)SIZE << take(input) % 2;
}

static void (*const things[])(struct scene *scene, struct input *input) = {
	begin_file,   add_message, add_messages, add_durable, add_reader, add_removed,
	add_complete, add_end,	   add_gap,	 add_record,  seek,	  flip,
	add_raw,      copy,	   add_spare,	 add_other,   set_size,
};

static void
make_scene(struct scene *scene, struct input input)
{
	const struct queue_impl_disk *table;
	int i;

	memset(scene, 0, sizeof *scene);
	scene->disk = disk_new();
	scene->segment_size = SIZE;
	for (i = 0; i < 200 && input.left > 0; i++)
		things[take(&input) % (sizeof things / sizeof *things)](scene, &input);
	/* Where files overlap, another one may have no record where a reader is said to be. */
	scene->is_wild |= scene->is_apart && scene->has_readers;
	for (i = 0; i < scene->n_files; i++)
		put_file(scene->disk, scene->files[i]->name, scene->files[i]->bytes,
			 scene->files[i]->size);
	table = disk_table(scene->disk);
	check(table->sync_directory(table->context, 0) == 0, "sync", 0);
	disk_limit(scene->disk, DISK_MOST);
}

static void
free_scene(struct scene *scene)
{
	for (int i = 0; i < scene->n_files; i++)
		free(scene->files[i]);
	disk_free(scene->disk);
}

/*
 * A reading of the files that shares nothing with the library's.
 */

static uint32_t
crc_of(uint32_t crc, const unsigned char *bytes, size_t n)
{
	static uint32_t table[256];

	if (table[1] == 0)
		for (uint32_t i = 0; i < 256; i++) {
			table[i] = i;
			for (int bit = 0; bit < 8; bit++)
				table[i] = (table[i] >> 1) ^ (table[i] & 1 ? 0x82f63b78u : 0);
		}
	for (size_t i = 0; i < n; i++)
		crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 0xff];
	return crc;
}

static uint64_t
number_at(const unsigned char *bytes, int n)
{
	uint64_t number = 0;

	while (n-- > 0)
		number = number << 8 | bytes[n];
	return number;
}

static bool
is_header(const unsigned char *bytes, uint64_t base)
{
	static const unsigned char zeros[4];
	uint32_t crc = crc_of(crc_of(crc_of(0xffffffff, bytes, 12), zeros, 4), bytes + 16, 40);

	return memcmp(bytes, "conveyor", 8) == 0 &&
	       number_at(bytes + 12, 4) == (~crc & 0xffffffff) && number_at(bytes + 16, 8) == base;
}

/* The kinds of records that have a message. */
#define MESSAGE 1
#define COMMIT 9

/* Is there a record with this message at this position, in the file as it was at first? */
static bool
is_written(const struct scene *scene, const struct queue_log_message *message)
{
	for (int i = scene->n_files - 1; i >= 0; i--) {
		const struct file *file = scene->files[i];
		const unsigned char *header = file->bytes, *record;
		uint64_t offset, length = message->length, before;
		uint32_t crc;

		if (message->position < file->base || message->position - file->base >= ROOM)
			continue;
		offset = QUEUE_IMPL_LOG_HEADER + (message->position - file->base);
		record = file->bytes + offset;
		/* In a COMMIT the message comes behind its id. */
		before = offset + 24 <= SIZE && record[16] == COMMIT ? 8 : 0;
		if (offset + 24 + before + length > SIZE)
			continue;
		if (!is_header(header, file->base))
			header += QUEUE_IMPL_LOG_HEADER_AGAIN;
		if (!is_header(header, file->base))
			continue;
		crc = crc_of(0xffffffff, header + 24, 8);
		crc = crc_of(crc_of(crc, record, 4), record + 8, 16 + before + length);
		if (number_at(record, 4) == 24 + before + length &&
		    number_at(record + 4, 4) == (~crc & 0xffffffff) &&
		    number_at(record + 8, 8) == message->position &&
		    (record[16] == MESSAGE || record[16] == COMMIT) &&
		    memcmp(record + 24 + before, message->data, length) == 0)
			return true;
	}
	return false;
}

/*
 * What a log does with them.
 */

/*
 * Large pieces of memory are kept for the next time: to get them from the system takes longer than
 * all the rest. In between the sanitizer does not let anybody touch them.
 */
#define LARGE 16384
#define PIECES 32

static pthread_mutex_t pieces_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	void *memory; /* NULL: there is none */
	size_t size;
} pieces[PIECES];

static void *
allocate(void *context, size_t size, size_t alignment)
{
	void *memory = NULL;

	(void)context;
	if (size < LARGE)
		return queue_allocator_libc.allocate(NULL, size, alignment);
	pthread_mutex_lock(&pieces_lock);
	for (int i = 0; i < PIECES && !memory; i++)
		if (pieces[i].memory && pieces[i].size == size) {
			memory = pieces[i].memory;
			pieces[i].memory = NULL;
		}
	pthread_mutex_unlock(&pieces_lock);
	if (!memory)
		return queue_allocator_libc.allocate(NULL, size, 4096);
	ALLOW(memory, size);
	return memory;
}

static void
release(void *context, void *memory, size_t size, size_t alignment)
{
	int i;

	(void)context;
	if (size >= LARGE) {
		alignment = 4096;
		pthread_mutex_lock(&pieces_lock);
		for (i = 0; i < PIECES && pieces[i].memory; i++)
			continue;
		if (i < PIECES) {
			FORBID(memory, size);
			pieces[i].memory = memory;
			pieces[i].size = size;
			memory = NULL;
		}
		pthread_mutex_unlock(&pieces_lock);
	}
	if (memory)
		queue_allocator_libc.release(NULL, memory, size, alignment);
}

static const struct queue_allocator allocator = {.allocate = allocate, .release = release};

static int damages;

static void
on_damage(const struct queue_log_damage *damage, void *context)
{
	size_t used = strlen(reports);

	(void)context;
	(void)snprintf(reports + used, sizeof reports - used,
		       "damage in %s at %" PRIu64 ", %" PRIu64 " bytes\n", damage->file,
		       damage->offset, damage->length);
	check(damage->length > 0 && damage->file[0], "damage of nothing", damage->length);
	damages++;
}

static int
open_log(const struct scene *scene, struct disk *disk, unsigned flags, struct queue_log **log)
{
	const struct queue_log_options options = {.segment_size = scene->segment_size,
						  .staging_size = 4 * SIZE,
						  .flags = flags,
						  .on_damage = on_damage,
						  .allocator = &allocator};

	damages = 0;
	reports[0] = '\0';
	*log = NULL;
	return queue_impl_log_open(log, "log", &options, disk_table(disk));
}

/* All messages of a reader. What there is of them, in one number. */
static uint64_t
read_all(const struct scene *scene, struct queue_log *log, const char *name, bool is_new, int *rc)
{
	static _Thread_local unsigned char buffer[BUFFER];
	struct queue_log_message messages[READ_MOST];
	struct queue_log_reader *reader;
	uint64_t hash = 0, last = 0;
	int n;

	*rc = queue_log_reader_open(log, name, NULL, &reader);
	check(*rc == 0, "no reader", *rc);
	while ((n = queue_log_read_n(reader, messages, READ_MOST, buffer, sizeof buffer, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			check(is_written(scene, &messages[i]), "F4: nobody wrote this message",
			      messages[i].position);
			check(messages[i].position >= last, "F4: messages are not in order",
			      messages[i].position);
			last = messages[i].position + 1;
			hash = (hash + messages[i].position) * UINT64_C(0x9e3779b97f4a7c15) +
			       messages[i].length;
		}
		check(queue_log_ack_n(reader, messages, n) == n, "ack", n);
	}
	check(n == -ETIMEDOUT || n == -EILSEQ, "F1: a read", n);
	*rc = n;
	check(queue_log_reader_close(reader) == 0, "close", 0);
	if (is_new)
		check(queue_log_reader_remove(log, name) == 0, "remove", 0);
	return hash;
}

static bool
is_full(int rc)
{
	return rc == -ENOSPC || rc == -ENOTSUP;
}

static struct disk *
copy_of(const struct scene *scene)
{
	struct disk *disk = disk_crash(scene->disk, DISK_LOSE_NONE, 0);

	disk_limit(disk, DISK_MOST);
	return disk;
}

static void
check_unchanged(const struct scene *scene, struct disk *disk)
{
	static unsigned char before[SIZE], after[SIZE];

	for (int i = 0; i < scene->n_files; i++) {
		const char *name = scene->files[i]->name;
		int64_t size = disk_size(scene->disk, name);

		check(disk_size(disk, name) == size, "F2: the size has changed", i);
		disk_read(scene->disk, name, before, (uint64_t)size, 0);
		disk_read(disk, name, after, (uint64_t)size, 0);
		check(memcmp(before, after, (size_t)size) == 0, "F2: a file has changed", i);
	}
}

/* As it is. */
static void
try_plain(const struct scene *scene)
{
	struct disk *disk = copy_of(scene);
	struct queue_log *log;
	int rc = open_log(scene, disk, 0, &log);

	check(rc == 0 || rc == -EILSEQ || is_full(rc), "F1: open", rc);
	check(rc != 0 || damages == 0, "F1: damage, and opened", damages);
	check(rc != -EILSEQ || damages > 0, "F1: refused without a report", rc);
	if (rc == -EILSEQ)
		check_unchanged(scene, disk);
	if (rc == 0) {
		(void)read_all(scene, log, "new", true, &rc);
		check(rc != -EILSEQ || damages > 0, "F1: refused without a report", rc);
		rc = queue_log_close(log);
		check(rc == 0 || is_full(rc), "F1: close", rc);
	}
	disk_free(disk);
}

static void
read_known(const struct scene *scene, struct queue_log *log, bool salvages)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	int rc;

	for (int i = 0; i < 4; i++) {
		(void)read_all(scene, log, names[i], false, &rc);
		check(!salvages || scene->is_wild || rc == -ETIMEDOUT, "F3: a read", rc);
	}
}

static void
try_salvage(const struct scene *scene)
{
	struct disk *disk = copy_of(scene);
	struct queue_log_reader *reader;
	struct queue_log *log;
	uint64_t hash, position;
	int rc = open_log(scene, disk, QUEUE_LOG_SALVAGE, &log);

	check(rc == 0 || is_full(rc), "F3: open", rc);
	if (rc < 0) {
		disk_free(disk);
		return;
	}
	/* So that no file goes. */
	check(queue_log_reader_open(log, "slow", NULL, &reader) == 0, "no reader", 0);
	hash = read_all(scene, log, "new", true, &rc);
	check(rc == -ETIMEDOUT, "F3: a read", rc);
	read_known(scene, log, true);
	rc = queue_log_close(log);
	check(rc == 0 || is_full(rc), "F1: close", rc);
	rc = open_log(scene, disk, scene->is_wild ? QUEUE_LOG_SALVAGE : 0, &log);
	check(rc == 0 || is_full(rc), "F5: open", rc);
	if (rc == 0) {
		check(scene->is_wild || hash == read_all(scene, log, "newer", true, &rc),
		      "F5: other messages", 0);
		read_known(scene, log, false);
		check(scene->is_wild || damages == 0, "F5: there is damage", damages);
		rc = queue_log_append(log, "more", 4, &position);
		check(rc == 0 || is_full(rc), "F5: append", rc);
		rc = queue_log_close(log);
		check(rc == 0 || is_full(rc), "F5: close", rc);
	}
	disk_free(disk);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct scene scene;

	make_scene(&scene, (struct input){.bytes = bytes, .left = size});
	try_plain(&scene);
	try_salvage(&scene);
	free_scene(&scene);
	return 0;
}

#if !defined FUZZ_ENGINE

/* Each file that is named. */
int
main(int argc, char **argv)
{
	static uint8_t bytes[65536];

	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t n;

		if (!file) {
			perror(argv[i]);
			return 2;
		}
		n = fread(bytes, 1, sizeof bytes, file);
		(void)fclose(file);
		/* Said first: it may be the last thing that is. */
		printf("%s\n", argv[i]);
		fflush(stdout);
		(void)LLVMFuzzerTestOneInput(bytes, n);
	}
	return 0;
}

#endif
