#include "common/rows/rows_applied.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define ROWS_CONF_KEY 7 /* group u16, 0x00, "conf" */

#define ROWS_ROW_APPLIED(F) \
	F(u64, index) F(i64, now) F(u64, term) F(u64, moved)
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

static int rows_applied_load(struct rows_applied *a, struct wire_bytes value)
{
	struct rows_row_applied row;

	if (rows_row_applied_decode(&row, value.p, value.len) != 0)
		return -EIO;
	a->index = row.index;
	a->now = row.now;
	a->term = row.term;
	a->moved = row.moved;
	return 0;
}

static int rows_applied_load_conf(struct rows_applied *a,
				  struct wire_bytes value)
{
	struct rows_row_conf row;

	if (rows_row_conf_decode(&row, value.p, value.len) != 0)
		return -EIO;
	a->conf = mem_dup(row.conf.p, row.conf.len);
	a->conf_len = row.conf.len;
	a->conf_index = row.index;
	return a->conf == NULL ? -ENOMEM : 0;
}

static int rows_applied_get(struct rows_back *back, const uint8_t *key,
			    size_t len, struct rows_applied *a,
			    int (*load)(struct rows_applied *a,
					struct wire_bytes value))
{
	uint8_t *value = NULL;
	size_t n = 0;
	int rv = rows_back_get(back, wire_bytes(key, len), &value, &n);

	if (rv != 0)
		return rv == -ENOENT ? 0 : rv;
	rv = load(a, wire_bytes(value, n));
	mem_free(value);
	return rv;
}

int rows_applied_read(struct rows_back *back, uint16_t group,
		      struct rows_applied *ret)
{
	uint8_t key[ROWS_APPLIED_KEY], conf[ROWS_CONF_KEY];
	struct rows_applied a = { 0 };
	int rv;

	rows_applied_key(group, key);
	rows_group_key(group, "conf", conf);
	rv = rows_applied_get(back, key, sizeof key, &a, rows_applied_load);
	if (rv == 0)
		rv = rows_applied_get(back, conf, sizeof conf, &a,
				      rows_applied_load_conf);
	if (rv != 0) {
		rows_applied_fini(&a);
		return rv;
	}
	*ret = a;
	return 0;
}

int rows_applied_iter(struct rows_iter *it, uint16_t group,
		      struct rows_applied *ret)
{
	uint8_t key[ROWS_APPLIED_KEY], conf[ROWS_CONF_KEY];
	struct rows_applied a = { 0 };
	struct wire_bytes k, v;
	int rv;

	rows_applied_key(group, key);
	rows_group_key(group, "conf", conf);
	while ((rv = rows_iter_next(it, &k, &v)) == 0 && k.len > 2 &&
	       k.p[2] == 0) {
		if (wire_bytes_eq(k, wire_bytes(key, sizeof key)))
			rv = rows_applied_load(&a, v);
		else if (wire_bytes_eq(k, wire_bytes(conf, sizeof conf)))
			rv = rows_applied_load_conf(&a, v);
		if (rv != 0)
			break;
	}
	if (rv != 0 && rv != -ENOENT) {
		rows_applied_fini(&a);
		return rv;
	}
	*ret = a;
	return 0;
}

void rows_applied_batch(struct rows_batch *b, uint16_t group,
			const struct rows_applied *a)
{
	struct rows_row_applied row = { a->index, a->now, a->term, a->moved };
	struct rows_row_conf conf = {
		a->conf_index, wire_bytes(a->conf, a->conf_len),
	};
	uint8_t key[ROWS_APPLIED_KEY], conf_key[ROWS_CONF_KEY];
	struct buf value;

	rows_applied_key(group, key);
	rows_group_key(group, "conf", conf_key);
	buf_init(&value, 0);
	if (rows_row_conf_encode(&conf, &value) == 0)
		rows_batch_put(b, wire_bytes(conf_key, sizeof conf_key),
			       wire_bytes(value.data, value.len));
	else
		rows_batch_fail(b, value.err);
	buf_reset(&value);
	if (rows_row_applied_encode(&row, &value) == 0)
		rows_batch_put(b, wire_bytes(key, sizeof key),
			       wire_bytes(value.data, value.len));
	else
		rows_batch_fail(b, value.err);
	buf_fini(&value);
}

int rows_applied_put(struct rows_txn *t, uint16_t group,
		     const struct rows_applied *a)
{
	struct rows_row_applied row = { a->index, a->now, a->term, a->moved };
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
