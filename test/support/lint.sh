#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# lint.sh [briefly]: formatting, clang's warnings, static analysis of the code, the manual pages and
# the scripts. In the brief form clang-tidy leaves out the bench, which is not installed, and its
# analyzer does not go as deep: a fifth of the time.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

# Names of files in this tree have no blanks, so lists of them are strings here.
formatted=$(find include lib examples test bench -name '*.[ch]' -o -name '*.cc' | sort)
# Of the bench's adapters only those that need no other library's header.
analyzed=$(find lib examples bench -name '*.c' | sort | while read -r file; do
	grep -q '^/\* HEADER: ' "$file" || echo "$file"
done)
tidied=$analyzed
depth=
if [ "${1:-}" = briefly ]; then
	tidied=$(echo "$analyzed" | grep -v '^bench/')
	depth='-Xclang -analyzer-config -Xclang mode=shallow'
fi
tests=$(find test -name '*.c' ! -path 'test/compile/*' | sort)
warned=$(echo "$analyzed
$tests" | grep -v -e '^lib/' -e '^test/unit/' -e '^test/model/')
pages=$(find man -name '*.[1-9]' | sort)
scripts=$(find .ci/run examples test bench -name run -o -name '*.sh' | sort)
flags='-D_GNU_SOURCE -Iinclude -Ilib'

formatting()
{
	printf '%s\n' "$@" | xargs -P "$(nproc)" -n 16 clang-format --dry-run --Werror
}

# Of what the check does not build with clang to run it. The models are for one compiler.
warnings()
{
	# shellcheck disable=SC2086
	printf '%s\n' $warned | xargs -P "$(nproc)" -n 8 clang -fsyntax-only -std=c11 -mcx16 -Wall -Wextra \
		-Wshadow -Wconversion -Wpedantic -Werror -DQUEUE_ATOMICS_CK -DUNIT_STAND_IN -Itest/support \
		-Ibench $flags
}

# With the builtins: to clang's analyzers Concurrency Kit shows only a part of its functions.
tidy()
{
	# shellcheck disable=SC2086
	printf '%s\n' $tidied | xargs -P "$(nproc)" -I FILE clang-tidy --quiet FILE -- -std=c11 -mcx16 \
		-DQUEUE_ATOMICS_C11 $flags $depth
}

check_with_cppcheck()
{
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingIncludeSystem \
		--suppress=normalCheckLevelMaxBranches -D__x86_64__ -D__linux__ -D__GNUC__ \
		-DQUEUE_ATOMICS_C11 -D__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16 -DUNIT_STAND_IN \
		-Itest/support "$@"
}

# A manual page may refer to another one that is not installed.
manuals()
{
	# shellcheck disable=SC2086
	mandoc -T lint -W style $pages | grep -v 'STYLE: referenced manual not found' && return 1
	true
}

# lint TOOL FILES COMMAND...: one test, when there are files for it.
lint()
{
	[ -n "$2" ] || return 0
	name=$1
	shift 2
	report "lint: $name" "$@"
}

# Every version of clang-format lays out some corners differently; .clang-format is for this one.
if ! clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
	echo '  --  lint: clang-format (left out: it is not version 14)'
	formatted=
fi

# shellcheck disable=SC2086
{
	lint clang-format "$formatted" formatting $formatted
	lint clang "$warned" warnings
	lint clang-tidy "$tidied" tidy
	lint cppcheck "$analyzed$tests" check_with_cppcheck $flags $analyzed $tests
	lint mandoc "$pages" manuals
	lint shellcheck "$scripts" shellcheck -x $scripts
}
report_end
