/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The committer writes what has been appended and syncs it: one batch after the other, each as large
 * as what came while the one before was synced ("group commit": DeWitt, Katz, Olken, Shapiro,
 * Stonebraker, Wood, Implementation Techniques for Main Memory Database Systems, SIGMOD 1984). It
 * waits for nobody to make a batch larger.
 *
 * A sync that fails is not repeated: the system may have dropped what it could not write and call the
 * next one a success (Rebello and others, Can Applications Recover from fsync Failures?, USENIX ATC
 * 2020). The log is over then; what is on the disk, the next one to open it finds out.
 */
#include "log_impl.h"

#include "eventfd_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* A record DURABLE has the time when the last one that had is so long ago. */
#define TIME_EVERY (10 * QUEUE_MILLISECOND)

/* What readers have acknowledged is written after so long, when nothing else is. */
#define READERS_WAIT (10 * QUEUE_MILLISECOND)
/* The same when the disk is full. */
#define READERS_WAIT_FULL QUEUE_SECOND

/*
 * What there is to write.
 */

static uint8_t
kind_at(const struct queue_log *log, uint64_t position)
{
	return (uint8_t)*queue_impl_log_word(log, position + 16);
}

/*
 * How far what has been appended goes without a hole, from a position on; `one`: not as far as a
 * second message, but with the log's own records in front of that, which cost no sync of their own
 * then. *messages_end is where the last message in it ends.
 */
static uint64_t
collect(const struct queue_log *log, uint64_t from, bool one, uint64_t *messages_end)
{
	uint64_t tail = queue_impl_load_rlx(&log->tail), word; /* relaxed: LOG1 is by the words */
	bool is_full = false;
	uint8_t kind;

	while (from < tail) {
		uint64_t end = queue_impl_log_segment_end(log, from);

		if (end - from < QUEUE_IMPL_LOG_RECORD) {
			from = end;
			continue;
		}
		word = queue_impl_load_acq(queue_impl_log_word(log, from)); /* LOG1 acquire */
		if (word == 0)
			break;
		kind = kind_at(log, from);
		switch (kind) {
		case QUEUE_IMPL_LOG_END:
			from = end;
			break;
		case QUEUE_IMPL_LOG_MESSAGE:
		case QUEUE_IMPL_LOG_COMMIT:
		case QUEUE_IMPL_LOG_PREPARE:
			if (is_full)
				return from;
			is_full = one;
			from += queue_impl_log_extent((uint32_t)word - QUEUE_IMPL_LOG_RECORD);
			if (kind != QUEUE_IMPL_LOG_PREPARE)
				*messages_end = from;
			break;
		default:
			from += queue_impl_log_extent((uint32_t)word - QUEUE_IMPL_LOG_RECORD);
		}
	}
	return from;
}

static bool
has_records(const struct queue_log *log)
{
	uint64_t unused;

	return collect(log, log->written, true, &unused) > log->written;
}

/* Relaxed: nobody else stores it. */
static uint64_t
synced_ticket(const struct queue_log *log)
{
	return queue_impl_load_rlx(&log->told_ticket) / 2;
}

static bool
has_ticket(const struct queue_log *log)
{
	return log->taken_ticket != synced_ticket(log);
}

/* The disk is full: is it time to see whether a file can go? */
static bool
is_room_due(const struct queue_log *log)
{
	/* Relaxed: retire looks with the lock. */
	return queue_impl_load32_rlx(&log->no_space) && queue_now() >= log->frees_at;
}

/*
 * One ticket that is open waits for records, or for readers_due: that is no work by itself. Relaxed,
 * all: who finds work looks at it again.
 */
static bool
has_work(struct queue_log *log, uint64_t unused)
{
	(void)unused;
	return has_records(log) || queue_impl_load32_rlx(&log->readers_changed) == 1 ||
	       queue_impl_load32_rlx(&log->closing) || is_room_due(log) ||
	       (!has_ticket(log) && queue_impl_load_rlx(&log->wanted_ticket) != synced_ticket(log));
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t
interval_ends(const struct queue_log *log)
{
	uint64_t interval = log->options.interval;

	return interval < QUEUE_NEVER - log->synced_at ? log->synced_at + interval : QUEUE_NEVER;
}

static uint64_t
work_is_due(const struct queue_log *log)
{
	uint64_t due = log->readers_due;

	if (queue_impl_load32_rlx(&log->no_space)) /* relaxed: only when to look */
		due = smaller(due, log->frees_at);
	if (log->options.sync == QUEUE_LOG_INTERVAL && log->durable < log->written)
		due = smaller(due, interval_ends(log));
	return due;
}

/*
 * The log's own records.
 */

/*
 * What readers have acknowledged goes with what is written anyway, and else is not put off long. For
 * queue_log_sync all of it has to be written. 0 when nothing is left.
 */
static int
write_readers(struct queue_log *log, bool is_urgent)
{
	uint64_t now = queue_now();
	int rc;

	/* Relaxed, all: the readers' locks order. Who finds a 2 has changed something before we look. */
	if (queue_impl_load32_rlx(&log->readers_changed) == 1) {
		queue_impl_store32_rlx(&log->readers_changed, 2);
		log->readers_due = smaller(log->readers_due, now + READERS_WAIT);
	}
	if (!is_urgent && now < log->readers_due && !has_records(log))
		return -EBUSY;
	queue_impl_store32_rlx(&log->readers_changed, 0);
	log->readers_due = QUEUE_NEVER;
	rc = queue_impl_log_write_readers(log, is_urgent);
	if (rc < 0)
		log->readers_due =
			now + (rc == -EAGAIN || rc == -EBUSY ? READERS_WAIT : READERS_WAIT_FULL);
	return rc;
}

/*
 * Once in each segment all that is known of readers is written again, if need be over several
 * batches, so that the segments before need not be read for it.
 */
static void
restate(struct queue_log *log)
{
	uint64_t tail = queue_impl_load_rlx(&log->tail), from, at, spent; /* relaxed: a number */

	if (tail < log->restates_next)
		return;
	if (log->restates_from == 0) {
		log->restates_from = tail + 1;
		log->restate++;
	}
	if (queue_impl_log_restate_readers(log, log->restate) < 0 ||
	    queue_impl_log_reserve(log, sizeof tail, QUEUE_IMPL_LOG_FOR_OWN, &at) < 0)
		return;
	from = log->restates_from - 1;
	log->complete_from = smaller(from, queue_impl_log_halves_kept(log));
	log->complete_at = at;
	log->restates_from = 0;
	queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_COMPLETE, 0, &log->complete_from,
			       sizeof log->complete_from);
	/* Where that takes much room, it is not done for its own sake. */
	spent = at - from;
	log->restates_next = queue_impl_log_segment_end(log, at);
	if (log->restates_next < at + 4 * spent)
		log->restates_next = at + 4 * spent;
}

/* Says in the next batch that the ones before are durable; it is left out where there is no room. */
static void
note_durable(struct queue_log *log)
{
	uint64_t now = queue_now(), time, position;
	size_t size = now - log->noted_time >= TIME_EVERY ? sizeof time : 0;

	if (log->noted == log->durable ||
	    queue_impl_log_reserve(log, size, QUEUE_IMPL_LOG_FOR_OWN, &position) < 0)
		return;
	/* Later than that of all before it. */
	time = queue_impl_log_time();
	queue_impl_log_publish(log, position, QUEUE_IMPL_LOG_DURABLE,
			       (uint32_t)((position - log->durable) / 8), &time, size);
	log->noted = log->durable;
	if (size > 0)
		log->noted_time = now;
}

/*
 * Writing.
 */

static int
sync_file(struct queue_log *log)
{
	uint64_t written = log->written;
	int number, rc;

	rc = log->disk->sync(log->disk->context, log->file);
	if (rc < 0)
		return rc;
	queue_impl_add_rlx(&log->syncs, 1);
	log->synced_at = queue_now();
	queue_impl_store_rel(&log->durable, written); /* LOG2 release */
	queue_impl_log_tell(&log->progress);
	number = (int)queue_impl_load32_rlx(&log->descriptor.number) - 1; /* relaxed: a number */
	if (number >= 0)
		queue_impl_eventfd_raise(number);
	if (log->options.on_durable)
		log->options.on_durable(written, log->options.context);
	return 0;
}

/* What others may use again is clear. */
static void
release(struct queue_log *log, uint64_t from, uint64_t to)
{
	uint64_t at = from & log->staging_mask, first = log->staging_mask + 1 - at;

	if (first > to - from)
		first = to - from;
	memset(log->staging + at, 0, first);
	memset(log->staging, 0, to - from - first);
	queue_impl_store_rel(&log->released, to); /* LOG3 release */
	queue_impl_log_tell(&log->room);
}

void
queue_impl_log_clear(struct queue_log *log, uint64_t to)
{
	uint64_t at, piece, from;

	/* A page of the largest kind after the other, or what of it is in that. */
	for (from = log->released; from != to; from += piece) {
		at = from & log->staging_mask;
		piece = smaller(QUEUE_IMPL_LOG_HUGE_PAGE - at % QUEUE_IMPL_LOG_HUGE_PAGE,
				to - from);
		piece = smaller(piece, log->staging_mask + 1 - at);
#if defined MADV_POPULATE_WRITE
		/* In one call pages cost a fraction of a fault for each; since Linux 5.14. */
		(void)madvise(log->staging + at - at % QUEUE_IMPL_LOG_PAGE,
			      piece + at % QUEUE_IMPL_LOG_PAGE, MADV_POPULATE_WRITE);
#endif
		release(log, from, from + piece);
	}
}

/* A piece that is in one segment and in one piece in memory. */
static int
write_piece(struct queue_log *log, uint64_t from, uint64_t to)
{
	const struct queue_impl_log_segment *last = &log->segments[log->n_segments - 1];
	int rc = log->disk->write(log->disk->context, log->file,
				  log->staging + (from & log->staging_mask), to - from,
				  QUEUE_IMPL_LOG_HEADER + (from - last->base));

	if (rc < 0)
		return rc;
	queue_impl_add_rlx(&log->batches, 1);
	queue_impl_add_rlx(&log->output, to - from);
	return 0;
}

/* Only where a record ends: what is written can be read. */
static void
set_written(struct queue_log *log, uint64_t to)
{
	queue_impl_store_rel(&log->written, to); /* LOG2 release */
}

static int
write_to(struct queue_log *log, uint64_t to)
{
	uint64_t from = log->written, at = from;
	int rc = 0;

	while (rc == 0 && at < to) {
		uint64_t end = log->segments[log->n_segments - 1].end;
		uint64_t wraps = (at | log->staging_mask) + 1;

		if (at < end) {
			uint64_t next = smaller(smaller(to, end), wraps);

			rc = write_piece(log, at, next);
			at = next;
			continue;
		}
		/* A segment is durable before the next one has anything in it. */
		set_written(log, end);
		if (log->durable < end)
			rc = sync_file(log);
		if (rc == 0)
			rc = queue_impl_log_rotate(log, end);
	}
	if (rc == 0 && to > from) {
		set_written(log, to);
		release(log, from, to);
		queue_impl_log_tell(&log->progress);
	}
	return rc;
}

static bool
must_sync(const struct queue_log *log)
{
	if (log->durable == log->written)
		return false;
	switch (log->options.sync) {
	case QUEUE_LOG_BATCH:
	case QUEUE_LOG_EACH:
		return true;
	case QUEUE_LOG_INTERVAL:
		if (queue_now() >= interval_ends(log))
			return true;
		break;
	case QUEUE_LOG_NONE:
		break;
	}
	return has_ticket(log) && log->written >= log->ticket_end;
}

/*
 * Those who have called queue_log_sync wait for all that had been appended and acknowledged by then.
 * Where that ends is known when the readers have been written.
 */
static void
take_tickets(struct queue_log *log)
{
	if (has_ticket(log))
		return;
	log->taken_ticket = queue_impl_load_acq(&log->wanted_ticket); /* LOG4 acquire */
	log->ticket_end = UINT64_MAX;
}

static void
give_tickets_back(struct queue_log *log)
{
	if (!has_ticket(log) || log->durable < log->ticket_end)
		return;
	queue_impl_store_rel(&log->told_ticket,
			     log->taken_ticket * 2 + log->is_refused); /* LOG5 release */
	queue_impl_log_tell(&log->progress);
}

/* How far the user's limits let older messages go. */
static uint64_t
expired(struct queue_log *log)
{
	uint64_t bytes = log->options.retain_bytes, age = log->options.retain_age;
	uint64_t now = queue_impl_log_time(), before = 0;
	size_t i;

	pthread_mutex_lock(&log->lock);
	for (i = 0; i + 1 < log->n_segments; i++) {
		bool is_beyond = bytes > 0 && log->written - log->segments[i].end >= bytes;
		/* It ends when the next one begins. */
		uint64_t ended = log->segments[i + 1].created;

		if (is_beyond || (age > 0 && ended < now && now - ended >= age))
			before = log->segments[i].end;
	}
	pthread_mutex_unlock(&log->lock);
	return before;
}

/* Nobody reads messages before, and no half message lies there. */
static uint64_t
unread_begins(struct queue_log *log)
{
	uint64_t kept = queue_impl_log_kept(log), before = expired(log);

	if (before < kept)
		before = kept;
	return smaller(before, queue_impl_log_halves_kept(log));
}

/* After a sync: files that nobody needs any more. */
static void
retire(struct queue_log *log)
{
	if (log->complete_at < log->durable) {
		log->needed = log->complete_from;
		log->complete_at = UINT64_MAX;
	}
	queue_impl_log_retire(log, smaller(unread_begins(log), log->needed));
}

/*
 * On a full disk the oldest file may be kept only because nothing is written that would say that it
 * need not be: that the readers, and half messages, are known from a later position on.
 */
static void
make_room(struct queue_log *log)
{
	uint64_t end = log->segments[0].end;

	if (!is_room_due(log))
		return;
	log->frees_at = queue_now() + READERS_WAIT_FULL;
	if (log->complete_at != UINT64_MAX || log->n_segments == 1 || end <= log->needed ||
	    end > unread_begins(log))
		return;
	log->restates_next = 0;
	restate(log);
}

/* For those who wait in queue_log_sync, and when the log is closed. */
static void
write_all_readers(struct queue_log *log, bool is_closing)
{
	int rc = write_readers(log, has_ticket(log) || is_closing);

	if (is_closing)
		log->close_error = rc;
	if (!has_ticket(log) || log->ticket_end != UINT64_MAX)
		return;
	if (rc == -EAGAIN)
		return;
	/* One that is refused is given back at once: it waits for nothing. */
	log->is_refused = rc < 0;
	log->ticket_end = 0;
	/* The newest there is, which only a read-modify-write is sure to see. */
	if (rc == 0)
		log->ticket_end = queue_impl_fetch_add_acq_rel(&log->tail, 0);
}

static int
commit(struct queue_log *log)
{
	uint64_t durable = log->durable, messages_end = log->messages_end, end;
	int rc;

	take_tickets(log);
	if (has_records(log))
		restate(log);
	/* Relaxed: finish has it done once more. */
	write_all_readers(log, queue_impl_load32_rlx(&log->closing) != 0);
	if (has_records(log))
		note_durable(log);
	end = collect(log, log->written, log->options.sync == QUEUE_LOG_EACH, &messages_end);
	queue_impl_store_rlx(&log->messages_end, messages_end); /* relaxed: a figure */
	rc = write_to(log, end);
	if (rc == 0 && must_sync(log))
		rc = sync_file(log);
	if (rc == 0 && log->durable != durable)
		retire(log);
	if (rc == 0) {
		make_room(log);
		give_tickets_back(log);
	}
	return rc;
}

/* Nobody appends any more. The last words say that all is durable, so that damage to it is seen. */
static int
finish(struct queue_log *log)
{
	uint64_t unused;
	int rc;

	for (;;) {
		rc = commit(log);
		if (rc < 0 || (!has_records(log) && log->close_error != -EAGAIN))
			break;
		/* The next file is on its way. */
		if (!has_records(log))
			queue_impl_sleep_until(queue_now() + QUEUE_MILLISECOND);
	}
	if (rc == 0 && log->durable < log->written)
		rc = sync_file(log);
	if (rc == 0)
		note_durable(log);
	if (rc == 0)
		rc = write_to(log, collect(log, log->written, false, &unused));
	if (rc == 0 && log->durable < log->written)
		rc = sync_file(log);
	return rc;
}

void *
queue_impl_log_committer(void *opaque)
{
	struct queue_log *log = opaque;
	int rc = 0;

	queue_impl_log_begin_thread("log commit");
	queue_impl_log_clear(log, log->written);
	log->synced_at = queue_now();
	log->readers_due = QUEUE_NEVER;
	while (rc == 0 && !queue_impl_load32_acq(&log->closing)) { /* LOG7 acquire */
		(void)queue_impl_log_await(&log->work, has_work, log, 0, work_is_due(log));
		rc = commit(log);
	}
	if (rc == 0)
		rc = finish(log);
	if (rc < 0)
		queue_impl_log_fail(log);
	return NULL;
}
