#include "storaged/opens.h"

#include <errno.h>
#include <string.h>

#include "common/base/mem.h"

#define OPENS_BUCKETS_FIRST 64

struct opens_node {
	struct opens_node *next;
	struct open_id id;  /* number: the highest one that was made */
	uint64_t pending;   /* being made */
	uint64_t closed;    /* highest number of a CLOSE, while some are pending */
	bool made;
};

void opens_init(struct opens *o)
{
	memset(o, 0, sizeof *o);
}

void opens_fini(struct opens *o)
{
	struct opens_node *n;

	for (size_t i = 0; i < o->n_buckets; i++)
		while ((n = o->buckets[i]) != NULL) {
			o->buckets[i] = n->next;
			mem_free(n);
		}
	mem_free(o->buckets);
	opens_init(o);
}

static struct opens_node **opens_bucket(const struct opens *o, uint64_t ino)
{
	/* counters are dense, so their low bits after a mix are even enough */
	uint64_t h = ino * 0x9e3779b97f4a7c15u;

	return &o->buckets[(h >> 32) & (o->n_buckets - 1)];
}

static int opens_grow(struct opens *o)
{
	struct opens grown = { .n_buckets = o->n_buckets * 2, .n = o->n };
	struct opens_node *n, **b;

	if (grown.n_buckets == 0)
		grown.n_buckets = OPENS_BUCKETS_FIRST;
	grown.buckets = mem_calloc(grown.n_buckets, sizeof *grown.buckets);
	if (grown.buckets == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_buckets; i++)
		while ((n = o->buckets[i]) != NULL) {
			o->buckets[i] = n->next;
			b = opens_bucket(&grown, n->id.ino);
			n->next = *b;
			*b = n;
		}
	mem_free(o->buckets);
	*o = grown;
	return 0;
}

static struct opens_node **opens_find(const struct opens *o, struct open_id id)
{
	struct opens_node **p;

	if (o->n == 0)
		return NULL;
	for (p = opens_bucket(o, id.ino); *p != NULL; p = &(*p)->next)
		if ((*p)->id.ino == id.ino && (*p)->id.session == id.session &&
		    (*p)->id.object == id.object &&
		    (!id.object || (*p)->id.number == id.number))
			return p;
	return NULL;
}

int opens_begin(struct opens *o, struct open_id id)
{
	struct opens_node **p = opens_find(o, id), *n;

	if (p != NULL) {
		(*p)->pending++;
		return 0;
	}
	if (o->n >= OPENS_MAX)
		return -EBUSY;
	if (o->n >= o->n_buckets && opens_grow(o) != 0)
		return -ENOMEM;
	n = mem_alloc(sizeof *n);
	if (n == NULL)
		return -ENOMEM;
	p = opens_bucket(o, id.ino);
	*n = (struct opens_node){ .next = *p, .id = id, .pending = 1 };
	*p = n;
	o->n++;
	return 0;
}

static void opens_drop(struct opens *o, struct opens_node **p)
{
	struct opens_node *n = *p;

	if (n->made || n->pending > 0)
		return;
	*p = n->next;
	mem_free(n);
	o->n--;
}

/* One that was being made is no more; NULL: its session has ended. */
static struct opens_node **opens_ended(struct opens *o, struct open_id id)
{
	struct opens_node **p = opens_find(o, id);

	if (p == NULL || (*p)->pending == 0)
		return NULL;
	(*p)->pending--;
	return p;
}

void opens_undo(struct opens *o, struct open_id id)
{
	struct opens_node **p = opens_ended(o, id);

	if (p != NULL)
		opens_drop(o, p);
}

/* Does a CLOSE with that number end an open with this one? */
static bool opens_ends(const struct open_id *id, uint64_t close)
{
	return id->object ? id->number == close : id->number < close;
}

int opens_made(struct opens *o, struct open_id id)
{
	struct opens_node **p = opens_ended(o, id), *n;

	if (p == NULL)
		return -ENOENT;
	n = *p;
	if (n->closed != 0 && opens_ends(&id, n->closed)) {
		opens_drop(o, p);
		return -ENOENT;
	}
	if (!n->made || n->id.number < id.number)
		n->id.number = id.number;
	n->made = true;
	return 0;
}

int opens_del(struct opens *o, struct open_id id)
{
	struct opens_node **p = opens_find(o, id), *n;

	if (p == NULL)
		return -ENOENT;
	n = *p;
	if (n->closed < id.number)
		n->closed = id.number;
	if (!n->made || !opens_ends(&n->id, id.number))
		return -ENOENT;
	n->made = false;
	opens_drop(o, p);
	return 0;
}

uint64_t opens_end(struct opens *o, uint64_t session)
{
	uint64_t ended = 0;

	for (size_t i = 0; i < o->n_buckets; i++) {
		struct opens_node **p = &o->buckets[i], *n;

		while ((n = *p) != NULL) {
			if (n->id.session != session) {
				p = &n->next;
				continue;
			}
			*p = n->next;
			mem_free(n);
			o->n--;
			ended++;
		}
	}
	return ended;
}

uint64_t opens_count(const struct opens *o, uint64_t ino)
{
	uint64_t count = 0;

	if (o->n == 0)
		return 0;
	for (const struct opens_node *n = *opens_bucket(o, ino); n != NULL;
	     n = n->next)
		if (n->id.ino == ino)
			count += n->made + n->pending;
	return count;
}
