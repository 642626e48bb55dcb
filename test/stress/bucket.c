/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that take from one bucket or feed, while others change its rate and give back.
 *
 * still   The clock stands still, so no token comes, and rates change as fast as they can: what was
 *         taken and not given back, and what is left, is exactly what there was. Half a rate taken
 *         for a whole one, or a take lost in a change, would show.
 * moving  Real time, takers that never have enough: what the whole run saw is within the contract.
 * sets    The same with rates that change: within the contract of the highest one.
 * feed    As moving, for the feed, with waiting takers.
 */
/* ARGS: --mode still --threads 2 */
/* ARGS: --mode still --threads 8 */
/* ARGS: --mode moving --threads 2 */
/* ARGS: --mode moving --threads 16 */
/* ARGS: --mode sets --threads 4 */
/* ARGS: --mode feed --threads 1 */
/* ARGS: --mode feed --threads 8 */
#include <conveyor/bucket.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "stress.h"

__extension__ typedef unsigned __int128 wide;

#define DAY (86400 * QUEUE_SECOND)
#define TOKENS 1000
#define THREADS_MAX 64
#define OPERATIONS 20000
#define ROUND (20 * QUEUE_MILLISECOND)

static struct queue_bucket bucket;
static struct queue_token_feed *feed;
static uint64_t threads = 4;
static struct stress_gate gate;
static uint32_t takers_left;

/* Of one taker in one round. */
struct taker {
	struct stress_thread thread;
	uint64_t stream;
	uint64_t net; /* tokens taken and not given back */
} queue_impl_aligned(QUEUE_IMPL_APART);

static struct taker takers[THREADS_MAX];

/* Bursts that are all large enough for the tokens there are; otherwise as unlike as can be. */
static const struct queue_bucket_options still_rates[] = {
	{.tokens = 1, .period = DAY, .burst = TOKENS},
	{.tokens = 1000000000, .burst = TOKENS + 1},
	{.tokens = 1, .period = DAY, .burst = QUEUE_BURST_MAX},
	{.tokens = 999999937, .burst = QUEUE_BURST_MAX},
	{.tokens = 7, .period = 3 * QUEUE_SECOND, .burst = 2 * TOKENS},
	{.tokens = 1 << 30, .period = 1, .burst = TOKENS},
};
#define STILL_RATES (sizeof still_rates / sizeof *still_rates)

static uint64_t
still_clock(void *context)
{
	(void)context;
	return UINT64_C(1) << 50;
}

static void
taker_is_done(void)
{
	(void)queue_impl_fetch_add32_acq_rel(&takers_left, UINT32_MAX);
}

static void
start_takers(void (*body)(void *taker))
{
	static uint64_t stream;
	uint64_t i;

	memset(&gate, 0, sizeof gate);
	takers_left = (uint32_t)threads;
	for (i = 0; i < threads; i++) {
		memset(&takers[i], 0, sizeof takers[i]);
		takers[i].stream = ++stream;
	}
	for (i = 0; i < threads; i++)
		stress_start(&takers[i].thread, body, &takers[i]);
}

static struct taker
join_takers(void)
{
	struct taker sum = {.net = 0};
	uint64_t i;

	for (i = 0; i < threads; i++) {
		stress_join(&takers[i].thread);
		sum.net += takers[i].net;
	}
	return sum;
}

/* ---- still ---------------------------------------------------------------------------------- */

static void
still_taker(void *argument)
{
	struct taker *taker = argument;
	struct stress_random random = stress_random_init(taker->stream);
	int i;

	stress_gate_pass(&gate, (unsigned)threads + 2);
	for (i = 0; i < OPERATIONS; i++) {
		uint64_t n = 1 + stress_random_below(&random, 2 * TOKENS / threads);

		if (stress_one_in(&random, 3) && taker->net > 0) {
			n = 1 + stress_random_below(&random, taker->net);
			stress_check(queue_bucket_refund(&bucket, n) == 0, "refund");
			taker->net -= n;
		} else if (n <= TOKENS) {
			int rc = queue_bucket_take(&bucket, n);

			stress_check(rc == 0 || rc == -EAGAIN, "take answered %d", rc);
			if (rc == 0)
				taker->net += n;
		}
	}
	taker_is_done();
}

/* Two of these: one of them may find the other inside. */
static void
still_setter(void *argument)
{
	struct stress_random random = stress_random_init((uint64_t)(uintptr_t)argument + 1000);

	stress_gate_pass(&gate, (unsigned)threads + 2);
	while (queue_impl_load32_acq(&takers_left) > 0) {
		uint64_t i = stress_random_below(&random, STILL_RATES);
		int rc = queue_bucket_set(&bucket, &still_rates[i]);

		stress_check(rc == 0 || rc == -EBUSY, "set answered %d", rc);
		stress_check(queue_bucket_available_approx(&bucket, still_clock(NULL)) <= TOKENS,
			     "tokens from nothing");
	}
}

static void
still_round(void)
{
	struct queue_bucket_options options = still_rates[0];
	struct stress_thread setters[2];
	uint64_t available;
	struct taker sum;

	options.clock = still_clock;
	stress_check(queue_bucket_init(&bucket, &options) == 0, "init");
	start_takers(still_taker);
	stress_start(&setters[0], still_setter, (void *)1);
	stress_start(&setters[1], still_setter, (void *)2);
	sum = join_takers();
	stress_join(&setters[0]);
	stress_join(&setters[1]);
	available = queue_bucket_available_approx(&bucket, still_clock(NULL));
	stress_check(sum.net + available == TOKENS, "%" PRIu64 " taken, %" PRIu64 " left", sum.net,
		     available);
}

/* ---- moving, sets --------------------------------------------------------------------------- */

static uint64_t round_end;

static void
moving_taker(void *argument)
{
	struct taker *taker = argument;
	struct stress_random random = stress_random_init(taker->stream);
	uint64_t now;

	while ((now = queue_now()) < round_end) {
		uint64_t n = 1 + stress_random_below(&random, 3);
		int rc = queue_bucket_take_at(&bucket, n, now);

		stress_check(rc == 0 || rc == -EAGAIN, "take answered %d", rc);
		if (rc == 0)
			taker->net += n;
	}
	taker_is_done();
}

/* What comes at `tokens` a second in a time. */
static uint64_t
share(uint64_t tokens, uint64_t time)
{
	return (uint64_t)((wide)tokens * time / QUEUE_SECOND);
}

static void
moving_round(struct stress_random *random)
{
	static const uint64_t rates[] = {3, 1000, 44100, 333333, 999983};
	uint64_t tokens = rates[stress_random_below(random, sizeof rates / sizeof *rates)];
	struct queue_bucket_options options = {.tokens = tokens, .burst = 3};
	uint64_t start = queue_now(), got, now;
	struct taker sum;

	if (stress_one_in(random, 2))
		options.burst += share(tokens, 2 * ROUND);
	stress_check(queue_bucket_init(&bucket, &options) == 0, "init");
	stress_check(queue_bucket_take_at(&bucket, options.burst, start) == 0, "it is full");
	round_end = start + ROUND;
	start_takers(moving_taker);
	sum = join_takers();
	now = queue_now();
	got = sum.net + queue_bucket_available_approx(&bucket, now);
	stress_check(got <= share(tokens, now - start),
		     "%" PRIu64 " tokens at %" PRIu64 "/s in %" PRIu64 " ns", got, tokens,
		     now - start);
	/* As long as it cannot have been full again nothing that came is lost. */
	if (share(tokens, now - start) < options.burst)
		stress_check(got == share(tokens, now - start),
			     "%" PRIu64 " tokens at %" PRIu64 "/s in %" PRIu64 " ns", got, tokens,
			     now - start);
}

static void
sets_setter(void *argument)
{
	static const struct queue_bucket_options rates[] = {
		{.tokens = 1000000, .burst = 100},
		{.tokens = 10, .burst = 1000},
		{.tokens = 999983, .burst = 3},
	};
	uint64_t i, *busy = argument;

	for (i = 0; queue_impl_load32_acq(&takers_left) > 0; i++)
		*busy += queue_bucket_set(&bucket, &rates[i % 3]) == -EBUSY;
}

static void
sets_round(void)
{
	struct queue_bucket_options options = {.tokens = 1000, .burst = 1000};
	struct stress_thread setter;
	uint64_t start, busy = 0;
	struct taker sum;

	stress_check(queue_bucket_init(&bucket, &options) == 0, "init");
	start = queue_now();
	round_end = start + ROUND;
	start_takers(moving_taker);
	stress_start(&setter, sets_setter, &busy);
	sum = join_takers();
	stress_join(&setter);
	stress_check(busy == 0, "one setter alone was told that there is another");
	stress_check(sum.net <= 1000 + share(1000000, queue_now() - start), "%" PRIu64 " taken",
		     sum.net);
}

/* ---- feed ----------------------------------------------------------------------------------- */

static void
feed_taker(void *argument)
{
	struct taker *taker = argument;
	struct stress_random random = stress_random_init(taker->stream);

	/* At least once, however late this thread is: whoever is first finds the feed full. */
	do {
		uint64_t n = 1 + stress_random_below(&random, 3);
		int rc;

		if (stress_one_in(&random, 2))
			rc = queue_token_feed_take(feed, n);
		else
			rc = queue_token_feed_take_until(feed, n, round_end);
		stress_check(rc == 0 || rc == -EAGAIN || rc == -ETIMEDOUT, "take answered %d", rc);
		if (rc == 0)
			taker->net += n;
		stress_check(queue_token_feed_take(feed, QUEUE_BURST_MAX) == -EINVAL, "too many");
	} while (queue_now() < round_end);
	taker_is_done();
}

static void
feed_round(struct stress_random *random)
{
	static const uint64_t rates[] = {100, 10000, 1000000, 50000000};
	struct queue_token_feed_options options = {
		.tokens = rates[stress_random_below(random, 4)],
		.burst = 3 + stress_random_below(random, 2000),
	};
	uint64_t start = queue_now(), available;
	struct taker sum;

	stress_check(queue_token_feed_create(&feed, &options) == 0, "create");
	round_end = queue_now() + ROUND;
	start_takers(feed_taker);
	sum = join_takers();
	available = queue_token_feed_available_approx(feed);
	stress_check(sum.net + available <=
			     options.burst + share(options.tokens, queue_now() - start),
		     "%" PRIu64 " taken, %" PRIu64 " left", sum.net, available);
	stress_check(sum.net > 0, "nothing at all was taken");
	/* Its thread goes on until here, and only adds. */
	stress_check(queue_token_feed_available_approx(feed) >= available, "tokens lost");
	stress_check(queue_token_feed_destroy(feed) == 0, "destroy");
}

enum {
	STILL,
	MOVING,
	SETS
};

int
main(int argc, char **argv)
{
	uint64_t mode = STILL;
	const struct stress_option options[] = {
		{"mode", &mode, "what they do",
		 .words = STRESS_WORDS("still", "moving", "sets", "feed")},
		{"threads", &threads, "takers", .least = 1, .most = THREADS_MAX},
		{.name = NULL},
	};
	struct stress_random random;

	stress_begin(argc, argv, options);
	random = stress_random_init(0);
	while (stress_time_is_left()) {
		if (mode == STILL)
			still_round();
		else if (mode == MOVING)
			moving_round(&random);
		else if (mode == SETS)
			sets_round();
		else
			feed_round(&random);
	}
	return stress_end();
}
