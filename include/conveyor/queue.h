/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_QUEUE_H
#define CONVEYOR_QUEUE_H

/*
 * queue_bounded: a bounded FIFO of pointers between threads, with a rule for what happens when it
 * is full, waiting, deadlines, closing and figures. See queue_create(3), queue_push(3),
 * queue_pop(3).
 *
 * Progress.     try_push, try_pop, push_n and stats are lock-free; so is push but for QUEUE_BLOCK.
 *               push (QUEUE_BLOCK), push_until, pop, pop_until and pop_n wait: they spin for
 *               some microseconds, then sleep in the kernel. With QUEUE_SPILL push waits for the
 *               disk, and all pops may: see queue_spill(3).
 * Concurrency.                push  pop  close  stats  init, fini, destroy    (X = keep them apart)
 *               push           -     -     -      -     X
 *               pop            -     -     -      -     X
 *               close          -     -     -      -     X
 *               With QUEUE_SINGLE_PRODUCER only one thread at a time pushes or closes; with
 *               QUEUE_SINGLE_CONSUMER only one thread at a time pops.
 * States.       state                push                 pop      try_pop
 *               open, empty          0                    waits    -EAGAIN
 *               open, full           by policy            0        0
 *               closed, items left   -EPIPE               0        0
 *               closed, drained      -EPIPE               -EPIPE   -EPIPE
 * Invariants.   I1  An item whose push returned 0 is popped, or given to on_drop, exactly once; with
 *                   QUEUE_SPILL, what was decoded from the log in the place of those stored there.
 *               I2  Those of queue_ring and queue_stats.
 * Ordering.     Those of queue_ring and of the event count (impl/wait.h), and
 *               QUEUE1  push: a probe's time -> pop: reads it        via probe_position
 *               QUEUE2  waiter: last access -> fini: frees           via waiting_to_push,
 *                                                                        waiting_to_pop
 *               DESCRIPTOR2  queue_fd: the number -> push, pop: use it   via not_empty, careful
 *               SPILL1  pop: items moved from the log -> pop: finds them,    via spill->state
 *                                                     -> push: goes behind
 */
#include <conveyor/alloc.h>
#include <conveyor/clock.h>
#include <conveyor/ring.h>
#include <conveyor/stats.h>
#include <conveyor/impl/descriptor.h>
#include <conveyor/impl/wait.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What queue_push does when the queue is full. */
enum queue_policy {
	QUEUE_ABORT = 0,      /* returns -EAGAIN; the item stays the caller's */
	QUEUE_BLOCK,	      /* waits for room, or for close */
	QUEUE_CALLER_RUNS,    /* calls options.run on this thread, returns QUEUE_RAN */
	QUEUE_DISCARD,	      /* gives the item to on_drop, returns QUEUE_DISCARDED */
	QUEUE_DISCARD_OLDEST, /* gives the oldest to on_drop, pushes, returns QUEUE_EVICTED */
	QUEUE_SPILL	      /* stores it in options.log, from where it comes back in its turn */
};

/* Why on_drop got an item; the first three are also what queue_push returns then. */
enum queue_reason {
	QUEUE_RAN = 1,	 /* a return value only: options.run had the item */
	QUEUE_DISCARDED, /* the queue was full and the policy QUEUE_DISCARD */
	QUEUE_EVICTED,	 /* it was the oldest in a full queue, QUEUE_DISCARD_OLDEST */
	QUEUE_EXPIRED,	 /* its deadline had passed when it was popped */
	QUEUE_DESTROYED, /* it was inside when the queue was destroyed */
	QUEUE_STOPPED,	 /* it was inside when its pool was told to discard */
	QUEUE_FAILED,	 /* its pool's handler failed and no dead-letter queue took it */
	QUEUE_SPILLED	 /* it is stored in the log: this copy of it is not needed any more */
};

struct queue_bounded;
struct queue_log;

/* All zero is the default, but for the capacity, which must be given. */
struct queue_options {
	uint64_t capacity; /* items, 1 to QUEUE_CAPACITY_MAX */
	enum queue_policy policy;
	unsigned flags; /* QUEUE_SINGLE_PRODUCER, QUEUE_SINGLE_CONSUMER */

	/*
	 * Receives, once, each item that will not reach a consumer, on the thread that caused it,
	 * with nothing locked; may call the queue. With QUEUE_SPILL also what was stored and is not
	 * needed in memory. Needed by that, QUEUE_DISCARD, QUEUE_DISCARD_OLDEST and deadline_of.
	 */
	void (*on_drop)(void *item, enum queue_reason reason, void *context);
	/* QUEUE_CALLER_RUNS: does the work of an item that found no room. */
	void (*run)(void *item, void *context);
	/* An item's deadline, 0 for none. Called by pops, for items they have taken. */
	uint64_t (*deadline_of)(const void *item);
	void *context; /* for on_drop, run, clock, encode and decode */

	const struct queue_allocator *allocator; /* NULL: queue_allocator_libc */
	queue_clock_fn *clock;			 /* NULL: queue_now */

	/* QUEUE_SPILL, which needs these three and on_drop: a log that no other queue uses, */
	struct queue_log *log;
	/* what writes an item's bytes: how many there are, at most size of them; or an error number; */
	ptrdiff_t (*encode)(const void *item, void *buffer, size_t size, void *context);
	/* and what makes an item of them: 0, or an error number. It must not call the queue. */
	int (*decode)(const void *data, size_t length, void **item, void *context);
	uint64_t high; /* with so many items in memory queue_push goes to the log; 0: capacity */
	uint64_t low;  /* with so few they come back; less than high; 0: half of it */
};

/* The bytes a queue takes in caller memory; 0 when the options are not valid. */
size_t queue_footprint(const struct queue_options *options);

/*
 * Makes an open, empty queue in the caller's memory: `size` bytes, at least the footprint, aligned
 * to QUEUE_RING_ALIGNMENT. -EINVAL when anything is not valid; nothing is written then. QUEUE_SPILL
 * allocates, and opens a reader: -ENOMEM; -EBUSY: the log is another queue's; -EIO, -EILSEQ.
 */
int queue_init(struct queue_bounded *queue, size_t size, const struct queue_options *options);

/*
 * Ends a queue made by init; items left go to on_drop(QUEUE_DESTROYED). -EBUSY, and nothing is
 * done, while a thread waits inside, or when items are left and there is no on_drop. Items in the log
 * stay there, and those that came from it as well; -ENOMEM, and nothing is done: QUEUE_SPILL.
 */
int queue_fini(struct queue_bounded *queue);

/* Allocates and inits. -EINVAL, -ENOMEM, or as init; *out is written on success only. */
int queue_create(struct queue_bounded **out, const struct queue_options *options);

/* As fini, and frees the memory; NULL is allowed. */
int queue_destroy(struct queue_bounded *queue);

/*
 * Appends an item of any value. 0: the queue has it. When full, what the policy says: -EAGAIN
 * (the item is still the caller's) or a positive enum queue_reason. -EPIPE: closed, and -EDEADLK:
 * QUEUE_BLOCK would wait for the very pool this thread works in; in both the item is still the
 * caller's. So it is with what QUEUE_SPILL's encode and queue_log_append answer.
 */
static inline int queue_push(struct queue_bounded *queue, void *item);

/* Never waits, never drops, never spills: 0, -EAGAIN when full, -EPIPE when closed. */
static inline int queue_try_push(struct queue_bounded *queue, void *item);

/*
 * Waits for room, whatever the policy, until the deadline: 0, -ETIMEDOUT, -EPIPE. With QUEUE_NEVER
 * also -EDEADLK, as push. With QUEUE_SPILL as push, but it waits for room in the log until then.
 */
int queue_push_until(struct queue_bounded *queue, void *item, uint64_t deadline);

/*
 * Appends items[0..n) in order as far as there is room; never waits, never drops. Returns how many
 * went in, the others are still the caller's; -EPIPE: closed and none went in; -EINVAL: n < 0.
 */
int queue_push_n(struct queue_bounded *queue, void *const *items, int n);

/*
 * Takes the oldest item, waiting for one: 0; -EPIPE: closed and drained. Here and below *item is
 * written on success only. With QUEUE_SPILL also what decode or queue_log_read_n answers: the next
 * item cannot be had from the log now.
 */
static inline int queue_pop(struct queue_bounded *queue, void **item);

/* Never waits: 0, -EAGAIN when empty, -EPIPE when closed and drained. */
static inline int queue_try_pop(struct queue_bounded *queue, void **item);

/* Waits until the deadline: 0, -ETIMEDOUT, -EPIPE. A deadline in the past makes it a try. */
static inline int queue_pop_until(struct queue_bounded *queue, void **item, uint64_t deadline);

/*
 * Waits for the first item, then takes what else is there, up to n, oldest first. Returns how many,
 * 1 to n; -EPIPE: closed and drained; -EINVAL: n < 1.
 */
int queue_pop_n(struct queue_bounded *queue, void **items, int n);

/*
 * Takes what is there, up to n, oldest first; never waits. Returns how many, 0 when empty; -EPIPE:
 * closed and drained; -EINVAL: n < 1.
 */
int queue_try_pop_n(struct queue_bounded *queue, void **items, int n);

/*
 * From now on pushes answer -EPIPE; everything already inside can be popped; all who wait wake.
 * Never waits; may be repeated. With QUEUE_SINGLE_PRODUCER the producer closes. Returns 0.
 */
int queue_close(struct queue_bounded *queue);

/* Fills *out. Each figure is right on its own; together they agree at rest. Returns 0. */
int queue_stats(const struct queue_bounded *queue, struct queue_stats *out);

/* Items inside: at rest exact, otherwise what it was a moment ago. */
uint64_t queue_depth_approx(const struct queue_bounded *queue);

/*
 * A descriptor for poll(2), epoll(7) and event loops, readable exactly while a pop would not wait:
 * an item is there, or the queue is closed. The same one each time; the queue's, which closes it in
 * fini. Do nothing with it but wait for POLLIN. -EAGAIN: the system has no more descriptors;
 * -ENOMEM. See queue_fd(3).
 */
int queue_fd(struct queue_bounded *queue);

/* The most queues that one select waits for. */
#define QUEUE_SELECT_MAX 128

/*
 * Waits until a pop of one of queues[0..n) would not wait, and says in *index of which: the first
 * in the order of the array. Takes nothing: another thread may be faster to pop. NULLs are left
 * out. 0; -ETIMEDOUT; -EPIPE: there are only NULLs; -EINVAL: n is not from 1 to QUEUE_SELECT_MAX.
 */
int queue_select(struct queue_bounded *const *queues, int n, uint64_t deadline, int *index);

/*
 * The same, but looks first at the queue after *index, so that none is starved when *index is left
 * as it is from one call to the next. Before the first call *index is -1.
 */
int queue_select_fair(struct queue_bounded *const *queues, int n, uint64_t deadline, int *index);

/* "discarded", "evicted", ...; "unknown" for anything else. */
const char *queue_reason_name(enum queue_reason reason);

/*
 * QUEUE_TYPED(orders, struct order *) makes orders_push, orders_pop and so on, which take and give
 * that pointer type instead of void *, at no cost. Use it at file scope; no semicolon follows.
 */
#define QUEUE_TYPED(name, type) QUEUE_IMPL_TYPED(name, type)

/* Inline bodies. Not API. */
#include <conveyor/impl/queue.h>

#ifdef __cplusplus
}
#endif

#endif
