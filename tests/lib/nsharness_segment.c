/* Splitting directories over shards, at random or as told: see nsharness.h. */
#include "tests/lib/nsharness_impl.h"

#include "common/base/mem.h"

static void nsh_part_text(char *to, struct wire_bytes b)
{
	NSH_MUST(b.len <= NS_NAME_MAX);
	memcpy(to, b.p, b.len);
	to[b.len] = 0;
}

unsigned nsh_parts(struct nsh *h, uint64_t dir, struct nsh_part *v,
		   unsigned max)
{
	struct ns_row_map map;
	struct wire_bytes name;
	struct wire_reader r;
	struct ns_key k;
	uint8_t *value;
	size_t len;
	uint32_t n;

	ns_key_id(&k, ino_shard(dir), NS_T_SEGMENT, dir);
	if (rows_back_get(nsh_back(h), ns_key_get(&k), &value, &len) != 0)
		return 0;
	NSH_MUST(ns_row_map_load(&map, wire_bytes(value, len)) == 0);
	r = wire_vec_reader(map.segments, &n);
	for (unsigned i = 0; i < n && i < max; i++) {
		wire_get_u64(&r, &v[i].ino);
		wire_get_str(&r, &name);
		nsh_part_text(v[i].first, name);
		wire_get_str(&r, &name);
		nsh_part_text(v[i].end, name);
	}
	mem_free(value);
	return n;
}

uint64_t nsh_segment(struct nsh *h, uint16_t shard)
{
	struct rpc_dir_segment m = { .client = 0 };
	struct rpc_dir_segment_rsp rsp;
	struct wire_bytes p;
	struct buf b;

	buf_init(&b, 0);
	NSH_MUST(rpc_dir_segment_encode(&m, &b) == 0);
	NSH_MUST(nsh_send_one(h, shard, RPC_TAG_dir_segment, &b) == 0);
	p = nsh_payload(h);
	NSH_MUST(rpc_dir_segment_rsp_decode(&rsp, p.p, p.len) == 0);
	buf_fini(&b);
	return rsp.segment;
}

uint32_t nsh_split_into(struct nsh *h, uint64_t dir, uint64_t segment,
			const char *from, uint32_t names,
			struct rpc_dir_split_rsp *ret)
{
	struct rpc_dir_split m = { .dir = dir, .segment = segment,
				   .names = names, .from = wire_cstr(from) };
	uint32_t status;
	struct wire_bytes p;
	struct buf b;

	buf_init(&b, 0);
	NSH_MUST(rpc_dir_split_encode(&m, &b) == 0);
	status = nsh_send_one(h, ino_shard(dir), RPC_TAG_dir_split, &b);
	buf_fini(&b);
	p = nsh_payload(h);
	if (status == 0 && ret != NULL)
		NSH_MUST(rpc_dir_split_rsp_decode(ret, p.p, p.len) == 0);
	return status;
}

uint32_t nsh_split(struct nsh *h, uint64_t dir, uint32_t names)
{
	enum { PARTS = 16 };
	struct nsh_part *v = mem_calloc(PARTS, sizeof(*v));
	unsigned n, from, to;
	const char *begin = "";
	uint64_t segment;
	uint32_t status;

	NSH_MUST(v != NULL);
	n = nsh_parts(h, dir, v, PARTS);
	NSH_MUST(n <= PARTS);
	from = (unsigned)nsh_random(h, n + 1);
	to = (unsigned)nsh_random(h, n + 1);
	if (from < n)
		dir = v[from].ino;
	if (to < n && to != from) {
		segment = v[to].ino;
	} else {
		segment = nsh_segment(h, nsh_any_shard(h));
		if (n > 0 && nsh_random(h, 2) == 0)
			begin = v[nsh_random(h, n)].end;
	}
	status = nsh_split_into(h, dir, segment, begin, names, NULL);
	mem_free(v);
	return status;
}
