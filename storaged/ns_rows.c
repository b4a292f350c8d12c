#include "storaged/ns_rows.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define NS_ROW_DEFINE(name, FIELDS) \
	WIRE_IMPL(ns_row, name, FIELDS) \
	int ns_row_##name##_load(struct ns_row_##name *row, \
				 struct wire_bytes value) \
	{ \
		if (ns_row_##name##_decode(row, value.p, value.len) != 0) \
			return -EIO; \
		return row->v == NS_ROW_VERSION ? 0 : -EIO; \
	}
NS_ROWS(NS_ROW_DEFINE)
WIRE_IMPL(ns, step, NS_STEP)

void ns_key_bytes(struct ns_key *k, struct wire_bytes b)
{
	size_t n = sizeof(k->p) - k->len;

	if (n > b.len)
		n = b.len;
	if (n == 0)
		return;
	memcpy(k->p + k->len, b.p, n);
	k->len += n;
}

void ns_key_u8(struct ns_key *k, uint8_t v)
{
	ns_key_bytes(k, wire_bytes(&v, 1));
}

static void ns_key_int(struct ns_key *k, uint64_t v, unsigned n)
{
	uint8_t b[8];

	for (unsigned i = 0; i < n; i++)
		b[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
	ns_key_bytes(k, wire_bytes(b, n));
}

void ns_key_u32(struct ns_key *k, uint32_t v)
{
	ns_key_int(k, v, 4);
}

void ns_key_u64(struct ns_key *k, uint64_t v)
{
	ns_key_int(k, v, 8);
}

void ns_key_u128(struct ns_key *k, struct wire_u128 v)
{
	ns_key_int(k, v.hi, 8);
	ns_key_int(k, v.lo, 8);
}

void ns_key_start(struct ns_key *k, uint16_t shard, uint8_t type)
{
	k->len = 0;
	ns_key_int(k, shard, 2);
	ns_key_u8(k, type);
}

struct wire_bytes ns_key_get(const struct ns_key *k)
{
	return wire_bytes(k->p, k->len);
}

void ns_key_end(struct ns_key *k)
{
	while (k->len > 0 && k->p[k->len - 1] == 0xff)
		k->len--;
	if (k->len > 0)
		k->p[k->len - 1]++;
}

struct wire_bytes ns_key_dent(struct ns_key *k, uint16_t shard, uint64_t dir,
			      struct wire_bytes row_name)
{
	ns_key_start(k, shard, NS_T_DENT);
	ns_key_u64(k, dir);
	ns_key_bytes(k, row_name);
	return ns_key_get(k);
}

struct wire_bytes ns_key_id(struct ns_key *k, uint16_t shard, uint8_t type,
			    uint64_t id)
{
	ns_key_start(k, shard, type);
	ns_key_u64(k, id);
	return ns_key_get(k);
}

struct wire_bytes ns_key_link(struct ns_key *k, uint16_t shard, uint64_t ino,
			      uint64_t parent, struct wire_bytes row_name)
{
	ns_key_start(k, shard, NS_T_LINK);
	ns_key_u64(k, ino);
	ns_key_u64(k, parent);
	ns_key_bytes(k, row_name);
	return ns_key_get(k);
}

struct wire_bytes ns_key_region(struct ns_key *k, uint16_t shard,
				uint64_t body, uint64_t region)
{
	ns_key_start(k, shard, NS_T_REGION);
	ns_key_u64(k, body);
	ns_key_u64(k, region);
	return ns_key_get(k);
}

struct wire_bytes ns_key_page(struct ns_key *k, uint16_t shard, uint64_t body,
			      uint32_t page)
{
	ns_key_start(k, shard, NS_T_PAGE);
	ns_key_u64(k, body);
	ns_key_u32(k, page);
	return ns_key_get(k);
}

struct wire_bytes ns_key_xattr(struct ns_key *k, uint16_t shard, uint64_t ino,
			       struct wire_bytes name)
{
	ns_key_start(k, shard, NS_T_XATTR);
	ns_key_u64(k, ino);
	ns_key_bytes(k, name);
	return ns_key_get(k);
}

struct wire_bytes ns_key_slice(struct ns_key *k, uint16_t shard,
			       struct wire_u128 slice)
{
	ns_key_start(k, shard, NS_T_SLICE);
	ns_key_u128(k, slice);
	return ns_key_get(k);
}

struct wire_bytes ns_key_upload(struct ns_key *k, uint16_t shard,
				uint64_t root, struct wire_bytes key,
				struct wire_u128 upload)
{
	ns_key_start(k, shard, NS_T_UPLOAD);
	ns_key_u64(k, root);
	ns_key_bytes(k, key);
	ns_key_u8(k, 0);
	ns_key_u128(k, upload);
	return ns_key_get(k);
}

struct wire_bytes ns_key_part(struct ns_key *k, uint16_t shard,
			      struct wire_u128 upload, uint32_t number)
{
	ns_key_start(k, shard, NS_T_PART);
	ns_key_u128(k, upload);
	ns_key_u32(k, number);
	return ns_key_get(k);
}

struct wire_bytes ns_key_queue(struct ns_key *k, uint16_t shard, uint8_t kind,
			       uint64_t id)
{
	ns_key_start(k, shard, NS_T_QUEUE);
	ns_key_u8(k, kind);
	ns_key_u64(k, id);
	return ns_key_get(k);
}

struct wire_bytes ns_key_queue128(struct ns_key *k, uint16_t shard,
				  uint8_t kind, struct wire_u128 id)
{
	ns_key_start(k, shard, NS_T_QUEUE);
	ns_key_u8(k, kind);
	ns_key_u128(k, id);
	return ns_key_get(k);
}

struct wire_bytes ns_key_txn(struct ns_key *k, uint16_t shard, uint8_t kind,
			     struct wire_u128 txn)
{
	ns_key_start(k, shard, NS_T_TXN);
	ns_key_u8(k, kind);
	ns_key_u128(k, txn);
	return ns_key_get(k);
}
