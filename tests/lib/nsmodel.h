#ifndef TESTS_LIB_NSMODEL_H
#define TESTS_LIB_NSMODEL_H
/*
 * What the namespace should do, slow and simple: a tree of entries in memory,
 * listings by collecting all keys and sorting them, uploads as the bytes of
 * their parts (nsmodel_mpu.c). Results are RPC_STATUS_*. Names are
 * NUL-terminated; a directory and a file may share one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/wire/wire.h"

enum {
	NSM_BYTES = 4096,
	NSM_ETAG = 48,
	NSM_USER = 16,
	NSM_XATTRS = 4,
	NSM_PARTS = 12,
	NSM_PART_BYTES = 300,
	NSM_ID = 1000, /* uid and gid of what S3 makes */
};

struct nsm_xattr {
	char name[16];
	char value[24];
};

/* What files and directories both have. */
struct nsm_meta {
	uint32_t mode; /* with its type */
	uint32_t uid, gid;
	int64_t atime, mtime; /* as a client set them; 0: as the server has it */
	struct nsm_xattr xattr[NSM_XATTRS];
	unsigned n_xattrs;
};

/* What a file name leads to; counted by names and handles. */
struct nsm_file {
	struct nsm_meta m;
	unsigned refs, nlink;
	bool marker; /* has or had the empty name */
	uint64_t rdev;
	char user[NSM_USER]; /* S3 user metadata; empty: none */
	char etag[NSM_ETAG]; /* empty: made by the server, ends in "-0" */
	unsigned parts;      /* of a completed upload that nobody changed */
	size_t part_len[NSM_PARTS];
	size_t size;
	uint64_t ino, tag; /* the user's */
	unsigned composite; /* the user's */
	uint8_t bytes[NSM_BYTES];
};

struct nsm_dir;
struct nsm_entry {
	char *name; /* component */
	struct nsm_file *file; /* or */
	struct nsm_dir *dir;
};

struct nsm_dir {
	struct nsm_meta m;
	struct nsm_dir *up; /* NULL: root */
	char *name;
	uint64_t ino; /* the user's */
	bool implicit;
	struct nsm_entry *v;
	size_t n, cap;
};

struct nsm_dir *nsm_new(void);
void nsm_free(struct nsm_dir *root);
void nsm_file_unref(struct nsm_file *f);
bool nsm_is_regular(const struct nsm_file *f);

struct nsm_file *nsm_file_of(struct nsm_dir *d, const char *name);
struct nsm_dir *nsm_dir_of(struct nsm_dir *d, const char *name);
/* How many directories are in it. */
unsigned nsm_subdirs(const struct nsm_dir *d);

/* S3 */
uint32_t nsm_put(struct nsm_dir *root, const char *key, const uint8_t *bytes,
		 size_t len);
uint32_t nsm_delete(struct nsm_dir *root, const char *key);
/* What a key names: a file, or an empty directory. False: nothing. */
bool nsm_object(struct nsm_dir *root, const char *key,
		struct nsm_file **ret_file, struct nsm_dir **ret_dir);
/* All keys in byte order, each malloc'ed; file NULL: an empty directory. */
struct nsm_key {
	char *key;
	struct nsm_file *file;
};
size_t nsm_keys(struct nsm_dir *root, struct nsm_key **ret);
void nsm_keys_free(struct nsm_key *v, size_t n);

/* POSIX; mode with its type */
uint32_t nsm_create(struct nsm_dir *d, const char *name, uint32_t mode,
		    uint32_t uid, uint32_t gid);
uint32_t nsm_unlink(struct nsm_dir *d, const char *name, bool by_alias);
uint32_t nsm_rmdir(struct nsm_dir *d, const char *name);
uint32_t nsm_rename(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		    const char *name2, bool noreplace);
uint32_t nsm_exchange(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		      const char *name2);
uint32_t nsm_link(struct nsm_file *f, struct nsm_dir *d, const char *name);
void nsm_write(struct nsm_file *f, size_t off, const uint8_t *bytes,
	       size_t len);
void nsm_truncate(struct nsm_file *f, size_t size);
struct nsm_xattr *nsm_xattr_of(struct nsm_meta *m, const char *name);
/* NOSPC when the model has no room: not for the server to answer. */
uint32_t nsm_setxattr(struct nsm_meta *m, const char *name, const char *value,
		      bool create, bool replace);
uint32_t nsm_removexattr(struct nsm_meta *m, const char *name);

/* --- uploads --- */

struct nsm_part {
	uint32_t number;
	char etag[33];
	size_t len;
	uint8_t bytes[NSM_PART_BYTES];
};

/* In the order that they are listed in: by key, then by id. */
struct nsm_upload {
	struct nsm_upload *next;
	char *key;
	struct wire_u128 id;
	char user[NSM_USER];
	struct nsm_part part[NSM_PARTS]; /* by number */
	unsigned n;
};

struct nsm_upload *nsm_upload_new(struct nsm_upload **all, const char *key,
				  struct wire_u128 id);
void nsm_upload_free(struct nsm_upload **all, struct nsm_upload *u);
struct nsm_part *nsm_part_of(struct nsm_upload *u, uint32_t number);
/* False: no room in the model for another number. */
bool nsm_part_put(struct nsm_upload *u, const struct nsm_part *p);
/* What Complete says of a part; etag without quotes. */
struct nsm_listed {
	uint32_t number;
	char etag[33];
};
/* What it is refused for, before the key is looked at. */
uint32_t nsm_complete_check(struct nsm_upload *u, const struct nsm_listed *v,
			    unsigned n, uint64_t min_part);
/* Publishes what was checked; the upload goes. */
void nsm_complete(struct nsm_dir *root, struct nsm_upload **all,
		  struct nsm_upload *u, const struct nsm_listed *v,
		  unsigned n);

#endif
