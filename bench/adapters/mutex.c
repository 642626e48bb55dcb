/* SPDX-License-Identifier: BSD-2-Clause */
/* What everybody writes first: an array, a mutex and two condition variables. */
#include "../subject.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct mutex_ring {
	pthread_mutex_t lock;
	pthread_cond_t has_item, has_room;
	uint64_t capacity;
	uint64_t head; /* where the oldest is */
	uint64_t count;
	void *items[];
};

static int
mutex_open(struct mutex_ring **out, uint64_t capacity)
{
	struct mutex_ring *ring;

	if (capacity < 1 || capacity > UINT32_MAX)
		return -EINVAL;
	ring = malloc(sizeof *ring + capacity * sizeof *ring->items);
	if (!ring)
		return -ENOMEM;
	(void)pthread_mutex_init(&ring->lock, NULL);
	(void)pthread_cond_init(&ring->has_item, NULL);
	(void)pthread_cond_init(&ring->has_room, NULL);
	ring->capacity = capacity;
	ring->head = ring->count = 0;
	*out = ring;
	return 0;
}

static void
mutex_shut(struct mutex_ring *ring)
{
	(void)pthread_cond_destroy(&ring->has_room);
	(void)pthread_cond_destroy(&ring->has_item);
	(void)pthread_mutex_destroy(&ring->lock);
	free(ring);
}

static inline void
put(struct mutex_ring *ring, void *item)
{
	uint64_t at = ring->head + ring->count++;

	ring->items[at < ring->capacity ? at : at - ring->capacity] = item;
}

static inline void *
take(struct mutex_ring *ring)
{
	void *item = ring->items[ring->head++];

	if (ring->head == ring->capacity)
		ring->head = 0;
	ring->count--;
	return item;
}

/* One sleeper for one item (one place); a batch may have something for each. */
static inline void
wake(pthread_cond_t *condition, ptrdiff_t n)
{
	if (n == 1)
		(void)pthread_cond_signal(condition);
	else if (n > 1)
		(void)pthread_cond_broadcast(condition);
}

static inline ptrdiff_t
mutex_push_n(struct mutex_ring *ring, void *const *items, ptrdiff_t n)
{
	ptrdiff_t i;

	(void)pthread_mutex_lock(&ring->lock);
	for (i = 0; i < n && ring->count < ring->capacity; i++)
		put(ring, items[i]);
	(void)pthread_mutex_unlock(&ring->lock);
	wake(&ring->has_item, i);
	return i;
}

static inline ptrdiff_t
mutex_pop_n(struct mutex_ring *ring, void **items, ptrdiff_t n)
{
	ptrdiff_t i;

	(void)pthread_mutex_lock(&ring->lock);
	for (i = 0; i < n && ring->count > 0; i++)
		items[i] = take(ring);
	(void)pthread_mutex_unlock(&ring->lock);
	wake(&ring->has_room, i);
	return i;
}

static int
mutex_push_wait(struct mutex_ring *ring, void *item)
{
	(void)pthread_mutex_lock(&ring->lock);
	while (ring->count == ring->capacity)
		(void)pthread_cond_wait(&ring->has_room, &ring->lock);
	put(ring, item);
	(void)pthread_mutex_unlock(&ring->lock);
	wake(&ring->has_item, 1);
	return 0;
}

static int
mutex_pop_wait(struct mutex_ring *ring, void **item)
{
	(void)pthread_mutex_lock(&ring->lock);
	while (ring->count == 0)
		(void)pthread_cond_wait(&ring->has_item, &ring->lock);
	*item = take(ring);
	(void)pthread_mutex_unlock(&ring->lock);
	wake(&ring->has_room, 1);
	return 0;
}

#define BODY_NAME mutex
#define BODY_LABEL "mutex and condition variables"
#define BODY_LIBRARY "reference"
#define BODY_TRAITS                                                                                \
	(BENCH_REFERENCE | BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_EXACT |             \
	 BENCH_ANY_VALUE)
#define BODY_TYPE struct mutex_ring
#define BODY_OPEN(q, shape) mutex_open(q, (shape)->capacity)
#define BODY_SHUT(q) mutex_shut(q)
#define BODY_PUSH(q, item) (mutex_push_n(q, &(void *){item}, 1) != 1)
#define BODY_POP(q, item) (mutex_pop_n(q, item, 1) != 1)
#define BODY_PUSH_N(q, items, n) mutex_push_n(q, items, n)
#define BODY_POP_N(q, items, n) mutex_pop_n(q, items, n)
#define BODY_PUSH_WAIT(q, item) mutex_push_wait(q, item)
#define BODY_POP_WAIT(q, item) mutex_pop_wait(q, item)
#include "../body.h"
