/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Broadcast: every consumer sees every tick, in order, and none is copied: they all look at the
 * same bytes. Whoever lets go of a tick last gives it back, so a few ticks of memory do for any
 * number of them, and the publisher waits when consumers hold them all.
 */
#include <conveyor/topic.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#define CONSUMERS 4
#define IN_FLIGHT 32
#define TICKS 20000

struct tick {
	struct queue_message message; /* first, so that one pointer is both */
	long number;
	long prices[64];
};

struct consumer {
	pthread_t thread;
	struct queue_subscription *subscription;
	long seen;
	long sum;
};

QUEUE_TYPED(ticks, struct tick *)

static void
give_back(struct queue_message *message, void *free_ticks) /* on whichever thread is last */
{
	ticks_push(free_ticks, (struct tick *)(void *)message);
}

static void *
consume(void *argument)
{
	struct consumer *consumer = argument;
	struct queue_message *message;

	while (queue_topic_pop(consumer->subscription, &message) == 0) {
		const struct tick *tick = (const struct tick *)(const void *)message;

		if (tick->number == consumer->seen) /* none is missing */
			consumer->seen++;
		consumer->sum += tick->prices[tick->number % 64];
		queue_message_release(message);
	}
	return NULL;
}

static int
publish_all(struct queue_topic *topic, struct queue_bounded *free_ticks)
{
	for (long i = 0; i < TICKS; i++) {
		struct tick *tick;

		if (ticks_pop(free_ticks, &tick) != 0) /* waits until one is given back */
			return 1;
		tick->number = i;
		tick->prices[i % 64] = i;
		queue_message_init(&tick->message, give_back, free_ticks);
		if (queue_topic_publish(topic, &tick->message, 0) != CONSUMERS)
			return 1;
	}
	return 0;
}

int
main(void)
{
	static struct tick memory[IN_FLIGHT];
	static struct consumer consumers[CONSUMERS];
	struct queue_options queue_options = {.capacity = IN_FLIGHT};
	/* With room for all ticks there are, no subscription is ever full. */
	struct queue_subscription_options options = {.capacity = IN_FLIGHT};
	struct queue_bounded *free_ticks;
	struct queue_topic *topic;
	struct tick *tick;
	int wrong = 0, back = 0;

	if (queue_create(&free_ticks, &queue_options) != 0 || queue_topic_create(&topic, NULL) != 0)
		return 1;
	for (int i = 0; i < IN_FLIGHT; i++)
		ticks_push(free_ticks, &memory[i]);
	for (int i = 0; i < CONSUMERS; i++)
		if (queue_topic_subscribe(topic, &options, &consumers[i].subscription) != 0 ||
		    pthread_create(&consumers[i].thread, NULL, consume, &consumers[i]) != 0)
			return 1;
	wrong += publish_all(topic, free_ticks);
	queue_topic_close(topic);
	for (int i = 0; i < CONSUMERS; i++) {
		pthread_join(consumers[i].thread, NULL);
		printf("consumer %d saw %ld ticks, sum %ld\n", i, consumers[i].seen,
		       consumers[i].sum);
		wrong += consumers[i].seen != TICKS;
		wrong += consumers[i].sum != (long)TICKS * (TICKS - 1) / 2;
	}
	wrong += queue_topic_destroy(topic) != 0;
	while (ticks_try_pop(free_ticks, &tick) == 0)
		back++;
	wrong += back != IN_FLIGHT;
	return queue_destroy(free_ticks) != 0 || wrong != 0;
}
