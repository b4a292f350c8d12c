#include "fuse/escape.h"

#include <errno.h>
#include <string.h>

#include "common/wire/msgs.h"

static const char escape_hex[] = "0123456789ABCDEF";

static bool escape_is_plain(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* Must this component be escaped whatever else the directory holds? */
static bool escape_is_odd(const uint8_t *comp, size_t len)
{
	if (len == 0)
		return true;
	if (comp[0] != '.')
		return false;
	return len == 1 || (len == 2 && comp[1] == '.') || comp[1] == '%';
}

static int escape_hex_value(char c)
{
	const char *p = c == '\0' ? NULL : strchr(escape_hex, c);

	return p == NULL ? -1 : (int)(p - escape_hex);
}

/* One percent code, which must stand for a byte that needs it. */
static int escape_decode_code(const char *p, size_t left, uint8_t *ret_byte)
{
	int hi, lo;
	uint8_t byte;

	if (left < 3)
		return -EINVAL;
	hi = escape_hex_value(p[1]);
	lo = escape_hex_value(p[2]);
	if (hi < 0 || lo < 0)
		return -EINVAL;
	byte = (uint8_t)(hi << 4 | lo);
	if (escape_is_plain(byte) || byte == '\0' || byte == '/')
		return -EINVAL;
	*ret_byte = byte;
	return 0;
}

static int escape_decode_comp(const char *p, size_t len,
			      struct escape_name *n)
{
	n->len = 0;
	while (len > 0) {
		size_t used = 1;

		if (escape_is_plain((uint8_t)*p)) {
			n->comp[n->len] = (uint8_t)*p;
		} else if (*p == '%') {
			int rv = escape_decode_code(p, len, &n->comp[n->len]);

			if (rv != 0)
				return rv;
			used = 3;
		} else {
			return -EINVAL;
		}
		n->len++;
		p += used;
		len -= used;
	}
	return 0;
}

int escape_decode(const char *shown, size_t len, struct escape_name *ret_name)
{
	int rv;

	if (len > ESCAPE_SHOWN_MAX)
		return -ENAMETOOLONG;
	ret_name->if_hidden = false;
	if (!escape_is_odd((const uint8_t *)shown, len)) {
		ret_name->how = RPC_NAME_ANY;
		ret_name->len = len;
		memcpy(ret_name->comp, shown, len);
		return 0;
	}
	if (len < 3 || (shown[2] != 'f' && shown[2] != 'd'))
		return -EINVAL;
	rv = escape_decode_comp(shown + 3, len - 3, ret_name);
	if (rv != 0)
		return rv;
	ret_name->how = shown[2] == 'd' ? RPC_NAME_DIR : RPC_NAME_FILE;
	if (!escape_is_odd(ret_name->comp, ret_name->len)) {
		/* Only a hidden file has such a name otherwise. */
		if (ret_name->how == RPC_NAME_DIR)
			return -EINVAL;
		ret_name->if_hidden = true;
	}
	return 0;
}

int escape_encode(const uint8_t *comp, size_t len, bool is_dir, bool hidden,
		  char *out)
{
	size_t n = 0;

	if (!escape_is_odd(comp, len) && (is_dir || !hidden)) {
		if (len > ESCAPE_SHOWN_MAX)
			return -ENAMETOOLONG;
		memcpy(out, comp, len);
		out[len] = '\0';
		return (int)len;
	}
	out[n++] = '.';
	out[n++] = '%';
	out[n++] = is_dir ? 'd' : 'f';
	for (size_t i = 0; i < len; i++) {
		bool plain = escape_is_plain(comp[i]);

		if (n + (plain ? 1 : 3) > ESCAPE_SHOWN_MAX)
			return -ENAMETOOLONG;
		if (plain) {
			out[n++] = (char)comp[i];
			continue;
		}
		out[n++] = '%';
		out[n++] = escape_hex[comp[i] >> 4];
		out[n++] = escape_hex[comp[i] & 15];
	}
	out[n] = '\0';
	return (int)n;
}
