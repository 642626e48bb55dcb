/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stops a thread at every place of a call, for ever as far as the others can tell, and has the
 * others make 10,000 pushes and 10,000 pops through full and empty meanwhile. Then the thread is
 * let go, and everything that went in must have come out once, in order, and what its call answered
 * must fit. The places are all instructions by count, as single-stepping finds them, and all
 * addresses in restartable sequences, which single-stepping cannot get to: see tracer.h.
 *
 * This library's objects must never block the others. The queues of bench/adapters are stopped
 * likewise, for comparison; of the two that are known to block, a ring with a mutex and Vyukov's,
 * it must be seen, or else this program would see nothing.
 *
 * A stop blocks when the others do not get their pushes and pops done. That is decided without a
 * clock where their calls return (each has tried 100,000 times, and nobody got anything done) and
 * otherwise by the processor time they have used up, or slept, in a call that does not return.
 *
 * Bounded, as `make check` runs it, it takes a part of the places, others for each seed: of every
 * call, capacity and start at least one; see thoroughness[]. --all takes all of them. Where calls
 * have thousands of places, or enter the kernel, the others make 10,000 pushes and pops at a part of
 * the places only, and fewer at the rest: see is_long().
 */
#include "stage.h"

#include "../../lib/rseq_impl.h"

#include <conveyor/clock.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 1000

static struct options {
	uint64_t seed;
	double seconds;
	bool all, list;
	unsigned jobs; /* 0: as many as there are processors */
	const char *only;
} options;

static void
usage(FILE *to)
{
	(void)fputs(
		"usage: stop_anywhere [options]\n"
		"  --all            at every place of every call\n"
		"  --only NAME      this object only; see --list\n"
		"  --list           the objects, and their calls\n"
		"  --seed N         which part of the places it takes without --all\n"
		"  --seconds S      again with other parts until so many seconds have passed (0)\n"
		"  --jobs N         so many calls at a time (as many as there are processors)\n"
		"  --help           this text\n"
		"\n"
		"It takes a minute, with --all a quarter of an hour on two processors.\n"
		"\n"
		"There is a row for each object, and these columns:\n"
		"  N of M   stops after which the others stood still, of all that were tried\n"
		"  in rseq  how many of the M were inside a restartable sequence\n"
		"  wrong    stopped calls after which not all was right: an item lost, or there\n"
		"           twice or out of order, or an answer that does not fit\n"
		"\"not to the end\": the object's process has hung or crashed. \"no such capacity\":\n"
		"the object cannot be made as it would have to be. The last line says in which\n"
		"objects a stop must not block the others and in which it must, to show that this is\n"
		"seen; the others are there for comparison.\n"
		"\n"
		"The exit status is 1 when a stop blocks the others where it must not, when none\n"
		"is seen to block where some must, and when an item is lost or comes twice; it is 77\n"
		"when nothing can be stopped here.\n",
		to);
}

static _Noreturn void
refuse(const char *what, const char *value)
{
	(void)fprintf(stderr, "stop_anywhere: %s '%s'\n", what, value);
	usage(stderr);
	exit(2);
}

static uint64_t
number(const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text < '0' || *text > '9')
		refuse("--seed must be a number, and not", text);
	return value;
}

static double
fraction(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value < 1e9))
		refuse("--seconds must be a number of seconds, and not", text);
	return value;
}

static const struct object *
named(const char *name)
{
	const struct object *const *object;

	for (object = objects(); *object; object++)
		if (strcmp((*object)->name, name) == 0)
			return *object;
	return NULL;
}

static unsigned
job_count(const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9' || value < 1 ||
	    value > JOBS_MAX)
		refuse("--jobs must be a number from 1 to 1000, and not", text);
	return (unsigned)value;
}

static void
parse(int argc, char **argv)
{
	int i;

	options.seed = queue_now();
	for (i = 1; i < argc; i++) {
		const char *option = argv[i], *value = argv[i + 1];

		if (strcmp(option, "--help") == 0) {
			usage(stdout);
			exit(0);
		} else if (strcmp(option, "--all") == 0) {
			options.all = true;
		} else if (strcmp(option, "--list") == 0) {
			options.list = true;
		} else if (strcmp(option, "--only") != 0 && strcmp(option, "--seed") != 0 &&
			   strcmp(option, "--seconds") != 0 && strcmp(option, "--jobs") != 0) {
			refuse("there is no option", option);
		} else if (!value) {
			refuse("a value must follow", option);
		} else if (strcmp(option, "--seed") == 0) {
			options.seed = number(argv[++i]);
		} else if (strcmp(option, "--seconds") == 0) {
			options.seconds = fraction(argv[++i]);
		} else if (strcmp(option, "--jobs") == 0) {
			options.jobs = job_count(argv[++i]);
		} else {
			options.only = argv[++i];
			if (!named(options.only))
				refuse("--only must be an object of --list, and not", options.only);
		}
	}
}

static void
list(void)
{
	const struct object *const *object;
	const struct operation *operation;

	for (object = objects(); *object; object++) {
		printf("%-20s", (*object)->name);
		for (operation = (*object)->operations; operation->name; operation++)
			printf(" %s", operation->name);
		printf("\n");
	}
}

#define LEFT_OUT 77 /* the exit status */

static _Noreturn void
leave_out(const char *why)
{
	printf("%s\n", why);
	exit(LEFT_OUT);
}

#if !defined STOPS_HERE

int
main(int argc, char **argv)
{
	parse(argc, argv);
	if (options.list)
		list();
	else
		leave_out("this needs x86-64, and no sanitizer");
	return 0;
}

#else

#include "tracer.h"

#define FAILURES_MAX 50
#define PASSES_MAX 8 /* through one sequence in one call */

/*
 * Of the places of a call every n-th is taken, from one on that the seed says; 0: none. `steps`:
 * by instructions, `inside`: by instructions in sequences; `after`: of the pairs of sequences of
 * which the second comes after the first was interrupted, all of it. The first row that fits.
 */
static const struct thoroughness {
	const char *object; /* NULL: any */
	const char *operation;
	uint64_t capacity_max;
	uint64_t steps, inside, after;
} thoroughness[] = {
	{"ring", "try_push", 1, 1, 1, 5},
	{"ring", "try_pop", 1, 1, 1, 5},
	{"ring", "stats", 64, 43, 0, 0},
	{"ring", NULL, 2, 17, 7, 79},
	{"ring", NULL, 64, 37, 17, 193},
	{"ring_sp", NULL, 64, 37, 17, 0},
	{"ring_sc", NULL, 64, 37, 17, 0},
	{"ring_spsc", NULL, 64, 37, 17, 0},
	/* Thousands of instructions. */
	{"queue", "stats", 64, 2999, 0, 0},
	{"queue_spsc", "stats", 64, 2999, 0, 0},
	{"queue_fd", "stats", 64, 2999, 0, 0},
	{"queue", NULL, 64, 61, 23, 257},
	{"queue_spsc", NULL, 64, 61, 0, 0},
	{"queue_fd", NULL, 64, 199, 97, 0},
	{"bucket", NULL, 64, 37, 0, 0},
	{"call", NULL, 64, 11, 0, 0},
	{"call_told", NULL, 64, 11, 0, 0},
	/* To see that a lock blocks takes a while each time. */
	{"mutex", NULL, 64, 37, 0, 0},
	{"vyukov", NULL, 2, 1, 0, 0},
	/* These enter the kernel each time. */
	{"mqueue", NULL, 64, 97, 0, 0},
	{"pipe", NULL, 64, 31, 0, 0},
	{NULL, NULL, UINT64_MAX, 7, 0, 0},
};

static const struct thoroughness complete = {NULL, NULL, UINT64_MAX, 1, 1, 1};

struct tally {
	const struct object *object;
	uint64_t stops, inside; /* of which in sequences */
	uint64_t blocking, wrong;
	bool tried;
	bool has_gap;	/* a call that was not stopped at some capacity */
	bool is_broken; /* could not be gone through to the end */
};

static uint64_t pass; /* how many times through all */
static bool shows_progress;
static uint64_t stop_count; /* of this process */

static const struct thoroughness *
thoroughness_of(const struct scene *scene)
{
	const struct thoroughness *row = thoroughness;

	if (options.all)
		return &complete;
	/* The last row fits anything. */
	while ((row->object && strcmp(row->object, scene->object->name) != 0) ||
	       (row->operation && strcmp(row->operation, scene->operation->name) != 0) ||
	       scene->capacity > row->capacity_max)
		row++;
	return row;
}

/* Where counting begins: anywhere below `every`, for each scene and seed elsewhere. */
static uint64_t
offset_of(const struct scene *scene, uint64_t every)
{
	const char *name = scene->operation->name;
	uint64_t mixed =
		options.seed + pass + scene->capacity * 5 + scene->inside * 3 + scene->variant * 7;

	for (; *name; name++)
		mixed = mixed * 31 + (unsigned char)*name;
	mixed ^= mixed >> 33;
	mixed *= UINT64_C(0xff51afd7ed558ccd); /* MurmurHash3's finalizer */
	mixed ^= mixed >> 33;
	return mixed % every;
}

static void
report(const struct scene *scene, const char *where, const char *what)
{
	if (shows_progress)
		(void)fprintf(stderr, "\r\033[K");
	(void)fflush(stdout);
	(void)fprintf(stderr, "%s %s, capacity %" PRIu64 ", %" PRIu64 " inside%s%s, %s: %s\n",
		      scene->object->name, scene->operation->name, scene->capacity, scene->inside,
		      *scene->object->variants[scene->variant] ? ", " : "",
		      scene->object->variants[scene->variant], where, what);
}

/* What is broken is broken in many places: no need to wait for all of them. */
static bool
is_hopeless(const struct tally *tally)
{
	return tally->object->duty == MUST_NOT_BLOCK &&
	       tally->blocking + tally->wrong >= FAILURES_MAX;
}

/*
 * The others do TRAFFIC at each stop, but where that takes long or there are very many places they
 * do it at every n-th only, and at the rest go ten times round, and a little more.
 */
static bool
is_long(const struct scene *scene)
{
	uint64_t every = 1;

	if (scene->operation->only_reads)
		every = 64;
	else if (scene->object->enters_kernel)
		every = 16;
	return stop_count % every == 0;
}

/* At every n-th stop the others run at the same time, at the rest they take turns: that is fast. */
#define APART_EVERY 8

/* What would be a fault has to look so for a tenth of a second, on a busy machine as well. */
#define SURELY_LOOKS 20

/* The victim is stopped: what the others can do, and what comes of it. */
static void
try_here(const struct scene *scene, struct tally *tally, const char *where)
{
	uint32_t traffic = is_long(scene) ? TRAFFIC : (uint32_t)(10 * scene->capacity + 100);
	bool must_not = scene->object->duty == MUST_NOT_BLOCK;
	enum verdict verdict = tracer_let_others(traffic, stop_count % APART_EVERY == 0,
						 must_not ? SURELY_LOOKS : 1);

	stop_count++;
	tally->stops++;
	tally->blocking += verdict == BLOCKED;
	if (verdict == BLOCKED && must_not)
		report(scene, where, "the others are blocked");
}

/* Lets the victim go. `where` it was stopped last. */
static void
finish(const struct scene *scene, struct tally *tally, const char *where)
{
	tracer_finish();
	if (board->failures) {
		tally->wrong++;
		report(scene, where, board->failure);
	}
}

/* The first calls of a kind may be longer than all others: symbols are looked up, memory comes. */
#define LESSONS 5

static bool
learn(void)
{
	unsigned i;

	for (i = 0; i < LESSONS && tracer_begin(); i++)
		if (tracer_learn(i > 0))
			return true;
	return false;
}

/* To a place of a call that has begun, from *done on. False: the call has ended before. */
static bool
go_to(const struct scene *scene, struct tally *tally, uint64_t place, bool is_known, uint64_t *done)
{
	if (is_known && *done == 0 && place < tracer_length()) {
		if (tracer_follow(place)) {
			*done = place;
			return true;
		}
		/* It was another way this time. */
		finish(scene, tally, "not stopped");
		if (!tracer_begin())
			return false;
	}
	return tracer_step(place - *done, done);
}

static unsigned
stops_a_call(const struct scene *scene, uint64_t every)
{
	if (!scene->operation->only_reads)
		return 1;
	return every == 1 ? STOPS_A_CALL : 8;
}

/*
 * After so many instructions, and some more, and so on, each time in a call of its own. A call that
 * only reads leaves nothing behind that could be stopped at: so it goes on from one place to the
 * next, which spares it the way there; but not for ever, for it may begin again whenever the others
 * have been let loose.
 */
static bool
stop_by_steps(const struct scene *scene, struct tally *tally, uint64_t every)
{
	uint64_t at = offset_of(scene, every), done, first = tally->stops;
	unsigned most = stops_a_call(scene, every), stops;
	bool inside = true, is_known = every == 1 && learn();
	char where[64];

	while (inside && !is_hopeless(tally)) {
		if (!tracer_begin())
			return false;
		tally->tried = true;
		(void)snprintf(where, sizeof where, "not stopped");
		for (done = 0, stops = 0; stops < most; stops++, at += every) {
			inside = go_to(scene, tally, at, is_known, &done);
			if (!inside)
				break;
			(void)snprintf(where, sizeof where,
				       "stopped after %" PRIu64 " instructions", done);
			try_here(scene, tally, where);
		}
		finish(scene, tally, where);
		/* It is shorter than that: but there is at least one place. */
		if (tally->stops == first && !inside && at > 0) {
			at %= done;
			inside = true;
		}
	}
	return true;
}

/* Is the victim there? If so it is stopped, and to be tried or finished. */
static bool
can_approach(const struct scene *scene, struct tally *tally, const struct approach *approach)
{
	if (!tracer_begin())
		return false;
	if (tracer_approach(approach))
		return true;
	finish(scene, tally, "not stopped");
	return false;
}

/*
 * At all instructions of one sequence. The first is reached in any case: when not, the sequence is
 * not. (That which announces the sequence is left out when it has been announced before.)
 */
static bool
stop_in_sequence(const struct scene *scene, struct tally *tally, struct approach approach,
		 uint64_t every, uint64_t *number_of_place)
{
	uint64_t places[PLACES_MAX];
	size_t count = sequence_places(approach.sequence, places), i;
	char where[128];

	for (i = 0; i < count; i++) {
		bool wanted = ++*number_of_place % every == 0;

		/* The first one is for finding out. */
		if (!wanted && i > 0)
			continue;
		approach.address = places[i];
		if (!can_approach(scene, tally, &approach)) {
			if (i == 0)
				return false;
			continue;
		}
		if (!wanted) {
			finish(scene, tally, "not stopped");
			continue;
		}
		(void)snprintf(where, sizeof where,
			       "stopped at instruction %zu of sequence %td, after %u passes%s", i,
			       approach.sequence - sequences(NULL), approach.passes,
			       approach.interrupted ? " and an interruption" : "");
		tally->inside++;
		try_here(scene, tally, where);
		finish(scene, tally, where);
	}
	return true;
}

/* Which sequences the call comes to, each by itself. */
static size_t
meet_sequences(const struct scene *scene, struct tally *tally, const struct sequence **met)
{
	const struct sequence *all, *wanted[BREAKPOINTS_MAX];
	size_t total, met_count = 0, i;
	int found;

	all = sequences(&total);
	if (total > BREAKPOINTS_MAX)
		total = BREAKPOINTS_MAX;
	for (i = 0; i < total; i++)
		wanted[i] = &all[i];
	while (total > 0 && tracer_begin()) {
		found = tracer_meet(wanted, total);
		finish(scene, tally, "not stopped");
		if (found < 0)
			break;
		met[met_count++] = wanted[found];
		wanted[found] = wanted[--total];
	}
	return met_count;
}

static void
stop_in_sequences(const struct scene *scene, struct tally *tally, uint64_t every, uint64_t after)
{
	const struct sequence *met[BREAKPOINTS_MAX], *all;
	size_t total, met_count = meet_sequences(scene, tally, met), i, j;
	uint64_t count = offset_of(scene, every), pairs = after ? offset_of(scene, after) : 0,
		 all_of = 0;
	struct approach approach = {.passes = 0};

	all = sequences(&total);
	for (i = 0; i < met_count; i++) {
		approach.interrupted = NULL;
		approach.sequence = met[i];
		for (approach.passes = 0; approach.passes < PASSES_MAX; approach.passes++)
			if (!stop_in_sequence(scene, tally, approach, every, &count))
				break;
		approach.passes = 0;
		approach.interrupted = met[i];
		for (j = 0; after && j < total; j++) {
			approach.sequence = &all[j];
			if (++pairs % after == 0)
				(void)stop_in_sequence(scene, tally, approach, 1, &all_of);
		}
	}
}

/* ---- All scenes of an object ----------------------------------------------------------------- */

/* The last is for peers that cannot be had as small as the others. */
#define CAPACITIES 4
#define CAPACITY_OF_ANY 1024u
static const uint64_t capacities[CAPACITIES] = {1, 2, 64, CAPACITY_OF_ANY};

/* False: there is no such queue. */
static bool
run_scene(const struct scene *scene, struct tally *tally)
{
	const struct thoroughness *how = thoroughness_of(scene);

	board->scene = *scene;
	if (is_hopeless(tally))
		return true;
	if (how->steps && !stop_by_steps(scene, tally, how->steps))
		return false;
	if (how->inside && scene->object->duty == MUST_NOT_BLOCK)
		stop_in_sequences(scene, tally, how->inside, how->after);
	return true;
}

/* Empty, half-full, nearly full and full, as far as these differ. */
static void
run_starts(struct scene scene, struct tally *tally)
{
	uint64_t starts[4], last = UINT64_MAX;
	unsigned i;

	starts[0] = 0;
	starts[1] = scene.capacity / 2;
	starts[2] = scene.capacity - 1;
	starts[3] = scene.capacity;
	for (i = 0; i < 4; i++) {
		if (starts[i] == last)
			continue;
		last = scene.inside = starts[i];
		if (!run_scene(&scene, tally))
			return;
	}
}

static void
run_capacity(struct scene scene, uint64_t capacity, struct tally *tally)
{
	scene.capacity = capacity;
	for (scene.variant = 0; scene.object->variants[scene.variant]; scene.variant++)
		run_starts(scene, tally);
}

/* Does it exist in any of the usual capacities? */
static bool
is_as_small(struct scene scene)
{
	size_t i;

	for (i = 0; i < CAPACITIES - 1; i++) {
		scene.capacity = capacities[i];
		board->scene = scene;
		if (tracer_begin()) {
			tracer_finish();
			return true;
		}
	}
	return false;
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

/* One call at one capacity. In memory that the processes share. */
struct job {
	const struct object *object;
	const struct operation *operation;
	uint64_t capacity;
	struct tally tally;
};

static void
do_job(struct job *job)
{
	struct scene scene = {.object = job->object, .operation = job->operation};

	if (job->capacity != CAPACITY_OF_ANY || !is_as_small(scene))
		run_capacity(scene, job->capacity, &job->tally);
}

/* In a process of its own, so that others are not concerned when a queue hangs or crashes. */
static pid_t
start_job(struct job *job, unsigned place)
{
	pid_t tracer;

	(void)fflush(NULL);
	tracer = fork();
	if (tracer == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (!tracer_start(place))
			_exit(LEFT_OUT);
		do_job(job);
		tracer_end();
		_exit(0);
	}
	if (tracer < 0) {
		perror("stop_anywhere: fork");
		exit(1);
	}
	return tracer;
}

/* One that has ended makes its place free. */
static unsigned
await_job(pid_t *running, struct job *const *doing, unsigned places)
{
	int status;
	pid_t ended = waitpid(-1, &status, 0);
	unsigned i;

	for (i = 0; i < places && running[i] != ended; i++)
		continue;
	if (ended < 0 || i == places) {
		perror("stop_anywhere: waitpid");
		exit(1);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == LEFT_OUT)
		leave_out("processes may not be traced here");
	doing[i]->tally.is_broken |= status != 0;
	running[i] = 0;
	return i;
}

static void
show(const struct job *job, size_t number, size_t count)
{
	if (shows_progress)
		(void)fprintf(stderr, "\r\033[K%zu of %zu: %s %s, capacity %" PRIu64, number, count,
			      job->object->name, job->operation->name, job->capacity);
}

/* An object that has hung or crashed in one call need not do so in all of them. */
static bool
is_given_up(const struct job *jobs, size_t number)
{
	size_t i;

	for (i = 0; i < number; i++)
		if (jobs[i].object == jobs[number].object && jobs[i].tally.is_broken)
			return true;
	return false;
}

/* So many at a time, each on a processor of its own if there are that many. */
static void
do_jobs(struct job *jobs, size_t count, unsigned places)
{
	pid_t running[JOBS_MAX];
	struct job *doing[JOBS_MAX];
	unsigned used = 0, place;
	size_t i;

	for (i = 0; i < count; i++) {
		if (is_given_up(jobs, i))
			continue;
		place = used < places ? used++ : await_job(running, doing, places);
		show(&jobs[i], i + 1, count);
		doing[place] = &jobs[i];
		running[place] = start_job(&jobs[i], place);
	}
	for (; used > 0; used--)
		(void)await_job(running, doing, places);
}

/* ---- The table ------------------------------------------------------------------------------- */

/* What the object has done that it must not; NULL: nothing. */
static const char *
fault_of(const struct tally *tally)
{
	if (tally->object->duty == MAY_BLOCK)
		return NULL;
	if (tally->is_broken)
		return "did not get to the end";
	if (tally->wrong > 0)
		return "went wrong";
	if (tally->object->duty == MUST_BLOCK)
		return tally->blocking > 0 ? NULL : "was not seen to block";
	if (tally->has_gap)
		return "was not stopped in all its calls";
	return tally->blocking > 0 ? "blocks" : NULL;
}

static void
print_row(const struct tally *tally)
{
	char figures[64];

	if (!tally->tried && !tally->is_broken) {
		printf("%-22s %20s\n", tally->object->name, "no such capacity");
		return;
	}
	(void)snprintf(figures, sizeof figures, "%" PRIu64 " of %" PRIu64, tally->blocking,
		       tally->stops);
	printf("%-22s %20s %10" PRIu64 " %7" PRIu64 "%s%s\n", tally->object->name, figures,
	       tally->inside, tally->wrong, tally->is_broken ? "   not to the end" : "",
	       fault_of(tally) ? "   FAILED" : "");
}

static void
print_names(const struct tally *tallies, size_t count, enum duty duty)
{
	const char *none = " none";
	size_t i;

	for (i = 0; i < count; i++) {
		if (tallies[i].object->duty != duty)
			continue;
		printf(" %s", tallies[i].object->name);
		none = "";
	}
	printf("%s", none);
}

/* 0 or 1, as main. */
static int
print_verdict(const struct tally *tallies, size_t count)
{
	const char *before = "FAILED: ";
	bool all_right = true;
	size_t i;

	printf("must not block:");
	print_names(tallies, count, MUST_NOT_BLOCK);
	printf("; must:");
	print_names(tallies, count, MUST_BLOCK);
	printf("; ");
	for (i = 0; i < count; i++) {
		const char *fault = fault_of(&tallies[i]);

		if (!fault)
			continue;
		printf("%s%s %s", before, tallies[i].object->name, fault);
		before = ", ";
		all_right = false;
	}
	printf("%s\n", all_right ? "ok" : "");
	return all_right ? 0 : 1;
}

static void
print_table(const struct tally *tallies, size_t count)
{
	size_t built_in, i;

	printf("%-22s %20s %10s %7s\n", "stops that block others", "", "in rseq", "wrong");
	for (i = 0; i < count; i++)
		print_row(&tallies[i]);
	(void)sequences(&built_in);
	if (built_in > 0 && queue_impl_rseq_area() == 0)
		printf("no restartable sequences on this system: nothing was stopped in one\n");
}

/* Of all calls and capacities of an object. */
static void
add(struct tally *sum, const struct job *job)
{
	const struct tally *tally = &job->tally;

	sum->object = job->object;
	sum->stops += tally->stops;
	sum->inside += tally->inside;
	sum->blocking += tally->blocking;
	sum->wrong += tally->wrong;
	sum->tried |= tally->tried;
	sum->is_broken |= tally->is_broken;
	sum->has_gap |= job->capacity != CAPACITY_OF_ANY && tally->stops == 0;
}

/* The rows of the table: how many. The jobs of an object are next to each other. */
static size_t
add_up(const struct job *jobs, size_t count, struct tally *rows)
{
	size_t row_count = 0, i;

	for (i = 0; i < count; i++) {
		if (i == 0 || jobs[i].object != jobs[i - 1].object)
			memset(&rows[row_count++], 0, sizeof *rows);
		add(&rows[row_count - 1], &jobs[i]);
	}
	return row_count;
}

/* All there is to do, into `jobs` unless that is NULL: how much. */
static size_t
list_jobs(struct job *jobs)
{
	const struct object *const *object;
	const struct operation *operation;
	size_t count = 0, i;

	for (object = objects(); *object; object++) {
		if (options.only && strcmp((*object)->name, options.only) != 0)
			continue;
		for (operation = (*object)->operations; operation->name; operation++) {
			for (i = 0; i < CAPACITIES; i++, count++) {
				if (!jobs)
					continue;
				jobs[count].object = jobs[count].tally.object = *object;
				jobs[count].operation = operation;
				jobs[count].capacity = capacities[i];
			}
		}
	}
	return count;
}

static unsigned
processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set))
		return 1;
	return CPU_COUNT(&set) < JOBS_MAX ? (unsigned)CPU_COUNT(&set) : JOBS_MAX;
}

int
main(int argc, char **argv)
{
	struct job *jobs;
	struct tally *rows;
	uint64_t deadline;
	size_t count;

	parse(argc, argv);
	if (options.list) {
		list();
		return 0;
	}
	count = list_jobs(NULL);
	jobs = mmap(NULL, count * sizeof *jobs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	rows = calloc(count, sizeof *rows);
	if (jobs == MAP_FAILED || !rows) {
		perror("stop_anywhere");
		return 1;
	}
	(void)list_jobs(jobs);
	if (options.jobs == 0)
		options.jobs = processors();
	shows_progress = isatty(STDERR_FILENO);
	deadline = queue_now() + (uint64_t)(options.seconds * (double)QUEUE_SECOND);
	printf("seed %" PRIu64 "\n", options.seed);
	do {
		do_jobs(jobs, count, options.jobs);
		pass++;
	} while (queue_now() < deadline);
	if (shows_progress)
		(void)fprintf(stderr, "\r\033[K");
	count = add_up(jobs, count, rows);
	print_table(rows, count);
	return print_verdict(rows, count);
}

#endif
