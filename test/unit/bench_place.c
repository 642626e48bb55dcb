/* SPDX-License-Identifier: BSD-2-Clause */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define MIB (UINT64_C(1) << 20)

static struct bench_place place;
static char base[32];

static void
begin(void)
{
	(void)snprintf(base, sizeof base, "/tmp/bench_place.XXXXXX");
	cr_assert_not_null(mkdtemp(base));
}

static void
end(void)
{
	cr_assert_eq(bench_remove_all(base), 0);
}

static bool
is_there(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

/* In the place, whose path comes first. */
static const char *
path_of(const char *name)
{
	static char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof path, "%s/%s", place.path, name);
	return path;
}

static void
make_file(const char *name)
{
	int file = open(path_of(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

	cr_assert_geq(file, 0);
	cr_assert_eq(write(file, "x", 1), 1);
	(void)close(file);
}

/* ---- Where --------------------------------------------------------------------------------- */

Test(bench_place, is_a_directory_of_its_own_below_the_one_that_was_named)
{
	struct bench_place second;
	struct stat status;

	begin();
	cr_assert_eq(bench_place_make(&place, base), 0);
	cr_assert_eq(bench_place_make(&second, base), 0);
	cr_assert_eq(strncmp(place.path, base, strlen(base)), 0);
	cr_assert_neq(strcmp(place.path, second.path), 0);
	cr_assert_eq(stat(place.path, &status), 0);
	cr_assert(S_ISDIR(status.st_mode));
	cr_assert_neq(place.system[0], '\0');
	cr_assert_gt(place.room, 0);
	end();
}

Test(bench_place, is_in_the_current_directory_when_that_is_on_a_disk)
{
	struct bench_place named;
	int here = open(".", O_RDONLY | O_DIRECTORY);

	begin();
	cr_assert_eq(bench_place_make(&named, base), 0);
	cr_assert_eq(chdir(base), 0);
	cr_assert_eq(bench_place_make(&place, NULL), 0);
	cr_assert_eq(strncmp(place.path, "./", 2) == 0, !named.in_memory);
	cr_assert_eq(bench_remove_all(place.path), 0);
	cr_assert_eq(fchdir(here), 0);
	(void)close(here);
	end();
}

/* Where there is a tmpfs, which is so on nearly every system. */
Test(bench_place, says_where_nothing_is_kept)
{
	if (bench_place_make(&place, "/dev/shm") != 0)
		return;
	if (strcmp(place.system, "tmpfs") == 0)
		cr_assert(place.in_memory);
	cr_assert_eq(bench_remove_all(place.path), 0);
}

Test(bench_place, that_cannot_be_is_named)
{
	cr_assert_eq(bench_place_make(&place, "/nothing/there"), -ENOENT);
	cr_assert_eq(strcmp(place.path, "/nothing/there"), 0);
	cr_assert_eq(bench_place_make(&place, "/dev/null"), -ENOTDIR);
	cr_assert_eq(strcmp(place.path, "/dev/null"), 0);
}

Test(bench_place, goes_with_all_that_is_in_it_and_nothing_else)
{
	char other[PATH_MAX];

	begin();
	cr_assert_eq(bench_place_make(&place, base), 0);
	(void)snprintf(other, sizeof other, "%s/other", base);
	cr_assert_eq(mkdir(other, 0700), 0);
	make_file("file");
	cr_assert_eq(mkdir(path_of("deep"), 0700), 0);
	make_file("deep/file");
	/* A link goes, and not what it leads to. */
	cr_assert_eq(symlink(other, path_of("deep/link")), 0);
	cr_assert_eq(bench_remove_all(place.path), 0);
	cr_assert(!is_there(place.path));
	cr_assert(is_there(other));
	cr_assert_eq(bench_remove_all(place.path), 0, "what is not there is no error");
	end();
}

/* ---- How large ----------------------------------------------------------------------------- */

Test(bench_place, sizes_are_powers_of_two_from_1_to_64_mib)
{
	cr_assert_eq(bench_place_size(1e12, 60, 1, UINT64_MAX), 64 * MIB);
	cr_assert_eq(bench_place_size(1, 1, 100, UINT64_MAX), MIB);
	cr_assert_eq(bench_place_size(0, 0, 1, 0), MIB);
}

Test(bench_place, sizes_are_what_can_be_written_in_the_time)
{
	/* 8 files in one second at 80 MiB/s: 10 MiB each. */
	cr_assert_eq(bench_place_size(80. * MIB, 1, 8, UINT64_MAX), 8 * MIB);
	cr_assert_eq(bench_place_size(80. * MIB, 1.6, 8, UINT64_MAX), 16 * MIB);
	cr_assert_eq(bench_place_size(63.9 * MIB, 1, 8, UINT64_MAX), 4 * MIB);
}

Test(bench_place, sizes_are_what_there_is_room_for)
{
	cr_assert_eq(bench_place_size(1e12, 60, 8, 256 * MIB), 32 * MIB);
	cr_assert_eq(bench_place_size(1e12, 60, 8, 256 * MIB - 1), 16 * MIB);
}

/* ---- Signals ------------------------------------------------------------------------------- */

/* How a process ends that calls this. */
static int
status_of(void (*body)(void))
{
	int status = -1;
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		body();
		_exit(7);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

static void
interrupted(void)
{
	bench_signals_hold();
	(void)raise(SIGINT);
	if (bench_signals_noted() != SIGINT)
		_exit(1);
	bench_signals_release();
}

Test(bench_place, a_signal_is_noted_and_does_what_it_does_when_it_is_released)
{
	int status = status_of(interrupted);

	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(WTERMSIG(status), SIGINT);
}

static void
not_interrupted(void)
{
	bench_signals_hold();
	if (bench_signals_noted() != 0)
		_exit(1);
	bench_signals_release();
	_exit(3);
}

Test(bench_place, without_a_signal_nothing_happens)
{
	int status = status_of(not_interrupted);

	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 3);
}

static void
passed(void)
{
	bench_signals_hold();
	bench_signals_pass();
	(void)raise(SIGTERM);
}

Test(bench_place, a_signal_ends_who_lets_it_pass)
{
	int status = status_of(passed);

	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(WTERMSIG(status), SIGTERM);
}

static void
ignored(void)
{
	(void)signal(SIGHUP, SIG_IGN);
	bench_signals_hold();
	(void)raise(SIGHUP);
	if (bench_signals_noted() != 0)
		_exit(1);
	bench_signals_release();
	(void)raise(SIGHUP);
	_exit(4);
}

Test(bench_place, a_signal_that_is_ignored_stays_so)
{
	int status = status_of(ignored);

	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 4);
}
