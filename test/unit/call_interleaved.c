/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A call, with what others do to it before each atomic operation of an act on it. All answers must be
 * those of the acts one after the other, in some order; the call ends once, and both on_complete and
 * the descriptor say so.
 */
#include "interleave.h"

#include "../../lib/call.c"

#include "unit.h"

#include <poll.h>
#include <string.h>

struct act {
	char what; /* 'C'ancel, c'L'aim, 'R'eply, re'F'use, 'W'ait with a deadline that is past */
	int rc;
};

static struct queue_call call;
static unsigned completed;
static struct act others[2];
static unsigned others_n;
static const char *others_acts;

static void
on_complete(struct queue_call *ended, enum queue_call_state state, void *context)
{
	(void)context;
	cr_assert_eq((void *)ended, (void *)&call);
	cr_assert_geq(state, QUEUE_CALL_REPLIED);
	completed++;
}

static int
act_on(char what)
{
	switch (what) {
	case 'C':
		return queue_call_cancel(&call);
	case 'L':
		return queue_call_claim(&call);
	case 'R':
		return queue_call_reply(&call);
	case 'F':
		return queue_call_refuse(&call);
	case 'W':
		return queue_call_wait(&call, 0);
	default:
		return queue_call_fd(&call) >= 0 ? 0 : -1;
	}
}

static void
act_others(void)
{
	for (others_n = 0; others_acts[others_n]; others_n++) {
		others[others_n].what = others_acts[others_n];
		others[others_n].rc = act_on(others_acts[others_n]);
	}
}

/* The call as the manual page has it. */
static int
expected(enum queue_call_state *state, char what)
{
	enum queue_call_state was = *state;
	bool open = was == QUEUE_CALL_PENDING || was == QUEUE_CALL_CLAIMED;
	bool given_up = was == QUEUE_CALL_CANCELLED || was == QUEUE_CALL_ABANDONED;

	switch (what) {
	case 'C':
	case 'W':
		if (open)
			*state = was == QUEUE_CALL_PENDING ? QUEUE_CALL_CANCELLED
							   : QUEUE_CALL_ABANDONED;
		if (what == 'C')
			return open || given_up ? 0 : -EBUSY;
		if (was == QUEUE_CALL_REPLIED)
			return 0;
		return was == QUEUE_CALL_REFUSED ? -ECANCELED : -ETIMEDOUT;
	case 'L':
		if (open)
			*state = QUEUE_CALL_CLAIMED;
		break;
	case 'R':
		if (was == QUEUE_CALL_PENDING)
			return -EINVAL;
		if (open)
			*state = QUEUE_CALL_REPLIED;
		break;
	case 'F':
		if (open)
			*state = QUEUE_CALL_REFUSED;
		break;
	default:
		return 0;
	}
	return open ? 0 : given_up ? -ECANCELED : -EINVAL;
}

/* With the act after `before` of the others' acts. */
static bool
explains(enum queue_call_state state, const struct act *act, unsigned before)
{
	unsigned i;

	for (i = 0; i <= others_n; i++) {
		if (i == before && expected(&state, act->what) != act->rc)
			return false;
		if (i < others_n && expected(&state, others[i].what) != others[i].rc)
			return false;
	}
	return state == queue_call_state(&call);
}

/* False: the act has not so many operations. */
static bool
happens(enum queue_call_state start, bool completes, bool tells, char what, unsigned n)
{
	const struct queue_call_options options = {.on_complete = completes ? on_complete : NULL};
	struct act act = {.what = what};
	struct pollfd poll_for = {.events = POLLIN};
	bool happened, ended, explained = false;
	unsigned i;

	completed = others_n = 0;
	cr_assert_eq(queue_call_init(&call, &options), 0);
	if (tells)
		cr_assert_geq(queue_call_fd(&call), 0);
	if (start == QUEUE_CALL_CLAIMED)
		cr_assert_eq(queue_call_claim(&call), 0);
	interleave(n, act_others);
	act.rc = act_on(what);
	happened = interleave_end() > 0;
	for (i = 0; i <= others_n; i++)
		explained = explained || explains(start, &act, i);
	cr_assert(explained, "%c answers %d, others %s before operation %u: %d %d", what, act.rc,
		  others_acts, n, others[0].rc, others[1].rc);
	ended = queue_call_state(&call) >= QUEUE_CALL_REPLIED;
	if (completes)
		cr_assert_eq(completed, ended);
	poll_for.fd = queue_call_fd(&call);
	cr_assert_eq(poll(&poll_for, 1, 0), ended, "%c, others %s before operation %u", what,
		     others_acts, n);
	queue_call_release(&call);
	queue_call_release(&call);
	return happened;
}

Test(call_interleaved, acts_with_others_inside_answer_as_one_after_the_other)
{
	static const char *const sequences[] = {"C",  "L",  "R",  "F",	"D",  "LR", "LC", "LF",
						"CC", "LD", "DC", "CR", "RC", "RF", "FC", "W"};
	static const char acts[] = "CLRFWD";
	unsigned ways = 0, form, n;
	const char *what;
	size_t i;

	for (what = acts; *what; what++)
		for (form = 0; form < 8; form++)
			for (i = 0; i < sizeof sequences / sizeof *sequences; i++) {
				enum queue_call_state start = form & 1 ? QUEUE_CALL_CLAIMED
								       : QUEUE_CALL_PENDING;
				bool completes = form & 2;

				others_acts = sequences[i];
				/* Who has on_complete does not wait. */
				if (completes && (*what == 'W' || strchr(others_acts, 'W')))
					continue;
				/* The descriptor and the wait are the caller's: one at a time. */
				if (strchr("WD", *what) && strpbrk(others_acts, "WD"))
					continue;
				for (n = 0; happens(start, completes, form & 4, *what, n); n++)
					ways++;
			}
	cr_assert_gt(ways, 1000);
}
