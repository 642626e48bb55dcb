/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_CLOCK_H
#define CONVEYOR_CLOCK_H

/*
 * Time. Every deadline in the library is an absolute CLOCK_MONOTONIC time in nanoseconds.
 *
 * Progress.     Wait-free. Callable from any thread, from signal handlers and after fork.
 */
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A deadline that never comes. */
#define QUEUE_NEVER UINT64_MAX

/* Nanoseconds per unit, for building deadlines and periods. */
#define QUEUE_SECOND UINT64_C(1000000000)
#define QUEUE_MILLISECOND UINT64_C(1000000)
#define QUEUE_MICROSECOND UINT64_C(1000)

/*
 * A clock that an object reads instead of CLOCK_MONOTONIC, for tests and simulations. It answers
 * in nanoseconds, may be called from any thread at any time and must not go backwards.
 */
typedef uint64_t queue_clock_fn(void *context);

/* The time now. */
uint64_t queue_now(void);

/* The time `milliseconds` from now; QUEUE_NEVER where the sum would overflow. */
uint64_t queue_after_ms(uint64_t milliseconds);

#ifdef __cplusplus
}
#endif

#endif
