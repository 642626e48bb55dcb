/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inline halves of the library as functions, for instructions.sh to look at what they become.
 */
#include <conveyor.h>

int hot_ring_try_push(struct queue_ring *ring, void *item);
int hot_ring_try_pop(struct queue_ring *ring, void **item);
int hot_queue_try_push(struct queue_bounded *queue, void *item);
int hot_queue_try_pop(struct queue_bounded *queue, void **item);
int hot_bucket_take_at(struct queue_bucket *bucket, uint64_t n, uint64_t now);
bool hot_cas_pair(struct queue_impl_pair *pair, uint64_t low, uint64_t high, uint64_t new_low,
		  uint64_t new_high);

int
hot_ring_try_push(struct queue_ring *ring, void *item)
{
	return queue_ring_try_push(ring, item);
}

int
hot_ring_try_pop(struct queue_ring *ring, void **item)
{
	return queue_ring_try_pop(ring, item);
}

int
hot_queue_try_push(struct queue_bounded *queue, void *item)
{
	return queue_try_push(queue, item);
}

int
hot_queue_try_pop(struct queue_bounded *queue, void **item)
{
	return queue_try_pop(queue, item);
}

int
hot_bucket_take_at(struct queue_bucket *bucket, uint64_t n, uint64_t now)
{
	return queue_bucket_take_at(bucket, n, now);
}

bool
hot_cas_pair(struct queue_impl_pair *pair, uint64_t low, uint64_t high, uint64_t new_low,
	     uint64_t new_high)
{
	return queue_impl_cas_pair_acq_rel(pair, low, high, new_low, new_high);
}
