// A node: the sum over its in-edges of edge weight * (op weight * normalised result, or the state itself). A block an
// image and some channels.
#pragma once

#include "cell.cuh"

namespace sgl_fast {

constexpr int MOST_TERMS = 9;       // operations of an edge, and an auxiliary skip
constexpr int MOST_IN_EDGES = 17;   // of a node

// One operation's result: saved planes and their norm, or (norm NO_NORM) the state itself.
struct Term {
    int op;    // of op_weights; -1: the auxiliary skip
    int z, norm;
};

struct InEdge {
    int edge, source, bypass_z;  // bypass_z: of pooled bypassing channels; -1: the state's own
    int dropout;                 // mask of the skip; -1: none
    int terms;
    Term term[MOST_TERMS];
};

struct NodeJob {
    int node, edges;
    InEdge edge[MOST_IN_EDGES];
};

// PC-DARTS's shuffle: every partial-th channel of a node is a mixed one, the others bypass.
struct Channel {
    bool bypasses;
    int at;  // which mixed channel; which channel of the state
    __device__ Channel(const CellView& cell, int channel) {
        const int partial = cell.C / cell.M;
        bypasses = channel % partial != 0;
        at = bypasses ? channel % partial * cell.M + channel / partial : channel / partial;
    }
};

// What a skip's dropout leaves of a pixel of mixed channel m. mask: which one; -1: none
__device__ __forceinline__ float dropped(const CellView& cell, int mask, float x, int image, int m, int index) {
    if (!cell.dropout || mask < 0) return x;
    const long long plane = ((long long)mask * cell.images() + image) * cell.M + m;
    return cell.dropout[plane * cell.pixels() + index] ? x * cell.dropout_scale : 0.0f;
}

__device__ __forceinline__ float bypassed(const CellView& cell, const InEdge& edge, int image, int channel, int index) {
    if (edge.bypass_z >= 0)
        return cell.planes_of(image)[edge.bypass_z + (long long)(channel - cell.M) * cell.pixels() + index];
    return state_of(cell, edge.source, image / cell.N, image % cell.N).pixel(channel, index);
}

__device__ __forceinline__ float mixed(const CellView& cell, const InEdge& edge, int image, int m, int index) {
    const int v = image / cell.N;
    const float whole = cell.edge_weight(v, edge.edge);
    float total = 0;
    for (int t = 0; t < edge.terms; t++) {
        const Term& term = edge.term[t];
        float x;
        if (term.norm == NO_NORM) {
            x = state_of(cell, edge.source, v, image % cell.N).pixel(m, index);
            if (term.op >= 0) x = dropped(cell, edge.dropout, x, image, m, index);
        } else {
            const int norm = term.norm + m;
            x = cell.planes_of(image)[term.z + (long long)m * cell.pixels() + index];
            x = (x - cell.mean(v)[norm]) * cell.scale(v)[norm];
        }
        total += whole * cell.op_weight(v, edge.edge, term.op) * x;
    }
    return total;
}

__global__ void __launch_bounds__(CELL_THREADS, 5) combine_kernel(CellView cell, NodeJob job) {
    const int image = blockIdx.x, v = image / cell.N, pixels = cell.pixels();
    float* to = cell.out + ((long long)image * cell.nodes + job.node) * cell.C * pixels;
    for (int i = blockIdx.y * CELL_THREADS + threadIdx.x; i < cell.C * pixels; i += gridDim.y * CELL_THREADS) {
        const Channel channel(cell, i / pixels);
        float total = 0;
        for (int e = 0; e < job.edges; e++) {
            const InEdge& edge = job.edge[e];
            total += channel.bypasses ? cell.edge_weight(v, edge.edge) * bypassed(cell, edge, image, channel.at, i % pixels)
                                      : mixed(cell, edge, image, channel.at, i % pixels);
        }
        to[i] = total;
    }
}

// In evaluation the running statistics are the norms': mean and variance are given, the scale is missing.
__global__ void __launch_bounds__(CELL_THREADS) evaluation_kernel(CellView cell) {
    float* stats = cell.stats + (long long)blockIdx.x * 3 * cell.norms;
    for (int c = threadIdx.x; c < cell.norms; c += CELL_THREADS)
        stats[cell.norms + c] = (float)(1 / sqrt((double)stats[2 * cell.norms + c] + EPS));
}

}  // namespace sgl_fast
