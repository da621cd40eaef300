#include "mixed_cell.h"

namespace sgl_fast::plain {
constexpr int NATIVE = 4;
#include "kernels.h"
}  // namespace sgl_fast::plain
