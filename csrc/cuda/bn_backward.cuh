// Batch norm's backward: the sums of dy and of dy * (z - mean) that it needs, over a node's in-edges, and grad z from them.
#pragma once

#include "combine.cuh"

namespace sgl_fast {

// dy of a node: complete once the states after it are done.
__forceinline__ const float* node_gradient(const CellView& cell, const GradView& g, int node, int image) {
    const long long plane = (long long)cell.C * cell.pixels();
    if (node + 1 == cell.nodes) return g.grad + ((long long)image * cell.nodes + node) * plane;
    return g.nodes + ((long long)image * (cell.nodes - 1) + node) * plane;
}

// grad z in one image.
struct GradZPlanes {
    const float* dy;
    StoragePtr z;
    int dy_step, z_step;  // from channel to channel
    float weight;
    int v, norm;  // norm: of the first channel

    GradZPlanes(const CellView& cell, const GradView& grads, const GradZ& s, int image) {
        v = image / cell.N;
        const int pixels = cell.pixels(), in_pixels = cell.H * cell.W;
        z = cell.saved_of(image) + s.z;
        dy_step = z_step = pixels;
        if (s.reader == Reader::node) {
            dy_step = cell.partial * pixels;
            dy = node_gradient(cell, grads, s.index, image) + s.channel * dy_step;
        } else if (s.reader == Reader::hidden) {
            dy = grads.hidden + ((long long)image * grads.hidden_count + s.index) * cell.M * pixels;
        } else {
            const long long plane = ((long long)image * 2 + s.index) * cell.C + s.channel;
            dy = grads.states + plane * in_pixels;
            z = {cell.states + plane * in_pixels, false};
            dy_step = z_step = in_pixels;
        }
        weight = s.edge < 0 ? 1.0f : cell.term_weight(v, s.edge, s.op);
        norm = s.norm;
    }
    BnFactors factors(const CellView& cell, const GradView& grads, int channel) const {
        const int of = norm + channel, all = v * cell.norms + of;
        return {weight * cell.scale(v)[of], grads.mean_dy[all], cell.mean(v)[of], grads.mean_dy_xhat[all]};
    }
    // Of dy and of z four pixels each of N channels, first, first + by and so on; past the last one again that one.
    template <int N>
    void read(int first, int by, int last, int y, int x, int W, float4 (&dy4)[N], float4 (&z4)[N]) const {
        int dy_at[N], z_at[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int channel = first + i * by < last ? first + i * by : last;
            dy_at[i] = channel * dy_step + y * W + x;
            z_at[i] = channel * z_step + y * W + x;
        }
        read_quads({(void*)dy, false}, dy_at, W - x, W % 4 == 0, dy4);
        read_quads(z, z_at, W - x, W % 4 == 0, z4);
    }
    static float4 quad(const BnFactors& f, const float4& dy, const float4& z) {
        return make_float4(f.dz(dy.x, z.x), f.dz(dy.y, z.y), f.dz(dy.z, z.z), f.dz(dy.w, z.w));
    }
    // Four pixels of a row of W from x on, 0 past its end.
    static float4 quad(const BnFactors& f, const float4& dy, const float4& z, int x, int W) {
        return within(quad(f, dy, z), x, W);
    }
    float4 quad(const BnFactors& f, int channel, int y, int x, int W) const {
        return quad(f, read_quad(dy + channel * dy_step + y * W, x, W), read_quad(z + channel * z_step + y * W, x, W),
                    x, W);
    }
};

// The means of `count` norm channels, norm_of(i), over images of `pixels`, in an order that depends on N and `count`
// alone; none for NO_NORM. A block.
template <class NormOf>
__forceinline__ void finish_bn_backward(const CellView& cell, const GradView& g, int v, int count, int pixels,
                                        const NormOf& norm_of) {
    const Sharing sharing(count);
    for (int first = 0; first < count; first += sharing.items()) {
        const int i = first + sharing.item, c = i < count ? norm_of(i) : NO_NORM,
                  turns = sharing.turns(c == NO_NORM ? 0 : cell.N);
        const long long at = (long long)v * cell.N * cell.norms + c;
        double dy = 0, dy_z = 0;
#pragma unroll 4
        for (int k = 0; k < turns; k++) {
            const int n = sharing.mine + k * sharing.threads;
            dy += g.partial_dy[at + (long long)n * cell.norms];
            dy_z += g.partial_dy_z[at + (long long)n * cell.norms];
        }
        dy = sharing.sum(dy);
        dy_z = sharing.sum(dy_z);
        if (sharing.mine != 0 || c == NO_NORM) continue;
        const int to = v * cell.norms + c;
        const double scale = cell.scale(v)[c], size = (double)cell.N * pixels;
        g.dot[to] = (float)(dy_z * scale);
        const bool measured = cell.training && c < cell.measured;
        g.mean_dy[to] = measured ? (float)(dy / size) : 0.0f;
        g.mean_dy_xhat[to] = measured ? (float)(dy_z * scale * scale / size) : 0.0f;
    }
}

// An image's sums for up to N of an edge's norms, from term t0 on, in one mixed channel. A warp, whose lanes read all of these
// planes at a time.
template <int N>
__forceinline__ void norm_sums(const CellView& cell, const GradView& g, int image, const InEdge& edge, int t0, int m,
                               const float* dy) {
    const int W = cell.out_W;
    const StoragePtr saved = cell.saved_of(image) + (long long)m * cell.pixels();
    const float* means = cell.mean(image / cell.N) + m;
    float mean[N], sums[N + 1];  // the last one: of dy
    int z[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const Term& term = edge.term[t0 + i < edge.normed ? t0 + i : t0];
        mean[i] = means[term.norm];
        z[i] = term.z;
    }
#pragma unroll
    for (int i = 0; i <= N; i++) sums[i] = 0;
#pragma unroll 2
    for (int q = lane(); q < cell.tiling.quads; q += WARP) {
        const int y = cell.tiling.y(q), x = cell.tiling.x(q);
        const float* const dy_at[1] = {dy + y * W + x};
        int at[N];
#pragma unroll
        for (int i = 0; i < N; i++) at[i] = z[i] + y * W + x;
        float4 a[1], b[N];
        read_quads(dy_at, W - x, W % 4 == 0, a);
        read_quads(saved, at, W - x, W % 4 == 0, b);
#pragma unroll
        for (int i = 0; i < N; i++)
            sums[i] += a[0].x * (b[i].x - mean[i]) + a[0].y * (b[i].y - mean[i]) + a[0].z * (b[i].z - mean[i]) +
                       a[0].w * (b[i].w - mean[i]);
        sums[N] += total_of(a[0]);
    }
#pragma unroll
    for (int i = 0; i <= N; i++) sums[i] = warp_sum(sums[i]);
    if (lane() != 0) return;
    const long long to = (long long)image * cell.norms + m;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int t = anew(t0) + i;
        if (t >= edge.normed) continue;
        const int norm = edge.term[t].norm;
        g.partial_dy[to + norm] = sums[N];
        g.partial_dy_z[to + norm] = sums[i];
    }
}

// The sum of dy times what an edge's skips pass on of mixed channel m. A warp.
__forceinline__ float skip_dot(const CellView& cell, const InEdge& edge, int image, int m, const float* dy) {
    if (edge.normed == edge.terms) return 0;
    bool drops = false;
    for (int t = edge.normed; t < edge.terms; t++) drops |= edge.term[t].op >= 0;
    const Planes from = state_of(cell, edge.source, image / cell.N, image % cell.N);
    float total = 0;
    each_quad(cell.tiling, [&](int y, int x) {
        const float4 four = from.quad(m, y, x);
        total += dot_of(read_quad(dy + y * cell.out_W, x, cell.out_W),
                        drops ? dropped(cell, edge.dropout, four, image, m, y, x) : four);
    });
    return warp_sum(total);
}

// The sum of dy times what an edge passes on of a bypassing channel. A warp.
__forceinline__ float bypass_dot(const CellView& cell, const InEdge& edge, int image, int channel, const float* dy) {
    const Planes from = bypass_of(cell, edge, image, channel);
    float total = 0;
    each_quad(cell.tiling, [&](int y, int x) {
        total += dot_of(read_quad(dy + y * cell.out_W, x, cell.out_W), from.quad(0, y, x));
    });
    return warp_sum(total);
}

// One channel of a node, along one of its in-edges: writes the sums for every norm; returns what it adds to those of skips, or
// of bypassing channels. A warp.
__forceinline__ float edge_sums(const CellView& cell, const GradView& g, const InEdge& edge, const float* dy, int image,
                                const Channel& channel) {
    if (channel.bypasses) return bypass_dot(cell, edge, image, channel.at, dy);
    constexpr int N = 3;
    for (int t = 0; t < edge.normed; t += N) norm_sums<N>(cell, g, image, edge, t, channel.at, dy);
    return skip_dot(cell, edge, image, channel.at, dy);
}

// The channels of a node of which a block has the sums: which of an image's blocks it is.
struct NodePart {
    int part, parts, channels;  // channels: of a block

    int first() const { return part * channels; }
    int count(const CellView& cell) const { return cell.C - first() < channels ? cell.C - first() : channels; }
    // The mixed channels first, which have the most to do.
    int channel(const CellView& cell, int nth) const {
        const int before = (first() + cell.others) / cell.partial,  // of mixed ones
            mixed = (first() + count(cell) + cell.others) / cell.partial - before;
        if (nth < mixed) return (before + nth) * cell.partial;
        const int bypassing = first() - before + nth - mixed;  // of the node's
        return bypassing / cell.others + bypassing + 1;
    }
};

__forceinline__ NodePart again(const NodePart& of) { return {anew(of.part), of.parts, of.channels}; }

// The sums over a learner's images and their parts of what skips and bypassing channels add, a warp an edge.
__forceinline__ void finish_skips(const CellView& cell, const GradView& g, const NodeJob& job, int v, int parts) {
    const int count = cell.N * parts;
    for (int e = warp(); e < job.edges; e += CELL_WARPS) {
        const long long to = (long long)v * cell.edges + job.edge[e].edge, from = to * cell.N * cell.C;
        double skip = 0, bypass = 0;
#pragma unroll 4
        for (int i = lane(); i < count; i += WARP) {
            skip += g.skip_parts[from + i];
            bypass += g.bypass_parts[from + i];
        }
        skip = warp_sum(skip);
        bypass = warp_sum(bypass);
        if (lane() != 0) continue;
        g.skip[to] = (float)skip;
        g.bypass[to] = (float)bypass;
    }
}

// The sums of some channels of a node for one image, and by the last block those of a learner. Warps take (channel, edge) by
// turns.
__forceinline__ void node_sums(const CellView& cell, const GradView& g, const NodeJob& job, int image,
                               const NodePart& part) {
    constexpr int sums = CELL_WARPS * MOST_IN_EDGES;
    SHARED(float, skips, sums);
    SHARED(float, bypasses, sums);
    for (int i = threadIdx.x; i < sums; i += CELL_THREADS) skips[i] = bypasses[i] = 0;
    __syncthreads();
    for (int item = warp(); item < again(part).count(cell) * job.edges; item += CELL_WARPS) {
        const int e = item % job.edges, c = again(part).channel(cell, item / job.edges);
        const float* dy = node_gradient(cell, g, job.node, image) + (long long)c * cell.pixels();
        const Channel channel(cell, c);
        const float total = edge_sums(cell, g, job.edge[e], dy, image, channel);
        const int own = warp() * MOST_IN_EDGES + anew(item) % job.edges;
        if (lane() == 0) (channel.bypasses ? bypasses : skips)[own] += total;
    }
    __syncthreads();
    const int v = anew(image) / cell.N;
    for (int e = threadIdx.x; e < job.edges; e += CELL_THREADS) {
        float skip_total = 0, bypass_total = 0;
        for (int w = 0; w < CELL_WARPS; w++) {
            skip_total += skips[w * MOST_IN_EDGES + e];
            bypass_total += bypasses[w * MOST_IN_EDGES + e];
        }
        const long long to =
            ((long long)v * cell.edges + job.edge[e].edge) * cell.N * cell.C + image % cell.N * part.parts + part.part;
        g.skip_parts[to] = skip_total;
        g.bypass_parts[to] = bypass_total;
    }
    const unsigned blocks = cell.N * part.parts;
    if (!is_last_block(g.arrivals + v * (cell.norms + cell.nodes) + cell.norms + job.node, blocks)) return;
    finish_skips(cell, g, job, v, part.parts);
    finish_bn_backward(cell, g, v, job.edges * job.terms * cell.M, cell.pixels(), [&](int i) {
        const int term = i / cell.M, t = term % job.terms;
        const InEdge& edge = job.edge[term / job.terms];
        return t < edge.normed ? edge.term[t].norm + i % cell.M : NO_NORM;
    });
}

}  // namespace sgl_fast
