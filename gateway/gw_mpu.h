#ifndef GATEWAY_GW_MPU_H
#define GATEWAY_GW_MPU_H
/* What the files of multipart share. */
#include "gateway/gw_body.h"

/* x-amz-checksum-algorithm and -type of a new upload; the type is static. */
enum s3_err gw_mpu_sums(struct gw_req *r, enum s3_sum_alg *ret_alg,
			const char **ret_type);
/* Does a part's checksum fit the upload's? Adds it to what is computed. */
enum s3_err gw_mpu_part_alg(struct gw_req *r, struct wire_bytes sum_alg,
			    struct gw_plan *plan);
/* ?uploadId and ?partNumber. */
enum s3_err gw_mpu_part_query(const struct gw_req *r, struct wire_u128 *ret_id,
			      uint32_t *ret_number);
/* The Key element; left out when XML cannot carry the key. */
void gw_xml_key(struct buf *out, struct wire_bytes key);

#endif
