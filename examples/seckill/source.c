/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Where requests come from: a CSV, or a generator. Several gateways ask the same source, and one
 * that has nothing to give yet must not keep a gateway from looking after its open requests: so it
 * waits until a given time only.
 */
#include "seckill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LINE_SIZE 65536
#define SHOWN_AT_MOST 10 /* malformed lines reported one by one */

struct csv {
	const char *name;
	int fd;
	pthread_mutex_t lock; /* guards what follows */
	uint64_t line;	      /* number of the last one taken */
	uint64_t malformed;
	int error;	 /* errno value */
	bool ended;	 /* nothing more to read */
	bool skipping;	 /* inside a line that is too long */
	size_t from, to; /* what of the buffer is unread */
	char buffer[LINE_SIZE];
};

struct source {
	const struct options *options;
	uint64_t items;
	atomic_bool stopped;
	int stop_fd; /* readable once stopped, to end a poll */
	struct csv *csv;

	/* the generator */
	_Atomic uint64_t next;
	uint64_t steady, total;
};

/* ---- The generator --------------------------------------------------------------------------- */

/* After every so many users, one of them is impatient and asks again. */
#define IMPATIENCE 50

/*
 * The n-th of `users` users in an order that looks random: a permutation of the next power of two,
 * followed until it falls below `users`, is one of the numbers below `users`.
 */
static uint64_t
shuffled(uint64_t n, uint64_t users, uint64_t seed)
{
	unsigned bits = users < 2 ? 1 : 64 - (unsigned)__builtin_clzll(users - 1);
	uint64_t mask = (UINT64_C(1) << bits) - 1;

	do {
		n = (n * (mix(seed) | 1) + mix(seed + 1)) & mask;
		n ^= n >> (bits / 2 + 1);
		n = (n * (mix(seed + 2) | 1)) & mask;
	} while (n >= users);
	return n;
}

/* Request n is a function of n and the seed alone, so that every run offers the same ones. */
static void
generate(const struct source *source, uint64_t n, struct purchase *out)
{
	const struct options *options = source->options;
	uint64_t dice = mix(options->seed * UINT64_C(0x100000001) + n);

	if (n < source->steady) {
		/* They came for something else, under numbers that the spike does not use. */
		out->due = n * QUEUE_SECOND / options->steady_rate;
		out->user = options->users + 1 + n;
	} else {
		uint64_t k = n - source->steady, spike = source->total - source->steady;
		uint64_t group = k / (IMPATIENCE + 1) * IMPATIENCE, member = k % (IMPATIENCE + 1);

		if (member == IMPATIENCE)
			member = dice >> 32 & 15;
		out->due = options->steady_ms * QUEUE_MILLISECOND +
			   (uint64_t)((double)k / (double)spike * (double)options->spike_ms * 1e6);
		out->user = 1 + shuffled(group + member, options->users, options->seed);
	}
	out->item = (uint32_t)(1 + (dice >> 8) % source->items);
	out->quantity = dice % 10 == 0 ? 2 : 1;
}

static int
generator_next(struct source *source, struct purchase *out)
{
	/* Relaxed: the number is all that is passed on. */
	uint64_t n = atomic_fetch_add_explicit(&source->next, 1, memory_order_relaxed);

	if (n >= source->total)
		return -EPIPE;
	generate(source, n, out);
	return 0;
}

/* ---- The CSV --------------------------------------------------------------------------------- */

/* A field of a line that looks wrong, made fit to be printed. */
static const char *
printable(char out[48], const char *text, size_t length)
{
	size_t shown = length < 40 ? length : 40;

	for (size_t i = 0; i < shown; i++)
		out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	memcpy(out + shown, length > shown ? "..." : "", length > shown ? 4 : 1);
	return out;
}

/* Why a line is malformed. */
struct fault {
	char text[160];
};

/* Reads one number, all of text[0..length). */
static bool
number(const char *name, const char *text, size_t length, uint64_t least, uint64_t most,
       uint64_t *out, struct fault *fault)
{
	char shown[48];
	uint64_t value = 0;
	bool good = length > 0 && length <= 19; /* so that it cannot overflow */

	for (size_t i = 0; good && i < length; i++) {
		good = text[i] >= '0' && text[i] <= '9';
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (good && value >= least && value <= most) {
		*out = value;
		return true;
	}
	snprintf(fault->text, sizeof fault->text,
		 "%s \"%s\" is not a number from %" PRIu64 " to %" PRIu64, name,
		 printable(shown, text, length), least, most);
	return false;
}

static bool
parse(const char *line, size_t length, uint64_t items, struct purchase *out, struct fault *fault)
{
	/* SQLite's integers are signed; arrivals are limited to a year, to stay clear of overflow. */
	const struct {
		const char *name;
		uint64_t least, most;
	} fields[] = {{"arrival_us", 0, UINT64_C(31536000000000)},
		      {"user", 0, INT64_MAX},
		      {"item", 1, items},
		      {"quantity", 1, UINT32_MAX}};
	const int n = sizeof fields / sizeof *fields;
	uint64_t values[sizeof fields / sizeof *fields];
	const char *at = line, *end = line + length;

	for (int i = 0; i < n; i++) {
		const char *comma = memchr(at, ',', (size_t)(end - at));

		if (!comma == (i < n - 1)) {
			snprintf(fault->text, sizeof fault->text, "not %d fields with commas", n);
			return false;
		}
		if (!number(fields[i].name, at, (size_t)((comma ? comma : end) - at),
			    fields[i].least, fields[i].most, &values[i], fault))
			return false;
		at = comma ? comma + 1 : end;
	}
	*out = (struct purchase){.due = values[0] * QUEUE_MICROSECOND,
				 .user = values[1],
				 .item = (uint32_t)values[2],
				 .quantity = (uint32_t)values[3]};
	return true;
}

static int
csv_malformed(struct csv *csv, const char *why)
{
	if (++csv->malformed <= SHOWN_AT_MOST)
		complain("%s:%" PRIu64 ": %s", csv->name, csv->line, why);
	return SOURCE_MALFORMED;
}

/* Reads what there is without waiting: 0, -EAGAIN, or -EPIPE at the end. */
static int
csv_fill(struct csv *csv)
{
	struct pollfd input = {.fd = csv->fd, .events = POLLIN};
	ssize_t n;

	memmove(csv->buffer, csv->buffer + csv->from, csv->to - csv->from);
	csv->to -= csv->from;
	csv->from = 0;
	if (poll(&input, 1, 0) == 0)
		return -EAGAIN;
	n = read(csv->fd, csv->buffer + csv->to, LINE_SIZE - csv->to);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0)
		csv->error = errno;
	if (n <= 0) {
		csv->ended = true;
		return -EPIPE;
	}
	csv->to += (size_t)n;
	return 0;
}

/* A whole line, without its end, in the buffer: 0, -EAGAIN, -EPIPE, SOURCE_MALFORMED. */
static int
csv_line(struct csv *csv, char **line, size_t *length)
{
	for (;;) {
		char *start = csv->buffer + csv->from;
		size_t there = csv->to - csv->from;
		char *end = memchr(start, '\n', there);
		int rc = 0;

		if (end || (csv->ended && there > 0)) {
			*line = start;
			*length = end ? (size_t)(end - start) : there;
			csv->from += *length + (end ? 1 : 0);
			csv->line++;
			if (csv->skipping) {
				csv->skipping = false;
				return csv_malformed(csv, "a line of more than 65536 bytes");
			}
			return 0;
		}
		if (there == LINE_SIZE) {
			csv->skipping = true;
			csv->from = csv->to;
		}
		if (!csv->ended)
			rc = csv_fill(csv);
		if (csv->ended && csv->from == csv->to && !csv->skipping)
			return -EPIPE;
		if (csv->ended && csv->from == csv->to) {
			csv->skipping = false;
			csv->line++;
			return csv_malformed(csv, "a line of more than 65536 bytes");
		}
		if (rc == -EAGAIN)
			return rc;
	}
}

static bool
is_header(const struct csv *csv, const char *line, size_t length)
{
	return csv->line == 1 && length >= 10 && memcmp(line, "arrival_us", 10) == 0;
}

static int
csv_next(struct csv *csv, uint64_t items, struct purchase *out)
{
	struct fault fault;
	size_t length = 0;
	char *line = NULL;
	int rc;

	do {
		rc = csv_line(csv, &line, &length);
		if (rc)
			return rc;
		if (length > 0 && line[length - 1] == '\r')
			length--;
		/* What some editors put before the first line to say UTF-8. */
		if (csv->line == 1 && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
			line += 3;
			length -= 3;
		}
	} while (is_header(csv, line, length));
	return parse(line, length, items, out, &fault) ? 0 : csv_malformed(csv, fault.text);
}

/* Waits until there is something to read, it is stopped, or the time has come. */
static void
csv_wait(const struct source *source, uint64_t until)
{
	struct pollfd inputs[] = {{.fd = source->csv->fd, .events = POLLIN},
				  {.fd = source->stop_fd, .events = POLLIN}};
	uint64_t now = queue_now(), wait = until > now ? until - now : 0;
	struct timespec time = {.tv_sec = (time_t)(wait / QUEUE_SECOND),
				.tv_nsec = (long)(wait % QUEUE_SECOND)};

	(void)ppoll(inputs, 2, until == QUEUE_NEVER ? NULL : &time, NULL);
}

/* ---- Either ---------------------------------------------------------------------------------- */

int
source_next(struct source *source, struct purchase *out, uint64_t until)
{
	int rc;

	for (;;) {
		if (atomic_load(&source->stopped))
			return -EPIPE;
		if (!source->csv)
			return generator_next(source, out);
		pthread_mutex_lock(&source->csv->lock);
		rc = csv_next(source->csv, source->items, out);
		pthread_mutex_unlock(&source->csv->lock);
		if (rc != -EAGAIN || queue_now() >= until)
			return rc;
		csv_wait(source, until);
	}
}

static int
csv_open(struct csv **out, const char *name)
{
	bool is_standard_input = strcmp(name, "-") == 0;
	struct csv *csv = calloc(1, sizeof *csv);
	int error;

	if (!csv)
		return ENOMEM;
	csv->name = is_standard_input ? "standard input" : name;
	csv->fd = is_standard_input ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
	error = csv->fd < 0 ? errno : pthread_mutex_init(&csv->lock, NULL);
	if (error == 0 && read(csv->fd, csv->buffer, 0) < 0)
		error = errno; /* a directory, for one */
	if (error) {
		free(csv);
		return error;
	}
	*out = csv;
	return 0;
}

int
source_open(struct source **out, const struct options *options)
{
	struct source *source = calloc(1, sizeof *source);
	int error = 0;

	if (!source)
		return ENOMEM;
	source->options = options;
	source->items = options->items;
	source->steady = options->steady_rate * options->steady_ms / 1000;
	source->total = source->steady + options->users + options->users / IMPATIENCE;
	source->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (source->stop_fd < 0)
		error = errno;
	else if (options->input)
		error = csv_open(&source->csv, options->input);
	if (error) {
		source_close(source);
		return error;
	}
	*out = source;
	return 0;
}

void
source_stop(struct source *source)
{
	uint64_t one = 1;
	ssize_t written;

	atomic_store(&source->stopped, true);
	written = write(source->stop_fd, &one, sizeof one);
	(void)written; /* it can only fail when it is readable already */
}

int
source_finish(struct source *source)
{
	const struct csv *csv = source->csv;

	if (!csv)
		return 0;
	if (csv->malformed > SHOWN_AT_MOST)
		complain("%s: %" PRIu64 " more malformed lines", csv->name,
			 csv->malformed - SHOWN_AT_MOST);
	if (csv->error)
		complain("%s: %s", csv->name, strerror(csv->error));
	return csv->error;
}

void
source_close(struct source *source)
{
	if (source->csv) {
		if (source->csv->fd != STDIN_FILENO)
			close(source->csv->fd);
		pthread_mutex_destroy(&source->csv->lock);
		free(source->csv);
	}
	if (source->stop_fd >= 0)
		close(source->stop_fd);
	free(source);
}
