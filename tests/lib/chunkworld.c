#include "tests/lib/chunkworld.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "common/wire/msgs.h"

/* --- one process --- */

static int on_record(void *arg, const struct seg_rec *rec)
{
	struct world *w = arg;

	return chunk_store_recover(w->cs, rec);
}

static void on_rot(void *arg, const struct seg_rot *rot)
{
	struct world *w = arg;

	w->rots += (unsigned)rot->n;
	chunk_store_recover_rot(w->cs, rot);
	if (w->bad[0] != '\0')
		assert_int_equal(crashfs_flip(w->fs, w->bad, w->bad_off, 0), 0);
	w->bad[0] = '\0';
}

int world_try(struct world *w, uint64_t seed)
{
	struct seg_config sc = {
		.dir = "bulk",
		.segment_size = 64 << 10,
		.first_size = 16 << 10,
		.bulk = true,
		.on_record = on_record,
		.on_rot = on_rot,
		.arg = w,
	};
	struct compact_config cc = { .rate = 0 };
	struct errbuf e = { "" };
	struct compact_head head;
	struct rows_back *back;
	int rv;

	w->m = minienv_new(crashfs_vfs(w->fs), seed);
	assert_int_equal(rows_back_mem(w->image, &back), 0);
	assert_int_equal(chunk_store_new(back, &w->cs), 0);
	sc.from_seq = chunk_store_from(w->cs);
	rv = seg_head_open(minienv_env(w->m), &sc, &w->bulk, &e);
	if (rv != 0) {
		chunk_store_close(w->cs, false);
		minienv_free(w->m);
		return rv;
	}
	assert_int_equal(chunk_store_set_bulk(w->cs, w->bulk), 0);
	assert_int_equal(seg_port_new(w->bulk, minienv_env(w->m), &w->port), 0);
	assert_int_equal(
		chunk_loop_new(w->cs, minienv_env(w->m), w->port, &w->cl), 0);
	chunk_loop_start_saving(w->cl);
	cc.env = minienv_env(w->m);
	assert_int_equal(compact_new(&cc, &w->compact), 0);
	assert_int_equal(chunk_clean_new(w->cl, &head), 0);
	compact_add_head(w->compact, &head);
	minienv_run(w->m);
	return 0;
}

void world_start(struct world *w, uint64_t seed)
{
	assert_int_equal(world_try(w, seed), 0);
}

void world_kill(struct world *w)
{
	crashfs_freeze(w->fs, true);
	seg_head_abandon(w->bulk);
	chunk_loop_free(w->cl);
	compact_free(w->compact);
	chunk_store_close(w->cs, false);
	seg_port_free(w->port);
	minienv_free(w->m);
	crashfs_freeze(w->fs, false);
}

void world_power_cut(struct world *w, uint64_t seed)
{
	world_kill(w);
	crashfs_crash(w->fs, seed);
	world_start(w, seed);
}

void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->fs = crashfs_new(1);
	w->image = rows_mem_image_new();
	world_start(w, 1);
}

void world_fini(struct world *w)
{
	world_kill(w);
	rows_mem_image_free(w->image);
	crashfs_free(w->fs);
}

static void on_finding(void *arg, const char *text)
{
	print_error("# %s\n", text);
	++*(unsigned *)arg;
}

void world_check(struct world *w)
{
	unsigned findings = 0;

	assert_int_equal(chunk_store_check(w->cs, on_finding, &findings), 0);
	assert_int_equal(findings, 0);
}

struct chunk_stats world_stats(struct world *w)
{
	struct chunk_stats s;

	chunk_store_stats(w->cs, &s);
	return s;
}

/* --- calls --- */

void reply_note(void *arg, uint32_t status, struct body *body)
{
	struct reply *r = arg;

	r->n++;
	r->status = status;
	r->body = body;
}

void reply_note_drop(void *arg, uint32_t status)
{
	reply_note(arg, status, NULL);
}

struct wire_u128 world_slice(unsigned n)
{
	return slice_make(3, 1700000000, 7, n);
}

struct body *world_bytes(unsigned slice, unsigned index, unsigned version)
{
	uint32_t seed = slice * 2654435761u ^ index * 40503u ^ version;
	size_t len = 1 + seed % 9000;
	struct body *b = body_new(len);

	for (size_t i = 0; i < len; i++)
		b->data[i] = (uint8_t)(seed >> i % 4 * 8 ^ i / 4);
	b->len = (uint32_t)len;
	return b;
}

/* Takes b. */
static void body_put_start(struct world *w, unsigned slice, unsigned index,
			   struct body *b, struct reply *r)
{
	XXH128_hash_t h = XXH3_128bits(b->data, b->len);

	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_put(w->cl, world_slice(slice), index,
				   (struct wire_u128){ h.high64, h.low64 }, b,
				   reply_note, r),
			 0);
	assert_int_equal(r->n, 0);
	body_unref(b);
}

void world_put_start(struct world *w, unsigned slice, unsigned index,
		     unsigned version, struct reply *r)
{
	body_put_start(w, slice, index, world_bytes(slice, index, version), r);
}

uint32_t world_put_body(struct world *w, unsigned slice, struct body *b)
{
	struct reply r;

	body_put_start(w, slice, 0, b, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	return r.status;
}

uint32_t world_put(struct world *w, unsigned slice, unsigned index)
{
	struct reply r;

	world_put_start(w, slice, index, 0, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	return r.status;
}

void world_drop_start(struct world *w, unsigned slice, unsigned n,
		      struct reply *r)
{
	struct wire_u128 ids[8];

	for (unsigned i = 0; i < n; i++)
		ids[i] = world_slice(slice + i);
	*r = (struct reply){ .n = 0 };
	assert_int_equal(chunk_drop(w->cl, ids, n, reply_note_drop, r), 0);
	assert_int_equal(r->n, 0);
}

void world_drop(struct world *w, unsigned slice, unsigned n)
{
	struct reply r;

	world_drop_start(w, slice, n, &r);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.status, RPC_STATUS_OK);
}

uint32_t world_get(struct world *w, unsigned slice, unsigned index)
{
	struct reply r = { .n = 0 };

	assert_int_equal(chunk_get(w->cl, world_slice(slice), index, 0, 0,
				   reply_note, &r),
			 0);
	minienv_run(w->m);
	assert_int_equal(r.n, 1);
	if (r.status == RPC_STATUS_OK) {
		struct body *b = world_bytes(slice, index, 0);

		assert_int_equal(r.body->len, b->len);
		assert_memory_equal(r.body->data, b->data, b->len);
		body_unref(b);
		body_unref(r.body);
	} else { /* no row points to what is freed */
		assert_int_equal(r.status, RPC_STATUS_NOENT);
	}
	return r.status;
}

/* --- the cleaner --- */

struct compact_info world_cleaner(struct world *w)
{
	struct compact_info i;

	compact_get_info(w->compact, &i);
	return i;
}

void world_clean(struct world *w)
{
	assert_int_equal(compact_start(w->compact, UINT64_MAX), 0);
	for (unsigned i = 0; i < 1000; i++) {
		minienv_run(w->m);
		if (world_cleaner(w).state != COMPACT_RUNNING)
			return;
		minienv_advance(w->m, 1000000);
	}
	fail_msg("the run does not end");
}

void world_put_many(struct world *w, unsigned from, unsigned to)
{
	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(world_put(w, s, i), RPC_STATUS_OK);
}

void world_expect_many(struct world *w, unsigned from, unsigned to,
		       unsigned step)
{
	for (unsigned s = from; s < to; s++)
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(world_get(w, s, i),
					 s % step == 0 ? RPC_STATUS_OK
						       : RPC_STATUS_NOENT);
}

void world_drop_many(struct world *w, unsigned from, unsigned to, unsigned step)
{
	for (unsigned s = from; s < to; s++)
		if (s % step != 0)
			world_drop(w, s, 1);
}
