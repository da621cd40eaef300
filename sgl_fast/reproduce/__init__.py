"""The experiments of section 4: what the paper prints of them."""
