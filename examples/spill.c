/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue that goes on on the disk: orders come in faster than they are worked on. 100 of them are in
 * memory, all others in a log, and the worker sees one queue. In the middle the program ends; when it
 * starts again the orders in the log are there. Only those that were in memory alone are not: what
 * must survive from the first one on is appended to the log itself, see queue_log(3).
 */
#include <conveyor/log.h>
#include <conveyor/queue.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ORDERS 600
#define IN_MEMORY 100

struct order {
	int number;
	int amount;
};

static int only_in_memory; /* orders that are lost when the program ends */

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	(void)context;
	if (size >= sizeof(struct order))
		memcpy(buffer, item, sizeof(struct order));
	return sizeof(struct order);
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	struct order *order = length == sizeof *order ? malloc(sizeof *order) : NULL;

	(void)context;
	if (!order)
		return length == sizeof *order ? -ENOMEM : -EILSEQ;
	memcpy(order, data, sizeof *order);
	*item = order;
	return 0;
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	const struct order *order = item;

	(void)context;
	/* QUEUE_SPILLED: the log has it. QUEUE_DESTROYED: so it has, of those that came from there. */
	if (reason == QUEUE_DESTROYED && order->number < IN_MEMORY)
		only_in_memory++;
	free(item);
}

/* Opens what there is, takes so many orders in and works on so many. Returns the last one's number. */
static int
run(const char *directory, int take_in, int work)
{
	struct queue_log_options log_options = {.segment_size = 1 << 20, .sync = QUEUE_LOG_BATCH};
	struct queue_options options = {
		.capacity = IN_MEMORY,
		.policy = QUEUE_SPILL,
		.on_drop = on_drop,
		.encode = encode,
		.decode = decode,
	};
	struct queue_bounded *queue;
	struct queue_stats stats;
	int done, last = -1;
	void *item;

	if (queue_log_open(&options.log, directory, &log_options) || queue_create(&queue, &options))
		return -1;
	for (int i = 0; i < take_in; i++) {
		struct order *order = malloc(sizeof *order);

		if (!order)
			return -1;
		order->number = i;
		order->amount = 1 + i % 7;
		if (queue_push(queue, order) < 0) /* the disk is full, or worse */
			return -1;
	}
	queue_stats(queue, &stats);
	printf("taken in %3d: %ju in memory, %s%ju on disk\n", take_in, (uintmax_t)stats.depth,
	       stats.backlog == 1 ? "at least " : "", (uintmax_t)stats.backlog);
	for (done = 0; done < work && queue_try_pop(queue, &item) == 0; done++) {
		last = ((struct order *)item)->number;
		free(item);
	}
	printf("worked on %d, up to number %d\n", done, last);
	if (queue_destroy(queue) || queue_log_close(options.log))
		return -1;
	return last;
}

static void
remove_directory(const char *directory)
{
	DIR *files = opendir(directory);
	struct dirent *entry;

	while (files && (entry = readdir(files)))
		unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		closedir(files);
	rmdir(directory);
}

int
main(void)
{
	const char *parent = getenv("TMPDIR");
	char directory[256];
	int first, second;

	snprintf(directory, sizeof directory, "%s/conveyor-spill.XXXXXX",
		 parent && *parent ? parent : "/tmp");
	if (!mkdtemp(directory))
		return 1;
	first = run(directory, ORDERS, 250);
	printf("-- the program ends, and starts again\n");
	second = run(directory, 0, ORDERS);
	remove_directory(directory);
	return first != 249 || second != ORDERS - 1 || only_in_memory != 0;
}
