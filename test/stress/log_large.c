/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log that is large. A process fills it and is killed in the middle of it, then another opens it:
 * all that was said to be stored is there, in its order, and to open it took no more reading than
 * of the headers and of the last files, however many there are. That is counted, since times are
 * those of the machine; they are shown.
 *
 * --megabytes 4   of messages; from 256 on in files of the usual size, else in small ones
 */
/* ARGS: --megabytes 4 */
#include "../../lib/log_impl.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

#define SMALL (UINT64_C(64) << 10)
#define USUAL (UINT64_C(64) << 20)
#define LENGTH 4000
#define BATCH 64
/*
 * The last file is read for its end, for what is to be written again, and for its rest. When it was
 * just begun, it does not say where the readers are, and the one or two before are read as well.
 */
#define TIMES_READ 8

/* What outlives the process that is killed. */
struct notes {
	uint64_t stored; /* messages, the first ones */
	uint64_t opening, reads, segments;
};

static struct notes *notes;
static char directory[256];
static uint64_t megabytes = 4, segment, wanted;

static void
on_damage(const struct queue_log_damage *damage, void *unused)
{
	(void)unused;
	stress_check(false, "damage in %s at %" PRIu64 ", %" PRIu64 " bytes", damage->file,
		     damage->offset, damage->length);
}

/* The system's disk, and how much is read of it. */
static struct queue_impl_disk counting;
static uint64_t bytes_read;

static int64_t
read_and_count(void *context, int file, void *data, size_t length, uint64_t offset)
{
	int64_t n = queue_impl_disk_system.read(context, file, data, length, offset);

	if (n > 0)
		queue_impl_add_rlx(&bytes_read, (uint64_t)n); /* relaxed: a number */
	return n;
}

static struct queue_log *
open_log(void)
{
	struct queue_log_options options = {.on_damage = on_damage, .segment_size = segment};
	struct queue_log *log;
	int rc;

	counting = queue_impl_disk_system;
	counting.read = read_and_count;
	rc = queue_impl_log_open(&log, directory, &options, &counting);
	stress_check(rc == 0, "open: %d", rc);
	return log;
}

/* Each has its number in it, in all places, so that none can be taken for another. */
static void
write_message(uint64_t *words, uint64_t number)
{
	for (uint64_t i = 0; i < LENGTH / 8; i++)
		words[i] = number * UINT64_C(0x9e3779b97f4a7c15) + i;
}

/* The process that is killed. */
static _Noreturn void
live(void)
{
	struct queue_log *log = open_log();
	uint64_t words[LENGTH / 8], position;
	struct queue_log_reader *reader;
	int rc = queue_log_reader_open(log, "slow", NULL, &reader);

	stress_check(rc == 0, "reader: %d", rc);
	for (uint64_t number = 0;; number++) {
		write_message(words, number);
		rc = queue_log_append_async(log, words, sizeof words, &position);
		stress_check(rc == 0, "append: %d", rc);
		if (number % 1000 != 999)
			continue;
		rc = queue_log_wait(log, position, QUEUE_NEVER);
		stress_check(rc == 0, "wait: %d", rc);
		queue_impl_store_rel(&notes->stored, number + 1);
	}
}

/* The one that comes after. */
static _Noreturn void
look(void)
{
	static uint64_t buffer[BATCH * LENGTH / 8];
	struct queue_log_message messages[BATCH];
	uint64_t words[LENGTH / 8], number = 0, began = queue_now();
	struct queue_log *log = open_log();
	struct queue_log_reader *reader;
	struct queue_log_stats stats;
	int n;

	notes->opening = queue_now() - began;
	notes->reads = queue_impl_load_rlx(&bytes_read);
	queue_log_stats(log, &stats);
	notes->segments = stats.segments;
	n = queue_log_reader_open(log, "slow", NULL, &reader);
	stress_check(n == 0, "reader: %d", n);
	while ((n = queue_log_read_n(reader, messages, BATCH, buffer, sizeof buffer, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			write_message(words, number);
			stress_check(messages[i].length == LENGTH &&
					     memcmp(messages[i].data, words, LENGTH) == 0,
				     "another message than number %" PRIu64, number);
			number++;
		}
		stress_check(queue_log_ack_n(reader, messages, n) == n, "ack");
	}
	stress_check(n == -ETIMEDOUT, "read: %d", n);
	stress_check(number >= notes->stored, "%" PRIu64 " messages of %" PRIu64, number,
		     notes->stored);
	n = queue_log_close(log);
	stress_check(n == 0, "close: %d", n);
	_exit(0);
}

static pid_t
start(void (*body)(void))
{
	pid_t child = fork();

	stress_check(child >= 0, "fork");
	if (child == 0) {
		/* Also when the test fails meanwhile: it would fill the disk. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
	}
	return child;
}

static void
remove_files(void)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		(void)unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		(void)closedir(files);
}

static void
one_round(void)
{
	int status = 0;
	pid_t child;

	memset(notes, 0, sizeof *notes);
	child = start(live);
	while (queue_impl_load_acq(&notes->stored) < wanted) {
		stress_check(waitpid(child, &status, WNOHANG) == 0, "it ended with %x",
			     (unsigned)status);
		(void)usleep(1000);
	}
	(void)kill(child, SIGKILL);
	(void)waitpid(child, &status, 0);
	stress_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with %x",
		     (unsigned)status);
	child = start(look);
	(void)waitpid(child, &status, 0);
	stress_check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with %x",
		     (unsigned)status);
	printf("%" PRIu64 " messages in %" PRIu64 " files: opened in %" PRIu64 " us, %" PRIu64
	       " bytes read\n",
	       notes->stored, notes->segments, notes->opening / 1000, notes->reads);
	stress_check(notes->segments > 4, "only %" PRIu64 " files", notes->segments);
	stress_check(notes->reads <= TIMES_READ * segment + notes->segments * QUEUE_IMPL_LOG_HEADER,
		     "%" PRIu64 " bytes were read to open %" PRIu64 " files", notes->reads,
		     notes->segments);
	remove_files();
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"megabytes", &megabytes, "of messages", .least = 1, .most = 1 << 20},
		{.name = NULL},
	};
	const char *parent = getenv("TMPDIR");

	stress_begin(argc, argv, options);
	segment = megabytes < 256 ? SMALL : USUAL;
	wanted = (megabytes << 20) / LENGTH;
	(void)snprintf(directory, sizeof directory, "%s/conveyor-log.XXXXXX",
		       parent && *parent ? parent : "/tmp");
	stress_check(mkdtemp(directory) != NULL, "%s", directory);
	notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	stress_check(notes != MAP_FAILED, "mmap");
	while (stress_time_is_left())
		one_round();
	(void)rmdir(directory);
	return stress_end();
}
