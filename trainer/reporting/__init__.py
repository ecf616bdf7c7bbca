"""What a run folder shows without a network: its report, and runs side by side.

Read `results` (what a run left in its folder), `pages` (a template made into one file that needs
nothing else) with `figures` (its charts), `run_report` with `provenance` (what a run was made of),
`several_report` (of seeds, or of folds), `comparison` (several runs on the images that they share)
with `comparison_text` and `comparison_page`. Imports neither TensorFlow nor Keras.
"""
