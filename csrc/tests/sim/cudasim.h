// CUDA's threads on a CPU: the names that csrc/cuda/*.cuh uses, so that g++ compiles the kernels as they are, runs them,
// and lets its sanitizers watch. Define CUDASIM and include this first.
//
// The threads of a block take turns on one CPU thread and change at barriers and shuffles alone; blocks follow one
// another. Shared memory starts as NaN and has its exact size. `order` shuffles who comes first.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#ifndef CUDASIM
#error "define CUDASIM for every file"
#endif

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace cudasim {

extern unsigned order;  // 0: as numbered; else the seed of a random order of blocks, and of threads at every turn

struct Launch {
    std::string kernel;
    size_t blocks, shared;  // shared: dynamic bytes of a block
};
inline std::vector<Launch> launched;
inline bool only_count = false;  // launches are written down and do not run

// Runs the kernel for every thread of every block; std::runtime_error where the block breaks a rule of CUDA.
void launch(const char* name, dim3 grid, dim3 block, size_t dynamic_bytes, const std::function<void()>& kernel);

struct Coordinates {
    dim3 thread, block, threads, blocks;
};
extern thread_local const Coordinates* here;  // of the running thread

void barrier(const void* place);                        // of a block; all of its threads must be at the same place
uint64_t exchanged(uint64_t value, unsigned lane);      // what that lane of the warp passes in the same call
void warp_barrier();                                    // of the lanes of a warp
void* shared(const char* file, int line, size_t bytes); // of the block: one for each place in the code
void* dynamic_shared();
void fence();  // before: what this thread wrote; after: what others wrote before theirs

}  // namespace cudasim

#define threadIdx (::cudasim::here->thread)
#define blockIdx (::cudasim::here->block)
#define blockDim (::cudasim::here->threads)
#define gridDim (::cudasim::here->blocks)
#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define SHARED(T, name, count) T* name = static_cast<T*>(::cudasim::shared(__FILE__, __LINE__, (count) * sizeof(T)))
#define SHARED_DYNAMIC(T, name) T* name = static_cast<T*>(::cudasim::dynamic_shared())

// A place in the code is where a local constant lies.
#define __syncthreads()                      \
    do {                                     \
        static const char place_ = 0;        \
        ::cudasim::barrier(&place_);         \
    } while (0)

// Of whole warps: the mask is all lanes.
template <class T> T __shfl_sync(unsigned, T value, unsigned lane) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves 8 bytes at most");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = ::cudasim::exchanged(bits, lane);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, unsigned step) {
    return __shfl_sync(mask, value, (threadIdx.x & 31) ^ step);
}

inline void __syncwarp() { ::cudasim::warp_barrier(); }
inline void __threadfence() { ::cudasim::fence(); }

// As CUDA's, it orders nothing else.
inline unsigned atomicAdd(unsigned* p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }

inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline int __float_as_int(float value) {
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float half_to_float(unsigned short bits) {
    _Float16 value;
    std::memcpy(&value, &bits, sizeof value);
    return static_cast<float>(value);
}
inline unsigned short float_to_half(float x) {
    const _Float16 value = static_cast<_Float16>(x);
    unsigned short bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
struct __half {
    unsigned short bits;
};

// Products of 16 x 16 matrices by the lanes of a warp, each of which has eight elements of a sum.
namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the one shape that is simulated");
    float x[256];
};
template <> struct fragment<accumulator, 16, 16, 16, float> {
    enum { num_elements = 8 };
    float x[num_elements];
};
using Sum = fragment<accumulator, 16, 16, 16, float>;

inline void fill_fragment(Sum& sum, float value) {
    for (float& x : sum.x) x = value;
}
template <class Use, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, __half, Layout>& to, const __half* from, unsigned step) {
    constexpr bool rows = std::is_same<Layout, row_major>::value;
    for (unsigned i = 0; i < 256; i++) to.x[i] = half_to_float(from[rows ? i / 16 * step + i % 16 : i % 16 * step + i / 16].bits);
}
template <class LayoutA, class LayoutB>
void mma_sync(Sum& sum, const fragment<matrix_a, 16, 16, 16, __half, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, __half, LayoutB>& b, const Sum& before) {
    for (int i = 0; i < 8; i++) {
        const int at = (threadIdx.x & 31) * 8 + i;
        float total = before.x[i];
        for (int k = 0; k < 16; k++) total += a.x[at / 16 * 16 + k] * b.x[k * 16 + at % 16];
        sum.x[i] = total;
    }
}
inline void store_matrix_sync(float* to, const Sum& sum, unsigned step, layout_t) {
    for (int i = 0; i < 8; i++) {
        const int at = (threadIdx.x & 31) * 8 + i;
        to[at / 16 * step + at % 16] = sum.x[i];
    }
}

}  // namespace nvcuda::wmma

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
