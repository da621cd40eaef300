// A stand-in for libcuda.so.1: the driver's functions that csrc/cuda calls, whose device is the host and whose kernels are
// simulated threads (cudasim.h). It refuses what a driver would refuse: kernels that no module has, parameters, grids and shared
// memory beyond a V100's limits, and while a graph is captured allocations, loads and attributes.
//
// For tests: sgl_fast_counting marks it; the functions sgl_fast_* are called through ctypes.
#include "cudasim.h"

#include "../../cuda/alpha_beta_grad.cu"
#include "../../cuda/augment.cu"
#include "../../cuda/combine.cu"
#include "../../cuda/convolve.cu"
#include "../../cuda/dgrad.cu"
#include "../../cuda/dgrad_input.cu"
#include "../../cuda/flat_update.cu"
#include "../../cuda/node_sums.cu"
#include "../../cuda/pseudo_label.cu"
#include "../../cuda/skip_dropout.cu"
#include "../../cuda/wgrad.cu"

#include <cstdio>
#include <map>
#include <tuple>

namespace {

enum Error {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900
};
constexpr size_t MOST_SHARED = 96 << 10, DEFAULT_SHARED = 48 << 10;  // bytes of a V100's block, with and without asking
constexpr size_t MOST_STATIC = 4 << 10;  // of a kernel's static arrays, as the attribute says
constexpr size_t MOST_PARAMETERS = 4096;

struct Kernel {
    const char* name;
    size_t parameter_bytes;
    std::function<void()> (*bind)(void** parameters);
    size_t dynamic_allowed = DEFAULT_SHARED - MOST_STATIC;
};

template <class Function> struct Entry;
template <class... P> struct Entry<void(P...)> {
    static constexpr size_t bytes = (0 + ... + sizeof(P));
    template <void (*kernel)(P...)> static std::function<void()> bind(void** parameters) {
        return bound<kernel>(parameters, std::index_sequence_for<P...>());
    }

  private:
    // As the driver does, the bytes are copied when the kernel is launched.
    template <void (*kernel)(P...), size_t... I>
    static std::function<void()> bound(void** parameters, std::index_sequence<I...>) {
        const std::tuple<P...> copied(*static_cast<P*>(parameters[I])...);
        return [copied] { std::apply(kernel, copied); };
    }
};

#define ENTRY(name) \
    {#name, {#name, Entry<decltype(sgl_fast::name)>::bytes, &Entry<decltype(sgl_fast::name)>::bind<sgl_fast::name>}},
std::map<std::string, Kernel> kernels{SGL_FAST_KERNELS(ENTRY)};
#undef ENTRY

thread_local void* context = nullptr;
thread_local int capture_mode = 0;  // 2: relaxed
std::string said;
bool capturing = false;
std::string launched, told;  // a line a launch: kernel, blocks, bytes of dynamic shared memory
int one_context, one_stream;

bool forbidden() { return capturing && capture_mode != 2; }

int said_of(Error error, const std::string& why) {
    said = why;
    return error;
}

}  // namespace

extern "C" {

bool sgl_fast_counting = false;  // launches are written down and do not run
void sgl_fast_count(bool on) { sgl_fast_counting = on; }
// Is told of each launch: kernel, three sizes of the grid, threads, bytes of dynamic shared memory, addresses of parameters.
void (*sgl_fast_on_launch)(const char*, const unsigned*, unsigned, unsigned, void**) = nullptr;
void sgl_fast_order(unsigned order) { cudasim::order = order; }
void sgl_fast_capture(bool on) { capturing = on; }
// Since the last call.
const char* sgl_fast_launched() {
    told.swap(launched);
    launched.clear();
    return told.c_str();
}

int cuInit(unsigned) { return SUCCESS; }
int cuGetErrorString(int error, const char** text) {
    if (said.empty()) said = "error " + std::to_string(error);
    *text = said.c_str();
    return SUCCESS;
}
int cuCtxGetCurrent(void** current) {
    *current = context;
    return SUCCESS;
}
int cuCtxSetCurrent(void* wanted) {
    context = wanted;
    return SUCCESS;
}
int cuCtxGetDevice(int* device) {
    *device = 0;
    return context ? SUCCESS : INVALID_CONTEXT;
}
int cuDevicePrimaryCtxRetain(void** retained, int) {
    *retained = &one_context;
    return SUCCESS;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = MOST_SHARED;
    return attribute == 97 ? SUCCESS : INVALID_VALUE;
}
int cuModuleLoadData(void** module, const void* image) {
    if (forbidden()) return said_of(CAPTURE_UNSUPPORTED, "a module is loaded while a graph is captured");
    *module = const_cast<void*>(image);
    return SUCCESS;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
    const auto found = kernels.find(name);
    if (found == kernels.end()) return said_of(NOT_FOUND, std::string("no kernel ") + name);
    *function = &found->second;
    return SUCCESS;
}
int cuFuncGetAttribute(int* value, int attribute, void*) {
    *value = MOST_STATIC;
    return attribute == 1 ? SUCCESS : INVALID_VALUE;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    if (forbidden()) return said_of(CAPTURE_UNSUPPORTED, "an attribute is set while a graph is captured");
    if (attribute != 8 || size_t(value) + MOST_STATIC > MOST_SHARED)
        return said_of(INVALID_VALUE, "too much shared memory is asked for");
    static_cast<Kernel*>(function)->dynamic_allowed = value;
    return SUCCESS;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                   unsigned threads_z, unsigned shared_bytes, void*, void** parameters, void** extra) {
    Kernel& kernel = *static_cast<Kernel*>(function);
    if (!context) return said_of(INVALID_CONTEXT, "the thread has no context");
    if (!x || !y || !z || x > 0x7fffffff || y > 65535 || z > 65535)
        return said_of(INVALID_VALUE, "a grid beyond the limits");
    if (!threads || threads > 1024 || threads_y != 1 || threads_z != 1 || extra)
        return said_of(INVALID_VALUE, "a block beyond the limits");
    if (kernel.parameter_bytes > MOST_PARAMETERS) return said_of(INVALID_VALUE, "more than 4 KB of parameters");
    if (shared_bytes > kernel.dynamic_allowed) return said_of(INVALID_VALUE, "more shared memory than is allowed");
    launched +=
        std::string(kernel.name) + " " + std::to_string(size_t(x) * y * z) + " " + std::to_string(shared_bytes) + "\n";
    const unsigned grid[] = {x, y, z};
    if (sgl_fast_on_launch) sgl_fast_on_launch(kernel.name, grid, threads, shared_bytes, parameters);
    if (sgl_fast_counting) return SUCCESS;
    try {
        const size_t fixed = cudasim::launch(dim3(x, y, z), dim3(threads), shared_bytes, kernel.bind(parameters));
        if (fixed > MOST_STATIC) return said_of(LAUNCH_FAILED, "more static shared memory than the attribute says");
    } catch (const std::exception& error) {
        return said_of(LAUNCH_FAILED, error.what());
    }
    return SUCCESS;
}
int cuMemsetD8Async(uint64_t memory, unsigned char value, size_t bytes, void*) {
    std::memset(reinterpret_cast<void*>(memory), value, bytes);
    return SUCCESS;
}
int cuMemAlloc_v2(uint64_t* memory, size_t bytes) {
    if (forbidden()) return said_of(CAPTURE_UNSUPPORTED, "memory is allocated while a graph is captured");
    *memory = reinterpret_cast<uint64_t>(std::malloc(bytes));
    return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(uint64_t memory, const void* from, size_t bytes, void* stream) {
    if (capturing && !stream) return said_of(CAPTURE_UNSUPPORTED, "the stream that is captured copies from the host");
    std::memcpy(reinterpret_cast<void*>(memory), from, bytes);
    return SUCCESS;
}
int cuStreamCreate(void** stream, unsigned) {
    *stream = &one_stream;
    return SUCCESS;
}
int cuStreamSynchronize(void* stream) {
    return capturing && !stream ? said_of(CAPTURE_UNSUPPORTED, "the stream that is captured is waited for") : SUCCESS;
}
int cuStreamDestroy_v2(void*) { return SUCCESS; }
int cuThreadExchangeStreamCaptureMode(int* mode) {
    std::swap(*mode, capture_mode);
    return SUCCESS;
}

}  // extern "C"
