/* SPDX-License-Identifier: BSD-2-Clause */
#include "place.h"

#include <errno.h>
#include <ftw.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof *(table))

#define SIZE_LEAST (UINT64_C(1) << 20)
#define SIZE_MOST (UINT64_C(1) << 26)

#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1

/* ---- Where it is ---------------------------------------------------------------------------- */

static const struct {
	unsigned long magic;
	const char *name;
	bool in_memory;
} systems[] = {
	{EXT4_SUPER_MAGIC, "ext4", false},   {XFS_MAGIC, "xfs", false},
	{BTRFS_SUPER_MAGIC, "btrfs", false}, {F2FS_SUPER_MAGIC, "f2fs", false},
	{ZFS_MAGIC, "zfs", false},	     {NFS_SUPER_MAGIC, "nfs", false},
	{FUSE_SUPER_MAGIC, "fuse", false},   {OVERLAYFS_SUPER_MAGIC, "overlayfs", false},
	{TMPFS_MAGIC, "tmpfs", true},	     {RAMFS_MAGIC, "ramfs", true},
};

static int
look_at(struct bench_place *place, const char *directory)
{
	struct statfs status;
	size_t i;

	if (statfs(directory, &status) != 0)
		return -errno;
	place->room = (uint64_t)status.f_bavail * (uint64_t)status.f_bsize;
	place->in_memory = false;
	(void)snprintf(place->system, sizeof place->system, "file system %#lx",
		       (unsigned long)status.f_type);
	for (i = 0; i < COUNT(systems); i++) {
		if (systems[i].magic != (unsigned long)status.f_type)
			continue;
		(void)snprintf(place->system, sizeof place->system, "%s", systems[i].name);
		place->in_memory = systems[i].in_memory;
	}
	return 0;
}

static int
make_in(struct bench_place *place, const char *directory)
{
	int rc = look_at(place, directory);

	(void)snprintf(place->path, sizeof place->path, "%s", directory);
	if (rc)
		return rc;
	(void)snprintf(place->path, sizeof place->path, "%s/queue-bench.XXXXXX", directory);
	if (mkdtemp(place->path))
		return 0;
	rc = -errno;
	(void)snprintf(place->path, sizeof place->path, "%s", directory);
	return rc;
}

int
bench_place_make(struct bench_place *place, const char *below)
{
	static const char *const usual[] = {".", "/var/tmp", "/tmp"};
	size_t i;

	if (below)
		return make_in(place, below);
	for (i = 0; i < COUNT(usual); i++)
		if (look_at(place, usual[i]) == 0 && !place->in_memory &&
		    make_in(place, usual[i]) == 0)
			return 0;
	for (i = 0; i < COUNT(usual); i++)
		if (make_in(place, usual[i]) == 0)
			return 0;
	return make_in(place, usual[0]);
}

uint64_t
bench_place_size(double bytes_a_second, double seconds, unsigned count, uint64_t room)
{
	uint64_t size = SIZE_MOST;

	while (size > SIZE_LEAST &&
	       ((double)size * count > bytes_a_second * seconds || size * count > room))
		size /= 2;
	return size;
}

/* ---- Removing ------------------------------------------------------------------------------- */

#define DESCRIPTORS 16

static int
remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
	(void)status;
	(void)kind;
	(void)at;
	return remove(path) == 0 || errno == ENOENT ? 0 : errno;
}

int
bench_remove_all(const char *path)
{
	int rc = nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);

	if (rc < 0)
		return errno == ENOENT ? 0 : -errno;
	return -rc;
}

/* ---- Signals -------------------------------------------------------------------------------- */

static const int ending[] = {SIGHUP, SIGINT, SIGTERM};
static struct sigaction before[COUNT(ending)];
static volatile sig_atomic_t noted;

static void
note(int number)
{
	noted = number;
}

/* One that is ignored stays so. */
void
bench_signals_hold(void)
{
	struct sigaction action;
	size_t i;

	noted = 0;
	memset(&action, 0, sizeof action);
	action.sa_handler = note;
	(void)sigemptyset(&action.sa_mask);
	for (i = 0; i < COUNT(ending); i++) {
		(void)sigaction(ending[i], NULL, &before[i]);
		if (before[i].sa_handler != SIG_IGN)
			(void)sigaction(ending[i], &action, NULL);
	}
}

int
bench_signals_noted(void)
{
	return noted;
}

void
bench_signals_pass(void)
{
	size_t i;

	for (i = 0; i < COUNT(ending); i++)
		(void)sigaction(ending[i], &before[i], NULL);
}

void
bench_signals_release(void)
{
	bench_signals_pass();
	if (noted)
		(void)raise(noted);
}
