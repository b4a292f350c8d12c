#ifndef COMMON_WIRE_COUNTS_H
#define COMMON_WIRE_COUNTS_H
/*
 * What stores count since they started and tell the managers in heartbeats;
 * shown as leofs_store_NAME_total in /metrics (docs/ADMIN_API.md). Order is wire
 * order; only append. Who knows fewer sends fewer, and the rest is 0; who knows
 * more is read as far as it is known.
 */
#include "common/wire/wire.h"

/* X(name, help) */
#define STORE_COUNTS(X) \
	X(far, "Commands that needed rows of other shards.") \
	X(far_again, "Times such a command gave its locks back and began " \
		     "anew.") \
	X(lock_waits, "Calls that waited for a command over shards.") \
	X(snaps_out, "Times rows of a shard began to be sent to another " \
		     "member.") \
	X(snaps_in, "Times rows of a shard were replaced by those of another " \
		    "member.") \
	X(snaps_failed, "Fetches of rows of another member that failed.") \
	X(snap_bytes_out, "Bytes of rows sent to other members.") \
	X(snap_bytes_in, "Bytes of rows fetched from other members.") \
	X(dir_splits, "Segments that names of huge directories began to move " \
		      "into.") \
	X(dir_split_names, "Names that moved into them.") \
	X(dir_split_vain, "Times a huge directory was left alone: its names " \
			  "cannot be parted, or it has all segments it may.") \
	X(dir_split_failed, "Attempts to split a directory that failed.")

struct store_counts {
#define STORE_COUNT_DECL(name, help) uint64_t name;
	STORE_COUNTS(STORE_COUNT_DECL)
#undef STORE_COUNT_DECL
};

void store_counts_put(const struct store_counts *c, struct wire_vec *v);
/* Of a list that may be nonsense: what cannot be read is 0. */
void store_counts_get(struct store_counts *ret, struct wire_bytes list);

#endif
