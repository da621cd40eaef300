// On flat weights: K rows of P floats. A block takes a fixed part of a row, whose sum of squares is its own; whoever needs
// a norm adds the parts of the row in their order.
#include "device.cuh"

namespace sgl_fast {

// A block's floats: from `first` to `end` of row k, P floats long.
struct Part {
    long long k, first, end;
    explicit Part(long long P)
        : k(blockIdx.y), first(k * P + (long long)blockIdx.x * FLAT_PART), end(first + FLAT_PART) {
        if (end > (k + 1) * P) end = (k + 1) * P;
    }
};

// The sum of squares of rows' floats from `first` to `end`, of all threads.
__forceinline__ double sum_of_squares(const float* rows, long long first, long long end, double* parts) {
    double total = 0;
#pragma unroll 4
    for (long long i = first + threadIdx.x; i < end; i += FLAT_THREADS) total += (double)rows[i] * rows[i];
    return block_sum(total, parts);
}

// squares (K, gridDim.x): each block's sum
KERNEL __launch_bounds__(FLAT_THREADS) squares_kernel(long long P, const float* rows, double* squares) {
    SHARED(double, parts, FLAT_THREADS / WARP);
    const Part part(P);
    const double total = sum_of_squares(rows, part.first, part.end, parts);
    if (threadIdx.x == 0) squares[part.k * gridDim.x + blockIdx.x] = total;
}

// A block a row: rows are architectures', of some hundreds of floats.
KERNEL __launch_bounds__(FLAT_THREADS) norms_kernel(long long P, const float* rows, float* norms) {
    SHARED(double, parts, FLAT_THREADS / WARP);
    const double total = sum_of_squares(rows, blockIdx.x * P, (blockIdx.x + 1) * P, parts);
    if (threadIdx.x == 0) norms[blockIdx.x] = (float)sqrt(total);
}

// The norm of row k, on every thread of the block.
__forceinline__ double norm_of(const double* squares, long long k, int count, double* parts) {
    double total = 0;
    for (int i = threadIdx.x; i < count; i += FLAT_THREADS) total += squares[k * count + i];
    return sqrt(block_sum(total, parts));
}

KERNEL __launch_bounds__(FLAT_THREADS)
    sgd_kernel(long long P, float momentum, float weight_decay, float clip, const float* lr, const float* weights,
               const float* grad, const float* buffer, const double* squares, float* new_weights, float* new_buffer,
               float* norms) {
    SHARED(double, parts, FLAT_THREADS / WARP);
    const Part part(P);
    const double norm = norm_of(squares, part.k, gridDim.x, parts), most = clip / (norm + 1e-6);
    const float scale = clip > 0 && !(most > 1) ? (float)most : 1.0f;  // a norm that is NaN stays one
    const float step = *lr;
    if (blockIdx.x == 0 && threadIdx.x == 0) norms[part.k] = (float)norm;
#pragma unroll 4
    for (long long i = part.first + threadIdx.x; i < part.end; i += FLAT_THREADS) {
        const float w = weights[i], b = momentum * buffer[i] + scale * grad[i] + weight_decay * w;
        new_buffer[i] = b;
        new_weights[i] = w - step * b;
    }
}

// 0 where float32 cannot hold twice r / norm, at a norm of 0 above all; NaN where it cannot hold the norm.
__forceinline__ float radius_over(float r, double norm) {
    constexpr double most = 3.4028234663852886e38;
    const double eps = r / norm;
    if (!(norm <= most)) return __int_as_float(0x7fc00000);
    return eps > most / 2 ? 0.0f : (float)eps;
}

// both (2K, P)
KERNEL __launch_bounds__(FLAT_THREADS)
    perturb_kernel(long long P, float r, const float* weights, const float* direction, const double* squares,
                   float* both, float* eps) {
    SHARED(double, parts, FLAT_THREADS / WARP);
    const Part part(P);
    const double norm = norm_of(squares, part.k, gridDim.x, parts);
    const float mine = radius_over(r, norm);
    if (blockIdx.x == 0 && threadIdx.x == 0) eps[part.k] = mine;
    const long long other = gridDim.y * P;
#pragma unroll 4
    for (long long i = part.first + threadIdx.x; i < part.end; i += FLAT_THREADS) {
        const float w = weights[i], step = mine * direction[i];
        both[i] = w + step;
        both[other + i] = w - step;
    }
}

KERNEL __launch_bounds__(FLAT_THREADS)
    central_difference_kernel(long long P, const float* both, const float* eps, float* out) {
    const Part part(P);
    const float span = eps[part.k] == 0 ? 1.0f : 2 * eps[part.k];
    const long long other = gridDim.y * P;
#pragma unroll 4
    for (long long i = part.first + threadIdx.x; i < part.end; i += FLAT_THREADS)
        out[i] = (both[i] - both[other + i]) / span;
}

}  // namespace sgl_fast
