/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log cat: the messages that there are, in their order. */
#include "command.h"
#include "print.h"
#include "state.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>

struct cat {
	const struct options *options;
	struct look look;
	struct state state;
	const struct state_reader *reader; /* NULL: it does not matter which */
	uint64_t from;			   /* nothing before */
	uint64_t count;
	enum status status;
};

static bool
set_reader(struct options *options, const char *name, const char *text)
{
	options->reader = text;
	if (*text == '\0')
		complain("--%s: \"\" is not the name of a reader", name);
	return *text != '\0';
}

static bool
set_from(struct options *options, const char *name, const char *text)
{
	options->has_from = true;
	return read_number(name, text, 0, UINT64_MAX, &options->from);
}

static bool
set_count(struct options *options, const char *name, const char *text)
{
	return read_number(name, text, 0, UINT64_MAX, &options->count);
}

static bool
check(const struct options *options)
{
	if (options->reader && options->has_from) {
		complain("--reader does not go with --from");
		return false;
	}
	return print_check(options);
}

/* Where it begins. */
static int
begin(struct cat *cat)
{
	const struct options *options = cat->options;
	int rc;

	cat->from = options->from;
	if (options->reader) {
		rc = state_of_readers(&cat->state, &cat->look);
		if (rc < 0)
			return rc;
		cat->reader = state_reader(&cat->state, options->reader);
		if (!cat->reader) {
			complain("%s: there is no reader \"%s\"", options->directory,
				 options->reader);
			cat->status = STATUS_FAILED;
			return 0;
		}
		cat->from = cat->reader->position;
	}
	look_from(&cat->look, cat->from, false);
	return 0;
}

static void
print(struct cat *cat, const struct queue_impl_log_record *record)
{
	if (record->position < cat->from || !print_is_wanted(cat->options, record) ||
	    (cat->reader && state_is_done(cat->reader, record->position)))
		return;
	print_record(cat->options, record);
	cat->count++;
}

/* Nothing was printed yet: the oldest that there is now is as good. */
static bool
passes_gone(struct cat *cat, const struct look_event *event)
{
	if (cat->count == 0)
		return true;
	complain("%s: what follows, position %" PRIu64 ", was taken away meanwhile",
		 cat->options->directory, event->position);
	cat->status = STATUS_NOT_WHOLE;
	return false;
}

/* Nothing is there, and who asked for it may have taken the wrong log. */
static void
note_end(const struct cat *cat, uint64_t end)
{
	if (cat->options->from > end)
		complain("%s: the log ends at position %" PRIu64, cat->options->directory, end);
}

static int
print_all(struct cat *cat)
{
	struct look_event event;
	int rc;

	while (cat->count < cat->options->count && !ferror(stdout)) {
		rc = look_next(&cat->look, &event);
		if (rc == 0 && event.kind == LOOK_END && !event.is_bound)
			note_end(cat, event.position);
		if (rc < 0 || event.kind == LOOK_END)
			return rc;
		if (event.kind == LOOK_GONE && !passes_gone(cat, &event))
			return 0;
		if (event.kind == LOOK_DAMAGE && !event.is_doubled &&
		    event.position + event.length > cat->from) {
			print_damage(cat->options, &event);
			cat->status = STATUS_DAMAGED;
		}
		if (event.kind == LOOK_RECORD)
			print(cat, &event.record);
	}
	return 0;
}

static enum status
run(const struct options *options)
{
	struct cat cat = {.options = options};
	int rc = look_open(&cat.look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	rc = begin(&cat);
	if (rc == 0 && cat.status == STATUS_DONE)
		rc = print_all(&cat);
	if (rc < 0)
		cat.status = fail(options->directory, rc);
	state_clear(&cat.state);
	look_close(&cat.look);
	return cat.status;
}

static const struct option_row rows[] = {
	{0, "reader", "NAME", "from where that reader is, without what it is done with",
	 set_reader},
	{0, "from", "POSITION", "from that position on", set_from},
	{0, "count", "N", "so many at most", set_count},
	PRINT_ROWS,
};

const struct command command_cat = {
	.name = "cat",
	.about = "prints the messages, each on a line",
	.more = "On a terminal as with --escape.\n",
	ROWS(rows),
	.check = check,
	.run = run,
};
