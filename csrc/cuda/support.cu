#include "support.h"

#include <cuda_runtime.h>

namespace sgl_fast {
namespace {

__global__ void nothing_kernel() {}

}  // namespace

std::string why_not() {
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, nothing_kernel);
    (void)cudaGetLastError();  // not to be found by the next launch
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

}  // namespace sgl_fast
