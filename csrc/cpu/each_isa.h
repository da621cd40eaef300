// Includes SGL_FAST_LOOPS, after simd.h, once per instruction set: into the namespaces plain, avx2 and avx512, where
// `lanes` floats fill a register. SGL_FAST_PICK(f) is the f of the instruction set in force.
// Standard headers come before this one: their inline functions may be shared with code for any processor.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace sgl_fast::plain {
namespace {
constexpr int lanes = 4;
#include "simd.h"
#include SGL_FAST_LOOPS
}  // namespace
}  // namespace sgl_fast::plain

#if defined(__x86_64__) && defined(__GNUC__)

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define SGL_FAST_AVX2
namespace sgl_fast::avx2 {
namespace {
constexpr int lanes = 8;
#include "simd.h"
#include SGL_FAST_LOOPS
}  // namespace
}  // namespace sgl_fast::avx2
#undef SGL_FAST_AVX2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define SGL_FAST_AVX512
namespace sgl_fast::avx512 {
namespace {
constexpr int lanes = 16;
#include "simd.h"
#include SGL_FAST_LOOPS
}  // namespace
}  // namespace sgl_fast::avx512
#undef SGL_FAST_AVX512
#pragma GCC pop_options

#define SGL_FAST_PICK(f) \
    [](Isa isa) { return isa == Isa::avx512 ? avx512::f : isa == Isa::avx2 ? avx2::f : plain::f; }(isa())

#else

#define SGL_FAST_PICK(f) (isa(), plain::f)

#endif
