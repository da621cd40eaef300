#pragma once

#include "../cpu/augment.h"
#include "launch.h"

// As csrc/cpu/augment.h, on device memory, the same bits.
namespace sgl_fast {

void augment(const Stream& stream, const Augmentation& how, const uint8_t* images, const int64_t* draws, const float* levels,
             float* out);

}  // namespace sgl_fast
