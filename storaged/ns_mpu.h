#ifndef STORAGED_NS_MPU_H
#define STORAGED_NS_MPU_H
/* Multipart uploads: what create, part, complete and abort share. */
#include "storaged/ns_impl.h"

struct ns_upload {
	struct ns_inode *root;
	struct wire_u128 id;
	struct ns_key key;         /* of the upload row */
	struct ns_row_upload row;
};

/* The upload of a key: NO_UPLOAD, NO_BUCKET. */
int ns_upload_get(struct ns_ctx *x, uint64_t root, struct wire_bytes key,
		  struct wire_u128 id, struct ns_upload *ret);

enum { NS_ABORT_PARTS = 64 }; /* taken apart at once */

/* Ends an upload: its row goes, its parts go or wait in the queue. */
int ns_upload_drop(struct ns_ctx *x, const struct ns_upload *u);

/* The bitmap of part numbers. */
bool ns_numbers_has(struct wire_bytes numbers, uint32_t number);
unsigned ns_numbers_count(struct wire_bytes numbers);
void ns_numbers_del(uint8_t *numbers, uint32_t number);
/* Takes part `number` away: its row, and its inode with the bytes. */
int ns_part_drop(struct ns_ctx *x, const struct ns_upload *u, uint32_t number);

#endif
