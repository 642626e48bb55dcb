#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# explore.sh DIRECTORY [soak]: runs the library's own files, built into the programs in DIRECTORY,
# under the explorer, one line for each configuration; soak: the larger ones. The exit status is 1
# when one fails, or is not exhaustive though it should be. JOBS run at a time, 2.
# "make explore-programs" builds them.
set -u
jobs=${JOBS:-2}

# What fails without an order in the library is in test/mutation/orders.checks, for each of them.
# Many of those checks are among these; not all are.
#
# PROGRAM exhaustive|bounded ARGUMENT...: what explore_PROGRAM.c says about arguments.
quick='
ring exhaustive 1 0 u o
ring exhaustive --stale 3 1 0 uu oo
ring exhaustive 1 0 u u o o
ring exhaustive 1 0 uo uo
ring exhaustive 2 0 uu u oo
ring exhaustive 2 0 u u o
ring exhaustive 2 0 u uo
ring exhaustive 3 0 U uo
ring exhaustive 1 0 uu u o
ring exhaustive 2 0 U o oo
ring exhaustive 1 0 u uc o
ring exhaustive 1 0 uu c o
ring exhaustive 1 0 u c o
ring exhaustive 1 0 uu c oo
ring exhaustive --stale 2 2 0 U U O
ring exhaustive 2 0 U c O
ring exhaustive 3 0 U u O
ring exhaustive 1 1 uu o o
ring exhaustive 1 1 uuc oo
ring exhaustive 1 2 u u oo
ring exhaustive 1 3 uuc ooo
ring exhaustive 2 3 UUc OOO
ring exhaustive 1 0 u o s
ring exhaustive 2 1 U o s
ring exhaustive --stale 6 1 1 uu oso
ring exhaustive --stale 6 2 1 U so
ring exhaustive 1 0 UU u o
ring exhaustive 1 2 uu O
ring exhaustive --locked 1 0 u u o o
ring exhaustive --locked 1 0 uo uo
ring exhaustive --locked 1 0 uo uo c
ring exhaustive --locked 1 0 uo uo o
ring exhaustive --locked 1 0 uu u o
ring exhaustive --locked 1 0 u uc o
ring exhaustive --locked 1 0 UU u o
ring exhaustive --locked 2 0 uo uo
ring exhaustive --locked 2 0 uuo uo
ring exhaustive --locked 2 0 uo uo o
ring exhaustive --locked 2 0 uoc uo
ring exhaustive --locked 2 0 UO uo
ring exhaustive --locked 2 0 U c O
ring exhaustive --locked 3 0 U uo
ring exhaustive 1 0 uc s
ring bounded --locked --stale 2 --preemptions 1 2 0 uo uououo
ring exhaustive 2 0 uuu oouo
ring-few exhaustive 2 0 uu u o
ring-rseq exhaustive 1 0 u o
ring-rseq exhaustive 1 0 uu oo
ring-rseq exhaustive 1 0 u c o
ring-rseq exhaustive 2 0 U O
ring-rseq exhaustive 1 1 u o o
ring-rseq bounded --preemptions 2 1 2 u u o
ring-rseq exhaustive 1 3 uuc ooo
queue exhaustive fence b o
queue exhaustive barrier b o
queue exhaustive fence u o
queue exhaustive fence c o
queue exhaustive --stale 2 fence bb OO
queue exhaustive fence i w
queue exhaustive barrier i w
queue exhaustive fence u i w
queue exhaustive fence u f
queue exhaustive fence c f
queue exhaustive fencef c t
queue exhaustive fencep ut ut
queue bounded --preemptions 1 barriers bb oo
queue bounded --locked --stale 2 --preemptions 3 fence2 ur ut
queue exhaustive --stale 1 fence bb oo
queue exhaustive fence u e
queue exhaustive barrier u e
queue bounded --stale 1 --preemptions 1 barrier bb e o
epoch exhaustive fence 1
epoch exhaustive fence 1 crowd
epoch exhaustive barrier 1
epoch exhaustive barrier 1 crowd
bucket exhaustive 11 A
bucket exhaustive 11 BA
bucket exhaustive a AB
bucket exhaustive 1 A far
bucket exhaustive 4 AB
bucket exhaustive 31 rA
bucket exhaustive feed
call exhaustive wait
call exhaustive look
call exhaustive cancel
call exhaustive refused
call exhaustive fd
log exhaustive none s
log exhaustive batch d
log bounded --preemptions 1 none ds
log bounded --stale 1 --preemptions 1 fails ad p
message exhaustive 2
message exhaustive 3
topic exhaustive fence1 p t
topic exhaustive fence1 p x
topic exhaustive barrier1 p x
topic exhaustive fence1 p c
topic exhaustive fence1 s p
topic exhaustive fence1 sp x
topic exhaustive fence1f pt q
topic exhaustive fence1w pp x
spill exhaustive fence bb T t
spill exhaustive fence b b o
spill bounded --locked --preemptions 1 fence bb tbt T
spill bounded --preemptions 1 fence b b o o
spill bounded --preemptions 1 barrier b b o o
spill bounded --preemptions 2 fence - bb oo
spill bounded --preemptions 2 fence b bc oo
spill bounded --preemptions 2 fence2 b bu oo
spill bounded --preemptions 2 fencen b b oo
spill bounded --preemptions 2 fencex b bb o
spill bounded --preemptions 1 fencef b b ot
spill bounded --preemptions 1 fenceh bbbt oo o b
'
soak='
ring exhaustive --stale 3 1 0 uu u o o
ring exhaustive --stale 3 2 0 uu u oo
ring exhaustive --stale 4 1 0 u u o o
ring bounded --preemptions 2 1 0 uu uu oo oo
ring exhaustive --locked 2 0 uu u oo
ring exhaustive --locked 3 0 U u O
ring bounded --locked --preemptions 3 2 0 U U O
ring bounded --locked --preemptions 2 2 0 uo uo u
ring bounded --preemptions 2 2 0 U uu O oo
ring exhaustive 2 0 U uc O
ring-rseq exhaustive 1 0 u u o
ring-rseq exhaustive 1 2 u u o
ring-rseq exhaustive 1 0 uo uo
ring-rseq bounded --preemptions 3 2 0 u u oo
ring-rseq bounded --preemptions 3 2 0 U u O
ring-rseq bounded --preemptions 2 1 0 u u o o
queue exhaustive fence b c o
queue exhaustive fencep Uo b
queue exhaustive fences bb oo
queue exhaustive barrier u f
queue bounded --preemptions 2 barriers bb oo
queue bounded --stale 1 --preemptions 2 barrier bb e o
queue bounded --preemptions 3 fence bb o o
queue bounded --preemptions 3 fence b c o o
queue bounded --preemptions 3 fence f b o
queue bounded --preemptions 3 fencef u t
queue bounded --preemptions 3 barrierf u t
queue bounded --preemptions 3 fence u t f
queue bounded --stale 1 --preemptions 3 fence2 uu e o
queue bounded --stale 1 --preemptions 2 fence utu e o
log exhaustive none a
log exhaustive --stale 1 batch a
log bounded --stale 1 --preemptions 1 batch a a
log bounded --stale 1 --preemptions 1 none ds a
log bounded --stale 1 --preemptions 1 batch ad d
epoch exhaustive fence 2
epoch exhaustive barrier 2
ring bounded --preemptions 2 2 0 u u uo
topic exhaustive fence1 p p t
topic exhaustive fence1 p s x
topic exhaustive fence1 p x c
bucket exhaustive 1 ABA
bucket exhaustive 11 AB
spill exhaustive fence - bb o
spill exhaustive --locked fence b bT t
spill bounded --locked --preemptions 2 fence bb tbt T
spill bounded --preemptions 2 fence b b o o
spill bounded --preemptions 2 fence b c b oo
spill bounded --preemptions 2 fence2 b bU t t
spill bounded --preemptions 2 fencex b bb oo
spill bounded --preemptions 2 fencef b b ot
spill bounded --preemptions 1 barrier b bc o o
'

# refuse MESSAGE
refuse()
{
	echo "explore.sh: $1" >&2
	exit 2
}

# explore PASSED DIRECTORY PROGRAM KIND ARGUMENT...: adds a line to the file PASSED if it has.
explore()
{
	passed=$1
	directory=$2
	program=$3
	kind=$4
	shift 4
	if [ ! -x "$directory/explore-$program" ]; then
		printf 'FAIL  %s: not built\n' "$program $*"
		exit 1
	fi
	began=$(date +%s)
	output=$("$directory/explore-$program" "$@" 2>&1)
	status=$?
	summary=$(echo "$output" | tail -n 1)
	if [ $status -ne 0 ]; then
		printf 'FAIL  %s\n%s\n' "$program $*" "$output"
		exit 1
	fi
	case $summary in
	"$kind":*) ;;
	*)
		printf 'FAIL  %s: not %s: %s\n' "$program $*" "$kind" "$summary"
		exit 1
		;;
	esac
	printf '  ok  %-34s %2d s  %s\n' "$program $*" $(($(date +%s) - began)) "$summary"
	echo "$program $*" >>"$passed"
}

if [ "${1:-}" = one ]; then
	shift
	explore "$@"
	exit 0
fi
case $#${2:-} in
1) list=$quick ;;
2soak) list=$soak ;;
*)
	echo 'usage: explore.sh DIRECTORY [soak]' >&2
	exit 2
	;;
esac
case $jobs in
*[!0-9]* | 0* | ????*) refuse "JOBS is \"$jobs\"; it must be a number from 1 to 999" ;;
esac
[ -n "$(find "$1" -name 'explore-*' -type f 2>/dev/null)" ] ||
	refuse "nothing is built in $1; \"make explore-programs\" does that"

cat <<END
A line for each program and its arguments; $1/explore-PROGRAM --help says what they mean.
  exhaustive               every execution was seen, but for those that differ in nothing
  bounded                  only those in which threads that could go on are left --preemptions times
                           at most; others are beyond the bound
  given up as repetitions  begun, and left when all that could still come had been seen in others
END
passed=$(mktemp) || exit
trap 'rm -f "$passed"' EXIT
trap 'exit 1' INT TERM
list=$(echo "$list" | sed -n 's/^[a-z]/&/p')
echo "$list" | xargs -P "$jobs" -L 1 "$0" one "$passed" "$1"
total=$(echo "$list" | wc -l)
# What has come to grief without a word has failed as well.
failed=$((total - $(wc -l <"$passed")))
echo "$total configurations, $failed failed"
[ "$failed" -eq 0 ]
