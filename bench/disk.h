/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_DISK_H
#define BENCH_DISK_H

/* What a disk can do by itself. All return 0 or a negative errno. */
#include <stddef.h>
#include <stdint.h>

/* Makes a file of zeros, which are on the disk; its size is a multiple of 1 MiB. */
int bench_disk_make(const char *path, uint64_t size);

/*
 * Writes pieces of a size that divides the file's, one behind the other and from the beginning
 * again, and syncs each of them, for that long, once at least: how many a second.
 */
int bench_disk_write(const char *path, size_t piece, uint64_t ns, double *rate);

/* Reads a file up to so many bytes, each time as much as the buffer has room for. */
int bench_disk_read(const char *path, uint64_t length, char *buffer, size_t size);

/* Has what is cached of all files in a directory given up, where that is on the disk. */
int bench_disk_forget(const char *directory);

#endif
