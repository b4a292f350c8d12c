/*
 * Rows that go from one store to another (storaged/shard_snap*.c): two shards of
 * one voter each, the real code on both sides, and a link between them that the
 * test can break. What Raft would decide, the test does: both calls into it are
 * caught by the linker.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/vfs_dir.h"
#include "storaged/ns_rows.h"
#include "storaged/ns_values.h"
#include "storaged/shard_snap.h"
#include "tests/lib/fault.h"
#include "tests/lib/shardworld.h"

#define A_STORE 1
#define B_STORE 2
#define FILES 40
#define VALUE_MAX 9000

/* --- the link --- */

enum trouble { NONE, LOSE, FLIP, GONE, CUT };

struct pair {
	struct world a, b;
	/* the request under way from b to a */
	struct buf request, end;
	struct buf canned;   /* not empty: it is answered with this, whole */
	bool asked, answered;
	shard_done_fn done;
	void *arg;
	uint32_t status;
	struct buf payload;
	struct body *body;
	/* answers so far; what happens to one */
	unsigned answers, trouble_at, trouble_n;
	enum trouble trouble;
	int holds[2];        /* of a, of b */
	uint64_t avail;      /* of b's disk */
	/* Raft */
	int install_rv;
	unsigned installs, installed;
	struct shard_fetch *fetch; /* that waits to be installed */
};

static struct pair *now; /* of the test that runs */

int __wrap_raft_group_install(struct raft_group *g, const struct raft_base *s);
int __wrap_raft_group_install(struct raft_group *g, const struct raft_base *s)
{
	(void)g;
	assert(s->index > 0 && s->conf_index > 0 && s->conf.len > 0);
	now->installs++;
	return now->install_rv;
}

void __wrap_raft_group_installed(struct raft_group *g);
void __wrap_raft_group_installed(struct raft_group *g)
{
	(void)g;
	now->installed++;
}

static void on_hold(void *arg, bool on)
{
	struct world *w = arg;
	struct pair *p = w->user;

	p->holds[w == &p->b] += on ? 1 : -1;
}

static void on_space(void *arg, uint64_t *ret_total, uint64_t *ret_avail)
{
	struct world *w = arg;
	struct pair *p = w->user;

	*ret_total = 1u << 30;
	*ret_avail = p->avail;
}

static int on_ask(void *arg, uint64_t to, uint16_t group, struct buf *payload,
		  shard_done_fn done, void *done_arg)
{
	struct world *w = arg;
	struct pair *p = w->user;
	struct rpc_snap_get m;

	(void)to;
	if (group != SHARD ||
	    rpc_snap_get_decode(&m, payload->data, payload->len) != 0)
		abort();
	if (fault_tick())
		return -ENOMEM;
	if (m.off == RPC_SNAP_END) { /* one that nobody waits for */
		buf_fini(&p->end);
		p->end = *payload;
		buf_init(payload, 0);
		return 0;
	}
	if (p->asked)
		abort();
	p->asked = true;
	p->request = *payload;
	p->done = done;
	p->arg = done_arg;
	buf_init(payload, 0);
	return 0;
}

static void on_served(void *arg, uint32_t status, struct buf *payload,
		      struct body *body)
{
	struct pair *p = arg;

	p->answered = true;
	p->status = status;
	p->payload = *payload;
	p->body = body;
	buf_init(payload, 0);
}

/* Something happens to the n-th answer, and to some behind it. */
static bool link_trouble(struct pair *p)
{
	return p->trouble != NONE && p->answers >= p->trouble_at &&
	       p->answers < p->trouble_at + p->trouble_n;
}

static void link_answer(struct pair *p)
{
	bool bad = link_trouble(p);
	struct buf payload = p->payload;
	struct body *body = p->body;

	p->answers++;
	p->asked = p->answered = false;
	p->body = NULL;
	buf_init(&p->payload, 0);
	if (bad && (p->trouble == LOSE || p->trouble == GONE)) {
		body_unref(body);
		body = NULL;
		p->status = p->trouble == LOSE ? RPC_STATUS_UNAVAILABLE
					       : RPC_STATUS_STALE;
	}
	if (bad && p->trouble == FLIP && body != NULL)
		body->data[body->len / 2] ^= 4;
	if (bad && p->trouble == CUT && body != NULL)
		body->len /= 2;
	p->done(p->arg, p->status, &payload, body);
	buf_fini(&payload);
}

static void link_serve_canned(struct pair *p)
{
	const struct rpc_snap_get_rsp rsp = { .stream = 7 };
	struct body *body = body_new(p->canned.len);
	struct buf payload;

	assert(body != NULL);
	memcpy(body->data, p->canned.data, p->canned.len);
	body->len = (uint32_t)p->canned.len;
	buf_init(&payload, 0);
	(void)rpc_snap_get_rsp_encode(&rsp, &payload);
	on_served(p, RPC_STATUS_OK, &payload, body);
	buf_fini(&p->request);
}

static void link_serve(struct pair *p)
{
	struct buf b = p->request;

	buf_init(&p->request, 0);
	if (shard_snap_serve(p->a.set, SHARD, wire_bytes(b.data, b.len),
			     on_served, p) != 0)
		on_served(p, RPC_STATUS_NOMEM, &(struct buf){ 0 }, NULL);
	buf_fini(&b);
}

static void on_ended(void *arg, uint32_t status, struct buf *payload,
		     struct body *body)
{
	(void)arg;
	(void)status;
	(void)payload;
	body_unref(body);
}

static void link_end(struct pair *p)
{
	struct buf b = p->end;

	buf_init(&p->end, 0);
	(void)shard_snap_serve(p->a.set, SHARD, wire_bytes(b.data, b.len),
			       on_ended, NULL);
	buf_fini(&b);
}

/* One thing happens somewhere; false: nothing is left to do now. */
static bool pair_step(struct pair *p)
{
	if (minienv_step(p->a.m) || minienv_step(p->b.m))
		return true;
	if (p->end.data != NULL)
		link_end(p);
	else if (p->answered)
		link_answer(p);
	else if (p->asked && p->request.data != NULL && p->canned.len > 0)
		link_serve_canned(p);
	else if (p->asked && p->request.data != NULL)
		link_serve(p);
	else
		return false;
	return true;
}

/* Until nothing is left to do, for up to so many milliseconds. */
static void pair_run(struct pair *p, unsigned ms)
{
	for (;;) {
		while (pair_step(p))
			continue;
		if (ms-- == 0)
			return;
		minienv_skip(p->a.m, 1000000);
		minienv_skip(p->b.m, 1000000);
	}
}

/* --- two stores --- */

static void tune(struct world *w, struct shard_config *c)
{
	struct pair *p = w->user;

	c->snap_dir = "snap";
	c->store = (struct wire_u128){ 0, w == &p->a ? A_STORE : B_STORE };
	c->ask = on_ask;
	c->hold = on_hold;
	c->space = on_space;
	c->snap_piece = 6000;
	assert_int_equal(vfs_make_dir(c->env->vfs, "snap"), 0);
}

static char value[VALUE_MAX];

static size_t value_len(unsigned i)
{
	return i % 4 == 0 ? 20 : 300 + i * 211 % (VALUE_MAX - 300);
}

static void value_fill(unsigned i, unsigned of)
{
	for (size_t k = 0; k < sizeof value; k++)
		value[k] = (char)(k * 7 + k / 251 + i * 31 + of);
}

static void put_files(struct world *w, uint64_t root, unsigned of)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct wire_extent e = { .len = value_len(i),
					 .kind = WIRE_EXT_INLINE };
		struct wire_vec v;
		char key[20];
		struct rpc_put req = {
			MUT(w), .root = root, .umask = 022,
			.size = value_len(i), .etag = wire_cstr("d41d8cd9"),
		};
		struct reply r;

		snprintf(key, sizeof key, "d%u/f%u", i % 3, i);
		req.key = wire_cstr(key);
		value_fill(i, of);
		wire_vec_init(&v);
		wire_vec_add_extent(&v, &e);
		req.extents = wire_vec_bytes(&v);
		req.data = wire_bytes(value, value_len(i));
		CALL(w, put, &req, &r);
		assert_int_equal(r.status, RPC_STATUS_OK);
		reply_fini(&r);
		wire_vec_fini(&v);
	}
}

/* True when all files have the bytes that `of` has put. */
static bool has_files(struct world *w, uint64_t root, unsigned of)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct rpc_object req = { .root = root, .len = 1 << 20 };
		struct reply r;
		char key[20];
		bool good;

		snprintf(key, sizeof key, "d%u/f%u", i % 3, i);
		req.key = wire_cstr(key);
		value_fill(i, of);
		CALL(w, object, &req, &r);
		good = r.status == RPC_STATUS_OK && r.body != NULL &&
		       r.body->len == value_len(i) &&
		       memcmp(r.body->data, value, value_len(i)) == 0;
		reply_fini(&r);
		if (!good)
			return false;
	}
	return true;
}

struct fix {
	struct pair p;
	uint64_t root;
	struct wire_u128 old, new; /* hashes of b's rows, of a's */
};

static struct wire_u128 hash_of(struct rows_back *back)
{
	struct wire_u128 h;

	assert_int_equal(ns_hash(back, SHARD, &h), 0);
	return h;
}

static bool same(struct wire_u128 x, struct wire_u128 y)
{
	return x.hi == y.hi && x.lo == y.lo;
}

static void checkpoint(struct world *w)
{
	assert_int_equal(shard_set_checkpoint(w->set, NULL, NULL), 0);
	minienv_run(w->m);
}

static void fix_init(struct fix *f)
{
	struct pair *p = &f->p;

	memset(f, 0, sizeof *f);
	now = p;
	p->avail = 1u << 30;
	world_init_tuned(&p->a, tune, p);
	world_init_tuned(&p->b, tune, p);
	f->root = world_root(&p->a, 5);
	assert_int_equal(world_root(&p->b, 5), f->root);
	put_files(&p->b, f->root, 99);
	put_files(&p->a, f->root, 1);
	put_files(&p->a, f->root, 2); /* further than b */
	checkpoint(&p->a);
	checkpoint(&p->b);
	f->old = hash_of(p->b.back);
	f->new = hash_of(p->a.back);
	assert_false(same(f->old, f->new));
}

static void fix_drop_link(struct pair *p)
{
	buf_fini(&p->request);
	buf_fini(&p->end);
	buf_fini(&p->payload);
	body_unref(p->body);
	p->body = NULL;
}

static void fix_fini(struct fix *f)
{
	world_fini(&f->p.a);
	world_fini(&f->p.b);
	fix_drop_link(&f->p);
}

static void lags(struct pair *p)
{
	shard_on_lags(p->b.set, shard_group(p->b.set, SHARD), A_STORE);
}

static struct shard_fetch *fetch_of(struct pair *p)
{
	return shard_find(p->b.set, SHARD)->fetch;
}

static void stats_of(struct world *w, struct shard_stats *s)
{
	shard_set_stats(w->set, s);
}

static unsigned files_in(struct world *w)
{
	const char *name;
	unsigned n = 0;
	uint64_t len;

	for (size_t i = 0; (name = crashfs_file(w->fs, i, &len)) != NULL; i++)
		n += strncmp(name, "snap/", 5) == 0;
	return n;
}

/* Nothing of it is left; but for files that the next one makes anew. */
static void check_ended(struct fix *f)
{
	struct shard_group *g = shard_find(f->p.b.set, SHARD);

	pair_run(&f->p, 12000); /* an idle stream is given up */
	assert_null(g->fetch);
	assert_false(g->installing);
	assert_int_equal(f->p.holds[0], 0);
	assert_int_equal(f->p.holds[1], 0);
}

static void check_none(struct fix *f)
{
	check_ended(f);
	assert_int_equal(files_in(&f->p.b), 0);
}

static void install(struct pair *p)
{
	shard_on_install(p->b.set, shard_group(p->b.set, SHARD));
}

static void check_new(struct fix *f)
{
	assert_int_equal(f->p.installed, 1);
	assert_true(same(hash_of(f->p.b.back), f->new));
	assert_true(has_files(&f->p.b, f->root, 2));
	assert_int_equal(f->p.b.rots, 0);
}

/* Fetches and installs, whatever was before. */
static void fetch_all(struct fix *f)
{
	unsigned installed = f->p.installed;

	f->p.install_rv = 0;
	lags(&f->p);
	pair_run(&f->p, 2000);
	assert_non_null(fetch_of(&f->p));
	assert_int_equal(fetch_of(&f->p)->state, FETCH_INSTALL);
	install(&f->p);
	pair_run(&f->p, 100);
	assert_int_equal(f->p.installed, installed + 1);
	f->p.installed = 1;
	check_new(f);
	check_none(f);
}

/* --- tests --- */

static void test_whole(void **state)
{
	struct shard_stats a, b;
	struct fix f;

	(void)state;
	fix_init(&f);
	assert_true(has_files(&f.p.b, f.root, 99));
	fetch_all(&f);
	stats_of(&f.p.a, &a);
	stats_of(&f.p.b, &b);
	assert_int_equal(a.snaps_out, 1);
	assert_int_equal(b.snaps_in, 1);
	assert_int_equal(b.snaps_failed, 0);
	assert_int_equal(a.snap_bytes_out, b.snap_bytes_in);
	assert_true(f.p.answers > 10);
	/* it goes on from there; answer slots are those of a */
	f.p.b.seq = f.p.a.seq;
	put_files(&f.p.b, f.root, 3);
	assert_true(has_files(&f.p.b, f.root, 3));
	fix_fini(&f);
}

/* Answers that are lost are asked for again; some in a row end it. */
static void test_lost(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 4; n++)
		for (unsigned at = 0; at < 5; at++) {
			struct fix f;

			fix_init(&f);
			f.p.trouble = LOSE;
			f.p.trouble_at = at * 3;
			f.p.trouble_n = n;
			lags(&f.p);
			pair_run(&f.p, 2000);
			if (n == 4) {
				assert_int_equal(f.p.installs, 0);
				check_none(&f);
			} else {
				assert_int_equal(f.p.installs, 1);
				install(&f.p);
				pair_run(&f.p, 100);
				check_new(&f);
				check_none(&f);
			}
			f.p.installed = 0;
			if (n == 4)
				fetch_all(&f);
			fix_fini(&f);
		}
}

/* Wrong bytes, fewer bytes, a sender that has forgotten: all begins anew. */
static void test_damaged(void **state)
{
	static const enum trouble troubles[] = { FLIP, CUT, GONE };

	(void)state;
	for (size_t t = 0; t < 3; t++)
		for (unsigned at = 0;; at++) {
			struct shard_stats s;
			struct fix f;
			bool fired;

			fix_init(&f);
			f.p.trouble = troubles[t];
			f.p.trouble_at = at;
			f.p.trouble_n = 1;
			lags(&f.p);
			pair_run(&f.p, 2000);
			fired = f.p.answers > at;
			stats_of(&f.p.b, &s);
			assert_int_equal(s.snaps_failed, fired);
			assert_int_equal(f.p.installs, !fired);
			if (fired) {
				check_none(&f);
				fetch_all(&f);
			}
			fix_fini(&f);
			if (!fired)
				break;
		}
}

/* What Raft may say to it. */
static void test_refused(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	f.p.install_rv = -EALREADY;
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 1);
	check_none(&f);
	/* kept for the next time */
	f.p.install_rv = -EAGAIN;
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 2);
	assert_int_equal(fetch_of(&f.p)->state, FETCH_READY);
	assert_int_equal(f.p.holds[1], 1);
	lags(&f.p);
	assert_int_equal(f.p.installs, 3);
	f.p.install_rv = 0;
	lags(&f.p);
	assert_int_equal(f.p.installs, 4);
	install(&f.p);
	pair_run(&f.p, 100);
	check_new(&f);
	check_none(&f);
	/* but not for ever */
	f.p.install_rv = -EAGAIN;
	shard_find(f.p.b.set, SHARD)->raft = shard_group(f.p.b.set, SHARD);
	lags(&f.p);
	pair_run(&f.p, 2000);
	check_none(&f);
	fix_fini(&f);
}

static int value_seen(void *arg, const struct ns_value_at *v)
{
	size_t *len = arg;

	*len += v->len;
	return 0;
}

/* It is late when the rows here are newer. */
static void test_late(void **state)
{
	struct fix f;

	(void)state;
	fix_init(&f);
	put_files(&f.p.b, f.root, 5);
	put_files(&f.p.b, f.root, 6);
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 0);
	check_none(&f);
	assert_true(has_files(&f.p.b, f.root, 6));
	fix_fini(&f);
}

/* Streams whose checksums are right and which no correct store sends. */
static void test_strange(void **state)
{
	static const uint8_t conf[] = { 1 };
	static const struct {
		uint32_t flags;
		uint16_t group;
		uint8_t type; /* of its only row; 0: a real one, with values */
	} cases[] = {
		{ 0, SHARD, NS_T_DENT }, /* not portable */
		{ ROWS_STREAM_PORTABLE, SHARD + 1, NS_T_DENT },
		{ ROWS_STREAM_PORTABLE, SHARD, 0xff }, /* no such type */
		{ ROWS_STREAM_PORTABLE, SHARD, NS_T_INODE }, /* no inode */
		{ ROWS_STREAM_PORTABLE, SHARD, 0 }, /* without its value */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rows_stream_head head = {
			.flags = cases[i].flags, .group = cases[i].group,
			.at = { .index = 100000, .term = 1, .conf_index = 1,
				.conf = (uint8_t *)(uintptr_t)conf,
				.conf_len = 1 },
		};
		uint8_t key[11] = { cases[i].type, 1 };
		struct wire_bytes k = wire_bytes(key, sizeof key);
		struct wire_bytes v = wire_bytes("zzz", 3);
		struct rows_stream_writer *w;
		struct rows_iter *it = NULL;
		struct shard_stats s;
		struct fix f;

		fix_init(&f);
		if (cases[i].type == 0) { /* the first that has some */
			struct ns_key from, to;
			size_t len = 0;

			ns_key_start(&from, SHARD, NS_T_INODE);
			ns_key_start(&to, SHARD, NS_T_INODE + 1);
			assert_int_equal(rows_iter_new(f.p.a.back,
						       ns_key_get(&from),
						       ns_key_get(&to), &it), 0);
			while (len == 0 && rows_iter_next(it, &k, &v) == 0)
				(void)ns_values_each(NS_T_INODE, v, value_seen,
						     &len);
			assert_true(len > 0);
			k = wire_bytes(k.p + 2, k.len - 2);
		}
		assert_int_equal(rows_stream_pusher_new(&head, &w), 0);
		assert_int_equal(rows_stream_push(w, k, v, &f.p.canned), 0);
		assert_int_equal(rows_stream_push_end(w, &f.p.canned), 0);
		rows_stream_writer_free(w);
		rows_iter_free(it);
		lags(&f.p);
		pair_run(&f.p, 2000);
		stats_of(&f.p.b, &s);
		assert_int_equal(s.snaps_failed, 1);
		assert_int_equal(f.p.installs, 0);
		check_none(&f);
		buf_fini(&f.p.canned);
		buf_init(&f.p.canned, 0);
		assert_true(has_files(&f.p.b, f.root, 99));
		fetch_all(&f);
		fix_fini(&f);
	}
}

static uint32_t serve(struct pair *p, uint16_t group, uint64_t from,
		      uint64_t stream, uint64_t off)
{
	struct rpc_snap_get req = { from, stream, off };
	struct buf b;

	buf_init(&b, 0);
	assert_int_equal(rpc_snap_get_encode(&req, &b), 0);
	buf_fini(&p->payload);
	body_unref(p->body);
	p->body = NULL;
	p->answered = false;
	assert_int_equal(shard_snap_serve(p->a.set, group,
					  wire_bytes(b.data, b.len), on_served,
					  p), 0);
	assert_false(p->answered); /* never inside */
	minienv_run(p->a.m);
	buf_fini(&b);
	assert_true(p->answered);
	p->answered = false;
	return p->status;
}

static uint64_t stream_of(struct pair *p)
{
	struct rpc_snap_get_rsp rsp;

	assert_int_equal(rpc_snap_get_rsp_decode(&rsp, p->payload.data,
						 p->payload.len), 0);
	return rsp.stream;
}

static void test_serve(void **state)
{
	struct fix f;
	struct pair *p = &f.p;
	uint64_t s, s2, len;
	uint8_t *first;

	(void)state;
	fix_init(&f);
	assert_int_equal(serve(p, SHARD + 1, 9, 0, 0), RPC_STATUS_WRONG_STORE);
	assert_int_equal(serve(p, SHARD, 9, 77, 0), RPC_STATUS_STALE);
	assert_int_equal(serve(p, SHARD, 9, 0, 0), RPC_STATUS_OK);
	s = stream_of(p);
	len = p->body->len;
	assert_int_equal(p->holds[0], 1);
	first = mem_dup(p->body->data, len);
	/* again, the next, and neither what was before nor what is not yet */
	assert_int_equal(serve(p, SHARD, 9, s, 0), RPC_STATUS_OK);
	assert_int_equal(p->body->len, len);
	assert_memory_equal(p->body->data, first, len);
	mem_free(first);
	assert_int_equal(serve(p, SHARD, 9, s, len), RPC_STATUS_OK);
	assert_int_equal(serve(p, SHARD, 9, s, 0), RPC_STATUS_STALE);
	assert_int_equal(serve(p, SHARD, 9, s, 10 * len), RPC_STATUS_STALE);
	assert_int_equal(serve(p, SHARD, 8, s, len), RPC_STATUS_STALE);
	assert_int_equal(serve(p, SHARD, 9, s, len), RPC_STATUS_OK);
	/* who begins again has one stream */
	assert_int_equal(serve(p, SHARD, 9, 0, 0), RPC_STATUS_OK);
	s2 = stream_of(p);
	assert_int_equal(serve(p, SHARD, 9, s, 2 * len), RPC_STATUS_STALE);
	assert_int_equal(p->holds[0], 1);
	assert_int_equal(serve(p, SHARD, 9, s2, RPC_SNAP_END), RPC_STATUS_OK);
	assert_int_equal(p->holds[0], 0);
	/* there is an end to their number */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(serve(p, SHARD, 20 + i, 0, 0), RPC_STATUS_OK);
	assert_int_equal(p->holds[0], 8);
	assert_int_equal(serve(p, SHARD, 40, 0, 0), RPC_STATUS_BUSY);
	minienv_advance(p->a.m, 11ull * SECOND);
	assert_int_equal(p->holds[0], 0);
	assert_int_equal(serve(p, SHARD, 40, 0, 0), RPC_STATUS_OK);
	/* rows that are being replaced */
	shard_find(p->a.set, SHARD)->installing = true;
	assert_int_equal(serve(p, SHARD, 41, 0, 0), RPC_STATUS_BUSY);
	shard_find(p->a.set, SHARD)->installing = false;
	fix_fini(&f);
}

/* A value that rotted is not handed on, and its store says so. */
static void test_rot(void **state)
{
	struct fix f;
	const char *name;
	uint64_t len;

	(void)state;
	fix_init(&f);
	for (size_t i = 0; (name = crashfs_file(f.p.a.fs, i, &len)) != NULL;
	     i++)
		for (uint64_t off = 100; strncmp(name, "log/", 4) == 0 &&
					 off < len; off += 500)
			(void)crashfs_flip(f.p.a.fs, name, off, 2);
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 0);
	assert_int_equal(f.p.a.rots, 1);
	check_none(&f);
	assert_true(has_files(&f.p.b, f.root, 99));
	fix_fini(&f);
}

/* Reads that began before, and those that come while it goes on. */
static void test_readers(void **state)
{
	struct rpc_object req = { .key = wire_cstr("d1/f1"), .len = 1 << 20 };
	struct fix f;

	(void)state;
	for (unsigned at = 0;; at++) {
		struct reply before, amid;
		unsigned n = 0;

		fix_init(&f);
		req.root = f.root;
		rows_set_forget(shard_set_rows(f.p.b.set), 1);
		lags(&f.p);
		pair_run(&f.p, 2000);
		SEND(&f.p.b, object, &req, &before);
		(void)minienv_step(f.p.b.m);
		install(&f.p);
		while (n < at && f.p.installed == 0 && pair_step(&f.p))
			n++;
		SEND(&f.p.b, object, &req, &amid);
		pair_run(&f.p, 100);
		assert_int_equal(before.n, 1);
		assert_int_equal(amid.n, 1);
		if (before.status == RPC_STATUS_OK) {
			value_fill(1, 99);
			assert_memory_equal(before.body->data, value, 20);
		} else {
			assert_int_equal(before.status, RPC_STATUS_NOT_LEADER);
		}
		if (amid.status == RPC_STATUS_OK) {
			value_fill(1, 2);
			assert_true(n < at);
			assert_memory_equal(amid.body->data, value, 20);
		} else {
			assert_int_equal(amid.status, RPC_STATUS_NOT_LEADER);
		}
		reply_fini(&before);
		reply_fini(&amid);
		rows_set_forget(shard_set_rows(f.p.b.set), 0);
		check_new(&f);
		fix_fini(&f);
		if (n < at)
			break;
	}
}

/* --- crashes --- */

/* The process of b is gone; what its next start makes of the disk. */
static void check_crashed(struct fix *f, bool power, uint64_t seed, bool over)
{
	struct world *w = &f->p.b;
	struct raft_start *start;
	struct rows_applied at;
	struct errbuf e = { "" };
	struct rows_back *back;
	struct wire_u128 hash;

	world_kill(w);
	if (power)
		crashfs_crash(w->fs, seed);
	assert_int_equal(rows_back_mem(w->image, &back), 0);
	if (raft_start_open(crashfs_vfs(w->fs), "snap",
			    (struct wire_u128){ 0, B_STORE }, back, &start,
			    &e) != 0)
		fail_msg("%s", e.text);
	hash = hash_of(back);
	assert_true(same(hash, f->new) || (!over && same(hash, f->old)));
	assert_int_equal(rows_applied_read(back, SHARD, &at), 0);
	assert_true(at.index > 0 && at.term > 0 && at.conf_index > 0);
	rows_applied_fini(&at);
	raft_start_free(start);
	rows_back_close(back);
	assert_int_equal(files_in(w), 0);
	world_fini(&f->p.a);
	rows_mem_image_free(w->image);
	free(w->dropped);
	crashfs_free(w->fs);
	fix_drop_link(&f->p);
}

static void test_crash(void **state)
{
	unsigned news = 0, olds = 0;

	(void)state;
	/* flush: the database makes all durable at any time */
	for (unsigned flush = 0; flush < 2; flush++)
		for (unsigned at = 0;; at++) {
			struct fix f;
			unsigned n = 0;
			bool over;

			fix_init(&f);
			lags(&f.p);
			pair_run(&f.p, 2000);
			install(&f.p);
			while (n < at && f.p.installed == 0 &&
			       (pair_step(&f.p) || n < 1000)) {
				minienv_skip(f.p.b.m, 100000);
				if (flush)
					assert_int_equal(rows_back_checkpoint(
						f.p.b.back), 0);
				n++;
			}
			over = f.p.installed > 0;
			news += over;
			olds += !over;
			check_crashed(&f, true, at, over);
			if (over)
				break;
		}
	assert_true(news == 2 && olds > 10);
}

/* The same while it is fetched: the rows are the old ones. */
static void test_crash_fetch(void **state)
{
	(void)state;
	for (unsigned at = 0;; at += 3) {
		struct fix f;
		unsigned n = 0;
		bool over;

		fix_init(&f);
		lags(&f.p);
		while (n < at && f.p.installs == 0 && pair_step(&f.p))
			n++;
		over = f.p.installs > 0;
		check_crashed(&f, at % 2 == 0, at, false);
		if (over)
			break;
	}
}

/* --- faults --- */

/* It came to something, or it does now. */
static void fix_end(struct fix *f)
{
	if (f->p.installs == 0) {
		check_ended(f);
		fetch_all(f);
		return;
	}
	install(&f->p);
	pair_run(&f->p, 100);
	check_new(f);
	check_none(f);
}

/* No memory, once or some times in a row, on either side. */
static void test_no_memory(void **state)
{
	(void)state;
	for (int n = 1; n <= 3; n++)
		for (int at = 0;; at++) {
			struct fix f;
			bool fired;

			fix_init(&f);
			fault_set(at, n);
			lags(&f.p);
			pair_run(&f.p, 1500);
			fault_clear();
			fired = fault_fired();
			fix_end(&f);
			fix_fini(&f);
			if (!fired)
				break;
			at += at / 20; /* there are thousands */
		}
}

static unsigned fatals;

static void on_fatal(const char *what, int err)
{
	(void)what;
	(void)err;
	fatals++;
}

/* Writes, reads, syncs that fail at b; its log stops the process. */
static void test_disk_faults(void **state)
{
	void (*hook)(const char *what, int err) = seg_fatal_hook;

	(void)state;
	seg_fatal_hook = on_fatal;
	for (unsigned kind = 0; kind < 3; kind++)
		for (uint64_t at = 1;; at++) {
			struct crashfs_faults faults = { 0 };
			struct crashfs_stats st;
			struct fix f;
			bool fired;

			fix_init(&f);
			fatals = 0;
			if (kind == 0)
				faults.fail_write_at = at;
			else if (kind == 1)
				faults.fail_read_at = at;
			else
				faults.fail_sync_at = at;
			crashfs_set_faults(f.p.b.fs, &faults);
			lags(&f.p);
			pair_run(&f.p, 2000);
			crashfs_get_stats(f.p.b.fs, &st);
			fired = st.faults > 0;
			crashfs_set_faults(f.p.b.fs,
					   &(struct crashfs_faults){ 0 });
			if (fatals > 0) {
				check_crashed(&f, true, at, false);
				continue;
			}
			assert_true(fired || f.p.installs == 1);
			fix_end(&f);
			fix_fini(&f);
			if (!fired)
				break;
		}
	seg_fatal_hook = hook;
}

/* A disk without room: nothing of it is left, and later there is room. */
static void test_no_space(void **state)
{
	struct crashfs_faults faults = { 0 };
	struct crashfs_stats st;
	struct fix f;

	(void)state;
	fix_init(&f);
	crashfs_get_stats(f.p.b.fs, &st);
	faults.capacity = st.used + 20000;
	crashfs_set_faults(f.p.b.fs, &faults);
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 0);
	check_none(&f);
	crashfs_set_faults(f.p.b.fs, &(struct crashfs_faults){ 0 });
	/* the log is not written when it is known before */
	f.p.avail = 100000;
	crashfs_get_stats(f.p.b.fs, &st);
	lags(&f.p);
	pair_run(&f.p, 2000);
	assert_int_equal(f.p.installs, 0);
	check_none(&f);
	f.p.avail = 1u << 30;
	fetch_all(&f);
	fix_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_strange),
		cmocka_unit_test(test_serve),
		cmocka_unit_test(test_rot),
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_crash_fetch),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_disk_faults),
		cmocka_unit_test(test_no_space),
	};

	log_set_level(LOG_LEVEL_ERROR); /* warnings are of faults */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
