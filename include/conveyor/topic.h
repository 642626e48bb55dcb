/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TOPIC_H
#define CONVEYOR_TOPIC_H

/*
 * queue_topic: publish once, and every subscription that wants the message gets it, in a bounded
 * queue of its own with a policy of its own. See queue_topic(3).
 *
 * Progress.     publish is lock-free but for subscriptions with QUEUE_BLOCK, where it waits as
 *               queue_push does; so are the calls on a subscription, as those on its queue are.
 *               subscribe, unsubscribe, close and the topic's statistics take a lock that publish
 *               never takes.
 * Concurrency.                publish  pop  unsubscribe  close, stats  subscribe  create, destroy
 *               publish          -      -        -            -            -            X
 *               pop              -      -        +            -            -            X
 *               unsubscribe      -      +        +            +            -            X
 *               close, stats     -      -        +            -            -            X
 *               subscribe        -      -        -            -            -            X
 *               X = keep them apart; + = likewise, but on the same subscription only.
 * Invariants.   I1  A message whose publish returned 0 or more is released exactly once, by the
 *                   last of those who got it, or by publish when nobody did.
 *               I2  A subscription gets the messages of one publisher in the order of publishing,
 *                   and each that is published after subscribe returned and before unsubscribe (or
 *                   close) was called, but for those that its filter or its policy turns away.
 *               I3  delivered + filtered + refused == publishes it was there for, at rest.
 * Ordering.     Those of queue_bounded, and
 *               TOPIC1  subscribe: subscription -> publish: uses it      via snapshot
 *               TOPIC2  holder: last use, release -> message's release   via references
 *               TOPIC3  publish: last use of a snapshot -> its end       via pins
 *               TOPIC4  publish: pushes -> statistics: queue's figures   via published
 *               EPOCH1, EPOCH2: see lib/epoch_impl.h
 */
#include <conveyor/alloc.h>
#include <conveyor/queue.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opaque, but for its size: embed it in what is published, use the functions. */
struct queue_message {
	uint64_t tags; /* what filters look at; read it with queue_message_tags */
	void (*release)(struct queue_message *message, void *context);
	void *context;
	uint32_t references;
	uint32_t published; /* it has tags */
};

/*
 * One reference, the caller's. release(message, context) is called once, by whoever lets go last,
 * on that thread and with nothing locked; NULL is for messages that nobody frees.
 */
static inline void queue_message_init(struct queue_message *message,
				      void (*release)(struct queue_message *message, void *context),
				      void *context);

/* One more reference, for who has one already. */
static inline void queue_message_retain(struct queue_message *message);

/* Lets go of one reference; the last one runs the message's release. */
static inline void queue_message_release(struct queue_message *message);

/* What it was last published with. */
static inline uint64_t queue_message_tags(const struct queue_message *message);

struct queue_topic;
struct queue_subscription;

/* All zero is the default. */
struct queue_topic_options {
	const struct queue_allocator *allocator; /* also of subscriptions; NULL: libc's */
};

/* All zero is the default, but for the capacity, which must be given. */
struct queue_subscription_options {
	uint64_t capacity;	  /* messages */
	enum queue_policy policy; /* ABORT, BLOCK, DISCARD or DISCARD_OLDEST */
	unsigned flags;		  /* QUEUE_SINGLE_CONSUMER or 0 */

	/* The filter, which is asked before anything is queued: all of these must hold. */
	uint64_t any_of; /* at least one of these tags; 0: no matter */
	uint64_t all_of; /* each of these tags */
	/* Called by publish; must not wait. NULL: no matter. */
	bool (*accepts)(const struct queue_message *message, void *context);

	/*
	 * Told of each message that was taken or discarded and does not reach a consumer, on the
	 * thread that caused it, before that reference is released; must not release it. NULL: not
	 * told.
	 */
	void (*on_drop)(struct queue_message *message, enum queue_reason reason, void *context);
	/*
	 * Told once when the subscription has ended and neither of the two will be called again:
	 * publishes that began before unsubscribe may still do so after it. NULL: not told.
	 */
	void (*on_end)(void *context);
	void *context; /* for these three */
};

/* What came of one publish. */
struct queue_delivery {
	uint64_t taken;	   /* subscriptions that took it; what publish returns */
	uint64_t filtered; /* that do not want it */
	uint64_t refused;  /* that were full: QUEUE_ABORT, and QUEUE_BLOCK when it could not wait */
	uint64_t discarded; /* that were full: QUEUE_DISCARD */
	uint64_t evicted;   /* of those that took it, with the loss of an older one */
	uint64_t closed;    /* that ended meanwhile */
};

/* Counters count since subscribe and never go back. */
struct queue_subscription_stats {
	uint64_t delivered; /* messages that went into its queue */
	uint64_t filtered;  /* publishes that its filter turned away */
	uint64_t refused;   /* that its policy, or its end, turned away */
	uint64_t evicted;   /* of those delivered, dropped again to make room */
	uint64_t lag;	    /* messages that are there and have not been popped */
	struct queue_stats queue;
};

struct queue_topic_stats {
	uint64_t subscriptions; /* at the moment */
	uint64_t retired;	/* ended ones whose memory is kept for publishers still inside */
	int closed;
};

/* Makes a topic without subscriptions. options: NULL is all defaults. -EINVAL, -ENOMEM. */
int queue_topic_create(struct queue_topic **out, const struct queue_topic_options *options);

/*
 * Frees the topic and, as unsubscribe does, the subscriptions left. -EBUSY, and nothing is done,
 * while a thread waits inside a publish or a pop. NULL is allowed.
 */
int queue_topic_destroy(struct queue_topic *topic);

/*
 * *out gets every message published from now on that its filter admits; it is written before the
 * first one comes. -EINVAL, -ENOMEM; -EPIPE: the topic is closed.
 */
int queue_topic_subscribe(struct queue_topic *topic,
			  const struct queue_subscription_options *options,
			  struct queue_subscription **out);

/*
 * Nothing comes any more; what is inside can still be popped, then pops return -EPIPE. For
 * consumers that are to take what is left before unsubscribe. Never waits. Returns 0.
 */
int queue_subscription_close(struct queue_subscription *subscription);

/*
 * Ends the subscription: nothing comes any more, what was not popped goes to on_drop
 * (QUEUE_DESTROYED) and is released, the subscription is gone. -EBUSY, while a thread waits in a
 * pop of it: nothing comes any more, the waiting pops return -EPIPE, try again. NULL is allowed.
 */
int queue_topic_unsubscribe(struct queue_subscription *subscription);

/*
 * Gives the message to every subscription that wants it. Returns how many took it; the caller's
 * reference is used up then, even if that was nobody. -EPIPE: closed, and nobody got it; -EINVAL:
 * published before with other tags, and others still hold it. In these two the reference is still
 * the caller's. The first publish of a message is to be kept apart from other ones of it.
 */
int queue_topic_publish(struct queue_topic *topic, struct queue_message *message, uint64_t tags);

/* The same, and says what the subscriptions did; *delivery is written unless it fails. */
int queue_topic_publish_report(struct queue_topic *topic, struct queue_message *message,
			       uint64_t tags, struct queue_delivery *delivery);

/*
 * Publishes answer -EPIPE from now on, subscriptions are closed: what is inside can be popped.
 * Never waits for publishers or consumers; may be repeated. Returns 0.
 */
int queue_topic_close(struct queue_topic *topic);

/* The oldest message; it comes with a reference. Otherwise as queue_pop and its kin. */
static inline int queue_topic_pop(struct queue_subscription *subscription,
				  struct queue_message **message);
static inline int queue_topic_try_pop(struct queue_subscription *subscription,
				      struct queue_message **message);
static inline int queue_topic_pop_until(struct queue_subscription *subscription,
					struct queue_message **message, uint64_t deadline);
static inline int queue_topic_pop_n(struct queue_subscription *subscription,
				    struct queue_message **messages, int n);
static inline int queue_topic_try_pop_n(struct queue_subscription *subscription,
					struct queue_message **messages, int n);

/*
 * The queue that the subscription is popped from, for queue_fd, queue_select and queue_pool; its
 * items are messages. Only to pop and to look at: pushing, closing and ending it is the topic's.
 */
static inline struct queue_bounded *queue_subscription_queue(
	const struct queue_subscription *subscription);

/* Fills *out. Each figure is right on its own; together they agree at rest. Returns 0. */
int queue_subscription_stats(const struct queue_subscription *subscription,
			     struct queue_subscription_stats *out);
int queue_topic_stats(const struct queue_topic *topic, struct queue_topic_stats *out);

/* Inline bodies. Not API. */
#include <conveyor/impl/topic.h>

#ifdef __cplusplus
}
#endif

#endif
