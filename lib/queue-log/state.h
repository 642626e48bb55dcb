/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef QUEUE_LOG_STATE_H
#define QUEUE_LOG_STATE_H

/*
 * What a log's records say in all: how many messages there are, where each reader is, which half
 * messages are undecided. See queue_log(5).
 */
#include "look.h"

#include <conveyor/log.h>

struct state_exception {
	uint64_t position;
	uint32_t attempts; /* 0: as many as without it */
	uint32_t is_done;
};

struct state_reader {
	char name[QUEUE_LOG_NAME_MAX + 1];
	uint64_t position, high;
	struct state_exception *exceptions;
	uint32_t n_exceptions, capacity;
};

/* A half message without a decision. */
struct state_half {
	uint64_t id, position, time;
	uint32_t checks;
	bool is_parked;
	char *key; /* with a zero behind */
	uint32_t key_length;
	uint64_t length;
};

/* How many messages there are before a position, every so often. */
struct state_mark {
	uint64_t position, messages;
};

struct state {
	struct state_reader *readers; /* in the order of their names */
	size_t n_readers, readers_capacity;
	struct state_half *halves; /* in the order of their ids */
	size_t n_halves, halves_capacity;
	struct state_mark *marks;
	size_t n_marks, marks_capacity;
	uint64_t records, messages;
	uint64_t bytes;	      /* of messages */
	uint64_t left_out;    /* bytes in a GAP */
	uint64_t message_end; /* where the last message ends */
	/* The last COMPLETE without a gap before it: all is known from there on. */
	bool is_complete;
	uint64_t complete_from, gap_end;
};

struct bytes {
	const unsigned char *at;
	size_t length;
};

/* What readers get of a record that has a message. */
static inline struct bytes
state_message(const struct queue_impl_log_record *record)
{
	return (struct bytes){record->message, record->message_size};
}

/* A READER record, taken apart. False: it is none. */
struct state_reader_record {
	uint64_t position, high;
	struct bytes name;
	const unsigned char *exceptions; /* not aligned */
	uint32_t n;
};
bool state_read_reader(const struct queue_impl_log_record *record, struct state_reader_record *out);

/* A PREPARE record, taken apart. False: it is none. */
struct state_prepare_record {
	uint64_t id, time;
	uint32_t checks, parked;
	struct bytes key, message;
};
bool state_read_prepare(const struct queue_impl_log_record *record,
			struct state_prepare_record *out);

/* The 8 bytes that data begins with. */
uint64_t state_word(const struct queue_impl_log_record *record);

/* The next record. 0; -EILSEQ: it does not say what its kind has to; -ENOMEM. */
int state_add(struct state *state, const struct queue_impl_log_record *record);

/* What is known does not hold any more. */
void state_clear(struct state *state);

/* NULL: there is none. */
const struct state_reader *state_reader(const struct state *state, const char *name);

/* What is furthest behind, so that all from there on is kept; NULL: there is none. */
const struct state_reader *state_last_reader(const struct state *state);
const struct state_half *state_last_half(const struct state *state);

/* A message at that position was acknowledged out of order. */
bool state_is_done(const struct state_reader *reader, uint64_t position);

/* From where on messages are to be counted to know how many there are before a position. */
struct state_mark state_mark_before(const struct state *state, uint64_t position);

/* Readers and half messages alone, reading as little as is necessary. 0; as look_next; -ENOMEM. */
int state_of_readers(struct state *state, struct look *look);

#endif
