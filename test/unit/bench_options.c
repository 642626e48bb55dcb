/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define WORDS_MAX 12
#define MANY (BENCH_ONLY_MAX + 1)

static struct bench_subject ring = {.name = "ring", .traits = BENCH_OWN};
static struct bench_subject ring_spsc = {.name = "ring_spsc", .traits = BENCH_OWN};
static struct bench_subject mutex = {.name = "mutex"};
static struct bench_subject many[MANY];
static char many_names[MANY][16];

static __attribute__((constructor)) void
register_subjects(void)
{
	int i;

	bench_register(&ring);
	bench_register(&ring_spsc);
	bench_register(&mutex);
	for (i = 0; i < MANY; i++) {
		(void)snprintf(many_names[i], sizeof many_names[i], "q%d", i);
		many[i].name = many_names[i];
		bench_register(&many[i]);
	}
}

static const char *const suites[] = {"limits", "throughput", "report", "log", NULL};

static struct bench_options options;
static char error[200];

static int
parse_words(const char *const *words)
{
	char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "queue-bench"};
	int argc = 1;

	for (; words[argc - 1]; argc++) {
		cr_assert_leq(argc, WORDS_MAX);
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	}
	memset(&options, 0xa5, sizeof options);
	return bench_options_parse(&options, argc, argv, suites, error, sizeof error);
}

#define PARSE(...) parse_words((const char *const[]){__VA_ARGS__, NULL})

/* ---- What is understood ---------------------------------------------------------------------- */

Test(bench_options, a_suite_alone_leaves_everything_at_its_default)
{
	cr_assert_eq(PARSE("throughput"), 0, "%s", error);
	cr_assert_eq(options.suite, suites[1]);
	cr_assert_eq(options.seconds, 0);
	cr_assert_eq(options.seed, 1);
	cr_assert_eq(options.rounds, 0);
	cr_assert(!options.json && !options.csv && !options.quick && !options.full);
	cr_assert(!options.help && !options.version && !options.list);
	cr_assert(options.progress);
	cr_assert_null(options.output);
	cr_assert_null(options.directory);
	cr_assert_eq(options.only_count, 0);
	cr_assert_eq(options.threads_count, 0);
	cr_assert_eq(options.capacity_count, 0);
	cr_assert_eq(options.batch_count, 0);
	cr_assert_eq(options.payload_count, 0);
	cr_assert_eq(options.pin_count, 0);
	cr_assert_eq(strcmp(error, ""), 0);
}

Test(bench_options, a_value_stands_behind_the_option_or_behind_an_equals_sign)
{
	cr_assert_eq(PARSE("--seed", "7", "limits", "--seconds=2.5", "--rounds", "3"), 0, "%s",
		     error);
	cr_assert_eq(options.seed, 7);
	cr_assert_eq(options.seconds, 2.5);
	cr_assert_eq(options.rounds, 3);
	cr_assert_eq(PARSE("limits", "--seed=8", "--seconds", ".5", "--rounds=4"), 0, "%s", error);
	cr_assert_eq(options.seed, 8);
	cr_assert_eq(options.seconds, 0.5);
	cr_assert_eq(options.rounds, 4);
}

Test(bench_options, flags_are_set_one_by_one)
{
	cr_assert_eq(PARSE("limits", "--json", "--quick"), 0, "%s", error);
	cr_assert(options.json && options.quick && !options.csv && !options.full);
	cr_assert(options.progress);
	cr_assert_eq(PARSE("limits", "--csv", "--full", "--quiet"), 0, "%s", error);
	cr_assert(options.csv && options.full && !options.json && !options.quick);
	cr_assert(!options.progress);
}

Test(bench_options, threads_are_pairs)
{
	cr_assert_eq(PARSE("throughput", "--threads", "1x1,2x64", "--threads=64x1"), 0, "%s",
		     error);
	cr_assert_eq(options.threads_count, 3);
	cr_assert_eq(options.threads[0].producers, 1);
	cr_assert_eq(options.threads[0].consumers, 1);
	cr_assert_eq(options.threads[1].producers, 2);
	cr_assert_eq(options.threads[1].consumers, 64);
	cr_assert_eq(options.threads[2].producers, 64);
	cr_assert_eq(options.threads[2].consumers, 1);
}

Test(bench_options, lists_take_what_is_just_within_their_limits)
{
	cr_assert_eq(PARSE("throughput", "--capacity=1,16777216", "--batch=1,256",
			   "--payload=8,12,1500", "--pin=none,spread,one"),
		     0, "%s", error);
	cr_assert_eq(options.capacity_count, 2);
	cr_assert_eq(options.capacity[0], 1);
	cr_assert_eq(options.capacity[1], 16777216);
	cr_assert_eq(options.batch_count, 2);
	cr_assert_eq(options.batch[0], 1);
	cr_assert_eq(options.batch[1], 256);
	cr_assert_eq(options.payload_count, 3);
	cr_assert_eq(options.payload[0], 8);
	cr_assert_eq(options.payload[1], 12);
	cr_assert_eq(options.payload[2], 1500);
	cr_assert_eq(options.pin_count, 3);
	cr_assert_eq(options.pin[0], BENCH_PIN_NONE);
	cr_assert_eq(options.pin[1], BENCH_PIN_SPREAD);
	cr_assert_eq(options.pin[2], BENCH_PIN_ONE);
}

Test(bench_options, what_is_in_a_list_twice_counts_once)
{
	cr_assert_eq(PARSE("throughput", "--capacity=1,1", "--batch=2,02", "--payload=8,8",
			   "--pin=one,one", "--threads=1x2,1x2,2x1", "--only=ring,ring",
			   "--only=ring"),
		     0, "%s", error);
	cr_assert_eq(options.capacity_count, 1);
	cr_assert_eq(options.batch_count, 1);
	cr_assert_eq(options.payload_count, 1);
	cr_assert_eq(options.pin_count, 1);
	cr_assert_eq(options.threads_count, 2);
	cr_assert_eq(options.only_count, 1);
}

Test(bench_options, of_a_single_value_the_last_one_holds)
{
	cr_assert_eq(PARSE("limits", "--seed=1", "--seed=9", "--seconds=3", "--seconds=4"), 0);
	cr_assert_eq(options.seed, 9);
	cr_assert_eq(options.seconds, 4);
}

Test(bench_options, seed_and_seconds_take_their_greatest_values)
{
	cr_assert_eq(PARSE("limits", "--seed=18446744073709551615", "--seconds=86400.0"), 0, "%s",
		     error);
	cr_assert_eq(options.seed, UINT64_MAX);
	cr_assert_eq(options.seconds, 86400);
	cr_assert_eq(PARSE("limits", "--seed=0", "--rounds=1000"), 0, "%s", error);
	cr_assert_eq(options.seed, 0);
	cr_assert_eq(options.rounds, BENCH_ROUNDS_MAX);
}

Test(bench_options, only_takes_subjects_from_several_lists)
{
	cr_assert_eq(PARSE("throughput", "--only", "ring_spsc,mutex", "--only=q7"), 0, "%s", error);
	cr_assert_eq(options.only_count, 3);
	cr_assert(bench_options_want(&options, &ring_spsc));
	cr_assert(bench_options_want(&options, &mutex));
	cr_assert(bench_options_want(&options, &many[7]));
	cr_assert(!bench_options_want(&options, &ring));
	cr_assert(!bench_options_want(&options, &many[8]));
}

Test(bench_options, without_only_every_subject_is_wanted)
{
	cr_assert_eq(PARSE("throughput"), 0);
	cr_assert(bench_options_want(&options, &ring));
	cr_assert(bench_options_want(&options, &mutex));
}

/* The arguments of a list are taken apart, but what is kept is neither in them nor a copy. */
Test(bench_options, nothing_that_is_kept_lies_in_memory_that_goes_away)
{
	char suite[] = "report", only[] = "--only=ring,mutex", output[] = "--output=there";
	char program[] = "queue-bench";
	char *argv[] = {program, suite, only, output, NULL};

	cr_assert_eq(bench_options_parse(&options, 4, argv, suites, error, sizeof error), 0);
	memset(suite, 'x', sizeof suite - 1);
	memset(only, 'x', sizeof only - 1);
	cr_assert_eq(options.suite, suites[2]);
	cr_assert_eq(options.only[0], &ring);
	cr_assert_eq(options.only[1], &mutex);
	cr_assert_eq(options.output, output + strlen("--output="));
}

Test(bench_options, output_is_the_directory_of_a_report)
{
	cr_assert_eq(PARSE("report", "--output", "a=b"), 0, "%s", error);
	cr_assert_eq(strcmp(options.output, "a=b"), 0);
	cr_assert_eq(PARSE("report", "--output=--odd"), 0, "%s", error);
	cr_assert_eq(strcmp(options.output, "--odd"), 0);
}

Test(bench_options, directory_is_where_a_log_is_measured)
{
	cr_assert_eq(PARSE("log", "--directory", "a=b"), 0, "%s", error);
	cr_assert_eq(strcmp(options.directory, "a=b"), 0);
	cr_assert_eq(PARSE("report", "--directory=--odd"), 0, "%s", error);
	cr_assert_eq(strcmp(options.directory, "--odd"), 0);
}

Test(bench_options, help_version_and_list_need_no_suite_and_end_the_line)
{
	cr_assert_eq(PARSE("--help"), 0);
	cr_assert(options.help && !options.version && !options.list);
	cr_assert_eq(PARSE("--version", "--threads=nonsense"), 0);
	cr_assert(options.version && !options.help && !options.list);
	cr_assert_eq(PARSE("limits", "--list", "and", "--more"), 0);
	cr_assert(options.list && !options.help && !options.version);
}

Test(bench_options, what_stands_before_help_is_judged)
{
	cr_assert_eq(PARSE("--threads=nonsense", "--help"), -EINVAL);
}

Test(bench_options, behind_two_dashes_there_are_no_options)
{
	cr_assert_eq(PARSE("--seed=2", "--", "limits"), 0, "%s", error);
	cr_assert_eq(options.suite, suites[0]);
	cr_assert_eq(PARSE("limits", "--", "--json"), -EINVAL);
	cr_assert_not_null(strstr(error, "\"--json\""));
}

/* ---- What is not ----------------------------------------------------------------------------- */

static const struct {
	const char *words[4];
	const char *sentence;
} wrong[] = {
	{{"--json"}, "which suite? see --help"},
	{{"limit"}, "there is no suite \"limit\"; see --help"},
	{{"limitss"}, "there is no suite \"limitss\"; see --help"},
	{{""}, "there is no suite \"\"; see --help"},
	{{"limits", "report"}, "what is \"report\"? The suite is limits already; see --help"},
	{{"limits", "-q"}, "there is no option \"-q\"; see --help"},
	{{"limits", "-"}, "there is no option \"-\"; see --help"},
	{{"limits", "--thread=1x1"}, "there is no option \"--thread\"; see --help"},
	{{"limits", "--threadss", "1x1"}, "there is no option \"--threadss\"; see --help"},
	{{"limits", "--=1"}, "there is no option \"--\"; see --help"},
	{{"limits", "--json=yes"}, "\"--json=yes\": --json takes no value"},
	{{"limits", "--quiet="}, "\"--quiet=\": --quiet takes no value"},
	{{"limits", "--seed"}, "--seed needs a value, and nothing follows"},
	{{"report", "--output", "--json"}, "--output needs a value, and \"--json\" is an option"},
	{{"report", "--output="}, "--output: \"\" is not the name of a directory"},
	{{"limits", "--output=x"}, "--output: \"x\": only the suite report writes files"},
	{{"log", "--directory="}, "--directory: \"\" is not the name of a directory"},
	{{"limits", "--directory=x"}, "--directory: \"x\": only the suite log has files"},
	{{"log", "--output=x"}, "--output: \"x\": only the suite report writes files"},
	{{"limits", "--pin=one"},
	 "--threads, --capacity, --batch, --payload and --pin choose cells of throughput; the suite "
	 "\"limits\" has none of them"},
	{{"limits", "--json", "--csv"}, "--json and --csv: there is one output"},
	{{"limits", "--quick", "--full"}, "--quick and --full: it can be only one of them"},

	{{"limits", "--threads", "4y4"},
	 "--threads: \"4y4\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads", ""}, "--threads: \"\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=x"}, "--threads: \"x\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=4"}, "--threads: \"4\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=x4"}, "--threads: \"x4\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=4x"}, "--threads: \"4x\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=4x4x4"},
	 "--threads: \"4x4x4\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=4x4,5x5-"},
	 "--threads: \"5x5-\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=1x1,,2x2"},
	 "--threads: \"\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads= 1x1"},
	 "--threads: \" 1x1\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=1x18446744073709551617"},
	 "--threads: \"1x18446744073709551617\" is not of the form PRODUCERSxCONSUMERS"},
	{{"limits", "--threads=0x1"},
	 "--threads: \"0x1\": there can be 1 to 64 producers and consumers"},
	{{"limits", "--threads=65x1"},
	 "--threads: \"65x1\": there can be 1 to 64 producers and consumers"},
	{{"limits", "--threads=1x0"},
	 "--threads: \"1x0\": there can be 1 to 64 producers and consumers"},
	{{"limits", "--threads=1x65"},
	 "--threads: \"1x65\": there can be 1 to 64 producers and consumers"},
	{{"limits", "--threads=1x4294967297"},
	 "--threads: \"1x4294967297\": there can be 1 to 64 producers and consumers"},

	{{"limits", "--capacity=0"}, "--capacity: \"0\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=8,16777217"},
	 "--capacity: \"16777217\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=-1"}, "--capacity: \"-1\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=+1"}, "--capacity: \"+1\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=1k"}, "--capacity: \"1k\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=1,"}, "--capacity: \"\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=0x10"}, "--capacity: \"0x10\" is not a number from 1 to 16777216"},
	{{"limits", "--capacity=18446744073709551617"},
	 "--capacity: \"18446744073709551617\" is not a number from 1 to 16777216"},
	{{"limits", "--batch=0"}, "--batch: \"0\" is not a number from 1 to 256"},
	{{"limits", "--batch=257"}, "--batch: \"257\" is not a number from 1 to 256"},
	{{"limits", "--batch=4294967297"}, "--batch: \"4294967297\" is not a number from 1 to 256"},
	{{"limits", "--payload=7"}, "--payload: \"7\" is not 8 or a number from 12 to 1500"},
	{{"limits", "--payload=9"}, "--payload: \"9\" is not 8 or a number from 12 to 1500"},
	{{"limits", "--payload=11"}, "--payload: \"11\" is not 8 or a number from 12 to 1500"},
	{{"limits", "--payload=1501"}, "--payload: \"1501\" is not 8 or a number from 12 to 1500"},
	{{"limits", "--payload="}, "--payload: \"\" is not 8 or a number from 12 to 1500"},
	{{"limits", "--pin=spred"}, "--pin: \"spred\" is none of none, spread, one"},
	{{"limits", "--pin=none,on"}, "--pin: \"on\" is none of none, spread, one"},
	{{"limits", "--pin="}, "--pin: \"\" is none of none, spread, one"},

	{{"limits", "--seconds=0"}, "--seconds: \"0\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=0.000"},
	 "--seconds: \"0.000\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=86400.1"},
	 "--seconds: \"86400.1\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=-1"}, "--seconds: \"-1\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=1e3"}, "--seconds: \"1e3\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=inf"}, "--seconds: \"inf\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=nan"}, "--seconds: \"nan\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=0x1"}, "--seconds: \"0x1\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds="}, "--seconds: \"\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=."}, "--seconds: \".\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=1.2.3"},
	 "--seconds: \"1.2.3\" is not a number above 0, up to 86400"},
	{{"limits", "--seconds=5s"}, "--seconds: \"5s\" is not a number above 0, up to 86400"},
	{{"limits", "--rounds=0"}, "--rounds: \"0\" is not a number from 1 to 1000"},
	{{"limits", "--rounds=1001"}, "--rounds: \"1001\" is not a number from 1 to 1000"},
	{{"limits", "--seed=18446744073709551616"},
	 "--seed: \"18446744073709551616\" is not a number from 0 to 18446744073709551615"},
	{{"limits", "--seed=1,2"},
	 "--seed: \"1,2\" is not a number from 0 to 18446744073709551615"},

	{{"limits", "--only=rin"}, "--only: there is no subject \"rin\"; --list shows them"},
	{{"limits", "--only=ring_"}, "--only: there is no subject \"ring_\"; --list shows them"},
	{{"limits", "--only=mutex,ringg"},
	 "--only: there is no subject \"ringg\"; --list shows them"},
	{{"limits", "--only="}, "--only: there is no subject \"\"; --list shows them"},
	{{"limits", "--only=ring,"}, "--only: there is no subject \"\"; --list shows them"},
};

Test(bench_options, what_is_wrong_is_refused_with_a_sentence_that_names_the_word)
{
	size_t i;

	for (i = 0; i < COUNT(wrong); i++) {
		cr_assert_eq(parse_words(wrong[i].words), -EINVAL, "for: %s", wrong[i].sentence);
		cr_assert_eq(strcmp(error, wrong[i].sentence), 0, "\"%s\", not \"%s\"", error,
			     wrong[i].sentence);
	}
}

/* Seventeen of everything. */
Test(bench_options, more_choices_than_there_is_room_for_are_refused)
{
	static const char numbers[] = "21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36";
	char fits[100], more[120], sentence[100];
	static const char *const names[] = {"capacity", "batch", "payload"};
	size_t i;

	for (i = 0; i < COUNT(names); i++) {
		(void)snprintf(fits, sizeof fits, "--%s=%s", names[i], numbers);
		cr_assert_eq(PARSE("throughput", fits), 0, "%s", error);
		(void)snprintf(more, sizeof more, "%s,37", fits);
		cr_assert_eq(PARSE("throughput", more), -EINVAL);
		(void)snprintf(sentence, sizeof sentence,
			       "--%s: \"37\" is one more than the 16 that are possible", names[i]);
		cr_assert_eq(strcmp(error, sentence), 0, "%s", error);
		/* One that is there already takes no room. */
		(void)snprintf(more, sizeof more, "%s,21", fits);
		cr_assert_eq(PARSE("throughput", more), 0, "%s", error);
	}
	cr_assert_eq(PARSE("throughput", "--threads=1x1,1x2,1x3,1x4,1x5,1x6,1x7,1x8",
			   "--threads=2x1,2x2,2x3,2x4,2x5,2x6,2x7,2x8"),
		     0, "%s", error);
	cr_assert_eq(options.threads_count, 16);
	cr_assert_eq(PARSE("throughput", "--threads=1x1,1x2,1x3,1x4,1x5,1x6,1x7,1x8",
			   "--threads=2x1,2x2,2x3,2x4,2x5,2x6,2x7,2x8,9x9"),
		     -EINVAL);
	cr_assert_not_null(strstr(error, "\"9x9\""));
}

Test(bench_options, more_subjects_than_there_is_room_for_are_refused)
{
	char text[MANY * 8] = "--only=q0";
	int i;

	for (i = 1; i < BENCH_ONLY_MAX; i++) {
		(void)strcat(text, ",");
		(void)strcat(text, many_names[i]);
	}
	cr_assert_eq(PARSE("limits", text), 0, "%s", error);
	cr_assert_eq(options.only_count, BENCH_ONLY_MAX);
	(void)strcat(text, ",q64");
	cr_assert_eq(PARSE("limits", text), -EINVAL);
	cr_assert_eq(strcmp(error, "--only: \"q64\" is one more than the 64 that are possible"), 0,
		     "%s", error);
}

Test(bench_options, a_sentence_that_does_not_fit_is_cut)
{
	char program[] = "queue-bench", word[] = "nonsense", small[8];
	char *argv[] = {program, word, NULL};

	memset(small, 'x', sizeof small);
	cr_assert_eq(bench_options_parse(&options, 2, argv, suites, small, 6), -EINVAL);
	cr_assert_eq(memcmp(small, "there\0xx", 8), 0);
}

Test(bench_options, a_very_long_word_leaves_room_for_the_rest_of_the_sentence)
{
	static char word[5000];

	memset(word, 'y', sizeof word - 1);
	cr_assert_eq(PARSE("limits", "--only", word), -EINVAL);
	cr_assert_not_null(strstr(error, "--only: there is no subject \"yyyy"));
	cr_assert_not_null(strstr(error, "yyyy\"; --list shows them"));
}

/* ---- What is said ---------------------------------------------------------------------------- */

Test(bench_options, help_has_a_line_for_every_option)
{
	static const char *const names[] = {
		"only",	   "threads", "capacity", "batch",  "payload", "pin",	"directory",
		"seconds", "rounds",  "seed",	  "output", "quiet",   "quick", "full",
		"json",	   "csv",     "list",	  "help",   "version",
	};
	char *text = NULL, line[40];
	size_t size = 0, i, lines = 0;
	FILE *to = open_memstream(&text, &size);

	cr_assert_not_null(to);
	bench_options_help(to);
	(void)fclose(to);
	for (i = 0; i < COUNT(names); i++) {
		(void)snprintf(line, sizeof line, "\n  --%s ", names[i]);
		cr_assert_not_null(strstr(text, line), "no line for %s", names[i]);
	}
	for (i = 0; text[i]; i++)
		lines += strncmp(text + i, "\n  --", 5) == 0;
	cr_assert_eq(lines, COUNT(names));
	free(text);
}

Test(bench_options, a_way_of_pinning_has_the_name_that_is_understood)
{
	cr_assert_eq(strcmp(bench_pin_name(BENCH_PIN_NONE), "none"), 0);
	cr_assert_eq(strcmp(bench_pin_name(BENCH_PIN_SPREAD), "spread"), 0);
	cr_assert_eq(strcmp(bench_pin_name(BENCH_PIN_ONE), "one"), 0);
}
