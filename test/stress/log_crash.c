/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine stops at every moment. One thread appends, reads, acknowledges and syncs on a disk in
 * memory; after every operation that changes that disk it is asked what would be left if the machine
 * stopped now: without anything that was not synced; with all of it, as when only the process ends;
 * with some of the writes, in any order; with some sectors of each. What is left is opened, and must
 * keep the promises of conveyor/log.h:
 *
 *   P1  what was said to be durable is there
 *   P2  what is there is what was appended first, in that order, with the bytes that it had
 *   P3  what was acknowledged, and said to be synced, does not come again; the rest does
 *   P4  no damage is reported, for there is none
 *
 * A half message that was prepared is undecided, or a message if it was being committed, or gone if
 * it was being rolled back, and nothing else.
 *
 * On some of these disks it goes on: more is appended, the machine stops again, and so on.
 *
 * --operations 2000   of the thread; a round is all of them
 * --losses N          disks that are tried for each operation and each way of losing
 */
/* ARGS: --operations 400 */
#include "../../lib/log_impl.h"
#include "../support/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

#define MESSAGES 8192
#define SMALL 65536
#define LARGE (UINT64_C(1) << 20)
#define OUT 64
#define LOSSES 4
#define GENERATIONS 3
#define BUFFER 16384
#define HALVES 512

/* A half message: what the user does with it, and has done. */
enum half_state {
	PREPARING,
	PREPARED,
	COMMITTING,
	COMMITTED,
	ROLLING_BACK,
	ROLLED_BACK
};

struct half {
	uint64_t id;	 /* what is in it */
	uint64_t name;	 /* the log's */
	uint32_t number; /* of the message, from COMMITTING on */
	enum half_state state;
};

/* What the user knows. The messages are numbered; the ids are what is in them. */
struct knowledge {
	uint32_t appended; /* or being appended */
	uint32_t promised; /* all before are durable */
	uint64_t ids[MESSAGES];
	bool acknowledged[MESSAGES]; /* or being */
	bool finished[MESSAGES];     /* and synced */
	struct half halves[HALVES];
	uint32_t n_halves;
};

/* A log, its disk, and what is known of it. */
struct world {
	struct disk *disk;
	struct queue_log *log;
	struct queue_log_reader *reader;
	pthread_mutex_t lock; /* of the knowledge */
	struct knowledge known;
	struct stress_random random;
	uint32_t generation;
	struct queue_log_message out[OUT];
	uint32_t out_numbers[OUT];
	int n_out;
	/* The crash that a later generation waits for; two threads change the disk. */
	pthread_mutex_t crash_lock;
	uint64_t seed, countdown;
	enum disk_loss loss;
	struct disk *crashed;
	struct knowledge before;
};

static uint64_t operations = 2000, losses = 1;
static uint64_t segment_size = SMALL;
static uint64_t crashes, next_id;

static void
on_damage(const struct queue_log_damage *damage, void *context)
{
	const struct world *world = context;

	(void)world;
	stress_check(false, "damage in %s at %" PRIu64 ", position %" PRIu64 ", %" PRIu64 " bytes",
		     damage->file, damage->offset, damage->position, damage->length);
}

/* The length and the bytes of a message follow from its id. */
static size_t
write_message(unsigned char *bytes, uint64_t id)
{
	static const size_t lengths[] = {8, 8, 8, 24, 24, 40, 100, 1000, 5000};
	struct stress_random random = {.state = id * UINT64_C(0x9e3779b97f4a7c15)};
	size_t length = lengths[stress_random_below(&random, 9)];

	memcpy(bytes, &id, sizeof id);
	for (size_t at = 8; at + 8 <= length; at += 8) {
		uint64_t word = stress_random(&random);

		memcpy(bytes + at, &word, 8);
	}
	memset(bytes + length / 8 * 8, 0x55, length % 8);
	return length;
}

static uint64_t
check_message(const struct queue_log_message *message)
{
	static _Thread_local unsigned char expected[8192];
	uint64_t id;
	size_t length;

	stress_check(message->length >= 8, "a message of %zu bytes", message->length);
	memcpy(&id, message->data, sizeof id);
	length = write_message(expected, id);
	stress_check(message->length == length && memcmp(message->data, expected, length) == 0,
		     "message %" PRIu64 " has other bytes", id);
	return id;
}

static void
open_world(struct world *world)
{
	const struct queue_log_options options = {.segment_size = segment_size,
						  .staging_size = 4 * SMALL,
						  .on_damage = on_damage,
						  .context = world};
	/* Longer than a round takes on a slow machine, so that nothing comes again by itself. */
	const struct queue_log_reader_options worker = {.lease = 3600 * QUEUE_SECOND};
	int rc = queue_impl_log_open(&world->log, "log", &options, disk_table(world->disk));

	stress_check(rc == 0, "open: %d", rc);
	rc = queue_log_reader_open(world->log, "worker", &worker, &world->reader);
	stress_check(rc == 0, "reader: %d", rc);
	world->n_out = 0;
}

/*
 * Looks through what a crash has left. `before` was known before it, `after` a little later. The
 * messages found become what is known from then on.
 */
static void
verify(struct world *world, const struct knowledge *before, const struct knowledge *after)
{
	static _Thread_local unsigned char buffer[BUFFER];
	struct queue_log_message messages[50];
	struct queue_log_reader *all;
	char name[16];
	uint32_t number = UINT32_MAX, first = 0;
	int n, rc;

	/* Another one than before the crash, which may not know yet that that one was removed. */
	(void)snprintf(name, sizeof name, "all %u", world->generation);
	rc = queue_log_reader_open(world->log, name, NULL, &all);
	stress_check(rc == 0, "reader: %d", rc);
	while ((n = queue_log_read_n(all, messages, 50, buffer, sizeof buffer, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t id = check_message(&messages[i]);

			if (number == UINT32_MAX) {
				for (number = 0;
				     number < after->appended && after->ids[number] != id; number++)
					continue;
				first = number;
			}
			stress_check(number < after->appended && after->ids[number] == id,
				     "message %" PRIu64 " instead of number %u of %u", id, number,
				     after->appended);
			number++;
		}
		stress_check(queue_log_ack_n(all, messages, n) == n, "ack");
	}
	stress_check(n == -ETIMEDOUT, "read: %d", n);
	if (number == UINT32_MAX)
		for (number = first = 0; number < after->appended && after->acknowledged[number];)
			first = ++number;
	stress_check(number >= before->promised,
		     "P1: %u were durable, there are those from %u to %u of %u", before->promised,
		     first, number, after->appended);
	for (uint32_t i = 0; i < first; i++)
		stress_check(after->acknowledged[i], "P1: number %u is gone, not acknowledged", i);
	rc = queue_log_reader_close(all);
	stress_check(rc == 0, "reader: %d", rc);
	rc = queue_log_reader_remove(world->log, name);
	stress_check(rc == 0, "remove: %d", rc);
	world->known = *after;
	world->known.appended = world->known.promised = number;
}

/* What the worker gets in the end: all that is not acknowledged, nothing that is for good. */
static void
verify_worker(struct world *world, const struct knowledge *before, const struct knowledge *after)
{
	static _Thread_local unsigned char buffer[BUFFER];
	static _Thread_local bool came[MESSAGES];
	struct queue_log_message messages[50];
	uint32_t number = 0, appended = world->known.appended;
	struct queue_log_reader_stats stats;
	int n;

	memset(came, 0, sizeof came);
	while ((n = queue_log_read_n(world->reader, messages, 50, buffer, sizeof buffer, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			uint64_t id = check_message(&messages[i]);

			while (number < appended && after->ids[number] != id)
				number++;
			stress_check(number < appended, "message %" PRIu64 " comes from nowhere",
				     id);
			stress_check(!before->finished[number],
				     "P3: number %u comes again, acknowledged and synced", number);
			came[number] = true;
		}
		stress_check(queue_log_ack_n(world->reader, messages, n) == n, "ack");
	}
	stress_check(n == -ETIMEDOUT, "read: %d", n);
	for (uint32_t i = 0; i < appended; i++)
		stress_check(came[i] || after->acknowledged[i], "number %u does not come", i);
	/* No file has gone that it is not known to have done with. */
	(void)queue_log_reader_stats(world->reader, &stats);
	stress_check(stats.expired == 0, "%" PRIu64 " bytes were gone", stats.expired);
}

/* What is undecided: which of the halves that are known. */
struct search {
	const struct knowledge *known;
	bool found[HALVES];
	uint64_t names[HALVES];
};

static int
find_half(const struct queue_log_half *half, void *context)
{
	const struct queue_log_message message = {.data = half->data, .length = half->length};
	struct search *search = context;
	uint64_t id = check_message(&message), key;
	uint32_t i = 0;

	stress_check(half->key_length == sizeof key, "a key of %zu bytes", half->key_length);
	memcpy(&key, half->key, sizeof key);
	stress_check(key == id, "half message %" PRIu64 " with key %" PRIu64, id, key);
	while (i < search->known->n_halves && search->known->halves[i].id != id)
		i++;
	stress_check(i < search->known->n_halves, "half message %" PRIu64 " from nowhere", id);
	stress_check(!search->found[i], "half message %" PRIu64 " twice", id);
	search->found[i] = true;
	search->names[i] = half->id;
	return 0;
}

/* After verify: which messages there are is known. Halves that are left become what is known. */
static void
verify_halves(struct world *world, const struct knowledge *before, const struct knowledge *after)
{
	struct search search = {.known = after};
	int rc = queue_log_undecided(world->log, find_half, &search);

	stress_check(rc == 0, "undecided: %d", rc);
	world->known.n_halves = 0;
	for (uint32_t i = 0; i < after->n_halves; i++) {
		const struct half *half = &after->halves[i];
		bool is_message = half->state >= COMMITTING && half->number < world->known.appended;
		enum half_state then = i < before->n_halves ? before->halves[i].state : PREPARING;

		if (half->state == COMMITTING || half->state == COMMITTED)
			stress_check(then < PREPARED || is_message != search.found[i],
				     "half message %" PRIu64 ": message %d, undecided %d", half->id,
				     is_message, search.found[i]);
		if (half->state == PREPARED || then == PREPARED)
			stress_check(half->state == ROLLING_BACK || half->state == ROLLED_BACK ||
					     is_message || search.found[i] || then < PREPARED,
				     "half message %" PRIu64 " is gone", half->id);
		if (then == COMMITTED || then == ROLLED_BACK)
			stress_check(!search.found[i], "half message %" PRIu64 " is back",
				     half->id);
		if (search.found[i]) {
			struct half *left = &world->known.halves[world->known.n_halves++];

			*left = *half;
			left->name = search.names[i];
			left->state = PREPARED;
		}
	}
}

static void on_change(void *context);

static void
learn(struct world *world, struct knowledge *known)
{
	pthread_mutex_lock(&world->lock);
	*known = world->known;
	pthread_mutex_unlock(&world->lock);
}

static void
append(struct world *world, bool waits)
{
	unsigned char bytes[8192];
	uint64_t id, position;
	uint32_t number;
	size_t length;
	int rc;

	pthread_mutex_lock(&world->lock);
	number = world->known.appended++;
	stress_check(number < MESSAGES, "too many messages");
	id = queue_impl_fetch_add_acq_rel(&next_id, 1);
	world->known.ids[number] = id;
	world->known.acknowledged[number] = world->known.finished[number] = false;
	pthread_mutex_unlock(&world->lock);
	length = write_message(bytes, id);
	rc = waits ? queue_log_append(world->log, bytes, length, &position)
		   : queue_log_append_async(world->log, bytes, length, &position);
	stress_check(rc == 0, "append: %d", rc);
	if (!waits)
		return;
	pthread_mutex_lock(&world->lock);
	world->known.promised = number + 1;
	pthread_mutex_unlock(&world->lock);
}

static void
set_state(struct world *world, struct half *half, enum half_state state)
{
	pthread_mutex_lock(&world->lock);
	half->state = state;
	pthread_mutex_unlock(&world->lock);
}

static void
prepare(struct world *world)
{
	unsigned char bytes[8192];
	struct half *half;
	uint64_t name;
	size_t length;
	int rc;

	if (world->known.n_halves == HALVES)
		return;
	pthread_mutex_lock(&world->lock);
	half = &world->known.halves[world->known.n_halves++];
	half->id = queue_impl_fetch_add_acq_rel(&next_id, 1);
	half->state = PREPARING;
	pthread_mutex_unlock(&world->lock);
	length = write_message(bytes, half->id);
	rc = queue_log_prepare(world->log, &half->id, sizeof half->id, bytes, length, &name);
	stress_check(rc == 0, "prepare: %d", rc);
	pthread_mutex_lock(&world->lock);
	half->name = name;
	half->state = PREPARED;
	pthread_mutex_unlock(&world->lock);
}

static void
commit(struct world *world, struct half *half)
{
	uint32_t number;
	int rc;

	pthread_mutex_lock(&world->lock);
	number = half->number = world->known.appended++;
	stress_check(number < MESSAGES, "too many messages");
	world->known.ids[number] = half->id;
	world->known.acknowledged[number] = world->known.finished[number] = false;
	half->state = COMMITTING;
	pthread_mutex_unlock(&world->lock);
	rc = queue_log_commit(world->log, half->name, NULL);
	stress_check(rc == 0, "commit: %d", rc);
	pthread_mutex_lock(&world->lock);
	world->known.promised = number + 1;
	half->state = COMMITTED;
	pthread_mutex_unlock(&world->lock);
}

/* The next one that is undecided, from a random one on. */
static void
decide(struct world *world)
{
	uint32_t n = world->known.n_halves, first, i;
	struct half *half;
	int rc;

	if (n == 0)
		return;
	first = (uint32_t)stress_random_below(&world->random, n);
	for (i = 0; i < n && world->known.halves[(first + i) % n].state != PREPARED; i++)
		continue;
	if (i == n)
		return;
	half = &world->known.halves[(first + i) % n];
	if (stress_one_in(&world->random, 2)) {
		commit(world, half);
		return;
	}
	set_state(world, half, ROLLING_BACK);
	rc = queue_log_rollback(world->log, half->name);
	stress_check(rc == 0, "rollback: %d", rc);
	set_state(world, half, ROLLED_BACK);
}

static void
read_some(struct world *world)
{
	unsigned char buffer[BUFFER];
	int room = OUT - world->n_out, n;
	struct queue_log_message *messages = world->out + world->n_out;

	if (room == 0)
		return;
	n = queue_log_read_n(world->reader, messages,
			     1 + (int)stress_random_below(&world->random, (uint64_t)room), buffer,
			     sizeof buffer, 0);
	stress_check(n > 0 || n == -ETIMEDOUT, "read: %d", n);
	for (int i = 0; i < n; i++) {
		uint64_t id = check_message(&messages[i]);
		uint32_t number = 0;

		while (number < world->known.appended && world->known.ids[number] != id)
			number++;
		stress_check(number < world->known.appended, "message %" PRIu64, id);
		stress_check(!world->known.acknowledged[number], "number %u comes again", number);
		world->out_numbers[world->n_out++] = number;
	}
}

static void
acknowledge(struct world *world)
{
	int i, rc;

	if (world->n_out == 0)
		return;
	i = (int)stress_random_below(&world->random, (uint64_t)world->n_out);
	/* Mostly the oldest, so that files become free. */
	if (!stress_one_in(&world->random, 3))
		i = 0;
	pthread_mutex_lock(&world->lock);
	world->known.acknowledged[world->out_numbers[i]] = true;
	pthread_mutex_unlock(&world->lock);
	rc = queue_log_ack(world->reader, world->out[i].position);
	stress_check(rc == 0, "ack: %d", rc);
	world->n_out--;
	memmove(world->out + i, world->out + i + 1,
		(size_t)(world->n_out - i) * sizeof *world->out);
	memmove(world->out_numbers + i, world->out_numbers + i + 1,
		(size_t)(world->n_out - i) * sizeof *world->out_numbers);
}

static void
sync_all(struct world *world)
{
	int rc = queue_log_sync(world->log, QUEUE_NEVER);

	stress_check(rc == 0, "sync: %d", rc);
	pthread_mutex_lock(&world->lock);
	world->known.promised = world->known.appended;
	memcpy(world->known.finished, world->known.acknowledged, sizeof world->known.finished);
	pthread_mutex_unlock(&world->lock);
}

static void
work(struct world *world, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t what = stress_random_below(&world->random, 23);

		if (what < 6)
			append(world, false);
		else if (what < 9)
			append(world, true);
		else if (what < 12)
			read_some(world);
		else if (what < 19)
			acknowledge(world);
		else if (what < 20)
			sync_all(world);
		else if (what < 21)
			prepare(world);
		else
			decide(world);
	}
}

static struct world *
world_new(struct disk *disk, uint32_t generation, uint64_t seed)
{
	struct world *world = calloc(1, sizeof *world);

	stress_check(world != NULL, "memory");
	world->disk = disk;
	world->generation = generation;
	world->random.state = world->seed = seed;
	(void)pthread_mutex_init(&world->lock, NULL);
	(void)pthread_mutex_init(&world->crash_lock, NULL);
	return world;
}

static void
world_free(struct world *world)
{
	int rc = queue_log_close(world->log);

	stress_check(rc == 0, "close: %d", rc);
	disk_watch(world->disk, NULL, NULL);
	disk_free(world->disk);
	pthread_mutex_destroy(&world->lock);
	pthread_mutex_destroy(&world->crash_lock);
	free(world);
}

/* The disk after a crash: it must be as it was promised, and sometimes life goes on. */
static void
try_disk(struct disk *disk, const struct knowledge *before, const struct knowledge *after,
	 uint32_t generation, uint64_t seed)
{
	struct world *world = world_new(disk, generation, seed);
	struct disk *crashed;

	(void)queue_impl_fetch_add_acq_rel(&crashes, 1);
	open_world(world);
	verify(world, before, after);
	verify_halves(world, before, after);
	if (generation == GENERATIONS || !stress_one_in(&world->random, 6)) {
		verify_worker(world, before, after);
		world_free(world);
		return;
	}
	/* It is stopped at one of the next operations, while more is done than until then. */
	memcpy(world->known.finished, before->finished, sizeof world->known.finished);
	world->countdown = 1 + stress_random_below(&world->random, 12);
	world->loss = (enum disk_loss)stress_random_below(&world->random, LOSSES);
	disk_watch(disk, on_change, world);
	for (int i = 0; i < 8; i++) {
		append(world, false);
		append(world, false);
		append(world, true);
		prepare(world);
		decide(world);
	}
	sync_all(world);
	/* It does not change any more: the crash that was taken is safe to be looked at. */
	disk_watch(disk, NULL, NULL);
	crashed = world->crashed;
	if (crashed)
		try_disk(crashed, &world->before, &world->known, generation + 1,
			 stress_random(&world->random));
	world_free(world);
}

/* By whatever thread has just changed the disk. */
static void
on_change(void *context)
{
	struct world *world = context;

	if (world->generation > 0) {
		pthread_mutex_lock(&world->crash_lock);
		if (!world->crashed && --world->countdown == 0) {
			learn(world, &world->before);
			world->crashed = disk_crash(world->disk, world->loss, world->seed);
		}
		pthread_mutex_unlock(&world->crash_lock);
		return;
	}
	for (int loss = 0; loss < LOSSES; loss++)
		for (uint64_t i = 0; i < losses; i++) {
			struct knowledge *before = malloc(2 * sizeof *before);
			uint64_t seed =
				queue_impl_fetch_add_acq_rel(&crashes, 0) * 4 + i + stress_seed;
			struct disk *crashed;

			stress_check(before != NULL, "memory");
			learn(world, &before[0]);
			crashed = disk_crash(world->disk, (enum disk_loss)loss, seed);
			learn(world, &before[1]);
			try_disk(crashed, &before[0], &before[1], 1, seed);
			free(before);
		}
}

static void
one_round(uint64_t stream)
{
	struct world *world = world_new(disk_new(), 0, stress_random_init(stream).state);

	disk_watch(world->disk, on_change, world);
	open_world(world);
	work(world, operations);
	sync_all(world);
	disk_watch(world->disk, NULL, NULL);
	world_free(world);
}

int
main(int argc, char **argv)
{
	uint64_t are_large = 0;
	const struct stress_option options[] = {
		{"operations", &operations, "of the thread, in a round", .least = 1,
		 .most = MESSAGES / 2},
		{"losses", &losses, "disks for each operation and way of losing", .least = 1,
		 .most = 100},
		{"segments", &are_large, "how large files are",
		 .words = STRESS_WORDS("small", "large")},
		{.name = NULL},
	};
	uint64_t stream = 0;

	stress_begin(argc, argv, options);
#if defined QUEUE_IMPL_TSAN
	/* Each disk takes thirty times as long. */
	operations = (operations + 15) / 16;
#elif defined __SANITIZE_ADDRESS__
	operations = (operations + 3) / 4;
#endif
	if (are_large)
		segment_size = LARGE;
	while (stress_time_is_left())
		one_round(stream++);
	printf("%" PRIu64 " crashes\n", crashes);
	return stress_end();
}
