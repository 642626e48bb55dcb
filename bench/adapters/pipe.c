/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pipe that carries words. The kernel keeps them in whole pages and frees a page when its last
 * word is read, so a pipe of N words holds N at first, and later sometimes up to a page less. A
 * shape is refused when the pipe cannot be of just that size: a power of two, not below a page.
 */
#include "../subject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Each end is open twice, for whether a call waits belongs to the opening. */
struct pipe_queue {
	int pop, push;
	int pop_wait, push_wait;
};

static void
close_if_open(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

static void
pipe_shut(struct pipe_queue *q)
{
	close_if_open(q->pop);
	close_if_open(q->push);
	close_if_open(q->pop_wait);
	close_if_open(q->push_wait);
	free(q);
}

/* The same end once more, for calls that wait. */
static int
reopen(int fd, int flags)
{
	char path[32];

	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static int
open_ends(struct pipe_queue *q, int bytes)
{
	int ends[2];

	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	q->pop = ends[0];
	q->push = ends[1];
	/* -EPERM: more than /proc/sys/fs/pipe-max-size; the size is rounded up. */
	if (fcntl(q->push, F_SETPIPE_SZ, bytes) != bytes)
		return -EINVAL;
	q->pop_wait = reopen(q->pop, O_RDONLY);
	q->push_wait = reopen(q->push, O_WRONLY);
	return q->pop_wait < 0 || q->push_wait < 0 ? -ENOSYS : 0;
}

static int
pipe_open(struct pipe_queue **out, uint64_t capacity)
{
	struct pipe_queue *q;
	int rc;

	if (capacity < 1 || capacity > INT_MAX / sizeof(void *))
		return -EINVAL;
	q = malloc(sizeof *q);
	if (!q)
		return -ENOMEM;
	q->pop = q->push = q->pop_wait = q->push_wait = -1;
	rc = open_ends(q, (int)(capacity * sizeof(void *)));
	if (rc) {
		pipe_shut(q);
		return rc;
	}
	*out = q;
	return 0;
}

/* So few bytes are written all or none, and are never torn. */
static inline ptrdiff_t
pipe_push_n(struct pipe_queue *q, void *const *items, ptrdiff_t n)
{
	ssize_t done;

	if (n > (ptrdiff_t)(PIPE_BUF / sizeof *items))
		n = (ptrdiff_t)(PIPE_BUF / sizeof *items);
	done = write(q->push, items, (size_t)n * sizeof *items);
	return done < 0 ? 0 : done / (ssize_t)sizeof *items;
}

static inline ptrdiff_t
pipe_pop_n(struct pipe_queue *q, void **items, ptrdiff_t n)
{
	ssize_t done = read(q->pop, items, (size_t)n * sizeof *items);

	return done < 0 ? 0 : done / (ssize_t)sizeof *items;
}

static int
pipe_push_wait(struct pipe_queue *q, void *item)
{
	ssize_t done;

	do
		done = write(q->push_wait, &item, sizeof item);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : 0;
}

static int
pipe_pop_wait(struct pipe_queue *q, void **item)
{
	ssize_t done;

	do
		done = read(q->pop_wait, item, sizeof *item);
	while (done < 0 && errno == EINTR);
	return done < 0 ? -errno : 0;
}

#define BODY_NAME pipe
#define BODY_LABEL "pipe"
#define BODY_LIBRARY "Linux"
#define BODY_REMARK "holds up to a page of words (512) less; a batch goes in whole or not"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_CLOSES | BENCH_ANY_VALUE)
#define BODY_TYPE struct pipe_queue
#define BODY_OPEN(q, shape) pipe_open(q, (shape)->capacity)
#define BODY_SHUT(q) pipe_shut(q)
#define BODY_PUSH(q, item) (pipe_push_n(q, &(void *){item}, 1) != 1)
#define BODY_POP(q, item) (pipe_pop_n(q, item, 1) != 1)
#define BODY_PUSH_N(q, items, n) pipe_push_n(q, items, n)
#define BODY_POP_N(q, items, n) pipe_pop_n(q, items, n)
#define BODY_PUSH_WAIT(q, item) pipe_push_wait(q, item)
#define BODY_POP_WAIT(q, item) pipe_pop_wait(q, item)
#include "../body.h"
