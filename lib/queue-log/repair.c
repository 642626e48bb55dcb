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

static bool
set_salvage(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->salvage = true;
}

/* ---- Leaving out ----------------------------------------------------------------------------- */

static void
print_left_out(const char *file, uint64_t offset, uint64_t position, uint64_t length)
{
	progress_end();
	(void)printf("left out: %s, offset %" PRIu64 ", %" PRIu64 " bytes, position %" PRIu64 "\n",
		     file, offset, length, position);
}

/* queue_log_open has come upon it. */
static void
on_damage(const struct queue_log_damage *damage, void *unused)
{
	(void)unused;
	print_left_out(damage->file, damage->offset, damage->position, damage->length);
}

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
		print_left_out(event.file, event.offset, event.position, event.length);
	}
}

static int
mend(const struct options *options, struct look *look)
{
	struct queue_log_options own = {
		.flags = options->salvage ? QUEUE_LOG_SALVAGE : 0,
		.on_damage = on_damage,
	};
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
is_broken(const struct options *options, const struct verdict *verdict, enum status *status)
{
	if (verdict->has_writer) {
		*status = fail(options->directory, -EBUSY);
		return false;
	}
	if (verdict->damages > 0 && !options->salvage) {
		complain("%s: %" PRIu64 " bytes are damaged; nothing was changed. Copy the "
			 "directory, then leave them out by --salvage",
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
		(void)printf("%s: repaired; %" PRIu64 " messages, positions %" PRIu64 " to %" PRIu64
			     "\n",
			     options->directory, verdict.state.messages, verdict.begins,
			     verdict.ends);
	else if (status == STATUS_DAMAGED)
		complain("%s: that could not be left out", options->directory);
	verify_clear(&verdict);
	return status;
}

static enum status
repair(const struct options *options, struct look *look)
{
	enum status status = STATUS_DONE;
	struct verdict verdict = {.begins = 0};
	bool breaks = false;
	int rc = verify_read(look, &verdict, options->salvage ? NULL : verify_print_damage, NULL);

	if (rc < 0)
		status = fail(options->directory, rc);
	else
		breaks = is_broken(options, &verdict, &status);
	if (breaks) {
		rc = mend(options, look);
		if (rc == 0 && verdict.is_torn)
			(void)printf("cut off: %" PRIu64 " bytes behind position %" PRIu64 "\n",
				     verdict.tail.length, verdict.ends);
		status = rc < 0 ? fail(options->directory, rc) : look_again(options, look);
	}
	verify_clear(&verdict);
	return status;
}

static enum status
run(const struct options *options)
{
	enum status status;
	struct look look;
	int rc = look_open(&look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	status = repair(options, &look);
	look_close(&look);
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
