"""The fused operations in Triton, on raw tensors: float32 arithmetic after load, sums in one order.

With TRITON_INTERPRET=1 in the environment they run on CPU tensors, slowly, so that they can be tested without a GPU.
"""
