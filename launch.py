"""Trains and evaluates edjax from the command line.

python launch.py --config configs/qm9_density.py
"""

from edjax.__main__ import main

if __name__ == '__main__':
  main()
