/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-bench: which suite, with which options, and what is printed in the end. */
#include "options.h"
#include "result.h"
#include "suite.h"

#include <conveyor/version.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SHOWN 512

enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1, /* wrong results, or none that could be measured or written */
	STATUS_USAGE = 2
};

#define SUITES 11

static const struct bench_suite *const suites[SUITES + 1] = {
	&bench_limits, &bench_throughput, &bench_latency, &bench_progress,
	&bench_idle,   &bench_policies,	  &bench_bucket,  &bench_pool,
	&bench_topic,  &bench_log,	  &bench_alloc,	  NULL,
};

#define REPORT "report"
#define REPORT_ABOUT "all of these, written as JSON, as CSV and as a page with plots"

/* ---- Progress ------------------------------------------------------------------------------- */

static struct {
	size_t width; /* of what stands on the terminal's last line */
	double written;
	double begun;
	char suite[32];
} shown;

static double
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static size_t
terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

/* Over what stood there. Blanks erase, for not every terminal knows more than that. */
static void
rewrite(const char *line)
{
	size_t length = strlen(line), room = terminal_width() - 1;

	if (length > room)
		length = room;
	(void)fprintf(stderr, "\r%.*s%*s", (int)length, line,
		      shown.width > length ? (int)(shown.width - length) : 0, "");
	if (length == 0)
		(void)putc('\r', stderr);
	(void)fflush(stderr);
	shown.width = length;
}

void
bench_report_progress(const struct bench_options *options, const char *suite, const char *what,
		      unsigned done, unsigned total)
{
	char line[LINE_MAX_SHOWN], left[32] = "";
	double time;

	if (!options->progress)
		return;
	time = now();
	if (strncmp(shown.suite, suite, sizeof shown.suite - 1) != 0) {
		(void)snprintf(shown.suite, sizeof shown.suite, "%s", suite);
		shown.begun = time;
	} else if (time - shown.written < 0.1) {
		return;
	}
	if (done > 0 && done < total && time - shown.begun > 1)
		(void)snprintf(left, sizeof left, ", %.0f s left",
			       (time - shown.begun) / done * (total - done));
	(void)snprintf(line, sizeof line, "%s %u of %u%s: %s", suite, done, total, left, what);
	rewrite(line);
	shown.written = time;
}

void
bench_report_progress_end(const struct bench_options *options)
{
	if (options->progress && shown.width > 0)
		rewrite("");
	*shown.suite = '\0';
}

/* ---- What is said --------------------------------------------------------------------------- */

static int
complain(const char *about, const char *reason)
{
	(void)fprintf(stderr, "queue-bench: %s%s%s\n", about, *about ? ": " : "", reason);
	return STATUS_FAILED;
}

/* What was printed may be in no file yet, and a full disk or a closed pipe shows only now. */
static int
end_output(int status)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	if (fclose(stdout) == 0 && !failed)
		return status;
	return complain("cannot write the output",
			errno ? strerror(errno) : "some of it is missing");
}

static void
print_help(void)
{
	size_t i;

	(void)puts(
		"usage: queue-bench SUITE [OPTION]...\n"
		"Measures this library's queues, those of others, and what the machine can do.\n\n"
		"Suites");
	for (i = 0; suites[i]; i++)
		(void)printf("  %-16s %s\n", suites[i]->name, suites[i]->about);
	(void)printf("  %-16s %s\n", REPORT, REPORT_ABOUT);
	bench_options_help(stdout);
	(void)puts("\nExit status: 0 measured, and a subject that stalled is no error; 1 a subject "
		   "lost,\ndoubled or reordered items or crashed, or nothing could be measured or "
		   "written;\n2 wrong usage.");
}

static void
print_results(const struct bench_options *options, const struct bench_results *results,
	      const struct bench_machine *machine)
{
	if (options->json) {
		bench_results_json(results, machine, stdout);
	} else if (options->csv) {
		bench_results_csv(results, stdout);
	} else {
		bench_machine_print(machine, stdout);
		(void)putchar('\n');
		bench_results_print(results, stdout);
	}
}

/* ---- What is done --------------------------------------------------------------------------- */

/* A single suite is shorter or longer by the factor by which its part of the report is, about. */
static double
seconds_of(const struct bench_options *options, const struct bench_suite *suite)
{
	if (options->seconds > 0)
		return options->seconds;
	return suite->seconds * (options->quick ? 0.25 : options->full ? 4 : 1);
}

static int
run_suite(const struct bench_options *options, const struct bench_suite *suite)
{
	struct bench_results results = {NULL, 0, 0, 0};
	int status = STATUS_DONE, rc;
	struct bench_machine machine;

	bench_machine_read(&machine, options->seed);
	rc = suite->run(options, seconds_of(options, suite), &results);
	bench_report_progress_end(options);
	bench_machine_end(&machine, &results);
	if (rc)
		status = complain(suite->name, strerror(-rc));
	else
		print_results(options, &results, &machine);
	if (results.wrong > 0) {
		(void)fprintf(stderr, "queue-bench: %s: %u of %zu results are wrong\n", suite->name,
			      results.wrong, results.count);
		status = STATUS_FAILED;
	}
	bench_results_clear(&results);
	return status;
}

static int
run_report(const struct bench_options *options)
{
	int rc = bench_report(options, suites);

	bench_report_progress_end(options);
	if (rc < 0)
		return complain(REPORT, strerror(-rc));
	return rc ? STATUS_FAILED : STATUS_DONE;
}

static int
run(const struct bench_options *options)
{
	size_t i;

	for (i = 0; suites[i]; i++)
		if (strcmp(suites[i]->name, options->suite) == 0)
			return run_suite(options, suites[i]);
	return run_report(options);
}

static int
parse(struct bench_options *options, int argc, char **argv)
{
	const char *names[SUITES + 2];
	char error[512];
	size_t i;

	for (i = 0; suites[i]; i++)
		names[i] = suites[i]->name;
	names[i] = REPORT;
	names[i + 1] = NULL;
	if (bench_options_parse(options, argc, argv, names, error, sizeof error)) {
		(void)complain("", error);
		return -EINVAL;
	}
	options->progress = options->progress && isatty(STDERR_FILENO);
	return 0;
}

int
main(int argc, char **argv)
{
	struct bench_options options;
	int status = STATUS_DONE;

	memset(&options, 0, sizeof options);
	/* So that a pipe closed by its reader is an error like any other. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (parse(&options, argc, argv))
		return STATUS_USAGE;
	if (options.help)
		print_help();
	else if (options.version)
		(void)puts("queue-bench " QUEUE_VERSION);
	else if (options.list)
		bench_subjects_print(NULL, stdout);
	else
		status = run(&options);
	return end_output(status);
}
