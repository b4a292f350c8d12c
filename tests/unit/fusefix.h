#ifndef TESTS_UNIT_FUSEFIX_H
#define TESTS_UNIT_FUSEFIX_H
/*
 * A mount without a kernel, on minienv, for tests of parts of fuse/: what all
 * of them need of libfuse and device.c are stubs here; the cluster, and who
 * gets the replies, are the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fuse/mount.h"
#include "tests/lib/minienv.h"

extern struct mount mount;
extern struct minienv *mini;

/* A running mount with no inodes. */
void fusefix_setup(void);
/* Nothing may be left: no inode, no request under way. */
void fusefix_teardown(void);

#endif
