#ifndef STORAGED_NS_LOCKS_H
#define STORAGED_NS_LOCKS_H
/*
 * The transactions of a shard: who holds which row here, and which ones this
 * shard committed whose steps in other shards may not be done. A function of
 * the shard's rows (type T), kept in memory so that a command asks for nothing
 * while there is none: built from the rows when the shard is opened, then told
 * of every command that was committed.
 *
 * Kept beside it, in the same way: which directories of the shard have segments
 * (rows G), so that a name that is missing in any other one asks for no row.
 *
 * The shard's loop only.
 */
#include "storaged/ns.h"

enum { NS_LOCKS_HASH = 64 };

struct ns_lock {
	struct ns_lock *next;       /* of one hash chain */
	struct wire_u128 txn;
	uint8_t mode;               /* RPC_LOCK_PIN or _ALL */
	uint16_t len;
	uint8_t key[];              /* of both kinds of an entry */
};

/* A transaction that holds locks here, or (own) was committed here. */
struct ns_party {
	struct ns_party *next;
	struct wire_u128 txn;
	bool own;
	bool busy;                  /* the host's: being ended */
	uint64_t seen_ns;           /* the host's: since when, 0 at first */
	uint64_t number;            /* in order of their beginning here */
};

/* A directory of the shard that has segments. */
struct ns_split_dir {
	struct ns_split_dir *next;  /* of one hash chain */
	uint64_t ino;
};

struct ns_locks {
	unsigned n;                 /* locks */
	unsigned n_split;           /* directories with segments */
	bool any_split;             /* there may be others: no memory */
	struct ns_split_dir *by_dir[NS_LOCKS_HASH];
	uint64_t last;              /* number of a party */
	struct ns_lock *by_key[NS_LOCKS_HASH];
	struct ns_party *parties;   /* newest first */
};

struct ns_locks *ns_locks_new(void); /* NULL: out of memory */
void ns_locks_free(struct ns_locks *l);
/* Start-up: forgets all, reads the shard's rows. Blocks. 0 or -errno. */
int ns_locks_load(struct ns_locks *l, struct rows_back *back, uint16_t shard);
/* The command c was committed with answer a. 0 or -ENOMEM, -EIO. */
int ns_locks_applied(struct ns_locks *l, const struct ns_cmd *c,
		     const struct ns_answer *a);
/*
 * Somebody else's lock (not txn's) on key that is not compatible with mode:
 * PIN goes with PIN; LOOK goes with PIN. NULL: none.
 */
const struct ns_lock *ns_locks_find(const struct ns_locks *l,
				    struct wire_bytes key, uint8_t mode,
				    struct wire_u128 txn);
/* Does one that began up to that number still hold locks here? */
bool ns_locks_since(const struct ns_locks *l, uint64_t number);
/* Has a directory of the shard segments? */
bool ns_locks_is_split(const struct ns_locks *l, uint64_t dir);
struct ns_party *ns_locks_party(struct ns_locks *l, struct wire_u128 txn,
				bool own);

#endif
