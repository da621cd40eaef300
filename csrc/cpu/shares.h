#pragma once

#include <cstddef>

#include "pool.h"

// Gradients of weights are sums over images. They are taken share by share, each by one thread, and the shares added in
// their order: which images a share has is a matter of sizes alone, and with that the numbers on any number of threads.
namespace sgl_fast {

// Images of a share: enough pixels to be worth its memory, and at most 16 shares of N images.
int images_of_share(int N, size_t pixels);

// sums[v] = the sum over s of shares[v][s]; (V, S, P) -> (V, P).
void add_shares(const Pool& pool, int V, int S, size_t P, const float* shares, float* sums);

}  // namespace sgl_fast
