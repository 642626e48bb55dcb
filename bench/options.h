/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

/* The command line of queue-bench: queue-bench SUITE [--option[=value] | --option value]... */
#include "subject.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_CHOICES_MAX 16
#define BENCH_ONLY_MAX 64
#define BENCH_ROUNDS_MAX 1000

enum bench_pin {
	BENCH_PIN_NONE,	  /* the scheduler decides */
	BENCH_PIN_SPREAD, /* thread i on processor i modulo their number */
	BENCH_PIN_ONE	  /* all on one processor */
};

struct bench_options {
	const char *suite;
	double seconds;	 /* what the whole run should take, about; 0: the suite's own */
	uint64_t seed;	 /* 1 unless given */
	unsigned rounds; /* up to BENCH_ROUNDS_MAX; 0: the suite's own */
	bool json, csv;
	bool quick, full;
	bool progress; /* unless --quiet; main takes it back where stderr is no terminal */
	bool help, version, list;
	const char *output;    /* report: the directory it is written to */
	const char *directory; /* log: where its files are; NULL: where they usually are */

	/* --only NAME[,NAME...], which may be given several times; none: all */
	const struct bench_subject *only[BENCH_ONLY_MAX];
	size_t only_count;

	/* throughput's cells: the product of these; count 0: the suite's own choice */
	struct {
		unsigned producers, consumers;
	} threads[BENCH_CHOICES_MAX]; /* --threads 1x1,2x2 */
	size_t threads_count;
	uint64_t capacity[BENCH_CHOICES_MAX]; /* --capacity 1,1024 */
	size_t capacity_count;
	unsigned batch[BENCH_CHOICES_MAX]; /* --batch 1,32 */
	size_t batch_count;
	unsigned payload[BENCH_CHOICES_MAX]; /* --payload 8,64,256,1500 */
	size_t payload_count;
	enum bench_pin pin[BENCH_CHOICES_MAX]; /* --pin none,spread,one */
	size_t pin_count;
};

/*
 * Reads a command line; argv[0] is the program's name, argv[argc] is NULL. 0, or -EINVAL with a
 * sentence in `error` that names the offending word. `suites` are the names that are allowed, NULL
 * at the end. Lists that are given several times add up, what is in a list twice counts once, and of
 * a single value the last one holds. After --help, --version or --list nothing more is read, and
 * there need be no suite. What `options` points to are suites, subjects and arguments: no copies.
 */
int bench_options_parse(struct bench_options *options, int argc, char *const *argv,
			const char *const *suites, char *error, size_t error_size);

/* Is the subject among those asked for? */
bool bench_options_want(const struct bench_options *options, const struct bench_subject *subject);

const char *bench_pin_name(enum bench_pin pin);

/* What --help says of the options. */
void bench_options_help(FILE *to);

#endif
