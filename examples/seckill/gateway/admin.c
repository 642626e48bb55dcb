/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The operator's listener, on the loopback address only: how many workers there are, and bursts.
 * The page's scripts may use it; those of other pages that a browser on this machine shows may not.
 */
#include "service.h"

#include <errno.h>
#include <string.h>

#define TYPE "application/json"

/* The most a burst can be: users, and milliseconds. */
#define BURST_USERS_MAX 10000000
#define BURST_MS_MAX 600000

/* ---- Who asks -------------------------------------------------------------------------------- */

/* What a browser calls the page that asks; NULL: it is none, but a program. */
static const char *
origin_of(struct MHD_Connection *connection)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
}

static bool
is_our_page(const struct service *service, const char *origin)
{
	const char *const hosts[] = {service->options->address, "127.0.0.1", "localhost"};

	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		char ours[128];

		snprintf(ours, sizeof ours,
			 strchr(hosts[i], ':') ? "http://[%s]:%u" : "http://%s:%u", hosts[i],
			 service->main.port);
		if (strcmp(origin, ours) == 0)
			return true;
	}
	return false;
}

static enum MHD_Result
reply(struct MHD_Connection *connection, unsigned status, const char *text, const char *allowed)
{
	const char *origin = origin_of(connection);
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);

	if (response && origin) {
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN,
					      origin);
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
	}
	if (response && allowed) {
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
		(void)MHD_add_response_header(
			response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, allowed);
	}
	return answer_with(connection, status, TYPE, response);
}

static enum MHD_Result
reply_error(struct MHD_Connection *connection, unsigned status, const char *error)
{
	char text[32 + REASON_SIZE];

	snprintf(text, sizeof text, "{\"error\":\"%s\"}\n", error);
	return reply(connection, status, text, NULL);
}

/* ---- What can be asked ----------------------------------------------------------------------- */

static enum MHD_Result
show_workers(struct service *service, struct MHD_Connection *connection)
{
	char text[64];

	snprintf(text, sizeof text, "{\"workers\":%d}\n", service_workers(service));
	return reply(connection, MHD_HTTP_OK, text, NULL);
}

static enum MHD_Result
set_workers(struct service *service, struct MHD_Connection *connection)
{
	struct parameter n = {.name = "n", .least = 1, .most = WORKERS_MAX};
	char reason[REASON_SIZE];

	if (!query_read(connection, &n, 1, reason))
		return reply_error(connection, MHD_HTTP_BAD_REQUEST, reason);
	if (queue_pool_resize(service->workers, (int)n.value) != 0)
		return reply_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "there are not as many as was asked for");
	return show_workers(service, connection);
}

static enum MHD_Result
start_burst(struct service *service, struct MHD_Connection *connection)
{
	struct parameter parameters[] = {
		{.name = "users", .least = 1, .most = BURST_USERS_MAX},
		{.name = "ms", .least = 0, .most = BURST_MS_MAX},
	};
	char reason[REASON_SIZE];

	if (!query_read(connection, parameters, 2, reason))
		return reply_error(connection, MHD_HTTP_BAD_REQUEST, reason);
	switch (burst_start(service, parameters[0].value,
			    parameters[1].value * QUEUE_MILLISECOND)) {
	case 0:
		return reply(connection, MHD_HTTP_ACCEPTED, "{\"burst\":\"started\"}\n", NULL);
	case -EBUSY:
		return reply_error(connection, MHD_HTTP_CONFLICT, "a burst is under way");
	default:
		return reply_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "there is no thread for it");
	}
}

typedef enum MHD_Result act_fn(struct service *service, struct MHD_Connection *connection);

static const struct path {
	const char *path, *allowed;
	act_fn *get, *post;
} paths[] = {
	{"/workers", "GET, POST, OPTIONS", show_workers, set_workers},
	{"/burst", "POST, OPTIONS", NULL, start_burst},
};

static enum MHD_Result
act(struct service *service, struct MHD_Connection *connection, const struct path *path,
    const char *method)
{
	if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 && path->get)
		return path->get(service, connection);
	if (strcmp(method, MHD_HTTP_METHOD_POST) == 0)
		return path->post(service, connection);
	if (strcmp(method, MHD_HTTP_METHOD_OPTIONS) == 0)
		return reply(connection, MHD_HTTP_NO_CONTENT, "", path->allowed);
	return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
		     "{\"error\":\"there is no such method here\"}\n", path->allowed);
}

static enum MHD_Result
handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
       const char *version, const char *text, size_t *size, void **kept)
{
	struct service *service = context;
	const char *origin = origin_of(connection);

	(void)version;
	(void)text;
	if (!*kept || *size > 0) { /* the head only, or a text that nobody reads */
		*kept = &http_begun;
		*size = 0;
		return MHD_YES;
	}
	if (origin && !is_our_page(service, origin))
		return answer_constant(connection, MHD_HTTP_FORBIDDEN, TYPE,
				       "{\"error\":\"this page may not\"}\n");
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		if (strcmp(path, paths[i].path) == 0)
			return act(service, connection, &paths[i], method);
	return reply_error(connection, MHD_HTTP_NOT_FOUND, "there is nothing here");
}

/* So few connections are enough for one operator and one page. */
#define CONNECTIONS 32

int
admin_start(struct service *service)
{
	return listener_start(&service->admin, &(struct listener_options){
						       .handler = handle,
						       .context = service,
						       .threads = 1,
						       .connections = CONNECTIONS,
					       });
}
