#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check.sh STEP...: runs steps of `make check`, of those joined by plus signs as many at a time as
# there are processors; "all" stands for all of them but "model", which takes minutes of two
# processors and is for who changes the ring, and "c11". Goes on after a failure; the last line says
# "N passed, M failed", and the exit status is 1 when M is not 0.
#
# Called by make, with MAKE and BUILD in the environment. Everything is built below $BUILD/check,
# with warnings as errors.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

steps=$*
# First the plain build, which many steps have in common, with the machine to itself. Programs that
# run beside others are stopped at more places, which is what they are for. What takes longest comes
# first.
if [ "$steps" = all ]; then
	steps='build thread+address+aarch64-lse+gcc+service+clang+programs+aarch64-llsc'
	steps=$steps+lint+litmus+progress+headers+install+instructions+man
	# The steps are told, too.
	BRIEFLY=briefly
	export BRIEFLY
fi

# To end within a quarter of an hour on two processors, each stress program runs so many seconds, and
# not in every variant, and fault tests run in one; the address build is with c11 atomics, so there
# is no other one with them. `make soak` has stress and fault tests in all of gcc's builds, at length.
# Debugging information is for lines alone: what else there is takes the compiler a third of its time.
long=0.2
short=0.1

# What has no threads of its own gains nothing from ThreadSanitizer, what has no atomic operations
# nothing from another processor, and the log's tests nothing from a second way to make these; those
# of them that are about what is in files take the emulator minutes, and run there when it is asked
# for that step alone. So does ring_interleaved, which is one thread that tries out all orders, and
# with AddressSanitizer. The bench's tests run in the plain builds.
alone='test/unit/bench_% test/unit/crc32c.c test/unit/log_damage.c test/unit/queue_model.c'
alone="$alone test/unit/ring_interleaved.c ${BRIEFLY:+test/stress/log_crash.c}"
logs='test/unit/log% test/unit/disk.c test/unit/spill.c'
files='test/unit/log_damage.c test/unit/log_reader_faults.c test/unit/spill.c'
files=${BRIEFLY:+$files test/stress/log_crash.c test/unit/ring_interleaved.c}

# What was set on make's command line is for the build that its user had in mind, not for these.
unset MAKEFLAGS
jobs=-j$(nproc)

check=$BUILD/check
emulator='qemu-aarch64 -L /usr/aarch64-linux-gnu'

# variant NAME WHAT GOALS SETTING...: builds WHAT with the settings, and makes the goals, which run
# what could be built.
variant()
{
	REPORT_PREFIX=$1
	export REPORT_PREFIX
	report_prefix="$1: "
	what=$2
	goals=$3
	shift 3
	# Words are meant to be split: jobs and what are lists.
	# shellcheck disable=SC2086
	report build "$MAKE" --no-print-directory -k $jobs PEERS=no "$@" $what
	for goal in $goals; do
		"$MAKE" --no-print-directory PEERS=no "$@" "$goal"
	done
	REPORT_PREFIX=
	report_prefix=
}

# plain NAME WHAT GOALS: of the build that most steps have in common. What the bench measures does
# not matter there, so it is compiled sooner.
plain()
{
	variant "$@" SECONDS_EACH=$long BENCH_CFLAGS=-O1 \
		BUILD="$check/gcc" CC=gcc CFLAGS='-O2 -g1 -Werror'
}

# together STEP...: in this order, as many at a time as there are processors, up to 4; what one says
# comes when it is done. One more was slower, and a test of the service, which is about time, failed.
together()
{
	lanes=$(nproc)
	[ "$lanes" -le 4 ] || lanes=4
	# For the shell inside.
	# shellcheck disable=SC2016
	printf '%s\n' "$@" | xargs -P "$lanes" -I '{}' sh -c '
		output=$("$0" "$1" 2>&1)
		printf "%s\n" "$output" | flock "$RESULTS" cat' "$0" '{}'
}

# The scripts in test/programs drive the example programs as their users would. Each is one test,
# passed when it exits 0 within ten minutes. In its environment it finds
#   SECKILL   the path of the flash sale's program
#   GATEWAY   the path of the flash sale's service
#   EXAMPLES  the directory of the programs built from examples/*.c
#   QUEUE_BENCH  the path of queue-bench
#   QUEUE_LOG  the path of queue-log, with the library beside it
#   BUILD     a directory of its own to write into, empty at first
#   CC        the compiler that built them
# and its working directory is the top of the source tree.
run_programs()
{
	for script; do
		[ -x "$script" ] || continue
		name=${script%.sh}
		rm -rf "${check:?}/$name"
		mkdir -p "$check/$name"
		# shellcheck disable=SC2086,SC2154
		report "$name" env SECKILL="$check/gcc/examples/seckill" \
			GATEWAY="$check/gcc/examples/seckill-gateway" \
			QUEUE_BENCH="$check/gcc/bench/queue-bench" EXAMPLES="$check/gcc/examples" \
			QUEUE_LOG="$check/gcc/queue-log" BUILD="$check/$name" CC=gcc $limit "$script"
	done
}

# run_step STEP
run_step()
{
	[ "${1#*+}" != "$1" ] || echo "$1"
	case $1 in
	*+*)
		# shellcheck disable=SC2046
		together $(echo "$1" | tr + ' ')
		;;
	build)
		plain build programs ''
		;;
	gcc)
		plain gcc programs 'run-unit run-stress run-examples'
		;;
	programs)
		plain programs programs ''
		run_programs test/programs/[!g]*.sh
		;;
	service)
		plain service programs ''
		run_programs test/programs/gateway*.sh
		;;
	clang)
		variant clang 'all unit' run-unit \
			BUILD="$check/clang" CC=clang CFLAGS='-O2 -g1 -Werror' STAND_IN=yes
		;;
	c11)
		variant c11 unit run-unit \
			BUILD="$check/gcc" CC=gcc CFLAGS='-O2 -g1 -Werror' ATOMICS=c11
		;;
	address)
		variant address 'unit fault stress' 'run-unit run-fault run-stress' SECONDS_EACH=$long \
			BUILD="$check/gcc" CC=gcc CFLAGS='-O1 -g1 -Werror' SANITIZE=address,undefined \
			LEAVE_OUT="test/unit/bench_% ${BRIEFLY:+test/unit/ring_interleaved.c}"
		;;
	thread)
		variant thread 'unit stress' 'run-unit run-stress' SECONDS_EACH=$long \
			BUILD="$check/gcc" CC=gcc CFLAGS='-O1 -g1 -Werror' SANITIZE=thread \
			LEAVE_OUT="$alone"
		;;
	aarch64)
		together aarch64-lse aarch64-llsc
		;;
	aarch64-lse)
		# With the atomic instructions of ARMv8.1.
		variant aarch64-lse 'all unit stress' 'run-unit run-stress' SECONDS_EACH=$short \
			BUILD="$check/aarch64-lse" CC=aarch64-linux-gnu-gcc RUN="$emulator" \
			CFLAGS='-O2 -g1 -march=armv8.1-a -Werror' LEAVE_OUT="$files test/unit/bench_%"
		;;
	aarch64-llsc)
		# With exclusive loads and stores.
		variant aarch64-llsc 'all unit' run-unit \
			BUILD="$check/aarch64-llsc" CC=aarch64-linux-gnu-gcc RUN="$emulator" \
			CFLAGS='-O2 -g1 -march=armv8-a -mno-outline-atomics -Werror' \
			LEAVE_OUT="$alone $logs"
		;;
	progress)
		plain progress progress ''
		# shellcheck disable=SC2086
		report 'test/progress/stop_anywhere' $limit "$check/gcc/test/progress/stop_anywhere"
		# Its table is worth seeing.
		[ "$report_status" -ne 0 ] || sed 's/^/      /' "$report_output"
		;;
	headers)
		"$here/headers.sh" "$check/headers"
		;;
	install)
		"$here/install.sh" "$check/gcc" CC=gcc CFLAGS='-O2 -g1 -Werror'
		"$here/install.sh" "$check/gcc" CC=gcc CFLAGS='-O2 -g1 -Werror' ATOMICS=c11 \
			BENCH_CFLAGS=-O0
		;;
	man)
		plain man all ''
		"$here/man.sh" "$check/man" "$check/gcc/libconveyor.a"
		;;
	lint)
		"$here/lint.sh" "${BRIEFLY:-}"
		;;
	litmus)
		plain litmus explore-programs ''
		report 'test/model/litmus' test/model/litmus.sh explore "$check/gcc/model/explored"
		report 'test/model/litmus, native' test/model/litmus.sh native \
			"$check/gcc/model/native" 0.05
		report 'test/model/litmus, plain' test/model/litmus.sh plain "$check/gcc/model/plain"
		report 'test/model/explorer' test/model/explorer/explore.sh "$check/gcc/model"
		;;
	instructions)
		report 'test/model/instructions' test/model/instructions.sh
		[ "$report_status" -ne 0 ] || sed 's/^/      /' "$report_output"
		;;
	model)
		"$0" litmus
		report 'test/model/ring' test/model/ring.sh
		;;
	*)
		echo "check.sh: there is no step $1" >&2
		exit 2
		;;
	esac
}

for step in $steps; do
	began=$(date +%s)
	run_step "$step"
	echo "  --  $step: $(($(date +%s) - began)) s"
done
report_end
