/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libck-dev */
/* HEADER: ck_ring.h */
/* Concurrency Kit's ring. It has no batches. */
#include <ck_ring.h>

#include "../subject.h"

#include <errno.h>
#include <stdlib.h>

#define LIBRARY "Concurrency Kit " CK_VERSION
#define HOLDS "capacity N holds N - 1"
#define RING (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_ANY_VALUE | BENCH_NO_SYSCALL)

struct ck_queue {
	struct ck_ring ring;
	struct ck_ring_buffer slots[] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

/* Its manual page asks for a power of two, and for 4 at least. */
static int
ck_open(struct ck_queue **out, uint64_t capacity)
{
	struct ck_queue *q;

	if (capacity < 4 || capacity > 1u << 31 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	if (posix_memalign((void **)&q, 64, sizeof *q + capacity * sizeof *q->slots))
		return -ENOMEM;
	ck_ring_init(&q->ring, (unsigned)capacity);
	*out = q;
	return 0;
}

#define BODY_NAME ck_spsc
#define BODY_LABEL "ck_ring, SPSC"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK HOLDS
#define BODY_TRAITS (RING | BENCH_LOCK_FREE)
#define BODY_PRODUCERS_MAX 1
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE struct ck_queue
#define BODY_OPEN(q, shape) ck_open(q, (shape)->capacity)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) (!ck_ring_enqueue_spsc(&(q)->ring, (q)->slots, item))
#define BODY_POP(q, item) (!ck_ring_dequeue_spsc(&(q)->ring, (q)->slots, item))
#include "../body.h"

#define BODY_NAME ck_mpmc
#define BODY_LABEL "ck_ring, MPMC"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK HOLDS "; a push waits for the pushes that began before it"
#define BODY_TRAITS RING
#define BODY_TYPE struct ck_queue
#define BODY_OPEN(q, shape) ck_open(q, (shape)->capacity)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) (!ck_ring_enqueue_mpmc(&(q)->ring, (q)->slots, item))
#define BODY_POP(q, item) (!ck_ring_dequeue_mpmc(&(q)->ring, (q)->slots, item))
#include "../body.h"
