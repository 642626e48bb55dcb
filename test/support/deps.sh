#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# deps.sh GOAL yes|no: sees to the packages that a goal needs. With "yes" the missing ones are
# installed through apt, with "no" they are named and the exit status is 2. Says nothing when
# everything is there.
set -u

# PACKAGE THING: what of it is needed, a command or a header, so that one that was installed by
# other means, or on another system, counts as well.
build='
gcc gcc
libc6-dev stdio.h
pkg-config pkg-config
libck-dev ck_pr.h
libjemalloc-dev jemalloc/jemalloc.h
'
demo="$build"'
libsqlite3-dev sqlite3.h
'
demo_http="$demo"'
libmicrohttpd-dev microhttpd.h
wrk wrk
curl curl
jq jq
'
check="$demo_http"'
g++ g++
clang clang
libcriterion-dev criterion/criterion.h
gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
libc6-dev-arm64-cross /usr/aarch64-linux-gnu/include/stdio.h
qemu-user qemu-aarch64
util-linux setarch
clang-format clang-format
clang-tidy clang-tidy
cppcheck cppcheck
mandoc mandoc
shellcheck shellcheck
gnuplot-nox gnuplot
tidy tidy
chromium chromium
chromium-driver chromedriver
'
model='
gcc gcc
spin spin
'
coverage="$build"'
libcriterion-dev criterion/criterion.h
gcovr gcovr
jq jq
'
soak="$check"'
spin spin
gcovr gcovr
'
bench="$build"'
gnuplot-nox gnuplot
'

is_installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] && return
	case $2 in
	/*)
		[ -e "$2" ]
		;;
	*.h)
		for directory in /usr/include /usr/include/*-linux-gnu /usr/local/include; do
			[ -e "$directory/$2" ] && return
		done
		false
		;;
	*)
		command -v "$2" >/dev/null
		;;
	esac
}

# missing_of LIST
missing_of()
{
	echo "$1" | while read -r package thing; do
		[ -z "$package" ] || is_installed "$package" "$thing" || echo "$package"
	done | paste -s -d ' ' -
}

goal=$1
may_install=$2
case $goal in
demo) wanted=$demo ;;
demo-http) wanted=$demo_http ;;
check) wanted=$check ;;
check-model) wanted=$model ;;
coverage) wanted=$coverage ;;
soak) wanted=$soak ;;
bench) wanted=$bench ;;
bench-peers)
	# Each has a header of its own, but those lie in all kinds of places: the packages count.
	wanted="$bench
$(bench/peers.sh packages | sed 's/$/ none/')
g++ g++"
	;;
*) echo "deps.sh: no list for $goal" >&2 && exit 2 ;;
esac

missing=$(missing_of "$wanted")
[ -n "$missing" ] || exit 0

fail()
{
	echo "make $goal needs these Debian packages, which are missing: $missing" >&2
	echo "$1" >&2
	exit 2
}

become=
if [ "$(id -u)" -ne 0 ]; then
	become=sudo
fi
install="apt-get install -y --no-install-recommends $missing"

[ "$may_install" = yes ] || fail "To install them: ${become:+sudo }$install"
command -v apt-get >/dev/null || fail "There is no apt-get here: install what corresponds to them."
[ -z "$become" ] || command -v sudo >/dev/null || fail "There is no sudo here: as root, $install"

log=$(mktemp) || exit
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

# Words are meant to be split: become is nothing or sudo, and install is a list.
apt()
{
	# shellcheck disable=SC2086
	$become env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >>"$log" 2>&1
}

echo "make $goal needs packages that are missing; installing them: $missing"
# shellcheck disable=SC2086
if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || ! apt $install; then
	apt apt-get update
	apt $install || {
		cat "$log" >&2
		fail "apt-get could not install them; its output is above."
	}
fi
missing=$(missing_of "$wanted")
[ -z "$missing" ] || fail "apt-get installed them, and still they are not found."
