#pragma once

#include "call.h"

namespace sgl_fast {

// (masks, V, N, C, H, W) bool; size [N, C, H, W]; threshold () int32
template <class Call>
Tensor dropout_masks_of(const Tensor& seeds, int64_t masks, int64_t first, const std::vector<int64_t>& size,
                        const Tensor& threshold) {
    const Call call(seeds);
    const int64_t V = sizes_of(seeds, 1)[0];
    need_tensor("seeds", seeds, call.device, ScalarType::Long, {V});
    need_tensor("threshold", threshold, call.device, ScalarType::Int, {});
    need(size.size() == 4 && masks > 0, "need one mask or more of size (N, C, H, W); got ", masks, " of ", size);
    const int64_t P = size[0] * size[1] * size[2] * size[3];
    need(P > 0 && P < int64_t{1} << 31, "need from 1 to 2^31 - 1 numbers a mask; got ", size);
    const Tensor own = contiguous_of(seeds);
    Tensor kept = empty(call, {masks, V, size[0], size[1], size[2], size[3]}, ScalarType::Bool);
    dropout_masks(call.queue, masks, V, P, static_cast<uint32_t>(first), threshold.const_data_ptr<int32_t>(),
                  own.const_data_ptr<int64_t>(), reinterpret_cast<uint8_t*>(kept.mutable_data_ptr<bool>()));
    return kept;
}

template <class Call> void add_skip_dropout(Library& m) {
    add<&dropout_masks_of<Call>>(
        m, "dropout_masks(Tensor seeds, int masks, int first, int[] size, Tensor threshold) -> Tensor");
}

}  // namespace sgl_fast
