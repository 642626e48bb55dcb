/* SPDX-License-Identifier: BSD-2-Clause */
#include "crew.h"

#include "item.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000u

uint64_t
bench_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void
bench_sleep_until(uint64_t when)
{
	struct timespec until;

	until.tv_sec = (time_t)(when / NS_PER_S);
	until.tv_nsec = (long)(when % NS_PER_S);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		continue;
}

/* Of the processors that this process may use, the i-th; they need not be numbered from 0. */
static size_t
processor(unsigned index, const cpu_set_t *allowed)
{
	size_t cpu;

	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && index-- == 0)
			return cpu;
	return 0;
}

static cpu_set_t allowed_at_start;

/* Before anything is pinned. */
static __attribute__((constructor)) void
read_allowed(void)
{
	if (sched_getaffinity(0, sizeof allowed_at_start, &allowed_at_start))
		CPU_SET(0, &allowed_at_start);
}

unsigned
bench_processors(void)
{
	return (unsigned)CPU_COUNT(&allowed_at_start);
}

void
bench_crew_pin(enum bench_pin pin, unsigned index)
{
	cpu_set_t set;

	if (pin == BENCH_PIN_NONE)
		return;
	CPU_ZERO(&set);
	CPU_SET(processor(pin == BENCH_PIN_ONE ? 0 : index % bench_processors(), &allowed_at_start),
		&set);
	(void)sched_setaffinity(0, sizeof set, &set);
}

struct crew {
	bench_crew_fn *body;
	void *context;
	enum bench_pin pin;
	pthread_barrier_t ready;
};

struct member {
	struct crew *crew;
	pthread_t thread;
	unsigned index;
	uint64_t begun, ended;
};

static void *
member_main(void *argument)
{
	struct member *member = argument;

	bench_crew_pin(member->crew->pin, member->index);
	(void)pthread_barrier_wait(&member->crew->ready);
	member->begun = bench_now();
	member->crew->body(member->crew->context, member->index);
	member->ended = bench_now();
	return NULL;
}

uint64_t
bench_crew_run(unsigned count, enum bench_pin pin, bench_crew_fn *body,
	       void (*meanwhile)(void *context), void *context)
{
	struct crew crew = {body, context, pin, {{0}}};
	struct member *members = calloc(count, sizeof *members);
	uint64_t begun = UINT64_MAX, ended = 0;
	unsigned i;

	if (!members || pthread_barrier_init(&crew.ready, NULL, count + 1))
		abort();
	for (i = 0; i < count; i++) {
		members[i].crew = &crew;
		members[i].index = i;
		if (pthread_create(&members[i].thread, NULL, member_main, &members[i])) {
			(void)fprintf(stderr, "queue-bench: cannot start thread %u\n", i);
			abort();
		}
	}
	(void)pthread_barrier_wait(&crew.ready);
	if (meanwhile)
		meanwhile(context);
	/* By the threads' own clocks: this one may have been late to see the beginning. */
	for (i = 0; i < count; i++) {
		(void)pthread_join(members[i].thread, NULL);
		begun = members[i].begun < begun ? members[i].begun : begun;
		ended = members[i].ended > ended ? members[i].ended : ended;
	}
	(void)pthread_barrier_destroy(&crew.ready);
	free(members);
	return ended - begun;
}

static void
use_of(const struct rusage *rusage, struct bench_usage *usage)
{
	usage->cpu = (double)(rusage->ru_utime.tv_sec + rusage->ru_stime.tv_sec) +
		     (double)(rusage->ru_utime.tv_usec + rusage->ru_stime.tv_usec) * 1e-6;
	usage->switches = (uint64_t)(rusage->ru_nvcsw + rusage->ru_nivcsw);
}

/* Waits for the end of the child, at most until `deadline`, after which it is killed. */
static enum bench_state
await(pid_t child, uint64_t deadline, struct rusage *rusage)
{
	struct pollfd poller = {(int)syscall(SYS_pidfd_open, child, 0), POLLIN, 0};
	enum bench_state state = BENCH_OK;
	int status = 0, ready;

	do {
		uint64_t now = bench_now();

		ready = poll(&poller, 1,
			     now < deadline ? (int)((deadline - now) / 1000000) + 1 : 0);
	} while (ready < 0 && errno == EINTR);
	if (ready == 0) {
		state = BENCH_STALLED;
		(void)kill(child, SIGKILL);
	}
	while (wait4(child, &status, 0, rusage) < 0 && errno == EINTR)
		continue;
	if (poller.fd >= 0)
		(void)close(poller.fd);
	if (state == BENCH_OK && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		state = BENCH_CRASHED;
	return state;
}

enum bench_state
bench_isolated(void (*body)(void *context, void *result), void *context, void *result, size_t size,
	       double bound, struct bench_usage *usage)
{
	void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enum bench_state state;
	struct rusage rusage;
	pid_t child;

	if (shared == MAP_FAILED)
		return BENCH_CRASHED;
	memset(&rusage, 0, sizeof rusage);
	(void)fflush(NULL);
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		body(context, shared);
		_exit(0);
	}
	state = child < 0 ? BENCH_CRASHED
			  : await(child, bench_now() + (uint64_t)(bound * NS_PER_S), &rusage);
	memcpy(result, shared, size);
	(void)munmap(shared, size);
	if (usage)
		use_of(&rusage, usage);
	return state;
}
