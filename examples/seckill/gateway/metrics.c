/* SPDX-License-Identifier: BSD-2-Clause */

/* GET /metrics: all figures, in the text format of Prometheus. */
#include "service.h"

#include <stdlib.h>

uint64_t
service_outcomes(const struct service *service, enum outcome outcome)
{
	return tally_read(&service->by_http.outcomes[outcome]) +
	       tally_read(&service->by_burst.outcomes[outcome]);
}

uint64_t
service_stock(const struct service *service)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < service->options->items; i++)
		sum += tally_read(&service->sale.stock[i]);
	return sum;
}

int
service_workers(const struct service *service)
{
	struct queue_pool_stats stats;

	(void)queue_pool_stats(service->workers, &stats);
	return stats.workers;
}

static void
head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP seckill_%s %s\n# TYPE seckill_%s %s\n", name, help, name, type);
}

static void
number(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	head(out, name, type, help);
	fprintf(out, "seckill_%s %llu\n", name, (unsigned long long)value);
}

/* ---- Requests -------------------------------------------------------------------------------- */

static void
write_answers(FILE *out, const struct service *service)
{
	head(out, "answers_total", "counter", "Answers to requests of /buy.");
	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++)
		if (outcome_result(outcome))
			fprintf(out, "seckill_answers_total{status=\"%d\",result=\"%s\"} %llu\n",
				outcome_status(outcome), outcome_result(outcome),
				(unsigned long long)tally_read(
					&service->by_http.outcomes[outcome]));
	head(out, "burst_answers_total", "counter", "Answers to purchases of bursts.");
	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++)
		if (outcome_result(outcome))
			fprintf(out, "seckill_burst_answers_total{result=\"%s\"} %llu\n",
				outcome_result(outcome),
				(unsigned long long)tally_read(
					&service->by_burst.outcomes[outcome]));
}

static void
write_requests(FILE *out, const struct service *service)
{
	number(out, "offered_total", "counter", "Requests of /buy.",
	       tally_read(&service->by_http.offered));
	number(out, "burst_offered_total", "counter", "Purchases of bursts.",
	       tally_read(&service->by_burst.offered));
	write_answers(out, service);
	number(out, "hung_up_total", "counter", "Answers of /buy whose client was gone.",
	       tally_read(&service->hung_up));
	number(out, "admitted_total", "counter", "Requests and purchases that got into the queue.",
	       tally_read(&service->admitted));
	number(out, "open_requests", "gauge", "Requests and purchases that are not answered yet.",
	       tally_read(&service->open));
	number(out, "workers", "gauge", "Threads that sell.", (uint64_t)service_workers(service));
	head(out, "stock_remaining", "gauge", "Pieces left.");
	for (uint64_t i = 0; i < service->options->items; i++)
		fprintf(out, "seckill_stock_remaining{item=\"%llu\"} %llu\n",
			(unsigned long long)i + 1,
			(unsigned long long)tally_read(&service->sale.stock[i]));
}

/* ---- Orders ---------------------------------------------------------------------------------- */

struct figures {
	struct queue_subscription_stats stats;
	uint64_t seen;
};

static const struct {
	const char *name, *type, *help;
	size_t offset;
} subscription_metrics[] = {
	{"subscription_delivered_total", "counter", "Orders that went into its queue.",
	 offsetof(struct figures, stats.delivered)},
	{"subscription_filtered_total", "counter", "Orders that it does not want.",
	 offsetof(struct figures, stats.filtered)},
	{"subscription_refused_total", "counter", "Orders for which it had no room.",
	 offsetof(struct figures, stats.refused)},
	{"subscription_evicted_total", "counter", "Orders that gave way to newer ones.",
	 offsetof(struct figures, stats.evicted)},
	{"subscription_seen_total", "counter", "Orders that its consumers have handled.",
	 offsetof(struct figures, seen)},
	{"subscription_lag", "gauge", "Orders that wait in its queue.",
	 offsetof(struct figures, stats.lag)},
};

static void
write_subscriptions(FILE *out, const struct service *service)
{
	struct figures figures[SUBSCRIBERS];

	for (int i = 0; i < SUBSCRIBERS; i++) {
		const struct subscriber *subscriber = &service->subscribers[i];

		/* Seen first: what was seen has been delivered. */
		figures[i].seen = tally_read(&subscriber->seen);
		(void)queue_subscription_stats(subscriber->subscription, &figures[i].stats);
	}
	for (size_t m = 0; m < sizeof subscription_metrics / sizeof *subscription_metrics; m++) {
		const char *name = subscription_metrics[m].name;

		head(out, name, subscription_metrics[m].type, subscription_metrics[m].help);
		for (int i = 0; i < SUBSCRIBERS; i++) {
			const void *place =
				(const char *)&figures[i] + subscription_metrics[m].offset;

			fprintf(out, "seckill_%s{subscription=\"%s\"} %llu\n", name,
				service->subscribers[i].name,
				(unsigned long long)*(const uint64_t *)place);
		}
	}
	for (int i = 0; i < SUBSCRIBERS; i++) {
		char name[64];

		snprintf(name, sizeof name, "seckill_%s", service->subscribers[i].name);
		(void)queue_stats_prometheus(out, name, &figures[i].stats.queue);
	}
}

static void
write_all(FILE *out, const struct service *service)
{
	struct queue_stats requests;

	write_requests(out, service);
	number(out, "published_total", "counter", "Orders published.",
	       tally_read(&service->published));
	number(out, "stored_total", "counter", "Orders in the database.",
	       tally_read(&service->stored));
	(void)queue_stats(service->requests, &requests);
	(void)queue_stats_prometheus(out, "seckill_requests", &requests);
	write_subscriptions(out, service);
}

enum MHD_Result
metrics_answer(struct service *service, struct MHD_Connection *connection)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return MHD_NO;
	write_all(out, service);
	if (fclose(out) != 0) {
		free(text);
		return MHD_NO;
	}
	/* The response frees it. */
	return answer_with(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
			   MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE));
}
