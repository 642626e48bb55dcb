/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The durable log, on a disk. What a disk does varies from second to second, more so where others
 * use it, so the figures that count are ratios: in each round the log, what people would take
 * instead, and the bare disk take turns, the ratio is that of one round, and the median of the
 * rounds is told.
 *
 *   The bare disk   64 KiB written and synced, in a file of zeros, one piece after the other; what
 *                   a log with one producer, or with many, cannot be without. And 1 MiB written
 *                   and synced, for what is limited by bytes.
 *   Appends         Threads that each wait for their message to be on the disk; or that go on
 *                   while so many of theirs are on the way. Databases get one row a transaction,
 *                   or a thousand.
 *   A queue         A hundred messages are stored, read, and done with.
 *   Opening         A process makes a log and ends without closing it. How long it takes to open
 *                   that, beside reading the bytes that have to be looked at: the last file, and
 *                   the heads of the others; with the files in memory, and not.
 *
 * The files of a log are used again and again, as they are in a log that is drained as it is
 * filled; those of the databases grow up to a point. Before anything counts each has a turn.
 */
#include "crew.h"
#include "disk.h"
#include "item.h"
#include "place.h"
#include "store.h"
#include "suite.h"

#include <conveyor/clock.h>
#include <conveyor/log.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_S 1e9
#define MIB (UINT64_C(1) << 20)
#define LINE 128

#define LENGTH 256u /* bytes of a message, where nothing else is said */
#define LENGTH_MAX 65536u
#define PRODUCERS_MAX 16u
#define WINDOW 1024u /* messages of a producer that are on the way */
#define BATCH 100u
#define TRANSACTION 1000u
#define PIECE_SYNC ((size_t)64 << 10)
#define PIECE_STREAM ((size_t)1 << 20)
#define READ_PIECE ((size_t)256 << 10)
#define HEAD 4096 /* bytes of each file that are read when a log is opened */

#define ROOM_LEAST (256 * MIB)

#define SLICE 0.035	 /* seconds, as many as rounds leave, */
#define SLICE_LEAST 0.01 /* and at least */
#define SHARE 0.55	 /* of the time; the rest goes into opening, closing and making files */
#define ROUNDS_MAX 15
#define GROWS 30      /* seconds from which on there is time for files to be made meanwhile */
#define WARMS_UP 1    /* and for a round that does not count */
#define GROW_WEIGHT 4 /* so that there are several, */
#define GROW_FILES 8  /* so many */
#define SETTLES (10 * QUEUE_SECOND)
#define STALLS (20 * QUEUE_SECOND)
#define BOUND 60 /* seconds for a turn, besides what it is given */

/* ---- Tasks --------------------------------------------------------------------------------- */

enum task {
	RAW_SYNC,
	RAW_STREAM,
	APPEND,	   /* each waits for its own message */
	PIPELINE,  /* some messages of each are on the way */
	GROW,	   /* the same, into files that are made meanwhile */
	PASS,	   /* messages go through a reader, on one thread */
	PASS_SYNC, /* the same, and what was acknowledged is on the disk before it goes on */
	PASS_TWO,  /* a thread that appends and one that reads */
	STORE,	   /* a database: appended */
	STORE_PASS,
	OPEN,
	READ, /* what OPEN has to read */
	TASKS
};

/* What a child process is to do. */
struct order {
	enum task task;
	unsigned producers;
	unsigned batch; /* STORE: messages in a transaction */
	size_t length;
	enum queue_log_sync sync;
	unsigned files; /* OPEN, READ */
	bool cold;
	const struct bench_store *store;
	const char *directory;
	uint64_t segment;
	uint64_t ns;
};

struct finding {
	int rc;
	bool wrong;
	double figure;
	double written;	 /* bytes a message, with all that the log itself needs */
	double per_sync; /* messages */
};

/* ---- Producers ------------------------------------------------------------------------------ */

struct producer {
	uint64_t count;
	int rc;
	bool wrong;
} __attribute__((aligned(LINE)));

struct load {
	const struct order *order;
	struct queue_log *log;
	struct queue_log_reader *reader;
	void *store;
	struct producer producers[PRODUCERS_MAX];
	uint64_t taken;
	uint32_t stop __attribute__((aligned(LINE)));  /* appending */
	uint32_t ended __attribute__((aligned(LINE))); /* nothing comes any more */
};

static void
fill(char *message, size_t length, uint64_t value)
{
	memcpy(message, &value, sizeof value);
	message[length - 1] = (char)value;
}

static bool
holds(const char *message, size_t length, uint64_t value)
{
	return memcmp(message, &value, sizeof value) == 0 && message[length - 1] == (char)value;
}

static void
append_and_wait(void *context, unsigned index)
{
	struct load *load = context;
	struct producer *producer = &load->producers[index];
	size_t length = load->order->length;
	uint64_t position = 0, last = 0;
	char message[LENGTH_MAX];

	memset(message, (int)index + 1, length);
	do {
		fill(message, length, producer->count);
		producer->rc = queue_log_append(load->log, message, length, &position);
		if (producer->rc)
			return;
		producer->wrong |= producer->count > 0 && position <= last;
		last = position;
		producer->count++;
	} while (!bench_told(&load->stop));
}

static void
append_ahead(void *context, unsigned index)
{
	struct load *load = context;
	struct producer *producer = &load->producers[index];
	uint64_t positions[WINDOW], *position;
	size_t length = load->order->length;
	char message[LENGTH_MAX];

	memset(message, (int)index + 1, length);
	do {
		position = &positions[producer->count % WINDOW];
		if (producer->count >= WINDOW)
			producer->rc = queue_log_wait(load->log, *position, QUEUE_NEVER);
		fill(message, length, producer->count);
		if (producer->rc == 0)
			producer->rc = queue_log_append_async(load->log, message, length, position);
		if (producer->rc)
			return;
		producer->count++;
	} while (!bench_told(&load->stop));
	producer->rc =
		queue_log_wait(load->log, positions[(producer->count - 1) % WINDOW], QUEUE_NEVER);
}

static void
store_some(void *context, unsigned index)
{
	struct load *load = context;
	struct producer *producer = &load->producers[index];
	size_t length = load->order->length;
	unsigned n = load->order->batch, i;
	char *messages = calloc(n, length);

	producer->rc = messages ? 0 : -ENOMEM;
	while (producer->rc == 0) {
		for (i = 0; i < n; i++)
			fill(messages + i * length, length, producer->count + i);
		producer->rc = load->order->store->append(load->store, messages, length, n);
		if (producer->rc == 0)
			producer->count += n;
		if (bench_told(&load->stop))
			break;
	}
	free(messages);
}

/* ---- Through a reader ------------------------------------------------------------------------ */

/* Takes what there is, n at most: how many. */
static int
take_some(struct load *load, struct queue_log_message *messages, unsigned n, uint64_t deadline)
{
	char buffer[BATCH * LENGTH];
	int got = queue_log_read_n(load->reader, messages, (int)n, buffer, sizeof buffer, deadline);
	int i;

	for (i = 0; i < got; i++)
		load->producers[0].wrong |=
			messages[i].length != LENGTH || messages[i].attempt != 1 ||
			!holds(messages[i].data, LENGTH, load->taken + (uint64_t)i);
	if (got > 0) {
		load->producers[0].wrong |= queue_log_ack_n(load->reader, messages, got) != got;
		load->taken += (uint64_t)got;
	}
	return got;
}

static int
append_batch(struct load *load)
{
	char message[LENGTH] = {0};
	unsigned i;
	int rc = 0;

	for (i = 0; rc == 0 && i < BATCH; i++) {
		fill(message, LENGTH, load->producers[0].count);
		rc = queue_log_append_async(load->log, message, LENGTH, NULL);
		load->producers[0].count += rc == 0;
	}
	return rc;
}

static void
pass_batches(void *context, unsigned index)
{
	struct load *load = context;
	struct producer *producer = &load->producers[index];
	struct queue_log_message messages[BATCH];
	int got = 0;

	do {
		producer->rc = append_batch(load);
		while (producer->rc == 0 && load->taken < producer->count) {
			got = take_some(load, messages, BATCH, queue_now() + STALLS);
			producer->rc = got < 0 ? got : 0;
		}
		if (producer->rc == 0 && load->order->task == PASS_SYNC)
			producer->rc = queue_log_sync(load->log, QUEUE_NEVER);
	} while (producer->rc == 0 && !bench_told(&load->stop));
}

/* The second thread takes what the first one appends. */
static void
pass_across(void *context, unsigned index)
{
	struct load *load = context;
	struct queue_log_message messages[BATCH];
	uint64_t last = queue_now();
	int got;

	if (index == 0) {
		append_ahead(context, 0);
		__atomic_store_n(&load->ended, 1, __ATOMIC_RELEASE);
		return;
	}
	for (;;) {
		/* Read before the try: what was appended before it was set is there for it. */
		bool ending = bench_told(&load->ended);

		if (ending && load->taken == load->producers[0].count)
			return;
		got = take_some(load, messages, BATCH, queue_now() + QUEUE_MILLISECOND);
		if (got > 0)
			last = queue_now();
		if ((got < 0 && got != -ETIMEDOUT) || queue_now() - last > STALLS) {
			load->producers[1].rc = got;
			return;
		}
	}
}

static void
store_pass(void *context, unsigned index)
{
	struct load *load = context;
	struct producer *producer = &load->producers[index];
	const struct bench_store *store = load->order->store;
	char messages[BATCH * LENGTH] = {0};
	unsigned i;
	int got;

	do {
		for (i = 0; i < BATCH; i++)
			fill(messages + (size_t)i * LENGTH, LENGTH, producer->count + i);
		producer->rc = store->append(load->store, messages, LENGTH, BATCH);
		if (producer->rc)
			return;
		memset(messages, 0, sizeof messages);
		got = store->take(load->store, messages, LENGTH, BATCH);
		producer->rc = got < 0 ? got : 0;
		producer->wrong |= got >= 0 && got != (int)BATCH;
		for (i = 0; got == (int)BATCH && i < BATCH; i++)
			producer->wrong |=
				!holds(messages + (size_t)i * LENGTH, LENGTH, producer->count + i);
		producer->count += BATCH;
	} while (producer->rc == 0 && !producer->wrong && !bench_told(&load->stop));
}

/* ---- A turn ---------------------------------------------------------------------------------- */

static void
last(void *context)
{
	struct load *load = context;

	bench_sleep_until(bench_now() + load->order->ns);
	__atomic_store_n(&load->stop, 1, __ATOMIC_RELEASE);
}

/* Thousand messages a second. */
static void
run_load(struct load *load, bench_crew_fn *body, unsigned threads, struct finding *finding)
{
	uint64_t elapsed = bench_crew_run(threads, BENCH_PIN_NONE, body, last, load), count = 0;
	unsigned i;

	for (i = 0; i < threads; i++) {
		count += load->producers[i].count;
		finding->wrong |= load->producers[i].wrong;
		if (finding->rc == 0)
			finding->rc = load->producers[i].rc;
	}
	finding->wrong |= count == 0;
	finding->figure = (double)count * 1e-3 * NS_PER_S / (double)elapsed;
}

/* Files are made ready ahead of time; that is not what is measured. */
static int
settle(struct queue_log *log)
{
	uint64_t deadline = queue_now() + SETTLES;
	struct queue_log_stats stats;

	for (;;) {
		(void)queue_log_stats(log, &stats);
		if (stats.spares >= 2)
			return 0;
		if (queue_now() >= deadline)
			return -ETIMEDOUT;
		bench_sleep_until(bench_now() + QUEUE_MILLISECOND);
	}
}

static int
open_log(const struct order *order, struct load *load)
{
	struct queue_log_options options = {
		.sync = order->sync,
		.segment_size = order->segment,
	};
	int rc;

	if (order->sync == QUEUE_LOG_INTERVAL)
		options.interval = 10 * QUEUE_MILLISECOND;
	/* As little as can be; a file is used again when the next one is full. */
	if (order->task == APPEND || order->task == PIPELINE)
		options.retain_bytes = 1;
	rc = queue_log_open(&load->log, order->directory, &options);
	return rc ? rc : settle(load->log);
}

static int
open_reader(struct load *load)
{
	const struct queue_log_reader_options options = {.start = QUEUE_LOG_TAIL};
	int rc = queue_log_reader_remove(load->log, "bench");

	if (rc && rc != -ENOENT)
		return rc;
	rc = queue_log_reader_open(load->log, "bench", &options, &load->reader);
	return rc ? rc : queue_log_sync(load->log, QUEUE_NEVER);
}

static void
measure_log(const struct order *order, struct finding *finding)
{
	static struct load load;
	struct queue_log_stats before, after;
	bool reads = order->task == PASS || order->task == PASS_SYNC || order->task == PASS_TWO;
	int rc;

	load.order = order;
	finding->rc = open_log(order, &load);
	if (finding->rc == 0 && reads)
		finding->rc = open_reader(&load);
	if (finding->rc)
		return;
	(void)queue_log_stats(load.log, &before);
	if (order->task == APPEND)
		run_load(&load, append_and_wait, order->producers, finding);
	else if (!reads)
		run_load(&load, append_ahead, order->producers, finding);
	else if (order->task == PASS_TWO)
		run_load(&load, pass_across, 2, finding);
	else
		run_load(&load, pass_batches, 1, finding);
	(void)queue_log_stats(load.log, &after);
	finding->wrong |= reads && load.taken != after.appended - before.appended;
	finding->written =
		(double)(after.output - before.output) / (double)(after.appended - before.appended);
	finding->per_sync = (double)(after.appended - before.appended) /
			    (double)(after.syncs > before.syncs ? after.syncs - before.syncs : 1);
	rc = queue_log_close(load.log);
	if (finding->rc == 0)
		finding->rc = rc;
}

static void
measure_store(const struct order *order, struct finding *finding)
{
	static struct load load;

	load.order = order;
	finding->rc = order->store->open(&load.store, order->directory);
	if (finding->rc)
		return;
	if (order->task == STORE)
		run_load(&load, store_some, order->producers, finding);
	else
		run_load(&load, store_pass, 1, finding);
	order->store->shut(load.store);
}

/* In thousand messages a second as well: one for each sync, or as many as there are bytes for. */
static void
measure_disk(const struct order *order, struct finding *finding)
{
	size_t piece = order->task == RAW_SYNC ? PIECE_SYNC : PIECE_STREAM;
	double rate = 0;

	finding->rc = bench_disk_write(order->directory, piece, order->ns, &rate);
	finding->figure = rate * 1e-3;
	if (order->task == RAW_STREAM)
		finding->figure *= (double)piece / (double)order->length;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* Into so many files, of which the last one is full to three quarters. */
static int
fill_log(const struct order *order, struct queue_log *log)
{
	uint64_t end = (order->files - 1) * order->segment + order->segment / 4 * 3;
	uint64_t position = 0, count = 0;
	char message[LENGTH] = {0};
	int rc = 0;

	while (rc == 0 && position < end) {
		fill(message, LENGTH, count++);
		rc = queue_log_append_async(log, message, LENGTH, &position);
		if (rc == 0 && count % WINDOW == 0)
			rc = queue_log_wait(log, position, QUEUE_NEVER);
	}
	return rc ? rc : queue_log_sync(log, QUEUE_NEVER);
}

/* The process ends without closing it. */
static void
make_log(void *context, void *result)
{
	const struct order *order = context;
	struct finding *finding = result;
	struct load load = {.order = order};

	bench_signals_pass();
	finding->rc = open_log(order, &load);
	if (finding->rc == 0)
		finding->rc = fill_log(order, load.log);
	if (finding->rc == 0)
		finding->rc = settle(load.log);
}

static void
measure_open(const struct order *order, struct finding *finding)
{
	const struct queue_log_options options = {
		.segment_size = order->segment,
		.flags = QUEUE_LOG_NO_CREATE,
	};
	struct queue_log_stats stats;
	struct queue_log *log;
	uint64_t begun = bench_now();

	finding->rc = queue_log_open(&log, order->directory, &options);
	finding->figure = (double)(bench_now() - begun) * 1e-6;
	if (finding->rc)
		return;
	(void)queue_log_stats(log, &stats);
	finding->wrong = stats.segments != order->files ||
			 stats.ends < (order->files - 1) * order->segment;
}

/* The files of messages have names in the order of what is in them, 16 digits and ".log". */
static bool
is_segment(const char *name)
{
	size_t length = strlen(name);

	return length > 4 && strcmp(name + length - 4, ".log") == 0;
}

static int
read_segments(const char *directory, char *buffer, size_t size)
{
	char newest[NAME_MAX + 1] = "", path[PATH_MAX + NAME_MAX + 2];
	DIR *list = opendir(directory);
	const struct dirent *entry;
	int rc = 0;

	if (!list)
		return -errno;
	while (rc == 0 && (entry = readdir(list))) {
		if (!is_segment(entry->d_name))
			continue;
		(void)snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
		rc = bench_disk_read(path, HEAD, buffer, size);
		if (strcmp(entry->d_name, newest) > 0)
			(void)snprintf(newest, sizeof newest, "%s", entry->d_name);
	}
	(void)closedir(list);
	(void)snprintf(path, sizeof path, "%s/%s", directory, newest);
	return rc ? rc : bench_disk_read(path, UINT64_MAX, buffer, size);
}

/* Into memory that is in use already, so that it takes no time to get that. */
static void
measure_reading(const struct order *order, struct finding *finding)
{
	static char buffer[READ_PIECE];
	uint64_t begun;

	memset(buffer, 1, sizeof buffer);
	begun = bench_now();
	finding->rc = read_segments(order->directory, buffer, sizeof buffer);
	finding->figure = (double)(bench_now() - begun) * 1e-6;
}

static void
measure_one(void *context, void *result)
{
	const struct order *order = context;
	struct finding *finding = result;

	bench_signals_pass();
	switch (order->task) {
	case RAW_SYNC:
	case RAW_STREAM:
		measure_disk(order, finding);
		break;
	case STORE:
	case STORE_PASS:
		measure_store(order, finding);
		break;
	case OPEN:
	case READ:
		if (order->cold)
			finding->rc = bench_disk_forget(order->directory);
		if (finding->rc)
			return;
		if (order->task == OPEN)
			measure_open(order, finding);
		else
			measure_reading(order, finding);
		break;
	default:
		measure_log(order, finding);
	}
}

/* ---- The suite ------------------------------------------------------------------------------- */

static const char sync_subject[] = "64 KiB written and synced";
static const char stream_subject[] = "1 MiB written and synced";
static const char read_subject[] = "the same bytes read";

/* Each is measured beside the bare disk, and beside what is compared with it. */
static const struct cell {
	const char *name;
	const char *metric, *unit;
	enum bench_better better;
} cells[] = {
	{"append producers=1 bytes=256", "rate", "k/s", BENCH_HIGHER},
	{"append producers=16 bytes=256", "rate", "k/s", BENCH_HIGHER},
	{"pipelined producers=4 bytes=256 window=1024", "rate", "k/s", BENCH_HIGHER},
	{"append, read and acknowledge batch=100 bytes=256", "rate", "k/s", BENCH_HIGHER},
	{"open cold files=1", "open", "ms", BENCH_LOWER},
	{"open cold files=4", "open", "ms", BENCH_LOWER},
	{"open cold files=16", "open", "ms", BENCH_LOWER},
	{"open warm files=1", "open", "ms", BENCH_LOWER},
	{"open warm files=4", "open", "ms", BENCH_LOWER},
	{"open warm files=16", "open", "ms", BENCH_LOWER},
};

enum {
	ONE,
	SIXTEEN,
	AHEAD,
	QUEUE,
	COLD,
	WARM = COLD + 3,
	CELLS = WARM + 3
};

static const unsigned files_of[] = {1, 4, 16};

#define FILES (sizeof files_of / sizeof files_of[0])
#define FILES_MADE (1 + 4 + 16 + 2 * FILES) /* with those that are ready to be used */

static const size_t lengths[] = {64, 256, 1024, 4096, 16384, 65536};
static const size_t few_lengths[] = {64, 1024, 16384};

#define LENGTHS (sizeof lengths / sizeof lengths[0])
#define FEW_LENGTHS (sizeof few_lengths / sizeof few_lengths[0])

static const struct {
	const char *subject, *note;
	enum queue_log_sync sync;
} syncs[] = {
	{"queue_log, BATCH", NULL, QUEUE_LOG_BATCH},
	{"queue_log, EACH", NULL, QUEUE_LOG_EACH},
	{"queue_log, INTERVAL", "synced every 10 ms; an append waits for the write",
	 QUEUE_LOG_INTERVAL},
	{"queue_log, NONE", "an append waits for the write", QUEUE_LOG_NONE},
};

#define SYNCS (sizeof syncs / sizeof syncs[0])

static const struct {
	const char *name, *package;
} peers[] = {
	{"SQLite", "this program was made without libsqlite3-dev"},
	{"LMDB", "this program was made without liblmdb-dev"},
};

#define PEERS (sizeof peers / sizeof peers[0])
#define SERIES_MAX (4 * CELLS + LENGTHS * SYNCS)

struct series {
	const char *subject, *note;
	char cell[sizeof((struct bench_row *)NULL)->cell];
	const char *metric, *unit;
	enum bench_better better;
	const struct series *limit;
	struct order order;
	char directory[PATH_MAX];
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	bool failed;
	double weight;			      /* of the time */
	unsigned every;			      /* takes part in each so manieth round */
	double *samples, *written, *per_sync; /* by round; NAN: none */
	double median;
};

struct plan {
	const struct bench_options *options;
	struct bench_place place;
	double bandwidth;	  /* of the disk, bytes a second */
	uint64_t segment, opened; /* sizes of files: while messages are appended, to be opened */
	bool grows;		  /* there is time for files to be made meanwhile, */
	bool warms_up;		  /* and for a round that does not count */
	struct series series[SERIES_MAX];
	size_t count;
	unsigned rounds;
	double slice;	   /* seconds of a series in a round, by weight */
	uint64_t deadline; /* after which no round begins */
	double *samples;
};

static struct series *
add_series(struct plan *plan, const char *subject, const char *note, enum task task)
{
	struct series *series = &plan->series[plan->count++];

	series->subject = subject;
	series->note = note;
	series->state = BENCH_ABSENT;
	series->weight = 1;
	series->every = 1;
	series->order.task = task;
	series->order.length = LENGTH;
	series->order.segment = plan->segment;
	return series;
}

static struct series *
add_to_cell(struct plan *plan, int cell, const char *subject, const char *note, enum task task)
{
	struct series *series = add_series(plan, subject, note, task);

	(void)snprintf(series->cell, sizeof series->cell, "%s", cells[cell].name);
	series->metric = cells[cell].metric;
	series->unit = cells[cell].unit;
	series->better = cells[cell].better;
	return series;
}

static void
set_directory(const struct plan *plan, struct series *series, const char *name)
{
	(void)snprintf(series->directory, sizeof series->directory, "%.*s/%s", PATH_MAX - 64,
		       plan->place.path, name);
}

static struct series *
add_raw(struct plan *plan, int cell, enum task task)
{
	struct series *series = add_to_cell(plan, cell,
					    task == RAW_SYNC ? sync_subject : stream_subject,
					    "the bare disk", task);

	set_directory(plan, series, "raw");
	return series;
}

static struct series *
add_own(struct plan *plan, int cell, const char *subject, const char *note, enum task task,
	unsigned producers, const struct series *limit)
{
	struct series *series = add_to_cell(plan, cell, subject, note, task);

	series->order.producers = producers;
	series->limit = limit;
	set_directory(plan, series, task == GROW ? "new" : cell == QUEUE ? "queue" : "log");
	return series;
}

static void
add_peers(struct plan *plan, int cell, unsigned producers, unsigned batch,
	  const struct series *limit)
{
	size_t i;

	/* They are no subjects: who asks for some of those is not asking for these. */
	for (i = 0; i < PEERS && plan->options->only_count == 0; i++) {
		const struct bench_store *store = bench_store_named(peers[i].name);
		struct series *series = add_to_cell(plan, cell, peers[i].name,
						    store ? store->note : peers[i].package,
						    cell == QUEUE ? STORE_PASS : STORE);
		char name[32];

		(void)snprintf(name, sizeof name, "%s.%d", peers[i].name, cell);
		set_directory(plan, series, name);
		series->order.store = store;
		series->order.producers = producers;
		series->order.batch = batch;
		series->limit = limit;
		series->failed = !store;
	}
}

static void
add_opening(struct plan *plan, int cell, unsigned files, bool cold)
{
	struct series *read = add_to_cell(plan, cell, read_subject,
					  "the last file, and 4 KiB of each other one", READ);
	struct series *open = add_to_cell(plan, cell, "queue_log", NULL, OPEN);
	char name[32];

	(void)snprintf(name, sizeof name, "open.%u", files);
	set_directory(plan, read, name);
	set_directory(plan, open, name);
	read->order.files = open->order.files = files;
	read->order.cold = open->order.cold = cold;
	read->order.segment = open->order.segment = plan->opened;
	/* They take what they take. */
	read->weight = open->weight = 0.25;
	open->limit = read;
}

static void
add_sync(struct plan *plan, size_t i, size_t length)
{
	struct series *series = add_series(plan, syncs[i].subject, syncs[i].note, APPEND);

	(void)snprintf(series->cell, sizeof series->cell, "ways of syncing producers=1 bytes=%zu",
		       length);
	series->metric = "rate";
	series->unit = "k/s";
	series->better = BENCH_HIGHER;
	series->order.producers = 1;
	series->order.length = length;
	series->order.sync = syncs[i].sync;
	series->weight = 0.5;
	series->every = 3;
	set_directory(plan, series, "log");
}

static void
choose(struct plan *plan)
{
	const struct series *limit;
	size_t i, k;

	limit = add_raw(plan, ONE, RAW_SYNC);
	(void)add_own(plan, ONE, "queue_log", NULL, APPEND, 1, limit);
	add_peers(plan, ONE, 1, 1, limit);
	limit = add_raw(plan, SIXTEEN, RAW_SYNC);
	(void)add_own(plan, SIXTEEN, "queue_log", NULL, APPEND, 16, limit);
	add_peers(plan, SIXTEEN, 16, 1, limit);
	limit = add_raw(plan, AHEAD, RAW_STREAM);
	(void)add_own(plan, AHEAD, "queue_log", "files that are used again", PIPELINE, 4, limit);
	if (plan->grows)
		add_own(plan, AHEAD, "queue_log, new files", "files are made meanwhile", GROW, 4,
			limit)
			->weight = GROW_WEIGHT;
	add_peers(plan, AHEAD, 1, TRANSACTION, limit);
	(void)add_own(plan, QUEUE, "queue_log",
		      "one thread; acknowledgements are stored with the next batch", PASS, 1, NULL);
	(void)add_own(plan, QUEUE, "queue_log, acks synced",
		      "one thread; acknowledgements are stored before it goes on", PASS_SYNC, 1,
		      NULL);
	(void)add_own(plan, QUEUE, "queue_log, 2 threads", "one appends, one reads", PASS_TWO, 2,
		      NULL);
	add_peers(plan, QUEUE, 1, BATCH, NULL);
	for (i = 0; i < FILES; i++)
		add_opening(plan, COLD + (int)i, files_of[i], true);
	for (i = 0; i < FILES; i++)
		add_opening(plan, WARM + (int)i, files_of[i], false);
	for (i = 0; i < SYNCS; i++)
		for (k = 0; k < (plan->options->quick ? FEW_LENGTHS : LENGTHS); k++)
			add_sync(plan, i, plan->options->quick ? few_lengths[k] : lengths[k]);
}

/* ---- Time and room --------------------------------------------------------------------------- */

static int
divide(struct plan *plan, double seconds)
{
	double weight = 0, *samples;
	size_t i, k;

	for (i = 0; i < plan->count; i++)
		weight += plan->series[i].weight / plan->series[i].every;
	plan->rounds = (unsigned)(SHARE * seconds / (SLICE * weight));
	plan->rounds = plan->rounds < 1 ? 1 : plan->rounds;
	plan->rounds = plan->rounds > ROUNDS_MAX ? ROUNDS_MAX : plan->rounds;
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	plan->slice = SHARE * seconds / plan->rounds / weight;
	if (plan->slice < SLICE_LEAST)
		plan->slice = SLICE_LEAST;
	plan->samples = samples = calloc(3 * plan->count * plan->rounds + 1, sizeof *samples);
	if (!samples)
		return -ENOMEM;
	for (i = 0; i < plan->count; i++) {
		plan->series[i].samples = samples;
		plan->series[i].written = samples + plan->rounds;
		plan->series[i].per_sync = samples + 2 * plan->rounds;
		for (k = 0; k < 3 * plan->rounds; k++)
			*samples++ = (double)NAN;
		if (plan->series[i].order.task == GROW)
			plan->series[i].order.segment =
				bench_place_size(plan->bandwidth / 2, plan->slice * GROW_WEIGHT,
						 GROW_FILES, plan->place.room);
	}
	return 0;
}

/* What it can do decides how large files are, so that making them takes no longer than the rest. */
static int
look_at_disk(struct plan *plan, double seconds)
{
	char path[PATH_MAX];
	uint64_t size;
	double rate = 0;
	int rc;

	if (plan->place.room < ROOM_LEAST)
		return -ENOSPC;
	(void)snprintf(path, sizeof path, "%.*s/raw", PATH_MAX - 64, plan->place.path);
	rc = bench_disk_make(path, 4 * MIB);
	if (rc == 0)
		rc = bench_disk_write(path, PIECE_STREAM, 50 * QUEUE_MILLISECOND, &rate);
	if (rc)
		return rc;
	plan->bandwidth = rate * (double)PIECE_STREAM;
	plan->grows = seconds >= GROWS;
	plan->warms_up = seconds >= WARMS_UP;
	/* Two logs of four files each. */
	plan->segment = bench_place_size(plan->bandwidth, seconds / 8, 8, plan->place.room / 8);
	plan->opened =
		bench_place_size(plan->bandwidth, seconds / 8, FILES_MADE, plan->place.room / 8);
	size = plan->segment > 4 * MIB ? plan->segment : 4 * MIB;
	return bench_disk_make(path, size);
}

static int
make_directories(const struct plan *plan)
{
	size_t i;

	for (i = 0; i < plan->count; i++)
		if (plan->series[i].order.store && mkdir(plan->series[i].directory, 0777) != 0 &&
		    errno != EEXIST)
			return -errno;
	return 0;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

static void
fail(struct series *series, enum bench_state state, const char *note)
{
	series->state = state;
	series->failed = true;
	series->note = note;
}

static bool
succeeded(struct series *series, enum bench_state state, const struct finding *finding)
{
	if (state != BENCH_OK)
		fail(series, state, NULL);
	else if (finding->rc)
		fail(series, BENCH_ABSENT, strerror(-finding->rc));
	else if (finding->wrong)
		fail(series, BENCH_WRONG, "messages were lost, doubled, changed or out of order");
	return !series->failed;
}

/* Whoever is to open or read a log that could not be made has failed. */
static void
fail_all(struct plan *plan, const char *directory, enum bench_state state, const char *note)
{
	size_t i;

	for (i = 0; i < plan->count; i++)
		if (strcmp(plan->series[i].directory, directory) == 0)
			fail(&plan->series[i], state, note);
}

/* The logs that are to be opened; the first series that opens each makes it. */
static void
make_logs(struct plan *plan)
{
	size_t i;

	for (i = 0; i < plan->count && !bench_signals_noted(); i++) {
		struct series *series = &plan->series[i];
		struct finding finding;
		struct stat status;
		enum bench_state state;

		if (series->order.task != OPEN || series->failed ||
		    stat(series->directory, &status) == 0)
			continue;
		bench_report_progress(plan->options, "log", "logs to be opened", 0, 1);
		series->order.directory = series->directory;
		state = bench_isolated(make_log, &series->order, &finding, sizeof finding, BOUND,
				       NULL);
		if (!succeeded(series, state, &finding))
			fail_all(plan, series->directory, series->state, series->note);
	}
}

/* The round is -1 for the one that does not count. */
static void
take_turn(struct plan *plan, struct series *series, int round)
{
	struct order *order = &series->order;
	double seconds = plan->slice * series->weight;
	struct finding finding;
	enum bench_state state;

	/* What has failed once is not given the time to do it again. */
	if (series->failed || bench_signals_noted())
		return;
	if (round < 0 && seconds > SLICE)
		seconds = SLICE;
	order->ns = (uint64_t)(seconds * NS_PER_S);
	order->directory = series->directory;
	state = bench_isolated(measure_one, order, &finding, sizeof finding, BOUND + 10 * seconds,
			       NULL);
	if (order->task == GROW)
		(void)bench_remove_all(series->directory);
	/* A signal reaches the child as well. */
	if (bench_signals_noted() || !succeeded(series, state, &finding) || round < 0)
		return;
	series->state = BENCH_OK;
	series->samples[round] = finding.figure;
	if (finding.written > 0) {
		series->written[round] = finding.written;
		series->per_sync[round] = finding.per_sync;
	}
}

static bool
takes_part(const struct series *series, int round)
{
	/* A log that is to be opened was made just before, and new files are new each time. */
	if (round < 0)
		return series->order.task != OPEN && series->order.task != READ &&
		       series->order.task != GROW;
	return (unsigned)round % series->every == 0;
}

/* In each second round the other way round, so that a disk that gets slower does so for all. */
static void
measure(struct plan *plan)
{
	unsigned turns = (plan->rounds + 1) * (unsigned)plan->count, turn = 0;
	size_t i;
	int round;

	for (round = plan->warms_up ? -1 : 0; round < (int)plan->rounds; round++) {
		/* A disk that is slow to make files has fewer rounds. */
		if (round > 0 && bench_now() >= plan->deadline && !plan->options->rounds)
			break;
		for (i = 0; i < plan->count; i++) {
			struct series *series =
				&plan->series[round % 2 == 0 ? i : plan->count - 1 - i];

			bench_report_progress(plan->options, "log", series->subject, turn++, turns);
			if (takes_part(series, round))
				take_turn(plan, series, round);
		}
	}
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* Those that there are of the rounds' figures. */
static size_t
pick(const double *samples, unsigned rounds, double *picked)
{
	size_t count = 0;
	unsigned i;

	for (i = 0; i < rounds; i++)
		if (!isnan(samples[i]))
			picked[count++] = samples[i];
	return count;
}

static struct bench_row *
add_figure(const struct plan *plan, const struct series *series, const char *metric,
	   const char *unit, enum bench_better better, const double *samples,
	   struct bench_results *results)
{
	double picked[BENCH_ROUNDS_MAX];
	size_t count = pick(samples, plan->rounds, picked);

	/* Of what failed in the end, the figures before count for nothing. */
	return bench_results_measured(results, "log", series->subject, series->cell, metric, unit,
				      better, picked, series->failed ? 0 : count);
}

static void
add_rows(const struct plan *plan, struct series *series, struct bench_results *results)
{
	struct bench_row *row = add_figure(plan, series, series->metric, series->unit,
					   series->better, series->samples, results);
	char note[sizeof row->note];

	series->median = row->median;
	if (series->order.task == RAW_SYNC || series->order.task == RAW_STREAM)
		(void)snprintf(note, sizeof note, "%s, on %s%s", series->note, plan->place.system,
			       plan->place.in_memory ? ": in memory, nothing is stored" : "");
	else
		(void)snprintf(note, sizeof note, "%s", series->note ? series->note : "");
	bench_results_state(results, row, series->state, note);
	if (series->limit && series->limit->state == BENCH_OK) {
		(void)snprintf(row->limit, sizeof row->limit, "%s", series->limit->subject);
		row->limit_value = series->limit->median;
	}
	if (series->failed || isnan(series->written[0]) || series->order.length != LENGTH)
		return;
	(void)add_figure(plan, series, "written", "B", BENCH_LOWER, series->written, results);
	(void)add_figure(plan, series, "messages per sync", "", BENCH_NEITHER, series->per_sync,
			 results);
}

/* ---- Targets --------------------------------------------------------------------------------- */

/* What the log is held to: its figure, divided by that of the other in the same round. */
static const struct target {
	const char *metric;
	int cell;
	const char *subject;
	int other_cell;
	const char *other; /* NULL: what is written for each message, in bytes, by itself */
	double value;
	enum bench_better better; /* HIGHER: at least the value; LOWER: at most */
} targets[] = {
	{"1 producer : 64 KiB synced", ONE, "queue_log", ONE, sync_subject, 0.9, BENCH_HIGHER},
	{"16 producers : 64 KiB synced", SIXTEEN, "queue_log", SIXTEEN, sync_subject, 8,
	 BENCH_HIGHER},
	{"16 producers : SQLite", SIXTEEN, "queue_log", SIXTEEN, "SQLite", 10, BENCH_HIGHER},
	{"pipelined : 1 MiB synced", AHEAD, "queue_log", AHEAD, stream_subject, 0.45, BENCH_HIGHER},
	{"pipelined, new files : 1 MiB synced", AHEAD, "queue_log, new files", AHEAD,
	 stream_subject, 0.45, BENCH_HIGHER},
	{"pipelined : LMDB", AHEAD, "queue_log", AHEAD, "LMDB", 2, BENCH_HIGHER},
	{"append, read, ack : SQLite", QUEUE, "queue_log", QUEUE, "SQLite", 5, BENCH_HIGHER},
	{"append, read, ack, 2 threads : SQLite", QUEUE, "queue_log, 2 threads", QUEUE, "SQLite", 5,
	 BENCH_HIGHER},
	{"append, read, ack synced : SQLite", QUEUE, "queue_log, acks synced", QUEUE, "SQLite", 5,
	 BENCH_HIGHER},
	{"open cold : reading", COLD, "queue_log", COLD, read_subject, 1.25, BENCH_LOWER},
	{"open warm : reading", WARM, "queue_log", WARM, read_subject, 1.25, BENCH_LOWER},
	{"open of 16 files : of one", COLD + 2, "queue_log", COLD, "queue_log", 1.25, BENCH_LOWER},
	{"written, 1 producer", ONE, "queue_log", 0, NULL, 305.6, BENCH_LOWER},
	{"written, 16 producers", SIXTEEN, "queue_log", 0, NULL, 305.6, BENCH_LOWER},
	{"written, pipelined", AHEAD, "queue_log", 0, NULL, 305.6, BENCH_LOWER},
};

static const struct series *
find(const struct plan *plan, int cell, const char *subject)
{
	size_t i;

	for (i = 0; i < plan->count; i++)
		if (strcmp(plan->series[i].cell, cells[cell].name) == 0 &&
		    strcmp(plan->series[i].subject, subject) == 0)
			return plan->series[i].state == BENCH_OK ? &plan->series[i] : NULL;
	return NULL;
}

static void
add_target(const struct plan *plan, const struct target *target, struct bench_results *results)
{
	const struct series *series = find(plan, target->cell, target->subject);
	const struct series *other = target->other ? find(plan, target->other_cell, target->other)
						   : series;
	double ratios[BENCH_ROUNDS_MAX];
	char note[sizeof((struct bench_row *)NULL)->note];
	struct bench_row *row;
	unsigned i;
	size_t count;
	bool met;

	if (!series || !other)
		return;
	for (i = 0; i < plan->rounds; i++)
		ratios[i] = target->other ? series->samples[i] / other->samples[i]
					  : series->written[i];
	count = pick(ratios, plan->rounds, ratios);
	row = bench_results_measured(results, "log", "queue_log", "targets", target->metric,
				     target->other ? "x" : "B", target->better, ratios, count);
	met = target->better == BENCH_HIGHER ? row->median >= target->value
					     : row->median <= target->value;
	(void)snprintf(note, sizeof note, "target at %s %g: %s",
		       target->better == BENCH_HIGHER ? "least" : "most", target->value,
		       met ? "met" : "missed");
	if (count > 0)
		bench_results_state(results, row, BENCH_OK, note);
	(void)snprintf(row->limit, sizeof row->limit, "target");
	row->limit_value = target->value;
}

static void
add_all_rows(struct plan *plan, struct bench_results *results)
{
	size_t i;

	for (i = 0; i < plan->count; i++)
		add_rows(plan, &plan->series[i], results);
	for (i = 0; i < sizeof targets / sizeof *targets; i++)
		add_target(plan, &targets[i], results);
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int
measure_all(struct plan *plan, double seconds, struct bench_results *results)
{
	int rc;

	plan->deadline = bench_now() + (uint64_t)(seconds * NS_PER_S);
	rc = look_at_disk(plan, seconds);
	if (rc)
		return rc;
	choose(plan);
	rc = divide(plan, seconds);
	if (rc == 0)
		rc = make_directories(plan);
	if (rc == 0) {
		make_logs(plan);
		measure(plan);
		if (!bench_signals_noted())
			add_all_rows(plan, results);
	}
	free(plan->samples);
	return rc;
}

/* A log is no subject; it is measured when queues that wait are. */
static bool
is_wanted(const struct bench_options *options)
{
	const struct bench_subject *subject = bench_subject_named("bounded");

	return subject && bench_options_want(options, subject);
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	static struct plan plan;
	int rc, removed;

	memset(&plan, 0, sizeof plan);
	plan.options = options;
	if (!is_wanted(options))
		return 0;
	bench_signals_hold();
	rc = bench_place_make(&plan.place, options->directory);
	if (rc) {
		(void)fprintf(stderr, "queue-bench: %s: %s\n", plan.place.path, strerror(-rc));
	} else {
		rc = measure_all(&plan, seconds, results);
		bench_report_progress_end(options);
		removed = bench_remove_all(plan.place.path);
		if (removed)
			(void)fprintf(stderr, "queue-bench: %s: cannot be removed: %s\n",
				      plan.place.path, strerror(-removed));
	}
	/* Which ends the program, if there was one. */
	bench_signals_release();
	return rc;
}

const struct bench_suite bench_log = {
	"log", "a durable log: appends, reading, opening, beside databases and the disk", 60, 0.15,
	run,
};
