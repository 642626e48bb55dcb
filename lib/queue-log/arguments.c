/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of one command: its table says what there is, and what --help prints. */
#include "command.h"
#include "text.h"

#include <conveyor/version.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* getopt answers with this plus the number of the row; the two that are added come after those. */
#define FIRST_VALUE 256
#define ROWS_MAX 16

/* ---- Values ---------------------------------------------------------------------------------- */

/* Digits, and what stands behind them. False: none, or too many. */
static bool
take_digits(const char *text, uint64_t *number, const char **end)
{
	uint64_t value = 0;
	const char *at;

	for (at = text; *at >= '0' && *at <= '9'; at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*number = value;
	*end = at;
	return at > text;
}

bool
is_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	const char *end;

	return take_digits(text, out, &end) && *end == '\0' && *out >= least && *out <= most;
}

bool
read_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	if (is_number(text, least, most, out))
		return true;
	complain("--%s: \"%s\" is not a number from %llu to %llu", name, text,
		 (unsigned long long)least, (unsigned long long)most);
	return false;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* A number above 0 with one of these behind it. */
static bool
take_with_unit(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
	const char *end;
	size_t i;

	if (!take_digits(text, out, &end) || *out == 0)
		return false;
	for (i = 0; i < n; i++)
		if (strcmp(end, units[i].name) == 0)
			return !__builtin_mul_overflow(*out, units[i].factor, out);
	return false;
}

bool
read_bytes(const char *name, const char *text, uint64_t *out)
{
	static const struct unit units[] = {
		{"", 1},
		{"K", UINT64_C(1) << 10},
		{"M", UINT64_C(1) << 20},
		{"G", UINT64_C(1) << 30},
		{"T", UINT64_C(1) << 40},
	};

	if (take_with_unit(text, units, sizeof units / sizeof *units, out))
		return true;
	complain("--%s: \"%s\" is not a number of bytes, such as 4096, 64K, 16M, 2G or 1T", name,
		 text);
	return false;
}

bool
read_time(const char *name, const char *text, uint64_t *out)
{
	static const uint64_t ms = 1000000, s = 1000 * ms;
	const struct unit units[] = {
		{"ms", ms}, {"s", s}, {"m", 60 * s}, {"h", 3600 * s}, {"d", 86400 * s},
	};

	if (take_with_unit(text, units, sizeof units / sizeof *units, out))
		return true;
	complain("--%s: \"%s\" is not a time, such as 500ms, 90s, 15m, 12h or 7d", name, text);
	return false;
}

/* ---- What --help prints ---------------------------------------------------------------------- */

static void
print_row(char letter, const char *name, const char *value, const char *help)
{
	char text[32];

	(void)snprintf(text, sizeof text, "--%s%s%s", name, value ? " " : "", value ? value : "");
	if (letter)
		(void)printf("  -%c, %-18s %s\n", letter, text, help);
	else
		(void)printf("      %-18s %s\n", text, help);
}

static void
print_help(const struct command *command)
{
	size_t i;

	(void)printf("usage: queue-log %s [OPTION]... DIRECTORY\n%s\n\n", command->name,
		     command->about);
	for (i = 0; i < command->n_rows; i++)
		print_row(command->rows[i].letter, command->rows[i].name, command->rows[i].value,
			  command->rows[i].help);
	print_row(0, "help", NULL, "print this");
	print_row(0, "version", NULL, "print the version");
	(void)printf("\n%s", command->more);
}

/* ---- Reading --------------------------------------------------------------------------------- */

static void
complain_about(const struct option *known, int answer, char **argv)
{
	const char *name = "";

	for (; known->name; known++)
		if (known->val == optopt)
			name = known->name;
	if (answer == ':' && optopt < FIRST_VALUE)
		complain("-%c needs a value", optopt);
	else if (answer == ':')
		complain("--%s needs a value", name);
	else if (optopt >= FIRST_VALUE)
		complain("\"%s\": --%s takes no value", argv[optind - 1], name);
	else if (optopt)
		complain("there is no option \"-%c\"; see queue-log %s --help", optopt, argv[0]);
	else
		complain("there is no option \"%s\"; see queue-log %s --help", argv[optind - 1],
			 argv[0]);
}

/* For getopt: all rows, and the two. */
static void
list_options(const struct command *command, struct option *known, char *letters)
{
	int value = FIRST_VALUE;
	size_t i;

	*letters++ = ':';
	for (i = 0; i < command->n_rows; i++, value++) {
		const struct option_row *row = &command->rows[i];

		*known++ = (struct option){row->name, row->value ? required_argument : no_argument,
					   NULL, value};
		if (row->letter) {
			*letters++ = row->letter;
			if (row->value)
				*letters++ = ':';
		}
	}
	*letters = '\0';
	*known++ = (struct option){"help", no_argument, NULL, value++};
	*known++ = (struct option){"version", no_argument, NULL, value};
	*known = (struct option){0};
}

/* The row that an answer of getopt is about. */
static size_t
row_of(const struct command *command, int answer)
{
	size_t i = 0;

	if (answer >= FIRST_VALUE)
		return (size_t)(answer - FIRST_VALUE);
	while (i < command->n_rows && command->rows[i].letter != (char)answer)
		i++;
	return i;
}

static enum arguments_result
take(const struct command *command, struct options *options, size_t i)
{
	const struct option_row *row = &command->rows[i];

	if (i == command->n_rows) {
		print_help(command);
		return ARGUMENTS_DONE;
	}
	if (i > command->n_rows) {
		(void)puts("queue-log " QUEUE_VERSION);
		return ARGUMENTS_DONE;
	}
	return row->set(options, row->name, optarg) ? ARGUMENTS_RUN : ARGUMENTS_BAD;
}

static bool
take_directory(struct options *options, int argc, char **argv)
{
	if (optind == argc) {
		complain("the directory is missing; see queue-log %s --help", argv[0]);
		return false;
	}
	options->directory = argv[optind++];
	if (optind < argc) {
		complain("what is \"%s\"? one directory at a time", argv[optind]);
		return false;
	}
	if (options->directory[0] == '\0') {
		complain("\"\" is not the name of a directory");
		return false;
	}
	return true;
}

enum arguments_result
arguments_parse(const struct command *command, struct options *options, int argc, char **argv)
{
	struct option known[ROWS_MAX + 3];
	char letters[2 * ROWS_MAX + 2];
	int answer;

	list_options(command, known, letters);
	opterr = 0;
	while ((answer = getopt_long(argc, argv, letters, known, NULL)) != -1) {
		enum arguments_result result;

		if (answer == ':' || answer == '?') {
			complain_about(known, answer, argv);
			return ARGUMENTS_BAD;
		}
		result = take(command, options, row_of(command, answer));
		if (result != ARGUMENTS_RUN)
			return result;
	}
	if (!take_directory(options, argc, argv) || (command->check && !command->check(options)))
		return ARGUMENTS_BAD;
	return ARGUMENTS_RUN;
}
