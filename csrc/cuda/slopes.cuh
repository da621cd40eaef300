// Gradients on their way through batch norms: sums over a node's in-edges, and what the input of a norm receives.
#pragma once

#include "combine.cuh"

namespace sgl_fast {

// Memory of a backward.
struct GradView {
    const float* grad;         // (V, N, nodes, C, pixels): of the output
    float* nodes;              // (V, N, nodes - 1, C, pixels): of the nodes but the last
    float* states;             // (V, N, 2, C, H, W): of the preprocessed inputs
    float* hidden;             // (V, N, hidden activations, M, pixels): of what second halves of separable convolutions read
    int hidden_count;
    float* s[2];               // of the inputs, strides as theirs; null where not wanted
    float *along_one, *along_z, *dot;    // (V, norms): mean of g; mean of g * (z - mean) / variance; sum of g * normalised z
    float *partial_one, *partial_z;      // (V, N, norms): an image's sums of g and of g * (z - mean)
    float *skip, *bypass;                // (V, N, E): sums of g * x over the mixed, over the bypassing channels
    unsigned* tickets;                   // (V, norms + nodes), 0 before the call
    unsigned* image_tickets;             // (nodes, V, N), 0 before the call
};

// Gradient of a node: complete once the states after it are done.
__device__ __forceinline__ const float* node_gradient(const CellView& cell, const GradView& g, int node, int image) {
    const long long plane = (long long)cell.C * cell.pixels();
    if (node + 1 == cell.nodes) return g.grad + ((long long)image * cell.nodes + node) * plane;
    return g.nodes + ((long long)image * (cell.nodes - 1) + node) * plane;
}

enum class Above { node, hidden, state };

// Whose gradient a norm's output receives, times which weight; the norm's input is z.
struct Slope {
    Above above;
    int index;        // of the node, the hidden activation, the state
    int channel;      // the first one
    int z, norm;
    int edge, op;     // of the weight; edge -1: 1; op -1: the auxiliary skip
};

// What a channel of a norm's input receives from g, the gradient of weight times the norm's output.
struct SlopeFactors {
    float factor, one, mean, along;
    __device__ float of(float g, float z) const { return factor * (g - one - (z - mean) * along); }
};

// The planes of a slope in one image.
struct SlopePlanes {
    const float* g;
    Numbers z;
    int g_step, z_step;  // from channel to channel
    float weight;
    int at;                    // of the first channel in (V, norms)
    int norm;

    __device__ SlopePlanes(const CellView& cell, const GradView& grads, const Slope& s, int image) {
        const int v = image / cell.N;
        const int pixels = cell.pixels(), in_pixels = cell.H * cell.W;
        z = cell.planes_of(image) + s.z;
        g_step = z_step = pixels;
        if (s.above == Above::node) {
            g_step = cell.C / cell.M * pixels;
            g = node_gradient(cell, grads, s.index, image) + s.channel * g_step;
        } else if (s.above == Above::hidden) {
            g = grads.hidden + ((long long)image * grads.hidden_count + s.index) * cell.M * pixels;
        } else {
            const long long plane = ((long long)image * 2 + s.index) * cell.C + s.channel;
            g = grads.states + plane * in_pixels;
            z = {cell.states + plane * in_pixels, false};
            g_step = z_step = in_pixels;
        }
        weight = s.edge < 0 ? 1.0f : cell.term_weight(v, s.edge, s.op);
        norm = s.norm;
        at = v * cell.norms + norm;
    }
    __device__ SlopeFactors factors(const CellView& cell, const GradView& grads, int channel) const {
        const int v = at / cell.norms;
        return {weight * cell.scale(v)[norm + channel], grads.along_one[at + channel], cell.mean(v)[norm + channel],
                grads.along_z[at + channel]};
    }
    // Four pixels of a row of W from x on, 0 past its end.
    __device__ float4 quad(const SlopeFactors& f, int channel, int y, int x, int W) const {
        const float4 a = read_quad(g + channel * g_step + y * W, x, W), b = read_quad(z + channel * z_step + y * W, x, W);
        return within(make_float4(f.of(a.x, b.x), f.of(a.y, b.y), f.of(a.z, b.z), f.of(a.w, b.w)), x, W);
    }
};

// The sums of norm channels norm .. norm + channels - 1, over images of `pixels`, in the order of the images.
__device__ __forceinline__ void finish_slopes(const CellView& cell, const GradView& g, int v, int norm, int channels, int pixels) {
    for (int c = norm + threadIdx.x; c < norm + channels; c += CELL_THREADS) {
        double one = 0, z = 0;
        for (int n = 0; n < cell.N; n++) {
            const long long at = ((long long)v * cell.N + n) * cell.norms + c;
            one += g.partial_one[at];
            z += g.partial_z[at];
        }
        const int to = v * cell.norms + c;
        const double scale = cell.scale(v)[c], size = (double)cell.N * pixels;
        g.dot[to] = (float)(z * scale);
        const bool measured = cell.training && c < cell.measured;
        g.along_one[to] = measured ? (float)(one / size) : 0.0f;
        g.along_z[to] = measured ? (float)(z * scale * scale / size) : 0.0f;
    }
}

// Sums of one plane's gradient with z: of g and of g * (z - mean). A warp.
__device__ __forceinline__ void slope_sums(const float* g, const Numbers& z, float mean, int H, int W, float& one, float& along) {
    float total = 0, dot = 0;
    each_quad(H, W, [&](int y, int x) {
        const float4 a = read_quad(g + y * W, x, W), b = read_quad(z + y * W, x, W);
        total += total_of(a);
        dot += a.x * (b.x - mean) + a.y * (b.y - mean) + a.z * (b.z - mean) + a.w * (b.w - mean);
    });
    one = warp_sum(total);
    along = warp_sum(dot);
}

// The sums for a norm from one plane of its output's gradient g and of its input z. A warp.
__device__ __forceinline__ void norm_slopes(const CellView& cell, const GradView& g, int image, int norm, const float* slope,
                                            const Numbers& z, int H, int W) {
    float one, along;
    slope_sums(slope, z, cell.mean(image / cell.N)[norm], H, W, one, along);
    if (lane() != 0) return;
    g.partial_one[(long long)image * cell.norms + norm] = one;
    g.partial_z[(long long)image * cell.norms + norm] = along;
}

// The sum of slope times what an edge's skips pass on of mixed channel m. A warp.
__device__ __forceinline__ float skip_dot(const CellView& cell, const InEdge& edge, int image, int m, const float* slope) {
    bool skips = false, drops = false;
    for (int t = 0; t < edge.terms; t++) {
        if (edge.term[t].norm != NO_NORM) continue;
        skips = true;
        drops |= edge.term[t].op >= 0;
    }
    if (!skips) return 0;
    const Planes from = state_of(cell, edge.source, image / cell.N, image % cell.N);
    float total = 0;
    each_quad(cell.out_H, cell.out_W, [&](int y, int x) {
        const float4 four = from.quad(m, y, x);
        total += dot_of(read_quad(slope + y * cell.out_W, x, cell.out_W),
                        drops ? dropped(cell, edge.dropout, four, image, m, y, x) : four);
    });
    return warp_sum(total);
}

// One channel of a node: the sums for every norm on its in-edges; what its skips add to skip and bypass, of each edge, which
// are the warp's own. A warp.
__device__ __forceinline__ void node_channel(const CellView& cell, const GradView& g, const NodeJob& job, int image, int c,
                                             float* skip, float* bypass) {
    const int pixels = cell.pixels();
    const float* slope = node_gradient(cell, g, job.node, image) + (long long)c * pixels;
    const Channel channel(cell, c);
    for (int e = 0; e < job.edges; e++) {
        const InEdge& edge = job.edge[e];
        float total = 0;
        if (channel.bypasses) {
            each_quad(cell.out_H, cell.out_W, [&](int y, int x) {
                total += dot_of(read_quad(slope + y * cell.out_W, x, cell.out_W), bypassed(cell, edge, image, channel.at, y, x));
            });
            total = warp_sum(total);
            if (lane() == 0) bypass[e] += total;
            continue;
        }
        for (int t = 0; t < edge.terms; t++)
            if (edge.term[t].norm != NO_NORM)
                norm_slopes(cell, g, image, edge.term[t].norm + channel.at, slope,
                            cell.planes_of(image) + edge.term[t].z + (long long)channel.at * pixels, cell.out_H, cell.out_W);
        total = skip_dot(cell, edge, image, channel.at, slope);
        if (lane() == 0) skip[e] += total;
    }
}

// The sums of a node for one image.
__device__ __forceinline__ void node_slopes(const CellView& cell, const GradView& g, const NodeJob& job, int image) {
    SHARED(float, skips, CELL_WARPS * MOST_IN_EDGES);
    SHARED(float, bypasses, CELL_WARPS * MOST_IN_EDGES);
    const int v = image / cell.N;
    for (int i = threadIdx.x; i < CELL_WARPS * MOST_IN_EDGES; i += CELL_THREADS) skips[i] = bypasses[i] = 0;
    __syncthreads();
    for (int c = warp(); c < cell.C; c += CELL_WARPS)
        node_channel(cell, g, job, image, c, skips + warp() * MOST_IN_EDGES, bypasses + warp() * MOST_IN_EDGES);
    __syncthreads();
    for (int e = threadIdx.x; e < job.edges; e += CELL_THREADS) {
        float skip_total = 0, bypass_total = 0;
        for (int w = 0; w < CELL_WARPS; w++) {
            skip_total += skips[w * MOST_IN_EDGES + e];
            bypass_total += bypasses[w * MOST_IN_EDGES + e];
        }
        g.skip[(long long)image * cell.edges + job.edge[e].edge] = skip_total;
        g.bypass[(long long)image * cell.edges + job.edge[e].edge] = bypass_total;
    }
    if (!last_of(g.tickets + v * (cell.norms + cell.nodes) + cell.norms + job.node, cell.N)) return;
    for (int e = 0; e < job.edges; e++)
        for (int t = 0; t < job.edge[e].terms; t++) {
            const Term& term = job.edge[e].term[t];
            if (term.norm != NO_NORM) finish_slopes(cell, g, v, term.norm, cell.M, cell.pixels());
        }
}

__global__ void __launch_bounds__(CELL_THREADS) node_slopes_kernel(CellView cell, GradView g, NodeJob job) {
    node_slopes(cell, g, job, blockIdx.x);
}

constexpr int MOST_CELL_EDGES = 64;

struct MixtureEdge {
    int terms;
    struct {
        int op, norm;
    } term[MOST_TERMS];
};

struct MixtureJob {
    MixtureEdge edge[MOST_CELL_EDGES];
};

__device__ __forceinline__ double dots_of(const CellView& cell, const GradView& g, int v, int norm) {
    double total = 0;
    for (int c = 0; c < cell.M; c++) total += g.dot[v * cell.norms + norm + c];
    return total;
}

// Gradients of the operations' and the edges' weights; a block a learner.
__global__ void __launch_bounds__(MOST_CELL_EDGES)
mixture_kernel(CellView cell, GradView g, const MixtureJob* __restrict__ table, float* op_weights, float* edge_weights) {
    const int v = blockIdx.x, e = threadIdx.x;
    if (e >= cell.edges) return;
    const MixtureEdge& edge = table->edge[e];
    const float whole = cell.edge_weight(v, e);
    float* ops = op_weights + ((long long)v * cell.edges + e) * cell.ops_per_edge;
    for (int o = 0; o < cell.ops_per_edge; o++) ops[o] = 0;
    double skips = 0, total = 0;
    for (int n = 0; n < cell.N; n++) {
        const long long at = ((long long)v * cell.N + n) * cell.edges + e;
        skips += g.skip[at];
        total += g.bypass[at];
    }
    for (int t = 0; t < edge.terms; t++) {
        const int op = edge.term[t].op, norm = edge.term[t].norm;
        const double dot = norm == NO_NORM ? skips : dots_of(cell, g, v, norm);
        if (op >= 0) ops[op] = (float)(whole * dot);
        total += dot * cell.op_weight(v, e, op);
    }
    if (edge_weights) edge_weights[v * cell.edges + e] = (float)total;
}

}  // namespace sgl_fast
