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
report_end
