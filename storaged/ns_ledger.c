#include "storaged/ns_ledger.h"

#include <errno.h>

#include "common/base/mem.h"

static uint64_t ns_ledger_mix(uint8_t kind, struct wire_u128 id)
{
	uint64_t h = (id.hi ^ kind) * UINT64_C(0x9e3779b97f4a7c15) ^ id.lo;

	h = (h ^ h >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 29;
}

void ns_ledger_fini(struct ns_ledger *l)
{
	mem_free(l->v);
	*l = (struct ns_ledger){ 0 };
}

static struct ns_account *ns_ledger_place(struct ns_ledger *l, uint8_t kind,
					  struct wire_u128 id)
{
	uint64_t i = ns_ledger_mix(kind, id) & (l->cap - 1);

	while (l->v[i].kind != 0 &&
	       (l->v[i].kind != kind || !wire_u128_eq(l->v[i].id, id)))
		i = (i + 1) & (l->cap - 1);
	return &l->v[i];
}

static int ns_ledger_grow(struct ns_ledger *l)
{
	struct ns_ledger old = *l;

	l->cap = old.cap == 0 ? 1024 : 2 * old.cap;
	l->v = mem_calloc(l->cap, sizeof(*l->v));
	if (l->v == NULL) {
		*l = old;
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < old.cap; i++)
		if (old.v[i].kind != 0)
			*ns_ledger_place(l, old.v[i].kind, old.v[i].id) =
				old.v[i];
	mem_free(old.v);
	return 0;
}

int ns_ledger_add(struct ns_ledger *l, uint8_t kind, struct wire_u128 id,
		  int64_t delta)
{
	struct ns_account *a;

	if (delta == 0)
		return 0;
	if (l->n >= l->cap / 4 * 3 && ns_ledger_grow(l) != 0)
		return -ENOMEM;
	a = ns_ledger_place(l, kind, id);
	if (a->kind == 0) {
		a->kind = kind;
		a->id = id;
		l->n++;
	}
	/* rows on a damaged disk may claim anything: it wraps */
	a->balance = (int64_t)((uint64_t)a->balance + (uint64_t)delta);
	return 0;
}
