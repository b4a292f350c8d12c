#ifndef TESTS_SIM_SIM_NAMES_H
#define TESTS_SIM_SIM_NAMES_H
/*
 * What commands do to names in the models of sim_shard and sim_tree
 * (tests/lib/nsmodel.h). Results are what the answers should say: RPC_STATUS_*.
 */
#include "storaged/ns.h"
#include "tests/lib/nsmodel.h"

#define NAMES_KEY 96 /* longest name or key, with its end */

/* b in out; returns out. */
char *names_str(struct wire_bytes b, char out[NAMES_KEY]);
/* A directory at or below d; NULL: none. */
struct nsm_dir *names_dir(struct nsm_dir *d, uint64_t ino);

/* dir gets the number that was answered; *root: the one of before, or 0. */
uint32_t names_root(struct nsm_dir *dir, uint64_t *root,
		    const struct ns_answer *a);
/* *ret_file: a file that was made; NULL: none. It has its number. */
uint32_t names_mknod(struct nsm_dir *root, const struct ns_cmd *c,
		     const struct ns_answer *a, struct nsm_file **ret_file);
uint32_t names_unlink(struct nsm_dir *root, const struct ns_cmd *c);
uint32_t names_rename(struct nsm_dir *root, const struct ns_cmd *c);

#endif
