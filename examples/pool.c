/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool of workers delivers letters. A delivery that fails is tried three times in all; a letter
 * that cannot be delivered goes to a dead-letter queue, where somebody can look at it later.
 */
#include <conveyor.h>

#include <stdio.h>

struct letter {
	int user;
	int failures; /* how many deliveries fail before one succeeds */
};

QUEUE_TYPED(letters, struct letter *)

/* Runs on a worker. */
static int
deliver(void *item, void *context)
{
	struct letter *letter = item;

	(void)context;
	return letter->failures-- > 0 ? -1 : 0;
}

/* Where letters go that neither a worker nor the dead-letter queue takes. */
static void
lose(void *item, enum queue_reason reason, void *context)
{
	const struct letter *letter = item;

	(void)context;
	fprintf(stderr, "the letter to user %d: %s\n", letter->user, queue_reason_name(reason));
}

int
main(void)
{
	/* Some letters fail once or twice, those to users 7 and 11 always. */
	struct letter all[12] = {{1, 1}, {2, 0}, {3, 0}, {4, 2},  {5, 0},  {6, 0},
				 {7, 9}, {8, 0}, {9, 0}, {10, 1}, {11, 9}, {12, 0}};
	struct queue_options options = {.capacity = 8, .policy = QUEUE_BLOCK, .on_drop = lose};
	struct queue_bounded *outbox, *undelivered;
	struct queue_pool_stats stats;
	struct letter *letter;
	struct queue_pool *pool;

	if (queue_create(&outbox, &options) != 0)
		return 1;
	options.policy = QUEUE_ABORT; /* a dead-letter queue must not make workers wait */
	if (queue_create(&undelivered, &options) != 0)
		return 1;
	struct queue_pool_options pool_options = {
		.queue = outbox,
		.handler = deliver,
		.workers = 4,
		.attempts = 3,
		.dead_letters = undelivered,
		.name = "postman",
	};
	if (queue_pool_create(&pool, &pool_options) != 0)
		return 1;

	for (int i = 0; i < 12; i++)
		if (letters_push(outbox, &all[i]) != 0)
			return 1;
	/* Closes the outbox and waits until everything in it has been handled. */
	if (queue_pool_stop(pool, QUEUE_POOL_DRAIN, queue_after_ms(10000)) != 0)
		return 1;
	queue_pool_stats(pool, &stats);
	printf("%d delivered, %d further attempts made, %d undeliverable:\n", (int)stats.handled,
	       (int)stats.retried, (int)stats.dead_lettered);
	while (letters_try_pop(undelivered, &letter) == 0)
		printf("  user %d\n", letter->user);
	queue_pool_destroy(pool);
	queue_destroy(outbox);
	queue_destroy(undelivered);
	return stats.handled == 10 && stats.dead_lettered == 2 ? 0 : 1;
}
