/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include <conveyor/call.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATES 6

/* What the callbacks were told, and in which order. */
struct story {
	struct queue_call call;
	int completed;
	int released;
	int completed_first;
	enum queue_call_state state;
	int releases_in_on_complete;
};

static void
note_completion(struct queue_call *call, enum queue_call_state state, void *context)
{
	struct story *story = context;
	int releases = story->releases_in_on_complete;

	cr_assert_eq(call, &story->call);
	cr_assert_eq(queue_call_state(call), state);
	story->completed++;
	story->state = state;
	story->completed_first = story->released == 0;
	/* The last of them may free the story. */
	while (releases-- > 0)
		queue_call_release(call);
}

static void
note_release(struct queue_call *call, void *context)
{
	struct story *story = context;

	cr_assert_eq(call, &story->call);
	story->released++;
}

static void
begin(struct story *story)
{
	const struct queue_call_options options = {
		.on_complete = note_completion, .release = note_release, .context = story};

	memset(story, 0, sizeof *story);
	cr_assert_eq(queue_call_init(&story->call, &options), 0);
}

/* Brings a new call into a state. */
static void
reach(struct queue_call *call, enum queue_call_state state)
{
	if (state == QUEUE_CALL_CLAIMED || state == QUEUE_CALL_REPLIED ||
	    state == QUEUE_CALL_ABANDONED)
		cr_assert_eq(queue_call_claim(call), 0);
	if (state == QUEUE_CALL_REPLIED)
		cr_assert_eq(queue_call_reply(call), 0);
	if (state == QUEUE_CALL_CANCELLED || state == QUEUE_CALL_ABANDONED)
		cr_assert_eq(queue_call_cancel(call), 0);
	if (state == QUEUE_CALL_REFUSED)
		cr_assert_eq(queue_call_refuse(call), 0);
	cr_assert_eq(queue_call_state(call), state);
}

static int
wait_in_the_past(struct queue_call *call)
{
	return queue_call_wait(call, 1);
}

struct act {
	const char *name;
	int (*act)(struct queue_call *call);
	int returns[STATES];
	enum queue_call_state leads_to[STATES];
};

#define PENDING QUEUE_CALL_PENDING
#define CLAIMED QUEUE_CALL_CLAIMED
#define REPLIED QUEUE_CALL_REPLIED
#define CANCELLED QUEUE_CALL_CANCELLED
#define ABANDONED QUEUE_CALL_ABANDONED
#define REFUSED QUEUE_CALL_REFUSED

/* The columns: PENDING, CLAIMED, REPLIED, CANCELLED, ABANDONED, REFUSED. */
static const struct act acts[] = {
	{"claim",
	 queue_call_claim,
	 {0, 0, -EINVAL, -ECANCELED, -ECANCELED, -EINVAL},
	 {CLAIMED, CLAIMED, REPLIED, CANCELLED, ABANDONED, REFUSED}},
	{"reply",
	 queue_call_reply,
	 {-EINVAL, 0, -EINVAL, -ECANCELED, -ECANCELED, -EINVAL},
	 {PENDING, REPLIED, REPLIED, CANCELLED, ABANDONED, REFUSED}},
	{"refuse",
	 queue_call_refuse,
	 {0, 0, -EINVAL, -ECANCELED, -ECANCELED, -EINVAL},
	 {REFUSED, REFUSED, REPLIED, CANCELLED, ABANDONED, REFUSED}},
	{"cancel",
	 queue_call_cancel,
	 {0, 0, -EBUSY, 0, 0, -EBUSY},
	 {CANCELLED, ABANDONED, REPLIED, CANCELLED, ABANDONED, REFUSED}},
	{"wait with a deadline in the past",
	 wait_in_the_past,
	 {-ETIMEDOUT, -ETIMEDOUT, 0, -ETIMEDOUT, -ETIMEDOUT, -ECANCELED},
	 {CANCELLED, ABANDONED, REPLIED, CANCELLED, ABANDONED, REFUSED}},
};

Test(call, every_act_in_every_state_answers_and_leads_as_the_diagram_says)
{
	size_t i;
	int state;

	for (i = 0; i < sizeof acts / sizeof *acts; i++) {
		for (state = 0; state < STATES; state++) {
			struct queue_call call;
			int rc;

			cr_assert_eq(queue_call_init(&call, NULL), 0);
			reach(&call, (enum queue_call_state)state);
			rc = acts[i].act(&call);
			cr_assert_eq(rc, acts[i].returns[state], "%s in state %d returns %d",
				     acts[i].name, state, rc);
			cr_assert_eq(queue_call_state(&call), acts[i].leads_to[state],
				     "%s in state %d leads to %d", acts[i].name, state,
				     (int)queue_call_state(&call));
		}
	}
}

Test(call, on_complete_runs_once_whoever_ends_the_call_and_however_often)
{
	static const enum queue_call_state ends[] = {REPLIED, CANCELLED, ABANDONED, REFUSED};
	size_t i, k;

	for (i = 0; i < sizeof ends / sizeof *ends; i++) {
		struct story story;

		begin(&story);
		reach(&story.call, ends[i]);
		cr_assert_eq(story.completed, 1);
		cr_assert_eq(story.state, ends[i]);
		/* All acts but the last, wait, which a call with on_complete refuses. */
		for (k = 0; k + 1 < sizeof acts / sizeof *acts; k++)
			(void)acts[k].act(&story.call);
		cr_assert_eq(story.completed, 1);
	}
}

Test(call, a_claim_is_not_an_end)
{
	struct story story;

	begin(&story);
	reach(&story.call, CLAIMED);
	cr_assert_eq(story.completed, 0);
}

Test(call, wait_is_refused_when_there_is_an_on_complete)
{
	struct story story;

	begin(&story);
	cr_assert_eq(queue_call_wait(&story.call, 1), -EINVAL);
	cr_assert_eq(queue_call_state(&story.call), PENDING);
}

Test(call, release_runs_once_with_the_second_reference_and_after_on_complete)
{
	struct story story;

	begin(&story);
	reach(&story.call, REPLIED);
	queue_call_release(&story.call);
	cr_assert_eq(story.released, 0);
	queue_call_release(&story.call);
	cr_assert_eq(story.released, 1);
	cr_assert(story.completed_first);
}

Test(call, on_complete_may_release_the_other_sides_reference)
{
	struct story story;

	begin(&story);
	story.releases_in_on_complete = 1;
	reach(&story.call, REPLIED);
	cr_assert_eq(story.released, 0);
	queue_call_release(&story.call);
	cr_assert_eq(story.released, 1);
}

/* Frees for good: the sanitizers see any touch of the call after on_complete. */
static void
free_story(struct queue_call *call, void *context)
{
	(void)call;
	free(context);
}

Test(call, the_thread_that_ends_it_touches_nothing_after_on_complete)
{
	const struct queue_call_options with_callback = {.on_complete = note_completion,
							 .release = free_story};
	static const enum queue_call_state ends[] = {REPLIED, CANCELLED, ABANDONED, REFUSED};
	size_t i;

	for (i = 0; i < sizeof ends / sizeof *ends; i++) {
		struct queue_call_options options = with_callback;
		struct story *story = calloc(1, sizeof *story);

		cr_assert_not_null(story);
		options.context = story;
		cr_assert_eq(queue_call_init(&story->call, &options), 0);
		story->releases_in_on_complete = 2;
		if (ends[i] != CANCELLED && ends[i] != REFUSED)
			cr_assert_eq(queue_call_claim(&story->call), 0);
		if (ends[i] == REPLIED)
			cr_assert_eq(queue_call_reply(&story->call), 0);
		else if (ends[i] == REFUSED)
			cr_assert_eq(queue_call_refuse(&story->call), 0);
		else
			cr_assert_eq(queue_call_cancel(&story->call), 0);
	}
}

Test(call, without_options_nothing_is_called_back)
{
	struct queue_call call;

	memset(&call, 0xff, sizeof call);
	cr_assert_eq(queue_call_init(&call, NULL), 0);
	reach(&call, REPLIED);
	queue_call_release(&call);
	queue_call_release(&call);
	cr_assert_eq(queue_call_init(NULL, NULL), -EINVAL);
}

Test(call, can_be_used_again_after_both_sides_have_released)
{
	struct story story;
	int i;

	for (i = 0; i < 3; i++) {
		begin(&story);
		reach(&story.call, i % 2 ? CANCELLED : REPLIED);
		queue_call_release(&story.call);
		queue_call_release(&story.call);
		cr_assert_eq(story.completed, 1);
		cr_assert_eq(story.released, 1);
	}
}

Test(call, a_caller_whose_push_failed_acts_for_the_worker_and_then_waits_as_always)
{
	struct story story;
	const struct queue_call_options options = {.release = note_release, .context = &story};

	memset(&story, 0, sizeof story);
	cr_assert_eq(queue_call_init(&story.call, &options), 0);
	/* What on_drop does too. */
	cr_assert_eq(queue_call_refuse(&story.call), 0);
	queue_call_release(&story.call);
	/* What the caller does whatever has happened. */
	cr_assert_eq(queue_call_wait(&story.call, QUEUE_NEVER), -ECANCELED);
	queue_call_release(&story.call);
	cr_assert_eq(story.released, 1);
}

Test(call, wait_gives_up_at_its_deadline_and_not_before)
{
	struct queue_call call;
	uint64_t deadline = queue_after_ms(20);

	cr_assert_eq(queue_call_init(&call, NULL), 0);
	cr_assert_eq(queue_call_claim(&call), 0);
	cr_assert_eq(queue_call_wait(&call, deadline), -ETIMEDOUT);
	cr_assert_geq(queue_now(), deadline);
	cr_assert_eq(queue_call_state(&call), ABANDONED);
	cr_assert_eq(queue_call_reply(&call), -ECANCELED);
}

Test(call, wait_may_be_repeated_and_answers_the_same)
{
	struct queue_call call;

	cr_assert_eq(queue_call_init(&call, NULL), 0);
	reach(&call, REPLIED);
	cr_assert_eq(queue_call_wait(&call, QUEUE_NEVER), 0);
	cr_assert_eq(queue_call_wait(&call, 0), 0);
	cr_assert_eq(queue_call_init(&call, NULL), 0);
	cr_assert_eq(queue_call_wait(&call, 0), -ETIMEDOUT);
	cr_assert_eq(queue_call_wait(&call, QUEUE_NEVER), -ETIMEDOUT);
}

Test(call, errno_is_never_touched)
{
	struct queue_call call;
	size_t i;
	int state;

	errno = 12345;
	for (i = 0; i < sizeof acts / sizeof *acts; i++) {
		for (state = 0; state < STATES; state++) {
			(void)queue_call_init(&call, NULL);
			reach(&call, (enum queue_call_state)state);
			(void)acts[i].act(&call);
		}
	}
	(void)queue_call_init(&call, NULL);
	(void)queue_call_wait(&call, queue_now() + QUEUE_MILLISECOND);
	queue_call_release(&call);
	queue_call_release(&call);
	cr_assert_eq(errno, 12345);
}

/*
 * From here on any system call of this thread ends the process by a signal, but for those by which
 * it, or AddressSanitizer for it, exits.
 */
static bool
forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sigaltstack, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

#if defined QUEUE_IMPL_TSAN
	return false; /* the sanitizer makes system calls of its own */
#endif
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void
answer_without_system_calls(void)
{
	struct queue_call replied, refused;

	(void)queue_call_init(&replied, NULL);
	(void)queue_call_init(&refused, NULL);
	if (!forbid_system_calls())
		_exit(77);
	(void)queue_call_claim(&replied);
	(void)queue_call_reply(&replied);
	(void)queue_call_wait(&replied, QUEUE_NEVER);
	(void)queue_call_refuse(&refused);
	(void)queue_call_wait(&refused, QUEUE_NEVER);
	(void)queue_call_release(&replied);
	(void)queue_call_release(&replied);
	_exit(queue_call_state(&replied) == REPLIED ? 0 : 1);
}

Test(call, replying_where_nobody_sleeps_makes_no_system_call)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		answer_without_system_calls();
	cr_assert_eq(waitpid(child, &status, 0), child);
	/* 77: that cannot be seen here; an emulator has no seccomp. */
	cr_assert(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77),
		  "status %x", (unsigned)status);
}

/* ---- The descriptor ------------------------------------------------------------------------- */

static bool
is_readable(int number)
{
	struct pollfd poll_for = {.fd = number, .events = POLLIN};

	return poll(&poll_for, 1, 0) == 1 && poll_for.revents == POLLIN;
}

Test(call, descriptor_becomes_readable_when_the_call_ends_in_any_way_and_stays_so)
{
	size_t i;
	int state, late;

	for (i = 0; i < sizeof acts / sizeof *acts; i++) {
		for (state = 0; state < 2 * STATES; state++) {
			struct queue_call call;
			bool has_ended;
			int number;

			late = state / STATES;
			cr_assert_eq(queue_call_init(&call, NULL), 0);
			number = late ? -1 : queue_call_fd(&call);
			reach(&call, (enum queue_call_state)(state % STATES));
			if (late)
				number = queue_call_fd(&call);
			cr_assert_geq(number, 0);
			cr_assert_eq(is_readable(number), state % STATES >= REPLIED);
			(void)acts[i].act(&call);
			has_ended = queue_call_state(&call) >= REPLIED;
			cr_assert_eq(is_readable(number), has_ended, "%s in state %d", acts[i].name,
				     state);
			cr_assert_eq(queue_call_fd(&call), number);
			cr_assert_eq(is_readable(number), has_ended);
			if (has_ended)
				cr_assert_neq(queue_call_wait(&call, QUEUE_NEVER), -EINVAL);
			cr_assert_eq(is_readable(number), has_ended);
			queue_call_release(&call);
			queue_call_release(&call);
		}
	}
}

static void
note_readable(struct queue_call *call, enum queue_call_state state, void *context)
{
	(void)state;
	*(int *)context = is_readable(queue_call_fd(call));
}

Test(call, descriptor_is_readable_before_on_complete_is_called)
{
	int was_readable = -1;
	const struct queue_call_options options = {.on_complete = note_readable,
						   .context = &was_readable};
	struct queue_call call;

	cr_assert_eq(queue_call_init(&call, &options), 0);
	cr_assert_geq(queue_call_fd(&call), 0);
	reach(&call, REFUSED);
	cr_assert_eq(was_readable, 1);
	queue_call_release(&call);
	queue_call_release(&call);
}

struct with_descriptor {
	struct queue_call call;
	int number;
	bool was_closed;
};

static void
note_closed(struct queue_call *call, void *context)
{
	struct with_descriptor *it = context;

	(void)call;
	it->was_closed = fcntl(it->number, F_GETFD) < 0;
}

Test(call, descriptor_is_closed_by_the_second_release_before_the_option)
{
	struct with_descriptor it = {.was_closed = false};
	const struct queue_call_options options = {.release = note_closed, .context = &it};
	int i;

	/* And it can be used again, with another one. */
	for (i = 0; i < 3; i++) {
		cr_assert_eq(queue_call_init(&it.call, &options), 0);
		it.number = queue_call_fd(&it.call);
		cr_assert_eq(fcntl(it.number, F_GETFD), FD_CLOEXEC);
		cr_assert_not(is_readable(it.number));
		reach(&it.call, i % 2 ? REPLIED : CANCELLED);
		queue_call_release(&it.call);
		cr_assert(is_readable(it.number));
		cr_assert_not(it.was_closed);
		queue_call_release(&it.call);
		cr_assert(it.was_closed);
		it.was_closed = false;
	}
}

Test(call, descriptor_that_cannot_be_had_now_can_be_asked_for_again)
{
	struct rlimit before, none;
	struct queue_call call;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(queue_call_init(&call, NULL), 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	errno = 12345;
	cr_assert_eq(queue_call_fd(&call), -EAGAIN);
	cr_assert_eq(errno, 12345);
	reach(&call, REPLIED);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert(is_readable(queue_call_fd(&call)));
	queue_call_release(&call);
	queue_call_release(&call);
}

static void *
wait_by_poll(void *argument)
{
	struct queue_call *call = argument;
	struct pollfd poll_for = {.fd = queue_call_fd(call), .events = POLLIN};

	/* By then it has ended, and the reply is there. */
	cr_assert_eq(poll(&poll_for, 1, 20000), 1);
	cr_assert_eq(queue_call_wait(call, 0), 0);
	queue_call_release(call);
	return NULL;
}

Test(call, descriptor_wakes_whoever_polls_it, .timeout = 60)
{
	int i;

	/* The caller asks for it, sleeps, or has not come yet, when the reply comes. */
	for (i = 0; i < 2000; i++) {
		struct queue_call call;
		pthread_t caller;
		int pauses;

		cr_assert_eq(queue_call_init(&call, NULL), 0);
		cr_assert_eq(queue_call_claim(&call), 0);
		cr_assert_eq(pthread_create(&caller, NULL, wait_by_poll, &call), 0);
		for (pauses = i % 500; pauses > 0; pauses--)
			queue_impl_pause();
		cr_assert_eq(queue_call_reply(&call), 0);
		queue_call_release(&call);
		cr_assert_eq(pthread_join(caller, NULL), 0);
	}
}
