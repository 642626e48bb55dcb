/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_EVENTFD_IMPL_H
#define CONVEYOR_LIB_EVENTFD_IMPL_H

/*
 * The system calls of an eventfd(2). None of them touches errno or is a cancellation point, as the
 * functions of the C library are.
 */
#include <stdint.h>

/* One that does not block and is closed by exec. -EAGAIN: there are no more descriptors; -ENOMEM. */
int queue_impl_eventfd_open(void);

/* Makes it readable. */
void queue_impl_eventfd_raise(int number);

/* Makes it unreadable. Returns how many times it was raised since the last time. */
uint64_t queue_impl_eventfd_lower(int number);

void queue_impl_eventfd_close(int number);

#endif
