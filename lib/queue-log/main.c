/* SPDX-License-Identifier: BSD-2-Clause */
/* queue-log: which command, and what its exit status is. See queue-log(1). */
#include "command.h"
#include "text.h"

#include <conveyor/version.h>

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
	&command_inspect, &command_cat,	  &command_tail,  &command_verify,
	&command_repair,  &command_purge, &command_bench, NULL,
};

static void
print_help(void)
{
	size_t i;

	(void)puts("usage: queue-log COMMAND [OPTION]... DIRECTORY\n"
		   "Looks at a durable queue of conveyor, and mends it. DIRECTORY is the log's.\n");
	for (i = 0; commands[i]; i++)
		(void)printf("  %-9s %s\n", commands[i]->name, commands[i]->about);
	(void)puts(
		"\nqueue-log COMMAND --help says more; --version prints the version.\n"
		"inspect, cat, tail and verify change nothing, and may be used at any time;\n"
		"repair and purge need that no program has the log open.\n\n"
		"Exit status: 0 done; 1 verify: a torn end; cat and tail: messages went\n"
		"meanwhile; 2 damage, or wrong usage; 3 a program has the log open, with repair\n"
		"and purge; 4 it failed.");
}

/* What was printed may be in no file yet, and a full disk shows only now. */
static int
end_output(int status)
{
	bool failed = ferror(stdout) != 0;

	errno = 0;
	if (fclose(stdout) == 0 && !failed)
		return status;
	complain("cannot write the output: %s", errno ? strerror(errno) : "some of it is missing");
	return STATUS_FAILED;
}

static int
run(const struct command *command, int argc, char **argv)
{
	struct options options = {
		.count = UINT64_MAX,
		.lines = 10,
		.threads = 4,
		.size = 100,
		.seconds = 5,
	};

	switch (arguments_parse(command, &options, argc, argv)) {
	case ARGUMENTS_DONE:
		return STATUS_DONE;
	case ARGUMENTS_BAD:
		return STATUS_USAGE;
	case ARGUMENTS_RUN:
		break;
	}
	return (int)command->run(&options);
}

int
main(int argc, char **argv)
{
	size_t i;

	/* For what can be seen on the user's terminal. */
	(void)setlocale(LC_CTYPE, "");
	if (argc < 2) {
		complain("the command is missing; see queue-log --help");
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0) {
		print_help();
		return end_output(STATUS_DONE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)puts("queue-log " QUEUE_VERSION);
		return end_output(STATUS_DONE);
	}
	for (i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, argv[1]) == 0)
			return end_output(run(commands[i], argc - 1, argv + 1));
	complain(argv[1][0] == '-' ? "there is no option \"%s\"; see queue-log --help"
				   : "there is no command \"%s\"; see queue-log --help",
		 argv[1]);
	return STATUS_USAGE;
}
