/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bucket, with others' calls before each atomic operation of a call, while time stands still: the
 * answers, and what is left, must be those of the calls one after the other, in some order.
 */
#include "interleave.h"

#include <conveyor/bucket.h>

#include "../../lib/bucket.c"

#include "unit.h"

#define NOW (100 * QUEUE_SECOND)
#define BURST 4
#define SMALL_BURST 2
#define LARGE_BURST 6

struct step {
	char what; /* '1' to '9': takes so many; 'R'efunds one; sets to a 'S'mall or 'L'arge burst */
	int rc;
};

static struct queue_bucket bucket;
static struct step others[3];
static unsigned others_n;
static const char *others_calls;

static uint64_t
standing_clock(void *context)
{
	(void)context;
	return NOW;
}

/* So slow that the burst takes longer to come than one half of the state can hold: or not. */
static struct queue_bucket_options
options_of(uint64_t burst, bool slow)
{
	struct queue_bucket_options options = {.tokens = 1, .burst = burst};

	options.period = slow ? UINT64_C(1) << 60 : QUEUE_SECOND;
	options.clock = standing_clock;
	return options;
}

static int
call(char what, bool slow)
{
	struct queue_bucket_options options =
		options_of(what == 'S' ? SMALL_BURST : LARGE_BURST, slow);

	switch (what) {
	case 'R':
		return queue_bucket_refund(&bucket, 1);
	case 'S':
	case 'L':
		return queue_bucket_set(&bucket, &options);
	default:
		return queue_bucket_take_at(&bucket, (uint64_t)(what - '0'), NOW);
	}
}

static bool is_slow;

static void
call_others(void)
{
	for (others_n = 0; others_calls[others_n]; others_n++) {
		others[others_n].what = others_calls[others_n];
		others[others_n].rc = call(others_calls[others_n], is_slow);
	}
}

struct model {
	uint64_t burst, tokens;
};

static int
expected(struct model *model, char what)
{
	uint64_t n = (uint64_t)(what - '0');

	switch (what) {
	case 'R':
		if (model->tokens < model->burst)
			model->tokens++;
		return 0;
	case 'S':
	case 'L':
		model->burst = what == 'S' ? SMALL_BURST : LARGE_BURST;
		if (model->tokens > model->burst)
			model->tokens = model->burst;
		return 0;
	default:
		if (n > model->burst)
			return -EINVAL;
		if (n > model->tokens)
			return -EAGAIN;
		model->tokens -= n;
		return 0;
	}
}

/* With the call after `before` of the others' calls. */
static bool
explains(struct model model, const struct step *step, unsigned before)
{
	unsigned i;

	for (i = 0; i <= others_n; i++) {
		if (i == before && expected(&model, step->what) != step->rc)
			return false;
		/* A set that meets another one is refused, and changes nothing. */
		if (i < others_n && others[i].rc == -EBUSY && strchr("SL", others[i].what) &&
		    strchr("SL", step->what))
			continue;
		if (i < others_n && expected(&model, others[i].what) != others[i].rc)
			return false;
	}
	return model.tokens == queue_bucket_available_approx(&bucket, NOW);
}

/* False: the call has not so many operations. */
static bool
happens(char what, uint64_t inside, unsigned n)
{
	const struct queue_bucket_options options = options_of(BURST, is_slow);
	const struct model model = {.burst = BURST, .tokens = inside};
	struct step step = {.what = what};
	bool happened, explained = false;
	unsigned i;

	others_n = 0;
	cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, BURST - inside, NOW), 0);
	interleave(n, call_others);
	step.rc = call(what, is_slow);
	happened = interleave_end() > 0;
	for (i = 0; i <= others_n; i++)
		explained = explained || explains(model, &step, i);
	cr_assert(explained, "%c answers %d, others %s before operation %u, %u inside, slow %d",
		  what, step.rc, others_calls, n, (unsigned)inside, is_slow);
	return happened;
}

static void
try_all(const char *calls)
{
	static const char *const sequences[] = {"1",  "2",  "4",  "R",	"S",  "L",   "11", "1R",
						"R1", "S1", "1S", "L1", "SL", "LRS", "2L", "SR"};
	unsigned ways = 0, n;
	uint64_t inside;
	size_t i;

	for (; *calls; calls++)
		for (inside = 0; inside <= BURST; inside++)
			for (i = 0; i < 2 * (sizeof sequences / sizeof *sequences); i++) {
				others_calls = sequences[i / 2];
				is_slow = i % 2;
				for (n = 0; happens(*calls, inside, n); n++)
					ways++;
			}
	cr_assert_gt(ways, 500);
}

Test(bucket_interleaved, a_take_with_others_calls_inside_is_linearizable)
{
	try_all("134");
}

Test(bucket_interleaved, a_refund_with_others_calls_inside_is_linearizable)
{
	try_all("R");
}

Test(bucket_interleaved, a_set_with_others_calls_inside_is_linearizable)
{
	try_all("SL");
}
