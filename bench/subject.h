/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_SUBJECT_H
#define BENCH_SUBJECT_H

/*
 * A subject is a queue that is measured: one of this library's or a peer. Each is described by a
 * small file in bench/adapters, which says how to push and to pop and includes body.h; that makes
 * the measured loops, with the push and the pop inlined, and the table below out of it. So all
 * subjects run the same loops.
 *
 * Items are words that are never 0, for some queues cannot store that.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a subject promises, beyond handing every item to one consumer. */
enum bench_trait {
	BENCH_FIFO = 1u << 0,	    /* one order for all: a queue in the strict sense */
	BENCH_IN_ORDER = 1u << 1,   /* at least each producer's items stay in order */
	BENCH_LOCK_FREE = 1u << 2,  /* a stopped thread keeps nobody from finishing */
	BENCH_BOUNDED = 1u << 3,    /* a push can say that it is full */
	BENCH_EXACT = 1u << 4,	    /* capacity N holds exactly N items, for any N */
	BENCH_CLOSES = 1u << 5,	    /* can be closed, and says so to who pops */
	BENCH_ANY_VALUE = 1u << 6,  /* stores any word, 0 included */
	BENCH_NO_SYSCALL = 1u << 7, /* neither push nor pop enters the kernel */
	BENCH_OWN = 1u << 8,	    /* this library's */
	BENCH_REFERENCE = 1u << 9   /* written for comparison, not a library's */
};

/* What a subject is made for. */
struct bench_shape {
	uint64_t capacity;
	unsigned producers;
	unsigned consumers;
};

#define BENCH_PRODUCERS_MAX 64

/* One thread's orders, and what came of them. */
struct bench_lane {
	/* orders */
	unsigned index;	      /* among the producers, or the consumers */
	unsigned batch;	      /* items per call; 1: single calls */
	unsigned payload;     /* bytes behind a pointer; 8: the item itself is the value */
	char *pool;	      /* a producer's messages, when payload is over 8 */
	uint64_t pool_mask;   /* how many, a power of two, less 1 */
	const uint32_t *stop; /* producers: no more; consumers: nothing comes any more */
	/* what came of them */
	uint64_t count;	   /* items */
	uint64_t sum;	   /* of their values */
	uint64_t refused;  /* tries that found it full (empty) */
	uint64_t disorder; /* items that came before an earlier one of their producer */
	uint64_t last[BENCH_PRODUCERS_MAX]; /* the last value from each producer */
};

struct bench_subject {
	const char *name;    /* for --only: ck_mpmc */
	const char *label;   /* for people: ck_ring, MPMC */
	const char *library; /* and version: Concurrency Kit 0.7.1 */
	const char *remark;  /* what must be known to read its figures, or NULL */
	unsigned traits;
	unsigned producers_max; /* 0: any number */
	unsigned consumers_max;

	/* 0 or negative errno; -EINVAL: cannot be had in this shape, -ENOSYS: not on this machine. */
	int (*open)(void **queue, const struct bench_shape *shape);
	void (*shut)(void *queue);
	/* Each thread calls these around its use; NULL when there is nothing to do. */
	void (*attach)(void *queue);
	void (*detach)(void *queue);

	/* Out of line. 0, or -EAGAIN: full (empty). */
	int (*push)(void *queue, void *item);
	int (*pop)(void *queue, void **item);
	/* As many as possible, returns how many; NULL when the subject has no such call. */
	ptrdiff_t (*push_n)(void *queue, void *const *items, ptrdiff_t n);
	ptrdiff_t (*pop_n)(void *queue, void **items, ptrdiff_t n);
	/* Wait for room (an item) in the kernel; NULL when the subject cannot. 0 when done. */
	int (*push_wait)(void *queue, void *item);
	int (*pop_wait)(void *queue, void **item);

	/* The measured loops, from body.h. */
	void (*produce)(void *queue, struct bench_lane *lane);
	void (*consume)(void *queue, struct bench_lane *lane);
	/* n times push and pop on one thread; the sum of what was popped, 0 after a refusal. */
	uint64_t (*pairs)(void *queue, uint64_t n);
	/* n polls of an empty queue; how many said that it is empty. */
	uint64_t (*polls)(void *queue, uint64_t n);

	struct bench_subject *next;
};

/* Called before main, by each adapter. */
void bench_register(struct bench_subject *subject);

/* All of them, this library's first, then by name; NULL ends the list. */
struct bench_subject *bench_subjects(void);

/* NULL when there is none of that name. */
struct bench_subject *bench_subject_named(const char *name);

/* Does the subject serve so many producers and consumers? */
bool bench_subject_serves(const struct bench_subject *subject, unsigned producers,
			  unsigned consumers);

#ifdef __cplusplus
}
#endif

#endif
