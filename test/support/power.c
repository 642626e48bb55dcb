/* SPDX-License-Identifier: BSD-2-Clause */
#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

/* As in the kernel's fs/ext4/ext4.h: no header for programs has them. */
#define EXT4_SHUTDOWN _IOR('X', 125, uint32_t)
#define LOG_FLUSH 1u
#define NO_LOG_FLUSH 2u

#define TRIES 1000

static char mounted_on[256], device_name[64];
static int device = -1;

/* Makes a file system in a file. */
static const char *
make_file_system(const char *image)
{
	int status = 0, null;
	pid_t child = fork();

	if (child < 0)
		return "there is no process for mkfs.ext4";
	if (child == 0) {
		/* It is often not where users look. */
		(void)setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		null = open("/dev/null", O_RDWR);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		(void)execlp("mkfs.ext4", "mkfs.ext4", "-q", "-F", image, (char *)NULL);
		_exit(127);
	}
	(void)waitpid(child, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return "there is no mkfs.ext4";
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? NULL : "mkfs.ext4 has failed";
}

/* A loop device that goes when nobody has it open any more. */
static const char *
attach(int file)
{
	struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, i;

	if (control < 0)
		return "there is no /dev/loop-control";
	/* Somebody else may be faster. */
	for (i = 0; i < 100 && device < 0; i++) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		if (number < 0)
			break;
		(void)snprintf(device_name, sizeof device_name, "/dev/loop%d", number);
		device = open(device_name, O_RDWR | O_CLOEXEC);
		if (device < 0)
			break;
		if (ioctl(device, LOOP_SET_FD, file) != 0) {
			(void)close(device);
			device = -1;
		}
	}
	(void)close(control);
	if (device < 0)
		return "there is no loop device";
	(void)ioctl(device, LOOP_SET_STATUS64, &info);
	return NULL;
}

static bool
mount_it(void)
{
	return mount(device_name, mounted_on, "ext4", MS_NOATIME, NULL) == 0;
}

const char *
power_begin(const char *directory, uint64_t size)
{
	char image[300];
	const char *why;
	int file;

	if (geteuid() != 0)
		return "only root may mount";
	(void)snprintf(mounted_on, sizeof mounted_on, "%s", directory);
	(void)snprintf(image, sizeof image, "%s.image", directory);
	file = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0)
		return "there is no place for it";
	why = ftruncate(file, (off_t)size) == 0 ? make_file_system(image) : "the file is too large";
	/* It goes with the device. */
	(void)unlink(image);
	if (!why)
		why = attach(file);
	(void)close(file);
	if (!why && (unshare(CLONE_NEWNS) != 0 ||
		     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || !mount_it()))
		why = "it may not be mounted";
	/* An emulator may not know the call, nor an older system. */
	if (!why && !(power_cut(true) && power_restore())) {
		why = "it cannot be stopped";
		power_end();
	}
	if (why && device >= 0) {
		(void)close(device);
		device = -1;
	}
	return why;
}

bool
power_cut(bool with_journal)
{
	uint32_t how = with_journal ? LOG_FLUSH : NO_LOG_FLUSH;
	int directory = open(mounted_on, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (directory < 0)
		return false;
	rc = ioctl(directory, EXT4_SHUTDOWN, &how);
	(void)close(directory);
	return rc == 0;
}

static bool
unmount(void)
{
	int rc = -1, i;

	/* Who has just ended may still be closing files. */
	for (i = 0; i < TRIES && rc != 0; i++) {
		rc = umount2(mounted_on, 0);
		if (rc != 0 && errno != EBUSY)
			return false;
		if (rc != 0)
			(void)usleep(1000);
	}
	return rc == 0;
}

bool
power_restore(void)
{
	return unmount() && mount_it();
}

void
power_end(void)
{
	if (device < 0)
		return;
	(void)unmount();
	(void)close(device);
	device = -1;
}
