/* SPDX-License-Identifier: BSD-2-Clause */

/* The users' listener: which path is what. */
#include "service.h"

#include <string.h>

static enum MHD_Result
page_answer(struct service *service, struct MHD_Connection *connection)
{
	(void)service;
	return answer_with(connection, MHD_HTTP_OK, "text/html; charset=utf-8",
			   MHD_create_response_from_buffer(page_size, (void *)(uintptr_t)page_text,
							   MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result
health_answer(struct service *service, struct MHD_Connection *connection)
{
	(void)service;
	return answer_constant(connection, MHD_HTTP_OK, "text/plain", "ok\n");
}

static const struct {
	const char *path;
	enum MHD_Result (*answer)(struct service *service, struct MHD_Connection *connection);
} readable[] = {
	{"/", page_answer},
	{"/events", events_answer},
	{"/metrics", metrics_answer},
	{"/healthz", health_answer},
};

static enum MHD_Result
answer_reading(struct service *service, struct MHD_Connection *connection, const char *path,
	       const char *method)
{
	for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
		if (strcmp(path, readable[i].path) != 0)
			continue;
		/* The library leaves the text out when it was HEAD. */
		if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
		    strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
			return answer_method(connection, "GET, HEAD");
		return readable[i].answer(service, connection);
	}
	return answer_constant(connection, MHD_HTTP_NOT_FOUND, "text/plain",
			       "there is nothing here\n");
}

/*
 * Called for a request when its head is there, for each part of its text, and at its end; and once
 * more when it was suspended.
 */
static enum MHD_Result
handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
       const char *version, const char *text, size_t *size, void **kept)
{
	struct service *service = context;
	bool is_buy = strcmp(path, "/buy") == 0;

	(void)version;
	(void)text;
	if (!*kept) {
		if (is_buy && strcmp(method, MHD_HTTP_METHOD_POST) == 0)
			*kept = visit_begin(service, connection);
		else
			*kept = &http_begun;
		return *kept ? MHD_YES : MHD_NO;
	}
	if (*kept != &http_begun)
		return *size > 0 ? visit_body(*kept, size) : visit_serve(*kept);
	if (*size > 0) { /* nobody reads it */
		*size = 0;
		return MHD_YES;
	}
	if (is_buy)
		return answer_method(connection, "POST");
	return answer_reading(service, connection, path, method);
}

static void
end(void *context, struct MHD_Connection *connection, void **kept,
    enum MHD_RequestTerminationCode how)
{
	(void)context;
	(void)connection;
	if (*kept && *kept != &http_begun)
		visit_end(*kept, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	*kept = NULL;
}

int
http_start(struct service *service)
{
	return listener_start(&service->main,
			      &(struct listener_options){
				      .handler = handle,
				      .completed = end,
				      .context = service,
				      .threads = (unsigned)service->options->http_threads,
				      .connections = service->connections,
			      });
}
