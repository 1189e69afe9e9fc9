"""Trained heads in the forms that servers take, each checked against the model it was made from."""
