/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same with a point before each access to memory, where threads are stopped: finer than before
 * each basic block. In the eyes of the compiler this is a build for ThreadSanitizer, so the ring
 * works as it does there, without restartable sequences; see test/support/accesses.
 */
/* ARGS: --subject ring */
/* ARGS: --subject queue */
/* ARGS: --subject any --operations 200 */
/* ARGS: --subject vyukov --expect false-empty */
#include "linearizable.c"
