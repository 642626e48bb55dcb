/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_PROGRESS_TRACER_H
#define CONVEYOR_TEST_PROGRESS_TRACER_H

/*
 * Stops the victim of a staged process (stage.h) inside its call, in two ways.
 *
 * By steps. The processor traps after each instruction. In a restartable sequence (rseq(2),
 * conveyor/impl/atomic.h) that is not enough: the trap interrupts the sequence, so the victim goes
 * on at the other place, and never gets beyond the first few instructions of any.
 *
 * By breakpoints. The victim runs freely until it is about to execute a given instruction inside a
 * sequence, with everything before it done: the stores of a sequence that is half done are there
 * for all to see. That is as far inside as the hardware goes: the kernel will let the victim go on
 * at the other place, but not before it goes on. How it came there can be said as well: after so
 * many passes through this sequence (a breakpoint behind its last store interrupts nothing), or
 * after another sequence that was interrupted, which leads through the slow halves.
 *
 * The breakpoints are int3 instructions in the text, which the others run too; but these sleep
 * until the victim has got to where it is stopped, and by then the text is whole again. (Debug
 * registers would be the victim's own, but there are virtual machines where they never trap.)
 */
#include "stage.h"

/* Where the kernel says that the thread is inside; as in the section __rseq_cs. */
struct sequence {
	uint32_t version, flags;
	uint64_t start, length, refused;
} __attribute__((aligned(32)));

/* Those of this program, and how many, if that is asked. */
const struct sequence *sequences(size_t *count);

/* The addresses of its instructions, and how many there are. */
#define PLACES_MAX 32
size_t sequence_places(const struct sequence *sequence, uint64_t *places);

/* How the victim comes to be inside a sequence. */
struct approach {
	const struct sequence *interrupted; /* first this one, at its beginning; NULL: none */
	const struct sequence *sequence;
	unsigned passes; /* then so many times through it */
	uint64_t address;
};

#define BREAKPOINTS_MAX 256

enum verdict {
	WENT_ON, /* the others have done all they were to do */
	BLOCKED
};

/*
 * Starts a process, with all its threads on one processor, which is another one for each `place`.
 * False: processes may not be traced here.
 */
bool tracer_start(unsigned place);
void tracer_end(void);
/* The scene is on the board: until the victim is about to begin. False: there is no such queue. */
bool tracer_begin(void);
/* Goes on for so many instructions, counted in *done. False: the call has ended before. */
bool tracer_step(uint64_t instructions, uint64_t *done);
/*
 * From the beginning of a call, steps to its end and finishes: so the way is learned. True: it was
 * the same as the last time, and can be followed. `again`: it is not the first of its kind.
 */
#define WAY_MAX 16384
bool tracer_learn(bool again);
/* How many places there are inside the call, the first before its first instruction. */
size_t tracer_length(void);
/* From the beginning of a call, to one of them, faster than by steps. False: it went elsewhere. */
bool tracer_follow(size_t place);
/* Goes on until it is where the approach says. False: the call has ended before. */
bool tracer_approach(const struct approach *approach);
/* Goes on until it is at the start of one of these sequences: which, or -1. */
int tracer_meet(const struct sequence *const *wanted, size_t count);
/*
 * Lets the others loose while the victim is stopped, for so many pushes and pops. `apart`: on all
 * processors, else on the victim's, where they take turns. They are blocked when all look so, in so
 * many looks one after the other.
 */
enum verdict tracer_let_others(uint32_t traffic, bool apart, unsigned looks);
/* Lets the victim go, until all is judged: what was wrong is on the board. */
void tracer_finish(void);

#endif
