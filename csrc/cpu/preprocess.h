// From the inputs of a cell to its first two states, and back. Included once per instruction set, inside its namespace.

// ReLU of an input; of one twice as large as the state, the pixels that its factorised reduction reads.
struct Activated {
    const Pass& pass;
    int which;
    Rows<rows::Conv> convs;
    int ins, H, W;        // of the input
    bool shrink;
    size_t wide, narrow;  // floats of a plane of the input, of the state
    float *active, *halves[2];

    Activated(const Pass& pass, int which, Scratch& scratch)
        : pass(pass), which(which), convs(pass.program.input_convs(which)), ins(convs[0].ins), H(convs[0].height), W(convs[0].width),
          shrink(convs[0].stride == 2), wide(compact_plane(H, W)), narrow(compact_plane(pass.head.H, pass.head.W)) {
        active = scratch.take(shrink ? wide : ins * wide);
        for (float*& half : halves) half = scratch.take(shrink ? ins * narrow : 0);
    }

    void load(int v, int n, bool replay) {
        const float* x = pass.input(which, v, n);
        uint8_t* mask = pass.pattern(v, n) + convs[0].relu_mask;
        for (int c = 0; c < ins; c++) {
            float* to = active + (shrink ? 0 : c * wide);
            relu_to_compact({x + size_t(c) * H * W, 0, 1, mask + c * H * mask_row(W), replay}, H, W, to);
            if (shrink) subsample(to, pass.head.H, pass.head.W, halves[0] + c * narrow, halves[1] + c * narrow);
        }
    }

    // What a 1x1 convolution reads.
    float* of(const rows::Conv& conv) const { return shrink ? halves[conv.first] : active; }
};

// One thread's work on the inputs: ReLU, 1x1 convolution.
struct PreprocessForward {
    const Forward& f;
    Activated in;

    PreprocessForward(const Forward& f, int which, Scratch& scratch) : f(f), in(f, which, scratch) {}

    void image(int v, int n) {
        in.load(v, n, f.replay);
        float* states = f.saved.states + size_t(v * f.N + n) * 2 * f.C * f.in_pixels;
        for (const rows::Conv& conv : in.convs) f.multiply(conv, in.of(conv), in.narrow, states + conv.z, int(f.in_pixels), v, n);
    }
};

// One thread's work on an input.
struct PreprocessBackward {
    const Backward& b;
    int which;
    Activated in;
    float *dz, *dx, *gram_room;

    PreprocessBackward(const Backward& b, int which, Scratch& scratch) : b(b), which(which), in(b, which, scratch) {
        dz = scratch.take(b.C * in.narrow);
        dx = scratch.take(in.shrink ? in.wide : in.ins * in.wide);
        gram_room = scratch.take(gram_scratch(in.ins, int(b.in_pixels)));
    }

    void image(int v, int n) {
        const float *g = b.state_gradient(which, v, n), *x = b.state(which, v, n);
        for (int c = 0; c < b.C; c++) {
            size_t norm = in.convs[0].norm + c;
            norm_gradient(g + c * b.in_pixels, x + c * b.in_pixels, b.scale(v)[norm], b.along_one(v)[norm],
                          b.along_z(v)[norm], 0, dz + c * in.narrow, int(b.in_pixels));
        }
        if (b.wanted.weights) weights(v, n);
        if (b.wanted.s[which]) input(v, n);
    }

  private:
    // Of the results of a convolution.
    const float* dz_of(const rows::Conv& conv) const { return dz + (conv.norm - in.convs[0].norm) * in.narrow; }

    void weights(int v, int n) {
        in.load(v, n, true);
        for (const rows::Conv& conv : in.convs)
            gram(dz_of(conv), in.narrow, conv.outs, in.of(conv), in.narrow, in.ins, int(b.in_pixels), b.share(v, n) + conv.pointwise,
                 gram_room);
    }

    void input(int v, int n) {
        const uint8_t* mask = b.pattern(v, n) + in.convs[0].relu_mask;
        float* to = b.wanted.s[which] + v * b.in.learner[which] + n * b.in.image[which];
        size_t plane = size_t(in.H) * in.W, mask_plane = in.H * mask_row(in.W);
        for (const rows::Conv& conv : in.convs)
            pointwise({b.weights(v) + conv.pointwise, 1, in.ins}, in.ins, conv.outs, dz_of(conv), in.narrow, in.shrink ? in.of(conv) : dx,
                      in.shrink ? in.narrow : in.wide, int(b.in_pixels));
        for (int c = 0; c < in.ins; c++) {
            if (in.shrink) spread(in.halves[0] + c * in.narrow, in.halves[1] + c * in.narrow);
            keep_rows(dx + (in.shrink ? 0 : c * in.wide), in.W, mask + c * mask_plane, in.H, in.W, to + c * plane);
        }
    }

    void spread(const float* even, const float* odd) {
        int H = b.head.H, W = b.head.W;
        wipe(dx, size_t(in.H) * in.W);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                float* corner = dx + size_t(2 * y) * in.W + 2 * x;
                corner[0] = even[y * W + x];
                corner[in.W + 1] = odd[y * W + x];
            }
    }
};
