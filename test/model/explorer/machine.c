/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies below the library, for programs under the explorer: the system calls that it makes, its
 * clock, its event descriptors and locks. There are no restartable sequences.
 */
#include "machine.h"

#include "eventfd_impl.h"
#include "explorer.h"
#include "rseq_impl.h"

#include <conveyor/clock.h>

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS_MAX 8

#define ARENA ((size_t)1 << 17)
#define LINE ((size_t)128)
#define OVERWRITTEN 32 /* words of what is given back */

/* futex_waitv(2), as lib/wait.c calls it. */
#define FUTEX_WAITV 449
struct awaited_futex {
	uint64_t expected;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

/* The one event descriptor there is. */
#define NUMBER 7
static uint64_t raised;

static _Alignas(LINE) unsigned char arena[ARENA];
static size_t used;

bool machine_has_barrier, machine_has_no_keys;

/* Instead of the C library's, all of these: only what the library uses. */
long
syscall(long number, ...)
{
	const struct awaited_futex *futexes;
	const uint32_t *word;
	long operation, value;
	va_list arguments;
	long rc = 0;

	va_start(arguments, number);
	if (number == SYS_futex) {
		word = va_arg(arguments, const uint32_t *);
		operation = va_arg(arguments, long) & ~FUTEX_PRIVATE_FLAG;
		value = va_arg(arguments, long);
		if (operation == FUTEX_WAIT_BITSET)
			explorer_futex_wait(word, (uint32_t)value);
		else
			rc = explorer_futex_wake(word, (int)value);
	} else if (number == FUTEX_WAITV) {
		futexes = va_arg(arguments, const struct awaited_futex *);
		explorer_assert(va_arg(arguments, int) == 1);
		explorer_futex_wait((const uint32_t *)(uintptr_t)futexes->address,
				    (uint32_t)futexes->expected);
	} else if (number == SYS_membarrier && machine_has_barrier) {
		if (va_arg(arguments, long) == MEMBARRIER_CMD_PRIVATE_EXPEDITED)
			explorer_membarrier();
	} else {
		rc = -1;
	}
	va_end(arguments);
	return rc;
}

/* Each of the explorer's threads has its own, though all of them are one of the system's. */
int *
__errno_location(void)
{
	static int numbers[THREADS_MAX];

	return &numbers[explorer_thread()];
}

int
pthread_once(pthread_once_t *once, void (*function)(void))
{
	(void)once;
	function();
	return 0;
}

int
pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
	(void)destroy;
	*key = 1;
	return machine_has_no_keys ? EAGAIN : 0;
}

int
pthread_setspecific(pthread_key_t key, const void *value)
{
	(void)key;
	(void)value;
	return 0;
}

/* A lock. 1: it is taken; 2: and waited for. It orders no more than it has to. */

int
pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
	(void)attributes;
	queue_impl_store32_rlx((uint32_t *)(void *)mutex, 0);
	return 0;
}

int
pthread_mutex_destroy(pthread_mutex_t *mutex)
{
	(void)mutex;
	return 0;
}

int
pthread_mutex_lock(pthread_mutex_t *mutex)
{
	uint32_t *word = (uint32_t *)(void *)mutex, nobody = 0;

	if (queue_impl_cas32_acq(word, &nobody, 1))
		return 0;
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
		explorer_futex_wait(word, 2);
	return 0;
}

int
pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	uint32_t *word = (uint32_t *)(void *)mutex;

	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
		(void)explorer_futex_wake(word, 1);
	return 0;
}

uint64_t
queue_now(void)
{
	return MACHINE_NOW - explorer_thread();
}

ptrdiff_t
queue_impl_rseq_area(void)
{
	return 0;
}

void
queue_impl_rseq_interrupt(void)
{
}

int
queue_impl_eventfd_open(void)
{
	return NUMBER;
}

void
queue_impl_eventfd_raise(int number)
{
	explorer_assert(number == NUMBER);
	/* The kernel has a lock, and nobody says that there is more. */
	(void)__atomic_fetch_add(&raised, 1, __ATOMIC_ACQ_REL);
}

uint64_t
queue_impl_eventfd_lower(int number)
{
	explorer_assert(number == NUMBER);
	return __atomic_exchange_n(&raised, 0, __ATOMIC_ACQ_REL);
}

void
queue_impl_eventfd_close(int number)
{
	(void)number;
}

bool
machine_is_readable(void)
{
	return __atomic_load_n(&raised, __ATOMIC_SEQ_CST) != 0;
}

static void *
allocate(void *context, size_t size, size_t alignment)
{
	void *memory = &arena[used];

	(void)context;
	explorer_assert(alignment <= LINE);
	used += (size + LINE - 1) / LINE * LINE;
	explorer_assert(used <= ARENA);
	return memory;
}

static void
overwrite(void *context, void *memory, size_t size, size_t alignment)
{
	uint64_t *words = (uint64_t *)memory;
	size_t i;

	(void)context;
	(void)alignment;
	for (i = 0; i < OVERWRITTEN && (i + 1) * sizeof *words <= size; i++)
		words[i] = 0x5a5a;
}

const struct queue_allocator machine_allocator = {.allocate = allocate, .release = overwrite};

void
machine_allocator_begin(void)
{
	used = 0;
}
