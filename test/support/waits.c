/* SPDX-License-Identifier: BSD-2-Clause */
#include "waits.h"

#include "../../lib/log_impl.h"
#include "disk.h"
#include "fault.h"
#include "queue_impl.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

uint32_t wait_dropped, wait_released, wait_handled;

static struct queue_bounded *queue, *other;
static struct queue_topic *topic;
static struct queue_subscription *subscription;
static struct queue_message messages[2];
static struct queue_bucket bucket;
static struct queue_token_feed *feed;
static struct queue_call call;
static struct queue_pool *pool;
static sem_t go;
static uint32_t is_closed;
static int item; /* what is pushed is its address */

void
waits_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, condition);
	abort();
}

static void
note_drop(void *dropped, enum queue_reason reason, void *context)
{
	(void)dropped, (void)reason, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_dropped, 1);
}

static void
note_release(struct queue_message *message, void *context)
{
	(void)message, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_released, 1);
}

static void
forget(void)
{
	wait_dropped = wait_released = wait_handled = 0;
	is_closed = 0;
}

/*
 * Queues.
 */

static uint64_t
no_deadline(const void *dropped)
{
	(void)dropped;
	return 0;
}

static void
make_queue(enum queue_policy policy, bool counts)
{
	struct queue_options options = {.capacity = 1, .policy = policy, .on_drop = note_drop};

	if (counts)
		options.deadline_of = no_deadline;
	forget();
	WAITS_NEED(queue_create(&queue, &options) == 0);
}

static void
empty_queue(void)
{
	make_queue(QUEUE_ABORT, false);
}

static void
empty_counted_queue(void)
{
	make_queue(QUEUE_ABORT, true);
}

static void
empty_watched_queue(void)
{
	make_queue(QUEUE_ABORT, false);
	WAITS_NEED(queue_fd(queue) >= 0);
}

static void
full_queue(void)
{
	make_queue(QUEUE_BLOCK, false);
	WAITS_NEED(queue_push(queue, NULL) == 0);
}

static void
push_one(void)
{
	WAITS_NEED(queue_push(queue, &item) == 0);
}

static void
pop_one(void)
{
	void *got;

	WAITS_NEED(queue_try_pop(queue, &got) == 0 && got == NULL);
}

static void
close_queue(void)
{
	queue_impl_store32_rel(&is_closed, 1);
	(void)queue_close(queue);
}

static int
end_queue(void)
{
	return queue_destroy(queue);
}

static int
check(int rc, const void *got)
{
	return rc == 0 && got != &item ? -EILSEQ : rc;
}

static int
pop(uint64_t deadline)
{
	void *got = NULL;
	int rc = queue_pop(queue, &got);

	(void)deadline;
	return check(rc, got);
}

static int
pop_until(uint64_t deadline)
{
	void *got = NULL;
	int rc = queue_pop_until(queue, &got, deadline);

	return check(rc, got);
}

static int
pop_n(uint64_t deadline)
{
	void *got[3] = {NULL};
	int rc = queue_pop_n(queue, got, 3);

	(void)deadline;
	return rc > 0 ? check(rc - 1, got[0]) : rc;
}

static int
push(uint64_t deadline)
{
	(void)deadline;
	return queue_push(queue, &item);
}

static int
push_until(uint64_t deadline)
{
	return queue_push_until(queue, &item, deadline);
}

/*
 * Several queues.
 */

static void
two_queues(void)
{
	make_queue(QUEUE_ABORT, false);
	other = queue;
	make_queue(QUEUE_ABORT, false);
	queue_impl_store32_rlx(&queue_impl_select_polls, 0);
}

static void
two_queues_for_poll(void)
{
	two_queues();
	queue_impl_store32_rlx(&queue_impl_select_polls, 1);
}

static int
wait_for_two(bool fair, uint64_t deadline)
{
	struct queue_bounded *const queues[] = {other, queue};
	int index = -1;
	int rc = fair ? queue_select_fair(queues, 2, deadline, &index)
		      : queue_select(queues, 2, deadline, &index);

	if (rc != 0)
		return rc;
	if (index != 1)
		return -EILSEQ;
	/* Once it is closed it may be gone by now. */
	if (queue_impl_load32_acq(&is_closed))
		return -EPIPE;
	return queue_try_pop(queue, (void *[]){NULL});
}

static int
select_two(uint64_t deadline)
{
	return wait_for_two(false, deadline);
}

static int
select_two_fair(uint64_t deadline)
{
	return wait_for_two(true, deadline);
}

static int
end_queues(void)
{
	int rc = queue_destroy(queue);

	if (rc == 0)
		WAITS_NEED(queue_destroy(other) == 0);
	return rc;
}

/*
 * Topics.
 */

static void
make_topic(enum queue_policy policy)
{
	struct queue_subscription_options options = {.capacity = 1, .policy = policy};

	forget();
	WAITS_NEED(queue_topic_create(&topic, NULL) == 0);
	WAITS_NEED(queue_topic_subscribe(topic, &options, &subscription) == 0);
	queue_message_init(&messages[0], note_release, NULL);
	queue_message_init(&messages[1], note_release, NULL);
}

static void
empty_topic(void)
{
	make_topic(QUEUE_ABORT);
}

static void
full_topic(void)
{
	make_topic(QUEUE_BLOCK);
	WAITS_NEED(queue_topic_publish(topic, &messages[0], 0) == 1);
}

static int
let_go(int rc, struct queue_message *got)
{
	if (rc == 0)
		queue_message_release(got);
	return rc;
}

static int
topic_pop(uint64_t deadline)
{
	struct queue_message *got = NULL;
	int rc = queue_topic_pop(subscription, &got);

	(void)deadline;
	return let_go(rc, got);
}

static int
topic_pop_until(uint64_t deadline)
{
	struct queue_message *got = NULL;
	int rc = queue_topic_pop_until(subscription, &got, deadline);

	return let_go(rc, got);
}

static int
topic_pop_n(uint64_t deadline)
{
	struct queue_message *got[2] = {NULL};
	int rc = queue_topic_pop_n(subscription, got, 2);

	(void)deadline;
	return rc > 0 ? let_go(rc - 1, got[0]) : rc;
}

static int
publish(uint64_t deadline)
{
	int rc = queue_topic_publish(topic, &messages[1], 0);

	(void)deadline;
	return rc > 0 ? rc - 1 : rc;
}

static void
publish_one(void)
{
	WAITS_NEED(queue_topic_publish(topic, &messages[0], 0) == 1);
}

static void
topic_pop_one(void)
{
	struct queue_message *got;

	WAITS_NEED(queue_topic_try_pop(subscription, &got) == 0);
	queue_message_release(got);
}

static void
close_topic(void)
{
	(void)queue_topic_close(topic);
}

static int
end_topic(void)
{
	return queue_topic_destroy(topic);
}

/*
 * Tokens.
 */

static void
empty_bucket(void)
{
	struct queue_bucket_options options = {.tokens = 1, .period = 600 * QUEUE_SECOND};

	forget();
	WAITS_NEED(queue_bucket_init(&bucket, &options) == 0);
	WAITS_NEED(queue_bucket_take(&bucket, 1) == 0);
}

static int
bucket_take_until(uint64_t deadline)
{
	return queue_bucket_take_until(&bucket, 1, deadline);
}

static void
refund(void)
{
	(void)queue_bucket_refund(&bucket, 1);
}

static int
end_nothing(void)
{
	return 0;
}

static void
empty_feed(void)
{
	struct queue_token_feed_options options = {
		.tokens = 1, .period = QUEUE_SECOND, .flags = QUEUE_FEED_MANUAL};

	forget();
	WAITS_NEED(queue_token_feed_create(&feed, &options) == 0);
	WAITS_NEED(queue_token_feed_take(feed, 1) == 0);
	WAITS_NEED(queue_token_feed_advance(feed, 1) == 0);
}

static int
feed_take_until(uint64_t deadline)
{
	return queue_token_feed_take_until(feed, 1, deadline);
}

static void
feed_advance(void)
{
	WAITS_NEED(queue_token_feed_advance(feed, 2 * QUEUE_SECOND) == 0);
}

static int
end_feed(void)
{
	return queue_token_feed_destroy(feed);
}

/*
 * Calls.
 */

static void
note_call_release(struct queue_call *released, void *context)
{
	(void)released, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&wait_released, 1);
}

static void
new_call(void)
{
	struct queue_call_options options = {.release = note_call_release};

	forget();
	WAITS_NEED(queue_call_init(&call, &options) == 0);
}

static int
call_wait(uint64_t deadline)
{
	return queue_call_wait(&call, deadline);
}

static void
reply(void)
{
	WAITS_NEED(queue_call_claim(&call) == 0 && queue_call_reply(&call) == 0);
}

static int
end_call(void)
{
	queue_call_release(&call);
	queue_call_release(&call);
	return wait_released == 1 ? 0 : -EILSEQ;
}

/*
 * Pools.
 */

static int
handle_slowly(void *handled, void *context)
{
	(void)handled, (void)context;
	while (sem_wait(&go) != 0)
		continue;
	(void)queue_impl_fetch_add32_acq_rel(&wait_handled, 1);
	return 0;
}

static void
busy_pool(void)
{
	struct queue_pool_options options = {.handler = handle_slowly, .workers = 2};

	WAITS_NEED(sem_init(&go, 0, 0) == 0);
	make_queue(QUEUE_ABORT, false);
	push_one();
	options.queue = queue;
	WAITS_NEED(queue_pool_create(&pool, &options) == 0);
}

static int
pool_stop(uint64_t deadline)
{
	return queue_pool_stop(pool, QUEUE_POOL_DRAIN, deadline);
}

static int
pool_destroy(uint64_t deadline)
{
	int rc = queue_pool_destroy(pool);

	(void)deadline;
	if (rc == 0)
		pool = NULL;
	return rc;
}

static void
let_handlers_go(void)
{
	WAITS_NEED(sem_post(&go) == 0);
}

static int
end_pool(void)
{
	/* Should the wait have ended without that. */
	let_handlers_go();
	/* NULL: that was the call. */
	WAITS_NEED(queue_pool_destroy(pool) == 0);
	pool = NULL;
	WAITS_NEED(wait_handled == 1);
	WAITS_NEED(sem_destroy(&go) == 0);
	return queue_destroy(queue);
}

/*
 * Logs, on disks in memory which can be held: what they are asked to write, or to sync, waits until
 * they are let go.
 */

#define SEGMENT UINT64_C(65536)
#define STAGING (4 * SEGMENT)
#define LONG 60000 /* bytes of a message: three and no more are in memory at a time */

struct held_disk {
	struct disk *disk;
	struct queue_impl_disk table;
	bool holds_writes, holds_syncs;
	int held; /* operations that wait now */
};

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER; /* of both */
static pthread_cond_t disk_changed = PTHREAD_COND_INITIALIZER;
static struct held_disk disks[2]; /* the second one is that of dead letters */

static struct queue_log *queue_log, *dead_letters;
static struct queue_log_reader *reader;
static uint64_t place; /* of the last message, or half message */
static const char bytes[LONG];

static struct held_disk *
held_disk_of(const void *context)
{
	return context == disks[0].disk ? &disks[0] : &disks[1];
}

static void
pass(struct held_disk *disk, const bool *is_held)
{
	WAITS_NEED(pthread_mutex_lock(&disk_lock) == 0);
	disk->held++;
	while (*is_held)
		WAITS_NEED(pthread_cond_wait(&disk_changed, &disk_lock) == 0);
	disk->held--;
	WAITS_NEED(pthread_mutex_unlock(&disk_lock) == 0);
}

static int
write_when_let(void *context, int file, const void *data, size_t length, uint64_t offset)
{
	struct held_disk *disk = held_disk_of(context);

	pass(disk, &disk->holds_writes);
	return disk_table(disk->disk)->write(context, file, data, length, offset);
}

static int
sync_when_let(void *context, int file)
{
	struct held_disk *disk = held_disk_of(context);

	pass(disk, &disk->holds_syncs);
	return disk_table(disk->disk)->sync(context, file);
}

static void
hold(struct held_disk *disk, bool writes)
{
	WAITS_NEED(pthread_mutex_lock(&disk_lock) == 0);
	disk->holds_writes = writes;
	disk->holds_syncs = !writes;
	WAITS_NEED(pthread_mutex_unlock(&disk_lock) == 0);
}

static void
let_go_on(struct held_disk *disk)
{
	WAITS_NEED(pthread_mutex_lock(&disk_lock) == 0);
	disk->holds_writes = disk->holds_syncs = false;
	WAITS_NEED(pthread_cond_broadcast(&disk_changed) == 0);
	WAITS_NEED(pthread_mutex_unlock(&disk_lock) == 0);
}

static void
let_disk_go_on(void)
{
	let_go_on(&disks[0]);
}

static bool
is_at_work(struct held_disk *disk)
{
	bool is;

	WAITS_NEED(pthread_mutex_lock(&disk_lock) == 0);
	is = disk->held > 0;
	WAITS_NEED(pthread_mutex_unlock(&disk_lock) == 0);
	return is;
}

/* What it is asked for from now on, and what it holds, fails. */
static void
fail_disk(void)
{
	disk_fail(disks[0].disk, 'w', 0, true, EIO);
	disk_fail(disks[0].disk, 's', 0, true, EIO);
	let_disk_go_on();
}

static struct queue_log *
open_log(struct held_disk *disk, uint64_t segment_size, enum queue_log_sync sync)
{
	struct queue_log_options options = {
		.sync = sync, .segment_size = segment_size, .staging_size = STAGING};
	struct queue_log_stats stats;
	struct queue_log *opened;

	memset(disk, 0, sizeof *disk);
	disk->disk = disk_new();
	disk->table = *disk_table(disk->disk);
	disk->table.write = write_when_let;
	disk->table.sync = sync_when_let;
	WAITS_NEED(queue_impl_log_open(&opened, "log", &options, &disk->table) == 0);
	/* Its memory is clear, */
	WAITS_NEED(queue_log_sync(opened, QUEUE_NEVER) == 0);
	/* and there are the files that it makes by itself: what is held is what it is asked for. */
	WAITS_NEED(FAULT_EVENTUALLY(queue_log_stats(opened, &stats) == 0 && stats.spares >= 2));
	return opened;
}

/* 0, or -EBUSY; also when it has failed. A thread inside keeps what it waits for from coming. */
static int
close_log(struct held_disk *disk, struct queue_log *closed)
{
	struct queue_log_stats stats;
	int rc;

	if (queue_impl_load32_acq(&closed->waiting) == 0)
		let_go_on(disk);
	WAITS_NEED(queue_log_stats(closed, &stats) == 0);
	rc = queue_log_close(closed);
	if (rc == -EBUSY)
		return rc;
	disk_free(disk->disk);
	return stats.failed ? rc - stats.failed : rc;
}

static int
end_log(void)
{
	return close_log(&disks[0], queue_log);
}

static void
make_log(enum queue_log_sync sync)
{
	forget();
	queue_log = open_log(&disks[0], SEGMENT, sync);
}

static void
append_one(void)
{
	WAITS_NEED(queue_log_append(queue_log, bytes, 8, &place) == 0);
}

static void
append_one_async(void)
{
	WAITS_NEED(queue_log_append_async(queue_log, bytes, 8, &place) == 0);
}

static void
log_that_does_not_sync(void)
{
	make_log(QUEUE_LOG_BATCH);
	hold(&disks[0], false);
}

static void
log_that_does_not_sync_each(void)
{
	make_log(QUEUE_LOG_EACH);
	hold(&disks[0], false);
}

static void
log_that_does_not_write(void)
{
	make_log(QUEUE_LOG_NONE);
	hold(&disks[0], true);
}

static void
log_that_is_not_asked_to_sync(void)
{
	make_log(QUEUE_LOG_NONE);
	append_one();
}

static void
log_that_syncs_one(void)
{
	log_that_does_not_sync();
	append_one_async();
}

static void
fill_log(void)
{
	int rc;

	hold(&disks[0], true);
	do
		rc = queue_impl_log_try_append(queue_log, bytes, LONG / 8, NULL);
	while (rc == 0);
	WAITS_NEED(rc == -EAGAIN);
}

/* It has more room in files than in memory. */
static void
log_without_memory(void)
{
	forget();
	queue_log = open_log(&disks[0], STAGING, QUEUE_LOG_BATCH);
	fill_log();
}

/* The other way round. */
static void
log_without_files(void)
{
	make_log(QUEUE_LOG_BATCH);
	fill_log();
}

static int
append(uint64_t deadline)
{
	(void)deadline;
	return queue_log_append(queue_log, bytes, 8, NULL);
}

static int
append_async(uint64_t deadline)
{
	(void)deadline;
	return queue_log_append_async(queue_log, bytes, LONG / 8, NULL);
}

static int
wait_for_place(uint64_t deadline)
{
	return queue_log_wait(queue_log, place, deadline);
}

static int
sync_log(uint64_t deadline)
{
	return queue_log_sync(queue_log, deadline);
}

static void
ask_for_sync(void)
{
	WAITS_NEED(queue_log_sync(queue_log, QUEUE_NEVER) == 0);
}

static void
fail_asked_sync(void)
{
	fail_disk();
	WAITS_NEED(queue_log_sync(queue_log, QUEUE_NEVER) == -EIO);
}

static int
close_without_end(uint64_t deadline)
{
	(void)deadline;
	return queue_log_close(queue_log);
}

static int
end_closed_log(void)
{
	disk_free(disks[0].disk);
	return 0;
}

/*
 * Readers.
 */

static void
open_reader(uint32_t window, uint32_t attempts)
{
	struct queue_log_reader_options options = {
		.lease = QUEUE_NEVER, .window = window, .attempts = attempts};

	if (attempts > 0)
		options.dead_letters = dead_letters;
	WAITS_NEED(queue_log_reader_open(queue_log, "reader", &options, &reader) == 0);
}

static int
end_reader(void)
{
	int rc = queue_log_reader_close(reader);

	WAITS_NEED(rc == 0 || queue_log_close(queue_log) == rc);
	return rc == 0 ? end_log() : rc;
}

static int
read_one(uint64_t deadline)
{
	struct queue_log_message message;
	char buffer[8];
	int rc = queue_log_read(reader, &message, buffer, sizeof buffer, deadline);

	return rc == 0 && message.length != 8 ? -EILSEQ : rc;
}

static int
read_some(uint64_t deadline)
{
	struct queue_log_message some[3];
	char buffer[24];
	int rc = queue_log_read_n(reader, some, 3, buffer, sizeof buffer, deadline);

	return rc > 0 ? rc - 1 : rc;
}

static void
empty_log(void)
{
	make_log(QUEUE_LOG_BATCH);
	open_reader(0, 0);
}

/* There is a message that cannot be seen yet. */
static void
log_that_hides_one(void)
{
	empty_log();
	hold(&disks[0], false);
	append_one_async();
}

static void
fail_append(void)
{
	disk_fail(disks[0].disk, 's', 0, true, EIO);
	WAITS_NEED(queue_log_append(queue_log, bytes, 8, NULL) == -EIO);
}

static void
log_with_a_full_window(void)
{
	make_log(QUEUE_LOG_BATCH);
	open_reader(1, 0);
	append_one();
	WAITS_NEED(read_one(0) == 0);
}

/* Only both make room for another one. */
static void
append_and_acknowledge(void)
{
	uint64_t out = place;

	append_one();
	WAITS_NEED(queue_log_ack(reader, out) == 0);
}

static void
log_with_a_dead_letter(void)
{
	make_log(QUEUE_LOG_BATCH);
	dead_letters = open_log(&disks[1], SEGMENT, QUEUE_LOG_BATCH);
	open_reader(0, 1);
	append_one();
	WAITS_NEED(read_one(0) == 0);
	WAITS_NEED(queue_log_nack(reader, place, 0) == 0);
	hold(&disks[1], false);
}

static void
take_dead_letter_and_append(void)
{
	append_one();
	let_go_on(&disks[1]);
}

/* That a reader is just appending a dead letter only the other log finds out. */
static int
end_log_with_a_dead_letter(void)
{
	int rc;

	if (queue_impl_load32_acq(&dead_letters->waiting) > 0)
		return queue_log_close(dead_letters);
	rc = end_reader();
	if (rc == 0)
		WAITS_NEED(close_log(&disks[1], dead_letters) == 0);
	return rc;
}

static int
open_reader_there(uint64_t deadline)
{
	struct queue_log_reader_options options = {.start = QUEUE_LOG_POSITION, .start_at = place};

	(void)deadline;
	return queue_log_reader_open(queue_log, "reader", &options, &reader);
}

/*
 * Half messages.
 */

static int
prepare(uint64_t deadline)
{
	uint64_t id;

	(void)deadline;
	return queue_log_prepare(queue_log, "key", 3, bytes, 8, &id);
}

/* And the thread that the first one starts. */
static void
log_with_a_half(void)
{
	make_log(QUEUE_LOG_BATCH);
	WAITS_NEED(queue_log_prepare(queue_log, "key", 3, bytes, 8, &place) == 0);
	hold(&disks[0], false);
}

static int
commit(uint64_t deadline)
{
	(void)deadline;
	return queue_log_commit(queue_log, place, NULL);
}

static int
rollback(uint64_t deadline)
{
	(void)deadline;
	return queue_log_rollback(queue_log, place);
}

/*
 * A queue that goes on in a log.
 */

static pthread_t pushers[3];
static uint64_t n_pushers; /* that wait inside, besides those of the tests */
static size_t item_size;

static ptrdiff_t
encode(const void *encoded, void *buffer, size_t size, void *context)
{
	(void)context;
	if (size >= item_size) {
		memset(buffer, 0, item_size);
		memcpy(buffer, &encoded, sizeof encoded);
	}
	return (ptrdiff_t)item_size;
}

static int
decode(const void *data, size_t length, void **decoded, void *context)
{
	(void)context;
	WAITS_NEED(length == item_size);
	memcpy(decoded, data, sizeof *decoded);
	return 0;
}

static void *
pusher_main(void *unused)
{
	(void)unused;
	push_one();
	return NULL;
}

static void
start_pushers(uint64_t n)
{
	for (n_pushers = 0; n_pushers < n; n_pushers++)
		WAITS_NEED(pthread_create(&pushers[n_pushers], NULL, pusher_main, NULL) == 0);
}

/* Empty. */
static void
spilling_queue(void)
{
	struct queue_options options = {.capacity = 1,
					.policy = QUEUE_SPILL,
					.on_drop = note_drop,
					.encode = encode,
					.decode = decode};

	forget();
	n_pushers = 0;
	item_size = sizeof(void *);
	queue_log = open_log(&disks[0], STAGING, QUEUE_LOG_BATCH);
	options.log = queue_log;
	WAITS_NEED(queue_create(&queue, &options) == 0);
	/* What the log says of its reader is not what will be held. */
	WAITS_NEED(queue_log_sync(queue_log, QUEUE_NEVER) == 0);
}

/* What is pushed now goes to the log. */
static void
full_spilling_queue(void)
{
	spilling_queue();
	WAITS_NEED(queue_push(queue, NULL) == 0);
	hold(&disks[0], false);
}

/* It has no memory for a fourth one. */
static void
full_spilling_queue_and_log(void)
{
	uint64_t before;

	full_spilling_queue();
	hold(&disks[0], true);
	item_size = LONG;
	before = queue_impl_load_acq(&queue_log->tail);
	start_pushers(3);
	WAITS_NEED(FAULT_EVENTUALLY(queue_impl_load_acq(&queue_log->tail) - before >= 3 * LONG));
}

/* All that is in it is on its way to the log. */
static void
spilling_queue_with_one_behind(void)
{
	full_spilling_queue();
	start_pushers(1);
	WAITS_NEED(FAULT_EVENTUALLY(is_at_work(&disks[0])));
	pop_one();
}

static int
end_spilling_queue(void)
{
	uint64_t inside = queue_impl_load_acq(&queue->waiting_to_push) +
			  queue_impl_load_acq(&queue->waiting_to_pop);
	int rc;

	if (inside <= n_pushers) {
		let_disk_go_on();
		while (n_pushers > 0)
			WAITS_NEED(pthread_join(pushers[--n_pushers], NULL) == 0);
	}
	/* Also who was inside may have left by now. */
	rc = queue_destroy(queue);
	if (rc == 0)
		WAITS_NEED(end_log() == 0);
	return rc;
}

#define OF_A_LOG .end = end_log, .is_busy = true, .is_kept_apart = true, .is_parents = true
#define OF_A_READER .end = end_reader, .is_busy = true, .is_kept_apart = true, .is_parents = true
#define OF_A_SPILLING_QUEUE .end = end_spilling_queue, .is_busy = true, .is_parents = true

const struct wait_kind wait_kinds[] = {
	{
		.name = "queue_pop",
		.prepare = empty_queue,
		.wait = pop,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
	},
	{
		.name = "queue_pop, careful",
		.prepare = empty_counted_queue,
		.wait = pop,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
		.is_variant = true,
	},
	{
		.name = "queue_pop, watched",
		.prepare = empty_watched_queue,
		.wait = pop,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
		.has_descriptor = true,
		.is_variant = true,
	},
	{
		.name = "queue_pop_until",
		.has_deadline = true,
		.prepare = empty_queue,
		.wait = pop_until,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
	},
	{
		.name = "queue_pop_n",
		.prepare = empty_queue,
		.wait = pop_n,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
	},
	{
		.name = "queue_push",
		.prepare = full_queue,
		.wait = push,
		.satisfy = pop_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
	},
	{
		.name = "queue_push_until",
		.has_deadline = true,
		.prepare = full_queue,
		.wait = push_until,
		.satisfy = pop_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queue,
		.is_busy = true,
	},
	{
		.name = "queue_select",
		.has_deadline = true,
		.prepare = two_queues,
		.wait = select_two,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queues,
		.is_busy = true,
	},
	{
		.name = "queue_select_fair",
		.has_deadline = true,
		.prepare = two_queues,
		.wait = select_two_fair,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queues,
		.is_busy = true,
		.is_variant = true,
	},
	{
		.name = "queue_select, by poll",
		.has_deadline = true,
		.prepare = two_queues_for_poll,
		.wait = select_two,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		.end = end_queues,
		.is_busy = true,
		.has_descriptor = true,
	},
	{
		.name = "queue_topic_pop",
		.prepare = empty_topic,
		.wait = topic_pop,
		.satisfy = publish_one,
		.close = close_topic,
		.closed = -EPIPE,
		.end = end_topic,
		.is_busy = true,
	},
	{
		.name = "queue_topic_pop_until",
		.has_deadline = true,
		.prepare = empty_topic,
		.wait = topic_pop_until,
		.satisfy = publish_one,
		.close = close_topic,
		.closed = -EPIPE,
		.end = end_topic,
		.is_busy = true,
		.is_variant = true,
	},
	{
		.name = "queue_topic_pop_n",
		.prepare = empty_topic,
		.wait = topic_pop_n,
		.satisfy = publish_one,
		.close = close_topic,
		.closed = -EPIPE,
		.end = end_topic,
		.is_busy = true,
		.is_variant = true,
	},
	{
		.name = "queue_topic_publish",
		.prepare = full_topic,
		.wait = publish,
		.satisfy = topic_pop_one,
		.close = close_topic,
		.closed = -EPIPE,
		.end = end_topic,
		.is_busy = true,
		.is_single = true,
	},
	{
		.name = "queue_bucket_take_until",
		.has_deadline = true,
		.prepare = empty_bucket,
		.wait = bucket_take_until,
		.satisfy = refund,
		.end = end_nothing,
		.looks_ahead = true,
	},
	{
		.name = "queue_token_feed_take_until",
		.has_deadline = true,
		.prepare = empty_feed,
		.wait = feed_take_until,
		.satisfy = feed_advance,
		.end = end_feed,
		.is_busy = true,
	},
	{
		.name = "queue_call_wait",
		.has_deadline = true,
		.prepare = new_call,
		.wait = call_wait,
		.satisfy = reply,
		.end = end_call,
	},
	{
		.name = "queue_pool_stop",
		.has_deadline = true,
		.prepare = busy_pool,
		.wait = pool_stop,
		.satisfy = let_handlers_go,
		.end = end_pool,
	},
	{
		.name = "queue_pool_destroy",
		.prepare = busy_pool,
		.wait = pool_destroy,
		.satisfy = let_handlers_go,
		.end = end_pool,
		.is_variant = true,
	},
	{
		.name = "queue_log_append",
		.prepare = log_that_does_not_sync,
		.wait = append,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
	},
	{
		.name = "queue_log_append, a sync each",
		.prepare = log_that_does_not_sync_each,
		.wait = append,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_append, for a write",
		.prepare = log_that_does_not_write,
		.wait = append,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_append_async, for memory",
		.prepare = log_without_memory,
		.wait = append_async,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_append_async, for a file",
		.prepare = log_without_files,
		.wait = append_async,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_wait",
		.has_deadline = true,
		.prepare = log_that_syncs_one,
		.wait = wait_for_place,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_wait, until somebody syncs",
		.has_deadline = true,
		.prepare = log_that_is_not_asked_to_sync,
		.wait = wait_for_place,
		.satisfy = ask_for_sync,
		.close = fail_asked_sync,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_sync",
		.has_deadline = true,
		.prepare = log_that_syncs_one,
		.wait = sync_log,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_close",
		.prepare = log_that_syncs_one,
		.wait = close_without_end,
		.satisfy = let_disk_go_on,
		.end = end_closed_log,
		.is_single = true,
		.sleeps_in_libc = true,
		.is_variant = true,
	},
	{
		.name = "queue_log_read",
		.has_deadline = true,
		.prepare = empty_log,
		.wait = read_one,
		.satisfy = append_one,
		.close = fail_append,
		.closed = -EIO,
		OF_A_READER,
	},
	{
		.name = "queue_log_read_n, for what is not durable",
		.has_deadline = true,
		.prepare = log_that_hides_one,
		.wait = read_some,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_READER,
		.is_variant = true,
	},
	{
		.name = "queue_log_read, with a full window",
		.has_deadline = true,
		.prepare = log_with_a_full_window,
		.wait = read_one,
		.satisfy = append_and_acknowledge,
		OF_A_READER,
		.is_variant = true,
	},
	{
		.name = "queue_log_read, with a dead letter",
		.prepare = log_with_a_dead_letter,
		.wait = read_one,
		.satisfy = take_dead_letter_and_append,
		.end = end_log_with_a_dead_letter,
		.is_busy = true,
		.is_kept_apart = true,
		.is_parents = true,
		.is_variant = true,
	},
	{
		.name = "queue_log_reader_open",
		.prepare = log_that_syncs_one,
		.wait = open_reader_there,
		.satisfy = let_disk_go_on,
		OF_A_LOG,
		.is_single = true,
		.is_variant = true,
	},
	{
		.name = "queue_log_prepare",
		.prepare = log_with_a_half,
		.wait = prepare,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_variant = true,
	},
	{
		.name = "queue_log_commit",
		.prepare = log_with_a_half,
		.wait = commit,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_single = true,
		.is_variant = true,
	},
	{
		.name = "queue_log_rollback",
		.prepare = log_with_a_half,
		.wait = rollback,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_LOG,
		.is_single = true,
		.is_variant = true,
	},
	{
		.name = "queue_push, to a log",
		.prepare = full_spilling_queue,
		.wait = push,
		.satisfy = let_disk_go_on,
		.close = fail_disk,
		.closed = -EIO,
		OF_A_SPILLING_QUEUE,
		.is_variant = true,
	},
	{
		.name = "queue_push_until, to a log without memory",
		.has_deadline = true,
		.prepare = full_spilling_queue_and_log,
		.wait = push_until,
		.satisfy = let_disk_go_on,
		.close = close_queue,
		.closed = -EPIPE,
		OF_A_SPILLING_QUEUE,
		.is_variant = true,
	},
	{
		.name = "queue_pop, that looks into a log",
		.prepare = spilling_queue,
		.wait = pop,
		.satisfy = push_one,
		.close = close_queue,
		.closed = -EPIPE,
		OF_A_SPILLING_QUEUE,
		.is_variant = true,
	},
	{
		.name = "queue_pop_until, what is on its way to a log",
		.has_deadline = true,
		.prepare = spilling_queue_with_one_behind,
		.wait = pop_until,
		.satisfy = let_disk_go_on,
		OF_A_SPILLING_QUEUE,
		.is_variant = true,
	},
};

const int wait_kinds_count = sizeof wait_kinds / sizeof *wait_kinds;

/*
 * Waiters.
 */

static void *
waiter_main(void *argument)
{
	struct waiter *waiter = argument;

	queue_impl_store32_rel(&waiter->number, (uint32_t)syscall(SYS_gettid));
	waiter->rc = waiter->kind->wait(waiter->deadline);
	queue_impl_store32_rel(&waiter->has_returned, 1);
	pthread_testcancel();
	return NULL;
}

/* Not for a moment only, as for a lock of somebody else's. */
static bool
sleeps(const struct waiter *waiter)
{
	pid_t number = (pid_t)queue_impl_load32_acq(&waiter->number);
	int i;

	if (number == 0)
		return false;
	for (i = 0; i < 3; i++) {
		if (!fault_is_asleep(number))
			return false;
		usleep(200);
	}
	return true;
}

bool
waiter_start(struct waiter *waiter, const struct wait_kind *kind, uint64_t deadline)
{
	waiter->kind = kind;
	waiter->deadline = deadline;
	waiter->number = 0;
	waiter->has_returned = 0;
	waiter->rc = 0;
	WAITS_NEED(pthread_create(&waiter->thread, NULL, waiter_main, waiter) == 0);
	(void)FAULT_EVENTUALLY(sleeps(waiter) || queue_impl_load32_acq(&waiter->has_returned) != 0);
	return queue_impl_load32_acq(&waiter->has_returned) == 0;
}

bool
waiter_returns(struct waiter *waiter)
{
	return FAULT_EVENTUALLY(queue_impl_load32_acq(&waiter->has_returned) != 0);
}

int
waiter_join(struct waiter *waiter)
{
	void *value;

	WAITS_NEED(pthread_join(waiter->thread, &value) == 0);
	waiter->was_cancelled = value == PTHREAD_CANCELED;
	return waiter->rc;
}
