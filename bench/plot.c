/* SPDX-License-Identifier: BSD-2-Clause */
#include "plot.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

#define SERIES_MAX 64
#define TICKS_MAX 16
#define GROUPS_MAX 12
#define BARS_MAX 200
#define SVG_MAX (1u << 24) /* bytes, about */

/* ---- What is said alike of rows ---------------------------------------------------------------- */

static bool
starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

enum bench_side
bench_side(const struct bench_row *row)
{
	const struct bench_subject *subject = bench_subject_named(row->subject);

	if (subject && (subject->traits & BENCH_OWN))
		return BENCH_SIDE_OWN;
	if (subject)
		return (subject->traits & BENCH_LOCK_FREE) ? BENCH_SIDE_LOCK_FREE
							   : BENCH_SIDE_OTHER;
	/* Objects that are no queues have the names that they have in the headers. */
	if (starts(row->subject, "queue_"))
		return BENCH_SIDE_OWN;
	return BENCH_SIDE_OTHER;
}

static bool
is_number(const char *word)
{
	char *end;

	if (!isdigit((unsigned char)*word))
		return false;
	(void)strtod(word, &end);
	return *end == '\0';
}

/* 4x4 */
static bool
is_threads(const char *word)
{
	size_t digits = strspn(word, "0123456789");
	size_t more;

	if (digits == 0 || word[digits] != 'x')
		return false;
	more = strspn(word + digits + 1, "0123456789");
	return more > 0 && word[digits + 1 + more] == '\0';
}

static void
copy(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text);
}

static struct bench_condition *
free_text(struct bench_condition *conditions, size_t *count)
{
	size_t i;

	for (i = 0; i < *count; i++)
		if (conditions[i].key[0] == '\0')
			return &conditions[i];
	memset(&conditions[i], 0, sizeof conditions[i]);
	++*count;
	return &conditions[i];
}

size_t
bench_conditions(const char *cell, struct bench_condition *conditions)
{
	char text[sizeof((struct bench_row *)NULL)->cell], *rest = NULL, *word;
	struct bench_condition *last = NULL; /* a number at the beginning */
	size_t count = 0;

	copy(text, sizeof text, cell);
	for (word = strtok_r(text, " ", &rest); word && count < BENCH_CONDITIONS_MAX;
	     word = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(word, '=');
		struct bench_condition *condition = &conditions[count];

		if (equals || is_threads(word) || (count == 0 && is_number(word))) {
			memset(condition, 0, sizeof *condition);
			if (equals)
				*equals = '\0';
			copy(condition->key, sizeof condition->key,
			     equals	       ? word
			     : is_number(word) ? "number"
					       : "threads");
			copy(condition->value, sizeof condition->value, equals ? equals + 1 : word);
			last = is_number(word) && !equals ? condition : NULL;
			count++;
		} else if (last) {
			copy(last->key, sizeof last->key, word); /* what there is a number of */
			last->counted = true;
			last = NULL;
		} else {
			size_t used;

			condition = free_text(conditions, &count);
			used = strlen(condition->value);
			(void)snprintf(condition->value + used, sizeof condition->value - used,
				       "%s%s", used ? " " : "", word);
		}
	}
	/* "grant, threads=4": the comma belongs to neither. */
	for (last = conditions; last < conditions + count; last++) {
		size_t length = strlen(last->value);

		if (length && last->value[length - 1] == ',')
			last->value[length - 1] = '\0';
	}
	return count;
}

static bool
is_named(const struct bench_condition *condition)
{
	return condition->key[0] && strcmp(condition->key, "threads") != 0 &&
	       strcmp(condition->key, "number") != 0;
}

const char *
bench_cell_text(char *text, size_t size, const char *cell, const char *without)
{
	struct bench_condition conditions[BENCH_CONDITIONS_MAX];
	size_t count = bench_conditions(cell, conditions), used = 0, i;

	text[0] = '\0';
	for (i = 0; i < count && used < size; i++) {
		const struct bench_condition *condition = &conditions[i];
		bool after =
			(is_named(condition) && condition->counted) ||
			(strcmp(condition->key, "threads") == 0 && is_number(condition->value));
		bool before = is_named(condition) && !after;

		if (without && strcmp(condition->key, without) == 0)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s%s%s%s%s", used ? ", " : "",
					 before ? condition->key : "", before ? " " : "",
					 condition->value, after ? " " : "",
					 after ? condition->key : "");
	}
	return text;
}

static void
insert_commas(char *text, size_t size)
{
	size_t length = strlen(text), at;

	for (at = length; at > 3 && length + 1 < size; length++) {
		at -= 3;
		memmove(text + at + 1, text + at, length - at + 1);
		text[at] = ',';
	}
}

const char *
bench_figure(char *text, size_t size, double value)
{
	double magnitude = fabs(value);

	if (magnitude >= 999.5) {
		(void)snprintf(text, size, "%.0f", value);
		if (magnitude >= 9999.5 && magnitude < 1e15)
			insert_commas(text, size);
	} else if (magnitude >= 99.95) {
		(void)snprintf(text, size, "%.0f", value);
	} else if (magnitude >= 9.995) {
		(void)snprintf(text, size, "%.1f", value);
	} else if (magnitude >= 0.0995 || magnitude == 0) {
		(void)snprintf(text, size, magnitude == 0 ? "%.0f" : "%.2f", value);
	} else if (magnitude >= 0.00995) {
		(void)snprintf(text, size, "%.3f", value);
	} else {
		(void)snprintf(text, size, "%.2g", value);
	}
	return text;
}

static const struct duration {
	const char *unit;
	double seconds;
} durations[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};

/* What a duration of one unit is in seconds; 0 when it is not a unit of time. */
static double
seconds_in(const char *unit)
{
	size_t i;

	for (i = 0; i < LENGTH(durations); i++)
		if (strcmp(unit, durations[i].unit) == 0)
			return durations[i].seconds;
	return 0;
}

/* The largest unit of time that the value is not below 1 in. */
static double
in_fitting_unit(double value, const char **unit)
{
	double seconds = value * seconds_in(*unit);
	size_t i = 0;

	if (strcmp(*unit, "ratio") == 0 || strcmp(*unit, "min/max") == 0)
		*unit = "";
	if (!(seconds > 0))
		return value;
	while (i + 1 < LENGTH(durations) && seconds < durations[i].seconds * 0.9995)
		i++;
	*unit = durations[i].unit;
	return seconds / durations[i].seconds;
}

const char *
bench_quantity(char *text, size_t size, double value, const char *unit)
{
	size_t used;

	value = in_fitting_unit(value, &unit);
	(void)bench_figure(text, size, value);
	used = strlen(text);
	if (*unit)
		(void)snprintf(text + used, size - used, " %s", unit);
	return text;
}

void
bench_escape(const char *text, FILE *to)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			(void)fputs("&amp;", to);
			break;
		case '<':
			(void)fputs("&lt;", to);
			break;
		case '>':
			(void)fputs("&gt;", to);
			break;
		case '"':
			(void)fputs("&quot;", to);
			break;
		default:
			putc(*text, to);
		}
}

/* ---- Colours ----------------------------------------------------------------------------------- */

/*
 * gnuplot is told the light ones; a style sheet inside each plot replaces them where the reader's
 * screen is dark.
 */
enum colour {
	TEXT,
	FAINT,
	GRID,
	SURFACE,
	LOCK_FREE,
	LOCK_FREE_TEXT,
	OTHER,
	OTHER_TEXT,
	BEST,
	OWN,
	OWN_COLOURS = 6,
	COLOURS = OWN + OWN_COLOURS
};

static const struct {
	const char *light, *dark;
} colours[COLOURS] = {
	{"#1f2530", "#e6e9ee"}, {"#69717d", "#9aa3b0"}, {"#e3e6ea", "#303742"},
	{"#fefefe", "#161a21"}, {"#6fa895", "#5f9784"}, {"#3c7866", "#7dbfa9"},
	{"#b1b7c1", "#616a78"}, {"#6a7280", "#9ba3b1"}, {"#3e4653", "#cdd3dc"},
	{"#1d4ed8", "#7ea6ff"}, {"#be1866", "#f57ab4"}, {"#7a34e0", "#b998ff"},
	{"#0b7790", "#4cc8e0"}, {"#b45309", "#f0a94b"}, {"#15803c", "#5fd38a"},
};

static const char *
light(enum colour colour)
{
	return colours[colour].light;
}

/* Each of this library's queues has its own; the ring has the one that elsewhere is that of all. */
static enum colour
own_colour(const char *name)
{
	const struct bench_subject *subject;
	unsigned i = 0;

	for (subject = bench_subjects(); subject && (subject->traits & BENCH_OWN);
	     subject = subject->next, i++)
		if (strcmp(subject->name, name) == 0)
			return (enum colour)(OWN + (i + 4) % OWN_COLOURS);
	return OWN;
}

static enum colour
line_colour(const struct bench_row *row)
{
	switch (bench_side(row)) {
	case BENCH_SIDE_OWN:
		return own_colour(row->subject);
	case BENCH_SIDE_LOCK_FREE:
		return LOCK_FREE;
	default:
		return OTHER;
	}
}

static enum colour
text_colour(enum colour line)
{
	return line == LOCK_FREE ? LOCK_FREE_TEXT : line == OTHER ? OTHER_TEXT : line;
}

/* ---- gnuplot ----------------------------------------------------------------------------------- */

/* A canvas of so many pixels; the plotting area lies inside these margins. */
struct frame {
	double width, height;
	double left, right, top, bottom;
};

static double
across(const struct frame *frame)
{
	return frame->width - frame->left - frame->right;
}

static double
down(const struct frame *frame)
{
	return frame->height - frame->top - frame->bottom;
}

/*
 * As a string of gnuplot's in which nothing but the quote has a meaning, and the per cent sign where
 * it is the label of a tic, which is a format.
 */
static void
quote_as(const char *text, bool tic, FILE *to)
{
	putc('\'', to);
	for (; *text; text++) {
		if (*text == '\'' || (tic && *text == '%'))
			putc(*text, to);
		putc(*text == '\n' ? ' ' : *text, to);
	}
	putc('\'', to);
}

static void
quote(const char *text, FILE *to)
{
	quote_as(text, false, to);
}

/* At pixels from the top left corner. alignment: left, center or right. */
static void
write_text(FILE *to, const struct frame *frame, double x, double y, const char *alignment,
	   enum colour colour, const char *font, const char *text)
{
	(void)fputs("set label ", to);
	quote(text, to);
	(void)fprintf(
		to,
		" at screen %.5f, screen %.5f %s front noenhanced textcolor rgb '%s' font '%s'\n",
		x / frame->width, 1 - y / frame->height, alignment, light(colour), font);
}

static void
begin(FILE *to, const struct frame *frame, const struct bench_plot *plot, const char *file)
{
	static const struct {
		enum colour colour;
		const char *text;
		double width;
	} key[] = {{OWN, "conveyor", 78},
		   {LOCK_FREE_TEXT, "lock-free peers", 106},
		   {OTHER_TEXT, "other peers", 0}};
	double x = 14;
	size_t i;

	(void)fprintf(to,
		      "set encoding utf8\n"
		      "set terminal svg size %.0f,%.0f dynamic font 'sans-serif,12' "
		      "background rgb '%s'\n",
		      frame->width, frame->height, light(SURFACE));
	(void)fputs("set output ", to);
	quote(file, to);
	(void)fprintf(to,
		      "\nunset key\nset lmargin at screen %.5f\nset rmargin at screen %.5f\n"
		      "set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
		      frame->left / frame->width, 1 - frame->right / frame->width,
		      1 - frame->top / frame->height, frame->bottom / frame->height);
	(void)fprintf(to, "set border 0 lc rgb '%s'\nset tics scale 0 textcolor rgb '%s'\n",
		      light(FAINT), light(FAINT));
	write_text(to, frame, x, 20, "left", TEXT, "sans-serif:Bold,15", plot->title);
	for (i = 0; i < LENGTH(key); i++) {
		write_text(to, frame, x, 42, "left", key[i].colour,
			   i == 0 ? "sans-serif:Bold,12" : "sans-serif,12", key[i].text);
		x += key[i].width;
	}
}

/* A logarithmic axis that reads in its unit. */
static void
write_axis(FILE *to, char axis, double low, double high)
{
	(void)fprintf(to,
		      "set logscale %c\nset %crange [%.9g:%.9g]\nset m%ctics 10\n"
		      "set grid %ctics back lc rgb '%s' lw 1 dt solid\n",
		      axis, axis, low, high, axis, axis, light(GRID));
}

/* Tics at 1, 2, 5, 10 when there are few powers of ten, else at these alone. */
static void
write_tics(FILE *to, char axis, double low, double high, const char *unit)
{
	static const int steps[] = {1, 2, 5};
	double decades = log10(high / low);
	bool coarse = decades > 3.2;
	int exponent;
	const char *between = "";

	(void)fprintf(to, "set %ctics (", axis);
	for (exponent = (int)floor(log10(low)); exponent <= (int)ceil(log10(high)); exponent++) {
		double power = pow(10, exponent);
		size_t i;

		for (i = 0; i < (coarse ? 1 : LENGTH(steps)); i++) {
			double value = power * steps[i], number;
			const char *its = unit;
			char text[48];

			if (value < low * 0.999 || value > high * 1.001)
				continue;
			(void)fputs(between, to);
			number = in_fitting_unit(value, &its);
			(void)snprintf(text, sizeof text, "%g%s%s", number, *its ? " " : "", its);
			quote_as(text, true, to);
			(void)fprintf(to, " %.9g", value);
			between = ", ";
		}
	}
	(void)fputs(") nomirror\n", to);
}

/* ---- Choosing rows ----------------------------------------------------------------------------- */

enum kind {
	LINES,
	BARS,
	PROFILE /* lines over the metrics instead of a condition */
};

enum threads {
	ANY_THREADS,
	ALIKE,	   /* as many producers as consumers */
	NOT_ALIKE, /* 1x4 */
};

struct choice {
	const char *name;
	const char *title;
	const char *suite;
	const char *metric; /* NULL: the first that is better higher or lower */
	enum kind kind;
	const char *key;       /* of the condition that varies; bars: a group for each cell */
	enum threads threads;  /* of the cells that are taken */
	const char *condition; /* the value of some condition of the cell, or NULL */
};

static const struct choice choices[] = {
	{"throughput-threads", "Throughput, as many producers as consumers", "throughput", "rate",
	 LINES, "threads", ALIKE, NULL},
	{"throughput-mpmc", "Throughput, four producers and four consumers", "throughput", "rate",
	 BARS, "threads", ANY_THREADS, "4x4"},
	{"throughput-spsc", "Throughput, one producer and one consumer", "throughput", "rate", BARS,
	 "threads", ANY_THREADS, "1x1"},
	{"throughput-shapes", "Throughput, more threads on one side", "throughput", "rate", BARS,
	 "threads", NOT_ALIKE, NULL},
	{"throughput-capacity", "Throughput by capacity", "throughput", "rate", LINES, "capacity",
	 ANY_THREADS, NULL},
	{"throughput-batch", "Throughput by items in a batch", "throughput", "rate", LINES, "batch",
	 ANY_THREADS, NULL},
	{"throughput-payload", "Throughput by bytes in an item", "throughput", "rate", LINES,
	 "payload", ANY_THREADS, NULL},
	{"pair", "One thread: a push and a pop", "throughput", "pair", BARS, "", ANY_THREADS, NULL},
	{"poll", "One thread: a poll of an empty queue", "throughput", "poll", BARS, "",
	 ANY_THREADS, NULL},
	{"latency-load", "Latency by load, 99th percentile", "latency", "p99", LINES, "load",
	 ANY_THREADS, NULL},
	{"latency-profile", "Latency, percentiles at one load", "latency", NULL, PROFILE, "load",
	 ANY_THREADS, NULL},
	{"latency-rate", "Latency at one rate for all, 99.9th percentile", "latency", "p99.9", BARS,
	 "", ANY_THREADS, "1M/s"},
	{"latency-push", "A push call with more threads than processors, 99.9th percentile",
	 "latency", "p99.9", BARS, "", ANY_THREADS, "push call"},
	{"latency-wake-up", "Until a sleeping consumer has the item, median", "latency", "p50",
	 BARS, "", ANY_THREADS, "wake-up"},
	{"latency-ping-pong", "There and back between two polling threads, median", "latency",
	 "p50", BARS, "", ANY_THREADS, "ping-pong polling"},
	{"progress", "Longest gap while another thread is stopped", "progress", "longest gap", BARS,
	 "", ANY_THREADS, NULL},
	{"idle", "Processor use while waiting", "idle", "processor use", BARS, "", ANY_THREADS,
	 NULL},
	{"policies", "Policies, deadlines and refusals", "policies", NULL, BARS, "", ANY_THREADS,
	 NULL},
	{"bucket-call", "Token buckets, one thread", "bucket", "time per call", BARS, "",
	 ANY_THREADS, "1"},
	{"bucket-threads", "Token buckets by threads", "bucket", "rate", LINES, "threads",
	 ANY_THREADS, NULL},
	{"pool", "Pool and call", "pool", NULL, BARS, "", ANY_THREADS, NULL},
	{"topic-delivery", "A delivery, on one thread, by subscribers", "topic", "delivery", LINES,
	 "subscribers", ANY_THREADS, NULL},
	{"topic-rate", "Deliveries across threads by subscribers", "topic", "rate", LINES,
	 "subscribers", ANY_THREADS, NULL},
	{"log-append", "A log: messages that are each waited for", "log", "rate", BARS, "producers",
	 ANY_THREADS, "append"},
	{"log-ahead", "A log: messages that are not waited for one by one", "log", "rate", BARS, "",
	 ANY_THREADS, "pipelined"},
	{"log-queue", "A log as a queue", "log", "rate", BARS, "", ANY_THREADS,
	 "append, read and acknowledge"},
	{"log-sync", "A log: ways of syncing, by bytes of a message", "log", "rate", LINES, "bytes",
	 ANY_THREADS, "ways of syncing"},
	{"log-open", "A log is opened after a crash, by files in it", "log", "open", LINES, "files",
	 ANY_THREADS, "open cold"},
	{"alloc", "Messages allocated here and freed there", "alloc", NULL, BARS, "", ANY_THREADS,
	 NULL},
	{"limits", "The machine's limits", "limits", NULL, BARS, "", ANY_THREADS, NULL},
};

static const char *
condition_of(const struct bench_condition *conditions, size_t count, const char *key)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (strcmp(conditions[i].key, key) == 0)
			return conditions[i].value;
	return NULL;
}

static bool
has_value(const struct bench_condition *conditions, size_t count, const char *value)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (strcmp(conditions[i].value, value) == 0)
			return true;
	return false;
}

static bool
threads_fit(const char *threads, enum threads wanted)
{
	const char *x;

	if (wanted == ANY_THREADS)
		return true;
	x = threads ? strchr(threads, 'x') : NULL;
	return x && (strtoul(threads, NULL, 10) == strtoul(x + 1, NULL, 10)) == (wanted == ALIKE);
}

static bool
metric_is(const struct bench_row *row, const char *metric)
{
	return strcmp(row->metric, metric) == 0;
}

/* The conditions but for one, in their order: what two cells of a line have in common. */
struct common {
	char text[128];
	char value[48]; /* of that one */
};

static bool
in_common(const struct choice *choice, const struct bench_row *row, struct common *common)
{
	struct bench_condition conditions[BENCH_CONDITIONS_MAX];
	size_t count = bench_conditions(row->cell, conditions);
	const char *value = condition_of(conditions, count, choice->key);
	const char *threads = condition_of(conditions, count, "threads");

	memset(common, 0, sizeof *common);
	if (strcmp(row->suite, choice->suite) != 0 || !threads_fit(threads, choice->threads) ||
	    (choice->condition && !has_value(conditions, count, choice->condition)))
		return false;
	if (choice->key[0] && !value)
		return false;
	/* Shares of what a subject can do; a rate that is the same for all is no point of them. */
	if (strcmp(choice->key, "load") == 0 && !strchr(value, '%'))
		return false;
	copy(common->value, sizeof common->value, value ? value : "");
	(void)bench_cell_text(common->text, sizeof common->text, row->cell,
			      choice->key[0] ? choice->key : NULL);
	return true;
}

#define COMMONS_MAX 96

/* A set of cells that differ in one condition only. */
struct family {
	char text[128];
	char values[TICKS_MAX][48];
	size_t count; /* of values */
	size_t rows;
};

static void
add_value(struct family *family, const char *value)
{
	size_t i;

	for (i = 0; i < family->count; i++)
		if (strcmp(family->values[i], value) == 0)
			return;
	if (family->count < TICKS_MAX)
		copy(family->values[family->count++], sizeof family->values[0], value);
}

static int
compare_values(const void *a, const void *b)
{
	double x = strtod(a, NULL), y = strtod(b, NULL);

	return x < y ? -1 : x > y ? 1 : strcmp(a, b);
}

/* The family with most values, and of these with most rows, is the one to show. */
static bool
choose_family(const struct choice *choice, const char *metric, const struct bench_results *results,
	      struct family *best)
{
	struct family *families = calloc(COMMONS_MAX, sizeof *families);
	size_t count = 0, i, k;

	memset(best, 0, sizeof *best);
	for (i = 0; families && i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];
		struct common common;

		if (!metric_is(row, metric) || !in_common(choice, row, &common))
			continue;
		for (k = 0; k < count; k++)
			if (strcmp(families[k].text, common.text) == 0)
				break;
		if (k == COMMONS_MAX)
			continue;
		if (k == count)
			copy(families[count++].text, sizeof families[0].text, common.text);
		add_value(&families[k], common.value);
		families[k].rows += row->state == BENCH_OK;
	}
	for (k = 0; k < count; k++)
		if (families[k].count > best->count ||
		    (families[k].count == best->count && families[k].rows > best->rows))
			*best = families[k];
	free(families);
	qsort(best->values, best->count, sizeof best->values[0], compare_values);
	return best->count > 0 && best->rows > 0;
}

static const char *
first_metric(const struct choice *choice, const struct bench_results *results)
{
	size_t i;

	if (choice->metric)
		return choice->metric;
	for (i = 0; i < results->count; i++)
		if (strcmp(results->rows[i].suite, choice->suite) == 0 &&
		    results->rows[i].better != BENCH_NEITHER && results->rows[i].state == BENCH_OK)
			return results->rows[i].metric;
	return NULL;
}

static void
say(struct bench_plot *plot, const char *format, ...)
{
	size_t used = strlen(plot->caption);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(plot->caption + used, sizeof plot->caption - used, format, arguments);
	va_end(arguments);
}

/* Rows that cannot be drawn are named; of many, the first. */
static void
say_not_drawn(struct bench_plot *plot, const struct bench_row *row, const char *where,
	      unsigned *count)
{
	if (++*count <= 6)
		say(plot, "%s%s at %s (%s)", *count == 1 ? " Not drawn: " : ", ", row->subject,
		    where, bench_state_name(row->state));
}

static void
say_not_drawn_end(struct bench_plot *plot, unsigned count)
{
	if (count > 6)
		say(plot, ", and %u more, which are in the tables", count - 6);
	if (count)
		say(plot, ".");
}

static const char *
direction(enum bench_better better)
{
	return better == BENCH_HIGHER  ? "Higher is better."
	       : better == BENCH_LOWER ? "Lower is better."
				       : "";
}

/* ---- Lines ------------------------------------------------------------------------------------- */

struct series {
	const struct bench_row *rows[TICKS_MAX]; /* NULL: none */
	const struct bench_row *any;
	enum colour colour;
	size_t first, last;
};

struct lines {
	struct series series[SERIES_MAX];
	size_t count;
	size_t ticks;
	double low, high;
};

static struct series *
series_of(struct lines *lines, const struct bench_row *row)
{
	struct series *series;
	size_t i;

	for (i = 0; i < lines->count; i++)
		if (strcmp(lines->series[i].any->subject, row->subject) == 0)
			return &lines->series[i];
	if (lines->count == SERIES_MAX)
		return NULL;
	series = &lines->series[lines->count++];
	memset(series, 0, sizeof *series);
	series->any = row;
	series->colour = line_colour(row);
	series->first = TICKS_MAX;
	return series;
}

static void
add_point(struct lines *lines, const struct bench_row *row, size_t tick)
{
	struct series *series = series_of(lines, row);

	if (!series)
		return;
	series->rows[tick] = row;
	if (tick < series->first)
		series->first = tick;
	if (tick > series->last)
		series->last = tick;
	if (row->median < lines->low || lines->low == 0)
		lines->low = row->median;
	if (row->median > lines->high)
		lines->high = row->median;
}

/* A name beside a line, as near to its end as the others allow. */
struct label {
	const struct series *series;
	double wanted, at; /* pixels from the top */
};

static int
compare_labels(const void *a, const void *b)
{
	double x = ((const struct label *)a)->wanted, y = ((const struct label *)b)->wanted;

	return (x > y) - (x < y);
}

/*
 * Moves labels apart, `gap` pixels at least, with the smallest sum of squared moves: when each is
 * taken as many gaps up as there are labels above it, their order alone has to be restored, which is
 * done by taking the mean of those that are not in order (isotonic regression).
 */
static void
spread_labels(struct label *labels, size_t count, double gap, double top, double bottom)
{
	double mean[SERIES_MAX], most = bottom - gap * (double)(count ? count - 1 : 0);
	size_t size[SERIES_MAX], blocks = 0, i, k, at = 0;

	qsort(labels, count, sizeof *labels, compare_labels);
	for (i = 0; i < count; i++) {
		mean[blocks] = labels[i].wanted - gap * (double)i;
		size[blocks++] = 1;
		while (blocks > 1 && mean[blocks - 1] < mean[blocks - 2]) {
			double a = (double)size[blocks - 2], b = (double)size[blocks - 1];

			mean[blocks - 2] = (mean[blocks - 2] * a + mean[blocks - 1] * b) / (a + b);
			size[blocks - 2] += size[blocks - 1];
			blocks--;
		}
	}
	for (i = 0; i < blocks; i++)
		for (k = 0; k < size[i]; k++, at++)
			labels[at].at = fmax(top, fmin(mean[i], most)) + gap * (double)at;
}

struct line_frame {
	struct frame frame;
	double strip; /* pixels at the left for names of lines that have the first point only */
};

static double
tick_x(const struct line_frame *frame, size_t ticks, size_t tick)
{
	double room = across(&frame->frame) - frame->strip - 12;

	return frame->frame.left + frame->strip +
	       room * (double)tick / (double)(ticks > 1 ? ticks - 1 : 1);
}

static double
value_y(const struct line_frame *frame, const struct lines *lines, double value)
{
	return frame->frame.top +
	       down(&frame->frame) * log(lines->high / value) / log(lines->high / lines->low);
}

/* A line between two points given in pixels. */
static void
write_leader(FILE *to, const struct frame *frame, double x, double y, double x2, double y2,
	     enum colour colour)
{
	(void)fprintf(to,
		      "set arrow from screen %.5f, screen %.5f to screen %.5f, screen %.5f nohead "
		      "back lc rgb '%s' lw 0.6\n",
		      x / frame->width, 1 - y / frame->height, x2 / frame->width,
		      1 - y2 / frame->height, light(colour));
}

static bool
is_alone(const struct lines *lines, const struct series *series)
{
	return series->first == 0 && series->last == 0 && lines->ticks > 1;
}

static void
write_labels(FILE *to, const struct line_frame *frame, const struct lines *lines, bool alone,
	     enum colour *colour_of)
{
	struct label labels[SERIES_MAX];
	size_t count = 0, i;
	double right = frame->frame.width - frame->frame.right;

	for (i = 0; i < lines->count; i++)
		if (is_alone(lines, &lines->series[i]) == alone) {
			const struct series *series = &lines->series[i];

			labels[count].series = series;
			labels[count++].wanted =
				value_y(frame, lines, series->rows[series->last]->median);
		}
	spread_labels(labels, count, 14, frame->frame.top + 2,
		      frame->frame.height - frame->frame.bottom - 2);
	for (i = 0; i < count; i++) {
		const struct series *series = labels[i].series;
		enum colour colour = colour_of[series - lines->series];
		bool strong = colour >= BEST;
		double x = tick_x(frame, lines->ticks, series->last);

		if (alone)
			write_leader(to, &frame->frame, x - 5, labels[i].wanted, x - 18,
				     labels[i].at, colour);
		else
			write_leader(to, &frame->frame, x + 5, labels[i].wanted, right + 10,
				     labels[i].at, colour);
		write_text(to, &frame->frame, alone ? x - 22 : right + 14, labels[i].at,
			   alone ? "right" : "left", text_colour(colour),
			   strong ? "sans-serif:Bold,12" : "sans-serif,11.5", series->any->subject);
	}
}

/* The peer that is best at most of the ticks is drawn stronger. */
static const struct series *
best_peer(const struct lines *lines)
{
	const struct series *best = NULL;
	unsigned wins[SERIES_MAX] = {0}, most = 0;
	size_t tick, i;

	for (tick = 0; tick < lines->ticks; tick++) {
		const struct bench_row *row = NULL;
		size_t winner = 0;

		for (i = 0; i < lines->count; i++) {
			const struct bench_row *other = lines->series[i].rows[tick];

			if (!other || lines->series[i].colour >= OWN)
				continue;
			if (!row || (bench_row_is_cost(other) ? other->median < row->median
							      : other->median > row->median)) {
				row = other;
				winner = i;
			}
		}
		if (row && ++wins[winner] > most) {
			most = wins[winner];
			best = &lines->series[winner];
		}
	}
	return best;
}

static void
write_series(FILE *to, const struct line_frame *frame, const struct lines *lines,
	     const enum colour *colour_of)
{
	const char *between = "plot ";
	unsigned pass;
	size_t i, tick;

	for (i = 0; i < lines->count; i++) {
		(void)fprintf(to, "$line%zu << END\n", i);
		for (tick = 0; tick < lines->ticks; tick++)
			if (lines->series[i].rows[tick])
				(void)fprintf(to, "%.6g %.9g\n", tick_x(frame, lines->ticks, tick),
					      lines->series[i].rows[tick]->median);
		(void)fputs("END\n", to);
	}
	/* What is to be seen first is drawn last. */
	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < lines->count; i++) {
			bool strong = colour_of[i] >= BEST;

			if (strong != (pass == 1))
				continue;
			(void)fprintf(to,
				      "%s$line%zu using 1:2 with linespoints pt 7 ps %s lw %s "
				      "lc rgb '%s' notitle",
				      between, i, strong ? "0.55" : "0.35",
				      colour_of[i] >= OWN ? "2.6"
				      : strong		  ? "1.8"
							  : "1.1",
				      light(colour_of[i]));
			between = ", \\\n";
		}
	(void)fputs("\n", to);
}

static void
write_lines(FILE *to, struct lines *lines, char ticks[][48], const struct bench_plot *plot,
	    const char *unit, const char *axis, const char *file)
{
	struct line_frame frame = {{920, 520, 74, 190, 66, 54}, 12};
	const struct series *best = best_peer(lines);
	enum colour colour_of[SERIES_MAX];
	size_t i, alone = 0, labels, unknown = 0;

	for (i = 0; i < lines->count; i++) {
		/* Objects that are no queues have no colours of their own. */
		if (lines->series[i].colour == OWN &&
		    !bench_subject_named(lines->series[i].any->subject))
			lines->series[i].colour = (enum colour)(OWN + unknown++ % OWN_COLOURS);
		colour_of[i] = &lines->series[i] == best ? BEST : lines->series[i].colour;
		alone += is_alone(lines, &lines->series[i]);
	}
	if (alone)
		frame.strip = 150;
	labels = alone > lines->count - alone ? alone : lines->count - alone;
	if (labels > 27)
		frame.frame.height += 14 * (double)(labels - 27);
	lines->low /= 1.15;
	lines->high *= 1.15;
	if (lines->high / lines->low < 4) {
		lines->low /= 1.5;
		lines->high *= 1.5;
	}
	begin(to, &frame.frame, plot, file);
	write_axis(to, 'y', lines->low, lines->high);
	write_tics(to, 'y', lines->low, lines->high, unit);
	(void)fprintf(to, "set xrange [%.6g:%.6g]\nset xtics (", frame.frame.left,
		      frame.frame.width - frame.frame.right);
	for (i = 0; i < lines->ticks; i++) {
		(void)fputs(i ? ", " : "", to);
		quote_as(ticks[i], true, to);
		(void)fprintf(to, " %.6g", tick_x(&frame, lines->ticks, i));
	}
	(void)fputs(") nomirror noenhanced\n", to);
	write_text(to, &frame.frame, frame.frame.width - frame.frame.right, frame.frame.height - 14,
		   "right", FAINT, "sans-serif,12", axis);
	write_labels(to, &frame, lines, true, colour_of);
	write_labels(to, &frame, lines, false, colour_of);
	write_series(to, &frame, lines, colour_of);
}

/* ---- Bars -------------------------------------------------------------------------------------- */

struct bars {
	const struct bench_row *rows[BARS_MAX];
	size_t count;
	const char *cells[GROUPS_MAX];
	size_t groups;
	bool flat; /* no headings: each bar names its cell itself */
	double low, high;
};

static enum bench_better sorting_better;

static int
compare_bars(const void *a, const void *b)
{
	const struct bench_row *x = *(const struct bench_row *const *)a;
	const struct bench_row *y = *(const struct bench_row *const *)b;
	int order;

	if ((x->state == BENCH_OK) != (y->state == BENCH_OK))
		return x->state == BENCH_OK ? -1 : 1;
	order = x->median < y->median ? -1 : x->median > y->median;
	return sorting_better == BENCH_HIGHER ? -order : order;
}

static enum colour
bar_colour(const struct bench_row *row)
{
	enum colour colour = line_colour(row);

	return colour >= OWN ? OWN : colour;
}

static void
bar_name(const struct bars *bars, const struct bench_row *row, char *name, size_t size)
{
	bool alike = true;
	char cell[128];
	size_t i;

	for (i = 0; i < bars->count; i++)
		if (strcmp(bars->rows[i]->subject, row->subject) != 0)
			alike = false;
	(void)bench_cell_text(cell, sizeof cell, row->cell, NULL);
	if (!bars->flat || !cell[0])
		(void)snprintf(name, size, "%s", row->subject);
	else if (alike)
		(void)snprintf(name, size, "%s", cell);
	else
		(void)snprintf(name, size, "%s, %s", row->subject, cell);
}

static void
write_bar_texts(FILE *to, const struct frame *frame, const struct bars *bars,
		const struct bench_row *row, double y)
{
	enum colour colour = text_colour(bar_colour(row));
	double end = row->max > row->median ? row->max : row->median, x = frame->left;
	const char *font = bar_colour(row) == OWN ? "sans-serif:Bold,12" : "sans-serif,12";
	char text[192];

	bar_name(bars, row, text, sizeof text);
	write_text(to, frame, frame->left - 8, y, "right", colour, font, text);
	if (row->state == BENCH_OK)
		(void)bench_quantity(text, sizeof text, row->median, row->unit);
	else
		(void)snprintf(text, sizeof text, "%s", bench_state_name(row->state));
	if (row->state == BENCH_OK && end > bars->low)
		x += across(frame) * log(end / bars->low) / log(bars->high / bars->low);
	write_text(to, frame, x + 7, y, "left", colour, font, text);
}

/* Writes the texts of all bars, and their shapes as data; returns the height of it all. */
static double
write_rows(FILE *to, FILE *data, const struct frame *frame, struct bars *bars)
{
	double y = frame->top;
	char cell[128];
	size_t group, i;

	for (group = 0; group < (bars->flat ? 1 : bars->groups); group++) {
		if (bars->groups > 1 && !bars->flat) {
			y += group ? 14 : 0;
			if (to)
				write_text(to, frame, 14, y + 11, "left", TEXT,
					   "sans-serif:Bold,12.5",
					   bench_cell_text(cell, sizeof cell, bars->cells[group],
							   NULL));
			y += 26;
		}
		for (i = 0; i < bars->count; i++) {
			const struct bench_row *row = bars->rows[i];

			if (!bars->flat && strcmp(row->cell, bars->cells[group]) != 0)
				continue;
			if (to)
				write_bar_texts(to, frame, bars, row, y + 9);
			if (data && row->state == BENCH_OK && row->median > 0)
				(void)fprintf(data, "%.9g %.2f %.9g %.9g %.9g %.2f %.2f %d\n",
					      row->median, y + 9,
					      row->min > bars->low ? row->min : bars->low, row->max,
					      bars->low, y + 3, y + 15, (int)bar_colour(row));
			y += 19;
		}
	}
	return y - frame->top;
}

static void
write_bars(FILE *to, struct bars *bars, const struct bench_plot *plot, const char *file)
{
	static const enum colour sides[] = {OTHER, LOCK_FREE, OWN};
	struct frame frame = {920, 0, 60, 130, 74, 42};
	const char *between = "plot ";
	const char *unit = bars->rows[0]->unit;
	char name[192];
	size_t i;

	for (i = 0; i < bars->count; i++) {
		double width;

		bar_name(bars, bars->rows[i], name, sizeof name);
		width = 7.2 * (double)strlen(name) + 24;
		if (width > frame.left)
			frame.left = fmin(width, 400);
	}
	frame.height = frame.top + frame.bottom + write_rows(NULL, NULL, &frame, bars);
	begin(to, &frame, plot, file);
	(void)fputs("$bars << END\n", to);
	(void)write_rows(NULL, to, &frame, bars);
	(void)fputs("END\n", to);
	(void)write_rows(to, NULL, &frame, bars);
	write_axis(to, 'x', bars->low, bars->high);
	write_tics(to, 'x', bars->low, bars->high, unit);
	(void)fprintf(to, "set yrange [%.2f:%.2f]\nunset ytics\n", frame.height - frame.bottom,
		      frame.top);
	for (i = 0; i < LENGTH(sides); i++) {
		(void)fprintf(
			to,
			"%s$bars using ($8 == %d ? $1 : NaN):2:5:1:6:7 with boxxyerror fs solid "
			"noborder lc rgb '%s' notitle",
			between, (int)sides[i], light(sides[i]));
		between = ", \\\n";
	}
	(void)fprintf(to,
		      "%s$bars using 1:($4 > $3 ? $2 : NaN):3:4 with xerrorbars pt 0 ps 0 lw 1 "
		      "lc rgb '%s' notitle\n",
		      between, light(TEXT));
}

/* ---- Files ------------------------------------------------------------------------------------- */

static bool
have_gnuplot(void)
{
	/* What a shell finds, as popen's will. */
	return system("command -v gnuplot >/dev/null 2>&1") == 0; /* NOLINT(cert-env33-c) */
}

static FILE *
start_gnuplot(void)
{
	/* What it complains of is seen from its exit status. */
	return popen("gnuplot -d 2>/dev/null", "w"); /* NOLINT(cert-env33-c) */
}

static char *
read_file(const char *path)
{
	FILE *from = fopen(path, "r");
	size_t used = 0, room = 1 << 16;
	char *text = malloc(room + 1);

	while (from && text) {
		size_t got = fread(text + used, 1, room - used, from);
		char *more;

		used += got;
		if (used < room)
			break;
		/* No plot is that long; what has no end, such as a device, is not one. */
		more = room < SVG_MAX ? realloc(text, 2 * room + 1) : NULL;
		if (!more) {
			free(text);
			text = NULL;
			break;
		}
		text = more;
		room *= 2;
	}
	if (!from || (text && ferror(from))) {
		free(text);
		text = NULL;
	}
	if (from)
		(void)fclose(from);
	if (text)
		text[used] = '\0';
	return text;
}

static void
write_style(FILE *to)
{
	size_t i;

	(void)fputs("<style>@media (prefers-color-scheme:dark){", to);
	for (i = 0; i < COLOURS; i++)
		(void)fprintf(
			to,
			"svg [fill=\"%s\"]{fill:%s}svg [stroke=\"%s\"]{stroke:%s}svg [color=\"%s\"]{color:%s}",
			colours[i].light, colours[i].dark, colours[i].light, colours[i].dark,
			colours[i].light, colours[i].dark);
	(void)fputs("}</style>\n", to);
}

/* "rgb( 29,  78, 216)" becomes "#1d4ed8"; what follows, or NULL when this is no colour. */
static const char *
refine_colour(const char *from, FILE *to)
{
	unsigned long parts[3];
	size_t i;

	if (!starts(from, "rgb("))
		return NULL;
	from += strlen("rgb(");
	for (i = 0; i < LENGTH(parts); i++) {
		char *end;

		parts[i] = strtoul(from, &end, 10);
		if (end == from || *end != (i + 1 < LENGTH(parts) ? ',' : ')') || parts[i] > 255)
			return NULL;
		from = end + 1;
	}
	(void)fprintf(to, "#%02lx%02lx%02lx", parts[0], parts[1], parts[2]);
	return from;
}

/*
 * gnuplot's text with colours that a style sheet can find ("rgb( 29,  78, 216)" is "#1d4ed8"), with
 * identifiers that several plots of one page do not share, a title, and no comments about itself.
 */
static void
refine(const char *from, const struct bench_plot *plot, FILE *to)
{
	static const char *const references[] = {"id='", "id=\"", "href='#", "href=\"#", "url(#"};
	size_t i;

	while (*from) {
		const char *end;

		if (starts(from, "<title>") && (end = strstr(from, "</title>"))) {
			/* Each line has a title too, which only counts them. */
			bool outermost = starts(from, "<title>Gnuplot<");

			if (outermost) {
				(void)fputs("<title>", to);
				bench_escape(plot->title, to);
				(void)fputs("</title>", to);
			}
			from = end + strlen("</title>");
			continue;
		}
		end = refine_colour(from, to);
		if (end) {
			from = end;
			continue;
		}
		if (starts(from, ":Bold\"")) {
			(void)fputs("\" font-weight=\"bold\"", to);
			from += strlen(":Bold\"");
			continue;
		}
		for (i = 0; i < LENGTH(references); i++)
			if (starts(from, references[i])) {
				(void)fprintf(to, "%s%s-", references[i], plot->name);
				from += strlen(references[i]);
				break;
			}
		if (i == LENGTH(references))
			putc(*from++, to);
	}
}

static int
finish(struct bench_plot *plot, const char *path)
{
	char *raw = read_file(path), *start = raw ? strstr(raw, "<svg") : NULL;
	char *inside = start ? strchr(start, '>') : NULL;
	size_t size = 0;
	FILE *to;
	int rc = 0;

	if (!inside || !strstr(inside, "</svg>")) {
		free(raw);
		return -EIO;
	}
	*inside++ = '\0';
	to = open_memstream(&plot->svg, &size);
	if (to) {
		refine(start, plot, to);
		(void)fputs(" role=\"img\">\n", to);
		write_style(to);
		refine(inside, plot, to);
		if (fclose(to) != 0) {
			free(plot->svg);
			plot->svg = NULL;
		}
	}
	free(raw);
	if (!plot->svg)
		return -ENOMEM;
	to = fopen(path, "w");
	if (!to)
		return -errno;
	if (fprintf(to, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n%s", plot->svg) < 0)
		rc = -EIO;
	if (fclose(to) != 0)
		rc = -errno;
	return rc;
}

/* ---- The plots --------------------------------------------------------------------------------- */

/* A script in memory, so that gnuplot is started when all of it is known. */
struct script {
	char *text;
	size_t size;
	FILE *to;
};

static void
end_line_caption(struct bench_plot *plot, const struct bench_row *row, unsigned not_drawn)
{
	say_not_drawn_end(plot, not_drawn);
	say(plot, " %s", direction(row->better));
}

/* Draws lines; false when there are too few points for that. */
static bool
draw_lines(const struct choice *choice, const struct bench_results *results,
	   struct bench_plot *plot, FILE *to, const char *file)
{
	const char *metric = first_metric(choice, results);
	struct lines *lines = calloc(1, sizeof *lines);
	const struct bench_row *row = NULL;
	struct family family;
	struct common common;
	unsigned not_drawn = 0;
	size_t i, tick;
	bool drawn = false;

	if (lines && metric && choose_family(choice, metric, results, &family) &&
	    family.count > 1) {
		lines->ticks = family.count;
		say(plot, "%s%s", family.text, family.text[0] ? "." : "");
		for (i = 0; i < results->count; i++) {
			if (!metric_is(&results->rows[i], metric) ||
			    !in_common(choice, &results->rows[i], &common) ||
			    strcmp(common.text, family.text) != 0)
				continue;
			for (tick = 0; tick < family.count; tick++)
				if (strcmp(family.values[tick], common.value) == 0)
					break;
			if (tick == family.count)
				continue;
			if (results->rows[i].state != BENCH_OK || results->rows[i].median <= 0) {
				if (results->rows[i].state != BENCH_ABSENT)
					say_not_drawn(plot, &results->rows[i], common.value,
						      &not_drawn);
				continue;
			}
			row = &results->rows[i];
			add_point(lines, row, tick);
		}
	}
	if (row) {
		end_line_caption(plot, row, not_drawn);
		write_lines(to, lines, family.values, plot, row->unit,
			    strchr(family.values[0], 'x') ? "producers x consumers" : choice->key,
			    file);
		drawn = true;
	}
	free(lines);
	return drawn;
}

/* The load at which percentiles are shown: 80 % or the next lower. */
static void
choose_load(const struct family *family, char *load, size_t size)
{
	size_t i;

	copy(load, size, family->values[0]);
	for (i = 0; i < family->count; i++)
		if (strtod(family->values[i], NULL) <= 80)
			copy(load, size, family->values[i]);
}

static bool
draw_profile(const struct choice *choice, const struct bench_results *results,
	     struct bench_plot *plot, FILE *to, const char *file)
{
	static char percentiles[][48] = {"p50", "p99", "p99.9", "p99.99", "max"};
	struct lines *lines = calloc(1, sizeof *lines);
	const struct bench_row *row = NULL;
	struct family family;
	struct common common;
	unsigned not_drawn = 0;
	char load[48];
	size_t i, tick;

	if (!lines || !choose_family(choice, percentiles[0], results, &family)) {
		free(lines);
		return false;
	}
	lines->ticks = LENGTH(percentiles);
	choose_load(&family, load, sizeof load);
	say(plot, "%s %s%s%s.", choice->key, load, family.text[0] ? ", " : "", family.text);
	for (i = 0; i < results->count; i++) {
		if (!in_common(choice, &results->rows[i], &common) ||
		    strcmp(common.value, load) != 0 || strcmp(common.text, family.text) != 0)
			continue;
		for (tick = 0; tick < LENGTH(percentiles); tick++)
			if (strcmp(results->rows[i].metric, percentiles[tick]) == 0)
				break;
		if (tick == LENGTH(percentiles))
			continue;
		if (results->rows[i].state != BENCH_OK || results->rows[i].median <= 0) {
			if (results->rows[i].state != BENCH_ABSENT && tick == 0)
				say_not_drawn(plot, &results->rows[i], common.value, &not_drawn);
			continue;
		}
		row = &results->rows[i];
		add_point(lines, row, tick);
	}
	if (row) {
		end_line_caption(plot, row, not_drawn);
		write_lines(to, lines, percentiles, plot, row->unit, "percentile", file);
	}
	free(lines);
	return row != NULL;
}

static bool
add_group(struct bars *bars, const char *cell)
{
	size_t i;

	for (i = 0; i < bars->groups; i++)
		if (strcmp(bars->cells[i], cell) == 0)
			return true;
	if (bars->groups == GROUPS_MAX)
		return false;
	bars->cells[bars->groups++] = cell;
	return true;
}

/* Bars of one unit, so of one axis. */
static bool
bar_fits(const struct choice *choice, const char *metric, const struct family *family,
	 const struct bars *bars, const struct bench_row *row)
{
	struct common common;

	return (choice->metric ? metric_is(row, metric)
			       : bars->count == 0 || strcmp(row->unit, bars->rows[0]->unit) == 0) &&
	       (choice->metric || strcmp(choice->suite, "limits") == 0 || metric_is(row, metric)) &&
	       row->state != BENCH_ABSENT && in_common(choice, row, &common) &&
	       (!choice->key[0] || strcmp(common.text, family->text) == 0) &&
	       (bars->count == 0 || strcmp(row->unit, bars->rows[0]->unit) == 0);
}

static void
bound_bars(struct bars *bars)
{
	size_t i;

	for (i = 0; i < bars->count; i++) {
		const struct bench_row *row = bars->rows[i];

		if (row->state != BENCH_OK || row->median <= 0)
			continue;
		if (bars->low == 0 || row->median < bars->low)
			bars->low = row->median;
		if (row->max > bars->high)
			bars->high = row->max;
		if (row->median > bars->high)
			bars->high = row->median;
	}
	bars->low /= 1.6;
	bars->high *= 1.02;
}

static bool
draw_bars(const struct choice *choice, const struct bench_results *results, struct bench_plot *plot,
	  FILE *to, const char *file)
{
	const char *metric = first_metric(choice, results);
	struct bars *bars = calloc(1, sizeof *bars);
	struct family family;
	bool drawn = false;
	char cell[128];
	size_t i;

	if (bars && metric && choose_family(choice, metric, results, &family)) {
		for (i = 0; i < results->count && bars->count < BARS_MAX; i++)
			if (bar_fits(choice, metric, &family, bars, &results->rows[i]) &&
			    add_group(bars, results->rows[i].cell))
				bars->rows[bars->count++] = &results->rows[i];
		bound_bars(bars);
		drawn = bars->count > 0 && bars->low > 0;
	}
	if (drawn) {
		sorting_better = bars->rows[0]->better;
		bars->flat = bars->count < 3 * bars->groups;
		qsort(bars->rows, bars->count, sizeof(struct bench_row *), compare_bars);
		if (bars->groups == 1 && bars->cells[0][0])
			say(plot, "%s. ", bench_cell_text(cell, sizeof cell, bars->cells[0], NULL));
		say(plot, "%s The scale is logarithmic.", direction(bars->rows[0]->better));
		if (bars->rows[0]->rounds > 1)
			say(plot, " The thin line is from the lowest to the highest round.");
		write_bars(to, bars, plot, file);
	}
	free(bars);
	return drawn;
}

static bool
draw(const struct choice *choice, const struct bench_results *results, struct bench_plot *plot,
     FILE *to, const char *file)
{
	switch (choice->kind) {
	case LINES:
		return draw_lines(choice, results, plot, to, file);
	case PROFILE:
		return draw_profile(choice, results, plot, to, file);
	default:
		return draw_bars(choice, results, plot, to, file);
	}
}

/* 0, 1 when there is nothing to draw, or negative errno. */
static int
make_plot(const struct choice *choice, const struct bench_results *results, struct bench_plot *plot,
	  const char *path)
{
	struct script script = {NULL, 0, NULL};
	bool drawn, sent;
	FILE *gnuplot;

	memset(plot, 0, sizeof *plot);
	copy(plot->name, sizeof plot->name, choice->name);
	copy(plot->suite, sizeof plot->suite, choice->suite);
	copy(plot->title, sizeof plot->title, choice->title);
	script.to = open_memstream(&script.text, &script.size);
	if (!script.to)
		return -ENOMEM;
	drawn = draw(choice, results, plot, script.to, path);
	if (fclose(script.to) != 0 || !drawn) {
		free(script.text);
		return drawn ? -ENOMEM : 1;
	}
	gnuplot = start_gnuplot();
	if (!gnuplot) {
		free(script.text);
		return -errno;
	}
	sent = fwrite(script.text, 1, script.size, gnuplot) == script.size;
	free(script.text);
	if (pclose(gnuplot) != 0 || !sent)
		return -EIO;
	return finish(plot, path);
}

/* gnuplot tells "cannot write there" from "cannot draw that" by words only. */
static int
try_file(const char *path)
{
	FILE *to = fopen(path, "w");

	if (!to || fclose(to) != 0)
		return -errno;
	return 0;
}

int
bench_plots_make(struct bench_plots *plots, const struct bench_results *results,
		 const char *directory, char *path, size_t path_size)
{
	void (*on_pipe)(int);
	size_t i;
	int rc = 0;

	memset(plots, 0, sizeof *plots);
	if (!have_gnuplot()) {
		plots->missing = "There are no plots here, as gnuplot was not found: "
				 "the Debian package gnuplot-nox has it.";
		return 0;
	}
	/* A gnuplot that ends early is an error that is told, and not the end of this program. */
	on_pipe = signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < LENGTH(choices) && plots->count < BENCH_PLOTS_MAX; i++) {
		/* gnuplot takes a name that begins with '|' as a command. */
		(void)snprintf(path, path_size, "%s%s/plot-%s.svg", directory[0] == '|' ? "./" : "",
			       directory, choices[i].name);
		rc = try_file(path);
		if (rc)
			break;
		rc = make_plot(&choices[i], results, &plots->plots[plots->count], path);
		if (rc == 0) {
			plots->count++;
			continue;
		}
		(void)remove(path);
		if (rc == -EIO)
			plots->missing = "Some plots are missing, as gnuplot could not draw them.";
		else if (rc < 0)
			break;
		rc = 0;
	}
	(void)signal(SIGPIPE, on_pipe);
	return rc;
}

void
bench_plots_clear(struct bench_plots *plots)
{
	size_t i;

	for (i = 0; i < plots->count; i++)
		free(plots->plots[i].svg);
	plots->count = 0;
}
