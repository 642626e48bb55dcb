/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The flash sale that survives: seckill --durable DIR. The shop is a process, which is killed in
 * the middle of it (kill -9) and started again, twice unless told otherwise. In the end everybody
 * has an answer, and who was told "sold" has exactly one row in the database, and nobody else has.
 *
 *	this process                        the shop, life after life (counter.c)
 *
 *	buyers ---- ask ID, user, item ----> receiver -> request queue -> workers
 *	  |                                                                  |
 *	  |                                                                append
 *	  |                                                                  v
 *	  |   <--------- ID: sold ---------- teller <---- durable ---- DIR/log, a queue_log
 *	  v                                                                  |
 *	DIR/buyers, what they                                   read, store, acknowledge (ledger.c)
 *	asked and were told                                                  v
 *	  |                                                          DIR/seckill.db, rows
 *	  +------------------------ the sums (account.c) --------------------+
 *
 * What a kill can hit, and what becomes of it:
 *
 *	before the order is in the log     nobody was told. The buyer has no answer, asks the next
 *	                                   life again, and is decided as if for the first time.
 *	in the middle of writing it        the log cuts it off when it is opened: the same.
 *	it is durable, but not told        it was sold. It is a row when the next life opens. The buyer
 *	                                   asks again, under the same ID, and is told "sold" then.
 *	told, not a row yet                the next life reads it from the log, and makes a row of it.
 *	a row, but not acknowledged        it comes again from the log; its ID has a row, so that is
 *	                                   left alone.
 *	in the middle of a transaction     SQLite rolls it back, and the orders come again from the
 *	                                   log.
 *
 * The buyers' process is another one, so that what was told is known from outside of the shop: an
 * answer was told when it had left the shop. When that one is killed as well, the next call goes on
 * with the same DIR: it asks again for those who never had an answer, and its sums are about all
 * that was ever asked there.
 *
 * What killing a process cannot show is the difference between what is with the operating system
 * and what is on the disk. The shop waits for the disk, so it loses nothing when the machine stops
 * either; the log's own tests look at that (test/stress/log_crash.c).
 */
#include "durable.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- The directory --------------------------------------------------------------------------- */

static int
complain_about(const char *path, const char *what)
{
	complain("--durable %s: %s", path, what);
	return -1;
}

static int
make_paths(struct durable_paths *paths, const char *directory)
{
	paths->directory = directory;
	if (strlen(directory) > sizeof paths->log - 32)
		return complain_about(directory, strerror(ENAMETOOLONG));
	snprintf(paths->log, sizeof paths->log, "%s/log", directory);
	snprintf(paths->database, sizeof paths->database, "%s/seckill.db", directory);
	snprintf(paths->notebook, sizeof paths->notebook, "%s/buyers", directory);
	return 0;
}

/* What a sale leaves there. */
static bool
is_ours(const char *name)
{
	static const char *const names[] = {
		".", "..", "log", "buyers", "seckill.db", "seckill.db-wal", "seckill.db-shm"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Nothing else is in it, and what is there is a whole sale. */
static int
check_directory(const char *path)
{
	DIR *directory = opendir(path);
	bool has_notebook = false, has_more = false;
	const struct dirent *entry;
	char stranger[256] = "";

	if (!directory)
		return complain_about(path, strerror(errno));
	while ((entry = readdir(directory))) {
		if (!is_ours(entry->d_name))
			snprintf(stranger, sizeof stranger, "%s", entry->d_name);
		else if (strcmp(entry->d_name, "buyers") == 0)
			has_notebook = true;
		else if (entry->d_name[0] != '.')
			has_more = true;
	}
	(void)closedir(directory);
	if (*stranger) {
		complain("--durable %s: \"%s\" is in it, which is not of a sale", path, stranger);
		return -1;
	}
	if (has_more && !has_notebook)
		return complain_about(path, "there is no \"buyers\" in it: what these were told");
	return 0;
}

static int
open_directory(struct durable_paths *paths, const char *path)
{
	if (make_paths(paths, path) != 0)
		return -1;
	if (mkdir(path, 0777) != 0 && errno != EEXIST)
		return complain_about(path, strerror(errno));
	return check_directory(path);
}

/* ---- When it is killed ----------------------------------------------------------------------- */

struct lives {
	const struct options *options;
	const struct durable_paths *paths;
	struct crowd crowd;
	struct life *all;
	uint64_t n, kills; /* lives; of these, killed */
	uint64_t before;   /* told sold by earlier calls */
	uint64_t dice;
};

static uint64_t
roll(struct lives *lives, uint64_t below)
{
	return mix(lives->options->seed ^ mix(lives->dice++)) % below;
}

static uint64_t
less(uint64_t number, uint64_t taken)
{
	return number > taken ? number - taken : 0;
}

/*
 * Mostly in the middle of selling: so many kills divide what there is to sell, each of them
 * somewhere near the end of its part. With more than two, each third one hits a shop that is
 * opening; with more than three, the last one a shop that is closing.
 */
static void
plan_kill(struct lives *lives, struct life *life)
{
	const struct options *options = lives->options;
	uint64_t left = options->kills - lives->kills, pieces = options->stock * options->items;
	uint64_t sold = lives->crowd.outcomes[OUTCOME_SOLD];
	/* One order in ten of the generator is for two pieces. */
	uint64_t orders = less(pieces - pieces / 11, lives->before + sold), part;
	uint64_t buyers = options->users + options->steady_rate * options->steady_ms / 1000;

	if (left == 0)
		return;
	if (!options->input && orders > less(buyers, sold))
		orders = less(buyers, sold);
	part = orders / (left + 1) + 1;
	life->kill = KILL_SELLING;
	life->kill_sold = 1 + part / 2 + roll(lives, part);
	life->kill_after = roll(lives, 2 * QUEUE_MILLISECOND);
	if (options->kills > 3 && left == 1) {
		life->kill = KILL_CLOSING;
	} else if (lives->kills % 3 == 2) {
		life->kill = KILL_OPENING;
		life->kill_after = roll(lives, 20 * QUEUE_MILLISECOND);
	}
}

/* ---- One life -------------------------------------------------------------------------------- */

static int
start(struct lives *lives, struct life *life)
{
	int pair[2];

	life->number = notebook_life(lives->crowd.notebook);
	if (life->number == 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		complain("socketpair: %s", strerror(errno));
		return -1;
	}
	status_show("");
	(void)fflush(stdout); /* or it is written twice */
	life->began = queue_now();
	life->pid = fork();
	if (life->pid == 0) {
		(void)close(pair[0]);
		counter_run(lives->options, lives->paths, life->number, pair[1]);
	}
	(void)close(pair[1]);
	life->fd = pair[0];
	if (life->pid > 0)
		return 0;
	complain("fork: %s", strerror(errno));
	(void)close(life->fd);
	return -1;
}

/* What an end that was not asked for says. */
static int
complain_about_end(const struct life *life)
{
	if (WIFSIGNALED(life->status))
		complain("the shop was ended by signal %d: %s", WTERMSIG(life->status),
			 strsignal(WTERMSIG(life->status)));
	else if (WEXITSTATUS(life->status) == 0)
		complain("the shop has closed too early");
	/* Otherwise it has complained itself. */
	return -1;
}

/* 1: it was killed, and there is to be another one; 0: everybody has an answer; -1: it failed. */
static int
live(struct lives *lives, struct life *life)
{
	plan_kill(lives, life);
	if (start(lives, life) != 0)
		return -1;
	crowd_buy(&lives->crowd, life);
	(void)close(life->fd);
	while (waitpid(life->pid, &life->status, 0) < 0 && errno == EINTR)
		continue;
	status_show("");
	/* It may have ended before the signal came. */
	life->was_killed = life->was_killed && WIFSIGNALED(life->status);
	lives->kills += life->was_killed;
	if (lives->crowd.failed)
		return -1;
	if (life->was_killed)
		return 1;
	if (WIFEXITED(life->status) && WEXITSTATUS(life->status) == 0 && life->unanswered == 0)
		return 0;
	return complain_about_end(life);
}

/* All of them. 0; -1: the last one has failed, and it has been complained about. */
static int
live_all(struct lives *lives)
{
	int rc;

	do
		rc = live(lives, &lives->all[lives->n++]);
	while (rc > 0 && lives->n <= lives->options->kills);
	return rc < 0 ? -1 : 0;
}

/* ---- The sale -------------------------------------------------------------------------------- */

static void
report_beginning(const struct lives *lives, const struct notebook *notebook)
{
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];

	account_setting(lives->options);
	if (notebook->n > 0)
		printf("       It goes on there: %s have asked, %s were told \"sold\",\n"
		       "       %s never had an answer, and ask again\n",
		       text_number(a, notebook->n), text_number(b, lives->before),
		       text_number(c, notebook_count(notebook, NOTE_OPEN)));
	putchar('\n');
}

static int
last_line(const struct lives *lives, const char *mismatch)
{
	if (*mismatch)
		printf("reconciled: MISMATCH %s\n", mismatch);
	else
		puts("reconciled: ok");
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("standard output: %s", strerror(errno));
		return EXIT_MISMATCH;
	}
	if (*mismatch)
		return EXIT_MISMATCH;
	return lives->crowd.signal ? EXIT_SIGNAL + lives->crowd.signal : 0;
}

static int
hold(struct lives *lives, const struct notebook *notebook)
{
	const struct life *last;
	char mismatch[MISMATCH_SIZE] = "";

	lives->before = notebook_count(notebook, NOTE_SOLD);
	report_beginning(lives, notebook);
	if (live_all(lives) != 0)
		mismatch_add(mismatch, "the sale was not finished");
	last = &lives->all[lives->n - 1];
	if (!last->is_open && WIFEXITED(last->status) && WEXITSTATUS(last->status) == EXIT_USAGE)
		return EXIT_USAGE;
	if (lives->crowd.told_twice > 0)
		mismatch_add(mismatch, "%llu answers that nobody waited for",
			     (unsigned long long)lives->crowd.told_twice);
	if (source_finish(lives->crowd.source) != 0)
		mismatch_add(mismatch, "%s could not be read to its end", lives->options->input);
	account_lives(&lives->crowd, lives->all, (int)lives->n, lives->paths);
	account_sums(lives->options, notebook, lives->paths, mismatch);
	return last_line(lives, mismatch);
}

int
durable_hold(const struct options *options)
{
	struct lives lives = {.options = options};
	struct durable_paths paths;
	struct notebook notebook;
	int rc = EXIT_USAGE;

	if (open_directory(&paths, options->durable) != 0 ||
	    notebook_open(&notebook, paths.notebook) != 0)
		return EXIT_USAGE;
	lives.paths = &paths;
	if (crowd_init(&lives.crowd, options, &notebook) == 0) {
		lives.all = calloc(options->kills + 1, sizeof *lives.all);
		if (lives.all) {
			rc = hold(&lives, &notebook);
		} else {
			complain("%s", strerror(ENOMEM));
			rc = EXIT_MISMATCH;
		}
		free(lives.all);
		crowd_fini(&lives.crowd);
	}
	notebook_close(&notebook);
	return rc;
}
