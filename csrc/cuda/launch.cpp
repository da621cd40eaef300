#include "launch.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "driver.h"
#include "kernels.h"

namespace sgl_fast {
namespace {

enum { SHARED_SIZE_BYTES = 1, MAX_DYNAMIC_SHARED_SIZE_BYTES = 8, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97 };  // of cuda.h

#define NAME(kernel) #kernel,
constexpr const char* KERNEL_NAMES[] = {SGL_FAST_KERNELS(NAME)};
#undef NAME

struct Kernels {
    std::unordered_map<std::string, void*> functions;
    size_t most_shared = 0;
};

constexpr int MOST_DEVICES = 256;
std::atomic<const Kernels*> loaded[MOST_DEVICES];

void* find_kernel(const std::vector<void*>& modules, const char* name) {
    void* function = nullptr;
    for (void* module : modules)
        if (!driver().cuModuleGetFunction(&function, module, name)) return function;
    throw std::runtime_error(std::string("need a module that has ") + name);
}

// Lets a kernel have all the shared memory that its static arrays leave; returns how much that is.
size_t allow_shared(void* function, const char* name, int most) {
    int fixed = 0;
    check(driver().cuFuncGetAttribute(&fixed, SHARED_SIZE_BYTES, function), name);
    check(driver().cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED_SIZE_BYTES, most - fixed), name);
    return most - fixed;
}

const Kernels& kernels_of(int device) {
    const Kernels* kernels = loaded[device];
    if (!kernels) throw std::runtime_error("need the CUDA kernels to be loaded for device " + std::to_string(device));
    return *kernels;
}

}  // namespace

void load_kernels(int device, const std::vector<std::string>& images) {
    static std::mutex& mutex = *new std::mutex;
    const std::lock_guard<std::mutex> lock(mutex);
    if (device < 0 || device >= MOST_DEVICES)
        throw std::runtime_error("need a device below " + std::to_string(MOST_DEVICES));
    if (loaded[device]) return;
    device = current_device(device);
    std::vector<void*> modules(images.size());
    for (size_t i = 0; i < images.size(); i++)
        check(driver().cuModuleLoadData(&modules[i], images[i].data()), "cuModuleLoadData");
    int most = 0;
    check(driver().cuDeviceGetAttribute(&most, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device), "cuDeviceGetAttribute");
    Kernels* kernels = new Kernels;
    kernels->most_shared = most;
    for (const char* name : KERNEL_NAMES) {
        void* function = find_kernel(modules, name);
        kernels->functions[name] = function;
        kernels->most_shared = std::min(kernels->most_shared, allow_shared(function, name, most));
    }
    loaded[device] = kernels;
}

bool kernels_loaded(int device) { return device >= 0 && device < MOST_DEVICES && loaded[device]; }

size_t most_shared(const Stream& stream) { return kernels_of(stream.device).most_shared; }

void launch_kernel(const Stream& stream, const char* kernel, Grid grid, unsigned threads, size_t shared_bytes,
                   void** parameters) {
    void* function = kernels_of(stream.device).functions.at(kernel);
    check(driver().cuLaunchKernel(function, grid.x, grid.y, grid.z, threads, 1, 1, static_cast<unsigned>(shared_bytes),
                                  stream.handle, parameters, nullptr),
          kernel);
}

void zero(const Stream& stream, void* memory, size_t bytes) {
    if (bytes)
        check(driver().cuMemsetD8Async(reinterpret_cast<uint64_t>(memory), 0, bytes, stream.handle), "cuMemsetD8Async");
}

}  // namespace sgl_fast
