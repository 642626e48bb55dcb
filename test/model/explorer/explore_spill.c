/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue that goes on in a log, QUEUE_SPILL, for the explorer: the queue and lib/spill.c as they
 * are, on a log that is a few messages in memory.
 *
 *	spill WORLD FIRST CALLS...
 *
 * WORLD begins with fence or barrier, as in explore_queue.c; behind it, letters: 2 the capacity is
 * 2 instead of 1, where pushes go to the log with one item in memory, as before; h the same, where
 * they do with two; f there is a descriptor from the beginning; n the first message finds no room
 * in the log, and is appended when it is tried again; x the log fails at its second message. FIRST
 * is what is done before there are other threads, CALLS what one of these does, a letter for each
 * call, - for none: u try_push, U push_n of 1, b push, o pop that waits, t try_pop, T the same
 * where it knows that the queue cannot have been empty, O pop_n that waits, c close.
 *
 * The log is less than a real one. A message is stored when its push waits for that, and then all
 * before are. Who sees that one is stored sees what was done before it was appended, and no more.
 * The reader is only ever used with the lock of lib/spill.c, which the explorer checks.
 *
 * Checked: nobody sleeps for ever beside what he waits for (the explorer reports a deadlock); what
 * went in comes out once, behind what its thread, or FIRST, had pushed before, with what was
 * written into it; what was stored is dropped as such; nothing comes when somebody was told that
 * nothing will; all that came from the log is acknowledged in the end; the descriptor is readable
 * in the end exactly if there is an item, or the queue is closed.
 */
#include "explorer.h"
#include "machine.h"

#include "log_impl.h"
#include "queue_impl.h"
#include "spill_impl.h"

#include <conveyor/queue.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ROLES (1 + THREADS) /* FIRST is the first */
#define CALLS 4
#define ITEMS (ROLES * CALLS)
#define LENGTH_MAX 64

/* What became of an item. */
enum {
	PUSHED = 1,
	SPILLED,
	POPPED
};

struct item {
	int state;
	unsigned number; /* of all; those of a role one behind the other */
};

struct role {
	const char *calls;
	struct item items[CALLS];
	unsigned begun, in, out;
	unsigned got[ITEMS]; /* numbers */
	bool closed;	     /* it has closed the queue, */
	bool ended;	     /* or was told that nothing comes any more */
};

/* As much as lib/spill.c needs of a log. */
struct queue_log_reader {
	uint64_t next, acknowledged;
};

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[8192];
static struct queue_bounded *queue;
static struct role roles[ROLES];

static struct queue_log queue_log;
static struct queue_log_reader reader;
static uint64_t messages[ITEMS];
static struct item copies[ITEMS]; /* what was decoded */
/* Low half: so many messages are stored; high half: so many were appended. */
static uint64_t ends;
static uint32_t failed;
static bool has_no_room, fails;

#define ONE_APPENDED (UINT64_C(1) << 32)

static uint64_t
stored_in(uint64_t word)
{
	return word & (ONE_APPENDED - 1);
}

/* The log. */

uint64_t
queue_log_length_max(const struct queue_log *log)
{
	(void)log;
	return LENGTH_MAX;
}

/* With the lock. */
int
queue_impl_log_try_append(struct queue_log *log, const void *data, size_t length,
			  uint64_t *position)
{
	(void)log;
	explorer_assert(length == sizeof(uint64_t));
	if (queue_impl_load32_acq(&failed))
		return -EIO;
	if (has_no_room) {
		has_no_room = false;
		return -EAGAIN;
	}
	*position = queue_impl_load_rlx(&ends) / ONE_APPENDED;
	messages[*position] = *(const uint64_t *)data;
	(void)queue_impl_fetch_add_rel(&ends, ONE_APPENDED);
	return 0;
}

int
queue_impl_log_wait_for_room(struct queue_log *log, size_t size, enum queue_impl_log_use use,
			     uint64_t deadline)
{
	(void)log;
	(void)size;
	(void)use;
	(void)deadline;
	return 0;
}

/* Of what is written here nobody sees more than was there when the messages were appended. */
int
queue_impl_log_wait_stored(struct queue_log *log, uint64_t position)
{
	uint64_t word = queue_impl_load_acq(&ends);

	(void)log;
	if (fails && position > 0) {
		queue_impl_store32_rel(&failed, 1);
		return -EIO;
	}
	while (stored_in(word) <= position &&
	       !queue_impl_cas_acq(&ends, &word, word - stored_in(word) + position + 1))
		continue;
	return 0;
}

int
queue_log_reader_open(struct queue_log *log, const char *name,
		      const struct queue_log_reader_options *options, struct queue_log_reader **out)
{
	(void)log;
	(void)name;
	/* It takes this one for the log's own, to which tests give NULL. */
	/* cppcheck-suppress ctunullpointer */
	explorer_assert(options->lease == QUEUE_NEVER);
	/* cppcheck-suppress ctunullpointer */
	*out = &reader;
	return 0;
}

int
queue_log_reader_close(struct queue_log_reader *opaque)
{
	(void)opaque;
	return 0;
}

int
queue_log_reader_stats(struct queue_log_reader *opaque, struct queue_log_reader_stats *out)
{
	(void)opaque;
	/* cppcheck-suppress ctunullpointer */
	memset(out, 0, sizeof *out);
	return 0;
}

int
queue_log_read_n(struct queue_log_reader *opaque, struct queue_log_message *out, int n,
		 void *buffer, size_t size, uint64_t deadline)
{
	bool has_failed = queue_impl_load32_acq(&failed) != 0;
	uint64_t stored = stored_in(queue_impl_load_acq(&ends));
	int i;

	(void)buffer;
	explorer_assert(deadline == 0 && size >= sizeof(uint64_t));
	for (i = 0; i < n && opaque->next < stored; i++) {
		out[i].position = opaque->next;
		out[i].data = &messages[opaque->next];
		out[i].length = sizeof(uint64_t);
		opaque->next++;
	}
	return i > 0 ? i : has_failed ? -EIO : -ETIMEDOUT;
}

int
queue_log_ack_n(struct queue_log_reader *opaque, const struct queue_log_message *done, int n)
{
	int i;

	for (i = 0; i < n; i++)
		explorer_assert(done[i].position == opaque->acknowledged++);
	return n;
}

bool
queue_impl_log_reader_is_past(struct queue_log_reader *opaque, uint64_t position)
{
	bool has_failed = queue_impl_load32_acq(&failed) != 0;

	return opaque->next >= position ||
	       (has_failed && opaque->next >= stored_in(queue_impl_load_acq(&ends)));
}

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	(void)context;
	explorer_assert(size >= sizeof(uint64_t));
	*(uint64_t *)buffer = ((const struct item *)item)->number;
	return sizeof(uint64_t);
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	const uint64_t *number = (const uint64_t *)data;
	struct item *copy = &copies[*number];

	(void)length;
	(void)context;
	explorer_assert(copy->state == 0);
	copy->state = PUSHED;
	copy->number = (unsigned)*number;
	*item = copy;
	return 0;
}

static void
on_drop(void *opaque, enum queue_reason reason, void *context)
{
	struct item *item = (struct item *)opaque;

	(void)context;
	explorer_assert(reason == QUEUE_SPILLED && item->state == PUSHED);
	item->state = SPILLED;
}

/* The program. */

static void
push(struct role *role, char how)
{
	struct item *own = &role->items[role->begun];
	void *item = own;
	int rc;

	own->state = PUSHED;
	own->number = (unsigned)(role - roles) * CALLS + role->begun++;
	if (how == 'U') {
		rc = queue_push_n(queue, &item, 1);
		rc = rc > 0 ? 0 : rc == 0 ? -EAGAIN : rc;
	} else {
		rc = how == 'b' ? queue_push(queue, item) : queue_try_push(queue, item);
	}
	explorer_assert(rc == 0 || rc == -EPIPE || (how != 'b' && rc == -EAGAIN) ||
			(how == 'b' && fails && rc == -EIO));
	explorer_assert(!role->closed || rc == -EPIPE);
	/* The thread's own again, in the log or not. */
	explorer_assert(rc == 0 || own->state == PUSHED);
	role->in += rc == 0;
}

static void
pop(struct role *role, char how)
{
	void *opaque = NULL;
	struct item *item;
	int rc;

	switch (how) {
	case 'o':
		rc = queue_pop(queue, &opaque);
		break;
	case 'O':
		rc = queue_pop_n(queue, &opaque, 1);
		break;
	default:
		rc = queue_try_pop(queue, &opaque);
	}
	explorer_assert(rc >= 0 || rc == -EPIPE || (how == 't' && rc == -EAGAIN));
	explorer_assert(!role->ended || rc == -EPIPE);
	role->ended = rc == -EPIPE;
	if (rc < 0)
		return;
	item = (struct item *)opaque;
	explorer_assert(item->state == PUSHED);
	item->state = POPPED;
	role->got[role->out++] = item->number;
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	const char *call;

	for (call = role->calls; *call; call++)
		switch (*call) {
		case 'u':
		case 'U':
		case 'b':
			push(role, *call);
			break;
		case 'o':
		case 'O':
		case 't':
		case 'T':
			pop(role, *call);
			break;
		case 'c':
			(void)queue_close(queue);
			role->closed = true;
			break;
		default:
			explorer_assert(*call == '-');
		}
	return NULL;
}

/* Had the one been pushed when the other began to be? */
static bool
is_older(unsigned one, unsigned other)
{
	return one < other && (one / CALLS == other / CALLS || one / CALLS == 0);
}

static void
check_order(const struct role *role)
{
	unsigned i, j;

	for (i = 0; i < role->out; i++)
		for (j = i + 1; j < role->out; j++)
			explorer_assert(role->got[i] != role->got[j] &&
					!is_older(role->got[j], role->got[i]));
}

/* As in explore_queue.c. */
static void
set_up(const char *world)
{
	struct queue_options options = {
		.capacity = 1,
		.policy = QUEUE_SPILL,
		.on_drop = on_drop,
		.allocator = &machine_allocator,
		.log = &queue_log,
		.encode = encode,
		.decode = decode,
		.high = 1,
	};
	int rc;

	if (strchr(world, '2') || strchr(world, 'h'))
		options.capacity = 2;
	if (strchr(world, 'h'))
		options.high = 2;
	machine_has_barrier = *world == 'b';
	world += strlen(machine_has_barrier ? "barrier" : "fence");
	queue_log.spill = &queue_impl_spill_operations;
	has_no_room = strchr(world, 'n') != NULL;
	fails = strchr(world, 'x') != NULL;
	queue = (struct queue_bounded *)(void *)memory;
	rc = queue_init(queue, sizeof memory, &options);
	explorer_assert(rc == 0);
	queue->fence = !machine_has_barrier;
	queue->not_empty.barrier = queue->not_full.barrier = machine_has_barrier;
	queue->not_empty.spin = queue->not_full.spin = 0;
	queue->spill->sample_mask = UINT64_MAX;
	if (strchr(world, 'f'))
		explorer_assert(queue_fd(queue) >= 0);
	explorer_name(&queue->not_empty.word, "not_empty");
	explorer_name(&queue->not_full.word, "not_full");
	explorer_name(&queue->descriptor.state, "descriptor");
	explorer_name(&queue->ring.tail, "tail");
	explorer_name(&queue->ring.filled, "filled");
	explorer_name(&queue->ring.head, "head");
	explorer_name(&queue->ring.slots[0].low, "slot 0 seq");
	explorer_name(&queue->ring.slots[1].low, "slot 1 seq");
	explorer_name(&queue->spill->state, "state");
	explorer_name(&queue->spill->attention, "attention");
	explorer_name(&ends, "log");
}

const char program_usage[] =
	" WORLD FIRST CALLS...\n"
	"\n"
	"  WORLD  fence: each notifier orders for WAIT1 by a fence; barrier: who waits\n"
	"         does, by membarrier(2). Behind it, letters: 2 a capacity of 2 instead of\n"
	"         1, h the same with a high mark of 2 instead of 1, f a descriptor from the\n"
	"         beginning, n the first message finds no room at first, x the log fails\n"
	"         at the second one\n"
	"  FIRST  what is done before there are other threads, as CALLS\n"
	"  CALLS  what a thread does, a letter for each call, or -; up to 4 threads:\n"
	"         u try_push, U push_n of 1, b push, o pop that waits, t try_pop, T the\n"
	"         same where it cannot have been empty, O pop_n that waits, c close\n";

void
program_check(void)
{
	int i;

	explorer_need_world(0, "2hfnx");
	for (i = 1; i == 1 || i == 2 || (i < 1 + ROLES && explorer_argument(i)); i++)
		explorer_need_calls(i, i == 1 ? "FIRST" : "CALLS", "uUbotTOc-", CALLS);
	explorer_need_no_more(i);
}

int
main(void)
{
	const char *world = explorer_argument(0);
	bool watched = strchr(world + 1, 'f') != NULL, closed = false, ended = false;
	unsigned n, i, in = 0, out = 0;
	pthread_t threads[THREADS];
	struct role last = {0};
	struct item *item;
	void *opaque;
	char text[32];
	int rc;

	memset(roles, 0, sizeof roles);
	memset(copies, 0, sizeof copies);
	machine_allocator_begin();
	ends = 0;
	failed = 0;
	reader.next = reader.acknowledged = 0;
	set_up(world);
	for (n = 0; n < ROLES && explorer_argument((int)n + 1); n++) {
		roles[n].calls = explorer_argument((int)n + 1);
		closed = closed || strchr(roles[n].calls, 'c');
	}
	(void)act(&roles[0]);
	for (i = 1; i < n; i++)
		(void)pthread_create(&threads[i - 1], NULL, act, &roles[i]);
	for (i = 1; i < n; i++)
		(void)pthread_join(threads[i - 1], NULL);
	for (i = 0; i < n; i++) {
		in += roles[i].in;
		out += roles[i].out;
		ended = ended || roles[i].ended;
	}
	if (watched)
		explorer_assert(machine_is_readable() == (in > out || closed));
	(void)snprintf(text, sizeof text, "%u,%u", in, out);
	explorer_outcome(text);
	while ((rc = queue_try_pop(queue, &opaque)) == 0) {
		item = (struct item *)opaque;
		explorer_assert(!ended && item->state == PUSHED);
		for (i = 0; i < n; i++)
			roles[i].got[roles[i].out++] = item->number;
		last.out++;
	}
	explorer_assert(rc == (closed ? -EPIPE : -EAGAIN));
	explorer_assert(in == out + last.out);
	for (i = 0; i < n; i++)
		check_order(&roles[i]);
	explorer_assert(queue_fini(queue) == 0);
	explorer_assert(reader.acknowledged == reader.next);
	return 0;
}
