/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line: one table says what there is, what is allowed, and what --help prints. */
#include "seckill.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	KIND_NUMBER,
	KIND_TEXT,
	KIND_FLAG,
	KIND_MODE,
	KIND_POLICY,
	KIND_HELP,
	KIND_VERSION
};

struct row {
	const char *name, *argument, *help;
	enum kind kind;
	size_t offset;		/* of the member it sets */
	uint64_t least, most;	/* numbers */
	const char *above_this; /* --help: a heading */
};

#define NUMBER(name, argument, member, least, most, help)                                          \
	{                                                                                          \
		name, argument, help, KIND_NUMBER, offsetof(struct options, member), least, most,  \
			NULL                                                                       \
	}
#define OTHER(name, argument, kind, member, help)                                                  \
	{                                                                                          \
		name, argument, help, kind, offsetof(struct options, member), 0, 0, NULL           \
	}
#define HEADING(text)                                                                              \
	{                                                                                          \
		NULL, NULL, NULL, KIND_FLAG, 0, 0, 0, text                                         \
	}

static const struct options defaults = {
	.async = true,
	.seed = 1,
	.steady_rate = 1000,
	.steady_ms = 500,
	.users = 1000000,
	.spike_ms = 2000,
	.items = 1,
	.stock = 10000,
	.gateways = 2,
	.window = 4096,
	.workers = 8,
	.capacity = 1024,
	.policy = QUEUE_ABORT,
	.policy_name = "abort",
	.rate = 50000,
	.burst = 5000,
	.deadline_ms = 200,
	.risk_us = 100,
	.risk_percent = 1,
	.notify_us = 200,
	.stats_us = 50,
};

static const struct row rows[] = {
	HEADING("Who comes"),
	OTHER("input", "FILE", KIND_TEXT, input, "requests from a CSV, - for standard input"),
	NUMBER("users", "N", users, 0, 100000000, "users in the generated spike"),
	NUMBER("spike-ms", "MS", spike_ms, 0, 3600000, "within which they come"),
	NUMBER("steady-rate", "N", steady_rate, 0, 10000000, "requests per second before it"),
	NUMBER("steady-ms", "MS", steady_ms, 0, 3600000, "for so long"),
	NUMBER("seed", "N", seed, 0, UINT64_MAX, "of the generator"),
	OTHER("fast", NULL, KIND_FLAG, fast, "do not wait for the times of arrival"),
	NUMBER("seconds", "N", seconds, 0, 86400, "stop offering after so long; 0: at the end"),

	HEADING("What is for sale"),
	NUMBER("stock", "N", stock, 0, 1000000000, "pieces of each item"),
	NUMBER("items", "N", items, 1, 65536, "items, numbered from 1"),

	HEADING("The shop"),
	OTHER("mode", "MODE", KIND_MODE, async, "sync, async or both"),
	NUMBER("gateways", "N", gateways, 1, GATEWAYS_MAX, "threads that take requests"),
	NUMBER("window", "N", window, 1, 1048576, "open requests per gateway, async"),
	NUMBER("rate", "N", rate, 0, 1000000000, "let through per second; 0: all"),
	NUMBER("burst", "N", burst, 1, 4294967295, "let through at once"),
	NUMBER("capacity", "N", capacity, 1, 1048576, "of the request queue"),
	OTHER("policy", "POLICY", KIND_POLICY, policy, "of the request queue, see below"),
	NUMBER("workers", "N", workers, 1, 64, "threads that sell"),
	NUMBER("deadline-ms", "MS", deadline_ms, 0, 3600000,
	       "a request not decided by then is given up"),

	HEADING("What the steps cost: a wait, as for a service elsewhere"),
	NUMBER("risk-us", "US", risk_us, 0, 10000000, "risk check, of each request"),
	NUMBER("risk-percent", "N", risk_percent, 0, 100, "of the users it refuses"),
	NUMBER("stock-us", "US", stock_us, 0, 10000000, "lock on the stock, of each sale"),
	NUMBER("notify-us", "US", notify_us, 0, 10000000, "notification, of each order"),
	NUMBER("stats-us", "US", stats_us, 0, 10000000, "statistics, of each order"),

	HEADING("The database"),
	OTHER("db", "FILE", KIND_TEXT, db, "made, or a run is added; else a temporary one"),
	NUMBER("db-pages", "N", db_pages, 0, 4294967294, "play a full disk at so many pages"),
	OTHER("reconcile", "FILE", KIND_TEXT, reconcile, "no sale: do the sums of this database"),

	HEADING("Other"),
	OTHER("verbose", NULL, KIND_FLAG, verbose, "print what the queues say about themselves"),
	OTHER("help", NULL, KIND_HELP, verbose, "print this"),
	OTHER("version", NULL, KIND_VERSION, verbose, "print the version"),
};

#define ROWS (int)(sizeof rows / sizeof *rows)

static const struct {
	const char *name, *help;
	enum queue_policy policy;
} policies[] = {
	{"abort", "the request is rejected", QUEUE_ABORT},
	{"block", "the gateway waits for room, until the request's deadline", QUEUE_BLOCK},
	{"caller-runs", "the gateway does the worker's job itself", QUEUE_CALLER_RUNS},
	{"discard", "the request is dropped, and its user told", QUEUE_DISCARD},
	{"discard-oldest", "the oldest gives way, and its user is told", QUEUE_DISCARD_OLDEST},
};

#define POLICIES (int)(sizeof policies / sizeof *policies)

static uint64_t *
number_of(struct options *options, const struct row *row)
{
	return (uint64_t *)(void *)((char *)options + row->offset);
}

static void
print_default(const struct row *row)
{
	struct options options = defaults;

	if (row->kind == KIND_NUMBER)
		printf(" [%llu]", (unsigned long long)*number_of(&options, row));
	else if (row->kind == KIND_MODE)
		fputs(" [async]", stdout);
	else if (row->kind == KIND_POLICY)
		fputs(" [abort]", stdout);
}

static void
print_help(void)
{
	puts("usage: seckill [OPTION]...\n"
	     "A flash sale: more users than pieces, and every order accounted for.");
	for (const struct row *row = rows; row < rows + ROWS; row++) {
		if (row->above_this) {
			printf("\n%s\n", row->above_this);
			continue;
		}
		printf("  --%s %-*s %s", row->name, (int)(17 - strlen(row->name)),
		       row->argument ? row->argument : "", row->help);
		print_default(row);
		putchar('\n');
	}
	puts("\nWhat happens to a request when the queue is full");
	for (int i = 0; i < POLICIES; i++)
		printf("  %-16s%s\n", policies[i].name, policies[i].help);
	puts("\nA CSV has lines arrival_us,user,item,quantity in the order of their arrival,\n"
	     "which counts from the start of the sale; the first line may be a header.\n"
	     "\nExit status: 0 all sums agree; 1 they do not, or the sale could not be held;\n"
	     "2 wrong usage; 128 + N stopped by signal N, with all sums in order.");
}

static bool
set_number(struct options *options, const struct row *row, const char *text)
{
	unsigned long long number = 0;
	size_t digits = strspn(text, "0123456789");
	bool fits = digits > 0 && text[digits] == '\0' && digits <= 20;

	if (fits) {
		char longest[] = "18446744073709551615";

		fits = digits < 20 || strcmp(text, longest) <= 0;
		number = strtoull(text, NULL, 10);
	}
	if (!fits || number < row->least || number > row->most) {
		complain("--%s: \"%s\" is not a number from %llu to %llu", row->name, text,
			 (unsigned long long)row->least, (unsigned long long)row->most);
		return false;
	}
	*number_of(options, row) = number;
	return true;
}

static bool
set_mode(struct options *options, const char *text)
{
	bool both = strcmp(text, "both") == 0;

	options->sync = both || strcmp(text, "sync") == 0;
	options->async = both || strcmp(text, "async") == 0;
	if (!options->sync && !options->async)
		complain("--mode: \"%s\" is not sync, async or both", text);
	return options->sync || options->async;
}

static bool
set_policy(struct options *options, const char *text)
{
	for (int i = 0; i < POLICIES; i++)
		if (strcmp(text, policies[i].name) == 0) {
			options->policy = policies[i].policy;
			options->policy_name = policies[i].name;
			return true;
		}
	complain("--policy: \"%s\" is not one of abort, block, caller-runs, discard, "
		 "discard-oldest",
		 text);
	return false;
}

static enum options_result
set(struct options *options, const struct row *row, const char *text)
{
	bool good = true;

	switch (row->kind) {
	case KIND_NUMBER:
		good = set_number(options, row, text);
		break;
	case KIND_TEXT:
		*(const char **)(void *)((char *)options + row->offset) = text;
		good = *text != '\0';
		if (!good)
			complain("--%s: \"\" is not the name of a file", row->name);
		break;
	case KIND_FLAG:
		*(bool *)(void *)((char *)options + row->offset) = true;
		break;
	case KIND_MODE:
		good = set_mode(options, text);
		break;
	case KIND_POLICY:
		good = set_policy(options, text);
		break;
	case KIND_HELP:
		print_help();
		return OPTIONS_DONE;
	case KIND_VERSION:
		puts("seckill (conveyor) " QUEUE_VERSION);
		return OPTIONS_DONE;
	}
	return good ? OPTIONS_RUN : OPTIONS_BAD;
}

/* getopt answers with this plus the number of the row. */
#define FIRST_VALUE 256

static void
complain_about(int answer, char **argv)
{
	if (answer == ':')
		complain("--%s needs a value", rows[optopt - FIRST_VALUE].name);
	else if (optopt >= FIRST_VALUE)
		complain("\"%s\": --%s takes no value", argv[optind - 1],
			 rows[optopt - FIRST_VALUE].name);
	else if (optopt)
		complain("there is no option \"-%c\"; see --help", optopt);
	else
		complain("there is no option \"%s\"; see --help", argv[optind - 1]);
}

enum options_result
options_parse(struct options *options, int argc, char **argv)
{
	struct option known[ROWS + 1] = {0};
	int n = 0, answer;

	*options = defaults;
	for (int i = 0; i < ROWS; i++)
		if (rows[i].name)
			known[n++] = (struct option){
				rows[i].name, rows[i].argument ? required_argument : no_argument,
				NULL, FIRST_VALUE + i};
	opterr = 0;
	while ((answer = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		enum options_result result;

		if (answer < FIRST_VALUE) {
			complain_about(answer, argv);
			return OPTIONS_BAD;
		}
		result = set(options, &rows[answer - FIRST_VALUE], optarg);
		if (result != OPTIONS_RUN)
			return result;
	}
	if (optind < argc) {
		complain("what is \"%s\"? see --help", argv[optind]);
		return OPTIONS_BAD;
	}
	if (options->sync && options->async && options->input && strcmp(options->input, "-") == 0) {
		complain(
			"--mode both reads the requests twice, and --input \"-\" can be read once");
		return OPTIONS_BAD;
	}
	return OPTIONS_RUN;
}
