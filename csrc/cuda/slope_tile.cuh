// Slopes for tensor cores: a warp computes those of CORE channels and CORE pixels in shared memory of its own.
#pragma once

#include "core.cuh"
#include "padded.cuh"
#include "slopes.cuh"

namespace sgl_fast {

// Powers of two that take numbers, of which this is the largest, to the upper end of float16's range and products back.
struct Range {
    float up, down;
    __device__ explicit Range(float largest) {
        const int exponent = __float_as_int(largest) >> 23 & 255, held = exponent < 16 ? 16 : exponent;
        up = __int_as_float((267 - held) << 23);
        down = __int_as_float((held - 13) << 23);
    }
};

// Pixels times channels of a warp: each lane has a channel's two quads.
struct WarpTile {
    static constexpr int QUADS = CORE / 4, MINE = 2;
    float* floats;  // CORE x CORE in shared memory, the warp's own; in two parts, or as they are

    __device__ Parts parts() const { return {(unsigned short*)floats, (unsigned short*)floats + CORE * CORE, CORE}; }
    __device__ static int row() { return lane() / MINE; }
    __device__ static int side() { return lane() % MINE; }
    __device__ static int quad(int i) { return side() + MINE * i; }
    __device__ static int place(int i) { return row() * CORE + 4 * quad(i); }

    // In place of what was there, which lanes may still be reading.
    __device__ void put(const float4 (&mine)[MINE], float factor) const {
        __syncwarp();
#pragma unroll
        for (int i = 0; i < MINE; i++) parts().set(place(i), factor * mine[i]);
        __syncwarp();
    }
    __device__ void put(const Accumulator& sum) const {
        __syncwarp();
        nvcuda::wmma::store_matrix_sync(floats, sum, CORE, nvcuda::wmma::mem_row_major);
        __syncwarp();
    }
    __device__ float4 get(int i) const { return *(const float4*)(floats + place(i)); }
};

__device__ __forceinline__ float largest_of(const float4& x) {
    return fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
}

// A factor for slopes, by what the warp has of them.
__device__ __forceinline__ Range range_of(const float4 (&mine)[WarpTile::MINE]) {
    return Range(warp_max(fmaxf(largest_of(mine[0]), largest_of(mine[1]))));
}

// A plane whose neighbours' same pixels are in other banks for four channels and two quads.
__device__ __host__ inline PaddedPlane spread(PaddedPlane plane) {
    plane.floats = (plane.floats + 23) / 32 * 32 + 8;
    return plane;
}

// Quads of some rows of slopes; y is counted from the image's first row.
struct SlopeRows {
    int first, quads, W;

    __device__ int in_row() const { return (W + 3) / 4; }
    __device__ int y(int q) const { return first + q / in_row(); }
    __device__ int x(int q) const { return q % in_row() * 4; }
};

// A warp's CORE channels of slopes from o on and its tile's pixels, 0 past the rows.
__device__ __forceinline__ void read_slopes(const SlopePlanes& slopes, const SlopeFactors* factors, int o, const SlopeRows& rows, int tile,
                                            float4 (&to)[WarpTile::MINE]) {
#pragma unroll
    for (int i = 0; i < WarpTile::MINE; i++) {
        const int q = tile * WarpTile::QUADS + WarpTile::quad(i), channel = o + WarpTile::row();
        to[i] = q < rows.quads ? slopes.quad(factors[channel], channel, rows.y(q), rows.x(q), rows.W) : make_float4(0, 0, 0, 0);
    }
}

}  // namespace sgl_fast
