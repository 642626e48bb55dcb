#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# peers.sh present COMPILER...: the adapters that can be built here: those of this project's own
# queues, and those of peers whose header the compiler finds; and the stores whose header it finds.
# COMPILER is the C compiler and, if there is one, the C++ compiler.
# peers.sh own COMPILER...: those of this project's own queues only.
# peers.sh packages: the Debian packages of all peers.
# peers.sh cflags|libs ADAPTER...: what compiling (linking) these adapters takes.
#
# An adapter says what it needs in lines of its own, of which only those of peers have the first:
#   /* PACKAGE: libck-dev */   /* HEADER: ck_ring.h */   /* CFLAGS: -I... */   /* LIBS: -l... */
# CFLAGS and LIBS may contain $(pkg-config ...).
set -u
cd "$(dirname "$0")/.." || exit

# said KEY FILE...: the values of a key
said()
{
	key=$1
	shift
	[ $# -eq 0 ] || sed -n "s,^/\* $key: \(.*\) \*/\$,\1,p" "$@"
}

expand()
{
	while read -r line; do
		# This text is looked for, not its value.
		# shellcheck disable=SC2016
		case $line in
		*'$('*) eval "echo $line" 2>/dev/null ;;
		*) echo "$line" ;;
		esac
	done | paste -s -d ' ' -
}

case ${1-} in
own | present)
	which=$1
	cc=$2
	cxx=${3-}
	for adapter in bench/adapters/*.c bench/adapters/*.cc bench/stores/*.c; do
		[ -e "$adapter" ] || continue
		language=c
		case $adapter in
		*.cc)
			[ -n "$cxx" ] || continue
			language=c++
			;;
		esac
		header=$(said HEADER "$adapter")
		if [ -n "$header" ]; then
			[ "$which" = present ] || continue
			# Words are meant to be split.
			# shellcheck disable=SC2046,SC2086
			printf '#if !__has_include(<%s>)\n#error absent\n#endif\n' "$header" |
				$cc $(said CFLAGS "$adapter" | expand) -E -x $language -o /dev/null - \
					2>/dev/null || continue
		fi
		echo "$adapter"
	done
	;;
packages)
	said PACKAGE bench/adapters/*.c bench/adapters/*.cc bench/stores/*.c | tr ' ' '\n' | sort -u
	;;
cflags)
	shift
	said CFLAGS "$@" | expand
	;;
libs)
	shift
	said LIBS "$@" | expand
	;;
*)
	echo "peers.sh: '${1-}' is none of own, present, packages, cflags, libs" >&2
	exit 2
	;;
esac
