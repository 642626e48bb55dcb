/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event loop that serves a socket and a queue. Numbers come in by the socket; workers square
 * them, each in its own time; the answers come back to the loop through a queue that has a
 * descriptor, and leave by the socket. The loop itself never waits for anything but epoll.
 */
#include <conveyor.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUMBERS 2000
#define UNANSWERED 32 /* the most that the client has open */

struct request {
	long number;
	long square; /* 0: refused */
};

QUEUE_TYPED(requests, struct request *)

static struct queue_bounded *jobs, *answers;

static int
square(void *item, void *context) /* on a worker */
{
	struct request *request = item;

	(void)context;
	request->square = request->number * request->number;
	return requests_push(answers, request);
}

static void
drop(void *item, enum queue_reason reason, void *context) /* a pool wants to know where to put it */
{
	(void)reason, (void)context;
	free(item);
}

static void *
ask(void *argument) /* the client, at the other end of the socket */
{
	int client = *(int *)argument;
	long sum = 0, asked = 0, answered = 0;
	struct request request = {0, 0};

	while (answered < NUMBERS) {
		while (asked < NUMBERS && asked - answered < UNANSWERED) {
			request.number = ++asked;
			if (send(client, &request, sizeof request, 0) < 0)
				return NULL;
		}
		if (recv(client, &request, sizeof request, 0) <= 0)
			return NULL;
		sum += request.square;
		answered++;
	}
	printf("%ld answers, their sum is %ld\n", answered, sum);
	shutdown(client, SHUT_WR);
	/* 1 + 4 + 9 + ... */
	return sum == NUMBERS * (NUMBERS + 1L) * (2 * NUMBERS + 1L) / 6 ? argument : NULL;
}

/* One request, into the queue of the workers. Returns how many there were: 0 at the end. */
static int
serve_socket(int server)
{
	struct request *request = malloc(sizeof *request);

	if (!request || recv(server, request, sizeof *request, 0) != sizeof *request) {
		free(request);
		return 0;
	}
	/* This queue refuses when it is full, so that the loop goes on. */
	if (requests_push(jobs, request) != 0) {
		request->square = 0;
		(void)!send(server, request, sizeof *request, 0);
		free(request);
	}
	return 1;
}

/* All answers that are there. Returns how many; -EPIPE: there will be no more. */
static int
serve_queue(int server)
{
	struct request *done[16];
	int n = requests_try_pop_n(answers, done, 16);

	for (int i = 0; i < n; i++) {
		(void)!send(server, done[i], sizeof *done[i], 0);
		free(done[i]);
	}
	return n;
}

static void
wait_for(int loop, int descriptor)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};

	if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) != 0)
		abort();
}

int
main(void)
{
	struct queue_options job_options = {.capacity = UNANSWERED, .on_drop = drop};
	struct queue_options answer_options = {.capacity = UNANSWERED, .policy = QUEUE_BLOCK};
	struct queue_pool_options workers = {.handler = square, .workers = 2};
	struct queue_pool *pool;
	int sockets[2], loop = epoll_create1(EPOLL_CLOEXEC), server, wakes = 0, n = 0;
	pthread_t client;
	void *ok = NULL;

	if (queue_create(&jobs, &job_options) || queue_create(&answers, &answer_options))
		return 1;
	workers.queue = jobs;
	if (queue_pool_create(&pool, &workers) || loop < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) ||
	    pthread_create(&client, NULL, ask, &sockets[1]))
		return 1;
	server = sockets[0];
	wait_for(loop, server);
	wait_for(loop, queue_fd(answers)); /* readable while there are answers, or it is closed */

	while (n != -EPIPE) {
		struct epoll_event event;

		if (epoll_wait(loop, &event, 1, -1) < 1)
			continue;
		wakes++;
		if (event.data.fd != server) {
			n = serve_queue(server);
		} else if (serve_socket(server) == 0) {
			/* The client has got its last answer: so the workers have nothing to do. */
			epoll_ctl(loop, EPOLL_CTL_DEL, server, NULL);
			queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER);
			queue_close(answers);
		}
	}
	printf("the loop was woken %d times\n", wakes);
	pthread_join(client, &ok);
	queue_pool_destroy(pool);
	close(loop);
	close(sockets[0]);
	close(sockets[1]);
	return queue_destroy(jobs) || queue_destroy(answers) || !ok;
}
