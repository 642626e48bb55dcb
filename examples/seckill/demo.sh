#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh SECKILL [OPTION]...: the same flash sale twice, first with every gateway thread doing all
# the work itself, then with queues in between; compares the two and accounts for every order. Then,
# when there are no options, one whose shop is killed in the middle of it.
set -eu

seckill=$1
shift

echo 'A flash sale: a million users, ten thousand pieces, two seconds. First without'
echo 'queues (sync), then with them (async). Ctrl-C ends it early, and still accounts'
echo 'for every request.'
echo
# The time limit is for machines that are too slow for it; it is not reached otherwise.
[ $# -eq 0 ] || exec "$seckill" --mode both --seconds 20 "$@"
"$seckill" --mode both --seconds 20

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
echo
echo 'And a sale that survives (--durable): who is told "sold" is in a log on disk'
echo 'before. The shop is killed (kill -9) twice in the middle, and goes on; then who'
echo 'was told "sold" is compared with the rows.'
echo
status=0
"$seckill" --durable "$directory/sale" --users 200000 --rate 6000 --burst 1000 --seconds 20 ||
	status=$?
if [ $status -eq 1 ]; then
	echo "demo.sh: the sale is left in $directory/sale" >&2
	trap - EXIT
fi
exit $status
