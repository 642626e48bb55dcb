/* SPDX-License-Identifier: BSD-2-Clause */

/* What was asked for, and the comparison of what came of it. */
#include "seckill.h"

#include <string.h>

void
report_load(const struct options *options)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];

	if (options->input)
		printf("Load   %s",
		       strcmp(options->input, "-") == 0 ? "standard input" : options->input);
	else
		printf("Load   %s/s for %llu ms, then %s users within %llu ms; seed %llu",
		       text_number(a, options->steady_rate), (unsigned long long)options->steady_ms,
		       text_number(b, options->users), (unsigned long long)options->spike_ms,
		       (unsigned long long)options->seed);
	puts(options->fast ? "; as fast as can be" : "");
}

void
report_setting(const struct options *options)
{
	char a[TEXT_SIZE], b[TEXT_SIZE];

	report_load(options);
	printf("Sale   %s pieces", text_number(a, options->stock));
	if (options->items > 1)
		printf(" of each of %s items", text_number(b, options->items));
	if (options->rate > 0)
		printf("; %s requests/s are let through, bursts of %s",
		       text_number(a, options->rate), text_number(b, options->burst));
	printf("\nShop   %llu gateways; a request is given up after %llu ms\n",
	       (unsigned long long)options->gateways, (unsigned long long)options->deadline_ms);
	if (options->sync)
		puts("sync   a gateway takes one request at a time through all steps");
	if (options->async)
		printf("async  a request queue of %s, policy %s, %llu workers\n",
		       text_number(a, options->capacity), options->policy_name,
		       (unsigned long long)options->workers);
	printf("Waits  risk %llu us, stock %llu us, notification %llu us, statistics %llu us\n\n",
	       (unsigned long long)options->risk_us, (unsigned long long)options->stock_us,
	       (unsigned long long)options->notify_us, (unsigned long long)options->stats_us);
	fflush(stdout);
}

static uint64_t
answered(const struct figures *figures)
{
	return figures->answers.count;
}

static uint64_t
per_second(uint64_t count, const struct figures *figures)
{
	if (figures->elapsed == 0)
		return 0;
	return (uint64_t)((double)count * 1e9 / (double)figures->elapsed);
}

static uint64_t
answered_per_second(const struct figures *figures)
{
	return per_second(figures->answers.count, figures);
}

static uint64_t
sold_per_second(const struct figures *figures)
{
	return per_second(figures->outcomes[OUTCOME_SOLD], figures);
}

static uint64_t
offered(const struct figures *figures)
{
	return figures->offered;
}

static uint64_t
pieces(const struct figures *figures)
{
	return figures->pieces;
}

static uint64_t
answer_p50(const struct figures *figures)
{
	return histogram_quantile(&figures->answers, 0.5);
}

static uint64_t
answer_p99(const struct figures *figures)
{
	return histogram_quantile(&figures->answers, 0.99);
}

static uint64_t
answer_max(const struct figures *figures)
{
	return figures->answers.max;
}

static uint64_t
sale_p50(const struct figures *figures)
{
	return histogram_quantile(&figures->sales, 0.5);
}

static uint64_t
sale_p99(const struct figures *figures)
{
	return histogram_quantile(&figures->sales, 0.99);
}

static uint64_t
sale_max(const struct figures *figures)
{
	return figures->sales.max;
}

static uint64_t
elapsed(const struct figures *figures)
{
	return figures->elapsed;
}

static uint64_t
drain(const struct figures *figures)
{
	return figures->drain;
}

typedef const char *text_fn(char text[TEXT_SIZE], uint64_t value);

static void
print_row(const char *name, const struct figures *columns, int n, text_fn *text,
	  uint64_t (*figure)(const struct figures *))
{
	char buffer[TEXT_SIZE];

	printf("  %-30s", name);
	for (int i = 0; i < n; i++)
		printf(" %16s", text(buffer, figure(&columns[i])));
	putchar('\n');
}

/* How requests ended, without the lines that are zero everywhere. */
static void
print_outcomes(const struct figures *columns, int n)
{
	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++) {
		char name[64], buffer[TEXT_SIZE];
		const char *reason = outcome_reason(outcome);
		uint64_t sum = 0;

		for (int i = 0; i < n; i++)
			sum += columns[i].outcomes[outcome];
		if (sum == 0 && outcome != OUTCOME_SOLD)
			continue;
		snprintf(name, sizeof name, "%s%s%s", outcome_name(outcome), *reason ? ": " : "",
			 reason);
		printf("    %-28s", name);
		for (int i = 0; i < n; i++)
			printf(" %16s", text_number(buffer, columns[i].outcomes[outcome]));
		putchar('\n');
	}
}

void
report_comparison(const struct figures *columns, int n)
{
	printf("%-32s", "");
	for (int i = 0; i < n; i++)
		printf(" %16s", columns[i].mode);
	putchar('\n');
	print_row("requests offered", columns, n, text_number, offered);
	print_outcomes(columns, n);
	print_row("pieces sold", columns, n, text_number, pieces);
	print_row("requests answered", columns, n, text_number, answered);
	print_row("answered per second", columns, n, text_number, answered_per_second);
	print_row("of these, sold", columns, n, text_number, sold_per_second);
	print_row("answer latency, p50", columns, n, text_time, answer_p50);
	print_row("                p99", columns, n, text_time, answer_p99);
	print_row("                max", columns, n, text_time, answer_max);
	print_row("of sales only,  p50", columns, n, text_time, sale_p50);
	print_row("                p99", columns, n, text_time, sale_p99);
	print_row("                max", columns, n, text_time, sale_max);
	print_row("first request to last answer", columns, n, text_time, elapsed);
	print_row("then, to finish all steps", columns, n, text_time, drain);
	puts("Latency counts from the arrival, whether or not a gateway was free.\n");
}
