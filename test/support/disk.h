/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_DISK_H
#define CONVEYOR_TEST_DISK_H

/*
 * A disk in memory, for the log, with one directory. It keeps what a crash would leave: the files as
 * they were when they were last synced, every write since, and every rename since the directory was.
 *
 * What POSIX says and no more: a write is on the disk when its file was synced afterwards; before,
 * each 512 bytes of it are or are not, whatever the order. Files made, renamed and unlinked are so
 * when the directory was synced; before, the first so many of these are. A sync of a file also makes
 * its size last. A sync that fails forgets what it should have written, though a program still sees
 * it, as Linux does.
 */
#include "../../lib/disk_impl.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;

/* What a crash does with what has not been synced. */
enum disk_loss {
	DISK_LOSE_ALL,	  /* nothing of it is there */
	DISK_LOSE_NONE,	  /* all is there: the process ended, not the machine */
	DISK_LOSE_WRITES, /* some writes are there as a whole, in no order */
	DISK_TEAR	  /* some sectors are there, of each write */
};

struct disk *disk_new(void);
void disk_free(struct disk *disk);

/* For queue_impl_log_open. */
const struct queue_impl_disk *disk_table(struct disk *disk);

/* Another disk: what is found when the machine stops now. */
struct disk *disk_crash(struct disk *disk, enum disk_loss loss, uint64_t seed);

/*
 * The operations that change something are counted. From the nth on (0 is the next one) each, or only
 * that one, fails with an error; -1: none. `what` is one of 'w'rite, 's'ync, 'd'irectory sync,
 * 'r'ename, 'u'nlink, 'o'pen that makes a file, or '*' for all of these. What changes nothing is
 * counted apart: 'R'ead, 'O'pen of a file that is there, si'Z'e, 'L'ist.
 */
void disk_fail(struct disk *disk, char what, int64_t nth, bool for_ever, int error);

/* How many of these there were. */
uint64_t disk_count(struct disk *disk, char what);

/* Called after every operation that changes something. */
void disk_watch(struct disk *disk, void (*changed)(void *context), void *context);

/*
 * Called before every read ('R') and open ('O'), on its thread. A negative error number is what it
 * answers then.
 */
void disk_before(struct disk *disk, int (*before)(char what, void *context), void *context);

/* Bytes of a file, as a program would see them now. */
bool disk_has(struct disk *disk, const char *name);
int64_t disk_size(struct disk *disk, const char *name);
void disk_read(struct disk *disk, const char *name, void *bytes, uint64_t size, uint64_t offset);

/* Changes them behind everybody's back, on the disk as well. */
void disk_spoil(struct disk *disk, const char *name, const void *bytes, uint64_t size,
		uint64_t offset);
void disk_truncate(struct disk *disk, const char *name, uint64_t size);
void disk_remove(struct disk *disk, const char *name);

/* The most bytes that all files may have together. */
void disk_limit(struct disk *disk, uint64_t bytes);

#endif
