// Every kernel by its name and parameters: device code defines them, host code launches them and never links them.
#pragma once

#include "grad_jobs.h"

#ifdef __CUDACC_RTC__
#define KERNEL extern "C" __global__ void
#else
#define KERNEL extern "C" void
#endif

namespace sgl_fast {

constexpr int FLAT_THREADS = 256;
constexpr int FLAT_PART = 4096;  // floats of a block
constexpr int LABEL_WARPS = 4;   // of a block, a row each
constexpr int LOSS_WARPS = 16;
constexpr int AUGMENT_THREADS = 256;
constexpr int DROPOUT_THREADS = 256;
constexpr int DROPOUT_PART = 4096;  // positions of a block

KERNEL squares_kernel(long long P, const float* rows, double* squares);
KERNEL norms_kernel(long long P, const float* rows, float* norms);
KERNEL sgd_kernel(long long P, float momentum, float weight_decay, float clip, const float* lr, const float* weights,
                  const float* grad, const float* buffer, const double* squares, float* new_weights, float* new_buffer,
                  float* norms);
KERNEL perturb_kernel(long long P, float r, const float* weights, const float* direction, const double* squares,
                      float* both, float* eps);
KERNEL central_difference_kernel(long long P, const float* both, const float* eps, float* out);

KERNEL pseudo_labels_kernel(long long K, long long N, long long J, const float* teachers, float* p, float* targets);
KERNEL cross_entropy_kernel(long long N, long long J, float weight, const float* logits, const float* targets,
                            float* loss, float* log_probs, float* grad);
KERNEL pseudo_label_vjp_kernel(long long K, long long N, long long J, const float* p, const float* tau,
                               float* cotangent);

KERNEL augment_kernel(long long M, int C, int H, int W, int crop, int cutout, long long image, long long channel,
                      const unsigned char* images, const long long* draws, const float* levels, float* out);
KERNEL dropout_masks_kernel(long long P, unsigned first, const int* threshold, const long long* seeds,
                            unsigned char* kept);

// Forward. convolve_kernel_R: a thread has R outputs.
KERNEL convolve_kernel_4(CellView cell, const ConvJobs* jobs);
KERNEL convolve_kernel_8(CellView cell, const ConvJobs* jobs);
KERNEL convolve_kernel_input(CellView cell, const ConvInputJobs* jobs);
KERNEL combine_kernel(CellView cell, NodeJob job);
KERNEL evaluation_kernel(CellView cell);

// Backward. dgrad_kernel_R: a thread has R channels.
KERNEL node_sums_kernel(CellView cell, GradView grads, NodeJob job, int channels);
KERNEL dgrad_kernel_1(CellView cell, GradView grads, const DgradJobs* jobs);
KERNEL dgrad_kernel_2(CellView cell, GradView grads, const DgradJobs* jobs);
KERNEL dgrad_kernel_input(CellView cell, GradView grads, const DgradJobs* jobs);
KERNEL wgrad_kernel(CellView cell, GradView grads, const WgradJobs* jobs, Divisor groups, long long weights,
                    float* shares);
KERNEL add_shares_kernel(int groups, long long weights, const float* shares, float* sums);
KERNEL alpha_beta_grad_kernel(CellView cell, GradView grads, const AlphaBetaJob* job, float* op_weights,
                              float* edge_weights);

// All of them, in the order above.
#define SGL_FAST_KERNELS(X)                                                                                            \
    X(squares_kernel)                                                                                                  \
    X(norms_kernel)                                                                                                    \
    X(sgd_kernel) X(perturb_kernel) X(central_difference_kernel) X(pseudo_labels_kernel) X(cross_entropy_kernel)       \
        X(pseudo_label_vjp_kernel) X(augment_kernel) X(dropout_masks_kernel) X(convolve_kernel_4) X(convolve_kernel_8) \
            X(convolve_kernel_input) X(combine_kernel) X(evaluation_kernel) X(node_sums_kernel) X(dgrad_kernel_1)      \
                X(dgrad_kernel_2) X(dgrad_kernel_input) X(wgrad_kernel) X(add_shares_kernel) X(alpha_beta_grad_kernel)

}  // namespace sgl_fast
