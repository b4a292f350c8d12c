#ifndef TESTS_UNIT_PROTOCOL_TABLE_H
#define TESTS_UNIT_PROTOCOL_TABLE_H
/* The message table as the markdown section of docs/PROTOCOL.md. */
#include "common/base/buf.h"

#define PROTOCOL_BEGIN "<!-- generated: message table -->\n"
#define PROTOCOL_END "<!-- end of generated part -->\n"

void protocol_table(struct buf *out);

#endif
