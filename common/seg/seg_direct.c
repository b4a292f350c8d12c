/*
 * Large bodies of a bulk head go to the disk, and come from it when they are
 * not read again and again, past the page cache: no copy, no page to find
 * (measured: 1.3-1.6 ms of CPU per MiB written become 0.1, 0.4 read become
 * 0.05), and a stream of large objects does not push everything else out of
 * memory.
 *
 * A run is cut at the pages that lie whole in one aligned body: these are
 * written O_DIRECT, headers, padding and the ends of bodies through the cache.
 * No page is written both ways, so neither write can undo the other. One
 * fdatasync of the file makes both durable. Then the pages around such bodies
 * are dropped from the cache, too: as long as they are there, reading ahead
 * goes round them in single pages, and a read costs twice as much (measured:
 * 64 MiB read and hashed in 13 ms instead of 6). What is read is cut likewise,
 * at the last page.
 *
 * Failure modes: a file system that refuses O_DIRECT, at open, a write or a
 * read, gets everything through the cache from then on.
 */
#include "common/seg/seg_int.h"

#include <errno.h>
#include <fcntl.h>

#define SEG_DIRECT_MIN (64u << 10) /* below, the copy costs less */

void seg_direct_open(struct seg_head *head)
{
	if (!head->config.bulk)
		return;
	if (seg_open_gen(head, head->gen, O_RDWR | O_DIRECT, &head->direct) !=
	    0)
		head->direct = NULL;
}

void seg_direct_close(struct seg_head *head)
{
	if (head->direct != NULL)
		head->vfs->ops->close(head->direct);
	head->direct = NULL;
}

/* Bytes of iov, to be written at off, that may go past the cache. */
static size_t seg_direct_len(const struct seg_head *head,
			     const struct iovec *iov, uint64_t off)
{
	size_t len = iov->iov_len & ~(size_t)(SEG_BULK_ALIGN - 1);

	if (head->direct == NULL || len < SEG_DIRECT_MIN ||
	    off % SEG_BULK_ALIGN != 0 ||
	    (uintptr_t)iov->iov_base % SEG_BULK_ALIGN != 0)
		return 0;
	return len;
}

/*
 * From run[from], without its first skip bytes, to before run[to]; at off. The
 * run stays as it is: on a full disk it may be written again.
 */
static int seg_write_cached(struct seg_head *head, int from, size_t skip,
			    int to, uint64_t off)
{
	struct iovec *first = &head->run[from], whole = *first;
	int rv;

	if (from == to)
		return 0;
	first->iov_base = (char *)first->iov_base + skip;
	first->iov_len -= skip;
	rv = head->vfs->ops->pwritev(head->cur, first, to - from, off);
	*first = whole;
	return rv;
}

/* A part at off went past the cache; the page before it has its header. */
static void seg_direct_note(struct seg_head *head, uint64_t off, size_t len)
{
	struct seg_range *last = head->bare + head->n_bare;
	struct seg_range part = { off - SEG_BULK_ALIGN, off + len };

	if (head->n_bare > 0 && (last[-1].to == part.from ||
				 head->n_bare == SEG_BARE_MAX)) {
		last[-1].to = part.to;
		return;
	}
	*last = part;
	head->n_bare++;
}

void seg_direct_synced(struct seg_head *head)
{
	for (unsigned i = 0; i < head->n_bare; i++)
		head->vfs->ops->forget(head->cur, head->bare[i].from,
				       head->bare[i].to - head->bare[i].from);
	head->n_bare = 0;
}

int seg_write(struct seg_head *head)
{
	uint64_t off = head->run_off, start = off;
	/* run[from] is the first one not written, but for skip bytes; at start */
	size_t skip = 0;
	int from = 0, rv;

	for (int i = 0; i < head->n_run; i++) {
		struct iovec part = head->run[i];
		size_t len = part.iov_len;

		part.iov_len = seg_direct_len(head, &part, off);
		if (part.iov_len == 0) {
			off += len;
			continue;
		}
		rv = head->vfs->ops->pwritev(head->direct, &part, 1, off);
		if (rv == -EINVAL) {
			seg_direct_close(head);
			off += len;
			continue;
		}
		if (rv == 0)
			rv = seg_write_cached(head, from, skip, i, start);
		if (rv != 0)
			return rv;
		seg_direct_note(head, off, part.iov_len);
		from = i;
		skip = part.iov_len;
		start = off + part.iov_len;
		off += len;
	}
	return seg_write_cached(head, from, skip, head->n_run, start);
}

/* --- readers --- */

static bool seg_direct_refused(struct seg_head *head)
{
	return __atomic_load_n(&head->direct_refused, __ATOMIC_RELAXED);
}

/* How much of it may come past the cache. */
static size_t seg_direct_most(struct seg_head *head, uint64_t off,
			      const void *buf, size_t len)
{
	len &= ~(size_t)(SEG_BULK_ALIGN - 1);
	return len < SEG_DIRECT_MIN || off % SEG_BULK_ALIGN != 0 ||
			       (uintptr_t)buf % SEG_BULK_ALIGN != 0 ||
			       seg_direct_refused(head)
		       ? 0
		       : len;
}

int seg_read_direct(struct seg_head *head, uint64_t gen, uint64_t off,
		    void *buf, size_t len)
{
	size_t most = seg_direct_most(head, off, buf, len);
	struct vfs_file *f;
	struct seg_file *s;
	int rv = seg_file_use(head, gen, false, &s);

	if (rv != 0)
		return rv;
	if (most > 0) {
		rv = seg_file_direct(head, s, &f);
		if (rv == 0)
			rv = seg_pread_all(f, buf, most, off, 0);
		if (rv == -EINVAL) {
			__atomic_store_n(&head->direct_refused, true,
					 __ATOMIC_RELAXED);
			most = 0;
			rv = 0;
		}
	}
	if (rv == 0 && most < len)
		rv = seg_pread_all(s->f, (uint8_t *)buf + most, len - most,
				   off + most, 0);
	seg_file_leave(head, s);
	return rv;
}
