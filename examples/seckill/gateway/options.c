/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line: one table says what there is, what is allowed, and what --help prints. */
#include "service.h"

static const struct options defaults = {
	.address = "127.0.0.1",
	.port = 8080,
	.http_threads = 2,
	.items = 1,
	.stock = 10000,
	.rate = 20000,
	.burst = 2000,
	.capacity = 1024,
	.workers = 8,
	.deadline_ms = 500,
	.risk_us = 100,
	.risk_percent = 1,
	.notify_us = 200,
	.stats_us = 50,
	.seed = 1,
};

#define HEADING(text) ARGUMENT_ROW_HEADING(text)
#define NUMBER(...) ARGUMENT_ROW_NUMBER(struct options, __VA_ARGS__)
#define TEXT(...) ARGUMENT_ROW_TEXT(struct options, __VA_ARGS__)
#define FLAG(...) ARGUMENT_ROW_FLAG(struct options, __VA_ARGS__)

static const struct argument rows[] = {
	HEADING("Where it listens"),
	TEXT("address", "A", address, "of the page and the shop"),
	NUMBER("port", "N", port, 0, 65535, "there; 0: any free one"),
	NUMBER("admin-port", "N", admin_port, 0, 65535, "on 127.0.0.1, for who runs it"),
	NUMBER("http-threads", "N", http_threads, 1, 64, "threads that speak HTTP"),
	NUMBER("connections", "N", connections, 0, 1000000, "at once; 0: 20000, if possible"),

	HEADING("What is for sale"),
	NUMBER("stock", "N", stock, 0, 1000000000, "pieces of each item"),
	NUMBER("items", "N", items, 1, 65536, "items, numbered from 1"),

	HEADING("The shop"),
	NUMBER("rate", "N", rate, 0, 1000000000, "let through per second; 0: all"),
	NUMBER("burst", "N", burst, 1, 4294967295, "let through at once"),
	NUMBER("capacity", "N", capacity, 1, 1048576, "of the request queue"),
	NUMBER("workers", "N", workers, 1, WORKERS_MAX, "threads that sell"),
	NUMBER("deadline-ms", "MS", deadline_ms, 1, 3600000,
	       "a request not decided by then is given up"),

	HEADING("What the steps cost: a wait, as for a service elsewhere"),
	NUMBER("risk-us", "US", risk_us, 0, 10000000, "risk check, of each request"),
	NUMBER("risk-percent", "N", risk_percent, 0, 100, "of the users it refuses"),
	NUMBER("stock-us", "US", stock_us, 0, 10000000, "lock on the stock, of each sale"),
	NUMBER("notify-us", "US", notify_us, 0, 10000000, "message, of each order"),
	NUMBER("stats-us", "US", stats_us, 0, 10000000, "analysis, of each order it is for"),

	HEADING("Other"),
	TEXT("db", "FILE", db, "made, or a run is added; else a temporary one"),
	NUMBER("seed", "N", seed, 0, UINT64_MAX, "of the risk checks"),
	FLAG("quiet", quiet, "no status line on a terminal"),
};

static void
print_more(void)
{
	puts("\nUsers buy with POST /buy?user=U&item=I[&quantity=Q], and GET / is a page that shows\n"
	     "how the shop is doing. There are also GET /metrics, /events and /healthz, and for who\n"
	     "runs it GET /workers, POST /workers?n=N and POST /burst?users=N&ms=MS.\n"
	     "\nSIGTERM or SIGINT: what was accepted is finished, then the sums are done.\n"
	     "\nExit status: 0 all sums agree; 1 they do not, or it could not serve; 2 wrong usage.");
}

static const struct arguments arguments = {
	.program = "seckill-gateway",
	.purpose =
		"A flash sale behind HTTP: more users than pieces, and every order accounted for.",
	.rows = rows,
	.n = sizeof rows / sizeof *rows,
	.defaults = &defaults,
	.size = sizeof defaults,
	.more = print_more,
};

enum arguments_result
options_parse(struct options *options, int argc, char **argv)
{
	enum arguments_result result = arguments_parse(&arguments, options, argc, argv);

	if (result == ARGUMENTS_RUN && !listener_knows(options->address)) {
		complain("--address: \"%s\" is not an address, such as 127.0.0.1 or ::1",
			 options->address);
		return ARGUMENTS_BAD;
	}
	return result;
}
