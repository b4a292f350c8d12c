#ifndef COMMON_BASE_BUF_H
#define COMMON_BASE_BUF_H
/*
 * Two byte containers.
 *
 * struct buf: a growing byte string with one owner; errors are sticky (out of
 * memory or over its maximum), so that encoders stay flat and check once.
 *
 * struct body: counted, fixed capacity bytes of up to 4 MiB that move between
 * loops: object data. Immutable once shared (refs > 1).
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max; /* 0: no limit; else adds beyond it set err */
	int err;    /* 0 or negative errno, sticky */
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* len = 0, err = 0, memory kept */
/* Makes room for len more bytes; returns where they go, or NULL (err set). */
uint8_t *buf_reserve(struct buf *b, size_t len);
/* buf_add() where there may be no room yet, or an error. */
void buf_add_slow(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Decimal. */
void buf_add_u64(struct buf *b, uint64_t v);
/* Gives the bytes away (free with mem_free()); the buf is empty afterwards. */
uint8_t *buf_take(struct buf *b, size_t *ret_len);

static inline void buf_add(struct buf *b, const void *data, size_t len)
{
	if (len == 0 || len > b->cap - b->len || b->err != 0 ||
	    (b->max != 0 && len > b->max - b->len)) {
		buf_add_slow(b, data, len);
		return;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static inline void buf_puts(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

#define BODY_MAX (4u << 20)

struct body {
	uint32_t refs; /* atomic */
	uint32_t len;  /* bytes used */
	uint32_t cap;  /* bytes allocated */
	uint8_t *data; /* 4 KiB aligned when cap >= 64 KiB */
	/*
	 * xxh3-128 of the bytes, high half first, noted before the body was
	 * shared by who computed it: what receives the body in the same
	 * process need not compute it again. A body from a wire has none.
	 */
	bool hashed;
	uint64_t hash[2];
};

/* New body with refs 1, len 0; NULL when out of memory or cap > BODY_MAX. */
struct body *body_new(size_t cap);
struct body *body_ref(struct body *b);   /* any thread */
void body_unref(struct body *b);         /* any thread; NULL is fine */
/* Bytes of bodies of 64 KiB and more that somebody has; any thread. */
size_t body_in_use(void);
/* Bytes of free ones that are kept for the next; any thread. */
size_t body_kept(void);
/* Gives all free memory back to the system; takes milliseconds; any thread. */
void body_trim(void);

#endif
