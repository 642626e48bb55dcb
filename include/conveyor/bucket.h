/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_BUCKET_H
#define CONVEYOR_BUCKET_H

/*
 * queue_bucket: a token bucket in one cache line, for letting through so many requests per second
 * and no more. queue_token_feed: the same rule in the other classical form, a bounded queue that a
 * thread fills with tokens. See queue_bucket(3).
 *
 * Progress.     All calls but those named _until are lock-free, but for init, create and destroy.
 *               A thread stopped for ever inside set keeps nobody from taking; further sets answer
 *               -EBUSY.
 * Concurrency.                take, when, refund, set, advance   init, destroy    (X = keep apart)
 *               all others     -                                  X
 *               One thread at a time advances a feed.
 * Invariants.   I1  The bucket counts time in ticks: `pace` of them are a nanosecond, `price` of
 *                   them are what a token takes to come. tokens/period in lowest terms being N/P,
 *                   pace is 2N and price 2P: whole numbers, so that no take rounds anything.
 *               I2  tat is the time, in ticks, at which the bucket is full again. n tokens are
 *                   granted at `now` when max(tat, now) + n * price <= now + burst * price; the
 *                   left side is the new tat. So it never runs further ahead than a burst, which
 *                   bounds every window, whatever the clock does.
 *               I3  tat < 2^96: pace <= 2^31, price <= 2^62, burst <= 2^32, now < 2^64. It lies in
 *                   state.low and the lower half of state.high.
 *               I4  Ticks are even numbers, so bit 0 of state.low is free. While it is clear, tat
 *                   is below 2^63, no set has begun, and low alone is swapped. Once set, which
 *                   cannot be undone, both halves are swapped together.
 *               I5  Bits 33 to 63 of state.high are a version, which set moves by one and refund
 *                   by two (not while I4's bit is clear). Within a version tat only grows. An even
 *                   version is under `even`, an odd one under `other.odd`. Bit 32: inside set.
 * Ordering.     BUCKET1  set: new rate written -> take: reads it           via state.high
 *               BUCKET2  set: state changed, old rate overwritten
 *                        -> take: old rate read, state found changed       via the rate's words
 *               FEED1    generator: tokens in the ring -> take: pops them  via ready
 *               FEED2    waiter: last access -> destroy: frees             via waiting
 */
#include <conveyor/alloc.h>
#include <conveyor/clock.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUEUE_BURST_MAX (UINT64_C(1) << 32)

/*
 * `tokens` per `period`, exactly: {.tokens = 1, .period = 86400 * QUEUE_SECOND} is one a day. In
 * lowest terms tokens may be up to 2^30 and period up to 2^61. All zero is the default, but for
 * tokens, which must be given.
 */
struct queue_bucket_options {
	uint64_t tokens;
	uint64_t period;       /* nanoseconds; 0: a second */
	uint64_t burst;	       /* the most tokens it holds, 1 to QUEUE_BURST_MAX; 0: as `tokens` */
	queue_clock_fn *clock; /* NULL: queue_now */
	void *context;	       /* for clock */
};

struct queue_impl_bucket_rate {
	uint64_t price;
	uint64_t shape; /* pace << 32 | burst - 1 */
};

/* While no set has begun there is no odd version, and its place has what saves takes time. */
struct queue_impl_bucket_shortcut {
	uint64_t limit; /* burst * price */
	uint64_t last;	/* the last time at which 64 bits are sure to be enough */
};

/*
 * Opaque, but for its size: use the functions. It may be static or part of another struct, which
 * is then aligned to 64 bytes too: allocate that with aligned_alloc, not with malloc.
 */
struct queue_bucket {
	/* takers */
	struct queue_impl_pair state;

	/* set writes the one that is not in force */
	struct queue_impl_bucket_rate even;
	union {
		struct queue_impl_bucket_rate odd;
		struct queue_impl_bucket_shortcut shortcut;
	} other;

	/* read-only after init */
	queue_clock_fn *clock;
	void *context;
} queue_impl_aligned(QUEUE_IMPL_LINE);

/* Makes a full bucket. -EINVAL when anything is not valid; nothing is written then. */
int queue_bucket_init(struct queue_bucket *bucket, const struct queue_bucket_options *options);

/*
 * Takes n tokens, all or none. 0; -EAGAIN: fewer were there at `now`, and nothing was written;
 * -EINVAL: n is above the burst. now: by the bucket's clock. A time before that of another take
 * finds the fewer tokens that there were, never more.
 */
static inline int queue_bucket_take_at(struct queue_bucket *bucket, uint64_t n, uint64_t now);

/* The same, reading the clock, which costs more than the bucket. */
int queue_bucket_take(struct queue_bucket *bucket, uint64_t n);

/*
 * Waits for n tokens until the deadline (by the bucket's clock). -ETIMEDOUT: as soon as it is
 * clear that they will not be there in time; -EINVAL. Those who wait are not queued up: whoever
 * takes first has them.
 */
int queue_bucket_take_until(struct queue_bucket *bucket, uint64_t n, uint64_t deadline);

/*
 * The earliest time, not before `now`, at which n tokens are there if nobody else takes any;
 * QUEUE_NEVER when n is above the burst or the time is beyond the clock's range.
 */
uint64_t queue_bucket_when(const struct queue_bucket *bucket, uint64_t n, uint64_t now);

/*
 * Changes rate and burst together, while others take; clock and context are not looked at. The
 * tokens that are there stay, as far as the new burst allows. -EINVAL; -EBUSY: another thread is
 * inside set. After the first call a take swaps 16 bytes instead of 8.
 */
int queue_bucket_set(struct queue_bucket *bucket, const struct queue_bucket_options *options);

/* Gives back n tokens that were taken; what would be above the burst is lost. Returns 0. */
int queue_bucket_refund(struct queue_bucket *bucket, uint64_t n);

/* The tokens there are at `now`, 0 to burst; others may have taken them a moment later. */
uint64_t queue_bucket_available_approx(const struct queue_bucket *bucket, uint64_t now);

/* A feed without a thread: queue_token_feed_advance makes its tokens. */
#define QUEUE_FEED_MANUAL 1u

struct queue_token_feed;

/* As for the bucket. All zero is the default, but for tokens, which must be given. */
struct queue_token_feed_options {
	uint64_t tokens;
	uint64_t period;       /* nanoseconds; 0: a second */
	uint64_t burst;	       /* tokens the queue holds, 1 to QUEUE_BURST_MAX; 0: as `tokens` */
	unsigned flags;	       /* QUEUE_FEED_MANUAL */
	queue_clock_fn *clock; /* NULL: queue_now */
	void *context;	       /* for clock */
	const struct queue_allocator *allocator; /* NULL: queue_allocator_libc */
};

/*
 * Makes a full feed and starts its thread. -EINVAL; -ENOMEM; -EAGAIN: no more threads. *out is
 * written on success only. A token takes 16 bytes.
 */
int queue_token_feed_create(struct queue_token_feed **out,
			    const struct queue_token_feed_options *options);

/* Stops the thread and frees; NULL is allowed. -EBUSY while somebody waits inside. */
int queue_token_feed_destroy(struct queue_token_feed *feed);

/*
 * Takes n tokens, all or none. 0; -EAGAIN: fewer were there; -EINVAL: n is above the burst. Costs
 * time in proportion to n: tokens are popped one by one.
 */
int queue_token_feed_take(struct queue_token_feed *feed, uint64_t n);

/* Waits for n tokens until the deadline (by the feed's clock): 0, -ETIMEDOUT, -EINVAL. */
int queue_token_feed_take_until(struct queue_token_feed *feed, uint64_t n, uint64_t deadline);

/*
 * Makes the tokens that are due at `now`, drops what finds no room, and wakes who waits for them.
 * For feeds made with QUEUE_FEED_MANUAL; -EINVAL for others. Returns 0.
 */
int queue_token_feed_advance(struct queue_token_feed *feed, uint64_t now);

/* The tokens in the queue, 0 to burst; others may have taken them a moment later. */
uint64_t queue_token_feed_available_approx(const struct queue_token_feed *feed);

/* Inline bodies. Not API. */

int queue_impl_bucket_take_slow(struct queue_bucket *bucket, uint64_t n, uint64_t now);
int queue_impl_bucket_take_lost(struct queue_bucket *bucket, uint64_t n, uint64_t now);

/*
 * Most takes: one word, and it is below 2^63. It is read after the rate, so that a clear bit 0
 * vouches for the rate: no set had begun to overwrite it (BUCKET2).
 */
static inline int
queue_bucket_take_at(struct queue_bucket *bucket, uint64_t n, uint64_t now)
{
	uint64_t price = queue_impl_load_acq(&bucket->even.price);	     /* BUCKET2 acquire */
	uint64_t limit = queue_impl_load_acq(&bucket->other.shortcut.limit); /* BUCKET2 acquire */
	uint64_t last = queue_impl_load_acq(&bucket->other.shortcut.last);   /* BUCKET2 acquire */
	uint64_t shape = queue_impl_load_acq(&bucket->even.shape);	     /* BUCKET2 acquire */
	uint64_t tat = queue_impl_load_acq(&bucket->state.low), start = now * (shape >> 32);
	uint64_t next = (tat > start ? tat : start) + n * price;

	if (n - 1 > (uint32_t)shape || now > last || (tat & 1))
		return queue_impl_bucket_take_slow(bucket, n, now);
	if (next - start > limit)
		return -EAGAIN;
	if (queue_impl_cas_acq_rel(&bucket->state.low, &tat, next))
		return 0;
	return queue_impl_bucket_take_lost(bucket, n, now);
}

#ifdef __cplusplus
}
#endif

#endif
