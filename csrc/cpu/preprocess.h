// From the inputs of a cell to its first two states, and back.
#pragma once

#include "backward.h"
#include "forward.h"

ISA_NAMESPACE_BEGIN

// An input after its ReLU; of one twice as large as the state, the pixels that its factorised reduction reads.
struct ActivatedInput {
    const Pass& pass;
    int which;
    Rows<rows::Conv> convs;
    int ins, H, W;              // of the input
    bool shrink;                // the input is twice as large as the state
    size_t plane, state_plane;  // floats of a compact plane of the input, of the state
    float *active, *samples[2];

    ActivatedInput(const Pass& pass, int which, Scratch& scratch)
        : pass(pass), which(which), convs(pass.program.input_convs(which)), ins(convs[0].ins), H(convs[0].height),
          W(convs[0].width), shrink(convs[0].stride == 2), plane(compact_plane(H, W)),
          state_plane(compact_plane(pass.head.H, pass.head.W)) {
        active = scratch.allocate(shrink ? plane : ins * plane);
        for (float*& sample : samples) sample = scratch.allocate(shrink ? ins * state_plane : 0);
    }

    void load(int v, int n, bool replay) {
        const float* x = pass.input(which, v, n);
        uint8_t* mask = pass.pattern(v, n) + convs[0].relu_mask;
        for (int c = 0; c < ins; c++) {
            float* channel = active + (shrink ? 0 : c * plane);
            relu_to_compact({x + size_t(c) * H * W, 0, 1, mask + c * H * mask_row(W), replay}, H, W, channel);
            if (shrink)
                subsample(channel, pass.head.H, pass.head.W, samples[0] + c * state_plane,
                          samples[1] + c * state_plane);
        }
    }

    // What a 1x1 convolution reads.
    float* read_by(const rows::Conv& conv) const { return shrink ? samples[conv.first] : active; }
};

// One thread's forward of an input: ReLU, 1x1 convolution.
struct PreprocessForward {
    const Forward& f;
    ActivatedInput in;

    PreprocessForward(const Forward& f, int which, Scratch& scratch) : f(f), in(f, which, scratch) {}

    void image(int v, int n) {
        in.load(v, n, f.replay);
        float* states = f.saved.states + size_t(v * f.N + n) * 2 * f.C * f.in_pixels;
        for (const rows::Conv& conv : in.convs)
            f.convolve_1x1(conv, in.read_by(conv), in.state_plane, states + conv.z, int(f.in_pixels), v, n);
    }
};

// One thread's backward of an input.
struct PreprocessBackward {
    const Backward& b;
    int which;
    ActivatedInput in;
    float *dz, *dx, *wgrad_floats;

    PreprocessBackward(const Backward& b, int which, Scratch& scratch) : b(b), which(which), in(b, which, scratch) {
        dz = scratch.allocate(b.C * in.state_plane);
        dx = scratch.allocate(in.shrink ? in.plane : in.ins * in.plane);
        wgrad_floats = scratch.allocate(wgrad_scratch(in.ins, int(b.in_pixels)));
    }

    void image(int v, int n) {
        const float *dy = b.state_gradient(which, v, n), *xhat = b.state(which, v, n);
        for (int c = 0; c < b.C; c++) {
            size_t norm = in.convs[0].norm + c;
            bn_backward(dy + c * b.in_pixels, xhat + c * b.in_pixels, b.scale(v)[norm], b.mean_dy(v)[norm],
                        b.mean_dy_xhat(v)[norm], 0, dz + c * in.state_plane, int(b.in_pixels));
        }
        if (b.wanted.weights) wgrad(v, n);
        if (b.wanted.s[which]) dgrad(v, n);
    }

  private:
    const float* dz_of(const rows::Conv& conv) const { return dz + (conv.norm - in.convs[0].norm) * in.state_plane; }

    void wgrad(int v, int n) {
        in.load(v, n, true);
        for (const rows::Conv& conv : in.convs)
            pointwise_wgrad(dz_of(conv), in.state_plane, conv.outs, in.read_by(conv), in.state_plane, in.ins,
                            int(b.in_pixels), b.group_dw(v, n) + conv.pointwise, wgrad_floats);
    }

    void dgrad(int v, int n) {
        const uint8_t* mask = b.pattern(v, n) + in.convs[0].relu_mask;
        float* ds = b.wanted.s[which] + v * b.in.learner[which] + n * b.in.image[which];
        size_t pixels = size_t(in.H) * in.W, mask_plane = in.H * mask_row(in.W);
        for (const rows::Conv& conv : in.convs)
            pointwise({b.weights(v) + conv.pointwise, 1, in.ins}, in.ins, conv.outs, dz_of(conv), in.state_plane,
                      in.shrink ? in.read_by(conv) : dx, in.shrink ? in.state_plane : in.plane, int(b.in_pixels));
        for (int c = 0; c < in.ins; c++) {
            if (in.shrink) scatter(in.samples[0] + c * in.state_plane, in.samples[1] + c * in.state_plane);
            relu_dgrad(dx + (in.shrink ? 0 : c * in.plane), in.W, mask + c * mask_plane, in.H, in.W, ds + c * pixels);
        }
    }

    // The inverse of subsample; no convolution reads the other pixels.
    void scatter(const float* even, const float* odd) {
        int H = b.head.H, W = b.head.W;
        fill_zeros(dx, size_t(in.H) * in.W);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                float* corner = dx + size_t(2 * y) * in.W + 2 * x;
                corner[0] = even[y * W + x];
                corner[in.W + 1] = odd[y * W + x];
            }
    }
};

ISA_NAMESPACE_END
