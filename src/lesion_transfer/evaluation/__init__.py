"""Evaluation: numpy in, numbers out. No MLflow, no Keras, no files."""
