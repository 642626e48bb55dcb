/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_TOPIC_H
#define CONVEYOR_IMPL_TOPIC_H

/*
 * Popping a subscription is popping its queue. Not API; included by conveyor/topic.h alone.
 */

/* What every subscription begins with; the rest is in lib/topic.c. */
struct queue_impl_subscription {
	struct queue_bounded *queue;
};

queue_impl_inline struct queue_bounded *
queue_subscription_queue(const struct queue_subscription *subscription)
{
	return ((const struct queue_impl_subscription *)(const void *)subscription)->queue;
}

QUEUE_TYPED(queue_impl_messages, struct queue_message *)

queue_impl_inline int
queue_topic_pop(struct queue_subscription *subscription, struct queue_message **message)
{
	return queue_impl_messages_pop(queue_subscription_queue(subscription), message);
}

queue_impl_inline int
queue_topic_try_pop(struct queue_subscription *subscription, struct queue_message **message)
{
	return queue_impl_messages_try_pop(queue_subscription_queue(subscription), message);
}

queue_impl_inline int
queue_topic_pop_until(struct queue_subscription *subscription, struct queue_message **message,
		      uint64_t deadline)
{
	return queue_impl_messages_pop_until(queue_subscription_queue(subscription), message,
					     deadline);
}

queue_impl_inline int
queue_topic_pop_n(struct queue_subscription *subscription, struct queue_message **messages, int n)
{
	return queue_impl_messages_pop_n(queue_subscription_queue(subscription), messages, n);
}

queue_impl_inline int
queue_topic_try_pop_n(struct queue_subscription *subscription, struct queue_message **messages,
		      int n)
{
	return queue_impl_messages_try_pop_n(queue_subscription_queue(subscription), messages, n);
}

#endif
