/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_INSPECT_H
#define QUEUE_LOG_INSPECT_H

/*
 * What queue-log inspect shows, for people (inspect.c) and as JSON (inspect_json.c).
 */
#include "verify.h"

/* How far behind a reader is. */
struct lag {
	uint64_t bytes;	   /* to the end of the last message */
	uint64_t messages; /* which are not acknowledged */
	uint64_t out;	   /* of these: delivered once or more */
	uint64_t done;	   /* acknowledged out of order */
};

struct inspection {
	const char *directory;
	struct verdict verdict;
	struct lag *lags; /* of verdict.state.readers */
	size_t spares;
};

void inspect_print_json(const struct inspection *inspection);

#endif
