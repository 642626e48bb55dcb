#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gateway.sh: the flash sale's service, as its users, its operator and the network treat it. Prints
# "ok NAME" or "not ok NAME" for each case; exits 1 when one of them failed. In the environment:
# GATEWAY, the program's path; SECKILL, that of the flash sale without HTTP, which can do the same sums;
# BUILD, a directory to write into; CC, a compiler. The last two are optional.
set -u
# All of it is between this machine and itself.
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY

: "${GATEWAY:?the path of the program}" "${SECKILL:?the path of the flash sale without HTTP}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh
service=
helper=

# Nothing that was started stays.
before_exit()
{
	for process in $helper $service; do
		kill -s KILL "$process" 2>/dev/null
	done
}

# Of a case that went wrong.
after_case()
{
	for process in $helper $service; do
		kill -s KILL "$process" 2>/dev/null
		wait "$process" 2>/dev/null
	done
	helper=
	service=
}

# ---- The service --------------------------------------------------------------------------------

# gateway OPTION...: one that ends by itself.
gateway()
{
	status=0
	timeout -k 5 30 "$GATEWAY" "$@" >"$out" 2>"$err" || status=$?
}

# start OPTION...: page and admin are where it is.
start()
{
	rm -f "$work/db" "$work/db-wal" "$work/db-shm"
	: >"$out"
	"$GATEWAY" --port 0 --db "$work/db" --quiet --rate 0 --risk-percent 0 "$@" \
		>"$out" 2>"$err" &
	service=$!
	wait_for 20 is_up
	[ -n "$admin" ] || because 'it does not start'
}

# The page's address is printed before the other.
is_up()
{
	admin=$(sed -n 's/^admin //p' "$out")
	page=$(sed -n 's/^page //p' "$out")
	[ -n "$admin" ] || is_over "$service"
}

# A process that has ended stays as a zombie until it is waited for.
is_over()
{
	state=$(sed -n 's/^.*) \(.\) .*/\1/p' "/proc/$1/stat" 2>/dev/null)
	[ "${state:-Z}" = Z ]
}

# stop [SIGNAL]: status is what came of it.
stop()
{
	kill -s "${1:-TERM}" "$service"
	ended
}

ended()
{
	wait_for 30 is_over "$service" || {
		because 'it does not end'
		kill -s KILL "$service"
	}
	status=0
	wait "$service" || status=$?
	service=
}

# stops_well: on SIGTERM, and by its own sums everything is accounted for; and by SQL as well.
stops_well()
{
	stop
	exits 0
	last_line_has 'reconciled: ok'
	complains 'finishing what was accepted'
	is 'users sold twice' "$(ask "$work/db" 'SELECT count(*) - count(DISTINCT user) FROM orders')" 0
}

# number NAME: of the service's metrics.
number()
{
	curl -s --max-time 20 "${page}metrics" | sed -n "s/^$1 //p"
}

# shows NAME NUMBER; in the end.
shows()
{
	wait_for 20 shows_now "$1" "$2" || because "$1 is $(number "$1") instead of $2"
}

# more NAME NUMBER: is it more by now?
more()
{
	[ "$(number "$1")" -gt "$2" ] 2>/dev/null
}

shows_now()
{
	[ "$(number "$1")" = "$2" ]
}

answers_of()
{
	number "seckill_answers_total{status=\"$1\",result=\"$2\"}"
}

# request METHOD URL [OPTION OF CURL]...: code, $work/head and $work/body are the answer.
request()
{
	method=$1
	url=$2
	shift 2
	: >"$work/head"
	: >"$work/body"
	code=$(curl -s --max-time 20 -X "$method" -D "$work/head" -o "$work/body" \
		-w '%{http_code}' "$@" "$url")
}

# answers CODE TEXT: what the last request got.
answers()
{
	if [ "$code" != "$1" ] || ! grep -qF -e "$2" "$work/body"; then
		because "$method $url: $code $(head -c 300 "$work/body")"
	fi
}

has_header()
{
	tr -d '\r' <"$work/head" | grep -qixF -e "$1: $2" ||
		because "$method $url: not $1: $2, but $(grep -i "^$1:" "$work/head" | tr -d '\r')"
}

buy()
{
	request POST "${page}buy?$1"
}

# buy_all OPTION OF CURL...: users 1 to N, so many at once; $work/codes has "CODE USER" of each.
buy_all()
{
	many=$1
	shift
	curl -s -Z --no-progress-meter --parallel-immediate --parallel-max 100 --max-time 20 \
		-X POST -o /dev/null -w '%{http_code} %{url_effective}\n' "$@" \
		"${page}buy?item=1&user=[1-$many]" |
		sed 's/ .*user=/ /' >"$work/codes"
}

# codes CODE: how many of these.
codes()
{
	grep -c "^$1 " "$work/codes"
}

# raw SECONDS: sends standard input as it is, prints what comes back until the other side closes, or
# so long.
raw()
{
	# shellcheck disable=SC2016
	timeout "$1" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && cat <&3' - \
		"$(port_of "$page")" 2>/dev/null
}

port_of()
{
	echo "$1" | sed 's,.*:\([0-9]*\)/$,\1,'
}

# ---- The command line ---------------------------------------------------------------------------

help_lists_every_option()
{
	gateway --help
	exits 0
	for option in address port admin-port http-threads connections stock items rate burst capacity \
		workers deadline-ms risk-us risk-percent stock-us notify-us stats-us db seed quiet help \
		version; do
		says "  --$option "
	done
	[ "$(awk 'length > 100' "$out")" = '' ] || because 'a line is longer than 100 columns'
}

version_is_the_library_s()
{
	gateway --version
	exits 0
	[ "$(cat "$out")" = "seckill-gateway (conveyor) $(sed -n \
		's/^#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)" ] ||
		because 'another version'
}

# refuses WORD OPTION...: exit status 2, and the word is quoted.
refuses()
{
	word=$1
	shift
	gateway "$@"
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
	refuses '--port: "65536"' --port 65536
	refuses '--port: "-1"' --port -1
	refuses '--admin-port: "http"' --admin-port http
	refuses '--workers: "0"' --workers 0
	refuses '--workers: "65"' --workers=65
	refuses '--capacity: "0"' --capacity 0
	refuses '--stock: ""' --stock ''
	refuses '--rate: "99999999999999999999999"' --rate 99999999999999999999999
	refuses '--deadline-ms: "1.5"' --deadline-ms 1.5
	refuses '--risk-percent: "101"' --risk-percent 101
	refuses '--http-threads: "0"' --http-threads 0
	refuses '--address: "nowhere"' --address nowhere
	refuses '--seed needs a value' --seed
}

a_port_that_is_taken()
{
	start
	# They are read again below.
	taken=$(port_of "$page")
	taken_by_admin=$(port_of "$admin")
	for option in "--port $taken" "--port 0 --admin-port $taken_by_admin"; do
		status=0
		# Words are meant to be split.
		# shellcheck disable=SC2086
		timeout -k 5 30 "$GATEWAY" $option >"$work/second" 2>&1 || status=$?
		exits 1
		grep -qF "\"${option##* }\"" "$work/second" || because "$(cat "$work/second")"
	done
	stops_well
}

# ---- Endpoints ----------------------------------------------------------------------------------

every_endpoint_answers()
{
	start --stock 1
	request GET "$page"
	answers 200 '<title>Flash sale</title>'
	has_header Content-Type 'text/html; charset=utf-8'
	cmp -s "$work/body" examples/seckill/gateway/page.html || because 'that is not the page'
	request GET "${page}healthz"
	answers 200 ok
	request GET "${page}metrics"
	answers 200 'seckill_offered_total 0'
	has_header Content-Type 'text/plain; version=0.0.4; charset=utf-8'
	buy 'user=7&item=1'
	answers 200 '{"result":"sold","order":1}'
	has_header Content-Type application/json
	buy 'user=7&item=1'
	answers 409 '{"result":"bought already"}'
	buy 'user=8&item=1&quantity=1'
	answers 409 '{"result":"sold out"}'
	request GET "${admin}workers"
	answers 200 '{"workers":8}'
	request POST "${admin}burst?users=10&ms=1"
	answers 202 ''
	shows seckill_burst_offered_total 10
	is 'what HTTP has sold' "$(answers_of 200 sold)" 1
	stops_well
	is 'what is stored' "$(ask "$work/db" 'SELECT user FROM orders')" 7
}

nothing_is_where_nothing_should_be()
{
	start
	for path in nothing buy/ workers burst metrics/x .. %00 %00x metrics%00; do
		request GET "$page$path" --path-as-is
		[ "$code" = 404 ] || because "GET $url: $code"
	done
	for path in '' nothing buy metrics; do
		request POST "$admin$path"
		[ "$code" = 404 ] || because "POST $url: $code"
	done
	stops_well
}

other_methods_are_refused()
{
	start
	for method in GET PUT DELETE PATCH NONSENSE; do
		request $method "${page}buy?user=1&item=1"
		[ "$code" = 405 ] || because "$method $url: $code"
		has_header Allow POST
	done
	for path in '' metrics healthz events; do
		request POST "$page$path"
		[ "$code" = 405 ] || because "POST $url: $code"
		has_header Allow 'GET, HEAD'
	done
	request DELETE "${admin}workers?n=1"
	[ "$code" = 405 ] || because "DELETE $url: $code"
	has_header Allow 'GET, POST, OPTIONS'
	request GET "${admin}burst?users=1&ms=1"
	[ "$code" = 405 ] || because "GET $url: $code"
	is 'what was offered' "$(number seckill_offered_total)" 0
	stops_well
}

rate_limited_users_are_told_when()
{
	start --rate 1 --burst 1
	buy 'user=1&item=1'
	answers 200 sold
	buy 'user=2&item=1'
	answers 429 '{"result":"rate limited","retry_after_ms":'
	has_header Retry-After 1
	after=$(jq .retry_after_ms "$work/body")
	is_from 'when, in milliseconds,' "$after" 1 1000
	# Not before that, but then.
	wait_for 10 user_2_buys || because 'there is never a token'
	stops_well
	start --rate 1 --burst 10
	buy_all 20
	is 'how many were let through' "$(codes 200)" "$(number seckill_admitted_total)"
	is_from 'how many were let through' "$(codes 200)" 10 13
	stops_well
}

user_2_buys()
{
	buy 'user=2&item=1'
	[ "$code" = 200 ]
}

who_is_suspicious_is_refused()
{
	start --risk-percent 100
	buy 'user=1&item=1'
	answers 403 '{"result":"refused"}'
	stops_well
}

a_full_queue_refuses()
{
	start --workers 1 --capacity 2 --risk-us 200000 --deadline-ms 20000
	buy_all 12
	is answers "$(wc -l <"$work/codes")" 12
	is_from 'who was refused' "$(codes 503)" 1 11
	is 'who was sold' "$(codes 200)" $((12 - $(codes 503)))
	is 'counted as refused' "$(answers_of 503 'queue full')" "$(codes 503)"
	stops_well
	is 'orders stored' "$(ask "$work/db" 'SELECT count(*) FROM orders')" "$(codes 200)"
}

# Every name has one HELP and one TYPE, before its figures, which are numbers.
metrics_are_valid()
{
	start --items 3
	buy_all 5
	curl -s --max-time 20 "${page}metrics" >"$work/metrics"
	awk '
		/^# HELP / { help[$3]++; next }
		/^# TYPE / { type[$3]++; kind[$3] = $4; next }
		{
			name = $1
			sub(/{.*/, "", name)
			if (seen[$0]++)
				print "twice: " $0
			base = name
			sub(/_(bucket|sum|count)$/, "", base)
			if (!(name in kind) && kind[base] != "histogram" && kind[base] != "summary")
				print "without a type: " $0
			if ($NF !~ /^[-+]?([0-9.]+(e[-+]?[0-9]+)?|Inf|NaN)$/)
				print "not a number: " $0
			if (kind[name] == "counter" && name !~ /_total$/)
				print "a counter: " $0
		}
		END {
			for (name in help)
				if (help[name] != 1 || type[name] != 1)
					print "described " help[name] + 0 " times: " name
		}
	' "$work/metrics" >"$work/wrong"
	[ ! -s "$work/wrong" ] || because "$(head -n 1 "$work/wrong")"
	for one in 'seckill_stock_remaining{item="3"} 10000' seckill_workers \
		'seckill_answers_total{status="504",result="timed out"} 0' \
		'seckill_subscription_lag{subscription="writer"}'; do
		grep -qF -e "$one" "$work/metrics" || because "there is no $one"
	done
	stops_well
}

events_are_sent()
{
	start
	buy_all 20
	curl -s -N --max-time 2 -D "$work/head" "${page}events" >"$work/body"
	method=GET
	url=${page}events
	has_header Content-Type text/event-stream
	sed -n 's/^data: //p' "$work/body" >"$work/events"
	n=$(wc -l <"$work/events")
	is_from 'events in two seconds' "$n" 5 25
	# The last one may be cut off.
	sed '$d' "$work/events" | jq -e -s '
		(map(.t) | . == (sort | unique)) and
		(last | .offered == 20 and .admitted == 20 and .sold == 20 and .open == 0 and
			.stock == 9980 and .workers == 8 and .capacity == 1024 and
			(.subscriptions | map(.name)) ==
				["payment", "risk", "sms", "analytics", "writer"] and
			(.subscriptions | map(.policy)) ==
				["block", "abort", "discard-oldest", "discard", "block"]) and
		# Those who bought were answered before the last second.
		all(.[]; .p50_us == null or (.p50_us <= .p99_us and .p99_us <= .max_us)) and
		(last | .p50_us == null and .p90_us == null and .p99_us == null and .max_us == null)
	' >/dev/null 2>"$work/wrong" ||
		because "not as they should be: $(tail -n 2 "$work/events" | head -n 1) $(cat "$work/wrong")"
	stops_well
}

# ---- What makes no sense ------------------------------------------------------------------------

malformed_purchases()
{
	start
	n=0
	while read -r query; do
		buy "$query"
		answers 400 '{"result":"malformed","reason":"'
		jq -e '.reason != ""' "$work/body" >/dev/null 2>&1 || because "not JSON: $(cat "$work/body")"
		n=$((n + 1))
	done <<-'END_OF_LIST'

		user=1
		item=1
		user=&item=1
		user=1&item=
		user&item=1
		user=1&item=0
		user=1&item=2
		user=-1&item=1
		user=1&item=-1
		user=1.5&item=1
		user=x&item=1
		user=1x&item=1
		user=0x1&item=1
		user=%201&item=1
		user=1%00&item=1
		user=+1&item=1
		user=%31%&item=1&item=%zz
		user=18446744073709551616&item=1
		user=99999999999999999999999999999999999999999999&item=1
		user=1&item=18446744073709551617
		user=1&user=2&item=1
		user=1&item=1&item=1
		user=1&item=1&quantity=0
		user=1&item=1&quantity=-1
		user=1&item=1&quantity=
		user=1&item=1&quantity=4294967296
		user=1&item=1&quantity=1e3
		user=1&item=1&quantity=1&quantity=1
		user=1&item=1&colour="><script>
		User=1&Item=1
		&&&==&
	END_OF_LIST
	is 'counted as malformed' "$(answers_of 400 malformed)" $n
	# What is wrong with it; a parameter by its name only when that is plain.
	because_of 'user=1&item=1&colour=1' 'there is no parameter colour'
	because_of 'a"b\\c=1&user=1&item=1' 'there is no such parameter'
	because_of "a'b=1" 'there is no such parameter'
	because_of '%C3%A4=1' 'there is no such parameter'
	because_of '%0A=1' 'there is no such parameter'
	because_of 'user=1' 'item is missing; parameters go into the query, behind the ?'
	because_of 'an_otherwise_plain_name_of_33_chars=1' 'there is no such parameter'
	n=$((n + 7))
	is 'what was offered' "$(number seckill_offered_total)" $n
	is 'what is left' "$(number 'seckill_stock_remaining{item="1"}')" 10000
	# After all of that, one that makes sense.
	buy 'quantity=3&item=1&user=1'
	answers 200 sold
	stops_well
	is 'pieces stored' "$(ask "$work/db" 'SELECT sum(quantity) FROM orders')" 3
}

because_of()
{
	buy "$1"
	is "the reason for $1" "$code $(jq -r .reason "$work/body")" "400 $2"
}

bodies_are_not_read()
{
	start
	request POST "${page}buy?user=1&item=1" -d 'user=2&item=1'
	answers 200 sold
	request POST "${page}buy" -d 'user=2&item=1'
	answers 400 'parameters go into the query, behind the ?'
	head -c 3000 /dev/zero >"$work/large"
	request POST "${page}buy?user=3&item=1" -H 'Transfer-Encoding: chunked' \
		--data-binary "@$work/large"
	answers 200 sold
	head -c 3000000 /dev/zero >"$work/large"
	request POST "${page}buy?user=4&item=1" -H 'Expect:' --data-binary "@$work/large"
	case $code in
	400 | 413) ;;
	*) because "a large body: $code" ;;
	esac
	stops_well
	is 'who has bought' "$(ask "$work/db" 'SELECT user FROM orders ORDER BY user' | paste -s -d ' ' -)" '1 3'
}

much_too_long()
{
	start
	long=$(head -c 100000 /dev/zero | tr '\0' 1)
	echo "url = ${page}buy?item=1&user=$long" >"$work/config"
	request POST "${page}healthz" -K "$work/config" -o "$work/body" -w ' %{http_code}'
	case $code in
	*4[0-9][0-9]) ;;
	*) because "a long query: $code" ;;
	esac
	echo "header = \"X: $long\"" >"$work/config"
	request POST "${page}buy?user=1&item=1" -K "$work/config"
	case $code in
	4[0-9][0-9]) ;;
	*) because "a long header: $code" ;;
	esac
	buy 'user=1&item=1'
	answers 200 sold
	stops_well
}

# still_serves WHAT: after that was sent.
still_serves()
{
	request GET "${page}healthz"
	[ "$code" = 200 ] || because "after $1: $code"
}

garbage()
{
	start
	printf '\0\0\0\0\r\n\r\n' | raw 1 >/dev/null
	still_serves zeros
	printf '\026\003\001\002\000\001\000\001\374\003\003' | raw 1 >/dev/null
	still_serves 'a TLS hello'
	head -c 100000 /dev/urandom | raw 1 >/dev/null
	still_serves 'random bytes'
	yes '' | head -c 100000 | raw 1 >/dev/null
	still_serves 'empty lines'
	while read -r line; do
		# As it is: the list has its own escapes.
		# shellcheck disable=SC2059
		printf "$line\r\n\r\n" | raw 1 >"$work/raw"
		still_serves "$line"
		! grep -q '^HTTP/1.. [23]' "$work/raw" || because "$line: $(head -n 1 "$work/raw")"
	done <<-'END_OF_LIST'
		GET
		POST /buy?user=1&item=1
		POST /buy?user=1&item=1 HTTP/9.9\r\nConnection: close
		POST /buy?user=1&item=1 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nConnection: close
		POST /buy?user=1&item=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\nConnection: close
		POST /buy?user=1&item=1 HTTP/1.1\r\nHost x\r\nConnection: close
		POST /buy?user=1&item=1 HTTP/1.1\r\nContent-Length: 0\r\nConnection: close
	END_OF_LIST
	# Not even a whole head, and away.
	# shellcheck disable=SC2016
	printf 'POST /buy?user=1&item=1 HTTP/1.1\r\nHo' | timeout 10 bash -c \
		'exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3' - "$(port_of "$page")"
	still_serves 'a part of a head'
	is 'what was offered' "$(number seckill_offered_total)" 0
	stops_well
}

pipelined_purchases()
{
	start --risk-us 20000
	{
		for user in 1 2 1; do
			printf 'POST /buy?item=1&user=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n' $user
		done
		printf 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
	} | raw 10 >"$work/body"
	results=$(sed -n 's/.*"result":"\([^"]*\)".*/\1/p' "$work/body" | paste -s -d , -)
	is 'what was answered' "$results" 'sold,sold,bought already'
	grep -qx ok "$work/body" || because 'the last one was not answered'
	stops_well
}

# ---- Clients that are slow, or go away ----------------------------------------------------------

slow_clients_hold_nobody_up()
{
	start
	rm -f "$work/fifo"
	mkfifo "$work/fifo"
	# Each sends a half of its request, then waits for a line to send the rest.
	bash -c '
		for user in {1..100}; do
			exec {fd}<>"/dev/tcp/127.0.0.1/$1" || exit
			printf "POST /buy?item=1&user=%d HTTP/1.1\r\nHo" $user >&$fd
			fds+=($fd)
		done
		echo waiting
		read -r line
		for fd in ${fds[@]}; do
			printf "st: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" >&$fd
			cat <&$fd
		done
	' - "$(port_of "$page")" <"$work/fifo" >"$work/slow" 2>&1 &
	helper=$!
	exec 3>"$work/fifo"
	wait_for 20 grep -q waiting "$work/slow" || because 'they do not get in'
	is 'what was offered by halves' "$(number seckill_offered_total)" 0
	curl -s -Z --no-progress-meter --parallel-max 20 --max-time 5 -X POST -o /dev/null \
		-w '%{http_code}\n' "${page}buy?item=1&user=[1001-1200]" >"$work/codes"
	is 'who was sold meanwhile' "$(grep -c 200 "$work/codes")" 200
	echo go >&3
	exec 3>&-
	wait_for 20 is_over $helper || because 'they are not answered'
	wait $helper
	helper=
	is 'slow ones who were sold' "$(grep -c '"sold"' "$work/slow")" 100
	stops_well
	is 'orders stored' "$(ask "$work/db" 'SELECT count(*) FROM orders')" 300
}

clients_hang_up()
{
	start --workers 4 --risk-us 50000 --deadline-ms 20000
	curl -s -Z --no-progress-meter --parallel-immediate --parallel-max 100 --max-time 0.3 \
		-X POST -o /dev/null -w '%{http_code} \n' "${page}buy?item=1&user=[1-80]" \
		>"$work/codes"
	shows seckill_offered_total 80
	more seckill_open_requests 0 || because 'nobody was waiting any more'
	shows seckill_open_requests 0
	# Some may have hung up just when they were answered.
	gone=$(codes 000)
	wait_for 10 more seckill_hung_up_total $((gone - 10)) ||
		because "$(number seckill_hung_up_total) of $gone have hung up"
	is_from 'how many have hung up' "$(number seckill_hung_up_total)" 1 "$gone"
	# Whoever was in the queue bought, gone or not.
	is 'who was sold' "$(answers_of 200 sold)" 80
	shows seckill_stored_total 80
	wait_for 10 has_no_connections || because 'connections are left open'
	stops_well
}

# Of the service's, to its port: in no state at all, but for those that ended and what asks now.
has_no_connections()
{
	port=$(printf ':%04X' "$(port_of "$page")")
	! awk -v port="$port" '$2 ~ port "$" && $4 != "0A" && $4 != "06"' /proc/net/tcp | grep -q .
}

the_deadline_is_kept()
{
	start --workers 1 --risk-us 2500000 --deadline-ms 300
	request POST "${page}buy?user=1&item=1" -w '%{http_code} %{time_total}'
	time=${code#* }
	code=${code% *}
	answers 504 '{"result":"timed out"}'
	# In milliseconds. The worker is not done with it before 2500.
	is_from 'the time that it took' "$(echo "$time" | awk '{ print int($1 * 1000) }')" 300 2000
	stops_well
	is 'orders stored' "$(ask "$work/db" 'SELECT count(*) FROM orders')" 0
}

# who_was_timed_out_is_not_sold OPTION...: with a step that takes two thirds of the deadline.
who_was_timed_out_is_not_sold()
{
	start --workers 2 --deadline-ms 300 "$@"
	buy_all 40
	is answers "$(wc -l <"$work/codes")" 40
	[ "$(codes 504)" -ge 30 ] || because "only $(codes 504) were timed out"
	is 'neither sold nor timed out' "$(grep -vc '^\(200\|504\) ' "$work/codes")" 0
	is 'counted as timed out' "$(answers_of 504 'timed out')" "$(codes 504)"
	stops_well
	# In the end, just those who were told.
	ask "$work/db" 'SELECT user FROM orders ORDER BY user' >"$work/stored"
	sed -n 's/^200 //p' "$work/codes" | sort -n | cmp -s - "$work/stored" ||
		because "sold were $(paste -s -d ' ' "$work/stored")"
	is 'pieces left' "$(ask "$work/db" 'SELECT remaining FROM stock')" $((10000 - $(codes 200)))
}

# The last worker that was too late with it has given the pieces back.
all_is_left_but()
{
	[ "$(number 'seckill_stock_remaining{item="1"}')" = $((10000 - $1)) ]
}

who_was_timed_out_may_come_again()
{
	start --workers 2 --deadline-ms 300 --stock-us 200000
	buy_all 20
	user=$(sed -n 's/^504 //p' "$work/codes" | head -n 1)
	wait_for 20 all_is_left_but "$(codes 200)" || because 'the stock is not given back'
	buy "item=1&user=$user"
	! grep -q 'bought already' "$work/body" || because "user $user has bought already"
	stops_well
}

# ---- Subscribers --------------------------------------------------------------------------------

# Each message takes it ten seconds; and a second signal does not wait for that.
a_stuck_subscriber_hurts_nobody()
{
	start --notify-us 10000000
	buy_all 600
	is 'who was sold' "$(codes 200)" 600
	shows seckill_stored_total 600
	shows 'seckill_subscription_seen_total{subscription="payment"}' 600
	is 'messages sent' "$(number 'seckill_subscription_seen_total{subscription="sms"}')" 0
	delivered=$(number 'seckill_subscription_delivered_total{subscription="sms"}')
	is 'delivered to sms' "$delivered" 600
	lost=$(number 'seckill_subscription_evicted_total{subscription="sms"}')
	lag=$(number 'seckill_subscription_lag{subscription="sms"}')
	# One more is being sent.
	is 'lost, waiting and being sent' $((lost + lag + 1)) 600
	kill -s TERM "$service"
	wait_for 20 grep -q finishing "$err" || because 'it does not notice the first signal'
	wait_for 20 impatient || because 'it does not end'
	ended
	exits 143
	complains 'Terminated again'
	is 'orders stored' "$(ask "$work/db" 'SELECT count(*) FROM orders')" 600
}

# A second signal counts from a second after the first on.
impatient()
{
	kill -s TERM "$service" 2>/dev/null
	is_over "$service"
}

# Each misses nothing but what it has a reason to, by the rows; the topic's own sum is right in all of
# these.
subscribers_that_miss_orders()
{
	start --stock 400
	for user in 1001 1002 1003 1004; do
		buy "user=$user&item=1&quantity=3"
	done
	# The last of them when less than a tenth of the stock is left.
	buy_all 380
	is 'who was sold' "$(codes 200)" 380
	shows seckill_stored_total 384
	stops_well
	near_end=$(ask "$work/db" 'SELECT total(near_end) FROM remarks')
	is_from 'orders near the end' "${near_end%.0}" 20 40
	for one in payment risk sms analytics writer; do
		misses $one filtered
	done
	for one in payment writer; do
		misses $one refused
	done
	tampered "DELETE FROM subscriptions WHERE name = 'risk'" 'risk has said nothing'
	# Of what is stored with an order, too.
	tampered 'DELETE FROM remarks WHERE suspect' 'risk was to get'
	tampered 'DELETE FROM remarks WHERE near_end' 'analytics was to get'
	tampered 'UPDATE orders SET quantity = 1' 'analytics was to get'
}

# misses SUBSCRIBER REASON: nine orders.
misses()
{
	tampered "UPDATE subscriptions SET delivered = delivered - 9, seen = seen - 9, $2 = $2 + 9
		WHERE name = '$1'" "$1 was to get"
}

# tampered SQL WORDS: with a copy of the database; the sums notice, and those without it are right.
tampered()
{
	cp "$work/db" "$work/copy"
	"$SECKILL" --reconcile "$work/copy" >"$out" 2>"$err" || because 'the sums are wrong already'
	last_line_has 'reconciled: ok'
	ask "$work/copy" "$1" || because 'it could not be tampered with'
	status=0
	"$SECKILL" --reconcile "$work/copy" >"$out" 2>"$err" || status=$?
	exits 1
	last_line_has 'reconciled: MISMATCH'
	last_line_has "$2"
	rm -f "$work/copy" "$work/copy-wal" "$work/copy-shm"
}

# ---- The operator -------------------------------------------------------------------------------

# workers NUMBER: by what it says, and by its threads.
workers()
{
	request POST "${admin}workers?n=$1"
	answers 200 "{\"workers\":$1}"
	shows seckill_workers "$1"
	wait_for 20 has_threads "$1" || because "there are $threads threads that sell"
}

has_threads()
{
	threads=$(cat "/proc/$service/task/"*/comm 2>/dev/null | grep -c '^worker')
	[ "$threads" = "$1" ]
}

# wrk_buys SECONDS CONNECTIONS: in the background.
wrk_buys()
{
	wrk -t 1 -c "$2" -d "$1" -s examples/seckill/gateway/buy.lua "$page" -- "$1" 100000000 1 \
		>"$work/wrk" 2>&1 &
	helper=$!
	wait_for 20 many_are_sold || because 'wrk does not buy'
}

many_are_sold()
{
	more 'seckill_answers_total{status="200",result="sold"}' 50
}

workers_come_and_go()
{
	start --workers 2 --stock 1000000
	wrk_buys 20 50
	for n in 20 1 64 3; do
		workers $n
	done
	before=$(answers_of 200 sold)
	wait_for 20 more 'seckill_answers_total{status="200",result="sold"}' "$before" || because 'three workers sell nothing'
	for n in 0 65 -1 x '' 99999999999999999999 '3&n=4'; do
		request POST "${admin}workers?n=$n"
		[ "$code" = 400 ] || because "n=$n: $code"
	done
	request POST "${admin}workers"
	[ "$code" = 400 ] || because "without n: $code"
	request GET "${admin}workers"
	answers 200 '{"workers":3}'
	kill -s INT "$helper"
	wait "$helper"
	helper=
	stops_well
}

bursts()
{
	start --items 2
	for query in '' users=1 ms=1 'users=0&ms=1' 'users=x&ms=1' 'users=1&ms=-1' \
		'users=1&ms=99999999999' 'users=99999999999999999999&ms=1'; do
		request POST "${admin}burst?$query"
		[ "$code" = 400 ] || because "$query: $code"
	done
	request POST "${admin}burst?users=200&ms=20000"
	answers 202 ''
	request POST "${admin}burst?users=1&ms=1"
	answers 409 ''
	wait_for 20 burst_sells || because 'it sells nothing'
	is 'what HTTP has offered' "$(number seckill_offered_total)" 0
	# In the middle of it.
	stops_well
	[ "$(ask "$work/db" 'SELECT count(*) FROM orders')" -lt 200 ] || because 'it was not in the middle'
}

burst_sells()
{
	more 'seckill_burst_answers_total{result="sold"}' 0
}

# listens_at PORT: the addresses, as the kernel writes them.
listens_at()
{
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
		awk -v port="$(printf ':%04X' "$1")" '$2 ~ port "$" && $4 == "0A" { print $2 }' |
		sed 's/:.*//'
}

admin_is_for_this_machine()
{
	start --address 0.0.0.0
	page=$(echo "$page" | sed 's/0\.0\.0\.0/127.0.0.1/')
	is 'where buyers come in' "$(listens_at "$(port_of "$page")")" 00000000
	# 127.0.0.1, the lowest byte first.
	is 'where the operator comes in' "$(listens_at "$(port_of "$admin")" | sed 's/^7F000001$/0100007F/')" \
		0100007F
	for address in $(hostname -I 2>/dev/null); do
		case $address in
		*:*) continue ;;
		esac
		request GET "http://$address:$(port_of "$page")/healthz"
		answers 200 ok
		request GET "http://$address:$(port_of "$admin")/workers"
		[ "$code" = 000 ] || because "$url: $code"
	done
	stops_well
}

only_the_page_s_scripts_may()
{
	start
	origin=${page%/}
	request POST "${admin}workers?n=5" -H "Origin: $origin"
	answers 200 '{"workers":5}'
	has_header Access-Control-Allow-Origin "$origin"
	request POST "${admin}workers?n=6" -H 'Origin: http://elsewhere.example'
	[ "$code" = 403 ] || because "$code for another page"
	request POST "${admin}workers?n=6" -H 'Origin: null'
	[ "$code" = 403 ] || because "$code for a page without origin"
	is workers "$(number seckill_workers)" 5
	stops_well
}

# ---- Load ---------------------------------------------------------------------------------------

terminated_in_the_burst()
{
	start --stock 1000000 --risk-us 1000 --capacity 256 --rate 10000
	wrk_buys 20 200
	request POST "${admin}burst?users=100000&ms=10000"
	answers 202 ''
	wait_for 20 burst_sells || because 'the burst sells nothing'
	stop "$1"
	exits 0
	last_line_has 'reconciled: ok'
	kill -s INT "$helper"
	wait "$helper"
	helper=
	told=$(sed -n 's/^answered 200 \([0-9]*\) sold$/\1/p' "$work/wrk")
	stored=$(ask "$work/db" 'SELECT count(*) FROM orders')
	is_from 'told by HTTP' "$told" 1 "$stored"
}

many_wait_and_few_threads_do()
{
	start --workers 2 --risk-us 1000000 --capacity 8192 --deadline-ms 3000
	(
		# shellcheck disable=SC3045
		ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"
		exec wrk -t 1 -c 2500 -d 30 -s examples/seckill/gateway/buy.lua "$page" -- 30 \
			100000000 1 >"$work/wrk" 2>&1
	) &
	helper=$!
	wait_for 30 many_wait || because "only $(number seckill_open_requests) wait"
	threads=$(awk '/^Threads:/ { print $2 }' "/proc/$service/status")
	[ "$threads" -lt 30 ] || because "$threads threads"
	request GET "${page}healthz"
	answers 200 ok
	# All of them get an answer, or have hung up: it is over soon.
	stop
	exits 0
	last_line_has 'reconciled: ok'
	kill -s INT "$helper"
	wait "$helper"
	helper=
	says '504'
}

many_wait()
{
	more seckill_open_requests 1999
}

# ---- The demo -----------------------------------------------------------------------------------

demo()
{
	rm -rf "${work:?}/tmp"
	mkdir "$work/tmp"
	: >"$out"
	TMPDIR=$work/tmp examples/seckill/gateway/demo.sh "$GATEWAY" "$@" >"$out" 2>"$err" &
	helper=$!
}

demo_ends()
{
	wait_for 100 is_over "$helper" || because 'it does not end'
	status=0
	wait "$helper" || status=$?
	helper=
	[ -z "$(ls "$work/tmp")" ] || because "left behind: $(ls "$work/tmp")"
	! grep -q "$(printf '[\r\033]')" "$out" "$err" || because 'there are control characters'
}

# With so few workers and pieces that every answer comes, however slow the machine is.
demo_reconciles()
{
	demo --seconds 4 --stock 300 --workers 2 --risk-us 4000 --rate 2000 --burst 100 --capacity 32
	demo_ends
	exits 0
	last_line_has 'reconciled: ok'
	[ ! -s "$err" ] || because "it complains: $(head -n 1 "$err")"
	for answer in '200 sold' '409 sold out' '409 bought already' '429 rate limited' \
		'503 queue full'; do
		says "  $answer "
	done
	is 'the page it names' "$(grep -c '^  page   http://127.0.0.1:[0-9]*/$' "$out")" 1
}

demo_is_loaded()
{
	page=$(sed -n 's/^  page   //p' "$out")
	[ -n "$page" ] && many_are_sold
}

demo_stores()
{
	more seckill_stored_total 0
}

# One purchase that wrk does not know of, an order taken out of the database, and others that
# become larger there, so that they concern more; all has to be done before the load ends.
demo_notices_tampering()
{
	demo --seconds 8
	wait_for 20 demo_is_loaded || because 'there is no load'
	wait_for 5 demo_stores || because 'nothing is stored'
	buy 'user=1&item=1'
	ask "$work/tmp/"*/db 'DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)' ||
		because 'it could not be tampered with'
	ask "$work/tmp/"*/db 'UPDATE orders SET quantity = 4 WHERE quantity = 1' ||
		because 'it could not be tampered with again'
	demo_ends
	exits 1
	last_line_has 'reconciled: MISMATCH'
	last_line_has 'wrk sent'
	last_line_has 'stored'
	for one in payment risk sms analytics writer; do
		last_line_has "; $one was to get"
	done
}

# refused_by_demo MESSAGE OPTION...: in one line, and before anything is started.
refused_by_demo()
{
	message=$1
	shift
	demo "$@"
	demo_ends
	exits 2
	[ "$(cat "$err")" = "$message" ] || because "$*: $(cat "$err")"
	[ ! -s "$out" ] || because "$*: it writes to standard output"
}

demo_options()
{
	for seconds in x 0 -1 1.5 99999 ''; do
		message="demo.sh: --seconds: \"$seconds\" is not a number from 1 to 9999"
		refused_by_demo "$message" --seconds "$seconds"
		refused_by_demo "$message" --stock 100 "--seconds=$seconds" --stay
	done
	refused_by_demo 'demo.sh: --seconds needs a value' --stay --seconds
	refused_by_demo 'seckill-gateway: --stock needs a value' --seconds 1 --stock
	refused_by_demo 'seckill-gateway: there is no option "--bogus"; see --help' --bogus --stay
	demo --stock 100 --help
	demo_ends
	exits 0
	says '  --stay '
	says '  --seconds N '
	says '    --stock N '
}

# Its own option is not the last one, nor the first.
demo_stays()
{
	demo --stock 100 --stay --items 2 --seconds 1
	wait_for 60 grep -q 'stays up' "$out" || because 'it does not stay'
	says ' 200 pieces'
	page=$(sed -n 's/^  page   //p' "$out")
	still_serves 'the load'
	kill -s TERM "$helper"
	demo_ends
	exits 0
	last_line_has 'reconciled: ok'
}

# Its threads know that they have a second, and two have passed before the first one asks for anything.
demo_has_a_slow_wrk()
{
	mkdir "$work/late"
	cat >"$work/late/late.lua" <<-'END_OF_SCRIPT'
		dofile("examples/seckill/gateway/buy.lua")
		local begin = init
		function init(arguments)
			begin(arguments)
			local over = os.time() + 2
			while os.time() < over do end
		end
	END_OF_SCRIPT
	cat >"$work/late/wrk" <<-END_OF_SCRIPT
		#!/bin/sh
		[ "\$7" = -s ] || exit 2
		options="\$1 \$2 \$3 \$4 \$5 \$6 -s $work/late/late.lua"
		shift 8
		exec '$(command -v wrk)' \$options "\$@"
	END_OF_SCRIPT
	chmod +x "$work/late/wrk"
	before=$PATH
	PATH=$work/late:$PATH
	demo --stock 100 --seconds 1
	PATH=$before
	demo_ends
	exits 0
	last_line_has 'reconciled: ok'
}

# On a terminal: so that make, if it was make that started it, sees nothing of an interrupt.
demo_is_ended_by_enter()
{
	rm -rf "${work:?}/tmp" "$work/fifo"
	mkdir "$work/tmp"
	mkfifo "$work/fifo"
	TMPDIR=$work/tmp timeout -k 5 60 script -q -e \
		-c "examples/seckill/gateway/demo.sh $GATEWAY --stay --seconds 1" /dev/null \
		<"$work/fifo" >"$work/terminal" 2>"$err" &
	helper=$!
	exec 4>"$work/fifo"
	wait_for 30 grep -q 'until Enter' "$work/terminal" || because 'it does not ask for Enter'
	echo >&4
	wait_for 30 is_over "$helper" || because 'it does not end'
	exec 4>&-
	status=0
	wait "$helper" || status=$?
	helper=
	exits 0
	# Without what makes a terminal one.
	tr -d '\r' <"$work/terminal" >"$out"
	last_line_has 'reconciled: ok'
	[ -z "$(ls "$work/tmp")" ] || because "left behind: $(ls "$work/tmp")"
}

demo_is_ended()
{
	demo --seconds 20
	wait_for 20 demo_is_loaded || because 'there is no load'
	kill -s TERM "$helper"
	demo_ends
	exits 143
	says Interrupted
	last_line_has 'reconciled: ok'
	request GET "${page}healthz"
	[ "$code" = 000 ] || because 'the service goes on'
}

# -------------------------------------------------------------------------------------------------

build_ask
try 'help lists every option' help_lists_every_option
try 'the version is the library'\''s' version_is_the_library_s
try 'wrong options are named, and the exit status is 2' wrong_options_are_named
try 'a port that is taken' a_port_that_is_taken
try 'every endpoint answers' every_endpoint_answers
try 'nothing is where nothing should be' nothing_is_where_nothing_should_be
try 'other methods are refused' other_methods_are_refused
try 'rate limited users are told when to come again' rate_limited_users_are_told_when
try 'who is suspicious is refused' who_is_suspicious_is_refused
try 'a full queue refuses' a_full_queue_refuses
try 'metrics are valid' metrics_are_valid
try 'events are sent' events_are_sent
try 'malformed purchases' malformed_purchases
try 'bodies are not read' bodies_are_not_read
try 'a query or a header that is much too long' much_too_long
try 'garbage' garbage
try 'pipelined purchases' pipelined_purchases
try 'slow clients hold nobody up' slow_clients_hold_nobody_up
try 'clients hang up while they wait' clients_hang_up
try 'the deadline is kept' the_deadline_is_kept
try 'who was timed out while others were served is not sold' who_was_timed_out_is_not_sold \
	--risk-us 200000
try 'who was timed out after the stock was taken is not sold' who_was_timed_out_is_not_sold \
	--stock-us 200000
try 'who was timed out may come again' who_was_timed_out_may_come_again
try 'a stuck subscriber hurts nobody, and a second signal ends it' a_stuck_subscriber_hurts_nobody
try 'subscribers that miss orders are noticed' subscribers_that_miss_orders
try 'workers come and go under load' workers_come_and_go
try 'bursts from inside' bursts
try 'the operator comes in from this machine only' admin_is_for_this_machine
try 'only the page'\''s scripts may use the admin port' only_the_page_s_scripts_may
try 'SIGTERM in the burst' terminated_in_the_burst TERM
try 'SIGINT in the burst' terminated_in_the_burst INT
try '2,000 clients wait, and few threads do' many_wait_and_few_threads_do
try 'the demo reconciles' demo_reconciles
try 'the demo notices tampering' demo_notices_tampering
try 'the demo can be ended in the middle, and accounts for everything' demo_is_ended
try 'the demo waits for a wrk that is slow' demo_has_a_slow_wrk
try 'the demo stays up until it is ended' demo_stays
if command -v script >/dev/null; then
	try 'the demo stays up until Enter' demo_is_ended_by_enter
fi
try 'the demo'\''s own options' demo_options

end_of_cases
