// Where a call's tensors are and where its kernels run: one struct a device, made from the call's first tensor. `queue`
// is what the operators of csrc/*.h take first.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#ifdef SGL_FAST_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include <vector>

#include "../augment.h"
#include "../cpu/blocks.h"
#include "../cpu/pool.h"
#include "../flat_update.h"
#include "../mixed_cell.h"
#include "../pseudo_label.h"
#include "../skip_dropout.h"
#if defined(CUDASIM) || defined(SGL_FAST_CUDA)
#include "../cuda/launch.h"
#endif

namespace sgl_fast {

using at::IntArrayRef;
using at::Tensor;

// RuntimeError unless the tensor is on such a device, which is returned.
inline at::Device device_of(const Tensor& tensor, at::DeviceType type) {
    TORCH_CHECK(tensor.device().type() == type, "need tensors on ", type, "; got one on ", tensor.device());
    return tensor.device();
}

#ifndef CUDASIM

inline void run_on_torch(int count, void (*task)(void*, int), void* context) {
    at::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) task(context, static_cast<int>(index));
    });
}

struct CpuCall {
    static constexpr bool stores_half = false;
    at::Device device;
    Pool queue{at::get_num_threads(), run_on_torch};

    explicit CpuCall(const Tensor& tensor) : device(device_of(tensor, at::kCPU)) {}

    static Tensor fresh(IntArrayRef sizes, at::TensorOptions options) { return at::empty(sizes, options); }

    // A new tensor from the caching allocator of blocks.h.
    Tensor large(IntArrayRef sizes) const {
        size_t floats = 1;
        for (int64_t size : sizes) floats *= size;
        float* block = take_block(floats);
        return at::from_blob(
            block, sizes, [](void* memory) { give_block(static_cast<float*>(memory)); }, at::kFloat);
    }
};

#endif

#if defined(CUDASIM) || defined(SGL_FAST_CUDA)

// Memory of a call's kernels, which torch keeps until they are done.
struct Workspace {
    at::Device device;
    std::vector<Tensor> buffers{};

    static void* allocate(void* workspace, size_t bytes) {
        auto& [device, buffers] = *static_cast<Workspace*>(workspace);
        buffers.push_back(at::empty({static_cast<int64_t>(bytes)}, at::TensorOptions(device).dtype(at::kByte)));
        return buffers.back().mutable_data_ptr();
    }
};

#endif

#ifdef SGL_FAST_CUDA

// On torch's current stream of the tensors' device.
struct CudaCall {
    static constexpr bool stores_half = true;
    at::Device device;
    c10::cuda::CUDAGuard guard{device};
    Workspace workspace{device};
    Stream queue{c10::cuda::getCurrentCUDAStream(device.index()), Workspace::allocate, &workspace};

    explicit CudaCall(const Tensor& tensor) : device(device_of(tensor, at::kCUDA)) {}
    CudaCall(const CudaCall&) = delete;

    static Tensor fresh(IntArrayRef sizes, at::TensorOptions options) { return at::empty(sizes, options); }
    Tensor large(IntArrayRef sizes) const { return fresh(sizes, at::TensorOptions(device).dtype(at::kFloat)); }
};

#endif

#ifdef CUDASIM

// CUDA kernels by simulated threads, on tensors of the CPU. Where they are only counted, results are 0.
struct SimulatedCall {
    static constexpr bool stores_half = true;
    at::Device device;
    Workspace workspace{device};
    Stream queue{nullptr, Workspace::allocate, &workspace};

    explicit SimulatedCall(const Tensor& tensor) : device(device_of(tensor, at::kCPU)) {}
    SimulatedCall(const SimulatedCall&) = delete;

    Tensor large(IntArrayRef sizes) const { return fresh(sizes, at::kFloat); }
    static Tensor fresh(IntArrayRef sizes, at::TensorOptions options) {
        return cudasim::only_count ? at::zeros(sizes, options) : at::empty(sizes, options);
    }
};

#endif

}  // namespace sgl_fast
