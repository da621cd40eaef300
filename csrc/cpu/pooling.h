// 3x3 pools with a border of 1, and the 2x2 max-pool of channels that bypass a mixed operation. A max-pool's pattern is
// which of its window's pixels it chose: four bits, row-major. Included once per instruction set, inside its namespace.

inline void pack_codes(const int* codes, int W, uint8_t* row) {
    for (int x = 0; x < W; x += 2) row[x / 2] = uint8_t(codes[x] | (x + 1 < W ? codes[x + 1] << 4 : 0));
}

INLINE int code_at(const uint8_t* row, int x) { return (row[x / 2] >> (x % 2 * 4)) & 15; }

inline void unpack_codes(const uint8_t* row, int W, int* codes) {
    for (int x = 0; x < W; x++) codes[x] = code_at(row, x);
}

// Where pixel t of the windows of an output row starts in a Padded plane.
INLINE const float* window(const float* in, const Padded& p, int y, int t) {
    int dy = t / 3 - 1, dx = t % 3 - 1;
    const float* row = in + (p.stride * y + dy + PAD) * p.row + PAD;
    if (p.stride == 1) return row + dx;
    return dx == 0 ? row : row + p.phase - (dx < 0 ? 1 : 0);
}

template <int L, bool REPLAY> void max_pool(const float* in, const Padded& p, uint8_t* codes, float* out, int* chosen) {
    for (int y = 0; y < p.H; y++) {
        uint8_t* row = codes + y * code_row(p.W);
        if (REPLAY) unpack_codes(row, p.W, chosen);
        for (int x = 0; x < p.W; x += L) {
            F<L> best = load<L>(window(in, p, y, 0) + x);
            I<L> code = REPLAY ? load_int<L>(chosen + x) : I<L>{};
            for (int t = 1; t < 9; t++) {
                F<L> v = load<L>(window(in, p, y, t) + x);
                I<L> take = REPLAY ? code == t : !(v <= best);
                best = select<L>(take, v, best);
                if (!REPLAY) code = take ? I<L>{} + t : code;
            }
            if (!REPLAY) store_int<L>(chosen + x, code);
            store_up_to<L>(out + size_t(y) * p.W + x, best, p.W - x);
        }
        if (!REPLAY) pack_codes(chosen, p.W, row);
    }
}

// in: a Padded plane with a border of minus infinity. The first of equal maxima is chosen. row: room for one.
inline void max_pool(const float* in, const Padded& p, bool replay, uint8_t* codes, float* out, float* row) {
    int* chosen = (int*)row;
    if (lanes_for(p.W) == 8)
        return replay ? max_pool<WIDE, true>(in, p, codes, out, chosen) : max_pool<WIDE, false>(in, p, codes, out, chosen);
    return replay ? max_pool<4, true>(in, p, codes, out, chosen) : max_pool<4, false>(in, p, codes, out, chosen);
}

// grad: consecutive pixels; dx: S*H x S*W consecutive pixels, added to.
inline void max_pool_gradient(const float* grad, const Padded& p, const uint8_t* codes, float* dx) {
    int W = p.stride * p.W;
    for (int y = 0; y < p.H; y++)
        for (int x = 0; x < p.W; x++) {
            int code = code_at(codes + y * code_row(p.W), x);
            dx[(p.stride * y + code / 3 - 1) * W + p.stride * x + code % 3 - 1] += grad[y * p.W + x];
        }
}

// How many pixels of a window of three lie in the plane.
INLINE int inside(int at, int stride, int size) {
    int first = stride * at - 1, last = first + 2;
    return 3 - (first < 0) - (last >= size);
}

// in: a Padded plane with a border of zeros, which does not count. row: room for one.
inline void avg_pool(const float* in, const Padded& p, float* out, float* across) {
    constexpr int L = 4;
    for (int x = 0; x < round_up(p.W, L); x++) across[x] = inside(x, p.stride, p.stride * p.W);
    for (int y = 0; y < p.H; y++) {
        float down = inside(y, p.stride, p.stride * p.H);
        for (int x = 0; x < p.W; x += L) {
            F<L> total = {};
            for (int t = 0; t < 9; t++) total += load<L>(window(in, p, y, t) + x);
            store_up_to<L>(out + size_t(y) * p.W + x, total / (down * load<L>(across + x)), p.W - x);
        }
    }
}

// grad: consecutive pixels; dx: S*H x S*W consecutive pixels, added to.
inline void avg_pool_gradient(const float* grad, const Padded& p, float* dx) {
    int H = p.stride * p.H, W = p.stride * p.W;
    for (int y = 0; y < p.H; y++)
        for (int x = 0; x < p.W; x++) {
            float share = grad[y * p.W + x] / (inside(y, p.stride, H) * inside(x, p.stride, W));
            for (int i = p.stride * y - 1; i <= p.stride * y + 1; i++)
                for (int j = p.stride * x - 1; j <= p.stride * x + 1; j++)
                    if (i >= 0 && i < H && j >= 0 && j < W) dx[i * W + j] += share;
        }
}

// 2x2, stride 2; in: 2H x 2W consecutive pixels.
inline void bypass_pool(const float* in, int H, int W, bool replay, uint8_t* codes, float* out) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const float* corner = in + size_t(2 * y) * 2 * W + 2 * x;
            uint8_t* row = codes + y * code_row(W);
            int code = code_at(row, x);
            if (!replay) {
                code = 0;
                for (int t = 1; t < 4; t++)
                    if (!(corner[t / 2 * 2 * W + t % 2] <= corner[code / 2 * 2 * W + code % 2])) code = t;
                row[x / 2] = uint8_t(x % 2 ? row[x / 2] | (code << 4) : code);
            }
            out[size_t(y) * W + x] = corner[code / 2 * 2 * W + code % 2];
        }
}

inline void bypass_pool_gradient(const float* grad, int H, int W, const uint8_t* codes, float* dx) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int code = code_at(codes + y * code_row(W), x);
            dx[size_t(2 * y + code / 2) * 2 * W + 2 * x + code % 2] += grad[size_t(y) * W + x];
        }
}
