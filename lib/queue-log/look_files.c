/* SPDX-License-Identifier: BSD-2-Clause */
/* What is in a log's directory: names, and headers. */
#include "look_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- The directory --------------------------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static int
note_base(struct look *look, uint64_t base)
{
	if (look->n_bases == look->capacity) {
		size_t capacity = look->capacity ? 2 * look->capacity : 64;
		uint64_t *bases = realloc(look->bases, capacity * sizeof *bases);

		if (!bases)
			return -ENOMEM;
		look->bases = bases;
		look->capacity = capacity;
	}
	look->bases[look->n_bases++] = base;
	return 0;
}

/* Like one of ours: a decimal number behind. */
static bool
is_spare(const char *name)
{
	static const char begin[] = "spare.";
	size_t digits;

	if (strncmp(name, begin, sizeof begin - 1) != 0)
		return false;
	name += sizeof begin - 1;
	digits = strspn(name, "0123456789");
	return digits > 0 && name[digits] == '\0';
}

static void
note_file(const char *name, void *opaque)
{
	struct look *look = opaque;
	uint64_t base;

	if (queue_impl_log_is_file_name(name, &base)) {
		int rc = note_base(look, base);

		if (rc < 0)
			look->rc = rc;
	} else if (is_spare(name)) {
		look->n_spares++;
	}
}

int
look_list(struct look *look)
{
	int rc;

	look->n_bases = look->n_spares = 0;
	look->rc = 0;
	rc = look->disk->list(look->disk->context, look->directory, note_file, look);
	if (rc == 0)
		rc = look->rc;
	if (rc == 0 && look->n_bases > 1)
		qsort(look->bases, look->n_bases, sizeof *look->bases, compare);
	return rc;
}

int
look_open_file(const struct look *look, uint64_t base)
{
	char name[QUEUE_IMPL_LOG_FILE_NAME];

	queue_impl_log_file_name(name, base);
	return look->disk->open(look->disk->context, look->directory, name, QUEUE_IMPL_DISK_READ);
}

/* A file is there under the name of a segment; and it is this one, unless `file` is negative. */
bool
look_is_there(const struct look *look, uint64_t base, int file)
{
	char name[QUEUE_IMPL_LOG_FILE_NAME];
	struct stat named, open;

	queue_impl_log_file_name(name, base);
	if (fstatat(look->directory, name, &named, 0) != 0)
		return false;
	if (file < 0)
		return true;
	return fstat(file, &open) == 0 && named.st_ino == open.st_ino;
}

/* ---- Headers --------------------------------------------------------------------------------- */

/* Both headers of a file. 0, also when they are damaged. */
int
look_read_headers(const struct look *look, int file, uint64_t base, struct look_headers *headers)
{
	const struct queue_impl_disk *disk = look->disk;
	struct queue_impl_log_segment_header second;
	unsigned char bytes[QUEUE_IMPL_LOG_HEADER] = {0};
	int64_t n = disk->read(disk->context, file, bytes, sizeof bytes, 0);
	int64_t size = disk->size(disk->context, file);

	if (n < 0 || size < 0)
		return (int)(n < 0 ? n : size);
	headers->size = (uint64_t)size;
	headers->first = queue_impl_log_read_header(bytes, &headers->header);
	headers->second = queue_impl_log_read_header(bytes + QUEUE_IMPL_LOG_HEADER_AGAIN, &second);
	if (headers->first == 0 && headers->header.base != base)
		headers->first = -EILSEQ;
	if (headers->second == 0 && second.base != base)
		headers->second = -EILSEQ;
	if (headers->first < 0 && headers->second == 0)
		headers->header = second;
	return 0;
}

bool
look_is_later_version(const struct look_headers *headers)
{
	return headers->first == -ENOTSUP || headers->second == -ENOTSUP;
}

int
look_header_of(const struct look *look, size_t i, struct look_segment *segment)
{
	struct look_headers headers;
	uint64_t base = look->bases[i];
	int file = look_open_file(look, base), rc;

	if (file < 0)
		return file;
	rc = look_read_headers(look, file, base, &headers);
	look->disk->close(look->disk->context, file);
	if (rc == 0 && look_is_later_version(&headers))
		rc = -ENOTSUP;
	if (rc == 0 && headers.first < 0 && headers.second < 0)
		rc = -EILSEQ;
	if (rc == 0)
		*segment = (struct look_segment){
			.base = base,
			.end = base + (headers.header.size - QUEUE_IMPL_LOG_HEADER),
			.salt = headers.header.salt,
			.created = headers.header.created,
			.size = headers.header.size,
		};
	return rc;
}

int
look_youngest(struct look *look, struct look_segment *segment)
{
	int rc = look_list(look);
	size_t i;

	if (rc < 0)
		return rc;
	rc = -ENOENT;
	for (i = look->n_bases; i > 0 && (rc == -ENOENT || rc == -EILSEQ); i--)
		rc = look_header_of(look, i - 1, segment);
	return rc == -EILSEQ ? -ENOENT : rc;
}

int
look_extent(struct look *look, uint64_t *begins, uint64_t *ends)
{
	struct look_segment segment;
	int rc = look_youngest(look, &segment);

	*begins = look->n_bases > 0 ? look->bases[0] : 0;
	*ends = rc == 0 ? segment.end : *begins;
	return rc == -ENOENT ? 0 : rc;
}
