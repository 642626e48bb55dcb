/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_ITEM_H
#define BENCH_ITEM_H

/*
 * What the measured loops push: a value that names its producer and its place in the producer's
 * sequence, or a pointer to a message that begins with such a value. Included in C and in C++.
 */
#include "subject.h"

#include <sched.h>
#include <string.h>

#define BENCH_BATCH_MAX 256
#define BENCH_PAYLOAD_MAX 1500
#define BENCH_POLLS_PER_YIELD 64

/* A message. The producer that owns it may write it again when the consumer has given it back. */
struct bench_message {
	uint64_t value;
	uint32_t busy;
	unsigned char bytes[BENCH_PAYLOAD_MAX - 12]; /* as many as the payload has */
};

/* How far messages lie apart in a producer's pool: whole lines. */
static inline size_t
bench_stride(unsigned payload)
{
	return (payload + 63u) / 64u * 64u;
}

static inline bool
bench_told(const uint32_t *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE) != 0;
}

static inline void
bench_pause(void)
{
#if defined __x86_64__
	__asm__ __volatile__("pause" : : : "memory");
#else
	__asm__ __volatile__("isb" : : : "memory");
#endif
}

/* After a try that failed. The caller counts from 0 after each that did not. */
static inline void
bench_pace(unsigned *tries)
{
	bench_pause();
	if (++*tries % BENCH_POLLS_PER_YIELD == 0)
		sched_yield();
}

/* Never 0. 24 bits of producer, 40 of sequence. */
static inline uint64_t
bench_value(unsigned producer, uint64_t sequence)
{
	return (uint64_t)(producer + 1) << 40 | (sequence + 1);
}

static inline unsigned
bench_producer_of(uint64_t value)
{
	return (unsigned)(value >> 40) - 1;
}

/*
 * The item for a value: itself, or one of the producer's messages, filled; NULL when the order to
 * stop came while no message was free.
 */
static inline void *
bench_wrap(struct bench_lane *lane, uint64_t sequence, uint64_t value)
{
	struct bench_message *message;
	unsigned tries = 0;

	if (lane->payload <= sizeof value)
		return (void *)(uintptr_t)value;
	message =
		(struct bench_message *)(void *)(lane->pool + (sequence & lane->pool_mask) *
								      bench_stride(lane->payload));
	while (__atomic_load_n(&message->busy, __ATOMIC_ACQUIRE)) {
		if (bench_told(lane->stop))
			return NULL;
		bench_pace(&tries);
	}
	message->value = value;
	memset(message->bytes, (int)(unsigned char)value, lane->payload - 12);
	__atomic_store_n(&message->busy, 1, __ATOMIC_RELAXED);
	return message;
}

static inline void
bench_unwrap_unused(struct bench_lane *lane, void *item)
{
	if (lane->payload > sizeof(uint64_t))
		__atomic_store_n(&((struct bench_message *)item)->busy, 0, __ATOMIC_RELAXED);
}

/* The value of an item that was popped, checked: its producer's order, its message's bytes. */
static inline uint64_t
bench_unwrap(struct bench_lane *lane, void *item)
{
	uint64_t value = (uint64_t)(uintptr_t)item;
	unsigned producer;

	if (lane->payload > sizeof value) {
		struct bench_message *message = (struct bench_message *)item;
		unsigned i, wrong = 0;

		value = message->value;
		for (i = 0; i < lane->payload - 12; i++)
			wrong |= message->bytes[i] ^ (unsigned char)value;
		if (wrong)
			value = 0; /* the sums will not agree */
		__atomic_store_n(&message->busy, 0, __ATOMIC_RELEASE);
	}
	producer = bench_producer_of(value) % BENCH_PRODUCERS_MAX;
	lane->disorder += value <= lane->last[producer];
	lane->last[producer] = value;
	return value;
}

#endif
