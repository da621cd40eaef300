// Depthwise convolutions of one plane: K x K taps, dilation D, stride S; forward, input gradient, weight gradient.
// Included once per instruction set, inside its namespace. `in` and `grad` point at the corner of a Padded plane.

// Where column tap j reads: for stride 2, the plane of the even or of the odd columns.
template <int K, int D, int S> struct Taps {
    static constexpr int reach = (K / 2) * D;
    static constexpr int phase(int j) { return S == 1 ? 0 : ((j * D - reach) & 1); }
    static constexpr int column(int j) { return (j * D - reach - phase(j)) / S; }
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
        unrolled<(R - 1) * S + (K - 1) * D + 1>([&](auto q) {
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
    const float* origin = in + (PAD - Taps<K, D, S>::reach) * p.row + PAD;
    for (int y = 0; y < p.H; y += R)
        for (int x = p.row - 2 * PAD - L; x >= 0; x -= L) {
            F<L> sums[R] = {};
            depthwise_block<L, R, K, D, S, false>(origin + S * y * p.row + x, p.row, p.phase, w, sums);
            for (int r = 0; r < R; r++) store<L>(out + (y + r) * p.W + x, sums[r]);
        }
}
