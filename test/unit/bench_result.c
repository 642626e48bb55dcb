/* SPDX-License-Identifier: BSD-2-Clause */
#include "result.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct bench_subject ring = {
	.name = "ring",
	.label = "queue_ring",
	.library = "conveyor 1",
	.traits = BENCH_OWN | BENCH_FIFO | BENCH_IN_ORDER | BENCH_LOCK_FREE | BENCH_BOUNDED |
		  BENCH_EXACT | BENCH_CLOSES | BENCH_ANY_VALUE | BENCH_NO_SYSCALL,
};
static struct bench_subject lanes = {
	.name = "lanes",
	.label = "a queue of lanes",
	.library = "\"Lanes\" 2.0",
	.remark = "no order across producers",
	.traits = BENCH_IN_ORDER | BENCH_REFERENCE,
	.producers_max = 7,
	.consumers_max = 1,
};

static __attribute__((constructor)) void
register_subjects(void)
{
	bench_register(&lanes);
	bench_register(&ring);
}

static struct bench_results results;

static struct bench_row *
measure(const char *subject, const char *cell, const char *metric, const char *unit,
	enum bench_better better, double low, double middle, double high)
{
	double samples[] = {middle, high, low};

	return bench_results_measured(&results, "speed", subject, cell, metric, unit, better,
				      samples, COUNT(samples));
}

static struct bench_row *
fail(const char *subject, const char *cell, const char *metric, enum bench_state state,
     const char *note)
{
	struct bench_row *row =
		bench_results_add(&results, "speed", subject, cell, metric, "M/s", BENCH_HIGHER);

	bench_results_state(&results, row, state, note);
	return row;
}

static void
limit(struct bench_row *row, const char *name, double value)
{
	(void)snprintf(row->limit, sizeof row->limit, "%s", name);
	row->limit_value = value;
}

static const struct bench_machine machine = {
	.cpu = "a \"fast\" one",
	.kernel = "Linux 6",
	.compiler = "gcc 12",
	.flags = "-O3",
	.version = "0.1.0 (abc)",
	.when = "2026-01-02T03:04:05Z",
	.processors = 2,
	.seed = UINT64_MAX,
	.seconds = 12.5,
	.steal = 0.25,
	.spread = 0.0625,
};

enum form {
	FORM_TABLES,
	FORM_JSON,
	FORM_CSV,
	FORM_SUBJECTS,
	FORM_MACHINE
};

/* To be freed. */
static char *
written(enum form form)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	cr_assert_not_null(to);
	if (form == FORM_TABLES)
		bench_results_print(&results, to);
	else if (form == FORM_JSON)
		bench_results_json(&results, &machine, to);
	else if (form == FORM_CSV)
		bench_results_csv(&results, to);
	else if (form == FORM_SUBJECTS)
		bench_subjects_print(NULL, to);
	else
		bench_machine_print(&machine, to);
	(void)fclose(to);
	return text;
}

static void
check_text(enum form form, const char *expected)
{
	char *text = written(form);

	cr_assert_eq(strcmp(text, expected), 0, "\n%s\ninstead of\n%s", text, expected);
	free(text);
}

/* ---- Keeping --------------------------------------------------------------------------------- */

Test(bench_result, a_row_is_absent_until_it_is_filled)
{
	struct bench_row *row =
		bench_results_add(&results, "speed", "ring", "1x1", "rate", "M/s", BENCH_LOWER);

	cr_assert_eq(results.count, 1);
	cr_assert_eq(row, results.rows);
	cr_assert_eq(strcmp(row->suite, "speed"), 0);
	cr_assert_eq(strcmp(row->subject, "ring"), 0);
	cr_assert_eq(strcmp(row->cell, "1x1"), 0);
	cr_assert_eq(strcmp(row->metric, "rate"), 0);
	cr_assert_eq(strcmp(row->unit, "M/s"), 0);
	cr_assert_eq(row->better, BENCH_LOWER);
	cr_assert_eq(row->state, BENCH_ABSENT);
	cr_assert_eq(row->median, 0);
	cr_assert_eq(row->rounds, 0);
	cr_assert_eq(strcmp(row->note, ""), 0);
	cr_assert_eq(strcmp(row->limit, ""), 0);
	cr_assert_eq(results.wrong, 0);
	bench_results_clear(&results);
}

Test(bench_result, names_that_are_too_long_are_cut_and_never_within_a_character)
{
	struct bench_row *row;

	/* Room for 15: fourteen letters, then a character of two bytes, of which one would fit. */
	row = bench_results_add(&results, "abcdefghijklmn\xc3\xa4", "s", "c", "m",
				"123456789012345678", BENCH_HIGHER);
	cr_assert_eq(strcmp(row->suite, "abcdefghijklmn"), 0, "%s", row->suite);
	cr_assert_eq(strcmp(row->unit, "123456789012345"), 0, "%s", row->unit);
	row = bench_results_add(&results, "abcdefghijklm\xc3\xa4", "s", "c", "m", "u",
				BENCH_HIGHER);
	cr_assert_eq(strcmp(row->suite, "abcdefghijklm\xc3\xa4"), 0, "%s", row->suite);
	bench_results_clear(&results);
}

Test(bench_result, many_rows_are_kept_and_found_by_their_names)
{
	char subject[40];
	int i;

	for (i = 0; i < 1000; i++) {
		double sample = i;

		(void)snprintf(subject, sizeof subject, "s%d", i);
		(void)bench_results_measured(&results, "speed", subject, "1x1", "rate", "M/s",
					     BENCH_HIGHER, &sample, 1);
	}
	cr_assert_eq(results.count, 1000);
	for (i = 0; i < 1000; i++) {
		const struct bench_row *row;

		(void)snprintf(subject, sizeof subject, "s%d", i);
		row = bench_results_find(&results, "speed", subject, "1x1", "rate");
		cr_assert_eq(row, &results.rows[i]);
		cr_assert_eq(row->median, i);
		cr_assert_eq(row->state, BENCH_OK);
	}
	cr_assert_null(bench_results_find(&results, "spee", "s1", "1x1", "rate"));
	cr_assert_null(bench_results_find(&results, "speed", "s", "1x1", "rate"));
	cr_assert_null(bench_results_find(&results, "speed", "s1", "1x2", "rate"));
	cr_assert_null(bench_results_find(&results, "speed", "s1", "1x1", "rat"));
	bench_results_clear(&results);
	cr_assert_eq(results.count, 0);
	cr_assert_null(bench_results_find(&results, "speed", "s1", "1x1", "rate"));
	bench_results_clear(&results);
}

Test(bench_result, samples_become_median_min_and_max)
{
	struct bench_row *row = measure("ring", "1x1", "rate", "M/s", BENCH_HIGHER, 1, 2, 9);

	cr_assert_eq(row->median, 2);
	cr_assert_eq(row->min, 1);
	cr_assert_eq(row->max, 9);
	cr_assert_eq(row->rounds, 3);
	cr_assert_eq(row->state, BENCH_OK);
	row = bench_results_measured(&results, "speed", "ring", "1x1", "none", "", BENCH_HIGHER,
				     NULL, 0);
	cr_assert_eq(row->state, BENCH_ABSENT);
	cr_assert_eq(row->rounds, 0);
	bench_results_clear(&results);
}

Test(bench_result, what_is_wrong_is_counted_once_a_row)
{
	struct bench_row *row = fail("ring", "1x1", "rate", BENCH_STALLED, "in 5 s");

	cr_assert_eq(results.wrong, 0);
	cr_assert_eq(strcmp(row->note, "in 5 s"), 0);
	bench_results_state(&results, row, BENCH_WRONG, NULL);
	cr_assert_eq(results.wrong, 1);
	cr_assert_eq(strcmp(row->note, "in 5 s"), 0);
	bench_results_state(&results, row, BENCH_CRASHED, "");
	cr_assert_eq(results.wrong, 1);
	cr_assert_eq(strcmp(row->note, ""), 0);
	(void)fail("lanes", "1x1", "rate", BENCH_CRASHED, NULL);
	(void)fail("lanes", "1x1", "time", BENCH_ABSENT, NULL);
	cr_assert_eq(results.wrong, 2);
	bench_results_state(&results, &results.rows[0], BENCH_OK, NULL);
	cr_assert_eq(results.wrong, 1);
	bench_results_clear(&results);
	cr_assert_eq(results.wrong, 0);
}

Test(bench_result, states_have_names)
{
	cr_assert_eq(strcmp(bench_state_name(BENCH_OK), "ok"), 0);
	cr_assert_eq(strcmp(bench_state_name(BENCH_STALLED), "stalled"), 0);
	cr_assert_eq(strcmp(bench_state_name(BENCH_WRONG), "wrong"), 0);
	cr_assert_eq(strcmp(bench_state_name(BENCH_CRASHED), "crashed"), 0);
	cr_assert_eq(strcmp(bench_state_name(BENCH_ABSENT), "absent"), 0);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

Test(bench_result, json_strings_are_escaped)
{
	static const struct {
		const char *text, *json;
	} strings[] = {
		{"", "\"\""},
		{"plain / text'", "\"plain / text'\""},
		{"a \"b\" \\c", "\"a \\\"b\\\" \\\\c\""},
		{"\n\t\r\x01\x1f\x7f", "\"\\n\\t\\u000d\\u0001\\u001f\\u007f\""},
		/* Two, three and four bytes. */
		{"\xc2\x80 \xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf",
		 "\"\xc2\x80 \xe0\xa0\x80 \xed\x9f\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\""},
		/* Cut off, alone, longer than need be, a surrogate, beyond the last. */
		{"a\xc3", "\"a\\ufffd\""},
		{"a\xe2\x82", "\"a\\ufffd\\ufffd\""},
		{"\x80z", "\"\\ufffdz\""},
		{"\xff", "\"\\ufffd\""},
		{"\xc0\xaf", "\"\\ufffd\\ufffd\""},
		{"\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\""},
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
		{"\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
		{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
		{"\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
	};
	size_t i;

	for (i = 0; i < COUNT(strings); i++) {
		char *text = NULL;
		size_t size = 0;
		FILE *to = open_memstream(&text, &size);

		cr_assert_not_null(to);
		bench_json_string(strings[i].text, to);
		(void)fclose(to);
		cr_assert_eq(strcmp(text, strings[i].json), 0, "%s, not %s", text, strings[i].json);
		free(text);
	}
}

/* The value that begins at `at`, which must be JSON (RFC 8259): returns what is behind it, or NULL. */
static const char *json_value(const char *at);

static const char *
json_blanks(const char *at)
{
	return at + strspn(at, " \t\n\r");
}

static const char *
json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	while (*at != '"') {
		if ((unsigned char)*at < 0x20)
			return NULL;
		if (*at++ != '\\')
			continue;
		if (*at == 'u' && strspn(at + 1, "0123456789abcdef") >= 4)
			at += 5;
		else if (*at && strchr("\"\\/bfnrt", *at))
			at++;
		else
			return NULL;
	}
	return at + 1;
}

static const char *
json_digits(const char *at)
{
	size_t digits = strspn(at, "0123456789");

	return digits > 0 ? at + digits : NULL;
}

static const char *
json_number(const char *at)
{
	at += *at == '-';
	at = *at == '0' ? at + 1 : json_digits(at);
	if (at && *at == '.')
		at = json_digits(at + 1);
	if (at && (*at == 'e' || *at == 'E')) {
		at++;
		at = json_digits(at + (*at == '-' || *at == '+'));
	}
	return at;
}

static const char *
json_members(const char *at, char end, bool named)
{
	at = json_blanks(at);
	if (*at == end)
		return at + 1;
	for (;;) {
		if (named) {
			at = json_string(json_blanks(at));
			if (!at || *(at = json_blanks(at)) != ':')
				return NULL;
			at++;
		}
		at = json_value(at);
		if (!at)
			return NULL;
		at = json_blanks(at);
		if (*at == end)
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

static const char *
json_value(const char *at)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t i;

	at = json_blanks(at);
	if (*at == '{')
		return json_members(at + 1, '}', true);
	if (*at == '[')
		return json_members(at + 1, ']', false);
	if (*at == '"')
		return json_string(at);
	for (i = 0; i < COUNT(words); i++)
		if (strncmp(at, words[i], strlen(words[i])) == 0)
			return at + strlen(words[i]);
	return json_number(at);
}

static bool
is_json(const char *text)
{
	const char *end = json_value(text);

	return end && *json_blanks(end) == '\0';
}

Test(bench_result, the_checker_of_these_tests_knows_json)
{
	static const char *const good[] = {"{}", "[]", " [1, -0.5e+10, 0] ",
					   "{\"a\": [{\"b\": null}, true], \"c\": \"\\u00ff\\n\"}"};
	static const char *const bad[] = {"",	   "{",	       "[1,]",	    "[nan]",   "[inf]",
					  "[01]",  "[1.]",     "[.5]",	    "{\"a\"}", "{a: 1}",
					  "[1] 2", "[\"\n\"]", "[\"\\x\"]", "[1 2]",   "{\"a\": }"};
	size_t i;

	for (i = 0; i < COUNT(good); i++)
		cr_assert(is_json(good[i]), "%s", good[i]);
	for (i = 0; i < COUNT(bad); i++)
		cr_assert(!is_json(bad[i]), "%s", bad[i]);
}

#define MACHINE_AND_SUBJECTS                                                                       \
	"{\n"                                                                                      \
	"\t\"machine\": {\n"                                                                       \
	"\t\t\"cpu\": \"a \\\"fast\\\" one\",\n"                                                   \
	"\t\t\"processors\": 2,\n"                                                                 \
	"\t\t\"kernel\": \"Linux 6\",\n"                                                           \
	"\t\t\"compiler\": \"gcc 12\",\n"                                                          \
	"\t\t\"flags\": \"-O3\",\n"                                                                \
	"\t\t\"version\": \"0.1.0 (abc)\",\n"                                                      \
	"\t\t\"when\": \"2026-01-02T03:04:05Z\",\n"                                                \
	"\t\t\"seed\": 18446744073709551615,\n"                                                    \
	"\t\t\"seconds\": 12.5,\n"                                                                 \
	"\t\t\"steal\": 0.25,\n"                                                                   \
	"\t\t\"spread\": 0.0625\n"                                                                 \
	"\t},\n"                                                                                   \
	"\t\"subjects\": [\n"                                                                      \
	"\t\t{\"name\": \"ring\", \"label\": \"queue_ring\", \"library\": \"conveyor 1\", "        \
	"\"remark\": null, \"producers_max\": 0, \"consumers_max\": 0, \"fifo\": true, "           \
	"\"in_order\": true, \"lock_free\": true, \"bounded\": true, \"exact_capacity\": true, "   \
	"\"closes\": true, \"any_value\": true, \"no_system_call\": true, \"own\": true, "         \
	"\"reference\": false},\n"                                                                 \
	"\t\t{\"name\": \"lanes\", \"label\": \"a queue of lanes\", "                              \
	"\"library\": \"\\\"Lanes\\\" 2.0\", \"remark\": \"no order across producers\", "          \
	"\"producers_max\": 7, \"consumers_max\": 1, \"fifo\": false, \"in_order\": true, "        \
	"\"lock_free\": false, \"bounded\": false, \"exact_capacity\": false, "                    \
	"\"closes\": false, \"any_value\": false, \"no_system_call\": false, \"own\": false, "     \
	"\"reference\": true}\n"                                                                   \
	"\t],\n"

Test(bench_result, json_has_the_machine_and_the_subjects_when_there_are_no_rows)
{
	check_text(FORM_JSON, MACHINE_AND_SUBJECTS "\t\"rows\": [\n\t]\n}\n");
}

Test(bench_result, json_has_a_line_for_every_row)
{
	limit(measure("ring", "1x1 \"a\"", "rate", "M/s", BENCH_HIGHER, 1.5, 2, 1e15), "stream",
	      40.25);
	(void)fail("lanes", "1x1 \"a\"", "rate", BENCH_STALLED, "in 5 s");
	(void)measure("gap", "", "p99", "ns", BENCH_LOWER, 0, 0, 0);
	check_text(FORM_JSON, MACHINE_AND_SUBJECTS
		   "\t\"rows\": [\n"
		   "\t\t{\"suite\": \"speed\", \"subject\": \"ring\", \"cell\": \"1x1 \\\"a\\\"\", "
		   "\"metric\": \"rate\", \"unit\": \"M/s\", \"better\": \"higher\", "
		   "\"state\": \"ok\", \"median\": 2, \"min\": 1.5, \"max\": 1e+15, \"rounds\": 3, "
		   "\"limit\": \"stream\", \"limit_value\": 40.25, \"note\": null},\n"
		   "\t\t{\"suite\": \"speed\", \"subject\": \"lanes\", "
		   "\"cell\": \"1x1 \\\"a\\\"\", "
		   "\"metric\": \"rate\", \"unit\": \"M/s\", \"better\": \"higher\", "
		   "\"state\": \"stalled\", \"median\": null, \"min\": null, \"max\": null, "
		   "\"rounds\": 0, \"limit\": null, \"limit_value\": null, "
		   "\"note\": \"in 5 s\"},\n"
		   "\t\t{\"suite\": \"speed\", \"subject\": \"gap\", \"cell\": \"\", "
		   "\"metric\": \"p99\", \"unit\": \"ns\", \"better\": \"lower\", "
		   "\"state\": \"ok\", \"median\": 0, \"min\": 0, \"max\": 0, \"rounds\": 3, "
		   "\"limit\": null, \"limit_value\": null, \"note\": null}\n"
		   "\t]\n}\n");
	bench_results_clear(&results);
}

Test(bench_result, json_is_json_whatever_was_measured)
{
	struct bench_row *row =
		measure("r\"\\\x01\xff", "\n", "m", "u", BENCH_NEITHER, -1e-300, 0.1, 1e300);
	char *text;

	limit(row, "none", (double)INFINITY);
	row = measure("ring", "c", "m", "u", BENCH_LOWER, 1, 2, 3);
	row->median = (double)NAN;
	row->min = -(double)INFINITY;
	row->max = (double)INFINITY;
	limit(row, "bad", (double)NAN);
	text = written(FORM_JSON);
	cr_assert(is_json(text), "%s", text);
	cr_assert_not_null(strstr(text,
				  "\"median\": null, \"min\": null, \"max\": null, "
				  "\"rounds\": 3, \"limit\": \"bad\", \"limit_value\": null"));
	cr_assert_not_null(strstr(text, "\"better\": \"neither\""));
	free(text);
	bench_results_clear(&results);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

#define CSV_HEAD                                                                                   \
	"suite,subject,cell,metric,unit,better,state,median,min,max,rounds,limit,limit_value,note" \
	"\r\n"

Test(bench_result, csv_has_the_columns_names_and_a_line_for_every_row)
{
	limit(measure("ring", "4x4 pin=none", "rate", "M/s", BENCH_HIGHER, 1.5, 2, 2.5), "stream",
	      40.25);
	(void)fail("lanes", "4x4 pin=none", "rate", BENCH_ABSENT, "not here");
	check_text(FORM_CSV, CSV_HEAD
		   "speed,ring,4x4 pin=none,rate,M/s,higher,ok,2,1.5,2.5,3,stream,40.25,\r\n"
		   "speed,lanes,4x4 pin=none,rate,M/s,higher,absent,,,,0,,,not here\r\n");
	bench_results_clear(&results);
}

Test(bench_result, csv_quotes_what_would_end_a_field)
{
	(void)measure("a,b", "say \"x\"", "two\nlines", "'", BENCH_LOWER, 1, 1, 1);
	results.rows[0].max = (double)NAN;
	check_text(FORM_CSV, CSV_HEAD "speed,\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",',lower,ok,"
				      "1,1,,3,,,\r\n");
	bench_results_clear(&results);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

#define LEGEND                                                                                     \
	"\n"                                                                                       \
	"> this library's. F one order for all (f: each producer's items in order), L lock-free, " \
	"B bounded, E holds\n"                                                                     \
	"exactly its capacity, C can be closed, Z takes any word, zero too, U stays in user "      \
	"space; a point: it does\n"                                                                \
	"not.\n"

Test(bench_result, a_table_has_a_line_per_subject_best_first_and_a_column_per_metric)
{
	(void)measure("lanes", "4x4", "rate", "M/s", BENCH_HIGHER, 24, 25, 27);
	(void)measure("lanes", "4x4", "context switches", "1/M", BENCH_LOWER, 1, 2, 3);
	(void)measure("ring", "4x4", "rate", "M/s", BENCH_HIGHER, 48, 50, 51);
	(void)measure("ring", "4x4", "context switches", "1/M", BENCH_LOWER, 1, 4.25, 9);
	check_text(
		FORM_TABLES,
		"speed: 4x4\n"
		"\n"
		"                                         of   context\n"
		"                    rate               best  switches\n"
		"  subject  can       M/s   min   max      x       1/M\n"
		"-----------------------------------------------------\n"
		"> ring     FLBECZU  50.0  48.0  51.0  1.000      4.25\n"
		"  lanes    f......  25.0  24.0  27.0  0.500      2.00\n"
		"\n"
		"> ring   FLBECZU  queue_ring (conveyor 1)\n"
		"  lanes  f......  a queue of lanes (\"Lanes\" 2.0): no order across producers\n" LEGEND);
	bench_results_clear(&results);
}

Test(bench_result, the_least_is_best_where_less_is_better)
{
	limit(measure("slow", "", "time", "ns", BENCH_LOWER, 18, 20, 22), "transfer", 5);
	limit(measure("quick", "", "time", "ns", BENCH_LOWER, 10, 10, 1234), "transfer", 5);
	check_text(FORM_TABLES, "speed\n"
				"\n"
				"  limit of time: 5.00 ns (transfer)\n"
				"                                   of     of\n"
				"           time                  best  limit\n"
				"  subject    ns   min      max      x      %\n"
				"--------------------------------------------\n"
				"  quick    10.0  10.0  1,234.0  1.000   50.0\n"
				"  slow     20.0  18.0     22.0  2.000   25.0\n"
				"\n");
	bench_results_clear(&results);
}

Test(bench_result, what_has_no_figure_is_said_in_words_and_below_what_has)
{
	(void)fail("absent1", "4x4", "rate", BENCH_ABSENT, "for two threads only");
	(void)fail("crashed", "4x4", "rate", BENCH_CRASHED, NULL);
	(void)fail("wrong", "4x4", "rate", BENCH_WRONG, "3 items are missing");
	(void)fail("absent2", "4x4", "rate", BENCH_ABSENT, "not here");
	(void)fail("stalled", "4x4", "rate", BENCH_STALLED, "in 5 s");
	(void)fail("absent3", "4x4", "rate", BENCH_ABSENT, "for two threads only");
	(void)measure("slow", "4x4", "rate", "M/s", BENCH_HIGHER, 0.5, 0.5, 0.5);
	check_text(FORM_TABLES, "speed: 4x4\n"
				"\n"
				"                  rate\n"
				"  subject          M/s    min    max\n"
				"------------------------------------\n"
				"  slow           0.500  0.500  0.500\n"
				"  stalled [1]  stalled\n"
				"  wrong [2]      wrong\n"
				"  crashed      crashed\n"
				"  absent: absent1, absent3: for two threads only\n"
				"  absent: absent2: not here\n"
				"  [1] in 5 s\n"
				"  [2] 3 items are missing\n"
				"\n");
	bench_results_clear(&results);
}

Test(bench_result, figures_of_one_column_have_the_same_decimals)
{
	(void)measure("a", "", "rate", "M/s", BENCH_HIGHER, 123.456, 123.456, 123.456);
	(void)measure("b", "", "rate", "M/s", BENCH_HIGHER, 0.4321, 0.4321, 0.4321);
	(void)measure("c", "", "rate", "M/s", BENCH_HIGHER, 0, 0, 0);
	check_text(FORM_TABLES, "speed\n"
				"\n"
				"                                      of\n"
				"             rate                   best\n"
				"  subject     M/s     min     max      x\n"
				"----------------------------------------\n"
				"  a        123.46  123.46  123.46  1.000\n"
				"  b          0.43    0.43    0.43  0.004\n"
				"  c          0.00    0.00    0.00  0.000\n"
				"\n");
	bench_results_clear(&results);
}

Test(bench_result, small_figures_beside_great_ones_keep_two_digits)
{
	char *text;

	(void)measure("a", "", "rate", "M/s", BENCH_HIGHER, 10, 12.3456, 14);
	(void)measure("b", "", "rate", "M/s", BENCH_HIGHER, 0.4, 0.4321, 0.5);
	text = written(FORM_TABLES);
	cr_assert_not_null(strstr(text, " 12.35  10.00  14.00 "), "%s", text);
	cr_assert_not_null(strstr(text, " 0.43   0.40   0.50 "), "%s", text);
	free(text);
	bench_results_clear(&results);
}

Test(bench_result, notes_of_the_same_words_have_one_number)
{
	struct bench_row *row = measure("a", "", "rate", "M/s", BENCH_HIGHER, 3, 3, 3);
	char *text;

	bench_results_state(&results, row, BENCH_OK, "loses order");
	row = measure("b", "", "rate", "M/s", BENCH_HIGHER, 2, 2, 2);
	bench_results_state(&results, row, BENCH_OK, "never waits");
	row = measure("b", "", "time", "s", BENCH_HIGHER, 2, 2, 2);
	bench_results_state(&results, row, BENCH_OK, "loses order");
	row = measure("b", "", "wait", "s", BENCH_HIGHER, 2, 2, 2);
	bench_results_state(&results, row, BENCH_OK, "never waits");
	text = written(FORM_TABLES);
	cr_assert_not_null(strstr(text, "\n  a [1] "), "%s", text);
	cr_assert_not_null(strstr(text, "\n  b [2,1] "), "%s", text);
	cr_assert_not_null(strstr(text, "\n  [1] loses order\n  [2] never waits\n"), "%s", text);
	cr_assert_null(strstr(text, "[3]"));
	free(text);
	bench_results_clear(&results);
}

Test(bench_result, a_metric_that_has_several_units_is_in_a_list)
{
	char *text;

	(void)measure("a", "", "first", "M/s", BENCH_HIGHER, 1, 1, 1);
	(void)measure("a", "", "second", "s", BENCH_HIGHER, 1, 1, 1);
	(void)measure("b", "", "first", "k/s", BENCH_HIGHER, 1, 1, 1);
	(void)measure("b", "", "second", "s", BENCH_HIGHER, 1, 1, 1);
	text = written(FORM_TABLES);
	cr_assert_not_null(strstr(text, "\n  a     first     1.00  1.00  1.00  M/s\n"), "%s", text);
	cr_assert_not_null(strstr(text, "\n  b     first     1.00  1.00  1.00  k/s\n"), "%s", text);
	free(text);
	bench_results_clear(&results);
}

Test(bench_result, one_subject_with_several_metrics_is_a_list)
{
	(void)measure("noise", "one thread", "gaps", "1/s", BENCH_NEITHER, 9, 10, 11);
	limit(measure("noise", "one thread", "longest", "us", BENCH_LOWER, 4000, 4021, 5000),
	      "tick", 1000);
	(void)fail("noise", "one thread", "shortest", BENCH_ABSENT, "no clock");
	check_text(FORM_TABLES, "speed: one thread, noise\n"
				"\n"
				"  limit of longest: 1,000 us (tick)\n"
				"                                               of\n"
				"                                            limit\n"
				"                median    min    max  unit      %\n"
				"-------------------------------------------------\n"
				"  gaps            10.0    9.0   11.0  1/s\n"
				"  longest        4,021  4,000  5,000  us     24.9\n"
				"  shortest [1]  absent                M/s\n"
				"  [1] no clock\n"
				"\n");
	bench_results_clear(&results);
}

Test(bench_result, subjects_with_metrics_of_their_own_are_a_list)
{
	(void)measure("futex", "", "one way", "ns", BENCH_LOWER, 2000, 2000, 2000);
	(void)measure("stream", "", "rate", "GB/s", BENCH_HIGHER, 3, 3, 3);
	(void)measure("gaps", "", "longest", "us", BENCH_NEITHER, 0.05, 0.05, 0.05);
	check_text(FORM_TABLES, "speed\n"
				"\n"
				"  what    metric   median     min     max  unit\n"
				"-----------------------------------------------\n"
				"  futex   one way   2,000   2,000   2,000  ns\n"
				"  stream  rate       3.00    3.00    3.00  GB/s\n"
				"  gaps    longest  0.0500  0.0500  0.0500  us\n"
				"\n");
	bench_results_clear(&results);
}

Test(bench_result, nothing_is_printed_of_nothing)
{
	check_text(FORM_TABLES, "");
}

/* The tables of much, in which each line is checked. */
static void
fill_with_much(void)
{
	static const char *const cells[] = {
		"64x64 capacity=16777216 batch=256 payload=1500 pin=spread", "1x1"};
	char subject[40], metric[40];
	unsigned i, j, k;

	for (i = 0; i < COUNT(cells); i++)
		for (j = 0; j < 25; j++) {
			(void)snprintf(subject, sizeof subject,
				       "a_queue_with_a_rather_long_name_%u", j * 7919 % 25);
			for (k = 0; k < 14; k++) {
				double figure =
					(double)((j * 31 + k * 17) % 97 + 1) * 1e4 / (k + 1);
				struct bench_row *row;

				(void)snprintf(metric, sizeof metric, "the longest %u of its names",
					       k);
				if (j % 8 == 3 || (j + k) % 9 == 4)
					row = fail(
						subject, cells[i], metric,
						(enum bench_state)(j % 5),
						"a remark that takes up rather a lot of the space "
						"that there is in a line");
				else
					row = measure(subject, cells[i], metric, "M items/s",
						      k % 2 ? BENCH_LOWER : BENCH_HIGHER,
						      figure / 3, figure, figure * 2);
				limit(row, "the limit of this machine", 1e9);
			}
		}
}

Test(bench_result, no_line_is_wider_than_the_page_and_none_ends_in_a_blank)
{
	char *text, *line, *end, subject[48];
	unsigned i;

	fill_with_much();
	text = written(FORM_TABLES);
	for (line = text; *line; line = end + 1) {
		end = strchr(line, '\n');
		cr_assert_not_null(end);
		cr_assert_leq(end - line, 110, "%.*s", (int)(end - line), line);
		cr_assert(end == line || end[-1] != ' ', "%.*s", (int)(end - line), line);
	}
	for (i = 0; i < 25; i++) {
		(void)snprintf(subject, sizeof subject, "a_queue_with_a_rather_long_name_%u", i);
		cr_assert_not_null(strstr(text, subject));
	}
	free(text);
	bench_results_clear(&results);
}

Test(bench_result, the_list_of_subjects_has_all_of_them)
{
	check_text(
		FORM_SUBJECTS,
		"> ring   FLBECZU  queue_ring (conveyor 1)\n"
		"  lanes  f......  a queue of lanes (\"Lanes\" 2.0): no order across producers\n" LEGEND);
}

/* ---- The machine ----------------------------------------------------------------------------- */

static const char *
cpu_of(const char *cpuinfo)
{
	static char name[64];
	FILE *from = fmemopen((void *)(uintptr_t)cpuinfo, strlen(cpuinfo), "r");

	cr_assert_not_null(from);
	bench_cpu_read(from, name, sizeof name);
	(void)fclose(from);
	return name;
}

Test(bench_result, the_processor_has_the_name_that_the_kernel_gives_it)
{
	cr_assert_eq(strcmp(cpu_of("processor\t: 0\nvendor_id\t: X\nmodel\t\t: 85\n"
				   "model name\t: A Fast One @ 2 GHz\n"),
			    "A Fast One @ 2 GHz"),
		     0);
}

Test(bench_result, a_processor_without_a_name_has_its_numbers)
{
	cr_assert_eq(strcmp(cpu_of("processor\t: 0\nCPU implementer\t: 0x41\n"
				   "CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\n"
				   "processor\t: 1\nCPU implementer\t: 0x42\nCPU part\t: 0x111\n"),
			    "Arm architecture, implementer 0x41, part 0xd0c, variant 0x3"),
		     0);
	cr_assert_eq(strcmp(cpu_of("processor\t: 0\nmodel name\t:\n"), "unknown"), 0);
	cr_assert_eq(strcmp(cpu_of("\n"), "unknown"), 0);
}

static bool
steal_of(const char *stat, uint64_t *stolen, uint64_t *all)
{
	FILE *from = fmemopen((void *)(uintptr_t)stat, strlen(stat), "r");
	bool known;

	cr_assert_not_null(from);
	*stolen = *all = 99;
	known = bench_steal_read(from, stolen, all);
	(void)fclose(from);
	return known;
}

Test(bench_result, stolen_time_is_the_eighth_of_the_times_and_all_is_the_sum_of_them)
{
	uint64_t stolen, all;

	cr_assert(steal_of("cpu  1 2 3 4 5 6 7 80 900 1000\ncpu0 1 1 1 1 1 1 1 1 1 1\n", &stolen,
			   &all));
	cr_assert_eq(stolen, 80);
	cr_assert_eq(all, 108);
}

Test(bench_result, a_kernel_that_does_not_tell_stolen_time_is_said_to_have_none)
{
	static const char *const stats[] = {"cpu  1 2 3 4 5 6 7\n", "cpu0 1 2 3 4 5 6 7 8\n", "\n",
					    "cpu  1 2 x 4 5 6 7 8\n"};
	uint64_t stolen, all;
	size_t i;

	for (i = 0; i < COUNT(stats); i++) {
		cr_assert(!steal_of(stats[i], &stolen, &all), "%s", stats[i]);
		cr_assert_eq(stolen, 0);
		cr_assert_eq(all, 0);
	}
}

Test(bench_result, this_machine_is_described)
{
	struct bench_machine here;

	memset(&here, 0xa5, sizeof here);
	bench_machine_read(&here, 17);
	cr_assert_neq(strcmp(here.cpu, ""), 0);
	cr_assert_eq(strncmp(here.kernel, "Linux ", 6), 0, "%s", here.kernel);
	cr_assert_not_null(strstr(here.compiler, __VERSION__), "%s", here.compiler);
	cr_assert_neq(strcmp(here.flags, ""), 0);
	cr_assert_gt(strspn(here.version, "0123456789."), 4, "%s", here.version);
	cr_assert_eq(strlen(here.when), strlen("2026-01-02T03:04:05Z"), "%s", here.when);
	cr_assert_eq(here.when[10], 'T');
	cr_assert_geq(here.processors, 1);
	cr_assert_eq(here.seed, 17);
	cr_assert_eq(here.seconds, 0);
	cr_assert_eq(here.steal, 0);
	bench_machine_end(&here, &results);
	cr_assert(here.seconds > 0 && here.seconds < 60, "%f", here.seconds);
	cr_assert(here.steal >= 0 && here.steal <= 1, "%f", here.steal);
	cr_assert_eq(here.spread, 0);
}

Test(bench_result, spread_is_that_of_the_median_row_of_those_that_have_one)
{
	struct bench_machine here;
	double one = 5;

	bench_machine_read(&here, 1);
	(void)measure("a", "", "m", "u", BENCH_HIGHER, 9, 10, 11);    /* 0.2 */
	(void)measure("b", "", "m", "u", BENCH_HIGHER, 10, 10, 10);   /* 0 */
	(void)measure("c", "", "m", "u", BENCH_LOWER, 1, 100, 301);   /* 3 */
	(void)measure("zero", "", "m", "u", BENCH_LOWER, 0, 0, 1000); /* none */
	(void)bench_results_measured(&results, "speed", "once", "", "m", "u", BENCH_LOWER, &one, 1);
	(void)measure("negative", "", "m", "u", BENCH_LOWER, -30, -20, -10); /* none */
	(void)fail("absent", "", "m", BENCH_ABSENT, NULL);
	bench_machine_end(&here, &results);
	cr_assert_eq(here.spread, 0.2, "%f", here.spread);
	bench_results_clear(&results);
}

Test(bench_result, the_machine_is_described_in_words)
{
	check_text(FORM_MACHINE,
		   "a \"fast\" one, 2 processors, Linux 6\n"
		   "conveyor 0.1.0 (abc), gcc 12, -O3 for all\n"
		   "2026-01-02T03:04:05Z, seed 18446744073709551615, 12.5 s\n"
		   "Noise: 25.00 % of the processors' time went to others of the host; half of the "
		   "figures vary by 6.2 % or more\n");
}

Test(bench_result, a_time_is_a_cost_also_where_it_is_not_compared)
{
	struct bench_row row;

	memset(&row, 0, sizeof row);
	row.better = BENCH_NEITHER;
	(void)strcpy(row.unit, "ns");
	cr_assert(bench_row_is_cost(&row));
	(void)strcpy(row.unit, "M/s");
	cr_assert(!bench_row_is_cost(&row));
	row.better = BENCH_LOWER;
	cr_assert(bench_row_is_cost(&row));
	(void)strcpy(row.unit, "s");
	row.better = BENCH_HIGHER;
	cr_assert(!bench_row_is_cost(&row));
}
