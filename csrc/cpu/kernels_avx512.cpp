#if defined(__x86_64__) && defined(__GNUC__)
#define SGL_FAST_AVX512
#include "kernel_table.h"
#endif
