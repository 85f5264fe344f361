/* quic_small.h: included before each file of the engine that is fuzzed. Pages and sets are so small that a short input
 * fills them. */
#ifndef SSBFAST_TESTS_QUIC_SMALL_H
#define SSBFAST_TESTS_QUIC_SMALL_H

#define _DEFAULT_SOURCE /* check.h, which comes later, needs it */
#include "ssbfast.h"

#undef SSB_QUIC_PAGE
#define SSB_QUIC_PAGE 64u
#define SSBI_RANGES 6u

#endif
