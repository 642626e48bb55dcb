/* SPDX-License-Identifier: BSD-2-Clause */

/* What both listeners need of HTTP: sockets, the library's threads, answers, numbers in a query. */
#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection that says nothing for so long, and is not waited for, is closed. */
#define SILENCE_SECONDS 30u
/* Of each connection; a request whose head does not fit is refused by the library (414, 431). */
#define CONNECTION_MEMORY ((size_t)8192)
/* Descriptors beside those of connections: sockets, epoll, the database, a little air. */
#define OTHER_DESCRIPTORS 128

/* ---- Sockets --------------------------------------------------------------------------------- */

/* The descriptors that there are, of so many wanted. */
static rlim_t
raise_limit(rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	if (limit.rlim_cur < wanted) {
		struct rlimit higher = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};

		if (higher.rlim_max < wanted)
			higher.rlim_max = wanted; /* for who may */
		if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
			return wanted;
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
		(void)getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}

unsigned
listener_make_room(uint64_t connections)
{
	uint64_t wanted = connections ? connections : CONNECTIONS_DEFAULT;
	uint64_t descriptors = wanted + OTHER_DESCRIPTORS, there = raise_limit(descriptors);

	if (there >= descriptors)
		return (unsigned)wanted;
	if (connections == 0 && there > OTHER_DESCRIPTORS)
		return (unsigned)(there - OTHER_DESCRIPTORS);
	complain("--connections: \"%llu\" take %llu descriptors, and %llu are allowed; see ulimit "
		 "-n",
		 (unsigned long long)wanted, (unsigned long long)descriptors,
		 (unsigned long long)there);
	return 0;
}

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

/* The size of the address, or 0. */
static socklen_t
read_address(union address *out, const char *text, uint64_t port)
{
	*out = (union address){
		.six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)}};
	if (inet_pton(AF_INET6, text, &out->six.sin6_addr) == 1)
		return sizeof out->six;
	*out = (union address){.four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
	return inet_pton(AF_INET, text, &out->four.sin_addr) == 1 ? sizeof out->four : 0;
}

bool
listener_knows(const char *address)
{
	union address parsed;

	return read_address(&parsed, address, 0) != 0;
}

static int
bind_to(struct listener *listener, union address *address, socklen_t size)
{
	int one = 1;

	listener->socket =
		socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->socket < 0 ||
	    setsockopt(listener->socket, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
	    bind(listener->socket, &address->any, size) != 0 ||
	    listen(listener->socket, SOMAXCONN) != 0 ||
	    getsockname(listener->socket, &address->any, &size) != 0)
		return -1;
	listener->port = ntohs(address->any.sa_family == AF_INET6 ? address->six.sin6_port
								  : address->four.sin_port);
	return 0;
}

int
listener_bind(struct listener *listener, const char *address, uint64_t port, const char *option)
{
	union address parsed;
	socklen_t size = read_address(&parsed, address, port);

	listener->socket = -1;
	if (bind_to(listener, &parsed, size) == 0)
		return 0;
	complain("--%s: \"%llu\" at %s: %s", option, (unsigned long long)port, address,
		 strerror(errno));
	if (listener->socket >= 0)
		close(listener->socket);
	listener->socket = -1;
	return -1;
}

/* ---- The library ----------------------------------------------------------------------------- */

/* Paths are compared as strings, which a NUL would end early: such a text stays as it came. */
static size_t
unescape(void *context, struct MHD_Connection *connection, char *text)
{
	(void)context;
	(void)connection;
	return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

/*
 * A connection that waits for an answer is suspended: it is in no thread's way then, and costs its
 * memory only.
 */
int
listener_start(struct listener *listener, const struct listener_options *options)
{
	struct MHD_OptionItem items[] = {
		{MHD_OPTION_LISTEN_SOCKET, listener->socket, NULL},
		{MHD_OPTION_CONNECTION_LIMIT, (intptr_t)options->connections, NULL},
		{MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)CONNECTION_MEMORY, NULL},
		{MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)SILENCE_SECONDS, NULL},
		{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)options->completed, options->context},
		{MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)unescape, NULL},
		/* Such as HTTP/1.1 without Host: 400. */
		{MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
		/* One thread is no pool. */
		{options->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END,
		 (intptr_t)options->threads, NULL},
		{MHD_OPTION_END, 0, NULL},
	};

	listener->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		options->handler, options->context, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
	if (!listener->daemon) {
		complain("the HTTP library could not be started with %u threads", options->threads);
		return -1;
	}
	return 0;
}

void
listener_quiesce(struct listener *listener)
{
	if (listener->daemon)
		listener->socket = MHD_quiesce_daemon(listener->daemon);
	if (listener->socket >= 0)
		close(listener->socket);
	listener->socket = -1;
}

void
listener_stop(struct listener *listener)
{
	if (listener->daemon)
		MHD_stop_daemon(listener->daemon);
	else if (listener->socket >= 0)
		close(listener->socket);
	listener->daemon = NULL;
	listener->socket = -1;
}

/* ---- Answers --------------------------------------------------------------------------------- */

char http_begun;

enum MHD_Result
answer_with(struct MHD_Connection *connection, unsigned status, const char *type,
	    struct MHD_Response *response)
{
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

enum MHD_Result
answer_constant(struct MHD_Connection *connection, unsigned status, const char *type,
		const char *text)
{
	return answer_with(connection, status, type,
			   MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
							   MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result
answer_copy(struct MHD_Connection *connection, unsigned status, const char *type, const char *text)
{
	return answer_with(connection, status, type,
			   MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
							   MHD_RESPMEM_MUST_COPY));
}

enum MHD_Result
answer_method(struct MHD_Connection *connection, const char *allowed)
{
	static char text[] = "there is no such method here\n";
	struct MHD_Response *response =
		MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);

	if (response)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
	return answer_with(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", response);
}

/* ---- Numbers in a query ---------------------------------------------------------------------- */

struct query {
	struct parameter *parameters;
	int n;
	char *reason;
};

static bool
read_number(const char *text, size_t length, uint64_t *out)
{
	uint64_t value = 0;
	bool good = length > 0 && length <= 19; /* so that it cannot overflow */

	for (size_t i = 0; good && i < length; i++) {
		good = text[i] >= '0' && text[i] <= '9';
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	*out = value;
	return good;
}

/* What is wrong with this one, or NULL. */
static const char *
set_parameter(struct parameter *parameter, const char *value, size_t length)
{
	if (parameter->given)
		return "is given twice";
	parameter->given = true;
	if (!value || !read_number(value, length, &parameter->value) ||
	    parameter->value < parameter->least || parameter->value > parameter->most)
		return "is not a number from";
	return NULL;
}

/* By its name, if that is short and can stand in a message, and in JSON, as it is. */
static void
tell_unknown(char reason[REASON_SIZE], const char *name, size_t length)
{
	bool is_plain = length > 0 && length <= 32;

	for (size_t i = 0; is_plain && i < length; i++)
		is_plain = name[i] > ' ' && name[i] <= '~' && !strchr("\"'`\\", name[i]);
	if (is_plain)
		snprintf(reason, REASON_SIZE, "there is no parameter %.*s", (int)length, name);
	else
		snprintf(reason, REASON_SIZE, "there is no such parameter");
}

static enum MHD_Result
take_parameter(void *context, enum MHD_ValueKind kind, const char *name, size_t name_length,
	       const char *value, size_t length)
{
	struct query *query = context;
	const char *wrong;

	(void)kind;
	for (int i = 0; i < query->n; i++) {
		struct parameter *parameter = &query->parameters[i];

		if (strlen(parameter->name) != name_length ||
		    memcmp(parameter->name, name, name_length) != 0)
			continue;
		wrong = set_parameter(parameter, value, length);
		if (!wrong)
			return MHD_YES;
		if (strstr(wrong, "number"))
			snprintf(query->reason, REASON_SIZE, "%s %s %llu to %llu", parameter->name,
				 wrong, (unsigned long long)parameter->least,
				 (unsigned long long)parameter->most);
		else
			snprintf(query->reason, REASON_SIZE, "%s %s", parameter->name, wrong);
		return MHD_NO;
	}
	tell_unknown(query->reason, name, name_length);
	return MHD_NO;
}

bool
query_read(struct MHD_Connection *connection, struct parameter *parameters, int n,
	   char reason[REASON_SIZE])
{
	struct query query = {.parameters = parameters, .n = n, .reason = reason};

	*reason = '\0';
	(void)MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, take_parameter,
					  &query);
	for (int i = 0; i < n && !*reason; i++)
		if (!parameters[i].given && !parameters[i].optional)
			snprintf(reason, REASON_SIZE,
				 "%s is missing; parameters go into the query, behind the ?",
				 parameters[i].name);
	return !*reason;
}
