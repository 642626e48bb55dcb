/* SPDX-License-Identifier: BSD-2-Clause */

/* The page, as it is in page.html when this is built; the path is from the top of the sources. */
#include "service.h"

__asm__(".section .rodata\n"
	".globl page_text, page_size\n"
	"page_text: .incbin \"examples/seckill/gateway/page.html\"\n"
	"page_end: .byte 0\n"
	".balign 8\n"
	"page_size: .quad page_end - page_text\n"
	".text\n");
