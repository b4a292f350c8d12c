#ifndef COMMON_BASE_CONF_VALUE_H
#define COMMON_BASE_CONF_VALUE_H
/* One setting's value from and to text; inside of conf only. */
#include "common/base/buf.h"
#include "common/base/conf.h"

/* Parses and checks text for row s into conf. 0 or -errno, e filled. */
int conf_value_set(const struct conf_setting *s, const char *text, void *conf,
		   struct errbuf *e);
/* The value in conf as YAML. */
void conf_value_print(const struct conf_setting *s, const void *conf,
		      struct buf *out);
/* A number of the row's type as YAML: limits and defaults in the manual. */
void conf_value_print_number(const struct conf_setting *s, uint64_t v,
			     struct buf *out);

#endif
