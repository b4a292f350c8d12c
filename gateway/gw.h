#ifndef GATEWAY_GW_H
#define GATEWAY_GW_H
/*
 * Inside of the gateway. Everything belongs to the loop of its connection.
 *
 * A request lives in struct gw_req: made by gateway_req.c when a head is
 * there, authenticated, matched with the one route table (gateway_route.c),
 * its bucket resolved, and then given to the row's handler. The handler makes
 * its operation (r->op, r->ops) and ends with exactly one answer (gw_reply_*
 * or gw_fail*). When the connection or the answer ends, ops->stop cancels what
 * is under way: no callback of a call comes after it. ops->free follows with
 * the last reference (workers and refreshes hold one).
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/base/env.h"
#include "common/base/metrics.h"
#include "common/client/client.h"
#include "common/http/http.h"

#include "gateway/gateway.h"
#include "gateway/s3_auth.h"
#include "gateway/s3_error.h"
#include "gateway/s3_sum.h"
#include "gateway/s3_uri.h"

struct gw_hash;
struct gw_log;
struct gw_req;

#define GW_SUMS_CACHE 16
#define GW_OBJECT_MAX (5ull << 30) /* bytes of one PUT or part */
#define GW_USER_META_MAX 2048      /* bytes of x-amz-meta-* */
#define GW_XML_MAX (2u << 20)
#define GW_COMPLETE_MAX (4u << 20)

struct gw_loop {
	struct gateway *g;
	struct loop *loop;
	struct env *env;
	struct client *client;
	struct s3_auth *auth;
	uint64_t next_id;     /* of request ids */
	uint64_t refreshed_ns; /* when an unknown key last caused a refresh */
	struct {
		unsigned bits;
		struct s3_sums *sums;
	} sums[GW_SUMS_CACHE]; /* idle ones, to be used again */
	unsigned n_sums;
	unsigned held; /* references of refreshes and workers */
};

struct gateway {
	struct gateway_config config; /* strings copied */
	struct http_server *server;
	struct gw_log *log; /* NULL: none */
	struct gw_hash *hash;
	struct gw_loop *loops;
	unsigned n_loops;
};

/* What an operation does with the events of its request; all may be NULL. */
struct gw_ops {
	void (*body)(struct gw_req *r, struct evbuffer *buf);
	/* As in struct http_handler. */
	uint8_t *(*room)(struct gw_req *r, size_t *ret_len);
	void (*direct)(struct gw_req *r, size_t n);
	void (*body_end)(struct gw_req *r);
	void (*drain)(struct gw_req *r);
	void (*stop)(struct gw_req *r); /* cancel; once */
	void (*free)(struct gw_req *r); /* release r->op */
};

enum gw_level { GW_SERVICE = 1, GW_BUCKET = 2, GW_OBJECT = 4 };
enum {
	GW_F_CREATES = 1, /* the bucket need not be there */
	GW_F_WRITE = 2,
	GW_F_KEY_NEW = 4, /* makes names: the key's length is limited */
	/* Conditions the handler looks at; others are refused, not ignored */
	GW_F_IF_ETAG = 8, /* If-Match, If-None-Match */
	GW_F_IF_TIME = 16, /* If-Modified-Since, If-Unmodified-Since */
	GW_F_IF_READ = GW_F_IF_ETAG | GW_F_IF_TIME,
};

/* One operation. */
struct gw_route {
	const char *op;     /* name in the access log and metrics */
	const char *method;
	unsigned level;     /* enum gw_level */
	const char *sub;    /* sub-resource in the query, NULL: none */
	const char *with;   /* a header that must be there, NULL: any */
	unsigned flags;     /* GW_F_* */
	void (*handle)(struct gw_req *r);
	/* for rows without one: what to answer */
	enum s3_err err;
	const char *xml;    /* or this body with 200 */
};
/* The row, or NULL and *ret_err. */
const struct gw_route *gw_route_find(const struct gw_req *r,
				     enum s3_err *ret_err);
size_t gw_route_count(void);
const struct gw_route *gw_route_at(size_t i);
/* Registers the metrics of every row; once, before threads start. */
int gw_route_metrics(void);
void gw_route_note(const struct gw_route *route, unsigned status,
		   uint64_t us, uint64_t in, uint64_t out);

typedef void (*gw_reply_fn)(struct gw_req *r, const struct rpc_reply *reply);

struct gw_req {
	struct gw_loop *l;
	unsigned refs;
	bool dead;            /* http and head are gone; answer nothing */
	bool stopped;         /* ops->stop was called */
	bool replied;         /* an answer was begun */
	bool continued;       /* the body was asked for */
	bool refreshed;       /* a missing bucket was looked for anew */
	struct http_req *http;
	const struct http_head *head; /* borrowed from http */
	const struct gw_route *route; /* NULL until known */
	struct cluster *cluster;      /* the snapshot this request uses */
	const struct cluster_bucket *bucket; /* of it; NULL: none */
	const struct cluster_user *who;      /* of it */
	struct s3_name name;          /* decoded; in names[] */
	uint64_t start_ns;
	unsigned status;      /* HTTP status answered */
	const char *code;     /* S3 code of a failure */
	const char *message;  /* instead of the table's, NULL: none */
	const char *condition; /* header that failed, NULL: none */
	struct wire_bytes argument; /* ArgumentName of a failure */
	char id[17];          /* request id */
	/* the one call under way */
	struct client_call *call;
	gw_reply_fn call_done;
	/* the operation */
	const struct gw_ops *ops; /* never NULL */
	void *op;
	/* not zeroed */
	struct s3_auth_result auth;
	struct s3_query query;    /* decoded; in names[] */
	uint8_t names[];
};

extern const struct http_handler gw_http_handler;
/* A reference for something that will come back whatever happens. */
void gw_req_hold(struct gw_req *r);
void gw_req_release(struct gw_req *r);

/* Gives the request its operation; op freed by ops->free. */
void gw_req_op(struct gw_req *r, const struct gw_ops *ops, void *op);
/* mem_zalloc with the answer when there is none: then NULL. */
void *gw_req_op_new(struct gw_req *r, const struct gw_ops *ops, size_t size);
/* The usual ->free for an op that owns nothing else. */
void gw_req_op_free(struct gw_req *r);

/* --- calls: one at a time per request; false: failed, already answered --- */
#define GW_SEND(r, name_, shard_, req, fn) \
	gw_send((r), RPC_TAG_##name_, (shard_), client_encode_##name_, (req), \
		(fn))
bool gw_send(struct gw_req *r, uint16_t tag, uint16_t shard,
	     int (*encode)(const void *req, struct buf *out), const void *req,
	     gw_reply_fn fn);
/* The same with a payload that is encoded already (taken). */
bool gw_send_buf(struct gw_req *r, struct client_send *send, gw_reply_fn fn);
/* client_refresh(); fn(r) unless the request died meanwhile. */
void gw_refresh(struct gw_req *r, uint64_t version,
		void (*fn)(struct gw_req *r));

/* --- request --- */
/* Value of a header or {NULL, 0}. */
struct wire_bytes gw_header(const struct gw_req *r, const char *name);
bool gw_text_is(struct wire_bytes t, const char *s);   /* exact */
bool gw_text_like(struct wire_bytes t, const char *s); /* without case */
bool gw_begins(struct wire_bytes t, const char *s);    /* without case */
static inline uint64_t gw_root(const struct gw_req *r)
{
	return r->bucket->root;
}
static inline uint16_t gw_shard(const struct gw_req *r)
{
	return ino_shard(r->bucket->root);
}
/* What this request changes has durability memory. */
static inline bool gw_is_loose(const struct gw_req *r)
{
	return r->bucket != NULL && cluster_is_loose(r->cluster, r->bucket);
}
/* Is the bucket in the snapshot, ready and of this user? S3_OK, NO_BUCKET,
 * ACCESS_DENIED. */
enum s3_err gw_bucket_find(const struct gw_req *r, struct wire_bytes name,
			   const struct cluster_bucket **ret_bucket);
/* Decimal header value. 0, -ENOENT, -EINVAL. */
int gw_header_u64(const struct gw_req *r, const char *name, uint64_t *ret);
/* 32 hex digits of ?uploadId. 0 or -EINVAL. */
int gw_upload_id(const struct gw_req *r, struct wire_u128 *ret);
void gw_upload_text(struct wire_u128 id, char out[33]);
/* Headers, checksums that no request of this gateway may carry unheeded. */
enum s3_err gw_headers_check(struct gw_req *r);

/* Conditions of a write, for RPC_COND. bare must hold both texts. */
struct gw_cond {
	struct wire_bytes if_match, if_none_match; /* without quotes */
	char bare[1024];
};
enum s3_err gw_cond_write(struct gw_req *r, struct gw_cond *c);

/* --- answers --- */
/* Status line and request id; more headers may follow. */
void gw_reply_begin(struct gw_req *r, unsigned status);
void gw_reply_str(struct gw_req *r, const char *name, const char *value);
void gw_reply_etag(struct gw_req *r, struct wire_bytes etag);
void gw_reply_empty(struct gw_req *r, unsigned status);
/* Ends an answer begun with gw_reply_begin() without a body. */
void gw_reply_end_empty(struct gw_req *r);
/* Takes the bytes of xml (or fails when xml->err is set). */
void gw_reply_xml(struct gw_req *r, unsigned status, struct buf *xml);
void gw_fail(struct gw_req *r, enum s3_err e);
void gw_fail_msg(struct gw_req *r, enum s3_err e, const char *message);
void gw_fail_status(struct gw_req *r, uint32_t status, enum s3_context ctx);
/* The x-amz-checksum-* headers of a kvs vector, and the type. */
void gw_reply_sums(struct gw_req *r, struct wire_bytes sums,
		   struct wire_bytes type);
void gw_xml_sums(struct buf *out, struct wire_bytes sums);
void gw_xml_owner(struct buf *out, const char *element,
		  const struct cluster_user *user);

struct s3_sums *gw_sums_get(struct gw_loop *l, unsigned bits);
void gw_sums_put(struct gw_loop *l, unsigned bits, struct s3_sums *s);

/* --- metadata of an object to be written --- */
struct gw_meta {
	struct wire_vec headers, user, sums;
};
void gw_meta_init(struct gw_meta *m);
void gw_meta_fini(struct gw_meta *m);
/* From the request's headers. S3_OK, METADATA_TOO_LARGE, OUT_OF_MEMORY. */
enum s3_err gw_meta_read(struct gw_req *r, struct gw_meta *m);

/* --- access log (gw_log.c) --- */
int gw_log_new(struct gateway *g, const char *path, struct gw_log **ret);
void gw_log_free(struct gw_log *log); /* writes what is left */
void gw_log_reopen(struct gw_log *log);
void gw_log_request(struct gw_log *log, const struct gw_req *r, uint64_t us,
		    uint64_t in, uint64_t out);

/* --- handlers, one file per group of operations --- */
void gw_list_buckets(struct gw_req *r);        /* gw_bucket.c */
void gw_create_bucket(struct gw_req *r);
void gw_head_bucket(struct gw_req *r);
void gw_delete_bucket(struct gw_req *r);
void gw_get_location(struct gw_req *r);
void gw_get_acl(struct gw_req *r);             /* gw_subres.c */
void gw_put_acl(struct gw_req *r);
void gw_object_tagging(struct gw_req *r);
void gw_list_objects(struct gw_req *r);        /* gw_list.c */
void gw_list_versions(struct gw_req *r);
void gw_put_object(struct gw_req *r);          /* gw_object_put.c */
void gw_get_object(struct gw_req *r);          /* gw_object_get.c */
void gw_get_attributes(struct gw_req *r);
void gw_delete_object(struct gw_req *r);       /* gw_delete.c */
void gw_delete_objects(struct gw_req *r);
void gw_copy_object(struct gw_req *r);         /* gw_copy.c */
void gw_copy_part(struct gw_req *r);
void gw_mpu_create(struct gw_req *r);          /* gw_mpu.c */
void gw_mpu_part(struct gw_req *r);
void gw_mpu_abort(struct gw_req *r);
void gw_mpu_complete(struct gw_req *r);        /* gw_mpu_complete.c */
void gw_mpu_parts(struct gw_req *r);           /* gw_mpu_list.c */
void gw_mpu_list(struct gw_req *r);

#endif
