/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this machine can do at all, without any queue: what operations cost on a line that nobody
 * else touches, what it costs to hand a line to another processor, how much can be streamed through
 * a ring at best, what the kernel asks for waking a thread, and how much time it takes away.
 */
#include "crew.h"
#include "histogram.h"
#include "item.h"
#include "suite.h"

#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define APART 128
#define ROUNDS 5
#define SLICE_MIN 0.001	     /* seconds; shorter ones say nothing */
#define CONTENDED_MAX 24     /* numbers of threads that are tried */
#define LIMIT_SAMPLES 5	     /* bench_limit: the best of so many, */
#define LIMIT_SLICE 4000000u /* of so many ns each */
#define MEASURES_MAX 64

/* What one sample of a measure says: most say one thing. */
enum gap_figure {
	GAP_COUNT,
	GAP_P99,
	GAP_P999,
	GAP_MAX,
	GAP_LOST,
	FIGURES
};

struct sample {
	double figure[FIGURES];
	uint32_t wrong;
};

struct measure {
	const char *subject, *cell, *metric, *unit;
	/* Either n repetitions of an operation, which make ns each, */
	void (*loop)(uint64_t n);
	/* or something that takes about `ns` and fills the sample. */
	void (*take)(const struct measure *measure, uint64_t ns, struct sample *sample);
	bench_crew_fn *body; /* for take */
	unsigned threads;
	enum bench_pin pin;
	unsigned weight; /* how much of the time, compared with the others */
	unsigned needs;	 /* processors */
	unsigned blocks; /* take_stream: of the ring */
	char name[40];	 /* for a subject that is made up */
};

/* ---- One thread, on a line of its own -------------------------------------------------------- */

static struct {
	uint64_t word;
	struct queue_impl_pair pair;
} own __attribute__((aligned(APART)));

/* The compiler must make the value, but need not do anything with it. */
#define USE(value) __asm__ __volatile__("" : : "r"(value))

#define LOOP(name, statement)                                                                      \
	static void name(uint64_t n)                                                               \
	{                                                                                          \
		uint64_t i;                                                                        \
                                                                                                   \
		for (i = 0; i < n; i++) {                                                          \
			statement;                                                                 \
		}                                                                                  \
	}

/* What a poll that finds nothing comes down to. */
static void
loop_load(uint64_t n)
{
	uint64_t i;

	__atomic_store_n(&own.word, 0, __ATOMIC_RELAXED);
	for (i = 0; i < n; i++)
		if (__atomic_load_n(&own.word, __ATOMIC_ACQUIRE))
			break;
}

LOOP(loop_store_load, {
	__atomic_store_n(&own.word, i, __ATOMIC_RELEASE);
	USE(__atomic_load_n(&own.word, __ATOMIC_ACQUIRE));
})
LOOP(loop_add, USE(__atomic_fetch_add(&own.word, 1, __ATOMIC_SEQ_CST)))
/* Not with 0, for which a compiler may put something else. */
LOOP(loop_or, (void)__atomic_fetch_or(&own.word, 1, __ATOMIC_SEQ_CST))
LOOP(loop_swap, USE(__atomic_exchange_n(&own.word, i, __ATOMIC_SEQ_CST)))

static void
loop_cas(uint64_t n)
{
	uint64_t i, expected = __atomic_load_n(&own.word, __ATOMIC_RELAXED);

	for (i = 0; i < n; i++)
		if (__atomic_compare_exchange_n(&own.word, &expected, expected + 1, 0,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			expected++;
}

static void
loop_cas_pair(uint64_t n)
{
	uint64_t i, low = own.pair.low, high = own.pair.high;

	for (i = 0; i < n; i++)
		if (queue_impl_cas_pair_acq_rel(&own.pair, low, high, low + 1, high + 1)) {
			low++;
			high++;
		}
}

#if defined __x86_64__
#define FENCE __asm__ __volatile__("mfence" : : : "memory")
#define LIGHT_FENCE __asm__ __volatile__("lock orq $0, (%%rsp)" : : : "memory", "cc")
#define FENCE_NAME "full fence (mfence)"
#define LIGHT_FENCE_NAME "store, locked or on the stack, load"
#else
#define FENCE __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define LIGHT_FENCE FENCE
#define FENCE_NAME "full fence"
#define LIGHT_FENCE_NAME "store, full fence, load"
#endif

LOOP(loop_fence, FENCE)
LOOP(loop_store_fence_load, {
	__atomic_store_n(&own.word, i, __ATOMIC_RELEASE);
	LIGHT_FENCE;
	USE(__atomic_load_n(&own.word, __ATOMIC_ACQUIRE));
})
LOOP(loop_pause, bench_pause())

static uint64_t
counter(void)
{
#if defined __x86_64__
	return __builtin_ia32_rdtsc();
#else
	uint64_t value;

	__asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(value));
	return value;
#endif
}

LOOP(loop_counter, USE(counter()))
LOOP(loop_clock, USE(bench_now()))
LOOP(loop_syscall, USE(syscall(SYS_getppid)))

static long
futex(uint32_t *word, int operation, uint32_t value)
{
	return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

LOOP(loop_futex_wake, USE(futex((uint32_t *)(void *)&own.word, FUTEX_WAKE, 1)))

/* An eventfd's counter, 8 bytes each way. Nothing can be said of the others when this fails. */
static void
event_write(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
		abort();
}

static void
event_read(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof count) != (ssize_t)sizeof count)
		abort();
}

static int
event_open(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd < 0)
		abort();
	return fd;
}

static void
loop_eventfd(uint64_t n)
{
	int fd = event_open();
	uint64_t i;

	for (i = 0; i < n; i++) {
		event_write(fd);
		event_read(fd);
	}
	(void)close(fd);
}

/* As many as take the time, found by doubling; the last run counts. */
static void
take_loop(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	uint64_t n = 32, took = 0;

	bench_crew_pin(measure->pin, 0);
	while (took < ns / 3) {
		uint64_t begun = bench_now();

		n *= 2;
		measure->loop(n);
		took = bench_now() - begun;
	}
	sample->figure[0] = (double)took / (double)n;
}

/* ---- Two threads, one line ------------------------------------------------------------------- */

#define TURNS 64 /* between two looks at the clock */
#define OVER UINT64_MAX

/*
 * The first thread makes the word odd, the second even again, and so on. The first ends it, when it
 * is its turn, with OVER.
 */
static struct {
	uint64_t word __attribute__((aligned(APART)));
	uint32_t futex __attribute__((aligned(APART)));
	int fds[2] __attribute__((aligned(APART)));
	uint64_t deadline;
	double one_way; /* ns */
} duel;

static void
duel_result(uint64_t begun, uint64_t rounds)
{
	duel.one_way = (double)(bench_now() - begun) / (double)(rounds * 2);
}

static uint64_t
await_other(uint64_t mine)
{
	uint64_t value;

	while ((value = __atomic_load_n(&duel.word, __ATOMIC_ACQUIRE)) == mine)
		continue;
	return value;
}

static void
duel_store(void *context, unsigned index)
{
	uint64_t begun = bench_now(), value = 0, i;

	(void)context;
	if (index == 1) {
		for (value = await_other(0); value != OVER; value = await_other(value + 1))
			__atomic_store_n(&duel.word, value + 1, __ATOMIC_RELEASE);
		return;
	}
	do {
		for (i = 0; i < TURNS; i++) {
			__atomic_store_n(&duel.word, value + 1, __ATOMIC_RELEASE);
			value = await_other(value + 1);
		}
	} while (bench_now() < duel.deadline);
	duel_result(begun, value / 2);
	__atomic_store_n(&duel.word, OVER, __ATOMIC_RELEASE);
}

/* Tries until it is its turn; false: it is over. */
static bool
cas_turn(uint64_t from)
{
	uint64_t seen = from;

	while (!__atomic_compare_exchange_n(&duel.word, &seen, from + 1, 0, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE)) {
		if (seen == OVER)
			return false;
		seen = from;
	}
	return true;
}

static void
duel_cas(void *context, unsigned index)
{
	uint64_t begun = bench_now(), value = index, i;

	(void)context;
	if (index == 1) {
		while (cas_turn(value))
			value += 2;
		return;
	}
	do {
		for (i = 0; i < TURNS; i++, value += 2)
			(void)cas_turn(value);
	} while (bench_now() < duel.deadline);
	while (__atomic_load_n(&duel.word, __ATOMIC_ACQUIRE) != value)
		continue;
	duel_result(begun, value / 2);
	__atomic_store_n(&duel.word, OVER, __ATOMIC_RELEASE);
}

static void
futex_say(uint32_t value)
{
	__atomic_store_n(&duel.futex, value, __ATOMIC_RELEASE);
	(void)futex(&duel.futex, FUTEX_WAKE, 1);
}

static uint32_t
futex_await_other(uint32_t mine)
{
	uint32_t value;

	while ((value = __atomic_load_n(&duel.futex, __ATOMIC_ACQUIRE)) == mine)
		(void)futex(&duel.futex, FUTEX_WAIT, mine);
	return value;
}

static void
duel_futex(void *context, unsigned index)
{
	uint64_t begun = bench_now(), rounds = 0;
	uint32_t value = 0;

	(void)context;
	if (index == 1) {
		for (value = futex_await_other(0); value != UINT32_MAX;
		     value = futex_await_other(value + 1))
			futex_say(value + 1);
		return;
	}
	do {
		futex_say(value + 1);
		value = futex_await_other(value + 1);
		rounds++;
	} while (bench_now() < duel.deadline);
	duel_result(begun, rounds);
	futex_say(UINT32_MAX);
}

static void
duel_eventfd(void *context, unsigned index)
{
	uint64_t begun = bench_now(), rounds = 0;

	(void)context;
	if (index == 1) {
		for (;;) {
			event_read(duel.fds[0]);
			if (__atomic_load_n(&duel.word, __ATOMIC_ACQUIRE) == OVER)
				return;
			event_write(duel.fds[1]);
		}
	}
	do {
		event_write(duel.fds[0]);
		event_read(duel.fds[1]);
		rounds++;
	} while (bench_now() < duel.deadline);
	duel_result(begun, rounds);
	__atomic_store_n(&duel.word, OVER, __ATOMIC_RELEASE);
	event_write(duel.fds[0]);
}

static void
take_duel(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	if (measure->body == duel_eventfd) {
		duel.fds[0] = event_open();
		duel.fds[1] = event_open();
	}
	duel.deadline = bench_now() + ns;
	(void)bench_crew_run(2, measure->pin, measure->body, NULL, NULL);
	sample->figure[0] = duel.one_way;
}

/* ---- Everybody adds to one word -------------------------------------------------------------- */

static struct {
	uint64_t word __attribute__((aligned(APART)));
	uint64_t total __attribute__((aligned(APART))); /* added to once, at the end */
	uint64_t begun;					/* by the first */
	uint64_t ended;					/* by the last */
	uint32_t stop __attribute__((aligned(APART)));
	uint64_t ns;
} crowd;

static void
crowd_wait(void *context)
{
	(void)context;
	bench_sleep_until(bench_now() + crowd.ns);
	__atomic_store_n(&crowd.stop, 1, __ATOMIC_RELEASE);
}

static void
crowd_add(void *context, unsigned index)
{
	uint64_t count = 0, none = 0, i;

	(void)context;
	(void)index;
	/* Not when the crew says: its own thread may be kept from looking at the clock. */
	(void)__atomic_compare_exchange_n(&crowd.begun, &none, bench_now(), 0, __ATOMIC_SEQ_CST,
					  __ATOMIC_SEQ_CST);
	do {
		for (i = 0; i < TURNS; i++)
			USE(__atomic_fetch_add(&crowd.word, 1, __ATOMIC_SEQ_CST));
		count += TURNS;
	} while (!bench_told(&crowd.stop));
	(void)__atomic_fetch_add(&crowd.total, count, __ATOMIC_SEQ_CST);
	__atomic_store_n(&crowd.ended, bench_now(), __ATOMIC_SEQ_CST);
}

static void
take_crowd(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	crowd.ns = ns;
	(void)bench_crew_run(measure->threads, measure->pin, crowd_add, crowd_wait, NULL);
	sample->figure[0] = (double)crowd.total * 1000 / (double)(crowd.ended - crowd.begun);
	sample->wrong = crowd.total != crowd.word;
}

/* ---- A stream of full lines ------------------------------------------------------------------ */

#define STREAM_BLOCK 512u /* words: 4 KiB between two looks at the other side */
#define STREAM_SMALL 16u  /* blocks: 64 KiB in all, */
#define STREAM_LARGE 256u /* and 1 MiB, as far as a second-level cache goes */

static struct {
	uint64_t words[STREAM_LARGE][STREAM_BLOCK] __attribute__((aligned(4096)));
	uint64_t written __attribute__((aligned(APART))); /* blocks */
	uint64_t read __attribute__((aligned(APART)));	  /* blocks */
	uint32_t ended __attribute__((aligned(APART)));
	uint64_t ns;
	uint64_t blocks; /* of `words` that are used */
	uint64_t sum;
	uint64_t begun_at, ended_at; /* by the writer, by the reader */
} stream;

static void
stream_write(void)
{
	uint64_t written = 0, read = 0, blocks = stream.blocks, end, i;

	stream.begun_at = bench_now();
	end = stream.begun_at + stream.ns;
	while (written % 16 != 0 || bench_now() < end) {
		uint64_t *words = stream.words[written % blocks];

		while (written - read == blocks) {
			read = __atomic_load_n(&stream.read, __ATOMIC_ACQUIRE);
			if (written - read == blocks)
				bench_pause();
		}
		for (i = 0; i < STREAM_BLOCK; i++)
			words[i] = written * STREAM_BLOCK + i;
		__atomic_store_n(&stream.written, ++written, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&stream.ended, 1, __ATOMIC_RELEASE);
}

static void
stream_read(void)
{
	uint64_t written = 0, read = 0, blocks = stream.blocks, sum = 0, i;

	for (;;) {
		const uint64_t *words = stream.words[read % blocks];

		while (written == read) {
			bool ending = bench_told(&stream.ended);

			written = __atomic_load_n(&stream.written, __ATOMIC_ACQUIRE);
			if (written != read)
				break;
			if (ending) {
				stream.sum = sum;
				stream.ended_at = bench_now();
				return;
			}
			bench_pause();
		}
		for (i = 0; i < STREAM_BLOCK; i++)
			sum += words[i];
		__atomic_store_n(&stream.read, ++read, __ATOMIC_RELEASE);
	}
}

static void
stream_body(void *context, unsigned index)
{
	(void)context;
	if (index == 0)
		stream_write();
	else
		stream_read();
}

static void
take_stream(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	uint64_t words;

	stream.ns = ns;
	stream.blocks = measure->blocks;
	memset(stream.words, 0, sizeof stream.words); /* so that the pages are there */
	(void)bench_crew_run(2, measure->pin, stream_body, NULL, NULL);
	words = stream.written * STREAM_BLOCK;
	sample->figure[0] = (double)words * 1000 / (double)(stream.ended_at - stream.begun_at);
	/* The words were 0, 1, 2 ...; of words and words - 1 one is even. */
	sample->wrong = stream.sum !=
				(words % 2 ? words * ((words - 1) / 2) : words / 2 * (words - 1)) ||
			stream.read != stream.written;
}

/* ---- The noise floor ------------------------------------------------------------------------- */

#define GAP_FROM 1000u /* ns; the clock itself is well below */

struct spinner {
	struct bench_histogram gaps;
	uint64_t lost; /* ns */
	uint64_t took; /* ns */
};

struct spinners {
	struct spinner *each;
	uint64_t ns; /* each from its own beginning */
};

static void
gap_spin(void *context, unsigned index)
{
	const struct spinners *spinners = context;
	struct spinner *spinner = &spinners->each[index];
	uint64_t begun, last;

	bench_histogram_clear(&spinner->gaps);
	begun = last = bench_now();
	while (last - begun < spinners->ns) {
		uint64_t now = bench_now();

		if (now - last >= GAP_FROM) {
			bench_histogram_add(&spinner->gaps, now - last);
			spinner->lost += now - last;
		}
		last = now;
	}
	spinner->took = last - begun;
}

static void
take_gaps(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	struct spinners spinners;
	struct bench_histogram *gaps;
	uint64_t lost = 0, took = 0;
	unsigned i;

	spinners.each = calloc(measure->threads, sizeof *spinners.each);
	gaps = malloc(sizeof *gaps);
	if (!spinners.each || !gaps)
		abort();
	bench_histogram_clear(gaps);
	spinners.ns = ns;
	(void)bench_crew_run(measure->threads, measure->pin, gap_spin, NULL, &spinners);
	for (i = 0; i < measure->threads; i++) {
		bench_histogram_merge(gaps, &spinners.each[i].gaps);
		lost += spinners.each[i].lost;
		took += spinners.each[i].took;
	}
	sample->figure[GAP_COUNT] = (double)gaps->count * 1e9 / (double)took;
	sample->figure[GAP_P99] = (double)bench_histogram_quantile(gaps, 0.99) / 1000;
	sample->figure[GAP_P999] = (double)bench_histogram_quantile(gaps, 0.999) / 1000;
	sample->figure[GAP_MAX] = (double)gaps->max / 1000;
	sample->figure[GAP_LOST] = (double)lost * 100 / (double)took;
}

static const struct {
	const char *metric, *unit;
} gap_figures[FIGURES] = {
	[GAP_COUNT] = {"gaps", "/s"},	  [GAP_P99] = {"gap p99", "us"},
	[GAP_P999] = {"gap p99.9", "us"}, [GAP_MAX] = {"longest gap", "us"},
	[GAP_LOST] = {"time lost", "%"},
};

/* ---- The list of measures -------------------------------------------------------------------- */

#define OWN_LINE(name, operation)                                                                  \
	{                                                                                          \
		.subject = (name), .cell = "a line of one's own", .metric = "time", .unit = "ns",  \
		.loop = (operation), .take = take_loop, .threads = 1, .pin = BENCH_PIN_SPREAD,     \
		.weight = 1, .needs = 1                                                            \
	}
#define ALONE(name, operation)                                                                     \
	{                                                                                          \
		.subject = (name), .cell = "one thread", .metric = "time", .unit = "ns",           \
		.loop = (operation), .take = take_loop, .threads = 1, .pin = BENCH_PIN_SPREAD,     \
		.weight = 1, .needs = 1                                                            \
	}
#define DUEL(name, play)                                                                           \
	{                                                                                          \
		.subject = (name), .cell = "two processors", .metric = "one way", .unit = "ns",    \
		.take = take_duel, .body = (play), .threads = 2, .pin = BENCH_PIN_SPREAD,          \
		.weight = 3, .needs = 2                                                            \
	}
#define DUEL_ON_ONE(name, play)                                                                    \
	{                                                                                          \
		.subject = (name), .cell = "two threads, one processor", .metric = "one way",      \
		.unit = "ns", .take = take_duel, .body = (play), .threads = 2,                     \
		.pin = BENCH_PIN_ONE, .weight = 3, .needs = 1                                      \
	}
#define STREAM(name, size)                                                                         \
	{                                                                                          \
		.subject = (name), .cell = "from one processor to another", .metric = "rate",      \
		.unit = "M/s", .take = take_stream, .body = stream_body, .threads = 2,             \
		.pin = BENCH_PIN_SPREAD, .weight = 3, .needs = 2, .blocks = (size)                 \
	}

static const struct measure load = OWN_LINE("load, in a loop", loop_load);
static const struct measure cas = OWN_LINE("compare-and-swap, 8 bytes", loop_cas);
static const struct measure clock_read = ALONE("clock_gettime(CLOCK_MONOTONIC)", loop_clock);
static const struct measure transfer = DUEL("line transfer, store and load", duel_store);
static const struct measure futex_far = DUEL("futex wake and wait", duel_futex);
static const struct measure futex_near = DUEL_ON_ONE("futex wake and wait", duel_futex);
static const struct measure stream_small = STREAM("full lines through 64 KiB", STREAM_SMALL);
static const struct measure stream_large = STREAM("full lines through 1 MiB", STREAM_LARGE);

static const struct measure others_on_own_line[] = {
	OWN_LINE("store, load", loop_store_load),
	OWN_LINE("fetch-and-add", loop_add),
	OWN_LINE("fetch-and-or, result unused", loop_or),
	OWN_LINE("swap", loop_swap),
};
static const struct measure wide_and_fences[] = {
	OWN_LINE("compare-and-swap, 16 bytes", loop_cas_pair),
	OWN_LINE(LIGHT_FENCE_NAME, loop_store_fence_load),
	OWN_LINE(FENCE_NAME, loop_fence),
};
static const struct measure alone[] = {
	ALONE("pause", loop_pause),
	ALONE("cycle counter", loop_counter),
};
static const struct measure calls[] = {
	ALONE("empty system call", loop_syscall),
	ALONE("futex wake, nobody there", loop_futex_wake),
	ALONE("eventfd write and read", loop_eventfd),
};
static const struct measure transfer_cas = DUEL("line transfer, compare-and-swap", duel_cas);
static const struct measure eventfd_far = DUEL("eventfd write and read", duel_eventfd);
static const struct measure eventfd_near = DUEL_ON_ONE("eventfd write and read", duel_eventfd);

struct list {
	struct measure measures[MEASURES_MAX];
	size_t count;
};

static void
list_add(struct list *list, const struct measure *measure, size_t n)
{
	if (list->count + n > MEASURES_MAX)
		abort();
	memcpy(&list->measures[list->count], measure, n * sizeof *measure);
	list->count += n;
}

#define LIST_ADD_ALL(list, array) list_add(list, array, sizeof(array) / sizeof *(array))

static void
list_add_crowd(struct list *list, unsigned threads)
{
	struct measure crowd_of = {
		.cell = "everybody adds to one word",
		.metric = "rate",
		.unit = "M/s",
		.take = take_crowd,
		.body = crowd_add,
		.threads = threads,
		.pin = BENCH_PIN_SPREAD,
		.weight = 2,
		.needs = threads,
	};

	(void)snprintf(crowd_of.name, sizeof crowd_of.name, "fetch-and-add, %u thread%s", threads,
		       threads == 1 ? "" : "s");
	list_add(list, &crowd_of, 1);
}

/* 1, 2, 4 and so on, and all. */
static void
list_add_crowds(struct list *list)
{
	unsigned most = bench_processors(), threads, n = 0;

	for (threads = 1; threads < most && n < CONTENDED_MAX; threads *= 2, n++)
		list_add_crowd(list, threads);
	list_add_crowd(list, most);
	if (most == 1)
		list_add_crowd(list, 2);
}

static void
list_make(struct list *list)
{
	struct measure gaps = {
		.subject = "spinning threads",
		.cell = "gaps of 1 us and more",
		.take = take_gaps,
		.body = gap_spin,
		.threads = bench_processors(),
		.pin = BENCH_PIN_SPREAD,
		.weight = 20,
		.needs = 1,
	};

	list->count = 0;
	list_add(list, &load, 1);
	LIST_ADD_ALL(list, others_on_own_line);
	list_add(list, &cas, 1);
	LIST_ADD_ALL(list, wide_and_fences);
	LIST_ADD_ALL(list, alone);
	list_add(list, &clock_read, 1);
	LIST_ADD_ALL(list, calls);
	list_add(list, &transfer, 1);
	list_add(list, &transfer_cas, 1);
	list_add(list, &futex_far, 1);
	list_add(list, &eventfd_far, 1);
	list_add(list, &futex_near, 1);
	list_add(list, &eventfd_near, 1);
	list_add(list, &stream_small, 1);
	list_add(list, &stream_large, 1);
	list_add_crowds(list);
	list_add(list, &gaps, 1);
}

static const char *
measure_name(const struct measure *measure)
{
	return measure->subject ? measure->subject : measure->name;
}

/* ---- Taking samples -------------------------------------------------------------------------- */

struct errand {
	const struct measure *measure;
	uint64_t ns;
};

static void
run_errand(void *context, void *result)
{
	const struct errand *errand = context;

	errand->measure->take(errand->measure, errand->ns, result);
}

/* In a child: it leaves this process neither pinned nor with threads. */
static enum bench_state
take_sample(const struct measure *measure, uint64_t ns, struct sample *sample)
{
	struct errand errand = {measure, ns};
	enum bench_state state;

	memset(sample, 0, sizeof *sample);
	state = bench_isolated(run_errand, &errand, sample, sizeof *sample,
			       5 + (double)ns * 10 / 1e9, NULL);
	return state == BENCH_OK && sample->wrong ? BENCH_WRONG : state;
}

/* All rounds of one measure. */
struct record {
	enum bench_state state;
	size_t n;
	double *samples[FIGURES];
};

struct records {
	struct record each[MEASURES_MAX];
	double *memory;
};

static int
records_make(struct records *records, size_t measures, unsigned rounds)
{
	size_t i, j;

	memset(records, 0, sizeof *records);
	records->memory = calloc(measures * FIGURES * rounds, sizeof *records->memory);
	if (!records->memory)
		return -ENOMEM;
	for (i = 0; i < measures; i++)
		for (j = 0; j < FIGURES; j++)
			records->each[i].samples[j] = records->memory + (i * FIGURES + j) * rounds;
	return 0;
}

static void
record_sample(struct record *record, const struct measure *measure, uint64_t ns)
{
	struct sample sample;
	enum bench_state state;
	size_t i;

	if (measure->needs > bench_processors())
		return;
	state = take_sample(measure, ns, &sample);
	if (state != BENCH_OK) {
		record->state = state;
		return;
	}
	for (i = 0; i < FIGURES; i++)
		record->samples[i][record->n] = sample.figure[i];
	record->n++;
}

static void
add_row(struct bench_results *results, const struct measure *measure, struct record *record,
	size_t figure)
{
	bool several = measure->take == take_gaps;
	struct bench_row *row =
		bench_results_measured(results, "limits", measure_name(measure), measure->cell,
				       several ? gap_figures[figure].metric : measure->metric,
				       several ? gap_figures[figure].unit : measure->unit,
				       BENCH_NEITHER, record->samples[figure], record->n);

	if (measure->needs > bench_processors())
		bench_results_state(results, row, BENCH_ABSENT, "one processor only");
	else if (record->state != BENCH_OK)
		bench_results_state(results, row, record->state, "not in every round");
}

static unsigned
total_weight(const struct list *list)
{
	unsigned weight = 0;
	size_t i;

	for (i = 0; i < list->count; i++)
		weight += list->measures[i].weight;
	return weight;
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	unsigned rounds = options->rounds ? options->rounds : ROUNDS, round, done = 0, weight;
	struct records records;
	struct list list;
	double slice;
	size_t i, j;

	list_make(&list);
	weight = total_weight(&list);
	while (!options->rounds && rounds > 1 && seconds < SLICE_MIN * weight * rounds)
		rounds--;
	slice = seconds / weight / rounds;
	if (slice < SLICE_MIN)
		slice = SLICE_MIN;
	if (records_make(&records, list.count, rounds))
		return -ENOMEM;
	for (round = 0; round < rounds; round++)
		for (i = 0; i < list.count; i++) {
			const struct measure *measure = &list.measures[i];

			bench_report_progress(options, "limits", measure_name(measure), done++,
					      rounds * (unsigned)list.count);
			record_sample(&records.each[i], measure,
				      (uint64_t)(slice * measure->weight * 1e9));
		}
	bench_report_progress_end(options);
	for (i = 0; i < list.count; i++)
		for (j = 0; j < (list.measures[i].take == take_gaps ? FIGURES : 1); j++)
			add_row(results, &list.measures[i], &records.each[i], j);
	free(records.memory);
	return 0;
}

const struct bench_suite bench_limits = {
	"limits", "what this machine can do at all, without any queue", 10, 0.06, run,
};

/* ---- What other suites compare with ---------------------------------------------------------- */

static const struct {
	const char *name;
	const struct measure *measure, *another; /* another: NULL, or what may be better */
	const struct measure *with_one;		 /* processor; NULL: no such limit */
	bool most;				 /* more is better */
} compared[BENCH_LIMITS] = {
	[BENCH_LIMIT_LOCKED] = {"one compare-and-swap", &cas, NULL, &cas, false},
	[BENCH_LIMIT_LOAD] = {"one load", &load, NULL, &load, false},
	[BENCH_LIMIT_STREAM] = {"stream of full lines", &stream_small, &stream_large, NULL, true},
	[BENCH_LIMIT_TRANSFER] = {"line transfer", &transfer, NULL, NULL, false},
	[BENCH_LIMIT_FUTEX] = {"futex wake", &futex_far, NULL, &futex_near, false},
	[BENCH_LIMIT_CLOCK] = {"clock read", &clock_read, NULL, &clock_read, false},
};

/* A limit is the best that was seen: whatever disturbs a sample makes it worse. */
static double
better_of(double a, double b, bool most)
{
	if (a <= 0 || b <= 0)
		return a > b ? a : b;
	return (a > b) == most ? a : b;
}

static double
best_of(const struct measure *measure, bool most)
{
	double best = 0;
	unsigned i;

	for (i = 0; measure && i < LIMIT_SAMPLES; i++) {
		struct sample sample;

		if (take_sample(measure, LIMIT_SLICE, &sample) == BENCH_OK)
			best = better_of(best, sample.figure[0], most);
	}
	return best;
}

static double
limit_now(enum bench_limit limit)
{
	bool most = compared[limit].most;

	if (bench_processors() == 1)
		return best_of(compared[limit].with_one, most);
	return better_of(best_of(compared[limit].measure, most),
			 best_of(compared[limit].another, most), most);
}

/* 0 when this machine has no such limit (one processor), or it could not be measured. */
double
bench_limit(enum bench_limit limit)
{
	static bool known[BENCH_LIMITS];
	static double values[BENCH_LIMITS];

	if ((unsigned)limit >= BENCH_LIMITS)
		return 0;
	if (!known[limit]) {
		values[limit] = limit_now(limit);
		known[limit] = true;
	}
	return values[limit];
}

const char *
bench_limit_name(enum bench_limit limit)
{
	return (unsigned)limit < BENCH_LIMITS ? compared[limit].name : "";
}
