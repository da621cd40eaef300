// What the kernels share. Device code has no includes: nvcc and NVRTC know its names by themselves, and a CPU learns them
// from csrc/tests/sim/cudasim.h.
#pragma once

#ifndef CUDASIM
#define SHARED(T, name, count) __shared__ T name[count]
#define SHARED_DYNAMIC(T, name)                \
    extern __shared__ float4 dynamic_shared_[]; \
    T* name = (T*)dynamic_shared_
#endif

namespace sgl_fast {

constexpr unsigned WHOLE_WARP = 0xffffffffu;
constexpr int WARP = 32;

__device__ __forceinline__ int lane() { return threadIdx.x % WARP; }
__device__ __forceinline__ int warp() { return threadIdx.x / WARP; }

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// The sum, and the largest, over the lanes of a warp, on every lane; NaN is not the largest.
template <class T> __device__ __forceinline__ T warp_sum(T v) {
    for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(WHOLE_WARP, v, step);
    return v;
}

__device__ __forceinline__ float warp_max(float v) {
    for (int step = WARP / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(WHOLE_WARP, v, step));
    return v;
}

// The sum over a block of whole warps, on every thread, in an order that depends on the block's size alone. parts: one a
// warp; free again at once.
template <class T> __device__ __forceinline__ T block_sum(T v, T* parts) {
    v = warp_sum(v);
    if (lane() == 0) parts[warp()] = v;
    __syncthreads();
    T total = 0;
    for (int i = 0; i < (int)blockDim.x / WARP; i++) total += parts[i];
    __syncthreads();
    return total;
}

}  // namespace sgl_fast
