/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log tail: the last messages, and those that come. */
#include "command.h"
#include "print.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES_MAX UINT64_C(100000000)

/* How often it is looked whether something has come. */
#define LOOK_EVERY 50000000 /* nanoseconds */

static volatile sig_atomic_t is_stopped;

/* The positions of the last ones, in a ring. */
struct last {
	uint64_t *positions;
	size_t n, capacity, most;
	size_t first;
};

struct tail {
	const struct options *options;
	struct look look;
	struct last last;
	bool has_printed;
	enum status status;
};

static bool
set_lines(struct options *options, const char *name, const char *text)
{
	return read_number(name, text, 0, LINES_MAX, &options->lines);
}

static bool
set_follow(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->follow = true;
}

/* ---- Signals --------------------------------------------------------------------------------- */

static void
stop(int unused)
{
	(void)unused;
	is_stopped = 1;
}

/* These end it in order: what was read is written. */
static void
catch_signals(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = stop;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

/* ---- Where the last ones begin --------------------------------------------------------------- */

static int
grow(struct last *last)
{
	size_t capacity = last->capacity ? 2 * last->capacity : 64;
	uint64_t *positions;

	if (capacity > last->most)
		capacity = last->most;
	positions = realloc(last->positions, capacity * sizeof *positions);
	if (!positions)
		return -ENOMEM;
	last->positions = positions;
	last->capacity = capacity;
	return 0;
}

/* In place of the oldest, when there are as many as are wanted. */
static int
note(struct last *last, uint64_t position)
{
	if (last->n == last->capacity && last->capacity < last->most) {
		int rc = grow(last);

		if (rc < 0)
			return rc;
	}
	if (last->n < last->capacity) {
		last->positions[last->n++] = position;
	} else {
		last->positions[last->first] = position;
		last->first = (last->first + 1) % last->n;
	}
	return 0;
}

/* The last ones from a segment on. *end is where the log ends. */
static int
find_from(struct tail *tail, uint64_t base, uint64_t *end)
{
	struct last *last = &tail->last;
	struct look_event event;
	int rc;

	last->n = last->first = 0;
	look_from(&tail->look, base, false);
	for (;;) {
		rc = look_next(&tail->look, &event);
		if (rc < 0)
			return rc;
		if (event.kind == LOOK_END) {
			*end = event.position;
			return 0;
		}
		if (event.kind != LOOK_RECORD || last->most == 0 ||
		    !print_is_wanted(tail->options, &event.record))
			continue;
		rc = note(last, event.position);
		if (rc < 0)
			return rc;
	}
}

/* From the youngest segment back, until there are enough: *from is the first of them. */
static int
find_last(struct tail *tail, uint64_t *from)
{
	struct look *look = &tail->look;
	struct last *last = &tail->last;
	size_t step = 1, i;
	uint64_t base;
	int rc;

	do {
		rc = look_list(look);
		if (rc < 0)
			return rc;
		i = look->n_bases > step ? look->n_bases - step : 0;
		base = look->n_bases > 0 ? look->bases[i] : 0;
		rc = find_from(tail, base, from);
		step *= 2;
	} while (rc == 0 && last->n < last->most && i > 0);
	if (rc == 0 && last->n > 0)
		*from = last->positions[last->first];
	return rc;
}

/* ---- Printing -------------------------------------------------------------------------------- */

static void
sleep_a_little(void)
{
	const struct timespec time = {0, LOOK_EVERY};

	(void)nanosleep(&time, NULL);
}

/* Nothing more has come: waits. False: it is not to go on. */
static bool
wait_for_more(struct tail *tail)
{
	/* What was printed is seen, and an error as well. */
	if (fflush(stdout) != 0 || !tail->options->follow)
		return false;
	do
		sleep_a_little();
	while (!is_stopped && !look_has_more(&tail->look));
	return true;
}

static void
print(struct tail *tail, const struct look_event *event, uint64_t from)
{
	/* Before the first one, the oldest that there is now is as good. */
	if (event->kind == LOOK_GONE && tail->has_printed) {
		complain("%s: position %" PRIu64 ", %" PRIu64 " bytes: taken away meanwhile",
			 tail->options->directory, event->position, event->length);
		tail->status = STATUS_NOT_WHOLE;
	}
	if (event->kind == LOOK_DAMAGE && !event->is_doubled &&
	    event->position + event->length > from) {
		print_damage(tail->options, event);
		tail->status = STATUS_DAMAGED;
	}
	if (event->kind == LOOK_RECORD && event->position >= from &&
	    print_is_wanted(tail->options, &event->record)) {
		print_record(tail->options, &event->record);
		tail->has_printed = true;
	}
}

static int
print_all(struct tail *tail, uint64_t from)
{
	struct look_event event;
	int rc;

	look_from(&tail->look, from, tail->options->follow);
	while (!is_stopped && !ferror(stdout)) {
		rc = look_next(&tail->look, &event);
		if (rc < 0)
			return rc;
		if (event.kind == LOOK_END && !wait_for_more(tail))
			break;
		print(tail, &event, from);
	}
	return 0;
}

static enum status
run(const struct options *options)
{
	struct tail tail = {.options = options, .last.most = options->lines};
	uint64_t from = 0;
	int rc = look_open(&tail.look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	if (options->follow)
		catch_signals();
	rc = find_last(&tail, &from);
	if (rc == 0)
		rc = print_all(&tail, from);
	if (rc < 0)
		tail.status = fail(options->directory, rc);
	/* Who follows is told as it comes, and ends it. */
	else if (options->follow)
		tail.status = STATUS_DONE;
	free(tail.last.positions);
	look_close(&tail.look);
	return tail.status;
}

static const struct option_row rows[] = {
	{'n', "lines", "N", "the last N messages [10]", set_lines},
	{'f', "follow", NULL, "and those that come, until SIGINT or SIGTERM", set_follow},
	PRINT_ROWS,
};

const struct command command_tail = {
	.name = "tail",
	.about = "prints the last messages, and with -f those that come",
	.more = "On a terminal as with --escape. Messages are shown when they were written, which\n"
		"may be before they are on the disk.\n",
	ROWS(rows),
	.check = print_check,
	.run = run,
};
