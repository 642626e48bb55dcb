# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# Sourced by the scripts that run tests. A test is a command whose output is kept back and shown
# only when it fails. Its outcome goes, as a line "PASSED FAILED NAME", to the file $RESULTS, which
# the first script in a chain makes and adds up at the end: "N passed, M failed". Why tests failed is
# in $RESULTS.failed, and is said once more just before that.

report_made=
report_prefix=${REPORT_PREFIX:+$REPORT_PREFIX: }
if [ -z "${RESULTS:-}" ]; then
	RESULTS=$(mktemp) || exit
	export RESULTS
	report_made=$RESULTS
fi
report_output=$(mktemp) || exit
# shellcheck disable=SC2086
trap 'rm -f "$report_output" $report_made ${report_made:+$report_made.failed}' EXIT
trap 'exit 130' INT TERM

# Nothing that is tested takes this long unless it hangs.
# shellcheck disable=SC2034
limit='timeout --kill-after=10 600'

# report_as PASSED FAILED NAME [REMARK]: says and stores an outcome.
report_as()
{
	printf '%s %s %s\n' "$1" "$2" "$report_prefix$3" >>"$RESULTS"
	if [ "$2" -eq 0 ]; then
		echo "  ok  $report_prefix$3${4:+ ($4)}"
	else
		echo "  FAILED  $report_prefix$3${4:+ ($4)}"
		tail -n 300 "$report_output" | sed 's/^/    | /'
		# For the end: what went wrong, if the test has lines for that, and else its last words.
		report_why=$(grep -A 2 '^not ok' "$report_output" || tail -n 5 "$report_output")
		printf '  %s\n%s\n' "$report_prefix$3" "$(echo "$report_why" | sed 's/^/    | /')" \
			>>"$RESULTS.failed"
	fi
}

# report NAME COMMAND...: one test, passed when the command exits 0; 77 is for what cannot be done
# here, which is neither passed nor failed, and the last line of its output says why.
report()
{
	report_name=$1
	shift
	report_status=0
	"$@" </dev/null >"$report_output" 2>&1 || report_status=$?
	if [ "$report_status" -eq 0 ]; then
		report_as 1 0 "$report_name"
	elif [ "$report_status" -eq 77 ]; then
		echo "  --  $report_prefix$report_name is left out: $(tail -n 1 "$report_output")"
	else
		echo "exit status $report_status: $*" >>"$report_output"
		report_as 0 1 "$report_name"
	fi
}

# report_each NAME COMMAND...: the command counts for itself. The last line that it prints ends in
# "Tested: N | Passing: N ..." (Criterion's synthesis), which may be in colour.
report_each()
{
	report_name=$1
	shift
	report_status=0
	"$@" </dev/null >"$report_output" 2>&1 || report_status=$?
	report_counts=$(sed -n 's/.*Tested: [^0-9]*\([0-9]*\).*Passing: [^0-9]*\([0-9]*\).*/\1 \2/p' \
		"$report_output" | tail -n 1)
	report_tested=${report_counts% *}
	report_passed=${report_counts#* }
	if [ "${report_tested:-0}" -eq 0 ]; then
		echo "exit status $report_status and no tests counted: $*" >>"$report_output"
		report_as 0 1 "$report_name"
	elif [ "$report_status" -ne 0 ] && [ "$report_tested" -eq "$report_passed" ]; then
		echo "exit status $report_status: $*" >>"$report_output"
		report_as "$report_passed" 1 "$report_name"
	else
		report_as "$report_passed" $((report_tested - report_passed)) "$report_name" \
			"$report_tested tests"
	fi
}

# For the end of a script. In the first one of the chain it adds up; its status is the script's.
report_end()
{
	[ -n "$report_made" ] || return 0
	[ ! -e "$RESULTS.failed" ] || {
		echo 'failed:'
		cat "$RESULTS.failed"
	}
	awk '{ passed += $1; failed += $2 }
		END {
			printf "%d passed, %d failed\n", passed, failed
			exit failed > 0
		}' "$RESULTS"
}
