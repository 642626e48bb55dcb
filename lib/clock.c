/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/clock.h>

#include <time.h>

uint64_t
queue_now(void)
{
	struct timespec now;

	/* Cannot fail: the clock exists on every Linux and `now` is writable. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * QUEUE_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t
queue_after_ms(uint64_t milliseconds)
{
	uint64_t now = queue_now();

	if (milliseconds > (QUEUE_NEVER - now) / QUEUE_MILLISECOND)
		return QUEUE_NEVER;
	return now + milliseconds * QUEUE_MILLISECOND;
}
