"""Losses over logits, by subject; `loss_of` in `choice` names those that `labelspace train --set loss=NAME` takes."""
