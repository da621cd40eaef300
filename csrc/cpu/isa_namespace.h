// ISA_NAMESPACE_BEGIN and ISA_NAMESPACE_END enclose what is compiled once per instruction set: in namespace
// sgl_fast::plain, or in that of the set for which a source file defines SGL_FAST_AVX2 or SGL_FAST_AVX512 first. (g++
// does not define its own __AVX2__ under a target pragma.) NATIVE: floats of the widest vector.
//
// Includes stay outside: the linker keeps one copy of an inline function of a common header, and it must run anywhere.
#pragma once

#define SGL_FAST_PRAGMA(text) _Pragma(#text)
// clang-format off
#if defined(SGL_FAST_AVX512)
#include <immintrin.h>
#define ISA_NAMESPACE_BEGIN \
    SGL_FAST_PRAGMA(GCC push_options) \
    SGL_FAST_PRAGMA(GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")) \
    namespace sgl_fast::avx512 {
#define ISA_NAMESPACE_END } SGL_FAST_PRAGMA(GCC pop_options)
#elif defined(SGL_FAST_AVX2)
#include <immintrin.h>
#define ISA_NAMESPACE_BEGIN \
    SGL_FAST_PRAGMA(GCC push_options) \
    SGL_FAST_PRAGMA(GCC target("avx2,fma")) \
    namespace sgl_fast::avx2 {
#define ISA_NAMESPACE_END } SGL_FAST_PRAGMA(GCC pop_options)
#else
#define ISA_NAMESPACE_BEGIN namespace sgl_fast::plain {
#define ISA_NAMESPACE_END }
#endif
// clang-format on

ISA_NAMESPACE_BEGIN

#if defined(SGL_FAST_AVX512)
constexpr int NATIVE = 16;
#elif defined(SGL_FAST_AVX2)
constexpr int NATIVE = 8;
#else
constexpr int NATIVE = 4;
#endif

ISA_NAMESPACE_END
