/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE_SPILL: a queue whose end is in a log. There are two states:
 *
 *   not ACTIVE    all items are in the ring, and pushes put theirs there: as in any other queue, but
 *                 for a look at the state
 *   ACTIVE        the ring has the older items, the log the younger ones, and pushes append to it
 *
 *         pop <- [ ring: at most `high` items ] <- refill, at `low` <- [ log ] <- push
 *
 * One lock orders what happens at the log: a push appends, and a refill reads, decodes and pushes into
 * the ring, with the lock held. A push that finds the ring full takes the lock, looks again, and sets
 * ACTIVE before it appends. Who has moved the last item that was appended clears ACTIVE before it lets
 * go of the lock. Waiting for the disk, on_drop, encode and waking happen without the lock.
 *
 * That it is one queue, first in, first out:
 *  - Items in the log are in the order of their appends, and are moved in this order.
 *  - A push that saw the state before ACTIVE was set may be late with its item, which then comes to
 *    lie in the ring before items of the log. All these were appended after that push began: it is
 *    as if its item had been pushed first.
 *  - Who sees ACTIVE gone sees all that was moved before in the ring (SPILL1): a pop finds it, a
 *    push goes behind.
 *  - An item is there for pops when its message can be read: that is when it is stored, before its
 *    push returns. Until then the push is under way.
 *  - A pop says "empty" when the ring was so before and after it had found nothing in the log, and
 *    no end of the ring had moved meanwhile.
 *
 * That nobody sleeps beside an item: every push that has stored one attends to the log before it
 * returns, and so does every pop that takes the head to `attention`, which is where the ring has `low`
 * items left. Both may look at the same time, one at the head, the other at `attention`: there is
 * a fence on both sides, of the kind that WAIT1 has (impl/wait.h), after which one sees the other.
 * Whoever moves items wakes a consumer, as a push does.
 *
 * Closing takes no lock: it sets CLOSED. When ACTIVE is not set at that instant it never will be, for
 * that is done by a swap, and the ring is closed at once. Otherwise it is closed by who clears ACTIVE,
 * behind the last item that a push has appended.
 *
 * An item that came from the log is acknowledged when the head has passed it. After a crash it comes
 * again if that was not written: what was popped lately, and what was in memory.
 */
#include "alloc_impl.h"
#include "log_impl.h"
#include "queue_impl.h"
#include "spill_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define READER "spill"

/* Messages read at once, and bytes for these to begin with. */
#define BATCH 64
#define BUFFER ((size_t)1 << 16)
#define BUFFER_ALIGNMENT 16

/* Longer items are encoded in memory that is allocated for the time of the call. */
#define SHORT 1024

/* So many items that were popped may wait to be acknowledged. */
#define ACKNOWLEDGE 64

/* How often a push that waits for room in the log looks whether the queue is closed. */
#define PIECE (10 * QUEUE_MILLISECOND)

/* What append answers when the item went into the ring after all, and into the log. */
#define IN_MEMORY 1
#define APPENDED 0

#define NEVER UINT64_MAX /* no position */

/* An item from the log that is in the ring, or was. */
struct moved {
	uint64_t message; /* its position in the log */
	uint64_t place;	  /* and in the ring */
};

struct spill {
	struct queue_impl_spill front;

	/* read-only */
	struct queue_bounded *queue;
	struct queue_log *log;
	ptrdiff_t (*encode)(const void *item, void *buffer, size_t size, void *context);
	int (*decode)(const void *data, size_t length, void **item, void *context);
	void *context;
	const struct queue_allocator *allocator;
	uint64_t low;
	uint64_t old_end; /* messages before were there when the queue was made */

	pthread_mutex_t lock; /* of all that follows */
	struct queue_log_reader *reader;
	uint64_t end;	   /* no message that is the queue's begins here or behind */
	uint64_t appended; /* items that were appended and have not been moved */
	bool has_old;	   /* there are messages before old_end that have not been moved */

	/* what was read and has not been moved: messages[next..n), of the next one also the item */
	struct queue_log_message messages[BATCH];
	int next, n;
	void *item;
	bool has_item;
	unsigned char *buffer;
	size_t size;

	/* a ring, in the order of both positions */
	struct moved moved[QUEUE_LOG_WINDOW_MAX];
	uint32_t first_moved, n_moved;
};

static struct spill *
spill_of(const struct queue_bounded *queue)
{
	return (struct spill *)(void *)queue->spill;
}

/*
 * The state.
 */

/* With the lock; it cannot be set once CLOSED is. */
static bool
set_active(struct spill *spill)
{
	uint32_t none = 0;

	return queue_impl_cas32_acq_rel(&spill->front.state, &none, QUEUE_IMPL_SPILL_ACTIVE);
}

/* Relaxed: with the lock, or as a hint. */
static bool
is_active(const struct spill *spill)
{
	return (queue_impl_load32_rlx(&spill->front.state) & QUEUE_IMPL_SPILL_ACTIVE) != 0;
}

static void
show_backlog(struct spill *spill)
{
	/* Relaxed: a figure. */
	queue_impl_store_rlx(&spill->front.backlog, spill->appended + spill->has_old);
}

/* With the lock: when all that was appended is in the ring, pushes may go there again. */
static void
clear_when_done(struct spill *spill)
{
	uint32_t state = queue_impl_load32_rlx(&spill->front.state); /* relaxed: the swap decides */

	if (!is_active(spill) || spill->has_item || spill->next < spill->n ||
	    !queue_impl_log_reader_is_past(spill->reader, spill->end))
		return;
	spill->appended = 0;
	spill->has_old = false;
	show_backlog(spill);
	while (!queue_impl_cas32_acq_rel(&spill->front.state, &state,
					 state & ~QUEUE_IMPL_SPILL_ACTIVE)) /* SPILL1 release */
		continue;
}

/* Lets go of the lock. True: nothing comes from the log any more, and the ring is closed. */
static bool
leave(struct spill *spill)
{
	/* Relaxed: ACTIVE is cleared with the lock held, and not set again. */
	bool is_over = queue_impl_load32_rlx(&spill->front.state) == QUEUE_IMPL_SPILL_CLOSED;

	pthread_mutex_unlock(&spill->lock);
	if (is_over)
		(void)queue_close(spill->queue);
	return is_over;
}

/*
 * From the log to the ring. All with the lock.
 */

/* What pops can get at ends here: a push that has a number may not have filled its place. */
static uint64_t
filled_end(const struct spill *spill)
{
	const struct queue_ring *ring = &spill->queue->ring;
	uint64_t tail = queue_impl_load_rlx(&ring->tail); /* relaxed: a number */

	while (!queue_impl_ring_is_filled(ring, tail - 1))
		tail--;
	return tail;
}

/* Relaxed: a number. When the head is newer than the end it may seem to be less than none. */
static int64_t
depth_of(const struct spill *spill)
{
	uint64_t tail = filled_end(spill);

	return (int64_t)(tail - queue_impl_load_rlx(&spill->queue->ring.head));
}

static struct moved *
moved_at(struct spill *spill, uint32_t i)
{
	return &spill->moved[(spill->first_moved + i) % QUEUE_LOG_WINDOW_MAX];
}

/* Those that the head has passed. */
static void
acknowledge(struct spill *spill)
{
	uint64_t head = queue_impl_load_rlx(&spill->queue->ring.head); /* relaxed: a number */
	struct queue_log_message passed[BATCH];
	int n;

	do {
		for (n = 0; n < BATCH && spill->n_moved > 0; n++) {
			const struct moved *moved = moved_at(spill, 0);

			if ((int64_t)(head - moved->place) <= 0)
				break;
			passed[n].position = moved->message;
			spill->first_moved = (spill->first_moved + 1) % QUEUE_LOG_WINDOW_MAX;
			spill->n_moved--;
		}
		(void)queue_log_ack_n(spill->reader, passed, n);
	} while (n == BATCH);
}

static int
enlarge(struct spill *spill, size_t size)
{
	const struct queue_allocator *allocator = spill->allocator;
	unsigned char *buffer = allocator->allocate(allocator->context, size, BUFFER_ALIGNMENT);

	if (!buffer)
		return -ENOMEM;
	allocator->release(allocator->context, spill->buffer, spill->size, BUFFER_ALIGNMENT);
	spill->buffer = buffer;
	spill->size = size;
	return 0;
}

/* Further messages: how many; 0: there are none now. */
static int
read_more(struct spill *spill)
{
	int room = (int)(QUEUE_LOG_WINDOW_MAX - spill->n_moved);
	int n = room < BATCH ? room : BATCH, rc;

	spill->next = spill->n = 0;
	if (n == 0)
		return 0;
	do {
		rc = queue_log_read_n(spill->reader, spill->messages, n, spill->buffer, spill->size,
				      0);
	} while (rc == -EMSGSIZE && (rc = enlarge(spill, spill->messages[0].length)) == 0);
	/* A log that has failed says so when all that is stored has been read. */
	if (rc == -ETIMEDOUT ||
	    (rc == -EIO && queue_impl_log_reader_is_past(spill->reader, spill->end)))
		return 0;
	if (rc > 0)
		spill->n = rc;
	return rc;
}

/* Has the next item: 1; 0: there is none now. */
static int
fetch(struct spill *spill)
{
	const struct queue_log_message *message;
	int rc = 1;

	if (spill->has_item)
		return 1;
	if (spill->next == spill->n)
		rc = read_more(spill);
	if (rc <= 0)
		return rc;
	message = &spill->messages[spill->next];
	rc = spill->decode(message->data, message->length, &spill->item, spill->context);
	if (rc < 0)
		return rc;
	spill->has_item = true;
	return 1;
}

/* Puts it into the ring: 1; 0: a push that was late has taken the room, or it is closed. */
static int
give(struct spill *spill)
{
	uint64_t message = spill->messages[spill->next].position;
	struct queue_impl_ring_result pushed =
		queue_impl_ring_push(&spill->queue->ring, spill->item);
	struct moved *moved = moved_at(spill, spill->n_moved);

	if (pushed.rc != 0)
		return 0;
	moved->message = message;
	moved->place = pushed.position;
	spill->n_moved++;
	spill->next++;
	spill->has_item = false;
	if (message >= spill->old_end) {
		spill->has_old = false;
		if (spill->appended > 0)
			spill->appended--;
	}
	show_backlog(spill);
	return 1;
}

/* Up to the high mark. How many; negative: none, for an error. */
static int
refill(struct spill *spill)
{
	int moved = 0, rc = 1;

	while (rc > 0 && depth_of(spill) < (int64_t)spill->front.high) {
		rc = fetch(spill);
		if (rc > 0)
			rc = give(spill);
		if (rc > 0)
			moved++;
	}
	return moved > 0 ? moved : rc < 0 ? rc : 0;
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Where the head has to come for pops to attend again. True: they may have missed it by now. */
static bool
set_attention(struct spill *spill)
{
	uint64_t seen = queue_impl_load_rlx(&spill->front.attention); /* relaxed: with the lock */
	uint64_t tail = filled_end(spill), attention = NEVER;

	if (spill->n_moved > 0)
		attention = smaller(moved_at(spill, 0)->place + ACKNOWLEDGE,
				    moved_at(spill, spill->n_moved - 1)->place + 1);
	if (is_active(spill))
		attention = smaller(attention, tail > spill->low ? tail - spill->low : 0);
	if (attention == seen)
		return false;
	/* A swap, as event_order follows one. It succeeds: nobody else has the lock. */
	(void)queue_impl_cas_acq_rel(&spill->front.attention, &seen, attention);
	queue_impl_event_order(&spill->queue->not_full); /* WAIT1 waiter */
	return true;
}

static bool
is_low(const struct spill *spill)
{
	return is_active(spill) && depth_of(spill) <= (int64_t)spill->low;
}

/* All that is due. How many items came to the ring; negative: none, for an error. */
static int
attend_locked(struct spill *spill)
{
	int moved = 0, rc;

	do {
		acknowledge(spill);
		rc = is_low(spill) ? refill(spill) : 0;
		if (rc > 0)
			moved += rc;
		clear_when_done(spill);
	} while (set_attention(spill) && rc >= 0 && is_low(spill));
	return moved > 0 ? moved : rc;
}

static void
wake(struct queue_bounded *queue)
{
	queue_impl_fence_full(); /* WAIT1 notifier */
	queue_impl_event_notify(&queue->not_empty);
}

static int
attend(struct queue_bounded *queue)
{
	struct spill *spill = spill_of(queue);
	bool is_over;
	int rc;

	pthread_mutex_lock(&spill->lock);
	rc = attend_locked(spill);
	is_over = leave(spill);
	if (rc > 0)
		wake(queue);
	return rc > 0 || is_over ? 1 : rc;
}

/*
 * From a push to the log.
 */

static bool
has_come(const struct queue_bounded *queue, uint64_t deadline)
{
	uint64_t now;

	if (deadline == QUEUE_NEVER)
		return false;
	now = queue->clock ? queue->clock(queue->context) : queue_now();
	return deadline <= now;
}

/* With the lock. -EAGAIN: the log has no room in memory now. */
static int
append_locked(struct spill *spill, void *item, const void *data, size_t length, uint64_t *position)
{
	struct queue_bounded *queue = spill->queue;
	uint32_t state = queue_impl_load32_rlx(&spill->front.state); /* relaxed: a swap decides */
	int rc;

	if (state & QUEUE_IMPL_SPILL_CLOSED)
		return -EPIPE;
	if (state == 0) {
		/* While this thread was on its way consumers may have made room. */
		if (depth_of(spill) < (int64_t)spill->front.high &&
		    queue_impl_ring_push(&queue->ring, item).rc == 0)
			return IN_MEMORY;
		if (!set_active(spill))
			return -EPIPE;
	}
	rc = queue_impl_log_try_append(spill->log, data, length, position);
	if (rc < 0) {
		clear_when_done(spill);
		return rc;
	}
	spill->end = *position + 1;
	spill->appended++;
	show_backlog(spill);
	return APPENDED;
}

static int
append(struct spill *spill, void *item, const void *data, size_t length, uint64_t deadline,
       uint64_t *position)
{
	int rc;

	for (;;) {
		pthread_mutex_lock(&spill->lock);
		rc = append_locked(spill, item, data, length, position);
		(void)leave(spill);
		if (rc != -EAGAIN)
			return rc;
		if (has_come(spill->queue, deadline))
			return -ETIMEDOUT;
		(void)queue_impl_log_wait_for_room(spill->log, length, QUEUE_IMPL_LOG_FOR_MESSAGES,
						   queue_now() + PIECE);
	}
}

/* It is not known to be stored, and its item is the caller's again: it does not come from there. */
static void
take_back(struct spill *spill)
{
	pthread_mutex_lock(&spill->lock);
	if (spill->appended > 0)
		spill->appended--;
	show_backlog(spill);
	(void)leave(spill);
}

static int
push_encoded(struct queue_bounded *queue, void *item, const void *data, size_t length,
	     uint64_t deadline)
{
	struct spill *spill = spill_of(queue);
	uint64_t position;
	int rc = append(spill, item, data, length, deadline, &position);
	bool is_in_log = rc == APPENDED;

	if (rc < 0)
		return rc;
	if (is_in_log) {
		rc = queue_impl_log_wait_stored(spill->log, position);
		if (rc < 0)
			take_back(spill);
		else
			queue_impl_add_rlx(&spill->front.spilled, 1);
	}
	/* Also an error is something to wake up for. */
	if (!is_in_log || attend(queue) != 0) {
		queue_impl_settle(queue);
		wake(queue);
	}
	if (is_in_log && rc == 0)
		queue_impl_drop(queue, item, QUEUE_SPILLED);
	return rc < 0 ? rc : 0;
}

static int
push(struct queue_bounded *queue, void *item, uint64_t deadline)
{
	struct spill *spill = spill_of(queue);
	const struct queue_allocator *allocator = spill->allocator;
	uint64_t most = queue_log_length_max(spill->log);
	unsigned char bytes[SHORT], *data = bytes;
	size_t size = sizeof bytes;
	ptrdiff_t length;
	int rc;

	if (has_come(queue, deadline))
		return -ETIMEDOUT;
	length = spill->encode(item, data, size, spill->context);
	/* It may come out longer each time. */
	while (length > 0 && (size_t)length > size && (uint64_t)length <= most) {
		if (data != bytes)
			allocator->release(allocator->context, data, size, BUFFER_ALIGNMENT);
		size = (size_t)length;
		data = allocator->allocate(allocator->context, size, BUFFER_ALIGNMENT);
		if (!data)
			return -ENOMEM;
		length = spill->encode(item, data, size, spill->context);
	}
	if (length < 0)
		rc = (int)length;
	else if ((uint64_t)length > most)
		rc = -EMSGSIZE;
	else
		rc = push_encoded(queue, item, data, (size_t)length, deadline);
	if (data != bytes)
		allocator->release(allocator->context, data, size, BUFFER_ALIGNMENT);
	return rc;
}

/*
 * Beginning and end.
 */

static void
spill_free(struct spill *spill)
{
	const struct queue_allocator *allocator = spill->allocator;

	pthread_mutex_destroy(&spill->lock);
	if (spill->buffer)
		allocator->release(allocator->context, spill->buffer, spill->size,
				   BUFFER_ALIGNMENT);
	allocator->release(allocator->context, spill, sizeof *spill, QUEUE_IMPL_APART);
}

/* Where the reader is, and whether there is something for it. */
static int
open_reader(struct spill *spill)
{
	const struct queue_log_reader_options options = {.lease = QUEUE_NEVER};
	struct queue_log_reader_stats stats;
	int rc = queue_log_reader_open(spill->log, READER, &options, &spill->reader);

	if (rc < 0)
		return rc;
	(void)queue_log_reader_stats(spill->reader, &stats);
	spill->end = spill->old_end = stats.position + stats.lag;
	spill->has_old = stats.lag > 0;
	if (spill->has_old)
		(void)set_active(spill);
	show_backlog(spill);
	return 0;
}

static int
create(struct queue_impl_spill **out, struct queue_bounded *queue,
       const struct queue_options *options)
{
	const struct queue_allocator *allocator = queue_impl_allocator(options->allocator);
	struct spill *spill;
	int rc;

	/* Retention would take items away that nobody has popped. */
	if (options->log->options.retain_bytes > 0 || options->log->options.retain_age > 0)
		return -EINVAL;
	spill = allocator->allocate(allocator->context, sizeof *spill, QUEUE_IMPL_APART);
	if (!spill)
		return -ENOMEM;
	memset(spill, 0, sizeof *spill);
	(void)pthread_mutex_init(&spill->lock, NULL);
	spill->allocator = allocator;
	spill->queue = queue;
	spill->log = options->log;
	spill->encode = options->encode;
	spill->decode = options->decode;
	spill->context = options->context;
	spill->front.operations = options->log->spill;
	spill->front.high = options->high ? options->high : options->capacity;
	/* Of what the log hands out at most the window is in the ring: leave half of it for a refill. */
	spill->low = smaller(options->low ? options->low : spill->front.high / 2,
			     QUEUE_LOG_WINDOW_MAX / 2);
	spill->front.attention = NEVER;
	spill->buffer = allocator->allocate(allocator->context, BUFFER, BUFFER_ALIGNMENT);
	spill->size = BUFFER;
	rc = spill->buffer ? open_reader(spill) : -ENOMEM;
	if (rc < 0) {
		spill_free(spill);
		return rc;
	}
	*out = &spill->front;
	return 0;
}

static int
detach(struct queue_bounded *queue)
{
	struct spill *spill = spill_of(queue);
	int rc;

	pthread_mutex_lock(&spill->lock);
	acknowledge(spill);
	rc = queue_log_reader_close(spill->reader);
	if (rc == 0) {
		/* Relaxed, both: nobody else is here; on_drop may come, on this thread. */
		queue_impl_store32_rlx(&spill->front.state, QUEUE_IMPL_SPILL_CLOSED);
		queue_impl_store_rlx(&spill->front.attention, NEVER);
		spill->n_moved = 0;
	}
	pthread_mutex_unlock(&spill->lock);
	return rc;
}

static void
destroy(struct queue_bounded *queue)
{
	struct spill *spill = spill_of(queue);

	if (spill->has_item)
		queue_impl_drop(queue, spill->item, QUEUE_DESTROYED);
	queue->spill = NULL;
	spill_free(spill);
}

const struct queue_impl_spill_operations queue_impl_spill_operations = {
	.create = create,
	.push = push,
	.attend = attend,
	.detach = detach,
	.destroy = destroy,
};
