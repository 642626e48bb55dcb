/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE_SPILL under many threads, with a log in a real directory. Producers push in bursts, by all the
 * calls there are, so that the queue goes to the disk and comes back all the time; consumers pop by all
 * the calls there are; somebody closes the queue, at the end or in the middle. Every item whose push
 * returned 0 is popped exactly once, by a consumer that sees each producer's in their order. Every
 * third round consumers leave early, the queue is destroyed with what is in it, and another one takes
 * up what the log has: each item was popped, or given to on_drop, or comes then.
 *
 * --behind N     so many items are pushed at first, before anything is popped; memory must not grow
 */
/* ARGS: --sync none --behind 100000 */
/* ARGS: --sync batch */
#include <conveyor/log.h>
#include <conveyor/queue.h>

#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PRODUCERS 4
#define CONSUMERS 4
#define ITEMS_MAX 20000u /* of one producer, in one round */
#define BATCH 8
#define LONG 3000	      /* bytes that some items have when they are encoded */
#define GROWTH_MAX (48 << 10) /* kilobytes; the log's memory is 4 MiB of it */

struct item {
	uint32_t producer, number;
	uint64_t round;
};

struct round {
	struct queue_bounded *queue;
	struct stress_gate gate;
	uint64_t number;
	uint32_t items; /* of each producer */
	uint32_t producing;
	bool closing; /* in the middle */
	bool leaving; /* consumers leave before it is drained */
	bool again;   /* what the log has may have come before */
};

struct party {
	struct stress_thread thread;
	struct round *round;
	uint32_t number;
};

/* Of each item: was its push successful, how often was it popped, and dropped by destroy? */
static uint8_t stored[PRODUCERS][ITEMS_MAX], popped[PRODUCERS][ITEMS_MAX],
	destroyed[PRODUCERS][ITEMS_MAX];
static struct queue_bounded *current;
static struct queue_log *queue_log;
static char directory[256];
static uint64_t all_items, all_spilled;

static void
show_state(int signal)
{
	struct queue_stats stats;
	char text[512];
	int n;

	(void)signal;
	(void)queue_stats(current, &stats);
	n = snprintf(text, sizeof text,
		     "hung: seed %" PRIu64 " depth %" PRIu64 " of %" PRIu64 " backlog %" PRIu64
		     " spilled %" PRIu64 " closed %d pushed %" PRIu64 " popped %" PRIu64
		     " not_empty %" PRIx64 "\n",
		     stress_seed, stats.depth, stats.capacity, stats.backlog, stats.spilled,
		     stats.closed, stats.pushed, stats.popped, current->not_empty.word);
	(void)!write(STDERR_FILENO, text, (size_t)n);
	_exit(1);
}

static size_t
length_of(const struct item *item)
{
	return item->number % 64 == 63 ? LONG : sizeof *item;
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *unused)
{
	size_t length = length_of(item);

	(void)unused;
	if (length <= size) {
		memset(buffer, 0, length);
		memcpy(buffer, item, sizeof(struct item));
	}
	return (ptrdiff_t)length;
}

static int
decode(const void *data, size_t length, void **item, void *unused)
{
	struct item *copy = malloc(sizeof *copy);

	(void)unused;
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, sizeof *copy);
	stress_check(length == length_of(copy), "%zu bytes", length);
	*item = copy;
	return 0;
}

static void
on_drop(void *dropped, enum queue_reason reason, void *unused)
{
	struct item *item = dropped;

	(void)unused;
	stress_check(reason == QUEUE_SPILLED || reason == QUEUE_DESTROYED, "reason %d", reason);
	if (reason == QUEUE_DESTROYED && item->producer < PRODUCERS)
		destroyed[item->producer][item->number % ITEMS_MAX]++;
	free(item);
}

static void
make_queue(struct round *round, uint64_t capacity, uint64_t high, uint64_t low)
{
	const struct queue_options options = {
		.capacity = capacity,
		.policy = QUEUE_SPILL,
		.on_drop = on_drop,
		.log = queue_log,
		.encode = encode,
		.decode = decode,
		.high = high,
		.low = low,
	};
	int rc = queue_create(&round->queue, &options);

	stress_check(rc == 0, "create: %d", rc);
	current = round->queue;
}

/* ---- Producers ------------------------------------------------------------------------------- */

static struct item *
new_item(const struct party *party, uint32_t number)
{
	struct item *item = malloc(sizeof *item);

	stress_check(item != NULL, "memory");
	item->producer = party->number;
	item->number = number;
	item->round = party->round->number;
	return item;
}

/* Some call; 0, or -EPIPE. */
static int
push_one(struct queue_bounded *queue, struct stress_random *random, struct item *item)
{
	void *pointer = item;
	int rc;

	for (;;) {
		switch (stress_random_below(random, 6)) {
		case 0:
			rc = queue_try_push(queue, item);
			break;
		case 1:
			rc = queue_push_n(queue, &pointer, 1);
			rc = rc == 1 ? 0 : rc == 0 ? -EAGAIN : rc;
			break;
		case 2:
			rc = queue_push_until(queue, item,
					      queue_now() + stress_random_below(random, 100000));
			break;
		default:
			rc = queue_push(queue, item);
			stress_check(rc != -EAGAIN && rc != -ETIMEDOUT, "%d", rc);
		}
		if (rc == 0 || rc == -EPIPE)
			return rc;
		stress_check(rc == -EAGAIN || rc == -ETIMEDOUT, "a push said %d", rc);
	}
}

static void
produce(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;
	struct stress_random random = stress_random_init(round->number * 64 + party->number);
	uint32_t close_at = round->closing && party->number == 0
				    ? (uint32_t)stress_random_below(&random, round->items)
				    : UINT32_MAX;
	uint32_t at;

	stress_gate_pass(&round->gate, PRODUCERS + CONSUMERS);
	for (at = 0; at < round->items; at++) {
		struct item *item = new_item(party, at);
		int rc;

		if (at == close_at)
			(void)queue_close(round->queue);
		/* Now it must not be touched any more, should the push succeed. */
		rc = push_one(round->queue, &random, item);
		if (rc != 0) {
			free(item);
			break;
		}
		stored[party->number][at] = 1;
		/* Pauses, in which the disk is drained. */
		if (stress_one_in(&random, 200))
			usleep((useconds_t)stress_random_below(&random, 2000));
	}
	if (queue_impl_fetch_add32_acq_rel(&round->producing, (uint32_t)-1) == 1 && !round->leaving)
		(void)queue_close(round->queue);
}

/* ---- Consumers ------------------------------------------------------------------------------- */

static void
take(const struct round *round, struct item *item, int64_t *last)
{
	stress_check(item->round == round->number, "of round %" PRIu64, item->round);
	stress_check(last[item->producer] < (int64_t)item->number,
		     "%u of producer %u after %" PRId64, item->number, item->producer,
		     last[item->producer]);
	last[item->producer] = item->number;
	popped[item->producer][item->number]++;
	stress_check(round->again || popped[item->producer][item->number] == 1, "twice: %u",
		     item->number);
	free(item);
}

static void
consume(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;
	struct queue_bounded *queue = round->queue;
	struct stress_random random = stress_random_init(round->number * 64 + 32 + party->number);
	int64_t last[PRODUCERS] = {-1, -1, -1, -1};
	void *items[BATCH];
	int n, rc, i, index;

	stress_gate_pass(&round->gate, PRODUCERS + CONSUMERS);
	do {
		n = 1;
		switch (stress_random_below(&random, 6)) {
		case 0:
			rc = queue_try_pop(queue, items);
			break;
		case 1:
			rc = queue_pop_until(queue, items,
					     queue_now() + stress_random_below(&random, 200000));
			break;
		case 2:
			/* Nobody closes the queue when they leave. */
			rc = n = round->leaving ? queue_try_pop_n(queue, items, BATCH)
						: queue_pop_n(queue, items, BATCH);
			break;
		case 3:
			rc = n = queue_try_pop_n(queue, items,
						 1 + (int)(stress_random(&random) % BATCH));
			break;
		case 4:
			rc = queue_select(&queue, 1, queue_after_ms(1), &index);
			n = 0;
			break;
		default:
			rc = queue_pop_until(queue, items, queue_after_ms(20));
		}
		if (rc < 0)
			stress_check(rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EPIPE, "%d", rc);
		for (i = 0; rc >= 0 && i < n; i++)
			take(round, items[i], last);
		if (stress_one_in(&random, 300))
			usleep((useconds_t)stress_random_below(&random, 3000));
		/* Who pushes then pushes to the log, and nobody waits for room. */
		if (round->leaving && stress_one_in(&random, 2000))
			return;
	} while (rc != -EPIPE &&
		 !(round->leaving && queue_impl_load32_acq(&round->producing) == 0));
}

/* ---- A round --------------------------------------------------------------------------------- */

/* One thread takes all that another queue has left. */
static void
take_up(struct round *round)
{
	int64_t last[PRODUCERS] = {-1, -1, -1, -1};
	void *item;
	int rc;

	round->again = true;
	make_queue(round, 64, 0, 0);
	(void)queue_close(round->queue);
	while ((rc = queue_pop(round->queue, &item)) == 0)
		take(round, item, last);
	stress_check(rc == -EPIPE, "%d", rc);
	stress_check(queue_destroy(round->queue) == 0, "busy");
}

static void
look_at_all(const struct round *round)
{
	uint32_t producer, number;

	for (producer = 0; producer < PRODUCERS; producer++) {
		for (number = 0; number < round->items; number++) {
			uint8_t came = popped[producer][number];

			if (!stored[producer][number]) {
				stress_check(came == 0, "%u of %u was refused, and came", number,
					     producer);
				continue;
			}
			stress_check(came + destroyed[producer][number] > 0, "%u of %u is lost",
				     number, producer);
			stress_check(came == 1 || round->again, "%u of %u came %u times", number,
				     producer, came);
		}
	}
}

static void
play_round(uint64_t number)
{
	static const uint64_t marks[][3] = {{1, 0, 0},	  {2, 1, 0},	{7, 0, 1},    {64, 0, 0},
					    {64, 32, 31}, {1024, 0, 0}, {4096, 0, 64}};
	static struct party producers[PRODUCERS], consumers[CONSUMERS];
	struct stress_random random = stress_random_init(UINT64_MAX - number);
	const uint64_t *mark = marks[stress_random_below(&random, sizeof marks / sizeof *marks)];
	struct round round = {.number = number, .producing = PRODUCERS};
	struct queue_stats stats;
	uint32_t i;

	memset(stored, 0, sizeof stored);
	memset(popped, 0, sizeof popped);
	memset(destroyed, 0, sizeof destroyed);
	round.items = 100 + (uint32_t)stress_random_below(&random, 3000);
	round.leaving = number % 3 == 2;
	round.closing = stress_one_in(&random, 2);
	make_queue(&round, mark[0], mark[1], mark[2]);
	if (stress_one_in(&random, 4))
		stress_check(queue_fd(round.queue) >= 0, "no descriptor");
	for (i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct party){.round = &round, .number = i};
		stress_start(&producers[i].thread, produce, &producers[i]);
	}
	for (i = 0; i < CONSUMERS; i++) {
		consumers[i] = (struct party){.round = &round, .number = i};
		stress_start(&consumers[i].thread, consume, &consumers[i]);
	}
	for (i = 0; i < PRODUCERS; i++)
		stress_join(&producers[i].thread);
	for (i = 0; i < CONSUMERS; i++)
		stress_join(&consumers[i].thread);
	(void)queue_stats(round.queue, &stats);
	all_items += stats.pushed + stats.backlog;
	all_spilled += stats.spilled;
	stress_check(stats.pushed == stats.popped + stats.depth, "%" PRIu64 " pushed",
		     stats.pushed);
	stress_check(round.leaving || (stats.depth == 0 && stats.backlog == 0),
		     "%" PRIu64 " and %" PRIu64 " left", stats.depth, stats.backlog);
	stress_check(queue_destroy(round.queue) == 0, "busy");
	if (round.leaving)
		take_up(&round);
	look_at_all(&round);
}

/* ---- Very many ------------------------------------------------------------------------------- */

#define NO_PRODUCER PRODUCERS

static struct behind {
	struct queue_bounded *queue;
	uint64_t items;
	uint64_t next[PRODUCERS];
} behind;

static void
push_many(void *argument)
{
	struct party *party = argument;
	uint64_t i;

	for (i = 0; i < behind.items / PRODUCERS; i++) {
		struct item *item = malloc(sizeof *item);
		int rc;

		stress_check(item != NULL, "memory");
		*item = (struct item){.producer = NO_PRODUCER + party->number, .round = i};
		rc = queue_push(behind.queue, item);
		stress_check(rc == 0, "push: %d", rc);
	}
}

/* They are in order even then: one thread takes them. */
static void
pop_many(void)
{
	struct item *item;
	void *raw;

	while (queue_pop(behind.queue, &raw) == 0) {
		item = raw;
		stress_check(item->round == behind.next[item->producer - NO_PRODUCER],
			     "%" PRIu64 " of %u", item->round, item->producer);
		behind.next[item->producer - NO_PRODUCER]++;
		free(item);
	}
}

static long
kilobytes(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

static void
put_many_behind(uint64_t items)
{
	struct party producers[PRODUCERS];
	struct round round = {.number = 0};
	uint64_t began = queue_now(), pushed, i;
	struct queue_stats stats;
	long before;

	make_queue(&round, 1024, 0, 0);
	behind.queue = round.queue;
	behind.items = items;
	before = kilobytes();
	for (i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct party){.number = (uint32_t)i};
		stress_start(&producers[i].thread, push_many, &producers[i]);
	}
	for (i = 0; i < PRODUCERS; i++)
		stress_join(&producers[i].thread);
	pushed = queue_now();
	(void)queue_stats(round.queue, &stats);
	stress_check(stats.depth + stats.backlog == items / PRODUCERS * PRODUCERS,
		     "%" PRIu64 " and %" PRIu64, stats.depth, stats.backlog);
	(void)queue_close(round.queue);
	pop_many();
	for (i = 0; i < PRODUCERS; i++)
		stress_check(behind.next[i] == items / PRODUCERS, "%" PRIu64 " of %" PRIu64,
			     behind.next[i], i);
	stress_check(queue_destroy(round.queue) == 0, "busy");
#if !defined __SANITIZE_ADDRESS__ && !defined QUEUE_IMPL_TSAN
	stress_check(kilobytes() - before < GROWTH_MAX, "grown by %ld kB", kilobytes() - before);
#endif
	printf("%" PRIu64 " behind: %.0f pushes, %.0f pops a second, grown by %ld kB\n", items,
	       (double)items * 1e9 / (double)(pushed - began),
	       (double)items * 1e9 / (double)(queue_now() - pushed), kilobytes() - before);
	(void)fflush(stdout);
}

static void
remove_directory(void)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		(void)closedir(files);
	(void)rmdir(directory);
}

int
main(int argc, char **argv)
{
	const char *parent = getenv("TMPDIR");
	uint64_t sync = QUEUE_LOG_NONE, items = 0, number = 0;
	const struct stress_option options[] = {
		{"sync", &sync, "when it is stored",
		 .words = STRESS_WORDS("batch", "each", "interval", "none")},
		{"behind", &items, "items that are in the log at once, at first",
		 .most = 1000000000},
		{.name = NULL},
	};
	struct queue_log_options log_options = {.segment_size = 1 << 20};
	int rc;

	stress_begin(argc, argv, options);
	log_options.sync = (enum queue_log_sync)sync;
	log_options.interval = log_options.sync == QUEUE_LOG_INTERVAL ? QUEUE_MILLISECOND : 0;
	if (items > 1000000)
		log_options.segment_size = UINT64_C(64) << 20;
	(void)snprintf(directory, sizeof directory, "%s/conveyor-spill.XXXXXX",
		       parent && *parent ? parent : "/tmp");
	stress_check(mkdtemp(directory) != NULL, "%s", directory);
	rc = queue_log_open(&queue_log, directory, &log_options);
	stress_check(rc == 0, "open: %d", rc);
	signal(SIGALRM, show_state);
	if (items > 0)
		put_many_behind(items);
	while (stress_time_is_left())
		play_round(number++);
	stress_check(queue_log_close(queue_log) == 0, "close");
	remove_directory();
	printf("%" PRIu64 " items, %" PRIu64 " of them spilled\n", all_items, all_spilled);
	return stress_end();
}
