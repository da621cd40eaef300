#include "../flat_update.h"

#include "kernels.h"
#include "launch.h"

namespace sgl_fast {
namespace {

unsigned parts_of(int64_t P) { return blocks_for(P, FLAT_PART); }

Grid grid_of(int64_t K, int64_t P) { return {parts_of(P), static_cast<unsigned>(K)}; }

// The sums of squares of the parts of each row.
double* squares_of(const Stream& stream, int64_t K, int64_t P, const float* rows) {
    double* squares = stream.room<double>(K * parts_of(P));
    LAUNCH(squares_kernel, stream, grid_of(K, P), FLAT_THREADS, 0, P, rows, squares);
    return squares;
}

}  // namespace

void row_norms(const Stream& stream, int64_t K, int64_t P, const float* rows, float* norms) {
    LAUNCH(norms_kernel, stream, Grid{unsigned(K)}, FLAT_THREADS, 0, P, rows, norms);
}

void sgd(const Stream& stream, int64_t K, int64_t P, const Sgd& s, const float* lr, const float* weights,
         const float* grad, const float* buffer, float* new_weights, float* new_buffer, float* norms) {
    const double* squares = squares_of(stream, K, P, grad);
    LAUNCH(sgd_kernel, stream, grid_of(K, P), FLAT_THREADS, 0, P, s.momentum, s.weight_decay, s.clip, lr, weights, grad,
           buffer, squares, new_weights, new_buffer, norms);
}

void perturb(const Stream& stream, int64_t K, int64_t P, float r, const float* weights, const float* direction,
             float* both, float* eps) {
    const double* squares = squares_of(stream, K, P, direction);
    LAUNCH(perturb_kernel, stream, grid_of(K, P), FLAT_THREADS, 0, P, r, weights, direction, squares, both, eps);
}

void central_difference(const Stream& stream, int64_t K, int64_t P, const float* both, const float* eps, float* out) {
    LAUNCH(central_difference_kernel, stream, grid_of(K, P), FLAT_THREADS, 0, P, both, eps, out);
}

}  // namespace sgl_fast
