#ifndef STORAGED_NS_VALUES_H
#define STORAGED_NS_VALUES_H
/*
 * Where rows say that their values lie in the log of this store. Positions are
 * no part of the state: they may be changed without a command, when the same
 * bytes lie elsewhere. Pure; rows may be anything.
 */
#include "common/wire/wire.h"

/* One that a row names; a row may name it several times, and in parts. */
struct ns_value_at {
	struct wire_u128 hash; /* of the whole value */
	uint64_t gen, off;
	uint32_t len;          /* bytes of the whole value */
	size_t at;             /* where gen and off stand in the row */
};

/* True for row types that name values. */
bool ns_has_values(uint8_t type);
/*
 * Calls each for the values of a row of that type, in order, until it returns
 * != 0, which is returned. 0 or -EIO (it is no such row).
 */
int ns_values_each(uint8_t type, struct wire_bytes row,
		   int (*each)(void *arg, const struct ns_value_at *v),
		   void *arg);
/* Changes a position in the row's bytes. */
void ns_value_move(uint8_t *row, size_t at, uint64_t gen, uint64_t off);

#endif
