"""Step and loss of a run in a table of their own: a logger.

python recipes/sl_basic.py --log-path /tmp/run --logger recipes/plugs/csv_log.py:CsvLog
"""

import csv


class CsvLog:
    """`loss.csv` in the folder of the run; after a cut, lines from the last checkpoint on come again."""

    def __init__(self, folder):
        self.file = (folder / "loss.csv").open("a", newline="")
        self.table = csv.writer(self.file)

    def __call__(self, line):
        self.table.writerow([line["step"], line.get("train_mean_nll", "")])

    def close(self):
        self.file.close()
