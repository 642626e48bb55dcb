/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring as it is in include/ and lib/, for the explorer.
 *
 *	ring CAPACITY FLAGS CALLS...
 *
 * FLAGS are roles as a number. CALLS is what one thread does, a letter for each call: u push, o pop,
 * U push_n of 2, O pop_n of 2, c close, s statistics. MODEL_RSEQ: with restartable sequences.
 *
 * Checked: each item that went in comes out once, with what was written into it before (the explorer
 * reports a data race otherwise), and those of one producer in their order; no push finds the ring
 * full, no pop finds it empty, that cannot have; a pop says that the ring is closed only when all that
 * went in has come out, and so does main at the end; what was done before close comes before what is
 * done after a call that says so (RING5). Where one thread does all pops: what it did before
 * a pop comes before what is done after the push that uses the place again (RING4).
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

const char *explorer_argument(int i);
ptrdiff_t queue_impl_rseq_area(void);
void queue_impl_rseq_interrupt(void);

struct item {
	unsigned producer;
	unsigned number;
};

struct role {
	const char *calls;
	unsigned number;
	unsigned begun;	   /* pushes */
	unsigned accepted; /* of these */
	unsigned popped;
	bool closed; /* a pop has said so */
	struct item items[ITEMS];
	bool went_in[ITEMS];
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
take(struct role *role, void *raw)
{
	const struct item *item = (const struct item *)raw;
	unsigned i;

	explorer_assert(item != NULL);
	for (i = 0; i < role->popped; i++)
		explorer_assert(role->came_out[i]->producer != item->producer ||
				role->came_out[i]->number < item->number);
	role->came_out[role->popped++] = item;
}

static void
is_full(const struct role *role)
{
	explorer_assert(others(role, "uU") + role->accepted >= role->popped + capacity);
}

static void
is_empty(const struct role *role)
{
	explorer_assert(role->accepted <= others(role, "oO") + role->popped);
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
	if (result.rc == 0) {
		check_room(result.position);
		role->went_in[number] = true;
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
	for (i = 0; i < n; i++)
		role->went_in[role->begun - 2 + (unsigned)i] = true;
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
		is_empty(role);
	} else {
		explorer_assert(rc == -EPIPE);
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
	if (n < 0)
		role->closed = true;
	if (n == 0)
		is_empty(role);
}

static void
look_at_stats(void)
{
	struct queue_ring_stats stats;

	queue_ring_stats(ring, &stats);
	explorer_assert(stats.depth <= capacity);
	explorer_assert(stats.pushed >= stats.popped);
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
			break;
		case 's':
			look_at_stats();
			break;
		default:
			explorer_fail("there is no such call");
		}
	return NULL;
}

/* In all that has come out, each item that went in is there once. */
static void
check_items(const struct role *drained)
{
	unsigned i, j, k, found;

	for (i = 0; i < n_roles; i++)
		for (j = 0; j < roles[i].begun; j++) {
			found = 0;
			for (k = 0; k < drained->popped; k++)
				found += drained->came_out[k] == &roles[i].items[j];
			explorer_assert(found == roles[i].went_in[j]);
		}
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

int
main(void)
{
	static struct role all;
	pthread_t threads[THREADS];
	struct role drain = {.calls = ""};
	bool closed = false;
	unsigned i, j;
	int rc;

	memset(roles, 0, sizeof roles);
	memset(&all, 0, sizeof all);
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
	for (i = 0; i < n_roles; i++) {
		for (j = 0; j < roles[i].popped; j++)
			all.came_out[all.popped++] = roles[i].came_out[j];
		closed = closed || roles[i].closed;
	}
	for (;;) {
		void *item = NULL;

		rc = queue_ring_try_pop(ring, &item);
		if (rc)
			break;
		explorer_assert(!closed);
		take(&drain, item);
		all.came_out[all.popped++] = (const struct item *)item;
	}
	explorer_assert(rc == (closes ? -EPIPE : -EAGAIN));
	check_items(&all);
	report(&drain);
	return 0;
}
