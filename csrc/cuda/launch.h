// How launchers start a kernel of the loaded modules: on a stream, checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace sgl_fast {

// Where the kernels of a call go: a stream of the device in force, and its memory.
struct Stream {
    int device;
    void* handle;
    void* (*allocate)(void* context, size_t bytes);  // valid until the kernels of this call are done
    void* context;

    template <class T> T* room(size_t count) const { return static_cast<T*>(allocate(context, count * sizeof(T))); }
};

struct Grid {
    unsigned x = 1, y = 1, z = 1;
};

// Loads the kernels of these modules (cubins or PTX) for a device, all of them now: nothing is loaded while a graph is
// captured. std::runtime_error where a kernel is missing or a module does not fit the device.
void load_kernels(int device, const std::vector<std::string>& modules);

bool kernels_loaded(int device);

// Bytes of dynamic shared memory that every kernel may have on this device.
size_t most_shared(const Stream& stream);

// parameters: addresses. std::runtime_error where the kernel cannot run.
void launch_kernel(const Stream& stream, const char* kernel, Grid grid, unsigned threads, size_t shared_bytes,
                   void** parameters);

void zero(const Stream& stream, void* memory, size_t bytes);

constexpr unsigned blocks_for(int64_t items, int64_t per_block) {
    return static_cast<unsigned>((items + per_block - 1) / per_block);
}

template <class Kernel> struct Launch;
template <class... P> struct Launch<void(P...)> {
    static_assert((std::is_trivially_copyable<P>::value && ...), "parameters are copied as bytes");
    static_assert((0 + ... + sizeof(P)) <= 4096, "every driver takes 4 KB of parameters");

    static void run(const char* kernel, const Stream& stream, Grid grid, unsigned threads, size_t shared_bytes,
                    P... parameters) {
        void* addresses[] = {&parameters...};
        launch_kernel(stream, kernel, grid, threads, shared_bytes, addresses);
    }
};

}  // namespace sgl_fast

// LAUNCH(kernel, stream, grid, threads, bytes of dynamic shared memory, parameters...), kernel as kernels.h declares it.
#define LAUNCH(kernel, ...) ::sgl_fast::Launch<decltype(::sgl_fast::kernel)>::run(#kernel, __VA_ARGS__)
