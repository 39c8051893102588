"""Running the recipes, in this process or as processes, and rows to run them on."""

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello there"}
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}}
SMALL = ("--service", "embedded", "--batch-size", "2", "--lora-rank", "2")


RUNS = {"sl_basic": "train", "show": "show"}
"""the command of each recipe"""
Told = namedtuple("Told", "code out err")


def line(*messages, **more):
    return json.dumps({"messages": messages, **more}).encode()


def write(path, *lines):
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


GOOD = line(USER, ANSWER)


def saying(content, role="user"):
    return line({"role": role, "content": content}, ANSWER)


def calling(call, content=""):
    return line(USER, {"role": "assistant", "content": content, "tool_calls": call}, ANSWER)


def process_of(name, *argv, **more):
    return subprocess.Popen(
        [sys.executable, str(RECIPES / f"{name}.py"), *map(str, argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finish(started):
    out, err = started.communicate(timeout=120)
    return Told(started.returncode, out, err)


def read(path):
    return [json.loads(text) for text in path.read_text().splitlines()]
