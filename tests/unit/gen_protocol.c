/*
 * Prints the generated section of docs/PROTOCOL.md, or with a file name
 * replaces that section in it: gen_protocol docs/PROTOCOL.md
 */
#include <stdio.h>
#include <string.h>

#include "protocol_table.h"

static int replace(const char *path, const struct buf *table)
{
	struct buf text;
	char *at, *end;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return -1;
	buf_init(&text, 0);
	while (!feof(f) && !ferror(f)) {
		uint8_t *p = buf_reserve(&text, 4096);

		if (p == NULL)
			break;
		text.len += fread(p, 1, 4096, f);
	}
	fclose(f);
	buf_add(&text, "", 1);
	at = strstr((char *)text.data, PROTOCOL_BEGIN);
	end = at == NULL ? NULL : strstr(at, PROTOCOL_END);
	if (end == NULL) {
		buf_fini(&text);
		return -1;
	}
	at += strlen(PROTOCOL_BEGIN);
	f = fopen(path, "we");
	if (f != NULL) {
		fwrite(text.data, 1, (size_t)(at - (char *)text.data), f);
		fwrite(table->data, 1, table->len, f);
		fputs(end, f);
		fclose(f);
	}
	buf_fini(&text);
	return f == NULL ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct buf out;
	int rv = 0;

	buf_init(&out, 0);
	protocol_table(&out);
	if (argc > 1)
		rv = replace(argv[1], &out);
	else
		fwrite(out.data, 1, out.len, stdout);
	buf_fini(&out);
	if (rv != 0)
		fprintf(stderr, "gen_protocol: cannot update %s\n", argv[1]);
	return rv == 0 ? 0 : 1;
}
