/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_EXPLORER_H
#define MODEL_EXPLORER_H

/*
 * What programs under the explorer may call besides pthread_create, pthread_join and assert. What
 * the explorer is, and what it does not see, is said in explorer.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Adds one line to the set of ways in which the program can end. */
void explorer_outcome(const char *text);

/* One of n, each tried. */
unsigned explorer_choose(unsigned n);

/* Names what lies at an address, for traces. */
void explorer_name(const void *address, const char *name);

/* A variable that each thread has its own of; zero at first. */
void explorer_thread_local(void *address, size_t size);

/* Are read-modify-writes full fences? See explorer.c. */
extern bool explorer_locked;

/* The number of the calling thread; 0 is main. */
unsigned explorer_thread(void);

/* False, and the program failed, when what is said here must not happen. */
#define explorer_assert(condition)                                                                 \
	((condition) ? (void)0 : explorer_fail("assertion failed: " #condition))
void explorer_fail(const char *what);

/*
 * Swaps 16 bytes, as one step that sees the latest of both halves; the order is an __ATOMIC_ one.
 */
bool explorer_cas_pair(void *pair, uint64_t low, uint64_t high, uint64_t new_low, uint64_t new_high,
		       int order);

/*
 * Restartable sequences, each one step: nothing comes between what it reads and its store. Once in
 * each thread it is tried what comes after an interruption.
 */
bool explorer_rseq_store_pair(const uint64_t *guard, uint64_t expected, void *pair, uint64_t low,
			      uint64_t high);
bool explorer_rseq_move(const uint64_t *owner, uint64_t self, uint64_t *word, uint64_t from,
			uint64_t to);

/* membarrier(2): a full fence in every thread, and the end of all sequences. */
void explorer_membarrier(void);

/* futex(2). A waiter that nobody wakes makes a deadlock. */
void explorer_futex_wait(const uint32_t *word, uint32_t expected);
int explorer_futex_wake(const uint32_t *word, int n);

/*
 * A program that takes arguments has these two of its own: what --help says of them, and a check that
 * comes before all executions, and ends in a refusal if one is not right.
 */
extern const char program_usage[];
void program_check(void);

/* An argument; NULL: there are not so many. */
const char *explorer_argument(int i);

/* For such checks: the program ends, with a message, if it is not so. */
void explorer_need_number(int i, const char *name, unsigned least, unsigned most); /* a digit */
void explorer_need_word(int i, const char *name, const char *const *words);
/* "fence" or "barrier", for whether there is membarrier(2), and some of the letters. */
void explorer_need_world(int i, const char *letters);
/* A letter for each call. */
void explorer_need_calls(int i, const char *name, const char *letters, unsigned most);
void explorer_need_no_more(int n);
__attribute__((__noreturn__, __format__(__printf__, 1, 2))) void explorer_refuse(const char *format,
										 ...);

#endif
