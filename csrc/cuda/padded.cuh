// Planes in shared memory with a border of zeros, so that no window asks where it is.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

// Zeros, in whole quads.
__forceinline__ void clear(float* to, int floats, int first = (int)threadIdx.x) {
    for (int i = first; i < floats / 4; i += CELL_THREADS) ((float4*)to)[i] = make_float4(0, 0, 0, 0);
}

// Floats FIRST .. LAST from a multiple of 16 bytes on; the others of `to` stay as they are.
template <int FIRST, int LAST, int N> __forceinline__ void read_some(const float* at, float (&to)[N]) {
#pragma unroll
    for (int i = FIRST / 4 * 4; i <= LAST; i += 4) {
        const bool left = i + 1 >= FIRST, right = i + 2 <= LAST;  // more than one float of the pair
        if (left && right) {
            const float4 four = *(const float4*)(at + i);
            to[i] = four.x;
            to[i + 1] = four.y;
            to[i + 2] = four.z;
            to[i + 3] = four.w;
        } else if (left && i + 1 == LAST) {
            const float2 two = *(const float2*)(at + i);
            to[i] = two.x;
            to[i + 1] = two.y;
        } else if (right && i + 2 == FIRST) {
            const float2 two = *(const float2*)(at + i + 2);
            to[i + 2] = two.x;
            to[i + 3] = two.y;
        } else {
            const int one = left ? i : i + 3;
            to[one] = at[one];
        }
    }
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
