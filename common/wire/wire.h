#ifndef COMMON_WIRE_WIRE_H
#define COMMON_WIRE_WIRE_H
/*
 * The codec: the only hand-written part of messages, row values and raft
 * frames. Big-endian, byte by byte. A reader and a writer each carry a sticky
 * error; every get goes through one bounds check. Strings and blobs of a
 * decoded message borrow from the input buffer.
 *
 * Tail rule (DESIGN section 9): a field that the input ends before is zero or
 * empty; bytes behind the last known field are ignored. A field cut in the
 * middle is -EBADMSG.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

struct wire_writer {
	struct buf *out; /* borrowed; out->err is the sticky error */
};

struct wire_reader {
	const uint8_t *p;
	size_t left;
	int err;     /* 0 or -EBADMSG, sticky */
	bool strict; /* no tail rule: set for elements of a vector */
};

typedef uint8_t wire_u8_t;
typedef uint16_t wire_u16_t;
typedef uint32_t wire_u32_t;
typedef uint64_t wire_u64_t;
typedef int64_t wire_i64_t;

/* u32 length, bytes. NUL-free is not implied. Borrowed after decode. */
struct wire_bytes {
	const uint8_t *p;
	size_t len;
};
typedef struct wire_bytes wire_str_t;  /* text, at most 64 KiB */
typedef struct wire_bytes wire_blob_t; /* bytes, at most 16 MiB */

/* 128-bit hash or id */
struct wire_u128 {
	uint64_t hi, lo;
};
typedef struct wire_u128 wire_u128_t;
static inline bool wire_u128_eq(struct wire_u128 a, struct wire_u128 b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

/* A value and a C string literal as wire_bytes. */
static inline struct wire_bytes wire_bytes(const void *p, size_t len)
{
	return (struct wire_bytes){ p, len };
}
struct wire_bytes wire_cstr(const char *s);
bool wire_bytes_eq(struct wire_bytes a, struct wire_bytes b);
/* memcmp order, shorter first when one is a prefix of the other. */
int wire_bytes_cmp(struct wire_bytes a, struct wire_bytes b);

/* Inode attributes. Times in ns since 1970. Fixed encoding, see wire.c. */
struct wire_attr {
	uint64_t ino;
	uint32_t mode; /* S_IFMT and permission bits */
	uint32_t uid, gid;
	uint32_t nlink;
	uint64_t size;         /* bytes */
	uint64_t bytes;        /* bytes stored (st_blocks * 512, rounded up) */
	uint64_t rdev;
	int64_t atime, mtime, ctime, btime;
	uint64_t data_version; /* grows whenever the bytes change */
	uint64_t change;       /* grows whenever anything changes */
	uint64_t generation;
	uint32_t flags;        /* WIRE_ATTR_* */
};
#define WIRE_ATTR_IMPLICIT 1u /* directory made by S3 only */
#define WIRE_ATTR_MARKER 2u   /* directory has a real marker "a/" */
#define WIRE_ATTR_UNLINKED 4u /* nlink is 0, kept because it is open */
typedef struct wire_attr wire_attr_t;

/*
 * One extent of a file, in file order after the shard merged overlaps.
 * WIRE_EXT_CHUNKS: bytes [slice_off, slice_off + len) of slice `slice`, cut
 * into chunks of WIRE_CHUNK bytes: chunk index = slice offset / WIRE_CHUNK.
 * WIRE_EXT_INLINE: the bytes are at [slice_off, slice_off + len) of the
 * message's inline data (in requests) or of the reply's body.
 * Ranges that no extent covers are holes (zeros).
 */
struct wire_extent {
	uint64_t pos; /* offset in the file */
	uint64_t len;
	uint8_t kind;
	struct wire_u128 slice; /* slice id, zero for inline */
	uint64_t slice_off;
};
enum { WIRE_EXT_CHUNKS = 1, WIRE_EXT_INLINE = 2, WIRE_EXT_ZERO = 3 };
#define WIRE_CHUNK (4u << 20)
#define WIRE_REGION (64u << 20)

/*
 * Counted vectors stay encoded inside a message: count, then elements; they
 * are read one by one with wire_get_*() on a reader over the bytes, so no
 * count is ever trusted for an allocation.
 */
typedef struct wire_bytes wire_extents_t; /* of wire_extent */
typedef struct wire_bytes wire_kvs_t;     /* of (str name, blob value) */
typedef struct wire_bytes wire_list_t;    /* of elements named per message */

/* --- writing --- */
void wire_put_u8(struct wire_writer *w, const uint8_t *v);
void wire_put_u16(struct wire_writer *w, const uint16_t *v);
void wire_put_u32(struct wire_writer *w, const uint32_t *v);
void wire_put_u64(struct wire_writer *w, const uint64_t *v);
void wire_put_i64(struct wire_writer *w, const int64_t *v);
void wire_put_u128(struct wire_writer *w, const struct wire_u128 *v);
void wire_put_str(struct wire_writer *w, const struct wire_bytes *v);
void wire_put_blob(struct wire_writer *w, const struct wire_bytes *v);
void wire_put_attr(struct wire_writer *w, const struct wire_attr *v);
void wire_put_extent(struct wire_writer *w, const struct wire_extent *v);
void wire_put_extents(struct wire_writer *w, const struct wire_bytes *v);
void wire_put_kvs(struct wire_writer *w, const struct wire_bytes *v);
void wire_put_list(struct wire_writer *w, const struct wire_bytes *v);

/* --- reading: on short or bad input err is set and *v is zeroed --- */
void wire_get_u8(struct wire_reader *r, uint8_t *v);
void wire_get_u16(struct wire_reader *r, uint16_t *v);
void wire_get_u32(struct wire_reader *r, uint32_t *v);
void wire_get_u64(struct wire_reader *r, uint64_t *v);
void wire_get_i64(struct wire_reader *r, int64_t *v);
void wire_get_u128(struct wire_reader *r, struct wire_u128 *v);
void wire_get_str(struct wire_reader *r, struct wire_bytes *v);
void wire_get_blob(struct wire_reader *r, struct wire_bytes *v);
void wire_get_attr(struct wire_reader *r, struct wire_attr *v);
void wire_get_extent(struct wire_reader *r, struct wire_extent *v);
void wire_get_extents(struct wire_reader *r, struct wire_bytes *v);
void wire_get_kvs(struct wire_reader *r, struct wire_bytes *v);
void wire_get_list(struct wire_reader *r, struct wire_bytes *v);

/*
 * Building a vector: start, put elements, end. The result is valid while the
 * buf lives and does not grow: encode it into the message before touching it.
 */
struct wire_vec {
	struct buf buf;
	uint32_t count;
};
void wire_vec_init(struct wire_vec *v);
void wire_vec_fini(struct wire_vec *v);
void wire_vec_add_extent(struct wire_vec *v, const struct wire_extent *e);
void wire_vec_add_kv(struct wire_vec *v, struct wire_bytes name,
		     struct wire_bytes value);
/* For list elements: a writer on the vector's buf; counts one element. */
struct wire_writer wire_vec_add(struct wire_vec *v);
/* The encoded vector (count + elements), or empty with err in v->buf.err. */
struct wire_bytes wire_vec_bytes(struct wire_vec *v);

/*
 * Reading one: ret_count is at most the bytes left, and an element that is not
 * there is -EBADMSG, not zeros. extents and kvs of a decoded message were
 * walked already: extents have a known kind, a length > 0 and no sum above
 * INT64_MAX.
 */
struct wire_reader wire_vec_reader(struct wire_bytes vec, uint32_t *ret_count);
/* Looks a name up in a kvs vector; false when it is not there. */
bool wire_kvs_find(struct wire_bytes kvs, const char *name,
		   struct wire_bytes *ret_value);

/*
 * Field tables. MSG(F) lists F(kind, name); order is wire order; only append.
 * WIRE_STRUCT declares struct, encode, decode; WIRE_IMPL defines them.
 */
#define WIRE_F_DECL(kind, name) wire_##kind##_t name;
#define WIRE_F_PUT(kind, name) wire_put_##kind(&w, &m->name);
#define WIRE_F_GET(kind, name) wire_get_##kind(&r, &m->name);
#define WIRE_STRUCT(prefix, name, FIELDS) \
	struct prefix##_##name { \
		FIELDS(WIRE_F_DECL) \
	}; \
	/* Appends to out; 0 or out->err. */ \
	int prefix##_##name##_encode(const struct prefix##_##name *m, \
				     struct buf *out); \
	/* Strings borrow from p; 0 or -EBADMSG. */ \
	int prefix##_##name##_decode(struct prefix##_##name *m, \
				     const void *p, size_t len);
#define WIRE_IMPL(prefix, name, FIELDS) \
	int prefix##_##name##_encode(const struct prefix##_##name *m, \
				     struct buf *out) \
	{ \
		struct wire_writer w = { out }; \
		FIELDS(WIRE_F_PUT) \
		return w.out->err; \
	} \
	int prefix##_##name##_decode(struct prefix##_##name *m, \
				     const void *p, size_t len) \
	{ \
		struct wire_reader r = { .p = p, .left = len }; \
		FIELDS(WIRE_F_GET) \
		return r.err; \
	}

#endif
