/*
 * The index of chunks.
 *
 * Rows are written after the bytes are durable, in batches that leveldb does
 * not sync. So after a crash the index is a prefix of what was written, and
 * the row `last` in it names a sequence of the bulk head up to which it is
 * complete; what lies behind is added at the start (chunk_recover.c).
 */
#include "storaged/chunk_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/daemon.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/xxh.h"

#define CHUNK_INDEX_VERSION 2

WIRE_IMPL(chunk, row, CHUNK_ROW)

/* Row `last`. */
#define CHUNK_LAST(F) F(u64, seq) F(u8, version)
WIRE_STRUCT(chunk, last, CHUNK_LAST)
WIRE_IMPL(chunk, last, CHUNK_LAST)

/* shorter than any chunk's key */
static const struct wire_bytes chunk_last_key = { (const uint8_t *)"last", 4 };

bool chunk_hash_ok(const struct body *body, struct wire_u128 hash)
{
	XXH128_hash_t h = { body->hash[1], body->hash[0] };

	if (!body->hashed)
		h = XXH3_128bits(body->data, body->len);
	return h.high64 == hash.hi && h.low64 == hash.lo;
}

static int index_row(struct wire_bytes value, struct chunk_row *ret)
{
	if (chunk_row_decode(ret, value.p, value.len) != 0 || ret->v != 1 ||
	    ret->len > WIRE_CHUNK)
		return -EIO;
	return 0;
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
	rv = index_row(wire_bytes(value, len), ret);
	mem_free(value);
	return rv;
}

int chunk_index_iter(struct chunk_store *cs, struct wire_u128 slice,
		     struct rows_iter **ret_it)
{
	const struct chunk_id first = { slice, 0 };
	uint8_t from[CHUNK_KEY], to[CHUNK_KEY + 1];

	/* behind the last one that the slice can have */
	chunk_key(&first, from);
	memset(to, 0xff, sizeof to);
	memcpy(to, from, CHUNK_KEY - 4);
	return rows_iter_new(cs->index, wire_bytes(from, sizeof from),
			     wire_bytes(to, sizeof to), ret_it);
}

int chunk_index_next(struct rows_iter *it, struct chunk_id *ret_id,
		     struct chunk_row *ret_row)
{
	struct wire_bytes key, value;
	struct wire_reader r;
	int rv;

	do { /* rows of other kinds have other lengths */
		rv = rows_iter_next(it, &key, &value);
		if (rv != 0)
			return rv;
	} while (key.len != CHUNK_KEY);
	r = (struct wire_reader){ .p = key.p, .left = key.len };
	wire_get_u128(&r, &ret_id->slice);
	wire_get_u32(&r, &ret_id->index);
	return index_row(value, ret_row);
}

static int chunk_write_last(struct chunk_store *cs, uint64_t seq)
{
	struct chunk_last row = { seq, CHUNK_INDEX_VERSION };
	struct rows_batch *b = rows_batch_new();
	struct buf value;
	int rv;

	if (b == NULL)
		return -ENOMEM;
	buf_init(&value, 0);
	rv = chunk_last_encode(&row, &value);
	rows_batch_put(b, chunk_last_key, wire_bytes(value.data, value.len));
	if (rv == 0)
		rv = rows_batch_write(cs->index, b);
	rows_batch_free(b);
	buf_fini(&value);
	return rv;
}

int chunk_index_save(struct chunk_store *cs, uint64_t seq)
{
	int rv = chunk_write_last(cs, seq);

	return rv != 0 ? rv : rows_back_checkpoint(cs->index);
}

/* A new index says its version before anything else. */
static int chunk_read_last(struct chunk_store *cs)
{
	struct chunk_last row;
	uint8_t *value;
	size_t len;
	int rv;

	rv = rows_back_get(cs->index, chunk_last_key, &value, &len);
	if (rv == -ENOENT)
		return chunk_write_last(cs, 0);
	if (rv != 0)
		return rv;
	rv = chunk_last_decode(&row, value, len);
	mem_free(value);
	if (rv != 0 || row.version != CHUNK_INDEX_VERSION)
		return -EIO;
	cs->saved_seq = row.seq;
	return 0;
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

/* Chunks of which hashes of pieces are kept. */
static size_t chunk_sums_max(void)
{
	uint64_t fit = daemon_memory() / CHUNK_SUMS_SHARE / CHUNK_SUMS_BYTES;

	return fit < CHUNK_SUMS_MAX ? (size_t)fit : CHUNK_SUMS_MAX;
}

int chunk_store_new(struct rows_back *index, struct chunk_store **ret_store)
{
	struct chunk_store *cs = mem_zalloc(sizeof *cs);
	int rv;

	if (cs == NULL) {
		rows_back_close(index);
		return -ENOMEM;
	}
	pthread_mutex_init(&cs->lock, NULL);
	cs->index = index;
	chunk_sums_init(&cs->sums, chunk_sums_max());
	rv = chunk_seen_init(&cs->seen, daemon_memory() / 2);
	if (rv == 0)
		rv = chunk_batch_init(&cs->batch, cs);
	if (rv == 0)
		rv = chunk_read_last(cs);
	if (rv == 0)
		rv = chunk_segments_load(cs->index, &cs->segments);
	if (rv != 0) {
		chunk_store_close(cs, false);
		return rv;
	}
	for (size_t i = 0; i < cs->segments.n; i++) {
		cs->stats.live += cs->segments.v[i].chunks;
		cs->stats.live_bytes += cs->segments.v[i].bytes;
	}
	*ret_store = cs;
	return 0;
}

static int chunk_index_open(const char *path, size_t cache_bytes,
			    struct chunk_store **ret_store, struct errbuf *e)
{
	struct rows_back *index;
	int rv = rows_back_open(path, cache_bytes, &index, e);

	if (rv != 0)
		return rv;
	rv = chunk_store_new(index, ret_store);
	return rv == 0 ? 0
		       : errbuf_set(e, rv == -EIO ? -EBADMSG : rv,
				    "%s: cannot be read", path);
}

int chunk_store_open(const char *path, size_t cache_bytes,
		     struct chunk_store **ret_store, struct errbuf *e)
{
	int rv = chunk_index_open(path, cache_bytes, ret_store, e);

	if (rv != -EBADMSG)
		return rv;
	log_warnx("index of chunks is damaged, made again: %s", e->text);
	rv = chunk_index_remove(path);
	if (rv != 0)
		return errbuf_set(e, rv, "%s: cannot remove: %s", path,
				  strerror(-rv));
	return chunk_index_open(path, cache_bytes, ret_store, e);
}

uint64_t chunk_store_from(const struct chunk_store *cs)
{
	return cs->saved_seq + 1;
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
	chunk_batch_fini(&cs->batch);
	chunk_seen_fini(&cs->seen);
	chunk_sums_fini(&cs->sums);
	rows_back_close(cs->index);
	pthread_mutex_destroy(&cs->lock);
	mem_free(cs->segments.v);
	mem_free(cs->lost);
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
		.dropped = cs->stats.dropped,
		.recovered = cs->recovered,
		.live = cs->stats.live,
		.live_bytes = cs->stats.live_bytes,
	};
}

/* --- which slices --- */

/* The first slice of the next home shard; the last id of all behind the last. */
static struct wire_u128 slices_next_home(struct wire_u128 slice)
{
	const struct wire_u128 end = { UINT64_MAX, UINT64_MAX };
	uint16_t home = slice_home(slice);

	return home == UINT16_MAX
		       ? end
		       : (struct wire_u128){ (uint64_t)(home + 1) << 48, 0 };
}

int chunk_store_slices(struct chunk_store *cs, struct wire_u128 from,
		       uint32_t second, unsigned max, struct wire_u128 *ret,
		       unsigned *ret_n, struct wire_u128 *ret_next)
{
	const struct chunk_id first = { from, 0 };
	uint8_t key[CHUNK_KEY];
	struct rows_iter *it;
	struct chunk_row row;
	struct chunk_id id;
	unsigned n = 0;
	int rv;

	chunk_key(&first, key);
	rv = rows_iter_new(cs->index, wire_bytes(key, sizeof key),
			   wire_bytes(NULL, 0), &it);
	if (rv != 0)
		return rv;
	*ret_next = (struct wire_u128){ UINT64_MAX, UINT64_MAX };
	while ((rv = chunk_index_next(it, &id, &row)) == 0) {
		if (n > 0 && wire_u128_eq(id.slice, ret[n - 1]))
			continue;
		*ret_next = id.slice;
		if (n == max ||
		    (n > 0 && slice_home(id.slice) != slice_home(ret[0])))
			break;
		if (slice_second(id.slice) >= second) {
			/* those behind it are younger */
			*ret_next = slices_next_home(id.slice);
			break;
		}
		ret[n++] = id.slice;
		*ret_next = (struct wire_u128){ UINT64_MAX, UINT64_MAX };
	}
	rows_iter_free(it);
	*ret_n = n;
	return rv == -ENOENT ? 0 : rv;
}

int chunk_store_slice(struct chunk_store *cs, struct wire_u128 slice,
		      uint32_t *ret_chunks, uint64_t *ret_bytes)
{
	struct chunk_row row;
	struct rows_iter *it;
	struct chunk_id id;
	uint32_t chunks = 0;
	uint64_t bytes = 0;
	int rv = chunk_index_iter(cs, slice, &it);

	if (rv != 0)
		return rv;
	while ((rv = chunk_index_next(it, &id, &row)) == 0) {
		chunks++;
		bytes += row.len;
	}
	rows_iter_free(it);
	if (rv != -ENOENT)
		return rv;
	*ret_chunks = chunks;
	*ret_bytes = bytes;
	return 0;
}

/* --- a recount --- */

static int check_count(struct chunk_store *cs, struct chunk_segments *found)
{
	struct chunk_row row;
	struct rows_iter *it;
	struct chunk_id id;
	int rv = rows_iter_new(cs->index, wire_bytes(NULL, 0),
			       wire_bytes(NULL, 0), &it);

	if (rv != 0)
		return rv;
	while ((rv = chunk_index_next(it, &id, &row)) == 0) {
		rv = chunk_segments_add(found, &row);
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

static void check_compare(const struct chunk_segments *want,
			  const struct chunk_segments *got,
			  void (*report)(void *arg, const char *text),
			  void *arg)
{
	const struct chunk_segment none = { 0 };
	char text[160];

	for (size_t i = 0, j = 0; i < want->n || j < got->n;) {
		const struct chunk_segment *a = &none, *b = &none;

		if (j == got->n ||
		    (i < want->n && want->v[i].gen <= got->v[j].gen))
			a = &want->v[i];
		if (i == want->n ||
		    (j < got->n && got->v[j].gen <= want->v[i].gen))
			b = &got->v[j];
		i += a != &none;
		j += b != &none;
		if (a->chunks == b->chunks && a->bytes == b->bytes)
			continue;
		snprintf(text, sizeof text, "bulk segment %llx: %llu chunks, "
			 "%llu bytes are live, the index says %llu, %llu",
			 (unsigned long long)(a != &none ? a->gen : b->gen),
			 (unsigned long long)a->chunks,
			 (unsigned long long)a->bytes,
			 (unsigned long long)b->chunks,
			 (unsigned long long)b->bytes);
		report(arg, text);
	}
}

int chunk_store_check(struct chunk_store *cs,
		      void (*report)(void *arg, const char *text), void *arg)
{
	struct chunk_segments found = { 0 }, rows = { 0 };
	int rv;

	pthread_mutex_lock(&cs->lock); /* nobody writes meanwhile */
	rv = check_count(cs, &found);
	if (rv == 0)
		rv = chunk_segments_load(cs->index, &rows);
	if (rv == 0) {
		check_compare(&found, &rows, report, arg);
		check_compare(&rows, &cs->segments, report, arg);
	}
	pthread_mutex_unlock(&cs->lock);
	mem_free(found.v);
	mem_free(rows.v);
	return rv;
}
