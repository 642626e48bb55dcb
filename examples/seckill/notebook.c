/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the buyers remember. It stands for people elsewhere: so it is written by their process
 * alone, and what is in it was asked, or told, outside of the shop. A text file, a line for each
 * event:
 *
 *	life NUMBER			before a shop is started
 *	ask ID USER ITEM QUANTITY	before it is sent
 *	sold ID
 *	refused ID
 *
 * It outlives the buyers' process too, but it is not synced, and so not a machine that stops.
 */
#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEADER "seckill: what the buyers asked and were told\n"
#define LINE_MAX_SIZE 96
/* A shop that has lost its buyers ends soon, and has the lock until then. */
#define PATIENCE (10 * QUEUE_SECOND)

static int
complain_about(const struct notebook *notebook, const char *what)
{
	complain("%s: %s", notebook->path, what);
	return -1;
}

/* ---- Writing --------------------------------------------------------------------------------- */

int
notebook_write(struct notebook *notebook)
{
	size_t done = 0;

	while (!notebook->failed && done < notebook->unwritten) {
		ssize_t n =
			write(notebook->fd, notebook->buffer + done, notebook->unwritten - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			(void)complain_about(notebook, strerror(errno));
			notebook->failed = true;
		} else {
			done += (size_t)n;
		}
	}
	notebook->unwritten = 0;
	return notebook->failed ? -1 : 0;
}

static void append(struct notebook *notebook, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));

static void
append(struct notebook *notebook, const char *format, ...)
{
	va_list arguments;

	if (sizeof notebook->buffer - notebook->unwritten < LINE_MAX_SIZE)
		(void)notebook_write(notebook);
	va_start(arguments, format);
	notebook->unwritten += (size_t)vsnprintf(notebook->buffer + notebook->unwritten,
						 LINE_MAX_SIZE, format, arguments);
	va_end(arguments);
}

static bool
add(struct notebook *notebook, const struct note *note)
{
	if (notebook->n == notebook->room) {
		uint64_t room = notebook->room ? notebook->room * 2 : 1024;
		struct note *notes = realloc(notebook->notes, room * sizeof *notes);

		if (!notes)
			return false;
		notebook->notes = notes;
		notebook->room = room;
	}
	notebook->notes[notebook->n++] = *note;
	return true;
}

uint64_t
notebook_ask(struct notebook *notebook, const struct purchase *purchase, uint64_t now)
{
	const struct note note = {.user = purchase->user,
				  .asked = now,
				  .item = purchase->item,
				  .quantity = purchase->quantity};

	if (!add(notebook, &note)) {
		(void)complain_about(notebook, strerror(ENOMEM));
		return 0;
	}
	append(notebook, "ask %" PRIu64 " %" PRIu64 " %u %u\n", notebook->n, note.user, note.item,
	       note.quantity);
	return notebook->n;
}

uint64_t
notebook_life(struct notebook *notebook)
{
	append(notebook, "life %" PRIu64 "\n", ++notebook->lives);
	return notebook_write(notebook) == 0 ? notebook->lives : 0;
}

void
notebook_tell(struct notebook *notebook, uint64_t id, bool sold)
{
	notebook->notes[id - 1].state = sold ? NOTE_SOLD : NOTE_REFUSED;
	append(notebook, "%s %" PRIu64 "\n", sold ? "sold" : "refused", id);
}

uint64_t
notebook_count(const struct notebook *notebook, enum note_state state)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < notebook->n; i++)
		n += notebook->notes[i].state == state;
	return n;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* Whether a line is this event, with n numbers behind it. */
static bool
is_event(const char *line, const char *event, uint64_t *numbers, int n)
{
	size_t length = strlen(event);
	char *end;

	if (strncmp(line, event, length) != 0)
		return false;
	line += length;
	for (int i = 0; i < n; i++, line = end) {
		if (line[0] != ' ' || line[1] < '0' || line[1] > '9')
			return false;
		numbers[i] = strtoull(line + 1, &end, 10);
	}
	return strcmp(line, "\n") == 0;
}

static bool
take_answer(struct notebook *notebook, uint64_t id, enum note_state state)
{
	if (id < 1 || id > notebook->n || notebook->notes[id - 1].state != NOTE_OPEN)
		return false;
	notebook->notes[id - 1].state = state;
	return true;
}

/* False: no such line is ever written. */
static bool
take_line(struct notebook *notebook, const char *line)
{
	uint64_t numbers[4];

	if (is_event(line, "ask", numbers, 4)) {
		const struct note note = {.user = numbers[1],
					  .item = (uint32_t)numbers[2],
					  .quantity = (uint32_t)numbers[3]};

		return numbers[0] == notebook->n + 1 && add(notebook, &note);
	}
	if (is_event(line, "sold", numbers, 1))
		return take_answer(notebook, numbers[0], NOTE_SOLD);
	if (is_event(line, "refused", numbers, 1))
		return take_answer(notebook, numbers[0], NOTE_REFUSED);
	return is_event(line, "life", numbers, 1) && numbers[0] == ++notebook->lives;
}

/* Where the last whole line ends; -1 after complaining. */
static off_t
read_lines(struct notebook *notebook, FILE *file)
{
	char line[LINE_MAX_SIZE];
	uint64_t number = 1;
	off_t end;

	if (!fgets(line, sizeof line, file))
		return ferror(file) ? complain_about(notebook, strerror(errno)) : 0;
	if (strcmp(line, HEADER) != 0)
		return complain_about(notebook, "was not made by this program");
	for (end = (off_t)strlen(line); fgets(line, sizeof line, file); end = ftello(file)) {
		number++;
		if (!strchr(line, '\n') && feof(file))
			break; /* the process that wrote it was killed, or the disk full */
		if (!take_line(notebook, line)) {
			complain("%s:%" PRIu64 ": makes no sense", notebook->path, number);
			return -1;
		}
	}
	return ferror(file) ? complain_about(notebook, strerror(errno)) : end;
}

static int
read_all(struct notebook *notebook)
{
	int copy = dup(notebook->fd);
	FILE *file = copy < 0 ? NULL : fdopen(copy, "r");
	off_t end;

	if (!file) {
		if (copy >= 0)
			(void)close(copy);
		return complain_about(notebook, strerror(errno));
	}
	end = read_lines(notebook, file);
	(void)fclose(file);
	if (end < 0)
		return -1;
	if (ftruncate(notebook->fd, end) != 0)
		return complain_about(notebook, strerror(errno));
	if (end == 0)
		append(notebook, "%s", HEADER);
	return notebook_write(notebook);
}

/* The shop has the same descriptor: the lock is free when both are gone. */
static int
lock(struct notebook *notebook)
{
	const struct timespec pause = {.tv_nsec = (long)(20 * QUEUE_MILLISECOND)};
	uint64_t until = queue_now() + PATIENCE;

	while (flock(notebook->fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return complain_about(notebook, strerror(errno));
		if (queue_now() > until)
			return complain_about(notebook, "another sale is held there");
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

int
notebook_open(struct notebook *notebook, const char *path)
{
	*notebook = (struct notebook){.path = path};
	notebook->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (notebook->fd < 0)
		return complain_about(notebook, strerror(errno));
	if (lock(notebook) == 0 && read_all(notebook) == 0)
		return 0;
	notebook_close(notebook);
	return -1;
}

void
notebook_close(struct notebook *notebook)
{
	if (notebook->fd >= 0)
		(void)close(notebook->fd);
	free(notebook->notes);
	*notebook = (struct notebook){.fd = -1};
}
