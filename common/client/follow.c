#include "common/client/follow.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/wire/status.h"

struct follow_entry {
	struct wire_bytes key, etag, sum_alg, sum_type;
	uint8_t is_prefix;
	uint64_t size;
	int64_t mtime;
};

/* LIST and READDIR: what was collected. */
struct client_follow {
	struct buf request;      /* as the caller made it */
	struct rpc_list m;       /* of it; strings borrow */
	struct wire_vec entries; /* so far */
	struct buf last;         /* key or prefix of the last one */
	struct buf from, path;   /* of the request under way */
	uint64_t at;
	bool truncated, part;
	bool again;              /* a key whose inode went is looked up ... */
	struct client_follow *one; /* ... by a LIST of its own, if joined */
	unsigned depth;          /* of such LISTs */
};

enum {
	FOLLOW_DEPTH = 4, /* then it goes whenever it is looked at */
	FOLLOW_ASK = 2, /* is_prefix: only another shard can describe it */
	FOLLOW_GONE = 3, /* and does not know it any more; none is answered */
};

void client_follow_free(struct client_follow *f)
{
	if (f == NULL)
		return;
	client_follow_free(f->one);
	buf_fini(&f->request);
	wire_vec_fini(&f->entries);
	buf_fini(&f->last);
	buf_fini(&f->from);
	buf_fini(&f->path);
	mem_free(f);
}

static struct client_follow *follow_new(void)
{
	struct client_follow *f = mem_zalloc(sizeof(*f));

	if (f == NULL)
		return NULL;
	buf_init(&f->request, 0);
	buf_init(&f->last, 0);
	buf_init(&f->from, 0);
	buf_init(&f->path, 0);
	wire_vec_init(&f->entries);
	return f;
}

/* --- ELSEWHERE --- */

#define FOLLOW_WALKS(M) \
	M(lookup) M(mknod) M(open) M(unlink) M(rename) M(parent) M(object) \
	M(prepare) M(put) M(delete) M(whereis) M(root_remove)

#define FOLLOW_PATCH(name) \
	case RPC_TAG_##name: { \
		struct rpc_##name m; \
		rv = rpc_##name##_decode(&m, b->data, b->len); \
		m.at = at; \
		m.skip = skip; \
		if (rv == 0) \
			rv = rpc_##name##_encode(&m, &out); \
		break; \
	}

/* Sets at and skip of a request; of one without them, nothing. */
static int follow_patch(uint16_t tag, struct buf *b, uint64_t at,
			uint32_t skip)
{
	struct buf out;
	int rv = 0;

	buf_init(&out, 0);
	switch (tag) {
	FOLLOW_WALKS(FOLLOW_PATCH)
	default:
		return 0;
	}
	if (rv != 0) {
		buf_fini(&out);
		return rv;
	}
	buf_fini(b);
	*b = out;
	return 0;
}

static int follow_elsewhere(struct client_hop *hop, struct wire_bytes payload)
{
	struct rpc_error_rsp e;
	int rv = rpc_error_rsp_decode(&e, payload.p, payload.len);

	if (rv == 0)
		rv = follow_patch(hop->tag, &hop->request, e.at, e.skip);
	if (rv != 0)
		return rv;
	hop->shard = e.shard;
	return 1;
}

/* One of the directories in the way is gone: the root again. */
static int follow_removed(struct client_hop *hop)
{
	struct rpc_root_remove m;
	int rv = rpc_root_remove_decode(&m, hop->request.data,
					hop->request.len);

	if (rv != 0 || m.at == 0)
		return rv;
	hop->shard = ino_shard(m.ino);
	rv = follow_patch(hop->tag, &hop->request, 0, 0);
	return rv != 0 ? rv : 1;
}

/* --- LIST: entries --- */

static void follow_get(struct wire_reader *r, struct follow_entry *e)
{
	wire_get_str(r, &e->key);
	wire_get_u8(r, &e->is_prefix);
	wire_get_u64(r, &e->size);
	wire_get_i64(r, &e->mtime);
	wire_get_str(r, &e->etag);
	wire_get_str(r, &e->sum_alg);
	wire_get_str(r, &e->sum_type);
}

static void follow_put(struct wire_vec *v, const struct follow_entry *e)
{
	struct wire_writer w = wire_vec_add(v);

	wire_put_str(&w, &e->key);
	wire_put_u8(&w, &e->is_prefix);
	wire_put_u64(&w, &e->size);
	wire_put_i64(&w, &e->mtime);
	wire_put_str(&w, &e->etag);
	wire_put_str(&w, &e->sum_alg);
	wire_put_str(&w, &e->sum_type);
}

static int follow_collect(struct client_follow *f, struct wire_bytes entries)
{
	struct follow_entry e = { .size = 0 };
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(entries, &n); n > 0; n--) {
		follow_get(&r, &e);
		if (r.err != 0)
			return r.err;
		follow_put(&f->entries, &e);
		if (n == 1) {
			buf_reset(&f->last);
			buf_add(&f->last, e.key.p, e.key.len);
		}
	}
	return f->entries.buf.err != 0 ? f->entries.buf.err : f->last.err;
}

/* --- LIST: what only other shards know --- */

/*
 * Somebody replaced the entry since: with what is there now, the key has been
 * there all the while. 0: there are none left.
 */
static int follow_again(struct client_follow *f, struct client_hop *hop)
{
	struct rpc_list q = { .root = f->m.root, .max = 1 };
	struct follow_entry e = { .size = 0 };
	struct wire_reader r;
	uint32_t n;

	if (f->depth == FOLLOW_DEPTH)
		return 0;
	for (r = wire_vec_reader(wire_vec_bytes(&f->entries), &n); n > 0; n--) {
		int rv;

		follow_get(&r, &e);
		if (e.is_prefix != FOLLOW_GONE)
			continue;
		f->again = true;
		q.prefix = e.key;
		hop->tag = RPC_TAG_list;
		hop->shard = ino_shard(q.root);
		buf_reset(&hop->request);
		rv = rpc_list_encode(&q, &hop->request);
		return rv != 0 ? rv : 1;
	}
	return 0;
}

/* Asks one of them for all of its inodes; 0: there are none left. */
static int follow_ask(struct client_follow *f, struct client_hop *hop)
{
	struct rpc_summary q;
	struct follow_entry e;
	struct wire_reader r;
	struct wire_vec inos;
	uint32_t n;
	int rv;

	wire_vec_init(&inos);
	for (r = wire_vec_reader(wire_vec_bytes(&f->entries), &n); n > 0; n--) {
		struct wire_writer w;

		follow_get(&r, &e);
		if (e.is_prefix != FOLLOW_ASK)
			continue;
		if (inos.count == 0)
			hop->shard = ino_shard(e.size);
		if (ino_shard(e.size) != hop->shard)
			continue;
		w = wire_vec_add(&inos);
		wire_put_u64(&w, &e.size);
	}
	if (inos.count == 0) {
		wire_vec_fini(&inos);
		return follow_again(f, hop);
	}
	hop->tag = RPC_TAG_summary;
	q.inos = wire_vec_bytes(&inos);
	buf_reset(&hop->request);
	rv = rpc_summary_encode(&q, &hop->request);
	wire_vec_fini(&inos);
	return rv != 0 ? rv : 1;
}

/* The summary of ino, if the answer has one. */
static bool follow_described(struct wire_bytes summaries, uint64_t ino,
			     struct follow_entry *e)
{
	struct follow_entry s = { .size = 0 };
	struct wire_reader r;
	uint64_t id;
	uint32_t n;

	for (r = wire_vec_reader(summaries, &n); n > 0; n--) {
		wire_get_u64(&r, &id);
		wire_get_u64(&r, &s.size);
		wire_get_i64(&r, &s.mtime);
		wire_get_str(&r, &s.etag);
		wire_get_str(&r, &s.sum_alg);
		wire_get_str(&r, &s.sum_type);
		if (r.err != 0 || id != ino)
			continue;
		s.key = e->key;
		*e = s;
		return true;
	}
	return false;
}

/* The entries that were built from those that are there. */
static int follow_replace(struct client_follow *f, struct wire_vec *take,
			  int rv)
{
	if (rv == 0)
		rv = take->buf.err;
	if (rv != 0) {
		wire_vec_fini(take);
		return rv;
	}
	wire_vec_fini(&f->entries);
	f->entries = *take;
	return 0;
}

/* Fills in what came. */
static int follow_describe(struct client_follow *f, uint16_t shard,
			   struct wire_bytes payload)
{
	struct rpc_summary_rsp rsp;
	struct follow_entry e;
	struct wire_reader r;
	struct wire_vec out;
	uint32_t n;
	int rv = rpc_summary_rsp_decode(&rsp, payload.p, payload.len);

	if (rv != 0)
		return rv;
	wire_vec_init(&out);
	for (r = wire_vec_reader(wire_vec_bytes(&f->entries), &n); n > 0; n--) {
		follow_get(&r, &e);
		if (e.is_prefix == FOLLOW_ASK && ino_shard(e.size) == shard) {
			if (!follow_described(rsp.summaries, e.size, &e)) {
				rv = -EBADMSG;
				break;
			}
			if (e.size == UINT64_MAX)
				e.is_prefix = FOLLOW_GONE;
		}
		follow_put(&out, &e);
	}
	return follow_replace(f, &out, rv);
}

/* The first one that was gone is what a LIST of its key has, if anything. */
static int follow_renew(struct client_follow *f, struct wire_bytes payload)
{
	struct follow_entry e, now = { .is_prefix = 1 };
	struct rpc_list_rsp rsp;
	struct wire_reader r;
	struct wire_vec out;
	bool done = false;
	uint32_t n;
	int rv = rpc_list_rsp_decode(&rsp, payload.p, payload.len);

	if (rv != 0)
		return rv;
	r = wire_vec_reader(rsp.entries, &n);
	if (n > 0)
		follow_get(&r, &now);
	if (r.err != 0)
		return r.err;
	wire_vec_init(&out);
	for (r = wire_vec_reader(wire_vec_bytes(&f->entries), &n); n > 0; n--) {
		follow_get(&r, &e);
		if (done || e.is_prefix != FOLLOW_GONE) {
			follow_put(&out, &e);
			continue;
		}
		done = true;
		if (now.is_prefix == 0 && wire_bytes_eq(now.key, e.key))
			follow_put(&out, &now);
	}
	return follow_replace(f, &out, 0);
}

/* --- LIST: the walk --- */

static int follow_list_new(struct client_hop *hop, struct client_follow **ret)
{
	struct client_follow *f = follow_new();
	int rv;

	if (f == NULL)
		return -ENOMEM;
	buf_add(&f->request, hop->request.data, hop->request.len);
	rv = f->request.err;
	if (rv == 0)
		rv = rpc_list_decode(&f->m, f->request.data, f->request.len);
	if (rv != 0) {
		client_follow_free(f);
		return rv;
	}
	*ret = f;
	return 0;
}

static struct wire_bytes follow_bytes(const struct buf *b)
{
	return wire_bytes(b->data, b->len);
}

/* The next page, where f->at, path and from say. */
static int follow_list_next(struct client_follow *f, struct client_hop *hop)
{
	struct rpc_list m = f->m;
	int rv;

	m.max -= f->entries.count;
	m.at = f->at;
	m.part = f->part;
	m.path = follow_bytes(&f->path);
	m.from = follow_bytes(&f->from);
	if (f->entries.count > 0)
		m.after = follow_bytes(&f->last);
	hop->tag = RPC_TAG_list;
	hop->shard = ino_shard(f->at != 0 ? f->at : m.root);
	buf_reset(&hop->request);
	rv = f->path.err != 0 ? f->path.err : f->from.err;
	if (rv == 0)
		rv = rpc_list_encode(&m, &hop->request);
	return rv != 0 ? rv : 1;
}

static int follow_list_end(struct client_follow *f, struct buf *ret_answer)
{
	struct rpc_list_rsp rsp = { .truncated = f->truncated };

	rsp.entries = wire_vec_bytes(&f->entries);
	if (f->truncated)
		rsp.next = follow_bytes(&f->last);
	return rpc_list_rsp_encode(&rsp, ret_answer);
}

/* Behind all keys that begin with path, which ends in a slash. */
static void follow_list_behind(struct client_follow *f)
{
	buf_reset(&f->from);
	buf_add(&f->from, f->path.data, f->path.len);
	if (f->from.len > 0)
		f->from.data[f->from.len - 1]++;
	buf_reset(&f->path);
	f->at = 0;
}

static int follow_page(struct client_follow **fp, struct client_hop *hop,
		       struct wire_bytes payload)
{
	struct client_follow *f = *fp;
	struct rpc_list_rsp rsp;
	int rv = rpc_list_rsp_decode(&rsp, payload.p, payload.len);

	if (rv != 0)
		return rv;
	if (f == NULL && rsp.at == 0 && rsp.below == 0 && rsp.asks == 0)
		return 0; /* what came is the whole answer */
	if (f == NULL) {
		rv = follow_list_new(hop, fp);
		if (rv != 0)
			return rv;
		f = *fp;
	}
	rv = follow_collect(f, rsp.entries);
	if (rv != 0)
		return rv;
	f->truncated = rsp.truncated;
	if (f->entries.count >= f->m.max || (rsp.at == 0 && rsp.below == 0))
		return follow_ask(f, hop);
	f->part = rsp.at != 0 && rsp.from.len > 0;
	if (rsp.below == 2) {
		buf_reset(&f->path);
		f->at = 0;
	} else if (rsp.below != 0) {
		if (f->path.len == 0) /* asked below nothing */
			return -EBADMSG;
		follow_list_behind(f);
	} else {
		f->at = rsp.at;
		buf_reset(&f->path);
		buf_add(&f->path, rsp.path.p, rsp.path.len);
		if (f->part) {
			buf_reset(&f->from);
			buf_add(&f->from, rsp.from.p, rsp.from.len);
		}
	}
	return follow_list_next(f, hop);
}

static int follow_list(struct client_follow **fp, struct client_hop *hop,
		       struct wire_bytes payload, struct buf *ret_answer);

/* What came is of a LIST of one key. */
static int follow_list_one(struct client_follow *f, struct client_hop *hop,
			   struct wire_bytes payload)
{
	struct buf joined;
	int rv;

	buf_init(&joined, 0);
	rv = follow_list(&f->one, hop, payload, &joined);
	if (f->one != NULL)
		f->one->depth = f->depth + 1;
	if (rv == 0) {
		f->again = false;
		client_follow_free(f->one);
		f->one = NULL;
		if (joined.len > 0)
			payload = follow_bytes(&joined);
		rv = follow_renew(f, payload);
		if (rv == 0)
			rv = follow_ask(f, hop);
	}
	buf_fini(&joined);
	return rv;
}

static int follow_list(struct client_follow **fp, struct client_hop *hop,
		       struct wire_bytes payload, struct buf *ret_answer)
{
	int rv;

	if (*fp != NULL && (*fp)->again) {
		rv = follow_list_one(*fp, hop, payload);
	} else if (hop->tag == RPC_TAG_list) {
		rv = follow_page(fp, hop, payload);
	} else {
		rv = follow_describe(*fp, hop->shard, payload);
		if (rv == 0)
			rv = follow_ask(*fp, hop);
	}
	if (rv != 0 || *fp == NULL)
		return rv;
	return follow_list_end(*fp, ret_answer);
}

/* --- READDIR --- */

/* Two, as one may be the empty component, behind which no page ends. */
enum { FOLLOW_READDIR_MIN = 2 };

static int follow_readdir_add(struct client_follow *f, struct wire_bytes list)
{
	struct wire_reader r;
	uint32_t n;

	r = wire_vec_reader(list, &n);
	if (r.err != 0)
		return r.err;
	if (n > 0) { /* the first one counts itself */
		(void)wire_vec_add(&f->entries);
		f->entries.count += n - 1;
		buf_add(&f->entries.buf, r.p, r.left);
	}
	return f->entries.buf.err;
}

/* The names go on in another shard, and too few came for a page. */
static int follow_readdir_next(struct client_hop *hop,
			       const struct rpc_readdir_rsp *rsp, uint32_t n)
{
	struct rpc_readdir m;
	struct buf out;
	int rv = rpc_readdir_decode(&m, hop->request.data, hop->request.len);

	if (rv != 0)
		return rv;
	m.at = rsp->at;
	m.from = rsp->from;
	if (m.max > n)
		m.max -= n;
	buf_init(&out, 0);
	rv = rpc_readdir_encode(&m, &out);
	if (rv != 0) {
		buf_fini(&out);
		return rv;
	}
	buf_fini(&hop->request);
	hop->request = out;
	hop->shard = ino_shard(rsp->at);
	return 1;
}

static int follow_readdir(struct client_follow **fp, struct client_hop *hop,
			  struct wire_bytes payload, struct buf *ret_answer)
{
	struct rpc_readdir_rsp rsp, out = { 0 };
	struct rpc_readdir m;
	int rv = rpc_readdir_rsp_decode(&rsp, payload.p, payload.len);

	if (rv == 0)
		rv = rpc_readdir_decode(&m, hop->request.data,
					hop->request.len);
	if (rv != 0)
		return rv;
	if (*fp == NULL && rsp.at == 0)
		return 0; /* what came is the whole answer */
	if (*fp == NULL)
		*fp = follow_new();
	if (*fp == NULL)
		return -ENOMEM;
	rv = follow_readdir_add(*fp, rsp.entries);
	if (rv != 0)
		return rv;
	if (rsp.at != 0 && (*fp)->entries.count < FOLLOW_READDIR_MIN)
		return follow_readdir_next(hop, &rsp, (*fp)->entries.count);
	out.entries = wire_vec_bytes(&(*fp)->entries);
	out.eof = rsp.eof;
	return rpc_readdir_rsp_encode(&out, ret_answer);
}

/* --- the interface --- */

int client_follow(struct client_follow **f, struct client_hop *hop,
		  uint32_t status, struct wire_bytes payload,
		  struct buf *ret_answer)
{
	if (status == RPC_STATUS_ELSEWHERE)
		return follow_elsewhere(hop, payload);
	if (status != RPC_STATUS_OK)
		return 0;
	if (hop->tag == RPC_TAG_root_remove)
		return follow_removed(hop);
	if (hop->tag == RPC_TAG_list ||
	    (hop->tag == RPC_TAG_summary && *f != NULL))
		return follow_list(f, hop, payload, ret_answer);
	if (hop->tag == RPC_TAG_readdir)
		return follow_readdir(f, hop, payload, ret_answer);
	return 0;
}

uint16_t client_first_shard(uint16_t tag, struct wire_bytes request)
{
	const struct rpc_info *info = rpc_info(tag);
	size_t at = info != NULL && info->kind == 'W' ? 20 : 0;
	uint64_t ino = 0;

	for (size_t i = at; i < at + 8 && i < request.len; i++)
		ino = ino << 8 | request.p[i];
	return ino_shard(ino);
}
