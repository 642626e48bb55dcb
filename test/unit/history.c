/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker of histories: against histories made by hand, one for each thing that it has to find,
 * with a twin next to it that is right; against an exhaustive search for small ones; and against a
 * great many operations of a simulation, which are right, and wrong after one change.
 */
#include "history.h"

#include "unit.h"

#define PARTS 4
#define NOWHERE SIZE_MAX

struct record {
	struct history_part parts[PARTS];
	uint32_t calls;
};

static struct history_report report;

/* ---- By hand -------------------------------------------------------------------------------- */

/* A call of its own. */
static void
did(struct record *record, unsigned part, enum history_what what, uint64_t value, uint64_t begin,
    uint64_t end)
{
	struct history_operation operation = {
		.value = value, .begin = begin, .end = end, .call = ++record->calls, .what = what};

	history_add(&record->parts[part], operation);
}

/* One more item of the thread's last call. */
static void
also(struct record *record, unsigned part, enum history_what what, uint64_t value)
{
	struct history_part *mine = &record->parts[part];
	struct history_operation operation = mine->operations[mine->count - 1];

	operation.what = what;
	operation.value = value;
	history_add(mine, operation);
}

static void
forget(struct record *record)
{
	for (unsigned i = 0; i < PARTS; i++)
		history_free(&record->parts[i]);
	record->calls = 0;
}

static size_t
check(struct record *record, uint64_t capacity, bool drained)
{
	size_t sum = history_check(record->parts, PARTS, capacity, drained, &report);

	forget(record);
	return sum;
}

/* One kind of violation, and nothing else. */
static bool
is_just(struct record *record, uint64_t capacity, bool drained, enum history_violation violation)
{
	size_t sum = check(record, capacity, drained);

	return sum > 0 && report.found[violation] == sum;
}

static bool
is_right(struct record *record, uint64_t capacity, bool drained)
{
	return check(record, capacity, drained) == 0;
}

Test(history, nothing_at_all_is_right)
{
	struct record record = {0};

	cr_assert(is_right(&record, 1, true));
}

Test(history, a_value_that_nobody_pushed)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	did(&record, 1, HISTORY_POPPED, 2, 5, 6);
	cr_assert(is_just(&record, 1, true, HISTORY_NEVER_PUSHED));
}

Test(history, a_value_popped_before_its_push)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 3, 5);
	did(&record, 1, HISTORY_POPPED, 1, 1, 3);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 1, 2);
	cr_assert(is_just(&record, 1, true, HISTORY_NEVER_PUSHED));
}

Test(history, a_value_popped_twice)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	did(&record, 2, HISTORY_POPPED, 1, 3, 4);
	cr_assert(is_just(&record, 1, true, HISTORY_POPPED_TWICE));
}

Test(history, a_value_pushed_twice_is_malformed)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSHED, 1, 3, 4);
	(void)check(&record, 2, false);
	cr_assert_eq(report.found[HISTORY_MALFORMED], 1);
}

Test(history, an_end_before_its_begin_is_malformed)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSH_CLOSED, 0, 2, 1);
	did(&record, 0, HISTORY_CLOSE, 0, 1, 2);
	cr_assert(is_just(&record, 2, false, HISTORY_MALFORMED));
}

Test(history, a_thread_in_two_calls_at_a_time_is_malformed)
{
	struct record record = {0};

	did(&record, 0, HISTORY_POP_EMPTY, 0, 1, 3);
	did(&record, 0, HISTORY_POP_EMPTY, 0, 3, 4);
	cr_assert(is_right(&record, 2, false));

	did(&record, 0, HISTORY_POP_EMPTY, 0, 1, 3);
	did(&record, 0, HISTORY_POP_EMPTY, 0, 2, 4);
	cr_assert(is_just(&record, 2, false, HISTORY_MALFORMED));
}

Test(history, an_item_that_never_comes_out)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	cr_assert(is_right(&record, 1, false));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	cr_assert(is_just(&record, 1, true, HISTORY_MISSING));
}

Test(history, an_accepted_item_missing_after_close)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 9);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 3);
	did(&record, 1, HISTORY_POP_CLOSED, 0, 4, 5);
	/* Also a lie, therefore, of who says that nothing is left. */
	(void)check(&record, 1, false);
	cr_assert_eq(report.found[HISTORY_MISSING], 1);
	cr_assert_eq(report.found[HISTORY_FALSE_CLOSED], 1);
}

Test(history, items_that_overtake_each_other)
{
	struct record record = {0};

	/* The pushes overlap. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 3);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 5, 6);
	did(&record, 2, HISTORY_POPPED, 1, 7, 8);
	cr_assert(is_right(&record, 2, true));
	/* The pops do. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 5, 6);
	did(&record, 3, HISTORY_POPPED, 1, 6, 8);
	cr_assert(is_right(&record, 2, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 5, 6);
	did(&record, 2, HISTORY_POPPED, 1, 7, 8);
	cr_assert(is_just(&record, 2, true, HISTORY_ORDER));
	cr_assert_eq(report.first[HISTORY_ORDER][0].value, 2);
	cr_assert_eq(report.first[HISTORY_ORDER][1].value, 1);
}

Test(history, an_item_overtaken_for_ever)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 1, HISTORY_POPPED, 2, 5, 6);
	cr_assert(is_just(&record, 2, false, HISTORY_ORDER));
}

Test(history, items_of_one_push_that_overtake_each_other)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSHED, 2);
	also(&record, 0, HISTORY_PUSHED, 3);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	did(&record, 1, HISTORY_POPPED, 2, 5, 6);
	did(&record, 1, HISTORY_POPPED, 3, 7, 8);
	cr_assert(is_right(&record, 3, true));

	/* Neighbours' pops overlap; the first and the last one's do not. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSHED, 2);
	also(&record, 0, HISTORY_PUSHED, 3);
	did(&record, 1, HISTORY_POPPED, 3, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 3, 9);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_just(&record, 3, true, HISTORY_ORDER));
}

Test(history, items_of_one_pop_that_overtake_each_other)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 1, 5, 6);
	also(&record, 2, HISTORY_POPPED, 2);
	cr_assert(is_right(&record, 2, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 5, 6);
	also(&record, 2, HISTORY_POPPED, 1);
	cr_assert(is_just(&record, 2, true, HISTORY_ORDER));
}

Test(history, items_of_one_push_and_one_pop_that_overtake_each_other)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSHED, 2);
	did(&record, 1, HISTORY_POPPED, 1, 1, 2);
	also(&record, 1, HISTORY_POPPED, 2);
	cr_assert(is_right(&record, 2, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSHED, 2);
	did(&record, 1, HISTORY_POPPED, 2, 1, 2);
	also(&record, 1, HISTORY_POPPED, 1);
	cr_assert(is_just(&record, 2, true, HISTORY_ORDER));
}

Test(history, empty_while_an_item_is_inside)
{
	struct record record = {0};

	/* Before the push is done. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 3);
	did(&record, 1, HISTORY_POP_EMPTY, 0, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_right(&record, 1, true));
	/* After somebody else's pop has begun. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POP_EMPTY, 0, 3, 4);
	did(&record, 2, HISTORY_POPPED, 1, 4, 6);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POP_EMPTY, 0, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_just(&record, 1, true, HISTORY_FALSE_EMPTY));
}

Test(history, empty_while_one_item_or_another_is_inside)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POP_EMPTY, 0, 3, 20);
	did(&record, 0, HISTORY_PUSHED, 2, 5, 10);
	did(&record, 2, HISTORY_POPPED, 1, 10, 12);
	did(&record, 2, HISTORY_POPPED, 2, 21, 22);
	cr_assert(is_right(&record, 2, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POP_EMPTY, 0, 3, 20);
	did(&record, 0, HISTORY_PUSHED, 2, 5, 9);
	did(&record, 2, HISTORY_POPPED, 1, 10, 12);
	did(&record, 2, HISTORY_POPPED, 2, 21, 22);
	cr_assert(is_just(&record, 2, true, HISTORY_FALSE_EMPTY));
}

Test(history, a_pop_of_many_that_stops_while_an_item_is_inside)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	also(&record, 1, HISTORY_POP_SHORT, 0);
	cr_assert(is_right(&record, 2, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSHED, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 4);
	also(&record, 1, HISTORY_POP_SHORT, 0);
	did(&record, 1, HISTORY_POPPED, 2, 5, 6);
	cr_assert(is_just(&record, 2, true, HISTORY_FALSE_EMPTY));
}

Test(history, full_while_there_is_room)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSH_FULL, 0, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_right(&record, 1, true));
	/* A pop that has not ended may not have been yet, a push that has begun may have been. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 1, HISTORY_POPPED, 1, 3, 5);
	did(&record, 2, HISTORY_PUSHED, 2, 6, 9);
	did(&record, 0, HISTORY_PUSH_FULL, 0, 5, 7);
	did(&record, 1, HISTORY_POPPED, 2, 10, 11);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSH_FULL, 0, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_just(&record, 2, true, HISTORY_FALSE_FULL));
	/* Two, but one after the other. */
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSH_FULL, 0, 3, 12);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	did(&record, 1, HISTORY_PUSHED, 2, 7, 8);
	did(&record, 1, HISTORY_POPPED, 2, 9, 10);
	cr_assert(is_just(&record, 2, true, HISTORY_FALSE_FULL));
}

Test(history, a_push_of_many_that_stops_while_there_is_room)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSH_SHORT, 0);
	cr_assert(is_right(&record, 1, false));
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSH_SHORT, 0);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 3);
	cr_assert(is_right(&record, 2, false));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSH_SHORT, 0);
	cr_assert(is_just(&record, 2, false, HISTORY_FALSE_FULL));
	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	also(&record, 0, HISTORY_PUSH_SHORT, 0);
	did(&record, 1, HISTORY_CLOSE, 0, 3, 4);
	cr_assert(is_just(&record, 2, false, HISTORY_FALSE_FULL));
}

Test(history, more_inside_than_there_is_room_for)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 4, 6);
	did(&record, 1, HISTORY_POPPED, 2, 7, 8);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 1, HISTORY_POPPED, 1, 5, 6);
	did(&record, 1, HISTORY_POPPED, 2, 7, 8);
	cr_assert(is_just(&record, 1, true, HISTORY_OVER_CAPACITY));
}

/* The second pop has begun early, but cannot have been before the first. */
Test(history, order_tells_what_is_inside)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
	did(&record, 0, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 1, HISTORY_POPPED, 2, 2, 9);
	did(&record, 2, HISTORY_POPPED, 1, 5, 6);
	cr_assert(is_just(&record, 1, true, HISTORY_OVER_CAPACITY));
}

/* These pushes have an instant in common, so the second item may have come out first, and early. */
Test(history, calls_that_touch_have_no_order)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 3);
	did(&record, 1, HISTORY_PUSHED, 2, 3, 4);
	did(&record, 2, HISTORY_POPPED, 2, 4, 9);
	did(&record, 0, HISTORY_PUSHED, 3, 5, 6);
	did(&record, 3, HISTORY_POPPED, 1, 7, 8);
	did(&record, 3, HISTORY_POPPED, 3, 10, 11);
	cr_assert(is_right(&record, 2, true));
}

Test(history, closed_before_anybody_closes)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSH_CLOSED, 0, 1, 2);
	did(&record, 2, HISTORY_POP_CLOSED, 0, 1, 2);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 3);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSH_CLOSED, 0, 1, 2);
	did(&record, 1, HISTORY_CLOSE, 0, 3, 4);
	cr_assert(is_just(&record, 1, true, HISTORY_FALSE_CLOSED));
	did(&record, 0, HISTORY_POP_CLOSED, 0, 1, 2);
	did(&record, 1, HISTORY_CLOSE, 0, 3, 4);
	cr_assert(is_just(&record, 1, true, HISTORY_FALSE_CLOSED));
}

Test(history, drained_while_an_item_is_left)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 4);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 3);
	did(&record, 1, HISTORY_POP_CLOSED, 0, 4, 5);
	did(&record, 2, HISTORY_POPPED, 1, 5, 7);
	cr_assert(is_right(&record, 1, true));

	did(&record, 0, HISTORY_PUSHED, 1, 1, 4);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 3);
	did(&record, 1, HISTORY_POP_CLOSED, 0, 4, 5);
	did(&record, 2, HISTORY_POPPED, 1, 6, 7);
	cr_assert(is_just(&record, 1, true, HISTORY_FALSE_CLOSED));
}

/* That it is closed is known from nobody but the pop which says that it is drained. */
Test(history, drained_before_an_item_has_come)
{
	struct record record = {0};

	did(&record, 0, HISTORY_PUSHED, 1, 1, 9);
	did(&record, 1, HISTORY_CLOSE, 0, 2, 20);
	did(&record, 2, HISTORY_POP_CLOSED, 0, 3, 5);
	did(&record, 3, HISTORY_POPPED, 1, 6, 7);
	cr_assert(is_just(&record, 1, true, HISTORY_FALSE_CLOSED));
}

Test(history, calls_that_do_not_know_of_the_close)
{
	static const enum history_what wrong[] = {HISTORY_PUSHED, HISTORY_PUSH_FULL,
						  HISTORY_POP_EMPTY};
	struct record record = {0};

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		/* 1 fills it for the full answer, and is popped before the empty one. */
		did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
		did(&record, 2, HISTORY_POPPED, 1, 2, 9);
		did(&record, 1, HISTORY_CLOSE, 0, 3, 5);
		did(&record, 0, wrong[i], 2, 5, 7);
		cr_assert(is_right(&record, 1, false), "%zu", i);

		did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
		did(&record, 2, HISTORY_POPPED, 1, 2, 9);
		did(&record, 1, HISTORY_CLOSE, 0, 3, 5);
		did(&record, 0, wrong[i], 2, 6, 7);
		(void)check(&record, 1, false);
		cr_assert(report.found[HISTORY_AFTER_CLOSE] == 1, "%zu", i);

		/* That it is closed is also known from who has been told so. */
		did(&record, 0, HISTORY_PUSHED, 1, 1, 2);
		did(&record, 2, HISTORY_POPPED, 1, 2, 9);
		did(&record, 1, HISTORY_CLOSE, 0, 3, 12);
		did(&record, 3, HISTORY_PUSH_CLOSED, 0, 4, 5);
		did(&record, 0, wrong[i], 2, 6, 7);
		(void)check(&record, 1, false);
		cr_assert(report.found[HISTORY_AFTER_CLOSE] == 1, "%zu", i);
	}
}

Test(history, each_violation_has_a_name)
{
	for (int i = 0; i < HISTORY_VIOLATIONS; i++)
		cr_assert_not_null(history_name((enum history_violation)i));
	cr_assert_null(history_name(HISTORY_VIOLATIONS));
}

/* ---- A simulation --------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t
below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % n;
}

/* A queue that does one thing at a time, for threads whose calls overlap. */
struct simulation {
	uint64_t capacity, spread, now;
	uint64_t head, tail; /* values are numbers, so what is inside is from head to tail */
	bool closed;
	unsigned longest; /* call, in items */
};

/* Some time before now, when the thread's last call is over. */
static uint64_t
begin_of(struct simulation *simulation, const struct history_part *part)
{
	uint64_t begin = simulation->now - below(simulation->spread);
	uint64_t last = part->count > 0 ? part->operations[part->count - 1].end : 0;

	if (simulation->now <= last)
		simulation->now = last + 1;
	return begin <= last ? last + 1 : begin;
}

/* One call of one thread; more than one instant may pass between the items. */
static void
simulate_call(struct simulation *simulation, struct record *record, unsigned part)
{
	unsigned n = 1 + (unsigned)below(simulation->longest), moved;
	uint64_t begin = begin_of(simulation, &record->parts[part]);
	bool pushes = below(2) == 0, failed = false;
	struct history_part *mine = &record->parts[part];
	size_t first = mine->count;

	record->calls++;
	for (moved = 0; moved < n && !failed; moved++) {
		enum history_what what;
		uint64_t value = 0;

		if (pushes && simulation->closed) {
			what = moved > 0 ? HISTORY_PUSH_SHORT : HISTORY_PUSH_CLOSED;
		} else if (pushes && simulation->tail - simulation->head == simulation->capacity) {
			what = moved > 0 ? HISTORY_PUSH_SHORT : HISTORY_PUSH_FULL;
		} else if (pushes) {
			what = HISTORY_PUSHED;
			value = simulation->tail++;
		} else if (simulation->head != simulation->tail) {
			what = HISTORY_POPPED;
			value = simulation->head++;
		} else if (moved > 0) {
			what = HISTORY_POP_SHORT;
		} else {
			what = simulation->closed ? HISTORY_POP_CLOSED : HISTORY_POP_EMPTY;
		}
		failed = what != HISTORY_PUSHED && what != HISTORY_POPPED;
		did(record, part, what, value, begin, 0);
		simulation->now += 1 + below(3);
	}
	for (size_t i = first; i < mine->count; i++) {
		mine->operations[i].call = record->calls;
		mine->operations[i].end = simulation->now - 1;
	}
	/* All of them end at the same late time. */
	begin = below(simulation->spread);
	for (size_t i = first; i < mine->count; i++)
		mine->operations[i].end += begin;
}

static void
simulate_close(struct simulation *simulation, struct record *record, unsigned part)
{
	uint64_t begin = begin_of(simulation, &record->parts[part]);

	did(record, part, HISTORY_CLOSE, 0, begin, simulation->now + below(simulation->spread));
	simulation->now++;
	simulation->closed = true;
}

/* As many operations as that, at least, and then the rest is popped. */
static void
simulate(struct simulation *simulation, struct record *record, size_t operations, size_t close_at)
{
	if (simulation->now == 0)
		simulation->now = 1000000;
	for (size_t done = 0; done < operations; done++) {
		unsigned part = (unsigned)below(PARTS);

		if (done == close_at)
			simulate_close(simulation, record, part);
		else
			simulate_call(simulation, record, part);
	}
	while (simulation->head != simulation->tail) {
		uint64_t begin = begin_of(simulation, &record->parts[0]);

		did(record, 0, HISTORY_POPPED, simulation->head++, begin,
		    simulation->now + below(simulation->spread));
		simulation->now++;
	}
}

#if defined UNIT_STAND_IN
#define MANY 100000u /* an emulator, or ThreadSanitizer */
#else
#define MANY 1000000u
#endif

Test(history, what_a_simulation_does_is_right)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 64};
	struct record record = {0};

	random_state = 88172645463325252u;
	for (unsigned round = 0; round < 200; round++) {
		struct simulation simulation = {.capacity = capacities[round % 5],
						.spread = 1 + below(UINT64_C(1) << below(12)),
						.longest = 1 + (unsigned)below(1 + round % 9)};

		simulate(&simulation, &record, 500, below(1000));
		cr_assert(is_right(&record, simulation.capacity, true),
			  "round %u: %zu %zu %zu %zu %zu %zu %zu %zu %zu %zu", round,
			  report.found[0], report.found[1], report.found[2], report.found[3],
			  report.found[4], report.found[5], report.found[6], report.found[7],
			  report.found[8], report.found[9]);
	}
}

/* Says or does something wrong in the middle, when the queue is about half full. */
static void
lie(struct simulation *simulation, struct record *record, enum history_violation violation)
{
	uint64_t depth = simulation->tail - simulation->head;
	unsigned part = (unsigned)below(PARTS);

	while (depth != simulation->capacity / 2) {
		simulate_call(simulation, record, part);
		depth = simulation->tail - simulation->head;
	}
	simulation->now += 2 * simulation->spread;
	switch (violation) {
	case HISTORY_NEVER_PUSHED:
		did(record, part, HISTORY_POPPED, NOWHERE, simulation->now, simulation->now);
		break;
	case HISTORY_POPPED_TWICE:
		did(record, part, HISTORY_POPPED, simulation->head - 1, simulation->now,
		    simulation->now);
		break;
	case HISTORY_MISSING:
		simulation->head++;
		break;
	case HISTORY_ORDER:
		/* All that are inside, the last one first. */
		while (depth-- > 0) {
			did(record, part, HISTORY_POPPED, simulation->head + depth, simulation->now,
			    simulation->now);
			simulation->now++;
		}
		simulation->head = simulation->tail;
		break;
	case HISTORY_FALSE_EMPTY:
		did(record, part, HISTORY_POP_EMPTY, 0, simulation->now, simulation->now);
		break;
	case HISTORY_FALSE_FULL:
		did(record, part, HISTORY_PUSH_FULL, 0, simulation->now, simulation->now);
		break;
	case HISTORY_OVER_CAPACITY:
		while (depth++ <= simulation->capacity) {
			did(record, part, HISTORY_PUSHED, simulation->tail++, simulation->now,
			    simulation->now);
			simulation->now++;
		}
		/* As long as it is too full, only pops. */
		while (simulation->tail - simulation->head > simulation->capacity / 2) {
			simulation->now += simulation->spread;
			did(record, part, HISTORY_POPPED, simulation->head++, simulation->now,
			    simulation->now);
		}
		break;
	case HISTORY_FALSE_CLOSED:
		did(record, part, HISTORY_PUSH_CLOSED, 0, simulation->now, simulation->now);
		break;
	case HISTORY_AFTER_CLOSE:
	case HISTORY_MALFORMED:
	case HISTORY_VIOLATIONS:
	default:
		break;
	}
	simulation->now++;
}

Test(history, one_violation_among_many_operations_is_found, .timeout = 300)
{
	static const enum history_violation violations[] = {
		HISTORY_VIOLATIONS,   /* none */ HISTORY_NEVER_PUSHED,
		HISTORY_POPPED_TWICE, HISTORY_MISSING,
		HISTORY_ORDER,	      HISTORY_FALSE_EMPTY,
		HISTORY_FALSE_FULL,   HISTORY_OVER_CAPACITY,
		HISTORY_FALSE_CLOSED};

	for (size_t i = 0; i < sizeof violations / sizeof violations[0]; i++) {
		struct simulation simulation = {.capacity = 64, .spread = 4, .longest = 1};
		struct record record = {0};
		/* All of them only once: it takes a second. */
		size_t operations = i == 0 ? MANY : MANY / 5, sum;

		random_state = 88172645463325252u;
		simulate(&simulation, &record, operations / 2, NOWHERE);
		lie(&simulation, &record, violations[i]);
		simulate(&simulation, &record, operations / 2, NOWHERE);
		sum = check(&record, simulation.capacity, true);
		cr_assert_geq(report.operations, operations);
		if (violations[i] == HISTORY_VIOLATIONS) {
			cr_assert_eq(sum, 0);
			continue;
		}
		cr_assert_gt(report.found[violations[i]], 0, "%s", history_name(violations[i]));
		/* Who has lost an item has let others overtake it; to be told so closes the queue. */
		if (violations[i] != HISTORY_MISSING && violations[i] != HISTORY_FALSE_CLOSED)
			cr_assert_eq(report.found[violations[i]], sum, "%s",
				     history_name(violations[i]));
	}
}

/* ---- An exhaustive search ------------------------------------------------------------------- */

/* Every order that real time allows is tried (Wing and Gong, JPDC 1993), until one is right. */
#define SMALL 9

struct search {
	struct history_operation operations[SMALL];
	unsigned parts[SMALL];
	unsigned n;
	uint64_t capacity;
	uint64_t inside[SMALL]; /* a queue of what is inside; nothing is ever moved in it */
	unsigned head, tail;
	bool closed;
};

/* May this be next, when those in `done` have been? */
static bool
is_next(const struct search *search, unsigned i, unsigned done)
{
	for (unsigned k = 0; k < search->n; k++)
		if (k != i && !(done >> k & 1) &&
		    (search->operations[k].end < search->operations[i].begin ||
		     (k < i && search->parts[k] == search->parts[i])))
			return false;
	return true;
}

static bool
can_happen(const struct search *search, const struct history_operation *operation)
{
	uint64_t depth = search->tail - search->head;

	switch (operation->what) {
	case HISTORY_PUSHED:
		return !search->closed && depth < search->capacity;
	case HISTORY_PUSH_FULL:
		return !search->closed && depth == search->capacity;
	case HISTORY_PUSH_CLOSED:
		return search->closed;
	case HISTORY_PUSH_SHORT:
		return search->closed || depth == search->capacity;
	case HISTORY_POPPED:
		return depth > 0 && search->inside[search->head] == operation->value;
	case HISTORY_POP_EMPTY:
		return !search->closed && depth == 0;
	case HISTORY_POP_CLOSED:
		return search->closed && depth == 0;
	case HISTORY_POP_SHORT:
		return depth == 0;
	case HISTORY_CLOSE:
	default:
		return true;
	}
}

static bool
is_linearizable(struct search *search, unsigned done)
{
	if (done + 1 == 1u << search->n)
		return search->head == search->tail;
	for (unsigned i = 0; i < search->n; i++) {
		const struct history_operation *operation = &search->operations[i];
		bool was_closed = search->closed, right;

		if ((done >> i & 1) || !is_next(search, i, done) || !can_happen(search, operation))
			continue;
		if (operation->what == HISTORY_PUSHED)
			search->inside[search->tail++] = operation->value;
		search->head += operation->what == HISTORY_POPPED;
		search->closed |= operation->what == HISTORY_CLOSE;
		right = is_linearizable(search, done | 1u << i);
		search->tail -= operation->what == HISTORY_PUSHED;
		search->head -= operation->what == HISTORY_POPPED;
		search->closed = was_closed;
		if (right)
			return true;
	}
	return false;
}

/* Only what Henzinger, Sezgin and Vafeiadis speak of. */
static bool
is_plain(const struct search *search)
{
	for (unsigned i = 0; i < search->n; i++)
		if (search->operations[i].what != HISTORY_PUSHED &&
		    search->operations[i].what != HISTORY_POPPED &&
		    search->operations[i].what != HISTORY_POP_EMPTY)
			return false;
	return true;
}

/* Is each thread in one call at a time? Not even the clock leaves that open here. */
static bool
is_sequential(const struct search *search)
{
	for (unsigned i = 1; i < search->n; i++)
		if (search->parts[i] == search->parts[i - 1] &&
		    search->operations[i].call != search->operations[i - 1].call &&
		    search->operations[i].begin <= search->operations[i - 1].end)
			return false;
	return true;
}

/* Something that may have happened, and then perhaps one thing changed. */
static void
make_small(struct record *record, struct search *search)
{
	struct simulation simulation = {.capacity = below(4) == 0 ? SMALL : 1 + below(3),
					.spread = 1 + below(20),
					.longest = 1 + (unsigned)below(2)};
	struct history_operation *changed;

	do {
		forget(record);
		simulation.head = simulation.tail = 0;
		simulation.closed = false;
		simulate(&simulation, record, 2 + below(6), below(12));
		search->n = 0;
		for (unsigned part = 0; part < PARTS; part++)
			search->n += (unsigned)record->parts[part].count;
	} while (search->n > SMALL);
	for (unsigned changes = (unsigned)below(4); changes > 0; changes--) {
		struct history_part *part = &record->parts[below(PARTS)];

		if (part->count == 0)
			continue;
		changed = &part->operations[below(part->count)];
		/* That of a batch remain one call. */
		if (simulation.longest == 1 && below(2) == 0) {
			changed->begin = 1000000 - 5 + below(20);
			changed->end = changed->begin + below(20);
		} else if (changed->what == HISTORY_POPPED) {
			struct history_part *other = &record->parts[below(PARTS)];

			for (size_t i = 0; i < other->count; i++) {
				uint64_t value = changed->value;

				if (other->operations[i].what != HISTORY_POPPED)
					continue;
				changed->value = other->operations[i].value;
				other->operations[i].value = value;
				break;
			}
		} else if (changed->what == HISTORY_POP_CLOSED ||
			   changed->what == HISTORY_POP_EMPTY) {
			changed->what = below(2) ? HISTORY_POP_EMPTY : HISTORY_POP_CLOSED;
		} else if (changed->what == HISTORY_PUSH_CLOSED ||
			   changed->what == HISTORY_PUSH_FULL) {
			changed->what = below(2) ? HISTORY_PUSH_FULL : HISTORY_PUSH_CLOSED;
		}
	}
	search->capacity = simulation.capacity;
	search->head = search->tail = 0;
	search->closed = false;
	search->n = 0;
	for (unsigned part = 0; part < PARTS; part++)
		for (size_t i = 0; i < record->parts[part].count; i++) {
			search->parts[search->n] = part;
			search->operations[search->n++] = record->parts[part].operations[i];
		}
}

Test(history, an_exhaustive_search_agrees, .timeout = 300)
{
	unsigned wrong = 0, missed = 0, plain = 0;

	random_state = 88172645463325252u;
	for (unsigned round = 0; round < MANY / 20; round++) {
		struct record record = {0};
		struct search search;
		size_t sum;

		make_small(&record, &search);
		sum = history_check(record.parts, PARTS, search.capacity, true, &report);
		forget(&record);
		if (!is_sequential(&search) || report.found[HISTORY_MALFORMED] > 0)
			continue;
		if (is_linearizable(&search, 0)) {
			cr_assert_eq(sum, 0, "round %u is right", round);
			continue;
		}
		wrong++;
		if (is_plain(&search) && search.capacity >= SMALL) {
			plain++;
			cr_assert_gt(sum, 0, "round %u is wrong", round);
		}
		missed += sum == 0;
	}
	/* Capacity and close are not checked for all that they imply. */
	cr_assert_gt(plain, 10);
	cr_assert_lt(missed * 100, wrong, "%u of %u are missed", missed, wrong);
}
