/* SPDX-License-Identifier: BSD-2-Clause */

/* What people read: figures, messages, the status line. */
#include "sale.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
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
	[OUTCOME_CLOSING] = {"rejected", "closing"},
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
unsigned
histogram_bucket(uint64_t time)
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
	histogram->buckets[histogram_bucket(time)]++;
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
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	pthread_mutex_unlock(&terminal);
}
