#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# litmus.sh explore DIRECTORY [NAME...]: runs the litmus programs built in DIRECTORY under the explorer.
# Each must end in all the ways that its comment lists as allowed, and in no other. "hole": C11 allows
# it, and the explorer is known not to see it.
# litmus.sh native DIRECTORY SECONDS [NAME...]: on this machine, where not all that is allowed is seen.
# litmus.sh plain DIRECTORY [NAME...]: once, in the form for another model checker, which asserts only.
# The exit status is 1 when one fails. "make explore-programs" builds them.
set -u
here=$(cd "$(dirname "$0")" && pwd)

# refuse MESSAGE
refuse()
{
	echo "litmus.sh: $1" >&2
	exit 2
}

usage='usage: litmus.sh explore|plain DIRECTORY [NAME...]
       litmus.sh native DIRECTORY SECONDS [NAME...]'

how=${1:-}
directory=${2:-}
seconds=
case $how in
--help)
	echo "$usage"
	exit
	;;
explore | plain)
	[ $# -ge 2 ] || refuse "a DIRECTORY must follow $how"
	shift 2
	;;
native)
	[ $# -ge 3 ] || refuse 'a DIRECTORY and SECONDS must follow native'
	seconds=$3
	shift 3
	;;
*) refuse "the first argument is \"$how\"; it must be one of explore native plain" ;;
esac
case $how$seconds in
explore | plain) ;;
native | native. | *.*.* | native*[!0-9.]*)
	refuse "SECONDS is \"$seconds\"; it must be a number, such as 1 or 0.05"
	;;
esac
[ $# -gt 0 ] || for file in "$here"/litmus/*.c; do
	name=${file##*/}
	set -- "$@" "${name%.c}"
done
built=0
for name; do
	[ -f "$here/litmus/$name.c" ] || refuse "there is no litmus program \"$name\""
	[ ! -x "$directory/$name" ] || built=$((built + 1))
done
[ "$built" -gt 0 ] || refuse "nothing is built in $directory; \"make explore-programs\" does that"

# listed WORD FILE: the outcomes that its comment has behind this word.
listed()
{
	sed -n "s/^ \*   $1  *\([0-9,]*\).*/\1/p" "$2" | sort
}

explore()
{
	if ! output=$("$directory/$name" 2>&1) || ! echo "$output" | grep -q '^exhaustive'; then
		echo "$output"
		return 1
	fi
	seen=$(echo "$output" | sed -n 's/^outcome //p' | sort)
	[ "$seen" = "$allowed" ] || {
		printf 'seen:\n%s\nallowed:\n%s\n' "$seen" "$allowed"
		return 1
	}
	echo "$output" | sed -n 's/^exhaustive: //p'
}

native()
{
	needs=any
	! grep -q 'NEEDS: rseq' "$file" || needs=rseq
	hole=$(listed hole "$file")
	# The words are meant to be split: lists.
	# shellcheck disable=SC2086
	output=$("$directory/$name" "$seconds" $needs $allowed $hole) || {
		echo "$output"
		return 1
	}
	echo "$output" | sed -n 's/^allowed //p; /^left/p' | paste -s -d ';' -
}

plain()
{
	timeout 60 "$directory/$name" 2>&1 && echo ended
}

failed=0
for name; do
	file=$here/litmus/$name.c
	allowed=$(listed allowed "$file")
	if [ ! -x "$directory/$name" ]; then
		failed=$((failed + 1))
		echo "FAIL  $name: not built"
	elif said=$($how); then
		printf '  ok  %-28s %s\n' "$name" "$said"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s\n%s\n' "$name" "$said"
	fi
done
echo "$how: $# litmus programs, $failed failed"
[ "$failed" -eq 0 ]
