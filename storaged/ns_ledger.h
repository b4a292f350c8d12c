#ifndef STORAGED_NS_LEDGER_H
#define STORAGED_NS_LEDGER_H
/*
 * A table of balances by (kind, id) for the checker: what one row claims is
 * added, what other rows show is taken off, and every account must end at 0.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/wire/wire.h"

struct ns_account {
	struct wire_u128 id;
	int64_t balance;
	uint8_t kind; /* 0 = a free place */
};

struct ns_ledger {
	struct ns_account *v;
	uint64_t n, cap; /* cap: a power of two */
};

void ns_ledger_fini(struct ns_ledger *l);
/* 0 or -ENOMEM. kind > 0. */
int ns_ledger_add(struct ns_ledger *l, uint8_t kind, struct wire_u128 id,
		  int64_t delta);

#endif
