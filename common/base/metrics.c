#include "common/base/metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static struct metric *metric_list;
static struct histo *histo_list;

/*
 * Series of one name must stand together in the text, so a new one goes
 * behind the last of its name.
 */
void metric_register(struct metric *m)
{
	struct metric **at = &metric_list;
	struct metric **behind = NULL;

	for (; *at != NULL; at = &(*at)->next) {
		if (*at == m)
			return;
		if (strcmp((*at)->name, m->name) == 0)
			behind = &(*at)->next;
	}
	if (behind != NULL)
		at = behind;
	m->next = *at;
	*at = m;
}

void histo_register(struct histo *h)
{
	struct histo **at = &histo_list;
	struct histo **behind = NULL;

	for (; *at != NULL; at = &(*at)->next) {
		if (*at == h)
			return;
		if (strcmp((*at)->name, h->name) == 0)
			behind = &(*at)->next;
	}
	if (behind != NULL)
		at = behind;
	h->next = *at;
	*at = h;
}

void histo_add(struct histo *h, uint64_t us)
{
	/* smallest i with us < 2^i; the last bucket takes the rest */
	unsigned i = us == 0 ? 0 : 64u - (unsigned)__builtin_clzll(us);

	if (i >= HISTO_BUCKETS)
		i = HISTO_BUCKETS - 1;
	__atomic_fetch_add(&h->bucket[i], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->sum_us, us, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->count, 1, __ATOMIC_RELAXED);
}

static void metric_write_head(struct buf *out, const char *name,
			      const char *help, const char *kind)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
		   kind);
}

static void metric_write(struct buf *out, const struct metric *m)
{
	uint64_t v = __atomic_load_n(&m->value, __ATOMIC_RELAXED);

	if (m->labels != NULL && m->labels[0] != '\0')
		buf_printf(out, "%s{%s} %" PRIu64 "\n", m->name, m->labels, v);
	else
		buf_printf(out, "%s %" PRIu64 "\n", m->name, v);
}

static void histo_write_line(struct buf *out, const struct histo *h,
			     const char *suffix, double v)
{
	if (h->labels != NULL && h->labels[0] != '\0')
		buf_printf(out, "%s_%s{%s} %.15g\n", h->name, suffix,
			   h->labels, v);
	else
		buf_printf(out, "%s_%s %.15g\n", h->name, suffix, v);
}

/* Seconds, as Prometheus wants them; names end in _seconds. */
static void histo_write(struct buf *out, const struct histo *h)
{
	const char *labels = h->labels != NULL ? h->labels : "";
	const char *sep = labels[0] != '\0' ? "," : "";
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTO_BUCKETS - 1; i++) {
		n += __atomic_load_n(&h->bucket[i], __ATOMIC_RELAXED);
		buf_printf(out, "%s_bucket{%s%sle=\"%.15g\"} %" PRIu64 "\n",
			   h->name, labels, sep,
			   (double)(1ull << i) / 1e6, n);
	}
	n += __atomic_load_n(&h->bucket[HISTO_BUCKETS - 1], __ATOMIC_RELAXED);
	buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", h->name,
		   labels, sep, n);
	histo_write_line(out, h, "sum",
			 (double)__atomic_load_n(&h->sum_us,
						 __ATOMIC_RELAXED) / 1e6);
	histo_write_line(out, h, "count", (double)n);
}

void metrics_write(struct buf *out)
{
	const char *last = "";

	for (const struct metric *m = metric_list; m != NULL; m = m->next) {
		if (strcmp(last, m->name) != 0)
			metric_write_head(out, m->name, m->help,
					  m->kind == METRIC_COUNTER ?
						  "counter" : "gauge");
		last = m->name;
		metric_write(out, m);
	}
	last = "";
	for (const struct histo *h = histo_list; h != NULL; h = h->next) {
		if (strcmp(last, h->name) != 0)
			metric_write_head(out, h->name, h->help, "histogram");
		last = h->name;
		histo_write(out, h);
	}
}
