/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Observers: a house publishes what happens in it, and each observer is told what it asked for, by
 * tags, by a predicate, or by both. What it did not ask for costs it nothing: the filter is asked
 * before anything is queued.
 */
#include <conveyor/topic.h>

#include <pthread.h>
#include <stdio.h>

#define EVENTS 6000

enum {
	TEMPERATURE = 1,
	DOOR = 2,
	SMOKE = 4,
	NIGHT = 8
}; /* tags */

struct event {
	struct queue_message message; /* first, so that one pointer is both */
	int value;
};

struct observer {
	const char *name;
	struct queue_subscription_options asks_for;
	int expected;
	struct queue_subscription *subscription;
	pthread_t thread;
	int told;
};

static struct event events[EVENTS]; /* nobody frees them, so they need no release */

static bool
is_cold(const struct queue_message *message, void *context) /* on the thread that publishes */
{
	(void)context;
	return ((const struct event *)(const void *)message)->value < 18;
}

static void *
observe(void *argument)
{
	struct observer *observer = argument;
	struct queue_message *message;

	while (queue_topic_pop(observer->subscription, &message) == 0) {
		observer->told++;
		queue_message_release(message);
	}
	return NULL;
}

/* Every third event is a temperature, a door, smoke; every second one is at night. */
static int
happen(struct queue_topic *topic, int i)
{
	static const uint64_t kinds[] = {TEMPERATURE, DOOR, SMOKE};

	events[i].value = i % 30; /* degrees from 0 to 27, where it is a temperature */
	queue_message_init(&events[i].message, NULL, NULL);
	return queue_topic_publish(topic, &events[i].message, kinds[i % 3] | (i % 2 ? NIGHT : 0));
}

int
main(void)
{
	struct observer observers[] = {
		{.name = "diary", .expected = EVENTS},
		{.name = "burglar alarm",
		 .asks_for = {.any_of = DOOR, .all_of = NIGHT},
		 .expected = EVENTS / 6},
		{.name = "lights",
		 .asks_for = {.any_of = DOOR | SMOKE},
		 .expected = EVENTS / 3 * 2},
		/* Of 10 temperatures in 30 events 6 are below 18. */
		{.name = "heating",
		 .asks_for = {.any_of = TEMPERATURE, .accepts = is_cold},
		 .expected = EVENTS / 30 * 6},
		{.name = "night watch",
		 .asks_for = {.all_of = NIGHT | SMOKE},
		 .expected = EVENTS / 6},
	};
	const int n = sizeof observers / sizeof observers[0];
	struct queue_topic *house;
	int wrong = 0;

	if (queue_topic_create(&house, NULL) != 0)
		return 1;
	for (int i = 0; i < n; i++) {
		observers[i].asks_for.capacity = 100;
		observers[i].asks_for.policy = QUEUE_BLOCK;
		if (queue_topic_subscribe(house, &observers[i].asks_for,
					  &observers[i].subscription) != 0 ||
		    pthread_create(&observers[i].thread, NULL, observe, &observers[i]) != 0)
			return 1;
	}
	for (int i = 0; i < EVENTS; i++)
		if (happen(house, i) < 1) /* the diary wants everything */
			return 1;
	queue_topic_close(house);
	for (int i = 0; i < n; i++) {
		pthread_join(observers[i].thread, NULL);
		printf("%-13s was told of %d events\n", observers[i].name, observers[i].told);
		wrong += observers[i].told != observers[i].expected;
	}
	return queue_topic_destroy(house) != 0 || wrong != 0;
}
