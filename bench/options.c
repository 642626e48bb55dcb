/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: one table says what there is, how it is read, and what --help prints. */
#include "options.h"

#include "item.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 64
#define CAPACITY_MAX (UINT64_C(1) << 24)
#define SECONDS_MAX 86400
#define PAYLOAD_NONE 8 /* the item is the value itself */
#define PAYLOAD_LEAST ((int)offsetof(struct bench_message, bytes))
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* A part of an argument; nothing is copied, for the arguments stay where they are. */
struct word {
	const char *text;
	size_t length;
};

/* For printf's "%.*s". One that is longer than the sentence has room for is cut. */
#define WORD_SHOWN 80
#define SHOW(word) (int)((word).length < WORD_SHOWN ? (word).length : WORD_SHOWN), (word).text

struct reader {
	struct bench_options *options;
	const char *name; /* of the option that is being read */
	char *error;
	size_t error_size;
};

struct option {
	const char *name, *argument, *help;
	int (*read)(struct reader *reader, struct word word); /* NULL: a flag */
	bool list;	  /* `read` is called for each of the words between the commas */
	size_t flag;	  /* flags: the member that becomes true */
	const char *head; /* --help: what the options below have in common */
};

static struct word
word_of(const char *text)
{
	return (struct word){text, strlen(text)};
}

static bool
is_word(struct word word, const char *text)
{
	return word.length == strlen(text) && memcmp(word.text, text, word.length) == 0;
}

static __attribute__((format(printf, 2, 3))) int
complain(const struct reader *reader, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reader->error, reader->error_size, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Digits and nothing else. */
static bool
is_number(struct word word, uint64_t least, uint64_t most, uint64_t *number)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < word.length; i++) {
		unsigned digit = (unsigned char)word.text[i] - (unsigned)'0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*number = value;
	return word.length > 0 && value >= least && value <= most;
}

static int
read_number(const struct reader *reader, struct word word, uint64_t least, uint64_t most,
	    uint64_t *number)
{
	if (is_number(word, least, most, number))
		return 0;
	return complain(reader, "--%s: \"%.*s\" is not a number from %llu to %llu", reader->name,
			SHOW(word), (unsigned long long)least, (unsigned long long)most);
}

static int
too_many(const struct reader *reader, struct word word, size_t most)
{
	return complain(reader, "--%s: \"%.*s\" is one more than the %zu that are possible",
			reader->name, SHOW(word), most);
}

/* Adds a number to a list that has none like it. */
static int
add_number(const struct reader *reader, struct word word, unsigned *list, size_t *count,
	   unsigned number)
{
	size_t i;

	for (i = 0; i < *count; i++)
		if (list[i] == number)
			return 0;
	if (*count == BENCH_CHOICES_MAX)
		return too_many(reader, word, BENCH_CHOICES_MAX);
	list[(*count)++] = number;
	return 0;
}

static int
read_only(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	const struct bench_subject *subject;

	for (subject = bench_subjects(); subject; subject = subject->next)
		if (is_word(word, subject->name))
			break;
	if (!subject)
		return complain(reader, "--only: there is no subject \"%.*s\"; --list shows them",
				SHOW(word));
	if (options->only_count > 0 && bench_options_want(options, subject))
		return 0;
	if (options->only_count == BENCH_ONLY_MAX)
		return too_many(reader, word, BENCH_ONLY_MAX);
	options->only[options->only_count++] = subject;
	return 0;
}

static int
read_threads(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	const char *times = memchr(word.text, 'x', word.length);
	uint64_t producers = 0, consumers = 0;
	struct word before, after;
	size_t i;

	if (!times)
		times = word.text;
	before = (struct word){word.text, (size_t)(times - word.text)};
	after = (struct word){times + 1, word.length - before.length - (word.length > 0)};
	if (!is_number(before, 0, UINT64_MAX, &producers) ||
	    !is_number(after, 0, UINT64_MAX, &consumers))
		return complain(reader,
				"--threads: \"%.*s\" is not of the form PRODUCERSxCONSUMERS",
				SHOW(word));
	if (producers < 1 || producers > THREADS_MAX || consumers < 1 || consumers > THREADS_MAX)
		return complain(reader,
				"--threads: \"%.*s\": there can be 1 to %d producers and consumers",
				SHOW(word), THREADS_MAX);
	for (i = 0; i < options->threads_count; i++)
		if (options->threads[i].producers == producers &&
		    options->threads[i].consumers == consumers)
			return 0;
	if (i == BENCH_CHOICES_MAX)
		return too_many(reader, word, BENCH_CHOICES_MAX);
	options->threads[i].producers = (unsigned)producers;
	options->threads[i].consumers = (unsigned)consumers;
	options->threads_count++;
	return 0;
}

static int
read_capacity(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	uint64_t number = 0;
	size_t i;

	if (read_number(reader, word, 1, CAPACITY_MAX, &number))
		return -EINVAL;
	for (i = 0; i < options->capacity_count; i++)
		if (options->capacity[i] == number)
			return 0;
	if (i == BENCH_CHOICES_MAX)
		return too_many(reader, word, BENCH_CHOICES_MAX);
	options->capacity[options->capacity_count++] = number;
	return 0;
}

static int
read_batch(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	uint64_t number = 0;

	if (read_number(reader, word, 1, BENCH_BATCH_MAX, &number))
		return -EINVAL;
	return add_number(reader, word, options->batch, &options->batch_count, (unsigned)number);
}

static int
read_payload(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	uint64_t number = 0;

	/* A message has at least its value and whether it is in use. */
	if (!is_number(word, PAYLOAD_NONE, PAYLOAD_NONE, &number) &&
	    !is_number(word, PAYLOAD_LEAST, BENCH_PAYLOAD_MAX, &number))
		return complain(reader, "--payload: \"%.*s\" is not %d or a number from %d to %d",
				SHOW(word), PAYLOAD_NONE, PAYLOAD_LEAST, BENCH_PAYLOAD_MAX);
	return add_number(reader, word, options->payload, &options->payload_count,
			  (unsigned)number);
}

static const char *const pin_names[] = {
	[BENCH_PIN_NONE] = "none",
	[BENCH_PIN_SPREAD] = "spread",
	[BENCH_PIN_ONE] = "one",
};

static int
read_pin(struct reader *reader, struct word word)
{
	struct bench_options *options = reader->options;
	size_t i, known;

	for (i = 0; i < COUNT(pin_names); i++)
		if (is_word(word, pin_names[i]))
			break;
	if (i == COUNT(pin_names))
		return complain(reader, "--pin: \"%.*s\" is none of none, spread, one", SHOW(word));
	for (known = 0; known < options->pin_count; known++)
		if (options->pin[known] == (enum bench_pin)i)
			return 0;
	/* There are fewer of them than places. */
	options->pin[options->pin_count++] = (enum bench_pin)i;
	return 0;
}

/* Digits, with a point among them at most: no signs, exponents or "inf", which strtod takes. */
static int
read_seconds(struct reader *reader, struct word word)
{
	size_t digits = strspn(word.text, "0123456789"), more = 0;
	const char *end = word.text + digits;
	double seconds = 0;

	if (*end == '.') {
		more = strspn(end + 1, "0123456789");
		end += 1 + more;
	}
	if (digits + more > 0 && *end == '\0')
		seconds = strtod(word.text, NULL);
	if (!(seconds > 0 && seconds <= SECONDS_MAX))
		return complain(reader, "--seconds: \"%.*s\" is not a number above 0, up to %d",
				SHOW(word), SECONDS_MAX);
	reader->options->seconds = seconds;
	return 0;
}

static int
read_rounds(struct reader *reader, struct word word)
{
	uint64_t number = 0;

	if (read_number(reader, word, 1, BENCH_ROUNDS_MAX, &number))
		return -EINVAL;
	reader->options->rounds = (unsigned)number;
	return 0;
}

static int
read_seed(struct reader *reader, struct word word)
{
	return read_number(reader, word, 0, UINT64_MAX, &reader->options->seed);
}

static int
read_output(struct reader *reader, struct word word)
{
	if (word.length == 0)
		return complain(reader, "--output: \"\" is not the name of a directory");
	reader->options->output = word.text;
	return 0;
}

static int
read_directory(struct reader *reader, struct word word)
{
	if (word.length == 0)
		return complain(reader, "--directory: \"\" is not the name of a directory");
	reader->options->directory = word.text;
	return 0;
}

#define VALUE(name, argument, read, help)                                                          \
	{                                                                                          \
		name, argument, help, read, false, 0, NULL                                         \
	}
#define LIST(name, argument, read, help)                                                           \
	{                                                                                          \
		name, argument, help, read, true, 0, NULL                                          \
	}
#define FLAG(name, member, help)                                                                   \
	{                                                                                          \
		name, NULL, help, NULL, false, offsetof(struct bench_options, member), NULL        \
	}
#define HEAD(text)                                                                                 \
	{                                                                                          \
		NULL, NULL, NULL, NULL, false, 0, text                                             \
	}

static const struct option table[] = {
	HEAD("What is measured (each NAME, HOW, N below can be several, with commas between)"),
	LIST("only", "NAME", read_only, "these subjects; else all; --list shows them"),
	LIST("threads", "PxC", read_threads, "P producers and C consumers, 1 to 64 each"),
	LIST("capacity", "N", read_capacity, "items the queue has room for, 1 to 16777216"),
	LIST("batch", "N", read_batch, "items per call, 1 to 256"),
	LIST("payload", "N", read_payload, "bytes behind a pointer, 12 to 1500; 8: no pointer"),
	LIST("pin", "HOW", read_pin, "threads on processors: none, spread, one"),
	VALUE("directory", "DIR", read_directory, "log: the disk that is measured; this one"),

	HEAD("For how long"),
	VALUE("seconds", "N", read_seconds, "about, all in all; up to 86400, can be a fraction"),
	VALUE("rounds", "N", read_rounds, "of which medians are made, 1 to 1000"),
	FLAG("quick", quick, "a short look: the report in about 1 minute"),
	FLAG("full", full, "a long one, with more conditions"),
	VALUE("seed", "N", read_seed, "of all random numbers; 1"),

	HEAD("What comes out (tables, unless one of the first two is given)"),
	FLAG("json", json, "everything, as JSON"),
	FLAG("csv", csv, "everything, as CSV"),
	VALUE("output", "DIR", read_output, "report: where it is written; queue-bench-report"),
	FLAG("quiet", progress, "no progress on the terminal"),

	HEAD("Other"),
	FLAG("list", list, "print the subjects"),
	FLAG("help", help, "print this"),
	FLAG("version", version, "print the version"),
};

void
bench_options_help(FILE *to)
{
	size_t i;

	for (i = 0; i < COUNT(table); i++) {
		const struct option *option = &table[i];

		if (option->head)
			(void)fprintf(to, "\n%s\n", option->head);
		else
			(void)fprintf(to, "  --%s %-*s %s\n", option->name,
				      (int)(14 - strlen(option->name)),
				      option->argument ? option->argument : "", option->help);
	}
}

static int
read_list(struct reader *reader, const struct option *option, const char *text)
{
	for (;;) {
		struct word word = {text, strcspn(text, ",")};
		int rc = option->read(reader, word);

		if (rc || text[word.length] == '\0')
			return rc;
		text += word.length + 1;
	}
}

/* argv[*at] begins with two dashes. */
static int
read_option(struct reader *reader, char *const *argv, int *at)
{
	const char *text = argv[*at] + 2, *value = strchr(text, '=');
	struct word name = {text, value ? (size_t)(value - text) : strlen(text)};
	const struct option *option = table;

	while (option < table + COUNT(table) && !(option->name && is_word(name, option->name)))
		option++;
	if (option == table + COUNT(table))
		return complain(reader, "there is no option \"--%.*s\"; see --help", SHOW(name));
	reader->name = option->name;
	if (!option->read && value)
		return complain(reader, "\"%.*s\": --%s takes no value", SHOW(word_of(argv[*at])),
				option->name);
	if (!option->read) {
		/* The only one that switches something off. */
		*(bool *)(void *)((char *)reader->options + option->flag) =
			strcmp(option->name, "quiet") != 0;
		return 0;
	}
	if (value) {
		value++;
	} else {
		value = argv[*at + 1];
		/* A value was forgotten, rather than that a directory has such a name. */
		if (!value || strncmp(value, "--", 2) == 0)
			return complain(reader, "--%s needs a value, %s%.*s%s", option->name,
					value ? "and \"" : "and nothing",
					SHOW(word_of(value ? value : "")),
					value ? "\" is an option" : " follows");
		++*at;
	}
	return option->list ? read_list(reader, option, value)
			    : option->read(reader, word_of(value));
}

static int
read_suite(struct reader *reader, const char *text, const char *const *suites)
{
	if (reader->options->suite)
		return complain(reader, "what is \"%.*s\"? The suite is %s already; see --help",
				SHOW(word_of(text)), reader->options->suite);
	while (*suites && strcmp(*suites, text) != 0)
		suites++;
	if (!*suites)
		return complain(reader, "there is no suite \"%.*s\"; see --help",
				SHOW(word_of(text)));
	reader->options->suite = *suites;
	return 0;
}

static int
check_together(const struct reader *reader)
{
	const struct bench_options *options = reader->options;

	if (!options->suite)
		return complain(reader, "which suite? see --help");
	if (options->json && options->csv)
		return complain(reader, "--json and --csv: there is one output");
	if (options->quick && options->full)
		return complain(reader, "--quick and --full: it can be only one of them");
	if ((options->threads_count || options->capacity_count || options->batch_count ||
	     options->payload_count || options->pin_count) &&
	    strcmp(options->suite, "throughput") != 0 && strcmp(options->suite, "report") != 0)
		return complain(
			reader,
			"--threads, --capacity, --batch, --payload and --pin choose cells of "
			"throughput; the suite \"%.*s\" has none of them",
			SHOW(word_of(options->suite)));
	if (options->output && strcmp(options->suite, "report") != 0)
		return complain(reader, "--output: \"%.*s\": only the suite report writes files",
				SHOW(word_of(options->output)));
	if (options->directory && strcmp(options->suite, "log") != 0 &&
	    strcmp(options->suite, "report") != 0)
		return complain(reader, "--directory: \"%.*s\": only the suite log has files",
				SHOW(word_of(options->directory)));
	return 0;
}

int
bench_options_parse(struct bench_options *options, int argc, char *const *argv,
		    const char *const *suites, char *error, size_t error_size)
{
	struct reader reader = {options, NULL, error, error_size};
	bool words = false;
	int at;

	memset(options, 0, sizeof *options);
	options->seed = 1;
	options->progress = true;
	if (error_size > 0)
		*error = '\0';
	for (at = 1; at < argc; at++) {
		const char *text = argv[at];
		int rc;

		if (!words && strcmp(text, "--") == 0) {
			words = true;
			continue;
		}
		if (words || text[0] != '-')
			rc = read_suite(&reader, text, suites);
		else if (text[1] == '-')
			rc = read_option(&reader, argv, &at);
		else
			rc = complain(&reader, "there is no option \"%.*s\"; see --help",
				      SHOW(word_of(text)));
		if (rc)
			return rc;
		/* Who asks for these wants to know, not to be judged for the rest of the line. */
		if (options->help || options->version || options->list)
			return 0;
	}
	return check_together(&reader);
}

bool
bench_options_want(const struct bench_options *options, const struct bench_subject *subject)
{
	size_t i;

	for (i = 0; i < options->only_count; i++)
		if (options->only[i] == subject)
			return true;
	return options->only_count == 0;
}

const char *
bench_pin_name(enum bench_pin pin)
{
	return (unsigned)pin < COUNT(pin_names) ? pin_names[pin] : "?";
}
