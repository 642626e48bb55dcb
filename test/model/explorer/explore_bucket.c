/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bucket as it is in lib/, for the explorer, between a thread that takes and one that sets
 * another rate.
 *
 *	bucket TAKES CHANGES [far]
 *	bucket feed
 *
 * TAKES: a digit for each take, of so many tokens; a asks how many there are, w when there will be
 * 2. CHANGES: A or B for each set, to one of two rates, or r for a refund of 1. What the takes
 * answer, and what is left, must come out in some order in which one thread does all of that, each
 * call a step.
 *
 * feed: one thread waits for a token of a feed, the other one makes it; a wait that nobody ends is
 * a deadlock.
 */
#include "explorer.h"
#include "machine.h"

#include <conveyor/bucket.h>

#include <pthread.h>
#include <string.h>

#define CALLS_MAX 4
#define WAYS_MAX 64
#define TRIALS_MAX 128

/* A time that makes more than 64 bits of ticks at such a rate, and one that does not. */
#define FAR (UINT64_C(1) << 33)
#define FAR_BEFORE (UINT64_C(1) << 30)
#define FAR_TOKENS (UINT64_C(1) << 30)

/* The same in all threads. */
static uint64_t now;

static uint64_t
read_clock(void *nothing)
{
	(void)nothing;
	return now;
}

static struct queue_bucket_options rates[] = {
	{.tokens = 3, .period = 700, .burst = 4, .clock = read_clock},
	{.tokens = 5, .period = 1100, .burst = 2},
	{.tokens = 7, .period = 1300, .burst = 3},
};

/* How it came out. */
struct way {
	int answers[CALLS_MAX];
	uint64_t left;
};

static struct queue_bucket bucket, trials[TRIALS_MAX];
static struct way ways[WAYS_MAX], seen;
static int n_ways, n_trials;
static const char *takes, *changes;

static int
take(struct queue_bucket *from, char what)
{
	if (what == 'a')
		return (int)queue_bucket_available_approx(from, now);
	if (what == 'w')
		return (int)queue_bucket_when(from, 2, now);
	return queue_bucket_take_at(from, (uint64_t)(what - '0'), now);
}

static void
change(struct queue_bucket *of, char what)
{
	if (what == 'r')
		(void)queue_bucket_refund(of, 1);
	else
		(void)queue_bucket_set(of, &rates[what - 'A' + 1]);
}

static struct queue_bucket *
copy_of(const struct queue_bucket *other)
{
	struct queue_bucket *trial = &trials[n_trials++];

	explorer_assert(n_trials < TRIALS_MAX);
	*trial = *other;
	return trial;
}

/* All orders that begin with what has been done to `before`. */
static void
try_all(const struct queue_bucket *before, int taken, int changed, struct way *way)
{
	struct queue_bucket *after;

	if (!takes[taken] && !changes[changed]) {
		way->left = queue_bucket_available_approx(before, now);
		explorer_assert(n_ways < WAYS_MAX);
		ways[n_ways++] = *way;
		return;
	}
	if (takes[taken]) {
		after = copy_of(before);
		way->answers[taken] = take(after, takes[taken]);
		try_all(after, taken + 1, changed, way);
	}
	if (changes[changed]) {
		after = copy_of(before);
		change(after, changes[changed]);
		try_all(after, taken, changed + 1, way);
	}
}

static void *
take_all(void *nothing)
{
	int i;

	for (i = 0; takes[i]; i++)
		seen.answers[i] = take(&bucket, takes[i]);
	return nothing;
}

static void *
change_all(void *nothing)
{
	int i;

	for (i = 0; changes[i]; i++)
		change(&bucket, changes[i]);
	return nothing;
}

/* The feed. */

static struct queue_token_feed *feed;

static void *
wait_for_token(void *nothing)
{
	int rc = queue_token_feed_take_until(feed, 1, QUEUE_NEVER);

	explorer_assert(rc == 0);
	return nothing;
}

static void *
make_token(void *nothing)
{
	(void)queue_token_feed_advance(feed, MACHINE_NOW + 1);
	return nothing;
}

static int
explore_feed(void)
{
	const struct queue_token_feed_options options = {
		.tokens = 1,
		.period = 1,
		.flags = QUEUE_FEED_MANUAL,
		.allocator = &machine_allocator,
	};
	pthread_t waiter, maker;
	int rc;

	machine_allocator_begin();
	rc = queue_token_feed_create(&feed, &options);
	explorer_assert(rc == 0);
	/* It is full at first. */
	rc = queue_token_feed_take(feed, 1);
	explorer_assert(rc == 0);
	(void)queue_token_feed_advance(feed, MACHINE_NOW);
	(void)pthread_create(&waiter, NULL, wait_for_token, NULL);
	(void)pthread_create(&maker, NULL, make_token, NULL);
	(void)pthread_join(waiter, NULL);
	(void)pthread_join(maker, NULL);
	explorer_assert(queue_token_feed_available_approx(feed) == 0);
	explorer_assert(queue_token_feed_destroy(feed) == 0);
	return 0;
}

const char program_usage[] =
	" TAKES CHANGES [far]\n"
	"       explore-bucket [OPTION...] feed\n"
	"\n"
	"  TAKES    what one thread does, up to 4 calls: a digit takes so many tokens,\n"
	"           a asks how many there are, w when there will be 2\n"
	"  CHANGES  what the other one does, up to 3 calls, 2 beside more than 2 takes:\n"
	"           A and B set one of two rates, r refunds 1\n"
	"  far      at a time that makes more than 64 bits of ticks\n"
	"  feed     one thread waits for a token of a feed, the other one makes it\n";

static bool
is_feed(void)
{
	return explorer_argument(0) && strcmp(explorer_argument(0), "feed") == 0;
}

void
program_check(void)
{
	const char *const words[] = {"far", NULL};

	if (is_feed()) {
		explorer_need_no_more(1);
		return;
	}
	explorer_need_calls(0, "TAKES", "0123456789aw", CALLS_MAX);
	/* With more there are more orders than the explorer has room for. */
	explorer_need_calls(1, "CHANGES", "ABr", strlen(explorer_argument(0)) > 2 ? 2 : 3);
	if (explorer_argument(2))
		explorer_need_word(2, "the third argument", words);
	explorer_need_no_more(3);
}

int
main(void)
{
	struct way way;
	pthread_t taker, changer;
	int i, rc;

	if (is_feed())
		return explore_feed();
	takes = explorer_argument(0);
	changes = explorer_argument(1);
	memset(&way, 0, sizeof way);
	memset(&seen, 0, sizeof seen);
	n_ways = n_trials = 0;
	now = MACHINE_NOW;
	if (explorer_argument(2)) {
		now = FAR;
		rates[0].tokens = FAR_TOKENS;
		rates[0].period = 1;
	}
	rc = queue_bucket_init(&bucket, &rates[0]);
	explorer_assert(rc == 0);
	if (explorer_argument(2))
		explorer_assert(queue_bucket_take_at(&bucket, 1, FAR_BEFORE) == 0);
	try_all(&bucket, 0, 0, &way);
	(void)pthread_create(&taker, NULL, take_all, NULL);
	(void)pthread_create(&changer, NULL, change_all, NULL);
	(void)pthread_join(taker, NULL);
	(void)pthread_join(changer, NULL);
	seen.left = queue_bucket_available_approx(&bucket, now);
	for (i = 0; i < n_ways; i++)
		if (memcmp(&ways[i], &seen, sizeof seen) == 0)
			return 0;
	explorer_fail("no order of the calls comes out like that");
	return 1;
}
