/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log inspect --json: one object, all of whose members are named in queue-log(1). */
#include "inspect.h"

#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What comes before the member of a list. */
static const char *
comma(size_t i)
{
	return i == 0 ? "\n    " : ",\n    ";
}

static void
print_segments(const struct verdict *verdict)
{
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	size_t i;

	(void)fputs("  \"segments\": [", stdout);
	for (i = 0; i < verdict->n_segments; i++) {
		const struct look_segment *segment = &verdict->segments[i].segment;

		queue_impl_log_file_name(name, segment->base);
		(void)printf("%s{\"file\": \"%s\", \"begins\": %" PRIu64 ", \"ends\": %" PRIu64
			     ", \"size\": %" PRIu64 ", \"used\": %" PRIu64
			     ", \"messages\": %" PRIu64 ", \"begun\": %" PRIu64
			     ", \"salt\": \"%016" PRIx64 "\"}",
			     comma(i), name, segment->base, segment->end, segment->size,
			     verdict->segments[i].used, verdict->segments[i].messages,
			     segment->created, segment->salt);
	}
	(void)fputs("],\n", stdout);
}

static void
print_exceptions(const struct state_reader *reader)
{
	uint32_t i;

	(void)fputs(", \"exceptions\": [", stdout);
	for (i = 0; i < reader->n_exceptions; i++) {
		const struct state_exception *exception = &reader->exceptions[i];

		(void)printf("%s{\"position\": %" PRIu64 ", \"attempts\": %" PRIu32
			     ", \"acknowledged\": %s}",
			     i == 0 ? "" : ", ", exception->position, exception->attempts,
			     exception->is_done ? "true" : "false");
	}
	(void)fputs("]}", stdout);
}

/* Nothing from there on can go. */
static uint64_t
kept_from(const struct verdict *verdict)
{
	const struct state_reader *reader = state_last_reader(&verdict->state);
	const struct state_half *half = state_last_half(&verdict->state);
	uint64_t position = reader ? reader->position : verdict->begins;

	if (half && half->position < position)
		position = half->position;
	return position;
}

static const char *
truth(bool is_true)
{
	return is_true ? "true" : "false";
}

static void
print_readers(const struct inspection *inspection)
{
	const struct state *state = &inspection->verdict.state;
	uint64_t kept = kept_from(&inspection->verdict);
	size_t i;

	(void)fputs("  \"readers\": [", stdout);
	for (i = 0; i < state->n_readers; i++) {
		const struct state_reader *reader = &state->readers[i];
		const struct lag *lag = &inspection->lags[i];

		(void)printf("%s{\"name\": ", comma(i));
		write_json(reader->name, strlen(reader->name));
		(void)printf(", \"position\": %" PRIu64 ", \"delivered\": %" PRIu64
			     ", \"lag_bytes\": %" PRIu64 ", \"lag_messages\": %" PRIu64
			     ", \"out\": %" PRIu64 ", \"pins\": %s",
			     reader->position, reader->high, lag->bytes, lag->messages, lag->out,
			     truth(reader->position == kept));
		print_exceptions(reader);
	}
	(void)fputs("],\n", stdout);
}

static void
print_halves(const struct verdict *verdict)
{
	const struct state *state = &verdict->state;
	uint64_t kept = kept_from(verdict);
	size_t i;

	(void)fputs("  \"halves\": [", stdout);
	for (i = 0; i < state->n_halves; i++) {
		const struct state_half *half = &state->halves[i];

		(void)printf("%s{\"id\": %" PRIu64 ", \"position\": %" PRIu64
			     ", \"since\": %" PRIu64 ", \"length\": %" PRIu64
			     ", \"checks\": %" PRIu32 ", \"parked\": %s, \"pins\": %s, \"key\": ",
			     comma(i), half->id, half->position, half->time, half->length,
			     half->checks, truth(half->is_parked), truth(half->position == kept));
		write_json(half->key, half->key_length);
		(void)putchar('}');
	}
	(void)fputs("],\n", stdout);
}

void
inspect_print_json(const struct inspection *inspection)
{
	const struct verdict *verdict = &inspection->verdict;
	const struct state *state = &verdict->state;

	(void)fputs("{\n  \"directory\": ", stdout);
	write_json(inspection->directory, strlen(inspection->directory));
	(void)printf(",\n  \"open\": %s,\n  \"begins\": %" PRIu64 ",\n  \"ends\": %" PRIu64
		     ",\n  \"messages\": %" PRIu64 ",\n  \"bytes\": %" PRIu64
		     ",\n  \"spares\": %zu,\n",
		     verdict->has_writer ? "true" : "false", verdict->begins, verdict->ends,
		     state->messages, state->bytes, inspection->spares);
	(void)printf("  \"torn\": %" PRIu64 ",\n  \"left_out\": %" PRIu64
		     ",\n  \"damages\": %" PRIu64 ",\n",
		     verdict->is_torn ? verdict->tail.length : 0, state->left_out,
		     verdict->damages);
	print_segments(verdict);
	print_readers(inspection);
	print_halves(verdict);
	(void)printf("  \"kept_from\": %" PRIu64, kept_from(verdict));
	(void)puts("\n}");
}
