#pragma once

#include <cstdint>

#include "pool.h"

// Skip dropout: which numbers of a tensor stay, as a function of the seed, the mask's number and the position alone.
namespace sgl_fast {

// kept (masks, V, P) of 0 and 1: mask number `first` + m of seed v keeps a position where the upper 24 bits of its word are
// threshold or more, out of 2^24. Position p < 2^32; seeds (V).
void dropout_masks(const Pool& pool, int64_t masks, int64_t V, int64_t P, uint32_t first, uint32_t threshold,
                   const int64_t* seeds, uint8_t* kept);

}  // namespace sgl_fast
