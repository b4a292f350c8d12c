#ifndef GATEWAY_GW_BODY_IMPL_H
#define GATEWAY_GW_BODY_IMPL_H
/* Private to gateway/gw_body*.c. */
#include "gateway/gw_body.h"
#include "gateway/gw_hash.h"
#include "gateway/s3_chunked.h"

/* aws-chunked on its way to the slice: decoded where it was read to. */
struct gw_piece {
	struct gw_piece *next;
	size_t len; /* raw, then decoded */
	size_t off; /* given to the slice */
	uint8_t data[GW_BODY_PIECE];
};

struct gw_piece_list {
	struct gw_piece *head, **tail;
};

/* Bytes of one chunk of the slice that are to be hashed there. */
struct gw_part {
	struct gw_part *next;
	struct body *body; /* a reference */
	uint32_t hashed, len;
};

struct gw_body {
	struct gw_req *r;
	struct gw_plan plan;
	gw_body_fn done; /* NULL: was called, or stopped */
	struct s3_sums *sums;
	struct s3_chunked *chunked; /* NULL: plain */
	enum s3_err err;
	bool ended;    /* the body was read to its end */
	bool hashing;  /* job is under way and holds the request */
	bool verified; /* all promises were held */
	struct gw_hash_job job;
	enum s3_err job_err; /* of its decoding */
	/* memory */
	uint8_t *mem;
	size_t mem_len, mem_cap, mem_max;
	/* slice */
	struct client_slice *slice;
	struct wire_u128 slice_id;
	bool finishing; /* no more bytes for the slice */
	bool stored;    /* all its chunks are durable */
	bool paused;
	/* slice, plain */
	struct gw_part *parts, *last_part;
	size_t unhashed;
	/* slice, chunked */
	struct gw_piece *cur;        /* being filled */
	struct gw_piece_list queue;  /* to be decoded and hashed */
	struct gw_piece *busy;       /* with the job */
	struct gw_piece_list out;    /* to be given to the slice */
	struct gw_piece *spare;      /* one that is empty */
	unsigned n_pieces;           /* all but the spare */
};

/* Ends the body with e, once; b->done may free b. */
void gw_body_finish(struct gw_body *b, enum s3_err e);
/* Decodes and hashes; loop or worker. */
enum s3_err gw_body_digest(struct gw_body *b, uint8_t *data, size_t *len);
/* The same on a worker, then done() on the loop; gw_body_job_end() there. */
void gw_body_job(struct gw_body *b, uint8_t *data, size_t len,
		 void (*done)(struct gw_hash_job *job));
/* Lets go of the request: b may be gone afterwards. */
void gw_body_job_end(struct gw_body *b);
/* All bytes are in: does everything that was promised hold? */
enum s3_err gw_body_verify(struct gw_body *b, uint64_t len);

/* --- gw_body_slice.c --- */
int gw_body_slice_init(struct gw_body *b, uint16_t home);
void gw_body_slice_data(struct gw_body *b, struct evbuffer *buf);
uint8_t *gw_body_slice_room(struct gw_body *b, size_t *ret_len);
void gw_body_slice_direct(struct gw_body *b, size_t n);
void gw_body_slice_end(struct gw_body *b);
void gw_body_slice_free(struct gw_body *b);

#endif
