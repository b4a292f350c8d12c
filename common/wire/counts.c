#include "common/wire/counts.h"

#include <string.h>

void store_counts_put(const struct store_counts *c, struct wire_vec *v)
{
	struct wire_writer w;

#define STORE_COUNT_PUT(name, help) \
	w = wire_vec_add(v); \
	wire_put_u64(&w, &c->name);
	STORE_COUNTS(STORE_COUNT_PUT)
#undef STORE_COUNT_PUT
}

void store_counts_get(struct store_counts *ret, struct wire_bytes list)
{
	uint32_t n;
	struct wire_reader r = wire_vec_reader(list, &n);

	memset(ret, 0, sizeof *ret);
#define STORE_COUNT_GET(name, help) \
	if (n > 0) { \
		wire_get_u64(&r, &ret->name); \
		n--; \
	}
	STORE_COUNTS(STORE_COUNT_GET)
#undef STORE_COUNT_GET
}
