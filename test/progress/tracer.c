/* SPDX-License-Identifier: BSD-2-Clause */
#include "tracer.h"

#if defined STOPS_HERE

#include <conveyor/clock.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bounds of the section that the sequences are described in; weak, for there may be none. */
extern const struct sequence __start___rseq_cs[] __attribute__((__weak__));
extern const struct sequence __stop___rseq_cs[] __attribute__((__weak__));

/* How many instructions a sequence announces itself with: see QUEUE_IMPL_RSEQ_BEGIN. */
#define ANNOUNCED 3

/* How often the others are looked at, in ms, and what they may use up before they are blocked. */
#define LOOK 5u
#define SLEPT_LOOKS 10		      /* in which it slept in the kernel, without a call done */
#define SPUN (20 * QUEUE_MILLISECOND) /* on a processor, without a call done */
#define PATIENCE 60u		      /* seconds: something is wrong with the victim */

static pid_t victim;

static _Noreturn void
broken(const char *what)
{
	(void)fprintf(stderr, "stop_anywhere: %s: %s\n", what,
		      errno ? strerror(errno) : "that is wrong");
	if (board->scene.operation)
		(void)fprintf(stderr,
			      "stop_anywhere: that was %s %s, capacity %" PRIu64 ", %" PRIu64
			      " inside\n",
			      board->scene.object->name, board->scene.operation->name,
			      board->scene.capacity, board->scene.inside);
	if (board->failures)
		(void)fprintf(stderr, "stop_anywhere: %s\n", board->failure);
	if (victim > 0)
		(void)kill(victim, SIGKILL);
	_exit(1);
}

const struct sequence *
sequences(size_t *count)
{
	uintptr_t start = (uintptr_t)__start___rseq_cs, stop = (uintptr_t)__stop___rseq_cs;

	if (count)
		*count = (stop - start) / sizeof *__start___rseq_cs;
	return __start___rseq_cs;
}

static void
too_long(int number)
{
	(void)number; /* interrupts waitpid, and nothing else that matters */
}

/* Until the victim has stopped. Whatever it stops for must be a trap. */
static void
await_stop(void)
{
	int status;

	errno = 0;
	if (waitpid(victim, &status, __WALL) != victim) {
		errno = errno == EINTR ? 0 : errno;
		broken("the victim, let go, does not get done");
	}
	if (!WIFSTOPPED(status)) {
		victim = 0;
		broken(WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "the process has ended");
	}
	if (WSTOPSIG(status) != SIGTRAP)
		broken(strsignal(WSTOPSIG(status)));
}

static void
go_on(enum __ptrace_request how)
{
	if (ptrace(how, victim, NULL, NULL))
		broken("ptrace");
	await_stop();
}

static uint64_t
instruction_pointer(void)
{
	errno = 0;
	return (uint64_t)ptrace(PTRACE_PEEKUSER, victim, offsetof(struct user, regs.rip), NULL);
}

static bool
is_inside(void)
{
	return board->phase == BEGIN;
}

static cpu_set_t processors; /* that we may use */
static cpu_set_t own;	     /* the one of them that we do use */
static bool are_apart;	     /* the others, on all of them */

/* The tracer and the victim, which take turns: so a wake need not reach another processor. */
static void
share_processor(unsigned place)
{
	unsigned skip = place % (unsigned)CPU_COUNT(&processors);
	size_t i;

	for (i = 0; !CPU_ISSET(i, &processors) || skip-- > 0; i++)
		continue;
	CPU_ZERO(&own);
	CPU_SET(i, &own);
	(void)sched_setaffinity(0, sizeof own, &own);
}

/* The others as well, or else they run at the same time: on as many as there are. */
static void
put_others(bool apart)
{
	unsigned i;

	board->in_company = !apart;
	for (i = 0; i < OTHERS && apart != are_apart; i++)
		(void)sched_setaffinity((pid_t)board->lanes[i].tid, sizeof own,
					apart ? &processors : &own);
	are_apart = apart;
}

bool
tracer_start(unsigned place)
{
	struct sigaction action;
	int status;

	if (!board) {
		board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (board == MAP_FAILED || sched_getaffinity(0, sizeof processors, &processors))
			broken("cannot begin");
	}
	memset(board, 0, sizeof *board);
	share_processor(place);
	are_apart = false;
	(void)fflush(NULL);
	victim = fork();
	if (victim < 0)
		broken("fork");
	if (victim == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(3);
		stage_run();
	}
	if (waitpid(victim, &status, __WALL) != victim)
		broken("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
		victim = 0;
		return false;
	}
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		broken("the traced process does not begin");
	memset(&action, 0, sizeof action);
	action.sa_handler = too_long;
	(void)sigaction(SIGALRM, &action, NULL);
	(void)ptrace(PTRACE_SETOPTIONS, victim, NULL, PTRACE_O_EXITKILL);
	return true;
}

void
tracer_end(void)
{
	(void)kill(victim, SIGKILL);
	(void)waitpid(victim, NULL, __WALL);
	victim = 0;
}

/* ---- Breakpoints ----------------------------------------------------------------------------- */

#define INT3 0xccu

/* The bytes of a ModRM operand, from the ModRM byte on: Intel's manual, volume 2, section 2.1. */
static size_t
operand_length(const uint8_t *modrm)
{
	unsigned mode = *modrm >> 6, place = *modrm & 7u;
	size_t length = 1;

	if (mode == 3)
		return length;
	if (place == 4) {
		length++;
		if (mode == 0 && (modrm[1] & 7u) == 5)
			return length + 4;
	} else if (mode == 0 && place == 5) {
		return length + 4;
	}
	return length + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
}

/* Of an instruction as compilers and we put them into sequences; 0: some other. */
static size_t
instruction_length(const uint8_t *code)
{
	size_t at = 0;

	while (code[at] == 0x64 || (code[at] & 0xf0u) == 0x40) /* fs, REX */
		at++;
	switch (code[at]) {
	case 0x39: /* cmp */
	case 0x3b:
	case 0x89: /* mov */
	case 0x8b:
	case 0x8d: /* lea */
		return at + 1 + operand_length(&code[at + 1]);
	case 0x74: /* je, jne, jmp */
	case 0x75:
	case 0xeb:
		return at + 2;
	case 0xe9:
		return at + 5;
	case 0x0f: /* the same, further away */
		return code[at + 1] == 0x84 || code[at + 1] == 0x85 ? at + 6 : 0;
	default:
		return 0;
	}
}

size_t
sequence_places(const struct sequence *sequence, uint64_t *places)
{
	uint64_t at = sequence->start, end = sequence->start + sequence->length;
	size_t count = 0, length;

	while (at < end) {
		length = instruction_length((const uint8_t *)(uintptr_t)at);
		if (length == 0 || count == PLACES_MAX) {
			(void)fprintf(stderr,
				      "stop_anywhere: unknown instruction at %#" PRIx64 "\n", at);
			exit(1);
		}
		places[count++] = at;
		at += length;
	}
	return count;
}

static void
put_byte(uint64_t address, uint8_t byte, uint8_t *old)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, victim, address, NULL);
	if (errno)
		broken("cannot read text");
	*old = (uint8_t)word;
	word = (long)(((unsigned long)word & ~0xfful) | byte);
	if (ptrace(PTRACE_POKETEXT, victim, address, word))
		broken("cannot write text");
}

/*
 * Goes on to one of the addresses: which, or -1 when the call has ended. Nobody but the victim runs
 * meanwhile, and when it is there the text is as it was before.
 */
static int
run_to(const uint64_t *addresses, size_t count)
{
	uint8_t old[BREAKPOINTS_MAX], ignored;
	uint64_t at;
	size_t i;

	for (i = 0; i < count; i++)
		put_byte(addresses[i], INT3, &old[i]);
	go_on(PTRACE_CONT);
	while (i-- > 0)
		put_byte(addresses[i], old[i], &ignored);
	if (!is_inside())
		return -1;
	at = instruction_pointer() - 1;
	for (i = 0; i < count; i++) {
		if (addresses[i] != at)
			continue;
		if (ptrace(PTRACE_POKEUSER, victim, offsetof(struct user, regs.rip), at))
			broken("cannot set the instruction pointer");
		return (int)i;
	}
	broken("stopped where there is no breakpoint");
}

int
tracer_meet(const struct sequence *const *wanted, size_t count)
{
	uint64_t addresses[BREAKPOINTS_MAX];
	size_t i;

	for (i = 0; i < count; i++)
		addresses[i] = wanted[i]->start;
	return run_to(addresses, count);
}

bool
tracer_approach(const struct approach *approach)
{
	uint64_t behind = approach->sequence->start + approach->sequence->length;
	uint64_t places[PLACES_MAX];
	unsigned i;

	if (approach->interrupted) {
		/* Behind the announcement, or it might not be interrupted. */
		(void)sequence_places(approach->interrupted, places);
		if (run_to(&places[ANNOUNCED], 1) < 0)
			return false;
	}
	for (i = 0; i < approach->passes; i++)
		if (run_to(&behind, 1) < 0)
			return false;
	return run_to(&approach->address, 1) == 0;
}

/* ---- The course of a scene ------------------------------------------------------------------- */

bool
tracer_begin(void)
{
	(void)alarm(PATIENCE);
	board->failures = 0;
	board->give_up = 0;
	go_on(PTRACE_CONT);
	return board->phase == BEGIN;
}

/* One instruction; behind the call, to the trap there. */
static void
step(void)
{
	go_on(PTRACE_SINGLESTEP);
	if (!is_inside())
		go_on(PTRACE_CONT);
}

bool
tracer_step(uint64_t instructions, uint64_t *done)
{
	for (; instructions > 0 && is_inside(); instructions--, (*done)++)
		step();
	return is_inside();
}

/* ---- What the system says of the others ------------------------------------------------------ */

static bool
read_line(const char *name, unsigned thread, char *line, int size)
{
	char path[64];
	bool worked;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%u/%s", victim, thread, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	worked = fgets(line, size, file) != NULL;
	(void)fclose(file);
	return worked;
}

/* Nanoseconds that a thread has run, and whether it sleeps in the kernel. */
static void
ask_system(unsigned thread, uint64_t *ran, bool *sleeps)
{
	char line[512];
	const char *state;

	*ran = 0;
	*sleeps = false;
	if (read_line("schedstat", thread, line, sizeof line))
		*ran = strtoull(line, NULL, 10);
	if (read_line("stat", thread, line, sizeof line)) {
		state = strrchr(line, ')');
		*sleeps = state && state[1] == ' ' && state[2] == 'S';
	}
}

/* ---- A way that is known ---------------------------------------------------------------------- */

/*
 * What single-stepping finds in a call: where it is after so many instructions. To come to the
 * same place again it need not step: it runs to a place from where on no address comes twice, and
 * so on. But it is to be interrupted in the same sequences.
 */
static struct way {
	size_t length; /* how many places are inside the call; 0: not known */
	uint64_t addresses[WAY_MAX];
	uint32_t before[WAY_MAX];     /* one more than the last index with this address; 0: none */
	bool is_interrupted[WAY_MAX]; /* the last place in a sequence */
} way, last_way;

static bool
is_in_sequence(uint64_t address)
{
	const struct sequence *all;
	size_t count, i;

	all = sequences(&count);
	for (i = 0; i < count; i++)
		if (address - all[i].start < all[i].length)
			return true;
	return false;
}

/* One call, by steps, to its end. False: it is too long for us. */
static bool
record(struct way *to)
{
	to->length = 0;
	while (is_inside()) {
		if (to->length == WAY_MAX)
			return false;
		to->addresses[to->length++] = instruction_pointer();
		step();
	}
	return true;
}

static void
prepare_way(void)
{
	bool inside = false, next;
	size_t i, j;

	for (i = way.length; i-- > 0; inside = next) {
		next = is_in_sequence(way.addresses[i]);
		way.is_interrupted[i] = next && !inside;
		for (j = i; j > 0 && way.addresses[j - 1] != way.addresses[i]; j--)
			continue;
		way.before[i] = (uint32_t)j;
	}
}

bool
tracer_learn(bool again)
{
	bool worked = record(again ? &last_way : &way);

	tracer_finish();
	if (!worked || !again) {
		way.length = worked ? way.length : 0;
		return false;
	}
	if (way.length == last_way.length &&
	    memcmp(way.addresses, last_way.addresses, way.length * sizeof *way.addresses) == 0) {
		prepare_way();
		return true;
	}
	memcpy(&way, &last_way, sizeof way);
	return false;
}

size_t
tracer_length(void)
{
	return way.length;
}

/* The last place up to `last` that is reached from the one at `from` without passing it before. */
static size_t
farthest(size_t from, size_t last)
{
	size_t best = from + 1, end = best, i;

	while (end < last && !way.is_interrupted[end])
		end++;
	for (i = from + 2; i <= end; i++)
		if (way.before[i] <= from)
			best = i;
	return best;
}

/*
 * Those that have said that they are done still have to go to sleep, by system calls that may be on
 * the way as well; and a breakpoint is not for them.
 */
static void
await_sleep(void)
{
	uint64_t began = queue_now(), ran;
	unsigned i;
	bool sleeps;

	for (i = 0; i < OTHERS; i += sleeps) {
		ask_system(board->lanes[i].tid, &ran, &sleeps);
		if (!sleeps)
			sched_yield();
		if (queue_now() - began > PATIENCE * QUEUE_SECOND)
			broken("the others do not go to sleep");
	}
}

bool
tracer_follow(size_t place)
{
	size_t at = 0, next;

	if (place > 0)
		await_sleep();
	for (; at < place; at = next) {
		next = farthest(at, place);
		if (next == at + 1)
			step();
		else if (run_to(&way.addresses[next], 1) < 0)
			return false;
		if (!is_inside() || instruction_pointer() != way.addresses[next])
			return false;
	}
	return true;
}

/* ---- The others, watched ---------------------------------------------------------------------- */

/* What the system says of one of the others. */
struct watch {
	uint64_t calls;	 /* when last looked at */
	uint64_t ran_at; /* ns that it had run when it last did a call */
	int slept;	 /* in how many looks since */
};

/*
 * Is this one of the others blocked: inside a call, spinning or asleep? By its own time on a
 * processor, so that a busy machine does not make it look so.
 */
static bool
is_held_up(const struct lane *lane, struct watch *watch)
{
	uint64_t calls = queue_impl_load_rlx(&lane->calls), ran; /* relaxed: a counter */
	bool sleeps;

	if (queue_impl_load_acq(&lane->stuck_at) == successes() + 1)
		return true;
	ask_system(lane->tid, &ran, &sleeps);
	if (calls != watch->calls) {
		watch->calls = calls;
		watch->ran_at = ran;
		watch->slept = 0;
		return false;
	}
	watch->slept = sleeps ? watch->slept + 1 : 0;
	return watch->slept >= SLEPT_LOOKS || ran > watch->ran_at + SPUN;
}

/* Those that have finished sleep as well, but only a futex of ours can have them do so. */
enum verdict
tracer_let_others(uint32_t traffic, bool apart, unsigned looks)
{
	struct watch watches[OTHERS];
	uint64_t began = queue_now();
	unsigned i, held_up = 0;

	memset(watches, 0xff, sizeof watches);
	/* They are all asleep. */
	for (i = 0; i < OTHERS; i++) {
		struct lane *lane = &board->lanes[i];

		lane->pushed = lane->popped = lane->full = lane->empty = lane->calls = 0;
		lane->stuck_at = 0;
	}
	put_others(apart);
	board->traffic = traffic;
	order_others(GO);
	while (!await_others(LOOK)) {
		bool all = true;

		for (i = 0; i < OTHERS; i++)
			all = is_held_up(&board->lanes[i], &watches[i]) && all;
		held_up = all ? held_up + 1 : 0;
		if (held_up >= looks) {
			queue_impl_store32_rel(&board->give_up, 1);
			return BLOCKED;
		}
		if (queue_now() - began > PATIENCE * QUEUE_SECOND)
			broken("the others neither finish nor are blocked");
	}
	return WENT_ON;
}

/* A blocked other is let go by the victim's going on. */
void
tracer_finish(void)
{
	if (is_inside())
		go_on(PTRACE_CONT);
	go_on(PTRACE_CONT);
	(void)alarm(0);
	if (board->phase != READY)
		broken("the victim is somewhere else");
}

#endif
