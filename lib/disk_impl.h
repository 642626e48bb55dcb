/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_DISK_IMPL_H
#define CONVEYOR_LIB_DISK_IMPL_H

/*
 * All that a log does with files, as a table, so that tests can put another disk in its place. Files
 * are known by small numbers. Every function but close answers a negative error number when it has
 * failed; none of them touches errno or is a cancellation point.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum queue_impl_disk_mode {
	QUEUE_IMPL_DISK_READ,
	QUEUE_IMPL_DISK_WRITE, /* and read */
	QUEUE_IMPL_DISK_CREATE /* the same; made when it is not there */
};

struct queue_impl_disk {
	/* create: made when it is not there, durably so. */
	int (*open_directory)(void *context, const char *path, bool create);
	int (*open)(void *context, int directory, const char *name, enum queue_impl_disk_mode mode);
	void (*close)(void *context, int file);

	/* Only one opener of a file has the lock, and until it closes. -EBUSY: another has. */
	int (*lock)(void *context, int file);

	/* How many bytes there were: fewer than asked for at the end of the file only. */
	int64_t (*read)(void *context, int file, void *data, size_t length, uint64_t offset);
	/* All of them. */
	int (*write)(void *context, int file, const void *data, size_t length, uint64_t offset);
	/* What was written to the file is on the disk, and its size. */
	int (*sync)(void *context, int file);
	int64_t (*size)(void *context, int file);

	int (*rename)(void *context, int directory, const char *from, const char *to);
	int (*unlink)(void *context, int directory, const char *name);
	/* Renames, files made and unlinked are on the disk. */
	int (*sync_directory)(void *context, int directory);
	/* Calls each(name, argument) for every file. */
	int (*list)(void *context, int directory, void (*each)(const char *name, void *argument),
		    void *argument);
	void *context;
};

/* The system's. */
extern const struct queue_impl_disk queue_impl_disk_system;

#endif
