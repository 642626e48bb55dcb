/* SPDX-License-Identifier: BSD-2-Clause */
/* The report: all suites one after the other, in files, as a page, and in a few lines of text. */
#include "page.h"
#include "plot.h"
#include "suite.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "queue-bench-report"

#define QUICK_SECONDS 60
#define USUAL_SECONDS 900
#define FULL_SECONDS 3600

#define SUITES_MAX 16
#define SUMMARY_LINES 7 /* of those ahead, and of those behind */

struct report {
	const struct bench_options *options;
	struct bench_results results;
	struct bench_machine machine;
	struct bench_verdicts verdicts;
	struct bench_questions questions;
	struct bench_plots plots;
	struct bench_failure failures[SUITES_MAX];
	size_t failures_count;
	const char *directory;
};

/* Says which file, or directory; returns the negative errno. */
static int
complain(const char *path, int rc)
{
	(void)fprintf(stderr, "queue-bench: %s: %s\n", path, strerror(-rc));
	return rc;
}

/* ---- Measuring --------------------------------------------------------------------------------- */

static double
whole_time(const struct bench_options *options)
{
	if (options->seconds > 0)
		return options->seconds;
	return options->quick ? QUICK_SECONDS : options->full ? FULL_SECONDS : USUAL_SECONDS;
}

/* A suite that cannot measure is told of, and is no reason to give up the others. */
static void
run_suites(struct report *report, const struct bench_suite *const *suites)
{
	double seconds = whole_time(report->options), shares = 0;
	size_t i;

	for (i = 0; suites[i]; i++)
		shares += suites[i]->share;
	for (i = 0; suites[i]; i++) {
		int rc = suites[i]->run(report->options, seconds * suites[i]->share / shares,
					&report->results);

		bench_report_progress_end(report->options);
		if (rc == 0)
			continue;
		(void)complain(suites[i]->name, rc);
		if (report->failures_count < SUITES_MAX)
			report->failures[report->failures_count++] =
				(struct bench_failure){suites[i]->name, rc};
	}
}

/* ---- Files ------------------------------------------------------------------------------------- */

/* Before anything is measured: that the report cannot be written is not to be learned after. */
static int
prepare_directory(const char *directory)
{
	struct stat status;

	if (mkdir(directory, 0777) != 0 && errno != EEXIST)
		return complain(directory, -errno);
	if (stat(directory, &status) != 0)
		return complain(directory, -errno);
	if (!S_ISDIR(status.st_mode))
		return complain(directory, -ENOTDIR);
	if (access(directory, W_OK | X_OK) != 0)
		return complain(directory, -errno);
	return 0;
}

static void
how_long(const struct bench_options *options, char *text, size_t size)
{
	const char *name = options->quick ? "--quick" : options->full ? "--full" : "";

	if (options->seconds > 0)
		(void)snprintf(text, size, "%s%s--seconds %g", name, *name ? " " : "",
			       options->seconds);
	else
		(void)snprintf(text, size, "%s", name);
}

/* The command that repeats this run; what chooses cells is not in it when it is the usual. */
static void
write_command(const struct report *report, FILE *to)
{
	const struct bench_options *options = report->options;
	char length[64];
	size_t i;

	how_long(options, length, sizeof length);
	(void)fprintf(to, "build/bench/queue-bench report%s%s --seed %ju", *length ? " " : "",
		      length, (uintmax_t)options->seed);
	if (options->rounds)
		(void)fprintf(to, " --rounds %u", options->rounds);
	if (options->directory)
		(void)fprintf(to, " --directory %s", options->directory);
	for (i = 0; i < options->only_count; i++)
		(void)fprintf(to, "%s%s", i ? "," : " --only ", options->only[i]->name);
	for (i = 0; i < options->threads_count; i++)
		(void)fprintf(to, "%s%ux%u", i ? "," : " --threads ", options->threads[i].producers,
			      options->threads[i].consumers);
	for (i = 0; i < options->capacity_count; i++)
		(void)fprintf(to, "%s%ju", i ? "," : " --capacity ",
			      (uintmax_t)options->capacity[i]);
	for (i = 0; i < options->batch_count; i++)
		(void)fprintf(to, "%s%u", i ? "," : " --batch ", options->batch[i]);
	for (i = 0; i < options->payload_count; i++)
		(void)fprintf(to, "%s%u", i ? "," : " --payload ", options->payload[i]);
	for (i = 0; i < options->pin_count; i++)
		(void)fprintf(to, "%s%s", i ? "," : " --pin ", bench_pin_name(options->pin[i]));
}

static void
write_json(const struct report *report, FILE *to)
{
	bench_results_json(&report->results, &report->machine, to);
}

static void
write_csv(const struct report *report, FILE *to)
{
	bench_results_csv(&report->results, to);
}

static void
write_page(const struct report *report, FILE *to)
{
	char length[64], *command = NULL;
	size_t size = 0;
	FILE *memory = open_memstream(&command, &size);
	struct bench_page page;

	how_long(report->options, length, sizeof length);
	if (memory) {
		write_command(report, memory);
		if (fclose(memory) != 0)
			size = 0;
	}
	memset(&page, 0, sizeof page);
	page.results = &report->results;
	page.machine = &report->machine;
	page.verdicts = &report->verdicts;
	page.questions = &report->questions;
	page.plots = &report->plots;
	page.failures = report->failures;
	page.failures_count = report->failures_count;
	page.length = length;
	page.command = size ? command : "build/bench/queue-bench report";
	bench_page_write(&page, to);
	free(command);
}

static void
path_of(const struct report *report, const char *name, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/%s", report->directory, name);
}

static int
write_file(const struct report *report, const char *name,
	   void (*write)(const struct report *report, FILE *to))
{
	char path[PATH_MAX];
	bool failed;
	FILE *to;

	path_of(report, name, path, sizeof path);
	to = fopen(path, "w");
	if (!to)
		return complain(path, -errno);
	errno = 0;
	write(report, to);
	failed = fflush(to) != 0 || ferror(to);
	if (failed) {
		int rc = errno ? -errno : -EIO;

		(void)fclose(to);
		return complain(path, rc);
	}
	return fclose(to) == 0 ? 0 : complain(path, -errno);
}

static const char json_name[] = "results.json";
static const char csv_name[] = "results.csv";
static const char page_name[] = "report.html";

static int
write_files(struct report *report)
{
	char path[PATH_MAX] = "";
	int rc = write_file(report, json_name, write_json);

	if (rc == 0)
		rc = write_file(report, csv_name, write_csv);
	if (rc == 0) {
		rc = bench_plots_make(&report->plots, &report->results, report->directory, path,
				      sizeof path);
		if (rc)
			return complain(path, rc);
		rc = write_file(report, page_name, write_page);
	}
	return rc;
}

/* ---- The summary ------------------------------------------------------------------------------- */

static int
by_ratio(const void *a, const void *b)
{
	const struct bench_question *x = *(const struct bench_question *const *)a;
	const struct bench_question *y = *(const struct bench_question *const *)b;

	return (x->ratio > y->ratio) - (x->ratio < y->ratio);
}

static void
print_question(const struct bench_question *question)
{
	char ratio[32] = "", limit[48] = "", label[160];

	(void)bench_figure(ratio, sizeof ratio, question->ratio);
	if (!isnan(question->efficiency))
		(void)snprintf(limit, sizeof limit, ", %.0f %% of the limit",
			       question->efficiency * 100);
	(void)snprintf(label, sizeof label, "%s: %s%s", question->suite, question->label,
		       question->single_roles ? ", single roles" : "");
	(void)printf("  %7s  %-56.56s  ahead in %zu of %zu%s\n", ratio, label, question->ahead,
		     question->count, limit);
}

static bool
belongs(const struct bench_question *question, enum bench_outcome outcome)
{
	return (question->ratio > 1) == (outcome == BENCH_AHEAD);
}

/* The furthest ahead first, or the furthest behind first. */
static void
print_questions(const struct bench_question *const *sorted, size_t count,
		enum bench_outcome outcome)
{
	size_t shown = 0, all = 0, i;

	for (i = 0; i < count; i++)
		all += belongs(sorted[i], outcome);
	if (all)
		(void)puts(outcome == BENCH_AHEAD ? "ahead of the best peer, times"
						  : "level or behind, times");
	for (i = 0; i < count && shown < SUMMARY_LINES; i++) {
		const struct bench_question *question =
			sorted[outcome == BENCH_AHEAD ? count - 1 - i : i];

		if (!belongs(question, outcome))
			continue;
		print_question(question);
		shown++;
	}
	if (all > shown)
		(void)printf("           and %zu more\n", all - shown);
}

static void
print_states(const struct report *report)
{
	size_t counts[BENCH_ABSENT + 1] = {0}, i;

	for (i = 0; i < report->results.count; i++)
		counts[report->results.rows[i].state]++;
	(void)printf("%zu figures: %zu ok, %zu stalled, %zu wrong, %zu crashed, %zu absent\n",
		     report->results.count, counts[BENCH_OK], counts[BENCH_STALLED],
		     counts[BENCH_WRONG], counts[BENCH_CRASHED], counts[BENCH_ABSENT]);
}

static void
print_paths(const struct report *report)
{
	const char *const names[] = {json_name, csv_name, page_name};
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof names / sizeof *names; i++) {
		path_of(report, names[i], path, sizeof path);
		(void)puts(path);
	}
}

/* At most 25 lines. */
static int
print_summary(const struct report *report)
{
	const struct bench_question **sorted =
		calloc(report->questions.count + 1, sizeof(struct bench_question *));
	size_t count = 0, i;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < report->questions.count; i++)
		if (report->questions.list[i].headline)
			sorted[count++] = &report->questions.list[i];
	qsort(sorted, count, sizeof(struct bench_question *), by_ratio);
	print_questions(sorted, count, BENCH_AHEAD);
	print_questions(sorted, count, BENCH_BEHIND);
	if (count == 0)
		(void)puts(
			"nothing can be compared: no other library was measured beside this one");
	free(sorted);
	print_states(report);
	if (report->plots.missing)
		(void)puts(report->plots.missing);
	print_paths(report);
	return 0;
}

/* ---- All of it --------------------------------------------------------------------------------- */

static int
judge_and_write(struct report *report)
{
	int rc = bench_judge(&report->results, &report->verdicts, &report->questions);

	if (rc)
		return rc;
	rc = write_files(report);
	if (rc)
		return rc;
	if (report->options->json)
		write_json(report, stdout);
	else if (report->options->csv)
		write_csv(report, stdout);
	else
		rc = print_summary(report);
	return rc;
}

int
bench_report(const struct bench_options *options, const struct bench_suite *const *suites)
{
	struct report report;
	int rc;

	memset(&report, 0, sizeof report);
	report.options = options;
	report.directory = options->output ? options->output : DIRECTORY;
	rc = prepare_directory(report.directory);
	if (rc)
		return rc;
	bench_machine_read(&report.machine, options->seed);
	run_suites(&report, suites);
	bench_machine_end(&report.machine, &report.results);
	rc = judge_and_write(&report);
	if (rc == 0 && (report.results.wrong || report.failures_count))
		rc = 1;
	bench_plots_clear(&report.plots);
	bench_judge_clear(&report.verdicts, &report.questions);
	bench_results_clear(&report.results);
	return rc;
}
