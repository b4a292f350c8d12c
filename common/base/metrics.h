#ifndef COMMON_BASE_METRICS_H
#define COMMON_BASE_METRICS_H
/*
 * Counters, gauges and latency histograms, registered by name, updated with
 * relaxed atomics from any thread, written as Prometheus text.
 */
#include <stdint.h>

#include "common/base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
	const char *name; /* leofs_..., borrowed for ever */
	const char *help;
	const char *labels; /* "op=\"put\"" or "" */
	enum metric_kind kind;
	uint64_t value; /* atomic */
	struct metric *next;
};

/* Adds a static metric to the registry; before threads start. */
void metric_register(struct metric *m);
static inline void metric_add(struct metric *m, uint64_t n)
{
	__atomic_fetch_add(&m->value, n, __ATOMIC_RELAXED);
}
static inline void metric_set(struct metric *m, uint64_t n)
{
	__atomic_store_n(&m->value, n, __ATOMIC_RELAXED);
}

/* Log-linear latency histogram, microseconds. */
#define HISTO_BUCKETS 32 /* bucket i counts values < 2^i us */
struct histo {
	const char *name;
	const char *help;
	const char *labels;
	uint64_t bucket[HISTO_BUCKETS]; /* atomic */
	uint64_t sum_us;                /* atomic */
	uint64_t count;                 /* atomic */
	struct histo *next;
};
void histo_register(struct histo *h);
void histo_add(struct histo *h, uint64_t us);

/* All registered metrics as Prometheus text format 0.0.4. */
void metrics_write(struct buf *out);

#endif
