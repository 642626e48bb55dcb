/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A row in a database and a message about it: both or neither, although the process may be killed
 * between any two steps. The message is prepared first, where nobody reads it; then the row is
 * committed; then the message is. Whoever opens the log after a crash is asked about messages that
 * nobody has decided, and looks for the row.
 *
 * The program kills a process of its own at each step, and then looks what is there.
 */
/* LIBS: -lsqlite3 */
#include <conveyor.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const steps[] = {
	"before all",	 "message prepared",	      "row inserted",
	"row committed", "message committed as well",
};

#define STEPS (int)(sizeof steps / sizeof *steps)

static char path[] = "/tmp/transaction.XXXXXX";

static sqlite3 *
open_database(void)
{
	sqlite3 *database = NULL;
	char name[64];

	(void)snprintf(name, sizeof name, "%s/orders.db", path);
	if (sqlite3_open(name, &database) != SQLITE_OK ||
	    sqlite3_exec(database, "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)",
			 NULL, NULL, NULL) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", name, sqlite3_errmsg(database));
		exit(1);
	}
	return database;
}

static bool
has_row(sqlite3 *database, int id)
{
	sqlite3_stmt *query = NULL;
	bool found;

	if (sqlite3_prepare_v2(database, "SELECT 1 FROM orders WHERE id = ?", -1, &query, NULL) !=
	    SQLITE_OK) {
		fprintf(stderr, "%s\n", sqlite3_errmsg(database));
		exit(1);
	}
	sqlite3_bind_int(query, 1, id);
	found = sqlite3_step(query) == SQLITE_ROW;
	sqlite3_finalize(query);
	return found;
}

/* Asked about a message that was prepared by a process which is gone: no transaction is open. */
static enum queue_log_verdict
check(const struct queue_log_half *half, void *context)
{
	int id;

	if (half->key_length != sizeof id)
		return QUEUE_LOG_UNKNOWN;
	memcpy(&id, half->key, sizeof id);
	return has_row(context, id) ? QUEUE_LOG_COMMIT : QUEUE_LOG_ROLLBACK;
}

static struct queue_log *
open_log(sqlite3 *database)
{
	const struct queue_log_options options = {
		.segment_size = 1 << 20, .check = check, .context = database};
	struct queue_log *log;
	char name[64];
	int rc;

	(void)snprintf(name, sizeof name, "%s/log", path);
	rc = queue_log_open(&log, name, &options);
	if (rc != 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(-rc));
		exit(1);
	}
	return log;
}

static void
reach(int step, int last)
{
	if (step == last)
		(void)raise(SIGKILL);
}

/* What a shop does, up to a step. */
static void
take_order(int id, int last)
{
	sqlite3 *database = open_database();
	struct queue_log *log = open_log(database);
	char sql[64];
	uint64_t half;

	reach(0, last);
	if (queue_log_prepare(log, &id, sizeof id, &id, sizeof id, &half) != 0)
		exit(1);
	reach(1, last);
	(void)snprintf(sql, sizeof sql, "BEGIN; INSERT INTO orders VALUES (%d)", id);
	if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
		exit(1);
	reach(2, last);
	if (sqlite3_exec(database, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
		exit(1);
	reach(3, last);
	if (queue_log_commit(log, half, NULL) != 0)
		exit(1);
	reach(4, last);
}

/* How many messages about an order there are. */
static int
count_messages(struct queue_log *log, int id)
{
	struct queue_log_reader *reader;
	struct queue_log_message message;
	int n = 0, found, rc;

	if (queue_log_reader_open(log, "count", NULL, &reader) != 0)
		exit(1);
	while ((rc = queue_log_read(reader, &message, &found, sizeof found, 0)) == 0)
		n += found == id;
	if (rc != -ETIMEDOUT)
		exit(1);
	(void)queue_log_reader_close(reader);
	return n;
}

/* The next process: has what was left undecided decided, and compares. */
static bool
look(int id, int step)
{
	sqlite3 *database = open_database();
	struct queue_log *log = open_log(database);
	struct queue_log_stats stats;
	int rows, messages;

	for (;;) {
		(void)queue_log_stats(log, &stats);
		if (stats.undecided == 0)
			break;
		(void)usleep(1000);
	}
	rows = has_row(database, id);
	messages = count_messages(log, id);
	printf("%-26s %3d %8d\n", steps[step], rows, messages);
	if (queue_log_close(log) != 0)
		exit(1);
	sqlite3_close(database);
	return rows == messages && rows == (step >= 3);
}

static void
remove_all(const char *name)
{
	DIR *directory = opendir(name);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		(void)closedir(directory);
	(void)rmdir(name);
}

int
main(void)
{
	bool agrees = true;
	char name[64];

	if (!mkdtemp(path)) {
		perror(path);
		return 1;
	}
	printf("%-26s row  message\n", "killed");
	for (int step = 0; step < STEPS; step++) {
		int status;
		pid_t child;

		(void)fflush(stdout);
		child = fork();
		if (child == 0) {
			take_order(step, step);
			_exit(1);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || !WIFSIGNALED(status)) {
			fprintf(stderr, "the process did not get to \"%s\"\n", steps[step]);
			return 1;
		}
		agrees &= look(step, step);
	}
	(void)snprintf(name, sizeof name, "%s/log", path);
	remove_all(name);
	remove_all(path);
	printf("%s\n", agrees ? "both or neither, each time" : "they DIFFER");
	return agrees ? 0 : 1;
}
