/*
 * Writing: an iterator over the rows of a group; its first rows are those of
 * the host, so the head is known before anything is handed out, and it is of
 * the same moment as all that follows.
 *
 * Reading: bytes gather until a head, a block or an end is whole; it is checked
 * as a whole, then handed on.
 */
#include "common/rows/rows_stream.h"

#include <errno.h>
#include <string.h>

#include "common/base/be.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"

#ifdef ENABLE_MUTATIONS
bool rows_stream_mutation;
#endif

#define STREAM_MAGIC "LEOROWS1"
#define STREAM_FIXED 16          /* of a head, and of a block */
#define STREAM_SUM 8
#define STREAM_FIELDS (64u << 10)
#define STREAM_BLOCK (256u << 10) /* a block is closed beyond that */
#define STREAM_BLOCK_MAX (24u << 20)
#define STREAM_END (STREAM_FIXED + 16)

enum { STREAM_ROW = 1, STREAM_VALUE = 2 };

#define STREAM_HEAD(F) F(u32, flags) F(u16, group) F(u64, index) F(u64, term) \
	F(i64, now) F(u64, conf_index) F(blob, conf) F(u64, need) \
	F(u128, store)
WIRE_STRUCT(rows_stream, fields, STREAM_HEAD)
WIRE_IMPL(rows_stream, fields, STREAM_HEAD)

/* --- writing --- */

struct rows_stream_writer {
	struct rows_stream_config config;
	struct rows_stream_head head;
	struct rows_iter *it;
	uint64_t seed;      /* the head's checksum */
	uint32_t number;    /* of the next block */
	uint64_t rows;
	bool begun, ended;
	bool pending;       /* key and val are a row that was not put yet */
	struct wire_bytes key, val; /* borrowed from it */
	struct buf items, value;
};

static void stream_bounds(uint16_t group, uint8_t from[3], uint8_t to[3])
{
	from[0] = (uint8_t)(group >> 8);
	from[1] = (uint8_t)group;
	from[2] = 1; /* behind the host's own */
	to[0] = from[0];
	to[1] = from[1];
	to[2] = 0xff; /* no type is that high */
}

int rows_stream_writer_new(const struct rows_stream_config *config,
			   struct rows_stream_writer **ret_writer)
{
	struct rows_stream_writer *w = mem_zalloc(sizeof *w);
	uint8_t from[3], to[3];
	int rv;

	if (w == NULL)
		return -ENOMEM;
	w->config = *config;
	if (w->config.block == 0 || w->config.block > STREAM_BLOCK)
		w->config.block = STREAM_BLOCK;
	buf_init(&w->items, 0);
	buf_init(&w->value, 0);
	stream_bounds(config->group, from, to);
	from[2] = 0;
	rv = rows_iter_new(config->back, wire_bytes(from, 3),
			   wire_bytes(to, 3), &w->it);
	if (rv == 0)
		rv = rows_applied_iter(w->it, config->group, &w->head.at);
	if (rv == 0 && w->head.at.index == 0)
		rv = -ENOENT;
	if (rv != 0) {
		rows_stream_writer_free(w);
		return rv;
	}
	w->head.flags = config->flags;
	w->head.group = config->group;
	w->head.need = config->need;
	w->head.store = config->store;
	from[2] = 1;
	rows_iter_seek(w->it, wire_bytes(from, 3));
	*ret_writer = w;
	return 0;
}

const struct rows_stream_head *
rows_stream_writer_head(const struct rows_stream_writer *w)
{
	return &w->head;
}

static int stream_put_head(struct rows_stream_writer *w, struct buf *out)
{
	const struct rows_stream_head *h = &w->head;
	struct rows_stream_fields f = {
		.flags = h->flags, .group = h->group, .index = h->at.index,
		.term = h->at.term, .now = h->at.now,
		.conf_index = h->at.conf_index,
		.conf = wire_bytes(h->at.conf, h->at.conf_len),
		.need = h->need, .store = h->store,
	};
	uint8_t fixed[STREAM_FIXED] = STREAM_MAGIC, sum[STREAM_SUM];
	size_t at = out->len;

	buf_add(out, fixed, sizeof fixed);
	(void)rows_stream_fields_encode(&f, out);
	if (out->err != 0)
		return out->err;
	be32enc(out->data + at + 8, (uint32_t)(out->len - at - STREAM_FIXED));
	w->seed = XXH3_64bits(out->data + at, out->len - at);
	be64enc(sum, w->seed);
	buf_add(out, sum, sizeof sum);
	return out->err;
}

static void stream_block_head(const struct rows_stream_writer *w,
			      const struct buf *items,
			      uint8_t out[STREAM_FIXED], uint64_t *ret_seed)
{
	be32enc(out, (uint32_t)items->len);
	be32enc(out + 4, w->number);
	*ret_seed = XXH3_64bits_withSeed(out, 8, w->seed);
	be64enc(out + 8, XXH3_64bits_withSeed(items->data, items->len,
					    *ret_seed));
}

static int stream_put_block(struct rows_stream_writer *w, struct buf *out)
{
	uint8_t fixed[STREAM_FIXED];
	uint64_t seed;

	stream_block_head(w, &w->items, fixed, &seed);
	buf_add(out, fixed, sizeof fixed);
	buf_add(out, w->items.data, w->items.len);
	buf_reset(&w->items);
	w->number++;
	return out->err;
}

static int stream_put_end(struct rows_stream_writer *w, struct buf *out)
{
	uint8_t fixed[STREAM_FIXED], end[16];
	uint64_t seed;

	buf_reset(&w->items);
	stream_block_head(w, &w->items, fixed, &seed);
	be64enc(end, w->rows);
	be64enc(end + 8, XXH3_64bits_withSeed(end, 8, seed));
	buf_add(out, fixed, sizeof fixed);
	buf_add(out, end, sizeof end);
	w->ended = true;
	return out->err;
}

int rows_stream_put_value(struct rows_stream_out *out, struct wire_u128 hash,
			  struct wire_bytes bytes)
{
	const uint8_t kind = STREAM_VALUE;
	struct wire_writer w = { out->items };

	wire_put_u8(&w, &kind);
	wire_put_u128(&w, &hash);
	wire_put_blob(&w, &bytes);
	return out->items->err;
}

/* A row; key: behind the group number. */
static int stream_put_item(struct rows_stream_writer *w, struct wire_bytes key,
			   struct wire_bytes value)
{
	struct wire_writer items = { &w->items };
	const uint8_t kind = STREAM_ROW;

	wire_put_u8(&items, &kind);
	wire_put_blob(&items, &key);
	wire_put_blob(&items, &value);
	w->rows++;
	return w->items.err;
}

/* The next row, or more values of the one before. 0, -ENOENT: no more. */
static int stream_put_row(struct rows_stream_writer *w)
{
	struct rows_stream_out out = { &w->items, &w->value };
	struct wire_bytes value;
	int rv = 0;

	if (!w->pending)
		rv = rows_iter_next(w->it, &w->key, &w->val);
	if (rv != 0)
		return rv;
	w->pending = true;
	buf_reset(&w->value);
	if (w->config.row != NULL)
		rv = w->config.row(w->config.arg, w->key, w->val, &out);
	if (rv == -ENOENT) /* not the end of the rows */
		rv = -EIO;
	if (rv != 0)
		return rv < 0 ? rv : 0;
	w->pending = false;
	value = w->val;
	if (w->value.err != 0)
		return w->value.err;
	if (w->value.len > 0)
		value = wire_bytes(w->value.data, w->value.len);
	return stream_put_item(w, wire_bytes(w->key.p + 2, w->key.len - 2),
			       value);
}

int rows_stream_next(struct rows_stream_writer *w, struct buf *out)
{
	int rv = 0;

	if (w->ended)
		return 0;
	if (!w->begun) {
		w->begun = true;
		rv = stream_put_head(w, out);
		return rv == 0 ? 1 : rv;
	}
	while (rv == 0 && w->items.len < w->config.block)
		rv = stream_put_row(w);
	if (rv != 0 && rv != -ENOENT)
		return rv;
	if (w->items.len > STREAM_BLOCK_MAX)
		return -EMSGSIZE;
	if (w->items.len > 0) {
		int err = stream_put_block(w, out);

		return err != 0 ? err : 1;
	}
	return stream_put_end(w, out);
}

/* --- rows that are pushed --- */

int rows_stream_pusher_new(const struct rows_stream_head *head,
			   struct rows_stream_writer **ret_writer)
{
	struct rows_stream_writer *w = mem_zalloc(sizeof *w);

	if (w == NULL)
		return -ENOMEM;
	buf_init(&w->items, 0);
	buf_init(&w->value, 0);
	w->head = *head;
	w->head.at.conf = mem_dup(head->at.conf, head->at.conf_len);
	if (w->head.at.conf == NULL) {
		rows_stream_writer_free(w);
		return -ENOMEM;
	}
	*ret_writer = w;
	return 0;
}

/* The head; items, when they are a block. */
static int stream_push_ready(struct rows_stream_writer *w, size_t block,
			     struct buf *out)
{
	int rv = 0;

	if (!w->begun)
		rv = stream_put_head(w, out);
	w->begun = true;
	if (rv == 0 && w->items.len > STREAM_BLOCK_MAX)
		rv = -EMSGSIZE;
	if (rv == 0 && w->items.len >= block)
		rv = stream_put_block(w, out);
	return rv;
}

int rows_stream_push(struct rows_stream_writer *w, struct wire_bytes key,
		     struct wire_bytes value, struct buf *out)
{
	int rv = stream_put_item(w, key, value);

	return rv == 0 ? stream_push_ready(w, STREAM_BLOCK, out) : rv;
}

int rows_stream_push_end(struct rows_stream_writer *w, struct buf *out)
{
	int rv = stream_push_ready(w, 1, out);

	return rv == 0 ? stream_put_end(w, out) : rv;
}

void rows_stream_writer_free(struct rows_stream_writer *w)
{
	if (w == NULL)
		return;
	rows_iter_free(w->it);
	rows_applied_fini(&w->head.at);
	buf_fini(&w->items);
	buf_fini(&w->value);
	mem_free(w);
}

/* --- reading --- */

enum stream_state { READ_HEAD, READ_BLOCK, READ_END, READ_OVER };

struct rows_stream_reader {
	struct rows_stream_sink sink;
	struct buf in;
	enum stream_state state;
	bool portable;
	uint64_t seed, end_seed;
	uint32_t number;
	uint64_t rows;
	struct buf last; /* key of the last row: they ascend */
};

struct rows_stream_reader *
rows_stream_reader_new(const struct rows_stream_sink *sink)
{
	struct rows_stream_reader *r = mem_zalloc(sizeof *r);

	if (r == NULL)
		return NULL;
	r->sink = *sink;
	buf_init(&r->in, 0);
	buf_init(&r->last, 0);
	return r;
}

void rows_stream_reader_free(struct rows_stream_reader *r)
{
	if (r == NULL)
		return;
	buf_fini(&r->in);
	buf_fini(&r->last);
	mem_free(r);
}

/* Bytes that the part being read has; 0: it cannot be told yet. < 0: none. */
static int64_t stream_want(const struct rows_stream_reader *r, const uint8_t *p,
			   size_t len)
{
	uint32_t n;

	if (r->state == READ_END)
		return 16;
	if (len < STREAM_FIXED)
		return 0;
	if (r->state == READ_HEAD) {
		n = be32dec(p + 8);
		if (memcmp(p, STREAM_MAGIC, 8) != 0 || n > STREAM_FIELDS)
			return -EBADMSG;
		return STREAM_FIXED + (int64_t)n + STREAM_SUM;
	}
	n = be32dec(p);
	if (n > STREAM_BLOCK_MAX || be32dec(p + 4) != r->number)
		return -EBADMSG;
	return STREAM_FIXED + (int64_t)n;
}

static int stream_take_head(struct rows_stream_reader *r, const uint8_t *p,
			    size_t len)
{
	struct rows_stream_head head = { 0 };
	struct rows_stream_fields f;
	int rv;

	r->seed = XXH3_64bits(p, len - STREAM_SUM);
	if (be64dec(p + len - STREAM_SUM) != r->seed ||
	    rows_stream_fields_decode(&f, p + STREAM_FIXED,
				      len - STREAM_FIXED - STREAM_SUM) != 0 ||
	    f.index == 0)
		return -EBADMSG;
	r->state = READ_BLOCK;
	r->portable = (f.flags & ROWS_STREAM_PORTABLE) != 0;
	if (r->sink.head == NULL)
		return 0;
	head.flags = f.flags;
	head.group = f.group;
	head.need = f.need;
	head.store = f.store;
	head.at.index = f.index;
	head.at.term = f.term;
	head.at.now = f.now;
	head.at.conf_index = f.conf_index;
	head.at.conf = mem_dup(f.conf.p, f.conf.len);
	head.at.conf_len = f.conf.len;
	if (head.at.conf == NULL)
		return -ENOMEM;
	rv = r->sink.head(r->sink.arg, &head);
	rows_applied_fini(&head.at);
	return rv;
}

static int stream_take_row(struct rows_stream_reader *r, struct wire_reader *in)
{
	struct wire_bytes key, value;

	wire_get_blob(in, &key);
	wire_get_blob(in, &value);
	if (in->err != 0 || key.len == 0 || key.p[0] == 0)
		return -EBADMSG;
	if (r->rows > 0 &&
	    wire_bytes_cmp(key, wire_bytes(r->last.data, r->last.len)) <= 0)
		return -EBADMSG;
	buf_reset(&r->last);
	buf_add(&r->last, key.p, key.len);
	r->rows++;
	if (r->last.err != 0)
		return r->last.err;
	return r->sink.row(r->sink.arg, key, value);
}

static int stream_take_value(struct rows_stream_reader *r,
			     struct wire_reader *in)
{
	struct wire_u128 hash;
	struct wire_bytes bytes;
	XXH128_hash_t h;

	wire_get_u128(in, &hash);
	wire_get_blob(in, &bytes);
	if (in->err != 0 || !r->portable || r->sink.value == NULL)
		return -EBADMSG;
	h = XXH3_128bits(bytes.p, bytes.len);
	if (h.high64 != hash.hi || h.low64 != hash.lo)
		return -EBADMSG;
	return r->sink.value(r->sink.arg, hash, bytes);
}

static int stream_take_block(struct rows_stream_reader *r, const uint8_t *p,
			     size_t len)
{
	uint64_t seed = XXH3_64bits_withSeed(p, 8, r->seed);
	struct wire_reader in = {
		.p = p + STREAM_FIXED, .left = len - STREAM_FIXED,
		.strict = true,
	};
	int rv = 0;

	if (be64dec(p + 8) != XXH3_64bits_withSeed(in.p, in.left, seed) &&
	    !rows_stream_mutation)
		return -EBADMSG;
	if (in.left == 0) {
		r->end_seed = seed;
		r->state = READ_END;
		return 0;
	}
	r->number++;
	while (in.left > 0 && rv == 0) {
		uint8_t kind;

		wire_get_u8(&in, &kind);
		if (kind == STREAM_ROW)
			rv = stream_take_row(r, &in);
		else if (kind == STREAM_VALUE)
			rv = stream_take_value(r, &in);
		else
			rv = -EBADMSG;
	}
	return rv;
}

static int stream_take(struct rows_stream_reader *r, const uint8_t *p,
		       size_t len)
{
	switch (r->state) {
	case READ_HEAD:
		return stream_take_head(r, p, len);
	case READ_BLOCK:
		return stream_take_block(r, p, len);
	default:
		r->state = READ_OVER;
		if (be64dec(p) != r->rows ||
		    be64dec(p + 8) != XXH3_64bits_withSeed(p, 8, r->end_seed))
			return -EBADMSG;
		return 0;
	}
}

int rows_stream_feed(struct rows_stream_reader *r, const void *p, size_t len)
{
	size_t at = 0;
	int rv = 0;

	buf_add(&r->in, p, len);
	if (r->in.err != 0)
		return r->in.err;
	while (rv == 0 && r->state != READ_OVER) {
		const uint8_t *q = r->in.data + at;
		int64_t want = stream_want(r, q, r->in.len - at);

		if (want < 0)
			return (int)want;
		if (want == 0 || (size_t)want > r->in.len - at)
			break;
		rv = stream_take(r, q, (size_t)want);
		at += (size_t)want;
	}
	if (at > 0) {
		r->in.len -= at;
		memmove(r->in.data, r->in.data + at, r->in.len);
	}
	if (rv < 0)
		return rv;
	return r->state == READ_OVER ? 1 : 0;
}
