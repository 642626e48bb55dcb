/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_PROGRESS_STAGE_H
#define CONVEYOR_TEST_PROGRESS_STAGE_H

/*
 * The process that is traced: a victim, which makes one call at a time and is stopped in it, and
 * others, which use the same object meanwhile. It tells and is told everything through the board,
 * which lies in memory that it shares with the tracer.
 *
 *   victim                      tracer                            the others
 *   READY: trap                 writes the scene
 *   opens the object, has it
 *   filled; BEGIN: trap                                           enter
 *   the call: stopped           orders the traffic, waits         10,000 pushes and pops
 *   the rest of the call        lets go
 *   END: trap
 *   everybody out, judges                                         leave
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* It steps through code of x86-64, as the compiler has made it. */
#if defined __x86_64__ && !defined __SANITIZE_THREAD__ && !defined __SANITIZE_ADDRESS__
#define STOPS_HERE 1
#if defined __has_feature
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#undef STOPS_HERE
#endif
#endif
#endif

#define OTHERS 2u
#define VICTIM OTHERS	 /* the third number */
#define TRAFFIC 10000u	 /* pushes, and as many pops, of the others together, at most */
#define EACH_CALLS 100u	 /* and so many tries at least of each of them */
#define BULK 3		 /* items that push_n and pop_n are asked for */
#define STOPS_A_CALL 128 /* at most, of one that only reads; of others 1 */
#define IN_VAIN 100000u	 /* tries without anybody's success: stuck */

/* Which side of the queue a call belongs to, for objects that have one thread a side. */
enum side {
	PUSHES,
	POPS,
	CLOSES,
	LOOKS
};

enum duty {
	MUST_NOT_BLOCK, /* this library's */
	MAY_BLOCK,	/* a peer */
	MUST_BLOCK /* one that is known to: should it not be seen, this test is worth nothing */
};

struct operation {
	const char *name; /* NULL ends the table */
	enum side side;
	void (*act)(void);
	bool only_reads; /* writes nothing, so that it can be stopped several times */
};

struct bench_subject;

struct object {
	const char *name; /* for --only */
	enum duty duty;
	unsigned flags;
	const struct bench_subject *subject; /* a peer's */
	const struct operation *operations;
	unsigned producers_max, consumers_max; /* 0: any number */
	const char *const *variants;	       /* how it is made ready; NULL ends them */
	bool is_unbounded;		       /* is never seen full */
	bool may_disorder;
	bool enters_kernel; /* in its calls */
	/*
	 * By the victim; -EINVAL: there is none of this capacity. `scene` is on the board.
	 */
	int (*open)(void);
	void (*shut)(void);
	/* By each thread, before and after; NULL: nothing to do. */
	void (*attach)(void);
	void (*detach)(void);
	/* By the thread with this number: part of making it ready. */
	void (*prepare)(unsigned self);
	/* What the others do. */
	void (*traffic)(unsigned self);
	/* By the victim, alone: takes what is left, and says through fail() what is not right. */
	void (*judge)(void);
};

struct scene {
	const struct object *object;
	const struct operation *operation;
	uint64_t capacity;
	uint64_t inside; /* items, when the victim begins */
	unsigned variant;
};

enum phase {
	READY,
	BEGIN,
	END
};

enum order {
	ENTER,
	GO,
	LEAVE
};

/* One of the others; written by it alone. */
struct lane {
	uint64_t pushed, popped; /* successes */
	uint64_t full, empty;	 /* refusals */
	uint64_t calls;
	/* IN_VAIN tries, and nobody got anything done: one more than what all had by then; 0: no */
	uint64_t stuck_at;
	uint32_t tid;
} __attribute__((aligned(128)));

struct board {
	/* the tracer */
	struct scene scene;
	uint32_t give_up;    /* the others are blocked: they need not go on when they can */
	uint32_t traffic;    /* how many pushes, and pops, they are to do this time */
	uint32_t in_company; /* they have one processor between them, and take turns */
	/* the victim */
	uint32_t phase; /* enum phase */
	int32_t absent; /* open's answer */
	/* who orders: the victim, and the tracer while the victim is stopped */
	uint32_t order;	   /* enum order */
	uint32_t round;	   /* a futex: there is a new order */
	uint32_t finished; /* a futex: how many of the others have done it */
	/* the others */
	struct lane lanes[OTHERS];
	/* whoever is first */
	uint32_t failures;
	char failure[256];
};

extern struct board *board;

/* In the traced process: never returns. */
_Noreturn void stage_run(void);

/* From any of its threads: what is wrong. The first is kept. */
void fail(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
#define require(condition, ...) ((condition) ? (void)0 : fail(__VA_ARGS__))

/* Has everybody else do what is ordered; does not wait. */
void order_others(enum order order);
/* Until they have done it. False: that long, in milliseconds, has passed; 0: for ever. */
bool await_others(unsigned milliseconds);

/* A thread's successful push, pop, and so on: for its lane. */
void lane_add(uint64_t *counter);
/* A try: now and then it is another's turn. */
void lane_call(struct lane *lane);
/* The pushes and pops of all of them. */
uint64_t successes(void);
/* Have the others had all that they are to have? `flows`: items can go in and out. */
bool is_enough(unsigned self, bool flows);
/* After a call that got nothing done. False: give up. */
bool go_on_in_vain(unsigned self, uint64_t *tries, uint64_t *seen);

/* ---- The objects ----------------------------------------------------------------------------- */

/* All of them, NULL at the end. */
const struct object *const *objects(void);

extern const struct object ring_objects[], queue_objects[], bucket_objects[], call_objects[];

/*
 * What all queues have in common: items that are numbered, traffic, and whether each item came out
 * once and in order. A queue gives its push and pop, and the victim's calls note what they got.
 */
struct line {
	int (*push)(void *item); /* 0; -EAGAIN: full; -EPIPE: closed */
	int (*pop)(void **item);
};

/* What the victim's call answered. Items: what it pushes, or what it has popped. */
struct outcome {
	ptrdiff_t rc;
	void *items[BULK];
};

extern struct outcome outcome;

/* Forgets all items. Called by open. */
void line_open(const struct line *line);
/* A thread's next item, and what became of it. */
void *line_item(unsigned self);
void line_pushed(const void *item);
void line_popped(unsigned self, const void *item);
/* Pushes what is to be inside, after a push and a pop. */
void line_fill(unsigned self);
void line_cycle(unsigned self);
void line_traffic(unsigned self);
void line_judge(void);
/* The number of an item, counted over all threads, and how many there can be. */
size_t line_index(const void *item);
#define LINE_ITEMS ((OTHERS + 1) * (size_t)200000)

#endif
