/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_STORE_H
#define SECKILL_STORE_H

/* What store.c and reconcile.c share, and nobody else needs to know. */
#include "sale.h"

#include <pthread.h>
#include <sqlite3.h>

struct store {
	const char *path;
	sqlite3 *db;
	sqlite3_stmt *insert, *insert_once, *insert_remark;
	long long run;
	pthread_mutex_t lock; /* in mode sync all gateways store */
	atomic_bool failed;
	char error[512];
};

/* As store_open, for a database that must be there, with runs in it. */
int store_open_existing(struct store **out, const char *path);

#endif
