/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A token bucket in front of a service, in both forms. Requests come five times as fast as the
 * service may be asked, which is 2000 times a second and up to 20 times at once.
 */
#include <conveyor/bucket.h>

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define REQUESTS 1000
static const struct timespec between = {.tv_nsec = 100000};

struct outcome {
	int served;
	int refused;
	uint64_t wait; /* the longest, in nanoseconds */
};

/* Refuses at once what is too much, and tells each client when to come back. */
static int
with_a_bucket(struct outcome *outcome)
{
	struct queue_bucket_options options = {.tokens = 2000, .burst = 20};
	static struct queue_bucket limit;
	int rc = queue_bucket_init(&limit, &options);

	for (int i = 0; rc == 0 && i < REQUESTS; i++, nanosleep(&between, NULL)) {
		uint64_t now = queue_now(), wait;

		if (queue_bucket_take_at(&limit, 1, now) == 0) {
			outcome->served++;
			continue;
		}
		outcome->refused++;
		wait = queue_bucket_when(&limit, 1, now) - now;
		if (wait > outcome->wait)
			outcome->wait = wait;
	}
	return rc;
}

/* Lets each request wait for its turn, but not for longer than 300 microseconds. */
static int
with_a_feed(struct outcome *outcome)
{
	struct queue_token_feed_options options = {.tokens = 2000, .burst = 20};
	struct queue_token_feed *limit;
	int rc = queue_token_feed_create(&limit, &options);

	for (int i = 0; rc == 0 && i < REQUESTS; i++, nanosleep(&between, NULL)) {
		uint64_t now = queue_now(), wait;

		if (queue_token_feed_take_until(limit, 1, now + 300 * QUEUE_MICROSECOND) == 0)
			outcome->served++;
		else
			outcome->refused++;
		wait = queue_now() - now;
		if (wait > outcome->wait)
			outcome->wait = wait;
	}
	return rc == 0 ? queue_token_feed_destroy(limit) : rc;
}

int
main(void)
{
	struct outcome bucket = {0}, feed = {0};
	int rc = with_a_bucket(&bucket) || with_a_feed(&feed);

	printf("bucket: %d served, %d refused; come back in %" PRIu64 " us at most\n",
	       bucket.served, bucket.refused, bucket.wait / 1000);
	printf("feed:   %d served, %d refused; waited %" PRIu64 " us at most\n", feed.served,
	       feed.refused, feed.wait / 1000);
	return rc;
}
