/* SPDX-License-Identifier: BSD-2-Clause */
#include "crc32c_impl.h"

#include <pthread.h>
#include <string.h>

#if defined __aarch64__
#include <sys/auxv.h>
#if !defined HWCAP_CRC32
#define HWCAP_CRC32 (1ul << 7)
#endif
#if !defined HWCAP_PMULL
#define HWCAP_PMULL (1ul << 4)
#endif
#endif

#define POLYNOMIAL UINT32_C(0x82f63b78) /* its bits reversed, as the check takes the lowest first */

/*
 * rows[k][b] is the check of byte b with k zeros behind it, so that eight bytes are looked up at
 * once: Kounavis, Berry, Novel Table Lookup-Based Algorithms for High-Performance CRC Generation,
 * IEEE Transactions on Computers (2008).
 */
static uint32_t rows[8][256];
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
}

static uint64_t
word_at(const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof word);
	return word;
}

static uint32_t
half_at(const unsigned char *bytes)
{
	uint32_t half;

	memcpy(&half, bytes, sizeof half);
	return half;
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

/*
 * By the instruction. One has to wait for the one before, which takes three cycles, while three that
 * need not wait take one each: so three lanes of LANE bytes are checked side by side, and put together
 * by a multiplication without carries. Gopal et al., Fast CRC Computation for iSCSI Polynomial Using
 * CRC32 Instruction, Intel (2011).
 *
 * A check with n bytes behind it is the check times x to the 8n, and the instruction that brings the
 * product of two numbers of 32 bits back to 32 multiplies by x to the 33rd: these are the powers
 * 16 * LANE - 33 and 8 * LANE - 33, modulo the polynomial, their bits reversed.
 */
#define LANE ((size_t)80)
#define BEHIND_TWO_LANES UINT64_C(0x878a92a7)
#define BEHIND_ONE_LANE UINT64_C(0x39d3b296)

#if defined __x86_64__

#define WITH_INSTRUCTION __attribute__((__target__("sse4.2,pclmul")))

static bool
has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

WITH_INSTRUCTION static inline uint64_t
add_word(uint64_t crc, uint64_t word)
{
	return __builtin_ia32_crc32di(crc, word);
}

WITH_INSTRUCTION static inline uint64_t
add_half(uint64_t crc, uint32_t half)
{
	return __builtin_ia32_crc32si((uint32_t)crc, half);
}

WITH_INSTRUCTION static inline uint64_t
add_byte(uint64_t crc, unsigned char byte)
{
	return __builtin_ia32_crc32qi((uint32_t)crc, byte);
}

WITH_INSTRUCTION static inline uint64_t
times(uint64_t a, uint64_t b)
{
	typedef long long pair __attribute__((__vector_size__(16)));
	const pair left = {(long long)a, 0}, right = {(long long)b, 0};

	return (uint64_t)__builtin_ia32_pclmulqdq128(left, right, 0)[0];
}

#else

#define WITH_INSTRUCTION

static bool
has_instruction(void)
{
	const unsigned long both = HWCAP_CRC32 | HWCAP_PMULL;

	return (getauxval(AT_HWCAP) & both) == both;
}

/* Written out: what the compilers call them depends on the version. */
static inline uint64_t
add_word(uint64_t crc, uint64_t word)
{
	uint32_t sum = (uint32_t)crc;

	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(sum) : "r"(word));
	return sum;
}

static inline uint64_t
add_half(uint64_t crc, uint32_t half)
{
	uint32_t sum = (uint32_t)crc;

	__asm__(".arch_extension crc\n\tcrc32cw %w0, %w0, %w1" : "+r"(sum) : "r"(half));
	return sum;
}

static inline uint64_t
add_byte(uint64_t crc, unsigned char byte)
{
	uint32_t sum = (uint32_t)crc;

	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(sum) : "r"((uint32_t)byte));
	return sum;
}

static inline uint64_t
times(uint64_t a, uint64_t b)
{
	uint64_t product;

	__asm__(".arch_extension aes\n\tpmull %0.1q, %1.1d, %2.1d"
		: "=w"(product)
		: "w"(a), "w"(b));
	return product;
}

#endif

WITH_INSTRUCTION static uint32_t
by_instruction(uint32_t crc, const unsigned char *bytes, size_t length)
{
	uint64_t first = (uint32_t)~crc;
	size_t i;

	for (; length >= 3 * LANE; bytes += 3 * LANE, length -= 3 * LANE) {
		uint64_t second = 0, third = 0;

		for (i = 0; i < LANE; i += 8) {
			first = add_word(first, word_at(bytes + i));
			second = add_word(second, word_at(bytes + LANE + i));
			third = add_word(third, word_at(bytes + 2 * LANE + i));
		}
		first = third ^ add_word(0, times(first, BEHIND_TWO_LANES) ^
						    times(second, BEHIND_ONE_LANE));
	}
	for (; length >= 8; bytes += 8, length -= 8)
		first = add_word(first, word_at(bytes));
	if (length >= 4) {
		first = add_half(first, half_at(bytes));
		bytes += 4;
		length -= 4;
	}
	for (; length > 0; bytes++, length--)
		first = add_byte(first, *bytes);
	return ~(uint32_t)first;
}

uint32_t
queue_impl_crc32c_table(uint32_t crc, const void *data, size_t length)
{
	(void)pthread_once(&once, prepare);
	return by_table(crc, data, length);
}

uint32_t
queue_impl_crc32c(uint32_t crc, const void *data, size_t length)
{
	return has_instruction() ? by_instruction(crc, data, length)
				 : queue_impl_crc32c_table(crc, data, length);
}
