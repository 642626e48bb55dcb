/* SPDX-License-Identifier: BSD-2-Clause */
#include "eventfd_impl.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the system has it: a negative error number. */
static long
quiet_syscall(long number, long a, const void *b, size_t c)
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
	int saved = errno;
	int number = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (number < 0)
		number = errno == EMFILE || errno == ENFILE ? -EAGAIN : -ENOMEM;
	errno = saved;
	return number;
}

void
queue_impl_eventfd_raise(int number)
{
	const uint64_t one = 1;

	/* It fails only when 2^64 - 2 is reached: then it is readable. */
	(void)quiet_syscall(SYS_write, number, &one, sizeof one);
}

uint64_t
queue_impl_eventfd_lower(int number)
{
	uint64_t raised = 0;

	/* It fails when there is nothing to read: then it is unreadable. */
	if (quiet_syscall(SYS_read, number, &raised, sizeof raised) != (long)sizeof raised)
		return 0;
	return raised;
}

void
queue_impl_eventfd_close(int number)
{
	(void)quiet_syscall(SYS_close, number, NULL, 0);
}
