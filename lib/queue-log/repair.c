/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log repair: cuts off a torn end, and leaves out what is damaged. */
#include "command.h"
#include "text.h"
#include "verify.h"
#include "writer.h"

#include "../log_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool
set_salvage(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->salvage = true;
}

struct repair {
	const struct options *options;
	struct look look;
	struct verdict verdict; /* before */
	struct look_event *damages;
	size_t n, capacity;
	int rc; /* of noting these */
};

/* ---- What is damaged ------------------------------------------------------------------------- */

static int
grow(struct repair *repair)
{
	size_t capacity = repair->capacity ? 2 * repair->capacity : 64;
	struct look_event *damages;

	if (repair->n < repair->capacity)
		return 0;
	damages = realloc(repair->damages, capacity * sizeof *damages);
	if (!damages)
		return -ENOMEM;
	repair->damages = damages;
	repair->capacity = capacity;
	return 0;
}

static void
note_damage(const struct look_event *event, void *opaque)
{
	struct repair *repair = opaque;

	if (repair->rc == 0)
		repair->rc = grow(repair);
	if (repair->rc == 0)
		repair->damages[repair->n++] = *event;
}

static void
print_damages(const struct repair *repair)
{
	size_t i;

	for (i = 0; i < repair->n; i++)
		verify_print_damage(&repair->damages[i], NULL);
}

/*
 * What was found before, once each, and counted as verify does: of a file that is too short
 * queue_log_open makes one that has no records at its end, and these are left out after that. What
 * makes no sense is still there.
 */
static void
print_mended(const struct repair *repair)
{
	size_t i;

	for (i = 0; i < repair->n; i++) {
		const struct look_event *damage = &repair->damages[i];

		if (damage->is_doubled) {
			(void)printf("mended: %s, header at offset %" PRIu64 "\n", damage->file,
				     damage->offset);
		} else if (!damage->is_nonsense) {
			(void)printf("left out: %s: %s\n", damage->file, damage->what);
			verify_print_place(damage);
		}
	}
}

/* ---- Leaving out ----------------------------------------------------------------------------- */

/* What queue_log_open does not look at: segments that are not needed to know the readers. */
static int
leave_out_all(struct queue_log *log, struct look *look)
{
	struct look_event event;
	int rc;

	look_from(look, 0, false);
	for (;;) {
		rc = look_next(look, &event);
		if (rc < 0 || event.kind == LOOK_END)
			return rc;
		if (event.kind != LOOK_DAMAGE || !event.is_inside)
			continue;
		rc = queue_impl_log_leave_out(log, &look->scan, event.position,
					      event.position + event.length);
		if (rc < 0)
			return rc;
	}
}

static int
mend(const struct options *options, struct look *look)
{
	struct queue_log_options own = {.flags = options->salvage ? QUEUE_LOG_SALVAGE : 0};
	struct queue_log *log;
	int rc = writer_open(&log, look, options->directory, &own), closed;

	if (rc < 0)
		return rc;
	if (options->salvage)
		rc = leave_out_all(log, look);
	closed = queue_log_close(log);
	return rc < 0 ? rc : closed;
}

/* ---- The command ----------------------------------------------------------------------------- */

/* Whether there is anything to be done; *status is the answer when there is not, or must not. */
static bool
is_broken(const struct repair *repair, enum status *status)
{
	const struct options *options = repair->options;
	const struct verdict *verdict = &repair->verdict;

	if (verdict->has_writer) {
		*status = fail(options->directory, -EBUSY);
		return false;
	}
	if (verdict->damages > 0 && !options->salvage) {
		print_damages(repair);
		complain("%s: %" PRIu64 " bytes are damaged; nothing was changed.\n"
			 "Copy the directory, then leave them out by --salvage.",
			 options->directory, verdict->damaged);
		*status = STATUS_DAMAGED;
		return false;
	}
	if (verdict->damages == 0 && !verdict->is_torn) {
		(void)printf("%s: there is nothing to be repaired\n", options->directory);
		return false;
	}
	return true;
}

/* What has become of it. */
static enum status
look_again(const struct options *options, struct look *look)
{
	struct verdict verdict = {.begins = 0};
	enum status status = STATUS_DONE;
	int rc = verify_read(look, &verdict, verify_print_damage, NULL);

	if (rc < 0)
		status = fail(options->directory, rc);
	else if (verdict.damages > 0)
		status = STATUS_DAMAGED;
	if (status == STATUS_DONE)
		(void)printf("%s: repaired; %" PRIu64 " message%s, positions %" PRIu64
			     " to %" PRIu64 "\n",
			     options->directory, verdict.state.messages,
			     plural(verdict.state.messages), verdict.begins, verdict.ends);
	else if (status == STATUS_DAMAGED)
		complain("%s: that could not be left out", options->directory);
	verify_clear(&verdict);
	return status;
}

static enum status
mend_and_tell(struct repair *repair)
{
	const struct verdict *verdict = &repair->verdict;
	int rc = mend(repair->options, &repair->look);

	if (rc < 0) {
		/* Some of it may be left out now. */
		print_damages(repair);
		return fail(repair->options->directory, rc);
	}
	print_mended(repair);
	if (verdict->is_torn)
		(void)printf("cut off: %" PRIu64 " byte%s behind position %" PRIu64 "\n",
			     verdict->tail.length, plural(verdict->tail.length), verdict->ends);
	return look_again(repair->options, &repair->look);
}

static enum status
repair(struct repair *repair)
{
	const struct options *options = repair->options;
	enum status status = STATUS_DONE;
	int rc = verify_read(&repair->look, &repair->verdict, note_damage, repair);

	if (rc == 0)
		rc = repair->rc;
	if (rc < 0)
		status = fail(options->directory, rc);
	else if (is_broken(repair, &status))
		status = mend_and_tell(repair);
	return status;
}

static enum status
run(const struct options *options)
{
	struct repair one = {.options = options};
	enum status status;
	int rc = look_open(&one.look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	status = repair(&one);
	free(one.damages);
	verify_clear(&one.verdict);
	look_close(&one.look);
	return status;
}

static const struct option_row rows[] = {
	{0, "salvage", NULL, "leave out what is damaged, for ever", set_salvage},
};

const struct command command_repair = {
	.name = "repair",
	.about = "cuts off a torn end; with --salvage leaves out what is damaged",
	.more = "What is lost is printed. Copy the directory before you use --salvage.\n",
	ROWS(rows),
	.run = run,
};
