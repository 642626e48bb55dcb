/* SPDX-License-Identifier: BSD-2-Clause */
#include "store.h"

#include <string.h>

static struct bench_store *first;

void
bench_store_register(struct bench_store *store)
{
	store->next = first;
	first = store;
}

const struct bench_store *
bench_store_named(const char *name)
{
	const struct bench_store *store = first;

	while (store && strcmp(store->name, name) != 0)
		store = store->next;
	return store;
}
