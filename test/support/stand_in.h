/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_STAND_IN_H
#define CONVEYOR_TEST_STAND_IN_H

/*
 * A stand-in for the part of Criterion that unit.h names. Each test runs in a child process of its
 * own, so that a crash ends only that test, unless the program is given --no-fork. Arguments
 * without a dash select tests by a substring of "suite/name". The last line has Criterion's form.
 *
 * For programs of one source file: the functions and main are in this header.
 */
#pragma GCC system_header /* as Criterion's are: no warnings about the macros' empty arguments */

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct stand_in_options {
	double timeout;
	bool disabled;
	const char *description;
};

struct stand_in_test {
	const char *suite;
	const char *name;
	void (*body)(void);
	struct stand_in_options options;
	struct stand_in_test *next;
};

static struct stand_in_test *stand_in_first, **stand_in_last = &stand_in_first;

/* Criterion's options are designated initializers behind the name, and so they are here. */
#define Test(suite_, name_, ...)                                                                   \
	static void suite_##_##name_##_body(void);                                                 \
	static struct stand_in_test suite_##_##name_##_test = {                                    \
		.suite = #suite_,                                                                  \
		.name = #name_,                                                                    \
		.body = suite_##_##name_##_body,                                                   \
		.options = {.description = NULL, ##__VA_ARGS__},                                   \
	};                                                                                         \
	__attribute__((__constructor__)) static void suite_##_##name_##_register(void)             \
	{                                                                                          \
		*stand_in_last = &suite_##_##name_##_test;                                         \
		stand_in_last = &suite_##_##name_##_test.next;                                     \
	}                                                                                          \
	static void suite_##_##name_##_body(void)

__attribute__((__format__(__printf__, 4, 5), __noreturn__, __unused__)) static void
stand_in_fail(const char *file, int line, const char *what, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "[----] %s:%d: assertion failed: %s", file, line, what);
	if (*format) {
		fputs(": ", stderr);
		va_start(arguments, format);
		vfprintf(stderr, format, arguments);
		va_end(arguments);
	}
	fputc('\n', stderr);
	fflush(NULL);
	_exit(1);
}

#define STAND_IN_CHECK(what, condition, ...)                                                       \
	((condition) ? (void)0 : stand_in_fail(__FILE__, __LINE__, what, "" __VA_ARGS__))

/* Without a message the macros below have one argument less than C11 asks for. */
#if defined __clang__
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

#define cr_assert(condition, ...) STAND_IN_CHECK(#condition, condition, __VA_ARGS__)
#define cr_assert_not(condition, ...) STAND_IN_CHECK("not " #condition, !(condition), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) STAND_IN_CHECK(#a " == " #b, (a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) STAND_IN_CHECK(#a " != " #b, (a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) STAND_IN_CHECK(#a " < " #b, (a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) STAND_IN_CHECK(#a " <= " #b, (a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) STAND_IN_CHECK(#a " > " #b, (a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) STAND_IN_CHECK(#a " >= " #b, (a) >= (b), __VA_ARGS__)
#define cr_assert_null(p, ...) STAND_IN_CHECK(#p " is NULL", (p) == NULL, __VA_ARGS__)
#define cr_assert_not_null(p, ...) STAND_IN_CHECK(#p " is not NULL", (p) != NULL, __VA_ARGS__)

/* The wait status of one test. */
static int
stand_in_run(const struct stand_in_test *test, bool in_process)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = in_process ? 0 : fork();
	if (child == 0) {
		/* A tenth of the speed is normal where this is used; no test may hang for ever. */
		alarm(test->options.timeout > 0 ? (unsigned)(test->options.timeout * 10) : 300);
		test->body();
		alarm(0);
		if (in_process)
			return 0;
		/* By exit, so that a leak checker gets its turn. */
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("stand-in");
		exit(2);
	}
	return status;
}

int
main(int argc, char **argv)
{
	unsigned tested = 0, failing = 0, crashing = 0;
	bool in_process = false;

	for (int i = 1; i < argc; i++)
		in_process = in_process || strcmp(argv[i], "--no-fork") == 0;
	for (const struct stand_in_test *test = stand_in_first; test; test = test->next) {
		char full_name[256];
		bool selected = true;
		int status;

		snprintf(full_name, sizeof(full_name), "%s/%s", test->suite, test->name);
		for (int i = 1; i < argc; i++) {
			if (argv[i][0] == '-')
				continue;
			selected = strstr(full_name, argv[i]) != NULL;
			if (selected)
				break;
		}
		if (!selected || test->options.disabled)
			continue;
		tested++;
		status = stand_in_run(test, in_process);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		if (WIFSIGNALED(status)) {
			crashing++;
			fprintf(stderr, "[FAIL] %s: %s\n", full_name, strsignal(WTERMSIG(status)));
		} else {
			failing++;
			fprintf(stderr, "[FAIL] %s\n", full_name);
		}
	}
	fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n",
		tested, tested - failing - crashing, failing, crashing);
	return failing + crashing == 0 ? 0 : 1;
}

#endif
