/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Concurrent Data Structures. Only the ring, which needs no reclamation, so cds::Initialize() and
 * attaching the threads are not needed either: it is all in the header.
 */
/* PACKAGE: libcds-dev */
/* HEADER: cds/container/vyukov_mpmc_cycle_queue.h */
/* CFLAGS: -DNDEBUG */
#include <cds/container/vyukov_mpmc_cycle_queue.h>
#include <cds/version.h>

#include "../subject.h"

#include <cerrno>
#include <new>

namespace
{

using ring = cds::container::VyukovMPMCCycleQueue<void *>;

int
make(ring **q, uint64_t capacity)
{
	if (capacity < 2 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	try {
		*q = new ring(capacity);
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	return 0;
}

} // namespace

/* Its back-off gives the processor away after a while: not without system calls. */
#define BODY_NAME libcds_vyukov
#define BODY_LABEL "cds::container::VyukovMPMCCycleQueue"
#define BODY_LIBRARY "libcds " CDS_VERSION_STRING
#define BODY_REMARK "blocks when a thread stops inside"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_ANY_VALUE)
#define BODY_TYPE ring
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->push(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->pop(*(item)) ? 0 : -EAGAIN)
#include "../body.h"
