/* Texts and errno numbers of the results in status.h. */
#include "common/wire/status.h"

#include <stddef.h>

struct status_row {
	uint32_t num;
	int err;
	const char *name;
	const char *text;
};

#define STATUS_ROW(num_, name_, err_, text_) { num_, err_, #name_, text_ },
static const struct status_row status_rows[] = { RPC_STATUSES(STATUS_ROW) };
#define STATUS_ROWS (sizeof(status_rows) / sizeof(status_rows[0]))

static const struct status_row *status_find(uint32_t status)
{
	for (size_t i = 0; i < STATUS_ROWS; i++)
		if (status_rows[i].num == status)
			return &status_rows[i];
	return NULL;
}

int rpc_status_errno(uint32_t status)
{
	const struct status_row *row = status_find(status);

	return row == NULL ? -EIO : -row->err;
}

uint32_t rpc_status_from_errno(int err)
{
	if (err > 0)
		err = -err;
	switch (err) {
	/* where the first row with this errno would say something else */
	case -EAGAIN:
		return RPC_STATUS_BUSY;
	case -EBADMSG:
	case -EPROTO:
		return RPC_STATUS_BADMSG;
	case -EMSGSIZE:
		return RPC_STATUS_INVAL;
	case -ETIMEDOUT:
		return RPC_STATUS_TIMEDOUT;
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EPIPE:
	case -ENOTCONN:
	case -ESHUTDOWN:
		return RPC_STATUS_UNAVAILABLE;
	default:
		break;
	}
	for (size_t i = 0; i < STATUS_ROWS; i++)
		if (status_rows[i].err == -err)
			return status_rows[i].num;
	return RPC_STATUS_IO;
}

const char *rpc_status_name(uint32_t status)
{
	const struct status_row *row = status_find(status);

	return row == NULL ? "UNKNOWN" : row->name;
}

const char *rpc_status_text(uint32_t status)
{
	const struct status_row *row = status_find(status);

	return row == NULL ? "unknown status" : row->text;
}
