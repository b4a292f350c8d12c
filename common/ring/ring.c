#include "common/ring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"

#define RING_PARTITIONS_MAX 65536u
#define RING_STORES_MAX 65535u

WIRE_IMPL(ring, table, RING_TABLE)

int ring_build_encoded(const struct ring_store *stores, unsigned n_stores,
		       unsigned copies, uint64_t epoch, struct buf *out)
{
	struct ring_table t = { .epoch = epoch, .partitions = RING_Q,
				.copies = (uint16_t)copies };
	static const uint8_t rows[RING_Q * 2]; /* all of it to store 0 */
	struct wire_vec ids;
	struct wire_writer w;
	int rv;

	if (n_stores == 0 || copies == 0 || copies > n_stores)
		return -EINVAL;
	if (n_stores > 1)
		return -ENOTSUP;
	wire_vec_init(&ids);
	w = wire_vec_add(&ids);
	wire_put_u128(&w, &stores[0].id);
	t.stores = wire_vec_bytes(&ids);
	t.rows = wire_bytes(rows, sizeof(rows));
	rv = ids.buf.err != 0 ? ids.buf.err : ring_table_encode(&t, out);
	wire_vec_fini(&ids);
	return rv;
}

/* Fills r from t; r frees what is there when this fails. */
static int ring_fill(struct ring *r, const struct ring_table *t)
{
	uint32_t n, cells = t->partitions * t->copies;
	struct wire_reader in = wire_vec_reader(t->stores, &n);

	if (n == 0 || n > RING_STORES_MAX || t->copies > n)
		return -EBADMSG;
	r->stores = mem_calloc(n, sizeof(*r->stores));
	r->rows = mem_calloc(cells, sizeof(*r->rows));
	if (r->stores == NULL || r->rows == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		wire_get_u128(&in, &r->stores[i]);
	if (in.err != 0)
		return -EBADMSG;
	in = (struct wire_reader){ .p = t->rows.p, .left = t->rows.len };
	for (uint32_t i = 0; i < cells; i++) {
		wire_get_u16(&in, &r->rows[i]);
		if (r->rows[i] >= n)
			return -EBADMSG;
	}
	r->epoch = t->epoch;
	r->partitions = t->partitions;
	r->copies = t->copies;
	r->n_stores = n;
	return 0;
}

int ring_decode(struct wire_bytes bytes, struct ring **ret_ring)
{
	struct ring_table t;
	struct ring *r;
	int rv;

	if (ring_table_decode(&t, bytes.p, bytes.len) != 0 ||
	    t.partitions < 2 || t.partitions > RING_PARTITIONS_MAX ||
	    (t.partitions & (t.partitions - 1)) != 0 || t.copies == 0 ||
	    t.rows.len != (size_t)t.partitions * t.copies * 2)
		return -EBADMSG;
	r = mem_zalloc(sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	rv = ring_fill(r, &t);
	if (rv != 0)
		ring_free(r);
	else
		*ret_ring = r;
	return rv;
}

void ring_free(struct ring *r)
{
	if (r == NULL)
		return;
	mem_free(r->stores);
	mem_free(r->rows);
	mem_free(r);
}

void ring_checksum_text(struct wire_bytes bytes, char ret_text[9])
{
	uint64_t sum = XXH3_64bits(bytes.p, bytes.len);

	snprintf(ret_text, 9, "%08x", (unsigned)(sum >> 32));
}

uint32_t ring_partition(const struct ring *r, struct wire_u128 slice,
			uint32_t index)
{
	uint64_t words[2] = { slice.hi, slice.lo };
	uint8_t id[20];
	XXH128_hash_t h;

	for (unsigned i = 0; i < 16; i++)
		id[i] = (uint8_t)(words[i / 8] >> (56 - i % 8 * 8));
	for (unsigned i = 0; i < 4; i++)
		id[16 + i] = (uint8_t)(index >> (24 - i * 8));
	h = XXH3_128bits(id, sizeof(id));
	return (uint32_t)(h.high64 >>
			  (64 - (unsigned)__builtin_ctz(r->partitions)));
}

struct wire_u128 ring_owner(const struct ring *r, struct wire_u128 slice,
			    uint32_t index, unsigned nth)
{
	uint32_t row = ring_partition(r, slice, index);

	assert(nth < r->copies);
	return r->stores[r->rows[row * r->copies + nth]];
}
