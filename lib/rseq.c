/* SPDX-License-Identifier: BSD-2-Clause */
#include "rseq_impl.h"

#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined QUEUE_IMPL_RSEQ

/* Of glibc since 2.35; weak, so that programs link where there is an older one. */
extern const ptrdiff_t __rseq_offset __attribute__((__weak__));
extern const unsigned __rseq_size __attribute__((__weak__));

/* Commands of membarrier(2) since Linux 5.10; linux/membarrier.h may be older than the kernel. */
#define PRIVATE_EXPEDITED_RSEQ (1 << 7)
#define REGISTER_PRIVATE_EXPEDITED_RSEQ (1 << 8)

#define SECOND 1000000000L	/* ns */
#define SEQUENCE_ENDS 10000000L /* ns, by when every running thread has left its sequence */

/* The area begins with two words for the processor's number, then announces the sequence. */
#define AREA_NEEDED 16

static bool
membarrier(int command)
{
	int saved = errno;
	long rc = syscall(SYS_membarrier, command, 0, 0);

	errno = saved;
	return rc == 0;
}

ptrdiff_t
queue_impl_rseq_area(void)
{
	/* The size is 0 when the kernel did not take the registration. */
	if (!&__rseq_offset || !&__rseq_size || __rseq_size < AREA_NEEDED)
		return 0;
	if (!membarrier(REGISTER_PRIVATE_EXPEDITED_RSEQ) || !membarrier(PRIVATE_EXPEDITED_RSEQ))
		return 0;
	return __rseq_offset;
}

/* Not the library's function, which is a cancellation point, and not shortened by signals. */
static void
sleep_for(long ns)
{
	struct timespec until;

	(void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &until);
	until.tv_nsec += ns;
	if (until.tv_nsec >= SECOND) {
		until.tv_nsec -= SECOND;
		until.tv_sec++;
	}
	while (syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) < 0 &&
	       errno == EINTR)
		continue;
}

void
queue_impl_rseq_interrupt(void)
{
	int saved = errno;

	/*
	 * It worked when the ring was made. Should a seccomp(2) filter have taken it away since, or
	 * memory be out, then wait: a sequence is a handful of instructions, and who is interrupted
	 * in it does not end it. A known hole: a virtual processor that is itself stopped for
	 * longer.
	 */
	if (!membarrier(PRIVATE_EXPEDITED_RSEQ))
		sleep_for(SEQUENCE_ENDS);
	errno = saved;
}

#else

ptrdiff_t
queue_impl_rseq_area(void)
{
	return 0;
}

void
queue_impl_rseq_interrupt(void)
{
}

#endif
