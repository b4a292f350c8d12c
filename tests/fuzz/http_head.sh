#!/bin/sh
# The corpus of the request head, as an ordinary test.
exec "${top_builddir:-.}/tests/fuzz/fuzz_http_head" \
	"${top_srcdir:-.}/tests/fuzz/corpus/http_head"
