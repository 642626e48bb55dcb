/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that fail, as in a process with a filter, on an old kernel, or out of resources:
 * futex(2), futex_waitv(2), ppoll(2), eventfd(2) and membarrier(2), the last one at every nth call.
 * And a process without a key for the data of threads.
 */
/* LIBS: -Wl,--wrap=syscall -Wl,--wrap=pthread_key_create */
#include "fault.h"
#include "waits.h"
#include "wrap_syscall.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>

#include "unit.h"

#define FUTEX_WAITV 449
#define ITEMS 200
#define CALLS_MOST 40 /* of membarrier in what is tried below, at least as many */

#define COUNT(array) (sizeof(array) / sizeof *(array))

int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value));

/* What fails; several may. */
static struct failure {
	long number;
	int error;
	uint32_t from; /* the call that fails, from 1 on; 0: none does */
	bool once;
	uint32_t calls, failed;
} failures[4];

static bool
is_to_fail(struct failure *failure, long number)
{
	uint32_t call;

	if (failure->from == 0 || failure->number != number)
		return false;
	call = queue_impl_fetch_add32_acq_rel(&failure->calls, 1) + 1;
	if (failure->once ? call != failure->from : call < failure->from)
		return false;
	(void)queue_impl_fetch_add32_acq_rel(&failure->failed, 1);
	errno = failure->error;
	return true;
}

static long
on_syscall(long number, const long *arguments)
{
	for (size_t i = 0; i < COUNT(failures); i++)
		if (is_to_fail(&failures[i], number))
			return -1;
	return real_syscall(number, arguments);
}

static void
fail(int place, long number, int error)
{
	failures[place] = (struct failure){.number = number, .error = error, .from = 1};
}

static void
fail_nothing(void)
{
	memset(failures, 0, sizeof failures);
}

static uint32_t
failed(int place)
{
	return queue_impl_load32_acq(&failures[place].failed);
}

/* ---- Sleeping --------------------------------------------------------------------------------- */

struct sleeper {
	const struct wait_kind *kind;
	uint64_t deadline;
	pthread_t thread;
	uint32_t has_returned;
	int rc;
};

static void *
sleeper_main(void *argument)
{
	struct sleeper *sleeper = argument;

	sleeper->rc = sleeper->kind->wait(sleeper->deadline);
	queue_impl_store32_rel(&sleeper->has_returned, 1);
	return NULL;
}

/* Does without what fails, at `place`, as the other calls do: 0, -EPIPE or -ETIMEDOUT in its time. */
static void
wait_without(const struct wait_kind *kind, int place, void (*end_it)(void), int expected)
{
	struct sleeper sleeper = {.kind = kind, .deadline = QUEUE_NEVER};

	kind->prepare();
	cr_assert_eq(pthread_create(&sleeper.thread, NULL, sleeper_main, &sleeper), 0);
	cr_assert(FAULT_EVENTUALLY(failed(place) >= 3), "%s", kind->name);
	cr_assert_not(queue_impl_load32_acq(&sleeper.has_returned), "%s", kind->name);
	end_it();
	cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&sleeper.has_returned)), "%s", kind->name);
	cr_assert_eq(pthread_join(sleeper.thread, NULL), 0);
	cr_assert_eq(sleeper.rc, expected, "%s: %d", kind->name, sleeper.rc);
	cr_assert_eq(kind->end(), 0, "%s", kind->name);
}

static void
time_out_without(const struct wait_kind *kind)
{
	uint64_t deadline;

	kind->prepare();
	deadline = queue_after_ms(3);
	cr_assert_eq(kind->wait(deadline), -ETIMEDOUT, "%s", kind->name);
	if (!kind->looks_ahead)
		cr_assert_geq(queue_now(), deadline, "%s", kind->name);
	cr_assert_eq(kind->end(), 0, "%s", kind->name);
}

static bool
selects(const struct wait_kind *kind)
{
	return strncmp(kind->name, "queue_select", 12) == 0;
}

Test(system, without_futex_every_wait_but_select_goes_on_awake, .timeout = 60)
{
	static const int errors[] = {ENOSYS, EPERM, EAGAIN, EINVAL, ENOMEM, EINTR};

	for (size_t e = 0; e < COUNT(errors); e++) {
		for (int i = 0; i < wait_kinds_count; i++) {
			const struct wait_kind *kind = &wait_kinds[i];

			if (selects(kind) || (kind->is_variant && e > 0))
				continue;
			fail(0, SYS_futex, errors[e]);
			wait_without(kind, 0, kind->satisfy, 0);
			fail(0, SYS_futex, errors[e]);
			if (kind->close)
				wait_without(kind, 0, kind->close, kind->closed);
			if (kind->has_deadline)
				time_out_without(kind);
		}
	}
}

/* Without futex_waitv it polls; without descriptors or poll as well it looks now and then. */
Test(system, without_any_of_its_calls_select_still_waits, .timeout = 60)
{
	static const int wait_errors[] = {ENOSYS, EPERM};
	static const int fd_errors[] = {0, EMFILE, ENFILE, ENOMEM};
	static const int poll_errors[] = {0, EINVAL, ENOMEM, ENOSYS, EINTR};

	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];

		if (!selects(kind))
			continue;
		for (size_t w = 0; w < COUNT(wait_errors); w++) {
			for (size_t f = 0; f < COUNT(fd_errors); f++) {
				for (size_t p = 0; p < COUNT(poll_errors); p++) {
					int place = 0;
					bool polls = strstr(kind->name, "by poll") != NULL;

					fail_nothing();
					fail(0, FUTEX_WAITV, wait_errors[w]);
					if (fd_errors[f])
						fail(place = 1, SYS_eventfd2, fd_errors[f]);
					if (poll_errors[p])
						fail(place = 2, SYS_ppoll, poll_errors[p]);
					/* The first of them fails once, then it is not tried again. */
					if (place == 0) {
						struct waiter waiter;

						kind->prepare();
						cr_assert(waiter_start(&waiter, kind, QUEUE_NEVER));
						cr_assert(polls || failed(0) > 0);
						kind->satisfy();
						cr_assert(waiter_returns(&waiter));
						cr_assert_eq(waiter_join(&waiter), 0);
						cr_assert_eq(kind->end(), 0);
						time_out_without(kind);
						continue;
					}
					wait_without(kind, place, kind->satisfy, 0);
					wait_without(kind, place, kind->close, kind->closed);
					time_out_without(kind);
				}
			}
		}
	}
}

/* An answer of futex_waitv that says nothing about whether there is one: it looks, and tries again. */
Test(system, when_futex_waitv_returns_early_select_tries_again, .timeout = 60)
{
	static const int errors[] = {EAGAIN, EINTR, EINVAL, ENOMEM, ETIMEDOUT};

	for (int i = 0; i < wait_kinds_count; i++) {
		if (!selects(&wait_kinds[i]) || strstr(wait_kinds[i].name, "by poll"))
			continue;
		for (size_t e = 0; e < COUNT(errors); e++) {
			fail(0, FUTEX_WAITV, errors[e]);
			wait_without(&wait_kinds[i], 0, wait_kinds[i].satisfy, 0);
			wait_without(&wait_kinds[i], 0, wait_kinds[i].close, wait_kinds[i].closed);
			time_out_without(&wait_kinds[i]);
		}
	}
}

/* ---- Descriptors ------------------------------------------------------------------------------ */

static bool
is_readable(int number)
{
	struct pollfd poll_for = {.fd = number, .events = POLLIN};

	return poll(&poll_for, 1, 0) == 1;
}

Test(system, without_eventfd_there_is_an_error_and_another_time_a_descriptor)
{
	static const struct {
		int error, rc;
	} rows[] = {{EMFILE, -EAGAIN}, {ENFILE, -EAGAIN}, {ENOMEM, -ENOMEM}, {ENODEV, -ENOMEM}};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct queue_options options = {.capacity = 2};
		struct queue_bounded *queue;
		struct queue_call call;
		void *item;
		int number;

		cr_assert_eq(queue_create(&queue, &options), 0);
		cr_assert_eq(queue_call_init(&call, NULL), 0);
		fail(0, SYS_eventfd2, rows[i].error);
		errno = 4711;
		for (int n = 0; n < 3; n++) {
			cr_assert_eq(queue_fd(queue), rows[i].rc);
			cr_assert_eq(queue_call_fd(&call), rows[i].rc);
			cr_assert_eq(queue_push(queue, NULL), 0);
			cr_assert_eq(queue_pop(queue, &item), 0);
		}
		cr_assert_eq(errno, 4711);
		fail_nothing();
		number = queue_fd(queue);
		cr_assert_geq(number, 0);
		cr_assert_not(is_readable(number));
		cr_assert_eq(queue_push(queue, NULL), 0);
		cr_assert(is_readable(number));
		cr_assert_eq(queue_pop(queue, &item), 0);
		cr_assert_not(is_readable(number));
		cr_assert_eq(queue_destroy(queue), 0);
		number = queue_call_fd(&call);
		cr_assert_geq(number, 0);
		cr_assert_eq(queue_call_cancel(&call), 0);
		cr_assert(is_readable(number));
		queue_call_release(&call);
		queue_call_release(&call);
	}
}

/* ---- Barriers --------------------------------------------------------------------------------- */

static struct queue_bounded *queue;
static uint32_t seen[2 * ITEMS], released;

static void *
push_all(void *argument)
{
	uintptr_t first = (uintptr_t)argument;

	for (uintptr_t i = first; i < first + ITEMS; i++)
		cr_assert_eq(queue_push(queue, (void *)i), 0);
	return NULL;
}

static void *
pop_all(void *unused)
{
	void *item;

	(void)unused;
	while (queue_pop(queue, &item) == 0)
		(void)queue_impl_fetch_add32_acq_rel(&seen[(uintptr_t)item], 1);
	return NULL;
}

/* Two threads at each end, which take turns in waiting for each other, and a descriptor. */
static void
use_queue(uint64_t capacity)
{
	struct queue_options options = {.capacity = capacity, .policy = QUEUE_BLOCK};
	pthread_t threads[4];
	int number;

	memset(seen, 0, sizeof seen);
	cr_assert_eq(queue_create(&queue, &options), 0);
	for (uintptr_t i = 0; i < 2; i++) {
		cr_assert_eq(pthread_create(&threads[i], NULL, push_all, (void *)(i * ITEMS)), 0);
		cr_assert_eq(pthread_create(&threads[2 + i], NULL, pop_all, NULL), 0);
	}
	number = queue_fd(queue);
	cr_assert_geq(number, 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(queue_close(queue), 0);
	for (int i = 2; i < 4; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (int i = 0; i < 2 * ITEMS; i++)
		cr_assert_eq(seen[i], 1, "item %d", i);
	cr_assert(is_readable(number), "it is closed");
	cr_assert_eq(queue_destroy(queue), 0);
}

static void
note_release(struct queue_message *message, void *context)
{
	(void)message, (void)context;
	released++;
}

static void
use_topic(void)
{
	struct queue_topic_options options = {0};
	struct queue_subscription_options wants = {.capacity = 2};
	struct queue_subscription *one, *two;
	struct queue_message message;
	struct fault_allocator memory;
	struct queue_topic *topic;

	fault_init(&memory);
	options.allocator = &memory.allocator;
	released = 0;
	cr_assert_eq(queue_topic_create(&topic, &options), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(queue_topic_subscribe(topic, &wants, &one), 0);
		cr_assert_eq(queue_topic_subscribe(topic, &wants, &two), 0);
		queue_message_init(&message, note_release, NULL);
		cr_assert_eq(queue_topic_publish(topic, &message, 0), 2);
		cr_assert_eq(queue_topic_unsubscribe(one), 0);
		cr_assert_eq(queue_topic_unsubscribe(two), 0);
		cr_assert_eq(released, (uint32_t)i + 1);
	}
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert(fault_is_balanced(&memory));
}

/* A thread that is about to fill a slot stays there; others come by, and the end is told. */
static void
use_ring(void)
{
	struct queue_ring *ring;
	void *item;

	cr_assert_eq(queue_ring_create(&ring, 2, 0, NULL), 0);
	cr_assert_eq(queue_ring_try_push(ring, &item), 0);
	cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
	queue_ring_close(ring);
	cr_assert_eq(queue_ring_try_pop(ring, &item), -EPIPE);
	queue_ring_destroy(ring);
}

static void
use_all(void)
{
	use_queue(1);
	use_queue(8);
	use_topic();
	use_ring();
}

Test(system, without_membarrier_everything_works_by_fences, .timeout = 60)
{
	static const int errors[] = {ENOSYS, EPERM, EINVAL};

	for (size_t e = 0; e < COUNT(errors); e++) {
		fail(0, SYS_membarrier, errors[e]);
		use_all();
		/* Without restartable sequences topics alone ask, and once in a process. */
		cr_assert(e > 0 || failed(0) > 0);
		fail_nothing();
	}
}

Test(system, whose_membarrier_fails_at_any_call_loses_nothing, .timeout = 60)
{
	for (uint32_t n = 1; n <= CALLS_MOST; n = n < 12 ? n + 1 : n * 3 / 2) {
		for (int once = 0; once < 2; once++) {
			fail(0, SYS_membarrier, once ? ENOMEM : EPERM);
			failures[0].from = n;
			failures[0].once = once;
			use_all();
			/* There may be fewer calls, where nobody had to wait. */
			fail_nothing();
		}
	}
}

/* With nothing to order memory by, a waiter looks again and again instead of relying on a wake. */
Test(system, whose_membarrier_is_taken_away_wakes_waiters_by_itself, .timeout = 60)
{
	struct queue_options options = {.capacity = 2, .flags = QUEUE_SINGLE_CONSUMER};
	pthread_t thread;

	memset(seen, 0, sizeof seen);
	cr_assert_eq(queue_create(&queue, &options), 0);
	if (queue_impl_load32_acq(&queue->not_empty.barrier) != 0) {
		fail(0, SYS_membarrier, EPERM);
		cr_assert_eq(pthread_create(&thread, NULL, pop_all, NULL), 0);
		cr_assert(FAULT_EVENTUALLY(queue_impl_load_acq(&queue->not_empty.waits) >= 5));
		cr_assert_gt(failed(0), 0);
		cr_assert_eq(queue_push(queue, (void *)3), 0);
		cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&seen[3]) == 1));
		cr_assert_eq(queue_close(queue), 0);
		cr_assert_eq(pthread_join(thread, NULL), 0);
	}
	fail_nothing();
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Keys ------------------------------------------------------------------------------------- */

static bool no_keys;
static uint32_t keys_refused;

int
__wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *value))
{
	if (no_keys) {
		keys_refused++;
		return EAGAIN;
	}
	return __real_pthread_key_create(key, destructor);
}

static void *
use_topic_in_thread(void *unused)
{
	use_topic();
	return unused;
}

Test(system, without_a_key_for_threads_topics_work_and_free, .timeout = 60)
{
	pthread_t thread;

	no_keys = true;
	use_topic();
	cr_assert_eq(keys_refused, 1);
	cr_assert_eq(pthread_create(&thread, NULL, use_topic_in_thread, NULL), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	use_topic();
	cr_assert_eq(keys_refused, 1);
}
