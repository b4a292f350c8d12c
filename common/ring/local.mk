noinst_LIBRARIES += %D%/libring.a
%C%_libring_a_SOURCES = %D%/ring.c %D%/ring.h

check_PROGRAMS += tests/unit/test_ring
tests_unit_test_ring_SOURCES = tests/unit/test_ring.c
tests_unit_test_ring_LDADD = common/ring/libring.a $(LIB_WIRE) $(CMOCKA_LIBS)
TESTS += tests/unit/test_ring
