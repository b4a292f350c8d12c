#ifndef COMMON_BASE_MEM_H
#define COMMON_BASE_MEM_H
/*
 * Allocation through one seam, so that tests can make the n-th call fail.
 * On request paths NULL is returned as -ENOMEM to the peer; x-variants abort
 * and are for start-up only. Free with mem_free() (= free(); NULL is fine).
 */
#include <stddef.h>

void *mem_alloc(size_t size);            /* uninitialised */
void *mem_zalloc(size_t size);           /* zeroed */
void *mem_calloc(size_t n, size_t size); /* zeroed, overflow-checked */
void *mem_realloc(void *p, size_t size); /* old block kept on failure */
void *mem_dup(const void *p, size_t len); /* plus one NUL byte behind */
char *mem_strdup(const char *s);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *p);

/* Tests: called before every allocation; returning nonzero makes it fail. */
extern int (*mem_fault_hook)(void);

#endif
