/* SPDX-License-Identifier: BSD-2-Clause */
#include "history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

/* How often what is known of one side's order narrows the other side: what more would find is rare. */
#define NARROWINGS 2

/* A history of so many operations is printed as a whole. */
#define SHORT 500

/* ---- Recording ------------------------------------------------------------------------------ */

static void *
allocate(size_t n, size_t size)
{
	void *memory = calloc(n + 1, size);

	if (!memory) {
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	return memory;
}

void
history_add(struct history_part *part, struct history_operation operation)
{
	if (part->count == part->room) {
		struct history_operation *more;

		part->room = part->room ? 2 * part->room : 64;
		more = allocate(part->room, sizeof *more);
		if (part->count > 0)
			memcpy(more, part->operations, part->count * sizeof *more);
		free(part->operations);
		part->operations = more;
	}
	part->operations[part->count++] = operation;
}

void
history_free(struct history_part *part)
{
	free(part->operations);
	memset(part, 0, sizeof *part);
}

/* ---- Sorting -------------------------------------------------------------------------------- */

struct key {
	uint64_t at;
	size_t index;
};

/* By bytes from the lowest one, leaving out those that are the same in all keys. */
static void
sort(struct key *keys, size_t n)
{
	struct key *from = keys, *to, *other;
	uint64_t differ = 0;

	for (size_t i = 1; i < n; i++)
		differ |= keys[i].at ^ keys[0].at;
	other = to = allocate(n, sizeof *other);
	for (unsigned shift = 0; shift < 64; shift += 8) {
		size_t place[256] = {0}, sum = 0;

		if ((differ >> shift & 0xff) == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			place[from[i].at >> shift & 0xff]++;
		for (size_t byte = 0; byte < 256; byte++) {
			size_t here = place[byte];

			place[byte] = sum;
			sum += here;
		}
		for (size_t i = 0; i < n; i++)
			to[place[from[i].at >> shift & 0xff]++] = from[i];
		to = from;
		from = from == keys ? other : keys;
	}
	if (from != keys)
		memcpy(keys, from, n * sizeof *keys);
	free(other);
}

static void
sort_by(struct key *keys, const uint64_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		keys[i].at = at[i];
		keys[i].index = i;
	}
	sort(keys, n);
}

/* How many of the sorted keys are less than `at`. */
static size_t
count_less(const struct key *keys, size_t n, uint64_t at)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (keys[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- Items ---------------------------------------------------------------------------------- */

/* When something happened: in this interval, its ends included. */
struct intervals {
	uint64_t *begin, *end;
};

/* All that was pushed, by index; what came out never has NEVER as its pop's begin and end. */
struct items {
	size_t count;
	const struct history_operation **push, **pop;
	size_t *part;			 /* of the push */
	struct intervals pushed, popped; /* as recorded, then narrower */
};

struct check {
	const struct history_part *parts;
	size_t parts_count;
	uint64_t capacity;
	bool drained;
	struct history_report *report;
	struct items items;
	size_t *popped_item;  /* by operation, of all parts together: the item that it popped */
	uint64_t close_begin; /* no close was under way before */
	uint64_t closed;      /* it was closed by then, for sure */
	uint64_t drained_at;  /* a pop had answered so by then */
	struct key *keys[2];  /* scratch, for as many as there are items */
};

static void
found(struct check *check, enum history_violation violation, const struct history_operation *what,
      const struct history_operation *other)
{
	if (check->report->found[violation]++ > 0)
		return;
	check->report->first[violation][0] = *what;
	check->report->first[violation][1] = other ? *other : *what;
}

/* Each operation of the history, with its part and its number among all. */
#define for_each_operation(check, operation, part, number)                                         \
	for (size_t part = 0, number = 0; part < (check)->parts_count; part++)                     \
		for (const struct history_operation *                                              \
			     operation = (check)->parts[part].operations,                          \
			    *operation##_end = operation + (check)->parts[part].count;             \
		     operation != operation##_end; operation++, number++)

static void
open_items(struct items *items, size_t n)
{
	items->push = allocate(n, sizeof *items->push);
	items->pop = allocate(n, sizeof *items->pop);
	items->part = allocate(n, sizeof *items->part);
	items->pushed.begin = allocate(n, sizeof(uint64_t));
	items->pushed.end = allocate(n, sizeof(uint64_t));
	items->popped.begin = allocate(n, sizeof(uint64_t));
	items->popped.end = allocate(n, sizeof(uint64_t));
}

static void
close_items(struct items *items)
{
	free(items->push);
	free(items->pop);
	free(items->part);
	free(items->pushed.begin);
	free(items->pushed.end);
	free(items->popped.begin);
	free(items->popped.end);
}

/* Brings the pops to their pushes by the values. */
static void
match(struct check *check, struct key *values, size_t n)
{
	struct items *items = &check->items;

	sort(values, n);
	for (size_t i = 0; i + 1 < n; i++)
		if (values[i].at == values[i + 1].at)
			found(check, HISTORY_MALFORMED, items->push[values[i].index],
			      items->push[values[i + 1].index]);
	for_each_operation(check, operation, part, number)
	{
		size_t at, item;

		check->popped_item[number] = SIZE_MAX;
		if (operation->what != HISTORY_POPPED)
			continue;
		at = count_less(values, n, operation->value);
		if (at == n || values[at].at != operation->value) {
			found(check, HISTORY_NEVER_PUSHED, operation, NULL);
			continue;
		}
		item = values[at].index;
		check->popped_item[number] = item;
		if (items->pop[item]) {
			found(check, HISTORY_POPPED_TWICE, operation, items->pop[item]);
			continue;
		}
		items->pop[item] = operation;
		items->popped.begin[item] = operation->begin;
		items->popped.end[item] = operation->end;
		if (operation->end < items->pushed.begin[item])
			found(check, HISTORY_NEVER_PUSHED, operation, items->push[item]);
	}
}

static void
collect(struct check *check)
{
	struct items *items = &check->items;
	struct key *values;
	size_t total = 0, n = 0;

	for (size_t i = 0; i < check->parts_count; i++)
		total += check->parts[i].count;
	check->report->operations = total;
	check->popped_item = allocate(total, sizeof *check->popped_item);
	open_items(items, total);
	values = allocate(total, sizeof *values);
	for_each_operation(check, operation, part, number)
	{
		(void)number;
		if (operation->end < operation->begin)
			found(check, HISTORY_MALFORMED, operation, NULL);
		if (operation != check->parts[part].operations &&
		    operation[-1].call != operation->call && operation->begin < operation[-1].end)
			found(check, HISTORY_MALFORMED, operation, operation - 1);
		if (operation->what != HISTORY_PUSHED)
			continue;
		items->push[n] = operation;
		items->part[n] = part;
		items->pushed.begin[n] = operation->begin;
		items->pushed.end[n] = operation->end;
		items->popped.begin[n] = items->popped.end[n] = NEVER;
		values[n].at = operation->value;
		values[n].index = n;
		n++;
	}
	items->count = n;
	check->keys[0] = allocate(n, sizeof *check->keys[0]);
	check->keys[1] = allocate(n, sizeof *check->keys[1]);
	match(check, values, n);
	free(values);
	for (size_t i = 0; i < n; i++)
		if (!items->pop[i] && (check->drained || check->drained_at != NEVER))
			found(check, HISTORY_MISSING, items->push[i], NULL);
}

/* ---- Order ---------------------------------------------------------------------------------- */

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t
greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/*
 * Push a before push b, but pop b before pop a. Going through the pushes by their begin, with all
 * that had ended before: the latest begin of their pops is what no later pop may have ended before.
 */
static void
check_order(struct check *check)
{
	const struct items *items = &check->items;
	struct key *begins = check->keys[0], *ends = check->keys[1];
	size_t before = 0, latest = SIZE_MAX;

	sort_by(begins, items->pushed.begin, items->count);
	sort_by(ends, items->pushed.end, items->count);
	for (size_t i = 0; i < items->count; i++) {
		size_t item = begins[i].index;

		for (; before < items->count && ends[before].at < begins[i].at; before++) {
			size_t earlier = ends[before].index;

			if (latest == SIZE_MAX ||
			    items->popped.begin[earlier] > items->popped.begin[latest])
				latest = earlier;
		}
		if (latest != SIZE_MAX && items->popped.end[item] < items->popped.begin[latest])
			found(check, HISTORY_ORDER, items->push[item], items->push[latest]);
	}
}

/* The same among items that one call pushed: those went in one after the other. */
static void
check_order_in_push(struct check *check)
{
	const struct items *items = &check->items;
	size_t latest = 0;

	for (size_t i = 1; i < items->count; i++) {
		if (items->part[i] != items->part[i - 1] ||
		    items->push[i]->call != items->push[i - 1]->call) {
			latest = i;
			continue;
		}
		if (items->popped.end[i] < items->popped.begin[latest])
			found(check, HISTORY_ORDER, items->push[i], items->push[latest]);
		if (items->popped.begin[i] > items->popped.begin[latest])
			latest = i;
	}
}

/* And among items that one call popped: with what others pushed, and what each thread did. */
static void
check_order_in_pop(struct check *check)
{
	const struct items *items = &check->items;
	const struct history_operation *last = NULL;
	size_t *last_of = allocate(check->parts_count, sizeof *last_of);
	size_t *in_call = allocate(check->parts_count, sizeof *in_call);
	size_t latest = 0, calls = 0, last_part = 0;

	for_each_operation(check, operation, part, number)
	{
		size_t item = check->popped_item[number], from;

		if (item == SIZE_MAX)
			continue;
		from = items->part[item];
		if (!last || last_part != part || last->call != operation->call) {
			calls++;
			latest = item;
		} else {
			if (items->pushed.end[item] < items->pushed.begin[latest])
				found(check, HISTORY_ORDER, items->push[item], items->push[latest]);
			/* Items are numbered as their thread pushed them. */
			if (in_call[from] == calls && item < last_of[from])
				found(check, HISTORY_ORDER, items->push[item],
				      items->push[last_of[from]]);
			if (items->pushed.begin[item] > items->pushed.begin[latest])
				latest = item;
		}
		last_of[from] = item;
		in_call[from] = calls;
		last = operation;
		last_part = part;
	}
	free(last_of);
	free(in_call);
}

/*
 * One side's order, as far as it is known, tells the other's: what went in earlier comes out
 * earlier, and the other way round. So it came out not before the begin, nor after the end, of what
 * has to come before, or after, it.
 */
static void
narrow_by(struct check *check, const struct intervals *known, struct intervals *other)
{
	struct key *begins = check->keys[0], *ends = check->keys[1];
	size_t n = check->items.count, before = 0, after = n;
	uint64_t latest = 0, earliest = NEVER;

	sort_by(begins, known->begin, n);
	sort_by(ends, known->end, n);
	for (size_t i = 0; i < n; i++) {
		for (; before < n && ends[before].at < begins[i].at; before++)
			latest = greater(latest, other->begin[ends[before].index]);
		other->begin[begins[i].index] = greater(other->begin[begins[i].index], latest);
	}
	for (size_t i = n; i-- > 0;) {
		for (; after > 0 && begins[after - 1].at > ends[i].at; after--)
			earliest = smaller(earliest, other->end[begins[after - 1].index]);
		other->end[ends[i].index] = smaller(other->end[ends[i].index], earliest);
	}
}

static void
narrow(struct check *check)
{
	struct items *items = &check->items;

	/* Nothing goes in once it is closed. */
	for (size_t i = 0; i < items->count; i++)
		items->pushed.end[i] = smaller(items->pushed.end[i], check->closed);
	for (int i = 0; i < NARROWINGS; i++) {
		narrow_by(check, &items->pushed, &items->popped);
		narrow_by(check, &items->popped, &items->pushed);
		for (size_t item = 0; item < items->count; item++) {
			items->popped.begin[item] =
				greater(items->popped.begin[item], items->pushed.begin[item]);
			items->pushed.end[item] =
				smaller(items->pushed.end[item], items->popped.end[item]);
		}
	}
}

/* ---- Empty and full ------------------------------------------------------------------------- */

/* Since `from`, and until `until`, there was always something inside, at the end this item. */
struct stretch {
	uint64_t from, until;
	size_t item;
};

/*
 * The times of certainly being inside, joined where they overlap. Returns how many stretches.
 */
static size_t
join(struct check *check, struct stretch *stretches)
{
	const struct items *items = &check->items;
	struct key *ends = check->keys[1];
	size_t count = 0;

	sort_by(ends, items->pushed.end, items->count);
	for (size_t i = 0; i < items->count; i++) {
		size_t item = ends[i].index;
		uint64_t until = items->popped.begin[item];

		if (ends[i].at >= until)
			continue;
		if (count > 0 && ends[i].at < stretches[count - 1].until) {
			if (until <= stretches[count - 1].until)
				continue;
		} else {
			stretches[count++].from = ends[i].at;
		}
		stretches[count - 1].until = until;
		stretches[count - 1].item = item;
	}
	return count;
}

static void
check_empty(struct check *check)
{
	const struct items *items = &check->items;
	struct stretch *stretches = allocate(items->count, sizeof *stretches);
	size_t count = join(check, stretches);

	for_each_operation(check, operation, part, number)
	{
		uint64_t end = operation->end;
		size_t low = 0, high = count;

		(void)number;
		if (operation->what != HISTORY_POP_EMPTY && operation->what != HISTORY_POP_CLOSED &&
		    operation->what != HISTORY_POP_SHORT)
			continue;
		if (operation->what == HISTORY_POP_EMPTY)
			end = smaller(end, check->closed);
		/* The last stretch that had begun before it. */
		while (low < high) {
			size_t middle = low + (high - low) / 2;

			if (stretches[middle].from < operation->begin)
				low = middle + 1;
			else
				high = middle;
		}
		if (low > 0 && stretches[low - 1].until > end)
			found(check,
			      operation->what == HISTORY_POP_CLOSED ? HISTORY_FALSE_CLOSED
								    : HISTORY_FALSE_EMPTY,
			      operation, items->push[stretches[low - 1].item]);
	}
	free(stretches);
}

/* More than capacity certainly inside: who pushed when that began? */
static void
check_capacity(struct check *check)
{
	const struct items *items = &check->items;
	struct key *ends = check->keys[0], *begins = check->keys[1];
	uint64_t inside = 0;
	size_t n = 0, out = 0;

	for (size_t i = 0; i < items->count; i++) {
		if (items->pushed.end[i] >= items->popped.begin[i])
			continue;
		ends[n].at = items->pushed.end[i];
		begins[n].at = items->popped.begin[i];
		ends[n].index = begins[n].index = i;
		n++;
	}
	sort(ends, n);
	sort(begins, n);
	for (size_t i = 0; i < n; i++) {
		for (; begins[out].at <= ends[i].at; out++)
			inside--;
		if (++inside > check->capacity)
			found(check, HISTORY_OVER_CAPACITY, items->push[ends[i].index], NULL);
	}
}

/* How many were possibly inside at an instant. */
static uint64_t
possibly_inside(const struct check *check, uint64_t at)
{
	const struct key *begins = check->keys[0], *ends = check->keys[1];
	size_t n = check->items.count;

	return (at == NEVER ? n : count_less(begins, n, at + 1)) - count_less(ends, n, at);
}

/*
 * The most that were possibly inside changes upwards only where a push begins. Going through the
 * full answers by their end, the begins so far that no later one surpasses are kept: the first of
 * them behind a begin is the most since then.
 */
static void
check_full(struct check *check)
{
	const struct items *items = &check->items;
	const struct history_operation **full;
	struct key *begins = check->keys[0], *answers, *peaks;
	size_t n = 0, kept = 0, next = 0;

	full = allocate(check->report->operations, sizeof *full);
	answers = allocate(check->report->operations, sizeof *answers);
	peaks = allocate(items->count, sizeof *peaks);
	for_each_operation(check, operation, part, number)
	{
		(void)number;
		if (operation->what != HISTORY_PUSH_FULL && operation->what != HISTORY_PUSH_SHORT)
			continue;
		if (operation->what == HISTORY_PUSH_SHORT && check->close_begin <= operation->end)
			continue;
		full[n] = operation;
		answers[n].at = smaller(operation->end, check->closed);
		answers[n].index = n;
		n++;
	}
	sort(answers, n);
	sort_by(begins, items->pushed.begin, items->count);
	sort_by(check->keys[1], items->popped.end, items->count);
	for (size_t i = 0; i < n; i++) {
		const struct history_operation *operation = full[answers[i].index];
		uint64_t most = possibly_inside(check, operation->begin);
		size_t first;

		for (; next < items->count && begins[next].at <= answers[i].at; next++) {
			size_t inside = possibly_inside(check, begins[next].at);

			while (kept > 0 && peaks[kept - 1].index <= inside)
				kept--;
			peaks[kept].at = begins[next].at;
			peaks[kept++].index = inside;
		}
		first = count_less(peaks, kept, operation->begin);
		if (first < kept)
			most = greater(most, peaks[first].index);
		if (most < check->capacity)
			found(check, HISTORY_FALSE_FULL, operation, NULL);
	}
	free(full);
	free(answers);
	free(peaks);
}

/* ---- Close ---------------------------------------------------------------------------------- */

static void
look_for_close(struct check *check)
{
	check->close_begin = check->closed = check->drained_at = NEVER;
	for_each_operation(check, operation, part, number)
	{
		(void)number;
		if (operation->what == HISTORY_CLOSE)
			check->close_begin = smaller(check->close_begin, operation->begin);
		if (operation->what == HISTORY_CLOSE || operation->what == HISTORY_PUSH_CLOSED ||
		    operation->what == HISTORY_POP_CLOSED)
			check->closed = smaller(check->closed, operation->end);
		if (operation->what == HISTORY_POP_CLOSED)
			check->drained_at = smaller(check->drained_at, operation->end);
	}
}

static void
check_close(struct check *check)
{
	for_each_operation(check, operation, part, number)
	{
		(void)number;
		switch (operation->what) {
		case HISTORY_PUSH_CLOSED:
		case HISTORY_POP_CLOSED:
			if (operation->end < check->close_begin)
				found(check, HISTORY_FALSE_CLOSED, operation, NULL);
			break;
		case HISTORY_PUSHED:
		case HISTORY_PUSH_FULL:
		case HISTORY_POP_EMPTY:
			if (operation->begin > check->closed)
				found(check, HISTORY_AFTER_CLOSE, operation, NULL);
			break;
		case HISTORY_POPPED:
			/* What a pop had not found any more when it said that all was out. */
			if (operation->begin > check->drained_at)
				found(check, HISTORY_FALSE_CLOSED, operation, NULL);
			break;
		case HISTORY_PUSH_SHORT:
		case HISTORY_POP_SHORT:
		case HISTORY_CLOSE:
		default:
			break;
		}
	}
}

/* ---- All together --------------------------------------------------------------------------- */

size_t
history_check(const struct history_part *parts, size_t n, uint64_t capacity, bool drained,
	      struct history_report *report)
{
	struct check check = {.parts = parts,
			      .parts_count = n,
			      .capacity = capacity,
			      .drained = drained,
			      .report = report};
	size_t sum = 0;

	memset(report, 0, sizeof *report);
	look_for_close(&check);
	collect(&check);
	check_close(&check);
	check_order(&check);
	check_order_in_push(&check);
	check_order_in_pop(&check);
	narrow(&check);
	check_empty(&check);
	check_capacity(&check);
	check_full(&check);
	close_items(&check.items);
	free(check.popped_item);
	free(check.keys[0]);
	free(check.keys[1]);
	for (int i = 0; i < HISTORY_VIOLATIONS; i++)
		sum += report->found[i];
	return sum;
}

static const char *const violations[HISTORY_VIOLATIONS] = {
	[HISTORY_MALFORMED] = "malformed",
	[HISTORY_NEVER_PUSHED] = "never-pushed",
	[HISTORY_POPPED_TWICE] = "popped-twice",
	[HISTORY_MISSING] = "missing",
	[HISTORY_ORDER] = "order",
	[HISTORY_FALSE_EMPTY] = "false-empty",
	[HISTORY_FALSE_FULL] = "false-full",
	[HISTORY_OVER_CAPACITY] = "over-capacity",
	[HISTORY_FALSE_CLOSED] = "false-closed",
	[HISTORY_AFTER_CLOSE] = "after-close",
};

const char *
history_name(enum history_violation violation)
{
	return (unsigned)violation < HISTORY_VIOLATIONS ? violations[violation] : NULL;
}

static void
print_operation(const char *label, const struct history_operation *operation)
{
	static const char *const names[] = {[HISTORY_PUSHED] = "pushed",
					    [HISTORY_PUSH_FULL] = "push: full",
					    [HISTORY_PUSH_CLOSED] = "push: closed",
					    [HISTORY_PUSH_SHORT] = "push: too little",
					    [HISTORY_POPPED] = "popped",
					    [HISTORY_POP_EMPTY] = "pop: empty",
					    [HISTORY_POP_CLOSED] = "pop: closed",
					    [HISTORY_POP_SHORT] = "pop: too little",
					    [HISTORY_CLOSE] = "close"};

	fprintf(stderr, "  %s: %s, value %#" PRIx64 ", from %" PRIu64 " to %" PRIu64 "\n", label,
		names[operation->what], operation->value, operation->begin, operation->end);
}

void
history_print(const struct history_part *parts, size_t n, const struct history_report *report)
{
	for (int i = 0; i < HISTORY_VIOLATIONS; i++) {
		if (report->found[i] == 0)
			continue;
		fprintf(stderr, "%s: %zu in %zu operations; the first:\n", violations[i],
			report->found[i], report->operations);
		print_operation("this", &report->first[i][0]);
		if (memcmp(&report->first[i][0], &report->first[i][1],
			   sizeof report->first[i][0]) != 0)
			print_operation("with", &report->first[i][1]);
	}
	if (report->operations > SHORT)
		return;
	for (size_t part = 0; part < n; part++) {
		fprintf(stderr, "thread %zu:\n", part);
		for (size_t i = 0; i < parts[part].count; i++) {
			char label[24];

			snprintf(label, sizeof label, "call %" PRIu32,
				 parts[part].operations[i].call);
			print_operation(label, &parts[part].operations[i]);
		}
	}
}
