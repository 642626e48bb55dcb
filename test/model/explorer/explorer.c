/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An explorer of small concurrent programs: it runs a program again and again until it has seen
 * every order in which its threads can take their steps, and every value that each load may see by
 * the memory model of C11. It reports a failed assertion, a data race, a deadlock, or an execution
 * without end, with the trace that leads there.
 *
 * How.          The program is compiled with -fsanitize=thread but not linked with that library:
 *               the functions that the compiler calls for each access are here. pthread_create and
 *               pthread_join are here too; threads are coroutines. An access that is atomic is a
 *               step, at which another thread may go on. Everything is deterministic but for the
 *               choices made here, so a prefix of choices can be repeated and continued otherwise.
 * Memory.       Each location keeps all its writes, in modification order, each with the view of
 *               who wrote it: what he knew then of all locations. A load takes any write that is not
 *               older than its thread's view; what it does to the view depends on the orders, as in
 *               Kang, Hur, Lahav, Vafeiadis, Dreyer, A Promising Semantics for Relaxed-Memory
 *               Concurrency (POPL 2017), without the promises. Release sequences are those of C++20:
 *               read-modify-writes only. A write may come into the middle of the modification order,
 *               though not between a write and the read-modify-write that read it; with --append
 *               it comes last. With --locked a read-modify-write that acquires and releases is a
 *               full fence besides, as it is on the machines that the library runs on: a locked
 *               instruction of x86-64; on aarch64 CASAL (Arm Architecture Reference Manual, B2.3,
 *               Barrier-ordered-before), or LDAXR and STLXR, as long as what acquires is LDAR.
 * Data races    of plain accesses are found by happens-before, with vector clocks.
 * Reduction.    The executions differ in which write each load reads, in modification order and in
 *               the order of sequentially consistent fences. Only what may change these is tried in
 *               another order: dynamic partial-order reduction with the source sets of Abdulla,
 *               Aronis, Jonsson, Sagonas (POPL 2014), and sleep sets. A load that came after a write
 *               may still read the older ones, so only a load before a write is a race, as in
 *               Kokologiannakis, Vafeiadis, GenMC (CAV 2021). --full goes without all that.
 * Known holes.  Loads see writes that have been executed: no load buffering, that is to say
 *               po and reads-from have no cycle, as in RC11 (Lahav, Vafeiadis, Kang, Hur, Dreyer,
 *               Repairing Sequential Consistency in C/C++11, PLDI 2017). Accesses that are
 *               sequentially consistent have a fence before them, which is more than C11 says; the
 *               library has none. A swap of a pair sees the latest of both halves when it succeeds.
 *               A thread that reads the same write of a location again and again does so at most
 *               --stale times once there is a newer one: else each loop would be endless. Where it
 *               has to look more often before it does something, that is not seen.
 *               --preemptions bounds how often a thread is left that could go on, as in Musuvathi,
 *               Qadeer, Iterative Context Bounding (PLDI 2007); what that cuts off is not seen.
 *
 * The idea of running a program under a simulated memory model is that of Vyukov's Relacy.
 */
#include "explorer.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define THREADS 6
#define LOCATIONS 704
#define MESSAGES 640
#define STEPS 1500
#define GRANULES 8192 /* a power of two */
#define OUTCOMES 256
#define STACK_SIZE 65536
#define LOCALS 4
#define NAMES 64

struct view {
	uint16_t at[LOCATIONS]; /* messages; 0: the first */
};

/* Of accesses, for data races; of steps, for what came before what. */
struct clock {
	uint16_t at[THREADS];
};

struct message {
	uint64_t value;
	uint16_t rank;
	bool taken; /* a read-modify-write has read it: nothing comes between */
	uint8_t thread;
	struct view view;
	struct clock clock;
	struct clock steps;
};

struct location {
	const void *address;
	uint8_t size;
	uint16_t n;
	uint16_t messages[MESSAGES / 4]; /* in modification order */
};

enum kind {
	LOAD,
	STORE,
	RMW,
	FENCE,
	PAIR,
	RSEQ_PAIR,
	RSEQ_MOVE,
	GLOBAL,
	SLEEP,
	WAKE,
	CHOOSE,
	JOIN,
	WOKEN
};

static const char *const kind_names[] = {
	"load",	      "store",	    "rmw",	  "fence",  "pair swap", "rseq pair", "rseq move",
	"membarrier", "futex wait", "futex wake", "choose", "join",	 "woken"};

enum change {
	SWAP,
	EXCHANGE,
	ADD,
	SUB,
	AND,
	OR,
	XOR
};

/* What a thread is about to do. */
struct op {
	enum kind kind;
	int order, failure;
	enum change change;
	unsigned locations, n;
	uint16_t location[3];
	uint64_t expected[2], operand[2];
	unsigned target; /* of join */
	const void *pc;
};

/* One way to do it: which writes are read or come before, whether it succeeds. */
struct candidate {
	uint16_t message;
	bool succeeds;
};

struct event {
	struct op op;
	uint8_t thread;
	bool reads, writes, latest, fence, global;
	uint16_t index;
	struct clock steps; /* of this one */
	struct clock before;
	uint64_t value;
	uint64_t written;
	bool succeeds;
};

struct node {
	uint8_t thread, backtrack, enabled, done;
	bool local;
	uint16_t choice, n;
	uint16_t births;
	uint16_t preemptions;
	uint16_t sleep[THREADS]; /* 0: awake; else what is read must be newer than that */
};

struct thread {
	ucontext_t start;
	jmp_buf context;
	bool started, finished, asleep;
	void *(*function)(void *);
	void *argument, *result;
	struct op op;
	struct candidate chosen;
	struct view now, acquired, released;
	struct clock clock, acquired_clock, released_clock;
	struct clock steps;
	uint16_t again[LOCATIONS], last[LOCATIONS];
	unsigned interruptions;
	unsigned char locals[LOCALS][64];
};

/* Eight bytes of memory, and who has accessed them. */
struct granule {
	uintptr_t address;
	unsigned run;
	bool saved;
	uint64_t original;
	struct {
		uint16_t write, write_by;
		struct clock reads, atomic_reads, atomic_writes;
	} byte[8];
};

static struct thread threads[THREADS];
static unsigned n_threads, current;
static char stacks[THREADS][STACK_SIZE] __attribute__((__aligned__(64)));
static struct message messages[MESSAGES];
static unsigned n_messages;
static struct location locations[LOCATIONS];
static unsigned n_locations;
static struct granule granules[GRANULES];
static struct granule *saved[GRANULES];
static unsigned n_saved, run;
static struct node nodes[STEPS];
static struct event events[STEPS];
static unsigned depth, planned;
static struct view fence_view;
static struct clock fence_steps, global_steps;
static struct location *plain_pending;
static int creator = -1;
static jmp_buf controller;

static struct {
	void *address;
	size_t size;
} locals[LOCALS];
static unsigned n_locals;
static struct {
	const void *address;
	const char *name;
} names[NAMES];
static unsigned n_names;
static char outcomes[OUTCOMES][64];
static unsigned n_outcomes;

static bool middle = true, full, verbose;
static unsigned stale_limit = 4, interruptions_limit = 1;
bool explorer_locked;
static unsigned long preemptions_limit = ~0ul, executions_limit = ~0ul;
static unsigned long executions, blocked, cut;
static char **arguments;
static int n_arguments;

int program_main(void);

enum {
	ENDED = 1,
	BLOCKED,
	CUT,
	FAILED
};

/* The trace. */

static const char *
name_of(const void *address)
{
	static char text[32];
	unsigned i;

	for (i = 0; i < n_names; i++)
		if (names[i].address == address)
			return names[i].name;
	(void)snprintf(text, sizeof text, "%p", address);
	return text;
}

static void
print_trace(void)
{
	char command[256], line[512];
	unsigned i;

	fflush(stdout);
	for (i = 0; i < depth; i++) {
		const struct event *event = &events[i];
		FILE *pipe;

		if (i + 1 == depth && event->index == 0)
			break;
		printf("  %3u  thread %u  %-10s", i, event->thread, kind_names[event->op.kind]);
		if (event->op.locations)
			printf(" %s", name_of(locations[event->op.location[0]].address));
		if (event->reads)
			printf(" reads %#llx", (unsigned long long)event->value);
		if (event->writes)
			printf(" writes %#llx", (unsigned long long)event->written);
		fflush(stdout);
		(void)snprintf(command, sizeof command,
			       "addr2line -s -p -f -e /proc/%d/exe %p 2>/dev/null", (int)getpid(),
			       (const void *)((const char *)event->op.pc - 1));
		pipe = popen(command, "r");
		if (pipe && fgets(line, sizeof line, pipe))
			printf("  %s", line);
		else
			printf("\n");
		if (pipe)
			(void)pclose(pipe);
	}
}

__attribute__((__noreturn__)) static void
stop(int how)
{
	longjmp(controller, how);
}

static bool in_program;

void
explorer_fail(const char *what)
{
	printf("FAILED in execution %lu, thread %u: %s\n", executions + 1, current, what);
	print_trace();
	if (in_program)
		stop(FAILED);
	exit(1);
}

__attribute__((__noreturn__)) void
__assert_fail(const char *what, const char *file, unsigned line, const char *function)
{
	static char text[512];

	(void)snprintf(text, sizeof text, "%s:%u: %s: assertion failed: %s", file, line, function,
		       what);
	explorer_fail(text);
	abort();
}

/* Views and clocks. */

static uint16_t
rank_of(const struct view *view, unsigned location)
{
	return messages[view->at[location]].rank;
}

static void
see(struct view *view, unsigned location, unsigned message)
{
	if (view->at[location] == 0 || messages[message].rank > rank_of(view, location))
		view->at[location] = (uint16_t)message;
}

static void
join(struct view *into, const struct view *from)
{
	unsigned i;

	for (i = 0; i < n_locations; i++)
		if (from->at[i] && into->at[i] != from->at[i])
			see(into, i, from->at[i]);
}

static void
copy(struct view *to, const struct view *from)
{
	memcpy(to->at, from->at, sizeof to->at);
}

static void
merge(struct clock *into, const struct clock *from)
{
	unsigned i;

	for (i = 0; i < THREADS; i++)
		if (from->at[i] > into->at[i])
			into->at[i] = from->at[i];
}

static bool
is_acquire(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME ||
	       order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool
is_release(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

/* Memory. */

/* A thread's own: nobody else's accesses matter. */
static bool
is_private(uintptr_t address)
{
	unsigned i;

	if (address - (uintptr_t)stacks < sizeof stacks || address == (uintptr_t)&errno)
		return true;
	for (i = 0; i < n_locals; i++)
		if (address - (uintptr_t)locals[i].address < locals[i].size)
			return true;
	return false;
}

static struct granule *
granule_of(uintptr_t address)
{
	uintptr_t key = address >> 3;
	unsigned i = (unsigned)((key ^ key >> 11) & (GRANULES - 1));

	for (;; i = (i + 1) & (GRANULES - 1)) {
		struct granule *granule = &granules[i];

		if (granule->run == run && granule->address == key << 3)
			return granule;
		if (granule->run != run) {
			memset(granule, 0, sizeof *granule);
			granule->run = run;
			granule->address = key << 3;
			return granule;
		}
	}
}

/* What is written is put back before the program runs again. */
static void
save(struct granule *granule)
{
	if (granule->saved)
		return;
	granule->saved = true;
	memcpy(&granule->original, (const void *)granule->address, 8);
	saved[n_saved++] = granule;
}

static bool
is_before(const struct clock *clock, const struct thread *thread)
{
	unsigned i;

	for (i = 0; i < THREADS; i++)
		if (clock->at[i] > thread->clock.at[i])
			return false;
	return true;
}

static void
race(const void *address, const char *what)
{
	static char text[128];

	(void)snprintf(text, sizeof text, "data race at %s: %s", name_of(address), what);
	explorer_fail(text);
}

static void
access_bytes(uintptr_t address, size_t size, bool writes, bool atomic)
{
	struct thread *me = &threads[current];
	uint16_t now = me->clock.at[current];
	struct granule *granule = NULL;

	for (; size > 0; address++, size--) {
		unsigned i = address & 7;

		if (!granule || i == 0)
			granule = granule_of(address);
		if (writes)
			save(granule);
		if (granule->byte[i].write > me->clock.at[granule->byte[i].write_by])
			race((const void *)address, "after a plain write");
		if (writes && !is_before(&granule->byte[i].reads, me))
			race((const void *)address, "write after a plain read");
		if (!atomic && !is_before(&granule->byte[i].atomic_writes, me))
			race((const void *)address, "plain access after an atomic write");
		if (!atomic && writes && !is_before(&granule->byte[i].atomic_reads, me))
			race((const void *)address, "plain write after an atomic read");
		if (atomic && writes)
			granule->byte[i].atomic_writes.at[current] = now;
		else if (atomic)
			granule->byte[i].atomic_reads.at[current] = now;
		else if (writes) {
			granule->byte[i].write = now;
			granule->byte[i].write_by = (uint16_t)current;
		} else
			granule->byte[i].reads.at[current] = now;
	}
}

static uint64_t
fetch_value(const struct location *location)
{
	uint64_t value = 0;

	memcpy(&value, location->address, location->size);
	return value;
}

static void
store_value(const struct location *location, uint64_t value)
{
	memcpy((void *)(uintptr_t)location->address, &value, location->size);
}

static struct message *
new_message(void)
{
	struct message *message = &messages[n_messages];

	if (n_messages + 1 == MESSAGES)
		explorer_fail("too many writes");
	n_messages++;
	memset(message, 0, sizeof *message);
	return message;
}

/* A plain write to what is accessed atomically as well: by now it has been done. */
static void
settle_plain(void)
{
	struct location *location = plain_pending;

	if (!location)
		return;
	plain_pending = NULL;
	messages[location->messages[location->n - 1]].value = fetch_value(location);
}

static unsigned
location_of(const void *address, unsigned size)
{
	struct location *location;
	unsigned i;

	for (i = 0; i < n_locations; i++) {
		if (locations[i].address == address && locations[i].size == size)
			return i;
		if ((uintptr_t)locations[i].address < (uintptr_t)address + size &&
		    (uintptr_t)address < (uintptr_t)locations[i].address + locations[i].size)
			explorer_fail("atomic accesses of different sizes overlap");
	}
	if (n_locations == LOCATIONS)
		explorer_fail("too many locations");
	location = &locations[n_locations++];
	location->address = address;
	location->size = (uint8_t)size;
	location->n = 1;
	location->messages[0] = (uint16_t)n_messages;
	new_message()->value = fetch_value(location);
	return i;
}

/* Puts a message behind another one in modification order. */
static unsigned
insert(unsigned where, unsigned behind, uint64_t value)
{
	struct location *location = &locations[where];
	unsigned number = n_messages, i;

	new_message()->value = value;
	if (location->n == sizeof location->messages / sizeof *location->messages)
		explorer_fail("too many writes to one location");
	for (i = location->n; i > messages[behind].rank + 1u; i--) {
		location->messages[i] = location->messages[i - 1];
		messages[location->messages[i]].rank = (uint16_t)i;
	}
	location->messages[i] = (uint16_t)number;
	messages[number].rank = (uint16_t)i;
	if (i == location->n)
		store_value(location, value);
	location->n++;
	return number;
}

static unsigned
latest_of(unsigned where)
{
	return locations[where].messages[locations[where].n - 1];
}

/* The choices. */

/* A fence in itself, when it succeeds: before and behind, with nothing in between. */
static bool
is_locked(const struct op *op)
{
	return explorer_locked && (op->kind == RMW || op->kind == PAIR) &&
	       op->order == __ATOMIC_ACQ_REL;
}

/* Does this only if nothing newer is there, or appends? Then others' writes matter to it. */
static bool
is_latest(const struct op *op)
{
	return is_locked(op) || op->kind == PAIR || op->kind == RSEQ_PAIR ||
	       op->kind == RSEQ_MOVE || op->kind == SLEEP || op->kind == WAKE ||
	       (!middle && (op->kind == STORE || op->kind == RMW));
}

static bool
is_fence(const struct op *op)
{
	return op->kind == GLOBAL || op->kind == SLEEP || op->kind == WAKE || op->kind == FENCE ||
	       is_locked(op);
}

static bool
is_local(const struct op *op)
{
	return op->kind == CHOOSE || op->kind == JOIN || op->kind == WOKEN;
}

static bool
is_enabled(unsigned number)
{
	const struct thread *thread = &threads[number];

	if (thread->finished)
		return false;
	if (thread->op.kind == JOIN)
		return threads[thread->op.target].finished;
	return thread->op.kind != WOKEN || !thread->asleep;
}

/* May this thread still see this message, which it has seen before while there was a newer one? */
static bool
is_too_stale(const struct thread *thread, unsigned where, unsigned message)
{
	return message != latest_of(where) && thread->last[where] == message &&
	       thread->again[where] >= stale_limit;
}

struct list {
	unsigned n;
	struct candidate at[MESSAGES / 4 * 2];
};

static void
offer(struct list *list, unsigned message, bool succeeds)
{
	list->at[list->n].message = (uint16_t)message;
	list->at[list->n++].succeeds = succeeds;
}

/* What a load of one location may see, newest first, and `only` newer than a birth. */
static void
offer_reads(struct list *list, const struct thread *thread, unsigned where, unsigned newer,
	    bool matters, uint64_t expected)
{
	const struct location *location = &locations[where];
	int i, oldest = rank_of(&thread->now, where);

	for (i = location->n - 1; i >= oldest; i--) {
		unsigned message = location->messages[i];

		if (message >= newer && !is_too_stale(thread, where, message) &&
		    (!matters || messages[message].value != expected))
			offer(list, message, false);
	}
}

static void
candidates_of(struct list *list, unsigned number, unsigned newer)
{
	const struct thread *thread = &threads[number];
	const struct op *op = &thread->op;
	const struct location *location = &locations[op->location[0]];
	unsigned where = op->location[0], i;
	int rank, oldest = rank_of(&thread->now, where);

	list->n = 0;
	if (newer && (is_latest(op) || is_local(op) || op->kind == FENCE || op->kind == GLOBAL))
		return;
	switch (op->kind) {
	case LOAD:
		offer_reads(list, thread, where, newer, false, 0);
		break;
	case STORE:
	case RMW:
		for (rank = location->n - 1; rank >= oldest; rank--) {
			unsigned message = location->messages[rank];
			bool fails = op->kind == RMW && op->change == SWAP &&
				     messages[message].value != op->expected[0];

			if (message < newer)
				continue;
			if (fails && !is_too_stale(thread, where, message))
				offer(list, message, false);
			else if (!fails && !messages[message].taken &&
				 ((middle && !is_locked(op)) || rank == location->n - 1))
				offer(list, message, true);
		}
		break;
	case PAIR:
		if (messages[latest_of(where)].value == op->expected[0] &&
		    messages[latest_of(op->location[1])].value == op->expected[1])
			offer(list, latest_of(where), true);
		offer_reads(list, thread, where, 0, true, op->expected[0]);
		if (messages[latest_of(op->location[1])].value != op->expected[1] &&
		    messages[latest_of(where)].value == op->expected[0])
			offer(list, latest_of(where), false);
		break;
	case RSEQ_PAIR:
	case RSEQ_MOVE:
		/* The guard, and what follows if it is as expected: a refusal is that of the move. */
		for (rank = location->n - 1; rank >= oldest; rank--) {
			unsigned message = location->messages[rank];

			if (is_too_stale(thread, where, message))
				continue;
			offer(list, message,
			      messages[message].value == op->expected[0] &&
				      (op->kind == RSEQ_PAIR ||
				       messages[latest_of(op->location[1])].value ==
					       op->expected[1]));
		}
		if (thread->interruptions < interruptions_limit)
			offer(list, 0, false);
		break;
	case CHOOSE:
		for (i = 0; i < op->n; i++)
			offer(list, i, true);
		break;
	default:
		offer(list, 0, true);
	}
}

static bool
is_open(unsigned number, unsigned newer)
{
	static struct list list;

	if (!is_enabled(number))
		return false;
	candidates_of(&list, number, newer);
	return list.n > 0;
}

/* Does what this event did concern what that thread was about to do, so that it may try again? */
static bool
wakes(const struct event *event, const struct op *op)
{
	unsigned i, j;

	if (event->global || op->kind == GLOBAL || (event->fence && is_fence(op)))
		return true;
	if (!is_latest(op) || !event->writes)
		return false;
	for (i = 0; i < op->locations; i++)
		for (j = 0; j < event->op.locations; j++)
			if (op->location[i] == event->op.location[j])
				return true;
	return false;
}

static bool
shares(const struct event *a, const struct event *b)
{
	unsigned i, j;

	for (i = 0; i < a->op.locations; i++)
		for (j = 0; j < b->op.locations; j++)
			if (a->op.location[i] == b->op.location[j])
				return true;
	return false;
}

/* Could anything differ if the later one of these came first? */
static bool
is_race(const struct event *earlier, const struct event *later)
{
	if (earlier->global || later->global || (earlier->fence && later->fence))
		return true;
	if (!shares(earlier, later))
		return false;
	/* Of two that change the same write one comes first, and the other may fail for that. */
	if (earlier->reads && earlier->writes && later->op.kind == RMW)
		return true;
	return (earlier->reads && later->writes) || (earlier->writes && later->latest);
}

static void
add_backtrack(unsigned at, const struct event *last, unsigned until)
{
	const struct event *earlier = &events[at];
	struct node *node = &nodes[at];
	unsigned initials = 0, seen = 0, i, j, first[THREADS] = {0};

	for (i = at + 1; i < until; i++) {
		const struct event *event = &events[i];
		bool initial = true;

		if (event->steps.at[earlier->thread] >= earlier->index ||
		    (seen & 1u << event->thread))
			continue;
		for (j = 0; j < n_threads; j++)
			if ((seen & 1u << j) && event->steps.at[j] >= first[j])
				initial = false;
		seen |= 1u << event->thread;
		first[event->thread] = event->index;
		if (initial)
			initials |= 1u << event->thread;
	}
	if (!(seen & 1u << last->thread)) {
		bool initial = true;

		for (j = 0; j < n_threads; j++)
			if ((seen & 1u << j) && last->before.at[j] >= first[j])
				initial = false;
		if (initial)
			initials |= 1u << last->thread;
	}
	if (initials & node->backtrack)
		return;
	if (initials & 1u << last->thread)
		initials = 1u << last->thread;
	else
		initials &= 0u - initials;
	node->backtrack |= (uint8_t)(node->enabled & initials ? initials : node->enabled);
}

static void
find_races(unsigned number)
{
	const struct event *last = &events[number];
	unsigned i;

	for (i = number; i-- > 0;) {
		const struct event *event = &events[i];

		if (event->thread != last->thread &&
		    event->index > last->before.at[event->thread] && !nodes[i].local &&
		    is_race(event, last))
			add_backtrack(i, last, number);
	}
}

static void
note_sleepers(struct node *node)
{
	const struct node *parent;
	const struct event *event;
	unsigned i;

	memset(node->sleep, 0, sizeof node->sleep);
	if (depth == 0 || full)
		return;
	parent = node - 1;
	event = &events[depth - 1];
	for (i = 0; i < n_threads; i++)
		if (i != event->thread && parent->sleep[i] && !wakes(event, &threads[i].op))
			node->sleep[i] = parent->sleep[i];
}

static void
make_node(struct node *node)
{
	unsigned i, before = depth ? nodes[depth - 1].thread : 0, chosen = THREADS, open = 0;

	node->choice = 0;
	node->local = false;
	node->births = (uint16_t)n_messages;
	node->enabled = node->done = 0;
	note_sleepers(node);
	for (i = 0; i < n_threads; i++) {
		if (!is_enabled(i))
			continue;
		node->enabled |= (uint8_t)(1u << i);
		if (is_open(i, node->sleep[i]))
			open |= 1u << i;
	}
	if (!node->enabled)
		explorer_fail("deadlock");
	for (i = 0; i < n_threads; i++)
		if ((node->enabled & 1u << i) && is_local(&threads[i].op)) {
			node->local = true;
			chosen = i;
		}
	if (chosen == THREADS && !open)
		stop(BLOCKED);
	if (chosen == THREADS && (open & 1u << before))
		chosen = before;
	for (i = 0; chosen == THREADS; i++)
		if (open & 1u << i)
			chosen = i;
	node->thread = (uint8_t)chosen;
	node->backtrack = (uint8_t)(1u << chosen);
	if (full && !node->local)
		node->backtrack = node->enabled;
}

static void
count_preemptions(struct node *node)
{
	unsigned before = depth ? nodes[depth - 1].thread : 0;

	node->preemptions = (uint16_t)(depth ? nodes[depth - 1].preemptions : 0);
	if (!node->local && node->thread != before && (node->enabled & 1u << before))
		node->preemptions++;
}

/* Decides what comes next, and which thread does it. */
static unsigned
pick(void)
{
	static struct list list;
	struct node *node = &nodes[depth];
	unsigned i, left = 0;

	for (i = 0; i < n_threads; i++)
		left += !threads[i].finished;
	if (left == 0)
		stop(ENDED);
	if (depth == STEPS - 1)
		explorer_fail("no end in sight");
	if (depth >= planned)
		make_node(node);
	candidates_of(&list, node->thread, node->sleep[node->thread]);
	if (depth + 1 < planned && node->n != list.n)
		explorer_fail("the program does not do the same when it is repeated");
	node->n = (uint16_t)list.n;
	events[depth].thread = node->thread;
	events[depth].index = 0;
	events[depth].op = threads[node->thread].op;
	count_preemptions(node);
	depth++;
	if (list.n == 0)
		stop(BLOCKED);
	if (node->preemptions > preemptions_limit) {
		node->n = 0;
		stop(CUT);
	}
	threads[node->thread].chosen = list.at[node->choice];
	return node->thread;
}

/* Coroutines. */

static void
swap_locals(unsigned from, unsigned to)
{
	unsigned i;

	for (i = 0; i < n_locals; i++) {
		memcpy(threads[from].locals[i], locals[i].address, locals[i].size);
		memcpy(locals[i].address, threads[to].locals[i], locals[i].size);
	}
}

static void
switch_to(unsigned number)
{
	unsigned before = current;
	struct thread *thread = &threads[number];

	if (number == before)
		return;
	current = number;
	swap_locals(before, number);
	if (threads[before].finished || _setjmp(threads[before].context) == 0) {
		if (thread->started)
			_longjmp(thread->context, 1);
		thread->started = true;
		(void)setcontext(&thread->start);
	}
}

static void
thread_main(void)
{
	struct thread *me = &threads[current];
	int back;

	me->result = me->function(me->argument);
	settle_plain();
	me->finished = true;
	back = creator;
	creator = -1;
	switch_to(back >= 0 ? (unsigned)back : pick());
}

static void
prepare(unsigned number, void *(*function)(void *), void *argument)
{
	struct thread *thread = &threads[number];

	memset(thread, 0, sizeof *thread);
	thread->function = function;
	thread->argument = argument;
	thread->clock.at[number] = 1;
	(void)getcontext(&thread->start);
	thread->start.uc_stack.ss_sp = stacks[number];
	thread->start.uc_stack.ss_size = STACK_SIZE;
	thread->start.uc_link = NULL;
	makecontext(&thread->start, thread_main, 0);
}

/* Announces what the calling thread will do, and lets others go first if that is the choice. */
static struct event *
announce(const struct op *op)
{
	struct event *event;

	settle_plain();
	threads[current].op = *op;
	if (creator >= 0) {
		unsigned back = (unsigned)creator;

		creator = -1;
		switch_to(back);
	} else {
		switch_to(pick());
	}
	event = &events[depth - 1];
	event->reads = event->writes = false;
	event->latest = is_latest(op);
	event->fence = is_fence(op);
	event->global = op->kind == GLOBAL;
	event->before = threads[current].steps;
	event->steps = event->before;
	event->succeeds = threads[current].chosen.succeeds;
	return event;
}

/* After the step: its place among the others. */
static void
conclude(struct event *event)
{
	struct thread *me = &threads[current];
	unsigned i, j;

	if (event->latest)
		for (i = 0; i < event->op.locations; i++)
			for (j = 0; j < locations[event->op.location[i]].n; j++) {
				unsigned number = locations[event->op.location[i]].messages[j];

				if (messages[number].steps.at[current] <= event->before.at[current])
					merge(&event->steps, &messages[number].steps);
			}
	if (event->fence)
		merge(&event->steps, &fence_steps);
	if (event->global)
		for (i = 0; i < n_threads; i++)
			merge(&event->steps, &threads[i].steps);
	/* Not yet when it began: that it comes behind the global one may be otherwise. */
	merge(&event->steps, &global_steps);
	event->index = event->steps.at[current] = (uint16_t)(event->before.at[current] + 1);
	me->steps = event->steps;
	if (event->fence)
		fence_steps = event->steps;
	if (event->global)
		global_steps = event->steps;
	if (!full && depth >= planned && !nodes[depth - 1].local)
		find_races(depth - 1);
}

/* Reading and writing. */

static void
read_message(struct event *event, unsigned where, unsigned number, int order)
{
	struct thread *me = &threads[current];
	const struct message *message = &messages[number];

	access_bytes((uintptr_t)locations[where].address, locations[where].size, false, true);
	me->again[where] = me->last[where] == number ? (uint16_t)(me->again[where] + 1) : 1;
	me->last[where] = (uint16_t)number;
	see(&me->now, where, number);
	if (is_acquire(order)) {
		join(&me->now, &message->view);
		merge(&me->clock, &message->clock);
	} else {
		join(&me->acquired, &message->view);
		merge(&me->acquired_clock, &message->clock);
	}
	merge(&event->steps, &message->steps);
	event->reads = true;
	event->value = message->value;
}

static void
write_message(struct event *event, unsigned where, unsigned behind, uint64_t value, int order,
	      bool reads)
{
	struct thread *me = &threads[current];
	struct message *message;
	unsigned number;

	access_bytes((uintptr_t)locations[where].address, locations[where].size, true, true);
	number = insert(where, behind, value);
	message = &messages[number];
	see(&me->now, where, number);
	if (is_release(order)) {
		copy(&message->view, &me->now);
		message->clock = me->clock;
	} else {
		copy(&message->view, &me->released);
		message->clock = me->released_clock;
	}
	see(&message->view, where, number);
	if (reads) {
		messages[behind].taken = true;
		join(&message->view, &messages[behind].view);
		merge(&message->clock, &messages[behind].clock);
	}
	merge(&event->steps, &messages[behind].steps);
	message->thread = (uint8_t)current;
	message->steps = event->steps;
	message->steps.at[current] = (uint16_t)(event->before.at[current] + 1);
	event->writes = true;
	event->written = value;
	me->clock.at[current]++;
}

static void
do_fence(unsigned number, int order)
{
	struct thread *thread = &threads[number];

	if (is_acquire(order)) {
		join(&thread->now, &thread->acquired);
		merge(&thread->clock, &thread->acquired_clock);
	}
	if (order == __ATOMIC_SEQ_CST) {
		join(&thread->now, &fence_view);
		copy(&fence_view, &thread->now);
	}
	if (is_release(order)) {
		copy(&thread->released, &thread->now);
		thread->released_clock = thread->clock;
		thread->clock.at[number]++;
	}
}

void __tsan_atomic_thread_fence(int order);

/* What remains of an order once the fence has been done that sequential consistency asks for. */
static int
fence_before(int order)
{
	if (order != __ATOMIC_SEQ_CST)
		return order;
	__tsan_atomic_thread_fence(order);
	return __ATOMIC_ACQ_REL;
}

static uint64_t
atomic_load(const void *address, unsigned size, int order, const void *pc)
{
	struct op op = {.kind = LOAD, .locations = 1, .pc = pc};
	struct event *event;

	settle_plain();
	order = fence_before(order);
	op.location[0] = (uint16_t)location_of(address, size);
	op.order = order;
	event = announce(&op);
	read_message(event, op.location[0], threads[current].chosen.message, order);
	conclude(event);
	return event->value;
}

static void
atomic_store(void *address, unsigned size, uint64_t value, int order, const void *pc)
{
	struct op op = {.kind = STORE, .locations = 1, .pc = pc};
	struct event *event;

	settle_plain();
	order = fence_before(order);
	op.location[0] = (uint16_t)location_of(address, size);
	op.order = order;
	event = announce(&op);
	write_message(event, op.location[0], threads[current].chosen.message, value, order, false);
	conclude(event);
}

static uint64_t
changed(enum change change, uint64_t old, uint64_t operand)
{
	switch (change) {
	case ADD:
		return old + operand;
	case SUB:
		return old - operand;
	case AND:
		return old & operand;
	case OR:
		return old | operand;
	case XOR:
		return old ^ operand;
	case SWAP:
	case EXCHANGE:
	default:
		return operand;
	}
}

static uint64_t
atomic_change(struct op *op, void *address, unsigned size, bool *succeeds)
{
	uint64_t mask = size == 8 ? ~UINT64_C(0) : (UINT64_C(1) << 8 * size) - 1, old;
	struct event *event;
	unsigned message;

	settle_plain();
	op->order = fence_before(op->order);
	op->kind = RMW;
	op->locations = 1;
	op->location[0] = (uint16_t)location_of(address, size);
	op->expected[0] &= mask;
	event = announce(op);
	message = threads[current].chosen.message;
	*succeeds = event->succeeds;
	if (*succeeds && is_locked(op))
		do_fence(current, __ATOMIC_SEQ_CST);
	read_message(event, op->location[0], message, *succeeds ? op->order : op->failure);
	old = event->value;
	if (*succeeds)
		write_message(event, op->location[0], message,
			      changed(op->change, old, op->operand[0]) & mask, op->order, true);
	if (*succeeds && is_locked(op))
		do_fence(current, __ATOMIC_SEQ_CST);
	conclude(event);
	return old;
}

/* What the program, and the compiler on its behalf, calls. */

bool
explorer_cas_pair(void *pair, uint64_t low, uint64_t high, uint64_t new_low, uint64_t new_high,
		  int order)
{
	struct op op = {.kind = PAIR,
			.order = order,
			.locations = 2,
			.expected = {low, high},
			.pc = __builtin_return_address(0)};
	struct event *event;
	unsigned message;

	settle_plain();
	op.location[0] = (uint16_t)location_of(pair, 8);
	op.location[1] = (uint16_t)location_of((char *)pair + 8, 8);
	event = announce(&op);
	message = threads[current].chosen.message;
	if (!event->succeeds) {
		/* By low if that differs, which then is all that is known; else by high. */
		read_message(event, op.location[0], message,
			     is_acquire(order) ? __ATOMIC_ACQUIRE : __ATOMIC_RELAXED);
		conclude(event);
		return false;
	}
	if (is_locked(&op))
		do_fence(current, __ATOMIC_SEQ_CST);
	read_message(event, op.location[1], latest_of(op.location[1]), order);
	read_message(event, op.location[0], message, order);
	write_message(event, op.location[1], latest_of(op.location[1]), new_high, order, true);
	write_message(event, op.location[0], message, new_low, order, true);
	/* One write: who acquires from the one half sees the other as well. */
	if (is_release(order))
		see(&messages[latest_of(op.location[1])].view, op.location[0],
		    latest_of(op.location[0]));
	if (is_locked(&op))
		do_fence(current, __ATOMIC_SEQ_CST);
	conclude(event);
	return true;
}

static bool
rseq_step(struct op *op, uint64_t low, uint64_t high)
{
	struct thread *me = &threads[current];
	struct event *event = announce(op);

	if (me->chosen.message)
		read_message(event, op->location[0], me->chosen.message, __ATOMIC_ACQUIRE);
	else
		me->interruptions++;
	if (event->succeeds) {
		if (op->kind == RSEQ_PAIR)
			write_message(event, op->location[2], latest_of(op->location[2]), high,
				      __ATOMIC_RELAXED, false);
		else
			read_message(event, op->location[1], latest_of(op->location[1]),
				     __ATOMIC_ACQUIRE);
		write_message(event, op->location[1], latest_of(op->location[1]), low,
			      __ATOMIC_RELEASE, false);
	} else if (op->kind == RSEQ_MOVE && me->chosen.message) {
		read_message(event, op->location[1], latest_of(op->location[1]), __ATOMIC_ACQUIRE);
	}
	conclude(event);
	return event->succeeds;
}

bool
explorer_rseq_store_pair(const uint64_t *guard, uint64_t expected, void *pair, uint64_t low,
			 uint64_t high)
{
	struct op op = {.kind = RSEQ_PAIR,
			.locations = 3,
			.expected = {expected},
			.pc = __builtin_return_address(0)};

	settle_plain();
	op.location[0] = (uint16_t)location_of(guard, 8);
	op.location[1] = (uint16_t)location_of(pair, 8);
	op.location[2] = (uint16_t)location_of((char *)pair + 8, 8);
	return rseq_step(&op, low, high);
}

bool
explorer_rseq_move(const uint64_t *owner, uint64_t self, uint64_t *word, uint64_t from, uint64_t to)
{
	struct op op = {.kind = RSEQ_MOVE,
			.locations = 2,
			.expected = {self, from},
			.pc = __builtin_return_address(0)};

	settle_plain();
	op.location[0] = (uint16_t)location_of(owner, 8);
	op.location[1] = (uint16_t)location_of(word, 8);
	return rseq_step(&op, to, 0);
}

void
explorer_membarrier(void)
{
	struct op op = {
		.kind = GLOBAL, .order = __ATOMIC_SEQ_CST, .pc = __builtin_return_address(0)};
	struct event *event = announce(&op);
	unsigned i, round;

	/* Twice: what any of them knows all of them know afterwards. */
	for (round = 0; round < 2; round++)
		for (i = 0; i < n_threads; i++)
			do_fence(i, __ATOMIC_SEQ_CST);
	conclude(event);
}

/* The word may be the first half of a longer one. */
static unsigned
futex_location(const uint32_t *word)
{
	unsigned i;

	for (i = 0; i < n_locations; i++)
		if (locations[i].address == (const void *)word)
			return i;
	return location_of(word, 4);
}

void
explorer_futex_wait(const uint32_t *word, uint32_t expected)
{
	struct op op = {.kind = SLEEP,
			.order = __ATOMIC_SEQ_CST,
			.locations = 1,
			.pc = __builtin_return_address(0)};
	struct thread *me = &threads[current];
	struct event *event;

	settle_plain();
	op.location[0] = (uint16_t)futex_location(word);
	event = announce(&op);
	do_fence(current, __ATOMIC_SEQ_CST);
	read_message(event, op.location[0], latest_of(op.location[0]), __ATOMIC_RELAXED);
	event->writes = true; /* to the list of those who sleep */
	event->written = 0;
	conclude(event);
	if ((uint32_t)event->value != expected)
		return;
	me->asleep = true;
	op.kind = WOKEN;
	op.order = __ATOMIC_RELAXED;
	conclude(announce(&op));
}

int
explorer_futex_wake(const uint32_t *word, int n)
{
	struct op op = {.kind = WAKE,
			.order = __ATOMIC_SEQ_CST,
			.locations = 1,
			.pc = __builtin_return_address(0)};
	struct event *event;
	int woken = 0;
	unsigned i;

	settle_plain();
	op.location[0] = (uint16_t)futex_location(word);
	event = announce(&op);
	do_fence(current, __ATOMIC_SEQ_CST);
	event->reads = event->writes = true;
	event->value = event->written = 0;
	conclude(event);
	for (i = 0; i < n_threads && woken < n; i++)
		if (threads[i].asleep && threads[i].op.location[0] == op.location[0]) {
			threads[i].asleep = false;
			merge(&threads[i].steps, &event->steps);
			woken++;
		}
	return woken;
}

unsigned
explorer_choose(unsigned n)
{
	struct op op = {.kind = CHOOSE, .n = n, .pc = __builtin_return_address(0)};

	conclude(announce(&op));
	return threads[current].chosen.message;
}

unsigned
explorer_thread(void)
{
	return current;
}

int
pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
	       void *(*function)(void *), void *restrict argument)
{
	struct thread *me = &threads[current], *other = &threads[n_threads];
	unsigned number = n_threads;

	(void)attributes;
	settle_plain();
	if (n_threads == THREADS)
		explorer_fail("too many threads");
	n_threads++;
	prepare(number, function, argument);
	copy(&other->now, &me->now);
	merge(&other->clock, &me->clock);
	other->steps = me->steps;
	me->clock.at[current]++;
	*thread = number;
	/* It goes as far as its first step. */
	creator = (int)current;
	switch_to(number);
	return 0;
}

int
pthread_join(pthread_t thread, void **result)
{
	struct op op = {
		.kind = JOIN, .target = (unsigned)thread, .pc = __builtin_return_address(0)};
	struct thread *me = &threads[current], *other = &threads[thread];
	struct event *event = announce(&op);

	join(&me->now, &other->now);
	merge(&me->clock, &other->clock);
	merge(&event->steps, &other->steps);
	conclude(event);
	if (result)
		*result = other->result;
	return 0;
}

void
explorer_outcome(const char *text)
{
	unsigned i;

	for (i = 0; i < n_outcomes; i++)
		if (strcmp(outcomes[i], text) == 0)
			return;
	if (n_outcomes == OUTCOMES)
		explorer_fail("too many outcomes");
	(void)snprintf(outcomes[n_outcomes++], sizeof outcomes[0], "%s", text);
}

void
explorer_name(const void *address, const char *name)
{
	unsigned i;

	for (i = 0; i < n_names; i++)
		if (names[i].address == address)
			return;
	if (n_names < NAMES) {
		names[n_names].address = address;
		names[n_names++].name = name;
	}
}

void
explorer_thread_local(void *address, size_t size)
{
	unsigned i;

	for (i = 0; i < n_locals; i++)
		if (locals[i].address == address)
			return;
	if (n_locals == LOCALS || size > sizeof threads[0].locals[0])
		explorer_fail("too many variables of threads");
	locals[n_locals].address = address;
	locals[n_locals++].size = size;
}

const char *
explorer_argument(int i)
{
	return i < n_arguments ? arguments[i] : NULL;
}

static void
plain(const void *address, size_t size, bool writes)
{
	uintptr_t at = (uintptr_t)address;
	unsigned i, end;

	settle_plain();
	if (!in_program || is_private(at))
		return;
	access_bytes(at, size, writes, false);
	if (!writes)
		return;
	for (i = 0, end = n_locations; i < end; i++) {
		struct location *location = &locations[i];
		struct thread *me = &threads[current];
		unsigned number;

		if ((uintptr_t)location->address - at >= size)
			continue;
		number = insert(i, latest_of(i), 0);
		see(&me->now, i, number);
		copy(&messages[number].view, &me->released);
		see(&messages[number].view, i, number);
		messages[number].steps = me->steps;
		plain_pending = location;
	}
}

#define PLAIN(size)                                                                                \
	void __tsan_read##size(const void *address);                                               \
	void __tsan_write##size(const void *address);                                              \
	void __tsan_unaligned_read##size(const void *address);                                     \
	void __tsan_unaligned_write##size(const void *address);                                    \
	void __tsan_read##size(const void *address)                                                \
	{                                                                                          \
		plain(address, size, false);                                                       \
	}                                                                                          \
	void __tsan_write##size(const void *address)                                               \
	{                                                                                          \
		plain(address, size, true);                                                        \
	}                                                                                          \
	void __tsan_unaligned_read##size(const void *address)                                      \
	{                                                                                          \
		plain(address, size, false);                                                       \
	}                                                                                          \
	void __tsan_unaligned_write##size(const void *address)                                     \
	{                                                                                          \
		plain(address, size, true);                                                        \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void *pc);
void __tsan_read_range(const void *address, size_t size);
void __tsan_write_range(const void *address, size_t size);
void __tsan_atomic_signal_fence(int order);

void
__tsan_init(void)
{
}

void
__tsan_func_entry(void *pc)
{
	(void)pc;
}

void
__tsan_func_exit(void *pc)
{
	(void)pc;
}

void
__tsan_read_range(const void *address, size_t size)
{
	plain(address, size, false);
}

void
__tsan_write_range(const void *address, size_t size)
{
	plain(address, size, true);
}

void
__tsan_atomic_signal_fence(int order)
{
	(void)order;
}

/* Only what orders all fences has an order among them: the others are the thread's own business. */
void
__tsan_atomic_thread_fence(int order)
{
	struct op op = {.kind = FENCE, .order = order, .pc = __builtin_return_address(0)};
	struct event *event;

	settle_plain();
	if (order != __ATOMIC_SEQ_CST) {
		do_fence(current, order);
		return;
	}
	event = announce(&op);
	do_fence(current, order);
	conclude(event);
}

#define CHANGE(bits, name, how)                                                                    \
	uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t *address, uint##bits##_t value, \
						    int order);                                    \
	uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t *address, uint##bits##_t value, \
						    int order)                                     \
	{                                                                                          \
		struct op op = {.order = order,                                                    \
				.change = how,                                                     \
				.operand = {value},                                                \
				.pc = __builtin_return_address(0)};                                \
		bool succeeds;                                                                     \
                                                                                                   \
		return (uint##bits##_t)atomic_change(&op, address, bits / 8, &succeeds);           \
	}

#define COMPARE(bits, name)                                                                        \
	int __tsan_atomic##bits##_compare_exchange_##name(                                         \
		uint##bits##_t *address, uint##bits##_t *expected, uint##bits##_t value,           \
		int order, int failure);                                                           \
	int __tsan_atomic##bits##_compare_exchange_##name(                                         \
		uint##bits##_t *address, uint##bits##_t *expected, uint##bits##_t value,           \
		int order, int failure)                                                            \
	{                                                                                          \
		struct op op = {.order = order,                                                    \
				.failure = failure,                                                \
				.change = SWAP,                                                    \
				.expected = {*expected},                                           \
				.operand = {value},                                                \
				.pc = __builtin_return_address(0)};                                \
		bool succeeds;                                                                     \
                                                                                                   \
		*expected = (uint##bits##_t)atomic_change(&op, address, bits / 8, &succeeds);      \
		return succeeds;                                                                   \
	}

#define ATOMIC(bits)                                                                               \
	uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t *address, int order);       \
	void __tsan_atomic##bits##_store(uint##bits##_t *address, uint##bits##_t value,            \
					 int order);                                               \
	uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t *address, int order)        \
	{                                                                                          \
		return (uint##bits##_t)atomic_load(address, bits / 8, order,                       \
						   __builtin_return_address(0));                   \
	}                                                                                          \
	void __tsan_atomic##bits##_store(uint##bits##_t *address, uint##bits##_t value, int order) \
	{                                                                                          \
		atomic_store(address, bits / 8, value, order, __builtin_return_address(0));        \
	}                                                                                          \
	CHANGE(bits, exchange, EXCHANGE)                                                           \
	CHANGE(bits, fetch_add, ADD)                                                               \
	CHANGE(bits, fetch_sub, SUB)                                                               \
	CHANGE(bits, fetch_and, AND)                                                               \
	CHANGE(bits, fetch_or, OR)                                                                 \
	CHANGE(bits, fetch_xor, XOR)                                                               \
	COMPARE(bits, strong)                                                                      \
	COMPARE(bits, weak)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

/* The search. */

static void *
start_main(void *argument)
{
	(void)argument;
	(void)program_main();
	return NULL;
}

static int
execute(void)
{
	unsigned i;
	int how;

	while (n_saved > 0) {
		struct granule *granule = saved[--n_saved];

		memcpy((void *)granule->address, &granule->original, 8);
	}
	run++;
	n_locations = 0;
	n_messages = 1;
	n_threads = 1;
	current = 0;
	depth = 0;
	plain_pending = NULL;
	creator = -1;
	memset(&fence_view, 0, sizeof fence_view);
	memset(&fence_steps, 0, sizeof fence_steps);
	memset(&global_steps, 0, sizeof global_steps);
	for (i = 0; i < n_locals; i++)
		memset(locals[i].address, 0, locals[i].size);
	prepare(0, start_main, NULL);
	threads[0].started = true;
	how = _setjmp(controller);
	if (how == 0) {
		in_program = true;
		(void)setcontext(&threads[0].start);
	}
	in_program = false;
	return how;
}

/* Prepares the next execution: the deepest choice that is left. False: there is none. */
static bool
next(void)
{
	while (depth > 0) {
		struct node *node = &nodes[depth - 1];
		unsigned i, left;

		if (node->choice + 1u < node->n) {
			node->choice++;
			break;
		}
		if (!full)
			node->sleep[node->thread] = node->births;
		node->done |= (uint8_t)(1u << node->thread);
		left = (unsigned)(node->backtrack & node->enabled & ~node->done);
		for (i = 0; i < THREADS; i++)
			if (left & 1u << i)
				break;
		if (i < THREADS) {
			node->thread = (uint8_t)i;
			node->choice = 0;
			node->n = 0;
			break;
		}
		depth--;
	}
	planned = depth;
	return depth > 0;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The arguments. Litmus programs take none. */

__attribute__((__weak__)) const char program_usage[] = "";

__attribute__((__weak__)) void
program_check(void)
{
	explorer_need_no_more(0);
}

void
explorer_refuse(const char *format, ...)
{
	va_list list;

	(void)fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(list, format);
	(void)vfprintf(stderr, format, list);
	va_end(list);
	(void)fprintf(stderr, "; --help says more\n");
	exit(2);
}

static const char *
need(int i, const char *name)
{
	if (!explorer_argument(i))
		explorer_refuse("%s is missing", name);
	return explorer_argument(i);
}

/* Of one digit. */
void
explorer_need_number(int i, const char *name, unsigned least, unsigned most)
{
	const char *text = need(i, name);

	if (text[0] < (char)('0' + least) || text[0] > (char)('0' + most) || text[1])
		explorer_refuse("%s is \"%s\"; it must be a number from %u to %u", name, text,
				least, most);
}

void
explorer_need_word(int i, const char *name, const char *const *words)
{
	const char *text = need(i, name);
	char all[128];
	size_t n = 0;

	for (all[0] = '\0'; *words; words++) {
		if (strcmp(text, *words) == 0)
			return;
		n += (size_t)snprintf(all + n, sizeof all - n, " %s", *words);
	}
	explorer_refuse("%s is \"%s\"; it must be one of%s", name, text, all);
}

/* Is there membarrier(2)? And what else there is, a letter for each. */
void
explorer_need_world(int i, const char *letters)
{
	const char *text = need(i, "WORLD"), *rest = text;

	if (strncmp(text, "fence", strlen("fence")) == 0)
		rest += strlen("fence");
	else if (strncmp(text, "barrier", strlen("barrier")) == 0)
		rest += strlen("barrier");
	if (rest == text)
		explorer_refuse("WORLD is \"%s\"; it must begin with fence or barrier", text);
	rest += strspn(rest, letters);
	if (*rest && *letters)
		explorer_refuse("WORLD is \"%s\"; there is no letter %c, there are %s", text, *rest,
				letters);
	if (*rest)
		explorer_refuse("WORLD is \"%s\"; it must be fence or barrier", text);
}

/* A letter for each call. */
void
explorer_need_calls(int i, const char *name, const char *letters, unsigned most)
{
	const char *text = need(i, name);
	size_t known = strspn(text, letters);

	if (text[known])
		explorer_refuse("%s is \"%s\"; there is no call %c, there are %s", name, text,
				text[known], letters);
	if (known > most)
		explorer_refuse("%s is \"%s\"; it must be %u calls at most", name, text, most);
}

void
explorer_need_no_more(int n)
{
	if (explorer_argument(n))
		explorer_refuse("\"%s\" is one argument too many", explorer_argument(n));
}

static void
usage(void)
{
	printf("usage: %s [OPTION...]%s", program_invocation_short_name,
	       *program_usage ? program_usage : "\n");
	(void)fputs(
		"\n"
		"  --locked           read-modify-writes that acquire and release are full fences\n"
		"  --append           writes come last in modification order, none in its middle\n"
		"  --full             tries all orders of steps, also of those that do not matter\n"
		"  --stale N          how often a thread reads the same old write, at most (4)\n"
		"  --preemptions N    how often a thread is left that could go on, at most (no bound)\n"
		"  --executions N     ends after so many (no bound)\n"
		"  --interruptions N  of restartable sequences, in each thread, at most (1)\n"
		"  --verbose          shows all steps of every execution\n"
		"  --help             this text\n"
		"\n"
		"It prints the ways in which the program can end, and how many executions there\n"
		"were. \"exhaustive\": all that there are, but for those that differ in nothing;\n"
		"\"bounded\": --preemptions or --executions have cut some off. \"given up as\n"
		"repetitions\": begun, and left when all that could still come had been seen in\n"
		"others. The exit status is 1 when an execution fails; then its steps are shown.\n"
		"What is not seen is said in test/model/explorer/explorer.c.\n",
		stdout);
	exit(0);
}

static unsigned long
number_in(char **argv, unsigned least)
{
	unsigned long value;
	char *end;

	if (!argv[1])
		explorer_refuse("a number must follow %s", argv[0]);
	errno = 0;
	value = strtoul(argv[1], &end, 10);
	if (errno || *end || *argv[1] < '0' || *argv[1] > '9' || value < least ||
	    value > UINT32_MAX)
		explorer_refuse("%s is \"%s\"; it must be a number from %u to %u", argv[0], argv[1],
				least, UINT32_MAX);
	return value;
}

int
main(int argc, char **argv)
{
	unsigned i;
	int how;

	(void)argc;
	for (argv++; *argv && strncmp(*argv, "--", 2) == 0; argv++) {
		if (strcmp(*argv, "--locked") == 0)
			explorer_locked = true;
		else if (strcmp(*argv, "--append") == 0)
			middle = false;
		else if (strcmp(*argv, "--full") == 0)
			full = true;
		else if (strcmp(*argv, "--verbose") == 0)
			verbose = true;
		else if (strcmp(*argv, "--stale") == 0)
			stale_limit = (unsigned)number_in(argv++, 0);
		else if (strcmp(*argv, "--interruptions") == 0)
			interruptions_limit = (unsigned)number_in(argv++, 0);
		else if (strcmp(*argv, "--preemptions") == 0)
			preemptions_limit = number_in(argv++, 0);
		else if (strcmp(*argv, "--executions") == 0)
			executions_limit = number_in(argv++, 1);
		else if (strcmp(*argv, "--help") == 0)
			usage();
		else
			explorer_refuse("there is no option \"%s\"", *argv);
	}
	arguments = argv;
	while (argv[n_arguments])
		n_arguments++;
	program_check();
	do {
		how = execute();
		if (how == FAILED)
			return 1;
		if (how == ENDED)
			executions++;
		else if (how == BLOCKED)
			blocked++;
		else
			cut++;
		if (verbose && how == ENDED)
			print_trace();
	} while (executions < executions_limit && next());
	qsort(outcomes, n_outcomes, sizeof outcomes[0], by_text);
	for (i = 0; i < n_outcomes; i++)
		printf("outcome %s\n", outcomes[i]);
	printf("%s: %lu executions, %lu given up as repetitions%s\n",
	       executions == executions_limit || cut ? "bounded" : "exhaustive", executions,
	       blocked, cut ? ", others beyond the bound" : "");
	return 0;
}
