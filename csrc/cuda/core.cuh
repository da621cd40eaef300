// Products by tensor cores, which multiply float16 and add in float32. Each factor is split into a float16 and the float16 of
// what that leaves, and three of the four products are taken, which gives about float32's accuracy.
#pragma once

#ifndef CUDASIM
#include <mma.h>
#endif

#include "cell.cuh"

namespace sgl_fast {

constexpr int CORE = 16;    // rows and columns of a matrix
constexpr float LIFT = 32;  // factors of an ordinary size times this: the rest of a small one stays in float16's range

using Accumulator = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, CORE, CORE, CORE, float>;
using nvcuda::wmma::col_major;
using nvcuda::wmma::row_major;

// A number as two of float16.
struct Split {
    unsigned short high, low;
    __device__ explicit Split(float x) : high(float_to_half(x)), low(float_to_half(x - half_to_float(high))) {}
};

// Matrices in two parts in shared memory, `step` numbers from row to row, or from column to column.
struct Parts {
    unsigned short *high, *low;
    int step;

    __device__ Parts operator+(int n) const { return {high + n, low + n, step}; }
    __device__ void set(int i, float x) const {
        const Split split(x);
        high[i] = split.high;
        low[i] = split.low;
    }
    // Four from i on, a multiple of four.
    __device__ void set(int i, const float4& four) const {
        const Split x(four.x), y(four.y), z(four.z), w(four.w);
        *(ushort4*)(high + i) = make_ushort4(x.high, y.high, z.high, w.high);
        *(ushort4*)(low + i) = make_ushort4(x.low, y.low, z.low, w.low);
    }
};

// sum += a * b, by a warp.
template <class Layout, class Right> __device__ __forceinline__ void add_product(Accumulator& sum, const Parts& a, const Parts& b) {
    using namespace nvcuda::wmma;
    fragment<matrix_a, CORE, CORE, CORE, __half, Layout> left;
    fragment<matrix_b, CORE, CORE, CORE, __half, Right> right;
    load_matrix_sync(left, (const __half*)a.high, a.step);
    load_matrix_sync(right, (const __half*)b.low, b.step);
    mma_sync(sum, left, right, sum);
    load_matrix_sync(right, (const __half*)b.high, b.step);
    mma_sync(sum, left, right, sum);
    load_matrix_sync(left, (const __half*)a.low, a.step);
    mma_sync(sum, left, right, sum);
}

__device__ __forceinline__ void add_scaled(Accumulator& sum, float factor, const Accumulator& more) {
#pragma unroll
    for (int i = 0; i < (int)Accumulator::num_elements; i++) sum.x[i] += factor * more.x[i];
}

}  // namespace sgl_fast
