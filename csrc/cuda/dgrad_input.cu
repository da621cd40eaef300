// Gradients of a cell's inputs, through the 1x1 convolutions that preprocess them: a product of matrices, grad z times
// weights. A block has an image, a tile of pixels and some channels; grad z and weights of some outputs at a time are in shared
// memory, and the next ones on their way to registers.
#include "convolve.cuh"
#include "target.cuh"

namespace sgl_fast {

// Where things lie in shared memory: as InputTile says.
struct InputShared {
    float4* grad_z;  // (outs of a step, lanes)
    float* weights;  // (outs of a step, channels)
    BnFactors* factors;

    InputShared(const InputTile& tile, float* shared) {
        grad_z = (float4*)shared;
        weights = shared + 4 * tile.steps() * tile.tiling.lanes;
        factors = (BnFactors*)(weights + tile.steps() * tile.channels());
    }
};

// Weights of outputs from o0 on and channels from c0 on; 0 where there are none.
__forceinline__ void load_weights(const InputTile& tile, const float* from, int outs, int ins, int o0, int c0,
                                  float* weights) {
    constexpr int N = 4;
    const PowerOfTwo channels = tile.channels();
    const int c = (int)threadIdx.x % channels, by = CELL_THREADS / channels;
    for (int first = (int)threadIdx.x / channels; first < tile.steps(); first += N * by) {
        float w[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int o = o0 + first + i * by;
            w[i] = from[(long long)(o < outs ? o : outs - 1) * ins + (c0 + c < ins ? c0 + c : 0)];
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int o = first + i * by;
            if (o < tile.steps()) weights[o * channels + c] = o0 + o < outs && c0 + c < ins ? w[i] : 0;
        }
    }
}

// sums[r] += the products over the outputs in shared memory.
__forceinline__ void add_products(const InputTile& tile, const InputShared& shared, float4 (&sums)[INPUT_R]) {
    const float4* dz = shared.grad_z + tile_lane(tile.tiling);
    const float* weights = shared.weights + tile_group(tile.tiling) * INPUT_R;
#pragma unroll 8
    for (int o = 0; o < tile.steps(); o++) {
        float w[INPUT_R];
        read_fours(weights + o * tile.channels(), w);
        const float4 four = dz[o * tile.tiling.lanes];
#pragma unroll
        for (int r = 0; r < INPUT_R; r++) sums[r] += w[r] * four;
    }
}

// Channels from c on of the gradient's four pixels at (y, x) of grad z, as far as the ReLU is open. A convolution of stride 2
// wrote every other pixel of every other row; the rest of its rows are zeros.
__forceinline__ void store_input(const CellView& cell, const Target& target, const DgradConv& conv, int image, int c,
                                 int y, int x, const float4 (&sums)[INPUT_R], float* planes) {
    const int row = conv.stride * y + conv.first;
#pragma unroll 1
    for (int half = 0; half < conv.stride; half++) {
        const int column = conv.stride * x + 4 * half;
        if (column >= target.W) continue;
        unsigned bits[INPUT_R];
#pragma unroll
        for (int r = 0; r < INPUT_R; r++) {
            const int channel = c + r < target.channels ? c + r : target.channels - 1;
            bits[r] = mask_quad(cell.pattern_of(image) + target.relu_mask, channel, target.H, target.W, row, column);
        }
#pragma unroll
        for (int r = 0; r < INPUT_R; r++) {
            if (c + r >= target.channels) continue;
            float4 four = sums[r];
            const float left = half ? four.z : four.x, right = half ? four.w : four.y;
            if (conv.stride == 2) four = conv.first ? make_float4(0, left, 0, right) : make_float4(left, 0, right, 0);
            write_quad(planes + ((long long)(c + r) * target.H + row) * target.W, column, target.W,
                       masked(four, bits[r]));
        }
    }
}

// A job's part of channels c0 and on, in the tile of quads from q0 on.
__forceinline__ void dgrad_input(const CellView& cell, const GradView& g, const Target& target, const DgradJob& job,
                                 const InputTile& tile, int image, int c0, int q0, float* memory) {
    const InputShared shared(tile, memory);
    const Tiling& tiling = tile.tiling;
    const int lane = tile_lane(tiling), group = tile_group(tiling), q = q0 + lane, outs = job.conv.outs,
              at = q < tiling.quads ? q : tiling.quads - 1, y = tiling.y(at), x = tiling.x(at);
    const GradZPlanes grad_z(cell, g, job.grad_z, image);
    const float* weights = cell.weights_of(image / cell.N) + job.conv.pointwise;
    float4 dy[INPUT_ITEMS], z[INPUT_ITEMS], sums[INPUT_R];
    grad_z.read(group, tiling.groups, outs - 1, y, x, target.out_W, dy, z);
    for (int o = threadIdx.x; o < outs; o += CELL_THREADS) shared.factors[o] = grad_z.factors(cell, g, o);
#pragma unroll
    for (int r = 0; r < INPUT_R; r++) sums[r] = make_float4(0, 0, 0, 0);
    for (int o0 = 0; o0 < outs; o0 += tile.steps()) {
        load_weights(tile, weights, outs, target.channels, o0, c0, shared.weights);
        if (o0 == 0) __syncthreads();
#pragma unroll
        for (int i = 0; i < INPUT_ITEMS; i++) {
            const int mine = group + i * tiling.groups, o = o0 + mine < outs ? o0 + mine : outs - 1;
            shared.grad_z[mine * tiling.lanes + lane] = grad_z.quad(shared.factors[o], dy[i], z[i], x, target.out_W);
        }
        __syncthreads();
        if (o0 + tile.steps() < outs)
            grad_z.read(o0 + tile.steps() + group, tiling.groups, outs - 1, y, x, target.out_W, dy, z);
        add_products(tile, shared, sums);
        __syncthreads();
    }
    if (q < tiling.quads)
        store_input(cell, target, job.conv, image, c0 + group * INPUT_R, y, x, sums,
                    target_plane(cell, g, target, image, 0));
}

KERNEL __launch_bounds__(CELL_THREADS, 2)
    dgrad_kernel_input(CellView cell, GradView g, const DgradJobs* __restrict__ jobs) {
    SHARED_DYNAMIC(float, shared);
    const Target& target = jobs->target[blockIdx.z];
    const InputTile tile(target);
    const int c0 = (int)blockIdx.x % target.parts * tile.channels(),
              q0 = (int)blockIdx.x / target.parts * tile.tiling.lanes;
    if (q0 >= tile.tiling.quads) return;
    for (int j = target.first_job; j < target.first_job + target.jobs; j++)
        dgrad_input(cell, g, target, jobs->job[j], tile, blockIdx.y, c0, q0, shared);
}

}  // namespace sgl_fast
