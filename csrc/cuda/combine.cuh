// A node: the sum over its in-edges of edge weight * (op weight * normalised result, or the state itself). A block an
// image and some channels.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

// PC-DARTS's shuffle: every partial-th channel of a node is a mixed one, the others bypass.
struct Channel {
    bool bypasses;
    int at;  // which mixed channel; which channel of the state
    Channel(const CellView& cell, int channel) {
        const int first = channel / cell.partial, after = channel - first * cell.partial;
        bypasses = after != 0;
        at = after * cell.M + first;
    }
};

// What a skip's dropout leaves of four pixels of mixed channel m. mask: which one; -1: none
__forceinline__ float4 dropped(const CellView& cell, int mask, const float4& four, int image, int m, int y, int x) {
    if (!cell.dropout || mask < 0) return four;
    const long long plane = ((long long)mask * cell.images() + image) * cell.M + m;
    const unsigned char* row = cell.dropout + plane * cell.pixels() + y * cell.out_W + x;
    const int W = cell.out_W - x;
    const unsigned bits = row[0] | (W > 1 ? row[1] : 0) << 1 | (W > 2 ? row[2] : 0) << 2 | (W > 3 ? row[3] : 0) << 3;
    return masked(*cell.dropout_scale * four, bits);
}

// What an edge passes on of a bypassing channel, as a plane of its own.
__forceinline__ Planes bypass_of(const CellView& cell, const InEdge& edge, int image, int channel) {
    if (edge.bypass_z < 0) return state_of(cell, edge.source, image / cell.N, image % cell.N).from(channel);
    const StoragePtr plane = cell.saved_of(image) + edge.bypass_z + (long long)(channel - cell.M) * cell.pixels();
    return {plane, cell.out_H, cell.out_W, nullptr, nullptr};
}

// An operation's result with its norm.
__forceinline__ Planes result_of(const CellView& cell, const Term& term, int image) {
    const int v = image / cell.N;
    return {cell.saved_of(image) + term.z, cell.out_H, cell.out_W, cell.mean(v) + term.norm, cell.scale(v) + term.norm};
}

__forceinline__ float4 mixed(const CellView& cell, const InEdge& edge, int image, int m, int y, int x) {
    const int v = image / cell.N;
    const float whole = cell.edge_weight(v, edge.edge);
    float4 total = make_float4(0, 0, 0, 0);
    for (int t = 0; t < edge.terms; t++) {
        const Term& term = edge.term[t];
        const bool skips = term.norm == NO_NORM;
        const Planes from = skips ? state_of(cell, edge.source, v, image % cell.N) : result_of(cell, term, image);
        float4 four = from.quad(m, y, x);
        if (skips && term.op >= 0) four = dropped(cell, edge.dropout, four, image, m, y, x);
        total += whole * cell.op_weight(v, edge.edge, term.op) * four;
    }
    return total;
}

}  // namespace sgl_fast
