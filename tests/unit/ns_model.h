#ifndef TESTS_UNIT_NS_MODEL_H
#define TESTS_UNIT_NS_MODEL_H
/*
 * Random operations on a namespace and on its model (tests/lib/nsmodel.h):
 *
 *   test_ns_model.c     names, attributes, bytes of the mount; the run
 *   ns_model_s3.c       objects: PUT, GET, DELETE, copies, conditions
 *   ns_model_mpu.c      multipart uploads
 *   ns_model_expect.c   everything compared
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storaged/ns_rows.h"
#include "tests/lib/nsharness.h"
#include "tests/lib/nsmodel.h"

enum { HANDLES = 4, KEY_TEXT = 1024 };

struct handle {
	uint64_t ino;
	struct nsm_file *file;
};

/* Of what a run came across, so that none of it can be missing for good. */
struct counts {
	unsigned splits, copies, shared, parts, completes, refused, ended;
};

struct run {
	struct nsh *h;
	uint64_t root;
	struct nsm_dir *model;
	struct nsm_upload *uploads;
	uint64_t rng;
	uint32_t slices; /* made so far */
	struct handle open[HANDLES];
	bool split;      /* directories come to have segments */
	struct counts n;
	char trace[4096]; /* the last operation */
};

#define CHECK(r, got, want) \
	do { \
		uint32_t g_ = (got), w_ = (want); \
		if (g_ != w_) { \
			print_error("%s: got %s, want %s\n", (r)->trace, \
				    rpc_status_name(g_), \
				    rpc_status_name(w_)); \
			fail(); \
		} \
	} while (0)
#define TRACE(r, ...) snprintf((r)->trace, sizeof((r)->trace), __VA_ARGS__)
/* A condition that is said with the operation when it does not hold. */
#define MUST(r, x) \
	do { \
		if (!(x)) { \
			print_error("%s: not %s\n", (r)->trace, #x); \
			fail(); \
		} \
	} while (0)

uint64_t rnd(struct run *r, uint64_t below);
/* A key: mostly short, now and then with odd components or a final slash. */
const char *pick_key(struct run *r);
/* A key that is there, or (often a marker to come or to go) a directory's. */
const char *pick_old_key(struct run *r);
/* 32 random hex digits. */
void pick_digest(struct run *r, char out[33]);
uint64_t ino_of(struct run *r, struct nsm_dir *d);

/* Bytes on their way in, as a client would send them. */
struct content {
	uint8_t bytes[NSM_BYTES];
	size_t len;
	struct wire_vec extents;
	struct buf data; /* of those that are inline */
};
/*
 * len random bytes for `pos` of a file: inline, now and then also in chunks of
 * that shard, and holes.
 */
void content_pick(struct run *r, struct content *c, uint16_t home,
		  uint64_t pos, size_t len);
void content_fini(struct content *c);

/* --- ns_model_s3.c --- */

/* Conditions about a key as it is now, and what they make of a request. */
struct cond {
	char match[160], none[160];
	int64_t unmodified, modified;
	uint32_t write, read; /* expected; 0: none is in the way */
};
void pick_cond(struct run *r, const char *key, struct cond *c);
#define COND_INTO(req, c) \
	do { \
		(req).if_match = wire_cstr((c)->match); \
		(req).if_none_match = wire_cstr((c)->none); \
		(req).if_unmodified_since = (c)->unmodified; \
		(req).if_modified_since = (c)->modified; \
	} while (0)
/*
 * Part of what a key names as the content of a copy of that home: by
 * reference where slices are of it, else as new bytes.
 */
void content_copy(struct run *r, struct content *c, const char *key,
		  uint64_t off, uint64_t len, uint16_t home);
void op_put(struct run *r);
void op_delete(struct run *r);
void op_copy(struct run *r);
void op_get(struct run *r);

/* --- ns_model_mpu.c --- */
void op_mpu(struct run *r);
void expect_uploads(struct run *r);
void end_uploads(struct run *r);

/* --- ns_model_expect.c --- */
void expect_attr(struct run *r, const struct wire_attr *a,
		 const struct nsm_meta *m);
/* HEAD; false when nothing is there, and so it should be. */
bool expect_head(struct run *r, const char *key, char ret_etag[NSM_ETAG],
		 int64_t *ret_mtime);
void expect_bytes(struct run *r, uint64_t ino, const struct nsm_file *f);
void expect_all(struct run *r);
/* Takes everything away; nothing is left behind. */
void expect_nothing(struct run *r);

#endif
