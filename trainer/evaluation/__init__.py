"""From probabilities to everything that is said of them; imports nothing of training.

Read `metrics` (numbers with their n), `intervals` (95 % over patients), `baselines` (what a model
that hardly sees the lungs gets), `plots`, `summary` (the last lines of a run).
"""
