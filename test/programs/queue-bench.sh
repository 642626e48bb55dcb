#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# queue-bench.sh: the bench tool, driven as its users would: its command line, and one short report
# with the built-in subjects, whose files are validated. Prints "ok NAME" or "not ok NAME" for each
# case; exits 1 when one of them failed. In the environment: QUEUE_BENCH, the program's path; BUILD,
# a directory to write into, which is optional.
set -u

: "${QUEUE_BENCH:?the path of the program}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh
report=$work/report

# ---- What cases are written with ----------------------------------------------------------------

# bench ARGUMENT...: runs it; status, $out and $err are what came of it.
bench()
{
	status=0
	timeout -k 5 300 "$QUEUE_BENCH" "$@" >"$out" 2>"$err" || status=$?
}

# holds FILTER FILE WHAT: is that true of the JSON in the file?
holds()
{
	jq -e "$1" "$2" >/dev/null 2>"$work/jq" ||
		because "not so of $(basename "$2"): $3: $(head -n 1 "$work/jq")"
}

suites='limits throughput latency progress idle policies bucket pool topic log alloc'

# ---- The command line ---------------------------------------------------------------------------

help_lists_everything()
{
	bench --help
	exits 0
	is_silent
	for suite in $suites report; do
		says "  $suite "
	done
	for option in only threads capacity batch payload pin directory seconds rounds quick full \
		seed json csv output quiet list help version; do
		says "--$option"
	done
	[ "$(awk 'length > 100' "$out")" = '' ] || because 'a line is longer than 100 columns'
}

version_is_the_library_s()
{
	bench --version
	exits 0
	is_silent
	[ "$(cat "$out")" = "queue-bench $(sed -n \
		's/^#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)" ] ||
		because 'another version'
}

list_has_the_built_in_subjects()
{
	bench --list
	exits 0
	is_silent
	for subject in ring ring_spsc ring_sp ring_sc bounded bounded_spsc vyukov mutex; do
		says "$subject"
	done
}

# refuses WORD ARGUMENT...: exit status 2, and the word is in the one line of complaint.
refuses()
{
	word=$1
	shift
	bench "$@"
	exits 2
	complains "$word"
	[ ! -s "$out" ] || because 'it writes to standard output'
	[ "$(wc -l <"$err")" -eq 1 ] || because "it does not complain of $word in one line"
}

wrong_arguments_are_named()
{
	refuses 'elephant' elephant
	refuses 'zebra' limits zebra
	refuses '--bogus' limits --bogus
	refuses '-x' limits -x
	refuses 'nobody' throughput --only ring,nobody
	refuses '2by2' throughput --threads 1x1,2by2
	refuses '0x1' throughput --threads 0x1
	refuses '65x1' throughput --threads 65x1
	refuses '"0"' throughput --capacity 0
	refuses '12k' throughput --capacity 12k
	refuses '257' throughput --batch 257
	refuses '1501' throughput --payload 8,1501
	refuses 'sideways' throughput --pin sideways
	refuses 'soon' limits --seconds soon
	refuses '-1' limits --seconds -1
	refuses '"0"' limits --rounds 0
	refuses '18446744073709551616' limits --seed 18446744073709551616
	refuses '--seconds' limits --seconds
	refuses '--help=yes' --help=yes
	refuses '--output' report --output=
	refuses '--quick' report --quick --full
	refuses '--directory' limits --directory=here
	refuses '--directory' log --directory=
}

a_directory_that_cannot_be_made()
{
	bench report --quick --seconds 1 --output "$work/nothing/there"
	exits 1
	complains "$work/nothing/there: No such file or directory"
	: >"$work/file"
	bench report --quick --seconds 1 --output "$work/file"
	exits 1
	complains "$work/file: Not a directory"
	bench log --seconds 0.1 --directory "$work/nothing/there"
	exits 1
	complains "$work/nothing/there: No such file or directory"
}

# ---- One suite ----------------------------------------------------------------------------------

# A short run of one cell, in each form.
one_cell_as_json()
{
	bench throughput --only ring,vyukov --threads 2x2 --capacity 64 --batch 1 --payload 8 \
		--pin none --seconds 0.5 --json
	exits 0
	is_silent
	holds '[.rows[].subject] | contains(["ring", "vyukov"])' "$out" 'both subjects are there'
	holds '[.rows[] | select(.metric == "rate" and .state == "ok" and .median > 0)] | length >= 2' \
		"$out" 'both have a rate'
	holds '[.rows[].subject] - ["ring", "vyukov"] | length == 0' "$out" 'nobody else is there'
}

# Every cell, with the limits that deliveries are read against, and the published figures apart.
topics_have_their_limits()
{
	bench topic --only bounded,mutex --rounds 1 --seconds 1 --json
	exits 0
	is_silent
	holds '[.rows[] | .state == "ok" and .median > 0] | all' "$out" 'all is measured'
	for subscribers in 1 3 10 100; do
		holds "[.rows[] | select(.subject == \"queue_topic\" and .metric == \"delivery\" and
			(.cell | contains(\" subscribers=$subscribers \")) and
			.limit == \"one queue_bounded\" and .limit_value > 0)] | length == 1" \
			"$out" "a delivery to $subscribers subscribers, with its limit"
		holds "[.rows[] | select(.metric == \"rate\" and .better == \"higher\" and
			(.cell | contains(\" subscribers=$subscribers \"))) | .subject] |
			contains([\"queue_topic\", \"one queue_bounded\"])" \
			"$out" "deliveries to $subscribers subscribers, beside one queue"
	done
	for subscribers in 0 3 100; do
		holds "[.rows[] | select(.subject == \"queue_topic\" and .metric == \"publish\" and
			(.cell | contains(\" subscribers=$subscribers\")))] | length > 0" \
			"$out" "a publish to $subscribers subscribers"
	done
	holds '[.rows[] | select(.subject | startswith("mutex list")) | .cell] | unique | length == 18' \
		"$out" 'the usual list is in every cell'
	holds '[.rows[] | select(.subject | startswith("Disruptor"))] | length == 2 and
		all(.better == "neither" and (.note | startswith("published, not measured here")))' \
		"$out" 'what is published is said to be'
}

# empty DIRECTORY
empty()
{
	left=$(ls -A "$1")
	[ "$left" = '' ] || because "it has left $left"
}

# Without the databases, which need not be there: the bare disk beside the log, and its targets.
logs_are_measured_beside_the_disk()
{
	mkdir -p "$work/disk"
	bench log --only bounded --seconds 0.1 --directory "$work/disk" --json
	exits 0
	is_silent
	empty "$work/disk"
	holds '[.rows[] | .state == "ok" and .median > 0] | all' "$out" 'all is measured'
	for cell in 'append producers=1 ' 'append producers=16 ' 'pipelined producers=4 '; do
		holds "[.rows[] | select(.subject == \"queue_log\" and .metric == \"rate\" and
			(.cell | startswith(\"$cell\")) and (.limit | endswith(\" written and synced\"))
			and .limit_value > 0)] | length == 1" "$out" "$cell, with its limit"
		holds "[.rows[] | select(.metric == \"written\" and (.cell | startswith(\"$cell\")) and
			.median > 256 and .median < 400)] | length == 1" "$out" "$cell: what is written"
	done
	holds '[.rows[] | select(.metric == "messages per sync" and
		(.cell | startswith("append producers=1 ")))] | length == 1 and .[0].median == 1' \
		"$out" 'who waits for each message has a sync for each'
	for files in 1 4 16; do
		holds "[.rows[] | select(.metric == \"open\" and
			(.cell | endswith(\" files=$files\")))] | length == 4" \
			"$out" "opening $files files, and reading what that reads, cold and warm"
	done
	holds '[.rows[] | select(.cell == "targets") | .limit == "target" and
		(.note | test("^target at (least|most) [0-9.]+: (met|missed)$"))] |
		length >= 8 and all' "$out" 'each target has its word'
}

a_log_that_is_interrupted_leaves_nothing()
{
	mkdir -p "$work/disk"
	status=0
	timeout -k 60 -s INT --preserve-status 1 "$QUEUE_BENCH" log --seconds 60 --directory \
		"$work/disk" >"$out" 2>"$err" || status=$?
	exits 130
	is_silent
	empty "$work/disk"
}

# ---- The report ---------------------------------------------------------------------------------

# The built-in subjects: fixed names, so that it is the same test where packages of peers are.
the_report_runs()
{
	bench report --quick --seconds 1 --output "$report" --only \
		ring,ring_spsc,ring_sp,ring_sc,bounded,bounded_spsc,vyukov,mutex
	exits 0
	is_silent
	for file in results.json results.csv report.html; do
		says "$report/$file"
		[ -s "$report/$file" ] || because "there is no $file"
	done
	[ "$(wc -l <"$out")" -le 25 ] || because 'the summary is longer than 25 lines'
}

the_json_is_complete()
{
	json=$report/results.json
	holds . "$json" 'it is JSON'
	holds '(keys - ["machine", "subjects", "rows"]) == [] and (keys | length) == 3' "$json" 'its keys'
	holds '.machine | has("cpu") and has("processors") and has("kernel") and has("compiler") and
		has("flags") and has("version") and has("when") and has("seed") and has("seconds") and
		has("steal") and has("spread")' "$json" 'what is said of the machine'
	holds '.machine.processors >= 1 and .machine.seed == 1 and .machine.seconds > 0 and
		.machine.steal >= 0 and .machine.steal <= 1' "$json" 'the machine has sound figures'
	holds '[.rows[] | has("suite") and has("subject") and has("cell") and has("metric") and
		has("unit") and has("better") and has("state") and has("median") and has("min") and
		has("max") and has("rounds") and has("limit") and has("limit_value") and has("note")]
		| all' "$json" 'what is in a row'
	holds '[.rows[].state] - ["ok", "stalled", "wrong", "crashed", "absent"] | length == 0' "$json" \
		'the states'
	holds '[.rows[] | select(.state == "wrong" or .state == "crashed")] | length == 0' "$json" \
		'nothing is wrong'
	holds '[.rows[] | select(.state == "ok") |
		.rounds >= 1 and .min <= .median and .median <= .max] | all' "$json" \
		'medians are between the lowest and the highest'
	for suite in $suites; do
		holds "[.rows[] | select(.suite == \"$suite\" and .state == \"ok\")] | length > 0" "$json" \
			"there is a figure of $suite"
	done
	holds '[.rows[] | [.suite, .subject, .cell, .metric]] | length == (unique | length)' "$json" \
		'no figure is there twice'
}

# A field may contain a line's end only between quotes, and none of ours does.
the_csv_has_the_same_rows()
{
	rows=$(jq '.rows | length' "$report/results.json")
	[ "$(wc -l <"$report/results.csv")" -eq $((rows + 1)) ] ||
		because "not the $rows rows of the JSON, and a head"
	for column in suite subject cell metric unit better state median min max rounds note; do
		head -n 1 "$report/results.csv" | tr -d '\r' | tr ',' '\n' | grep -qx "$column" ||
			because "there is no column $column"
	done
}

# tidy exits 1 for warnings, of which it has some for inline SVG and for bars that are empty spans,
# and 2 for errors.
the_page_is_valid()
{
	html=$report/report.html
	tidy -q -e --drop-empty-elements no "$html" 2>"$work/tidy"
	[ $? -le 1 ] || because "tidy: $(grep -m 1 Error "$work/tidy")"
	tail -n 1 "$html" | grep -qx '</html>' || because 'it has no end'
	[ "$(grep -c '<h2 id=' "$html")" -ge 5 ] || because 'parts are missing'
	for suite in $suites; do
		grep -qF "<h3>$suite</h3>" "$html" || because "there are no figures of $suite"
	done
}

# Links inside the page and the names of XML's languages are no references to load.
the_page_is_self_contained()
{
	sed -E 's/xmlns(:xlink)?="[^"]*"//g; s/href=["'\''](#[^"'\'']*)["'\'']//g' \
		"$report/report.html" >"$work/references"
	if grep -nEi -m 1 'https?://|src=|href=|url\([^#]|@import|<link|<script|<iframe' \
		"$work/references" >"$work/found"; then
		because "it refers to something: $(cut -c 1-200 "$work/found")"
	fi
}

plots_are_in_the_page()
{
	count=0
	for plot in "$report"/plot-*.svg; do
		[ -e "$plot" ] || continue
		count=$((count + 1))
		grep -q '</svg>' "$plot" || because "$plot has no end"
	done
	[ "$count" -ge 5 ] || because "there are $count plots"
	[ "$(grep -c '^<svg' "$report/report.html")" -eq "$count" ] ||
		because 'the page does not have the plots that are beside it'
}

# Without gnuplot there is a report all the same. A path on which only a shell's own commands are.
no_gnuplot_is_no_error()
{
	mkdir -p "$work/empty"
	timeout=$(command -v timeout)
	status=0
	PATH=$work/empty "$timeout" -k 5 300 "$QUEUE_BENCH" report --quick --seconds 0.5 \
		--only ring,vyukov --output "$work/plain" >"$out" 2>"$err" || status=$?
	exits 0
	is_silent
	grep -q 'gnuplot-nox' "$work/plain/report.html" 2>/dev/null ||
		because 'the page does not say which package is missing'
	! ls "$work/plain"/plot-*.svg >/dev/null 2>&1 || because 'there are plots'
}

# -------------------------------------------------------------------------------------------------

for tool in jq tidy gnuplot; do
	if ! command -v $tool >/dev/null; then
		echo "not ok $tool is installed, which this test needs"
		exit 1
	fi
done

try 'help lists every suite and option' help_lists_everything
try 'the version is the library'\''s' version_is_the_library_s
try 'the built-in subjects are listed' list_has_the_built_in_subjects
try 'wrong arguments are named, and the exit status is 2' wrong_arguments_are_named
try 'a directory that cannot be made is named' a_directory_that_cannot_be_made
try 'one cell of two subjects, as JSON' one_cell_as_json
try 'topics, with their limits' topics_have_their_limits
try 'a log, beside the disk' logs_are_measured_beside_the_disk
try 'a log that is interrupted leaves nothing' a_log_that_is_interrupted_leaves_nothing
try 'the report of the built-in subjects' the_report_runs
try 'its JSON is complete' the_json_is_complete
try 'its CSV has the same rows' the_csv_has_the_same_rows
try 'its page is valid' the_page_is_valid
try 'its page refers to nothing outside it' the_page_is_self_contained
try 'its plots are in the page' plots_are_in_the_page
try 'without gnuplot there is a report all the same' no_gnuplot_is_no_error

end_of_cases
