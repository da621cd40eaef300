// How planes lie in a thread's scratch memory. Included once per instruction set, inside its namespace.

constexpr int PAD = 4;  // what a dilated 5x5 kernel reaches past the border

constexpr int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

// Lanes and rows of the register block for planes of that size.
constexpr int lanes_for(int width) {
    int lanes = width > 8 ? 16 : width > 4 ? 8 : 4;
    return lanes < NATIVE ? lanes : NATIVE;
}
constexpr int rows_for(int height) { return height > 4 ? 8 : 4; }

// A plane with a border of zeros, as the input of a convolution with outputs of H x W. Stride 2: two planes, the even
// columns and the odd ones, so that every tap reads consecutive floats.
struct Padded {
    int H, W, stride, row, rows;
    size_t phase, plane;

    Padded(int H, int W, int stride) : H(H), W(W), stride(stride) {
        row = round_up(W, lanes_for(W)) + 2 * PAD;
        rows = stride * round_up(H, rows_for(H)) + 2 * PAD;
        phase = size_t(rows) * row;
        plane = stride * phase;
    }
};

// Consecutive pixels, with room for what the last vectors of rows and rows of blocks overrun.
inline size_t compact_plane(int H, int W) {
    return round_up(round_up(H, rows_for(H)) * W + 2 * NATIVE, 16);
}

// A plane whose rows are whole vectors: the sum of gradients, written block by block. Stride 2: even and odd columns.
struct Blocked {
    int row, rows;
    size_t phase, plane;

    Blocked(int H, int W, int stride) {
        row = round_up(W, lanes_for(W));
        rows = stride * round_up(H, rows_for(H));
        phase = size_t(rows) * row;
        plane = stride * phase;
    }
};
