/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A publish, with subscriptions that come and end, other publishes and a close before each of its
 * atomic operations. Each message goes to as many subscriptions as the publish says, comes out of
 * them as often, popped or dropped, and is released once; or the publish was refused and nobody
 * has it.
 */
#include "interleave.h"

#include "../../lib/topic.c"

#include "unit.h"

#define MESSAGES 4
#define SUBSCRIPTIONS 4

static struct letter {
	struct queue_message message;
	int rc; /* of its publish */
	int came_out;
	unsigned released;
} letters[MESSAGES];

static struct queue_topic *topic;
static struct queue_subscription *subscriptions[SUBSCRIPTIONS];
static unsigned next_letter, next_subscription;
static const char *others_calls;
static bool reports;

static void
on_release(struct queue_message *message, void *context)
{
	(void)message;
	((struct letter *)context)->released++;
}

static void
on_drop(struct queue_message *message, enum queue_reason reason, void *context)
{
	(void)context;
	/* One that was turned away was not taken. */
	if (reason != QUEUE_DISCARDED)
		((struct letter *)message->context)->came_out++;
}

static void
subscribe(enum queue_policy policy)
{
	struct queue_subscription_options options = {
		.capacity = 1, .policy = policy, .on_drop = on_drop};
	int rc = queue_topic_subscribe(topic, &options, &subscriptions[next_subscription]);

	cr_assert(rc == 0 || rc == -EPIPE);
	if (rc == 0)
		next_subscription++;
}

static void
unsubscribe(unsigned i)
{
	if (i < next_subscription && subscriptions[i]) {
		cr_assert_eq(queue_topic_unsubscribe(subscriptions[i]), 0);
		subscriptions[i] = NULL;
	}
}

static void
pop_all(void)
{
	struct queue_message *message;
	unsigned i;

	for (i = 0; i < next_subscription; i++)
		while (subscriptions[i] && queue_topic_try_pop(subscriptions[i], &message) == 0) {
			((struct letter *)message->context)->came_out++;
			queue_message_release(message);
		}
}

static void
publish_next(void)
{
	struct letter *letter = &letters[next_letter++];
	struct queue_delivery delivery = {.taken = 0};

	queue_message_init(&letter->message, on_release, letter);
	if (!reports) {
		letter->rc = queue_topic_publish(topic, &letter->message, 1);
		return;
	}
	letter->rc = queue_topic_publish_report(topic, &letter->message, 1, &delivery);
	if (letter->rc >= 0)
		cr_assert_eq((int)delivery.taken, letter->rc);
	cr_assert_leq(delivery.taken + delivery.filtered + delivery.refused + delivery.discarded +
			      delivery.closed,
		      SUBSCRIPTIONS);
}

static void
call_others(void)
{
	const char *what;

	for (what = others_calls; *what; what++) {
		switch (*what) {
		case 'S':
			subscribe(QUEUE_ABORT);
			break;
		case 'E':
			cr_assert_eq(queue_subscription_close(subscriptions[0]), 0);
			break;
		case 'C':
			cr_assert_eq(queue_topic_close(topic), 0);
			break;
		case 'P':
			publish_next();
			break;
		case 'O':
			pop_all();
			break;
		default:
			unsubscribe((unsigned)(*what - '0'));
		}
	}
}

/* False: the publish has not so many operations. */
static bool
happens(const enum queue_policy *policies, unsigned count, unsigned n)
{
	bool happened;
	unsigned i;

	memset(letters, 0, sizeof letters);
	next_letter = next_subscription = 0;
	cr_assert_eq(queue_topic_create(&topic, NULL), 0);
	for (i = 0; i < count; i++)
		subscribe(policies[i]);
	publish_next();
	interleave(n, call_others);
	publish_next();
	happened = interleave_end() > 0;
	pop_all();
	for (i = 0; i < next_subscription; i++)
		unsubscribe(i);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	for (i = 0; i < next_letter; i++) {
		cr_assert(letters[i].rc >= 0 || letters[i].rc == -EPIPE);
		cr_assert_eq(letters[i].came_out, letters[i].rc < 0 ? 0 : letters[i].rc,
			     "message %u, others %s before operation %u: %d, came out %d", i,
			     others_calls, n, letters[i].rc, letters[i].came_out);
		cr_assert_eq(letters[i].released, letters[i].rc >= 0,
			     "message %u, others %s before operation %u: %d, released %u", i,
			     others_calls, n, letters[i].rc, letters[i].released);
	}
	return happened;
}

Test(topic_interleaved, a_message_comes_out_as_often_as_its_publish_says)
{
	static const enum queue_policy policies[][2] = {
		{QUEUE_ABORT, QUEUE_DISCARD_OLDEST},
		{QUEUE_DISCARD, QUEUE_ABORT},
		{QUEUE_DISCARD_OLDEST, QUEUE_DISCARD},
	};
	static const char *const sequences[] = {"S",  "C",  "P",  "O",	"0",  "01", "1",   "E",
						"0S", "SC", "PO", "OP", "O0", "PC", "OPC", "01S"};
	unsigned ways = 0, count, n;
	size_t i, p;

	for (p = 0; p < 2 * (sizeof policies / sizeof *policies); p++)
		for (count = 0; count <= 2; count++)
			for (i = 0; i < sizeof sequences / sizeof *sequences; i++) {
				others_calls = sequences[i];
				reports = p % 2;
				/* There must be one to end. */
				if (count == 0 && *others_calls == 'E')
					continue;
				for (n = 0; happens(policies[p / 2], count, n); n++)
					ways++;
			}
	cr_assert_gt(ways, 1000);
}
