// How launchers start a kernel: on a stream, checked. Free of torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

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

    template <class T> T* room(size_t count) const { return static_cast<T*>(allocate(context, count * sizeof(T))); }
};

#ifndef CUDASIM

// RuntimeError where CUDA says that something cannot be done.
inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + " cannot run: " + cudaGetErrorString(error));
}

#endif

inline void zero([[maybe_unused]] const Stream& stream, void* memory, size_t bytes) {
#ifdef CUDASIM
    std::memset(memory, 0, bytes);
#else
    check(cudaMemsetAsync(memory, 0, bytes, stream.handle), "cudaMemsetAsync");
#endif
}

// Lets blocks of a kernel have that much dynamic shared memory; more than 48 KB must be asked for.
template <class Kernel> void allow_shared([[maybe_unused]] Kernel* kernel, size_t bytes) {
    if (bytes <= 48 << 10) return;
#ifndef CUDASIM
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "cudaFuncSetAttribute");
#endif
}

inline unsigned blocks_for(int64_t items, int64_t per_block) {
    return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace sgl_fast

// LAUNCH(kernel, grid, block, bytes of dynamic shared memory, stream, arguments...). RuntimeError where it cannot run.
#ifdef CUDASIM
#define LAUNCH(kernel, grid, block, bytes, stream, ...) \
    ::cudasim::launch(#kernel, grid, block, bytes, [&] { kernel(__VA_ARGS__); })
#else
#define LAUNCH(kernel, grid, block, bytes, stream, ...)               \
    do {                                                              \
        kernel<<<grid, block, bytes, (stream).handle>>>(__VA_ARGS__); \
        ::sgl_fast::check(cudaGetLastError(), #kernel);               \
    } while (0)
#endif
