/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * seckill: a flash sale on conveyor. Far more users than pieces, all at once, and in the end every
 * request and every piece is accounted for.
 *
 *   users ---> gateways ---> request queue ---> workers ---> order queue ---> writer ---> SQLite
 *    ^          |    ^       bounded, policy     |    |      bounded, waits     |
 *    |          |    |                           |    |                         v  notice queue
 *    |     token bucket     answer: the call <---+    |                     notification
 *    |          |    |      of each request        risk check                   |
 *    |          v    |                             stock                        v  count queue
 *    +--- rate-limited, rejected, sold out, sold, timed out                 statistics
 *
 * What comes before the answer is short and bounded; everything else happens behind the order
 * queue. With --mode sync one gateway thread does all of it before it answers, for comparison.
 *
 *   main.c       what is run, and how it ends
 *   shop.c       the queues, pools and threads of one run, and the order in which they end
 *   gateway.c    taking requests and answering them by a deadline, many at once on one thread
 *   steps.c      what has to be done for a request, and who does it
 *   plan.c       the capacity plan of the request queue, and whether it was kept
 *   source.c     requests from a CSV or a generator
 *   report.c     the comparison; options.c: the command line
 *
 * In this sale what was told and is not stored yet is lost when the process dies. The one that
 * survives that, --durable DIR, puts a queue_log between the workers and the writer:
 *
 *   durable.c    the story, and the lives of a shop that is killed again and again
 *   counter.c    the shop, a process: who is told "sold" is in the log before that
 *   ledger.c     a reader of the log that makes rows, and what a new life begins with
 *   crowd.c      the buyers, in another process; notebook.c: what they remember
 *   account.c    the lives, and the sums of what was told and what is stored
 *
 * and, shared with the same sale behind HTTP, which is in gateway/:
 *
 *   sale.c       the risk check and the stock
 *   store.c      orders into SQLite, for a while or for good (temporary.c)
 *   reconcile.c  the sums, read back by SQL
 *   monitor.c    signals, time limit, status line; text.c: figures and messages
 *   arguments.c  a command line that is described by a table
 */
#include "durable.h"

#include <errno.h>
#include <string.h>

/* What the runs of one call have in common. */
struct session {
	const struct options *options;
	struct store *store;
	struct figures columns[2];
	int n;
	int signal; /* that stopped it, or 0 */
	bool bad_input;
	char mismatch[MISMATCH_SIZE];
};

/* ---- Runs ------------------------------------------------------------------------------------ */

/* What a run leaves to be said in the last line. */
static void
conclude(struct session *session, const struct shop *shop)
{
	if (shop->n_unstored > 0)
		mismatch_add(session->mismatch, "%llu order%s told but not stored: %s",
			     (unsigned long long)shop->n_unstored, shop->n_unstored == 1 ? "" : "s",
			     store_error(session->store));
	if (source_finish(shop->source) != 0)
		mismatch_add(session->mismatch, "%s could not be read to its end",
			     session->options->input);
	session->signal = shop->stopped_by;
}

/* One sale. True: there may be another one. */
static bool
run(struct session *session, bool async)
{
	struct figures *figures = &session->columns[session->n];
	struct shop shop = {.options = session->options, .store = session->store, .async = async};
	int error = source_open(&shop.source, session->options), rc = -1;

	if (error) {
		complain("--input %s: %s", session->options->input, strerror(error));
		session->bad_input = true;
		return false;
	}
	if (session->n == 0)
		report_setting(session->options);
	figures->mode = async ? "async" : "sync";
	figures->run = store_begin(session->store, figures->mode);
	if (figures->run >= 0)
		rc = shop_run(&shop, figures);
	if (rc == 0) {
		session->n++;
		conclude(session, &shop);
	} else {
		mismatch_add(session->mismatch, "the %s sale was not held", figures->mode);
	}
	source_close(shop.source);
	return rc == 0 && !session->signal && !store_failed(session->store);
}

static int
last_line(const struct session *session)
{
	if (*session->mismatch)
		printf("reconciled: MISMATCH %s\n", session->mismatch);
	else
		puts("reconciled: ok");
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("standard output: %s", strerror(errno));
		return EXIT_MISMATCH;
	}
	if (*session->mismatch)
		return EXIT_MISMATCH;
	return session->signal ? EXIT_SIGNAL + session->signal : 0;
}

/* The sale in one mode or both, and the sums. Returns the exit status. */
static int
hold_sale(struct session *session, const char *path)
{
	const struct options *options = session->options;

	if (store_open(&session->store, path, options->db_pages) != 0) {
		mismatch_add(session->mismatch, "there is no database to sell with");
		return last_line(session);
	}
	if ((!options->sync || run(session, false)) && options->async)
		(void)run(session, true);
	if (session->n > 0)
		report_comparison(session->columns, session->n);
	for (int i = 0; i < session->n; i++)
		plan_report(options, &session->columns[i]);
	if (session->n > 0 && !options->db)
		puts("The database is temporary; --db FILE keeps one.");
	for (int i = 0; i < session->n; i++)
		reconcile_run(session->store, session->columns[i].run, session->mismatch);
	store_close(session->store);
	return session->bad_input ? EXIT_USAGE : last_line(session);
}

static int
hold_temporary_sale(struct session *session)
{
	static struct temporary temporary; /* the monitor keeps its address */
	int rc;

	if (temporary_make(&temporary) != 0)
		return EXIT_MISMATCH;
	monitor_temporary(&temporary);
	rc = hold_sale(session, temporary.file);
	if (session->n > 0 && *session->mismatch)
		complain("the database is left in %s", temporary.file);
	else
		temporary_remove(&temporary);
	return rc;
}

int
main(int argc, char **argv)
{
	struct options options;
	struct session session = {.options = &options};

	switch (options_parse(&options, argc, argv)) {
	case ARGUMENTS_DONE:
		return fflush(stdout) == 0 ? 0 : EXIT_MISMATCH;
	case ARGUMENTS_BAD:
		return EXIT_USAGE;
	case ARGUMENTS_RUN:
		break;
	}
	if (options.reconcile)
		return reconcile_file(options.reconcile, session.mismatch) == 0
			       ? last_line(&session)
			       : EXIT_USAGE;
	monitor_block_signals();
	if (options.durable)
		return durable_hold(&options);
	return options.db ? hold_sale(&session, options.db) : hold_temporary_sale(&session);
}
