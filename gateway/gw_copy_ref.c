/*
 * Copy by reference: the extents of the source's range, page by page (READ is
 * bound to the data_version first seen), shifted to begin at 0. Inline bytes
 * are copied, slices shared: the record that names them counts them, or is
 * refused when one is dead by then.
 *
 * Streamed instead when that would be no gain or does not fit one record:
 * many extents, much inline data, slices of another shard.
 */
#include "gateway/gw_copy.h"

#include <errno.h>
#include <string.h>

#define GW_REF_EXTENTS 2000
#define GW_REF_INLINE (64u << 10)

/* One extent of the source as far as it lies in the range. 0; -E2BIG: stream;
 * -ENOMEM; -EBADMSG. */
static int gw_ref_extent(struct gw_copy_op *op, struct wire_extent e,
			 const struct body *body)
{
	uint64_t end = e.pos + e.len, stop = op->off + op->len;

	if (e.pos < op->at) {
		uint64_t skip = op->at - e.pos;

		if (skip >= e.len)
			return 0;
		e.pos += skip;
		e.slice_off += skip;
	}
	if (end > stop)
		end = stop;
	if (end <= e.pos)
		return 0;
	e.len = end - e.pos;
	e.pos -= op->off;
	if (e.kind == WIRE_EXT_CHUNKS && slice_home(e.slice) != op->home)
		return -E2BIG;
	if (e.kind == WIRE_EXT_INLINE) {
		if (body == NULL || e.slice_off > body->len ||
		    e.len > body->len - e.slice_off)
			return -EBADMSG;
		if (op->data.len + e.len > GW_REF_INLINE)
			return -E2BIG;
		buf_add(&op->data, body->data + e.slice_off, (size_t)e.len);
		e.slice_off = op->data.len - e.len;
	}
	if (op->extents.count >= GW_REF_EXTENTS)
		return -E2BIG;
	wire_vec_add_extent(&op->extents, &e);
	return op->data.err != 0 ? op->data.err : op->extents.buf.err;
}

static int gw_ref_page(struct gw_copy_op *op, struct wire_bytes extents,
		       const struct body *body, uint64_t covered)
{
	uint32_t n;
	struct wire_reader rd = wire_vec_reader(extents, &n);
	uint64_t stop = op->off + op->len;
	int rv = 0;

	for (; n > 0 && rv == 0; n--) {
		struct wire_extent e;

		wire_get_extent(&rd, &e);
		if (rd.err != 0)
			return -EBADMSG;
		rv = gw_ref_extent(op, e, body);
	}
	if (rv != 0)
		return rv;
	if (covered == 0)
		return -EBADMSG;
	op->at = covered > stop - op->at ? stop : op->at + covered;
	return 0;
}

static bool gw_is_md5(const struct buf *etag)
{
	uint8_t raw[S3_MD5_LEN];

	return s3_hex_decode(wire_bytes(etag->data, etag->len), raw,
			     sizeof(raw)) == 0;
}

/*
 * The ETag of a part has to look like an MD5, since the object's is made of
 * them. Of bytes that nobody reads it names the source: its ETag, version and
 * range.
 */
static int gw_ref_etag(struct gw_req *r, bool whole)
{
	struct gw_copy_op *op = r->op;
	const uint64_t nums[] = { op->ino, op->version, op->off, op->len };
	struct s3_sums *s;
	char hex[33];

	if (!op->part || (whole && gw_is_md5(&op->etag)))
		return 0;
	s = gw_sums_get(r->l, S3_SUM_BIT_MD5);
	if (s == NULL)
		return -ENOMEM;
	s3_sums_update(s, op->etag.data, op->etag.len);
	s3_sums_update(s, nums, sizeof(nums));
	s3_sums_final(s);
	s3_hex(s3_sums_md5(s), S3_MD5_LEN, hex);
	gw_sums_put(r->l, S3_SUM_BIT_MD5, s);
	buf_reset(&op->etag);
	buf_add(&op->etag, hex, 32);
	return op->etag.err;
}

static void gw_ref_end(struct gw_req *r)
{
	struct gw_copy_op *op = r->op;

	if (gw_ref_etag(r, op->range.kind == S3_RANGE_NONE) != 0)
		gw_fail(r, S3_ERR_OUT_OF_MEMORY);
	else
		gw_copy_publish(r);
}

static void gw_ref_next(struct gw_req *r, int rv);

static void gw_ref_read(struct gw_req *r, const struct rpc_reply *reply)
{
	struct rpc_read_rsp rsp;

	if (reply->status == RPC_STATUS_VERSION_GONE ||
	    reply->status == RPC_STATUS_STALE) {
		gw_copy_again(r);
		return;
	}
	if (reply->status != RPC_STATUS_OK) {
		gw_fail_status(r, reply->status, S3_CTX_OBJECT);
		return;
	}
	if (rpc_read_rsp_decode(&rsp, reply->payload, reply->len) != 0)
		gw_ref_next(r, -EBADMSG);
	else
		gw_ref_next(r, gw_ref_page(r->op, rsp.extents, reply->body,
					   rsp.covered));
}

static void gw_ref_next(struct gw_req *r, int rv)
{
	struct gw_copy_op *op = r->op;
	struct rpc_read req = {
		.ino = op->ino,
		.off = op->at,
		.len = op->off + op->len - op->at,
		.version = op->version,
	};

	if (rv == -E2BIG)
		gw_copy_stream(r);
	else if (rv != 0)
		gw_fail(r, rv == -ENOMEM ? S3_ERR_OUT_OF_MEMORY :
					   S3_ERR_INTERNAL);
	else if (req.len > 0)
		(void)GW_SEND(r, read, ino_shard(op->ino), &req, gw_ref_read);
	else
		gw_ref_end(r);
}

void gw_copy_ref(struct gw_req *r, const struct rpc_object_rsp *o,
		 struct body *body)
{
	struct gw_copy_op *op = r->op;

	wire_vec_fini(&op->extents);
	wire_vec_init(&op->extents);
	buf_reset(&op->data);
	op->at = op->off;
	if (op->len == 0)
		gw_ref_end(r);
	else
		gw_ref_next(r, gw_ref_page(op, o->extents, body, o->covered));
}
