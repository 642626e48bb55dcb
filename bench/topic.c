/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One publisher to many subscribers. On one thread: a publish, then each subscription is popped and
 * the message released; and the publish alone, with nobody subscribed and with filters. Across
 * threads: one thread publishes, one or three others serve all subscriptions.
 *
 * Beside it the list of subscribers as it is usually written: a mutex around an array of them, a
 * queue for each, and a reference count in the message; its queues are those of other subjects.
 * And a push and a pop of the same message through one queue_bounded, which counts no references
 * and has one taker: on one thread it is the limit of what a delivery can be expected to cost.
 *
 * And a publish, a pop and a release where there is one more subscription, which nobody serves and
 * which has been full from the beginning: what a slow one costs the others.
 *
 * There are as many messages as a queue has room for, and the publisher takes one again when all
 * have let go of it. So nobody's queue is ever full, and one that has no bound needs none.
 */
#include "crew.h"
#include "item.h"
#include "suite.h"

#include <conveyor/topic.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9
#define LINE 128
#define CAPACITY 1024u
#define FEW 64u /* messages on one thread: those and their queues stay in the nearest cache */
#define SUBSCRIBERS_MAX 100u
#define CONSUMERS_MAX 3u
#define BATCH_MAX 32u
#define STOPPED_CAPACITY 16u /* of the subscription that nobody serves */
#define CHUNK 1024u /* publishes between two looks at the clock; FEW where nobody pops meanwhile */

/* Of what is published, of those that want it, and of those whose filter is to turn it away. */
#define TAGS UINT64_C(1)
#define OTHER_TAGS UINT64_C(2)

#define INLINED static inline __attribute__((always_inline))

/* ---- Messages ------------------------------------------------------------------------------ */

struct message {
	struct queue_message base; /* this library's */
	uint64_t value;		   /* 1, 2, 3, ... as published */
	uint32_t references;	   /* the usual list's */
	uint32_t busy;		   /* somebody has it, or will get it */
	uint64_t released;
	uint64_t wrong; /* releases of what was released */
} __attribute__((aligned(LINE)));

QUEUE_TYPED(messages, struct queue_message *)

/* What becomes of a message that a subscription which nobody serves has no room for. */
struct stopped {
	enum queue_policy policy;
	const char *name;
	unsigned taken; /* by so many, the served one and this, as a publish says */
};

static struct message *
message_of(struct queue_message *base)
{
	return (struct message *)(void *)base;
}

INLINED void
give_back(struct message *message)
{
	message->released++;
	message->wrong += __atomic_load_n(&message->busy, __ATOMIC_RELAXED) != 1;
	__atomic_store_n(&message->busy, 0, __ATOMIC_RELEASE);
}

/* ---- Who gets them ------------------------------------------------------------------------- */

/* A thread that serves subscriptions. */
struct consumer {
	uint64_t last[SUBSCRIBERS_MAX]; /* by subscription */
	uint64_t wrong;			/* messages that were not the next */
} __attribute__((aligned(LINE)));

struct fan {
	unsigned subscribers;
	unsigned takers[SUBSCRIBERS_MAX]; /* subscriptions whose filter admits what is published */
	unsigned taker_count;
	unsigned consumer_count;
	unsigned batch;
	const struct stopped *stopped; /* NULL: all are served */
	unsigned taken;		       /* subscriptions that take what is published */

	struct queue_topic *topic; /* this library's */
	struct queue_subscription *subscriptions[SUBSCRIBERS_MAX];
	struct queue_subscription *stopped_subscription;
	struct queue_message fillers[STOPPED_CAPACITY]; /* that it holds at first */
	struct queue_bounded *queue;			/* the limit's */
	struct {
		pthread_mutex_t mutex;
		const struct bench_subject *subject;
		struct {
			uint64_t any_of;
			void *queue;
		} subscribers[SUBSCRIBERS_MAX];
	} list;		   /* the usual one */
	uint64_t duration; /* ns, across threads */

	uint32_t stop __attribute__((aligned(LINE)));  /* publishing */
	uint32_t ended __attribute__((aligned(LINE))); /* nothing comes any more */
	uint64_t published __attribute__((aligned(LINE)));
	uint64_t refused;
	uint64_t message_mask;
	struct message messages[CAPACITY];
	struct consumer consumers[CONSUMERS_MAX];
};

static bool
is_taker(const struct fan *fan, unsigned subscriber)
{
	unsigned i;

	for (i = 0; i < fan->taker_count; i++)
		if (fan->takers[i] == subscriber)
			return true;
	return false;
}

/* NULL: not all have let go of it, and it is time to stop. */
INLINED struct message *
next_message(struct fan *fan)
{
	struct message *message = &fan->messages[fan->published & fan->message_mask];
	unsigned tries = 0;

	while (__atomic_load_n(&message->busy, __ATOMIC_ACQUIRE)) {
		if (bench_told(&fan->stop))
			return NULL;
		bench_pace(&tries);
	}
	__atomic_store_n(&message->busy, 1, __ATOMIC_RELAXED);
	message->value = ++fan->published;
	return message;
}

/* After the end: has every message been released once for each time that it was published? */
static bool
all_released(const struct fan *fan)
{
	uint64_t released = 0, wrong = 0;
	unsigned i;

	for (i = 0; i < CAPACITY; i++) {
		released += fan->messages[i].released;
		wrong += fan->messages[i].wrong + fan->messages[i].busy;
	}
	return fan->published > 0 && released == fan->published && wrong == 0;
}

/* ---- This library's ------------------------------------------------------------------------ */

static void
release_own(struct queue_message *base, void *context)
{
	(void)context;
	give_back(message_of(base));
}

static void
release_filler(struct queue_message *base, void *context)
{
	(void)base;
	(void)context;
}

/* Before anybody else has subscribed. */
static int
add_stopped(struct fan *fan)
{
	struct queue_subscription_options options;
	unsigned i;
	int rc;

	memset(&options, 0, sizeof options);
	options.capacity = STOPPED_CAPACITY;
	options.policy = fan->stopped->policy;
	rc = queue_topic_subscribe(fan->topic, &options, &fan->stopped_subscription);
	for (i = 0; rc == 0 && i < STOPPED_CAPACITY; i++) {
		queue_message_init(&fan->fillers[i], release_filler, NULL);
		rc = queue_topic_publish(fan->topic, &fan->fillers[i], TAGS) == 1 ? 0 : -EIO;
	}
	return rc;
}

static int
own_open(struct fan *fan)
{
	bool filters = fan->taker_count < fan->subscribers;
	int rc = queue_topic_create(&fan->topic, NULL);
	unsigned i;

	if (rc == 0 && fan->stopped)
		rc = add_stopped(fan);
	for (i = 0; rc == 0 && i < fan->subscribers; i++) {
		struct queue_subscription_options options;

		memset(&options, 0, sizeof options);
		options.capacity = CAPACITY;
		if (filters)
			options.any_of = is_taker(fan, i) ? TAGS : OTHER_TAGS;
		rc = queue_topic_subscribe(fan->topic, &options, &fan->subscriptions[i]);
	}
	return rc;
}

/* True if each subscription says that it got what it should have, and has nothing left. */
static bool
own_shut(struct fan *fan)
{
	bool right = true;
	unsigned i;

	for (i = 0; i < fan->subscribers; i++) {
		uint64_t wanted = is_taker(fan, i) ? fan->published : 0;
		struct queue_subscription_stats stats;

		(void)queue_subscription_stats(fan->subscriptions[i], &stats);
		right = right && stats.delivered == wanted && stats.lag == 0 &&
			stats.refused == 0 && stats.filtered == fan->published - wanted;
	}
	if (fan->stopped) {
		struct queue_subscription_stats stats;

		(void)queue_subscription_stats(fan->stopped_subscription, &stats);
		right = right && stats.lag == STOPPED_CAPACITY;
	}
	return queue_topic_destroy(fan->topic) == 0 && right;
}

INLINED unsigned
own_publish(struct fan *fan, struct message *message)
{
	int taken;

	queue_message_init(&message->base, release_own, NULL);
	taken = queue_topic_publish(fan->topic, &message->base, TAGS);
	return taken < 0 ? UINT32_MAX : (unsigned)taken;
}

INLINED unsigned
own_pop(struct fan *fan, unsigned subscriber, struct queue_message **messages, unsigned n)
{
	struct queue_subscription *subscription = fan->subscriptions[subscriber];
	int got;

	if (n == 1)
		return queue_topic_try_pop(subscription, messages) == 0;
	got = queue_topic_try_pop_n(subscription, messages, (int)n);
	return got < 0 ? 0 : (unsigned)got;
}

INLINED void
own_release(struct queue_message *message)
{
	queue_message_release(message);
}

/* ---- One queue_bounded --------------------------------------------------------------------- */

static int
bounded_open(struct fan *fan)
{
	struct queue_options options;

	fan->subscribers = fan->taker_count = fan->taken = 1;
	fan->consumer_count = 1;
	memset(&options, 0, sizeof options);
	options.capacity = CAPACITY;
	return queue_create(&fan->queue, &options);
}

/* Without on_drop it cannot be destroyed while anything is left in it. */
static bool
bounded_shut(struct fan *fan)
{
	return queue_destroy(fan->queue) == 0;
}

INLINED unsigned
bounded_publish(struct fan *fan, struct message *message)
{
	return messages_try_push(fan->queue, &message->base) == 0;
}

INLINED unsigned
bounded_pop(struct fan *fan, unsigned subscriber, struct queue_message **messages, unsigned n)
{
	int got;

	(void)subscriber;
	if (n == 1)
		return messages_try_pop(fan->queue, messages) == 0;
	got = messages_try_pop_n(fan->queue, messages, (int)n);
	return got < 0 ? 0 : (unsigned)got;
}

INLINED void
bounded_release(struct queue_message *message)
{
	give_back(message_of(message));
}

/* ---- A message alone ----------------------------------------------------------------------- */

static int
alone_open(struct fan *fan)
{
	(void)fan;
	return 0;
}

static bool
alone_shut(struct fan *fan)
{
	(void)fan;
	return true;
}

INLINED unsigned
alone_publish(struct fan *fan, struct message *message)
{
	(void)fan;
	queue_message_init(&message->base, release_own, NULL);
	queue_message_release(&message->base);
	return 0;
}

/* ---- The usual list ------------------------------------------------------------------------ */

static int
list_open(struct fan *fan, const char *subject)
{
	const struct bench_shape shape = {CAPACITY, 1, 1};
	bool filters = fan->taker_count < fan->subscribers;
	unsigned i;
	int rc;

	fan->list.subject = bench_subject_named(subject);
	if (!fan->list.subject)
		return -ENOSYS;
	rc = -pthread_mutex_init(&fan->list.mutex, NULL);
	for (i = 0; rc == 0 && i < fan->subscribers; i++) {
		if (filters)
			fan->list.subscribers[i].any_of = is_taker(fan, i) ? TAGS : OTHER_TAGS;
		rc = fan->list.subject->open(&fan->list.subscribers[i].queue, &shape);
	}
	return rc;
}

static int
list_of_mutex_open(struct fan *fan)
{
	return list_open(fan, "mutex");
}

static int
list_of_glib_open(struct fan *fan)
{
	return list_open(fan, "glib_async");
}

static bool
list_shut(struct fan *fan)
{
	bool right = true;
	unsigned i;
	void *item;

	for (i = 0; i < fan->subscribers; i++) {
		right &= fan->list.subject->pop(fan->list.subscribers[i].queue, &item) != 0;
		fan->list.subject->shut(fan->list.subscribers[i].queue);
	}
	(void)pthread_mutex_destroy(&fan->list.mutex);
	return right;
}

INLINED void
let_go(struct message *message, uint32_t references)
{
	if (__atomic_sub_fetch(&message->references, references, __ATOMIC_ACQ_REL) == 0)
		give_back(message);
}

/*
 * All references at once, before anybody else can see the message, which is cheaper than one for
 * each subscriber; those that nobody got, and the publisher's own, are let go of at the end.
 */
INLINED unsigned
list_publish(struct fan *fan, struct message *message)
{
	unsigned taken = 0, i;

	__atomic_store_n(&message->references, fan->subscribers + 1, __ATOMIC_RELAXED);
	(void)pthread_mutex_lock(&fan->list.mutex);
	for (i = 0; i < fan->subscribers; i++) {
		uint64_t any_of = fan->list.subscribers[i].any_of;

		if (any_of == 0 || (any_of & TAGS) != 0)
			taken += fan->list.subject->push(fan->list.subscribers[i].queue, message) ==
				 0;
	}
	(void)pthread_mutex_unlock(&fan->list.mutex);
	let_go(message, fan->subscribers + 1 - taken);
	return taken;
}

INLINED unsigned
list_pop(struct fan *fan, unsigned subscriber, struct queue_message **messages, unsigned n)
{
	void *queue = fan->list.subscribers[subscriber].queue, *items[BATCH_MAX];
	unsigned got, i;

	if (n == 1)
		got = fan->list.subject->pop(queue, items) == 0;
	else
		got = (unsigned)fan->list.subject->pop_n(queue, items, (ptrdiff_t)n);
	for (i = 0; i < got; i++)
		messages[i] = items[i];
	return got;
}

INLINED void
list_release(struct queue_message *message)
{
	let_go(message_of(message), 1);
}

/* ---- The measured loops -------------------------------------------------------------------- */

typedef unsigned publish_fn(struct fan *fan, struct message *message);
typedef unsigned pop_fn(struct fan *fan, unsigned subscriber, struct queue_message **messages,
			unsigned n);
typedef void release_fn(struct queue_message *message);

/* Publishes n messages; each that not as many took as should have is counted. */
INLINED void
publish_some(struct fan *fan, unsigned n, publish_fn *publish)
{
	while (n-- > 0) {
		struct message *message = next_message(fan);

		if (!message) {
			fan->refused++;
			return;
		}
		fan->refused += publish(fan, message) != fan->taken;
	}
}

/* On one thread: n messages, each to all takers before the next. True if each got it. */
INLINED bool
deliver_some(struct fan *fan, unsigned n, publish_fn *publish, pop_fn *pop, release_fn *release)
{
	bool right = true;
	unsigned i;

	while (n-- > 0) {
		publish_some(fan, 1, publish);
		for (i = 0; i < fan->taker_count; i++) {
			struct queue_message *message;

			if (pop(fan, fan->takers[i], &message, 1) != 1)
				return false;
			right &= message_of(message)->value == fan->published;
			release(message);
		}
	}
	return right;
}

/* What publish_some published, after it: each subscription gets the last n messages. */
INLINED bool
collect_some(struct fan *fan, unsigned n, pop_fn *pop, release_fn *release)
{
	bool right = true;
	unsigned i, k;

	for (i = 0; i < fan->taker_count; i++) {
		for (k = 0; k < n; k++) {
			struct queue_message *message;

			if (pop(fan, fan->takers[i], &message, 1) != 1)
				return false;
			right &= message_of(message)->value == fan->published - n + 1 + k;
			release(message);
		}
	}
	return right;
}

/* Once at least: a thread that comes too late to publish anything has lost nothing. */
INLINED void
publish_until_told(struct fan *fan, publish_fn *publish)
{
	do {
		struct message *message = next_message(fan);

		if (!message)
			break;
		fan->refused += publish(fan, message) != fan->taken;
	} while (!bench_told(&fan->stop));
	__atomic_store_n(&fan->ended, 1, __ATOMIC_RELEASE);
}

/* Serves each subscription of this thread once. How many messages there were. */
INLINED unsigned
serve(struct fan *fan, unsigned index, pop_fn *pop, release_fn *release)
{
	struct consumer *consumer = &fan->consumers[index];
	struct queue_message *messages[BATCH_MAX];
	unsigned subscriber, got, all = 0, i;

	for (subscriber = index; subscriber < fan->subscribers; subscriber += fan->consumer_count) {
		got = pop(fan, subscriber, messages, fan->batch);
		for (i = 0; i < got; i++) {
			uint64_t value = message_of(messages[i])->value;

			consumer->wrong += value != consumer->last[subscriber] + 1;
			consumer->last[subscriber] = value;
			release(messages[i]);
		}
		all += got;
	}
	return all;
}

INLINED void
consume_until_ended(struct fan *fan, unsigned index, pop_fn *pop, release_fn *release)
{
	unsigned tries = 0;

	for (;;) {
		/* Read before the tries: what was pushed before it was set is there for them. */
		bool ending = bench_told(&fan->ended);

		if (serve(fan, index, pop, release) > 0) {
			tries = 0;
			continue;
		}
		if (ending)
			break;
		bench_pace(&tries);
	}
}

/* One way to bring a message to many, and the loops made for it. */
struct way {
	const char *subject; /* of rows */
	const char *note;
	int (*open)(struct fan *fan);
	bool (*shut)(struct fan *fan);
	bool (*deliver)(struct fan *fan, unsigned n);
	void (*publish)(struct fan *fan, unsigned n);
	bool (*collect)(struct fan *fan, unsigned n);
	void (*produce)(struct fan *fan);
	void (*consume)(struct fan *fan, unsigned index);
};

#define PUBLISHES(way)                                                                             \
	static __attribute__((noinline)) void way##_publish_some(struct fan *fan, unsigned n)      \
	{                                                                                          \
		publish_some(fan, n, way##_publish);                                               \
	}

#define LOOPS(way)                                                                                 \
	PUBLISHES(way)                                                                             \
	static __attribute__((noinline)) bool way##_deliver(struct fan *fan, unsigned n)           \
	{                                                                                          \
		return deliver_some(fan, n, way##_publish, way##_pop, way##_release);              \
	}                                                                                          \
	static __attribute__((noinline)) bool way##_collect(struct fan *fan, unsigned n)           \
	{                                                                                          \
		return collect_some(fan, n, way##_pop, way##_release);                             \
	}                                                                                          \
	static __attribute__((noinline)) void way##_produce(struct fan *fan)                       \
	{                                                                                          \
		publish_until_told(fan, way##_publish);                                            \
	}                                                                                          \
	static __attribute__((noinline)) void way##_consume(struct fan *fan, unsigned index)       \
	{                                                                                          \
		consume_until_ended(fan, index, way##_pop, way##_release);                         \
	}

LOOPS(own)
LOOPS(bounded)
LOOPS(list)
PUBLISHES(alone)

#define LOOPS_OF(way) way##_deliver, way##_publish_some, way##_collect, way##_produce, way##_consume

static const struct way own = {"queue_topic", NULL, own_open, own_shut, LOOPS_OF(own)};
static const struct way bounded = {"one queue_bounded",
				   "reference: one taker, no list, no references counted",
				   bounded_open, bounded_shut, LOOPS_OF(bounded)};
static const struct way list_of_mutex = {"mutex list of mutex queues", NULL, list_of_mutex_open,
					 list_shut, LOOPS_OF(list)};
static const struct way list_of_glib = {"mutex list of GAsyncQueues", NULL, list_of_glib_open,
					list_shut, LOOPS_OF(list)};
static const struct way alone = {"a message alone",
				 "reference: its init and its release, without a topic",
				 alone_open,
				 alone_shut,
				 NULL,
				 alone_publish_some,
				 NULL,
				 NULL,
				 NULL};

/* ---- Tasks --------------------------------------------------------------------------------- */

enum task {
	DELIVER, /* on one thread: publish, and each pops */
	PUBLISH, /* on one thread: the publish alone */
	ACROSS	 /* a publisher, and threads that serve the subscriptions */
};

struct cell {
	enum task task;
	unsigned subscribers;
	unsigned takers;
	unsigned consumers; /* threads that serve the subscriptions */
	unsigned batch;	    /* most messages that they pop at a time */
	const struct stopped *stopped;
};

struct order {
	const struct cell *cell;
	const struct way *way;
	double seconds;
};

struct finding {
	int rc;
	bool wrong;
	double figure; /* ns, or million deliveries a second */
};

static void
deliver_on_one_thread(struct fan *fan, const struct order *order, struct finding *finding)
{
	uint64_t begun = bench_now(), end = begun + (uint64_t)(order->seconds * NS_PER_S), elapsed;
	bool right = true;

	do {
		right = right && order->way->deliver(fan, CHUNK / fan->taker_count + 1);
		elapsed = bench_now() - begun;
	} while (right && begun + elapsed < end);
	finding->wrong = !right;
	finding->figure = (double)elapsed / (double)(fan->published * fan->taker_count);
}

/* What was published is popped in between, and that is not timed. */
static void
publish_on_one_thread(struct fan *fan, const struct order *order, struct finding *finding)
{
	uint64_t end = bench_now() + (uint64_t)(order->seconds * NS_PER_S), elapsed = 0, begun, now;
	unsigned n = fan->taker_count > 0 ? FEW : CHUNK;
	bool right = true;

	do {
		begun = bench_now();
		order->way->publish(fan, n);
		now = bench_now();
		elapsed += now - begun;
		right = right && (fan->taker_count == 0 || order->way->collect(fan, n));
	} while (right && now < end);
	finding->wrong = !right;
	finding->figure = (double)elapsed / (double)fan->published;
}

struct company {
	struct fan *fan;
	const struct way *way;
};

static void
take_part(void *context, unsigned index)
{
	struct company *company = context;

	if (index == 0)
		company->way->produce(company->fan);
	else
		company->way->consume(company->fan, index - 1);
}

static void
last(void *context)
{
	struct fan *fan = ((struct company *)context)->fan;

	bench_sleep_until(bench_now() + fan->duration);
	__atomic_store_n(&fan->stop, 1, __ATOMIC_RELEASE);
}

static void
deliver_across_threads(struct fan *fan, const struct order *order, struct finding *finding)
{
	struct company company = {fan, order->way};
	uint64_t elapsed;
	unsigned i;

	fan->duration = (uint64_t)(order->seconds * NS_PER_S);
	elapsed =
		bench_crew_run(1 + fan->consumer_count, BENCH_PIN_NONE, take_part, last, &company);
	for (i = 0; i < fan->subscribers; i++)
		finding->wrong |= fan->consumers[i % fan->consumer_count].last[i] != fan->published;
	for (i = 0; i < fan->consumer_count; i++)
		finding->wrong |= fan->consumers[i].wrong > 0;
	finding->figure =
		(double)(fan->published * fan->subscribers) * 1e-6 * NS_PER_S / (double)elapsed;
}

static void
set_up(struct fan *fan, const struct cell *cell)
{
	unsigned i;

	memset(fan, 0, sizeof *fan);
	fan->subscribers = cell->subscribers;
	fan->taker_count = cell->takers;
	for (i = 0; i < cell->takers; i++)
		fan->takers[i] = i * (cell->subscribers / cell->takers);
	fan->consumer_count = cell->consumers;
	fan->batch = cell->batch;
	fan->stopped = cell->stopped;
	fan->taken = cell->stopped ? cell->stopped->taken : cell->takers;
	fan->message_mask = (cell->task == ACROSS ? CAPACITY : FEW) - 1;
	fan->stop = cell->task != ACROSS; /* on one thread nobody lets go of it later */
}

static void
measure_one(void *context, void *result)
{
	static struct fan fan;
	const struct order *order = context;
	struct finding *finding = result;

	set_up(&fan, order->cell);
	finding->rc = order->way->open(&fan);
	if (finding->rc)
		return;
	if (order->cell->task == DELIVER)
		deliver_on_one_thread(&fan, order, finding);
	else if (order->cell->task == PUBLISH)
		publish_on_one_thread(&fan, order, finding);
	else
		deliver_across_threads(&fan, order, finding);
	finding->wrong |= !order->way->shut(&fan) || !all_released(&fan) || fan.refused > 0;
}

/* ---- What is published elsewhere ----------------------------------------------------------- */

/*
 * LMAX Disruptor: High performance alternative to bounded queues (2011), "Multicast: 1P - 3C", best
 * of 3 runs with 500 million messages, https://lmax-exchange.github.io/disruptor/disruptor.html.
 * Its operations are messages, each of which reaches all 3: so 3 deliveries.
 */
static const char published_cell[] = "beside published figures subscribers=3";

static const struct {
	const char *subject, *note;
	double rate; /* million messages a second */
} disruptor[] = {
	{"Disruptor (published), i7-2720QM",
	 "published, not measured here: 10,860,121 messages/s to 3; LMAX 2011, Java 1.6, Ubuntu 11.04",
	 10.860121},
	{"Disruptor (published), i7-860",
	 "published, not measured here: 9,377,871 messages/s to 3; LMAX 2011, Java 1.6, Windows 7",
	 9.377871},
};

/* ---- The suite ----------------------------------------------------------------------------- */

static const struct stopped refuses = {QUEUE_ABORT, "abort", 1};
static const struct stopped discards = {QUEUE_DISCARD, "discard", 1};
static const struct stopped evicts = {QUEUE_DISCARD_OLDEST, "discard-oldest", 2};

/* One consumer for all is as many threads as a small machine has processors; three are more. */
static const struct cell cells[] = {
	{DELIVER, 1, 1, 0, 1, NULL},	 {DELIVER, 3, 3, 0, 1, NULL},
	{DELIVER, 10, 10, 0, 1, NULL},	 {DELIVER, 100, 100, 0, 1, NULL},
	{PUBLISH, 0, 0, 0, 1, NULL},	 {PUBLISH, 3, 3, 0, 1, NULL},
	{PUBLISH, 100, 3, 0, 1, NULL},	 {ACROSS, 1, 1, 1, 1, NULL},
	{ACROSS, 3, 3, 1, 1, NULL},	 {ACROSS, 10, 10, 1, 1, NULL},
	{ACROSS, 100, 100, 1, 1, NULL},	 {ACROSS, 1, 1, 1, 32, NULL},
	{ACROSS, 3, 3, 1, 32, NULL},	 {ACROSS, 10, 10, 1, 32, NULL},
	{ACROSS, 100, 100, 1, 32, NULL}, {ACROSS, 3, 3, 3, 32, NULL},
	{ACROSS, 10, 10, 3, 32, NULL},	 {ACROSS, 100, 100, 3, 32, NULL},
	{DELIVER, 1, 1, 0, 1, &refuses}, {DELIVER, 1, 1, 0, 1, &discards},
	{DELIVER, 1, 1, 0, 1, &evicts},
};

#define CELLS (sizeof cells / sizeof cells[0])

/* The limit first: it is measured with what is compared to it. */
static const struct way *const ways[] = {&bounded, &alone, &own, &list_of_mutex, &list_of_glib};

#define WAYS (sizeof ways / sizeof ways[0])

struct series {
	const struct cell *cell;
	const struct way *way;
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	bool failed;
	const char *note;
	double weight; /* of the time */
	size_t rounds;
	double *samples;
	double median;
};

struct plan {
	const struct bench_options *options;
	struct series series[CELLS * WAYS];
	size_t count;
	unsigned rounds;
	double slice; /* seconds of a series in a round, by weight */
	double *samples;
};

static bool
wanted(const struct bench_options *options, const char *name)
{
	const struct bench_subject *subject = bench_subject_named(name);

	return subject && bench_options_want(options, subject);
}

/* Topics and lists are no subjects: theirs are those of the queues that they are made of. */
static bool
is_wanted(const struct bench_options *options, const struct way *way)
{
	if (way == &list_of_glib)
		return wanted(options, "glib_async");
	return wanted(options, "bounded") || (way == &list_of_mutex && wanted(options, "mutex"));
}

/* A queue is the limit of deliveries, a message alone that of a publish to nobody. */
static bool
takes_part(const struct cell *cell, const struct way *way)
{
	if (cell->stopped)
		return way == &own;
	if (way == &bounded)
		return cell->task != PUBLISH;
	return way != &alone || (cell->task == PUBLISH && cell->subscribers == 0);
}

static void
choose(struct plan *plan)
{
	size_t i, k;

	for (i = 0; i < CELLS; i++) {
		for (k = 0; k < WAYS; k++) {
			struct series *series = &plan->series[plan->count];

			if (!takes_part(&cells[i], ways[k]) || !is_wanted(plan->options, ways[k]))
				continue;
			series->cell = &cells[i];
			series->way = ways[k];
			series->state = BENCH_ABSENT;
			series->weight = cells[i].task == ACROSS ? 4 : 1;
			plan->count++;
		}
	}
}

static int
divide(struct plan *plan, double seconds)
{
	double weight = 0;
	size_t i;

	for (i = 0; i < plan->count; i++)
		weight += plan->series[i].weight;
	/* 10 ms are enough on one thread; across threads starting them takes a part of it. */
	plan->rounds = (unsigned)(seconds / (0.01 * weight));
	plan->rounds = plan->rounds < 1 ? 1 : plan->rounds > 9 ? 9 : plan->rounds;
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	plan->slice = 0.9 * seconds / plan->rounds / weight;
	plan->samples = calloc(plan->count * plan->rounds, sizeof *plan->samples);
	if (!plan->samples)
		return -ENOMEM;
	for (i = 0; i < plan->count; i++)
		plan->series[i].samples = plan->samples + i * plan->rounds;
	return 0;
}

static void
fail(struct series *series, enum bench_state state, const char *note)
{
	series->state = state;
	series->failed = true;
	series->note = note;
}

static void
take_turn(const struct plan *plan, struct series *series)
{
	struct order order = {series->cell, series->way, plan->slice * series->weight};
	struct finding finding;
	enum bench_state state;

	/* What has failed once is not given the time to do it again. */
	if (series->failed)
		return;
	state = bench_isolated(measure_one, &order, &finding, sizeof finding, 5 + 5 * order.seconds,
			       NULL);
	if (state != BENCH_OK) {
		fail(series, state, NULL);
	} else if (finding.rc) {
		fail(series, BENCH_ABSENT, "could not be made");
	} else if (finding.wrong) {
		fail(series, BENCH_WRONG,
		     "messages were lost, doubled or out of order, or not released once");
	} else {
		series->state = BENCH_OK;
		series->note = series->way->note;
		series->samples[series->rounds++] = finding.figure;
	}
}

static void
measure(struct plan *plan)
{
	unsigned round, turns = plan->rounds * (unsigned)plan->count, turn = 0;
	size_t i;

	for (round = 0; round < plan->rounds; round++) {
		for (i = 0; i < plan->count; i++) {
			bench_report_progress(plan->options, "topic", plan->series[i].way->subject,
					      turn++, turns);
			take_turn(plan, &plan->series[i]);
		}
	}
	bench_report_progress_end(plan->options);
}

static void
name_cell(const struct cell *cell, char *name, size_t size)
{
	if (cell->stopped)
		(void)snprintf(name, size,
			       "one thread subscribers=%u beside a stopped one policy=%s",
			       cell->subscribers, cell->stopped->name);
	else if (cell->task == DELIVER)
		(void)snprintf(name, size, "one thread subscribers=%u capacity=%u",
			       cell->subscribers, CAPACITY);
	else if (cell->task == ACROSS)
		(void)snprintf(name, size,
			       "across threads 1x%u subscribers=%u batch=%u capacity=%u",
			       cell->consumers, cell->subscribers, cell->batch, CAPACITY);
	else if (cell->takers < cell->subscribers)
		(void)snprintf(name, size, "publish alone subscribers=%u admitted=%u",
			       cell->subscribers, cell->takers);
	else
		(void)snprintf(name, size, "publish alone subscribers=%u", cell->subscribers);
}

static const struct series *
find(const struct plan *plan, const struct way *way, const struct cell *cell)
{
	size_t i;

	for (i = 0; i < plan->count; i++) {
		const struct series *series = &plan->series[i];

		if (series->way == way && series->cell->task == cell->task &&
		    series->cell->subscribers == cell->subscribers &&
		    series->cell->consumers == cell->consumers &&
		    series->cell->batch == cell->batch && series->cell->stopped == cell->stopped)
			return series;
	}
	return NULL;
}

/*
 * What its figure is to be held against; NULL: nothing. Across threads one queue is no limit: a
 * publish to many is less for each of them than a push.
 */
static const struct series *
limit_of(const struct plan *plan, const struct series *series)
{
	struct cell cell = *series->cell;

	if (cell.task == ACROSS)
		return NULL;
	if (cell.stopped) {
		cell.stopped = NULL;
		return find(plan, series->way, &cell);
	}
	if (cell.task == DELIVER)
		return find(plan, &bounded, &cell);
	if (cell.subscribers == 0)
		return find(plan, &alone, &cell);
	/* Whom a filter turns away should cost nothing. */
	cell.subscribers = cell.takers;
	return find(plan, series->way, &cell);
}

static void
set_limit(const struct plan *plan, const struct series *series, struct bench_row *row)
{
	const struct series *limit = limit_of(plan, series);

	if (!limit || limit == series || limit->state != BENCH_OK)
		return;
	(void)snprintf(row->limit, sizeof row->limit, "%s",
		       limit->way != series->way ? limit->way->subject
		       : series->cell->stopped	 ? "without the stopped one"
						 : "as many without filters");
	row->limit_value = limit->median;
}

static void
add_row(const struct plan *plan, struct series *series, struct bench_results *results)
{
	bool across = series->cell->task == ACROSS;
	const char *metric = across			     ? "rate"
			     : series->cell->task == DELIVER ? "delivery"
							     : "publish";
	enum bench_better better = across ? BENCH_HIGHER : BENCH_LOWER;
	struct bench_row *row;
	char cell[sizeof row->cell];

	name_cell(series->cell, cell, sizeof cell);
	/* Of what failed in the end, the figures before count for nothing. */
	row = bench_results_measured(results, "topic", series->way->subject, cell, metric,
				     across ? "M/s" : "ns", better, series->samples,
				     series->failed ? 0 : series->rounds);
	series->median = row->median;
	bench_results_state(results, row, series->state, series->note);
	set_limit(plan, series, row);
}

static void
add_beside(const struct plan *plan, const char *subject, const struct cell *cell, const char *note,
	   struct bench_results *results)
{
	const struct series *series = find(plan, &own, cell);
	struct bench_row *row;

	if (!series || series->state != BENCH_OK)
		return;
	row = bench_results_measured(results, "topic", subject, published_cell, "rate", "M/s",
				     BENCH_NEITHER, series->samples, series->rounds);
	bench_results_state(results, row, BENCH_OK, note);
}

/* In a cell of their own, where nothing is compared: they are no result of this run. */
static void
add_published(const struct plan *plan, struct bench_results *results)
{
	static const struct cell three = {ACROSS, 3, 3, 3, BATCH_MAX, NULL};
	static const struct cell one = {ACROSS, 3, 3, 1, BATCH_MAX, NULL};
	size_t i;

	if (!find(plan, &own, &three))
		return;
	add_beside(plan, "queue_topic, 3 threads", &three, "measured here: a thread for each",
		   results);
	add_beside(plan, "queue_topic, 1 thread", &one,
		   "measured here: one thread pops for all three", results);
	for (i = 0; i < sizeof disruptor / sizeof *disruptor; i++) {
		double rate = disruptor[i].rate * three.subscribers;
		struct bench_row *row = bench_results_measured(
			results, "topic", disruptor[i].subject, published_cell, "rate", "M/s",
			BENCH_NEITHER, &rate, 1);

		bench_results_state(results, row, BENCH_OK, disruptor[i].note);
	}
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	static struct plan plan;
	size_t i;
	int rc;

	memset(&plan, 0, sizeof plan);
	plan.options = options;
	choose(&plan);
	if (plan.count == 0)
		return 0;
	rc = divide(&plan, seconds);
	if (rc)
		return rc;
	measure(&plan);
	for (i = 0; i < plan.count; i++)
		add_row(&plan, &plan.series[i], results);
	add_published(&plan, results);
	free(plan.samples);
	return 0;
}

const struct bench_suite bench_topic = {
	"topic", "one publisher to 1, 3, 10 and 100 subscribers", 20, 0.05, run,
};
