#ifndef COMMON_BASE_ERRBUF_H
#define COMMON_BASE_ERRBUF_H
/* One sentence for a person: start-up and configuration errors. */

struct errbuf {
	char text[256];
};

/* Replaces the text. Always returns err, so: return errbuf_set(e, -EINVAL, ...) */
int errbuf_set(struct errbuf *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts "context: " in front of the text; returns err. */
int errbuf_prefix(struct errbuf *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
