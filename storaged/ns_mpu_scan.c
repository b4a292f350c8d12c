/*
 * Pages of uploads (in key order, then by upload id) and of their parts.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

enum { NS_MPU_PAGE_MAX = 1000 };

/* --- parts --- */

static int ns_parts_upload(struct rows_back *back, uint16_t shard,
			   const struct rpc_mpu_parts *m,
			   struct rpc_mpu_parts_rsp *rsp, uint8_t **ret_value)
{
	struct ns_row_upload row;
	struct ns_key k;
	size_t len;
	int rv;

	if (ino_shard(m->root) != shard)
		return RPC_STATUS_NOTSUP;
	rv = ns_object_key_check(m->key, NS_KEY_BYTES);
	if (rv != 0)
		return rv;
	ns_key_upload(&k, shard, m->root, m->key, m->upload);
	rv = rows_back_get(back, ns_key_get(&k), ret_value, &len);
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_NO_UPLOAD : rv;
	rv = ns_row_upload_load(&row, wire_bytes(*ret_value, len));
	rsp->sum_alg = row.sum_alg;
	rsp->sum_type = row.sum_type;
	return rv;
}

static int ns_parts_rows(struct rows_iter *it, uint32_t max,
			 struct wire_vec *out, struct rpc_mpu_parts_rsp *rsp)
{
	struct wire_bytes key, value;
	struct ns_row_part row;
	struct wire_writer w;
	uint32_t number;
	int rv;

	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		if (out->count == max) {
			rsp->truncated = 1;
			break;
		}
		rv = ns_row_part_load(&row, value);
		if (rv != 0)
			return rv;
		number = (uint32_t)ns_be64(key.p + key.len - 8);
		w = wire_vec_add(out);
		wire_put_u32(&w, &number);
		wire_put_u64(&w, &row.size);
		wire_put_i64(&w, &row.mtime);
		wire_put_str(&w, &row.etag);
		wire_put_kvs(&w, &row.sums);
		rsp->next = number;
	}
	return rv == -ENOENT || rv == 0 ? out->buf.err : rv;
}

int ns_scan_mpu_parts(struct rows_back *back, uint16_t shard,
		      const struct rpc_mpu_parts *m, struct ns_answer *a)
{
	uint32_t max = m->max < NS_MPU_PAGE_MAX ? m->max : NS_MPU_PAGE_MAX;
	struct rpc_mpu_parts_rsp rsp = { .next = m->after };
	struct rows_iter *it = NULL;
	struct wire_vec out;
	struct ns_key from, to;
	uint8_t *value = NULL;
	int rv;

	wire_vec_init(&out);
	ns_key_start(&to, shard, NS_T_PART);
	ns_key_u128(&to, m->upload);
	ns_key_end(&to);
	ns_key_part(&from, shard, m->upload, m->after);
	ns_key_u8(&from, 0);
	rv = ns_parts_upload(back, shard, m, &rsp, &value);
	if (rv == 0)
		rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to),
				   &it);
	if (rv == 0)
		rv = ns_parts_rows(it, max, &out, &rsp);
	if (rv == 0) {
		rsp.parts = wire_vec_bytes(&out);
		rv = rpc_mpu_parts_rsp_encode(&rsp, &a->payload);
	}
	rows_iter_free(it);
	mem_free(value);
	wire_vec_fini(&out);
	return rv;
}

/* --- uploads --- */

struct ns_uploads {
	const struct rpc_mpu_list *m;
	uint32_t max;
	struct wire_vec out;
	struct buf last;
	struct rpc_mpu_list_rsp rsp;
};

static int ns_uploads_add(struct ns_uploads *l, struct wire_bytes name,
			  struct wire_u128 id, struct wire_bytes value)
{
	struct ns_row_upload row;
	struct wire_writer w;
	int rv = ns_row_upload_load(&row, value);

	if (rv != 0)
		return rv;
	w = wire_vec_add(&l->out);
	wire_put_str(&w, &name);
	wire_put_u128(&w, &id);
	wire_put_i64(&w, &row.created);
	wire_put_str(&w, &row.sum_alg);
	wire_put_str(&w, &row.sum_type);
	buf_reset(&l->last);
	buf_add(&l->last, name.p, name.len);
	l->rsp.next_upload = id;
	return l->out.buf.err;
}

/* Behind the marker? Key alone: behind all uploads of that key. */
static bool ns_uploads_behind(const struct rpc_mpu_list *m,
			      struct wire_bytes name, struct wire_u128 id)
{
	struct wire_u128 after = m->upload_after;
	int c = wire_bytes_cmp(name, m->key_after);

	if (m->key_after.len == 0 || c != 0)
		return m->key_after.len == 0 || c > 0;
	if (after.hi == 0 && after.lo == 0)
		return false;
	return id.hi != after.hi ? id.hi > after.hi : id.lo > after.lo;
}

static int ns_uploads_rows(struct ns_uploads *l, struct rows_iter *it)
{
	const size_t head = NS_KEY_REST + 8, tail = 17;
	struct wire_bytes prefix = l->m->prefix;
	struct wire_bytes key, value, name;
	struct wire_u128 id;
	int rv;

	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		if (key.len < head + tail)
			return -EIO;
		name = wire_bytes(key.p + head, key.len - head - tail);
		id = ns_be128(key.p + key.len - 16);
		if (name.len < prefix.len ||
		    (prefix.len > 0 &&
		     memcmp(name.p, prefix.p, prefix.len) != 0)) {
			if (wire_bytes_cmp(name, prefix) > 0)
				return 0;
			continue;
		}
		if (!ns_uploads_behind(l->m, name, id))
			continue;
		if (l->out.count == l->max) {
			l->rsp.truncated = 1;
			return 0;
		}
		rv = ns_uploads_add(l, name, id, value);
		if (rv != 0)
			return rv;
	}
	return rv == -ENOENT ? 0 : rv;
}

int ns_scan_mpu_list(struct rows_back *back, uint16_t shard,
		     const struct rpc_mpu_list *m, struct ns_answer *a)
{
	struct ns_uploads l = {
		.m = m,
		.max = m->max < NS_MPU_PAGE_MAX ? m->max : NS_MPU_PAGE_MAX,
	};
	struct wire_bytes start = m->prefix;
	struct rows_iter *it = NULL;
	struct ns_key from, to;
	int rv;

	if (ino_shard(m->root) != shard)
		return RPC_STATUS_NOTSUP;
	wire_vec_init(&l.out);
	buf_init(&l.last, 0);
	if (wire_bytes_cmp(m->key_after, start) > 0)
		start = m->key_after;
	ns_key_id(&from, shard, NS_T_UPLOAD, m->root);
	to = from;
	ns_key_end(&to);
	ns_key_bytes(&from, start);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv == 0)
		rv = ns_uploads_rows(&l, it);
	if (rv == 0) {
		l.rsp.uploads = wire_vec_bytes(&l.out);
		l.rsp.next_key = wire_bytes(l.last.data, l.last.len);
		rv = rpc_mpu_list_rsp_encode(&l.rsp, &a->payload);
	}
	rows_iter_free(it);
	wire_vec_fini(&l.out);
	buf_fini(&l.last);
	return rv;
}
