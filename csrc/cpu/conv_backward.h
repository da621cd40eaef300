// One thread's backward through depthwise and 1x1 convolutions into a Blocked sum of input gradients. Included once per
// instruction set, inside its namespace.

struct ConvBackward {
    const Backward& b;
    int stride, H, W;
    Padded padded, grads;
    Blocked blocked;
    size_t compact;
    float *active, *dz, *deep, *deep_grad, *padded_grad, *sum, *gram_room, *row;

    ConvBackward(const Backward& b, int stride, Scratch& scratch)
        : b(b), stride(stride), H(b.head.H_out), W(b.head.W_out), padded(b.padded(stride)), grads(b.padded(1)),
          blocked(H, W, stride), compact(compact_plane(H, W)) {
        int M = b.M;
        active = scratch.filled(b.wanted.weights ? M * padded.plane : 0, 0.f);
        dz = scratch.take(M * compact);
        deep = scratch.take(M * compact);
        deep_grad = scratch.take(M * compact);
        padded_grad = scratch.filled(M * grads.plane, 0.f);
        sum = scratch.take(M * blocked.plane);
        gram_room = scratch.take(gram_scratch(M, int(b.pixels)));
        row = scratch.take(stride * W + 16);
    }

    void start() { wipe(sum, b.M * blocked.plane); }

    // From dz, the gradients of a convolution's outputs.
    void convolve(const rows::Conv& conv, int v, int n) {
        if (conv.kernel == 1) return reduce(conv, v, n);
        Depthwise depthwise = depthwise_for(conv.kernel, conv.dilation, stride, W);
        const float* w = b.weights(v);
        int M = b.M, taps = conv.kernel * conv.kernel;
        pointwise({w + conv.pointwise, 1, M}, M, M, dz, compact, deep_grad, compact, int(b.pixels));
        float* dw = b.wanted.weights ? b.share(v, n) : nullptr;
        for (int c = 0; c < M; c++) {
            const float* taps_of = w + conv.depthwise + c * taps;
            float* g = padded_grad + c * grads.plane;
            copy_to_padded(deep_grad + c * compact, grads, g);
            depthwise.input_gradient(g, grads, taps_of, sum + c * blocked.plane, blocked);
            if (!dw) continue;
            depthwise.forward(active + c * padded.plane, padded, taps_of, deep + c * compact);
            depthwise.weight_gradient(g, grads, active + c * padded.plane, padded, dw + conv.depthwise + c * taps);
        }
        if (dw) gram(dz, compact, M, deep, compact, M, int(b.pixels), dw + conv.pointwise, gram_room);
    }

  private:
    // Through a half of a factorised reduction.
    void reduce(const rows::Conv& conv, int v, int n) {
        int ins = conv.ins, outs = conv.outs, pixels = int(b.pixels);
        if (b.wanted.weights) {
            for (int c = 0; c < ins; c++) subsample(active + c * padded.plane, padded, conv.first, deep + c * compact);
            gram(dz, compact, outs, deep, compact, ins, pixels, b.share(v, n) + conv.pointwise, gram_room);
        }
        pointwise({b.weights(v) + conv.pointwise, 1, ins}, ins, outs, dz, compact, deep_grad, compact, pixels);
        for (int c = 0; c < ins; c++) spread(deep_grad + c * compact, sum + c * blocked.plane + conv.first * (blocked.phase + blocked.row));
    }

    void spread(const float* from, float* to) {
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) to[2 * y * blocked.row + x] += from[y * W + x];
    }
};
