"""Labels for texts: by a model with a prompt, by similarity, by votes; instructions and calibrated confidences."""
