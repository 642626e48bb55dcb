/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring, with other calls between any two atomic operations of a call: every one of its races is
 * lost, in each build. What ring_steps does for each instruction, where there are restartable
 * sequences.
 *
 * All answers, and what is inside at the end, must be those of some order of the others' calls, one
 * after the other, and of the call's single pushes and pops between them.
 */
#include "interleave.h"

#define revoke revoke_stores /* unistd.h has another one */
#include "../../lib/ring.c"
#undef revoke

#include "unit.h"

#include <limits.h>

#define BULK 3
#define CAPACITY_MAX 3
#define OTHERS_MAX (3 + CAPACITY_MAX + BULK + 2) /* at the end they take all that is left */
#define CLOSED_OR_FULL 1 /* an answer that only says that it was not possible */

struct step {
	char what;	   /* 'P'ush, p'O'p, 'C'lose, 'D'epth */
	int rc;		   /* or the depth */
	void *item;	   /* given or got */
	bool began_before; /* the ring was closed */
};

struct history {
	struct step steps[OTHERS_MAX];
	unsigned n;
};

/* The ring as it should be. */
struct model {
	void *items[CAPACITY_MAX + BULK + OTHERS_MAX];
	unsigned head, tail;
	bool closed, told; /* told: a pop has answered that the ring has ended */
};

static struct queue_ring *ring;
static struct history victim, others;
static const char *others_calls;
static char names[64]; /* their addresses are the items */
static unsigned next_name;
static bool closed_first;
static uint64_t stopped_at; /* the position of the push that was stopped */

static void *
new_item(void)
{
	return &names[next_name++];
}

static void
note(struct history *history, char what, int rc, void *item)
{
	struct step *step = &history->steps[history->n++];

	step->what = what;
	step->rc = rc;
	step->item = item;
	step->began_before = history == &victim && !closed_first;
}

static void
push_n(struct history *history)
{
	void *items[BULK];
	ptrdiff_t rc, i;

	for (i = 0; i < BULK; i++)
		items[i] = new_item();
	rc = queue_ring_push_n(ring, items, BULK);
	for (i = 0; i < rc; i++)
		note(history, 'P', 0, items[i]);
	if (rc < BULK)
		note(history, 'P', rc > 0 ? CLOSED_OR_FULL : rc == 0 ? -EAGAIN : (int)rc, NULL);
}

static void
pop_n(struct history *history)
{
	void *items[BULK];
	ptrdiff_t rc = queue_ring_pop_n(ring, items, BULK), i;

	for (i = 0; i < rc; i++)
		note(history, 'O', 0, items[i]);
	if (rc < BULK)
		note(history, 'O', rc > 0 ? CLOSED_OR_FULL : rc == 0 ? -EAGAIN : (int)rc, NULL);
}

/* The push that was stopped had looked whether the ring is closed, and fills its slot now. */
static int
go_on(void *item)
{
	if (queue_impl_ring_swap_in(ring, stopped_at, item))
		return 0;
	return queue_impl_ring_push_slow(ring, item, stopped_at,
					 !queue_impl_ring_is_filled(ring, stopped_at))
		.rc;
}

static void
call(struct history *history, char what)
{
	void *item = NULL;
	int rc;

	switch (what) {
	case 'P':
		item = new_item();
		rc = queue_ring_try_push(ring, item);
		note(history, what, rc, item);
		break;
	case 'O':
		rc = queue_ring_try_pop(ring, &item);
		note(history, what, rc, item);
		break;
	case 'V':
		item = new_item();
		rc = go_on(item);
		note(history, 'P', rc, item);
		history->steps[history->n - 1].began_before = true;
		break;
	case 'N':
		push_n(history);
		break;
	case 'M':
		pop_n(history);
		break;
	case 'C':
		queue_ring_close(ring);
		note(history, what, 0, NULL);
		break;
	case 'D':
		note(history, what, (int)queue_ring_depth_approx(ring), NULL);
		break;
	}
}

static void
call_others(void)
{
	const char *what;

	for (what = others_calls; *what; what++)
		call(&others, *what);
}

/* The same again and again, with nothing noted. */
static void
call_others_only(void)
{
	call_others();
	memset(&others, 0, sizeof others);
	next_name = 0;
}

/*
 * May a call that began before the ring was closed answer as if it were not? A push gets in as long
 * as nobody has been told the end. One that meets a full ring, and a pop that meets an empty one,
 * may say just that.
 */
static bool
is_not_told(const struct model *model, const struct step *step)
{
	unsigned depth = model->tail - model->head;

	if (!step->began_before)
		return false;
	if (step->what == 'P' && depth < ring->capacity)
		return step->rc == 0 && !model->told;
	return step->rc == -EAGAIN;
}

/* Does the model answer as this step was answered? */
static bool
agrees(struct model *model, const struct step *step)
{
	unsigned depth = model->tail - model->head;
	bool closed = model->closed && !is_not_told(model, step);
	int rc = 0;

	switch (step->what) {
	case 'P':
		if (closed)
			rc = -EPIPE;
		else if (depth == ring->capacity)
			rc = -EAGAIN;
		else
			model->items[model->tail++] = step->item;
		break;
	case 'O':
		if (depth == 0)
			rc = closed ? -EPIPE : -EAGAIN;
		else if (model->items[model->head++] != step->item)
			return false;
		model->told = model->told || step->rc == -EPIPE;
		break;
	case 'C':
		model->closed = true;
		break;
	case 'D':
		rc = (int)depth;
		break;
	}
	return step->rc == rc || (step->rc == CLOSED_OR_FULL && step->what != 'D' && rc < 0);
}

static bool
explains(struct model model, unsigned mine, unsigned theirs)
{
	struct model other = model;

	if (mine == victim.n && theirs == others.n)
		return model.tail == model.head;
	if (mine < victim.n && agrees(&model, &victim.steps[mine]) &&
	    explains(model, mine + 1, theirs))
		return true;
	return theirs < others.n && agrees(&other, &others.steps[theirs]) &&
	       explains(other, mine, theirs + 1);
}

/* How the ring comes to be as it is when the call begins. */
struct setting {
	uint64_t capacity;
	unsigned flags;
	unsigned inside;
	bool swaps;   /* as on a system without restartable sequences */
	bool shared;  /* both ends have been moved by several threads */
	bool stopped; /* a push has taken a number, and goes on with V or never */
	bool closed;
};

static void
set_up(const struct setting *setting, struct model *model)
{
	unsigned i;

	memset(model, 0, sizeof *model);
	memset(&victim, 0, sizeof victim);
	memset(&others, 0, sizeof others);
	next_name = 0;
	cr_assert_eq(queue_ring_create(&ring, setting->capacity, setting->flags, NULL), 0);
	if (setting->swaps)
		ring->rseq = 0;
	if (setting->swaps || setting->shared)
		ring->producer = ring->consumer = QUEUE_IMPL_RING_ANYBODY;
	/* Not from the first position on, so that slots have been used. */
	for (i = 0; i < setting->capacity + 1 + setting->inside; i++) {
		void *item = new_item(), *popped;

		cr_assert_eq(queue_ring_try_push(ring, item), 0);
		if (i < setting->capacity + 1)
			cr_assert_eq(queue_ring_try_pop(ring, &popped), 0);
		else
			model->items[model->tail++] = item;
	}
	closed_first = setting->closed;
	stopped_at = ring->tail;
	ring->tail += setting->stopped;
	if (setting->closed)
		queue_ring_close(ring);
	model->closed = setting->closed;
}

/* What is left comes after everything else. */
static void
drain(void)
{
	do {
		cr_assert_lt(others.n, sizeof others.steps / sizeof *others.steps);
		call(&others, 'O');
	} while (others.steps[others.n - 1].rc == 0);
}

/* The call, with the others' before its operation number n. False: it has not so many. */
static bool
happens(const struct setting *setting, char what, unsigned n)
{
	struct model model;
	unsigned happened;
	bool ok;

	set_up(setting, &model);
	interleave(n, call_others);
	call(&victim, what);
	happened = interleave_end();
	drain();
	ok = explains(model, 0, 0);
	cr_assert(ok,
		  "%c, others %s before operation %u: answers %d; capacity %u, flags %u, "
		  "inside %u, swaps %d, shared %d, stopped %d, closed %d",
		  what, others_calls, n, victim.n ? victim.steps[victim.n - 1].rc : 0,
		  (unsigned)setting->capacity, setting->flags, setting->inside, setting->swaps,
		  setting->shared, setting->stopped, setting->closed);
	queue_ring_destroy(ring);
	return happened > 0;
}

/* May these calls be made at the same time? */
static bool
is_allowed(unsigned flags, char what, const char *sequence)
{
	bool both_push = strchr("PNC", what) && strpbrk(sequence, "PNC");
	bool both_pop = strchr("OM", what) && strpbrk(sequence, "OM");

	return !(both_push && (flags & QUEUE_SINGLE_PRODUCER)) &&
	       !(both_pop && (flags & QUEUE_SINGLE_CONSUMER));
}

static unsigned
try_sequences(const struct setting *setting, char what)
{
	static const char *const sequences[] = {
		"P",   "O",   "C",   "PP",  "OO",  "PO", "OP", "OC", "PC", "CO", "OOP", "OPO",
		"POP", "OOO", "PPP", "OPC", "PCO", "V",	 "VO", "OV", "PV", "CV", "VP"};
	unsigned ways = 0;
	size_t i;

	for (i = 0; i < sizeof sequences / sizeof *sequences; i++) {
		unsigned n = 0;

		others_calls = sequences[i];
		if (!is_allowed(setting->flags, what, others_calls) ||
		    (strchr(others_calls, 'V') && !setting->stopped))
			continue;
		while (happens(setting, what, n))
			n++;
		cr_assert_gt(n, 0);
		ways += n;
	}
	return ways;
}

static void
try_all(char what)
{
	struct setting setting;
	unsigned form, ways = 0;

	for (setting.flags = 0; setting.flags <= ROLES; setting.flags++)
		for (setting.capacity = 1; setting.capacity <= CAPACITY_MAX; setting.capacity++)
			for (setting.inside = 0; setting.inside <= setting.capacity;
			     setting.inside++)
				for (form = 0; form < 12; form++) {
					setting.swaps = form % 3 == 2;
					setting.shared = form % 3 == 1;
					setting.stopped = form / 3 % 2 == 1;
					setting.closed = form >= 6;
					/* With one producer, or no room, there is no such push. */
					if (setting.stopped &&
					    ((setting.flags & QUEUE_SINGLE_PRODUCER) ||
					     setting.inside == setting.capacity))
						continue;
					ways += try_sequences(&setting, what);
				}
	cr_assert_gt(ways, 1000);
}

Test(ring_interleaved, a_push_with_others_calls_inside_is_linearizable)
{
	try_all('P');
}

Test(ring_interleaved, a_pop_with_others_calls_inside_is_linearizable)
{
	try_all('O');
}

Test(ring_interleaved, the_pushes_of_push_n_are_linearizable)
{
	try_all('N');
}

Test(ring_interleaved, the_pops_of_pop_n_are_linearizable)
{
	try_all('M');
}

Test(ring_interleaved, a_close_with_others_calls_inside_is_linearizable)
{
	try_all('C');
}

Test(ring_interleaved, a_depth_with_others_calls_inside_is_that_of_some_instant)
{
	try_all('D');
}

Test(ring_interleaved, a_depth_that_never_gets_two_equal_looks_is_not_more_than_was_inside)
{
	static const char *const sequences[] = {"OP", "OOPP", "OOOPPP"};
	const struct setting setting = {.capacity = CAPACITY_MAX, .inside = CAPACITY_MAX};
	struct model model;
	size_t i;

	for (i = 0; i < sizeof sequences / sizeof *sequences; i++) {
		struct queue_ring_stats stats;

		set_up(&setting, &model);
		others_calls = sequences[i];
		interleave_often(UINT_MAX, 0, call_others_only);
		cr_assert_leq(queue_ring_depth_approx(ring), setting.inside);
		queue_ring_stats(ring, &stats);
		cr_assert_gt(interleave_end(), 2 * LOOKS);
		cr_assert_leq(stats.depth, setting.inside);
		cr_assert_leq(stats.popped, stats.pushed);
		queue_ring_destroy(ring);
	}
}
