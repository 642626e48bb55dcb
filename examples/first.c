/* SPDX-License-Identifier: BSD-2-Clause */
/* The first program: one thread makes numbers, another adds them up. */
#include <conveyor/queue.h>

#include <pthread.h>
#include <stdio.h>

static void *
produce(void *argument)
{
	struct queue_bounded *queue = argument;

	for (uintptr_t number = 1; number <= 100000; number++)
		queue_push(queue, (void *)number); /* waits while the queue is full */
	queue_close(queue);			   /* what is inside can still be popped */
	return NULL;
}

int
main(void)
{
	struct queue_options options = {.capacity = 1000, .policy = QUEUE_BLOCK};
	struct queue_bounded *queue;
	pthread_t producer;
	uintptr_t sum = 0;
	void *item;

	if (queue_create(&queue, &options) || pthread_create(&producer, NULL, produce, queue))
		return 1;
	while (queue_pop(queue, &item) == 0) /* waits while the queue is empty */
		sum += (uintptr_t)item;
	printf("the sum is %ju\n", (uintmax_t)sum);
	pthread_join(producer, NULL);
	return queue_destroy(queue) || sum != 5000050000;
}
