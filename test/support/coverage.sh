#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# coverage.sh: which lines and branches of lib/ and include/ do the tests reach? Builds both atomics
# back ends for gcov, runs the unit, fault and stress programs of each, and prints a table of the
# files, then each line that was not reached, or not in both directions, with the reason that
# test/support/uncovered gives for it.
#
# Fails when a test does, when fewer than 95 % of the lines or 90 % of the branches are reached, when
# something is not reached that test/support/uncovered has no reason for, and when that list speaks
# of code that is not there. What it lists may well be reached: some of it depends on the scheduler.
#
# coverage.sh BACK-END OUT is how it calls itself for one back end.
#
# Called by make, with MAKE, BUILD and SECONDS_EACH in the environment.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

least_lines=95
least_branches=90

top=$(pwd)
coverage=$BUILD/coverage
uncovered=$here/uncovered

# -O0: what the compiler moves or drops is not counted as it is written. The attribute is taken away
# because gcov counts the branches of each inlined copy apart; and functions that no test calls are
# to be in the files, or nobody would miss them. Counters are atomic: there are threads.
cflags='-O0 -g --coverage -fprofile-update=atomic -fkeep-inline-functions'
cflags="$cflags -D__always_inline__=__unused__ -Werror"

# gcov derives most counts from others, by what goes into a block having to come out of it. That is
# not so in ring_steps, which goes on from one place many times, and its counts are nonsense. What
# tests the bench reaches nothing of the library.
units=$(find test/unit -name '*.c' ! -name 'ring_steps.c' ! -name 'bench_*.c' | sort |
	paste -s -d ' ' -)
faults=$(find test/fault -name '*.c' 2>/dev/null | sort)
# That program is compiled for ThreadSanitizer, whose functions gcovr does not tell from others of the
# same name.
stresses=$(find test/stress -name '*.c' ! -name 'linearizable_accesses.c' | sort |
	paste -s -d ' ' -)

unset MAKEFLAGS

# With the stand-in for Criterion, which gives slow programs more time.
# Words are meant to be split: all of these are lists.
# shellcheck disable=SC2086
build()
{
	"$MAKE" --no-print-directory -k -j"$(nproc)" PEERS=no BUILD="$coverage" CC=gcc \
		CFLAGS="$cflags" UNIT_SOURCES="$units" STRESS_SOURCES="$stresses" STAND_IN=yes \
		ATOMICS="$1" unit fault stress
}

# shellcheck disable=SC2086
run()
{
	"$here/run.sh" unit "$2" $units $faults
	"$here/run.sh" stress "$2" $stresses
}

# measure BACK-END OUT
measure()
{
	REPORT_PREFIX=$1
	export REPORT_PREFIX
	report_prefix="$1: "
	report build build "$1"
	# Counts add up over runs otherwise.
	find "$2/obj" -name '*.gcda' -exec rm -f {} +
	run "$1" "$2"
	REPORT_PREFIX=
	report_prefix=
}

# gcov leaves its files where the compiler ran, under names that say nothing of the back end: so this
# is done for one after the other.
gcov()
{
	gcovr --root "$top" --object-directory "$2" --filter "$top/lib/" --filter "$top/include/" \
		--exclude-throw-branches --json "$2/all.json" "$2/obj" &&
		# The two back ends have functions of the same name in different lines, which gcovr
		# refuses to merge; the lines are all that is wanted.
		jq '.files[].functions = []' "$2/all.json" >"$coverage/$1.json"
}

merged()
{
	gcovr --root "$top" --add-tracefile "$coverage/ck.json" \
		--add-tracefile "$coverage/c11.json" "$@"
}

# FILE:LINE:WHAT for each line that was not reached, and each that has a branch that was not taken.
gaps()
{
	merged --json "$coverage/merged.json" && jq -r '.files[] | .file as $file | .lines[] |
		select(."gcovr/noncode" | not) |
		if .count == 0 then "\($file):\(.line_number):line"
		elif any(.branches[]; .count == 0) then "\($file):\(.line_number):branch"
		else empty end' "$coverage/merged.json"
}

# Each gap with its reason. Fails when one has none, or when a reason has no code.
reasons()
{
	gaps >"$coverage/gaps" && awk -v gaps="$coverage/gaps" '
	function trimmed(line)
	{
		gsub(/^[ \t]+|[ \t]+$/, "", line)
		return line
	}
	# FILE: CODE, then the reason, indented.
	/^#/ || /^$/ { next }
	/^[^ \t]/ {
		entry = $0
		order[++entries] = entry
		next
	}
	{
		if (entry in reason)
			reason[entry] = reason[entry] " "
		reason[entry] = reason[entry] trimmed($0)
	}
	# The code of every line of a file that is spoken of.
	function read_file(file,   line, number)
	{
		if (file in known)
			return
		known[file] = 1
		while ((getline line <file) > 0) {
			code[file, ++number] = trimmed(line)
			exists[file ": " trimmed(line)] = 1
		}
		close(file)
	}
	END {
		for (i = 1; i <= entries; i++) {
			split(order[i], part, ": ")
			read_file(part[1])
			if (!(order[i] in exists)) {
				print "  no such code: " order[i]
				failed = 1
			}
			if (!(order[i] in reason)) {
				print "  no reason: " order[i]
				failed = 1
			}
		}
		while ((getline gap <gaps) > 0) {
			split(gap, part, ":")
			read_file(part[1])
			entry = part[1] ": " code[part[1], part[2]]
			print "  " gap ": " code[part[1], part[2]]
			if (entry in reason) {
				print "      " reason[entry]
			} else {
				print "      NO REASON GIVEN"
				failed = 1
			}
		}
		exit failed
	}' "$uncovered"
}

mkdir -p "$coverage" || exit
coverage=$(cd "$coverage" && pwd) || exit
if [ $# -eq 2 ]; then
	measure "$1" "$2"
	report_end
	exit
fi

rm -f "$coverage"/*.json
# At the same time: the unit tests keep one processor busy. What they say comes one after another.
"$0" ck "$coverage" >"$coverage/ck.txt" 2>&1 &
"$0" c11 "$coverage/c11" >"$coverage/c11.txt" 2>&1 &
wait
cat "$coverage/ck.txt" "$coverage/c11.txt"
report 'gcov: ck' gcov ck "$coverage"
report 'gcov: c11' gcov c11 "$coverage/c11"

merged --output "$coverage/lines.txt" && merged --branches --output "$coverage/branches.txt" &&
	cat "$coverage/lines.txt" "$coverage/branches.txt"
echo 'not reached (line), or not in both directions (branch):'
reasons >"$coverage/reasons.txt"
explained=$?
cat "$coverage/reasons.txt"

report "coverage: at least $least_lines % of lines and $least_branches % of branches" \
	merged --fail-under-line $least_lines --fail-under-branch $least_branches
report "coverage: what is not reached has a reason" test $explained -eq 0
report_end
