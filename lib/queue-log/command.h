/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_COMMAND_H
#define QUEUE_LOG_COMMAND_H

/*
 * queue-log: what its commands have in common.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status {
	STATUS_DONE = 0,
	STATUS_NOT_WHOLE = 1, /* a torn tail; or messages that went while they were read */
	STATUS_DAMAGED = 2,
	STATUS_USAGE = 2,
	STATUS_BUSY = 3, /* a program has the log open */
	STATUS_FAILED = 4
};

/* How much is synced together, for bench. */
enum sync_way {
	SYNC_BATCH,
	SYNC_EACH,
	SYNC_INTERVAL,
	SYNC_NONE
};

struct options {
	const char *directory;
	const char *reader;
	uint64_t from;
	bool has_from;
	uint64_t count; /* messages at most */
	uint64_t lines;
	bool raw, positions, escape, records, follow;
	bool json, salvage, all;
	uint64_t keep_bytes, keep_age; /* 0: not given */
	/* bench */
	uint64_t threads, size;
	double seconds;
	enum sync_way sync;
	uint64_t interval;
	bool pipelined;
};

struct option_row {
	char letter; /* 0: it has none */
	const char *name;
	const char *value; /* NULL: a flag */
	const char *help;
	/* False: it has complained. */
	bool (*set)(struct options *options, const char *name, const char *text);
};

struct command {
	const char *name;
	const char *about;
	const char *more; /* what --help says in the end */
	const struct option_row *rows;
	size_t n_rows;
	/* False: it has complained of options that do not go together. NULL: all do. */
	bool (*check)(const struct options *options);
	enum status (*run)(const struct options *options);
};

extern const struct command command_inspect, command_cat, command_tail, command_verify,
	command_repair, command_purge, command_bench;

#define ROWS(table) .rows = (table), .n_rows = sizeof(table) / sizeof *(table)

/* Digits alone, and a number in these bounds. */
bool is_number(const char *text, uint64_t least, uint64_t most, uint64_t *out);

/* Values of options, for their `set`. False: it has complained. */
bool read_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *out);
bool read_bytes(const char *name, const char *text, uint64_t *out); /* "64", "64K", "2G" */
bool read_time(const char *name, const char *text, uint64_t *out);  /* "500ms", "90s", "7d" */

enum arguments_result {
	ARGUMENTS_RUN,
	ARGUMENTS_DONE,
	ARGUMENTS_BAD
};

/* argv[0] is the name of the command. */
enum arguments_result arguments_parse(const struct command *command, struct options *options,
				      int argc, char **argv);

#endif
