/* SPDX-License-Identifier: BSD-2-Clause */
/* The speed reference: see vyukov.h. */
#include "vyukov.h"

#include "../subject.h"

#define BODY_NAME vyukov
#define BODY_LABEL "Vyukov ring, plainly written"
#define BODY_LIBRARY "reference"
#define BODY_REMARK "blocks when a thread stops inside; false empty and full"
#define BODY_TRAITS                                                                                \
	(BENCH_REFERENCE | BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_ANY_VALUE |         \
	 BENCH_NO_SYSCALL)
#define BODY_TYPE struct vyukov
#define BODY_OPEN(q, shape) vyukov_open(q, (shape)->capacity)
#define BODY_SHUT(q) vyukov_shut(q)
#define BODY_PUSH(q, item) vyukov_push(q, item)
#define BODY_POP(q, item) vyukov_pop(q, item)
#include "../body.h"
