#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# instructions.sh: compiles the library for aarch64, with the atomic instructions of ARMv8.1 (lse) and
# with exclusive loads and stores (llsc), and for x86-64 with Concurrency Kit, and counts instructions
# in the functions that are called for every item: are those there that are meant, and no others that
# order memory? The exit status is 1 when one count is not as expected.
#
# Counts are of what is in a function, on whatever path; calls are not followed.
set -u
case $#${1:-} in
0) ;;
1--help)
	echo 'usage: instructions.sh'
	exit
	;;
*)
	echo "instructions.sh: the arguments are \"$*\"; there can be none but --help" >&2
	exit 2
	;;
esac
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
sources="$here/instructions.c $top/lib/ring.c $top/lib/topic.c $top/lib/bucket.c $top/lib/queue.c"

# WHERE FUNCTION INSTRUCTION COUNT, "any" for WHERE is lse and llsc; COUNT is N or N+: at least.
# acquire: ldar, ldapr. release: stlr. swap: casal, or ldaxr with stlxr. pair: caspal, or ldaxp with
# stlxp. fence: dmb and dsb, but for those that order loads alone or stores alone, which there must not
# be any of either. On x86-64, locked: what locks the bus; pair: cmpxchg16b.
#
# Intended fences. queue try_push, try_pop, push_n: one, WAIT1's, behind a look at queue->fence, which is
# set only where there is no membarrier(2). publish: that, and EPOCH1's, likewise. On x86-64 they are the
# "lock orl" among the locked ones. pop_n of the queue has its own in wake_producer. What is locked
# besides: the swap of tail (head) where several threads push (pop), and the same for a single producer
# (consumer) against several on the other side; of one path one at most is executed, and none where each
# end has one thread.
expected='
any  hot_cas_pair        pair    1
any  hot_cas_pair        fence   0
any  hot_ring_try_push   acquire 7
any  hot_ring_try_push   release 3
any  hot_ring_try_push   swap    2
any  hot_ring_try_push   pair    1
any  hot_ring_try_push   fence   0
any  hot_ring_try_pop    acquire 4
any  hot_ring_try_pop    release 1
any  hot_ring_try_pop    swap    2
any  hot_ring_try_pop    pair    0
any  hot_ring_try_pop    fence   0
any  hot_queue_try_push  acquire 7
any  hot_queue_try_push  release 3
any  hot_queue_try_push  fence   1
any  hot_queue_try_pop   acquire 4
any  hot_queue_try_pop   release 1
any  hot_queue_try_pop   fence   1
any  hot_bucket_take_at  acquire 5
any  hot_bucket_take_at  swap    1
any  hot_bucket_take_at  fence   0
any  queue_ring_push_n   acquire 8+
any  queue_ring_push_n   release 5+
any  queue_ring_push_n   pair    1+
any  queue_ring_push_n   fence   0
any  queue_ring_pop_n    acquire 3+
any  queue_ring_pop_n    release 1+
any  queue_ring_pop_n    fence   0
any  queue_push_n        fence   1
any  try_pop_n           fence   1
any  publish_to_some     acquire 8+
any  publish_to_some     release 4+
any  publish_to_some     fence   2
any  queue_topic_publish fence   0
x86  hot_cas_pair        pair    1
x86  hot_ring_try_push   locked  2
x86  hot_ring_try_push   fence   0
x86  hot_ring_try_pop    locked  2
x86  hot_ring_try_pop    fence   0
x86  hot_queue_try_push  locked  3
x86  hot_queue_try_push  fence   0
x86  hot_queue_try_pop   locked  3
x86  hot_queue_try_pop   fence   0
x86  hot_bucket_take_at  locked  1
x86  hot_bucket_take_at  fence   0
x86  queue_ring_pop_n    locked  1
x86  queue_ring_push_n   locked  2
x86  queue_ring_pop_n    fence   0
x86  queue_ring_push_n   fence   0
'

# The instructions of each function by kind: WHERE FUNCTION KIND COUNT.
count()
{
	awk -v where="$1" '
	/^[0-9a-f]+ <.*>:$/ {
		name = substr($2, 2, length($2) - 3)
		sub(/\.(constprop|isra|part)\..*/, "", name)
		found[name]
	}
	{
		kind = ""
		if ($2 ~ /^lda(r|pr|pur)$/ || $2 ~ /^lda(p)?r[bh]$/) kind = "acquire"
		if ($2 ~ /^stlr[bh]?$/) kind = "release"
		if ($2 ~ /^(casal|stlxr)$/) kind = "swap"
		if ($2 ~ /^(caspal|stlxp)$/) kind = "pair"
		if ($2 ~ /^(dmb|dsb|mfence|lfence|sfence)$/) kind = "fence"
		if ($2 == "lock" || ($2 == "xchg" && /\(/)) kind = "locked"
		if (kind) n[name " " kind]++
		if (where == "x86" && /cmpxchg16b/) n[name " pair"]++
		# Half of what is meant: an exclusive load or store without its order, a swap without one.
		if ($2 ~ /^(ldxp|stxp|casp|caspa|caspl|ldxr|stxr)$/ && name ~ /^hot_/) n[name " weak"]++
	}
	END {
		for (each in found) print where, each, "there", 1
		for (each in n) print where, each, n[each]
	}'
}

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
flags="-O2 -std=c11 -D_GNU_SOURCE -I$top/include -I$top/lib"

# build WHERE OBJDUMP COMPILER...
build()
{
	where=$1
	objdump=$2
	shift 2
	for source in $sources; do
		object=$scratch/$where-$(basename "$source").o
		# Words are meant to be split: flags is a list.
		# shellcheck disable=SC2086
		"$@" $flags -c -o "$object" "$source" || exit 1
		"$objdump" -d --no-show-raw-insn "$object" >"$object.txt" || exit 1
		count "$where" <"$object.txt" >>"$scratch/counts"
	done
}

build lse aarch64-linux-gnu-objdump aarch64-linux-gnu-gcc -march=armv8.1-a
build llsc aarch64-linux-gnu-objdump aarch64-linux-gnu-gcc -march=armv8-a -mno-outline-atomics
builds='lse llsc'
if [ "$(uname -m)" = x86_64 ]; then
	build x86 objdump gcc -mcx16 -DQUEUE_ATOMICS_CK
	builds="$builds x86"
fi

check()
{
	got=$(awk -v where="$1" -v name="$2" -v kind="$3" \
		'$1 == where && $2 == name && $3 == kind { n += $4 } END { print n + 0 }' \
		"$scratch/counts")
	case $4 in
	*+) [ "$got" -ge "${4%+}" ] ;;
	*) [ "$got" -eq "$4" ] ;;
	esac && return
	echo "$1: $2 has $got of $3, not $4"
	return 1
}

failed=0
checked=0
while read -r where name kind wanted; do
	[ -n "$where" ] || continue
	for each in $builds; do
		case $where-$each in
		any-lse | any-llsc | x86-x86) ;;
		*) continue ;;
		esac
		check "$each" "$name" there 1+ || failed=$((failed + 1))
		check "$each" "$name" "$kind" "$wanted" || failed=$((failed + 1))
		check "$each" "$name" weak 0 || failed=$((failed + 1))
		checked=$((checked + 1))
	done
done <<END
$expected
END
echo "$checked counts in the machine code for $builds, $failed not as expected"
[ "$failed" -eq 0 ]
