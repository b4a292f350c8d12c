/*
 * Row snapshots at the start.
 *
 * Happy path: the heads of all files are read; the rows of each group are as
 * far as the newest START says they were durable; the log is read from where
 * that says.
 *
 * In doubt: rows behind that are gone, or an old copy. When the group's
 * snapshot is ahead of them they are made again from it: `applied` goes first,
 * then the other rows, then the file's rows are put, `applied` last, then a
 * checkpoint; a crash in between leaves rows that are behind, and the load
 * begins again. The log is read from where the snapshot says, or all of it.
 * (Rows behind a snapshot alone are good: the log has what lies between, and
 * what they name is freed only when a START says so.)
 *
 * Failure modes: a file that is no snapshot, or turns out to be none while it is
 * loaded, is named and counts as missing: then all of the log is read, and the
 * group opens if that has everything.
 */
#include "common/raft/raft_snap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/vfs_dir.h"
#include "common/raft/raft_snap_int.h"

#define SNAP_PIECE (1u << 20)
#define SNAP_HEAD_PIECE (64u << 10)
#define SNAP_BATCH (1u << 20)

/* --- reading a file --- */

/*
 * Feeds r with the file. 0 or 1 as rows_stream_feed(), < 0. One that cannot be
 * read is no better than one with wrong bytes: -EBADMSG.
 */
static int snap_read(struct vfs_file *f, struct rows_stream_reader *r,
		     size_t piece)
{
	uint8_t *buf = mem_alloc(piece);
	uint64_t off = 0;
	int rv = 0;

	if (buf == NULL)
		return -ENOMEM;
	while (rv == 0) {
		ssize_t n = f->vfs->ops->pread(f, buf, piece, off, 0);

		if (n <= 0) { /* 0: cut short */
			rv = n == 0 || n == -EIO ? -EBADMSG : (int)n;
			break;
		}
		rv = rows_stream_feed(r, buf, (size_t)n);
		off += (uint64_t)n;
	}
	mem_free(buf);
	return rv;
}

static int snap_open(struct vfs *vfs, const char *dir, const char *name,
		     struct vfs_file **ret_file)
{
	char *path = mem_printf("%s/%s", dir, name);
	int rv;

	if (path == NULL)
		return -ENOMEM;
	rv = vfs->ops->open(vfs, path, O_RDONLY, 0, ret_file);
	mem_free(path);
	return rv;
}

static int snap_on_head(void *arg, const struct rows_stream_head *head)
{
	struct raft_snap_file *file = arg;

	file->group = head->group;
	file->index = head->at.index;
	file->need = head->need;
	file->store = head->store;
	return -ECANCELED; /* that was all */
}

static int snap_no_row(void *arg, struct wire_bytes key,
		       struct wire_bytes value)
{
	(void)arg;
	(void)key;
	(void)value;
	return -ECANCELED;
}

int raft_snap_look(struct vfs *vfs, const char *dir, const char *name,
		   struct raft_snap_file *ret)
{
	struct rows_stream_sink sink = {
		.head = snap_on_head, .row = snap_no_row, .arg = ret,
	};
	struct rows_stream_reader *r;
	struct vfs_file *f;
	int rv = snap_open(vfs, dir, name, &f);

	if (rv != 0)
		return rv;
	r = rows_stream_reader_new(&sink);
	rv = r == NULL ? -ENOMEM : f->vfs->ops->size(f, &ret->bytes);
	if (rv == 0)
		rv = snap_read(f, r, SNAP_HEAD_PIECE);
	rows_stream_reader_free(r);
	f->vfs->ops->close(f);
	return rv == -ECANCELED ? 0 : rv == 0 || rv == 1 ? -EBADMSG : rv;
}

/* --- loading rows --- */

struct snap_load {
	struct rows_back *back;
	struct rows_batch *batch;
	uint8_t group[2];
	struct rows_stream_head head;
	struct buf key;
};

static int load_write(struct snap_load *l)
{
	int rv = rows_batch_write(l->back, l->batch);

	rows_batch_reset(l->batch);
	return rv;
}

static int load_flush(struct snap_load *l)
{
	return rows_batch_bytes(l->batch) < SNAP_BATCH ? 0 : load_write(l);
}

static int load_on_head(void *arg, const struct rows_stream_head *head)
{
	struct snap_load *l = arg;

	l->head = *head;
	l->head.at.conf = mem_dup(head->at.conf, head->at.conf_len);
	return l->head.at.conf == NULL ? -ENOMEM : 0;
}

static int load_on_row(void *arg, struct wire_bytes key,
		       struct wire_bytes value)
{
	struct snap_load *l = arg;

	buf_reset(&l->key);
	buf_add(&l->key, l->group, 2);
	buf_add(&l->key, key.p, key.len);
	if (l->key.err != 0)
		return l->key.err;
	rows_batch_put(l->batch, wire_bytes(l->key.data, l->key.len), value);
	return load_flush(l);
}

/* Takes away what there is of the group, `applied` first. */
static int load_clear(struct snap_load *l, uint16_t group)
{
	uint8_t applied[ROWS_APPLIED_KEY], to[3];
	struct wire_bytes key, value;
	struct rows_iter *it = NULL;
	int rv;

	rows_applied_key(group, applied);
	rows_batch_del(l->batch, wire_bytes(applied, sizeof applied));
	rv = load_write(l);
	if (rv != 0)
		return rv;
	memcpy(to, l->group, 2);
	to[2] = 0xff;
	rv = rows_iter_new(l->back, wire_bytes(l->group, 2), wire_bytes(to, 3),
			   &it);
	while (rv == 0) {
		rv = rows_iter_next(it, &key, &value);
		if (rv != 0)
			break;
		rows_batch_del(l->batch, key);
		rv = load_flush(l);
	}
	rows_iter_free(it);
	return rv == -ENOENT ? load_write(l) : rv;
}

int raft_snap_load(struct vfs *vfs, const char *dir, const char *name,
		   uint16_t group, struct rows_back *back)
{
	struct snap_load l = {
		.back = back,
		.batch = rows_batch_new(),
		.group = { (uint8_t)(group >> 8), (uint8_t)group },
	};
	struct rows_stream_sink sink = {
		.head = load_on_head, .row = load_on_row, .arg = &l,
	};
	struct rows_stream_reader *r = rows_stream_reader_new(&sink);
	struct vfs_file *f = NULL;
	int rv;

	buf_init(&l.key, 0);
	rv = l.batch == NULL || r == NULL ? -ENOMEM
					  : snap_open(vfs, dir, name, &f);
	if (rv == 0)
		rv = load_clear(&l, group);
	if (rv == 0)
		rv = snap_read(f, r, SNAP_PIECE);
	if (rv == 1) {
		rows_applied_batch(l.batch, group, &l.head.at);
		rv = load_write(&l);
		if (rv == 0)
			rv = rows_back_checkpoint(back);
	} else if (rv == -EBADMSG && l.batch != NULL) {
		rows_batch_reset(l.batch); /* nothing of it counts */
		rv = load_clear(&l, group);
		rv = rv == 0 ? -EBADMSG : rv;
	}
	if (f != NULL)
		f->vfs->ops->close(f);
	rows_stream_reader_free(r);
	rows_batch_free(l.batch);
	rows_applied_fini(&l.head.at);
	buf_fini(&l.key);
	return rv;
}

/* --- all of a store --- */

struct snap_doubt {
	uint16_t group;
	uint64_t moved;
};

struct raft_start {
	struct vfs *vfs;
	char *dir;
	struct wire_u128 store;
	struct rows_back *back;
	struct errbuf *e; /* while opening */
	struct raft_snap_file *files;
	size_t n, cap;
	/* groups in doubt */
	struct snap_doubt *doubts;
	unsigned n_doubts, cap_doubts;
	int err;
};

static int start_doubt(struct raft_start *s, uint16_t group, uint64_t moved)
{
	if (s->n_doubts == s->cap_doubts) {
		unsigned cap = s->cap_doubts * 2 + 8;
		struct snap_doubt *p =
			mem_realloc(s->doubts, cap * sizeof *p);

		if (p == NULL)
			return -ENOMEM;
		s->doubts = p;
		s->cap_doubts = cap;
	}
	s->doubts[s->n_doubts++] = (struct snap_doubt){ group, moved };
	return 0;
}

static int start_add(struct raft_start *s, const struct raft_snap_file *file)
{
	if (s->n == s->cap) {
		size_t cap = s->cap * 2 + 8;
		struct raft_snap_file *p = mem_realloc(s->files,
						       cap * sizeof *p);

		if (p == NULL)
			return -ENOMEM;
		s->files = p;
		s->cap = cap;
	}
	s->files[s->n++] = *file;
	return 0;
}

static int start_on_name(void *arg, const char *name)
{
	struct raft_start *s = arg;
	struct raft_snap_file file = { 0 };
	uint16_t group;
	int rv;

	if (!raft_snap_name_parse(name, &group))
		return 0;
	rv = raft_snap_look(s->vfs, s->dir, name, &file);
	if (rv == 0 && file.group != group)
		rv = -EBADMSG;
	if (rv == 0 && (file.store.hi != s->store.hi ||
			file.store.lo != s->store.lo))
		rv = errbuf_set(s->e, -EINVAL, "%s/%s is of another store",
				s->dir, name);
	if (rv == -EBADMSG || rv == -EIO) {
		file.group = group;
		file.bad = true;
		log_warnx("%s/%s is damaged: group=%u has no row snapshot",
			  s->dir, name, group);
		rv = 0;
	}
	if (rv == 0)
		rv = start_add(s, &file);
	s->err = rv;
	return rv;
}

int raft_start_open(struct vfs *vfs, const char *dir, struct wire_u128 store,
		    struct rows_back *back, struct raft_start **ret_start,
		    struct errbuf *e)
{
	struct raft_start *s = mem_zalloc(sizeof *s);
	int rv;

	if (s == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	errbuf_set(e, 0, "%s", "");
	s->vfs = vfs;
	s->dir = mem_strdup(dir);
	s->store = store;
	s->back = back;
	s->e = e;
	rv = s->dir == NULL ? -ENOMEM : vfs_make_dir(vfs, dir);
	if (rv == 0)
		rv = vfs->ops->list(vfs, dir, start_on_name, s);
	if (rv >= 0)
		rv = s->err;
	s->e = NULL;
	if (rv != 0) {
		if (e->text[0] == '\0')
			errbuf_set(e, rv, "%s: %s", dir, strerror(-rv));
		raft_start_free(s);
		return rv;
	}
	*ret_start = s;
	return 0;
}

void raft_start_free(struct raft_start *s)
{
	if (s == NULL)
		return;
	mem_free(s->dir);
	mem_free(s->files);
	mem_free(s->doubts);
	mem_free(s);
}

static struct raft_snap_file *start_find(const struct raft_start *s,
					 uint16_t group)
{
	for (size_t i = 0; s != NULL && i < s->n; i++)
		if (s->files[i].group == group)
			return &s->files[i];
	return NULL;
}

const struct raft_snap_file *raft_start_file(const struct raft_start *s,
					     uint16_t group)
{
	return start_find(s, group);
}

bool raft_start_doubts(const struct raft_start *s, uint16_t group)
{
	for (unsigned i = 0; i < s->n_doubts; i++)
		if (s->doubts[i].group == group)
			return true;
	return false;
}

unsigned raft_start_n_doubts(const struct raft_start *s)
{
	return s->n_doubts;
}

uint16_t raft_start_doubt(const struct raft_start *s, unsigned i,
			  uint64_t *ret_moved)
{
	*ret_moved = s->doubts[i].moved;
	return s->doubts[i].group;
}

/* The rows of the group say `index`, which is too little. */
static int start_restore(struct raft_start *s, uint16_t group, uint64_t index)
{
	struct raft_snap_file *file = start_find(s, group);
	char name[RAFT_SNAP_NAME_MAX];
	int rv;

	/* of equal index: values may have been moved before it was made */
	if (file == NULL || file->bad || file->index < index)
		return 0;
	raft_snap_name(group, name);
	rv = raft_snap_load(s->vfs, s->dir, name, group, s->back);
	if (rv == 0) {
		log_warnx("group=%u: rows were made again from %s/%s", group,
			  s->dir, name);
		return 0;
	}
	if (rv == -EBADMSG) {
		log_warnx("%s/%s is damaged: group=%u has no row snapshot",
			  s->dir, name, group);
		file->bad = true;
		return 0;
	}
	return errbuf_set(s->e, rv, "%s/%s: the rows of group %u cannot be "
				    "made again: %s", s->dir, name, group,
			  strerror(-rv));
}

/* A row of the newest START's tables. */
static int start_on_row(void *arg, uint16_t group, uint64_t applied,
			uint64_t moved)
{
	struct raft_start *s = arg;
	struct rows_applied a;
	uint64_t index;
	bool is_old;
	int rv;

	if (applied == 0 || raft_start_doubts(s, group))
		return 0;
	rv = rows_applied_read(s->back, group, &a);
	if (rv != 0)
		return errbuf_set(s->e, rv, "rows of group %u cannot be read",
				  group);
	index = a.index;
	is_old = index < applied || (index == applied && a.moved < moved);
	rows_applied_fini(&a);
	if (!is_old)
		return 0;
	log_warnx("group=%u: rows are %s: they say %llu, the log says %llu",
		  group, index == 0 ? "gone" : "old",
		  (unsigned long long)index, (unsigned long long)applied);
	rv = start_restore(s, group, index);
	return rv == 0 ? start_doubt(s, group, moved) : rv;
}

int raft_start_recover(const struct raft_start *s, const struct seg_rec *start,
		       struct raft_host *h)
{
	int rv = raft_host_recover(h, start);

	for (unsigned i = 0; i < s->n_doubts && rv == 0; i++)
		if (raft_host_has_group(h, s->doubts[i].group))
			rv = raft_host_recover_doubt(h, s->doubts[i].group);
	return rv;
}

int raft_start_check(const struct raft_start *s,
		     bool (*known)(void *arg, uint16_t group), void *arg,
		     struct errbuf *e)
{
	for (size_t i = 0; i < s->n; i++)
		if (!known(arg, s->files[i].group))
			return errbuf_set(e, -EIO,
					  "the log of group %u is gone: %s has "
					  "a snapshot of its rows",
					  s->files[i].group, s->dir);
	return 0;
}

int raft_start_from(struct raft_start *s, const struct seg_rec *start,
		    uint64_t *ret_gen, struct errbuf *e)
{
	uint64_t gen = raft_start_need(start);
	int rv;

	s->e = e;
	rv = raft_start_rows(start, start_on_row, s);
	s->e = NULL;
	if (rv != 0)
		return rv;
	for (unsigned i = 0; i < s->n_doubts; i++) {
		const struct raft_snap_file *file =
			raft_start_file(s, s->doubts[i].group);
		uint64_t need = file == NULL || file->bad ? 0 : file->need;

		if (need < gen)
			gen = need;
	}
	*ret_gen = gen;
	return 0;
}
