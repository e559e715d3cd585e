"""Runs a peer for benchmarks/timing.py: one JSON question a line, one answer.

  PYTHON_OF_THE_PEER worker.py NAME

NAME is a module beside this file with a list PACKAGES, for their versions,
and functions that set a case up and return a function to time. What that
function returns is saved where numbers are compared; if it is a function
itself, what it returns, so that a copy is not timed.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time


def main():
  # Output of libraries must not be taken for an answer.
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  sys.path[0] = os.path.dirname(os.path.abspath(__file__))
  peer = importlib.import_module(f'peer_{sys.argv[1]}')
  run = None
  for line in sys.stdin:
    question = json.loads(line)
    answer = None
    if question['do'] == 'versions':
      answer = {p: importlib.metadata.version(p) for p in peer.PACKAGES}
    elif question['do'] == 'prepare':
      run = getattr(peer, question['task'])(**question['arguments'])
      run()
    elif question['do'] == 'run':
      begin = time.perf_counter()
      run()
      answer = time.perf_counter() - begin
    elif question['do'] == 'save':
      import numpy

      result = run()
      result = result() if callable(result) else result
      numpy.save(question['path'], numpy.asarray(result))
    answers.write(json.dumps(answer) + '\n')
    answers.flush()


if __name__ == '__main__':
  main()
