/* SPDX-License-Identifier: BSD-2-Clause */
/* A program outside of the tree that asks for jemalloc by naming its allocator. */
#include <conveyor.h>

int
main(void)
{
	struct queue_options options = {.capacity = 3, .allocator = &queue_allocator_jemalloc};
	struct queue_bounded *queue;

	if (queue_create(&queue, &options) != 0)
		return 1;
	return queue_destroy(queue) == 0 ? 0 : 2;
}
