#include "common/rows/rows_applied.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define ROWS_CONF_KEY 7 /* group u16, 0x00, "conf" */

#define ROWS_ROW_APPLIED(F) F(u64, index) F(i64, now) F(u64, term)
#define ROWS_ROW_CONF(F) F(u64, index) F(blob, conf)
WIRE_STRUCT(rows_row, applied, ROWS_ROW_APPLIED)
WIRE_IMPL(rows_row, applied, ROWS_ROW_APPLIED)
WIRE_STRUCT(rows_row, conf, ROWS_ROW_CONF)
WIRE_IMPL(rows_row, conf, ROWS_ROW_CONF)

static void rows_group_key(uint16_t group, const char *name, uint8_t *out)
{
	out[0] = (uint8_t)(group >> 8);
	out[1] = (uint8_t)group;
	out[2] = 0;
	memcpy(out + 3, name, strlen(name));
}

void rows_applied_key(uint16_t group, uint8_t out[ROWS_APPLIED_KEY])
{
	rows_group_key(group, "applied", out);
}

void rows_applied_fini(struct rows_applied *a)
{
	mem_free(a->conf);
	memset(a, 0, sizeof *a);
}

static int rows_applied_read_conf(struct rows_back *back, uint16_t group,
				  struct rows_applied *a)
{
	uint8_t key[ROWS_CONF_KEY], *value = NULL;
	struct rows_row_conf row;
	size_t len = 0;
	int rv;

	rows_group_key(group, "conf", key);
	rv = rows_back_get(back, wire_bytes(key, sizeof key), &value, &len);
	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = rows_row_conf_decode(&row, value, len) == 0 ? 0 : -EIO;
	if (rv == 0) {
		a->conf = mem_dup(row.conf.p, row.conf.len);
		a->conf_len = row.conf.len;
		a->conf_index = row.index;
		if (a->conf == NULL)
			rv = -ENOMEM;
	}
	mem_free(value);
	return rv;
}

int rows_applied_read(struct rows_back *back, uint16_t group,
		      struct rows_applied *ret)
{
	uint8_t key[ROWS_APPLIED_KEY], *value = NULL;
	struct rows_applied a = { 0 };
	struct rows_row_applied row;
	size_t len = 0;
	int rv;

	rows_applied_key(group, key);
	rv = rows_back_get(back, wire_bytes(key, sizeof key), &value, &len);
	if (rv == 0) {
		rv = rows_row_applied_decode(&row, value, len) == 0 ? 0 : -EIO;
		a.index = row.index;
		a.now = row.now;
		a.term = row.term;
	} else if (rv == -ENOENT) {
		rv = 0;
	}
	mem_free(value);
	if (rv == 0)
		rv = rows_applied_read_conf(back, group, &a);
	if (rv != 0) {
		rows_applied_fini(&a);
		return rv;
	}
	*ret = a;
	return 0;
}

int rows_applied_put(struct rows_txn *t, uint16_t group,
		     const struct rows_applied *a)
{
	struct rows_row_applied row = { a->index, a->now, a->term };
	uint8_t key[ROWS_APPLIED_KEY];
	struct buf b;
	int rv;

	rows_applied_key(group, key);
	buf_init(&b, 0);
	rv = rows_row_applied_encode(&row, &b);
	if (rv == 0)
		rv = rows_put(t, wire_bytes(key, sizeof key),
			      wire_bytes(b.data, b.len));
	buf_fini(&b);
	return rv;
}

int rows_applied_put_conf(struct rows_txn *t, uint16_t group, uint64_t index,
			  struct wire_bytes conf)
{
	struct rows_row_conf row = { index, conf };
	uint8_t key[ROWS_CONF_KEY];
	struct buf b;
	int rv;

	rows_group_key(group, "conf", key);
	buf_init(&b, 0);
	rv = rows_row_conf_encode(&row, &b);
	if (rv == 0)
		rv = rows_put(t, wire_bytes(key, sizeof key),
			      wire_bytes(b.data, b.len));
	buf_fini(&b);
	return rv;
}
