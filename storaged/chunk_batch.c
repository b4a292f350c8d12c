/*
 * Changes to the index of chunks. The rows of segments say how many live
 * chunks each holds; they are written with the chunk rows that change them,
 * so that a crash, which leaves a prefix of the batches, leaves them true.
 */
#include "storaged/chunk_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define CHUNK_ROW_VERSION 1
#define CHUNK_SEGMENT_VERSION 1
#define CHUNK_SEGMENT_KEY 11 /* the characters `seg`, generation u64 */

#define CHUNK_SEGMENT_ROW(F) F(u8, v) F(u64, chunks) F(u64, bytes)
WIRE_STRUCT(chunk, segment_row, CHUNK_SEGMENT_ROW)
WIRE_IMPL(chunk, segment_row, CHUNK_SEGMENT_ROW)

/* --- segments --- */

static void segment_key(uint64_t gen, uint8_t out[CHUNK_SEGMENT_KEY])
{
	memcpy(out, "seg", 3);
	chunk_store_be(out + 3, gen, 8);
}

/* Where gen stands or would stand. */
static size_t segment_place(const struct chunk_segments *s, uint64_t gen)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->v[mid].gen < gen)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Made when it is new; NULL: out of memory. */
static struct chunk_segment *segment_of(struct chunk_segments *s, uint64_t gen)
{
	size_t i = segment_place(s, gen);

	if (i < s->n && s->v[i].gen == gen)
		return &s->v[i];
	if (s->n == s->cap) {
		size_t cap = 2 * s->cap + 16;
		struct chunk_segment *v = mem_realloc(s->v, cap * sizeof *v);

		if (v == NULL)
			return NULL;
		s->v = v;
		s->cap = cap;
	}
	memmove(&s->v[i + 1], &s->v[i], (s->n - i) * sizeof *s->v);
	s->v[i] = (struct chunk_segment){ .gen = gen };
	s->n++;
	return &s->v[i];
}

static void segment_forget(struct chunk_segments *s, uint64_t gen)
{
	size_t i = segment_place(s, gen);

	if (i == s->n || s->v[i].gen != gen)
		return;
	s->n--;
	memmove(&s->v[i], &s->v[i + 1], (s->n - i) * sizeof *s->v);
}

/* What a chunk takes on the disk. */
static uint64_t segment_space(const struct chunk_row *row)
{
	return SEG_HEADER_LEN + (((uint64_t)row->len + 7) & ~UINT64_C(7));
}

int chunk_segments_add(struct chunk_segments *s, const struct chunk_row *row)
{
	struct chunk_segment *seg = segment_of(s, row->gen);

	if (seg == NULL)
		return -ENOMEM;
	seg->chunks++;
	seg->bytes += segment_space(row);
	return 0;
}

uint64_t chunk_segments_live(const struct chunk_segments *s, uint64_t gen)
{
	size_t i = segment_place(s, gen);

	return i < s->n && s->v[i].gen == gen ? s->v[i].bytes : 0;
}

int chunk_segments_load(struct rows_back *index, struct chunk_segments *ret)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	int rv;

	rv = rows_iter_new(index, wire_cstr("seg"), wire_cstr("seh"), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		struct wire_reader r = { .p = key.p + 3, .left = 8 };
		struct chunk_segment_row row;
		struct chunk_segment *s;
		uint64_t gen;

		if (key.len != CHUNK_SEGMENT_KEY)
			continue; /* a chunk's */
		wire_get_u64(&r, &gen);
		if (chunk_segment_row_decode(&row, value.p, value.len) != 0 ||
		    row.v != CHUNK_SEGMENT_VERSION) {
			rv = -EIO;
			break;
		}
		s = segment_of(ret, gen);
		if (s == NULL) {
			rv = -ENOMEM;
			break;
		}
		s->chunks = row.chunks;
		s->bytes = row.bytes;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

/* --- a batch --- */

int chunk_batch_init(struct chunk_batch *b, struct chunk_store *cs)
{
	b->cs = cs;
	b->n = b->n_gens = 0;
	b->rows = rows_batch_new();
	return b->rows == NULL ? -ENOMEM : 0;
}

void chunk_batch_fini(struct chunk_batch *b)
{
	rows_batch_free(b->rows);
	b->rows = NULL;
}

bool chunk_batch_full(const struct chunk_batch *b)
{
	return b->n == CHUNK_BATCH;
}

bool chunk_batch_has(const struct chunk_batch *b, const struct chunk_id *id)
{
	for (unsigned i = 0; i < b->n; i++)
		if (chunk_id_eq(&b->ids[i], id))
			return true;
	return false;
}

static int batch_count(struct chunk_batch *b, const struct chunk_row *row,
		       bool gain)
{
	struct chunk_segment *s = segment_of(&b->cs->segments, row->gen);
	unsigned i = 0;

	if (s == NULL)
		return -ENOMEM;
	s->chunks += gain ? 1 : (uint64_t)-1;
	s->bytes += gain ? segment_space(row) : 0 - segment_space(row);
	b->cs->stats.live += gain ? 1 : (uint64_t)-1;
	b->cs->stats.live_bytes += gain ? segment_space(row)
					: 0 - segment_space(row);
	while (i < b->n_gens && b->gens[i] != row->gen)
		i++;
	if (i == b->n_gens)
		b->gens[b->n_gens++] = row->gen;
	return 0;
}

static int batch_put_row(struct chunk_batch *b, const struct chunk_id *id,
			 const struct chunk_row *row)
{
	struct chunk_row r = *row;
	uint8_t key[CHUNK_KEY];
	struct buf value;
	int rv;

	assert(b->n < CHUNK_BATCH);
	b->ids[b->n++] = *id;
	r.v = CHUNK_ROW_VERSION;
	chunk_key(id, key);
	buf_init(&value, 0);
	rv = chunk_row_encode(&r, &value);
	if (rv == 0)
		rows_batch_put(b->rows, wire_bytes(key, sizeof key),
			       wire_bytes(value.data, value.len));
	buf_fini(&value);
	return rv;
}

int chunk_batch_put(struct chunk_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row)
{
	int rv = batch_put_row(b, id, row);

	return rv != 0 ? rv : batch_count(b, row, true);
}

int chunk_batch_move(struct chunk_batch *b, const struct chunk_id *id,
		     const struct chunk_row *from, const struct chunk_row *to)
{
	int rv = batch_put_row(b, id, to);

	if (rv == 0)
		rv = batch_count(b, from, false);
	return rv != 0 ? rv : batch_count(b, to, true);
}

int chunk_batch_del(struct chunk_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row)
{
	uint8_t key[CHUNK_KEY];

	assert(b->n < CHUNK_BATCH);
	b->ids[b->n++] = *id;
	chunk_key(id, key);
	rows_batch_del(b->rows, wire_bytes(key, sizeof key));
	return batch_count(b, row, false);
}

/* A segment without live chunks needs no row. */
static int batch_put_segment(struct chunk_batch *b, uint64_t gen)
{
	struct chunk_segments *segs = &b->cs->segments;
	const struct chunk_segment *s = &segs->v[segment_place(segs, gen)];
	struct chunk_segment_row row = { CHUNK_SEGMENT_VERSION, s->chunks,
					 s->bytes };
	uint8_t key[CHUNK_SEGMENT_KEY];
	struct buf value;
	int rv;

	segment_key(gen, key);
	if (s->chunks == 0) {
		rows_batch_del(b->rows, wire_bytes(key, sizeof key));
		segment_forget(segs, gen);
		return 0;
	}
	buf_init(&value, 0);
	rv = chunk_segment_row_encode(&row, &value);
	if (rv == 0)
		rows_batch_put(b->rows, wire_bytes(key, sizeof key),
			       wire_bytes(value.data, value.len));
	buf_fini(&value);
	return rv;
}

int chunk_batch_write(struct chunk_batch *b)
{
	int rv = 0;

	if (b->n == 0)
		return 0;
	for (unsigned i = 0; i < b->n_gens && rv == 0; i++)
		rv = batch_put_segment(b, b->gens[i]);
	if (rv == 0)
		rv = rows_batch_write(b->cs->index, b->rows);
	b->cs->changes++;
	chunk_batch_fini(b);
	return rv != 0 ? rv : chunk_batch_init(b, b->cs);
}
