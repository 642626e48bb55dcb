/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CRC-32C. What is expected is from RFC 3720, appendix B.4, and from the definition, bit by bit.
 */
#include "unit.h"

#include "../../lib/crc32c_impl.h"

#include <string.h>

static uint32_t
bit_by_bit(uint32_t crc, const unsigned char *bytes, size_t length)
{
	crc = ~crc;
	for (size_t i = 0; i < length; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void
check(const unsigned char *bytes, size_t length, uint32_t expected)
{
	cr_assert_eq(bit_by_bit(0, bytes, length), expected);
	cr_assert_eq(queue_impl_crc32c(0, bytes, length), expected);
	cr_assert_eq(queue_impl_crc32c_table(0, bytes, length), expected);
}

Test(crc32c, is_that_of_rfc_3720)
{
	unsigned char bytes[32];

	memset(bytes, 0, sizeof bytes);
	check(bytes, sizeof bytes, 0x8a9136aa);
	memset(bytes, 0xff, sizeof bytes);
	check(bytes, sizeof bytes, 0x62a8ab43);
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)i;
	check(bytes, sizeof bytes, 0x46dd794e);
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(31 - i);
	check(bytes, sizeof bytes, 0x113fdb5c);
	check((const unsigned char *)"123456789", 9, 0xe3069283);
	check(bytes, 0, 0);
}

Test(crc32c, is_the_same_by_instruction_and_by_table_at_any_length_and_place)
{
	unsigned char bytes[2 * 240 + 40]; /* three lanes twice, and some more */
	uint32_t random = 1;

	for (unsigned i = 0; i < sizeof bytes; i++) {
		random = random * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(random >> 24);
	}
	for (size_t from = 0; from < 9; from++)
		for (size_t length = 0; length <= 80; length++)
			check(bytes + from, length, bit_by_bit(0, bytes + from, length));
	for (size_t from = 0; from < 9; from += 3)
		for (size_t length = 80; from + length <= sizeof bytes; length++)
			check(bytes + from, length, bit_by_bit(0, bytes + from, length));
}

Test(crc32c, goes_on_where_it_was)
{
	const unsigned char *text = (const unsigned char *)"a message in two pieces, of odd length";
	size_t length = strlen((const char *)text);

	for (size_t first = 0; first <= length; first++) {
		uint32_t crc = queue_impl_crc32c(0, text, first);

		cr_assert_eq(queue_impl_crc32c(crc, text + first, length - first),
			     bit_by_bit(0, text, length));
		crc = queue_impl_crc32c_table(0, text, first);
		cr_assert_eq(queue_impl_crc32c_table(crc, text + first, length - first),
			     bit_by_bit(0, text, length));
	}
}
