/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_STRESS_H
#define CONVEYOR_TEST_STRESS_H

/*
 * What the stress programs share: options, a seeded generator, threads that start together, and a
 * check that ends the program. A program that reaches the end of main has passed.
 *
 *	int
 *	main(int argc, char **argv)
 *	{
 *		uint64_t capacity = 7, policy = 0;
 *		const struct stress_option options[] = {
 *			{"capacity", &capacity, "items the queue holds", .least = 1, .most = 100},
 *			{"policy", &policy, "when it is full", .words = STRESS_WORDS("abort", "block")},
 *			{.name = NULL},
 *		};
 *
 *		stress_begin(argc, argv, options);
 *		while (stress_time_is_left())
 *			one_round(capacity);
 *		return stress_end();
 *	}
 *
 * Every program has --seed and --seconds; the seed is printed first, so that a failure can be
 * looked for again. A line like the following makes `make check-stress` run the program with these
 * arguments; there may be several.
 *
 * ARGS: --capacity 1
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct stress_option {
	const char *name; /* without the dashes; NULL ends the table */
	uint64_t *value;  /* receives a number, or which of the words it is, from 0 on */
	const char *help;
	const char *const *words; /* what it can be, and NULL; or NULL: a number in this range */
	uint64_t least, most;
};

#define STRESS_WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What is asked of a queue or ring at most. */
#define STRESS_CAPACITY_MAX (1 << 20)

extern uint64_t stress_seed;

/*
 * Reads the options (those of the table and --seed, --seconds, --help), prints the seed, starts the
 * clock. Says what is wrong with an argument, and exits 2. A program that is still running four
 * minutes after its time is taken for hung: it says so and exits 1.
 */
void stress_begin(int argc, char **argv, const struct stress_option *options);

/* For what no table says: ends the program as a wrong argument does, with this message. */
_Noreturn void stress_refuse(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* Until --seconds have passed; true at least once, however short they are. */
bool stress_time_is_left(void);

/* What main returns: prints how many rounds (calls of stress_time_is_left) there were. */
int stress_end(void);

/* One generator per thread, made from the seed and a number of the thread's own. */
struct stress_random {
	uint64_t state;
};

struct stress_random stress_random_init(uint64_t stream);
uint64_t stress_random(struct stress_random *random);
/* 0 to n - 1. */
uint64_t stress_random_below(struct stress_random *random, uint64_t n);
/* True once in n times. */
bool stress_one_in(struct stress_random *random, uint64_t n);
/* What was given; if that is `any`, one of those below it. */
uint64_t stress_choose(struct stress_random *random, uint64_t given, uint64_t any);

struct stress_thread {
	pthread_t id;
	void (*body)(void *argument);
	void *argument;
};

void stress_start(struct stress_thread *thread, void (*body)(void *argument), void *argument);
void stress_join(struct stress_thread *thread);

/*
 * Lets nobody through before `parties` threads have come; zeroed memory is a new one. To use it
 * again, give twice as many parties the second time, and so on.
 */
struct stress_gate {
	uint32_t came;
};

void stress_gate_pass(struct stress_gate *gate, unsigned parties);

/* Ends the program, from any thread, with a message and the seed, when the condition is false. */
#define stress_check(condition, ...)                                                               \
	((condition) ? (void)0 : stress_fail(__FILE__, __LINE__, #condition, __VA_ARGS__))

_Noreturn void stress_fail(const char *file, int line, const char *condition, const char *format,
			   ...) __attribute__((__format__(__printf__, 4, 5)));

#endif
