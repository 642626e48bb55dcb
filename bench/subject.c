/* SPDX-License-Identifier: BSD-2-Clause */
#include "subject.h"

#include <string.h>

static struct bench_subject *first;

static bool
comes_before(const struct bench_subject *a, const struct bench_subject *b)
{
	unsigned group = BENCH_OWN | BENCH_REFERENCE;

	if ((a->traits & group) != (b->traits & group))
		return (a->traits & BENCH_OWN) ||
		       (!(b->traits & BENCH_OWN) && (a->traits & BENCH_REFERENCE));
	return strcmp(a->name, b->name) < 0;
}

void
bench_register(struct bench_subject *subject)
{
	struct bench_subject **at = &first;

	while (*at && comes_before(*at, subject))
		at = &(*at)->next;
	subject->next = *at;
	*at = subject;
}

struct bench_subject *
bench_subjects(void)
{
	return first;
}

struct bench_subject *
bench_subject_named(const char *name)
{
	struct bench_subject *subject;

	for (subject = first; subject; subject = subject->next)
		if (strcmp(subject->name, name) == 0)
			return subject;
	return NULL;
}

bool
bench_subject_serves(const struct bench_subject *subject, unsigned producers, unsigned consumers)
{
	return (subject->producers_max == 0 || producers <= subject->producers_max) &&
	       (subject->consumers_max == 0 || consumers <= subject->consumers_max);
}
