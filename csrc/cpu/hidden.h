// Second halves of separable convolutions, which read a hidden activation, and back. Included once per instruction set,
// inside its namespace.

// One thread's work on the second halves of separable convolutions on a state's out-edges.
struct HiddenForward {
    const Forward& f;
    const rows::State& s;
    Padded padded;
    size_t compact;
    float *active, *deep, *row;

    HiddenForward(const Forward& f, int j, Scratch& scratch)
        : f(f), s(f.program.states[j]), padded(f.padded(1)), compact(compact_plane(padded.H, padded.W)) {
        active = scratch.filled(f.M * padded.plane, 0.f);
        deep = scratch.take(f.M * compact);
        row = scratch.take(s.width + 16);
    }

    void image(int v, int n) {
        for (const rows::Conv& half : f.program.halves_of(s)) {
            f.activate_hidden(half, v, n, f.replay, padded, active, row);
            f.convolve(half, active, padded, deep, compact, v, n);
        }
    }
};

// One thread's work on the way back through them.
struct HiddenBackward {
    const Backward& b;
    const rows::State& s;
    ConvBackward conv;

    HiddenBackward(const Backward& b, int j, Scratch& scratch) : b(b), s(b.program.states[j]), conv(b, 1, scratch) {}

    void image(int v, int n) {
        for (int i = 0; i < s.halves; i++) back(b.program.halves_of(s)[i], b.hidden_gradient(s, i, v, n), v, n);
    }

  private:
    // to: the gradient of the hidden activation.
    void back(const rows::Conv& half, float* to, int v, int n) {
        size_t mask = half.height * mask_row(half.width);
        const uint8_t* pattern = b.pattern(v, n) + half.relu_mask;
        const float* hidden = b.planes(v, n) + half.offset;
        b.unnorm(half, b.gradient(half.grad, v, n), conv.dz, conv.compact, v, n);
        if (b.wanted.weights) b.activate_hidden(half, v, n, true, conv.padded, conv.active, conv.row);
        conv.start();
        conv.convolve(half, v, n);
        for (int c = 0; c < b.M; c++) {
            size_t norm = half.norm_in + c;
            Sums sums = close_rows(conv.sum + c * conv.blocked.plane, conv.blocked, pattern + c * mask, half.height, half.width,
                                   hidden + c * b.pixels, b.mean(v)[norm], to + c * b.pixels);
            b.partial_one(v, n)[norm] = sums.one;
            b.partial_z(v, n)[norm] = sums.z;
        }
    }
};
