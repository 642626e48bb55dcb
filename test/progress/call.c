/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_call. The victim is one side of a call; the others are the other side of it, again and
 * again, while they send each other calls through a ring, 10,000 of them, and serve them.
 */
#include "stage.h"

#include <conveyor/call.h>
#include <conveyor/ring.h>

#include <string.h>

#define TOLD 1u /* the call has an on_complete, instead of being waited for */

static const char *const variants[] = {"", NULL};

static struct queue_ring *ring;
static struct queue_call calls[LINE_ITEMS];
static struct queue_call subject;
static uint32_t completions, releases;
static int rc;

/* What the other side was told, each time the same. */
static int answers[3];
static bool asked[3];

enum {
	CANCEL,
	CLAIM,
	REPLY
};

static void
claim(void)
{
	rc = queue_call_claim(&subject);
}

static void
reply(void)
{
	rc = queue_call_reply(&subject);
}

static void
refuse(void)
{
	rc = queue_call_refuse(&subject);
}

static void
cancel(void)
{
	rc = queue_call_cancel(&subject);
}

/* The same acts on a call that has been claimed: other moves of the same word. */
static void
refuse_claimed(void)
{
	refuse();
}

static void
cancel_claimed(void)
{
	cancel();
}

static bool
operation_is(void (*act)(void))
{
	return board->scene.operation->act == act;
}

static bool
victim_is_caller(void)
{
	return operation_is(cancel) || operation_is(cancel_claimed);
}

static void
on_complete(struct queue_call *call, enum queue_call_state state, void *context)
{
	(void)call;
	(void)context;
	require(state >= QUEUE_CALL_REPLIED, "completed in state %d", (int)state);
	(void)queue_impl_fetch_add32_acq_rel(&completions, 1);
}

static void
on_release(struct queue_call *call, void *context)
{
	(void)call;
	(void)context;
	releases++;
}

/* ---- The calls that the others send each other ----------------------------------------------- */

static int
ask(unsigned which, int (*act)(struct queue_call *call))
{
	int answer = act(&subject);

	if (asked[which] && answer != answers[which] && answer != -EINVAL)
		fail("act %u answers %d, and %d before", which, answer, answers[which]);
	if (!asked[which])
		answers[which] = answer;
	asked[which] = true;
	return answer;
}

/*
 * One worker side and one caller at a time: the first of the others is the worker when the victim
 * calls, and the second the caller when the victim works. Everybody may look.
 */
static void
act_on_subject(unsigned self)
{
	(void)queue_call_state(&subject);
	if (self == 0 && victim_is_caller() && !asked[REPLY]) {
		(void)ask(CLAIM, queue_call_claim);
		(void)ask(REPLY, queue_call_reply);
	} else if (self == 1 && !victim_is_caller()) {
		(void)ask(CANCEL, queue_call_cancel);
	}
}

static int
call_push(void *item)
{
	struct queue_call *call = &calls[line_index(item)];

	(void)queue_call_init(call, NULL);
	return queue_ring_try_push(ring, item);
}

static void
serve(struct queue_call *call)
{
	require(queue_call_claim(call) == 0 && queue_call_reply(call) == 0 &&
			queue_call_wait(call, 0) == 0 && queue_call_cancel(call) == -EBUSY,
		"a call cannot be served");
	queue_call_release(call);
	queue_call_release(call);
}

static int
call_pop(void **item)
{
	int answer = queue_ring_try_pop(ring, item);

	if (answer == 0)
		serve(&calls[line_index(*item)]);
	return answer;
}

static const struct line call_line = {call_push, call_pop};

static int
open_call(void)
{
	struct queue_call_options options;

	line_open(&call_line);
	memset(&options, 0, sizeof options);
	memset(asked, 0, sizeof asked);
	completions = releases = 0;
	options.release = on_release;
	if (board->scene.object->flags & TOLD)
		options.on_complete = on_complete;
	(void)queue_call_init(&subject, &options);
	if (operation_is(reply) || operation_is(refuse_claimed) || operation_is(cancel_claimed))
		(void)queue_call_claim(&subject);
	return queue_ring_create(&ring, board->scene.capacity, 0, NULL);
}

static void
shut_call(void)
{
	queue_ring_destroy(ring);
}

static void
prepare(unsigned self)
{
	if (self == VICTIM)
		line_fill(self);
}

static void
traffic(unsigned self)
{
	/* First and last as well: the other side acts on the call where the victim has stopped. */
	act_on_subject(self);
	line_traffic(self);
	act_on_subject(self);
}

/* ---- Afterwards ------------------------------------------------------------------------------ */

/* Who worked, the victim or the other, and who gave up: what each was told, and how it ended. */
static void
judge_end(enum queue_call_state end)
{
	bool worker_ended = end == QUEUE_CALL_REPLIED || end == QUEUE_CALL_REFUSED;
	int gave_up = victim_is_caller() ? rc : answers[CANCEL];

	require(gave_up == (worker_ended ? -EBUSY : 0), "ended in state %d, but cancel answers %d",
		(int)end, gave_up);
	if (operation_is(claim)) {
		require(rc == (end == QUEUE_CALL_ABANDONED ? 0 : -ECANCELED),
			"ended in state %d, but claim answers %d", (int)end, rc);
	} else if (victim_is_caller()) {
		require(answers[REPLY] == (end == QUEUE_CALL_REPLIED ? 0 : -ECANCELED),
			"ended in state %d, but reply answers %d", (int)end, answers[REPLY]);
	} else {
		require(rc == (worker_ended ? 0 : -ECANCELED),
			"ended in state %d, but the worker is told %d", (int)end, rc);
	}
}

static void
judge(void)
{
	enum queue_call_state end = queue_call_state(&subject);
	/* When the others were never let loose, the victim was alone. */
	bool alone = !asked[CANCEL] && !asked[REPLY];

	if (!alone) {
		require(end >= QUEUE_CALL_REPLIED, "it has not ended: state %d", (int)end);
		judge_end(end);
	} else if (end < QUEUE_CALL_REPLIED) {
		(void)queue_call_cancel(&subject);
	}
	require(!(board->scene.object->flags & TOLD) || completions == 1, "completed %u times",
		completions);
	queue_call_release(&subject);
	require(releases == 0, "released too early");
	queue_call_release(&subject);
	require(releases == 1, "released %u times", releases);
	outcome.rc = 0;
	line_judge();
}

static const struct operation operations[] = {
	{"claim", LOOKS, claim, false},	  {"reply", LOOKS, reply, false},
	{"refuse", LOOKS, refuse, false}, {"refuse_claimed", LOOKS, refuse_claimed, false},
	{"cancel", LOOKS, cancel, false}, {"cancel_claimed", LOOKS, cancel_claimed, false},
	{NULL, LOOKS, NULL, false},
};

#define CALL(title, bits)                                                                          \
	{                                                                                          \
		.name = (title), .flags = (bits), .operations = operations, .variants = variants,  \
		.open = open_call, .shut = shut_call, .prepare = prepare, .traffic = traffic,      \
		.judge = judge                                                                     \
	}

const struct object call_objects[] = {
	CALL("call", 0),
	CALL("call_told", TOLD),
	{.name = NULL},
};
