/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peak shaving: requests come in bursts of 120, the service takes one every 0.25 ms. A queue with
 * room for a burst lets it work at its own even pace, and nobody is refused; without one it would
 * have to be built for the peak. Between bursts it must catch up: 120 every 50 ms are 48 % of what
 * it can do.
 */
#include <conveyor/queue.h>

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define BURSTS 4
#define BURST 120
#define SLOT (10 * QUEUE_MILLISECOND) /* a line of the picture */
#define SLOTS 500
#define SERVICE (250 * QUEUE_MICROSECOND)

static int came[SLOTS], done[SLOTS];
static uint64_t start;

static int *
slot(int *slots)
{
	uint64_t n = (queue_now() - start) / SLOT;

	return &slots[n < SLOTS ? n : SLOTS - 1];
}

static void
wait_until(uint64_t time)
{
	struct timespec when = {.tv_sec = (time_t)(time / QUEUE_SECOND),
				.tv_nsec = (long)(time % QUEUE_SECOND)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

static void *
serve(void *queue)
{
	void *request;

	while (queue_pop(queue, &request) == 0) {
		wait_until(queue_now() + SERVICE);
		++*slot(done);
	}
	return NULL;
}

int
main(void)
{
	static const char came_signs[] = "##############################";
	static const char done_signs[] = "==============================";
	struct queue_options options = {.capacity = BURST + BURST / 2};
	int refused = 0, served = 0, peak = 0;
	struct queue_bounded *queue;
	pthread_t service;

	start = queue_now();
	if (queue_create(&queue, &options) || pthread_create(&service, NULL, serve, queue))
		return 1;
	for (uint64_t burst = 0; burst < BURSTS; burst++) {
		wait_until(start + burst * 5 * SLOT);
		for (int i = 0; i < BURST; i++, ++*slot(came))
			refused += queue_push(queue, NULL) != 0;
	}
	queue_close(queue);
	pthread_join(service, NULL);

	printf("each sign is four requests\n");
	for (int i = 0; i < SLOTS; i++) {
		served += done[i];
		peak = done[i] > peak ? done[i] : peak;
		if (came[i] || done[i])
			printf("%4d ms %-32.*s%.*s\n", i * 10, came[i] / 4, came_signs,
			       (done[i] + 3) / 4, done_signs);
	}
	printf("%d came, %d at once; %d refused, %d served, at most %d in 10 ms\n", BURSTS * BURST,
	       BURST, refused, served, peak);
	/* However it came, no 10 ms have more than 10 ms / 0.25 ms, and one that was begun before. */
	return queue_destroy(queue) || served + refused != BURSTS * BURST ||
	       peak > (int)(SLOT / SERVICE) + 1;
}
