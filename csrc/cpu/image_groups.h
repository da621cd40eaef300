// A weight gradient is a sum over images. One thread sums each group of images, and the groups are added in their order
// (split-K). Which images form a group depends on sizes alone, so that any number of threads gives the same bits.
#pragma once

#include <cstddef>

namespace sgl_fast {

struct Pool;  // pool.h

// At most 16 groups of N images, each of enough pixels to be worth the memory of its sum.
int images_per_group(int N, size_t pixels);

// sums[v] = the sum over g of groups[v][g]; (V, G, P) -> (V, P).
void sum_groups(const Pool& pool, int V, int G, size_t P, const float* groups, float* sums);

}  // namespace sgl_fast
