#ifndef FUSE_READER_H
#define FUSE_READER_H
/*
 * Reading through one handle: a READ that goes on where the last one ended is
 * served from streams fetched ahead (256 KiB, doubling to 64 MiB, of which up
 * to 8 MiB and what is under way are fetched before they are wanted); any other
 * one fetches its own range. Unsent bytes of this mount are laid over what
 * the shard gives. Streams are dropped when the file's data_version moves.
 * Loop only.
 */
#include "fuse/fop.h"

struct rstream;

struct reader {
	struct rstream *first; /* streams that follow each other */
	struct rstream *last;
	uint64_t next_off;     /* where a sequential reader goes on */
	uint32_t window;       /* length of the next stream */
	uint64_t version;      /* data_version of the streams */
	struct fop_queue waiting;
};

void reader_init(struct reader *r);
void reader_fini(struct reader *r);
/* Answers op (h, off, size set). */
void reader_read(struct fop *op);
/*
 * The bytes of a small file that came with the answer to its OPEN; NULL: they
 * did not. reader_take() gives them to the first READ, if that comes at once.
 */
struct rstream *rstream_of_open(struct mount *m, const struct rpc_read_rsp *rsp,
				struct body *body);
void reader_take(struct fhandle *h, struct rstream *s); /* s NULL is fine */
/* So many bytes may come with an OPEN. */
#define READER_OPEN_MAX (64u << 10)
void rstream_free(struct rstream *s); /* NULL is fine */

#endif
