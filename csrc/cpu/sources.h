// A state's out-edges: pools, factorised reductions, dilated convolutions and the first halves of separable ones, and
// back.
#pragma once

#include "conv_backward.h"
#include "forward.h"
#include "pooling.h"

ISA_NAMESPACE_BEGIN

// One thread's forward of a state's out-edges.
struct SourceForward {
    const Forward& f;
    const rows::State& s;
    int j;
    Padded padded;
    size_t compact;
    float *active, *depthwise_out, *inf_bordered, *zero_bordered, *samples[2], *row;

    SourceForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.program.states[j]), j(j), padded(f.padded(s.stride)), compact(compact_plane(padded.H, padded.W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        depthwise_out = scratch.allocate(f.M * compact);
        inf_bordered = scratch.filled(padded.plane, -__builtin_inff());
        zero_bordered = scratch.filled(padded.plane, 0.f);
        for (float*& sample : samples) sample = scratch.allocate(s.stride == 2 ? f.M * compact : 0);
        row = scratch.allocate(s.width + 16);
    }

    void image(int v, int n) {
        if (s.norm_in != rows::OUT) normalise(v, n);
        if (s.convs) f.activate(j, v, n, f.replay, padded, active, row);
        for (int c = 0; c < f.M && s.convs && s.stride == 2; c++)
            for (int first = 0; first < 2; first++)
                subsample(active + c * padded.plane, padded, first, samples[first] + c * compact);
        for (const rows::Pool& p : f.program.pools_of(s)) pool(p, v, n);
        for (const rows::Pool& p : f.program.bypass_of(s)) pool(p, v, n);
        for (const rows::Conv& conv : f.program.convs_of(s))
            if (conv.kernel == 1)
                f.convolve_1x1(conv, samples[conv.first], compact, f.activations(v, n) + conv.z, int(f.pixels), v, n);
            else
                f.convolve(conv, active, padded, depthwise_out, compact, v, n);
    }

  private:
    // In place: the preprocessing leaves a state before its norm.
    void normalise(int v, int n) {
        size_t plane = f.in_pixels;
        float* states = const_cast<float*>(f.state(j, v, n));
        for (int c = 0; c < f.C; c++) {
            float mean = f.mean(v)[s.norm_in + c], scale = f.scale(v)[s.norm_in + c];
            float* x = states + c * plane;
            for (size_t i = 0; i < plane; i++) x[i] = (x[i] - mean) * scale;
        }
    }

    void pool(const rows::Pool& p, int v, int n) {
        const size_t plane = size_t(s.height) * s.width;
        const float* x = f.state(j, v, n) + p.first * plane;
        float *z = f.activations(v, n) + p.z, *bordered = p.is_max && p.padding ? inf_bordered : zero_bordered;
        uint8_t* argmax = f.pattern(v, n) + p.argmax;
        const auto max_pool_of = p.kernel == 2   ? max_pool<Windows<2, 2>>
                                 : p.stride == 1 ? max_pool<Windows<3, 1>>
                                                 : max_pool<Windows<3, 2>>;
        for (int c = 0; c < p.channels; c++, x += plane) {
            copy_to_padded(x, padded, bordered);
            if (p.is_max)
                max_pool_of(bordered, padded, f.replay, argmax + c * padded.H * argmax_row(padded.W), z + c * f.pixels,
                            row);
            else
                avg_pool(bordered, padded, z + c * f.pixels, depthwise_out, row);
        }
        if (p.norm != rows::OUT) f.measure(v, n, p.norm, f.M, z, int(f.pixels));
    }
};

// One thread's backward of a state's out-edges: the gradient of the state.
struct SourceBackward {
    const Backward& b;
    const rows::State& s;
    int j;
    size_t plane, channel_step;  // of the state; from a mixed channel of a node to the next
    ConvBackward conv;
    float *pool_dy, *pool_dx, *pool_plane, *masked;
    int* chosen;
    const float** terms;
    float *scales, *zeros;

    SourceBackward(const Backward& b, int j, Scratch& scratch)
        : b(b), s(b.program.states[j]), j(j), plane(size_t(s.height) * s.width), channel_step(b.partial * b.pixels),
          conv(b, s.stride, scratch) {
        pool_dy = scratch.allocate(2 * conv.compact);
        pool_dx = scratch.allocate(conv.blocked.plane);
        pool_plane = scratch.allocate(plane);
        chosen = (int*)scratch.filled(conv.padded_out.plane, 0.f);
        masked = scratch.allocate((b.head.nodes + 1) * b.pixels);
        terms = (const float**)scratch.allocate(2 * b.program.edges.size() + 16);
        scales = scratch.allocate(b.program.edges.size() + 8);
        zeros = scratch.filled(b.program.edges.size() + 8, 0.f);
    }

    void image(int v, int n) {
        conv.start();
        if (s.convs && b.wanted.weights) b.activate(j, v, n, true, conv.padded, conv.active, conv.row);
        int hidden = 0;
        for (const rows::Conv& row : b.program.convs_of(s)) {
            const float* dy = row.edge == rows::OUT ? b.hidden_gradient(s, hidden++, v, n) : b.gradient(row.grad, v, n);
            b.norm_dgrad(row, dy, conv.dz, conv.compact, v, n);
            conv.convolution(row, v, n);
        }
        float* ds = b.state_gradient(j, v, n);
        if (!ds) return;
        for (int m = 0; m < b.M; m++) mixed_channel(m, v, n, ds + m * plane);
        for (int c = b.M; c < b.C; c++) bypassing_channel(c, v, n, ds + c * plane);
        if (s.norm_in != rows::OUT) partial_sums(ds, v, n);
    }

  private:
    void mixed_channel(int m, int v, int n, float* ds) {
        int count = 0;
        auto add = [&](const float* term, float weight) {
            terms[count] = term;
            scales[count++] = weight;
        };
        if (s.convs) {
            convs_dgrad(m, v, n, ds);
            add(ds, 1);
        }
        if (s.pools) {
            pools_dgrad(m, v, n, pool_plane);
            add(pool_plane, 1);
        }
        if (j >= 2) add(b.output_gradient(j - 2, v, n) + m * plane, 1);
        for (const rows::Edge& e : b.program.out_edges_of(s)) {
            const float* dy = b.node_gradient(e.node, v, n) + m * channel_step;
            float edge_weight = b.edge_weight(v, e.edge);
            if (e.skip != rows::OUT)
                add(b.dropped(e, dy, m, v, n, masked + e.node * b.pixels),
                    edge_weight * b.op_weight(v, e.edge, e.skip));
            if (e.aux) add(dy, edge_weight * b.aux_weight());
        }
        combine(count, terms, zeros, scales, ds, int(plane));
    }

    // The convolutions' dgrads through their common ReLU.
    void convs_dgrad(int m, int v, int n, float* ds) {
        const uint8_t* mask = b.pattern(v, n) + s.relu_mask + m * s.height * mask_row(s.width);
        const float* dy = conv.dx + m * conv.blocked.plane;
        if (s.stride == 1) return relu_dgrad(dy, conv.blocked.row, mask, s.height, s.width, ds);
        for (int y = 0; y < s.height; y++) {
            const float* row = dy + y * conv.blocked.row;
            join_columns(row, row + conv.blocked.phase, s.width, conv.row);
            relu_dgrad(conv.row, s.width, mask + y * mask_row(s.width), 1, s.width, ds + size_t(y) * s.width);
        }
    }

    void pools_dgrad(int m, int v, int n, float* ds) {
        fill_zeros(pool_dx, conv.blocked.plane);
        for (const rows::Pool& p : b.program.pools_of(s)) {
            load_pool_dy(p, m, v, n);
            if (p.is_max)
                s.stride == 1 ? add_max_pool_dgrad<Windows<3, 1>>(p, m, v, n)
                              : add_max_pool_dgrad<Windows<3, 2>>(p, m, v, n);
            else
                avg_pool_dgrad(pool_dy, s.stride, conv.padded_out, conv.padded_dy, conv.row, pool_dx, conv.blocked);
        }
        copy_from_blocked(pool_dx, conv.blocked, s.stride, s.height, s.width, ds);
    }

    // From pool_dy, the gradient of the pool's channel c, onto pool_dx.
    template <class W> void add_max_pool_dgrad(const rows::Pool& p, int c, int v, int n) {
        const uint8_t* argmax = b.pattern(v, n) + p.argmax + c * b.head.H_out * argmax_row(b.head.W_out);
        copy_to_padded(pool_dy, conv.padded_out, conv.padded_dy);
        max_pool_dgrad<W>(conv.padded_dy, conv.padded_out, argmax, chosen, pool_dx, conv.blocked);
    }

    // pool_dy = the gradient of the pool's channel m, from all edges that use it.
    void load_pool_dy(const rows::Pool& p, int m, int v, int n) {
        const float* z = b.activations(v, n) + p.z + m * b.pixels;
        bool first = true;
        for (const rows::Use& use : b.program.uses_of(p)) {
            const float* dy = b.node_gradient(use.node, v, n) + m * channel_step;
            float weight = b.edge_weight(v, use.edge) * b.op_weight(v, use.edge, use.op);
            first ? b.norm_dgrad(dy, z, use.norm + m, weight, pool_dy, v)
                  : b.norm_dgrad<true>(dy, z, use.norm + m, weight, pool_dy, v);
            first = false;
        }
    }

    void bypassing_channel(int channel, int v, int n, float* ds) {
        int count = 0, c = b.bypass_to(channel);
        for (const rows::Edge& e : b.program.out_edges_of(s)) {
            terms[count] = b.node_gradient(e.node, v, n) + c * b.pixels;
            scales[count++] = b.edge_weight(v, e.edge);
        }
        if (j >= 2) {
            terms[count] = b.output_gradient(j - 2, v, n) + channel * plane;
            scales[count++] = 1;
        }
        if (s.stride == 1) return combine(count, terms, zeros, scales, ds, int(plane));
        combine(count, terms, zeros, scales, pool_dy, int(b.pixels));
        fill_zeros(pool_dx, conv.blocked.plane);
        for (const rows::Pool& p : b.program.bypass_of(s)) add_max_pool_dgrad<Windows<2, 2>>(p, channel - b.M, v, n);
        copy_from_blocked(pool_dx, conv.blocked, 2, s.height, s.width, ds);
    }

    // What the preprocessing's norm needs; the state is normalised, so that these are sums with xhat.
    void partial_sums(const float* ds, int v, int n) {
        const float zero = 0;
        for (int c = 0; c < b.C; c++) {
            const float* xhat = b.state(j, v, n) + c * plane;
            float* dy_xhat = b.partial_dy_xmu(v, n) + s.norm_in + c;
            b.partial_dy(v, n)[s.norm_in + c] = dy_sums(ds + c * plane, int(plane), 1, &xhat, &zero, dy_xhat);
        }
    }
};

ISA_NAMESPACE_END
