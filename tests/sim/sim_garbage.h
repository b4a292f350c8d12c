#ifndef TESTS_SIM_SIM_GARBAGE_H
#define TESTS_SIM_SIM_GARBAGE_H
/*
 * A peer that sends what no peer does: frames that are cut, flipped, of random
 * bytes, out of turn, of another session. (What a connection's checksums let
 * through is a frame.) They are refused, and change nothing.
 */
#include "tests/sim/sim_proc.h"

/* Before frame arrives: some made of it. */
void sim_garbage(struct sim_proc *p, uint64_t from, const uint8_t *frame,
		 size_t len);
/*
 * frame with one more message, of a group that nobody has, into out; such a
 * message is not looked at.
 */
void sim_garbage_group(const uint8_t *frame, size_t len, struct buf *out);

#endif
