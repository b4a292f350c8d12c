#ifndef MANAGERD_ADMIN_IMPL_H
#define MANAGERD_ADMIN_IMPL_H
/*
 * Inside of the admin HTTP API: one struct per request, one route table.
 * Loop 0 only (requests of other loops' connections are refused at accept:
 * the admin port listens on loop 0's set of one).
 */
#include <jansson.h>

#include "common/http/http.h"
#include "managerd/mgr_impl.h"

#define ADMIN_BODY_MAX (64u << 10)

struct admin_req {
	struct manager *m;
	struct http_req *http;
	const struct admin_route *route;
	char *arg;            /* decoded last path component, or NULL */
	char *query;          /* raw query */
	struct buf body;
	json_t *json;         /* parsed body, NULL when there was none */
	struct mgr_waiter waiter;
	struct client_call *call;
	bool dead;            /* the connection is gone: only clean up */
	unsigned holds;       /* operations that still point here */
	char secret[41], access[21];
	char bucket[64];
	const char *key;      /* of a query; points into query */
	struct cluster *cluster; /* while a reply is made from it */
};

struct admin_route {
	const char *method;
	const char *path; /* a trailing slash takes one more component */
	bool open;        /* no token needed */
	void (*run)(struct admin_req *r);
	const char *what; /* for docs */
};

extern const struct admin_route admin_routes[];
extern const unsigned admin_n_routes;

/* Ends the request; takes the reference to json. */
void admin_reply(struct admin_req *r, unsigned status, json_t *json);
void admin_error(struct admin_req *r, unsigned status, const char *text);
/* From RPC_STATUS_*. */
void admin_status(struct admin_req *r, uint32_t status);
/* While another operation will call back; the request stays until release. */
void admin_hold(struct admin_req *r);
void admin_release(struct admin_req *r);
/* A string member of the JSON body, or NULL. */
const char *admin_body_str(const struct admin_req *r, const char *name);
/* A number of 0 to 2^32 - 1 of the JSON body, or dflt. */
uint32_t admin_body_u32(const struct admin_req *r, const char *name,
			uint32_t dflt);
/* Decoded query parameter (in place), or NULL. */
char *admin_query(struct admin_req *r, const char *name);
/*
 * Calls then(r) with r->cluster set to the newest snapshot; the request is
 * ended for you when it cannot be had.
 */
void admin_with_cluster(struct admin_req *r,
			void (*then)(struct admin_req *r));
json_t *admin_text(struct wire_bytes text);

/* --- admin_compact.c --- */
void admin_compact_get(struct admin_req *r);
void admin_compact_start(struct admin_req *r);
void admin_compact_suspend(struct admin_req *r);
void admin_compact_resume(struct admin_req *r);

/* --- admin_fsck.c --- */
void admin_fsck_start(struct admin_req *r);
void admin_fsck_get(struct admin_req *r);

#endif
