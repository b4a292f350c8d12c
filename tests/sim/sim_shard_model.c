/*
 * Commands in a small model of the namespace, each run once, and the answer of
 * the replica that was first compared with what the model says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_shard.h"

/* --- finding --- */

static struct link_to *model_file(struct model *m, uint64_t ino)
{
	for (unsigned i = 0; i < m->n_files; i++)
		if (m->files[i].file->ino == ino)
			return &m->files[i];
	return NULL;
}

static struct nsm_file *model_key(struct nsm_dir *d, const char *key)
{
	const char *slash;

	while ((slash = strchr(key, '/')) != NULL) {
		char comp[NAMES_KEY];

		snprintf(comp, sizeof comp, "%.*s", (int)(slash - key), key);
		d = nsm_dir_of(d, comp);
		if (d == NULL)
			return NULL;
		key = slash + 1;
	}
	return nsm_file_of(d, key);
}

static void model_track(struct model *m, struct nsm_file *f, uint64_t ino)
{
	f->ino = ino;
	f->refs++;
	m->files = sim_grow(m->files, m->n_files, &m->cap_files,
			    sizeof *m->files);
	m->files[m->n_files++] = (struct link_to){ .file = f };
}

static void model_drop(struct model *m, struct link_to *l)
{
	upload_dropped(m, l);
	nsm_file_unref(l->file);
	free(l->slices);
	*l = m->files[--m->n_files];
}

/* Files that lost their last name are kept when the leader said so. */
static void model_orphans(struct model *m, uint32_t decisions)
{
	for (unsigned i = m->n_files; i-- > 0;) {
		struct link_to *l = &m->files[i];

		if (l->file->nlink > 0 || l->orphan)
			continue;
		l->orphan = (decisions & NS_DECIDE_OPEN) != 0;
		if (!m->again)
			(l->orphan ? open_kept : open_gone)(m, l->file->ino);
		if (!l->orphan)
			model_drop(m, l);
	}
}

static bool is(struct wire_bytes b, const char *text)
{
	return wire_bytes_eq(b, wire_cstr(text));
}

/* --- commands: what they answer, done to the model --- */

/* What the answer says beside its status; of what is not here, anything. */
struct expect {
	bool has_size, has_pos, has_nlink;
	uint64_t size, pos;
	uint32_t nlink;
};

static uint32_t model_cond(struct wire_bytes match, struct wire_bytes none,
			   const struct nsm_file *f)
{
	if (f == NULL)
		return match.len > 0 ? RPC_STATUS_NOENT : 0;
	if (match.len > 0 && !is(match, "*") &&
	    (f->tag == 0 || etag_tag(match) != f->tag))
		return RPC_STATUS_PRECONDITION;
	return none.len > 0 ? RPC_STATUS_PRECONDITION : 0;
}

/* Extents of a request, in order, above base. */
static void model_extents(struct model *m, struct link_to *l, uint64_t base,
			  struct wire_bytes extents, struct wire_bytes data)
{
	struct wire_extent x;
	struct wire_reader r;
	uint32_t n;

	for (r = wire_vec_reader(extents, &n); n > 0; n--) {
		wire_get_extent(&r, &x);
		slice_put(m, l, base + x.pos, &x, data);
	}
}

static uint32_t model_put(struct model *m, const struct ns_cmd *c,
			  const struct ns_answer *a, struct expect *e)
{
	struct rpc_put_rsp rsp;
	struct rpc_put q;
	char key[NAMES_KEY];
	struct nsm_file *f;
	uint32_t status;

	(void)rpc_put_decode(&q, c->payload, c->len);
	names_str(q.key, key);
	status = model_cond(q.if_match, q.if_none_match,
			    model_key(m->dir, key));
	if (status == 0)
		status = slice_commit(m, q.extents);
	if (status != 0 ||
	    rpc_put_rsp_decode(&rsp, a->payload.data, a->payload.len) != 0)
		return status;
	nsm_put(m->dir, key, (const uint8_t *)"", 0);
	f = model_key(m->dir, key);
	f->tag = etag_tag(q.etag);
	model_track(m, f, rsp.attr.ino);
	model_extents(m, &m->files[m->n_files - 1], 0, q.extents, q.data);
	e->has_size = e->has_nlink = true;
	e->size = f->size;
	e->nlink = 1;
	return 0;
}

static uint32_t model_complete(struct model *m, const struct ns_cmd *c,
			       const struct ns_answer *a, struct expect *e)
{
	struct rpc_mpu_complete q;
	struct rpc_put_rsp rsp;
	char key[NAMES_KEY];
	struct nsm_file *f;
	struct whole whole;
	uint32_t status;

	(void)rpc_mpu_complete_decode(&q, c->payload, c->len);
	status = upload_join(m, &q, &whole);
	names_str(q.key, key);
	if (status == 0)
		status = model_cond(q.if_match, q.if_none_match,
				    model_key(m->dir, key));
	if (status != 0 ||
	    rpc_put_rsp_decode(&rsp, a->payload.data, a->payload.len) != 0)
		return status;
	if (etag_tag(rsp.etag) != whole.tag)
		sim_fail(m->w->c, "group %u: another ETag of a whole: %.*s",
			 m->group, (int)rsp.etag.len,
			 (const char *)rsp.etag.p);
	nsm_put(m->dir, key, whole.bytes, whole.len);
	f = model_key(m->dir, key);
	f->tag = whole.tag;
	model_track(m, f, rsp.attr.ino);
	upload_joined(m, q.upload, &whole, &m->files[m->n_files - 1]);
	e->has_size = e->has_nlink = true;
	e->size = f->size;
	e->nlink = 1;
	return 0;
}

static uint32_t model_delete(struct model *m, const struct ns_cmd *c)
{
	struct rpc_delete q;
	char key[NAMES_KEY];
	uint32_t status;

	(void)rpc_delete_decode(&q, c->payload, c->len);
	status = model_cond(q.if_match, q.if_none_match,
			    model_key(m->dir, names_str(q.key, key)));
	return status != 0 ? status : nsm_delete(m->dir, key);
}

static uint32_t model_mknod(struct model *m, const struct ns_cmd *c,
			    const struct ns_answer *a)
{
	struct nsm_file *f;
	struct rpc_mknod q;
	uint32_t status;

	(void)rpc_mknod_decode(&q, c->payload, c->len);
	if ((q.flags & RPC_MKNOD_OPEN) != 0 &&
	    open_session_over(m, q.session))
		return RPC_STATUS_SESSION;
	status = names_mknod(m->dir, c, a, &f);
	if (f != NULL)
		model_track(m, f, f->ino);
	return status;
}

static uint32_t model_link(struct model *m, const struct ns_cmd *c,
			   struct expect *e)
{
	struct rpc_link q;
	char name[NAMES_KEY];
	struct link_to *l;
	struct nsm_dir *d;
	uint32_t status;

	(void)rpc_link_decode(&q, c->payload, c->len);
	d = names_dir(m->dir, q.dir);
	if (d == NULL)
		return RPC_STATUS_NOENT;
	l = model_file(m, q.ino);
	if (l == NULL)
		return RPC_STATUS_STALE;
	status = nsm_link(l->file, d, names_str(q.name, name));
	if (status == 0)
		l->orphan = false;
	e->has_nlink = true;
	e->nlink = l->file->nlink;
	return status;
}

static uint32_t model_write(struct model *m, const struct ns_cmd *c,
			    struct expect *e)
{
	struct rpc_write q;
	struct link_to *l;
	uint32_t status;

	(void)rpc_write_decode(&q, c->payload, c->len);
	l = model_file(m, q.ino);
	if (l == NULL)
		return RPC_STATUS_STALE;
	status = slice_commit(m, q.extents);
	if (status != 0)
		return status;
	e->has_pos = e->has_size = true;
	if ((q.flags & RPC_WRITE_APPEND) != 0)
		e->pos = l->file->size;
	model_extents(m, l, e->pos, q.extents, q.data);
	l->file->tag = 0;
	e->size = l->file->size;
	return 0;
}

static uint32_t model_setattr(struct model *m, const struct ns_cmd *c,
			      const struct ns_answer *a, struct expect *e)
{
	struct rpc_setattr q;
	struct link_to *l;
	struct nsm_dir *d;

	(void)rpc_setattr_decode(&q, c->payload, c->len);
	l = model_file(m, q.ino);
	d = l == NULL ? names_dir(m->dir, q.ino) : NULL;
	if (d != NULL) {
		d->implicit = false;
		return 0;
	}
	if (l == NULL) /* a directory without name may be there or not */
		return a->status == 0 && (q.valid & RPC_SET_SIZE) == 0
			       ? 0
			       : RPC_STATUS_STALE;
	if ((q.valid & RPC_SET_SIZE) != 0 && q.size != l->file->size) {
		if (q.size < l->file->size)
			slice_wrote(l, q.size, l->file->size - q.size, 0);
		nsm_truncate(l->file, q.size);
		l->file->tag = 0;
	}
	e->has_size = e->has_nlink = true;
	e->size = l->file->size;
	e->nlink = l->file->nlink;
	return 0;
}

static uint32_t model_close(struct model *m, const struct ns_cmd *c)
{
	struct rpc_close q;
	struct link_to *l;

	(void)rpc_close_decode(&q, c->payload, c->len);
	l = model_file(m, q.ino);
	if (l == NULL || !l->orphan || (c->decisions & NS_DECIDE_LAST) == 0)
		return 0;
	if (!m->again)
		open_gone(m, q.ino);
	model_drop(m, l);
	return 0;
}

/* Of the host: where extents became one, their bytes are those of the file. */
static uint32_t model_merge(struct model *m, const struct ns_cmd *c,
			    const struct ns_answer *a)
{
	struct link_to *l;
	struct rpc_merge q;

	(void)rpc_merge_decode(&q, c->payload, c->len);
	if (a->status != RPC_STATUS_OK)
		return a->status == RPC_STATUS_STALE ? a->status
						     : RPC_STATUS_PRECONDITION;
	l = model_file(m, q.ino);
	if (l != NULL && (q.pos + q.len > l->file->size ||
			  memcmp(l->file->bytes + q.pos, q.data.p, q.len) !=
				  0))
		sim_fail(m->w->c, "inode %llx: other bytes were merged",
			 (unsigned long long)q.ino);
	if (l != NULL)
		slice_wrote(l, q.pos, q.len, 0);
	return RPC_STATUS_OK;
}

static uint32_t model_run(struct model *m, const struct ns_cmd *c,
			  const struct ns_answer *a, struct expect *e)
{
	switch (c->tag) {
	case RPC_TAG_root_create:
		return names_root(m->dir, &m->root, a);
	case RPC_TAG_put:
		return model_put(m, c, a, e);
	case RPC_TAG_delete:
		return model_delete(m, c);
	case RPC_TAG_mknod:
		return model_mknod(m, c, a);
	case RPC_TAG_unlink:
		return names_unlink(m->dir, c);
	case RPC_TAG_rename:
		return names_rename(m->dir, c);
	case RPC_TAG_link:
		return model_link(m, c, e);
	case RPC_TAG_write:
		return model_write(m, c, e);
	case RPC_TAG_setattr:
		return model_setattr(m, c, a, e);
	case RPC_TAG_close:
		return model_close(m, c);
	case RPC_TAG_merge:
		return model_merge(m, c, a);
	case RPC_TAG_mpu_create:
		return upload_create(m, c, a);
	case RPC_TAG_mpu_part:
		return upload_part(m, c);
	case RPC_TAG_mpu_abort:
		return upload_abort(m, c);
	case RPC_TAG_mpu_complete:
		return model_complete(m, c, a, e);
	case RPC_TAG_slice_reap:
		return slice_reap(m, c, a);
	case RPC_TAG_slice_drop:
		return slice_dropped_by_client(m, c);
	case RPC_TAG_slice_done: /* the dead stay dead */
		return 0;
	case RPC_TAG_queue_work: /* of the host: no name changes */
		upload_queue_work(m, c);
		return 0;
	case RPC_TAG_session_end:
		return 0;
	default:
		sim_fail(m->w->c, "no client sends message %u", c->tag);
	}
}

/* --- answers --- */

static const struct wire_attr *answer_attr(uint16_t tag,
					   const struct ns_answer *a,
					   uint64_t *ret_pos)
{
	static struct wire_attr attr;
	struct rpc_write_rsp write;
	struct rpc_attr_rsp any;
	struct rpc_put_rsp put;
	const uint8_t *p = a->payload.data;
	size_t len = a->payload.len;

	*ret_pos = 0;
	if ((tag == RPC_TAG_put || tag == RPC_TAG_mpu_complete) &&
	    rpc_put_rsp_decode(&put, p, len) == 0) {
		attr = put.attr;
	} else if (tag == RPC_TAG_write &&
		   rpc_write_rsp_decode(&write, p, len) == 0) {
		attr = write.attr;
		*ret_pos = write.pos;
	} else if (rpc_attr_rsp_decode(&any, p, len) == 0) {
		attr = any.attr;
	} else {
		return NULL;
	}
	return &attr;
}

static void model_compare(struct model *m, const struct proc *p,
			  const struct ns_cmd *c, const struct ns_answer *a,
			  uint32_t status, const struct expect *e)
{
	const struct wire_attr *attr;
	uint64_t pos;

	if (a->status != status)
		sim_fail(m->w->c, "node %u group %u index %llu: %s answers %s, "
			 "the model %s", p->at.node, m->group,
			 (unsigned long long)sim_entry->index,
			 rpc_info(c->tag)->name, rpc_status_name(a->status),
			 rpc_status_name(status));
	if (status != 0 || !(e->has_size || e->has_pos || e->has_nlink))
		return;
	attr = answer_attr(c->tag, a, &pos);
	if (attr == NULL || (e->has_size && attr->size != e->size) ||
	    (e->has_nlink && attr->nlink != e->nlink) ||
	    (e->has_pos && pos != e->pos))
		sim_fail(m->w->c, "node %u group %u index %llu: %s answers "
			 "size %llu pos %llu nlink %u, the model %llu %llu %u",
			 p->at.node, m->group,
			 (unsigned long long)sim_entry->index,
			 rpc_info(c->tag)->name,
			 (unsigned long long)(attr ? attr->size : 0),
			 (unsigned long long)pos, attr ? attr->nlink : 0,
			 (unsigned long long)e->size,
			 (unsigned long long)e->pos, e->nlink);
}

uint32_t model_command(struct model *m, const struct proc *p,
		       const struct ns_cmd *c, const struct ns_answer *a)
{
	struct expect e = { .has_size = false };
	uint32_t status = model_run(m, c, a, &e);

	model_compare(m, p, c, a, status, &e);
	model_orphans(m, c->decisions);
	slice_after(m, c);
	return status;
}
