// Every kernel of the cell, for the instruction set whose namespace this is included in. NATIVE: floats of its widest
// vector. No standard header may come in from here: its inline functions would be compiled for that instruction set and
// could be linked in where another one runs.

constexpr double EPS = 1e-5;  // of batch norm

#include "simd.h"
#include "geometry.h"
#include "depthwise.h"
#include "pointwise.h"
#include "planes.h"
#include "pooling.h"
#include "pass.h"
#include "forward.h"
#include "backward.h"
#include "preprocess.h"
#include "conv_backward.h"
#include "sources.h"
#include "hidden.h"
#include "nodes.h"
#include "scratch.h"
#include "run_forward.h"
#include "run_backward.h"

void forward(const Pool& pool, const Program& program, const CellInputs& in, bool replay, const CellSaved& saved, float* out) {
    run_forward(pool, program, in, replay, saved, out);
}

void backward(const Pool& pool, const Program& program, const CellInputs& in, const CellSaved& saved, const float* out,
              const float* grad, const CellGradients& wanted) {
    run_backward(pool, program, in, saved, out, grad, wanted);
}
