// Runs blocks of kernels from their PTX, without a GPU, and says what they do and what a warp waits for: instructions, bytes,
// wavefronts of shared memory, barriers, and the cycles of a block that is alone on a multiprocessor.
//
// Memory is the process's own. It is read, and written where that is asked for; atomics count in the trace's own counters.
#include "warp.h"

namespace trace {
namespace {

struct Module {
    Operations all = operations();
    std::map<std::string, Kernel> kernels;
};

Module& module() {
    static Module& one = *new Module;
    return one;
}

std::string said;

// All warps of a block, from barrier to barrier: each takes as long as its slowest warp, or as its instructions take to issue.
void run_block(Run& run, const unsigned (&at)[3], Counts& counts) {
    BlockState block(run, counts);
    std::vector<Warp> warps;
    for (unsigned first = 0; first < run.launch.threads; first += LANES) warps.emplace_back(block, at, first);
    for (bool left = true; left;) {
        left = false;
        const Counts before = counts;
        Times slowest{};
        for (Warp& warp : warps) {
            left = warp.run() || left;
            for (int g = 0; g < GPUS; g++) slowest[g] = std::max(slowest[g], warp.now[g]);
        }
        for (int g = 0; g < GPUS; g++) {
            const double busy = run.gpus[g].busy(counts.minus(before));
            const double end = std::max<double>(slowest[g], counts.cycles[g] + busy) + (left ? run.gpus[g].barrier : 0);
            counts.cycles[g] = end;
            for (Warp& warp : warps) warp.now[g] = static_cast<float>(end);
        }
    }
    counts.l2_sectors += block.caches.l2_sectors;
    counts.dram_sectors += block.caches.dram_sectors;
}

}  // namespace
}  // namespace trace

using namespace trace;

extern "C" {

// Of the last call that failed.
const char* trace_said() { return said.c_str(); }

// Reads a unit's kernels; false where it has an instruction that is not known.
bool trace_load(const char* ptx) {
    try {
        for (auto& [name, kernel] : Reader(module().all).read(ptx)) module().kernels[name] = std::move(kernel);
    } catch (const std::exception& error) {
        said = error.what();
        return false;
    }
    return true;
}

// Sizes of a kernel's parameters in bytes; how many there are.
int trace_parameters(const char* kernel, int* bytes) {
    const auto& sizes = module().kernels.at(kernel).parameter_bytes;
    std::copy(sizes.begin(), sizes.end(), bytes);
    return static_cast<int>(sizes.size());
}

// Runs some blocks of a launch: `blocks` has three coordinates of each. final: the last ones of the launch, after as many
// arrivals as `blocks` counted before. counts: of each block.
bool trace_run(const char* kernel, const Launch* launch, const Gpu* gpus, void** parameters, const unsigned* blocks,
               int count, bool writes, Counts* counts) {
    try {
        const auto found = module().kernels.find(kernel);
        if (found == module().kernels.end())
            throw std::runtime_error("need a kernel that was loaded; got " + std::string(kernel));
        Run run{found->second, *launch, gpus, writes};
        run.copy(parameters);
        for (bool final : {false, true}) {
            run.start(final);
            for (int i = 0; i < count; i++, blocks += 3)
                run_block(run, {blocks[0], blocks[1], blocks[2]}, counts[final * count + i] = Counts{});
            blocks -= 3 * count;
            if (run.arrivals.empty() || writes) break;
        }
    } catch (const std::exception& error) {
        said = error.what();
        return false;
    }
    return true;
}
}
