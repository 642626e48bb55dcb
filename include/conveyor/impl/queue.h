/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_QUEUE_H
#define CONVEYOR_IMPL_QUEUE_H

/*
 * The hot halves of the bounded queue. Not API; included by conveyor/queue.h alone.
 *
 * A push or pop that meets nothing special is the ring's, plus one look at a line that is hardly
 * ever written: is anybody asleep on the other side, is this the position that carries a probe?
 */

#define QUEUE_IMPL_SOJOURN_BUCKETS 496 /* 8 per power of two */

/* Why a pop has to be careful. */
#define QUEUE_IMPL_CAREFUL_COUNTED                                                                 \
	1u /* items leave otherwise than by pops: those are counted then */
#define QUEUE_IMPL_CAREFUL_WATCHED 2u /* there is a descriptor; set once, for good */
#define QUEUE_IMPL_CAREFUL_SPILL 4u   /* there may be items in a log */

struct queue_impl_spill;

struct queue_bounded {
	/* read-only after init */
	uint64_t (*deadline_of)(const void *item);
	void (*on_drop)(void *item, enum queue_reason reason, void *context);
	void (*run)(void *item, void *context);
	void *context;
	queue_clock_fn *clock;
	const struct queue_allocator *allocator;
	size_t size;
	enum queue_policy policy;
	uint32_t careful; /* QUEUE_IMPL_CAREFUL_; written once more when the descriptor is made */
	uint32_t fence;	  /* neither a locked instruction nor membarrier(2) orders: use fences */
	struct queue_impl_spill *spill; /* QUEUE_SPILL; else NULL */

	/* read by every push; written by consumers that wait, and when the sampling rate adapts */
	struct queue_impl_event not_empty queue_impl_aligned(QUEUE_IMPL_APART);
	/* A push at a tail with these bits zero carries a probe. 0 with QUEUE_SPILL, see lib/queue.c. */
	uint64_t sample_mask;

	/* read by every pop; written by producers that wait, and by probes */
	struct queue_impl_event not_full queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t probe_position;
	uint64_t probe_time;

	/* cold */
	uint64_t delivered queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t rejected;
	uint64_t discarded;
	uint64_t evicted;
	uint64_t ran;
	uint64_t expired;
	uint64_t closed_rejected;
	uint64_t waiting_to_push; /* threads inside a call that waits for room */
	uint64_t waiting_to_pop;  /* and inside one that waits for an item */
	struct queue_impl_descriptor descriptor;
	uint64_t sampled_at;
	uint64_t sojourn_max;
	uint64_t sojourn[QUEUE_IMPL_SOJOURN_BUCKETS];

	struct queue_ring ring; /* last: its slots follow */
};

/* The cold halves, in lib/queue.c. */
int queue_impl_push_sampled(struct queue_bounded *queue, void *item);
void queue_impl_push_wake(struct queue_bounded *queue);
int queue_impl_push_refused(struct queue_bounded *queue, void *item, int rc);
int queue_impl_try_push_refused(struct queue_bounded *queue, void *item, int rc);
void queue_impl_pop_care(struct queue_bounded *queue, uint64_t position, bool delivered);
int queue_impl_pop_careful(struct queue_bounded *queue, void **item);
int queue_impl_pop_wait(struct queue_bounded *queue, void **item, uint64_t deadline);

/* WAIT1: what the ring has just published, before the look at who sleeps. */
queue_impl_inline void
queue_impl_queue_fence(const struct queue_bounded *queue)
{
	if (queue->fence)
		queue_impl_fence_full();
	else
		queue_impl_fence_compiler();
}

/* One try, with everything a successful push owes. */
queue_impl_inline int
queue_impl_push_once(struct queue_bounded *queue, void *item)
{
	/* Relaxed, both: a guess, made to decide on sampling only. */
	uint64_t tail = queue_impl_load_rlx(&queue->ring.tail);
	int rc;

	if ((tail & queue_impl_load_rlx(&queue->sample_mask)) == 0)
		return queue_impl_push_sampled(queue, item);
	rc = queue_impl_ring_push(&queue->ring, item).rc;
	if (rc == 0) {
		queue_impl_queue_fence(queue);
		if (queue_impl_event_awaited(&queue->not_empty))
			queue_impl_push_wake(queue);
	}
	return rc;
}

queue_impl_inline int
queue_push(struct queue_bounded *queue, void *item)
{
	int rc = queue_impl_push_once(queue, item);

	return rc == 0 ? 0 : queue_impl_push_refused(queue, item, rc);
}

queue_impl_inline int
queue_try_push(struct queue_bounded *queue, void *item)
{
	int rc = queue_impl_push_once(queue, item);

	return rc == 0 ? 0 : queue_impl_try_push_refused(queue, item, rc);
}

queue_impl_inline int
queue_try_pop(struct queue_bounded *queue, void **item)
{
	struct queue_impl_ring_result popped;

	/* Relaxed: who has seen it set reads it again with acquire. */
	if (queue_impl_load32_rlx(&queue->careful))
		return queue_impl_pop_careful(queue, item);
	popped = queue_impl_ring_pop(&queue->ring, item);
	if (popped.rc)
		return popped.rc;
	queue_impl_queue_fence(queue);
	/* Relaxed: the one pop that finds its own position there reads the rest with acquire. */
	if (queue_impl_event_awaited(&queue->not_full) ||
	    queue_impl_load_rlx(&queue->probe_position) == popped.position)
		queue_impl_pop_care(queue, popped.position, true);
	return 0;
}

queue_impl_inline int
queue_pop(struct queue_bounded *queue, void **item)
{
	int rc = queue_try_pop(queue, item);

	return rc == -EAGAIN ? queue_impl_pop_wait(queue, item, QUEUE_NEVER) : rc;
}

queue_impl_inline int
queue_pop_until(struct queue_bounded *queue, void **item, uint64_t deadline)
{
	int rc = queue_try_pop(queue, item);

	return rc == -EAGAIN ? queue_impl_pop_wait(queue, item, deadline) : rc;
}

/* In a main file clang warns of inline functions that are not used; few programs use all of these. */
#define queue_impl_typed static inline __attribute__((__unused__))

/* Through uintptr_t, so that pointers to const work too, in C and in C++. */
#define QUEUE_IMPL_TYPED(name, type)                                                               \
	queue_impl_typed int name##_push(struct queue_bounded *queue, type item)                   \
	{                                                                                          \
		return queue_push(queue, (void *)(uintptr_t)item);                                 \
	}                                                                                          \
	queue_impl_typed int name##_try_push(struct queue_bounded *queue, type item)               \
	{                                                                                          \
		return queue_try_push(queue, (void *)(uintptr_t)item);                             \
	}                                                                                          \
	queue_impl_typed int name##_push_until(struct queue_bounded *queue, type item,             \
					       uint64_t deadline)                                  \
	{                                                                                          \
		return queue_push_until(queue, (void *)(uintptr_t)item, deadline);                 \
	}                                                                                          \
	queue_impl_typed int name##_push_n(struct queue_bounded *queue, type const *items, int n)  \
	{                                                                                          \
		return queue_push_n(queue, (void *const *)(uintptr_t)items, n);                    \
	}                                                                                          \
	queue_impl_typed int name##_pop(struct queue_bounded *queue, type *item)                   \
	{                                                                                          \
		void *raw;                                                                         \
		int rc = queue_pop(queue, &raw);                                                   \
                                                                                                   \
		if (rc == 0)                                                                       \
			*item = (type)(uintptr_t)raw;                                              \
		return rc;                                                                         \
	}                                                                                          \
	queue_impl_typed int name##_try_pop(struct queue_bounded *queue, type *item)               \
	{                                                                                          \
		void *raw;                                                                         \
		int rc = queue_try_pop(queue, &raw);                                               \
                                                                                                   \
		if (rc == 0)                                                                       \
			*item = (type)(uintptr_t)raw;                                              \
		return rc;                                                                         \
	}                                                                                          \
	queue_impl_typed int name##_pop_until(struct queue_bounded *queue, type *item,             \
					      uint64_t deadline)                                   \
	{                                                                                          \
		void *raw;                                                                         \
		int rc = queue_pop_until(queue, &raw, deadline);                                   \
                                                                                                   \
		if (rc == 0)                                                                       \
			*item = (type)(uintptr_t)raw;                                              \
		return rc;                                                                         \
	}                                                                                          \
	queue_impl_typed int name##_pop_n(struct queue_bounded *queue, type *items, int n)         \
	{                                                                                          \
		return queue_pop_n(queue, (void **)(uintptr_t)items, n);                           \
	}                                                                                          \
	queue_impl_typed int name##_try_pop_n(struct queue_bounded *queue, type *items, int n)     \
	{                                                                                          \
		return queue_try_pop_n(queue, (void **)(uintptr_t)items, n);                       \
	}

#endif
