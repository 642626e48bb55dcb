# SPDX-License-Identifier: BSD-2-Clause
#
# orders.awk -v out=DIRECTORY orders.checks SOURCE...: makes a directory for each order in the
# sources, as mutation.sh says.
#
# The operation that a comment is about stands before it, or behind it when the comment has lines
# of its own. What the comment says is taken away from its order; a fence goes altogether. An order
# that no comment names is called by the word in memory.

function fail(message)
{
	print "orders.awk: " message >"/dev/stderr"
	failed = 1
}

function write(name, text,    path)
{
	path = directory "/" name
	printf "%s", text >path
	close(path)
}

# Position of the last operation in a text, and its name in `operation`; 0: there is none.
function last_operation(text,    at, found, rest)
{
	found = at = 0
	rest = text
	while (match(rest, OPERATION)) {
		at += RSTART
		found = at
		operation = substr(rest, RSTART, RLENGTH - 1)
		rest = substr(rest, RSTART + 1)
	}
	return found
}

# The weaker operation, "" for none: `what` is acquire, release or fence.
function weaker(operation, what)
{
	if (operation ~ /_(order|order_all|queue_fence|fence_full|fence_after_rmw)$/)
		return "queue_impl_no_fence"
	if (operation ~ /_acq_rel$/)
		sub(/_acq_rel$/, what == "acquire" ? "_rel" : "_acq", operation)
	else if (operation ~ /_acq$/ && what == "acquire")
		sub(/_acq$/, "_rlx", operation)
	else if (operation ~ /_rel$/ && what == "release" && operation !~ /rseq/)
		sub(/_rel$/, "_rlx", operation)
	else
		return ""
	return operation
}

function emit(line_number, at, what, edge,    name, number, i, new)
{
	named[line_number, at, what] = 1
	new = weaker(operation, what)
	if (new == "")
		return
	name = object ":" within ":" edge "-" what
	number = ++times[name]
	if (number > 1)
		name = name "." number
	name = "order/" name
	found[name] = 1
	if (!(name in checks)) {
		fail("orders.checks has nothing for " name)
		return
	}
	if (checks[name] ~ /^(none|open): /) {
		printf "%-58s %s\n", name, checks[name] >(out "/../unchecked")
		return
	}
	directory = sprintf("%s/a%04d", out, ++count)
	system("mkdir '" directory "'")
	write("name", name "\n")
	write("file", path "\n")
	write("by", checks[name] "\n")
	text = ""
	for (i = 1; i <= lines; i++) {
		if (i == line_number)
			text = text substr(line[i], 1, at - 1) new \
				substr(line[i], at + length(operation)) "\n"
		else
			text = text line[i] "\n"
	}
	write("mutated", text)
}

# All annotations of the file that has been read.
function analyze(    i, k, at, comment, code, what, edge, alone)
{
	within = ""
	for (i = 1; i <= lines; i++) {
		if (line[i] ~ /^[a-z_0-9]+\(/) {
			within = line[i]
			sub(/\(.*/, "", within)
		}
		if (line[i] ~ /^ \*/ || line[i] ~ /[Rr]elaxed/ || !match(line[i], EDGE))
			continue
		comment = substr(line[i], RSTART)
		code = line[i]
		alone = code ~ /^[ \t]*\/?\*/
		sub(/\/\*.*/, "", code)
		edge = comment
		sub(/[ ,].*/, "", edge)
		what = comment
		sub(/^[A-Z]+[0-9],? ?/, "", what)
		at = 0
		k = i
		if (alone) {
			for (k = i + 1; k <= i + 4 && !at; k++)
				at = first_operation(line[k])
			k--
		} else {
			at = last_operation(code)
			while (!at && k > i - 4 && line[k] !~ /^{/) {
				k--
				at = last_operation(line[k])
			}
			if (!at) {
				k = i + 1
				at = last_operation(line[k])
			}
		}
		if (!at) {
			fail(path ":" i ": no operation for " edge)
			continue
		}
		if (operation ~ /(ring_move|move_alone|move_surely)$/)
			continue
		if (what ~ /^acquire and release/ || what ~ /^release and acquire/) {
			emit(k, at, "acquire", edge)
			emit(k, at, "release", edge)
		} else if (what ~ /^acquire/) {
			emit(k, at, "acquire", edge)
		} else if (what ~ /^release/) {
			emit(k, at, "release", edge)
		} else if (what ~ /^(waiter|notifier|reader|who|\*)/) {
			emit(k, at, "fence", edge)
		} else {
			named[k, at, "acquire"] = named[k, at, "release"] = 1
		}
	}
	analyze_unnamed()
	delete named
}

# The member, or the variable, that an operation's first argument names.
function word_of(argument)
{
	sub(/^[^(]*\([ \t]*/, "", argument)
	sub(/[,)].*/, "", argument)
	sub(/.*(->|\.|&)/, "", argument)
	gsub(/[^a-z_0-9]/, "", argument)
	return argument
}

# All orders that operations have and no comment names.
function analyze_unnamed(    i, at, rest, word)
{
	if (path ~ /impl\/atomic\.h$/)
		return
	within = ""
	for (i = 1; i <= lines; i++) {
		if (line[i] ~ /^[a-z_0-9]+\(/) {
			within = line[i]
			sub(/\(.*/, "", within)
		}
		if (line[i] ~ /^ \*/)
			continue
		at = 0
		rest = line[i]
		while (match(rest, ORDERED)) {
			at += RSTART
			operation = substr(rest, RSTART, RLENGTH - 1)
			rest = substr(rest, RSTART)
			word = word_of(rest line[i + 1])
			if (operation ~ /_acq(_rel)?$/ && !((i, at, "acquire") in named))
				emit(i, at, "acquire", word)
			if (operation ~ /_rel$/ && !((i, at, "release") in named))
				emit(i, at, "release", word)
			rest = substr(rest, 2)
		}
	}
}

function first_operation(text)
{
	if (!match(text, OPERATION))
		return 0
	operation = substr(text, RSTART, RLENGTH - 1)
	return RSTART
}

BEGIN {
	OPERATION = "(queue_impl_[a-z0-9_]*_(acq|rel|order|order_all|queue_fence|fence_full|" \
		"fence_compiler|fence_after_rmw|ring_move|move_alone)|queue_impl_ring_move|" \
		"queue_impl_queue_fence|queue_impl_fence_full|queue_impl_fence_after_rmw|" \
		"queue_impl_fence_compiler|move_surely)\\("
	ORDERED = "queue_impl_(load|store|cas|fetch_add|exchange)[a-z0-9_]*_(acq|rel)\\("
	EDGE = "[A-Z]+[0-9](,? (acquire|release|waiter|notifier|reader|who)| \\*\\/)"
}

FILENAME ~ /orders\.checks$/ {
	if ($0 !~ /^#/ && NF > 1) {
		name = "order/" $1
		sub(/^[^ \t]+[ \t]+/, "")
		checks[name] = checks[name] (checks[name] == "" ? "" : "\n") $0
	}
	next
}

FNR == 1 {
	analyze()
	path = FILENAME
	object = path
	sub(/.*\//, "", object)
	lines = 0
}

{ line[++lines] = $0 }

END {
	analyze()
	for (name in checks)
		if (!(name in found))
			fail("orders.checks knows " name ", the sources do not")
	exit failed
}
