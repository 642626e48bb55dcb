/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The log holds what was accepted; a reader of it makes rows. Three rules make that exact, whenever
 * the process is killed:
 *
 *	an order is acknowledged after the transaction with its row is committed: so none is missing
 *	a row that is there already is left alone: so none is doubled when an order comes again
 *	nothing is sold before all that the log held at the start is a row: so rows alone tell what
 *	of the stock is left, and who asks again for something that was sold
 */
#include "durable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The most orders in one transaction. */
#define BATCH 256
/* How long the writer waits before it looks whether the shop is closing. */
#define PATIENCE_MS 20
/* Orders are short, and are rows soon: small files will do. */
#define SEGMENT (UINT64_C(1) << 20)

/* ---- From the log to the rows ---------------------------------------------------------------- */

/* Waits until the deadline for orders, and stores them. How many; -1 after complaining. */
static int
store_some(struct ledger *ledger, uint64_t deadline, uint64_t *had_row)
{
	struct queue_log_message messages[BATCH];
	struct durable_ask asks[BATCH];
	struct order orders[BATCH], *pointers[BATCH];
	int n = queue_log_read_n(ledger->reader, messages, BATCH, asks, sizeof asks, deadline);

	if (n == -ETIMEDOUT)
		return 0;
	if (n < 0 && n != -EMSGSIZE) {
		complain("%s/log: %s", ledger->options->durable, strerror(-n));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		const struct durable_ask *ask = messages[i].data;

		if (messages[i].length != sizeof *ask)
			n = -EMSGSIZE;
		else
			orders[i] = (struct order){.id = ask->id,
						   .user = ask->user,
						   .item = ask->item,
						   .quantity = ask->quantity};
		pointers[i] = &orders[i];
	}
	if (n == -EMSGSIZE) {
		complain("%s/log was not made by this program", ledger->options->durable);
		return -1;
	}
	if (store_orders_once(ledger->store, pointers, n, had_row) != 0)
		return -1;
	(void)queue_log_ack_n(ledger->reader, messages, n);
	return n;
}

void *
ledger_write(void *argument)
{
	struct ledger *ledger = argument;
	uint64_t had_row = 0;
	bool closing;
	int n;

	do {
		/* All is durable before it closes: so when nothing comes after that, that is all. */
		closing = atomic_load(&ledger->closing);
		n = store_some(ledger, queue_after_ms(closing ? 0 : PATIENCE_MS), &had_row);
	} while (n > 0 || (n == 0 && !closing));
	/* When it failed, orders stay in the log, and are rows after the next start. */
	return NULL;
}

/* ---- What was sold before -------------------------------------------------------------------- */

static bool
add_id(struct ledger *ledger, uint64_t id)
{
	if (ledger->n_sold == ledger->room) {
		size_t room = ledger->room ? ledger->room * 2 : 1024;
		uint64_t *sold = realloc(ledger->sold, room * sizeof *sold);

		if (!sold)
			return false;
		ledger->sold = sold;
		ledger->room = room;
	}
	ledger->sold[ledger->n_sold++] = id;
	return true;
}

/* A row: its pieces are not there any more, and its user has bought. 0, or an exit status. */
static int
remember(const struct order *order, void *context)
{
	struct ledger *ledger = context;
	const struct options *options = ledger->options;
	const struct purchase purchase = {
		.user = order->user, .item = order->item, .quantity = order->quantity};
	enum outcome outcome;

	if (order->item < 1 || order->item > options->items) {
		complain("--items: %llu, but %s has sold item %u",
			 (unsigned long long)options->items, options->durable, order->item);
		return EXIT_USAGE;
	}
	outcome = sale_remember(ledger->sale, &purchase);
	if (outcome == OUTCOME_SOLD_OUT) {
		complain("--stock: %llu, but %s has sold more than that of item %u",
			 (unsigned long long)options->stock, options->durable, order->item);
		return EXIT_USAGE;
	}
	if (outcome == OUTCOME_MEMORY || !add_id(ledger, order->id)) {
		complain("%s", strerror(ENOMEM));
		return EXIT_MISMATCH;
	}
	return 0;
}

bool
ledger_knows(const struct ledger *ledger, uint64_t id)
{
	size_t from = 0, to = ledger->n_sold;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (ledger->sold[middle] == id)
			return true;
		if (ledger->sold[middle] < id)
			from = middle + 1;
		else
			to = middle;
	}
	return false;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static void
report_damage(const struct queue_log_damage *damage, void *context)
{
	const struct ledger *ledger = context;

	complain("%s/log/%s is damaged at byte %llu", ledger->options->durable, damage->file,
		 (unsigned long long)damage->offset);
}

static int
open_log(struct ledger *ledger, const char *path)
{
	const struct queue_log_options options = {
		.sync = QUEUE_LOG_BATCH, /* every append that returns is on the disk, or waits */
		.segment_size = SEGMENT,
		.on_damage = report_damage,
		.context = ledger,
	};
	int rc = queue_log_open(&ledger->log, path, &options);

	if (rc == 0)
		rc = queue_log_reader_open(ledger->log, "rows", NULL, &ledger->reader);
	if (rc == 0)
		return 0;
	complain("%s: %s", path, strerror(-rc));
	return EXIT_MISMATCH;
}

int
ledger_open(struct ledger *ledger, const struct options *options, const struct durable_paths *paths,
	    uint64_t life, struct sale *sale, struct durable_opening *opening)
{
	int n, rc;

	*ledger = (struct ledger){.options = options, .sale = sale};
	*opening = (struct durable_opening){0};
	if (open_log(ledger, paths->log) != 0 ||
	    store_open(&ledger->store, paths->database, options->db_pages) != 0 ||
	    store_begin_as(ledger->store, (long long)life, "durable") != 0)
		return EXIT_MISMATCH;
	while ((n = store_some(ledger, 0, &opening->had_row)) > 0)
		opening->replayed += (uint64_t)n;
	if (n < 0)
		return EXIT_MISMATCH;
	rc = store_each_order(ledger->store, remember, ledger);
	sale->store = ledger->store;
	return rc < 0 ? EXIT_MISMATCH : rc;
}

int
ledger_close(struct ledger *ledger)
{
	int rc = queue_log_close(ledger->log);

	if (rc != 0)
		complain("%s/log: %s", ledger->options->durable, strerror(-rc));
	store_close(ledger->store);
	free(ledger->sold);
	return rc;
}
