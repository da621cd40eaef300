// Where a call's tensors are and where its kernels run: one struct a device, made from the call's first tensor. `queue`
// is what the operators of csrc/*.h take first.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <dlfcn.h>

#include <vector>

#include "../augment.h"
#include "../cpu/blocks.h"
#include "../cpu/pool.h"
#include "../cuda/driver.h"
#include "../cuda/launch.h"
#include "../flat_update.h"
#include "../mixed_cell.h"
#include "../pseudo_label.h"
#include "../skip_dropout.h"

namespace sgl_fast {

using at::IntArrayRef;
using at::Tensor;

// RuntimeError unless the tensor is on such a device, which is returned.
inline at::Device device_of(const Tensor& tensor, at::DeviceType type) {
    TORCH_CHECK(tensor.device().type() == type, "need tensors on ", type, "; got one on ", tensor.device());
    return tensor.device();
}

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

// torch's current stream of a device, a cudaStream_t, by torch's C interface for extensions: this library is not linked with
// that part of torch, which CPU builds lack.
inline void* current_stream(int device) {
    if (driver().counting) return nullptr;
    using Get = int32_t(int32_t, void**);
    static Get* const get = [] {
        void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
        TORCH_CHECK(library, "need a torch with CUDA");
        return reinterpret_cast<Get*>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
    }();
    void* stream = nullptr;
    TORCH_CHECK(get && !get(device, &stream), "need torch's current stream of device ", device);
    return stream;
}

// On torch's current stream of the tensors' device.
struct CudaCall {
    static constexpr bool stores_half = true;
    at::Device device;
    c10::DeviceGuard guard{device};
    std::vector<Tensor> held{};  // memory of the call's kernels, which torch keeps until they are done
    Stream queue;

    explicit CudaCall(const Tensor& tensor) : device(device_of(tensor, driver().counting ? at::kCPU : at::kCUDA)) {
        const int index = std::max<int>(device.index(), 0);
        queue = {current_device(index), current_stream(index), more, this};
    }
    CudaCall(const CudaCall&) = delete;

    static Tensor fresh(IntArrayRef sizes, at::TensorOptions options) {
        const bool* counting = driver().counting;
        return counting && *counting ? at::zeros(sizes, options) : at::empty(sizes, options);
    }
    Tensor large(IntArrayRef sizes) const { return fresh(sizes, at::TensorOptions(device).dtype(at::kFloat)); }

  private:
    static void* more(void* call, size_t bytes) {
        CudaCall& own = *static_cast<CudaCall*>(call);
        own.held.push_back(at::empty({static_cast<int64_t>(bytes)}, at::TensorOptions(own.device).dtype(at::kByte)));
        return own.held.back().mutable_data_ptr();
    }
};

}  // namespace sgl_fast
