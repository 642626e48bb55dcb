/* SPDX-License-Identifier: BSD-2-Clause */
#include "stage.h"

#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EACH (LINE_ITEMS / (OTHERS + 1))

/* By item. How often it came out is counted by whoever pops it. */
static uint8_t pushed[LINE_ITEMS];
static uint32_t popped[LINE_ITEMS];
/* By thread. */
static uint64_t made[OTHERS + 1];
static uint64_t last[OTHERS + 1][OTHERS + 1]; /* the last item from each other */
static bool closed[OTHERS + 1];		      /* was told so */

static const struct line *line;

struct outcome outcome;

void
line_open(const struct line *new_line)
{
	unsigned i;

	line = new_line;
	for (i = 0; i <= OTHERS; i++) {
		memset(&pushed[i * EACH], 0, made[i] * sizeof *pushed);
		memset(&popped[i * EACH], 0, made[i] * sizeof *popped);
		made[i] = 0;
		closed[i] = false;
	}
	memset(last, 0, sizeof last);
	memset(&outcome, 0, sizeof outcome);
}

/* No item is 0, which not every queue can hold. */
void *
line_item(unsigned self)
{
	if (made[self] == EACH) {
		fail("thread %u pushes more and more", self);
		abort();
	}
	return (void *)(uintptr_t)(self * EACH + made[self]++ + 1);
}

size_t
line_index(const void *item)
{
	return (size_t)(uintptr_t)item - 1;
}

void
line_pushed(const void *item)
{
	pushed[line_index(item)] = 1;
}

void
line_popped(unsigned self, const void *item)
{
	size_t index = line_index(item), from = index / EACH, number = index % EACH + 1;

	if (index >= LINE_ITEMS) {
		fail("popped %p, which nobody has pushed", item);
		return;
	}
	if (queue_impl_fetch_add32_acq_rel(&popped[index], 1) != 0)
		fail("item %zu of thread %zu popped twice", number, from);
	if (number <= last[self][from] && !board->scene.object->may_disorder)
		fail("item %zu of thread %zu popped after %" PRIu64, number, from,
		     last[self][from]);
	last[self][from] = number;
}

static void
push_one(unsigned self)
{
	void *item = line_item(self);
	int rc = line->push(item);

	require(rc == 0, "a push into a queue that has room answers %d", rc);
	if (rc == 0)
		line_pushed(item);
}

void
line_cycle(unsigned self)
{
	void *item = NULL;
	int rc;

	push_one(self);
	rc = line->pop(&item);
	require(rc == 0, "a pop from a queue that has an item answers %d", rc);
	if (rc == 0)
		line_popped(self, item);
}

void
line_fill(unsigned self)
{
	uint64_t i;

	for (i = 0; i < board->scene.inside; i++)
		push_one(self);
}

/* ---- The traffic ----------------------------------------------------------------------------- */

/* With one thread a side, and the victim on it, nobody else may be there. */
static bool
may(unsigned self, unsigned most, unsigned which, enum side side)
{
	enum side victims = board->scene.operation->side;

	if (most == 0)
		return true;
	return self == which && victims != side && !(side == PUSHES && victims == CLOSES);
}

static bool
may_push(unsigned self)
{
	return may(self, board->scene.object->producers_max, 0, PUSHES);
}

static bool
may_pop(unsigned self)
{
	return may(self, board->scene.object->consumers_max, OTHERS - 1, POPS);
}

static bool
try_push(unsigned self)
{
	struct lane *lane = &board->lanes[self];
	void *item = line_item(self);
	int rc = line->push(item);

	lane_call(lane);
	if (rc == 0) {
		require(!closed[self], "a push into a closed queue answers 0");
		line_pushed(item);
		lane_add(&lane->pushed);
		return true;
	}
	made[self]--;
	if (rc == -EPIPE) {
		require(board->scene.operation->side == CLOSES,
			"nobody closed it, but a push says so");
		closed[self] = true;
	} else {
		require(rc == -EAGAIN && !closed[self], "a push answers %d", rc);
		lane_add(&lane->full);
	}
	return false;
}

static bool
try_pop(unsigned self)
{
	struct lane *lane = &board->lanes[self];
	void *item = NULL;
	int rc = line->pop(&item);

	lane_call(lane);
	if (rc == 0) {
		line_popped(self, item);
		lane_add(&lane->popped);
		return true;
	}
	if (rc == -EPIPE) {
		require(board->scene.operation->side == CLOSES,
			"nobody closed it, but a pop says so");
		closed[self] = true;
	} else {
		require(rc == -EAGAIN, "a pop answers %d", rc);
		lane_add(&lane->empty);
	}
	return false;
}

/*
 * Of two threads that do one thing each, the one that is always faster would never let the other
 * see it empty, or full: so who has come to its own end waits there until the other end was seen.
 */
static bool
waits_at_its_end(bool pushes)
{
	uint64_t full = 0, empty = 0;
	unsigned i;

	for (i = 0; i < OTHERS; i++) {
		full += queue_impl_load_rlx(&board->lanes[i].full);
		empty += queue_impl_load_rlx(&board->lanes[i].empty);
	}
	return pushes ? full > 0 && empty == 0 : empty > 0 && full == 0;
}

/*
 * Fills it until it is full, drains it until it is empty, and so on; one of them begins with the
 * one, the other with the other. Where there is no end to it they turn after a while.
 */
void
line_traffic(unsigned self)
{
	bool pushes = may_push(self), pops = may_pop(self), flows, filling = self == 0;
	uint64_t in_vain = 0, seen = 0, run = 0, longest = 4 * board->scene.capacity + 16;
	unsigned i;

	flows = false;
	for (i = 0; i < OTHERS; i++)
		flows |= may_push(i);
	if (flows)
		for (flows = false, i = 0; i < OTHERS; i++)
			flows |= may_pop(i);
	if (!pushes && !pops)
		return;
	while (!queue_impl_load32_acq(&board->give_up) &&
	       !is_enough(self, flows && !closed[self])) {
		bool done;

		if (flows && pushes != pops && !closed[self] &&
		    !board->scene.object->is_unbounded && waits_at_its_end(pushes)) {
			if (!go_on_in_vain(self, &in_vain, &seen))
				return;
			continue;
		}
		filling = (filling && pushes) || !pops;
		done = filling ? try_push(self) : try_pop(self);
		if (!done || ++run == longest) {
			filling = !filling;
			run = 0;
		}
		if (done)
			in_vain = 0;
		else if (flows && !closed[self] && !go_on_in_vain(self, &in_vain, &seen))
			return;
	}
}

/* ---- Afterwards ------------------------------------------------------------------------------ */

/* The victim's own items, by what its call answered; `outcome` has been noted by its operation. */
static void
settle_outcome(void)
{
	const struct operation *operation = board->scene.operation;
	ptrdiff_t i;

	if (operation->side == LOOKS || operation->side == CLOSES)
		return;
	if (outcome.rc < 0) {
		require(outcome.rc == -EAGAIN, "the victim's %s answers %td", operation->name,
			outcome.rc);
		return;
	}
	require(outcome.rc <= BULK, "the victim's %s answers %td", operation->name, outcome.rc);
	for (i = 0; i < outcome.rc && i < BULK; i++) {
		if (operation->side == PUSHES)
			line_pushed(outcome.items[i]);
		else
			line_popped(VICTIM, outcome.items[i]);
	}
}

/* What is left in the end came after all that anybody has popped. */
static void
go_on_for_all(unsigned self)
{
	unsigned from, i;

	for (from = 0; from <= OTHERS; from++)
		for (i = 0; i <= OTHERS; i++)
			if (last[self][from] < last[i][from])
				last[self][from] = last[i][from];
}

void
line_judge(void)
{
	bool closes = board->scene.operation->side == CLOSES;
	uint64_t number;
	void *item = NULL;
	unsigned i;
	int rc;

	settle_outcome();
	go_on_for_all(VICTIM);
	while ((rc = line->pop(&item)) == 0)
		line_popped(VICTIM, item);
	require(rc == (closes ? -EPIPE : -EAGAIN), "the last pop answers %d", rc);
	if (closes) {
		rc = line->push(line_item(VICTIM));
		require(rc == -EPIPE, "after close a push answers %d", rc);
	}
	for (i = 0; i <= OTHERS; i++) {
		for (number = 0; number < made[i]; number++) {
			size_t index = i * EACH + number;

			if (popped[index] != pushed[index])
				fail("item %" PRIu64 " of thread %u was pushed %u times, popped %u",
				     number + 1, i, pushed[index], popped[index]);
		}
	}
}
