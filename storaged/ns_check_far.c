/*
 * The checker of names that span shards: what an entry says of an inode of
 * another shard, and what an inode says of its names there, must be true at
 * the other end. Needs the rows of all shards in one back. While a transaction
 * is under way, between its commit and its last step, the two ends differ.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/base/mem.h"

struct ns_far_check {
	struct rows_back *back;
	uint16_t shard;
	void (*report)(void *arg, const char *text);
	void *arg;
	uint64_t n;
	bool busy; /* there are rows of transactions */
	/* the directory whose entries are looked at; 0: none yet */
	uint64_t dir;
	struct ns_row_inode inode; /* of it; flags 0: there is none */
	struct ns_row_map map;     /* of it; without segments: none */
	uint8_t *inode_value, *map_value; /* what these borrow from */
};

static void __attribute__((format(printf, 2, 3)))
ns_far_say(struct ns_far_check *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->report(c->arg, text);
}

/* 0 with *ret_value (mem_free), -ENOENT, -EIO. */
static int ns_far_row(struct ns_far_check *c, const struct ns_key *k,
		      uint8_t **ret_value, struct wire_bytes *ret)
{
	size_t len = 0;
	int rv = rows_back_get(c->back, ns_key_get(k), ret_value, &len);

	if (rv == 0)
		*ret = wire_bytes(*ret_value, len);
	return rv;
}

/* Is (dir, name) a name of ino, as its shard says? */
static int ns_far_knows(struct ns_far_check *c, uint64_t ino, uint64_t dir,
			struct wire_bytes name, bool *ret)
{
	struct ns_row_inode r;
	struct wire_bytes b;
	struct ns_key k;
	uint8_t *value;
	int rv;

	ns_key_link(&k, ino_shard(ino), ino, dir, name);
	rv = ns_far_row(c, &k, &value, &b);
	*ret = rv == 0;
	if (rv == 0)
		mem_free(value);
	if (rv != -ENOENT)
		return rv;
	ns_key_id(&k, ino_shard(ino), NS_T_INODE, ino);
	rv = ns_far_row(c, &k, &value, &b);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_inode_load(&r, b);
	*ret = rv == 0 && r.nlink > 0 && r.parent == dir &&
	       wire_bytes_eq(r.name, name);
	mem_free(value);
	return rv;
}

/* --- segments: the ones of all shards are looked up --- */

/* The range that the map of dir says ino has; end empty: none. */
static int ns_far_range(struct ns_far_check *c, uint64_t dir, uint64_t ino,
			struct wire_bytes first, struct wire_bytes end,
			bool *ret_same)
{
	struct ns_row_map map;
	struct wire_reader r;
	struct wire_bytes b;
	struct ns_range g;
	struct ns_key k;
	uint8_t *value;
	uint32_t n;
	int rv;

	*ret_same = false;
	ns_key_id(&k, ino_shard(dir), NS_T_SEGMENT, dir);
	rv = ns_far_row(c, &k, &value, &b);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_map_load(&map, b);
	r = wire_vec_reader(map.segments, &n);
	while (rv == 0 && (rv = ns_map_next(&r, &n, &g)) == 0)
		*ret_same |= g.ino == ino && wire_bytes_eq(g.first, first) &&
			     wire_bytes_eq(g.end, end);
	mem_free(value);
	return rv == -ENOENT ? 0 : rv;
}

static void ns_far_leave(struct ns_far_check *c)
{
	mem_free(c->inode_value);
	mem_free(c->map_value);
	c->inode_value = c->map_value = NULL;
	c->inode.flags = 0;
	c->map.segments = wire_bytes(NULL, 0);
	c->dir = 0;
}

/* Entries of a directory come one after the other. */
static int ns_far_enter(struct ns_far_check *c, uint64_t dir)
{
	struct wire_bytes b;
	struct ns_key k;
	int rv;

	if (c->dir == dir)
		return 0;
	ns_far_leave(c);
	ns_key_id(&k, c->shard, NS_T_INODE, dir);
	rv = ns_far_row(c, &k, &c->inode_value, &b);
	if (rv == 0)
		rv = ns_row_inode_load(&c->inode, b);
	if (rv != 0 && rv != -ENOENT) /* none: ns_check() tells */
		return rv;
	if (c->inode.flags & NS_INODE_SPLIT) {
		ns_key_id(&k, c->shard, NS_T_SEGMENT, dir);
		rv = ns_far_row(c, &k, &c->map_value, &b);
		if (rv == 0)
			rv = ns_row_map_load(&c->map, b);
	}
	if (rv != 0 && rv != -ENOENT)
		return rv;
	c->dir = dir;
	return 0;
}

/* Is an entry of dir where everybody looks for it? */
static int ns_far_check_place(struct ns_far_check *c, uint64_t dir,
			      struct wire_bytes name)
{
	struct ns_range g;
	bool lost;
	int rv = ns_far_enter(c, dir);

	if (rv != 0)
		return rv;
	lost = c->inode.flags & NS_INODE_SEGMENT &&
	       !ns_segment_has(&c->inode, name);
	rv = ns_map_seek(c->map.segments, name, &g);
	lost |= rv == 0 && wire_bytes_cmp(g.first, name) <= 0;
	if (lost)
		ns_far_say(c, "entry %.*s of %lx: not in its segment",
			   (int)name.len, (const char *)name.p,
			   (unsigned long)dir);
	return rv == -ENOENT ? 0 : rv;
}

/* A row of an inode, without the parts that borrow; 0 with flags 0: none. */
static int ns_far_like(struct ns_far_check *c, uint64_t ino,
		       struct ns_row_inode *ret)
{
	struct ns_row_inode r;
	struct wire_bytes b;
	struct ns_key k;
	uint8_t *value;
	int rv;

	ns_key_id(&k, ino_shard(ino), NS_T_INODE, ino);
	rv = ns_far_row(c, &k, &value, &b);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = ns_row_inode_load(&r, b);
	if (rv == 0)
		*ret = (struct ns_row_inode){ .mode = r.mode, .gid = r.gid,
					      .project = r.project,
					      .flags = r.flags };
	mem_free(value);
	return rv;
}

/* Every segment of a map must be, and of that range; files get its group. */
static int ns_far_check_map(struct ns_far_check *c, uint64_t dir,
			    struct wire_bytes value)
{
	struct ns_row_inode like = { .flags = 0 };
	struct ns_row_map map;
	struct wire_reader r;
	struct ns_range g;
	uint32_t n;
	int rv = ns_row_map_load(&map, value);

	if (rv == 0)
		rv = ns_far_like(c, dir, &like);
	if (rv != 0)
		return rv;
	r = wire_vec_reader(map.segments, &n);
	while (rv == 0 && (rv = ns_map_next(&r, &n, &g)) == 0) {
		struct ns_row_inode ip = { .flags = 0 };
		struct wire_bytes b;
		struct ns_key k;
		uint8_t *p = NULL;
		bool same;

		c->n++;
		ns_key_id(&k, ino_shard(g.ino), NS_T_INODE, g.ino);
		rv = ns_far_row(c, &k, &p, &b);
		if (rv == 0)
			rv = ns_row_inode_load(&ip, b);
		if (rv != 0 && rv != -ENOENT)
			return rv;
		same = rv == 0 && ip.flags & NS_INODE_SEGMENT &&
		       ip.parent == dir && wire_bytes_eq(ip.name, g.first) &&
		       wire_bytes_eq(ip.target, g.end) &&
		       ip.mode == like.mode && ip.gid == like.gid &&
		       ip.project == like.project;
		mem_free(p);
		rv = 0;
		if (!same)
			ns_far_say(c, "segment %lx of %lx is not what it says",
				   (unsigned long)g.ino, (unsigned long)dir);
	}
	return rv == -ENOENT ? 0 : rv;
}

static int ns_far_check_segment(struct ns_far_check *c, uint64_t ino,
				const struct ns_row_inode *r)
{
	bool same;
	int rv = ns_far_range(c, r->parent, ino, r->name, r->target, &same);

	if (rv == 0 && !same)
		ns_far_say(c, "segment %lx: %lx does not know",
			   (unsigned long)ino, (unsigned long)r->parent);
	return rv;
}

static int ns_far_check_dent(struct ns_far_check *c, uint64_t dir,
			     struct wire_bytes name, struct wire_bytes value)
{
	struct ns_row_dent d;
	bool known;
	int rv = ns_row_dent_load(&d, value);

	if (rv == 0)
		rv = ns_far_check_place(c, dir, name);
	if (rv != 0 || ino_shard(d.ino) == c->shard)
		return rv;
	c->n++;
	rv = ns_far_knows(c, d.ino, dir, name, &known);
	if (rv == 0 && !known)
		ns_far_say(c, "entry %.*s of %lx: inode %lx does not know",
			   (int)name.len, (const char *)name.p,
			   (unsigned long)dir, (unsigned long)d.ino);
	return rv;
}

/* The name that an inode says it has. */
static int ns_far_check_name(struct ns_far_check *c, uint64_t ino,
			     uint64_t dir, struct wire_bytes name)
{
	struct ns_row_dent d = { .ino = 0 };
	struct wire_bytes b;
	struct ns_key k;
	uint8_t *value;
	int rv;

	if (ino_shard(dir) == c->shard)
		return 0;
	c->n++;
	ns_key_dent(&k, ino_shard(dir), dir, name);
	rv = ns_far_row(c, &k, &value, &b);
	if (rv == 0) {
		rv = ns_row_dent_load(&d, b);
		mem_free(value);
	}
	if (rv != 0 && rv != -ENOENT)
		return rv;
	if (d.ino != ino)
		ns_far_say(c, "inode %lx: %.*s of %lx leads to %lx",
			   (unsigned long)ino, (int)name.len,
			   (const char *)name.p, (unsigned long)dir,
			   (unsigned long)d.ino);
	return 0;
}

static int ns_far_check_inode(struct ns_far_check *c, uint64_t ino,
			      struct wire_bytes value)
{
	struct ns_row_inode r;
	int rv = ns_row_inode_load(&r, value);

	if (rv != 0 || r.nlink == 0 || r.flags & NS_INODE_ROOT)
		return rv;
	if (r.flags & NS_INODE_SEGMENT)
		return ns_far_check_segment(c, ino, &r);
	return ns_far_check_name(c, ino, r.parent, r.name);
}

static int ns_far_check_row(struct ns_far_check *c, uint8_t type,
			    struct wire_bytes rest, struct wire_bytes value)
{
	switch (type) {
	case NS_T_DENT:
		return rest.len < 8 ? 0
				    : ns_far_check_dent(c, ns_be64(rest.p),
							wire_bytes(rest.p + 8,
								   rest.len -
									   8),
							value);
	case NS_T_INODE:
		return rest.len < 8 ? 0
				    : ns_far_check_inode(c, ns_be64(rest.p),
							 value);
	case NS_T_LINK:
		return rest.len < 16 ? 0
				     : ns_far_check_name(
					       c, ns_be64(rest.p),
					       ns_be64(rest.p + 8),
					       wire_bytes(rest.p + 16,
							  rest.len - 16));
	case NS_T_SEGMENT:
		return rest.len < 8 ? 0
				    : ns_far_check_map(c, ns_be64(rest.p),
						       value);
	case NS_T_TXN:
		c->busy = true;
		return 0;
	default:
		return 0;
	}
}

int ns_check_far(struct rows_back *back, uint16_t shard,
		 void (*report)(void *arg, const char *text), void *arg,
		 uint64_t *ret_n)
{
	struct ns_far_check c = { .back = back, .shard = shard,
				  .report = report, .arg = arg };
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	ns_key_start(&from, shard, 0);
	from.len = 2;
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		if (key.len < NS_KEY_REST)
			continue;
		rv = ns_far_check_row(&c, key.p[2],
				      wire_bytes(key.p + NS_KEY_REST,
						 key.len - NS_KEY_REST),
				      value);
		if (rv == -EIO) /* ns_check() tells */
			rv = 0;
		if (rv != 0)
			break;
	}
	ns_far_leave(&c);
	rows_iter_free(it);
	*ret_n = c.n;
	if (rv != -ENOENT)
		return rv;
	return c.busy ? -EBUSY : 0;
}
