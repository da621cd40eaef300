// Where a call's tensors are and where its kernels run: one struct a device, made from the call's first tensor. `queue`
// is what the operators of csrc/*.h take first.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include <optional>
#include <vector>

#include "../augment.h"
#include "../cpu/blocks.h"
#include "../cpu/pool.h"
#include "../cuda/driver.h"
#include "../cuda/launch.h"
#include "../flat_update.h"
#include "../mixed_cell.h"
#include "../oldest_system.h"
#include "../pseudo_label.h"
#include "../skip_dropout.h"
#include "tensor.h"

namespace sgl_fast {

// std::runtime_error unless the tensor is on such a device, which is returned.
inline Device device_of(const Tensor& tensor, DeviceType type) {
    const Device device = tensor.device();
    need(device.type() == type, "need tensors on ", type, "; got one on ", device);
    return device;
}

inline void run_on_torch(int count, void (*task)(void*, int), void* context) {
    torch::stable::parallel_for(0, count, 1, [=](int64_t begin, int64_t end) {
        for (int64_t index = begin; index < end; ++index) task(context, static_cast<int>(index));
    });
}

// A tensor over a block of blocks.h, which goes back there with the tensor. Torch can be told so from 2.11; older ones
// allocate themselves.
inline Tensor blocked(const Device& device, Sizes sizes) {
    using FromBlob = AOTITorchError(void*, int64_t, const int64_t*, const int64_t*, int64_t, int32_t, int32_t, int32_t,
                                    AtenTensorHandle*, int32_t, const uint8_t*, int64_t, void (*)(void*, void*), void*);
    static FromBlob* const from_blob = reinterpret_cast<FromBlob*>(dlsym(RTLD_DEFAULT, "torch_from_blob"));
    if (!from_blob) return empty_on(device, sizes, ScalarType::Float);
    size_t floats = 1;
    for (int64_t size : sizes) floats *= size;
    float* block = take_block(floats);
    AtenTensorHandle made = nullptr;
    const auto give = [](void* memory, void*) { give_block(static_cast<float*>(memory)); };
    STABLE_TORCH_ERROR_CODE_CHECK(from_blob(block, sizes.size(), sizes.data(), dense_strides(sizes).data(), 0,
                                            aoti_torch_dtype_float32(), aoti_torch_device_type_cpu(), -1, &made,
                                            aoti_torch_layout_strided(), nullptr, 0, give, nullptr));
    return Tensor(made);
}

struct CpuCall {
    static constexpr bool stores_half = false;
    Device device;
    Pool queue{static_cast<int>(torch::stable::get_num_threads()), run_on_torch};

    explicit CpuCall(const Tensor& tensor) : device(device_of(tensor, DeviceType::CPU)) {}

    static Tensor fresh(const Device& device, Sizes sizes, ScalarType type) { return empty_on(device, sizes, type); }
    Tensor large(Sizes sizes) const { return blocked(device, sizes); }
};

// torch's current stream of a device, a cudaStream_t, by torch's C interface for extensions: this library is not linked with
// that part of torch, which CPU builds lack.
inline void* current_stream(int device) {
    if (driver().counting) return nullptr;
    using Get = int32_t(int32_t, void**);
    static Get* const get = [] {
        void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
        need(library, "need a torch with CUDA");
        return reinterpret_cast<Get*>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
    }();
    void* stream = nullptr;
    need(get && !get(device, &stream), "need torch's current stream of device ", device);
    return stream;
}

// On torch's current stream of the tensors' device.
struct CudaCall {
    static constexpr bool stores_half = true;
    Device device;
    std::optional<torch::stable::accelerator::DeviceGuard> guard;
    std::vector<Tensor> held{};  // memory of the call's kernels, which torch keeps until they are done
    Stream queue;

    explicit CudaCall(const Tensor& tensor)
        : device(device_of(tensor, driver().counting ? DeviceType::CPU : DeviceType::CUDA)) {
        if (device.type() == DeviceType::CUDA) guard.emplace(device.index());
        const int index = std::max<int>(device.index(), 0);
        queue = {current_device(index), current_stream(index), more, this};
    }
    CudaCall(const CudaCall&) = delete;

    static Tensor fresh(const Device& device, Sizes sizes, ScalarType type) {
        Tensor made = empty_on(device, sizes, type);
        const bool* counting = driver().counting;
        if (counting && *counting) torch::stable::zero_(made);
        return made;
    }
    Tensor large(Sizes sizes) const { return fresh(device, sizes, ScalarType::Float); }

  private:
    static void* more(void* call, size_t bytes) {
        CudaCall& own = *static_cast<CudaCall*>(call);
        own.held.push_back(empty_on(own.device, {static_cast<int64_t>(bytes)}, ScalarType::Byte));
        return own.held.back().mutable_data_ptr();
    }
};

}  // namespace sgl_fast
