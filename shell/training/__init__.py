"""The loop and its parts: what is trained, evaluated, sampled and saved, and what a run can go on from."""
