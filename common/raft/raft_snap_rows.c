/*
 * The rows of a group become those of a file.
 *
 * `applied` goes first, then the other rows, then the file's rows are put,
 * `applied` last, then a checkpoint. Any prefix of that a crash leaves is told by
 * `applied`: it is that of before, or missing, or that of the file. So whoever
 * finds it old or missing loads the file again.
 *
 * Failure modes: a file that turns out to be none: what there is of the group
 * goes, so that nothing half is left.
 */
#include "common/raft/raft_snap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/raft/raft_snap_int.h"

#define SNAP_PIECE (1u << 20)
#define SNAP_BATCH (1u << 20)
#define SNAP_STEP 4u /* batches of one */

enum load_state { LOAD_CLEAR, LOAD_READ, LOAD_OVER, LOAD_UNDO };

struct raft_snap_loader {
	struct rows_back *back;
	struct rows_batch *batch;
	uint16_t id;
	uint8_t group[2];
	enum load_state state;
	struct vfs_file *file;
	struct rows_stream_reader *reader;
	struct rows_iter *it; /* LOAD_CLEAR, LOAD_UNDO */
	struct rows_stream_head head;
	struct buf key, buf;
	uint64_t off;
	unsigned batches;     /* of this step */
};

/* --- file names --- */

void raft_snap_name(uint16_t group, char name[RAFT_SNAP_NAME_MAX])
{
	(void)snprintf(name, RAFT_SNAP_NAME_MAX, "%05u%s", group,
		       RAFT_SNAP_ROWS);
}

bool raft_snap_name_parse(const char *name, const char *suffix,
			  uint16_t *ret_group)
{
	char again[RAFT_SNAP_NAME_MAX];
	unsigned long n = strtoul(name, NULL, 10);

	if (n > UINT16_MAX)
		return false;
	(void)snprintf(again, sizeof again, "%05lu%s", n, suffix);
	*ret_group = (uint16_t)n;
	return strcmp(name, again) == 0;
}

char *raft_snap_path(const char *dir, uint16_t group, const char *suffix)
{
	return mem_printf("%s/%05u%s", dir, group, suffix);
}

/* --- reading --- */

int raft_snap_feed(struct vfs_file *f, struct rows_stream_reader *r,
		   struct buf *buf, size_t piece, uint64_t *off)
{
	uint8_t *p;
	ssize_t n;

	buf_reset(buf);
	p = buf_reserve(buf, piece);
	if (p == NULL)
		return buf->err;
	n = f->vfs->ops->pread(f, p, piece, *off, 0);
	if (n <= 0) /* 0: cut short; no better than wrong bytes, either */
		return n == 0 || n == -EIO ? -EBADMSG : (int)n;
	*off += (uint64_t)n;
	return rows_stream_feed(r, p, (size_t)n);
}

/* --- rows --- */

static int load_write(struct raft_snap_loader *l)
{
	int rv = rows_batch_write(l->back, l->batch);

	rows_batch_reset(l->batch);
	l->batches++;
	return rv;
}

static int load_flush(struct raft_snap_loader *l)
{
	return rows_batch_bytes(l->batch) < SNAP_BATCH ? 0 : load_write(l);
}

static int load_on_head(void *arg, const struct rows_stream_head *head)
{
	struct raft_snap_loader *l = arg;

	if (head->flags != 0 || head->group != l->id)
		return -EBADMSG;
	l->head = *head;
	l->head.at.conf = mem_dup(head->at.conf, head->at.conf_len);
	return l->head.at.conf == NULL ? -ENOMEM : 0;
}

static int load_on_row(void *arg, struct wire_bytes key,
		       struct wire_bytes value)
{
	struct raft_snap_loader *l = arg;

	buf_reset(&l->key);
	buf_add(&l->key, l->group, 2);
	buf_add(&l->key, key.p, key.len);
	if (l->key.err != 0)
		return l->key.err;
	rows_batch_put(l->batch, wire_bytes(l->key.data, l->key.len), value);
	return load_flush(l);
}

/* `applied` first. */
static int load_clear_begin(struct raft_snap_loader *l)
{
	uint8_t applied[ROWS_APPLIED_KEY], to[3];
	int rv;

	rows_applied_key(l->id, applied);
	rows_batch_del(l->batch, wire_bytes(applied, sizeof applied));
	rv = load_write(l);
	memcpy(to, l->group, 2);
	to[2] = 0xff;
	return rv != 0 ? rv
		       : rows_iter_new(l->back, wire_bytes(l->group, 2),
				       wire_bytes(to, 3), &l->it);
}

/* Takes away what there is of the group. 1: there is more. */
static int load_clear(struct raft_snap_loader *l)
{
	struct wire_bytes key, value;
	int rv = l->it == NULL ? load_clear_begin(l) : 0;

	while (rv == 0 && l->batches < SNAP_STEP) {
		rv = rows_iter_next(l->it, &key, &value);
		if (rv != 0)
			break;
		rows_batch_del(l->batch, key);
		rv = load_flush(l);
	}
	if (rv == 0)
		return 1;
	rows_iter_free(l->it);
	l->it = NULL;
	return rv == -ENOENT ? load_write(l) : rv;
}

/* 1: there is more. */
static int load_read(struct raft_snap_loader *l)
{
	int rv = 0;

	while (rv == 0 && l->batches < SNAP_STEP)
		rv = raft_snap_feed(l->file, l->reader, &l->buf, SNAP_PIECE,
				    &l->off);
	if (rv != 1)
		return rv == 0 ? 1 : rv;
	rows_applied_batch(l->batch, l->id, &l->head.at);
	rv = load_write(l);
	return rv == 0 ? rows_back_checkpoint(l->back) : rv;
}

int raft_snap_loader_step(struct raft_snap_loader *l)
{
	int rv;

	l->batches = 0;
	switch (l->state) {
	case LOAD_CLEAR:
		rv = load_clear(l);
		if (rv != 0)
			return rv;
		l->state = LOAD_READ;
		return 1;
	case LOAD_READ:
		rv = load_read(l);
		if (rv == 0)
			l->state = LOAD_OVER;
		if (rv != -EBADMSG)
			return rv;
		l->state = LOAD_UNDO;
		rows_batch_reset(l->batch); /* nothing of it counts */
		return 1;
	case LOAD_UNDO:
		rv = load_clear(l);
		return rv == 0 ? -EBADMSG : rv;
	default:
		return 0;
	}
}

/* --- life --- */

int raft_snap_loader_new(struct vfs *vfs, const char *path, uint16_t group,
			 struct rows_back *back,
			 struct raft_snap_loader **ret_loader)
{
	struct raft_snap_loader *l = mem_zalloc(sizeof *l);
	struct rows_stream_sink sink = {
		.head = load_on_head, .row = load_on_row, .arg = l,
	};
	int rv;

	if (l == NULL)
		return -ENOMEM;
	l->back = back;
	l->id = group;
	l->group[0] = (uint8_t)(group >> 8);
	l->group[1] = (uint8_t)group;
	buf_init(&l->key, 0);
	buf_init(&l->buf, 0);
	l->batch = rows_batch_new();
	l->reader = rows_stream_reader_new(&sink);
	rv = l->batch == NULL || l->reader == NULL ? -ENOMEM : 0;
	if (rv == 0)
		rv = vfs->ops->open(vfs, path, O_RDONLY, 0, &l->file);
	if (rv != 0) {
		raft_snap_loader_free(l);
		return rv;
	}
	*ret_loader = l;
	return 0;
}

void raft_snap_loader_free(struct raft_snap_loader *l)
{
	if (l == NULL)
		return;
	if (l->file != NULL)
		l->file->vfs->ops->close(l->file);
	rows_iter_free(l->it);
	rows_stream_reader_free(l->reader);
	rows_batch_free(l->batch);
	rows_applied_fini(&l->head.at);
	buf_fini(&l->key);
	buf_fini(&l->buf);
	mem_free(l);
}

int raft_snap_load(struct vfs *vfs, const char *path, uint16_t group,
		   struct rows_back *back)
{
	struct raft_snap_loader *l;
	int rv = raft_snap_loader_new(vfs, path, group, back, &l);

	if (rv != 0)
		return rv;
	do
		rv = raft_snap_loader_step(l);
	while (rv == 1);
	raft_snap_loader_free(l);
	return rv;
}
