/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous processing: who registers is answered as soon as the account is there. The mail,
 * which takes a millisecond, is sent behind a queue. Nobody is refused: when the queue is full,
 * whoever registers sends the mail itself (QUEUE_CALLER_RUNS), and so fewer register meanwhile.
 */
#include <conveyor.h>

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define USERS 150

struct user {
	int number;
	_Atomic int mails;
};

static struct user users[USERS];

/* Does what nobody waits for. It cannot be told to anybody any more if it fails; see pool.c. */
static int
send_mail(void *item, void *context)
{
	struct user *user = item;

	(void)context;
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	user->mails++;
	return 0;
}

static void
send_mail_here(void *item, void *context)
{
	(void)send_mail(item, context);
}

static void
lose(void *item, enum queue_reason reason, void *context)
{
	const struct user *user = item;

	(void)context;
	fprintf(stderr, "the mail to user %d was %s\n", user->number, queue_reason_name(reason));
}

/* What has to be done before the answer, and nothing else. Returns how long it took. */
static uint64_t
register_user(struct queue_bounded *mails, int number)
{
	uint64_t start = queue_now();

	users[number].number = number;
	if (queue_push(mails, &users[number]) < 0)
		lose(&users[number], QUEUE_DISCARDED, NULL);
	return queue_now() - start;
}

int
main(void)
{
	struct queue_options options = {.capacity = 100,
					.policy = QUEUE_CALLER_RUNS,
					.run = send_mail_here,
					.on_drop = lose};
	struct queue_pool_options workers = {.handler = send_mail, .workers = 4, .name = "mail"};
	uint64_t start = queue_now(), answered = 0;
	struct queue_stats stats;
	struct queue_pool *pool;
	int sent = 0;

	if (queue_create(&workers.queue, &options) || queue_pool_create(&pool, &workers))
		return 1;
	for (int i = 0; i < USERS; i++)
		answered += register_user(workers.queue, i);
	queue_pool_destroy(pool); /* what has been promised is kept: all mails are sent */
	queue_stats(workers.queue, &stats);
	queue_destroy(workers.queue);

	for (int i = 0; i < USERS; i++)
		sent += users[i].mails == 1;
	printf("%d users, answered after %d us on average; %d mails, the last one after %d ms\n",
	       USERS, (int)(answered / USERS / QUEUE_MICROSECOND), sent,
	       (int)((queue_now() - start) / QUEUE_MILLISECOND));
	printf("%d mails were sent by those who registered\n", (int)stats.ran);
	return sent == USERS ? 0 : 1;
}
