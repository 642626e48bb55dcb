/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

/*
 * A store is what people keep messages on disk in instead of a log: an embedded database. Each is
 * described by a file in bench/stores, which is built when its header is there.
 */
#include <stddef.h>

struct bench_store {
	const char *name; /* of rows: SQLite */
	const char *note; /* its version, and how it is set up */

	/* In an empty directory, or in one that it has used before. 0 or negative errno, all. */
	int (*open)(void **store, const char *directory);
	void (*shut)(void *store);
	/*
	 * Stores n messages of `length` bytes each, which lie one behind the other, in one
	 * transaction, which is on the disk afterwards. Any thread at any time.
	 */
	int (*append)(void *store, const void *data, size_t length, unsigned n);
	/* Takes the oldest messages out, n at most, in one transaction: how many. */
	int (*take)(void *store, void *data, size_t length, unsigned n);

	struct bench_store *next;
};

/* Called before main, by each of them. */
void bench_store_register(struct bench_store *store);

/* NULL when this program was made without it. */
const struct bench_store *bench_store_named(const char *name);

#endif
