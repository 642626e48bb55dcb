/* SPDX-License-Identifier: BSD-2-Clause */
#include "waits.h"

#include "fault.h"
#include "queue_impl.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

uint32_t wait_dropped, wait_released, wait_handled;

static struct queue_bounded *queue, *other;
static struct queue_topic *topic;
static struct queue_subscription *subscription;
static struct queue_message messages[2];
static struct queue_bucket bucket;
static struct queue_token_feed *feed;
static struct queue_call call;
static struct queue_pool *pool;
static sem_t go;
static uint32_t is_closed;
static int item; /* what is pushed is its address */

void
waits_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, condition);
	abort();
}

static void
note_drop(void *dropped, enum queue_reason reason, void *context)
{
	(void)dropped, (void)reason, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_dropped, 1);
}

static void
note_release(struct queue_message *message, void *context)
{
	(void)message, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_released, 1);
}

static void
forget(void)
{
	wait_dropped = wait_released = wait_handled = 0;
	is_closed = 0;
}

/*
 * Queues.
 */

static uint64_t
no_deadline(const void *dropped)
{
	(void)dropped;
	return 0;
}

static void
make_queue(enum queue_policy policy, bool counts)
{
	struct queue_options options = {.capacity = 1, .policy = policy, .on_drop = note_drop};

	if (counts)
		options.deadline_of = no_deadline;
	forget();
	WAITS_NEED(queue_create(&queue, &options) == 0);
}

static void
empty_queue(void)
{
	make_queue(QUEUE_ABORT, false);
}

static void
empty_counted_queue(void)
{
	make_queue(QUEUE_ABORT, true);
}

static void
empty_watched_queue(void)
{
	make_queue(QUEUE_ABORT, false);
	WAITS_NEED(queue_fd(queue) >= 0);
}

static void
full_queue(void)
{
	make_queue(QUEUE_BLOCK, false);
	WAITS_NEED(queue_push(queue, NULL) == 0);
}

static void
push_one(void)
{
	WAITS_NEED(queue_push(queue, &item) == 0);
}

static void
pop_one(void)
{
	void *got;

	WAITS_NEED(queue_try_pop(queue, &got) == 0 && got == NULL);
}

static void
close_queue(void)
{
	queue_impl_store32_rel(&is_closed, 1);
	(void)queue_close(queue);
}

static int
end_queue(void)
{
	return queue_destroy(queue);
}

static int
check(int rc, const void *got)
{
	return rc == 0 && got != &item ? -EILSEQ : rc;
}

static int
pop(uint64_t deadline)
{
	void *got = NULL;
	int rc = queue_pop(queue, &got);

	(void)deadline;
	return check(rc, got);
}

static int
pop_until(uint64_t deadline)
{
	void *got = NULL;
	int rc = queue_pop_until(queue, &got, deadline);

	return check(rc, got);
}

static int
pop_n(uint64_t deadline)
{
	void *got[3] = {NULL};
	int rc = queue_pop_n(queue, got, 3);

	(void)deadline;
	return rc > 0 ? check(rc - 1, got[0]) : rc;
}

static int
push(uint64_t deadline)
{
	(void)deadline;
	return queue_push(queue, &item);
}

static int
push_until(uint64_t deadline)
{
	return queue_push_until(queue, &item, deadline);
}

/*
 * Several queues.
 */

static void
two_queues(void)
{
	make_queue(QUEUE_ABORT, false);
	other = queue;
	make_queue(QUEUE_ABORT, false);
	queue_impl_store32_rlx(&queue_impl_select_polls, 0);
}

static void
two_queues_for_poll(void)
{
	two_queues();
	queue_impl_store32_rlx(&queue_impl_select_polls, 1);
}

static int
wait_for_two(bool fair, uint64_t deadline)
{
	struct queue_bounded *const queues[] = {other, queue};
	int index = -1;
	int rc = fair ? queue_select_fair(queues, 2, deadline, &index)
		      : queue_select(queues, 2, deadline, &index);

	if (rc != 0)
		return rc;
	if (index != 1)
		return -EILSEQ;
	/* Once it is closed it may be gone by now. */
	if (queue_impl_load32_acq(&is_closed))
		return -EPIPE;
	return queue_try_pop(queue, (void *[]){NULL});
}

static int
select_two(uint64_t deadline)
{
	return wait_for_two(false, deadline);
}

static int
select_two_fair(uint64_t deadline)
{
	return wait_for_two(true, deadline);
}

static int
end_queues(void)
{
	int rc = queue_destroy(queue);

	if (rc == 0)
		WAITS_NEED(queue_destroy(other) == 0);
	return rc;
}

/*
 * Topics.
 */

static void
make_topic(enum queue_policy policy)
{
	struct queue_subscription_options options = {.capacity = 1, .policy = policy};

	forget();
	WAITS_NEED(queue_topic_create(&topic, NULL) == 0);
	WAITS_NEED(queue_topic_subscribe(topic, &options, &subscription) == 0);
	queue_message_init(&messages[0], note_release, NULL);
	queue_message_init(&messages[1], note_release, NULL);
}

static void
empty_topic(void)
{
	make_topic(QUEUE_ABORT);
}

static void
full_topic(void)
{
	make_topic(QUEUE_BLOCK);
	WAITS_NEED(queue_topic_publish(topic, &messages[0], 0) == 1);
}

static int
let_go(int rc, struct queue_message *got)
{
	if (rc == 0)
		queue_message_release(got);
	return rc;
}

static int
topic_pop(uint64_t deadline)
{
	struct queue_message *got = NULL;
	int rc = queue_topic_pop(subscription, &got);

	(void)deadline;
	return let_go(rc, got);
}

static int
topic_pop_until(uint64_t deadline)
{
	struct queue_message *got = NULL;
	int rc = queue_topic_pop_until(subscription, &got, deadline);

	return let_go(rc, got);
}

static int
topic_pop_n(uint64_t deadline)
{
	struct queue_message *got[2] = {NULL};
	int rc = queue_topic_pop_n(subscription, got, 2);

	(void)deadline;
	return rc > 0 ? let_go(rc - 1, got[0]) : rc;
}

static int
publish(uint64_t deadline)
{
	int rc = queue_topic_publish(topic, &messages[1], 0);

	(void)deadline;
	return rc > 0 ? rc - 1 : rc;
}

static void
publish_one(void)
{
	WAITS_NEED(queue_topic_publish(topic, &messages[0], 0) == 1);
}

static void
topic_pop_one(void)
{
	struct queue_message *got;

	WAITS_NEED(queue_topic_try_pop(subscription, &got) == 0);
	queue_message_release(got);
}

static void
close_topic(void)
{
	(void)queue_topic_close(topic);
}

static int
end_topic(void)
{
	return queue_topic_destroy(topic);
}

/*
 * Tokens.
 */

static void
empty_bucket(void)
{
	struct queue_bucket_options options = {.tokens = 1, .period = 600 * QUEUE_SECOND};

	forget();
	WAITS_NEED(queue_bucket_init(&bucket, &options) == 0);
	WAITS_NEED(queue_bucket_take(&bucket, 1) == 0);
}

static int
bucket_take_until(uint64_t deadline)
{
	return queue_bucket_take_until(&bucket, 1, deadline);
}

static void
refund(void)
{
	(void)queue_bucket_refund(&bucket, 1);
}

static int
end_nothing(void)
{
	return 0;
}

static void
empty_feed(void)
{
	struct queue_token_feed_options options = {
		.tokens = 1, .period = QUEUE_SECOND, .flags = QUEUE_FEED_MANUAL};

	forget();
	WAITS_NEED(queue_token_feed_create(&feed, &options) == 0);
	WAITS_NEED(queue_token_feed_take(feed, 1) == 0);
	WAITS_NEED(queue_token_feed_advance(feed, 1) == 0);
}

static int
feed_take_until(uint64_t deadline)
{
	return queue_token_feed_take_until(feed, 1, deadline);
}

static void
feed_advance(void)
{
	WAITS_NEED(queue_token_feed_advance(feed, 2 * QUEUE_SECOND) == 0);
}

static int
end_feed(void)
{
	return queue_token_feed_destroy(feed);
}

/*
 * Calls.
 */

static void
note_call_release(struct queue_call *released, void *context)
{
	(void)released, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_released, 1);
}

static void
new_call(void)
{
	struct queue_call_options options = {.release = note_call_release};

	forget();
	WAITS_NEED(queue_call_init(&call, &options) == 0);
}

static int
call_wait(uint64_t deadline)
{
	return queue_call_wait(&call, deadline);
}

static void
reply(void)
{
	WAITS_NEED(queue_call_claim(&call) == 0 && queue_call_reply(&call) == 0);
}

static int
end_call(void)
{
	queue_call_release(&call);
	queue_call_release(&call);
	return wait_released == 1 ? 0 : -EILSEQ;
}

/*
 * Pools.
 */

static int
handle_slowly(void *handled, void *context)
{
	(void)handled, (void)context;
	while (sem_wait(&go) != 0)
		continue;
	(void)queue_impl_fetch_add32_acq_rel(&wait_handled, 1);
	return 0;
}

static void
busy_pool(void)
{
	struct queue_pool_options options = {.handler = handle_slowly, .workers = 2};

	WAITS_NEED(sem_init(&go, 0, 0) == 0);
	make_queue(QUEUE_ABORT, false);
	push_one();
	options.queue = queue;
	WAITS_NEED(queue_pool_create(&pool, &options) == 0);
}

static int
pool_stop(uint64_t deadline)
{
	return queue_pool_stop(pool, QUEUE_POOL_DRAIN, deadline);
}

static int
pool_destroy(uint64_t deadline)
{
	int rc = queue_pool_destroy(pool);

	(void)deadline;
	if (rc == 0)
		pool = NULL;
	return rc;
}

static void
let_handlers_go(void)
{
	WAITS_NEED(sem_post(&go) == 0);
}

static int
end_pool(void)
{
	/* Should the wait have ended without that. */
	let_handlers_go();
	/* NULL: that was the call. */
	WAITS_NEED(queue_pool_destroy(pool) == 0);
	pool = NULL;
	WAITS_NEED(wait_handled == 1);
	WAITS_NEED(sem_destroy(&go) == 0);
	return queue_destroy(queue);
}

const struct wait_kind wait_kinds[] = {
	{"queue_pop", false, empty_queue, pop, push_one, close_queue, end_queue, true, false,
	 false},
	{"queue_pop, careful", false, empty_counted_queue, pop, push_one, close_queue, end_queue,
	 true, false, true},
	{"queue_pop, watched", false, empty_watched_queue, pop, push_one, close_queue, end_queue,
	 true, false, true},
	{"queue_pop_until", true, empty_queue, pop_until, push_one, close_queue, end_queue, true,
	 false, false},
	{"queue_pop_n", false, empty_queue, pop_n, push_one, close_queue, end_queue, true, false,
	 false},
	{"queue_push", false, full_queue, push, pop_one, close_queue, end_queue, true, false,
	 false},
	{"queue_push_until", true, full_queue, push_until, pop_one, close_queue, end_queue, true,
	 false, false},
	{"queue_select", true, two_queues, select_two, push_one, close_queue, end_queues, true,
	 false, false},
	{"queue_select_fair", true, two_queues, select_two_fair, push_one, close_queue, end_queues,
	 true, false, true},
	{"queue_select, by poll", true, two_queues_for_poll, select_two, push_one, close_queue,
	 end_queues, true, false, false},
	{"queue_topic_pop", false, empty_topic, topic_pop, publish_one, close_topic, end_topic,
	 true, false, false},
	{"queue_topic_pop_until", true, empty_topic, topic_pop_until, publish_one, close_topic,
	 end_topic, true, false, true},
	{"queue_topic_pop_n", false, empty_topic, topic_pop_n, publish_one, close_topic, end_topic,
	 true, false, true},
	{"queue_topic_publish", false, full_topic, publish, topic_pop_one, close_topic, end_topic,
	 true, false, false},
	{"queue_bucket_take_until", true, empty_bucket, bucket_take_until, refund, NULL,
	 end_nothing, false, true, false},
	{"queue_token_feed_take_until", true, empty_feed, feed_take_until, feed_advance, NULL,
	 end_feed, true, false, false},
	{"queue_call_wait", true, new_call, call_wait, reply, NULL, end_call, false, false, false},
	{"queue_pool_stop", true, busy_pool, pool_stop, let_handlers_go, NULL, end_pool, false,
	 false, false},
	{"queue_pool_destroy", false, busy_pool, pool_destroy, let_handlers_go, NULL, end_pool,
	 false, false, true},
};

const int wait_kinds_count = sizeof wait_kinds / sizeof *wait_kinds;

/*
 * Waiters.
 */

static void *
waiter_main(void *argument)
{
	struct waiter *waiter = argument;

	queue_impl_store32_rel(&waiter->number, (uint32_t)syscall(SYS_gettid));
	waiter->rc = waiter->kind->wait(waiter->deadline);
	queue_impl_store32_rel(&waiter->has_returned, 1);
	pthread_testcancel();
	return NULL;
}

/* Not for a moment only, as for a lock of somebody else's. */
static bool
sleeps(const struct waiter *waiter)
{
	pid_t number = (pid_t)queue_impl_load32_acq(&waiter->number);
	int i;

	if (number == 0)
		return false;
	for (i = 0; i < 3; i++) {
		if (!fault_is_asleep(number))
			return false;
		usleep(200);
	}
	return true;
}

bool
waiter_start(struct waiter *waiter, const struct wait_kind *kind, uint64_t deadline)
{
	waiter->kind = kind;
	waiter->deadline = deadline;
	waiter->number = 0;
	waiter->has_returned = 0;
	waiter->rc = 0;
	WAITS_NEED(pthread_create(&waiter->thread, NULL, waiter_main, waiter) == 0);
	(void)FAULT_EVENTUALLY(sleeps(waiter) || queue_impl_load32_acq(&waiter->has_returned) != 0);
	return queue_impl_load32_acq(&waiter->has_returned) == 0;
}

bool
waiter_returns(struct waiter *waiter)
{
	return FAULT_EVENTUALLY(queue_impl_load32_acq(&waiter->has_returned) != 0);
}

int
waiter_join(struct waiter *waiter)
{
	void *value;

	WAITS_NEED(pthread_join(waiter->thread, &value) == 0);
	waiter->was_cancelled = value == PTHREAD_CANCELED;
	return waiter->rc;
}
