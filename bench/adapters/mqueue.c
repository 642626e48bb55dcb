/* SPDX-License-Identifier: BSD-2-Clause */
/* LIBS: -lrt */
/*
 * The message queue of POSIX, with messages of one word. A process may have as many messages in a
 * queue as /proc/sys/fs/mqueue/msg_max says, often 10; with CAP_SYS_RESOURCE it is 65536.
 */
#include "../subject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* It is open twice, for whether a call waits belongs to the opening. */
struct mqueue {
	mqd_t now, wait;
};

/* The name is gone before anything is pushed, so nothing is left behind. */
static int
open_both(struct mqueue *q, uint64_t capacity)
{
	static unsigned number;
	struct mq_attr attr;
	char name[48];
	int rc = 0;

	memset(&attr, 0, sizeof attr);
	attr.mq_maxmsg = (long)capacity;
	attr.mq_msgsize = sizeof(void *);
	(void)snprintf(name, sizeof name, "/queue-bench-%ld-%u", (long)getpid(),
		       __atomic_fetch_add(&number, 1, __ATOMIC_RELAXED));
	q->wait = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
	if (q->wait == (mqd_t)-1)
		return errno == EMFILE ? -EINVAL : -errno; /* EMFILE: RLIMIT_MSGQUEUE */
	q->now = mq_open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (q->now == (mqd_t)-1) {
		rc = -errno;
		(void)mq_close(q->wait);
	}
	(void)mq_unlink(name);
	return rc;
}

static int
mqueue_open(struct mqueue **out, uint64_t capacity)
{
	struct mqueue *q;
	int rc;

	if (capacity < 1 || capacity > INT_MAX)
		return -EINVAL;
	q = malloc(sizeof *q);
	if (!q)
		return -ENOMEM;
	rc = open_both(q, capacity);
	if (rc) {
		free(q);
		return rc;
	}
	*out = q;
	return 0;
}

static void
mqueue_shut(struct mqueue *q)
{
	(void)mq_close(q->now);
	(void)mq_close(q->wait);
	free(q);
}

static inline int
send_word(mqd_t to, const void *item)
{
	int rc;

	do
		rc = mq_send(to, (const char *)&item, sizeof item, 0);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static inline int
receive_word(mqd_t from, void **item)
{
	ssize_t got;

	do
		got = mq_receive(from, (char *)item, sizeof *item, NULL);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -1 : 0;
}

#define BODY_NAME mqueue
#define BODY_LABEL "POSIX message queue"
#define BODY_LIBRARY "Linux"
#define BODY_REMARK "fs.mqueue.msg_max limits the capacity"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_EXACT | BENCH_ANY_VALUE)
#define BODY_TYPE struct mqueue
#define BODY_OPEN(q, shape) mqueue_open(q, (shape)->capacity)
#define BODY_SHUT(q) mqueue_shut(q)
#define BODY_PUSH(q, item) send_word((q)->now, item)
#define BODY_POP(q, item) receive_word((q)->now, item)
#define BODY_PUSH_WAIT(q, item) send_word((q)->wait, item)
#define BODY_POP_WAIT(q, item) receive_word((q)->wait, item)
#include "../body.h"
