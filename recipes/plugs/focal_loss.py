"""Tokens that the model already knows count less: a loss of one's own. It needs torch: pip install 'tinsmith[loss]'.

python recipes/sl_basic.py --log-path /tmp/run --loss recipes/plugs/focal_loss.py:focal_loss
"""

GAMMA = 2.0


def focal_loss(data, logprobs):
    loss = 0.0
    for datum, own in zip(data, logprobs, strict=True):
        weights = datum.loss_fn_inputs["weights"].to_torch()
        loss = loss - (weights * (1 - own.exp()) ** GAMMA * own).sum()
    return loss, {"mean": loss.item() / len(data)}
