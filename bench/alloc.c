/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages that producers allocate and consumers free, the pattern that allocators like least: what
 * one thread allocates another gives back. Through a queue_ring, with the allocators a program can
 * choose from, and without allocating at all: in messages that lie ready, and with free messages
 * going back through a second ring.
 *
 * jemalloc must not take the place of malloc in this program, or the figures of malloc would be
 * jemalloc's. So libjemalloc is linked after the C library, which makes malloc the C library's and
 * leaves mallocx and sdallocx to jemalloc. Whether that is so is looked at when the suite runs.
 */
#include "crew.h"
#include "item.h"
#include "suite.h"

#include <conveyor/alloc.h>
#include <conveyor/ring.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#define ROUNDS 5
#define SLICE_MIN 0.004 /* seconds */
#define WARM_UP 0.2	/* of the slice, before counting begins */
#define CAPACITY 256
#define BATCH 32	 /* a push or pop of one message costs more than many an allocation */
#define LYING_READY 512u /* messages of each producer: more than are ever under way */
#define ALIGNMENT 16	 /* what malloc gives */

/* Not there when the program was made without jemalloc. */
#pragma weak queue_allocator_jemalloc

struct cell {
	unsigned producers, consumers;
	size_t size;
};

static const struct cell cells[] = {
	{1, 1, 64}, {1, 1, 256}, {1, 1, 1500}, {4, 4, 64}, {4, 4, 256}, {4, 4, 1500},
};

#define CELLS (sizeof cells / sizeof *cells)
#define THREADS_MAX 4

/* ---- Where messages come from ---------------------------------------------------------------- */

/*
 * A message has its value in the first 8 bytes, and once more in the last 8, whatever lies between
 * them. Those that lie ready are used in turn; whether one is in use stands elsewhere, so that a
 * consumer, which clears it, does not write to the message.
 */
struct ready {
	unsigned char *memory;
	uint64_t next;
	uint32_t busy[LYING_READY] __attribute__((aligned(128)));
};

struct source {
	const char *name;
	const char *note;
	const struct queue_allocator *allocator; /* NULL: one of those below */
	bool goes_back;				 /* free messages return through a ring */
};

struct flow {
	const struct source *source;
	const struct cell *cell;
	double slice; /* seconds */
	/* set by the child */
	struct queue_ring *ring;
	struct queue_ring *free; /* goes_back */
	struct ready ready[THREADS_MAX];
	size_t stride;
	double rate; /* million messages a second */
	uint32_t stop_producing, stop_consuming;
	uint32_t producing; /* producers that have not ended */
	struct lane {
		uint64_t count, sum;
		uint64_t wrong;
	} __attribute__((aligned(128))) produced[THREADS_MAX], consumed[THREADS_MAX];
};

static void *
plain_malloc(void *context, size_t size, size_t alignment)
{
	(void)context;
	(void)alignment;
	return malloc(size);
}

static void
plain_free(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	(void)size;
	(void)alignment;
	free(memory);
}

static const struct queue_allocator plain = {plain_malloc, plain_free, NULL};

/* NULL: none is free right now. */
static inline void *
take_ready(struct flow *flow, unsigned index)
{
	struct ready *ready = &flow->ready[index];
	uint64_t place = ready->next % LYING_READY;

	if (__atomic_load_n(&ready->busy[place], __ATOMIC_ACQUIRE))
		return NULL;
	__atomic_store_n(&ready->busy[place], 1, __ATOMIC_RELAXED);
	ready->next++;
	return ready->memory + place * flow->stride;
}

/* Whose it is follows from where it lies. */
static inline void
give_ready(struct flow *flow, void *message)
{
	size_t place = (size_t)((unsigned char *)message - flow->ready[0].memory) / flow->stride;

	__atomic_store_n(&flow->ready[place / LYING_READY].busy[place % LYING_READY], 0,
			 __ATOMIC_RELEASE);
}

static inline void *
take_message(struct flow *flow, unsigned index)
{
	const struct source *source = flow->source;
	void *message = NULL;

	if (source->allocator) {
		message = source->allocator->allocate(source->allocator->context, flow->cell->size,
						      ALIGNMENT);
		if (!message)
			abort();
		return message;
	}
	if (!source->goes_back)
		return take_ready(flow, index);
	return queue_ring_try_pop(flow->free, &message) == 0 ? message : NULL;
}

static inline void
give_message(struct flow *flow, void *message)
{
	const struct source *source = flow->source;

	if (source->allocator)
		source->allocator->release(source->allocator->context, message, flow->cell->size,
					   ALIGNMENT);
	else if (!source->goes_back)
		give_ready(flow, message);
	else if (queue_ring_try_push(flow->free, message) != 0)
		abort(); /* there are no more messages than it has room for */
}

static void
write_message(const struct flow *flow, void *message, uint64_t value)
{
	memcpy(message, &value, sizeof value);
	memcpy((unsigned char *)message + flow->cell->size - sizeof value, &value, sizeof value);
}

static uint64_t
read_message(const struct flow *flow, const void *message, uint64_t *wrong)
{
	uint64_t value, again;

	memcpy(&value, message, sizeof value);
	memcpy(&again, (const unsigned char *)message + flow->cell->size - sizeof again,
	       sizeof again);
	*wrong += value != again;
	return value;
}

/* ---- Producers and consumers ----------------------------------------------------------------- */

/* As many as there are, BATCH at most; returns how many. */
static ptrdiff_t
make_batch(struct flow *flow, unsigned index, uint64_t count, void **messages)
{
	ptrdiff_t n;

	for (n = 0; n < BATCH; n++) {
		messages[n] = take_message(flow, index);
		if (!messages[n])
			break;
		write_message(flow, messages[n], bench_value(index, count + (uint64_t)n));
	}
	return n;
}

/* Until all are in, or it is over; returns how many are. */
static ptrdiff_t
push_batch(struct flow *flow, void *const *messages, ptrdiff_t n)
{
	unsigned tries = 0;
	ptrdiff_t done = 0;

	while (done < n) {
		ptrdiff_t pushed = queue_ring_push_n(flow->ring, messages + done, n - done);

		if (pushed > 0) {
			done += pushed;
			tries = 0;
			continue;
		}
		bench_pace(&tries);
		if (bench_told(&flow->stop_producing))
			break;
	}
	return done;
}

static void
produce(struct flow *flow, unsigned index)
{
	struct lane *lane = &flow->produced[index];
	uint64_t count = 0, sum = 0;
	void *messages[BATCH];
	unsigned tries = 0;

	while (!bench_told(&flow->stop_producing)) {
		ptrdiff_t n = make_batch(flow, index, count, messages), done, i;

		if (n == 0) {
			bench_pace(&tries);
			continue;
		}
		tries = 0;
		done = push_batch(flow, messages, n);
		for (i = 0; i < done; i++)
			sum += bench_value(index, count + (uint64_t)i);
		for (; i < n; i++)
			give_message(flow, messages[i]);
		count += (uint64_t)done;
	}
	lane->count = count;
	lane->sum = sum;
	/* Whoever is last has seen all pushes of the others. */
	if (__atomic_sub_fetch(&flow->producing, 1, __ATOMIC_ACQ_REL) == 0)
		__atomic_store_n(&flow->stop_consuming, 1, __ATOMIC_RELEASE);
}

static void
consume(struct flow *flow, unsigned index)
{
	struct lane *lane = &flow->consumed[index];
	uint64_t count = 0;
	void *messages[BATCH];
	unsigned tries = 0;

	for (;;) {
		/* Read before the try: what was pushed before it was set is there for the try. */
		bool ending = bench_told(&flow->stop_consuming);
		ptrdiff_t n = queue_ring_pop_n(flow->ring, messages, BATCH), i;

		for (i = 0; i < n; i++) {
			lane->sum += read_message(flow, messages[i], &lane->wrong);
			give_message(flow, messages[i]);
		}
		if (n > 0) {
			count += (uint64_t)n;
			/* Looked at in between by who takes the time. */
			__atomic_store_n(&lane->count, count, __ATOMIC_RELAXED);
			tries = 0;
			continue;
		}
		if (ending)
			return;
		bench_pace(&tries);
	}
}

static void
body(void *context, unsigned index)
{
	struct flow *flow = context;

	if (index < flow->cell->producers)
		produce(flow, index);
	else
		consume(flow, index - flow->cell->producers);
}

static uint64_t
consumed_so_far(const struct flow *flow)
{
	uint64_t count = 0;
	unsigned i;

	for (i = 0; i < flow->cell->consumers; i++)
		count += __atomic_load_n(&flow->consumed[i].count, __ATOMIC_RELAXED);
	return count;
}

static void
take_time(void *context)
{
	struct flow *flow = context;
	uint64_t begun, count, took;

	bench_sleep_until(bench_now() + (uint64_t)(flow->slice * WARM_UP * 1e9));
	begun = bench_now();
	count = consumed_so_far(flow);
	bench_sleep_until(begun + (uint64_t)(flow->slice * 1e9));
	count = consumed_so_far(flow) - count;
	took = bench_now() - begun;
	flow->rate = (double)count * 1000 / (double)took;
	__atomic_store_n(&flow->stop_producing, 1, __ATOMIC_RELEASE);
}

/* What lies ready: of each producer for itself, or all of it in the ring of free messages. */
static void
lay_ready(struct flow *flow)
{
	uint64_t all = (uint64_t)LYING_READY * flow->cell->producers, i;
	unsigned char *memory;

	flow->stride = (flow->cell->size + 63) / 64 * 64;
	memory = aligned_alloc(64, flow->stride * all);
	if (!memory || queue_ring_create(&flow->free, all, 0, NULL))
		abort();
	memset(memory, 0, flow->stride * all);
	for (i = 0; i < flow->cell->producers; i++)
		flow->ready[i].memory = memory + i * LYING_READY * flow->stride;
	for (i = 0; flow->source->goes_back && i < all; i++)
		if (queue_ring_try_push(flow->free, memory + i * flow->stride) != 0)
			abort();
}

struct outcome {
	double rate;
	uint32_t wrong;
};

static void
check(const struct flow *flow, struct outcome *outcome)
{
	uint64_t count = 0, sum = 0, wrong = 0;
	unsigned i;

	for (i = 0; i < THREADS_MAX; i++) {
		count += flow->produced[i].count - flow->consumed[i].count;
		sum += flow->produced[i].sum - flow->consumed[i].sum;
		wrong += flow->consumed[i].wrong;
	}
	outcome->wrong = count != 0 || sum != 0 || wrong != 0;
}

/* In a child, so that each allocator begins afresh; what is left of it goes with the child. */
static void
run_isolated(void *context, void *result)
{
	struct flow *flow = context;
	struct outcome *outcome = result;

	if (queue_ring_create(&flow->ring, CAPACITY, 0, NULL))
		abort();
	if (!flow->source->allocator)
		lay_ready(flow);
	flow->producing = flow->cell->producers;
	(void)bench_crew_run(flow->cell->producers + flow->cell->consumers, BENCH_PIN_SPREAD, body,
			     take_time, flow);
	outcome->rate = flow->rate;
	check(flow, outcome);
}

/* ---- Which allocators there are -------------------------------------------------------------- */

/* The file that a function comes from, or NULL. */
static const char *
origin(const char *function)
{
	void *address = dlsym(RTLD_DEFAULT, function);
	Dl_info info;

	return address && dladdr(address, &info) ? info.dli_fname : NULL;
}

static bool
malloc_is_the_c_librarys(void)
{
	const char *allocator = origin("malloc"), *libc = origin("getpid");

	return !allocator || !libc || strcmp(allocator, libc) == 0;
}

static void
jemalloc_version(char *text, size_t size)
{
	int (*control)(const char *, void *, size_t *, void *, size_t);
	void *address = dlsym(RTLD_DEFAULT, "mallctl");
	const char *version = "";
	size_t length = sizeof(void *);

	memcpy(&control, &address, sizeof control);
	if (address && control("version", &version, &length, NULL, 0) != 0)
		version = "";
	(void)snprintf(text, size, "mallocx and sdallocx, jemalloc %.*s",
		       (int)strcspn(version, "-"), version);
}

#define SOURCES_MAX 5

struct sources {
	struct source list[SOURCES_MAX];
	char libc[64], memalign[96], jemalloc[96];
	const char *absent[SOURCES_MAX]; /* why, or NULL */
};

static void
find_sources(struct sources *sources)
{
	const char *replaced =
		malloc_is_the_c_librarys() ? NULL : "malloc is not the C library's in this process";
	const struct queue_allocator *jemalloc = &queue_allocator_jemalloc;

#ifdef __GLIBC__
	(void)snprintf(sources->libc, sizeof sources->libc, "glibc %s", gnu_get_libc_version());
#else
	(void)snprintf(sources->libc, sizeof sources->libc, "the C library's");
#endif
	(void)snprintf(sources->memalign, sizeof sources->memalign, "posix_memalign and free, %s",
		       sources->libc);
	sources->list[0] = (struct source){"messages in turn", "allocates nothing: they lie ready",
					   NULL, false};
	sources->list[1] = (struct source){"ring of free messages",
					   "allocates nothing: they go back through a queue_ring",
					   NULL, true};
	sources->list[2] = (struct source){"malloc", sources->libc, &plain, false};
	sources->list[3] = (struct source){"queue_allocator_libc", sources->memalign,
					   &queue_allocator_libc, false};
	sources->list[4] =
		(struct source){"queue_allocator_jemalloc", sources->jemalloc, jemalloc, false};
	sources->absent[0] = sources->absent[1] = NULL;
	sources->absent[2] = sources->absent[3] = replaced;
	sources->absent[4] = jemalloc ? NULL : "made without jemalloc";
	jemalloc_version(sources->jemalloc, sizeof sources->jemalloc);
}

/* ---- Rounds and rows ------------------------------------------------------------------------- */

struct record {
	enum bench_state state;
	size_t n;
	double *samples;
};

static void
one_sample(struct record *record, const struct source *source, const struct cell *cell,
	   double slice)
{
	enum bench_state state;
	struct outcome outcome;
	struct flow flow;

	memset(&flow, 0, sizeof flow);
	memset(&outcome, 0, sizeof outcome);
	flow.source = source;
	flow.cell = cell;
	flow.slice = slice;
	state = bench_isolated(run_isolated, &flow, &outcome, sizeof outcome, 5 + slice * 10, NULL);
	if (state == BENCH_OK && outcome.wrong)
		state = BENCH_WRONG;
	if (state == BENCH_OK)
		record->samples[record->n++] = outcome.rate;
	else
		record->state = state;
}

static void
add_row(struct bench_results *results, const struct sources *sources, size_t source,
	const struct cell *cell, struct record *record)
{
	struct bench_row *row;
	char name[80];

	(void)snprintf(name, sizeof name, "%ux%u size=%zu capacity=%d batch=%d pin=spread",
		       cell->producers, cell->consumers, cell->size, CAPACITY, BATCH);
	row = bench_results_measured(results, "alloc", sources->list[source].name, name, "rate",
				     "M/s", BENCH_HIGHER, record->samples, record->n);
	if (sources->absent[source])
		bench_results_state(results, row, BENCH_ABSENT, sources->absent[source]);
	else
		bench_results_state(results, row,
				    record->state != BENCH_OK ? record->state : row->state,
				    sources->list[source].note);
}

/* In a cell, what allocators can reach is the best that was reached without allocating. */
static void
add_limits(struct bench_results *results, const struct sources *sources, size_t from)
{
	struct bench_row *rows = &results->rows[from];
	double limit = 0;
	size_t i;

	for (i = 0; i < SOURCES_MAX; i++)
		if (!sources->list[i].allocator && rows[i].state == BENCH_OK &&
		    rows[i].median > limit)
			limit = rows[i].median;
	for (i = 0; i < SOURCES_MAX; i++)
		if (sources->list[i].allocator && rows[i].state == BENCH_OK && limit > 0) {
			(void)snprintf(rows[i].limit, sizeof rows[i].limit, "no allocation");
			rows[i].limit_value = limit;
		}
}

static void
add_rows(struct bench_results *results, const struct sources *sources, struct record *records)
{
	size_t i, j;

	for (i = 0; i < CELLS; i++) {
		size_t from = results->count;

		for (j = 0; j < SOURCES_MAX; j++)
			add_row(results, sources, j, &cells[i], &records[i * SOURCES_MAX + j]);
		add_limits(results, sources, from);
	}
}

static void
all_rounds(const struct bench_options *options, const struct sources *sources, unsigned rounds,
	   double slice, struct record *records)
{
	unsigned round, done = 0;
	size_t i;

	for (round = 0; round < rounds; round++)
		for (i = 0; i < CELLS * SOURCES_MAX; i++) {
			const struct source *source = &sources->list[i % SOURCES_MAX];

			bench_report_progress(options, "alloc", source->name, done++,
					      rounds * (unsigned)(CELLS * SOURCES_MAX));
			if (!sources->absent[i % SOURCES_MAX])
				one_sample(&records[i], source, &cells[i / SOURCES_MAX], slice);
		}
	bench_report_progress_end(options);
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	unsigned rounds = options->rounds ? options->rounds : ROUNDS;
	unsigned all = (unsigned)(CELLS * SOURCES_MAX);
	struct record records[CELLS * SOURCES_MAX];
	struct sources sources;
	double slice, *samples;
	size_t i;

	while (!options->rounds && rounds > 1 && seconds < SLICE_MIN * all * rounds)
		rounds--;
	slice = seconds / all / rounds / (1 + WARM_UP);
	if (slice < SLICE_MIN)
		slice = SLICE_MIN;
	samples = calloc((size_t)all * rounds, sizeof *samples);
	if (!samples)
		return -ENOMEM;
	memset(records, 0, sizeof records);
	for (i = 0; i < all; i++)
		records[i].samples = samples + i * rounds;
	memset(&sources, 0, sizeof sources);
	find_sources(&sources);
	all_rounds(options, &sources, rounds, slice, records);
	add_rows(results, &sources, records);
	free(samples);
	return 0;
}

const struct bench_suite bench_alloc = {
	"alloc", "messages allocated by producers and freed by consumers", 15, 0.04, run,
};
