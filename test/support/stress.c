/* SPDX-License-Identifier: BSD-2-Clause */
#include "stress.h"

#include <conveyor/clock.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE 240 /* seconds that a program may go on after its time */

uint64_t stress_seed;

static uint64_t deadline, rounds;

static void
usage(FILE *file, const char *program, const struct stress_option *options)
{
	fprintf(file, "usage: %s [options]\n", program);
	fprintf(file, "  --%-12s %s\n", "seed", "where the random numbers start");
	fprintf(file, "  --%-12s %s\n", "seconds", "how long to go on, fractions allowed (1)");
	for (; options->name; options++)
		fprintf(file, "  --%-12s %s\n", options->name, options->help);
}

static uint64_t
number(const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || *end || end == text || *text == '-') {
		fprintf(stderr, "%s is not a number\n", text);
		exit(2);
	}
	return value;
}

static double
fraction(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= 0 && value < 1e9)) {
		fprintf(stderr, "%s is not a number of seconds\n", text);
		exit(2);
	}
	return value;
}

static void
hung(int signal)
{
	static const char message[] = "hung: still running long after its time\n";

	(void)signal;
	(void)!write(STDERR_FILENO, message, sizeof message - 1);
	_exit(1);
}

void
stress_begin(int argc, char **argv, const struct stress_option *options)
{
	double seconds = 1;
	int i;

	stress_seed = queue_now();
	for (i = 1; i < argc; i += 2) {
		const struct stress_option *option = options;
		const char *name = strncmp(argv[i], "--", 2) == 0 ? argv[i] + 2 : "";
		const char *value = argv[i + 1];

		if (strcmp(name, "help") == 0) {
			usage(stdout, argv[0], options);
			exit(0);
		}
		while (option->name && strcmp(name, option->name) != 0)
			option++;
		if (!value || (!option->name && strcmp(name, "seed") && strcmp(name, "seconds"))) {
			usage(stderr, argv[0], options);
			exit(2);
		}
		if (option->name && option->number)
			*option->number = number(value);
		else if (option->name)
			*option->text = value;
		else if (strcmp(name, "seed") == 0)
			stress_seed = number(value);
		else
			seconds = fraction(value);
	}
	printf("seed %" PRIu64 "\n", stress_seed);
	fflush(stdout);
	signal(SIGALRM, hung);
	alarm((unsigned)seconds + PATIENCE);
	deadline = queue_now() + (uint64_t)(seconds * (double)QUEUE_SECOND);
}

bool
stress_time_is_left(void)
{
	if (rounds > 0 && queue_now() >= deadline)
		return false;
	rounds++;
	return true;
}

int
stress_end(void)
{
	printf("%" PRIu64 " rounds\n", rounds);
	return 0;
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
uint64_t
stress_random(struct stress_random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

struct stress_random
stress_random_init(uint64_t stream)
{
	struct stress_random random = {stress_seed + stream * UINT64_C(0x9e3779b97f4a7c15)};
	int i;

	/* Neighbouring seeds give alike first numbers, and zero would stay zero. */
	if (random.state == 0)
		random.state = 1;
	for (i = 0; i < 16; i++)
		(void)stress_random(&random);
	return random;
}

uint64_t
stress_random_below(struct stress_random *random, uint64_t n)
{
	return (stress_random(random) >> 16) % n;
}

bool
stress_one_in(struct stress_random *random, uint64_t n)
{
	return stress_random_below(random, n) == 0;
}

static void *
thread_main(void *argument)
{
	struct stress_thread *thread = argument;

	thread->body(thread->argument);
	return NULL;
}

void
stress_start(struct stress_thread *thread, void (*body)(void *argument), void *argument)
{
	int rc;

	thread->body = body;
	thread->argument = argument;
	rc = pthread_create(&thread->id, NULL, thread_main, thread);
	stress_check(rc == 0, "pthread_create: %s", strerror(rc));
}

void
stress_join(struct stress_thread *thread)
{
	int rc = pthread_join(thread->id, NULL);

	stress_check(rc == 0, "pthread_join: %s", strerror(rc));
}

void
stress_gate_pass(struct stress_gate *gate, unsigned parties)
{
	unsigned spins = 0;

	/* GATE1: what each thread did before the gate -> what each does behind it. */
	(void)queue_impl_fetch_add32_acq_rel(&gate->came, 1);  /* GATE1 release */
	while (queue_impl_load32_acq(&gate->came) < parties) { /* GATE1 acquire */
		if (++spins < 50)
			queue_impl_pause();
		else
			sched_yield();
	}
}

_Noreturn void
stress_fail(const char *file, int line, const char *condition, const char *format, ...)
{
	va_list arguments;

	flockfile(stderr);
	fprintf(stderr, "%s:%d: failed: %s: ", file, line, condition);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, " (seed %" PRIu64 ")\n", stress_seed);
	fflush(stderr);
	/* At once: other threads are still at work on what is broken. */
	_exit(1);
}
