// 3x3 pools with a border of 1, and the 2x2 max-pool of channels that bypass a mixed operation. A max-pool's pattern is
// which of its window's pixels it chose: four bits, row-major. Included once per instruction set, inside its namespace.

// Window n of a row or column starts at pixel step * n - border. Its tap i reads pixel step * m + parity, which is what
// the window has(parity, i) and is number m + at(parity, i) for.
template <int SIDE, int STEP> struct Windows {
    static constexpr int side = SIDE, step = STEP, border = SIDE == 3, pixels = SIDE * SIDE;
    static constexpr bool has(int parity, int i) { return (parity + border - i) % step == 0; }
    static constexpr int at(int parity, int i) { return (parity + border - i) / step; }

    // Where pixel t of the windows of an output row starts in a Padded plane.
    static const float* pixel(const float* in, const Padded& p, int y, int t) {
        int i = t / side - border, j = t % side - border, odd = step == 2 ? j & 1 : 0;
        return in + (step * y + i + p.pad) * p.row + p.pad + odd * p.phase + (j - odd) / step;
    }
};

// codes: W of them, and room for one more
inline void pack_codes(int* codes, int W, uint8_t* row) {
    codes[W] = 0;
    for (int i = 0; i < (W + 1) / 2; i++) row[i] = uint8_t(codes[2 * i] | codes[2 * i + 1] << 4);
}

inline void unpack_codes(const uint8_t* row, int W, int* codes) {
    for (int i = 0; i < (W + 1) / 2; i++) {
        codes[2 * i] = row[i] & 15;
        codes[2 * i + 1] = row[i] >> 4;
    }
}

template <int L, class W, bool REPLAY> void max_pool(const float* in, const Padded& p, uint8_t* codes, float* out, int* chosen) {
    for (int y = 0; y < p.H; y++) {
        const float* pixels[W::pixels];
        for (int t = 0; t < W::pixels; t++) pixels[t] = W::pixel(in, p, y, t);
        uint8_t* row = codes + y * argmax_row(p.W);
        if (REPLAY) unpack_codes(row, p.W, chosen);
        for (int x = 0; x < p.W; x += L) {
            F<L> best = load<L>(pixels[0] + x);
            I<L> code = REPLAY ? load_int<L>(chosen + x) : I<L>{};
            for (int t = 1; t < W::pixels; t++) {
                F<L> v = load<L>(pixels[t] + x);
                I<L> take = REPLAY ? code == t : (v > best) | (v != v);
                best = select<L>(take, v, best);
                if (!REPLAY) code = take ? I<L>{} + t : code;
            }
            if (!REPLAY) store_int<L>(chosen + x, code);
            store_up_to<L>(out + size_t(y) * p.W + x, best, p.W - x);
        }
        if (!REPLAY) pack_codes(chosen, p.W, row);
    }
}

// in: a Padded plane; the border, if the windows have one, of minus infinity. The first of equal maxima is chosen, and
// the last NaN. row: room for one.
template <class W> void max_pool(const float* in, const Padded& p, bool replay, uint8_t* codes, float* out, float* row) {
    int* chosen = (int*)row;
    if (lanes_for(p.W) == WIDE)
        return replay ? max_pool<WIDE, W, true>(in, p, codes, out, chosen) : max_pool<WIDE, W, false>(in, p, codes, out, chosen);
    return replay ? max_pool<4, W, true>(in, p, codes, out, chosen) : max_pool<4, W, false>(in, p, codes, out, chosen);
}

template <int L, class W, int PY, int PX>
INLINE void chosen_phase(const float* grad, const int* chosen, const Padded& g, float* out, const Blocked& b) {
    for (int y = 0; y < g.H; y++)
        for (int x = 0; x < b.row; x += L) {
            float* to = out + PX * b.phase + (W::step * y + PY) * b.row + x;
            F<L> sum = load<L>(to);
            unrolled<W::pixels>([&](auto t) {
                constexpr int T = t, i = T / W::side, j = T % W::side;
                if constexpr (W::has(PY, i) && W::has(PX, j)) {
                    size_t from = size_t(y + g.pad + W::at(PY, i)) * g.row + g.pad + x + W::at(PX, j);
                    sum += zero_unless<L>(load_int<L>(chosen + from) == T, load<L>(grad + from));
                }
            });
            store<L>(to, sum);
        }
}

template <int L, class W>
void max_pool_gradient(const float* grad, const int* chosen, const Padded& g, float* out, const Blocked& b) {
    chosen_phase<L, W, 0, 0>(grad, chosen, g, out, b);
    if constexpr (W::step == 2) {
        chosen_phase<L, W, 0, 1>(grad, chosen, g, out, b);
        chosen_phase<L, W, 1, 0>(grad, chosen, g, out, b);
        chosen_phase<L, W, 1, 1>(grad, chosen, g, out, b);
    }
}

// out += the gradient in the input, from grad, that of the outputs. chosen: room for a plane as grad's.
template <class W>
void max_pool_gradient(const float* grad, const Padded& g, const uint8_t* codes, int* chosen, float* out, const Blocked& b) {
    for (int y = 0; y < g.H; y++) unpack_codes(codes + y * argmax_row(g.W), g.W, chosen + (y + g.pad) * g.row + g.pad);
    if (lanes_for(g.W) == WIDE)
        max_pool_gradient<WIDE, W>(grad, chosen, g, out, b);
    else
        max_pool_gradient<4, W>(grad, chosen, g, out, b);
}

// An average pool is a depthwise convolution by these, over the number of pixels of the window inside the plane.
constexpr float ONES[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};

INLINE int inside(int at, int stride, int size) {
    int first = stride * at - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

// to[y][x] = from[y][x] / that number: H x W consecutive pixels into rows of `row` floats. across: room for a row.
inline void share_out(const float* from, int H, int W, int stride, float* across, float* to, int row) {
    constexpr int L = 4;
    for (int x = 0; x < round_up(W, L); x++) across[x] = inside(x, stride, stride * W);
    for (int y = 0; y < H; y++) {
        float down = inside(y, stride, stride * H);
        for (int x = 0; x < W; x += L) {
            F<L> v = load<L>(from + size_t(y) * W + x) / (down * load<L>(across + x));
            store_up_to<L>(to + size_t(y) * row + x, v, W - x);
        }
    }
}

// in: a Padded plane with a border of zeros. sums: room for a compact plane; row: for a row.
inline void avg_pool(const float* in, const Padded& p, float* out, float* sums, float* row) {
    depthwise_for(3, 1, p.stride, p.W).forward(in, p, ONES, sums);
    share_out(sums, p.H, p.W, p.stride, row, out, p.W);
}

// out += the gradient in the input, from grad, consecutive pixels. shares: a Padded plane for them; row: room for one.
inline void avg_pool_gradient(const float* grad, int stride, const Padded& g, float* shares, float* row, float* out,
                              const Blocked& b) {
    share_out(grad, g.H, g.W, stride, row, shares + g.pad * g.row + g.pad, g.row);
    depthwise_for(3, 1, stride, g.W).input_gradient(shares, g, ONES, out, b);
}
