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
// simd.h asks the macros for the instruction set, and g++ does not change them inside a target pragma.
#pragma push_macro("__AVX2__")
#pragma push_macro("__AVX512VL__")
#undef __AVX2__
#undef __AVX512VL__
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
#define __AVX2__ 1
namespace sgl_fast::avx2 {
namespace {
constexpr int lanes = 8;
#include "simd.h"
#include SGL_FAST_LOOPS
}  // namespace
}  // namespace sgl_fast::avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define __AVX512VL__ 1
namespace sgl_fast::avx512 {
namespace {
constexpr int lanes = 16;
#include "simd.h"
#include SGL_FAST_LOOPS
}  // namespace
}  // namespace sgl_fast::avx512
#pragma GCC pop_options

#pragma pop_macro("__AVX512VL__")
#pragma pop_macro("__AVX2__")
#define SGL_FAST_PICK(f) \
    [](Isa isa) { return isa == Isa::avx512 ? avx512::f : isa == Isa::avx2 ? avx2::f : plain::f; }(isa())

#else

#define SGL_FAST_PICK(f) (isa(), plain::f)

#endif
