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
static double seconds = 1;

static const struct stress_option common[] = {
	{"seed", &stress_seed, "where the random numbers start (the clock)", .most = UINT64_MAX},
	{"seconds", .help = "how long to go on (1)"},
	{.name = NULL},
};

/* What an option may be. */
static void
print_allowed(FILE *file, const struct stress_option *option)
{
	const char *const *word;

	if (option->words) {
		fprintf(file, "one of");
		for (word = option->words; *word; word++)
			fprintf(file, " %s", *word);
	} else if (option->value) {
		fprintf(file, "a number from %" PRIu64 " to %" PRIu64, option->least, option->most);
	} else {
		fprintf(file, "a number of seconds, such as 1 or 0.2");
	}
}

static void
print_options(const struct stress_option *option)
{
	for (; option->name; option++) {
		printf("  --%-12s %s: ", option->name, option->help);
		print_allowed(stdout, option);
		if (option->words)
			printf(" (%s)", option->words[*option->value]);
		else if (option->value && option->value != &stress_seed)
			printf(" (%" PRIu64 ")", *option->value);
		printf("\n");
	}
}

_Noreturn void
stress_refuse(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
	exit(2);
}

/* NULL: there is none. */
static const struct stress_option *
find_option(const struct stress_option *option, const char *argument)
{
	if (strncmp(argument, "--", 2) != 0)
		return NULL;
	while (option->name && strcmp(argument + 2, option->name) != 0)
		option++;
	return option->name ? option : NULL;
}

static bool
set_word(const struct stress_option *option, const char *text)
{
	uint64_t i;

	for (i = 0; option->words[i]; i++) {
		if (strcmp(text, option->words[i]) == 0) {
			*option->value = i;
			return true;
		}
	}
	return false;
}

static bool
set_number(const struct stress_option *option, const char *text)
{
	char *end;

	errno = 0;
	*option->value = strtoull(text, &end, 0);
	/* Without strtoull's blanks and signs. */
	return !errno && !*end && *text >= '0' && *text <= '9' && *option->value >= option->least &&
	       *option->value <= option->most;
}

static bool
set_seconds(const char *text)
{
	char *end;

	seconds = strtod(text, &end);
	return !*end && end != text && seconds >= 0 && seconds < 1e9;
}

/* False: it cannot be that. */
static bool
set(const struct stress_option *option, const char *text)
{
	if (option->words)
		return set_word(option, text);
	return option->value ? set_number(option, text) : set_seconds(text);
}

static void
set_options(char **argument, const struct stress_option *options)
{
	for (; *argument; argument += 2) {
		const struct stress_option *option = find_option(options, *argument);

		if (strcmp(*argument, "--help") == 0) {
			printf("usage: %s [options]\n", program_invocation_short_name);
			print_options(common);
			print_options(options);
			exit(0);
		}
		if (!option)
			option = find_option(common, *argument);
		if (!option)
			stress_refuse("there is no option \"%s\"; --help says which there are",
				      *argument);
		if (!argument[1])
			stress_refuse("a value must follow %s", *argument);
		if (!set(option, argument[1])) {
			fprintf(stderr, "%s: %s is \"%s\"; it must be ",
				program_invocation_short_name, *argument, argument[1]);
			print_allowed(stderr, option);
			fprintf(stderr, "\n");
			exit(2);
		}
	}
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
	stress_seed = queue_now();
	if (argc > 0)
		set_options(argv + 1, options);
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

uint64_t
stress_choose(struct stress_random *random, uint64_t given, uint64_t any)
{
	return given == any ? stress_random_below(random, any) : given;
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
