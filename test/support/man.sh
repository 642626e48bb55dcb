#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# man.sh DIRECTORY LIBRARY: takes the programs out of the EXAMPLES sections of the manual pages,
# compiles and runs them. A program is a literal display that defines main. Each page of section 3
# has to have one.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

work=$1
library=$2
rm -rf "$work"
mkdir -p "$work"
machine=
[ "$(uname -m)" != x86_64 ] || machine=-mcx16

# extract PAGE PREFIX: the programs, to PREFIX.1.c and so on. Undoes the escapes that a literal
# display needs; anything else that roff would act on is an error, as is a display without end.
extract()
{
	awk -v prefix="$2" '
	function fail(what) {
		printf "%s:%d: %s: %s\n", FILENAME, FNR, what, $0
		failed = 1
	}
	/^\.Sh / { examples = $2 == "EXAMPLES" }
	!examples { next }
	/^\.Bd .*-literal/ || /^\.Bd .*-unfilled/ { inside = 1; text = ""; next }
	/^\.Ed/ {
		inside = 0
		if (text ~ /(^|\n)(int )?main\(/) {
			file = prefix "." ++programs ".c"
			printf "%s", text >file
			close(file)
		}
		next
	}
	!inside || /^\.\\"/ { next }
	/^[.\047]/ { fail("a macro inside a program") }
	{
		gsub(/\\&/, "")
		gsub(/\\-/, "-")
		gsub(/\\\(aq/, "\047")
		gsub(/\\\(dq/, "\"")
		gsub(/\\\(ha/, "^")
		gsub(/\\\(ti/, "~")
		gsub(/\\\(ga/, "`")
		gsub(/\\\(rs/, "\\e")
		rest = $0
		gsub(/\\e/, "", rest)
		if (rest ~ /\\/)
			fail("an escape that is not known here")
		gsub(/\\e/, "\\")
		text = text $0 "\n"
	}
	END {
		if (inside)
			fail("a display without end")
		exit failed
	}' "$1"
}

# try PROGRAM: compiles it as the manual tells a user to, and runs it, where it may leave what it
# makes.
try()
{
	# Words are meant to be split: limit is a list, machine may be nothing.
	# shellcheck disable=SC2086,SC2154
	gcc -Wall -Wextra -Werror -Iinclude $machine -pthread -o "${1%.c}" "$1" "$library" &&
		(cd "$work" && $limit "./$(basename "${1%.c}")")
}

for page in man/*.[37]; do
	[ -e "$page" ] || continue
	name=${page#man/}
	if ! extract "$page" "$work/$name" >"$report_output" 2>&1; then
		report_as 0 1 "man: $name"
		continue
	fi
	found=
	for program in "$work/$name".*.c; do
		[ -e "$program" ] || continue
		found=yes
		report "man: ${program#"$work"/}" try "$program"
	done
	case $found$page in
	*.3)
		if [ -z "$found" ]; then
			echo "there is no program in the section EXAMPLES" >"$report_output"
			report_as 0 1 "man: $name"
		fi
		;;
	esac
done
report_end
