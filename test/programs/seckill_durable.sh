#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# seckill_durable.sh: the flash sale whose shop is killed and loses nothing, driven as its users
# would. Prints "ok NAME" or "not ok NAME" for each case; exits 1 when one of them failed. In the
# environment: SECKILL, the program's path; BUILD, a directory to write into; CC, a compiler;
# DURABLE_SECONDS, how long sales are killed at random moments (2), and SEED, of the first of them.
# All but the first are optional.
set -u

: "${SECKILL:?the path of the program}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh

sale=$work/sale
seconds=${DURABLE_SECONDS:-2}
seed=${SEED:-$(date +%s)}
child=

before_exit()
{
	[ -z "$child" ] || kill -s KILL "$child" 2>/dev/null
	umount "$work/small" 2>/dev/null
}

# ---- What cases are written with ----------------------------------------------------------------

# seckill OPTION...: runs it; status, $out and $err are what came of it.
seckill()
{
	status=0
	timeout -k 5 120 "$SECKILL" "$@" >"$out" 2>"$err" || status=$?
}

fresh()
{
	rm -rf "$sale"
}

# durable OPTION...: a small sale, which goes on in $sale. With $slow it takes long enough to be
# killed in the middle.
slow='--workers 4 --risk-us 500'
durable()
{
	seckill --durable "$sale" --users 1500 --spike-ms 50 --steady-ms 10 --stock 400 --rate 0 \
		--capacity 65536 --deadline-ms 60000 --risk-us 0 "$@"
}

# number_after TEXT: a figure of the last run, from the line that begins so.
number_after()
{
	sed -n "s/^$1  *\([0-9][0-9,]*\).*/\1/p" "$out" | tail -n 1 | tr -d ,
}

# lives END: how many have ended so.
lives()
{
	grep -c "^ *[0-9].* $1\$" "$out"
}

reconciles()
{
	last_line_is 'reconciled: ok'
	exits "${1:-0}"
}

# What the buyers were told, and the rows, as lists: compared by nothing that the program does.
books_agree()
{
	awk '$1 == "ask" { asked[$2] = $2 " " $3 " " $4 " " $5; open++ }
		$1 == "sold" { print asked[$2] }
		$1 == "sold" || $1 == "refused" { open--; told[$2]++ }
		END {
			for (id in told)
				if (told[id] > 1)
					print id " was told twice"
			if (open)
				print open " have no answer"
		}' "$sale/buyers" | sort >"$work/told"
	ask "$sale/seckill.db" \
		"SELECT id || ' ' || user || ' ' || item || ' ' || quantity FROM orders" | sort \
		>"$work/rows"
	cmp -s "$work/told" "$work/rows" ||
		because "told and rows differ: $(diff "$work/told" "$work/rows" | head -n 3)"
	[ "$(ask "$sale/seckill.db" 'SELECT count(*) - count(DISTINCT user) FROM orders')" = 0 ] ||
		because 'a user has two rows'
	[ "$(ask "$sale/seckill.db" "SELECT coalesce(max(n), 0) FROM (SELECT sum(quantity) AS n
		FROM orders GROUP BY item)")" -le "$(number_after 'Sale')" ] ||
		because 'more was sold than there is'
}

# ends OPTION...: such a sale comes to a good end.
ends()
{
	fresh
	durable "$@"
	reconciles
	is_silent
	books_agree
}

has_sold()
{
	[ -f "$sale/buyers" ] && [ "$(grep -c '^sold' "$sale/buyers")" -gt "$1" ]
}

# ---- The command line ---------------------------------------------------------------------------

# refuses WORD OPTION...: exit status 2, and the word is quoted.
refuses()
{
	word=$1
	shift
	seckill "$@"
	exits 2
	complains "$word"
	[ "$(wc -l <"$err")" -eq 1 ] || because 'it does not complain in one line'
}

wrong_options_are_named()
{
	fresh
	refuses '--durable: ""' --durable ''
	refuses '--kills: "-1"' --durable "$sale" --kills -1
	refuses '--kills: ""' --durable "$sale" --kills ''
	refuses '--kills: "1001"' --durable "$sale" --kills 1001
	refuses '--kills: "2x"' --durable "$sale" --kills 2x
	refuses "\"$sale\"" --durable "$sale" --db "$work/db"
	refuses "\"$sale\"" --durable "$sale" --reconcile "$work/db"
	refuses "\"$sale\"" --durable "$sale" --mode both
	refuses "\"$sale\"" --durable "$sale" --verbose
	refuses '--input '"$work/nothing" --durable "$sale" --input "$work/nothing"
	refuses "$work/no/such: No such file" --durable "$work/no/such"
	refuses "$out: Not a directory" --durable "$out"
}

other_directories_are_left_alone()
{
	fresh
	mkdir "$sale"
	echo mine >"$sale/notes"
	refuses '"notes"' --durable "$sale"
	[ "$(ls "$sale")" = notes ] || because 'it has written there'
	rm "$sale/notes"
	echo mine >"$sale/buyers"
	refuses "$sale/buyers: was not made by this program" --durable "$sale"
	[ "$(cat "$sale/buyers")" = mine ] || because 'it was overwritten'
	rm "$sale/buyers"
	: >"$sale/seckill.db"
	refuses '"buyers"' --durable "$sale"
	ends --kills 0
	rm "$sale/buyers"
	refuses '"buyers"' --durable "$sale"
	ends --kills 0
	echo 'sold 99999' >>"$sale/buyers"
	refuses "$sale/buyers:$(wc -l <"$sale/buyers"): makes no sense" --durable "$sale"
}

terms_that_do_not_fit_an_earlier_sale()
{
	ends --kills 0 --items 3 --stock 200
	refuses '--items: 2, ' --durable "$sale" --items 2
	refuses '--stock: 100, ' --durable "$sale" --items 3 --stock 100
	durable --items 3 --stock 200
	reconciles
}

# ---- Kills --------------------------------------------------------------------------------------

it_is_killed_twice()
{
	# shellcheck disable=SC2086
	ends $slow --seed "$seed"
	[ "$(lives killed)" -eq 2 ] || because 'it was not killed twice'
	[ "$(lives closed)" -eq 1 ] || because 'it did not close'
}

it_is_not_killed()
{
	ends --kills 0
	[ "$(lives killed)" -eq 0 ] || because 'it was killed'
}

# As long as there is time; each sale has kills while it sells, opens and closes.
killed_at_random_moments()
{
	until=$(($(date +%s) + seconds))
	sales=0
	kills=0
	while [ -z "$why" ] && { [ "$sales" -eq 0 ] || [ "$(date +%s)" -lt "$until" ]; }; do
		# shellcheck disable=SC2086
		ends $slow --seed "$seed" --kills 8 --stock 1000
		[ -z "$why" ] || because "seed $seed"
		sales=$((sales + 1))
		kills=$((kills + $(lives killed)))
		seed=$((seed + 1))
	done
	echo "# $sales sales, $kills kills, the last with seed $((seed - 1))"
	[ "$kills" -gt 0 ] || because 'nothing was killed'
}

# The buyers as well: the next call goes on with both, and those without an answer ask again.
all_of_it_is_killed()
{
	fresh
	for sold in 20 200; do
		"$SECKILL" --durable "$sale" --users 1500 --spike-ms 1000 --steady-ms 10 --stock 400 \
			--rate 0 --capacity 65536 --deadline-ms 60000 --kills 0 --seed $sold \
			>"$out" 2>"$err" &
		child=$!
		wait_for 20 has_sold $sold || because 'nothing was sold'
		kill -s KILL $child
		wait $child 2>/dev/null
		child=
	done
	durable --kills 1
	reconciles
	is_silent
	says 'It goes on there: '
	books_agree
}

# What its buyers were told is not in the database.
it_is_reconciled_by_itself_alone()
{
	ends --kills 0
	refuses "--reconcile \"$sale/seckill.db\": it is a durable sale's" \
		--reconcile "$sale/seckill.db"
	[ ! -s "$out" ] || because 'it writes to standard output'
	durable --kills 0 --users 0 --steady-rate 0
	reconciles
}

a_line_that_was_cut_off()
{
	ends --kills 0
	printf 'ask 99' >>"$sale/buyers"
	durable --kills 0
	reconciles
	books_agree
}

earlier_sales_go_on()
{
	ends --seed 1 --kills 1
	durable --seed 2 --kills 0
	reconciles
	books_agree
	[ "$(number_after '  sold')" -eq 0 ] || because 'it has sold more than there is'
	durable --seed 3 --stock 900 --kills 1
	reconciles
	books_agree
	[ "$(number_after '  sold')" -gt 100 ] || because 'it has not sold what came in'
	[ "$(number_after '  asked')" -gt 4500 ] || because 'it has forgotten who asked'
}

interrupted()
{
	fresh
	timeout -k 5 60 "$SECKILL" --durable "$sale" --users 0 --steady-ms 3600000 \
		--steady-rate 3000 --stock 1000000 >"$out" 2>"$err" &
	child=$!
	wait_for 20 has_sold 20 || because 'nothing was sold'
	kill -s "$1" $child
	status=0
	wait $child || status=$?
	child=
	reconciles "$2"
	complains 'finishing what was accepted'
	books_agree
}

every_policy()
{
	for policy in abort block caller-runs discard discard-oldest; do
		ends --policy $policy --capacity 16 --workers 2 --stock 200 --kills 0
		[ -z "$why" ] || because "policy $policy"
	done
}

a_csv()
{
	{
		awk 'BEGIN { for (i = 1; i <= 200; i++) print i * 100 "," i ",1,1" }'
		echo 'oops'
		echo '30000,1,1,1'
	} >"$work/sale.csv"
	fresh
	durable --input "$work/sale.csv" --risk-percent 0 --stock 150
	reconciles
	complains "$work/sale.csv:201: "
	books_agree
	[ "$(number_after '  told "sold"')" -eq 150 ] || because 'not all was sold'
	fresh
	status=0
	# shellcheck disable=SC2002
	cat "$work/sale.csv" | timeout -k 5 60 "$SECKILL" --durable "$sale" --input - \
		--risk-percent 0 --stock 150 --kills 0 >"$out" 2>"$err" || status=$?
	reconciles
	books_agree
}

a_terminal_gets_a_status_line()
{
	fresh
	TERM=xterm timeout 60 script -qec "$SECKILL --durable $sale --users 0 --steady-ms 400" \
		/dev/null </dev/null >"$out" 2>"$err"
	LC_ALL=C grep -q "$(printf '\r\033')" "$out" || because 'there is none'
	says 'life 1: '
	says ' of them were told "sold"'
}

nobody_and_nothing()
{
	ends --users 0 --steady-rate 0 --kills 0
	ends --stock 0 --kills 1
	[ "$(number_after '  told "sold"')" -eq 0 ] || because 'it has sold what is not there'
}

# ---- The disk -----------------------------------------------------------------------------------

# Who is told "sold" has waited for a sync of the log: so for as long as one takes here. When the
# process alone is killed it makes no difference whether it was waited for.
nobody_is_told_before_a_sync()
{
	# Sanitizers want to be the first library themselves.
	! grep -qa '__[at]san_init' "$SECKILL" || return 0
	${CC:-cc} -shared -fPIC -o "$work/slow.so" -x c - 2>"$err" <<-'END_OF_C' ||
		#define _GNU_SOURCE
		#include <dlfcn.h>
		#include <stdarg.h>
		#include <sys/syscall.h>
		#include <time.h>

		/* How the log asks for it. */
		long
		syscall(long number, ...)
		{
			long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
			struct timespec time = {.tv_nsec = 60000000};
			long a[6];
			va_list list;

			va_start(list, number);
			for (int i = 0; i < 6; i++)
				a[i] = va_arg(list, long);
			va_end(list);
			if (number == SYS_fdatasync)
				nanosleep(&time, 0);
			return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		}
	END_OF_C
		because 'there is no library with a slow fdatasync'
	fresh
	status=0
	LD_PRELOAD=$work/slow.so timeout -k 5 60 "$SECKILL" --durable "$sale" --kills 0 --users 300 \
		--spike-ms 10 --steady-ms 0 --rate 0 --deadline-ms 60000 >"$out" 2>"$err" || status=$?
	reconciles
	# "from asking to "sold": p50 120 ms, ..."
	median=$(sed -n 's/.*"sold": p50 \([0-9.]* [a-z]*\),.*/\1/p' "$out")
	case $median in
	[6-9][0-9].[0-9]' ms' | [1-9][0-9][0-9]' ms' | *' s') ;;
	*) because "half of them were told within $median" ;;
	esac
}

# What cannot be stored stays in the log: none is lost, and they are rows when there is room.
a_full_database()
{
	fresh
	durable --db-pages 14 --kills 0 --stock 4000 --users 4000 --workers 16
	exits 1
	complains 'database or disk is full'
	last_line_has 'reconciled: MISMATCH'
	last_line_has 'told "sold" have no row'
	durable --kills 0 --stock 4000
	reconciles
	books_agree
	grep -q '^ *2 .* closed$' "$out" || because 'there was no second life'
}

# Then nothing is sold, and what was sold before is there.
a_full_log()
{
	mkdir -p "$work/small"
	mount -t tmpfs -o size=8m tmpfs "$work/small" 2>/dev/null || return 0
	sale=$work/small/sale
	ends --kills 0
	head -c 4900000 /dev/zero >"$work/small/filler"
	durable --kills 0 --seed 2 --stock 100000 --users 20000
	exits 1
	grep -q 'disk\|No space left' "$err" || because 'it does not say that it is full'
	last_line_has 'reconciled: MISMATCH'
	rm "$work/small/filler"
	durable --kills 0 --seed 3 --stock 200000 --users 2000
	reconciles
	books_agree
	umount "$work/small"
	sale=$work/sale
}

# tampered SQL WORD: the sums notice what is done to the rows of a good sale.
tampered()
{
	fresh
	cp -R "$work/good" "$sale"
	ask "$sale/seckill.db" "$1" || because 'it could not be tampered with'
	durable --kills 0 --users 0 --steady-rate 0 --stock 900
	exits 1
	last_line_has 'reconciled: MISMATCH'
	last_line_has "$2"
}

tampering_is_noticed()
{
	ends --kills 0
	rm -rf "$work/good"
	mv "$sale" "$work/good"
	tampered 'DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)' \
		'1 told "sold" have no row'
	tampered 'INSERT INTO orders SELECT 1 + max(id), run, user, item, 1 FROM orders' \
		'users have more than one row'
	tampered 'INSERT INTO orders SELECT 1000000, run, 999999, item, 0 FROM orders LIMIT 1' \
		'1 rows of who was not told "sold"'
	tampered 'UPDATE orders SET user = 999999 WHERE id = (SELECT min(id) FROM orders)' \
		'1 rows of who was not told "sold"'
	tampered 'UPDATE orders SET quantity = 0 WHERE id = (SELECT min(id) FROM orders)' \
		'1 rows of who was not told "sold"'
}

# -------------------------------------------------------------------------------------------------

echo "# seed $seed"
build_ask
try 'wrong options are named, and the exit status is 2' wrong_options_are_named
try 'directories that are not ours are left alone' other_directories_are_left_alone
try 'terms that do not fit an earlier sale' terms_that_do_not_fit_an_earlier_sale
try 'it is killed twice, and everybody has an answer and a row' it_is_killed_twice
try 'it is not killed' it_is_not_killed
try 'it is killed at random moments' killed_at_random_moments
try 'all of it is killed, and goes on' all_of_it_is_killed
try 'it is reconciled by itself alone' it_is_reconciled_by_itself_alone
try 'a line of the buyers that was cut off' a_line_that_was_cut_off
try 'earlier sales go on' earlier_sales_go_on
try 'SIGINT in the middle' interrupted INT 130
try 'SIGTERM in the middle' interrupted TERM 143
try 'every policy' every_policy
try 'a CSV, from a file and from standard input' a_csv
if command -v script >/dev/null; then
	try 'a terminal gets a status line' a_terminal_gets_a_status_line
fi
try 'nobody comes; nothing to sell' nobody_and_nothing
try 'nobody is told before a sync' nobody_is_told_before_a_sync
try 'a full database, and room again' a_full_database
if [ "$(id -u)" -eq 0 ]; then
	try 'a full log, and room again' a_full_log
fi
try 'tampering with the rows is noticed' tampering_is_noticed

end_of_cases
