"""The network: VGG16 with a head of two dense layers, from images of any size to probabilities.

Read `vgg16` (the layers, the cut between frozen and trained), `normalization` (what is fitted to
the train images), `weights` (where ImageNet's convolutions come from), `precision` (bfloat16,
float16 or float32).
"""
