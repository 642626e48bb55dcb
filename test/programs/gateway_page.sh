#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# gateway_page.sh: the page of the flash sale's service in Chromium without a screen, which is driven
# by curl over the WebDriver protocol. Prints "ok NAME" or "not ok NAME" for each case; exits 1 when
# one of them failed. In the environment: GATEWAY, the service's path; BUILD, a directory to write
# into, which is optional; page.png in it shows what the page looked like.
set -u

: "${GATEWAY:?the path of the program}"
# shellcheck source=test/support/cases.sh
. test/support/cases.sh
driver_pid=
service_pid=
session=

# Nothing stays. A browser that its driver has left behind is known by its profile.
before_exit()
{
	[ -z "$session" ] || browser DELETE '' >/dev/null 2>&1
	end "$driver_pid"
	end "$service_pid"
	for process in /proc/[0-9]*; do
		if tr '\0' '\n' 2>/dev/null <"$process/cmdline" |
			grep -qxF -e "--user-data-dir=$work/profile"; then
			kill -s KILL "${process#/proc/}" 2>/dev/null
		fi
	done
	rm -rf "${work:?}/profile" "${work:?}/home"
}

end()
{
	[ -n "$1" ] || return 0
	kill -s TERM "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

# ---- What cases are written with ----------------------------------------------------------------

# gives TEXT COMMAND...: whether that is what the command prints.
gives()
{
	expected=$1
	shift
	[ "$("$@")" = "$expected" ]
}

show_evidence()
{
	tail -n 5 "$work/answer" | cut -c 1-1000 | sed 's/^/# driver: /'
	sed 's/^/# service: /' "$err" | tail -n 20
}

# ---- The service --------------------------------------------------------------------------------

# start_service PORT: page and admin are where it is. Eight workers that take 4 ms for each do not more
# than 2,000 in a second, so of a burst the bucket refuses some, and the queue others.
start_service()
{
	: >"$work/out"
	"$GATEWAY" --port "$1" --stock 100000 --workers 8 --rate 3000 --burst 500 --capacity 256 \
		--risk-us 4000 --quiet >"$work/out" 2>"$work/err" &
	service_pid=$!
	wait_for 20 is_up && [ -n "$page" ] && [ -n "$admin" ]
}

# The page's address is printed before the other.
is_up()
{
	admin=$(sed -n 's/^admin //p' "$work/out")
	page=$(sed -n 's/^page //p' "$work/out")
	[ -n "$admin" ] || ! kill -0 "$service_pid" 2>/dev/null
}

# number NAME: of the service's metrics.
number()
{
	curl -s --max-time 10 "${page}metrics" | sed -n "s/^$1 //p"
}

# ---- The browser --------------------------------------------------------------------------------

# browser METHOD PATH [JSON]: a command to the session; prints the value of the answer. Fails when
# the driver does not answer, or says that something is wrong.
browser()
{
	curl -s --max-time 60 -X "$1" ${3+-d "$3"} "$driver/session${session:+/$session}$2" \
		>"$work/answer" || return 1
	jq -r '.value' "$work/answer"
	jq -e '.value.error? == null' "$work/answer" >/dev/null 2>&1
}

# run SCRIPT: JavaScript in the page; prints what it returns.
run()
{
	browser POST /execute/sync "$(jq -n --arg script "$1" '{ script: $script, args: [] }')"
}

# click ID, and type ID TEXT: as users do.
click()
{
	browser POST "/element/$(find_element "$1")/click" '{}' >/dev/null ||
		because "$1 cannot be clicked"
}

type_into()
{
	# Instead of what is there: control and A.
	browser POST "/element/$(find_element "$1")/value" \
		"{ \"text\": \"\\uE009a\\uE000$2\" }" >/dev/null || because "nothing can be typed into $1"
}

find_element()
{
	browser POST /element "{ \"using\": \"css selector\", \"value\": \"#$1\" }" |
		jq -r 'to_entries[0].value'
}

# shows ID TEXT: whether the element does.
shows()
{
	[ "$(run "return document.getElementById('$1').textContent")" = "$2" ]
}

# total NAME: a tile's figure.
total()
{
	run "return document.getElementById('total-$1').textContent.replace(/[^0-9]/g, '')"
}

is_more()
{
	[ "$(total "$1")" -gt "$2" ] 2>/dev/null
}

start_driver()
{
	mkdir -p "$work/home"
	HOME=$work/home chromedriver --port=0 >"$work/driver" 2>&1 &
	driver_pid=$!
	wait_for 30 driver_is_up
}

driver_is_up()
{
	port=$(sed -n 's/.*started successfully on port \([0-9]*\).*/\1/p' "$work/driver")
	driver=http://127.0.0.1:$port
	[ -n "$port" ] && curl -s --max-time 5 -o "$work/answer" "$driver/status"
}

start_browser()
{
	arguments='["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--user-data-dir='$work/profile'"]'
	id=$(browser POST '' "{ \"capabilities\": { \"alwaysMatch\": {
		\"goog:chromeOptions\": { \"args\": $arguments },
		\"goog:loggingPrefs\": { \"browser\": \"ALL\" } } } }" | jq -r '.sessionId? // empty')
	session=$id
	[ -n "$session" ]
}

# window WIDTH HEIGHT, as the page sees it.
window()
{
	browser POST /goog/cdp/execute "{ \"cmd\": \"Emulation.setDeviceMetricsOverride\", \"params\": {
		\"width\": $1, \"height\": $2, \"deviceScaleFactor\": 1, \"mobile\": false } }" >/dev/null ||
		because 'the window cannot be resized'
}

# ---- Cases --------------------------------------------------------------------------------------

the_page_loads()
{
	window 1280 1120
	browser POST /url "{ \"url\": \"$page\" }" >/dev/null || because 'it does not load'
	[ "$(run 'return document.title')" = 'Flash sale' ] || because 'it has another title'
	wait_for 20 shows state connected || because 'no event arrives'
	[ "$(run "return document.querySelectorAll('canvas').length")" = 4 ] ||
		because 'there are not four charts'
}

tiles_follow_the_service()
{
	before=$(total sold)
	for user in 1 2 3 4 5; do
		curl -s --max-time 10 -o /dev/null -X POST "${page}buy?user=$user&item=1"
	done
	wait_for 10 is_more sold "$before" || because 'what is sold does not go up'
	wait_for 10 all_offered_are_shown ||
		because "it shows $(total offered) offered"
	[ "$(total workers)" = 8 ] || because "it shows $(total workers) workers"
}

all_offered_are_shown()
{
	[ "$(total offered)" = "$(number seckill_offered_total)" ]
}

the_burst_button_works()
{
	before=$(total sold)
	type_into burst-users 4000
	type_into burst-ms 800
	click burst-start
	wait_for 20 shows said '4,000 users come within 800 ms.' || because 'it does not say so'
	wait_for 20 is_more sold "$before" || because 'nothing is sold'
	wait_for 20 gives 4000 number seckill_burst_offered_total ||
		because "$(number seckill_burst_offered_total) users came"
}

# Curves have colours; axes, labels and grids are grey.
count_coloured='const count_coloured = ({ data }) => {
	let coloured = 0;
	for (let i = 0; i < data.length; i += 4) {
		const [red, green, blue, alpha] = data.slice(i, i + 4);
		const spread = Math.max(red, green, blue) - Math.min(red, green, blue);
		coloured += alpha > 100 && spread > 60;
	}
	return coloured;
};'

# Index: of a chart.
has_a_curve()
{
	coloured=$(run "$count_coloured
		const canvas = document.querySelectorAll('canvas')[$1];
		// From a copy: the browser has something to say about reading from the page's own often.
		const copy = new OffscreenCanvas(canvas.width, canvas.height)
			.getContext('2d', { willReadFrequently: true });
		copy.drawImage(canvas, 0, 0);
		return count_coloured(copy.getImageData(0, 0, canvas.width, canvas.height));")
	[ "$coloured" -gt 100 ] 2>/dev/null
}

charts_draw()
{
	for chart in 0 1 2; do
		wait_for 10 has_a_curve $chart || because "chart $chart: $coloured coloured pixels"
	done
	# Enough have bought already for the fourth to have something to show.
	wait_for 20 refusals_are_drawn || because "chart 3: $coloured coloured pixels"
}

refusals_are_drawn()
{
	for user in 1 2 3 4 5; do
		curl -s --max-time 10 -o /dev/null -X POST "${page}buy?user=$user&item=1"
	done
	has_a_curve 3
}

# More than twice what the bucket lets in, which is more than the workers do.
a_peak_is_shaved()
{
	type_into burst-users 40000
	type_into burst-ms 5000
	click burst-start
	wait_for 20 is_shaved || because "seen in $shaved events: $(run "
		return JSON.stringify(samples.map((one) => [one.t, one.depth, one.rates]).slice(-3))")"
	the_picture_is_taken
	wait_for 20 gives 44000 number seckill_burst_offered_total ||
		because "$(number seckill_burst_offered_total) users came"
	wait_for 20 gives 0 total open || because "$(total open) are still open"
}

# For three seconds or so: twice as many are offered as admitted, the queue is full, or nearly so when
# it is looked at, there are times for those who are answered, and refusals of both kinds.
is_shaved()
{
	shaved=$(run 'return samples.filter(({ rates, depth, capacity, p99_us }) =>
		rates.offered > 2 * rates.admitted && rates.admitted > 0 && depth > 0.95 * capacity &&
		rates.rate_limited > 0 && rates.queue_full > 0 && p99_us !== null).length')
	[ "$shaved" -ge 25 ] 2>/dev/null
}

# Of what was drawn just now; and where the charts are in it, there are curves.
the_picture_is_taken()
{
	browser GET /screenshot | tr -d '\n' >"$work/page.base64"
	base64 -d "$work/page.base64" >"$work/page.png" || because 'there is no picture'
	jq -R -s --arg script "$count_coloured
		const file = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
		return createImageBitmap(new Blob([file], { type: 'image/png' })).then((picture) => {
			const pen = new OffscreenCanvas(picture.width, picture.height)
				.getContext('2d', { willReadFrequently: true });
			pen.drawImage(picture, 0, 0);
			return [...document.querySelectorAll('canvas')].map((canvas) => {
				const { x, y, width, height } = canvas.getBoundingClientRect();
				return count_coloured(pen.getImageData(x, y, width, height));
			}).join(' ');
		});" '{ script: $script, args: [.] }' "$work/page.base64" >"$work/page.json"
	coloured=$(browser POST /execute/sync "@$work/page.json")
	for pixels in ${coloured:-0}; do
		[ "$pixels" -gt 300 ] 2>/dev/null || because "coloured pixels in the picture's charts: $coloured"
	done
	rm -f "$work/page.base64" "$work/page.json"
}

the_burst_button_says_when_one_is_running()
{
	type_into burst-users 100
	type_into burst-ms 10000
	click burst-start
	wait_for 10 shows said '100 users come within 10,000 ms.' || because 'it does not start'
	click burst-start
	wait_for 10 shows said 'A burst is running already.' || because 'it does not say so'
}

workers_can_be_set()
{
	click workers-more
	wait_for 10 gives 9 total workers || because "+ makes $(total workers)"
	click workers-fewer
	wait_for 10 gives 8 total workers || because "- makes $(total workers)"
	# Enter.
	type_into workers-wanted '3\uE007'
	wait_for 10 gives 3 total workers || because "3 makes $(total workers)"
	[ "$(curl -s --max-time 10 "${admin}workers" | jq .workers)" = 3 ] ||
		because 'the service has another number of them'
}

subscriptions_are_listed()
{
	names=$(run "return [...document.querySelectorAll('#subscriptions th')]
		.map((cell) => cell.textContent).join(', ')")
	[ "$names" = 'payment block, risk abort, sms discard-oldest, analytics discard, writer block' ] ||
		because "these are: $names"
	wait_for 20 all_sold_were_written ||
		because "the writer has seen $(seen_by_writer) of $(total sold)"
}

all_sold_were_written()
{
	[ "$(seen_by_writer)" = "$(total sold)" ]
}

seen_by_writer()
{
	run "return document.querySelectorAll('#subscriptions tr')[4].cells[1].textContent
		.replace(/[^0-9]/g, '')"
}

# Figures of p99, p90 and p50 for a sample of those microseconds.
latencies_of()
{
	run "receive(Object.assign({}, samples[samples.length - 1],
			{ t: samples[samples.length - 1].t + 1, p50_us: $1, p90_us: $2, p99_us: $3 }));
		draw();
		return charts[2].series.map((one) => one.figure.textContent).join(', ')"
}

no_time_is_not_no_figure()
{
	gives '3 ms, < 0.1 ms, < 0.1 ms' latencies_of 0 99 3000 || because "0 is $(latencies_of 0 99 3000)"
	gives '–, –, –' latencies_of null null null || because "none is $(latencies_of null null null)"
}

it_fits()
{
	window "$1" 1120
	# With figures of a long day, until the next event.
	wider=$(run 'const many = (of) => Object.fromEntries(Object.entries(of).map(([key, value]) =>
			[key, Number.isInteger(value) ? 12345678 : value]));
		const last = samples[samples.length - 1];
		receive({ ...many(last), t: last.t + 1, subscriptions: last.subscriptions.map(many) });
		draw();
		const root = document.documentElement;
		const table = document.querySelector(".scroll");
		return Math.max(root.scrollWidth - root.clientWidth, table.scrollWidth - table.clientWidth)')
	[ "$wider" = 0 ] || because "it is $wider pixels too wide"
	sharp=$(run 'return [...document.querySelectorAll("canvas")].every((canvas) =>
		canvas.clientWidth > 200 && canvas.clientHeight > 100)')
	[ "$sharp" = true ] || because 'charts are too small'
}

nothing_comes_from_elsewhere()
{
	elsewhere=$(run "return performance.getEntriesByType('resource').map((entry) => entry.name)
		.filter((name) => !name.startsWith('$page') && !name.startsWith('$admin')).join(' ')")
	[ -z "$elsewhere" ] || because "$elsewhere"
}

the_console_is_empty()
{
	# What a refused burst answers is reported there by the browser itself.
	said=$(browser POST /se/log '{ "type": "browser" }' |
		jq -r '.[].message' | grep -v '/burst?.* 409 ')
	[ -z "$said" ] || because "$said"
}

opacity_of()
{
	run "return getComputedStyle(document.querySelector('$1')).opacity"
}

it_says_when_the_service_is_gone()
{
	port=${page#http://127.0.0.1:}
	end "$service_pid"
	service_pid=
	wait_for 20 shows state disconnected || because 'it does not notice'
	for figure in '#total-sold' '.legend' '#subscriptions td'; do
		[ "$(opacity_of "$figure")" = 0.5 ] || because "$figure looks live"
	done
	start_service "${port%/}" || because 'the service does not start again'
	wait_for 20 shows state connected || because 'it does not connect again'
	[ "$(opacity_of '#total-sold')" = 1 ] || because 'figures still look old'
	wait_for 20 gives 0 total sold || because "it still shows $(total sold) sold"
}

# -------------------------------------------------------------------------------------------------

for file in err driver answer; do
	: >"$work/$file"
done
start_service 0 || give_up 'the service starts' "$GATEWAY does not say where it is" "$work/err"
command -v chromedriver >/dev/null ||
	give_up 'there is a browser' 'no chromedriver: install chromium and chromium-driver' "$work/err"
start_driver || give_up 'the driver starts' 'chromedriver says:' "$work/driver"
start_browser || give_up 'the browser starts' 'Chromium cannot run here; its driver says:' "$work/answer"

try 'the page loads' the_page_loads
try 'tiles follow the service' tiles_follow_the_service
try 'the burst button works' the_burst_button_works
try 'charts draw' charts_draw
try 'a peak is shaved, and its picture taken' a_peak_is_shaved
try 'the burst button says when one is running' the_burst_button_says_when_one_is_running
try 'workers can be added and removed' workers_can_be_set
try 'subscriptions are listed' subscriptions_are_listed
try 'it fits 1280 pixels' it_fits 1280
try 'it fits 400 pixels' it_fits 400
try 'it fits 320 pixels' it_fits 320
try 'no time at all is not no figure' no_time_is_not_no_figure
try 'nothing comes from elsewhere' nothing_comes_from_elsewhere
try 'the console is empty' the_console_is_empty
try 'it says when the service is gone, and connects again' it_says_when_the_service_is_gone

end_of_cases
