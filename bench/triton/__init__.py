"""What Triton launches for a cell, by which tiles: counted, compiled for every architecture, timed on a GPU."""
