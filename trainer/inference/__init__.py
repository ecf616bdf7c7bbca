"""A trained network in use: its answers for files of any kind.

Read `network` (from a run folder or a bare `model.keras` to what answers), `image_files` (what
paths stand for), `answers` (for files, streamed), `answer_tables` and `gallery_page` (what is
written of them), `file_predictions` (all of it, for `trainer.predict`).

Where it looks: `gradcam`, `occlusion`, `randomized` (how much of a map was learned), `lungs` (how
much of it lies inside of them), `explanations` and `explanation_plots` (all of it for an image),
`file_explanations` (for `trainer.explain`).

Scored on other images: `labelled_images` (of a dataset or a folder), `unseen_images` (without those
that it has seen, by `overlap`), `external_scores`, `run_dataset` (the network's own, for shortcut
baselines), `external_validation` (for `trainer.evaluate`).

Elsewhere: `served` (what is exported), `saved_model`, `onnx_model` and `litert_model` (each with
its own runtime), `quantization` (what half the room costs), `exports` (for `trainer.export`).

On a page of this machine: `uploads` (what was dropped), `answer_cards` (what is shown of an
answer), `drop_page` (both, with Gradio), `page_door` (what may come in), `page_server` (for
`trainer.serve`).
"""
