#ifndef TESTS_LIB_MUTATE_H
#define TESTS_LIB_MUTATE_H

/* Why a test does not plant a bug that is compiled into others. */
#define MUTATE_NONE_HERE "no planted bugs in this build: --enable-mutations"

#endif
