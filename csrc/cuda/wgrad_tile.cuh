// grad z for tensor cores: a warp computes that of WMMA channels and WMMA pixels in shared memory of its own.
#pragma once

#include "tensor_core.cuh"
#include "wgrad_job.cuh"

namespace sgl_fast {

// Powers of two that take numbers, of which this is the largest, to the upper end of float16's range and products back.
struct Range {
    float up, down;
    explicit Range(float largest) {
        const int exponent = __float_as_int(largest) >> 23 & 255, held = exponent < 16 ? 16 : exponent;
        up = __int_as_float((267 - held) << 23);
        down = __int_as_float((held - 13) << 23);
    }
};

// Pixels times channels of a warp: each lane has a channel's two quads.
struct WarpTile {
    static constexpr int QUADS = WMMA / 4, MINE = 2;
    float* floats;  // WMMA x WMMA in shared memory, the warp's own; in two parts, or as they are

    Parts parts() const { return {(unsigned short*)floats, (unsigned short*)floats + WMMA * WMMA, WMMA}; }
    static int row() { return lane_of_warp() / MINE; }
    static int side() { return lane_of_warp() % MINE; }
    static int quad(int i) { return side() + MINE * i; }
    static int place(int i) { return row() * WMMA + 4 * quad(i); }

    // In place of what was there, which lanes may still be reading.
    void put(const float4 (&mine)[MINE], float factor) const {
        __syncwarp();
#pragma unroll
        for (int i = 0; i < MINE; i++) parts().set(place(i), factor * mine[i]);
        __syncwarp();
    }
    void put(const Accumulator& sum) const {
        __syncwarp();
        store_matrix(floats, sum, WMMA);
        __syncwarp();
    }
};

__forceinline__ float largest_of(const float4& x) {
    return fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
}

// A factor for grad z, by what the warp has of it.
__forceinline__ Range range_of(const float4 (&mine)[WarpTile::MINE]) {
    return Range(warp_max(fmaxf(largest_of(mine[0]), largest_of(mine[1]))));
}

// Quads of some rows of grad z; y is counted from the image's first row.
struct GradZRows {
    int first, quads, W;
    const Tiling& tiling;  // of planes

    int y(int q) const { return first + tiling.y(q); }
    int x(int q) const { return tiling.x(q); }
};

// Four pixels of rows of W from each of N places on, of which left[i] are there; the others are any.
template <int N>
__forceinline__ void read_quads(const StoragePtr& from, const int (&at)[N], const int (&left)[N], int W,
                                float4 (&to)[N]) {
    if (W % 4 == 0) return read_quads(from, at, 4, true, to);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int one[1] = {at[i]};
        float4 four[1];
        read_quads(from, one, left[i], false, four);
        to[i] = four[0];
    }
}

// A warp's WMMA channels of grad z from o on and its tile's pixels, 0 past the rows.
__forceinline__ void read_grad_z(const GradZPlanes& grad_z, const BnFactors* factors, int o, const GradZRows& rows,
                                 int tile, float4 (&to)[WarpTile::MINE]) {
    const int channel = o + WarpTile::row();
    int dy_at[WarpTile::MINE], z_at[WarpTile::MINE], left[WarpTile::MINE];
    float4 z[WarpTile::MINE];
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) {
        const int mine = tile * WarpTile::QUADS + WarpTile::quad(i), q = mine < rows.quads ? mine : 0, x = rows.x(q);
        dy_at[i] = channel * grad_z.dy_step + rows.y(q) * rows.W + x;
        z_at[i] = channel * grad_z.z_step + rows.y(q) * rows.W + x;
        left[i] = mine < rows.quads ? rows.W - x : 0;
    }
    read_quads({(void*)grad_z.dy, false}, dy_at, left, rows.W, to);
    read_quads(grad_z.z, z_at, left, rows.W, z);
    const BnFactors f = factors[channel];
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) to[i] = GradZPlanes::quad(f, to[i], z[i], 0, left[i]);
}

}  // namespace sgl_fast
