#include "storaged/ns_locks.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/xxh.h"
#include "storaged/ns_rows.h"

struct ns_locks *ns_locks_new(void)
{
	return mem_zalloc(sizeof(struct ns_locks));
}

static void ns_locks_clear(struct ns_locks *l)
{
	for (unsigned i = 0; i < NS_LOCKS_HASH; i++)
		while (l->by_key[i] != NULL) {
			struct ns_lock *k = l->by_key[i];

			l->by_key[i] = k->next;
			mem_free(k);
		}
	while (l->parties != NULL) {
		struct ns_party *p = l->parties;

		l->parties = p->next;
		mem_free(p);
	}
	for (unsigned i = 0; i < NS_LOCKS_HASH; i++)
		while (l->by_dir[i] != NULL) {
			struct ns_split_dir *d = l->by_dir[i];

			l->by_dir[i] = d->next;
			mem_free(d);
		}
	l->n = l->n_split = 0;
	l->any_split = false;
}

void ns_locks_free(struct ns_locks *l)
{
	if (l == NULL)
		return;
	ns_locks_clear(l);
	mem_free(l);
}

/* --- locks --- */

static unsigned ns_locks_hash(struct wire_bytes key)
{
	return (unsigned)(XXH3_64bits(key.p, key.len) % NS_LOCKS_HASH);
}

static bool ns_lock_is(const struct ns_lock *k, struct wire_bytes key)
{
	return k->len == key.len && memcmp(k->key, key.p, key.len) == 0;
}

const struct ns_lock *ns_locks_find(const struct ns_locks *l,
				    struct wire_bytes key, uint8_t mode,
				    struct wire_u128 txn)
{
	const struct ns_lock *k;

	if (l->n == 0)
		return NULL;
	key = ns_key_both(key);
	for (k = l->by_key[ns_locks_hash(key)]; k != NULL; k = k->next)
		if (ns_lock_is(k, key) && !wire_u128_eq(k->txn, txn) &&
		    (k->mode == RPC_LOCK_ALL || mode == RPC_LOCK_ALL))
			return k;
	return NULL;
}

static int ns_locks_add(struct ns_locks *l, struct wire_u128 txn,
			uint8_t mode, struct wire_bytes key)
{
	struct ns_lock *k, **chain;

	key = ns_key_both(key);
	chain = &l->by_key[ns_locks_hash(key)];
	for (k = *chain; k != NULL; k = k->next)
		if (ns_lock_is(k, key) && wire_u128_eq(k->txn, txn)) {
			if (mode > k->mode)
				k->mode = mode;
			return 0;
		}
	k = mem_zalloc(sizeof(*k) + key.len);
	if (k == NULL)
		return -ENOMEM;
	k->txn = txn;
	k->mode = mode;
	k->len = (uint16_t)key.len;
	memcpy(k->key, key.p, key.len);
	k->next = *chain;
	*chain = k;
	l->n++;
	return 0;
}

static void ns_locks_drop(struct ns_locks *l, struct wire_u128 txn)
{
	for (unsigned i = 0; i < NS_LOCKS_HASH; i++) {
		struct ns_lock **at = &l->by_key[i], *k;

		while ((k = *at) != NULL) {
			if (!wire_u128_eq(k->txn, txn)) {
				at = &k->next;
				continue;
			}
			*at = k->next;
			mem_free(k);
			l->n--;
		}
	}
}

/* --- split directories --- */

static struct ns_split_dir **ns_split_find(struct ns_locks *l, uint64_t dir)
{
	struct ns_split_dir **at = &l->by_dir[dir % NS_LOCKS_HASH];

	while (*at != NULL && (*at)->ino != dir)
		at = &(*at)->next;
	return at;
}

bool ns_locks_is_split(const struct ns_locks *l, uint64_t dir)
{
	const struct ns_split_dir *d = l->by_dir[dir % NS_LOCKS_HASH];

	while (d != NULL && d->ino != dir)
		d = d->next;
	return d != NULL || l->any_split;
}

static void ns_split_set(struct ns_locks *l, uint64_t dir, bool split)
{
	struct ns_split_dir **at = ns_split_find(l, dir), *d = *at;

	if (split == (d != NULL))
		return;
	if (!split) {
		*at = d->next;
		mem_free(d);
		l->n_split--;
		return;
	}
	d = mem_zalloc(sizeof(*d));
	if (d == NULL) {
		l->any_split = true; /* they are looked at, as before */
		return;
	}
	d->ino = dir;
	*at = d;
	l->n_split++;
}

/* --- parties --- */

struct ns_party *ns_locks_party(struct ns_locks *l, struct wire_u128 txn,
				bool own)
{
	struct ns_party *p = l->parties;

	while (p != NULL && (p->own != own || !wire_u128_eq(p->txn, txn)))
		p = p->next;
	return p;
}

bool ns_locks_since(const struct ns_locks *l, uint64_t number)
{
	const struct ns_party *p = l->parties;

	while (p != NULL && (p->own || p->number > number))
		p = p->next;
	return p != NULL;
}

static int ns_party_add(struct ns_locks *l, struct wire_u128 txn, bool own)
{
	struct ns_party *p = ns_locks_party(l, txn, own);

	if (p != NULL)
		return 0;
	p = mem_zalloc(sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->txn = txn;
	p->own = own;
	p->number = ++l->last;
	p->next = l->parties;
	l->parties = p;
	return 0;
}

static void ns_party_drop(struct ns_locks *l, struct wire_u128 txn, bool own)
{
	struct ns_party **at = &l->parties, *p;

	while ((p = *at) != NULL) {
		if (p->own == own && wire_u128_eq(p->txn, txn)) {
			*at = p->next;
			mem_free(p);
			return;
		}
		at = &p->next;
	}
}

/* --- from rows --- */

static int ns_locks_load_part(struct ns_locks *l, struct wire_u128 txn,
			      struct wire_bytes value)
{
	struct ns_row_partner row;
	struct wire_bytes key;
	struct wire_reader r;
	uint8_t mode;
	uint32_t n;
	int rv = ns_row_partner_load(&row, value);

	if (rv == 0)
		rv = ns_party_add(l, txn, false);
	if (rv != 0)
		return rv;
	for (r = wire_vec_reader(row.locks, &n); rv == 0 && n > 0; n--) {
		rv = ns_partner_lock(&r, &mode, &key);
		if (rv == 0)
			rv = ns_locks_add(l, txn, mode, key);
	}
	return rv;
}

static int ns_locks_load_row(struct ns_locks *l, struct wire_bytes key,
			     struct wire_bytes value)
{
	struct wire_u128 txn;

	if (key.len != NS_KEY_REST + 1 + 16)
		return -EIO;
	txn = ns_be128(key.p + NS_KEY_REST + 1);
	switch (key.p[NS_KEY_REST]) {
	case NS_TXN_OWN:
		return ns_party_add(l, txn, true);
	case NS_TXN_PART:
		return ns_locks_load_part(l, txn, value);
	default:
		return -EIO;
	}
}

static int ns_locks_load_map(struct ns_locks *l, struct wire_bytes key,
			     struct wire_bytes value)
{
	(void)value;
	if (key.len != NS_KEY_REST + 8)
		return -EIO;
	ns_split_set(l, ns_be64(key.p + NS_KEY_REST), true);
	return 0;
}

/* All rows of a type. */
static int ns_locks_load_type(struct ns_locks *l, struct rows_back *back,
			      uint16_t shard, uint8_t type,
			      int (*load)(struct ns_locks *l,
					  struct wire_bytes key,
					  struct wire_bytes value))
{
	struct wire_bytes key, value;
	struct ns_key from, to;
	struct rows_iter *it;
	int rv;

	ns_key_start(&from, shard, type);
	to = from;
	ns_key_end(&to);
	rv = rows_iter_new(back, ns_key_get(&from), ns_key_get(&to), &it);
	if (rv != 0)
		return rv;
	while ((rv = rows_iter_next(it, &key, &value)) == 0) {
		rv = load(l, key, value);
		if (rv != 0)
			break;
	}
	rows_iter_free(it);
	return rv == -ENOENT ? 0 : rv;
}

int ns_locks_load(struct ns_locks *l, struct rows_back *back, uint16_t shard)
{
	int rv;

	ns_locks_clear(l);
	rv = ns_locks_load_type(l, back, shard, NS_T_TXN, ns_locks_load_row);
	return rv != 0 ? rv
		       : ns_locks_load_type(l, back, shard, NS_T_SEGMENT,
					    ns_locks_load_map);
}

/* --- from commands --- */

/*
 * Every row that was answered for more than a look is locked now. Who only
 * looked left no row: a start, and another member, would not know of it.
 */
static int ns_locks_locked(struct ns_locks *l, const struct ns_cmd *c,
			   const struct ns_answer *a)
{
	struct rpc_txn_lock_rsp rsp;
	struct rpc_txn_lock m;
	struct wire_bytes key, value;
	struct wire_reader r;
	uint8_t mode, there;
	uint32_t n;
	int rv = 0;

	if (rpc_txn_lock_decode(&m, c->payload, c->len) != 0 ||
	    rpc_txn_lock_rsp_decode(&rsp, a->payload.data,
				    a->payload.len) != 0)
		return -EIO;
	for (r = wire_vec_reader(rsp.rows, &n); rv == 0 && n > 0; n--) {
		wire_get_u8(&r, &mode);
		wire_get_str(&r, &key);
		wire_get_u8(&r, &there);
		wire_get_blob(&r, &value);
		if (r.err != 0)
			return -EIO;
		if (mode == RPC_LOCK_LOOK)
			continue;
		rv = ns_party_add(l, m.txn, false);
		if (rv == 0)
			rv = ns_locks_add(l, m.txn, mode, key);
	}
	return rv;
}

static int ns_locks_ended(struct ns_locks *l, const struct ns_cmd *c)
{
	struct rpc_txn_end m;

	if (rpc_txn_end_decode(&m, c->payload, c->len) != 0)
		return -EIO;
	ns_locks_drop(l, m.txn);
	ns_party_drop(l, m.txn, false);
	return 0;
}

static int ns_locks_forgot(struct ns_locks *l, const struct ns_cmd *c)
{
	struct rpc_txn_forget m;
	struct wire_u128 txn;
	struct wire_reader r;
	uint32_t n;

	if (rpc_txn_forget_decode(&m, c->payload, c->len) != 0)
		return -EIO;
	for (r = wire_vec_reader(m.txns, &n); n > 0; n--) {
		wire_get_u128(&r, &txn);
		if (r.err == 0)
			ns_party_drop(l, txn, true);
	}
	return 0;
}

int ns_locks_applied(struct ns_locks *l, const struct ns_cmd *c,
		     const struct ns_answer *a)
{
	if (a->repeated || a->status != RPC_STATUS_OK)
		return 0;
	for (unsigned i = 0; i < a->n_maps && i < NS_ANSWER_MAPS; i++)
		ns_split_set(l, a->maps[i].dir, a->maps[i].split);
	if (a->n_maps > NS_ANSWER_MAPS)
		l->any_split = true;
	if (a->txn)
		return ns_party_add(l, c->txn, true);
	switch (c->tag) {
	case RPC_TAG_txn_lock:
		return ns_locks_locked(l, c, a);
	case RPC_TAG_txn_end:
		return ns_locks_ended(l, c);
	case RPC_TAG_txn_forget:
		return ns_locks_forgot(l, c);
	default:
		return 0;
	}
}
