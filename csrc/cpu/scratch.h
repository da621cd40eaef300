// Included once per instruction set, inside its namespace.

// The most scratch memory that a thread takes in one of the phases.
template <class Input, class Source, class Hidden, class Node, class P> size_t scratch_of(const P& pass) {
    size_t most = 0;
    auto consider = [&](const auto& phase) {
        Scratch count;
        phase(count);
        most = count.used > most ? count.used : most;
    };
    int last = pass.head.nodes;  // state with out-edges
    for (int which = 0; which < 2 && pass.head.preprocess; which++)
        consider([&](Scratch& s) { Input(pass, which, s); });
    for (int j = 0; j <= last; j += last)
        consider([&](Scratch& s) {
            Node(pass, last - 1, s);
            Source(pass, j, s);
        });
    consider([&](Scratch& s) { Hidden(pass, 0, s); });
    return most;
}
