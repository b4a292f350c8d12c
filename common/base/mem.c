#include "common/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int (*mem_fault_hook)(void);

static int mem_faulted(void)
{
	return mem_fault_hook != NULL && mem_fault_hook() != 0;
}

void *mem_alloc(size_t size)
{
	if (mem_faulted())
		return NULL;
	return malloc(size == 0 ? 1 : size);
}

void *mem_zalloc(size_t size)
{
	if (mem_faulted())
		return NULL;
	return calloc(1, size == 0 ? 1 : size);
}

void *mem_calloc(size_t n, size_t size)
{
	size_t all;

	/* checked here: a sanitizer takes calloc's own check for our bug */
	if (__builtin_mul_overflow(n, size, &all))
		return NULL;
	return mem_zalloc(all);
}

void *mem_realloc(void *p, size_t size)
{
	if (mem_faulted())
		return NULL;
	return realloc(p, size == 0 ? 1 : size);
}

void *mem_dup(const void *p, size_t len)
{
	char *q;

	if (len == SIZE_MAX)
		return NULL;
	q = mem_alloc(len + 1);
	if (q == NULL)
		return NULL;
	if (len > 0)
		memcpy(q, p, len);
	q[len] = '\0';
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	s = mem_alloc((size_t)n + 1);
	if (s == NULL)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

void mem_free(void *p)
{
	free(p);
}
