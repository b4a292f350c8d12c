#include "common/rows/rows_back.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

void rows_back_close(struct rows_back *back)
{
	if (back != NULL)
		back->ops->close(back);
}

int rows_back_get(struct rows_back *back, struct wire_bytes key,
		  uint8_t **ret_value, size_t *ret_len)
{
	return back->ops->get(back, key, ret_value, ret_len);
}

int rows_back_checkpoint(struct rows_back *back)
{
	return back->ops->checkpoint(back);
}

int rows_iter_new(struct rows_back *back, struct wire_bytes from,
		  struct wire_bytes to, struct rows_iter **ret_it)
{
	struct rows_iter *it;
	int rv = back->ops->iter_new(back, &it);

	if (rv != 0)
		return rv;
	it->back = back;
	buf_init(&it->from, 0);
	buf_init(&it->to, 0);
	buf_add(&it->from, from.p, from.len);
	buf_add(&it->to, to.p, to.len);
	if (it->from.err != 0 || it->to.err != 0) {
		rows_iter_free(it);
		return -ENOMEM;
	}
	back->ops->iter_seek(it, from);
	*ret_it = it;
	return 0;
}

int rows_iter_next(struct rows_iter *it, struct wire_bytes *ret_key,
		   struct wire_bytes *ret_value)
{
	struct wire_bytes key, value;
	int rv = it->back->ops->iter_next(it, &key, &value);

	if (rv != 0)
		return rv;
	if (it->to.len > 0 &&
	    wire_bytes_cmp(key, wire_bytes(it->to.data, it->to.len)) >= 0)
		return -ENOENT;
	*ret_key = key;
	*ret_value = value;
	return 0;
}

void rows_iter_seek(struct rows_iter *it, struct wire_bytes key)
{
	struct wire_bytes from = wire_bytes(it->from.data, it->from.len);

	it->back->ops->iter_seek(it, wire_bytes_cmp(key, from) < 0 ? from : key);
}

int rows_iter_get(struct rows_iter *it, struct wire_bytes key,
		  struct wire_bytes *ret_value)
{
	return it->back->ops->iter_get(it, key, ret_value);
}

void rows_iter_free(struct rows_iter *it)
{
	if (it == NULL)
		return;
	buf_fini(&it->from);
	buf_fini(&it->to);
	it->back->ops->iter_free(it);
}

struct rows_batch *rows_batch_new(void)
{
	struct rows_batch *b = mem_alloc(sizeof *b);

	if (b != NULL)
		buf_init(&b->ops, 0);
	return b;
}

void rows_batch_free(struct rows_batch *b)
{
	if (b == NULL)
		return;
	buf_fini(&b->ops);
	mem_free(b);
}

#define BATCH_HEAD 9

static void batch_add(struct rows_batch *b, bool del, struct wire_bytes key,
		      struct wire_bytes value)
{
	uint32_t klen = (uint32_t)key.len, vlen = (uint32_t)value.len;
	uint8_t *p;

	if (key.len > UINT32_MAX / 4 || value.len > UINT32_MAX / 4) {
		b->ops.err = -EMSGSIZE;
		return;
	}
	p = buf_reserve(&b->ops, BATCH_HEAD + key.len + value.len);
	if (p == NULL)
		return;
	p[0] = del;
	memcpy(p + 1, &klen, 4);
	memcpy(p + 5, &vlen, 4);
	if (klen > 0)
		memcpy(p + BATCH_HEAD, key.p, klen);
	if (vlen > 0)
		memcpy(p + BATCH_HEAD + klen, value.p, vlen);
	b->ops.len += BATCH_HEAD + key.len + value.len;
}

void rows_batch_put(struct rows_batch *b, struct wire_bytes key,
		    struct wire_bytes value)
{
	batch_add(b, false, key, value);
}

void rows_batch_del(struct rows_batch *b, struct wire_bytes key)
{
	batch_add(b, true, key, wire_bytes(NULL, 0));
}

bool rows_batch_next(const struct rows_batch *b, size_t *pos,
		     struct rows_op *ret_op)
{
	const uint8_t *p = b->ops.data + *pos;
	uint32_t klen, vlen;

	if (*pos >= b->ops.len)
		return false;
	memcpy(&klen, p + 1, 4);
	memcpy(&vlen, p + 5, 4);
	ret_op->del = p[0] != 0;
	ret_op->key = wire_bytes(p + BATCH_HEAD, klen);
	ret_op->value = wire_bytes(p + BATCH_HEAD + klen, vlen);
	*pos += (size_t)BATCH_HEAD + klen + vlen;
	return true;
}

void rows_batch_fail(struct rows_batch *b, int err)
{
	if (b->ops.err == 0)
		b->ops.err = err;
}

size_t rows_batch_bytes(const struct rows_batch *b)
{
	return b->ops.len;
}

void rows_batch_reset(struct rows_batch *b)
{
	buf_reset(&b->ops);
}

int rows_batch_write(struct rows_back *back, struct rows_batch *b)
{
	if (b->ops.err != 0)
		return b->ops.err;
	return back->ops->write(back, b);
}
