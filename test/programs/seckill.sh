#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# seckill.sh: the flash sale, driven as its users would. Prints "ok NAME" or "not ok NAME" for each
# case; exits 1 when one of them failed. In the environment: SECKILL, the program's path; BUILD, a
# directory to write into; CC, a compiler. The last two are optional.
set -u

: "${SECKILL:?the path of the program}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh

before_exit()
{
	umount "$work/small" 2>/dev/null
}

# ---- What cases are written with ----------------------------------------------------------------

# seckill OPTION...: runs it; status, $out and $err are what came of it.
seckill()
{
	status=0
	timeout -k 5 60 "$SECKILL" "$@" >"$out" 2>"$err" || status=$?
}

# number NAME: a figure in the sums of the last run.
number()
{
	sed -n "s/^  *$1  *\([0-9][0-9,]*\).*/\1/p" "$out" | tail -n 1 | tr -d ,
}

# numbers NAME=NUMBER...
numbers()
{
	for pair; do
		[ "$(number "${pair%=*}")" = "${pair#*=}" ] ||
			because "${pair%=*} is $(number "${pair%=*}") instead of ${pair#*=}"
	done
}

reconciles()
{
	last_line_is 'reconciled: ok'
	exits "${1:-0}"
}

fresh_database()
{
	rm -f "$work/db" "$work/db-wal" "$work/db-shm"
}

# The same sums as the program's, done another way.
database_agrees()
{
	agreed=$(ask "$work/db" "
		SELECT count(*) = 1 AND min(good) FROM (SELECT
			(SELECT sum(requests) FROM offered WHERE run = runs.run) =
			(SELECT sum(requests) FROM outcomes WHERE run = runs.run)
			AND (SELECT count(*) FROM orders WHERE run = runs.run) =
			(SELECT sum(requests) FROM outcomes
				WHERE run = runs.run AND outcome = 'sold')
			AND (SELECT count(DISTINCT user) FROM orders WHERE run = runs.run) =
			(SELECT count(*) FROM orders WHERE run = runs.run)
			AND (SELECT total(quantity) FROM orders WHERE run = runs.run) =
			(SELECT sum(pieces - remaining) FROM stock WHERE run = runs.run)
			AND (SELECT min(remaining) FROM stock WHERE run = runs.run) >= 0
			AS good FROM runs)")
	[ "$agreed" = 1 ] || because "the database itself does not add up"
}

# has_orders DATABASE
has_orders()
{
	count=$(ask "$1" 'SELECT count(*) FROM orders' 2>/dev/null) && [ "${count:-0}" -gt 20 ]
}

# ---- The command line ---------------------------------------------------------------------------

help_lists_every_option()
{
	seckill --help
	exits 0
	for option in users stock rate burst capacity policy workers deadline-ms mode db input seed \
		seconds durable kills help version; do
		says "--$option"
	done
	for policy in abort block caller-runs discard discard-oldest; do
		says "  $policy"
	done
	[ "$(awk 'length > 80' "$out")" = '' ] || because 'a line is longer than 80 columns'
}

version_is_the_library_s()
{
	seckill --version
	exits 0
	[ "$(cat "$out")" = "seckill (conveyor) $(sed -n \
		's/^#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)" ] ||
		because 'another version'
}

# refuses WORD OPTION...: exit status 2, and the word is quoted.
refuses()
{
	word=$1
	shift
	seckill "$@"
	exits 2
	complains "$word"
	[ ! -s "$out" ] || because 'it writes to standard output'
	[ "$(wc -l <"$err")" -eq 1 ] || because 'it does not complain in one line'
}

wrong_options_are_named()
{
	refuses '"--bogus"' --bogus
	refuses '"-x"' -x
	refuses '"elephant"' elephant
	refuses '--workers: "0"' --workers 0
	refuses '--workers: "65"' --workers 65
	refuses '--capacity: "0"' --capacity=0
	refuses '--users: "12x"' --users 12x
	refuses '--users: "-1"' --users -1
	refuses '--stock: ""' --stock ''
	refuses '--seed: "18446744073709551616"' --seed 18446744073709551616
	refuses '--rate: "99999999999999999999999"' --rate 99999999999999999999999
	refuses '--burst: "0"' --burst 0
	refuses '--deadline-ms: "1.5"' --deadline-ms 1.5
	refuses '--mode: "fast"' --mode fast
	refuses '--policy: "spill"' --policy spill
	refuses '--seconds needs a value' --seconds
	refuses '"--help=yes"' --help=yes
	refuses '"-"' --mode both --input -
	refuses '--kills 2: ' --kills 2
	refuses '--kills 0: ' --kills 0 --db "$work/db"
	refuses '--kills 7: ' --reconcile "$work/db" --kills 7
	refuses "$work/nothing: No such file" --input "$work/nothing"
	refuses "$work: Is a directory" --input "$work"
}

# ---- Sales --------------------------------------------------------------------------------------

# sale OPTION...: a small one, on a database that is then looked at from outside.
sale()
{
	fresh_database
	seckill --db "$work/db" --steady-ms 10 --spike-ms 30 --users 3000 --stock 700 --rate 0 \
		--risk-us 30 --notify-us 20 --stats-us 10 "$@"
}

accounts_for_everything()
{
	sale "$@"
	reconciles
	is_silent
	database_agrees
}

# Each pair of a number of workers, a capacity and a deadline, for a policy.
every_pair()
{
	seed=0
	while read -r workers capacity deadline; do
		seed=$((seed + 1))
		accounts_for_everything --policy "$1" --workers "$workers" --capacity "$capacity" \
			--deadline-ms "$deadline" --seed $seed
		[ -z "$why" ] || because "workers $workers, capacity $capacity, deadline $deadline"
	done <<-END
		1 1 0
		1 64 5
		1 65536 1000
		4 1 5
		4 64 1000
		4 65536 0
		16 1 1000
		16 64 0
		16 65536 5
	END
}

# Requests that have not arrived too late to be let in meet a deadline that is over at once.
a_deadline_of_zero()
{
	accounts_for_everything --fast --deadline-ms 0 --policy "$1" --workers 4 --capacity 64 \
		--risk-us 0
}

# Deadlines that are over while a worker has the pieces in its hands already.
sales_are_taken_back()
{
	for us in 3000 4900 7000; do
		accounts_for_everything --deadline-ms 5 --stock-us $us --risk-us 0 --workers 16 \
			--capacity 64 --policy discard-oldest --stock 100000
	done
	[ "$(number 'timed out')" -gt 20 ] || because 'the deadlines were met'
	accounts_for_everything --mode sync --deadline-ms 5 --stock-us 7000 --risk-us 0 \
		--gateways 16 --stock 100000
	numbers sold=0
	[ "$(number 'timed out')" -gt 20 ] || because 'the deadlines were met'
}

the_stock_is_sold_to_the_last_piece()
{
	accounts_for_everything --stock 100 --deadline-ms 1000 --capacity 65536 --workers 8
	numbers 'pieces in orders=100'
	[ "$(number 'sold out')" -gt 0 ] || because 'nobody came too late'
}

nothing_to_sell()
{
	accounts_for_everything --stock 0 --deadline-ms 1000 --capacity 65536
	numbers sold=0 orders=0
}

nobody_comes()
{
	accounts_for_everything --users 0 --steady-rate 0
	numbers offered=0 sold=0
}

several_items()
{
	accounts_for_everything --items 7 --stock 50 --deadline-ms 1000 --capacity 65536
	[ "$(ask "$work/db" 'SELECT count(*) FROM stock WHERE remaining < 50')" = 7 ] ||
		because 'not all items were sold'
}

the_rate_is_kept()
{
	accounts_for_everything --rate 1000 --burst 50 --deadline-ms 1000 --capacity 65536
	[ "$(number rate-limited)" -gt 2000 ] || because 'too few were turned away'
	[ "$(number sold)" -gt 0 ] || because 'nobody got through'
}

one_gateway_one_request_at_a_time()
{
	accounts_for_everything --gateways 1 --window 1 --deadline-ms 1000
}

many_gateways()
{
	accounts_for_everything --gateways 16 --window 3 --policy discard-oldest --capacity 8
}

the_same_seed_brings_the_same_users()
{
	sale --mode sync --fast --deadline-ms 60000 --users 300 --gateways 1
	first=$(ask "$work/db" 'SELECT group_concat(user) FROM orders')
	sale --mode sync --fast --deadline-ms 60000 --users 300 --gateways 1
	[ "$first" = "$(ask "$work/db" 'SELECT group_concat(user) FROM orders')" ] ||
		because 'others came'
	sale --mode sync --fast --deadline-ms 60000 --users 300 --gateways 1 --seed 2
	[ "$first" != "$(ask "$work/db" 'SELECT group_concat(user) FROM orders')" ] ||
		because 'the same users for another seed'
}

sync_mode()
{
	accounts_for_everything --mode sync --users 500
	accounts_for_everything --mode sync --users 500 --deadline-ms 0 --fast
	accounts_for_everything --mode sync --users 500 --deadline-ms 1000 --gateways 8
}

both_modes_side_by_side()
{
	fresh_database
	seckill --mode both --users 2000 --spike-ms 50 --steady-ms 10 --db "$work/db"
	reconciles
	is_silent
	grep -q '^  *sync  *async$' "$out" || because 'there is no comparison'
	for row in 'answer latency, p50' p99 max 'answered per second' 'requests offered'; do
		says "$row"
	done
	[ "$(grep -c 'by SQL from' "$out")" -eq 2 ] || because 'not both are reconciled'
}

the_time_limit()
{
	fresh_database
	seckill --steady-ms 3600000 --users 0 --seconds 1 --db "$work/db"
	reconciles
	database_agrees
	[ "$(number sold)" -gt 0 ] || because 'nothing was sold'
}

no_traces_are_left()
{
	mkdir -p "$work/tmp"
	TMPDIR=$work/tmp seckill --users 1000 --spike-ms 20 --steady-ms 10
	reconciles
	says 'The database is temporary; --db FILE keeps one.'
	[ -z "$(ls "$work/tmp")" ] || because 'something is left in TMPDIR'
}

a_pipe_gets_no_status_line()
{
	seckill --steady-ms 300 --users 0
	reconciles
	# A carriage return or an escape.
	if LC_ALL=C grep -q "$(printf '[\r\033]')" "$out" "$err"; then
		because 'there are control characters'
	fi
}

a_terminal_gets_a_status_line()
{
	TERM=xterm timeout 60 script -qec "$SECKILL --steady-ms 400 --users 0" /dev/null \
		</dev/null >"$out" 2>"$err"
	LC_ALL=C grep -q "$(printf '\r\033')" "$out" || because 'there is none'
	says ' offered'
	says 'req '
}

queues_tell_about_themselves()
{
	seckill --users 100 --spike-ms 10 --steady-ms 10 --verbose
	reconciles
	says 'Queue of requests'
	says 'Queue of orders'
}

# The plan is printed, and kept or not; neither has a say in how it ends.
the_capacity_plan()
{
	# 400 waits of 1 ms by 4 workers are 100 ms, of a deadline of a minute. Not so many come at all.
	seckill --users 300 --spike-ms 100 --steady-ms 10 --workers 4 --capacity 400 \
		--risk-us 1000 --deadline-ms 60000
	reconciles
	is_silent
	says 'Capacity plan'
	grep -q '^  longest wait, with 400 inside  *100 ms  ' "$out" ||
		because 'it plans another wait'
	grep -q '^  rate of the workers, a second  *4,000  ' "$out" ||
		because 'it plans another rate'
	grep -q '^plan: kept: of 3[0-9][0-9] let in the queue refused 0, and 0 timed out$' "$out" ||
		because 'it is not kept'
	grep -q '^  of these, refused by the queue  *up to 5 %  *0 %$' "$out" ||
		because 'it says otherwise what was refused'
}

# all_at_once CAPACITY: of 100 requests one is with the worker, and so many wait.
all_at_once()
{
	awk 'BEGIN { print "arrival_us,user,item,quantity"
		for (user = 1; user <= 100; user++) print "0," user ",1,1" }' >"$work/at-once.csv"
	seckill --input "$work/at-once.csv" --workers 1 --capacity "$1" --risk-us 10000 --rate 0 \
		--deadline-ms 60000
	reconciles
	refused=$(number 'queue full')
	grep -qF "of 100 let in the queue refused ${refused:=0}, and 0 timed out" "$out" ||
		because "$refused were refused: $(grep '^plan:' "$out")"
	is_from 'those refused' "$refused" 0 $((100 - $1))
}

# A plan that loses what it let in is not kept, though nobody timed out.
a_plan_may_lose_little()
{
	all_at_once 95
	says 'plan: kept: '
	all_at_once 80
	says 'plan: NOT kept: '
}

# plan_of FILE: what is planned there, without what was measured.
plan_of()
{
	sed -n '/^Capacity plan/,/^plan:/{/^plan:/d;p;}' "$1" | cut -c 1-49
}

the_manual_plans_the_same_sale()
{
	seckill --users 100 --spike-ms 10 --steady-ms 10
	reconciles
	[ -n "$(plan_of "$out")" ] || because 'there is no plan'
	[ "$(plan_of "$out")" = "$(plan_of man/conveyor.7)" ] ||
		because 'conveyor(7) has other figures'
}

plans_that_cannot_be_kept()
{
	# By its own figures: 10000 waits of 1 ms before a deadline of 200 ms.
	seckill --users 300 --spike-ms 100 --steady-ms 10 --workers 1 --capacity 10000 \
		--risk-us 1000
	reconciles
	says 'plan: NOT kept: a wait of 10.0 s and 50.0 ms in reserve do not fit into 200 ms'
	# By what happens: the gateways wait for room until the deadlines of most requests.
	seckill --users 3000 --spike-ms 1 --steady-ms 10 --workers 1 --capacity 10 --risk-us 1000 \
		--policy block --rate 0
	reconciles
	says 'plan: NOT kept: '
	says ' let in the queue refused 0, and '
	# Those who never got so far are not the plan's, but they are told.
	grep '^plan:' "$out" | tr -d , | awk -v all="$(number 'timed out')" '
		{ exit !($13 + $16 == all && $16 > 0 && /; [0-9]+ before they were let in$/) }' ||
		because "of $(number 'timed out') that timed out: $(grep '^plan:' "$out")"
	seckill --users 0 --steady-ms 0
	reconciles
	says 'plan: not tried'
	seckill --users 100 --mode sync
	reconciles
	! grep -q '^plan:' "$out" || because 'mode sync has a plan'
}

# ---- CSV ----------------------------------------------------------------------------------------

write_csv()
{
	cat >"$work/sale.csv" <<-'END'
		arrival_us,user,item,quantity
		0,1,1,1
		100,2,1,2
		oops
		200,3,9,1
		300,4,1,x
		400,1,1,1
		,,,
		500,5,1,1,1

		600,-6,1,1
		700,7,1,0
		99999999999999999999,8,1,1
		800,8,1,1
	END
	# A line that does not end.
	printf '900,9,1,1' >>"$work/sale.csv"
}

csv_counts()
{
	reconciles
	numbers offered=14 sold=4 rejected=1 malformed=9 orders=4 'pieces in orders=5' \
		'bought already=1'
	complains "$1:4: "
	complains "$1:5: item \"9\""
	complains "$1:6: quantity \"x\""
	complains "$1:8: arrival_us \"\""
	complains "$1:9: "
	complains "$1:10: "
	complains "$1:11: user \"-6\""
	complains "$1:12: quantity \"0\""
	complains "$1:13: arrival_us \"99999999999999999999\""
	[ "$(wc -l <"$err")" -eq 9 ] || because 'it does not complain in 9 lines'
}

csv_from_a_file()
{
	write_csv
	# One gateway, so that user 1 is sold before the same user asks again.
	for mode in async sync; do
		seckill --input "$work/sale.csv" --risk-percent 0 --deadline-ms 60000 --mode $mode
		csv_counts "$work/sale.csv"
	done
	seckill --input "$work/sale.csv" --risk-percent 0 --deadline-ms 60000 --mode both
	csv_counts_twice=$(grep -c '^  malformed  *9 *$' "$out")
	[ "$csv_counts_twice" -eq 2 ] || because 'it was not read once for each mode'
}

csv_from_standard_input()
{
	write_csv
	status=0
	timeout -k 5 60 "$SECKILL" --input - --risk-percent 0 --deadline-ms 60000 \
		<"$work/sale.csv" >"$out" 2>"$err" || status=$?
	csv_counts 'standard input'
	status=0
	# shellcheck disable=SC2002
	cat "$work/sale.csv" | timeout -k 5 60 "$SECKILL" --input - --risk-percent 0 \
		--deadline-ms 60000 >"$out" 2>"$err" || status=$?
	csv_counts 'standard input'
}

csv_without_a_header_from_windows()
{
	printf '\357\273\2770,1,1,1\r\n5,2,1,1\r\n' >"$work/sale.csv"
	seckill --input "$work/sale.csv" --risk-percent 0 --deadline-ms 60000
	reconciles
	is_silent
	numbers offered=2 sold=2 malformed=0
	: >"$work/sale.csv"
	seckill --input "$work/sale.csv"
	reconciles
	numbers offered=0
}

many_malformed_lines_are_summed_up()
{
	awk 'BEGIN { for (i = 0; i < 500; i++) print "no"; print "0,1,1,1" }' >"$work/sale.csv"
	seckill --input "$work/sale.csv" --risk-percent 0 --deadline-ms 60000
	reconciles
	numbers offered=501 sold=1 malformed=500
	complains "$work/sale.csv: 490 more malformed lines"
	[ "$(wc -l <"$err")" -eq 11 ] || because 'it does not complain in 11 lines'
}

lines_without_end()
{
	# Too long; then a good one; then another too long, and without an end.
	{
		head -c 200000 /dev/zero
		echo
		echo '0,1,1,1'
		head -c 70000 /dev/zero
	} >"$work/sale.csv"
	seckill --input "$work/sale.csv" --risk-percent 0 --deadline-ms 60000
	reconciles
	numbers offered=3 sold=1 malformed=2
	complains "$work/sale.csv:1: "
	complains "$work/sale.csv:3: "
	printf '0,\033[31m,1,1\n' >"$work/sale.csv"
	seckill --input "$work/sale.csv"
	complains 'user "?[31m"'
}

a_slow_pipe_does_not_hold_up_answers()
{
	fresh_database
	rm -f "$work/fifo"
	mkfifo "$work/fifo"
	timeout -k 5 60 "$SECKILL" --input - --risk-percent 0 --db "$work/db" <"$work/fifo" \
		>"$out" 2>"$err" &
	child=$!
	exec 3>"$work/fifo"
	echo '0,1,1,1' >&3
	# The order is stored while the source is still open.
	wait_for 20 one_order || because 'the order was not stored'
	echo '0,2,1,1' >&3
	exec 3>&-
	status=0
	wait $child || status=$?
	reconciles
	numbers offered=2
}

one_order()
{
	[ "$(ask "$work/db" 'SELECT count(*) FROM orders' 2>/dev/null)" = 1 ]
}

# ---- Signals ------------------------------------------------------------------------------------

# interrupted SIGNAL STATUS OPTION...: in the middle of a sale that would last an hour.
interrupted()
{
	signal=$1
	expected=$2
	shift 2
	fresh_database
	timeout -k 5 60 "$SECKILL" --db "$work/db" --steady-ms 3600000 --steady-rate 3000 \
		--stock 1000000 "$@" >"$out" 2>"$err" &
	child=$!
	wait_for 20 has_orders "$work/db" || because 'nothing was sold'
	# timeout hands it on, to its child and once more to all of its process group. That counts as
	# once: only one that comes much later means impatience.
	kill -s "$signal" $child
	status=0
	wait $child || status=$?
	reconciles "$expected"
	database_agrees
	complains 'finishing what was accepted'
	[ "$(number sold)" -gt 20 ] || because 'what was sold is not counted'
}

# The second one ends it at once.
interrupted_twice()
{
	fresh_database
	mkdir -p "$work/tmp"
	TMPDIR=$work/tmp timeout --foreground -k 5 60 "$SECKILL" --steady-ms 3600000 \
		--steady-rate 3000 --stock 1000000 --notify-us 10000000 >"$out" 2>"$err" &
	child=$!
	wait_for 20 has_orders_in_tmp || because 'nothing was sold'
	kill -s INT $child
	wait_for 20 grep -q finishing "$err" || because 'it did not notice'
	# Until a second has passed since the first, and it is heard.
	wait_for 20 impatient $child || because 'it goes on'
	status=0
	wait $child || status=$?
	exits 130
	complains 'Interrupt again'
	[ -z "$(ls "$work/tmp")" ] || because 'something is left in TMPDIR'
}

has_orders_in_tmp()
{
	for database in "$work/tmp"/seckill-*/seckill.db; do
		has_orders "$database" && return
	done
}

impatient()
{
	! kill -s INT "$1" 2>/dev/null || grep -q again "$err"
}

# The input is open and silent: gateways wait for it.
interrupted_while_waiting_for_input()
{
	fresh_database
	rm -f "$work/fifo"
	mkfifo "$work/fifo"
	timeout -k 5 60 "$SECKILL" --input - --risk-percent 0 --db "$work/db" <"$work/fifo" \
		>"$out" 2>"$err" &
	child=$!
	exec 3>"$work/fifo"
	echo '0,1,1,1' >&3
	# Not before the end of this test: one gateway waits for it to arrive.
	echo '3600000000,2,1,1' >&3
	wait_for 20 one_order || because 'the order was not stored'
	kill -s INT $child
	status=0
	wait $child || status=$?
	exec 3>&-
	reconciles 130
	numbers offered=1 sold=1
}

# ---- The database -------------------------------------------------------------------------------

runs_add_up_in_one_database()
{
	sale
	seckill --db "$work/db" --mode sync --users 100 --spike-ms 10 --steady-ms 10
	reconciles
	says 'Run 2, sync'
	seckill --reconcile "$work/db"
	reconciles
	says 'Run 1, async'
	says 'Run 2, sync'
}

# tampered SQL WORD: the sums notice what is done to a good database.
tampered()
{
	sale --deadline-ms 1000 --capacity 65536
	reconciles
	ask "$work/db" "$1" || because 'it could not be tampered with'
	seckill --reconcile "$work/db"
	exits 1
	last_line_has 'reconciled: MISMATCH'
	last_line_has "$2"
}

tampering_is_noticed()
{
	tampered 'DELETE FROM orders WHERE id = 7' 'orders stored'
	tampered 'UPDATE orders SET quantity = quantity + 1 WHERE id = 7' 'pieces left the stock'
	tampered 'UPDATE orders SET user = (SELECT user FROM orders WHERE id = 8) WHERE id = 7' \
		'1 users were sold twice'
	tampered "UPDATE outcomes SET requests = requests + 1 WHERE outcome = 'sold out'
		AND gateway = 1" 'accounted for'
	tampered "UPDATE steps SET orders = orders - 1 WHERE step = 'notification'" notified
	tampered 'UPDATE stock SET remaining = remaining + 1' 'pieces left the stock'
	tampered 'DELETE FROM offered' 'not finished'
	tampered 'DROP TABLE outcomes' 'no such table'
}

other_files_are_left_alone()
{
	echo 'not a database' >"$work/other"
	seckill --db "$work/other"
	exits 1
	complains "$work/other"
	[ "$(cat "$work/other")" = 'not a database' ] || because 'it was overwritten'
	fresh_database
	: >"$work/db"
	ask "$work/db" 'CREATE TABLE mine (a)' || because 'no database was made'
	seckill --db "$work/db"
	exits 1
	complains 'was not made by this program'
	seckill --reconcile "$work/db"
	exits 1
	seckill --db "$work/no/such/directory/db"
	exits 1
	complains 'unable to open'
	seckill --reconcile "$work/nothing"
	exits 1
	last_line_has 'reconciled: MISMATCH'
	[ ! -e "$work/nothing" ] || because 'it was made'
}

# What was told and what is stored, when the disk is full. Either nobody was told what is not
# stored, or each such order is named, and the last line says how many.
full_disk_is_honest()
{
	complains "$1"
	complains 'nothing more is sold'
	unstored=$(grep -c '^told sold, but not stored: ' "$out")
	missing=$(($(number sold) - $(ask "$work/full.db" 'SELECT count(*) FROM orders')))
	[ "$unstored" -eq "$missing" ] ||
		because "$unstored orders are named as not stored, $missing are not stored"
	if [ "$unstored" -gt 0 ]; then
		exits 1
		last_line_has "reconciled: MISMATCH $unstored order"
		last_line_has 'told but not stored'
	else
		reconciles
	fi
	says 'database failed'
}

full_disk_sale()
{
	rm -f "$work/full.db" "$work/full.db-wal" "$work/full.db-shm"
	seckill --db "$work/full.db" --steady-ms 10 --spike-ms 200 --users 4000 --risk-us 0 \
		--notify-us 0 --stats-us 0 --deadline-ms 60000 --rate 0 "$@"
}

a_full_disk()
{
	full_disk_sale --db-pages 12
	full_disk_is_honest 'database or disk is full'
	full_disk_sale --db-pages 8 --mode sync
	full_disk_is_honest 'database or disk is full'
	[ "$unstored" -eq 0 ] || because 'mode sync told before it stored'
	# No room for the first table.
	full_disk_sale --db-pages 1
	exits 1
	last_line_has 'reconciled: MISMATCH'
}

# In blocks of 512 bytes: about 100 kB for each file.
a_limit_on_the_size_of_files()
{
	rm -f "$work/full.db" "$work/full.db-wal" "$work/full.db-shm"
	status=0
	(
		ulimit -f 200
		exec timeout -k 5 60 "$SECKILL" --db "$work/full.db" --steady-ms 10 --spike-ms 200 \
			--users 4000 --risk-us 0 --notify-us 0 --stats-us 0 --deadline-ms 60000
	) >"$out" 2>"$err" || status=$?
	full_disk_is_honest 'disk I/O error'
}

a_small_disk()
{
	mkdir -p "$work/small"
	mount -t tmpfs -o size=300k tmpfs "$work/small" 2>/dev/null || return 0
	for mode in async sync; do
		rm -f "$work/small/"*
		seckill --db "$work/small/full.db" --steady-ms 10 --spike-ms 200 --users 4000 \
			--risk-us 0 --notify-us 0 --stats-us 0 --deadline-ms 60000 --mode $mode
		rm -f "$work/full.db" "$work/full.db-wal" "$work/full.db-shm"
		cp "$work/small/"* "$work/"
		full_disk_is_honest 'database or disk is full'
	done
	umount "$work/small"
}

# -------------------------------------------------------------------------------------------------

build_ask
try 'help lists every option and policy' help_lists_every_option
try 'the version is the library'\''s' version_is_the_library_s
try 'wrong options are named, and the exit status is 2' wrong_options_are_named
for policy in abort block caller-runs discard discard-oldest; do
	try "policy $policy: 1 to 16 workers, capacity 1 to 65536, deadline 0 to 1000 ms" \
		every_pair $policy
	try "policy $policy: a deadline that is over at once" a_deadline_of_zero $policy
done
try 'sales are taken back when the deadline is over' sales_are_taken_back
try 'the stock is sold to the last piece' the_stock_is_sold_to_the_last_piece
try 'nothing to sell' nothing_to_sell
try 'nobody comes' nobody_comes
try 'several items' several_items
try 'the rate is kept' the_rate_is_kept
try 'one gateway, one request at a time' one_gateway_one_request_at_a_time
try 'many gateways' many_gateways
try 'the same seed brings the same users' the_same_seed_brings_the_same_users
try 'mode sync' sync_mode
try 'both modes side by side' both_modes_side_by_side
try 'the time limit ends it' the_time_limit
try 'no traces are left without --db' no_traces_are_left
try 'a pipe gets no status line' a_pipe_gets_no_status_line
if command -v script >/dev/null; then
	try 'a terminal gets a status line' a_terminal_gets_a_status_line
fi
try 'queues tell about themselves' queues_tell_about_themselves
try 'the capacity plan, and that it is kept' the_capacity_plan
try 'the capacity plan in the manual' the_manual_plans_the_same_sale
try 'a capacity plan may lose little' a_plan_may_lose_little
try 'capacity plans that cannot be kept' plans_that_cannot_be_kept
try 'a CSV from a file, malformed lines are reported' csv_from_a_file
try 'a CSV from standard input' csv_from_standard_input
try 'a CSV without a header, from Windows, or empty' csv_without_a_header_from_windows
try 'many malformed lines are summed up' many_malformed_lines_are_summed_up
try 'lines without end, and bytes that are no text' lines_without_end
try 'a slow pipe does not hold up answers' a_slow_pipe_does_not_hold_up_answers
try 'SIGINT in the middle of mode async' interrupted INT 130
try 'SIGINT in the middle of mode sync' interrupted INT 130 --mode sync
try 'SIGINT in the middle of a spike that overloads it' interrupted INT 130 --workers 1 \
	--capacity 16 --policy discard-oldest --steady-rate 100000 --deadline-ms 50 --rate 0
try 'SIGTERM in the middle' interrupted TERM 143
try 'SIGINT, and again' interrupted_twice
try 'SIGINT while it waits for input' interrupted_while_waiting_for_input
try 'runs add up in one database' runs_add_up_in_one_database
try 'tampering with the database is noticed' tampering_is_noticed
try 'files that are not ours are left alone' other_files_are_left_alone
try 'a full disk' a_full_disk
try 'a limit on the size of files' a_limit_on_the_size_of_files
if [ "$(id -u)" -eq 0 ]; then
	try 'a small disk that is full' a_small_disk
fi

end_of_cases
