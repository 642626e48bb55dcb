/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signals that interrupt a waiting thread again and again, in every call that waits: 10^5 of them
 * for each, as counted by the system calls that answered EINTR, or by the handler where these are
 * the C library's; a tenth for those that differ from another in a detail. The wait neither ends
 * early nor misses what it waits for.
 *
 * A hundredth where Criterion does not run: in an emulator, and with a sanitizer.
 */
/* LIBS: -Wl,--wrap=syscall */
#include "fault.h"
#include "waits.h"
#include "wrap_syscall.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "unit.h"

#if defined UNIT_STAND_IN
#define INTERRUPTIONS 1000
#else
#define INTERRUPTIONS 100000
#endif

/* Until it is taken for undelivered, and another one is sent. */
#define SPINS 2000

/* The longest storm on one kind of wait. */
#define STORM_MS 120000

static _Thread_local bool is_waiter;
static uint32_t interrupted, delivered;

static long
on_syscall(long number, const long *arguments)
{
	long rc = real_syscall(number, arguments);

	if (is_waiter && rc == -1 && errno == EINTR)
		(void)queue_impl_fetch_add32_acq_rel(&interrupted, 1);
	return rc;
}

static void
on_signal(int signal)
{
	(void)signal;
	is_waiter = true;
	(void)queue_impl_fetch_add32_acq_rel(&delivered, 1);
}

/*
 * One processor for both threads: then a signal is a switch to the other thread and back, instead of
 * an interrupt to another processor that has to wake up first.
 */
static void
stay_on_one_processor(int number)
{
	cpu_set_t all, one;
	int cpu, left;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof all, &all) != 0)
		return;
	left = number % CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &all) && left-- == 0)
			CPU_SET((size_t)cpu, &one);
	(void)sched_setaffinity(0, sizeof one, &one);
}

static void
install(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
}

static void
interrupt(const struct waiter *waiter)
{
	uint32_t before = queue_impl_load32_acq(&delivered);
	int i;

	(void)pthread_kill(waiter->thread, SIGUSR1);
	for (i = 0; i < SPINS && queue_impl_load32_acq(&delivered) == before; i++)
		(void)sched_yield();
}

static bool
has_returned(const struct waiter *waiter)
{
	return queue_impl_load32_acq(&waiter->has_returned) != 0;
}

/*
 * How often the wait has been interrupted; or, where that is not seen, how many signals came, or
 * were sent. It takes seconds, but minutes where others want the processor.
 */
static uint32_t
storm(const struct waiter *waiter, uint32_t interruptions)
{
	const uint32_t *seen = waiter->kind->sleeps_in_libc ? &delivered : &interrupted;
	uint64_t end = queue_after_ms(STORM_MS);
	uint32_t sent = 0;

	queue_impl_store32_rel(&delivered, 0);
	queue_impl_store32_rel(&interrupted, 0);
	while (!has_returned(waiter) && queue_impl_load32_acq(seen) < interruptions &&
	       sent < 20 * interruptions && queue_now() < end) {
		interrupt(waiter);
		sent++;
#if defined QUEUE_IMPL_TSAN
		if (sent >= interruptions)
			return sent;
#endif
	}
	return queue_impl_load32_acq(seen);
}

/* A storm on each kind from `first`, every `step`th: so that tests share them. */
static void
storms(int first, int step)
{
	stay_on_one_processor(first);
	install();
	for (int i = first; i < wait_kinds_count; i += step) {
		const struct wait_kind *kind = &wait_kinds[i];
		uint32_t n = kind->is_variant ? INTERRUPTIONS / 10 : INTERRUPTIONS, seen;
		struct waiter waiter;

		kind->prepare();
		cr_assert(
			waiter_start(&waiter, kind, i % 2 ? QUEUE_NEVER : queue_after_ms(3600000)),
			"%s does not wait", kind->name);
		seen = storm(&waiter, n);
		cr_assert(seen >= n || !has_returned(&waiter), "%s ended", kind->name);
		cr_assert_geq(seen, n, "%s: %u of %u interruptions", kind->name, seen, n);
		cr_assert(!has_returned(&waiter), "%s ended", kind->name);
		/* What it waits for comes in the middle of it. */
		kind->satisfy();
		for (uint64_t end = queue_after_ms(10000); queue_now() < end;) {
			if (has_returned(&waiter))
				break;
			interrupt(&waiter);
		}
		cr_assert(has_returned(&waiter), "%s does not end", kind->name);
		cr_assert_eq(waiter_join(&waiter), 0, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}

Test(signals, do_not_end_a_wait_nor_make_it_miss_anything_1, .timeout = 600)
{
	storms(0, 3);
}

Test(signals, do_not_end_a_wait_nor_make_it_miss_anything_2, .timeout = 600)
{
	storms(1, 3);
}

Test(signals, do_not_end_a_wait_nor_make_it_miss_anything_3, .timeout = 600)
{
	storms(2, 3);
}

Test(signals, do_not_keep_a_wait_from_being_closed, .timeout = 60)
{
	install();
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter;

		if (!kind->close)
			continue;
		kind->prepare();
		cr_assert(waiter_start(&waiter, kind, QUEUE_NEVER), "%s", kind->name);
		for (int n = 0; n < 100; n++)
			interrupt(&waiter);
		kind->close();
		for (uint64_t end = queue_after_ms(10000); queue_now() < end;) {
			if (has_returned(&waiter))
				break;
			interrupt(&waiter);
		}
		cr_assert(has_returned(&waiter), "%s does not end", kind->name);
		cr_assert_eq(waiter_join(&waiter), kind->closed, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}

Test(signals, do_not_stretch_a_deadline_nor_bring_it_forward, .timeout = 60)
{
	install();
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter;
		uint64_t deadline;

		if (!kind->has_deadline || kind->looks_ahead)
			continue;
		kind->prepare();
		/* Should the thread be late, and not wait at all: that is right as well. */
		deadline = queue_after_ms(30);
		(void)waiter_start(&waiter, kind, deadline);
		for (uint64_t end = queue_after_ms(10000); queue_now() < end;) {
			if (has_returned(&waiter))
				break;
			cr_assert_lt(queue_now(), deadline + 10 * QUEUE_SECOND, "%s", kind->name);
			interrupt(&waiter);
		}
		cr_assert(has_returned(&waiter), "%s does not end", kind->name);
		cr_assert_geq(queue_now(), deadline, "%s", kind->name);
		cr_assert_eq(waiter_join(&waiter), -ETIMEDOUT, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}
