#if defined(__x86_64__) && defined(__GNUC__)
#define SGL_FAST_AVX2
#include "kernel_table.h"
#endif
