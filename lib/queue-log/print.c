/* SPDX-License-Identifier: BSD-2-Clause */
#include "print.h"

#include "state.h"
#include "text.h"

#include <inttypes.h>

bool
print_set_raw(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->raw = true;
}

bool
print_set_positions(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->positions = true;
}

bool
print_set_escape(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->escape = true;
}

bool
print_set_records(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->records = true;
}

bool
print_check(const struct options *options)
{
	if (options->raw && (options->positions || options->escape || options->records)) {
		complain("--raw does not go with --%s", options->positions ? "positions"
							: options->escape  ? "escape"
									   : "records");
		return false;
	}
	return true;
}

bool
print_is_wanted(const struct options *options, const struct queue_impl_log_record *record)
{
	return options->records || record->message;
}

static bool
escapes(const struct options *options)
{
	return !options->raw && (options->escape || options->records || is_output_terminal());
}

static void
print_bytes(const struct options *options, struct bytes bytes)
{
	if (escapes(options))
		write_escaped(bytes.at, bytes.length);
	else if (bytes.length > 0)
		(void)fwrite(bytes.at, 1, bytes.length, stdout);
}

/* ---- Records --------------------------------------------------------------------------------- */

static void
print_reader(const struct options *options, const struct queue_impl_log_record *record)
{
	struct state_reader_record reader;

	if (!state_read_reader(record, &reader)) {
		(void)fputs("makes no sense", stdout);
		return;
	}
	print_bytes(options, reader.name);
	(void)printf(", all before %" PRIu64 " acknowledged, before %" PRIu64 " delivered",
		     reader.position, reader.high);
	if (reader.n > 0)
		(void)printf(", %" PRIu32 " exception%s", reader.n, reader.n == 1 ? "" : "s");
}

static void
print_prepare(const struct options *options, const struct queue_impl_log_record *record)
{
	struct state_prepare_record half;

	if (!state_read_prepare(record, &half)) {
		(void)fputs("makes no sense", stdout);
		return;
	}
	(void)printf("%" PRIu64 " ", half.id);
	print_bytes(options, half.key);
	(void)fputs(": ", stdout);
	print_bytes(options, half.message);
}

static void
print_durable(const struct queue_impl_log_record *record)
{
	char text[TIME_TEXT];

	(void)printf("all before %" PRIu64, record->position - (uint64_t)record->aux * 8);
	if (record->size == 8)
		(void)printf(", %s", time_text(text, state_word(record)));
}

static const char *
kind_name(uint8_t kind)
{
	static const char *const names[] = {
		"?",	   "message",  "durable", "end",    "gap",	"reader",
		"removed", "complete", "prepare", "commit", "rollback", "checked",
	};

	return names[kind < sizeof names / sizeof *names ? kind : 0];
}

static void
print_own(const struct options *options, const struct queue_impl_log_record *record)
{
	switch (record->kind) {
	case QUEUE_IMPL_LOG_DURABLE:
		print_durable(record);
		break;
	case QUEUE_IMPL_LOG_GAP:
		(void)printf("%" PRIu64 " bytes are left out", (uint64_t)record->aux * 8);
		break;
	case QUEUE_IMPL_LOG_READER:
		print_reader(options, record);
		break;
	case QUEUE_IMPL_LOG_PREPARE:
		print_prepare(options, record);
		break;
	case QUEUE_IMPL_LOG_COMMIT:
		(void)printf("%" PRIu64 ": ", state_word(record));
		print_bytes(options, state_message(record));
		break;
	case QUEUE_IMPL_LOG_COMPLETE:
		(void)printf("all is known from %" PRIu64 " on", state_word(record));
		break;
	case QUEUE_IMPL_LOG_ROLLBACK:
	case QUEUE_IMPL_LOG_CHECKED:
		(void)printf("%" PRIu64, state_word(record));
		break;
	default:
		print_bytes(options, (struct bytes){record->data, record->size});
	}
}

void
print_record(const struct options *options, const struct queue_impl_log_record *record)
{
	if (options->positions || options->records)
		(void)printf("%" PRIu64 " ", record->position);
	if (options->records) {
		(void)printf("%s ", kind_name(record->kind));
		print_own(options, record);
	} else {
		print_bytes(options, state_message(record));
	}
	if (!options->raw)
		(void)putchar('\n');
}

void
print_damage(const struct options *options, const struct look_event *event)
{
	complain("%s/%s: damaged at position %" PRIu64 ":\n%" PRIu64 " bytes, %s",
		 options->directory, event->file, event->position, event->length, event->what);
}
