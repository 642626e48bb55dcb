/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring, with a call stopped before each of its instructions in turn, while another thread makes
 * other calls. All of it happens on one thread and is the same each time:
 *
 *  - The call under test, the victim, runs on a stack of its own, single-stepped by the processor.
 *    Where it is stopped, its registers, its stack and the ring are put aside. Then one sequence of
 *    other calls after the other is made, under another thread's name; after each the victim runs
 *    on to its end, what came out is checked, and all is put back to where it was stopped.
 *  - The kernel's part in restartable sequences is played by this program, with the functions of
 *    lib/rseq.c that it puts its own in the place of: the victim is where another processor
 *    may have it, so its sequence is abandoned just when the others ask for that.
 *  - Or the others' calls are made by a signal handler of the victim's thread.
 *  - A push that had taken numbers and stopped before it filled any may be there before.
 *
 * What came out must be what some order of the victim's single steps and the others' calls gives:
 * the victim's push_n and pop_n may be cut at any item, where the others' calls go in between.
 */
#include <conveyor/ring.h>

#include "rseq_impl.h"
#include "unit.h"

#if defined QUEUE_IMPL_RSEQ && !defined __SANITIZE_ADDRESS__

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define MOST_SLOTS 8 /* a whole line */
#define MOST_ITEMS 64
#define MOST_CALLS 4 /* in a sequence */
#define MOST_CUTS 2  /* of the victim */
#define BULK 3	     /* items that push_n and pop_n are asked for */
#define STOPPED 2    /* numbers that were taken before */
#define VICTIMS_ITEMS 1000
#define STACK 65536   /* bytes, of which the victim uses few */
#define OTHER_NAME 64 /* no thread pointer of this process */

/* ---- What is put aside ---------------------------------------------------------------------- */

struct call {
	char what;
	ptrdiff_t rc;
	uint64_t items[BULK];
	struct queue_ring_stats stats;
};

static struct world {
	_Alignas(QUEUE_RING_ALIGNMENT) struct queue_ring ring;
	struct queue_impl_pair slots[MOST_SLOTS];
	struct call victim;
	struct call others[MOST_CUTS][MOST_CALLS];
	const char *sequences[MOST_CUTS];
	unsigned cuts;
	uint64_t next_item, stopped_done;
	_Alignas(32) uint64_t area[4]; /* what the kernel and a thread share */
} world;

static char *stack;
static ucontext_t controller, entry;
static volatile bool ended, started;

struct point {
	struct world world;
	gregset_t registers;
	struct _libc_fpstate floating;
	char stack[8192];
	size_t depth;
};

static struct point points[MOST_CUTS + 1]; /* the last: where the signal handler puts it */
#define STOP (&points[MOST_CUTS])

/* ---- The kernel's part ---------------------------------------------------------------------- */

struct descriptor {
	uint32_t version, flags;
	uint64_t start, length, refused;
} __attribute__((__aligned__(32)));

static bool interrupted, was_undecided[2]; /* then: the producer, the consumer */

static uint64_t
thread_pointer(void)
{
	return queue_impl_thread();
}

static uint64_t real_name;

ptrdiff_t
queue_impl_rseq_area(void)
{
	return (ptrdiff_t)((uint64_t)(uintptr_t)world.area - real_name);
}

void
queue_impl_rseq_interrupt(void)
{
	interrupted = true;
	if (world.ring.producer == QUEUE_IMPL_RING_UNDECIDED)
		was_undecided[0] = true;
	if (world.ring.consumer == QUEUE_IMPL_RING_UNDECIDED)
		was_undecided[1] = true;
}

static void
take_name(uint64_t name)
{
	__asm__ __volatile__("movq %0, %%fs:0" : : "r"(name) : "memory");
}

/* What the kernel does to an interrupted thread. */
static void
abandon(struct point *point, uint64_t announced)
{
	const struct descriptor *descriptor = (const void *)(uintptr_t)announced;
	uint64_t at = (uint64_t)point->registers[REG_RIP];

	if (descriptor && at - descriptor->start < descriptor->length)
		point->registers[REG_RIP] = (greg_t)descriptor->refused;
	world.area[1] = 0;
}

static bool
pushes(char what)
{
	return strchr("PNV", what) != NULL;
}

static bool
pops(char what)
{
	return strchr("OM", what) != NULL;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static struct setting {
	unsigned roles;
	bool swaps;
	uint64_t owner; /* of both ends; 3: the victim */
	uint64_t capacity, inside, stopped, used;
	uint64_t mode, position; /* of the push that stopped */
	char victim;
} setting;

#define THE_VICTIM 3u

static void
make_call(struct call *call)
{
	struct queue_ring *ring = &world.ring;
	void *items[BULK] = {NULL};
	uint64_t next = VICTIMS_ITEMS;

	/* The victim may be cut in here, too. */
	if (call != &world.victim) {
		next = world.next_item;
		world.next_item += BULK;
	}
	switch (call->what) {
	case 'P':
		call->items[0] = next;
		call->rc = queue_ring_try_push(ring, (void *)(uintptr_t)call->items[0]);
		break;
	case 'N':
		for (int i = 0; i < BULK; i++)
			items[i] = (void *)(uintptr_t)(call->items[i] = next++);
		call->rc = queue_ring_push_n(ring, items, BULK);
		break;
	case 'V': {
		uint64_t position = setting.position + world.stopped_done++;

		call->items[0] = next;
		items[0] = (void *)(uintptr_t)call->items[0];
		if (queue_impl_ring_fill(ring, setting.mode, position, items[0])) {
			call->rc = 0;
			ring->filled = position + 1;
		} else {
			call->rc = queue_impl_ring_push_slow(ring, items[0], position, true).rc;
		}
		break;
	}
	case 'O':
		call->rc = queue_ring_try_pop(ring, items);
		call->items[0] = (uint64_t)(uintptr_t)items[0];
		break;
	case 'M':
		call->rc = queue_ring_pop_n(ring, items, BULK);
		for (int i = 0; i < BULK; i++)
			call->items[i] = (uint64_t)(uintptr_t)items[i];
		break;
	case 'C':
		queue_ring_close(ring);
		call->rc = 0;
		break;
	case 'S':
		queue_ring_stats(ring, &call->stats);
		call->rc = 0;
		break;
	default:
		abort();
	}
}

/* ---- Stopping the victim -------------------------------------------------------------------- */

#define TRAP_FLAG 0x100

static void
run_victim(void)
{
	__asm__ __volatile__(
		"subq $128, %%rsp; pushfq; orq $0x100, (%%rsp); popfq; addq $128, %%rsp"
		:
		:
		: "memory", "cc");
	make_call(&world.victim);
	__asm__ __volatile__(
		"subq $128, %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; addq $128, %%rsp"
		:
		:
		: "memory", "cc");
	ended = true;
	setcontext(&controller);
}

/*
 * How often the victim has been at an instruction, since it began or was cut. A loop is stopped in
 * its first turns, and in the one after which a push has looked often enough.
 */
static struct visit {
	uint64_t at, since;
	unsigned times;
} visits[MOST_CUTS][4096];

static uint64_t beginnings, all_beginnings;
static unsigned current_cut;

static bool
is_worth_a_stop(uint64_t at)
{
	struct visit *table = visits[current_cut];
	size_t i = at % 4096;

	while (table[i].since == beginnings && table[i].at != at)
		i = (i + 1) % 4096;
	if (table[i].since != beginnings)
		table[i] = (struct visit){at, beginnings, 0};
	table[i].times++;
	return table[i].times <= 2 || table[i].times == 65;
}

static void
stop(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;
	char *low = (char *)(uintptr_t)at->uc_mcontext.gregs[REG_RSP] - 128;

	(void)signal;
	(void)info;
	if (!is_worth_a_stop((uint64_t)at->uc_mcontext.gregs[REG_RIP]))
		return;
	memcpy(STOP->registers, at->uc_mcontext.gregs, sizeof STOP->registers);
	memcpy(&STOP->floating, at->uc_mcontext.fpregs, sizeof STOP->floating);
	STOP->depth = (size_t)(stack + STACK - low);
	if (STOP->depth > sizeof STOP->stack)
		_exit(3);
	memcpy(STOP->stack, low, STOP->depth);
	setcontext(&controller);
}

static const struct point *going_to;

static void
go(int signal, siginfo_t *info, void *context)
{
	ucontext_t *at = context;

	(void)signal;
	(void)info;
	memcpy(at->uc_mcontext.gregs, going_to->registers, sizeof going_to->registers);
	memcpy(at->uc_mcontext.fpregs, &going_to->floating, sizeof going_to->floating);
}

/* Lets the victim go on from a point, until its end or, if it is to be stepped, for one step. */
static void
resume(struct point *point, bool step)
{
	if (step)
		point->registers[REG_EFL] |= TRAP_FLAG;
	else
		point->registers[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	memcpy(stack + STACK - point->depth, point->stack, point->depth);
	going_to = point;
	started = false;
	getcontext(&controller);
	if (!started) {
		started = true;
		raise(SIGUSR1);
	}
}

static void
begin_victim(void)
{
	getcontext(&entry);
	entry.uc_stack.ss_sp = stack;
	entry.uc_stack.ss_size = STACK;
	entry.uc_link = NULL;
	makecontext(&entry, run_victim, 0);
	ended = started = false;
	getcontext(&controller);
	if (!started) {
		started = true;
		setcontext(&entry);
	}
}

/* ---- What may come out ---------------------------------------------------------------------- */

struct model {
	uint64_t items[MOST_ITEMS];
	uint64_t in, out;
	bool closed, told; /* told: a pop has answered that the ring has ended */
};

static int
model_push(struct model *model, uint64_t item, bool closed)
{
	if (closed)
		return -EPIPE;
	if (model->in - model->out == setting.capacity)
		return -EAGAIN;
	model->items[model->in++] = item;
	return 0;
}

/* One item of a call: false when it did not come out as it would here. *over: the last one. */
static bool
model_step(struct model *model, const struct call *call, unsigned step, bool *over)
{
	bool bulk = call->what == 'N' || call->what == 'M', closed = model->closed;
	int rc;

	/*
	 * The victim began before the ring was closed, so that it may answer as if it were not: a
	 * push gets in as long as nobody was told the end, a pop that finds nothing may say so.
	 */
	if (call == &world.victim && closed) {
		bool is_full = model->in - model->out == setting.capacity;
		bool went_in = bulk ? call->rc > (ptrdiff_t)step : call->rc == 0;

		if (pops(call->what))
			closed = bulk ? call->rc < 0 : call->rc == -EPIPE;
		else if (is_full)
			closed = call->rc == -EPIPE;
		else
			closed = model->told || !went_in;
	}
	*over = !bulk || step + 1 == BULK;
	switch (call->what) {
	case 'P':
	case 'V':
	case 'N':
		rc = model_push(model, call->items[step], closed);
		break;
	case 'O':
	case 'M':
		rc = model->in > model->out ? 0 : closed ? -EPIPE : -EAGAIN;
		model->told = model->told || (rc == -EPIPE && call->rc == -EPIPE);
		if (rc == 0 && (call->rc < 0 || (bulk && call->rc <= (ptrdiff_t)step) ||
				call->items[step] != model->items[model->out]))
			return false;
		model->out += rc == 0;
		break;
	case 'C':
		model->closed = true;
		return true;
	default:
		return call->stats.pushed == setting.used + model->in &&
		       call->stats.popped == setting.used + model->out &&
		       call->stats.depth == model->in - model->out &&
		       call->stats.closed == model->closed;
	}
	if (!bulk)
		return call->rc == rc;
	if (rc == 0)
		return call->rc > (ptrdiff_t)step;
	*over = true;
	if (step > 0)
		return call->rc == (ptrdiff_t)step;
	return call->rc == (rc == -EAGAIN ? 0 : rc);
}

/* The calls that were made at one cut. */
static bool
model_others(struct model *model, unsigned cut)
{
	for (size_t i = 0; world.sequences[cut][i]; i++) {
		bool over = false;

		for (unsigned step = 0; !over; step++)
			if (!model_step(model, &world.others[cut][i], step, &over))
				return false;
	}
	return true;
}

static bool
contents_are(const struct world *after, const struct model *model)
{
	uint64_t head = after->ring.head;
	uint64_t n = model->in - model->out;

	for (uint64_t i = 0; i < n; i++) {
		const struct queue_impl_pair *slot = queue_impl_ring_slot(&after->ring, head + i);

		if (slot->low != queue_impl_ring_seq(head + i) ||
		    slot->high != model->items[model->out + i])
			return false;
	}
	return queue_impl_ring_slot(&after->ring, head + n)->low != queue_impl_ring_seq(head + n);
}

/* Is there an order? From the victim's step `step` on, with the cuts from `cut` on still to be. */
static bool
has_order(struct model model, unsigned step, bool over, unsigned cut)
{
	if (cut < world.cuts) {
		struct model cut_here = model;

		if (model_others(&cut_here, cut) && has_order(cut_here, step, over, cut + 1))
			return true;
	}
	if (over)
		return cut == world.cuts && contents_are(&world, &model);
	/* The figures are several: the victim's own are checked elsewhere. */
	if (world.victim.what == 'S')
		return has_order(model, step, true, cut);
	if (!model_step(&model, &world.victim, step, &over))
		return false;
	return has_order(model, step + 1, over, cut);
}

static void
fail(const char *what)
{
	printf("%s: victim %c answers %td", what, world.victim.what, world.victim.rc);
	for (unsigned cut = 0; cut < world.cuts; cut++) {
		printf("; others %s:", world.sequences[cut]);
		for (size_t i = 0; world.sequences[cut][i]; i++)
			printf(" %td", world.others[cut][i].rc);
		printf(" (at %#" PRIx64 ")", (uint64_t)points[cut].registers[REG_RIP] -
						     (uint64_t)(uintptr_t)queue_ring_push_n);
	}
	printf("; roles %u, swaps %d, owner %" PRIu64 ", capacity %" PRIu64 ", inside %" PRIu64
	       ", stopped %" PRIu64 ", used %" PRIu64 "\n",
	       setting.roles, setting.swaps, setting.owner, setting.capacity, setting.inside,
	       setting.stopped, setting.used);
	fflush(stdout);
	_exit(1);
}

static void
hung(int signal)
{
	(void)signal;
	fail("does not end");
}

/* The ring must still be one: exact, in order, and ending. */
static void
check_after(void)
{
	struct queue_ring *ring = &world.ring;
	struct queue_ring_stats stats;
	bool closed = (ring->mode & QUEUE_IMPL_RING_CLOSED) != 0;
	void *item = NULL;
	uint64_t n = 0, first;

	queue_ring_stats(ring, &stats);
	if (stats.pushed != stats.popped + stats.depth || stats.depth > setting.capacity)
		fail("statistics do not agree");
	while (queue_ring_try_pop(ring, &item) == 0)
		n++;
	if (n != stats.depth)
		fail("depth");
	n = 0;
	while (!(setting.roles & QUEUE_SINGLE_PRODUCER) && world.stopped_done < setting.stopped) {
		struct call call = {.what = 'V'};

		make_call(&call);
		if (call.rc != (closed ? -EPIPE : n < setting.capacity ? 0 : -EAGAIN))
			fail("the push that stopped before");
		n += call.rc == 0;
	}
	for (; n > 0; n--)
		if (queue_ring_try_pop(ring, &item) != 0)
			fail("the item of the push that stopped before");
	first = world.next_item;
	for (; n < setting.capacity && !closed; n++)
		if (queue_ring_try_push(ring, (void *)(uintptr_t)world.next_item++) != 0)
			fail("less than the capacity");
	if (queue_ring_try_push(ring, NULL) != (closed ? -EPIPE : -EAGAIN))
		fail("more than the capacity");
	for (n = 0; n < setting.capacity && !closed; n++)
		if (queue_ring_try_pop(ring, &item) != 0 || (uint64_t)(uintptr_t)item != first + n)
			fail("order");
	queue_ring_close(ring);
	if (queue_ring_try_pop(ring, &item) != -EPIPE || queue_ring_try_push(ring, NULL) != -EPIPE)
		fail("end");
}

static void
check(void)
{
	struct model model = {.in = setting.inside};

	if (!ended)
		fail("stopped where it should have ended");
	for (uint64_t i = 0; i < setting.inside; i++)
		model.items[i] = i + 1;
	if (world.victim.what == 'S' && (world.victim.stats.popped > world.victim.stats.pushed ||
					 world.victim.stats.depth > setting.capacity))
		fail("statistics of the victim");
	if (!has_order(model, 0, false, 0))
		fail("there is no such order");
	check_after();
}

/* ---- Every point ---------------------------------------------------------------------------- */

static const char *const sequences[] = {"",   "P",   "O",    "S",   "V",   "C",	 "N",  "M",
					"PP", "OO",  "PO",   "OP",  "VV",  "VP", "PV", "VO",
					"OV", "CO",  "CM",   "CP",  "NM",  "MN", "NV", "VN",
					"MV", "PPP", "OPOP", "COV", "VCO", "MCO"};
#define SEQUENCES (sizeof sequences / sizeof sequences[0])

static uint64_t branches, random_state = 1;

static bool
is_allowed(const char *sequence, unsigned cut)
{
	uint64_t stopped = world.stopped_done;

	(void)cut;
	for (; *sequence; sequence++) {
		if (*sequence == 'V' && ++stopped > setting.stopped)
			return false;
		if ((setting.roles & QUEUE_SINGLE_PRODUCER) &&
		    (*sequence == 'V' || ((pushes(*sequence) || *sequence == 'C') &&
					  (pushes(setting.victim) || setting.victim == 'C'))))
			return false;
		if ((setting.roles & QUEUE_SINGLE_CONSUMER) && pops(*sequence) &&
		    pops(setting.victim))
			return false;
	}
	return true;
}

/*
 * A third thread may be anywhere, too: what was not anybody's is only so after an interruption at
 * which it was nobody's any more.
 */
static void
check_owner(uint64_t before, uint64_t after, bool undecided)
{
	if (before != QUEUE_IMPL_RING_ANYBODY && after == QUEUE_IMPL_RING_ANYBODY && !undecided)
		fail("an end became anybody's while a thread may still have it");
}

static void
make_others(struct point *point, unsigned cut, const char *sequence, bool by_handler)
{
	uint64_t announced = world.area[1];
	uint64_t producer = world.ring.producer, consumer = world.ring.consumer;

	world.cuts = cut + 1;
	world.sequences[cut] = sequence;
	was_undecided[0] = was_undecided[1] = false;
	/* A signal handler is the same thread, and its signal an interruption. */
	interrupted = by_handler;
	if (!by_handler)
		take_name(OTHER_NAME);
	for (size_t i = 0; sequence[i]; i++) {
		world.others[cut][i].what = sequence[i];
		make_call(&world.others[cut][i]);
	}
	take_name(real_name);
	check_owner(producer, world.ring.producer, was_undecided[0]);
	check_owner(consumer, world.ring.consumer, was_undecided[1]);
	world.area[1] = announced;
	if (interrupted)
		abandon(point, announced);
}

/*
 * The victim has been stopped. From here to its end: at each instruction it is cut by one in
 * rarely[cut] of the sequences, and then, when cuts are left, cut once more.
 */
static void
explore(unsigned cut, unsigned most, const uint64_t *rarely)
{
	struct point *point = &points[cut];

	while (!ended) {
		greg_t at = STOP->registers[REG_RIP];

		*point = *STOP;
		point->world = world;
		for (size_t i = 0; i < SEQUENCES; i++) {
			random_state = random_state * UINT64_C(6364136223846793005) + 1;
			if ((random_state >> 33) % rarely[cut] != 0 ||
			    !is_allowed(sequences[i], cut))
				continue;
			make_others(point, cut, sequences[i], random_state >> 63);
			branches++;
			if (cut + 1 < most) {
				uint64_t since = beginnings;

				current_cut = cut + 1;
				beginnings = ++all_beginnings;
				resume(point, true);
				explore(cut + 1, most, rarely);
				current_cut = cut;
				beginnings = since;
			} else {
				resume(point, false);
				check();
			}
			ended = false;
			world = point->world;
			point->registers[REG_RIP] = at;
		}
		resume(point, true);
	}
	/* It came to its end without a further cut. */
	check();
}

/*
 * A step takes the kernel some 20 us. clang's code is taken through every fourth setting, and gcc's,
 * which is what Debian's packages are made of, through all.
 */
static bool
is_left_out(void)
{
#if defined __clang__
	static unsigned settings;

	return ++settings % 4 != 0;
#else
	return false;
#endif
}

static void
explore_setting(unsigned most, const uint64_t *rarely)
{
	size_t size = queue_ring_footprint(setting.capacity, setting.roles);
	struct queue_ring *ring = &world.ring;
	void *item;

	if (is_left_out())
		return;
	memset(&world, 0, sizeof world);
	cr_assert_leq(size, offsetof(struct world, victim));
	cr_assert_eq(queue_impl_ring_init_at(ring, size, setting.capacity, setting.roles, 0), 0);
	cr_assert_eq(ring->slots, world.slots);
	if (setting.swaps) {
		ring->rseq = 0;
		ring->producer = ring->consumer = QUEUE_IMPL_RING_ANYBODY;
	}
	for (uint64_t i = 0; i < setting.used; i++) {
		cr_assert_eq(queue_ring_try_push(ring, NULL), 0);
		cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
	}
	for (world.next_item = 1; world.next_item <= setting.inside; world.next_item++)
		cr_assert_eq(queue_ring_try_push(ring, (void *)(uintptr_t)world.next_item), 0);
	if (!setting.swaps)
		ring->producer = ring->consumer = setting.owner == THE_VICTIM ? real_name
									      : setting.owner;
	setting.mode = ring->mode;
	setting.position = ring->tail;
	ring->tail += setting.stopped;
	world.victim.what = setting.victim;
	world.area[1] = 0;
	current_cut = 0;
	beginnings = ++all_beginnings;
	begin_victim();
	explore(0, most, rarely);
}

static void
prepare(void)
{
	struct sigaction stopping = {.sa_sigaction = stop, .sa_flags = SA_SIGINFO};
	struct sigaction going = {.sa_sigaction = go, .sa_flags = SA_SIGINFO};

	real_name = thread_pointer();
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(stack, MAP_FAILED);
	sigaction(SIGTRAP, &stopping, NULL);
	sigaction(SIGUSR1, &going, NULL);
	signal(SIGALRM, hung);
	alarm(100);
}

static void
explore_all(unsigned roles, unsigned most, const uint64_t *rarely)
{
	static const uint64_t owners[] = {QUEUE_IMPL_RING_NOBODY,
					  THE_VICTIM,
					  OTHER_NAME,
					  2 * OTHER_NAME,
					  QUEUE_IMPL_RING_UNDECIDED,
					  QUEUE_IMPL_RING_ANYBODY};
	static const char victims[] = "PNOMCS";

	prepare();
	setting.roles = roles;
	for (setting.capacity = 1; setting.capacity <= 3; setting.capacity++) {
		for (setting.inside = 0; setting.inside <= setting.capacity; setting.inside++) {
			for (setting.stopped = 0; setting.stopped <= STOPPED; setting.stopped++) {
				if (setting.inside + setting.stopped > setting.capacity)
					continue;
				if (setting.stopped > 0 && (roles & QUEUE_SINGLE_PRODUCER))
					continue;
				setting.used = 2;
				for (const char *victim = victims; *victim; victim++) {
					setting.victim = *victim;
					setting.swaps = true;
					setting.owner = 0;
					explore_setting(most, rarely);
					setting.swaps = false;
					for (size_t i = 0; i < sizeof owners / sizeof owners[0];
					     i++) {
						setting.owner = owners[i];
						explore_setting(most, rarely);
					}
				}
			}
		}
	}
	printf("%" PRIu64 " ways\n", branches);
}

/* Which of all ways are taken is the same each time. */
static const uint64_t once[] = {16}, twice[] = {10000, 20};

Test(ring_steps, a_call_may_stop_anywhere_among_many_producers_and_many_consumers)
{
	explore_all(0, 1, once);
}

Test(ring_steps, a_call_may_stop_anywhere_with_one_producer)
{
	explore_all(QUEUE_SINGLE_PRODUCER, 1, once);
}

Test(ring_steps, a_call_may_stop_anywhere_with_one_consumer)
{
	explore_all(QUEUE_SINGLE_CONSUMER, 1, once);
}

Test(ring_steps, a_call_may_stop_anywhere_with_one_of_each)
{
	explore_all(QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, 1, once);
}

Test(ring_steps, a_call_may_stop_twice)
{
	explore_all(0, 2, twice);
}

#else

Test(ring_steps, single_steps_are_for_x86_64_without_sanitizers)
{
	cr_assert(true);
}

#endif
