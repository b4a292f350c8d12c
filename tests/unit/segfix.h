#ifndef TESTS_UNIT_SEGFIX_H
#define TESTS_UNIT_SEGFIX_H
/*
 * A log on a disk that crashes, written by one thread: minienv over crashfs,
 * for tests of common/seg. The seglog remembers what was appended, and compares
 * when it is opened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/seg/seg_int.h"
#include "tests/lib/crashfs.h"
#include "tests/lib/minienv.h"
#include "tests/lib/seglog.h"

struct fixture {
	struct crashfs *fs;
	struct minienv *m;
	struct seglog l; /* not open yet */
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
#define T(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* For seg_fatal_hook: counts. From 0 in each test. */
extern int fatal_calls;
void note_fatal(const char *what, int err);

void f_open(struct fixture *f);
/* Closes it and opens it: there is what was there. */
void f_reopen(struct fixture *f);
/* Until nothing waits: all of it is acknowledged. */
void f_run(struct fixture *f);
void f_read_all(struct fixture *f);
struct seg_stats f_stats(struct fixture *f);
/* Opens it, appends n records of 300 bytes, closes it. */
void fill_some(struct fixture *f, int n);
bool file_is_there(struct fixture *f, uint64_t gen);

#endif
