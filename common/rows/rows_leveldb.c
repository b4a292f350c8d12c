/*
 * The leveldb back (DESIGN section 5): a derived, ordered index of what our
 * own log says. leveldb's log is never trusted, so nothing is synced and its
 * *.log files go before every open; what is then found is the last memtable
 * flush, a prefix of our batches.
 *
 * Damage that shows only when a row is read stops the process. It leaves a file
 * DAMAGED behind, so that the next one does not open the same rows again.
 */
#include "common/rows/rows_back.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <leveldb/c.h>

#include "common/base/mem.h"

#define LDB_WRITE_BUFFER ((size_t)8 << 20)
#define LDB_BLOOM_BITS 10

#define LDB_MARK "DAMAGED"

struct ldb {
	struct rows_back back;
	char *path;
	leveldb_t *db;
	leveldb_options_t *options;
	leveldb_cache_t *cache;
	leveldb_filterpolicy_t *filter;
	leveldb_readoptions_t *read;
	leveldb_writeoptions_t *write;
};

struct ldb_iter {
	struct rows_iter it;
	const leveldb_snapshot_t *view;
	leveldb_readoptions_t *read; /* of that view */
	leveldb_iterator_t *impl;
	bool fresh; /* at a position that was not handed out yet */
	uint8_t *got; /* value of the last iter_get */
};

static struct ldb *ldb_of(struct rows_back *back)
{
	return CONTAINER_OF(back, struct ldb, back);
}

static char *ldb_mark_path(const char *path)
{
	return mem_printf("%s/" LDB_MARK, path);
}

/* What an error of a call means; err is freed. */
static int ldb_error(struct ldb *l, char *err)
{
	if (strncmp(err, "Corruption", 10) == 0) {
		char *mark = ldb_mark_path(l->path);
		int fd = mark == NULL ? -1
				      : open(mark, O_WRONLY | O_CREAT | O_CLOEXEC,
					     0600);

		if (fd >= 0)
			(void)close(fd);
		mem_free(mark);
	}
	leveldb_free(err);
	return -EIO;
}

static void ldb_close(struct rows_back *back)
{
	struct ldb *l = ldb_of(back);

	if (l->db != NULL)
		leveldb_close(l->db);
	if (l->options != NULL)
		leveldb_options_destroy(l->options);
	if (l->filter != NULL)
		leveldb_filterpolicy_destroy(l->filter);
	if (l->cache != NULL)
		leveldb_cache_destroy(l->cache);
	if (l->read != NULL)
		leveldb_readoptions_destroy(l->read);
	if (l->write != NULL)
		leveldb_writeoptions_destroy(l->write);
	mem_free(l->path);
	mem_free(l);
}

static leveldb_readoptions_t *ldb_read_options(void)
{
	leveldb_readoptions_t *read = leveldb_readoptions_create();

	leveldb_readoptions_set_verify_checksums(read, 1);
	return read;
}

static int ldb_get_as(struct ldb *l, const leveldb_readoptions_t *read,
		      struct wire_bytes key, uint8_t **ret_value,
		      size_t *ret_len)
{
	char *err = NULL, *value;
	size_t len;

	value = leveldb_get(l->db, read, (const char *)key.p, key.len, &len,
			    &err);
	if (err != NULL)
		return ldb_error(l, err);
	if (value == NULL)
		return -ENOENT;
	*ret_value = (uint8_t *)value; /* from malloc(), as mem_free() wants */
	*ret_len = len;
	return 0;
}

static int ldb_get(struct rows_back *back, struct wire_bytes key,
		   uint8_t **ret_value, size_t *ret_len)
{
	struct ldb *l = ldb_of(back);

	return ldb_get_as(l, l->read, key, ret_value, ret_len);
}

static int ldb_write(struct rows_back *back, const struct rows_batch *b)
{
	struct ldb *l = ldb_of(back);
	leveldb_writebatch_t *wb = leveldb_writebatch_create();
	struct rows_op op;
	char *err = NULL;
	size_t pos = 0;

	while (rows_batch_next(b, &pos, &op)) {
		if (op.del)
			leveldb_writebatch_delete(wb, (const char *)op.key.p,
						  op.key.len);
		else
			leveldb_writebatch_put(wb, (const char *)op.key.p,
					       op.key.len,
					       (const char *)op.value.p,
					       op.value.len);
	}
	leveldb_write(l->db, l->write, wb, &err);
	leveldb_writebatch_destroy(wb);
	return err == NULL ? 0 : ldb_error(l, err);
}

static int ldb_checkpoint(struct rows_back *back)
{
	struct ldb *l = ldb_of(back);
	struct rows_batch empty = { 0 };

	/*
	 * No row is that high, so nothing is compacted, yet the memtable is
	 * flushed and the manifest synced. It reports no error; the write
	 * behind it (of nothing) returns the sticky one.
	 */
	leveldb_compact_range(l->db, "\xff\xff\xff\xff", 4,
			      "\xff\xff\xff\xff\xff", 5);
	return ldb_write(back, &empty);
}

static int ldb_iter_new(struct rows_back *back, struct rows_iter **ret_it)
{
	struct ldb *l = ldb_of(back);
	struct ldb_iter *i = mem_zalloc(sizeof *i);

	if (i == NULL)
		return -ENOMEM;
	i->view = leveldb_create_snapshot(l->db);
	i->read = ldb_read_options();
	leveldb_readoptions_set_snapshot(i->read, i->view);
	i->impl = leveldb_create_iterator(l->db, i->read);
	*ret_it = &i->it;
	return 0;
}

static int ldb_iter_next(struct rows_iter *it, struct wire_bytes *ret_key,
			 struct wire_bytes *ret_value)
{
	struct ldb_iter *i = CONTAINER_OF(it, struct ldb_iter, it);
	char *err = NULL;
	const char *p;
	size_t len;

	if (!i->fresh && leveldb_iter_valid(i->impl))
		leveldb_iter_next(i->impl);
	i->fresh = false;
	if (!leveldb_iter_valid(i->impl)) {
		leveldb_iter_get_error(i->impl, &err);
		return err == NULL ? -ENOENT : ldb_error(ldb_of(it->back), err);
	}
	p = leveldb_iter_key(i->impl, &len);
	*ret_key = wire_bytes(p, len);
	p = leveldb_iter_value(i->impl, &len);
	*ret_value = wire_bytes(p, len);
	return 0;
}

static void ldb_iter_seek(struct rows_iter *it, struct wire_bytes key)
{
	struct ldb_iter *i = CONTAINER_OF(it, struct ldb_iter, it);

	/* leveldb wants a pointer even for the empty key */
	leveldb_iter_seek(i->impl, key.len == 0 ? "" : (const char *)key.p,
			  key.len);
	i->fresh = true;
}

static int ldb_iter_get(struct rows_iter *it, struct wire_bytes key,
			struct wire_bytes *ret_value)
{
	struct ldb_iter *i = CONTAINER_OF(it, struct ldb_iter, it);
	uint8_t *value = NULL;
	size_t len = 0;
	int rv = ldb_get_as(ldb_of(it->back), i->read, key, &value, &len);

	if (rv != 0)
		return rv;
	mem_free(i->got);
	i->got = value;
	*ret_value = wire_bytes(value, len);
	return 0;
}

static void ldb_iter_free(struct rows_iter *it)
{
	struct ldb_iter *i = CONTAINER_OF(it, struct ldb_iter, it);

	leveldb_iter_destroy(i->impl);
	leveldb_readoptions_destroy(i->read);
	leveldb_release_snapshot(ldb_of(it->back)->db, i->view);
	mem_free(i->got);
	mem_free(i);
}

static const struct rows_back_ops ldb_ops = {
	.close = ldb_close,
	.get = ldb_get,
	.checkpoint = ldb_checkpoint,
	.write = ldb_write,
	.iter_new = ldb_iter_new,
	.iter_next = ldb_iter_next,
	.iter_seek = ldb_iter_seek,
	.iter_get = ldb_iter_get,
	.iter_free = ldb_iter_free,
};

static bool ldb_has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

/*
 * Removes leveldb's logs. Tables without CURRENT are a damaged database that
 * leveldb would take for a new, empty one.
 */
static int ldb_prepare(const char *path, struct errbuf *e)
{
	bool current = false, tables = false, mark = false;
	struct dirent *d;
	DIR *dir = opendir(path);
	int rv = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0
				       : errbuf_set(e, -errno, "%s: %s", path,
						    strerror(errno));
	while (rv == 0 && (d = readdir(dir)) != NULL) {
		if (strcmp(d->d_name, "CURRENT") == 0)
			current = true;
		else if (strcmp(d->d_name, LDB_MARK) == 0)
			mark = true;
		else if (ldb_has_suffix(d->d_name, ".ldb") ||
			 ldb_has_suffix(d->d_name, ".sst"))
			tables = true;
		else if (ldb_has_suffix(d->d_name, ".log") &&
			 unlinkat(dirfd(dir), d->d_name, 0) != 0)
			rv = errbuf_set(e, -errno, "%s/%s: cannot remove: %s",
					path, d->d_name, strerror(errno));
	}
	closedir(dir);
	if (rv == 0 && mark)
		rv = errbuf_set(e, -EBADMSG, "%s: was found damaged", path);
	if (rv == 0 && tables && !current)
		rv = errbuf_set(e, -EBADMSG, "%s: damaged: CURRENT is missing",
				path);
	return rv;
}

static int ldb_open_error(const char *path, char *err, struct errbuf *e)
{
	int rv = -EIO;

	if (strncmp(err, "Corruption", 10) == 0)
		rv = -EBADMSG;
	else if (strstr(err, "lock ") != NULL)
		rv = -EBUSY;
	else if (strstr(err, "does not exist") != NULL ||
		 strstr(err, "No such file") != NULL)
		rv = -EBADMSG; /* CURRENT leads nowhere */
	errbuf_set(e, rv, "%s: %s", path, err);
	leveldb_free(err);
	return rv;
}

int rows_back_open(const char *path, size_t cache_bytes,
		   struct rows_back **ret_back, struct errbuf *e)
{
	struct ldb *l;
	char *err = NULL;
	int rv = ldb_prepare(path, e);

	if (rv != 0)
		return rv;
	l = mem_zalloc(sizeof *l);
	if (l == NULL)
		return errbuf_set(e, -ENOMEM, "%s: out of memory", path);
	l->back.ops = &ldb_ops;
	l->path = mem_strdup(path);
	if (l->path == NULL) {
		mem_free(l);
		return errbuf_set(e, -ENOMEM, "%s: out of memory", path);
	}
	l->options = leveldb_options_create();
	l->cache = leveldb_cache_create_lru(cache_bytes);
	l->filter = leveldb_filterpolicy_create_bloom(LDB_BLOOM_BITS);
	l->read = ldb_read_options();
	l->write = leveldb_writeoptions_create();
	leveldb_options_set_create_if_missing(l->options, 1);
	leveldb_options_set_paranoid_checks(l->options, 1);
	leveldb_options_set_compression(l->options, leveldb_no_compression);
	leveldb_options_set_write_buffer_size(l->options, LDB_WRITE_BUFFER);
	leveldb_options_set_cache(l->options, l->cache);
	leveldb_options_set_filter_policy(l->options, l->filter);
	l->db = leveldb_open(l->options, path, &err);
	if (err != NULL) {
		rv = ldb_open_error(path, err, e);
		l->db = NULL;
		ldb_close(&l->back);
		return rv;
	}
	*ret_back = &l->back;
	return 0;
}

static int ldb_remove(const char *path)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int rv = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno;
	while ((d = readdir(dir)) != NULL)
		if (strcmp(d->d_name, ".") != 0 &&
		    strcmp(d->d_name, "..") != 0 &&
		    unlinkat(dirfd(dir), d->d_name, 0) != 0)
			rv = -errno;
	closedir(dir);
	return rmdir(path) == 0 || rv != 0 ? rv : -errno;
}

int rows_back_open_new(const char *path, size_t cache_bytes,
		       struct rows_back **ret_back, bool *ret_damaged,
		       struct errbuf *e)
{
	int rv = rows_back_open(path, cache_bytes, ret_back, e);
	struct errbuf again;
	char *to;

	*ret_damaged = rv == -EBADMSG;
	if (rv != -EBADMSG)
		return rv;
	to = mem_printf("%s.damaged", path);
	rv = to == NULL ? -ENOMEM : ldb_remove(to);
	if (rv == 0 && rename(path, to) != 0)
		rv = -errno;
	mem_free(to);
	if (rv != 0)
		return errbuf_set(e, rv, "%s is damaged and cannot be moved "
				  "away: %s", path, strerror(-rv));
	rv = rows_back_open(path, cache_bytes, ret_back, &again);
	if (rv != 0)
		*e = again;
	return rv;
}
