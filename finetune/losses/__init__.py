"""Losses over logits, by subject; `loss_of` in `choice` names those that `train --loss` offers."""
