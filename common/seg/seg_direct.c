/*
 * Large bodies of a bulk head go to the disk past the page cache: no copy, no
 * page to find (measured: 1.3-1.6 ms of CPU per MiB become 0.1), and a stream
 * of large objects does not push everything else out of memory.
 *
 * A run is cut at the pages that lie whole in one aligned body: these are
 * written O_DIRECT, headers, padding and the ends of bodies through the cache.
 * No page is written both ways, so neither write can undo the other. One
 * fdatasync of the file makes both durable.
 *
 * Failure modes: a file system that refuses O_DIRECT, at open or at a write,
 * gets everything through the cache from then on.
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

static int seg_write_cached(struct seg_head *head, int from, int to,
			    uint64_t off)
{
	if (from == to)
		return 0;
	return head->vfs->ops->pwritev(head->cur, &head->run[from], to - from,
				       off);
}

int seg_write(struct seg_head *head)
{
	uint64_t off = head->run_off, start = off;
	int from = 0, rv; /* run[from] is the first one not written, at start */

	for (int i = 0; i < head->n_run; i++) {
		struct iovec *iov = &head->run[i];
		struct iovec part = *iov;

		part.iov_len = seg_direct_len(head, iov, off);
		if (part.iov_len == 0) {
			off += iov->iov_len;
			continue;
		}
		rv = head->vfs->ops->pwritev(head->direct, &part, 1, off);
		if (rv == -EINVAL) {
			seg_direct_close(head);
			off += iov->iov_len;
			continue;
		}
		if (rv == 0)
			rv = seg_write_cached(head, from, i, start);
		if (rv != 0)
			return rv;
		iov->iov_base = (char *)iov->iov_base + part.iov_len;
		iov->iov_len -= part.iov_len;
		from = i;
		start = off + part.iov_len;
		off = start + iov->iov_len;
	}
	return seg_write_cached(head, from, head->n_run, start);
}
