/* SPDX-License-Identifier: BSD-2-Clause */
/* This library's own queues. */
#include <conveyor/queue.h>
#include <conveyor/ring.h>
#include <conveyor/version.h>

#include "../subject.h"

#include <string.h>

#define LIBRARY "conveyor " QUEUE_VERSION
#define RING                                                                                       \
	(BENCH_OWN | BENCH_FIFO | BENCH_IN_ORDER | BENCH_LOCK_FREE | BENCH_BOUNDED | BENCH_EXACT | \
	 BENCH_CLOSES | BENCH_ANY_VALUE | BENCH_NO_SYSCALL)
#define QUEUE (RING & ~(unsigned)BENCH_NO_SYSCALL) /* wakes whoever sleeps */

static int
make_queue(struct queue_bounded **queue, const struct bench_shape *shape, unsigned flags)
{
	struct queue_options options;

	memset(&options, 0, sizeof options);
	options.capacity = shape->capacity;
	options.flags = flags;
	options.policy = QUEUE_BLOCK;
	return queue_create(queue, &options);
}

#define BODY_NAME ring
#define BODY_LABEL "queue_ring"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS RING
#define BODY_TYPE struct queue_ring
#define BODY_OPEN(q, shape) queue_ring_create(q, (shape)->capacity, 0, NULL)
#define BODY_SHUT(q) queue_ring_destroy(q)
#define BODY_PUSH(q, item) queue_ring_try_push(q, item)
#define BODY_POP(q, item) queue_ring_try_pop(q, item)
#define BODY_PUSH_N(q, items, n) queue_ring_push_n(q, items, n)
#define BODY_POP_N(q, items, n) queue_ring_pop_n(q, items, n)
#include "../body.h"

#define BODY_NAME ring_spsc
#define BODY_LABEL "queue_ring, both roles single"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS RING
#define BODY_PRODUCERS_MAX 1
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE struct queue_ring
#define BODY_OPEN(q, shape)                                                                        \
	queue_ring_create(q, (shape)->capacity, QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, NULL)
#define BODY_SHUT(q) queue_ring_destroy(q)
#define BODY_PUSH(q, item) queue_ring_try_push(q, item)
#define BODY_POP(q, item) queue_ring_try_pop(q, item)
#define BODY_PUSH_N(q, items, n) queue_ring_push_n(q, items, n)
#define BODY_POP_N(q, items, n) queue_ring_pop_n(q, items, n)
#include "../body.h"

#define BODY_NAME ring_sp
#define BODY_LABEL "queue_ring, single producer"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS RING
#define BODY_PRODUCERS_MAX 1
#define BODY_TYPE struct queue_ring
#define BODY_OPEN(q, shape) queue_ring_create(q, (shape)->capacity, QUEUE_SINGLE_PRODUCER, NULL)
#define BODY_SHUT(q) queue_ring_destroy(q)
#define BODY_PUSH(q, item) queue_ring_try_push(q, item)
#define BODY_POP(q, item) queue_ring_try_pop(q, item)
#define BODY_PUSH_N(q, items, n) queue_ring_push_n(q, items, n)
#define BODY_POP_N(q, items, n) queue_ring_pop_n(q, items, n)
#include "../body.h"

#define BODY_NAME ring_sc
#define BODY_LABEL "queue_ring, single consumer"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS RING
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE struct queue_ring
#define BODY_OPEN(q, shape) queue_ring_create(q, (shape)->capacity, QUEUE_SINGLE_CONSUMER, NULL)
#define BODY_SHUT(q) queue_ring_destroy(q)
#define BODY_PUSH(q, item) queue_ring_try_push(q, item)
#define BODY_POP(q, item) queue_ring_try_pop(q, item)
#define BODY_PUSH_N(q, items, n) queue_ring_push_n(q, items, n)
#define BODY_POP_N(q, items, n) queue_ring_pop_n(q, items, n)
#include "../body.h"

#define BODY_NAME bounded
#define BODY_LABEL "queue_bounded"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS QUEUE
#define BODY_REMARK "with waiting, statistics and sojourn times"
#define BODY_TYPE struct queue_bounded
#define BODY_OPEN(q, shape) make_queue(q, shape, 0)
#define BODY_SHUT(q) (void)queue_destroy(q)
#define BODY_PUSH(q, item) queue_try_push(q, item)
#define BODY_POP(q, item) queue_try_pop(q, item)
#define BODY_PUSH_WAIT(q, item) queue_push(q, item)
#define BODY_POP_WAIT(q, item) queue_pop(q, item)
#include "../body.h"

#define BODY_NAME bounded_spsc
#define BODY_LABEL "queue_bounded, both roles single"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS QUEUE
#define BODY_REMARK "with waiting, statistics and sojourn times"
#define BODY_PRODUCERS_MAX 1
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE struct queue_bounded
#define BODY_OPEN(q, shape) make_queue(q, shape, QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)
#define BODY_SHUT(q) (void)queue_destroy(q)
#define BODY_PUSH(q, item) queue_try_push(q, item)
#define BODY_POP(q, item) queue_try_pop(q, item)
#define BODY_PUSH_WAIT(q, item) queue_push(q, item)
#define BODY_POP_WAIT(q, item) queue_pop(q, item)
#include "../body.h"
