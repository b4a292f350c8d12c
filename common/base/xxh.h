#ifndef COMMON_BASE_XXH_H
#define COMMON_BASE_XXH_H
/*
 * xxhash as wide as this processor's registers: libxxhash has functions that
 * choose at run time (x86), twice as fast as the plain ones where the bytes are
 * in the cache. The results are the same.
 */
#ifndef XXH_STATIC_LINKING_ONLY
#define XXH_STATIC_LINKING_ONLY 1 /* states on the stack */
#endif
#ifdef HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#endif
