/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk.h"

#include "crew.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)

static int
write_all(int file, const char *bytes, size_t length, uint64_t offset)
{
	while (length > 0) {
		ssize_t n = pwrite(file, bytes, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		length -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int
sync_data(int file)
{
	return fdatasync(file) == 0 ? 0 : -errno;
}

int
bench_disk_make(const char *path, uint64_t size)
{
	char *zeros = calloc(1, PIECE);
	uint64_t at;
	int file, rc = 0;

	if (!zeros)
		return -ENOMEM;
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (file < 0) {
		rc = -errno;
		free(zeros);
		return rc;
	}
	for (at = 0; rc == 0 && at < size; at += PIECE)
		rc = write_all(file, zeros, PIECE, at);
	if (rc == 0 && fsync(file) != 0)
		rc = -errno;
	(void)close(file);
	free(zeros);
	return rc;
}

int
bench_disk_write(const char *path, size_t piece, uint64_t ns, double *rate)
{
	uint64_t begun, now, count = 0, at = 0, size;
	int file = open(path, O_WRONLY | O_CLOEXEC), rc = 0;
	char *bytes;

	if (file < 0)
		return -errno;
	size = (uint64_t)lseek(file, 0, SEEK_END);
	bytes = malloc(piece);
	if (!bytes) {
		(void)close(file);
		return -ENOMEM;
	}
	begun = bench_now();
	do {
		memset(bytes, (int)(count % 255 + 1), piece);
		rc = write_all(file, bytes, piece, at);
		if (rc == 0)
			rc = sync_data(file);
		at = at + 2 * piece <= size ? at + piece : 0;
		count++;
		now = bench_now();
	} while (rc == 0 && now - begun < ns);
	*rate = (double)count * 1e9 / (double)(now - begun);
	(void)close(file);
	free(bytes);
	return rc;
}

int
bench_disk_read(const char *path, uint64_t length, char *buffer, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	uint64_t at = 0;

	if (file < 0)
		return -errno;
	while (rc == 0 && at < length) {
		ssize_t n = pread(file, buffer, length - at < size ? length - at : size, (off_t)at);

		if (n < 0 && errno != EINTR)
			rc = -errno;
		if (n == 0)
			break;
		at += n > 0 ? (uint64_t)n : 0;
	}
	(void)close(file);
	return rc;
}

/* Only what is on the disk already can be given up. */
static int
forget_file(int directory, const char *name)
{
	int file = openat(directory, name, O_RDONLY | O_CLOEXEC), rc;

	if (file < 0)
		return -errno;
	rc = sync_data(file);
	if (rc == 0)
		rc = -posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	(void)close(file);
	return rc;
}

int
bench_disk_forget(const char *directory)
{
	DIR *list = opendir(directory);
	const struct dirent *entry;
	int rc = 0;

	if (!list)
		return -errno;
	while (rc == 0 && (entry = readdir(list)))
		if (entry->d_name[0] != '.')
			rc = forget_file(dirfd(list), entry->d_name);
	(void)closedir(list);
	return rc;
}
