#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# mutation.sh [--only PATTERN] [--jobs N] [--limit SECONDS] [--listed] [--list] [--help]: breaks the
# library on purpose, in one small place after the other, and shows which test notices. The exit
# status is 1 when a mistake survives all tests, is not tried, does not compile, or when its text is
# not found exactly once.
#
#   --only     those whose name matches a pattern of the shell, such as 'ring/*'; may be repeated
#   --jobs     so many at a time, 1 to 999; 2
#   --limit    a check that runs longer than so many seconds is hung, and has noticed; 120
#   --listed   does not run all tests when those that are listed have not noticed
#   --list     only says which there are
#   --help     this text
#
# The mistakes are listed beside this script. OBJECT.mutants are written by hand:
#
#   mutant NAME
#   in FILE [FUNCTION]           where the text must be found exactly once
#   - TEXT                       several lines are one text; how they are indented does not matter
#   + TEXT                       what stands there instead; none: nothing
#   by CHECK                     several: tried in this order
#
# orders.checks has a line for each order in the sources, named by its comment, as "RING1 acquire",
# or by the word in memory where there is none: orders.awk finds them and makes it weaker, or takes
# the fence out. Without a line an order cannot be checked, which is an error; see there. Those that nothing is known to notice are
# shown at the end.
#
# A check is what must fail:
#
#   [c11|thread|address] unit PROGRAM [TEST]        of test/unit/PROGRAM.c, TEST as "suite/name"
#   [c11|thread|address] fault PROGRAM [TEST]       of test/fault/PROGRAM.c
#   [c11|thread|address] stress PROGRAM ARGUMENTS   of test/stress/PROGRAM.c, for a second
#   explore PROGRAM ARGUMENTS                       of test/model/explorer/explore_PROGRAM.c
#
# When it does not, all unit tests and stress programs are run, natively and under ThreadSanitizer.
# Everything happens in copies of the tree. Each check is also run without any mistake at first, and
# must pass then.
#
# From the environment: BUILD (the tree's build), where the copies are; CC (cc); MAKE (make).
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

# refuse MESSAGE
refuse()
{
	echo "mutation.sh: $1" >&2
	exit 2
}

# check_number OPTION VALUE MOST
check_number()
{
	case $2 in
	'' | *[!0-9]* | 0* | ????????*) ;;
	*) [ "$2" -gt "$3" ] || return 0 ;;
	esac
	refuse "$1 is \"$2\"; it must be a number from 1 to $3"
}

only=
jobs=2
limit=120
list=no
listed=no
while [ $# -gt 0 ]; do
	case $1 in
	--only | --jobs | --limit) [ $# -ge 2 ] || refuse "a value must follow $1" ;;
	esac
	case $1 in
	--only)
		case $2 in
		*[![:space:]]*) ;;
		*) refuse "--only is \"$2\"; it must be a pattern, such as \"ring/*\"" ;;
		esac
		only="$only $2"
		shift
		;;
	--jobs)
		check_number "$1" "$2" 999
		jobs=$2
		shift
		;;
	--limit)
		check_number "$1" "$2" 9999999
		limit=$2
		shift
		;;
	--listed) listed=yes ;;
	--list) list=yes ;;
	--help)
		sed -n '/^# mutation.sh/,/^# The mistakes/s/^# \{0,1\}//p' "$0" | sed '$d'
		exit 0
		;;
	*) refuse "there is no option \"$1\"; --help says which there are" ;;
	esac
	shift
done

build=${BUILD:-$root/build}
mkdir -p "$build/mutation" || exit
work=$(cd "$build/mutation" && pwd)
make=${MAKE:-make}
cc=${CC:-cc}
exec 9>"$work/lock"
if ! flock -n 9; then
	echo "mutation.sh: another one is at work in $work" >&2
	exit 1
fi
rm -rf "$work/list" "$work/unchecked"
mkdir "$work/list" || exit

unset MAKEFLAGS
# Those that crash leave no files.
# shellcheck disable=SC3045
ulimit -c 0 2>/dev/null
TSAN_OPTIONS='halt_on_error=1 allocator_may_return_null=1'
ASAN_OPTIONS=allocator_may_return_null=1
export TSAN_OPTIONS ASAN_OPTIONS

# A directory for each mistake: name, file, by, and "mutated", which is the file with the mistake.
# "wrong" instead of the last says why there is none.
(
	cd "$root" || exit
	awk -v out="$work/list" -f "$here/orders.awk" "$here/orders.checks" include/conveyor/*.h \
		include/conveyor/impl/*.h lib/*.[ch] &&
		awk -v out="$work/list" -f "$here/mutants.awk" "$here"/*.mutants
) || exit 1

# is_selected NAME
is_selected()
{
	[ -n "$only" ] || return 0
	set -f
	for pattern in $only; do
		# A pattern is meant as one.
		# shellcheck disable=SC2254
		case $1 in
		$pattern)
			set +f
			return 0
			;;
		esac
	done
	set +f
	return 1
}

# A pattern that selects nothing is misspelt, and of several nobody would see that.
names=$(cat "$work"/list/*/name)
set -f
for pattern in $only; do
	for name in $names; do
		# A pattern is meant as one.
		# shellcheck disable=SC2254
		case $name in
		$pattern) continue 2 ;;
		esac
	done
	refuse "--only is \"$pattern\"; no mistake has such a name, --list says which there are"
done
set +f

total=0
for mutant in "$work"/list/*; do
	if is_selected "$(cat "$mutant/name")"; then
		total=$((total + 1))
		[ "$list" = no ] ||
			printf '%-58s %s\n' "$(cat "$mutant/name")" "$(sed -n 1p "$mutant/by")"
	else
		rm -rf "$mutant"
	fi
done
if [ "$list" = yes ]; then
	# Of all orders, so not when only some mutants are shown.
	awk -v total="$total" -v only="$only" '
		!/^#/ && $2 == "none:" { redundant++ }
		!/^#/ && $2 == "open:" { open++ }
		END {
			printf "%d mutants", total
			if (only == "")
				printf "; of the orders, %d are said to be redundant and %d are " \
					"open, see test/mutation/orders.checks", redundant, open
			printf "\n"
		}' "$here/orders.checks"
	exit 0
fi

# copy TREE: of what the tests are built from. What weakens orders goes with it.
copy()
{
	mkdir -p "$1" || return
	(cd "$root" && tar cf - --exclude=bench/results Makefile include lib test bench) |
		(cd "$1" && tar xf -) || return
	atomic=include/conveyor/impl/atomic.h
	cp "$here/weak.h" "$1/include/conveyor/impl/weak.h"
	{
		sed '$d' "$root/$atomic"
		echo '#include <conveyor/impl/weak.h>'
		echo '#endif'
	} >"$1/$atomic"
}

# run_check TREE CHECK: builds and runs it; 0: it passed, 1: it failed, 2: it could not be built.
run_check()
{
	tree=$1
	# Words are meant to be split: checks are lists.
	# shellcheck disable=SC2086
	set -- $2
	settings='CFLAGS=-O1'
	out=out
	run=
	case $1 in
	c11)
		settings='CFLAGS=-O1 ATOMICS=c11'
		out=out/c11
		shift
		;;
	thread)
		settings='CFLAGS=-O1 SANITIZE=thread'
		out=out/thread
		run='setarch -R'
		shift
		;;
	address)
		settings='CFLAGS=-O1 SANITIZE=address,undefined'
		out=out/address-undefined
		shift
		;;
	esac
	kind=$1
	shift
	case $kind in
	explore) program=model/explore-$1 ;;
	*) program=test/$kind/$1 ;;
	esac
	shift
	# shellcheck disable=SC2086
	$make -s --no-print-directory -C "$tree" BUILD=out PEERS=no MODEL_WARNINGS=-w CC="$cc" \
		$settings "$out/$program" >"$tree/output" 2>&1 </dev/null || return 2
	case $kind-$# in
	unit-* | fault-*)
		# The stand-in for Criterion takes parts of names and runs everything.
		[ "$out" = out/thread ] || set -- --fail-fast ${1:+--filter "$1"}
		;;
	stress-*) set -- "$@" --seconds 1 ;;
	esac
	# shellcheck disable=SC2086
	(cd "$tree" && exec "$work/contain" "$limit" $run "$out/$program" "$@") \
		>"$tree/output" 2>&1 </dev/null || return 1
}

# detail OUTPUT: which test of a program noticed, or how.
detail()
{
	sed -n -e 's/.*\[FAIL\] \([a-z_]*\)\(::\|\/\)\([a-z_0-9]*\).*/ \3/p' \
		-e 's/.*: failed: [^:]*: \(.*\) (seed [0-9]*)$/ \1/p' \
		-e 's/^hung: .*/ hung/p' -e 's/.*ThreadSanitizer: \([a-z -]*\) (pid.*/ \1/p' \
		-e 's/^FAILED in execution [0-9]*, thread [0-9]*: \([^0]*[a-z]\).*/ \1/p' \
		-e 's/.*AddressSanitizer: \([a-z-]*\).*/ \1/p' "$1" | sed -n '1s/^ /: /p'
}

# All that could notice, one a line; the tests of the bench are about something else.
all_checks()
{
	(
		cd "$root" || exit
		for variant in '' 'thread '; do
			for source in test/stress/*.c; do
				name=$(basename "$source" .c)
				sed -n "s,^/\* ARGS: \(.*\) \*/\$,${variant}stress $name \1,p" "$source"
			done
			for source in test/unit/*.c; do
				name=$(basename "$source" .c)
				case $name in
				bench_* | alloc_jemalloc) ;;
				*) echo "${variant}unit $name" ;;
				esac
			done
		done
	)
}

# try TREE MUTANT: says in MUTANT/result what came of it.
try()
{
	tree=$1
	mutant=$2
	file=$(cat "$mutant/file")
	if [ -f "$mutant/wrong" ]; then
		cp "$mutant/wrong" "$mutant/result"
		return
	fi
	cp "$tree/$file" "$tree/original"
	# A header keeps what the copy has at its end.
	cp "$mutant/mutated" "$tree/$file"
	while IFS= read -r check; do
		run_check "$tree" "$check"
		case $? in
		1)
			echo "$check$(detail "$tree/output")" >"$mutant/result"
			break
			;;
		2)
			echo 'DOES NOT COMPILE' >"$mutant/result"
			cp "$tree/output" "$mutant/output"
			break
			;;
		esac
	done <"$mutant/by"
	if [ ! -f "$mutant/result" ] && [ $listed = no ]; then
		all_checks >"$mutant/all"
		while IFS= read -r check; do
			run_check "$tree" "$check"
			[ $? -eq 1 ] || continue
			echo "only $check$(detail "$tree/output")" >"$mutant/result"
			break
		done <"$mutant/all"
	fi
	[ -f "$mutant/result" ] || echo SURVIVED >"$mutant/result"
	cp "$tree/original" "$tree/$file"
}

# worker NUMBER: those that no other worker has taken, until none is left.
worker()
{
	tree=$work/tree.$1
	for check in "$work"/checks.d/*.check; do
		mkdir "$check.taken" 2>/dev/null || continue
		run_check "$tree" "$(cat "$check")" && continue
		printf 'without a mistake: FAILED: %s\n' "$(cat "$check")"
		sed 's/^/    /' "$tree/output" | tail -n 20
		: >"$work/failed"
	done
	[ ! -f "$work/failed" ] || return
	for mutant in "$work"/list/*; do
		mkdir "$mutant/taken" 2>/dev/null || continue
		began=$(date +%s)
		try "$tree" "$mutant"
		printf '%-58s %4d s  %s\n' "$(cat "$mutant/name")" $(($(date +%s) - began)) \
			"$(cat "$mutant/result")"
	done
}

rm -rf "$work/checks.d" "$work/failed"
mkdir "$work/checks.d" || exit
cat "$work"/list/*/by | sort -u | awk -v out="$work/checks.d/" '{
	file = sprintf("%s%03d.check", out, NR)
	print >file
	close(file)
}'

$cc -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -o "$work/contain" "$here/contain.c" || exit

trap 'trap "" TERM; kill 0; exit 1' INT TERM
number=0
while [ $number -lt "$jobs" ]; do
	rm -rf "$work/tree.$number/include" "$work/tree.$number/lib" "$work/tree.$number/test"
	copy "$work/tree.$number" || exit
	number=$((number + 1))
done
number=0
while [ $number -lt "$jobs" ]; do
	worker $number &
	number=$((number + 1))
done
wait
[ ! -f "$work/failed" ] || exit 1

# The table, by what has caught them.
echo
printf '%-58s %s\n' mutant 'caught by'
bad=0
for mutant in "$work"/list/*; do
	# No result: whoever was to try it has come to grief.
	result=$(cat "$mutant/result" 2>/dev/null)
	result=${result:-NOT TRIED}
	printf '%-58s %s\n' "$(cat "$mutant/name")" "$result"
	case $result in
	SURVIVED | NOT* | DOES*)
		bad=$((bad + 1))
		[ ! -f "$mutant/output" ] || sed 's/^/    /' "$mutant/output" | head -n 20
		;;
	esac
done
if [ -z "$only" ] && [ -f "$work/unchecked" ]; then
	printf '\n%-58s %s\n' 'orders without a check' why
	cat "$work/unchecked"
fi
echo "$((total - bad)) of $total mutants caught"
[ $bad -eq 0 ]
