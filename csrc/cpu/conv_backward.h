// One thread's backward through depthwise and pointwise convolutions into a Blocked sum of input gradients.
struct ConvBackward {
    const Backward& b;
    int stride, H, W;
    Padded padded, grads;
    Blocked blocked;
    size_t compact;
    float *active, *dz, *deep, *deep_grad, *padded_grad, *sum, *gram_room, *row;

    ConvBackward(const Backward& b, const State& s, int stride, Scratch& scratch)
        : b(b), stride(stride), H(s.out_H), W(s.out_W), padded(H, W, stride), grads(H, W, 1),
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

    // From dz, the gradients of a half's outputs.
    void convolve(const Half& half, int kernel, int dilation, int v, int n) {
        Depthwise depthwise = depthwise_for(kernel, dilation, stride, W);
        const float* w = b.weights(v);
        int M = b.M, taps = kernel * kernel;
        pointwise({w + half.pointwise, 1, M}, M, M, dz, compact, deep_grad, compact, int(b.pixels));
        float* dw = b.wanted.weights ? b.share(v, n) : nullptr;
        for (int c = 0; c < M; c++) {
            const float* taps_of = w + half.depthwise + c * taps;
            float* g = padded_grad + c * grads.plane;
            copy_to_padded(deep_grad + c * compact, grads, g);
            depthwise.input_gradient(g, grads, taps_of, sum + c * blocked.plane, blocked);
            if (!dw) continue;
            depthwise.forward(active + c * padded.plane, padded, taps_of, deep + c * compact);
            depthwise.weight_gradient(g, grads, active + c * padded.plane, padded, dw + half.depthwise + c * taps);
        }
        if (dw) gram(dz, compact, M, deep, compact, M, int(b.pixels), dw + half.pointwise, gram_room);
    }
};
