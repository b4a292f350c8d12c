/* The queue's worker, shorthands of requests, bytes, pages: see nsharness.h. */
#include "tests/lib/nsharness_impl.h"

#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/mem.h"

/* --- the queue --- */

unsigned nsh_queued(struct nsh *h, char kind)
{
	struct ns_key k;

	ns_key_start(&k, h->shard, NS_T_QUEUE);
	ns_key_u8(&k, (uint8_t)kind);
	return nsh_count_key(h, &k);
}

/* Of a session: its slots are gone. */
static bool nsh_is_clean(struct wire_bytes value)
{
	struct ns_row_queue row;

	NSH_MUST(ns_row_queue_load(&row, value) == 0);
	return row.what.len > 0;
}

/* The first row that is not a slice's; false when there is none. */
static bool nsh_next_work(struct nsh *h, uint16_t shard,
			  struct rpc_queue_work *ret)
{
	struct wire_bytes key, value;
	struct rows_iter *it;
	struct ns_key k;
	bool found = false;

	ns_key_start(&k, shard, NS_T_QUEUE);
	it = nsh_iter(h, &k);
	while (!found && rows_iter_next(it, &key, &value) == 0) {
		const uint8_t *id = key.p + NS_KEY_REST + 1;

		ret->kind = key.p[NS_KEY_REST];
		found = ret->kind != NS_Q_SLICE && ret->kind != NS_Q_DEAD &&
			!(ret->kind == NS_Q_SESSION && nsh_is_clean(value));
		ret->id.hi = 0;
		if (key.len == NS_KEY_REST + 1 + 16)
			ret->id = ns_be128(id);
		else
			ret->id.lo = ns_be64(id);
	}
	rows_iter_free(it);
	return found;
}

/* False when nothing is left of that row. */
static bool nsh_work_one(struct nsh *h, uint16_t shard,
			 const struct rpc_queue_work *req)
{
	struct rpc_queue_work_rsp rsp;
	struct wire_bytes p;

	buf_reset(&h->req);
	NSH_MUST(rpc_queue_work_encode(req, &h->req) == 0);
	NSH_MUST(nsh_send_one(h, shard, RPC_TAG_queue_work, &h->req) == 0);
	p = nsh_payload(h);
	NSH_MUST(rpc_queue_work_rsp_decode(&rsp, p.p, p.len) == 0);
	return rsp.left;
}

unsigned nsh_work(struct nsh *h)
{
	struct rpc_queue_work req = { .client = 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < h->shards; i++) {
		uint16_t shard = (uint16_t)(h->shard + i);

		while (nsh_next_work(h, shard, &req))
			do
				n++;
			while (nsh_work_one(h, shard, &req));
	}
	return n;
}

/* --- shorthands --- */

uint64_t nsh_root(struct nsh *h, uint64_t bucket)
{
	struct rpc_root_create req = { .bucket = bucket, .uid = 1000,
				       .gid = 1000, .mode = 0755 };
	struct rpc_root_create_rsp rsp;

	NSH_MUST(NSH(h, root_create, root_create_rsp, &req, &rsp) == 0);
	return rsp.ino;
}

static struct wire_bytes nsh_inline(struct nsh *h, uint64_t pos, size_t len)
{
	struct wire_extent e = { .pos = pos, .len = len,
				 .kind = WIRE_EXT_INLINE };

	wire_vec_fini(&h->vec);
	wire_vec_init(&h->vec);
	if (len > 0)
		wire_vec_add_extent(&h->vec, &e);
	return wire_vec_bytes(&h->vec);
}

struct wire_u128 nsh_slice(struct nsh *h, uint64_t slice)
{
	const uint64_t second = NSH_START / 1000000000;

	return (struct wire_u128){
		(uint64_t)h->shard << 48 | second << 16, slice,
	};
}

struct wire_bytes nsh_chunks(struct nsh *h, uint64_t slice, uint64_t pos,
			     uint64_t len, uint64_t slice_off)
{
	struct wire_extent e = {
		.pos = pos, .len = len, .kind = WIRE_EXT_CHUNKS,
		.slice = nsh_slice(h, slice),
		.slice_off = slice_off,
	};

	wire_vec_fini(&h->vec);
	wire_vec_init(&h->vec);
	wire_vec_add_extent(&h->vec, &e);
	return wire_vec_bytes(&h->vec);
}

uint32_t nsh_put(struct nsh *h, uint64_t root, const char *key,
		 struct wire_bytes data, const char *etag)
{
	struct rpc_put req = { .root = root, .key = wire_cstr(key),
			       .uid = 1000, .gid = 1000, .umask = 022,
			       .size = data.len, .data = data };
	struct rpc_put_rsp rsp;
	char made[40];

	snprintf(made, sizeof(made), "%032lx",
		 (unsigned long)XXH3_64bits(data.p, data.len));
	req.etag = wire_cstr(etag == NULL ? made : etag);
	req.extents = nsh_inline(h, 0, data.len);
	return NSH(h, put, put_rsp, &req, &rsp);
}

uint32_t nsh_delete(struct nsh *h, uint64_t root, const char *key)
{
	struct rpc_delete req = { .root = root, .key = wire_cstr(key) };
	struct rpc_empty_rsp rsp;

	return NSH(h, delete, empty_rsp, &req, &rsp);
}

uint32_t nsh_mknod(struct nsh *h, uint64_t dir, const char *name,
		   uint32_t mode, uint64_t *ret_ino)
{
	struct rpc_mknod req = { .dir = dir, .name = wire_cstr(name),
				 .mode = mode, .uid = 1000, .gid = 1000,
				 .flags = RPC_MKNOD_EXCL };
	struct rpc_mknod_rsp rsp;
	uint32_t status;

	if (S_ISLNK(mode))
		req.target = wire_cstr("target");
	status = NSH(h, mknod, mknod_rsp, &req, &rsp);
	if (status == 0 && ret_ino != NULL)
		*ret_ino = rsp.attr.ino;
	return status;
}

uint32_t nsh_lookup(struct nsh *h, uint64_t dir, const char *name, uint8_t how,
		    struct wire_attr *ret_attr)
{
	struct rpc_lookup req = { .dir = dir, .name = wire_cstr(name),
				  .how = how };
	struct rpc_lookup_rsp rsp;
	uint32_t status = NSH(h, lookup, lookup_rsp, &req, &rsp);

	if (status == 0)
		*ret_attr = rsp.attr;
	return status;
}

static uint32_t nsh_unlink_or(struct nsh *h, uint64_t dir, const char *name,
			      uint8_t how, uint8_t rmdir)
{
	struct rpc_unlink req = { .dir = dir, .name = wire_cstr(name),
				  .how = how, .rmdir = rmdir };
	struct rpc_unlink_rsp rsp;

	return NSH(h, unlink, unlink_rsp, &req, &rsp);
}

uint32_t nsh_unlink(struct nsh *h, uint64_t dir, const char *name, uint8_t how)
{
	return nsh_unlink_or(h, dir, name, how, 0);
}

uint32_t nsh_rmdir(struct nsh *h, uint64_t dir, const char *name)
{
	return nsh_unlink_or(h, dir, name, RPC_NAME_ANY, 1);
}

static uint32_t nsh_move(struct nsh *h, uint64_t dir, const char *name,
			 uint64_t dir2, const char *name2, uint32_t flags)
{
	struct rpc_rename req = { .dir = dir, .name = wire_cstr(name),
				  .dir2 = dir2, .name2 = wire_cstr(name2),
				  .flags = flags };
	struct rpc_rename_rsp rsp;

	return NSH(h, rename, rename_rsp, &req, &rsp);
}

uint32_t nsh_rename(struct nsh *h, uint64_t dir, const char *name,
		    uint64_t dir2, const char *name2)
{
	return nsh_move(h, dir, name, dir2, name2, 0);
}

uint32_t nsh_exchange(struct nsh *h, uint64_t dir, const char *name,
		      uint64_t dir2, const char *name2)
{
	return nsh_move(h, dir, name, dir2, name2, RPC_RENAME_EXCHANGE);
}

uint32_t nsh_link(struct nsh *h, uint64_t ino, uint64_t dir, const char *name)
{
	struct rpc_link req = { .ino = ino, .dir = dir,
				.name = wire_cstr(name) };
	struct rpc_attr_rsp rsp;

	return NSH(h, link, attr_rsp, &req, &rsp);
}

uint32_t nsh_write(struct nsh *h, uint64_t ino, uint64_t off,
		   struct wire_bytes data)
{
	struct rpc_write req = { .ino = ino, .data = data };
	struct rpc_write_rsp rsp;

	req.extents = nsh_inline(h, off, data.len);
	return NSH(h, write, write_rsp, &req, &rsp);
}

uint32_t nsh_truncate(struct nsh *h, uint64_t ino, uint64_t size)
{
	struct rpc_setattr req = { .ino = ino, .valid = RPC_SET_SIZE,
				   .size = size };
	struct rpc_attr_rsp rsp;

	return NSH(h, setattr, attr_rsp, &req, &rsp);
}

uint32_t nsh_getattr(struct nsh *h, uint64_t ino, struct wire_attr *ret)
{
	struct rpc_getattr req = { .ino = ino };
	struct rpc_attr_rsp rsp;
	uint32_t status = NSH(h, getattr, attr_rsp, &req, &rsp);

	if (status == 0)
		*ret = rsp.attr;
	return status;
}

uint32_t nsh_object(struct nsh *h, uint64_t root, const char *key,
		    uint64_t off, uint64_t len, struct rpc_object_rsp *rsp)
{
	struct rpc_object req = { .root = root, .key = wire_cstr(key),
				  .off = off, .len = len };

	return NSH(h, object, object_rsp, &req, rsp);
}

/* --- bytes --- */

static void nsh_fill(struct nsh *h, const struct wire_extent *e, uint64_t off,
		     uint64_t len, uint8_t *out)
{
	for (uint64_t i = 0; i < e->len; i++) {
		uint64_t pos = e->pos + i;

		NSH_MUST(pos >= off && pos < off + len);
		if (e->kind == WIRE_EXT_INLINE) {
			NSH_MUST(e->slice_off + i < h->body.len);
			out[pos - off] = h->body.data[e->slice_off + i];
		} else {
			out[pos - off] = nsh_chunk_byte(e->slice.lo,
							e->slice_off + i);
		}
	}
}

void nsh_extents(struct nsh *h, struct wire_bytes extents, uint64_t off,
		 uint64_t len, uint8_t *out)
{
	struct wire_reader r;
	uint32_t n;

	memset(out, 0, len);
	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		struct wire_extent e;

		wire_get_extent(&r, &e);
		NSH_MUST(r.err == 0);
		nsh_fill(h, &e, off, len, out);
	}
}

uint32_t nsh_bytes(struct nsh *h, uint64_t ino, uint64_t off, uint64_t len,
		   uint8_t *out)
{
	while (len > 0) {
		struct rpc_read req = { .ino = ino, .off = off, .len = len };
		struct rpc_read_rsp rsp;
		uint32_t status;

		status = NSH(h, read, read_rsp, &req, &rsp);
		if (status != 0)
			return status;
		NSH_MUST(rsp.covered > 0 && rsp.covered <= len);
		nsh_extents(h, rsp.extents, off, rsp.covered, out);
		off += rsp.covered;
		out += rsp.covered;
		len -= rsp.covered;
	}
	return 0;
}

/* --- pages --- */

uint32_t nsh_list(struct nsh *h, uint64_t root, const char *prefix,
		  const char *after, const char *delimiter, uint32_t page,
		  nsh_list_fn each, void *arg)
{
	struct rpc_list req = { .root = root, .prefix = wire_cstr(prefix),
				.after = wire_cstr(after),
				.delimiter = wire_cstr(delimiter),
				.max = page };
	struct rpc_list_rsp rsp = { .truncated = 1 };
	uint8_t *next = NULL;
	uint32_t status = 0;

	while (status == 0 && rsp.truncated) {
		struct wire_bytes alg, type;
		struct nsh_listed e;
		struct wire_reader r;
		uint8_t is_prefix;
		uint32_t n;

		status = NSH(h, list, list_rsp, &req, &rsp);
		if (status != 0)
			break;
		r = wire_vec_reader(rsp.entries, &n);
		NSH_MUST(n <= page && (n == page || !rsp.truncated));
		for (; n > 0; n--) {
			wire_get_str(&r, &e.key);
			wire_get_u8(&r, &is_prefix);
			wire_get_u64(&r, &e.size);
			wire_get_i64(&r, &e.mtime);
			wire_get_str(&r, &e.etag);
			wire_get_str(&r, &alg);
			wire_get_str(&r, &type);
			NSH_MUST(r.err == 0 && is_prefix <= 1);
			e.is_prefix = is_prefix;
			each(arg, &e);
		}
		if (rsp.truncated) {
			uint8_t *p = mem_dup(rsp.next.p, rsp.next.len);

			mem_free(next);
			next = p;
			req.after = wire_bytes(next, rsp.next.len);
		}
	}
	mem_free(next);
	return status;
}

/* One page, from memory of our own: what is far is asked for in between. */
static void nsh_readdir_page(struct nsh *h, struct wire_bytes entries,
			     nsh_readdir_fn each, void *arg,
			     struct buf *ret_last)
{
	uint8_t *copy = mem_dup(entries.p, entries.len);
	struct wire_bytes name;
	struct wire_reader r;
	struct wire_attr attr;
	uint32_t n, mode;
	uint8_t shadowed;
	uint64_t ino;

	NSH_MUST(copy != NULL);
	for (r = wire_vec_reader(wire_bytes(copy, entries.len), &n); n > 0;
	     n--) {
		wire_get_str(&r, &name);
		wire_get_u64(&r, &ino);
		wire_get_u32(&r, &mode);
		wire_get_u8(&r, &shadowed);
		wire_get_attr(&r, &attr);
		NSH_MUST(r.err == 0);
		NSH_MUST(attr.ino == ino || (attr.ino == 0 && h->shards > 1));
		buf_reset(ret_last);
		buf_add(ret_last, name.p, name.len);
		if (attr.ino == 0)
			NSH_MUST(nsh_getattr(h, ino, &attr) == 0);
		each(arg, name, mode, shadowed, &attr);
	}
	mem_free(copy);
}

uint32_t nsh_readdir(struct nsh *h, uint64_t dir, uint32_t page,
		     nsh_readdir_fn each, void *arg)
{
	struct rpc_readdir req = { .dir = dir, .max = page, .plus = 1 };
	struct rpc_readdir_rsp rsp = { 0 };
	struct buf last;
	uint32_t status = 0;

	buf_init(&last, 0);
	while (status == 0 && !rsp.eof) {
		status = NSH(h, readdir, readdir_rsp, &req, &rsp);
		if (status != 0)
			break;
		nsh_readdir_page(h, rsp.entries, each, arg, &last);
		NSH_MUST(rsp.eof || last.len > 0);
		req.after = wire_bytes(last.data, last.len);
	}
	buf_fini(&last);
	return status;
}
