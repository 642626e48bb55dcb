/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two ways in which a queue's figures are written down.
 */
#include <conveyor/stats.h>

#include <conveyor/queue.h>

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

/* A distinct figure everywhere. */
static const struct queue_stats sample = {
	.capacity = 1024,
	.depth = 12,
	.pushed = 123456789,
	.popped = 123450000,
	.rejected = 17,
	.discarded = 18,
	.evicted = 6000,
	.ran = 19,
	.expired = 777,
	.closed_rejected = 20,
	.spilled = 23,
	.backlog = 5,
	.waits = 21,
	.wakes = 22,
	.sojourn_samples = 5000,
	.sojourn_p50 = 850,
	.sojourn_p90 = 1250,
	.sojourn_p99 = 12500000,
	.sojourn_max = 123456789012,
};

static char *
printed(const struct queue_stats *stats)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	cr_assert_not_null(stream);
	cr_assert_eq(queue_stats_print(stream, stats), 0);
	fclose(stream);
	return text;
}

static char *
exposed(const char *name, const struct queue_stats *stats)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	cr_assert_not_null(stream);
	cr_assert_eq(queue_stats_prometheus(stream, name, stats), 0);
	fclose(stream);
	return text;
}

/* ---- For people ----------------------------------------------------------------------------- */

Test(stats, print_shows_every_figure_in_a_few_aligned_lines)
{
	char *text = printed(&sample);

	cr_assert_eq(
		strcmp(text,
		       "depth      12   pushed  123456789   rejected        17   waits 21\n"
		       "capacity 1024   popped  123450000   discarded       18   wakes 22\n"
		       "backlog     5   evicted      6000   ran             19\n"
		       "spilled    23   expired       777   closed_rejected 20\n"
		       "sojourn p50 850 ns   p90 1.25 us   p99 12.5 ms   max 123 s   (5000 samples)\n"),
		0, "%s", text);
	free(text);
}

Test(stats, print_says_that_a_queue_is_closed_and_that_nothing_was_sampled)
{
	const struct queue_stats stats = {.capacity = 1, .closed = 1};
	char *text = printed(&stats);

	cr_assert_eq(strcmp(text, "depth    0   pushed  0   rejected        0   waits 0\n"
				  "capacity 1   popped  0   discarded       0   wakes 0\n"
				  "backlog  0   evicted 0   ran             0\n"
				  "spilled  0   expired 0   closed_rejected 0\n"
				  "sojourn not sampled yet   closed\n"),
		     0, "%s", text);
	free(text);
}

Test(stats, print_takes_the_greatest_figures)
{
	struct queue_stats stats;
	char *text, *line;

	memset(&stats, 0xff, sizeof stats);
	text = printed(&stats);
	cr_assert_not_null(strstr(text, "pushed  18446744073709551615   "));
	cr_assert_not_null(strstr(text, "max 18446744074 s"));
	/* The columns stand below each other, and no line ends in a blank. */
	line = strchr(text, '\n') + 1;
	cr_assert_eq(strstr(line, "popped") - line, strstr(text, "pushed") - text);
	cr_assert_null(strstr(text, " \n"));
	free(text);
}

Test(stats, print_gives_times_three_digits_and_a_unit)
{
	static const struct {
		uint64_t nanoseconds;
		const char *text;
	} times[] = {
		{0, "max 0 ns "},
		{7, "max 7 ns "},
		{999, "max 999 ns "},
		{1000, "max 1.00 us "},
		{1005, "max 1.00 us "},
		{9994, "max 9.99 us "},
		{9996, "max 10.0 us "},
		{99949, "max 99.9 us "},
		{99951, "max 100 us "},
		{999499, "max 999 us "},
		{999501, "max 1.00 ms "},
		{123400000, "max 123 ms "},
		{999600000, "max 1.00 s "},
		{UINT64_C(59900000000), "max 59.9 s "},
		{UINT64_C(7200000000000), "max 7200 s "},
	};

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		struct queue_stats stats = {.sojourn_samples = 1};
		char *text;

		stats.sojourn_max = times[i].nanoseconds;
		text = printed(&stats);
		cr_assert_not_null(strstr(text, times[i].text), "%s: %s", times[i].text, text);
		free(text);
	}
}

/* ---- For scrapers --------------------------------------------------------------------------- */

Test(stats, prometheus_writes_help_type_and_value_of_every_figure)
{
	char *text = exposed("shop:orders_2", &sample);
	static const char *const lines[] = {
		"# HELP shop:orders_2_pushed_total ",
		"# TYPE shop:orders_2_capacity gauge\nshop:orders_2_capacity 1024\n",
		"# TYPE shop:orders_2_depth gauge\nshop:orders_2_depth 12\n",
		"# TYPE shop:orders_2_closed gauge\nshop:orders_2_closed 0\n",
		"# TYPE shop:orders_2_pushed_total counter\nshop:orders_2_pushed_total 123456789\n",
		"# TYPE shop:orders_2_popped_total counter\nshop:orders_2_popped_total 123450000\n",
		"# TYPE shop:orders_2_rejected_total counter\nshop:orders_2_rejected_total 17\n",
		"# TYPE shop:orders_2_discarded_total counter\nshop:orders_2_discarded_total 18\n",
		"# TYPE shop:orders_2_evicted_total counter\nshop:orders_2_evicted_total 6000\n",
		"# TYPE shop:orders_2_ran_total counter\nshop:orders_2_ran_total 19\n",
		"# TYPE shop:orders_2_expired_total counter\nshop:orders_2_expired_total 777\n",
		"# TYPE shop:orders_2_closed_rejected_total counter\n"
		"shop:orders_2_closed_rejected_total 20\n",
		"# TYPE shop:orders_2_spilled_total counter\nshop:orders_2_spilled_total 23\n",
		"# TYPE shop:orders_2_backlog gauge\nshop:orders_2_backlog 5\n",
		"# TYPE shop:orders_2_waits_total counter\nshop:orders_2_waits_total 21\n",
		"# TYPE shop:orders_2_wakes_total counter\nshop:orders_2_wakes_total 22\n",
		"# TYPE shop:orders_2_sojourn_seconds summary\n"
		"shop:orders_2_sojourn_seconds{quantile=\"0.5\"} 0.000000850\n"
		"shop:orders_2_sojourn_seconds{quantile=\"0.9\"} 0.000001250\n"
		"shop:orders_2_sojourn_seconds{quantile=\"0.99\"} 0.012500000\n"
		"shop:orders_2_sojourn_seconds_count 5000\n",
		"# TYPE shop:orders_2_sojourn_seconds_max gauge\n"
		"shop:orders_2_sojourn_seconds_max 123.456789012\n",
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		cr_assert_not_null(strstr(text, lines[i]), "%s: %s", lines[i], text);
	free(text);
}

/* One line of the format; what it belongs to is checked against the TYPE line before. */
static bool
is_well_formed(const char *line, char *family)
{
	char name[64], kind[16], value[64];
	const char *rest;
	int length = 0;
	char *end;

	if (sscanf(line, "# HELP %63s %n", name, &length) == 1)
		return line[length] != '\0';
	if (sscanf(line, "# TYPE %63s %15s%n", name, kind, &length) == 2) {
		strcpy(family, name);
		return line[length] == '\0' &&
		       (strcmp(kind, "counter") == 0 || strcmp(kind, "gauge") == 0 ||
			strcmp(kind, "summary") == 0);
	}
	length = (int)strcspn(line, "{ ");
	if (strncmp(line, family, strlen(family)) != 0)
		return false;
	rest = line + length;
	if (*rest == '{') {
		rest = strchr(rest, '}');
		if (!rest)
			return false;
		rest++;
	}
	if (sscanf(rest, " %63s%n", value, &length) != 1 || rest[length] != '\0')
		return false;
	(void)strtod(value, &end);
	return *end == '\0';
}

Test(stats, prometheus_writes_only_lines_of_the_format)
{
	struct queue_stats greatest;
	const struct queue_stats nothing = {.capacity = 1};

	memset(&greatest, 0xff, sizeof greatest);
	for (int i = 0; i < 3; i++) {
		char *text = exposed("q", i == 0 ? &sample : i == 1 ? &greatest : &nothing);
		char family[64] = "?", *line, *next;

		cr_assert_eq(text[strlen(text) - 1], '\n');
		for (line = text; *line; line = next) {
			next = strchr(line, '\n');
			*next++ = '\0';
			cr_assert(is_well_formed(line, family), "%s", line);
		}
		free(text);
	}
}

Test(stats, prometheus_writes_no_number_for_what_was_never_sampled)
{
	const struct queue_stats stats = {.capacity = 1, .closed = 1};
	char *text = exposed("q", &stats);

	cr_assert_not_null(strstr(text, "\nq_sojourn_seconds{quantile=\"0.99\"} NaN\n"));
	cr_assert_not_null(strstr(text, "\nq_sojourn_seconds_max NaN\n"));
	cr_assert_not_null(strstr(text, "\nq_sojourn_seconds_count 0\n"));
	cr_assert_not_null(strstr(text, "\nq_closed 1\n"));
	free(text);
}

Test(stats, prometheus_writes_decimal_points_in_every_locale)
{
	static const char *const locales[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "ru_RU.UTF-8"};
	char *plain = exposed("q", &sample), *text;

	for (size_t i = 0; i < sizeof locales / sizeof *locales; i++) {
		/* Where a locale is not installed there is nothing to see. */
		(void)setlocale(LC_ALL, locales[i]);
		text = exposed("q", &sample);
		cr_assert_eq(strcmp(text, plain), 0);
		free(text);
	}
	free(plain);
}

Test(stats, prometheus_refuses_what_is_not_a_metric_name_and_writes_nothing)
{
	static const char *const names[] = {
		NULL, "", " ", "9q", "a b", "a-b", "a.b", "q\n", "\xc3\xa4", "a{", "a\"", "a/b",
	};
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	cr_assert_not_null(stream);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		cr_assert_eq(queue_stats_prometheus(stream, names[i], &sample), -EINVAL);
	fclose(stream);
	cr_assert_eq(size, 0);
	free(text);
}

Test(stats, prometheus_accepts_every_metric_name)
{
	static const char *const names[] = {"q", "Q", "_", ":", "a9", "A_b:C_0", "zZ"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		free(exposed(names[i], &sample));
}

/* ---- Streams that fail ---------------------------------------------------------------------- */

Test(stats, a_stream_that_fails_is_told_and_errno_stays)
{
	FILE *stream = fopen("/dev/full", "w");

	cr_assert_not_null(stream);
	errno = 4711;
	cr_assert_eq(queue_stats_print(stream, &sample), -EIO);
	cr_assert_eq(errno, 4711);
	clearerr(stream);
	cr_assert_eq(queue_stats_prometheus(stream, "q", &sample), -EIO);
	cr_assert_eq(errno, 4711);
	fclose(stream);
}

Test(stats, a_stream_that_is_for_reading_is_told)
{
	FILE *stream = fopen("/dev/null", "r");

	cr_assert_not_null(stream);
	cr_assert_eq(queue_stats_print(stream, &sample), -EIO);
	cr_assert_eq(queue_stats_prometheus(stream, "q", &sample), -EIO);
	fclose(stream);
}

Test(stats, what_was_written_has_left_the_buffer)
{
	int ends[2];
	char text[4096];
	FILE *stream;
	ssize_t got;

	cr_assert_eq(pipe(ends), 0);
	stream = fdopen(ends[1], "w");
	cr_assert_not_null(stream);
	cr_assert_eq(queue_stats_print(stream, &sample), 0);
	got = read(ends[0], text, sizeof text);
	cr_assert_gt(got, 0);
	cr_assert_eq(text[got - 1], '\n');
	fclose(stream);
	close(ends[0]);
}

/* ---- A queue's own -------------------------------------------------------------------------- */

Test(stats, a_queues_figures_can_be_written)
{
	struct queue_options options = {.capacity = 3};
	struct queue_bounded *queue;
	struct queue_stats stats;
	char *text;
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	for (int i = 0; i < 4; i++)
		(void)queue_push(queue, NULL);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_stats(queue, &stats), 0);
	text = exposed("q", &stats);
	cr_assert_not_null(strstr(text, "\nq_capacity 3\n"));
	cr_assert_not_null(strstr(text, "\nq_depth 2\n"));
	cr_assert_not_null(strstr(text, "\nq_pushed_total 3\n"));
	cr_assert_not_null(strstr(text, "\nq_popped_total 1\n"));
	cr_assert_not_null(strstr(text, "\nq_rejected_total 1\n"));
	free(text);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}
