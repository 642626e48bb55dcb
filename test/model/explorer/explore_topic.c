/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Topics as they are in lib/, for the explorer.
 *
 *	topic WORLD CALLS...
 *
 * WORLD begins with fence or barrier, as in explore_queue.c; behind it, letters: 1 there is a
 * subscription in the beginning, which takes one message; f it has a filter, which all messages
 * pass; w publishes wait for room in it. CALLS is what one thread does, a letter for each call: p
 * publish, t takes from the first subscription what is there and lets go of it, w waits for that, s
 * subscribe, x ends the first subscription, unless somebody waits there, q its statistics, c closes
 * the topic, d destroys it, unless somebody waits.
 *
 * Checked: what is freed is overwritten, and a message that nobody holds is too, so that the
 * explorer reports a data race when somebody uses it still; each message is released once; what was
 * done before close comes before what is done after a publish that says so; statistics count no
 * message as filtered.
 */
#include "explorer.h"
#include "machine.h"

#include "epoch_impl.h"

#include <conveyor/topic.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define NEWS 4

struct news {
	struct queue_message message; /* first */
	int value;
	int releases;
};

struct role {
	const char *calls;
	struct news news[NEWS];
	unsigned begun;
};

static struct role roles[THREADS];
static unsigned n_roles;
static struct queue_topic *topic;
static struct queue_subscription *first;
static int before_close;
static bool destroyed;

/* The program. */

static void
release(struct queue_message *message, void *context)
{
	struct news *item = (struct news *)(void *)message;

	explorer_assert(context == NULL && item->value == 1);
	item->value = 2;
	item->releases++;
}

static void
publish(struct role *role)
{
	struct news *item = &role->news[role->begun++];
	int rc;

	item->value = 1;
	item->releases = 0;
	queue_message_init(&item->message, release, NULL);
	rc = queue_topic_publish(topic, &item->message, 1);
	if (rc == -EPIPE) {
		explorer_assert(before_close == 1);
		queue_message_release(&item->message);
	} else {
		explorer_assert(rc >= 0);
	}
}

static void
take(bool waits)
{
	struct queue_message *message;

	if (waits ? queue_topic_pop(first, &message) : queue_topic_try_pop(first, &message))
		return;
	explorer_assert(((struct news *)(void *)message)->value == 1);
	queue_message_release(message);
}

static int
subscribe(struct queue_subscription **subscription, bool filters, enum queue_policy policy)
{
	struct queue_subscription_options options = {.capacity = 1, .policy = policy};

	options.any_of = filters ? 1 : 0;
	return queue_topic_subscribe(topic, &options, subscription);
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	struct queue_subscription *another;
	struct queue_subscription_stats stats;
	const char *call;
	int rc;

	for (call = role->calls; *call; call++)
		switch (*call) {
		case 'p':
			publish(role);
			break;
		case 't':
		case 'w':
			take(*call == 'w');
			break;
		case 's':
			rc = subscribe(&another, false, QUEUE_ABORT);
			explorer_assert(rc == 0 || rc == -EPIPE);
			break;
		case 'x':
			rc = queue_topic_unsubscribe(first);
			explorer_assert(rc == 0 || rc == -EBUSY);
			break;
		case 'd':
			rc = queue_topic_destroy(topic);
			explorer_assert(rc == 0 || rc == -EBUSY);
			destroyed = rc == 0;
			break;
		case 'q':
			rc = queue_subscription_stats(first, &stats);
			explorer_assert(rc == 0 && stats.filtered == 0);
			break;
		case 'c':
			before_close = 1;
			(void)queue_topic_close(topic);
			break;
		default:
			explorer_fail("there is no such call");
		}
	return NULL;
}

const char program_usage[] =
	" WORLD CALLS...\n"
	"\n"
	"  WORLD  fence: each notifier orders for WAIT1 by a fence; barrier: who waits\n"
	"         does, by membarrier(2). Behind it, letters: 1 a subscription in the\n"
	"         beginning, which takes one message, f it has a filter, which all\n"
	"         messages pass, w publishes wait for room in it\n"
	"  CALLS  what a thread does, a letter for each call; up to 4 threads:\n"
	"         p publish, s subscribe, c close, d destroy; with the subscription from\n"
	"         the beginning: t takes a message, w waits for one, x ends it,\n"
	"         q its statistics\n";

/* What two threads must not do, to the topic or to what is around it here. */
static void
check_once(int i, const char *letters)
{
	int before;

	for (; *letters; letters++)
		for (before = 1; before < i; before++)
			if (strchr(explorer_argument(before), *letters) &&
			    strchr(explorer_argument(i), *letters))
				explorer_refuse("CALLS is \"%s\"; %c must be in one thread's only",
						explorer_argument(i), *letters);
}

void
program_check(void)
{
	int i;

	explorer_need_world(0, "1fw");
	for (i = 1; i == 1 || (i < 1 + THREADS && explorer_argument(i)); i++) {
		explorer_need_calls(i, "CALLS", "pscdtwxq", NEWS);
		if (!strchr(explorer_argument(0), '1') && strpbrk(explorer_argument(i), "twxq"))
			explorer_refuse("CALLS is \"%s\"; for t w x q WORLD must have the letter 1",
					explorer_argument(i));
		check_once(i, "scdx");
	}
	explorer_need_no_more(i);
}

int
main(void)
{
	const struct queue_topic_options options = {.allocator = &machine_allocator};
	const char *world = explorer_argument(0);
	pthread_t threads[THREADS];
	unsigned i, j;
	int rc;

	memset(roles, 0, sizeof roles);
	machine_allocator_begin();
	before_close = 0;
	destroyed = false;
	machine_has_barrier = *world == 'b';
	explorer_thread_local(&queue_impl_reader_of_thread, sizeof queue_impl_reader_of_thread);
	rc = queue_topic_create(&topic, &options);
	explorer_assert(rc == 0);
	if (strchr(world, '1')) {
		rc = subscribe(&first, strchr(world + 1, 'f') != NULL,
			       strchr(world, 'w') ? QUEUE_BLOCK : QUEUE_ABORT);
		explorer_assert(rc == 0);
		/* Straight to sleep. */
		queue_subscription_queue(first)->not_full.spin = 0;
		queue_subscription_queue(first)->not_empty.spin = 0;
	}
	for (n_roles = 0; n_roles < THREADS && explorer_argument(1 + (int)n_roles); n_roles++)
		roles[n_roles].calls = explorer_argument(1 + (int)n_roles);
	for (i = 0; i < n_roles; i++)
		(void)pthread_create(&threads[i], NULL, act, &roles[i]);
	for (i = 0; i < n_roles; i++)
		(void)pthread_join(threads[i], NULL);
	if (!destroyed)
		explorer_assert(queue_topic_destroy(topic) == 0);
	for (i = 0; i < n_roles; i++)
		for (j = 0; j < roles[i].begun; j++)
			explorer_assert(roles[i].news[j].releases == 1);
	return 0;
}
