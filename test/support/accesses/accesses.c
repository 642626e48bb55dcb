/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What code compiled with -fsanitize=thread calls, for programs that are linked without the
 * sanitizer: each access to memory is a point to be stopped at (preempt.h), just before it is made.
 * Plain accesses are announced by a call; atomic ones are made by the call. Compilers know these
 * functions by type, so here they have names of their own, and the symbols' names besides.
 */
#include "../preempt.h"

#include <stdint.h>

#define ANNOUNCED(name)                                                                            \
	void name(const volatile void *address) __asm__("__tsan_" #name);                          \
	void name(const volatile void *address)                                                    \
	{                                                                                          \
		(void)address;                                                                     \
		preempt_point();                                                                   \
	}

ANNOUNCED(read1)
ANNOUNCED(read2)
ANNOUNCED(read4)
ANNOUNCED(read8)
ANNOUNCED(read16)
ANNOUNCED(write1)
ANNOUNCED(write2)
ANNOUNCED(write4)
ANNOUNCED(write8)
ANNOUNCED(write16)

/* impl/atomic.h says these around its swap of a pair. */
ANNOUNCED(acquire)
ANNOUNCED(release)

void read_range(const volatile void *address, uint64_t size) __asm__("__tsan_read_range");
void write_range(const volatile void *address, uint64_t size) __asm__("__tsan_write_range");

void
read_range(const volatile void *address, uint64_t size)
{
	(void)address;
	(void)size;
	preempt_point();
}

void
write_range(const volatile void *address, uint64_t size)
{
	(void)address;
	(void)size;
	preempt_point();
}

/* The orders are the caller's at most; all is done in one total order here. */
#define ATOMIC(bits)                                                                               \
	uint##bits##_t load##bits(const volatile uint##bits##_t *word,                             \
				  int order) __asm__("__tsan_atomic" #bits "_load");               \
	void store##bits(volatile uint##bits##_t *word, uint##bits##_t value,                      \
			 int order) __asm__("__tsan_atomic" #bits "_store");                       \
	uint##bits##_t exchange##bits(volatile uint##bits##_t *word, uint##bits##_t value,         \
				      int order) __asm__("__tsan_atomic" #bits "_exchange");       \
	uint##bits##_t fetch_add##bits(volatile uint##bits##_t *word, uint##bits##_t value,        \
				       int order) __asm__("__tsan_atomic" #bits "_fetch_add");     \
	int compare_exchange##bits(volatile uint##bits##_t *word, uint##bits##_t *expected,        \
				   uint##bits##_t desired, int order,                              \
				   int otherwise) __asm__("__tsan_atomic" #bits                    \
							  "_compare_exchange_strong");             \
	int compare_exchange_weak##bits(                                                           \
		volatile uint##bits##_t *word, uint##bits##_t *expected, uint##bits##_t desired,   \
		int order, int otherwise) __asm__("__tsan_atomic" #bits "_compare_exchange_weak"); \
	uint##bits##_t compare_exchange_value##bits(                                               \
		volatile uint##bits##_t *word, uint##bits##_t expected, uint##bits##_t desired,    \
		int order, int otherwise) __asm__("__tsan_atomic" #bits "_compare_exchange_val");  \
                                                                                                   \
	uint##bits##_t load##bits(const volatile uint##bits##_t *word, int order)                  \
	{                                                                                          \
		(void)order;                                                                       \
		preempt_point();                                                                   \
		return __atomic_load_n(word, __ATOMIC_ACQUIRE);                                    \
	}                                                                                          \
	void store##bits(volatile uint##bits##_t *word, uint##bits##_t value, int order)           \
	{                                                                                          \
		(void)order;                                                                       \
		preempt_point();                                                                   \
		__atomic_store_n(word, value, __ATOMIC_RELEASE);                                   \
	}                                                                                          \
	uint##bits##_t exchange##bits(volatile uint##bits##_t *word, uint##bits##_t value,         \
				      int order)                                                   \
	{                                                                                          \
		(void)order;                                                                       \
		preempt_point();                                                                   \
		return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);                         \
	}                                                                                          \
	uint##bits##_t fetch_add##bits(volatile uint##bits##_t *word, uint##bits##_t value,        \
				       int order)                                                  \
	{                                                                                          \
		(void)order;                                                                       \
		preempt_point();                                                                   \
		return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);                          \
	}                                                                                          \
	int compare_exchange##bits(volatile uint##bits##_t *word, uint##bits##_t *expected,        \
				   uint##bits##_t desired, int order, int otherwise)               \
	{                                                                                          \
		(void)order;                                                                       \
		(void)otherwise;                                                                   \
		preempt_point();                                                                   \
		return __atomic_compare_exchange_n(word, expected, desired, 0, __ATOMIC_SEQ_CST,   \
						   __ATOMIC_SEQ_CST);                              \
	}                                                                                          \
	int compare_exchange_weak##bits(volatile uint##bits##_t *word, uint##bits##_t *expected,   \
					uint##bits##_t desired, int order, int otherwise)          \
	{                                                                                          \
		return compare_exchange##bits(word, expected, desired, order, otherwise);          \
	}                                                                                          \
	uint##bits##_t compare_exchange_value##bits(                                               \
		volatile uint##bits##_t *word, uint##bits##_t expected, uint##bits##_t desired,    \
		int order, int otherwise)                                                          \
	{                                                                                          \
		(void)compare_exchange##bits(word, &expected, desired, order, otherwise);          \
		return expected;                                                                   \
	}

ATOMIC(32)
ATOMIC(64)

/* What else there is to be called says nothing of memory. */
void function_entry(void *caller) __asm__("__tsan_func_entry");
void function_exit(void) __asm__("__tsan_func_exit");
void initialize(void) __asm__("__tsan_init");

void
function_entry(void *caller)
{
	(void)caller;
}

void
function_exit(void)
{
}

void
initialize(void)
{
}
