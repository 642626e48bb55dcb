#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# explore.sh PROGRAM ARGUMENT...: builds a program of explore/, or the explorer's own "ring" or
# "ring-rseq", from the tree that this script is in, and runs it under the explorer of test/model.
# Exits 1 when that finds something, 2 when it cannot be built.
#
# From the environment: BUILD, below which it is built; CC.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
explorer=$root/test/model/explorer
program=$1
shift

directory=${BUILD:-build}/explore/$program
mkdir -p "$directory" || exit 2
rm -f "$directory"/*

# How often something is looked at again: more is more of the same.
ring=$directory/ring.c
sed -e 's/^\(.define PATIENCE\) .*/\1 1/' -e 's/^\(.define LOOKS\) .*/\1 1/' "$root/lib/ring.c" >"$ring"

defines=
lib=$root/lib
own="$here/explore/$program.c $here/explore/machine.c"
case $program in
bucket) sources="$own $lib/bucket.c $ring $lib/wait.c $lib/alloc.c" ;;
call) sources="$own $lib/call.c $lib/wait.c" ;;
queue) sources="$own $lib/queue.c $ring $lib/wait.c $lib/descriptor.c $lib/alloc.c" ;;
readers) sources="$own $lib/wait.c $lib/alloc.c" ;;
ring) sources="$explorer/explore_ring.c $ring $lib/alloc.c" ;;
ring-rseq)
	sources="$explorer/explore_ring.c $ring $lib/alloc.c"
	defines=-DMODEL_RSEQ
	;;
*)
	echo "explore.sh: there is no program $program" >&2
	exit 2
	;;
esac
# The compiler calls the explorer's functions for each access; without the macro the library does
# not take it for ThreadSanitizer.
flags="-std=c11 -D_GNU_SOURCE -mcx16 -O1 -g -w -fsanitize=thread -U__SANITIZE_THREAD__"
flags="$flags $defines -DQUEUE_ATOMICS_C11 -Dmain=program_main -include $explorer/atomic.h"
flags="$flags -I$explorer -I$here/explore -I$root/include -I$lib"
for source in $sources; do
	# Words are meant to be split: flags are a list.
	# shellcheck disable=SC2086
	${CC:-cc} $flags -c -o "$directory/$(basename "$(dirname "$source")")-$(basename "$source" .c).o" \
		"$source" || exit 2
done
${CC:-cc} -std=c11 -D_GNU_SOURCE -O2 -w -I"$explorer" -c -o "$directory/explorer.o" \
	"$explorer/explorer.c" || exit 2
${CC:-cc} -pthread -o "$directory/program" "$directory"/*.o || exit 2
"$directory/program" "$@"
