#include "tests/lib/nsmodel.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/wire/status.h"

struct nsm_dir *nsm_new(void)
{
	struct nsm_dir *d = calloc(1, sizeof(*d));

	d->m.mode = S_IFDIR | 0755;
	d->m.uid = d->m.gid = NSM_ID;
	return d;
}

bool nsm_is_regular(const struct nsm_file *f)
{
	return S_ISREG(f->m.mode);
}

void nsm_file_unref(struct nsm_file *f)
{
	if (--f->refs == 0)
		free(f);
}

void nsm_free(struct nsm_dir *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->v[i].name);
		if (d->v[i].file != NULL) {
			d->v[i].file->nlink--;
			nsm_file_unref(d->v[i].file);
		}
		if (d->v[i].dir != NULL)
			nsm_free(d->v[i].dir);
	}
	free(d->v);
	free(d->name);
	free(d);
}

static struct nsm_entry *nsm_find(struct nsm_dir *d, const char *name,
				  bool dir)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->v[i].name, name) == 0 &&
		    (d->v[i].dir != NULL) == dir)
			return &d->v[i];
	return NULL;
}

struct nsm_file *nsm_file_of(struct nsm_dir *d, const char *name)
{
	struct nsm_entry *e = nsm_find(d, name, false);

	return e == NULL ? NULL : e->file;
}

struct nsm_dir *nsm_dir_of(struct nsm_dir *d, const char *name)
{
	struct nsm_entry *e = nsm_find(d, name, true);

	return e == NULL ? NULL : e->dir;
}

unsigned nsm_subdirs(const struct nsm_dir *d)
{
	unsigned n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->v[i].dir != NULL;
	return n;
}

static void nsm_add(struct nsm_dir *d, const char *name, struct nsm_file *file,
		    struct nsm_dir *dir)
{
	if (d->n == d->cap) {
		d->cap = d->cap == 0 ? 8 : 2 * d->cap;
		d->v = realloc(d->v, d->cap * sizeof(*d->v));
	}
	d->v[d->n++] = (struct nsm_entry){ strdup(name), file, dir };
	d->m.mtime = 0;
	if (file != NULL) {
		file->refs++;
		file->nlink++;
		file->marker |= name[0] == 0;
	}
	if (dir != NULL) {
		dir->up = d;
		free(dir->name);
		dir->name = strdup(name);
	}
}

/* Takes the entry out; a file loses a name, a directory is the caller's. */
static void nsm_take(struct nsm_dir *d, const char *name, bool dir)
{
	struct nsm_entry *e = nsm_find(d, name, dir);

	if (e->file != NULL) {
		e->file->nlink--;
		nsm_file_unref(e->file);
	}
	free(e->name);
	*e = d->v[--d->n];
	d->m.mtime = 0;
}

static bool nsm_is_empty(struct nsm_dir *d)
{
	struct nsm_file *marker = nsm_file_of(d, "");

	return d->n == 0 || (d->n == 1 && marker != NULL &&
			     marker->size == 0 && nsm_is_regular(marker) &&
			     marker->user[0] == 0);
}

static void nsm_prune(struct nsm_dir *d)
{
	while (d->up != NULL && d->n == 0 && d->implicit) {
		struct nsm_dir *up = d->up;

		nsm_take(up, d->name, true);
		nsm_free(d);
		d = up;
	}
}

/* --- S3 --- */

/* The directory of a key; its last component in *leaf. */
static struct nsm_dir *nsm_walk(struct nsm_dir *d, const char *key,
				const char **leaf, bool make)
{
	const char *slash;

	while (d != NULL && (slash = strchr(key, '/')) != NULL) {
		char *comp = strndup(key, (size_t)(slash - key));
		struct nsm_dir *next = nsm_dir_of(d, comp);

		if (next == NULL && make) {
			next = nsm_new();
			next->m.mode = S_IFDIR | 02755;
			next->implicit = true;
			nsm_add(d, comp, NULL, next);
		}
		free(comp);
		d = next;
		key = slash + 1;
	}
	*leaf = key;
	return d;
}

static void nsm_kill_suid(struct nsm_file *f)
{
	f->m.mode &= ~(uint32_t)S_ISUID;
	if (f->m.mode & S_IXGRP)
		f->m.mode &= ~(uint32_t)S_ISGID;
}

uint32_t nsm_put(struct nsm_dir *root, const char *key, const uint8_t *bytes,
		 size_t len)
{
	struct nsm_file *f = calloc(1, sizeof(*f));
	const char *leaf;
	struct nsm_dir *d = nsm_walk(root, key, &leaf, true);
	struct nsm_file *old = nsm_file_of(d, leaf);

	f->m.mode = S_IFREG | 0644;
	f->m.uid = f->m.gid = NSM_ID;
	if (old != NULL && nsm_is_regular(old)) {
		f->m.mode = old->m.mode;
		f->m.uid = old->m.uid;
		f->m.gid = old->m.gid;
		nsm_kill_suid(f);
	}
	if (old != NULL)
		nsm_take(d, leaf, false);
	f->size = len;
	memcpy(f->bytes, bytes, len);
	nsm_add(d, leaf, f, NULL);
	return RPC_STATUS_OK;
}

uint32_t nsm_delete(struct nsm_dir *root, const char *key)
{
	const char *leaf;
	struct nsm_dir *d = nsm_walk(root, key, &leaf, false);

	if (d == NULL)
		return RPC_STATUS_NOENT;
	if (nsm_file_of(d, leaf) != NULL) {
		nsm_take(d, leaf, false);
		if (leaf[0] == 0 && d->n == 0)
			d->implicit = true; /* the key is gone as a whole */
	} else if (leaf[0] == 0 && d->n == 0 && d->up != NULL) {
		d->implicit = true;
	} else {
		return RPC_STATUS_NOENT;
	}
	nsm_prune(d);
	return RPC_STATUS_OK;
}

bool nsm_object(struct nsm_dir *root, const char *key,
		struct nsm_file **ret_file, struct nsm_dir **ret_dir)
{
	const char *leaf;
	struct nsm_dir *d = nsm_walk(root, key, &leaf, false);

	*ret_file = d == NULL ? NULL : nsm_file_of(d, leaf);
	*ret_dir = NULL;
	if (d != NULL && d->up != NULL && leaf[0] == 0 && d->n == 0)
		*ret_dir = d;
	return *ret_file != NULL || *ret_dir != NULL;
}

struct nsm_list {
	struct nsm_key *v;
	size_t n, cap;
};

static void nsm_key_add(struct nsm_list *l, const char *path, const char *name,
			struct nsm_file *f)
{
	char *key = malloc(strlen(path) + strlen(name) + 1);

	strcpy(key, path);
	strcat(key, name);
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 64 : 2 * l->cap;
		l->v = realloc(l->v, l->cap * sizeof(*l->v));
	}
	l->v[l->n++] = (struct nsm_key){ key, f };
}

static void nsm_collect(struct nsm_list *l, struct nsm_dir *d,
			const char *path)
{
	if (d->n == 0 && d->up != NULL)
		nsm_key_add(l, path, "", NULL);
	for (size_t i = 0; i < d->n; i++) {
		struct nsm_entry *e = &d->v[i];
		char *below;

		if (e->file != NULL) {
			nsm_key_add(l, path, e->name, e->file);
			continue;
		}
		below = malloc(strlen(path) + strlen(e->name) + 2);
		strcpy(below, path);
		strcat(below, e->name);
		strcat(below, "/");
		nsm_collect(l, e->dir, below);
		free(below);
	}
}

static int nsm_key_cmp(const void *a, const void *b)
{
	const struct nsm_key *l = a, *r = b;

	return strcmp(l->key, r->key); /* bytes as unsigned char */
}

size_t nsm_keys(struct nsm_dir *root, struct nsm_key **ret)
{
	struct nsm_list l = { NULL, 0, 0 };

	nsm_collect(&l, root, "");
	if (l.n > 0)
		qsort(l.v, l.n, sizeof(*l.v), nsm_key_cmp);
	*ret = l.v;
	return l.n;
}

void nsm_keys_free(struct nsm_key *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].key);
	free(v);
}

/* --- POSIX --- */

static bool nsm_taken(struct nsm_dir *d, const char *name)
{
	return nsm_file_of(d, name) != NULL || nsm_dir_of(d, name) != NULL;
}

uint32_t nsm_create(struct nsm_dir *d, const char *name, uint32_t mode,
		    uint32_t uid, uint32_t gid)
{
	struct nsm_meta m = { .mode = mode, .uid = uid, .gid = gid };
	struct nsm_file *f;

	if (nsm_taken(d, name))
		return RPC_STATUS_EXIST;
	if (d->m.mode & S_ISGID) {
		m.gid = d->m.gid;
		m.mode |= S_ISDIR(mode) ? S_ISGID : 0;
	}
	if (S_ISDIR(mode)) {
		struct nsm_dir *c = nsm_new();

		c->m = m;
		nsm_add(d, name, NULL, c);
		return RPC_STATUS_OK;
	}
	f = calloc(1, sizeof(*f));
	f->m = m;
	nsm_add(d, name, f, NULL);
	return RPC_STATUS_OK;
}

static void nsm_settle(struct nsm_dir *d)
{
	if (d->n == 0)
		d->implicit = false;
}

uint32_t nsm_unlink(struct nsm_dir *d, const char *name, bool by_alias)
{
	if (nsm_dir_of(d, name) != NULL && !by_alias)
		return RPC_STATUS_ISDIR;
	if (nsm_file_of(d, name) == NULL)
		return RPC_STATUS_NOENT;
	nsm_take(d, name, false);
	nsm_settle(d);
	return RPC_STATUS_OK;
}

uint32_t nsm_rmdir(struct nsm_dir *d, const char *name)
{
	struct nsm_dir *c = nsm_dir_of(d, name);

	if (c == NULL)
		return nsm_file_of(d, name) != NULL ? RPC_STATUS_NOTDIR
						    : RPC_STATUS_NOENT;
	if (!nsm_is_empty(c))
		return RPC_STATUS_NOTEMPTY;
	nsm_take(d, name, true);
	nsm_free(c);
	nsm_settle(d);
	return RPC_STATUS_OK;
}

static uint32_t nsm_rename_dir(struct nsm_dir *d, const char *name,
			       struct nsm_dir *d2, const char *name2,
			       bool noreplace)
{
	struct nsm_dir *c = nsm_dir_of(d, name), *t = nsm_dir_of(d2, name2);

	if (d != d2)
		for (struct nsm_dir *p = d2; p != NULL; p = p->up)
			if (p == c)
				return RPC_STATUS_INVAL;
	if (noreplace && nsm_taken(d2, name2))
		return RPC_STATUS_EXIST;
	if (t == c)
		return RPC_STATUS_OK;
	if (t == NULL && nsm_file_of(d2, name2) != NULL)
		return RPC_STATUS_NOTDIR;
	if (t != NULL && !nsm_is_empty(t))
		return RPC_STATUS_NOTEMPTY;
	if (t != NULL) {
		nsm_take(d2, name2, true);
		nsm_free(t);
	}
	nsm_take(d, name, true);
	nsm_add(d2, name2, NULL, c);
	nsm_settle(d);
	return RPC_STATUS_OK;
}

uint32_t nsm_rename(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		    const char *name2, bool noreplace)
{
	struct nsm_file *f, *t;

	if (nsm_dir_of(d, name) != NULL)
		return nsm_rename_dir(d, name, d2, name2, noreplace);
	f = nsm_file_of(d, name);
	if (f == NULL)
		return RPC_STATUS_NOENT;
	if (noreplace && nsm_taken(d2, name2))
		return RPC_STATUS_EXIST;
	if (nsm_dir_of(d2, name2) != NULL)
		return RPC_STATUS_ISDIR;
	t = nsm_file_of(d2, name2);
	if (t == f)
		return RPC_STATUS_OK;
	if (t != NULL)
		nsm_take(d2, name2, false);
	nsm_add(d2, name2, f, NULL);
	nsm_take(d, name, false);
	nsm_settle(d);
	return RPC_STATUS_OK;
}

static bool nsm_is_below(const struct nsm_dir *d, const struct nsm_dir *top)
{
	while (d != NULL && d != top)
		d = d->up;
	return d != NULL;
}

/* What a name means: its directory, else its file. */
static struct nsm_entry *nsm_named(struct nsm_dir *d, const char *name)
{
	struct nsm_entry *e = nsm_find(d, name, true);

	return e != NULL ? e : nsm_find(d, name, false);
}

static void nsm_swap(struct nsm_dir *d, struct nsm_entry *a,
		     struct nsm_dir *d2, struct nsm_entry *b)
{
	struct nsm_entry old = *a;

	d->m.mtime = d2->m.mtime = 0;
	a->file = b->file;
	a->dir = b->dir;
	b->file = old.file;
	b->dir = old.dir;
	for (int i = 0; i < 2; i++) {
		struct nsm_entry *e = i == 0 ? a : b;

		if (e->file != NULL)
			e->file->marker |= e->name[0] == 0;
		if (e->dir == NULL)
			continue;
		e->dir->up = i == 0 ? d : d2;
		free(e->dir->name);
		e->dir->name = strdup(e->name);
	}
}

uint32_t nsm_exchange(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		      const char *name2)
{
	struct nsm_entry *a = nsm_named(d, name), *b = nsm_named(d2, name2);

	if (a == NULL)
		return RPC_STATUS_NOENT;
	if (a->dir != NULL && d != d2 && nsm_is_below(d2, a->dir))
		return RPC_STATUS_INVAL;
	if (b == NULL)
		return RPC_STATUS_NOENT;
	if (a == b || (a->file != NULL && a->file == b->file))
		return RPC_STATUS_OK;
	if ((a->dir != NULL) != (b->dir != NULL) &&
	    (nsm_find(d, name, b->dir != NULL) != NULL ||
	     nsm_find(d2, name2, a->dir != NULL) != NULL))
		return RPC_STATUS_EXIST;
	if (b->dir != NULL && d != d2 && nsm_is_below(d, b->dir))
		return RPC_STATUS_INVAL;
	nsm_swap(d, a, d2, b);
	return RPC_STATUS_OK;
}

uint32_t nsm_link(struct nsm_file *f, struct nsm_dir *d, const char *name)
{
	if (f->nlink == 0)
		return RPC_STATUS_NOENT;
	if (nsm_taken(d, name))
		return RPC_STATUS_EXIST;
	nsm_add(d, name, f, NULL);
	return RPC_STATUS_OK;
}

static void nsm_bytes_changed(struct nsm_file *f)
{
	f->etag[0] = 0;
	f->parts = 0;
	f->m.mtime = 0;
}

void nsm_write(struct nsm_file *f, size_t off, const uint8_t *bytes,
	       size_t len)
{
	if (off + len > f->size)
		nsm_truncate(f, off + len);
	memcpy(f->bytes + off, bytes, len);
	nsm_bytes_changed(f);
}

/* One to the size that it has changes no byte, and leaves the ETag. */
void nsm_truncate(struct nsm_file *f, size_t size)
{
	f->m.mtime = 0;
	if (size == f->size)
		return;
	if (size > f->size)
		memset(f->bytes + f->size, 0, size - f->size);
	f->size = size;
	nsm_bytes_changed(f);
}

/* --- extended attributes, in order of their names --- */

struct nsm_xattr *nsm_xattr_of(struct nsm_meta *m, const char *name)
{
	for (unsigned i = 0; i < m->n_xattrs; i++)
		if (strcmp(m->xattr[i].name, name) == 0)
			return &m->xattr[i];
	return NULL;
}

uint32_t nsm_setxattr(struct nsm_meta *m, const char *name, const char *value,
		      bool create, bool replace)
{
	struct nsm_xattr *x = nsm_xattr_of(m, name);
	unsigned i;

	if (x != NULL && create)
		return RPC_STATUS_EXIST;
	if (x == NULL && replace)
		return RPC_STATUS_NODATA;
	if (x == NULL && m->n_xattrs == NSM_XATTRS)
		return RPC_STATUS_NOSPC;
	if (x == NULL) {
		for (i = m->n_xattrs++;
		     i > 0 && strcmp(m->xattr[i - 1].name, name) > 0; i--)
			m->xattr[i] = m->xattr[i - 1];
		x = &m->xattr[i];
		strcpy(x->name, name);
	}
	strcpy(x->value, value);
	return RPC_STATUS_OK;
}

uint32_t nsm_removexattr(struct nsm_meta *m, const char *name)
{
	struct nsm_xattr *x = nsm_xattr_of(m, name);

	if (x == NULL)
		return RPC_STATUS_NODATA;
	for (m->n_xattrs--; x < m->xattr + m->n_xattrs; x++)
		*x = x[1];
	return RPC_STATUS_OK;
}
