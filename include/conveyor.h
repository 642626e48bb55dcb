/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_H
#define CONVEYOR_H

/*
 * conveyor: a message queue that lives inside a program. This header includes all the others; each
 * can also be included alone. conveyor(7) says which object to choose.
 */
#include <conveyor/alloc.h>
#include <conveyor/bucket.h>
#include <conveyor/call.h>
#include <conveyor/clock.h>
#include <conveyor/log.h>
#include <conveyor/pool.h>
#include <conveyor/queue.h>
#include <conveyor/ring.h>
#include <conveyor/stats.h>
#include <conveyor/topic.h>
#include <conveyor/version.h>

#endif
