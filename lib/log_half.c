/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Half messages: a message and a transaction elsewhere happen both or not at all. The message is
 * stored first, where no reader sees it; then the transaction is made; then the message is committed
 * or rolled back. Who stops in between leaves a message of which the transaction tells, when it is
 * looked for, what is to become of it. This is known as transactional messages (Apache RocketMQ); it
 * is two-phase commit with the log as a participant that asks (Gray, Notes on Data Base Operating
 * Systems, 1978).
 *
 *   PREPARE    0   8  id: the position where it was first
 *              8   8  when that was, nanoseconds since 1970
 *             16   4  how often it was asked for
 *             20   4  1: it is parked
 *             24      the key, as long as aux says, and the message
 *
 *   COMMIT     0   8  id
 *              8      the message, once more: so it is delivered in its new place, and what was
 *                     prepared is not needed any more
 *
 *   ROLLBACK   0   8  id
 *
 *   CHECKED    0   8  id
 *              8   4  how often it was asked for
 *             12   4  1: it is parked
 *
 * An undecided one keeps the files from its PREPARE on. So that it does not keep them for ever, it is
 * written again at the end when the log has grown. A decision is made with the lock
 * held up to the moment when its record has its place: so none is written again after it.
 */
#include "log_impl.h"

#include "alloc_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONGEST_INTERVAL (3600 * QUEUE_SECOND)
/* When a decision could not be written, it is asked for again after so long. */
#define TRY_AGAIN QUEUE_SECOND
#define TABLE_MIN 64
/* So many are looked for at once. */
#define SOME 64

struct queue_impl_log_half {
	struct queue_impl_log_half *chain; /* in the table */
	struct queue_impl_log_half *before, *behind;
	struct queue_impl_log_half *next_decided;
	uint64_t id;
	uint64_t at;	     /* where it is */
	uint64_t moved_to;   /* where it was written again; 0: it was not */
	uint64_t decided_at; /* where that is; 0: it is not decided */
	uint64_t due;
	uint64_t size; /* of its record's data */
	uint32_t checks;
	bool is_parked;
	bool is_counted; /* in the figures, until its decision is stored */
};

/* Set on the checker's thread. */
static _Thread_local const struct queue_log *checks_for;

bool
queue_impl_log_is_checker(const struct queue_log *log)
{
	return checks_for == log;
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void
set_due(struct queue_impl_log_half *half, uint64_t from_now)
{
	uint64_t now = queue_now();

	half->due = from_now < QUEUE_NEVER - now ? now + from_now : QUEUE_NEVER;
}

/*
 * The table and the list, under the lock.
 */

/* Where it is in the table, or would be. */
static struct queue_impl_log_half **
place_of(struct queue_impl_log_halves *halves, uint64_t id)
{
	uint64_t hash = id * UINT64_C(0x9e3779b97f4a7c15) >> 32;
	struct queue_impl_log_half **place = &halves->table[hash & (halves->table_size - 1)];

	while (*place && (*place)->id != id)
		place = &(*place)->chain;
	return place;
}

static struct queue_impl_log_half *
find(struct queue_impl_log_halves *halves, uint64_t id)
{
	return halves->table_size > 0 ? *place_of(halves, id) : NULL;
}

static struct queue_impl_log_half *
find_undecided(struct queue_impl_log_halves *halves, uint64_t id)
{
	struct queue_impl_log_half *half = find(halves, id);

	return half && half->decided_at == 0 ? half : NULL;
}

/* A larger table where one is needed. */
static int
grow(struct queue_log *log)
{
	const struct queue_allocator *allocator = log->allocator;
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half **old = halves->table, *half;
	size_t size = halves->table_size, bytes;

	if (size > halves->linked)
		return 0;
	size = size > 0 ? 2 * size : TABLE_MIN;
	bytes = size * sizeof(struct queue_impl_log_half *);
	halves->table = allocator->allocate(allocator->context, bytes, sizeof(void *));
	if (!halves->table) {
		halves->table = old;
		return -ENOMEM;
	}
	memset(halves->table, 0, bytes);
	if (old)
		allocator->release(allocator->context, old,
				   halves->table_size * sizeof(struct queue_impl_log_half *),
				   sizeof(void *));
	halves->table_size = size;
	for (half = halves->first; half; half = half->behind) {
		half->chain = NULL;
		*place_of(halves, half->id) = half;
	}
	return 0;
}

/* Behind the last one that is before it. */
static void
link_half(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half)
{
	struct queue_impl_log_half *before = halves->last;

	while (before && before->at > half->at)
		before = before->before;
	half->before = before;
	half->behind = before ? before->behind : halves->first;
	*(before ? &before->behind : &halves->first) = half;
	*(half->behind ? &half->behind->before : &halves->last) = half;
}

static void
unlink_half(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half)
{
	*(half->before ? &half->before->behind : &halves->first) = half->behind;
	*(half->behind ? &half->behind->before : &halves->last) = half->before;
}

static struct queue_impl_log_half *
half_new(struct queue_log *log)
{
	const struct queue_allocator *allocator = log->allocator;
	struct queue_impl_log_half *half = allocator->allocate(
		allocator->context, sizeof *half, _Alignof(struct queue_impl_log_half));

	if (half)
		memset(half, 0, sizeof *half);
	return half;
}

static void
half_free(struct queue_log *log, struct queue_impl_log_half *half)
{
	log->allocator->release(log->allocator->context, half, sizeof *half,
				_Alignof(struct queue_impl_log_half));
}

static void
add(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half)
{
	half->chain = NULL;
	*place_of(halves, half->id) = half;
	link_half(halves, half);
	half->is_counted = true;
	halves->undecided++;
	halves->linked++;
	halves->bytes += queue_impl_log_extent(half->size);
	halves->parked += half->is_parked;
}

static void
set_parked(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half, bool is_parked)
{
	halves->parked += (uint64_t)is_parked - (uint64_t)half->is_parked;
	half->is_parked = is_parked;
}

/* What was decided is stored; it stays where it is until that is durable. */
static void
discount(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half)
{
	if (!half->is_counted)
		return;
	half->is_counted = false;
	halves->undecided--;
	halves->bytes -= queue_impl_log_extent(half->size);
	set_parked(halves, half, false);
}

static void
drop(struct queue_log *log, struct queue_impl_log_half *half)
{
	discount(&log->halves, half);
	log->halves.linked--;
	*place_of(&log->halves, half->id) = half->chain;
	unlink_half(&log->halves, half);
	half_free(log, half);
}

static void
set_decided(struct queue_impl_log_halves *halves, struct queue_impl_log_half *half, uint64_t at)
{
	half->decided_at = at;
	*(halves->decided ? &halves->decided_last->next_decided : &halves->decided) = half;
	halves->decided_last = half;
}

/* What has become durable makes those that are decided go, and the one in front move. */
static void
settle(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;
	uint64_t durable = queue_impl_load_rlx(&log->durable); /* relaxed: the committer's own */
	struct queue_impl_log_half *half;

	while ((half = halves->decided) && half->decided_at < durable) {
		halves->decided = half->next_decided;
		drop(log, half);
	}
	while ((half = halves->first) && half->moved_to > 0 && half->moved_to < durable) {
		unlink_half(halves, half);
		half->at = half->moved_to;
		half->moved_to = 0;
		link_half(halves, half);
	}
}

/*
 * The oldest is two segments old, and four times as much was written since they were written again
 * as that takes; so it is never more than a fifth of what is written.
 */
static bool
must_move(struct queue_log *log)
{
	const struct queue_impl_log_halves *halves = &log->halves;
	uint64_t tail = queue_impl_load_rlx(&log->tail); /* relaxed: a number */

	return halves->first && halves->first->decided_at == 0 && halves->first->moved_to == 0 &&
	       tail - halves->first->at > log->segment + larger(log->segment, 4 * halves->bytes) &&
	       tail >= halves->next_move;
}

uint64_t
queue_impl_log_halves_kept(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;
	uint64_t kept;

	pthread_mutex_lock(&halves->lock);
	settle(log);
	kept = halves->first ? halves->first->at : UINT64_MAX;
	if (must_move(log))
		pthread_cond_signal(&halves->changed);
	pthread_mutex_unlock(&halves->lock);
	return kept;
}

void
queue_impl_log_half_figures(struct queue_log *log, struct queue_log_stats *out)
{
	pthread_mutex_lock(&log->halves.lock);
	out->undecided = log->halves.undecided;
	out->parked = log->halves.parked;
	pthread_mutex_unlock(&log->halves.lock);
}

/*
 * Recovery.
 */

void
queue_impl_log_halves_forget(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;

	while (halves->first)
		drop(log, halves->first);
	halves->decided = NULL;
}

static int
restore_prepared(struct queue_log *log, const struct queue_impl_log_record *record, uint64_t id)
{
	struct queue_impl_log_half *half = find(&log->halves, id);
	uint32_t checks, parked;

	memcpy(&checks, record->data + 16, 4);
	memcpy(&parked, record->data + 20, 4);
	if (half) {
		unlink_half(&log->halves, half);
		half->at = record->position;
		half->checks = checks;
		set_parked(&log->halves, half, parked != 0);
		link_half(&log->halves, half);
		return 0;
	}
	if (grow(log) < 0)
		return -ENOMEM;
	half = half_new(log);
	if (!half)
		return -ENOMEM;
	half->id = id;
	half->at = record->position;
	half->size = record->size;
	half->checks = checks;
	half->is_parked = parked != 0;
	add(&log->halves, half);
	return 0;
}

int
queue_impl_log_half_restore(struct queue_log *log, const struct queue_impl_log_record *record)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;
	uint32_t parked;
	uint64_t id;

	memcpy(&id, record->data, 8);
	if (record->kind == QUEUE_IMPL_LOG_PREPARE)
		return restore_prepared(log, record, id);
	half = find(halves, id);
	if (!half)
		return 0;
	if (record->kind == QUEUE_IMPL_LOG_CHECKED) {
		memcpy(&half->checks, record->data + 8, 4);
		memcpy(&parked, record->data + 12, 4);
		set_parked(halves, half, parked != 0);
		return 0;
	}
	drop(log, half);
	return 0;
}

/*
 * What was prepared, from the file.
 */

struct prepared {
	struct queue_impl_log_scan scan;
	struct queue_impl_log_record record;
	int file;
};

static void
unload(struct queue_log *log, struct prepared *prepared)
{
	if (prepared->file >= 0)
		log->disk->close(log->disk->context, prepared->file);
	queue_impl_log_scan_fini(&prepared->scan);
}

static int
read_at(struct queue_log *log, uint64_t at, uint64_t size, struct prepared *prepared)
{
	struct queue_impl_log_segment segment;

	unload(log, prepared);
	prepared->file = -1;
	if (!queue_impl_log_segment_at(log, at, &segment))
		return -ENOENT;
	prepared->file = queue_impl_log_open_file(log, segment.base, QUEUE_IMPL_DISK_READ);
	if (prepared->file < 0)
		return prepared->file;
	queue_impl_log_scan_file(&prepared->scan, prepared->file, segment.base, segment.end,
				 segment.salt);
	queue_impl_log_scan_until(&prepared->scan, at + queue_impl_log_extent(size));
	return queue_impl_log_scan_record(&prepared->scan, at, &prepared->record);
}

/* It cannot be read any more. With QUEUE_LOG_SALVAGE it is none from now on. */
static int
pass_damage(struct queue_log *log, uint64_t id, uint64_t at, uint64_t size)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_segment segment;
	struct queue_impl_log_half *half;

	if (!queue_impl_log_segment_at(log, at, &segment))
		return -EILSEQ;
	if (queue_impl_log_report(log, segment.base, QUEUE_IMPL_LOG_HEADER + (at - segment.base),
				  queue_impl_log_extent(size)) < 0)
		return -EILSEQ;
	pthread_mutex_lock(&halves->lock);
	half = find_undecided(halves, id);
	if (half)
		drop(log, half);
	pthread_mutex_unlock(&halves->lock);
	return -EILSEQ;
}

/*
 * Has it in *prepared, to be unloaded whatever comes back. While it is read, it may be decided, its
 * file used again; or be written again elsewhere.
 */
static int
load(struct queue_log *log, uint64_t id, struct prepared *prepared)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;
	uint64_t at = UINT64_MAX, last, size = 0, found;
	int rc = -EILSEQ;

	queue_impl_log_scan_init(&prepared->scan, log->disk, log->allocator);
	prepared->file = -1;
	for (;;) {
		last = at;
		pthread_mutex_lock(&halves->lock);
		half = find_undecided(halves, id);
		if (half) {
			at = half->at;
			size = half->size;
		}
		pthread_mutex_unlock(&halves->lock);
		if (!half)
			return -ENOENT;
		if (at == last)
			return rc == -EILSEQ ? pass_damage(log, id, at, size) : -EIO;
		rc = queue_impl_log_wait_stored(log, at);
		if (rc == 0)
			rc = read_at(log, at, size, prepared);
		if (rc == 0) {
			memcpy(&found, prepared->record.data, 8);
			if (prepared->record.kind == QUEUE_IMPL_LOG_PREPARE && found == id)
				return 0;
			rc = -EILSEQ;
		}
		if (rc != -EILSEQ && rc != -ENOENT)
			return rc;
	}
}

static void
describe(const struct prepared *prepared, uint32_t checks, bool is_parked,
	 struct queue_log_half *out)
{
	const struct queue_impl_log_record *record = &prepared->record;

	memcpy(&out->id, record->data, 8);
	memcpy(&out->prepared, record->data + 8, 8);
	out->key = record->data + QUEUE_IMPL_LOG_PREPARED;
	out->key_length = record->aux;
	out->data = record->data + QUEUE_IMPL_LOG_PREPARED + record->aux;
	out->length = record->size - QUEUE_IMPL_LOG_PREPARED - record->aux;
	out->checks = checks;
	out->parked = is_parked;
}

/*
 * What users call.
 */

uint64_t
queue_log_half_max(const struct queue_log *log)
{
	return queue_log_length_max(log) - QUEUE_IMPL_LOG_PREPARED;
}

/* There is a table, and who looks after what will be in it. */
static int
get_ready(struct queue_log *log)
{
	int rc;

	pthread_mutex_lock(&log->halves.lock);
	rc = grow(log);
	pthread_mutex_unlock(&log->halves.lock);
	return rc < 0 ? rc : queue_impl_log_halves_start(log);
}

/* Gives it its place in the log, and in the table, before the committer can get behind it. */
static int
place(struct queue_log *log, struct queue_impl_log_half *half)
{
	struct queue_impl_log_halves *halves = &log->halves;
	int rc;

	for (;;) {
		pthread_mutex_lock(&halves->lock);
		rc = queue_impl_log_reserve(log, half->size, QUEUE_IMPL_LOG_FOR_MESSAGES,
					    &half->at);
		if (rc == 0) {
			half->id = half->at;
			set_due(half, log->options.check_after);
			add(halves, half);
			if (log->options.check && half->due < halves->wakes_at)
				pthread_cond_signal(&halves->changed);
		}
		pthread_mutex_unlock(&halves->lock);
		if (rc != -EAGAIN)
			return rc;
		(void)queue_impl_log_wait_for_room(log, half->size, QUEUE_IMPL_LOG_FOR_MESSAGES,
						   QUEUE_NEVER);
	}
}

static int
prepare(struct queue_log *log, unsigned char *bytes, size_t size, size_t key_length, uint64_t *id)
{
	struct queue_impl_log_half *half = half_new(log);
	uint64_t at;
	int rc;

	if (!half)
		return -ENOMEM;
	half->size = size;
	rc = place(log, half);
	if (rc < 0) {
		half_free(log, half);
		queue_impl_add_rlx(&log->refused, 1);
		return rc;
	}
	at = half->id;
	memcpy(bytes, &at, 8);
	queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_PREPARE, (uint32_t)key_length, bytes, size);
	*id = at;
	return queue_impl_log_wait_stored(log, at);
}

int
queue_log_prepare(struct queue_log *log, const void *key, size_t key_length, const void *data,
		  size_t length, uint64_t *id)
{
	const struct queue_allocator *allocator;
	uint64_t now = queue_impl_log_time();
	unsigned char *bytes;
	size_t size;
	int rc;

	if (!log || !id || (!key && key_length > 0) || (!data && length > 0) ||
	    key_length > QUEUE_LOG_KEY_MAX)
		return -EINVAL;
	if (length > queue_log_half_max(log) - key_length)
		return -EMSGSIZE;
	rc = get_ready(log);
	if (rc < 0)
		return rc;
	allocator = log->allocator;
	size = QUEUE_IMPL_LOG_PREPARED + key_length + length;
	bytes = allocator->allocate(allocator->context, size, sizeof(uint64_t));
	if (!bytes)
		return -ENOMEM;
	memset(bytes, 0, QUEUE_IMPL_LOG_PREPARED);
	memcpy(bytes + 8, &now, 8);
	if (key_length > 0)
		memcpy(bytes + QUEUE_IMPL_LOG_PREPARED, key, key_length);
	if (length > 0)
		memcpy(bytes + QUEUE_IMPL_LOG_PREPARED + key_length, data, length);
	rc = prepare(log, bytes, size, key_length, id);
	allocator->release(allocator->context, bytes, size, sizeof(uint64_t));
	return rc;
}

/* Writes the record by which it is decided. A second one comes too late: -ENOENT. */
static int
decide(struct queue_log *log, uint64_t id, enum queue_impl_log_kind kind, const void *data,
       size_t size, uint64_t *position)
{
	struct queue_impl_log_halves *halves = &log->halves;
	enum queue_impl_log_use use = kind == QUEUE_IMPL_LOG_ROLLBACK ? QUEUE_IMPL_LOG_FOR_OWN
								      : QUEUE_IMPL_LOG_FOR_HALVES;
	struct queue_impl_log_half *half;
	int rc;

	for (;;) {
		pthread_mutex_lock(&halves->lock);
		half = find_undecided(halves, id);
		rc = half ? queue_impl_log_reserve(log, size, use, position) : -ENOENT;
		if (rc == 0) {
			queue_impl_log_publish(log, *position, kind, 0, data, size);
			set_decided(halves, half, *position);
		}
		pthread_mutex_unlock(&halves->lock);
		if (rc != -EAGAIN)
			break;
		(void)queue_impl_log_wait_for_room(log, size, use, QUEUE_NEVER);
	}
	if (rc < 0)
		return rc;
	rc = queue_impl_log_wait_stored(log, *position);
	pthread_mutex_lock(&halves->lock);
	half = find(halves, id);
	if (half && rc == 0)
		discount(halves, half);
	pthread_mutex_unlock(&halves->lock);
	return rc;
}

int
queue_log_commit(struct queue_log *log, uint64_t id, uint64_t *position)
{
	struct prepared prepared;
	uint64_t at = 0;
	int rc;

	if (!log)
		return -EINVAL;
	rc = load(log, id, &prepared);
	if (rc == 0) {
		const struct queue_impl_log_record *record = &prepared.record;
		size_t before = QUEUE_IMPL_LOG_PREPARED + record->aux - QUEUE_IMPL_LOG_COMMITTED;
		unsigned char *bytes =
			prepared.scan.buffer + (record->data - prepared.scan.buffer) + before;
		size_t size = record->size - before;

		/* The id in front of the message, over what of it is not needed. */
		memcpy(bytes, &id, QUEUE_IMPL_LOG_COMMITTED);
		rc = decide(log, id, QUEUE_IMPL_LOG_COMMIT, bytes, size, &at);
		if (rc == 0) {
			queue_impl_add_rlx(&log->appended, 1);
			queue_impl_add_rlx(&log->bytes, size - QUEUE_IMPL_LOG_COMMITTED);
		}
	}
	unload(log, &prepared);
	if (position && at > 0)
		*position = at;
	return rc;
}

int
queue_log_rollback(struct queue_log *log, uint64_t id)
{
	uint64_t at;

	if (!log)
		return -EINVAL;
	return decide(log, id, QUEUE_IMPL_LOG_ROLLBACK, &id, sizeof id, &at);
}

/*
 * With the lock. What is to be remembered of it; if there is no room, it is not, and counts from
 * before after a restart.
 */
static void
note_checks(struct queue_log *log, const struct queue_impl_log_half *half)
{
	unsigned char bytes[16] = {0};
	uint64_t at;

	memcpy(bytes, &half->id, 8);
	memcpy(bytes + 8, &half->checks, 4);
	bytes[12] = half->is_parked;
	if (queue_impl_log_reserve(log, sizeof bytes, QUEUE_IMPL_LOG_FOR_OWN, &at) == 0)
		queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_CHECKED, 0, bytes, sizeof bytes);
}

int
queue_log_unpark(struct queue_log *log, uint64_t id)
{
	struct queue_impl_log_halves *halves;
	struct queue_impl_log_half *half;
	int rc = -ENOENT;

	if (!log)
		return -EINVAL;
	halves = &log->halves;
	pthread_mutex_lock(&halves->lock);
	half = find_undecided(halves, id);
	if (half && half->is_parked) {
		set_parked(halves, half, false);
		half->checks = 0;
		half->due = 0;
		note_checks(log, half);
		pthread_cond_signal(&halves->changed);
		rc = 0;
	}
	pthread_mutex_unlock(&halves->lock);
	return rc;
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* Those that are undecided now, the oldest first; an array that is the caller's. */
static int
list(struct queue_log *log, uint64_t **ids, size_t *n, size_t *capacity)
{
	const struct queue_allocator *allocator = log->allocator;
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;

	*n = 0;
	pthread_mutex_lock(&halves->lock);
	*capacity = halves->undecided + 1;
	*ids = allocator->allocate(allocator->context, *capacity * sizeof **ids, sizeof **ids);
	for (half = *ids ? halves->first : NULL; half; half = half->behind)
		if (half->decided_at == 0)
			(*ids)[(*n)++] = half->id;
	pthread_mutex_unlock(&halves->lock);
	if (!*ids)
		return -ENOMEM;
	/* Those that were written again lie behind younger ones. */
	qsort(*ids, *n, sizeof **ids, compare);
	return 0;
}

/* What it is like now, if it still is undecided. */
static int
look_at(struct queue_log *log, uint64_t id, struct prepared *prepared, struct queue_log_half *out)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;
	int rc = load(log, id, prepared);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&halves->lock);
	half = find_undecided(halves, id);
	if (half)
		describe(prepared, half->checks, half->is_parked, out);
	pthread_mutex_unlock(&halves->lock);
	return half ? 0 : -ENOENT;
}

int
queue_log_undecided(struct queue_log *log,
		    int (*visit)(const struct queue_log_half *half, void *context), void *context)
{
	struct queue_log_half half;
	struct prepared prepared;
	size_t i, n, capacity;
	uint64_t *ids;
	int rc, damaged = 0;

	if (!log || !visit)
		return -EINVAL;
	rc = list(log, &ids, &n, &capacity);
	for (i = 0; rc == 0 && i < n; i++) {
		rc = look_at(log, ids[i], &prepared, &half);
		if (rc == 0) {
			rc = visit(&half, context);
		} else if (rc == -ENOENT || rc == -EILSEQ) {
			/* Those behind a damaged one are shown as well. */
			damaged = rc == -EILSEQ ? rc : damaged;
			rc = 0;
		}
		unload(log, &prepared);
	}
	if (ids)
		log->allocator->release(log->allocator->context, ids, capacity * sizeof *ids,
					sizeof *ids);
	return rc == 0 ? damaged : rc;
}

/*
 * The checker.
 */

/* Until the next time it is asked for: each is twice as long as the one before. */
static uint64_t
interval(const struct queue_log *log, uint32_t checks)
{
	uint64_t length = log->options.check_after, longest = larger(length, LONGEST_INTERVAL);

	for (; checks > 1 && length < longest; checks--)
		length *= 2;
	return length < longest ? length : longest;
}

static void
note_unknown(struct queue_log *log, uint64_t id)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;

	pthread_mutex_lock(&halves->lock);
	half = find_undecided(halves, id);
	if (half) {
		half->checks++;
		set_due(half, interval(log, half->checks));
		if (half->checks >= log->options.check_limit)
			set_parked(halves, half, true);
		note_checks(log, half);
	}
	pthread_mutex_unlock(&halves->lock);
}

/* It could not be asked for, or not be done what was said. */
static void
put_off(struct queue_log *log, uint64_t id)
{
	struct queue_impl_log_half *half;

	pthread_mutex_lock(&log->halves.lock);
	half = find_undecided(&log->halves, id);
	if (half)
		set_due(half, larger(TRY_AGAIN, log->options.check_after));
	pthread_mutex_unlock(&log->halves.lock);
}

static void
check(struct queue_log *log, uint64_t id)
{
	enum queue_log_verdict verdict = QUEUE_LOG_UNKNOWN;
	struct queue_log_half half;
	struct prepared prepared;
	int rc = look_at(log, id, &prepared, &half);

	if (rc == 0)
		verdict = log->options.check(&half, log->options.context);
	unload(log, &prepared);
	if (rc == 0 && verdict == QUEUE_LOG_COMMIT)
		rc = queue_log_commit(log, id, NULL);
	else if (rc == 0 && verdict == QUEUE_LOG_ROLLBACK)
		rc = queue_log_rollback(log, id);
	else if (rc == 0)
		note_unknown(log, id);
	if (rc < 0)
		put_off(log, id);
}

/* With the lock: some that are due. *next is when the next one is. */
static size_t
find_due(struct queue_log *log, uint64_t ids[SOME], uint64_t *next)
{
	uint64_t now = queue_now();
	struct queue_impl_log_half *half;
	size_t n = 0;

	*next = QUEUE_NEVER;
	if (!log->options.check || queue_impl_load32_rlx(&log->failed)) /* relaxed: for ever */
		return 0;
	for (half = log->halves.first; half && n < SOME; half = half->behind) {
		if (half->decided_at > 0 || half->is_parked)
			continue;
		if (half->due <= now)
			ids[n++] = half->id;
		else if (half->due < *next)
			*next = half->due;
	}
	return n;
}

/* With the lock: some that lie between two positions, and do not move yet. The last one in *from. */
static size_t
find_old(struct queue_log *log, uint64_t ids[SOME], uint64_t *from, uint64_t to)
{
	struct queue_impl_log_half *half;
	size_t n = 0;

	for (half = log->halves.first; half && half->at < to && n < SOME; half = half->behind)
		if (half->at >= *from && half->decided_at == 0 && half->moved_to == 0) {
			ids[n++] = half->id;
			*from = half->at + 1;
		}
	return n;
}

/* Writes it again, at the end. */
static int
move(struct queue_log *log, uint64_t id)
{
	struct queue_impl_log_halves *halves = &log->halves;
	struct queue_impl_log_half *half;
	struct prepared prepared;
	uint64_t at;
	int rc = load(log, id, &prepared);

	while (rc == 0) {
		struct queue_impl_log_record *record = &prepared.record;
		unsigned char *bytes = prepared.scan.buffer + (record->data - prepared.scan.buffer);
		uint32_t parked;

		pthread_mutex_lock(&halves->lock);
		half = find_undecided(halves, id);
		rc = half ? queue_impl_log_reserve(log, record->size, QUEUE_IMPL_LOG_FOR_HALVES,
						   &at)
			  : -ENOENT;
		if (rc == 0) {
			parked = half->is_parked;
			memcpy(bytes + 16, &half->checks, 4);
			memcpy(bytes + 20, &parked, 4);
			queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_PREPARE, record->aux, bytes,
					       record->size);
			half->moved_to = at;
		}
		pthread_mutex_unlock(&halves->lock);
		if (rc != -EAGAIN)
			break;
		(void)queue_impl_log_wait_for_room(log, record->size, QUEUE_IMPL_LOG_FOR_HALVES,
						   QUEUE_NEVER);
		rc = 0;
	}
	unload(log, &prepared);
	return rc == -ENOENT || rc == -EILSEQ ? 0 : rc;
}

static bool
is_ending(struct queue_log *log)
{
	bool ending;

	pthread_mutex_lock(&log->halves.lock);
	ending = log->halves.ending;
	pthread_mutex_unlock(&log->halves.lock);
	return ending;
}

/* Writes again all that are older than a segment, as far as there is room. */
static void
move_old(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;
	/* Relaxed, as below: a number. */
	uint64_t to = queue_impl_load_rlx(&log->tail) - log->segment, from = 0;
	uint64_t ids[SOME];
	size_t n, i;
	int rc = 0;

	do {
		pthread_mutex_lock(&halves->lock);
		n = find_old(log, ids, &from, to);
		pthread_mutex_unlock(&halves->lock);
		for (i = 0; i < n && rc == 0 && !is_ending(log); i++)
			rc = move(log, ids[i]);
	} while (n == SOME && rc == 0 && !is_ending(log));
	pthread_mutex_lock(&halves->lock);
	/* What could not be is not tried all the time. */
	halves->next_move =
		queue_impl_load_rlx(&log->tail) + larger(log->segment, 4 * halves->bytes);
	pthread_mutex_unlock(&halves->lock);
}

/* With the lock. */
static void
sleep_until(struct queue_impl_log_halves *halves, uint64_t deadline)
{
	const struct timespec time = {.tv_sec = (time_t)(deadline / QUEUE_SECOND),
				      .tv_nsec = (long)(deadline % QUEUE_SECOND)};

	halves->wakes_at = deadline;
	if (deadline == QUEUE_NEVER)
		pthread_cond_wait(&halves->changed, &halves->lock);
	else
		pthread_cond_timedwait(&halves->changed, &halves->lock, &time);
	halves->wakes_at = 0;
}

/* Between two checks, which may take long. */
static bool
has_other_work(struct queue_log *log)
{
	bool has;

	pthread_mutex_lock(&log->halves.lock);
	has = log->halves.ending || must_move(log);
	pthread_mutex_unlock(&log->halves.lock);
	return has;
}

static void *
checker(void *opaque)
{
	struct queue_log *log = opaque;
	struct queue_impl_log_halves *halves = &log->halves;
	uint64_t ids[SOME], next;
	size_t n, i;

	queue_impl_log_begin_thread("log check");
	checks_for = log;
	pthread_mutex_lock(&halves->lock);
	while (!halves->ending) {
		bool moves = must_move(log);

		n = find_due(log, ids, &next);
		if (n == 0 && !moves) {
			sleep_until(halves, next);
			continue;
		}
		pthread_mutex_unlock(&halves->lock);
		if (moves)
			move_old(log);
		for (i = 0; i < n && !has_other_work(log); i++)
			check(log, ids[i]);
		pthread_mutex_lock(&halves->lock);
	}
	pthread_mutex_unlock(&halves->lock);
	return NULL;
}

/*
 * Beginning and end.
 */

void
queue_impl_log_halves_init(struct queue_log *log)
{
	pthread_condattr_t attributes;

	(void)pthread_mutex_init(&log->halves.lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&log->halves.changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

void
queue_impl_log_halves_fini(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;

	queue_impl_log_halves_forget(log);
	if (halves->table)
		log->allocator->release(log->allocator->context, halves->table,
					halves->table_size * sizeof(void *), sizeof(void *));
	pthread_cond_destroy(&halves->changed);
	pthread_mutex_destroy(&halves->lock);
}

int
queue_impl_log_halves_start(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;
	int rc = 0;

	pthread_mutex_lock(&halves->lock);
	if (!halves->has_checker && halves->table) {
		rc = queue_impl_log_start_thread(&halves->checker, checker, log);
		halves->has_checker = rc == 0;
	}
	pthread_mutex_unlock(&halves->lock);
	return rc;
}

void
queue_impl_log_halves_stop(struct queue_log *log)
{
	struct queue_impl_log_halves *halves = &log->halves;
	bool has_checker;

	pthread_mutex_lock(&halves->lock);
	halves->ending = true;
	has_checker = halves->has_checker;
	pthread_cond_signal(&halves->changed);
	pthread_mutex_unlock(&halves->lock);
	if (has_checker)
		(void)pthread_join(halves->checker, NULL);
}
