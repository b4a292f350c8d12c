#ifndef GATEWAY_GW_COPY_H
#define GATEWAY_GW_COPY_H
/*
 * CopyObject and UploadPartCopy, over three files:
 *
 *   gw_copy.c         request, source, conditions, the publishing record, answer
 *   gw_copy_ref.c     by reference: extents collected, no byte moves; source
 *                     and destination in one shard
 *   gw_copy_stream.c  else: read, hashed, written again
 */
#include "gateway/gw.h"
#include "gateway/s3_time.h"

#define GW_COPY_TRIES 3 /* the source changed under us */

struct gw_stream;

struct gw_copy_op {
	bool part;                 /* UploadPartCopy */
	bool replace;              /* metadata of the request, not the source */
	unsigned tries;
	uint8_t *names;            /* decoded copy source */
	struct s3_name src;
	const struct cluster_bucket *src_bucket; /* of r->cluster or: */
	struct cluster *src_cluster; /* ref'd; NULL: not needed */
	struct s3_range range;     /* of a part */
	struct gw_cond cond;       /* on the destination */
	/* of UploadPartCopy */
	struct wire_u128 upload;
	uint32_t number;
	uint16_t home;             /* shard for new slices */
	/* checksum to be made, NONE: keep what the source has */
	enum s3_sum_alg alg;
	/* the source as found */
	uint64_t ino, version, off, len;
	struct buf etag;           /* of the source; then of the copy */
	struct buf headers, user, sums, sum_type; /* kvs, kvs, kvs, text */
	/* what is published */
	struct wire_vec extents;
	struct buf data;           /* inline bytes of the extents */
	uint64_t at;               /* collected up to here */
	int64_t mtime;             /* of the copy */
	struct gw_stream *stream;
};

/* The bytes' places are known (op->extents, op->data, op->etag, op->sums):
 * publishes and answers. */
void gw_copy_publish(struct gw_req *r);
/* The source is no longer what we saw: looks again, or gives up. */
void gw_copy_again(struct gw_req *r);

/* By reference; falls back to gw_copy_stream(). reply: of OBJECT. */
void gw_copy_ref(struct gw_req *r, const struct rpc_object_rsp *o,
		 struct body *body);
void gw_copy_stream(struct gw_req *r);
void gw_stream_named(struct gw_stream *s); /* published; NULL is fine */
void gw_stream_stop(struct gw_stream *s); /* NULL is fine */
void gw_stream_free(struct gw_stream *s); /* NULL is fine */

#endif
