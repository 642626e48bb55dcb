/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * GET /events: what the page draws, ten times a second, to any number of watchers. The events are
 * published on a topic of their own; each watcher is a subscription whose oldest event gives way
 * when it does not keep up. Between events its connection is suspended, so that it needs no thread.
 *
 * The lock makes "no event is there, so sleep" one step. An event is published before the lock is
 * taken to wake those who sleep: either the watcher finds it, or it is found asleep.
 */
#include "service.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define PERIOD (QUEUE_SECOND / LATENCY_PERIODS)

#define EVENT_SIZE 4096

struct event {
	struct queue_message message; /* first */
	size_t length;
	char text[EVENT_SIZE];
};

struct watcher {
	struct events *events;
	struct MHD_Connection *connection;
	struct queue_subscription *subscription;
	struct event *event; /* that is being sent, or NULL */
	size_t sent;	     /* of it */
	bool is_asleep;
	struct watcher *earlier, *later; /* in the list of them */
};

/* ---- What an event says ---------------------------------------------------------------------- */

static void
free_event(struct queue_message *message, void *context)
{
	(void)context;
	sale_free(message, sizeof(struct event));
}

static void say(struct event *event, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));

static void
say(struct event *event, const char *format, ...)
{
	size_t room = EVENT_SIZE - event->length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(event->text + event->length, room, format, arguments);
	va_end(arguments);
	if (n > 0)
		event->length += (size_t)n < room ? (size_t)n : room - 1;
}

static void
say_number(struct event *event, const char *name, uint64_t value)
{
	say(event, "\"%s\":%llu,", name, (unsigned long long)value);
}

/* null: nobody was answered, which is not the same as at once. */
static void
say_latency(struct event *event, const char *name, const struct histogram *recent, uint64_t time)
{
	if (recent->count > 0)
		say_number(event, name, time / QUEUE_MICROSECOND);
	else
		say(event, "\"%s\":null,", name);
}

static void
say_requests(struct event *event, const struct service *service)
{
	static const struct {
		const char *name;
		enum outcome outcome;
	} named[] = {
		{"sold", OUTCOME_SOLD},
		{"sold_out", OUTCOME_SOLD_OUT},
		{"bought_already", OUTCOME_BOUGHT},
		{"risk", OUTCOME_RISK},
		{"rate_limited", OUTCOME_RATE_LIMITED},
		{"queue_full", OUTCOME_FULL},
		{"timed_out", OUTCOME_TIMED_OUT},
		{"malformed", OUTCOME_MALFORMED},
	};

	say_number(event, "offered",
		   tally_read(&service->by_http.offered) + tally_read(&service->by_burst.offered));
	say_number(event, "admitted", tally_read(&service->admitted));
	for (size_t i = 0; i < sizeof named / sizeof *named; i++)
		say_number(event, named[i].name, service_outcomes(service, named[i].outcome));
	say_number(event, "hung_up", tally_read(&service->hung_up));
	say_number(event, "open", tally_read(&service->open));
}

static void
say_shop(struct event *event, const struct service *service, const struct histogram *recent)
{
	say_number(event, "depth", queue_depth_approx(service->requests));
	say_number(event, "capacity", service->options->capacity);
	say_number(event, "workers", (uint64_t)service_workers(service));
	say_number(event, "stock", service_stock(service));
	say_latency(event, "p50_us", recent, histogram_quantile(recent, 0.5));
	say_latency(event, "p90_us", recent, histogram_quantile(recent, 0.9));
	say_latency(event, "p99_us", recent, histogram_quantile(recent, 0.99));
	say_latency(event, "max_us", recent, recent->max);
}

static void
say_subscriptions(struct event *event, const struct service *service)
{
	say(event, "\"subscriptions\":[");
	for (int i = 0; i < SUBSCRIBERS; i++) {
		const struct subscriber *subscriber = &service->subscribers[i];
		struct queue_subscription_stats stats;

		say(event, "%s{\"name\":\"%s\",\"policy\":\"%s\",", i == 0 ? "" : ",",
		    subscriber->name, subscriber->policy);
		say_number(event, "seen", tally_read(&subscriber->seen));
		(void)queue_subscription_stats(subscriber->subscription, &stats);
		say_number(event, "lag", stats.lag);
		say_number(event, "capacity", stats.queue.capacity);
		say_number(event, "filtered", stats.filtered);
		say_number(event, "refused", stats.refused);
		say(event, "\"evicted\":%llu}", (unsigned long long)stats.evicted);
	}
	say(event, "],");
}

static struct event *
new_event(const struct service *service, const struct histogram *recent, uint64_t now)
{
	struct event *event = sale_allocate(sizeof *event);

	if (!event)
		return NULL;
	queue_message_init(&event->message, free_event, NULL);
	event->length = 0;
	say(event, "data: {");
	say_number(event, "t", (now - service->start) / QUEUE_MILLISECOND);
	say_requests(event, service);
	say_shop(event, service, recent);
	say_subscriptions(event, service);
	say(event, "\"admin\":%u}\n\n", service->admin.port);
	return event;
}

/* ---- Publishing ------------------------------------------------------------------------------ */

static void
wake_watchers(struct events *events)
{
	pthread_mutex_lock(&events->lock);
	for (struct watcher *watcher = events->watchers; watcher; watcher = watcher->later)
		if (watcher->is_asleep) {
			watcher->is_asleep = false;
			MHD_resume_connection(watcher->connection);
		}
	pthread_mutex_unlock(&events->lock);
}

static bool
is_watched(struct events *events)
{
	bool is;

	pthread_mutex_lock(&events->lock);
	is = events->watchers != NULL;
	pthread_mutex_unlock(&events->lock);
	return is;
}

static void
tick(struct service *service, uint64_t now)
{
	struct events *events = &service->events;
	struct histogram recent;
	struct event *event;

	latencies_read(&service->latencies, &recent);
	if (!is_watched(events) || !(event = new_event(service, &recent, now)))
		return;
	if (queue_topic_publish(events->topic, &event->message, 0) < 0)
		queue_message_release(&event->message);
	wake_watchers(events);
}

/* False: it is over. */
static bool
wait_until(struct events *events, uint64_t time)
{
	struct timespec until = {.tv_sec = (time_t)(time / QUEUE_SECOND),
				 .tv_nsec = (long)(time % QUEUE_SECOND)};
	bool goes_on;

	pthread_mutex_lock(&events->lock);
	while (!events->stopping && queue_now() < time)
		(void)pthread_cond_timedwait(&events->stop, &events->lock, &until);
	goes_on = !events->stopping;
	pthread_mutex_unlock(&events->lock);
	return goes_on;
}

static void *
tell_time(void *argument)
{
	struct service *service = argument;
	uint64_t next = queue_now() + PERIOD;

	while (wait_until(&service->events, next)) {
		uint64_t now = queue_now();

		tick(service, now);
		/* After a long sleep of the whole machine there is nothing to make up for. */
		next = now - next > QUEUE_SECOND ? now + PERIOD : next + PERIOD;
	}
	return NULL;
}

/* ---- Watching -------------------------------------------------------------------------------- */

/* 0: there is an event to be sent; -EAGAIN: it sleeps now; -EPIPE: there will be no more. */
static int
next_event(struct watcher *watcher)
{
	struct queue_message *message = NULL;
	int rc;

	pthread_mutex_lock(&watcher->events->lock);
	rc = queue_topic_try_pop(watcher->subscription, &message);
	if (rc == -EAGAIN) {
		watcher->is_asleep = true;
		MHD_suspend_connection(watcher->connection);
	}
	pthread_mutex_unlock(&watcher->events->lock);
	if (rc == 0) {
		watcher->event = (struct event *)(void *)message;
		watcher->sent = 0;
	}
	return rc;
}

static ssize_t
read_events(void *context, uint64_t position, char *to, size_t room)
{
	struct watcher *watcher = context;
	struct event *event;
	size_t n;

	(void)position;
	if (!watcher->event) {
		int rc = next_event(watcher);

		if (rc)
			return rc == -EAGAIN ? 0 : MHD_CONTENT_READER_END_OF_STREAM;
	}
	event = watcher->event;
	n = event->length - watcher->sent < room ? event->length - watcher->sent : room;
	memcpy(to, event->text + watcher->sent, n);
	watcher->sent += n;
	if (watcher->sent == event->length) {
		queue_message_release(&event->message);
		watcher->event = NULL;
	}
	return (ssize_t)n;
}

static void
end_watching(void *context)
{
	struct watcher *watcher = context;
	struct events *events = watcher->events;

	pthread_mutex_lock(&events->lock);
	if (watcher->earlier)
		watcher->earlier->later = watcher->later;
	else
		events->watchers = watcher->later;
	if (watcher->later)
		watcher->later->earlier = watcher->earlier;
	pthread_mutex_unlock(&events->lock);
	if (watcher->event)
		queue_message_release(&watcher->event->message);
	(void)queue_topic_unsubscribe(watcher->subscription);
	sale_free(watcher, sizeof *watcher);
}

static struct watcher *
new_watcher(struct events *events, struct MHD_Connection *connection)
{
	const struct queue_subscription_options two = {.capacity = 2,
						       .policy = QUEUE_DISCARD_OLDEST};
	struct watcher *watcher = sale_allocate(sizeof *watcher);

	if (!watcher)
		return NULL;
	*watcher = (struct watcher){.events = events, .connection = connection};
	if (queue_topic_subscribe(events->topic, &two, &watcher->subscription) != 0) {
		sale_free(watcher, sizeof *watcher);
		return NULL;
	}
	pthread_mutex_lock(&events->lock);
	watcher->later = events->watchers;
	if (watcher->later)
		watcher->later->earlier = watcher;
	events->watchers = watcher;
	pthread_mutex_unlock(&events->lock);
	return watcher;
}

enum MHD_Result
events_answer(struct service *service, struct MHD_Connection *connection)
{
	struct watcher *watcher = new_watcher(&service->events, connection);
	struct MHD_Response *response;

	if (!watcher)
		return answer_constant(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain",
				       "there is nothing more to watch\n");
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_SIZE, read_events,
						     watcher, end_watching);
	if (!response)
		end_watching(watcher);
	else
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	return answer_with(connection, MHD_HTTP_OK, "text/event-stream", response);
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

int
events_start(struct service *service)
{
	const struct queue_topic_options topic = {.allocator = &SECKILL_ALLOCATOR};
	struct events *events = &service->events;
	pthread_condattr_t attributes;
	int rc = queue_topic_create(&events->topic, &topic);

	if (rc)
		return rc;
	(void)pthread_mutex_init(&events->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&events->stop, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	rc = pthread_create(&events->thread, NULL, tell_time, service);
	if (rc)
		return -rc;
	(void)pthread_setname_np(events->thread, "events");
	events->is_running = true;
	return 0;
}

void
events_end(struct service *service)
{
	struct events *events = &service->events;

	if (!events->is_running)
		return;
	pthread_mutex_lock(&events->lock);
	events->stopping = true;
	pthread_mutex_unlock(&events->lock);
	pthread_cond_signal(&events->stop);
	(void)pthread_join(events->thread, NULL);
	events->is_running = false;
	(void)queue_topic_close(events->topic);
	wake_watchers(events);
}

/* After the listener: there are no watchers any more. */
void
events_close(struct service *service)
{
	(void)queue_topic_destroy(service->events.topic);
}
