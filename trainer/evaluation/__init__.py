"""From probabilities to everything that is said of them; imports nothing of training.

Read `predictions` (the table that all else is computed from), `metrics` (every number of a run or
of a cross-validation), `intervals` (95 % over patient groups, of `effective` numbers of images:
`shares`, `areas`, `average_precision`, `losses`; `paired` has those of a difference), `baselines`
with `linear_model` (what a linear model that hardly sees the lungs gets), `confounding` (class
against source), `calibration` (confidence against accuracy), `article` (how the 2020 article read
its numbers), `history`, `images_used` and `poses` (the run's other tables), `notes` (what goes with
every answer of a network), `heatmaps` (where it looked), `summary` (the last lines of a run),
`drawing` (what all plots share), `plots`, `alignment_plots`, `sheets` (captioned pictures).
"""
