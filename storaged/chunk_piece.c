/*
 * Reading a part of a long chunk without the rest.
 *
 * Happy path: the sums of its pieces are known (chunk_sums.h); a worker finds
 * the row, reads the pieces that the part touches through the page cache, and
 * compares each. Several gets of one chunk are read side by side.
 *
 * Who reads on from where another get has just ended, maybe past what is written
 * anew elsewhere, or the same once more, is better off with the whole chunk,
 * which stays for a moment (chunk_get.c).
 *
 * Failure modes: the sums went meanwhile, or a piece does not have its own: the
 * chunk is read whole, and what that says counts.
 */
#include "storaged/chunk_impl.h"

#include <errno.h>

/*
 * Reads on where a part had ended or soon behind, or up to there once more?
 * Notes where this one will end.
 */
static bool piece_goes_on(struct chunk_loop *cl, const struct chunk_get *g)
{
	uint32_t near = CHUNK_NEAR * chunk_sums_piece, end = g->off + g->len;

	for (unsigned i = 0; i < CHUNK_ENDS; i++) {
		struct chunk_end *e = &cl->ends[i];

		if (e->off == 0 || !chunk_id_eq(&e->id, &g->id))
			continue;
		if (e->off != end && (g->off < e->off || g->off - e->off > near))
			continue;
		e->off = end;
		return true;
	}
	cl->ends[cl->next_end++ % CHUNK_ENDS] = (struct chunk_end){ g->id, end };
	return false;
}

bool chunk_piece_is_part(const struct chunk_get *g, size_t len)
{
	return g->len != 0 && g->len <= CHUNK_PART_MAX && g->len <= len / 2;
}

bool chunk_piece_fits(struct chunk_loop *cl, const struct chunk_get *g)
{
	return chunk_piece_is_part(g, chunk_sums_len(&cl->cs->sums, &g->id)) &&
	       !piece_goes_on(cl, g);
}

/* The pieces that g's part touches. 0, -EINVAL (behind the end), -ENOENT
 * (freed), -EBADMSG, -ENOMEM, or what the read gave. */
static int piece_read_at(struct chunk_store *cs, struct chunk_get *g,
			 const struct chunk_row *row)
{
	uint32_t piece = chunk_sums_piece;
	uint32_t from = g->off / piece * piece, to;
	struct body *b;
	int rv;

	if (g->off >= row->len)
		return -EINVAL;
	to = g->len < row->len - g->off ? g->off + g->len : row->len;
	to = (to + piece - 1) / piece * piece;
	to = to < row->len ? to : row->len;
	b = body_new(to - from);
	if (b == NULL)
		return -ENOMEM;
	rv = seg_read(cs->bulk, row->gen, row->off + from, b->data, to - from,
		      0);
	b->len = to - from;
	if (rv == 0 && !chunk_sums_ok(&cs->sums, &g->id, row->hash,
				      from / piece, b->data, b->len))
		rv = -EBADMSG;
	if (rv != 0) {
		body_unref(b);
		return rv;
	}
	g->body = b;
	g->base = from;
	return 0;
}

void chunk_piece_run(struct env_work *work)
{
	struct chunk_get *g = CONTAINER_OF(work, struct chunk_get, work);
	struct chunk_row row;
	int rv = chunk_index_get(g->cl->cs, &g->id, &row);

	if (rv == 0)
		rv = piece_read_at(g->cl->cs, g, &row);
	if (rv == -EINVAL || rv == -ENOMEM)
		g->status = rpc_status_from_errno(rv);
	else
		g->failed = rv != 0;
}
