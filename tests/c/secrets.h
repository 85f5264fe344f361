/* secrets.h: what is secret, told to the tool that watches: valgrind (SSB_VALGRIND) or clang's memory sanitizer (SSB_MSAN). */
#ifndef SSBFAST_TESTS_SECRETS_H
#define SSBFAST_TESTS_SECRETS_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* for check.h: it comes too late */
#endif

#if defined(SSB_VALGRIND)
#include <valgrind/memcheck.h>
#define SECRET(p, n) VALGRIND_MAKE_MEM_UNDEFINED(p, n)
#define KNOWN(p, n) VALGRIND_MAKE_MEM_DEFINED(p, n)
#elif defined(SSB_MSAN)
#include <sanitizer/msan_interface.h>
#define SECRET(p, n) __msan_poison(p, n)
#define KNOWN(p, n) __msan_unpoison(p, n)
#else
#define SECRET(p, n) ((void)(p), (void)(n))
#define KNOWN(p, n) ((void)(p), (void)(n))
#endif

#define SSBI_KNOWN(p, n) ((void)KNOWN(p, n))

#endif
