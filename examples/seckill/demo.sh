#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# demo.sh SECKILL [OPTION]...: the same flash sale twice, first with every gateway thread doing all
# the work itself, then with queues in between; compares the two and accounts for every order.
set -eu

seckill=$1
shift

echo 'A flash sale: a million users, ten thousand pieces, two seconds. First without'
echo 'queues (sync), then with them (async). Ctrl-C ends it early, and still accounts'
echo 'for every request.'
echo
# The time limit is for machines that are too slow for it; it is not reached otherwise.
exec "$seckill" --mode both --seconds 20 "$@"
