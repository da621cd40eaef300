// Depthwise convolutions of one plane: K x K taps, dilation D, stride S; forward, input gradient, weight gradient.
// Included once per instruction set, inside its namespace.

// Where column tap j reads: for stride 2, the plane of the even or of the odd columns.
template <int K, int D, int S> struct Taps {
    static constexpr int reach = (K / 2) * D;
    static constexpr int phase(int j) { return S == 1 ? 0 : ((j * D - reach) & 1); }
    static constexpr int column(int j) { return (j * D - reach - phase(j)) / S; }
    // input rows that R output rows need
    static constexpr int span(int R) { return (R - 1) * S + (K - 1) * D + 1; }
};

// sums[r] += sum over taps of w[i][j] * in[S*r + i*D][column of j]; every input vector is loaded once.
template <int L, int R, int K, int D, int S, bool FLIP>
INLINE void depthwise_block(const float* in, int row, size_t phase, const float* w, F<L>* sums) {
    using T = Taps<K, D, S>;
    unrolled<K>([&](auto j) {
        constexpr int J = j;
        const float* column = in + T::phase(J) * phase + T::column(J);
        F<L> taps[K];
        unrolled<K>([&](auto i) { taps[i] = splat<L>(FLIP ? w[(K - 1 - i) * K + K - 1 - J] : w[i * K + J]); });
        unrolled<T::span(R)>([&](auto q) {
            constexpr int Q = q;
            F<L> v = load<L>(column + Q * row);
            unrolled<K>([&](auto i) {
                constexpr int r = Q - i * D;
                if constexpr (r >= 0 && r % S == 0 && r / S < R) sums[r / S] += taps[i] * v;
            });
        });
    });
}

// out[y][x] = sum of w[i][j] * x[S*y + i*D - reach][S*x + j*D - reach], rows of W floats. The last vector of a row overruns
// into the next row, which is written later: rows go up, columns go down.
template <int L, int R, int K, int D, int S>
void depthwise_forward(const float* in, const Padded& p, const float* w, float* out) {
    const float* origin = in + (p.pad - Taps<K, D, S>::reach) * p.row + p.pad;
    for (int y = 0; y < p.H; y += R)
        for (int x = p.row - 2 * p.pad - L; x >= 0; x -= L) {
            F<L> sums[R] = {};
            depthwise_block<L, R, K, D, S, false>(origin + S * y * p.row + x, p.row, p.phase, w, sums);
            for (int r = 0; r < R; r++) store<L>(out + (y + r) * p.W + x, sums[r]);
        }
}

// The taps of one parity that reach output row or column 2n + P of a stride-2 gradient: tap i reads grad[n + at(i)].
template <int K, int D, int P> struct Transposed {
    static constexpr int reach = (K / 2) * D;
    static constexpr bool has(int i) { return ((P + reach - i * D) & 1) == 0; }
    static constexpr int at(int i) { return (P + reach - i * D) / 2; }
};

template <int L, int R, int K, int D, int PY, int PX>
INLINE void transposed_block(const float* grad, int row, const float* w, F<L>* sums) {
    using Y = Transposed<K, D, PY>;
    using X = Transposed<K, D, PX>;
    constexpr int more = (Y::reach + 1) / 2;  // rows of grad past the block's
    unrolled<K>([&](auto j) {
        constexpr int J = j;
        if constexpr (X::has(J)) {
            F<L> taps[K];
            unrolled<K>([&](auto i) { taps[i] = splat<L>(w[i * K + J]); });
            unrolled<R + 2 * more>([&](auto q) {
                constexpr int Q = q - more;
                F<L> v = load<L>(grad + Q * row + X::at(J));
                unrolled<K>([&](auto i) {
                    if constexpr (Y::has(i) && Q - Y::at(i) >= 0 && Q - Y::at(i) < R) sums[Q - Y::at(i)] += taps[i] * v;
                });
            });
        }
    });
}

template <int L, int R, int K, int D, int PY, int PX>
INLINE void transposed_phase(const float* grad, const Padded& g, const float* w, float* out, const Blocked& b) {
    if constexpr (D == 2 && (PY || PX)) return;  // an even reach and even steps: only even rows and columns are reached
    for (int y = 0; y < g.H; y += R)
        for (int x = 0; x < b.row; x += L) {
            float* o = out + PX * b.phase + (2 * y + PY) * b.row + x;
            F<L> sums[R];
            for (int r = 0; r < R; r++) sums[r] = load<L>(o + 2 * r * b.row);
            transposed_block<L, R, K, D, PY, PX>(grad + (y + g.pad) * g.row + g.pad + x, g.row, w, sums);
            for (int r = 0; r < R; r++) store<L>(o + 2 * r * b.row, sums[r]);
        }
}

// out += the gradient in x, from grad, that of the outputs (stride 1).
template <int L, int R, int K, int D, int S>
void depthwise_input_gradient(const float* grad, const Padded& g, const float* w, float* out, const Blocked& b) {
    if constexpr (S == 2) {
        transposed_phase<L, R, K, D, 0, 0>(grad, g, w, out, b);
        transposed_phase<L, R, K, D, 0, 1>(grad, g, w, out, b);
        transposed_phase<L, R, K, D, 1, 0>(grad, g, w, out, b);
        transposed_phase<L, R, K, D, 1, 1>(grad, g, w, out, b);
        return;
    }
    const float* origin = grad + (g.pad - Taps<K, D, 1>::reach) * g.row + g.pad;
    for (int y = 0; y < g.H; y += R)
        for (int x = 0; x < b.row; x += L) {
            float* o = out + y * b.row + x;
            F<L> sums[R];
            for (int r = 0; r < R; r++) sums[r] = load<L>(o + r * b.row);
            depthwise_block<L, R, K, D, 1, true>(origin + y * g.row + x, g.row, 0, w, sums);
            for (int r = 0; r < R; r++) store<L>(o + r * b.row, sums[r]);
        }
}

// dw[i][j] += sum over outputs of grad[y][x] * x[S*y + i*D - reach][S*x + j*D - reach]
template <int L, int R, int K, int D, int S>
void depthwise_weight_gradient(const float* grad, const Padded& g, const float* in, const Padded& p, float* dw) {
    using T = Taps<K, D, S>;
    const float* corner = in + (p.pad - T::reach) * p.row + p.pad;
    F<L> sums[round_up(K * K, L)] = {};
    unrolled<K>([&](auto j) {
        constexpr int J = j;
        const float* column = corner + T::phase(J) * p.phase + T::column(J);
        F<L> tap[K] = {};
        for (int y = 0; y < g.H; y += R)
            for (int x = 0; x < g.row - 2 * g.pad; x += L) {
                F<L> grads[R];
                unrolled<R>([&](auto r) { grads[r] = load<L>(grad + (y + r + g.pad) * g.row + g.pad + x); });
                unrolled<T::span(R)>([&](auto q) {
                    constexpr int Q = q;
                    F<L> v = load<L>(column + (S * y + Q) * p.row + x);
                    unrolled<K>([&](auto i) {
                        constexpr int r = Q - i * D;
                        if constexpr (r >= 0 && r % S == 0 && r / S < R) tap[i] += grads[r / S] * v;
                    });
                });
            }
        unrolled<K>([&](auto i) { sums[i * K + J] = tap[i]; });
    });
    float totals[round_up(K * K, L)];
    for (int t = 0; t < K * K; t += L) store<L>(totals + t, sum_each<L>(sums + t));
    for (int t = 0; t < K * K; t++) dw[t] += totals[t];
}

struct Depthwise {
    void (*forward)(const float*, const Padded&, const float*, float*);
    void (*input_gradient)(const float*, const Padded&, const float*, float*, const Blocked&);
    void (*weight_gradient)(const float*, const Padded&, const float*, const Padded&, float*);
};

template <int L, int K, int D> Depthwise depthwise_of(int stride) {
    constexpr int R = ROWS;
    if (stride == 1)
        return {depthwise_forward<L, R, K, D, 1>, depthwise_input_gradient<L, R, K, D, 1>,
                depthwise_weight_gradient<L, R, K, D, 1>};
    return {depthwise_forward<L, R, K, D, 2>, depthwise_input_gradient<L, R, K, D, 2>,
            depthwise_weight_gradient<L, R, K, D, 2>};
}

template <int L> Depthwise depthwise_of(int kernel, int dilation, int stride) {
    if (kernel == 3) return dilation == 1 ? depthwise_of<L, 3, 1>(stride) : depthwise_of<L, 3, 2>(stride);
    if (kernel == 5) return dilation == 1 ? depthwise_of<L, 5, 1>(stride) : depthwise_of<L, 5, 2>(stride);
    return dilation == 1 ? depthwise_of<L, 7, 1>(stride) : depthwise_of<L, 7, 2>(stride);
}

// The kernels for outputs of that width.
inline Depthwise depthwise_for(int kernel, int dilation, int stride, int width) {
    return lanes_for(width) == WIDE ? depthwise_of<WIDE>(kernel, dilation, stride)
                                    : depthwise_of<4>(kernel, dilation, stride);
}
