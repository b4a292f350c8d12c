/*
 * Configuration: libyaml's events walk the table.
 *
 * The file is read whole (at most 1 MiB) and may hold one mapping, with nested
 * mappings up to CONF_DEPTH, of scalars. Anchors, aliases, tags, lists and
 * further documents are refused, so nothing can expand.
 */
#include "common/base/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yaml.h>

#include "common/base/conf_value.h"
#include "common/base/mem.h"

#define CONF_FILE_MAX (1u << 20)
#define CONF_DEPTH 8
#define CONF_NAME_MAX 128

struct conf_parse {
	const struct conf_setting *table; /* borrowed */
	size_t n;
	const char *path; /* borrowed */
	void *conf;       /* borrowed */
	struct errbuf *e; /* borrowed */
	bool *seen;       /* per row: given in the file */
	unsigned depth;   /* open mappings */
	bool have_key;    /* name is complete, its value comes next */
	size_t prefix[CONF_DEPTH + 1]; /* length of name per depth */
	char name[CONF_NAME_MAX];      /* dotted */
};

/* --- reading --- */

static int conf_read_file(const char *path, struct buf *out, struct errbuf *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;
	int rv = 0;

	if (fd < 0) {
		rv = -errno;
		return errbuf_set(e, rv, "%s: %s", path, strerror(-rv));
	}
	while (rv == 0 && n > 0) {
		uint8_t *p = buf_reserve(out, 4096);

		if (p == NULL) {
			rv = out->err == -EMSGSIZE ? -EFBIG : out->err;
			break;
		}
		n = read(fd, p, 4096);
		if (n < 0)
			rv = -errno;
		else
			out->len += (size_t)n;
	}
	(void)close(fd);
	if (rv != 0)
		return errbuf_set(e, rv, "%s: %s", path, strerror(-rv));
	return 0;
}

/* "file:line: text"; libyaml counts from 0. */
static int conf_fail(struct conf_parse *p, const yaml_mark_t *at, int err)
{
	return errbuf_prefix(p->e, err, "%s:%zu", p->path, at->line + 1);
}

static const struct conf_setting *conf_find(const struct conf_setting *table,
					    size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	}
	return NULL;
}

/* A scalar in the place of a key: extends the dotted name. */
static int conf_on_key(struct conf_parse *p, const char *text, size_t len)
{
	size_t at = p->prefix[p->depth];

	if (len == 0 || strlen(text) != len ||
	    at + len + 2 > sizeof(p->name))
		return errbuf_set(p->e, -EINVAL, "bad key");
	if (at > 0)
		p->name[at++] = '.';
	memcpy(p->name + at, text, len + 1);
	p->have_key = true;
	return 0;
}

static int conf_on_value(struct conf_parse *p, const char *text, size_t len)
{
	const struct conf_setting *s = conf_find(p->table, p->n, p->name);

	p->have_key = false;
	if (s == NULL)
		return errbuf_set(p->e, -EINVAL, "unknown setting \"%s\"",
				  p->name);
	if (p->seen[s - p->table])
		return errbuf_set(p->e, -EINVAL, "\"%s\" is given twice",
				  p->name);
	if (strlen(text) != len)
		return errbuf_set(p->e, -EINVAL, "\"%s\" has a NUL byte",
				  p->name);
	p->seen[s - p->table] = true;
	return conf_value_set(s, text, p->conf, p->e);
}

static int conf_on_scalar(struct conf_parse *p, const yaml_event_t *ev)
{
	const char *text = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length;

	if (ev->data.scalar.anchor != NULL || ev->data.scalar.tag != NULL)
		return errbuf_set(p->e, -EINVAL,
				  "anchors and tags are not allowed");
	if (p->depth == 0) {
		/* an empty document is a null scalar */
		if (len == 0)
			return 0;
		return errbuf_set(p->e, -EINVAL, "not a mapping");
	}
	if (p->have_key)
		return conf_on_value(p, text, len);
	return conf_on_key(p, text, len);
}

static int conf_on_mapping(struct conf_parse *p, const yaml_event_t *ev)
{
	if (ev->data.mapping_start.anchor != NULL ||
	    ev->data.mapping_start.tag != NULL)
		return errbuf_set(p->e, -EINVAL,
				  "anchors and tags are not allowed");
	if (p->depth > 0 && !p->have_key)
		return errbuf_set(p->e, -EINVAL, "a key must be a word");
	if (p->depth >= CONF_DEPTH)
		return errbuf_set(p->e, -EINVAL, "nested too deeply");
	if (p->depth > 0 && conf_find(p->table, p->n, p->name) != NULL)
		return errbuf_set(p->e, -EINVAL, "\"%s\" is not a mapping",
				  p->name);
	p->depth++;
	p->prefix[p->depth] = p->depth == 1 ? 0 : strlen(p->name);
	p->have_key = false;
	return 0;
}

static int conf_on_event(struct conf_parse *p, const yaml_event_t *ev,
			 unsigned *documents)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++*documents > 1)
			return errbuf_set(p->e, -EINVAL,
					  "more than one document");
		return 0;
	case YAML_SCALAR_EVENT:
		return conf_on_scalar(p, ev);
	case YAML_MAPPING_START_EVENT:
		return conf_on_mapping(p, ev);
	case YAML_MAPPING_END_EVENT:
		p->depth--;
		p->have_key = false;
		return 0;
	case YAML_ALIAS_EVENT:
		return errbuf_set(p->e, -EINVAL, "aliases are not allowed");
	case YAML_SEQUENCE_START_EVENT:
		return errbuf_set(p->e, -EINVAL, "lists are not allowed");
	default:
		return 0;
	}
}

/* libyaml gave up; its own mark is where. */
static int conf_yaml_error(struct conf_parse *p, const yaml_parser_t *y)
{
	int rv = y->error == YAML_MEMORY_ERROR ? -ENOMEM : -EINVAL;

	(void)errbuf_set(p->e, rv, "%s",
			 y->problem != NULL ? y->problem : "not YAML");
	return conf_fail(p, &y->problem_mark, rv);
}

static int conf_parse_text(struct conf_parse *p, const struct buf *text)
{
	unsigned documents = 0;
	yaml_parser_t y;
	yaml_event_t ev;
	bool end = false;
	int rv = 0;

	if (yaml_parser_initialize(&y) == 0)
		return errbuf_set(p->e, -ENOMEM, "out of memory");
	yaml_parser_set_input_string(&y, text->data, text->len);
	while (rv == 0 && !end) {
		if (yaml_parser_parse(&y, &ev) == 0) {
			rv = conf_yaml_error(p, &y);
			break;
		}
		rv = conf_on_event(p, &ev, &documents);
		if (rv != 0)
			rv = conf_fail(p, &ev.start_mark, rv);
		end = ev.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&y);
	return rv;
}

static int conf_load_file(struct conf_parse *p)
{
	struct buf text;
	int rv;

	buf_init(&text, CONF_FILE_MAX + 4096);
	rv = conf_read_file(p->path, &text, p->e);
	if (rv == 0 && text.len > CONF_FILE_MAX)
		rv = errbuf_set(p->e, -EFBIG, "%s: larger than 1 MiB",
				p->path);
	if (rv == 0)
		rv = conf_parse_text(p, &text);
	buf_fini(&text);
	return rv;
}

static int conf_load_defaults(struct conf_parse *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct conf_setting *s = &p->table[i];
		int rv;

		if (s->dflt == NULL)
			continue;
		rv = conf_value_set(s, s->dflt, p->conf, p->e);
		if (rv != 0)
			return rv;
	}
	return 0;
}

static int conf_check_required(struct conf_parse *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->table[i].dflt == NULL && !p->seen[i])
			return errbuf_set(p->e, -EINVAL,
					  "%s%ssetting \"%s\" is required",
					  p->path != NULL ? p->path : "",
					  p->path != NULL ? ": " : "",
					  p->table[i].name);
	}
	return 0;
}

int conf_load(const struct conf_setting *table, size_t n, const char *path,
	      void *conf, struct errbuf *e)
{
	struct conf_parse p = { .table = table, .n = n, .path = path,
				.conf = conf, .e = e };
	int rv;

	for (size_t i = 0; i < n; i++) {
		if (table[i].type == CONF_STR)
			*(char **)(void *)((char *)conf + table[i].offset) =
				NULL;
	}
	p.seen = mem_calloc(n, sizeof(*p.seen));
	if (p.seen == NULL)
		return errbuf_set(e, -ENOMEM, "out of memory");
	rv = conf_load_defaults(&p);
	if (rv == 0 && path != NULL)
		rv = conf_load_file(&p);
	if (rv == 0)
		rv = conf_check_required(&p);
	mem_free(p.seen);
	if (rv != 0)
		conf_free(table, n, conf);
	return rv;
}

int conf_set(const struct conf_setting *table, size_t n, const char *name,
	     const char *text, void *conf, struct errbuf *e)
{
	const struct conf_setting *s = conf_find(table, n, name);

	if (s == NULL)
		return errbuf_set(e, -EINVAL, "unknown setting \"%s\"", name);
	return conf_value_set(s, text, conf, e);
}

void conf_free(const struct conf_setting *table, size_t n, void *conf)
{
	for (size_t i = 0; i < n; i++) {
		char **field;

		if (table[i].type != CONF_STR)
			continue;
		field = (char **)(void *)((char *)conf + table[i].offset);
		mem_free(*field);
		*field = NULL;
	}
}

/* --- printing --- */

void conf_print(const struct conf_setting *table, size_t n, const void *conf,
		FILE *out)
{
	const char *group = "";
	size_t group_len = 0;
	struct buf b;

	buf_init(&b, 0);
	for (size_t i = 0; i < n; i++) {
		const char *name = table[i].name;
		const char *dot = strchr(name, '.');
		size_t len = dot != NULL ? (size_t)(dot - name) : 0;

		if (len > 0 &&
		    (len != group_len || memcmp(group, name, len) != 0))
			buf_printf(&b, "%.*s:\n", (int)len, name);
		group = name;
		group_len = len;
		buf_printf(&b, "%s%s: ", len > 0 ? "  " : "",
			   len > 0 ? dot + 1 : name);
		conf_value_print(&table[i], conf, &b);
		buf_puts(&b, "\n");
	}
	(void)fwrite(b.data, 1, b.len, out);
	buf_fini(&b);
}

static const char *conf_type_name(const struct conf_setting *s)
{
	static const char *const names[] = {
		[CONF_STR] = "text",  [CONF_U64] = "number",
		[CONF_SIZE] = "size", [CONF_BOOL] = "true | false",
		[CONF_MS] = "time",
	};

	return s->type == CONF_ENUM ? s->values : names[s->type];
}

static void conf_print_limits(const struct conf_setting *s, FILE *out)
{
	struct buf b;

	if (s->type != CONF_U64 && s->type != CONF_SIZE && s->type != CONF_MS)
		return;
	if (s->max == 0 && s->min == 0)
		return;
	buf_init(&b, 0);
	buf_puts(&b, "From ");
	conf_value_print_number(s, s->min, &b);
	if (s->max != 0) {
		buf_puts(&b, " to ");
		conf_value_print_number(s, s->max, &b);
	} else {
		buf_puts(&b, " up");
	}
	fprintf(out, "%.*s.\n", (int)b.len, (char *)b.data);
	buf_fini(&b);
}

void conf_print_man(const struct conf_setting *table, size_t n, FILE *out)
{
	fprintf(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < n; i++) {
		const struct conf_setting *s = &table[i];

		fprintf(out, ".It Cm %s : Ar %s\n%s\n", s->name,
			conf_type_name(s), s->prose);
		conf_print_limits(s, out);
		if (s->dflt == NULL)
			fprintf(out, "Required.\n");
		else if (s->dflt[0] == '\0')
			fprintf(out, "Not set by default.\n");
		else
			fprintf(out, "The default is\n.Li %s .\n", s->dflt);
		if (s->reloadable)
			fprintf(out, "Taken over on reload.\n");
	}
	fprintf(out, ".El\n");
}
