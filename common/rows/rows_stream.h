#ifndef COMMON_ROWS_ROWS_STREAM_H
#define COMMON_ROWS_ROWS_STREAM_H
/*
 * All rows of one group at one applied index as bytes: the file of a row
 * snapshot, what a lagging member gets, what moves (docs/DISK_FORMAT.md, "Row
 * streams"). A writer hands out one piece after the other, a reader is fed
 * with pieces of any size; neither keeps more than a block. Everything fed is
 * checked before it is handed on: bytes may come from a disk or a peer.
 *
 * A local stream has rows as they are. In a portable one the owner of the rows
 * puts values in front of those that name them.
 *
 * Workers or start-up only: both read or write a back.
 */
#include "common/rows/rows_applied.h"

#define ROWS_STREAM_PORTABLE 1

/* A planted bug, only where configure was told --enable-mutations: sums of
 * blocks say nothing. */
#ifdef ENABLE_MUTATIONS
extern bool rows_stream_mutation;
#else
#define rows_stream_mutation false
#endif

struct rows_stream_head {
	uint32_t flags;
	uint16_t group;
	struct rows_applied at; /* conf is owned by who has the head */
	uint64_t need;          /* of a local stream */
	struct wire_u128 store;
};

/* --- writing --- */

struct rows_stream_writer;

/* Where what belongs to a row goes. */
struct rows_stream_out {
	struct buf *items; /* private */
	struct buf *value; /* empty; filled: this stands for the row's value */
};
/* bytes has hash. 0 or -ENOMEM. */
int rows_stream_put_value(struct rows_stream_out *out, struct wire_u128 hash,
			  struct wire_bytes bytes);

struct rows_stream_config {
	struct rows_back *back;
	uint16_t group;
	uint32_t flags;
	uint64_t need;
	struct wire_u128 store;
	size_t block; /* bytes of items, from which on one ends; 0: 256 KiB */
	/*
	 * Portable: values of a row, then its value without positions. 0; 1:
	 * call me again for this row, it has more values; < 0 ends.
	 */
	int (*row)(void *arg, struct wire_bytes key, struct wire_bytes value,
		   struct rows_stream_out *out);
	void *arg;
};

/*
 * The rows as they are now, in one snapshot of the back. -ENOENT when the
 * group has none that say how far they are; -EIO, -ENOMEM.
 */
int rows_stream_writer_new(const struct rows_stream_config *config,
			   struct rows_stream_writer **ret_writer);
/* Borrowed. */
const struct rows_stream_head *
rows_stream_writer_head(const struct rows_stream_writer *w);
/* Appends the next piece, about a block. 1: there is more; 0: that was the
 * end; -EIO, -ENOMEM, or what row() gave. */
int rows_stream_next(struct rows_stream_writer *w, struct buf *out);
void rows_stream_writer_free(struct rows_stream_writer *w);

/* A writer of a local stream whose rows are pushed. head is copied. */
int rows_stream_pusher_new(const struct rows_stream_head *head,
			   struct rows_stream_writer **ret_writer);
/*
 * The next row, in the order of keys (behind the group number); what is ready
 * is appended to out: mostly nothing, then a block. 0, -EMSGSIZE, -ENOMEM.
 */
int rows_stream_push(struct rows_stream_writer *w, struct wire_bytes key,
		     struct wire_bytes value, struct buf *out);
int rows_stream_push_end(struct rows_stream_writer *w, struct buf *out);

/* --- reading --- */

struct rows_stream_reader;

/* Each returns 0, or < 0, which ends the reading. Bytes are borrowed. */
struct rows_stream_sink {
	int (*head)(void *arg, const struct rows_stream_head *head);
	int (*value)(void *arg, struct wire_u128 hash, struct wire_bytes bytes);
	int (*row)(void *arg, struct wire_bytes key, struct wire_bytes value);
	void *arg;
};

/* sink is copied; head may be NULL, and value, when it is local. */
struct rows_stream_reader *
rows_stream_reader_new(const struct rows_stream_sink *sink);
/*
 * 0: go on; 1: this was the end of the stream, all of it is good; -EBADMSG:
 * these are not its bytes; -ENOMEM, or what the sink gave. Then no more.
 */
int rows_stream_feed(struct rows_stream_reader *r, const void *p, size_t len);
void rows_stream_reader_free(struct rows_stream_reader *r);

#endif
