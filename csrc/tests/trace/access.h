// A warp's loads, stores and products of matrices.
#pragma once

#include "warp.h"

namespace trace {

inline unsigned char* Warp::memory(const Instruction& one, uint64_t address) {
    const int bytes = one.bytes * static_cast<int>(one.kind == LOAD ? one.to.size() : one.from.size() - 1);
    if (one.space == SHARED) return block.shared.data() + block.place(address, bytes);
    if (one.space == GLOBAL) return reinterpret_cast<unsigned char*>(address);
    if (address + bytes > block.run.parameters.size()) throw std::runtime_error("need a parameter that the kernel has");
    return block.run.parameters.data() + address;
}

inline void Warp::access(const Instruction& one, unsigned mask) {
    const bool loads = one.kind == LOAD;
    const std::vector<int> values = loads ? one.to : std::vector<int>(one.from.begin() + 1, one.from.end());
    std::vector<uint64_t> addresses;
    for (int i = 0; i < LANES; i++) {
        if (!(mask >> i & 1)) continue;
        const uint64_t address = registers[one.from[0]][i] + one.offset;
        unsigned char* at = memory(one, address);
        addresses.push_back(one.space == SHARED ? block.place(address, one.bytes) : address);
        for (size_t k = 0; k < values.size(); k++) {
            uint64_t& value = registers[values[k]][i];
            if (loads) value = 0;
            if (loads)
                std::memcpy(&value, at + k * one.bytes, one.bytes);
            else if (one.space == SHARED || block.run.writes)
                std::memcpy(at + k * one.bytes, &value, one.bytes);
        }
    }
    Counts& counts = block.counts;
    if (one.space == PARAMETER) {  // an operand of its user, or by an index a load from the constant bank
        counts.slots += !fixed[one.from[0]];
        return finish(one, start_of(one, false), [&](const Gpu& gpu) { return fixed[one.from[0]] ? 0 : gpu.l1; });
    }
    const int bytes = one.bytes * static_cast<int>(values.size());
    Caches::Level level = Caches::L1;
    int waves = 0;
    if (one.space == SHARED)
        waves = wavefronts(addresses, bytes);
    else
        std::tie(level, waves) = block.caches.touch(addresses, bytes, !loads);
    counts.slots++;
    counts.units[LSU] += waves;
    const Times start = start_of(one, true);
    const auto latency = [&](const Gpu& gpu) {
        const float first = one.space == SHARED   ? gpu.shared
                            : level == Caches::L1 ? gpu.l1
                            : level == Caches::L2 ? gpu.l2
                                                  : gpu.dram;
        return first + std::max(waves - 1, 0);
    };
    finish(one, start, latency);
    if (!loads)
        for (int g = 0; g < GPUS; g++) order[g] = std::max(order[g], start[g]);
    counts.loads += loads && one.space == GLOBAL;
    counts.loading += loads && one.space == GLOBAL ? latency(block.run.gpus[0]) : 0;
}

// A matrix of 16 x 16 between shared memory and the registers of a warp. Its values are not followed: nothing branches by them.
inline void Warp::matrix(const Instruction& one) {
    const uint64_t base = registers[one.from[0]][0] + one.offset, step = registers[one.from.back()][0];
    std::vector<uint64_t> addresses;
    for (int piece = 0; piece < one.bytes; piece++)
        for (int row = 0; row < 16; row++)
            addresses.push_back(block.place(base + row * step * one.bytes + 16 * piece, 16));
    const int waves = wavefronts(addresses, 16);
    block.counts.slots += one.bytes;
    block.counts.units[LSU] += waves;
    for (int number : one.to) registers[number].fill(0);
    finish(one, start_of(one, true), [&](const Gpu& gpu) { return gpu.shared + waves; });
}

// One scheduler of four has a quarter of the tensor cores.
inline void Warp::multiply(const Instruction& one) {
    block.counts.slots += 8;
    block.counts.units[TENSOR]++;
    for (int number : one.to) registers[number].fill(0);
    finish(one, start_of(one, false), [](const Gpu& gpu) { return 4 * gpu.unit[TENSOR] + 4 * gpu.alu; });
}

}  // namespace trace
