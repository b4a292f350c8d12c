#ifndef TESTS_LIB_CRASHFS_IMPL_H
#define TESTS_LIB_CRASHFS_IMPL_H
/*
 * Shared by the files of the disk that crashes only:
 *
 *   crashfs_node.c    pages and nodes: what a file holds, now and durably
 *   crashfs_names.c   names, and the operations on directories
 *   crashfs.c         the vfs
 *   crashfs_crash.c   images, clones, power cuts; rot and faults for tests
 *
 * Nodes, names and operations are guarded by the file system's mutex; a node
 * belongs to one file system, pages are shared and never change while they
 * are. Every random number follows from a seed: the order of the draws is part
 * of what a seed means.
 */
#include <pthread.h>

#include "tests/lib/crashfs.h"

#define PAGE 4096u
#define SECTOR 512u
#define SECTORS (PAGE / SECTOR)

/* Counted, so that images and clones share what did not change. */
struct page {
	uint32_t refs; /* atomic */
	uint8_t b[PAGE];
};

/* Changed bytes of each sector since the last sync; hi 0: none. */
struct dirty {
	uint16_t lo[SECTORS], hi[SECTORS];
};

struct node {
	unsigned refs; /* names, pending operations, open files */
	bool dir;
	bool dead;     /* of a life before crashfs_crash() */
	bool lost;     /* a sync failed: clean sectors may differ */
	size_t n;      /* pages in each array */
	struct page **cur, **dur; /* NULL entry: zeros */
	struct dirty **dirty;
	uint64_t len, dlen;
	struct node *copy; /* while an image is drawn */
};

struct entry {
	char *path;
	struct node *node;
};

struct names {
	struct entry *v;
	size_t n, cap;
};

enum op_kind { OP_CREATE, OP_RENAME, OP_UNLINK };

struct op {
	enum op_kind kind;
	char *path, *to;
	struct node *node;
};

struct crashfs {
	struct vfs vfs;
	pthread_mutex_t lock;
	uint64_t rng;
	struct names cur, dur;
	struct op *ops; /* since the last sync of their directory */
	size_t n_ops, cap_ops;
	struct crashfs_faults faults;
	struct crashfs_stats stats;
	bool frozen;
	void (*hook)(void *arg);
	void *hook_arg;
};

/* --- memory, random numbers: crashfs_node.c --- */

/* All of them abort when there is none. */
void *cfs_alloc(size_t size); /* zeros */
char *cfs_strdup(const char *s);
/* p with room for one more than n elements of this size. */
void *cfs_grow(void *p, size_t n, size_t *cap, size_t size);

static inline uint64_t cfs_rnd(uint64_t *state)
{
	uint64_t x = (*state += 0x9e3779b97f4a7c15ull);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* --- pages, nodes: crashfs_node.c --- */

extern const uint8_t cfs_zeros[PAGE];

static inline const uint8_t *cfs_page_bytes(const struct page *p)
{
	return p == NULL ? cfs_zeros : p->b;
}

/* The page at *at, for writing. */
uint8_t *cfs_page_own(struct page **at);

struct node *cfs_node_new(bool dir); /* one reference */
void cfs_node_unref(struct node *n);
void cfs_node_write(struct node *n, const uint8_t *data, size_t len,
		    uint64_t off);
/* Sector s of page i reaches the disk by itself. */
void cfs_node_write_back(struct node *n, size_t i, size_t s);
void cfs_node_sync(struct node *n);
/* A sync that failed: nothing is dirty any more, nothing was written. */
void cfs_node_lose(struct node *n);
void cfs_node_truncate(struct node *n, uint64_t len);
struct node *cfs_node_clone(const struct node *n);
/* What a power cut now leaves of it. */
struct node *cfs_node_image(const struct node *n, uint64_t *rng);

/* --- names, operations: crashfs_names.c --- */

struct entry *cfs_names_find(struct names *t, const char *path);
void cfs_names_remove(struct names *t, struct entry *e);
/* Takes a reference of node. */
void cfs_names_put(struct names *t, const char *path, struct node *node);
void cfs_names_free(struct names *t);

/* Length of the directory part of path; 0: none. */
size_t cfs_path_dir(const char *path);
bool cfs_path_in(const char *path, const char *dir);
bool cfs_parent_exists(struct names *t, const char *path);

void cfs_op_apply(struct names *t, const struct op *op);
void cfs_op_free(struct op *op);
/* Happens now, pending until its directory is synced. */
void cfs_op_note(struct crashfs *fs, enum op_kind kind, const char *path,
		 const char *to, struct node *node);

/* --- the file system: crashfs.c --- */

static inline void cfs_lock(struct crashfs *fs)
{
	(void)pthread_mutex_lock(&fs->lock);
}

static inline void cfs_unlock(struct crashfs *fs)
{
	(void)pthread_mutex_unlock(&fs->lock);
}

uint64_t cfs_used(const struct crashfs *fs); /* bytes */
void cfs_clear(struct crashfs *fs);

#endif
