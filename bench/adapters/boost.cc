/* SPDX-License-Identifier: BSD-2-Clause */
/* Boost.Lockfree. */
/* PACKAGE: libboost-dev */
/* HEADER: boost/lockfree/queue.hpp */
/* CFLAGS: -DNDEBUG */
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <boost/version.hpp>

#include "../subject.h"

#include <cerrno>
#include <new>

#define LIBRARY "Boost " BOOST_LIB_VERSION
#define QUEUE                                                                                      \
	(BENCH_FIFO | BENCH_IN_ORDER | BENCH_LOCK_FREE | BENCH_BOUNDED | BENCH_EXACT |             \
	 BENCH_ANY_VALUE | BENCH_NO_SYSCALL)

namespace
{

using mpmc = boost::lockfree::queue<void *, boost::lockfree::fixed_sized<true>>;
using spsc = boost::lockfree::spsc_queue<void *>;

/* Nodes are numbered with 16 bits, two of the numbers stand for none and for the dummy. */
constexpr uint64_t nodes_max = 65534;

template <typename Queue>
int
make(Queue **q, uint64_t capacity)
{
	try {
		*q = new Queue(capacity);
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
	return 0;
}

} // namespace

#define BODY_NAME boost_queue
#define BODY_LABEL "boost::lockfree::queue"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK "fixed size; holds at most 65534"
#define BODY_TRAITS QUEUE
#define BODY_TYPE mpmc
#define BODY_OPEN(q, shape) ((shape)->capacity > nodes_max ? -EINVAL : make(q, (shape)->capacity))
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->bounded_push(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->pop(*(item)) ? 0 : -EAGAIN)
#include "../body.h"

#define BODY_NAME boost_spsc
#define BODY_LABEL "boost::lockfree::spsc_queue"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS QUEUE
#define BODY_PRODUCERS_MAX 1
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE spsc
#define BODY_OPEN(q, shape) make(q, (shape)->capacity)
#define BODY_SHUT(q) delete q
#define BODY_PUSH(q, item) ((q)->push(item) ? 0 : -EAGAIN)
#define BODY_POP(q, item) ((q)->pop(*(item)) ? 0 : -EAGAIN)
#define BODY_PUSH_N(q, items, n) (ptrdiff_t)(q)->push(items, (size_t)(n))
#define BODY_POP_N(q, items, n) (ptrdiff_t)(q)->pop(items, (size_t)(n))
#include "../body.h"
