"""Where operations run: which backend, in what precision, by which machine code."""
