/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_FAULT_H
#define CONVEYOR_TEST_FAULT_H

/*
 * What the fault tests share: an allocator that fails when it is told to and knows what was not
 * given back, a way to see that a thread sleeps, and children that end.
 */
#include <conveyor/alloc.h>
#include <conveyor/clock.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

struct fault_block;

/*
 * What it gives is full of rubbish, and is so again when it comes back. It must outlive all that
 * was made with it.
 */
struct fault_allocator {
	struct queue_allocator allocator;
	uint64_t fail_at; /* the call that fails, from 1 on; 0: none does */
	bool for_good;	  /* and each one after it */
	uint64_t calls;
	uint64_t failed;
	uint64_t blocks; /* that have not come back */
	uint64_t bytes;
	uint64_t wrong; /* what came back with another size or alignment, twice, or is not ours */
	pthread_mutex_t lock;
	struct fault_block *first;
};

void fault_init(struct fault_allocator *fault);

/* From here on: counts calls from 1 again. */
void fault_set(struct fault_allocator *fault, uint64_t fail_at, bool for_good);

/* Everything came back, each with its size. */
bool fault_is_balanced(const struct fault_allocator *fault);

/* Threads of this process, those of a sanitizer included. */
int fault_threads(void);

/* Waits up to half a minute until no more than n are left: one that is joined may be seen a while. */
bool fault_threads_return_to(int n);

/* Is the thread with this number asleep in the kernel? */
bool fault_is_asleep(pid_t thread);

/*
 * fork(2), for a child that cannot last: a signal ends it after a minute. The parent waits for it
 * by fault_reap, which says whether it has ended by _exit(0).
 */
pid_t fault_fork(void);
bool fault_reap(pid_t child);

/* The name of a directory that is not there yet; takes it away, with the files in it, if it is. */
#define FAULT_PATH 64
void fault_make_path(char path[FAULT_PATH]);
void fault_remove_directory(const char *path);

/*
 * From here on membarrier(2) answers this process that it is not allowed. False in an emulator, which
 * has no filters.
 */
bool fault_refuse_membarrier(void);

/* Waits for what other threads are about to do; false after half a minute. */
#define FAULT_EVENTUALLY(condition)                                                                \
	__extension__({                                                                            \
		uint64_t fault_give_up = queue_after_ms(30000);                                    \
		bool fault_is_so;                                                                  \
                                                                                                   \
		while (!(fault_is_so = (condition)) && queue_now() < fault_give_up)                \
			usleep(100);                                                               \
		fault_is_so;                                                                       \
	})

#endif
