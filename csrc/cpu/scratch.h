// Included once per instruction set, inside its namespace.

// The most scratch memory that a thread takes in one of the phases.
template <class Input, class Source, class Middle, class Node, class P> size_t scratch_of(const P& pass) {
    size_t most = 0;
    auto consider = [&](const auto& phase) {
        Scratch count;
        phase(count);
        most = count.used > most ? count.used : most;
    };
    int last = pass.plan.cell.nodes + 1;
    for (int which = 0; which < 2 && pass.plan.cell.preprocess; which++)
        consider([&](Scratch& s) { Input(pass, which, s); });
    for (int j = 0; j <= last; j += last)
        consider([&](Scratch& s) {
            Node(pass, last - 2, s);
            Source(pass, j, s);
        });
    consider([&](Scratch& s) { Middle(pass, 0, s); });
    return most;
}
