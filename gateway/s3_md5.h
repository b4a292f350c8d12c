#ifndef GATEWAY_S3_MD5_H
#define GATEWAY_S3_MD5_H
/*
 * MD5 (RFC 1321), of one stream or of many side by side: one after the other
 * a core does 0.75 GB/s, with eight streams in the lanes of vector registers
 * 3.2 (AVX2) to 4 GB/s (AVX-512). Decision 0040 says why it is ours.
 *
 * Pure; an object belongs to one thread at a time.
 */
#include <stddef.h>
#include <stdint.h>

struct s3_md5 {
	uint32_t state[4];
	uint64_t len;     /* bytes added */
	uint8_t rest[64]; /* the last len % 64 of them */
};

void s3_md5_init(struct s3_md5 *m);
void s3_md5_add(struct s3_md5 *m, const void *data, size_t len);
/* The digest; m must be initialised again before it is used again. */
void s3_md5_end(struct s3_md5 *m, uint8_t out[16]);

/* What is to be added to one stream; data and len are used up. */
struct s3_md5_run {
	struct s3_md5 *md5; /* of each run another one; NULL: nothing to do */
	const uint8_t *data;
	size_t len;
};
/* s3_md5_add() for all of runs, side by side where that pays. */
void s3_md5_add_many(struct s3_md5_run *runs, size_t n);

#endif
