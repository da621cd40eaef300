// The kernels of depthwise.h: K x K taps, dilation D, stride S, by blocks of R rows of L lanes.
#pragma once

#include "depthwise.h"

ISA_NAMESPACE_BEGIN

// Where column tap j reads. Stride 2: from the plane of the even columns (phase 0) or of the odd ones.
template <int K, int D, int S> struct Taps {
    static constexpr int reach = (K / 2) * D;
    static constexpr int phase(int j) { return S == 1 ? 0 : ((j * D - reach) & 1); }
    static constexpr int column(int j) { return (j * D - reach - phase(j)) / S; }
    // Input rows that R output rows need.
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

// out[y][x] = sum of w[i][j] * x[S*y + i*D - reach][S*x + j*D - reach], rows of W floats. The last vector of a row
// overruns into the next row, which is written later: rows go up, columns go down.
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

// Stride 2: input row or column 2n + P receives dy[n + at(i)] through tap i, if has(i).
template <int K, int D, int P> struct Transposed {
    static constexpr int reach = (K / 2) * D;
    static constexpr bool has(int i) { return ((P + reach - i * D) & 1) == 0; }
    static constexpr int at(int i) { return (P + reach - i * D) / 2; }
};

template <int L, int R, int K, int D, int PY, int PX>
INLINE void dgrad_block(const float* dy, int row, const float* w, F<L>* sums) {
    using Y = Transposed<K, D, PY>;
    using X = Transposed<K, D, PX>;
    constexpr int more = (Y::reach + 1) / 2;  // rows of dy past the block's
    unrolled<K>([&](auto j) {
        constexpr int J = j;
        if constexpr (X::has(J)) {
            F<L> taps[K];
            unrolled<K>([&](auto i) { taps[i] = splat<L>(w[i * K + J]); });
            unrolled<R + 2 * more>([&](auto q) {
                constexpr int Q = q - more;
                F<L> v = load<L>(dy + Q * row + X::at(J));
                unrolled<K>([&](auto i) {
                    if constexpr (Y::has(i) && Q - Y::at(i) >= 0 && Q - Y::at(i) < R) sums[Q - Y::at(i)] += taps[i] * v;
                });
            });
        }
    });
}

template <int L, int R, int K, int D, int PY, int PX>
INLINE void dgrad_phase(const float* dy, const Padded& g, const float* w, float* dx, const Blocked& b) {
    if constexpr (D == 2 && (PY || PX)) return;  // an even reach and even steps: only even rows and columns are reached
    for (int y = 0; y < g.H; y += R)
        for (int x = 0; x < b.row; x += L) {
            float* pixels = dx + PX * b.phase + (2 * y + PY) * b.row + x;
            F<L> sums[R];
            for (int r = 0; r < R; r++) sums[r] = load<L>(pixels + 2 * r * b.row);
            dgrad_block<L, R, K, D, PY, PX>(dy + (y + g.pad) * g.row + g.pad + x, g.row, w, sums);
            for (int r = 0; r < R; r++) store<L>(pixels + 2 * r * b.row, sums[r]);
        }
}

// dx += the input gradient; dy: that of the outputs.
template <int L, int R, int K, int D, int S>
void depthwise_dgrad(const float* dy, const Padded& g, const float* w, float* dx, const Blocked& b) {
    if constexpr (S == 2) {
        dgrad_phase<L, R, K, D, 0, 0>(dy, g, w, dx, b);
        dgrad_phase<L, R, K, D, 0, 1>(dy, g, w, dx, b);
        dgrad_phase<L, R, K, D, 1, 0>(dy, g, w, dx, b);
        dgrad_phase<L, R, K, D, 1, 1>(dy, g, w, dx, b);
        return;
    }
    const float* origin = dy + (g.pad - Taps<K, D, 1>::reach) * g.row + g.pad;
    for (int y = 0; y < g.H; y += R)
        for (int x = 0; x < b.row; x += L) {
            float* pixels = dx + y * b.row + x;
            F<L> sums[R];
            for (int r = 0; r < R; r++) sums[r] = load<L>(pixels + r * b.row);
            depthwise_block<L, R, K, D, 1, true>(origin + y * g.row + x, g.row, 0, w, sums);
            for (int r = 0; r < R; r++) store<L>(pixels + r * b.row, sums[r]);
        }
}

// dw[i][j] += sum over outputs of dy[y][x] * x[S*y + i*D - reach][S*x + j*D - reach]
template <int L, int R, int K, int D, int S>
void depthwise_wgrad(const float* dy, const Padded& g, const float* in, const Padded& p, float* dw) {
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
                unrolled<R>([&](auto r) { grads[r] = load<L>(dy + (y + r + g.pad) * g.row + g.pad + x); });
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

template <int L, int K, int D> Depthwise depthwise_of(int stride) {
    constexpr int R = ROWS;
    if (stride == 1)
        return {depthwise_forward<L, R, K, D, 1>, depthwise_dgrad<L, R, K, D, 1>, depthwise_wgrad<L, R, K, D, 1>};
    return {depthwise_forward<L, R, K, D, 2>, depthwise_dgrad<L, R, K, D, 2>, depthwise_wgrad<L, R, K, D, 2>};
}

template <int L> Depthwise depthwise_of(int kernel, int dilation, int stride) {
    if (kernel == 3) return dilation == 1 ? depthwise_of<L, 3, 1>(stride) : depthwise_of<L, 3, 2>(stride);
    if (kernel == 5) return dilation == 1 ? depthwise_of<L, 5, 1>(stride) : depthwise_of<L, 5, 2>(stride);
    return dilation == 1 ? depthwise_of<L, 7, 1>(stride) : depthwise_of<L, 7, 2>(stride);
}

Depthwise depthwise_for(int kernel, int dilation, int stride, int width) {
    return lanes_for(width) == WIDE ? depthwise_of<WIDE>(kernel, dilation, stride)
                                    : depthwise_of<4>(kernel, dilation, stride);
}

ISA_NAMESPACE_END
