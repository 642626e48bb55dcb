/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Misuse: a table with a row for each way in which an option or an argument can be wrong. All the
 * rest of the call is right, so that nothing but this is refused. The answer is -EINVAL, or what the
 * row says; nothing is allocated, no directory is made, and neither *out nor the object has been
 * touched.
 *
 * There are no reserved fields, and what a clock answers is not looked at when it is given.
 */
#include <conveyor.h>

#include "../../lib/log_impl.h"
#include "disk.h"
#include "fault.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- What the calls are about ----------------------------------------------------------------- */

static struct fault_allocator memory;
static struct queue_allocator no_allocate, no_release;

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char space[16384], space_before[16384];
static size_t space_size;
static void *place;

static char untouched;
static void *out; /* where objects are put */
static void **out_place;

static uint64_t ring_capacity;
static unsigned ring_flags;
static const struct queue_allocator *ring_allocator;

static struct queue_options queue_options, *queue_given;
static struct queue_bucket_options bucket_options, *bucket_given;
static struct queue_token_feed_options feed_options, *feed_given;
static struct queue_topic_options topic_options;
static struct queue_subscription_options subscription_options, *subscription_given;
static struct queue_pool_options pool_options, *pool_given;
static struct queue_log_options log_options;
static struct queue_log_reader_options reader_options;

/* Arguments of a log's calls. */
static char directory[FAULT_PATH], long_name[QUEUE_LOG_NAME_MAX + 2],
	long_key[QUEUE_LOG_KEY_MAX + 1];
static const char *directory_given, *name_given;
static const void *data_given, *key_given;
static size_t length_given, key_length;
static uint64_t number_given, number_said, *number_place;
static struct queue_log *log_given;
static struct queue_log_reader *reader_given;
static struct queue_log_message message_said, message_before, *message_place;
static void *buffer_given;
static size_t buffer_size;
static int (*visit_given)(const struct queue_log_half *half, void *context);

/* Objects that are right. */
static struct queue_ring *ring;
static struct queue_bounded *queue, *without_drop, *single;
static struct queue_bucket bucket;
static struct queue_token_feed *feed, *feed_with_thread;
static struct queue_topic *topic;
static struct queue_subscription *subscription;
static struct queue_pool *pool, *single_pool;
static struct queue_message message;
static struct queue_call call;
static void *items[4];
static int n, index_said;
static struct queue_bounded *several[QUEUE_SELECT_MAX + 1];
static struct disk *disks[3];
static struct queue_log *queue_log, *log_of_few, *log_of_new_ones;
static struct queue_log_reader *reader;
static uint64_t halves[2];

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)reason, (void)context;
}

static void
run(void *item, void *context)
{
	(void)item, (void)context;
}

static uint64_t
deadline_of(const void *item)
{
	(void)item;
	return 0;
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	(void)item, (void)buffer, (void)size, (void)context;
	return 0;
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	(void)data, (void)length, (void)item, (void)context;
	return 0;
}

static int
handle(void *item, void *context)
{
	(void)item, (void)context;
	return 0;
}

static void
on_complete(struct queue_call *ended, enum queue_call_state state, void *context)
{
	(void)ended, (void)state, (void)context;
}

static int
visit(const struct queue_log_half *half, void *context)
{
	(void)half, (void)context;
	return 0;
}

/* The smallest that there is. */
static const struct queue_log_options small = {.segment_size = QUEUE_LOG_SEGMENT_MIN,
					       .staging_size = UINT64_C(1) << 18};

static void
make_logs(void)
{
	struct queue_log_options options[3] = {small, small, small};
	struct queue_log **const logs[] = {&queue_log, &log_of_few, &log_of_new_ones};
	struct queue_log_stats stats;

	/* The one in the middle takes only shorter messages. */
	options[0].segment_size = options[2].segment_size = 2 * small.segment_size;
	options[1].retain_bytes = 1;
	options[2].retain_age = 1;
	for (int i = 0; i < 3; i++) {
		disks[i] = disk_new();
		cr_assert_eq(queue_impl_log_open(logs[i], "log", &options[i], disk_table(disks[i])),
			     0);
	}
	cr_assert_eq(queue_log_append(queue_log, "text", 4, NULL), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(queue_log_prepare(queue_log, NULL, 0, "text", 4, &halves[i]), 0);
	cr_assert_eq(queue_log_reader_open(queue_log, "reader", NULL, &reader), 0);
	/* What it does by itself is done. */
	cr_assert_eq(queue_log_sync(queue_log, QUEUE_NEVER), 0);
	cr_assert(FAULT_EVENTUALLY(queue_log_stats(queue_log, &stats) == 0 && stats.spares >= 2));
	fault_make_path(directory);
	memset(long_name, 'a', sizeof long_name - 1);
}

static void
end_logs(void)
{
	cr_assert_eq(queue_log_close(queue_log), 0);
	cr_assert_eq(queue_log_close(log_of_few), 0);
	cr_assert_eq(queue_log_close(log_of_new_ones), 0);
	for (int i = 0; i < 3; i++)
		disk_free(disks[i]);
}

static void
make_objects(void)
{
	struct queue_options options = {.capacity = 4, .on_drop = on_drop};
	struct queue_bucket_options rate = {.tokens = 4};
	struct queue_token_feed_options feeds = {.tokens = 4, .flags = QUEUE_FEED_MANUAL};
	struct queue_subscription_options wants = {.capacity = 4};
	struct queue_pool_options workers = {.handler = handle};
	struct queue_call_options call_options = {.on_complete = on_complete};

	fault_init(&memory);
	no_allocate = no_release = memory.allocator;
	no_allocate.allocate = NULL;
	no_release.release = NULL;
	cr_assert_eq(queue_ring_create(&ring, 4, 0, NULL), 0);
	cr_assert_eq(queue_create(&queue, &options), 0);
	workers.queue = queue;
	cr_assert_eq(queue_pool_create(&pool, &workers), 0);
	options.flags = QUEUE_SINGLE_CONSUMER;
	cr_assert_eq(queue_create(&single, &options), 0);
	workers.queue = single;
	cr_assert_eq(queue_pool_create(&single_pool, &workers), 0);
	options.on_drop = NULL;
	options.flags = 0;
	cr_assert_eq(queue_create(&without_drop, &options), 0);
	cr_assert_eq(queue_bucket_init(&bucket, &rate), 0);
	cr_assert_eq(queue_token_feed_create(&feed, &feeds), 0);
	feeds.flags = 0;
	cr_assert_eq(queue_token_feed_create(&feed_with_thread, &feeds), 0);
	cr_assert_eq(queue_topic_create(&topic, NULL), 0);
	cr_assert_eq(queue_topic_subscribe(topic, &wants, &subscription), 0);
	queue_message_init(&message, NULL, NULL);
	cr_assert_eq(queue_call_init(&call, &call_options), 0);
	make_logs();
}

static void
end_objects(void)
{
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_pool_destroy(single_pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_destroy(single), 0);
	cr_assert_eq(queue_destroy(without_drop), 0);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
	cr_assert_eq(queue_token_feed_destroy(feed_with_thread), 0);
	queue_ring_destroy(ring);
	end_logs();
}

/* What a log is given goes up to the limits. */
static void
set_log_right(void)
{
	log_options = small;
	log_options.allocator = &memory.allocator;
	reader_options = (struct queue_log_reader_options){
		.window = QUEUE_LOG_WINDOW_MAX, .attempts = 1, .dead_letters = log_of_new_ones};
	directory_given = directory;
	name_given = long_name + 1;
	data_given = "text";
	length_given = 4;
	key_given = long_key;
	key_length = QUEUE_LOG_KEY_MAX;
	number_given = halves[0];
	number_said = 4711;
	number_place = &number_said;
	log_given = queue_log;
	reader_given = reader;
	memset(&message_said, 0x5a, sizeof message_said);
	message_before = message_said;
	message_place = &message_said;
	buffer_given = space;
	buffer_size = sizeof space;
	visit_given = visit;
}

/* Everything as it should be; a row changes one thing. */
static void
set_right(void)
{
	out = &untouched;
	out_place = &out;
	memset(space, 0x5a, sizeof space);
	memset(space_before, 0x5a, sizeof space_before);
	space_size = sizeof space;
	place = space;
	ring_capacity = 4;
	ring_flags = 0;
	ring_allocator = &memory.allocator;
	queue_options = (struct queue_options){
		.capacity = 4, .on_drop = on_drop, .run = run, .allocator = &memory.allocator};
	queue_given = &queue_options;
	bucket_options = (struct queue_bucket_options){.tokens = 4};
	bucket_given = &bucket_options;
	feed_options = (struct queue_token_feed_options){
		.tokens = 4, .flags = QUEUE_FEED_MANUAL, .allocator = &memory.allocator};
	feed_given = &feed_options;
	topic_options = (struct queue_topic_options){.allocator = &memory.allocator};
	subscription_options = (struct queue_subscription_options){.capacity = 4};
	subscription_given = &subscription_options;
	pool_options = (struct queue_pool_options){.queue = queue,
						   .handler = handle,
						   .workers = 1,
						   .batch = 1,
						   .attempts = 1,
						   .dead_letters = without_drop,
						   .allocator = &memory.allocator};
	pool_given = &pool_options;
	n = 1;
	index_said = -7;
	for (size_t i = 0; i < COUNT(several); i++)
		several[i] = queue;
	set_log_right();
}

/* What is wrong is found before the log is looked at, so there need not be one. */
static void
spill(void)
{
	queue_options.policy = QUEUE_SPILL;
	queue_options.log = (struct queue_log *)(void *)&untouched;
	queue_options.encode = encode;
	queue_options.decode = decode;
}

/* ---- The calls -------------------------------------------------------------------------------- */

static int
ring_create(void)
{
	return queue_ring_create((struct queue_ring **)(void *)out_place, ring_capacity, ring_flags,
				 ring_allocator);
}

static int
ring_init(void)
{
	return queue_ring_init(place, space_size, ring_capacity, ring_flags);
}

static int
ring_footprint(void)
{
	return queue_ring_footprint(ring_capacity, ring_flags) == 0 ? -EINVAL : 0;
}

static int
create(void)
{
	return queue_create((struct queue_bounded **)(void *)out_place, queue_given);
}

static int
init(void)
{
	return queue_init(place, space_size, queue_given);
}

static int
footprint(void)
{
	return queue_footprint(queue_given) == 0 ? -EINVAL : 0;
}

static int
bucket_init(void)
{
	return queue_bucket_init(place, bucket_given);
}

static int
bucket_set(void)
{
	return queue_bucket_set(&bucket, bucket_given);
}

static int
feed_create(void)
{
	return queue_token_feed_create((struct queue_token_feed **)(void *)out_place, feed_given);
}

static int
topic_create(void)
{
	return queue_topic_create((struct queue_topic **)(void *)out_place, &topic_options);
}

static int
subscribe(void)
{
	return queue_topic_subscribe(topic, subscription_given,
				     (struct queue_subscription **)(void *)out_place);
}

static int
pool_create(void)
{
	return queue_pool_create((struct queue_pool **)(void *)out_place, pool_given);
}

static int
resize(void)
{
	return queue_pool_resize(pool, n);
}

static int
resize_single(void)
{
	return queue_pool_resize(single_pool, n);
}

static int
stop(void)
{
	return queue_pool_stop(pool, (enum queue_pool_stop)n, 0);
}

static int
call_init(void)
{
	return queue_call_init(place, NULL);
}

static int
call_wait(void)
{
	return queue_call_wait(&call, 0);
}

static int
call_reply(void)
{
	return queue_call_reply(&call);
}

static int
ring_push_n(void)
{
	return (int)queue_ring_push_n(ring, items, n);
}

static int
ring_pop_n(void)
{
	return (int)queue_ring_pop_n(ring, items, n);
}

static int
push_n(void)
{
	return queue_push_n(queue, items, n);
}

static int
pop_n(void)
{
	return queue_pop_n(queue, items, n);
}

static int
try_pop_n(void)
{
	return queue_try_pop_n(queue, items, n);
}

static int
topic_pop_n(void)
{
	return queue_topic_pop_n(subscription, (struct queue_message **)items, n);
}

static int
topic_try_pop_n(void)
{
	return queue_topic_try_pop_n(subscription, (struct queue_message **)items, n);
}

static int
publish(void)
{
	return queue_topic_publish(topic, place == space ? &message : NULL, 1);
}

static int
publish_report(void)
{
	struct queue_delivery delivery = {.taken = 4711};
	int rc = queue_topic_publish_report(topic, place == space ? &message : NULL, 1, &delivery);

	return delivery.taken == 4711 ? rc : -EILSEQ;
}

static int
bucket_take(void)
{
	return queue_bucket_take(&bucket, (uint64_t)n);
}

static int
bucket_take_at(void)
{
	return queue_bucket_take_at(&bucket, (uint64_t)n, queue_now());
}

static int
bucket_take_until(void)
{
	return queue_bucket_take_until(&bucket, (uint64_t)n, QUEUE_NEVER);
}

static int
feed_take(void)
{
	return queue_token_feed_take(feed, (uint64_t)n);
}

static int
feed_take_until(void)
{
	return queue_token_feed_take_until(feed, (uint64_t)n, QUEUE_NEVER);
}

static int
feed_advance(void)
{
	return queue_token_feed_advance(feed_with_thread, 0);
}

static int
select_some(void)
{
	return queue_select(place ? several : NULL, n, 0, space_size ? &index_said : NULL);
}

static int
select_fair(void)
{
	return queue_select_fair(place ? several : NULL, n, 0, space_size ? &index_said : NULL);
}

static int
prometheus(void)
{
	struct queue_stats stats = {.capacity = 1};

	return queue_stats_prometheus(stderr, place == space ? "9" : place, &stats);
}

static uint64_t
next_position(void)
{
	struct queue_log_stats stats;

	(void)queue_log_stats(queue_log, &stats);
	return stats.ends;
}

static int
log_open(void)
{
	return queue_log_open((struct queue_log **)(void *)out_place, directory_given,
			      &log_options);
}

static int
append(void)
{
	return queue_log_append(log_given, data_given, length_given, number_place);
}

static int
append_async(void)
{
	return queue_log_append_async(log_given, data_given, length_given, number_place);
}

static int
log_wait(void)
{
	return queue_log_wait(log_given, number_given, 0);
}

static int
log_sync(void)
{
	return queue_log_sync(log_given, 0);
}

static int
log_fd(void)
{
	return queue_log_fd(log_given);
}

static int
log_stats(void)
{
	return queue_log_stats(log_given, place);
}

static int
prepare(void)
{
	return queue_log_prepare(log_given, key_given, key_length, data_given, length_given,
				 number_place);
}

static int
commit(void)
{
	return queue_log_commit(log_given, number_given, number_place);
}

static int
rollback(void)
{
	return queue_log_rollback(log_given, halves[1]);
}

/* There is no such half message, or message that is out: that is not misuse. */
static int
unless_missing(int rc)
{
	return rc == -ENOENT ? 0 : rc;
}

static int
unpark(void)
{
	return unless_missing(queue_log_unpark(log_given, number_given));
}

static int
undecided(void)
{
	return queue_log_undecided(log_given, visit_given, NULL);
}

static int
reader_open(void)
{
	return queue_log_reader_open(log_given, name_given, &reader_options,
				     (struct queue_log_reader **)(void *)out_place);
}

static int
reader_remove(void)
{
	return unless_missing(queue_log_reader_remove(log_given, name_given));
}

static int
read_one(void)
{
	return queue_log_read(reader_given, message_place, buffer_given, buffer_size, 0);
}

static int
read_n(void)
{
	return queue_log_read_n(reader_given, message_place, n, buffer_given, buffer_size, 0);
}

static int
ack(void)
{
	return unless_missing(queue_log_ack(reader_given, number_given));
}

static int
ack_n(void)
{
	return queue_log_ack_n(reader_given, message_place, n);
}

static int
nack(void)
{
	return unless_missing(queue_log_nack(reader_given, number_given, 0));
}

static int
renew(void)
{
	return unless_missing(queue_log_renew(reader_given, number_given, 0));
}

static int
reader_stats(void)
{
	return queue_log_reader_stats(reader_given, place);
}

/* ---- The table -------------------------------------------------------------------------------- */

struct row {
	const char *call;
	int (*make)(void);
	const char *wrong;
	void (*change)(void);
};

/* A function for each row, nested in nothing, made from its text. */
#define CHANGES(X)                                                                                 \
	X(out_null, out_place = NULL)                                                              \
	X(place_null, place = NULL)                                                                \
	X(place_odd, place = space + QUEUE_RING_ALIGNMENT / 4)                                     \
	X(size_zero, space_size = 0)                                                               \
	X(ring_size_short, space_size = queue_ring_footprint(4, 0) - 1)                            \
	X(ring_capacity_zero, ring_capacity = 0)                                                   \
	X(ring_capacity_above, ring_capacity = QUEUE_CAPACITY_MAX + 1)                             \
	X(ring_capacity_overflows, ring_capacity = UINT64_MAX)                                     \
	X(ring_capacity_overflows_bytes, ring_capacity = UINT64_MAX / 16 + 1)                      \
	X(ring_flag_unknown, ring_flags = 4)                                                       \
	X(ring_flag_high, ring_flags = 1u << 31 | QUEUE_SINGLE_PRODUCER)                           \
	X(ring_no_allocate, ring_allocator = &no_allocate)                                         \
	X(ring_no_release, ring_allocator = &no_release)                                           \
	X(queue_options_null, queue_given = NULL)                                                  \
	X(queue_size_short, space_size = queue_footprint(&queue_options) - 1)                      \
	X(queue_capacity_zero, queue_options.capacity = 0)                                         \
	X(queue_capacity_above, queue_options.capacity = QUEUE_CAPACITY_MAX + 1)                   \
	X(queue_capacity_overflows, queue_options.capacity = UINT64_MAX)                           \
	X(queue_capacity_overflows_bytes, queue_options.capacity = UINT64_MAX / 16 + 1)            \
	X(queue_policy_spill, queue_options.policy = QUEUE_SPILL)                                  \
	X(queue_policy_unknown, queue_options.policy = (enum queue_policy)(QUEUE_SPILL + 1))       \
	X(queue_policy_negative, queue_options.policy = (enum queue_policy) - 1)                   \
	X(queue_flag_unknown, queue_options.flags = 4)                                             \
	X(queue_flag_high, queue_options.flags = 1u << 31 | QUEUE_SINGLE_CONSUMER)                 \
	X(queue_no_run, queue_options.policy = QUEUE_CALLER_RUNS; queue_options.run = NULL)        \
	X(queue_discard_no_drop, queue_options.policy = QUEUE_DISCARD;                             \
	  queue_options.on_drop = NULL)                                                            \
	X(queue_oldest_no_drop, queue_options.policy = QUEUE_DISCARD_OLDEST;                       \
	  queue_options.on_drop = NULL)                                                            \
	X(queue_oldest_single, queue_options.policy = QUEUE_DISCARD_OLDEST;                        \
	  queue_options.flags = QUEUE_SINGLE_CONSUMER)                                             \
	X(queue_oldest_both, queue_options.policy = QUEUE_DISCARD_OLDEST;                          \
	  queue_options.flags = QUEUE_SINGLE_CONSUMER | QUEUE_SINGLE_PRODUCER)                     \
	X(queue_deadline_no_drop, queue_options.deadline_of = deadline_of;                         \
	  queue_options.on_drop = NULL)                                                            \
	X(queue_spill_no_log, spill(); queue_options.log = NULL)                                   \
	X(queue_spill_no_encode, spill(); queue_options.encode = NULL)                             \
	X(queue_spill_no_decode, spill(); queue_options.decode = NULL)                             \
	X(queue_spill_no_drop, spill(); queue_options.on_drop = NULL)                              \
	X(queue_spill_high_above, spill(); queue_options.high = 5)                                 \
	X(queue_spill_low_equal, spill(); queue_options.low = 4)                                   \
	X(queue_spill_low_above_high, spill(); queue_options.high = 2; queue_options.low = 3)      \
	X(queue_spill_low_overflows, spill(); queue_options.low = UINT64_MAX)                      \
	X(queue_spill_producer, spill(); queue_options.flags = QUEUE_SINGLE_PRODUCER)              \
	X(queue_spill_both, spill();                                                               \
	  queue_options.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)                     \
	X(queue_spill_retains_bytes, spill(); queue_options.log = log_of_few)                      \
	X(queue_spill_retains_age, spill(); queue_options.log = log_of_new_ones)                   \
	X(queue_log_unused, queue_options.log = (void *)&untouched)                                \
	X(queue_encode_unused, queue_options.encode = encode)                                      \
	X(queue_decode_unused, queue_options.decode = decode)                                      \
	X(queue_high_unused, queue_options.high = 2)                                               \
	X(queue_low_unused, queue_options.low = 1)                                                 \
	X(queue_no_allocate, queue_options.allocator = &no_allocate)                               \
	X(queue_no_release, queue_options.allocator = &no_release)                                 \
	X(bucket_options_null, bucket_given = NULL)                                                \
	X(bucket_tokens_zero, bucket_options.tokens = 0)                                           \
	X(bucket_tokens_zero_burst, bucket_options.tokens = 0; bucket_options.burst = 4)           \
	X(bucket_tokens_above, bucket_options.tokens = (1u << 30) + 1;                             \
	  bucket_options.period = bucket_options.burst = 1)                                        \
	X(bucket_tokens_overflow, bucket_options.tokens = UINT64_MAX; bucket_options.burst = 1)    \
	X(bucket_period_above, bucket_options.tokens = 1; bucket_options.burst = 1;                \
	  bucket_options.period = (UINT64_C(1) << 61) + 1)                                         \
	X(bucket_period_overflows, bucket_options.period = UINT64_MAX)                             \
	X(bucket_burst_above, bucket_options.burst = QUEUE_BURST_MAX + 1)                          \
	X(bucket_burst_overflows, bucket_options.burst = UINT64_MAX)                               \
	X(feed_options_null, feed_given = NULL)                                                    \
	X(feed_tokens_zero, feed_options.tokens = 0)                                               \
	X(feed_tokens_above, feed_options.tokens = (1u << 30) + 1;                                 \
	  feed_options.period = feed_options.burst = 1)                                            \
	X(feed_period_above, feed_options.tokens = 1; feed_options.burst = 1;                      \
	  feed_options.period = (UINT64_C(1) << 61) + 1)                                           \
	X(feed_burst_above, feed_options.burst = QUEUE_BURST_MAX + 1)                              \
	X(feed_burst_overflows, feed_options.burst = UINT64_MAX)                                   \
	X(feed_flag_unknown, feed_options.flags = 2)                                               \
	X(feed_flag_high, feed_options.flags = 1u << 31 | QUEUE_FEED_MANUAL)                       \
	X(feed_no_allocate, feed_options.allocator = &no_allocate)                                 \
	X(feed_no_release, feed_options.allocator = &no_release)                                   \
	X(topic_no_allocate, topic_options.allocator = &no_allocate)                               \
	X(topic_no_release, topic_options.allocator = &no_release)                                 \
	X(subscription_null, subscription_given = NULL)                                            \
	X(subscription_capacity_zero, subscription_options.capacity = 0)                           \
	X(subscription_capacity_above, subscription_options.capacity = QUEUE_CAPACITY_MAX + 1)     \
	X(subscription_capacity_overflows, subscription_options.capacity = UINT64_MAX)             \
	X(subscription_policy_runs, subscription_options.policy = QUEUE_CALLER_RUNS)               \
	X(subscription_policy_spill, subscription_options.policy = QUEUE_SPILL)                    \
	X(subscription_policy_unknown,                                                             \
	  subscription_options.policy = (enum queue_policy)(QUEUE_SPILL + 1))                      \
	X(subscription_policy_negative, subscription_options.policy = (enum queue_policy) - 1)     \
	X(subscription_producer, subscription_options.flags = QUEUE_SINGLE_PRODUCER)               \
	X(subscription_both,                                                                       \
	  subscription_options.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)              \
	X(subscription_flag_unknown, subscription_options.flags = 4)                               \
	X(subscription_flag_high, subscription_options.flags = 1u << 31)                           \
	X(subscription_oldest_single, subscription_options.policy = QUEUE_DISCARD_OLDEST;          \
	  subscription_options.flags = QUEUE_SINGLE_CONSUMER)                                      \
	X(pool_options_null, pool_given = NULL)                                                    \
	X(pool_queue_null, pool_options.queue = NULL)                                              \
	X(pool_queue_no_drop, pool_options.queue = without_drop; pool_options.dead_letters = NULL) \
	X(pool_handler_null, pool_options.handler = NULL)                                          \
	X(pool_dead_letters_same, pool_options.dead_letters = queue)                               \
	X(pool_workers_negative, pool_options.workers = -1)                                        \
	X(pool_workers_least, pool_options.workers = INT32_MIN)                                    \
	X(pool_workers_above, pool_options.workers = QUEUE_POOL_WORKERS_MAX + 1)                   \
	X(pool_workers_single, pool_options.queue = single; pool_options.workers = 2)              \
	X(pool_batch_negative, pool_options.batch = -1)                                            \
	X(pool_batch_above, pool_options.batch = QUEUE_POOL_BATCH_MAX + 1)                         \
	X(pool_batch_most, pool_options.batch = INT32_MAX)                                         \
	X(pool_attempts_negative, pool_options.attempts = -1)                                      \
	X(pool_no_allocate, pool_options.allocator = &no_allocate)                                 \
	X(pool_no_release, pool_options.allocator = &no_release)                                   \
	X(log_directory_null, directory_given = NULL)                                              \
	X(log_sync_unknown, log_options.sync = (enum queue_log_sync)(QUEUE_LOG_NONE + 1))          \
	X(log_sync_negative, log_options.sync = (enum queue_log_sync) - 1)                         \
	X(log_interval_zero, log_options.sync = QUEUE_LOG_INTERVAL)                                \
	X(log_interval_batch, log_options.interval = 1)                                            \
	X(log_interval_each, log_options.sync = QUEUE_LOG_EACH; log_options.interval = UINT64_MAX) \
	X(log_interval_none, log_options.sync = QUEUE_LOG_NONE; log_options.interval = 1)          \
	X(log_flag_unknown, log_options.flags = 4)                                                 \
	X(log_flag_high, log_options.flags = 1u << 31 | QUEUE_LOG_SALVAGE)                         \
	X(log_segment_one, log_options.segment_size = 1)                                           \
	X(log_segment_below, log_options.segment_size = QUEUE_LOG_SEGMENT_MIN - 4096)              \
	X(log_segment_odd, log_options.segment_size = QUEUE_LOG_SEGMENT_MIN + 2048)                \
	X(log_segment_above, log_options.segment_size = QUEUE_LOG_SEGMENT_MAX + 4096)              \
	X(log_segment_overflows, log_options.segment_size = 0 - UINT64_C(4096))                    \
	X(log_staging_one, log_options.staging_size = 1)                                           \
	X(log_staging_below, log_options.staging_size = UINT64_C(1) << 17)                         \
	X(log_staging_odd, log_options.staging_size = UINT64_C(3) << 17)                           \
	X(log_staging_above, log_options.staging_size = UINT64_C(1) << 31)                         \
	X(log_staging_overflows, log_options.staging_size = UINT64_C(1) << 63)                     \
	X(log_no_allocate, log_options.allocator = &no_allocate)                                   \
	X(log_no_release, log_options.allocator = &no_release)                                     \
	X(log_null, log_given = NULL)                                                              \
	X(log_data_null, data_given = NULL)                                                        \
	X(log_key_null, key_given = NULL)                                                          \
	X(log_key_above, key_length++)                                                             \
	X(log_key_overflows, key_length = SIZE_MAX)                                                \
	X(log_number_above, number_given = UINT64_MAX)                                             \
	X(log_number_next, number_given = next_position())                                         \
	X(log_number_null, number_place = NULL)                                                    \
	X(log_visit_null, visit_given = NULL)                                                      \
	X(reader_name_null, name_given = NULL)                                                     \
	X(reader_name_empty, name_given = "")                                                      \
	X(reader_name_above, name_given = long_name)                                               \
	X(reader_start_unknown, reader_options.start = (enum queue_log_start)(QUEUE_LOG_TIME + 1)) \
	X(reader_start_negative, reader_options.start = (enum queue_log_start) - 1)                \
	X(reader_window_above, reader_options.window = QUEUE_LOG_WINDOW_MAX + 1)                   \
	X(reader_window_most, reader_options.window = UINT32_MAX)                                  \
	X(reader_attempts_alone, reader_options.dead_letters = NULL)                               \
	X(reader_dead_letters_alone, reader_options.attempts = 0)                                  \
	X(reader_dead_letters_same, reader_options.dead_letters = queue_log)                       \
	X(reader_dead_letters_short, reader_options.dead_letters = log_of_few)                     \
	X(reader_null, reader_given = NULL)                                                        \
	X(reader_message_null, message_place = NULL)                                               \
	X(reader_buffer_null, buffer_given = NULL)                                                 \
	X(n_zero, n = 0)                                                                           \
	X(n_negative, n = -1)                                                                      \
	X(n_least, n = INT32_MIN)                                                                  \
	X(n_two, n = 2)                                                                            \
	X(n_five, n = 5)                                                                           \
	X(n_workers_above, n = QUEUE_POOL_WORKERS_MAX + 1)                                         \
	X(n_queues_above, n = QUEUE_SELECT_MAX + 1)                                                \
	X(as_it_is, (void)0)

#define DEFINE(name, ...)                                                                          \
	static void name(void)                                                                     \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}
CHANGES(DEFINE)

#define ROW(call, change)                                                                          \
	{                                                                                          \
#call, call, #change, change                                                       \
	}

static const struct row rows[] = {
	ROW(ring_create, out_null),
	ROW(ring_create, ring_capacity_zero),
	ROW(ring_create, ring_capacity_above),
	ROW(ring_create, ring_capacity_overflows),
	ROW(ring_create, ring_capacity_overflows_bytes),
	ROW(ring_create, ring_flag_unknown),
	ROW(ring_create, ring_flag_high),
	ROW(ring_create, ring_no_allocate),
	ROW(ring_create, ring_no_release),
	ROW(ring_init, place_null),
	ROW(ring_init, place_odd),
	ROW(ring_init, size_zero),
	ROW(ring_init, ring_size_short),
	ROW(ring_init, ring_capacity_zero),
	ROW(ring_init, ring_capacity_above),
	ROW(ring_init, ring_capacity_overflows),
	ROW(ring_init, ring_capacity_overflows_bytes),
	ROW(ring_init, ring_flag_unknown),
	ROW(ring_init, ring_flag_high),
	ROW(ring_footprint, ring_capacity_zero),
	ROW(ring_footprint, ring_capacity_above),
	ROW(ring_footprint, ring_capacity_overflows),
	ROW(ring_footprint, ring_capacity_overflows_bytes),
	ROW(ring_footprint, ring_flag_unknown),
	ROW(ring_footprint, ring_flag_high),
	ROW(ring_push_n, n_negative),
	ROW(ring_push_n, n_least),
	ROW(ring_pop_n, n_negative),
	ROW(ring_pop_n, n_least),
#define QUEUE_ROWS(call)                                                                           \
	ROW(call, queue_options_null), ROW(call, queue_capacity_zero),                             \
		ROW(call, queue_capacity_above), ROW(call, queue_capacity_overflows),              \
		ROW(call, queue_capacity_overflows_bytes), ROW(call, queue_policy_spill),          \
		ROW(call, queue_policy_unknown), ROW(call, queue_policy_negative),                 \
		ROW(call, queue_flag_unknown), ROW(call, queue_flag_high),                         \
		ROW(call, queue_no_run), ROW(call, queue_discard_no_drop),                         \
		ROW(call, queue_oldest_no_drop), ROW(call, queue_oldest_single),                   \
		ROW(call, queue_oldest_both), ROW(call, queue_deadline_no_drop),                   \
		ROW(call, queue_no_allocate), ROW(call, queue_no_release),                         \
		ROW(call, queue_spill_no_log), ROW(call, queue_spill_no_encode),                   \
		ROW(call, queue_spill_no_decode), ROW(call, queue_spill_no_drop),                  \
		ROW(call, queue_spill_high_above), ROW(call, queue_spill_low_equal),               \
		ROW(call, queue_spill_low_above_high), ROW(call, queue_spill_low_overflows),       \
		ROW(call, queue_spill_producer), ROW(call, queue_spill_both),                      \
		ROW(call, queue_log_unused), ROW(call, queue_encode_unused),                       \
		ROW(call, queue_decode_unused), ROW(call, queue_high_unused),                      \
		ROW(call, queue_low_unused)
	QUEUE_ROWS(create),
	QUEUE_ROWS(init),
	QUEUE_ROWS(footprint),
	ROW(create, out_null),
	ROW(init, place_null),
	ROW(init, place_odd),
	ROW(init, size_zero),
	ROW(init, queue_size_short),
	ROW(init, queue_spill_retains_bytes),
	ROW(init, queue_spill_retains_age),
	ROW(push_n, n_negative),
	ROW(push_n, n_least),
	ROW(pop_n, n_zero),
	ROW(pop_n, n_negative),
	ROW(pop_n, n_least),
	ROW(try_pop_n, n_zero),
	ROW(try_pop_n, n_negative),
	ROW(try_pop_n, n_least),
	ROW(select_some, n_zero),
	ROW(select_some, n_negative),
	ROW(select_some, n_queues_above),
	ROW(select_some, place_null),
	ROW(select_some, size_zero),
	ROW(select_fair, n_zero),
	ROW(select_fair, n_negative),
	ROW(select_fair, n_queues_above),
	ROW(select_fair, place_null),
	ROW(select_fair, size_zero),
#define BUCKET_ROWS(call)                                                                          \
	ROW(call, bucket_options_null), ROW(call, bucket_tokens_zero),                             \
		ROW(call, bucket_tokens_zero_burst), ROW(call, bucket_tokens_above),               \
		ROW(call, bucket_tokens_overflow), ROW(call, bucket_period_above),                 \
		ROW(call, bucket_period_overflows), ROW(call, bucket_burst_above),                 \
		ROW(call, bucket_burst_overflows)
	BUCKET_ROWS(bucket_init),
	BUCKET_ROWS(bucket_set),
	ROW(bucket_init, place_null),
	ROW(bucket_init, place_odd),
	ROW(bucket_take, n_five),
	ROW(bucket_take_at, n_five),
	ROW(bucket_take_until, n_five),
	ROW(feed_create, out_null),
	ROW(feed_create, feed_options_null),
	ROW(feed_create, feed_tokens_zero),
	ROW(feed_create, feed_tokens_above),
	ROW(feed_create, feed_period_above),
	ROW(feed_create, feed_burst_above),
	ROW(feed_create, feed_burst_overflows),
	ROW(feed_create, feed_flag_unknown),
	ROW(feed_create, feed_flag_high),
	ROW(feed_create, feed_no_allocate),
	ROW(feed_create, feed_no_release),
	ROW(feed_take, n_five),
	ROW(feed_take_until, n_five),
	ROW(feed_advance, as_it_is),
	ROW(topic_create, out_null),
	ROW(topic_create, topic_no_allocate),
	ROW(topic_create, topic_no_release),
	ROW(subscribe, out_null),
	ROW(subscribe, subscription_null),
	ROW(subscribe, subscription_capacity_zero),
	ROW(subscribe, subscription_capacity_above),
	ROW(subscribe, subscription_capacity_overflows),
	ROW(subscribe, subscription_policy_runs),
	ROW(subscribe, subscription_policy_spill),
	ROW(subscribe, subscription_policy_unknown),
	ROW(subscribe, subscription_policy_negative),
	ROW(subscribe, subscription_producer),
	ROW(subscribe, subscription_both),
	ROW(subscribe, subscription_flag_unknown),
	ROW(subscribe, subscription_flag_high),
	ROW(subscribe, subscription_oldest_single),
	ROW(publish, place_null),
	ROW(publish_report, place_null),
	ROW(topic_pop_n, n_zero),
	ROW(topic_pop_n, n_negative),
	ROW(topic_try_pop_n, n_zero),
	ROW(topic_try_pop_n, n_negative),
	ROW(pool_create, out_null),
	ROW(pool_create, pool_options_null),
	ROW(pool_create, pool_queue_null),
	ROW(pool_create, pool_queue_no_drop),
	ROW(pool_create, pool_handler_null),
	ROW(pool_create, pool_dead_letters_same),
	ROW(pool_create, pool_workers_negative),
	ROW(pool_create, pool_workers_least),
	ROW(pool_create, pool_workers_above),
	ROW(pool_create, pool_workers_single),
	ROW(pool_create, pool_batch_negative),
	ROW(pool_create, pool_batch_above),
	ROW(pool_create, pool_batch_most),
	ROW(pool_create, pool_attempts_negative),
	ROW(pool_create, pool_no_allocate),
	ROW(pool_create, pool_no_release),
	ROW(resize, n_zero),
	ROW(resize, n_negative),
	ROW(resize, n_least),
	ROW(resize, n_workers_above),
	ROW(resize_single, n_two),
	ROW(stop, n_negative),
	ROW(stop, n_two),
	ROW(call_init, place_null),
	ROW(call_wait, as_it_is),
	ROW(call_reply, as_it_is),
	ROW(log_open, out_null),
	ROW(log_open, log_directory_null),
	ROW(log_open, log_sync_unknown),
	ROW(log_open, log_sync_negative),
	ROW(log_open, log_interval_zero),
	ROW(log_open, log_interval_batch),
	ROW(log_open, log_interval_each),
	ROW(log_open, log_interval_none),
	ROW(log_open, log_flag_unknown),
	ROW(log_open, log_flag_high),
	ROW(log_open, log_segment_one),
	ROW(log_open, log_segment_below),
	ROW(log_open, log_segment_odd),
	ROW(log_open, log_segment_above),
	ROW(log_open, log_segment_overflows),
	ROW(log_open, log_staging_one),
	ROW(log_open, log_staging_below),
	ROW(log_open, log_staging_odd),
	ROW(log_open, log_staging_above),
	ROW(log_open, log_staging_overflows),
	ROW(log_open, log_no_allocate),
	ROW(log_open, log_no_release),
	ROW(append, log_null),
	ROW(append, log_data_null),
	ROW(append_async, log_null),
	ROW(append_async, log_data_null),
	ROW(log_wait, log_null),
	ROW(log_wait, log_number_next),
	ROW(log_wait, log_number_above),
	ROW(log_sync, log_null),
	ROW(log_fd, log_null),
	ROW(log_stats, log_null),
	ROW(log_stats, place_null),
	ROW(prepare, log_null),
	ROW(prepare, log_key_null),
	ROW(prepare, log_key_above),
	ROW(prepare, log_key_overflows),
	ROW(prepare, log_data_null),
	ROW(prepare, log_number_null),
	ROW(commit, log_null),
	ROW(rollback, log_null),
	ROW(unpark, log_null),
	ROW(undecided, log_null),
	ROW(undecided, log_visit_null),
	ROW(reader_open, out_null),
	ROW(reader_open, log_null),
	ROW(reader_open, reader_name_null),
	ROW(reader_open, reader_name_empty),
	ROW(reader_open, reader_name_above),
	ROW(reader_open, reader_start_unknown),
	ROW(reader_open, reader_start_negative),
	ROW(reader_open, reader_window_above),
	ROW(reader_open, reader_window_most),
	ROW(reader_open, reader_attempts_alone),
	ROW(reader_open, reader_dead_letters_alone),
	ROW(reader_open, reader_dead_letters_same),
	ROW(reader_open, reader_dead_letters_short),
	ROW(reader_remove, log_null),
	ROW(reader_remove, reader_name_null),
	ROW(read_one, reader_null),
	ROW(read_one, reader_message_null),
	ROW(read_one, reader_buffer_null),
	ROW(read_n, reader_null),
	ROW(read_n, reader_message_null),
	ROW(read_n, reader_buffer_null),
	ROW(read_n, n_zero),
	ROW(read_n, n_negative),
	ROW(read_n, n_least),
	ROW(ack, reader_null),
	ROW(ack_n, reader_null),
	ROW(ack_n, reader_message_null),
	ROW(ack_n, n_negative),
	ROW(ack_n, n_least),
	ROW(nack, reader_null),
	ROW(renew, reader_null),
	ROW(reader_stats, reader_null),
	ROW(reader_stats, place_null),
	ROW(prometheus, as_it_is),
	ROW(prometheus, place_null),
};

/* What a refused call may have changed, as far as it can be seen. */
struct view {
	struct queue_ring_stats ring;
	struct queue_stats queue;
	struct queue_topic_stats topic;
	struct queue_subscription_stats subscription;
	struct queue_pool_stats pool, single_pool;
	struct queue_log_stats log;
	struct queue_log_reader_stats reader;
	struct queue_bucket bucket;
	struct queue_call call;
	uint64_t tokens;
};

static void
look(struct view *view)
{
	memset(view, 0, sizeof *view);
	queue_ring_stats(ring, &view->ring);
	(void)queue_stats(queue, &view->queue);
	/* Its workers may go to sleep meanwhile. */
	view->queue.waits = 0;
	(void)queue_topic_stats(topic, &view->topic);
	(void)queue_subscription_stats(subscription, &view->subscription);
	(void)queue_pool_stats(pool, &view->pool);
	(void)queue_pool_stats(single_pool, &view->single_pool);
	(void)queue_log_stats(queue_log, &view->log);
	(void)queue_log_reader_stats(reader, &view->reader);
	memcpy(&view->bucket, &bucket, sizeof bucket);
	memcpy(&view->call, &call, sizeof call);
	view->tokens = queue_token_feed_available_approx(feed);
}

Test(misuse, of_any_option_or_argument_is_refused_and_touches_nothing, .timeout = 60)
{
	struct view before, after;

	make_objects();
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *row = &rows[i];

		set_right();
		look(&before);
		row->change();
		errno = 4711;
		cr_assert_eq(row->make(), -EINVAL, "%s: %s", row->call, row->wrong);
		cr_assert_eq(errno, 4711, "%s: %s", row->call, row->wrong);
		cr_assert_eq(out, &untouched, "%s: %s", row->call, row->wrong);
		cr_assert_eq(memory.calls, 0, "%s: %s", row->call, row->wrong);
		cr_assert_eq(memcmp(space, space_before, sizeof space), 0, "%s: %s", row->call,
			     row->wrong);
		cr_assert_eq(index_said, -7, "%s: %s", row->call, row->wrong);
		cr_assert_eq(memcmp(&message_said, &message_before, sizeof message_said), 0,
			     "%s: %s", row->call, row->wrong);
		cr_assert_eq(number_said, 4711, "%s: %s", row->call, row->wrong);
		cr_assert_neq(access(directory, F_OK), 0, "%s: %s", row->call, row->wrong);
		look(&after);
		cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "%s: %s", row->call,
			     row->wrong);
	}
	end_objects();
}

/* Each call of the table, with nothing changed: else a row would prove nothing. */
Test(misuse, is_all_that_is_refused, .timeout = 60)
{
	static int (*const creates[])(void) = {ring_create, create,   feed_create, topic_create,
					       subscribe,   log_open, reader_open, pool_create};
	static int (*const others[])(void) = {
		ring_init,
		ring_footprint,
		init,
		footprint,
		bucket_init,
		bucket_set,
		ring_push_n,
		ring_pop_n,
		push_n,
		publish,
		resize,
		resize_single,
		topic_pop_n,
		topic_try_pop_n,
		bucket_take,
		feed_take,
		bucket_take_at,
		bucket_take_until,
		feed_take_until,
		call_init,
		stop,
		select_some,
		select_fair,
		append,
		append_async,
		log_wait,
		log_sync,
		log_fd,
		log_stats,
		prepare,
		commit,
		rollback,
		unpark,
		undecided,
		reader_remove,
		read_one,
		read_n,
		ack,
		ack_n,
		nack,
		renew,
		reader_stats,
	};

	make_objects();
	for (size_t i = 0; i < COUNT(others); i++) {
		int rc;

		set_right();
		rc = others[i]();
		/* A pool that is told to stop may need longer than no time. */
		cr_assert(rc >= 0 || rc == -ETIMEDOUT, "%d: %d", (int)i, rc);
	}
	set_right();
	spill();
	cr_assert_eq(footprint(), 0);
	for (size_t i = 0; i < COUNT(creates); i++) {
		set_right();
		if (creates[i] == pool_create)
			queue_pool_destroy(pool), pool = NULL;
		cr_assert_eq(creates[i](), 0, "%d", (int)i);
		cr_assert_neq(out, &untouched);
		if (creates[i] == ring_create)
			queue_ring_destroy(out);
		else if (creates[i] == create)
			cr_assert_eq(queue_destroy(out), 0);
		else if (creates[i] == feed_create)
			cr_assert_eq(queue_token_feed_destroy(out), 0);
		else if (creates[i] == topic_create)
			cr_assert_eq(queue_topic_destroy(out), 0);
		else if (creates[i] == log_open)
			cr_assert_eq(queue_log_close(out), 0);
		else if (creates[i] == reader_open)
			cr_assert_eq(queue_log_reader_close(out), 0);
		else if (creates[i] == subscribe)
			cr_assert_eq(queue_topic_unsubscribe(out), 0);
		else
			pool = out;
	}
	end_objects();
	fault_remove_directory(directory);
	cr_assert(fault_is_balanced(&memory));
}
