// Vectors of L floats, L = 4, 8 or 16.
#pragma once

#include "isa_namespace.h"

ISA_NAMESPACE_BEGIN

template <int L> struct Vec {
    typedef float F __attribute__((vector_size(4 * L)));
    typedef int I __attribute__((vector_size(4 * L)));
    typedef float LooseF __attribute__((vector_size(4 * L), aligned(4), may_alias));
    typedef int LooseI __attribute__((vector_size(4 * L), aligned(4), may_alias));
};
template <int L> using F = typename Vec<L>::F;
template <int L> using I = typename Vec<L>::I;

#define ALWAYS_INLINE __attribute__((always_inline))
#define INLINE inline ALWAYS_INLINE

template <int L> INLINE F<L> load(const float* p) { return *(const typename Vec<L>::LooseF*)p; }
template <int L> INLINE void store(float* p, F<L> v) { *(typename Vec<L>::LooseF*)p = v; }
template <int L> INLINE I<L> load_int(const int* p) { return *(const typename Vec<L>::LooseI*)p; }
template <int L> INLINE void store_int(int* p, I<L> v) { *(typename Vec<L>::LooseI*)p = v; }

template <int L> INLINE F<L> splat(float x) {
    F<L> v;
    for (int i = 0; i < L; i++) v[i] = x;
    return v;
}

template <int L> INLINE I<L> lane_numbers() {
    I<L> v;
    for (int i = 0; i < L; i++) v[i] = i;
    return v;
}

template <int L> INLINE F<L> select(I<L> mask, F<L> a, F<L> b) { return mask ? a : b; }
template <int L> INLINE F<L> zero_unless(I<L> mask, F<L> a) { return (F<L>)(mask & (I<L>)a); }

// The first n lanes; the others are 0. No memory past them is touched.
template <int L> INLINE F<L> load_first(const float* p, int n) {
#if defined(SGL_FAST_AVX512)
    if constexpr (L == 16) return (F<L>)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
    if constexpr (L == 8) return (F<L>)_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p);
    if constexpr (L == 4) return (F<L>)_mm_maskz_loadu_ps((__mmask8)((1u << n) - 1), p);
#endif
    F<L> v = {};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}

template <int L> INLINE void store_first(float* p, F<L> v, int n) {
#if defined(SGL_FAST_AVX512)
    if constexpr (L == 16) return _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
    if constexpr (L == 8) return _mm256_mask_storeu_ps(p, (__mmask8)((1u << n) - 1), (__m256)v);
    if constexpr (L == 4) return _mm_mask_storeu_ps(p, (__mmask8)((1u << n) - 1), (__m128)v);
#endif
    for (int i = 0; i < n; i++) p[i] = v[i];
}

template <int L> INLINE F<L> load_up_to(const float* p, int n) { return n >= L ? load<L>(p) : load_first<L>(p, n); }

template <int L> INLINE void store_up_to(float* p, F<L> v, int n) {
    if (n >= L)
        store<L>(p, v);
    else
        store_first<L>(p, v, n);
}

// Zeroes every lane whose bit is off.
template <int L> INLINE F<L> keep(F<L> v, unsigned bits) {
#if defined(SGL_FAST_AVX512)
    if constexpr (L == 16) return (F<L>)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)v);
    if constexpr (L == 8) return (F<L>)_mm256_maskz_mov_ps((__mmask8)bits, (__m256)v);
    if constexpr (L == 4) return (F<L>)_mm_maskz_mov_ps((__mmask8)bits, (__m128)v);
#endif
    I<L> lane;
    for (int i = 0; i < L; i++) lane[i] = 1 << i;
    return zero_unless<L>(((lane & (int)bits) != 0), v);
}

// One bit a lane: on unless the lane is at most 0, so that NaN is let through.
template <int L> INLINE unsigned open_lanes(F<L> v) {
#if defined(SGL_FAST_AVX512)
    if constexpr (L == 16) return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NLE_UQ);
    if constexpr (L == 8) return _mm256_cmp_ps_mask((__m256)v, _mm256_setzero_ps(), _CMP_NLE_UQ);
    if constexpr (L == 4) return _mm_cmp_ps_mask((__m128)v, _mm_setzero_ps(), _CMP_NLE_UQ);
#elif defined(SGL_FAST_AVX2)
    if constexpr (L == 8) return _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NLE_UQ));
    if constexpr (L == 4) return _mm_movemask_ps(_mm_cmp_ps((__m128)v, _mm_setzero_ps(), _CMP_NLE_UQ));
#endif
    unsigned bits = 0;
    for (int i = 0; i < L; i++) bits |= unsigned(!(v[i] <= 0)) << i;
    return bits;
}

template <int L> INLINE float sum(F<L> v) {
    if constexpr (L == 4) return (v[0] + v[2]) + (v[1] + v[3]);
    if constexpr (L > 4) {
        typedef typename Vec<L / 2>::F Half;
        Half halves[2];
        __builtin_memcpy(halves, &v, sizeof v);
        return sum<L / 2>(halves[0] + halves[1]);
    }
}

// The sums of L vectors, one a lane.
template <int L> INLINE F<L> sum_each(const F<L>* v) {
    if constexpr (L == 4) {
        F<4> a = __builtin_shuffle(v[0], v[1], I<4>{0, 4, 2, 6}) + __builtin_shuffle(v[0], v[1], I<4>{1, 5, 3, 7});
        F<4> b = __builtin_shuffle(v[2], v[3], I<4>{0, 4, 2, 6}) + __builtin_shuffle(v[2], v[3], I<4>{1, 5, 3, 7});
        return __builtin_shuffle(a, b, I<4>{0, 1, 4, 5}) + __builtin_shuffle(a, b, I<4>{2, 3, 6, 7});
    } else {
        F<8> pairs[4], fours[2];
        for (int i = 0; i < 4; i++)
            pairs[i] = __builtin_shuffle(v[2 * i], v[2 * i + 1], I<8>{0, 8, 2, 10, 4, 12, 6, 14}) +
                       __builtin_shuffle(v[2 * i], v[2 * i + 1], I<8>{1, 9, 3, 11, 5, 13, 7, 15});
        for (int i = 0; i < 2; i++)
            fours[i] = __builtin_shuffle(pairs[2 * i], pairs[2 * i + 1], I<8>{0, 1, 8, 9, 4, 5, 12, 13}) +
                       __builtin_shuffle(pairs[2 * i], pairs[2 * i + 1], I<8>{2, 3, 10, 11, 6, 7, 14, 15});
        return __builtin_shuffle(fours[0], fours[1], I<8>{0, 1, 2, 3, 8, 9, 10, 11}) +
               __builtin_shuffle(fours[0], fours[1], I<8>{4, 5, 6, 7, 12, 13, 14, 15});
    }
}

// The even and the odd lanes of a and b, one after the other; and back.
INLINE void split(F<4> a, F<4> b, F<4>& even, F<4>& odd) {
    even = __builtin_shuffle(a, b, I<4>{0, 2, 4, 6});
    odd = __builtin_shuffle(a, b, I<4>{1, 3, 5, 7});
}
INLINE void join(F<4> even, F<4> odd, F<4>& a, F<4>& b) {
    a = __builtin_shuffle(even, odd, I<4>{0, 4, 1, 5});
    b = __builtin_shuffle(even, odd, I<4>{2, 6, 3, 7});
}

// v[i][j] <- v[j][i] for L vectors of L lanes
template <int L> INLINE void transpose_square(F<L>* v) {
    F<L> w[L];
    if constexpr (L == 4) {
        for (int i = 0; i < 4; i += 2) {
            w[i] = __builtin_shuffle(v[i], v[i + 1], I<4>{0, 4, 2, 6});
            w[i + 1] = __builtin_shuffle(v[i], v[i + 1], I<4>{1, 5, 3, 7});
        }
        for (int i = 0; i < 2; i++) {
            v[i] = __builtin_shuffle(w[i], w[i + 2], I<4>{0, 1, 4, 5});
            v[i + 2] = __builtin_shuffle(w[i], w[i + 2], I<4>{2, 3, 6, 7});
        }
    } else {
        F<L> u[L];
        for (int i = 0; i < 8; i += 2) {
            w[i] = __builtin_shuffle(v[i], v[i + 1], I<8>{0, 8, 2, 10, 4, 12, 6, 14});
            w[i + 1] = __builtin_shuffle(v[i], v[i + 1], I<8>{1, 9, 3, 11, 5, 13, 7, 15});
        }
        for (int i = 0; i < 8; i += 4)
            for (int j = 0; j < 2; j++) {
                u[i + j] = __builtin_shuffle(w[i + j], w[i + j + 2], I<8>{0, 1, 8, 9, 4, 5, 12, 13});
                u[i + j + 2] = __builtin_shuffle(w[i + j], w[i + j + 2], I<8>{2, 3, 10, 11, 6, 7, 14, 15});
            }
        for (int i = 0; i < 4; i++) {
            v[i] = __builtin_shuffle(u[i], u[i + 4], I<8>{0, 1, 2, 3, 8, 9, 10, 11});
            v[i + 4] = __builtin_shuffle(u[i], u[i + 4], I<8>{4, 5, 6, 7, 12, 13, 14, 15});
        }
    }
}

// Calls f(integral constant 0), ..., f(integral constant N - 1): a loop that is unrolled whatever its size.
template <int I_> struct Int {
    constexpr operator int() const { return I_; }
};
template <int N, int I_ = 0, class Fn> INLINE void unrolled(Fn&& f) {
    if constexpr (I_ < N) {
        f(Int<I_>());
        unrolled<N, I_ + 1>(f);
    }
}

ISA_NAMESPACE_END
