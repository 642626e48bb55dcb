/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring as it is in include/ and lib/, for the explorer.
 *
 *	ring CAPACITY FLAGS CALLS...
 *
 * FLAGS are roles as a number. CALLS is what one thread does, a letter for each call: u push, o
 * pop, U push_n of 2, O pop_n of 2, c close, s statistics. MODEL_RSEQ: with restartable sequences.
 *
 * Checked: there is one order of all calls, in which each thread's come as it made them, such that
 * a bounded queue would have answered the same, one after the other, those that main makes in the
 * end included. Of push_n and pop_n each item is a call; so is their finding that there is no more.
 * What was written into an item before the push is there after the pop (the explorer reports a data
 * race otherwise); what was done before close comes before what is done after a call that says so
 * (RING5). Where one thread does all pops: what it did before a pop comes before what is done after
 * the push that uses the place again (RING4).
 *
 * Where the ring publishes by plain stores, and by C11, in which a read-modify-write is no fence,
 * full and empty may be old news, as queue_ring(3) says; but not what the thread itself knows
 * better.
 */
#include "explorer.h"

#include <conveyor/ring.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CALLS_MAX 4
#define THREADS 4
#define ITEMS (2 * CALLS_MAX)
#define POSITIONS 16

ptrdiff_t queue_impl_rseq_area(void);
void queue_impl_rseq_interrupt(void);

struct item {
	unsigned producer;
	unsigned number;
};

/* What a call answered. NO_MORE, of push_n and pop_n: the queue was full, or empty, or closed. */
#define NO_MORE 1

struct answer {
	char call; /* u, o, c */
	int rc;
	const struct item *item; /* pushed or popped, when rc is 0 */
};

struct role {
	const char *calls;
	struct answer answers[2 * ITEMS];
	unsigned n_answers;
	unsigned number;
	unsigned begun;	   /* pushes */
	unsigned accepted; /* of these */
	unsigned popped;
	unsigned known; /* how many went in, as the statistics say */
	bool closed;	/* a pop has said so */
	struct item items[ITEMS];
	const struct item *came_out[ITEMS];
};

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[2048];
static struct queue_ring *ring;
static struct role roles[THREADS];
static unsigned n_roles, capacity, flags, poppers;
static bool closes;
static unsigned before_pop[POSITIONS], before_close;

ptrdiff_t
queue_impl_rseq_area(void)
{
#if defined MODEL_RSEQ
	return 64;
#else
	return 0;
#endif
}

void
queue_impl_rseq_interrupt(void)
{
#if defined MODEL_RSEQ
	explorer_membarrier();
#endif
}

static unsigned
count(const char *calls, const char *which)
{
	unsigned n = 0;

	for (; *calls; calls++)
		if (strchr(which, *calls))
			n += *calls < 'a' ? 2 : 1;
	return n;
}

static unsigned
others(const struct role *role, const char *which)
{
	unsigned i, n = 0;

	for (i = 0; i < n_roles; i++)
		if (&roles[i] != role)
			n += count(roles[i].calls, which);
	return n;
}

static void
answered(struct role *role, char call, int rc, const struct item *item)
{
	struct answer *answer = &role->answers[role->n_answers++];

	answer->call = call;
	answer->rc = rc;
	answer->item = item;
}

static void
take(struct role *role, void *raw)
{
	const struct item *item = (const struct item *)raw;
	unsigned i;

	explorer_assert(item != NULL);
	for (i = 0; i < role->popped; i++)
		explorer_assert(role->came_out[i]->producer != item->producer ||
				role->came_out[i]->number < item->number);
	role->came_out[role->popped++] = item;
	answered(role, 'o', 0, item);
}

static void
is_full(const struct role *role)
{
	explorer_assert(others(role, "uU") + role->accepted >= role->popped + capacity);
}

/* What it has pushed itself, and what of others it has popped, has been in it. */
static void
is_empty(const struct role *role)
{
	unsigned went = role->accepted, i;

	for (i = 0; i < role->popped; i++)
		if (role->came_out[i]->producer != role->number)
			went++;
	if (went < role->known)
		went = role->known;
	explorer_assert(went <= others(role, "oO") + role->popped);
}

/* With one closer: who is told of the close has seen what came before. */
static void
is_closed(void)
{
	explorer_assert(closes && before_close == 1);
}

static void
check_room(uint64_t position)
{
	if (poppers == 1 && position >= capacity)
		explorer_assert(before_pop[position - capacity] == 1);
}

static void
push(struct role *role)
{
	unsigned number = role->begun++;
	struct queue_impl_ring_result result;

	role->items[number].producer = role->number;
	role->items[number].number = number;
	result = queue_impl_ring_push(ring, &role->items[number]);
	answered(role, 'u', result.rc, &role->items[number]);
	if (result.rc == 0) {
		check_room(result.position);
		role->accepted++;
	} else if (result.rc == -EAGAIN) {
		is_full(role);
	} else {
		explorer_assert(result.rc == -EPIPE);
		is_closed();
	}
}

static void
push_n(struct role *role)
{
	void *items[2];
	ptrdiff_t n, i;

	for (i = 0; i < 2; i++) {
		struct item *item = &role->items[role->begun + (unsigned)i];

		item->producer = role->number;
		item->number = role->begun + (unsigned)i;
		items[i] = item;
	}
	role->begun += 2;
	n = queue_ring_push_n(ring, items, 2);
	explorer_assert(n <= 2 && (n >= 0 || n == -EPIPE));
	if (n < 0)
		is_closed();
	for (i = 0; i < n; i++) {
		answered(role, 'u', 0, (const struct item *)items[i]);
	}
	if (n < 2)
		answered(role, 'u', n < 0 ? -EPIPE : NO_MORE, NULL);
	role->accepted += n > 0 ? (unsigned)n : 0;
	if (n >= 0 && n < 2 && !closes)
		is_full(role);
}

static void
pop(struct role *role)
{
	void *item = NULL;
	int rc;

	if (poppers == 1)
		before_pop[role->popped] = 1;
	rc = queue_ring_try_pop(ring, &item);
	if (rc == 0) {
		explorer_assert(!role->closed);
		take(role, item);
	} else if (rc == -EAGAIN) {
		explorer_assert(!role->closed);
		answered(role, 'o', rc, NULL);
		is_empty(role);
	} else {
		explorer_assert(rc == -EPIPE);
		answered(role, 'o', rc, NULL);
		is_closed();
		role->closed = true;
	}
}

static void
pop_n(struct role *role)
{
	void *items[2] = {NULL, NULL};
	ptrdiff_t n, i;

	if (poppers == 1)
		before_pop[role->popped] = before_pop[role->popped + 1] = 1;
	n = queue_ring_pop_n(ring, items, 2);
	explorer_assert(n <= 2 && (n >= 0 || n == -EPIPE));
	if (n < 0)
		is_closed();
	explorer_assert(n < 1 || !role->closed);
	for (i = 0; i < n; i++)
		take(role, items[i]);
	if (n < 2)
		answered(role, 'o', n < 0 ? -EPIPE : NO_MORE, NULL);
	if (n < 0)
		role->closed = true;
	if (n == 0)
		is_empty(role);
}

static void
look_at_stats(struct role *role)
{
	struct queue_ring_stats stats;

	queue_ring_stats(ring, &stats);
	explorer_assert(stats.depth <= capacity);
	explorer_assert(stats.pushed >= stats.popped);
	role->known = (unsigned)stats.pushed;
	if (stats.closed)
		is_closed();
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	const char *call;

	for (call = role->calls; *call; call++)
		switch (*call) {
		case 'u':
			push(role);
			break;
		case 'U':
			push_n(role);
			break;
		case 'o':
			pop(role);
			break;
		case 'O':
			pop_n(role);
			break;
		case 'c':
			before_close = 1;
			queue_ring_close(ring);
			answered(role, 'c', 0, NULL);
			break;
		case 's':
			look_at_stats(role);
			break;
		default:
			explorer_fail("there is no such call");
		}
	return NULL;
}

/* A bounded queue as the manual page has it, used by one thread. */
struct model {
	const struct item *items[THREADS * ITEMS];
	unsigned in, out;
	bool closed;
};

/* Makes the call, unless the answer would have been another. */
static bool
would_answer(struct model *model, const struct answer *answer)
{
	unsigned depth = model->in - model->out;
	bool stuck = answer->call == 'u' ? depth == capacity : depth == 0;
#if defined MODEL_RSEQ
	bool late = true;
#else
	bool late = flags != 0 || !explorer_locked;
#endif

	if (answer->call == 'c') {
		model->closed = true;
		return true;
	}
	switch (answer->rc) {
	case NO_MORE:
		return stuck || late || (model->closed && answer->call == 'u');
	case -EAGAIN:
		return (stuck || late) && !model->closed;
	case -EPIPE:
		return model->closed && (stuck || answer->call == 'u');
	default:
		if (stuck || (model->closed && answer->call == 'u'))
			return false;
	}
	if (answer->call == 'o')
		return model->items[model->out++] == answer->item;
	model->items[model->in++] = answer->item;
	return true;
}

/* Is there an order of what each thread has left, `next` on, and then of what main has found? */
static bool
is_explained(const struct model *model, const unsigned *next, const struct role *drained)
{
	unsigned i, j, left = 0;

	for (i = 0; i < n_roles; i++) {
		struct model then = *model;
		unsigned further[THREADS];

		if (next[i] == roles[i].n_answers)
			continue;
		left++;
		if (!would_answer(&then, &roles[i].answers[next[i]]))
			continue;
		for (j = 0; j < n_roles; j++)
			further[j] = next[j] + (j == i);
		if (is_explained(&then, further, drained))
			return true;
	}
	if (left > 0 || model->in - model->out != drained->popped)
		return false;
	for (i = 0; i < drained->popped; i++)
		if (model->items[model->out + i] != drained->came_out[i])
			return false;
	return true;
}

/* How many of each thread's items went in, and whose came out, in which order. */
static void
report(const struct role *drained)
{
	char text[64];
	size_t n = 0;
	unsigned i, j;

	for (i = 0; i <= n_roles; i++) {
		const struct role *role = i < n_roles ? &roles[i] : drained;

		n += (size_t)snprintf(text + n, sizeof text - n, " %u", role->accepted);
		for (j = 0; j < role->popped; j++)
			n += (size_t)snprintf(text + n, sizeof text - n, "%c%u",
					      'a' + (int)role->came_out[j]->producer,
					      role->came_out[j]->number);
		if (role->closed)
			n += (size_t)snprintf(text + n, sizeof text - n, "/");
	}
	explorer_outcome(text);
}

const char program_usage[] =
	" CAPACITY FLAGS CALLS...\n"
	"\n"
	"  CAPACITY  of the ring, 1 to 8\n"
	"  FLAGS     its roles: 0 none, 1 a single producer, 2 a single consumer, 3 both\n"
	"  CALLS     what a thread does, a letter for each call; up to 4 threads:\n"
	"            u push, o pop, U push_n of 2, O pop_n of 2, c close, s statistics\n";

void
program_check(void)
{
	unsigned closers = 0;
	int i;

	explorer_need_number(0, "CAPACITY", 1, ITEMS);
	explorer_need_number(1, "FLAGS", 0, 3);
	for (i = 2; i == 2 || (i < 2 + THREADS && explorer_argument(i)); i++) {
		explorer_need_calls(i, "CALLS", "uoUOcs", ITEMS);
		if (count(explorer_argument(i), "uUoO") > ITEMS)
			explorer_refuse("CALLS is \"%s\"; it must be %d items at most",
					explorer_argument(i), ITEMS);
		closers += count(explorer_argument(i), "c") > 0;
		if (closers > 1)
			explorer_refuse("CALLS is \"%s\"; c must be in one thread's only",
					explorer_argument(i));
	}
	explorer_need_no_more(i);
}

int
main(void)
{
	pthread_t threads[THREADS];
	struct role drain = {.calls = ""};
	const struct model model = {.in = 0};
	const unsigned next[THREADS] = {0};
	bool closed = false;
	unsigned i;
	int rc;

	memset(roles, 0, sizeof roles);
	memset(before_pop, 0, sizeof before_pop);
	capacity = (unsigned)(explorer_argument(0)[0] - '0');
	flags = (unsigned)(explorer_argument(1)[0] - '0');
	closes = false;
	before_close = 0;
	poppers = 0;
	for (n_roles = 0; n_roles < THREADS && explorer_argument(2 + (int)n_roles); n_roles++) {
		roles[n_roles].calls = explorer_argument(2 + (int)n_roles);
		roles[n_roles].number = n_roles;
		closes = closes || strchr(roles[n_roles].calls, 'c');
		poppers += count(roles[n_roles].calls, "oO") > 0;
	}
	ring = (struct queue_ring *)memory;
	rc = queue_ring_init(ring, sizeof memory, capacity, flags);
	explorer_assert(rc == 0);
	explorer_name(&ring->mode, "mode");
	explorer_name(&ring->tail, "tail");
	explorer_name(&ring->filled, "filled");
	explorer_name(&ring->head_seen, "head_seen");
	explorer_name(&ring->head, "head");
	explorer_name(&ring->producer, "producer");
	explorer_name(&ring->consumer, "consumer");
	explorer_name(&ring->slots[0].low, "slot 0 seq");
	explorer_name(&ring->slots[0].high, "slot 0 item");
	explorer_name(&ring->slots[1].low, "slot 1 seq");
	explorer_name(&ring->slots[1].high, "slot 1 item");
	for (i = 0; i < n_roles; i++)
		(void)pthread_create(&threads[i], NULL, act, &roles[i]);
	for (i = 0; i < n_roles; i++)
		(void)pthread_join(threads[i], NULL);
	for (i = 0; i < n_roles; i++)
		closed = closed || roles[i].closed;
	for (;;) {
		void *item = NULL;

		rc = queue_ring_try_pop(ring, &item);
		if (rc)
			break;
		explorer_assert(!closed);
		take(&drain, item);
	}
	explorer_assert(rc == (closes ? -EPIPE : -EAGAIN));
	explorer_assert(is_explained(&model, next, &drain));
	report(&drain);
	return 0;
}
