/*
 * The index of chunks and its recovery.
 *
 * Rows are written after the bytes are durable, in batches that leveldb does
 * not sync. So after a crash the index is a prefix of what was written, and
 * the row `last` in it names a sequence of the bulk head up to which it is
 * complete; what lies behind is added from the record headers that the scan
 * at start goes through anyway.
 */
#include "storaged/chunk_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/base/log.h"
#include "common/base/mem.h"

#define CHUNK_ROW_VERSION 1

WIRE_IMPL(chunk, row, CHUNK_ROW)

/* shorter than any chunk's key */
static const struct wire_bytes chunk_last_key = { (const uint8_t *)"last", 4 };

static void put_be(uint8_t *p, uint64_t v, unsigned n)
{
	while (n-- > 0) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

void chunk_key(const struct chunk_id *id, uint8_t out[CHUNK_KEY])
{
	put_be(out, id->slice.hi, 8);
	put_be(out + 8, id->slice.lo, 8);
	put_be(out + 16, id->index, 4);
}

bool chunk_hash_ok(const struct body *body, struct wire_u128 hash)
{
	XXH128_hash_t h = { body->hash[1], body->hash[0] };

	if (!body->hashed)
		h = XXH3_128bits(body->data, body->len);
	return h.high64 == hash.hi && h.low64 == hash.lo;
}

int chunk_index_get(struct chunk_store *cs, const struct chunk_id *id,
		    struct chunk_row *ret)
{
	uint8_t key[CHUNK_KEY], *value;
	size_t len;
	int rv;

	chunk_key(id, key);
	rv = rows_back_get(cs->index, wire_bytes(key, sizeof key), &value,
			   &len);
	if (rv != 0)
		return rv;
	rv = chunk_row_decode(ret, value, len);
	mem_free(value);
	if (rv != 0 || ret->v != CHUNK_ROW_VERSION || ret->len > WIRE_CHUNK)
		return -EIO;
	return 0;
}

int chunk_index_put(struct rows_batch *b, const struct chunk_id *id,
		    const struct chunk_row *row)
{
	struct chunk_row r = *row;
	uint8_t key[CHUNK_KEY];
	struct buf value;
	int rv;

	r.v = CHUNK_ROW_VERSION;
	chunk_key(id, key);
	buf_init(&value, 0);
	rv = chunk_row_encode(&r, &value);
	if (rv == 0)
		rows_batch_put(b, wire_bytes(key, sizeof key),
			       wire_bytes(value.data, value.len));
	buf_fini(&value);
	return rv;
}

static int chunk_write_last(struct chunk_store *cs, uint64_t seq)
{
	struct rows_batch *b = rows_batch_new();
	uint8_t value[8];
	int rv;

	if (b == NULL)
		return -ENOMEM;
	put_be(value, seq, 8);
	rows_batch_put(b, chunk_last_key, wire_bytes(value, 8));
	rv = rows_batch_write(cs->index, b);
	rows_batch_free(b);
	return rv;
}

int chunk_index_save(struct chunk_store *cs, uint64_t seq)
{
	int rv = chunk_write_last(cs, seq);

	return rv != 0 ? rv : rows_back_checkpoint(cs->index);
}

static int chunk_read_last(struct chunk_store *cs)
{
	struct wire_reader r = { 0 };
	uint8_t *value;
	size_t len;
	int rv;

	rv = rows_back_get(cs->index, chunk_last_key, &value, &len);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	r.p = value;
	r.left = len;
	wire_get_u64(&r, &cs->saved_seq);
	mem_free(value);
	return r.err != 0 ? -EIO : 0;
}

/* Removes the files of a database that is only derived. */
static int chunk_index_remove(const char *path)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int rv = 0;

	if (dir == NULL)
		return -errno;
	while ((d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			if (unlinkat(dirfd(dir), d->d_name, 0) != 0)
				rv = -errno;
	closedir(dir);
	return rv;
}

static int chunk_index_open(struct chunk_store *cs, const char *path,
			    size_t cache_bytes, struct errbuf *e)
{
	int rv = rows_back_open(path, cache_bytes, &cs->index, e);

	if (rv != 0)
		return rv;
	rv = chunk_read_last(cs);
	if (rv == 0)
		return 0;
	rows_back_close(cs->index);
	cs->index = NULL;
	return errbuf_set(e, rv == -EIO ? -EBADMSG : rv,
			  "%s: cannot be read", path);
}

int chunk_store_open(const char *path, size_t cache_bytes,
		     struct chunk_store **ret_store, struct errbuf *e)
{
	struct chunk_store *cs = mem_zalloc(sizeof *cs);
	int rv;

	if (cs == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	rv = chunk_index_open(cs, path, cache_bytes, e);
	if (rv == -EBADMSG) {
		log_warnx("index of chunks is damaged, made again: %s",
			  e->text);
		rv = chunk_index_remove(path);
		if (rv != 0)
			errbuf_set(e, rv, "%s: cannot remove: %s", path,
				   strerror(-rv));
		else
			rv = chunk_index_open(cs, path, cache_bytes, e);
	}
	if (rv == 0) {
		cs->batch = rows_batch_new();
		if (cs->batch == NULL)
			rv = errbuf_set(e, -ENOMEM, "out of memory");
	}
	if (rv != 0) {
		chunk_store_close(cs, false);
		return rv;
	}
	*ret_store = cs;
	return 0;
}

/*
 * The first bytes under a name stay, also when others were appended later: a
 * put that was refused for them leaves its record behind.
 */
static int chunk_recover_known(struct chunk_store *cs,
			       const struct chunk_id *id)
{
	struct chunk_row row;

	for (unsigned i = 0; i < cs->n_batch; i++)
		if (chunk_id_eq(&cs->batch_ids[i], id))
			return 0;
	return chunk_index_get(cs, id, &row);
}

static int chunk_recover_write(struct chunk_store *cs)
{
	int rv = rows_batch_write(cs->index, cs->batch);

	rows_batch_free(cs->batch);
	cs->n_batch = 0;
	cs->batch = rows_batch_new();
	return rv != 0 ? rv : cs->batch == NULL ? -ENOMEM : 0;
}

uint64_t chunk_store_from(const struct chunk_store *cs)
{
	return cs->saved_seq + 1;
}

int chunk_store_recover(struct chunk_store *cs, const struct seg_rec *rec)
{
	struct chunk_id id = { rec->id, (uint32_t)rec->a };
	struct chunk_row row = {
		.gen = rec->pos.gen,
		.off = rec->pos.off + SEG_HEADER_LEN,
		.len = (uint32_t)rec->len,
		.hash = rec->hash,
	};
	int rv;

	if (rec->type != SEG_CHUNK || rec->seq <= cs->saved_seq)
		return 0;
	if (rec->len == 0 || rec->len > WIRE_CHUNK || rec->a > UINT32_MAX)
		return 0; /* none of ours: nobody can ask for it */
	rv = chunk_recover_known(cs, &id);
	if (rv != -ENOENT)
		return rv;
	rv = chunk_index_put(cs->batch, &id, &row);
	cs->batch_ids[cs->n_batch++] = id;
	cs->recovered++;
	if (rv == 0 && cs->n_batch == CHUNK_RECOVER_BATCH)
		rv = chunk_recover_write(cs);
	return rv;
}

int chunk_store_set_bulk(struct chunk_store *cs, struct seg_head *bulk)
{
	int rv = cs->n_batch > 0 ? rows_batch_write(cs->index, cs->batch) : 0;

	rows_batch_free(cs->batch);
	cs->batch = NULL;
	cs->n_batch = 0;
	cs->bulk = bulk;
	return rv;
}

void chunk_store_close(struct chunk_store *cs, bool clean)
{
	int rv = 0;

	if (cs == NULL)
		return;
	if (clean && cs->bulk != NULL && cs->under_way[0] == 0 &&
	    cs->under_way[1] == 0)
		rv = chunk_index_save(cs, seg_head_last_seq(cs->bulk));
	if (rv != 0)
		log_warn(rv, "index of chunks cannot be saved");
	rows_batch_free(cs->batch);
	rows_back_close(cs->index);
	mem_free(cs);
}

void chunk_store_stats(struct chunk_store *cs, struct chunk_stats *ret)
{
	*ret = (struct chunk_stats){
		.puts = cs->stats.puts,
		.gets = cs->stats.gets,
		.put_bytes = cs->stats.put_bytes,
		.get_bytes = cs->stats.get_bytes,
		.rot = cs->stats.rot,
		.recovered = cs->recovered,
	};
}
