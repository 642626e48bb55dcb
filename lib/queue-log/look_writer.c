/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a program has a log open.
 *
 * It has the file `lock` open for writing, and holds flock(2) on it. To try that lock would answer,
 * but a program that opens the log in that moment would be told that it is open elsewhere. So the
 * question is put in another way: a read lease, fcntl(2), is granted on a file that nobody has open
 * for writing. Who wants to open it while there is a lease waits until it is given back, and does
 * not fail. Leases are for the owner of a file. To others /proc/locks shows the lock; but not those of
 * another PID namespace, and its numbers of devices are not always those of stat(2).
 */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE 256

/* 0, 1, or -EAGAIN: it cannot be asked. */
static int
ask_by_lease(int file)
{
	int rc;

	/* Who waits for the lease is announced by a signal: one that does nothing, unasked. */
	if (fcntl(file, F_SETSIG, SIGURG) != 0)
		return -EAGAIN;
	rc = fcntl(file, F_SETLEASE, F_RDLCK);
	if (rc != 0)
		return errno == EAGAIN ? 1 : -EAGAIN;
	(void)fcntl(file, F_SETLEASE, F_UNLCK);
	return 0;
}

/* "1: FLOCK  ADVISORY  WRITE 1234 fe:00:567 0 EOF": the inode is 567. */
static bool
is_lock_on(char *line, ino_t inode)
{
	static const char blanks[] = " \n";
	const char *fields[6], *number;
	char *rest;
	size_t i;

	for (i = 0; i < sizeof fields / sizeof *fields; i++) {
		fields[i] = strtok_r(i == 0 ? line : NULL, blanks, &rest);
		if (!fields[i])
			return false;
	}
	number = strrchr(fields[5], ':');
	return strcmp(fields[1], "FLOCK") == 0 && strcmp(fields[3], "WRITE") == 0 && number &&
	       strtoull(number + 1, NULL, 10) == inode;
}

static int
ask_by_list(int file)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[LINE];
	struct stat status;
	int rc = 0;

	if (!locks)
		return -EAGAIN;
	if (fstat(file, &status) != 0)
		rc = -EAGAIN;
	while (rc == 0 && fgets(line, sizeof line, locks))
		rc = is_lock_on(line, status.st_ino);
	(void)fclose(locks);
	return rc;
}

int
look_has_writer(const struct look *look)
{
	int file = openat(look->directory, "lock", O_RDONLY | O_CLOEXEC), rc;

	/* Who opens a log makes it first. */
	if (file < 0)
		return errno == ENOENT ? 0 : -EAGAIN;
	rc = ask_by_lease(file);
	if (rc < 0)
		rc = ask_by_list(file);
	(void)close(file);
	return rc;
}
