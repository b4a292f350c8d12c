/*
 * For tests/functional/120_fsck.py: takes a row out of the database of a store
 * that does not run, as no store ever does: the first of a type whose key ends
 * with some bytes.
 *   droprow ROWS-DIRECTORY TYPE END
 */
#include <stdio.h>
#include <string.h>

#include "common/rows/rows.h"

static bool is_it(struct wire_bytes key, const char *type, const char *end)
{
	size_t n = strlen(end);

	return key.len > n + 3 && key.p[2] == (uint8_t)type[0] &&
	       memcmp(key.p + key.len - n, end, n) == 0;
}

/* 0, -ENOENT or another error. */
static int drop(struct rows_back *back, const char *type, const char *end)
{
	struct rows_batch *b = rows_batch_new();
	struct wire_bytes key, value;
	struct rows_iter *it;
	int rv;

	if (b == NULL)
		return -1;
	rv = rows_iter_new(back, wire_bytes(NULL, 0), wire_cstr("\xff\xff"),
			   &it);
	while (rv == 0 && (rv = rows_iter_next(it, &key, &value)) == 0)
		if (is_it(key, type, end)) {
			rows_batch_del(b, key);
			break;
		}
	if (rv == 0) {
		rv = rows_batch_write(back, b);
		rows_iter_free(it);
	}
	rows_batch_free(b);
	return rv != 0 ? rv : rows_back_checkpoint(back);
}

int main(int argc, char **argv)
{
	struct errbuf e = { .text = "" };
	struct rows_back *back;
	int rv;

	if (argc != 4) {
		fputs("usage: droprow ROWS-DIRECTORY TYPE END\n", stderr);
		return 2;
	}
	rv = rows_back_open(argv[1], 1 << 20, &back, &e);
	if (rv != 0) {
		fprintf(stderr, "droprow: %s\n", e.text);
		return 2;
	}
	rv = drop(back, argv[2], argv[3]);
	rows_back_close(back);
	if (rv != 0)
		fprintf(stderr, "droprow: no such row: %s\n", strerror(-rv));
	return rv != 0;
}
