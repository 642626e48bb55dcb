#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# fuzz.sh SECONDS FUZZER...: runs each for so long, from its corpus in test/fuzz/corpus on. What it
# finds that is new goes to a directory beside the fuzzer, which it goes on from the next time; what
# fails, to its `failed`. Says how many runs there were; on a terminal, libFuzzer's own lines as well.
# The exit status is 1 when one has failed. To see why: build/test/fuzz/NAME FILE.
#
# To keep what has been found: FUZZER -merge=1 test/fuzz/corpus/NAME DIRECTORY.
set -u

seconds=$1
shift
case $seconds in
'' | *[!0-9]* | 0* | ????????*)
	echo "fuzz.sh: SECONDS is \"$seconds\"; it must be a number from 1 to 9999999" >&2
	exit 2
	;;
esac
# The sanitizer would keep what was freed until it has 256 MiB, and so never use memory twice.
ASAN_OPTIONS=quarantine_size_mb=8${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export ASAN_OPTIONS

status=0
for fuzzer; do
	name=${fuzzer##*/}
	mkdir -p "$fuzzer.found" "$fuzzer.failed" || exit
	log=$fuzzer.log
	# shellcheck disable=SC2094
	if "$fuzzer" -max_total_time="$seconds" -max_len=600 -len_control=0 -timeout=60 -print_final_stats=1 \
		-artifact_prefix="$fuzzer.failed/" "$fuzzer.found" "test/fuzz/corpus/$name" \
		>"$log" 2>&1 </dev/null; then
		verdict=ok
	else
		verdict=FAILED
		status=1
		grep -v 'NEW\|REDUCE\|pulse' "$log" | tail -n 100
	fi
	printf 'fuzz %s: %s, %s runs, %s places, %s inputs\n' "$name" "$verdict" \
		"$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
		"$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" \
		"$(sed -n 's,.* corp: \([0-9]*\)/.*,\1,p' "$log" | tail -n 1)"
done
exit $status
