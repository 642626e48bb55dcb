/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs and a thread that the system cannot be made to tell the end of: pthread_setspecific(3) is
 * replaced by one that can be told to fail.
 */
#include "epoch_impl.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "unit.h"

static bool fails;

int
pthread_setspecific(pthread_key_t key, const void *value)
{
	union {
		void *object;
		int (*function)(pthread_key_t key, const void *value);
	} next;

	if (fails) {
		errno = ENOMEM;
		return ENOMEM;
	}
	next.object = dlsym(RTLD_NEXT, "pthread_setspecific");
	return next.function(key, value);
}

Test(epoch_threads, a_thread_whose_end_cannot_be_told_is_one_of_the_crowd)
{
	queue_impl_epoch_prepare();
	fails = true;
	errno = 0;
	cr_assert_null(queue_impl_epoch_register());
	cr_assert_eq(errno, 0);
	cr_assert_null(queue_impl_epoch_enter());
	cr_assert_eq(queue_impl_epoch_oldest(), 0);
	queue_impl_epoch_leave(NULL);
	cr_assert_gt(queue_impl_epoch_oldest(), 0);
	/* The record is there for the next one. */
	fails = false;
	cr_assert_not_null(queue_impl_epoch_register());
}
