/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_HISTORY_H
#define CONVEYOR_TEST_HISTORY_H

/*
 * Records what threads did to a bounded queue, and tells whether that can have happened one call
 * after the other (Herlihy and Wing, "Linearizability", TOPLAS 1990). Values are unique.
 *
 * Time.     One operation came before another when its end is less than the other's begin; numbers
 *           that are equal say that they overlapped. So a clock is right when it never says
 *           "before" of calls that overlapped; one that is coarse only makes less be found.
 * Cost.     O(n log n) in time and O(n) in space.
 * Finds.    Of an unbounded queue exactly the four violations that Henzinger, Sezgin and Vafeiadis
 *           ("Aspect-oriented linearizability proofs", CONCUR 2013) prove to be all there are: a
 *           value that was never pushed, one popped twice, two popped against their order, an empty
 *           answer while there was always something inside. In that, all wrong histories are found
 *           (see also Emmi and Enea, "Sound, complete, and tractable linearizability monitoring for
 *           concurrent collections", POPL 2018, for why unique values make it cheap).
 *           Of the capacity, and of close: what is listed below. Each of these is proof of a wrong
 *           history. That there are no more is not proved: where a history is wrong only because of
 *           how full answers, capacity and order work together, it may be missed: about one in a
 *           thousand of the small wrong ones that the unit test compares with an exhaustive search.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_what {
	HISTORY_PUSHED,
	HISTORY_PUSH_FULL,
	HISTORY_PUSH_CLOSED,
	HISTORY_PUSH_SHORT, /* full or closed: why push_n took less than it was given */
	HISTORY_POPPED,
	HISTORY_POP_EMPTY,
	HISTORY_POP_CLOSED,
	HISTORY_POP_SHORT, /* empty, and perhaps closed: why pop_n gave less than it was asked for */
	HISTORY_CLOSE
};

/*
 * Of a call that moves several items each item is an operation, with the begin and end of the call.
 * They follow each other in their thread's part, in their order, with the same number `call`.
 */
struct history_operation {
	uint64_t value; /* that was pushed or popped */
	uint64_t begin, end;
	uint32_t call;
	enum history_what what;
};

/* What one thread did, in its order. All zero is an empty one. */
struct history_part {
	struct history_operation *operations;
	size_t count, room;
};

/*
 * What can be wrong. Below, an item is certainly inside from the end of its push until the begin of
 * its pop, and possibly inside from the begin of its push until the end of its pop; both are made
 * narrower by the order in which other items must have gone in and come out.
 */
enum history_violation {
	HISTORY_MALFORMED, /* a value pushed twice, an end before its begin, a thread in two calls */
	HISTORY_NEVER_PUSHED,  /* popped, but never pushed, or only later */
	HISTORY_POPPED_TWICE,  /* */
	HISTORY_MISSING,       /* pushed, and not popped though everything was drained */
	HISTORY_ORDER,	       /* push a before push b, but pop b before pop a */
	HISTORY_FALSE_EMPTY,   /* at every instant of it some item was certainly inside */
	HISTORY_FALSE_FULL,    /* at no instant of it capacity items were possibly inside */
	HISTORY_OVER_CAPACITY, /* at an instant more than capacity items were certainly inside */
	HISTORY_FALSE_CLOSED,  /* closed before close, or for pops before the last item was out */
	HISTORY_AFTER_CLOSE,   /* pushed, full or empty once it was closed */
	HISTORY_VIOLATIONS     /* how many there are */
};

struct history_report {
	size_t operations;
	size_t found[HISTORY_VIOLATIONS];
	/* The first of each: what is wrong, and another one that it is wrong with, if there is. */
	struct history_operation first[HISTORY_VIOLATIONS][2];
};

/* Ends the program when there is no memory. */
void history_add(struct history_part *part, struct history_operation operation);
void history_free(struct history_part *part);

/*
 * Checks what the threads did together. drained: whoever recorded this has popped until there was
 * nothing left, so that every item must have come out. Returns how many violations there are.
 */
size_t history_check(const struct history_part *parts, size_t n, uint64_t capacity, bool drained,
		     struct history_report *report);

/* "false-empty" and so on; NULL for anything else. */
const char *history_name(enum history_violation violation);

/* Prints each violation that was found, with the operations; and a short history as a whole. */
void history_print(const struct history_part *parts, size_t n, const struct history_report *report);

#endif
