/* SPDX-License-Identifier: BSD-2-Clause */
/* The queues that the bench compares with, through its adapters; and the list of all objects. */
#include "stage.h"

#include "../../bench/subject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *queue;

static const struct bench_subject *
subject_here(void)
{
	return board->scene.object->subject;
}

static int
peer_push(void *item)
{
	return subject_here()->push(queue, item);
}

static int
peer_pop(void **item)
{
	return subject_here()->pop(queue, item);
}

static const struct line peer_line = {peer_push, peer_pop};

static int
peer_open(void)
{
	const struct bench_subject *subject = subject_here();
	struct bench_shape shape = {board->scene.capacity, OTHERS + 1, OTHERS + 1};

	if (subject->producers_max && shape.producers > subject->producers_max)
		shape.producers = subject->producers_max;
	if (subject->consumers_max && shape.consumers > subject->consumers_max)
		shape.consumers = subject->consumers_max;
	line_open(&peer_line);
	return subject->open(&queue, &shape);
}

static void
peer_shut(void)
{
	subject_here()->shut(queue);
}

static void
peer_attach(void)
{
	if (subject_here()->attach)
		subject_here()->attach(queue);
}

static void
peer_detach(void)
{
	if (subject_here()->detach)
		subject_here()->detach(queue);
}

/* Not every peer has room for as many items as were asked for; then there are fewer. */
static void
peer_fill(void)
{
	uint64_t i;

	for (i = 0; i < board->scene.inside; i++) {
		void *item = line_item(VICTIM);

		if (peer_push(item) != 0)
			return;
		line_pushed(item);
	}
}

static void
peer_prepare(unsigned self)
{
	int i;

	if (self != VICTIM)
		return;
	peer_fill();
	if (board->scene.operation->side == PUSHES)
		for (i = 0; i < BULK; i++)
			outcome.items[i] = line_item(VICTIM);
}

static void
peer_try_push(void)
{
	outcome.rc = peer_push(outcome.items[0]) == 0 ? 1 : -EAGAIN;
}

static void
peer_try_pop(void)
{
	outcome.rc = peer_pop(outcome.items) == 0 ? 1 : -EAGAIN;
}

static void
peer_push_n(void)
{
	outcome.rc = subject_here()->push_n(queue, outcome.items, BULK);
}

static void
peer_pop_n(void)
{
	outcome.rc = subject_here()->pop_n(queue, outcome.items, BULK);
}

static const struct operation single_operations[] = {
	{"push", PUSHES, peer_try_push, false},
	{"pop", POPS, peer_try_pop, false},
	{NULL, LOOKS, NULL, false},
};

static const struct operation all_operations[] = {
	{"push", PUSHES, peer_try_push, false},
	{"pop", POPS, peer_try_pop, false},
	{"push_n", PUSHES, peer_push_n, false},
	{"pop_n", POPS, peer_pop_n, false},
	{NULL, LOOKS, NULL, false},
};

static struct object
object_of(const struct bench_subject *subject)
{
	static const char *const as_it_is[] = {"", NULL};
	struct object object;

	memset(&object, 0, sizeof object);
	object.name = subject->name;
	object.duty = MAY_BLOCK;
	if (strcmp(subject->name, "mutex") == 0 || strcmp(subject->name, "vyukov") == 0)
		object.duty = MUST_BLOCK;
	object.subject = subject;
	object.operations = subject->push_n && subject->pop_n ? all_operations : single_operations;
	object.producers_max = subject->producers_max;
	object.consumers_max = subject->consumers_max;
	object.variants = as_it_is;
	object.is_unbounded = !(subject->traits & BENCH_BOUNDED);
	object.may_disorder = !(subject->traits & (BENCH_FIFO | BENCH_IN_ORDER));
	object.open = peer_open;
	object.shut = peer_shut;
	object.attach = peer_attach;
	object.detach = peer_detach;
	object.prepare = peer_prepare;
	object.traffic = line_traffic;
	object.judge = line_judge;
	return object;
}

#define MOST 64

const struct object *const *
objects(void)
{
	static const struct object *const own[] = {ring_objects, queue_objects, bucket_objects,
						   call_objects};
	static const struct object *all[MOST + 1];
	static struct object peers[MOST];
	const struct bench_subject *subject;
	size_t count = 0, peer_count = 0, i;

	for (i = 0; i < sizeof own / sizeof *own; i++) {
		const struct object *object;

		for (object = own[i]; object->name && count < MOST; object++)
			all[count++] = object;
	}
	for (subject = bench_subjects(); subject && count < MOST; subject = subject->next) {
		peers[peer_count] = object_of(subject);
		all[count++] = &peers[peer_count++];
	}
	return all;
}
