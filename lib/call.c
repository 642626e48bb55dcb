/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that happens to a call is a move of its state word. At most one move ends it, and the
 * thread that made that move wakes the caller and runs on_complete; the reference that this thread
 * holds for its side keeps the call in being meanwhile.
 *
 * The word changes at most four times (ASLEEP, TELLS, CLAIMED, the end), so no loop here goes round
 * more often than that.
 */
#include <conveyor/call.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <limits.h>

#include "eventfd_impl.h"
#include "wait_impl.h"

/* Beside the state, gone with the move that ends the call: the caller sleeps, or is about to; */
#define ASLEEP 0x100u
/* there is a descriptor that the one who ends the call has to raise. */
#define TELLS 0x200u
#define WANTED (ASLEEP | TELLS)

/*
 * Polls before sleeping, about two microseconds: a reply that comes at once is met awake, one that
 * takes longer than a sleep and a wake cost is not worth a busy processor.
 */
#define SPINS 64

static enum queue_call_state
state_in(uint32_t word)
{
	return (enum queue_call_state)(word & ~WANTED);
}

static bool
is_end(enum queue_call_state state)
{
	return state >= QUEUE_CALL_REPLIED;
}

static bool
is_given_up(enum queue_call_state state)
{
	return state == QUEUE_CALL_CANCELLED || state == QUEUE_CALL_ABANDONED;
}

/*
 * After the move that ended the call. A third thread that cancels holds no reference, and the call
 * may be gone by now: it is not read any more, and a futex is woken by its address alone. (Where there
 * is a descriptor no third thread may, or it could raise somebody else's of the same number.) The
 * descriptor comes before on_complete, after which the call may be gone in any case.
 */
static void
complete(struct queue_call *call, const struct queue_call *ended, uint32_t word,
	 enum queue_call_state state)
{
	if (word & ASLEEP)
		(void)queue_impl_futex_wake(&call->state, INT_MAX);
	if (word & TELLS)
		queue_impl_eventfd_raise((int)ended->descriptor - 1);
	if (ended->on_complete)
		ended->on_complete(call, state, ended->context);
}

/*
 * Moves a call that has not ended to where the act leads from PENDING or from CLAIMED; the same
 * state there means that the act is not possible. Returns what the state was before.
 */
static enum queue_call_state
move(struct queue_call *call, enum queue_call_state from_pending,
     enum queue_call_state from_claimed)
{
	uint32_t word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	struct queue_call ended = {.on_complete = call->on_complete, .context = call->context};

	for (;;) {
		enum queue_call_state state = state_in(word);
		enum queue_call_state next = state == QUEUE_CALL_PENDING ? from_pending
									 : from_claimed;

		if (is_end(state) || next == state)
			return state;
		/* Relaxed: stored before TELLS came into the word (CALL4 acquire), or of no use. */
		ended.descriptor = queue_impl_load32_rlx(&call->descriptor);
		/* CALL2 acquire and release */
		if (queue_impl_cas32_acq_rel(&call->state, &word,
					     (uint32_t)next | (is_end(next) ? 0 : word & WANTED))) {
			if (is_end(next))
				complete(call, &ended, word, next);
			return state;
		}
	}
}

int
queue_call_init(struct queue_call *call, const struct queue_call_options *options)
{
	static const struct queue_call_options defaults;

	if (!call)
		return -EINVAL;
	if (!options)
		options = &defaults;
	call->state = QUEUE_CALL_PENDING;
	call->references = 2;
	call->descriptor = 0;
	call->on_complete = options->on_complete;
	call->release = options->release;
	call->context = options->context;
	return 0;
}

int
queue_call_cancel(struct queue_call *call)
{
	enum queue_call_state was = move(call, QUEUE_CALL_CANCELLED, QUEUE_CALL_ABANDONED);

	return !is_end(was) || is_given_up(was) ? 0 : -EBUSY;
}

int
queue_call_claim(struct queue_call *call)
{
	enum queue_call_state was = move(call, QUEUE_CALL_CLAIMED, QUEUE_CALL_CLAIMED);

	if (is_given_up(was))
		return -ECANCELED;
	return is_end(was) ? -EINVAL : 0;
}

int
queue_call_reply(struct queue_call *call)
{
	enum queue_call_state was = move(call, QUEUE_CALL_PENDING, QUEUE_CALL_REPLIED);

	if (is_given_up(was))
		return -ECANCELED;
	return was == QUEUE_CALL_CLAIMED ? 0 : -EINVAL;
}

int
queue_call_refuse(struct queue_call *call)
{
	enum queue_call_state was = move(call, QUEUE_CALL_REFUSED, QUEUE_CALL_REFUSED);

	if (is_given_up(was))
		return -ECANCELED;
	return is_end(was) ? -EINVAL : 0;
}

/* The word, once it says that the call has ended or that somebody sleeps. */
static uint32_t
spin(const struct queue_call *call)
{
	uint32_t word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	int i;

	for (i = 0; i < SPINS && !is_end(state_in(word)); i++) {
		queue_impl_pause();
		word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	}
	return word;
}

static bool
is_past(uint64_t deadline)
{
	return deadline != QUEUE_NEVER && queue_now() >= deadline;
}

int
queue_call_wait(struct queue_call *call, uint64_t deadline)
{
	uint32_t word;

	if (call->on_complete)
		return -EINVAL;
	word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	if (!is_end(state_in(word)) && !is_past(deadline))
		word = spin(call);
	while (!is_end(state_in(word))) {
		if (is_past(deadline)) {
			/* Whether or not that was in time, the call has ended now. */
			(void)queue_call_cancel(call);
		} else if (word & ASLEEP) {
			queue_impl_futex_wait(&call->state, word, deadline);
		} else if (queue_impl_cas32_acq_rel(&call->state, &word, word | ASLEEP)) {
			word |= ASLEEP;
			continue;
		}
		word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	}
	if (state_in(word) == QUEUE_CALL_REPLIED)
		return 0;
	return state_in(word) == QUEUE_CALL_REFUSED ? -ECANCELED : -ETIMEDOUT;
}

int
queue_call_fd(struct queue_call *call)
{
	uint32_t word;
	int number;

	/* Relaxed: written by this side only. */
	if (queue_impl_load32_rlx(&call->descriptor) != 0)
		return (int)queue_impl_load32_rlx(&call->descriptor) - 1;
	number = queue_impl_eventfd_open();
	if (number < 0)
		return number;
	queue_impl_store32_rlx(&call->descriptor, (uint32_t)number + 1);
	word = queue_impl_load32_acq(&call->state); /* CALL2 acquire */
	while (!is_end(state_in(word))) {
		if (queue_impl_cas32_acq_rel(&call->state, &word, word | TELLS)) /* CALL4 release */
			return number;
	}
	/* It ended before anybody knew. */
	queue_impl_eventfd_raise(number);
	return number;
}

void
queue_call_release(struct queue_call *call)
{
	/* CALL3 acquire and release: nothing here touches the call afterwards but the last one. */
	if (queue_impl_fetch_add32_acq_rel(&call->references, UINT32_MAX) != 1)
		return;
	if (call->descriptor != 0)
		queue_impl_eventfd_close((int)call->descriptor - 1);
	if (call->release)
		call->release(call, call->context);
}

enum queue_call_state
queue_call_state(const struct queue_call *call)
{
	return state_in(queue_impl_load32_acq(&call->state)); /* CALL2 acquire */
}
