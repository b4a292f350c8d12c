#ifndef TESTS_POSIX_EXERCISE_H
#define TESTS_POSIX_EXERCISE_H
/*
 * Random operations on one file, compared with a copy in memory. An operation
 * is a plain struct that can be run in any order and after any other one, so
 * what failed can be cut down to few of them.
 *
 * The file may have two paths (two mounts): every reopening closes it on one
 * and opens it on the other, which must show what was closed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EX_OPS(M) \
	M(READ, "read", 20) \
	M(WRITE, "write", 20) \
	M(APPEND, "append", 4) \
	M(TRUNCATE, "truncate", 8) \
	M(MAPREAD, "mapread", 12) \
	M(MAPWRITE, "mapwrite", 12) \
	M(FSYNC, "fsync", 1) \
	M(REOPEN, "reopen", 2) \
	M(SIZE, "size", 2) \
	M(SEEK, "seek", 4) \
	M(PUNCH, "punch", 5) \
	M(ZERO, "zero", 5) \
	M(ALLOC, "alloc", 4) \
	M(COPY, "copy", 5)
#define EX_ENUM(name, text, weight) EX_##name,
enum ex_kind { EX_OPS(EX_ENUM) EX_KINDS };

struct ex_op {
	uint8_t kind;
	bool keep;    /* ZERO, ALLOC: keep the size */
	uint32_t off, len;
	uint32_t arg; /* COPY: where to; else what the bytes are made from */
};

struct ex_config {
	const char *path[2]; /* [1]: the same file elsewhere, or NULL */
	uint32_t max;        /* length of the file */
	bool direct;         /* O_DIRECT at every other reopening */
	unsigned skip;       /* bits of kinds that are not run */
};

struct ex_fault {
	size_t op;      /* number of the operation that failed */
	char text[256];
};

const char *ex_name(unsigned kind);
/* One line without its end. */
void ex_format(const struct ex_op *op, char *out, size_t len);
/*
 * Runs the operations on a fresh file. True: all as they should be. False:
 * *ret_fault says what was not. Ends the process when the file cannot be made.
 */
bool ex_run(const struct ex_config *config, const struct ex_op *ops, size_t n,
	    struct ex_fault *ret_fault);
/* Bits of the kinds that this file system does not have. */
unsigned ex_probe(const struct ex_config *config);

#endif
