/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long things take, as distributions.
 *
 * open loop    Producers send at times that were drawn before the run, whatever the queue does; an
 *              item's latency is from when it was meant to be sent until it was popped. So a stall
 *              counts for every item that it delays. The loads are parts of what the subject moved
 *              in its own loops just before, and one rate that is the same for all.
 * ping-pong    One item there through one queue and back through another.
 * wake-up      From before the push until the pop has returned, in a thread that slept.
 * push call    With more threads than processors. "push call" is the one call that was accepted:
 *              what blocks inside of it shows there. "push until accepted" is from the first call
 *              until then, polling included: what a user waits. Under full load that is mostly
 *              waiting for room, so there is a third: a producer has no more items under way than
 *              its share of half the capacity, so that the queue is never full, and whatever is
 *              refused or delayed then is the queue's own doing.
 *
 * A time stamp takes some ns, which are in each figure; its cost is a row of its own. Of a load of
 * more than STAMPS_MAX items a second only every 2nd, 4th, ... item is timed, and no load is more
 * than RATE_MAX, where reading the clock would be what is measured: notes say so.
 */
#include "crew.h"
#include "histogram.h"
#include "item.h"
#include "schedule.h"
#include "suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9
#define CAPACITY 1024u
#define RATE_MAX 20e6
#define RATE_FIXED 1e6
#define STAMPS_MAX 4e6
#define ITEMS_MAX (UINT64_C(1) << 22)
#define SLEEP_NS 1000000
#define OVERCOMMITTED 8
#define LINE 128

/* ---- Time stamps --------------------------------------------------------------------------- */

static bool have_counter;
static double ns_per_tick = 1;

/* In ticks, for waiting until a time. */
static inline uint64_t
ticks(void)
{
#if defined __x86_64__
	if (have_counter)
		return __builtin_ia32_rdtsc();
#endif
	return bench_now();
}

/* The same, neither before what precedes it nor after what follows: the counter alone may be. */
static inline uint64_t
stamp(void)
{
#if defined __x86_64__
	if (have_counter) {
		uint64_t now;

		__builtin_ia32_lfence();
		now = __builtin_ia32_rdtsc();
		__builtin_ia32_lfence();
		return now;
	}
#endif
	return bench_now();
}

/* From one time to another, ns; 0 if the processors' counters disagree about which was first. */
static inline uint64_t
span(uint64_t from, uint64_t to)
{
	return to > from ? (uint64_t)((double)(to - from) * ns_per_tick) : 0;
}

#if defined __x86_64__
/* A counter that goes on at the same pace whatever the processor does, and in step on all. */
static bool
counter_is_constant(void)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	bool constant = false;
	char line[8192];

	if (!file)
		return false;
	while (!constant && fgets(line, sizeof line, file))
		constant = strncmp(line, "flags", 5) == 0 && strstr(line, " constant_tsc") &&
			   strstr(line, " nonstop_tsc");
	(void)fclose(file);
	return constant;
}
#endif

static void
calibrate(void)
{
#if defined __x86_64__
	uint64_t begun, counted, now;

	have_counter = counter_is_constant();
	if (!have_counter)
		return;
	begun = bench_now();
	counted = stamp();
	while ((now = bench_now()) < begun + 20000000)
		continue;
	ns_per_tick = (double)(now - begun) / (double)(stamp() - counted);
#endif
}

/* What a time stamp takes, ns. */
static double
stamp_cost(void)
{
	enum {
		STAMPS = 10000
	};
	uint64_t begun = stamp();
	unsigned i;

	for (i = 1; i < STAMPS; i++)
		(void)stamp();
	return (double)(stamp() - begun) * ns_per_tick / STAMPS;
}

/* ---- What is measured, and what comes of it ------------------------------------------------ */

enum metric {
	P50,
	P99,
	P999,
	P9999,
	MAXIMUM,
	RATE,
	METRICS
};

static const char *const metric_names[METRICS] = {"p50",    "p99", "p99.9",
						  "p99.99", "max", "offered"};
static const double fractions[RATE] = {0.5, 0.99, 0.999, 0.9999, 1};

#define CELLS_MAX 5

/* One cell's figures of one round, written by the process that measures. */
struct finding {
	bool done, wrong;
	const char *absent; /* why there are none: a literal, so good in both processes */
	bool capped, late;
	unsigned stride; /* one item in so many was timed */
	uint64_t count;
	double values[METRICS];
};

struct findings {
	int rc;
	struct finding cells[CELLS_MAX];
};

struct experiment {
	const char *name;
	void (*body)(void *order, void *findings);
	double weight; /* of the time */
	unsigned producers, consumers;
	enum bench_pin pin;
	bool waiting;	  /* in the kernel */
	unsigned metrics; /* how many of them, from P50 on */
	unsigned cells;
	const char *const *cell_names; /* what distinguishes them */
};

struct order {
	const struct bench_subject *subject;
	const struct experiment *experiment;
	double seconds;
	uint64_t seed;
};

static void
conclude(struct finding *finding, const struct bench_histogram *histogram)
{
	unsigned i;

	for (i = 0; i < RATE; i++)
		finding->values[i] = (double)bench_histogram_quantile(histogram, fractions[i]);
	finding->count = histogram->count;
	finding->done = true;
}

static void *
zeroed(size_t size)
{
	size_t rounded = (size + LINE - 1) / LINE * LINE;
	void *memory = aligned_alloc(LINE, rounded);

	if (!memory)
		abort();
	return memset(memory, 0, rounded);
}

/* ---- Threads that push and pop ------------------------------------------------------------- */

struct member {
	struct bench_lane lane;
	/* an open loop's producer: when to send, in ticks from the beginning */
	uint64_t *times;
	uint64_t items;
	uint64_t last_sent;
	/* with room: what a consumer popped of each producer's; what a producer saw of that */
	uint64_t popped[BENCH_PRODUCERS_MAX];
	uint64_t seen;
	struct bench_histogram histogram, second;
} __attribute__((aligned(LINE)));

struct crowd {
	const struct bench_subject *subject;
	void *queue;
	unsigned producers, consumers;
	struct member *members; /* the producers first */
	uint64_t duration;	/* ns, where it is not the number of items that ends it */
	uint64_t window;	/* most items of one producer under way; 0: no limit */
	uint64_t warm_up;	/* so many items of each producer are not recorded */
	uint64_t stride_mask;
	uint64_t begin; /* of an open loop, ticks; 0: not yet */
	unsigned arrived;
	uint32_t stop, drained;
	unsigned producing;
};

static int
crowd_open(struct crowd *crowd, const struct order *order)
{
	const struct experiment *experiment = order->experiment;
	struct bench_shape shape = {CAPACITY, experiment->producers, experiment->consumers};
	unsigned i, count = shape.producers + shape.consumers;
	int rc;

	memset(crowd, 0, sizeof *crowd);
	crowd->subject = order->subject;
	crowd->producers = crowd->producing = shape.producers;
	crowd->consumers = shape.consumers;
	rc = order->subject->open(&crowd->queue, &shape);
	if (rc)
		return rc;
	crowd->members = zeroed(count * sizeof *crowd->members);
	for (i = 0; i < count; i++) {
		struct bench_lane *lane = &crowd->members[i].lane;

		lane->index = i < shape.producers ? i : i - shape.producers;
		lane->batch = 1;
		lane->payload = sizeof(uint64_t);
		lane->stop = i < shape.producers ? &crowd->stop : &crowd->drained;
		bench_histogram_clear(&crowd->members[i].histogram);
		bench_histogram_clear(&crowd->members[i].second);
	}
	return 0;
}

/* Ends it, and says whether every item that went in came out, once and in its order. */
static bool
crowd_shut(struct crowd *crowd)
{
	uint64_t pushed = 0, pushed_sum = 0, popped = 0, popped_sum = 0, disorder = 0;
	unsigned i;

	for (i = 0; i < crowd->producers + crowd->consumers; i++) {
		const struct bench_lane *lane = &crowd->members[i].lane;

		if (i < crowd->producers) {
			pushed += lane->count;
			pushed_sum += lane->sum;
		} else {
			popped += lane->count;
			popped_sum += lane->sum;
			disorder += lane->disorder;
		}
		free(crowd->members[i].times);
	}
	if (!(crowd->subject->traits & (BENCH_FIFO | BENCH_IN_ORDER)))
		disorder = 0;
	crowd->subject->shut(crowd->queue);
	free(crowd->members);
	return pushed == popped && pushed_sum == popped_sum && disorder == 0;
}

static void
attach(const struct bench_subject *subject, void *queue)
{
	if (subject->attach)
		subject->attach(queue);
}

static void
detach(const struct bench_subject *subject, void *queue)
{
	if (subject->detach)
		subject->detach(queue);
}

/* The last producer tells the consumers that nothing comes any more. */
static void
producer_leaves(struct crowd *crowd)
{
	if (__atomic_sub_fetch(&crowd->producing, 1, __ATOMIC_ACQ_REL) == 0)
		__atomic_store_n(&crowd->drained, 1, __ATOMIC_RELEASE);
}

static void
let_run(void *context)
{
	struct crowd *crowd = context;

	bench_sleep_until(bench_now() + crowd->duration);
	__atomic_store_n(&crowd->stop, 1, __ATOMIC_RELEASE);
}

static void
merge(const struct crowd *crowd, struct bench_histogram *first, struct bench_histogram *second)
{
	unsigned i;

	bench_histogram_clear(first);
	bench_histogram_clear(second);
	for (i = 0; i < crowd->producers + crowd->consumers; i++) {
		bench_histogram_merge(first, &crowd->members[i].histogram);
		bench_histogram_merge(second, &crowd->members[i].second);
	}
}

static struct bench_histogram merged, merged_second;

/* ---- Open loop ----------------------------------------------------------------------------- */

static void
saturate(void *context, unsigned index)
{
	struct crowd *crowd = context;
	const struct bench_subject *subject = crowd->subject;

	attach(subject, crowd->queue);
	if (index < crowd->producers) {
		subject->produce(crowd->queue, &crowd->members[index].lane);
		producer_leaves(crowd);
	} else {
		subject->consume(crowd->queue, &crowd->members[index].lane);
	}
	detach(subject, crowd->queue);
}

/* Items a second that the subject moves when all go as fast as they can. */
static int
saturation(const struct order *order, double seconds, double *rate, bool *wrong)
{
	struct crowd crowd;
	uint64_t elapsed, items = 0;
	unsigned i;
	int rc = crowd_open(&crowd, order);

	if (rc)
		return rc;
	crowd.duration = (uint64_t)(seconds * NS_PER_S);
	elapsed = bench_crew_run(crowd.producers + crowd.consumers, order->experiment->pin,
				 saturate, let_run, &crowd);
	for (i = 0; i < crowd.producers; i++)
		items += crowd.members[i].lane.count;
	*rate = (double)items * NS_PER_S / (double)elapsed;
	*wrong = !crowd_shut(&crowd);
	/* On a busy machine a very short time may pass before a producer gets to run at all. */
	if (items == 0 && !*wrong)
		return saturation(order, 2 * seconds, rate, wrong);
	return 0;
}

static void
send_on_time(struct crowd *crowd, struct member *member)
{
	const struct bench_subject *subject = crowd->subject;
	void *queue = crowd->queue;
	uint64_t begin, i, sum = 0;
	unsigned tries = 0;

	while ((begin = __atomic_load_n(&crowd->begin, __ATOMIC_ACQUIRE)) == 0)
		bench_pace(&tries);
	for (i = 0; i < member->items; i++) {
		uint64_t value = bench_value(member->lane.index, i);

		while (ticks() < begin + member->times[i])
			continue;
		tries = 0;
		while (subject->push(queue, (void *)(uintptr_t)value) != 0)
			bench_pace(&tries);
		sum += value;
	}
	member->last_sent = ticks();
	member->lane.count = member->items;
	member->lane.sum = sum;
}

/* The latency of an item, if it is one of those that are timed. */
static inline void
take_time(struct crowd *crowd, struct member *member, uint64_t value)
{
	uint64_t sequence = (value & ((UINT64_C(1) << 40) - 1)) - 1, now;
	const struct member *sender;

	if (sequence & crowd->stride_mask)
		return;
	now = stamp();
	sender = &crowd->members[bench_producer_of(value) % crowd->producers];
	if (sequence >= crowd->warm_up && sequence < sender->items)
		bench_histogram_add(&member->histogram,
				    span(crowd->begin + sender->times[sequence], now));
}

static void
receive_timed(struct crowd *crowd, struct member *member)
{
	const struct bench_subject *subject = crowd->subject;
	struct bench_lane *lane = &member->lane;
	void *queue = crowd->queue, *item = NULL;
	uint64_t count = 0, sum = 0;
	unsigned tries = 0;

	for (;;) {
		bool ending = bench_told(lane->stop);

		if (subject->pop(queue, &item) == 0) {
			take_time(crowd, member, (uint64_t)(uintptr_t)item);
			sum += bench_unwrap(lane, item);
			count++;
			tries = 0;
			continue;
		}
		if (ending)
			break;
		bench_pace(&tries);
	}
	lane->count = count;
	lane->sum = sum;
}

static void
open_loop_member(void *context, unsigned index)
{
	struct crowd *crowd = context;
	struct member *member = &crowd->members[index];
	unsigned count = crowd->producers + crowd->consumers;

	attach(crowd->subject, crowd->queue);
	/* The first send is a little after everybody has arrived. */
	if (__atomic_add_fetch(&crowd->arrived, 1, __ATOMIC_ACQ_REL) == count)
		__atomic_store_n(&crowd->begin, ticks() + (uint64_t)(50000 / ns_per_tick),
				 __ATOMIC_RELEASE);
	if (index < crowd->producers) {
		send_on_time(crowd, member);
		producer_leaves(crowd);
	} else {
		receive_timed(crowd, member);
	}
	detach(crowd->subject, crowd->queue);
}

/* Draws the times at which one producer sends. */
static void
draw_times(struct member *member, double rate, uint64_t items, uint64_t seed)
{
	struct bench_schedule schedule;
	uint64_t i;

	member->times = zeroed(items * sizeof *member->times);
	member->items = items;
	bench_schedule_begin(&schedule, 0, rate, seed, false);
	for (i = 0; i < items; i++)
		member->times[i] = (uint64_t)((double)bench_schedule_next(&schedule) / ns_per_tick);
}

static int
open_loop_at(const struct order *order, double rate, double seconds, uint64_t seed,
	     struct finding *finding)
{
	struct crowd crowd;
	double each = rate / order->experiment->producers;
	uint64_t items = (uint64_t)(each * seconds) + 64;
	unsigned i, stride = 1;
	int rc = crowd_open(&crowd, order);

	if (rc)
		return rc;
	if (items > ITEMS_MAX)
		items = ITEMS_MAX;
	while (rate / stride > STAMPS_MAX)
		stride *= 2;
	crowd.stride_mask = stride - 1;
	crowd.warm_up = items / 16;
	for (i = 0; i < crowd.producers; i++)
		draw_times(&crowd.members[i], each, items, seed + i);
	(void)bench_crew_run(crowd.producers + crowd.consumers, order->experiment->pin,
			     open_loop_member, NULL, &crowd);

	finding->values[RATE] = rate / 1e6;
	finding->stride = stride;
	for (i = 0; i < crowd.producers; i++) {
		const struct member *member = &crowd.members[i];
		uint64_t planned = span(0, member->times[items - 1]);

		finding->late |= span(crowd.begin, member->last_sent) > planned + planned / 10;
	}
	merge(&crowd, &merged, &merged_second);
	finding->wrong = !crowd_shut(&crowd) || merged.count == 0;
	conclude(finding, &merged);
	return 0;
}

static const double loads[] = {0.10, 0.50, 0.80, 0.95, 0};
static const char *const load_names[] = {" load=10%", " load=50%", " load=80%", " load=95%",
					 " load=1M/s"};

#define LOADS (sizeof loads / sizeof loads[0])

static void
open_loop(void *context, void *result)
{
	const struct order *order = context;
	struct findings *findings = result;
	const unsigned parts = LOADS + 1;
	double most = 0, share = 1. / parts;
	size_t i;

	findings->rc = saturation(order, order->seconds * share, &most, &findings->cells[0].wrong);
	for (i = 0; i < LOADS && findings->rc == 0 && !findings->cells[0].wrong; i++) {
		struct finding *finding = &findings->cells[i];
		double rate = loads[i] > 0 ? loads[i] * most : RATE_FIXED;

		if (loads[i] <= 0 && most < RATE_FIXED * 1.1) {
			finding->absent = "the subject does not reach this rate";
			finding->done = true;
			continue;
		}
		finding->capped = rate > RATE_MAX;
		findings->rc = open_loop_at(order, finding->capped ? RATE_MAX : rate,
					    order->seconds * share, order->seed * 64 + i * 8,
					    finding);
	}
}

/* ---- Ping-pong ----------------------------------------------------------------------------- */

#define LAST 1 /* no bench_value is so small */

struct rally {
	const struct bench_subject *subject;
	void *there, *back;
	bool waiting, wrong;
	uint64_t end; /* ticks */
	struct bench_histogram histogram;
};

static int
put(const struct rally *rally, void *queue, uint64_t value)
{
	void *item = (void *)(uintptr_t)value;
	unsigned tries = 0;

	if (rally->waiting && rally->subject->push_wait)
		return rally->subject->push_wait(queue, item);
	while (rally->subject->push(queue, item) != 0)
		bench_pace(&tries);
	return 0;
}

static uint64_t
get(const struct rally *rally, void *queue)
{
	void *item = NULL;
	unsigned tries = 0;

	if (rally->waiting)
		return rally->subject->pop_wait(queue, &item) == 0 ? (uint64_t)(uintptr_t)item : 0;
	while (rally->subject->pop(queue, &item) != 0)
		bench_pace(&tries);
	return (uint64_t)(uintptr_t)item;
}

static void
ping(struct rally *rally)
{
	enum {
		WARM_UP = 32
	};
	uint64_t after = 0, i;

	for (i = 0; after < rally->end || i < 2 * WARM_UP; i++) {
		uint64_t value = bench_value(0, i), before = stamp();

		if (put(rally, rally->there, value) || get(rally, rally->back) != value)
			rally->wrong = true;
		after = stamp();
		if (i >= WARM_UP)
			bench_histogram_add(&rally->histogram, span(before, after));
	}
	if (put(rally, rally->there, LAST) || get(rally, rally->back) != LAST)
		rally->wrong = true;
}

static void
pong(struct rally *rally)
{
	uint64_t value;

	do {
		value = get(rally, rally->there);
	} while (put(rally, rally->back, value) == 0 && value > LAST);
}

static void
rally_member(void *context, unsigned index)
{
	struct rally *rally = context;

	attach(rally->subject, rally->there);
	attach(rally->subject, rally->back);
	if (index == 0)
		ping(rally);
	else
		pong(rally);
	detach(rally->subject, rally->there);
	detach(rally->subject, rally->back);
}

static void
ping_pong(void *context, void *result)
{
	static struct rally rally;
	const struct bench_shape shape = {CAPACITY, 1, 1};
	const struct order *order = context;
	struct findings *findings = result;

	rally.subject = order->subject;
	rally.waiting = order->experiment->waiting;
	bench_histogram_clear(&rally.histogram);
	findings->rc = order->subject->open(&rally.there, &shape);
	if (findings->rc)
		return;
	findings->rc = order->subject->open(&rally.back, &shape);
	if (findings->rc)
		return;
	rally.end = ticks() + (uint64_t)(order->seconds * NS_PER_S / ns_per_tick);
	(void)bench_crew_run(2, order->experiment->pin, rally_member, NULL, &rally);
	order->subject->shut(rally.there);
	order->subject->shut(rally.back);
	findings->cells[0].wrong = rally.wrong;
	conclude(&findings->cells[0], &rally.histogram);
}

/* ---- Wake-up ------------------------------------------------------------------------------- */

struct alarm {
	struct rally rally;
	uint64_t sent;	/* when the item under way was, ticks */
	uint64_t awake; /* how many have been popped */
	uint64_t random;
};

static void
wake(struct alarm *alarm)
{
	enum {
		FEWEST = 3
	};
	uint64_t i, until;
	unsigned tries = 0;
	bool ending;

	for (i = 0;; i++) {
		while (__atomic_load_n(&alarm->awake, __ATOMIC_ACQUIRE) != i)
			bench_pace(&tries);
		/* Not asleep itself: what wakes is at work. Not always in step with the tick. */
		until = bench_now() + SLEEP_NS + bench_random(&alarm->random) % (SLEEP_NS / 8);
		while (bench_now() < until)
			bench_pause();
		ending = i >= FEWEST && ticks() >= alarm->rally.end;
		__atomic_store_n(&alarm->sent, stamp(), __ATOMIC_RELAXED);
		if (put(&alarm->rally, alarm->rally.there, ending ? LAST : bench_value(0, i)))
			alarm->rally.wrong = true;
		if (ending)
			return;
	}
}

static void
be_woken(struct alarm *alarm)
{
	uint64_t i, value;

	for (i = 0;; i++) {
		value = get(&alarm->rally, alarm->rally.there);
		if (value == LAST)
			return;
		bench_histogram_add(&alarm->rally.histogram,
				    span(__atomic_load_n(&alarm->sent, __ATOMIC_RELAXED), stamp()));
		if (value != bench_value(0, i))
			alarm->rally.wrong = true;
		__atomic_store_n(&alarm->awake, i + 1, __ATOMIC_RELEASE);
	}
}

static void
alarm_member(void *context, unsigned index)
{
	struct alarm *alarm = context;

	attach(alarm->rally.subject, alarm->rally.there);
	if (index == 0)
		wake(alarm);
	else
		be_woken(alarm);
	detach(alarm->rally.subject, alarm->rally.there);
}

static void
wake_up(void *context, void *result)
{
	static struct alarm alarm;
	const struct bench_shape shape = {CAPACITY, 1, 1};
	const struct order *order = context;
	struct findings *findings = result;

	alarm.rally.subject = order->subject;
	alarm.rally.waiting = true;
	alarm.random = order->seed;
	bench_histogram_clear(&alarm.rally.histogram);
	findings->rc = order->subject->open(&alarm.rally.there, &shape);
	if (findings->rc)
		return;
	alarm.rally.end = ticks() + (uint64_t)(order->seconds * NS_PER_S / ns_per_tick);
	(void)bench_crew_run(2, order->experiment->pin, alarm_member, NULL, &alarm);
	order->subject->shut(alarm.rally.there);
	findings->cells[0].wrong = alarm.rally.wrong;
	conclude(&findings->cells[0], &alarm.rally.histogram);
}

/* ---- Push calls of too many threads -------------------------------------------------------- */

/* Waits until fewer than the window are under way; false: told to stop. */
static bool
have_room(struct crowd *crowd, struct member *member, uint64_t count)
{
	unsigned tries = 0, i;

	while (count - member->seen >= crowd->window) {
		uint64_t popped = 0;

		for (i = 0; i < crowd->consumers; i++)
			popped += __atomic_load_n(
				&crowd->members[crowd->producers + i].popped[member->lane.index],
				__ATOMIC_ACQUIRE);
		if (popped == member->seen) {
			if (bench_told(&crowd->stop))
				return false;
			bench_pace(&tries);
		}
		member->seen = popped;
	}
	return true;
}

static void
push_timed(struct crowd *crowd, struct member *member)
{
	const struct bench_subject *subject = crowd->subject;
	uint64_t count = 0, sum = 0, first, begun, ended;
	unsigned tries = 0;

	while (!bench_told(&crowd->stop)) {
		uint64_t value = bench_value(member->lane.index, count);

		if (crowd->window && !have_room(crowd, member, count))
			break;
		first = begun = stamp();
		while (subject->push(crowd->queue, (void *)(uintptr_t)value) != 0) {
			bench_pace(&tries);
			if (bench_told(&crowd->stop))
				goto end;
			begun = stamp();
		}
		ended = stamp();
		tries = 0;
		count++;
		sum += value;
		bench_histogram_add(&member->histogram, span(begun, ended));
		bench_histogram_add(&member->second, span(first, ended));
	}
end:
	member->lane.count = count;
	member->lane.sum = sum;
}

static void
pop_counted(struct crowd *crowd, struct member *member)
{
	struct bench_lane *lane = &member->lane;
	uint64_t count = 0, sum = 0, value;
	unsigned tries = 0, producer;
	void *item = NULL;

	for (;;) {
		bool ending = bench_told(lane->stop);

		if (crowd->subject->pop(crowd->queue, &item) == 0) {
			value = bench_unwrap(lane, item);
			producer = bench_producer_of(value) % BENCH_PRODUCERS_MAX;
			__atomic_store_n(&member->popped[producer], member->popped[producer] + 1,
					 __ATOMIC_RELEASE);
			sum += value;
			count++;
			tries = 0;
			continue;
		}
		if (ending)
			break;
		bench_pace(&tries);
	}
	lane->count = count;
	lane->sum = sum;
}

static void
push_member(void *context, unsigned index)
{
	struct crowd *crowd = context;

	attach(crowd->subject, crowd->queue);
	if (index < crowd->producers) {
		push_timed(crowd, &crowd->members[index]);
		producer_leaves(crowd);
	} else {
		pop_counted(crowd, &crowd->members[index]);
	}
	detach(crowd->subject, crowd->queue);
}

static int
push_crowd(const struct order *order, bool with_room, struct findings *findings)
{
	struct crowd crowd;
	bool right;
	int rc = crowd_open(&crowd, order);

	if (rc)
		return rc;
	crowd.duration = (uint64_t)(order->seconds * NS_PER_S);
	if (with_room)
		crowd.window = CAPACITY / (2 * crowd.producers);
	(void)bench_crew_run(crowd.producers + crowd.consumers, order->experiment->pin, push_member,
			     let_run, &crowd);
	merge(&crowd, &merged, &merged_second);
	right = crowd_shut(&crowd) && merged.count > 0;
	findings->cells[0].wrong = !right;
	conclude(&findings->cells[0], with_room ? &merged_second : &merged);
	if (!with_room) {
		findings->cells[1].wrong = !right;
		conclude(&findings->cells[1], &merged_second);
	}
	return 0;
}

static void
push_calls(void *context, void *result)
{
	struct findings *findings = result;

	findings->rc = push_crowd(context, false, findings);
}

static void
push_with_room(void *context, void *result)
{
	struct findings *findings = result;

	findings->rc = push_crowd(context, true, findings);
}

/* ---- The suite ----------------------------------------------------------------------------- */

static const char *const no_name[] = {""};
static const char *const push_names[] = {" call", " until accepted"};
static const char *const room_names[] = {" until accepted with room"};

/* Without the last where there are too few processors for it. */
static const struct experiment experiments[] = {
	{"open loop", open_loop, 9, 1, 1, BENCH_PIN_SPREAD, false, METRICS, LOADS, load_names},
	{"ping-pong polling", ping_pong, 1, 1, 1, BENCH_PIN_SPREAD, false, P999, 1, no_name},
	{"ping-pong waiting", ping_pong, 1, 1, 1, BENCH_PIN_SPREAD, true, P999, 1, no_name},
	{"wake-up", wake_up, 2, 1, 1, BENCH_PIN_SPREAD, true, P999, 1, no_name},
	{"push", push_calls, 3, OVERCOMMITTED, OVERCOMMITTED, BENCH_PIN_NONE, false, RATE, 2,
	 push_names},
	{"push", push_with_room, 3, OVERCOMMITTED, OVERCOMMITTED, BENCH_PIN_NONE, false, RATE, 1,
	 room_names},
	{"open loop", open_loop, 9, 2, 2, BENCH_PIN_SPREAD, false, METRICS, LOADS, load_names}};

#define EXPERIMENTS (sizeof experiments / sizeof experiments[0])

/* What all rounds found of one subject in one cell. */
struct tally {
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	char note[96];
	size_t rounds;
	uint64_t fewest; /* durations recorded in a round */
	double *samples; /* METRICS times as many as there are rounds */
	bool capped, late;
	unsigned stride;
};

struct plan {
	const struct bench_options *options;
	const struct bench_subject **subjects;
	size_t subject_count, experiment_count;
	unsigned rounds;
	double slice; /* seconds of a subject and a round, by weight */
	struct tally *tallies;
	double *samples; /* of all tallies */
};

static struct tally *
tally_of(const struct plan *plan, size_t subject, size_t experiment, unsigned cell)
{
	return &plan->tallies[(subject * EXPERIMENTS + experiment) * CELLS_MAX + cell];
}

static void
fail(struct tally *tally, enum bench_state state, const char *note)
{
	tally->state = state;
	(void)snprintf(tally->note, sizeof tally->note, "%s", note);
}

static const char *
why_not_opened(int rc)
{
	if (rc == -EINVAL)
		return "cannot be had in this shape";
	if (rc == -ENOSYS)
		return "not on this machine";
	return strerror(-rc);
}

static void
note_finding(const struct plan *plan, struct tally *tally, const struct finding *finding)
{
	unsigned i;

	if (finding->absent) {
		if (tally->rounds == 0)
			fail(tally, BENCH_ABSENT, finding->absent);
		return;
	}
	for (i = 0; i < METRICS; i++)
		tally->samples[i * plan->rounds + tally->rounds] = finding->values[i];
	if (tally->rounds++ == 0 || finding->count < tally->fewest)
		tally->fewest = finding->count;
	tally->state = BENCH_OK;
	tally->capped |= finding->capped;
	tally->late |= finding->late;
	tally->stride = finding->stride > tally->stride ? finding->stride : tally->stride;
}

/* Why an experiment cannot be made with a subject, or NULL. */
static const char *
unable(const struct experiment *experiment, const struct bench_subject *subject)
{
	if (!bench_subject_serves(subject, experiment->producers, experiment->consumers))
		return "not for so many threads";
	if (experiment->waiting && !subject->pop_wait)
		return "has no call that waits";
	return NULL;
}

/* One subject's turn at one experiment. */
static void
take_turn(const struct plan *plan, size_t s, size_t e, unsigned round)
{
	const struct experiment *experiment = &experiments[e];
	struct order order = {plan->subjects[s], experiment, plan->slice * experiment->weight,
			      plan->options->seed + round};
	const char *why = unable(experiment, order.subject);
	static struct findings findings;
	enum bench_state state;
	unsigned c;
	bool failed = why != NULL;

	for (c = 0; c < experiment->cells; c++) {
		struct tally *tally = tally_of(plan, s, e, c);

		if (why)
			fail(tally, BENCH_ABSENT, why);
		failed |= tally->state == BENCH_STALLED || tally->state == BENCH_CRASHED ||
			  tally->state == BENCH_WRONG;
	}
	/* A subject that has failed once is not given the time to do it again. */
	if (failed)
		return;
	state = bench_isolated(experiment->body, &order, &findings, sizeof findings,
			       5 + 10 * order.seconds, NULL);
	for (c = 0; c < experiment->cells; c++) {
		const struct finding *finding = &findings.cells[c];
		struct tally *tally = tally_of(plan, s, e, c);

		if (findings.rc)
			fail(tally, BENCH_ABSENT, why_not_opened(findings.rc));
		else if (finding->wrong || findings.cells[0].wrong)
			fail(tally, BENCH_WRONG, "items were lost, doubled or out of order");
		else if (finding->done)
			note_finding(plan, tally, finding);
		else
			fail(tally, state == BENCH_OK ? BENCH_CRASHED : state, "");
	}
}

static void
describe(const struct tally *tally, char *note, size_t size)
{
	if (tally->late)
		(void)snprintf(note, size,
			       "fell behind the schedule: mostly the time spent in a backlog");
	else if (tally->capped)
		(void)snprintf(note, size, "load capped at %.0f M/s; 1 item in %u timed",
			       RATE_MAX / 1e6, tally->stride);
	else if (tally->stride > 1)
		(void)snprintf(note, size, "1 item in %u timed", tally->stride);
	else
		note[0] = '\0';
}

/* The fitting limit of the machine: the line that carries the item, or the wake-up. */
static void
set_limit(struct bench_row *row, const struct experiment *experiment)
{
	enum bench_limit limit = experiment->waiting ? BENCH_LIMIT_FUTEX : BENCH_LIMIT_TRANSFER;

	if (experiment->body == ping_pong) {
		/* A call that waits polls for a while: the wake-up is not what limits it. */
		if (experiment->waiting)
			return;
		(void)snprintf(row->limit, sizeof row->limit, "twice %s", bench_limit_name(limit));
		row->limit_value = 2 * bench_limit(limit);
	} else if (experiment->body == open_loop || experiment->body == wake_up) {
		(void)snprintf(row->limit, sizeof row->limit, "%s", bench_limit_name(limit));
		row->limit_value = bench_limit(limit);
	}
}

static void
add_cell(const struct plan *plan, size_t s, size_t e, unsigned c, struct bench_results *results)
{
	const struct experiment *experiment = &experiments[e];
	const char *subject = plan->subjects[s]->name;
	const struct tally *tally = tally_of(plan, s, e, c);
	struct bench_row *row;
	/* A share of each subject's own saturation: who can do more is sent more, so no verdict. */
	bool own_load = experiment->body == open_loop && loads[c] > 0;
	enum bench_better better = own_load ? BENCH_NEITHER : BENCH_LOWER;
	char cell[sizeof row->cell];
	unsigned i;

	(void)snprintf(cell, sizeof cell, "%s%s %ux%u capacity=%u pin=%s%s", experiment->name,
		       experiment->body == open_loop ? "" : experiment->cell_names[c],
		       experiment->producers, experiment->consumers, CAPACITY,
		       bench_pin_name(experiment->pin),
		       experiment->body == open_loop ? experiment->cell_names[c] : "");
	if (tally->state != BENCH_OK) {
		row = bench_results_add(results, "latency", subject, cell, metric_names[P50], "ns",
					better);
		bench_results_state(results, row, tally->state, tally->note);
		return;
	}
	for (i = 0; i < experiment->metrics; i++) {
		row = bench_results_measured(results, "latency", subject, cell, metric_names[i],
					     i == RATE ? "M/s" : "ns",
					     i == RATE ? BENCH_NEITHER : better,
					     tally->samples + i * plan->rounds, tally->rounds);
		describe(tally, row->note, sizeof row->note);
		/* A quantile that so few durations cannot show is their maximum. */
		if (i < MAXIMUM && (double)tally->fewest * (1 - fractions[i]) < 1)
			(void)snprintf(row->note, sizeof row->note, "of only %ju durations a round",
				       (uintmax_t)tally->fewest);
		if (i == P50)
			set_limit(row, experiment);
	}
}

static void
add_stamp(double cost, struct bench_results *results)
{
	struct bench_row *row = bench_results_measured(results, "latency", "time stamp",
						       "one thread", "cost", "ns", BENCH_NEITHER,
						       &cost, 1);

	(void)snprintf(row->note, sizeof row->note, "%s; part of every duration here",
		       have_counter ? "time stamp counter" : "CLOCK_MONOTONIC");
}

static void
measure(const struct plan *plan)
{
	unsigned round, turns = plan->rounds * (unsigned)plan->subject_count, turn = 0;
	size_t s, e;

	for (round = 0; round < plan->rounds; round++) {
		for (s = 0; s < plan->subject_count; s++) {
			bench_report_progress(plan->options, "latency", plan->subjects[s]->name,
					      turn++, turns);
			for (e = 0; e < plan->experiment_count; e++)
				take_turn(plan, s, e, round);
		}
	}
	bench_report_progress_end(plan->options);
}

/* The subjects that are asked for. */
static int
choose(struct plan *plan)
{
	struct bench_subject *subject;
	size_t room = 0;

	for (subject = bench_subjects(); subject; subject = subject->next)
		room++;
	plan->subjects = calloc(room + 1, sizeof(void *));
	if (!plan->subjects)
		return -ENOMEM;
	for (subject = bench_subjects(); subject; subject = subject->next)
		if (bench_options_want(plan->options, subject))
			plan->subjects[plan->subject_count++] = subject;
	return 0;
}

/* Divides the time, and makes room for what will be found. */
static int
prepare(struct plan *plan, double seconds)
{
	size_t tallies = plan->subject_count * EXPERIMENTS * CELLS_MAX, i, s, e;
	double weight = 0;

	plan->experiment_count = bench_processors() < 4 ? EXPERIMENTS - 1 : EXPERIMENTS;
	/* More than once as soon as there is time enough for that. */
	plan->rounds = (unsigned)(seconds / (0.3 * (double)plan->subject_count));
	plan->rounds = plan->rounds < 1 ? 1 : plan->rounds > 5 ? 5 : plan->rounds;
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	for (s = 0; s < plan->subject_count; s++)
		for (e = 0; e < plan->experiment_count; e++)
			if (!unable(&experiments[e], plan->subjects[s]))
				weight += experiments[e].weight;
	/* The rest is for making processes, threads and schedules. */
	plan->slice = 0.85 * seconds / plan->rounds / weight;

	plan->tallies = calloc(tallies, sizeof *plan->tallies);
	plan->samples = calloc(tallies * METRICS * plan->rounds, sizeof *plan->samples);
	if (!plan->tallies || !plan->samples)
		return -ENOMEM;
	for (i = 0; i < tallies; i++) {
		plan->tallies[i].state = BENCH_ABSENT;
		plan->tallies[i].samples = plan->samples + i * METRICS * plan->rounds;
	}
	return 0;
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	struct plan plan = {.options = options};
	int rc = choose(&plan);
	size_t s, e;
	unsigned c;

	if (rc == 0 && plan.subject_count > 0) {
		rc = prepare(&plan, seconds);
		if (rc == 0) {
			calibrate();
			measure(&plan);
			for (e = 0; e < plan.experiment_count; e++)
				for (c = 0; c < experiments[e].cells; c++)
					for (s = 0; s < plan.subject_count; s++)
						add_cell(&plan, s, e, c, results);
			add_stamp(stamp_cost(), results);
		}
	}
	free(plan.samples);
	free(plan.tallies);
	free(plan.subjects);
	return rc;
}

const struct bench_suite bench_latency = {
	"latency", "open loop, ping-pong, wake-up, and push calls of more threads than processors",
	60,	   0.2,
	run,
};
