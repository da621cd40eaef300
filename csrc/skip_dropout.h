// Skip dropout: which elements of a tensor stay, as a function of the seed, the mask's number and the position alone.
#pragma once

#include <cstdint>

namespace sgl_fast {

struct Pool;    // cpu/pool.h
struct Stream;  // cuda/launch.h

// seeds (V) -> kept (masks, V, P) of 0 and 1: mask number `first` + m of seed v keeps position p < 2^32 where the upper
// 24 bits of its random word are threshold or more, out of 2^24. CPU and CUDA give the same bits. threshold: one number,
// on the device of the masks.
void dropout_masks(const Pool& pool, int64_t masks, int64_t V, int64_t P, uint32_t first,
                   const int32_t* threshold, const int64_t* seeds, uint8_t* kept);
void dropout_masks(const Stream& stream, int64_t masks, int64_t V, int64_t P, uint32_t first,
                   const int32_t* threshold, const int64_t* seeds, uint8_t* kept);

}  // namespace sgl_fast
