"""What `make gpu` runs: everything worth knowing of a GPU, part by part, each in a process of its own."""

BROKEN = "broke the device"  # of a contender without which a part is run again
