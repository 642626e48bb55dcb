/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system's disk, in a directory of its own. The system calls are watched: they are interrupted,
 * do less than they were asked for, or fail; and those that make things last are counted.
 */
/* LIBS: -Wl,--wrap=syscall */
#include "unit.h"

#include "../../lib/disk_impl.h"
#include "../support/wrap_syscall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MANY 300 /* files: more than one getdents64(2) tells of */

static const struct queue_impl_disk *const disk = &queue_impl_disk_system;

/* What becomes of the calls with this number. */
static struct {
	long number;
	int interrupts; /* so many at first */
	int error;	/* then, of all */
	long most;	/* bytes of a read or write; 0: all */
	int calls;
	bool is_empty; /* they do nothing, and say so */
	ino_t synced;  /* the last directory that was to last */
} watch;

static long
on_syscall(long number, const long *arguments)
{
	struct stat file;
	long fewer[6];

	if (number == SYS_fsync && fstat((int)arguments[0], &file) == 0)
		watch.synced = file.st_ino;
	if (number != watch.number)
		return real_syscall(number, arguments);
	watch.calls++;
	if (watch.interrupts > 0 || watch.error > 0) {
		errno = watch.interrupts > 0 ? EINTR : watch.error;
		watch.interrupts -= watch.interrupts > 0;
		return -1;
	}
	if (watch.is_empty)
		return 0;
	memcpy(fewer, arguments, sizeof fewer);
	if (watch.most > 0 && fewer[2] > watch.most)
		fewer[2] = watch.most;
	return real_syscall(number, fewer);
}

static void
watch_calls(long number, int interrupts, int error, long most)
{
	memset(&watch, 0, sizeof watch);
	watch.number = number;
	watch.interrupts = interrupts;
	watch.error = error;
	watch.most = most;
	errno = EDOM;
}

/* Errno is the user's. */
static int
count_calls(void)
{
	int calls = watch.calls;

	cr_assert_eq(errno, EDOM);
	memset(&watch, 0, sizeof watch);
	watch.number = -1;
	return calls;
}

static char path[64];

/* The directory is not there yet. */
static void
make_path(void)
{
	watch.number = -1;
	(void)snprintf(path, sizeof path, "/tmp/conveyor-disk.XXXXXX");
	cr_assert_not_null(mkdtemp(path));
	(void)rmdir(path);
}

static int
make_directory(void)
{
	int directory;

	make_path();
	directory = disk->open_directory(NULL, path, true);
	cr_assert_geq(directory, 0);
	return directory;
}

static void
remove_directory(int directory)
{
	disk->close(NULL, directory);
	cr_assert_eq(rmdir(path), 0);
}

static int
make_file(int directory, const char *name, const char *text)
{
	int file = disk->open(NULL, directory, name, QUEUE_IMPL_DISK_CREATE);

	cr_assert_geq(file, 0);
	cr_assert_eq(disk->write(NULL, file, text, strlen(text), 0), 0);
	return file;
}

Test(disk, reads_what_was_written)
{
	int directory = make_directory(), file = make_file(directory, "a", "0123456789"), other;
	char text[16] = {0};

	cr_assert_eq(disk->write(NULL, file, "xy", 2, 9), 0);
	cr_assert_eq(disk->size(NULL, file), 11);
	cr_assert_eq(disk->read(NULL, file, text, 4, 7), 4);
	cr_assert_eq(memcmp(text, "78xy", 4), 0);
	cr_assert_eq(disk->read(NULL, file, text, 16, 8), 3);
	cr_assert_eq(disk->read(NULL, file, text, 16, 11), 0);
	other = disk->open(NULL, directory, "a", QUEUE_IMPL_DISK_READ);
	cr_assert_geq(other, 0);
	cr_assert_eq(disk->read(NULL, other, text, 1, 0), 1);
	cr_assert_eq(disk->write(NULL, other, "x", 1, 0), -EBADF);
	disk->close(NULL, other);
	other = disk->open(NULL, directory, "a", QUEUE_IMPL_DISK_WRITE);
	cr_assert_geq(other, 0);
	cr_assert_eq(disk->write(NULL, other, "x", 1, 0), 0);
	cr_assert_eq(disk->read(NULL, file, text, 1, 0), 1);
	cr_assert_eq(text[0], 'x');
	disk->close(NULL, other);
	disk->close(NULL, file);
	cr_assert_eq(disk->open(NULL, directory, "b", QUEUE_IMPL_DISK_READ), -ENOENT);
	cr_assert_eq(disk->open(NULL, directory, "b", QUEUE_IMPL_DISK_WRITE), -ENOENT);
	cr_assert_eq(disk->unlink(NULL, directory, "a"), 0);
	remove_directory(directory);
}

Test(disk, renames_and_unlinks)
{
	int directory = make_directory(), file = make_file(directory, "a", "first");
	char text[8];

	disk->close(NULL, file);
	disk->close(NULL, make_file(directory, "b", "second"));
	cr_assert_eq(disk->rename(NULL, directory, "a", "b"), 0);
	cr_assert_eq(disk->rename(NULL, directory, "a", "b"), -ENOENT);
	file = disk->open(NULL, directory, "b", QUEUE_IMPL_DISK_READ);
	cr_assert_eq(disk->read(NULL, file, text, 8, 0), 5);
	disk->close(NULL, file);
	cr_assert_eq(disk->unlink(NULL, directory, "b"), 0);
	cr_assert_eq(disk->unlink(NULL, directory, "b"), -ENOENT);
	remove_directory(directory);
}

Test(disk, one_opener_has_the_lock)
{
	int directory = make_directory(), first = make_file(directory, "lock", ""), second;

	second = disk->open(NULL, directory, "lock", QUEUE_IMPL_DISK_WRITE);
	cr_assert_eq(disk->lock(NULL, first), 0);
	cr_assert_eq(disk->lock(NULL, second), -EBUSY);
	disk->close(NULL, first);
	cr_assert_eq(disk->lock(NULL, second), 0);
	watch_calls(SYS_flock, 0, ENOLCK, 0);
	cr_assert_eq(disk->lock(NULL, second), -ENOLCK);
	(void)count_calls();
	disk->close(NULL, second);
	cr_assert_eq(disk->unlink(NULL, directory, "lock"), 0);
	remove_directory(directory);
}

static bool seen[MANY];

static void
note(const char *name, void *argument)
{
	int number = atoi(name);

	cr_assert(number >= 0 && number < MANY && !seen[number], "%s", name);
	seen[number] = true;
	++*(int *)argument;
}

Test(disk, lists_each_file_once)
{
	int directory = make_directory(), n = 0;
	char name[64];

	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "%d, with a name that is not short", i);
		disk->close(NULL, make_file(directory, name, ""));
	}
	/* Those that are hidden are not ours. */
	disk->close(NULL, make_file(directory, ".hidden", ""));
	for (int again = 0; again < 2; again++) {
		memset(seen, 0, sizeof seen);
		n = 0;
		cr_assert_eq(disk->list(NULL, directory, note, &n), 0);
		cr_assert_eq(n, MANY);
	}
	watch_calls(SYS_getdents64, 1, EIO, 0);
	cr_assert_eq(disk->list(NULL, directory, note, &n), -EIO);
	cr_assert_eq(count_calls(), 2);
	watch_calls(SYS_openat, 0, EMFILE, 0);
	cr_assert_eq(disk->list(NULL, directory, note, &n), -EMFILE);
	cr_assert_eq(count_calls(), 1);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "%d, with a name that is not short", i);
		cr_assert_eq(disk->unlink(NULL, directory, name), 0);
	}
	cr_assert_eq(disk->unlink(NULL, directory, ".hidden"), 0);
	remove_directory(directory);
}

/* A signal or a pipe's size is nothing that a log should know of. */
Test(disk, does_all_of_it_though_the_system_does_a_part)
{
	int directory = make_directory(), file;
	char text[16] = {0};

	watch_calls(SYS_openat, 2, 0, 0);
	file = disk->open(NULL, directory, "a", QUEUE_IMPL_DISK_CREATE);
	cr_assert_geq(file, 0);
	cr_assert_eq(count_calls(), 3);
	watch_calls(SYS_pwrite64, 2, 0, 3);
	cr_assert_eq(disk->write(NULL, file, "0123456789", 10, 0), 0);
	cr_assert_eq(count_calls(), 6);
	watch_calls(SYS_pread64, 1, 0, 4);
	cr_assert_eq(disk->read(NULL, file, text, 16, 0), 10);
	cr_assert_eq(count_calls(), 5);
	cr_assert_eq(memcmp(text, "0123456789", 10), 0);
	watch_calls(SYS_pwrite64, 0, 0, 0);
	watch.is_empty = true;
	cr_assert_eq(disk->write(NULL, file, "x", 1, 0), -EIO);
	(void)count_calls();
	watch_calls(SYS_pwrite64, 0, ENOSPC, 0);
	cr_assert_eq(disk->write(NULL, file, "x", 1, 0), -ENOSPC);
	(void)count_calls();
	watch_calls(SYS_pread64, 0, EIO, 0);
	cr_assert_eq(disk->read(NULL, file, text, 1, 0), -EIO);
	(void)count_calls();
	disk->close(NULL, file);
	cr_assert_eq(disk->unlink(NULL, directory, "a"), 0);
	remove_directory(directory);
}

/* Whether they do is for the system; that it is asked can be seen. An error is told, and once. */
Test(disk, asks_for_what_is_to_last)
{
	int directory = make_directory(), file = make_file(directory, "a", "text");

	watch_calls(SYS_fdatasync, 1, 0, 0);
	cr_assert_eq(disk->sync(NULL, file), 0);
	cr_assert_eq(count_calls(), 2);
	watch_calls(SYS_fdatasync, 0, EIO, 0);
	cr_assert_eq(disk->sync(NULL, file), -EIO);
	cr_assert_eq(count_calls(), 1);
	watch_calls(SYS_fsync, 0, 0, 0);
	cr_assert_eq(disk->sync_directory(NULL, directory), 0);
	cr_assert_eq(count_calls(), 1);
	watch_calls(SYS_fsync, 0, EIO, 0);
	cr_assert_eq(disk->sync_directory(NULL, directory), -EIO);
	cr_assert_eq(count_calls(), 1);
	disk->close(NULL, file);
	cr_assert_eq(disk->unlink(NULL, directory, "a"), 0);
	remove_directory(directory);
}

static ino_t
inode_of(const char *name)
{
	struct stat file;

	cr_assert_eq(stat(name, &file), 0);
	return file.st_ino;
}

/* The directory's own name has to last as well, also when somebody else has just made it. */
Test(disk, a_directory_is_made_to_last)
{
	int directory;
	char longer[80];

	make_path();
	watch_calls(SYS_fsync, 0, 0, 0);
	cr_assert_eq(disk->open_directory(NULL, path, false), -ENOENT);
	cr_assert_eq(count_calls(), 0);
	for (int again = 0; again < 2; again++) {
		(void)snprintf(longer, sizeof longer, "%s%s", path, again ? "//" : "");
		watch_calls(SYS_fsync, 0, 0, 0);
		directory = disk->open_directory(NULL, longer, true);
		cr_assert_geq(directory, 0);
		cr_assert_eq(watch.synced, inode_of("/tmp"));
		cr_assert_eq(count_calls(), 1);
		disk->close(NULL, directory);
	}
	directory = disk->open_directory(NULL, path, false);
	cr_assert_geq(directory, 0);
	disk->close(NULL, make_file(directory, "a", ""));
	(void)snprintf(longer, sizeof longer, "%s/a", path);
	cr_assert_eq(disk->open_directory(NULL, longer, false), -ENOTDIR);
	cr_assert_eq(disk->open_directory(NULL, longer, true), -ENOTDIR);
	(void)snprintf(longer, sizeof longer, "%s/b/c", path);
	cr_assert_eq(disk->open_directory(NULL, longer, true), -ENOENT);
	watch_calls(SYS_fsync, 0, EIO, 0);
	cr_assert_eq(disk->open_directory(NULL, path, true), -EIO);
	(void)count_calls();
	watch_calls(SYS_openat, 0, EMFILE, 0);
	cr_assert_eq(disk->open_directory(NULL, path, true), -EMFILE);
	(void)count_calls();
	cr_assert_eq(disk->unlink(NULL, directory, "a"), 0);
	remove_directory(directory);
}

/* The one directory that is in no other. */
Test(disk, the_root_is_made_to_last_in_itself)
{
	int outer = make_directory();

	cr_assert_eq(chdir(path), 0);
	for (int slashes = 1; slashes <= 2; slashes++) {
		int root = disk->open_directory(NULL, slashes == 1 ? "/" : "//", true);

		cr_assert_geq(root, 0, "%d", root);
		cr_assert_eq(watch.synced, inode_of("/"));
		disk->close(NULL, root);
	}
	cr_assert_eq(chdir("/"), 0);
	remove_directory(outer);
}

Test(disk, a_directory_can_be_named_from_where_we_are)
{
	int outer = make_directory(), inner;

	cr_assert_eq(chdir(path), 0);
	inner = disk->open_directory(NULL, "inner", true);
	cr_assert_geq(inner, 0);
	cr_assert_eq(watch.synced, inode_of("."));
	disk->close(NULL, inner);
	cr_assert_eq(rmdir("inner"), 0);
	/* Longer than any path. */
	{
		static char name[8192];

		memset(name, 'x', sizeof name - 1);
		cr_assert_eq(disk->open_directory(NULL, name, true), -ENAMETOOLONG);
	}
	cr_assert_eq(chdir("/"), 0);
	remove_directory(outer);
}
