/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_ATOMIC_H
#define CONVEYOR_IMPL_ATOMIC_H

/*
 * The atomic operations the library is written in. Not API.
 *
 * This is the only file that names an atomic primitive. Every function carries its order in its
 * name: _rlx (relaxed), _acq, _rel, _acq_rel. All are lock-free and never fail spuriously.
 *
 * Back ends.  QUEUE_ATOMICS_CK   Concurrency Kit's ck_pr, x86-64 only. On x86-64 a plain load is an
 *                                acquire, a plain store a release and a locked instruction a full
 *                                fence, so each order costs no more than a compiler barrier.
 *             QUEUE_ATOMICS_C11  the compiler's __atomic builtins, with the C11 memory model. The
 *                                only choice on aarch64 and under ThreadSanitizer, which cannot see
 *                                into inline assembly.
 * Objects built with either may be linked together: both operate on the same machine words.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined __linux__ || !(defined __x86_64__ || defined __aarch64__)
#error "conveyor runs on Linux, on x86-64 and aarch64"
#endif

#if defined __SANITIZE_THREAD__
#define QUEUE_IMPL_TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define QUEUE_IMPL_TSAN 1
#endif
#endif

#if defined QUEUE_IMPL_TSAN || defined __aarch64__
#undef QUEUE_ATOMICS_CK
#undef QUEUE_ATOMICS_C11
#define QUEUE_ATOMICS_C11 1
#elif !defined QUEUE_ATOMICS_C11 && !defined QUEUE_ATOMICS_CK
#define QUEUE_ATOMICS_CK 1
#endif

#if defined __x86_64__ && (defined QUEUE_ATOMICS_CK || defined QUEUE_IMPL_TSAN)
#if defined __has_include
#if !__has_include(<ck_pr.h>)
#error "conveyor needs Concurrency Kit's headers (libck-dev), or -DQUEUE_ATOMICS_C11 -mcx16"
#endif
#endif
#include <ck_pr.h>
#endif
#if defined QUEUE_IMPL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Two cache lines: the adjacent-line prefetcher pulls them in pairs. */
#define QUEUE_IMPL_APART 128
#define QUEUE_IMPL_LINE 64

#define queue_impl_likely(condition) __builtin_expect(!!(condition), 1)
#define queue_impl_unlikely(condition) __builtin_expect(!!(condition), 0)
#define queue_impl_aligned(bytes) __attribute__((__aligned__(bytes)))
/* Small steps of one algorithm, which must end up in the caller as one piece of code. */
#define queue_impl_inline static inline __attribute__((__always_inline__))
#define queue_impl_cold __attribute__((__cold__, __noinline__))

/* A word and what it guards, swapped as one: 16 bytes, 16-byte aligned. */
struct queue_impl_pair {
	uint64_t low;
	uint64_t high;
} queue_impl_aligned(16);

#if defined QUEUE_ATOMICS_CK

static inline uint64_t
queue_impl_load_rlx(const uint64_t *word)
{
	return ck_pr_load_64(word);
}

static inline uint64_t
queue_impl_load_acq(const uint64_t *word)
{
	uint64_t value = ck_pr_load_64(word);

	ck_pr_fence_acquire();
	return value;
}

static inline void
queue_impl_store_rlx(uint64_t *word, uint64_t value)
{
	ck_pr_store_64(word, value);
}

static inline void
queue_impl_store_rel(uint64_t *word, uint64_t value)
{
	ck_pr_fence_release();
	ck_pr_store_64(word, value);
}

static inline uint32_t
queue_impl_load32_rlx(const uint32_t *word)
{
	return ck_pr_load_32(word);
}

static inline uint32_t
queue_impl_load32_acq(const uint32_t *word)
{
	uint32_t value = ck_pr_load_32(word);

	ck_pr_fence_acquire();
	return value;
}

static inline void
queue_impl_store32_rlx(uint32_t *word, uint32_t value)
{
	ck_pr_store_32(word, value);
}

static inline void
queue_impl_store32_rel(uint32_t *word, uint32_t value)
{
	ck_pr_fence_release();
	ck_pr_store_32(word, value);
}

/* True when *word was *expected; otherwise *expected receives what it is. */
static inline bool
queue_impl_cas_acq_rel(uint64_t *word, uint64_t *expected, uint64_t desired)
{
	return ck_pr_cas_64_value(word, *expected, desired, expected);
}

static inline bool
queue_impl_cas32_acq_rel(uint32_t *word, uint32_t *expected, uint32_t desired)
{
	return ck_pr_cas_32_value(word, *expected, desired, expected);
}

static inline uint64_t
queue_impl_fetch_add_acq_rel(uint64_t *word, uint64_t delta)
{
	return ck_pr_faa_64(word, delta);
}

static inline uint32_t
queue_impl_fetch_add32_acq_rel(uint32_t *word, uint32_t delta)
{
	return ck_pr_faa_32(word, delta);
}

/* For counters: the caller has no use for the old value. */
static inline void
queue_impl_add_rlx(uint64_t *word, uint64_t delta)
{
	ck_pr_add_64(word, delta);
}

static inline uint32_t
queue_impl_exchange32_acq_rel(uint32_t *word, uint32_t value)
{
	return ck_pr_fas_32(word, value);
}

#else /* QUEUE_ATOMICS_C11 */

static inline uint64_t
queue_impl_load_rlx(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint64_t
queue_impl_load_acq(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
queue_impl_store_rlx(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void
queue_impl_store_rel(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint32_t
queue_impl_load32_rlx(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint32_t
queue_impl_load32_acq(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
queue_impl_store32_rlx(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void
queue_impl_store32_rel(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* True when *word was *expected; otherwise *expected receives what it is. */
static inline bool
queue_impl_cas_acq_rel(uint64_t *word, uint64_t *expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static inline bool
queue_impl_cas32_acq_rel(uint32_t *word, uint32_t *expected, uint32_t desired)
{
	return __atomic_compare_exchange_n(word, expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static inline uint64_t
queue_impl_fetch_add_acq_rel(uint64_t *word, uint64_t delta)
{
	return __atomic_fetch_add(word, delta, __ATOMIC_ACQ_REL);
}

static inline uint32_t
queue_impl_fetch_add32_acq_rel(uint32_t *word, uint32_t delta)
{
	return __atomic_fetch_add(word, delta, __ATOMIC_ACQ_REL);
}

/* For counters: the caller has no use for the old value. */
static inline void
queue_impl_add_rlx(uint64_t *word, uint64_t delta)
{
	(void)__atomic_fetch_add(word, delta, __ATOMIC_RELAXED);
}

static inline uint32_t
queue_impl_exchange32_acq_rel(uint32_t *word, uint32_t value)
{
	return __atomic_exchange_n(word, value, __ATOMIC_ACQ_REL);
}

#endif

/*
 * Swaps a whole pair: true when *pair was {low, high} and now is {new_low, new_high}.
 */
#if defined QUEUE_ATOMICS_CK

static inline bool
queue_impl_cas_pair_acq_rel(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			    uint64_t new_low, uint64_t new_high)
{
	uint64_t compare[2] = {low, high}, set[2] = {new_low, new_high}, seen[2];

	/* The form that returns a value keeps all operands in registers; the plain one does not. */
	return ck_pr_cas_64_2_value((uint64_t *)(void *)pair, compare, set, seen);
}

#elif defined __x86_64__ && defined QUEUE_IMPL_TSAN

static inline bool
queue_impl_cas_pair_acq_rel(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			    uint64_t new_low, uint64_t new_high)
{
	uint64_t compare[2] = {low, high}, set[2] = {new_low, new_high}, seen[2];
	bool swapped;

	/*
	 * ThreadSanitizer emulates a 16-byte swap under a lock of its own, which is not atomic
	 * against 8-byte operations on the halves. So the real instruction, with its order told to
	 * the sanitizer by hand. A failed swap tells it one release too many: it may miss a race
	 * there, it does not invent one.
	 */
	__tsan_release(&pair->low);
	swapped = ck_pr_cas_64_2_value((uint64_t *)(void *)pair, compare, set, seen);
	if (swapped)
		__tsan_acquire(&pair->low);
	return swapped;
}

#elif defined __x86_64__

#if !defined __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16
#error "conveyor's c11 atomics need -mcx16 on x86-64 (pkg-config --cflags conveyor gives it)"
#endif

__extension__ typedef unsigned __int128 queue_impl_wide;

static inline bool
queue_impl_cas_pair_acq_rel(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			    uint64_t new_low, uint64_t new_high)
{
	queue_impl_wide compare = (queue_impl_wide)high << 64 | low;
	queue_impl_wide set = (queue_impl_wide)new_high << 64 | new_low;

	/* The __sync form: for __atomic, gcc calls libatomic, which may take a lock. */
	return __sync_bool_compare_and_swap((queue_impl_wide *)(void *)pair, compare, set);
}

#elif defined __ARM_FEATURE_ATOMICS

static inline bool
queue_impl_cas_pair_acq_rel(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			    uint64_t new_low, uint64_t new_high)
{
	/* CASP wants two even-odd pairs of registers. */
	register uint64_t seen_low __asm__("x0") = low;
	register uint64_t seen_high __asm__("x1") = high;
	register uint64_t set_low __asm__("x2") = new_low;
	register uint64_t set_high __asm__("x3") = new_high;

	__asm__ __volatile__("caspal %0, %1, %3, %4, %2"
			     : "+r"(seen_low), "+r"(seen_high), "+Q"(*pair)
			     : "r"(set_low), "r"(set_high)
			     : "memory");
	/* Without a branch: instrumentation puts calls there, and they use these registers too. */
	return ((seen_low ^ low) | (seen_high ^ high)) == 0;
}

#else /* aarch64 without LSE */

static inline bool
queue_impl_cas_pair_acq_rel(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			    uint64_t new_low, uint64_t new_high)
{
	uint64_t seen_low, seen_high;
	uint32_t failed;

	/*
	 * The two halves read by LDAXP are one snapshot only when the STLXP succeeds. A torn read
	 * can only make us answer false while the pair is being changed by another thread, which
	 * is the truth.
	 */
	__asm__ __volatile__("1:	ldaxp	%0, %1, %3\n"
			     "	cmp	%0, %4\n"
			     "	ccmp	%1, %5, #0, eq\n"
			     "	b.ne	2f\n"
			     "	stlxp	%w2, %6, %7, %3\n"
			     "	cbnz	%w2, 1b\n"
			     "2:"
			     : "=&r"(seen_low), "=&r"(seen_high), "=&r"(failed), "+Q"(*pair)
			     : "r"(low), "r"(high), "r"(new_low), "r"(new_high)
			     : "cc", "memory");
	return seen_low == low && seen_high == high;
}

#endif

/*
 * Restartable sequences: a few instructions that end in one store, which the kernel abandons when
 * it interrupts them for a signal, for another thread, or because some thread calls membarrier(2)
 * for it (Linux 5.10). So a thread that was stopped inside never does the store when it goes on,
 * and after the membarrier no other thread is inside any more. glibc registers each thread for
 * them since 2.35; `area` says where, as seen from the thread pointer.
 *
 * See rseq(2) in the kernel's include/uapi/linux/rseq.h. The descriptor {version, flags, start,
 * length, where to go on} stays announced after the sequence, so that announcing it is a
 * comparison next time. The kernel reads it whenever it interrupts the thread: code that has such
 * sequences must not be unloaded, which is why conveyor.pc gives -z nodelete.
 */
#if defined __x86_64__ && !defined QUEUE_IMPL_TSAN
#define QUEUE_IMPL_RSEQ 1

/*
 * 1: the descriptor, 2: the first instruction, 3: behind the store, 4: where to go on. It is
 * announced from inside: from then on an interruption leads to 4, also one at the very next
 * instruction, as single stepping makes them. "?": together with the function, should the linker
 * have to choose one of several copies.
 */
#define QUEUE_IMPL_RSEQ_BEGIN                                                                      \
	".pushsection __rseq_cs, \"aw?\"\n"                                                        \
	".balign 32\n"                                                                             \
	"1: .long 0, 0\n"                                                                          \
	".quad 2f, 3f - 2f, 4f\n"                                                                  \
	".popsection\n"                                                                            \
	"leaq 1b(%%rip), %%rax\n"                                                                  \
	"2: cmpq %%rax, %%fs:8(%[area])\n"                                                         \
	"je 5f\n"                                                                                  \
	"movq %%rax, %%fs:8(%[area])\n"                                                            \
	"5:\n"
/* The kernel wants this signature before the place where it lets the thread go on. */
#define QUEUE_IMPL_RSEQ_END                                                                        \
	"3:\n"                                                                                     \
	".pushsection __rseq_failure, \"ax?\"\n"                                                   \
	".byte 0x0f, 0xb9, 0x3d\n"                                                                 \
	".long 0x53053053\n"                                                                       \
	"4: jmp %l[refused]\n"                                                                     \
	".popsection\n"

/* Stores a pair, low last and as a release, while *guard is as expected. False: nothing of low. */
queue_impl_inline bool
queue_impl_rseq_store_pair_rel(ptrdiff_t area, const uint64_t *guard, uint64_t expected,
			       struct queue_impl_pair *pair, uint64_t low, uint64_t high)
{
	__asm__ goto(QUEUE_IMPL_RSEQ_BEGIN "cmpq %[expected], %[guard]\n"
					   "jne %l[refused]\n"
					   "movq %[high], 8(%[pair])\n"
					   "movq %[low], (%[pair])\n" QUEUE_IMPL_RSEQ_END
		     :
		     : [area] "r"(area), [guard] "m"(*guard), [expected] "r"(expected),
		       [pair] "r"(pair), [low] "r"(low), [high] "r"(high)
		     : "rax", "memory", "cc"
		     : refused);
	return true;
refused:
	return false;
}

/*
 * Moves *word from one value to another, as a release, while *owner names the calling thread. Not
 * atomic towards other processors: for who is alone to write *word as long as that is so. The
 * thread is looked up inside, where it cannot become another one, as fibers may.
 */
queue_impl_inline bool
queue_impl_rseq_move_rel(ptrdiff_t area, const uint64_t *owner, uint64_t *word, uint64_t from,
			 uint64_t to)
{
	__asm__ goto(QUEUE_IMPL_RSEQ_BEGIN "movq %%fs:0, %%rax\n"
					   "cmpq %%rax, %[owner]\n"
					   "jne %l[refused]\n"
					   "cmpq %[from], (%[word])\n"
					   "jne %l[refused]\n"
					   "movq %[to], (%[word])\n" QUEUE_IMPL_RSEQ_END
		     :
		     : [area] "r"(area), [owner] "m"(*owner), [word] "r"(word), [from] "r"(from),
		       [to] "r"(to)
		     : "rax", "memory", "cc"
		     : refused);
	return true;
refused:
	return false;
}

/* The thread pointer: tells living threads apart. A multiple of 64. */
queue_impl_inline uint64_t
queue_impl_thread(void)
{
	uint64_t thread;

	/* Volatile: a fiber may be on another thread the next time. */
	__asm__ __volatile__("movq %%fs:0, %0" : "=r"(thread));
	return thread;
}
#endif

/* A line that will be written soon: asks for it before the store has to wait for it. */
static inline void
queue_impl_prefetch_to_write(const void *address)
{
	__builtin_prefetch(address, 1, 3);
}

/* Orders every earlier access before every later one, store before load included. */
static inline void
queue_impl_fence_full(void)
{
#if defined QUEUE_IMPL_TSAN
	uint64_t scratch = 0;

	/* The sanitizer has no fences; any locked instruction is one on the machines it runs on. */
	(void)__atomic_fetch_add(&scratch, 1, __ATOMIC_SEQ_CST);
#elif defined __x86_64__
	/* A third of the price of mfence, which is what ck_pr_fence_memory is. */
	__asm__ __volatile__("lock; orl $0, (%%rsp)" : : : "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The same, where an atomic read-modify-write has just been done: on x86-64 that was the fence. */
static inline void
queue_impl_fence_after_rmw(void)
{
#if defined __x86_64__
	__asm__ __volatile__("" : : : "memory");
#else
	queue_impl_fence_full();
#endif
}

static inline void
queue_impl_fence_compiler(void)
{
	__asm__ __volatile__("" : : : "memory");
}

/* Tells the processor that this is a polling loop. */
static inline void
queue_impl_pause(void)
{
#if defined __x86_64__
	__asm__ __volatile__("pause" : : : "memory");
#else
	__asm__ __volatile__("isb" : : : "memory");
#endif
}

#endif
