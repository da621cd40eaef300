#pragma once

#include <cstdint>

#include "launch.h"

// As csrc/cpu/skip_dropout.h, on device memory, the same bits.
namespace sgl_fast {

void dropout_masks(const Stream& stream, int64_t masks, int64_t V, int64_t P, uint32_t first, uint32_t threshold,
                   const int64_t* seeds, uint8_t* kept);

}  // namespace sgl_fast
