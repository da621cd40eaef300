// The 1x1 convolutions that preprocess a cell's inputs: a product of matrices, weights times pixels after their ReLU, and
// statistics. A block has an image, a tile of pixels and some outputs of a job; pixels and weights of some channels at a
// time are in shared memory, and the next pixels on their way to registers.
#include "convolve.cuh"
#include "moments.cuh"

namespace sgl_fast {

// A block, and where its things lie in shared memory.
struct ConvInput {
    const CellView& cell;
    const ConvJob& job;  // in shared memory, as is its tile
    const ConvInputTile& tile;
    int q0, out0;
    float* shared;

    int image() const { return blockIdx.y; }
    Planes from() const { return input_of(cell, job.index, image() / cell.N, image() % cell.N, job.in_H, job.in_W); }
    int lane() const { return tile_lane(tile.tiling); }
    int group() const { return tile_group(tile.tiling); }
    float4* pixels() const { return (float4*)shared; }                               // (channels of a step, lanes)
    float* weights() const { return shared + 4 * tile.step() * tile.tiling.lanes; }  // (outs, channels of a step)
    Moments* moments() const { return (Moments*)(weights() + tile.step() * tile.outs()); }  // (outs, parts)
    // Whether this block records the pattern, and whether its bytes are of two neighbouring lanes.
    bool records() const { return job.record && !cell.replay && out0 == 0; }
    bool pairs() const { return job.stride == 1 && job.in_W % 8 == 0; }
    unsigned char* pattern() const { return cell.pattern_of(image()) + job.relu_mask; }
};

// A thread's quads of channels c0 + group, and so on by groups, and the bits of a pattern that is replayed.
struct InputQuads {
    float4 quads[INPUT_QUADS];
    unsigned bits;  // four of each quad

    __forceinline__ void read(const ConvInput& block, int c0) {
        const ConvJob& job = block.job;
        const int all = block.tile.tiling.quads, lane = block.q0 + block.lane(), q = lane < all ? lane : all - 1,
                  y = job.stride * block.tile.tiling.y(q) + job.first,
                  x = job.stride * block.tile.tiling.x(q) + job.first;
        int at[INPUT_QUADS];
        bits = 0;
#pragma unroll
        for (int i = 0; i < INPUT_QUADS; i++) {
            const int mine = c0 + block.group() + i * block.tile.tiling.groups, c = mine < job.ins ? mine : job.ins - 1;
            at[i] = (c * job.in_H + y) * job.in_W + x;
            if (!block.cell.replay) continue;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const int column = x + job.stride * k < job.in_W ? x + job.stride * k : x;
                bits |= (unsigned)mask_at(block.pattern(), c, job.in_H, job.in_W, y, column) << (4 * i + k);
            }
        }
        if (job.stride == 1) return read_quads(block.from().first, at, job.in_W - x, job.in_W % 4 == 0, quads);
        const float* data = global((const float*)block.from().first.data);
        const int left = job.in_W - x, one = left > 2 ? 2 : 0, two = left > 4 ? 4 : 0, three = left > 6 ? 6 : 0;
#pragma unroll
        for (int i = 0; i < INPUT_QUADS; i++)
            quads[i] = make_float4(data[at[i]], one ? data[at[i] + one] : 0, two ? data[at[i] + two] : 0,
                                   three ? data[at[i] + three] : 0);
    }
    // After their ReLU, into shared memory; and their pattern, if it is a byte of two neighbouring lanes.
    __forceinline__ void write(const ConvInput& block, int c0) const {
        const ConvJob& job = block.job;
        const int q = block.q0 + block.lane();
#pragma unroll
        for (int i = 0; i < INPUT_QUADS; i++) {
            const float4& x = quads[i];
            const int mine = block.group() + i * block.tile.tiling.groups;
            const unsigned open = is_open(x.x) | is_open(x.y) << 1 | is_open(x.z) << 2 | is_open(x.w) << 3;
            block.pixels()[mine * block.tile.tiling.lanes + block.lane()] =
                masked(x, block.cell.replay ? bits >> 4 * i : open);
            if (!block.records() || !block.pairs()) continue;
            const unsigned other = __shfl_xor_sync(WHOLE_WARP, open, 1);
            if (q % 2 == 0 && q < block.tile.tiling.quads && c0 + mine < job.ins)
                block.pattern()[((c0 + mine) * block.tile.tiling.quads + q) / 2] = (unsigned char)(open | other << 4);
        }
    }
};

// Weights of channels c0 and on, 0 where there are none.
__forceinline__ void load_weights(const ConvInput& block, int c0) {
    constexpr int N = 4;
    const ConvJob& job = block.job;
    const float* from = global(block.cell.weights_of(block.image() / block.cell.N)) + job.pointwise;
    const PowerOfTwo step = block.tile.step();
    const int all = block.tile.outs() * step;
    for (int first = threadIdx.x; first < all; first += N * CELL_THREADS) {
        float w[N];
#pragma unroll
        for (int k = 0; k < N; k++) {
            const int i = first + k * CELL_THREADS, c = c0 + i % step, out = block.out0 + i / step;
            const bool has = c < job.ins && out < job.outs;
            w[k] = from[has ? out * job.ins + c : 0];
            if (!has) w[k] = 0;
        }
#pragma unroll
        for (int k = 0; k < N; k++)
            if (first + k * CELL_THREADS < all) block.weights()[first + k * CELL_THREADS] = w[k];
    }
}

__forceinline__ void add_products(const ConvInput& block, float4 (&sums)[INPUT_OUTS]) {
    const int lanes = block.tile.tiling.lanes, step = block.tile.step();
    const float4* pixels = block.pixels() + block.lane();
    const float* weights = block.weights() + block.group() * INPUT_OUTS * step;
#pragma unroll 1
    for (int c = 0; c < step; c += 4) {
        float w[INPUT_OUTS][4];
#pragma unroll
        for (int r = 0; r < INPUT_OUTS; r++) read_fours(weights + r * step + c, w[r]);
#pragma unroll
        for (int k = 0; k < 4; k++, pixels += lanes) {
            const float4 four = *pixels;
#pragma unroll
            for (int r = 0; r < INPUT_OUTS; r++) sums[r] += w[r][k] * four;
        }
    }
}

// Writes R outputs of a thread's quad, and the block's statistics.
__forceinline__ void finish_input(const ConvInput& block, float4 (&sums)[INPUT_OUTS]) {
    const CellView& cell = block.cell;
    const ConvJob& job = block.job;
    const ConvInputTile& tile = block.tile;
    const int q = anew(block.q0) + block.lane(), y = tile.tiling.y(q), x = tile.tiling.x(q), left = job.out_W - x,
              out = anew(block.out0) + block.group() * INPUT_OUTS;
    const bool has = q < tile.tiling.quads;
    const StoragePtr z = result_at(cell, job, block.image());
#pragma unroll
    for (int r = 0; r < INPUT_OUTS; r++) {
        if (has && out + r < job.outs)
            write_quad(z + ((long long)(out + r) * job.out_H + y) * job.out_W, x, job.out_W, sums[r]);
        sums[r] = has ? within(sums[r], x, job.out_W) : make_float4(0, 0, 0, 0);
    }
    if (!cell.training) return;
    const PowerOfTwo span = tile.tiling.span();
    const int v = block.image() / cell.N, tiles = tile.tiles, parts = tile.parts(),
              count = job.outs - block.out0 < tile.outs() ? job.outs - block.out0 : tile.outs();
    const Moments mine = moments_of(sums, !has ? 0 : left < 4 ? left : 4, span);
    if (block.lane() % span < INPUT_OUTS)
        block.moments()[(block.group() * INPUT_OUTS + lane_number<INPUT_OUTS>()) * parts + block.lane() / span] = mine;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += CELL_THREADS) {
        Moments all = block.moments()[i * parts];
        for (int k = 1; k < parts; k++) merge(all, block.moments()[i * parts + k]);
        const long long norm =
            ((long long)block.image() * tiles + block.q0 / tile.tiling.lanes) * cell.norms + job.norm + block.out0 + i;
        cell.partial_mean[norm] = all.mean;
        cell.partial_deviations[norm] = all.deviations;
    }
    if (!is_last_block(cell.arrivals + v * cell.norms + job.norm + block.out0, cell.N * tiles)) return;
    finish_norms(
        cell, v, count, tiles, [&](int i) { return job.norm + block.out0 + i; },
        [&](int n) {
            const int first = n % tile.tiles * tile.tiling.lanes;
            return tile.pixels(first + tile.tiling.lanes, job.out_W) - tile.pixels(first, job.out_W);
        });
}

KERNEL __launch_bounds__(CELL_THREADS, 3) convolve_kernel_input(CellView cell, const ConvInputJobs* __restrict__ jobs) {
    SHARED_DYNAMIC(float, shared);
    SHARED(ConvInputJob, one, 1);
    for (int i = threadIdx.x; i < (int)(sizeof(ConvInputJob) / sizeof(int)); i += CELL_THREADS)
        ((int*)one)[i] = ((const int*)(jobs->job + blockIdx.z))[i];
    __syncthreads();
    const ConvJob& job = one->conv;
    const ConvInputTile& tile = one->tile;
    const ConvInput block{
        cell,  job, tile, (int)blockIdx.x % tile.tiles * tile.tiling.lanes, (int)blockIdx.x / tile.tiles * tile.outs(),
        shared};
    if (block.out0 >= job.outs) return;
    InputQuads in;
    in.read(block, 0);
    if (block.records() && !block.pairs() && block.q0 == 0)
        record_mask(block.from(), job.ins, job.octets, block.pattern());
    float4 sums[INPUT_OUTS];
#pragma unroll
    for (int r = 0; r < INPUT_OUTS; r++) sums[r] = make_float4(0, 0, 0, 0);
    for (int c0 = 0; c0 < job.ins; c0 += tile.step()) {
        in.write(block, c0);
        load_weights(block, c0);
        __syncthreads();
        if (c0 + tile.step() < job.ins) in.read(block, c0 + tile.step());
        add_products(block, sums);
        __syncthreads();
    }
    finish_input(block, sums);
}

}  // namespace sgl_fast
