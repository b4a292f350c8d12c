#include "fuse/handle.h"

#include "common/base/mem.h"

struct fhandle *fhandle_new(struct finode *f, int flags)
{
	struct fhandle *h = mem_zalloc(sizeof(*h));

	if (h == NULL)
		return NULL;
	h->f = finode_ref(f);
	h->flags = flags;
	h->err_seen = f->err_seq;
	reader_init(&h->reader);
	dircur_init(&h->cur);
	LIST_INSERT_HEAD(&f->m->handles, h, link);
	return h;
}

void fhandle_free(struct fhandle *h)
{
	if (h == NULL)
		return;
	LIST_REMOVE(h, link);
	reader_fini(&h->reader);
	dircur_clear(&h->cur);
	cluster_unref(h->buckets);
	finode_unref(h->f);
	mem_free(h);
}

int fhandle_take_error(struct fhandle *h)
{
	if (h->err_seen == h->f->err_seq)
		return 0;
	h->err_seen = h->f->err_seq;
	return h->f->err;
}
