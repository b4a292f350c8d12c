#include "tests/lib/fault.h"

#include <stdatomic.h>
#include <stddef.h>

#include "common/base/mem.h"

static atomic_bool fault_armed;
static atomic_bool fault_did;
static atomic_int fault_count; /* seam calls since fault_set() */
static atomic_int fault_first;
static atomic_int fault_last;

static int fault_mem(void)
{
	return fault_tick() ? 1 : 0;
}

void fault_set(int at, int n)
{
	atomic_store(&fault_armed, false);
	atomic_store(&fault_did, false);
	atomic_store(&fault_count, 0);
	atomic_store(&fault_first, at);
	atomic_store(&fault_last, at + n - 1);
	mem_fault_hook = fault_mem;
	atomic_store(&fault_armed, true);
}

void fault_clear(void)
{
	atomic_store(&fault_armed, false);
	mem_fault_hook = NULL;
}

bool fault_tick(void)
{
	int i;

	if (!atomic_load(&fault_armed))
		return false;
	i = atomic_fetch_add(&fault_count, 1);
	if (i < atomic_load(&fault_first) || i > atomic_load(&fault_last))
		return false;
	atomic_store(&fault_did, true);
	return true;
}

bool fault_fired(void)
{
	return atomic_load(&fault_did);
}
