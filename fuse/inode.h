#ifndef FUSE_INODE_H
#define FUSE_INODE_H
/*
 * The inodes that the kernel knows, or that something here still works on.
 *
 * The kernel's node id is the inode number; the root of the mount is node 1.
 * A finode lives while the kernel has looked it up (lowered by FORGET alone),
 * or anything holds a reference: a request, a handle, unsent bytes.
 * Loop only.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "common/base/env.h"
#include "common/wire/msgs.h"
#include "fuse/wbuf.h"

struct commit;
struct fop;
struct mount;

/* A queue of requests that wait for something. */
struct fop_queue {
	struct fop *first;
	struct fop **last;
};

struct finode {
	uint64_t ino;
	struct mount *m;     /* borrowed */
	struct finode *next; /* hash chain */
	uint64_t lookups;    /* references of the kernel */
	unsigned refs;       /* ours */

	/* What the shard said last (by `change`). */
	struct wire_attr attr;
	bool known;     /* attr is set */
	uint64_t told;  /* `change` that the kernel was told last */
	bool kept;      /* the kernel's pages are those of kept_version */
	uint64_t kept_version; /* data_version */
	uint64_t gone_version; /* not kept: pages older than that went */
	bool no_caps;   /* has no security.capability, asked since open */
	bool removed;   /* directory: rmdir through this mount; stays empty */

	/* Where it was found last; parent 0: unknown. */
	uint64_t parent;
	uint64_t bucket; /* root inode of its bucket, 0: unknown */
	uint8_t *name;   /* raw component, owned */
	uint32_t name_len;
	uint8_t how;     /* RPC_NAME_FILE or _DIR */
	uint64_t names_ns; /* directory: when we last changed a name in it, */
	uint64_t fresh_ns; /* ... and attr is as of then or later; 0: not known */

	/* Opens of this mount, as the shard's leader knows them. */
	unsigned opens;  /* handles, and OPENs under way */
	bool held;       /* the leader has our open */
	bool closing;    /* CLOSE under way: OPENs wait in open_queue */
	bool idle;       /* in the mount's list: CLOSE will be sent */
	TAILQ_ENTRY(finode) idle_link;
	uint64_t asserted_ns; /* when the leader was told last */
	uint64_t closed_ns;   /* when a CLOSE was sent last; 0: never */
	struct fop_queue open_queue;

	/* Unsent bytes: see flush.h. */
	struct wbuf dirty;    /* written since the flush under way began */
	struct wbuf flushing; /* being sent */
	int64_t mtime_ns;     /* of the last write, for the commit */
	bool dirty_kills;     /* `dirty` was written by others than root, */
	bool flushing_kills;  /* ... `flushing`: set-id bits go */
	uint64_t dirty_ns;    /* since when `dirty` is not empty */
	bool committing;
	bool flush_failed;    /* the one before */
	uint64_t flush_begun; /* flushes begun and ended, counted */
	uint64_t flush_ended;
	uint64_t err_seq; /* failed flushes */
	int err;          /* of the last of them, negative errno */
	struct fop_queue flush_queue;
	struct env_task flush_task;
	TAILQ_ENTRY(finode) dirty_link; /* while dirty is not empty */
	bool is_listed;
};

TAILQ_HEAD(finode_list, finode);

struct finode_table {
	struct finode **bucket;
	size_t mask;
	size_t n;
};

int finode_table_init(struct finode_table *t);
/* Frees everything, whoever holds it. */
void finode_table_fini(struct finode_table *t);

/* The inode with one more reference; made when missing. NULL: no memory. */
struct finode *finode_get(struct mount *m, uint64_t ino);
/* The same by the kernel's node id. */
struct finode *finode_get_node(struct mount *m, uint64_t node);
/* Without a reference and without making it; NULL when not here. */
struct finode *finode_find(struct mount *m, uint64_t ino);
/* The kernel knows an inode that was last found by that name; looks at all. */
bool finode_name_is_known(struct mount *m, uint64_t parent,
			  const uint8_t *comp, size_t len);
struct finode *finode_ref(struct finode *f);
void finode_unref(struct finode *f); /* NULL is fine */
/* The kernel got, or gave back, n lookups. */
void finode_looked_up(struct finode *f);
void finode_forget(struct mount *m, uint64_t node, uint64_t n);
uint64_t finode_node(const struct finode *f);

/* Takes attributes unless newer ones are here. */
void finode_update(struct finode *f, const struct wire_attr *attr);
/* The same after a change of ours, which the kernel's cache has seen. */
void finode_update_own(struct finode *f, const struct wire_attr *attr);
/* Remembers the name it was found under. No memory: forgets the old one. */
void finode_set_name(struct finode *f, const struct finode *parent,
		     const uint8_t *comp, size_t len, uint8_t how);
/* Attributes as this mount sees them: with unsent bytes. */
void finode_stat(const struct finode *f, struct stat *ret_st);
uint64_t finode_size(const struct finode *f);
bool finode_is_dirty(const struct finode *f);
/* What changes in its bucket has durability memory; NULL: not. */
bool finode_is_loose(const struct finode *f);
void wire_attr_stat(const struct wire_attr *a, struct stat *ret_st);

#endif
