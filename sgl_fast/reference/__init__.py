"""The specification: every operation in plain PyTorch, differentiated by autograd."""
