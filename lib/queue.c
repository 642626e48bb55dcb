/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/queue.h>

#include "alloc_impl.h"
#include "descriptor_impl.h"
#include "queue_impl.h"
#include "spill_impl.h"
#include "wait_impl.h"

#include <string.h>

/* The layout, in one place: what every push reads and what every pop reads lie apart. */
_Static_assert(offsetof(struct queue_bounded, fence) < QUEUE_IMPL_LINE + 16, "read-only part");
_Static_assert(offsetof(struct queue_bounded, sample_mask) -
			       offsetof(struct queue_bounded, not_empty) <
		       QUEUE_IMPL_LINE,
	       "a push looks at one line");
_Static_assert(offsetof(struct queue_bounded, probe_time) -
			       offsetof(struct queue_bounded, not_full) <
		       QUEUE_IMPL_LINE,
	       "a pop looks at one line");

#define ROLES (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)

/* Not positions: no probe in flight, and one that its sampler is just filling in. */
#define PROBE_IDLE UINT64_MAX
#define PROBE_CLAIMED (UINT64_MAX - 1)

/* Sampling adapts to between one probe a push and one in 65536, about 60 to 1000 a second. */
#define SAMPLE_MASK_MAX UINT64_C(0xffff)
#define SAMPLE_SOON QUEUE_MILLISECOND
#define SAMPLE_LATE (16 * QUEUE_MILLISECOND)

/* A driven clock moves while we sleep: look at it this often, in real time. */
#define DRIVEN_CLOCK_PIECE QUEUE_MILLISECOND

_Thread_local struct queue_bounded *queue_impl_worker_of;

static uint64_t
now_of(const struct queue_bounded *queue)
{
	return queue->clock ? queue->clock(queue->context) : queue_now();
}

/* Relaxed: counters order nothing. */
static void
count(uint64_t *counter, uint64_t n)
{
	queue_impl_add_rlx(counter, n);
}

void
queue_impl_drop(struct queue_bounded *queue, void *item, enum queue_reason reason)
{
	queue->on_drop(item, reason, queue->context);
}

/*
 * Creation.
 */

static bool
is_valid_spill(const struct queue_options *options)
{
	uint64_t high = options->high ? options->high : options->capacity;

	/* Who pops moves items from the log to the ring, so it is a producer too. */
	return options->log && options->encode && options->decode && options->on_drop &&
	       high <= options->capacity && options->low < high &&
	       !(options->flags & QUEUE_SINGLE_PRODUCER);
}

static bool
are_valid(const struct queue_options *options)
{
	if (!options || options->capacity == 0 || options->capacity > QUEUE_CAPACITY_MAX ||
	    (options->flags & ~ROLES) || !queue_impl_allocator(options->allocator))
		return false;
	switch (options->policy) {
	case QUEUE_ABORT:
	case QUEUE_BLOCK:
		break;
	case QUEUE_CALLER_RUNS:
		if (!options->run)
			return false;
		break;
	case QUEUE_DISCARD_OLDEST:
		/* The producer evicts, so it is a consumer too. */
		if (options->flags & QUEUE_SINGLE_CONSUMER)
			return false;
		/* fall through */
	case QUEUE_DISCARD:
		if (!options->on_drop)
			return false;
		break;
	case QUEUE_SPILL:
		if (!is_valid_spill(options))
			return false;
		break;
	default:
		return false;
	}
	if (options->policy != QUEUE_SPILL &&
	    (options->log || options->encode || options->decode || options->high || options->low))
		return false;
	return !options->deadline_of || options->on_drop;
}

size_t
queue_footprint(const struct queue_options *options)
{
	size_t ring;

	if (!are_valid(options))
		return 0;
	ring = queue_ring_footprint(options->capacity, options->flags);
	return offsetof(struct queue_bounded, ring) + ring;
}

int
queue_init(struct queue_bounded *queue, size_t size, const struct queue_options *options)
{
	size_t footprint = queue_footprint(options);
	struct queue_impl_spill *spill = NULL;
	bool barrier = false;
	int rc;

	if (!queue || (uintptr_t)queue % QUEUE_RING_ALIGNMENT || footprint == 0 || size < footprint)
		return -EINVAL;
	if (options->policy == QUEUE_SPILL) {
		rc = queue_impl_spill_of(options->log)->create(&spill, queue, options);
		if (rc < 0)
			return rc;
	}
	memset(queue, 0, offsetof(struct queue_bounded, ring));
	(void)queue_ring_init(&queue->ring, size - offsetof(struct queue_bounded, ring),
			      options->capacity, options->flags);
	queue->deadline_of = options->deadline_of;
	queue->on_drop = options->on_drop;
	queue->run = options->run;
	queue->context = options->context;
	queue->clock = options->clock;
	queue->policy = options->policy;
	if (options->deadline_of || options->policy == QUEUE_DISCARD_OLDEST)
		queue->careful = QUEUE_IMPL_CAREFUL_COUNTED;
		/* Where the ring publishes by locked instructions only, those are the fence WAIT1 needs. */
#if defined __x86_64__
	if (options->flags != 0 || queue->ring.rseq != 0)
#endif
	{
		barrier = queue_impl_barrier_available();
		queue->fence = !barrier;
	}
	queue_impl_event_init(&queue->not_empty, barrier);
	queue_impl_event_init(&queue->not_full, barrier);
	queue->probe_position = PROBE_IDLE;
	if (spill) {
		queue->spill = spill;
		queue->careful |= QUEUE_IMPL_CAREFUL_SPILL;
		/* What an earlier queue has left comes first, and errors to who pops. */
		(void)spill->operations->attend(queue);
	}
	return 0;
}

int
queue_create(struct queue_bounded **out, const struct queue_options *options)
{
	size_t size = queue_footprint(options);
	const struct queue_allocator *allocator;
	struct queue_bounded *queue;
	int rc;

	if (!out || size == 0)
		return -EINVAL;
	allocator = queue_impl_allocator(options->allocator);
	queue = (struct queue_bounded *)allocator->allocate(allocator->context, size,
							    QUEUE_RING_ALIGNMENT);
	if (!queue)
		return -ENOMEM;
	rc = queue_init(queue, size, options);
	if (rc) {
		allocator->release(allocator->context, queue, size, QUEUE_RING_ALIGNMENT);
		return rc;
	}
	queue->allocator = allocator;
	queue->size = size;
	*out = queue;
	return 0;
}

bool
queue_impl_is_waited_in(const struct queue_bounded *queue)
{
	return queue_impl_load_acq(&queue->waiting_to_push) != 0 || /* QUEUE2 acquire */
	       queue_impl_load_acq(&queue->waiting_to_pop) != 0;    /* QUEUE2 acquire */
}

int
queue_fini(struct queue_bounded *queue)
{
	void *item;

	if (queue_impl_is_waited_in(queue))
		return -EBUSY;
	if (!queue->on_drop && queue_depth_approx(queue) != 0)
		return -EBUSY;
	if (queue->spill) {
		int rc = queue->spill->operations->detach(queue);

		if (rc < 0)
			return rc;
	}
	/* on_drop may call the queue: it must not find a way to put the item back. */
	queue_ring_close(&queue->ring);
	while (queue_impl_ring_pop(&queue->ring, &item).rc == 0)
		queue_impl_drop(queue, item, QUEUE_DESTROYED);
	if (queue->spill)
		queue->spill->operations->destroy(queue);
	queue_ring_fini(&queue->ring);
	queue_impl_descriptor_fini(&queue->descriptor);
	return 0;
}

int
queue_destroy(struct queue_bounded *queue)
{
	const struct queue_allocator *allocator;
	int rc;

	if (!queue)
		return 0;
	rc = queue_fini(queue);
	if (rc)
		return rc;
	allocator = queue->allocator;
	allocator->release(allocator->context, queue, queue->size, QUEUE_RING_ALIGNMENT);
	return 0;
}

/*
 * Sojourn times. At most one probe is in flight: a position, and the time at which its push began.
 * A push about to fill the position sets it, the pop that takes the position claims it. Whoever
 * swaps probe_position owns the probe, so a thread that stops here costs samples, nothing else.
 */

/* True when this call has set a probe for `position`. */
static bool
set_probe(struct queue_bounded *queue, uint64_t position)
{
	uint64_t seen = queue_impl_load_acq(&queue->probe_position); /* QUEUE1 acquire */

	if (seen == position || seen == PROBE_CLAIMED)
		return false;
	/* Still in flight, unless the head has passed it: then it was missed and is replaced. */
	if (seen != PROBE_IDLE &&
	    (int64_t)(queue_impl_load_acq(&queue->ring.head) - seen) <= 0) /* RING4 acquire */
		return false;
	if (!queue_impl_cas_acq_rel(&queue->probe_position, &seen, PROBE_CLAIMED))
		return false;
	/* Relaxed: published by the store of the position. */
	queue_impl_store_rlx(&queue->probe_time, now_of(queue));
	queue_impl_store_rel(&queue->probe_position, position); /* QUEUE1 release */
	return true;
}

/*
 * With QUEUE_SPILL all pushes take the way of those that carry a probe, where they look at the log
 * first: for the inline half the mask is zero, and what samples is another.
 */
static uint64_t *
sample_mask_of(struct queue_bounded *queue)
{
	return queue->spill ? &queue->spill->sample_mask : &queue->sample_mask;
}

/* Eight buckets per power of two: a bucket's upper bound is at most an eighth above its lower. */
static unsigned
bucket_of(uint64_t nanoseconds)
{
	unsigned exponent;

	if (nanoseconds < 8)
		return (unsigned)nanoseconds;
	exponent = 63u - (unsigned)__builtin_clzll(nanoseconds);
	return (exponent - 2) * 8 + (unsigned)((nanoseconds >> (exponent - 3)) & 7);
}

static uint64_t
upper_bound_of(unsigned bucket)
{
	unsigned exponent = bucket / 8 + 2;

	if (bucket < 8)
		return bucket;
	return (((uint64_t)bucket % 8 + 8) << (exponent - 3)) +
	       ((UINT64_C(1) << (exponent - 3)) - 1);
}

static void
record_sojourn(struct queue_bounded *queue, uint64_t began)
{
	uint64_t now = now_of(queue);
	uint64_t sojourn = now > began ? now - began : 0;
	/* Relaxed, all: figures, each right on its own. */
	uint64_t longest = queue_impl_load_rlx(&queue->sojourn_max);
	uint64_t last = queue_impl_load_rlx(&queue->sampled_at);
	uint64_t *place = sample_mask_of(queue), mask = queue_impl_load_rlx(place);

	/* The maximum first: it caps the percentiles. */
	while (sojourn > longest && !queue_impl_cas_acq_rel(&queue->sojourn_max, &longest, sojourn))
		continue;
	count(&queue->sojourn[bucket_of(sojourn)], 1);
	queue_impl_store_rlx(&queue->sampled_at, now);
	if (now - last < SAMPLE_SOON && mask < SAMPLE_MASK_MAX)
		queue_impl_store_rlx(place, mask * 2 + 1);
	else if (now - last > SAMPLE_LATE && mask > 0)
		queue_impl_store_rlx(place, mask / 2);
}

/* Takes the probe of `position`, if it is still there. */
static void
take_probe(struct queue_bounded *queue, uint64_t position, bool delivered)
{
	uint64_t seen = queue_impl_load_acq(&queue->probe_position); /* QUEUE1 acquire */
	uint64_t began = queue_impl_load_rlx(&queue->probe_time); /* relaxed: checked by the swap */

	if (seen != position || position >= PROBE_CLAIMED ||
	    !queue_impl_cas_acq_rel(&queue->probe_position, &seen, PROBE_IDLE))
		return;
	if (delivered)
		record_sojourn(queue, began);
}

/*
 * After a batch from `before` on: its probe, if it had one, is behind the head now. One that was
 * behind it before belongs to an item taken long ago.
 */
static void
take_passed_probe(struct queue_bounded *queue, uint64_t before)
{
	uint64_t seen = queue_impl_load_acq(&queue->probe_position); /* QUEUE1 acquire */

	if (seen < PROBE_CLAIMED &&
	    (int64_t)(queue_impl_load_acq(&queue->ring.head) - seen) > 0) /* RING4 acquire */
		take_probe(queue, seen, (int64_t)(seen - before) >= 0);
}

/*
 * The descriptor. Pushes learn that there is one from the word that they look at anyway, pops from
 * `careful`. Both settle it after what they did, and pops also when they find the queue empty: so
 * when one has answered -EAGAIN, the descriptor was down after the queue had been seen empty, and
 * the next push raises it, which edge-triggered epoll(7) relies on.
 *
 * A pop that looked at `careful` before there was a descriptor may leave it up with nothing there;
 * the next pop lowers it.
 */

static bool
is_ring_ready(const struct queue_ring *ring)
{
	uint64_t head = queue_impl_load_acq(&ring->head), before; /* RING4 acquire */

	do {
		before = head;
		/* Not filled: empty. It is closed for ever, so looking at that later is exact. */
		if (!queue_impl_ring_is_filled(ring, head))
			return (queue_impl_load_acq(&ring->mode) & QUEUE_IMPL_RING_CLOSED) !=
			       0;			 /* RING5 acquire */
		head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	} while (head != before);
	return true;
}

/*
 * QUEUE_SPILL: the ring was found empty. 1: look again; 0: at one instant nothing was in the log
 * either; negative: what is there cannot be had.
 */
static int
look_behind(struct queue_bounded *queue)
{
	const struct queue_ring *ring = &queue->ring;
	uint64_t head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	int rc = 0;

	if (queue_impl_ring_is_filled(ring, head))
		return 1;
	if (queue_impl_load32_acq(&queue->spill->state) != 0) /* SPILL1 acquire */
		rc = queue->spill->operations->attend(queue);
	if (rc > 0)
		return 1;
	/* No end has moved: it was empty all the time. Relaxed: the same one, or all begins anew. */
	if (queue_impl_load_rlx(&ring->head) != head || queue_impl_ring_is_filled(ring, head))
		return 1;
	return rc;
}

bool
queue_impl_is_ready(const void *opaque)
{
	struct queue_bounded *queue = (struct queue_bounded *)(uintptr_t)opaque;
	int rc = 1;

	while (!is_ring_ready(&queue->ring)) {
		rc = queue->spill ? look_behind(queue) : 0;
		/* An error is something that a pop would not wait for. */
		if (rc <= 0)
			break;
	}
	return rc != 0;
}

/* Relaxed: fixed before anybody else comes. */
static bool
is_counted(const struct queue_bounded *queue)
{
	return (queue_impl_load32_rlx(&queue->careful) & QUEUE_IMPL_CAREFUL_COUNTED) != 0;
}

static bool
is_watched(const struct queue_bounded *queue)
{
	return (queue_impl_load32_acq(&queue->careful) & QUEUE_IMPL_CAREFUL_WATCHED) !=
	       0; /* DESCRIPTOR2 acquire */
}

static bool
settle(struct queue_bounded *queue)
{
	return queue_impl_descriptor_settle(&queue->descriptor, queue_impl_is_ready, queue);
}

/* A pop has found nothing. Should there be something by the time the descriptor is right: again. */
static bool
is_worth_another_look(struct queue_bounded *queue, int rc)
{
	return is_watched(queue) && settle(queue) && rc == -EAGAIN;
}

int
queue_fd(struct queue_bounded *queue)
{
	int number = queue_impl_descriptor_get(&queue->descriptor);
	uint32_t careful;

	if (number < 0)
		return number;
	if (!is_watched(queue)) {
		/* In this order: whoever finds pops watched need not ask for pushes. */
		queue_impl_event_watch(&queue->not_empty);
		careful = queue_impl_load32_acq(&queue->careful);
		while (!queue_impl_cas32_acq_rel(
			&queue->careful, &careful,
			careful | QUEUE_IMPL_CAREFUL_WATCHED)) /* DESCRIPTOR2 release */
			continue;
	}
	(void)settle(queue);
	return number;
}

/*
 * What a push or a pop owes the other side.
 */

static void
wake_consumer(struct queue_bounded *queue)
{
	queue_impl_queue_fence(queue); /* WAIT1 notifier */
	if (queue_impl_event_awaited(&queue->not_empty))
		queue_impl_push_wake(queue);
}

static void
wake_producer(struct queue_bounded *queue)
{
	queue_impl_queue_fence(queue); /* WAIT1 notifier */
	if (queue_impl_event_awaited(&queue->not_full))
		queue_impl_event_notify(&queue->not_full);
}

void
queue_impl_settle(struct queue_bounded *queue)
{
	if (queue_impl_event_is_watched(&queue->not_empty))
		(void)settle(queue);
}

queue_impl_cold void
queue_impl_push_wake(struct queue_bounded *queue)
{
	queue_impl_settle(queue);
	if (queue_impl_event_is_counted(&queue->not_empty))
		queue_impl_event_notify(&queue->not_empty);
}

/* A push that carries a probe. */
queue_impl_cold static int
push_probed(struct queue_bounded *queue, void *item)
{
	/* Relaxed: a guess at where the item will go in. */
	uint64_t tail = queue_impl_load_rlx(&queue->ring.tail);
	bool probed = set_probe(queue, tail);
	int rc = queue_impl_ring_push(&queue->ring, item).rc;

	if (rc == 0)
		wake_consumer(queue);
	else if (probed)
		take_probe(queue, tail, false);
	return rc;
}

/* QUEUE_SPILL: -EAGAIN: pushes go to the log, where there are older items; -EPIPE: nowhere. */
static int
way_to_ring(const struct queue_impl_spill *spill)
{
	uint32_t state = queue_impl_load32_acq(&spill->state); /* SPILL1 acquire */

	if (state == 0)
		return 0;
	return state & QUEUE_IMPL_SPILL_CLOSED ? -EPIPE : -EAGAIN;
}

/* Have so many items come together that further ones go to the log? */
static bool
is_high(struct queue_bounded *queue, uint64_t tail)
{
	struct queue_impl_spill *spill = queue->spill;
	/* Relaxed, all: numbers, and head only grows, so with an older one it seems to be more. */
	uint64_t head = queue_impl_load_rlx(&spill->head_seen);

	if ((int64_t)(tail - head) < (int64_t)spill->high)
		return false;
	head = queue_impl_load_rlx(&queue->ring.head);
	queue_impl_store_rlx(&spill->head_seen, head);
	return (int64_t)(tail - head) >= (int64_t)spill->high;
}

/* One try at the ring, whatever the high mark. */
static int
push_to_ring(struct queue_bounded *queue, void *item, uint64_t tail)
{
	int rc;

	/* Relaxed: a guess, made to decide on sampling only. */
	if ((tail & queue_impl_load_rlx(&queue->spill->sample_mask)) == 0)
		return push_probed(queue, item);
	rc = queue_impl_ring_push(&queue->ring, item).rc;
	if (rc == 0)
		wake_consumer(queue);
	return rc;
}

/* All pushes of a queue with QUEUE_SPILL come here, see sample_mask_of. */
int
queue_impl_push_sampled(struct queue_bounded *queue, void *item)
{
	uint64_t tail;
	int rc;

	if (!queue->spill)
		return push_probed(queue, item);
	rc = way_to_ring(queue->spill);
	if (rc < 0)
		return rc;
	tail = queue_impl_load_rlx(&queue->ring.tail); /* relaxed: a number */
	return is_high(queue, tail) ? -EAGAIN : push_to_ring(queue, item, tail);
}

static bool
is_expired(const struct queue_bounded *queue, const void *item)
{
	uint64_t deadline = queue->deadline_of(item);

	return deadline != 0 && deadline <= now_of(queue);
}

/* QUEUE_SPILL: a pop has taken the head that far, and gone through the fence in wake_producer. */
static void
attend_behind(struct queue_bounded *queue, uint64_t head)
{
	if (head >= queue_impl_load_rlx(&queue->spill->attention)) /* relaxed: WAIT1 */
		(void)queue->spill->operations->attend(queue);
}

/* What a pop from `position` owes: its probe, the producer that waits for room, the descriptor. */
queue_impl_cold void
queue_impl_pop_care(struct queue_bounded *queue, uint64_t position, bool delivered)
{
	take_probe(queue, position, delivered);
	wake_producer(queue);
	if (queue->spill)
		attend_behind(queue, position + 1);
	if (is_watched(queue))
		(void)settle(queue);
}

/* Something tried again and again by a call that waits: see below. */
struct attempt {
	int (*once)(struct attempt *attempt);
	struct queue_bounded *queue;
	struct queue_impl_event *event;
	void **items; /* where pops put, what pushes take */
	int n;
	bool (*interrupted)(void *context);
	void *context;
	bool counted; /* among those that a wake may be meant for */
};

static void step_out(struct attempt *attempt);

/* The ring has answered a pop *rc. True: it has something now; else *rc is the queue's answer. */
static bool
has_come_from_log(struct queue_bounded *queue, int *rc)
{
	int found;

	if (*rc != -EAGAIN || !queue->spill)
		return false;
	found = look_behind(queue);
	if (found < 0)
		*rc = found;
	return found > 0;
}

/* A pop from a queue that has a descriptor, drops items or spills; attempt: the call's, or NULL. */
static int
pop_careful(struct queue_bounded *queue, void **item, struct attempt *attempt)
{
	for (;;) {
		void *oldest;
		struct queue_impl_ring_result popped = queue_impl_ring_pop(&queue->ring, &oldest);
		bool expired;

		if (popped.rc) {
			if (has_come_from_log(queue, &popped.rc))
				continue;
			/* A call that waits looks when it gives up. */
			if (!attempt && is_worth_another_look(queue, popped.rc))
				continue;
			return popped.rc;
		}
		expired = queue->deadline_of && is_expired(queue, oldest);
		queue_impl_pop_care(queue, popped.position, !expired);
		if (!expired) {
			if (is_counted(queue))
				count(&queue->delivered, 1);
			*item = oldest;
			return 0;
		}
		count(&queue->expired, 1);
		/* on_drop may take long, or wait for room: no wake may be meant for us meanwhile. */
		step_out(attempt);
		queue_impl_drop(queue, oldest, QUEUE_EXPIRED);
	}
}

int
queue_impl_pop_careful(struct queue_bounded *queue, void **item)
{
	return pop_careful(queue, item, NULL);
}

/* Those of a batch from a queue that drops nothing. */
static int
pop_batch(struct queue_bounded *queue, void **items, int n, const struct attempt *attempt)
{
	uint64_t before = queue_impl_load_acq(&queue->ring.head); /* RING4 acquire */
	int got;

	do {
		got = (int)queue_ring_pop_n(&queue->ring, items, n);
		if (got == 0)
			got = -EAGAIN;
	} while (got < 0 && (has_come_from_log(queue, &got) ||
			     (!attempt && is_worth_another_look(queue, got))));
	if (got < 0)
		return got;
	take_passed_probe(queue, before);
	wake_producer(queue);
	if (queue->spill) /* relaxed: a number, not less than where this call has left it */
		attend_behind(queue, queue_impl_load_rlx(&queue->ring.head));
	if (is_watched(queue))
		(void)settle(queue);
	return got;
}

/* As many as are there and not expired: 1 to n, -EAGAIN or -EPIPE. */
static int
try_pop_n(struct queue_bounded *queue, void **items, int n, struct attempt *attempt)
{
	int got = 0, rc = 0;

	if (!is_counted(queue))
		return pop_batch(queue, items, n, attempt);
	/* One by one: each may turn out to have expired. */
	while (got < n && rc == 0) {
		rc = pop_careful(queue, &items[got], attempt);
		if (rc == 0)
			got++;
	}
	return got > 0 ? got : rc;
}

/*
 * Waiting, once for all calls that wait: an attempt is tried until it answers anything but
 * -EAGAIN, in between asleep on one of the two events.
 */

static int
attempt_push(struct attempt *attempt)
{
	return queue_impl_push_once(attempt->queue, *attempt->items);
}

static int
attempt_pop(struct attempt *attempt)
{
	/* Relaxed: as in queue_try_pop. */
	if (queue_impl_load32_rlx(&attempt->queue->careful))
		return pop_careful(attempt->queue, attempt->items, attempt);
	return queue_try_pop(attempt->queue, attempt->items);
}

static int
attempt_pop_n(struct attempt *attempt)
{
	if (attempt->interrupted && attempt->interrupted(attempt->context))
		return -ECANCELED;
	return try_pop_n(attempt->queue, attempt->items, attempt->n, attempt);
}

static int
spin(struct attempt *attempt)
{
	uint32_t polls = queue_impl_event_polls(attempt->event), i;
	int rc = -EAGAIN;

	for (i = 0; i < polls; i++) {
		rc = attempt->once(attempt);
		if (rc != -EAGAIN)
			break;
		queue_impl_pause();
	}
	queue_impl_event_learn(attempt->event, polls, i);
	return rc;
}

static bool
has_come(const struct queue_bounded *queue, uint64_t deadline)
{
	return deadline != QUEUE_NEVER && deadline <= now_of(queue);
}

/* The deadline is by the queue's clock, sleep by the system's. */
static uint64_t
sleep_until(const struct queue_bounded *queue, uint64_t deadline)
{
	if (!queue->clock || deadline == QUEUE_NEVER)
		return deadline;
	return queue_now() + DRIVEN_CLOCK_PIECE;
}

void
queue_impl_pass_baton(struct queue_bounded *queue, struct queue_impl_event *event)
{
	uint64_t depth;

	if (!queue_impl_event_is_counted(event))
		return;
	queue_impl_event_order(event); /* WAIT1 waiter */
	/*
	 * With a log only pops wait. An error, or an item in the log, is something to wake up for as
	 * well.
	 */
	if (queue->spill) {
		if (queue_impl_is_ready(queue))
			queue_impl_event_notify(event);
		return;
	}
	depth = queue_depth_approx(queue);
	if (event == &queue->not_empty ? depth > 0 : depth < queue->ring.capacity)
		queue_impl_event_notify(event);
}

void
queue_impl_sample_more(struct queue_bounded *queue)
{
	/* Relaxed, both: a guess that threads refine together. */
	uint64_t *place = sample_mask_of(queue), mask = queue_impl_load_rlx(place);

	if (mask > 0)
		queue_impl_store_rlx(place, mask / 2);
}

/* Leaves in the middle of an attempt, with everything that leaving owes. */
static void
step_out(struct attempt *attempt)
{
	if (!attempt || !attempt->counted)
		return;
	attempt->counted = false;
	queue_impl_event_leave(attempt->event);
	queue_impl_pass_baton(attempt->queue, attempt->event);
}

/* Asleep between attempts. Looks once more before it sleeps, and takes before it leaves. */
static int
sleep_for(struct attempt *attempt, uint64_t deadline)
{
	struct queue_bounded *queue = attempt->queue;
	struct queue_impl_event *event = attempt->event;
	int rc;

	do {
		uint32_t epoch = queue_impl_event_prepare(event);

		attempt->counted = true;
		rc = attempt->once(attempt);
		if (rc == -EAGAIN && has_come(queue, deadline))
			rc = -ETIMEDOUT;
		if (rc == -EAGAIN && attempt->counted) {
			if (event == &queue->not_empty)
				queue_impl_sample_more(queue);
			queue_impl_event_sleep(event, epoch, sleep_until(queue, deadline));
			rc = attempt->once(attempt);
		}
		if (attempt->counted)
			queue_impl_event_leave(event);
		attempt->counted = false;
	} while (rc == -EAGAIN);
	queue_impl_pass_baton(queue, event);
	return rc;
}

/* Polls, then sleeps, and gives up at the deadline. */
static int
wait_until(struct attempt *attempt, uint64_t deadline)
{
	int rc;

	if (has_come(attempt->queue, deadline)) {
		rc = attempt->once(attempt);
		return rc == -EAGAIN ? -ETIMEDOUT : rc;
	}
	rc = spin(attempt);
	return rc == -EAGAIN ? sleep_for(attempt, deadline) : rc;
}

static int
wait_for(struct attempt *attempt, uint64_t deadline)
{
	struct queue_bounded *queue = attempt->queue;
	bool for_room = attempt->event == &queue->not_full;
	uint64_t *waiting = for_room ? &queue->waiting_to_push : &queue->waiting_to_pop;
	int rc;

	(void)queue_impl_fetch_add_acq_rel(waiting, 1);
	do {
		rc = wait_until(attempt, deadline);
	} while (rc == -ETIMEDOUT && !for_room && is_worth_another_look(queue, -EAGAIN));
	if (for_room && rc != 0)
		count(rc == -EPIPE ? &queue->closed_rejected : &queue->rejected, 1);
	/* From here on the queue may be gone. */
	(void)queue_impl_fetch_add_acq_rel(waiting, (uint64_t)-1); /* QUEUE2 release */
	return rc;
}

static int
wait_for_room(struct queue_bounded *queue, void *item, uint64_t deadline)
{
	struct attempt attempt = {.once = attempt_push, .queue = queue, .event = &queue->not_full};

	/* All workers of a pool may be here at once, and nobody would ever make room. */
	if (deadline == QUEUE_NEVER && queue_impl_worker_of == queue) {
		count(&queue->rejected, 1);
		return -EDEADLK;
	}
	attempt.items = &item;
	return wait_for(&attempt, deadline);
}

queue_impl_cold int
queue_impl_pop_wait(struct queue_bounded *queue, void **item, uint64_t deadline)
{
	struct attempt attempt = {.once = attempt_pop, .queue = queue, .event = &queue->not_empty};

	attempt.items = item;
	return wait_for(&attempt, deadline);
}

int
queue_impl_pop_n_unless(struct queue_bounded *queue, void **items, int n,
			bool (*interrupted)(void *context), void *context)
{
	struct attempt attempt = {.once = attempt_pop_n,
				  .queue = queue,
				  .event = &queue->not_empty,
				  .interrupted = interrupted,
				  .context = context};
	int rc;

	attempt.items = items;
	attempt.n = n;
	rc = attempt_pop_n(&attempt);
	return rc == -EAGAIN ? wait_for(&attempt, QUEUE_NEVER) : rc;
}

void
queue_impl_interrupt(struct queue_bounded *queue)
{
	queue_impl_fence_full(); /* WAIT1 notifier */
	queue_impl_event_notify_all(&queue->not_empty);
}

int
queue_pop_n(struct queue_bounded *queue, void **items, int n)
{
	if (n < 1)
		return -EINVAL;
	return queue_impl_pop_n_unless(queue, items, n, NULL, NULL);
}

int
queue_try_pop_n(struct queue_bounded *queue, void **items, int n)
{
	int rc;

	if (n < 1)
		return -EINVAL;
	rc = try_pop_n(queue, items, n, NULL);
	return rc == -EAGAIN ? 0 : rc;
}

/*
 * Pushes that did not go in at once.
 */

static int
push_counted(struct queue_bounded *queue, int rc)
{
	if (rc < 0)
		count(rc == -EPIPE ? &queue->closed_rejected : &queue->rejected, 1);
	return rc;
}

queue_impl_cold int
queue_impl_try_push_refused(struct queue_bounded *queue, void *item, int rc)
{
	/* What is above the high mark is for those who do not wait for the disk. */
	if (queue->spill && rc == -EAGAIN && way_to_ring(queue->spill) == 0)
		/* Relaxed: a guess, made to decide on sampling only. */
		rc = push_to_ring(queue, item, queue_impl_load_rlx(&queue->ring.tail));
	return push_counted(queue, rc);
}

/* QUEUE_SPILL. The thread counts as one that waits, for the disk. */
static int
spill(struct queue_bounded *queue, void *item, uint64_t deadline)
{
	int rc;

	(void)queue_impl_fetch_add_acq_rel(&queue->waiting_to_push, 1);
	rc = push_counted(queue, queue->spill->operations->push(queue, item, deadline));
	/* From here on the queue may be gone. */
	(void)queue_impl_fetch_add_acq_rel(&queue->waiting_to_push,
					   (uint64_t)-1); /* QUEUE2 release */
	return rc;
}

/*
 * Takes the oldest until there is room. Another producer may be faster to use the room, so one
 * push may evict several; each goes to on_drop once, the last after the push, so that nobody's
 * on_drop keeps the room waiting.
 */
static int
evict_and_push(struct queue_bounded *queue, void *item)
{
	bool evicted = false;
	void *oldest = NULL;
	int rc;

	do {
		void *victim;
		struct queue_impl_ring_result popped = queue_impl_ring_pop(&queue->ring, &victim);

		if (popped.rc == 0) {
			/* The descriptor is settled by the push; when that fails, the queue is closed. */
			take_probe(queue, popped.position, false);
			count(&queue->evicted, 1);
			if (evicted)
				queue_impl_drop(queue, oldest, QUEUE_EVICTED);
			oldest = victim;
			evicted = true;
		}
		rc = queue_impl_push_once(queue, item);
	} while (rc == -EAGAIN);
	if (rc == -EPIPE)
		count(&queue->closed_rejected, 1);
	if (evicted)
		queue_impl_drop(queue, oldest, QUEUE_EVICTED);
	return rc == 0 && evicted ? QUEUE_EVICTED : rc;
}

queue_impl_cold int
queue_impl_push_refused(struct queue_bounded *queue, void *item, int rc)
{
	if (rc == -EPIPE)
		return push_counted(queue, rc);
	switch (queue->policy) {
	case QUEUE_BLOCK:
		return wait_for_room(queue, item, QUEUE_NEVER);
	case QUEUE_CALLER_RUNS:
		count(&queue->ran, 1);
		queue->run(item, queue->context);
		return QUEUE_RAN;
	case QUEUE_DISCARD:
		count(&queue->discarded, 1);
		queue_impl_drop(queue, item, QUEUE_DISCARDED);
		return QUEUE_DISCARDED;
	case QUEUE_DISCARD_OLDEST:
		return evict_and_push(queue, item);
	case QUEUE_SPILL:
		return spill(queue, item, QUEUE_NEVER);
	case QUEUE_ABORT:
	default:
		return push_counted(queue, rc);
	}
}

int
queue_push_until(struct queue_bounded *queue, void *item, uint64_t deadline)
{
	int rc = queue_impl_push_once(queue, item);

	if (rc == -EPIPE)
		return push_counted(queue, rc);
	if (rc == -EAGAIN && queue->spill)
		return spill(queue, item, deadline);
	return rc == -EAGAIN ? wait_for_room(queue, item, deadline) : rc;
}

int
queue_push_n(struct queue_bounded *queue, void *const *items, int n)
{
	/* Relaxed, both: a guess, made to decide on sampling only. */
	uint64_t tail = queue_impl_load_rlx(&queue->ring.tail);
	bool probed = n > 0 && (tail & queue_impl_load_rlx(sample_mask_of(queue))) == 0 &&
		      set_probe(queue, tail);
	int rc = queue->spill && n > 0 ? way_to_ring(queue->spill) : 0;

	if (rc == 0)
		rc = (int)queue_ring_push_n(&queue->ring, items, n);
	else if (rc == -EAGAIN)
		rc = 0;
	if (rc > 0)
		wake_consumer(queue);
	else if (probed)
		take_probe(queue, tail, false);
	if (rc >= 0 && rc < n)
		count(&queue->rejected, (uint64_t)(n - rc));
	else if (rc == -EPIPE)
		count(&queue->closed_rejected, (uint64_t)n);
	return rc;
}

/* QUEUE_SPILL: pushes are refused from now on. False: not all has come from the log yet. */
static bool
close_log(struct queue_impl_spill *spill)
{
	uint32_t state = queue_impl_load32_acq(&spill->state);

	while (!(state & QUEUE_IMPL_SPILL_CLOSED) &&
	       !queue_impl_cas32_acq_rel(&spill->state, &state, state | QUEUE_IMPL_SPILL_CLOSED))
		continue;
	return !(state & QUEUE_IMPL_SPILL_ACTIVE);
}

int
queue_close(struct queue_bounded *queue)
{
	/* Who moves the last item from the log comes here again. */
	if (queue->spill && !close_log(queue->spill))
		return 0;
	queue_ring_close(&queue->ring);
	queue_impl_fence_full(); /* WAIT1 notifier */
	if (queue_impl_event_is_watched(&queue->not_empty))
		(void)settle(queue);
	queue_impl_event_notify_all(&queue->not_empty);
	queue_impl_event_notify_all(&queue->not_full);
	return 0;
}

/*
 * Figures.
 */

static uint64_t
percentile(const uint64_t *buckets, uint64_t total, unsigned percent, uint64_t longest)
{
	uint64_t rank = (total * percent + 99) / 100, seen = 0;
	unsigned bucket;

	for (bucket = 0; bucket < QUEUE_IMPL_SOJOURN_BUCKETS; bucket++) {
		seen += buckets[bucket];
		if (seen >= rank)
			break;
	}
	return upper_bound_of(bucket) < longest ? upper_bound_of(bucket) : longest;
}

static void
sojourn_stats(const struct queue_bounded *queue, struct queue_stats *out)
{
	uint64_t buckets[QUEUE_IMPL_SOJOURN_BUCKETS];
	uint64_t total = 0, longest;
	unsigned i;

	/* Relaxed, all: figures, each right on its own. */
	for (i = 0; i < QUEUE_IMPL_SOJOURN_BUCKETS; i++)
		total += buckets[i] = queue_impl_load_rlx(&queue->sojourn[i]);
	longest = queue_impl_load_rlx(&queue->sojourn_max);
	out->sojourn_samples = total;
	out->sojourn_max = longest;
	if (total > 0) {
		out->sojourn_p50 = percentile(buckets, total, 50, longest);
		out->sojourn_p90 = percentile(buckets, total, 90, longest);
		out->sojourn_p99 = percentile(buckets, total, 99, longest);
	}
}

int
queue_stats(const struct queue_bounded *queue, struct queue_stats *out)
{
	struct queue_ring_stats ring;

	memset(out, 0, sizeof *out);
	/* What is counted after the ring has moved comes first, so that it is not ahead of it. */
	sojourn_stats(queue, out);
	/* Relaxed, all counters: each is right on its own. */
	out->rejected = queue_impl_load_rlx(&queue->rejected);
	out->discarded = queue_impl_load_rlx(&queue->discarded);
	out->evicted = queue_impl_load_rlx(&queue->evicted);
	out->ran = queue_impl_load_rlx(&queue->ran);
	out->expired = queue_impl_load_rlx(&queue->expired);
	out->closed_rejected = queue_impl_load_rlx(&queue->closed_rejected);
	out->waits = queue_impl_load_rlx(&queue->not_empty.waits) +
		     queue_impl_load_rlx(&queue->not_full.waits);
	out->wakes = queue_impl_load_rlx(&queue->not_empty.wakes) +
		     queue_impl_load_rlx(&queue->not_full.wakes);
	if (queue->spill) {
		out->spilled = queue_impl_load_rlx(&queue->spill->spilled);
		out->backlog = queue_impl_load_rlx(&queue->spill->backlog);
	}
	/* Where pops are not all that takes items out they are counted; neither ever goes back. */
	if (is_counted(queue))
		out->popped = queue_impl_load_rlx(&queue->delivered);
	queue_ring_stats(&queue->ring, &ring);
	if (!is_counted(queue))
		out->popped = ring.popped;
	out->capacity = ring.capacity;
	out->depth = ring.depth;
	out->closed = ring.closed ||
		      (queue->spill && (queue_impl_load32_rlx(&queue->spill->state) &
					QUEUE_IMPL_SPILL_CLOSED)); /* relaxed: a figure */
	out->pushed = ring.pushed;
	return 0;
}

uint64_t
queue_depth_approx(const struct queue_bounded *queue)
{
	return queue_ring_depth_approx(&queue->ring);
}

const char *
queue_reason_name(enum queue_reason reason)
{
	switch (reason) {
	case QUEUE_RAN:
		return "ran";
	case QUEUE_DISCARDED:
		return "discarded";
	case QUEUE_EVICTED:
		return "evicted";
	case QUEUE_EXPIRED:
		return "expired";
	case QUEUE_DESTROYED:
		return "destroyed";
	case QUEUE_STOPPED:
		return "stopped";
	case QUEUE_FAILED:
		return "failed";
	case QUEUE_SPILLED:
		return "spilled";
	default:
		return "unknown";
	}
}
