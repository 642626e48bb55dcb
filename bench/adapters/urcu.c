/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: liburcu-dev */
/* HEADER: urcu/wfcqueue.h */
/* CFLAGS: -D_LGPL_SOURCE */
/*
 * The queue of liburcu: a linked list with a wait-free push. Pops take turns under its mutex, as
 * its header asks for when there are several consumers. With _LGPL_SOURCE that header has the
 * functions inline, and no library is linked.
 *
 * It has neither a bound nor nodes of its own: its users put a node into each message. So here each
 * producer has nodes, its part of the capacity, and uses one again when its item was popped; while
 * all are in the queue, it is full for that producer.
 */
#include <urcu/wfcqueue.h>

#include "../subject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct urcu_node {
	struct cds_wfcq_node node;
	void *item;
	uint32_t busy;
} __attribute__((aligned(64)));

struct urcu_part {
	struct urcu_part *next;
	uint64_t at;
	struct urcu_node nodes[];
};

struct urcu_queue {
	struct cds_wfcq_tail tail __attribute__((aligned(128)));
	struct cds_wfcq_head head __attribute__((aligned(128)));
	uint64_t number __attribute__((aligned(128))); /* unlike an address, of one queue ever */
	uint64_t nodes_each;
	struct urcu_part *parts;
};

/* The calling thread's part, and which queue it belongs to. */
static _Thread_local struct urcu_part *my_part;
static _Thread_local uint64_t my_queue;

static int
urcu_open(struct urcu_queue **out, const struct bench_shape *shape)
{
	static uint64_t number;
	struct urcu_queue *q;

	if (shape->capacity < 1 || shape->capacity > UINT32_MAX)
		return -EINVAL;
	if (posix_memalign((void **)&q, 128, sizeof *q))
		return -ENOMEM;
	cds_wfcq_init(&q->head, &q->tail);
	q->number = __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED);
	q->nodes_each = shape->capacity / (shape->producers > 0 ? shape->producers : 1);
	if (q->nodes_each == 0)
		q->nodes_each = 1;
	q->parts = NULL;
	*out = q;
	return 0;
}

static void
urcu_shut(struct urcu_queue *q)
{
	struct urcu_part *part = q->parts, *next;

	for (; part; part = next) {
		next = part->next;
		free(part);
	}
	cds_wfcq_destroy(&q->head, &q->tail);
	free(q);
}

/* The thread's first push to this queue. */
static __attribute__((noinline)) int
urcu_join(struct urcu_queue *q)
{
	struct urcu_part *part;
	size_t size = sizeof *part + q->nodes_each * sizeof *part->nodes;

	if (posix_memalign((void **)&part, 64, size))
		return -ENOMEM;
	memset(part, 0, size);
	part->next = __atomic_load_n(&q->parts, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&q->parts, &part->next, part, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		continue;
	my_part = part;
	my_queue = q->number;
	return 0;
}

/* A node for the item, NULL while there is none. */
static inline struct cds_wfcq_node *
urcu_node_for(struct urcu_queue *q, void *item)
{
	struct urcu_node *node;

	if (my_queue != q->number && urcu_join(q))
		return NULL;
	node = &my_part->nodes[my_part->at];
	if (__atomic_load_n(&node->busy, __ATOMIC_ACQUIRE))
		return NULL;
	if (++my_part->at == q->nodes_each)
		my_part->at = 0;
	node->item = item;
	node->busy = 1;
	cds_wfcq_node_init(&node->node);
	return &node->node;
}

static inline int
urcu_push(struct urcu_queue *q, void *item)
{
	struct cds_wfcq_node *node = urcu_node_for(q, item);

	if (!node)
		return -EAGAIN;
	(void)cds_wfcq_enqueue(&q->head, &q->tail, node);
	return 0;
}

/* A batch becomes a queue of its own, which is then appended as a whole. */
static inline ptrdiff_t
urcu_push_n(struct urcu_queue *q, void *const *items, ptrdiff_t n)
{
	struct __cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	ptrdiff_t i;

	__cds_wfcq_init(&head, &tail);
	for (i = 0; i < n; i++) {
		struct cds_wfcq_node *node = urcu_node_for(q, items[i]);

		if (!node)
			break;
		(void)cds_wfcq_enqueue(&head, &tail, node);
	}
	(void)__cds_wfcq_splice_nonblocking(&q->head, &q->tail, &head, &tail);
	return i;
}

/*
 * The blocking variant would sleep for 10 ms, with the mutex locked, when it meets a push that is
 * half done; this one takes that for empty.
 */
static inline ptrdiff_t
urcu_pop_n(struct urcu_queue *q, void **items, ptrdiff_t n)
{
	ptrdiff_t i;

	if (cds_wfcq_empty(&q->head, &q->tail))
		return 0;
	cds_wfcq_dequeue_lock(&q->head, &q->tail);
	for (i = 0; i < n; i++) {
		struct cds_wfcq_node *first = __cds_wfcq_dequeue_nonblocking(&q->head, &q->tail);
		struct urcu_node *node = caa_container_of(first, struct urcu_node, node);

		if (!first || first == CDS_WFCQ_WOULDBLOCK)
			break;
		items[i] = node->item;
		__atomic_store_n(&node->busy, 0, __ATOMIC_RELEASE);
	}
	cds_wfcq_dequeue_unlock(&q->head, &q->tail);
	return i;
}

#define BODY_NAME urcu_wfcq
#define BODY_LABEL "wfcqueue"
#define BODY_LIBRARY "liburcu"
#define BODY_REMARK "unbounded: each producer has nodes for its part of the capacity; pops lock"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_ANY_VALUE)
#define BODY_TYPE struct urcu_queue
#define BODY_OPEN(q, shape) urcu_open(q, shape)
#define BODY_SHUT(q) urcu_shut(q)
#define BODY_PUSH(q, item) urcu_push(q, item)
#define BODY_POP(q, item) (urcu_pop_n(q, item, 1) != 1)
#define BODY_PUSH_N(q, items, n) urcu_push_n(q, items, n)
#define BODY_POP_N(q, items, n) urcu_pop_n(q, items, n)
#include "../body.h"
