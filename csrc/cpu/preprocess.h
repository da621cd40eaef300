// From the inputs of a cell to its first two states, and back. Included once per instruction set, inside its namespace.

// ReLU of an input; of one twice as large as the state, the pixels that its factorised reduction reads.
struct Activated {
    const Pass& pass;
    int which;
    const Preprocess& p;
    size_t wide, narrow;  // floats of a plane of the input, of the state
    float *active, *even, *odd;

    Activated(const Pass& pass, int which, Scratch& scratch)
        : pass(pass), which(which), p(pass.plan.preprocess[which]), wide(compact_plane(p.H, p.W)),
          narrow(compact_plane(pass.plan.H, pass.plan.W)) {
        active = scratch.take(p.shrink ? wide : p.channels * wide);
        even = scratch.take(p.shrink ? p.channels * narrow : 0);
        odd = scratch.take(p.shrink ? p.channels * narrow : 0);
    }

    void load(int v, int n, bool replay) {
        const float* x = pass.input(which, v, n);
        uint8_t* bits = pass.pattern(v, n) + p.bits;
        for (int c = 0; c < p.channels; c++) {
            float* to = active + (p.shrink ? 0 : c * wide);
            relu_to_compact({x + size_t(c) * p.H * p.W, 0, 1, bits + c * p.H * bit_row(p.W), replay}, p.H, p.W, to);
            if (p.shrink) subsample(to, pass.plan.H, pass.plan.W, even + c * narrow, odd + c * narrow);
        }
    }
};

// One thread's work on the inputs: ReLU, 1x1 convolution.
struct PreprocessForward {
    const Forward& f;
    int which;
    const Preprocess& p;
    Activated in;

    PreprocessForward(const Forward& f, int which, Scratch& scratch)
        : f(f), which(which), p(f.plan.preprocess[which]), in(f, which, scratch) {}

    void image(int v, int n) {
        const float* w = f.weights(v);
        float* z = const_cast<float*>(f.state(which, v, n));
        in.load(v, n, f.replay);
        int count = int(f.in_pixels), half = f.C / 2;
        if (p.shrink) {
            pointwise({w + p.weight, p.channels, 1}, half, p.channels, in.even, in.narrow, z, count, count);
            pointwise({w + p.odd, p.channels, 1}, half, p.channels, in.odd, in.narrow, z + half * f.in_pixels, count, count);
        } else {
            pointwise({w + p.weight, p.channels, 1}, f.C, p.channels, in.active, in.narrow, z, count, count);
        }
        f.measure(v, n, p.norm, f.C, z, count);
    }
};

// One thread's work on an input.
struct PreprocessBackward {
    const Backward& b;
    int which;
    const Preprocess& p;
    Activated in;
    size_t wide, narrow;
    float *dz, *dx, *gram_room;

    PreprocessBackward(const Backward& b, int which, Scratch& scratch)
        : b(b), which(which), p(b.plan.preprocess[which]), in(b, which, scratch), wide(in.wide),
          narrow(in.narrow) {
        dz = scratch.take(b.C * narrow);
        dx = scratch.take(p.shrink ? wide : p.channels * wide);
        gram_room = scratch.take(gram_scratch(p.channels, int(b.in_pixels)));
    }

    void image(int v, int n) {
        const float *g = b.state_gradient(which, v, n), *x = b.state(which, v, n);
        for (int c = 0; c < b.C; c++) {
            size_t norm = p.norm + c;
            norm_gradient(g + c * b.in_pixels, x + c * b.in_pixels, b.scale(v)[norm], b.along_one(v)[norm],
                          b.along_z(v)[norm], 0, dz + c * narrow, int(b.in_pixels));
        }
        if (b.wanted.weights) weights(v, n);
        if (b.wanted.s[which]) input(v, n);
    }

  private:
    const float* lower() const { return dz + b.C / 2 * narrow; }

    void weights(int v, int n) {
        float* dw = b.share(v, n);
        int count = int(b.in_pixels), half = b.C / 2;
        in.load(v, n, true);
        if (!p.shrink) return gram(dz, narrow, b.C, in.active, narrow, p.channels, count, dw + p.weight, gram_room);
        gram(dz, narrow, half, in.even, narrow, p.channels, count, dw + p.weight, gram_room);
        gram(lower(), narrow, half, in.odd, narrow, p.channels, count, dw + p.odd, gram_room);
    }

    void input(int v, int n) {
        const float* w = b.weights(v);
        const uint8_t* bits = b.pattern(v, n) + p.bits;
        float* to = b.wanted.s[which] + v * b.in.learner[which] + n * b.in.image[which];
        int count = int(b.in_pixels), half = b.C / 2, ins = p.channels;
        size_t plane = size_t(p.H) * p.W, plane_bits = p.H * bit_row(p.W);
        if (p.shrink) {
            pointwise({w + p.weight, 1, ins}, ins, half, dz, narrow, in.even, narrow, count);
            pointwise({w + p.odd, 1, ins}, ins, half, lower(), narrow, in.odd, narrow, count);
        } else {
            pointwise({w + p.weight, 1, ins}, ins, b.C, dz, narrow, dx, wide, count);
        }
        for (int c = 0; c < ins; c++) {
            if (p.shrink) spread(in.even + c * narrow, in.odd + c * narrow);
            keep_rows(dx + (p.shrink ? 0 : c * wide), p.W, bits + c * plane_bits, p.H, p.W, to + c * plane);
        }
    }

    void spread(const float* from_even, const float* from_odd) {
        wipe(dx, size_t(p.H) * p.W);
        for (int y = 0; y < b.plan.H; y++)
            for (int x = 0; x < b.plan.W; x++) {
                float* corner = dx + size_t(2 * y) * p.W + 2 * x;
                corner[0] = from_even[y * b.plan.W + x];
                corner[p.W + 1] = from_odd[y * b.plan.W + x];
            }
    }
};
