/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring of include/conveyor/impl/ring.h and lib/ring.c, for spin. test/model/ring.sh runs it.
 *
 * One step here is one access to memory that is shared; names are those of the C code.
 *
 * Memory.       x86-64's: each thread's plain stores wait in a buffer of SB entries (0: they are
 *               seen at once), in order, until the environment lets one go, the thread executes a
 *               locked instruction, or membarrier reaches it. What the weaker order of aarch64 adds
 *               is not here.
 * Sequences.    inside[i] is true while thread i is in a restartable sequence. The environment
 *               (preemption, at any time) and membarrier set it back; the next step of the
 *               sequence then leaves it. The store that ends it sets it back as well.
 * Stopping.     A thread that stops for ever is one that is not scheduled any more, which every
 *               check for errors covers. As every thread has a program that ends, each cycle of
 *               states is a set of threads that go on for ever while no call ends: `pan -l` finds
 *               it. The revocations are bounded by an assertion, so that none hides in a counter.
 * Truth.        `full_to` is how far the ring is filled in memory, mem[HEAD] how far it is taken.
 *               Both change in the very step that a call takes effect in. pushed, popped and truth
 *               say which items are where, without looking at the slots.
 * Checked.      I1 to I4; each item goes in at most once, as its call answers, comes out at most
 *               once, and from the position it went in at; -EAGAIN only if the ring was full
 *               (empty) at some instant of the call; nothing goes in after a pop said -EPIPE, nor
 *               by a push that began after close; all that went in has come out by then.
 *
 * Given by -D:
 *   N                 threads, 2 to 4
 *   P0 .. P3          what they do: decimal digits, the last one first. 1 push, 2 pop, 3 push_n of
 *                     2, 4 pop_n of 2, 5 close
 *   CAPACITY, SLOTS
 *   RSEQ              1: there are restartable sequences; 0: x86-64 without; 2: a build without
 *   BIAS              1: the ends belong to nobody at first; 0: to anybody
 *   SB                0, 1 or 2: see above
 *   STEPWISE          1: membarrier reaches one thread after the other; 0: all at once
 *   HINTS             1: at any time, but once, filled goes back to the start, and so head_seen
 *   HANDLER           1: thread 1 is a signal handler that runs on thread 0; wants SB=0
 *   SINGLE_PRODUCER, SINGLE_CONSUMER   1: the role is promised
 *   MUTANT_...        one mistake each, which must be found
 */

#ifndef N
#define N 2
#endif
#ifndef P0
#define P0 11
#endif
#ifndef P1
#define P1 22
#endif
#ifndef P2
#define P2 0
#endif
#ifndef P3
#define P3 0
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef SLOTS
#define SLOTS CAPACITY
#endif
#ifndef RSEQ
#define RSEQ 1
#endif
#ifndef BIAS
#define BIAS 1
#endif
#ifndef SB
#define SB 0
#endif
#ifndef STEPWISE
#define STEPWISE 0
#endif
#ifndef HINTS
#define HINTS 0
#endif
#ifndef HANDLER
#define HANDLER 0
#endif
#ifndef SINGLE_PRODUCER
#define SINGLE_PRODUCER 0
#endif
#ifndef SINGLE_CONSUMER
#define SINGLE_CONSUMER 0
#endif

/* Shared memory. The seqs are the last, so that a store to one is told by its address. */
#define TAIL 0
#define FILLED 1
#define HEAD 2
#define HEAD_SEEN 3
#define MODE 4
#define PRODUCER 5
#define CONSUMER 6
#define ITEMS 7
#define SEQS (ITEMS + SLOTS)
#define WORDS (SEQS + SLOTS)
#define ITEM(p) (ITEMS + (p) % SLOTS)
#define SEQ(p) (SEQS + (p) % SLOTS)

/* Positions begin where the slots have something to hold already. */
#define FIRST SLOTS
#define HOLDS(p) (2 * (p) + 1)

#define CLOSED 1
#define REVOKED 2
/* More than all calls of any program here can cause, and less than a byte holds. */
#define REVOKED_MOST 60

#define NOBODY 0
#define UNDECIDED 1
#define ANYBODY 2
#if HANDLER
#define THREAD (me <= 1 -> 3 : 3 + me)
#else
#define THREAD (3 + me)
#endif

#define PATIENCE 1

/* Answers; a call that has none yet is still running. */
#define NONE 0
#define OK 1
#define AGAIN 2
#define PIPE 3

#define IS_PUSH(op) ((op) == 1 || (op) == 3)
#define IS_POP(op) ((op) == 2 || (op) == 4)
#define BIT(item) (1 << (item))

byte mem[WORDS];
bool inside[N];

/* The truth. */
byte full_to = FIRST;
byte truth[SLOTS];
int pushed;
int popped;
bool close_returned;
bool drained;
byte call[N]; /* which operation each thread is in */
bool saw[N];  /* was the ring full (a push), empty (a pop) at some instant of this call? */

hidden byte each;

#if SB == 0
#define LOAD(a) (mem[a])
#define PENDING_PUSHES(i) 0
#define HEAD_FOR(i) (mem[HEAD])
#elif SB == 1
byte where[N]; /* address + 1, or 0: none */
byte what[N];
#define LOAD(a) (where[me] == (a) + 1 -> what[me] : mem[a])
#define PENDING_PUSH(w, v) (w > SEQS && (v & 1) -> 1 : 0)
#define PENDING_PUSHES(i) PENDING_PUSH(where[i], what[i])
#define HEAD_FOR(i) (where[i] == HEAD + 1 -> what[i] : mem[HEAD])
#else
byte where[N]; /* the older one */
byte what[N];
byte where2[N];
byte what2[N];
#define LOAD(a)                                                                                    \
	(where2[me] == (a) + 1 -> what2[me] : (where[me] == (a) + 1 -> what[me] : mem[a]))
#define PENDING_PUSH(w, v) (w > SEQS && (v & 1) -> 1 : 0)
#define PENDING_PUSHES(i) (PENDING_PUSH(where[i], what[i]) + PENDING_PUSH(where2[i], what2[i]))
#define HEAD_FOR(i)                                                                                \
	(where2[i] == HEAD + 1 -> what2[i] : (where[i] == HEAD + 1 -> what[i] : mem[HEAD]))
#endif

/* What thread i knows to be done: all that is seen, and what it has done itself. */
#define INSIDE_FOR(i) (full_to + PENDING_PUSHES(i) - HEAD_FOR(i))
#define WITNESSES(i)                                                                               \
	((IS_PUSH(call[i]) && INSIDE_FOR(i) >= CAPACITY) ||                                        \
	 (IS_POP(call[i]) && INSIDE_FOR(i) == 0))

inline witness() {
	for (each : 0 .. N - 1) {
		saw[each] = saw[each] || WITNESSES(each)
	}
}

/* A store becomes visible. */
inline commit(a, v) {
	if
	:: (a) >= SEQS && ((v) & 1) ->
		assert((v) == HOLDS(full_to)); /* I2, I3 */
		mem[a] = v;
		full_to++;
		assert(full_to - mem[HEAD] <= CAPACITY); /* I1 */
		witness()
	:: (a) == HEAD ->
		assert((v) > mem[HEAD] && (v) <= full_to); /* I4 */
		mem[HEAD] = v;
		witness()
	:: else ->
		assert((a) != TAIL || (v) > mem[TAIL]);
		assert((a) < SEQS || (v) > mem[a]);
		mem[a] = v;
		assert(mem[TAIL] <= mem[HEAD] + CAPACITY) /* I1 */
	fi
}

inline flush(i) {
#if SB
	if
	:: where[i] ->
		commit(where[i] - 1, what[i]);
		where[i] = 0;
		what[i] = 0
	:: else
	fi;
#endif
#if SB == 2
	if
	:: where2[i] ->
		commit(where2[i] - 1, what2[i]);
		where2[i] = 0;
		what2[i] = 0
	:: else
	fi;
#endif
	skip
}

#if SB == 2
inline flush_oldest(i) {
	commit(where[i] - 1, what[i]);
	where[i] = where2[i];
	what[i] = what2[i];
	where2[i] = 0;
	what2[i] = 0
}
#endif

/* A plain store, for use within a step. */
inline store(a, v) {
#if SB == 0
	commit(a, v)
#elif SB == 1
	flush(me);
	where[me] = (a) + 1;
	what[me] = v
#else
	if
	:: where2[me] -> flush_oldest(me)
	:: else
	fi;
	if
	:: where[me] ->
		where2[me] = (a) + 1;
		what2[me] = v
	:: else ->
		where[me] = (a) + 1;
		what[me] = v
	fi
#endif
}

/* A thread has put its item at a position; a thread has moved the head, and has what it read. */
inline put(p, it) {
	assert(!(pushed & BIT(it)));
	assert(!drained);
	assert(!late); /* the push began after close had returned */
	pushed = pushed | BIT(it);
	truth[(p) % SLOTS] = it
}

inline take(p, it) {
	assert(pushed & BIT(it));
	assert(!(popped & BIT(it)));
	assert(it == truth[(p) % SLOTS]);
	popped = popped | BIT(it)
}

inline took(word, from, to) {
	if
	:: word == HEAD ->
		take(from, value);
		if
		:: (to) - (from) == 2 -> take(from + 1, value2)
		:: else
		fi
	:: else
	fi
}

inline cas(word, from, to) {
	d_step {
		flush(me);
		ok = (mem[word] == (from));
		if
		:: ok ->
			took(word, from, to);
			commit(word, to)
		:: else
		fi
	}
}

inline cas_pair(p, old_seq, old_item, new_seq, new_item) {
	d_step {
		flush(me);
		ok = (mem[SEQ(p)] == (old_seq) && mem[ITEM(p)] == (old_item));
		if
		:: ok ->
			mem[ITEM(p)] = new_item;
			if
			:: (new_seq) & 1 -> put(p, new_item)
			:: else
			fi;
			commit(SEQ(p), new_seq)
		:: else
		fi
	}
}

/* queue_impl_rseq_interrupt */
inline interrupt() {
#if STEPWISE
	d_step {
		flush(me);
		reached = 0
	};
	do
	:: reached < N ->
		d_step {
			flush(reached);
			inside[reached] = false;
			reached++
		}
	:: else -> break
	od;
	reached = 0
#else
	d_step {
		for (each : 0 .. N - 1) {
			inside[each] = false
		}
#if SB && !defined MUTANT_MEMBARRIER_WITHOUT_FENCE
		flush(0);
		flush(1);
#if N > 2
		flush(2);
#endif
#if N > 3
		flush(3);
#endif
#endif
	}
#endif
}

#ifdef MUTANT_GUARD_NOT_COMPARED
#define GUARD(a, v) true
#else
#define GUARD(a, v) (LOAD(a) == (v))
#endif
#ifdef MUTANT_MOVE_WITHOUT_FROM
#define IS_FROM(a, v) true
#else
#define IS_FROM(a, v) (LOAD(a) == (v))
#endif

inline rseq_store_pair(expected, p, it) {
	ok = false;
	if
	:: d_step { GUARD(MODE, expected) -> inside[me] = true };
		if
		:: d_step { inside[me] -> store(ITEM(p), it) };
			if
			:: d_step {
				inside[me] ->
				put(p, it);
				store(SEQ(p), HOLDS(p)); /* RING1 release */
				inside[me] = false;
				ok = true
			}
			:: else
			fi
		:: else
		fi
	:: else
	fi
}

inline rseq_move(owner, word, from, to) {
	if
	:: d_step { GUARD(owner, who) -> inside[me] = true };
		if
		:: d_step { inside[me] && IS_FROM(word, from) -> skip };
			if
			:: d_step {
				inside[me] ->
				took(word, from, to);
				store(word, to);
				inside[me] = false;
				ok = true
			}
			:: else
			fi
		:: else -> inside[me] = false
		fi
	:: else
	fi
}

inline is_filled(p) {
	d_step { ok = (LOAD(SEQ(p)) >= HOLDS(p)) } /* RING1 acquire */
}

inline is_next(t) {
	if
	:: d_step { LOAD(FILLED) == (t) -> ok = true } /* RING3 acquire */
	:: else -> is_filled(t - 1)
	fi
}

inline move(owner, word, from, to) {
	d_step {
		who = LOAD(owner); /* RING6 acquire */
		ok = false
	};
	if
	:: who == ANYBODY -> cas(word, from, to)
	:: who == THREAD -> rseq_move(owner, word, from, to)
	:: else
	fi;
	who = 0
}

inline swap_in(p, it) {
	d_step {
		seq = LOAD(SEQ(p)); /* RING1 acquire */
		ok = false
	};
	if
#ifdef MUTANT_SWAP_WITHOUT_SEQ
	:: true ->
#else
	:: seq + 1 < HOLDS(p) ->
#endif
		d_step { old = LOAD(ITEM(p)) };
		cas_pair(p, seq, old, HOLDS(p), it); /* RING1 release */
		old = 0
	:: else
	fi;
	seq = 0
}

inline fill(expected, p, it) {
#ifdef MUTANT_FILL_WITH_NEW_MODE
	d_step { mode = LOAD(MODE) };
#endif
#if SINGLE_PRODUCER
	d_step { store(ITEM(p), it) };
	d_step {
		put(p, it);
		store(SEQ(p), HOLDS(p)); /* RING1 release */
		ok = true
	}
#elif RSEQ == 1
	rseq_store_pair(expected, p, it)
#elif RSEQ == 2
	swap_in(p, it)
#else
	ok = false
#endif
}

inline revoke() {
#if RSEQ == 1
#ifdef MUTANT_MEMBARRIER_BEFORE_REVOKE
	interrupt();
#endif
	d_step {
		flush(me);
		mem[MODE] = mem[MODE] + REVOKED;
		assert(mem[MODE] < REVOKED_MOST)
	};
#if !defined MUTANT_REVOKE_WITHOUT_MEMBARRIER && !defined MUTANT_MEMBARRIER_BEFORE_REVOKE
	interrupt();
#endif
#endif
	skip
}

#ifdef MUTANT_SETTLE_AT_ONCE
#define UNSETTLED ANYBODY
#else
#define UNSETTLED UNDECIDED
#endif

/* A swap that fails says who it is now. */
inline unsettle(owner) {
	d_step { who = LOAD(owner) };
	do
	:: who == ANYBODY || who == UNDECIDED -> break
	:: else ->
		d_step {
			flush(me);
			if
			:: mem[owner] == who ->
				commit(owner, UNSETTLED);
				who = UNSETTLED
			:: else -> who = mem[owner]
			fi
		}
	od
}

inline settle(owner) {
	d_step {
		who = LOAD(owner);
		ok = (who == ANYBODY || who == THREAD)
	};
	if
	:: ok
	:: else ->
		if
		:: who == NOBODY -> cas(owner, who, THREAD)
		:: else ->
			unsettle(PRODUCER);
#ifndef MUTANT_SETTLE_OTHER_WITHOUT_UNSETTLE
			unsettle(CONSUMER);
#endif
#ifndef MUTANT_SETTLE_WITHOUT_MEMBARRIER
			interrupt();
#endif
			skip;
			d_step { store(PRODUCER, ANYBODY) }; /* RING6 release */
			d_step { store(CONSUMER, ANYBODY) }; /* RING6 release */
			ok = true
		fi
	fi;
	who = 0
}

inline move_surely(owner, word, from, to) {
	settle(owner);
	if
	:: ok -> cas(word, from, to)
	:: else
	fi
}

/* claimed := may our item be swapped in at `position`? */
inline overtake() {
	position = tail;
	do
	:: LOAD(SEQ(position - 1)) < HOLDS(position - 1) -> position--
	:: else -> break
	od;
#ifdef MUTANT_OVERTAKE_WITHOUT_CHECK
	revoke();
	claimed = true
#elif defined MUTANT_NO_OVERTAKE
	claimed = false
#else
	if
	:: position == tail -> claimed = false
	:: else ->
		revoke();
		claimed = true
	fi
#endif
}

inline push_slow(it) {
	looks = 0;
	do
	:: rc != NONE -> break
	:: else ->
		d_step { mode = LOAD(MODE) }; /* RING5 acquire */
		if
		:: mode & CLOSED -> rc = PIPE
		:: !(mode & CLOSED) && claimed ->
			swap_in(position, it);
			if
			:: ok ->
				d_step { store(FILLED, position + 1) }; /* RING3 release */
				rc = OK
			:: else ->
				is_filled(position);
				claimed = !ok
			fi
		:: !(mode & CLOSED) && !claimed ->
			d_step { tail = LOAD(TAIL) }; /* RING3 acquire */
#ifdef MUTANT_FULL_BEFORE_NEXT
			d_step {
				head = LOAD(HEAD);
				if
				:: tail >= head + CAPACITY -> rc = AGAIN
				:: else
				fi
			};
#endif
#if SINGLE_PRODUCER
			ok = true;
#else
			is_next(tail);
#endif
			if
			:: rc != NONE
			:: rc == NONE && !ok ->
				if
				:: looks < PATIENCE -> looks++
				:: else ->
					looks = 0;
					overtake()
				fi
			:: rc == NONE && ok ->
				d_step { head = LOAD(HEAD) }; /* RING4 acquire */
				d_step { mode = LOAD(MODE) }; /* RING5 acquire */
				if
				:: mode & CLOSED -> rc = PIPE
				:: !(mode & CLOSED) && tail >= head + CAPACITY -> rc = AGAIN
				:: else ->
					d_step { store(HEAD_SEEN, head) }; /* RING4 release */
					head = 0;
#if SINGLE_PRODUCER
					fill(mode, tail, it);
					d_step { store(TAIL, tail + 1) }; /* RING3 release */
					rc = OK;
					ok = false;
#else
					move_surely(PRODUCER, TAIL, tail, tail + 1);
#endif
					if
					:: ok ->
						fill(mode, tail, it);
						if
						:: ok ->
							d_step { store(FILLED, tail + 1) };
							rc = OK
						:: else ->
							position = tail;
							claimed = true
						fi
					:: else
					fi
				fi
			fi
		fi
	od
}

/* Moves an end that is promised to be one thread's: slowly where there are several at the other. */
inline move_alone(other, word, from, to) {
	d_step { who = LOAD(other) };
	if
	:: who == ANYBODY -> cas(word, from, to)
	:: else ->
		d_step {
			took(word, from, to);
			store(word, to);
			ok = true
		}
	fi;
	assert(ok);
	who = 0
}

inline push(it) {
	d_step { tail = LOAD(TAIL) }; /* RING3 acquire */
	claimed = false;
	d_step { ok = LOAD(HEAD_SEEN) + CAPACITY > tail }; /* RING4 acquire */
	d_step {
		mode = LOAD(MODE); /* RING5 acquire */
		ok = ok && !(mode & CLOSED)
	};
	if
	:: ok ->
#if SINGLE_PRODUCER
		fill(mode, tail, it);
		move_alone(CONSUMER, TAIL, tail, tail + 1); /* RING3 release */
		rc = OK;
		ok = false;
#else
		is_next(tail);
#endif
		if
		:: ok ->
			move(PRODUCER, TAIL, tail, tail + 1);
			if
			:: ok ->
				fill(mode, tail, it);
				if
				:: ok ->
					d_step { store(FILLED, tail + 1) }; /* RING3 release */
					rc = OK
				:: else ->
					claimed = true;
					position = tail
				fi
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	push_slow(it)
}

/* ok := is it sealed? */
inline seal(p) {
	d_step { seq = LOAD(SEQ(p)) }; /* RING1 acquire */
	d_step { old = LOAD(ITEM(p)) };
	if
	:: seq == HOLDS(p) - 1 -> ok = true
	:: else ->
#ifndef MUTANT_SEAL_WITHOUT_REVOKE
		revoke();
#endif
		ok = false;
		if
		:: seq < HOLDS(p) - 1 ->
			cas_pair(p, seq, old, HOLDS(p) - 1, old) /* RING5 release */
		:: else
		fi
	fi;
	seq = 0;
	old = 0
}

/* The head's move where there is one consumer; elsewhere nothing. */
inline take_single(from, to) {
#if SINGLE_CONSUMER
	d_step {
		took(HEAD, from, to);
		store(HEAD, to); /* RING4 release */
		ok = true
	}
#else
	skip
#endif
}

inline pop_slow() {
	do
	:: rc != NONE -> break
	:: else ->
		d_step { mode = LOAD(MODE) }; /* RING5 acquire */
		d_step { head = LOAD(HEAD) }; /* RING4 acquire */
		d_step { seq = LOAD(SEQ(head)) }; /* RING1 acquire */
		if
		:: seq > HOLDS(head)
		:: seq == HOLDS(head) ->
			seq = 0;
			d_step { value = LOAD(ITEM(head)) };
			take_single(head, head + 1);
#if !SINGLE_CONSUMER
			move_surely(CONSUMER, HEAD, head, head + 1); /* RING4 release */
#endif
			if
			:: ok -> rc = OK
			:: else
			fi
		:: seq < HOLDS(head) ->
			seq = 0;
			if
			:: !(mode & CLOSED) ->
				d_step { mode = LOAD(MODE) }; /* RING5 acquire */
				if
				:: mode & CLOSED
				:: else -> rc = AGAIN
				fi
			:: else ->
#if SINGLE_PRODUCER
				ok = true;
#else
				seal(head);
#endif
				if
				:: ok -> rc = PIPE
				:: else
				fi
			fi
		fi
	od
}

inline pop() {
	d_step { head = LOAD(HEAD) }; /* RING4 acquire */
	d_step { seq = LOAD(SEQ(head)) }; /* RING1 acquire */
	d_step { mode = LOAD(MODE) }; /* RING5 acquire */
	if
	:: seq == HOLDS(head) ->
		seq = 0;
		d_step { value = LOAD(ITEM(head)) };
#if SINGLE_CONSUMER
		move_alone(PRODUCER, HEAD, head, head + 1); /* RING4 release */
#else
		move(CONSUMER, HEAD, head, head + 1); /* RING4 release */
#endif
		if
		:: ok -> rc = OK
		:: else
		fi
	:: seq < HOLDS(head) && !(mode & CLOSED) -> rc = AGAIN
	:: else
	fi;
	seq = 0;
	pop_slow()
}

/* n := how many numbers from `tail` on are ours; NOTHING: full; BUSY: for the slow half. */
#define NOTHING 0
#define BUSY 9
inline claim(want) {
	d_step { head = LOAD(HEAD_SEEN) }; /* RING4 acquire */
	n = BUSY;
#if SINGLE_PRODUCER
	ok = true;
#else
	is_next(tail);
#endif
	if
	:: ok ->
		if
		:: head + CAPACITY < tail + want ->
			d_step { head = LOAD(HEAD) }; /* RING4 acquire */
			if
			:: head + CAPACITY <= tail -> n = NOTHING
			:: else -> d_step { store(HEAD_SEEN, head) } /* RING4 release */
			fi
		:: else
		fi;
		d_step { ok = !(LOAD(MODE) & CLOSED) }; /* RING5 acquire */
		if
		:: !ok -> n = BUSY
		:: ok && n == BUSY ->
			if
			:: head + CAPACITY < tail + want -> n = head + CAPACITY - tail
			:: else -> n = want
			fi;
#if !SINGLE_PRODUCER
			move(PRODUCER, TAIL, tail, tail + n);
#endif
			if
			:: !ok -> n = BUSY
			:: else
			fi
		:: else
		fi
	:: else
	fi;
	head = 0
}

/* From `tail` to `end`; our next item is `item + done`. */
inline fill_n() {
	do
	:: tail == end -> break
	:: else ->
		fill(mode, tail, item + done);
		if
		:: ok ->
			done++;
			tail++
		:: else -> break
		fi
	od;
	skip;
#if SINGLE_PRODUCER
	d_step { store(TAIL, tail) }; /* RING3 release */
#else
	do
	:: tail == end -> break
	:: else ->
		swap_in(tail, item + done);
		if
		:: ok ->
			done++;
			tail++
		:: else ->
			is_filled(tail);
			if
			:: ok -> tail++
			:: else ->
				d_step { ok = (LOAD(MODE) & CLOSED) }; /* RING5 acquire */
				if
				:: ok -> break
				:: else
				fi
			fi
		fi
	od;
	skip;
	d_step { store(FILLED, tail) } /* RING3 release */
#endif
}

inline push_n(count) {
	do
	:: true ->
		d_step { mode = LOAD(MODE) }; /* RING5 acquire */
		d_step { tail = LOAD(TAIL) }; /* RING3 acquire */
		if
		:: mode & CLOSED ->
			rc = (done > 0 -> OK : PIPE);
			break
		:: else
		fi;
		claim(count - done);
		if
		:: n == NOTHING ->
			rc = (done > 0 -> OK : AGAIN);
			break
		:: n != NOTHING && n != BUSY ->
			end = tail + n;
			n = 0;
			fill_n();
			end = 0
		:: n == BUSY ->
			n = 0;
			claimed = false;
			push_slow(item + done);
			if
			:: rc == AGAIN && done == 0 -> break
			:: rc == AGAIN && done > 0 ->
				rc = OK;
				break
			:: rc == OK -> done++
			:: else
			fi;
			rc = NONE
		fi;
		if
		:: done == count ->
			rc = OK;
			break
		:: else
		fi
	od
}

/* n := how many we have taken, into value and value2. */
inline take_n(want) {
	d_step { head = LOAD(HEAD) }; /* RING4 acquire */
	n = 0;
	do
	:: n == want -> break
	:: n < want && LOAD(SEQ(head + n)) == HOLDS(head + n) -> /* RING1 acquire */
		if
		:: n == 0 -> d_step { value = LOAD(ITEM(head)) }
		:: else -> d_step { value2 = LOAD(ITEM(head + 1)) }
		fi;
		n++
	:: else -> break
	od;
	if
	:: n > 0 ->
		take_single(head, head + n);
#if !SINGLE_CONSUMER
		move(CONSUMER, HEAD, head, head + n); /* RING4 release */
#endif
		if
		:: !ok -> n = 0
		:: else
		fi
	:: else
	fi;
	value = 0;
	value2 = 0
}

inline pop_n(count) {
	do
	:: done == count ->
		rc = OK;
		break
	:: else ->
		take_n(count - done);
		if
		:: n > 0 -> done = done + n
		:: else ->
			pop_slow();
			if
			:: rc == OK ->
				done++;
				rc = NONE
			:: else ->
				if
				:: done > 0 -> rc = OK
				:: else
				fi;
				break
			fi
		fi;
		n = 0
	od
}

inline close_it() {
	d_step { mode = LOAD(MODE) }; /* RING5 acquire */
	do
	:: true ->
		cas(MODE, mode, mode | CLOSED); /* RING5 release */
		if
		:: ok -> break
		:: else -> d_step { mode = mem[MODE] }
		fi
	od
}

#if HANDLER
/* While the handler runs, the thread that it interrupts, the first that was started, does not. */
#define MAY_RUN (_pid != 1 || call[1] == 0)
proctype worker(byte me; short program) provided (MAY_RUN)
#else
proctype worker(byte me; short program)
#endif
{
	byte mode, tail, head, seq, old, position, who, end, value, value2;
	byte rc, looks, n, done, item, reached;
	bool ok, claimed, late;

	/* Items are told apart: so many for each thread. 0 is none. */
	item = 1 + 5 * me;
	do
	:: program == 0 -> break
	:: else ->
		d_step {
			call[me] = program % 10;
			program = program / 10;
			late = close_returned;
			saw[me] = WITNESSES(me);
#if HANDLER
			if
			:: me == 1 -> inside[0] = false
			:: else
			fi
#endif
		};
		if
		:: call[me] == 1 -> push(item)
		:: call[me] == 2 -> pop()
		:: call[me] == 3 -> push_n(2)
		:: call[me] == 4 -> pop_n(2)
		:: else -> close_it()
		fi;
		skip; /* spin wants no jump into a d_step */
		d_step {
			assert(rc != AGAIN || saw[me]);
			if
			:: call[me] == 1 ->
				assert((rc == OK) == ((pushed & BIT(item)) != 0));
				item++
			:: call[me] == 3 ->
				assert((done > 0) == ((pushed & BIT(item)) != 0));
				assert((done > 1) == ((pushed & BIT(item + 1)) != 0));
				item = item + 2
			:: IS_POP(call[me]) && rc == PIPE ->
				assert(full_to == HEAD_FOR(me));
				assert(pushed == popped);
				drained = true
			:: call[me] == 5 -> close_returned = true
			:: else
			fi;
			assert(rc != PIPE || (mem[MODE] & CLOSED));
			call[me] = 0;
			saw[me] = false;
			mode = 0;
			tail = 0;
			head = 0;
			position = 0;
			value = 0;
			value2 = 0;
			rc = 0;
			looks = 0;
			done = 0;
			n = 0;
			ok = false;
			claimed = false;
			late = false
		}
	od
}

#if HINTS
bool filled_back, head_seen_back;
#endif

init {
	atomic {
		d_step {
			mem[TAIL] = FIRST;
			mem[FILLED] = FIRST;
			mem[HEAD] = FIRST;
			mem[HEAD_SEEN] = FIRST;
			mem[PRODUCER] = (RSEQ == 1 && BIAS -> NOBODY : ANYBODY);
			mem[CONSUMER] = (RSEQ == 1 && BIAS -> NOBODY : ANYBODY);
			for (each : 0 .. SLOTS - 1) {
				mem[SEQS + each] = HOLDS(each)
			}
		};
		run worker(0, P0);
		run worker(1, P1);
#if N > 2
		run worker(2, P2);
#endif
#if N > 3
		run worker(3, P3);
#endif
	}
end:
	do
	:: false
#if RSEQ == 1
	:: d_step { inside[0] -> inside[0] = false }
	:: d_step { inside[1] -> inside[1] = false }
#if N > 2
	:: d_step { inside[2] -> inside[2] = false }
#endif
#if N > 3
	:: d_step { inside[3] -> inside[3] = false }
#endif
#endif
#if SB == 1
	:: d_step { where[0] -> flush(0) }
	:: d_step { where[1] -> flush(1) }
#if N > 2
	:: d_step { where[2] -> flush(2) }
#endif
#if N > 3
	:: d_step { where[3] -> flush(3) }
#endif
#endif
#if SB == 2
	:: d_step { where[0] -> flush_oldest(0) }
	:: d_step { where[1] -> flush_oldest(1) }
#if N > 2
	:: d_step { where[2] -> flush_oldest(2) }
#endif
#if N > 3
	:: d_step { where[3] -> flush_oldest(3) }
#endif
#endif
#if HINTS
	:: d_step { !filled_back -> filled_back = true; mem[FILLED] = FIRST }
	:: d_step { !head_seen_back -> head_seen_back = true; mem[HEAD_SEEN] = FIRST }
#endif
	od
}
