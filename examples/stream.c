/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream of lines goes through stages, each a pool of workers that pops one queue and pushes the
 * next:
 *
 *	lines -> parse -> parsed -> enrich -> priced -> count a second -> seconds -> store
 *	  ^      3                  2                   1 |                          wakes every 2 ms
 *	  +------------------- records to use again ------+
 *
 * Back-pressure.  Every queue is small and waits for room (QUEUE_BLOCK), so all of it runs at the
 *                 speed of the slowest stage, with a fixed number of records and no allocation.
 * Order.          Several workers of one stage overtake each other. Lines are numbered, and the
 *                 stage that needs their order has one worker, which puts them back into it. A line
 *                 that makes no sense goes all the way too, or there would be a gap to wait for.
 *                 Records that wait for an earlier one are not used again meanwhile: so the source
 *                 is never more than RECORDS lines ahead of it, however long a worker takes.
 * The end.        From the front to the back: a stage is stopped by draining, and only then, when
 *                 nobody pushes to it any more, the next one.
 *
 * Time is the time in the lines, so the result is the same in every run.
 */
#include <conveyor.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECONDS 20
#define LINES 20000
#define RECORDS 256 /* a power of two, so that the numbers may wrap */
#define STORE_EVERY (2 * QUEUE_MILLISECOND)

struct record {
	char line[40]; /* "milliseconds item pieces" */
	uint64_t number;
	bool good;
	unsigned milliseconds, item, pieces;
	uint64_t cents;
};

struct second {
	unsigned second;
	uint64_t orders, cents;
};

struct stage {
	struct queue_bounded *in;
	struct queue_pool *pool;
};

QUEUE_TYPED(records, struct record *)
QUEUE_TYPED(seconds, struct second *)

static struct stage parsing, enriching, counting;
static struct queue_bounded *spare, *seconds; /* records to use again; results */
static struct record all[RECORDS];
static struct second results[SECONDS], expected[SECONDS], stored[SECONDS];
static unsigned malformed, overtaken, expected_malformed, stored_n, batches;

static const unsigned prices[] = {499, 1250, 8900, 120};
#define ITEMS (sizeof prices / sizeof *prices)

/* ---- The stages, from the front to the back -------------------------------------------------- */

/* Waits for a record that is free again, and so for the slowest stage. */
static int
read_line(unsigned number)
{
	unsigned milliseconds = (unsigned)((uint64_t)number * SECONDS * 1000 / LINES);
	unsigned item = number * 7 % ITEMS, pieces = 1 + number % 3;
	struct record *record;
	int rc = records_pop(spare, &record);

	if (rc != 0)
		return rc;
	record->number = number;
	if (number % 101 == 0) {
		snprintf(record->line, sizeof record->line, "%u oops %u", milliseconds, pieces);
		expected_malformed++;
	} else {
		snprintf(record->line, sizeof record->line, "%u %u %u", milliseconds, item, pieces);
		expected[milliseconds / 1000].orders++;
		expected[milliseconds / 1000].cents += pieces * (uint64_t)prices[item];
	}
	return records_push(parsing.in, record);
}

/* Reads one number below `end` and the blank or the zero behind it. */
static bool
read_number(const char **text, unsigned long end, unsigned *out)
{
	char *rest;
	unsigned long number = strtoul(*text, &rest, 10);
	bool good = **text >= '0' && **text <= '9' && number < end && (*rest == ' ' || !*rest);

	*out = (unsigned)number;
	*text = *rest ? rest + 1 : rest;
	return good;
}

static int
parse(void *item, void *context)
{
	struct record *record = item;
	const char *text = record->line;

	(void)context;
	record->good = read_number(&text, SECONDS * 1000, &record->milliseconds) &&
		       read_number(&text, ITEMS, &record->item) &&
		       read_number(&text, 1000, &record->pieces) && !*text;
	return records_push(enriching.in, record);
}

/* Would ask a catalogue; what it says is written into the record, which nobody else has. */
static int
enrich(void *item, void *context)
{
	struct record *record = item;

	(void)context;
	if (record->good)
		record->cents = record->pieces * (uint64_t)prices[record->item];
	return records_push(counting.in, record);
}

/* In the order of the lines. A second is complete when a line of a later one is there. */
static int
count(const struct record *record)
{
	static unsigned open; /* the second that is being counted */
	int rc = 0;

	if (!record->good) {
		malformed++;
		return 0;
	}
	for (; rc == 0 && open < record->milliseconds / 1000; open++)
		rc = seconds_push(seconds, &results[open]);
	results[open].orders++;
	results[open].cents += record->cents;
	return rc;
}

/* The one worker of this stage: what it writes needs no lock. */
static int
put_in_order(void *item, void *context)
{
	static struct record *early[RECORDS]; /* by number; they wait for one before them */
	static uint64_t next;
	struct record *record = item;
	int rc = 0;

	(void)context;
	overtaken += record->number != next;
	early[record->number % RECORDS] = record;
	while (rc == 0 && (record = early[next % RECORDS])) {
		early[next++ % RECORDS] = NULL;
		rc = count(record);
		(void)records_push(spare, record); /* there is room for all */
	}
	return rc;
}

/*
 * A timed pull: wakes at even times, and takes what is there. Where a push for each item would wake
 * a thread for each, this one wakes at most 500 times a second, and stores in batches; a result is
 * up to STORE_EVERY late, and no more than a queue full of them can come between two times.
 */
static void *
store(void *argument)
{
	uint64_t due = queue_now();
	struct second *batch[8];
	int n;

	(void)argument;
	while ((n = seconds_try_pop_n(seconds, batch, 8)) >= 0) {
		for (int i = 0; i < n && stored_n < SECONDS; i++)
			stored[stored_n++] = *batch[i];
		batches += n > 0;
		if (n == 8)
			continue; /* there may be more */
		due += STORE_EVERY;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
				&(struct timespec){.tv_sec = (time_t)(due / QUEUE_SECOND),
						   .tv_nsec = (long)(due % QUEUE_SECOND)},
				NULL);
	}
	return NULL; /* -EPIPE: closed, and nothing left */
}

/* ---- Putting it together --------------------------------------------------------------------- */

/* A handler fails only if the next queue has been closed, which would be a mistake in main. */
static void
lose(void *item, enum queue_reason reason, void *context)
{
	const struct record *record = item;

	(void)context;
	fprintf(stderr, "line %" PRIu64 " was lost: %s\n", record->number,
		queue_reason_name(reason));
}

static int
open_stage(struct stage *stage, const char *name, int workers,
	   int (*handler)(void *item, void *context))
{
	struct queue_options options = {.capacity = 32, .policy = QUEUE_BLOCK, .on_drop = lose};
	struct queue_pool_options pool = {.handler = handler, .workers = workers, .name = name};
	int rc = queue_create(&stage->in, &options);

	pool.queue = stage->in;
	return rc ? rc : queue_pool_create(&stage->pool, &pool);
}

/* From the back to the front, so that every stage has where to push. */
static int
open_all(pthread_t *storing)
{
	struct queue_options records = {.capacity = RECORDS};
	struct queue_options results_queue = {.capacity = 4, .policy = QUEUE_BLOCK};
	int rc;

	if ((rc = queue_create(&spare, &records)) ||
	    (rc = queue_create(&seconds, &results_queue)) ||
	    (rc = open_stage(&counting, "count", 1, put_in_order)) ||
	    (rc = open_stage(&enriching, "enrich", 2, enrich)) ||
	    (rc = open_stage(&parsing, "parse", 3, parse)))
		return rc;
	for (int i = 0; i < RECORDS; i++)
		(void)records_push(spare, &all[i]);
	for (unsigned i = 0; i < SECONDS; i++)
		results[i].second = expected[i].second = i;
	return pthread_create(storing, NULL, store, NULL);
}

static int
close_stage(struct stage *stage)
{
	int rc = queue_pool_stop(stage->pool, QUEUE_POOL_DRAIN, QUEUE_NEVER);

	(void)queue_pool_destroy(stage->pool);
	return rc ? rc : queue_destroy(stage->in);
}

/* From the front to the back, so that no stage pushes to a queue that has been closed. */
static int
close_all(pthread_t storing)
{
	struct record *record;
	int rc, back = 0;

	if ((rc = close_stage(&parsing)) || (rc = close_stage(&enriching)) ||
	    (rc = close_stage(&counting)))
		return rc;
	/* No later line will complete the last second. */
	(void)seconds_push(seconds, &results[SECONDS - 1]);
	(void)queue_close(seconds);
	(void)pthread_join(storing, NULL);
	while (records_try_pop(spare, &record) == 0)
		back++;
	(void)queue_destroy(spare);
	(void)queue_destroy(seconds);
	return back == RECORDS ? 0 : -EIO;
}

static bool
is_right(void)
{
	bool right = malformed == expected_malformed && stored_n == SECONDS;

	for (unsigned i = 0; i < SECONDS; i++)
		right = right && stored[i].second == expected[i].second &&
			stored[i].orders == expected[i].orders &&
			stored[i].cents == expected[i].cents;
	return right;
}

int
main(void)
{
	pthread_t storing;

	if (open_all(&storing) != 0)
		return 1;
	for (unsigned number = 0; number < LINES; number++)
		if (read_line(number) != 0)
			return 1;
	if (close_all(storing) != 0)
		return 1;
	for (unsigned i = 0; i < stored_n; i++)
		printf("second %2u: %4" PRIu64 " orders, %8.2f\n", stored[i].second,
		       stored[i].orders, (double)stored[i].cents / 100);
	printf("%d lines, %u malformed, %u overtaken; %u seconds stored in %u batches\n", LINES,
	       malformed, overtaken, stored_n, batches);
	return is_right() ? 0 : 1;
}
