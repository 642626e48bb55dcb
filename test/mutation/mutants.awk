# SPDX-License-Identifier: BSD-2-Clause
#
# mutants.awk -v out=DIRECTORY OBJECT.mutants...: makes a directory for each mutant, as mutation.sh
# says.
#
# Texts are compared without what lines are indented by, and what is written is not indented.

function fail(message)
{
	printf "%s:%d: %s\n", FILENAME, FNR, message >"/dev/stderr"
	failed = 1
	exit 1
}

function stripped(line)
{
	sub(/^[ \t]+/, "", line)
	return line
}

# Reads a file into before, where (the function, or all of it) and after.
function read_source(path, function_name,    line, part)
{
	before = where = after = ""
	part = function_name == "" ? 1 : 0
	while ((getline line <path) > 0) {
		if (part == 0 && index(line, function_name "(") == 1)
			part = 1
		if (part == 0)
			before = before stripped(line) "\n"
		else if (part == 1)
			where = where stripped(line) "\n"
		else
			after = after stripped(line) "\n"
		if (part == 1 && function_name != "" && line ~ /^}/)
			part = 2
	}
	close(path)
}

function write(name, text,    path)
{
	path = directory "/" name
	printf "%s", text >path
	close(path)
}

function finish(    at, rest)
{
	if (name == "")
		return
	if (file == "" || old == "" || by == "")
		fail("the mutant before this line is not complete")
	directory = sprintf("%s/b%04d", out, ++count)
	system("mkdir '" directory "'")
	write("name", name "\n")
	write("file", file "\n")
	write("by", by)
	read_source(file, within)
	sub(/\n$/, "", old)
	sub(/\n$/, "", new)
	at = index(where, old)
	rest = at ? substr(where, at + 1) : ""
	if (!at)
		write("wrong", "NOT FOUND\n")
	else if (index(rest, old))
		write("wrong", "NOT FOUND ONLY ONCE\n")
	else
		write("mutated", before substr(where, 1, at - 1) new \
			substr(where, at + length(old)) after)
	name = ""
}

# The object is part of the name.
FNR == 1 {
	finish()
	object = FILENAME
	sub(/.*\//, "", object)
	sub(/\.mutants$/, "", object)
}

/^#/ || /^$/ { next }

$1 == "mutant" {
	finish()
	name = object "/" $2
	file = within = old = new = by = ""
	if (name in seen)
		fail("there is another " name)
	seen[name] = 1
	next
}

$1 == "in" {
	file = $2
	within = $3
	next
}

/^-/ {
	old = old stripped(substr($0, 2)) "\n"
	next
}

/^\+/ {
	new = new stripped(substr($0, 2)) "\n"
	next
}

$1 == "by" {
	by = by stripped(substr($0, 3)) "\n"
	next
}

{ fail("what is this?") }

END {
	if (!failed)
		finish()
	exit failed
}
