/* SPDX-License-Identifier: BSD-2-Clause */
/* What was measured: kept, and written as JSON, as CSV or as tables for people. */
#include "result.h"

#include "statistics.h"

#include <conveyor/version.h>

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

#ifndef BENCH_FLAGS
#define BENCH_FLAGS "unknown"
#endif

#if defined BENCH_COMMIT
#define VERSION QUEUE_VERSION " (" BENCH_COMMIT ")"
#else
#define VERSION QUEUE_VERSION
#endif

#if defined __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* ---- Keeping -------------------------------------------------------------------------------- */

/* Figures without which the rest of a long run would be worth nothing. */
static void *
must(void *memory)
{
	if (!memory) {
		(void)fputs("queue-bench: out of memory\n", stderr);
		abort();
	}
	return memory;
}

/* Cuts at the beginning of a UTF-8 character, so that what is left is text. */
static void
copy_name(char *to, size_t size, const char *from)
{
	size_t length = strlen(from);

	if (length >= size)
		for (length = size - 1; length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80;)
			length--;
	memcpy(to, from, length);
	to[length] = '\0';
}

void
bench_results_clear(struct bench_results *results)
{
	free(results->rows);
	memset(results, 0, sizeof *results);
}

struct bench_row *
bench_results_add(struct bench_results *results, const char *suite, const char *subject,
		  const char *cell, const char *metric, const char *unit, enum bench_better better)
{
	struct bench_row *row;

	if (results->count == results->room) {
		results->room = results->room ? results->room * 2 : 64;
		results->rows = must(realloc(results->rows, results->room * sizeof *results->rows));
	}
	row = &results->rows[results->count++];
	memset(row, 0, sizeof *row);
	copy_name(row->suite, sizeof row->suite, suite);
	copy_name(row->subject, sizeof row->subject, subject);
	copy_name(row->cell, sizeof row->cell, cell);
	copy_name(row->metric, sizeof row->metric, metric);
	copy_name(row->unit, sizeof row->unit, unit);
	row->better = better;
	row->state = BENCH_ABSENT;
	return row;
}

struct bench_row *
bench_results_measured(struct bench_results *results, const char *suite, const char *subject,
		       const char *cell, const char *metric, const char *unit,
		       enum bench_better better, double *samples, size_t n)
{
	struct bench_row *row =
		bench_results_add(results, suite, subject, cell, metric, unit, better);
	struct bench_summary summary = bench_summarize(samples, n);

	row->median = summary.median;
	row->min = summary.min;
	row->max = summary.max;
	row->rounds = summary.rounds;
	if (n > 0)
		row->state = BENCH_OK;
	return row;
}

static bool
is_wrong(enum bench_state state)
{
	return state == BENCH_WRONG || state == BENCH_CRASHED;
}

void
bench_results_state(struct bench_results *results, struct bench_row *row, enum bench_state state,
		    const char *note)
{
	/* A row whose state is said twice counts once. */
	if (is_wrong(row->state) && results->wrong > 0)
		results->wrong--;
	if (is_wrong(state))
		results->wrong++;
	row->state = state;
	if (note)
		copy_name(row->note, sizeof row->note, note);
}

bool
bench_row_is_cost(const struct bench_row *row)
{
	static const char *const times[] = {"ns", "us", "ms", "s"};
	size_t i;

	for (i = 0; i < sizeof times / sizeof *times && row->better == BENCH_NEITHER; i++)
		if (strcmp(row->unit, times[i]) == 0)
			return true;
	return row->better == BENCH_LOWER;
}

const struct bench_row *
bench_results_find(const struct bench_results *results, const char *suite, const char *subject,
		   const char *cell, const char *metric)
{
	size_t i;

	for (i = 0; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];

		if (strcmp(row->suite, suite) == 0 && strcmp(row->subject, subject) == 0 &&
		    strcmp(row->cell, cell) == 0 && strcmp(row->metric, metric) == 0)
			return row;
	}
	return NULL;
}

const char *
bench_state_name(enum bench_state state)
{
	static const char *const names[] = {
		[BENCH_OK] = "ok",	     [BENCH_STALLED] = "stalled", [BENCH_WRONG] = "wrong",
		[BENCH_CRASHED] = "crashed", [BENCH_ABSENT] = "absent",
	};

	return (unsigned)state < COUNT(names) ? names[state] : "?";
}

static const char *
better_name(enum bench_better better)
{
	return better == BENCH_HIGHER ? "higher" : better == BENCH_LOWER ? "lower" : "neither";
}

/* ---- The machine ---------------------------------------------------------------------------- */

/* The value of a line "KEY : VALUE", if that is what it is. */
static const char *
value_of(char *line, const char *key)
{
	size_t length = strlen(key);
	char *value;

	if (strncmp(line, key, length) != 0)
		return NULL;
	value = line + length + strspn(line + length, " \t");
	if (*value != ':')
		return NULL;
	value += 1 + strspn(value + 1, " \t");
	value[strcspn(value, "\n")] = '\0';
	return *value ? value : NULL;
}

void
bench_cpu_read(FILE *cpuinfo, char *name, size_t size)
{
	/* On aarch64 the model has no name there, but these numbers, which are enough to find it. */
	static const char *const keys[] = {"CPU implementer", "CPU part", "CPU variant"};
	char numbers[COUNT(keys)][16] = {"", "", ""}, line[512];
	size_t i;

	(void)snprintf(name, size, "unknown");
	while (fgets(line, sizeof line, cpuinfo)) {
		const char *value = value_of(line, "model name");

		if (value) {
			copy_name(name, size, value);
			return;
		}
		for (i = 0; i < COUNT(keys); i++)
			if ((value = value_of(line, keys[i])) && !numbers[i][0])
				copy_name(numbers[i], sizeof numbers[i], value);
	}
	if (numbers[0][0] && numbers[1][0])
		(void)snprintf(name, size, "Arm architecture, implementer %s, part %s%s%s",
			       numbers[0], numbers[1], numbers[2][0] ? ", variant " : "",
			       numbers[2]);
}

bool
bench_steal_read(FILE *stat, uint64_t *stolen, uint64_t *all)
{
	/* user nice system idle iowait irq softirq steal; what follows is contained in user. */
	enum {
		STEAL = 7
	};
	char line[512], *at = line + 4, *end;
	uint64_t sum = 0, time = 0;
	int i;

	*stolen = *all = 0;
	if (!fgets(line, sizeof line, stat) || strncmp(line, "cpu ", 4) != 0)
		return false;
	for (i = 0; i <= STEAL; i++) {
		time = strtoull(at, &end, 10);
		if (end == at)
			return false;
		sum += time;
		at = end;
	}
	*stolen = time;
	*all = sum;
	return true;
}

static uint64_t
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void
read_steal(uint64_t *stolen, uint64_t *all)
{
	FILE *stat = fopen("/proc/stat", "re");

	*stolen = *all = 0;
	if (!stat)
		return;
	(void)bench_steal_read(stat, stolen, all);
	(void)fclose(stat);
}

static void
read_cpu(struct bench_machine *machine)
{
	FILE *cpuinfo = fopen("/proc/cpuinfo", "re");

	copy_name(machine->cpu, sizeof machine->cpu, "unknown");
	if (!cpuinfo)
		return;
	bench_cpu_read(cpuinfo, machine->cpu, sizeof machine->cpu);
	(void)fclose(cpuinfo);
}

static void
read_kernel(struct bench_machine *machine)
{
	struct utsname names;

	if (uname(&names))
		copy_name(machine->kernel, sizeof machine->kernel, "unknown");
	else
		(void)snprintf(machine->kernel, sizeof machine->kernel, "%.30s %.60s %.30s",
			       names.sysname, names.release, names.machine);
}

static unsigned
count_processors(void)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof allowed, &allowed))
		return 1;
	return (unsigned)CPU_COUNT(&allowed);
}

void
bench_machine_read(struct bench_machine *machine, uint64_t seed)
{
	time_t seconds = time(NULL);
	struct tm broken;

	memset(machine, 0, sizeof *machine);
	read_cpu(machine);
	read_kernel(machine);
	copy_name(machine->compiler, sizeof machine->compiler, COMPILER);
	copy_name(machine->flags, sizeof machine->flags, BENCH_FLAGS);
	copy_name(machine->version, sizeof machine->version, VERSION);
	if (gmtime_r(&seconds, &broken))
		(void)strftime(machine->when, sizeof machine->when, "%Y-%m-%dT%H:%M:%SZ", &broken);
	machine->processors = count_processors();
	machine->seed = seed;
	machine->begun.time = now();
	read_steal(&machine->begun.stolen, &machine->begun.all);
}

/* Of the rows that have a spread: several rounds, and a figure to compare with. */
static double
spread_of(const struct bench_results *results)
{
	double *spreads = must(calloc(results->count + 1, sizeof *spreads)), median;
	size_t i, n = 0;

	for (i = 0; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];
		double spread = (row->max - row->min) / row->median;

		if (row->state == BENCH_OK && row->rounds > 1 && row->median > 0 &&
		    isfinite(spread))
			spreads[n++] = spread;
	}
	median = bench_summarize(spreads, n).median;
	free(spreads);
	return median;
}

void
bench_machine_end(struct bench_machine *machine, const struct bench_results *results)
{
	uint64_t stolen, all;

	machine->seconds = (double)(now() - machine->begun.time) * 1e-9;
	read_steal(&stolen, &all);
	/* The kernel's counters can go back a little. */
	if (all > machine->begun.all && stolen >= machine->begun.stolen)
		machine->steal = (double)(stolen - machine->begun.stolen) /
				 (double)(all - machine->begun.all);
	machine->spread = spread_of(results);
}

/* ---- JSON and CSV --------------------------------------------------------------------------- */

/* How many bytes the UTF-8 character at `text` has, 0 when it is none: RFC 3629, section 4. */
static unsigned
character_at(const unsigned char *text)
{
	unsigned first = text[0], length, i;
	unsigned least = 0x80, most = 0xbf; /* of the second byte */

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (first == 0xe0)
		least = 0xa0; /* not in more bytes than it takes */
	else if (first == 0xf0)
		least = 0x90;
	else if (first == 0xed)
		most = 0x9f; /* no surrogates */
	else if (first == 0xf4)
		most = 0x8f; /* not above U+10FFFF */
	if (text[1] < least || text[1] > most)
		return 0;
	for (i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

void
bench_json_string(const char *text, FILE *to)
{
	const unsigned char *at = (const unsigned char *)text;

	(void)putc('"', to);
	while (*at) {
		unsigned length = character_at(at);

		if (length == 0)
			(void)fputs("\\ufffd", to);
		else if (*at == '"' || *at == '\\')
			(void)fprintf(to, "\\%c", *at);
		else if (*at == '\n')
			(void)fputs("\\n", to);
		else if (*at == '\t')
			(void)fputs("\\t", to);
		else if (*at < 0x20 || *at == 0x7f)
			(void)fprintf(to, "\\u%04x", *at);
		else
			(void)fwrite(at, 1, length, to);
		at += length > 0 ? length : 1;
	}
	(void)putc('"', to);
}

/* ", "NAME": " with whatever stands before it. */
static void
key(const char *before, const char *name, FILE *to)
{
	(void)fprintf(to, "%s\"%s\": ", before, name);
}

static void
json_text(const char *before, const char *name, const char *text, FILE *to)
{
	key(before, name, to);
	if (text)
		bench_json_string(text, to);
	else
		(void)fputs("null", to);
}

/* Ten digits are more than any of these figures has. JSON has no words for what is not a number. */
static void
json_number(const char *before, const char *name, double number, FILE *to)
{
	key(before, name, to);
	if (isfinite(number))
		(void)fprintf(to, "%.10g", number);
	else
		(void)fputs("null", to);
}

static void
json_whole(const char *before, const char *name, uint64_t number, FILE *to)
{
	key(before, name, to);
	(void)fprintf(to, "%llu", (unsigned long long)number);
}

static void
json_machine(const struct bench_machine *machine, FILE *to)
{
	json_text("\t\t", "cpu", machine->cpu, to);
	json_whole(",\n\t\t", "processors", machine->processors, to);
	json_text(",\n\t\t", "kernel", machine->kernel, to);
	json_text(",\n\t\t", "compiler", machine->compiler, to);
	json_text(",\n\t\t", "flags", machine->flags, to);
	json_text(",\n\t\t", "version", machine->version, to);
	json_text(",\n\t\t", "when", machine->when, to);
	json_whole(",\n\t\t", "seed", machine->seed, to);
	json_number(",\n\t\t", "seconds", machine->seconds, to);
	json_number(",\n\t\t", "steal", machine->steal, to);
	json_number(",\n\t\t", "spread", machine->spread, to);
}

/* The traits, by their names in JSON and by their letters in tables. */
static const struct {
	const char *name;
	unsigned trait;
	char letter, weaker; /* weaker: in place of the letter, for each producer's order alone */
} traits[] = {
	{"fifo", BENCH_FIFO, 'F', 'f'},
	{"in_order", BENCH_IN_ORDER, 0, 0},
	{"lock_free", BENCH_LOCK_FREE, 'L', 0},
	{"bounded", BENCH_BOUNDED, 'B', 0},
	{"exact_capacity", BENCH_EXACT, 'E', 0},
	{"closes", BENCH_CLOSES, 'C', 0},
	{"any_value", BENCH_ANY_VALUE, 'Z', 0},
	{"no_system_call", BENCH_NO_SYSCALL, 'U', 0},
	{"own", BENCH_OWN, 0, 0},
	{"reference", BENCH_REFERENCE, 0, 0},
};

static void
json_subject(const struct bench_subject *subject, FILE *to)
{
	size_t i;

	json_text("{", "name", subject->name, to);
	json_text(", ", "label", subject->label, to);
	json_text(", ", "library", subject->library, to);
	json_text(", ", "remark", subject->remark, to);
	json_whole(", ", "producers_max", subject->producers_max, to);
	json_whole(", ", "consumers_max", subject->consumers_max, to);
	for (i = 0; i < COUNT(traits); i++) {
		key(", ", traits[i].name, to);
		(void)fputs(subject->traits & traits[i].trait ? "true" : "false", to);
	}
	(void)putc('}', to);
}

/* A row without figures: nothing was measured, as against 0 having been measured. */
static bool
has_figures(const struct bench_row *row)
{
	return row->state == BENCH_OK || row->rounds > 0;
}

static double
figure_or_nan(const struct bench_row *row, double figure)
{
	return has_figures(row) ? figure : (double)NAN;
}

static double
limit_or_nan(const struct bench_row *row)
{
	return row->limit[0] ? row->limit_value : (double)NAN;
}

static void
json_row(const struct bench_row *row, FILE *to)
{
	json_text("{", "suite", row->suite, to);
	json_text(", ", "subject", row->subject, to);
	json_text(", ", "cell", row->cell, to);
	json_text(", ", "metric", row->metric, to);
	json_text(", ", "unit", row->unit, to);
	json_text(", ", "better", better_name(row->better), to);
	json_text(", ", "state", bench_state_name(row->state), to);
	json_number(", ", "median", figure_or_nan(row, row->median), to);
	json_number(", ", "min", figure_or_nan(row, row->min), to);
	json_number(", ", "max", figure_or_nan(row, row->max), to);
	json_whole(", ", "rounds", row->rounds, to);
	json_text(", ", "limit", row->limit[0] ? row->limit : NULL, to);
	json_number(", ", "limit_value", limit_or_nan(row), to);
	json_text(", ", "note", row->note[0] ? row->note : NULL, to);
	(void)putc('}', to);
}

void
bench_results_json(const struct bench_results *results, const struct bench_machine *machine,
		   FILE *to)
{
	const struct bench_subject *subject;
	const char *before = "\n\t\t";
	size_t i;

	(void)fputs("{\n\t\"machine\": {\n", to);
	json_machine(machine, to);
	(void)fputs("\n\t},\n\t\"subjects\": [", to);
	for (subject = bench_subjects(); subject; subject = subject->next) {
		(void)fputs(before, to);
		json_subject(subject, to);
		before = ",\n\t\t";
	}
	(void)fputs("\n\t],\n\t\"rows\": [", to);
	before = "\n\t\t";
	for (i = 0; i < results->count; i++) {
		(void)fputs(before, to);
		json_row(&results->rows[i], to);
		before = ",\n\t\t";
	}
	(void)fputs("\n\t]\n}\n", to);
}

static void
csv_text(const char *text, FILE *to)
{
	if (!strpbrk(text, ",\"\r\n")) {
		(void)fputs(text, to);
		return;
	}
	(void)putc('"', to);
	for (; *text; text++) {
		if (*text == '"')
			(void)putc('"', to);
		(void)putc(*text, to);
	}
	(void)putc('"', to);
}

static void
csv_number(double number, FILE *to)
{
	(void)putc(',', to);
	if (isfinite(number))
		(void)fprintf(to, "%.10g", number);
}

void
bench_results_csv(const struct bench_results *results, FILE *to)
{
	size_t i, j;

	(void)fputs("suite,subject,cell,metric,unit,better,state,median,min,max,rounds,limit,"
		    "limit_value,note\r\n",
		    to);
	for (i = 0; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];
		const char *const texts[] = {row->suite,
					     row->subject,
					     row->cell,
					     row->metric,
					     row->unit,
					     better_name(row->better),
					     bench_state_name(row->state)};

		for (j = 0; j < COUNT(texts); j++) {
			if (j > 0)
				(void)putc(',', to);
			csv_text(texts[j], to);
		}
		csv_number(figure_or_nan(row, row->median), to);
		csv_number(figure_or_nan(row, row->min), to);
		csv_number(figure_or_nan(row, row->max), to);
		(void)fprintf(to, ",%zu,", row->rounds);
		csv_text(row->limit, to);
		csv_number(limit_or_nan(row), to);
		(void)putc(',', to);
		csv_text(row->note, to);
		(void)fputs("\r\n", to);
	}
}

/* ---- Tables --------------------------------------------------------------------------------- */

#define PAGE 110 /* columns of text */
#define CELL 96	 /* bytes of a cell */
#define GAP 2	 /* between two columns */
#define MARKS 2	 /* to the left of them: "> " before what is this library's */

/* How wide a text is: its characters, each of which is taken for one column. */
static size_t
width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void
put_blanks(size_t n, FILE *to)
{
	while (n-- > 0)
		(void)putc(' ', to);
}

static void
put_rule(size_t n, FILE *to)
{
	while (n-- > 0)
		(void)putc('-', to);
}

/* Words one behind the other, in lines of PAGE columns. */
struct paragraph {
	FILE *to;
	size_t indent, column;
};

static void
put_word(struct paragraph *paragraph, const char *word)
{
	size_t width = width_of(word);

	if (paragraph->column > paragraph->indent) {
		if (paragraph->column + 1 + width > PAGE) {
			(void)putc('\n', paragraph->to);
			put_blanks(paragraph->indent, paragraph->to);
			paragraph->column = paragraph->indent;
		} else {
			(void)putc(' ', paragraph->to);
			paragraph->column++;
		}
	}
	(void)fputs(word, paragraph->to);
	paragraph->column += width;
}

static void
put_words(struct paragraph *paragraph, const char *text)
{
	char word[PAGE * 4];

	for (;;) {
		size_t length;

		text += strspn(text, " ");
		length = strcspn(text, " ");
		if (length == 0)
			return;
		(void)snprintf(word, sizeof word, "%.*s", (int)length, text);
		put_word(paragraph, word);
		text += length;
	}
}

static void
put_line(const char *text, FILE *to)
{
	struct paragraph paragraph = {to, 0, 0};

	put_words(&paragraph, text);
	(void)putc('\n', to);
}

void
bench_machine_print(const struct bench_machine *machine, FILE *to)
{
	char text[1024];

	(void)snprintf(text, sizeof text, "%s, %u processor%s, %s", machine->cpu,
		       machine->processors, machine->processors == 1 ? "" : "s", machine->kernel);
	put_line(text, to);
	(void)snprintf(text, sizeof text, "conveyor %s, %s, %s for all", machine->version,
		       machine->compiler, machine->flags);
	put_line(text, to);
	(void)snprintf(text, sizeof text, "%s, seed %llu, %.1f s", machine->when,
		       (unsigned long long)machine->seed, machine->seconds);
	put_line(text, to);
	(void)snprintf(text, sizeof text,
		       "Noise: %.2f %% of the processors' time went to others of the host; half of "
		       "the figures vary by %.1f %% or more",
		       machine->steal * 100, machine->spread * 100);
	put_line(text, to);
}

/* The decimals, up to 6, that give a figure of 0 or more so many digits, if it needs any. */
static int
digits_after(double figure, int digits)
{
	int after = digits - 1;

	while (figure >= 10 && after > 0) {
		figure /= 10;
		after--;
	}
	while (figure > 0 && figure < 1 && after < 6) {
		figure *= 10;
		after++;
	}
	return after;
}

/*
 * How many decimals give all figures from `small` to `great` the same form: three digits for the
 * great one, or more, up to five, for the small one's sake, which wants two.
 */
static int
decimals_of(double small, double great)
{
	int three = digits_after(great, 3), five = digits_after(great, 5);
	int wanted = digits_after(small, 2);

	return wanted <= three ? three : wanted < five ? wanted : five;
}

/* With commas between the thousands: the tails of latencies are long numbers. */
static void
format_figure(char *cell, double figure, int decimals)
{
	char plain[CELL];
	size_t digits, i, at = 0;

	if (!isfinite(figure) || figure >= 1e15 || figure <= -1e15) {
		(void)snprintf(cell, CELL, "%.3g", figure);
		return;
	}
	(void)snprintf(plain, sizeof plain, "%.*f", decimals, figure);
	digits = strspn(plain, "-0123456789");
	for (i = 0; plain[i]; i++) {
		cell[at++] = plain[i];
		if (plain[i] != '-' && i + 1 < digits && (digits - i - 1) % 3 == 0)
			cell[at++] = ',';
	}
	cell[at] = '\0';
}

struct column {
	char head[CELL], unit[CELL];
	bool left;   /* stands on the left: texts */
	bool joined; /* stays beside the column before it */
	size_t width;
};

/* Cells of text: the form that is common to all tables. */
struct sheet {
	bool *marked; /* the lines that are */
	struct column *columns;
	char (*cells)[CELL]; /* line by line */
	size_t column_count, column_room, line_count;
};

static void
sheet_begin(struct sheet *sheet, size_t column_room, size_t line_count)
{
	sheet->columns = must(calloc(column_room, sizeof *sheet->columns));
	sheet->cells = must(calloc(column_room * (line_count + 1), sizeof *sheet->cells));
	sheet->marked = must(calloc(line_count + 1, sizeof *sheet->marked));
	sheet->column_count = 0;
	sheet->column_room = column_room;
	sheet->line_count = line_count;
}

static void
sheet_end(struct sheet *sheet)
{
	free(sheet->columns);
	free(sheet->cells);
	free(sheet->marked);
}

/* Its number. */
static size_t
sheet_column(struct sheet *sheet, const char *head, const char *unit, bool left, bool joined)
{
	struct column *column = &sheet->columns[sheet->column_count];

	copy_name(column->head, sizeof column->head, head);
	copy_name(column->unit, sizeof column->unit, unit);
	column->left = left;
	column->joined = joined;
	return sheet->column_count++;
}

static char *
sheet_cell(const struct sheet *sheet, size_t line, size_t column)
{
	return sheet->cells[line * sheet->column_room + column];
}

/*
 * The lines of a head when it may be as wide as the column: from `at`, one line is copied; returns
 * where the next begins, NULL behind the last.
 */
static const char *
head_line(const char *at, size_t width, char *line)
{
	size_t length = strcspn(at, " ");

	for (;;) {
		size_t next = length + strspn(at + length, " ");

		next += strcspn(at + next, " ");
		if (next == length || next > width)
			break;
		length = next;
	}
	memcpy(line, at, length);
	line[length] = '\0';
	at += length + strspn(at + length, " ");
	return *at ? at : NULL;
}

static size_t
head_height(const struct column *column)
{
	const char *at = column->head;
	char line[CELL];
	size_t height = column->unit[0] != '\0';

	while (at && *at) {
		at = head_line(at, column->width, line);
		height++;
	}
	return height;
}

/* The head's line that is `above` lines from its last, which is the unit if there is one. */
static void
head_text(const struct column *column, size_t above, char *line)
{
	size_t height = head_height(column), skip;
	const char *at = column->head;

	*line = '\0';
	if (above >= height)
		return;
	if (above == 0 && column->unit[0]) {
		copy_name(line, CELL, column->unit);
		return;
	}
	for (skip = height - above; at && skip > 0; skip--)
		at = head_line(at, column->width, line);
}

static size_t
longest_word(const char *text)
{
	size_t longest = 0;

	while (*text) {
		size_t length = strcspn(text, " ");

		if (length > longest)
			longest = length;
		text += length + strspn(text + length, " ");
	}
	return longest;
}

static size_t
greatest(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void
sheet_measure(struct sheet *sheet)
{
	size_t i, line;

	for (i = 0; i < sheet->column_count; i++) {
		struct column *column = &sheet->columns[i];

		column->width = greatest(longest_word(column->head), width_of(column->unit));
		for (line = 0; line < sheet->line_count; line++)
			column->width =
				greatest(column->width, width_of(sheet_cell(sheet, line, i)));
	}
}

/* One line of the columns 0 and from..to; what is blank at its end is not written. */
struct writer {
	FILE *to;
	size_t blanks;
};

static void
put_cell(struct writer *writer, const char *text, const struct column *column)
{
	size_t width = width_of(text), room = column->width > width ? column->width - width : 0;

	if (!column->left)
		writer->blanks += room;
	if (*text) {
		put_blanks(writer->blanks, writer->to);
		writer->blanks = 0;
		(void)fputs(text, writer->to);
	}
	if (column->left)
		writer->blanks += room;
	writer->blanks += GAP;
}

/* The columns that fit beside the first one, from `from`: the number of the first that does not. */
static size_t
block_end(const struct sheet *sheet, size_t from)
{
	size_t width = MARKS + sheet->columns[0].width, end = from, i;

	for (i = from; i < sheet->column_count; i++) {
		width += GAP + sheet->columns[i].width;
		if (width > PAGE)
			return end > from ? end : i > from ? i : from + 1;
		if (i + 1 == sheet->column_count || !sheet->columns[i + 1].joined)
			end = i + 1;
	}
	return end;
}

static void
put_block(const struct sheet *sheet, size_t from, size_t end, FILE *to)
{
	size_t height = head_height(&sheet->columns[0]);
	size_t width = MARKS + sheet->columns[0].width, i, line;
	char text[CELL];

	for (i = from; i < end; i++) {
		height = greatest(height, head_height(&sheet->columns[i]));
		width += GAP + sheet->columns[i].width;
	}
	while (height-- > 0) {
		struct writer writer = {to, MARKS};

		head_text(&sheet->columns[0], height, text);
		put_cell(&writer, text, &sheet->columns[0]);
		for (i = from; i < end; i++) {
			head_text(&sheet->columns[i], height, text);
			put_cell(&writer, text, &sheet->columns[i]);
		}
		(void)putc('\n', to);
	}
	put_rule(width, to);
	(void)putc('\n', to);
	for (line = 0; line < sheet->line_count; line++) {
		struct writer writer = {to, 1};

		(void)putc(sheet->marked[line] ? '>' : ' ', to);
		put_cell(&writer, sheet_cell(sheet, line, 0), &sheet->columns[0]);
		for (i = from; i < end; i++)
			put_cell(&writer, sheet_cell(sheet, line, i), &sheet->columns[i]);
		(void)putc('\n', to);
	}
}

/* In blocks below each other, each with the first column, when it is wider than the page. */
static void
sheet_print(struct sheet *sheet, FILE *to)
{
	size_t from = 1, end;

	sheet_measure(sheet);
	do {
		end = block_end(sheet, from);
		if (from > 1)
			(void)putc('\n', to);
		put_block(sheet, from, end, to);
		from = end;
	} while (from < sheet->column_count);
}

/* ---- The rows of one cell of a suite -------------------------------------------------------- */

struct entry {
	const char *name;
	const struct bench_subject *subject; /* NULL: what is measured is no queue */
	bool absent;			     /* none of its rows is anything else */
	int class;			     /* 0: has the first metric's figure; then by state */
	double key;			     /* in ascending order */
	size_t place;			     /* that it was added in */
	char notes[32];			     /* the numbers of its notes: " [1,2]" */
};

struct group {
	const struct bench_row **rows;
	const struct bench_row **metrics; /* the first row of each metric */
	struct entry *entries;
	const char **notes;
	size_t row_count, metric_count, entry_count, note_count;
	size_t shown; /* entries that are not absent; these come first */
};

static const struct bench_row *
row_of(const struct group *group, const struct entry *entry, const char *metric)
{
	size_t i;

	for (i = 0; i < group->row_count; i++)
		if (strcmp(group->rows[i]->metric, metric) == 0 &&
		    strcmp(group->rows[i]->subject, entry->name) == 0)
			return group->rows[i];
	return NULL;
}

static bool
is_ok(const struct bench_row *row)
{
	return row && row->state == BENCH_OK;
}

static int
by_rank(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;

	if (left->absent != right->absent)
		return left->absent ? 1 : -1;
	if (left->class != right->class)
		return left->class < right->class ? -1 : 1;
	if (left->key < right->key || left->key > right->key)
		return left->key < right->key ? -1 : 1;
	return left->place < right->place ? -1 : 1;
}

static void
rank(const struct group *group, struct entry *entry)
{
	const struct bench_row *row = row_of(group, entry, group->metrics[0]->metric);

	entry->class = row ? (int)row->state : BENCH_ABSENT;
	entry->key = 0;
	if (is_ok(row) && !isfinite(row->median))
		entry->class = BENCH_ABSENT;
	else if (is_ok(row) && row->better == BENCH_HIGHER)
		entry->key = -row->median;
	else if (is_ok(row) && row->better == BENCH_LOWER)
		entry->key = row->median;
}

static struct entry *
entry_of(struct group *group, const struct bench_row *row)
{
	struct entry *entry;
	size_t i;

	for (i = 0; i < group->entry_count; i++)
		if (strcmp(group->entries[i].name, row->subject) == 0)
			return &group->entries[i];
	entry = &group->entries[group->entry_count];
	entry->name = row->subject;
	entry->subject = bench_subject_named(row->subject);
	entry->absent = true;
	entry->place = group->entry_count++;
	return entry;
}

static void
add_metric(struct group *group, const struct bench_row *row)
{
	size_t i;

	for (i = 0; i < group->metric_count; i++)
		if (strcmp(group->metrics[i]->metric, row->metric) == 0)
			return;
	group->metrics[group->metric_count++] = row;
}

/* The rows from the first, `from`, that have its suite and cell. */
static void
group_begin(struct group *group, const struct bench_results *results, size_t from)
{
	const struct bench_row *first = &results->rows[from];
	size_t most = results->count - from, i;

	memset(group, 0, sizeof *group);
	group->rows = must(calloc(most, sizeof(void *)));
	group->metrics = must(calloc(most, sizeof(void *)));
	group->entries = must(calloc(most, sizeof *group->entries));
	group->notes = must(calloc(most, sizeof *group->notes));
	for (i = from; i < results->count; i++) {
		const struct bench_row *row = &results->rows[i];

		if (strcmp(row->suite, first->suite) != 0 || strcmp(row->cell, first->cell) != 0)
			continue;
		group->rows[group->row_count++] = row;
		add_metric(group, row);
		if (row->state != BENCH_ABSENT)
			entry_of(group, row)->absent = false;
		else
			(void)entry_of(group, row);
	}
	for (i = 0; i < group->entry_count; i++) {
		rank(group, &group->entries[i]);
		group->shown += !group->entries[i].absent;
	}
	qsort(group->entries, group->entry_count, sizeof *group->entries, by_rank);
}

static void
group_end(struct group *group)
{
	free(group->rows);
	free(group->metrics);
	free(group->entries);
	free(group->notes);
}

/* The number of a note, from 1; the same text has the same number. */
static size_t
note_number(struct group *group, const char *note)
{
	size_t i;

	for (i = 0; i < group->note_count; i++)
		if (strcmp(group->notes[i], note) == 0)
			return i + 1;
	group->notes[group->note_count++] = note;
	return group->note_count;
}

static void
append_note(char *notes, size_t size, size_t number)
{
	size_t length = strlen(notes);

	if (length > 0 && length + 8 < size)
		(void)snprintf(notes + length - 1, size - length + 1, ",%zu]", number);
	else if (length == 0)
		(void)snprintf(notes, size, " [%zu]", number);
}

/* Has the entry an earlier row, before the i-th, with the same note? */
static bool
noted_before(const struct group *group, size_t i)
{
	const struct bench_row *row = group->rows[i];
	size_t j;

	for (j = 0; j < i; j++)
		if (strcmp(group->rows[j]->subject, row->subject) == 0 &&
		    strcmp(group->rows[j]->note, row->note) == 0)
			return true;
	return false;
}

/* Numbers the notes of what an entry says in the table, from the top. */
static void
number_notes(struct group *group, struct entry *entry)
{
	size_t i;

	for (i = 0; i < group->row_count; i++)
		if (group->rows[i]->note[0] && strcmp(group->rows[i]->subject, entry->name) == 0 &&
		    !noted_before(group, i))
			append_note(entry->notes, sizeof entry->notes,
				    note_number(group, group->rows[i]->note));
}

static void
put_notes(const struct group *group, FILE *to)
{
	size_t i;

	for (i = 0; i < group->note_count; i++) {
		struct paragraph paragraph = {to, 8, 0};

		paragraph.column = (size_t)fprintf(to, "  [%zu] ", i + 1);
		paragraph.indent = paragraph.column;
		put_words(&paragraph, group->notes[i]);
		(void)putc('\n', to);
	}
}

static const char *
absence_of(const struct group *group, const struct entry *entry)
{
	size_t i;

	for (i = 0; i < group->row_count; i++)
		if (group->rows[i]->note[0] && strcmp(group->rows[i]->subject, entry->name) == 0)
			return group->rows[i]->note;
	return "";
}

/* Who is absent for the same reason stands together. */
static void
put_absent(const struct group *group, FILE *to)
{
	size_t i, j;

	for (i = group->shown; i < group->entry_count; i++) {
		const char *reason = absence_of(group, &group->entries[i]);
		struct paragraph paragraph = {to, 10, 10};
		bool said = false;

		for (j = group->shown; j < i && !said; j++)
			said = strcmp(absence_of(group, &group->entries[j]), reason) == 0;
		if (said)
			continue;
		(void)fputs("  absent: ", to);
		for (j = i; j < group->entry_count; j++) {
			char word[CELL];
			size_t k = j + 1;

			if (strcmp(absence_of(group, &group->entries[j]), reason) != 0)
				continue;
			while (k < group->entry_count &&
			       strcmp(absence_of(group, &group->entries[k]), reason) != 0)
				k++;
			(void)snprintf(word, sizeof word, "%s%s", group->entries[j].name,
				       k < group->entry_count ? ","
				       : *reason	      ? ":"
							      : "");
			put_word(&paragraph, word);
		}
		put_words(&paragraph, reason);
		(void)putc('\n', to);
	}
}

/* ---- A line per subject, a column per metric ------------------------------------------------ */

/* The letters of what a subject can do, a point for what it cannot. */
static void
format_traits(char *cell, const struct bench_subject *subject)
{
	size_t i;

	for (i = 0; i < COUNT(traits); i++) {
		if (!traits[i].letter)
			continue;
		if (subject->traits & traits[i].trait)
			*cell++ = traits[i].letter;
		else if (traits[i].weaker && subject->traits & BENCH_IN_ORDER)
			*cell++ = traits[i].weaker;
		else
			*cell++ = '.';
	}
	*cell = '\0';
}

static int
metric_decimals(const struct group *group, const char *metric)
{
	double small = INFINITY, great = 0;
	size_t i;

	for (i = 0; i < group->row_count; i++) {
		const struct bench_row *row = group->rows[i];
		double size = row->median < 0 ? -row->median : row->median;

		if (!is_ok(row) || !isfinite(size) || strcmp(row->metric, metric) != 0)
			continue;
		if (size > 0 && size < small)
			small = size;
		if (size > great)
			great = size;
	}
	return isfinite(small) ? decimals_of(small, great) : 0;
}

/* 1 at the limit, less when it is missed. */
static double
efficiency(const struct bench_row *row)
{
	double share = bench_row_is_cost(row) ? row->limit_value / row->median
					      : row->median / row->limit_value;

	return row->limit[0] && row->limit_value > 0 && isfinite(share) ? share : (double)NAN;
}

static void
format_ratio(char *cell, double ratio, int decimals)
{
	if (isfinite(ratio))
		format_figure(cell, ratio, decimals);
}

enum part {
	PART_MEDIAN,
	PART_MIN,
	PART_MAX,
	PART_OF_BEST,
	PART_OF_LIMIT
};

static void
fill_part(const struct sheet *sheet, const struct group *group, const char *metric, enum part part,
	  size_t column)
{
	const struct bench_row *best = row_of(group, &group->entries[0], metric);
	int decimals = metric_decimals(group, metric);
	size_t line;

	for (line = 0; line < group->shown; line++) {
		const struct bench_row *row = row_of(group, &group->entries[line], metric);
		char *cell = sheet_cell(sheet, line, column);

		if (!row)
			continue;
		if (!is_ok(row)) {
			if (part == PART_MEDIAN)
				(void)snprintf(cell, CELL, "%s", bench_state_name(row->state));
			continue;
		}
		if (part == PART_MEDIAN)
			format_figure(cell, row->median, decimals);
		else if (part == PART_MIN)
			format_figure(cell, row->min, decimals);
		else if (part == PART_MAX)
			format_figure(cell, row->max, decimals);
		else if (part == PART_OF_BEST)
			format_ratio(cell, row->median / best->median, 3);
		else
			format_ratio(cell, efficiency(row) * 100, 1);
	}
}

static bool
have_rounds(const struct group *group, const char *metric)
{
	size_t i;

	for (i = 0; i < group->row_count; i++)
		if (is_ok(group->rows[i]) && group->rows[i]->rounds > 1 &&
		    (!metric || strcmp(group->rows[i]->metric, metric) == 0))
			return true;
	return false;
}

static bool
have_limit(const struct group *group, const char *metric)
{
	size_t i;

	for (i = 0; i < group->row_count; i++)
		if (isfinite(efficiency(group->rows[i])) && is_ok(group->rows[i]) &&
		    (!metric || strcmp(group->rows[i]->metric, metric) == 0))
			return true;
	return false;
}

/* Is there a best, and another to compare with it? */
static bool
have_rank(const struct group *group)
{
	return group->metrics[0]->better != BENCH_NEITHER && group->shown > 1 &&
	       group->entries[0].class == BENCH_OK && group->entries[1].class == BENCH_OK;
}

static void
add_parts(struct sheet *sheet, const struct group *group, size_t number)
{
	const struct bench_row *metric = group->metrics[number];
	const char *name = metric->metric;

	fill_part(sheet, group, name, PART_MEDIAN,
		  sheet_column(sheet, name, metric->unit, false, number == 0));
	if (number == 0 && have_rounds(group, name)) {
		fill_part(sheet, group, name, PART_MIN,
			  sheet_column(sheet, "min", "", false, true));
		fill_part(sheet, group, name, PART_MAX,
			  sheet_column(sheet, "max", "", false, true));
	}
	if (number == 0 && have_rank(group))
		fill_part(sheet, group, name, PART_OF_BEST,
			  sheet_column(sheet, "of best", "x", false, true));
	if (have_limit(group, name))
		fill_part(sheet, group, name, PART_OF_LIMIT,
			  sheet_column(sheet, "of limit", "%", false, true));
}

static void
add_names(struct sheet *sheet, const struct group *group)
{
	size_t name = sheet_column(sheet, "subject", "", true, false), line, can;
	bool queues = false;

	for (line = 0; line < group->shown; line++) {
		const struct entry *entry = &group->entries[line];

		sheet->marked[line] = entry->subject && entry->subject->traits & BENCH_OWN;
		(void)snprintf(sheet_cell(sheet, line, name), CELL, "%s%s", entry->name,
			       entry->notes);
		queues = queues || entry->subject;
	}
	if (!queues)
		return;
	can = sheet_column(sheet, "can", "", true, true);
	for (line = 0; line < group->shown; line++)
		if (group->entries[line].subject)
			format_traits(sheet_cell(sheet, line, can), group->entries[line].subject);
}

/* The limits that are compared with, each once. */
static void
put_limits(const struct group *group, FILE *to)
{
	size_t i, j;

	for (i = 0; i < group->row_count; i++) {
		const struct bench_row *row = group->rows[i];
		bool said = !is_ok(row) || !isfinite(efficiency(row));
		char figure[CELL];

		for (j = 0; j < i && !said; j++)
			said = is_ok(group->rows[j]) &&
			       strcmp(group->rows[j]->limit, row->limit) == 0 &&
			       strcmp(group->rows[j]->metric, row->metric) == 0;
		if (said)
			continue;
		format_figure(figure, row->limit_value,
			      decimals_of(row->limit_value, row->limit_value));
		(void)fprintf(to, "  limit of %s: %s %s (%s)\n", row->metric, figure, row->unit,
			      row->limit);
	}
}

static void
print_matrix(const struct group *group, FILE *to)
{
	struct sheet sheet;
	size_t i;

	put_limits(group, to);
	if (group->shown == 0)
		return;
	sheet_begin(&sheet, 6 + 2 * group->metric_count, group->shown);
	add_names(&sheet, group);
	for (i = 0; i < group->metric_count; i++)
		add_parts(&sheet, group, i);
	sheet_print(&sheet, to);
	sheet_end(&sheet);
}

/* ---- A line per figure ---------------------------------------------------------------------- */

/*
 * A column per metric is of no use where there is one subject, where the subjects have their own
 * metrics, or where a metric has several units.
 */
static bool
is_list(const struct group *group)
{
	size_t i, j, measured = 0, subjects = 0;

	for (i = 0; i < group->shown; i++) {
		bool any = false;

		for (j = 0; j < group->metric_count; j++) {
			const struct bench_row *row =
				row_of(group, &group->entries[i], group->metrics[j]->metric);

			measured += is_ok(row);
			any = any || is_ok(row);
			if (is_ok(row) && strcmp(row->unit, group->metrics[j]->unit) != 0)
				return true;
		}
		subjects += any;
	}
	return group->metric_count > 1 &&
	       (group->entry_count == 1 || 2 * measured < subjects * group->metric_count);
}

static void
fill_line(const struct sheet *sheet, size_t line, size_t column, const struct bench_row *row,
	  bool rounds, bool limits)
{
	double size = row->median < 0 ? -row->median : row->median;
	int decimals = decimals_of(size, size);

	(void)snprintf(sheet_cell(sheet, line, column + (rounds ? 3 : 1)), CELL, "%s", row->unit);
	if (!is_ok(row)) {
		(void)snprintf(sheet_cell(sheet, line, column), CELL, "%s",
			       bench_state_name(row->state));
		return;
	}
	format_figure(sheet_cell(sheet, line, column++), row->median, decimals);
	if (rounds) {
		format_figure(sheet_cell(sheet, line, column++), row->min, decimals);
		format_figure(sheet_cell(sheet, line, column++), row->max, decimals);
	}
	if (limits)
		format_ratio(sheet_cell(sheet, line, column + 1), efficiency(row) * 100, 1);
}

static void
print_list(struct group *group, FILE *to)
{
	bool rounds = have_rounds(group, NULL), limits = have_limit(group, NULL);
	bool subjects = group->entry_count > 1, metrics = group->metric_count > 1;
	struct sheet sheet;
	size_t line, column;

	put_limits(group, to);
	sheet_begin(&sheet, 8, group->row_count);
	(void)sheet_column(&sheet, subjects ? "what" : "", "", true, false);
	if (subjects && metrics)
		(void)sheet_column(&sheet, "metric", "", true, true);
	column = sheet_column(&sheet, "median", "", false, true);
	if (rounds) {
		(void)sheet_column(&sheet, "min", "", false, true);
		(void)sheet_column(&sheet, "max", "", false, true);
	}
	(void)sheet_column(&sheet, "unit", "", true, true);
	if (limits)
		(void)sheet_column(&sheet, "of limit", "%", false, true);
	for (line = 0; line < group->row_count; line++) {
		const struct bench_row *row = group->rows[line];
		char notes[32] = "";

		if (row->note[0])
			append_note(notes, sizeof notes, note_number(group, row->note));
		(void)snprintf(sheet_cell(&sheet, line, 0), CELL, "%s%s",
			       subjects ? row->subject : row->metric, notes);
		if (subjects && metrics)
			(void)snprintf(sheet_cell(&sheet, line, 1), CELL, "%s", row->metric);
		fill_line(&sheet, line, column, row, rounds, limits);
	}
	sheet_print(&sheet, to);
	sheet_end(&sheet);
	put_notes(group, to);
}

static void
print_group(struct group *group, FILE *to)
{
	const struct bench_row *first = group->rows[0];
	bool list = is_list(group);
	size_t i;

	(void)fprintf(to, "%s%s%s", first->suite, first->cell[0] ? ": " : "", first->cell);
	if (list && group->entry_count == 1)
		(void)fprintf(to, ", %s", first->subject);
	(void)fputs("\n\n", to);
	if (list) {
		print_list(group, to);
		return;
	}
	for (i = 0; i < group->shown; i++)
		number_notes(group, &group->entries[i]);
	print_matrix(group, to);
	put_absent(group, to);
	put_notes(group, to);
}

/* ---- All of them ---------------------------------------------------------------------------- */

static bool
occurs(const struct bench_results *results, const struct bench_subject *subject)
{
	size_t i;

	for (i = 0; results && i < results->count; i++)
		if (strcmp(results->rows[i].subject, subject->name) == 0)
			return true;
	return !results;
}

static void
put_subject(const struct bench_subject *subject, size_t width, FILE *to)
{
	char can[CELL], text[512];
	struct paragraph paragraph = {to, 0, 0};

	format_traits(can, subject);
	(void)fprintf(to, "%s %-*s  %s  ", subject->traits & BENCH_OWN ? ">" : " ", (int)width,
		      subject->name, can);
	paragraph.indent = paragraph.column = 2 + width + 2 + strlen(can) + 2;
	(void)snprintf(text, sizeof text, "%s (%s)%s %s", subject->label, subject->library,
		       subject->remark ? ":" : "", subject->remark ? subject->remark : "");
	put_words(&paragraph, text);
	(void)putc('\n', to);
}

void
bench_subjects_print(const struct bench_results *results, FILE *to)
{
	const struct bench_subject *subject;
	size_t width = 0;

	for (subject = bench_subjects(); subject; subject = subject->next)
		if (occurs(results, subject))
			width = greatest(width, strlen(subject->name));
	if (width == 0)
		return;
	for (subject = bench_subjects(); subject; subject = subject->next)
		if (occurs(results, subject))
			put_subject(subject, width, to);
	(void)putc('\n', to);
	put_line("> this library's. F one order for all (f: each producer's items in order), "
		 "L lock-free, B bounded, E holds exactly its capacity, C can be closed, Z takes "
		 "any word, zero too, U stays in user space; a point: it does not.",
		 to);
}

/* Is the row the first of its suite and cell? */
static bool
begins_group(const struct bench_results *results, size_t i)
{
	const struct bench_row *rows = results->rows;
	size_t j;

	for (j = i; j-- > 0;)
		if (strcmp(rows[j].cell, rows[i].cell) == 0 &&
		    strcmp(rows[j].suite, rows[i].suite) == 0)
			return false;
	return true;
}

void
bench_results_print(const struct bench_results *results, FILE *to)
{
	size_t i;

	for (i = 0; i < results->count; i++) {
		struct group group;

		if (!begins_group(results, i))
			continue;
		group_begin(&group, results, i);
		print_group(&group, to);
		group_end(&group);
		(void)putc('\n', to);
	}
	bench_subjects_print(results, to);
}
