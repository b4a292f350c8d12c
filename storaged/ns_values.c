#include "storaged/ns_values.h"

#include <errno.h>

#include "storaged/ns_impl.h"

bool ns_has_values(uint8_t type)
{
	return type == NS_T_INODE || type == NS_T_REGION;
}

/* The extent list of a row; a part of its bytes. */
static int ns_values_list(uint8_t type, struct wire_bytes row,
			  struct wire_bytes *ret_list)
{
	struct ns_row_inode in;
	struct ns_row_region rg;
	int rv;

	if (type == NS_T_INODE) {
		rv = ns_row_inode_load(&in, row);
		*ret_list = in.extents;
	} else {
		rv = ns_row_region_load(&rg, row);
		*ret_list = rg.extents;
	}
	return rv;
}

/* The extent in front of r. 1: it is a value, and *v is set. */
static int ns_values_next(struct wire_reader *r, const uint8_t *row,
			  struct ns_value_at *v)
{
	struct wire_bytes bytes;
	uint64_t pos, len, off;
	uint8_t kind;

	wire_get_u8(r, &kind);
	wire_get_u64(r, &pos);
	wire_get_u64(r, &len);
	if (kind == NS_EXT_CHUNKS || kind == NS_EXT_VALUE) {
		wire_get_u128(r, &v->hash);
		wire_get_u64(r, &off);
	}
	if (kind == NS_EXT_VALUE) {
		v->at = (size_t)(r->p - row);
		wire_get_u64(r, &v->gen);
		wire_get_u64(r, &v->off);
		wire_get_u32(r, &v->len);
	} else if (kind == NS_EXT_BYTES) {
		wire_get_blob(r, &bytes);
	} else if (kind < NS_EXT_CHUNKS || kind > NS_EXT_BYTES) {
		return -EIO;
	}
	if (r->err != 0)
		return -EIO;
	return kind == NS_EXT_VALUE;
}

int ns_values_each(uint8_t type, struct wire_bytes row,
		   int (*each)(void *arg, const struct ns_value_at *v),
		   void *arg)
{
	struct wire_bytes list;
	struct wire_reader r;
	uint32_t n;
	int rv = ns_values_list(type, row, &list);

	if (rv != 0 || list.len == 0)
		return rv;
	r = (struct wire_reader){ .p = list.p, .left = list.len,
				  .strict = true };
	wire_get_u32(&r, &n);
	for (rv = r.err != 0 ? -EIO : 0; n > 0 && rv == 0; n--) {
		struct ns_value_at v;

		rv = ns_values_next(&r, row.p, &v);
		if (rv == 1)
			rv = each(arg, &v);
	}
	return rv;
}

void ns_value_move(uint8_t *row, size_t at, uint64_t gen, uint64_t off)
{
	for (int i = 0; i < 8; i++) {
		row[at + (size_t)i] = (uint8_t)(gen >> (56 - 8 * i));
		row[at + 8 + (size_t)i] = (uint8_t)(off >> (56 - 8 * i));
	}
}
