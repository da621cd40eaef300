// Planes in shared memory with a border of zeros, so that no window asks where it is.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

// Zeros, in whole quads.
__forceinline__ void clear(float* to, int floats) {
    for (int i = threadIdx.x; i < floats / 4; i += CELL_THREADS) ((float4*)to)[i] = make_float4(0, 0, 0, 0);
}

// quad(channel, y, x) of `count` channels and the first `quads` quads of their planes; the border stays as it is.
template <class Quad>
__forceinline__ void load_padded(const Tiling& tiling, int quads, int count, const PaddedPlane& plane, float* to,
                                 const Quad& quad) {
    for (int q = tile_lane(tiling); q < quads; q += tiling.lanes) {
        const int y = tiling.y(q), x = tiling.x(q);
        float* at = to + plane.at(y, x);
        for (int c = tile_group(tiling); c < count; c += tiling.groups)
            *(float4*)(at + c * plane.floats) = quad(c, y, x);
    }
}

}  // namespace sgl_fast
