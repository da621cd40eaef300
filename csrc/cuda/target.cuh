// Who receives gradients: inputs of convolutions and pools. Where their gradients lie, and which four pixels a thread has.
#pragma once

#include "padded.cuh"
#include "pool.cuh"
#include "bn_backward.cuh"

namespace sgl_fast {

// This thread's quad of a tile from q0 on; past the last one that.
struct QuadPlace {
    bool has;
    int y, x;
};

// The same in one register.
struct PackedPlace {
    int bits;

    __forceinline__ PackedPlace(const Tiling& tiling, const RowOrder& rows, int q0) {
        const int mine = q0 + tile_lane(tiling), q = mine < tiling.quads ? mine : tiling.quads - 1;
        bits = (mine < tiling.quads ? 0 : 1 << 31) | rows.row(tiling.y(q)) << 16 | tiling.x(q);
    }
    __forceinline__ QuadPlace unpacked() const {
        const int again = anew(bits);
        return {again >= 0, again >> 16 & 0x7fff, again & 0xffff};
    }
};

// Where the gradient of a target's channel lies.
__forceinline__ float* target_plane(const CellView& cell, const GradView& g, const Target& target, int image,
                                    int channel) {
    const long long pixels = (long long)target.H * target.W;
    const int v = image / cell.N, n = image % cell.N;
    if (target.to == To::hidden)
        return g.hidden + (((long long)image * g.hidden_count + target.index) * cell.M + channel) * pixels;
    if (target.to == To::state && target.index >= 2)
        return g.nodes + (((long long)image * (cell.nodes - 1) + target.index - 2) * cell.C + channel) * pixels;
    if (target.to == To::state && cell.preprocess)
        return g.states + (((long long)image * 2 + target.index) * cell.C + channel) * pixels;
    if (target.index == 0) return g.s[0] + v * cell.learner[0] + n * cell.image[0] + channel * pixels;
    return g.s[1] + v * cell.learner[1] + n * cell.image[1] + channel * pixels;
}

// What the norm before a target read, from its first channel on.
__forceinline__ StoragePtr target_z(const CellView& cell, const Target& target, int image) {
    if (target.to == To::hidden) return cell.saved_of(image) + target.z;
    return {cell.states + ((long long)image * 2 + target.index) * cell.C * target.H * target.W, false};
}

}  // namespace sgl_fast
