// How planes lie in a thread's scratch memory. Included once per instruction set, inside its namespace.

constexpr int WIDE = NATIVE > 4 ? 8 : 4;  // lanes of a vector of a plane's row

constexpr int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

// Lanes of the register block for planes of that width, and its rows. 8 lanes even where 16 exist: shifted reads of 16
// floats nearly always cross a cache line, and measure 0.6 times as fast on Zen 4.
constexpr int lanes_for(int width) { return width > 4 ? WIDE : 4; }
constexpr int ROWS = 8;

// A plane with a border of zeros, as the input of a convolution with outputs of H x W. Stride 2: two planes, the even
// columns and the odd ones, so that every tap reads consecutive floats.
struct Padded {
    int H, W, stride, pad, row;
    size_t phase, plane;

    // pad: what a kernel reaches past the border at most
    Padded(int H, int W, int stride, int pad) : H(H), W(W), stride(stride), pad(pad) {
        row = round_up(W, lanes_for(W)) + 2 * pad;
        phase = size_t(stride * round_up(H, ROWS) + 2 * pad) * row;
        plane = stride * phase;
    }
};

// Consecutive pixels, with room for what the last vectors of rows and rows of blocks overrun.
inline size_t compact_plane(int H, int W) {
    return round_up(round_up(H, ROWS) * W + 2 * NATIVE, 16);
}

// A plane whose rows are whole vectors: the sum of gradients, written block by block. Stride 2: even and odd columns.
struct Blocked {
    int row;
    size_t phase, plane;

    Blocked(int H, int W, int stride) {
        row = round_up(W, lanes_for(W));
        phase = size_t(stride * round_up(H, ROWS)) * row;
        plane = stride * phase;
    }
};
