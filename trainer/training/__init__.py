"""What happens in a training.

Read `loop` (the phases, of runs, folds and trials alike), `setup` (what it starts from: dataset,
precision, weights, squares), `training` (networks, plan and rows, ready to begin), `steps` (one
gradient step), `validation` (the numbers of an epoch), `checkpoint` (the best epoch, and the saved
state), `callback_state` (what callbacks know), `callbacks` (what a run shows and writes),
`optimizers`.
"""
