noinst_LIBRARIES += %D%/libraft_host.a
%C%_libraft_host_a_SOURCES = \
	%D%/raft_apply.c \
	%D%/raft_check.c %D%/raft_check.h \
	%D%/raft_frame.c %D%/raft_frame.h \
	%D%/raft_gate.c %D%/raft_gate.h \
	%D%/raft_group.c \
	%D%/raft_host.c %D%/raft_host.h \
	%D%/raft_impl.h \
	%D%/raft_install.c \
	%D%/raft_lease.c \
	%D%/raft_link.c \
	%D%/raft_log.c \
	%D%/raft_member.c \
	%D%/raft_recover.c \
	%D%/raft_snap.c %D%/raft_snap.h %D%/raft_snap_int.h \
	%D%/raft_snap_load.c %D%/raft_snap_rows.c \
	%D%/raft_step.c \
	%D%/raft_transfer.c \
	%D%/raft_trim.c %D%/raft_trim.h \
	%D%/raft_trunc.c

check_PROGRAMS += tests/unit/test_raft
tests_unit_test_raft_SOURCES = tests/unit/test_raft.c
tests_unit_test_raft_LDADD = tests/lib/libcrash.a $(LIB_RAFT) $(CMOCKA_LIBS)
TESTS += tests/unit/test_raft

check_PROGRAMS += tests/fault/crash_raft
tests_fault_crash_raft_SOURCES = tests/fault/crash_raft.c \
	tests/fault/crash_raft.h tests/fault/crash_raft_lead.c $(CRASH_MAIN)
tests_fault_crash_raft_LDADD = tests/lib/libcrash.a $(LIB_RAFT) $(LIB_ROWS)
tests_fault_crash_raft_LDFLAGS = -Wl,--wrap=rows_batch_write \
	-Wl,--wrap=raft_start_open
TESTS += tests/fault/crash_raft

# Simulated machines; also for simulators of what runs on top.
check_LIBRARIES += tests/sim/libsim.a
tests_sim_libsim_a_SOURCES = \
	tests/lib/simenv.c tests/lib/simenv.h \
	tests/sim/sim_cluster.c tests/sim/sim_cluster.h \
	tests/sim/sim_fault.c tests/sim/sim_garbage.c tests/sim/sim_garbage.h \
	tests/sim/sim_impl.h tests/sim/sim_net.c \
	tests/sim/sim_main.c tests/sim/sim_member.c tests/sim/sim_member.h \
	tests/sim/sim_plant.c tests/sim/sim_plant.h \
	tests/sim/sim_pool.c tests/sim/sim_pool.h \
	tests/sim/sim_proc.c tests/sim/sim_proc.h \
	tests/sim/sim_request.c tests/sim/sim_request.h
LIB_SIM = tests/sim/libsim.a tests/lib/libcrash.a
SIM_WRAP = -Wl,--wrap=fatal_abort

check_PROGRAMS += tests/unit/test_raft_cache tests/unit/test_raft_carry \
	tests/unit/test_raft_frame tests/unit/test_raft_install \
	tests/unit/test_raft_lease tests/unit/test_raft_member tests/unit/test_raft_snap \
	tests/unit/test_raft_storm \
	tests/unit/test_raft_transfer tests/unit/test_raft_trap
tests_unit_test_raft_frame_SOURCES = tests/unit/test_raft_frame.c
tests_unit_test_raft_frame_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
RAFT_PEERS = tests/unit/raft_peers.c tests/unit/raft_peers.h
tests_unit_test_raft_cache_SOURCES = tests/unit/test_raft_cache.c $(RAFT_PEERS)
tests_unit_test_raft_cache_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_carry_SOURCES = tests/unit/test_raft_carry.c $(RAFT_PEERS)
tests_unit_test_raft_carry_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_lease_SOURCES = tests/unit/test_raft_lease.c $(RAFT_PEERS)
tests_unit_test_raft_lease_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_install_SOURCES = tests/unit/test_raft_install.c \
	$(RAFT_PEERS)
tests_unit_test_raft_install_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_member_SOURCES = tests/unit/test_raft_member.c \
	$(RAFT_PEERS)
tests_unit_test_raft_member_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_transfer_SOURCES = tests/unit/test_raft_transfer.c \
	$(RAFT_PEERS)
tests_unit_test_raft_transfer_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
tests_unit_test_raft_snap_SOURCES = tests/unit/test_raft_snap.c
tests_unit_test_raft_snap_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(LIB_ROWS) $(CMOCKA_LIBS)
tests_unit_test_raft_storm_SOURCES = tests/unit/test_raft_storm.c
tests_unit_test_raft_storm_LDADD = $(LIB_SIM) $(LIB_RAFT) $(CMOCKA_LIBS)
tests_unit_test_raft_trap_SOURCES = tests/unit/test_raft_trap.c $(RAFT_PEERS)
tests_unit_test_raft_trap_LDADD = tests/lib/libcrash.a $(LIB_RAFT) \
	$(CMOCKA_LIBS)
TESTS += tests/unit/test_raft_cache tests/unit/test_raft_carry \
	tests/unit/test_raft_frame tests/unit/test_raft_install \
	tests/unit/test_raft_lease tests/unit/test_raft_member tests/unit/test_raft_snap \
	tests/unit/test_raft_storm \
	tests/unit/test_raft_transfer tests/unit/test_raft_trap

check_PROGRAMS += tests/sim/sim_raft
tests_sim_sim_raft_SOURCES = tests/sim/sim_raft.c tests/sim/sim_raft.h \
	tests/sim/sim_raft_client.c tests/sim/sim_raft_member.c \
	tests/sim/sim_raft_plant.c tests/sim/sim_raft_proc.c
tests_sim_sim_raft_LDADD = $(LIB_SIM) $(LIB_RAFT)
tests_sim_sim_raft_LDFLAGS = $(SIM_WRAP) -Wl,--wrap=seg_append \
	-Wl,--wrap=raft_step_persisted -Wl,--wrap=raft_step_receive \
	-Wl,--wrap=raft_group_can_read -Wl,--wrap=raft_lease_told \
	-Wl,--wrap=raft_group_hard
TESTS += tests/sim/sim_raft
