/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: liblmdb-dev */
/* HEADER: lmdb.h */
/* LIBS: -llmdb */
/*
 * LMDB, with numbers for keys, which are appended. Its file grows up to a size; then all messages
 * are dropped, and their pages used again, which is quicker than to let it grow on.
 */
#include "../store.h"

#include <errno.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAP_SIZE ((size_t)256 << 20)

struct lmdb {
	MDB_env *environment;
	MDB_dbi messages;
	size_t next; /* key; whoever writes has LMDB's own lock */
};

static int
error_of(int rc)
{
	if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
		return -ENOSPC;
	return rc > 0 ? -rc : rc < 0 ? -EIO : 0;
}

static void
lmdb_shut(void *store)
{
	struct lmdb *lmdb = store;

	mdb_env_close(lmdb->environment);
	free(lmdb);
}

/* The next key is the one behind the last. */
static int
find_next(struct lmdb *lmdb, MDB_txn *transaction)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(transaction, lmdb->messages, &cursor);

	if (rc)
		return rc;
	rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	if (rc == 0) {
		memcpy(&lmdb->next, key.mv_data, sizeof lmdb->next);
		lmdb->next++;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
set_up(struct lmdb *lmdb, const char *directory)
{
	MDB_txn *transaction;
	int rc = mdb_env_set_mapsize(lmdb->environment, MAP_SIZE);

	if (rc == 0)
		rc = mdb_env_open(lmdb->environment, directory, 0, 0644);
	if (rc == 0)
		rc = mdb_txn_begin(lmdb->environment, NULL, 0, &transaction);
	if (rc)
		return error_of(rc);
	rc = mdb_dbi_open(transaction, NULL, MDB_INTEGERKEY, &lmdb->messages);
	if (rc == 0)
		rc = find_next(lmdb, transaction);
	if (rc == 0)
		return error_of(mdb_txn_commit(transaction));
	mdb_txn_abort(transaction);
	return error_of(rc);
}

static int
lmdb_open(void **store, const char *directory)
{
	struct lmdb *lmdb = calloc(1, sizeof *lmdb);
	int rc;

	if (!lmdb)
		return -ENOMEM;
	rc = error_of(mdb_env_create(&lmdb->environment));
	if (rc == 0) {
		rc = set_up(lmdb, directory);
		if (rc)
			mdb_env_close(lmdb->environment);
	}
	if (rc)
		free(lmdb);
	else
		*store = lmdb;
	return rc;
}

static int
append_some(struct lmdb *lmdb, const char *message, size_t length, unsigned n)
{
	MDB_txn *transaction;
	size_t number;
	unsigned i;
	int rc = mdb_txn_begin(lmdb->environment, NULL, 0, &transaction);

	if (rc)
		return rc;
	number = lmdb->next;
	for (i = 0; rc == 0 && i < n; i++, number++) {
		MDB_val key = {sizeof number, &number};
		MDB_val value = {length, (void *)(uintptr_t)(message + i * length)};

		rc = mdb_put(transaction, lmdb->messages, &key, &value, MDB_APPEND);
	}
	if (rc) {
		mdb_txn_abort(transaction);
		return rc;
	}
	lmdb->next = number;
	return mdb_txn_commit(transaction);
}

static int
drop_all(struct lmdb *lmdb)
{
	MDB_txn *transaction;
	int rc = mdb_txn_begin(lmdb->environment, NULL, 0, &transaction);

	if (rc)
		return rc;
	rc = mdb_drop(transaction, lmdb->messages, 0);
	if (rc == 0)
		return mdb_txn_commit(transaction);
	mdb_txn_abort(transaction);
	return rc;
}

static int
lmdb_append(void *store, const void *data, size_t length, unsigned n)
{
	int rc = append_some(store, data, length, n);

	if (rc == MDB_MAP_FULL) {
		rc = drop_all(store);
		if (rc == 0)
			rc = append_some(store, data, length, n);
	}
	return error_of(rc);
}

static int
take_some(struct lmdb *lmdb, MDB_txn *transaction, char *to, size_t length, unsigned n)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int count = 0, rc = mdb_cursor_open(transaction, lmdb->messages, &cursor);

	if (rc)
		return error_of(rc);
	while (rc == 0 && (unsigned)count < n) {
		rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		if (rc == 0 && value.mv_size != length)
			rc = MDB_CORRUPTED;
		if (rc)
			break;
		memcpy(to + (size_t)count++ * length, value.mv_data, length);
		rc = mdb_cursor_del(cursor, 0);
	}
	mdb_cursor_close(cursor);
	return rc == 0 || rc == MDB_NOTFOUND ? count : error_of(rc);
}

static int
lmdb_take(void *store, void *data, size_t length, unsigned n)
{
	struct lmdb *lmdb = store;
	MDB_txn *transaction;
	int count, rc = mdb_txn_begin(lmdb->environment, NULL, 0, &transaction);

	if (rc)
		return error_of(rc);
	count = take_some(lmdb, transaction, data, length, n);
	if (count < 0) {
		mdb_txn_abort(transaction);
		return count;
	}
	rc = error_of(mdb_txn_commit(transaction));
	return rc ? rc : count;
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

static struct bench_store lmdb = {
	"LMDB",
	TEXT(MDB_VERSION_MAJOR) "." TEXT(MDB_VERSION_MINOR) "." TEXT(
		MDB_VERSION_PATCH) "; syncs each transaction; appended numbers as keys",
	lmdb_open,
	lmdb_shut,
	lmdb_append,
	lmdb_take,
	NULL,
};

static __attribute__((constructor)) void
register_lmdb(void)
{
	bench_store_register(&lmdb);
}
