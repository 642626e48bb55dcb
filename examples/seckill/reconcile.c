/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The sums, done by SQL on what is in the database: do all who took part in a sale tell the same
 * story? The gateways say what they told the users, the stock what is left, the steps what they
 * did; and the rows of `orders` are what was really stored.
 */
#include "store.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
mismatch_add(char mismatch[MISMATCH_SIZE], const char *format, ...)
{
	size_t length = strlen(mismatch);
	va_list arguments;

	if (length > 0 && length < MISMATCH_SIZE - 1)
		length += (size_t)snprintf(mismatch + length, MISMATCH_SIZE - length, "; ");
	if (length >= MISMATCH_SIZE)
		return;
	va_start(arguments, format);
	vsnprintf(mismatch + length, MISMATCH_SIZE - length, format, arguments);
	va_end(arguments);
}

/* The sums of one run, and where they go. */
struct sums {
	struct store *store;
	long long run;
	char mode[16];
	bool has_topic; /* what came after the answers was subscribed to; else two steps */
	char *mismatch;
};

/* One number; the run is ?1. An error is a mismatch, too. */
static long long
ask(struct sums *sums, const char *sql, const char *parameter)
{
	sqlite3_stmt *statement = NULL;
	long long answer = -1;

	if (sqlite3_prepare_v2(sums->store->db, sql, -1, &statement, NULL) == SQLITE_OK) {
		(void)sqlite3_bind_int64(statement, 1, sums->run);
		if (parameter)
			(void)sqlite3_bind_text(statement, 2, parameter, -1, SQLITE_STATIC);
		if (sqlite3_step(statement) == SQLITE_ROW)
			answer = sqlite3_column_int64(statement, 0);
	}
	if (answer < 0)
		mismatch_add(sums->mismatch, "run %lld: %s", sums->run,
			     sqlite3_errmsg(sums->store->db));
	(void)sqlite3_finalize(statement);
	return answer;
}

static void conclude_line(struct sums *sums, bool good, const char *format, ...)
	__attribute__((__format__(__printf__, 3, 4)));

/* Ends a line of the table with what came out of a comparison. */
static void
conclude_line(struct sums *sums, bool good, const char *format, ...)
{
	char text[256];
	va_list arguments;

	puts(good ? "  ok" : "  MISMATCH");
	if (good)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	mismatch_add(sums->mismatch, "run %lld (%s): %s", sums->run, sums->mode, text);
}

static void
print_number(const char *name, long long number)
{
	char text[TEXT_SIZE];

	printf("  %-18s %14s", name, text_number(text, (uint64_t)number));
}

/* What an outcome consists of. */
static void
print_reasons(struct sums *sums, const char *outcome)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(sums->store->db,
			       "SELECT reason, sum(requests) AS n FROM outcomes WHERE run = ?1"
			       " AND outcome = ?2 AND reason <> '' GROUP BY reason HAVING n > 0"
			       " ORDER BY n DESC",
			       -1, &statement, NULL) != SQLITE_OK)
		return;
	(void)sqlite3_bind_int64(statement, 1, sums->run);
	(void)sqlite3_bind_text(statement, 2, outcome, -1, SQLITE_STATIC);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		char text[TEXT_SIZE];

		printf("    %-16s %14s\n", (const char *)sqlite3_column_text(statement, 0),
		       text_number(text, (uint64_t)sqlite3_column_int64(statement, 1)));
	}
	(void)sqlite3_finalize(statement);
}

/* offered = sold + sold out + rate-limited + rejected + timed out + malformed */
static void
reconcile_requests(struct sums *sums)
{
	static const char *const outcomes[] = {"sold",	   "sold out",	"rate-limited",
					       "rejected", "timed out", "malformed"};
	long long offered = ask(sums, "SELECT sum(requests) FROM offered WHERE run = ?1", NULL);
	long long sum = 0;

	for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++) {
		long long n = ask(sums,
				  "SELECT sum(requests) FROM outcomes WHERE run = ?1"
				  " AND outcome = ?2",
				  outcomes[i]);

		sum += n;
		print_number(outcomes[i], n);
		putchar('\n');
		print_reasons(sums, outcomes[i]);
	}
	print_number("offered", offered);
	fputs("   = the sum of these", stdout);
	conclude_line(sums, offered == sum, "%lld requests offered, %lld accounted for", offered,
		      sum);
}

/* Of a sale behind HTTP: what left by status == what the calls said. */
static void
reconcile_answers(struct sums *sums)
{
	static const char statuses_sql[] =
		"SELECT status, sum(requests) AS n FROM answers WHERE run = ?1 GROUP BY status"
		" HAVING n > 0 ORDER BY status";
	static const char answered_sql[] =
		"SELECT coalesce(sum(requests), 0) FROM answers WHERE run = ?1";
	static const char wrong_sql[] =
		"SELECT count(*) FROM outcomes WHERE run = ?1 AND gateway = 0 AND requests <>"
		" (SELECT coalesce(sum(requests), 0) FROM answers WHERE answers.run = ?1 AND"
		"  answers.outcome = outcomes.outcome AND answers.reason = outcomes.reason)";
	long long answered = ask(sums, answered_sql, NULL), wrong = ask(sums, wrong_sql, NULL);
	sqlite3_stmt *statement;

	print_number("answered by HTTP", answered);
	fputs("   = outcomes, each for itself", stdout);
	conclude_line(sums, wrong == 0, "%lld outcomes differ from what HTTP answered", wrong);
	if (sqlite3_prepare_v2(sums->store->db, statuses_sql, -1, &statement, NULL) != SQLITE_OK)
		return;
	(void)sqlite3_bind_int64(statement, 1, sums->run);
	while (sqlite3_step(statement) == SQLITE_ROW) {
		char text[TEXT_SIZE];

		printf("    %-16d %14s\n", sqlite3_column_int(statement, 0),
		       text_number(text, (uint64_t)sqlite3_column_int64(statement, 1)));
	}
	(void)sqlite3_finalize(statement);
}

/* What each subscriber is to get, by the rows, whatever the topic made of it. */
#define ALL "SELECT count(*) FROM orders WHERE run = ?1"
#define MARKED(condition)                                                                          \
	"SELECT count(*) FROM orders LEFT JOIN remarks ON remarks.id = orders.id"                  \
	" WHERE run = ?1 AND (" condition ")"

static const struct interest {
	const char *name, *sql;
	bool waits; /* so nothing of it may be missed */
} interests[] = {
	{"payment", ALL, true}, {"risk", MARKED("quantity > 1 OR suspect"), false},
	{"sms", ALL, false},	{"analytics", MARKED("quantity > 1 OR near_end"), false},
	{"writer", ALL, true},
};

/* What a subscriber says, in the order of the table's columns. */
enum {
	SEEN,
	FILTERED,
	REFUSED,
	EVICTED,
	DELIVERED,
	WORDS
};

static bool
read_subscription(struct sums *sums, const char *name, long long words[WORDS])
{
	sqlite3_stmt *statement;
	bool found = false;

	if (sqlite3_prepare_v2(sums->store->db,
			       "SELECT seen, filtered, refused, evicted, delivered"
			       " FROM subscriptions WHERE run = ?1 AND name = ?2",
			       -1, &statement, NULL) != SQLITE_OK)
		return false;
	(void)sqlite3_bind_int64(statement, 1, sums->run);
	(void)sqlite3_bind_text(statement, 2, name, -1, SQLITE_STATIC);
	if (sqlite3_step(statement) == SQLITE_ROW) {
		for (int i = 0; i < WORDS; i++)
			words[i] = sqlite3_column_int64(statement, i);
		found = true;
	}
	(void)sqlite3_finalize(statement);
	return found;
}

static void
print_column(long long number)
{
	char text[TEXT_SIZE];

	printf(" %12s", text_number(text, (uint64_t)number));
}

/*
 * delivered + refused == to get; with what was filtered, published; seen + evicted == delivered.
 * That of the topic alone, the second, would hold for any filter: what is not known to have been
 * delivered or refused is taken for filtered.
 */
static void
reconcile_subscription(struct sums *sums, const struct interest *interest, long long published)
{
	long long wanted = ask(sums, interest->sql, NULL), words[WORDS], came;

	printf("    %-12s", interest->name);
	if (!read_subscription(sums, interest->name, words)) {
		conclude_line(sums, false, "%s has said nothing", interest->name);
		return;
	}
	print_column(wanted);
	for (int i = SEEN; i <= EVICTED; i++)
		print_column(words[i]);
	came = words[DELIVERED] + words[REFUSED];
	conclude_line(sums,
		      came == wanted && came + words[FILTERED] == published &&
			      words[SEEN] + words[EVICTED] == words[DELIVERED] &&
			      (!interest->waits || words[SEEN] == wanted),
		      "%s was to get %lld of %lld orders, was offered %lld and saw %lld",
		      interest->name, wanted, published, came, words[SEEN]);
}

static void
reconcile_subscriptions(struct sums *sums, long long published)
{
	printf("  %-14s %12s %12s %12s %12s %12s\n", "order to", "to get", "seen", "filtered",
	       "refused", "evicted");
	for (size_t i = 0; i < sizeof interests / sizeof *interests; i++)
		reconcile_subscription(sums, &interests[i], published);
}

/* The orders, once stored, against what was done with them. */
static void
reconcile_steps(struct sums *sums, long long rows)
{
	static const char step_sql[] = "SELECT orders FROM steps WHERE run = ?1 AND step = ?2";
	long long published, notified, counted;

	print_number("", rows);
	if (sums->has_topic) {
		published = ask(sums, step_sql, "published");
		fputs("   = published", stdout);
		conclude_line(sums, rows == published, "%lld orders stored, %lld published", rows,
			      published);
		reconcile_subscriptions(sums, published);
		return;
	}
	notified = ask(sums, step_sql, "notification");
	counted = ask(sums, step_sql, "statistics");
	fputs("   = notified = in the statistics", stdout);
	conclude_line(sums, rows == notified && rows == counted,
		      "%lld orders stored, %lld notified, %lld in the statistics", rows, notified,
		      counted);
}

/* stock sold == rows in orders == successes told to users, in pieces and in orders */
static void
reconcile_orders(struct sums *sums)
{
	static const char told_sql[] =
		"SELECT sum(requests) FROM outcomes WHERE run = ?1 AND outcome = 'sold'";
	static const char told_pieces_sql[] =
		"SELECT sum(pieces) FROM outcomes WHERE run = ?1 AND outcome = 'sold'";
	static const char wrong_items_sql[] =
		"SELECT count(*) FROM stock WHERE run = ?1 AND pieces - remaining <>"
		" (SELECT coalesce(sum(quantity), 0) FROM orders"
		"  WHERE orders.run = ?1 AND orders.item = stock.item)";
	long long rows = ask(sums, "SELECT count(*) FROM orders WHERE run = ?1", NULL);
	long long told = ask(sums, told_sql, NULL);
	long long left_stock =
		ask(sums, "SELECT sum(pieces - remaining) FROM stock WHERE run = ?1", NULL);
	long long stored =
		ask(sums, "SELECT coalesce(sum(quantity), 0) FROM orders WHERE run = ?1", NULL);
	long long told_pieces = ask(sums, told_pieces_sql, NULL);
	long long wrong_items = ask(sums, wrong_items_sql, NULL);

	print_number("orders", rows);
	fputs("   = successes told to users", stdout);
	conclude_line(sums, rows == told, "%lld orders stored, %lld successes told", rows, told);
	reconcile_steps(sums, rows);
	print_number("pieces in orders", stored);
	fputs("   = stock sold = pieces told to users", stdout);
	conclude_line(sums, stored == left_stock && stored == told_pieces && wrong_items == 0,
		      "%lld pieces left the stock, %lld are in orders, %lld were told", left_stock,
		      stored, told_pieces);
}

static void
reconcile_users(struct sums *sums)
{
	long long twice = ask(sums,
			      "SELECT count(*) FROM (SELECT user FROM orders WHERE run = ?1"
			      " GROUP BY user HAVING count(*) > 1)",
			      NULL);

	print_number("users sold twice", twice);
	conclude_line(sums, twice == 0, "%lld users were sold twice", twice);
}

static void
reconcile(struct sums *sums)
{
	printf("Run %lld, %s, by SQL from %s\n", sums->run, sums->mode, sums->store->path);
	if (ask(sums, "SELECT count(*) FROM offered WHERE run = ?1", NULL) == 0) {
		puts("  was not finished");
		mismatch_add(sums->mismatch, "run %lld (%s) was not finished", sums->run,
			     sums->mode);
		return;
	}
	sums->has_topic = ask(sums, "SELECT count(*) FROM subscriptions WHERE run = ?1", NULL) > 0;
	reconcile_requests(sums);
	if (sums->has_topic)
		reconcile_answers(sums);
	reconcile_orders(sums);
	reconcile_users(sums);
	putchar('\n');
}

/* The runs that a statement selects. Returns how many there are. */
static int
reconcile_selected(struct store *store, sqlite3_stmt *runs, char mismatch[MISMATCH_SIZE])
{
	int n = 0;

	while (sqlite3_step(runs) == SQLITE_ROW) {
		struct sums sums = {
			.store = store, .run = sqlite3_column_int64(runs, 0), .mismatch = mismatch};

		snprintf(sums.mode, sizeof sums.mode, "%s",
			 (const char *)sqlite3_column_text(runs, 1));
		reconcile(&sums);
		n++;
	}
	return n;
}

/* The run of this number, or all runs if it is 0. */
static void
reconcile_runs(struct store *store, long long run, char mismatch[MISMATCH_SIZE])
{
	sqlite3_stmt *runs = NULL;
	int n = 0, rc;

	rc = sqlite3_prepare_v2(store->db,
				"SELECT run, mode FROM runs WHERE ?1 IN (0, run) ORDER BY run", -1,
				&runs, NULL);
	if (rc == SQLITE_OK) {
		(void)sqlite3_bind_int64(runs, 1, run);
		n = reconcile_selected(store, runs, mismatch);
		rc = sqlite3_finalize(runs);
	}
	if (rc != SQLITE_OK)
		mismatch_add(mismatch, "database %s: %s", store->path, sqlite3_errmsg(store->db));
	else if (n == 0)
		mismatch_add(mismatch, "there are no runs in %s", store->path);
}

void
reconcile_run(struct store *store, long long run, char mismatch[MISMATCH_SIZE])
{
	reconcile_runs(store, run, mismatch);
}

/* What its buyers were told is in a file of theirs, and not in the database. */
static bool
is_durable(struct store *store)
{
	sqlite3_stmt *runs = NULL;
	bool found = sqlite3_prepare_v2(store->db, "SELECT 1 FROM runs WHERE mode = 'durable'", -1,
					&runs, NULL) == SQLITE_OK &&
		     sqlite3_step(runs) == SQLITE_ROW;

	(void)sqlite3_finalize(runs);
	return found;
}

int
reconcile_file(const char *path, char mismatch[MISMATCH_SIZE])
{
	struct store *store;
	int rc = 0;

	if (store_open_existing(&store, path) != 0) {
		mismatch_add(mismatch, "there is no database to read");
		return 0;
	}
	if (is_durable(store)) {
		complain("--reconcile \"%s\": it is a durable sale's, and --durable does its sums",
			 path);
		rc = -1;
	} else {
		reconcile_runs(store, 0, mismatch);
	}
	store_close(store);
	return rc;
}
