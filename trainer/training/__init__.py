"""What happens in a training.

Read `loop` (the phases, of runs, folds and trials alike), `setup` (what it starts from: dataset,
precision, weights, squares), `training` (networks, plan and rows, ready to begin), `steps` (one
gradient step), `validation` (the numbers of an epoch), `divergence` (what is said of a loss that is
not finite), `checkpoint` (the best epoch, and the saved state), `callback_state` (what callbacks
know), `callbacks` (what a run shows and writes), `curves` (what TensorBoard shows of it),
`profiling` (a trace of its steps), `aligned` (what is shown of its images' alignment), `hparams`
(its row in TensorBoard's table), `room` (what it takes on the disk), `memory` (what can't fit into
it), `optimizers`.
"""
