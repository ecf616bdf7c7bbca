"""The network: VGG16 with a head of two dense layers, from images of any size to probabilities.

Read `vgg16` (the layers, the cut between frozen and trained), `head` (its end, once for each member
of an ensemble), `networks` (the model that is trained and its twin that is served), `chains` (what
the frozen part computes, as stages of the data), `replicas` (the devices that train together),
`saved` (the file that Keras alone loads), `about` (what that file says of itself), `weights` (where
ImageNet's convolutions come from), `normalization` (what is fitted to the train images),
`precision` (bfloat16, float16 or float32).
"""
