#pragma once

#include "call.h"

namespace sgl_fast {

// images (M, C, H, W), draws (N, 6), levels (C, 256) -> (N, C, H, W)
template <class Call>
Tensor augment_of(const Tensor& images, const Tensor& draws, const Tensor& levels, int64_t crop, int64_t cutout) {
    const Call call(images);
    const Sizes size = sizes_of(images, 4);
    const int64_t N = sizes_of(draws, 2)[0], C = size[1], H = size[2], W = size[3];
    need_tensor("images", images, call.device, ScalarType::Byte, size);
    need_tensor("draws", draws, call.device, ScalarType::Long, {N, 6});
    need(H * W <= 256 * 65535 && crop >= 0 && crop < 1 << 20 && cutout >= 0 && cutout < 1 << 20,
         "need at most 16,776,960 pixels, crop and cutout from 0 to 2^20; got ", H, " x ", W, ", ", crop, ", ", cutout);
    const bool dense = images.stride(3) == 1 && images.stride(2) == W;
    const Tensor pixels = dense ? images : contiguous_of(images), table = contiguous_of(draws);
    const Tensor values = checked(call, "levels", levels, {C, 256});
    Tensor batch = empty(call, {N, C, H, W});
    const Augmentation how{size[0], N, C, H, W, crop, cutout, pixels.stride(0), pixels.stride(1)};
    augment(call.queue, how, pixels.const_data_ptr<uint8_t>(), table.const_data_ptr<int64_t>(), data(values),
            out(batch));
    return batch;
}

template <class Call> void add_augment(Library& m) {
    add<&augment_of<Call>>(m, "augment(Tensor images, Tensor draws, Tensor levels, int crop, int cutout) -> Tensor");
}

}  // namespace sgl_fast
