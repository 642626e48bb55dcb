/* SPDX-License-Identifier: BSD-2-Clause */
#include "verify.h"

#include "command.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
	struct look *look;
	struct verdict *verdict;
	void (*tell)(const struct look_event *event, void *context);
	void *context;
	uint64_t first, last; /* positions, for progress */
};

/* ---- The end --------------------------------------------------------------------------------- */

/*
 * The log ends here. What lies behind is torn only when nobody is writing it, and it is still the
 * same when that is known: a writer may have ended in between.
 */
static int
end_at(struct reading *reading, struct look_event *event, bool *is_end)
{
	struct look *look = reading->look;
	struct verdict *verdict = reading->verdict;
	uint64_t position = event->position;
	struct look_tail before;
	int rc;

	*is_end = true;
	verdict->ends = position;
	verdict->is_torn = false;
	verdict->has_writer = event->is_bound;
	if (event->is_bound)
		return 0;
	rc = look_at_tail(look, &verdict->tail);
	verdict->has_writer = look_has_writer(look) != 0;
	if (rc < 0 || !verdict->tail.is_torn || verdict->has_writer)
		return rc;
	before = verdict->tail;
	rc = look_next(look, event);
	if (rc < 0 || event->kind != LOOK_END || event->position != position) {
		*is_end = false;
		return rc;
	}
	rc = look_at_tail(look, &verdict->tail);
	verdict->has_writer = look_has_writer(look) != 0;
	verdict->is_torn = verdict->tail.is_torn && !verdict->has_writer &&
			   verdict->tail.length == before.length &&
			   verdict->tail.records == before.records;
	return rc;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void
note_damage(struct reading *reading, const struct look_event *event)
{
	struct verdict *verdict = reading->verdict;

	verdict->damages++;
	verdict->damaged += event->length;
	verdict->state.gap_end = event->position + event->length;
	if (reading->tell)
		reading->tell(event, reading->context);
}

/* A record whose check is right, and which does not say what it has to. */
static void
note_nonsense(struct reading *reading, const struct queue_impl_log_record *record)
{
	const struct look_segment *segment = &reading->look->segment;
	struct look_event event = {
		.kind = LOOK_DAMAGE,
		.position = record->position,
		.length = queue_impl_log_extent(record->size),
		.offset = QUEUE_IMPL_LOG_HEADER + (record->position - segment->base),
		.what = "a record of the log's own that makes no sense",
		.is_nonsense = true,
	};

	queue_impl_log_file_name(event.file, segment->base);
	note_damage(reading, &event);
}

static int
add_segment(struct verdict *verdict, const struct look_segment *segment)
{
	struct verdict_segment *segments = verdict->segments;
	size_t capacity = verdict->capacity ? 2 * verdict->capacity : 64;

	if (verdict->n_segments == verdict->capacity) {
		segments = realloc(segments, capacity * sizeof *segments);
		if (!segments)
			return -ENOMEM;
		verdict->segments = segments;
		verdict->capacity = capacity;
	}
	if (verdict->n_segments == 0)
		verdict->begins = segment->base;
	segments[verdict->n_segments++] = (struct verdict_segment){.segment = *segment};
	return 0;
}

static int
add_record(struct reading *reading, const struct queue_impl_log_record *record)
{
	struct verdict *verdict = reading->verdict;
	struct verdict_segment *last = &verdict->segments[verdict->n_segments - 1];
	uint64_t messages = verdict->state.messages;
	int rc = state_add(&verdict->state, record);

	last->messages += verdict->state.messages - messages;
	last->used = record->position - last->segment.base + queue_impl_log_extent(record->size);
	if (rc != -EILSEQ)
		return rc;
	note_nonsense(reading, record);
	return 0;
}

static int
take_event(struct reading *reading, const struct look_event *event)
{
	struct verdict *verdict = reading->verdict;
	int rc = 0;

	switch (event->kind) {
	case LOOK_SEGMENT:
		rc = add_segment(verdict, &reading->look->segment);
		break;
	case LOOK_RECORD:
		rc = add_record(reading, &event->record);
		break;
	case LOOK_DAMAGE:
		note_damage(reading, event);
		break;
	case LOOK_GONE:
		/* All before is gone, too. */
		state_clear(&verdict->state);
		verdict->n_segments = 0;
		break;
	case LOOK_END:
		break;
	}
	progress_show("reading", event->position - reading->first, reading->last - reading->first);
	return rc;
}

int
verify_read(struct look *look, struct verdict *verdict,
	    void (*tell)(const struct look_event *event, void *context), void *context)
{
	struct reading reading = {look, verdict, tell, context, 0, 0};
	struct look_event event;
	bool is_end = false;
	int rc;

	rc = look_extent(look, &reading.first, &reading.last);
	look_from(look, 0, false);
	if (rc == 0)
		rc = look_next(look, &event);
	while (rc == 0 && !is_end) {
		if (event.kind == LOOK_END) {
			/* That takes up what comes instead of the end. */
			rc = end_at(&reading, &event, &is_end);
			continue;
		}
		rc = take_event(&reading, &event);
		if (rc == 0)
			rc = look_next(look, &event);
	}
	progress_end();
	return rc;
}

void
verify_clear(struct verdict *verdict)
{
	state_clear(&verdict->state);
	free(verdict->segments);
	verdict->segments = NULL;
	verdict->n_segments = verdict->capacity = 0;
}

/* ---- The command ----------------------------------------------------------------------------- */

void
verify_print_damage(const struct look_event *event, void *unused)
{
	(void)unused;
	progress_end();
	(void)printf("%s: damaged: %s\n", event->file, event->what);
	verify_print_place(event);
}

void
verify_print_place(const struct look_event *event)
{
	(void)printf("    offset %" PRIu64 ", %" PRIu64 " bytes, position %" PRIu64 "\n",
		     event->offset, event->length, event->position);
}

static enum status
print_verdict(const struct verdict *verdict)
{
	const struct state *state = &verdict->state;

	if (state->left_out > 0)
		(void)printf("%" PRIu64 " bytes were damaged before, and are left out\n",
			     state->left_out);
	if (verdict->is_torn)
		(void)printf("torn: %" PRIu64 " byte%s behind position %" PRIu64 ", %" PRIu64
			     " whole record%s among them\n",
			     verdict->tail.length, plural(verdict->tail.length), verdict->ends,
			     verdict->tail.records, plural(verdict->tail.records));
	if (verdict->has_writer)
		(void)puts("a program has it open");
	(void)printf("%s: %zu file%s, %" PRIu64 " message%s, positions %" PRIu64 " to %" PRIu64
		     "\n",
		     verdict->damages > 0 ? "damaged"
		     : verdict->is_torn	  ? "torn"
					  : "intact",
		     verdict->n_segments, plural(verdict->n_segments), state->messages,
		     plural(state->messages), verdict->begins, verdict->ends);
	return verdict->damages > 0 ? STATUS_DAMAGED
	       : verdict->is_torn   ? STATUS_NOT_WHOLE
				    : STATUS_DONE;
}

static enum status
verify(const struct options *options)
{
	struct verdict verdict = {.begins = 0};
	enum status status;
	struct look look;
	int rc = look_open(&look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	rc = verify_read(&look, &verdict, verify_print_damage, NULL);
	status = rc < 0 ? fail(options->directory, rc) : print_verdict(&verdict);
	verify_clear(&verdict);
	look_close(&look);
	return status;
}

const struct command command_verify = {
	.name = "verify",
	.about = "reads all of it, and says where it is damaged",
	.more = "Exit status: 0 intact; 1 the end is torn: what was being written when the writer\n"
		"was stopped is no message, and is cut off when the log is opened the next time;\n"
		"2 damaged, or wrong usage; 4 it could not be read.\n",
	.run = verify,
};
