/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * POST /buy. The purchase is offered to the shop, and while it is open its connection is suspended;
 * whoever ends the call wakes it up. One word decides who of the two is the first:
 *
 *	OFFERED ----- the call ended already -----> TOLD         answer at once
 *	   |
 *	   | the connection is suspended
 *	   v
 *	SUSPENDED --- the call ends --------------> TOLD         resume it, to answer
 */
#include "service.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* A purchase says all in its query; what comes after the head is skipped, up to so much. */
#define BODY_MAX 4096

enum {
	VISIT_BEGUN,
	VISIT_OFFERED,
	VISIT_SUSPENDED,
	VISIT_TOLD
};

struct visit {
	struct service *service;
	struct MHD_Connection *connection;
	size_t body; /* bytes of it, which are not looked at */
	char reason[REASON_SIZE];

	_Atomic int state;
	/* from VISIT_TOLD on */
	enum outcome outcome;
	uint64_t order;

	bool was_suspended;
	bool is_hung_up; /* and it was counted */
};

/* ---- How HTTP says it ------------------------------------------------------------------------ */

#define JSON(result) "{\"result\":\"" result "\"}\n"

static const struct {
	int status;
	const char *result, *text; /* of those whose text is always the same */
} answers[OUTCOMES] = {
	[OUTCOME_SOLD] = {200, "sold", NULL},
	[OUTCOME_SOLD_OUT] = {409, "sold out", JSON("sold out")},
	[OUTCOME_BOUGHT] = {409, "bought already", JSON("bought already")},
	[OUTCOME_RISK] = {403, "refused", JSON("refused")},
	[OUTCOME_RATE_LIMITED] = {429, "rate limited", NULL},
	[OUTCOME_FULL] = {503, "queue full", JSON("queue full")},
	[OUTCOME_CLOSING] = {503, "closing", JSON("closing")},
	[OUTCOME_DATABASE] = {503, "database", JSON("database")},
	[OUTCOME_MEMORY] = {503, "memory", JSON("memory")},
	[OUTCOME_TIMED_OUT] = {504, "timed out", JSON("timed out")},
	[OUTCOME_MALFORMED] = {400, "malformed", NULL},
};

int
outcome_status(enum outcome outcome)
{
	return answers[outcome].status;
}

const char *
outcome_result(enum outcome outcome)
{
	return answers[outcome].result;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

struct visit *
visit_begin(struct service *service, struct MHD_Connection *connection)
{
	struct visit *visit = sale_allocate(sizeof *visit);

	if (visit)
		*visit = (struct visit){.service = service, .connection = connection};
	return visit;
}

static void
count_hung_up(struct visit *visit)
{
	if (!visit->is_hung_up)
		atomic_fetch_add_explicit(&visit->service->hung_up, 1, memory_order_relaxed);
	visit->is_hung_up = true;
}

/* The connection is done with it, or broken. It is not suspended then. */
void
visit_end(struct visit *visit, bool is_delivered)
{
	struct service *service = visit->service;

	if (atomic_load(&visit->state) == VISIT_TOLD) {
		if (!is_delivered)
			count_hung_up(visit);
		atomic_fetch_add_explicit(&service->left[visit->outcome], 1, memory_order_relaxed);
		/* Release: who sees that nothing is unfinished sees the counts. */
		atomic_fetch_sub_explicit(&service->unfinished, 1, memory_order_release);
	}
	sale_free(visit, sizeof *visit);
}

enum MHD_Result
visit_body(struct visit *visit, size_t *size)
{
	visit->body += *size;
	*size = 0;
	return MHD_YES;
}

/* ---- Offering -------------------------------------------------------------------------------- */

static bool
read_purchase(struct visit *visit, struct purchase *out)
{
	enum {
		USER,
		ITEM,
		QUANTITY,
		N
	};
	struct parameter parameters[N] = {
		/* Those above are the burst's. */
		[USER] = {.name = "user", .most = BURST_FIRST_USER - 1},
		[ITEM] = {.name = "item", .least = 1, .most = visit->service->options->items},
		[QUANTITY] = {.name = "quantity",
			      .least = 1,
			      .most = UINT32_MAX,
			      .optional = true,
			      .value = 1},
	};

	if (visit->body > BODY_MAX) {
		snprintf(visit->reason, REASON_SIZE, "the body is longer than %d bytes", BODY_MAX);
		return false;
	}
	if (!query_read(visit->connection, parameters, N, visit->reason))
		return false;
	*out = (struct purchase){.due = queue_now(),
				 .user = parameters[USER].value,
				 .item = (uint32_t)parameters[ITEM].value,
				 .quantity = (uint32_t)parameters[QUANTITY].value};
	return true;
}

/* On the thread that ended the call. */
static void
tell(void *whom, enum outcome outcome, uint64_t order)
{
	struct visit *visit = whom;
	struct MHD_Connection *connection = visit->connection;

	visit->outcome = outcome;
	visit->order = order;
	/* From here on it may be gone, unless it is suspended. */
	if (atomic_exchange(&visit->state, VISIT_TOLD) == VISIT_SUSPENDED)
		MHD_resume_connection(connection);
}

static void
told_at_once(struct visit *visit, enum outcome outcome)
{
	visit->outcome = outcome;
	atomic_store(&visit->state, VISIT_TOLD);
}

static void
offer(struct visit *visit)
{
	struct service *service = visit->service;
	struct purchase purchase;
	enum outcome outcome;

	atomic_fetch_add(&service->unfinished, 1);
	atomic_store(&visit->state, VISIT_OFFERED);
	if (!read_purchase(visit, &purchase)) {
		calls_refuse(&service->by_http, OUTCOME_MALFORMED);
		told_at_once(visit, OUTCOME_MALFORMED);
		return;
	}
	outcome = calls_offer(service, &purchase, &service->by_http, tell, visit);
	if (outcome != OUTCOMES)
		told_at_once(visit, outcome);
}

static void
suspend(struct visit *visit)
{
	int offered = VISIT_OFFERED;

	MHD_suspend_connection(visit->connection);
	visit->was_suspended = true;
	/* Else it was told meanwhile, by one who did not know that it would be suspended. */
	if (!atomic_compare_exchange_strong(&visit->state, &offered, VISIT_SUSPENDED))
		MHD_resume_connection(visit->connection);
}

/* ---- Answering ------------------------------------------------------------------------------- */

/* While it was suspended, nobody looked at the connection. */
static bool
is_gone(struct visit *visit)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(visit->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	ssize_t n;
	char byte;

	if (!info)
		return false;
	n = recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* When a token will be there, if nobody else takes it. */
static uint64_t
milliseconds_to_wait(struct service *service)
{
	uint64_t now = queue_now(), when = queue_bucket_when(&service->bucket, 1, now);

	return (when - now + QUEUE_MILLISECOND - 1) / QUEUE_MILLISECOND;
}

static struct MHD_Response *
new_response(const char *text, enum MHD_ResponseMemoryMode mode)
{
	return MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, mode);
}

static struct MHD_Response *
rate_limited(struct service *service)
{
	uint64_t ms = milliseconds_to_wait(service);
	uint64_t seconds = ms > 1000 ? (ms + 999) / 1000 : 1;
	struct MHD_Response *response;
	char text[128];

	snprintf(text, sizeof text, "{\"result\":\"rate limited\",\"retry_after_ms\":%llu}\n",
		 (unsigned long long)ms);
	response = new_response(text, MHD_RESPMEM_MUST_COPY);
	snprintf(text, sizeof text, "%llu", (unsigned long long)seconds);
	if (response)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
	return response;
}

static struct MHD_Response *
response_of(struct visit *visit)
{
	char text[64 + REASON_SIZE];

	switch (visit->outcome) {
	case OUTCOME_SOLD:
		snprintf(text, sizeof text, "{\"result\":\"sold\",\"order\":%llu}\n",
			 (unsigned long long)visit->order);
		return new_response(text, MHD_RESPMEM_MUST_COPY);
	case OUTCOME_RATE_LIMITED:
		return rate_limited(visit->service);
	case OUTCOME_MALFORMED:
		snprintf(text, sizeof text, "{\"result\":\"malformed\",\"reason\":\"%s\"}\n",
			 visit->reason);
		return new_response(text, MHD_RESPMEM_MUST_COPY);
	default:
		return new_response(answers[visit->outcome].text, MHD_RESPMEM_PERSISTENT);
	}
}

static enum MHD_Result
send_answer(struct visit *visit)
{
	struct MHD_Response *response = response_of(visit);

	if (visit->was_suspended && is_gone(visit))
		count_hung_up(visit);
	if (response && atomic_load(&visit->service->closing))
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	return answer_with(visit->connection, (unsigned)answers[visit->outcome].status,
			   "application/json", response);
}

enum MHD_Result
visit_serve(struct visit *visit)
{
	if (atomic_load(&visit->state) == VISIT_BEGUN)
		offer(visit);
	if (atomic_load(&visit->state) != VISIT_TOLD) {
		suspend(visit);
		return MHD_YES;
	}
	return send_answer(visit);
}
