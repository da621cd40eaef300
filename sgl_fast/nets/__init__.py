"""Networks: the supernet of virtual learners, and what a genotype denotes."""
