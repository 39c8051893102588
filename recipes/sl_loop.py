"""Supervised fine-tuning in one loop, to copy and change: rows, renderer, tokenizer, kernel, the plain `tinker` client.

python recipes/sl_loop.py runs/mine                       # the built-in local service: no key, no network
TINKER_API_KEY=... python recipes/sl_loop.py runs/mine    # Tinker; set MODEL, RENDERER and TOKENIZER below
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import tinker

from kernel import RENDERERS, TrainOnWhat, build_datums, read_conversation, render_examples, rows_of_step, sum_loss
from shell.service.local_process import start
from shell.text.tokenizer import SAMPLE, open_tokenizer

MODEL, RENDERER, TOKENIZER, DATA = "tinsmith/tiny", "qwen3_instruct", SAMPLE, SAMPLE.parent / "train.jsonl"
as_tensor = tinker.TensorData.from_numpy
N_STEPS, BATCH_SIZE, MAX_LENGTH, RATE, SAVE_EVERY, SEED = 30, 16, 2048, 1e-2, 10, 0


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cursor_file = folder / "cursor.json"  # the last checkpoint and the step after it

    # rows, renderer, tokenizer
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    conversations = [read_conversation(row, at=f"{DATA}:{i}") for i, row in enumerate(rows, 1)]
    renderer, tokenizer = RENDERERS[RENDERER], open_tokenizer(str(TOKENIZER))
    tokenizer.check_controls(renderer.name, renderer.controls)

    # the service
    local = None if os.environ.get("TINKER_API_KEY") else start(folder / "service")
    options = {"base_url": local.url, "api_key": "tml-local"} if local else {}
    service = tinker.ServiceClient(**options)

    # a new model, or the one that was saved last
    if cursor_file.exists():
        cursor = json.loads(cursor_file.read_text())
        step = cursor["step"]
        training = service.create_training_client_from_state_with_optimizer(cursor["path"])
        print(f"resumed at step {step}")
    else:
        step = 0
        training = service.create_lora_training_client(base_model=MODEL, rank=32, seed=SEED).result()

    # train; the rows of a step are a function of the step, so a resumed run trains on what was left
    while step < N_STEPS:
        _, numbers = rows_of_step(step, n_rows=len(rows), batch_size=BATCH_SIZE, seed=SEED)
        batch = [conversations[i] for i in numbers]
        mode = TrainOnWhat.ALL_ASSISTANT_MESSAGES
        examples = render_examples(renderer, batch, mode, tokenizer.encode, tokenizer.controls)
        datums = build_datums(examples.tokens, examples.weights, examples.offsets, max_length=MAX_LENGTH)
        sent = []
        for i in range(datums.n_examples):
            inputs, targets, weights = datums.example(i)  # targets are shifted by one already
            tensors = {"target_tokens": as_tensor(targets.astype(np.int64)), "weights": as_tensor(weights)}
            sent.append(tinker.Datum(model_input=tinker.ModelInput.from_ints(inputs.tolist()), loss_fn_inputs=tensors))
        answer = training.forward_backward(sent, "cross_entropy")
        update = training.optim_step(tinker.AdamParams(learning_rate=RATE * (1 - step / N_STEPS)))
        logprobs = np.concatenate([out["logprobs"].to_numpy() for out in answer.result().loss_fn_outputs])
        update.result()
        loss = sum_loss(logprobs, datums.targets, datums.weights, tokenizer.n_bytes)
        step += 1
        print(f"step {step}/{N_STEPS}  loss {loss.nll:.4f}", flush=True)
        if step % SAVE_EVERY == 0 or step == N_STEPS:
            path = training.save_state(f"{step:06d}").result().path
            cursor_file.write_text(json.dumps({"step": step, "path": path}))
    print("weights for sampling:", training.save_weights_for_sampler("final").result().path)
    if local:
        local.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/sl_loop"))
