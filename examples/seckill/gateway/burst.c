/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A burst: purchases that come from inside, by new users each time, through the same door as all
 * others. It shows what the shop does under a load that no browser can make.
 */
#include "service.h"

#include <errno.h>
#include <time.h>

/* So often it looks how many are due. */
#define STEP QUEUE_MILLISECOND

/* It is counted by the tally, and nobody else waits for it. */
static void
tell(void *whom, enum outcome outcome, uint64_t order)
{
	(void)whom;
	(void)outcome;
	(void)order;
}

static void
offer(struct service *service, uint64_t user)
{
	uint64_t dice = mix(user + service->options->seed);
	const struct purchase purchase = {
		.due = queue_now(),
		.user = user,
		.item = (uint32_t)(1 + (dice >> 8) % service->options->items),
		.quantity = dice % 10 == 0 ? 2 : 1,
	};

	(void)calls_offer(service, &purchase, &service->by_burst, tell, NULL);
}

static uint64_t
due_at(const struct burst *burst, uint64_t elapsed)
{
	if (elapsed >= burst->period)
		return burst->users;
	return (uint64_t)((double)elapsed / (double)burst->period * (double)burst->users);
}

static void *
run(void *argument)
{
	struct service *service = argument;
	struct burst *burst = &service->burst;
	uint64_t start = queue_now(), n = 0;

	while (n < burst->users && !atomic_load(&service->closing)) {
		uint64_t due = due_at(burst, queue_now() - start);
		struct timespec step = {.tv_sec = 0, .tv_nsec = (long)STEP};

		while (n < due && !atomic_load(&service->closing))
			offer(service, burst->next + n++);
		if (n < burst->users)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL);
	}
	pthread_mutex_lock(&burst->lock);
	burst->next += n;
	burst->running = false;
	pthread_mutex_unlock(&burst->lock);
	return NULL;
}

/* With the lock held. */
static int
start(struct service *service, uint64_t users, uint64_t period)
{
	struct burst *burst = &service->burst;

	if (burst->running || atomic_load(&service->closing))
		return -EBUSY;
	if (burst->joinable)
		(void)pthread_join(burst->thread, NULL);
	burst->users = users;
	burst->period = period;
	burst->joinable = pthread_create(&burst->thread, NULL, run, service) == 0;
	burst->running = burst->joinable;
	if (!burst->joinable)
		return -EAGAIN;
	(void)pthread_setname_np(burst->thread, "burst");
	return 0;
}

int
burst_start(struct service *service, uint64_t users, uint64_t period)
{
	int rc;

	pthread_mutex_lock(&service->burst.lock);
	rc = start(service, users, period);
	pthread_mutex_unlock(&service->burst.lock);
	return rc;
}

void
burst_end(struct service *service)
{
	struct burst *burst = &service->burst;
	bool joinable;

	pthread_mutex_lock(&burst->lock);
	joinable = burst->joinable;
	burst->joinable = false;
	pthread_mutex_unlock(&burst->lock);
	/* None starts after this: the service is closing. */
	if (joinable)
		(void)pthread_join(burst->thread, NULL);
}
