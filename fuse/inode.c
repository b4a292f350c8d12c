#include "fuse/inode.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "common/base/mem.h"
#include "fuse/flush.h"
#include "fuse/fop.h"
#include "fuse/inval.h"
#include "fuse/mount.h"

/* Set for an inode whose number happens to be the root's node id. */
#define FINODE_NODE_ALIAS (UINT64_C(1) << 63)

int finode_table_init(struct finode_table *t)
{
	t->n = 0;
	t->mask = 1023;
	t->bucket = mem_calloc(t->mask + 1, sizeof(*t->bucket));
	return t->bucket == NULL ? -ENOMEM : 0;
}

static void finode_free(struct finode *f)
{
	wbuf_clear(&f->dirty);
	wbuf_clear(&f->flushing);
	mem_free(f->name);
	mem_free(f);
}

void finode_table_fini(struct finode_table *t)
{
	if (t->bucket == NULL)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		struct finode *f = t->bucket[i];

		while (f != NULL) {
			struct finode *next = f->next;

			finode_free(f);
			f = next;
		}
	}
	mem_free(t->bucket);
	t->bucket = NULL;
}

static struct finode **finode_slot(struct finode_table *t, uint64_t ino)
{
	uint64_t h = ino * UINT64_C(0x9e3779b97f4a7c15);
	struct finode **slot = &t->bucket[(h >> 32) & t->mask];

	while (*slot != NULL && (*slot)->ino != ino)
		slot = &(*slot)->next;
	return slot;
}

/* Doubles the table; without memory the chains only get longer. */
static void finode_table_grow(struct finode_table *t)
{
	struct finode_table big = { .mask = t->mask * 2 + 1, .n = t->n };

	big.bucket = mem_calloc(big.mask + 1, sizeof(*big.bucket));
	if (big.bucket == NULL)
		return;
	for (size_t i = 0; i <= t->mask; i++) {
		struct finode *f = t->bucket[i];

		while (f != NULL) {
			struct finode *next = f->next;
			struct finode **slot = finode_slot(&big, f->ino);

			f->next = NULL;
			*slot = f;
			f = next;
		}
	}
	mem_free(t->bucket);
	*t = big;
}

struct finode *finode_find(struct mount *m, uint64_t ino)
{
	return *finode_slot(&m->inodes, ino);
}

bool finode_name_is_known(struct mount *m, uint64_t parent,
			  const uint8_t *comp, size_t len)
{
	for (size_t i = 0; i <= m->inodes.mask; i++)
		for (const struct finode *f = m->inodes.bucket[i]; f != NULL;
		     f = f->next)
			if (f->parent == parent && f->lookups > 0 &&
			    f->name_len == len &&
			    memcmp(f->name, comp, len) == 0)
				return true;
	return false;
}

struct finode *finode_get(struct mount *m, uint64_t ino)
{
	struct finode **slot = finode_slot(&m->inodes, ino);
	struct finode *f = *slot;

	if (f != NULL)
		return finode_ref(f);
	f = mem_zalloc(sizeof(*f));
	if (f == NULL)
		return NULL;
	f->ino = ino;
	f->m = m;
	f->refs = 1;
	wbuf_init(&f->dirty);
	wbuf_init(&f->flushing);
	fop_queue_init(&f->open_queue);
	fop_queue_init(&f->flush_queue);
	*slot = f;
	m->inodes.n++;
	if (m->inodes.n > m->inodes.mask)
		finode_table_grow(&m->inodes);
	return f;
}

struct finode *finode_get_node(struct mount *m, uint64_t node)
{
	if (node == FUSE_ROOT_ID)
		return finode_ref(m->root);
	return finode_get(m, node & ~FINODE_NODE_ALIAS);
}

uint64_t finode_node(const struct finode *f)
{
	if (f == f->m->root)
		return FUSE_ROOT_ID;
	return f->ino == FUSE_ROOT_ID ? f->ino | FINODE_NODE_ALIAS : f->ino;
}

struct finode *finode_ref(struct finode *f)
{
	f->refs++;
	return f;
}

static void finode_drop(struct finode *f)
{
	struct finode **slot;

	if (f->refs > 0 || f->lookups > 0)
		return;
	assert(!finode_is_dirty(f) && !f->is_listed);
	slot = finode_slot(&f->m->inodes, f->ino);
	assert(*slot == f);
	*slot = f->next;
	f->m->inodes.n--;
	finode_free(f);
}

void finode_unref(struct finode *f)
{
	if (f == NULL)
		return;
	assert(f->refs > 0);
	f->refs--;
	finode_drop(f);
}

void finode_looked_up(struct finode *f)
{
	f->lookups++;
}

void finode_forget(struct mount *m, uint64_t node, uint64_t n)
{
	struct finode *f;

	if (node == FUSE_ROOT_ID)
		return; /* ours for ever */
	f = finode_find(m, node & ~FINODE_NODE_ALIAS);
	if (f == NULL)
		return;
	f->lookups = n < f->lookups ? f->lookups - n : 0;
	finode_drop(f);
}

static bool finode_take_attr(struct finode *f, const struct wire_attr *attr)
{
	if (f->known && attr->change < f->attr.change)
		return false;
	f->attr = *attr;
	f->attr.ino = f->ino;
	f->known = true;
	return true;
}

void finode_update(struct finode *f, const struct wire_attr *attr)
{
	if (!finode_take_attr(f, attr))
		return;
	if (f->kept ? f->attr.data_version == f->kept_version
		    : f->attr.data_version == f->gone_version)
		return;
	/* Somebody else wrote: the kernel's pages are old. */
	f->kept = false;
	f->gone_version = f->attr.data_version;
	if (f->opens > 0)
		inval_pages(f->m, finode_node(f));
}

void finode_update_own(struct finode *f, const struct wire_attr *attr)
{
	uint64_t change = f->attr.change;
	uint64_t version = f->attr.data_version;
	bool known = f->known;

	/* One step on from what we knew: nobody else came in between. */
	if (known && attr->data_version == version + 1) {
		if (f->kept && f->kept_version == version)
			f->kept_version = attr->data_version;
		if (!f->kept && f->gone_version == version)
			f->gone_version = attr->data_version;
	}
	finode_update(f, attr);
	if (known && f->told == change && attr->change == change + 1)
		f->told = attr->change;
}

void finode_set_name(struct finode *f, const struct finode *parent,
		     const uint8_t *comp, size_t len, uint8_t how)
{
	f->bucket = parent->bucket;
	if (f->parent == parent->ino && f->how == how &&
	    f->name_len == len && memcmp(f->name, comp, len) == 0)
		return;
	mem_free(f->name);
	f->name = mem_dup(comp, len);
	f->name_len = (uint32_t)len;
	f->parent = f->name == NULL ? 0 : parent->ino;
	f->how = how;
}

bool finode_is_loose(const struct finode *f)
{
	struct mount *m;
	const struct cluster *c;

	if (f == NULL || f->bucket == 0)
		return false;
	m = f->m;
	c = client_cluster(m->client);
	if (c == NULL)
		return false;
	if (m->loose.bucket != f->bucket ||
	    m->loose.version != c->top.version) {
		m->loose.bucket = f->bucket;
		m->loose.version = c->top.version;
		m->loose.is = cluster_is_loose(c, cluster_find_root(c,
								    f->bucket));
	}
	m->was_loose |= m->loose.is;
	return m->loose.is;
}

bool finode_is_dirty(const struct finode *f)
{
	return f->dirty.n > 0 || f->flushing.n > 0;
}

uint64_t finode_size(const struct finode *f)
{
	uint64_t size = f->attr.size;

	if (wbuf_end(&f->flushing) > size)
		size = wbuf_end(&f->flushing);
	if (wbuf_end(&f->dirty) > size)
		size = wbuf_end(&f->dirty);
	return size;
}

static struct timespec finode_time(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000,
			      .tv_nsec = ns % 1000000000 };

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	return t;
}

void wire_attr_stat(const struct wire_attr *a, struct stat *ret_st)
{
	memset(ret_st, 0, sizeof(*ret_st));
	ret_st->st_ino = a->ino;
	ret_st->st_mode = a->mode;
	ret_st->st_uid = a->uid;
	ret_st->st_gid = a->gid;
	ret_st->st_nlink = a->nlink;
	ret_st->st_size = (off_t)a->size;
	ret_st->st_blocks = (blkcnt_t)((a->bytes + 511) / 512);
	ret_st->st_blksize = 4096;
	ret_st->st_rdev = a->rdev;
	ret_st->st_atim = finode_time(a->atime);
	ret_st->st_mtim = finode_time(a->mtime);
	ret_st->st_ctim = finode_time(a->ctime);
}

void finode_stat(const struct finode *f, struct stat *ret_st)
{
	wire_attr_stat(&f->attr, ret_st);
	if (!finode_is_dirty(f))
		return;
	ret_st->st_size = (off_t)finode_size(f);
	ret_st->st_blocks += (blkcnt_t)((f->dirty.bytes + f->flushing.bytes +
					 511) / 512);
	ret_st->st_mtim = ret_st->st_ctim = finode_time(f->mtime_ns);
	if (!f->dirty_kills && !f->flushing_kills)
		return;
	ret_st->st_mode &= ~(mode_t)S_ISUID;
	if (ret_st->st_mode & S_IXGRP)
		ret_st->st_mode &= ~(mode_t)S_ISGID;
}
