#pragma once

#include <string>

namespace sgl_fast {

// Why the CUDA device in force cannot run the kernels of this build, in the driver's words; empty if it can.
std::string why_not();

}  // namespace sgl_fast
