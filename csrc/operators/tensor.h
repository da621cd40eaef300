// Tensors by torch's stable ABI, and what keeps pointers inside them. std::runtime_error says what is needed and what
// came.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef STABLE_TORCH_ERROR_CODE_CHECK  // of headers from 2.13, which say what went wrong in torch
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

namespace sgl_fast {

using torch::headeronly::ScalarType;
using torch::stable::Device;
using torch::stable::DeviceType;
using torch::stable::Tensor;
using Library = torch::stable::detail::StableLibrary;
using Sizes = torch::headeronly::IntHeaderOnlyArrayRef;

// Defines the operator of this schema, and the function as its kernel everywhere.
template <auto Function> void add(Library& m, const char* schema) {
    m.def(schema);
    m.impl(std::string(schema, std::strchr(schema, '(')).c_str(), TORCH_BOX(Function));
}

template <class Part> void say(std::ostream& words, const Part& part) { words << part; }
inline void say(std::ostream& words, Sizes sizes) {
    words << '[';
    for (size_t i = 0; i < sizes.size(); i++) words << (i ? ", " : "") << sizes[i];
    words << ']';
}
inline void say(std::ostream& words, const std::vector<int64_t>& sizes) { say(words, Sizes(sizes)); }
inline void say(std::ostream& words, DeviceType type) {
    words << (type == DeviceType::CPU    ? "cpu"
              : type == DeviceType::CUDA ? "cuda"
              : type == DeviceType::Meta ? "meta"
                                         : "another device");
}
inline void say(std::ostream& words, const Device& device) {
    say(words, device.type());
    if (device.has_index()) words << ':' << device.index();
}

// std::runtime_error of these words unless it holds.
template <class... Parts> void need(bool holds, const Parts&... parts) {
    if (holds) return;
    std::ostringstream words;
    (say(words, parts), ...);
    throw std::runtime_error(words.str());
}

inline void need_tensor(const char* name, const Tensor& tensor, const Device& device, ScalarType type, Sizes sizes) {
    need(tensor.device() == device && tensor.scalar_type() == type && tensor.sizes().equals(sizes), "need ", name,
         " of size ", sizes, ", ", type, " on ", device, "; got ", tensor.sizes(), ", ", tensor.scalar_type(), " on ",
         tensor.device());
}

inline Tensor contiguous_of(const Tensor& tensor) {
    return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

// The tensor, contiguous, once it is a float32 tensor of these sizes on the call's device.
template <class Call> Tensor checked(const Call& call, const char* name, const Tensor& tensor, Sizes sizes) {
    need_tensor(name, tensor, call.device, ScalarType::Float, sizes);
    return contiguous_of(tensor);
}

// std::runtime_error unless the tensor has that many dimensions, none of them empty.
inline Sizes sizes_of(const Tensor& tensor, int64_t dimensions) {
    need(tensor.dim() == dimensions && tensor.numel() > 0, "need ", dimensions, " dimensions, none empty; got ",
         tensor.sizes());
    return tensor.sizes();
}

// Strides of a contiguous tensor.
inline std::vector<int64_t> dense_strides(Sizes sizes) {
    std::vector<int64_t> strides(sizes.size(), 1);
    for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(sizes[i], 1);
    return strides;
}

// Torch's own numbers of a dtype and of a kind of device.
template <class Kind> int32_t code_of(Kind kind) {
    return torch::stable::detail::to<int32_t>(torch::stable::detail::from(kind));
}

inline Tensor empty_strided(const Device& device, Sizes sizes, Sizes strides, ScalarType type = ScalarType::Float) {
    AtenTensorHandle made = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(sizes.size(), sizes.data(), strides.data(), code_of(type),
                                                           code_of(device.type()), device.index(), &made));
    return Tensor(made);
}

inline Tensor empty_on(const Device& device, Sizes sizes, ScalarType type) {
    return empty_strided(device, sizes, dense_strides(sizes), type);
}

template <class Call> Tensor empty(const Call& call, Sizes sizes, ScalarType type = ScalarType::Float) {
    return Call::fresh(call.device, sizes, type);
}

inline const float* data(const Tensor& tensor) { return tensor.const_data_ptr<float>(); }
inline float* out(Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

}  // namespace sgl_fast
