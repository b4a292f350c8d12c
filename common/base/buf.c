#include "common/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/mem.h"

#define BUF_FIRST 256

void buf_init(struct buf *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	b->max = max;
}

void buf_fini(struct buf *b)
{
	mem_free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->err = 0;
}

/* Grows by doubling to at least `need` bytes in all. */
static int buf_grow(struct buf *b, size_t need)
{
	size_t cap = b->cap < BUF_FIRST ? BUF_FIRST : b->cap;
	uint8_t *p;

	while (cap < need) {
		if (cap > SIZE_MAX / 2)
			return -ENOMEM;
		cap *= 2;
	}
	p = mem_realloc(b->data, cap);
	if (p == NULL)
		return -ENOMEM;
	b->data = p;
	b->cap = cap;
	return 0;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
	if (b->err != 0)
		return NULL;
	if (len > SIZE_MAX - b->len ||
	    (b->max != 0 && b->len + len > b->max)) {
		b->err = -EMSGSIZE;
		return NULL;
	}
	/* data is never NULL on success, also for len 0 */
	if (b->len + len > b->cap || b->data == NULL) {
		b->err = buf_grow(b, b->len + len);
		if (b->err != 0)
			return NULL;
	}
	return b->data + b->len;
}

void buf_add_slow(struct buf *b, const void *data, size_t len)
{
	uint8_t *p = buf_reserve(b, len);

	if (p == NULL || len == 0)
		return;
	memcpy(p, data, len);
	b->len += len;
}

void buf_add_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	buf_add(b, text + at, sizeof(text) - at);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	size_t room;
	va_list ap;
	uint8_t *p;
	int n;

	p = buf_reserve(b, 0);
	if (p == NULL)
		return;
	room = b->cap - b->len;
	va_start(ap, fmt);
	n = vsnprintf((char *)p, room, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->err = -EINVAL;
		return;
	}
	if ((size_t)n >= room) {
		/* the NUL needs a place during the second try */
		size_t max = b->max;

		if (max != 0 && b->len + (size_t)n > max) {
			b->err = -EMSGSIZE;
			return;
		}
		b->max = 0;
		p = buf_reserve(b, (size_t)n + 1);
		b->max = max;
		if (p == NULL)
			return;
		va_start(ap, fmt);
		(void)vsnprintf((char *)p, (size_t)n + 1, fmt, ap);
		va_end(ap);
	} else if (b->max != 0 && b->len + (size_t)n > b->max) {
		b->err = -EMSGSIZE;
		return;
	}
	b->len += (size_t)n;
}

uint8_t *buf_take(struct buf *b, size_t *ret_len)
{
	uint8_t *p = b->data;

	*ret_len = b->len;
	b->data = NULL;
	b->len = b->cap = 0;
	return p;
}

/*
 * Bodies. Small ones are one block; from 64 KiB on the data is a block of its
 * own, aligned for O_DIRECT, its size a power of two. Some free ones are kept:
 * otherwise each costs a page fault for every 4 KiB and their zeroing, as
 * malloc gives such blocks back one by one. (Telling malloc not to costs more:
 * the arenas of the threads grew to over 1 GiB.) The largest lie in huge pages
 * where the system has some: the kernel looks up every page that it copies, and
 * a disk that gets a few long pieces reads them in two thirds of the time.
 */
#define BODY_ALIGN_FROM (64u << 10)
#define BODY_ALIGN 4096u
#define BODY_HUGE (2u << 20)
#define BODY_CLASSES 7 /* 64 KiB to BODY_MAX */
#define BODY_POOL_BYTES (64u << 20)

static struct {
	pthread_mutex_t lock;
	size_t bytes;
	struct body *free[BODY_CLASSES]; /* linked by body_next() */
} body_pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t body_used; /* atomic: bytes of aligned ones outside the pool */

size_t body_in_use(void)
{
	return __atomic_load_n(&body_used, __ATOMIC_RELAXED);
}

size_t body_kept(void)
{
	size_t bytes;

	pthread_mutex_lock(&body_pool.lock);
	bytes = body_pool.bytes;
	pthread_mutex_unlock(&body_pool.lock);
	return bytes;
}

static unsigned body_class(size_t cap)
{
	unsigned i = 0;

	while (i + 1 < BODY_CLASSES && ((size_t)BODY_ALIGN_FROM << i) < cap)
		i++;
	return i;
}

/* The link lies in the bytes: nobody needs those of a free body. */
static struct body **body_next(struct body *b)
{
	return (struct body **)(void *)b->data;
}

static struct body *body_pool_get(unsigned class)
{
	struct body *b;

	pthread_mutex_lock(&body_pool.lock);
	b = body_pool.free[class];
	if (b != NULL) {
		body_pool.free[class] = *body_next(b);
		body_pool.bytes -= b->cap;
	}
	pthread_mutex_unlock(&body_pool.lock);
	return b;
}

static bool body_pool_put(struct body *b)
{
	unsigned class = body_class(b->cap);
	bool kept = false;

	pthread_mutex_lock(&body_pool.lock);
	if (body_pool.bytes + b->cap <= BODY_POOL_BYTES) {
		*body_next(b) = body_pool.free[class];
		body_pool.free[class] = b;
		body_pool.bytes += b->cap;
		kept = true;
	}
	pthread_mutex_unlock(&body_pool.lock);
	return kept;
}

static struct body *body_new_aligned(size_t cap)
{
	unsigned class = body_class(cap);
	struct body *b = body_pool_get(class);
	void *data;

	if (b != NULL)
		return b;
	cap = (size_t)BODY_ALIGN_FROM << class;
	b = malloc(sizeof(*b));
	if (b == NULL)
		return NULL;
	if (posix_memalign(&data, cap < BODY_HUGE ? BODY_ALIGN : BODY_HUGE,
			   cap) != 0) {
		free(b);
		return NULL;
	}
	if (cap >= BODY_HUGE)
		(void)madvise(data, cap, MADV_HUGEPAGE); /* a wish */
	b->data = data;
	b->cap = (uint32_t)cap;
	return b;
}

struct body *body_new(size_t cap)
{
	struct body *b;

	if (cap > BODY_MAX)
		return NULL;
	if (mem_fault_hook != NULL && mem_fault_hook() != 0)
		return NULL;
	if (cap >= BODY_ALIGN_FROM) {
		b = body_new_aligned(cap);
		if (b != NULL)
			__atomic_fetch_add(&body_used, b->cap,
					   __ATOMIC_RELAXED);
	} else {
		b = malloc(sizeof(*b) + cap);
		if (b != NULL) {
			b->data = (uint8_t *)(b + 1);
			b->cap = (uint32_t)cap;
		}
	}
	if (b == NULL)
		return NULL;
	b->len = 0;
	b->hashed = false;
	__atomic_store_n(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

struct body *body_ref(struct body *b)
{
	uint32_t old = __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);

	assert(old > 0 && old < UINT32_MAX);
	return b;
}

void body_unref(struct body *b)
{
	uint32_t old;

	if (b == NULL)
		return;
	old = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
	assert(old > 0);
	if (old > 1)
		return;
	if (b->cap < BODY_ALIGN_FROM) {
		free(b);
		return;
	}
	__atomic_fetch_sub(&body_used, b->cap, __ATOMIC_RELAXED);
	if (body_pool_put(b))
		return;
	free(b->data);
	free(b);
}

void body_trim(void)
{
	struct body *b;

	for (unsigned i = 0; i < BODY_CLASSES; i++)
		while ((b = body_pool_get(i)) != NULL) {
			free(b->data);
			free(b);
		}
	(void)malloc_trim(0);
}
