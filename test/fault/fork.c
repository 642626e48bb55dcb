/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork(2) in the middle of traffic. As the manual pages have it: the child's copy of a ring, a queue
 * or a topic works, with the same items, when no other thread was inside a call on it but for
 * waiting; waiting threads are counted there for ever, so that it cannot be ended. What other
 * threads were inside of is left alone, and so are logs; all that the child makes for itself works.
 */
#include <conveyor.h>

#include "../../lib/log_impl.h"
#include "disk.h"
#include "fault.h"
#include "waits.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "unit.h"

#define MOST 64	 /* items inside */
#define MORE 300 /* pushed by each of the child's producers */
#define ALL (3 * MOST + 2 * MORE)
#define STEPS 40 /* of traffic before each fork */
#define FORKS 12
#define DISTANCES 1000

#define COUNT(array) (sizeof(array) / sizeof *(array))

/*
 * Neither ThreadSanitizer nor the emulator can start threads in a child whose parent had others at
 * the time.
 */
#if defined UNIT_STAND_IN
#define THREADS_IN_THE_CHILD .disabled = true
#else
#define THREADS_IN_THE_CHILD .disabled = false
#endif

/* In a child there is nobody to assert to. */
#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "child, line %d: %s\n", __LINE__, #condition);             \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)reason, (void)context;
}

/* ---- A child that uses its copy to the full --------------------------------------------------- */

static struct queue_bounded *queue;
static uint32_t seen[ALL], producers_left;

static void *
produce(void *argument)
{
	uintptr_t first = (uintptr_t)argument, i;

	for (i = first; i < first + MORE; i++)
		NEED(queue_push_until(queue, (void *)i, queue_after_ms(20000)) == 0);
	if (queue_impl_fetch_add32_acq_rel(&producers_left, UINT32_MAX) == 1)
		NEED(queue_close(queue) == 0);
	return NULL;
}

static void *
consume(void *unused)
{
	void *item;
	int rc;

	(void)unused;
	while ((rc = queue_pop_until(queue, &item, queue_after_ms(20000))) == 0)
		(void)queue_impl_fetch_add32_acq_rel(&seen[(uintptr_t)item], 1);
	NEED(rc == -EPIPE);
	return NULL;
}

/* Items from `first` to before `next` are inside. */
static void
use_copy(unsigned flags, uintptr_t first, uintptr_t next, int destroyed)
{
	pthread_t threads[4];
	int n = 0, i;

	memset(seen, 0, sizeof seen);
	producers_left = flags & QUEUE_SINGLE_PRODUCER ? 1 : 2;
	NEED(queue_depth_approx(queue) == next - first);
	for (i = (int)producers_left; i-- > 0;)
		NEED(pthread_create(&threads[n++], NULL, produce,
				    (void *)(next + (uintptr_t)i * MORE)) == 0);
	for (i = 0; i < (flags & QUEUE_SINGLE_CONSUMER ? 1 : 2); i++)
		NEED(pthread_create(&threads[n++], NULL, consume, NULL) == 0);
	for (i = 0; i < n; i++)
		NEED(pthread_join(threads[i], NULL) == 0);
	for (uintptr_t item = 0; item < ALL; item++) {
		uintptr_t end = next + MORE * (flags & QUEUE_SINGLE_PRODUCER ? 1u : 2u);

		NEED(seen[item] == (item >= first && item < end));
	}
	NEED(queue_destroy(queue) == destroyed);
}

/* ---- Nobody else inside ----------------------------------------------------------------------- */

static uint64_t random_state;

static unsigned
below(unsigned n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(random_state >> 33) % n;
}

static uintptr_t pushed, popped;

/* Fills and empties at random, never more than ALL in all. */
static void *
make_traffic(void *unused)
{
	void *item;

	(void)unused;
	for (int i = 0; i < STEPS; i++) {
		if (pushed < 3 * MOST && below(2) == 0 &&
		    queue_try_push(queue, (void *)pushed) == 0)
			pushed++;
		else if (below(3) == 0 && queue_try_pop(queue, &item) == 0)
			cr_assert_eq((uintptr_t)item, popped++);
	}
	return NULL;
}

static void
make_traffic_in_a_thread(void)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, make_traffic, NULL), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

/* others: how many threads beside this one have used it so far, which decides on who owns its ends. */
static void
fork_in_traffic(uint64_t capacity, unsigned flags, int others)
{
	struct queue_options options = {.capacity = capacity, .flags = flags, .on_drop = note_drop};

	cr_assert_eq(queue_create(&queue, &options), 0);
	pushed = popped = 0;
	random_state = capacity * 8 + flags;
	for (int forks = 0; forks < 3; forks++) {
		pid_t child;

		if (others < 2)
			make_traffic(NULL);
		for (int i = 0; i < others; i++)
			make_traffic_in_a_thread();
		child = fault_fork();
		if (child == 0) {
			use_copy(flags, popped, pushed, 0);
			_exit(0);
		}
		make_traffic(NULL);
		cr_assert(fault_reap(child), "capacity %d, flags %u, others %d", (int)capacity,
			  flags, others);
	}
	cr_assert_eq(queue_depth_approx(queue), pushed - popped);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(fork, in_traffic_gives_the_child_a_copy_that_works, .timeout = 60)
{
	static const uint64_t capacities[] = {1, 7, MOST};

	for (size_t c = 0; c < COUNT(capacities); c++)
		for (unsigned flags = 0; flags < 4; flags++)
			for (int others = 0; others < 3; others++)
				fork_in_traffic(capacities[c], flags, others);
}

/* The ring alone, by the bulk calls as well. */
Test(fork, in_traffic_gives_the_child_a_ring_that_works, .timeout = 60)
{
	void *items[16], *got[16];

	for (uintptr_t i = 0; i < COUNT(items); i++)
		items[i] = (void *)i;
	for (unsigned flags = 0; flags < 4; flags++) {
		struct queue_ring *ring;
		struct queue_ring_stats stats;

		cr_assert_eq(queue_ring_create(&ring, 13, flags, NULL), 0);
		for (int inside = 0; inside <= 13; inside++) {
			pid_t child;

			cr_assert_eq(queue_ring_push_n(ring, items, inside), inside);
			child = fault_fork();
			if (child == 0) {
				NEED(queue_ring_push_n(ring, items, 16) == 13 - inside);
				NEED(queue_ring_pop_n(ring, got, 16) == 13);
				for (int i = 0; i < 13; i++)
					NEED(got[i] == items[i < inside ? i : i - inside]);
				queue_ring_close(ring);
				NEED(queue_ring_try_push(ring, NULL) == -EPIPE);
				NEED(queue_ring_try_pop(ring, got) == -EPIPE);
				queue_ring_destroy(ring);
				_exit(0);
			}
			cr_assert(fault_reap(child), "flags %u, %d inside", flags, inside);
			cr_assert_eq(queue_ring_pop_n(ring, got, 16), inside);
			cr_assert_eq(memcmp(got, items, (size_t)inside * sizeof *got), 0);
		}
		queue_ring_stats(ring, &stats);
		cr_assert_eq(stats.pushed, 91);
		cr_assert_eq(stats.depth, 0);
		cr_assert_eq(stats.closed, 0);
		queue_ring_destroy(ring);
	}
}

/* ---- Others wait ------------------------------------------------------------------------------ */

static void *
pop_until_closed(void *context)
{
	uint32_t *const count = context;
	void *item;

	while (queue_pop(queue, &item) == 0)
		(void)queue_impl_fetch_add32_acq_rel(count, 1);
	return NULL;
}

/*
 * Those who are counted and will never come must not be waited for: a wake that was meant for them
 * holds back no other. So when a push meets the thread awake, though still the others are counted, the
 * next push, which finds it asleep, has to wake it, however soon it comes.
 */
static void
push_at_random_distances(void)
{
	uint32_t got = 0, sent;
	pthread_t thread;

	NEED(pthread_create(&thread, NULL, pop_until_closed, &got) == 0);
	for (sent = 1; sent <= DISTANCES; sent++) {
		uint64_t until;

		NEED(queue_push(queue, NULL) == 0);
		until = queue_now() + 100 * QUEUE_MICROSECOND;
		while (queue_impl_load32_acq(&got) != sent && queue_now() < until)
			queue_impl_pause();
		NEED(FAULT_EVENTUALLY(queue_impl_load32_acq(&got) == sent));
		until = queue_now() + below(400) * QUEUE_MICROSECOND;
		while (queue_now() < until)
			queue_impl_pause();
	}
	NEED(queue_close(queue) == 0);
	NEED(pthread_join(thread, NULL) == 0);
	NEED(queue_destroy(queue) == -EBUSY);
}

Test(fork, while_others_wait_to_pop_gives_the_child_a_copy_that_wakes_its_own_threads,
     .timeout = 60, THREADS_IN_THE_CHILD)
{
	for (int waiting = 1; waiting <= 2; waiting++) {
		struct queue_options options = {.capacity = 4, .on_drop = note_drop};
		pthread_t threads[2];
		uint32_t got = 0;
		pid_t child;

		cr_assert_eq(queue_create(&queue, &options), 0);
		for (int i = 0; i < waiting; i++)
			cr_assert_eq(pthread_create(&threads[i], NULL, pop_until_closed, &got), 0);
		/* Twice asleep in the kernel at least: they have spun before. */
		cr_assert(FAULT_EVENTUALLY(queue_impl_load_acq(&queue->not_empty.waits) >=
					   (uint64_t)waiting));
		child = fault_fork();
		if (child == 0) {
			push_at_random_distances();
			_exit(0);
		}
		cr_assert(fault_reap(child));
		/* The parent's own are there still. */
		for (uint32_t i = 0; i < 10; i++) {
			cr_assert_eq(queue_push(queue, NULL), 0);
			cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&got) == i + 1));
		}
		cr_assert_eq(queue_close(queue), 0);
		for (int i = 0; i < waiting; i++)
			cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_assert_eq(queue_destroy(queue), 0);
	}
}

/*
 * Every kind of wait in the parent; in the child the object works, and cannot be ended. But what
 * has threads of its own is the parent's, who does not notice.
 */
Test(fork, while_others_wait_gives_the_child_a_copy_that_cannot_be_ended, .timeout = 60,
     THREADS_IN_THE_CHILD)
{
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter;
		pid_t child;

		if (!kind->is_busy)
			continue;
		kind->prepare();
		cr_assert(waiter_start(&waiter, kind, QUEUE_NEVER), "%s", kind->name);
		child = fault_fork();
		if (child == 0) {
			if (kind->is_parents)
				_exit(0);
			if (!kind->has_descriptor && !kind->is_single) {
				struct waiter own;

				NEED(waiter_start(&own, kind, QUEUE_NEVER));
				NEED(kind->end() == -EBUSY);
				kind->satisfy();
				NEED(waiter_returns(&own) && waiter_join(&own) == 0);
				if (kind->close)
					kind->close();
			}
			NEED(kind->end() == -EBUSY);
			_exit(0);
		}
		cr_assert(fault_reap(child), "%s", kind->name);
		kind->satisfy();
		cr_assert(waiter_returns(&waiter), "%s", kind->name);
		cr_assert_eq(waiter_join(&waiter), 0, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}

/* ---- Others are inside ------------------------------------------------------------------------ */

static uint32_t stops, handled, begun;

static int
handle(void *item, void *context)
{
	(void)item, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&handled, 1);
	return 0;
}

#define INSIDE 2
#define NEWS 8

static struct queue_topic *topic;
static struct queue_subscription *subscription;
static struct queue_log *queue_log;

static const struct queue_log_options small_log = {.segment_size = QUEUE_LOG_SEGMENT_MIN,
						   .staging_size = UINT64_C(1) << 18,
						   .retain_bytes = 1};

struct news {
	struct queue_message message;
	uint32_t is_out;
};

static void
note_release(struct queue_message *message, void *context)
{
	(void)message;
	queue_impl_store32_rel(context, 0);
}

struct busy {
	pthread_t thread;
	uint64_t pushed, popped, published, appended;
	struct news news[NEWS];
};

/* Hardly ever outside, on a queue, a topic and a log that all of them share. */
static void *
be_inside(void *argument)
{
	struct busy *busy = argument;
	struct queue_message *got;
	unsigned number = 0;
	void *item;

	while (!queue_impl_load32_acq(&stops)) {
		struct news *news = &busy->news[number++ % NEWS];

		busy->pushed += queue_try_push(queue, NULL) == 0;
		busy->popped += queue_try_pop(queue, &item) == 0;
		if (!queue_impl_load32_acq(&news->is_out)) {
			queue_impl_store32_rlx(&news->is_out, 1);
			queue_message_init(&news->message, note_release, &news->is_out);
			busy->published += queue_topic_publish(topic, &news->message, 0) >= 0;
		}
		if (queue_topic_try_pop(subscription, &got) == 0)
			queue_message_release(got);
		if (number % 64 == 1)
			busy->appended += queue_log_append(queue_log, "text", 4, NULL) == 0;
		if (number == 1)
			(void)queue_impl_fetch_add32_acq_rel(&begun, 1);
	}
	return NULL;
}

static void
make_log(void)
{
	struct queue_log_message message;
	struct queue_log_reader *reader;
	struct disk *disk = disk_new();
	struct queue_log *own;
	char text[4];
	uint64_t id;

	NEED(queue_impl_log_open(&own, "log", &small_log, disk_table(disk)) == 0);
	NEED(queue_log_reader_open(own, "reader", NULL, &reader) == 0);
	for (int i = 0; i < 10; i++) {
		NEED(queue_log_append(own, "text", 4, NULL) == 0);
		NEED(queue_log_prepare(own, "key", 3, "half", 4, &id) == 0);
		NEED(queue_log_commit(own, id, NULL) == 0);
		for (int k = 0; k < 2; k++) {
			NEED(queue_log_read(reader, &message, text, 4, queue_after_ms(20000)) == 0);
			NEED(memcmp(text, k == 0 ? "text" : "half", 4) == 0);
			NEED(queue_log_ack(reader, message.position) == 0);
		}
	}
	NEED(queue_log_close(own) == 0);
	disk_free(disk);
}

/* All new, and in use by threads of the child. */
static void
make_everything(void)
{
	struct queue_options options = {.capacity = 8, .policy = QUEUE_BLOCK, .on_drop = note_drop};
	struct queue_subscription_options wants = {.capacity = 8};
	struct queue_token_feed_options rate = {.tokens = 1000000, .burst = 4};
	struct queue_pool_options workers = {.handler = handle, .workers = 2};
	struct queue_subscription *own_subscription, *another;
	struct queue_message message, *got = NULL;
	struct queue_token_feed *feed;
	struct queue_topic *own_topic;
	struct queue_pool *pool;
	struct queue_call call;

	/* Queues, with waiting and a descriptor. */
	NEED(queue_create(&queue, &options) == 0);
	use_copy(0, 0, 0, 0);
	NEED(queue_create(&queue, &options) == 0);
	NEED(queue_fd(queue) >= 0);
	use_copy(0, 0, 0, 0);
	/* A pool, */
	handled = 0;
	NEED(queue_create(&workers.queue, &options) == 0);
	NEED(queue_pool_create(&pool, &workers) == 0);
	for (int i = 0; i < 100; i++)
		NEED(queue_push(workers.queue, NULL) == 0);
	NEED(queue_pool_stop(pool, QUEUE_POOL_DRAIN, queue_after_ms(20000)) == 0);
	NEED(handled == 100);
	NEED(queue_pool_destroy(pool) == 0);
	NEED(queue_destroy(workers.queue) == 0);
	/* a feed with its thread, */
	NEED(queue_token_feed_create(&feed, &rate) == 0);
	for (int i = 0; i < 10; i++)
		NEED(queue_token_feed_take_until(feed, 4, queue_after_ms(20000)) == 0);
	NEED(queue_token_feed_destroy(feed) == 0);
	/* a topic, whose publishers enter the epochs that the parent's threads are in, */
	NEED(queue_topic_create(&own_topic, NULL) == 0);
	for (int i = 0; i < 10; i++) {
		NEED(queue_topic_subscribe(own_topic, &wants, &own_subscription) == 0);
		NEED(queue_topic_subscribe(own_topic, &wants, &another) == 0);
		queue_message_init(&message, NULL, NULL);
		NEED(queue_topic_publish(own_topic, &message, 0) == 2);
		NEED(queue_topic_pop(own_subscription, &got) == 0 && got == &message);
		queue_message_release(got);
		NEED(queue_topic_unsubscribe(own_subscription) == 0);
		NEED(queue_topic_unsubscribe(another) == 0);
	}
	NEED(queue_topic_destroy(own_topic) == 0);
	/* a log with its threads, */
	make_log();
	/* and a call. */
	NEED(queue_call_init(&call, NULL) == 0);
	NEED(queue_call_wait(&call, queue_after_ms(2)) == -ETIMEDOUT);
}

Test(fork, while_others_are_inside_leaves_the_child_what_it_makes_itself, .timeout = 60,
     THREADS_IN_THE_CHILD)
{
	struct queue_options options = {.capacity = 8, .on_drop = note_drop};
	struct queue_subscription_options wants = {.capacity = 8};
	struct queue_pool_options workers = {.handler = handle, .workers = 2};
	static struct busy busy[INSIDE];
	uint64_t balance = 0, published = 0;
	struct queue_subscription_stats stats;
	struct disk *disk = disk_new();
	struct queue_log_stats log_stats;
	uint64_t appended = 0;
	struct queue_pool *pool;

	cr_assert_eq(queue_impl_log_open(&queue_log, "log", &small_log, disk_table(disk)), 0);
	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(queue_create(&workers.queue, &options), 0);
	cr_assert_eq(queue_pool_create(&pool, &workers), 0);
	cr_assert_eq(queue_topic_create(&topic, NULL), 0);
	cr_assert_eq(queue_topic_subscribe(topic, &wants, &subscription), 0);
	for (int i = 0; i < INSIDE; i++)
		cr_assert_eq(pthread_create(&busy[i].thread, NULL, be_inside, &busy[i]), 0);
	/* All that they need memory for is done: AddressSanitizer keeps its lock locked in a child. */
	cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&begun) == INSIDE));
	cr_assert(FAULT_EVENTUALLY(queue_impl_load_acq(&workers.queue->not_empty.waits) >= 2));
	for (int forks = 0; forks < FORKS; forks++) {
		pid_t child;

		(void)queue_push(workers.queue, NULL);
		child = fault_fork();
		if (child == 0) {
			make_everything();
			_exit(0);
		}
		cr_assert(fault_reap(child), "fork %d", forks);
	}
	queue_impl_store32_rel(&stops, 1);
	for (int i = 0; i < INSIDE; i++) {
		cr_assert_eq(pthread_join(busy[i].thread, NULL), 0);
		balance += busy[i].pushed - busy[i].popped;
		published += busy[i].published;
		appended += busy[i].appended;
	}
	/* Nobody in the parent has noticed. */
	cr_assert_eq(queue_depth_approx(queue), balance);
	cr_assert_eq(queue_subscription_stats(subscription, &stats), 0);
	cr_assert_eq(stats.delivered + stats.refused, published);
	cr_assert_eq(queue_log_stats(queue_log, &log_stats), 0);
	cr_assert_eq(log_stats.appended, appended);
	cr_assert_gt(appended, 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	disk_free(disk);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	for (int i = 0; i < INSIDE; i++)
		for (int number = 0; number < NEWS; number++)
			cr_assert_eq(busy[i].news[number].is_out, 0);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(handled, FORKS);
	cr_assert_eq(queue_destroy(workers.queue), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Logs ------------------------------------------------------------------------------------- */

/* Its ends are closed in what is executed. */
struct pipe {
	int from, to;
};

static struct pipe
make_pipe(void)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	return (struct pipe){ends[0], ends[1]};
}

static void
close_pipe(struct pipe pipe)
{
	cr_assert_eq(close(pipe.from), 0);
	cr_assert_eq(close(pipe.to), 0);
}

/* Until there is something to read. */
static void
wait_for_word(struct pipe pipe)
{
	char word;

	cr_assert_eq(read(pipe.from, &word, 1), 1);
}

static void
give_word(struct pipe pipe)
{
	cr_assert_eq(write(pipe.to, "x", 1), 1);
}

/* Neither it, nor anybody else. */
static void
hold_log_until_told(const char *path, struct pipe told, struct pipe tells)
{
	struct queue_log *own = NULL;
	char word;

	NEED(queue_log_open(&own, path, &small_log) == -EBUSY && !own);
	NEED(write(tells.to, "x", 1) == 1);
	NEED(read(told.from, &word, 1) == 1);
	_exit(0);
}

Test(fork, leaves_a_log_to_the_parent_and_its_directory_locked_until_the_child_ends, .timeout = 60)
{
	struct pipe to_child = make_pipe(), to_parent = make_pipe();
	char path[FAULT_PATH];
	pid_t child;

	fault_make_path(path);
	cr_assert_eq(queue_log_open(&queue_log, path, &small_log), 0);
	cr_assert_eq(queue_log_append(queue_log, "text", 4, NULL), 0);
	child = fault_fork();
	if (child == 0)
		hold_log_until_told(path, to_child, to_parent);
	wait_for_word(to_parent);
	cr_assert_eq(queue_log_append(queue_log, "text", 4, NULL), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	cr_assert_eq(queue_log_open(&queue_log, path, &small_log), -EBUSY);
	give_word(to_child);
	cr_assert(fault_reap(child));
	cr_assert_eq(queue_log_open(&queue_log, path, &small_log), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	fault_remove_directory(path);
	close_pipe(to_child);
	close_pipe(to_parent);
}

Test(fork, and_execve_leave_a_logs_directory_to_whoever_opens_it, .timeout = 60)
{
	struct pipe to_child = make_pipe(), to_parent = make_pipe();
	char path[FAULT_PATH];
	pid_t child;

	fault_make_path(path);
	cr_assert_eq(queue_log_open(&queue_log, path, &small_log), 0);
	child = fault_fork();
	if (child == 0) {
		NEED(dup2(to_child.from, 0) == 0 && dup2(to_parent.to, 1) == 1);
		execlp("cat", "cat", (char *)NULL);
		_exit(1);
	}
	/* What comes back says that it is another program by now. */
	give_word(to_child);
	wait_for_word(to_parent);
	cr_assert_eq(queue_log_close(queue_log), 0);
	cr_assert_eq(queue_log_open(&queue_log, path, &small_log), 0);
	cr_assert_eq(queue_log_close(queue_log), 0);
	fault_remove_directory(path);
	close_pipe(to_child);
	close_pipe(to_parent);
	cr_assert(fault_reap(child));
}

/* ---- Tokens ----------------------------------------------------------------------------------- */

Test(fork, gives_the_child_a_bucket_and_a_feed_without_a_thread_of_its_own)
{
	struct queue_bucket_options rate = {.tokens = 5, .period = 3600 * QUEUE_SECOND};
	struct queue_token_feed_options feed_rate = {
		.tokens = 5, .period = 3600 * QUEUE_SECOND, .flags = QUEUE_FEED_MANUAL};
	struct queue_token_feed *feed;
	struct queue_bucket bucket;
	pid_t child;

	cr_assert_eq(queue_bucket_init(&bucket, &rate), 0);
	cr_assert_eq(queue_token_feed_create(&feed, &feed_rate), 0);
	cr_assert_eq(queue_bucket_take(&bucket, 2), 0);
	cr_assert_eq(queue_token_feed_take(feed, 2), 0);
	child = fault_fork();
	if (child == 0) {
		NEED(queue_bucket_take(&bucket, 3) == 0);
		NEED(queue_bucket_take(&bucket, 1) == -EAGAIN);
		NEED(queue_token_feed_take(feed, 3) == 0);
		NEED(queue_token_feed_take(feed, 1) == -EAGAIN);
		NEED(queue_token_feed_advance(feed, 1) == 0);
		NEED(queue_token_feed_advance(feed, 1 + 3600 * QUEUE_SECOND) == 0);
		NEED(queue_token_feed_take(feed, 5) == 0);
		NEED(queue_token_feed_destroy(feed) == 0);
		_exit(0);
	}
	cr_assert(fault_reap(child));
	cr_assert_eq(queue_bucket_take(&bucket, 3), 0);
	cr_assert_eq(queue_token_feed_take(feed, 3), 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}
