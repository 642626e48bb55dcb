/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_LOG_IMPL_H
#define CONVEYOR_LIB_LOG_IMPL_H

/*
 * The log from inside. Who does what:
 *
 *   log.c           opens and closes it; append, wait: what the user's threads do
 *   log_commit.c    the committer, a thread that writes and syncs
 *   log_segment.c   files: those in use, the next ones made ready by a thread, old ones used again
 *   log_recover.c   what is found in a directory
 *   log_reader.c    named readers
 *   log_half.c      half messages, and the thread that has them decided
 *   log_format.c    bytes
 *   spill.c         a bounded queue that goes on in a log
 *
 * An append reserves room by moving `tail`, copies the message there, and stores the first word of
 * its record last: until then that is zero, for the committer clears what it has written. So the
 * staging memory is the log itself, from `released` to `tail`, in a ring: position p is at p modulo
 * its size. Aeron's log buffers work like that (Thompson, Montgomery); here the room is reserved by
 * compare-and-swap, so that nothing is reserved where it cannot be used.
 *
 *      released               written                                     tail
 *         |                      |                                          |
 *     ----+----------------------+------------------------------------------+----
 *   clear |  being cleared by    |  records, some of them still being copied| clear
 *         |  the committer       |                                          |
 *     ----+----------------------+------------------------------------------+----
 *
 * In a log that has just been opened most of the memory is still being cleared.
 */
#include <conveyor/impl/wait.h>
#include <conveyor/log.h>

#include "descriptor_impl.h"
#include "disk_impl.h"
#include "log_format_impl.h"

#include <pthread.h>
#include <stdbool.h>

/* What systems give memory in, mostly, where they can. */
#define QUEUE_IMPL_LOG_HUGE_PAGE (UINT64_C(2) << 20)

/* Files made ready: two are wanted, more come from old segments. */
#define QUEUE_IMPL_LOG_SPARES 4

/* Bytes of what is written of a reader, at most; a part of the smallest spare memory, and segment. */
#define QUEUE_IMPL_LOG_READER_MAX (24u + QUEUE_LOG_NAME_MAX + 16u * QUEUE_LOG_WINDOW_MAX)

/* A file in use. */
struct queue_impl_log_segment {
	uint64_t base, end; /* positions */
	uint64_t salt, created;
};

/* Half messages, under a lock that comes before log->lock. */
struct queue_impl_log_halves {
	pthread_mutex_t lock;
	pthread_cond_t changed;		    /* for the checker */
	struct queue_impl_log_half **table; /* by their ids */
	size_t table_size;
	struct queue_impl_log_half *first, *last; /* by where they are */
	/* Those whose decision is not durable yet, in the order of the decisions. */
	struct queue_impl_log_half *decided, *decided_last;
	uint64_t undecided, parked;
	uint64_t linked;    /* those whose decision is not durable included */
	uint64_t bytes;	    /* of their records */
	uint64_t wakes_at;  /* the checker sleeps until then */
	uint64_t next_move; /* before the log ends there, none is written again */
	pthread_t checker;
	bool has_checker, ending;
};

struct queue_log {
	/* read-only after open */
	const struct queue_impl_spill_operations *spill; /* first: see spill_impl.h */
	const struct queue_allocator *allocator;
	const struct queue_impl_disk *disk;
	struct queue_log_options options;
	int directory, lock_file;
	uint64_t segment; /* positions in each new segment; messages leave one to other records */
	uint64_t first_base; /* the one that was last when it was opened, */
	uint64_t first_end;
	uint64_t first_salt; /* and its salt */
	uint64_t seed;	     /* of the salts of those to come: a random number */
	unsigned char *staging;
	uint64_t staging_mask;
	uint64_t staging_spare; /* bytes of memory that messages leave to the log's own records */
	pthread_t committer, preparer;

	/* those who append */
	uint64_t tail queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t appended, bytes, refused;

	/* the committer */
	uint64_t released queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t written;
	uint64_t durable;
	/* The last queue_log_sync that is done, times two; and one, when it had no room on the disk. */
	uint64_t told_ticket;
	uint64_t messages_end; /* where the last message that was written ends */
	uint64_t batches, output, syncs;

	/* the committer's own */
	int file;	     /* of the last segment */
	uint64_t noted;	     /* what the last record DURABLE says is durable, */
	uint64_t noted_time; /* and when the last one with a time was written */
	uint64_t synced_at;
	uint64_t taken_ticket, ticket_end; /* the sync under way: when this is durable */
	bool is_refused;		   /* it has no room on the disk */
	uint64_t
		restates_from; /* where the readers are being written again from; 0: they are not */
	uint64_t restates_next; /* where they are to be next */
	uint64_t restate;	/* a number for each time */
	uint64_t complete_at;	/* the last COMPLETE, while it is not durable; else UINT64_MAX */
	uint64_t complete_from; /* where it says that all are known from, half messages as well */
	uint64_t needed;	/* nothing before is needed to know the readers: that is durable */
	uint64_t frees_at;	/* when it is tried again to let a file go, on a full disk */
	uint64_t readers_due;	/* when what has changed of readers is written at the latest */
	unsigned char *scratch; /* QUEUE_IMPL_LOG_READER_MAX bytes */
	int close_error;	/* what could not be written in the end */

	/* what the committer is told */
	uint64_t wanted_ticket queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t limit;		      /* there are files up to this position */
	uint32_t failed;	      /* an error number, for ever */
	uint32_t no_space;	      /* an error number: why the next file could not be made */
	uint32_t closing;	      /* for the committer */
	uint32_t ending;	      /* for the preparer, when the committer has ended */
	uint32_t readers_changed;     /* 1: there is something to write of them; 2: it is known */
	uint32_t waiting;	      /* the user's threads inside */
	struct queue_impl_event work; /* something to do for the committer */
	struct queue_impl_event progress; /* written, durable, told_ticket, failed */
	struct queue_impl_event room;	  /* released, limit, no_space, failed */
	struct queue_impl_event prepare;  /* something to do for the preparer */
	struct queue_impl_descriptor descriptor;

	/* files, under the lock */
	pthread_mutex_t lock queue_impl_aligned(QUEUE_IMPL_APART);
	struct queue_impl_log_segment *segments; /* one behind the other */
	size_t n_segments, segments_capacity;
	uint64_t spares[QUEUE_IMPL_LOG_SPARES]; /* the numbers in their names */
	size_t n_spares;
	uint64_t next_spare;

	/* readers, under a lock of their own, which comes before that of each */
	pthread_mutex_t readers_lock;
	struct queue_log_reader *readers;

	struct queue_impl_log_halves halves;
};

/*
 * log.c
 */

/* With another disk than the system's. */
int queue_impl_log_open(struct queue_log **out, const char *directory,
			const struct queue_log_options *options,
			const struct queue_impl_disk *disk);

/* The end of the segment that a position is in, and its salt; also when it is still to come. */
uint64_t queue_impl_log_segment_end(const struct queue_log *log, uint64_t position);
uint64_t queue_impl_log_salt(const struct queue_log *log, uint64_t position);

/*
 * What room is for. A segment at the end of the disk is kept back for what makes a full disk empty
 * again: all of it for the log's own records, half of it for half messages that are committed or
 * written again, which are as long as messages; so that acknowledgements always have theirs. And a
 * part of the memory is for the log's own records alone.
 */
enum queue_impl_log_use {
	QUEUE_IMPL_LOG_FOR_MESSAGES,
	QUEUE_IMPL_LOG_FOR_HALVES,
	QUEUE_IMPL_LOG_FOR_OWN
};

/*
 * Reserves room for a record with so much data. -EAGAIN: there is no room in memory, or the next file
 * is on its way; -ENOSPC, -EIO: there is none; -EIO: the log has failed.
 */
int queue_impl_log_reserve(struct queue_log *log, size_t size, enum queue_impl_log_use use,
			   uint64_t *position);

/* queue_log_append_async, but -EAGAIN instead of waiting for room; what it is given must be right. */
int queue_impl_log_try_append(struct queue_log *log, const void *data, size_t length,
			      uint64_t *position);

/* Fills what was reserved, for the committer to write. */
void queue_impl_log_publish(struct queue_log *log, uint64_t position, enum queue_impl_log_kind kind,
			    uint32_t aux, const void *data, size_t size);

/* One word of the staging memory. */
static inline uint64_t *
queue_impl_log_word(const struct queue_log *log, uint64_t position)
{
	return (uint64_t *)(void *)(log->staging + (position & log->staging_mask));
}

static inline bool
queue_impl_log_syncs_at_once(const struct queue_log *log)
{
	return log->options.sync == QUEUE_LOG_BATCH || log->options.sync == QUEUE_LOG_EACH;
}

/* All before can be read. */
static inline uint64_t
queue_impl_log_visible(const struct queue_log *log)
{
	return queue_impl_log_syncs_at_once(log)
		       ? queue_impl_load_acq(&log->durable)  /* LOG2 acquire */
		       : queue_impl_load_acq(&log->written); /* LOG2 acquire */
}

/* The log has failed, and what will ever be readable ends at this position or before. */
static inline bool
queue_impl_log_has_no_more(const struct queue_log *log, uint64_t position)
{
	/* In this order: once it has failed no more becomes visible. */
	return queue_impl_load32_acq(&log->failed) != 0 && /* LOG6 acquire */
	       position >= queue_impl_log_visible(log);
}

/* A user's thread: waits until reserve is worth trying again. 0; -ETIMEDOUT. */
int queue_impl_log_wait_for_room(struct queue_log *log, size_t size, enum queue_impl_log_use use,
				 uint64_t deadline);

/* A user's thread: waits until what was appended there is stored, as append does. 0; -EIO. */
int queue_impl_log_wait_stored(struct queue_log *log, uint64_t position);

/* Waits until is_true. 0; -ETIMEDOUT. */
int queue_impl_log_await(struct queue_impl_event *event,
			 bool (*is_true)(struct queue_log *log, uint64_t argument),
			 struct queue_log *log, uint64_t argument, uint64_t deadline);

/* The same for a user's thread: the log cannot be closed meanwhile. */
int queue_impl_log_wait(struct queue_impl_event *event,
			bool (*is_true)(struct queue_log *log, uint64_t argument),
			struct queue_log *log, uint64_t argument, uint64_t deadline);

/* Whoever waits for what has just changed looks again. */
void queue_impl_log_tell(struct queue_impl_event *event);

/*
 * Starts a thread of the log, which begins with the second of these; signals are for the program's
 * own ones. -EAGAIN.
 */
int queue_impl_log_start_thread(pthread_t *thread, void *(*run)(void *log), struct queue_log *log);
void queue_impl_log_begin_thread(const char *name);

/* Nothing is written any more. */
void queue_impl_log_fail(struct queue_log *log);

uint64_t queue_impl_log_time(void); /* nanoseconds since 1970 */

/*
 * log_segment.c
 */

/* Appends to the list. -ENOMEM. */
int queue_impl_log_segment_add(struct queue_log *log, const struct queue_impl_log_segment *segment);

/* The one that holds a position. False: none does any more, or yet. */
bool queue_impl_log_segment_at(struct queue_log *log, uint64_t position,
			       struct queue_impl_log_segment *segment);

/* The beginning of the first one behind a position. -EAGAIN: there is none. */
int queue_impl_log_next_base(struct queue_log *log, uint64_t position, uint64_t *base);

int queue_impl_log_open_file(const struct queue_log *log, uint64_t base,
			     enum queue_impl_disk_mode mode);

/* What can be appended without another file. */
void queue_impl_log_set_limit(struct queue_log *log);

/* Makes a file ready to be used. */
int queue_impl_log_make_spare(struct queue_log *log);

/* The committer: goes on in a segment that begins here, with a file that is ready; there is one. */
int queue_impl_log_rotate(struct queue_log *log, uint64_t base);

/* The committer: what lies before a position is not needed any more. */
void queue_impl_log_retire(struct queue_log *log, uint64_t before);

/* The thread that makes files ready. */
void *queue_impl_log_preparer(void *opaque);

/*
 * log_recover.c
 */

/* Finds out what there is, cuts off what is unfinished, and leaves all positions set. */
int queue_impl_log_recover(struct queue_log *log);

/* Tells of damage in the file of a segment. 0: it is to be left out; -EILSEQ. */
int queue_impl_log_report(const struct queue_log *log, uint64_t base, uint64_t offset,
			  uint64_t length);

/* Puts a record in the place of what is damaged, up to `next`, for ever. */
int queue_impl_log_leave_out(const struct queue_log *log, struct queue_impl_log_scan *scan,
			     uint64_t position, uint64_t next);

/*
 * log_reader.c
 */

/* Recovery: what a record READER or REMOVED says. */
int queue_impl_log_reader_restore(struct queue_log *log,
				  const struct queue_impl_log_record *record);
void queue_impl_log_readers_fini(struct queue_log *log);

/*
 * Has it read all messages before a position? Also when it has read all that there is of these, for
 * the log has failed.
 */
bool queue_impl_log_reader_is_past(struct queue_log_reader *reader, uint64_t position);

/*
 * The committer: appends records of those that have changed. -EBUSY: not all, for threads are reading;
 * `is_urgent`: it waits for those. -EAGAIN, -ENOSPC: not all, for there is no room now.
 */
int queue_impl_log_write_readers(struct queue_log *log, bool is_urgent);

/* The committer: the same for those that do not have this number yet. */
int queue_impl_log_restate_readers(struct queue_log *log, uint64_t number);

/* The committer, after a sync: the position that all have acknowledged durably. */
uint64_t queue_impl_log_kept(struct queue_log *log);

void queue_impl_log_reader_figures(struct queue_log *log, struct queue_log_stats *out);

/*
 * log_half.c
 */
void queue_impl_log_halves_init(struct queue_log *log);
void queue_impl_log_halves_fini(struct queue_log *log);

/* Recovery: what a record PREPARE, COMMIT, ROLLBACK or CHECKED says; and nothing is known of any. */
int queue_impl_log_half_restore(struct queue_log *log, const struct queue_impl_log_record *record);
void queue_impl_log_halves_forget(struct queue_log *log);

/* Starts the checker, if it is needed; ends it. */
int queue_impl_log_halves_start(struct queue_log *log);
void queue_impl_log_halves_stop(struct queue_log *log);

/* Is this the checker's thread? */
bool queue_impl_log_is_checker(const struct queue_log *log);

/* The committer: nothing from here on can go, for the oldest that is undecided; UINT64_MAX: there is none. */
uint64_t queue_impl_log_halves_kept(struct queue_log *log);

void queue_impl_log_half_figures(struct queue_log *log, struct queue_log_stats *out);

/*
 * log_commit.c
 */
void *queue_impl_log_committer(void *opaque);

/* It writes and syncs all that has been appended, and ends. */
void queue_impl_log_stop_committer(struct queue_log *log);

/* The committer, or before there is one: clears the staging memory up to a position. */
void queue_impl_log_clear(struct queue_log *log, uint64_t to);

/*
 * spill.c
 */
extern const struct queue_impl_spill_operations queue_impl_spill_operations;

#endif
