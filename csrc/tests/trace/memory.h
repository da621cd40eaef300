// What a warp's accesses to memory cost: sectors that caches do not hold, and wavefronts.
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "operations.h"

namespace trace {

constexpr int SECTOR = 32, LINE = 128;  // bytes

// Of a block: its L1, of the sectors that were touched last. Of a launch: all sectors, as L2 and DRAM see them.
class Caches {
  public:
    enum Level { L1, L2, DRAM };
    double l2_sectors = 0, dram_sectors = 0;

    Caches(std::unordered_set<uint64_t>& launch, int capacity) : launch(launch), capacity(capacity) {}

    // The slowest of the sectors, and how many lines they are of.
    template <class Addresses> std::pair<Level, int> touch(const Addresses& addresses, int bytes, bool stores) {
        Level worst = L1;
        sectors.clear();
        lines.clear();
        for (uint64_t address : addresses)
            for (uint64_t at = address / SECTOR; at <= (address + bytes - 1) / SECTOR; at++) sectors.insert(at);
        for (uint64_t at : sectors) {
            lines.insert(at / (LINE / SECTOR));
            const auto held = own.find(at);
            const bool fresh = launch.insert(at).second;
            dram_sectors += fresh;
            if (!stores && held != own.end() && clock - held->second < capacity) continue;
            l2_sectors++;
            own[at] = clock++;
            worst = std::max(worst, fresh ? DRAM : L2);
        }
        return {worst, static_cast<int>(lines.size())};
    }

  private:
    std::unordered_set<uint64_t>& launch;
    std::unordered_set<uint64_t> sectors, lines;  // of an access
    std::unordered_map<uint64_t, int64_t> own;
    int64_t clock = 0, capacity;
};

// How often shared memory is read or written: a bank gives one word of four bytes at a time. Lanes of 8 bytes come in two
// parts, of 16 in four.
template <class Addresses> int wavefronts(const Addresses& addresses, int bytes) {
    const size_t at_a_time = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;
    int total = 0;
    for (size_t first = 0; first < addresses.size(); first += at_a_time) {
        std::unordered_set<uint64_t> words;
        int banks[32] = {}, most = 1;
        for (size_t i = first; i < addresses.size() && i < first + at_a_time; i++)
            for (uint64_t word = addresses[i] / 4; word <= (addresses[i] + bytes - 1) / 4; word++)
                if (words.insert(word).second) most = std::max(most, ++banks[word % 32]);
        total += most;
    }
    return total;
}

}  // namespace trace
