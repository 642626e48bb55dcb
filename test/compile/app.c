/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program outside of the tree, in C11: an item of each kind of object goes through what was
 * installed.
 */
#include <conveyor.h>

#include <errno.h>
#include <stdio.h>

int
main(void)
{
	struct queue_options options = {.capacity = 3};
	struct queue_bounded *queue;
	int order = 7;
	void *item;

	if (queue_create(&queue, &options) != 0)
		return 1;
	if (queue_push(queue, &order) != 0 || queue_close(queue) != 0)
		return 2;
	if (queue_pop(queue, &item) != 0 || item != &order)
		return 3;
	if (queue_pop_until(queue, &item, queue_after_ms(1000)) != -EPIPE)
		return 4;
	if (queue_destroy(queue) != 0)
		return 5;
	printf("conveyor %s\n", QUEUE_VERSION);
	return 0;
}
