noinst_LIBRARIES += %D%/libmanagerd.a
%C%_libmanagerd_a_SOURCES = \
	%D%/admin.c \
	%D%/admin_api.c \
	%D%/admin_impl.h \
	%D%/manager.c \
	%D%/manager.h \
	%D%/mgr_apply.c \
	%D%/mgr_bucket.c \
	%D%/mgr_first.c \
	%D%/mgr_impl.h \
	%D%/mgr_rpc.c \
	%D%/mgr_snapshot.c \
	%D%/mgr_state.c \
	%D%/mgr_state.h \
	%D%/mgr_watch.c
