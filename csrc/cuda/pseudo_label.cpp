#include "../pseudo_label.h"

#include "kernels.h"
#include "launch.h"

namespace sgl_fast {

void cross_entropy(const Stream& stream, int64_t V, int64_t N, int64_t J, float weight, const float* logits,
                   const float* targets, float* loss, float* log_probs, float* grad) {
    LAUNCH(cross_entropy_kernel, stream, Grid{unsigned(V)}, LOSS_WARPS * WARP, 0, N, J, weight, logits, targets, loss,
           log_probs, grad);
}

void pseudo_labels(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* teachers, float* p,
                   float* targets) {
    LAUNCH(pseudo_labels_kernel, stream, Grid{blocks_for(N, LABEL_WARPS)}, LABEL_WARPS * WARP, 0, K, N, J, teachers, p,
           targets);
}

void pseudo_label_vjp(const Stream& stream, int64_t K, int64_t N, int64_t J, const float* p, const float* tau,
                      float* cotangent) {
    LAUNCH(pseudo_label_vjp_kernel, stream, Grid{blocks_for(K * N, LABEL_WARPS)}, LABEL_WARPS * WARP, 0, K, N, J, p,
           tau, cotangent);
}

}  // namespace sgl_fast
