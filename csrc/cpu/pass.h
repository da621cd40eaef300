// What the forward and the backward of a cell share: which thread works on which images, where tensors lie,
// coefficients.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../mixed_cell.h"
#include "norm.h"
#include "pool.h"
#include "relu.h"
#include "scratch.h"

ISA_NAMESPACE_BEGIN

struct Pass {
    const Pool& pool;
    const Program& program;
    const CellInputs& in;
    const CellSaved& saved;
    const float* out;
    const rows::Head& head = program.head;
    int V = in.V, N = in.N, C = head.C, M = head.M, partial = C / M;
    size_t pixels = program.out_pixels(), in_pixels = program.in_pixels();
    int group_size = 1;  // images of a learner that one thread takes

    // The layout of what windows of that stride read, for planes of the nodes' size: the border holds the largest
    // kernel.
    Padded padded(int stride) const { return {head.H_out, head.W_out, stride, program.reach() > 4 ? 8 : 4}; }

    const float* input(int which, int v, int n) const {
        return in.s[which] + v * in.learner[which] + n * in.image[which];
    }
    // State j of one image: its planes lie one after the other.
    const float* state(int j, int v, int n) const {
        const size_t offset = program.states[j].offset, image = v * N + n;
        if (j >= 2) return out + image * program.node_gradients() + offset;
        return head.preprocess ? saved.states + image * 2 * C * in_pixels + offset : input(j, v, n);
    }
    float* activations(int v, int n) const {
        return static_cast<float*>(saved.activations) + size_t(v * N + n) * head.saved;
    }
    uint8_t* pattern(int v, int n) const { return saved.pattern + size_t(v * N + n) * head.pattern; }
    const float* weights(int v) const { return in.weights + v * in.weights_row; }
    const float* mean(int v) const { return saved.stats + size_t(v) * 3 * head.norms; }
    const float* scale(int v) const { return mean(v) + head.norms; }

    float edge_weight(int v, int edge) const {
        return in.edge_weights ? in.edge_weights[size_t(v) * program.edges.size() + edge] : 1.f;
    }
    float aux_weight() const { return in.skip_beta ? *in.skip_beta : 1.f; }
    float op_weight(int v, int edge, int op) const {
        return op == rows::OUT ? aux_weight()
                               : in.op_weights[(size_t(v) * program.edges.size() + edge) * head.ops + op];
    }
    // The factor of a convolution's normalised result in its node's sum.
    float weight(int v, const rows::Conv& conv) const {
        return conv.edge == rows::OUT ? 1.f : edge_weight(v, conv.edge) * op_weight(v, conv.edge, conv.op);
    }
    const uint8_t* dropout(const rows::Edge& e, int v, int n) const {
        if (!in.dropout || e.dropout == rows::OUT) return nullptr;
        return in.dropout + (size_t(e.dropout * V + v) * N + n) * M * pixels;
    }

    // PC-DARTS's shuffle: every partial-th channel of a node is a mixed one. Channel bypass_of(c) of a state bypasses
    // into the node's channel c; bypass_to is the inverse.
    bool bypassed(int c) const { return c % partial != 0; }
    int bypass_of(int c) const { return c % partial * M + c / partial; }
    int bypass_to(int channel) const { return channel % M * partial + channel / M; }
    // The plane of a bypassing channel as the edge's node reads it: the state's own, or pooled.
    const float* bypass_plane(const rows::Edge& e, int channel, int v, int n) const {
        if (e.bypass == rows::OUT) return state(e.source, v, n) + channel * pixels;
        return activations(v, n) + e.bypass + (channel - M) * pixels;
    }

    // x, a plane of mixed channel m, after the dropout of the edge's skip: x itself, or `masked`, which is scratch for
    // it.
    const float* dropped(const rows::Edge& e, const float* x, int m, int v, int n, float* masked) const {
        const uint8_t* kept = dropout(e, v, n);
        if (!kept) return x;
        const float factor = *in.dropout_scale;
        for (size_t i = 0; i < pixels; i++) masked[i] = kept[m * pixels + i] ? x[i] * factor : 0.f;
        return masked;
    }

    // ReLU of a state's mixed channels, and of what a second half reads, into Padded planes. row: scratch for one row.
    void activate(int j, int v, int n, bool replay, const Padded& p, float* planes, float* row) const {
        const rows::State& s = program.states[j];
        size_t plane = size_t(s.height) * s.width, mask = s.height * mask_row(s.width);
        const float* x = state(j, v, n);
        for (int c = 0; c < M; c++)
            relu_to_padded({x + c * plane, 0, 1, pattern(v, n) + s.relu_mask + c * mask, replay}, p,
                           planes + c * p.plane, row);
    }
    void activate_hidden(const rows::Conv& half, int v, int n, bool replay, const Padded& p, float* planes,
                         float* row) const {
        size_t mask = p.H * mask_row(p.W);
        const float* z = activations(v, n) + half.offset;
        for (int c = 0; c < M; c++) {
            size_t norm = half.norm_in + c;
            relu_to_padded(
                {z + c * pixels, mean(v)[norm], scale(v)[norm], pattern(v, n) + half.relu_mask + c * mask, replay}, p,
                planes + c * p.plane, row);
        }
    }

    // Calls work(scratch, first, last) on every thread: its scratch memory and images, numbered n + N * v.
    template <class Work> void on_threads(const Workspace& space, const Work& work) const {
        struct Context {
            const Pass& pass;
            const Workspace& space;
            const Work& work;
        } context{*this, space, work};
        auto task = [](void* pointer, int thread) {
            Context& c = *static_cast<Context*>(pointer);
            float* start = c.space.scratch + thread * c.space.scratch_floats;
            c.work(Scratch{start, c.space.scratch_floats}, c.pass.first(thread), c.pass.first(thread + 1));
        };
        pool.run(threads(), task, &context);
    }
    int groups() const { return (N + group_size - 1) / group_size; }  // of a learner
    int threads() const { return pool.threads < V * groups() ? pool.threads : V * groups(); }
    int first(int thread) const {
        int group = int(int64_t(V) * groups() * thread / threads()), image = group % groups() * group_size;
        return group / groups() * N + image;
    }
};

inline void fill_zeros(float* x, size_t n) { __builtin_memset(x, 0, n * sizeof(float)); }

// Calls step(v, n) for images first .. last - 1.
template <class Step> inline void each_image(const Pass& pass, int first, int last, const Step& step) {
    for (int i = first; i < last; i++) step(i / pass.N, i % pass.N);
}

ISA_NAMESPACE_END
