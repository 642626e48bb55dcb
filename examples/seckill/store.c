/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The database: every order, and at the end of a run what the shop's threads say about it, which
 * reconcile.c then compares. A database holds any number of runs.
 */
#include "store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 1397047115 /* "SECK" in the file's header: this one is ours */

/*
 * Nothing here keeps a user from buying twice, or more pieces from being sold than there are: that
 * is the shop's business, and the sums must be able to show it when it fails.
 */
static const char schema[] =
	"CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, mode TEXT);"
	"CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, run INTEGER, user INTEGER,"
	" item INTEGER, quantity INTEGER);"
	/* Of few orders: whom they concern, besides those whom all do. */
	"CREATE TABLE IF NOT EXISTS remarks (id INTEGER PRIMARY KEY, suspect INTEGER,"
	" near_end INTEGER);";

#define INSERT_ORDER "INSERT INTO orders (run, user, item, quantity, id) VALUES (?, ?, ?, ?, ?)"
#define INSERT_REMARK "INSERT OR REPLACE INTO remarks (id, suspect, near_end) VALUES (?, ?, ?)"

/* What the threads say. When the disk is full these go to memory, as TEMP tables. */
#define SUMS(temporary)                                                                            \
	"CREATE " temporary " TABLE IF NOT EXISTS offered (run INTEGER, gateway INTEGER,"          \
	" requests INTEGER);"                                                                      \
	"CREATE " temporary " TABLE IF NOT EXISTS outcomes (run INTEGER, gateway INTEGER,"         \
	" outcome TEXT, reason TEXT, requests INTEGER, pieces INTEGER);"                           \
	"CREATE " temporary " TABLE IF NOT EXISTS stock (run INTEGER, item INTEGER,"               \
	" pieces INTEGER, remaining INTEGER);"                                                     \
	"CREATE " temporary " TABLE IF NOT EXISTS steps (run INTEGER, step TEXT,"                  \
	" orders INTEGER);"                                                                        \
	"CREATE " temporary " TABLE IF NOT EXISTS answers (run INTEGER, outcome TEXT,"             \
	" reason TEXT, status INTEGER, requests INTEGER);"                                         \
	"CREATE " temporary " TABLE IF NOT EXISTS subscriptions (run INTEGER, name TEXT,"          \
	" delivered INTEGER, filtered INTEGER, refused INTEGER, evicted INTEGER, seen INTEGER);"

static const char copy_sums[] = "INSERT INTO temp.offered SELECT * FROM main.offered;"
				"INSERT INTO temp.outcomes SELECT * FROM main.outcomes;"
				"INSERT INTO temp.stock SELECT * FROM main.stock;"
				"INSERT INTO temp.steps SELECT * FROM main.steps;"
				"INSERT INTO temp.answers SELECT * FROM main.answers;"
				"INSERT INTO temp.subscriptions SELECT * FROM main.subscriptions;";

/* ---- Opening --------------------------------------------------------------------------------- */

static int
execute(struct store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

static long long
ask(struct store *store, const char *sql)
{
	sqlite3_stmt *statement;
	long long answer = -1;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(statement) == SQLITE_ROW)
		answer = sqlite3_column_int64(statement, 0);
	(void)sqlite3_finalize(statement);
	return answer;
}

static int
complain_about_database(const struct store *store)
{
	complain("database %s: %s", store->path,
		 store->db ? sqlite3_errmsg(store->db) : "out of memory");
	return -1;
}

/* The file is empty, or was made by this program. -1 after complaining. */
static int
check_owner(struct store *store, bool may_be_empty)
{
	long long id = ask(store, "PRAGMA application_id");
	long long tables = ask(store, "SELECT count(*) FROM sqlite_schema");

	if (id < 0 || tables < 0)
		return complain_about_database(store);
	if (id == APPLICATION_ID || (may_be_empty && tables == 0))
		return 0;
	complain("database %s was not made by this program", store->path);
	return -1;
}

static int
make_tables(struct store *store, uint64_t pages)
{
	char limit[64];

	snprintf(limit, sizeof limit, "PRAGMA max_page_count = %llu", (unsigned long long)pages);
	/*
	 * With synchronous = FULL a transaction is on the disk when it ends; the write-ahead log
	 * makes that one write and one sync.
	 */
	if (execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			   "PRAGMA temp_store = MEMORY; PRAGMA application_id = 1397047115;") ||
	    execute(store, schema) || execute(store, SUMS("")) ||
	    (pages > 0 && execute(store, limit)) ||
	    sqlite3_prepare_v2(store->db, INSERT_ORDER, -1, &store->insert, NULL) ||
	    sqlite3_prepare_v2(store->db, INSERT_ORDER " ON CONFLICT (id) DO NOTHING", -1,
			       &store->insert_once, NULL) ||
	    sqlite3_prepare_v2(store->db, INSERT_REMARK, -1, &store->insert_remark, NULL))
		return complain_about_database(store);
	return 0;
}

static int
open_file(struct store **out, const char *path, int flags)
{
	struct store *store = calloc(1, sizeof *store);

	if (!store)
		return -1;
	store->path = path;
	(void)pthread_mutex_init(&store->lock, NULL);
	if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK) {
		(void)complain_about_database(store);
		store_close(store);
		return -1;
	}
	/* Somebody may look into it with another program meanwhile. */
	(void)sqlite3_busy_timeout(store->db, 10000);
	*out = store;
	return 0;
}

int
store_open(struct store **out, const char *path, uint64_t pages)
{
	struct store *store;

	if (open_file(&store, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) != 0)
		return -1;
	if (check_owner(store, true) != 0 || make_tables(store, pages) != 0) {
		store_close(store);
		return -1;
	}
	*out = store;
	return 0;
}

int
store_open_existing(struct store **out, const char *path)
{
	struct store *store;

	if (open_file(&store, path, SQLITE_OPEN_READWRITE) != 0)
		return -1;
	if (check_owner(store, false) != 0) {
		store_close(store);
		return -1;
	}
	*out = store;
	return 0;
}

void
store_close(struct store *store)
{
	(void)sqlite3_finalize(store->insert);
	(void)sqlite3_finalize(store->insert_once);
	(void)sqlite3_finalize(store->insert_remark);
	(void)sqlite3_close(store->db);
	(void)pthread_mutex_destroy(&store->lock);
	free(store);
}

void
store_remove(const char *path)
{
	static const char *const endings[] = {"", "-wal", "-shm"};
	char name[4096];

	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		snprintf(name, sizeof name, "%s%s", path, endings[i]);
		(void)unlink(name);
	}
}

/* ---- Orders ---------------------------------------------------------------------------------- */

/* With the lock held. */
static int
fail(struct store *store)
{
	snprintf(store->error, sizeof store->error, "database %s: %s", store->path,
		 sqlite3_errmsg(store->db));
	atomic_store(&store->failed, true);
	complain("%s; nothing more is sold", store->error);
	(void)execute(store, "ROLLBACK");
	return -1;
}

bool
store_failed(const struct store *store)
{
	return atomic_load_explicit(&store->failed, memory_order_relaxed);
}

const char *
store_error(const struct store *store)
{
	return store->error;
}

/* Run 0 gets a number. */
static int
begin(struct store *store, long long run, const char *mode)
{
	sqlite3_stmt *insert = NULL;
	int rc = sqlite3_prepare_v2(store->db, "INSERT INTO runs (run, mode) VALUES (?, ?)", -1,
				    &insert, NULL);

	if (rc == SQLITE_OK) {
		if (run > 0)
			(void)sqlite3_bind_int64(insert, 1, run);
		(void)sqlite3_bind_text(insert, 2, mode, -1, SQLITE_STATIC);
		rc = sqlite3_step(insert);
	}
	if (rc != SQLITE_DONE)
		(void)complain_about_database(store);
	(void)sqlite3_finalize(insert);
	store->run = sqlite3_last_insert_rowid(store->db);
	return rc == SQLITE_DONE ? 0 : -1;
}

long long
store_begin(struct store *store, const char *mode)
{
	return begin(store, 0, mode) == 0 ? store->run : -1;
}

int
store_begin_as(struct store *store, long long run, const char *mode)
{
	return begin(store, run, mode);
}

uint64_t
store_free_id(struct store *store)
{
	long long id = ask(store, "SELECT coalesce(max(id), 0) + 1 FROM orders");

	if (id < 1)
		(void)complain_about_database(store);
	return id < 1 ? 0 : (uint64_t)id;
}

/* Reset at once: like that of an order it would keep the transaction open. */
static int
insert_remark(struct store *store, const struct order *order)
{
	sqlite3_stmt *insert = store->insert_remark;
	int rc;

	(void)sqlite3_bind_int64(insert, 1, (sqlite3_int64)order->id);
	(void)sqlite3_bind_int(insert, 2, order->suspect);
	(void)sqlite3_bind_int(insert, 3, order->near_end);
	rc = sqlite3_step(insert);
	(void)sqlite3_reset(insert);
	return rc == SQLITE_DONE ? 0 : -1;
}

static int
insert_order(struct store *store, sqlite3_stmt *insert, const struct order *order)
{
	(void)sqlite3_reset(insert);
	(void)sqlite3_bind_int64(insert, 1, store->run);
	(void)sqlite3_bind_int64(insert, 2, (sqlite3_int64)order->user);
	(void)sqlite3_bind_int64(insert, 3, order->item);
	(void)sqlite3_bind_int64(insert, 4, order->quantity);
	if (order->id)
		(void)sqlite3_bind_int64(insert, 5, (sqlite3_int64)order->id);
	else
		(void)sqlite3_bind_null(insert, 5);
	if (sqlite3_step(insert) != SQLITE_DONE)
		return -1;
	return order->suspect || order->near_end ? insert_remark(store, order) : 0;
}

/* With the lock held. How many became new rows, their remarks included; -1: none. */
static int
store_transaction(struct store *store, sqlite3_stmt *insert, struct order *const *orders, int n)
{
	int before = sqlite3_total_changes(store->db), rc = execute(store, "BEGIN IMMEDIATE");

	for (int i = 0; rc == 0 && i < n; i++)
		rc = insert_order(store, insert, orders[i]);
	if (rc == 0) {
		/* A statement that is not reset would keep the transaction open. */
		(void)sqlite3_reset(insert);
		rc = execute(store, "COMMIT");
	}
	if (rc == 0)
		return sqlite3_total_changes(store->db) - before;
	rc = fail(store);
	(void)sqlite3_reset(insert);
	return rc;
}

static int
store_with(struct store *store, sqlite3_stmt *insert, struct order *const *orders, int n)
{
	int stored = -1;

	pthread_mutex_lock(&store->lock);
	/* No second try: room that comes and goes would leave a store with holes. */
	if (!atomic_load(&store->failed))
		stored = store_transaction(store, insert, orders, n);
	pthread_mutex_unlock(&store->lock);
	return stored;
}

int
store_orders(struct store *store, struct order *const *orders, int n)
{
	return store_with(store, store->insert, orders, n) < 0 ? -1 : 0;
}

int
store_orders_once(struct store *store, struct order *const *orders, int n, uint64_t *had_row)
{
	int stored = store_with(store, store->insert_once, orders, n);

	if (stored < 0)
		return -1;
	*had_row += (uint64_t)(n - stored);
	return 0;
}

int
store_each_order(struct store *store, int (*each)(const struct order *order, void *context),
		 void *context)
{
	sqlite3_stmt *rows;
	int rc = 0, step = SQLITE_DONE;

	if (sqlite3_prepare_v2(store->db, "SELECT id, user, item, quantity FROM orders ORDER BY id",
			       -1, &rows, NULL) != SQLITE_OK)
		return complain_about_database(store);
	while (rc == 0 && (step = sqlite3_step(rows)) == SQLITE_ROW) {
		const struct order order = {
			.id = (uint64_t)sqlite3_column_int64(rows, 0),
			.user = (uint64_t)sqlite3_column_int64(rows, 1),
			.item = (uint32_t)sqlite3_column_int64(rows, 2),
			.quantity = (uint32_t)sqlite3_column_int64(rows, 3),
		};

		rc = each(&order, context);
	}
	if (rc == 0 && step != SQLITE_DONE)
		rc = complain_about_database(store);
	(void)sqlite3_finalize(rows);
	return rc;
}

/* ---- What the threads say -------------------------------------------------------------------- */

static int
insert_numbers(struct store *store, const char *sql, const char *first, const char *second,
	       const uint64_t *numbers, int n)
{
	sqlite3_stmt *insert;
	int rc = sqlite3_prepare_v2(store->db, sql, -1, &insert, NULL), at = 1;

	if (rc != SQLITE_OK)
		return -1;
	(void)sqlite3_bind_int64(insert, at++, store->run);
	if (first)
		(void)sqlite3_bind_text(insert, at++, first, -1, SQLITE_STATIC);
	if (second)
		(void)sqlite3_bind_text(insert, at++, second, -1, SQLITE_STATIC);
	for (int i = 0; i < n; i++)
		(void)sqlite3_bind_int64(insert, at++, (sqlite3_int64)numbers[i]);
	rc = sqlite3_step(insert);
	return sqlite3_finalize(insert) == SQLITE_OK && rc == SQLITE_DONE ? 0 : -1;
}

int
store_tell_tally(struct store *store, uint64_t gateway, const struct tally *tally)
{
	uint64_t offered[] = {gateway, tally_read(&tally->offered)};

	if (insert_numbers(store, "INSERT INTO offered VALUES (?, ?, ?)", NULL, NULL, offered, 2))
		return -1;
	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++) {
		uint64_t numbers[] = {gateway, tally_read(&tally->outcomes[outcome]),
				      outcome == OUTCOME_SOLD ? tally_read(&tally->pieces) : 0};

		if (insert_numbers(store,
				   "INSERT INTO outcomes (run, outcome, reason, gateway, requests,"
				   " pieces) VALUES (?, ?, ?, ?, ?, ?)",
				   outcome_name(outcome), outcome_reason(outcome), numbers, 3))
			return -1;
	}
	return 0;
}

int
store_tell_stock(struct store *store, const struct sale *sale)
{
	for (uint64_t i = 0; i < sale->terms.items; i++) {
		uint64_t numbers[] = {i + 1, sale->terms.stock, atomic_load(&sale->stock[i])};

		if (insert_numbers(store, "INSERT INTO stock VALUES (?, ?, ?, ?)", NULL, NULL,
				   numbers, 3))
			return -1;
	}
	return 0;
}

int
store_tell_step(struct store *store, const char *step, uint64_t orders)
{
	return insert_numbers(store, "INSERT INTO steps VALUES (?, ?, ?)", step, NULL, &orders, 1);
}

int
store_tell_answers(struct store *store, enum outcome outcome, int status, uint64_t requests)
{
	uint64_t numbers[] = {(uint64_t)status, requests};

	return insert_numbers(store, "INSERT INTO answers VALUES (?, ?, ?, ?, ?)",
			      outcome_name(outcome), outcome_reason(outcome), numbers, 2);
}

int
store_tell_subscription(struct store *store, const struct subscription_sums *sums)
{
	uint64_t numbers[] = {sums->delivered, sums->filtered, sums->refused, sums->evicted,
			      sums->seen};

	return insert_numbers(store, "INSERT INTO subscriptions VALUES (?, ?, ?, ?, ?, ?, ?)",
			      sums->name, NULL, numbers, 5);
}

void
store_end(struct store *store, int (*tell)(struct store *store, const void *context),
	  const void *context)
{
	if (execute(store, "BEGIN IMMEDIATE") == 0 && tell(store, context) == 0 &&
	    execute(store, "COMMIT") == 0)
		return;
	complain("database %s: %s; the counts of this run are in memory only", store->path,
		 sqlite3_errmsg(store->db));
	(void)execute(store, "ROLLBACK");
	/* Tables in memory hide those of the same names in the file from this connection. */
	if (execute(store, SUMS("TEMP")) || execute(store, copy_sums) || tell(store, context))
		(void)complain_about_database(store);
}
