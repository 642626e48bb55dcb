/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs, by what lib/epoch_impl.h promises: what readers may still be looking at is not given
 * free, and everything else is. And the ways out when a thread cannot be registered, or when
 * membarrier(2) is not there or is taken away.
 */
#include "unit.h"

#include "epoch_impl.h"
#include "fault.h"

#include <conveyor/topic.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

static bool
is_free(uint64_t retired)
{
	return retired <= queue_impl_epoch_oldest();
}

Test(epoch, without_readers_everything_retired_is_free)
{
	uint64_t first, second;

	queue_impl_epoch_prepare();
	first = queue_impl_epoch_retire();
	cr_assert(is_free(first));
	second = queue_impl_epoch_retire();
	cr_assert_gt(second, first);
	cr_assert(is_free(first));
	cr_assert(is_free(second));
}

Test(epoch, a_reader_keeps_what_is_retired_while_it_is_inside_and_nothing_else)
{
	struct queue_impl_reader *reader;
	uint64_t before, meanwhile, later;

	queue_impl_epoch_prepare();
	before = queue_impl_epoch_retire();
	reader = queue_impl_epoch_enter();
	cr_assert_not_null(reader);
	cr_assert(is_free(before));
	meanwhile = queue_impl_epoch_retire();
	later = queue_impl_epoch_retire();
	cr_assert_not(is_free(meanwhile));
	cr_assert_not(is_free(later));
	cr_assert(is_free(before));
	queue_impl_epoch_leave(reader);
	cr_assert(is_free(meanwhile));
	cr_assert(is_free(later));
}

Test(epoch, only_the_outermost_section_counts)
{
	struct queue_impl_reader *outer, *inner;
	uint64_t retired;

	queue_impl_epoch_prepare();
	outer = queue_impl_epoch_enter();
	retired = queue_impl_epoch_retire();
	inner = queue_impl_epoch_enter();
	cr_assert_eq(inner, outer);
	cr_assert_not(is_free(retired), "the outer section began before");
	queue_impl_epoch_leave(inner);
	cr_assert_not(is_free(retired));
	queue_impl_epoch_leave(outer);
	cr_assert(is_free(retired));
}

Test(epoch, the_crowd_keeps_everything_until_all_of_it_have_left)
{
	uint64_t before, meanwhile;

	queue_impl_epoch_prepare();
	before = queue_impl_epoch_retire();
	queue_impl_epoch_join_crowd();
	queue_impl_epoch_join_crowd();
	meanwhile = queue_impl_epoch_retire();
	cr_assert_not(is_free(before));
	queue_impl_epoch_leave_crowd();
	cr_assert_not(is_free(meanwhile));
	queue_impl_epoch_leave_crowd();
	cr_assert(is_free(before));
	cr_assert(is_free(meanwhile));
}

/*
 * Threads.
 */

static void *
enter_once(void *unused)
{
	struct queue_impl_reader *reader = queue_impl_epoch_enter();

	(void)unused;
	queue_impl_epoch_leave(reader);
	return reader;
}

static void *
end_inside(void *unused)
{
	(void)unused;
	return queue_impl_epoch_enter();
}

static struct queue_impl_reader *
run_thread(void *(*body)(void *argument), void *argument)
{
	void *reader = NULL;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, body, argument), 0);
	cr_assert_eq(pthread_join(thread, &reader), 0);
	return reader;
}

Test(epoch, a_thread_that_ends_leaves_its_record_to_the_next)
{
	struct queue_impl_reader *own, *first;
	int i;

	queue_impl_epoch_prepare();
	own = queue_impl_epoch_enter();
	first = run_thread(enter_once, NULL);
	cr_assert_not_null(first);
	cr_assert_neq(first, own);
	for (i = 0; i < 50; i++)
		cr_assert_eq(run_thread(enter_once, NULL), first);
	queue_impl_epoch_leave(own);
}

Test(epoch, a_thread_that_ends_inside_keeps_nothing)
{
	struct queue_impl_reader *reader;
	uint64_t retired;

	queue_impl_epoch_prepare();
	reader = run_thread(end_inside, NULL);
	retired = queue_impl_epoch_retire();
	cr_assert(is_free(retired));
	/* The next thread that has the record begins outside. */
	cr_assert_eq(run_thread(end_inside, NULL), reader);
	cr_assert(is_free(queue_impl_epoch_retire()));
	cr_assert_eq(run_thread(enter_once, NULL), reader);
}

struct inside {
	pthread_barrier_t reached, go;
};

static void *
stay_inside(void *argument)
{
	struct inside *inside = argument;
	struct queue_impl_reader *reader = queue_impl_epoch_enter();

	(void)pthread_barrier_wait(&inside->reached);
	(void)pthread_barrier_wait(&inside->go);
	queue_impl_epoch_leave(reader);
	return reader;
}

Test(epoch, another_thread_inside_keeps_what_is_retired)
{
	struct inside inside;
	pthread_t thread;
	uint64_t before, meanwhile;

	queue_impl_epoch_prepare();
	cr_assert_eq(pthread_barrier_init(&inside.reached, NULL, 2), 0);
	cr_assert_eq(pthread_barrier_init(&inside.go, NULL, 2), 0);
	before = queue_impl_epoch_retire();
	cr_assert_eq(pthread_create(&thread, NULL, stay_inside, &inside), 0);
	(void)pthread_barrier_wait(&inside.reached);
	meanwhile = queue_impl_epoch_retire();
	cr_assert(is_free(before));
	cr_assert_not(is_free(meanwhile));
	/* Whoever enters later does not help it out. */
	queue_impl_epoch_leave(queue_impl_epoch_enter());
	cr_assert_not(is_free(meanwhile));
	(void)pthread_barrier_wait(&inside.go);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert(is_free(meanwhile));
}

/*
 * When something is missing.
 */

/* A topic that is used in every way, and what its allocator has left. */
static int64_t blocks;

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	(void)context;
	blocks++;
	return queue_allocator_libc.allocate(NULL, size, alignment);
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	blocks--;
	queue_allocator_libc.release(NULL, memory, size, alignment);
}

static const struct queue_allocator counting = {counting_allocate, counting_release, NULL};

static struct queue_topic *
make_topic(void)
{
	const struct queue_topic_options options = {.allocator = &counting};
	struct queue_topic *topic = NULL;

	cr_assert_eq(queue_topic_create(&topic, &options), 0);
	return topic;
}

static uint64_t
retired_in(const struct queue_topic *topic)
{
	struct queue_topic_stats stats;

	cr_assert_eq(queue_topic_stats(topic, &stats), 0);
	return stats.retired;
}

/* Subscriptions that come and go while messages are published. */
static void
use_topic(struct queue_topic *topic)
{
	const struct queue_subscription_options options = {.capacity = 2};
	struct queue_subscription *stays, *goes;
	struct queue_message message, *popped = NULL;
	int i;

	cr_assert_eq(queue_topic_subscribe(topic, &options, &stays), 0);
	for (i = 0; i < 10; i++) {
		cr_assert_eq(queue_topic_subscribe(topic, &options, &goes), 0);
		queue_message_init(&message, NULL, NULL);
		cr_assert_eq(queue_topic_publish(topic, &message, 1), 2);
		cr_assert_eq(queue_topic_pop(stays, &popped), 0);
		queue_message_release(popped);
		cr_assert_eq(queue_topic_unsubscribe(goes), 0);
	}
	cr_assert_eq(queue_topic_unsubscribe(stays), 0);
}

Test(epoch, a_thread_that_cannot_be_registered_is_one_of_the_crowd)
{
	struct queue_topic *topic;
	struct queue_impl_reader *reader;
	uint64_t retired;
	pthread_key_t key;

	/* From here on there is no key, without which nobody would give records back. */
	while (pthread_key_create(&key, NULL) == 0)
		continue;
	errno = 4711;
	topic = make_topic();
	reader = queue_impl_epoch_enter();
	cr_assert_null(reader);
	retired = queue_impl_epoch_retire();
	cr_assert_not(is_free(retired));
	queue_impl_epoch_leave(reader);
	cr_assert(is_free(retired));
	use_topic(topic);
	cr_assert_eq(retired_in(topic), 0);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(blocks, 0);
	cr_assert_eq(errno, 4711);
}

Test(epoch, without_membarrier_readers_have_fences_and_memory_is_freed)
{
	struct queue_impl_reader *reader;
	struct queue_topic *topic;
	uint64_t retired;

	if (!fault_refuse_membarrier())
		return;
	errno = 4711;
	topic = make_topic();
	cr_assert_neq(queue_impl_epoch_fence, 0);
	reader = queue_impl_epoch_enter();
	retired = queue_impl_epoch_retire();
	cr_assert_not(is_free(retired));
	queue_impl_epoch_leave(reader);
	cr_assert(is_free(retired));
	use_topic(topic);
	cr_assert_eq(retired_in(topic), 0);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(blocks, 0);
	cr_assert_eq(errno, 4711);
}

Test(epoch, when_membarrier_is_taken_away_nothing_is_freed_before_the_topic_ends)
{
	struct queue_topic *topic = make_topic();
	uint64_t retired;

	use_topic(topic);
	cr_assert_eq(retired_in(topic), 0);
	if (queue_impl_epoch_fence || !fault_refuse_membarrier()) {
		cr_assert_eq(queue_topic_destroy(topic), 0);
		return;
	}
	errno = 4711;
	retired = queue_impl_epoch_retire();
	cr_assert_not(is_free(retired), "a reader's store may not have come out yet");
	use_topic(topic);
	cr_assert_eq(retired_in(topic), 11);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(blocks, 0);
	cr_assert_eq(errno, 4711);
}

static uint64_t record; /* the first thread's */

/*
 * Two threads that have a record one after the other. Nothing but the record may order what the first
 * does as it ends, and the second then: ThreadSanitizer is to see whether it does.
 */
static void *
have_it_first(void *unused)
{
	struct queue_impl_reader *reader = queue_impl_epoch_enter();

	queue_impl_epoch_leave(reader);
	queue_impl_store_rel(&record, (uint64_t)(uintptr_t)reader);
	return unused;
}

static void *
have_it_then(void *unused)
{
	struct queue_impl_reader *first, *reader;

	while (queue_impl_load_acq(&record) == 0)
		(void)sched_yield();
	first = (struct queue_impl_reader *)(uintptr_t)queue_impl_load_acq(&record);
	/* Relaxed: it must not order what the test is about. */
	while (queue_impl_load32_rlx(&first->claimed))
		(void)sched_yield();
	reader = queue_impl_epoch_enter();
	cr_assert_eq(reader, first);
	queue_impl_epoch_leave(reader);
	return unused;
}

Test(epoch, a_thread_has_the_record_of_one_that_has_ended)
{
	pthread_t first, then;

	queue_impl_epoch_prepare();
	cr_assert_eq(pthread_create(&then, NULL, have_it_then, NULL), 0);
	cr_assert_eq(pthread_create(&first, NULL, have_it_first, NULL), 0);
	cr_assert_eq(pthread_join(then, NULL), 0);
	cr_assert_eq(pthread_join(first, NULL), 0);
}

static int looked_at;
static uint32_t has_looked;

static void *
look_and_end(void *unused)
{
	(void)queue_impl_epoch_enter();
	cr_assert_eq(looked_at, 1);
	/* Relaxed: it must not order what the test is about. */
	queue_impl_store32_rlx(&has_looked, 1);
	return unused;
}

/* As when the callback of a subscription ends the thread that publishes. */
Test(epoch, a_thread_that_ends_inside_has_left)
{
	uint64_t retired;
	pthread_t thread;

	queue_impl_epoch_prepare();
	looked_at = 1;
	cr_assert_eq(pthread_create(&thread, NULL, look_and_end, NULL), 0);
	while (!queue_impl_load32_rlx(&has_looked))
		(void)sched_yield();
	retired = queue_impl_epoch_retire();
	while (!is_free(retired))
		(void)sched_yield();
	looked_at = 2;
	cr_assert_eq(pthread_join(thread, NULL), 0);
}
