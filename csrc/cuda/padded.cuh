// Planes in shared memory with a border of zeros, so that no window asks where it is.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

constexpr int PAD = 4;  // what a dilated 5x5 kernel reaches past the border

// Of planes that windows read which reach so far past their middle: quads stay aligned.
__host__ __device__ constexpr int pad_for(int reach) { return reach <= PAD ? PAD : 2 * PAD; }

// A channel that windows of this stride read for out_H x out_W outputs. A row's right border is the next one's left border.
struct PaddedPlane {
    int pad, row, floats;
    __host__ __device__ PaddedPlane(int stride, int out_H, int out_W, int pad = PAD)
        : pad(pad), row(stride * ((out_W + 3) / 4 * 4) + pad), floats((stride * out_H + 2 * pad) * row + pad) {}
    // Of the pixel (y, x).
    __host__ __device__ int at(int y, int x) const { return (y + pad) * row + x + pad; }
};

// Zeros, in whole quads.
__device__ __forceinline__ void clear(float* to, int floats) {
    for (int i = threadIdx.x; i < floats / 4; i += CELL_THREADS) ((float4*)to)[i] = make_float4(0, 0, 0, 0);
}

// quad(channel, y, x) of `count` channels and H x W pixels; the border stays as it is.
template <class Quad>
__device__ __forceinline__ void load_padded(int H, int W, int count, const PaddedPlane& plane, float* to, const Quad& quad) {
    const Tiling tiling(H, W);
    for (int q = tiling.mine(); q < tiling.quads; q += tiling.lanes) {
        const int y = q / tiling.quads_in_row, x = q % tiling.quads_in_row * 4;
        float* at = to + plane.at(y, x);
        for (int c = tiling.group(); c < count; c += tiling.groups) *(float4*)(at + c * plane.floats) = quad(c, y, x);
    }
}

}  // namespace sgl_fast
