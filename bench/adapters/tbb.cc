/* SPDX-License-Identifier: BSD-2-Clause */
/* oneAPI Threading Building Blocks. */
/* PACKAGE: libtbb-dev */
/* HEADER: oneapi/tbb/concurrent_queue.h */
/* LIBS: -ltbb */
#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/version.h>

#include "../subject.h"

#include <cerrno>
#include <new>

namespace
{

using bounded = tbb::concurrent_bounded_queue<void *>;

int
make(bounded **q, uint64_t capacity)
{
	try {
		*q = new bounded;
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	(*q)->set_capacity((bounded::size_type)capacity);
	return 0;
}

} // namespace

#define BODY_NAME tbb_bounded
#define BODY_LABEL "tbb::concurrent_bounded_queue"
#define BODY_LIBRARY "oneTBB " TBB_VERSION_STRING
#define BODY_REMARK "blocks when a thread stops inside; allocates while it runs"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_ANY_VALUE)
#define BODY_TYPE bounded
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->try_push(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->try_pop(*(item)) ? 0 : -EAGAIN)
#define BODY_PUSH_WAIT(q, item) ((q)->push(item), 0)
#define BODY_POP_WAIT(q, item) ((q)->pop(*(item)), 0)
#include "../body.h"
