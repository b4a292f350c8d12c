#include "protocol_table.h"

#include "common/wire/msgs.h"
#include "common/wire/status.h"

#define P_FIELD(kind, name) ", " #name " " #kind

static const struct {
	unsigned tag;
	const char *name, *rsp, *roles, *kind, *fields;
} requests[] = {
#define P_REQ(tag, name, FIELDS, rsp, roles, kind) \
	{ tag, #name, #rsp, #roles, #kind, "" FIELDS(P_FIELD) },
	RPC_REQUESTS(P_REQ)
};

static const struct {
	const char *name, *fields;
} responses[] = {
#define P_RSP(name, FIELDS) { #name, "" FIELDS(P_FIELD) },
	RPC_RESPONSES(P_RSP)
};

static const struct {
	unsigned num;
	const char *name, *err, *text;
} statuses[] = {
#define P_STATUS(num, name, err, text) { num, #name, #err, text },
	RPC_STATUSES(P_STATUS)
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Behind the leading ", ". */
static const char *fields_text(const char *s)
{
	return s[0] == '\0' ? "-" : s + 2;
}

void protocol_table(struct buf *out)
{
	buf_puts(out, "### Requests\n\n"
		      "| tag | name | kind | roles | reply | fields |\n"
		      "|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < COUNT(requests); i++)
		buf_printf(out, "| 0x%02x | %s | %s | %s | %s | %s |\n",
			   requests[i].tag, requests[i].name, requests[i].kind,
			   requests[i].roles, requests[i].rsp,
			   fields_text(requests[i].fields));
	buf_puts(out, "\n### Replies\n\n| name | fields |\n|---|---|\n");
	for (size_t i = 0; i < COUNT(responses); i++)
		buf_printf(out, "| %s | %s |\n", responses[i].name,
			   fields_text(responses[i].fields));
	buf_puts(out, "\n### Statuses\n\n| number | name | errno | meaning |\n"
		      "|---|---|---|---|\n");
	for (size_t i = 0; i < COUNT(statuses); i++)
		buf_printf(out, "| %u | %s | %s | %s |\n", statuses[i].num,
			   statuses[i].name, statuses[i].err,
			   statuses[i].text);
}
