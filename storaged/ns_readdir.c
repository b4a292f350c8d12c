/*
 * READDIR: entry rows of one directory, with the inodes joined on request.
 * The cursor is a row name, so entries that come and go move no other.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

enum {
	NS_READDIR_MAX = 4096,
	NS_READDIR_BYTES = 4 << 20,
};

struct ns_reader {
	struct rows_back *back;
	struct rows_iter *it; /* one view: of entries, and of where they are */
	uint16_t shard;
	const struct rpc_readdir *m;
	uint32_t max;
	uint64_t dir;  /* whose rows: the one asked for, or a segment of it */
	bool has_dirs; /* only then a file can be shadowed */
	bool split;    /* it has segments */
	struct ns_key pos; /* the first row name that is wanted */
	uint64_t next; /* where the names behind limit are, or 0 */
	struct buf limit;
	bool gone;     /* the segment */
	struct wire_vec out;
	uint32_t n;
	bool full;
};

/* Of this shard, borrowed until the next row; 0, -ENOENT, -EIO. */
static int ns_reader_inode(struct ns_reader *l, uint64_t ino,
			   struct ns_row_inode *ret)
{
	struct wire_bytes value;
	struct ns_key k;
	int rv;

	ns_key_id(&k, l->shard, NS_T_INODE, ino);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	return rv != 0 ? rv : ns_row_inode_load(ret, value);
}

static int ns_reader_dir(struct ns_reader *l)
{
	struct ns_row_inode r;
	int rv;

	if (ino_shard(l->dir) != l->shard)
		return RPC_STATUS_NOTSUP;
	rv = ns_reader_inode(l, l->dir, &r);
	if (rv == -ENOENT && l->dir != l->m->dir) {
		l->gone = true;
		return 0;
	}
	if (rv != 0)
		return rv == -ENOENT ? RPC_STATUS_NOENT : rv;
	if (!S_ISDIR(r.mode))
		return RPC_STATUS_NOTDIR;
	l->has_dirs = r.nlink > 2;
	l->split = r.flags & NS_INODE_SPLIT;
	if (l->dir == l->m->dir)
		return 0;
	l->gone = !ns_segment_has(&r, ns_key_get(&l->pos)) ||
		  r.parent != l->m->dir;
	l->next = l->m->dir;
	buf_add(&l->limit, r.target.p, r.target.len);
	return 0;
}

/* Behind the last one, or from where the last shard said. */
static void ns_reader_pos(struct ns_reader *l)
{
	ns_key_bytes(&l->pos, l->m->after);
	if (l->m->after.len > 0)
		ns_key_u8(&l->pos, 0);
	if (wire_bytes_cmp(l->m->from, ns_key_get(&l->pos)) <= 0)
		return;
	l->pos.len = 0;
	ns_key_bytes(&l->pos, l->m->from);
}

/* The segment that comes next. */
static int ns_reader_map(struct ns_reader *l)
{
	struct wire_bytes value;
	struct ns_row_map map;
	struct ns_range g;
	struct ns_key k;
	int rv;

	if (!l->split)
		return 0;
	ns_key_id(&k, l->shard, NS_T_SEGMENT, l->dir);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	if (rv == 0)
		rv = ns_row_map_load(&map, value);
	if (rv == 0)
		rv = ns_map_seek(map.segments, ns_key_get(&l->pos), &g);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	if (wire_bytes_cmp(g.first, ns_key_get(&l->pos)) < 0)
		g.first = ns_key_get(&l->pos);
	l->next = g.ino;
	buf_add(&l->limit, g.first.p, g.first.len);
	return 0;
}

/* Has a file row a directory of the same name beside it? */
static int ns_reader_shadowed(struct ns_reader *l, struct wire_bytes name,
			      uint8_t *ret)
{
	struct wire_bytes value;
	struct ns_key k;
	int rv;

	*ret = 0;
	if (!l->has_dirs || ns_row_is_dir(name))
		return 0;
	ns_key_dent(&k, l->shard, l->dir, name);
	ns_key_u8(&k, '/');
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	*ret = rv == 0;
	return rv == -ENOENT ? 0 : rv;
}

static void ns_reader_add(struct ns_reader *l, struct wire_bytes name,
			  const struct ns_row_dent *d, uint8_t shadowed,
			  const struct ns_row_inode *r)
{
	struct wire_attr attr = { .ino = 0 };
	struct wire_writer w;
	uint32_t mode = d->mode;

	w = wire_vec_add(&l->out);
	wire_put_str(&w, &name);
	wire_put_u64(&w, &d->ino);
	wire_put_u32(&w, &mode);
	wire_put_u8(&w, &shadowed);
	if (r != NULL)
		ns_attr_of(d->ino, r, &attr);
	if (l->m->plus)
		wire_put_attr(&w, &attr);
}

static int ns_reader_entry(struct ns_reader *l, struct wire_bytes name,
			   const struct ns_row_dent *d)
{
	bool marker = name.len == 0;
	bool far = ino_shard(d->ino) != l->shard;
	struct ns_row_inode r;
	uint8_t shadowed;
	int rv;

	/* a marker without body and user metadata is not shown */
	if (marker && !(d->flags & (NS_DENT_ASK | NS_DENT_USER)) &&
	    S_ISREG(d->mode) && d->size == 0)
		return 0;
	if (l->n >= l->max || l->out.buf.len >= NS_READDIR_BYTES) {
		l->full = true;
		return 0;
	}
	rv = ns_reader_shadowed(l, name, &shadowed);
	if (rv != 0)
		return rv;
	if (!far && (l->m->plus || marker)) {
		rv = ns_reader_inode(l, d->ino, &r);
		if (rv != 0)
			return rv == -ENOENT ? 0 : rv; /* ns_check() tells */
	}
	if (!marker || far || r.size > 0 || r.flags & NS_INODE_USER ||
	    !S_ISREG(r.mode)) {
		ns_reader_add(l, name, d, shadowed,
			      l->m->plus && !far ? &r : NULL);
		/* the empty name is no cursor: a page never ends on it */
		l->n += !marker;
	}
	return l->out.buf.err;
}

static struct wire_bytes ns_reader_limit(const struct ns_reader *l)
{
	return wire_bytes(l->limit.data, l->limit.len);
}

static int ns_reader_rows(struct ns_reader *l)
{
	struct wire_bytes key, value;
	struct ns_row_dent d;
	struct ns_key from;
	int rv;

	ns_key_id(&from, l->shard, NS_T_DENT, l->dir);
	ns_key_bytes(&from, ns_key_get(&l->pos));
	rows_iter_seek(l->it, ns_key_get(&from));
	while (!l->full) {
		rv = rows_iter_next(l->it, &key, &value);
		if (rv == 0)
			rv = ns_row_dent_load(&d, value);
		if (rv != 0)
			return rv == -ENOENT ? 0 : rv;
		key = wire_bytes(key.p + NS_KEY_REST + 8,
				 key.len - NS_KEY_REST - 8);
		if (l->next != 0 &&
		    wire_bytes_cmp(key, ns_reader_limit(l)) >= 0)
			return 0;
		rv = ns_reader_entry(l, key, &d);
		if (rv != 0)
			return rv;
	}
	return 0;
}

static int ns_reader_run(struct ns_reader *l)
{
	struct ns_key from, to;
	int rv;

	ns_key_id(&from, l->shard, NS_T_DENT, l->dir);
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(l->back, ns_key_get(&from), ns_key_get(&to),
			   &l->it);
	if (rv == 0)
		rv = ns_reader_dir(l);
	if (rv == 0 && !l->gone)
		rv = ns_reader_map(l);
	if (rv == 0 && !l->gone)
		rv = ns_reader_rows(l);
	return rv != 0 ? rv : l->limit.err;
}

int ns_scan_readdir(struct rows_back *back, uint16_t shard,
		    const struct rpc_readdir *m, struct ns_answer *a)
{
	struct ns_reader l = { .back = back, .shard = shard, .m = m,
			       .dir = m->at != 0 ? m->at : m->dir };
	/* 0: as many as fit */
	uint32_t max = m->max == 0 ? NS_READDIR_MAX : m->max;
	struct rpc_readdir_rsp rsp = { 0 };
	int rv;

	l.max = max < NS_READDIR_MAX ? max : NS_READDIR_MAX;
	wire_vec_init(&l.out);
	buf_init(&l.limit, 0);
	ns_reader_pos(&l);
	rv = ns_reader_run(&l);
	if (rv == 0) {
		rsp.entries = wire_vec_bytes(&l.out);
		if (l.gone) { /* the directory knows where its names are */
			rsp.at = m->dir;
			rsp.from = ns_key_get(&l.pos);
		} else if (!l.full && l.next != 0) {
			rsp.at = l.next;
			rsp.from = ns_reader_limit(&l);
		}
		rsp.eof = !l.full && rsp.at == 0;
		rv = rpc_readdir_rsp_encode(&rsp, &a->payload);
	}
	rows_iter_free(l.it);
	buf_fini(&l.limit);
	wire_vec_fini(&l.out);
	return rv;
}
