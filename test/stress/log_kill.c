/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that uses a log is killed, again and again, on a real file system; or the file system
 * is stopped, as when the power is cut, where that can be done (test/support/power.h). In it threads
 * append and note what they were told is stored; others read, acknowledge, sync, and note what they
 * were told of that. Their notes are in memory that outlives them. After each kill another process
 * opens the log and reads on: all that was said to be stored comes, or had been acknowledged; nothing
 * that was acknowledged and synced comes again; each thread's messages come in their order, none
 * twice.
 *
 * --rounds 200   kills; more while there is time
 * --end power    the file system is stopped
 */
/* ARGS: --rounds 100 */
/* ARGS: --rounds 100 --sync interval */
/* ARGS: --rounds 2 --end power */
#include <conveyor/impl/atomic.h>
#include <conveyor/log.h>

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

#include "power.h"
#include "stress.h"

#define APPENDERS 4
#define READERS 2
#define MANY (1u << 20) /* messages of one thread, of all rounds together */
#define BATCH 20
#define SEGMENT (UINT64_C(256) << 10)
#define FILE_SYSTEM (UINT64_C(64) << 20)

/* What was told: bits, for each message of each thread. */
#define ACKNOWLEDGED 1u /* or about to be */
#define FINISHED 2u	/* and synced */
#define SEEN 4u		/* by who came after */

struct notes {
	uint32_t begun[APPENDERS]; /* messages, in all rounds */
	uint8_t stored[APPENDERS][MANY];
	uint8_t told[APPENDERS][MANY];
};

struct content {
	uint32_t thread, number;
	uint64_t filler[8];
};

static struct notes *notes;
static char directory[256], log_directory[264];
static uint64_t cuts_power, sync_mode = QUEUE_LOG_BATCH;
static struct queue_log *queue_log;
static struct queue_log_reader *reader;
static uint64_t kills;

static void
on_damage(const struct queue_log_damage *damage, void *unused)
{
	(void)unused;
	stress_check(false, "damage in %s at %" PRIu64 ", %" PRIu64 " bytes", damage->file,
		     damage->offset, damage->length);
}

static int
open_all(void)
{
	const struct queue_log_options options = {
		.sync = (enum queue_log_sync)sync_mode,
		.interval = sync_mode == QUEUE_LOG_INTERVAL ? QUEUE_MILLISECOND : 0,
		.segment_size = SEGMENT,
		.staging_size = SEGMENT,
		.on_damage = on_damage};
	int rc = queue_log_open(&queue_log, log_directory, &options);

	if (rc == 0)
		rc = queue_log_reader_open(queue_log, "worker", NULL, &reader);
	return rc;
}

/* Without power everything fails until the end comes, which is near; it does not in any other case. */
static void
end_of_power(int status)
{
	while (cuts_power)
		(void)pause();
	_exit(status);
}

static size_t
length_of(uint32_t number)
{
	return sizeof(struct content) - 8 * (number % 9);
}

static void *
append_for_ever(void *argument)
{
	uint32_t thread = *(const uint32_t *)argument, number;
	struct content content = {.thread = thread};

	for (;;) {
		number = notes->begun[thread];
		queue_impl_store32_rlx(&notes->begun[thread], number + 1); /* relaxed: its own */
		if (number == MANY)
			for (;;)
				(void)pause();
		content.number = number;
		for (int i = 0; i < 8; i++)
			content.filler[i] = (uint64_t)number * (uint64_t)(i + 3);
		if (queue_log_append(queue_log, &content, length_of(number), NULL) != 0)
			end_of_power(3);
		notes->stored[thread][number] = 1;
	}
	return NULL;
}

static struct content
content_of(const struct queue_log_message *message)
{
	struct content content = {.thread = UINT32_MAX};

	if (message->length <= sizeof content)
		memcpy(&content, message->data, message->length);
	stress_check(content.thread < APPENDERS && message->length == length_of(content.number),
		     "a message of %zu bytes", message->length);
	for (uint32_t i = 0; i < 8 - content.number % 9 && i < 8; i++)
		stress_check(content.filler[i] == (uint64_t)content.number * (i + 3),
			     "number %u of %u: other bytes", content.number, content.thread);
	return content;
}

static void *
read_for_ever(void *unused)
{
	struct queue_log_message messages[BATCH];
	struct content contents[BATCH];
	char buffer[BATCH * sizeof(struct content)];
	int n, i;

	(void)unused;
	for (;;) {
		n = queue_log_read_n(reader, messages, BATCH, buffer, sizeof buffer, QUEUE_NEVER);
		if (n <= 0)
			end_of_power(4);
		for (i = 0; i < n; i++) {
			contents[i] = content_of(&messages[i]);
			notes->told[contents[i].thread][contents[i].number] |= ACKNOWLEDGED;
		}
		if (queue_log_ack_n(reader, messages, n) != n ||
		    queue_log_sync(queue_log, QUEUE_NEVER) != 0)
			end_of_power(5);
		for (i = 0; i < n; i++)
			notes->told[contents[i].thread][contents[i].number] |= FINISHED;
	}
	return NULL;
}

/* The process that is killed. */
static _Noreturn void
live(void)
{
	static uint32_t numbers[APPENDERS];
	pthread_t thread;

	/* Also when the test fails meanwhile. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (open_all() != 0)
		end_of_power(2);
	for (uint32_t i = 0; i < APPENDERS; i++) {
		numbers[i] = i;
		if (pthread_create(&thread, NULL, append_for_ever, &numbers[i]) != 0)
			_exit(2);
	}
	for (int i = 0; i < READERS; i++)
		if (pthread_create(&thread, NULL, read_for_ever, NULL) != 0)
			_exit(2);
	for (;;)
		(void)pause();
}

/* In a process of its own: a fork of threads that are there is another test. */
static _Noreturn void
look(void)
{
	struct queue_log_message messages[BATCH];
	char buffer[BATCH * sizeof(struct content)];
	int64_t last[APPENDERS];
	int n;

	for (int i = 0; i < APPENDERS; i++)
		last[i] = -1;
	n = open_all();
	stress_check(n == 0, "open: %d", n);
	while ((n = queue_log_read_n(reader, messages, BATCH, buffer, sizeof buffer, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			struct content content = content_of(&messages[i]);
			uint8_t *told = &notes->told[content.thread][content.number];

			stress_check(content.number < notes->begun[content.thread], "number %u",
				     content.number);
			stress_check((int64_t)content.number > last[content.thread],
				     "number %u of %u after %" PRId64, content.number,
				     content.thread, last[content.thread]);
			stress_check(!(*told & (FINISHED | SEEN)), "number %u of %u comes again",
				     content.number, content.thread);
			last[content.thread] = content.number;
			*told |= SEEN;
		}
		stress_check(queue_log_ack_n(reader, messages, n) == n, "ack");
	}
	stress_check(n == -ETIMEDOUT, "read: %d", n);
	for (uint32_t thread = 0; thread < APPENDERS; thread++)
		for (uint32_t number = 0; number < notes->begun[thread]; number++)
			stress_check(
				notes->told[thread][number] != 0 || !notes->stored[thread][number],
				"number %u of %u was stored, and does not come", number, thread);
	n = queue_log_close(queue_log);
	stress_check(n == 0, "close: %d", n);
	_exit(0);
}

static void
one_round(struct stress_random *random)
{
	uint32_t begun = queue_impl_load32_rlx(&notes->begun[0]); /* relaxed: a number */
	uint64_t end = queue_after_ms(10000);
	int status = 0;
	pid_t child = fork();

	stress_check(child >= 0, "fork");
	if (child == 0)
		live();
	/* Mostly when it is at work. */
	while (!stress_one_in(random, 100) && queue_now() < end &&
	       queue_impl_load32_rlx(&notes->begun[0]) == begun)
		usleep(1000);
	usleep((useconds_t)stress_random_below(random, 20000));
	if (cuts_power)
		stress_check(power_cut(stress_one_in(random, 2)), "shutdown: %s", strerror(errno));
	(void)kill(child, SIGKILL);
	(void)waitpid(child, &status, 0);
	if (cuts_power)
		stress_check(power_restore(), "mount: %s", strerror(errno));
	stress_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with %x",
		     (unsigned)status);
	kills++;
	child = fork();
	stress_check(child >= 0, "fork");
	if (child == 0)
		look();
	(void)waitpid(child, &status, 0);
	stress_check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "after %" PRIu64 " kills",
		     kills);
}

static void
remove_directory(void)
{
	DIR *files = opendir(log_directory);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		(void)unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		(void)closedir(files);
	(void)rmdir(log_directory);
	power_end();
	(void)rmdir(directory);
}

int
main(int argc, char **argv)
{
	const char *parent = getenv("TMPDIR"), *why;
	uint64_t rounds = 200;
	const struct stress_option options[] = {
		{"rounds", &rounds, "kills, at least", .most = 1000000},
		{"sync", &sync_mode, "when it is stored",
		 .words = STRESS_WORDS("batch", "each", "interval", "none")},
		{"end", &cuts_power, "how it ends", .words = STRESS_WORDS("kill", "power")},
		{.name = NULL},
	};
	struct stress_random random;

	stress_begin(argc, argv, options);
	/* What append says with the others is not that it will be there after that. */
	if (cuts_power && sync_mode != QUEUE_LOG_BATCH && sync_mode != QUEUE_LOG_EACH)
		stress_refuse("--sync is \"%s\"; with --end power it must be one of batch each",
			      sync_mode == QUEUE_LOG_NONE ? "none" : "interval");
	random = stress_random_init(0);
	(void)snprintf(directory, sizeof directory, "%s/conveyor-log.XXXXXX",
		       parent && *parent ? parent : "/tmp");
	stress_check(mkdtemp(directory) != NULL, "%s", directory);
	(void)snprintf(log_directory, sizeof log_directory, "%s/log", directory);
	why = cuts_power ? power_begin(directory, FILE_SYSTEM) : NULL;
	if (why) {
		printf("left out: a file system cannot be stopped here: %s\n", why);
		(void)rmdir(directory);
		return 0;
	}
	notes = mmap(NULL, sizeof *notes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	stress_check(notes != MAP_FAILED, "mmap");
#if defined QUEUE_IMPL_TSAN || defined __SANITIZE_ADDRESS__ || defined __aarch64__
	/* A process takes long to begin. */
	rounds = (rounds + 9) / 10;
#endif
	while (stress_time_is_left() || kills < rounds)
		one_round(&random);
	remove_directory();
	printf("%" PRIu64 " kills, %u messages of the first thread\n", kills, notes->begun[0]);
	return stress_end();
}
