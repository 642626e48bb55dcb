/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libsqlite3-dev */
/* HEADER: sqlite3.h */
/* LIBS: -lsqlite3 */
/*
 * SQLite, a table of messages, with what makes it fast and still keeps each transaction: a
 * write-ahead log that is synced at each commit. There is one connection, which threads use in
 * turns: SQLite writes one transaction at a time in any case, and connections of their own would
 * sleep and try again.
 */
#include "../store.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sqlite {
	sqlite3 *connection;
	sqlite3_stmt *begin, *commit, *rollback, *insert, *select, *remove;
	pthread_mutex_t mutex;
};

static int
error_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

static void
sqlite_shut(void *store)
{
	struct sqlite *sqlite = store;

	(void)sqlite3_finalize(sqlite->begin);
	(void)sqlite3_finalize(sqlite->commit);
	(void)sqlite3_finalize(sqlite->rollback);
	(void)sqlite3_finalize(sqlite->insert);
	(void)sqlite3_finalize(sqlite->select);
	(void)sqlite3_finalize(sqlite->remove);
	(void)sqlite3_close(sqlite->connection);
	(void)pthread_mutex_destroy(&sqlite->mutex);
	free(sqlite);
}

/* The write-ahead log stays when it is closed: to write it again is quicker than to make it. */
static int
set_up(struct sqlite *sqlite, const char *path)
{
	static const char settings[] =
		"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"CREATE TABLE IF NOT EXISTS messages(id INTEGER PRIMARY KEY, data BLOB NOT NULL)";
	const struct {
		sqlite3_stmt **statement;
		const char *text;
	} statements[] = {
		{&sqlite->begin, "BEGIN IMMEDIATE"},
		{&sqlite->commit, "COMMIT"},
		{&sqlite->rollback, "ROLLBACK"},
		{&sqlite->insert, "INSERT INTO messages(data) VALUES(?)"},
		{&sqlite->select, "SELECT id, data FROM messages ORDER BY id LIMIT ?"},
		{&sqlite->remove, "DELETE FROM messages WHERE id <= ?"},
	};
	int rc = sqlite3_open(path, &sqlite->connection), keeps = 1;
	size_t i;

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sqlite->connection, settings, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_file_control(sqlite->connection, "main", SQLITE_FCNTL_PERSIST_WAL,
					  &keeps);
	for (i = 0; rc == SQLITE_OK && i < sizeof statements / sizeof *statements; i++)
		rc = sqlite3_prepare_v2(sqlite->connection, statements[i].text, -1,
					statements[i].statement, NULL);
	return error_of(rc);
}

static int
sqlite_open(void **store, const char *directory)
{
	struct sqlite *sqlite = calloc(1, sizeof *sqlite);
	char path[4096 + sizeof "/messages.db"];
	int rc;

	if (!sqlite)
		return -ENOMEM;
	(void)pthread_mutex_init(&sqlite->mutex, NULL);
	(void)snprintf(path, sizeof path, "%s/messages.db", directory);
	rc = set_up(sqlite, path);
	if (rc)
		sqlite_shut(sqlite);
	else
		*store = sqlite;
	return rc;
}

static int
step(sqlite3_stmt *statement)
{
	int rc = sqlite3_step(statement);

	(void)sqlite3_reset(statement);
	return error_of(rc);
}

/* Ends the transaction: with `rc` it has failed. */
static int
end(struct sqlite *sqlite, int rc)
{
	if (rc >= 0) {
		int ended = step(sqlite->commit);

		if (ended == 0)
			return rc;
		rc = ended;
	}
	(void)step(sqlite->rollback);
	return rc;
}

/* A statement by itself is a transaction. */
static int
sqlite_append(void *store, const void *data, size_t length, unsigned n)
{
	struct sqlite *sqlite = store;
	const char *message = data;
	unsigned i;
	int rc;

	(void)pthread_mutex_lock(&sqlite->mutex);
	rc = n > 1 ? step(sqlite->begin) : 0;
	for (i = 0; rc == 0 && i < n; i++) {
		(void)sqlite3_bind_blob(sqlite->insert, 1, message + i * length, (int)length,
					SQLITE_STATIC);
		rc = step(sqlite->insert);
	}
	if (n > 1)
		rc = end(sqlite, rc);
	(void)pthread_mutex_unlock(&sqlite->mutex);
	return rc;
}

/* How many; the last one's number. */
static int
select_some(struct sqlite *sqlite, char *to, size_t length, unsigned n, sqlite3_int64 *last)
{
	int count = 0, rc;

	(void)sqlite3_bind_int64(sqlite->select, 1, n);
	while ((rc = sqlite3_step(sqlite->select)) == SQLITE_ROW) {
		if (sqlite3_column_bytes(sqlite->select, 1) != (int)length) {
			rc = SQLITE_CORRUPT;
			break;
		}
		*last = sqlite3_column_int64(sqlite->select, 0);
		memcpy(to + (size_t)count++ * length, sqlite3_column_blob(sqlite->select, 1),
		       length);
	}
	(void)sqlite3_reset(sqlite->select);
	return rc == SQLITE_DONE ? count : error_of(rc);
}

static int
sqlite_take(void *store, void *data, size_t length, unsigned n)
{
	struct sqlite *sqlite = store;
	sqlite3_int64 last = 0;
	int count, rc;

	(void)pthread_mutex_lock(&sqlite->mutex);
	count = step(sqlite->begin);
	if (count == 0) {
		count = select_some(sqlite, data, length, n, &last);
		if (count > 0) {
			(void)sqlite3_bind_int64(sqlite->remove, 1, last);
			rc = step(sqlite->remove);
			count = rc ? rc : count;
		}
		count = end(sqlite, count);
	}
	(void)pthread_mutex_unlock(&sqlite->mutex);
	return count;
}

static struct bench_store sqlite = {
	"SQLite",
	SQLITE_VERSION "; write-ahead log, synchronous=FULL, one connection behind a mutex",
	sqlite_open,
	sqlite_shut,
	sqlite_append,
	sqlite_take,
	NULL,
};

static __attribute__((constructor)) void
register_sqlite(void)
{
	bench_store_register(&sqlite);
}
