/* SPDX-License-Identifier: BSD-2-Clause */

/* Where the database is when nobody asked for one that stays. */
#include "sale.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
temporary_make(struct temporary *temporary)
{
	const char *parent = getenv("TMPDIR");

	snprintf(temporary->directory, sizeof temporary->directory, "%s/seckill-XXXXXX",
		 parent && *parent ? parent : "/tmp");
	if (!mkdtemp(temporary->directory)) {
		complain("%s: %s", temporary->directory, strerror(errno));
		return -1;
	}
	snprintf(temporary->file, sizeof temporary->file, "%s/seckill.db", temporary->directory);
	return 0;
}

void
temporary_remove(const struct temporary *temporary)
{
	store_remove(temporary->file);
	(void)rmdir(temporary->directory);
}
