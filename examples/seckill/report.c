/* SPDX-License-Identifier: BSD-2-Clause */

/* What people read: figures, the comparison, messages, the status line. */
#include "seckill.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct {
	const char *name, *reason;
} names[OUTCOMES] = {
	[OUTCOME_SOLD] = {"sold", ""},
	[OUTCOME_SOLD_OUT] = {"sold out", ""},
	[OUTCOME_RATE_LIMITED] = {"rate-limited", ""},
	[OUTCOME_FULL] = {"rejected", "queue full"},
	[OUTCOME_DISCARDED] = {"rejected", "discarded"},
	[OUTCOME_EVICTED] = {"rejected", "evicted"},
	[OUTCOME_BOUGHT] = {"rejected", "bought already"},
	[OUTCOME_RISK] = {"rejected", "risk"},
	[OUTCOME_DATABASE] = {"rejected", "database failed"},
	[OUTCOME_MEMORY] = {"rejected", "no memory"},
	[OUTCOME_TIMED_OUT] = {"timed out", ""},
	[OUTCOME_MALFORMED] = {"malformed", ""},
};

const char *
outcome_name(enum outcome outcome)
{
	return names[outcome].name;
}

const char *
outcome_reason(enum outcome outcome)
{
	return names[outcome].reason;
}

/* ---- Times ----------------------------------------------------------------------------------- */

/* Eight buckets per power of two: bucket 8e + m holds (8 + m) << (e - 1) and up, from e = 1. */
static unsigned
bucket_of(uint64_t time)
{
	unsigned bits;

	if (time < 8)
		return (unsigned)time;
	bits = 63 - (unsigned)__builtin_clzll(time);
	return (bits - 2) * 8 + (unsigned)(time >> (bits - 3) & 7);
}

static uint64_t
last_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < 8)
		return bucket;
	shift = bucket / 8 - 1;
	return ((UINT64_C(8) + bucket % 8) << shift) + (UINT64_C(1) << shift) - 1;
}

void
histogram_add(struct histogram *histogram, uint64_t time)
{
	histogram->count++;
	histogram->buckets[bucket_of(time)]++;
	if (time > histogram->max)
		histogram->max = time;
}

void
histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	if (from->max > into->max)
		into->max = from->max;
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

uint64_t
histogram_quantile(const struct histogram *histogram, double quantile)
{
	uint64_t wanted = (uint64_t)((double)histogram->count * quantile), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > wanted)
			return last_of(i) < histogram->max ? last_of(i) : histogram->max;
	}
	return histogram->max;
}

/* ---- Text ------------------------------------------------------------------------------------ */

const char *
text_number(char text[TEXT_SIZE], uint64_t number)
{
	char digits[TEXT_SIZE], *to = text;
	int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);

	for (int i = 0; i < n; i++) {
		if (i > 0 && (n - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return text;
}

const char *
text_time(char text[TEXT_SIZE], uint64_t nanoseconds)
{
	static const struct {
		const char *name;
		double unit;
	} units[] = {{"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}};
	const int n = sizeof units / sizeof *units;
	double time = (double)nanoseconds;
	int i = 0;

	if (nanoseconds == 0)
		return "-";
	while (i < n - 1 && time < units[i].unit)
		i++;
	time /= units[i].unit;
	snprintf(text, TEXT_SIZE, "%.*f %s",
		 i == n - 1 || time >= 99.5 ? 0
		 : time < 9.95		    ? 2
					    : 1,
		 time, units[i].name);
	return text;
}

/* ---- The comparison -------------------------------------------------------------------------- */

static void
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
	for (int outcome = 0; outcome < OUTCOMES; outcome++) {
		char name[64], buffer[TEXT_SIZE];
		uint64_t sum = 0;

		for (int i = 0; i < n; i++)
			sum += columns[i].outcomes[outcome];
		if (sum == 0 && outcome != OUTCOME_SOLD)
			continue;
		snprintf(name, sizeof name, "%s%s%s", names[outcome].name,
			 *names[outcome].reason ? ": " : "", names[outcome].reason);
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

/* ---- Messages and the status line ------------------------------------------------------------ */

static pthread_mutex_t terminal = PTHREAD_MUTEX_INITIALIZER;
static bool status_is_shown;

bool
status_is_possible(void)
{
	const char *kind = getenv("TERM");

	return isatty(STDOUT_FILENO) && kind && *kind && strcmp(kind, "dumb") != 0;
}

/* With the lock held. */
static void
status_erase(void)
{
	if (status_is_shown) {
		fputs("\r\033[K", stdout);
		fflush(stdout);
	}
	status_is_shown = false;
}

void
status_show(const char *text)
{
	struct winsize window;
	int columns = 80;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
		columns = window.ws_col;
	pthread_mutex_lock(&terminal);
	status_erase();
	if (*text) {
		/* One column less, so that the cursor stays on the line. */
		printf("%.*s", columns - 1, text);
		fflush(stdout);
		status_is_shown = true;
	}
	pthread_mutex_unlock(&terminal);
}

void
complain(const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&terminal);
	status_erase();
	fputs("seckill: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	pthread_mutex_unlock(&terminal);
}
