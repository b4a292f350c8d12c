/* Multipart uploads of the model. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/status.h"
#include "tests/lib/nsmodel.h"

/* As rows are ordered: the key, then the number. */
static int nsm_upload_cmp(const struct nsm_upload *u, const char *key,
			  struct wire_u128 id)
{
	int c = strcmp(u->key, key);

	if (c != 0)
		return c;
	if (u->id.hi != id.hi)
		return u->id.hi < id.hi ? -1 : 1;
	return u->id.lo < id.lo ? -1 : u->id.lo > id.lo;
}

struct nsm_upload *nsm_upload_new(struct nsm_upload **all, const char *key,
				  struct wire_u128 id)
{
	struct nsm_upload *u = calloc(1, sizeof(*u));

	while (*all != NULL && nsm_upload_cmp(*all, key, id) < 0)
		all = &(*all)->next;
	u->key = strdup(key);
	u->id = id;
	u->next = *all;
	*all = u;
	return u;
}

void nsm_upload_free(struct nsm_upload **all, struct nsm_upload *u)
{
	while (*all != u)
		all = &(*all)->next;
	*all = u->next;
	free(u->key);
	free(u);
}

struct nsm_part *nsm_part_of(struct nsm_upload *u, uint32_t number)
{
	for (unsigned i = 0; i < u->n; i++)
		if (u->part[i].number == number)
			return &u->part[i];
	return NULL;
}

bool nsm_part_put(struct nsm_upload *u, const struct nsm_part *p)
{
	struct nsm_part *old = nsm_part_of(u, p->number);
	unsigned i;

	if (old == NULL) {
		if (u->n == NSM_PARTS)
			return false;
		for (i = u->n++; i > 0 && u->part[i - 1].number > p->number;
		     i--)
			u->part[i] = u->part[i - 1];
		old = &u->part[i];
	}
	*old = *p;
	return true;
}

uint32_t nsm_complete_check(struct nsm_upload *u, const struct nsm_listed *v,
			    unsigned n, uint64_t min_part)
{
	if (n == 0)
		return RPC_STATUS_INVAL;
	for (unsigned i = 0; i < n; i++)
		if (v[i].number == 0 ||
		    (i > 0 && v[i].number <= v[i - 1].number))
			return RPC_STATUS_PART_ORDER;
	for (unsigned i = 0; i < n; i++)
		if (nsm_part_of(u, v[i].number) == NULL)
			return RPC_STATUS_INVALID_PART;
	for (unsigned i = 0; i < n; i++) {
		struct nsm_part *p = nsm_part_of(u, v[i].number);

		if (strcmp(p->etag, v[i].etag) != 0)
			return RPC_STATUS_INVALID_PART;
		if (p->len < min_part && i + 1 < n)
			return RPC_STATUS_PART_TOO_SMALL;
	}
	return RPC_STATUS_OK;
}

/* The MD5 of the MD5s, and how many. */
static void nsm_complete_etag(const struct nsm_listed *v, unsigned n,
			      char etag[NSM_ETAG])
{
	uint8_t md5s[16 * NSM_PARTS], md5[16];

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < 16; j++) {
			unsigned b;

			(void)sscanf(v[i].etag + 2 * j, "%2x", &b);
			md5s[16 * i + j] = (uint8_t)b;
		}
	(void)EVP_Digest(md5s, 16 * (size_t)n, md5, NULL, EVP_md5(), NULL);
	for (unsigned j = 0; j < 16; j++)
		snprintf(etag + 2 * j, 3, "%02x", md5[j]);
	snprintf(etag + 32, NSM_ETAG - 32, "-%u", n);
}

void nsm_complete(struct nsm_dir *root, struct nsm_upload **all,
		  struct nsm_upload *u, const struct nsm_listed *v, unsigned n)
{
	uint8_t bytes[NSM_PARTS * NSM_PART_BYTES] = { 0 };
	struct nsm_file *f;
	struct nsm_dir *d;
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct nsm_part *p = nsm_part_of(u, v[i].number);

		memcpy(bytes + len, p->bytes, p->len);
		len += p->len;
	}
	(void)nsm_put(root, u->key, bytes, len);
	(void)nsm_object(root, u->key, &f, &d);
	strcpy(f->user, u->user);
	nsm_complete_etag(v, n, f->etag);
	f->parts = n;
	for (unsigned i = 0; i < n; i++)
		f->part_len[i] = nsm_part_of(u, v[i].number)->len;
	nsm_upload_free(all, u);
}
