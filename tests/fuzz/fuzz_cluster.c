/*
 * Fuzz target: cluster snapshots (first byte even) and RING tables (odd).
 * Properties: every look-up answers from inside the snapshot; every partition
 * has owners that exist.
 */
#include "tests/fuzz/fuzz.h"

#include "common/client/cluster.h"
#include "common/ring/ring.h"

static void ring(struct wire_bytes bytes)
{
	struct ring *r;
	char text[9];

	ring_checksum_text(bytes, text);
	if (ring_decode(bytes, &r) != 0)
		return;
	FUZZ_MUST(r->copies >= 1 && r->copies <= r->n_stores);
	for (uint32_t i = 0; i < 64; i++) {
		struct wire_u128 slice = { i * 0x9e3779b97f4a7c15u, i };

		FUZZ_MUST(ring_partition(r, slice, i) < r->partitions);
		for (unsigned nth = 0; nth < r->copies && nth < 8; nth++)
			(void)ring_owner(r, slice, i, nth);
	}
	for (size_t i = 0; i < (size_t)r->partitions * r->copies; i++)
		FUZZ_MUST(r->rows[i] < r->n_stores);
	ring_free(r);
}

static void cluster(struct wire_bytes bytes)
{
	struct cluster *c;

	if (cluster_decode(bytes.p, bytes.len, &c) != 0)
		return;
	for (unsigned i = 0; i < c->n_buckets; i++) {
		FUZZ_MUST(cluster_find_bucket(c, c->buckets[i].name) != NULL);
		FUZZ_MUST(cluster_find_root(c, c->buckets[i].root) != NULL);
	}
	for (unsigned i = 0; i < c->n_keys; i++)
		FUZZ_MUST(cluster_find_key(c, c->keys[i].access) != NULL);
	for (unsigned i = 0; i < c->n_users; i++)
		FUZZ_MUST(cluster_find_user(c, c->users[i].name) != NULL);
	for (unsigned i = 0; i < c->n_shards; i++)
		(void)cluster_shard_store(c, c->shards[i].shard);
	for (unsigned i = 0; i < 4; i++)
		(void)cluster_chunk_store(c, (struct wire_u128){ i, i }, i, i);
	(void)cluster_find_key(c, wire_cstr("none"));
	cluster_unref(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };

	if ((fuzz_u8(&in) & 1) != 0)
		ring(fuzz_rest(&in));
	else
		cluster(fuzz_rest(&in));
	return 0;
}
