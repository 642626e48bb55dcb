/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef RSEQ_IMPL_H
#define RSEQ_IMPL_H

/* What restartable sequences (impl/atomic.h) need of the system. */
#include <stddef.h>

/*
 * Where, as seen from the thread pointer, threads have their area; 0 when this system, or this
 * build, has none, or lacks the membarrier(2) that goes with them. Asked once per ring.
 */
ptrdiff_t queue_impl_rseq_area(void);

/*
 * Makes every other thread of this process leave the sequence it may be in: it has done its store,
 * which is seen from here on, or will go on at the other place.
 */
void queue_impl_rseq_interrupt(void);

#endif
