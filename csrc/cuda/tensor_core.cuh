// Products by tensor cores, which multiply float16 and add in float32. Each factor is split into a float16 and the float16 of
// what that leaves, and three of the four products are taken, which gives about float32's accuracy. Tensor cores cut off where
// float32 rounds: no more than WMMA products are added up inside, by a fresh accumulator each time.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

constexpr float SPLIT_SCALE =
    32;  // factors of an ordinary size times this: the rest of a small one stays in float16's range

// A WMMA x WMMA matrix of float32, of a warp.
struct Accumulator {
    float x[8];
};

// A number as two of float16.
struct Split {
    unsigned short high, low;
    explicit Split(float x) : high(float_to_half(x)), low(float_to_half(x - half_to_float(high))) {}
};

// Matrices in two parts in shared memory, `step` numbers from row to row, or from column to column.
struct Parts {
    unsigned short *high, *low;
    int step;

    Parts operator+(int n) const { return {high + n, low + n, step}; }
    void set(int i, float x) const {
        const Split split(x);
        high[i] = split.high;
        low[i] = split.low;
    }
    // Four from i on, a multiple of four.
    void set(int i, const float4& four) const {
        const Split x(four.x), y(four.y), z(four.z), w(four.w);
        *(ushort4*)(high + i) = make_ushort4(x.high, y.high, z.high, w.high);
        *(ushort4*)(low + i) = make_ushort4(x.low, y.low, z.low, w.low);
    }
};

#ifndef CUDASIM

// A factor's matrix: eight pairs of float16 in each lane.
struct Fragment {
    unsigned pair[8];
};

__forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

#define LOAD_FRAGMENT(which, order)                                                                     \
    asm volatile("wmma.load." which ".sync.aligned." order                                              \
                 ".m16n16k16.shared.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, [%8], %9;"                           \
                 : "=r"(f.pair[0]), "=r"(f.pair[1]), "=r"(f.pair[2]), "=r"(f.pair[3]), "=r"(f.pair[4]), \
                   "=r"(f.pair[5]), "=r"(f.pair[6]), "=r"(f.pair[7])                                    \
                 : "r"(shared_address(from)), "r"(step)                                                 \
                 : "memory")

template <bool ROWS> __forceinline__ void load_left(Fragment& f, const unsigned short* from, int step) {
    if constexpr (ROWS)
        LOAD_FRAGMENT("a", "row");
    else
        LOAD_FRAGMENT("a", "col");
}

template <bool ROWS> __forceinline__ void load_right(Fragment& f, const unsigned short* from, int step) {
    if constexpr (ROWS)
        LOAD_FRAGMENT("b", "row");
    else
        LOAD_FRAGMENT("b", "col");
}

#undef LOAD_FRAGMENT

#define MULTIPLY(orders)                                                                                           \
    asm volatile("wmma.mma.sync.aligned." orders                                                                   \
                 ".m16n16k16.f32.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, "                                                  \
                 "{%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19,%20,%21,%22,%23}, {%0,%1,%2,%3,%4,%5,%6,%7};"  \
                 : "+f"(sum.x[0]), "+f"(sum.x[1]), "+f"(sum.x[2]), "+f"(sum.x[3]), "+f"(sum.x[4]), "+f"(sum.x[5]), \
                   "+f"(sum.x[6]), "+f"(sum.x[7])                                                                  \
                 : "r"(a.pair[0]), "r"(a.pair[1]), "r"(a.pair[2]), "r"(a.pair[3]), "r"(a.pair[4]), "r"(a.pair[5]), \
                   "r"(a.pair[6]), "r"(a.pair[7]), "r"(b.pair[0]), "r"(b.pair[1]), "r"(b.pair[2]), "r"(b.pair[3]), \
                   "r"(b.pair[4]), "r"(b.pair[5]), "r"(b.pair[6]), "r"(b.pair[7]))

// sum += a * b
template <bool ROWS_A, bool ROWS_B>
__forceinline__ void multiply_add(Accumulator& sum, const Fragment& a, const Fragment& b) {
    static_assert(ROWS_A != ROWS_B, "the two orders that are used");
    if constexpr (ROWS_A)
        MULTIPLY("row.col");
    else
        MULTIPLY("col.row");
}

#undef MULTIPLY

// Rows of `step` floats in shared memory.
__forceinline__ void store_matrix(float* to, const Accumulator& sum, int step) {
    asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%0], {%1,%2,%3,%4,%5,%6,%7,%8}, %9;" ::"r"(
                     shared_address(to)),
                 "f"(sum.x[0]), "f"(sum.x[1]), "f"(sum.x[2]), "f"(sum.x[3]), "f"(sum.x[4]), "f"(sum.x[5]),
                 "f"(sum.x[6]), "f"(sum.x[7]), "r"(step)
                 : "memory");
}

#endif

__forceinline__ Accumulator zero_matrix() { return {{0, 0, 0, 0, 0, 0, 0, 0}}; }

// sum += a * b, by a warp; ROWS: whether a matrix lies by rows.
template <bool ROWS_A, bool ROWS_B> __forceinline__ void add_product(Accumulator& sum, const Parts& a, const Parts& b) {
    Fragment left, right;
    load_left<ROWS_A>(left, a.high, a.step);
    load_right<ROWS_B>(right, b.low, b.step);
    multiply_add<ROWS_A, ROWS_B>(sum, left, right);
    load_right<ROWS_B>(right, b.high, b.step);
    multiply_add<ROWS_A, ROWS_B>(sum, left, right);
    load_left<ROWS_A>(left, a.low, a.step);
    multiply_add<ROWS_A, ROWS_B>(sum, left, right);
}

__forceinline__ void add_scaled(Accumulator& sum, float factor, const Accumulator& more) {
#pragma unroll
    for (int i = 0; i < 8; i++) sum.x[i] += factor * more.x[i];
}

}  // namespace sgl_fast
