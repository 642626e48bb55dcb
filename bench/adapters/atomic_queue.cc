/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libatomic-queue-dev */
/* HEADER: atomic_queue/atomic_queue.h */
/* CFLAGS: -DNDEBUG */
/*
 * atomic_queue, in both the ways it can be used. A slot is not tied to one number: two producers
 * (consumers) whose numbers are a whole round apart may meet at it and change places, which happens
 * when one is preempted there. So items come out of order now and then, and no order is promised.
 */
#include <atomic_queue/atomic_queue.h>

#include "../subject.h"

#include <cerrno>
#include <new>

namespace
{

using ring = atomic_queue::AtomicQueueB<void *>;

/*
 * The optimist push takes a number and waits for its slot; the pop waits for its item, and nothing
 * can call it off. They are used like that, as in the library's own benchmark, while there are
 * others to wait for; where there are none, the queue is asked first whether it is full (empty).
 * Whoever leaves when nobody pushes any more leaves a mark behind, which ends the waiting of a pop:
 * so every run ends.
 */
struct optimist {
	ring items;
	std::atomic<unsigned> producers, consumers;
};

char mark;
thread_local optimist *pushing, *popping; /* where this thread counts as a producer, a consumer */

/* Capacities that it would round up are refused. */
template <typename Queue, typename... Rest>
int
make(Queue **q, uint64_t capacity, Rest... rest)
{
	if (capacity < 64 || capacity > 1u << 30 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	try {
		*q = new Queue{ring((unsigned)capacity), rest...};
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	return 0;
}

inline void
count(optimist *&mine, optimist *q, std::atomic<unsigned> optimist::*members)
{
	if (mine == q)
		return;
	if (mine)
		(mine->*members)--;
	mine = q;
	if (q)
		(q->*members)++;
}

inline int
push(optimist *q, void *item)
{
	count(pushing, q, &optimist::producers);
	if (q->consumers == (popping == q) && q->items.was_full())
		return -EAGAIN;
	q->items.push(item);
	return 0;
}

inline int
pop(optimist *q, void **item)
{
	count(popping, q, &optimist::consumers);
	for (;;) {
		if (q->producers == (pushing == q) && q->items.was_empty())
			return -EAGAIN;
		*item = q->items.pop();
		if (*item != &mark)
			return 0;
		if (q->producers == 0) {
			(void)q->items.try_push(&mark); /* for the next that waits */
			return -EAGAIN;
		}
	}
}

void
detach(optimist *q)
{
	if (pushing == q)
		count(pushing, nullptr, &optimist::producers);
	if (popping == q)
		count(popping, nullptr, &optimist::consumers);
	if (q->producers == 0)
		(void)q->items.try_push(&mark);
}

} // namespace

#define BODY_NAME atomic_queue_try
#define BODY_LABEL "atomic_queue::AtomicQueueB, try"
#define BODY_LIBRARY "atomic_queue"
#define BODY_REMARK "blocks when a thread stops inside; reorders when one is preempted inside"
#define BODY_TRAITS (BENCH_BOUNDED | BENCH_NO_SYSCALL)
#define BODY_TYPE ring
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->try_push(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->try_pop(*(item)) ? 0 : -EAGAIN)
#include "../body.h"

#define BODY_NAME atomic_queue_optimist
#define BODY_LABEL "atomic_queue::AtomicQueueB, optimist"
#define BODY_LIBRARY "atomic_queue"
#define BODY_REMARK                                                                                \
	"calls spin until they can and never yield; reorders when one is preempted inside"
#define BODY_TRAITS BENCH_NO_SYSCALL
#define BODY_TYPE optimist
#define BODY_OPEN(q, shape) make(q, (shape)->capacity, 0u, 0u)
#define BODY_SHUT(q) delete q
#define BODY_DETACH(q) detach(q)
#define BODY_PUSH(q, item) push(q, item)
#define BODY_POP(q, item) pop(q, item)
#include "../body.h"
