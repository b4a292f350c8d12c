#ifndef TESTS_SIM_SIM_BYTES_H
#define TESTS_SIM_SIM_BYTES_H
/*
 * Bytes of files in sim_shard and sim_tree: what is written differs from write
 * to write, and what reads answer is put together as a client does it.
 */
#include "common/wire/msgs.h"
#include "tests/lib/nsmodel.h"
#include "tests/sim/sim_cluster.h"

/* len bytes into out that no other token gives (of eight and more). */
struct wire_bytes sim_bytes_make(uint8_t *out, size_t len, uint64_t token);
/* v: that one extent of inline bytes; v is the caller's to end. */
struct wire_bytes sim_bytes_extent(struct wire_vec *v, uint64_t pos,
				   size_t len);
/* The same of a slice; what its chunks hold only its number says. */
struct wire_bytes sim_bytes_chunks(struct wire_vec *v, uint64_t pos,
				   size_t len, struct wire_u128 slice);
/* Those bytes, from off on. */
void sim_bytes_slice(struct wire_u128 slice, uint64_t off, uint8_t *out,
		     size_t len);
/* What a PUT brings, into out (NSM_BYTES); the length. */
size_t sim_bytes_sent(struct sim_cluster *c, struct wire_bytes extents,
		      struct wire_bytes data, uint8_t *out);
/*
 * A file of size bytes that was read whole: its hash, and the bytes in out,
 * which may be NULL, or has room for NSM_BYTES.
 */
uint64_t sim_bytes_joined(struct sim_cluster *c, struct wire_bytes extents,
			  struct wire_bytes body, uint64_t size, uint8_t *out);
/* The same of the model's file. */
uint64_t sim_bytes_hash(const struct nsm_file *f);

/* --- ETags of PUT: a number, twice --- */
#define SIM_ETAG 33
char *sim_etag(uint64_t tag, char out[SIM_ETAG]);
/* The number in one of ours, quoted or not; 0: it is none. */
uint64_t sim_etag_tag(struct wire_bytes etag);
/* Is it that of a file with this tag? 0: it has none of ours, but some. */
bool sim_etag_fits(uint64_t tag, struct wire_bytes etag);

/* --- mutations, done to a file of the model --- */
/* One extent; *ret_pos: where it began. */
void sim_bytes_write(struct sim_cluster *c, struct nsm_file *f,
		     const struct rpc_write *q, uint64_t *ret_pos);
void sim_bytes_setattr(struct nsm_file *f, const struct rpc_setattr *q);

#endif
