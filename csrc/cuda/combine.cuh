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

// What up to N of an edge's terms with norms add, from t on, by the weights of operations; the loads of all start before one is
// used.
template <int N>
__forceinline__ float4 normed_terms(const CellView& cell, const InEdge& edge, int image, int t, int m, int y, int x) {
    const int v = image / cell.N, W = cell.out_W;
    const float *means = cell.mean(v) + m, *scales = cell.scale(v) + m;
    float mean[N], scale[N], weight[N];
    int at[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const bool has = t + i < edge.normed;
        const Term& term = edge.term[has ? t + i : t];
        at[i] = term.z + y * W + x;
        mean[i] = means[term.norm];
        scale[i] = scales[term.norm];
        weight[i] = has ? cell.op_weight(v, edge.edge, term.op) : 0;
    }
    float4 four[N], total = make_float4(0, 0, 0, 0);
    read_quads(cell.saved_of(image) + (long long)m * cell.pixels(), at, W - x, W % 4 == 0, four);
#pragma unroll
    for (int i = 0; i < N; i++)
        total += weight[i] * scale[i] *
                 make_float4(four[i].x - mean[i], four[i].y - mean[i], four[i].z - mean[i], four[i].w - mean[i]);
    return within(total, x, W);
}

// Four pixels of mixed channel m, along one edge.
__forceinline__ float4 mixed(const CellView& cell, const InEdge& edge, int image, int m, int y, int x) {
    constexpr int N = 3;
    const int v = image / cell.N;
    float4 total = make_float4(0, 0, 0, 0);
    for (int t = 0; t < edge.normed; t += N) total += normed_terms<N>(cell, edge, image, t, m, y, x);
    for (int t = edge.normed; t < edge.terms; t++) {
        const Term& term = edge.term[t];
        float4 four = state_of(cell, edge.source, v, image % cell.N).quad(m, y, x);
        if (term.op >= 0) four = dropped(cell, edge.dropout, four, image, m, y, x);
        total += cell.op_weight(v, edge.edge, term.op) * four;
    }
    return cell.edge_weight(v, edge.edge) * total;
}

}  // namespace sgl_fast
