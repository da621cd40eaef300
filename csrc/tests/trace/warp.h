// A warp: its lanes' registers, where each lane is, and when each register's value is there.
//
// Lanes that part go on from the smallest address: so they meet again where their ways do. Instructions between two branches
// start when their operands are there, in any order, as ptxas arranges them; loads stay behind stores and barriers, and the
// next such part starts when all of this one have started: a warp issues in order.
#pragma once

#include "counts.h"
#include "memory.h"
#include "ptx.h"

namespace trace {

struct Run {
    const Kernel& kernel;
    const Launch& launch;
    const Gpu* gpus;
    bool writes;
    std::vector<unsigned char> parameters = {};
    std::unordered_set<uint64_t> sectors = {};
    std::map<uint64_t, uint64_t> arrivals = {}, all_arrivals = {};  // by counter
    bool final = false;

    void copy(void** from) {
        for (size_t i = 0; i < kernel.parameter_at.size(); i++) {
            parameters.resize(kernel.parameter_at[i] + kernel.parameter_bytes[i]);
            std::memcpy(parameters.data() + kernel.parameter_at[i], from[i], kernel.parameter_bytes[i]);
        }
    }
    void start(bool is_final) {
        final = is_final;
        all_arrivals = std::move(arrivals);
        arrivals.clear();
        sectors.clear();
    }
};

struct BlockState {
    Run& run;
    Counts& counts;
    Caches caches;
    std::vector<unsigned char> shared;

    BlockState(Run& run, Counts& counts)
        : run(run), counts(counts), caches(run.sectors, run.launch.l1_sectors),
          shared(dynamic_at() + run.launch.shared_bytes) {}
    size_t dynamic_at() const { return (run.kernel.shared_bytes + 127) / 128 * 128; }
    uint64_t place(uint64_t address, int bytes) const {
        const uint64_t at = address >= Reader::DYNAMIC ? address - Reader::DYNAMIC + dynamic_at() : address;
        if (at + bytes > shared.size()) throw std::runtime_error("need an address of shared memory that the block has");
        return at;
    }
};

class Warp {
  public:
    Times now{};

    Warp(BlockState& block, const unsigned (&at)[3], unsigned first)
        : block(block), kernel(block.run.kernel), registers(kernel.registers.size()), ready(kernel.registers.size()),
          fixed(kernel.registers.size()) {
        live = block.run.launch.threads - first >= LANES ? ~0u : (1u << (block.run.launch.threads - first)) - 1;
        for (const auto& [number, value] : kernel.constants) set(number, value);
        const unsigned* grid = block.run.launch.grid;
        for (int axis = 0; axis < 3; axis++) {
            const std::string name(1, "xyz"[axis]);
            special("%ctaid." + name, at[axis]);
            special("%nctaid." + name, grid[axis]);
            special("%ntid." + name, axis ? 1 : block.run.launch.threads);
            special("%tid." + name, 0);
        }
        const auto tid = kernel.registers.find("%tid.x");
        if (tid != kernel.registers.end())
            for (int i = 0; i < LANES; i++) registers[tid->second][i] = first + i;
    }

    // To the next barrier, or the end; whether it goes on after that.
    bool run() {
        waiting = 0;
        while (const unsigned going = live & ~waiting) {
            int least = static_cast<int>(kernel.blocks.size());
            for (int i = 0; i < LANES; i++)
                if (going >> i & 1) least = std::min(least, at[i]);
            unsigned mask = 0;
            for (int i = 0; i < LANES; i++) mask |= (going >> i & 1u && at[i] == least) << i;
            part(least, mask);
        }
        return live;
    }

  private:
    BlockState& block;
    const Kernel& kernel;
    std::vector<Lanes> registers;
    std::vector<Times> ready;
    std::vector<bool> fixed;
    int at[LANES] = {};
    unsigned live, waiting = 0;
    bool came_last = false;
    Times last{}, order{};

    void set(int number, uint64_t value) {
        registers[number].fill(value);
        fixed[number] = true;
    }
    void special(const std::string& name, unsigned value) {
        const auto found = kernel.registers.find(name);
        if (found != kernel.registers.end()) set(found->second, value);
    }

    void part(int which, unsigned mask) {
        const Block& here = kernel.blocks[which];
        const double before = block.counts.slots;
        last = order = now;
        for (int i = 0; i < LANES; i++)
            if (mask >> i & 1) at[i] = which + 1;
        for (int i = here.first; i < here.end; i++) step(kernel.instructions[i], mask);
        for (int g = 0; g < GPUS; g++)
            now[g] = std::max(now[g] + static_cast<float>(block.counts.slots - before), last[g]);
    }

    Times start_of(const Instruction& one, bool ordered) const {
        Times start = ordered ? order : now;
        const auto wait = [&](int number) {
            for (int g = 0; g < GPUS; g++) start[g] = std::max(start[g], ready[number][g]);
        };
        for (int number : one.from) wait(number);
        if (one.guard >= 0) wait(one.guard);
        return start;
    }

    // `cycles(gpu)` after its start its result is there.
    template <class Cycles> void finish(const Instruction& one, const Times& start, const Cycles& cycles) {
        for (int g = 0; g < GPUS; g++) {
            const float end = start[g] + cycles(block.run.gpus[g]);
            for (int number : one.to) ready[number][g] = end;
            last[g] = std::max(last[g], start[g]);
        }
    }

    void step(const Instruction& one, unsigned mask) {
        if (one.guard >= 0)
            for (int i = 0; i < LANES; i++)
                if ((registers[one.guard][i] & 1) == one.unless) mask &= ~(1u << i);
        Counts& counts = block.counts;
        switch (one.kind) {
            case COMPUTE:
                return compute(one, mask);
            case MOVE:
                return move(one, mask);
            case LOAD:
            case STORE:
                return access(one, mask);
            case BRANCH:
                return jump(one, mask);
            case LEAVE:
                live &= ~mask;
                return;
            case BARRIER:
                waiting |= mask;
                counts.barriers++;
                [[fallthrough]];
            case WARP_BARRIER:
                counts.slots++;
                order = last;
                return;
            case SHUFFLE:
                return shuffle(one, mask);
            case COUNT:
                return arrive(one, mask);
            case FENCE:
                return fence(one);
            case MATRIX:
                return matrix(one);
            case MULTIPLY:
                return multiply(one);
        }
    }

    // Of the lanes in `mask`: the values that `make` writes.
    template <class Make> void write(int number, unsigned mask, const Make& make) {
        if (mask == ~0u) return make(registers[number]);
        Lanes made = registers[number];
        make(made);
        for (int i = 0; i < LANES; i++)
            if (mask >> i & 1) registers[number][i] = made[i];
    }

    void compute(const Instruction& one, unsigned mask) {
        const Lanes* from[4];
        for (size_t i = 0; i < 4; i++) from[i] = &registers[one.from[i < one.from.size() ? i : 0]];
        write(one.to[0], mask, [&](Lanes& to) { one.operation.run(to, from); });
        if (one.arrival && block.run.final)
            write(one.to[0], mask, [&](Lanes& to) { to.fill((one.arrival > 0) == came_last); });
        const Operation& operation = one.operation;
        block.counts.slots += operation.slots;
        block.counts.units[operation.unit] += operation.slots;
        finish(one, start_of(one, false),
               [&](const Gpu& gpu) { return operation.chain * gpu.latency(operation.unit); });
    }

    // Between one register and parts of it.
    void move(const Instruction& one, unsigned mask) {
        const int parts = static_cast<int>(std::max(one.to.size(), one.from.size())), bits = 8 * one.bytes / parts;
        const uint64_t low = (uint64_t(1) << bits) - 1;
        for (size_t k = 0; k < one.to.size(); k++)
            write(one.to[k], mask, [&](Lanes& to) {
                for (int i = 0; i < LANES; i++) {
                    uint64_t value = one.to.size() > 1 ? registers[one.from[0]][i] >> k * bits & low : 0;
                    for (size_t j = 0; one.to.size() == 1 && j < one.from.size(); j++)
                        value |= (registers[one.from[j]][i] & low) << j * bits;
                    to[i] = value;
                }
            });
        finish(one, start_of(one, false), [](const Gpu&) { return 0; });
    }

    void jump(const Instruction& one, unsigned mask) {
        for (int i = 0; i < LANES; i++)
            if (mask >> i & 1) at[i] = one.target;
        block.counts.slots++;
        const Times start = start_of(one, false);
        for (int g = 0; g < GPUS; g++) last[g] = std::max(last[g], start[g] + block.run.gpus[g].branch);
    }

    void shuffle(const Instruction& one, unsigned mask) {
        const Lanes from = registers[one.from[0]], by = registers[one.from[1]];
        write(one.to[0], mask, [&](Lanes& to) {
            for (int i = 0; i < LANES; i++) to[i] = from[i ^ (by[i] & 31)];
        });
        block.counts.slots++;
        block.counts.shuffles++;
        block.counts.units[LSU]++;
        finish(one, start_of(one, false), [](const Gpu& gpu) { return gpu.shuffle; });
    }

    void fence(const Instruction& one) {
        block.counts.slots++;
        const Times start = start_of(one, true);
        for (int g = 0; g < GPUS; g++) order[g] = last[g] = std::max(last[g], start[g]) + block.run.gpus[g].l2;
    }

    // Counters are the run's own. In the launch's last blocks the last arrival of each is the last of all.
    void arrive(const Instruction& one, unsigned mask) {
        for (int i = 0; i < LANES; i++) {
            if (!(mask >> i & 1)) continue;
            const uint64_t counter = registers[one.from[0]][i] + one.offset;
            registers[one.to[0]][i] = block.run.arrivals[counter]++;
            came_last = block.run.arrivals[counter] == block.run.all_arrivals[counter];
        }
        block.counts.slots++;
        finish(one, start_of(one, true), [](const Gpu& gpu) { return 2 * gpu.l2; });
    }

    void access(const Instruction& one, unsigned mask);
    unsigned char* memory(const Instruction& one, uint64_t address);
    void matrix(const Instruction& one);
    void multiply(const Instruction& one);
};

}  // namespace trace

#include "access.h"
