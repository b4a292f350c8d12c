/*
 * One hash over a shard's rows, equal on all replicas: positions of values in
 * this store's log are left out.
 */
#include "storaged/ns_impl.h"

#include <errno.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

static int ns_strip_list(struct ns_ctx *x, struct wire_bytes *blob,
			 struct buf *out)
{
	struct ns_extents *list;
	int rv;

	if (blob->len == 0)
		return 0;
	rv = ns_extents_load(x, *blob, &list);
	if (rv != 0)
		return rv;
	ns_extents_save(list, false, out);
	*blob = wire_bytes(out->data, out->len);
	return out->err;
}

/* The row as every replica has it, in x's memory or as it was. */
static int ns_strip(struct ns_ctx *x, uint8_t type, struct wire_bytes *value,
		    struct buf *list)
{
	struct ns_row_region rg;
	struct ns_row_inode in;
	int rv;

	if (type != NS_T_INODE && type != NS_T_REGION)
		return 0;
	buf_reset(list);
	buf_reset(&x->scratch);
	if (type == NS_T_INODE) {
		rv = ns_row_inode_load(&in, *value);
		if (rv == 0)
			rv = ns_strip_list(x, &in.extents, list);
		if (rv == 0)
			rv = ns_row_inode_encode(&in, &x->scratch);
	} else {
		rv = ns_row_region_load(&rg, *value);
		if (rv == 0)
			rv = ns_strip_list(x, &rg.extents, list);
		if (rv == 0)
			rv = ns_row_region_encode(&rg, &x->scratch);
	}
	*value = wire_bytes(x->scratch.data, x->scratch.len);
	return rv;
}

static void ns_hash_bytes(XXH3_state_t *h, struct wire_bytes b)
{
	uint8_t len[8];

	for (int i = 0; i < 8; i++)
		len[i] = (uint8_t)((uint64_t)b.len >> (8 * i));
	XXH3_128bits_update(h, len, sizeof(len));
	XXH3_128bits_update(h, b.p, b.len);
}

static int ns_hash_rows(XXH3_state_t *h, struct rows_iter *it, uint16_t shard)
{
	struct wire_bytes key, value;
	struct buf list;
	int rv;

	buf_init(&list, 0);
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		struct ns_ctx x;

		if (key.len < NS_KEY_REST || key.p[2] == 0)
			continue; /* the host's own */
		ns_hash_bytes(h, key);
		ns_ctx_init(&x, NULL, shard, NULL, NULL);
		rv = ns_strip(&x, key.p[2], &value, &list);
		if (rv == 0)
			ns_hash_bytes(h, value);
		ns_ctx_fini(&x);
		if (rv != 0)
			break;
	}
	buf_fini(&list);
	return rv == -ENOENT ? 0 : rv;
}

int ns_hash(struct rows_back *back, uint16_t shard, struct wire_u128 *ret)
{
	struct rows_iter *it = NULL;
	struct ns_key from, to;
	XXH128_hash_t sum;
	XXH3_state_t *h;
	int rv = -ENOMEM;

	h = XXH3_createState();
	if (h == NULL)
		return rv;
	XXH3_128bits_reset(h);
	ns_key_start(&from, shard, 0);
	from.len = 2;
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv == 0)
		rv = ns_hash_rows(h, it, shard);
	rows_iter_free(it);
	sum = XXH3_128bits_digest(h);
	XXH3_freeState(h);
	if (rv == 0)
		*ret = (struct wire_u128){ sum.high64, sum.low64 };
	return rv;
}
