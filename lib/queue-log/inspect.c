/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log inspect: files, readers, half messages, and where the log ends. */
#include "inspect.h"

#include "command.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns: of a terminal; before the last one of half messages; before what has a line of its own. */
#define WIDTH 80
#define HALF_WIDTH 55
#define INDENT 4

static bool
set_json(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->json = true;
}

/* ---- Lags ------------------------------------------------------------------------------------ */

/* How many messages there are before a position. What is gone meanwhile is not counted any more. */
static int
count_before(struct look *look, const struct state *state, uint64_t position, uint64_t *messages)
{
	struct state_mark mark = state_mark_before(state, position);
	struct look_event event;
	int rc;

	*messages = mark.messages;
	if (mark.position >= position)
		return 0;
	look_from(look, mark.position, false);
	for (;;) {
		rc = look_next(look, &event);
		if (rc < 0 || event.kind == LOOK_END || event.position >= position)
			return rc;
		if (event.kind == LOOK_RECORD && event.position >= mark.position)
			*messages += event.record.message != NULL;
	}
}

/* Messages that are still there, and are acknowledged out of order. */
static uint64_t
count_done(const struct state_reader *reader, uint64_t begins)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < reader->n_exceptions; i++)
		n += reader->exceptions[i].is_done && reader->exceptions[i].position >= begins;
	return n;
}

static uint64_t
minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What retention has taken away does not count. */
static int
measure(struct look *look, const struct verdict *verdict, const struct state_reader *reader,
	struct lag *lag)
{
	const struct state *state = &verdict->state;
	uint64_t acknowledged = 0, delivered = 0, position = reader->position;
	int rc;

	if (position < verdict->begins)
		position = verdict->begins;
	rc = count_before(look, state, position, &acknowledged);
	if (rc == 0)
		rc = count_before(look, state, reader->high, &delivered);
	if (rc < 0)
		return rc;
	lag->done = count_done(reader, verdict->begins);
	lag->bytes = minus(state->message_end, position);
	lag->messages = minus(minus(state->messages, acknowledged), lag->done);
	lag->out = minus(minus(delivered, acknowledged), lag->done);
	return 0;
}

static int
measure_all(struct look *look, struct inspection *inspection)
{
	const struct state *state = &inspection->verdict.state;
	size_t i;
	int rc = 0;

	inspection->lags = calloc(state->n_readers + 1, sizeof *inspection->lags);
	if (!inspection->lags)
		return -ENOMEM;
	for (i = 0; rc == 0 && i < state->n_readers; i++)
		rc = measure(look, &inspection->verdict, &state->readers[i], &inspection->lags[i]);
	return rc;
}

/* ---- For people ------------------------------------------------------------------------------ */

static void
print_size(int width, uint64_t bytes)
{
	char text[SIZE_TEXT];

	(void)printf("%*s", width, size_text(text, bytes));
}

static void
print_head(const struct inspection *inspection)
{
	const struct verdict *verdict = &inspection->verdict;
	uint64_t size = 0;
	size_t i;

	for (i = 0; i < verdict->n_segments; i++)
		size += verdict->segments[i].segment.size;
	(void)printf("%s: %zu segment%s, ", inspection->directory, verdict->n_segments,
		     plural(verdict->n_segments));
	print_size(0, size);
	(void)printf(", and %zu spare file%s\n", inspection->spares, plural(inspection->spares));
	(void)printf("%s\n",
		     verdict->has_writer ? "A program has it open." : "No program has it open.");
}

static void
print_segments(const struct verdict *verdict)
{
	char text[TIME_TEXT];
	size_t i;

	if (verdict->n_segments > 0)
		(void)printf("\n%-20s %15s %10s %10s  %s\n", "SEGMENT", "FROM POSITION", "USED",
			     "MESSAGES", "BEGUN");
	for (i = 0; i < verdict->n_segments; i++) {
		const struct verdict_segment *one = &verdict->segments[i];
		char name[QUEUE_IMPL_LOG_FILE_NAME];

		queue_impl_log_file_name(name, one->segment.base);
		(void)printf("%-20s %15" PRIu64 " ", name, one->segment.base);
		print_size(10, one->used);
		(void)printf(" %10" PRIu64 "  %s\n", one->messages,
			     time_text(text, one->segment.created));
	}
}

static void
print_readers(const struct inspection *inspection)
{
	const struct state *state = &inspection->verdict.state;
	size_t i;

	if (state->n_readers == 0) {
		(void)puts("\nThere are no readers: all messages are kept.");
		return;
	}
	(void)printf("\n%-20s %15s %10s %10s %5s %11s\n", "READER", "POSITION", "LAG", "MESSAGES",
		     "OUT", "DONE AHEAD");
	for (i = 0; i < state->n_readers; i++) {
		const struct state_reader *reader = &state->readers[i];
		const struct lag *lag = &inspection->lags[i];
		const unsigned char *name = (const unsigned char *)reader->name;
		size_t length = strlen(reader->name), width = escaped_width(name, length);

		write_escaped(name, length);
		if (width > 20)
			(void)printf("\n%20s", "");
		else
			(void)printf("%*s", (int)(20 - width), "");
		(void)printf(" %15" PRIu64 " ", reader->position);
		print_size(10, lag->bytes);
		(void)printf(" %10" PRIu64 " %5" PRIu64 " %11" PRIu64 "\n", lag->messages, lag->out,
			     lag->done);
	}
}

/* In the last column; or, where there is no room for it, on a line of its own. */
static void
print_key(const struct state_half *half)
{
	const unsigned char *key = (const unsigned char *)half->key;

	if (escaped_width(key, half->key_length) <= WIDTH - HALF_WIDTH) {
		(void)fputs("  ", stdout);
		write_escaped(key, half->key_length);
	} else {
		(void)printf("\n%*s", INDENT, "");
		write_shortened(key, half->key_length, WIDTH - INDENT);
	}
	(void)putchar('\n');
}

static void
print_halves(const struct state *state)
{
	char text[TIME_TEXT];
	size_t i;

	if (state->n_halves == 0)
		return;
	(void)printf("\n%-15s %-19s %10s %6s  %s\n", "HALF MESSAGE", "SINCE", "LENGTH", "ASKED",
		     "KEY");
	for (i = 0; i < state->n_halves; i++) {
		const struct state_half *half = &state->halves[i];

		(void)printf("%-15" PRIu64 " %-19s ", half->id, time_text(text, half->time));
		print_size(10, half->length);
		(void)printf(half->is_parked ? " parked" : " %6" PRIu32, half->checks);
		print_key(half);
	}
}

/* What keeps files from being used again. */
static void
print_pins(const struct state *state)
{
	const struct state_reader *reader = state_last_reader(state);
	const struct state_half *half = state_last_half(state);

	if (half && (!reader || half->position < reader->position)) {
		(void)printf("All from position %" PRIu64 " on is kept for half message %" PRIu64
			     ".\n",
			     half->position, half->id);
	} else if (reader) {
		(void)fputs("All from the position of ", stdout);
		write_escaped((const unsigned char *)reader->name, strlen(reader->name));
		(void)puts(" on is kept for it.");
	}
}

static void
print_end(const struct verdict *verdict)
{
	const struct state *state = &verdict->state;
	char text[SIZE_TEXT];

	(void)printf("\nIt goes from position %" PRIu64 " to %" PRIu64 ": %" PRIu64
		     " message%s of %s.\n",
		     verdict->begins, verdict->ends, state->messages, plural(state->messages),
		     size_text(text, state->bytes));
	if (verdict->is_torn)
		(void)printf("What is torn behind that is cut off when it is opened: %" PRIu64
			     " byte%s.\n",
			     verdict->tail.length, plural(verdict->tail.length));
	if (state->left_out > 0)
		(void)printf("%" PRIu64 " bytes were damaged before, and are left out.\n",
			     state->left_out);
	if (verdict->damages > 0)
		(void)printf("It is damaged in %" PRIu64 " place%s: see queue-log verify.\n",
			     verdict->damages, plural(verdict->damages));
}

static void
print(const struct inspection *inspection)
{
	print_head(inspection);
	print_segments(&inspection->verdict);
	print_readers(inspection);
	print_halves(&inspection->verdict.state);
	print_pins(&inspection->verdict.state);
	print_end(&inspection->verdict);
}

/* ---- The command ----------------------------------------------------------------------------- */

static enum status
run(const struct options *options)
{
	struct inspection inspection = {.directory = options->directory};
	enum status status = STATUS_DONE;
	struct look look;
	int rc = look_open(&look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	rc = verify_read(&look, &inspection.verdict, NULL, NULL);
	if (rc == 0)
		rc = measure_all(&look, &inspection);
	inspection.spares = look.n_spares;
	if (rc < 0)
		status = fail(options->directory, rc);
	else if (options->json)
		inspect_print_json(&inspection);
	else
		print(&inspection);
	if (rc == 0 && inspection.verdict.damages > 0)
		status = STATUS_DAMAGED;
	free(inspection.lags);
	verify_clear(&inspection.verdict);
	look_close(&look);
	return status;
}

static const struct option_row rows[] = {
	{0, "json", NULL, "the same, and more, as JSON", set_json},
};

const struct command command_inspect = {
	.name = "inspect",
	.about = "shows its files, readers, half messages, and where it ends",
	.more = "It reads all of the log, to count its messages. OUT are those that were\n"
		"delivered and are not acknowledged, DONE AHEAD those acknowledged out of order.\n"
		"BEGUN and SINCE are local time; with --json times are UTC.\n",
	ROWS(rows),
	.run = run,
};
