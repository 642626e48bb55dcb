/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_TOPIC_H
#define CONVEYOR_IMPL_TOPIC_H

/*
 * References, and popping a subscription, which is popping its queue. Not API; included by
 * conveyor/topic.h alone.
 */

queue_impl_inline void
queue_message_init(struct queue_message *message,
		   void (*release)(struct queue_message *message, void *context), void *context)
{
	message->tags = 0;
	message->release = release;
	message->context = context;
	message->published = 0;
	/* Relaxed: whoever gets the message gets it by something that orders. */
	queue_impl_store32_rlx(&message->references, 1);
}

queue_impl_inline void
queue_message_retain(struct queue_message *message)
{
	(void)queue_impl_fetch_add32_acq_rel(&message->references, 1);
}

queue_impl_inline void
queue_message_release(struct queue_message *message)
{
	/* The last one needs no locked instruction: nobody is left to add to it. */
	if (queue_impl_load32_acq(&message->references) != 1 && /* TOPIC2 acquire */
	    queue_impl_fetch_add32_acq_rel(&message->references, UINT32_MAX) !=
		    1) /* TOPIC2 acquire and release */
		return;
	if (message->release)
		message->release(message, message->context);
}

queue_impl_inline uint64_t
queue_message_tags(const struct queue_message *message)
{
	return message->tags;
}

/* A subscription is its queue, and more that lies behind it: see lib/topic.c. */
queue_impl_inline struct queue_bounded *
queue_subscription_queue(const struct queue_subscription *subscription)
{
	return (struct queue_bounded *)(uintptr_t)subscription;
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
