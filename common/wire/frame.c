/* The frame header: layout in frame.h and docs/PROTOCOL.md. */
#include "common/wire/frame.h"

#include <errno.h>

#include "common/base/xxh.h"

#define FRAME_SUM_AT (FRAME_HEADER_LEN - 8)

static uint8_t *frame_store(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = n; i > 0; i--) {
		p[i - 1] = (uint8_t)v;
		v >>= 8;
	}
	return p + n;
}

static uint64_t frame_load(const uint8_t **p, unsigned n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | *(*p)++;
	return v;
}

uint64_t frame_sum(const void *payload, size_t len)
{
	return XXH3_64bits(payload, len);
}

void frame_encode(const struct frame *f, uint8_t *out)
{
	uint8_t *p = out;

	p = frame_store(p, FRAME_MAGIC, 4);
	p = frame_store(p, FRAME_VERSION, 1);
	p = frame_store(p, f->type, 1);
	p = frame_store(p, f->flags, 2);
	p = frame_store(p, f->tag, 2);
	p = frame_store(p, f->group, 2);
	p = frame_store(p, f->id, 8);
	p = frame_store(p, f->store.hi, 8);
	p = frame_store(p, f->store.lo, 8);
	p = frame_store(p, f->epoch, 8);
	p = frame_store(p, f->status, 4);
	p = frame_store(p, f->payload_len, 4);
	p = frame_store(p, f->body_len, 4);
	p = frame_store(p, f->number, 8);
	p = frame_store(p, f->payload_sum, 8);
	frame_store(p, frame_sum(out, FRAME_SUM_AT), 8);
}

static int frame_check_lengths(const struct frame *f)
{
	if (f->body_len > FRAME_BODY_MAX)
		return -EMSGSIZE;
	switch (f->type) {
	case FRAME_REQUEST:
	case FRAME_REPLY:
		return f->payload_len > FRAME_PAYLOAD_MAX ? -EMSGSIZE : 0;
	case FRAME_BODY:
		if (f->payload_len == 0)
			return -EPROTO;
		return f->payload_len > FRAME_BODY_PART ? -EMSGSIZE : 0;
	case FRAME_CANCEL:
		return f->payload_len > 0 || f->body_len > 0 ? -EPROTO : 0;
	default:
		return -EPROTO;
	}
}

int frame_decode(struct frame *f, const uint8_t *in)
{
	const uint8_t *p = in;
	struct frame g;
	int rv;

	if (frame_load(&p, 4) != FRAME_MAGIC ||
	    frame_load(&p, 1) != FRAME_VERSION)
		return -EPROTO;
	g.type = (uint8_t)frame_load(&p, 1);
	g.flags = (uint16_t)frame_load(&p, 2);
	g.tag = (uint16_t)frame_load(&p, 2);
	g.group = (uint16_t)frame_load(&p, 2);
	g.id = frame_load(&p, 8);
	g.store.hi = frame_load(&p, 8);
	g.store.lo = frame_load(&p, 8);
	g.epoch = frame_load(&p, 8);
	g.status = (uint32_t)frame_load(&p, 4);
	g.payload_len = (uint32_t)frame_load(&p, 4);
	g.body_len = (uint32_t)frame_load(&p, 4);
	g.number = frame_load(&p, 8);
	g.payload_sum = frame_load(&p, 8);
	if (frame_load(&p, 8) != frame_sum(in, FRAME_SUM_AT))
		return -EPROTO;
	rv = frame_check_lengths(&g);
	if (rv != 0)
		return rv;
	*f = g;
	return 0;
}
