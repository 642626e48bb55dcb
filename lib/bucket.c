/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bucket is the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371, Annex
 * A; ATM Forum Traffic Management 4.0, section 4.4). What differs from there:
 *  - a cell may be n cells at once;
 *  - the tolerance is counted from the other side: it is what the whole burst takes to come, so
 *    that the test reads "the bucket would be full again within a burst from now";
 *  - time is counted in ticks that make both a nanosecond and a token whole.
 */
#include <conveyor/bucket.h>
#include <conveyor/ring.h>

#include "alloc_impl.h"
#include "wait_impl.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

/* Pauses after a lost swap: at first, and at most. */
#define BACK_OFF_FIRST 16u
#define BACK_OFF_MAX 64u

_Static_assert(sizeof(struct queue_bucket) == QUEUE_IMPL_LINE, "all of it is one line");
_Static_assert(_Alignof(struct queue_bucket) == QUEUE_IMPL_LINE, "and only one");
_Static_assert(sizeof(struct queue_impl_bucket_rate) == sizeof(struct queue_impl_bucket_shortcut),
	       "what the odd rate overwrites is never half overwritten");

/* Times in ticks: below 2^96, so sums and products of what they are made of fit (I3). */
__extension__ typedef unsigned __int128 ticks;

/* In lowest terms. */
#define TOKENS_MAX (UINT64_C(1) << 30)
#define PERIOD_MAX (UINT64_C(1) << 61)

/* state.low */
#define BOTH_HALVES UINT64_C(1)	      /* set for good: low alone is not swapped any more */
#define LOW_END (UINT64_C(1) << 63)   /* alone, low holds times below this */
#define LIMIT_END (UINT64_C(1) << 62) /* and a burst that takes less than this to come */

/* state.high */
#define TAT_HIGH UINT64_C(0xffffffff)
#define INSIDE_SET (UINT64_C(1) << 32)
#define VERSION (UINT64_C(1) << 33)

/* A clock that others drive moves while we sleep: look at it this often, in real time. */
#define DRIVEN_CLOCK_PIECE QUEUE_MILLISECOND
/* And this often whether a set or a refund, which wake nobody, has made tokens come earlier. */
#define PATIENCE (50 * QUEUE_MILLISECOND)

/* A feed's thread does not get up more often than this; tokens due in between come together. */
#define FEED_PAUSE (50 * QUEUE_MICROSECOND)
/* Tokens moved by one call of the ring. */
#define FEED_BATCH 256

struct rate {
	uint64_t price; /* ticks per token */
	uint64_t pace;	/* ticks per nanosecond */
	uint64_t burst;
	ticks limit; /* burst * price */
};

/* The state and the rate that was in force with it, both of one instant. */
struct view {
	uint64_t low;
	uint64_t high;
	ticks tat;
	struct rate rate;
};

static uint64_t
greatest_common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Reduces what an options struct says; false when it is not valid. */
static bool
rate_init(struct rate *rate, uint64_t tokens, uint64_t period, uint64_t burst)
{
	uint64_t divisor;

	if (period == 0)
		period = QUEUE_SECOND;
	if (burst == 0)
		burst = tokens;
	if (tokens == 0 || burst > QUEUE_BURST_MAX)
		return false;
	divisor = greatest_common_divisor(tokens, period);
	tokens /= divisor;
	period /= divisor;
	if (tokens > TOKENS_MAX || period > PERIOD_MAX)
		return false;
	rate->price = 2 * period;
	rate->pace = 2 * tokens;
	rate->burst = burst;
	rate->limit = (ticks)burst * rate->price;
	return true;
}

static uint64_t
shape_of(const struct rate *rate)
{
	return rate->pace << 32 | (rate->burst - 1);
}

int
queue_bucket_init(struct queue_bucket *bucket, const struct queue_bucket_options *options)
{
	struct rate rate;

	if (!bucket || (uintptr_t)bucket % QUEUE_IMPL_LINE || !options ||
	    !rate_init(&rate, options->tokens, options->period, options->burst))
		return -EINVAL;
	bucket->state.low = rate.limit < LIMIT_END ? 0 : BOTH_HALVES;
	bucket->state.high = 0;
	bucket->even.price = rate.price;
	bucket->even.shape = shape_of(&rate);
	bucket->other.shortcut.limit = 0;
	bucket->other.shortcut.last = 0;
	if (rate.limit < LIMIT_END) {
		/* I4: no take at or before `last` leaves a tat that is LOW_END or later. */
		bucket->other.shortcut.limit = (uint64_t)rate.limit;
		bucket->other.shortcut.last = (LOW_END - 1 - (uint64_t)rate.limit) / rate.pace;
	}
	bucket->clock = options->clock;
	bucket->context = options->context;
	return 0;
}

static uint64_t
clock_now(const struct queue_bucket *bucket)
{
	return bucket->clock ? bucket->clock(bucket->context) : queue_now();
}

/*
 * Two reads of `high` around the others make one instant of them: within a version tat only grows
 * (I5), so high has not been away and come back; and a rate is overwritten only after its version
 * has passed, so words of the next one come with a high that has moved. (By 2^31 versions, should
 * this thread be stopped so long, it may have come back.) Meeting a set or refund in between means
 * that another call has succeeded, so looking again is lock-free.
 */
static void
look(const struct queue_bucket *bucket, struct view *view)
{
	uint64_t shape, high = queue_impl_load_acq(&bucket->state.high); /* BUCKET1 acquire */

	do {
		const struct queue_impl_bucket_rate *rate = high & VERSION ? &bucket->other.odd
									   : &bucket->even;

		view->high = high;
		view->rate.price = queue_impl_load_acq(&rate->price); /* BUCKET2 acquire */
		shape = queue_impl_load_acq(&rate->shape);	      /* BUCKET2 acquire */
		view->low = queue_impl_load_acq(&bucket->state.low);
		high = queue_impl_load_acq(&bucket->state.high); /* BUCKET1 acquire */
	} while (high != view->high);
	view->tat = (ticks)(high & TAT_HIGH) << 64 | (view->low & ~BOTH_HALVES);
	view->rate.pace = shape >> 32;
	view->rate.burst = (shape & UINT32_MAX) + 1;
	view->rate.limit = (ticks)view->rate.burst * view->rate.price;
}

/*
 * Puts another tat in the place of the one seen, and moves the version if `versions` is not 0 and
 * it need be. False: the state is not the one seen any more, look again.
 */
static bool
replace(struct queue_bucket *bucket, const struct view *view, ticks tat, uint64_t versions)
{
	uint64_t low = view->low;

	if (low & BOTH_HALVES)
		return queue_impl_cas_pair_acq_rel(
			&bucket->state, low, view->high, (uint64_t)tat | BOTH_HALVES,
			((view->high & ~TAT_HIGH) + versions) | (uint64_t)(tat >> 64));
	if (tat < LOW_END)
		return queue_impl_cas_acq_rel(&bucket->state.low, &low, (uint64_t)tat);
	/* The same time, but from now on in both halves. */
	(void)queue_impl_cas_acq_rel(&bucket->state.low, &low, low | BOTH_HALVES);
	return false;
}

/*
 * After a lost swap: stays away for a while that doubles, so that the processor that has the line
 * makes several takes before it gives it away.
 */
static void
back_off(unsigned *pauses)
{
	unsigned i;

	for (i = 0; i < *pauses; i++)
		queue_impl_pause();
	if (*pauses < BACK_OFF_MAX)
		*pauses *= 2;
}

static int
take_by_state(struct queue_bucket *bucket, uint64_t n, uint64_t now, unsigned pauses)
{
	struct view view;
	ticks start, next;

	for (;;) {
		look(bucket, &view);
		if (n == 0)
			return 0;
		if (n > view.rate.burst)
			return -EINVAL;
		start = (ticks)now * view.rate.pace;
		next = (view.tat > start ? view.tat : start) + n * (ticks)view.rate.price;
		if (next - start > view.rate.limit)
			return -EAGAIN;
		if (replace(bucket, &view, next, 0))
			return 0;
		back_off(&pauses);
	}
}

int
queue_impl_bucket_take_slow(struct queue_bucket *bucket, uint64_t n, uint64_t now)
{
	return take_by_state(bucket, n, now, BACK_OFF_FIRST);
}

int
queue_impl_bucket_take_lost(struct queue_bucket *bucket, uint64_t n, uint64_t now)
{
	unsigned pauses = BACK_OFF_FIRST;

	back_off(&pauses);
	return take_by_state(bucket, n, now, pauses);
}

int
queue_bucket_take(struct queue_bucket *bucket, uint64_t n)
{
	return queue_bucket_take_at(bucket, n, clock_now(bucket));
}

uint64_t
queue_bucket_when(const struct queue_bucket *bucket, uint64_t n, uint64_t now)
{
	struct view view;
	ticks full, when;

	look(bucket, &view);
	if (n > view.rate.burst)
		return QUEUE_NEVER;
	/* They are there from the time on that is a burst before tat would be with them taken. */
	full = view.tat + n * (ticks)view.rate.price;
	if (n == 0 || full <= view.rate.limit)
		return now;
	when = (full - view.rate.limit + view.rate.pace - 1) / view.rate.pace;
	if (when >= QUEUE_NEVER)
		return QUEUE_NEVER;
	return when > now ? (uint64_t)when : now;
}

uint64_t
queue_bucket_available_approx(const struct queue_bucket *bucket, uint64_t now)
{
	struct view view;
	ticks start, missing;

	look(bucket, &view);
	start = (ticks)now * view.rate.pace;
	missing = view.tat > start ? view.tat - start : 0;
	if (missing >= view.rate.limit)
		return 0;
	return (uint64_t)((view.rate.limit - missing) / view.rate.price);
}

int
queue_bucket_take_until(struct queue_bucket *bucket, uint64_t n, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_now(bucket), when;
		int rc = queue_bucket_take_at(bucket, n, now);

		if (rc != -EAGAIN)
			return rc;
		when = queue_bucket_when(bucket, n, now);
		if (when > deadline || when == QUEUE_NEVER)
			return -ETIMEDOUT;
		if (bucket->clock)
			queue_impl_sleep_until(queue_now() + DRIVEN_CLOCK_PIECE);
		else
			queue_impl_sleep_until(when - now < PATIENCE ? when : now + PATIENCE);
	}
}

int
queue_bucket_refund(struct queue_bucket *bucket, uint64_t n)
{
	struct view view;
	ticks back;

	/* A tat before now is a full bucket, so there is nothing to cut off. */
	do {
		look(bucket, &view);
		back = (n < view.rate.burst ? n : view.rate.burst) * (ticks)view.rate.price;
	} while (!replace(bucket, &view, view.tat > back ? view.tat - back : 0, 2 * VERSION));
	return 0;
}

/*
 * The tat, by the new rate, of a bucket that holds as many tokens as by the old one at `now`. What
 * is missing to the old burst is a whole number of tokens and a fraction; the fraction is rounded
 * up to a tick of the new rate, so that none is ever made from nothing.
 */
static ticks
translate(const struct view *view, const struct rate *new_rate, uint64_t now)
{
	const struct rate *old_rate = &view->rate;
	ticks missing, start = (ticks)now * old_rate->pace, fraction;
	int64_t whole;

	/* A clock behind that of the last take: be as late as that take must have been. */
	if (view->tat > start + old_rate->limit) {
		start = view->tat - old_rate->limit;
		now = (uint64_t)((start + old_rate->pace - 1) / old_rate->pace);
		start = (ticks)now * old_rate->pace;
	}
	missing = view->tat > start ? view->tat - start : 0;
	start = (ticks)now * new_rate->pace;
	whole = (int64_t)(uint64_t)(missing / old_rate->price) +
		((int64_t)new_rate->burst - (int64_t)old_rate->burst);
	if (whole < 0)
		return start;
	/* In halves: ticks are even, and stay so. */
	fraction = missing % old_rate->price / 2 * (new_rate->price / 2);
	fraction = (fraction + old_rate->price / 2 - 1) / (old_rate->price / 2) * 2;
	return start + (uint64_t)whole * (ticks)new_rate->price + fraction;
}

int
queue_bucket_set(struct queue_bucket *bucket, const struct queue_bucket_options *options)
{
	struct queue_impl_bucket_rate *spare;
	struct rate rate;
	struct view view;
	ticks tat;

	if (!options || !rate_init(&rate, options->tokens, options->period, options->burst))
		return -EINVAL;
	/* From here on low is not swapped alone: a swap that began before finds bit 0 set. */
	do {
		look(bucket, &view);
		if (view.high & INSIDE_SET)
			return -EBUSY;
	} while (!queue_impl_cas_pair_acq_rel(&bucket->state, view.low, view.high,
					      view.low | BOTH_HALVES, view.high | INSIDE_SET));
	/* Until we move the version nobody else moves it by an odd number. */
	spare = view.high & VERSION ? &bucket->even : &bucket->other.odd;
	queue_impl_store_rel(&spare->price, rate.price);      /* BUCKET2 release */
	queue_impl_store_rel(&spare->shape, shape_of(&rate)); /* BUCKET2 release */
	do {
		look(bucket, &view);
		tat = translate(&view, &rate, clock_now(bucket));
	} while (!queue_impl_cas_pair_acq_rel(&bucket->state, view.low, view.high,
					      (uint64_t)tat | BOTH_HALVES,
					      ((view.high & ~(TAT_HIGH | INSIDE_SET)) + VERSION) |
						      (uint64_t)(tat >> 64))); /* BUCKET1 release */
	return 0;
}

/*
 * The feed. Tokens go through a ring; `ready` counts those in it that are not promised yet. A take
 * is granted by taking from ready, all or nothing, and then pops what it was promised; so a take
 * for more tokens than there are disturbs nobody. What counts is ready: tokens are all alike, and
 * whether the ring holds as many matters only while a take is stopped between the two.
 */
struct queue_token_feed {
	/* read-only after create */
	struct queue_ring *ring;
	struct rate rate;
	unsigned flags;
	queue_clock_fn *clock;
	void *context;
	const struct queue_allocator *allocator;
	pthread_t thread;

	/* who advances */
	uint64_t origin; /* when it was last seen full: tokens are counted from here; or NEVER */
	uint64_t made;	 /* tokens pushed since */

	/* takers */
	uint64_t ready queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t waiting; /* threads inside take_until */
	struct queue_impl_event tokens_came;

	/* the thread's futex: moves when the queue is full no longer, and for the end */
	uint32_t bell queue_impl_aligned(QUEUE_IMPL_APART);
	uint32_t ended;
};

static uint64_t
feed_now(const struct queue_token_feed *feed)
{
	return feed->clock ? feed->clock(feed->context) : queue_now();
}

static void
feed_ring_bell(struct queue_token_feed *feed)
{
	(void)queue_impl_fetch_add32_acq_rel(&feed->bell, 1);
	(void)queue_impl_futex_wake(&feed->bell, 1);
}

/*
 * Makes up to n tokens; true when the queue was full then. What it holds is what `ready` says: a
 * take that has been stopped between its promise and its pops still has its tokens in the ring,
 * which then finds no room for as many new ones. They count all the same.
 */
static bool
feed_push(struct queue_token_feed *feed, uint64_t n)
{
	static void *const tokens[FEED_BATCH];

	while (n > 0) {
		/* Acquire, but nothing hangs on it: takes can only make more room meanwhile. */
		uint64_t room = feed->rate.burst - queue_impl_load_acq(&feed->ready);
		uint64_t batch = n < FEED_BATCH ? n : FEED_BATCH;
		uint64_t ready;

		if (batch > room)
			batch = room;
		(void)queue_ring_push_n(feed->ring, tokens, (ptrdiff_t)batch);
		ready = queue_impl_fetch_add_acq_rel(&feed->ready, batch); /* FEED1 release */
		queue_impl_fence_after_rmw();				   /* WAIT1 notifier */
		/* Those who wait want different numbers of tokens: each has to look for itself. */
		if (queue_impl_event_awaited(&feed->tokens_came))
			queue_impl_event_notify_all(&feed->tokens_came);
		feed->made += batch;
		n -= batch;
		if (ready + batch == feed->rate.burst)
			return true;
	}
	return false;
}

/*
 * What is due is counted from the last time that the queue was full, not from the last token, so
 * that nothing is rounded and lateness does not add up. A full queue keeps no fraction of a token.
 * True when it was full after `now`, or when more was due than it holds.
 */
static bool
feed_advance(struct queue_token_feed *feed, uint64_t now)
{
	ticks due;

	if (feed->origin == QUEUE_NEVER) {
		feed->origin = now;
		feed->made = 0;
	}
	if (now < feed->origin)
		return false;
	/* Acquire, but nothing hangs on it: a take that it misses has come after this moment. */
	if (queue_impl_load_acq(&feed->ready) < feed->rate.burst) {
		due = (ticks)(now - feed->origin) * feed->rate.pace / feed->rate.price;
		/* As many as were made later by a clock that has gone back since. */
		if (due <= feed->made)
			return false;
		due -= feed->made;
		if (due > feed->rate.burst)
			due = feed->rate.burst;
		if (!feed_push(feed, (uint64_t)due) && due < feed->rate.burst)
			return false;
	}
	feed->origin = now;
	feed->made = 0;
	return true;
}

/* When the next token is due, at the earliest. */
static uint64_t
feed_next(const struct queue_token_feed *feed)
{
	ticks next = ((ticks)feed->made + 1) * feed->rate.price + feed->rate.pace - 1;

	next = next / feed->rate.pace + feed->origin;
	return next < QUEUE_NEVER ? (uint64_t)next : QUEUE_NEVER;
}

static void *
feed_thread(void *argument)
{
	struct queue_token_feed *feed = argument;
	bool full = true;

	/* The usual slack of 50 us would be a jitter of the rate. */
	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	for (;;) {
		uint32_t bell = queue_impl_load32_acq(&feed->bell);
		uint64_t now, until;

		if (queue_impl_load32_acq(&feed->ended))
			return NULL;
		if (full && queue_impl_load_acq(&feed->ready) == feed->rate.burst) {
			/*
			 * There is nothing to do, and the take that changes this rings. Should that
			 * thread be stopped before it rings, others wait no longer than this.
			 */
			until = queue_now() + PATIENCE;
		} else {
			/* It may have been full up to now, so time counts from now. */
			if (full)
				feed->origin = QUEUE_NEVER;
			now = feed_now(feed);
			full = feed_advance(feed, now);
			if (full)
				continue;
			until = feed_next(feed);
			if (until < now + FEED_PAUSE)
				until = now + FEED_PAUSE;
			if (feed->clock)
				until = queue_now() + DRIVEN_CLOCK_PIECE;
		}
		queue_impl_futex_wait(&feed->bell, bell, until);
	}
}

/* The thread is the library's: signals are for the program's own. */
static int
feed_start(struct queue_token_feed *feed)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&feed->thread, NULL, feed_thread, feed);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return rc == ENOMEM ? -ENOMEM : -EAGAIN;
	(void)pthread_setname_np(feed->thread, "token feed");
	return 0;
}

/* Joining is a cancellation point, and who ended in it would leave the feed behind. */
static void
feed_stop(struct queue_token_feed *feed)
{
	int old, disabled;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	queue_impl_store32_rel(&feed->ended, 1);
	feed_ring_bell(feed);
	(void)pthread_join(feed->thread, NULL);
	(void)pthread_setcancelstate(old, &disabled);
}

static void
feed_free(struct queue_token_feed *feed)
{
	queue_ring_destroy(feed->ring);
	feed->allocator->release(feed->allocator->context, feed, sizeof *feed,
				 _Alignof(struct queue_token_feed));
}

int
queue_token_feed_create(struct queue_token_feed **out,
			const struct queue_token_feed_options *options)
{
	const struct queue_allocator *allocator;
	struct queue_token_feed *feed;
	struct rate rate;
	int rc;

	if (!out || !options || (options->flags & ~QUEUE_FEED_MANUAL) ||
	    !queue_impl_allocator(options->allocator) ||
	    !rate_init(&rate, options->tokens, options->period, options->burst))
		return -EINVAL;
	allocator = queue_impl_allocator(options->allocator);
	feed = allocator->allocate(allocator->context, sizeof *feed,
				   _Alignof(struct queue_token_feed));
	if (!feed)
		return -ENOMEM;
	memset(feed, 0, sizeof *feed);
	feed->rate = rate;
	feed->flags = options->flags;
	feed->clock = options->clock;
	feed->context = options->context;
	feed->allocator = allocator;
	queue_impl_event_init(&feed->tokens_came, false);
	rc = queue_ring_create(&feed->ring, rate.burst, QUEUE_SINGLE_PRODUCER, allocator);
	if (rc == 0) {
		(void)feed_push(feed, rate.burst);
		feed->origin = QUEUE_NEVER;
		if (!(feed->flags & QUEUE_FEED_MANUAL))
			rc = feed_start(feed);
	}
	if (rc) {
		feed_free(feed);
		return rc;
	}
	*out = feed;
	return 0;
}

int
queue_token_feed_destroy(struct queue_token_feed *feed)
{
	if (!feed)
		return 0;
	if (queue_impl_load_acq(&feed->waiting) > 0) /* FEED2 acquire */
		return -EBUSY;
	if (!(feed->flags & QUEUE_FEED_MANUAL))
		feed_stop(feed);
	feed_free(feed);
	return 0;
}

int
queue_token_feed_take(struct queue_token_feed *feed, uint64_t n)
{
	uint64_t ready = queue_impl_load_acq(&feed->ready);
	ptrdiff_t popped = 1;
	void *tokens[FEED_BATCH];
	bool was_full;

	if (n > feed->rate.burst)
		return -EINVAL;
	do {
		if (ready < n)
			return -EAGAIN;
	} while (!queue_impl_cas_acq_rel(&feed->ready, &ready, ready - n)); /* FEED1 acquire */
	was_full = n > 0 && ready == feed->rate.burst;
	/* Empty: tokens that came while a stopped take kept the ring full are in ready alone. */
	for (; n > 0 && popped > 0; n -= (uint64_t)popped)
		popped = queue_ring_pop_n(feed->ring, tokens,
					  n < FEED_BATCH ? (ptrdiff_t)n : FEED_BATCH);
	if (was_full && !(feed->flags & QUEUE_FEED_MANUAL))
		feed_ring_bell(feed);
	return 0;
}

int
queue_token_feed_take_until(struct queue_token_feed *feed, uint64_t n, uint64_t deadline)
{
	int rc = queue_token_feed_take(feed, n);

	if (rc != -EAGAIN)
		return rc;
	(void)queue_impl_fetch_add_acq_rel(&feed->waiting, 1);
	do {
		uint32_t epoch = queue_impl_event_prepare(&feed->tokens_came);

		rc = queue_token_feed_take(feed, n);
		if (rc == -EAGAIN && deadline != QUEUE_NEVER && feed_now(feed) >= deadline)
			rc = -ETIMEDOUT;
		if (rc == -EAGAIN)
			queue_impl_event_sleep(&feed->tokens_came, epoch,
					       feed->clock && deadline != QUEUE_NEVER
						       ? queue_now() + DRIVEN_CLOCK_PIECE
						       : deadline);
		queue_impl_event_leave(&feed->tokens_came);
	} while (rc == -EAGAIN);
	/* From here on the feed may be gone. */
	(void)queue_impl_fetch_add_acq_rel(&feed->waiting, (uint64_t)-1); /* FEED2 release */
	return rc;
}

int
queue_token_feed_advance(struct queue_token_feed *feed, uint64_t now)
{
	if (!(feed->flags & QUEUE_FEED_MANUAL))
		return -EINVAL;
	(void)feed_advance(feed, now);
	return 0;
}

uint64_t
queue_token_feed_available_approx(const struct queue_token_feed *feed)
{
	return queue_impl_load_acq(&feed->ready);
}
