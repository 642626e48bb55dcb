/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_VERSION_H
#define CONVEYOR_VERSION_H

/*
 * The version of these headers. This is the only place where it is typed: the
 * Makefile, conveyor.pc and the programs' --version all read it from here.
 */
#define QUEUE_VERSION "0.1.0"

#endif
