/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_bucket, whose clock stands still: so tokens only go from hand to hand, none comes, and in
 * the end all must be there. What is "inside" are the tokens in the bucket, the others are in the
 * hands of the first of the others, but for one that the victim gives back.
 */
#include "stage.h"

#include <conveyor/bucket.h>

#include <inttypes.h>
#include <string.h>

#define NOW (1000 * QUEUE_SECOND)

/* After a set, takes swap both halves of the state, and not just one. */
enum {
	ONE_WORD,
	TWO_WORDS
};

static const char *const variants[] = {"never set", "set before", NULL};

static struct queue_bucket bucket;
static struct queue_bucket_options options;
static int rc;
static uint64_t seen;
static uint64_t held[OTHERS + 1]; /* tokens, by thread */

static uint64_t
stopped_clock(void *context)
{
	(void)context;
	return NOW;
}

static bool
operation_is(void (*act)(void))
{
	return board->scene.operation->act == act;
}

static void
take(void)
{
	rc = queue_bucket_take(&bucket, 1);
}

static void
take_at(void)
{
	rc = queue_bucket_take_at(&bucket, 1, NOW);
}

static void
refund(void)
{
	rc = queue_bucket_refund(&bucket, 1);
}

static void
set(void)
{
	rc = queue_bucket_set(&bucket, &options);
}

static void
when(void)
{
	seen = queue_bucket_when(&bucket, 1, NOW);
}

static void
look(void)
{
	seen = queue_bucket_available_approx(&bucket, NOW);
}

static int
open_bucket(void)
{
	memset(&options, 0, sizeof options);
	memset(held, 0, sizeof held);
	options.tokens = 1;
	options.period = QUEUE_SECOND;
	options.burst = board->scene.capacity;
	options.clock = stopped_clock;
	return queue_bucket_init(&bucket, &options);
}

static void
shut_bucket(void)
{
}

static void
prepare(unsigned self)
{
	uint64_t missing = board->scene.capacity - board->scene.inside;

	if (self != VICTIM)
		return;
	if (board->scene.variant == TWO_WORDS)
		require(queue_bucket_set(&bucket, &options) == 0, "set fails");
	require(queue_bucket_take_at(&bucket, missing, NOW) == 0,
		"tokens are missing at the start");
	held[VICTIM] = operation_is(refund) && missing > 0;
	held[0] = missing - held[VICTIM];
}

/* A set of the others as well, now and then; -EBUSY when it meets another one. */
static void
set_by_other(uint64_t calls)
{
	int answer;

	if (!operation_is(set) || calls % 64 != 0)
		return;
	answer = queue_bucket_set(&bucket, &options);
	require(answer == 0 || answer == -EBUSY, "set answers %d", answer);
}

/* Takes until there is none, gives back all it has; takes are the pops here, refunds the pushes. */
static void
traffic(unsigned self)
{
	struct lane *lane = &board->lanes[self];
	/* With the only token in the hands of the stopped victim there is nothing to be had. */
	bool takes = operation_is(take) || operation_is(take_at);
	bool flows = board->scene.capacity > held[VICTIM] + takes;
	uint64_t in_vain = 0, successes = 0;

	while (!queue_impl_load32_acq(&board->give_up) && !is_enough(self, flows)) {
		int answer = -EAGAIN;

		if (lane->calls > 0 || self != 0)
			answer = queue_bucket_take_at(&bucket, 1, NOW);
		lane_call(lane);
		set_by_other(lane->calls);
		if (answer == 0) {
			held[self]++;
			lane_add(&lane->popped);
			in_vain = 0;
			continue;
		}
		require(answer == -EAGAIN, "take answers %d", answer);
		lane_add(&lane->empty);
		if (flows && !go_on_in_vain(self, &in_vain, &successes))
			return;
		for (; held[self] > 0; held[self]--) {
			(void)queue_bucket_refund(&bucket, 1);
			lane_add(&lane->pushed);
		}
	}
}

static void
judge(void)
{
	uint64_t capacity = board->scene.capacity, available, all = 0, most = capacity;
	unsigned i;

	if (operation_is(take) || operation_is(take_at)) {
		require(rc == 0 || rc == -EAGAIN, "the victim's take answers %d", rc);
		held[VICTIM] += rc == 0;
	} else if (operation_is(refund)) {
		require(rc == 0, "the victim's refund answers %d", rc);
		/* More than it has taken: it is lost, or stands for one that another holds. */
		most += held[VICTIM] == 0;
		held[VICTIM] = 0;
	} else if (operation_is(set)) {
		require(rc == 0 || rc == -EBUSY, "the victim's set answers %d", rc);
	} else if (operation_is(when)) {
		require(seen >= NOW && seen <= NOW + QUEUE_SECOND, "when answers %" PRIu64, seen);
	} else {
		require(seen <= capacity, "%" PRIu64 " tokens of %" PRIu64, seen, capacity);
	}
	available = queue_bucket_available_approx(&bucket, NOW);
	for (i = 0; i <= OTHERS; i++)
		all += held[i];
	all += available;
	require(all >= capacity && all <= most, "%" PRIu64 " tokens in the end, of %" PRIu64, all,
		capacity);
	/* And as many as it says can be taken, no more. */
	require(queue_bucket_take_at(&bucket, available, NOW) == 0, "tokens are not there");
	require(queue_bucket_take_at(&bucket, 1, NOW) == -EAGAIN, "tokens too many");
	/* A set that is stopped keeps others from setting only as long as that. */
	rc = queue_bucket_set(&bucket, &options);
	require(rc == 0, "in the end set answers %d", rc);
}

static const struct operation operations[] = {
	{"take", POPS, take, false},	   {"take_at", POPS, take_at, false},
	{"refund", PUSHES, refund, false}, {"set", LOOKS, set, false},
	{"when", LOOKS, when, true},	   {"available_approx", LOOKS, look, true},
	{NULL, LOOKS, NULL, false},
};

const struct object bucket_objects[] = {
	{.name = "bucket",
	 .operations = operations,
	 .variants = variants,
	 .is_unbounded = true, /* not full while the victim has a token */
	 .open = open_bucket,
	 .shut = shut_bucket,
	 .prepare = prepare,
	 .traffic = traffic,
	 .judge = judge},
	{.name = NULL},
};
