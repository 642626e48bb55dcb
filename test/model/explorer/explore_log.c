/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log as it is in lib/, with its committer, between threads that append and wait, for the
 * explorer.
 *
 *	log SYNC CALLS...
 *
 * SYNC is batch, where the committer syncs each batch; none, where it does so when it is asked to; or
 * fails, as batch but that the second sync fails. CALLS is what one thread does, a letter for each
 * call: a appends a message and waits until it is stored, d appends one and looks whether it is
 * durable, s has all synced, p asks whether there is no more for a reader that has read nothing.
 * When all have ended the committer is told to end.
 *
 * There are no readers, and no other threads of the log, so that only the committer takes locks;
 * the disk is plain memory.
 *
 * Checked: nobody sleeps for ever beside what he waits for (the explorer reports a deadlock), which
 * is a record for the committer, and what the committer has done for others; what is said to be
 * stored is there, which is a data race where nothing orders it; where there was no more to read,
 * nothing has been stored.
 */
#include "explorer.h"

#include "crc32c_impl.h"
#include "log_impl.h"
#include "spill_impl.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define THREADS 3
#define CALLS 2
#define MEMORY 1024
#define FILE_NUMBER 1
#define NOWHERE UINT64_MAX

static struct queue_log own;
static _Alignas(uint64_t) unsigned char staging[MEMORY];
static struct queue_impl_log_segment only;
static bool sync_fails, was_past;
static unsigned syncs;

/* The file, a number for each eight bytes of it: is there something, and was it synced? */
static int in_file[MEMORY / 8], in_stable[MEMORY / 8];

static int
write_file(void *context, int file, const void *data, size_t length, uint64_t offset)
{
	uint64_t at = offset - QUEUE_IMPL_LOG_HEADER;

	(void)context;
	(void)data;
	explorer_assert(file == FILE_NUMBER && at + length <= MEMORY);
	for (; length > 0; length -= 8, at += 8)
		in_file[at / 8] = 1;
	return 0;
}

static int
sync_file(void *context, int file)
{
	unsigned i;

	(void)context;
	explorer_assert(file == FILE_NUMBER);
	if (sync_fails && ++syncs == 2)
		return -EIO;
	for (i = 0; i < MEMORY / 8 && in_file[i]; i++)
		if (!in_stable[i])
			in_stable[i] = 1;
	return 0;
}

/* Nobody looks at it here, and its tables would be most of what there is to explore. */
uint32_t
queue_impl_crc32c(uint32_t crc, const void *data, size_t length)
{
	(void)data;
	return crc + (uint32_t)length;
}

/* No queue goes on in it. */
const struct queue_impl_spill_operations queue_impl_spill_operations;

static const struct queue_impl_disk disk = {.write = write_file, .sync = sync_file};

static void
set_up(enum queue_log_sync sync)
{
	struct queue_log *log = &own;

	memset(log, 0, sizeof *log);
	memset(staging, 0, sizeof staging);
	memset(in_file, 0, sizeof in_file);
	memset(in_stable, 0, sizeof in_stable);
	was_past = false;
	syncs = 0;
	log->disk = &disk;
	log->options.sync = sync;
	log->segment = log->first_end = MEMORY * 2;
	log->limit = log->first_end + log->segment; /* there is a spare one */
	log->staging = staging;
	log->staging_mask = MEMORY - 1;
	only.end = log->first_end;
	log->segments = &only;
	log->n_segments = 1;
	log->file = FILE_NUMBER;
	/* That something was durable before it was opened is nothing to write, nor are readers. */
	log->restates_next = log->complete_at = UINT64_MAX;
	(void)pthread_mutex_init(&log->lock, NULL);
	(void)pthread_mutex_init(&log->readers_lock, NULL);
	queue_impl_log_halves_init(log);
	explorer_name(&log->tail, "tail");
	explorer_name(&log->released, "released");
	explorer_name(&log->written, "written");
	explorer_name(&log->durable, "durable");
	explorer_name(&log->wanted_ticket, "wanted_ticket");
	explorer_name(&log->told_ticket, "told_ticket");
	explorer_name(&log->closing, "closing");
	explorer_name(&log->work.word, "work");
	explorer_name(&log->progress.word, "progress");
	explorer_name(&log->room.word, "room");
	explorer_name(staging, "record 0");
}

static void *
act(void *calls)
{
	const uint64_t message = 1;
	uint64_t position = NOWHERE;
	const char *call;
	int rc;

	for (call = (const char *)calls; *call; call++) {
		switch (*call) {
		case 'a':
			rc = queue_log_append(&own, &message, sizeof message, &position);
			break;
		case 'd':
			rc = queue_log_append_async(&own, &message, sizeof message, &position);
			break;
		case 'p':
			rc = 0;
			was_past = queue_impl_log_has_no_more(&own, 0);
			break;
		default:
			rc = queue_log_sync(&own, QUEUE_NEVER);
		}
		if (sync_fails && rc == -EIO)
			return NULL;
		explorer_assert(rc == 0);
		if (*call == 'a' && own.options.sync == QUEUE_LOG_NONE)
			explorer_assert(in_file[position / 8] == 1);
		else if (position != NOWHERE &&
			 (*call != 'd' || queue_log_durable(&own) > position))
			explorer_assert(in_stable[position / 8] == 1);
	}
	return NULL;
}

const char program_usage[] =
	" SYNC CALLS...\n"
	"\n"
	"  SYNC   batch: the committer syncs each batch; none: when it is asked to;\n"
	"         fails: as batch, and the second sync fails\n"
	"  CALLS  what a thread does, a letter for each call; up to 3 threads: a appends\n"
	"         and waits until that is stored, d appends and looks whether it is\n"
	"         durable, s has all synced that it has appended, p asks whether there\n"
	"         is no more for a reader that has read nothing\n";

void
program_check(void)
{
	const char *const words[] = {"batch", "none", "fails", NULL};
	int i;

	explorer_need_word(0, "SYNC", words);
	for (i = 1; i == 1 || (i < 1 + THREADS && explorer_argument(i)); i++)
		explorer_need_calls(i, "CALLS", "adps", CALLS);
	explorer_need_no_more(i);
}

int
main(void)
{
	pthread_t threads[THREADS];
	unsigned n, i;

	set_up(strcmp(explorer_argument(0), "none") == 0 ? QUEUE_LOG_NONE : QUEUE_LOG_BATCH);
	sync_fails = strcmp(explorer_argument(0), "fails") == 0;
	(void)pthread_create(&own.committer, NULL, queue_impl_log_committer, &own);
	for (n = 0; n < THREADS && explorer_argument((int)n + 1); n++) {
		char *calls = (char *)(uintptr_t)explorer_argument((int)n + 1);

		(void)pthread_create(&threads[n], NULL, act, calls);
	}
	for (i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	queue_impl_log_stop_committer(&own);
	explorer_assert(!was_past || own.durable == 0);
	explorer_assert(own.failed || (own.durable == own.written && own.durable == own.tail));
	explorer_assert(!own.failed || sync_fails);
	return 0;
}
