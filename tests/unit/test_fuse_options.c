/* SPEC and -o lists of leo-mount. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "fuse/options.h"

static void check_spec(const char *spec, const char *manager,
		       const char *path)
{
	struct mount_options o;
	struct errbuf e = { "" };

	mount_options_init(&o, false);
	assert_int_equal(mount_options_spec(&o, spec, "/home/x", &e), 0);
	assert_string_equal(o.spec, spec);
	assert_string_equal(o.manager, manager);
	assert_string_equal(o.path, path);
	mount_options_fini(&o);
}

static void test_spec(void **state)
{
	(void)state;
	check_spec("unix:/d/rpc.sock:/", "unix:/d/rpc.sock", "");
	check_spec("unix:/d/rpc.sock:/b", "unix:/d/rpc.sock", "b");
	check_spec("unix:/d/rpc.sock:/b/c/d/", "unix:/d/rpc.sock", "b/c/d");
	check_spec("unix:/d/rpc.sock:///b//c", "unix:/d/rpc.sock", "b//c");
	check_spec("unix:rpc.sock:/b", "unix:/home/x/rpc.sock", "b");
	check_spec("unix:/s:/b/x:/y", "unix:/s", "b/x:/y");
}

static void test_bad_spec(void **state)
{
	static const char *const bad[] = {
		"", "x", "unix:", "unix:/a", "unix::/b", "host:/b",
		"unix:/a/b", "/a:/b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct mount_options o;
		struct errbuf e = { "" };

		mount_options_init(&o, false);
		assert_int_equal(mount_options_spec(&o, bad[i], "/", &e),
				 -EINVAL);
		assert_true(e.text[0] != '\0');
		mount_options_fini(&o);
	}
}

static void test_list(void **state)
{
	struct mount_options o;
	struct errbuf e = { "" };

	(void)state;
	mount_options_init(&o, true);
	assert_true(o.default_permissions);
	assert_int_equal(o.timeout_s, 30);
	assert_int_equal(mount_options_list(&o, "rw,_netdev,noauto,nofail,"
					    "x-systemd.automount,user,defaults,"
					    "comment=abc,,allow_other", &e), 0);
	assert_true(o.allow_other);
	assert_false(o.read_only);
	assert_int_equal(mount_options_list(&o, "ro,timeout=5,attr_timeout=0.5,"
					    "entry_timeout=0,fsname=a b,"
					    "subtype=t,nosuid,noexec", &e), 0);
	assert_true(o.read_only);
	assert_int_equal(o.timeout_s, 5);
	assert_true(o.attr_timeout_s > 0.4 && o.attr_timeout_s < 0.6);
	assert_true(o.entry_timeout_s < 0.1);
	assert_string_equal(o.fsname, "a b");
	assert_string_equal(o.subtype, "t");
	assert_int_equal(o.kernel.len, strlen(",nosuid,noexec"));
	assert_memory_equal(o.kernel.data, ",nosuid,noexec", o.kernel.len);
	mount_options_fini(&o);
}

static void test_bad_list(void **state)
{
	static const char *const bad[] = {
		"nonsense", "timeout=", "timeout=x", "timeout=-1", "timeout=0",
		"timeout=1e9", "attr_timeout=nan", "what=1", "allow_other=1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct mount_options o;
		struct errbuf e = { "" };

		mount_options_init(&o, false);
		assert_int_equal(mount_options_list(&o, bad[i], &e), -EINVAL);
		assert_true(e.text[0] != '\0');
		mount_options_fini(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec),
		cmocka_unit_test(test_bad_spec),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_bad_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
