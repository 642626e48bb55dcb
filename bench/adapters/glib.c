/* SPDX-License-Identifier: BSD-2-Clause */
/* PACKAGE: libglib2.0-dev */
/* HEADER: glib.h */
/* CFLAGS: $(pkg-config --cflags glib-2.0) */
/* LIBS: $(pkg-config --libs glib-2.0) */
/*
 * GLib's queue between threads: a linked list behind a mutex. It has no bound; without one a
 * producer that is faster than the consumers would fill the memory, so a push looks at the length
 * first, under the same lock.
 */
#include <glib.h>

#include "../subject.h"

#include <errno.h>
#include <stdlib.h>

struct glib_queue {
	GAsyncQueue *queue;
	gint capacity;
};

static int
glib_open(struct glib_queue **out, uint64_t capacity)
{
	struct glib_queue *q;

	if (capacity < 1 || capacity > G_MAXINT)
		return -EINVAL;
	q = malloc(sizeof *q);
	if (!q)
		return -ENOMEM;
	q->queue = g_async_queue_new();
	q->capacity = (gint)capacity;
	*out = q;
	return 0;
}

static void
glib_shut(struct glib_queue *q)
{
	g_async_queue_unref(q->queue);
	free(q);
}

/* The length is less than 0 while consumers wait. */
static inline ptrdiff_t
glib_push_n(struct glib_queue *q, void *const *items, ptrdiff_t n)
{
	ptrdiff_t i;

	g_async_queue_lock(q->queue);
	for (i = 0; i < n && g_async_queue_length_unlocked(q->queue) < q->capacity; i++)
		g_async_queue_push_unlocked(q->queue, items[i]);
	g_async_queue_unlock(q->queue);
	return i;
}

static inline ptrdiff_t
glib_pop_n(struct glib_queue *q, void **items, ptrdiff_t n)
{
	ptrdiff_t i;

	g_async_queue_lock(q->queue);
	for (i = 0; i < n; i++)
		if (!(items[i] = g_async_queue_try_pop_unlocked(q->queue)))
			break;
	g_async_queue_unlock(q->queue);
	return i;
}

#define BODY_NAME glib_async
#define BODY_LABEL "GAsyncQueue"
#define BODY_LIBRARY                                                                               \
	"GLib " G_STRINGIFY(GLIB_MAJOR_VERSION) "." G_STRINGIFY(                                   \
		GLIB_MINOR_VERSION) "." G_STRINGIFY(GLIB_MICRO_VERSION)
#define BODY_REMARK "unbounded: the bound is the adapter's; allocates for each item"
#define BODY_TRAITS (BENCH_FIFO | BENCH_IN_ORDER)
#define BODY_TYPE struct glib_queue
#define BODY_OPEN(q, shape) glib_open(q, (shape)->capacity)
#define BODY_SHUT(q) glib_shut(q)
#define BODY_PUSH(q, item) (glib_push_n(q, &(void *){item}, 1) != 1)
#define BODY_POP(q, item) (!(*(item) = g_async_queue_try_pop((q)->queue)))
#define BODY_PUSH_N(q, items, n) glib_push_n(q, items, n)
#define BODY_POP_N(q, items, n) glib_pop_n(q, items, n)
#define BODY_POP_WAIT(q, item) (*(item) = g_async_queue_pop((q)->queue), 0)
#include "../body.h"
