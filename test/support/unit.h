/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_UNIT_H
#define CONVEYOR_TEST_UNIT_H

/*
 * What the unit tests are written with: Criterion, or, where Criterion cannot run (under
 * ThreadSanitizer, in an emulator), a stand-in that has the same macros.
 *
 * Tests use Test, cr_assert, cr_assert_eq, _neq, _lt, _leq, _gt, _geq, cr_assert_null and
 * cr_assert_not_null, each with an optional printf message, and the options .timeout (seconds),
 * .disabled and .description of Test. That is what the stand-in knows.
 */
#if defined UNIT_STAND_IN
#include "stand_in.h"
#else
#include <criterion/criterion.h>
#endif

#endif
