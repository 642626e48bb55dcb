/* SPDX-License-Identifier: BSD-2-Clause */
#include "crc32c_impl.h"

#include <pthread.h>
#include <string.h>

#if defined __aarch64__
#include <sys/auxv.h>
#if !defined HWCAP_CRC32
#define HWCAP_CRC32 (1u << 7)
#endif
#endif

#define POLYNOMIAL UINT32_C(0x82f63b78) /* its bits reversed, as the check takes the lowest first */

/*
 * rows[k][b] is the check of byte b with k zeros behind it, so that eight bytes are looked up at
 * once: Kounavis, Berry, Novel Table Lookup-Based Algorithms for High-Performance CRC Generation,
 * IEEE Transactions on Computers (2008).
 */
static uint32_t rows[8][256];
static bool has_instruction;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
prepare(void)
{
	uint32_t byte, crc;
	int bit, k;

	for (byte = 0; byte < 256; byte++) {
		crc = byte;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
		rows[0][byte] = crc;
	}
	for (k = 1; k < 8; k++)
		for (byte = 0; byte < 256; byte++)
			rows[k][byte] = (rows[k - 1][byte] >> 8) ^
					rows[0][rows[k - 1][byte] & 0xff];
#if defined __x86_64__
	has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#else
	has_instruction = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#endif
}

static uint64_t
word_at(const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof word);
	return word;
}

static uint32_t
by_table(uint32_t crc, const unsigned char *bytes, size_t length)
{
	crc = ~crc;
	for (; length >= 8; bytes += 8, length -= 8) {
		uint64_t word = word_at(bytes) ^ crc;
		int k;

		crc = 0;
		for (k = 0; k < 8; k++)
			crc ^= rows[7 - k][(word >> (8 * k)) & 0xff];
	}
	for (; length > 0; bytes++, length--)
		crc = (crc >> 8) ^ rows[0][(crc ^ *bytes) & 0xff];
	return ~crc;
}

#if defined __x86_64__

__attribute__((__target__("sse4.2"))) static uint32_t
by_instruction(uint32_t crc, const unsigned char *bytes, size_t length)
{
	uint64_t wide = (uint32_t)~crc;

	for (; length >= 8; bytes += 8, length -= 8)
		wide = __builtin_ia32_crc32di(wide, word_at(bytes));
	crc = (uint32_t)wide;
	for (; length > 0; bytes++, length--)
		crc = __builtin_ia32_crc32qi(crc, *bytes);
	return ~crc;
}

#else

/* Written out: what the compilers call them depends on the version. */
static uint32_t
by_instruction(uint32_t crc, const unsigned char *bytes, size_t length)
{
	crc = ~crc;
	for (; length >= 8; bytes += 8, length -= 8)
		__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1"
			: "+r"(crc)
			: "r"(word_at(bytes)));
	for (; length > 0; bytes++, length--)
		__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
			: "+r"(crc)
			: "r"((uint32_t)*bytes));
	return ~crc;
}

#endif

uint32_t
queue_impl_crc32c_table(uint32_t crc, const void *data, size_t length)
{
	(void)pthread_once(&once, prepare);
	return by_table(crc, data, length);
}

uint32_t
queue_impl_crc32c(uint32_t crc, const void *data, size_t length)
{
	(void)pthread_once(&once, prepare);
	return has_instruction ? by_instruction(crc, data, length) : by_table(crc, data, length);
}
