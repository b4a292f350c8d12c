/*
 * LIST: a depth-first walk over entry rows in key order.
 *
 * Rows of a directory end in `/` when they are directories, so their byte
 * order is the order of the keys below them: no component holds a `/`, hence
 * no directory row is a prefix of a sibling, and a file row that is a prefix
 * of a sibling sorts first, as its key does. A page is seeks and steps, never
 * a sort. Every directory row stands for at least one key (implicit ones are
 * never empty, an empty explicit one is the key itself), so with delimiter "/"
 * a directory is a CommonPrefix without looking inside.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

enum {
	NS_LIST_MAX = 10000,     /* entries of a page, whatever is asked */
	NS_LIST_KEY_MAX = 65000, /* longer keys fit no message */
	NS_LIST_BYTES = 8 << 20, /* a page ends early behind that */
};

struct ns_frame {
	uint64_t dir;
	size_t path_len; /* of the key up to and with this directory's slash */
	bool any;        /* it is known to have rows */
};

struct ns_lister {
	struct rows_back *back;   /* borrowed */
	uint16_t shard;
	const struct rpc_list *m; /* borrowed */
	uint32_t max;
	struct rows_iter *it;     /* over the shard's entries ... transactions */
	struct buf path;          /* of the innermost directory */
	struct ns_frame *frames;
	size_t n, cap;
	struct wire_vec out;
	struct buf last;          /* key or prefix emitted last */
	struct buf skip;          /* scratch: where to go on */
	unsigned placed;          /* how often the walk was placed anew */
	bool truncated, done;
	uint64_t at;              /* it goes on there, below l->path */
	bool below;               /* all below the directory asked for is done */
	uint32_t asks;            /* entries that only other shards can describe */
	bool split;               /* there are segments: ask the maps */
	uint64_t segment;         /* it comes next in the directory, or 0 ... */
	struct buf limit;         /* ... at this row name */
	uint64_t up;              /* it began in a segment of that one ... */
	struct buf end;           /* ... which ends at this row name */
	bool lost;                /* it is not there any more */
	bool quiet;               /* no transaction holds anything in the view */
	struct wire_u128 holder;  /* LOCKED: whose end is to be waited for */
	struct buf from;          /* of the answer */
};

static struct wire_bytes ns_buf_bytes(const struct buf *b)
{
	return wire_bytes(b->data, b->len);
}

static bool ns_has_prefix(struct wire_bytes s, struct wire_bytes prefix)
{
	return s.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(s.p, prefix.p, prefix.len) == 0);
}

/* Notes the segment that has the first name >= pos, or comes next. */
static int ns_list_map(struct ns_lister *l, uint64_t dir,
		       struct wire_bytes pos)
{
	struct wire_bytes value;
	struct ns_row_map map;
	struct ns_range g;
	struct ns_key k;
	int rv;

	l->segment = 0;
	if (!l->split)
		return 0;
	ns_key_id(&k, l->shard, NS_T_SEGMENT, dir);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	if (rv == 0)
		rv = ns_row_map_load(&map, value);
	if (rv == 0)
		rv = ns_map_seek(map.segments, pos, &g);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	if (wire_bytes_cmp(g.first, pos) > 0)
		pos = g.first;
	l->segment = g.ino;
	buf_reset(&l->limit);
	buf_add(&l->limit, pos.p, pos.len);
	return l->limit.err;
}

static int ns_list_seek_row(struct ns_lister *l, uint64_t dir,
			    struct wire_bytes from, bool behind)
{
	const size_t at = NS_KEY_REST + 8;
	struct ns_key k;
	int rv;

	ns_key_dent(&k, l->shard, dir, from);
	if (behind)
		ns_key_u8(&k, 0);
	rv = ns_list_map(l, dir, wire_bytes(k.p + at, k.len - at));
	rows_iter_seek(l->it, ns_key_get(&k));
	return rv;
}

static int ns_list_go(struct ns_lister *l, uint64_t at, const struct buf *name)
{
	l->at = at;
	l->truncated = l->done = true;
	buf_reset(&l->from);
	buf_add(&l->from, l->path.data, l->path.len);
	buf_add(&l->from, name->data, name->len);
	return l->from.err;
}

/* The names that come next are in a segment, which goes on. */
static int ns_list_go_segment(struct ns_lister *l)
{
	return ns_list_go(l, l->segment, &l->limit);
}

/* The segment has ended: its directory goes on. */
static int ns_list_go_up(struct ns_lister *l)
{
	return ns_list_go(l, l->up, &l->end);
}

/*
 * The next row of a directory; -ENOENT when there is none, -EXDEV when a
 * segment has it.
 */
static int ns_list_next_row(struct ns_lister *l, uint64_t dir,
			    struct wire_bytes *ret_name,
			    struct ns_row_dent *ret)
{
	struct wire_bytes key, value;
	int rv = rows_iter_next(l->it, &key, &value);

	if (rv != 0 && rv != -ENOENT)
		return rv;
	if (rv == 0 && key.len < NS_KEY_REST + 8)
		return -EIO;
	if (rv != 0 || key.p[2] != NS_T_DENT ||
	    ns_be64(key.p + NS_KEY_REST) != dir)
		return l->segment != 0 ? -EXDEV : -ENOENT;
	*ret_name = wire_bytes(key.p + NS_KEY_REST + 8,
			       key.len - NS_KEY_REST - 8);
	if (l->segment != 0 &&
	    wire_bytes_cmp(*ret_name, ns_buf_bytes(&l->limit)) >= 0)
		return -EXDEV;
	return ns_row_dent_load(ret, value);
}

static int ns_list_push(struct ns_lister *l, uint64_t dir, bool any)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 16 : 2 * l->cap;
		struct ns_frame *f = mem_realloc(l->frames, cap * sizeof(*f));

		if (f == NULL)
			return -ENOMEM;
		l->frames = f;
		l->cap = cap;
	}
	l->frames[l->n++] = (struct ns_frame){ dir, l->path.len, any };
	return l->path.err;
}

/*
 * The directory row `comp` (with slash) of a directory, in the one view that
 * all names come from; -ENOENT.
 */
static int ns_list_dent(struct ns_lister *l, uint64_t dir,
			struct wire_bytes comp, uint64_t *ret_ino)
{
	struct wire_bytes value;
	struct ns_row_dent d;
	struct ns_key k;
	int rv;

	if (comp.len > NS_NAME_MAX + 1)
		return -ENOENT;
	ns_key_dent(&k, l->shard, dir, comp);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	if (rv == 0)
		rv = ns_row_dent_load(&d, value);
	if (rv == 0)
		*ret_ino = d.ino;
	return rv;
}

static struct wire_bytes ns_list_component(struct wire_bytes rest)
{
	const uint8_t *slash = NULL;

	if (rest.len > 0)
		slash = memchr(rest.p, '/', rest.len);
	return wire_bytes(rest.p, slash == NULL ? 0 : (size_t)(slash - rest.p) +
							      1);
}

/* The walk came to a directory of another shard, l->path: that one goes on. */
static bool ns_list_leaves(struct ns_lister *l, uint64_t dir)
{
	if (ino_shard(dir) == l->shard)
		return false;
	l->at = dir;
	l->truncated = l->done = true;
	return true;
}

/*
 * The directory that the walk begins in, and what of key lies below it;
 * -ENOENT when key lies behind it.
 */
static int ns_list_top(struct ns_lister *l, struct wire_bytes *key,
		       uint64_t *ret_dir)
{
	struct wire_bytes path = l->m->path;

	*ret_dir = l->m->root;
	buf_reset(&l->path);
	if (l->m->at == 0)
		return 0;
	*ret_dir = l->m->at;
	buf_add(&l->path, path.p, path.len);
	if (ns_has_prefix(*key, path))
		*key = wire_bytes(key->p + path.len, key->len - path.len);
	else if (wire_bytes_cmp(*key, path) < 0)
		*key = wire_bytes(NULL, 0);
	else
		return -ENOENT;
	return l->path.err;
}

/* Places the walk before the first key >= key. */
static int ns_list_seek(struct ns_lister *l, struct wire_bytes key)
{
	struct wire_bytes comp;
	uint64_t dir;
	int rv;

	l->n = 0;
	l->placed++;
	rv = ns_list_top(l, &key, &dir);
	if (rv == -ENOENT) {
		l->below = l->done = true;
		return 0;
	}
	if (rv == 0)
		rv = ns_list_push(l, dir, l->m->at == 0 || key.len > 0 ||
					       l->up != 0);
	while (rv == 0) {
		comp = ns_list_component(key);
		if (comp.len == 0)
			break;
		rv = ns_list_dent(l, dir, comp, &dir);
		if (rv == -ENOENT)
			break;
		if (rv != 0)
			return rv;
		buf_add(&l->path, comp.p, comp.len);
		key = wire_bytes(key.p + comp.len, key.len - comp.len);
		if (ns_list_leaves(l, dir))
			return l->path.err;
		/* from its start: then it may turn out to be empty */
		rv = ns_list_push(l, dir, key.len > 0);
	}
	if (rv != 0 && rv != -ENOENT)
		return rv;
	return ns_list_seek_row(l, l->frames[l->n - 1].dir, key, false);
}

/* --- what comes out --- */

/* Is there room for one more? If not, the page ends before it. */
static bool ns_list_room(struct ns_lister *l)
{
	if (l->out.count < l->max && l->out.buf.len < NS_LIST_BYTES)
		return true;
	l->truncated = l->done = true;
	return false;
}

/* is_prefix: see RPC_LIST_RSP. */
static int ns_list_emit(struct ns_lister *l, struct wire_bytes key,
			uint8_t is_prefix, const struct ns_row_dent *d)
{
	struct wire_writer w;

	w = wire_vec_add(&l->out);
	wire_put_str(&w, &key);
	wire_put_u8(&w, &is_prefix);
	wire_put_u64(&w, &d->size);
	wire_put_i64(&w, &d->mtime);
	wire_put_str(&w, &d->etag);
	wire_put_str(&w, &d->sum_alg);
	wire_put_str(&w, &d->sum_type);
	buf_reset(&l->last);
	buf_add(&l->last, key.p, key.len);
	return l->out.buf.err != 0 ? l->out.buf.err : l->last.err;
}

static int ns_list_emit_prefix(struct ns_lister *l, struct wire_bytes prefix)
{
	static const struct ns_row_dent none;

	if (wire_bytes_cmp(prefix, l->m->after) <= 0 || !ns_list_room(l))
		return 0;
	return ns_list_emit(l, prefix, 1, &none);
}

/* A key whose entry does not say it all: the inode does. */
static int ns_list_emit_inode(struct ns_lister *l, struct wire_bytes key,
			      uint64_t ino)
{
	char etag[NS_ETAG_MAX];
	struct ns_row_inode r;
	struct ns_row_dent d = { .size = ino };
	struct wire_bytes value;
	struct ns_key k;
	int rv;

	if (ino_shard(ino) != l->shard) {
		l->asks++;
		return ns_list_emit(l, key, 2, &d);
	}
	ns_key_id(&k, l->shard, NS_T_INODE, ino);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	if (rv == 0)
		rv = ns_row_inode_load(&r, value);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv; /* ns_check() tells */
	ns_dent_full(ino, &r, &d, etag);
	return ns_list_emit(l, key, 0, &d);
}

/* Is a name of dir among a partner's locks? */
static int ns_list_holds(struct wire_bytes value, uint64_t dir, bool *ret)
{
	struct ns_row_partner row;
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;
	int rv = ns_row_partner_load(&row, value);

	if (rv != 0)
		return rv;
	for (r = wire_vec_reader(row.locks, &n); n > 0; n--) {
		rv = ns_partner_lock(&r, &mode, &key);
		if (rv != 0)
			return rv;
		*ret |= key.len >= NS_KEY_REST + 8 && key.p[2] == NS_T_DENT &&
			ns_be64(key.p + NS_KEY_REST) == dir;
	}
	return 0;
}

/*
 * A directory without rows is empty only if no transaction holds one of its
 * names: that may be there already, by what another shard decided, while rows
 * that went since are not here any more. LOCKED: somebody does. Moves the
 * iterator.
 */
static int ns_list_is_empty(struct ns_lister *l, uint64_t dir)
{
	const struct wire_u128 first = { 0, 0 };
	struct wire_bytes key, value;
	struct ns_key k;
	bool held = false, any = false;
	int rv;

	if (l->quiet)
		return 0;
	ns_key_txn(&k, l->shard, NS_TXN_PART, first);
	rows_iter_seek(l->it, ns_key_get(&k));
	while ((rv = rows_iter_next(l->it, &key, &value)) == 0) {
		if (key.len != NS_KEY_REST + 1 + 16)
			return -EIO;
		if (key.p[NS_KEY_REST] != NS_TXN_PART)
			break;
		any = true;
		rv = ns_list_holds(value, dir, &held);
		if (rv != 0)
			return rv;
		if (held) {
			l->holder = ns_be128(key.p + NS_KEY_REST + 1);
			return RPC_STATUS_LOCKED;
		}
	}
	if (rv != 0 && rv != -ENOENT)
		return rv;
	l->quiet = !any;
	return 0;
}

static int ns_list_emit_key(struct ns_lister *l, struct wire_bytes key,
			    const struct ns_row_dent *d)
{
	int rv;

	if (key.len > NS_LIST_KEY_MAX ||
	    wire_bytes_cmp(key, l->m->after) <= 0 || !ns_list_room(l))
		return 0;
	if (S_ISDIR(d->mode)) {
		rv = ns_list_is_empty(l, d->ino);
		if (rv != 0)
			return rv;
	}
	if (d->flags & NS_DENT_ASK || S_ISDIR(d->mode))
		return ns_list_emit_inode(l, key, d->ino);
	return ns_list_emit(l, key, 0, d);
}

/* Where the delimiter ends in a key behind the prefix; 0 = it is not there. */
static size_t ns_list_delimited(const struct ns_lister *l,
				struct wire_bytes key)
{
	struct wire_bytes d = l->m->delimiter;
	size_t from = l->m->prefix.len;
	const uint8_t *p;

	if (d.len == 0 || key.len < from + d.len)
		return 0;
	p = memmem(key.p + from, key.len - from, d.p, d.len);
	return p == NULL ? 0 : (size_t)(p - key.p) + d.len;
}

/* Leaves all keys that begin with prefix behind. */
static int ns_list_skip(struct ns_lister *l, struct wire_bytes prefix)
{
	struct buf *s = &l->skip;

	buf_reset(s);
	buf_add(s, prefix.p, prefix.len);
	if (s->err != 0)
		return s->err;
	while (s->len > 0 && s->data[s->len - 1] == 0xff)
		s->len--;
	if (s->len == 0) {
		l->done = true;
		return 0;
	}
	s->data[s->len - 1]++;
	return ns_list_seek(l, ns_buf_bytes(s));
}

/* One key in order; d: its entry. */
static int ns_list_key(struct ns_lister *l, struct wire_bytes key,
		       const struct ns_row_dent *d)
{
	size_t end;
	int rv;

	if (!ns_has_prefix(key, l->m->prefix)) {
		l->done = wire_bytes_cmp(key, l->m->prefix) > 0;
		return 0;
	}
	end = ns_list_delimited(l, key);
	if (end == 0)
		return ns_list_emit_key(l, key, d);
	key.len = end;
	rv = ns_list_emit_prefix(l, key);
	return rv != 0 || l->done ? rv : ns_list_skip(l, key);
}

/* --- the walk with any delimiter --- */

/* Nothing below this directory can begin with the prefix, nor come later? */
static bool ns_list_beyond(const struct ns_lister *l)
{
	struct wire_bytes p = l->m->prefix;
	size_t n = l->path.len < p.len ? l->path.len : p.len;

	return n > 0 && memcmp(l->path.data, p.p, n) > 0;
}

/* A directory ends: without a row it is a key itself; then behind it. */
static int ns_list_pop(struct ns_lister *l)
{
	struct ns_frame *f = &l->frames[l->n - 1], *up = f - 1;
	struct ns_row_dent d = { .ino = f->dir, .mode = S_IFDIR };
	struct wire_bytes name;
	int rv = 0;

	if (!f->any) {
		unsigned placed = l->placed;

		rv = ns_list_key(l, ns_buf_bytes(&l->path), &d);
		if (rv != 0 || l->done || l->placed != placed)
			return rv;
	}
	if (l->n == 1 && l->up != 0)
		return ns_list_go_up(l);
	if (l->n == 1) {
		/* the root's own names may have been asked for by at */
		l->below = l->m->at != 0 && l->m->at != l->m->root;
		l->done = true;
		return 0;
	}
	name = wire_bytes(l->path.data + up->path_len,
			  f->path_len - up->path_len);
	rv = ns_list_seek_row(l, up->dir, name, true);
	l->path.len = up->path_len;
	l->n--;
	return rv;
}

static int ns_list_enter(struct ns_lister *l, struct wire_bytes name,
			 const struct ns_row_dent *d)
{
	size_t len = l->path.len;
	int rv;

	if (len + name.len > NS_LIST_KEY_MAX)
		return 0; /* only keys that no message can carry */
	buf_add(&l->path, name.p, name.len);
	if (l->path.err != 0)
		return l->path.err;
	if (ns_list_beyond(l)) {
		l->done = true;
		return 0;
	}
	if (ino_shard(d->ino) != l->shard && !ns_list_room(l))
		return 0;
	if (ns_list_leaves(l, d->ino))
		return 0;
	rv = ns_list_push(l, d->ino, false);
	return rv != 0 ? rv : ns_list_seek_row(l, d->ino, wire_bytes(NULL, 0),
					       false);
}

static int ns_list_step(struct ns_lister *l)
{
	struct ns_frame *f = &l->frames[l->n - 1];
	struct wire_bytes name;
	struct ns_row_dent d;
	int rv = ns_list_next_row(l, f->dir, &name, &d);

	if (rv == -ENOENT)
		return ns_list_pop(l);
	if (rv == -EXDEV)
		return ns_list_go_segment(l);
	if (rv != 0)
		return rv;
	f->any = true;
	if (ns_row_is_dir(name))
		return ns_list_enter(l, name, &d);
	buf_add(&l->path, name.p, name.len);
	if (l->path.err != 0)
		return l->path.err;
	rv = ns_list_key(l, ns_buf_bytes(&l->path), &d);
	if (l->n > 0)
		l->path.len = l->frames[l->n - 1].path_len;
	return rv;
}

static int ns_list_deep(struct ns_lister *l)
{
	struct wire_bytes from = l->m->prefix;
	int rv;

	if (wire_bytes_cmp(l->m->after, from) > 0)
		from = l->m->after;
	if (wire_bytes_cmp(l->m->from, from) > 0)
		from = l->m->from;
	rv = ns_list_seek(l, from);
	while (rv == 0 && !l->done)
		rv = ns_list_step(l);
	return rv;
}

/* --- one directory: delimiter "/" --- */

/* The component is not in dir, but it may be in a segment; -ENOENT. */
static int ns_list_base_segment(struct ns_lister *l, uint64_t dir,
				struct wire_bytes comp)
{
	int rv = ns_list_map(l, dir, comp);

	if (rv != 0)
		return rv;
	if (l->segment == 0 ||
	    !wire_bytes_eq(ns_buf_bytes(&l->limit), comp))
		return -ENOENT;
	return ns_list_go_segment(l);
}

/* Finds the directory that the prefix names; -ENOENT. */
static int ns_list_base(struct ns_lister *l, struct wire_bytes *ret_rest,
			uint64_t *ret_dir)
{
	struct wire_bytes rest = l->m->prefix, comp;
	uint64_t dir;
	int rv = ns_list_top(l, &rest, &dir);

	while (rv == 0 && !l->done) {
		comp = ns_list_component(rest);
		if (comp.len == 0)
			break;
		rv = ns_list_dent(l, dir, comp, &dir);
		if (rv == -ENOENT)
			return ns_list_base_segment(l, dir, comp);
		if (rv != 0)
			return rv;
		rest = wire_bytes(rest.p + comp.len, rest.len - comp.len);
		buf_add(&l->path, comp.p, comp.len);
		(void)ns_list_leaves(l, dir);
	}
	*ret_rest = rest;
	*ret_dir = dir;
	return rv != 0 ? rv : l->path.err;
}

static int ns_list_flat_rows(struct ns_lister *l, uint64_t dir,
			     struct wire_bytes rest, bool *ret_any)
{
	size_t base = l->path.len;

	while (!l->done) {
		struct wire_bytes name;
		struct ns_row_dent d;
		int rv = ns_list_next_row(l, dir, &name, &d);

		if (rv == -EXDEV)
			return ns_list_go_segment(l);
		if (rv != 0 && (rv != -ENOENT || l->up == 0))
			return rv == -ENOENT ? 0 : rv;
		if (rv != 0)
			return ns_list_go_up(l);
		*ret_any = true;
		if (!ns_has_prefix(name, rest)) {
			if (wire_bytes_cmp(name, rest) > 0)
				return 0;
			continue;
		}
		buf_add(&l->path, name.p, name.len);
		if (l->path.err != 0)
			return l->path.err;
		if (ns_row_is_dir(name))
			rv = ns_list_emit_prefix(l, ns_buf_bytes(&l->path));
		else
			rv = ns_list_emit_key(l, ns_buf_bytes(&l->path), &d);
		if (rv != 0)
			return rv;
		l->path.len = base;
	}
	return 0;
}

static int ns_list_flat(struct ns_lister *l)
{
	struct ns_row_dent d = { .mode = S_IFDIR };
	struct wire_bytes rest, from, after = l->m->after;
	uint64_t dir = 0;
	bool any;
	int rv = ns_list_base(l, &rest, &dir);

	if (rv != 0 || l->done)
		return rv == -ENOENT ? 0 : rv;
	if (dir != l->m->at)
		l->up = 0; /* below the segment is all of a directory */
	any = l->up != 0;
	if (wire_bytes_cmp(l->m->from, after) > 0)
		after = l->m->from;
	from = rest;
	if (ns_has_prefix(after, ns_buf_bytes(&l->path))) {
		after = wire_bytes(after.p + l->path.len,
				   after.len - l->path.len);
		if (wire_bytes_cmp(after, rest) > 0)
			from = after;
	} else if (wire_bytes_cmp(after, ns_buf_bytes(&l->path)) > 0) {
		return 0; /* behind everything in this directory */
	}
	rv = ns_list_seek_row(l, dir, from, false);
	if (rv == 0)
		rv = ns_list_flat_rows(l, dir, rest, &any);
	if (rv != 0 || l->done || any || from.len > 0 || dir == l->m->root)
		return rv;
	d.ino = dir;
	return ns_list_emit_key(l, ns_buf_bytes(&l->path), &d);
}

/* --- the message --- */

/* The walk begins in a segment, at a name that must be in it. */
static int ns_list_top_segment(struct ns_lister *l,
			       const struct ns_row_inode *r)
{
	struct wire_bytes from = l->m->from, path = l->m->path;

	if (!ns_has_prefix(from, path) ||
	    !ns_segment_has(r, wire_bytes(from.p + path.len,
					  from.len - path.len)))
		return -ENOENT;
	l->up = r->parent;
	buf_add(&l->end, r->target.p, r->target.len);
	return l->end.err;
}

/* Of a directory that went away meanwhile there is nothing to list. */
static int ns_list_root_check(struct ns_lister *l)
{
	uint64_t top = l->m->at != 0 ? l->m->at : l->m->root;
	struct wire_bytes value;
	struct ns_row_inode r;
	struct ns_key k;
	int rv;

	if (ino_shard(top) != l->shard)
		return RPC_STATUS_NOTSUP;
	ns_key_id(&k, l->shard, NS_T_INODE, top);
	rv = rows_iter_get(l->it, ns_key_get(&k), &value);
	if (rv == 0)
		rv = ns_row_inode_load(&r, value);
	if (rv == 0 && l->m->at != 0 && r.flags & NS_INODE_SEGMENT)
		rv = ns_list_top_segment(l, &r);
	if (l->m->at == 0)
		return rv == -ENOENT || (rv == 0 &&
					 !(r.flags & NS_INODE_ROOT))
			       ? RPC_STATUS_NO_BUCKET
			       : rv;
	if (rv == -ENOENT || (rv == 0 && (!S_ISDIR(r.mode) || r.nlink == 0))) {
		l->lost = l->m->part != 0;
		l->below = l->done = true;
		rv = 0;
	}
	return rv;
}

/*
 * Asked behind the view of entries: a segment that goes in between has lost
 * all its names.
 */
static int ns_list_probe(struct ns_lister *l)
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	ns_key_start(&from, l->shard, NS_T_SEGMENT);
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(l->back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	rv = rows_iter_next(it, &key, &value);
	l->split = rv == 0;
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

static int ns_list_run(struct ns_lister *l)
{
	struct wire_bytes delimiter = l->m->delimiter;
	struct ns_key from, to;
	int rv;

	ns_key_start(&from, l->shard, NS_T_DENT);
	ns_key_start(&to, l->shard, NS_T_TXN);
	ns_key_end(&to);
	rv = rows_iter_new(l->back, ns_key_get(&from), ns_key_get(&to),
			   &l->it);
	if (rv == 0)
		rv = ns_list_root_check(l);
	if (rv == 0 && l->max > 0 && !l->done)
		rv = ns_list_probe(l);
	if (rv != 0 || l->max == 0 || l->done)
		return rv;
	if (delimiter.len == 1 && delimiter.p[0] == '/')
		return ns_list_flat(l);
	return ns_list_deep(l);
}

int ns_scan_list(struct rows_back *back, uint16_t shard,
		 const struct rpc_list *m, struct ns_answer *a)
{
	struct ns_lister l = {
		.back = back, .shard = shard, .m = m,
		.max = m->max < NS_LIST_MAX ? m->max : NS_LIST_MAX,
	};
	struct rpc_list_rsp rsp = { 0 };
	int rv;

	buf_init(&l.path, 0);
	buf_init(&l.last, 0);
	buf_init(&l.skip, 0);
	buf_init(&l.limit, 0);
	buf_init(&l.end, 0);
	buf_init(&l.from, 0);
	wire_vec_init(&l.out);
	rv = ns_list_run(&l);
	if (rv == 0) {
		rsp.entries = wire_vec_bytes(&l.out);
		rsp.truncated = l.truncated || l.below;
		if (rsp.truncated)
			rsp.next = ns_buf_bytes(&l.last);
		rsp.below = (uint8_t)(l.below + l.lost);
		rsp.asks = l.asks;
		rsp.at = l.at;
		if (l.at != 0)
			rsp.path = ns_buf_bytes(&l.path);
		rsp.from = ns_buf_bytes(&l.from);
		rv = rpc_list_rsp_encode(&rsp, &a->payload);
	}
	a->holder = l.holder;
	rows_iter_free(l.it);
	mem_free(l.frames);
	wire_vec_fini(&l.out);
	buf_fini(&l.path);
	buf_fini(&l.last);
	buf_fini(&l.skip);
	buf_fini(&l.limit);
	buf_fini(&l.end);
	buf_fini(&l.from);
	return rv;
}
