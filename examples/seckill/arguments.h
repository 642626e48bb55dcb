/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_ARGUMENTS_H
#define SECKILL_ARGUMENTS_H

/*
 * A command line that is described by a table, which says what there is, what is allowed, and what
 * --help prints. --help and --version are added to it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum arguments_result {
	ARGUMENTS_RUN,
	ARGUMENTS_DONE, /* asked for --help or --version, which was printed */
	ARGUMENTS_BAD	/* complained about */
};

enum argument_kind {
	ARGUMENT_NUMBER, /* uint64_t */
	ARGUMENT_TEXT,	 /* const char *, not empty */
	ARGUMENT_FLAG,	 /* bool */
	ARGUMENT_OWN	 /* what `set` makes of it */
};

struct argument {
	const char *name, *value, *help; /* value: what --help calls it; NULL: it takes none */
	enum argument_kind kind;
	size_t offset;	      /* of the member it sets */
	uint64_t least, most; /* numbers */
	/* Own ones: the default, and what sets it; false after complaining. */
	const char *initial;
	bool (*set)(void *options, const char *text);
	const char *heading; /* above what follows; all else is empty then */
};

/* Rows of a table for a struct type. */
#define ARGUMENT_ROW_NUMBER(type, name, value, member, least, most, help)                          \
	{                                                                                          \
		name, value, help, ARGUMENT_NUMBER, offsetof(type, member), least, most, NULL,     \
			NULL, NULL                                                                 \
	}
#define ARGUMENT_ROW_TEXT(type, name, value, member, help)                                         \
	{                                                                                          \
		name, value, help, ARGUMENT_TEXT, offsetof(type, member), 0, 0, NULL, NULL, NULL   \
	}
#define ARGUMENT_ROW_FLAG(type, name, member, help)                                                \
	{                                                                                          \
		name, NULL, help, ARGUMENT_FLAG, offsetof(type, member), 0, 0, NULL, NULL, NULL    \
	}
#define ARGUMENT_ROW_OWN(name, value, initial, set, help)                                          \
	{                                                                                          \
		name, value, help, ARGUMENT_OWN, 0, 0, 0, initial, set, NULL                       \
	}
#define ARGUMENT_ROW_HEADING(text)                                                                 \
	{                                                                                          \
		NULL, NULL, NULL, ARGUMENT_FLAG, 0, 0, 0, NULL, NULL, text                         \
	}

#define ARGUMENTS_MAX 64

struct arguments {
	const char *program, *purpose; /* the first two lines of --help */
	const struct argument *rows;
	int n; /* to ARGUMENTS_MAX */
	const void *defaults;
	size_t size;	    /* of the options */
	void (*more)(void); /* prints the end of --help */
};

/* Fills *options: the defaults, and what is asked for. */
enum arguments_result arguments_parse(const struct arguments *arguments, void *options, int argc,
				      char **argv);

#endif
