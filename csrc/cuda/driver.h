// The CUDA driver, opened at run time: the package builds and loads where there is no CUDA. Written from the driver's documented
// interface, which is stable; torch's runtime and these calls share one context a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sgl_fast {

// The functions that are called, with the types of cuda.h: handles are pointers, a device pointer is an address.
struct Driver {
    using Error = int;
    Error (*cuInit)(unsigned flags);
    Error (*cuGetErrorString)(Error, const char** text);
    Error (*cuCtxGetCurrent)(void** context);
    Error (*cuCtxSetCurrent)(void* context);
    Error (*cuCtxGetDevice)(int* device);
    Error (*cuDevicePrimaryCtxRetain)(void** context, int device);
    Error (*cuDeviceGetAttribute)(int* value, int attribute, int device);
    Error (*cuModuleLoadData)(void** module, const void* image);
    Error (*cuModuleGetFunction)(void** function, void* module, const char* name);
    Error (*cuFuncGetAttribute)(int* value, int attribute, void* function);
    Error (*cuFuncSetAttribute)(void* function, int attribute, int value);
    Error (*cuLaunchKernel)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                            unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** parameters,
                            void** extra);
    Error (*cuMemsetD8Async)(uint64_t memory, unsigned char value, size_t bytes, void* stream);
    Error (*cuMemAlloc_v2)(uint64_t* memory, size_t bytes);
    Error (*cuMemcpyHtoDAsync_v2)(uint64_t memory, const void* from, size_t bytes, void* stream);
    Error (*cuStreamCreate)(void** stream, unsigned flags);
    Error (*cuStreamSynchronize)(void* stream);
    Error (*cuStreamDestroy_v2)(void* stream);
    Error (*cuThreadExchangeStreamCaptureMode)(int* mode);
    // Of a stand-in of the tests, whose memory is the host's: whether kernels are counted and do not run. Else null.
    const bool* counting;
};

// std::runtime_error where there is no driver. SGL_FAST_LIBCUDA names another library than libcuda.so.1.
const Driver& driver();

// std::runtime_error where the driver says that something cannot be done.
void check(Driver::Error error, const char* what);

// The device in force of this thread; its context becomes the thread's if it has none. device: torch's, for that case.
int current_device(int device);

}  // namespace sgl_fast
