/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_POWER_H
#define CONVEYOR_TEST_POWER_H

/*
 * A file system whose power can be cut: ext4 in a file, by way of a loop device, which can be told
 * to stop at once (EXT4_IOC_SHUTDOWN). What it had not brought to its device by then is lost, and is
 * not seen any more when it is mounted again. What the device has it keeps: this is about the
 * system's memory and the file system's journal, not about a disk's own memory.
 *
 * It takes root, loop devices, ext4 and its mkfs. It is mounted for this process and its children
 * alone, and goes with the last of them.
 */
#include <stdbool.h>
#include <stdint.h>

/* Mounts a new one on a directory. NULL, or why that cannot be done here. */
const char *power_begin(const char *directory, uint64_t size);

/* Calls fail from now on. with_journal: what is in the journal's memory is written before. */
bool power_cut(bool with_journal);

/* It is there again, as after a restart; nobody may have anything open in it. */
bool power_restore(void);

void power_end(void);

#endif
