/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_VERIFY_H
#define QUEUE_LOG_VERIFY_H

/*
 * Whether a whole log is as it should be.
 */
#include "look.h"
#include "state.h"

struct verdict_segment {
	struct look_segment segment;
	uint64_t messages;
	uint64_t used; /* up to where its last record ends */
};

struct verdict {
	struct state state;
	struct verdict_segment *segments;
	size_t n_segments, capacity;
	uint64_t begins, ends;	   /* positions */
	uint64_t damages, damaged; /* how many, and their bytes */
	struct look_tail tail;
	bool is_torn;	 /* and nobody is writing there */
	bool has_writer; /* a program has it open, or may have */
};

/*
 * Reads all of it into a verdict that is zero; each damage is told to `tell` as it comes, unless
 * that is NULL. Shows progress. 0; or as look_next.
 */
int verify_read(struct look *look, struct verdict *verdict,
		void (*tell)(const struct look_event *event, void *context), void *context);
void verify_clear(struct verdict *verdict);

/* What and where, on stdout; and the second line of it alone. */
void verify_print_damage(const struct look_event *event, void *unused);
void verify_print_place(const struct look_event *event);

#endif
