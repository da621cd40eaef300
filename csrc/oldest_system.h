// <dlfcn.h> for the oldest system of a wheel, manylinux_2_28, which is torch's own too. glibc 2.34 moved these functions out
// of libdl and still has them under their old versions; in that system libdl comes with libtorch_cpu.so.
// oldest_system.cpp has the rest.
#pragma once

#include <dlfcn.h>

#if defined(__GLIBC__) && defined(__x86_64__)
#define SGL_FAST_OLDEST(function) __asm__(".symver " #function ", " #function "@GLIBC_2.2.5")
#elif defined(__GLIBC__) && defined(__aarch64__)
#define SGL_FAST_OLDEST(function) __asm__(".symver " #function ", " #function "@GLIBC_2.17")
#else
#define SGL_FAST_OLDEST(function) static_assert(true, "")
#endif
SGL_FAST_OLDEST(dlopen);
SGL_FAST_OLDEST(dlsym);
SGL_FAST_OLDEST(dlerror);
