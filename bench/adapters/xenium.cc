/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libxenium-dev */
/* HEADER: xenium/ramalhete_queue.hpp */
/* CFLAGS: -DNDEBUG */
/* xenium's ring after Vyukov, and its list of arrays after Ramalhete and Correia. */
#include <array> /* which xenium leaves out */

#include <xenium/ramalhete_queue.hpp>
#include <xenium/reclamation/generic_epoch_based.hpp>
#include <xenium/vyukov_bounded_queue.hpp>

#include "credits.h"

#include <new>

#define RING (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_ANY_VALUE | BENCH_NO_SYSCALL)

namespace
{

using ring = xenium::vyukov_bounded_queue<void *>;

int
make(ring **q, uint64_t capacity)
{
	if (capacity < 2 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	try {
		*q = new ring(capacity);
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	return 0;
}

/* Epochs were the fastest of xenium's ways to reclaim nodes. A batch enters one only once. */
using reclaimer = xenium::reclamation::epoch_based<>;

struct list {
	xenium::ramalhete_queue<char *, xenium::policy::reclaimer<reclaimer>> items;
	struct credits credits;
};

int
make(list **q, const struct bench_shape *shape)
{
	struct credits credits;
	int rc = credits_open(&credits, shape);

	if (rc)
		return rc;
	try {
		*q = new list;
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	(*q)->credits = credits;
	return 0;
}

inline int
push(list *q, void *item)
{
	if (credits_take(&q->credits, 1) == 0)
		return -EAGAIN;
	q->items.push((char *)item);
	return 0;
}

inline int
pop(list *q, void **item)
{
	char *popped = nullptr;
	bool found = q->items.try_pop(popped);

	credits_give(&q->credits, found);
	*item = popped;
	return found ? 0 : -EAGAIN;
}

inline ptrdiff_t
push_n(list *q, void *const *items, ptrdiff_t n)
{
	reclaimer::region_guard once;

	n = credits_take(&q->credits, n);
	for (ptrdiff_t i = 0; i < n; i++)
		q->items.push((char *)items[i]);
	return n;
}

inline ptrdiff_t
pop_n(list *q, void **items, ptrdiff_t n)
{
	reclaimer::region_guard once;
	char *popped = nullptr;
	ptrdiff_t i;

	for (i = 0; i < n && q->items.try_pop(popped); i++)
		items[i] = popped;
	credits_give(&q->credits, i);
	return i;
}

} // namespace

#define BODY_NAME xenium_vyukov
#define BODY_LABEL "xenium::vyukov_bounded_queue, strong"
#define BODY_LIBRARY "xenium"
#define BODY_REMARK "blocks when a thread stops inside"
#define BODY_TRAITS RING
#define BODY_TYPE ring
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->try_push_strong(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->try_pop_strong(*(item)) ? 0 : -EAGAIN)
#include "../body.h"

/* Its documentation says lock-free, as no call waits; but when a thread stops, all calls fail. */
#define BODY_NAME xenium_vyukov_weak
#define BODY_LABEL "xenium::vyukov_bounded_queue, weak"
#define BODY_LIBRARY "xenium"
#define BODY_REMARK "false empty and full, for ever when a thread stops inside"
#define BODY_TRAITS RING
#define BODY_TYPE ring
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->try_push_weak(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->try_pop_weak(*(item)) ? 0 : -EAGAIN)
#include "../body.h"

/* Neither 0 nor a word with its highest bit set can be stored. */
#define BODY_NAME xenium_ramalhete
#define BODY_LABEL "xenium::ramalhete_queue, epoch based"
#define BODY_LIBRARY "xenium"
#define BODY_REMARK "unbounded: the bound is the adapter's; allocates while it runs"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_LOCK_FREE)
#define BODY_TYPE list
#define BODY_OPEN(q, shape) make(q, shape)
#define BODY_SHUT(q) delete q
#define BODY_DETACH(q) credits_detach(&(q)->credits)
#define BODY_PUSH(q, item) push(q, item)
#define BODY_POP(q, item) pop(q, item)
#define BODY_PUSH_N(q, items, n) push_n(q, items, n)
#define BODY_POP_N(q, items, n) pop_n(q, items, n)
#include "../body.h"
