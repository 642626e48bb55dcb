/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log purge: forgets readers, and lets old messages go. */
#include "command.h"
#include "state.h"
#include "text.h"
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct purge {
	const struct options *options;
	struct look look;
	struct state state;
	uint64_t *bases; /* of the files before */
	size_t n_bases;
	uint64_t disk; /* bytes of all files in the directory before */
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
set_keep_bytes(struct options *options, const char *name, const char *text)
{
	return read_bytes(name, text, &options->keep_bytes);
}

static bool
set_keep_age(struct options *options, const char *name, const char *text)
{
	return read_time(name, text, &options->keep_age);
}

static bool
set_all(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->all = true;
}

static bool
check(const struct options *options)
{
	if (options->all && (options->keep_bytes || options->keep_age)) {
		complain("--all does not go with --keep-%s", options->keep_bytes ? "bytes" : "age");
		return false;
	}
	if (!options->all && !options->reader && !options->keep_bytes && !options->keep_age) {
		complain("what is to go? one of --reader, --keep-bytes, --keep-age, --all");
		return false;
	}
	return true;
}

/* ---- Before and after ------------------------------------------------------------------------ */

struct sum {
	int directory;
	uint64_t bytes;
};

static void
add_size(const char *name, void *opaque)
{
	struct sum *sum = opaque;
	struct stat file;

	if (fstatat(sum->directory, name, &file, AT_SYMLINK_NOFOLLOW) == 0)
		sum->bytes += (uint64_t)file.st_size;
}

static int
sum_of_sizes(const struct look *look, uint64_t *bytes)
{
	struct sum sum = {look->directory, 0};
	int rc = look->disk->list(look->disk->context, look->directory, add_size, &sum);

	*bytes = sum.bytes;
	return rc;
}

static int
look_before(struct purge *purge)
{
	struct look *look = &purge->look;
	int rc = state_of_readers(&purge->state, look);

	if (rc == 0)
		rc = look_list(look);
	if (rc == 0)
		rc = sum_of_sizes(look, &purge->disk);
	if (rc < 0)
		return rc;
	purge->bases = calloc(look->n_bases + 1, sizeof *purge->bases);
	if (!purge->bases)
		return -ENOMEM;
	memcpy(purge->bases, look->bases, look->n_bases * sizeof *purge->bases);
	purge->n_bases = look->n_bases;
	return 0;
}

/* Files go from the oldest on, so all before the oldest that is left have gone. */
static int
print_freed(struct purge *purge)
{
	struct look *look = &purge->look;
	char before[SIZE_TEXT], after[SIZE_TEXT], name[QUEUE_IMPL_LOG_FILE_NAME];
	uint64_t disk = 0, begins;
	size_t i;
	int rc = look_list(look);

	if (rc == 0)
		rc = sum_of_sizes(look, &disk);
	if (rc < 0)
		return rc;
	begins = look->n_bases > 0 ? look->bases[0] : 0;
	for (i = 0; i < purge->n_bases && purge->bases[i] < begins; i++) {
		uint64_t end = i + 1 < purge->n_bases && purge->bases[i + 1] < begins
				       ? purge->bases[i + 1]
				       : begins;

		queue_impl_log_file_name(name, purge->bases[i]);
		(void)printf("freed: %s, positions %" PRIu64 " to %" PRIu64 "\n", name,
			     purge->bases[i], end);
	}
	(void)printf("%zu of %zu file%s freed, %" PRIu64 " bytes of the log\n", i, purge->n_bases,
		     plural(purge->n_bases), i > 0 ? begins - purge->bases[0] : 0);
	(void)printf("the directory had %s, and has %s\n", size_text(before, purge->disk),
		     size_text(after, disk));
	return 0;
}

/* ---- Letting go ------------------------------------------------------------------------------ */

static void
print_reader(const char *what, const struct state_reader *reader)
{
	(void)printf("%s: reader ", what);
	write_escaped((const unsigned char *)reader->name, strlen(reader->name));
	(void)printf(", which was at position %" PRIu64 "\n", reader->position);
}

static int
forget(struct purge *purge, struct queue_log *log)
{
	const struct state_reader *reader = state_reader(&purge->state, purge->options->reader);
	int rc = queue_log_reader_remove(log, purge->options->reader);

	if (rc == 0 && reader)
		print_reader("forgotten", reader);
	return rc;
}

/* What it has not acknowledged, it will not get: as if it were new, and began at the end. */
static int
advance(struct queue_log *log, const struct state_reader *old)
{
	const struct queue_log_reader_options options = {.start = QUEUE_LOG_TAIL};
	struct queue_log_reader *reader;
	int rc = queue_log_reader_remove(log, old->name);

	if (rc == 0)
		rc = queue_log_reader_open(log, old->name, &options, &reader);
	if (rc == 0)
		rc = queue_log_reader_close(reader);
	if (rc == 0)
		print_reader("acknowledged", old);
	return rc;
}

static int
let_go(struct purge *purge, struct queue_log *log)
{
	const struct options *options = purge->options;
	size_t i;
	int rc = 0;

	if (options->reader)
		rc = forget(purge, log);
	for (i = 0; options->all && rc == 0 && i < purge->state.n_readers; i++)
		if (!options->reader || strcmp(options->reader, purge->state.readers[i].name) != 0)
			rc = advance(log, &purge->state.readers[i]);
	return rc < 0 ? rc : writer_stir(log);
}

static int
purge_log(struct purge *purge)
{
	const struct options *options = purge->options;
	struct queue_log_options own = {
		/* Without readers nothing would go. */
		.retain_bytes = options->all ? 1 : options->keep_bytes,
		.retain_age = options->keep_age,
	};
	struct queue_log *log;
	int rc = writer_open(&log, &purge->look, options->directory, &own), closed;

	if (rc < 0)
		return rc;
	rc = let_go(purge, log);
	closed = queue_log_close(log);
	return rc < 0 ? rc : closed;
}

static enum status
run(const struct options *options)
{
	struct purge purge = {.options = options};
	enum status status = STATUS_DONE;
	int rc = look_open(&purge.look, options->directory);

	if (rc < 0)
		return fail(options->directory, rc);
	rc = look_before(&purge);
	if (rc == 0 && options->reader && !state_reader(&purge.state, options->reader)) {
		complain("%s: there is no reader \"%s\"", options->directory, options->reader);
		status = STATUS_FAILED;
	} else {
		if (rc == 0)
			rc = purge_log(&purge);
		if (rc == 0)
			rc = print_freed(&purge);
		if (rc < 0)
			status = fail(options->directory, rc);
	}
	free(purge.bases);
	state_clear(&purge.state);
	look_close(&purge.look);
	return status;
}

static const struct option_row rows[] = {
	{0, "reader", "NAME", "forget that reader", set_reader},
	{0, "keep-bytes", "N", "keep no more than about so many bytes (64K, 16M, 2G)",
	 set_keep_bytes},
	{0, "keep-age", "TIME", "keep nothing that is older (90s, 15m, 12h, 7d)", set_keep_age},
	{0, "all", NULL, "all readers are done with all messages", set_all},
};

const struct command command_purge = {
	.name = "purge",
	.about = "forgets readers, and frees files of old messages",
	.more = "Whole files go, from the oldest on, and never the last one. What has gone is\n"
		"printed.\n",
	ROWS(rows),
	.check = check,
	.run = run,
};
