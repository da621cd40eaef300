// CUDA's threads on a CPU: the names that csrc/cuda/*.cuh use, so that g++ compiles the kernels as they are, runs them,
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
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
    return {x, y, z, w};
}
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace cudasim {

extern unsigned order;  // 0: as numbered; else the seed of a random order of blocks, and of threads at every turn

// Runs the kernel for every thread of every block; std::runtime_error where the block breaks a rule of CUDA.
// Returns the bytes of static shared memory that a block had.
size_t launch(dim3 grid, dim3 block, size_t dynamic_bytes, const std::function<void()>& kernel);

struct Coordinates {
    dim3 thread, block, threads, blocks;
};
extern thread_local const Coordinates* here;  // of the running thread

void barrier(const void* place);  // of a block; all of its threads must be at the same place
// What that lane of the warp passes; all lanes must be at the same place.
uint64_t exchanged(uint64_t value, unsigned lane, const void* place);
void warp_barrier(const void* place);                                    // of the lanes of a warp
void need_matrix(const void* at, size_t step_bytes, const void* place);  // or the block breaks a rule
float cut_sum(const double (&terms)[5]);                                 // as a tensor core adds
void* shared(const char* file, int line, size_t bytes);                  // of the block: one for each place in the code
void* dynamic_shared();
void fence();  // before: what this thread wrote; after: what others wrote before theirs

}  // namespace cudasim

#define threadIdx (::cudasim::here->thread)
#define blockIdx (::cudasim::here->block)
#define blockDim (::cudasim::here->threads)
#define gridDim (::cudasim::here->blocks)
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __isGlobal(address) true
#define __builtin_assume(condition) static_cast<void>(condition)
#define SHARED(T, name, count) T* name = static_cast<T*>(::cudasim::shared(__FILE__, __LINE__, (count) * sizeof(T)))
#define SHARED_DYNAMIC(T, name) T* name = static_cast<T*>(::cudasim::dynamic_shared())

// A place in the code is where a local constant lies.
#define __syncthreads()               \
    do {                              \
        static const char place_ = 0; \
        ::cudasim::barrier(&place_);  \
    } while (0)

// Of whole warps: the mask is all lanes.
template <class T> T cudasim_shuffle(T value, unsigned lane, const void* place) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves 8 bytes at most");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = ::cudasim::exchanged(bits, lane, place);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
#define CUDASIM_PLACE                 \
    ([]() -> const void* {            \
        static const char place_ = 0; \
        return &place_;               \
    }())
#define __shfl_xor_sync(mask, value, step) (cudasim_shuffle(value, (threadIdx.x & 31) ^ (step), CUDASIM_PLACE))
#define __syncwarp() ::cudasim::warp_barrier(CUDASIM_PLACE)

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

// Products of 16 x 16 matrices by the lanes of a warp, each of which has eight elements of a sum. The hardware asks that
// matrices lie at multiples of 32 bytes and their rows at multiples of 16. It adds four products at a time, and cuts off what
// float32 cannot hold beside the largest of them and the sum.
namespace sgl_fast {

struct Fragment {
    float x[256];
};

template <bool ROWS> void load_matrix(Fragment& to, const unsigned short* from, int step, const void* place) {
    ::cudasim::need_matrix(from, step * sizeof *from, place);
    for (int i = 0; i < 256; i++) to.x[i] = half_to_float(from[ROWS ? i / 16 * step + i % 16 : i % 16 * step + i / 16]);
}
template <bool ROWS> void load_left(Fragment& to, const unsigned short* from, int step) {
    load_matrix<ROWS>(to, from, step, CUDASIM_PLACE);
}
template <bool ROWS> void load_right(Fragment& to, const unsigned short* from, int step) {
    load_matrix<ROWS>(to, from, step, CUDASIM_PLACE);
}
template <bool, bool, class Sum> void multiply_add(Sum& sum, const Fragment& a, const Fragment& b) {
    for (int i = 0; i < 8; i++) {
        const int at = (threadIdx.x & 31) * 8 + i;
        for (int k = 0; k < 16; k += 4) {
            double terms[5] = {sum.x[i]};
            for (int j = 0; j < 4; j++) terms[j + 1] = a.x[at / 16 * 16 + k + j] * b.x[(k + j) * 16 + at % 16];
            sum.x[i] = ::cudasim::cut_sum(terms);
        }
    }
}
template <class Sum> void store_matrix(float* to, const Sum& sum, int step) {
    ::cudasim::need_matrix(to, step * sizeof *to, CUDASIM_PLACE);
    for (int i = 0; i < 8; i++) {
        const int at = (threadIdx.x & 31) * 8 + i;
        to[at / 16 * step + at % 16] = sum.x[i];
    }
}

}  // namespace sgl_fast

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
