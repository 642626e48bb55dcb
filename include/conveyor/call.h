/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_CALL_H
#define CONVEYOR_CALL_H

/*
 * queue_call: one request and its reply, between a caller with a deadline and a worker. Embedded in
 * the user's own request struct, which carries the arguments and the reply. See queue_call(3).
 *
 *                     claim                 reply
 *         PENDING ------------> CLAIMED ------------> REPLIED       wait: 0
 *            |  \                  |  \
 *     cancel |   \ refuse   cancel |   \ refuse
 *            v    v                v    v
 *     CANCELLED  REFUSED     ABANDONED  REFUSED                     wait: -ETIMEDOUT, -ECANCELED
 *
 * One atomic word decides every race: a caller told anything but 0 knows that the worker knows.
 * Of an abandoned call the worker learns in reply (-ECANCELED), and undoes what it did.
 *
 * Lifetime.     Two references: the caller's, and the worker's, which travels with the request.
 *               Who has it releases it once, as the last act: the worker when it is done, on_drop
 *               after refuse, and likewise the caller itself when its push failed. The second
 *               release runs options.release, which frees: neither side touches freed memory.
 * Progress.     claim, reply, refuse, cancel, release, fd and state are wait-free; wait waits.
 * Concurrency.  One worker side (claim, reply, refuse) and one thread in wait at a time; the two
 *               race freely with each other and with cancel. init apart from everything.
 * Invariants.   I1  A call ends once: REPLIED, CANCELLED, ABANDONED and REFUSED are for ever.
 *               I2  reply returns 0 if and only if wait returns 0.
 * Ordering.     CALL1  caller: request bytes -> worker           via the queue that carries it
 *               CALL2  worker: reply bytes, reply -> caller       via state
 *               CALL3  either: last use, release -> options.release  via references
 *               CALL4  caller: descriptor -> who ends the call       via state
 */
#include <conveyor/clock.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum queue_call_state {
	QUEUE_CALL_PENDING = 0, /* nobody has begun */
	QUEUE_CALL_CLAIMED,	/* a worker is at it */
	QUEUE_CALL_REPLIED,	/* the reply is there */
	QUEUE_CALL_CANCELLED,	/* the caller gave up before a worker began */
	QUEUE_CALL_ABANDONED,	/* the caller gave up while a worker was at it */
	QUEUE_CALL_REFUSED	/* the worker's side ended it without a reply */
};

struct queue_call;

/* All zero is the default: waited for by wait, freed by nobody. */
struct queue_call_options {
	/*
	 * Called once when the call ends in any way, on the thread that ended it, with nothing
	 * locked and before that side's release; for event loops. It may release the caller's
	 * reference if nobody is going to cancel the call. wait may not be used then.
	 */
	void (*on_complete)(struct queue_call *call, enum queue_call_state state, void *context);
	/*
	 * Called once when both sides have released, by the second; frees the request. NULL is for
	 * requests that live longer than all threads that use them: never on a caller's stack,
	 * which may be gone when the worker releases.
	 */
	void (*release)(struct queue_call *call, void *context);
	void *context;
};

/* Opaque, but for its size: embed it, use the functions. */
struct queue_call {
	uint32_t state; /* enum queue_call_state, and how the caller wants to be told; a futex */
	uint32_t references;
	uint32_t descriptor; /* one more than it, 0: there is none */
	void (*on_complete)(struct queue_call *call, enum queue_call_state state, void *context);
	void (*release)(struct queue_call *call, void *context);
	void *context;
};

/* Makes the call PENDING with two references. options: NULL is all defaults. 0, -EINVAL. */
int queue_call_init(struct queue_call *call, const struct queue_call_options *options);

/*
 * Caller: waits for the end until the deadline, then gives up. 0: replied, the reply may be read.
 * -ETIMEDOUT: cancelled or abandoned; the worker never begins, or undoes. -ECANCELED: refused by
 * the worker's side. -EINVAL: it has an on_complete. May be repeated, with the same answer.
 */
int queue_call_wait(struct queue_call *call, uint64_t deadline);

/*
 * Caller: a descriptor for poll(2) and epoll(7) that becomes readable when the call ends, and stays
 * so; then wait does not wait. The same one each time; the call's, closed by the second release.
 * Once there is one, only the two sides may end the call. -EAGAIN: the system has no more
 * descriptors; -ENOMEM. Many calls are cheaper through one queue: on_complete pushes, queue_fd.
 */
int queue_call_fd(struct queue_call *call);

/*
 * Caller: gives up now, never waits; a wait in another thread returns. 0: it ends without a reply
 * (CANCELLED or ABANDONED), now or before. -EBUSY: too late, it was replied to or refused already.
 */
int queue_call_cancel(struct queue_call *call);

/*
 * Worker: begins, or goes on after a failed attempt. 0; -ECANCELED: the caller has given up, only
 * release is left to do; -EINVAL: replied or refused already.
 */
int queue_call_claim(struct queue_call *call);

/*
 * Worker: the reply has been written into the request. 0: the caller gets it. -ECANCELED: the
 * caller gave up meanwhile; undo the work. -EINVAL: not claimed, or replied or refused already.
 */
int queue_call_reply(struct queue_call *call);

/*
 * Worker's side: ends the call without a reply, claimed or not, with nothing done or all undone.
 * 0; -ECANCELED: the caller gave up meanwhile; -EINVAL: replied or refused already.
 */
int queue_call_refuse(struct queue_call *call);

/* Either side, once each, last: the second one runs options.release. */
void queue_call_release(struct queue_call *call);

/* What the word says now. */
enum queue_call_state queue_call_state(const struct queue_call *call);

#ifdef __cplusplus
}
#endif

#endif
