// The backward of a cell, image by image between the sums that batch norms need.
//
// Phases, each over all images: last node's sums | from the last state with out-edges to the first: second halves of
// the separable convolutions, then everything else on its out-edges and the sums of the node that it is | preprocess.
#pragma once

#include "pass.h"

ISA_NAMESPACE_BEGIN

// What outlives a phase. Norms are those of single channels; dy is the gradient of a norm's output without its weight.
struct BackwardBuffers {
    float *mean_dy, *mean_dy_xhat;  // (V, norms): as bn_backward reads them, 0 where statistics are constants
    float* sum_dy_xhat;             // (V, norms)
    float *skip, *bypass;           // (V, N, E): sum of dy * x over the mixed, over the bypassing channels
    float* nodes;                   // (V, N, nodes - 1, C, pixels): gradients of the nodes but the last
    float* states;                  // (V, N, 2, C, in_pixels): of the preprocessed inputs
    float* hidden;                  // (V, N, most second halves of a state, M, pixels): of hidden activations
    float* weights;                 // (V, groups, head.weights): of a group of images
};

struct Backward : Pass {
    const Workspace& space;
    const BackwardBuffers& buffers;
    const float* grad;
    const CellGradients& wanted;

    float* partial_dy(int v, int n) const { return space.partial[0] + size_t(v * N + n) * head.norms; }
    float* partial_dy_xmu(int v, int n) const { return space.partial[1] + size_t(v * N + n) * head.norms; }
    float* skip(int v, int n) const { return buffers.skip + size_t(v * N + n) * program.edges.size(); }
    float* bypass(int v, int n) const { return buffers.bypass + size_t(v * N + n) * program.edges.size(); }
    const float* mean_dy(int v) const { return buffers.mean_dy + v * head.norms; }
    const float* mean_dy_xhat(int v) const { return buffers.mean_dy_xhat + v * head.norms; }
    float* group_dw(int v, int n) const {
        return buffers.weights + size_t(v * groups() + n / group_size) * head.weights;
    }
    bool needs_preprocess() const { return head.preprocess && (wanted.weights || wanted.s[0] || wanted.s[1]); }

    // The gradient that a node receives as a part of the cell's output.
    const float* output_gradient(int node, int v, int n) const {
        return grad + size_t(v * N + n) * program.node_gradients() + program.states[node + 2].offset;
    }
    // Where the gradient of a node lies, by its offset: complete once the states after it are done.
    const float* gradient(size_t offset, int v, int n) const {
        const size_t all = program.node_gradients(), last = all - C * pixels, image = v * N + n;
        return offset >= last ? grad + image * all + offset : buffers.nodes + image * last + offset;
    }
    const float* node_gradient(int node, int v, int n) const { return gradient(node * C * pixels, v, n); }
    // Where the gradient of a state goes; null where nobody wants it.
    float* state_gradient(int j, int v, int n) const {
        const size_t offset = program.states[j].offset;
        if (j >= 2) return const_cast<float*>(gradient(offset, v, n));
        if (head.preprocess) return buffers.states + size_t(v * N + n) * 2 * C * in_pixels + offset;
        return wanted.s[j] ? wanted.s[j] + v * in.learner[j] + n * in.image[j] : nullptr;
    }
    // The gradient of what a state's i-th second half reads; lives until the state is done.
    float* hidden_gradient(const rows::State& s, int i, int v, int n) const {
        return buffers.hidden + (size_t(v * N + n) * s.halves + i) * M * pixels;
    }

    // dz of one channel, from the gradient dy of weight times its norm's output.
    template <bool ADD = false>
    void norm_dgrad(const float* dy, const float* z, size_t norm, float weight, float* dz, int v) const {
        bn_backward<ADD>(dy, z, weight * scale(v)[norm], mean_dy(v)[norm], mean_dy_xhat(v)[norm], mean(v)[norm], dz,
                         int(pixels));
    }
    // The same for every channel of a convolution's result.
    void norm_dgrad(const rows::Conv& conv, const float* dy, float* dz, size_t dz_plane, int v, int n) const {
        const float* z = activations(v, n) + conv.z;
        const float factor = weight(v, conv);
        for (int c = 0; c < conv.outs; c++)
            norm_dgrad(dy + size_t(c) * conv.grad_step, z + c * pixels, conv.norm + c, factor, dz + c * dz_plane, v);
    }

    // The sums of norms from `norm` on, from those of the images of `count` pixels. normalised: the partial sums are of
    // dy * xhat already.
    void finish(size_t norm, int channels, size_t count, bool normalised = false) const {
        for (int v = 0; v < V; v++)
            for (int c = 0; c < channels; c++) {
                size_t channel = norm + c, target = v * head.norms + channel;
                double dy = 0, dy_xmu = 0, size = double(N) * count;
                for (int n = 0; n < N; n++) {
                    dy += partial_dy(v, n)[channel];
                    dy_xmu += partial_dy_xmu(v, n)[channel];
                }
                double factor = normalised ? 1 : double(scale(v)[channel]);
                bool measured = in.training && norm < size_t(head.measured);
                buffers.sum_dy_xhat[target] = float(dy_xmu * factor);
                buffers.mean_dy[target] = measured ? float(dy / size) : 0;
                buffers.mean_dy_xhat[target] = measured ? float(dy_xmu * factor * factor / size) : 0;
            }
    }

    void finish_node(int node) const {
        for (const rows::Edge& e : program.in_edges_of(node))
            for (const rows::Term& term : program.sum_of(e))
                if (term.norm != rows::OUT) finish(term.norm, M, pixels);
    }

    void run() const;

  private:
    void node(int node) const;
    void hidden(int j) const;
    void sources(int j) const;
    void preprocess() const;
    void alpha_beta_grad() const;
};

ISA_NAMESPACE_END
