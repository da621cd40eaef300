#include "../mixed_cell.h"
#include "blocks.h"
#include "pool.h"
#include "shares.h"

#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

#define SGL_FAST_AVX512
namespace sgl_fast::avx512 {
constexpr int NATIVE = 16;
#include "kernels.h"
}  // namespace sgl_fast::avx512
#endif
