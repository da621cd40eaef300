// What keeps pointers inside their tensors. RuntimeError says what is needed and what came.
#pragma once

#include <ATen/ops/empty.h>
#include <torch/csrc/utils/pybind.h>

namespace sgl_fast {

namespace py = pybind11;
using at::IntArrayRef;
using at::Tensor;

inline void need_tensor(const char* name, const Tensor& tensor, at::Device device, at::ScalarType type,
                        IntArrayRef sizes) {
    TORCH_CHECK(tensor.device() == device && tensor.scalar_type() == type && tensor.sizes() == sizes, "need ", name,
                " of size ", sizes, ", ", type, " on ", device, "; got ", tensor.sizes(), ", ", tensor.scalar_type(),
                " on ", tensor.device());
}

// The tensor, contiguous, once it is a float32 tensor of these sizes on the call's device.
template <class Call> Tensor checked(const Call& call, const char* name, const Tensor& tensor, IntArrayRef sizes) {
    need_tensor(name, tensor, call.device, at::kFloat, sizes);
    return tensor.contiguous();
}

// RuntimeError unless the tensor has that many dimensions, none of them empty.
inline IntArrayRef sizes_of(const Tensor& tensor, int64_t dimensions) {
    TORCH_CHECK(tensor.dim() == dimensions && tensor.numel() > 0, "need ", dimensions, " dimensions, none empty; got ",
                tensor.sizes());
    return tensor.sizes();
}

template <class Call> Tensor empty(const Call& call, IntArrayRef sizes, at::ScalarType type = at::kFloat) {
    return Call::fresh(sizes, at::TensorOptions(call.device).dtype(type));
}

inline const float* data(const Tensor& tensor) { return tensor.const_data_ptr<float>(); }
inline float* out(Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

}  // namespace sgl_fast
