#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# run.sh KIND OUT SOURCE...: runs the test programs that were built from the sources below OUT, each
# behind the command $RUN if there is one.
#   unit     counts the tests of each program; those of test/fuzz are one, over their corpus
#   stress   for $SECONDS_EACH seconds, once for each line /* ARGS: ... */ in the source
#   example  without arguments
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

# Tests ask for too much memory on purpose, which the sanitizers would take for an error.
ASAN_OPTIONS=allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}
TSAN_OPTIONS=allocator_may_return_null=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}
export ASAN_OPTIONS TSAN_OPTIONS

kind=$1
out=$2
shift 2

for source; do
	name=${source%.c}
	if [ ! -x "$out/$name" ]; then
		echo "not built" >"$report_output"
		report_as 0 1 "$name"
		continue
	fi
	# Words are meant to be split below: limit, RUN and the arguments are lists.
	# shellcheck disable=SC2086,SC2154
	case $kind-$name in
	unit-test/fuzz/*)
		report "$name" $limit ${RUN:-} "$out/$name" test/fuzz/corpus/"${name##*/}"/*
		;;
	unit-*)
		report_each "$name" $limit ${RUN:-} "$out/$name"
		;;
	stress-*)
		sed -n 's,^/\* ARGS: \(.*\) \*/$,\1,p' "$source" >"$report_output.args"
		[ -s "$report_output.args" ] || echo >"$report_output.args"
		while IFS= read -r arguments; do
			report "$name${arguments:+ $arguments}" $limit ${RUN:-} "$out/$name" \
				$arguments --seconds "${SECONDS_EACH:-2}"
		done <"$report_output.args"
		rm -f "$report_output.args"
		;;
	example-*)
		report "$name" $limit ${RUN:-} "$out/$name"
		;;
	esac
done
report_end
