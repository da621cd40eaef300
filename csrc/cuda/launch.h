// How launchers start a kernel: on a stream, checked, counted. Free of torch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "work.h"

#ifndef CUDASIM
#include <cuda_runtime.h>
#endif

namespace sgl_fast {

#ifdef CUDASIM
using Handle = void*;
#else
using Handle = cudaStream_t;
#endif

// Where the kernels of a call go: a stream of the device in force, and its memory.
struct Stream {
    Handle handle;
    void* (*allocate)(void* context, size_t bytes);  // valid until the kernels of this call are done
    void* context;
    Ledger* ledger = nullptr;  // if given, launches are written down there, and nothing runs

    template <class T> T* room(size_t count) const { return static_cast<T*>(allocate(context, count * sizeof(T))); }
};

// Kernels that this process has launched.
inline std::atomic<int64_t> launches{0};

#ifndef CUDASIM

// RuntimeError where CUDA says that something cannot be done.
inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + " cannot run: " + cudaGetErrorString(error));
}

#endif

inline void zero(const Stream& stream, void* memory, size_t bytes) {
    if (stream.ledger) return;
#ifdef CUDASIM
    std::memset(memory, 0, bytes);
#else
    check(cudaMemsetAsync(memory, 0, bytes, stream.handle), "cudaMemsetAsync");
#endif
}

// Lets blocks of a kernel have that much dynamic shared memory; more than 48 KB must be asked for.
template <class Kernel> void allow_shared(const Stream& stream, Kernel* kernel, size_t bytes) {
    if (stream.ledger || bytes <= 48 << 10) return;
#ifdef CUDASIM
    (void)kernel;
#else
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "cudaFuncSetAttribute");
#endif
}

inline unsigned blocks_for(int64_t items, int64_t per_block) {
    return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace sgl_fast

// LAUNCH(kernel, grid, block, bytes of dynamic shared memory, stream, work, arguments...). RuntimeError where it cannot run.
#ifdef CUDASIM
#define RUN_(kernel, grid, block, bytes, stream, ...) \
    ::cudasim::launch(grid, block, bytes, [&] { kernel(__VA_ARGS__); })
#else
#define RUN_(kernel, grid, block, bytes, stream, ...)             \
    kernel<<<grid, block, bytes, (stream).handle>>>(__VA_ARGS__); \
    ::sgl_fast::check(cudaGetLastError(), #kernel)
#endif
#define LAUNCH(kernel, grid, block, bytes, stream, work, ...)            \
    do {                                                                 \
        if ((stream).ledger) {                                           \
            const dim3 grid_(grid);                                      \
            const double blocks_ = double(grid_.x) * grid_.y * grid_.z;  \
            (stream).ledger->launches.push_back({#kernel, (work), blocks_, double(bytes)}); \
            break;                                                       \
        }                                                                \
        ++::sgl_fast::launches;                                          \
        RUN_(kernel, grid, block, bytes, stream, __VA_ARGS__);           \
    } while (0)
