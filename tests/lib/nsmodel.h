#ifndef TESTS_LIB_NSMODEL_H
#define TESTS_LIB_NSMODEL_H
/*
 * What the namespace should do, slow and simple: a tree of entries in memory,
 * listings by collecting all keys and sorting them. Results are RPC_STATUS_*.
 * Names are NUL-terminated; a directory and a file may share one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NSM_BYTES = 4096 };

/* What a file name leads to; counted by names and handles. */
struct nsm_file {
	unsigned refs, nlink;
	bool symlink;
	bool marker; /* has or had the empty name */
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

struct nsm_file *nsm_file_of(struct nsm_dir *d, const char *name);
struct nsm_dir *nsm_dir_of(struct nsm_dir *d, const char *name);

/* S3 */
uint32_t nsm_put(struct nsm_dir *root, const char *key, const uint8_t *bytes,
		 size_t len);
uint32_t nsm_delete(struct nsm_dir *root, const char *key);
/* All keys in byte order, each malloc'ed; file NULL: an empty directory. */
struct nsm_key {
	char *key;
	struct nsm_file *file;
};
size_t nsm_keys(struct nsm_dir *root, struct nsm_key **ret);
void nsm_keys_free(struct nsm_key *v, size_t n);

/* POSIX */
uint32_t nsm_create(struct nsm_dir *d, const char *name, bool dir,
		    bool symlink);
uint32_t nsm_unlink(struct nsm_dir *d, const char *name, bool by_alias);
uint32_t nsm_rmdir(struct nsm_dir *d, const char *name);
uint32_t nsm_rename(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		    const char *name2);
uint32_t nsm_exchange(struct nsm_dir *d, const char *name, struct nsm_dir *d2,
		      const char *name2);
uint32_t nsm_link(struct nsm_file *f, struct nsm_dir *d, const char *name);
void nsm_write(struct nsm_file *f, size_t off, const uint8_t *bytes,
	       size_t len);
void nsm_truncate(struct nsm_file *f, size_t size);

#endif
