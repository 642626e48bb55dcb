/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libconcurrentqueue-dev */
/* HEADER: concurrentqueue/concurrentqueue.h */
/*
 * moodycamel::ConcurrentQueue: a queue for each producer, in one object. Each consumer looks for a
 * producer that has something. It is unbounded. Its own call that does not allocate is no bound: in
 * blocks of 32, up to twice the capacity, and one producer can get them all. So the bound is the
 * adapter's, and the queue is made with room for that many, so that pushes seldom allocate.
 *
 * Its assertions stay in, at no cost that shows: they keep gcc from warning of what cannot happen.
 */
#include <concurrentqueue/concurrentqueue.h>

#include "credits.h"

#include <new>

#define REMARK "not FIFO across producers; unbounded: the bound is the adapter's"
#define TRAITS (BENCH_IN_ORDER | BENCH_LOCK_FREE | BENCH_ANY_VALUE)

namespace
{

using list = moodycamel::ConcurrentQueue<void *>;

struct bounded {
	list items;
	struct credits credits;
};

/* Producers, with and without a token. */
int
make(bounded **q, const struct bench_shape *shape, unsigned with, unsigned without)
{
	struct credits credits;
	int rc = credits_open(&credits, shape);

	if (rc)
		return rc;
	try {
		*q = new bounded{list(shape->capacity, with, without), credits};
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	return 0;
}

/* A push that fails is one that finds no memory: to the caller, full. */
inline ptrdiff_t
pushed(bounded *q, ptrdiff_t n, bool done)
{
	if (!done)
		credits_give(&q->credits, n);
	return done ? n : 0;
}

inline ptrdiff_t
popped(bounded *q, size_t n)
{
	credits_give(&q->credits, (ptrdiff_t)n);
	return (ptrdiff_t)n;
}

inline ptrdiff_t
push(bounded *q, void *item)
{
	return credits_take(&q->credits, 1) && pushed(q, 1, q->items.enqueue(item));
}

inline ptrdiff_t
push_n(bounded *q, void *const *items, ptrdiff_t n)
{
	n = credits_take(&q->credits, n);
	return n ? pushed(q, n, q->items.enqueue_bulk(items, (size_t)n)) : 0;
}

/*
 * With tokens, which a thread gets when it first pushes or pops: one for a producer that never
 * pushes would be one more queue for the consumers to look at.
 */
template <typename Token> struct ticket {
	bounded *of;
	Token *token;

	Token &
	at(bounded *q)
	{
		if (of != q) {
			leave();
			token = new Token(q->items);
			of = q;
		}
		return *token;
	}

	void
	leave()
	{
		delete token;
		token = nullptr;
		of = nullptr;
	}
};

thread_local ticket<list::producer_token_t> pushing;
thread_local ticket<list::consumer_token_t> popping;

inline ptrdiff_t
push_with(bounded *q, void *item)
{
	return credits_take(&q->credits, 1) && pushed(q, 1, q->items.enqueue(pushing.at(q), item));
}

inline ptrdiff_t
push_n_with(bounded *q, void *const *items, ptrdiff_t n)
{
	n = credits_take(&q->credits, n);
	return n ? pushed(q, n, q->items.enqueue_bulk(pushing.at(q), items, (size_t)n)) : 0;
}

void
detach(bounded *q)
{
	if (pushing.of == q)
		pushing.leave();
	if (popping.of == q)
		popping.leave();
	credits_detach(&q->credits);
}

} // namespace

#define BODY_NAME moodycamel
#define BODY_LABEL "moodycamel::ConcurrentQueue"
#define BODY_LIBRARY "ConcurrentQueue"
#define BODY_REMARK REMARK
#define BODY_TRAITS TRAITS
#define BODY_TYPE bounded
#define BODY_OPEN(q, shape) make(q, shape, 0, (shape)->producers)
#define BODY_SHUT(q) delete q
#define BODY_DETACH(q) credits_detach(&(q)->credits)
#define BODY_PUSH(q, item) (!push(q, item))
#define BODY_POP(q, item) (!popped(q, (q)->items.try_dequeue(*(item))))
#define BODY_PUSH_N(q, items, n) push_n(q, items, n)
#define BODY_POP_N(q, items, n) popped(q, (q)->items.try_dequeue_bulk(items, (size_t)(n)))
#include "../body.h"

#define BODY_NAME moodycamel_tokens
#define BODY_LABEL "moodycamel::ConcurrentQueue, tokens"
#define BODY_LIBRARY "ConcurrentQueue"
#define BODY_REMARK REMARK
#define BODY_TRAITS TRAITS
#define BODY_TYPE bounded
#define BODY_OPEN(q, shape) make(q, shape, (shape)->producers, 0)
#define BODY_SHUT(q) delete q
#define BODY_DETACH(q) detach(q)
#define BODY_PUSH(q, item) (!push_with(q, item))
#define BODY_POP(q, item) (!popped(q, (q)->items.try_dequeue(popping.at(q), *(item))))
#define BODY_PUSH_N(q, items, n) push_n_with(q, items, n)
#define BODY_POP_N(q, items, n)                                                                    \
	popped(q, (q)->items.try_dequeue_bulk(popping.at(q), items, (size_t)(n)))
#include "../body.h"
