/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue-log bench: how many messages a log on this disk takes, and how long one waits, by turns
 * with writes and syncs of as many bytes, which are what the disk can do.
 */
#include "../../bench/histogram.h"
#include "command.h"
#include "look.h"
#include "text.h"

#include <conveyor/clock.h>
#include <conveyor/log.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define SIZE_LARGEST 1048552
#define SECONDS_MAX 3600
#define INTERVAL_MAX 3600000 /* ms */
#define PIPELINED 64	     /* messages of a thread that wait together */
#define TURN 500000000	     /* nanoseconds */

/* Of the log's files, and of the one beside. With those that are kept it is not too much to ask. */
#define FILE_SIZE (UINT64_C(16) << 20)

struct bench;

struct appender {
	const struct bench *bench;
	pthread_t thread;
	uint64_t until;
	uint64_t messages;
	int rc;
	struct bench_histogram latency;
};

/* What has been done in all turns. */
struct done {
	uint64_t nanoseconds;
	uint64_t messages, bytes;
	uint64_t syncs, writes;
	struct bench_histogram latency;
};

struct bench {
	const struct options *options;
	char *path;
	struct queue_log *log;
	int directory, raw; /* files */
	unsigned char *bytes;
	struct appender *appenders;
	struct done log_done, raw_done;
};

static volatile sig_atomic_t is_stopped;

/* ---- Options --------------------------------------------------------------------------------- */

static bool
set_threads(struct options *options, const char *name, const char *text)
{
	return read_number(name, text, 1, THREADS_MAX, &options->threads);
}

static bool
set_size(struct options *options, const char *name, const char *text)
{
	return read_number(name, text, 0, SIZE_LARGEST, &options->size);
}

static bool
set_seconds(struct options *options, const char *name, const char *text)
{
	uint64_t seconds;

	if (!read_number(name, text, 1, SECONDS_MAX, &seconds))
		return false;
	options->seconds = (double)seconds;
	return true;
}

static bool
set_pipelined(struct options *options, const char *name, const char *text)
{
	(void)name;
	(void)text;
	return options->pipelined = true;
}

static bool
set_sync(struct options *options, const char *name, const char *text)
{
	static const char interval[] = "interval=";
	uint64_t ms = 0;

	if (strcmp(text, "batch") == 0) {
		options->sync = SYNC_BATCH;
	} else if (strcmp(text, "each") == 0) {
		options->sync = SYNC_EACH;
	} else if (strcmp(text, "none") == 0) {
		options->sync = SYNC_NONE;
	} else if (strncmp(text, interval, sizeof interval - 1) == 0) {
		options->sync = SYNC_INTERVAL;
		if (!is_number(text + sizeof interval - 1, 1, INTERVAL_MAX, &ms)) {
			complain("--%s: \"%s\" has no number of ms from 1 to %d", name, text,
				 INTERVAL_MAX);
			return false;
		}
	} else {
		complain("--%s: \"%s\" is none of batch, each, interval=MS, none", name, text);
		return false;
	}
	options->interval = ms * QUEUE_MILLISECOND;
	return true;
}

/* ---- Appending ------------------------------------------------------------------------------- */

static bool
waits(const struct options *options)
{
	return options->sync != SYNC_NONE;
}

static int
append_one(struct appender *appender)
{
	const struct bench *bench = appender->bench;
	uint64_t begun = queue_now();
	int rc = queue_log_append(bench->log, bench->bytes, bench->options->size, NULL);

	if (rc < 0)
		return rc;
	bench_histogram_add(&appender->latency, queue_now() - begun);
	appender->messages++;
	return 0;
}

/* From each one's append on until the last one is on the disk. */
static int
append_many(struct appender *appender)
{
	const struct bench *bench = appender->bench;
	uint64_t begun[PIPELINED], ended, last = 0;
	size_t i;
	int rc = 0;

	for (i = 0; i < PIPELINED && rc == 0; i++) {
		begun[i] = queue_now();
		rc = queue_log_append_async(bench->log, bench->bytes, bench->options->size, &last);
		if (rc == 0 && !waits(bench->options))
			bench_histogram_add(&appender->latency, queue_now() - begun[i]);
	}
	if (rc == 0 && waits(bench->options)) {
		rc = queue_log_wait(bench->log, last, QUEUE_NEVER);
		ended = queue_now();
		for (i = 0; i < PIPELINED && rc == 0; i++)
			bench_histogram_add(&appender->latency, ended - begun[i]);
	}
	if (rc == 0)
		appender->messages += PIPELINED;
	return rc;
}

static void *
append(void *opaque)
{
	struct appender *appender = opaque;
	bool is_pipelined = appender->bench->options->pipelined;

	while (appender->rc == 0 && !is_stopped && queue_now() < appender->until)
		appender->rc = is_pipelined ? append_many(appender) : append_one(appender);
	return NULL;
}

/* All threads, for one turn. */
static int
append_for_a_turn(struct bench *bench)
{
	struct done *done = &bench->log_done;
	struct queue_log_stats before, after;
	uint64_t begun = queue_now(), i, n;
	int rc = 0;

	(void)queue_log_stats(bench->log, &before);
	for (n = 0; n < bench->options->threads && rc == 0; n++) {
		struct appender *appender = &bench->appenders[n];

		memset(appender, 0, sizeof *appender);
		appender->bench = bench;
		appender->until = begun + TURN;
		bench_histogram_clear(&appender->latency);
		rc = -pthread_create(&appender->thread, NULL, append, appender);
		if (rc < 0)
			break;
	}
	for (i = 0; i < n; i++) {
		struct appender *appender = &bench->appenders[i];

		(void)pthread_join(appender->thread, NULL);
		done->messages += appender->messages;
		bench_histogram_merge(&done->latency, &appender->latency);
		if (rc == 0)
			rc = appender->rc;
	}
	done->nanoseconds += queue_now() - begun;
	(void)queue_log_stats(bench->log, &after);
	done->bytes += after.output - before.output;
	done->syncs += after.syncs - before.syncs;
	done->writes += after.batches - before.batches;
	return rc;
}

/* ---- The same without a log ------------------------------------------------------------------ */

/* A file as the log's are: written before. */
static int
fill(int file)
{
	static const unsigned char zeros[1 << 16];
	uint64_t at;

	for (at = 0; at < FILE_SIZE; at += sizeof zeros)
		if (pwrite(file, zeros, sizeof zeros, (off_t)at) != (ssize_t)sizeof zeros)
			return errno ? -errno : -EIO;
	return fdatasync(file) == 0 ? 0 : -errno;
}

static bool
is_due(const struct options *options, uint64_t synced)
{
	switch (options->sync) {
	case SYNC_BATCH:
	case SYNC_EACH:
		return true;
	case SYNC_INTERVAL:
		return queue_now() - synced >= options->interval;
	case SYNC_NONE:
		break;
	}
	return false;
}

/* How much the log writes, or syncs, at once. */
static uint64_t
bytes_at_once(const struct bench *bench)
{
	const struct done *done = &bench->log_done;
	uint64_t times = is_due(bench->options, 0) && bench->options->sync != SYNC_INTERVAL
				 ? done->syncs
				 : done->writes;
	uint64_t bytes = times > 0 ? done->bytes / times : 0;

	return bytes < 1 ? 1 : bytes > FILE_SIZE ? FILE_SIZE : bytes;
}

static int
write_for_a_turn(struct bench *bench)
{
	struct done *done = &bench->raw_done;
	uint64_t begun = queue_now(), at = 0, size = bytes_at_once(bench), synced = begun, now;
	int rc = 0;

	for (now = begun; rc == 0 && !is_stopped && now - begun < TURN; at += size) {
		uint64_t began = now;

		if (at + size > FILE_SIZE)
			at = 0;
		if (pwrite(bench->raw, bench->bytes, size, (off_t)at) != (ssize_t)size)
			rc = errno ? -errno : -EIO;
		else if (is_due(bench->options, synced)) {
			rc = fdatasync(bench->raw) == 0 ? 0 : -errno;
			synced = queue_now();
			done->syncs++;
		}
		now = queue_now();
		bench_histogram_add(&done->latency, now - began);
		done->writes++;
		done->bytes += size;
	}
	done->nanoseconds += now - begun;
	return rc;
}

/* ---- What is printed ------------------------------------------------------------------------- */

static double
per_second(uint64_t n, const struct done *done)
{
	return done->nanoseconds > 0 ? (double)n / ((double)done->nanoseconds * 1e-9) : 0;
}

static void
print_rates(const char *name, double log, double raw)
{
	(void)printf("%-16s %14.0f", name, log);
	if (raw > 0)
		(void)printf(" %22.0f", raw);
	(void)putchar('\n');
}

static void
print_bytes(const char *name, double log, double raw)
{
	char text[SIZE_TEXT];

	(void)printf("%-16s %14s", name, size_text(text, (uint64_t)log));
	if (raw > 0)
		(void)printf(" %22s", size_text(text, (uint64_t)raw));
	(void)putchar('\n');
}

static void
print_latencies(const struct done *log, const struct done *raw)
{
	static const struct {
		const char *name;
		double fraction;
	} rows[] = {
		{"50 % within", 0.5},	  {"90 % within", 0.9}, {"99 % within", 0.99},
		{"99.9 % within", 0.999}, {"all within", 1},
	};
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		(void)printf(
			"%-16s %11.1f us %19.1f us\n", rows[i].name,
			(double)bench_histogram_quantile(&log->latency, rows[i].fraction) * 1e-3,
			(double)bench_histogram_quantile(&raw->latency, rows[i].fraction) * 1e-3);
}

static void
print(const struct bench *bench)
{
	static const char *const ways[] = {
		[SYNC_BATCH] = "a sync for each batch",
		[SYNC_EACH] = "a sync for each message",
		[SYNC_NONE] = "no syncs",
	};
	const struct options *options = bench->options;
	const struct done *log = &bench->log_done, *raw = &bench->raw_done;
	bool syncs = options->sync == SYNC_BATCH || options->sync == SYNC_EACH;

	(void)printf("%s: %" PRIu64 " thread%s, messages of %" PRIu64 " bytes, ",
		     options->directory, options->threads, options->threads == 1 ? "" : "s",
		     options->size);
	if (options->sync == SYNC_INTERVAL)
		(void)printf("a sync every %" PRIu64 " ms", options->interval / QUEUE_MILLISECOND);
	else
		(void)fputs(ways[options->sync], stdout);
	(void)printf("%s\n", options->pipelined ? ", pipelined" : "");
	(void)printf("%-16s %14s %22s\n", "", "the log",
		     syncs ? "write(2), fdatasync(2)" : "write(2)");
	print_rates("messages/s", per_second(log->messages, log), 0);
	print_bytes("their bytes/s", per_second(log->messages * options->size, log), 0);
	print_bytes("written/s", per_second(log->bytes, log), per_second(raw->bytes, raw));
	print_rates("writes/s", per_second(log->writes, log), per_second(raw->writes, raw));
	print_rates("syncs/s", per_second(log->syncs, log), per_second(raw->syncs, raw));
	print_bytes(syncs ? "bytes a sync" : "bytes a write", (double)bytes_at_once(bench),
		    raw->writes > 0 ? (double)raw->bytes / (double)raw->writes : 0);
	(void)puts("How long an append, and a write, takes:");
	print_latencies(log, raw);
}

/* ---- Where it is done ------------------------------------------------------------------------ */

static void
stop(int unused)
{
	(void)unused;
	is_stopped = 1;
}

static void
catch_signals(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = stop;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
}

static void
remove_file(const char *name, void *opaque)
{
	const struct bench *bench = opaque;

	(void)unlinkat(bench->directory, name, 0);
}

static void
clean_up(struct bench *bench)
{
	const struct queue_impl_disk *disk = &queue_impl_disk_system;

	(void)queue_log_close(bench->log);
	if (bench->raw >= 0)
		(void)close(bench->raw);
	if (bench->directory >= 0) {
		(void)disk->list(disk->context, bench->directory, remove_file, bench);
		(void)close(bench->directory);
		if (rmdir(bench->path) != 0)
			complain("%s: cannot be removed: %s", bench->path, strerror(errno));
	}
	free(bench->path);
	free(bench->bytes);
	free(bench->appenders);
}

static int
make_directory(struct bench *bench)
{
	static const char name[] = "/queue-log-bench.XXXXXX";
	size_t length = strlen(bench->options->directory);

	bench->path = malloc(length + sizeof name);
	if (!bench->path)
		return -ENOMEM;
	memcpy(bench->path, bench->options->directory, length);
	memcpy(bench->path + length, name, sizeof name);
	if (!mkdtemp(bench->path))
		return -errno;
	bench->directory = open(bench->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return bench->directory < 0 ? -errno : 0;
}

static int
open_log(struct bench *bench)
{
	static const enum queue_log_sync ways[] = {
		[SYNC_BATCH] = QUEUE_LOG_BATCH,
		[SYNC_EACH] = QUEUE_LOG_EACH,
		[SYNC_INTERVAL] = QUEUE_LOG_INTERVAL,
		[SYNC_NONE] = QUEUE_LOG_NONE,
	};
	const struct queue_log_options options = {
		.sync = ways[bench->options->sync],
		.interval = bench->options->interval,
		.segment_size = FILE_SIZE,
		/* So that files are used again, as in a log that is read. */
		.retain_bytes = FILE_SIZE,
	};
	const struct timespec a_little = {0, 5000000};
	struct queue_log_stats stats;
	int rc = queue_log_open(&bench->log, bench->path, &options);

	/* It begins when there are files to go on in. */
	while (rc == 0 && !is_stopped && queue_log_stats(bench->log, &stats) == 0 &&
	       stats.spares < 2)
		(void)nanosleep(&a_little, NULL);
	return rc;
}

static int
open_raw(struct bench *bench)
{
	bench->raw = openat(bench->directory, "raw", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return bench->raw < 0 ? -errno : fill(bench->raw);
}

static int
allocate(struct bench *bench)
{
	bench->bytes = malloc(FILE_SIZE);
	bench->appenders = calloc(bench->options->threads, sizeof *bench->appenders);
	if (!bench->bytes || !bench->appenders)
		return -ENOMEM;
	memset(bench->bytes, 'x', FILE_SIZE);
	bench_histogram_clear(&bench->log_done.latency);
	bench_histogram_clear(&bench->raw_done.latency);
	return 0;
}

static int
measure(struct bench *bench)
{
	uint64_t length = (uint64_t)(bench->options->seconds * 1e9), begun = queue_now(), passed;
	int rc = 0;

	do {
		rc = append_for_a_turn(bench);
		if (rc == 0)
			rc = write_for_a_turn(bench);
		passed = queue_now() - begun;
		progress_show("measuring", passed, length);
	} while (rc == 0 && !is_stopped && passed + TURN < length);
	progress_end();
	return rc;
}

static enum status
run(const struct options *options)
{
	struct bench *bench = calloc(1, sizeof *bench);
	enum status status = STATUS_DONE;
	int rc = bench ? 0 : -ENOMEM;

	if (!bench)
		return fail(options->directory, rc);
	bench->options = options;
	bench->directory = bench->raw = -1;
	catch_signals();
	rc = allocate(bench);
	if (rc == 0)
		rc = make_directory(bench);
	if (rc == 0)
		rc = open_raw(bench);
	if (rc == 0)
		rc = open_log(bench);
	if (rc == 0 && !is_stopped)
		rc = measure(bench);
	if (rc < 0) {
		complain("%s: %s", options->directory, strerror(-rc));
		status = STATUS_FAILED;
	} else if (is_stopped) {
		complain("%s: it was interrupted", options->directory);
		status = STATUS_FAILED;
	} else {
		print(bench);
	}
	clean_up(bench);
	free(bench);
	return status;
}

static const struct option_row rows[] = {
	{0, "seconds", "N", "how long in all [5]", set_seconds},
	{0, "threads", "N", "threads that append [4]", set_threads},
	{0, "size", "N", "bytes of a message [100]", set_size},
	{0, "sync", "WAY", "batch, each, interval=MS or none [batch]", set_sync},
	{0, "pipelined", NULL, "each thread waits for 64 messages together", set_pipelined},
};

const struct command command_bench = {
	.name = "bench",
	.about = "measures a log on the disk of a directory, beside the disk itself",
	.more = "In a new directory below, which is removed in the end. It takes about 130 MiB.\n",
	ROWS(rows),
	.run = run,
};
