/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state is a word of four parts:
 *
 *	bit 0       DUE: in this turn, which is up, no write has been seen to be done
 *	bits 1-14   how many threads are between beginning and ending a read
 *	bits 15-30  debt: how many writes have been begun that no read has answered for
 *	bits 31-63  the turn; odd ones are up, even ones down
 *
 * Who finds that the descriptor points the wrong way begins a new turn, makes the call, and ends it.
 * Who finds the call of the right turn not done yet joins in and makes it too, since nobody knows how
 * far the first one is; both calls may be made any number of times. A thread may be stopped before
 * its call and make it when other turns have passed.
 *
 * Down.  Each write adds one to what the next read returns, and each read takes that off the debt. So
 *        a write that came before the read costs nothing more, however late its thread goes on, and
 *        while there is debt in a turn down, a write may have come late, or may still come: whoever
 *        settles reads once more, first of all the thread that wrote.
 * Up.    A read that comes late and finds something has lowered the descriptor against the turn. When
 *        it ends it begins another turn up, with the write due: of the writers in the turn before
 *        none can know whether its write came after. While a read is under way, those who find the
 *        descriptor up do not believe it and write once more, in case that thread never goes on.
 *
 * 33 bits of turns: a thread would have to be stopped for exactly 2^33 of them, an hour or more, to
 * take a turn for its own that is not. 14 bits: of at most 16383 threads inside reads at once. The
 * debt grows by the writes of those who do not believe, who are believers when it is half full.
 */
#include "descriptor_impl.h"
#include "eventfd_impl.h"

#include <conveyor/impl/atomic.h>

#define DUE UINT64_C(1)
#define READ_ONE (UINT64_C(1) << 1)
#define DEBT_ONE (UINT64_C(1) << 15)
#define TURN_ONE (UINT64_C(1) << 31)
#define READS (DEBT_ONE - READ_ONE)
#define DEBT (TURN_ONE - DEBT_ONE)

#define NO_TURN UINT64_C(1)

int
queue_impl_descriptor_get(struct queue_impl_descriptor *descriptor)
{
	uint32_t seen = queue_impl_load32_acq(&descriptor->number); /* DESCRIPTOR2 acquire */
	int number;

	if (seen != 0)
		return (int)seen - 1;
	number = queue_impl_eventfd_open();
	if (number < 0)
		return number;
	if (queue_impl_cas32_acq_rel(&descriptor->number, &seen,
				     (uint32_t)number + 1)) /* DESCRIPTOR2 release */
		return number;
	/* Another thread was faster. */
	queue_impl_eventfd_close(number);
	return (int)seen - 1;
}

void
queue_impl_descriptor_fini(struct queue_impl_descriptor *descriptor)
{
	if (descriptor->number != 0)
		queue_impl_eventfd_close((int)descriptor->number - 1);
	descriptor->number = 0;
}

static uint64_t
turn_of(uint64_t state)
{
	return state & ~(TURN_ONE - 1);
}

static bool
is_up(uint64_t state)
{
	return (state & TURN_ONE) != 0;
}

/* Is the descriptor as the turn says? `made_in` is the turn of the caller's own last call. */
static bool
is_settled(uint64_t state, uint64_t made_in)
{
	if (state & DUE)
		return false;
	if (turn_of(state) == made_in)
		return true;
	if (is_up(state))
		return (state & READS) == 0 || (state & DEBT) > DEBT / 2;
	return (state & DEBT) == 0;
}

static void
end_write(struct queue_impl_descriptor *descriptor, uint64_t turn)
{
	uint64_t seen = queue_impl_load_acq(&descriptor->state);

	while (turn_of(seen) == turn && (seen & DUE) &&
	       !queue_impl_cas_acq_rel(&descriptor->state, &seen, seen & ~DUE))
		continue;
}

static void
end_read(struct queue_impl_descriptor *descriptor, uint64_t writes)
{
	uint64_t seen = queue_impl_load_acq(&descriptor->state);
	uint64_t next;

	do {
		next = seen - READ_ONE - writes * DEBT_ONE;
		if (is_up(seen) && writes > 0)
			next = (next | DUE) + 2 * TURN_ONE;
	} while (!queue_impl_cas_acq_rel(&descriptor->state, &seen, next));
}

/* Makes the call that turns the descriptor up or down. Returns its turn, or NO_TURN: look again. */
static uint64_t
call(struct queue_impl_descriptor *descriptor, uint64_t seen, bool up)
{
	uint64_t next = seen + (up ? DEBT_ONE : READ_ONE);
	int number;

	if (is_up(seen) != up)
		next = (up ? next | DUE : next & ~DUE) + TURN_ONE;
	if (!queue_impl_cas_acq_rel(&descriptor->state, &seen, next))
		return NO_TURN;
	/* Relaxed, both: the owner's flag has led here (DESCRIPTOR2 acquire); a figure. */
	number = (int)queue_impl_load32_rlx(&descriptor->number) - 1;
	queue_impl_add_rlx(&descriptor->calls, 1);
	if (up) {
		queue_impl_eventfd_raise(number);
		end_write(descriptor, turn_of(next));
	} else {
		end_read(descriptor, queue_impl_eventfd_lower(number));
	}
	return turn_of(next);
}

bool
queue_impl_descriptor_settle(struct queue_impl_descriptor *descriptor,
			     bool (*is_ready)(const void *subject), const void *subject)
{
	uint64_t made_in = NO_TURN;

	queue_impl_fence_full(); /* DESCRIPTOR1, who changed it */
	for (;;) {
		uint64_t seen = queue_impl_load_acq(&descriptor->state);
		bool ready = is_ready(subject);

		if (is_up(seen) == ready && is_settled(seen, made_in))
			return ready;
		made_in = call(descriptor, seen, ready);
		queue_impl_fence_after_rmw(); /* DESCRIPTOR1, who makes a call */
	}
}
