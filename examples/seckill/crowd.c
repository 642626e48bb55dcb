/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The buyers: one thread, which asks as they arrive and takes what they are told. What it knows it
 * has from the shop's answers alone, and it writes that down (notebook.c): a request before it is
 * sent, an answer when it came.
 *
 * When the shop is gone, answers that had left it are still in the socket, and count as told. Who
 * has none then asks the next life again, with the same id.
 */
#include "durable.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REFRESH (100 * QUEUE_MILLISECOND)
/* An input that has nothing at the moment is looked at again after this. */
#define PAUSE (10 * QUEUE_MILLISECOND)
/* A signal this soon after another is the same one, sent to the process and to its group. */
#define SAME_SIGNAL QUEUE_SECOND

/* ---- Signals, and the time limit ------------------------------------------------------------- */

static void
stop(struct crowd *crowd)
{
	source_stop(crowd->source);
	crowd->ended = true;
	crowd->has_next = false;
}

static void
stop_on(struct crowd *crowd, int signal_number, uint64_t now)
{
	if (crowd->signal && now - crowd->signal_time < SAME_SIGNAL)
		return;
	if (crowd->signal) {
		complain("%s again: the sale was not finished; --durable %s goes on with it",
			 strsignal(signal_number), crowd->options->durable);
		_exit(EXIT_SIGNAL + signal_number);
	}
	crowd->signal = signal_number;
	crowd->signal_time = now;
	complain("%s: finishing what was accepted", strsignal(signal_number));
	stop(crowd);
}

static void
take_signals(struct crowd *crowd, uint64_t now)
{
	struct signalfd_siginfo info;

	while (read(crowd->signals, &info, sizeof info) == sizeof info)
		stop_on(crowd, (int)info.ssi_signo, now);
	if (crowd->options->seconds > 0 && crowd->start > 0 && !crowd->ended &&
	    now - crowd->start >= crowd->options->seconds * QUEUE_SECOND)
		stop(crowd);
}

/* ---- Killing --------------------------------------------------------------------------------- */

static bool
kill_moment_has_come(const struct life *life)
{
	switch (life->kill) {
	case KILL_NOT:
		return false;
	case KILL_SELLING:
		return life->is_closing || (life->is_open && life->sold >= life->kill_sold);
	case KILL_OPENING:
		return true;
	case KILL_CLOSING:
		return life->is_closing;
	}
	return false;
}

static void
kill_in_time(struct life *life, uint64_t now)
{
	if (life->was_killed)
		return;
	if (life->kill_time == 0 && kill_moment_has_come(life))
		life->kill_time = now + life->kill_after;
	if (life->kill_time > 0 && now >= life->kill_time)
		life->was_killed = kill(life->pid, SIGKILL) == 0;
}

/* ---- Being told ------------------------------------------------------------------------------ */

static void
take_answer(struct crowd *crowd, struct life *life, const struct durable_answer *answer,
	    uint64_t now)
{
	struct notebook *notebook = crowd->notebook;
	bool sold = answer->outcome == OUTCOME_SOLD;
	const struct note *note;

	if (answer->id < 1 || answer->id > notebook->n || answer->outcome >= OUTCOMES ||
	    notebook->notes[answer->id - 1].state != NOTE_OPEN) {
		crowd->told_twice++; /* or what nobody has asked: a shop does neither */
		return;
	}
	note = &notebook->notes[answer->id - 1];
	notebook_tell(notebook, answer->id, sold);
	crowd->outcomes[answer->outcome]++;
	crowd->found += answer->found;
	crowd->open--;
	life->sold += sold;
	life->refused += !sold;
	if (sold && note->asked > 0)
		histogram_add(&crowd->sales, now - note->asked);
}

static void
take_packet(struct crowd *crowd, struct life *life, const struct durable_answer *answers,
	    size_t size)
{
	uint64_t now = queue_now();

	if (life->is_open) {
		for (size_t i = 0; i < size / sizeof *answers; i++)
			take_answer(crowd, life, &answers[i], now);
		return;
	}
	memcpy(&life->opening, answers, sizeof life->opening);
	life->is_open = true;
	life->recovery = now - life->began;
	if (crowd->start == 0)
		crowd->start = now;
}

/* What is there. False: that was all there will ever be. */
static bool
take_all(struct crowd *crowd, struct life *life)
{
	struct durable_answer answers[DURABLE_PACKET];
	ssize_t size;

	for (;;) {
		size = recv(life->fd, answers, sizeof answers, MSG_DONTWAIT);
		if (size > 0)
			take_packet(crowd, life, answers, (size_t)size);
		else if (size < 0 && errno == EAGAIN)
			return true;
		/*
		 * ECONNRESET is said once, when the shop is gone and has not read everything; what
		 * it has sent is still there and comes next.
		 */
		else if (size == 0 || (errno != ECONNRESET && errno != EINTR))
			return false;
	}
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void
put(struct crowd *crowd, uint64_t id)
{
	const struct note *note = &crowd->notebook->notes[id - 1];

	crowd->packet[crowd->n_packet++] = (struct durable_ask){
		.id = id, .user = note->user, .item = note->item, .quantity = note->quantity};
	crowd->open++;
}

/* Whether a new buyer has arrived; it is crowd->next then. */
static bool
arrives(struct crowd *crowd, uint64_t now)
{
	while (!crowd->has_next && !crowd->ended && now >= crowd->look_again) {
		int rc = source_next(crowd->source, &crowd->next, 0);

		if (rc == SOURCE_MALFORMED)
			crowd->malformed++;
		else if (rc == -EAGAIN)
			crowd->look_again = now + PAUSE;
		else if (rc == 0)
			crowd->has_next = true;
		else
			crowd->ended = true;
	}
	if (!crowd->has_next)
		return false;
	return crowd->options->fast || now >= crowd->start + crowd->next.due;
}

/* Who has no answer first, then those who arrive. */
static void
fill_packet(struct crowd *crowd, uint64_t now)
{
	while (crowd->n_packet < DURABLE_PACKET && crowd->open < crowd->options->window) {
		if (crowd->asked_again < crowd->n_again) {
			put(crowd, crowd->again[crowd->asked_again++]);
		} else if (arrives(crowd, now)) {
			uint64_t id = notebook_ask(crowd->notebook, &crowd->next, now);

			crowd->has_next = false;
			crowd->failed = id == 0;
			if (crowd->failed)
				return;
			put(crowd, id);
		} else {
			return;
		}
	}
}

static void
ask(struct crowd *crowd, struct life *life, uint64_t now)
{
	do {
		fill_packet(crowd, now);
		if (notebook_write(crowd->notebook) != 0)
			crowd->failed = true;
		if (crowd->n_packet == 0 || crowd->failed)
			return;
		/* An error other than EAGAIN: the shop is gone, as the next recv will say. */
		if (send(life->fd, crowd->packet, crowd->n_packet * sizeof *crowd->packet,
			 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		crowd->n_packet = 0;
	} while (crowd->open < crowd->options->window);
}

static bool
everybody_has_an_answer(const struct crowd *crowd)
{
	return crowd->ended && !crowd->has_next && crowd->asked_again == crowd->n_again &&
	       crowd->open == 0;
}

/* ---- One life of the shop -------------------------------------------------------------------- */

static void
show_status(struct crowd *crowd, const struct life *life, uint64_t now)
{
	char text[256], a[TEXT_SIZE], b[TEXT_SIZE];

	if (!status_is_possible() || now - crowd->status_time < REFRESH)
		return;
	crowd->status_time = now;
	snprintf(text, sizeof text, "life %llu: %s; %s came, %s of them were told \"sold\"",
		 (unsigned long long)life->number,
		 life->is_closing ? "closing"
		 : life->is_open  ? "open"
				  : "opening",
		 text_number(a, crowd->notebook->n), text_number(b, crowd->outcomes[OUTCOME_SOLD]));
	status_show(text);
}

/* Until there is something to read, somebody arrives, or the time for something has come. */
static void
wait_for_news(const struct crowd *crowd, const struct life *life)
{
	struct pollfd inputs[] = {{.fd = life->fd, .events = POLLIN},
				  {.fd = crowd->signals, .events = POLLIN}};
	uint64_t now = queue_now(), until = now + REFRESH, wait;
	struct timespec time;

	if (crowd->n_packet > 0)
		inputs[0].events |= POLLOUT;
	else if (life->is_open && !life->is_closing && crowd->open < crowd->options->window) {
		if (crowd->has_next && crowd->start + crowd->next.due < until)
			until = crowd->start + crowd->next.due;
		if (!crowd->has_next && !crowd->ended && crowd->look_again < until)
			until = crowd->look_again;
	}
	if (!life->was_killed && life->kill_time > 0 && life->kill_time < until)
		until = life->kill_time;
	wait = until > now ? until - now : 0;
	time = (struct timespec){.tv_nsec = (long)wait};
	(void)ppoll(inputs, 2, &time, NULL);
}

/* The ids of those who asked the life before and were not answered. */
static void
list_unanswered(struct crowd *crowd)
{
	const struct notebook *notebook = crowd->notebook;

	free(crowd->again);
	crowd->n_packet = crowd->open = crowd->n_again = crowd->asked_again = 0;
	crowd->again = calloc(notebook_count(notebook, NOTE_OPEN) + 1, sizeof *crowd->again);
	if (!crowd->again) {
		complain("%s", strerror(ENOMEM));
		crowd->failed = true;
		return;
	}
	for (uint64_t i = 0; i < notebook->n; i++)
		if (notebook->notes[i].state == NOTE_OPEN)
			crowd->again[crowd->n_again++] = i + 1;
}

void
crowd_buy(struct crowd *crowd, struct life *life)
{
	list_unanswered(crowd);
	while (take_all(crowd, life)) {
		uint64_t now = queue_now();

		take_signals(crowd, now);
		if (life->is_open && !life->is_closing && !crowd->failed)
			ask(crowd, life, now);
		if (notebook_write(crowd->notebook) != 0)
			crowd->failed = true;
		if (!life->is_closing &&
		    (crowd->failed || (life->is_open && everybody_has_an_answer(crowd))))
			life->is_closing = shutdown(life->fd, SHUT_WR) == 0;
		kill_in_time(life, now);
		show_status(crowd, life, now);
		wait_for_news(crowd, life);
	}
	(void)notebook_write(crowd->notebook);
	life->unanswered = notebook_count(crowd->notebook, NOTE_OPEN);
}

int
crowd_init(struct crowd *crowd, const struct options *options, struct notebook *notebook)
{
	sigset_t blocked;
	int error;

	*crowd = (struct crowd){.options = options, .notebook = notebook, .signals = -1};
	error = source_open(&crowd->source, options);
	if (error) {
		complain("--input %s: %s", options->input ? options->input : "-", strerror(error));
		return -1;
	}
	/* Those that monitor_block_signals has blocked. */
	(void)sigprocmask(SIG_SETMASK, NULL, &blocked);
	crowd->signals = signalfd(-1, &blocked, SFD_NONBLOCK | SFD_CLOEXEC);
	if (crowd->signals < 0) {
		complain("signalfd: %s", strerror(errno));
		crowd_fini(crowd);
		return -1;
	}
	return 0;
}

void
crowd_fini(struct crowd *crowd)
{
	if (crowd->signals >= 0)
		(void)close(crowd->signals);
	free(crowd->again);
	source_close(crowd->source);
}
