#include "common/base/conf_value.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/mem.h"

struct conf_unit {
	const char *name;
	uint64_t factor;
};

/* The first name of a factor is the one printed; largest first. */
static const struct conf_unit conf_sizes[] = {
	{ "TiB", 1ull << 40 }, { "T", 1ull << 40 }, { "t", 1ull << 40 },
	{ "GiB", 1ull << 30 }, { "G", 1ull << 30 }, { "g", 1ull << 30 },
	{ "MiB", 1ull << 20 }, { "M", 1ull << 20 }, { "m", 1ull << 20 },
	{ "KiB", 1ull << 10 }, { "K", 1ull << 10 }, { "k", 1ull << 10 },
	{ "", 1 },             { "B", 1 },          { NULL, 0 },
};
static const struct conf_unit conf_times[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "min", 60000 },
	{ "m", 60000 },    { "s", 1000 },    { "ms", 1 },
	{ "", 1 },         { NULL, 0 },
};
static const struct conf_unit conf_plain[] = { { "", 1 }, { NULL, 0 } };

static const struct conf_unit *conf_units(enum conf_type type)
{
	if (type == CONF_SIZE)
		return conf_sizes;
	if (type == CONF_MS)
		return conf_times;
	return conf_plain;
}

static void *conf_field(const struct conf_setting *s, void *conf)
{
	return (char *)conf + s->offset;
}

static const void *conf_field_const(const struct conf_setting *s,
				    const void *conf)
{
	return (const char *)conf + s->offset;
}

/* Digits and a unit; one blank between them is fine. */
static int conf_parse_number(const struct conf_setting *s, const char *text,
			     uint64_t *ret_v, struct errbuf *e)
{
	const struct conf_unit *u = conf_units(s->type);
	const char *p = text;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return errbuf_set(e, -ERANGE, "%s: too large",
					  s->name);
	}
	if (p == text)
		return errbuf_set(e, -EINVAL, "%s: not a number: \"%.40s\"",
				  s->name, text);
	if (p[0] == ' ' && p[1] != '\0')
		p++;
	while (u->name != NULL && strcmp(u->name, p) != 0)
		u++;
	if (u->name == NULL)
		return errbuf_set(e, -EINVAL, "%s: unknown unit \"%.20s\"",
				  s->name, p);
	if (__builtin_mul_overflow(v, u->factor, &v))
		return errbuf_set(e, -ERANGE, "%s: too large", s->name);
	*ret_v = v;
	return 0;
}

void conf_value_print_number(const struct conf_setting *s, uint64_t v,
			     struct buf *out)
{
	const struct conf_unit *u = conf_units(s->type);

	while (u->factor != 1 && (v == 0 || v % u->factor != 0))
		u++;
	buf_printf(out, "%" PRIu64 "%s", v / u->factor, u->name);
}

static int conf_set_number(const struct conf_setting *s, const char *text,
			   void *conf, struct errbuf *e)
{
	uint64_t max = s->max == 0 ? UINT64_MAX : s->max;
	uint64_t v = 0;
	int rv = conf_parse_number(s, text, &v, e);

	if (rv != 0)
		return rv;
	if (v < s->min || v > max) {
		struct buf lo, hi;

		buf_init(&lo, 0);
		buf_init(&hi, 0);
		conf_value_print_number(s, s->min, &lo);
		conf_value_print_number(s, max, &hi);
		rv = errbuf_set(e, -ERANGE, "%s: %.30s is not in %.*s to %.*s",
				s->name, text, (int)lo.len, (char *)lo.data,
				(int)hi.len, (char *)hi.data);
		buf_fini(&lo);
		buf_fini(&hi);
		return rv;
	}
	*(uint64_t *)conf_field(s, conf) = v;
	return 0;
}

static int conf_set_bool(const struct conf_setting *s, const char *text,
			 void *conf, struct errbuf *e)
{
	static const char *const words[] = { "false", "true", "no", "yes",
					     "off",   "on" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], text) == 0) {
			*(bool *)conf_field(s, conf) = i % 2 == 1;
			return 0;
		}
	}
	return errbuf_set(e, -EINVAL, "%s: not true or false: \"%.40s\"",
			  s->name, text);
}

/* The i-th of "a|b|c"; length 0 behind the last. */
static const char *conf_word(const char *values, uint64_t i, size_t *ret_len)
{
	while (i > 0) {
		values += strcspn(values, "|");
		if (*values == '\0')
			break;
		values++;
		i--;
	}
	*ret_len = strcspn(values, "|");
	return values;
}

static int conf_set_enum(const struct conf_setting *s, const char *text,
			 void *conf, struct errbuf *e)
{
	size_t n = strlen(text);
	size_t len;

	for (uint64_t i = 0;; i++) {
		const char *word = conf_word(s->values, i, &len);

		if (len == 0)
			break;
		if (len == n && memcmp(word, text, n) == 0) {
			*(uint64_t *)conf_field(s, conf) = i;
			return 0;
		}
	}
	return errbuf_set(e, -EINVAL, "%s: \"%.40s\" is not one of %s",
			  s->name, text, s->values);
}

static int conf_set_str(const struct conf_setting *s, const char *text,
			void *conf, struct errbuf *e)
{
	char **field = conf_field(s, conf);
	char *copy;

	if (s->max != 0 && strlen(text) > s->max)
		return errbuf_set(e, -ERANGE,
				  "%s: longer than %" PRIu64 " bytes",
				  s->name, s->max);
	copy = mem_strdup(text);
	if (copy == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	mem_free(*field);
	*field = copy;
	return 0;
}

int conf_value_set(const struct conf_setting *s, const char *text, void *conf,
		   struct errbuf *e)
{
	switch (s->type) {
	case CONF_STR:
		return conf_set_str(s, text, conf, e);
	case CONF_BOOL:
		return conf_set_bool(s, text, conf, e);
	case CONF_ENUM:
		return conf_set_enum(s, text, conf, e);
	case CONF_U64:
	case CONF_SIZE:
	case CONF_MS:
		break;
	}
	return conf_set_number(s, text, conf, e);
}

/* Double-quoted, as YAML and JSON read it. */
static void conf_print_str(const char *s, struct buf *out)
{
	buf_puts(out, "\"");
	for (; *s != '\0'; s++) {
		unsigned char ch = (unsigned char)*s;

		if (ch == '"' || ch == '\\')
			buf_printf(out, "\\%c", ch);
		else if (ch < 0x20 || ch == 0x7f)
			buf_printf(out, "\\x%02x", ch);
		else
			buf_add(out, s, 1);
	}
	buf_puts(out, "\"");
}

void conf_value_print(const struct conf_setting *s, const void *conf,
		      struct buf *out)
{
	const void *field = conf_field_const(s, conf);
	const char *word;
	size_t len;

	switch (s->type) {
	case CONF_STR:
		word = *(char *const *)field;
		conf_print_str(word != NULL ? word : "", out);
		return;
	case CONF_BOOL:
		buf_puts(out, *(const bool *)field ? "true" : "false");
		return;
	case CONF_ENUM:
		word = conf_word(s->values, *(const uint64_t *)field, &len);
		buf_add(out, word, len);
		return;
	case CONF_U64:
	case CONF_SIZE:
	case CONF_MS:
		break;
	}
	conf_value_print_number(s, *(const uint64_t *)field, out);
}
