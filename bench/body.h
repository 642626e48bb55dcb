/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The measured loops, made for one subject. Included by an adapter, in C or in C++, once for each
 * subject that it describes, after it has defined
 *
 *   BODY_NAME            an identifier: also the subject's name
 *   BODY_LABEL, BODY_LIBRARY, BODY_TRAITS      see struct bench_subject
 *   BODY_TYPE            the type of the queue
 *   BODY_OPEN(q, shape)  makes one: sets the BODY_TYPE *q; 0 or negative errno
 *   BODY_SHUT(q)         ends it
 *   BODY_PUSH(q, item)   a void *item: 0, or anything else when it is full
 *   BODY_POP(q, item)    a void **item: 0, or anything else when it is empty
 * and, as far as the subject has them,
 *   BODY_REMARK, BODY_PRODUCERS_MAX, BODY_CONSUMERS_MAX
 *   BODY_ATTACH(q), BODY_DETACH(q)
 *   BODY_PUSH_N(q, items, n), BODY_POP_N(q, items, n)
 *   BODY_PUSH_WAIT(q, item), BODY_POP_WAIT(q, item)
 * All of these are undefined at the end. They are best defined as functions that are inlined.
 *
 * The polling is the same for all: one PAUSE after a try that failed, and the processor is given
 * away after every 64 of them in a row.
 */
#include "item.h"
#include "subject.h"

#include <errno.h>

#ifndef BODY_REMARK
#define BODY_REMARK NULL
#endif
#ifndef BODY_PRODUCERS_MAX
#define BODY_PRODUCERS_MAX 0
#endif
#ifndef BODY_CONSUMERS_MAX
#define BODY_CONSUMERS_MAX 0
#endif

#ifndef BODY_PASTE
#define BODY_PASTE_(a, b) body_##a##_##b
#define BODY_PASTE(a, b) BODY_PASTE_(a, b)
#define BODY_STRING_(a) #a
#define BODY_STRING(a) BODY_STRING_(a)
#endif
#define BODY(name) BODY_PASTE(BODY_NAME, name)

static int
BODY(open)(void **queue, const struct bench_shape *shape)
{
	BODY_TYPE *q = NULL;
	int rc = BODY_OPEN(&q, shape);

	*queue = q;
	return rc;
}

static void
BODY(shut)(void *queue)
{
	BODY_SHUT((BODY_TYPE *)queue);
}

#ifdef BODY_ATTACH
static void
BODY(attach)(void *queue)
{
	BODY_ATTACH((BODY_TYPE *)queue);
}
#endif

#ifdef BODY_DETACH
static void
BODY(detach)(void *queue)
{
	BODY_DETACH((BODY_TYPE *)queue);
}
#endif

static __attribute__((noinline)) int
BODY(push_one)(void *queue, void *item)
{
	return BODY_PUSH((BODY_TYPE *)queue, item) == 0 ? 0 : -EAGAIN;
}

static __attribute__((noinline)) int
BODY(pop_one)(void *queue, void **item)
{
	return BODY_POP((BODY_TYPE *)queue, item) == 0 ? 0 : -EAGAIN;
}

#ifdef BODY_PUSH_WAIT
static int
BODY(push_waiting)(void *queue, void *item)
{
	return BODY_PUSH_WAIT((BODY_TYPE *)queue, item);
}
#endif

#ifdef BODY_POP_WAIT
static int
BODY(pop_waiting)(void *queue, void **item)
{
	return BODY_POP_WAIT((BODY_TYPE *)queue, item);
}
#endif

static inline __attribute__((always_inline)) ptrdiff_t
BODY(push_some)(BODY_TYPE *q, void *const *items, ptrdiff_t n)
{
#ifdef BODY_PUSH_N
	return BODY_PUSH_N(q, items, n);
#else
	ptrdiff_t i;

	for (i = 0; i < n; i++)
		if (BODY_PUSH(q, items[i]) != 0)
			break;
	return i;
#endif
}

static inline __attribute__((always_inline)) ptrdiff_t
BODY(pop_some)(BODY_TYPE *q, void **items, ptrdiff_t n)
{
#ifdef BODY_POP_N
	return BODY_POP_N(q, items, n);
#else
	ptrdiff_t i;

	for (i = 0; i < n; i++)
		if (BODY_POP(q, &items[i]) != 0)
			break;
	return i;
#endif
}

#ifdef BODY_PUSH_N
static ptrdiff_t
BODY(push_many)(void *queue, void *const *items, ptrdiff_t n)
{
	return BODY_PUSH_N((BODY_TYPE *)queue, items, n);
}
#endif

#ifdef BODY_POP_N
static ptrdiff_t
BODY(pop_many)(void *queue, void **items, ptrdiff_t n)
{
	return BODY_POP_N((BODY_TYPE *)queue, items, n);
}
#endif

static void
BODY(produce_single)(BODY_TYPE *q, struct bench_lane *lane)
{
	uint64_t count = 0, sum = 0, refused = 0;
	unsigned tries = 0;

	while (!bench_told(lane->stop)) {
		uint64_t value = bench_value(lane->index, count);
		void *item = bench_wrap(lane, count, value);

		if (!item)
			break;
		while (BODY_PUSH(q, item) != 0) {
			refused++;
			bench_pace(&tries);
			if (bench_told(lane->stop)) {
				bench_unwrap_unused(lane, item);
				goto end;
			}
		}
		tries = 0;
		count++;
		sum += value;
	}
end:
	lane->count = count;
	lane->sum = sum;
	lane->refused = refused;
}

static void
BODY(produce_batch)(BODY_TYPE *q, struct bench_lane *lane)
{
	uint64_t count = 0, sum = 0, refused = 0;
	void *items[BENCH_BATCH_MAX];
	unsigned tries = 0;

	while (!bench_told(lane->stop)) {
		ptrdiff_t n = (ptrdiff_t)lane->batch, done = 0, i;

		for (i = 0; i < n; i++) {
			items[i] = bench_wrap(lane, count + (uint64_t)i,
					      bench_value(lane->index, count + (uint64_t)i));
			if (!items[i])
				n = i;
		}
		while (done < n) {
			ptrdiff_t got = BODY(push_some)(q, items + done, n - done);

			if (got > 0) {
				done += got;
				tries = 0;
				continue;
			}
			refused++;
			bench_pace(&tries);
			if (bench_told(lane->stop))
				break;
		}
		for (i = 0; i < done; i++)
			sum += bench_value(lane->index, count + (uint64_t)i);
		for (; i < n; i++)
			bench_unwrap_unused(lane, items[i]);
		count += (uint64_t)done;
	}
	lane->count = count;
	lane->sum = sum;
	lane->refused = refused;
}

static __attribute__((noinline)) void
BODY(produce)(void *queue, struct bench_lane *lane)
{
	if (lane->batch == 1)
		BODY(produce_single)((BODY_TYPE *)queue, lane);
	else
		BODY(produce_batch)((BODY_TYPE *)queue, lane);
}

static void
BODY(consume_single)(BODY_TYPE *q, struct bench_lane *lane)
{
	uint64_t count = 0, sum = 0, refused = 0;
	unsigned tries = 0;
	void *item = NULL;

	for (;;) {
		/* Read before the try: what was pushed before it was set is there for the try. */
		bool ending = bench_told(lane->stop);

		if (BODY_POP(q, &item) == 0) {
			sum += bench_unwrap(lane, item);
			count++;
			tries = 0;
			continue;
		}
		if (ending)
			break;
		refused++;
		bench_pace(&tries);
	}
	lane->count = count;
	lane->sum = sum;
	lane->refused = refused;
}

static void
BODY(consume_batch)(BODY_TYPE *q, struct bench_lane *lane)
{
	uint64_t count = 0, sum = 0, refused = 0;
	void *items[BENCH_BATCH_MAX];
	unsigned tries = 0;

	for (;;) {
		bool ending = bench_told(lane->stop);
		ptrdiff_t got = BODY(pop_some)(q, items, (ptrdiff_t)lane->batch), i;

		if (got > 0) {
			for (i = 0; i < got; i++)
				sum += bench_unwrap(lane, items[i]);
			count += (uint64_t)got;
			tries = 0;
			continue;
		}
		if (ending)
			break;
		refused++;
		bench_pace(&tries);
	}
	lane->count = count;
	lane->sum = sum;
	lane->refused = refused;
}

static __attribute__((noinline)) void
BODY(consume)(void *queue, struct bench_lane *lane)
{
	if (lane->batch == 1)
		BODY(consume_single)((BODY_TYPE *)queue, lane);
	else
		BODY(consume_batch)((BODY_TYPE *)queue, lane);
}

static __attribute__((noinline)) uint64_t
BODY(pairs)(void *queue, uint64_t n)
{
	BODY_TYPE *q = (BODY_TYPE *)queue;
	uint64_t sum = 0, i;

	for (i = 1; i <= n; i++) {
		void *item = NULL;

		if (BODY_PUSH(q, (void *)(uintptr_t)i) != 0 || BODY_POP(q, &item) != 0)
			return 0;
		sum += (uint64_t)(uintptr_t)item;
	}
	return sum;
}

static __attribute__((noinline)) uint64_t
BODY(polls)(void *queue, uint64_t n)
{
	BODY_TYPE *q = (BODY_TYPE *)queue;
	uint64_t empty = 0, i;
	void *item = NULL;

	for (i = 0; i < n; i++)
		empty += BODY_POP(q, &item) != 0;
	return empty;
}

static __attribute__((constructor)) void
BODY(enroll)(void)
{
	static struct bench_subject subject;

	subject.name = BODY_STRING(BODY_NAME);
	subject.label = BODY_LABEL;
	subject.library = BODY_LIBRARY;
	subject.remark = BODY_REMARK;
	subject.traits = BODY_TRAITS;
	subject.producers_max = BODY_PRODUCERS_MAX;
	subject.consumers_max = BODY_CONSUMERS_MAX;
	subject.open = BODY(open);
	subject.shut = BODY(shut);
#ifdef BODY_ATTACH
	subject.attach = BODY(attach);
#endif
#ifdef BODY_DETACH
	subject.detach = BODY(detach);
#endif
	subject.push = BODY(push_one);
	subject.pop = BODY(pop_one);
#ifdef BODY_PUSH_N
	subject.push_n = BODY(push_many);
#endif
#ifdef BODY_POP_N
	subject.pop_n = BODY(pop_many);
#endif
#ifdef BODY_PUSH_WAIT
	subject.push_wait = BODY(push_waiting);
#endif
#ifdef BODY_POP_WAIT
	subject.pop_wait = BODY(pop_waiting);
#endif
	subject.produce = BODY(produce);
	subject.consume = BODY(consume);
	subject.pairs = BODY(pairs);
	subject.polls = BODY(polls);
	bench_register(&subject);
}

#undef BODY
#undef BODY_NAME
#undef BODY_LABEL
#undef BODY_LIBRARY
#undef BODY_REMARK
#undef BODY_TRAITS
#undef BODY_PRODUCERS_MAX
#undef BODY_CONSUMERS_MAX
#undef BODY_TYPE
#undef BODY_OPEN
#undef BODY_SHUT
#undef BODY_ATTACH
#undef BODY_DETACH
#undef BODY_PUSH
#undef BODY_POP
#undef BODY_PUSH_N
#undef BODY_POP_N
#undef BODY_PUSH_WAIT
#undef BODY_POP_WAIT
