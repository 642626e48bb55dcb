#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# soak.sh PART...: what `make check` does briefly, at length. The parts:
#   stress    every stress program, line of arguments by line, again and again with fresh seeds, in
#             the plain build and under each sanitizer; for $SOAK_SECONDS in all
#   large     a log of 1 GiB, a thousand times the end of a process that has one, a queue with ten
#             million items on disk, and histories of more than a million calls
#   fault     the fault tests, in the same builds
#   fuzz      files that a log cannot bear, by libFuzzer; an eighth of $SOAK_SECONDS
#   durable   flash sales whose shop is killed at random moments, in the same builds; for a quarter
#             of $SOAK_SECONDS in all
#   progress  a thread stopped at every place of every call, and of the queues that the bench has for
#             comparison, as far as their libraries are here (make bench-peers)
#   model     the litmus programs, the explorer and spin, with the larger configurations
#   mutation  breakages, of which each has to be caught
#   coverage  how much of the library all of this comes by
# All but the first take as long as they take. So many programs run at the same time that there are at
# least four threads for each processor. Ends in a table; the output of what failed is kept below
# $BUILD/soak. The exit status is 1 when something failed.
#
# Called by make, with MAKE and BUILD in the environment.
set -u

parts='stress large fault fuzz durable progress model mutation coverage'
if [ $# -eq 0 ]; then
	echo "soak.sh: no part is named; there are $parts" >&2
	exit 2
fi
for part; do
	case $part in
	stress | large | fault | fuzz | durable | progress | model | mutation | coverage) ;;
	*)
		echo "soak.sh: there is no part \"$part\"; there are $parts" >&2
		exit 2
		;;
	esac
done

# What was set on make's command line is for the build that its user had in mind, not for these.
unset MAKEFLAGS
# As in run.sh: tests ask for too much memory on purpose.
ASAN_OPTIONS=allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
TSAN_OPTIONS=allocator_may_return_null=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}
export ASAN_OPTIONS TSAN_OPTIONS

builds='gcc c11 address thread'
seconds=${SOAK_SECONDS:-3600}
soak=${BUILD:?the directory for output}/soak
cores=$(nproc)
# Every program has at least two threads.
programs_at_once=$((cores * 2))
# No run is longer than this many seconds: more seeds instead.
run_seconds=10

case $seconds in
'' | *[!0-9]* | 0* | ????????*)
	echo "soak.sh: SECONDS is \"$seconds\"; it must be a number from 1 to 9999999" >&2
	exit 2
	;;
esac

# setting BUILD: how make is told.
setting()
{
	case $1 in
	gcc) echo 'CFLAGS=-O2' ;;
	c11) echo 'CFLAGS=-O2 ATOMICS=c11' ;;
	address) echo 'CFLAGS=-O1 SANITIZE=address,undefined' ;;
	thread) echo 'CFLAGS=-O1 SANITIZE=thread' ;;
	esac
}

# ask BUILD GOAL...: a make with the build's settings.
ask()
{
	build=$1
	shift
	# Words are meant to be split: settings are a list.
	# shellcheck disable=SC2046
	"$MAKE" --no-print-directory -s PEERS=no CC=gcc BUILD="$soak/build" $(setting "$build") "$@"
}

# status_line TEXT: over the last one, on a terminal only; none without an argument.
status_line()
{
	[ -t 1 ] || return 0
	printf '\r\033[K%s' "${1-}"
}

# ---- Stress -------------------------------------------------------------------------------------

# list_programs: what was built, with its arguments, one to a line.
list_programs()
{
	for source in test/stress/*.c; do
		program=$out/${source%.c}
		[ -x "$program" ] || continue
		{ sed -n 's,^/\* ARGS: \(.*\) \*/$,\1,p' "$source" | grep . || echo; } |
			sed "s,^,$program ,"
	done
}

# list_runs SECONDS: the same, each as often as it takes, and mixed.
list_runs()
{
	list_programs >"$soak/programs"
	each=$(($1 * programs_at_once / $(wc -l <"$soak/programs")))
	times=$(((each + run_seconds) / run_seconds))
	each=$((each / times))
	while [ $times -gt 0 ]; do
		sed "s/ *\$/ --seconds $((each > 0 ? each : 1))/" "$soak/programs"
		times=$((times - 1))
	done | shuf
}

# Runs one of them. Of its output the last lines say the seed and the rounds.
# shellcheck disable=SC2016
run_one='
	build=$1 results=$2 kept=$3
	shift 3
	name=${1##*/}
	output=$(mktemp) || exit
	status=0
	timeout -k 10 600 $RUN "$@" </dev/null >"$output" 2>&1 || status=$?
	rounds=$(sed -n "s/^\([0-9]*\) rounds$/\1/p" "$output")
	if [ $status -ne 0 ]; then
		{
			echo "$*"
			echo "exit status $status"
			tail -n 1000 "$output"
		} >"$kept/$build-$name-$$"
	fi
	echo "$build $name $status ${rounds:-0}" >>"$results"
	rm -f "$output"
'

stress()
{
	RUN=
	for build in $builds; do
		status_line "$build: building"
		ask "$build" -k -j"$cores" stress >"$soak/log" 2>&1 || {
			cat "$soak/log"
			failed=1
		}
		out=$(ask "$build" print-OUT)
		RUN=$(ask "$build" print-RUN)
		export RUN
		list_runs $((seconds / 4)) >"$soak/runs"
		wanted=$(wc -l <"$soak/runs")
		: >"$soak/results.now"
		xargs -P $programs_at_once -L 1 sh -c "$run_one" - "$build" "$soak/results.now" \
			"$soak/failed" <"$soak/runs" &
		while kill -0 $! 2>/dev/null; do
			[ ! -t 1 ] || status_line "$build: $(wc -l <"$soak/results.now") of $wanted runs," \
				"$(awk '$3 { n++ } END { print n + 0 }' "$soak/results.now") failed"
			sleep 1
		done
		wait $!
		[ "$(wc -l <"$soak/results.now")" -eq "$wanted" ] || failed=1
		cat "$soak/results.now" >>"$soak/results"
	done
	status_line
	table || failed=1
}

# A row for each program, a column for each build: runs and rounds, or how many runs failed.
table()
{
	awk -v builds="$builds" '
		{
			runs[$2, $1]++
			rounds[$2, $1] += $4
			wrong[$2, $1] += $3 != 0
			if (!($2 in known)) {
				known[$2] = 1
				names[++n] = $2
			}
		}
		END {
			columns = split(builds, build, " ")
			printf "%-18s", "runs (rounds)"
			for (i = 1; i <= columns; i++)
				printf " %18s", build[i]
			printf "\n"
			for (j = 1; j <= n; j++) {
				# In the order of the alphabet.
				for (k = j + 1; k <= n; k++)
					if (names[k] < names[j]) {
						swap = names[j]
						names[j] = names[k]
						names[k] = swap
					}
				printf "%-18s", names[j]
				for (i = 1; i <= columns; i++) {
					key = names[j] SUBSEP build[i]
					if (wrong[key])
						cell = wrong[key] " of " runs[key] " FAILED"
					else if (runs[key])
						cell = runs[key] " (" rounds[key] ")"
					else
						cell = "-"
					all_wrong += wrong[key]
					printf " %18s", cell
				}
				printf "\n"
			}
			exit all_wrong > 0
		}' "$soak/results"
}

# What takes long, or much of a disk: in the plain build.
large()
{
	ask gcc -j"$cores" stress >"$soak/log" 2>&1 || {
		cat "$soak/log"
		return 1
	}
	out=$(ask gcc print-OUT)
	wrong=0
	for run in 'log_large --megabytes 1024' 'log_kill --rounds 1000' \
		'log_kill --rounds 1000 --sync interval' 'log_kill --rounds 100 --end power' \
		'spill --sync none --behind 10000000' \
		'linearizable --subject ring --close end --operations 2000000' \
		'linearizable --subject queue --close end --operations 2000000'; do
		echo "$run"
		# shellcheck disable=SC2086
		timeout -k 10 3000 "$out/test/stress/"$run --seconds 0 || wrong=1
	done
	return $wrong
}

fault()
{
	wrong=0
	for build in $builds; do
		echo "$build"
		ask "$build" -k -j"$cores" fault >"$soak/log" 2>&1 || cat "$soak/log"
		ask "$build" run-fault || wrong=1
	done
	return $wrong
}

# One build after the other, with the tests of the program around it.
durable()
{
	wrong=0
	for build in $builds; do
		echo "$build"
		ask "$build" -k -j"$cores" examples >"$soak/log" 2>&1 || cat "$soak/log"
		SECKILL=$(ask "$build" print-SECKILL) DURABLE_SECONDS=$((seconds / 16 + 1)) CC=gcc \
			$(ask "$build" print-RUN) test/programs/seckill_durable.sh || wrong=1
	done
	return $wrong
}

# With both back ends, which make no difference to the queues of other libraries. The sanitizers have
# locks of their own, in which a thread may be stopped.
progress()
{
	for build in gcc c11; do
		peers=no
		[ $build = c11 ] || peers=yes
		ask "$build" -j"$cores" PEERS=$peers progress >"$soak/log" 2>&1 || {
			cat "$soak/log"
			return 1
		}
		echo "$build"
		"$(ask "$build" print-OUT)/test/progress/stop_anywhere" --all || return
	done
}

model()
{
	make_goal check-model && make_goal explore-soak && JOBS=$cores test/model/ring.sh soak
}

# ---- The other parts ----------------------------------------------------------------------------

# part NAME COMMAND...: its output is shown as it comes.
part()
{
	name=$1
	shift
	echo
	echo "$name"
	began=$(date +%s)
	status=0
	"$@" || status=$?
	if [ $status -eq 0 ]; then
		verdict=ok
	elif [ $status -eq 77 ]; then
		verdict='left out'
	else
		verdict=FAILED
		failed=1
	fi
	echo "$name $(($(date +%s) - began)) $verdict" >>"$soak/parts"
}

make_goal()
{
	"$MAKE" --no-print-directory PEERS=no BUILD="$soak/build" "$@"
}

failed=
rm -rf "$soak/failed"
mkdir -p "$soak/failed" || exit
: >"$soak/results"
: >"$soak/parts"
for what; do
	case $what in
	stress) part stress stress ;;
	large) part large large ;;
	fault) part fault fault ;;
	fuzz) part fuzz make_goal fuzz SECONDS=$((seconds / 8 + 1)) ;;
	durable) part durable durable ;;
	progress) part progress progress ;;
	model) part model model ;;
	mutation) part mutation make_goal check-mutation ;;
	coverage) part coverage make_goal coverage ;;
	esac
done

echo
while read -r name took verdict; do
	printf '%-18s %-8s %6d s\n' "$name" "$verdict" "$took"
done <"$soak/parts"
for log in "$soak/failed"/*; do
	[ ! -e "$log" ] || echo "see $log"
done
[ -z "$failed" ]
