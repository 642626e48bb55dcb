#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# install.sh BUILD SETTING...: installs into a stage, looks at what is there, builds programs
# against it as a user would, from a directory outside of the tree, and uninstalls.
#
# Called by check.sh, with MAKE in the environment.
set -u
here=$(dirname "$0")
# shellcheck source=test/support/report.sh
. "$here/report.sh"

build=$1
shift
label="install${3:+ $3}"
stage=$(mktemp -d) || exit
outside=$(mktemp -d) || exit
trap 'rm -rf "$stage" "$outside" "$report_output" $report_made' EXIT
top=$(pwd)

# Places that no compiler looks at by itself, and a libdir as distributions have it.
prefix=/opt/conveyor
libdir=$prefix/lib/here
made()
{
	"$MAKE" --no-print-directory BUILD="$build" PEERS=no "$@" DESTDIR="$stage" prefix=$prefix \
		libdir=$libdir
}

has_every_file_and_no_other()
{
	{
		find include -name '*.h' | sed "s,^,.$prefix/,"
		# Each page under its own name and under those of the functions in it.
		for page in man/*.[1-9]; do
			section=${page##*.}
			awk '/^\.Sh/ { in_name = $2 == "NAME" } in_name && /^\.Nm [a-z]/ { print $2 }' \
				"$page" | sed "s,.*,.$prefix/share/man/man$section/&.$section,"
			echo ".$prefix/share/man/man$section/${page#man/}"
		done
		echo ".$prefix/bin/queue-bench"
		echo ".$prefix/bin/queue-log"
		echo ".$libdir/libconveyor.a"
		echo ".$libdir/pkgconfig/conveyor.pc"
	} | sort -u >"$outside/expected"
	(cd "$stage" && find . ! -type d) | sort >"$outside/found"
	diff "$outside/expected" "$outside/found"
}

# Every symbol that other object files can see begins with queue_.
exports_only_names_of_its_own()
{
	nm -g --defined-only "$stage$libdir/libconveyor.a" |
		awk 'NF == 3 && $3 !~ /^queue_/ { print "exported: " $3; bad = 1 } END { exit bad }'
}

# compile COMPILER... SOURCE: with pkg-config's flags, from outside.
compile()
{
	flags=$(PKG_CONFIG_LIBDIR="$stage$libdir/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage" \
		pkg-config --cflags --libs conveyor) || return
	# Words are meant to be split: flags is a list.
	# shellcheck disable=SC2086
	(cd "$outside" && "$@" -Wall -Wextra -Wpedantic -Werror -o program $flags $more)
}

# works MORE COMPILER... SOURCE: compiles and runs, with more libraries where they are needed.
works()
{
	more=$1
	shift
	# shellcheck disable=SC2154,SC2086
	compile "$@" && $limit "$outside/program"
}

# The order of a user's command line: the source before the flags, which end in the libraries.
does_not_need_jemalloc()
{
	compile gcc "$top/test/compile/app.c" && ! ldd "$outside/program" | grep jemalloc
}

says_the_version_of_the_header()
{
	[ "$(PKG_CONFIG_LIBDIR="$stage$libdir/pkgconfig" pkg-config --modversion conveyor)" = \
		"$(sed -n 's/^#define QUEUE_VERSION "\(.*\)"/\1/p' include/conveyor/version.h)" ]
}

leaves_nothing()
{
	[ -z "$(find "$stage" ! -type d)" ] || {
		find "$stage" ! -type d
		return 1
	}
	[ ! -e "$stage$prefix/include/conveyor" ]
}

app=$top/test/compile/app
report "$label: install" made "$@" install
report "$label: has every file and no other" has_every_file_and_no_other
report "$label: exports only names of its own" exports_only_names_of_its_own
report "$label: pkg-config says the version" says_the_version_of_the_header
report "$label: C11 program" works '' gcc -std=c11 "$app.c"
report "$label: C11 program, clang" works '' clang -std=c11 "$app.c"
report "$label: C++17 program" works '' g++ -std=c++17 "$app.cc"
report "$label: C++17 program, clang" works '' clang++ -std=c++17 "$app.cc"
report "$label: program with jemalloc" works -ljemalloc gcc "$top/test/compile/jemalloc.c"
more=
report "$label: no program needs jemalloc unasked" does_not_need_jemalloc
report "$label: uninstall" made "$@" uninstall
report "$label: uninstall leaves nothing" leaves_nothing
report_end
