#include "driver.h"

#include <cstdlib>
#include <stdexcept>

#include "../oldest_system.h"

namespace sgl_fast {
namespace {

template <class Function> void find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    if (!function) throw std::runtime_error(std::string("need a CUDA driver with ") + name);
}

Driver open_driver() {
    const char* named = std::getenv("SGL_FAST_LIBCUDA");
    const char* name = named && *named ? named : "libcuda.so.1";
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(std::string("need a CUDA driver: ") + dlerror());
    Driver d{};
#define FIND(function) find(library, #function, d.function)
    FIND(cuInit);
    FIND(cuGetErrorString);
    FIND(cuCtxGetCurrent);
    FIND(cuCtxSetCurrent);
    FIND(cuCtxGetDevice);
    FIND(cuDevicePrimaryCtxRetain);
    FIND(cuDeviceGetAttribute);
    FIND(cuModuleLoadData);
    FIND(cuModuleGetFunction);
    FIND(cuFuncGetAttribute);
    FIND(cuFuncSetAttribute);
    FIND(cuLaunchKernel);
    FIND(cuMemsetD8Async);
    FIND(cuMemAlloc_v2);
    FIND(cuMemcpyHtoDAsync_v2);
    FIND(cuStreamCreate);
    FIND(cuStreamSynchronize);
    FIND(cuStreamDestroy_v2);
    FIND(cuThreadExchangeStreamCaptureMode);
#undef FIND
    d.counting = static_cast<const bool*>(dlsym(library, "sgl_fast_counting"));
    if (d.cuInit(0)) throw std::runtime_error("need a GPU that the CUDA driver can use");
    return d;
}

}  // namespace

const Driver& driver() {
    static const Driver opened = open_driver();
    return opened;
}

void check(Driver::Error error, const char* what) {
    if (!error) return;
    const char* text = nullptr;
    driver().cuGetErrorString(error, &text);
    throw std::runtime_error(std::string(what) + " cannot run: " + (text ? text : "error ") +
                             (text ? "" : std::to_string(error)));
}

int current_device(int device) {
    void* context = nullptr;
    check(driver().cuCtxGetCurrent(&context), "cuCtxGetCurrent");
    if (!context) {  // torch's runtime binds it at its first call in a thread, which may be yet to come
        check(driver().cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
        check(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent");
    }
    check(driver().cuCtxGetDevice(&device), "cuCtxGetDevice");
    return device;
}

}  // namespace sgl_fast
