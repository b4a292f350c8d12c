#ifndef GATEWAY_S3_AUTH_IMPL_H
#define GATEWAY_S3_AUTH_IMPL_H
/* What the two signature versions share; inside of s3_auth*.c only. */
#include "gateway/s3_auth.h"

bool s3_is(struct wire_bytes t, const char *s);
/* The first header of that name, or NULL. */
const struct wire_bytes *s3_header(const struct s3_auth_request *req,
				   const char *name);
/* "name:value,value\n", values trimmed, runs of blanks made one. */
void s3_canon_header(struct buf *out, const struct s3_auth_request *req,
		     struct wire_bytes name);

/* Version 2 in the query; scratch: any buffer. */
enum s3_err s3_auth_v2(struct buf *scratch, const struct s3_auth_request *req,
		       s3_auth_secret_fn secret, void *arg,
		       struct s3_auth_result *ret);

#endif
