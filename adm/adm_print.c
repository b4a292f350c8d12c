#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adm/adm.h"

/* A value as text; buf is used for numbers. */
static const char *adm_value(json_t *v, char *buf, size_t len)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v))
		snprintf(buf, len, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, len, "%.1f", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(buf, len, "%s", json_is_true(v) ? "yes" : "no");
	else
		snprintf(buf, len, "-");
	return buf;
}

static int adm_width(json_t *rows, const struct adm_column *c)
{
	size_t width = strlen(c->title), i;
	char buf[64];
	json_t *row;

	json_array_foreach(rows, i, row) {
		size_t n = strlen(adm_value(json_object_get(row, c->field),
					    buf, sizeof buf));
		width = n > width ? n : width;
	}
	return (int)width;
}

void adm_print_table(json_t *rows, const struct adm_column *columns, int n)
{
	int width[16];
	size_t i;
	json_t *row;

	if (n > 16)
		n = 16;
	for (int c = 0; c < n; c++) {
		width[c] = adm_width(rows, &columns[c]);
		printf("%-*s%s", width[c], columns[c].title,
		       c < n - 1 ? "  " : "\n");
	}
	json_array_foreach(rows, i, row) {
		for (int c = 0; c < n; c++) {
			json_t *v = json_object_get(row, columns[c].field);
			char buf[64];
			const char *text = adm_value(v, buf, sizeof buf);

			printf("%*s%s", json_is_number(v) ? width[c] : -width[c],
			       text, c < n - 1 ? "  " : "\n");
		}
	}
}

void adm_print_fields(json_t *object, const struct adm_column *columns, int n)
{
	int width = 0;

	for (int c = 0; c < n; c++) {
		int len = (int)strlen(columns[c].title);

		width = len > width ? len : width;
	}
	for (int c = 0; c < n; c++) {
		char buf[64];

		printf("%*s: %s\n", width, columns[c].title,
		       adm_value(json_object_get(object, columns[c].field),
				 buf, sizeof buf));
	}
}

void adm_print_json(json_t *json)
{
	char *text = json_dumps(json, JSON_INDENT(2));

	if (text != NULL)
		puts(text);
	free(text);
}
