noinst_LIBRARIES += %D%/libwire.a
%C%_libwire_a_SOURCES = \
	%D%/counts.c %D%/counts.h \
	%D%/frame.c %D%/frame.h \
	%D%/msgs.c %D%/msgs.h \
	%D%/status.c %D%/status.h \
	%D%/wire.c %D%/wire.h

check_PROGRAMS += tests/unit/test_wire
tests_unit_test_wire_SOURCES = tests/unit/test_wire.c \
	tests/unit/protocol_table.c tests/unit/protocol_table.h
tests_unit_test_wire_LDADD = $(LIB_WIRE) $(CMOCKA_LIBS)
TESTS += tests/unit/test_wire

# Renews the generated part of docs/PROTOCOL.md; test_wire compares it.
noinst_PROGRAMS += tests/unit/gen_protocol
tests_unit_gen_protocol_SOURCES = tests/unit/gen_protocol.c \
	tests/unit/protocol_table.c tests/unit/protocol_table.h
tests_unit_gen_protocol_LDADD = $(LIB_WIRE)
