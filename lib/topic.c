/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A topic is a word that points to a snapshot: the list of subscriptions as it was after the last
 * of them came or went. A snapshot does not change; whoever subscribes or unsubscribes makes a new
 * one, under the topic's lock, and swaps the word. A publish takes no lock: it reads the word and
 * walks the snapshot, inside an epoch (epoch_impl.h), which is what keeps the snapshot from being
 * freed meanwhile. Where it has to wait for a subscription with QUEUE_BLOCK it pins the snapshot
 * and leaves the epoch, so that a publish that waits for ever keeps back one snapshot and what is
 * in it, and not what everybody else retires.
 *
 * A subscription that has ended is freed when it is in no snapshot any more. Its queue is closed
 * before, so that a publish with an old snapshot finds it closed; so no more memory is needed to
 * end a subscription than there is: without a new snapshot it stays in the old one, closed.
 */
#include <conveyor/topic.h>

#include "alloc_impl.h"
#include "epoch_impl.h"
#include "queue_impl.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* In the word, beside the pointer, which is a multiple of it. */
#define CLOSED UINT64_C(1)

/* Publishes are counted where filters may turn them away, spread so that publishers do not meet. */
#define STRIPES 16

struct stripe {
	uint64_t published;
} queue_impl_aligned(QUEUE_IMPL_LINE);

struct filter {
	uint64_t any_of;
	uint64_t all_of;
	bool (*accepts)(const struct queue_message *message, void *context);
	void *context;
};

/*
 * Who may want a message with a certain tag, a bit for each of 64 subscriptions: so that those that
 * do not want it cost nothing. Each is listed under the tags of any_of, or, since all of them must
 * be there, under one of all_of.
 */
#define GROUP 64

struct group {
	uint64_t always; /* who may want it without any tag */
	uint64_t tagged[64];
};

/* What a publish walks through: queues[0..count), which are the subscriptions. */
struct snapshot {
	struct snapshot *next; /* among the retired ones; the topic's lock */
	uint64_t retired;      /* the epoch it was retired in */
	uint64_t pins;	       /* publishes that wait, outside of an epoch */
	size_t size;
	uint32_t count;

	/* these follow in the same memory; NULL: nobody filters */
	struct filter *filters;
	struct group *groups;
	struct stripe *stripes;
	struct queue_bounded *queues[];
} queue_impl_aligned(QUEUE_IMPL_LINE);

/* What a subscription has beside its queue: it lies behind that, which points to it by `context`. */
struct details {
	struct queue_topic *topic;
	struct queue_subscription_options options;
	size_t size;		/* of the queue and this */
	uint64_t filtered_told; /* what statistics have said */

	/* the topic's lock */
	struct queue_subscription *next; /* among all of the topic */
	uint64_t offered;		 /* publishes counted in snapshots that are gone */
	uint32_t holders;		 /* snapshots that it is in */
	bool ended;			 /* in no new snapshot */
	bool gone;			 /* its owner has let go of it */
};

struct queue_topic {
	/* read by every publish */
	uint64_t word queue_impl_aligned(QUEUE_IMPL_APART); /* snapshot or NULL, and CLOSED */

	/* the lock, and what it guards */
	pthread_mutex_t lock queue_impl_aligned(QUEUE_IMPL_APART);
	struct snapshot *snapshot; /* that the word points to */
	struct snapshot *retired;
	struct queue_subscription *subscriptions;
	const struct queue_allocator *allocator;
};

static struct queue_bounded *
queue_of(const struct queue_subscription *subscription)
{
	return queue_subscription_queue(subscription);
}

static struct details *
details_of(const struct queue_subscription *subscription)
{
	return queue_of(subscription)->context;
}

static void
lock(const struct queue_topic *topic)
{
	/* The lock is no part of what a const topic promises not to change. */
	(void)pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&topic->lock);
}

static void
unlock(const struct queue_topic *topic)
{
	(void)pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&topic->lock);
}

/*
 * Messages.
 */

/* Several references at once; the last one runs release. */
static void
release_many(struct queue_message *message, uint32_t references)
{
	/* TOPIC2 acquire and release */
	if (references > 0 &&
	    queue_impl_fetch_add32_acq_rel(&message->references, 0 - references) == references &&
	    message->release)
		message->release(message, message->context);
}

static bool
is_exclusive(const struct queue_message *message)
{
	return queue_impl_load32_acq(&message->references) == 1; /* TOPIC2 acquire */
}

/* False: it has other tags, which those who got it may be reading. */
static inline bool
set_tags(struct queue_message *message, uint64_t tags)
{
	if (message->published && message->tags == tags)
		return true;
	if (message->published && !is_exclusive(message))
		return false;
	message->published = 1;
	message->tags = tags;
	return true;
}

/* The caller's reference becomes so many. Nobody else looks at those of an exclusive message. */
static void
multiply(struct queue_message *message, uint32_t references)
{
	if (is_exclusive(message))
		/* Relaxed: published by the pushes. */
		queue_impl_store32_rlx(&message->references, references);
	else
		(void)queue_impl_fetch_add32_acq_rel(&message->references, references - 1);
}

/*
 * Snapshots and what they hold, under the lock.
 */

static bool
has_filter(const struct queue_subscription_options *options)
{
	return options->any_of != 0 || options->all_of != 0 || options->accepts;
}

static size_t
align_up(size_t size, size_t alignment)
{
	return (size + alignment - 1) & ~(alignment - 1);
}

static struct snapshot *
snapshot_allocate(const struct queue_topic *topic, uint32_t count, bool filters)
{
	size_t queues =
		align_up(offsetof(struct snapshot, queues) + count * sizeof(struct queue_bounded *),
			 QUEUE_IMPL_LINE);
	size_t stripes = queues + (filters ? STRIPES * sizeof(struct stripe) : 0);
	size_t groups =
		stripes + (filters ? (count + GROUP - 1) / GROUP * sizeof(struct group) : 0);
	size_t size = groups + (filters ? count * sizeof(struct filter) : 0);
	char *memory = topic->allocator->allocate(topic->allocator->context, size,
						  _Alignof(struct snapshot));
	struct snapshot *snapshot = (struct snapshot *)(void *)memory;

	if (!memory)
		return NULL;
	memset(memory, 0, size);
	snapshot->size = size;
	if (filters) {
		snapshot->stripes = (struct stripe *)(void *)(memory + queues);
		snapshot->groups = (struct group *)(void *)(memory + stripes);
		snapshot->filters = (struct filter *)(void *)(memory + groups);
	}
	return snapshot;
}

/* Lists the subscription with this number under the tags that it may be found by. */
static void
snapshot_index(struct snapshot *snapshot, uint32_t number, const struct filter *filter)
{
	struct group *group = &snapshot->groups[number / GROUP];
	uint64_t bit = UINT64_C(1) << number % GROUP;
	uint64_t tags = filter->all_of ? filter->all_of & (0 - filter->all_of) : filter->any_of;

	if (tags == 0)
		group->always |= bit;
	for (; tags != 0; tags &= tags - 1)
		group->tagged[__builtin_ctzll(tags)] |= bit;
}

static void
snapshot_add(struct snapshot *snapshot, struct queue_subscription *subscription)
{
	struct details *details = details_of(subscription);
	uint32_t number = snapshot->count++;

	snapshot->queues[number] = queue_of(subscription);
	details->holders++;
	if (!snapshot->filters)
		return;
	snapshot->filters[number] = (struct filter){
		.any_of = details->options.any_of,
		.all_of = details->options.all_of,
		.accepts = details->options.accepts,
		.context = details->options.context,
	};
	snapshot_index(snapshot, number, &snapshot->filters[number]);
}

/* Of all subscriptions that have not ended. -ENOMEM; *out is NULL when there are none. */
static int
snapshot_make(const struct queue_topic *topic, struct snapshot **out)
{
	struct queue_subscription *each;
	uint32_t count = 0;
	bool filters = false;

	*out = NULL;
	for (each = topic->subscriptions; each; each = details_of(each)->next) {
		if (details_of(each)->ended)
			continue;
		count++;
		filters = filters || has_filter(&details_of(each)->options);
	}
	if (count == 0)
		return 0;
	*out = snapshot_allocate(topic, count, filters);
	if (!*out)
		return -ENOMEM;
	for (each = topic->subscriptions; each; each = details_of(each)->next)
		if (!details_of(each)->ended)
			snapshot_add(*out, each);
	return 0;
}

static uint64_t
published_in(const struct snapshot *snapshot)
{
	uint64_t total = 0;
	int i;

	for (i = 0; snapshot->stripes && i < STRIPES; i++) /* TOPIC4 acquire */
		total += queue_impl_load_acq(&snapshot->stripes[i].published);
	return total;
}

static void
snapshot_free(const struct queue_topic *topic, struct snapshot *snapshot)
{
	uint64_t published = published_in(snapshot);
	uint32_t i;

	for (i = 0; i < snapshot->count; i++) {
		struct details *details = snapshot->queues[i]->context;

		details->offered += published;
		details->holders--;
	}
	topic->allocator->release(topic->allocator->context, snapshot, snapshot->size,
				  _Alignof(struct snapshot));
}

static void
subscription_free(const struct queue_topic *topic, struct queue_subscription *subscription)
{
	size_t size = details_of(subscription)->size;

	/* Closed, drained, and nobody is left who could be inside. */
	(void)queue_fini(queue_of(subscription));
	topic->allocator->release(topic->allocator->context, subscription, size,
				  QUEUE_RING_ALIGNMENT);
}

/* Makes the word point to another snapshot; the old one is retired. */
static void
snapshot_swap(struct queue_topic *topic, struct snapshot *snapshot)
{
	struct snapshot *old = topic->snapshot;
	uint64_t closed = queue_impl_load_rlx(&topic->word) & CLOSED; /* relaxed: locked */

	topic->snapshot = snapshot;
	queue_impl_store_rel(&topic->word,
			     (uint64_t)(uintptr_t)snapshot | closed); /* TOPIC1 release */
	if (!old)
		return;
	old->retired = queue_impl_epoch_retire();
	old->next = topic->retired;
	topic->retired = old;
}

/*
 * Frees the retired snapshots that no publish can be in. Returns the subscriptions gone with them,
 * to be ended without the lock.
 */
static struct queue_subscription *
reclaim(struct queue_topic *topic)
{
	struct queue_subscription **each = &topic->subscriptions, *ended = NULL;
	struct snapshot **snapshot = &topic->retired;
	uint64_t oldest = *snapshot ? queue_impl_epoch_oldest() : 0;

	while (*snapshot) {
		struct snapshot *old = *snapshot;

		/* In this order: pins are set inside an epoch. TOPIC3 acquire */
		if (old->retired <= oldest && queue_impl_load_acq(&old->pins) == 0) {
			*snapshot = old->next;
			snapshot_free(topic, old);
		} else {
			snapshot = &old->next;
		}
	}
	while (*each) {
		struct queue_subscription *subscription = *each;
		struct details *details = details_of(subscription);

		if (details->gone && details->holders == 0) {
			*each = details->next;
			details->next = ended;
			ended = subscription;
		} else {
			each = &details->next;
		}
	}
	return ended;
}

/* The last of each of them. */
static void
end_all(const struct queue_topic *topic, struct queue_subscription *ended)
{
	while (ended) {
		const struct details *details = details_of(ended);
		struct queue_subscription *next = details->next;

		if (details->options.on_end)
			details->options.on_end(details->options.context);
		subscription_free(topic, ended);
		ended = next;
	}
}

/*
 * Topics.
 */

int
queue_topic_create(struct queue_topic **out, const struct queue_topic_options *options)
{
	static const struct queue_topic_options defaults;
	const struct queue_allocator *allocator;
	struct queue_topic *topic;

	if (!out)
		return -EINVAL;
	if (!options)
		options = &defaults;
	allocator = queue_impl_allocator(options->allocator);
	if (!allocator)
		return -EINVAL;
	topic = allocator->allocate(allocator->context, sizeof *topic,
				    _Alignof(struct queue_topic));
	if (!topic)
		return -ENOMEM;
	queue_impl_epoch_prepare();
	memset(topic, 0, sizeof *topic);
	topic->allocator = allocator;
	(void)pthread_mutex_init(&topic->lock, NULL);
	*out = topic;
	return 0;
}

/* What nobody will pop any more, once the queue is closed: to on_drop, and released. */
static void
drain(struct queue_subscription *subscription)
{
	struct queue_bounded *queue = queue_of(subscription);
	void *message;

	/* Until it says that it is closed: from then on no push that began before gets in. */
	while (queue_try_pop(queue, &message) == 0)
		queue_impl_drop(queue, message, QUEUE_DESTROYED);
}

/* By a publish that has waited and is not done: it still walks through a snapshot. */
static bool
is_pinned(const struct queue_topic *topic)
{
	const struct snapshot *snapshot;

	if (topic->snapshot &&
	    queue_impl_load_acq(&topic->snapshot->pins) != 0) /* TOPIC3 acquire */
		return true;
	for (snapshot = topic->retired; snapshot; snapshot = snapshot->next)
		if (queue_impl_load_acq(&snapshot->pins) != 0) /* TOPIC3 acquire */
			return true;
	return false;
}

static bool
is_waited_in(const struct queue_topic *topic)
{
	const struct queue_subscription *each;

	for (each = topic->subscriptions; each; each = details_of(each)->next)
		if (queue_impl_is_waited_in(queue_of(each)))
			return true;
	return is_pinned(topic);
}

int
queue_topic_destroy(struct queue_topic *topic)
{
	struct queue_subscription *subscription;
	const struct queue_allocator *allocator;

	if (!topic)
		return 0;
	if (is_waited_in(topic))
		return -EBUSY;
	(void)queue_topic_close(topic); /* for callbacks that publish */
	for (subscription = topic->subscriptions; subscription;
	     subscription = details_of(subscription)->next)
		drain(subscription);
	/* Nobody is inside, so nothing has to wait for an epoch. */
	snapshot_swap(topic, NULL);
	while (topic->retired) {
		struct snapshot *old = topic->retired;

		topic->retired = old->next;
		snapshot_free(topic, old);
	}
	/* Off the list, which on_end may have walked through. */
	subscription = topic->subscriptions;
	topic->subscriptions = NULL;
	end_all(topic, subscription);
	(void)pthread_mutex_destroy(&topic->lock);
	allocator = topic->allocator;
	allocator->release(allocator->context, topic, sizeof *topic, _Alignof(struct queue_topic));
	return 0;
}

int
queue_topic_close(struct queue_topic *topic)
{
	struct queue_subscription *subscription;

	lock(topic);
	/* Relaxed, the load: locked. */
	queue_impl_store_rel(&topic->word, queue_impl_load_rlx(&topic->word) | CLOSED);
	for (subscription = topic->subscriptions; subscription;
	     subscription = details_of(subscription)->next)
		(void)queue_close(queue_of(subscription));
	unlock(topic);
	return 0;
}

int
queue_topic_stats(const struct queue_topic *topic, struct queue_topic_stats *out)
{
	const struct queue_subscription *subscription;

	memset(out, 0, sizeof *out);
	lock(topic);
	for (subscription = topic->subscriptions; subscription;
	     subscription = details_of(subscription)->next) {
		if (details_of(subscription)->gone)
			out->retired++;
		else
			out->subscriptions++;
	}
	out->closed = (queue_impl_load_rlx(&topic->word) & CLOSED) != 0; /* relaxed: locked */
	unlock(topic);
	return 0;
}

/*
 * Subscriptions.
 */

/* The queue's on_drop: it has one reference less to keep. */
static void
drop(void *item, enum queue_reason reason, void *context)
{
	const struct details *details = context;
	struct queue_message *message = item;

	if (details->options.on_drop)
		details->options.on_drop(message, reason, details->options.context);
	queue_message_release(message);
}

static bool
are_valid(const struct queue_subscription_options *options)
{
	if (!options || (options->flags & ~QUEUE_SINGLE_CONSUMER))
		return false;
	/* Running a message is what its consumer is for. */
	return options->policy == QUEUE_ABORT || options->policy == QUEUE_BLOCK ||
	       options->policy == QUEUE_DISCARD || options->policy == QUEUE_DISCARD_OLDEST;
}

static int
subscription_make(struct queue_topic *topic, const struct queue_subscription_options *options,
		  struct queue_subscription **out)
{
	struct queue_options queue = {.capacity = options->capacity,
				      .policy = options->policy,
				      .flags = options->flags,
				      .on_drop = drop};
	size_t footprint = align_up(queue_footprint(&queue), _Alignof(struct details));
	size_t size = footprint + sizeof(struct details);
	struct details *details;
	char *memory;

	if (footprint == 0)
		return -EINVAL;
	memory = topic->allocator->allocate(topic->allocator->context, size, QUEUE_RING_ALIGNMENT);
	if (!memory)
		return -ENOMEM;
	details = (struct details *)(void *)(memory + footprint);
	memset(details, 0, sizeof *details);
	details->topic = topic;
	details->options = *options;
	details->size = size;
	queue.context = details;
	(void)queue_init((struct queue_bounded *)(void *)memory, footprint, &queue);
	*out = (struct queue_subscription *)(void *)memory;
	return 0;
}

/* With the lock held: the last of the list, so that all are served in the order they came. */
static struct queue_subscription **
end_of_list(struct queue_topic *topic)
{
	struct queue_subscription **end = &topic->subscriptions;

	while (*end)
		end = &details_of(*end)->next;
	return end;
}

int
queue_topic_subscribe(struct queue_topic *topic, const struct queue_subscription_options *options,
		      struct queue_subscription **out)
{
	struct queue_subscription *subscription, **end, *ended = NULL;
	struct snapshot *snapshot;
	int rc;

	if (!out || !are_valid(options))
		return -EINVAL;
	rc = subscription_make(topic, options, &subscription);
	if (rc)
		return rc;
	lock(topic);
	if (queue_impl_load_rlx(&topic->word) & CLOSED) /* relaxed: locked */
		rc = -EPIPE;
	if (rc == 0) {
		end = end_of_list(topic);
		*end = subscription;
		rc = snapshot_make(topic, &snapshot);
		if (rc)
			*end = NULL;
	}
	if (rc) {
		subscription_free(topic, subscription);
	} else {
		*out = subscription;
		snapshot_swap(topic, snapshot);
		ended = reclaim(topic);
	}
	unlock(topic);
	end_all(topic, ended);
	return rc;
}

static bool
is_in(const struct snapshot *snapshot, const struct queue_subscription *subscription)
{
	uint32_t i;

	for (i = 0; i < snapshot->count; i++)
		if (snapshot->queues[i] == queue_of(subscription))
			return true;
	return false;
}

int
queue_subscription_close(struct queue_subscription *subscription)
{
	struct details *details = details_of(subscription);
	struct queue_topic *topic = details->topic;
	struct snapshot *snapshot;

	/* From here on no new publish finds it; those under way find it closed. */
	lock(topic);
	details->ended = true;
	/* It may be there still after an earlier try, for lack of memory. */
	if (topic->snapshot && is_in(topic->snapshot, subscription) &&
	    snapshot_make(topic, &snapshot) == 0)
		snapshot_swap(topic, snapshot);
	unlock(topic);
	return queue_close(queue_of(subscription));
}

int
queue_topic_unsubscribe(struct queue_subscription *subscription)
{
	struct queue_subscription *ended;
	struct queue_topic *topic;

	if (!subscription)
		return 0;
	topic = details_of(subscription)->topic;
	(void)queue_subscription_close(subscription);
	/* Relaxed: queue_fini looks again, on the thread that frees it. */
	if (queue_impl_load_rlx(&queue_of(subscription)->waiting_to_pop) != 0)
		return -EBUSY;
	drain(subscription);
	lock(topic);
	details_of(subscription)->gone = true;
	ended = reclaim(topic);
	unlock(topic);
	end_all(topic, ended);
	return 0;
}

/* Publishes it was there for, as far as they are counted. */
static uint64_t
offered_to(const struct queue_topic *topic, const struct queue_subscription *subscription)
{
	const struct snapshot *snapshot;
	uint64_t offered;

	lock(topic);
	offered = details_of(subscription)->offered;
	if (topic->snapshot && is_in(topic->snapshot, subscription))
		offered += published_in(topic->snapshot);
	for (snapshot = topic->retired; snapshot; snapshot = snapshot->next)
		if (is_in(snapshot, subscription))
			offered += published_in(snapshot);
	unlock(topic);
	return offered;
}

/* What has been said once is true for ever. */
static uint64_t
never_less(uint64_t *told, uint64_t figure)
{
	uint64_t before = queue_impl_load_rlx(told); /* relaxed: a figure */

	while (figure > before)
		if (queue_impl_cas_acq_rel(told, &before, figure))
			return figure;
	return before;
}

int
queue_subscription_stats(const struct queue_subscription *subscription,
			 struct queue_subscription_stats *out)
{
	struct details *details = details_of(subscription);
	struct queue_stats *queue = &out->queue;
	uint64_t offered, decided;

	/*
	 * A publish is counted after its pushes, and looked at before them: so those counted, less
	 * what its queue has decided on, are never more than were turned away.
	 */
	offered = offered_to(details->topic, subscription);
	(void)queue_stats(queue_of(subscription), queue);
	out->delivered = queue->pushed;
	out->refused = queue->rejected + queue->discarded + queue->closed_rejected;
	out->evicted = queue->evicted;
	out->lag = queue->depth;
	decided = out->delivered + out->refused;
	out->filtered = 0;
	if (has_filter(&details->options))
		out->filtered = never_less(&details->filtered_told,
					   offered > decided ? offered - decided : 0);
	return 0;
}

/*
 * Publishing.
 */

/* A publish on its way through a snapshot. */
struct walk {
	struct snapshot *snapshot;
	struct queue_impl_reader *reader;
	bool pinned; /* outside of the epoch, by a pin */
	struct queue_delivery found;
};

/* Waits for room, with the snapshot held by a pin instead of by the epoch. */
static int
wait_for_room(struct walk *walk, struct queue_bounded *queue, struct queue_message *message)
{
	if (!walk->pinned) {
		(void)queue_impl_fetch_add_acq_rel(&walk->snapshot->pins, 1);
		queue_impl_epoch_leave(walk->reader);
		walk->pinned = true;
	}
	return queue_push_until(queue, message, QUEUE_NEVER);
}

/* A push that did not go in at once: what the policy says. */
static queue_impl_cold void
give_by_policy(struct walk *walk, struct queue_bounded *queue, struct queue_message *message,
	       int rc)
{
	struct queue_delivery *found = &walk->found;

	if (rc == -EAGAIN && queue->policy == QUEUE_BLOCK)
		rc = wait_for_room(walk, queue, message);
	else
		rc = queue_impl_push_refused(queue, message, rc);
	switch (rc) {
	case QUEUE_EVICTED:
		found->evicted++;
		/* fall through */
	case 0:
		found->taken++;
		break;
	case QUEUE_DISCARDED:
		found->discarded++;
		break;
	case -EPIPE:
		found->closed++;
		break;
	default:
		found->refused++;
	}
}

/* 1: taken at once; 0: it says in walk->found what came of it. */
static inline uint32_t
give(struct walk *walk, struct queue_bounded *queue, struct queue_message *message)
{
	int rc = queue_impl_push_once(queue, message);

	if (queue_impl_likely(rc == 0))
		return 1;
	give_by_policy(walk, queue, message, rc);
	return 0;
}

static bool
admits(const struct filter *filter, const struct queue_message *message, uint64_t tags)
{
	return (filter->any_of == 0 || (filter->any_of & tags) != 0) &&
	       (filter->all_of & ~tags) == 0 &&
	       (!filter->accepts || filter->accepts(message, filter->context));
}

/* A bit for each subscription of the group that may want a message with these tags. */
static uint64_t
candidates_of(const struct group *group, uint64_t tags)
{
	uint64_t candidates = group->always;

	for (; tags != 0; tags &= tags - 1)
		candidates |= group->tagged[__builtin_ctzll(tags)];
	return candidates;
}

/* Not the message's tags: after the last push it may be gone. */
static void
give_to_who_wants(struct walk *walk, struct queue_message *message, uint64_t tags)
{
	const struct snapshot *snapshot = walk->snapshot;
	uint32_t first, admitted = 0, taken = 0;

	for (first = 0; first < snapshot->count; first += GROUP) {
		uint64_t left = candidates_of(&snapshot->groups[first / GROUP], tags);

		for (; left != 0; left &= left - 1) {
			uint32_t number = first + (uint32_t)__builtin_ctzll(left);

			if (!admits(&snapshot->filters[number], message, tags))
				continue;
			admitted++;
			taken += give(walk, snapshot->queues[number], message);
		}
	}
	walk->found.taken += taken;
	walk->found.filtered = snapshot->count - admitted;
}

static void
count_publish(const struct walk *walk)
{
	uint64_t number = walk->reader ? walk->reader->number : 0;

	/* TOPIC4 release */
	(void)queue_impl_fetch_add_acq_rel(&walk->snapshot->stripes[number % STRIPES].published, 1);
}

/* From the queue with the number `first` on, whose push has answered rc. */
static void
give_to_the_rest(struct walk *walk, struct queue_message *message, uint32_t first, int rc)
{
	const struct snapshot *snapshot = walk->snapshot;
	uint32_t number;

	give_by_policy(walk, snapshot->queues[first], message, rc);
	for (number = first + 1; number < snapshot->count; number++)
		walk->found.taken += give(walk, snapshot->queues[number], message);
}

/* After the last look at the snapshot; where it was pinned, the topic may be gone from here on. */
static inline void
leave(const struct walk *walk)
{
	if (queue_impl_unlikely(walk->pinned))
		(void)queue_impl_fetch_add_acq_rel(&walk->snapshot->pins,
						   UINT64_MAX); /* TOPIC3 release */
	else
		queue_impl_epoch_leave(walk->reader);
}

/* What is done with the references that nobody has got. Returns what publish returns. */
static int
leave_and_conclude(const struct queue_topic *topic, const struct walk *walk,
		   struct queue_message *message)
{
	const struct queue_delivery *found = &walk->found;
	uint32_t references = walk->snapshot->count;
	uint32_t given = (uint32_t)(found->taken + found->discarded);
	bool closed = (queue_impl_load_acq(&topic->word) & CLOSED) != 0; /* TOPIC1 acquire */

	leave(walk);
	if (found->closed > 0 && given == 0 && closed) {
		release_many(message, references - 1);
		return -EPIPE;
	}
	release_many(message, references - given);
	return (int)found->taken;
}

/* A publish that has to look at filters, or where the push to queue number `taken` answered rc. */
static __attribute__((__noinline__)) int
publish_with_care(const struct queue_topic *topic, struct walk *walk, struct queue_message *message,
		  uint64_t tags, uint32_t taken, int rc)
{
	memset(&walk->found, 0, sizeof walk->found);
	walk->found.taken = taken;
	walk->pinned = false;
	if (walk->snapshot->filters) {
		give_to_who_wants(walk, message, tags);
		count_publish(walk);
	} else {
		give_to_the_rest(walk, message, taken, rc);
	}
	return leave_and_conclude(topic, walk, message);
}

/* Decides what needs no look at a subscription; 1: there may be some. */
static inline int
begin(const struct queue_topic *topic, struct queue_message *message, uint64_t tags)
{
	uint64_t word = queue_impl_load_acq(&topic->word); /* TOPIC1 acquire */

	if (word & CLOSED)
		return -EPIPE;
	if (!message || !set_tags(message, tags))
		return -EINVAL;
	if (word != 0)
		return 1;
	queue_message_release(message);
	return 0;
}

/* Fills walk->found only where not everybody takes it at once: *plain is false then. */
queue_impl_inline int
publish(struct queue_topic *topic, struct walk *walk, struct queue_message *message, uint64_t tags,
	bool *plain)
{
	struct snapshot *snapshot;
	uint32_t count, taken;
	uint64_t word;
	int rc = 0;

	*plain = true;
	walk->reader = queue_impl_epoch_enter();
	/* Again, inside: what it says now is not freed meanwhile. TOPIC1 acquire */
	word = queue_impl_load_acq(&topic->word);
	if (queue_impl_unlikely(word == 0 || (word & CLOSED))) {
		queue_impl_epoch_leave(walk->reader);
		if (word == 0)
			queue_message_release(message);
		return word == 0 ? 0 : -EPIPE;
	}
	snapshot = (struct snapshot *)(uintptr_t)word;
	count = snapshot->filters ? 0 : snapshot->count;
	/* As many references as there are queues: each push takes one along. */
	multiply(message, snapshot->count);
	for (taken = 0; taken < count; taken++) {
		rc = queue_impl_push_once(snapshot->queues[taken], message);
		if (queue_impl_unlikely(rc))
			break;
	}
	if (queue_impl_unlikely(taken < snapshot->count)) {
		walk->snapshot = snapshot;
		*plain = false;
		return publish_with_care(topic, walk, message, tags, taken, rc);
	}
	queue_impl_epoch_leave(walk->reader);
	return (int)taken;
}

int
queue_topic_publish_report(struct queue_topic *topic, struct queue_message *message, uint64_t tags,
			   struct queue_delivery *delivery)
{
	struct walk walk;
	bool plain = true;
	int rc = begin(topic, message, tags);

	if (rc > 0)
		rc = publish(topic, &walk, message, tags, &plain);
	if (rc < 0)
		return rc;
	if (plain)
		*delivery = (struct queue_delivery){.taken = (uint64_t)rc};
	else
		*delivery = walk.found;
	return rc;
}

/* Apart, so that a topic without subscriptions does not pay for its registers. */
static __attribute__((__noinline__)) int
publish_to_some(struct queue_topic *topic, struct queue_message *message, uint64_t tags)
{
	struct walk walk;
	bool plain;

	return publish(topic, &walk, message, tags, &plain);
}

int
queue_topic_publish(struct queue_topic *topic, struct queue_message *message, uint64_t tags)
{
	int rc = begin(topic, message, tags);

	return rc > 0 ? publish_to_some(topic, message, tags) : rc;
}
