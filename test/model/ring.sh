#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# ring.sh [soak]: has spin check ring.pml, one line for each configuration; soak: the larger ones.
# The exit status is 1 when one fails or is not exhaustive, or when a mistake that is made on
# purpose (mutant) is not found.
#
# "Exhaustive" is: every state was visited and stored in full (neither bit states nor hashes). With
# "cycles", no set of threads can go on for ever without ending a call (lock-freedom), either.
#
# Debian packages: spin, gcc. JOBS run at a time, 2, of at most 2800 MB each.
set -u
here=$(cd "$(dirname "$0")" && pwd)
jobs=${JOBS:-2}

# refuse MESSAGE
refuse()
{
	echo "ring.sh: $1" >&2
	exit 2
}

# NAME CHECK SETTING...: what ring.pml says about settings. CHECK: errors, cycles (and errors).
quick='
one-slot             errors N=4 P0=1 P1=1 P2=2 P3=2
one-slot-twice       cycles P0=1 P1=1 P2=22
two-slots            errors CAPACITY=2 P0=11 P1=1 P2=22
producers-alone      errors CAPACITY=2 P0=1 P1=1 P2=1
anybody-one-slot     cycles BIAS=0 N=4 P0=1 P1=1 P2=2 P3=2
anybody-two-slots    errors BIAS=0 CAPACITY=2 P0=11 P1=1 P2=22
no-rseq-one-slot     cycles RSEQ=0 N=4 P0=1 P1=1 P2=2 P3=2
no-rseq-two-slots    cycles RSEQ=0 CAPACITY=2 P0=11 P1=1 P2=22
other-build-one-slot cycles RSEQ=2 N=4 P0=1 P1=1 P2=2 P3=2
close                cycles P0=1 P1=1 P2=52
close-beside-pops    cycles P0=1 P1=52 P2=22
close-two-slots      cycles CAPACITY=2 P0=11 P1=5 P2=22
close-no-rseq        errors RSEQ=0 N=4 P0=1 P1=1 P2=5 P3=22
close-other-build    errors RSEQ=2 N=4 P0=1 P1=1 P2=5 P3=22
bursts               cycles N=2 CAPACITY=2 P0=33 P1=44
bursts-not-a-power   cycles N=2 CAPACITY=3 SLOTS=4 P0=33 P1=44
bursts-overtaken     errors BIAS=0 CAPACITY=2 P0=3 P1=1 P2=4
bursts-closed        cycles BIAS=0 CAPACITY=2 P0=3 P1=51 P2=2
bursts-no-rseq       cycles RSEQ=0 CAPACITY=2 P0=3 P1=1 P2=4
bursts-other-build   cycles RSEQ=2 CAPACITY=2 P0=3 P1=1 P2=4
buffer               cycles SB=1 P0=1 P1=1 P2=22
buffer-anybody       cycles SB=1 BIAS=0 P0=1 P1=1 P2=22
buffer-close         cycles SB=1 P0=1 P1=5 P2=22
buffer-of-two        cycles SB=2 N=2 CAPACITY=2 P0=121 P1=212
stepwise             cycles STEPWISE=1 P0=1 P1=1 P2=22
hints                cycles HINTS=1 P0=1 P1=1 P2=2
both-roles           errors P0=21 P1=21 P2=2
handler              cycles HANDLER=1 CAPACITY=2 P0=11 P1=1 P2=2
handler-bursts       cycles HANDLER=1 N=2 CAPACITY=2 P0=31 P1=43
single-both          cycles SB=2 N=2 SINGLE_PRODUCER=1 SINGLE_CONSUMER=1 CAPACITY=2 P0=5131 P1=242
single-producer      errors SB=1 SINGLE_PRODUCER=1 P0=511 P1=2 P2=22
single-consumer      cycles SB=1 SINGLE_CONSUMER=1 P0=1 P1=1 P2=22
'

mutants='
REVOKE_WITHOUT_MEMBARRIER     errors BIAS=0 P0=1 P1=1 P2=22
MEMBARRIER_BEFORE_REVOKE      errors BIAS=0 P0=1 P1=1 P2=22
MEMBARRIER_WITHOUT_FENCE      errors SB=1 CAPACITY=2 P0=11 P1=1 P2=2
SETTLE_WITHOUT_MEMBARRIER     errors N=2 CAPACITY=2 P0=11 P1=11
SETTLE_OTHER_WITHOUT_UNSETTLE errors CAPACITY=2 P0=22 P1=21 P2=11
SETTLE_AT_ONCE                errors CAPACITY=2 P0=1 P1=1 P2=11
GUARD_NOT_COMPARED            errors BIAS=0 P0=1 P1=1 P2=22
FILL_WITH_NEW_MODE            errors BIAS=0 P0=1 P1=1 P2=22
MOVE_WITHOUT_FROM             errors HANDLER=1 CAPACITY=2 P0=111 P1=11 P2=2
OVERTAKE_WITHOUT_CHECK        errors BIAS=0 P0=1 P1=1 P2=22
NO_OVERTAKE                   cycles BIAS=0 N=2 P0=1 P1=1
FULL_BEFORE_NEXT              errors BIAS=0 P0=1 P1=1 P2=22
SWAP_WITHOUT_SEQ              errors BIAS=0 P0=1 P1=1 P2=22
SEAL_WITHOUT_REVOKE           errors BIAS=0 P0=1 P1=5 P2=2
'

soak='
one-slot             cycles N=4 P0=1 P1=1 P2=2 P3=2
two-slots            cycles CAPACITY=2 P0=11 P1=1 P2=22
ends-together        errors CAPACITY=2 P0=22 P1=21 P2=11
two-slots-four       errors N=4 CAPACITY=2 P0=1 P1=1 P2=2 P3=2
producers-alone      errors CAPACITY=2 P0=1 P1=1 P2=11
anybody-two-slots    cycles BIAS=0 N=4 CAPACITY=2 P0=1 P1=1 P2=2 P3=2
close                cycles N=4 P0=1 P1=1 P2=5 P3=22
bursts               cycles CAPACITY=2 P0=3 P1=1 P2=4
bursts-not-a-power   cycles N=2 CAPACITY=3 SLOTS=4 P0=133 P1=31
bursts-buffer        errors SB=1 BIAS=0 CAPACITY=2 P0=3 P1=1 P2=4
buffer-two-slots     cycles SB=1 CAPACITY=2 P0=11 P1=1 P2=2
stepwise-two-slots   errors STEPWISE=1 CAPACITY=2 P0=11 P1=1 P2=22
hints-two-slots      cycles HINTS=1 N=2 CAPACITY=2 P0=111 P1=212
both-roles           cycles N=2 CAPACITY=2 P0=12121 P1=21212
handler              errors HANDLER=1 CAPACITY=2 P0=111 P1=11 P2=2
single-producer      cycles SB=1 SINGLE_PRODUCER=1 CAPACITY=2 P0=513 P1=22 P2=4
'

# check DIRECTORY KIND NAME CHECK SETTING...: one configuration, in a directory of its own. Adds a line
# to DIRECTORY/passed if it is as it should be.
check()
{
	kind=$2
	name=$3
	what=$4
	mkdir "$1/$kind-$name" && cd "$1/$kind-$name" || exit 1
	shift 4
	settings=$*

	defines=
	case $settings in
	*N=[24]*) ;;
	*) defines=-DN=3 ;;
	esac
	for setting in $settings; do
		defines="$defines -D$setting"
	done
	options='-w -DMEMLIM=2800 -DNOFAIR'
	pan='-m100000'
	if [ "$what" = cycles ]; then
		options="$options -DNP"
		pan="$pan -l"
	else
		options="$options -DSAFETY"
	fi
	# The order in which threads are looked at matters to what a handler keeps from running.
	case $settings in
	*HANDLER*) options="$options -DNOREDUCE" ;;
	esac
	case $kind in
	mutant)
		defines="$defines -DMUTANT_$name"
		options="$options -O0"
		;;
	quick) options="$options -O1" ;;
	# Lossless, slower and smaller.
	soak) options="$options -O2 -DCOLLAPSE" ;;
	esac

	began=$(date +%s)
	# Word splitting is meant: these are lists.
	# shellcheck disable=SC2086
	{
		spin -a $defines "$here/ring.pml" &&
			gcc $options -o pan pan.c &&
			nice ./pan $pan
	} >out 2>&1
	seconds=$(($(date +%s) - began))
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' out)
	error=$(sed -n 's/^pan:1: //p' out | sed 's/ (at depth.*//')

	verdict=FAILED
	if grep -q 'errors: [1-9]' out; then
		detail=$error
		[ "$kind" != mutant ] || verdict=found
	elif grep -q -e 'Search not completed' -e 'search depth too small' out ||
		! grep -q 'errors: 0' out; then
		detail='not exhaustive'
	else
		detail="exhaustive, $what"
		[ "$kind" = mutant ] || verdict=passed
	fi
	printf '%-6s %-6s %-29s %8s states %4d s  %s: %s\n' "$verdict" "$kind" "$name" \
		"${states:--}" "$seconds" "$settings" "$detail"
	if [ "$verdict" = FAILED ]; then
		tail -n 5 out >&2
	else
		echo "$kind-$name" >>../passed
	fi
}

if [ "${1:-}" = check ]; then
	shift
	check "$@"
	exit 0
fi
case $#${1:-} in
0 | 1soak) ;;
1--help)
	echo 'usage: ring.sh [soak]'
	exit
	;;
*) refuse "the arguments are \"$*\"; there can be soak, or none" ;;
esac
case $jobs in
*[!0-9]* | 0* | ????*) refuse "JOBS is \"$jobs\"; it must be a number from 1 to 999" ;;
esac
for program in spin gcc; do
	command -v $program >/dev/null || {
		echo "ring.sh: needs $program" >&2
		exit 1
	}
done

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
if [ "${1:-}" = soak ]; then
	echo "$soak" | sed -n 's/^[a-z]/soak &/p'
else
	echo "$quick" | sed -n 's/^[a-z]/quick &/p'
	echo "$mutants" | sed -n 's/^[A-Z]/mutant &/p'
fi >"$scratch/all"
: >"$scratch/passed"
xargs -P "$jobs" -L 1 sh "$here/ring.sh" check "$scratch" <"$scratch/all"

total=$(wc -l <"$scratch/all")
# What has come to grief without a word has failed as well.
failed=$((total - $(wc -l <"$scratch/passed")))
echo "$total configurations and mutants, $failed failed"
[ "$failed" -eq 0 ]
