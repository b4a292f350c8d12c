/*
 * The checker: one pass over all rows of a shard. What a row claims (links,
 * entries, regions, references, usage) is booked against the rows that make
 * it true; every entry is compared with its inode. See ns_ledger.h.
 */
#include "storaged/ns_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "storaged/ns_ledger.h"

#define NS_BOOKS(B) \
	B(LINKS, "entries that name the inode") \
	B(FURTHER, "link rows of the inode") \
	B(ENTRIES, "entries in the directory") \
	B(SUBDIRS, "directories in the directory") \
	B(MARKER, "marker of the directory") \
	B(SPLIT, "map of the directory") \
	B(XATTRS, "attribute rows of the inode") \
	B(XBYTES, "bytes of attributes of the inode") \
	B(REGIONS, "region rows of the body") \
	B(PIECES, "extents of the body") \
	B(PAGES, "page rows of the body") \
	B(OPEN, "open row of the inode") \
	B(QUEUED, "queue row of the inode") \
	B(PARTS, "rows that name the part") \
	B(NUMBERS, "part rows of the upload") \
	B(REFS, "lists that name the slice") \
	B(DEAD, "queue row of the dead slice") \
	B(BYTES, "usage: bytes of the project") \
	B(FILES, "usage: files of the project") \
	B(DIRS, "usage: directories of the project")
#define NS_BOOK_ENUM(name, text) NS_BOOK_##name,
#define NS_BOOK_TEXT(name, text) [NS_BOOK_##name] = text,
enum ns_book { NS_BOOK_NONE, NS_BOOKS(NS_BOOK_ENUM) };
static const char *const ns_book_text[] = { NS_BOOKS(NS_BOOK_TEXT) };

struct ns_checker {
	struct rows_iter *it;  /* one view of all rows */
	uint16_t shard;
	void (*report)(void *arg, const char *text);
	void *arg;
	struct ns_ctx x;       /* memory while one row is looked at */
	struct ns_ledger books;
	struct wire_bytes rest; /* of the row's key, behind the type */
	uint64_t highest, next; /* inode counters */
	bool has_next;
	struct ns_counts counts;
};

static void __attribute__((format(printf, 2, 3)))
ns_check_say(struct ns_checker *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->report(c->arg, text);
}

/* Names in other shards are for ns_check_far(). */
static bool ns_check_is_far(const struct ns_checker *c, uint64_t ino)
{
	return ino_shard(ino) != c->shard;
}

static int ns_book(struct ns_checker *c, enum ns_book book, uint64_t id,
		   int64_t delta)
{
	return ns_ledger_add(&c->books, (uint8_t)book,
			     (struct wire_u128){ 0, id }, delta);
}

/* Integers of the key behind the type; missing ones were checked for. */
static uint64_t ns_rest64(const struct ns_checker *c, size_t at)
{
	return ns_be64(c->rest.p + at);
}

static bool ns_rest_at_least(struct ns_checker *c, size_t len, char type)
{
	if (c->rest.len >= len)
		return true;
	ns_check_say(c, "%c row with a short key", type);
	return false;
}

/* The row of an inode, borrowed until the next one; false: none. */
static int ns_check_inode_of(struct ns_checker *c, uint64_t ino,
			     struct ns_row_inode *ret, bool *ret_found)
{
	struct wire_bytes value;
	struct ns_key k;
	int rv;

	rv = rows_iter_get(c->it, ns_key_id(&k, c->shard, NS_T_INODE, ino),
			   &value);
	*ret_found = rv == 0;
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	value = ns_copy(&c->x, value);
	return value.p == NULL ? -ENOMEM : ns_row_inode_load(ret, value);
}

static bool ns_check_exists(struct ns_checker *c, const struct ns_key *k)
{
	struct wire_bytes value;

	return rows_iter_get(c->it, ns_key_get(k), &value) == 0;
}

/* --- extents --- */

static int ns_check_list(struct ns_checker *c, struct wire_bytes blob,
			 uint64_t body)
{
	struct ns_extents *list;
	struct wire_u128 *ids;
	unsigned n;
	int rv;

	if (blob.len == 0)
		return 0;
	rv = ns_extents_load(&c->x, blob, &list);
	if (rv == 0)
		rv = ns_slices_of(&c->x, list->v, list->n, &ids, &n);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_PIECES, body, -(int64_t)list->n);
	for (unsigned i = 0; rv == 0 && i < n; i++)
		rv = ns_ledger_add(&c->books, NS_BOOK_REFS, ids[i], 1);
	return rv;
}

static int ns_check_region(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_region row;
	int rv = ns_row_region_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 16, 'X'))
		return rv;
	rv = ns_book(c, NS_BOOK_REGIONS, ns_rest64(c, 0), -1);
	return rv != 0 ? rv : ns_check_list(c, row.extents, ns_rest64(c, 0));
}

static int ns_check_page(struct ns_checker *c, struct wire_bytes value)
{
	struct wire_bytes etag, sums;
	struct ns_row_page row;
	struct wire_reader r;
	uint32_t n, number;
	uint64_t ino, len;
	int rv = ns_row_page_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 12, 'C'))
		return rv;
	rv = ns_book(c, NS_BOOK_PAGES, ns_rest64(c, 0), -1);
	for (r = wire_vec_reader(row.parts, &n); rv == 0 && n > 0; n--) {
		wire_get_u64(&r, &ino);
		wire_get_u64(&r, &len);
		wire_get_u32(&r, &number);
		wire_get_str(&r, &etag);
		wire_get_kvs(&r, &sums);
		rv = r.err != 0 ? -EIO : ns_book(c, NS_BOOK_PARTS, ino, -1);
	}
	return rv;
}

static int ns_check_slice(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_slice row;
	struct wire_u128 id;
	struct ns_key k;
	int rv = ns_row_slice_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 16, 'K'))
		return rv;
	id = ns_be128(c->rest.p);
	if (row.dead != 0) {
		rv = ns_ledger_add(&c->books, NS_BOOK_DEAD, id, 1);
		if (rv != 0)
			return rv;
	}
	if ((row.refs == 0) != (row.dead != 0))
		ns_check_say(c, "slice %016lx%016lx has %lu references and "
			     "is %s", (unsigned long)id.hi,
			     (unsigned long)id.lo, (unsigned long)row.refs,
			     row.dead != 0 ? "dead" : "alive");
	ns_key_queue128(&k, c->shard, NS_Q_SLICE, id);
	if (row.refs > 0 && ns_check_exists(c, &k))
		ns_check_say(c, "slice %016lx%016lx is referenced and queued",
			     (unsigned long)id.hi, (unsigned long)id.lo);
	return ns_ledger_add(&c->books, NS_BOOK_REFS, id, -(int64_t)row.refs);
}

/* --- inodes --- */

/* What its directory says of it is for ns_check_far(). */
static void ns_check_segment(struct ns_checker *c, uint64_t ino,
			     const struct ns_row_inode *r)
{
	if (r->entries == 0 || r->flags & (NS_INODE_MARKER | NS_INODE_ROOT |
					   NS_INODE_SPLIT))
		ns_check_say(c, "segment %lx is empty, or more than that",
			     (unsigned long)ino);
	if (!ns_range_closed(r->name, r->target))
		ns_check_say(c, "segment %lx parts names", (unsigned long)ino);
}

static int ns_check_inode_dir(struct ns_checker *c, uint64_t ino,
			      const struct ns_row_inode *r)
{
	int rv = 0;

	if (r->nlink == 0)
		return r->entries == 0 ? 0
				       : ns_book(c, NS_BOOK_ENTRIES, ino,
						 (int64_t)r->entries);
	if (r->nlink < 2)
		ns_check_say(c, "directory %lx has nlink %u",
			     (unsigned long)ino, r->nlink);
	if (r->flags & NS_INODE_IMPLICIT && r->entries == 0)
		ns_check_say(c, "implicit directory %lx is empty",
			     (unsigned long)ino);
	if (r->flags & NS_INODE_SEGMENT)
		ns_check_segment(c, ino, r);
	else if (!(r->flags & NS_INODE_ROOT)) {
		rv = ns_book(c, NS_BOOK_LINKS, ino,
			     ns_check_is_far(c, r->parent) ? 0 : 1);
		if (rv == 0)
			rv = ns_book(c, NS_BOOK_DIRS, r->project, 1);
	}
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_ENTRIES, ino, (int64_t)r->entries);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_SUBDIRS, ino, (int64_t)r->nlink - 2);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_MARKER, ino,
			     !!(r->flags & NS_INODE_MARKER));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_SPLIT, ino,
			     !!(r->flags & NS_INODE_SPLIT));
	return rv;
}

static int ns_check_inode_file(struct ns_checker *c, uint64_t ino,
			       const struct ns_row_inode *r)
{
	int rv;

	if (r->nlink == 0) {
		const uint32_t kept = NS_INODE_OPEN | NS_INODE_QUEUED |
				      NS_INODE_PART;

		if (!(r->flags & kept))
			ns_check_say(c, "inode %lx has no name and no reason",
				     (unsigned long)ino);
		return 0;
	}
	rv = ns_book(c, NS_BOOK_LINKS, ino,
		     (int64_t)r->nlink - ns_check_is_far(c, r->parent));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_FURTHER, ino, (int64_t)r->nlink - 1);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_FILES, r->project, 1);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_BYTES, r->project, (int64_t)r->size);
	return rv;
}

static int ns_check_inode(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_inode r;
	uint64_t ino;
	int rv = ns_row_inode_load(&r, value);

	if (rv != 0 || !ns_rest_at_least(c, 8, 'I'))
		return rv;
	ino = ns_rest64(c, 0);
	if ((ino & ((UINT64_C(1) << INO_COUNTER_BITS) - 1)) > c->highest)
		c->highest = ino & ((UINT64_C(1) << INO_COUNTER_BITS) - 1);
	if (ino_shard(ino) != c->shard)
		ns_check_say(c, "inode %lx of another shard",
			     (unsigned long)ino);
	rv = S_ISDIR(r.mode) ? ns_check_inode_dir(c, ino, &r)
			     : ns_check_inode_file(c, ino, &r);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_XATTRS, ino,
			     r.xattrs + !!(r.flags & NS_INODE_USER));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_XBYTES, ino, r.xattr_bytes);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_OPEN, ino,
			     !!(r.flags & NS_INODE_OPEN));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_QUEUED, ino,
			     !!(r.flags & NS_INODE_QUEUED));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_PARTS, ino,
			     !!(r.flags & NS_INODE_PART));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_REGIONS, r.body, r.regions);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_PIECES, r.body, (int64_t)r.pieces);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_PAGES, r.body,
			     (int64_t)(r.pages.len / 8));
	return rv != 0 ? rv : ns_check_list(c, r.extents, r.body);
}

/* --- names --- */

static bool ns_check_first(const struct ns_row_inode *r, uint64_t dir,
			   struct wire_bytes name)
{
	return r->parent == dir && wire_bytes_eq(r->name, name);
}

/* The entry of an inode of another shard says nothing that may change. */
static int ns_check_dent_far(struct ns_checker *c, uint64_t dir,
			     struct wire_bytes name,
			     const struct ns_row_dent *d,
			     struct wire_bytes value)
{
	struct ns_row_dent want;
	int rv;

	ns_dent_far(d->ino, d->generation, d->mode, &want);
	buf_reset(&c->x.scratch);
	rv = ns_row_dent_encode(&want, &c->x.scratch);
	if (rv == 0 &&
	    (!wire_bytes_eq(wire_bytes(c->x.scratch.data, c->x.scratch.len),
			    value) ||
	     S_ISDIR(d->mode) != ns_row_is_dir(name)))
		ns_check_say(c, "entry %.*s of %lx: more than is known of %lx",
			     (int)name.len, (const char *)name.p,
			     (unsigned long)dir, (unsigned long)d->ino);
	return rv;
}

/* What the entry says must be what the inode would write there. */
static int ns_check_dent_inode(struct ns_checker *c, uint64_t dir,
			       struct wire_bytes name, uint64_t ino,
			       struct wire_bytes value)
{
	struct ns_row_inode r;
	char etag[NS_ETAG_MAX];
	struct ns_row_dent d;
	struct ns_key k;
	bool found;
	int rv = ns_check_inode_of(c, ino, &r, &found);

	if (rv != 0)
		return rv;
	if (!found) {
		ns_check_say(c, "entry %.*s of %lx: no inode %lx",
			     (int)name.len, (const char *)name.p,
			     (unsigned long)dir, (unsigned long)ino);
		return 0;
	}
	ns_key_link(&k, c->shard, ino, dir, name);
	if (!ns_check_first(&r, dir, name) && !ns_check_exists(c, &k))
		ns_check_say(c, "entry %.*s of %lx: inode %lx does not know",
			     (int)name.len, (const char *)name.p,
			     (unsigned long)dir, (unsigned long)ino);
	if (S_ISDIR(r.mode) != ns_row_is_dir(name))
		ns_check_say(c, "entry %.*s of %lx: wrong kind", (int)name.len,
			     (const char *)name.p, (unsigned long)dir);
	ns_dent_of(ino, &r, &d, etag);
	buf_reset(&c->x.scratch);
	rv = ns_row_dent_encode(&d, &c->x.scratch);
	if (rv == 0 &&
	    !wire_bytes_eq(wire_bytes(c->x.scratch.data, c->x.scratch.len),
			   value))
		ns_check_say(c, "entry %.*s of %lx: not as inode %lx is",
			     (int)name.len, (const char *)name.p,
			     (unsigned long)dir, (unsigned long)ino);
	return rv;
}

static int ns_check_dent(struct ns_checker *c, struct wire_bytes value)
{
	struct wire_bytes name;
	struct ns_row_dent d;
	uint64_t dir;
	int rv = ns_row_dent_load(&d, value);

	if (rv != 0 || !ns_rest_at_least(c, 8, 'D'))
		return rv;
	dir = ns_rest64(c, 0);
	name = wire_bytes(c->rest.p + 8, c->rest.len - 8);
	if (name.len > 0 && (memchr(name.p, 0, name.len) != NULL ||
			     memchr(name.p, '/', name.len - 1) != NULL))
		ns_check_say(c, "entry of %lx with a bad name",
			     (unsigned long)dir);
	rv = ns_book(c, NS_BOOK_ENTRIES, dir, -1);
	if (rv == 0 && ns_row_is_dir(name))
		rv = ns_book(c, NS_BOOK_SUBDIRS, dir, -1);
	if (rv == 0 && name.len == 0)
		rv = ns_book(c, NS_BOOK_MARKER, dir, -1);
	if (rv == 0 && ns_check_is_far(c, d.ino))
		return ns_check_dent_far(c, dir, name, &d, value);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_LINKS, d.ino, -1);
	return rv != 0 ? rv : ns_check_dent_inode(c, dir, name, d.ino, value);
}

static int ns_check_xattr(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_xattr row;
	int64_t bytes;
	int rv = ns_row_xattr_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 9, 'A'))
		return rv;
	bytes = (int64_t)(c->rest.len - 8 + row.value.len);
	if (c->rest.p[8] == 0)
		bytes = 0; /* our own */
	rv = ns_book(c, NS_BOOK_XATTRS, ns_rest64(c, 0), -1);
	return rv != 0 ? rv
		       : ns_book(c, NS_BOOK_XBYTES, ns_rest64(c, 0), -bytes);
}

static int ns_check_map(struct ns_checker *c, struct wire_bytes value)
{
	struct wire_bytes last = { NULL, 0 };
	struct ns_row_map row;
	struct wire_reader r;
	struct ns_range g;
	uint64_t dir;
	uint32_t n;
	int rv = ns_row_map_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 8, 'G'))
		return rv;
	dir = ns_rest64(c, 0);
	rv = ns_book(c, NS_BOOK_SPLIT, dir, -1);
	r = wire_vec_reader(row.segments, &n);
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_ENTRIES, dir, -(int64_t)n);
	while (rv == 0 && (rv = ns_map_next(&r, &n, &g)) == 0) {
		if (wire_bytes_cmp(g.first, last) < 0 ||
		    wire_bytes_cmp(g.first, g.end) >= 0)
			ns_check_say(c, "segments of %lx out of order",
				     (unsigned long)dir);
		last = g.end;
	}
	return rv == -ENOENT ? 0 : rv;
}

/* --- uploads, usage, the rest --- */

static int ns_check_numbers(struct ns_checker *c, struct wire_bytes numbers,
			    struct wire_u128 upload)
{
	int64_t n = 0;

	for (size_t i = 0; i < numbers.len; i++)
		n += __builtin_popcount(numbers.p[i]);
	return ns_ledger_add(&c->books, NS_BOOK_NUMBERS, upload, n);
}

static int ns_check_upload(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_upload row;
	struct ns_row_inode r;
	struct ns_key k;
	bool found;
	int rv = ns_row_upload_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 8 + 1 + 16, 'M'))
		return rv;
	rv = ns_check_inode_of(c, ns_rest64(c, 0), &r, &found);
	if (rv != 0)
		return rv;
	ns_key_queue(&k, c->shard, NS_Q_ROOT, ns_rest64(c, 0));
	if (!found && !ns_check_exists(c, &k))
		ns_check_say(c, "upload in a bucket %lx that is gone",
			     (unsigned long)ns_rest64(c, 0));
	return ns_check_numbers(c, row.numbers,
				ns_be128(c->rest.p + c->rest.len - 16));
}

static int ns_check_part(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_part row;
	int rv = ns_row_part_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 20, 'P'))
		return rv;
	rv = ns_ledger_add(&c->books, NS_BOOK_NUMBERS, ns_be128(c->rest.p),
			   -1);
	return rv != 0 ? rv : ns_book(c, NS_BOOK_PARTS, row.ino, -1);
}

static int ns_check_queue(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_queue row;
	int rv = ns_row_queue_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 9, 'Q'))
		return rv;
	if (c->rest.p[0] == NS_Q_INODE)
		return ns_book(c, NS_BOOK_QUEUED, ns_rest64(c, 1), -1);
	if (c->rest.p[0] == NS_Q_DEAD && ns_rest_at_least(c, 17, 'Q'))
		return ns_ledger_add(&c->books, NS_BOOK_DEAD,
				     ns_be128(c->rest.p + 1), -1);
	if (c->rest.p[0] == NS_Q_UPLOAD && ns_rest_at_least(c, 17, 'Q'))
		return ns_check_numbers(c, row.what, ns_be128(c->rest.p + 1));
	return 0;
}

static int ns_check_link(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_link row;
	int rv = ns_row_link_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 16, 'B'))
		return rv;
	rv = ns_book(c, NS_BOOK_FURTHER, ns_rest64(c, 0), -1);
	if (rv == 0 && ns_check_is_far(c, ns_rest64(c, 8)))
		rv = ns_book(c, NS_BOOK_LINKS, ns_rest64(c, 0), -1);
	return rv;
}

static int ns_check_open(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_open row;
	int rv = ns_row_open_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 8, 'S'))
		return rv;
	return ns_book(c, NS_BOOK_OPEN, ns_rest64(c, 0), -1);
}

static int ns_check_usage(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_usage row;
	uint64_t id;
	int rv = ns_row_usage_load(&row, value);

	if (rv != 0 || !ns_rest_at_least(c, 8, 'U'))
		return rv;
	id = ns_rest64(c, 0);
	rv = ns_book(c, NS_BOOK_BYTES, id, (int64_t)(0 - row.bytes));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_FILES, id, (int64_t)(0 - row.files));
	if (rv == 0)
		rv = ns_book(c, NS_BOOK_DIRS, id, (int64_t)(0 - row.dirs));
	return rv;
}

static int ns_check_txn(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_partner partner;
	struct ns_row_own own;

	if (!ns_rest_at_least(c, 17, 'T'))
		return 0;
	return c->rest.p[0] == NS_TXN_OWN
		       ? ns_row_own_load(&own, value)
		       : ns_row_partner_load(&partner, value);
}

static int ns_check_next(struct ns_checker *c, struct wire_bytes value)
{
	struct ns_row_next row;
	int rv = ns_row_next_load(&row, value);

	c->has_next = rv == 0;
	c->next = row.next;
	return rv;
}

static int ns_check_row(struct ns_checker *c, uint8_t type,
			struct wire_bytes value)
{
	switch (type) {
	case NS_T_XATTR:
		return ns_check_xattr(c, value);
	case NS_T_LINK:
		return ns_check_link(c, value);
	case NS_T_PAGE:
		return ns_check_page(c, value);
	case NS_T_DENT:
		return ns_check_dent(c, value);
	case NS_T_SEGMENT:
		return ns_check_map(c, value);
	case NS_T_INODE:
		return ns_check_inode(c, value);
	case NS_T_SLICE:
		return ns_check_slice(c, value);
	case NS_T_UPLOAD:
		return ns_check_upload(c, value);
	case NS_T_TXN:
		return ns_check_txn(c, value);
	case NS_T_NEXT:
		return ns_check_next(c, value);
	case NS_T_PART:
		return ns_check_part(c, value);
	case NS_T_QUEUE:
		return ns_check_queue(c, value);
	case NS_T_OPEN:
		return ns_check_open(c, value);
	case NS_T_USAGE:
		return ns_check_usage(c, value);
	case NS_T_REGION:
		return ns_check_region(c, value);
	case NS_T_SLOT:
	case 0:
		return 0;
	default:
		ns_check_say(c, "row of unknown type %u", type);
		return 0;
	}
}

static void ns_check_close_books(struct ns_checker *c)
{
	for (uint64_t i = 0; i < c->books.cap; i++) {
		const struct ns_account *a = &c->books.v[i];

		if (a->kind != 0 && a->balance != 0)
			ns_check_say(c, "%s %016lx%016lx: off by %ld",
				     ns_book_text[a->kind],
				     (unsigned long)a->id.hi,
				     (unsigned long)a->id.lo,
				     (long)a->balance);
	}
	if (c->highest > 0 && (!c->has_next || c->next <= c->highest))
		ns_check_say(c, "inode counter %lu, but %lu is in use",
			     (unsigned long)c->next,
			     (unsigned long)c->highest);
}

static void ns_check_count(struct ns_checker *c, uint8_t type)
{
	struct ns_counts *n = &c->counts;

	n->rows++;
	n->inodes += type == NS_T_INODE;
	n->names += type == NS_T_DENT;
	n->slices += type == NS_T_SLICE;
	n->queued += type == NS_T_QUEUE;
	n->open += type == NS_T_OPEN;
}

static int ns_check_one(struct ns_checker *c, struct wire_bytes key,
			struct wire_bytes value)
{
	uint8_t type = key.p[NS_KEY_REST - 1];
	int rv;

	c->rest = wire_bytes(key.p + NS_KEY_REST, key.len - NS_KEY_REST);
	ns_check_count(c, type);
	rv = ns_check_row(c, type, value);
	if (rv == -EIO) {
		ns_check_say(c, "%c row cannot be read", type);
		rv = 0;
	}
	return rv;
}

static int ns_check_rows(struct ns_checker *c)
{
	struct wire_bytes key, value;
	int rv;

	while ((rv = rows_iter_next(c->it, &key, &value)) == 0) {
		if (key.len < NS_KEY_REST)
			return -EIO;
		ns_ctx_init(&c->x, NULL, c->shard, NULL, NULL);
		rv = ns_check_one(c, key, value);
		ns_ctx_fini(&c->x);
		if (rv != 0)
			return rv;
	}
	return rv == -ENOENT ? 0 : rv;
}

int ns_count(struct rows_back *back, uint16_t shard,
	     void (*report)(void *arg, const char *text), void *arg,
	     struct ns_counts *ret)
{
	struct ns_checker c = {
		.shard = shard, .report = report, .arg = arg,
	};
	struct ns_key from, to;
	int rv;

	ns_key_start(&from, shard, 0);
	from.len = 2;
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &c.it);
	if (rv != 0)
		return rv;
	rv = ns_check_rows(&c);
	rows_iter_free(c.it);
	if (rv == 0)
		ns_check_close_books(&c);
	ns_ledger_fini(&c.books);
	*ret = c.counts;
	return rv;
}

int ns_check(struct rows_back *back, uint16_t shard,
	     void (*report)(void *arg, const char *text), void *arg)
{
	struct ns_counts counts;

	return ns_count(back, shard, report, arg, &counts);
}
