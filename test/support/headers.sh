#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# headers.sh DIRECTORY: compiles each public header alone, in every language that it promises to be
# in, with both compilers and both atomic back ends.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

work=$1
mkdir -p "$work"
warnings='-Wall -Wextra -Wconversion -Wpedantic -Werror'

# compile COMPILER STANDARD BACK-END: a synthesis line, and the output of what failed.
compile()
{
	# In C++, gcc takes a function of the same name as a struct for shadowing.
	case $2 in
	c++*) suffix=cc shadow= ;;
	*) suffix=c shadow=-Wshadow ;;
	esac
	tested=0
	passed=0
	for header in include/conveyor.h include/conveyor/*.h; do
		[ -e "$header" ] || continue
		name=${header#include/}
		source=$work/$(echo "$name" | tr / _).$suffix
		printf '#include <%s>\ntypedef int not_empty;\n' "$name" >"$source"
		tested=$((tested + 1))
		# Words are meant to be split: the compiler's flags are a list.
		# shellcheck disable=SC2086
		if $1 -std=$2 $warnings $shadow $3 -Iinclude -fsyntax-only "$source"; then
			passed=$((passed + 1))
		else
			echo "$name does not compile alone: $1 -std=$2 $3"
		fi
	done
	echo "Tested: $tested | Passing: $passed"
}

# An inline function in two C++ files, of which the linker keeps one: with it must go what its
# assembly put into other sections.
links()
{
	for file in one two; do
		cat >"$work/$file.cc" <<-EOF
			#include <conveyor.h>
			inline int both(queue_ring *ring, void *item)
			{
				return queue_ring_try_push(ring, item) + queue_ring_try_pop(ring, &item);
			}
			int $file(queue_ring *ring) { return both(ring, ring); }
		EOF
	done
	echo 'int two(struct queue_ring *); int main(int n, char **) { return n > 9 ? two(0) : 0; }' \
		>>"$work/two.cc"
	# shellcheck disable=SC2086
	$1 $2 $machine -D_GNU_SOURCE -Iinclude -Ilib -c "$work/one.cc" -o "$work/one.o" &&
		$1 $2 $machine -Iinclude -c "$work/two.cc" -o "$work/two.o" &&
		gcc -D_GNU_SOURCE $machine -Iinclude -Ilib -r -nostdlib -o "$work/ring.o" lib/ring.c \
			lib/rseq.c lib/alloc.c &&
		$1 -o "$work/linked" "$work/one.o" "$work/two.o" "$work/ring.o" -pthread &&
		"$work/linked"
}

machine=
[ "$(uname -m)" != x86_64 ] || machine=-mcx16
for compiler in gcc clang; do
	for standard in c11 c17 c++11 c++17 c++20; do
		driver=$compiler
		case $compiler$standard in
		gccc++*) driver=g++ ;;
		clangc++*) driver=clang++ ;;
		esac
		report_each "headers: $driver $standard" compile "$driver" "$standard" ''
		report_each "headers: $driver $standard, ATOMICS=c11" compile "$driver" "$standard" \
			"-DQUEUE_ATOMICS_C11 $machine"
	done
done
for compiler in g++ clang++; do
	for level in -O0 -O2; do
		report "headers: $compiler $level, inline functions in two files" links $compiler $level
	done
done
report_end
