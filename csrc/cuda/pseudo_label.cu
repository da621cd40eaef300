// Rows of J logits, a warp each. Every lane reads what it wrote itself, and no row depends on another.
#include "device.cuh"

namespace sgl_fast {

__forceinline__ float row_max(long long J, const float* x) {
    float top = -infinity();
    for (long long c = lane(); c < J; c += WARP) top = fmaxf(top, x[c]);
    return warp_max(top);
}

__forceinline__ float row_exponentials(long long J, const float* x, float top) {
    float total = 0;
    for (long long c = lane(); c < J; c += WARP) total += expf(x[c] - top);
    return warp_sum(total);
}

// The sum of the K rows, `stride` floats apart, without row k.
__forceinline__ float others(long long K, long long k, long long stride, const float* rows) {
    float total = 0;
    for (long long other = 0; other < K; other++)
        if (other != k) total += rows[other * stride];
    return total;
}

// teachers, p, targets (K, N, J); a warp an image.
KERNEL __launch_bounds__(LABEL_WARPS* WARP)
    pseudo_labels_kernel(long long K, long long N, long long J, const float* teachers, float* p, float* targets) {
    const long long n = (long long)blockIdx.x * LABEL_WARPS + warp();
    if (n >= N) return;
    for (long long k = 0; k < K; k++) {
        const float* x = teachers + (k * N + n) * J;
        const float top = row_max(J, x), inverse = 1.0f / row_exponentials(J, x, top);
        for (long long c = lane(); c < J; c += WARP) p[(k * N + n) * J + c] = expf(x[c] - top) * inverse;
    }
    for (long long k = 0; k < K; k++)
        for (long long c = lane(); c < J; c += WARP) targets[(k * N + n) * J + c] = others(K, k, N * J, p + n * J + c);
}

// Of one row: log_probs, grad = scale * gradient of the loss; returns the loss -sum of targets * log_probs.
__forceinline__ float cross_entropy_row(long long J, float scale, const float* x, const float* targets,
                                        float* log_probs, float* grad) {
    const float top = row_max(J, x), log_total = logf(row_exponentials(J, x, top));
    float mass = 0, loss = 0;
    for (long long c = lane(); c < J; c += WARP) {
        const float log_p = (x[c] - top) - log_total, t = targets[c];
        log_probs[c] = log_p;
        mass += t;
        loss += t * log_p;
    }
    mass = warp_sum(mass);
    for (long long c = lane(); c < J; c += WARP) grad[c] = (expf(log_probs[c]) * mass - targets[c]) * scale;
    return -warp_sum(loss);
}

// logits, targets, log_probs, grad (V, N, J), loss (V); a block a learner.
KERNEL __launch_bounds__(LOSS_WARPS* WARP, 2)
    cross_entropy_kernel(long long N, long long J, float weight, const float* logits, const float* targets, float* loss,
                         float* log_probs, float* grad) {
    SHARED(double, losses, LOSS_WARPS);
    const long long first = blockIdx.x * N;
    double total = 0;
    for (long long n = warp(); n < N; n += LOSS_WARPS) {
        const long long row = (first + n) * J;
        total += cross_entropy_row(J, weight / N, logits + row, targets + row, log_probs + row, grad + row);
    }
    total = block_sum(lane() == 0 ? total : 0.0, losses);
    if (threadIdx.x == 0) loss[blockIdx.x] = (float)(total / N);
}

// p, tau, cotangent (K, N, J); a warp a row.
KERNEL __launch_bounds__(LABEL_WARPS* WARP)
    pseudo_label_vjp_kernel(long long K, long long N, long long J, const float* p, const float* tau, float* cotangent) {
    const long long row = (long long)blockIdx.x * LABEL_WARPS + warp();
    if (row >= K * N) return;
    const long long k = row / N, n = row % N;
    float mean = 0;
    for (long long c = lane(); c < J; c += WARP) {
        const float total = others(K, k, N * J, tau + n * J + c);
        cotangent[row * J + c] = total;
        mean += p[row * J + c] * total;
    }
    mean = warp_sum(mean);
    for (long long c = lane(); c < J; c += WARP)
        cotangent[row * J + c] = p[row * J + c] * (cotangent[row * J + c] - mean) * (-1.0f / N);
}

}  // namespace sgl_fast
