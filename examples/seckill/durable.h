/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_DURABLE_H
#define SECKILL_DURABLE_H

/* The words of the sale that survives being killed. durable.c draws how they play together. */
#include "seckill.h"

#include <sys/types.h>

#define DURABLE_PATH_SIZE 4096

/* What is in the directory. */
struct durable_paths {
	const char *directory;
	char log[DURABLE_PATH_SIZE], database[DURABLE_PATH_SIZE], notebook[DURABLE_PATH_SIZE];
};

/* ---- What buyers and shop say to each other, through a socket that keeps packets whole ------ */

/* The shop, once, when it is open. */
struct durable_opening {
	uint64_t replayed; /* orders that came from the log */
	uint64_t had_row;  /* of these, those that had been stored before */
};

/* A buyer. The id is the buyer's, and the same one when the same thing is asked again. */
struct durable_ask {
	uint64_t id, user;
	uint32_t item, quantity;
};

/* The shop. */
struct durable_answer {
	uint64_t id;
	uint32_t outcome; /* enum outcome */
	uint32_t found;	  /* it had been sold in an earlier life */
};

/* The most in one packet. */
#define DURABLE_PACKET 128

/* ---- notebook.c: what the buyers asked and were told ---------------------------------------- */

enum note_state {
	NOTE_OPEN, /* asked, and never answered */
	NOTE_SOLD,
	NOTE_REFUSED
};

struct note {
	uint64_t user, asked; /* when; 0: by an earlier call of this program */
	uint32_t item, quantity;
	enum note_state state;
};

/* The note of request `id` is notes[id - 1]. */
struct notebook {
	const char *path;
	int fd;
	struct note *notes;
	uint64_t n, room, lives;
	bool failed; /* something could not be written; it has been complained about */
	size_t unwritten;
	char buffer[32768];
};

/* Reads what is there, or makes it; waits while another has it. 0, or -1 after complaining. */
int notebook_open(struct notebook *notebook, const char *path);
void notebook_close(struct notebook *notebook);

/* The number of the shop that is to be started: from 1. 0 after complaining. */
uint64_t notebook_life(struct notebook *notebook);

/* Notes a new request, before it is sent; its id, or 0 after complaining. */
uint64_t notebook_ask(struct notebook *notebook, const struct purchase *purchase, uint64_t now);
void notebook_tell(struct notebook *notebook, uint64_t id, bool sold);

/* Has all of it in the file: it outlives this process then. 0, or -1. */
int notebook_write(struct notebook *notebook);

uint64_t notebook_count(const struct notebook *notebook, enum note_state state);

/* ---- durable.c: the lives of the shop ------------------------------------------------------- */

enum kill {
	KILL_NOT,
	KILL_SELLING, /* a moment after so many have been told sold, or else as it closes */
	KILL_OPENING, /* a moment after it was started, in the middle of its recovery */
	KILL_CLOSING  /* when everybody has an answer, and rows are still to be written */
};

/* One process that was the shop, as seen from outside. */
struct life {
	uint64_t number;
	pid_t pid;
	int fd;
	uint64_t began;
	bool is_open, is_closing, was_killed;
	int status; /* of waitpid */

	struct durable_opening opening;
	uint64_t recovery; /* from its start until it was open; 0: it never was */
	uint64_t sold, refused, unanswered, rows;

	enum kill kill;
	uint64_t kill_sold, kill_after; /* how many sold; nanoseconds after that moment */
	uint64_t kill_time;		/* 0: that moment has not come */
};

/* The whole of it. Returns the exit status. */
int durable_hold(const struct options *options);

/* ---- crowd.c: the buyers -------------------------------------------------------------------- */

struct crowd {
	const struct options *options;
	struct source *source;
	struct notebook *notebook;
	int signals; /* a descriptor */

	uint64_t start; /* of the first life that was open */
	struct purchase next;
	bool has_next, ended; /* the source has ended, or was stopped */
	uint64_t look_again;  /* when to ask the source again; 0: at once */

	uint64_t *again; /* ids without an answer from the life before */
	uint64_t n_again, asked_again;
	uint64_t open; /* asked in this life, not answered */

	struct durable_ask packet[DURABLE_PACKET]; /* not sent yet */
	size_t n_packet;

	uint64_t outcomes[OUTCOMES], found, malformed;
	struct histogram sales; /* from the first time it was asked until it was told sold */
	int signal;		/* that stopped it, or 0 */
	uint64_t signal_time, status_time;
	bool failed; /* it cannot go on; it has been complained about */
	uint64_t told_twice;
};

/* 0, or -1 after complaining. */
int crowd_init(struct crowd *crowd, const struct options *options, struct notebook *notebook);
void crowd_fini(struct crowd *crowd);

/*
 * Buys from one life of the shop, and kills it when the time has come. Returns when its connection
 * has ended: because it was killed, or because everybody has an answer and it has closed.
 */
void crowd_buy(struct crowd *crowd, struct life *life);

/* ---- counter.c: the shop, a process of its own ---------------------------------------------- */

/* Sells through this socket until the other side closes it; then exits. */
_Noreturn void counter_run(const struct options *options, const struct durable_paths *paths,
			   uint64_t life, int fd);

/* ---- ledger.c: the log, and the rows that a reader of it writes ----------------------------- */

struct ledger {
	struct store *store;
	struct queue_log *log;
	struct queue_log_reader *reader;
	uint64_t *sold; /* ids of the orders that were there at the start, in their order */
	size_t n_sold, room;
	struct sale *sale; /* while it is opened */
	const struct options *options;
	atomic_bool closing;
};

/*
 * Opens both, and makes rows of what the log holds: then all that was ever accepted is a row. The
 * stock and the buyers of the sale become what is left. Complains: 0, EXIT_MISMATCH, EXIT_USAGE.
 */
int ledger_open(struct ledger *ledger, const struct options *options,
		const struct durable_paths *paths, uint64_t life, struct sale *sale,
		struct durable_opening *opening);
/* 0, or -1 after complaining. */
int ledger_close(struct ledger *ledger);

/* Whether the request with this id was accepted in an earlier life. */
bool ledger_knows(const struct ledger *ledger, uint64_t id);

/* The writer, a thread's body; the ledger is its argument. Ends when closing and all is stored. */
void *ledger_write(void *argument);

/* ---- account.c: the table and the sums ------------------------------------------------------ */

void account_setting(const struct options *options);
void account_lives(const struct crowd *crowd, struct life *lives, int n,
		   const struct durable_paths *paths);
void account_sums(const struct options *options, const struct notebook *notebook,
		  const struct durable_paths *paths, char mismatch[MISMATCH_SIZE]);

#endif
