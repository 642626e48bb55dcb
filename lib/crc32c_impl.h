/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_CRC32C_IMPL_H
#define CONVEYOR_LIB_CRC32C_IMPL_H

/*
 * CRC-32C, the cyclic redundancy check with Castagnoli's polynomial (RFC 3720, appendix B.4), by the
 * processor's instruction where there is one, by a table otherwise.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Goes on with the check of what came before; 0 at first. */
uint32_t queue_impl_crc32c(uint32_t crc, const void *data, size_t length);

/* The same, by the table. */
uint32_t queue_impl_crc32c_table(uint32_t crc, const void *data, size_t length);

#endif
