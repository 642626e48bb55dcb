/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue: the contract of conveyor/queue.h line by line. What waits is tested with a
 * second thread that is known to sleep, or with a clock that is driven.
 */
#include <conveyor/queue.h>

#include "queue_impl.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define ROLES (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)
#define SEEN_MAX 512
#define PATIENCE (20 * QUEUE_SECOND)

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

/* Something to point at, which is no queue. */
static char untouched_byte;

static void *
item_of(uint64_t number)
{
	return (void *)(uintptr_t)number;
}

static uint64_t
number_of(const void *item)
{
	return (uint64_t)(uintptr_t)item;
}

/* What the callbacks of one queue have seen; also the hands of its clock. */
struct world {
	struct queue_bounded *queue;
	uint64_t now;

	int drops;
	void *dropped[SEEN_MAX];
	enum queue_reason reason[SEEN_MAX];
	pthread_t dropped_by[SEEN_MAX];

	int runs;
	void *ran[SEEN_MAX];
	pthread_t ran_by[SEEN_MAX];

	int inside; /* what a callback got from the call it made */
	void *inside_item;
};

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	struct world *world = context;

	EXPECT(world->drops < SEEN_MAX);
	world->dropped[world->drops] = item;
	world->reason[world->drops] = reason;
	world->dropped_by[world->drops++] = pthread_self();
}

static void
run(void *item, void *context)
{
	struct world *world = context;

	EXPECT(world->runs < SEEN_MAX);
	world->ran[world->runs] = item;
	world->ran_by[world->runs++] = pthread_self();
}

static uint64_t
driven_clock(void *context)
{
	return ((struct world *)context)->now;
}

/* Items of these tests are numbers, and an item's number is its deadline when this is asked. */
static uint64_t
number_is_deadline(const void *item)
{
	return number_of(item);
}

/* Everything that any policy needs. */
static struct queue_options
options_for(struct world *world, enum queue_policy policy, uint64_t capacity)
{
	struct queue_options options = {
		.capacity = capacity,
		.policy = policy,
		.on_drop = on_drop,
		.run = run,
		.context = world,
	};

	return options;
}

static struct queue_bounded *
create(struct world *world, const struct queue_options *options)
{
	EXPECT(queue_create(&world->queue, options) == 0);
	return world->queue;
}

static struct queue_bounded *
create_simple(struct world *world, enum queue_policy policy, uint64_t capacity)
{
	struct queue_options options = options_for(world, policy, capacity);

	return create(world, &options);
}

/* Pushes first, first + 1, ... n of them. */
static void
fill(struct queue_bounded *queue, uint64_t first, uint64_t n)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		EXPECT(queue_try_push(queue, item_of(first + i)) == 0);
}

static struct queue_stats
stats_of(const struct queue_bounded *queue)
{
	struct queue_stats stats;

	EXPECT(queue_stats(queue, &stats) == 0);
	EXPECT(stats.pushed == stats.popped + stats.evicted + stats.expired + stats.depth);
	EXPECT(stats.depth == queue_depth_approx(queue));
	return stats;
}

#define FOR_ALL_POLICIES(policy)                                                                   \
	for (enum queue_policy policy = QUEUE_ABORT; policy <= QUEUE_DISCARD_OLDEST; policy++)

static bool
can_be(enum queue_policy policy, unsigned flags)
{
	return policy != QUEUE_DISCARD_OLDEST || !(flags & QUEUE_SINGLE_CONSUMER);
}

#define FOR_ALL_QUEUES(policy, flags)                                                              \
	FOR_ALL_POLICIES(policy)                                                                   \
	for (unsigned flags = 0; flags <= ROLES; flags++)                                          \
		if (can_be(policy, flags))

/* ---- Making a queue ------------------------------------------------------------------------- */

static const struct refused {
	const char *what;
	struct queue_options options;
} refused[] = {
	{"no capacity", {.capacity = 0}},
	{"too much capacity", {.capacity = QUEUE_CAPACITY_MAX + 1}},
	{"very much too much capacity", {.capacity = UINT64_MAX}},
	{"SPILL without a log",
	 {.capacity = 4, .policy = QUEUE_SPILL, .on_drop = on_drop, .run = run}},
	{"a policy after the last", {.capacity = 4, .policy = (enum queue_policy)6}},
	{"a negative policy", {.capacity = 4, .policy = (enum queue_policy) - 1}},
	{"an unknown flag", {.capacity = 4, .flags = 4}},
	{"an unknown flag beside known ones", {.capacity = 4, .flags = 8 | ROLES}},
	{"the highest flag", {.capacity = 4, .flags = 1u << 31}},
	{"CALLER_RUNS without run",
	 {.capacity = 4, .policy = QUEUE_CALLER_RUNS, .on_drop = on_drop}},
	{"DISCARD without on_drop", {.capacity = 4, .policy = QUEUE_DISCARD, .run = run}},
	{"DISCARD_OLDEST without on_drop",
	 {.capacity = 4, .policy = QUEUE_DISCARD_OLDEST, .run = run}},
	{"DISCARD_OLDEST with a single consumer",
	 {.capacity = 4,
	  .policy = QUEUE_DISCARD_OLDEST,
	  .flags = QUEUE_SINGLE_CONSUMER,
	  .on_drop = on_drop}},
	{"DISCARD_OLDEST with both roles single",
	 {.capacity = 4, .policy = QUEUE_DISCARD_OLDEST, .flags = ROLES, .on_drop = on_drop}},
	{"deadline_of without on_drop", {.capacity = 4, .deadline_of = number_is_deadline}},
};

Test(queue, footprint_is_zero_for_options_that_are_not_valid)
{
	cr_assert_eq(queue_footprint(NULL), 0);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		cr_assert_eq(queue_footprint(&refused[i].options), 0, "%s", refused[i].what);
}

Test(queue, footprint_covers_the_slots_and_is_a_multiple_of_the_alignment)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		for (uint64_t capacity = 1; capacity <= 5000; capacity += 1 + capacity / 3) {
			struct world world = {0};
			struct queue_options options = options_for(&world, policy, capacity);
			size_t slot = 16;

			options.flags = flags;
			EXPECT(queue_footprint(&options) % QUEUE_RING_ALIGNMENT == 0);
			EXPECT(queue_footprint(&options) >
			       sizeof(struct queue_ring) + capacity * slot);
			EXPECT(queue_footprint(&options) <
			       sizeof(struct queue_bounded) + 2 * capacity * slot + 256);
		}
	}
}

Test(queue, init_refuses_options_that_are_not_valid_and_writes_nothing)
{
	static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[16384], before[16384];

	memset(memory, 0xa5, sizeof memory);
	memset(before, 0xa5, sizeof before);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		cr_assert_eq(queue_init((struct queue_bounded *)(void *)memory, sizeof memory,
					&refused[i].options),
			     -EINVAL, "%s", refused[i].what);
		cr_assert_eq(memcmp(memory, before, sizeof memory), 0, "%s", refused[i].what);
	}
	cr_assert_eq(queue_init((struct queue_bounded *)(void *)memory, sizeof memory, NULL),
		     -EINVAL);
	cr_assert_eq(memcmp(memory, before, sizeof memory), 0);
}

Test(queue, init_refuses_memory_that_is_not_there_too_small_or_misaligned_and_writes_nothing)
{
	static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[16384], before[16384];
	struct queue_options options = {.capacity = 10};
	size_t size = queue_footprint(&options);

	memset(memory, 0xa5, sizeof memory);
	memset(before, 0xa5, sizeof before);
	cr_assert_leq(size + QUEUE_RING_ALIGNMENT, sizeof memory);
	cr_assert_eq(queue_init(NULL, size, &options), -EINVAL);
	cr_assert_eq(queue_init((struct queue_bounded *)(void *)memory, size - 1, &options),
		     -EINVAL);
	cr_assert_eq(queue_init((struct queue_bounded *)(void *)memory, 0, &options), -EINVAL);
	for (size_t offset = 8; offset < QUEUE_RING_ALIGNMENT; offset += 8)
		EXPECT(queue_init((struct queue_bounded *)(void *)(memory + offset), size,
				  &options) == -EINVAL);
	cr_assert_eq(memcmp(memory, before, sizeof memory), 0);
}

Test(queue, init_accepts_every_policy_with_every_role_that_goes_with_it_in_memory_that_just_fits)
{
	const size_t page = 65536; /* a multiple of every page size there is */

	FOR_ALL_QUEUES(policy, flags)
	{
		for (uint64_t capacity = 1; capacity <= 1000; capacity = capacity * 3 + 1) {
			struct world world = {0};
			struct queue_options options = options_for(&world, policy, capacity);
			struct queue_bounded *queue;
			size_t size;
			char *pages;

			options.flags = flags;
			size = queue_footprint(&options);
			EXPECT(size > 0 && size <= page);
			/* A step too far meets the second page. */
			pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			EXPECT(pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
			memset(pages, 0xa5, page);
			queue = (struct queue_bounded *)(void *)(pages + page - size);
			EXPECT(queue_init(queue, size, &options) == 0);
			fill(queue, 1, capacity);
			EXPECT(queue_try_push(queue, NULL) == -EAGAIN);
			EXPECT(queue_fini(queue) == 0);
			munmap(pages, 2 * page);
		}
	}
}

struct counting_allocator {
	struct queue_allocator allocator;
	int allocated, released;
	void *memory;
	size_t size, alignment;
	bool exhausted;
	size_t misaligned_by;
};

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	struct counting_allocator *counting = context;

	if (counting->exhausted)
		return NULL;
	counting->allocated++;
	counting->size = size;
	counting->alignment = alignment;
	counting->memory = queue_allocator_libc.allocate(NULL, size + alignment, alignment);
	return (char *)counting->memory + counting->misaligned_by;
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	struct counting_allocator *counting = context;

	counting->released++;
	EXPECT(memory == (char *)counting->memory + counting->misaligned_by);
	EXPECT(size == counting->size);
	EXPECT(alignment == counting->alignment);
	free(counting->memory);
}

static void
counting_init(struct counting_allocator *counting)
{
	memset(counting, 0, sizeof *counting);
	counting->allocator.allocate = counting_allocate;
	counting->allocator.release = counting_release;
	counting->allocator.context = counting;
}

Test(queue, create_and_destroy_use_the_given_allocator_once_with_matching_sizes)
{
	struct queue_options options = {.capacity = 100};
	struct counting_allocator counting;
	struct queue_bounded *queue;

	counting_init(&counting);
	options.allocator = &counting.allocator;
	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(counting.allocated, 1);
	cr_assert_eq(counting.size, queue_footprint(&options));
	cr_assert_eq(counting.alignment, QUEUE_RING_ALIGNMENT);
	for (uint64_t i = 0; i < 1000; i++) {
		void *item;

		EXPECT(queue_push(queue, item_of(i)) == 0);
		EXPECT(queue_pop(queue, &item) == 0 && item == item_of(i));
	}
	cr_assert_eq(counting.allocated, 1);
	cr_assert_eq(counting.released, 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(counting.released, 1);
}

Test(queue, create_refuses_what_is_not_valid_without_allocating_and_leaves_out_alone)
{
	struct queue_bounded *const untouched = (struct queue_bounded *)(void *)&untouched_byte;
	struct queue_bounded *queue = untouched;
	struct queue_options options;
	struct counting_allocator counting;

	counting_init(&counting);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		options = refused[i].options;
		options.allocator = &counting.allocator;
		cr_assert_eq(queue_create(&queue, &options), -EINVAL, "%s", refused[i].what);
	}
	cr_assert_eq(queue_create(&queue, NULL), -EINVAL);
	options = (struct queue_options){.capacity = 4, .allocator = &counting.allocator};
	cr_assert_eq(queue_create(NULL, &options), -EINVAL);
	cr_assert_eq(counting.allocated, 0);
	cr_assert_eq(queue, untouched);
}

Test(queue, create_reports_an_allocator_without_memory_and_leaves_out_alone)
{
	struct queue_bounded *const untouched = (struct queue_bounded *)(void *)&untouched_byte;
	struct queue_bounded *queue = untouched;
	struct queue_options options = {.capacity = 4};
	struct counting_allocator counting;

	counting_init(&counting);
	counting.exhausted = true;
	options.allocator = &counting.allocator;
	cr_assert_eq(queue_create(&queue, &options), -ENOMEM);
	cr_assert_eq(queue, untouched);
	cr_assert_eq(counting.released, 0);
}

Test(queue, create_gives_misaligned_memory_back)
{
	struct queue_options options = {.capacity = 4};
	struct queue_bounded *queue = NULL;
	struct counting_allocator counting;

	counting_init(&counting);
	counting.misaligned_by = 16;
	options.allocator = &counting.allocator;
	cr_assert_eq(queue_create(&queue, &options), -EINVAL);
	cr_assert_eq(counting.released, 1);
	cr_assert_null(queue);
}

Test(queue, destroy_accepts_null)
{
	cr_assert_eq(queue_destroy(NULL), 0);
}

Test(queue, a_new_queue_is_open_empty_and_has_counted_nothing)
{
	struct queue_options options = {.capacity = 5};
	struct queue_bounded *queue;
	struct queue_stats stats, expected = {.capacity = 5};

	cr_assert_eq(queue_create(&queue, &options), 0);
	memset(&stats, 0xa5, sizeof stats);
	cr_assert_eq(queue_stats(queue, &stats), 0);
	/* Padding aside there is nothing else: the int is followed by a hole. */
	cr_assert_eq(stats.closed, 0);
	stats = stats_of(queue);
	cr_assert_eq(memcmp(&stats, &expected, sizeof stats), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Items ---------------------------------------------------------------------------------- */

Test(queue, carries_any_item_value_in_order)
{
	static const uint64_t values[] = {0, 1, 2, UINT64_MAX, UINT64_MAX - 1, 1u << 31, 0, 0};
	const int n = sizeof values / sizeof *values;

	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 8);
		struct queue_bounded *queue;

		options.flags = flags;
		queue = create(&world, &options);
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < n; i++)
				EXPECT(queue_push(queue, item_of(values[i])) == 0);
			for (int i = 0; i < n; i++) {
				void *item = &world;

				EXPECT(queue_pop(queue, &item) == 0);
				EXPECT(item == item_of(values[i]));
			}
		}
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, holds_exactly_its_capacity_whatever_that_is)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		for (uint64_t capacity = 1; capacity <= 40; capacity++) {
			struct world world = {0};
			struct queue_options options = options_for(&world, policy, capacity);
			struct queue_bounded *queue;
			void *item;

			options.flags = flags;
			queue = create(&world, &options);
			for (uint64_t lap = 0; lap < 5; lap++) {
				fill(queue, lap * capacity, capacity);
				EXPECT(queue_depth_approx(queue) == capacity);
				EXPECT(queue_try_push(queue, NULL) == -EAGAIN);
				for (uint64_t i = 0; i < capacity; i++) {
					EXPECT(queue_try_pop(queue, &item) == 0);
					EXPECT(item == item_of(lap * capacity + i));
				}
				EXPECT(queue_try_pop(queue, &item) == -EAGAIN);
			}
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

Test(queue, a_pop_writes_the_item_on_success_only)
{
	struct world world = {.now = 100};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct queue_bounded *queue;
	void *item = &world;

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	cr_assert_eq(queue_pop_until(queue, &item, 1), -ETIMEDOUT);
	/* Nor with an item that has expired, which is on_drop's by then. */
	fill(queue, 50, 2);
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	fill(queue, 50, 2);
	cr_assert_eq(queue_pop_until(queue, &item, 1), -ETIMEDOUT);
	fill(queue, 50, 2);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_pop(queue, &item), -EPIPE);
	cr_assert_eq(queue_try_pop(queue, &item), -EPIPE);
	cr_assert_eq(world.drops, 6);
	cr_assert_eq(item, (void *)&world);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- The state table ------------------------------------------------------------------------ */

static void
expect_pushes_refused_as_closed(struct queue_bounded *queue)
{
	void *items[2] = {item_of(1), item_of(2)};
	struct queue_stats before = stats_of(queue), after;

	EXPECT(queue_push(queue, item_of(1)) == -EPIPE);
	EXPECT(queue_try_push(queue, item_of(1)) == -EPIPE);
	EXPECT(queue_push_until(queue, item_of(1), 0) == -EPIPE);
	EXPECT(queue_push_until(queue, item_of(1), QUEUE_NEVER) == -EPIPE);
	EXPECT(queue_push_n(queue, items, 2) == -EPIPE);
	after = stats_of(queue);
	EXPECT(after.closed_rejected == before.closed_rejected + 6);
	before.closed_rejected = after.closed_rejected;
	EXPECT(memcmp(&before, &after, sizeof before) == 0);
}

Test(queue, state_open_and_empty)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 3);
		struct queue_bounded *queue;
		void *items[4] = {NULL};

		options.flags = flags;
		queue = create(&world, &options);
		EXPECT(queue_try_pop(queue, items) == -EAGAIN);
		EXPECT(queue_pop_until(queue, items, 0) == -ETIMEDOUT);
		EXPECT(queue_pop_until(queue, items, queue_now()) == -ETIMEDOUT);
		EXPECT(queue_push(queue, item_of(1)) == 0);
		EXPECT(queue_pop(queue, items) == 0 && items[0] == item_of(1));
		EXPECT(queue_try_push(queue, item_of(2)) == 0);
		EXPECT(queue_try_pop(queue, items) == 0 && items[0] == item_of(2));
		EXPECT(queue_push_until(queue, item_of(3), 0) == 0);
		EXPECT(queue_pop_until(queue, items, 0) == 0 && items[0] == item_of(3));
		EXPECT(queue_push_n(queue, items, 2) == 2);
		EXPECT(queue_pop_n(queue, items, 4) == 2);
		EXPECT(stats_of(queue).closed == 0);
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, state_open_and_full)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 3);
		struct queue_bounded *queue;
		void *items[4] = {NULL};

		options.flags = flags;
		queue = create(&world, &options);
		fill(queue, 1, 3);
		/* These never drop, whatever the policy. */
		EXPECT(queue_try_push(queue, item_of(9)) == -EAGAIN);
		EXPECT(queue_push_until(queue, item_of(9), 0) == -ETIMEDOUT);
		EXPECT(queue_push_until(queue, item_of(9), queue_now()) == -ETIMEDOUT);
		EXPECT(queue_push_n(queue, items, 1) == 0);
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(stats_of(queue).rejected == 4);
		EXPECT(queue_try_pop(queue, items) == 0 && items[0] == item_of(1));
		EXPECT(queue_pop(queue, items) == 0 && items[0] == item_of(2));
		EXPECT(queue_pop_until(queue, items, 0) == 0 && items[0] == item_of(3));
		fill(queue, 4, 3);
		EXPECT(queue_pop_n(queue, items, 4) == 3 && items[2] == item_of(6));
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, state_closed_with_items_left)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 5);
		struct queue_bounded *queue;
		void *items[4] = {NULL};

		options.flags = flags;
		queue = create(&world, &options);
		fill(queue, 1, 5);
		EXPECT(queue_close(queue) == 0);
		EXPECT(stats_of(queue).closed != 0);
		expect_pushes_refused_as_closed(queue);
		EXPECT(queue_pop(queue, items) == 0 && items[0] == item_of(1));
		expect_pushes_refused_as_closed(queue);
		EXPECT(queue_try_pop(queue, items) == 0 && items[0] == item_of(2));
		EXPECT(queue_pop_until(queue, items, 0) == 0 && items[0] == item_of(3));
		EXPECT(queue_pop_n(queue, items, 4) == 2 && items[0] == item_of(4));
		EXPECT(items[1] == item_of(5));
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, state_closed_and_drained)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		for (int items_before = 0; items_before < 3; items_before++) {
			struct world world = {0};
			struct queue_options options = options_for(&world, policy, 3);
			struct queue_bounded *queue;
			void *items[4] = {NULL};

			options.flags = flags;
			queue = create(&world, &options);
			fill(queue, 1, (uint64_t)items_before);
			EXPECT(queue_close(queue) == 0);
			for (int i = 0; i < items_before; i++)
				EXPECT(queue_pop(queue, items) == 0);
			for (int i = 0; i < 2; i++) {
				EXPECT(queue_pop(queue, items) == -EPIPE);
				EXPECT(queue_try_pop(queue, items) == -EPIPE);
				EXPECT(queue_pop_until(queue, items, 0) == -EPIPE);
				EXPECT(queue_pop_until(queue, items, QUEUE_NEVER) == -EPIPE);
				EXPECT(queue_pop_n(queue, items, 4) == -EPIPE);
				expect_pushes_refused_as_closed(queue);
			}
			EXPECT(world.drops == 0 && world.runs == 0);
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

Test(queue, close_may_be_repeated_and_returns_zero)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 3);
	void *item;

	fill(queue, 1, 2);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_depth_approx(queue), 2);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), -EPIPE);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_pop(queue, &item), -EPIPE);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Policies ------------------------------------------------------------------------------- */

Test(queue, abort_is_the_default_and_leaves_the_item_with_the_caller)
{
	struct queue_options options = {.capacity = 2};
	struct queue_bounded *queue;
	struct queue_stats stats;
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	fill(queue, 1, 2);
	cr_assert_eq(queue_push(queue, item_of(3)), -EAGAIN);
	stats = stats_of(queue);
	cr_assert_eq(stats.rejected, 1);
	cr_assert_eq(stats.pushed, 2);
	cr_assert_eq(stats.depth, 2);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(1));
	cr_assert_eq(queue_push(queue, item_of(3)), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(3));
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, caller_runs_runs_the_item_once_on_the_calling_thread)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_CALLER_RUNS, 2);
	struct queue_stats stats;
	void *item;

	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_push(queue, item_of(2)), 0);
	cr_assert_eq(world.runs, 0);
	cr_assert_eq(queue_push(queue, item_of(3)), QUEUE_RAN);
	cr_assert_eq(world.runs, 1);
	cr_assert_eq(world.ran[0], item_of(3));
	cr_assert(pthread_equal(world.ran_by[0], pthread_self()));
	cr_assert_eq(world.drops, 0);
	stats = stats_of(queue);
	cr_assert_eq(stats.ran, 1);
	cr_assert_eq(stats.pushed, 2);
	cr_assert_eq(stats.rejected, 0);
	for (uint64_t i = 1; i <= 2; i++) {
		cr_assert_eq(queue_pop(queue, &item), 0);
		cr_assert_eq(item, item_of(i));
	}
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, discard_hands_the_incoming_item_to_on_drop)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_DISCARD, 2);
	struct queue_stats stats;
	void *item;

	fill(queue, 1, 2);
	cr_assert_eq(queue_push(queue, item_of(3)), QUEUE_DISCARDED);
	cr_assert_eq(queue_push(queue, NULL), QUEUE_DISCARDED);
	cr_assert_eq(world.drops, 2);
	cr_assert_eq(world.dropped[0], item_of(3));
	cr_assert_null(world.dropped[1]);
	cr_assert_eq(world.reason[0], QUEUE_DISCARDED);
	cr_assert_eq(world.reason[1], QUEUE_DISCARDED);
	cr_assert(pthread_equal(world.dropped_by[0], pthread_self()));
	stats = stats_of(queue);
	cr_assert_eq(stats.discarded, 2);
	cr_assert_eq(stats.pushed, 2);
	cr_assert_eq(stats.rejected, 0);
	for (uint64_t i = 1; i <= 2; i++) {
		cr_assert_eq(queue_pop(queue, &item), 0);
		cr_assert_eq(item, item_of(i));
	}
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, discard_oldest_hands_the_evicted_item_to_on_drop)
{
	for (uint64_t capacity = 1; capacity <= 9; capacity++) {
		struct world world = {0};
		struct queue_bounded *queue = create_simple(&world, QUEUE_DISCARD_OLDEST, capacity);
		struct queue_stats stats;
		void *item;

		fill(queue, 1, capacity);
		for (uint64_t i = 1; i <= 20; i++) {
			EXPECT(queue_push(queue, item_of(capacity + i)) == QUEUE_EVICTED);
			EXPECT(world.drops == (int)i);
			EXPECT(world.dropped[i - 1] == item_of(i));
			EXPECT(world.reason[i - 1] == QUEUE_EVICTED);
			EXPECT(pthread_equal(world.dropped_by[i - 1], pthread_self()));
			EXPECT(queue_depth_approx(queue) == capacity);
		}
		stats = stats_of(queue);
		EXPECT(stats.evicted == 20);
		EXPECT(stats.pushed == capacity + 20);
		EXPECT(stats.popped == 0);
		EXPECT(stats.rejected == 0 && stats.discarded == 0);
		for (uint64_t i = 1; i <= capacity; i++) {
			EXPECT(queue_pop(queue, &item) == 0);
			EXPECT(item == item_of(20 + i));
		}
		EXPECT(queue_push(queue, item_of(1)) == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, no_policy_acts_on_a_queue_that_is_full_and_closed)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 2);
		struct queue_bounded *queue;

		options.flags = flags;
		queue = create(&world, &options);
		fill(queue, 1, 2);
		EXPECT(queue_close(queue) == 0);
		EXPECT(queue_push(queue, item_of(3)) == -EPIPE);
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_depth_approx(queue) == 2);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, block_tells_a_worker_of_its_own_queue_instead_of_waiting_for_itself)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_BLOCK, 1);
	struct world other_world = {0};
	struct queue_bounded *other = create_simple(&other_world, QUEUE_BLOCK, 1);

	queue_impl_worker_of = queue;
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_push(queue, item_of(2)), -EDEADLK);
	cr_assert_eq(queue_try_push(queue, item_of(2)), -EAGAIN);
	cr_assert_eq(queue_push(other, item_of(2)), 0);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_push(queue, item_of(2)), -EPIPE);
	queue_impl_worker_of = NULL;
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_destroy(other), 0);
}

/* ---- Callbacks that call back --------------------------------------------------------------- */

static void
pop_inside(void *item, enum queue_reason reason, void *context)
{
	struct world *world = context;

	on_drop(item, reason, context);
	world->inside = queue_try_pop(world->queue, &world->inside_item);
}

static void
push_inside(void *item, enum queue_reason reason, void *context)
{
	struct world *world = context;

	on_drop(item, reason, context);
	world->inside = queue_try_push(world->queue, item_of(number_of(item) + 1000));
}

static void
make_room_and_push_inside(void *item, enum queue_reason reason, void *context)
{
	struct world *world = context;

	on_drop(item, reason, context);
	EXPECT(queue_try_pop(world->queue, &world->inside_item) == 0);
	world->inside = queue_push(world->queue, item);
}

Test(queue, on_drop_of_a_discarded_item_may_pop_and_push)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_DISCARD, 2);
	struct queue_bounded *queue;
	void *item;

	options.on_drop = make_room_and_push_inside;
	queue = create(&world, &options);
	fill(queue, 1, 2);
	cr_assert_eq(queue_push(queue, item_of(3)), QUEUE_DISCARDED);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(world.inside, 0);
	cr_assert_eq(world.inside_item, item_of(1));
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(2));
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(3));
	cr_assert_eq(stats_of(queue).pushed, 3);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, on_drop_of_an_evicted_item_may_pop_and_push)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_DISCARD_OLDEST, 1);
	struct queue_bounded *queue;
	struct queue_stats stats;
	void *item;

	options.on_drop = make_room_and_push_inside;
	queue = create(&world, &options);
	fill(queue, 1, 1);
	/* The push evicts 1 and is done; on_drop then takes 2 out and puts 1 back in. */
	cr_assert_eq(queue_push(queue, item_of(2)), QUEUE_EVICTED);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(world.dropped[0], item_of(1));
	cr_assert_eq(world.inside_item, item_of(2));
	cr_assert_eq(world.inside, 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(1));
	stats = stats_of(queue);
	cr_assert_eq(stats.pushed, 3);
	cr_assert_eq(stats.popped, 2);
	cr_assert_eq(stats.evicted, 1);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, on_drop_of_an_expired_item_may_push_and_the_same_pop_gets_that)
{
	struct world world = {.now = 100};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct queue_bounded *queue;
	void *item;

	options.on_drop = push_inside;
	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	fill(queue, 50, 1);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(1050));
	cr_assert_eq(world.inside, 0);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, on_drop_of_an_expired_item_may_pop)
{
	struct world world = {.now = 100};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct queue_bounded *queue;
	void *item;

	options.on_drop = pop_inside;
	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	fill(queue, 50, 1);
	fill(queue, 150, 2);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(world.inside, 0);
	cr_assert_eq(world.inside_item, item_of(150));
	cr_assert_eq(item, item_of(151));
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, on_drop_at_the_end_finds_the_queue_closed)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct queue_bounded *queue;

	options.on_drop = push_inside;
	queue = create(&world, &options);
	fill(queue, 1, 3);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(world.drops, 3);
	cr_assert_eq(world.inside, -EPIPE);
}

static void
run_what_is_inside_too(void *item, void *context)
{
	struct world *world = context;

	run(item, context);
	while (queue_try_pop(world->queue, &world->inside_item) == 0)
		run(world->inside_item, context);
}

Test(queue, run_may_call_the_queue)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_CALLER_RUNS, 3);
	struct queue_bounded *queue;

	options.run = run_what_is_inside_too;
	queue = create(&world, &options);
	for (uint64_t i = 1; i <= 3; i++)
		cr_assert_eq(queue_push(queue, item_of(i)), 0);
	cr_assert_eq(queue_push(queue, item_of(4)), QUEUE_RAN);
	cr_assert_eq(world.runs, 4);
	cr_assert_eq(queue_push(queue, item_of(5)), 0);
	cr_assert_eq(stats_of(queue).ran, 1);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Expiry --------------------------------------------------------------------------------- */

static struct queue_bounded *
create_expiring(struct world *world, uint64_t capacity)
{
	struct queue_options options = options_for(world, QUEUE_ABORT, capacity);

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	return create(world, &options);
}

Test(queue, an_item_expires_at_its_deadline_and_not_before)
{
	struct world world = {0};
	struct queue_bounded *queue = create_expiring(&world, 4);
	void *item;

	world.now = 999;
	fill(queue, 1000, 1);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(1000));
	fill(queue, 1000, 1);
	world.now = 1000;
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(world.dropped[0], item_of(1000));
	cr_assert_eq(world.reason[0], QUEUE_EXPIRED);
	cr_assert(pthread_equal(world.dropped_by[0], pthread_self()));
	cr_assert_eq(stats_of(queue).expired, 1);
	cr_assert_eq(stats_of(queue).popped, 1);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_deadline_of_zero_is_none_and_the_greatest_never_comes)
{
	struct world world = {.now = UINT64_MAX - 1};
	struct queue_bounded *queue = create_expiring(&world, 4);
	void *item;

	fill(queue, 0, 1);
	fill(queue, UINT64_MAX, 1);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_null(item);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(item, item_of(UINT64_MAX));
	cr_assert_eq(world.drops, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, pops_go_on_from_expired_items_to_the_next)
{
	struct world world = {.now = 0};
	struct queue_bounded *queue = create_expiring(&world, 16);
	void *items[16];

	for (int call = 0; call < 4; call++) {
		world.drops = 0;
		world.now = 0;
		fill(queue, 1, 5);
		fill(queue, 500, 1);
		fill(queue, 6, 1);
		world.now = 100;
		if (call == 0)
			cr_assert_eq(queue_pop(queue, items), 0);
		else if (call == 1)
			cr_assert_eq(queue_try_pop(queue, items), 0);
		else if (call == 2)
			cr_assert_eq(queue_pop_until(queue, items, 1), 0);
		else
			cr_assert_eq(queue_pop_n(queue, items, 1), 1);
		cr_assert_eq(items[0], item_of(500));
		cr_assert_eq(world.drops, 5);
		for (int i = 0; i < 5; i++) {
			cr_assert_eq(world.dropped[i], item_of((uint64_t)i + 1));
			cr_assert_eq(world.reason[i], QUEUE_EXPIRED);
		}
		cr_assert_eq(queue_try_pop(queue, items), -EAGAIN);
		cr_assert_eq(world.drops, 6);
	}
	cr_assert_eq(stats_of(queue).expired, 24);
	cr_assert_eq(stats_of(queue).popped, 4);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, pop_n_passes_expired_items_over_and_still_takes_as_many_as_it_can)
{
	struct world world = {.now = 0};
	struct queue_bounded *queue = create_expiring(&world, 16);
	void *items[16];

	fill(queue, 1, 2);
	fill(queue, 500, 2);
	fill(queue, 3, 2);
	fill(queue, 502, 3);
	world.now = 100;
	cr_assert_eq(queue_pop_n(queue, items, 4), 4);
	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(items[i], item_of(500 + i));
	cr_assert_eq(world.drops, 4);
	cr_assert_eq(queue_depth_approx(queue), 1);
	cr_assert_eq(queue_pop_n(queue, items, 16), 1);
	cr_assert_eq(items[0], item_of(504));
	cr_assert_eq(stats_of(queue).expired, 4);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_queue_whose_items_have_all_expired_is_empty)
{
	struct world world = {.now = 0};
	struct queue_bounded *queue = create_expiring(&world, 3);
	void *items[3];

	for (int round = 0; round < 4; round++) {
		world.now = 0;
		fill(queue, 1, 3);
		/* What nobody has popped takes room, whatever its deadline. */
		world.now = 100;
		cr_assert_eq(queue_try_push(queue, item_of(1)), -EAGAIN);
		if (round == 3)
			queue_close(queue);
		if (round == 0)
			cr_assert_eq(queue_try_pop(queue, items), -EAGAIN);
		else if (round == 1)
			cr_assert_eq(queue_pop_until(queue, items, 100), -ETIMEDOUT);
		else if (round == 2)
			cr_assert_eq(queue_pop_until(queue, items, 50), -ETIMEDOUT);
		else
			cr_assert_eq(queue_pop_n(queue, items, 3), -EPIPE);
		cr_assert_eq(world.drops, 3 * (round + 1));
	}
	cr_assert_eq(queue_pop(queue, items), -EPIPE);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, an_item_that_is_evicted_or_destroyed_is_not_expired_as_well)
{
	struct world world = {.now = 0};
	struct queue_options options = options_for(&world, QUEUE_DISCARD_OLDEST, 2);
	struct queue_bounded *queue;

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	fill(queue, 1, 2);
	world.now = 100;
	cr_assert_eq(queue_push(queue, item_of(3)), QUEUE_EVICTED);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(world.reason[0], QUEUE_EVICTED);
	cr_assert_eq(stats_of(queue).expired, 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(world.drops, 3);
	cr_assert_eq(world.reason[1], QUEUE_DESTROYED);
	cr_assert_eq(world.reason[2], QUEUE_DESTROYED);
}

/* ---- Ending a queue ------------------------------------------------------------------------- */

Test(queue, destroy_hands_what_is_left_to_on_drop_oldest_first)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		for (int closed = 0; closed < 2; closed++) {
			struct world world = {0};
			struct queue_options options = options_for(&world, policy, 5);
			struct queue_bounded *queue;
			void *item;

			options.flags = flags;
			queue = create(&world, &options);
			fill(queue, 1, 5);
			EXPECT(queue_pop(queue, &item) == 0);
			if (closed)
				queue_close(queue);
			EXPECT(queue_destroy(queue) == 0);
			EXPECT(world.drops == 4);
			for (int i = 0; i < 4; i++) {
				EXPECT(world.dropped[i] == item_of((uint64_t)i + 2));
				EXPECT(world.reason[i] == QUEUE_DESTROYED);
				EXPECT(pthread_equal(world.dropped_by[i], pthread_self()));
			}
		}
	}
}

Test(queue, a_queue_with_items_and_without_on_drop_cannot_be_ended)
{
	struct queue_options options = {.capacity = 3};
	struct queue_bounded *queue;
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	fill(queue, 1, 2);
	cr_assert_eq(queue_destroy(queue), -EBUSY);
	cr_assert_eq(queue_fini(queue), -EBUSY);
	/* Nothing has been done. */
	cr_assert_eq(queue_push(queue, item_of(3)), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		cr_assert_eq(queue_pop(queue, &item), 0);
		cr_assert_eq(item, item_of(i));
	}
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Bulk calls ----------------------------------------------------------------------------- */

Test(queue, push_n_takes_as_many_as_there_is_room_for_and_counts_the_rest_as_rejected)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 7);
		struct queue_bounded *queue;
		void *items[20], *popped;

		for (uint64_t i = 0; i < 20; i++)
			items[i] = item_of(i);
		options.flags = flags;
		queue = create(&world, &options);
		EXPECT(queue_push_n(queue, items, -1) == -EINVAL);
		EXPECT(queue_push_n(queue, items, 0) == 0);
		EXPECT(queue_push_n(queue, items, 5) == 5);
		EXPECT(queue_push_n(queue, items + 5, 15) == 2);
		EXPECT(queue_push_n(queue, items + 7, 13) == 0);
		EXPECT(stats_of(queue).rejected == 26);
		EXPECT(stats_of(queue).pushed == 7);
		for (uint64_t i = 0; i < 7; i++)
			EXPECT(queue_pop(queue, &popped) == 0 && popped == item_of(i));
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, pop_n_takes_up_to_n)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 7);
		struct queue_bounded *queue;
		void *items[20] = {NULL};

		options.flags = flags;
		queue = create(&world, &options);
		fill(queue, 1, 7);
		EXPECT(queue_pop_n(queue, items, 0) == -EINVAL);
		EXPECT(queue_pop_n(queue, items, -1) == -EINVAL);
		EXPECT(queue_pop_n(queue, items, 1) == 1 && items[0] == item_of(1));
		EXPECT(queue_pop_n(queue, items, 3) == 3 && items[2] == item_of(4));
		EXPECT(queue_pop_n(queue, items, 20) == 3 && items[2] == item_of(7));
		EXPECT(stats_of(queue).popped == 7);
		queue_close(queue);
		EXPECT(queue_pop_n(queue, items, 0) == -EINVAL);
		EXPECT(queue_pop_n(queue, items, 20) == -EPIPE);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, try_pop_n_takes_what_is_there_and_does_not_wait)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 7);
		struct queue_bounded *queue;
		void *items[20] = {NULL};

		options.flags = flags;
		queue = create(&world, &options);
		items[0] = &untouched_byte;
		EXPECT(queue_try_pop_n(queue, items, 20) == 0 && items[0] == &untouched_byte);
		fill(queue, 1, 7);
		EXPECT(queue_try_pop_n(queue, items, 0) == -EINVAL);
		EXPECT(queue_try_pop_n(queue, items, -1) == -EINVAL);
		EXPECT(queue_try_pop_n(queue, items, 1) == 1 && items[0] == item_of(1));
		EXPECT(queue_try_pop_n(queue, items, 3) == 3);
		for (uint64_t i = 0; i < 3; i++)
			EXPECT(items[i] == item_of(2 + i));
		EXPECT(stats_of(queue).popped == 4);
		EXPECT(queue_close(queue) == 0);
		EXPECT(queue_try_pop_n(queue, items, 20) == 3 && items[2] == item_of(7));
		EXPECT(queue_try_pop_n(queue, items, 0) == -EINVAL);
		EXPECT(queue_try_pop_n(queue, items, 20) == -EPIPE && items[0] == item_of(5));
		EXPECT(stats_of(queue).waits == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, try_pop_n_passes_expired_items_over)
{
	struct world world = {.now = 5};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 8);
	struct queue_bounded *queue;
	void *items[8];

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	fill(queue, 3, 5);
	cr_assert_eq(queue_try_pop_n(queue, items, 8), 2);
	cr_assert_eq(items[0], item_of(6));
	cr_assert_eq(items[1], item_of(7));
	cr_assert_eq(world.drops, 3);
	/* All of them expired: nothing is there. */
	fill(queue, 1, 3);
	cr_assert_eq(queue_try_pop_n(queue, items, 8), 0);
	cr_assert_eq(world.drops, 6);
	fill(queue, 1, 1);
	queue_close(queue);
	cr_assert_eq(queue_try_pop_n(queue, items, 8), -EPIPE);
	cr_assert_eq(stats_of(queue).expired, 7);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Typed wrappers ------------------------------------------------------------------------- */

struct order {
	int number;
};

QUEUE_TYPED(orders, struct order *)
QUEUE_TYPED(views, const struct order *)

Test(queue, typed_wrappers_take_and_give_their_type)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_DISCARD_OLDEST, 3);
	struct order order[4] = {{1}, {2}, {3}, {4}}, *several[4], *out = NULL;

	cr_assert_eq(orders_push(queue, &order[0]), 0);
	cr_assert_eq(orders_try_push(queue, &order[1]), 0);
	cr_assert_eq(orders_push_until(queue, &order[2], 0), 0);
	cr_assert_eq(orders_try_push(queue, &order[3]), -EAGAIN);
	cr_assert_eq(orders_push_until(queue, &order[3], 0), -ETIMEDOUT);
	cr_assert_eq(orders_push(queue, &order[3]), QUEUE_EVICTED);
	cr_assert_eq(orders_pop(queue, &out), 0);
	cr_assert_eq(out->number, 2);
	cr_assert_eq(orders_try_pop(queue, &out), 0);
	cr_assert_eq(out->number, 3);
	cr_assert_eq(orders_pop_until(queue, &out, 0), 0);
	cr_assert_eq(out->number, 4);
	for (int i = 0; i < 4; i++)
		several[i] = &order[3 - i];
	cr_assert_eq(orders_push_n(queue, several, 4), 3);
	memset(several, 0, sizeof several);
	cr_assert_eq(orders_pop_n(queue, several, 4), 3);
	cr_assert_eq(several[2]->number, 2);
	cr_assert_eq(orders_try_pop_n(queue, several, 4), 0);
	/* A failure leaves the pointer alone. */
	out = &order[0];
	cr_assert_eq(orders_try_pop(queue, &out), -EAGAIN);
	cr_assert_eq(orders_pop_until(queue, &out, 0), -ETIMEDOUT);
	queue_close(queue);
	cr_assert_eq(orders_pop(queue, &out), -EPIPE);
	cr_assert_eq(out, &order[0]);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, typed_wrappers_keep_const)
{
	static const struct order order[2] = {{1}, {2}};
	const struct order *several[2] = {&order[1], &order[0]}, *out = NULL;
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 3);

	cr_assert_eq(views_push(queue, &order[0]), 0);
	cr_assert_eq(views_try_push(queue, NULL), 0);
	cr_assert_eq(views_pop(queue, &out), 0);
	cr_assert_eq(out, &order[0]);
	cr_assert_eq(views_try_pop(queue, &out), 0);
	cr_assert_null(out);
	cr_assert_eq(views_push_n(queue, several, 2), 2);
	several[0] = several[1] = NULL;
	cr_assert_eq(views_pop_n(queue, several, 2), 2);
	cr_assert_eq(several[0], &order[1]);
	cr_assert_eq(views_push_until(queue, &order[1], 0), 0);
	cr_assert_eq(views_pop_until(queue, &out, 0), 0);
	cr_assert_eq(out->number, 2);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Reasons -------------------------------------------------------------------------------- */

Test(queue, reasons_are_positive_and_have_names)
{
	static const struct {
		enum queue_reason reason;
		const char *name;
	} names[] = {
		{QUEUE_RAN, "ran"},
		{QUEUE_DISCARDED, "discarded"},
		{QUEUE_EVICTED, "evicted"},
		{QUEUE_EXPIRED, "expired"},
		{QUEUE_DESTROYED, "destroyed"},
		{QUEUE_STOPPED, "stopped"},
		{QUEUE_FAILED, "failed"},
		{QUEUE_SPILLED, "spilled"},
		{(enum queue_reason)0, "unknown"},
		{(enum queue_reason)9, "unknown"},
		{(enum queue_reason) - 1, "unknown"},
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		cr_assert_eq(strcmp(queue_reason_name(names[i].reason), names[i].name), 0);
		cr_assert(i >= 8 || names[i].reason > 0);
	}
}

/* ---- Waiting -------------------------------------------------------------------------------- */

/* One call that waits, on a thread of its own. */
struct waiter {
	pthread_t thread;
	struct queue_bounded *queue;
	void *item;
	void *items[8];
	uint64_t deadline;
	int rc;
	int (*call)(struct waiter *waiter);
};

static int
call_pop(struct waiter *waiter)
{
	return queue_pop(waiter->queue, &waiter->item);
}

static int
call_pop_until(struct waiter *waiter)
{
	return queue_pop_until(waiter->queue, &waiter->item, waiter->deadline);
}

static int
call_pop_n(struct waiter *waiter)
{
	return queue_pop_n(waiter->queue, waiter->items, 8);
}

static int
call_push(struct waiter *waiter)
{
	return queue_push(waiter->queue, waiter->item);
}

static int
call_push_until(struct waiter *waiter)
{
	return queue_push_until(waiter->queue, waiter->item, waiter->deadline);
}

static void *
waiter_main(void *argument)
{
	struct waiter *waiter = argument;

	errno = 4711;
	waiter->rc = waiter->call(waiter);
	EXPECT(errno == 4711);
	return NULL;
}

static void
waiter_start(struct waiter *waiter, struct queue_bounded *queue, int (*call)(struct waiter *waiter))
{
	waiter->queue = queue;
	waiter->call = call;
	EXPECT(pthread_create(&waiter->thread, NULL, waiter_main, waiter) == 0);
}

static int
waiter_join(struct waiter *waiter)
{
	EXPECT(pthread_join(waiter->thread, NULL) == 0);
	return waiter->rc;
}

/* Until threads have gone to sleep in this queue as often as that. */
static void
await_sleeps(const struct queue_bounded *queue, uint64_t waits)
{
	uint64_t patience = queue_now() + PATIENCE;
	struct queue_stats stats;

	do {
		EXPECT(queue_now() < patience);
		sched_yield();
		EXPECT(queue_stats(queue, &stats) == 0);
	} while (stats.waits < waits);
}

Test(queue, a_pop_waits_for_an_item, .timeout = 60)
{
	int (*const calls[])(struct waiter * waiter) = {call_pop, call_pop_until, call_pop_n};

	for (unsigned flags = 0; flags <= ROLES; flags++) {
		for (int i = 0; i < 3; i++) {
			struct world world = {0};
			struct queue_options options = options_for(&world, QUEUE_ABORT, 3);
			struct waiter waiter = {.deadline = QUEUE_NEVER};
			struct queue_bounded *queue;
			struct queue_stats stats;

			options.flags = flags;
			queue = create(&world, &options);
			waiter_start(&waiter, queue, calls[i]);
			await_sleeps(queue, 1);
			EXPECT(queue_push(queue, item_of(7)) == 0);
			EXPECT(waiter_join(&waiter) == (i == 2 ? 1 : 0));
			EXPECT((i == 2 ? waiter.items[0] : waiter.item) == item_of(7));
			stats = stats_of(queue);
			EXPECT(stats.wakes <= 1 && stats.waits >= 1);
			EXPECT(stats.popped == 1);
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

Test(queue, a_push_that_is_not_sampled_wakes_too, .timeout = 60)
{
	for (unsigned flags = 0; flags <= ROLES; flags++) {
		struct world world = {.now = QUEUE_SECOND};
		struct queue_options options = options_for(&world, QUEUE_BLOCK, 2);
		struct waiter waiter = {.item = NULL};
		struct queue_bounded *queue;
		void *item;

		options.flags = flags;
		options.clock = driven_clock;
		queue = create(&world, &options);
		/* Time stands still: under such a load hardly any push is looked at. */
		for (int i = 0; i < 100000; i++) {
			EXPECT(queue_push(queue, NULL) == 0);
			EXPECT(queue_pop(queue, &item) == 0);
		}
		waiter_start(&waiter, queue, call_pop);
		await_sleeps(queue, 1);
		EXPECT(queue_push(queue, item_of(7)) == 0);
		EXPECT(waiter_join(&waiter) == 0 && waiter.item == item_of(7));
		fill(queue, 1, 2);
		waiter_start(&waiter, queue, call_push);
		await_sleeps(queue, 2);
		EXPECT(queue_pop(queue, &item) == 0);
		EXPECT(waiter_join(&waiter) == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, a_blocking_push_waits_for_room, .timeout = 60)
{
	for (unsigned flags = 0; flags <= ROLES; flags++) {
		for (int i = 0; i < 2; i++) {
			struct world world = {0};
			struct queue_options options =
				options_for(&world, i ? QUEUE_ABORT : QUEUE_BLOCK, 2);
			struct waiter waiter = {.deadline = QUEUE_NEVER, .item = item_of(3)};
			struct queue_bounded *queue;
			void *item;

			options.flags = flags;
			queue = create(&world, &options);
			fill(queue, 1, 2);
			waiter_start(&waiter, queue, i ? call_push_until : call_push);
			await_sleeps(queue, 1);
			EXPECT(queue_pop(queue, &item) == 0 && item == item_of(1));
			EXPECT(waiter_join(&waiter) == 0);
			EXPECT(queue_pop(queue, &item) == 0 && item == item_of(2));
			EXPECT(queue_pop(queue, &item) == 0 && item == item_of(3));
			EXPECT(stats_of(queue).rejected == 0);
			EXPECT(stats_of(queue).wakes <= 1);
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

Test(queue, push_until_waits_for_room_whatever_the_policy, .timeout = 60)
{
	FOR_ALL_POLICIES(policy)
	{
		struct world world = {0};
		struct queue_bounded *queue = create_simple(&world, policy, 1);
		struct waiter waiter = {.deadline = QUEUE_NEVER, .item = item_of(2)};
		void *item;

		fill(queue, 1, 1);
		waiter_start(&waiter, queue, call_push_until);
		await_sleeps(queue, 1);
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_try_pop(queue, &item) == 0 && item == item_of(1));
		EXPECT(waiter_join(&waiter) == 0);
		EXPECT(queue_try_pop(queue, &item) == 0 && item == item_of(2));
		EXPECT(world.drops == 0 && world.runs == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, close_wakes_everybody_who_waits_to_pop, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 3);
	struct waiter waiters[6] = {{.deadline = QUEUE_NEVER}};

	for (int i = 0; i < 6; i++) {
		waiters[i].deadline = i < 4 ? QUEUE_NEVER : queue_now() + PATIENCE;
		waiter_start(&waiters[i], queue,
			     i < 2   ? call_pop
			     : i < 5 ? call_pop_until
				     : call_pop_n);
	}
	await_sleeps(queue, 6);
	cr_assert_eq(queue_close(queue), 0);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(waiter_join(&waiters[i]), -EPIPE);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, close_wakes_everybody_who_waits_to_push_and_the_items_stay_theirs, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_BLOCK, 2);
	struct waiter waiters[6] = {{.deadline = QUEUE_NEVER}};
	struct queue_stats stats;
	void *item;

	fill(queue, 1, 2);
	for (int i = 0; i < 6; i++) {
		waiters[i].deadline = QUEUE_NEVER;
		waiter_start(&waiters[i], queue, i < 3 ? call_push : call_push_until);
	}
	await_sleeps(queue, 6);
	cr_assert_eq(queue_close(queue), 0);
	for (int i = 0; i < 6; i++)
		cr_assert_eq(waiter_join(&waiters[i]), -EPIPE);
	stats = stats_of(queue);
	cr_assert_eq(stats.closed_rejected, 6);
	cr_assert_eq(stats.rejected, 0);
	cr_assert_eq(stats.pushed, 2);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), -EPIPE);
	cr_assert_eq(world.drops, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_waiting_pop_goes_on_waiting_when_what_came_had_expired, .timeout = 60)
{
	struct world world = {.now = 100};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct waiter waiter = {.deadline = QUEUE_NEVER};
	struct queue_bounded *queue;

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	waiter_start(&waiter, queue, call_pop);
	await_sleeps(queue, 1);
	cr_assert_eq(queue_push(queue, item_of(50)), 0);
	await_sleeps(queue, 2);
	cr_assert_eq(queue_push(queue, item_of(150)), 0);
	cr_assert_eq(waiter_join(&waiter), 0);
	cr_assert_eq(waiter.item, item_of(150));
	cr_assert_eq(world.drops, 1);
	cr_assert(pthread_equal(world.dropped_by[0], waiter.thread));
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_queue_in_which_a_thread_waits_cannot_be_ended, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_BLOCK, 1);
	struct waiter waiter = {0};

	waiter_start(&waiter, queue, call_pop);
	await_sleeps(queue, 1);
	cr_assert_eq(queue_destroy(queue), -EBUSY);
	cr_assert_eq(queue_fini(queue), -EBUSY);
	/* Nothing has been done to it. */
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(waiter_join(&waiter), 0);
	cr_assert_eq(waiter.item, item_of(1));
	fill(queue, 2, 1);
	waiter_start(&waiter, queue, call_push);
	await_sleeps(queue, 2);
	cr_assert_eq(queue_destroy(queue), -EBUSY);
	cr_assert_eq(world.drops, 0);
	queue_close(queue);
	cr_assert_eq(waiter_join(&waiter), -EPIPE);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(world.drops, 1);
}

Test(queue, a_deadline_ends_the_waiting_and_not_before_it_has_come, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 1);
	uint64_t deadline;
	void *item;

	for (uint64_t milliseconds = 0; milliseconds < 4; milliseconds++) {
		deadline = queue_after_ms(milliseconds);
		cr_assert_eq(queue_pop_until(queue, &item, deadline), -ETIMEDOUT);
		cr_assert_geq(queue_now(), deadline);
	}
	fill(queue, 1, 1);
	for (uint64_t milliseconds = 0; milliseconds < 4; milliseconds++) {
		deadline = queue_after_ms(milliseconds);
		cr_assert_eq(queue_push_until(queue, item_of(2), deadline), -ETIMEDOUT);
		cr_assert_geq(queue_now(), deadline);
	}
	cr_assert_eq(stats_of(queue).rejected, 4);
	cr_assert_eq(queue_depth_approx(queue), 1);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* A clock that every look at it moves on. */
static uint64_t
hasty_clock(void *context)
{
	struct world *world = context;

	return world->now += QUEUE_SECOND;
}

Test(queue, deadlines_of_waiting_calls_are_by_the_queues_clock, .timeout = 60)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 1);
	struct queue_bounded *queue;
	void *item;

	options.clock = hasty_clock;
	queue = create(&world, &options);
	cr_assert_eq(queue_pop_until(queue, &item, 10 * QUEUE_SECOND), -ETIMEDOUT);
	cr_assert_geq(world.now, 10 * QUEUE_SECOND);
	cr_assert_lt(world.now, 20 * QUEUE_SECOND);
	fill(queue, 1, 1);
	world.now = 0;
	cr_assert_eq(queue_push_until(queue, item_of(2), 10 * QUEUE_SECOND), -ETIMEDOUT);
	cr_assert_geq(world.now, 10 * QUEUE_SECOND);
	cr_assert_lt(world.now, 60 * QUEUE_SECOND);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_deadline_in_the_past_makes_a_try_of_it)
{
	struct world world = {.now = 1000};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 1);
	struct queue_bounded *queue;
	struct queue_stats stats;
	void *item;

	options.clock = driven_clock;
	queue = create(&world, &options);
	cr_assert_eq(queue_push_until(queue, item_of(1), 999), 0);
	cr_assert_eq(queue_push_until(queue, item_of(2), 999), -ETIMEDOUT);
	cr_assert_eq(queue_push_until(queue, item_of(2), 1000), -ETIMEDOUT);
	cr_assert_eq(queue_pop_until(queue, &item, 1000), 0);
	cr_assert_eq(item, item_of(1));
	cr_assert_eq(queue_pop_until(queue, &item, 1000), -ETIMEDOUT);
	cr_assert_eq(queue_pop_until(queue, &item, 0), -ETIMEDOUT);
	stats = stats_of(queue);
	cr_assert_eq(stats.rejected, 2);
	cr_assert_eq(stats.waits, 0);
	cr_assert_eq(stats.wakes, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/*
 * Clocks, and a worker's question, that do in the middle of a wait what another thread might do:
 * push an item, or make room for one, while the wake for an earlier one is on its way to this thread.
 */
static void
as_if_we_were_being_woken(struct queue_impl_event *event)
{
	event->word |= QUEUE_IMPL_EVENT_WAKING;
	event->woken_at = queue_now() + QUEUE_SECOND;
}

static void
push_as_if_we_were_being_woken(struct queue_bounded *queue)
{
	as_if_we_were_being_woken(&queue->not_empty);
	EXPECT(queue_try_push(queue, item_of(7)) == 0);
}

static uint64_t
pushing_clock(void *context)
{
	struct world *world = context;

	/* The two threads are counted: the look at the clock that comes before this one's sleep. */
	if (queue_impl_load_acq(&world->now) == 0 && world->inside == 1 &&
	    queue_impl_load_acq(&world->queue->not_empty.word) >= 2 * QUEUE_IMPL_EVENT_ONE) {
		world->inside = 2;
		push_as_if_we_were_being_woken(world->queue);
		queue_impl_store_rel(&world->now, 1000);
	}
	return queue_impl_load_acq(&world->now);
}

Test(queue, a_wait_that_times_out_hands_on_the_wake_that_was_meant_for_it, .timeout = 60)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 8);
	struct waiter other = {.item = NULL};
	struct queue_bounded *queue;
	void *item;

	options.clock = pushing_clock;
	queue = create(&world, &options);
	waiter_start(&other, queue, call_pop);
	await_sleeps(queue, 1);
	world.inside = 1;
	cr_assert_eq(queue_pop_until(queue, &item, 1000), -ETIMEDOUT);
	cr_assert_eq(world.inside, 2);
	cr_assert_eq(waiter_join(&other), 0);
	cr_assert_eq(other.item, item_of(7));
	cr_assert_eq(queue_destroy(queue), 0);
}

static uint64_t
popping_clock(void *context)
{
	struct world *world = context;
	void *item;

	/* As above. */
	if (queue_impl_load_acq(&world->now) == 0 && world->inside == 1 &&
	    queue_impl_load_acq(&world->queue->not_full.word) >= 2 * QUEUE_IMPL_EVENT_ONE) {
		world->inside = 2;
		as_if_we_were_being_woken(&world->queue->not_full);
		EXPECT(queue_try_pop(world->queue, &item) == 0);
		queue_impl_store_rel(&world->now, 1000);
	}
	return queue_impl_load_acq(&world->now);
}

/* Room for one, of two. */
Test(queue, a_push_that_times_out_hands_on_the_wake_that_was_meant_for_it, .timeout = 60)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_BLOCK, 2);
	struct waiter other = {.item = item_of(8)};
	struct queue_bounded *queue;
	void *item;

	options.clock = popping_clock;
	queue = create(&world, &options);
	fill(queue, 1, 2);
	waiter_start(&other, queue, call_push);
	await_sleeps(queue, 1);
	world.inside = 1;
	cr_assert_eq(queue_push_until(queue, item_of(9), 1000), -ETIMEDOUT);
	cr_assert_eq(world.inside, 2);
	cr_assert_eq(waiter_join(&other), 0);
	cr_assert(queue_pop(queue, &item) == 0 && item == item_of(2));
	cr_assert(queue_pop(queue, &item) == 0 && item == item_of(8));
	cr_assert_eq(queue_destroy(queue), 0);
}

static bool
push_and_call_off(void *context)
{
	struct world *world = context;

	if (queue_impl_load_acq(&world->queue->not_empty.word) < 2 * QUEUE_IMPL_EVENT_ONE)
		return false;
	push_as_if_we_were_being_woken(world->queue);
	return true;
}

Test(queue, a_wait_that_is_called_off_hands_on_the_wake_that_was_meant_for_it, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 8);
	struct waiter other = {.item = NULL};
	void *items[8];

	waiter_start(&other, queue, call_pop);
	await_sleeps(queue, 1);
	cr_assert_eq(queue_impl_pop_n_unless(queue, items, 8, push_and_call_off, &world),
		     -ECANCELED);
	cr_assert_eq(waiter_join(&other), 0);
	cr_assert_eq(other.item, item_of(7));
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Waiting that can be called off --------------------------------------------------------- */

static bool
is_set(void *context)
{
	return queue_impl_load32_acq(context) != 0;
}

static uint32_t called_off;

static int
call_pop_n_unless(struct waiter *waiter)
{
	return queue_impl_pop_n_unless(waiter->queue, waiter->items, 8, is_set, &called_off);
}

Test(queue, a_worker_can_be_called_off_asleep_or_not_and_has_taken_nothing_then, .timeout = 60)
{
	struct world world = {0};
	struct queue_bounded *queue = create_simple(&world, QUEUE_ABORT, 8);
	struct waiter waiters[3] = {{.item = NULL}};
	void *items[8];

	for (int i = 0; i < 3; i++)
		waiter_start(&waiters[i], queue, call_pop_n_unless);
	await_sleeps(queue, 3);
	queue_impl_store32_rel(&called_off, 1);
	queue_impl_interrupt(queue);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(waiter_join(&waiters[i]), -ECANCELED);
	fill(queue, 1, 2);
	cr_assert_eq(queue_impl_pop_n_unless(queue, items, 8, is_set, &called_off), -ECANCELED);
	cr_assert_eq(queue_depth_approx(queue), 2);
	queue_impl_store32_rel(&called_off, 0);
	cr_assert_eq(queue_impl_pop_n_unless(queue, items, 8, is_set, &called_off), 2);
	/* One that is not called off goes back to sleep. */
	waiter_start(&waiters[0], queue, call_pop_n_unless);
	await_sleeps(queue, 4);
	queue_impl_interrupt(queue);
	await_sleeps(queue, 5);
	queue_close(queue);
	cr_assert_eq(waiter_join(&waiters[0]), -EPIPE);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Figures -------------------------------------------------------------------------------- */

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t
exact_percentile(const uint64_t *sorted, size_t n, unsigned percent)
{
	return sorted[(n * percent + 99) / 100 - 1];
}

/* At least the true figure, and at most an eighth more. */
static bool
is_close_above(uint64_t told, uint64_t exact)
{
	return told >= exact && told - exact <= exact / 8;
}

Test(queue, sojourn_percentiles_are_at_most_an_eighth_above_the_exact_ones)
{
	static uint64_t sampled[4000];

	/* From a few nanoseconds, where they are exact, to centuries. */
	for (unsigned bits = 3; bits <= 60; bits++) {
		struct world world = {.now = 10 * QUEUE_SECOND};
		struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
		uint64_t random = 0x9e3779b97f4a7c15u * bits | 1;
		struct queue_bounded *queue;
		struct queue_stats stats;
		size_t n = 0;
		void *item;

		options.clock = driven_clock;
		queue = create(&world, &options);
		for (int i = 0; i < 150; i++) {
			uint64_t sojourn;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			sojourn = random & ((UINT64_C(1) << bits) - 1);
			if (bits > 50 && i > 4)
				break;
			EXPECT(queue_push(queue, item_of(1)) == 0);
			world.now += sojourn;
			EXPECT(queue_pop(queue, &item) == 0);
			stats = stats_of(queue);
			EXPECT(stats.sojourn_samples == n || stats.sojourn_samples == n + 1);
			if (stats.sojourn_samples > n)
				sampled[n++] = sojourn;
			/* So seldom that every push should be looked at. */
			world.now += 2 * QUEUE_MILLISECOND;
		}
		EXPECT(n >= 5);
		qsort(sampled, n, sizeof *sampled, by_value);
		EXPECT(is_close_above(stats.sojourn_p50, exact_percentile(sampled, n, 50)));
		EXPECT(is_close_above(stats.sojourn_p90, exact_percentile(sampled, n, 90)));
		EXPECT(is_close_above(stats.sojourn_p99, exact_percentile(sampled, n, 99)));
		EXPECT(stats.sojourn_max == sampled[n - 1]);
		EXPECT(stats.sojourn_p99 <= stats.sojourn_max);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(queue, sojourn_is_sampled_seldom_under_load_and_each_time_at_rest)
{
	struct world world = {.now = 10 * QUEUE_SECOND};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 64);
	struct queue_bounded *queue;
	struct queue_stats stats;
	uint64_t before;
	void *item;

	options.clock = driven_clock;
	queue = create(&world, &options);
	/* One second at a million a second. */
	for (int i = 0; i < 1000000; i++) {
		EXPECT(queue_push(queue, item_of(1)) == 0);
		world.now += 1000;
		EXPECT(queue_pop(queue, &item) == 0);
	}
	stats = stats_of(queue);
	cr_assert_geq(stats.sojourn_samples, 50);
	cr_assert_leq(stats.sojourn_samples, 2000);
	cr_assert(is_close_above(stats.sojourn_p50, 1000));
	cr_assert_eq(stats.sojourn_max, 1000);
	/* A hundred a second, for long enough. */
	for (int i = 0; i < 20000; i++) {
		EXPECT(queue_push(queue, item_of(1)) == 0);
		world.now += 10 * QUEUE_MILLISECOND;
		EXPECT(queue_pop(queue, &item) == 0);
	}
	before = stats_of(queue).sojourn_samples;
	for (int i = 0; i < 1000; i++) {
		EXPECT(queue_push(queue, item_of(1)) == 0);
		world.now += 20 * QUEUE_MILLISECOND;
		EXPECT(queue_pop(queue, &item) == 0);
	}
	cr_assert_geq(stats_of(queue).sojourn_samples, before + 900);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, sojourn_counts_what_consumers_got_and_nothing_else)
{
	struct world world = {.now = 10 * QUEUE_SECOND};
	struct queue_options options = options_for(&world, QUEUE_DISCARD_OLDEST, 1);
	struct queue_bounded *queue;
	void *items[4];

	options.clock = driven_clock;
	options.deadline_of = number_is_deadline;
	queue = create(&world, &options);
	/* Evicted, expired and refused items leave no sample, nor a probe that stays for ever. */
	for (int i = 0; i < 10; i++) {
		EXPECT(queue_push(queue, item_of(0)) == 0);
		world.now += QUEUE_SECOND;
		EXPECT(queue_push(queue, item_of(1)) == QUEUE_EVICTED);
		EXPECT(queue_try_push(queue, item_of(1)) == -EAGAIN);
		world.now += QUEUE_SECOND;
		EXPECT(queue_pop_until(queue, items, 0) == -ETIMEDOUT);
		EXPECT(queue_push(queue, item_of(1)) == 0);
		world.now += QUEUE_SECOND;
		EXPECT(queue_try_pop(queue, items) == -EAGAIN);
	}
	cr_assert_eq(stats_of(queue).sojourn_samples, 0);
	for (int i = 0; i < 10; i++) {
		EXPECT(queue_push(queue, item_of(0)) == 0);
		world.now += 5;
		EXPECT((i & 1 ? queue_pop(queue, items) : queue_pop_n(queue, items, 4) - 1) == 0);
		world.now += QUEUE_SECOND;
	}
	cr_assert_geq(stats_of(queue).sojourn_samples, 9);
	cr_assert_leq(stats_of(queue).sojourn_samples, 10);
	cr_assert_eq(stats_of(queue).sojourn_max, 5);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, a_refused_push_leaves_no_probe_for_the_next_one)
{
	struct world world = {.now = 10 * QUEUE_SECOND};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 1);
	struct queue_bounded *queue;
	uint64_t samples;
	void *item;

	options.clock = driven_clock;
	queue = create(&world, &options);
	/* Under some load, so that not every item in the queue has a probe. */
	for (int i = 0; i < 5; i++) {
		EXPECT(queue_push(queue, NULL) == 0);
		EXPECT(queue_pop(queue, &item) == 0);
	}
	samples = stats_of(queue).sojourn_samples;
	/* No item stays for any time; time passes only between a refused push and the next one. */
	for (int i = 0; i < 1000; i++) {
		EXPECT(queue_push(queue, NULL) == 0);
		EXPECT(queue_try_push(queue, NULL) == -EAGAIN);
		EXPECT(queue_push_n(queue, &item, 1) == 0);
		EXPECT(queue_pop(queue, &item) == 0);
		world.now += 2 * QUEUE_MILLISECOND;
	}
	cr_assert_gt(stats_of(queue).sojourn_samples, samples);
	cr_assert_eq(stats_of(queue).sojourn_max, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, an_expired_item_in_a_batch_leaves_no_sojourn_sample)
{
	struct world world = {.now = 10 * QUEUE_SECOND};
	struct queue_bounded *queue = create_expiring(&world, 4);
	void *items[4];

	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_push(queue, item_of(0)), 0);
	world.now += QUEUE_SECOND;
	cr_assert_eq(queue_pop_n(queue, items, 4), 1);
	cr_assert_eq(stats_of(queue).sojourn_samples, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(queue, sojourn_survives_a_clock_that_goes_backwards)
{
	struct world world = {.now = 10 * QUEUE_SECOND};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
	struct queue_bounded *queue;
	void *item;

	options.clock = driven_clock;
	queue = create(&world, &options);
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	world.now = QUEUE_SECOND;
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(stats_of(queue).sojourn_samples, 1);
	cr_assert_eq(stats_of(queue).sojourn_max, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* Items below 16 have expired; on_drop waits until a pop has got the live one beside it. */
static uint64_t
deadline_of_small_items(const void *item)
{
	return (uintptr_t)item < 16 ? 1 : 0;
}

static void
await_pop(const struct queue_bounded *queue)
{
	uint64_t patience = queue_now() + PATIENCE;
	struct queue_stats stats;

	do {
		EXPECT(queue_now() < patience);
		sched_yield();
		EXPECT(queue_stats(queue, &stats) == 0);
	} while (stats.popped == 0);
}

static void
wait_until_somebody_is_served(void *item, enum queue_reason reason, void *context)
{
	const struct world *world = context;

	(void)item;
	if (reason == QUEUE_EXPIRED)
		await_pop(world->queue);
}

Test(queue, nobody_sleeps_beside_an_item_while_an_expired_one_is_dropped, .timeout = 60)
{
	for (int round = 0; round < 50; round++) {
		struct world world = {0};
		struct queue_options options = options_for(&world, QUEUE_ABORT, 8);
		struct waiter waiters[2] = {{.item = NULL}, {.item = NULL}};
		struct queue_bounded *queue;

		options.deadline_of = deadline_of_small_items;
		options.on_drop = wait_until_somebody_is_served;
		queue = create(&world, &options);
		waiter_start(&waiters[0], queue, call_pop);
		waiter_start(&waiters[1], queue, call_pop);
		await_sleeps(queue, 2);
		/* The second push finds a wake under way, and leaves it at that. */
		EXPECT(queue_push(queue, (void *)1) == 0);
		EXPECT(queue_push(queue, (void *)16) == 0);
		await_pop(queue);
		EXPECT(queue_push(queue, (void *)17) == 0);
		EXPECT(waiter_join(&waiters[0]) == 0 && waiter_join(&waiters[1]) == 0);
		cr_assert_eq(stats_of(queue).expired, 1);
		cr_assert_eq(queue_destroy(queue), 0);
	}
}

/* Between the look at the tail and the probe another thread's item goes in there and out again. */
static uint64_t
overtaking_clock(void *context)
{
	struct world *world = context;
	void *item;

	if (world->inside == 1) {
		world->inside = 2;
		EXPECT(queue_try_push(world->queue, NULL) == 0);
		EXPECT(queue_try_pop(world->queue, &item) == 0);
	}
	return world->now;
}

Test(queue, a_probe_whose_item_went_unnoticed_is_no_sample_of_a_later_batch)
{
	struct world world = {.now = 1};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 8);
	struct queue_bounded *queue;
	void *items[4];
	uint64_t longest;

	options.clock = overtaking_clock;
	queue = create(&world, &options);
	/* Some load, so that not every push carries a probe, and then one that does. */
	for (int i = 0; i < 8; i++) {
		world.now += 1000;
		EXPECT(queue_push(queue, NULL) == 0);
		EXPECT(queue_pop(queue, items) == 0);
	}
	while (queue->ring.tail & queue->sample_mask) {
		EXPECT(queue_push(queue, NULL) == 0);
		EXPECT(queue_pop(queue, items) == 0);
	}
	longest = stats_of(queue).sojourn_max;
	world.inside = 1;
	EXPECT(queue_push(queue, NULL) == 0);
	cr_assert_eq(world.inside, 2);
	EXPECT(queue_pop(queue, items) == 0);
	/* Long after, nobody has stayed for long. */
	world.now += 3600 * QUEUE_SECOND;
	EXPECT(queue_push(queue, NULL) == 0);
	EXPECT(queue_pop_n(queue, items, 4) == 1);
	cr_assert_eq(stats_of(queue).sojourn_max, longest);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- System calls --------------------------------------------------------------------------- */

/*
 * Does the body do without system calls? It runs in a child that the kernel kills at the first one,
 * but for reading the clock, which is one on some machines.
 */
static bool
does_without_system_calls(void (*body)(struct queue_bounded *queue), struct queue_bounded *queue)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		/* Not to be had in an emulator; and sanitizers make system calls of their own. */
#if defined QUEUE_IMPL_TSAN
		bool strict = false;

		(void)filter;
#else
		bool strict = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
			      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
#endif

		if (strict)
			body(queue);
		(void)syscall(SYS_exit_group, 0);
	}
	EXPECT(child > 0 && waitpid(child, &status, 0) == child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
call_all_that_do_not_wait(struct queue_bounded *queue)
{
	struct queue_stats stats;
	void *items[4] = {NULL};

	for (int i = 0; i < 1000; i++) {
		for (int full = 0; full < 4; full++)
			if (queue->policy != QUEUE_BLOCK || full < 2)
				(void)queue_push(queue, NULL);
		(void)queue_try_push(queue, NULL);
		(void)queue_push_n(queue, items, 4);
		(void)queue_push_until(queue, NULL, 0);
		(void)queue_stats(queue, &stats);
		(void)queue_pop(queue, items);
		(void)queue_pop_n(queue, items, 4);
		(void)queue_try_pop_n(queue, items, 4);
		(void)queue_try_pop(queue, items);
		(void)queue_pop_until(queue, items, 0);
	}
	(void)queue_close(queue);
}

static void
discard_nothing(void *item, enum queue_reason reason, void *context)
{
	(void)item;
	(void)reason;
	(void)context;
}

static void
run_nothing(void *item, void *context)
{
	(void)item;
	(void)context;
}

Test(queue, calls_make_no_system_call_where_nobody_sleeps)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 3);
		struct queue_bounded *queue;

		options.flags = flags;
		options.on_drop = discard_nothing;
		options.run = run_nothing;
		queue = create(&world, &options);
		EXPECT(does_without_system_calls(call_all_that_do_not_wait, queue));
		EXPECT(queue_destroy(queue) == 0);
	}
}

static void
push_and_pop(struct queue_bounded *queue)
{
	void *item;

	for (int i = 0; i < 1000; i++) {
		(void)queue_push(queue, NULL);
		(void)queue_pop(queue, &item);
	}
}

Test(queue, pushes_and_pops_make_no_system_call_while_a_wake_is_under_way)
{
	struct world world = {0};
	struct queue_options options = options_for(&world, QUEUE_ABORT, 3);
	struct queue_bounded *queue;

	queue = create(&world, &options);
	/* As if one thread slept on each side, and had been woken a moment ago. */
	queue->not_empty.word = QUEUE_IMPL_EVENT_ONE | QUEUE_IMPL_EVENT_WAKING;
	queue->not_full.word = QUEUE_IMPL_EVENT_ONE | QUEUE_IMPL_EVENT_WAKING;
	queue->not_empty.woken_at = queue->not_full.woken_at = queue_now() + QUEUE_SECOND;
	EXPECT(does_without_system_calls(push_and_pop, queue));
	push_and_pop(queue);
	cr_assert_eq(stats_of(queue).wakes, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* ---- Manners -------------------------------------------------------------------------------- */

Test(queue, errno_is_never_touched)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct world world = {0};
		struct queue_options options = options_for(&world, policy, 2);
		struct queue_bounded *queue;
		struct queue_stats stats;
		void *items[4] = {NULL};

		options.flags = flags;
		errno = 4711;
		EXPECT(queue_create(&queue, &options) == 0);
		world.queue = queue;
		EXPECT(queue_pop_until(queue, items, queue_after_ms(1)) == -ETIMEDOUT);
		EXPECT(queue_push_n(queue, items, 4) == 2);
		EXPECT(queue_push_until(queue, items, queue_after_ms(1)) == -ETIMEDOUT);
		EXPECT(policy == QUEUE_BLOCK || queue_push(queue, items) != 0);
		EXPECT(queue_pop_n(queue, items, 1) == 1);
		EXPECT(queue_stats(queue, &stats) == 0);
		EXPECT(queue_close(queue) == 0);
		EXPECT(queue_push(queue, items) == -EPIPE);
		EXPECT(queue_destroy(queue) == 0);
		EXPECT(queue_create(&queue, NULL) == -EINVAL);
		EXPECT(errno == 4711);
	}
}

Test(queue, a_child_has_a_copy_that_works, .timeout = 60)
{
	for (unsigned flags = 0; flags <= ROLES; flags++) {
		struct world world = {0};
		struct queue_options options = options_for(&world, QUEUE_ABORT, 4);
		struct queue_bounded *queue;
		int status = -1;
		void *item;
		pid_t child;

		options.flags = flags;
		queue = create(&world, &options);
		fill(queue, 1, 2);
		fflush(NULL);
		child = fork();
		if (child == 0) {
			bool ok = queue_push(queue, item_of(3)) == 0;

			for (uint64_t i = 1; i <= 3; i++)
				ok = ok && queue_pop(queue, &item) == 0 && item == item_of(i);
			ok = ok && queue_pop_until(queue, &item, queue_after_ms(2)) == -ETIMEDOUT;
			ok = ok && queue_close(queue) == 0 && queue_pop(queue, &item) == -EPIPE;
			ok = ok && queue_destroy(queue) == 0;
			_exit(ok ? 0 : 1);
		}
		EXPECT(child > 0 && waitpid(child, &status, 0) == child);
		EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		EXPECT(queue_depth_approx(queue) == 2);
		EXPECT(queue_pop(queue, &item) == 0 && item == item_of(1));
		EXPECT(queue_destroy(queue) == 0);
	}
}
