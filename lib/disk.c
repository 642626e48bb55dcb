/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What getdents64(2) fills in, which linux/dirent.h has for the kernel alone. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* As the system has it: a negative error number. An interrupted call is made again. */
static long
quiet_syscall(long number, long a, intptr_t b, intptr_t c, long d)
{
	int saved = errno;
	long rc;

	do
		rc = syscall(number, a, b, c, d, 0);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		rc = -errno;
	errno = saved;
	return rc;
}

/* Once: an interrupted close(2) has closed it. */
static void
close_file(void *context, int file)
{
	int saved = errno;

	(void)context;
	(void)syscall(SYS_close, file);
	errno = saved;
}

static int
sync_directory(void *context, int directory)
{
	(void)context;
	return (int)quiet_syscall(SYS_fsync, directory, 0, 0, 0);
}

static int
open_at(int directory, const char *name, int flags)
{
	return (int)quiet_syscall(SYS_openat, directory, (intptr_t)name, flags | O_CLOEXEC, 0666);
}

/* The directory that the path's last name is in. */
static int
sync_parent(const char *path)
{
	char parent[PATH_MAX];
	size_t length = strlen(path);
	int file, rc;

	/* The root is in itself. */
	while (length > 1 && path[length - 1] == '/')
		length--;
	while (length > 0 && path[length - 1] != '/')
		length--;
	if (length >= sizeof parent)
		return -ENAMETOOLONG;
	memcpy(parent, path, length);
	parent[length] = '\0';
	file = open_at(AT_FDCWD, length > 0 ? parent : ".", O_RDONLY | O_DIRECTORY);
	if (file < 0)
		return file;
	rc = sync_directory(NULL, file);
	close_file(NULL, file);
	return rc;
}

static int
open_directory(void *context, const char *path, bool create)
{
	int rc;

	(void)context;
	if (create) {
		rc = (int)quiet_syscall(SYS_mkdirat, AT_FDCWD, (intptr_t)path, 0777, 0);
		/* Also when it was there: who made it may have come no further. */
		if (rc == 0 || rc == -EEXIST)
			rc = sync_parent(path);
		if (rc < 0)
			return rc;
	}
	return open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
}

static int
open_file(void *context, int directory, const char *name, enum queue_impl_disk_mode mode)
{
	(void)context;
	return open_at(directory, name,
		       mode == QUEUE_IMPL_DISK_READ	? O_RDONLY
		       : mode == QUEUE_IMPL_DISK_CREATE ? O_RDWR | O_CREAT
							: O_RDWR);
}

static int
lock_file(void *context, int file)
{
	int rc = (int)quiet_syscall(SYS_flock, file, LOCK_EX | LOCK_NB, 0, 0);

	(void)context;
	return rc == -EAGAIN ? -EBUSY : rc;
}

static int64_t
read_file(void *context, int file, void *data, size_t length, uint64_t offset)
{
	size_t done = 0;

	(void)context;
	while (done < length) {
		long n = quiet_syscall(SYS_pread64, file, (intptr_t)((char *)data + done),
				       (intptr_t)(length - done), (long)(offset + done));

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

static int
write_file(void *context, int file, const void *data, size_t length, uint64_t offset)
{
	size_t done = 0;

	(void)context;
	while (done < length) {
		long n = quiet_syscall(SYS_pwrite64, file, (intptr_t)((const char *)data + done),
				       (intptr_t)(length - done), (long)(offset + done));

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int
sync_file(void *context, int file)
{
	(void)context;
	return (int)quiet_syscall(SYS_fdatasync, file, 0, 0, 0);
}

static int64_t
size_of_file(void *context, int file)
{
	(void)context;
	return quiet_syscall(SYS_lseek, file, 0, SEEK_END, 0);
}

static int
rename_file(void *context, int directory, const char *from, const char *to)
{
	(void)context;
	return (int)quiet_syscall(SYS_renameat2, directory, (intptr_t)from, directory, (long)to);
}

static int
unlink_file(void *context, int directory, const char *name)
{
	(void)context;
	return (int)quiet_syscall(SYS_unlinkat, directory, (intptr_t)name, 0, 0);
}

static int
list_files(void *context, int directory, void (*each)(const char *name, void *argument),
	   void *argument)
{
	_Alignas(struct entry) char buffer[4096];
	long n, at;
	/* One of its own: where it stands in the directory is the file's. */
	int file = open_at(directory, ".", O_RDONLY | O_DIRECTORY);

	(void)context;
	if (file < 0)
		return file;
	while ((n = quiet_syscall(SYS_getdents64, file, (intptr_t)buffer, sizeof buffer, 0)) > 0)
		for (at = 0; at < n;) {
			const struct entry *entry = (const void *)(buffer + at);

			if (entry->name[0] != '.')
				each(entry->name, argument);
			at += entry->length;
		}
	close_file(NULL, file);
	return (int)n;
}

const struct queue_impl_disk queue_impl_disk_system = {
	.open_directory = open_directory,
	.open = open_file,
	.close = close_file,
	.lock = lock_file,
	.read = read_file,
	.write = write_file,
	.sync = sync_file,
	.size = size_of_file,
	.rename = rename_file,
	.unlink = unlink_file,
	.sync_directory = sync_directory,
	.list = list_files,
};
