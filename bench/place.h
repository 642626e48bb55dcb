/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_PLACE_H
#define BENCH_PLACE_H

/* A directory for the files of a suite, which is gone in the end, also when a signal ends it. */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct bench_place {
	char path[PATH_MAX];
	char system[24]; /* the file system: "ext4", or its number */
	bool in_memory;	 /* it is none that keeps anything */
	uint64_t room;	 /* bytes that are free in it */
};

/*
 * Makes a directory in `below`; when that is NULL, in the first of the current directory, /var/tmp
 * and /tmp that can be written to and is on a disk, or, if none is, that can be written to. 0 or
 * negative errno; then `path` says where.
 */
int bench_place_make(struct bench_place *place, const char *below);

/* Removes a file, or a directory with all that is in it; one that is not there is no error. */
int bench_remove_all(const char *path);

/*
 * A size for files of which `count` are written: what a disk that writes so many bytes a second
 * writes of each in its part of `seconds`, down to a power of two, of 1 to 64 MiB; and so that all
 * of them have room.
 */
uint64_t bench_place_size(double bytes_a_second, double seconds, unsigned count, uint64_t room);

/*
 * From hold on SIGHUP, SIGINT and SIGTERM are noted, and do nothing; `noted` says which was, or 0.
 * Release does what they did before, to the one that was noted as well. A child process lets them
 * pass again.
 */
void bench_signals_hold(void);
int bench_signals_noted(void);
void bench_signals_pass(void);
void bench_signals_release(void);

#endif
