/* SPDX-License-Identifier: BSD-2-Clause */
#include "arguments.h"
#include "sale.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* getopt answers with this plus the number of the row; the two that are added come after those. */
#define FIRST_VALUE 256

/* ---- What --help prints ---------------------------------------------------------------------- */

static void
print_default(const struct arguments *arguments, const struct argument *row)
{
	const void *place = (const char *)arguments->defaults + row->offset;

	if (row->kind == ARGUMENT_NUMBER)
		printf(" [%llu]", (unsigned long long)*(const uint64_t *)place);
	else if (row->kind == ARGUMENT_OWN)
		printf(" [%s]", row->initial);
	else if (row->kind == ARGUMENT_TEXT && *(const char *const *)place)
		printf(" [%s]", *(const char *const *)place);
}

static void
print_row(const char *name, const char *value, const char *help)
{
	printf("  --%s %-*s %s", name, (int)(17 - strlen(name)), value ? value : "", help);
}

static void
print_help(const struct arguments *arguments)
{
	printf("usage: %s [OPTION]...\n%s\n", arguments->program, arguments->purpose);
	for (int i = 0; i < arguments->n; i++) {
		const struct argument *row = &arguments->rows[i];

		if (row->heading) {
			printf("\n%s\n", row->heading);
			continue;
		}
		print_row(row->name, row->value, row->help);
		print_default(arguments, row);
		putchar('\n');
	}
	print_row("help", NULL, "print this\n");
	print_row("version", NULL, "print the version\n");
	if (arguments->more)
		arguments->more();
}

/* ---- Setting --------------------------------------------------------------------------------- */

static bool
set_number(uint64_t *place, const struct argument *row, const char *text)
{
	unsigned long long number = 0;
	size_t digits = strspn(text, "0123456789");
	bool fits = digits > 0 && text[digits] == '\0' && digits <= 20;

	if (fits) {
		char longest[] = "18446744073709551615";

		fits = digits < 20 || strcmp(text, longest) <= 0;
		number = strtoull(text, NULL, 10);
	}
	if (!fits || number < row->least || number > row->most) {
		complain("--%s: \"%s\" is not a number from %llu to %llu", row->name, text,
			 (unsigned long long)row->least, (unsigned long long)row->most);
		return false;
	}
	*place = number;
	return true;
}

static bool
set(void *options, const struct argument *row, const char *text)
{
	void *place = (char *)options + row->offset;

	switch (row->kind) {
	case ARGUMENT_NUMBER:
		return set_number(place, row, text);
	case ARGUMENT_TEXT:
		*(const char **)place = text;
		if (*text == '\0')
			complain("--%s: \"\" is not a %s", row->name, row->value);
		return *text != '\0';
	case ARGUMENT_FLAG:
		*(bool *)place = true;
		return true;
	case ARGUMENT_OWN:
		return row->set(options, text);
	}
	return false;
}

static void
complain_about(const struct option *known, int answer, char **argv)
{
	const char *name = "";

	for (; known->name; known++)
		if (known->val == optopt)
			name = known->name;
	if (answer == ':')
		complain("--%s needs a value", name);
	else if (optopt >= FIRST_VALUE)
		complain("\"%s\": --%s takes no value", argv[optind - 1], name);
	else if (optopt)
		complain("there is no option \"-%c\"; see --help", optopt);
	else
		complain("there is no option \"%s\"; see --help", argv[optind - 1]);
}

/* For getopt: all rows that are options, and the two. */
static void
list_options(const struct arguments *arguments, struct option *known)
{
	int value = FIRST_VALUE;

	for (int i = 0; i < arguments->n; i++, value++) {
		const struct argument *row = &arguments->rows[i];

		if (row->name)
			*known++ = (struct option){row->name,
						   row->value ? required_argument : no_argument,
						   NULL, value};
	}
	*known++ = (struct option){"help", no_argument, NULL, value++};
	*known++ = (struct option){"version", no_argument, NULL, value};
	*known = (struct option){0};
}

/* One answer of getopt. */
static enum arguments_result
take(const struct arguments *arguments, void *options, int row)
{
	if (row == arguments->n) {
		print_help(arguments);
		return ARGUMENTS_DONE;
	}
	if (row > arguments->n) {
		printf("%s (conveyor) " QUEUE_VERSION "\n", arguments->program);
		return ARGUMENTS_DONE;
	}
	return set(options, &arguments->rows[row], optarg) ? ARGUMENTS_RUN : ARGUMENTS_BAD;
}

enum arguments_result
arguments_parse(const struct arguments *arguments, void *options, int argc, char **argv)
{
	struct option known[ARGUMENTS_MAX + 3];
	int answer;

	memcpy(options, arguments->defaults, arguments->size);
	list_options(arguments, known);
	opterr = 0;
	while ((answer = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		enum arguments_result result;

		if (answer < FIRST_VALUE) {
			complain_about(known, answer, argv);
			return ARGUMENTS_BAD;
		}
		result = take(arguments, options, answer - FIRST_VALUE);
		if (result != ARGUMENTS_RUN)
			return result;
	}
	if (optind < argc) {
		complain("what is \"%s\"? see --help", argv[optind]);
		return ARGUMENTS_BAD;
	}
	return ARGUMENTS_RUN;
}
