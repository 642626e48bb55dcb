/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_TEXT_H
#define QUEUE_LOG_TEXT_H

/*
 * What queue-log writes: complaints, progress, sizes and times for people, bytes.
 */
#include "command.h"

#include <stdio.h>

/* "queue-log: ..." on stderr, in one line. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether somebody sees what is written to stdout, and to stderr, as it comes. */
bool is_output_terminal(void);
bool is_error_terminal(void);

/* That something failed, as a negative error number says. */
enum status fail(const char *about, int rc);

/* What a word has behind it when there are so many. */
const char *plural(uint64_t n);

/* 41.2 MiB */
#define SIZE_TEXT 24
const char *size_text(char text[SIZE_TEXT], uint64_t bytes);

/* 2026-11-30 12:00:00, local time, of nanoseconds since 1970. */
#define TIME_TEXT 40
const char *time_text(char text[TIME_TEXT], uint64_t time);

/* The last line of a terminal shows how far it is. Nothing elsewhere. */
void progress_show(const char *what, uint64_t done, uint64_t total);
void progress_end(void);

/* Bytes to stdout, with \n, \t, \\ and \x1b in place of what cannot be seen. */
void write_escaped(const unsigned char *bytes, size_t length);

/* How many columns of a terminal that takes. */
size_t escaped_width(const unsigned char *bytes, size_t length);

/* So much of it as fits into so many columns, 3 or more, with "..." behind when that is not all. */
void write_shortened(const unsigned char *bytes, size_t length, size_t columns);

/* The same as a string of JSON, in quotes. What is not UTF-8 becomes U+FFFD. */
void write_json(const char *text, size_t length);

#endif
