/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A call, between a worker and a caller that does what the argument says:
 *
 *	wait      waits for the reply
 *	look      looks at the state, and takes the reply when it is there
 *	cancel    cancels, and takes the reply when that was too late
 *	refused   looks whether the worker has refused
 *	fd        asks for the descriptor
 *
 * Both have a word of their own that the other one reads once the call's state says that it is
 * written, and the last to release writes to both: a data race is an edge that is missing.
 */
#include "explorer.h"
#include "machine.h"

#include <conveyor/call.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

static struct queue_call call;
static int of_worker, of_caller, released;

static void
release(struct queue_call *ended, void *context)
{
	(void)ended;
	(void)context;
	of_worker = 0;
	of_caller = 0;
	released++;
}

static void *
work(void *how)
{
	int rc = queue_call_claim(&call);

	if (rc == 0) {
		of_worker = 1;
		rc = strcmp((const char *)how, "refused") == 0 ? queue_call_refuse(&call)
							       : queue_call_reply(&call);
	}
	if (rc == -ECANCELED)
		explorer_assert(of_caller == 1);
	queue_call_release(&call);
	return NULL;
}

static void *
ask(void *how)
{
	enum queue_call_state state = QUEUE_CALL_PENDING;

	if (strcmp((const char *)how, "wait") == 0) {
		explorer_assert(queue_call_wait(&call, QUEUE_NEVER) == 0);
		state = QUEUE_CALL_REPLIED;
	} else if (strcmp((const char *)how, "cancel") == 0) {
		of_caller = 1;
		if (queue_call_cancel(&call) == -EBUSY)
			state = QUEUE_CALL_REPLIED;
	} else if (strcmp((const char *)how, "fd") == 0) {
		explorer_assert(queue_call_fd(&call) >= 0);
	} else {
		state = queue_call_state(&call);
	}
	if (state == QUEUE_CALL_REPLIED || state == QUEUE_CALL_REFUSED)
		explorer_assert(of_worker == 1);
	queue_call_release(&call);
	return NULL;
}

const char program_usage[] =
	" CALLER\n"
	"\n"
	"  CALLER  what the caller does: wait waits for the reply, look takes it when it\n"
	"          is there, cancel cancels, and takes it when that was too late, refused\n"
	"          looks whether the worker has refused, fd asks for the descriptor\n";

void
program_check(void)
{
	const char *const words[] = {"wait", "look", "cancel", "refused", "fd", NULL};

	explorer_need_word(0, "CALLER", words);
	explorer_need_no_more(1);
}

int
main(void)
{
	const struct queue_call_options options = {.release = release};
	char *how = (char *)(uintptr_t)explorer_argument(0);
	pthread_t worker, caller;
	int rc;

	of_worker = of_caller = released = 0;
	rc = queue_call_init(&call, &options);
	explorer_assert(rc == 0);
	(void)pthread_create(&worker, NULL, work, how);
	(void)pthread_create(&caller, NULL, ask, how);
	(void)pthread_join(worker, NULL);
	(void)pthread_join(caller, NULL);
	explorer_assert(released == 1);
	if (strcmp(how, "fd") == 0)
		explorer_assert(machine_is_readable());
	return 0;
}
