// Second halves of separable convolutions, which read a hidden activation, and back.
#pragma once

#include "conv_backward.h"
#include "forward.h"

ISA_NAMESPACE_BEGIN

// One thread's forward of the second halves on a state's out-edges.
struct HiddenForward {
    const Forward& f;
    const rows::State& s;
    Padded padded;
    size_t compact;
    float *active, *depthwise_out, *row;

    HiddenForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.program.states[j]), padded(f.padded(1)), compact(compact_plane(padded.H, padded.W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        depthwise_out = scratch.allocate(f.M * compact);
        row = scratch.allocate(s.width + 16);
    }

    void image(int v, int n) {
        for (const rows::Conv& half : f.program.halves_of(s)) {
            f.activate_hidden(half, v, n, f.replay, padded, active, row);
            f.convolve(half, active, padded, depthwise_out, compact, v, n);
        }
    }
};

// One thread's backward of them.
struct HiddenBackward {
    const Backward& b;
    const rows::State& s;
    ConvBackward conv;

    HiddenBackward(const Backward& b, int j, Scratch& scratch) : b(b), s(b.program.states[j]), conv(b, 1, scratch) {}

    void image(int v, int n) {
        for (int i = 0; i < s.halves; i++) half(b.program.halves_of(s)[i], b.hidden_gradient(s, i, v, n), v, n);
    }

  private:
    // hidden_dy: the gradient of the hidden activation after its norm.
    void half(const rows::Conv& half, float* hidden_dy, int v, int n) {
        size_t mask_plane = half.height * mask_row(half.width);
        const uint8_t* mask = b.pattern(v, n) + half.relu_mask;
        const float* hidden = b.activations(v, n) + half.offset;
        b.norm_dgrad(half, b.gradient(half.grad, v, n), conv.dz, conv.compact, v, n);
        if (b.wanted.weights) b.activate_hidden(half, v, n, true, conv.padded, conv.active, conv.row);
        conv.start();
        conv.convolution(half, v, n);
        for (int c = 0; c < b.M; c++) {
            size_t norm = half.norm_in + c;
            DySums sums =
                relu_dgrad(conv.dx + c * conv.blocked.plane, conv.blocked.row, mask + c * mask_plane, half.height,
                           half.width, hidden + c * b.pixels, b.mean(v)[norm], hidden_dy + c * b.pixels);
            b.partial_dy(v, n)[norm] = sums.dy;
            b.partial_dy_xmu(v, n)[norm] = sums.dy_xmu;
        }
    }
};

ISA_NAMESPACE_END
