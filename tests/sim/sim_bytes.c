#include "tests/sim/sim_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void bytes_from(uint64_t token, uint64_t off, uint8_t *out, size_t len)
{
	for (uint64_t i = off; i < off + len; i++)
		*out++ = (uint8_t)(token >> (i % 8 * 8) ^ i / 8);
}

struct wire_bytes sim_bytes_make(uint8_t *out, size_t len, uint64_t token)
{
	bytes_from(token, 0, out, len);
	return wire_bytes(out, len);
}

void sim_bytes_slice(struct wire_u128 slice, uint64_t off, uint8_t *out,
		     size_t len)
{
	bytes_from(XXH3_64bits(&slice, sizeof slice), off, out, len);
}

struct wire_bytes sim_bytes_extent(struct wire_vec *v, uint64_t pos, size_t len)
{
	struct wire_extent e = { .pos = pos, .len = len,
				 .kind = WIRE_EXT_INLINE };

	wire_vec_init(v);
	if (len > 0)
		wire_vec_add_extent(v, &e);
	return wire_vec_bytes(v);
}

struct wire_bytes sim_bytes_chunks(struct wire_vec *v, uint64_t pos, size_t len,
				   struct wire_u128 slice)
{
	struct wire_extent e = { .pos = pos, .len = len, .slice = slice,
				 .kind = WIRE_EXT_CHUNKS };

	wire_vec_init(v);
	wire_vec_add_extent(v, &e);
	return wire_vec_bytes(v);
}

/*
 * The bytes of extents where a file of size bytes has them; the end of the last
 * one. data: those of inline ones.
 */
static size_t bytes_put(struct sim_cluster *c, struct wire_bytes extents,
			struct wire_bytes data, uint8_t *out, size_t size)
{
	struct wire_reader r;
	size_t end = 0;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		bool chunks;
		struct wire_extent e;

		wire_get_extent(&r, &e);
		chunks = e.kind == WIRE_EXT_CHUNKS;
		if (r.err != 0 || e.kind == WIRE_EXT_ZERO ||
		    e.pos + e.len > size ||
		    (!chunks && e.slice_off + e.len > data.len))
			sim_fail(c, "extents of a file are wrong");
		if (chunks)
			sim_bytes_slice(e.slice, e.slice_off, out + e.pos,
					e.len);
		else
			memcpy(out + e.pos, data.p + e.slice_off, e.len);
		end = e.pos + e.len;
	}
	return end;
}

size_t sim_bytes_sent(struct sim_cluster *c, struct wire_bytes extents,
		      struct wire_bytes data, uint8_t *out)
{
	return bytes_put(c, extents, data, out, NSM_BYTES);
}

uint64_t sim_bytes_joined(struct sim_cluster *c, struct wire_bytes extents,
			  struct wire_bytes body, uint64_t size, uint8_t *out)
{
	uint8_t bytes[NSM_BYTES] = { 0 };

	if (size > sizeof bytes)
		sim_fail(c, "a file of %llu bytes", (unsigned long long)size);
	(void)bytes_put(c, extents, body, bytes, size);
	if (out != NULL)
		memcpy(out, bytes, size);
	return XXH3_64bits(bytes, size);
}

uint64_t sim_bytes_hash(const struct nsm_file *f)
{
	return XXH3_64bits(f->bytes, f->size);
}

/* --- ETags --- */

char *sim_etag(uint64_t tag, char out[SIM_ETAG])
{
	snprintf(out, SIM_ETAG, "%016llx%016llx", (unsigned long long)tag,
		 (unsigned long long)tag);
	return out;
}

uint64_t sim_etag_tag(struct wire_bytes etag)
{
	char hex[17] = "";

	if (etag.len >= 2 && etag.p[0] == '"') {
		etag.p++;
		etag.len -= 2;
	}
	if (etag.len != 32)
		return 0;
	memcpy(hex, etag.p, 16);
	return strtoull(hex, NULL, 16);
}

bool sim_etag_fits(uint64_t tag, struct wire_bytes etag)
{
	char text[SIM_ETAG];

	return tag == 0 ? etag.len > 0
			: wire_bytes_eq(etag, wire_cstr(sim_etag(tag, text)));
}

/* --- mutations --- */

void sim_bytes_write(struct sim_cluster *c, struct nsm_file *f,
		     const struct rpc_write *q, uint64_t *ret_pos)
{
	uint8_t bytes[NSM_BYTES];
	size_t end = sim_bytes_sent(c, q->extents, q->data, bytes);
	struct wire_extent x;
	struct wire_reader r;
	uint32_t n;

	r = wire_vec_reader(q->extents, &n);
	wire_get_extent(&r, &x);
	*ret_pos = (q->flags & RPC_WRITE_APPEND) != 0 ? f->size : 0;
	if (*ret_pos + end > NSM_BYTES)
		sim_fail(c, "the model's files are too small");
	nsm_write(f, *ret_pos + x.pos, bytes + x.pos, x.len);
	f->tag = 0;
}

void sim_bytes_setattr(struct nsm_file *f, const struct rpc_setattr *q)
{
	if ((q->valid & RPC_SET_SIZE) == 0 || q->size == f->size)
		return;
	nsm_truncate(f, q->size);
	f->tag = 0;
}
