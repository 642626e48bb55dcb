/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What came of a durable sale: its lives, and the sums. They compare what the buyers have noted, in
 * their own process, with the rows of the database, each with each.
 */
#include "durable.h"
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

void
account_setting(const struct options *options)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];

	report_load(options);
	printf("Sale   %s pieces", text_number(a, options->stock));
	if (options->items > 1)
		printf(" of each of %s items", text_number(b, options->items));
	if (options->rate > 0)
		printf("; %s requests/s are let through", text_number(a, options->rate));
	printf("\nShop   a request queue of %s, policy %s, %llu workers; killed %llu time%s\n",
	       text_number(a, options->capacity), options->policy_name,
	       (unsigned long long)options->workers, (unsigned long long)options->kills,
	       options->kills == 1 ? "" : "s");
	printf("Kept   log, rows and what the buyers were told: in %s\n", options->durable);
	fflush(stdout);
}

/* ---- The lives ------------------------------------------------------------------------------- */

/* Who wrote which row is in the table; a process that was killed cannot tell. */
static void
count_rows(struct store *store, struct life *lives, int n)
{
	sqlite3_stmt *count;

	if (sqlite3_prepare_v2(store->db, "SELECT count(*) FROM orders WHERE run = ?1", -1, &count,
			       NULL) != SQLITE_OK)
		return;
	for (int i = 0; i < n; i++) {
		(void)sqlite3_reset(count);
		(void)sqlite3_bind_int64(count, 1, (sqlite3_int64)lives[i].number);
		if (sqlite3_step(count) == SQLITE_ROW)
			lives[i].rows = (uint64_t)sqlite3_column_int64(count, 0);
	}
	(void)sqlite3_finalize(count);
}

static const char *
end_of(const struct life *life)
{
	if (life->was_killed)
		return "killed";
	return WIFEXITED(life->status) && WEXITSTATUS(life->status) == 0 ? "closed" : "FAILED";
}

static void
print_life(const struct life *life)
{
	char text[TEXT_SIZE];
	const struct {
		int width;
		uint64_t number;
	} columns[] = {{8, life->opening.replayed}, {7, life->opening.had_row}, {7, life->sold},
		       {9, life->refused},	    {9, life->unanswered},	{7, life->rows}};

	printf("%4llu %8s", (unsigned long long)life->number,
	       life->is_open ? text_time(text, life->recovery) : "never");
	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
		printf(" %*s", columns[i].width, text_number(text, columns[i].number));
	printf(" %s\n", end_of(life));
}

/* How requests ended, without the lines that are zero. */
static void
print_outcomes(const struct crowd *crowd)
{
	char text[TEXT_SIZE];

	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++) {
		const char *reason = outcome_reason(outcome);
		uint64_t n = crowd->outcomes[outcome];

		if (outcome == OUTCOME_MALFORMED)
			n += crowd->malformed;
		if (n > 0 || outcome == OUTCOME_SOLD)
			printf("  %s%s%-*s %12s\n", outcome_name(outcome), *reason ? ": " : "",
			       (int)(26 - strlen(outcome_name(outcome)) - (*reason ? 2 : 0)),
			       reason, text_number(text, n));
	}
}

void
account_lives(const struct crowd *crowd, struct life *lives, int n,
	      const struct durable_paths *paths)
{
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
	struct store *store;
	uint64_t killed = 0;

	if (store_open_existing(&store, paths->database) == 0) {
		count_rows(store, lives, n);
		store_close(store);
	}
	puts("life    ready replayed had row    sold   refused no answer    rows end");
	for (int i = 0; i < n; i++) {
		print_life(&lives[i]);
		killed += lives[i].was_killed;
	}
	puts("replayed: sold before, and found in the log; had row: of these, rows already.\n"
	     "no answer: they had asked, and it was killed before they were told.");
	if (killed < crowd->options->kills)
		printf("It was killed %llu time%s instead of %llu: the sale was over before.\n",
		       (unsigned long long)killed, killed == 1 ? "" : "s",
		       (unsigned long long)crowd->options->kills);
	printf("Of those who asked again, %s had been sold to already, and were told so.\n\n",
	       text_number(a, crowd->found));
	print_outcomes(crowd);
	printf("  from asking to \"sold\": p50 %s, p99 %s, max %s\n\n",
	       text_time(a, histogram_quantile(&crowd->sales, 0.5)),
	       text_time(b, histogram_quantile(&crowd->sales, 0.99)),
	       text_time(c, crowd->sales.max));
}

/* ---- The sums -------------------------------------------------------------------------------- */

struct sums {
	const struct notebook *notebook;
	uint64_t items, stock;
	uint64_t *pieces; /* in rows, of each item */
	uint64_t rows, matched, all_pieces;
	char *mismatch;
};

/* It was asked for, just so, and its buyer told so. No two rows have the same id. */
static int
compare_row(const struct order *order, void *context)
{
	struct sums *sums = context;
	const struct note *note;

	sums->rows++;
	sums->all_pieces += order->quantity;
	if (order->item >= 1 && order->item <= sums->items)
		sums->pieces[order->item - 1] += order->quantity;
	if (order->id < 1 || order->id > sums->notebook->n)
		return 0;
	note = &sums->notebook->notes[order->id - 1];
	sums->matched += note->state == NOTE_SOLD && note->user == order->user &&
			 note->item == order->item && note->quantity == order->quantity;
	return 0;
}

static void print_sum(struct sums *sums, const char *name, uint64_t number, bool good,
		      const char *equals, const char *format, ...)
	__attribute__((__format__(__printf__, 6, 7)));

static void
print_sum(struct sums *sums, const char *name, uint64_t number, bool good, const char *equals,
	  const char *format, ...)
{
	char text[256];
	va_list arguments;

	printf("  %-26s %12s %-26s%s\n", name, text_number(text, number), equals,
	       good ? "ok" : "MISMATCH");
	if (good)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	mismatch_add(sums->mismatch, "%s", text);
}

static long long
ask(struct sums *sums, struct store *store, const char *sql)
{
	sqlite3_stmt *statement = NULL;
	long long answer = -1;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		answer = sqlite3_column_int64(statement, 0);
	if (answer < 0)
		mismatch_add(sums->mismatch, "%s", sqlite3_errmsg(store->db));
	(void)sqlite3_finalize(statement);
	return answer;
}

static void
print_sums(struct sums *sums, struct store *store)
{
	const struct notebook *notebook = sums->notebook;
	uint64_t sold = notebook_count(notebook, NOTE_SOLD), strangers = sums->rows - sums->matched;
	uint64_t refused = notebook_count(notebook, NOTE_REFUSED), oversold = 0;
	char text[TEXT_SIZE], of[TEXT_SIZE + 4];
	long long twice = ask(sums, store,
			      "SELECT count(*) FROM (SELECT user FROM orders GROUP BY user"
			      " HAVING count(*) > 1)");

	for (uint64_t i = 0; i < sums->items; i++)
		oversold += sums->pieces[i] > sums->stock;
	print_sum(sums, "asked", notebook->n, notebook->n == sold + refused, "= sold + refused",
		  "%llu buyers never had an answer",
		  (unsigned long long)(notebook->n - sold - refused));
	print_sum(sums, "told \"sold\"", sold, sold == sums->matched, "= those with one row",
		  "%llu told \"sold\" have no row", (unsigned long long)(sold - sums->matched));
	print_sum(sums, "rows of anybody else", strangers, strangers == 0, "",
		  "%llu rows of who was not told \"sold\"", (unsigned long long)strangers);
	print_sum(sums, "users with two rows", (uint64_t)twice, twice == 0, "",
		  "%lld users have more than one row", twice);
	snprintf(of, sizeof of, "of %s", text_number(text, sums->stock * sums->items));
	print_sum(sums, "pieces in rows", sums->all_pieces, oversold == 0, of,
		  "more pieces than there are of %llu items", (unsigned long long)oversold);
	putchar('\n');
}

void
account_sums(const struct options *options, const struct notebook *notebook,
	     const struct durable_paths *paths, char mismatch[MISMATCH_SIZE])
{
	struct sums sums = {.notebook = notebook,
			    .items = options->items,
			    .stock = options->stock,
			    .pieces = calloc(options->items, sizeof *sums.pieces),
			    .mismatch = mismatch};
	struct store *store;

	if (!sums.pieces) {
		mismatch_add(mismatch, "%s", strerror(ENOMEM));
	} else if (store_open_existing(&store, paths->database) != 0) {
		mismatch_add(mismatch, "there is no database to read");
	} else {
		puts("What the buyers noted, against the rows");
		if (store_each_order(store, compare_row, &sums) == 0)
			print_sums(&sums, store);
		else
			mismatch_add(mismatch, "the rows could not be read");
		store_close(store);
	}
	free(sums.pieces);
}
