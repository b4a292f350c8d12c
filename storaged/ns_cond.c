/*
 * Conditions of HTTP on what a key names (RFC 9110, 13.2.2): ETags first, the
 * times only where no ETag was given. Dates have whole seconds.
 */
#include "storaged/ns_impl.h"

static bool ns_cond_is_any(struct wire_bytes list)
{
	return list.len == 1 && list.p[0] == '*';
}

static struct wire_bytes ns_cond_trim(struct wire_bytes t)
{
	while (t.len > 0 && (*t.p == ' ' || *t.p == '\t' || *t.p == '"')) {
		t.p++;
		t.len--;
	}
	while (t.len > 0 && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t' ||
			     t.p[t.len - 1] == '"'))
		t.len--;
	return t;
}

/* Is etag one of the list? Weak ones match only where that is asked. */
static bool ns_cond_lists(struct wire_bytes list, struct wire_bytes etag,
			  bool weak)
{
	while (list.len > 0) {
		struct wire_bytes t = { list.p, 0 };

		while (t.len < list.len && t.p[t.len] != ',')
			t.len++;
		list.p += t.len;
		list.len -= t.len;
		if (list.len > 0) { /* the comma */
			list.p++;
			list.len--;
		}
		t = ns_cond_trim(t);
		if (t.len > 2 && t.p[0] == 'W' && t.p[1] == '/') {
			if (!weak)
				continue;
			t = ns_cond_trim(wire_bytes(t.p + 2, t.len - 2));
		}
		if (wire_bytes_eq(t, etag))
			return true;
	}
	return false;
}

static int64_t ns_cond_seconds(int64_t ns)
{
	int64_t s = ns / 1000000000;

	return ns % 1000000000 < 0 ? s - 1 : s;
}

static bool ns_cond_newer(const struct ns_inode *ip, int64_t than)
{
	return ns_cond_seconds(ip->r.mtime) > ns_cond_seconds(than);
}

/* If-Match and If-Unmodified-Since of something that is there. */
static int ns_cond_match(const struct ns_cond *c, const struct ns_inode *ip,
			 struct wire_bytes etag)
{
	if (c->if_match.len > 0)
		return ns_cond_is_any(c->if_match) ||
				       ns_cond_lists(c->if_match, etag, false)
			       ? 0
			       : RPC_STATUS_PRECONDITION;
	if (c->if_unmodified_since != 0 &&
	    ns_cond_newer(ip, c->if_unmodified_since))
		return RPC_STATUS_PRECONDITION;
	return 0;
}

static bool ns_cond_none(const struct ns_cond *c, struct wire_bytes etag)
{
	return ns_cond_is_any(c->if_none_match) ||
	       ns_cond_lists(c->if_none_match, etag, true);
}

int ns_cond_write(const struct ns_cond *c, const struct ns_inode *ip)
{
	char buf[NS_ETAG_MAX];
	struct wire_bytes etag;
	int rv;

	if (ip == NULL)
		return c->if_match.len > 0 ? RPC_STATUS_NOENT : 0;
	etag = ns_etag_of(ip->ino, &ip->r, buf);
	rv = ns_cond_match(c, ip, etag);
	if (rv == 0 && c->if_none_match.len > 0 && ns_cond_none(c, etag))
		rv = RPC_STATUS_PRECONDITION;
	return rv;
}

int ns_cond_read(const struct ns_cond *c, const struct ns_inode *ip)
{
	char buf[NS_ETAG_MAX];
	struct wire_bytes etag = ns_etag_of(ip->ino, &ip->r, buf);
	int rv = ns_cond_match(c, ip, etag);

	if (rv != 0)
		return rv;
	if (c->if_none_match.len > 0)
		return ns_cond_none(c, etag) ? RPC_STATUS_NOT_MODIFIED : 0;
	if (c->if_modified_since != 0 &&
	    !ns_cond_newer(ip, c->if_modified_since))
		return RPC_STATUS_NOT_MODIFIED;
	return 0;
}
