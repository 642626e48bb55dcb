/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LOG_H
#define CONVEYOR_LOG_H

/*
 * queue_log: a durable queue of messages in a directory, for one process and many threads, as long
 * as the disk is large. What it said is stored is there after any crash. See queue_log(3),
 * queue_log_reader(3), and queue_log(5) for what is in the files.
 *
 * Promises.     P1  A message that is durable (queue_log_append returned 0, with QUEUE_LOG_BATCH or
 *                   EACH) is delivered at least once to each reader, after any crash that leaves
 *                   synced sectors intact; unless retention, which was asked for, takes it away.
 *               P2  After a crash the log holds the messages that were appended first, in their
 *                   order, and all that were durable: it is cut somewhere, never holed.
 *               P3  A message that was acknowledged is not delivered again to that reader, once a
 *                   queue_log_sync that began later has returned 0.
 *               P4  Damage to what was synced is reported, with file and offset, and never passed
 *                   over in silence; with QUEUE_LOG_SALVAGE only what is damaged is lost.
 * Progress.     All calls may wait: for room in memory, for the disk, for locks. Many threads append
 *               at the same time; one that is stopped for ever in the middle of it holds up what is
 *               appended later.
 * Concurrency.  open and close are to be kept apart from everything else on that log, and
 *               reader_close from everything on that reader. All others may be called by any thread
 *               at any time.
 * Ordering.     LOG1  append: the message's bytes -> committer: writes them   via its length
 *               LOG2  committer: written, synced -> append, wait, read         via written, durable
 *               LOG3  committer: bytes cleared -> append: room used again      via released
 *               LOG4  sync: all appended before -> committer: syncs that       via wanted_ticket
 *               LOG5  committer: it is synced -> sync: says so                 via told_ticket
 *               LOG6  committer: the last that is stored -> read: no more      via failed
 *               LOG7  close: all appended before -> committer: writes it       via closing
 *               LOG8  who waited: last access -> close: frees                  via waiting
 */
#include <conveyor/alloc.h>
#include <conveyor/clock.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* When what was appended is on the disk, and not only with the operating system. */
enum queue_log_sync {
	QUEUE_LOG_BATCH = 0, /* as soon as the sync before has ended, all that has come meanwhile */
	QUEUE_LOG_EACH,	     /* a sync for each message */
	QUEUE_LOG_INTERVAL,  /* a sync every options.interval */
	QUEUE_LOG_NONE	     /* when queue_log_sync is called, a segment is full, or at the end */
};

/* Flags of queue_log_open. */
#define QUEUE_LOG_SALVAGE 1u   /* leave out what is damaged, and report it */
#define QUEUE_LOG_NO_CREATE 2u /* -ENOENT when there is no log */

#define QUEUE_LOG_SEGMENT_MIN (UINT64_C(1) << 16)
#define QUEUE_LOG_SEGMENT_MAX (UINT64_C(1) << 30)
#define QUEUE_LOG_NAME_MAX 64	   /* bytes of a reader's name */
#define QUEUE_LOG_WINDOW_MAX 1024u /* messages of a reader that are out */
#define QUEUE_LOG_KEY_MAX 256	   /* bytes of a half message's key */

/* What is to become of a half message. */
enum queue_log_verdict {
	QUEUE_LOG_UNKNOWN = 0, /* it is asked again, later */
	QUEUE_LOG_COMMIT,
	QUEUE_LOG_ROLLBACK
};

/* A message that was prepared and is neither committed nor rolled back. */
struct queue_log_half {
	uint64_t id;
	const void *key; /* for the time of the call, and data */
	size_t key_length;
	const void *data;
	size_t length;
	uint64_t prepared; /* nanoseconds since 1970 */
	uint32_t checks;   /* so often options.check said UNKNOWN */
	int parked;	   /* that was too often: it is not asked any more */
};

/* Bytes that should have held messages, or the log's own records, and do not. */
struct queue_log_damage {
	const char *file;  /* in the directory; for the time of the call */
	uint64_t offset;   /* in the file, where it begins */
	uint64_t position; /* in the log */
	uint64_t length;   /* up to the next record that is intact, or to the end of the file */
	int salvaged;	   /* it is left out from now on */
};

/* All zero is the default. */
struct queue_log_options {
	enum queue_log_sync sync;
	uint64_t interval; /* QUEUE_LOG_INTERVAL: nanoseconds */
	unsigned flags;
	uint64_t segment_size; /* bytes of a file, a multiple of 4096; 0: 64 MiB */
	uint64_t staging_size; /* bytes of memory for what is not written yet; 0: 4 MiB */

	/*
	 * Messages are kept until every reader has acknowledged them, or, where one of these is not
	 * 0, no longer than until there are so many bytes, or they are so many nanoseconds old.
	 */
	uint64_t retain_bytes;
	uint64_t retain_age;

	/* Called by the committer after each sync: all before position is durable. Must not wait. */
	void (*on_durable)(uint64_t position, void *context);
	/* Told of each damage, by open and by reads, on their thread. Must not call the log. */
	void (*on_damage)(const struct queue_log_damage *damage, void *context);

	/*
	 * Decides half messages, on a thread of the log: those of an earlier process at once, others
	 * when they are check_after nanoseconds old (0: 10 s). After UNKNOWN it is asked again in
	 * check_after, then in twice that, and so on, up to an hour; after the check_limit-th (0: 15)
	 * the message is parked. May call the log, but for close. NULL: nobody is asked.
	 */
	enum queue_log_verdict (*check)(const struct queue_log_half *half, void *context);
	uint64_t check_after;
	uint32_t check_limit;
	void *context; /* for these three */

	const struct queue_allocator *allocator; /* NULL: libc's */
};

/* Counters count since open. */
struct queue_log_stats {
	uint64_t begins;   /* the position of the oldest byte kept */
	uint64_t ends;	   /* what is appended next comes here or later */
	uint64_t written;  /* all before is with the operating system */
	uint64_t durable;  /* all before is on the disk */
	uint64_t appended; /* messages */
	uint64_t bytes;	   /* of these, without the log's own */
	uint64_t refused;  /* appends for which there was no next file */
	uint64_t batches;  /* writes */
	uint64_t output;   /* bytes of these */
	uint64_t syncs;
	uint64_t segments; /* files in use */
	uint64_t spares;   /* files ready to be used */
	uint64_t readers;
	uint64_t undecided; /* half messages of which no decision is stored, parked ones included */
	uint64_t parked;
	uint64_t acknowledged; /* the least of all readers' positions: what is kept begins here */
	char pinned_by[QUEUE_LOG_NAME_MAX + 1]; /* the reader whose that is; "" without readers */
	int failed; /* 0, or why nothing can be appended any more: -EIO */
};

/* Where a reader that is new begins. */
enum queue_log_start {
	QUEUE_LOG_BEGINNING = 0, /* with the oldest message that is kept */
	QUEUE_LOG_TAIL,		 /* with what is appended from now on */
	QUEUE_LOG_POSITION,	 /* with the first message at start_at or behind it; or as TAIL */
	QUEUE_LOG_TIME /* with the first message appended at start_at, or a little earlier */
};

struct queue_log;
struct queue_log_reader;

/* All zero is the default. */
struct queue_log_reader_options {
	enum queue_log_start start;
	uint64_t start_at; /* a position; or nanoseconds since 1970 */
	uint64_t lease;	   /* nanoseconds a message is out before it comes again; 0: 30 s */
	uint32_t window;   /* messages out at most, or acknowledged out of order; 0: the most */
	/* After so many deliveries a message goes to dead_letters instead; 0 and NULL: never. */
	uint32_t attempts;
	struct queue_log *dead_letters; /* another log, open as long, for messages as long */
};

struct queue_log_message {
	uint64_t position;
	const void *data; /* in the buffer given to read */
	size_t length;
	uint32_t attempt; /* 1 the first time; counts over restarts, as far as it was written */
};

struct queue_log_reader_stats {
	uint64_t position;	/* all before is acknowledged */
	uint64_t lag;		/* bytes from there to the end of the last message */
	uint64_t out;		/* messages that are out, to come again, or done out of order */
	uint64_t delivered;	/* since it was opened, as all below */
	uint64_t redelivered;	/* of these, not for the first time */
	uint64_t acknowledged;	/* messages */
	uint64_t dead_lettered; /* messages */
	uint64_t expired; /* bytes that retention or salvage has taken away before it came there */
};

/*
 * Opens the log in a directory, which is made when it is not there, and starts its threads. What a
 * crash has left unfinished is cut off. -EBUSY: it is open, here or elsewhere; -EILSEQ: there is
 * damage (on_damage says where), and no QUEUE_LOG_SALVAGE; -ENOTSUP: a later version has made it;
 * -EINVAL, -ENOMEM, -EAGAIN: no thread could be started; and what the system says: -ENOENT,
 * -EACCES, -ENOSPC, -EIO. *out is written on success only.
 */
int queue_log_open(struct queue_log **out, const char *directory,
		   const struct queue_log_options *options);

/*
 * Writes and syncs what there is, closes its readers, ends it. 0; -EIO: something could not be
 * stored, what that was, wait has said or would have; -ENOSPC: what was acknowledged could not;
 * -EBUSY, and nothing is done: a thread waits inside. NULL is allowed.
 */
int queue_log_close(struct queue_log *log);

/* The longest message that can be appended. */
uint64_t queue_log_length_max(const struct queue_log *log);

/*
 * Appends a message of any bytes, none included. Returns when it is stored: on the disk with
 * QUEUE_LOG_BATCH and EACH, with the operating system otherwise. *position, which may be NULL, is
 * its place: a number that only grows. -EMSGSIZE: too long; -ENOSPC: the disk is full, nothing was
 * appended; -EIO: the disk has failed, now or before, or no file could be made; whether the message
 * is stored, is not known when *position was written.
 */
int queue_log_append(struct queue_log *log, const void *data, size_t length, uint64_t *position);

/* The same, but returns when the message is in memory, in its place. Waits for room there. */
int queue_log_append_async(struct queue_log *log, const void *data, size_t length,
			   uint64_t *position);

/*
 * Waits until the message at that position is on the disk: 0. -ETIMEDOUT; -EIO: it cannot be known;
 * -EINVAL: nothing was appended there yet.
 */
int queue_log_wait(struct queue_log *log, uint64_t position, uint64_t deadline);

/*
 * Has all that was appended, and acknowledged, before this call synced. 0; -ETIMEDOUT; -EIO; -ENOSPC:
 * the disk is so full that what was acknowledged cannot be written.
 */
int queue_log_sync(struct queue_log *log, uint64_t deadline);

/* All before this position is on the disk. */
uint64_t queue_log_durable(const struct queue_log *log);

/*
 * A descriptor for poll(2) and epoll(7), readable after each sync, and when the log fails, until
 * queue_log_fd_clear is called; it is so after this call. The same one each time; the log's.
 * -EAGAIN: the system has no more descriptors; -ENOMEM.
 */
int queue_log_fd(struct queue_log *log);

/* Makes the descriptor unreadable until the next sync; returns queue_log_durable. */
uint64_t queue_log_fd_clear(struct queue_log *log);

/* Fills *out. Returns 0. */
int queue_log_stats(struct queue_log *log, struct queue_log_stats *out);

/*
 * Stores a message that nobody reads before it is committed. *id names it, also after a restart; the
 * key, up to QUEUE_LOG_KEY_MAX bytes, tells options.check what it belongs to. As queue_log_append
 * otherwise; -EMSGSIZE: key and message together are longer than queue_log_half_max; -EAGAIN: no
 * thread could be started.
 */
int queue_log_prepare(struct queue_log *log, const void *key, size_t key_length, const void *data,
		      size_t length, uint64_t *id);
uint64_t queue_log_half_max(const struct queue_log *log);

/*
 * Has it delivered: it is a message from now on, at *position, which may be NULL. Returns when that
 * is stored, as queue_log_append. -ENOENT: it was decided before, or there is none; -ENOSPC: the
 * disk is full, and it is as it was; -ENOMEM, the same; -EIO: it cannot be known; -EILSEQ: it is
 * damaged.
 */
int queue_log_commit(struct queue_log *log, uint64_t id, uint64_t *position);

/* It is never delivered. Returns when that is stored. -ENOENT; -ENOSPC; -EIO. */
int queue_log_rollback(struct queue_log *log, uint64_t id);

/* A parked one is checked again, as if it were new. -ENOENT: it is not parked. */
int queue_log_unpark(struct queue_log *log, uint64_t id);

/*
 * Calls visit for each that is undecided, the oldest first, until it returns something else than 0,
 * which is returned then; it may call the log. 0; -ENOMEM, and as read.
 */
int queue_log_undecided(struct queue_log *log,
			int (*visit)(const struct queue_log_half *half, void *context),
			void *context);

/*
 * A reader goes through the messages in their order, from where the one with that name was when the
 * log was closed; a new one from where options say. Several threads may share it: each message goes
 * to one of them. name: 1 to QUEUE_LOG_NAME_MAX bytes. -EBUSY: it is open; -EINVAL, -ENOMEM; -EIO,
 * -EILSEQ as read.
 */
int queue_log_reader_open(struct queue_log *log, const char *name,
			  const struct queue_log_reader_options *options,
			  struct queue_log_reader **out);

/* What is out comes again to who opens it next. -EBUSY: a thread waits inside. NULL is allowed. */
int queue_log_reader_close(struct queue_log_reader *reader);

/* The log forgets a reader, and keeps nothing for it. -EBUSY: it is open; -ENOENT: there is none. */
int queue_log_reader_remove(struct queue_log *log, const char *name);

/*
 * Waits for messages until the deadline, copies up to n of them into the buffer and describes them in
 * messages[]: first those whose lease has ended or that were given back, then new ones. They are out
 * from now on. Only what is durable is read with QUEUE_LOG_BATCH and EACH, what is with the operating
 * system otherwise. Returns how many, 1 to n. -ETIMEDOUT; -EMSGSIZE: the first needs a larger buffer,
 * of messages[0].length bytes; -EILSEQ: the next one is damaged, on_damage says where; -EIO: the log
 * has failed, and all that is durable is out or acknowledged; or the disk fails; -EINVAL, -ENOMEM.
 */
int queue_log_read_n(struct queue_log_reader *reader, struct queue_log_message *messages, int n,
		     void *buffer, size_t size, uint64_t deadline);

/* One message. 0, or as above. */
int queue_log_read(struct queue_log_reader *reader, struct queue_log_message *message, void *buffer,
		   size_t size, uint64_t deadline);

/*
 * The message is done with. In any order. Never waits for the disk: it is written with what is
 * appended next, or after 10 ms, or by queue_log_sync. -ENOENT: no such message is out.
 */
int queue_log_ack(struct queue_log_reader *reader, uint64_t position);

/* Of n messages; returns how many of them were out. */
int queue_log_ack_n(struct queue_log_reader *reader, const struct queue_log_message *messages,
		    int n);

/* It is to come again after `delay` nanoseconds. -ENOENT: no such message is out. */
int queue_log_nack(struct queue_log_reader *reader, uint64_t position, uint64_t delay);

/* It stays out for that long from now on. -ENOENT: no such message is out. */
int queue_log_renew(struct queue_log_reader *reader, uint64_t position, uint64_t lease);

/* Fills *out. Returns 0. */
int queue_log_reader_stats(struct queue_log_reader *reader, struct queue_log_reader_stats *out);

#ifdef __cplusplus
}
#endif

#endif
