/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_PRINT_H
#define QUEUE_LOG_PRINT_H

/*
 * How cat and tail write messages, and what they have to say in between.
 */
#include "command.h"
#include "look.h"

/* The options of both. */
bool print_set_raw(struct options *options, const char *name, const char *text);
bool print_set_positions(struct options *options, const char *name, const char *text);
bool print_set_escape(struct options *options, const char *name, const char *text);
bool print_set_records(struct options *options, const char *name, const char *text);
bool print_check(const struct options *options);

#define PRINT_ROWS                                                                                 \
	{0, "raw", NULL, "nothing between messages, and nothing changed in them", print_set_raw},  \
		{0, "positions", NULL, "each one's position before it", print_set_positions},      \
		{0, "escape", NULL, "\\n, \\x1b and the like for what cannot be seen",             \
		 print_set_escape},                                                                \
	{                                                                                          \
		0, "records", NULL, "all records, not only messages", print_set_records            \
	}

/* Whether it is printed at all with these options, and so counts. */
bool print_is_wanted(const struct options *options, const struct queue_impl_log_record *record);

void print_record(const struct options *options, const struct queue_impl_log_record *record);

/* On stderr: what is missing at this place. */
void print_damage(const struct options *options, const struct look_event *event);

#endif
