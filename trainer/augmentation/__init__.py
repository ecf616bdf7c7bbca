"""Augmented views of grey images, for training only.

A view is a pure function of (seed, image, number of the view). Read `presets` (how far each
parameter may stray), `random` (the parameters of one view, hashed per image), `spatial` (one affine
map and one bend, sampled once), `intensity` (grey levels), `layer` (all of it as a Keras layer).
Imports nothing of the other rooms, and runs on Keras' TensorFlow and JAX backends.
"""
