#include "../mixed_cell.h"
#include "blocks.h"
#include "pool.h"
#include "shares.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC target("avx2,fma")

#define SGL_FAST_AVX2
namespace sgl_fast::avx2 {
constexpr int NATIVE = 8;
#include "kernels.h"
}  // namespace sgl_fast::avx2
#endif
