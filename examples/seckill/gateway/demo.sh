#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh SERVICE [OPTION]...: the flash sale as a service, under a load that is several times what
# it can do, made by wrk. Then everything is counted, by all who have counted: wrk its answers, the
# service its counters, SQLite its rows, each subscriber the events it has seen. --help shows its
# options; those that it does not know are for the service.
#
# In the environment: CC, the compiler for the few lines that ask SQLite; WRK_THREADS and
# WRK_CONNECTIONS.
set -u

here=$(dirname "$0")
threads=${WRK_THREADS:-2}
connections=${WRK_CONNECTIONS:-400}
seconds=5
stays=
stock=9000
items=2
settings='--port 0 --workers 8 --capacity 128 --rate 8000 --burst 500 --risk-us 1500'

fail()
{
	echo "demo.sh: $*" >&2
	exit 1
}

wrong_usage()
{
	echo "demo.sh: $*" >&2
	exit 2
}

print_help()
{
	cat <<-END_OF_HELP
		The flash sale behind HTTP, under load; then everything is counted.

		Of the demo
		  --stay            stay up after the load, for the page, until Enter or Ctrl-C
		  --seconds N       how long users come [5]

		Of the service, which gets these unless others are given:
		  $settings

	END_OF_HELP
	"$service" --help | sed 's/^/  /'
}

set_seconds()
{
	case $1 in
	'' | 0* | *[!0-9]* | ?????*) wrong_usage "--seconds: \"$1\" is not a number from 1 to 9999" ;;
	esac
	seconds=$1
}

service=${1:?the path of the service}
shift
# The demo's own options are taken out, wherever they are; the others go once around.
n=$#
while [ $n -gt 0 ]; do
	option=$1
	shift
	n=$((n - 1))
	case $option in
	--stay)
		stays=yes
		stock=1000000 # so that the page's bursts have something to buy
		;;
	--seconds)
		[ $n -gt 0 ] || wrong_usage '--seconds needs a value'
		set_seconds "$1"
		shift
		n=$((n - 1))
		;;
	--seconds=*) set_seconds "${option#*=}" ;;
	--help)
		print_help
		exit 0
		;;
	--version) exec "$service" --version ;;
	--db | --db=*) wrong_usage "$option: the demo makes its own database, and removes it" ;;
	*) set -- "$@" "$option" ;;
	esac
done

# ---- What is left when it ends: nothing -----------------------------------------------------------

work=$(mktemp -d) || exit 1
service_pid=
wrk_pid=
reader_pid=
interrupted= # the exit status then

# What runs in the background gets nothing to read, unless it says from where.
exec 3<&0

# ends PID...: in the order given. Who has ended already does not mind.
ends()
{
	for pid; do
		kill -s TERM "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
}

# shellcheck disable=SC2086
trap 'ends $reader_pid $wrk_pid $service_pid; rm -rf "$work"' EXIT
trap 'status_line; exit 130' INT
trap 'exit 129' HUP
trap 'status_line; exit 143' TERM

# ---- What it is written with ----------------------------------------------------------------------

# status_line [TEXT]: on a terminal, the last line says how it goes.
status_line()
{
	if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; then
		printf '\r\033[K%s' "$*"
	fi
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for()
{
	tries=$(($1 * 10))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

# 1234567 as 1,234,567
grouped()
{
	echo "$1" | sed ':again; s/^\([0-9]*[0-9]\)\([0-9][0-9][0-9]\)/\1,\2/; t again'
}

is_running()
{
	kill -0 "$1" 2>/dev/null
}

# number NAME: a figure of the service, of when they were fetched last; names as in /metrics.
number()
{
	sed -n "s/^$1 \([0-9][0-9]*\)\$/\1/p" "$work/metrics"
}

fetch()
{
	curl -s -S -f --max-time 10 -o "$work/fetched" "${page}metrics" 2>"$work/fetch-error" &&
		mv "$work/fetched" "$work/metrics"
}

# of_wrk STATUS RESULT: how many such answers it got.
of_wrk()
{
	sed -n "s/^answered $1 \([0-9]*\) $2\$/\1/p" "$work/wrk" | grep . || echo 0
}

# ask SQL: the first value of the first row, by SQLite alone.
ask()
{
	"$work/ask" "$work/db" "$1"
}

build_ask()
{
	${CC:-cc} -o "$work/ask" -x c - -x none -lsqlite3 <<-'END_OF_C'
		#include <sqlite3.h>
		#include <stdio.h>

		int
		main(int argc, char **argv)
		{
			sqlite3_stmt *statement;
			sqlite3 *db;

			if (argc != 3 || sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, 0) ||
			    sqlite3_prepare_v2(db, argv[2], -1, &statement, 0) ||
			    sqlite3_step(statement) != SQLITE_ROW)
				return 1;
			printf("%lld\n", (long long)sqlite3_column_int64(statement, 0));
			sqlite3_finalize(statement);
			return sqlite3_close(db) != SQLITE_OK;
		}
	END_OF_C
}

# ---- The service and its load ---------------------------------------------------------------------

# What is read before it is written would be missing.
touch "$work/out" "$work/err" "$work/wrk" "$work/wrk-error" "$work/metrics"

# In a session of its own: Ctrl-C is for this script, which has to ask the service first.
start()
{
	# shellcheck disable=SC2086
	setsid "$service" $settings --stock $stock --items $items --db "$work/db" --quiet "$@" \
		>"$work/out" 2>"$work/err" &
	service_pid=$!
	wait_for 20 is_up
	[ -n "$admin" ] || start_failed
}

# It has said in one line what it does not understand.
start_failed()
{
	is_running "$service_pid" || {
		status=0
		wait "$service_pid" || status=$?
		service_pid=
		[ $status -ne 2 ] || {
			cat "$work/err" >&2
			exit 2
		}
	}
	service_failed 'does not start'
}

service_failed()
{
	cat "$work/out" "$work/err" >&2
	fail "$service $1"
}

# Up, or not there any more. The page's address is printed before the other.
is_up()
{
	admin=$(sed -n 's/^admin //p' "$work/out")
	page=$(sed -n 's/^page //p' "$work/out")
	[ -n "$admin" ] || ! is_running "$service_pid"
}

load()
{
	# Not to its end: until all is answered.
	wrk -t "$threads" -c "$connections" -d $((seconds + 60)) -s "$here/buy.lua" "$page" -- \
		"$seconds" 100000000 $items >"$work/wrk" 2>"$work/wrk-error" &
	wrk_pid=$!
	trap 'interrupted=130' INT
	trap 'interrupted=143' TERM
	while [ -z "$interrupted" ] && is_running $wrk_pid &&
		[ "$(grep -c answered "$work/wrk-error")" -lt "$threads" ]; do
		is_running "$service_pid" || service_failed 'ended in the middle of the load'
		show_progress
		sleep 0.2
	done
	trap 'status_line; exit 130' INT
	trap 'status_line; exit 143' TERM
	kill -s INT $wrk_pid
	wait $wrk_pid
	wrk_pid=
	status_line
	[ -n "$interrupted" ] || grep -q '^sent [1-9]' "$work/wrk" || {
		cat "$work/wrk" "$work/wrk-error" >&2
		fail 'wrk bought nothing'
	}
}

show_progress()
{
	[ -t 1 ] && fetch || return 0
	status_line "$(grouped "$(number seckill_offered_total)") offered," \
		"$(grouped "$(number 'seckill_answers_total{status="200",result="sold"}')") sold"
}

# Whether all that was told has reached everybody, and nobody has come since the last look.
is_quiet()
{
	before=$(number seckill_offered_total)+$(number seckill_burst_offered_total)
	fetch && [ "$(number seckill_open_requests)" = 0 ] &&
		[ "$(number seckill_offered_total)+$(number seckill_burst_offered_total)" = "$before" ] &&
		[ "$(number seckill_stored_total)" = "$(number seckill_published_total)" ] &&
		! grep -q '^seckill_subscription_lag{.*} [^0]' "$work/metrics"
}

settle()
{
	wait_for 60 is_quiet || fail "orders are still on their way a minute later; see ${page}metrics"
}

# Ctrl-C is for make as well, which then ends with an error of its own, whatever the sums are: so on
# a terminal there is also Enter. In the background nobody may read from it.
stay()
{
	ended=
	trap 'ended=yes' INT TERM
	if is_in_foreground; then
		echo "It stays up until Enter or Ctrl-C: ${page}"
		(read -r _ && : >"$work/enter") <&3 &
		reader_pid=$!
	else
		echo "It stays up until SIGINT: ${page}"
	fi
	while [ -z "$ended" ] && [ ! -e "$work/enter" ]; do
		is_running "$service_pid" || service_failed 'ended by itself'
		sleep 0.5
	done
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# shellcheck disable=SC2086
	ends $reader_pid
	reader_pid=
	echo
}

# Whether standard input is a terminal, and this is who it listens to: the third and the sixth word
# after the name are our process group and the terminal's.
is_in_foreground()
{
	# shellcheck disable=SC2046
	set -- $(sed 's/^.*) //' /proc/$$/stat)
	[ -t 3 ] && [ "$3" = "$6" ]
}

stop()
{
	status=0
	kill -s TERM "$service_pid"
	wait "$service_pid" || status=$?
	service_pid=
	own=$(tail -n 1 "$work/out")
}

# ---- The sums -------------------------------------------------------------------------------------

mismatch=

# same WHAT NUMBER WHAT NUMBER: both are known, and the same.
same()
{
	[ -n "$2" ] && [ "$2" = "$4" ] || mismatch="$mismatch; $1 ${2:-unknown}, $3 ${4:-unknown}"
}

row()
{
	printf '  %-28s %12s %12s' "$1" "$(grouped "$2")" "$(grouped "$3")"
	[ $# -lt 4 ] || printf ' %12s' "$(grouped "$4")"
	echo
}

# As wrk has counted them, and the service: right after the load, when nobody else has bought.
compare_answers()
{
	printf '  %-28s %12s %12s\n' 'HTTP answers' 'wrk' 'counters' >"$work/table"
	while read -r code result; do
		counted=$(number "seckill_answers_total{status=\"$code\",result=\"$result\"}")
		told=$(of_wrk "$code" "$result")
		same "wrk got $code $result" "$told" 'counted are' "$counted"
		if [ "$told" != 0 ] || [ "$counted" != 0 ]; then
			row "$code $result" "$told" "${counted:-?}"
		fi
	done >>"$work/table" <<-'END_OF_LIST'
		200 sold
		400 malformed
		403 refused
		409 bought already
		409 sold out
		429 rate limited
		503 queue full
		503 closing
		503 database
		503 memory
		504 timed out
	END_OF_LIST
	sent=$(sed -n 's/^sent //p' "$work/wrk")
	offered=$(number seckill_offered_total)
	answered=$(awk '$1 == "answered" { sum += $3 } END { print sum + 0 }' "$work/wrk")
	same 'wrk sent' "$sent" 'offered' "$offered"
	same 'wrk sent' "$sent" 'answered' "$answered"
	row 'all' "$sent" "$offered" >>"$work/table"
	cat "$work/table"
}

# Everything that was sold since the start, by whatever way.
compare_orders()
{
	by_http=$(number 'seckill_answers_total{status="200",result="sold"}')
	by_burst=$(number 'seckill_burst_answers_total{result="sold"}')
	sold=$((${by_http:-0} + ${by_burst:-0}))
	published=$(number seckill_published_total)
	rows=$(ask 'SELECT count(*) FROM orders')
	users=$(ask 'SELECT count(DISTINCT user) FROM orders')
	pieces=$(ask 'SELECT total(quantity) FROM orders')
	left=$(stock)
	printf '\n  %-28s %12s %12s %12s\n' 'Orders' 'counters' 'topic' 'SQLite'
	row 'sold, published, stored' "$sold" "$published" "$rows"
	row 'different users' '' '' "$users"
	row 'pieces left, and sold' "$left" '' "$pieces"
	same 'sold' "$sold" 'published' "$published"
	same 'sold' "$sold" 'stored' "$rows"
	same 'orders' "$rows" 'different users' "$users"
	same 'pieces sold and left' "$((${pieces:-0} + left))" 'in the beginning' "$all_pieces"
}

# Pieces of all items.
stock()
{
	awk '/^seckill_stock_remaining{/ { sum += $2 } END { print sum + 0 }' "$work/metrics"
}

# of SUBSCRIBER WHAT
of()
{
	number "seckill_subscription_${2}_total{subscription=\"$1\"}" | grep . || echo 0
}

# wanted SUBSCRIBER: how many orders are for it, by their rows.
wanted()
{
	case $1 in
	risk) condition='quantity > 1 OR suspect' ;;
	analytics) condition='quantity > 1 OR near_end' ;;
	*) condition=1 ;;
	esac
	ask "SELECT count(*) FROM orders LEFT JOIN remarks ON remarks.id = orders.id WHERE $condition"
}

# Who waits for room misses nothing; that the others do not get what is for them has to have a reason.
compare_events()
{
	printf '\n  %-12s' 'Subscriber'
	printf ' %10s' 'for it' delivered filtered refused evicted seen
	echo
	for one in payment risk sms analytics writer; do
		wanted=$(wanted $one)
		printf '  %-12s %10s' $one "$(grouped "$wanted")"
		for what in delivered filtered refused evicted seen; do
			printf ' %10s' "$(grouped "$(of $one $what)")"
		done
		echo
		came=$(($(of $one delivered) + $(of $one filtered) + $(of $one refused)))
		same "$one was offered" "$came" 'published' "$published"
		same "$one was to get" "$wanted" 'delivered or refused' \
			"$(($(of $one delivered) + $(of $one refused)))"
		same "$one has seen or lost" "$(($(of $one seen) + $(of $one evicted)))" \
			'delivered' "$(of $one delivered)"
	done
	for one in payment writer; do
		same "$one has seen" "$(of $one seen)" 'stored' "$rows"
	done
}

# -------------------------------------------------------------------------------------------------

build_ask || fail 'cannot compile what asks SQLite'
start "$@"
fetch || service_failed 'does not answer'
all_pieces=$(stock)

echo "A flash sale behind HTTP: $(grouped "$all_pieces") pieces, a service that can do a few thousand"
echo 'requests a second, and wrk, which makes several times as many.'
echo
echo "  page   $page"
echo "  admin  $admin"
echo
load
settle
if [ -n "$interrupted" ]; then
	echo 'Interrupted. What wrk was waiting for it has not counted, so its answers are left out;'
	echo 'who came, and all that was sold, is accounted for.'
else
	compare_answers
	[ -z "$stays" ] || {
		stay
		settle
	}
fi
stop
compare_orders
compare_events
echo
same "the service's exit status" "$status" 'that of success' 0
same "the service's own verdict" "$own" 'what is expected' 'reconciled: ok'
if [ -n "$mismatch" ]; then
	[ "$own" = 'reconciled: ok' ] || cat "$work/out" "$work/err"
	echo "reconciled: MISMATCH ${mismatch#; }"
	exit 1
fi
echo 'reconciled: ok'
[ -z "$interrupted" ] || exit "$interrupted"
