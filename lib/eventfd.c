/* SPDX-License-Identifier: BSD-2-Clause */
#include "eventfd_impl.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * As the system has it: a negative error number. Not the library's functions, of which some are
 * cancellation points; and then none of them, or ThreadSanitizer, which sees those, misses some.
 */
static long
quiet_syscall(long number, long a, intptr_t b, long c)
{
	int saved = errno;
	long rc = syscall(number, a, b, c);

	if (rc < 0)
		rc = -errno;
	errno = saved;
	return rc;
}

int
queue_impl_eventfd_open(void)
{
	long number = quiet_syscall(SYS_eventfd2, 0, EFD_NONBLOCK | EFD_CLOEXEC, 0);

	if (number >= 0)
		return (int)number;
	return number == -EMFILE || number == -ENFILE ? -EAGAIN : -ENOMEM;
}

void
queue_impl_eventfd_raise(int number)
{
	const uint64_t one = 1;

	/* It fails only when 2^64 - 2 is reached: then it is readable. */
	(void)quiet_syscall(SYS_write, number, (intptr_t)&one, sizeof one);
}

uint64_t
queue_impl_eventfd_lower(int number)
{
	uint64_t raised = 0;

	/* It fails when there is nothing to read: then it is unreadable. */
	if (quiet_syscall(SYS_read, number, (intptr_t)&raised, sizeof raised) !=
	    (long)sizeof raised)
		return 0;
	return raised;
}

void
queue_impl_eventfd_close(int number)
{
	(void)quiet_syscall(SYS_close, number, 0, 0);
}
