/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libdpdk-dev */
/* HEADER: rte_ring.h */
/* CFLAGS: $(pkg-config --cflags libdpdk | sed 's/-I/-isystem /g') */
/* LIBS: -lrte_ring */
/* DPDK's ring, in memory of our own, so that its environment (rte_eal_init) is not needed. */
#include <rte_ring.h>
#include <rte_version.h>

#include "../subject.h"

#include <errno.h>
#include <stdlib.h>

#define STRING(x) #x
#define VERSION(year, month, minor) STRING(year) "." STRING(month) "." STRING(minor)
#define LIBRARY "DPDK " VERSION(RTE_VER_YEAR, RTE_VER_MONTH, RTE_VER_MINOR)
#define RING                                                                                       \
	(BENCH_FIFO | BENCH_IN_ORDER | BENCH_BOUNDED | BENCH_EXACT | BENCH_ANY_VALUE |             \
	 BENCH_NO_SYSCALL)

static int
rte_open(struct rte_ring **out, uint64_t capacity, unsigned flags)
{
	struct rte_ring *ring;
	ssize_t size;
	int rc;

	if (capacity < 1 || capacity >= RTE_RING_SZ_MASK / 2)
		return -EINVAL;
	/* That many and one more, rounded up, are the slots of a ring that holds exactly N. */
	size = rte_ring_get_memsize(rte_align32pow2((uint32_t)capacity + 1));
	if (size < 0)
		return (int)size;
	if (posix_memalign((void **)&ring, RTE_CACHE_LINE_SIZE * 2, (size_t)size))
		return -ENOMEM;
	rc = rte_ring_init(ring, "bench", (unsigned)capacity, flags | RING_F_EXACT_SZ);
	if (rc) {
		free(ring);
		return rc;
	}
	*out = ring;
	return 0;
}

#define BODY_NAME rte_spsc
#define BODY_LABEL "rte_ring, SP/SC"
#define BODY_LIBRARY LIBRARY
#define BODY_TRAITS (RING | BENCH_LOCK_FREE)
#define BODY_PRODUCERS_MAX 1
#define BODY_CONSUMERS_MAX 1
#define BODY_TYPE struct rte_ring
#define BODY_OPEN(q, shape) rte_open(q, (shape)->capacity, RING_F_SP_ENQ | RING_F_SC_DEQ)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) rte_ring_sp_enqueue(q, item)
#define BODY_POP(q, item) rte_ring_sc_dequeue(q, item)
#define BODY_PUSH_N(q, items, n) rte_ring_sp_enqueue_burst(q, items, (unsigned)(n), NULL)
#define BODY_POP_N(q, items, n) rte_ring_sc_dequeue_burst(q, items, (unsigned)(n), NULL)
#include "../body.h"

#define BODY_NAME rte_mpmc
#define BODY_LABEL "rte_ring, MP/MC"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK "waits for the pushes (pops) that began before"
#define BODY_TRAITS RING
#define BODY_TYPE struct rte_ring
#define BODY_OPEN(q, shape) rte_open(q, (shape)->capacity, 0)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) rte_ring_mp_enqueue(q, item)
#define BODY_POP(q, item) rte_ring_mc_dequeue(q, item)
#define BODY_PUSH_N(q, items, n) rte_ring_mp_enqueue_burst(q, items, (unsigned)(n), NULL)
#define BODY_POP_N(q, items, n) rte_ring_mc_dequeue_burst(q, items, (unsigned)(n), NULL)
#include "../body.h"

/* The two modes below have no calls of their own for a single pointer. */

#define BODY_NAME rte_hts
#define BODY_LABEL "rte_ring, HTS"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK "one push (pop) at a time: waits for the one before"
#define BODY_TRAITS RING
#define BODY_TYPE struct rte_ring
#define BODY_OPEN(q, shape) rte_open(q, (shape)->capacity, RING_F_MP_HTS_ENQ | RING_F_MC_HTS_DEQ)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) rte_ring_enqueue(q, item)
#define BODY_POP(q, item) rte_ring_dequeue(q, item)
#define BODY_PUSH_N(q, items, n) rte_ring_mp_hts_enqueue_burst(q, items, (unsigned)(n), NULL)
#define BODY_POP_N(q, items, n) rte_ring_mc_hts_dequeue_burst(q, items, (unsigned)(n), NULL)
#include "../body.h"

#define BODY_NAME rte_rts
#define BODY_LABEL "rte_ring, RTS"
#define BODY_LIBRARY LIBRARY
#define BODY_REMARK "the last of those under way publishes for all; waits when too many are"
#define BODY_TRAITS RING
#define BODY_TYPE struct rte_ring
#define BODY_OPEN(q, shape) rte_open(q, (shape)->capacity, RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ)
#define BODY_SHUT(q) free(q)
#define BODY_PUSH(q, item) rte_ring_enqueue(q, item)
#define BODY_POP(q, item) rte_ring_dequeue(q, item)
#define BODY_PUSH_N(q, items, n) rte_ring_mp_rts_enqueue_burst(q, items, (unsigned)(n), NULL)
#define BODY_POP_N(q, items, n) rte_ring_mc_rts_dequeue_burst(q, items, (unsigned)(n), NULL)
#include "../body.h"
