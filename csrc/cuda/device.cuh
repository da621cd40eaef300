// What the kernels share. Device code has no includes: NVRTC knows its names by itself, and a CPU learns them from
// csrc/tests/sim/cudasim.h.
#pragma once

#include "kernels.h"

#ifndef CUDASIM
#define SHARED(T, name, count) __shared__ T name[count]
#define SHARED_DYNAMIC(T, name)                                \
    extern __shared__ __align__(128) float4 dynamic_shared_[]; \
    T* name = (T*)dynamic_shared_
#endif

namespace sgl_fast {

constexpr unsigned WHOLE_WARP = 0xffffffffu;

__forceinline__ int lane() { return threadIdx.x % WARP; }
__forceinline__ int warp() { return threadIdx.x / WARP; }

// The same address, of which the compiler learns that it is not one of shared memory.
template <class T> __forceinline__ T* global(T* at) {
    __builtin_assume(__isGlobal(at));
    return at;
}

__forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// Four neighbouring pixels of a row.
__forceinline__ float4 operator*(float w, const float4& x) { return make_float4(w * x.x, w * x.y, w * x.z, w * x.w); }

__forceinline__ float4& operator+=(float4& sum, const float4& x) {
    sum = make_float4(sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w);
    return sum;
}

// The same number, of which the compiler does not know that: what follows from it is found anew, and not kept in
// registers from where it was needed before.
__forceinline__ int anew(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

// sums[r] += x, of registers, where a loop over r would need too many if it were unrolled.
template <int R> __forceinline__ void add_to(float4 (&sums)[R], int r, const float4& x) {
#pragma unroll
    for (int k = 0; k < R; k++)
        if (k == r) sums[k] += x;
}

__forceinline__ float total_of(const float4& x) { return x.x + x.y + x.z + x.w; }
__forceinline__ float dot_of(const float4& a, const float4& b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

// N floats, a multiple of four, from a multiple of 16 bytes on.
template <int N> __forceinline__ void read_fours(const float* at, float (&to)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const float4 four = *(const float4*)(at + i);
        to[i] = four.x;
        to[i + 1] = four.y;
        to[i + 2] = four.z;
        to[i + 3] = four.w;
    }
}

// The pixels from x on that a row of W has; the others are 0.
__forceinline__ float4 within(const float4& four, int x, int W) {
    if (x + 4 <= W) return four;
    return make_float4(x < W ? four.x : 0, x + 1 < W ? four.y : 0, x + 2 < W ? four.z : 0, 0);
}

// Rows of a plane whose W is a multiple of 4 start at multiples of 16 bytes.
__forceinline__ float4 read_quad(const float* row, int x, int W) {
    if (W % 4 == 0) return *(const float4*)(row + x);
    return make_float4(row[x], x + 1 < W ? row[x + 1] : 0, x + 2 < W ? row[x + 2] : 0, x + 3 < W ? row[x + 3] : 0);
}

__forceinline__ void write_quad(float* row, int x, int W, const float4& four) {
    if (W % 4 == 0) {
        *(float4*)(row + x) = four;
        return;
    }
    row[x] = four.x;
    if (x + 1 < W) row[x + 1] = four.y;
    if (x + 2 < W) row[x + 2] = four.z;
    if (x + 3 < W) row[x + 3] = four.w;
}

#ifndef CUDASIM

__forceinline__ float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

__forceinline__ unsigned short float_to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

#endif

// What float16 cannot hold becomes its largest number: no norm has bounded saved planes yet. NaN stays NaN.
__forceinline__ unsigned short float_to_saved(float x) {
    constexpr float LARGEST = 65504;
    return float_to_half(x > LARGEST ? LARGEST : x < -LARGEST ? -LARGEST : x);
}

__forceinline__ float load(const StoragePtr& from, long long i) {
    return from.half ? half_to_float(((const unsigned short*)from.data)[i]) : ((const float*)from.data)[i];
}

__forceinline__ void store(const StoragePtr& to, long long i, float x) {
    if (to.half)
        ((unsigned short*)to.data)[i] = float_to_saved(x);
    else
        ((float*)to.data)[i] = x;
}

__forceinline__ float4 read_quad(const StoragePtr& row, int x, int W) {
    if (!row.half) return read_quad((const float*)row.data, x, W);
    const unsigned short* half = (const unsigned short*)row.data + x;
    if (W % 4 == 0) {
        const ushort4 four = *(const ushort4*)half;
        return make_float4(half_to_float(four.x), half_to_float(four.y), half_to_float(four.z), half_to_float(four.w));
    }
    const int left = W - x;
    return make_float4(half_to_float(half[0]), left > 1 ? half_to_float(half[1]) : 0,
                       left > 2 ? half_to_float(half[2]) : 0, left > 3 ? half_to_float(half[3]) : 0);
}

__forceinline__ void write_quad(const StoragePtr& row, int x, int W, const float4& four) {
    if (!row.half) return write_quad((float*)row.data, x, W, four);
    unsigned short* half = (unsigned short*)row.data + x;
    const ushort4 bits =
        make_ushort4(float_to_saved(four.x), float_to_saved(four.y), float_to_saved(four.z), float_to_saved(four.w));
    if (W % 4 == 0) {
        *(ushort4*)half = bits;
        return;
    }
    const int left = W - x;
    half[0] = bits.x;
    if (left > 1) half[1] = bits.y;
    if (left > 2) half[2] = bits.z;
    if (left > 3) half[3] = bits.w;
}

// Four pixels of a row from each of N places on, 0 past the row's end: `left` of them are there; whole: rows start at
// multiples of 16 bytes. All loads start before a result is used, and nothing branches between them.
template <int N>
__forceinline__ void read_quads(const StoragePtr& from, const int (&at)[N], int left, bool whole, float4 (&to)[N]) {
    const int one = left > 1 ? 1 : 0, two = left > 2 ? 2 : 0, three = left > 3 ? 3 : 0;
    if (from.half) {
        const unsigned short* data = global((const unsigned short*)from.data);
        ushort4 bits[N];
        if (whole)
#pragma unroll
            for (int i = 0; i < N; i++) bits[i] = *(const ushort4*)(data + at[i]);
        else
#pragma unroll
            for (int i = 0; i < N; i++)
                bits[i] = make_ushort4(data[at[i]], data[at[i] + one], data[at[i] + two], data[at[i] + three]);
#pragma unroll
        for (int i = 0; i < N; i++)
            to[i] = make_float4(half_to_float(bits[i].x), half_to_float(bits[i].y), half_to_float(bits[i].z),
                                half_to_float(bits[i].w));
    } else {
        const float* data = global((const float*)from.data);
        if (whole)
#pragma unroll
            for (int i = 0; i < N; i++) to[i] = *(const float4*)(data + at[i]);
        else
#pragma unroll
            for (int i = 0; i < N; i++)
                to[i] = make_float4(data[at[i]], data[at[i] + one], data[at[i] + two], data[at[i] + three]);
    }
    if (whole) return;
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = within(to[i], 0, left);
}

// The same from N places of float32.
template <int N> __forceinline__ void read_quads(const float* const (&from)[N], int left, bool whole, float4 (&to)[N]) {
    const int one = left > 1 ? 1 : 0, two = left > 2 ? 2 : 0, three = left > 3 ? 3 : 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float* at = global(from[i]);
        to[i] = whole ? *(const float4*)at : within(make_float4(at[0], at[one], at[two], at[three]), 0, left);
    }
}

// The sum, and the largest, over the lanes of a warp, on every lane; NaN is not the largest.
template <class T> __forceinline__ T warp_sum(T v) {
    for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(WHOLE_WARP, v, step);
    return v;
}

__forceinline__ float warp_max(float v) {
    for (int step = WARP / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(WHOLE_WARP, v, step));
    return v;
}

// How CELL_THREADS threads share some sums: as many, a power of two, take each; items() sums at a time.
struct Sharing {
    PowerOfTwo threads;
    int item, mine;  // mine: which of the item's threads

    explicit Sharing(int count) : threads(WARP, 5) {
        while (threads > 1 && threads * count > CELL_THREADS) threads = PowerOfTwo(threads.of / 2, threads.log - 1);
        item = (int)threadIdx.x / threads;
        mine = (int)threadIdx.x % threads;
    }
    int items() const { return CELL_THREADS / threads; }
    // How many of `count` numbers a thread has: mine, mine + threads and so on.
    int turns(int count) const { return (count - mine + threads - 1) / threads; }
    // The sum over an item's threads, on each of them. All threads of the block must come.
    template <class T> T sum(T v) const {
        for (int step = WARP / 2; step > 0; step /= 2)
            if (step < threads) v += __shfl_xor_sync(WHOLE_WARP, v, step);
        return v;
    }
};

// The sum over a block of whole warps, on every thread, in an order that depends on the block's size alone. parts: one a
// warp; free again at once.
template <class T> __forceinline__ T block_sum(T v, T* parts) {
    v = warp_sum(v);
    if (lane() == 0) parts[warp()] = v;
    __syncthreads();
    T total = 0;
    for (int i = 0; i < (int)blockDim.x / WARP; i++) total += parts[i];
    __syncthreads();
    return total;
}

}  // namespace sgl_fast
