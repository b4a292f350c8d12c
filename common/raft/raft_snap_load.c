/*
 * Row snapshots at the start.
 *
 * Happy path: the heads of all files are read; rows of other members that were
 * being put in place are put in place (raft_snap.h, "rows of other members"); the
 * rows of each group are as far as the newest START says they were durable; the
 * log is read from where that says.
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

#define SNAP_HEAD_PIECE (64u << 10)

/* --- the head of a file --- */

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

static int snap_look(struct vfs_file *f, struct raft_snap_file *ret)
{
	struct rows_stream_sink sink = {
		.head = snap_on_head, .row = snap_no_row, .arg = ret,
	};
	struct rows_stream_reader *r = rows_stream_reader_new(&sink);
	uint64_t off = 0;
	struct buf buf;
	int rv = 0;

	if (r == NULL)
		return -ENOMEM;
	buf_init(&buf, 0);
	while (rv == 0)
		rv = raft_snap_feed(f, r, &buf, SNAP_HEAD_PIECE, &off);
	buf_fini(&buf);
	rows_stream_reader_free(r);
	return rv == -ECANCELED ? 0 : rv == 1 ? -EBADMSG : rv;
}

int raft_snap_look(struct vfs *vfs, const char *path,
		   struct raft_snap_file *ret)
{
	struct vfs_file *f;
	int rv = vfs->ops->open(vfs, path, O_RDONLY, 0, &f);

	if (rv != 0)
		return rv;
	rv = f->vfs->ops->size(f, &ret->bytes);
	if (rv == 0)
		rv = snap_look(f, ret);
	f->vfs->ops->close(f);
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
	/* of groups whose rows were being replaced, or were to be */
	struct snap_left {
		uint16_t group;
		const char *suffix;
	} *lefts;
	size_t n_lefts, cap_lefts;
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

/* 0, -EBADMSG, -EINVAL with e set, or of reading. */
static int start_look(struct raft_start *s, uint16_t group, const char *suffix,
		      struct raft_snap_file *ret)
{
	char *path = raft_snap_path(s->dir, group, suffix);
	int rv = path == NULL ? -ENOMEM : raft_snap_look(s->vfs, path, ret);

	if (rv == 0 && ret->group != group)
		rv = -EBADMSG;
	if (rv == 0 && !wire_u128_eq(ret->store, s->store))
		rv = errbuf_set(s->e, -EINVAL, "%s is of another store", path);
	mem_free(path);
	return rv;
}

static int start_left(struct raft_start *s, const char *name)
{
	static const char *const suffixes[] = {
		RAFT_SNAP_FETCH, RAFT_SNAP_NEW, RAFT_SNAP_INSTALL,
	};

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		uint16_t group;

		if (!raft_snap_name_parse(name, suffixes[i], &group))
			continue;
		if (s->n_lefts == s->cap_lefts) {
			size_t cap = s->cap_lefts * 2 + 8;
			struct snap_left *p = mem_realloc(s->lefts,
							  cap * sizeof *p);

			if (p == NULL)
				return s->err = -ENOMEM;
			s->lefts = p;
			s->cap_lefts = cap;
		}
		s->lefts[s->n_lefts++] = (struct snap_left){ group,
							     suffixes[i] };
	}
	return 0;
}

static int start_on_name(void *arg, const char *name)
{
	struct raft_start *s = arg;
	struct raft_snap_file file = { 0 };
	uint16_t group;
	int rv;

	if (!raft_snap_name_parse(name, RAFT_SNAP_ROWS, &group))
		return start_left(s, name);
	rv = start_look(s, group, RAFT_SNAP_ROWS, &file);
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

/* --- rows that were being replaced --- */

/* All of the file's rows, or the file means nothing any more. */
static int start_install(struct raft_start *s, uint16_t group, const char *path)
{
	struct raft_snap_file file = { 0 };
	struct rows_applied a;
	uint64_t index;
	int rv = start_look(s, group, RAFT_SNAP_INSTALL, &file);

	if (rv != 0)
		return rv;
	rv = rows_applied_read(s->back, group, &a);
	if (rv != 0)
		return rv;
	index = a.index;
	rows_applied_fini(&a);
	if (index >= file.index)
		return 0;
	rv = raft_snap_load(s->vfs, path, group, s->back);
	if (rv == 0)
		log_warnx("group=%u: rows of another member are in place now",
			  group);
	return rv;
}

/*
 * A file with that name was whole before it got it, and the log knows of it
 * (raft_install.c): the rows of the group are the old ones, or some of either,
 * or those of the file. It is loaded until they are those; then it goes. What
 * was not so far is fetched again.
 */
static int start_finish(struct raft_start *s)
{
	int rv = 0;

	for (size_t i = 0; i < s->n_lefts && rv == 0; i++) {
		const struct snap_left *l = &s->lefts[i];
		char *path = raft_snap_path(s->dir, l->group, l->suffix);

		if (path == NULL)
			return -ENOMEM;
		if (strcmp(l->suffix, RAFT_SNAP_INSTALL) == 0)
			rv = start_install(s, l->group, path);
		if (rv != 0 && s->e->text[0] == '\0')
			errbuf_set(s->e, rv, "%s: the rows of group %u cannot "
					     "be put in place: %s", path,
				   l->group, strerror(-rv));
		if (rv == 0)
			rv = s->vfs->ops->unlink(s->vfs, path);
		mem_free(path);
	}
	if (rv == 0 && s->n_lefts > 0)
		rv = s->vfs->ops->sync_dir(s->vfs, s->dir);
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
	if (rv == 0)
		rv = start_finish(s);
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
	mem_free(s->lefts);
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
	char name[RAFT_SNAP_NAME_MAX], *path;
	int rv;

	/* of equal index: values may have been moved before it was made */
	if (file == NULL || file->bad || file->index < index)
		return 0;
	raft_snap_name(group, name);
	path = raft_snap_path(s->dir, group, RAFT_SNAP_ROWS);
	rv = path == NULL ? -ENOMEM
			  : raft_snap_load(s->vfs, path, group, s->back);
	mem_free(path);
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
