// Planes on their way into scratch memory and out of it: ReLU and its pattern, borders, statistics. Included once per
// instruction set, inside its namespace.

// Bits of one vector of a row of the pattern; L = 4 takes half a byte.
template <int L> INLINE unsigned bits_at(const uint8_t* row, int x) {
    return L == 8 ? row[x / 8] : (row[x / 8] >> (x % 8)) & 15;
}

template <int L> INLINE void set_bits(uint8_t* row, int x, unsigned bits) {
    row[x / 8] = uint8_t(x % 8 ? row[x / 8] | (bits << (x % 8)) : bits);
}

// to[x] = max(0, (from[x] - mean) * scale) for W pixels, then zeros to the end of the vector. The pattern is recorded in
// `bits`, or replayed from it in place of the maximum.
template <int L, bool REPLAY>
INLINE void relu_row(const float* from, int W, float mean, float scale, uint8_t* bits, float* to) {
    for (int x = 0; x < W; x += L) {
        F<L> v = (load_up_to<L>(from + x, W - x) - mean) * scale;
        unsigned open;
        if constexpr (REPLAY) {
            open = bits_at<L>(bits, x);
        } else {
            open = open_lanes<L>(v);
            if (W - x < L) open &= (1u << (W - x)) - 1;
            set_bits<L>(bits, x, open);
        }
        store<L>(to + x, keep<L>(v, open));
    }
}

INLINE void split_columns(const float* row, int W, float* even, float* odd) {
    int x = 0;
    for (; x + 4 <= W / 2; x += 4) {
        F<4> evens, odds;
        split(load<4>(row + 2 * x), load<4>(row + 2 * x + 4), evens, odds);
        store<4>(even + x, evens);
        store<4>(odd + x, odds);
    }
    for (; x < W / 2; x++) {
        even[x] = row[2 * x];
        odd[x] = row[2 * x + 1];
    }
}

INLINE void join_columns(const float* even, const float* odd, int W, float* row) {
    int x = 0;
    for (; x + 4 <= W / 2; x += 4) {
        F<4> first, second;
        join(load<4>(even + x), load<4>(odd + x), first, second);
        store<4>(row + 2 * x, first);
        store<4>(row + 2 * x + 4, second);
    }
    for (; x < W / 2; x++) {
        row[2 * x] = even[x];
        row[2 * x + 1] = odd[x];
    }
}

// What a ReLU reads and how: the plane normalised as (x - mean) * scale, and where its pattern lies.
struct Relu {
    const float* from;
    float mean, scale;
    uint8_t* bits;
    bool replay;
};

// The rows of a plane; to(y) is where row y goes, done(y) is called after it.
template <int L, bool REPLAY, class To, class Done>
INLINE void relu_rows(const Relu& r, int H, int W, const To& to, const Done& done) {
    for (int y = 0; y < H; y++) {
        relu_row<L, REPLAY>(r.from + size_t(y) * W, W, r.mean, r.scale, r.bits + y * mask_row(W), to(y));
        done(y);
    }
}

template <class To, class Done> INLINE void relu_rows(const Relu& r, int H, int W, const To& to, const Done& done) {
    if (lanes_for(W) == WIDE)
        return r.replay ? relu_rows<WIDE, true>(r, H, W, to, done) : relu_rows<WIDE, false>(r, H, W, to, done);
    return r.replay ? relu_rows<4, true>(r, H, W, to, done) : relu_rows<4, false>(r, H, W, to, done);
}

// ReLU of a plane into a Padded one, whose border is left as it is. row: room for one.
inline void relu_to_padded(const Relu& r, const Padded& p, float* to, float* row) {
    float* origin = to + p.pad * p.row + p.pad;
    auto direct = [&](int y) { return origin + y * p.row; };
    auto split = [&](int y) { split_columns(row, 2 * p.W, origin + y * p.row, origin + p.phase + y * p.row); };
    if (p.stride == 1) return relu_rows(r, p.H, p.W, direct, [](int) {});
    relu_rows(r, 2 * p.H, 2 * p.W, [&](int) { return row; }, split);
}

// ReLU of a plane into consecutive pixels; the last row overruns by up to a vector.
inline void relu_to_compact(const Relu& r, int H, int W, float* to) {
    relu_rows(r, H, W, [&](int y) { return to + size_t(y) * W; }, [](int) {});
}

// A plane of (S*H) x (S*W) into a Padded one, whose border is left as it is.
inline void copy_to_padded(const float* from, const Padded& p, float* to) {
    float* origin = to + p.pad * p.row + p.pad;
    int H = p.stride * p.H, W = p.stride * p.W;
    for (int y = 0; y < H; y++) {
        const float* row = from + size_t(y) * W;
        if (p.stride == 1)
            __builtin_memcpy(origin + y * p.row, row, W * sizeof(float));
        else
            split_columns(row, W, origin + y * p.row, origin + p.phase + y * p.row);
    }
}

// The pixels that a half of a factorised reduction reads, as consecutive ones: those of even rows and columns (first 0) or
// of odd ones (first 1). From a Padded plane of stride 2 and from consecutive pixels.
inline void subsample(const float* from, const Padded& p, int first, float* to) {
    const float* origin = from + p.pad * p.row + p.pad + first * (p.phase + p.row);
    for (int y = 0; y < p.H; y++) __builtin_memcpy(to + y * p.W, origin + 2 * y * p.row, p.W * sizeof(float));
}

inline void subsample(const float* from, int H, int W, float* even, float* odd) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            const float* corner = from + size_t(2 * y) * 2 * W + 2 * x;
            even[y * W + x] = corner[0];
            odd[y * W + x] = corner[2 * W + 1];
        }
}

// Mean and sum of squared deviations of n pixels, in one pass around the mean of the first ones.
inline void moments(const float* z, int n, float* mean, float* deviations) {
    constexpr int L = NATIVE;
    const float pivot = n < L ? z[0] : sum<L>(load<L>(z)) / L;
    F<L> s[2] = {}, q[2] = {};
    int x = 0;
    for (; x + 2 * L <= n; x += 2 * L)
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            F<L> d = load<L>(z + x + i * L) - pivot;
            s[i] += d;
            q[i] += d * d;
        }
    float total = sum<L>(s[0] + s[1]), squares = sum<L>(q[0] + q[1]);
    for (; x < n; x++) {
        float d = z[x] - pivot;
        total += d;
        squares += d * d;
    }
    *mean = pivot + total / n;
    *deviations = squares - total * (total / n);
}

// out[x] = sum over t of scale[t] * (in[t][x] - mean[t])
inline void combine(int terms, const float* const* in, const float* mean, const float* scale, float* out, int n) {
    constexpr int L = NATIVE, B = 4;
    int x = 0;
    for (; x + B * L <= n; x += B * L) {
        F<L> sums[B] = {};
        for (int t = 0; t < terms; t++)
#pragma GCC unroll 4
            for (int i = 0; i < B; i++) sums[i] += scale[t] * (load<L>(in[t] + x + i * L) - mean[t]);
#pragma GCC unroll 4
        for (int i = 0; i < B; i++) store<L>(out + x + i * L, sums[i]);
    }
    for (; x < n; x += L) {
        F<L> v = {};
        for (int t = 0; t < terms; t++) v += scale[t] * (load_up_to<L>(in[t] + x, n - x) - mean[t]);
        store_up_to<L>(out + x, v, n - x);
    }
}

// The sum of g, and of g * (z - mean) for each z.
inline float dots(const float* g, int n, int terms, const float* const* z, const float* mean, float* out) {
    constexpr int L = NATIVE;
    F<L> ones = {};
    for (int x = 0; x < n; x += L) ones += load_up_to<L>(g + x, n - x);
    for (int t = 0; t < terms; t++) {
        F<L> s[2] = {};
        int x = 0;
        for (; x + 2 * L <= n; x += 2 * L)
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) s[i] += load<L>(g + x + i * L) * (load<L>(z[t] + x + i * L) - mean[t]);
        for (; x < n; x += L) s[0] += load_up_to<L>(g + x, n - x) * (load_up_to<L>(z[t] + x, n - x) - mean[t]);
        out[t] = sum<L>(s[0] + s[1]);
    }
    return sum<L>(ones);
}

// Gradient of a batch norm's input: out = scale * (g - along_one - (z - mean) * along_z), n pixels; to the end of the last
// vector, if ADD to what is there.
template <bool ADD = false>
inline void norm_gradient(const float* g, const float* z, float scale, float along_one, float along_z, float mean,
                          float* out, int n) {
    constexpr int L = NATIVE;
    for (int x = 0; x < n; x += L) {
        F<L> v = scale * (load_up_to<L>(g + x, n - x) - along_one - (load_up_to<L>(z + x, n - x) - mean) * along_z);
        store<L>(out + x, ADD ? v + load<L>(out + x) : v);
    }
}

struct Sums {
    float one, z;
};

template <int L>
INLINE Sums close_rows(const float* from, int row, const uint8_t* bits, int H, int W, const float* z, float mean, float* to) {
    F<L> one = {}, dot = {};
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x += L) {
            size_t at = size_t(y) * W + x;
            F<L> g = keep<L>(load<L>(from + y * row + x), bits_at<L>(bits + y * mask_row(W), x));
            if (z) {
                one += g;
                dot += g * (load_up_to<L>(z + at, W - x) - mean);
            }
            store_up_to<L>(to + at, g, W - x);
        }
    return z ? Sums{sum<L>(one), sum<L>(dot)} : Sums{0, 0};
}

// A Blocked plane of H x W as consecutive pixels.
inline void unblock(const float* from, const Blocked& b, int stride, int H, int W, float* to) {
    for (int y = 0; y < H; y++) {
        const float* row = from + y * b.row;
        if (stride == 1)
            __builtin_memcpy(to + size_t(y) * W, row, W * sizeof(float));
        else
            join_columns(row, row + b.phase, W, to + size_t(y) * W);
    }
}

// What the pattern lets through of rows that are `row` floats apart, as consecutive pixels.
inline void keep_rows(const float* from, int row, const uint8_t* bits, int H, int W, float* to) {
    if (lanes_for(W) == WIDE)
        close_rows<WIDE>(from, row, bits, H, W, nullptr, 0, to);
    else
        close_rows<4>(from, row, bits, H, W, nullptr, 0, to);
}

// The same of a Blocked plane; returns the sums of what comes out, g, and of g * (z - mean).
inline Sums close_rows(const float* from, const Blocked& b, const uint8_t* bits, int H, int W, const float* z, float mean,
                       float* to) {
    return lanes_for(W) == WIDE ? close_rows<WIDE>(from, b.row, bits, H, W, z, mean, to)
                                : close_rows<4>(from, b.row, bits, H, W, z, mean, to);
}
