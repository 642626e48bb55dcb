/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A topic under many threads: subscriptions come and go while others publish, and each of them gets
 * what it was promised, as often as it was promised.
 *
 * Publishers publish numbered letters. Each slot has a thread that subscribes with random filter,
 * policy and capacity, pops, alone or with helpers, keeps some letters for a while, passes some on
 * to a second topic, and ends the subscription again. The topic is closed at the end, or somewhere
 * in the middle. There is no memory now and then.
 *
 * What must hold: a subscription sees, popped or told by on_drop, each letter that its filter
 * admits, whose publish began after subscribe had returned, and returned before unsubscribe (or
 * close) was called; once, and those of one publisher in order; QUEUE_ABORT leaves out as many as
 * it counted. A letter is not released before all who took it have let go, and is once; and as many
 * got it as publish said. Where subscriptions stay for the whole round, the figures of publishers
 * and subscriptions are the same ones. Subscriptions that nobody pops keep back none of the others.
 */
/* ARGS: --policy block */
/* ARGS: --policy any */
/* ARGS: --policy block --capacity 1 --publishers 8 --slots 12 */
/* ARGS: --policy any --capacity 2 --publishers 3 --slots 3 --threads 64 */
/* ARGS: --policy block --stopped 6 --stay 1 */
/* ARGS: --policy any --stopped 3 --publishers 16 --slots 2 */
/* ARGS: --policy any --refuse 1 */
#include "fault.h"
#include "stress.h"

#include <conveyor/impl/atomic.h>
#include <conveyor/topic.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define PUBLISHERS_MAX 16
#define SLOTS_MAX 16
#define STOPPED_MAX 16
#define HELPERS_MAX 3
#define LETTERS 512 /* per publisher and round */
#define CAPACITY_MAX (PUBLISHERS_MAX * LETTERS)
#define KEPT 8 /* letters that one thread holds on to */
#define BATCH 5
#define POISON 0xdd

#define BIT(n) (UINT64_C(1) << (n))

/* What is published. Half of them are freed when they are released, the others poisoned. */
struct letter {
	uint32_t publisher;
	uint32_t number;
	uint64_t proof; /* that it has not been released */
	struct queue_message message;
};

/* What became of a letter; outlives it. */
enum state {
	UNWRITTEN,
	WRITTEN,
	RELEASED
};

struct record {
	uint32_t state;
	uint32_t taken; /* as often as publishes said */
	uint32_t got;	/* popped, evicted, or left inside */
	uint32_t discards_said, discards_told;
};

/* How a subscription saw a letter. */
enum sight {
	UNSEEN,
	POPPED,
	DROPPED /* + enum queue_reason */
};

/* One subscription, from before its beginning to the end of the current. */
struct life {
	struct queue_subscription *subscription;
	struct queue_subscription_options options;
	bool odd_only;	  /* what accepts wants */
	bool stays;	  /* nobody unsubscribes: destroy ends it */
	bool is_over;	  /* unsubscribe was called, or the topic closed */
	uint32_t leave;	  /* for its helpers */
	uint64_t refused; /* at its end, as statistics said */
	uint32_t from[PUBLISHERS_MAX], to[PUBLISHERS_MAX];
	uint32_t seen[PUBLISHERS_MAX][LETTERS];
	struct life *next; /* of the same slot, the one before */
};

/* A thread that pops. */
struct popper {
	struct stress_thread thread;
	struct stress_random random;
	struct life *life;
	uint32_t next[PUBLISHERS_MAX]; /* the lowest number that may come now */
	struct queue_message *kept[KEPT];
};

struct publisher {
	struct stress_thread thread;
	struct stress_random random;
	uint32_t number;
	uint32_t at; /* its next letter */
	struct queue_delivery told;
	uint64_t publishes;
	/* What others look at: how many publishes have begun, and how many have returned. */
	uint32_t begun queue_impl_aligned(QUEUE_IMPL_APART);
	uint32_t ended;
};

static uint64_t publishers_number = 8, slots_number = 6, stopped_number, capacity, threads, stay,
		refuse;

/* What a full subscription does, by number of --policy. */
static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_BLOCK, QUEUE_DISCARD,
					     QUEUE_DISCARD_OLDEST};
#define POLICIES (sizeof policies / sizeof *policies)
static uint64_t given_policy = POLICIES;

static struct record records[PUBLISHERS_MAX][LETTERS];
static struct letter letters[PUBLISHERS_MAX][LETTERS];
static struct publisher publishers[PUBLISHERS_MAX];

static struct round {
	struct queue_topic *topic;
	struct queue_topic *mirror;
	struct queue_subscription *mirrored; /* several threads pop it */
	struct stress_gate gate;
	uint32_t gate_size;
	uint64_t number;
	uint32_t parts;	   /* threads per publisher, one after the other */
	uint32_t close_at; /* publisher 0 closes before this letter */
	bool stays;	   /* every subscription does */
	uint32_t closing;  /* closed_at says what had been published before close */
	uint32_t closed;   /* close has returned */
	uint32_t done;	   /* for the observer */
	uint32_t closed_at[PUBLISHERS_MAX];
	struct life *lives[SLOTS_MAX + STOPPED_MAX]; /* the last one of each slot */
} current;

/* Subscriptions of the mirror count under this. */
static const char mirror_context[1];

static uint64_t
scramble(uint64_t x)
{
	x ^= x >> 31;
	x *= UINT64_C(0x9e3779b97f4a7c15);
	x ^= x >> 29;
	return x * UINT64_C(0xbf58476d1ce4e5b9);
}

/* ---- Letters -------------------------------------------------------------------------------- */

static uint64_t
proof_of(uint32_t publisher, uint32_t number)
{
	return scramble(current.number << 32 | (uint64_t)publisher << 16 | number) | 1;
}

/* Letters of which the publisher keeps a reference. */
static bool
is_kept_by_publisher(uint32_t number)
{
	return number % 8 == 3;
}

#define OTHER_TAGS (BIT(63) | BIT(7)) /* which these get when nobody else has them any more */

static uint64_t
tags_of(uint32_t publisher, uint32_t number)
{
	uint64_t x = scramble((uint64_t)publisher << 32 | (number + 1));

	return BIT(x >> 58) | BIT(x >> 52 & 63) | BIT(publisher % 4) | BIT(63 - number % 2);
}

static struct letter *
letter_of(const struct queue_message *message)
{
	return (struct letter *)((uintptr_t)message - offsetof(struct letter, message));
}

static struct record *
record_of(const struct letter *letter)
{
	return &records[letter->publisher][letter->number];
}

/* The letter of a message that somebody holds. */
static struct letter *
intact(const struct queue_message *message)
{
	struct letter *letter = letter_of(message);
	uint64_t tags = queue_message_tags(message);

	stress_check(letter->publisher < PUBLISHERS_MAX && letter->number < LETTERS,
		     "letter %" PRIx32 "/%" PRIx32, letter->publisher, letter->number);
	stress_check(letter->proof == proof_of(letter->publisher, letter->number), "proof");
	stress_check(tags == tags_of(letter->publisher, letter->number) ||
			     (is_kept_by_publisher(letter->number) && tags == OTHER_TAGS),
		     "tags %" PRIx64, tags);
	stress_check(queue_impl_load32_acq(&record_of(letter)->state) == WRITTEN,
		     "letter %" PRIu32 "/%" PRIu32 " is held and was released", letter->publisher,
		     letter->number);
	return letter;
}

static void
release(struct queue_message *message, void *context)
{
	struct letter *letter = letter_of(message);
	struct record *record = record_of(letter);
	bool is_static = context == &letters[letter->publisher][letter->number];
	uint32_t before;

	stress_check(context == letter, "context %p of %p", context, (void *)letter);
	stress_check(letter->proof == proof_of(letter->publisher, letter->number), "proof");
	before = queue_impl_exchange32_acq_rel(&record->state, RELEASED);
	stress_check(before == WRITTEN, "released in state %" PRIu32, before);
	memset(letter, POISON, sizeof *letter);
	if (!is_static)
		free(letter);
}

static struct letter *
write_letter(uint32_t publisher, uint32_t number)
{
	struct letter *letter = &letters[publisher][number];

	if (number % 2) {
		letter = malloc(sizeof *letter);
		stress_check(letter, "malloc");
	}
	letter->publisher = publisher;
	letter->number = number;
	letter->proof = proof_of(publisher, number);
	queue_message_init(&letter->message, release, letter);
	queue_impl_store32_rel(&records[publisher][number].state, WRITTEN);
	return letter;
}

/* ---- Memory, which runs out now and then ----------------------------------------------------- */

static uint32_t blocks_given, memory_runs_out;
static uint64_t next_stream; /* for threads that have no other random numbers */
static _Thread_local struct stress_random dice;

static bool
one_in(uint64_t n)
{
	if (dice.state == 0)
		dice = stress_random_init(queue_impl_fetch_add_acq_rel(&next_stream, 1));
	return stress_one_in(&dice, n);
}

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	(void)context;
	if (queue_impl_load32_acq(&memory_runs_out) && one_in(16))
		return NULL;
	(void)queue_impl_fetch_add32_acq_rel(&blocks_given, 1);
	return queue_allocator_libc.allocate(NULL, size, alignment);
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	(void)queue_impl_fetch_add32_acq_rel(&blocks_given, UINT32_MAX);
	/* Whoever looks at it now sees nonsense. */
	memset(memory, POISON, size);
	queue_allocator_libc.release(NULL, memory, size, alignment);
}

static const struct queue_allocator allocator = {counting_allocate, counting_release, NULL};

/* ---- What subscriptions see ------------------------------------------------------------------ */

static bool
wants(const struct life *life, uint32_t publisher, uint32_t number)
{
	const struct queue_subscription_options *options = &life->options;
	uint64_t tags = tags_of(publisher, number);

	return (options->any_of == 0 || (options->any_of & tags)) &&
	       (options->all_of & tags) == options->all_of && (!life->odd_only || number % 2 == 1);
}

static bool
accepts(const struct queue_message *message, void *context)
{
	const struct life *life = context;

	stress_check(life->subscription, "a letter came before subscribe had written *out");
	return intact(message)->number % 2 == 1;
}

static void
see(struct life *life, const struct letter *letter, uint32_t sight)
{
	uint32_t *seen = &life->seen[letter->publisher][letter->number];
	uint32_t before = queue_impl_exchange32_acq_rel(seen, sight);

	stress_check(before == UNSEEN, "letter %" PRIu32 "/%" PRIu32 " came twice: %" PRIu32,
		     letter->publisher, letter->number, before);
	stress_check(wants(life, letter->publisher, letter->number), "nobody asked for this");
}

static void
on_drop(struct queue_message *message, enum queue_reason reason, void *context)
{
	const struct letter *letter = intact(message);
	struct record *record = record_of(letter);
	enum queue_policy policy;

	if (reason == QUEUE_DISCARDED)
		(void)queue_impl_fetch_add32_acq_rel(&record->discards_told, 1);
	else
		(void)queue_impl_fetch_add32_acq_rel(&record->got, 1);
	if (context == mirror_context)
		return;
	policy = ((struct life *)context)->options.policy;
	stress_check(reason == QUEUE_DESTROYED ||
			     (reason == QUEUE_DISCARDED && policy == QUEUE_DISCARD) ||
			     (reason == QUEUE_EVICTED && policy == QUEUE_DISCARD_OLDEST),
		     "reason %d with policy %d", reason, policy);
	see(context, letter, DROPPED + (uint32_t)reason);
	/* It may call the topic. */
	if (one_in(64)) {
		struct queue_topic_stats stats;

		(void)queue_topic_stats(current.mirror, &stats);
	}
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void
close_topic(void)
{
	uint32_t i;

	/* It may be repeated, which changes nothing. */
	if (!queue_impl_load32_acq(&current.closing))
		for (i = 0; i < publishers_number; i++)
			current.closed_at[i] = queue_impl_load32_acq(&publishers[i].ended);
	queue_impl_store32_rel(&current.closing, 1);
	stress_check(queue_topic_close(current.topic) == 0, "close");
	queue_impl_store32_rel(&current.closed, 1);
}

/* ---- Publishers ------------------------------------------------------------------------------ */

static void
add(struct queue_delivery *sum, const struct queue_delivery *more)
{
	sum->taken += more->taken;
	sum->filtered += more->filtered;
	sum->refused += more->refused;
	sum->discarded += more->discarded;
	sum->evicted += more->evicted;
	sum->closed += more->closed;
}

/* Publishes with a reference that is ours, and is so still when it returns less than 0. */
static int
publish(struct queue_topic *topic, struct letter *letter, uint64_t tags, struct queue_delivery *sum)
{
	struct record *record = record_of(letter);
	struct queue_delivery told;
	int rc = queue_topic_publish_report(topic, &letter->message, tags, &told);

	/* From here on the letter may be gone. */
	if (rc < 0)
		return rc;
	stress_check((uint64_t)rc == told.taken, "%d and %" PRIu64, rc, told.taken);
	stress_check(told.evicted <= told.taken, "evicted %" PRIu64, told.evicted);
	(void)queue_impl_fetch_add32_acq_rel(&record->taken, (uint32_t)told.taken);
	(void)queue_impl_fetch_add32_acq_rel(&record->discards_said, (uint32_t)told.discarded);
	add(sum, &told);
	return rc;
}

/* Passes on a reference of ours to who reads the mirror. */
static void
mirror(struct letter *letter, uint64_t tags)
{
	struct queue_delivery unused = {0};
	int rc = publish(current.mirror, letter, tags, &unused);

	if (rc >= 0)
		return;
	/* Others have the letter, and it has other tags. */
	stress_check(rc == -EINVAL && tags == OTHER_TAGS, "publish: %d", rc);
	queue_message_release(&intact(&letter->message)->message);
}

/* False: the topic is closed. */
static bool
publish_next(struct publisher *publisher)
{
	uint32_t number = publisher->at;
	struct letter *letter = write_letter(publisher->number, number);
	bool keeps = is_kept_by_publisher(number);
	bool was_closed = queue_impl_load32_acq(&current.closed) != 0;
	int rc;

	if (keeps)
		queue_message_retain(&letter->message);
	/* Who has subscribed and looks here afterwards gets the letter if it finds it not begun. */
	(void)queue_impl_fetch_add32_acq_rel(&publisher->begun, 1);
	rc = publish(current.topic, letter, tags_of(publisher->number, number), &publisher->told);
	if (rc < 0) {
		stress_check(rc == -EPIPE, "publish: %d", rc);
		stress_check(queue_impl_load32_acq(&current.closing), "closed before close");
		queue_message_release(&letter->message);
		if (keeps)
			queue_message_release(&letter->message);
		return false;
	}
	stress_check(!was_closed, "published to a closed topic");
	publisher->publishes++;
	queue_impl_store32_rel(&publisher->ended, number + 1);
	if (keeps)
		mirror(intact(&letter->message), OTHER_TAGS);
	return true;
}

static void
publish_part(void *argument)
{
	struct publisher *publisher = argument;
	uint32_t end = publisher->at + (LETTERS + current.parts - 1) / current.parts;

	for (; publisher->at < end && publisher->at < LETTERS; publisher->at++) {
		if (publisher->number == 0 && publisher->at == current.close_at)
			close_topic();
		if (!publish_next(publisher)) {
			publisher->at = LETTERS;
			return;
		}
		if (stress_one_in(&publisher->random, 64))
			sched_yield();
	}
}

static void
publish_all(void *argument)
{
	struct publisher *publisher = argument;

	stress_gate_pass(&current.gate, current.gate_size);
	while (publisher->at < LETTERS) {
		struct stress_thread part;

		if (current.parts == 1) {
			publish_part(publisher);
			continue;
		}
		stress_start(&part, publish_part, publisher);
		stress_join(&part);
	}
}

/* ---- Those who pop --------------------------------------------------------------------------- */

static void
let_go(struct queue_message *message)
{
	if (message)
		queue_message_release(&intact(message)->message);
}

/* What another thread may have passed on. */
static void
look_into_mirror(void)
{
	struct queue_message *message;

	if (queue_topic_try_pop(current.mirrored, &message) == 0) {
		(void)queue_impl_fetch_add32_acq_rel(&record_of(intact(message))->got, 1);
		let_go(message);
	}
}

static void
receive(struct popper *popper, struct queue_message *message)
{
	struct letter *letter = intact(message);
	struct queue_message **place = &popper->kept[stress_random_below(&popper->random, KEPT)];
	uint32_t *next = &popper->next[letter->publisher];

	(void)queue_impl_fetch_add32_acq_rel(&record_of(letter)->got, 1);
	see(popper->life, letter, POPPED);
	stress_check(letter->number >= *next, "%" PRIu32 " comes after %" PRIu32, letter->number,
		     *next);
	*next = letter->number + 1;
	/* A letter is kept, passed on, or done with. */
	switch (stress_random_below(&popper->random, 8)) {
	case 0:
		let_go(*place);
		*place = message;
		return;
	case 1:
		queue_message_retain(message);
		mirror(letter, tags_of(letter->publisher, letter->number));
		look_into_mirror();
		break;
	default:
		break;
	}
	let_go(message);
}

/* Some pops by some call: how many letters, or -EPIPE. */
static int
pop_some(struct popper *popper)
{
	struct queue_subscription *subscription = popper->life->subscription;
	struct queue_message *messages[BATCH];
	uint64_t deadline = 0;
	int rc, i, n = 1;

	switch (stress_random_below(&popper->random, 6)) {
	case 0:
		rc = queue_topic_try_pop(subscription, messages);
		break;
	case 1:
		deadline = queue_now() + stress_random_below(&popper->random, 100000);
		/* fall through */
	case 2:
		rc = queue_topic_pop_until(subscription, messages, deadline);
		break;
	case 3:
		n = rc = queue_topic_pop_n(subscription, messages, BATCH);
		break;
	case 4:
		n = rc = queue_topic_try_pop_n(subscription, messages, BATCH);
		break;
	default:
		rc = queue_topic_pop(subscription, messages);
	}
	if (rc == -EPIPE)
		return rc;
	if (rc < 0 || n == 0) {
		stress_check(rc == -EAGAIN || rc == -ETIMEDOUT || rc == 0, "a pop said %d", rc);
		sched_yield();
		return 0;
	}
	stress_check(n <= BATCH, "%d came", n);
	for (i = 0; i < n; i++)
		receive(popper, messages[i]);
	return n;
}

static void
popper_init(struct popper *popper, struct life *life, uint64_t stream)
{
	memset(popper, 0, sizeof *popper);
	popper->random = stress_random_init(stream);
	popper->life = life;
}

static void
popper_end(struct popper *popper)
{
	int i;

	for (i = 0; i < KEPT; i++)
		let_go(popper->kept[i]);
}

static void
help(void *argument)
{
	struct popper *popper = argument;

	while (queue_impl_load32_acq(&popper->life->leave) == 0 && pop_some(popper) >= 0)
		continue;
	popper_end(popper);
}

/* ---- The life of a subscription -------------------------------------------------------------- */

static struct life *
life_make(struct stress_random *random, uint32_t slot)
{
	static const uint64_t capacities[] = {1, 2, 64};
	struct life *life = calloc(1, sizeof *life);
	struct queue_subscription_options *options;

	stress_check(life, "calloc");
	options = &life->options;
	options->policy = policies[stress_choose(random, given_policy, POLICIES)];
	options->capacity = capacity ? capacity : capacities[stress_random_below(random, 3)];
	options->on_drop = on_drop;
	options->context = life;
	if (stress_one_in(random, 3))
		options->any_of = BIT(0) | BIT(3) | BIT(63) | scramble(stress_random(random));
	if (stress_one_in(random, 3))
		options->all_of = BIT(62 + stress_random_below(random, 2));
	if (stress_one_in(random, 4)) {
		options->accepts = accepts;
		life->odd_only = true;
	}
	life->stays = current.stays;
	life->next = current.lives[slot];
	current.lives[slot] = life;
	return life;
}

/* False: the topic is closed. */
static bool
life_begin(struct life *life)
{
	bool was_closed;
	int rc;

	do {
		was_closed = queue_impl_load32_acq(&current.closed) != 0;
		rc = queue_topic_subscribe(current.topic, &life->options, &life->subscription);
	} while (rc == -ENOMEM);
	stress_check(rc == -EPIPE || (rc == 0 && !was_closed), "subscribe: %d", rc);
	if (rc) {
		stress_check(queue_impl_load32_acq(&current.closing), "closed before close");
		stress_check(!life->subscription, "*out was written");
		return false;
	}
	/* What publishers begin from here on must come. */
	for (uint32_t i = 0; i < publishers_number; i++)
		life->from[i] = queue_impl_fetch_add32_acq_rel(&publishers[i].begun, 0);
	return true;
}

/* What has been published by now must have come, at the latest while it is unsubscribed. */
static void
life_ends_now(struct life *life)
{
	struct queue_subscription_stats stats;
	uint32_t i;

	for (i = 0; i < publishers_number; i++)
		life->to[i] = queue_impl_load32_acq(&publishers[i].ended);
	if (queue_impl_load32_acq(&current.closing))
		for (i = 0; i < publishers_number; i++)
			if (life->to[i] > current.closed_at[i])
				life->to[i] = current.closed_at[i];
	(void)queue_subscription_stats(life->subscription, &stats);
	life->refused = stats.refused;
	life->is_over = true;
}

#define FORWARD(field)                                                                             \
	stress_check(now.field >= before->field, #field " went from %" PRIu64 " to %" PRIu64,      \
		     before->field, now.field)

static void
look_at_figures(const struct life *life, struct queue_subscription_stats *before)
{
	struct queue_subscription_stats now;

	(void)queue_subscription_stats(life->subscription, &now);
	FORWARD(delivered);
	FORWARD(filtered);
	FORWARD(refused);
	FORWARD(evicted);
	stress_check(now.lag <= life->options.capacity, "lag %" PRIu64, now.lag);
	stress_check(now.filtered == 0 || life->options.any_of || life->options.all_of ||
			     life->options.accepts,
		     "no filter turned %" PRIu64 " away", now.filtered);
	*before = now;
}

/* Pops for as long as it lasts, with helpers or without. False: the topic is closed. */
static bool
life_pop(struct life *life, struct popper *popper, uint32_t helpers_number)
{
	struct popper helpers[HELPERS_MAX];
	struct queue_subscription_stats figures = {0};
	uint64_t left = 1 + stress_random_below(&popper->random, 300);
	int got = 0;
	uint32_t i;

	for (i = 0; i < helpers_number; i++) {
		popper_init(&helpers[i], life, stress_random(&popper->random));
		stress_start(&helpers[i].thread, help, &helpers[i]);
	}
	while (got >= 0 && (life->stays || left > 0)) {
		got = pop_some(popper);
		left -= left > 0;
		if (stress_one_in(&popper->random, 32))
			look_at_figures(life, &figures);
		/* In a closed topic nobody waits for room: what is left is for the end. */
		if (stress_one_in(&popper->random, 64) && queue_impl_load32_acq(&current.closed))
			break;
	}
	queue_impl_store32_rel(&life->leave, 1);
	for (i = 0; i < helpers_number; i++)
		stress_join(&helpers[i].thread);
	return got >= 0;
}

/* One subscription from subscribe to unsubscribe. False: the topic is closed. */
static bool
live(struct life *life, struct popper *popper)
{
	uint32_t helpers_number = 0;
	bool open;

	if (stress_one_in(&popper->random, 3))
		helpers_number = 1 + (uint32_t)stress_random_below(&popper->random, HELPERS_MAX);
	else if (life->options.policy != QUEUE_DISCARD_OLDEST && stress_one_in(&popper->random, 2))
		life->options.flags = QUEUE_SINGLE_CONSUMER;
	if (!life_begin(life))
		return false;
	if (current.stays)
		stress_gate_pass(&current.gate, current.gate_size);
	open = life_pop(life, popper, helpers_number);
	if (queue_impl_load32_acq(&current.closed) && stress_one_in(&popper->random, 2))
		life->stays = true;
	if (life->stays)
		return false;
	life_ends_now(life);
	stress_check(queue_topic_unsubscribe(life->subscription) == 0, "nobody waits in it");
	return open;
}

static void
occupy_slot(void *argument)
{
	uint32_t slot = (uint32_t)(uintptr_t)argument;
	struct popper popper;

	popper_init(&popper, NULL, current.number * 1024 + 512 + slot);
	if (!current.stays)
		stress_gate_pass(&current.gate, current.gate_size);
	do {
		popper.life = life_make(&popper.random, slot);
		memset(popper.next, 0, sizeof popper.next);
	} while (live(popper.life, &popper));
	popper_end(&popper);
}

/* A subscription that nobody ever pops, and whose policy lets publishers go on. */
static void
make_stopped(struct stress_random *random, uint32_t i)
{
	static const enum queue_policy without_block[] = {QUEUE_ABORT, QUEUE_DISCARD,
							  QUEUE_DISCARD_OLDEST};
	struct life *life = life_make(random, (uint32_t)slots_number + i);

	life->stays = true;
	life->options.policy = without_block[i % 3];
	stress_check(life_begin(life), "the topic is closed");
}

/* ---- Afterwards ------------------------------------------------------------------------------ */

#define SAME(a, b, what)                                                                           \
	stress_check((a) == (b), what ": %" PRIu64 " and %" PRIu64, (uint64_t)(a), (uint64_t)(b))

/* Everything between from and to that it wants; QUEUE_ABORT may have refused some. */
static void
check_life(const struct life *life)
{
	uint64_t missing = 0;
	uint32_t i, n;

	for (i = 0; i < publishers_number; i++)
		for (n = life->from[i]; n < life->to[i]; n++) {
			if (!wants(life, i, n) || life->seen[i][n] != UNSEEN)
				continue;
			missing++;
			stress_check(life->options.policy == QUEUE_ABORT,
				     "letter %" PRIu32 "/%" PRIu32 " of %" PRIu32 " to %" PRIu32
				     " has not come",
				     i, n, life->from[i], life->to[i]);
		}
	stress_check(missing <= life->refused, "%" PRIu64 " are missing, %" PRIu64 " were refused",
		     missing, life->refused);
}

/* What one stopped subscription has is what went in first, or last. */
static void
check_stopped(const struct life *life, const struct queue_subscription_stats *stats)
{
	SAME(stats->queue.popped, 0, "popped by nobody");
	SAME(stats->lag, stats->delivered - stats->evicted, "lag");
	if (stats->delivered < life->options.capacity)
		SAME(stats->refused, 0, "refused though there was room");
	else
		SAME(stats->lag, life->options.capacity, "lag");
}

/* Where everybody was there for everything: what publishers were told is what is counted. */
static void
reconcile(void)
{
	struct queue_delivery told = {0};
	struct queue_subscription_stats stats;
	uint64_t publishes = 0, delivered = 0, filtered = 0, refused = 0, evicted = 0;
	uint32_t i, n = (uint32_t)(slots_number + stopped_number);

	for (i = 0; i < publishers_number; i++) {
		add(&told, &publishers[i].told);
		publishes += publishers[i].publishes;
	}
	for (i = 0; i < n; i++) {
		const struct life *life = current.lives[i];

		(void)queue_subscription_stats(life->subscription, &stats);
		SAME(stats.delivered + stats.filtered + stats.refused, publishes, "publishes");
		delivered += stats.delivered;
		filtered += stats.filtered;
		refused += stats.refused;
		evicted += stats.evicted;
		if (i >= slots_number)
			check_stopped(life, &stats);
	}
	SAME(delivered, told.taken, "taken");
	SAME(filtered, told.filtered, "filtered");
	SAME(refused, told.refused + told.discarded + told.closed, "refused");
	stress_check(evicted >= told.evicted, "%" PRIu64 " evicted", evicted);
	SAME(publishes * n, delivered + filtered + refused, "deliveries");
}

static void
check_records(void)
{
	uint32_t i, n;
	size_t byte;

	for (i = 0; i < publishers_number; i++)
		for (n = 0; n < LETTERS; n++) {
			const struct record *record = &records[i][n];
			const unsigned char *bytes = (const unsigned char *)&letters[i][n];

			if (record->state == UNWRITTEN) {
				stress_check(current.close_at < LETTERS, "not written");
				continue;
			}
			stress_check(record->state == RELEASED,
				     "letter %" PRIu32 "/%" PRIu32 " was not released", i, n);
			SAME(record->got, record->taken, "got");
			SAME(record->discards_told, record->discards_said, "discarded");
			for (byte = 0; n % 2 == 0 && byte < sizeof letters[i][n]; byte++)
				stress_check(bytes[byte] == POISON, "written after its release");
		}
}

/* ---- A round --------------------------------------------------------------------------------- */

static void
make_topics(void)
{
	struct queue_topic_options options = {.allocator = &allocator};
	struct queue_subscription_options mirror = {.on_drop = on_drop};
	struct queue_subscription *stopped;

	mirror.context = (void *)(uintptr_t)mirror_context;
	stress_check(queue_topic_create(&current.topic, &options) == 0, "create");
	stress_check(queue_topic_create(&current.mirror, &options) == 0, "create");
	mirror.capacity = 64;
	stress_check(queue_topic_subscribe(current.mirror, &mirror, &current.mirrored) == 0,
		     "mirror");
	mirror.capacity = 2;
	mirror.policy = QUEUE_DISCARD_OLDEST;
	mirror.any_of = BIT(63);
	stress_check(queue_topic_subscribe(current.mirror, &mirror, &stopped) == 0, "mirror");
}

static void
destroy_topics(void)
{
	struct queue_topic_stats stats;
	struct life *life;
	uint32_t i;

	(void)queue_topic_stats(current.topic, &stats);
	stress_check(stats.closed, "open");
	if (current.stays)
		SAME(stats.subscriptions, slots_number + stopped_number, "subscriptions");
	for (i = 0; i < slots_number + stopped_number; i++)
		for (life = current.lives[i]; life; life = life->next)
			if (life->subscription && !life->is_over)
				life_ends_now(life);
	stress_check(queue_topic_destroy(current.topic) == 0, "destroy");
	stress_check(queue_topic_destroy(current.mirror) == 0, "destroy");
	stress_check(queue_impl_load32_acq(&blocks_given) == 0, "%" PRIu32 " blocks left",
		     queue_impl_load32_acq(&blocks_given));
}

static void
check_lives(void)
{
	uint32_t i;

	for (i = 0; i < slots_number + stopped_number; i++)
		while (current.lives[i]) {
			struct life *life = current.lives[i];

			check_life(life);
			current.lives[i] = life->next;
			free(life);
		}
}

static void
observe(void *unused)
{
	struct queue_topic_stats stats;
	int closed = 0;

	(void)unused;
	stress_gate_pass(&current.gate, current.gate_size);
	while (queue_impl_load32_acq(&current.done) == 0) {
		bool was_closed = queue_impl_load32_acq(&current.closed) != 0;

		(void)queue_topic_stats(current.topic, &stats);
		stress_check(stats.subscriptions <= slots_number + stopped_number, "%" PRIu64,
			     stats.subscriptions);
		stress_check(stats.closed || (!closed && !was_closed), "open again");
		closed = stats.closed;
		sched_yield();
	}
}

static void
plan_round(struct stress_random *random)
{
	current.stays = stay || stress_one_in(random, 4);
	current.close_at = LETTERS;
	if (!current.stays && stress_one_in(random, 3))
		current.close_at = (uint32_t)stress_random_below(random, LETTERS);
	current.parts = stress_one_in(random, 2) ? 1 : 16;
	if (threads)
		current.parts = (uint32_t)threads;
	current.gate_size = (uint32_t)(publishers_number + slots_number + 1);
}

static void
play_round(uint64_t number)
{
	static struct stress_thread slots[SLOTS_MAX];
	struct stress_thread observer;
	struct stress_random random;
	uint32_t i;

	memset(&current, 0, sizeof current);
	memset(records, 0, sizeof records);
	memset(publishers, 0, sizeof publishers);
	current.number = number;
	random = stress_random_init(number * 1024 + 1);
	next_stream = UINT64_C(1) << 40 | number << 20;
	plan_round(&random);
	queue_impl_store32_rel(&memory_runs_out, 0);
	make_topics();
	queue_impl_store32_rel(&memory_runs_out, 1);
	for (i = 0; i < stopped_number; i++)
		make_stopped(&random, i);

	for (i = 0; i < slots_number; i++)
		stress_start(&slots[i], occupy_slot, (void *)(uintptr_t)i);
	for (i = 0; i < publishers_number; i++) {
		publishers[i].number = i;
		publishers[i].random = stress_random_init(number * 1024 + 64 + i);
		stress_start(&publishers[i].thread, publish_all, &publishers[i]);
	}
	stress_start(&observer, observe, NULL);
	for (i = 0; i < publishers_number; i++)
		stress_join(&publishers[i].thread);
	if (current.stays)
		reconcile();
	close_topic();
	for (i = 0; i < slots_number; i++)
		stress_join(&slots[i]);
	queue_impl_store32_rel(&current.done, 1);
	stress_join(&observer);
	destroy_topics();
	check_lives();
	check_records();
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"publishers", &publishers_number, "threads that publish", .least = 1,
		 .most = PUBLISHERS_MAX},
		{"slots", &slots_number, "subscriptions at a time", .least = 1, .most = SLOTS_MAX},
		{"stopped", &stopped_number, "more of them, that nobody pops", .most = STOPPED_MAX},
		{"capacity", &capacity, "messages a subscription holds, 0 for 1, 2 or 64",
		 .most = CAPACITY_MAX},
		{"policy", &given_policy, "when it is full",
		 .words = STRESS_WORDS("abort", "block", "discard", "discard-oldest", "any")},
		{"threads", &threads, "that each publisher is, one by one, 0 for 1 or 16",
		 .most = LETTERS},
		{"stay", &stay, "1 if subscriptions stay for the whole round", .most = 1},
		{"refuse", &refuse, "1 if there is no membarrier(2)", .most = 1},
		{.name = NULL},
	};
	uint64_t number = 0;

	stress_begin(argc, argv, options);
	/* Before anything is made: so publishers will do with fences. */
	if (refuse && !fault_refuse_membarrier())
		printf("nothing to refuse here\n");
	while (stress_time_is_left())
		play_round(number++);
	return stress_end();
}
