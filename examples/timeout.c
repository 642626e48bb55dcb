/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What to do after a timeout: it says that nothing has happened, or that the worker undoes it, so
 * try again. The answer can also be lost on the way to the user, who then asks for what was done
 * already. So an order has an id from its user: the same id is the same order, with one answer.
 */
#include <conveyor.h>

#include <stdio.h>
#include <time.h>

struct request {
	struct queue_call call; /* first, so that one pointer is both */
	int id, attempt, order; /* order: the reply */
};

/* An attempt is a request of its own: one that timed out may still be inside. */
static struct request requests[16];
static int requests_n;

/* The one worker's; in a database, a table with a unique key. */
static int orders[8], orders_n, stock = 5;

static int
work(void *item, void *context)
{
	struct request *request = item;
	int *order = &orders[request->id], had = *order;

	(void)context;
	if (queue_call_claim(&request->call) == 0) {
		stock -= !had;
		*order = request->order = had ? had : ++orders_n;
		/* For id 3 a step gets stuck once, until the caller has given up. */
		while (request->id == 3 && request->attempt == 1 &&
		       queue_call_state(&request->call) == QUEUE_CALL_CLAIMED)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		if (queue_call_reply(&request->call) == -ECANCELED && !had) {
			stock++; /* compensation: the user was told that it failed */
			*order = 0;
		}
	}
	queue_call_release(&request->call);
	return 0;
}

static void
refuse(void *item, enum queue_reason reason, void *context) /* when no worker gets it */
{
	(void)reason, (void)context;
	queue_call_refuse(item);
	queue_call_release(item);
}

static int
buy(struct queue_bounded *queue, int id) /* the order, or 0: not sold, whatever happens */
{
	struct request *request = NULL;
	int rc = -1;

	for (int attempt = 1; rc != 0 && attempt <= 3; attempt++) {
		request = &requests[requests_n++];
		*request = (struct request){.id = id, .attempt = attempt};
		(void)queue_call_init(&request->call, NULL);
		if (queue_push(queue, request) < 0)
			refuse(request, QUEUE_DISCARDED, NULL);
		/* The last one is patient, so that this program's result is not left to chance. */
		rc = queue_call_wait(&request->call, queue_after_ms(attempt < 3 ? 20 : 60000));
		printf("id %d, attempt %d: %s\n", id, attempt, rc == 0 ? "sold" : "504");
		queue_call_release(&request->call);
	}
	return rc == 0 ? request->order : 0;
}

int
main(void)
{
	struct queue_options options = {.capacity = 16, .on_drop = refuse};
	struct queue_pool_options workers = {.handler = work};
	struct queue_pool *pool;
	int first, other, again;

	if (queue_create(&workers.queue, &options) || queue_pool_create(&pool, &workers))
		return 1;
	first = buy(workers.queue, 1);
	other = buy(workers.queue, 3);
	again = buy(workers.queue, 1); /* the user never saw the answer */
	queue_pool_destroy(pool);
	queue_destroy(workers.queue);
	printf("%d left of 5\n", stock);
	return first && other && again == first && stock == 3 ? 0 : 1;
}
