/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Token buckets: what a request costs that is let through, and one that is not, when the caller
 * knows the time and when the bucket reads the clock; alone and with several threads. This
 * library's bucket and feed, a bucket behind a mutex, as it is usually written, and the plain GCRA,
 * one word and nothing else. Each is also checked: tokens beyond burst + rate * time make it wrong.
 */
#include "crew.h"
#include "suite.h"

#include <conveyor/bucket.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 5
#define SLICE_MIN 0.0005 /* seconds */
#define HOUR (3600 * QUEUE_SECOND)
#define FEED_BURST (UINT64_C(1) << 18) /* a feed's tokens are made before they are counted */

static const unsigned thread_counts[] = {1, 2, 4, 8, 16};

#define THREADS_MAX 16
#define THREAD_COUNTS (sizeof thread_counts / sizeof *thread_counts)

/* One token in `price` ns, `burst` at most. */
struct terms {
	uint64_t price, burst;
};

typedef int take_fn(void *bucket, uint64_t now);

#define INLINED static inline __attribute__((always_inline))

/* The measured loops. Inlined with a take that is known, so that it is inlined as well. */
INLINED uint64_t
calls(take_fn *take, void *bucket, uint64_t n, uint64_t begin, uint64_t step)
{
	uint64_t granted = 0, i;

	for (i = 0; i < n; i++)
		granted += take(bucket, begin + i * step) == 0;
	return granted;
}

INLINED uint64_t
pairs(take_fn *take, take_fn *refund, void *bucket, uint64_t n)
{
	uint64_t granted = 0, i;

	for (i = 0; i < n; i++) {
		if (take(bucket, 0))
			continue;
		granted++;
		(void)refund(bucket, 0);
	}
	return granted;
}

/* What is compared. */
struct limiter {
	const char *name;
	const char *note;
	void *(*make)(struct terms terms, uint64_t now); /* NULL: no memory */
	void (*end)(void *bucket);
	/* n takes of one token, at the times begin, begin + step...; how many were granted */
	uint64_t (*take_at)(void *bucket, uint64_t n, uint64_t begin, uint64_t step);
	uint64_t (*take)(void *bucket, uint64_t n);  /* reading the clock; NULL: it never does */
	uint64_t (*pairs)(void *bucket, uint64_t n); /* take, refund; NULL: it has no refund */
	void (*advance)(void *bucket, uint64_t now); /* NULL: takes are told the time */
	uint64_t burst_max;
};

/* ---- This library's bucket ------------------------------------------------------------------- */

static void *
own_make(struct terms terms, uint64_t now)
{
	struct queue_bucket_options options;
	struct queue_bucket *bucket = aligned_alloc(sizeof *bucket, sizeof *bucket);

	(void)now;
	memset(&options, 0, sizeof options);
	options.tokens = 1;
	options.period = terms.price;
	options.burst = terms.burst;
	if (bucket && queue_bucket_init(bucket, &options)) {
		free(bucket);
		return NULL;
	}
	return bucket;
}

INLINED int
own_take_one_at(void *bucket, uint64_t now)
{
	return queue_bucket_take_at(bucket, 1, now);
}

INLINED int
own_take_one(void *bucket, uint64_t now)
{
	(void)now;
	return queue_bucket_take(bucket, 1);
}

INLINED int
own_refund_one(void *bucket, uint64_t now)
{
	(void)now;
	return queue_bucket_refund(bucket, 1);
}

static uint64_t
own_take_at(void *bucket, uint64_t n, uint64_t begin, uint64_t step)
{
	return calls(own_take_one_at, bucket, n, begin, step);
}

static uint64_t
own_take(void *bucket, uint64_t n)
{
	return calls(own_take_one, bucket, n, 0, 0);
}

static uint64_t
own_pairs(void *bucket, uint64_t n)
{
	return pairs(own_take_one_at, own_refund_one, bucket, n);
}

/* ---- A mutex, a level and a time ------------------------------------------------------------- */

/* The level is in ns: a token is `price` of them. So nothing is rounded. */
struct mutex_bucket {
	pthread_mutex_t mutex;
	uint64_t level, last;
	uint64_t price, full;
};

static void *
mutex_make(struct terms terms, uint64_t now)
{
	struct mutex_bucket *bucket = malloc(sizeof *bucket);

	if (!bucket)
		return NULL;
	if (pthread_mutex_init(&bucket->mutex, NULL)) {
		free(bucket);
		return NULL;
	}
	bucket->price = terms.price;
	bucket->full = bucket->level = terms.price * terms.burst;
	bucket->last = now;
	return bucket;
}

static void
mutex_end(void *bucket)
{
	(void)pthread_mutex_destroy(&((struct mutex_bucket *)bucket)->mutex);
	free(bucket);
}

INLINED int
mutex_take_one_at(void *object, uint64_t now)
{
	struct mutex_bucket *bucket = object;
	int rc = -EAGAIN;

	(void)pthread_mutex_lock(&bucket->mutex);
	if (now > bucket->last) {
		uint64_t came = now - bucket->last, room = bucket->full - bucket->level;

		bucket->level += came < room ? came : room;
		bucket->last = now;
	}
	if (bucket->level >= bucket->price) {
		bucket->level -= bucket->price;
		rc = 0;
	}
	(void)pthread_mutex_unlock(&bucket->mutex);
	return rc;
}

INLINED int
mutex_take_one(void *bucket, uint64_t now)
{
	(void)now;
	return mutex_take_one_at(bucket, queue_now());
}

INLINED int
mutex_refund_one(void *object, uint64_t now)
{
	struct mutex_bucket *bucket = object;

	(void)now;
	(void)pthread_mutex_lock(&bucket->mutex);
	bucket->level += bucket->price;
	if (bucket->level > bucket->full)
		bucket->level = bucket->full;
	(void)pthread_mutex_unlock(&bucket->mutex);
	return 0;
}

static uint64_t
mutex_take_at(void *bucket, uint64_t n, uint64_t begin, uint64_t step)
{
	return calls(mutex_take_one_at, bucket, n, begin, step);
}

static uint64_t
mutex_take(void *bucket, uint64_t n)
{
	return calls(mutex_take_one, bucket, n, 0, 0);
}

static uint64_t
mutex_pairs(void *bucket, uint64_t n)
{
	return pairs(mutex_take_one_at, mutex_refund_one, bucket, n);
}

/* ---- The plain GCRA -------------------------------------------------------------------------- */

/* When it would be full again, in whole ns: no fractions, no change of rate, no range checks. */
struct word_bucket {
	uint64_t tat;
	uint64_t price, limit;
} __attribute__((aligned(64)));

static void *
word_make(struct terms terms, uint64_t now)
{
	struct word_bucket *bucket = aligned_alloc(64, sizeof *bucket);

	if (!bucket)
		return NULL;
	bucket->tat = now;
	bucket->price = terms.price;
	bucket->limit = terms.price * terms.burst;
	return bucket;
}

INLINED int
word_take_one_at(void *object, uint64_t now)
{
	struct word_bucket *bucket = object;
	uint64_t tat = __atomic_load_n(&bucket->tat, __ATOMIC_RELAXED), next;

	do {
		next = (tat > now ? tat : now) + bucket->price;
		if (next > now + bucket->limit)
			return -EAGAIN;
	} while (!__atomic_compare_exchange_n(&bucket->tat, &tat, next, 1, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

INLINED int
word_take_one(void *bucket, uint64_t now)
{
	(void)now;
	return word_take_one_at(bucket, queue_now());
}

/* What is above the burst is lost by itself: takes begin at `now` at the earliest. */
INLINED int
word_refund_one(void *object, uint64_t now)
{
	struct word_bucket *bucket = object;

	(void)now;
	(void)__atomic_fetch_sub(&bucket->tat, bucket->price, __ATOMIC_ACQ_REL);
	return 0;
}

static uint64_t
word_take_at(void *bucket, uint64_t n, uint64_t begin, uint64_t step)
{
	return calls(word_take_one_at, bucket, n, begin, step);
}

static uint64_t
word_take(void *bucket, uint64_t n)
{
	return calls(word_take_one, bucket, n, 0, 0);
}

static uint64_t
word_pairs(void *bucket, uint64_t n)
{
	return pairs(word_take_one_at, word_refund_one, bucket, n);
}

/* ---- This library's feed --------------------------------------------------------------------- */

static void *
feed_make(struct terms terms, uint64_t now)
{
	struct queue_token_feed_options options;
	struct queue_token_feed *feed;

	(void)now;
	memset(&options, 0, sizeof options);
	options.tokens = 1;
	options.period = terms.price;
	options.burst = terms.burst;
	options.flags = QUEUE_FEED_MANUAL;
	return queue_token_feed_create(&feed, &options) ? NULL : feed;
}

static void
feed_end(void *feed)
{
	(void)queue_token_feed_destroy(feed);
}

static void
feed_advance(void *feed, uint64_t now)
{
	(void)queue_token_feed_advance(feed, now);
}

INLINED int
feed_take_one(void *feed, uint64_t now)
{
	(void)now;
	return queue_token_feed_take(feed, 1);
}

static uint64_t
feed_take(void *feed, uint64_t n, uint64_t begin, uint64_t step)
{
	return calls(feed_take_one, feed, n, begin, step);
}

static const struct limiter limiters[] = {
	{"queue_bucket", "", own_make, free, own_take_at, own_take, own_pairs, NULL,
	 QUEUE_BURST_MAX},
	{"queue_token_feed", "tokens made beforehand; it is told no time", feed_make, feed_end,
	 feed_take, NULL, NULL, feed_advance, FEED_BURST},
	{"mutex bucket", "", mutex_make, mutex_end, mutex_take_at, mutex_take, mutex_pairs, NULL,
	 QUEUE_BURST_MAX},
	{"plain GCRA word", "reference: whole ns only, its rate cannot change", word_make, free,
	 word_take_at, word_take, word_pairs, NULL, QUEUE_BURST_MAX},
};

#define LIMITERS (sizeof limiters / sizeof *limiters)

/* ---- What is measured ------------------------------------------------------------------------ */

enum operation {
	GRANT_AT,
	DENY_AT,
	GRANT,
	DENY,
	PAIRS,
	OPERATIONS
};

static const struct {
	const char *cell;
	enum bench_limit limit; /* with one thread */
} operations[OPERATIONS] = {
	[GRANT_AT] = {"grant, time given", BENCH_LIMIT_LOCKED},
	[DENY_AT] = {"deny, time given", BENCH_LIMIT_LOAD},
	[GRANT] = {"grant, clock read", BENCH_LIMIT_CLOCK},
	[DENY] = {"deny, clock read", BENCH_LIMIT_CLOCK},
	[PAIRS] = {"take and refund", BENCH_LIMIT_LOCKED},
};

static bool
has(const struct limiter *limiter, enum operation operation)
{
	switch (operation) {
	case GRANT:
	case DENY:
		return limiter->take != NULL;
	case PAIRS:
		return limiter->pairs != NULL;
	default:
		return true;
	}
}

struct errand {
	const struct limiter *limiter;
	enum operation operation;
	unsigned threads;
	uint64_t ns;
	/* set by the child */
	void *bucket;
	uint64_t n;	  /* calls of each thread */
	uint64_t granted; /* added to by each once, at the end */
	struct span {
		uint64_t begun, ended;
	} spans[THREADS_MAX]; /* of each thread */
};

struct sample {
	double time; /* ns per call, as a thread sees it */
	double rate; /* million per second, all together */
	uint32_t wrong;
};

static void *
make(const struct limiter *limiter, uint64_t price, uint64_t burst, uint64_t now)
{
	struct terms terms = {price, burst < limiter->burst_max ? burst : limiter->burst_max};
	void *bucket = limiter->make(terms, now);

	if (!bucket)
		abort();
	return bucket;
}

/* ---- Checks ---------------------------------------------------------------------------------- */

#define CHECK_PRICE 1000u /* ns */
#define CHECK_BURST 100u
#define CHECK_CALLS 3200u /* by all threads, each its part of them, */
#define CHECK_STEP 10u	  /* ns apart: far more than there are tokens for */

static uint64_t
check_calls(const struct errand *errand)
{
	return CHECK_CALLS / errand->threads;
}

/* The time of the last calls. */
static uint64_t
check_end(const struct errand *errand)
{
	return (check_calls(errand) - 1) * CHECK_STEP;
}

static void
check_body(void *context, unsigned index)
{
	struct errand *errand = context;
	const struct limiter *limiter = errand->limiter;
	uint64_t n = check_calls(errand), granted = 0, i;

	if (errand->operation == GRANT || errand->operation == DENY) {
		granted = limiter->take(errand->bucket, n);
	} else if (limiter->advance && index == 0) {
		for (i = 0; i < n; i++) {
			limiter->advance(errand->bucket, i * CHECK_STEP);
			granted += limiter->take_at(errand->bucket, 1, 0, 0);
		}
	} else {
		granted = limiter->take_at(errand->bucket, n, 0, CHECK_STEP);
	}
	(void)__atomic_fetch_add(&errand->granted, granted, __ATOMIC_RELAXED);
}

/* What is left at the end, and what there should not be. */
static void
check_drain(struct errand *errand)
{
	uint64_t end = check_end(errand);

	if (errand->limiter->advance)
		errand->limiter->advance(errand->bucket, end);
	errand->granted += errand->limiter->take_at(errand->bucket, CHECK_BURST * 2, end, 0);
}

/*
 * All threads want tokens all the time, at times that the check makes up: exactly burst + rate *
 * time are granted, or one less where the last one's fraction is lost.
 */
static bool
check_driven(struct errand *errand)
{
	const struct limiter *limiter = errand->limiter;
	uint64_t most = CHECK_BURST + check_end(errand) / CHECK_PRICE;

	errand->bucket = make(limiter, CHECK_PRICE, CHECK_BURST, 0);
	errand->granted = 0;
	(void)bench_crew_run(errand->threads, BENCH_PIN_SPREAD, check_body, NULL, errand);
	check_drain(errand);
	limiter->end(errand->bucket);
	return errand->granted <= most && errand->granted + 1 >= most;
}

/* By the clock there is an upper bound only: nobody knows how long the calls took in between. */
static bool
check_clock(struct errand *errand)
{
	const struct limiter *limiter = errand->limiter;
	uint64_t begun = bench_now(), most;

	errand->bucket = make(limiter, CHECK_PRICE, CHECK_BURST, begun);
	errand->granted = 0;
	(void)bench_crew_run(errand->threads, BENCH_PIN_SPREAD, check_body, NULL, errand);
	most = CHECK_BURST + (bench_now() - begun) / CHECK_PRICE;
	limiter->end(errand->bucket);
	return errand->granted <= most && errand->granted >= CHECK_BURST;
}

static bool
check(struct errand *errand)
{
	return errand->operation == GRANT || errand->operation == DENY ? check_clock(errand)
								       : check_driven(errand);
}

/* ---- Timing ---------------------------------------------------------------------------------- */

static void
timed_body(void *context, unsigned index)
{
	struct errand *errand = context;
	const struct limiter *limiter = errand->limiter;
	uint64_t granted = 0;

	errand->spans[index].begun = bench_now();
	switch (errand->operation) {
	case GRANT_AT:
	case DENY_AT:
		/* A deny is at one time, for ever; grants are as if each call were a ns later. */
		granted = limiter->take_at(errand->bucket, errand->n, 0,
					   errand->operation == GRANT_AT);
		break;
	case GRANT:
	case DENY:
		granted = limiter->take(errand->bucket, errand->n);
		break;
	default:
		granted = limiter->pairs(errand->bucket, errand->n);
	}
	errand->spans[index].ended = bench_now();
	(void)__atomic_fetch_add(&errand->granted, granted, __ATOMIC_RELAXED);
}

/* A bucket that grants whatever comes, one that has nothing, or one token for each thread. */
static void *
timed_make(const struct errand *errand)
{
	const struct limiter *limiter = errand->limiter;
	bool clock = errand->operation == GRANT || errand->operation == DENY;
	uint64_t now = clock ? bench_now() : 0;
	void *bucket;

	if (errand->operation == GRANT_AT || errand->operation == GRANT)
		return make(limiter, 1, QUEUE_BURST_MAX, now);
	if (errand->operation == PAIRS)
		return make(limiter, HOUR, errand->threads, now);
	bucket = make(limiter, HOUR, 1, now);
	if ((clock ? limiter->take(bucket, 1) : limiter->take_at(bucket, 1, 0, 0)) != 1)
		abort();
	return bucket;
}

static void
crowded_body(void *context, unsigned index)
{
	struct errand *errand = context;
	uint64_t granted = errand->limiter->take_at(errand->bucket, errand->n, 0, 0);

	(void)index;
	(void)__atomic_fetch_add(&errand->granted, granted, __ATOMIC_RELAXED);
}

/* From the first thread's beginning to the last one's end, ns; never 0. */
static uint64_t
timed_span(const struct errand *errand)
{
	uint64_t begun = UINT64_MAX, ended = 0;
	unsigned i;

	for (i = 0; i < errand->threads; i++) {
		if (errand->spans[i].begun < begun)
			begun = errand->spans[i].begun;
		if (errand->spans[i].ended > ended)
			ended = errand->spans[i].ended;
	}
	return ended > begun ? ended - begun : 1;
}

/* n calls by each thread; ns. *wrong: some were answered otherwise than they should be. */
static uint64_t
timed_run(struct errand *errand, uint32_t *wrong)
{
	const struct limiter *limiter = errand->limiter;
	uint64_t expected = errand->n * errand->threads;

	errand->bucket = timed_make(errand);
	errand->granted = 0;
	(void)bench_crew_run(errand->threads, BENCH_PIN_SPREAD, timed_body, NULL, errand);
	if (errand->operation == DENY_AT || errand->operation == DENY)
		expected = 0;
	if (errand->granted != expected)
		*wrong = 1;
	/* All tokens are back, and no more than those. */
	if (errand->operation == PAIRS &&
	    limiter->take_at(errand->bucket, errand->threads + 1, 0, 0) != errand->threads)
		*wrong = 1;
	limiter->end(errand->bucket);
	return timed_span(errand);
}

static uint64_t
calls_most(const struct errand *errand)
{
	uint64_t most = UINT64_C(1) << 28;

	if (errand->operation == GRANT_AT && errand->limiter->burst_max / errand->threads < most)
		most = errand->limiter->burst_max / errand->threads;
	return most;
}

/*
 * As many threads as there are and twice as many calls as there are tokens, all at one time: each
 * token must be granted, and once.
 */
static bool
check_crowded(struct errand *errand)
{
	const struct limiter *limiter = errand->limiter;
	uint64_t n = errand->n, burst = n * errand->threads / 8;

	errand->n = n / 4;
	errand->granted = 0;
	errand->bucket = make(limiter, CHECK_PRICE, burst, 0);
	(void)bench_crew_run(errand->threads, BENCH_PIN_SPREAD, crowded_body, NULL, errand);
	limiter->end(errand->bucket);
	errand->n = n;
	return errand->granted == burst;
}

/* How many calls take about the time is found by multiplying; then they are measured. */
static void
run_errand(void *context, void *result)
{
	struct errand *errand = context;
	struct sample *sample = result;
	uint64_t most = calls_most(errand), took = 0;
	double fitting;

	if (!check(errand))
		sample->wrong = 1;
	for (errand->n = 64; errand->n * 4 <= most && took < errand->ns / 16;) {
		errand->n *= 4;
		took = timed_run(errand, &sample->wrong);
	}
	fitting = (double)errand->n * (double)errand->ns / 2 / (double)took;
	errand->n = fitting < (double)most ? (uint64_t)fitting + 1 : most;
	if (errand->operation == GRANT_AT && !check_crowded(errand))
		sample->wrong = 1;
	took = timed_run(errand, &sample->wrong);
	sample->time = (double)took / (double)errand->n;
	sample->rate = (double)(errand->n * errand->threads) * 1000 / (double)took;
}

/* ---- Rounds and rows ------------------------------------------------------------------------- */

struct record {
	enum bench_state state;
	size_t n;
	double *time, *rate;
};

static void
one_sample(struct record *record, const struct limiter *limiter, enum operation operation,
	   unsigned threads, double slice)
{
	struct errand errand = {limiter, operation, threads, (uint64_t)(slice * 1e9),
				NULL,	 0,	    0,	     {{0, 0}}};
	enum bench_state state;
	struct sample sample;

	if (!has(limiter, operation))
		return;
	memset(&sample, 0, sizeof sample);
	state = bench_isolated(run_errand, &errand, &sample, sizeof sample, 10 + slice * 20, NULL);
	if (state == BENCH_OK && sample.wrong)
		state = BENCH_WRONG;
	if (state != BENCH_OK) {
		record->state = state;
		return;
	}
	record->time[record->n] = sample.time;
	record->rate[record->n++] = sample.rate;
}

static void
add_row(struct bench_results *results, const struct limiter *limiter, enum operation operation,
	unsigned threads, struct record *record, bool rate)
{
	enum bench_limit limit = operations[operation].limit;
	struct bench_row *row;
	char cell[64];

	(void)snprintf(cell, sizeof cell, "%s, threads=%u", operations[operation].cell, threads);
	row = bench_results_measured(results, "bucket", limiter->name, cell,
				     rate ? "rate" : "time per call", rate ? "M/s" : "ns",
				     rate ? BENCH_HIGHER : BENCH_LOWER,
				     rate ? record->rate : record->time, record->n);
	if (threads == 1 && bench_limit(limit) > 0) {
		(void)snprintf(row->limit, sizeof row->limit, "%s", bench_limit_name(limit));
		row->limit_value = rate ? 1000 / bench_limit(limit) : bench_limit(limit);
	}
	if (record->state == BENCH_WRONG)
		bench_results_state(results, row, BENCH_WRONG,
				    "not as many as burst + rate * time were granted");
	else if (record->state != BENCH_OK)
		bench_results_state(results, row, record->state, NULL);
	else if (limiter->note[0])
		bench_results_state(results, row, row->state, limiter->note);
}

/* The i-th of all measurements: the limiters take turns. */
static enum operation
operation_of(size_t i)
{
	return (enum operation)(i / LIMITERS / THREAD_COUNTS);
}

static unsigned
threads_of(size_t i)
{
	return thread_counts[i / LIMITERS % THREAD_COUNTS];
}

#define MEASUREMENTS (LIMITERS * THREAD_COUNTS * OPERATIONS)

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	unsigned rounds = options->rounds ? options->rounds : ROUNDS, round, done = 0;
	unsigned all = (unsigned)MEASUREMENTS;
	struct record records[MEASUREMENTS];
	double slice, *samples;
	size_t i;

	while (!options->rounds && rounds > 1 && seconds < SLICE_MIN * all * rounds)
		rounds--;
	slice = seconds / all / rounds;
	if (slice < SLICE_MIN)
		slice = SLICE_MIN;
	samples = calloc((size_t)all * 2 * rounds, sizeof *samples);
	if (!samples)
		return -ENOMEM;
	memset(records, 0, sizeof records);
	for (i = 0; i < all; i++) {
		records[i].time = samples + i * 2 * rounds;
		records[i].rate = records[i].time + rounds;
	}
	for (round = 0; round < rounds; round++)
		for (i = 0; i < all; i++) {
			const struct limiter *limiter = &limiters[i % LIMITERS];

			bench_report_progress(options, "bucket", limiter->name, done++,
					      rounds * all);
			one_sample(&records[i], limiter, operation_of(i), threads_of(i), slice);
		}
	bench_report_progress_end(options);
	for (i = 0; i < all; i++) {
		const struct limiter *limiter = &limiters[i % LIMITERS];

		if (!has(limiter, operation_of(i)))
			continue;
		add_row(results, limiter, operation_of(i), threads_of(i), &records[i], true);
		add_row(results, limiter, operation_of(i), threads_of(i), &records[i], false);
	}
	free(samples);
	return 0;
}

const struct bench_suite bench_bucket = {
	"bucket", "token buckets: grant, deny and refund, by 1 to 16 threads", 25, 0.05, run,
};
