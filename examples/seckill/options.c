/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line: one table says what there is, what is allowed, and what --help prints. */
#include "arguments.h"
#include "seckill.h"

#include <stdlib.h>
#include <string.h>

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
	.kills = 2,
};

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

static bool
set_mode(void *context, const char *text)
{
	struct options *options = context;
	bool both = strcmp(text, "both") == 0;

	options->sync = both || strcmp(text, "sync") == 0;
	options->async = both || strcmp(text, "async") == 0;
	if (!options->sync && !options->async)
		complain("--mode: \"%s\" is not sync, async or both", text);
	return options->sync || options->async;
}

static bool
set_policy(void *context, const char *text)
{
	struct options *options = context;

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

#define KILLS_MAX 1000

static bool
set_kills(void *context, const char *text)
{
	struct options *options = context;
	size_t digits = strspn(text, "0123456789");

	options->kills = strtoull(text, NULL, 10);
	options->has_kills = true;
	if (digits > 0 && text[digits] == '\0' && options->kills <= KILLS_MAX)
		return true;
	complain("--kills: \"%s\" is not a number from 0 to %d", text, KILLS_MAX);
	return false;
}

#define NUMBER(...) ARGUMENT_ROW_NUMBER(struct options, __VA_ARGS__)
#define TEXT(...) ARGUMENT_ROW_TEXT(struct options, __VA_ARGS__)
#define FLAG(...) ARGUMENT_ROW_FLAG(struct options, __VA_ARGS__)

static const struct argument rows[] = {
	ARGUMENT_ROW_HEADING("Who comes"),
	TEXT("input", "FILE", input, "requests from a CSV, - for standard input"),
	NUMBER("users", "N", users, 0, 100000000, "users in the generated spike"),
	NUMBER("spike-ms", "MS", spike_ms, 0, 3600000, "within which they come"),
	NUMBER("steady-rate", "N", steady_rate, 0, 10000000, "requests per second before it"),
	NUMBER("steady-ms", "MS", steady_ms, 0, 3600000, "for so long"),
	NUMBER("seed", "N", seed, 0, UINT64_MAX, "of the generator"),
	FLAG("fast", fast, "do not wait for the times of arrival"),
	NUMBER("seconds", "N", seconds, 0, 86400, "stop offering after so long; 0: at the end"),

	ARGUMENT_ROW_HEADING("What is for sale"),
	NUMBER("stock", "N", stock, 0, 1000000000, "pieces of each item"),
	NUMBER("items", "N", items, 1, 65536, "items, numbered from 1"),

	ARGUMENT_ROW_HEADING("The shop"),
	ARGUMENT_ROW_OWN("mode", "MODE", "async", set_mode, "sync, async or both"),
	NUMBER("gateways", "N", gateways, 1, GATEWAYS_MAX, "threads that take requests"),
	NUMBER("window", "N", window, 1, 1048576, "open requests per gateway, async"),
	NUMBER("rate", "N", rate, 0, 1000000000, "let through per second; 0: all"),
	NUMBER("burst", "N", burst, 1, 4294967295, "let through at once"),
	NUMBER("capacity", "N", capacity, 1, 1048576, "of the request queue"),
	ARGUMENT_ROW_OWN("policy", "POLICY", "abort", set_policy,
			 "of the request queue, see below"),
	NUMBER("workers", "N", workers, 1, 64, "threads that sell"),
	NUMBER("deadline-ms", "MS", deadline_ms, 0, 3600000,
	       "a request not decided by then is given up"),

	ARGUMENT_ROW_HEADING("What the steps cost: a wait, as for a service elsewhere"),
	NUMBER("risk-us", "US", risk_us, 0, 10000000, "risk check, of each request"),
	NUMBER("risk-percent", "N", risk_percent, 0, 100, "of the users it refuses"),
	NUMBER("stock-us", "US", stock_us, 0, 10000000, "lock on the stock, of each sale"),
	NUMBER("notify-us", "US", notify_us, 0, 10000000, "notification, of each order"),
	NUMBER("stats-us", "US", stats_us, 0, 10000000, "statistics, of each order"),

	ARGUMENT_ROW_HEADING("The database"),
	TEXT("db", "FILE", db, "made, or a run is added; else a temporary one"),
	NUMBER("db-pages", "N", db_pages, 0, 4294967294, "play a full disk at so many pages"),
	TEXT("reconcile", "FILE", reconcile, "no sale: do the sums of this database"),

	ARGUMENT_ROW_HEADING("A shop that is killed, and loses nothing"),
	TEXT("durable", "DIR", durable, "log, rows, what was told; made, or continued"),
	ARGUMENT_ROW_OWN("kills", "N", "2", set_kills, "times it is killed in the middle"),

	ARGUMENT_ROW_HEADING("Other"),
	FLAG("verbose", verbose, "print what the queues say about themselves"),
};

static void
print_more(void)
{
	puts("\nWhat happens to a request when the queue is full");
	for (int i = 0; i < POLICIES; i++)
		printf("  %-16s%s\n", policies[i].name, policies[i].help);
	puts("\nA CSV has lines arrival_us,user,item,quantity in the order of their arrival,\n"
	     "which counts from the start of the sale; the first line may be a header.\n"
	     "\nWith --durable there are no gateways, notifications and statistics, and --window\n"
	     "is of all buyers. Who is told \"sold\" is in a log on disk before, the shop is\n"
	     "killed and started again, and in the end there is a row for each of them.\n"
	     "\nExit status: 0 all sums agree; 1 they do not, or the sale could not be held;\n"
	     "2 wrong usage; 128 + N stopped by signal N, with all sums in order.");
}

static const struct arguments arguments = {
	.program = "seckill",
	.purpose = "A flash sale: more users than pieces, and every order accounted for.",
	.rows = rows,
	.n = sizeof rows / sizeof *rows,
	.defaults = &defaults,
	.size = sizeof defaults,
	.more = print_more,
};

/* What does not go together. */
static bool
fits(const struct options *options)
{
	if (options->sync && options->async && options->input && strcmp(options->input, "-") == 0) {
		complain(
			"--mode both reads the requests twice, and --input \"-\" can be read once");
		return false;
	}
	if (options->durable && (options->db || options->reconcile)) {
		complain("--durable \"%s\" has a database of its own: no --%s", options->durable,
			 options->db ? "db" : "reconcile");
		return false;
	}
	if (options->durable && options->verbose) {
		complain("--durable \"%s\" tells nothing about its queues: no --verbose",
			 options->durable);
		return false;
	}
	if (options->durable && options->sync) {
		complain("--durable \"%s\" is neither sync nor both", options->durable);
		return false;
	}
	if (options->has_kills && !options->durable) {
		complain("--kills %llu: only the shop of --durable is killed",
			 (unsigned long long)options->kills);
		return false;
	}
	return true;
}

enum arguments_result
options_parse(struct options *options, int argc, char **argv)
{
	enum arguments_result result = arguments_parse(&arguments, options, argc, argv);

	return result == ARGUMENTS_RUN && !fits(options) ? ARGUMENTS_BAD : result;
}
