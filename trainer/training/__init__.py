"""What happens in a training.

Read `setup` (dataset, precision, weights, network), `callbacks`, `adam`.
"""
