"""KerasTuner search over what the trainer trains."""
