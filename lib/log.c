/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the user's threads do with a log: open and close it, append, wait. See log_impl.h.
 */
#include "log_impl.h"

#include "alloc_impl.h"
#include "eventfd_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#define SEGMENT_DEFAULT (UINT64_C(64) << 20)
#define STAGING_DEFAULT (UINT64_C(4) << 20)
#define STAGING_MIN (UINT64_C(1) << 18)
#define STAGING_FIRST (STAGING_MIN / 8)
#define STAGING_MAX (UINT64_C(1) << 30)
#define CHECK_AFTER_DEFAULT (10 * QUEUE_SECOND)
#define CHECK_LIMIT_DEFAULT 15

_Static_assert(offsetof(struct queue_log, spill) == 0, "where queue_impl_spill_of looks");

uint64_t
queue_impl_log_time(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * QUEUE_SECOND + (uint64_t)now.tv_nsec;
}

/*
 * Waiting.
 */

static bool
has_come(uint64_t deadline)
{
	return deadline != QUEUE_NEVER && deadline <= queue_now();
}

int
queue_impl_log_await(struct queue_impl_event *event,
		     bool (*is_true)(struct queue_log *log, uint64_t argument),
		     struct queue_log *log, uint64_t argument, uint64_t deadline)
{
	int rc = -EAGAIN;

	while (rc == -EAGAIN) {
		uint32_t epoch = queue_impl_event_prepare(event);

		if (is_true(log, argument))
			rc = 0;
		else if (has_come(deadline))
			rc = -ETIMEDOUT;
		else
			queue_impl_event_sleep(event, epoch, deadline);
		queue_impl_event_leave(event);
	}
	return rc;
}

void
queue_impl_log_tell(struct queue_impl_event *event)
{
	queue_impl_fence_full(); /* WAIT1 notifier */
	if (queue_impl_event_awaited(event))
		queue_impl_event_notify_all(event);
}

/* A user's thread waits inside: the log cannot be closed. For the one that checks it waits itself. */
static void
enter(struct queue_log *log)
{
	if (!queue_impl_log_is_checker(log))
		(void)queue_impl_fetch_add32_acq_rel(&log->waiting, 1);
}

/* After the last look at the log, which may be gone from here on. */
static void
leave(struct queue_log *log)
{
	if (!queue_impl_log_is_checker(log))
		(void)queue_impl_fetch_add32_acq_rel(&log->waiting, UINT32_MAX); /* LOG8 release */
}

int
queue_impl_log_wait(struct queue_impl_event *event,
		    bool (*is_true)(struct queue_log *log, uint64_t argument),
		    struct queue_log *log, uint64_t argument, uint64_t deadline)
{
	int rc;

	if (is_true(log, argument))
		return 0;
	enter(log);
	rc = queue_impl_log_await(event, is_true, log, argument, deadline);
	leave(log);
	return rc;
}

void
queue_impl_log_fail(struct queue_log *log)
{
	/* Relaxed: a number. */
	int number = (int)queue_impl_load32_rlx(&log->descriptor.number) - 1;

	queue_impl_store32_rel(&log->failed, EIO); /* LOG6 release */
	queue_impl_log_tell(&log->progress);
	queue_impl_log_tell(&log->room);
	if (number >= 0)
		queue_impl_eventfd_raise(number);
}

/*
 * Appending.
 */

uint64_t
queue_impl_log_segment_end(const struct queue_log *log, uint64_t position)
{
	if (position < log->first_end)
		return log->first_end;
	return log->first_end + ((position - log->first_end) / log->segment + 1) * log->segment;
}

/* Known before the segment is begun, so that nobody has to wait for that: SplitMix64's mixer. */
uint64_t
queue_impl_log_salt(const struct queue_log *log, uint64_t position)
{
	uint64_t z;

	if (position < log->first_end)
		return log->first_salt;
	z = log->seed + queue_impl_log_segment_end(log, position) * UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Nobody's until the first word is there. */
static void
publish(struct queue_log *log, uint64_t position, const uint64_t words[3])
{
	*queue_impl_log_word(log, position + 8) = words[1];
	*queue_impl_log_word(log, position + 16) = words[2];
	queue_impl_store_rel(queue_impl_log_word(log, position), words[0]); /* LOG1 release */
}

/* The rest of a segment, in which there was no room. Too few bytes for a record are an end as well. */
static void
publish_end(struct queue_log *log, uint64_t position, uint64_t end)
{
	uint64_t words[3];

	if (end - position < QUEUE_IMPL_LOG_RECORD)
		return;
	queue_impl_log_make_record(words, queue_impl_log_salt(log, position), position,
				   QUEUE_IMPL_LOG_END, 0, NULL, 0);
	publish(log, position, words);
}

/* Bytes of memory that there are for it. */
static uint64_t
memory_for(const struct queue_log *log, enum queue_impl_log_use use)
{
	return log->staging_mask + 1 - (use == QUEUE_IMPL_LOG_FOR_OWN ? 0 : log->staging_spare);
}

/* Bytes at the end of the disk that are not. */
static uint64_t
disk_without(const struct queue_log *log, enum queue_impl_log_use use)
{
	return use == QUEUE_IMPL_LOG_FOR_MESSAGES ? log->segment
	       : use == QUEUE_IMPL_LOG_FOR_HALVES ? log->segment / 2
						  : 0;
}

/* Is there no file for what ends there, nor one to come? 0 when there is by now. */
static int
lacks_file(struct queue_log *log, uint64_t end)
{
	int rc = 0;

	pthread_mutex_lock(&log->lock);
	/* Relaxed, both: locked. */
	if (end > queue_impl_load_rlx(&log->limit))
		rc = queue_impl_load32_rlx(&log->no_space) ? -(int)log->no_space : -EAGAIN;
	pthread_mutex_unlock(&log->lock);
	return rc;
}

int
queue_impl_log_reserve(struct queue_log *log, size_t size, enum queue_impl_log_use use,
		       uint64_t *position)
{
	uint64_t extent = queue_impl_log_extent(size), tail, at, end;
	uint64_t memory = memory_for(log, use), disk = disk_without(log, use);
	int rc = 0;

	tail = queue_impl_load_rlx(&log->tail); /* relaxed: the swap decides */
	do {
		if (queue_impl_load32_rlx(&log->failed)) /* relaxed: for ever */
			return -EIO;
		end = queue_impl_log_segment_end(log, tail);
		at = extent <= end - tail ? tail : end;
		if (at + extent - queue_impl_load_acq(&log->released) > memory) /* LOG3 acquire */
			return -EAGAIN;
		/* Relaxed: a number, which only grows. */
		if (at + extent + disk > queue_impl_load_rlx(&log->limit))
			rc = lacks_file(log, at + extent + disk);
		if (rc < 0)
			return rc;
	} while (!queue_impl_cas_acq_rel(&log->tail, &tail, at + extent));
	if (at != tail)
		publish_end(log, tail, at);
	*position = at;
	return 0;
}

void
queue_impl_log_publish(struct queue_log *log, uint64_t position, enum queue_impl_log_kind kind,
		       uint32_t aux, const void *data, size_t size)
{
	uint64_t at = (position + QUEUE_IMPL_LOG_RECORD) & log->staging_mask;
	size_t first = (size_t)(log->staging_mask + 1 - at);
	uint64_t words[3];

	queue_impl_log_make_record(words, queue_impl_log_salt(log, position), position, kind, aux,
				   data, size);
	if (first > size)
		first = size;
	if (size > 0) {
		memcpy(log->staging + at, data, first);
		memcpy(log->staging, (const char *)data + first, size - first);
	}
	publish(log, position, words);
	queue_impl_log_tell(&log->work);
}

/*
 * Is it worth trying again? For so many bytes, times four, and what they are for. Relaxed, but for
 * what is released: reserve looks again.
 */
static bool
has_room(struct queue_log *log, uint64_t argument)
{
	uint64_t tail = queue_impl_load_rlx(&log->tail), end, at;
	uint64_t extent = queue_impl_log_extent(argument / 4);
	enum queue_impl_log_use use = argument % 4;

	if (queue_impl_load32_rlx(&log->failed))
		return true;
	end = queue_impl_log_segment_end(log, tail);
	at = extent <= end - tail ? tail : end;
	if (at + extent - queue_impl_load_acq(&log->released) > /* LOG3 acquire */
	    memory_for(log, use))
		return false;
	return at + extent + disk_without(log, use) <= queue_impl_load_rlx(&log->limit) ||
	       queue_impl_load32_rlx(&log->no_space);
}

int
queue_impl_log_wait_for_room(struct queue_log *log, size_t size, enum queue_impl_log_use use,
			     uint64_t deadline)
{
	return queue_impl_log_wait(&log->room, has_room, log, size * 4 + use, deadline);
}

int
queue_impl_log_try_append(struct queue_log *log, const void *data, size_t length,
			  uint64_t *position)
{
	uint64_t at = 0;
	int rc = queue_impl_log_reserve(log, length, QUEUE_IMPL_LOG_FOR_MESSAGES, &at);

	if (rc < 0) {
		if (rc != -EAGAIN)
			queue_impl_add_rlx(&log->refused, 1);
		return rc;
	}
	if (position)
		*position = at;
	queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_MESSAGE, 0, data, length);
	queue_impl_add_rlx(&log->appended, 1);
	queue_impl_add_rlx(&log->bytes, length);
	return 0;
}

int
queue_log_append_async(struct queue_log *log, const void *data, size_t length, uint64_t *position)
{
	int rc;

	if (!log || (!data && length > 0))
		return -EINVAL;
	if (length > queue_log_length_max(log))
		return -EMSGSIZE;
	while ((rc = queue_impl_log_try_append(log, data, length, position)) == -EAGAIN)
		(void)queue_impl_log_wait_for_room(log, length, QUEUE_IMPL_LOG_FOR_MESSAGES,
						   QUEUE_NEVER);
	return rc;
}

/* Relaxed, all of both: who has waited loads the position again (LOG2). */
static bool
is_durable(struct queue_log *log, uint64_t position)
{
	return queue_impl_load_rlx(&log->durable) > position || queue_impl_load32_rlx(&log->failed);
}

static bool
is_written(struct queue_log *log, uint64_t position)
{
	return queue_impl_load_rlx(&log->written) > position || queue_impl_load32_rlx(&log->failed);
}

int
queue_impl_log_wait_stored(struct queue_log *log, uint64_t position)
{
	int rc;

	if (queue_impl_log_syncs_at_once(log))
		return queue_log_wait(log, position, QUEUE_NEVER);
	enter(log);
	if (!is_written(log, position))
		(void)queue_impl_log_await(&log->progress, is_written, log, position, QUEUE_NEVER);
	rc = queue_impl_load_acq(&log->written) > position ? 0 : -EIO; /* LOG2 acquire */
	leave(log);
	return rc;
}

int
queue_log_append(struct queue_log *log, const void *data, size_t length, uint64_t *position)
{
	uint64_t at = 0;
	int rc = queue_log_append_async(log, data, length, &at);

	if (rc < 0)
		return rc;
	if (position)
		*position = at;
	return queue_impl_log_wait_stored(log, at);
}

int
queue_log_wait(struct queue_log *log, uint64_t position, uint64_t deadline)
{
	int rc = 0;

	if (!log || position >= queue_impl_load_rlx(&log->tail)) /* relaxed: a number */
		return -EINVAL;
	enter(log);
	if (!is_durable(log, position))
		rc = queue_impl_log_await(&log->progress, is_durable, log, position, deadline);
	if (rc == 0 && queue_impl_load_acq(&log->durable) <= position) /* LOG2 acquire */
		rc = -EIO;
	leave(log);
	return rc;
}

uint64_t
queue_log_durable(const struct queue_log *log)
{
	return queue_impl_load_acq(&log->durable); /* LOG2 acquire */
}

uint64_t
queue_log_length_max(const struct queue_log *log)
{
	uint64_t most = queue_impl_log_record_max(log->segment);

	if (most > (log->staging_mask + 1) / 4)
		most = (log->staging_mask + 1) / 4;
	return most - QUEUE_IMPL_LOG_RECORD;
}

/*
 * The committer has taken up what was asked for, and it is durable, or was refused. Relaxed, both:
 * who has waited looks again (LOG5).
 */
static bool
is_synced(struct queue_log *log, uint64_t ticket)
{
	return queue_impl_load_rlx(&log->told_ticket) / 2 >= ticket ||
	       queue_impl_load32_rlx(&log->failed);
}

int
queue_log_sync(struct queue_log *log, uint64_t deadline)
{
	uint64_t ticket, told;
	int rc;

	if (!log)
		return -EINVAL;
	enter(log);
	ticket = queue_impl_fetch_add_acq_rel(&log->wanted_ticket, 1) + 1; /* LOG4 release */
	queue_impl_log_tell(&log->work);
	rc = queue_impl_log_await(&log->progress, is_synced, log, ticket, deadline);
	told = queue_impl_load_acq(&log->told_ticket); /* LOG5 acquire */
	if (rc == 0 && told / 2 < ticket)
		rc = -EIO;
	else if (rc == 0 && told % 2 != 0)
		rc = -ENOSPC;
	leave(log);
	return rc;
}

int
queue_log_fd(struct queue_log *log)
{
	int number;

	if (!log)
		return -EINVAL;
	number = queue_impl_descriptor_get(&log->descriptor);
	if (number >= 0)
		queue_impl_eventfd_raise(number);
	return number;
}

uint64_t
queue_log_fd_clear(struct queue_log *log)
{
	int number = queue_log_fd(log);

	if (number >= 0)
		(void)queue_impl_eventfd_lower(number);
	return queue_log_durable(log);
}

int
queue_log_stats(struct queue_log *log, struct queue_log_stats *out)
{
	if (!log || !out)
		return -EINVAL;
	memset(out, 0, sizeof *out);
	/* Relaxed, all: figures. */
	out->appended = queue_impl_load_rlx(&log->appended);
	out->bytes = queue_impl_load_rlx(&log->bytes);
	out->refused = queue_impl_load_rlx(&log->refused);
	out->batches = queue_impl_load_rlx(&log->batches);
	out->output = queue_impl_load_rlx(&log->output);
	out->syncs = queue_impl_load_rlx(&log->syncs);
	out->durable = queue_impl_load_rlx(&log->durable);
	out->written = queue_impl_load_rlx(&log->written);
	out->ends = queue_impl_load_rlx(&log->tail);
	queue_impl_log_reader_figures(log, out);
	queue_impl_log_half_figures(log, out);
	out->failed = -(int)queue_impl_load32_rlx(&log->failed);
	pthread_mutex_lock(&log->lock);
	out->begins = log->segments[0].base;
	out->segments = log->n_segments;
	out->spares = log->n_spares;
	pthread_mutex_unlock(&log->lock);
	return 0;
}

/*
 * Opening and closing.
 */

static bool
is_power_of_two(uint64_t number)
{
	return (number & (number - 1)) == 0;
}

/* What is not given is the default. */
static bool
set_options(struct queue_log_options *options)
{
	if (options->segment_size == 0)
		options->segment_size = SEGMENT_DEFAULT;
	if (options->staging_size == 0)
		options->staging_size = STAGING_DEFAULT;
	if (options->check_after == 0)
		options->check_after = CHECK_AFTER_DEFAULT;
	if (options->check_limit == 0)
		options->check_limit = CHECK_LIMIT_DEFAULT;
	return (unsigned)options->sync <= QUEUE_LOG_NONE &&
	       (options->sync == QUEUE_LOG_INTERVAL) == (options->interval > 0) &&
	       !(options->flags & ~(QUEUE_LOG_SALVAGE | QUEUE_LOG_NO_CREATE)) &&
	       options->segment_size >= QUEUE_LOG_SEGMENT_MIN &&
	       options->segment_size <= QUEUE_LOG_SEGMENT_MAX &&
	       options->segment_size % QUEUE_IMPL_LOG_PAGE == 0 &&
	       options->staging_size >= STAGING_MIN && options->staging_size <= STAGING_MAX &&
	       is_power_of_two(options->staging_size) && queue_impl_allocator(options->allocator);
}

/* Not predictable, so that nobody can make messages that look like records. */
static uint64_t
random_number(void)
{
	uint64_t number;
	int saved = errno;

	if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
		number = queue_now() ^ queue_impl_log_time() ^ (uintptr_t)&number;
	errno = saved;
	return number;
}

/* So that two huge pages do instead of a thousand; their size where pages have 4 KiB. */
static size_t
staging_alignment(size_t size)
{
	return size >= QUEUE_IMPL_LOG_HUGE_PAGE ? QUEUE_IMPL_LOG_HUGE_PAGE : QUEUE_IMPL_LOG_PAGE;
}

static void
log_free(struct queue_log *log)
{
	const struct queue_allocator *allocator = log->allocator;

	if (log->file >= 0)
		log->disk->close(log->disk->context, log->file);
	if (log->lock_file >= 0)
		log->disk->close(log->disk->context, log->lock_file);
	if (log->directory >= 0)
		log->disk->close(log->disk->context, log->directory);
	queue_impl_descriptor_fini(&log->descriptor);
	if (log->segments)
		allocator->release(allocator->context, log->segments,
				   log->segments_capacity * sizeof *log->segments,
				   _Alignof(struct queue_impl_log_segment));
	queue_impl_log_readers_fini(log);
	queue_impl_log_halves_fini(log);
	if (log->scratch)
		allocator->release(allocator->context, log->scratch, QUEUE_IMPL_LOG_READER_MAX,
				   sizeof(uint64_t));
	pthread_mutex_destroy(&log->readers_lock);
	if (log->staging)
		allocator->release(allocator->context, log->staging, log->staging_mask + 1,
				   staging_alignment(log->staging_mask + 1));
	pthread_mutex_destroy(&log->lock);
	allocator->release(allocator->context, log, sizeof *log, _Alignof(struct queue_log));
}

static struct queue_log *
log_allocate(const struct queue_log_options *options, const struct queue_impl_disk *disk)
{
	const struct queue_allocator *allocator = queue_impl_allocator(options->allocator);
	struct queue_log *log =
		allocator->allocate(allocator->context, sizeof *log, _Alignof(struct queue_log));

	if (!log)
		return NULL;
	memset(log, 0, sizeof *log);
	log->spill = &queue_impl_spill_operations;
	log->allocator = allocator;
	log->disk = disk;
	log->options = *options;
	log->directory = log->lock_file = log->file = -1;
	(void)pthread_mutex_init(&log->lock, NULL);
	log->staging_mask = options->staging_size - 1;
	log->staging_spare = options->staging_size / 8;
	log->segment = options->segment_size - QUEUE_IMPL_LOG_HEADER;
	log->seed = random_number();
	queue_impl_event_init(&log->work, false);
	queue_impl_event_init(&log->progress, false);
	queue_impl_event_init(&log->room, false);
	queue_impl_event_init(&log->prepare, false);
	(void)pthread_mutex_init(&log->readers_lock, NULL);
	queue_impl_log_halves_init(log);
	log->scratch = allocator->allocate(allocator->context, QUEUE_IMPL_LOG_READER_MAX,
					   sizeof(uint64_t));
	log->staging = allocator->allocate(allocator->context, options->staging_size,
					   staging_alignment(options->staging_size));
	if (!log->scratch || !log->staging) {
		log_free(log);
		return NULL;
	}
	return log;
}

static int
open_directory(struct queue_log *log, const char *path)
{
	const struct queue_impl_disk *disk = log->disk;
	bool creates = !(log->options.flags & QUEUE_LOG_NO_CREATE);

	log->directory = disk->open_directory(disk->context, path, creates);
	if (log->directory < 0)
		return log->directory;
	log->lock_file = disk->open(disk->context, log->directory, "lock",
				    creates ? QUEUE_IMPL_DISK_CREATE : QUEUE_IMPL_DISK_WRITE);
	if (log->lock_file < 0)
		return log->lock_file;
	return disk->lock(disk->context, log->lock_file);
}

/*
 * All of the staging memory counts as being cleared, and the committer goes on with that: memory that
 * a process has not used before costs the system a millisecond and more, for which nobody who opens a
 * log need wait. A little is ready at once, for what the log says of itself.
 */
static void
begin_staging(struct queue_log *log)
{
	uint64_t size = log->staging_mask + 1;

	if (size >= QUEUE_IMPL_LOG_HUGE_PAGE)
		(void)madvise(log->staging, size, MADV_HUGEPAGE); /* it may have none */
	log->released = log->written - size;
	queue_impl_log_clear(log, log->released + STAGING_FIRST);
}

void
queue_impl_log_stop_committer(struct queue_log *log)
{
	queue_impl_store32_rel(&log->closing, 1); /* LOG7 release */
	queue_impl_log_tell(&log->work);
	(void)pthread_join(log->committer, NULL);
}

/* The committer may need a file until it has ended. */
static void
stop_threads(struct queue_log *log)
{
	queue_impl_log_stop_committer(log);
	queue_impl_store32_rlx(&log->ending, 1); /* relaxed: the lock orders what files there are */
	queue_impl_log_tell(&log->prepare);
	(void)pthread_join(log->preparer, NULL);
}

int
queue_impl_log_start_thread(pthread_t *thread, void *(*run)(void *log), struct queue_log *log)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, NULL, run, log);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc == 0 ? 0 : -EAGAIN;
}

void
queue_impl_log_begin_thread(const char *name)
{
	int unused;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &unused);
	(void)pthread_setname_np(pthread_self(), name);
}

static int
start_threads(struct queue_log *log)
{
	int rc = queue_impl_log_start_thread(&log->committer, queue_impl_log_committer, log);

	if (rc < 0)
		return rc;
	rc = queue_impl_log_start_thread(&log->preparer, queue_impl_log_preparer, log);
	if (rc < 0) {
		queue_impl_log_stop_committer(log);
		return rc;
	}
	rc = queue_impl_log_halves_start(log);
	if (rc < 0)
		stop_threads(log);
	return rc;
}

int
queue_impl_log_open(struct queue_log **out, const char *directory,
		    const struct queue_log_options *options, const struct queue_impl_disk *disk)
{
	struct queue_log_options own = {.sync = QUEUE_LOG_BATCH};
	int rc = -ENOMEM, saved = errno, cancel, unused;
	struct queue_log *log;

	if (options)
		own = *options;
	if (!out || !directory || !set_options(&own))
		return -EINVAL;
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	log = log_allocate(&own, disk);
	if (log)
		rc = open_directory(log, directory);
	if (rc >= 0)
		rc = queue_impl_log_recover(log);
	if (rc >= 0) {
		begin_staging(log);
		rc = start_threads(log);
	}
	if (rc >= 0)
		*out = log;
	else if (log)
		log_free(log);
	(void)pthread_setcancelstate(cancel, &unused);
	errno = saved;
	return rc < 0 ? rc : 0;
}

int
queue_log_open(struct queue_log **out, const char *directory,
	       const struct queue_log_options *options)
{
	return queue_impl_log_open(out, directory, options, &queue_impl_disk_system);
}

int
queue_log_close(struct queue_log *log)
{
	int cancel, unused, rc;

	if (!log)
		return 0;
	if (queue_impl_load32_acq(&log->waiting) > 0) /* LOG8 acquire */
		return -EBUSY;
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/* In this order: one may wait for the next. */
	queue_impl_log_halves_stop(log);
	stop_threads(log);
	rc = queue_impl_load32_rlx(&log->failed) ? -EIO : log->close_error; /* relaxed: joined */
	log_free(log);
	(void)pthread_setcancelstate(cancel, &unused);
	return rc;
}
