/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named readers. What a reader has acknowledged is a record in the log itself, so that it is synced
 * together with everything else:
 *
 *   READER     0   8  position: all before is acknowledged
 *              8   8  position: all before has been delivered at least once
 *             16   2  length of the name
 *             18   2  zero
 *             20   4  number of exceptions between the two positions
 *             24      the name, and zeros up to a multiple of 8
 *                     exceptions, in the order of their positions, each
 *              0   8    position of a message
 *              8   4    how often it was delivered, if more than once, or 0
 *             12   4    1: it is acknowledged
 *
 *   REMOVED    0      the name
 *
 * The last record of each reader counts. All are written again in each new segment, and COMPLETE
 * behind them; so older segments need not be read for them, and can go.
 *
 *                    position                         high          what is durable
 *       --------------+--------------------------------+-------------------+----
 *        acknowledged | out, to come again, and some   | not read yet      |
 *                     | acknowledged: log->window      |                   |
 *       --------------+--------------------------------+-------------------+----
 */
#include "log_impl.h"

#include "alloc_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <string.h>

#define LEASE_DEFAULT (30 * QUEUE_SECOND)
#define NAME_AT 24
/* When a message could not be put into the dead letters, it is tried again after so long. */
#define TRY_AGAIN QUEUE_SECOND

enum state {
	OUT,   /* until due, then it comes again */
	DYING, /* on its way to the dead letters */
	DONE   /* acknowledged */
};

struct entry {
	uint64_t position;
	uint64_t due;
	uint32_t attempts;
	enum state state;
};

struct exception {
	uint64_t position;
	uint32_t attempts;
	uint32_t is_done;
};

struct queue_log_reader {
	struct queue_log_reader *following; /* in log->readers */
	struct queue_log *log;
	char name[QUEUE_LOG_NAME_MAX + 1];
	bool is_open, is_removed; /* under log->readers_lock */
	bool is_seeking;	  /* it is new, and where it begins is being looked for */

	pthread_mutex_t lock; /* of all that follows */
	struct queue_log_reader_options options;
	uint64_t position, high, next;
	struct entry *entries; /* a ring, in the order of positions */
	uint32_t first, n;
	uint64_t due; /* no entry is due before */
	/* What the last process has left behind, as far as it has not been read again. */
	struct exception *exceptions;
	uint32_t n_exceptions, exceptions_capacity, exception;
	bool is_dirty;
	uint64_t changes; /* counts what those who wait should look at */
	uint32_t waiting;
	struct queue_impl_log_scan scan, again;
	int file, again_file;
	struct queue_log_reader_stats stats;

	/* the committer's */
	uint64_t sent, sent_at; /* the position that was written, and where */
	uint64_t kept;		/* the position that is durable */
	uint64_t restate;	/* the last time that it was written with all others */
};

static uint64_t
after(uint64_t nanoseconds)
{
	uint64_t now = queue_now();

	return nanoseconds < QUEUE_NEVER - now ? now + nanoseconds : QUEUE_NEVER;
}

static struct entry *
entry_at(const struct queue_log_reader *reader, uint32_t i)
{
	return &reader->entries[(reader->first + i) % reader->options.window];
}

/* The number of the entry of a message; reader->n: it has none. */
static uint32_t
entry_of(const struct queue_log_reader *reader, uint64_t position)
{
	uint32_t low = 0, high = reader->n;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (entry_at(reader, middle)->position < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low < reader->n && entry_at(reader, low)->position == position ? low : reader->n;
}

/* With the lock held: those who wait look again, and the committer writes what has changed. */
static void
changed(struct queue_log_reader *reader)
{
	reader->is_dirty = true;
	queue_impl_store_rlx(&reader->changes, reader->changes + 1); /* relaxed: under the lock */
}

/* After that, without the lock. */
static void
tell(struct queue_log_reader *reader)
{
	struct queue_log *log = reader->log;
	uint32_t none = 0;

	if (queue_impl_cas32_acq_rel(&log->readers_changed, &none, 1))
		queue_impl_log_tell(&log->work);
	queue_impl_log_tell(&log->progress);
}

/* The position moves over what is acknowledged. */
static void
advance(struct queue_log_reader *reader)
{
	while (reader->n > 0 && entry_at(reader, 0)->state == DONE) {
		reader->first = (reader->first + 1) % reader->options.window;
		reader->n--;
	}
	reader->position = reader->n > 0 ? entry_at(reader, 0)->position : reader->next;
}

/*
 * Reading from files.
 */

/* Has the scan in the segment of a position. -ENOENT: that is gone, or not there yet. */
static int
enter(struct queue_log_reader *reader, struct queue_impl_log_scan *scan, int *file,
      uint64_t position)
{
	struct queue_log *log = reader->log;
	struct queue_impl_log_segment segment;
	int rc;

	if (!queue_impl_log_segment_at(log, position, &segment))
		return -ENOENT;
	if (*file >= 0 && scan->base == segment.base)
		return 0;
	if (*file >= 0)
		log->disk->close(log->disk->context, *file);
	*file = -1;
	rc = queue_impl_log_open_file(log, segment.base, QUEUE_IMPL_DISK_READ);
	/* Gone since we looked; else it should be there. */
	if (rc == -ENOENT && queue_impl_log_segment_at(log, position, &segment))
		rc = -EIO;
	if (rc < 0)
		return rc;
	*file = rc;
	queue_impl_log_scan_file(scan, rc, segment.base, segment.end, segment.salt);
	return 0;
}

/*
 * The record at a position, which is visible. -ENOENT: retention has taken it away, also under our
 * hands.
 */
static int
record_at(struct queue_log_reader *reader, struct queue_impl_log_scan *scan, int *file,
	  uint64_t position, struct queue_impl_log_record *record)
{
	struct queue_impl_log_segment segment;
	int rc = enter(reader, scan, file, position);

	if (rc < 0)
		return rc;
	queue_impl_log_scan_until(scan, queue_impl_log_visible(reader->log));
	rc = queue_impl_log_scan_record(scan, position, record);
	if (rc < 0 && !queue_impl_log_segment_at(reader->log, position, &segment))
		return -ENOENT;
	return rc;
}

/* The oldest position there is. */
static uint64_t
beginning(struct queue_log *log)
{
	uint64_t base;

	pthread_mutex_lock(&log->lock);
	base = log->segments[0].base;
	pthread_mutex_unlock(&log->lock);
	return base;
}

/* What is at a position is damaged. 0: it is to be left out, up to *next. */
static int
pass_damage(struct queue_log_reader *reader, struct queue_impl_log_scan *scan, uint64_t position,
	    uint64_t *next)
{
	struct queue_impl_log_record record;
	int rc = queue_impl_log_scan_find(scan, position + QUEUE_IMPL_LOG_RECORD, &record);

	*next = rc == 0 ? record.position : scan->until;
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = queue_impl_log_report(reader->log, scan->base,
				   QUEUE_IMPL_LOG_HEADER + (position - scan->base),
				   *next - position);
	if (rc == 0)
		rc = queue_impl_log_leave_out(reader->log, scan, position, *next);
	if (rc == 0)
		reader->stats.expired += *next - position;
	return rc;
}

/*
 * The next message that has not been read; it is in the scan's buffer. -EAGAIN: there is none yet.
 * Leaves reader->next at it.
 */
static int
next_message(struct queue_log_reader *reader, struct queue_impl_log_record *record)
{
	uint64_t until = queue_impl_log_visible(reader->log), from;
	int rc;

	while (reader->next < until) {
		rc = record_at(reader, &reader->scan, &reader->file, reader->next, record);
		if (rc == 0 && record->message)
			return 0;
		if (rc == 0) {
			reader->next = queue_impl_log_scan_next(&reader->scan, record);
		} else if (rc == -ENOENT) {
			from = beginning(reader->log);
			if (from <= reader->next) {
				/* A gap between files, or the next one is only being begun. */
				if (queue_impl_log_next_base(reader->log, reader->next, &from) < 0)
					return -EAGAIN;
			}
			reader->stats.expired += from - reader->next;
			reader->next = from;
		} else if (rc == -EILSEQ &&
			   reader->scan.end - reader->next < QUEUE_IMPL_LOG_RECORD) {
			reader->next = reader->scan.end;
		} else if (rc == -EILSEQ) {
			rc = pass_damage(reader, &reader->scan, reader->next, &from);
			if (rc < 0)
				return rc;
			reader->next = from;
		} else {
			return rc;
		}
	}
	return -EAGAIN;
}

/*
 * Delivering.
 */

/* What is known of a message from before the restart; NULL: nothing. */
static const struct exception *
exception_of(struct queue_log_reader *reader, uint64_t position)
{
	while (reader->exception < reader->n_exceptions &&
	       reader->exceptions[reader->exception].position < position)
		reader->exception++;
	if (reader->exception == reader->n_exceptions ||
	    reader->exceptions[reader->exception].position != position)
		return NULL;
	return &reader->exceptions[reader->exception++];
}

/* Takes the message that next_message has found into the window. */
static struct entry *
take_next(struct queue_log_reader *reader, const struct queue_impl_log_record *record)
{
	const struct exception *exception = exception_of(reader, record->position);
	struct entry *entry = entry_at(reader, reader->n);

	entry->position = record->position;
	entry->due = 0;
	entry->state = exception && exception->is_done ? DONE : OUT;
	/* It was out when the last process ended, once if no more is known. */
	entry->attempts = exception && exception->attempts > 0 ? exception->attempts
			  : record->position < reader->high    ? 1
							       : 0;
	reader->n++;
	reader->next = queue_impl_log_scan_next(&reader->scan, record);
	if (reader->high < reader->next)
		reader->high = reader->next;
	return entry;
}

struct delivery {
	struct queue_log_message *messages;
	int n, limit;
	unsigned char *buffer;
	size_t used, size;
};

static void
hand_out(struct queue_log_reader *reader, struct delivery *delivery,
	 const struct queue_impl_log_record *record, struct entry *entry)
{
	struct queue_log_message *message = &delivery->messages[delivery->n];

	if (entry->attempts > 0)
		reader->stats.redelivered++;
	entry->attempts++;
	entry->state = OUT;
	entry->due = after(reader->options.lease);
	if (reader->due > entry->due)
		reader->due = entry->due;
	message->position = record->position;
	message->data = delivery->buffer + delivery->used;
	message->length = record->message_size;
	message->attempt = entry->attempts;
	if (record->message_size > 0)
		memcpy(delivery->buffer + delivery->used, record->message, record->message_size);
	delivery->used += (record->message_size + 7) & ~(size_t)7;
	delivery->n++;
	reader->stats.delivered++;
}

static bool
fits(const struct delivery *delivery, const struct queue_impl_log_record *record)
{
	return delivery->used <= delivery->size &&
	       record->message_size <= delivery->size - delivery->used;
}

static int
refuse_length(struct delivery *delivery, const struct queue_impl_log_record *record)
{
	if (delivery->n > 0)
		return 0;
	delivery->messages[0].position = record->position;
	delivery->messages[0].data = NULL;
	delivery->messages[0].length = record->message_size;
	return -EMSGSIZE;
}

static bool
is_exhausted(const struct queue_log_reader *reader, const struct entry *entry)
{
	return reader->options.attempts > 0 && entry->attempts >= reader->options.attempts;
}

/*
 * Gives a message to the dead letters, without the lock meanwhile. It is done with when it is durable
 * there: it may come there twice, but is not lost.
 */
static int
bury(struct queue_log_reader *reader, const struct queue_impl_log_record *record,
     struct entry *entry)
{
	struct queue_log *log = reader->log;
	const struct queue_allocator *allocator = log->allocator;
	uint64_t position = record->position;
	size_t size = record->message_size;
	void *copy = allocator->allocate(allocator->context, size + 1, 1);
	int rc;

	if (!copy) {
		reader->due = 0;
		return -ENOMEM;
	}
	memcpy(copy, record->message, size);
	entry->state = DYING;
	pthread_mutex_unlock(&reader->lock);
	rc = queue_log_append(reader->options.dead_letters, copy, size, NULL);
	if (rc == 0 && !queue_impl_log_syncs_at_once(reader->options.dead_letters))
		rc = queue_log_sync(reader->options.dead_letters, QUEUE_NEVER);
	allocator->release(allocator->context, copy, size + 1, 1);
	pthread_mutex_lock(&reader->lock);
	/* Nobody else ends it, but others may have gone from before it. */
	entry = entry_at(reader, entry_of(reader, position));
	if (rc < 0) {
		entry->state = OUT;
		entry->due = queue_now() + TRY_AGAIN;
		if (reader->due > entry->due)
			reader->due = entry->due;
		return 0;
	}
	entry->state = DONE;
	reader->stats.dead_lettered++;
	advance(reader);
	changed(reader);
	return 0;
}

/* Those whose time has come. */
static int
deliver_again(struct queue_log_reader *reader, struct delivery *delivery)
{
	uint64_t now = queue_now(), due = QUEUE_NEVER, next;
	struct queue_impl_log_record record;
	uint32_t i;
	int rc = 0;

	if (now < reader->due)
		return 0;
	for (i = 0; i < reader->n && rc == 0; i++) {
		struct entry *entry = entry_at(reader, i);

		if (entry->state != OUT)
			continue;
		if (entry->due > now || delivery->n == delivery->limit) {
			due = due < entry->due ? due : entry->due;
			continue;
		}
		rc = record_at(reader, &reader->again, &reader->again_file, entry->position,
			       &record);
		if (rc == -EILSEQ)
			rc = pass_damage(reader, &reader->again, entry->position, &next) < 0
				     ? -EILSEQ
				     : -ENOENT;
		/* Retention has the last word. */
		if (rc == -ENOENT) {
			entry->state = DONE;
			rc = 0;
			continue;
		}
		if (rc == 0 && !fits(delivery, &record) && !is_exhausted(reader, entry)) {
			rc = refuse_length(delivery, &record);
			due = entry->due;
			break;
		}
		/* Burying lets go of the lock: the ring may be another one behind it. */
		if (rc == 0 && is_exhausted(reader, entry))
			return bury(reader, &record, entry);
		if (rc == 0)
			hand_out(reader, delivery, &record, entry);
		due = due < entry->due ? due : entry->due;
	}
	reader->due = due;
	advance(reader);
	return rc;
}

static int
deliver_new(struct queue_log_reader *reader, struct delivery *delivery)
{
	struct queue_impl_log_record record;
	struct entry *entry;
	int rc;

	while (delivery->n < delivery->limit && reader->n < reader->options.window) {
		rc = next_message(reader, &record);
		if (rc == -EAGAIN)
			advance(reader);
		if (rc < 0)
			return rc == -EAGAIN ? 0 : rc;
		if (!fits(delivery, &record))
			return refuse_length(delivery, &record);
		entry = take_next(reader, &record);
		if (entry->state == DONE) {
			advance(reader);
			continue;
		}
		if (!is_exhausted(reader, entry)) {
			hand_out(reader, delivery, &record, entry);
			continue;
		}
		rc = bury(reader, &record, entry);
		if (rc < 0)
			return rc;
	}
	return 0;
}

struct wait {
	struct queue_log_reader *reader;
	uint64_t changes, next;
};

/* Relaxed, both: who has waited looks again, with the lock. */
static bool
has_changed(struct queue_log *log, uint64_t argument)
{
	const struct wait *wait = (const void *)(uintptr_t)argument;

	return queue_impl_log_visible(log) > wait->next ||
	       (wait->next < UINT64_MAX && queue_impl_load32_rlx(&log->failed)) ||
	       queue_impl_load_rlx(&wait->reader->changes) != wait->changes;
}

/* With the lock, which is let go of meanwhile. */
static int
wait_for_messages(struct queue_log_reader *reader, uint64_t deadline)
{
	struct queue_log *log = reader->log;
	struct wait wait = {
		.reader = reader,
		.changes = reader->changes,
		/* With a full window only an acknowledgement helps. */
		.next = reader->n < reader->options.window ? reader->next : UINT64_MAX,
	};
	uint64_t until = reader->due < deadline ? reader->due : deadline;

	if (wait.next < UINT64_MAX && queue_impl_log_has_no_more(log, reader->next))
		return -EIO;
	if (deadline != QUEUE_NEVER && deadline <= queue_now())
		return -ETIMEDOUT;
	reader->waiting++;
	(void)queue_impl_fetch_add32_acq_rel(&log->waiting, 1);
	pthread_mutex_unlock(&reader->lock);
	(void)queue_impl_log_await(&log->progress, has_changed, log, (uintptr_t)&wait, until);
	pthread_mutex_lock(&reader->lock);
	(void)queue_impl_fetch_add32_acq_rel(&log->waiting, UINT32_MAX); /* LOG8 release */
	reader->waiting--;
	return 0;
}

int
queue_log_read_n(struct queue_log_reader *reader, struct queue_log_message *messages, int n,
		 void *buffer, size_t size, uint64_t deadline)
{
	struct delivery delivery = {
		.messages = messages, .limit = n, .buffer = buffer, .size = size};
	int rc = 0;

	if (!reader || !messages || n < 1 || (!buffer && size > 0))
		return -EINVAL;
	pthread_mutex_lock(&reader->lock);
	while (rc == 0 && delivery.n == 0) {
		rc = deliver_again(reader, &delivery);
		if (rc == 0)
			rc = deliver_new(reader, &delivery);
		if (rc == 0 && delivery.n == 0)
			rc = wait_for_messages(reader, deadline);
	}
	if (delivery.n > 0) {
		rc = delivery.n;
		/* Counts are kept where they matter; otherwise they go with what is written anyway. */
		reader->is_dirty = true;
	}
	pthread_mutex_unlock(&reader->lock);
	if (delivery.n > 0 && reader->options.attempts > 0)
		tell(reader);
	return rc;
}

int
queue_log_read(struct queue_log_reader *reader, struct queue_log_message *message, void *buffer,
	       size_t size, uint64_t deadline)
{
	int rc = queue_log_read_n(reader, message, 1, buffer, size, deadline);

	return rc > 0 ? 0 : rc;
}

bool
queue_impl_log_reader_is_past(struct queue_log_reader *reader, uint64_t position)
{
	bool is_past;

	pthread_mutex_lock(&reader->lock);
	is_past = reader->next >= position || queue_impl_log_has_no_more(reader->log, reader->next);
	pthread_mutex_unlock(&reader->lock);
	return is_past;
}

/*
 * What becomes of messages that are out.
 */

/* With the lock. */
static bool
finish(struct queue_log_reader *reader, uint64_t position)
{
	uint32_t i = entry_of(reader, position);

	if (i == reader->n || entry_at(reader, i)->state != OUT)
		return false;
	entry_at(reader, i)->state = DONE;
	reader->stats.acknowledged++;
	return true;
}

int
queue_log_ack_n(struct queue_log_reader *reader, const struct queue_log_message *messages, int n)
{
	int i, done = 0;

	if (!reader || n < 0 || (!messages && n > 0))
		return -EINVAL;
	pthread_mutex_lock(&reader->lock);
	for (i = 0; i < n; i++)
		done += finish(reader, messages[i].position);
	if (done > 0) {
		advance(reader);
		changed(reader);
	}
	pthread_mutex_unlock(&reader->lock);
	if (done > 0)
		tell(reader);
	return done;
}

int
queue_log_ack(struct queue_log_reader *reader, uint64_t position)
{
	const struct queue_log_message message = {.position = position};
	int done = queue_log_ack_n(reader, &message, 1);

	return done == 0 ? -ENOENT : done < 0 ? done : 0;
}

static int
set_due(struct queue_log_reader *reader, uint64_t position, uint64_t due)
{
	uint32_t i;
	int rc = -ENOENT;

	pthread_mutex_lock(&reader->lock);
	i = entry_of(reader, position);
	if (i < reader->n && entry_at(reader, i)->state == OUT) {
		entry_at(reader, i)->due = due;
		if (reader->due > due)
			reader->due = due;
		changed(reader);
		rc = 0;
	}
	pthread_mutex_unlock(&reader->lock);
	if (rc == 0)
		queue_impl_log_tell(&reader->log->progress);
	return rc;
}

int
queue_log_nack(struct queue_log_reader *reader, uint64_t position, uint64_t delay)
{
	return reader ? set_due(reader, position, after(delay)) : -EINVAL;
}

int
queue_log_renew(struct queue_log_reader *reader, uint64_t position, uint64_t lease)
{
	return reader ? set_due(reader, position, after(lease)) : -EINVAL;
}

int
queue_log_reader_stats(struct queue_log_reader *reader, struct queue_log_reader_stats *out)
{
	uint64_t until;

	if (!reader || !out)
		return -EINVAL;
	pthread_mutex_lock(&reader->lock);
	*out = reader->stats;
	out->position = reader->position;
	until = queue_impl_load_rlx(&reader->log->messages_end);
	out->lag = until > reader->position ? until - reader->position : 0;
	out->out = reader->n;
	pthread_mutex_unlock(&reader->lock);
	return 0;
}

/*
 * Their records.
 */

static size_t
padded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

/*
 * With the lock. How many bytes. There are no more exceptions than a window has room for: those of
 * before are about messages that have not been read again, and they were in one window then.
 */
static size_t
encode(const struct queue_log_reader *reader, unsigned char *bytes)
{
	size_t length = strlen(reader->name), size = NAME_AT + padded(length);
	uint16_t name_length = (uint16_t)length;
	uint32_t n = 0, i;
	struct exception exception;

	memset(bytes, 0, size);
	for (i = 0; i < reader->n; i++) {
		const struct entry *entry = entry_at(reader, i);

		exception.position = entry->position;
		exception.attempts = entry->attempts > 1 ? entry->attempts : 0;
		exception.is_done = entry->state == DONE;
		if (exception.attempts == 0 && !exception.is_done)
			continue;
		memcpy(bytes + size, &exception, sizeof exception);
		size += sizeof exception;
		n++;
	}
	for (i = reader->exception; i < reader->n_exceptions; i++, n++) {
		memcpy(bytes + size, &reader->exceptions[i], sizeof exception);
		size += sizeof exception;
	}
	memcpy(bytes, &reader->position, 8);
	memcpy(bytes + 8, &reader->high, 8);
	memcpy(bytes + 16, &name_length, 2);
	memcpy(bytes + 20, &n, 4);
	memcpy(bytes + NAME_AT, reader->name, length);
	return size;
}

/* With its lock. */
static int
write_reader(struct queue_log *log, struct queue_log_reader *reader)
{
	size_t size = encode(reader, log->scratch);
	uint64_t at;
	int rc = queue_impl_log_reserve(log, size, QUEUE_IMPL_LOG_FOR_OWN, &at);

	if (rc < 0)
		return rc;
	reader->is_dirty = false;
	reader->sent = reader->position;
	reader->sent_at = at;
	queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_READER, 0, log->scratch, size);
	return 0;
}

/* If there is anything to write. */
static int
write_changed(struct queue_log *log, struct queue_log_reader *reader, bool is_urgent)
{
	int rc = 0;

	/* A thread may be reading from the disk with the lock held. */
	if (is_urgent)
		pthread_mutex_lock(&reader->lock);
	else if (pthread_mutex_trylock(&reader->lock) != 0)
		return -EBUSY;
	if (reader->is_dirty)
		rc = write_reader(log, reader);
	pthread_mutex_unlock(&reader->lock);
	return rc;
}

static int
write_removed(struct queue_log *log, const struct queue_log_reader *reader)
{
	size_t length = strlen(reader->name);
	uint64_t at;
	int rc = queue_impl_log_reserve(log, length, QUEUE_IMPL_LOG_FOR_OWN, &at);

	if (rc == 0)
		queue_impl_log_publish(log, at, QUEUE_IMPL_LOG_REMOVED, 0, reader->name, length);
	return rc;
}

static void
reader_free(struct queue_log_reader *reader)
{
	const struct queue_allocator *allocator = reader->log->allocator;
	const struct queue_impl_disk *disk = reader->log->disk;

	queue_impl_log_scan_fini(&reader->scan);
	queue_impl_log_scan_fini(&reader->again);
	if (reader->file >= 0)
		disk->close(disk->context, reader->file);
	if (reader->again_file >= 0)
		disk->close(disk->context, reader->again_file);
	if (reader->entries)
		allocator->release(allocator->context, reader->entries,
				   reader->options.window * sizeof *reader->entries,
				   _Alignof(struct entry));
	if (reader->exceptions)
		allocator->release(allocator->context, reader->exceptions,
				   reader->exceptions_capacity * sizeof *reader->exceptions,
				   _Alignof(struct exception));
	pthread_mutex_destroy(&reader->lock);
	allocator->release(allocator->context, reader, sizeof *reader,
			   _Alignof(struct queue_log_reader));
}

int
queue_impl_log_write_readers(struct queue_log *log, bool is_urgent)
{
	struct queue_log_reader **link = &log->readers, *reader;
	int rc = 0, one = 0;

	pthread_mutex_lock(&log->readers_lock);
	while ((rc == 0 || rc == -EBUSY) && (reader = *link)) {
		if (!reader->is_removed) {
			one = reader->is_seeking ? 0 : write_changed(log, reader, is_urgent);
			link = &reader->following;
		} else {
			/* Before a new one of the same name, which is further behind. */
			one = write_removed(log, reader);
			if (one == 0) {
				*link = reader->following;
				reader_free(reader);
			}
		}
		if (one < 0)
			rc = one;
	}
	pthread_mutex_unlock(&log->readers_lock);
	return rc;
}

int
queue_impl_log_restate_readers(struct queue_log *log, uint64_t number)
{
	struct queue_log_reader *reader;
	int rc = 0;

	pthread_mutex_lock(&log->readers_lock);
	for (reader = log->readers; reader && rc == 0; reader = reader->following) {
		if (reader->is_removed || reader->is_seeking || reader->restate == number)
			continue;
		pthread_mutex_lock(&reader->lock);
		rc = write_reader(log, reader);
		pthread_mutex_unlock(&reader->lock);
		if (rc == 0)
			reader->restate = number;
	}
	pthread_mutex_unlock(&log->readers_lock);
	return rc;
}

uint64_t
queue_impl_log_kept(struct queue_log *log)
{
	struct queue_log_reader *reader;
	uint64_t kept = UINT64_MAX;

	pthread_mutex_lock(&log->readers_lock);
	for (reader = log->readers; reader; reader = reader->following) {
		if (reader->sent_at < log->durable)
			reader->kept = reader->sent;
		if (!reader->is_removed && kept > reader->kept)
			kept = reader->kept;
	}
	pthread_mutex_unlock(&log->readers_lock);
	return kept == UINT64_MAX ? 0 : kept;
}

void
queue_impl_log_reader_figures(struct queue_log *log, struct queue_log_stats *out)
{
	const struct queue_log_reader *reader;

	pthread_mutex_lock(&log->readers_lock);
	for (reader = log->readers; reader; reader = reader->following) {
		if (reader->is_removed)
			continue;
		if (out->readers++ == 0 || reader->kept < out->acknowledged) {
			out->acknowledged = reader->kept;
			memcpy(out->pinned_by, reader->name, sizeof out->pinned_by);
		}
	}
	pthread_mutex_unlock(&log->readers_lock);
}

/*
 * Readers that are known, open or not.
 */

/* With the list's lock, or in recovery. */
static struct queue_log_reader *
find(struct queue_log *log, const char *name, size_t length)
{
	struct queue_log_reader *reader = log->readers;

	while (reader && (reader->is_removed || strlen(reader->name) != length ||
			  memcmp(reader->name, name, length) != 0))
		reader = reader->following;
	return reader;
}

/* At the end of the list. */
static struct queue_log_reader *
add(struct queue_log *log, const char *name, size_t length)
{
	const struct queue_allocator *allocator = log->allocator;
	struct queue_log_reader *reader = allocator->allocate(allocator->context, sizeof *reader,
							      _Alignof(struct queue_log_reader));
	struct queue_log_reader **link = &log->readers;

	if (!reader)
		return NULL;
	memset(reader, 0, sizeof *reader);
	reader->log = log;
	memcpy(reader->name, name, length);
	reader->due = QUEUE_NEVER;
	reader->file = reader->again_file = -1;
	reader->sent_at = UINT64_MAX;
	(void)pthread_mutex_init(&reader->lock, NULL);
	queue_impl_log_scan_init(&reader->scan, log->disk, allocator);
	queue_impl_log_scan_init(&reader->again, log->disk, allocator);
	while (*link)
		link = &(*link)->following;
	*link = reader;
	return reader;
}

/* The exceptions of a record, in place of those that there are. */
static int
take_exceptions(struct queue_log_reader *reader, const unsigned char *bytes, uint32_t n)
{
	const struct queue_allocator *allocator = reader->log->allocator;
	struct exception *exceptions = reader->exceptions;

	if (n > reader->exceptions_capacity) {
		exceptions = allocator->allocate(allocator->context, n * sizeof *exceptions,
						 _Alignof(struct exception));
		if (!exceptions)
			return -ENOMEM;
		if (reader->exceptions)
			allocator->release(allocator->context, reader->exceptions,
					   reader->exceptions_capacity * sizeof *exceptions,
					   _Alignof(struct exception));
		reader->exceptions = exceptions;
		reader->exceptions_capacity = n;
	}
	if (n > 0)
		memcpy(exceptions, bytes, n * sizeof *exceptions);
	reader->n_exceptions = n;
	reader->exception = 0;
	return 0;
}

static void
forget(struct queue_log *log, const char *name, size_t length)
{
	struct queue_log_reader *reader = find(log, name, length);
	struct queue_log_reader **link = &log->readers;

	if (!reader)
		return;
	while (*link != reader)
		link = &(*link)->following;
	*link = reader->following;
	reader_free(reader);
}

int
queue_impl_log_reader_restore(struct queue_log *log, const struct queue_impl_log_record *record)
{
	struct queue_log_reader *reader;
	uint64_t position, high;
	uint16_t length;
	uint32_t n;

	if (record->kind == QUEUE_IMPL_LOG_REMOVED) {
		forget(log, (const char *)record->data, record->size);
		return 0;
	}
	memcpy(&position, record->data, 8);
	memcpy(&high, record->data + 8, 8);
	memcpy(&length, record->data + 16, 2);
	memcpy(&n, record->data + 20, 4);
	reader = find(log, (const char *)record->data + NAME_AT, length);
	if (!reader)
		reader = add(log, (const char *)record->data + NAME_AT, length);
	if (!reader)
		return -ENOMEM;
	reader->position = reader->next = reader->kept = reader->sent = position;
	reader->high = high;
	return take_exceptions(reader, record->data + NAME_AT + padded(length), n);
}

void
queue_impl_log_readers_fini(struct queue_log *log)
{
	struct queue_log_reader *reader;

	while ((reader = log->readers)) {
		log->readers = reader->following;
		reader_free(reader);
	}
}

/*
 * Opening and closing.
 */

static bool
is_visible(struct queue_log *log, uint64_t position)
{
	/* Relaxed: what can be read is looked at again. */
	return queue_impl_log_visible(log) > position || queue_impl_load32_rlx(&log->failed);
}

/* The first message at a position or behind it, which is waited for when it is being written. */
static int
seek_position(struct queue_log_reader *reader, uint64_t position)
{
	struct queue_log *log = reader->log;
	uint64_t tail = queue_impl_load_rlx(&log->tail); /* relaxed: a number */
	struct queue_impl_log_segment segment;
	struct queue_impl_log_record record;
	int rc = 0;

	if (position < reader->next)
		return 0;
	if (position >= tail) {
		reader->next = tail;
		return 0;
	}
	(void)queue_impl_log_wait(&log->progress, is_visible, log, position, QUEUE_NEVER);
	if (queue_impl_log_segment_at(log, position, &segment))
		reader->next = segment.base;
	while (rc == 0 && reader->next < position) {
		rc = next_message(reader, &record);
		if (rc == 0 && record.position >= position)
			break;
		if (rc == 0)
			reader->next = queue_impl_log_scan_next(&reader->scan, &record);
	}
	return rc == -EAGAIN ? 0 : rc;
}

/* What lies behind the last record with an earlier time. */
static int
seek_time(struct queue_log_reader *reader, uint64_t time)
{
	struct queue_log *log = reader->log;
	uint64_t until = queue_impl_log_visible(log), at, found, then;
	struct queue_impl_log_record record;
	size_t i;
	int rc = 0;

	pthread_mutex_lock(&log->lock);
	found = log->segments[0].base;
	for (i = 1; i < log->n_segments && log->segments[i].created < time; i++)
		found = log->segments[i].base;
	pthread_mutex_unlock(&log->lock);
	at = found;
	while (at < until) {
		rc = record_at(reader, &reader->scan, &reader->file, at, &record);
		if (rc < 0)
			break;
		at = queue_impl_log_scan_next(&reader->scan, &record);
		if (record.kind != QUEUE_IMPL_LOG_DURABLE || record.size == 0)
			continue;
		memcpy(&then, record.data, sizeof then);
		if (then >= time)
			break;
		found = at;
	}
	reader->next = found;
	/* Damage is for who reads there to find. */
	return rc == -EILSEQ || rc == -ENOENT ? 0 : rc;
}

static int
seek(struct queue_log_reader *reader)
{
	struct queue_log *log = reader->log;
	int rc = 0;

	reader->next = beginning(log);
	switch (reader->options.start) {
	case QUEUE_LOG_BEGINNING:
		break;
	case QUEUE_LOG_TAIL:
		reader->next = queue_impl_load_rlx(&log->tail); /* relaxed: a number */
		break;
	case QUEUE_LOG_POSITION:
		rc = seek_position(reader, reader->options.start_at);
		break;
	case QUEUE_LOG_TIME:
		rc = seek_time(reader, reader->options.start_at);
		break;
	}
	return rc;
}

static bool
set_reader_options(const struct queue_log *log, struct queue_log_reader_options *options)
{
	if (options->window == 0)
		options->window = QUEUE_LOG_WINDOW_MAX;
	if (options->lease == 0)
		options->lease = LEASE_DEFAULT;
	return (unsigned)options->start <= QUEUE_LOG_TIME &&
	       options->window <= QUEUE_LOG_WINDOW_MAX &&
	       (options->attempts > 0) == (options->dead_letters != NULL) &&
	       options->dead_letters != log &&
	       (!options->dead_letters ||
		queue_log_length_max(options->dead_letters) >= queue_log_length_max(log));
}

/* With the list's lock. A new one is not looked at by the committer before it knows where it is. */
static int
open_reader(struct queue_log *log, const char *name, const struct queue_log_reader_options *options,
	    struct queue_log_reader **out)
{
	const struct queue_allocator *allocator = log->allocator;
	size_t length = strlen(name);
	struct queue_log_reader *reader = find(log, name, length);
	bool is_new = !reader;

	if (reader && reader->is_open)
		return -EBUSY;
	if (is_new)
		reader = add(log, name, length);
	if (!reader)
		return -ENOMEM;
	reader->options = *options;
	reader->entries = allocator->allocate(allocator->context,
					      options->window * sizeof *reader->entries,
					      _Alignof(struct entry));
	if (!reader->entries) {
		if (is_new)
			forget(log, name, length);
		return -ENOMEM;
	}
	reader->first = reader->n = 0;
	reader->due = QUEUE_NEVER;
	memset(&reader->stats, 0, sizeof reader->stats);
	reader->is_open = true;
	reader->is_seeking = is_new;
	*out = reader;
	return 0;
}

int
queue_log_reader_open(struct queue_log *log, const char *name,
		      const struct queue_log_reader_options *options, struct queue_log_reader **out)
{
	struct queue_log_reader_options own = {.start = QUEUE_LOG_BEGINNING};
	struct queue_log_reader *reader;
	int rc;

	if (options)
		own = *options;
	if (!log || !name || !out || strlen(name) < 1 || strlen(name) > QUEUE_LOG_NAME_MAX ||
	    !set_reader_options(log, &own))
		return -EINVAL;
	pthread_mutex_lock(&log->readers_lock);
	rc = open_reader(log, name, &own, &reader);
	pthread_mutex_unlock(&log->readers_lock);
	if (rc < 0)
		return rc;
	if (reader->is_seeking) {
		/* All that there is is kept meanwhile. */
		rc = seek(reader);
		pthread_mutex_lock(&log->readers_lock);
		reader->position = reader->high = reader->kept = reader->sent = reader->next;
		reader->is_seeking = false;
		reader->is_dirty = true;
		if (rc < 0)
			forget(log, name, strlen(name));
		pthread_mutex_unlock(&log->readers_lock);
	}
	if (rc < 0)
		return rc;
	*out = reader;
	tell(reader);
	return 0;
}

/*
 * What is out, and what has been acknowledged out of order, becomes what the next one to open it has
 * to know.
 */
static int
put_back(struct queue_log_reader *reader)
{
	const struct queue_allocator *allocator = reader->log->allocator;
	uint32_t left = reader->n_exceptions - reader->exception, n = 0, i;
	uint32_t capacity = reader->n + left + 1; /* one more: not none */
	struct exception *exceptions = allocator->allocate(
		allocator->context, capacity * sizeof *exceptions, _Alignof(struct exception));

	if (!exceptions)
		return -ENOMEM;
	for (i = 0; i < reader->n; i++) {
		const struct entry *entry = entry_at(reader, i);

		exceptions[n].position = entry->position;
		exceptions[n].attempts = entry->attempts;
		exceptions[n++].is_done = entry->state == DONE;
	}
	for (i = 0; i < left; i++)
		exceptions[n++] = reader->exceptions[reader->exception + i];
	if (reader->exceptions)
		allocator->release(allocator->context, reader->exceptions,
				   reader->exceptions_capacity * sizeof *exceptions,
				   _Alignof(struct exception));
	allocator->release(allocator->context, reader->entries,
			   reader->options.window * sizeof *reader->entries,
			   _Alignof(struct entry));
	reader->entries = NULL;
	reader->exceptions = exceptions;
	reader->exceptions_capacity = capacity;
	reader->n_exceptions = n;
	reader->exception = reader->n = reader->first = 0;
	reader->next = reader->position;
	return 0;
}

int
queue_log_reader_close(struct queue_log_reader *reader)
{
	struct queue_log *log;
	int rc = -EBUSY;

	if (!reader)
		return 0;
	log = reader->log;
	pthread_mutex_lock(&log->readers_lock);
	pthread_mutex_lock(&reader->lock);
	if (reader->waiting == 0)
		rc = put_back(reader);
	if (rc == 0)
		reader->is_open = false;
	pthread_mutex_unlock(&reader->lock);
	pthread_mutex_unlock(&log->readers_lock);
	return rc;
}

int
queue_log_reader_remove(struct queue_log *log, const char *name)
{
	struct queue_log_reader *reader;
	int rc = 0;

	if (!log || !name)
		return -EINVAL;
	pthread_mutex_lock(&log->readers_lock);
	reader = find(log, name, strlen(name));
	if (!reader)
		rc = -ENOENT;
	else if (reader->is_open)
		rc = -EBUSY;
	else
		reader->is_removed = true;
	if (rc == 0)
		tell(reader);
	pthread_mutex_unlock(&log->readers_lock);
	return rc;
}
