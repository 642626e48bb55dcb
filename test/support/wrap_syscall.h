/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_WRAP_SYSCALL_H
#define CONVEYOR_TEST_WRAP_SYSCALL_H

/*
 * For one program that is linked with --wrap=syscall: the library's system calls, all of them by way
 * of syscall(2) and with at most six arguments, become calls of on_syscall, which the program has.
 */
#include <stdarg.h>

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static long on_syscall(long number, const long *arguments);

/* The system call itself. */
static inline long
real_syscall(long number, const long *arguments)
{
	return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
			      arguments[4], arguments[5]);
}

long
__wrap_syscall(long number, ...)
{
	long arguments[6];
	va_list list;
	int i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	return on_syscall(number, arguments);
}

#endif
