/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_WRITER_H
#define QUEUE_LOG_WRITER_H

/*
 * Opening a log that is there, to change it.
 */
#include "look.h"

#include <conveyor/log.h>

/*
 * As queue_log_open, but makes no log, and sets options->segment_size to what the log has: another
 * one would have its spare files replaced.
 */
int writer_open(struct queue_log **log, struct look *look, const char *directory,
		struct queue_log_options *options);

/* Writes something that says no more than what is known, and syncs it: that makes files go. */
int writer_stir(struct queue_log *log);

#endif
