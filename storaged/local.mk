noinst_LIBRARIES += %D%/libstoraged.a
%C%_libstoraged_a_SOURCES =
# the namespace: state machine of a shard
%C%_libstoraged_a_SOURCES += \
	%D%/ns.c %D%/ns.h %D%/ns_check.c %D%/ns_check_far.c \
	%D%/ns_complete.c %D%/ns_cond.c %D%/ns_ctx.c %D%/ns_dir.c \
	%D%/ns_extent.c %D%/ns_far.c %D%/ns_file.c %D%/ns_fsck.c \
	%D%/ns_hash.c %D%/ns_impl.h %D%/ns_inode.c %D%/ns_ledger.c \
	%D%/ns_ledger.h %D%/ns_list.c %D%/ns_locks.c %D%/ns_locks.h \
	%D%/ns_merge.c %D%/ns_mpu.c %D%/ns_mpu.h %D%/ns_mpu_scan.c \
	%D%/ns_object.c %D%/ns_posix.c %D%/ns_queue.c %D%/ns_readdir.c \
	%D%/ns_region.c %D%/ns_rename.c %D%/ns_root.c %D%/ns_rows.c \
	%D%/ns_rows.h %D%/ns_session.c %D%/ns_slice.c %D%/ns_slot.c \
	%D%/ns_segment.c %D%/ns_split.c %D%/ns_split_plan.c %D%/ns_sum.c \
	%D%/ns_txn.c %D%/ns_values.c %D%/ns_values.h %D%/ns_victim.c \
	%D%/ns_walk.c %D%/ns_xattr.c
# hosting of shards and chunks, life of a store
%C%_libstoraged_a_SOURCES += \
	%D%/chunk.c %D%/chunk.h %D%/chunk_batch.c %D%/chunk_check.c \
	%D%/chunk_clean.c %D%/chunk_drop.c %D%/chunk_get.c \
	%D%/chunk_impl.h %D%/chunk_index.c %D%/chunk_recover.c \
	%D%/chunk_piece.c \
	%D%/chunk_seen.c \
	%D%/chunk_seen.h \
	%D%/chunk_sums.c \
	%D%/chunk_sums.h \
	%D%/compact.c %D%/compact.h %D%/compact_policy.c \
	%D%/log_clean.c %D%/log_clean.h %D%/log_doubt.c %D%/log_doubt.h \
	%D%/opens.c %D%/opens.h %D%/orphans.c %D%/orphans.h \
	%D%/shard.c %D%/shard.h %D%/shard_clean.c %D%/shard_clean.h \
	%D%/shard_close.c %D%/shard_far.c %D%/shard_fsck.c \
	%D%/shard_impl.h %D%/shard_merge.c %D%/shard_op.c \
	%D%/shard_open.c %D%/shard_party.c %D%/shard_queue.c \
	%D%/shard_read.c \
	%D%/shard_snap.h %D%/shard_snap_fetch.c %D%/shard_snap_install.c \
	%D%/shard_snap_serve.c %D%/shard_snap_take.c \
	%D%/shard_split.c %D%/shard_sweep.c %D%/shard_sync.c \
	%D%/shard_value.c %D%/shard_write.c \
	%D%/store.c %D%/store.h %D%/store_call.c %D%/store_compact.c \
	%D%/store_impl.h \
	%D%/store_open.c %D%/store_place.c %D%/store_rpc.c \
	%D%/store_slices.c \
	%D%/storaged.c %D%/storaged.h

noinst_PROGRAMS += tests/bench/bench_groups
tests_bench_bench_groups_SOURCES = tests/bench/bench_groups.c
tests_bench_bench_groups_LDADD = $(LIB_STORAGED)

check_PROGRAMS += tests/unit/test_store_shard tests/unit/test_shard_queue \
	tests/unit/test_store tests/unit/test_chunk tests/unit/test_compact \
	tests/unit/test_orphans
SHARDWORLD_SOURCES = tests/lib/shardworld.c tests/lib/shardworld.h
LIB_WORLD = tests/lib/libcrash.a tests/lib/libfault.a $(LIB_STORAGED)
tests_unit_test_store_shard_SOURCES = tests/unit/test_store_shard.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_store_shard_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_shard_queue_SOURCES = tests/unit/test_shard_queue.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_queue_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_compact_SOURCES = tests/unit/test_compact.c \
	tests/lib/minienv.c tests/lib/minienv.h
tests_unit_test_compact_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
CHUNKWORLD_SOURCES = tests/lib/chunkworld.c tests/lib/chunkworld.h
tests_unit_test_chunk_SOURCES = tests/unit/test_chunk.c $(CHUNKWORLD_SOURCES)
tests_unit_test_chunk_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_chunk_clean tests/unit/test_chunk_get \
	tests/unit/test_chunk_start
tests_unit_test_chunk_clean_SOURCES = tests/unit/test_chunk_clean.c \
	$(CHUNKWORLD_SOURCES)
tests_unit_test_chunk_clean_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_chunk_get_SOURCES = tests/unit/test_chunk_get.c \
	$(CHUNKWORLD_SOURCES)
tests_unit_test_chunk_get_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_chunk_start_SOURCES = tests/unit/test_chunk_start.c \
	$(CHUNKWORLD_SOURCES)
tests_unit_test_chunk_start_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
TESTS += tests/unit/test_chunk_clean tests/unit/test_chunk_get \
	tests/unit/test_chunk_start
check_PROGRAMS += tests/unit/test_chunk_seen tests/unit/test_chunk_sums
tests_unit_test_chunk_sums_SOURCES = tests/unit/test_chunk_sums.c
tests_unit_test_chunk_sums_LDADD = tests/lib/libfault.a $(LIB_STORAGED) \
	$(CMOCKA_LIBS)
tests_unit_test_chunk_seen_SOURCES = tests/unit/test_chunk_seen.c
tests_unit_test_chunk_seen_LDADD = tests/lib/libfault.a $(LIB_STORAGED) \
	$(CMOCKA_LIBS)
TESTS += tests/unit/test_chunk_seen tests/unit/test_chunk_sums
tests_unit_test_orphans_SOURCES = tests/unit/test_orphans.c
tests_unit_test_orphans_LDADD = tests/lib/libcrash.a tests/lib/libfault.a \
	$(LIB_STORAGED) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_shard_snap
tests_unit_test_shard_snap_SOURCES = tests/unit/test_shard_snap.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_snap_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_shard_snap_LDFLAGS = -Wl,--wrap=raft_group_install \
	-Wl,--wrap=raft_group_installed
TESTS += tests/unit/test_shard_snap
check_PROGRAMS += tests/unit/test_log_clean
tests_unit_test_log_clean_SOURCES = tests/unit/test_log_clean.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_log_clean_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_log_clean_LDFLAGS = -Wl,--wrap=shard_clean_new \
	-Wl,--wrap=shard_clean_step -Wl,--wrap=shard_clean_count \
	-Wl,--wrap=shard_clean_free
TESTS += tests/unit/test_log_clean
check_PROGRAMS += tests/unit/test_shard_open
tests_unit_test_shard_open_SOURCES = tests/unit/test_shard_open.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_open_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
TESTS += tests/unit/test_shard_open
check_PROGRAMS += tests/unit/test_log_doubt
tests_unit_test_log_doubt_SOURCES = tests/unit/test_log_doubt.c
tests_unit_test_log_doubt_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_log_doubt_LDFLAGS = -Wl,--wrap=raft_start_n_doubts \
	-Wl,--wrap=raft_start_doubt
TESTS += tests/unit/test_log_doubt
check_PROGRAMS += tests/unit/test_shard_merge
tests_unit_test_shard_merge_SOURCES = tests/unit/test_shard_merge.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_merge_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
TESTS += tests/unit/test_shard_merge
check_PROGRAMS += tests/unit/test_shard_read
tests_unit_test_shard_read_SOURCES = tests/unit/test_shard_read.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_read_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_shard_read_LDFLAGS = -Wl,--wrap=raft_group_can_read \
	-Wl,--wrap=raft_group_barrier -Wl,--wrap=raft_group_term
TESTS += tests/unit/test_shard_read
check_PROGRAMS += tests/unit/test_shard_far
tests_unit_test_shard_far_SOURCES = tests/unit/test_shard_far.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_far_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_shard_far_LDFLAGS = -Wl,--wrap=raft_submit \
	-Wl,--wrap=ns_cmd_encode
TESTS += tests/unit/test_shard_far
check_PROGRAMS += tests/unit/test_shard_split
tests_unit_test_shard_split_SOURCES = tests/unit/test_shard_split.c \
	$(SHARDWORLD_SOURCES)
tests_unit_test_shard_split_LDADD = $(LIB_WORLD) $(CMOCKA_LIBS)
tests_unit_test_shard_split_LDFLAGS = -Wl,--wrap=raft_submit
TESTS += tests/unit/test_shard_split
tests_unit_test_store_SOURCES = tests/unit/test_store.c
tests_unit_test_store_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
TESTS += tests/unit/test_store_shard tests/unit/test_shard_queue \
	tests/unit/test_store tests/unit/test_chunk tests/unit/test_compact \
	tests/unit/test_orphans

# the namespace's tests
NSH_SOURCES = tests/lib/nsharness.c tests/lib/nsharness.h \
	tests/lib/nsharness_calls.c tests/lib/nsharness_impl.h \
	tests/lib/nsharness_segment.c tests/lib/nsharness_txn.c \
	tests/lib/minienv.c tests/lib/minienv.h
check_PROGRAMS += tests/unit/test_ns_names tests/unit/test_ns_bytes \
	tests/unit/test_ns_model tests/unit/test_ns_order \
	tests/unit/test_ns_pages \
	tests/unit/test_ns_queue tests/unit/test_ns_slice \
	tests/unit/test_ns_values
tests_unit_test_ns_names_SOURCES = tests/unit/test_ns_names.c $(NSH_SOURCES)
tests_unit_test_ns_names_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_bytes_SOURCES = tests/unit/test_ns_bytes.c $(NSH_SOURCES)
tests_unit_test_ns_bytes_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_model_SOURCES = tests/unit/test_ns_model.c \
	tests/unit/ns_model.h tests/unit/ns_model_expect.c \
	tests/unit/ns_model_mpu.c tests/unit/ns_model_s3.c \
	tests/lib/nsmodel.c tests/lib/nsmodel.h tests/lib/nsmodel_mpu.c \
	$(NSH_SOURCES)
tests_unit_test_ns_model_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_ns_fsck
tests_unit_test_ns_fsck_SOURCES = tests/unit/test_ns_fsck.c $(NSH_SOURCES)
tests_unit_test_ns_fsck_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
TESTS += tests/unit/test_ns_fsck
check_PROGRAMS += tests/unit/test_ns_merge
tests_unit_test_ns_merge_SOURCES = tests/unit/test_ns_merge.c $(NSH_SOURCES)
tests_unit_test_ns_merge_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
TESTS += tests/unit/test_ns_merge
check_PROGRAMS += tests/unit/test_ns_segment
tests_unit_test_ns_segment_SOURCES = tests/unit/test_ns_segment.c \
	$(NSH_SOURCES)
tests_unit_test_ns_segment_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
TESTS += tests/unit/test_ns_segment
tests_unit_test_ns_order_SOURCES = tests/unit/test_ns_order.c
tests_unit_test_ns_order_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_pages_SOURCES = tests/unit/test_ns_pages.c $(NSH_SOURCES)
tests_unit_test_ns_pages_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_pages_LDFLAGS = -Wl,--wrap=rows_iter_new \
	-Wl,--wrap=rows_back_get
tests_unit_test_ns_queue_SOURCES = tests/unit/test_ns_queue.c $(NSH_SOURCES)
tests_unit_test_ns_queue_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_slice_SOURCES = tests/unit/test_ns_slice.c $(NSH_SOURCES)
tests_unit_test_ns_slice_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
tests_unit_test_ns_values_SOURCES = tests/unit/test_ns_values.c
tests_unit_test_ns_values_LDADD = $(LIB_STORAGED) $(CMOCKA_LIBS)
TESTS += tests/unit/test_ns_names tests/unit/test_ns_bytes \
	tests/unit/test_ns_model tests/unit/test_ns_order \
	tests/unit/test_ns_pages \
	tests/unit/test_ns_queue tests/unit/test_ns_slice \
	tests/unit/test_ns_values

# a store on simulated machines
SIM_STORE = tests/sim/sim_manager.c tests/sim/sim_manager.h \
	tests/sim/sim_snap.c tests/sim/sim_store.c tests/sim/sim_store.h \
	tests/sim/sim_view.c tests/sim/sim_view.h

# clients as they are, on simulated links
SIM_CLIENT = tests/sim/sim_client.c tests/sim/sim_client.h \
	tests/sim/sim_client_impl.h tests/sim/sim_client_managers.c \
	tests/sim/sim_link.c tests/sim/sim_link.h

# the shard host on simulated machines (tests/sim/planted.sh: at night)
check_PROGRAMS += tests/sim/sim_shard
tests_sim_sim_shard_SOURCES = \
	tests/lib/nsmodel.c tests/lib/nsmodel.h \
	tests/sim/sim_bytes.c tests/sim/sim_bytes.h \
	tests/sim/sim_names.c tests/sim/sim_names.h \
	tests/sim/sim_shard.c tests/sim/sim_shard.h \
	tests/sim/sim_shard_client.c tests/sim/sim_shard_gen.c \
	tests/sim/sim_shard_gen.h \
	tests/sim/sim_shard_model.c tests/sim/sim_shard_open.c \
	tests/sim/sim_shard_plant.c tests/sim/sim_shard_real.c \
	tests/sim/sim_shard_slice.c $(SIM_CLIENT) \
	tests/sim/sim_shard_proc.c tests/sim/sim_shard_read.c \
	tests/sim/sim_shard_state.c tests/sim/sim_shard_upload.c $(SIM_STORE)
tests_sim_sim_shard_LDADD = $(LIB_SIM) $(LIB_STORAGED)
tests_sim_sim_shard_LDFLAGS = $(SIM_WRAP) -Wl,--wrap=raft_host_new \
	-Wl,--wrap=ns_apply -Wl,--wrap=ns_slot_find -Wl,--wrap=seg_append \
	-Wl,--wrap=raft_group_can_read -Wl,--wrap=rows_txn_commit \
	-Wl,--wrap=rows_set_gate -Wl,--wrap=raft_step_persisted \
	-Wl,--wrap=raft_check_roll -Wl,--wrap=raft_snaps_need \
	-Wl,--wrap=log_doubt_settle -Wl,--wrap=shard_rows_replaced \
	-Wl,--wrap=shard_on_install -Wl,--wrap=shard_hold \
	-Wl,--wrap=rows_back_checkpoint -Wl,--wrap=raft_snap_loader_step \
	-Wl,--wrap=raft_snap_load -Wl,--wrap=rows_stream_writer_new \
	-Wl,--wrap=rows_replaced -Wl,--wrap=opens_count \
	-Wl,--wrap=opens_end -Wl,--wrap=opens_del \
	-Wl,--wrap=ns_krefs_flush \
	-Wl,--wrap=ns_put_page -Wl,--wrap=ns_part_drop
TESTS += tests/sim/sim_shard

# the chunks of a store on a simulated machine
check_PROGRAMS += tests/sim/sim_chunk
tests_sim_sim_chunk_SOURCES = \
	tests/sim/sim_chunk.c tests/sim/sim_chunk.h \
	tests/sim/sim_chunk_check.c tests/sim/sim_chunk_client.c \
	tests/sim/sim_chunk_model.c tests/sim/sim_chunk_plant.c \
	tests/sim/sim_chunk_proc.c
tests_sim_sim_chunk_LDADD = $(LIB_SIM) $(LIB_STORAGED)
tests_sim_sim_chunk_LDFLAGS = $(SIM_WRAP) -Wl,--wrap=daemon_memory \
	-Wl,--wrap=rows_back_checkpoint -Wl,--wrap=chunk_index_save \
	-Wl,--wrap=chunk_save_soon -Wl,--wrap=chunk_batch_init \
	-Wl,--wrap=chunk_batch_fini -Wl,--wrap=chunk_index_get \
	-Wl,--wrap=chunk_batch_move -Wl,--wrap=chunk_batch_del \
	-Wl,--wrap=chunk_store_recover -Wl,--wrap=chunk_store_recover_rot \
	-Wl,--wrap=chunk_segments_live -Wl,--wrap=chunk_sums_ok \
	-Wl,--wrap=chunk_hash_ok -Wl,--wrap=seg_append \
	-Wl,--wrap=seg_scan_segment -Wl,--wrap=seg_free_segment
TESTS += tests/sim/sim_chunk

# crash states of the log's cleaner (tests/fault/states.sh: many)
check_PROGRAMS += tests/fault/crash_clean
tests_fault_crash_clean_SOURCES = tests/fault/crash_clean.c $(CRASH_MAIN)
tests_fault_crash_clean_LDADD = tests/lib/libcrash.a $(LIB_STORAGED)
tests_fault_crash_clean_LDFLAGS = -Wl,--wrap=raft_check_roll \
	-Wl,--wrap=seg_append -Wl,--wrap=shard_commit_moved \
	-Wl,--wrap=raft_snaps_need \
	-Wl,--wrap=log_doubt_settle -Wl,--wrap=raft_group_durable_moved \
	-Wl,--wrap=raft_group_next_moved -Wl,--wrap=raft_snaps_hold \
	-Wl,--wrap=raft_snaps_release -Wl,--wrap=shard_clean_count
TESTS += tests/fault/crash_clean

# crash states of the chunks, and of their cleaner
check_PROGRAMS += tests/fault/crash_chunk
tests_fault_crash_chunk_SOURCES = tests/fault/crash_chunk.c $(CRASH_MAIN)
tests_fault_crash_chunk_LDADD = tests/lib/libcrash.a $(LIB_STORAGED)
tests_fault_crash_chunk_LDFLAGS = -Wl,--wrap=chunk_save_soon \
	-Wl,--wrap=seg_append -Wl,--wrap=chunk_batch_move \
	-Wl,--wrap=seg_segments -Wl,--wrap=chunk_segments_live
TESTS += tests/fault/crash_chunk

# directories all over the shards, on simulated machines
check_PROGRAMS += tests/sim/sim_tree
tests_sim_sim_tree_SOURCES = \
	tests/lib/nsmodel.c tests/lib/nsmodel.h \
	tests/sim/sim_bytes.c tests/sim/sim_bytes.h \
	tests/sim/sim_names.c tests/sim/sim_names.h \
	tests/sim/sim_tree.c tests/sim/sim_tree.h \
	tests/sim/sim_tree_bulk.c tests/sim/sim_tree_client.c $(SIM_CLIENT) \
	tests/sim/sim_tree_chunk.c tests/sim/sim_tree_mail.c \
	tests/sim/sim_tree_model.c \
	tests/sim/sim_tree_ops.c tests/sim/sim_tree_pages.c \
	tests/sim/sim_tree_proc.c tests/sim/sim_tree_read.c \
	tests/sim/sim_tree_split.c tests/sim/sim_tree_whole.c $(SIM_STORE)
tests_sim_sim_tree_LDADD = $(LIB_SIM) $(LIB_STORAGED)
tests_sim_sim_tree_LDFLAGS = $(SIM_WRAP) -Wl,--wrap=raft_host_new \
	-Wl,--wrap=ns_apply \
	-Wl,--wrap=ns_locks_find -Wl,--wrap=shard_far_pending \
	-Wl,--wrap=raft_group_term -Wl,--wrap=shard_rows_replaced \
	-Wl,--wrap=shard_on_install -Wl,--wrap=rows_back_checkpoint \
	-Wl,--wrap=raft_check_roll -Wl,--wrap=shard_hold \
	-Wl,--wrap=log_doubt_settle -Wl,--wrap=ns_segment_drop \
	-Wl,--wrap=ns_scan_readdir -Wl,--wrap=ns_scan_list \
	-Wl,--wrap=ns_range_closed -Wl,--wrap=ns_dir_prune \
	-Wl,--wrap=ns_dir_settle -Wl,--wrap=ns_far_map \
	-Wl,--wrap=ns_segment_at -Wl,--wrap=ns_link_move \
	-Wl,--wrap=raft_snap_loader_step -Wl,--wrap=rows_batch_put \
	-Wl,--wrap=ns_kref_add -Wl,--wrap=chunk_drop
TESTS += tests/sim/sim_tree
