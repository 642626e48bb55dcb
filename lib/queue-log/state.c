/* SPDX-License-Identifier: BSD-2-Clause */
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a log from one mark to the next. */
#define MARK_EVERY (UINT64_C(1) << 18)

/* Of the data of READER, before the name; and bytes of an exception. */
#define READER_FIXED 24
#define EXCEPTION 16

/* ---- Records taken apart --------------------------------------------------------------------- */

uint64_t
state_word(const struct queue_impl_log_record *record)
{
	uint64_t word = 0;

	if (record->size >= sizeof word)
		memcpy(&word, record->data, sizeof word);
	return word;
}

bool
state_read_reader(const struct queue_impl_log_record *record, struct state_reader_record *out)
{
	uint16_t length;
	size_t behind;

	if (record->kind != QUEUE_IMPL_LOG_READER || record->size < READER_FIXED)
		return false;
	memcpy(&out->position, record->data, 8);
	memcpy(&out->high, record->data + 8, 8);
	memcpy(&length, record->data + 16, 2);
	memcpy(&out->n, record->data + 20, 4);
	out->name = (struct bytes){record->data + READER_FIXED, length};
	behind = READER_FIXED + ((length + (size_t)7) & ~(size_t)7);
	if (length < 1 || length > QUEUE_LOG_NAME_MAX ||
	    record->size != behind + (uint64_t)out->n * EXCEPTION)
		return false;
	out->exceptions = record->data + behind;
	return true;
}

bool
state_read_prepare(const struct queue_impl_log_record *record, struct state_prepare_record *out)
{
	if (record->kind != QUEUE_IMPL_LOG_PREPARE || record->size < QUEUE_IMPL_LOG_PREPARED ||
	    record->aux > record->size - QUEUE_IMPL_LOG_PREPARED)
		return false;
	memcpy(&out->id, record->data, 8);
	memcpy(&out->time, record->data + 8, 8);
	memcpy(&out->checks, record->data + 16, 4);
	memcpy(&out->parked, record->data + 20, 4);
	out->key = (struct bytes){record->data + QUEUE_IMPL_LOG_PREPARED, record->aux};
	out->message = (struct bytes){out->key.at + out->key.length,
				      record->size - QUEUE_IMPL_LOG_PREPARED - record->aux};
	return true;
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* Room for one more. */
static int
grow(void **array, size_t n, size_t *capacity, size_t size)
{
	size_t more = *capacity ? 2 * *capacity : 16;
	void *larger;

	if (n < *capacity)
		return 0;
	larger = realloc(*array, more * size);
	if (!larger)
		return -ENOMEM;
	*array = larger;
	*capacity = more;
	return 0;
}

/* ---- Readers --------------------------------------------------------------------------------- */

static int
compare_name(const struct state_reader *reader, struct bytes name)
{
	size_t length = strlen(reader->name);
	size_t both = length < name.length ? length : name.length;
	int order = memcmp(reader->name, name.at, both);

	return order ? order : length < name.length ? -1 : length > name.length;
}

/* The place of a reader, or where it would be. */
static size_t
place_of_reader(const struct state *state, struct bytes name, bool *is_there)
{
	size_t i = 0;

	while (i < state->n_readers && compare_name(&state->readers[i], name) < 0)
		i++;
	*is_there = i < state->n_readers && compare_name(&state->readers[i], name) == 0;
	return i;
}

static int
take_exceptions(struct state_reader *reader, const struct state_reader_record *record)
{
	struct state_exception *exceptions;
	uint32_t i;

	if (record->n > reader->capacity) {
		exceptions = realloc(reader->exceptions, record->n * sizeof *exceptions);
		if (!exceptions)
			return -ENOMEM;
		reader->exceptions = exceptions;
		reader->capacity = record->n;
	}
	reader->n_exceptions = record->n;
	for (i = 0; i < record->n; i++) {
		struct state_exception *exception = &reader->exceptions[i];
		const unsigned char *bytes = record->exceptions + (size_t)i * EXCEPTION;

		memcpy(&exception->position, bytes, 8);
		memcpy(&exception->attempts, bytes + 8, 4);
		memcpy(&exception->is_done, bytes + 12, 4);
	}
	return 0;
}

static int
add_reader(struct state *state, const struct queue_impl_log_record *record)
{
	struct state_reader_record read;
	struct state_reader *reader;
	void *array = state->readers;
	bool is_there;
	size_t i;
	int rc;

	if (!state_read_reader(record, &read) || memchr(read.name.at, '\0', read.name.length))
		return -EILSEQ;
	i = place_of_reader(state, read.name, &is_there);
	if (!is_there) {
		rc = grow(&array, state->n_readers, &state->readers_capacity, sizeof *reader);
		if (rc < 0)
			return rc;
		state->readers = array;
		memmove(&state->readers[i + 1], &state->readers[i],
			(state->n_readers++ - i) * sizeof *reader);
		state->readers[i] = (struct state_reader){.position = 0};
		memcpy(state->readers[i].name, read.name.at, read.name.length);
	}
	reader = &state->readers[i];
	reader->position = read.position;
	reader->high = read.high;
	return take_exceptions(reader, &read);
}

static void
remove_reader(struct state *state, const struct queue_impl_log_record *record)
{
	const struct bytes name = {record->data, record->size};
	bool is_there;
	size_t i = place_of_reader(state, name, &is_there);

	if (!is_there)
		return;
	free(state->readers[i].exceptions);
	memmove(&state->readers[i], &state->readers[i + 1],
		(--state->n_readers - i) * sizeof *state->readers);
}

const struct state_reader *
state_reader(const struct state *state, const char *name)
{
	const struct bytes bytes = {(const unsigned char *)name, strlen(name)};
	bool is_there;
	size_t i = place_of_reader(state, bytes, &is_there);

	return is_there ? &state->readers[i] : NULL;
}

const struct state_reader *
state_last_reader(const struct state *state)
{
	const struct state_reader *least = NULL;
	size_t i;

	for (i = 0; i < state->n_readers; i++)
		if (!least || state->readers[i].position < least->position)
			least = &state->readers[i];
	return least;
}

bool
state_is_done(const struct state_reader *reader, uint64_t position)
{
	uint32_t i;

	for (i = 0; i < reader->n_exceptions; i++)
		if (reader->exceptions[i].position == position)
			return reader->exceptions[i].is_done != 0;
	return false;
}

/* ---- Half messages --------------------------------------------------------------------------- */

static size_t
place_of_half(const struct state *state, uint64_t id)
{
	size_t low = 0, high = state->n_halves;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (state->halves[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct state_half *
half_of(const struct state *state, uint64_t id)
{
	size_t i = place_of_half(state, id);

	return i < state->n_halves && state->halves[i].id == id ? &state->halves[i] : NULL;
}

static int
add_half(struct state *state, const struct queue_impl_log_record *record)
{
	struct state_prepare_record read;
	struct state_half *half;
	void *array = state->halves;
	size_t i;
	int rc;

	if (!state_read_prepare(record, &read))
		return -EILSEQ;
	half = half_of(state, read.id);
	if (!half) {
		char *key = malloc(read.key.length + 1);

		rc = key ? grow(&array, state->n_halves, &state->halves_capacity, sizeof *half)
			 : -ENOMEM;
		if (rc < 0) {
			free(key);
			return rc;
		}
		state->halves = array;
		i = place_of_half(state, read.id);
		memmove(&state->halves[i + 1], &state->halves[i],
			(state->n_halves++ - i) * sizeof *half);
		half = &state->halves[i];
		*half = (struct state_half){.id = read.id, .key = key};
		memcpy(key, read.key.at, read.key.length);
		key[read.key.length] = '\0';
		half->key_length = (uint32_t)read.key.length;
	}
	half->position = record->position;
	half->time = read.time;
	half->checks = read.checks;
	half->is_parked = read.parked != 0;
	half->length = read.message.length;
	return 0;
}

const struct state_half *
state_last_half(const struct state *state)
{
	const struct state_half *least = NULL;
	size_t i;

	/* An old one was written again, further behind. */
	for (i = 0; i < state->n_halves; i++)
		if (!least || state->halves[i].position < least->position)
			least = &state->halves[i];
	return least;
}

static void
decide_half(struct state *state, uint64_t id)
{
	struct state_half *half = half_of(state, id);

	if (!half)
		return;
	free(half->key);
	memmove(half, half + 1, (size_t)(&state->halves[--state->n_halves] - half) * sizeof *half);
}

static void
check_half(struct state *state, const struct queue_impl_log_record *record)
{
	struct state_half *half = half_of(state, state_word(record));
	uint32_t parked;

	if (!half)
		return;
	memcpy(&half->checks, record->data + 8, 4);
	memcpy(&parked, record->data + 12, 4);
	half->is_parked = parked != 0;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int
mark(struct state *state, uint64_t position)
{
	size_t n = state->n_marks;
	void *array = state->marks;
	int rc;

	if (n > 0 && position - state->marks[n - 1].position < MARK_EVERY)
		return 0;
	rc = grow(&array, n, &state->marks_capacity, sizeof *state->marks);
	if (rc < 0)
		return rc;
	state->marks = array;
	state->marks[state->n_marks++] = (struct state_mark){position, state->messages};
	return 0;
}

struct state_mark
state_mark_before(const struct state *state, uint64_t position)
{
	size_t low = 0, high = state->n_marks;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (state->marks[middle].position <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? state->marks[low - 1] : (struct state_mark){0, 0};
}

static void
add_message(struct state *state, const struct queue_impl_log_record *record)
{
	if (!record->message)
		return;
	state->messages++;
	state->bytes += record->message_size;
	state->message_end = record->position + queue_impl_log_extent(record->size);
}

static int
add_own(struct state *state, const struct queue_impl_log_record *record)
{
	switch (record->kind) {
	case QUEUE_IMPL_LOG_GAP:
		state->left_out += (uint64_t)record->aux * 8;
		state->gap_end = record->position + (uint64_t)record->aux * 8;
		return 0;
	case QUEUE_IMPL_LOG_COMPLETE:
		/* A gap may have been a reader. */
		if (state_word(record) >= state->gap_end) {
			state->is_complete = true;
			state->complete_from = state_word(record);
		}
		return 0;
	case QUEUE_IMPL_LOG_READER:
		return add_reader(state, record);
	case QUEUE_IMPL_LOG_REMOVED:
		remove_reader(state, record);
		return 0;
	case QUEUE_IMPL_LOG_PREPARE:
		return add_half(state, record);
	case QUEUE_IMPL_LOG_COMMIT:
	case QUEUE_IMPL_LOG_ROLLBACK:
		decide_half(state, state_word(record));
		return 0;
	case QUEUE_IMPL_LOG_CHECKED:
		check_half(state, record);
		return 0;
	default:
		return 0;
	}
}

int
state_add(struct state *state, const struct queue_impl_log_record *record)
{
	int rc = mark(state, record->position);

	if (rc < 0)
		return rc;
	state->records++;
	add_message(state, record);
	return add_own(state, record);
}

void
state_clear(struct state *state)
{
	size_t i;

	for (i = 0; i < state->n_readers; i++)
		free(state->readers[i].exceptions);
	for (i = 0; i < state->n_halves; i++)
		free(state->halves[i].key);
	free(state->readers);
	free(state->halves);
	free(state->marks);
	memset(state, 0, sizeof *state);
}

/* Everything from a segment on. */
static int
read_from(struct state *state, struct look *look, uint64_t base)
{
	struct look_event event;
	int rc;

	state_clear(state);
	look_from(look, base, false);
	for (;;) {
		rc = look_next(look, &event);
		if (rc < 0 || event.kind == LOOK_END)
			return rc;
		if (event.kind == LOOK_GONE)
			state_clear(state);
		if (event.kind == LOOK_DAMAGE)
			state->gap_end = event.position + event.length;
		if (event.kind != LOOK_RECORD)
			continue;
		rc = state_add(state, &event.record);
		if (rc < 0 && rc != -EILSEQ)
			return rc;
	}
}

/*
 * From the last segment back to one that says that all is known, and from where. Segments that are
 * made meanwhile are read as well.
 */
int
state_of_readers(struct state *state, struct look *look)
{
	uint64_t base = UINT64_MAX;
	int rc;

	for (;;) {
		rc = look_list(look);
		if (rc < 0)
			return rc;
		while (look->n_bases > 0 && look->bases[look->n_bases - 1] >= base)
			look->n_bases--;
		/* The oldest was read, or is gone. */
		if (look->n_bases == 0)
			return base == UINT64_MAX || state->n_marks > 0 ? 0
									: read_from(state, look, 0);
		base = look->bases[look->n_bases - 1];
		rc = read_from(state, look, base);
		if (rc < 0 || (state->is_complete && state->complete_from >= base))
			return rc;
	}
}
