/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/stats.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define NANOSECONDS UINT64_C(1000000000)

/* The metrics that are plain numbers. */
static const struct figure {
	const char *name; /* what the metric's name ends in */
	const char *type;
	const char *help;
	size_t offset;
} figures[] = {
#define FIGURE(name, type, field, help)                                                            \
	{                                                                                          \
		name, type, help, offsetof(struct queue_stats, field)                              \
	}
	FIGURE("capacity", "gauge", capacity, "Items the queue can hold."),
	FIGURE("depth", "gauge", depth, "Items inside."),
	FIGURE("pushed_total", "counter", pushed, "Items that went in."),
	FIGURE("popped_total", "counter", popped, "Items that a consumer got."),
	FIGURE("rejected_total", "counter", rejected, "Pushes refused because of a full queue."),
	FIGURE("discarded_total", "counter", discarded, "Incoming items dropped by a full queue."),
	FIGURE("evicted_total", "counter", evicted, "Oldest items dropped to make room."),
	FIGURE("ran_total", "counter", ran, "Items run by their producer."),
	FIGURE("expired_total", "counter", expired, "Items dropped after their deadline."),
	FIGURE("closed_rejected_total", "counter", closed_rejected,
	       "Pushes refused because of a closed queue."),
	FIGURE("spilled_total", "counter", spilled, "Items stored in the log."),
	FIGURE("backlog", "gauge", backlog, "Items in the log."),
	FIGURE("waits_total", "counter", waits, "Times a thread went to sleep."),
	FIGURE("wakes_total", "counter", wakes, "Times a thread was woken."),
#undef FIGURE
};

static uint64_t
figure_at(const struct queue_stats *stats, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)stats + offset);
}

/* What finish puts back. */
struct before {
	int error;
	int cancel_state;
};

/* Printing is a cancellation point, and a thread that ended in it would keep the stream locked. */
static struct before
begin(FILE *stream)
{
	struct before before = {.error = errno};

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before.cancel_state);
	flockfile(stream);
	return before;
}

/* 0, or -EIO. Flushes, so that 0 means that the system has it; the caller's errno stays. */
static int
finish(FILE *stream, const struct before *before)
{
	bool failed = fflush(stream) != 0 || ferror(stream);
	int disabled;

	funlockfile(stream);
	(void)pthread_setcancelstate(before->cancel_state, &disabled);
	errno = before->error;
	return failed ? -EIO : 0;
}

/* Three digits and a unit: "850 ns", "1.25 us", "12.5 ms", "125 s". */
static void
print_time(FILE *stream, const char *label, uint64_t nanoseconds)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double value = (double)nanoseconds;
	unsigned unit = 0;
	int decimals = 0;

	/* What would be rounded to 1000 belongs to the next unit already. */
	while (unit < 3 && value >= 999.5) {
		value /= 1000;
		unit++;
	}
	if (unit > 0 && value < 99.95)
		decimals = value < 9.995 ? 2 : 1;
	fprintf(stream, "%s %.*f %s", label, decimals, value, units[unit]);
}

static int
digits_of(uint64_t value)
{
	int digits = 1;

	while (value >= 10) {
		value /= 10;
		digits++;
	}
	return digits;
}

/* What is inside, what went in and out, what did not go in, who slept: a column each. */
#define COLUMNS 4
#define LINES 4

static const struct cell {
	const char *label; /* the name of the field, so that the manual explains it; NULL: none */
	size_t offset;
} cells[COLUMNS][LINES] = {
#define CELL(field)                                                                                \
	{                                                                                          \
#field, offsetof(struct queue_stats, field)                                        \
	}
	{CELL(depth), CELL(capacity), CELL(backlog), CELL(spilled)},
	{CELL(pushed), CELL(popped), CELL(evicted), CELL(expired)},
	{CELL(rejected), CELL(discarded), CELL(ran), CELL(closed_rejected)},
	{CELL(waits), CELL(wakes), {NULL, 0}, {NULL, 0}},
#undef CELL
};

static void
print_table(FILE *stream, const struct queue_stats *stats)
{
	int labels[COLUMNS] = {0}, numbers[COLUMNS] = {0};
	int column, line, blanks;

	for (column = 0; column < COLUMNS; column++) {
		for (line = 0; line < LINES && cells[column][line].label; line++) {
			const struct cell *cell = &cells[column][line];
			int label = (int)strlen(cell->label);
			int digits = digits_of(figure_at(stats, cell->offset));

			labels[column] = label > labels[column] ? label : labels[column];
			numbers[column] = digits > numbers[column] ? digits : numbers[column];
		}
	}
	for (line = 0; line < LINES; line++) {
		/* Blanks wait for something to stand behind them: no line ends in one. */
		for (column = blanks = 0; column < COLUMNS; column++) {
			const struct cell *cell = &cells[column][line];

			if (cell->label) {
				fprintf(stream, "%*s%-*s %*" PRIu64, blanks, "", labels[column],
					cell->label, numbers[column],
					figure_at(stats, cell->offset));
				blanks = 0;
			} else {
				blanks += labels[column] + 1 + numbers[column];
			}
			blanks += 3;
		}
		fputc('\n', stream);
	}
}

int
queue_stats_print(FILE *stream, const struct queue_stats *stats)
{
	struct before before = begin(stream);

	print_table(stream, stats);
	if (stats->sojourn_samples > 0) {
		print_time(stream, "sojourn p50", stats->sojourn_p50);
		print_time(stream, "   p90", stats->sojourn_p90);
		print_time(stream, "   p99", stats->sojourn_p99);
		print_time(stream, "   max", stats->sojourn_max);
		fprintf(stream, "   (%" PRIu64 " samples)", stats->sojourn_samples);
	} else {
		fprintf(stream, "sojourn not sampled yet");
	}
	fprintf(stream, "%s\n", stats->closed ? "   closed" : "");
	return finish(stream, &before);
}

/* [a-zA-Z_:][a-zA-Z0-9_:]*, whatever the locale says about letters. */
static bool
is_metric_name(const char *name)
{
	const char *c;

	if (!name || !*name || (*name >= '0' && *name <= '9'))
		return false;
	for (c = name; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') &&
		    !(*c >= '0' && *c <= '9') && *c != '_' && *c != ':')
			return false;
	return true;
}

static void
print_head(FILE *stream, const char *name, const char *suffix, const char *type, const char *help)
{
	fprintf(stream, "# HELP %s_%s %s\n# TYPE %s_%s %s\n", name, suffix, help, name, suffix,
		type);
}

/* By integers: no locale's decimal comma, and every nanosecond is kept. */
static void
print_seconds(FILE *stream, const struct queue_stats *stats, uint64_t nanoseconds)
{
	if (stats->sojourn_samples == 0)
		fprintf(stream, " NaN\n");
	else
		fprintf(stream, " %" PRIu64 ".%09" PRIu64 "\n", nanoseconds / NANOSECONDS,
			nanoseconds % NANOSECONDS);
}

/* The text format 0.0.4, prometheus.io/docs/instrumenting/exposition_formats. */
int
queue_stats_prometheus(FILE *stream, const char *name, const struct queue_stats *stats)
{
	struct before before;
	size_t i;

	if (!is_metric_name(name))
		return -EINVAL;
	before = begin(stream);
	for (i = 0; i < sizeof figures / sizeof *figures; i++) {
		print_head(stream, name, figures[i].name, figures[i].type, figures[i].help);
		fprintf(stream, "%s_%s %" PRIu64 "\n", name, figures[i].name,
			figure_at(stats, figures[i].offset));
	}
	print_head(stream, name, "closed", "gauge", "1 once the queue is closed.");
	fprintf(stream, "%s_closed %d\n", name, stats->closed != 0);
	print_head(stream, name, "sojourn_seconds", "summary",
		   "Time from push to pop since the start, sampled.");
	fprintf(stream, "%s_sojourn_seconds{quantile=\"0.5\"}", name);
	print_seconds(stream, stats, stats->sojourn_p50);
	fprintf(stream, "%s_sojourn_seconds{quantile=\"0.9\"}", name);
	print_seconds(stream, stats, stats->sojourn_p90);
	fprintf(stream, "%s_sojourn_seconds{quantile=\"0.99\"}", name);
	print_seconds(stream, stats, stats->sojourn_p99);
	fprintf(stream, "%s_sojourn_seconds_count %" PRIu64 "\n", name, stats->sojourn_samples);
	print_head(stream, name, "sojourn_seconds_max", "gauge",
		   "The longest sampled time from push to pop.");
	fprintf(stream, "%s_sojourn_seconds_max", name);
	print_seconds(stream, stats, stats->sojourn_max);
	return finish(stream, &before);
}
