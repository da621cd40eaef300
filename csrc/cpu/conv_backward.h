// One thread's backward through depthwise and 1x1 convolutions: dgrads are added up in a Blocked plane a channel,
// wgrads in those of the group of images.
#pragma once

#include "backward.h"
#include "depthwise.h"
#include "pointwise.h"

ISA_NAMESPACE_BEGIN

struct ConvBackward {
    const Backward& b;
    int stride, H, W;
    Padded padded, padded_out;  // of the inputs, of the outputs
    Blocked blocked;
    size_t compact;
    float* active;                                    // the inputs after their ReLU, for wgrads
    float* dz;                                        // gradients of a convolution's results, compact planes
    float *depthwise_out, *depthwise_dy, *padded_dy;  // results of a depthwise convolution, and their gradients
    float* dx;                                        // the sum of dgrads
    float *wgrad_floats, *row;                        // scratch

    ConvBackward(const Backward& b, int stride, Scratch& scratch)
        : b(b), stride(stride), H(b.head.H_out), W(b.head.W_out), padded(b.padded(stride)), padded_out(b.padded(1)),
          blocked(H, W, stride), compact(compact_plane(H, W)) {
        int M = b.M;
        active = scratch.filled(b.wanted.weights ? M * padded.plane : 0, 0.f);
        dz = scratch.allocate(M * compact);
        depthwise_out = scratch.allocate(M * compact);
        depthwise_dy = scratch.allocate(M * compact);
        padded_dy = scratch.filled(M * padded_out.plane, 0.f);
        dx = scratch.allocate(M * blocked.plane);
        wgrad_floats = scratch.allocate(wgrad_scratch(M, int(b.pixels)));
        row = scratch.allocate(stride * W + 16);
    }

    void start() { fill_zeros(dx, b.M * blocked.plane); }

    // From dz, the gradients of a convolution's results before their norm.
    void convolution(const rows::Conv& conv, int v, int n) {
        if (conv.kernel == 1) return factorised_reduction(conv, v, n);
        Depthwise depthwise = depthwise_for(conv.kernel, conv.dilation, stride, W);
        const float* w = b.weights(v);
        int M = b.M, taps = conv.kernel * conv.kernel;
        pointwise({w + conv.pointwise, 1, M}, M, M, dz, compact, depthwise_dy, compact, int(b.pixels));
        float* dw = b.wanted.weights ? b.group_dw(v, n) : nullptr;
        for (int c = 0; c < M; c++) {
            const float* channel_taps = w + conv.depthwise + c * taps;
            float* dy = padded_dy + c * padded_out.plane;
            copy_to_padded(depthwise_dy + c * compact, padded_out, dy);
            depthwise.dgrad(dy, padded_out, channel_taps, dx + c * blocked.plane, blocked);
            if (!dw) continue;
            depthwise.forward(active + c * padded.plane, padded, channel_taps, depthwise_out + c * compact);
            depthwise.wgrad(dy, padded_out, active + c * padded.plane, padded, dw + conv.depthwise + c * taps);
        }
        if (dw)
            pointwise_wgrad(dz, compact, M, depthwise_out, compact, M, int(b.pixels), dw + conv.pointwise,
                            wgrad_floats);
    }

  private:
    // Through one of the two 1x1 convolutions of a factorised reduction.
    void factorised_reduction(const rows::Conv& conv, int v, int n) {
        int ins = conv.ins, outs = conv.outs, pixels = int(b.pixels);
        float *samples = depthwise_out, *samples_dy = depthwise_dy;
        if (b.wanted.weights) {
            for (int c = 0; c < ins; c++)
                subsample(active + c * padded.plane, padded, conv.first, samples + c * compact);
            pointwise_wgrad(dz, compact, outs, samples, compact, ins, pixels, b.group_dw(v, n) + conv.pointwise,
                            wgrad_floats);
        }
        pointwise({b.weights(v) + conv.pointwise, 1, ins}, ins, outs, dz, compact, samples_dy, compact, pixels);
        for (int c = 0; c < ins; c++)
            add_samples(samples_dy + c * compact, dx + c * blocked.plane + conv.first * (blocked.phase + blocked.row));
    }

    void add_samples(const float* samples, float* plane) {
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) plane[2 * y * blocked.row + x] += samples[y * W + x];
    }
};

ISA_NAMESPACE_END
