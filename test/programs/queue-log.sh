#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# queue-log.sh: the tool for logs, driven as its users would: its command line, logs that are
# intact, torn and damaged, and logs that a program has open. Prints "ok NAME" or "not ok NAME" for
# each case; exits 1 when one of them failed. In the environment: QUEUE_LOG, the program's path,
# beside which is the library; BUILD, a directory to write into, and CC, which are optional.
set -u

: "${QUEUE_LOG:?the path of the program}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh
writer=$work/writer
log=$work/log
first=$log/0000000000000000.log
second=$log/000000000000f000.log
background=

# ---- What cases are written with ----------------------------------------------------------------

# queue_log ARGUMENT...: runs it; status, $out and $err are what came of it.
queue_log()
{
	status=0
	timeout -k 5 60 "$QUEUE_LOG" "$@" >"$out" 2>"$err" || status=$?
}

# The log of 1000 messages in four files, as log_writer.c says; or another one.
a_log()
{
	rm -rf "$log"
	if [ $# -eq 0 ]; then
		cp -R "$work/thousand" "$log"
	else
		"$writer" "$1" "$log" "$2" 200 2>"$err" || because 'no log could be made'
	fi
}

# put TEXT FILE OFFSET: writes over bytes of a file.
put()
{
	printf '%s' "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc 2>/dev/null
}

# What `inspect --json` has there.
json()
{
	"$QUEUE_LOG" inspect --json "$log" 2>"$err" | jq -r "$1"
}

sum_of()
{
	find "$log" -type f -exec cksum {} + | sort
}

# The numbers of the messages in $out are one more each time.
numbers_are_contiguous()
{
	awk '$1 != "message" || (NR > 1 && $2 != last + 1) { print NR ": " $0; exit }
		{ last = $2 }' "$out" | cut -c 1-60 >"$work/hole"
	[ ! -s "$work/hole" ] || because "not contiguous: line $(cat "$work/hole")"
}

end_background()
{
	[ -z "$background" ] || kill "$background" 2>/dev/null
	[ -z "$background" ] || wait "$background" 2>/dev/null
	background=
}

before_exit()
{
	end_background
}

after_case()
{
	end_background
}

# fits [FILE]...: no line of what was printed is longer than a terminal is wide, but for the
# directory's name.
fits()
{
	[ $# -gt 0 ] || set -- "$out" "$err"
	sed "s|$work/||g" "$@" | awk 'length > 80' >"$work/long"
	[ ! -s "$work/long" ] || because "longer than 80 columns: $(head -n 1 "$work/long")"
}

# said_once TEXT: in one line.
said_once()
{
	is "the number of lines with $1" "$(grep -cF -e "$1" "$out")" 1
}

# ---- The command line ---------------------------------------------------------------------------

help_lists_everything()
{
	queue_log --help
	exits 0
	is_silent
	for command in inspect cat tail verify repair purge bench; do
		says "  $command "
	done
	says '1 verify: a torn end; cat and tail: messages went'
	says 'repair and purge need that no program has the log open'
	fits
	for command in inspect cat tail verify repair purge bench; do
		queue_log "$command" --help
		exits 0
		grep -q "^usage: queue-log $command " "$out" || because "no usage of $command"
		fits
	done
	queue_log inspect --help
	says 'BEGUN and SINCE are local time'
}

version_is_the_library_s()
{
	for command in '' verify; do
		# No word at all when it is empty.
		queue_log ${command:+"$command"} --version
		exits 0
		is_silent
		[ "$(cat "$out")" = "queue-log $(sed -n \
			's/^#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)" ] ||
			because 'another version'
	done
}

# refuses WORD ARGUMENT...: exit status 2, and the word is in the one line of complaint.
refuses()
{
	word=$1
	shift
	queue_log "$@"
	exits 2
	complains "$word"
	[ ! -s "$out" ] || because 'it writes to standard output'
	[ "$(wc -l <"$err")" -eq 1 ] || because "it does not complain of $word in one line"
}

wrong_arguments_are_named()
{
	refuses 'command is missing'
	refuses 'elephant' elephant "$log"
	refuses '--bogus' --bogus
	refuses '--bogus' inspect --bogus "$log"
	refuses '-x' cat -x "$log"
	refuses 'directory is missing' verify
	refuses 'zebra' verify "$log" zebra
	refuses '""' verify ''
	refuses '"many"' cat --count many "$log"
	refuses '"-1"' cat --from -1 "$log"
	refuses '18446744073709551616' cat --from 18446744073709551616 "$log"
	refuses '--from needs a value' cat "$log" --from
	refuses '-n needs a value' tail "$log" -n
	refuses '--json' inspect --json=yes "$log"
	refuses '--raw does not go with --positions' cat --raw --positions "$log"
	refuses '--reader does not go with --from' cat --reader slow --from 5 "$log"
	refuses '"1e6"' tail -n 1e6 "$log"
	refuses 'what is to go?' purge "$log"
	refuses '"12Q"' purge --keep-bytes 12Q "$log"
	refuses '"0"' purge --keep-bytes 0 "$log"
	refuses '99999999999999T' purge --keep-bytes 99999999999999T "$log"
	refuses '"7"' purge --keep-age 7 "$log"
	refuses '--all does not go with --keep-age' purge --all --keep-age 7d "$log"
	refuses '"sometimes"' bench --sync sometimes "$work"
	refuses '--sync: "interval=soon"' bench --sync interval=soon "$work"
	refuses '--sync: "interval=0"' bench --sync interval=0 "$work"
	refuses '--sync: "interval=3600001"' bench --sync interval=3600001 "$work"
	refuses '"65"' bench --threads 65 "$work"
}

what_is_no_log()
{
	mkdir -p "$work/empty"
	: >"$work/file"
	for command in inspect cat tail verify repair 'purge --all'; do
		# The command's own argument is a word of its own.
		# shellcheck disable=SC2086
		queue_log $command "$work/empty"
		exits 4
		complains "$work/empty: there is no log"
		# shellcheck disable=SC2086
		queue_log $command "$work/nothing"
		exits 4
		complains "$work/nothing: there is no log"
		# shellcheck disable=SC2086
		queue_log $command "$work/file"
		exits 4
		complains "$work/file: Not a directory"
	done
	[ -z "$(ls "$work/empty")" ] || because 'it has made something'
}

a_full_disk_for_the_output()
{
	for command in cat inspect verify 'inspect --json' 'tail -n 5'; do
		status=0
		# shellcheck disable=SC2086
		"$QUEUE_LOG" $command "$log" >/dev/full 2>"$err" || status=$?
		exits 4
		complains 'cannot write the output'
	done
}

# ---- Looking ------------------------------------------------------------------------------------

inspect_shows_all()
{
	queue_log inspect "$log"
	exits 0
	is_silent
	says 'No program has it open.'
	says '0000000000000000.log'
	says 'All from the position of slow on is kept for it.'
	says '1000 messages of '
	fits
	# name, position, lag, its unit, messages, out, done ahead
	[ "$(awk '$1 == "fast" { print $5, $6, $7 }' "$out")" = '1 0 0' ] || because 'fast is wrong'
	[ "$(awk '$1 == "slow" { print $5, $6, $7 }' "$out")" = '999 4 1' ] || because 'slow is wrong'
}

inspect_as_json()
{
	is 'messages' "$(json .messages)" 1000
	is 'open' "$(json .open)" false
	is 'messages in segments' "$(json '[.segments[].messages] | add')" 1000
	is 'the first one' "$(json '.segments[0] | .file, .begins, .size' | xargs)" \
		'0000000000000000.log 0 65536'
	is 'slow' "$(json '.readers[] | select(.name == "slow") |
		.lag_messages, .out, .pins, .exceptions[0].acknowledged' | xargs)" '999 4 true true'
	is 'what pins it' "$(json '.readers[] | select(.pins) | .name' | xargs)" slow
	is 'what is kept' "$(json .kept_from)" "$(json '.readers[] | select(.pins) | .position')"
	is 'damages' "$(json '.damages, .torn, .left_out' | xargs)" '0 0 0'
	is 'salts' "$(json '.segments[].salt' | grep -cx '[0-9a-f]\{16\}')" 4
}

cat_has_all()
{
	queue_log cat "$log"
	exits 0
	is_silent
	is 'lines' "$(wc -l <"$out")" 1000
	numbers_are_contiguous
	last_line_has 'message 999 '
}

cat_from_and_count()
{
	queue_log cat --positions "$log"
	position=$(awk 'NR == 501 { print $1 }' "$out")
	queue_log cat --from "$position" --count 3 "$log"
	exits 0
	[ "$(awk '{ print $2 }' "$out" | xargs)" = '500 501 502' ] || because 'other messages'
	queue_log cat --from $((position + 8)) --count 1 "$log"
	says 'message 501 '
	ends=$(json .ends)
	queue_log cat --from 99999999999 "$log"
	exits 0
	[ ! -s "$out" ] || because 'there is something behind the end'
	complains "$log: the log ends at position $ends"
	queue_log cat --from "$ends" "$log"
	exits 0
	is_silent
	queue_log cat --count 0 "$log"
	[ ! -s "$out" ] || because 'none is not nothing'
}

cat_of_a_reader()
{
	queue_log cat --reader slow --count 4 "$log"
	exits 0
	[ "$(awk '{ print $2 }' "$out" | xargs)" = '0 1 3 4' ] || because 'other messages'
	queue_log cat --reader fast "$log"
	[ "$(awk '{ print $2 }' "$out" | xargs)" = 999 ] || because 'other messages'
	queue_log cat --reader nobody "$log"
	exits 4
	complains 'there is no reader "nobody"'
}

cat_in_other_forms()
{
	"$QUEUE_LOG" cat "$log" | tr -d '\n' >"$work/joined"
	queue_log cat --raw "$log"
	cmp -s "$out" "$work/joined" || because 'raw is something else'
	queue_log cat --records "$log"
	exits 0
	is 'messages' "$(grep -c '^[0-9]* message message' "$out")" 1000
	for kind in durable reader complete end; do
		grep -q "^[0-9]* $kind" "$out" || because "there is no $kind"
	done
}

tail_has_the_last()
{
	queue_log tail -n 3 "$log"
	exits 0
	[ "$(awk '{ print $2 }' "$out" | xargs)" = '997 998 999' ] || because 'other messages'
	queue_log tail "$log"
	is 'lines' "$(wc -l <"$out")" 10
	queue_log tail --lines 5000 "$log"
	is 'lines' "$(wc -l <"$out")" 1000
	numbers_are_contiguous
	queue_log tail -n 0 "$log"
	[ ! -s "$out" ] || because 'none is not nothing'
}

half_messages()
{
	a_log half 0
	queue_log cat "$log"
	exits 0
	[ "$(cat "$out")" = kept ] || because 'other messages than the one that is committed'
	queue_log cat --records "$log"
	says ' prepare '
	says ' order 3: open'
	says ' rollback '
	is 'half messages' "$(json '.halves[] | .key, .length' | xargs)" 'order 3 4'
	is 'what is kept' "$(json .kept_from)" 0
	queue_log inspect "$log"
	exits 0
	says '  order 3'
	says '1 message of 4 B'
	fits
	a_log
}

# One that fits into the last column, one that has a line of its own, and one that has no room there.
keys_of_half_messages()
{
	rm -rf "$log"
	"$writer" keys "$log" 25 26 76 77 200 2>"$err" || because 'no log could be made'
	is 'keys' "$(json '.halves[].key | length' | xargs)" '25 26 76 77 200'
	queue_log inspect "$log"
	exits 0
	fits
	is 'in the column' "$(grep -c '^[0-9].* [0-9]  k\{25\}$' "$out")" 1
	is 'on lines of their own' "$(grep -c '^    k*$' "$out")" 2
	is 'shortened' "$(grep -c '^    k\{73\}[.][.][.]$' "$out")" 2
	a_log
}

looking_changes_nothing()
{
	sum_of >"$work/before"
	for command in inspect 'inspect --json' cat tail verify repair; do
		# shellcheck disable=SC2086
		queue_log $command "$log"
		exits 0
	done
	sum_of | cmp -s - "$work/before" || because 'it has changed something'
}

# ---- Damage -------------------------------------------------------------------------------------

verify_finds_nothing()
{
	a_log
	queue_log verify "$log"
	exits 0
	is_silent
	last_line_has 'intact: 4 files, 1000 messages, positions 0 to '
	[ "$(wc -l <"$out")" -eq 1 ] || because 'it says more'
}

verify_finds_a_torn_end()
{
	a_log crash 20
	queue_log verify "$log"
	exits 0
	put 'half of a record' "$first" $((4096 + $(json .ends)))
	queue_log verify "$log"
	exits 1
	says 'torn: 16 bytes behind position '
	fits
	queue_log inspect "$log"
	exits 0
	says 'What is torn behind that is cut off when it is opened: 16 bytes.'
	fits
	sum_of >"$work/before"
	queue_log cat "$log"
	exits 0
	is 'lines' "$(wc -l <"$out")" 20
	sum_of | cmp -s - "$work/before" || because 'it has changed something'
	queue_log repair "$log"
	exits 0
	says 'cut off: 16 bytes'
	queue_log verify "$log"
	exits 0
	says 'intact: 1 file, 20 messages'
}

damage_in_an_older_file()
{
	a_log
	put XXXX "$second" 30000
	queue_log verify "$log"
	exits 2
	says '000000000000f000.log: damaged: no valid record'
	says ', 224 bytes, position '
	fits
	last_line_has 'damaged: 4 files, 999 messages'
	queue_log inspect "$log"
	exits 2
	says 'damaged in 1 place'
	queue_log cat "$log"
	exits 2
	complains '000000000000f000.log: damaged at position '
	fits "$err"
	is 'lines' "$(wc -l <"$out")" 999
	sum_of >"$work/before"
	queue_log repair "$log"
	exits 2
	complains '224 bytes are damaged; nothing was changed'
	complains '--salvage'
	fits
	sum_of | cmp -s - "$work/before" || because 'it has changed something'
	queue_log repair --salvage "$log"
	exits 0
	said_once 'left out: 000000000000f000.log: no valid record'
	said_once ', 224 bytes, position '
	last_line_has 'repaired; 999 messages'
	fits
	queue_log verify "$log"
	exits 0
	says 'are left out'
}

# damage_of_a_file FILE WHAT PLACE COMMAND...: exit status 2, what is said of it, and 0 when it was
# mended; the same is said then, and nothing twice.
damage_of_a_file()
{
	file=$1
	what=$2
	place=$3
	shift 3
	a_log
	"$@"
	queue_log verify "$log"
	exits 2
	said_once "$file: damaged: $what"
	said_once "    $place"
	fits
	sed -n -e 's/^\([0-9a-f]*[.]log\): damaged: /left out: \1: /p' -e '/^ /p' "$out" \
		>"$work/expected"
	queue_log repair --salvage "$log"
	exits 0
	last_line_has 'repaired; '
	fits
	case $what in
	*' of two headers')
		said_once "mended: $file, header at ${place%%,*}"
		is 'lines' "$(wc -l <"$out")" 2
		;;
	*)
		sed '$d' "$out" | cmp -s - "$work/expected" || because 'it says something else'
		;;
	esac
	queue_log verify "$log"
	exits 0
}

damage_of_whole_files()
{
	last=$log/000000000002d000.log
	lost='both headers, and with them the whole file'
	damage_of_a_file "${second##*/}" 'the first of two headers' \
		'offset 0, 56 bytes, position 61440' put XXXX "$second" 20
	damage_of_a_file "${second##*/}" 'the second of two headers' \
		'offset 2048, 56 bytes, position 61440' put XXXX "$second" 2050
	damage_of_a_file "${second##*/}" 'there is no such file' \
		'offset 0, 61440 bytes, position 61440' rm "$second"
	damage_of_a_file "${second##*/}" 'the file is too short' \
		'offset 20000, 45536 bytes, position 77344' truncate -s 20000 "$second"
	damage_of_a_file "${second##*/}" "$lost" \
		'offset 0, 65536 bytes, position 61440' truncate -s 0 "$second"
	damage_of_a_file "${last##*/}" "$lost" \
		'offset 0, 65536 bytes, position 184320' truncate -s 0 "$last"
}

# Some of it may be mended by then, and is said all the same.
repair_that_fails()
{
	a_log
	put XXXX "$first" 30
	truncate -s 20000 "$second"
	status=0
	(
		trap '' XFSZ
		ulimit -f 40
		exec timeout -k 5 60 "$QUEUE_LOG" repair --salvage "$log"
	) >"$out" 2>"$err" || status=$?
	exits 4
	complains 'File too large'
	said_once "${first##*/}: damaged: the first of two headers"
	said_once "${second##*/}: damaged: the file is too short"
	queue_log repair --salvage "$log"
	exits 0
	said_once "left out: ${second##*/}: the file is too short"
	queue_log verify "$log"
	exits 0
}

# ---- Letting go ---------------------------------------------------------------------------------

# frees LEAST MOST: so many files went.
frees()
{
	is_from 'files freed' "$(sed -n 's/ of [0-9]* files\{0,1\} freed.*//p' "$out")" "$1" "$2"
	last_line_has 'the directory had '
	fits
}

purge_a_reader()
{
	a_log
	queue_log purge --reader nobody "$log"
	exits 4
	complains 'there is no reader "nobody"'
	queue_log purge --reader slow "$log"
	exits 0
	says 'forgotten: reader slow, which was at position '
	says 'freed: 0000000000000000.log, positions 0 to 61440'
	# Where the readers are may be said in the last but one, or only in the last.
	frees 2 3
	is 'readers' "$(json '.readers[].name' | xargs)" fast
	is_from 'segments' "$(json '.segments | length')" 1 2
	queue_log verify "$log"
	exits 0
}

purge_by_size_and_age()
{
	a_log
	queue_log purge --keep-bytes 1G --keep-age 7d "$log"
	exits 0
	frees 0 0
	queue_log purge --keep-bytes 150K "$log"
	exits 0
	frees 1 1
	sleep 0.2
	queue_log purge --keep-age 100ms "$log"
	exits 0
	frees 1 2
	queue_log verify "$log"
	exits 0
}

purge_all()
{
	a_log
	queue_log purge --all "$log"
	exits 0
	says 'acknowledged: reader slow, '
	says 'acknowledged: reader fast, '
	frees 2 3
	is 'lags' "$(json '.readers[] | .name, .lag_messages' | xargs)" 'fast 0 slow 0'
	"$writer" more "$log" 1
	queue_log cat --reader slow "$log"
	is 'lines' "$(wc -l <"$out")" 1
}

# ---- A program has it open ----------------------------------------------------------------------

hold_it()
{
	mkfifo "$work/fifo" 2>/dev/null
	"$writer" hold "$log" <"$work/fifo" >"$work/held" &
	background=$!
	exec 3>"$work/fifo"
	wait_for 10 test -s "$work/held" || because 'it was not opened'
}

release_it()
{
	exec 3>&-
	wait "$background" || because 'the program has failed'
	background=
}

changes_are_refused_while_it_is_open()
{
	a_log
	hold_it
	is 'open' "$(json .open)" true
	sum_of >"$work/before"
	for command in 'purge --all' 'purge --reader slow' repair 'repair --salvage'; do
		# shellcheck disable=SC2086
		queue_log $command "$log"
		exits 3
		complains 'a program has the log open'
	done
	sum_of | cmp -s - "$work/before" || because 'it has changed something'
	for command in inspect cat tail verify; do
		queue_log $command "$log"
		exits 0
	done
	release_it
	is 'open' "$(json .open)" false
}

# The end may be anything while somebody writes there.
nothing_is_torn_while_it_is_open()
{
	a_log crash 20
	hold_it
	put 'half of a record' "$first" $((4096 + $(json .ends)))
	queue_log verify "$log"
	exits 0
	says 'a program has it open'
	kill -9 "$background"
	wait "$background" 2>/dev/null
	background=
	exec 3>&-
	queue_log verify "$log"
	exits 1
}

looking_beside_a_writer()
{
	rm -rf "$log"
	"$writer" live "$log" 2 >"$work/appended" 2>"$work/live" &
	background=$!
	wait_for 10 test -e "$log/lock" || because 'it was not begun'
	looks=0
	while kill -0 "$background" 2>/dev/null && [ -z "$why" ]; do
		queue_log verify "$log"
		exits 0
		is_silent
		queue_log inspect "$log"
		exits 0
		is_silent
		queue_log cat "$log"
		[ "$status" -eq 1 ] || exits 0
		[ "$status" -eq 0 ] || complains 'taken away meanwhile'
		numbers_are_contiguous
		looks=$((looks + 1))
	done
	wait "$background" || because "the writer has failed: $(cat "$work/live")"
	background=
	[ "$looks" -ge 1 ] || because 'it was never looked at'
	queue_log verify "$log"
	exits 0
}

# Who asks whether it is open must never be in the way of who opens it.
looking_does_not_keep_it_from_being_opened()
{
	rm -rf "$log"
	"$writer" open "$log" 1 >"$work/opened" 2>"$work/live" &
	background=$!
	wait_for 10 test -e "$log/lock" || because 'it was not begun'
	while kill -0 "$background" 2>/dev/null && [ -z "$why" ]; do
		queue_log inspect "$log"
		exits 0
		queue_log verify "$log"
		exits 0
	done
	wait "$background" || because "it could not be opened: $(cat "$work/live")"
	background=
}

has_lines()
{
	[ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

# Through the ends of files.
tail_follows()
{
	a_log fill 5
	"$QUEUE_LOG" tail -n 2 -f "$log" >"$work/followed" 2>"$err" &
	background=$!
	wait_for 5 has_lines "$work/followed" 2 || because 'the last two do not come'
	"$writer" fill "$log" 1000 200 || because 'nothing could be appended'
	wait_for 10 has_lines "$work/followed" 1002 || because 'what is appended does not come'
	kill -TERM "$background"
	status=0
	wait "$background" || status=$?
	background=
	exits 0
	is_silent
	is 'lines' "$(wc -l <"$work/followed")" 1002
	tail -n +3 "$work/followed" >"$out"
	numbers_are_contiguous
}

# ---- The bench ----------------------------------------------------------------------------------

bench_measures_and_removes()
{
	mkdir -p "$work/bench"
	queue_log bench --seconds 1 --threads 2 --size 64 --pipelined "$work/bench"
	exits 0
	is_silent
	says 'messages/s'
	says '99 % within'
	fits
	! grep -q '^$' "$out" || because 'there is an empty line'
	[ -z "$(ls -A "$work/bench")" ] || because 'it leaves something'
	queue_log bench "$work/nothing"
	exits 4
	complains "$work/nothing: No such file or directory"
}

# ---- All of it ----------------------------------------------------------------------------------

machine=
[ "$(uname -m)" != x86_64 ] || machine=-mcx16
# shellcheck disable=SC2086
${CC:-cc} -O1 -Iinclude $machine -pthread -o "$writer" test/programs/log_writer.c \
	"$(dirname "$QUEUE_LOG")/libconveyor.a" 2>"$err" ||
	give_up 'logs can be written' 'the program for that cannot be built' "$err"

try 'help lists everything' help_lists_everything
try 'version is the library'"'"'s' version_is_the_library_s
try 'wrong arguments are named' wrong_arguments_are_named
try 'what is no log' what_is_no_log

log=$work/thousand
a_log fill 1000
log=$work/log
a_log
try 'inspect shows all' inspect_shows_all
try 'inspect as JSON' inspect_as_json
try 'cat has all' cat_has_all
try 'cat from and count' cat_from_and_count
try 'cat of a reader' cat_of_a_reader
try 'cat in other forms' cat_in_other_forms
try 'tail has the last' tail_has_the_last
try 'half messages' half_messages
try 'keys of half messages' keys_of_half_messages
try 'looking changes nothing' looking_changes_nothing
try 'a full disk for the output' a_full_disk_for_the_output

try 'verify finds nothing' verify_finds_nothing
try 'verify finds a torn end' verify_finds_a_torn_end
try 'damage in an older file' damage_in_an_older_file
try 'damage of whole files' damage_of_whole_files
try 'repair that fails' repair_that_fails

try 'purge a reader' purge_a_reader
try 'purge by size and age' purge_by_size_and_age
try 'purge all' purge_all

try 'changes are refused while it is open' changes_are_refused_while_it_is_open
try 'nothing is torn while it is open' nothing_is_torn_while_it_is_open
try 'looking beside a writer' looking_beside_a_writer
try 'looking does not keep it from being opened' looking_does_not_keep_it_from_being_opened
try 'tail follows' tail_follows

try 'bench measures and removes' bench_measures_and_removes
end_of_cases
