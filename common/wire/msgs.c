/* Everything about messages that the table in msgs.h generates. */
#include "common/wire/msgs.h"

#define RPC_REQ_IMPL(tag, name, FIELDS, rsp, roles, kind) \
	WIRE_IMPL(rpc, name, FIELDS) \
	static int rpc_##name##_check(const void *payload, size_t len) \
	{ \
		struct rpc_##name m; \
		return rpc_##name##_decode(&m, payload, len); \
	}
#define RPC_RSP_IMPL(name, FIELDS) WIRE_IMPL(rpc, name, FIELDS)
RPC_REQUESTS(RPC_REQ_IMPL)
RPC_RESPONSES(RPC_RSP_IMPL)

#define RPC_ROW(tag_, name_, FIELDS, rsp, roles_, kind_) \
	{ .tag = (tag_), .name = #name_, .kind = #kind_[0], \
	  .roles = RPC_ROLE_##roles_, .check = rpc_##name_##_check },
static const struct rpc_info rpc_rows[] = { RPC_REQUESTS(RPC_ROW) };
#define RPC_ROWS (sizeof(rpc_rows) / sizeof(rpc_rows[0]))

/* Position + 1 in rpc_rows by tag: one lookup per message received. */
#define RPC_INDEX(tag, name, FIELDS, rsp, roles, kind) RPC_POS_##name,
enum { RPC_REQUESTS(RPC_INDEX) RPC_POS_END };
#define RPC_AT(tag, name, FIELDS, rsp, roles, kind) \
	[tag] = RPC_POS_##name + 1,
static const uint8_t rpc_index[256] = { RPC_REQUESTS(RPC_AT) };
_Static_assert(RPC_POS_END < 255, "rpc_index holds one byte per tag");

const struct rpc_info *rpc_info(uint16_t tag)
{
	if (tag >= sizeof(rpc_index) || rpc_index[tag] == 0)
		return NULL;
	return &rpc_rows[rpc_index[tag] - 1];
}

const struct rpc_info *rpc_info_all(size_t *ret_n)
{
	*ret_n = RPC_ROWS;
	return rpc_rows;
}

static const struct {
	const char *text;
	uint32_t role;
} rpc_roles[] = {
	{ "gateway", RPC_ROLE_GATEWAY }, { "mount", RPC_ROLE_MOUNT },
	{ "storage", RPC_ROLE_STORAGE }, { "manager", RPC_ROLE_MANAGER },
	{ "admin", RPC_ROLE_ADMIN },
};
#define RPC_ROLES (sizeof(rpc_roles) / sizeof(rpc_roles[0]))

uint32_t rpc_role(struct wire_bytes text)
{
	for (size_t i = 0; i < RPC_ROLES; i++)
		if (wire_bytes_eq(text, wire_cstr(rpc_roles[i].text)))
			return rpc_roles[i].role;
	return 0;
}

const char *rpc_role_text(uint32_t role)
{
	for (size_t i = 0; i < RPC_ROLES; i++)
		if (rpc_roles[i].role == role)
			return rpc_roles[i].text;
	return NULL;
}

struct wire_u128 slice_make(uint16_t home, uint32_t second, uint64_t session,
			    uint32_t counter)
{
	return (struct wire_u128){
		.hi = (uint64_t)home << 48 | (uint64_t)second << 16 |
		      (session >> 32 & 0xffff),
		.lo = session << 32 | counter,
	};
}
