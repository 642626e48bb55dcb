# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# Sourced by the scripts in test/programs, which drive a program as its users would, case by case. A
# case is a function; what is not as it should be it says with `because` or one of the words below.
#
#	a_wrong_option()
#	{
#		status=0
#		"$PROGRAM" --wrong >"$out" 2>"$err" || status=$?
#		exits 2
#		complains '--wrong'
#	}
#
#	try 'a wrong option' a_wrong_option
#	end_of_cases
#
# Each prints "ok NAME" or "not ok NAME" and why. They write into $work, which is $BUILD if that is
# set and removed afterwards if not. A script that has to clean up redefines before_exit, after each
# case after_case, and what is shown when one fails, show_evidence.

if [ -n "${BUILD:-}" ]; then
	work=$BUILD
else
	work=$(mktemp -d) || exit 1
fi
work=$(cd "$work" && pwd) || exit 1
out=$work/out
err=$work/err
touch "$out" "$err"
cases_failed=0
status=0

before_exit()
{
	:
}

after_case()
{
	:
}

show_evidence()
{
	sed 's/^/# out: /' "$out" | tail -n 40
	sed 's/^/# err: /' "$err" | tail -n 20
}

trap 'before_exit; [ -n "${BUILD:-}" ] || rm -rf "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Says why the case at hand fails.
because()
{
	[ -n "$why" ] || why=$*
}

# try NAME FUNCTION [ARGUMENT]...: one case.
try()
{
	name=$1
	why=
	shift
	"$@"
	if [ -z "$why" ]; then
		echo "ok $name"
	else
		echo "not ok $name"
		echo "# $why"
		show_evidence
		cases_failed=$((cases_failed + 1))
	fi
	after_case
}

# give_up NAME WHY FILE: what all further cases need cannot be had; the file says more.
give_up()
{
	echo "not ok $1"
	echo "# $2"
	sed 's/^/# /' "$3" | cut -c 1-1000 | tail -n 20
	exit 1
}

# The last command: its status is the script's.
end_of_cases()
{
	[ $cases_failed -eq 0 ]
}

# wait_for SECONDS COMMAND...: until the command succeeds. In a case that has failed not for long.
wait_for()
{
	tries=20
	[ -n "${why:-}" ] || tries=$(($1 * 20))
	shift
	while ! "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.05
	done
}

# ---- What a run of a program left in $status, $out and $err -------------------------------------

exits()
{
	[ "$status" -eq "$1" ] || because "exit status $status instead of $1"
}

says()
{
	grep -qF -e "$1" "$out" || because "it does not say: $1"
}

complains()
{
	grep -qF -e "$1" "$err" || because "it does not complain: $1"
}

is_silent()
{
	[ ! -s "$err" ] || because "it complains: $(head -n 1 "$err")"
}

last_line_is()
{
	[ "$(tail -n 1 "$out")" = "$1" ] || because "the last line is: $(tail -n 1 "$out")"
}

last_line_has()
{
	case $(tail -n 1 "$out") in
	*"$1"*) ;;
	*) because "the last line is: $(tail -n 1 "$out")" ;;
	esac
}

# ---- Numbers ------------------------------------------------------------------------------------

# is WHAT NUMBER EXPECTED
is()
{
	[ "$2" = "$3" ] || because "$1 is $2 instead of $3"
}

# is_from WHAT NUMBER LEAST MOST
is_from()
{
	[ "$2" -ge "$3" ] 2>/dev/null || because "$1 is $2, less than $3"
	[ "$2" -le "$4" ] 2>/dev/null || because "$1 is $2, more than $4"
}

# ---- Databases ----------------------------------------------------------------------------------

# ask DATABASE SQL: the first value of each row, by SQLite alone. Needs nothing but what the programs
# themselves need.
ask()
{
	"$work/ask" "$@"
}

# Once, before the first ask.
build_ask()
{
	${CC:-cc} -o "$work/ask" -x c - -x none -lsqlite3 2>"$err" <<-'END_OF_C' ||
		#include <sqlite3.h>
		#include <stdio.h>

		int
		main(int argc, char **argv)
		{
			sqlite3_stmt *statement;
			sqlite3 *db;
			const char *text;
			int rc;

			if (argc != 3 || sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, 0))
				return 1;
			sqlite3_busy_timeout(db, 10000);
			if (sqlite3_prepare_v2(db, argv[2], -1, &statement, 0))
				return 1;
			while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
				text = (const char *)sqlite3_column_text(statement, 0);
				printf("%s\n", text ? text : "");
			}
			sqlite3_finalize(statement);
			return rc != SQLITE_DONE || sqlite3_close(db);
		}
	END_OF_C
		give_up 'databases can be read' 'the program for that cannot be built' "$err"
}
