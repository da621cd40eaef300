// The random words of a mask: a counter-based generator, so that any thread can start at any position.
#pragma once

#include <cstdint>

#include "simd.h"

ISA_NAMESPACE_BEGIN

// A bijection of 32-bit words, each of whose bits depends on all of x about evenly.
INLINE uint32_t hash(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// Positions first to first + count of a mask.
inline void keep_run(uint32_t count, uint32_t first, uint32_t threshold, int64_t seed, uint32_t number,
                     uint8_t* __restrict kept) {
    const uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32);
    const uint32_t start = hash(low ^ hash(high + 0x9e3779b9u)), b = high ^ hash(start + number);
    const uint32_t a = start ^ hash(b + 0x9e3779b9u);
    for (uint32_t i = 0; i < count; i++) kept[i] = hash(hash((first + i) ^ a) + b) >> 8 >= threshold;
}

ISA_NAMESPACE_END
