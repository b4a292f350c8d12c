#ifndef TESTS_SIM_SIM_SHARD_GEN_H
#define TESTS_SIM_SIM_SHARD_GEN_H
/*
 * What makes up requests of the shard's clients; private to
 * tests/sim/sim_shard_gen.c and the files of special clients.
 */
#include "tests/sim/sim_shard.h"

#define FILE_SMALL 1500u /* longer ones are not appended to */

#define PICK(s, list) ((list)[sim_rand((s), sizeof(list) / sizeof *(list))])

struct gen {
	struct world *w;
	struct sim *s;
	struct model *m;
	unsigned client;
	struct buf out;
};

/* The operation of what is in out. */
struct op *gen_send(struct gen *g, uint16_t tag);

#define SEND(g, name, req) \
	((void)rpc_##name##_encode((req), &(g)->out), \
	 gen_send((g), RPC_TAG_##name))

struct gen gen_new(struct world *w, unsigned client, struct model *m);
/* A file (or directory) of the newest state; NULL: there is none. */
const struct ver_row *gen_row(struct gen *g, bool dir);
/* Bytes that no other write has; some in the row, some in the log. */
struct wire_bytes gen_bytes(struct gen *g, uint8_t *bytes, size_t len);
/* Some name of a directory. */
const char *gen_name(struct gen *g);
uint64_t gen_dir(struct gen *g);
const char *gen_key(struct gen *g);
/* A condition on what key is, or may be. */
void gen_condition(struct gen *g, const char *key, char etag[ETAG_MAX + 2],
		   struct wire_bytes *match, struct wire_bytes *none);
/* A write somewhere into a file, or a cut of what is long. */
void gen_write_row(struct gen *g, const struct ver_row *r);
struct op *gen_read_ino(struct gen *g, uint64_t ino);

#endif
